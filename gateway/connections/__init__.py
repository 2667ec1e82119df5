"""The lowest layer: what only a connection knows, how many there may be, and whose turn it is."""
