"""nginx before the model servers of a history: its role, its reload, the death of one worker."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil

from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx

from .crew import Role


def nginx_role(servers, folder, port):
    """Write the configuration that the product renders; return how to run it."""
    folder.mkdir()
    config = folder / "nginx.conf"
    error_log = folder / "error.log"
    config.write_text(
        render_nginx(
            servers,
            listen=f"127.0.0.1:{port}",
            run_dir=str(folder),
            error_log=str(error_log),
            foreground=True,
            user="root" if os.geteuid() == 0 else None,
        )
    )
    argv = nginx_argv(find_nginx(), config, error_log=error_log)
    url = f"http://127.0.0.1:{port}/nginx-health"
    return Role("nginx", argv, dict(os.environ), url, folder / "nginx.log", has_group=True)


def reload(pid):
    """Let nginx read its configuration anew: fresh workers, the old ones finish what they have."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)


def kill_worker(pid):
    """Kill one worker with all its connections; the master starts another."""
    with suppress(psutil.NoSuchProcess):
        for worker in psutil.Process(pid).children()[:1]:
            worker.kill()
