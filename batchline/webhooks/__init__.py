"""Webhooks: the end of a batch is told to whoever asked for it, signed, until it is taken.

records    events, endpoints and deliveries; how their ids and secrets are made and shown
addresses  where deliveries may go: public addresses over HTTPS, and networks that the operator named
signing    the headers by which a receiver knows us (Standard Webhooks)
patience   when a delivery is tried again, and when it is given up
post       one delivery over HTTP, to the very address that was judged
"""
