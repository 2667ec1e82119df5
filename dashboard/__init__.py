"""The pages: live progress of batches and backends."""
