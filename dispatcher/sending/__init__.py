"""A line's way from its slice to its stored result; at each moment it has one owner.

              ┌── quarantine ◄ twice lost, until a server was left to it alone
              ├── retrying ◄── to be tried again, until its time has come
              ├── refusals ◄── refused, until another backend has answered
              ▼            │
    pump ─► ready ─────► flight ─────► settler ─► pump
    claims   waits     has a slot     not yet     gives its slice back when
    slices   for one                  durable     the last line is stored

    schedule  whose slice comes next; `ordered`: keys in order
    pump      claims slices while lines are wanted, and renews their leases; `bodies` reads what they ask;
              `claim_sizes`: how many at once
    memory    how many bytes of requests and answers there may be
    media_room  its part for files
    ready     lines that wait for their turn
    flight    lines on their way; `attempt`: one send of one line; `gate`: closed while nothing can be sent
    ended_lines  how a line ends
    settle    the one writer of results

Uses `attempts`, `replies` and `backends`.
"""
