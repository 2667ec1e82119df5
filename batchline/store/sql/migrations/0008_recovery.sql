-- Dispatchers that died on a batch: which one works on it while no slice says so (validating, publishing),
-- how many died in a row with no line finished in between, and how many were finished then.

ALTER TABLE batches ADD COLUMN worked_by TEXT;
ALTER TABLE batches ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN finished_then INTEGER NOT NULL DEFAULT 0;
