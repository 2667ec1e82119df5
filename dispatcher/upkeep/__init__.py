"""Duties that no request waits for, each a bounded step now and then.

    housekeeping  puts them together
    sweep         what time makes superfluous: deadlines, expired files, ended batches
    orphans       bytes that no row names
    compact       the database file
    disk          with too little room nothing new begins

Uses `sending.gate`.
"""
