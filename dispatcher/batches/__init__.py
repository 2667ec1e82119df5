"""Every batch to where its status belongs.

    conduct      from one status to the next
    admit        validation of the input; `turns`: long ones apart from short ones
    windows      which batches are past their deadline; `open_batches`: those that the store tells of
    crash_loops  batches on which dispatchers die
    publish      the result files; `merge` reads them in order, `publishing_space`: whether they fit;
                 `join`: the input file of a batch that took requests

Uses `sending` and what that uses.
"""
