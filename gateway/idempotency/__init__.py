"""A create that comes twice makes one batch: by the client's key, or by its own count of retries."""
