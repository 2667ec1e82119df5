"""Requests to hosts that clients name: what must not be reached by them, and connections that hold to it.

addresses   which addresses only this host or its network reaches; URLs in their plain form
connection  a pool of connections to the very addresses that were judged

`batchline/webhooks/` says where deliveries may go.
"""
