"""The worker: admits batches, sends their lines, settles results, publishes files."""
