"""Looking at the model servers, now and then, and what follows.

    probe     asks each for its health, models and figures; `gauges` reads a page of figures
    look      one look at all: circuits, the gate, the limit, lines that are taken away
    canary    small requests of our own that show whether a server works
    governor  how many requests may be in flight

Uses `sending` and what that uses.
"""
