-- Every statement of the SQLite engine, by name. Each state change names the old state in its WHERE, and no
-- stamp precedes the one before it, whatever the clock does.

-- name: add_file!
INSERT INTO files (id, bytes, created_at, expires_at, filename, purpose, blob_key)
VALUES (:id, :bytes, :created_at, :expires_at, :filename, :purpose, :blob_key);

-- name: get_file
SELECT * FROM files WHERE id = :id AND (expires_at IS NULL OR expires_at > :now);

-- name: file_seq
SELECT seq FROM files WHERE id = :id UNION ALL SELECT seq FROM gone_files WHERE id = :id;

-- name: list_files_down
SELECT * FROM files INDEXED BY files_listed
WHERE purpose != 'response' AND seq < :after AND (expires_at IS NULL OR expires_at > :now)
  AND (:purpose IS NULL OR purpose = :purpose)
ORDER BY seq DESC LIMIT :limit;

-- name: list_files_up
SELECT * FROM files INDEXED BY files_listed
WHERE purpose != 'response' AND seq > :after AND (expires_at IS NULL OR expires_at > :now)
  AND (:purpose IS NULL OR purpose = :purpose)
ORDER BY seq ASC LIMIT :limit;

-- name: delete_file
DELETE FROM files WHERE id = :id RETURNING blob_key;

-- name: add_garbage!
INSERT OR IGNORE INTO garbage (key) VALUES (:key);

-- name: finish_index_to_garbage!
INSERT OR IGNORE INTO garbage (key)
SELECT :key WHERE NOT EXISTS (SELECT 1 FROM files WHERE blob_key IN (:output, :error));

-- name: garbage
SELECT key FROM garbage g
WHERE NOT EXISTS (
    SELECT 1 FROM batches b
    WHERE b.input_key = g.key
      AND b.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))
  AND NOT EXISTS (SELECT 1 FROM files f WHERE f.blob_key = g.key)
  AND NOT EXISTS (
    SELECT 1 FROM roles r
    WHERE substr(r.role, 1, 5) = 'keep/' AND r.held_until_ms > :now_ms
      AND r.held_until_ms <= :now_ms + :ttl_ms)  -- longer is no lease: the clock was set back
LIMIT :limit;

-- name: forget_garbage!
DELETE FROM garbage WHERE key = :key;

-- name: add_batch
INSERT INTO batches (id, status, endpoint, input_file_id, input_key, completion_window,
                     created_at, expires_at, metadata, output_expires_after_s, on_failures,
                     callback_url, model, is_response, on_faults, requests)
VALUES (:id, 'validating', :endpoint, :input_file_id, :input_key, :completion_window,
        :created_at, :expires_at, :metadata, :output_expires_after_s, :on_failures, :callback_url,
        :model, :is_response, :on_faults, :requests)
RETURNING *;

-- name: drop_old_keys!
DELETE FROM idempotency_keys WHERE expires_at <= :now;

-- name: drop_key!
DELETE FROM idempotency_keys WHERE key = :key;

-- name: add_key!
INSERT INTO idempotency_keys (key, body_digest, batch_id, expires_at)
VALUES (:key, :body_digest, :batch_id, :expires_at)
ON CONFLICT (key) DO NOTHING;

-- name: get_key
SELECT key, body_digest, batch_id, expires_at FROM idempotency_keys
WHERE key = :key AND expires_at > :now;

-- name: get_batch
SELECT * FROM batches WHERE id = :id;

-- name: batch_seq
SELECT seq FROM batches WHERE id = :id UNION ALL SELECT seq FROM gone_batches WHERE id = :id;

-- name: list_batches
SELECT * FROM batches INDEXED BY batches_listed
WHERE NOT is_response AND seq < :after ORDER BY seq DESC LIMIT :limit;

-- name: list_batches_of
SELECT * FROM batches
WHERE seq IN (
    SELECT b.seq FROM json_each(:statuses) wanted JOIN batches b ON b.seq IN (
        SELECT seq FROM batches INDEXED BY batches_listed_by_status
        WHERE NOT is_response AND status = wanted.value AND seq < :after ORDER BY seq DESC LIMIT :limit))
ORDER BY seq DESC LIMIT :limit;

-- name: list_batches_behind
SELECT * FROM batches WHERE endpoint = :endpoint AND seq < :seq ORDER BY seq DESC LIMIT :limit;

-- name: list_batches_before
SELECT * FROM batches WHERE endpoint = :endpoint AND seq > :seq ORDER BY seq LIMIT :limit;

-- name: open_batches
SELECT * FROM batches
WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling') ORDER BY seq;

-- name: last_change
SELECT coalesce(max(number), 0) AS number FROM batch_changes;

-- name: changed_batches
SELECT c.number, c.batch_seq, b.* FROM batch_changes c
LEFT JOIN batches b ON b.seq = c.batch_seq
  AND b.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
WHERE c.number > :after ORDER BY c.number;

-- name: finished_batches
SELECT * FROM batches INDEXED BY batches_listed
WHERE NOT is_response AND status IN ('failed', 'completed', 'expired', 'cancelled')
ORDER BY seq DESC LIMIT :limit;

-- name: cancel_batch
UPDATE batches SET status = 'cancelling', deaths = 0,
    cancelling_at = max(:now, coalesce(finalizing_at, in_progress_at, created_at))
WHERE id = :id AND status IN ('validating', 'in_progress', 'finalizing')
RETURNING seq;

-- name: pause_batch!
UPDATE batches SET paused_at = :now
WHERE id = :id AND status IN ('validating', 'in_progress') AND paused_at IS NULL;

-- name: resume_batch!
UPDATE batches SET paused_at = NULL, deaths = 0,
    finished_at_resume = completed + failed, failed_at_resume = failed,
    faults = CASE WHEN status = 'in_progress' THEN NULL ELSE faults END
WHERE id = :id AND status IN ('validating', 'in_progress') AND paused_at IS NOT NULL;

-- name: delete_batch
DELETE FROM batches
WHERE id = :id AND status IN ('failed', 'completed', 'expired', 'cancelled')
RETURNING input_file_id, input_key, output_file_id, error_file_id;

-- name: shares_input
SELECT 1 FROM batches WHERE input_key = :input_key LIMIT 1;

-- name: revoke_slices!
UPDATE slices SET state = :state, holder = NULL
WHERE batch_seq = :batch_seq AND state IN ('open', 'leased');

-- name: drop_slices!
DELETE FROM slices
WHERE batch_seq = :batch_seq
  AND EXISTS (SELECT 1 FROM batches WHERE seq = :batch_seq AND status = 'validating');

-- name: is_validating
SELECT 1 FROM batches WHERE seq = :batch_seq AND status = 'validating';

-- name: add_slice!
INSERT INTO slices (batch_seq, first, count, offset_bytes, length_bytes)
VALUES (:batch_seq, :first, :count, :offset_bytes, :length_bytes)
ON CONFLICT (batch_seq, first) DO NOTHING;  -- another dispatcher admits it, too, and cuts it alike

-- name: add_last_slice!
INSERT INTO slices (batch_seq, first, count, offset_bytes, length_bytes)
SELECT :batch_seq, :first, :count, :offset_bytes, :length_bytes
WHERE EXISTS (SELECT 1 FROM batches WHERE seq = :batch_seq AND status = 'validating')
ON CONFLICT (batch_seq, first) DO NOTHING;

-- name: accept!
UPDATE batches SET status = 'in_progress', in_progress_at = max(:now, created_at), deaths = 0,
    total = :total, model = :model
WHERE seq = :batch_seq AND status = 'validating'
  AND (SELECT sum(count) FROM slices WHERE batch_seq = :batch_seq) = :total;

-- name: reject!
UPDATE batches SET status = 'failed', failed_at = max(:now, created_at), faults = :faults
WHERE seq = :batch_seq AND status = 'validating';

-- name: break_batch!
UPDATE batches SET status = 'failed', faults = :faults,
    failed_at = max(:now, coalesce(cancelling_at, finalizing_at, in_progress_at, created_at))
WHERE seq = :batch_seq AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling');

-- name: next_token
UPDATE tokens SET last = last + 1 WHERE id = 1 RETURNING last;

-- name: claimable
SELECT w.value AS batch_seq FROM json_each(:seqs) w
WHERE EXISTS (
    SELECT 1 FROM slices INDEXED BY slices_open WHERE batch_seq = w.value AND state = 'open')
OR EXISTS (
    SELECT 1 FROM slices INDEXED BY slices_leased
    WHERE batch_seq = w.value AND state = 'leased' AND leased_until_ms <= :now_ms
      AND holder IS NOT :holder)
ORDER BY w.key;

-- name: lapse_leases!
UPDATE slices SET state = 'open', holder = NULL
WHERE state = 'leased' AND leased_until_ms <= :now_ms AND holder IS NOT :holder;

-- name: claim
UPDATE slices
SET state = 'leased', token = :token, holder = :holder, leased_until_ms = :until_ms
WHERE (batch_seq, first) IN (
    SELECT s.batch_seq, s.first FROM slices s INDEXED BY slices_open
    WHERE s.batch_seq = :batch_seq AND s.state = 'open'
      AND EXISTS (
          SELECT 1 FROM batches b
          WHERE b.seq = :batch_seq AND b.status = 'in_progress' AND b.paused_at IS NULL)
    ORDER BY s.first LIMIT :limit)
  AND state = 'open'
RETURNING *;

-- name: settled_lines
SELECT line FROM outcomes WHERE batch_seq = :batch_seq AND line >= :start AND line < :stop;

-- name: renew
UPDATE slices SET leased_until_ms = :until_ms
WHERE batch_seq = :batch_seq AND first = :first AND token = :token AND state = 'leased'
RETURNING first;

-- name: release!
UPDATE slices SET state = 'open', holder = NULL
WHERE batch_seq = :batch_seq AND first = :first AND token = :token AND state = 'leased';

-- name: release_others!
UPDATE slices INDEXED BY slices_leased SET state = 'open', holder = NULL
WHERE state = 'leased' AND holder = :holder
  AND (batch_seq, first) NOT IN (
      SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:keep));

-- name: begin!
UPDATE batches SET worked_by = :holder WHERE seq = :batch_seq AND status = :status;

-- name: count_deaths!
UPDATE batches
SET deaths = CASE WHEN completed + failed = finished_then THEN deaths + 1 ELSE 1 END,
    finished_then = completed + failed
WHERE seq IN (
    SELECT seq FROM batches
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
      AND status != 'in_progress' AND substr(worked_by, 1, length(:prefix)) = :prefix
    UNION
    SELECT batch_seq FROM slices INDEXED BY slices_leased
    WHERE state = 'leased' AND substr(holder, 1, length(:prefix)) = :prefix);

-- name: forget_work!
UPDATE batches SET worked_by = NULL
WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
  AND substr(worked_by, 1, length(:prefix)) = :prefix;

-- name: release_all!
UPDATE slices INDEXED BY slices_leased SET state = 'open', holder = NULL
WHERE state = 'leased' AND substr(holder, 1, length(:prefix)) = :prefix;

-- name: set_aside!
UPDATE batches SET paused_at = :now, faults = :faults
WHERE seq = :batch_seq AND status = 'in_progress' AND paused_at IS NULL;

-- name: held
SELECT first, token FROM slices
WHERE batch_seq = :batch_seq AND state = 'leased'
  AND first IN (SELECT value FROM json_each(:firsts));

-- name: add_segment
INSERT INTO segments (batch_seq, key, offset_bytes, length_bytes, lines_before, lines)
SELECT seq, :key, :offset_bytes, :length_bytes, completed + failed, :lines
FROM batches WHERE seq = :batch_seq
RETURNING id;

-- name: add_outcome!
INSERT INTO outcomes (batch_seq, line, kind, segment)
VALUES (?, ?, ?, ?);

-- name: settle_slice!
UPDATE slices
SET settled = settled + :count,
    state = CASE WHEN settled + :count = count THEN 'done' ELSE state END
WHERE batch_seq = :batch_seq AND first = :first AND token = :token AND state = 'leased';

-- name: settle_batch!
UPDATE batches
SET completed = completed + :completed, failed = failed + :failed,
    input_tokens = input_tokens + :input_tokens,
    cached_tokens = cached_tokens + :cached_tokens,
    output_tokens = output_tokens + :output_tokens,
    reasoning_tokens = reasoning_tokens + :reasoning_tokens,
    total_tokens = total_tokens + :total_tokens
WHERE seq = :batch_seq;

-- name: drain!
UPDATE batches SET status = 'finalizing', deaths = 0, finalizing_at = max(:now, in_progress_at)
WHERE seq = :batch_seq AND status = 'in_progress' AND completed + failed = total;

-- name: has_lapsed
SELECT 1 FROM batches
WHERE status = 'in_progress' AND expires_at <= :now LIMIT 1;

-- name: lapse
UPDATE batches SET status = 'finalizing', deaths = 0, finalizing_at = max(:now, in_progress_at)
WHERE status = 'in_progress' AND expires_at <= :now
RETURNING seq, id;

-- name: slices
SELECT * FROM slices WHERE batch_seq = :batch_seq ORDER BY first;

-- name: segments
SELECT * FROM segments
WHERE batch_seq = :batch_seq
  AND lines_before >= coalesce(
      (SELECT max(lines_before) FROM segments
       WHERE batch_seq = :batch_seq AND lines_before <= :after), 0)
  AND lines_before + lines > :after
ORDER BY lines_before LIMIT :limit;

-- name: lines_of_segment
SELECT line FROM outcomes
WHERE batch_seq = :batch_seq AND segment = :segment
  AND line IN (SELECT value FROM json_each(:lines));

-- name: finished_lines
SELECT o.line, o.kind, s.* FROM outcomes o JOIN segments s ON s.id = o.segment
WHERE o.batch_seq = :batch_seq AND o.line >= :start
ORDER BY o.line LIMIT :limit;

-- name: outcomes
SELECT line, kind, segment FROM outcomes
WHERE batch_seq = :batch_seq AND line >= :start AND line < :stop ORDER BY line;

-- name: close_completed!
UPDATE batches
SET status = 'completed', completed_at = max(:now, finalizing_at),
    output_file_id = :output, error_file_id = :error
WHERE seq = :batch_seq AND status = 'finalizing';

-- name: close_expired!
UPDATE batches
SET status = 'expired', expired_at = max(:now, finalizing_at),
    output_file_id = :output, error_file_id = :error
WHERE seq = :batch_seq AND status = 'finalizing';

-- name: close_cancelled!
UPDATE batches
SET status = 'cancelled', cancelled_at = max(:now, cancelling_at),
    output_file_id = :output, error_file_id = :error
WHERE seq = :batch_seq AND status = 'cancelling';

-- name: hold!
INSERT INTO roles (role, holder, held_until_ms) VALUES (:role, :holder, :until_ms)
ON CONFLICT (role) DO UPDATE SET holder = :holder, held_until_ms = :until_ms
WHERE roles.holder = :holder OR roles.held_until_ms <= :now_ms OR :take_over;

-- name: let_go!
DELETE FROM roles
WHERE (role = :role AND holder = :holder)
   OR (substr(role, 1, 5) = 'keep/' AND held_until_ms <= :now_ms);

-- name: report!
INSERT INTO reports (id, at, body) VALUES (1, :at, :body)
ON CONFLICT (id) DO UPDATE SET at = :at, body = :body;

-- name: get_report
SELECT at, body FROM reports WHERE id = 1;

-- name: storage
SELECT count(*) AS files, coalesce(sum(bytes), 0) AS bytes FROM files;

-- name: add_upload!
INSERT INTO uploads (id, status, bytes, created_at, expires_at, filename, purpose, file_ttl_s)
VALUES (:id, :status, :bytes, :created_at, :expires_at, :filename, :purpose, :file_ttl_s);

-- name: get_upload
SELECT id, bytes, created_at, expires_at, filename, purpose, file_ttl_s, file_id,
       CASE WHEN status = 'pending' AND expires_at <= :now THEN 'expired' ELSE status END AS status
FROM uploads WHERE id = :id;

-- name: room_for_part
SELECT count(p.id) < :max_parts AND coalesce(sum(p.bytes), 0) + :bytes <= :max_bytes AS has_room
FROM uploads u LEFT JOIN upload_parts p ON p.upload_id = u.id
WHERE u.id = :id AND u.status = 'pending' AND u.expires_at > :now
GROUP BY u.id;

-- name: add_part!
INSERT INTO upload_parts (upload_id, id, bytes, created_at)
VALUES (:upload_id, :id, :bytes, :created_at);

-- name: parts
SELECT * FROM upload_parts WHERE upload_id = :upload_id;

-- name: drop_parts!
DELETE FROM upload_parts WHERE upload_id = :upload_id;

-- name: joining_to_garbage!
INSERT OR IGNORE INTO garbage (key)
SELECT joining_key FROM uploads
WHERE id = :id AND status != 'completed' AND joining_key IS NOT NULL;

-- name: begin_join!
UPDATE uploads SET joining_key = :key
WHERE id = :id AND status = 'pending' AND expires_at > :now;

-- name: complete_upload!
UPDATE uploads SET status = 'completed', file_id = :file_id
WHERE id = :id AND status = 'pending' AND joining_key = :key;

-- name: cancel_upload!
UPDATE uploads SET status = 'cancelled'
WHERE id = :id AND status = 'pending' AND expires_at > :now;

-- name: has_old_uploads
SELECT 1 WHERE EXISTS (SELECT 1 FROM uploads WHERE status = 'pending' AND expires_at <= :now)
            OR EXISTS (SELECT 1 FROM uploads WHERE expires_at <= :before);

-- name: expire_uploads
UPDATE uploads SET status = 'expired'
WHERE id IN (
    SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= :now LIMIT :limit)
  AND status = 'pending'
RETURNING id;

-- name: forget_uploads!
DELETE FROM uploads
WHERE id IN (
    SELECT id FROM uploads WHERE status != 'pending' AND expires_at <= :before LIMIT :limit);

-- Housekeeping: each statement looks at or changes a bounded number of rows.

-- name: has_expired_files
SELECT 1 FROM files WHERE expires_at <= :now LIMIT 1;

-- name: expire_files
DELETE FROM files WHERE seq IN (SELECT seq FROM files WHERE expires_at <= :now LIMIT :limit)
RETURNING blob_key;

-- name: garbage_pending
SELECT count(*) AS pending FROM garbage;

-- name: prunable
WITH RECURSIVE held (seq) AS (
    SELECT min(batch_seq) FROM slices
    UNION ALL
    SELECT (SELECT min(s.batch_seq) FROM slices s WHERE s.batch_seq > held.seq)
    FROM held WHERE held.seq IS NOT NULL)
SELECT held.seq FROM held LEFT JOIN batches b ON b.seq = held.seq
WHERE held.seq IS NOT NULL
  AND (b.seq IS NULL OR b.status IN ('failed', 'completed', 'expired', 'cancelled')) LIMIT 1;

-- name: prune_outcomes!
DELETE FROM outcomes WHERE (batch_seq, line) IN (
    SELECT batch_seq, line FROM outcomes WHERE batch_seq = :batch_seq LIMIT :limit);

-- name: prune_segments!
DELETE FROM segments WHERE id IN (
    SELECT id FROM segments WHERE batch_seq = :batch_seq LIMIT :limit);

-- name: prune_slices!
DELETE FROM slices WHERE (batch_seq, first) IN (
    SELECT batch_seq, first FROM slices WHERE batch_seq = :batch_seq LIMIT :limit);

-- name: old_batches
SELECT b.seq, b.output_file_id, b.error_file_id FROM batches b INDEXED BY batches_by_end
WHERE coalesce(b.completed_at, b.failed_at, b.expired_at, b.cancelled_at) <= :ended_before
  AND b.status IN ('failed', 'completed', 'expired', 'cancelled')
  AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.batch_seq = b.seq)
ORDER BY coalesce(b.completed_at, b.failed_at, b.expired_at, b.cancelled_at) LIMIT :limit;

-- name: drop_lasting_file
DELETE FROM files WHERE id = :id AND expires_at IS NULL RETURNING blob_key;

-- name: drop_batch!
DELETE FROM batches
WHERE seq = :batch_seq AND status IN ('failed', 'completed', 'expired', 'cancelled');

-- name: identity
SELECT id FROM identity;

-- name: unnamed
SELECT json_extract(k.value, '$[0]') AS key FROM json_each(:keys) k
WHERE NOT EXISTS (
    SELECT 1 FROM files f WHERE f.blob_key = json_extract(k.value, '$[0]'))
  AND NOT EXISTS (
    SELECT 1 FROM garbage g
    WHERE g.key IN (json_extract(k.value, '$[0]'), json_extract(k.value, '$[3]')))
  AND NOT EXISTS (
    SELECT 1 FROM batches b WHERE b.input_key = json_extract(k.value, '$[0]')
      AND b.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))
  AND NOT EXISTS (
    SELECT 1 FROM uploads u WHERE u.id = json_extract(k.value, '$[1]') AND u.status = 'pending')
  AND NOT EXISTS (
    SELECT 1 FROM batches b WHERE b.id = json_extract(k.value, '$[1]')
      AND b.status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))
  AND NOT EXISTS (
    SELECT 1 FROM batches b JOIN files f ON f.id IN (b.output_file_id, b.error_file_id)
    WHERE b.id = json_extract(k.value, '$[1]') AND json_extract(k.value, '$[2]'));

-- name: note_unnamed!
INSERT INTO suspects (key, first_seen_at, last_seen_at) VALUES (:key, :now, :now)
ON CONFLICT (key) DO UPDATE SET last_seen_at = :now;

-- name: long_unnamed
SELECT s.key FROM suspects s JOIN json_each(:keys) k ON k.value = s.key
WHERE s.first_seen_at <= :first_seen_before;

-- name: forget_unnamed!
DELETE FROM suspects WHERE key = :key;

-- name: forget_seen_before!
DELETE FROM suspects WHERE last_seen_at < :seen_before;

-- name: count_unnamed
SELECT count(*) AS unnamed FROM suspects;

-- Looking at everything (`fsck`, `backup`): one moment, in pages.

-- name: audit_batches
SELECT * FROM batches WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: audit_files
SELECT * FROM files WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: audit_known_files
SELECT * FROM files WHERE id IN (SELECT value FROM json_each(:ids));

-- name: audit_parts
SELECT p.* FROM upload_parts p JOIN uploads u ON u.id = p.upload_id
WHERE u.status = 'pending' AND (p.upload_id, p.id) > (:upload_id, :id)
ORDER BY p.upload_id, p.id LIMIT :limit;

-- name: audit_slices
SELECT s.*, (SELECT count(*) FROM outcomes o
             WHERE o.batch_seq = s.batch_seq AND o.line >= s.first AND o.line < s.first + s.count)
            AS outcomes
FROM slices s WHERE s.batch_seq = :batch_seq ORDER BY s.first;

-- name: audit_segments
SELECT s.*, coalesce(o.outcomes, 0) AS outcomes
FROM segments s LEFT JOIN (
    SELECT segment, count(*) AS outcomes FROM outcomes WHERE batch_seq = :batch_seq GROUP BY segment) o
  ON o.segment = s.id
WHERE s.batch_seq = :batch_seq ORDER BY s.id;

-- name: audit_segment_files
SELECT key, max(offset_bytes + length_bytes) AS bytes FROM segments
WHERE batch_seq = :batch_seq GROUP BY key;

-- name: audit_kinds
SELECT kind, count(*) AS outcomes FROM outcomes WHERE batch_seq = :batch_seq GROUP BY kind;

-- name: audit_homeless
SELECT count(*) AS outcomes FROM outcomes o
WHERE o.batch_seq = :batch_seq
  AND NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = o.segment AND s.batch_seq = o.batch_seq);

-- name: audit_garbage
SELECT key FROM garbage WHERE key > :after ORDER BY key LIMIT :limit;

-- name: audit_ownerless
SELECT batch_seq FROM (SELECT DISTINCT batch_seq FROM outcomes
                       UNION SELECT DISTINCT batch_seq FROM segments) r
WHERE NOT EXISTS (SELECT 1 FROM slices s WHERE s.batch_seq = r.batch_seq);

-- name: audit_tokens
SELECT (SELECT last FROM tokens WHERE id = 1) AS last, (SELECT max(token) FROM slices) AS highest;

-- name: audit_leased
SELECT holder, count(*) AS slices FROM slices WHERE state = 'leased' GROUP BY holder;

-- Repairs by `fsck --repair`, while nobody else has the database open: outcomes are believed where their
-- segments are whole, everything else is counted from them.

-- name: mend_drop_outcomes!
DELETE FROM outcomes
WHERE batch_seq = :batch_seq
  AND (kind NOT IN (1, 2)
       OR segment IN (SELECT value FROM json_each(:segments))
       OR NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = segment AND s.batch_seq = :batch_seq)
       OR NOT EXISTS (
           SELECT 1 FROM slices s WHERE s.batch_seq = :batch_seq
             AND s.first = (SELECT max(t.first) FROM slices t
                            WHERE t.batch_seq = :batch_seq AND t.first <= line)
             AND line < s.first + s.count));

-- name: mend_drop_segments!
DELETE FROM segments
WHERE batch_seq = :batch_seq
  AND NOT EXISTS (
      SELECT 1 FROM outcomes o WHERE o.batch_seq = :batch_seq AND o.segment = segments.id);

-- name: mend_segments!
UPDATE segments SET lines_before = counted.lines_before, lines = counted.lines
FROM (
    SELECT segment, lines, sum(lines) OVER (ORDER BY segment) - lines AS lines_before
    FROM (SELECT segment, count(*) AS lines FROM outcomes
          WHERE batch_seq = :batch_seq GROUP BY segment)
) AS counted
WHERE segments.id = counted.segment AND segments.batch_seq = :batch_seq;

-- name: mend_slices!
UPDATE slices
SET settled = (SELECT count(*) FROM outcomes o
               WHERE o.batch_seq = slices.batch_seq
                 AND o.line >= slices.first AND o.line < slices.first + slices.count)
WHERE batch_seq = :batch_seq;

-- name: mend_counts!
UPDATE batches SET
    completed = (SELECT count(*) FROM outcomes WHERE batch_seq = :batch_seq AND kind = 1),
    failed = (SELECT count(*) FROM outcomes WHERE batch_seq = :batch_seq AND kind = 2),
    total = CASE WHEN status = 'validating' OR total = 0 THEN total
            ELSE (SELECT coalesce(sum(count), 0) FROM slices WHERE batch_seq = :batch_seq) END
WHERE seq = :batch_seq AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling');

-- name: mend_reopen!
UPDATE batches SET status = 'in_progress', finalizing_at = NULL
WHERE seq = :batch_seq AND status = 'finalizing' AND completed + failed < total
  AND NOT EXISTS (SELECT 1 FROM slices WHERE batch_seq = :batch_seq AND state = 'expired');

-- name: mend_slice_states!
UPDATE slices SET holder = NULL, state = CASE
    WHEN settled = count THEN 'done'
    ELSE (SELECT CASE b.status WHEN 'cancelling' THEN 'cancelled' WHEN 'finalizing' THEN 'expired'
                 ELSE 'open' END
          FROM batches b WHERE b.seq = :batch_seq) END
WHERE batch_seq = :batch_seq;

-- name: mend_drop_slices!
DELETE FROM slices WHERE batch_seq = :batch_seq;

-- name: mend_token!
UPDATE tokens SET last = max(last, :least) WHERE id = 1;
