"""`batchline webhooks`: endpoints, over the API."""
