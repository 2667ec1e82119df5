-- Lists of the batches in some statuses: a page of them costs the same however many others there are.

CREATE INDEX batches_by_status ON batches (status, seq);
