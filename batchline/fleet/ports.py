"""Whether the ports that a plan needs are free. Checked before anything is started or installed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from batchline.errors import Invalid
from batchline.serving.listening import NO_SUCH_FAMILY, hosts_behind

_LOOK_S = 0.2
_OF_THIS_HOST = "Choose one of this host, such as 127.0.0.1, with --host (BATCHLINE_HOST)."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the system refuses to listen on a port."""

    why: str
    code: int | None
    is_of_host: bool
    """The address does not belong to this host: no port of it can be used."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port on which a part of batchline will listen, and how the user chooses another one."""

    part: str
    host: str
    number: int
    remedy: str


def first_free(number: int, count: int, *, taken: Collection[int]) -> int:
    """Return the first number from `number` on that begins `count` ports of which none is `taken`. Pure."""
    while clashes := {*range(number, number + count)}.intersection(taken):
        number = max(clashes) + 1
    return number


def wait_for_ports(
    ports: Sequence[Port],
    *,
    is_left_behind: Callable[[], bool],
    within_s: float,
    say: Callable[[str], None],
) -> None:
    """Return when every port is free, or no process of a killed run is left, or after `within_s`."""
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
    problems: dict[str, None] = {}  # an address that is not ours is named once
    taken: dict[int, str] = {}
    for port in ports:
        which = f"port {port.number} for {port.part}"
        remedy = f"End what uses it, or {port.remedy}."
        if port.number in taken:
            problems[f"{which}: {taken[port.number]} wants it too. {remedy}"] = None
        elif refusal := refusal_to_listen(port.host, port.number):
            if refusal.is_of_host:
                problems[f"address {port.host}: {refusal.why}. {_OF_THIS_HOST}"] = None
            else:
                problems[f"{which}: {refusal.why}. {remedy}"] = None
        taken.setdefault(port.number, port.part)
    return list(problems)


def refusal_to_listen(host: str, number: int) -> Refusal | None:
    """Return why the port cannot be listened on, None if it is free on every address of `host`."""
    for nth, one in enumerate(hosts_behind(host)):
        try:
            family, _, _, _, address = socket.getaddrinfo(
                one, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except (OSError, OverflowError, UnicodeError) as exc:
            code = getattr(exc, "errno", None)
            if nth and code in NO_SUCH_FAMILY:
                continue  # a host without IPv6 listens on IPv4 alone
            is_of_host = isinstance(exc, socket.gaierror) or code in NO_SUCH_FAMILY
            return Refusal(getattr(exc, "strerror", None) or str(exc), code, is_of_host)
    return None
