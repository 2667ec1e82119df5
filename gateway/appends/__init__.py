"""Requests that are added to a batch while it runs.

routes      the two calls: add requests, take no more
requests    the body of an append, split into requests as it comes
checked     each of them completed and checked, as admission checks the lines of a file
"""
