"""Every batch to where its status belongs.

    conduct      from one status to the next
    admit        validation of the input; `turns`: so many at once
    windows      which batches are past their deadline; `open_batches`: those that the store tells of
    crash_loops  batches on which dispatchers die
    publish      the result files; `merge` reads them in order, `disk_space` says whether they fit on the disk

Uses `sending` and what that uses.
"""
