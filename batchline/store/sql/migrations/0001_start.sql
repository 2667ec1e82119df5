-- Files, batches, slices, outcomes, segments: small rows only, never prompt or result text.

CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    blob_key TEXT NOT NULL
);
CREATE INDEX files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN (
        'validating', 'failed', 'in_progress', 'finalizing',
        'completed', 'expired', 'cancelling', 'cancelled')),
    endpoint TEXT NOT NULL,
    input_file_id TEXT NOT NULL,
    input_key TEXT NOT NULL,
    completion_window TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    metadata TEXT,
    model TEXT,
    faults TEXT,
    output_expires_after_s INTEGER,
    output_file_id TEXT,
    error_file_id TEXT,
    in_progress_at INTEGER,
    finalizing_at INTEGER,
    completed_at INTEGER,
    failed_at INTEGER,
    expired_at INTEGER,
    cancelling_at INTEGER,
    cancelled_at INTEGER,
    total INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0,
    CHECK (completed + failed <= total)
);
CREATE INDEX batches_open ON batches (seq)
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX batches_by_input ON batches (input_key);

-- A slice's lease counts in the store's own milliseconds; no caller ever sees them.
CREATE TABLE slices (
    batch_seq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    offset_bytes INTEGER NOT NULL,
    length_bytes INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'leased', 'done', 'cancelled', 'expired')),
    settled INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    leased_until_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_seq, first)
) WITHOUT ROWID;
CREATE INDEX slices_open ON slices (batch_seq, first) WHERE state = 'open';
CREATE INDEX slices_leased ON slices (leased_until_ms) WHERE state = 'leased';

-- One row per finished line, inserted once, never updated. kind: states.OUTCOME_CODES.
CREATE TABLE outcomes (
    batch_seq INTEGER NOT NULL,
    line INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    PRIMARY KEY (batch_seq, line)
) WITHOUT ROWID;

CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_seq INTEGER NOT NULL,
    key TEXT NOT NULL,
    offset_bytes INTEGER NOT NULL,
    length_bytes INTEGER NOT NULL
);
CREATE INDEX segments_by_batch ON segments (batch_seq, id);

-- Fencing tokens: one number, only ever growing.
CREATE TABLE tokens (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
INSERT INTO tokens (id, last) VALUES (1, 0);

CREATE TABLE roles (
    role TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    held_until_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Blob keys that no row names any more (a trailing slash: all below).
CREATE TABLE garbage (key TEXT PRIMARY KEY) WITHOUT ROWID;

-- What the dispatcher last saw: one row, for the gateway and the dashboard.
CREATE TABLE reports (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL, body TEXT NOT NULL);
