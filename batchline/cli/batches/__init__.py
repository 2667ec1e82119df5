"""The commands about batches: submit, watch, ls, show, results, errors, retry, pause, resume, cancel, rm."""
