-- Pausing, reading results while a batch runs.

ALTER TABLE batches ADD COLUMN paused_at INTEGER;

-- How many of the batch's lines were settled before this segment and in it: this numbers lines by when
-- they finished.
ALTER TABLE segments ADD COLUMN lines_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segments ADD COLUMN lines INTEGER NOT NULL DEFAULT 0;
UPDATE segments SET lines_before = counted.lines_before, lines = counted.lines
FROM (
    SELECT segment, lines, sum(lines) OVER (PARTITION BY batch_seq ORDER BY segment) - lines
           AS lines_before
    FROM (SELECT batch_seq, segment, count(*) AS lines FROM outcomes GROUP BY batch_seq, segment)
) AS counted
WHERE counted.segment = segments.id;
CREATE INDEX segments_by_place ON segments (batch_seq, lines_before);
