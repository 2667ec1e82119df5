"""Looking at the model servers, now and then, and what follows.

    probe     looks at each: health, models, figures; `asker` asks, `gauges` reads a page of figures
    offered_endpoints  what answers to GET tell of the endpoints that it offers
    served_models  which models a batch that comes may name
    look      one look at all: circuits, the gate, the limit, lines that are taken away
    canary    small requests of our own that show whether a server works
    in_flight_limit  how many requests may be in flight

Uses `sending` and what that uses.
"""
