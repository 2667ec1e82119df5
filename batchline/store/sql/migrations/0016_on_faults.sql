-- What faults of lines do to their batch, and how many requests came with it where that was counted.

ALTER TABLE batches ADD COLUMN on_faults TEXT NOT NULL DEFAULT 'fail_batch';
ALTER TABLE batches ADD COLUMN requests INTEGER;

-- Lists of the batches for one endpoint.
CREATE INDEX batches_by_endpoint ON batches (endpoint);
