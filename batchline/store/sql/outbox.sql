-- The statements of webhook endpoints and the outbox, as sqlite.sql.

-- name: add_endpoint!
INSERT INTO webhook_endpoints (id, name, url, origin, event_types, secret, created_at, updated_at,
                               after_event)
VALUES (:id, :name, :url, :origin, :event_types, :secret, :created_at, :updated_at,
        (SELECT coalesce(max(seq), 0) FROM events));

-- name: get_endpoint
SELECT * FROM webhook_endpoints WHERE id = :id;

-- name: list_endpoints
SELECT * FROM webhook_endpoints WHERE seq < :after ORDER BY seq DESC LIMIT :limit;

-- name: count_endpoints
SELECT count(*) AS many FROM webhook_endpoints;

-- name: update_endpoint!
UPDATE webhook_endpoints
SET name = coalesce(:name, name), url = coalesce(:url, url), origin = coalesce(:origin, origin),
    event_types = coalesce(:event_types, event_types), updated_at = max(:now, updated_at)
WHERE id = :id
  AND (name != coalesce(:name, name) OR url != coalesce(:url, url)
       OR event_types != coalesce(:event_types, event_types));

-- name: move_deliveries!
UPDATE deliveries SET url = :url, origin = :origin
WHERE endpoint_id = :id AND state = 'pending' AND url != :url;

-- name: rotate_secret!
UPDATE webhook_endpoints
SET old_secret = CASE WHEN :keep_until IS NULL THEN NULL ELSE secret END,
    old_secret_until = coalesce(:keep_until, 0), secret = :secret, updated_at = max(:now, updated_at)
WHERE id = :id;

-- name: delete_endpoint!
DELETE FROM webhook_endpoints WHERE id = :id;

-- name: give_up_deliveries!
UPDATE deliveries SET state = 'given_up', ended_at = :now, last_error = :error
WHERE endpoint_id = :id AND state = 'pending';

-- name: events_to_address
SELECT e.seq, e.id, e.type, e.callback_url, b.metadata
FROM (SELECT * FROM events WHERE NOT is_addressed ORDER BY seq LIMIT :limit) e
LEFT JOIN batches b ON b.id = e.batch_id
ORDER BY e.seq;

-- name: address_to_endpoints!
INSERT INTO deliveries (event_id, ask, endpoint_id, url, origin, due_at, since)
SELECT :event_id, 'endpoint', e.id, e.url, e.origin, :now, :now FROM webhook_endpoints e
WHERE e.after_event < :seq
  AND EXISTS (SELECT 1 FROM json_each(e.event_types) wanted WHERE wanted.value = :type)
ORDER BY e.seq;

-- name: address_to!
INSERT INTO deliveries (event_id, ask, url, origin, due_at, since)
VALUES (:event_id, :ask, :url, :origin, :now, :now)
ON CONFLICT DO NOTHING;

-- name: mark_addressed!
UPDATE events SET is_addressed = 1 WHERE seq = :seq AND NOT is_addressed;

-- name: claimable_deliveries
-- Receiver by receiver, so that the many deliveries of one that is passed over cost nothing.
-- Handlers are receivers, too; only those of this process are given batches.
WITH RECURSIVE receivers (origin) AS (
    SELECT min(origin) FROM deliveries WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT min(origin) FROM deliveries WHERE state = 'pending' AND origin > r.origin)
    FROM receivers r WHERE r.origin IS NOT NULL)
SELECT d.number FROM receivers r CROSS JOIN deliveries d
WHERE r.origin NOT IN (SELECT value FROM json_each(:but))
  AND (r.origin NOT LIKE 'handler:%' OR r.origin IN (SELECT value FROM json_each(:handlers)))
  AND d.number IN (
    SELECT number FROM deliveries INDEXED BY deliveries_due
    WHERE state = 'pending' AND origin = r.origin AND due_at <= :now AND leased_until_ms <= :now_ms
    ORDER BY due_at, number LIMIT :limit)
ORDER BY d.due_at, d.number LIMIT :limit;

-- name: claim_delivery
UPDATE deliveries SET token = token + 1, leased_until_ms = :until_ms
WHERE number = :number AND state = 'pending' AND leased_until_ms <= :now_ms
RETURNING token;

-- name: keep_delivery!
UPDATE deliveries
SET lines_done = :lines_done, checkpoint = :checkpoint, leased_until_ms = :until_ms
WHERE number = :number AND token = :token AND state = 'pending';

-- name: record_attempt!
UPDATE deliveries
SET state = :state, attempts = attempts + 1, due_at = :due_at, leased_until_ms = 0, deaths = :deaths,
    last_status = :status, last_error = :error,
    ended_at = CASE WHEN :state = 'pending' THEN NULL ELSE :now END
WHERE number = :number AND token = :token AND state = 'pending';

-- name: give_up_late!
UPDATE deliveries SET state = 'given_up', ended_at = :now, last_error = coalesce(last_error, :error)
WHERE number IN (
    SELECT number FROM deliveries INDEXED BY deliveries_waiting
    WHERE state = 'pending' AND since < :made_before AND leased_until_ms <= :now_ms
    ORDER BY since LIMIT :limit);

-- name: outbox_figures
SELECT (SELECT count(*) FROM deliveries WHERE state = 'pending') AS pending,
       (SELECT min(since) FROM deliveries WHERE state = 'pending') AS oldest_since,
       (SELECT count(*) FROM deliveries WHERE state = 'given_up') AS given_up;

-- name: get_delivery
SELECT d.*, e.secret, e.old_secret, e.old_secret_until,
       d.endpoint_id IS NULL OR e.id IS NOT NULL AS is_replayable,
       v.type, v.created_at AS happened_at, v.batch_id, b.total AS lines_total
FROM deliveries d JOIN events v ON v.id = d.event_id
LEFT JOIN batches b ON b.id = v.batch_id
LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id
WHERE d.number = :number;

-- name: list_deliveries
SELECT d.*, v.type, v.created_at AS happened_at, v.batch_id, b.total AS lines_total,
       d.endpoint_id IS NULL OR e.id IS NOT NULL AS is_replayable
FROM deliveries d JOIN events v ON v.id = d.event_id
LEFT JOIN batches b ON b.id = v.batch_id
LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id
WHERE d.number < :before
ORDER BY d.number DESC LIMIT :limit;

-- name: list_deliveries_to_endpoint
SELECT d.*, v.type, v.created_at AS happened_at, v.batch_id, b.total AS lines_total,
       d.endpoint_id IS NULL OR e.id IS NOT NULL AS is_replayable
FROM deliveries d JOIN events v ON v.id = d.event_id
LEFT JOIN batches b ON b.id = v.batch_id
LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id
WHERE d.endpoint_id = :endpoint_id AND d.number < :before
ORDER BY d.number DESC LIMIT :limit;

-- name: list_deliveries_of_batch
SELECT d.*, v.type, v.created_at AS happened_at, v.batch_id, b.total AS lines_total,
       d.endpoint_id IS NULL OR e.id IS NOT NULL AS is_replayable
FROM events v CROSS JOIN deliveries d ON d.event_id = v.id
LEFT JOIN batches b ON b.id = v.batch_id
LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id
WHERE v.batch_id = :batch_id AND d.number < :before
  AND (:endpoint_id IS NULL OR d.endpoint_id = :endpoint_id)
ORDER BY d.number DESC LIMIT :limit;

-- name: waiting_deliveries
-- Of each receiver the one that waits longest, found receiver by receiver as above.
WITH RECURSIVE receivers (origin) AS (
    SELECT min(origin) FROM deliveries WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT min(origin) FROM deliveries WHERE state = 'pending' AND origin > r.origin)
    FROM receivers r WHERE r.origin IS NOT NULL)
SELECT d.*, v.type, v.created_at AS happened_at, v.batch_id, b.total AS lines_total,
       1 AS is_replayable
FROM receivers r CROSS JOIN deliveries d JOIN events v ON v.id = d.event_id
LEFT JOIN batches b ON b.id = v.batch_id
WHERE d.number = (
    SELECT number FROM deliveries INDEXED BY deliveries_waiting_there
    WHERE state = 'pending' AND origin = r.origin ORDER BY since, number LIMIT 1)
ORDER BY d.since, d.number LIMIT :limit;

-- name: unaddressed_events
-- The oldest thousand tell enough, however many there are.
SELECT min(created_at) AS since, max(callback_url IS NOT NULL) AS has_callback
FROM (SELECT created_at, callback_url FROM events WHERE NOT is_addressed ORDER BY seq LIMIT 1000);

-- name: replay_delivery!
UPDATE deliveries
SET state = 'pending', attempts = 0, due_at = :now, since = :now, ended_at = NULL,
    leased_until_ms = 0, token = token + 1, lines_done = 0, checkpoint = NULL, deaths = 0,
    url = coalesce((SELECT e.url FROM webhook_endpoints e WHERE e.id = endpoint_id), url),
    origin = coalesce((SELECT e.origin FROM webhook_endpoints e WHERE e.id = endpoint_id), origin)
WHERE number = :number
  AND (endpoint_id IS NULL OR EXISTS (SELECT 1 FROM webhook_endpoints e WHERE e.id = endpoint_id));

-- name: forget_deliveries!
DELETE FROM deliveries WHERE number IN (
    SELECT number FROM deliveries INDEXED BY deliveries_ended
    WHERE state != 'pending' AND ended_at <= :ended_before LIMIT :limit);

-- name: forget_events!
DELETE FROM events WHERE seq IN (
    SELECT seq FROM events v WHERE v.created_at <= :ended_before AND v.is_addressed
      AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = v.id) LIMIT :limit);
