"""Processes of ours that start warm: forked from one that has imported the whole product.

A cold start imports for most of a second, and the suite starts hundreds. What runs is the same command line,
in a process of its own that may be killed, frozen or measured like any other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import connection, forkserver

# pytest: a child looks at the program that its parent runs.
_IMPORTED = ("batchline.cli.main", "gateway.app", "dispatcher.app", "deliver.app", "pytest")

_CONTEXT = multiprocessing.get_context("forkserver")


def _begin_anew():
    """Have a forking process of one's own: that of a parent answers nobody else."""
    forkserver._forkserver.__init__()
    _CONTEXT.set_forkserver_preload(list(_IMPORTED))


_begin_anew()
os.register_at_fork(after_in_child=_begin_anew)


def _run(arguments, environment, log):
    """Become `batchline …`; runs in the child."""
    from batchline.cli.main import main
    from batchline.process.service import die_with_parent

    die_with_parent(signal.SIGKILL)  # of the forking one, which ends with the tests
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDWR)
    talk = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target, source in enumerate((nothing, talk, talk)):
        os.dup2(source, target)
    sys.argv = ["batchline", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


class Warm:
    """A running `batchline …`, with the parts of `subprocess.Popen` that tests use."""

    def __init__(self, arguments, environment, log):
        self._process = _CONTEXT.Process(
            target=_run, args=(arguments, dict(environment), str(log)), daemon=True
        )
        self._looking = threading.Lock()  # its end can be read once
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def sentinel(self):
        """A descriptor that can be read once it has ended."""
        return self._process.sentinel

    @property
    def returncode(self):
        """None while it runs, the negative number of the signal that killed it."""
        with self._looking:
            return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        connection.wait([self.sentinel], timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("batchline", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)
