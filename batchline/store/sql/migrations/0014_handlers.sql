-- Deliveries to handlers of results: how far each came, and what it kept for its next attempt.
ALTER TABLE deliveries ADD COLUMN lines_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN checkpoint BLOB;
-- Attempts in a row in which the handler died and got no further.
ALTER TABLE deliveries ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
