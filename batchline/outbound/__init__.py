"""Requests to hosts that clients name: what must not be reached by them, and connections that hold to it.

addresses   which addresses only this host or its network reaches; URLs in their plain form
connection  a pool of connections to the very addresses that were judged
media_urls  where the media of lines may come from

`batchline/webhooks/` says where deliveries may go.
"""
