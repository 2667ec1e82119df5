"""What every HTTP server of ours shares.

listening, sites  the address that it listens on, and binding it
web, origins      a request's head: whether it may come in at all
identity          what `/health` tells of a process
request_log       bounds what clients can make it log
"""
