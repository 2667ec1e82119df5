-- Batches that take requests while they run. appended_bytes: of all that were added so far; NULL where the
-- input is one file from the start. default_model: that of requests that name none.

ALTER TABLE batches ADD COLUMN takes_requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN appended_bytes INTEGER;
ALTER TABLE batches ADD COLUMN default_model TEXT;

-- The append whose bytes the slice is a range of; 0: the input file.
ALTER TABLE slices ADD COLUMN append INTEGER NOT NULL DEFAULT 0;

-- Digests of the custom_ids that such a batch has, so that what is sent again is not added again.
CREATE TABLE appended_ids (
    batch_seq INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (batch_seq, digest)
) WITHOUT ROWID;
