"""Whether the ports that a plan needs are free. Asked before anything is started or installed."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from batchline.errors import Invalid


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a part of batchline is about to listen on, and how the user moves it."""

    part: str
    host: str
    number: int
    remedy: str


def check_ports(ports: Iterable[Port]) -> None:
    """Return if every port can be listened on.

    Raises Invalid: some cannot, or two parts want the same; all are named with their remedies.
    """
    problems = []
    taken: dict[int, str] = {}
    for port in ports:
        reason = f"{taken[port.number]} wants it too" if port.number in taken else _refusal(port)
        taken.setdefault(port.number, port.part)
        if reason:
            problems.append(
                f"port {port.number} for {port.part}: {reason}. End what uses it, or {port.remedy}."
            )
    if problems:
        raise Invalid("\n".join(problems), code="port_in_use")


def _refusal(port: Port) -> str | None:
    """Return why nobody can listen there, None if it is free."""
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except (OSError, OverflowError) as exc:
            return getattr(exc, "strerror", None) or str(exc)
    return None
