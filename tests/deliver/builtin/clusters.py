"""A cluster of PostgreSQL for a module's tests: its own folder, port and password, no safety against power cuts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
from ports import free_port
from waiting import wait_until

PASSWORD = "of-the-tests"


class Cluster:
    """A server that can be killed and started again."""

    def __init__(self, folder, owner):
        self.port = free_port()
        self.url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self._folder, self._owner = folder, owner
        self._log, self._starts = folder / "log", 0
        secret = folder / "password"
        secret.write_text(PASSWORD)
        subprocess.run(
            [
                *(_program("initdb"), "-D", folder / "data", "-U", "postgres"),
                *("--pwfile", secret, "-A", "scram-sha-256"),
                *("-E", "UTF8", "--locale", "C", "--no-sync"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **owner,
        )

    @property
    def pid(self):
        return self._server.pid

    def start(self):
        options = {"fsync": "off", "shared_buffers": "16MB", "autovacuum": "off"}
        with self._log.open("a") as log:
            self._server = subprocess.Popen(
                [
                    *(_program("postgres"), "-D", self._folder / "data", "-k", self._folder),
                    *("-h", "127.0.0.1", "-p", str(self.port)),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdout=log,
                stderr=log,
                **self._owner,
            )
        self._starts += 1
        wait_until(
            lambda: self._log.read_text().count("ready to accept connections") == self._starts,
            saw=self._log.read_text,
        )

    def wait_for_end(self):
        self._server.wait(60)

    def end(self):
        with suppress(ProcessLookupError):
            self._server.send_signal(signal.SIGQUIT)
        self.wait_for_end()

    async def run(self, statements):
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    async def rows(self, query, *values):
        connection = await asyncpg.connect(self.url)
        try:
            return [dict(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()


@contextmanager
def running_cluster():
    """Run one in a folder of its own, as `postgres` where this is root: the server refuses to be that."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))  # pytest's are closed to other users
    owner = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}
    try:
        cluster = Cluster(folder, owner)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.end()
    finally:
        shutil.rmtree(folder)


def _program(name):
    """Find a program of PostgreSQL: Debian has them where no PATH leads to."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name) or name
