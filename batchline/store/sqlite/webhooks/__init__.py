"""The protocols of webhooks on SQLite: `endpoints` and `outbox`, by the statements of `sql/outbox.sql`."""
