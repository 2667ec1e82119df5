"""A repeated create makes one batch: recognized by the client's key, or by its count of retries."""
