-- What shall happen to a batch of which most lines fail, and how many lines were finished and had failed when
-- it was last resumed: those count no more.

ALTER TABLE batches ADD COLUMN on_failures TEXT NOT NULL DEFAULT 'continue';
ALTER TABLE batches ADD COLUMN finished_at_resume INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN failed_at_resume INTEGER NOT NULL DEFAULT 0;
