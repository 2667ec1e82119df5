"""The long acceptance scenarios: many kills, full and read-only disks, no backend, a poison line."""
