"""Duties that no request waits for, each a bounded step now and then.

    housekeeping  puts them together
    deadlines     ends batches that are past theirs
    sweep         what time makes superfluous: expired files, ended batches and the rows of their lines
    orphans       bytes that no row names
    vacuum        the database file
    disk_watch          with too little room nothing new begins

Uses `sending.gate`.
"""
