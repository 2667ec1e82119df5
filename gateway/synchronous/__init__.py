"""`POST /batch`: many interactive requests in one call, answered together. It stores nothing.

requests.py    the body of a call, split into its requests          pure
reading.py     one request, read and filled                         pure
responses.py   the responses, in the form of their requests         pure
window.py      the micro-batch window: requests sent together
slots.py       places in flight, shared fairly among calls
memory.py      bytes of requests and answers held
exchange.py    one request, one reply
calls.py       the requests of one call, sent and answered within its time
route.py       the route
"""
