-- Files that are gone, as cursors of lists: who deletes what he lists goes on where he was. However they
-- went, the last 100,000 are remembered.
CREATE TABLE gone_files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL
);
CREATE TRIGGER remember_gone_file AFTER DELETE ON files
BEGIN
    INSERT INTO gone_files (id, seq) VALUES (OLD.id, OLD.seq);
    DELETE FROM gone_files WHERE number <= last_insert_rowid() - 100000;
END;

-- Uploads in parts. The bytes of the parts lie below one prefix per upload (blobs/keys.py).

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'cancelled', 'expired')),
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    file_ttl_s INTEGER,
    file_id TEXT,
    -- The blob that the latest completion joins the parts into: it fences off earlier ones.
    joining_key TEXT
) WITHOUT ROWID;
CREATE INDEX uploads_by_expiry ON uploads (expires_at);
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';

CREATE TABLE upload_parts (
    upload_id TEXT NOT NULL,
    id TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (upload_id, id)
) WITHOUT ROWID;
