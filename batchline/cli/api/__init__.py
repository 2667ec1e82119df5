"""The API as a client sees it: one connection pool, batches read defensively, files moved, patience.

Used by the commands of `batches/`, and by doctor.
"""
