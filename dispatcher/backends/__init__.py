"""What is known of each model server, and which of them gets a line.

    backend    one server and what is known of it; a slot: one line's time there
    circuit    whether lines may be sent there, and how many
    pressure   how many it takes before it says that it is full
    liveness   whether it hangs
    lacks      models, endpoints and room that it was found not to have
    serving    which of them serve what; `unserved`: models that nobody does; `odd_lists`: who lists others
    way        nginx, the way to all of them
    balancer   moves all of these, and chooses

Knows nothing of lines but their model, endpoint and size. Uses no other room.
"""
