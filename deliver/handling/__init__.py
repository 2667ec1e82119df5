"""Handlers of results: found, run in processes of their own, and ended when they take too much.

survey        at the start: which handlers run, with which settings (`inventory`, `found`: in a process)
attempts      one delivery to a handler: its batch, and what becomes of it
run           one attempt: results go in, progress comes out, the lease is kept
program       the process of a handler within its limits (`process_tree`)
child         what that process runs (`messages`, `sync_form`)
"""
