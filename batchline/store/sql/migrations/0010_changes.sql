-- Which batches changed, in order, so that who follows them reads what changed and no more (docs/decisions/018).
-- One row a batch, which gets a new number with every change; the last 100,000 numbers are kept.
CREATE TABLE batch_changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_seq INTEGER NOT NULL UNIQUE
);
CREATE TRIGGER note_new_batch AFTER INSERT ON batches
BEGIN
    INSERT INTO batch_changes (batch_seq) VALUES (NEW.seq);
    DELETE FROM batch_changes WHERE number <= last_insert_rowid() - 100000;
END;
CREATE TRIGGER note_changed_batch
AFTER UPDATE OF status, paused_at, deaths, finished_then, total, completed, failed ON batches
BEGIN
    DELETE FROM batch_changes WHERE batch_seq = NEW.seq;
    INSERT INTO batch_changes (batch_seq) VALUES (NEW.seq);
END;
CREATE TRIGGER note_gone_batch AFTER DELETE ON batches
BEGIN
    DELETE FROM batch_changes WHERE batch_seq = OLD.seq;
    INSERT INTO batch_changes (batch_seq) VALUES (OLD.seq);
END;
