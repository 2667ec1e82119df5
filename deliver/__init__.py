"""The deliverer: tells the events of the outbox to those who want to know.

app        the process: opens what it needs, and stops in order
deliverer  claims, attempts, records
webhook_attempts  one attempt at a receiver: sign and send
handling   handlers of results: found, run, ended
builtin    the handlers that batchline brings
receiver_circuit  receivers that fail again and again are left alone for a while
"""
