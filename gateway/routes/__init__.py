"""The handlers of each route: thin, over the store and the blobs."""
