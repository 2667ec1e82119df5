"""The nginx configuration: one template for `batchline up` and for the two committed files.

Owns every number in it. The supervisor starts nginx. docs/decisions/002-who-retries.md and
012-placement.md say who retries what.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from batchline.api.endpoints import INTERACTIVE, MODELS
from batchline.errors import Invalid
from batchline.serving.origins import EVERY

GROUP = "batchline_backends"
"""Name of the upstream group. If X-Upstream holds only this, no server took a byte of the request."""

BACKEND_HEADER = "X-Batchline-Backend"
"""Names the server, as host:port, to which nginx sends a request; nginx does not pass the header on."""

READ_TIMEOUT_S = 7200
"""How long nginx waits for a server: longer than the dispatcher waits for one attempt of a line."""

FAULT_NO_BACKEND = "no_backend"
FAULT_BACKEND_FAILED = "backend_failed"

_LOOKS = (MODELS, "/health", "/metrics")
"""Paths that may be read: a dispatcher that knows only nginx probes it like a server."""
_PLAIN = re.compile(r"[\w./:-]+", re.ASCII)
_COMPOSE_PORT = 8000
_COMPOSE_NAME = "nginx"
_COMMITTED = {"nginx/nginx.conf": 1, "nginx/nginx-8gpu.conf": 8, "nginx/nginx-cpu.conf": 2}
_SBIN = "/usr/sbin:/usr/local/sbin:/sbin"


def render_nginx(
    upstreams: Sequence[str],
    *,
    listen: str,
    run_dir: str = "/tmp",  # noqa: S108 - inside the container, where only nginx lives
    error_log: str = "/dev/stderr",
    foreground: bool = False,
    user: str | None = None,
    read_timeout_s: int = READ_TIMEOUT_S,
    hosts: Sequence[str] = (),
) -> str:
    """Render a master configuration; `upstreams` are host:port of the model servers.

    `user`: the user that runs the workers if root starts nginx; None leaves the choice to nginx. `hosts`:
    names that nginx answers to beside localhost and IP addresses; to any, if "*" is among them.

    Raises Invalid: no upstream is given.
    """
    if not upstreams:
        raise Invalid("nginx needs at least one model server, such as 127.0.0.1:8001.")
    environment = Environment(
        loader=PackageLoader("batchline.fleet"),
        autoescape=False,  # noqa: S701 - an nginx file, not a page
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["word"] = _word
    return environment.get_template("nginx.conf.j2").render(
        upstreams=upstreams,
        group=GROUP,
        pool="batchline_backend_",
        header=BACKEND_HEADER,
        endpoints=INTERACTIVE,
        looks=_LOOKS,
        listen=listen,
        run_dir=run_dir,
        error_log=error_log,
        foreground=foreground,
        user=user,
        read_timeout_s=read_timeout_s,
        hosts=None if EVERY in hosts else sorted(set(hosts)),
        named=any(not upstream[0].isdigit() for upstream in upstreams),
    )


def write_nginx(config: Path, content: str) -> None:
    """Write a rendered configuration; the bytes of paths stay the same in every locale."""
    config.write_bytes(os.fsencode(content))


def _word(text: str) -> str:
    """Return `text` as one word of the configuration, in quotes if it needs them."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render_committed() -> dict[str, str]:
    """Render the files that the repository holds for compose: path from its root → content."""
    return {
        name: render_nginx(
            [f"vllm-{n}:{_COMPOSE_PORT}" for n in range(count)],
            listen=str(_COMPOSE_PORT),
            hosts=[_COMPOSE_NAME],
        )
        for name, count in _COMMITTED.items()
    }


def find_nginx(*, beside: str = _SBIN) -> str:
    """Return the path of the nginx program, also where PATH lacks the sbin folders.

    Raises Invalid: nginx is not installed; the message says how to get it.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path=beside)
    if found is None:
        raise Invalid("nginx was not found. Install it: sudo apt-get install nginx-light")
    return found


def nginx_argv(program: str, config: Path, *, error_log: Path) -> tuple[str, ...]:
    """Return the command line that runs nginx on `config`; -e keeps it off the system's log."""
    return (program, "-e", str(error_log), "-c", str(config))
