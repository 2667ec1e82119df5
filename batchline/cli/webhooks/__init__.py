"""`batchline webhooks`: endpoints and deliveries, over the API."""
