"""Responses in the background: `POST /v1/responses` with `background: true`.

Each is a batch of one request that no list shows, so that it has the same guarantees.

    background_request  what a client asks: the line of the batch (pure)
    finished_response   what became of the line, as OpenAI's object (pure)
    routes              create, show, cancel, delete
"""
