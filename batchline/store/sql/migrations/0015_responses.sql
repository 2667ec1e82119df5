-- Responses in the background: batches of one request, which lists of batches, files and events leave out.

ALTER TABLE batches ADD COLUMN is_response INTEGER NOT NULL DEFAULT 0;
CREATE INDEX batches_listed ON batches (seq) WHERE NOT is_response;
CREATE INDEX batches_listed_by_status ON batches (status, seq) WHERE NOT is_response;
CREATE INDEX files_listed ON files (seq) WHERE purpose != 'response';

DROP TRIGGER note_ended_batch;
CREATE TRIGGER note_ended_batch AFTER UPDATE OF status ON batches
WHEN NEW.status IN ('failed', 'completed', 'expired', 'cancelled')
 AND OLD.status NOT IN ('failed', 'completed', 'expired', 'cancelled')
 AND NOT NEW.is_response
BEGIN
    INSERT INTO events (id, type, created_at, batch_id, callback_url)
    VALUES ('evt_' || lower(hex(randomblob(16))), 'batch.' || NEW.status,
            coalesce(NEW.completed_at, NEW.failed_at, NEW.expired_at, NEW.cancelled_at),
            NEW.id, NEW.callback_url);
END;
