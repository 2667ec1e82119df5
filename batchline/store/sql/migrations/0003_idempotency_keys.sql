-- Which batch a client's Idempotency-Key made, and from which body. A key outlives its batch.

CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    body_digest BLOB NOT NULL,
    batch_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
