"""One SQLite file: its connections and transactions, group commit, its schema, and what its refusals mean.

Knows no table but that of the schema's number.
"""
