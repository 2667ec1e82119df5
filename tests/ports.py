"""Ports for servers that a test starts: free, and not such as the kernel or another test process hands out."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

_BELOW_EPHEMERAL = range(12_000, 32_000)  # Linux gives outgoing connections ports from 32768 on
_random = random.Random(os.getpid())
_given: set[int] = set()
os.register_at_fork(after_in_child=lambda: _random.seed(os.getpid()))  # ports of its own


def free_port() -> int:
    """Return a port that nobody listens on; each only once."""
    while True:
        port = _random.choice(_BELOW_EPHEMERAL)
        if reserve(port):
            return port


def reserve(port: int) -> bool:
    """Keep a port for this process, also while what listens there is down; False if it is another's.

    One file for all test processes of this user: the byte at a port's number is locked as long as they live.
    """
    if port in _given or not _is_free(port):
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


@functools.cache
def _reservations() -> int:
    path = Path(tempfile.gettempdir()) / f"batchline-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
