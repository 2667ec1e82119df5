"""A line's way from its slice to its stored result; at each moment it has one owner.

    schedule  whose slice comes next; `ordered`: keys in order
    pump      claims slices while lines are wanted, and renews their leases; `bodies` reads what they ask
    memory    how many bytes of requests and answers there may be
    ready     lines that wait for their turn
    flight    lines on their way; `attempt`: one send of one line; `gate`: closed while nothing can be sent
    outcomes  how a line ends
    settle    the one writer of results

Uses `attempts`, `replies` and `backends`.
"""
