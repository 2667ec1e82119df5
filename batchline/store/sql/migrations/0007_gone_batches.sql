-- Batches that are gone, as cursors of lists, for the reason and as many as gone_files (0002).
CREATE TABLE gone_batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL
);
CREATE TRIGGER remember_gone_batch AFTER DELETE ON batches
BEGIN
    INSERT INTO gone_batches (id, seq) VALUES (OLD.id, OLD.seq);
    DELETE FROM gone_batches WHERE number <= last_insert_rowid() - 100000;
END;
