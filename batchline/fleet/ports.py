"""Whether the ports that a plan needs are free. Asked before anything is started or installed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchline.errors import Invalid

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a part of batchline is about to listen on, and how the user moves it."""

    part: str
    host: str
    number: int
    remedy: str


def wait_for_ports(
    ports: Sequence[Port],
    *,
    is_left_behind: Callable[[], bool],
    within_s: float,
    say: Callable[[str], None],
) -> None:
    """Return when every port is free, or nobody who was left behind may free it, or after `within_s`."""
    deadline = time.monotonic() + within_s
    is_told = False
    while (problems := _problems(ports)) and is_left_behind() and time.monotonic() < deadline:
        if not is_told:
            say(
                f"An earlier run was killed, and its processes still finish their requests "
                f"({problems[0].partition('.')[0]}). Waiting for them, at most {within_s:.0f} s …"
            )
        is_told = True
        time.sleep(_LOOK_S)


def check_ports(ports: Sequence[Port]) -> None:
    """Return if every port can be listened on.

    Raises Invalid: some cannot, or two parts want the same; all are named with their remedies.
    """
    if problems := _problems(ports):
        raise Invalid("\n".join(problems), code="port_in_use")


def _problems(ports: Sequence[Port]) -> list[str]:
    problems = []
    taken: dict[int, str] = {}
    for port in ports:
        reason = f"{taken[port.number]} wants it too" if port.number in taken else _refusal(port)
        taken.setdefault(port.number, port.part)
        if reason:
            problems.append(
                f"port {port.number} for {port.part}: {reason}. End what uses it, or {port.remedy}."
            )
    return problems


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
