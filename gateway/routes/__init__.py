"""The handlers of the routes, on top of the store and the blobs."""
