"""What is known of each model server, and which of them gets a line.

    berth       one server as a place for lines, and one line's time there
    circuit     whether lines may be sent there, and how many
    pressure    how many it takes before it says that it is full
    pulse       whether it hangs
    lacks       models, endpoints and room that it was found not to have
    serving     which of them serve what; `unserved`: models that nobody does; `odd_lists`: who lists others
    way         nginx, the way to all of them
    placement   moves all of these, and chooses

Knows nothing of lines but their model, endpoint and size. Uses no other room.
"""
