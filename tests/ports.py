"""Ports for servers that a test starts: free, and not such as the kernel hands out meanwhile."""

from __future__ import annotations

import os
import random
import socket

_BELOW_EPHEMERAL = range(12_000, 32_000)  # Linux gives outgoing connections ports from 32768 on
_random = random.Random(os.getpid())
_given: set[int] = set()
os.register_at_fork(after_in_child=lambda: _random.seed(os.getpid()))  # ports of its own


def free_port() -> int:
    """Return a port that nobody listens on; each only once."""
    while True:
        port = _random.choice(_BELOW_EPHEMERAL)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
