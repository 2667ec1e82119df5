-- What housekeeping needs: whose bytes are whose, which batches ended long ago, what looked orphaned.

CREATE INDEX files_by_blob ON files (blob_key);
CREATE INDEX batches_by_end
    ON batches (coalesce(completed_at, failed_at, expired_at, cancelled_at));

-- Blobs that no row named when they were looked at: deleted if that is still so much later.
CREATE TABLE suspects (
    key TEXT PRIMARY KEY,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) WITHOUT ROWID;
