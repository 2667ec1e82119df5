"""The API as the commands use it: one connection pool, checked batch objects, transfers, retries.

Used by the commands of `batches/` and by doctor.
"""
