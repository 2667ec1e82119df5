"""The HTTP API: files, batches, models, health, metrics; mounts the dashboard."""
