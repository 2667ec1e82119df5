-- The outbox: what happened, who wants to know, and what is on its way.

-- Where the end of this batch is told, beside the endpoints.
ALTER TABLE batches ADD COLUMN callback_url TEXT;

CREATE TABLE webhook_endpoints (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    origin TEXT NOT NULL,  -- of the URL: scheme, host and port
    event_types TEXT NOT NULL,  -- JSON
    after_event INTEGER NOT NULL,  -- it gets events with higher numbers: those after it was registered
    secret TEXT NOT NULL,
    old_secret TEXT,
    old_secret_until INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

-- Written in the transaction that ends the batch, whichever that is. is_addressed: its deliveries are made.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    batch_id TEXT NOT NULL,
    callback_url TEXT,
    is_addressed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX events_to_address ON events (seq) WHERE NOT is_addressed;
CREATE INDEX events_by_age ON events (created_at);
CREATE INDEX events_by_batch ON events (batch_id);
CREATE TRIGGER note_ended_batch AFTER UPDATE OF status ON batches
WHEN NEW.status IN ('failed', 'completed', 'expired', 'cancelled')
 AND OLD.status NOT IN ('failed', 'completed', 'expired', 'cancelled')
BEGIN
    INSERT INTO events (id, type, created_at, batch_id, callback_url)
    VALUES ('evt_' || lower(hex(randomblob(16))), 'batch.' || NEW.status,
            coalesce(NEW.completed_at, NEW.failed_at, NEW.expired_at, NEW.cancelled_at),
            NEW.id, NEW.callback_url);
END;

-- One event on its way to one receiver. ask: who wanted it (an endpoint, the batch, a setting).
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    ask TEXT NOT NULL CHECK (ask IN ('endpoint', 'batch', 'setting')),
    endpoint_id TEXT,
    url TEXT NOT NULL,
    origin TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    since INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    leased_until_ms INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_error TEXT,
    ended_at INTEGER
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (event_id, ask, coalesce(endpoint_id, url));
CREATE INDEX deliveries_due ON deliveries (origin, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_waiting ON deliveries (since) WHERE state = 'pending';
CREATE INDEX deliveries_waiting_there ON deliveries (origin, since) WHERE state = 'pending';
CREATE INDEX deliveries_given_up ON deliveries (number) WHERE state = 'given_up';
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE state != 'pending';
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, number);
