"""Interactive requests to the upstream: the one session (`session`), and answers that refuse (`refusals`).

Used by `routes/proxy.py`, which passes one request on, and by `synchronous/`, which sends those of a call.
"""
