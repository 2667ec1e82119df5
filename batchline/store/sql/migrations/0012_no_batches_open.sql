-- Its statements read batches_by_status since 9.

DROP INDEX batches_open;
