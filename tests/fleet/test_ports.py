"""Whether ports are free."""

from __future__ import annotations

import socket

import pytest
from ports import free_port

from batchline.errors import Invalid
from batchline.fleet.ports import Port, check_ports, first_free, wait_for_ports


def test_free_ports_pass():
    """Nothing is said and nothing stays open."""
    port = Port("nginx", "127.0.0.1", free_port(), "choose another")

    check_ports([port])
    check_ports([port])


def test_every_port_in_use_is_named_with_its_remedy():
    """One message for all, so that the user mends them at once."""
    with socket.socket() as one, socket.socket() as two:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        numbers = [listener.getsockname()[1] for listener in (one, two)]

        with pytest.raises(Invalid) as caught:
            check_ports(
                [
                    Port("nginx", "127.0.0.1", numbers[0], "use --nginx-port"),
                    Port("the gateway", "127.0.0.1", numbers[1], "use --port"),
                ]
            )

    message = str(caught.value)
    assert all(str(number) in message for number in numbers)
    assert "--nginx-port" in message
    assert "--port" in message


def test_one_port_for_two_parts_is_refused():
    """Each would be free on its own."""
    number = free_port()

    with pytest.raises(Invalid, match="nginx wants it too"):
        check_ports(
            [Port("nginx", "127.0.0.1", number, "x"), Port("vllm-0", "127.0.0.1", number, "y")]
        )


@pytest.mark.parametrize(
    ("count", "taken", "found"),
    [
        (4, set(), 8001),
        (4, {8000, 8005}, 8001),
        (4, {8001}, 8002),
        (4, {8003}, 8004),
        (4, {8004, 8008, 8013}, 8009),
        (1, {8001, 8002}, 8003),
    ],
)
def test_ports_that_others_want_are_left_out(count, taken, found):
    """All of a run lie together, the first one as low as may be."""
    assert first_free(8001, count, taken=taken) == found


@pytest.mark.skipif(not socket.has_ipv6, reason="this host has no IPv6")
@pytest.mark.parametrize("mine", ["127.0.0.1", "::1"])
def test_every_address_is_taken_if_one_of_either_family_is(mine):
    """A stranger there would get what is meant for us."""
    family = socket.AF_INET6 if ":" in mine else socket.AF_INET
    with socket.socket(family) as other:
        other.bind((mine, 0))
        other.listen()

        with pytest.raises(Invalid, match="for the gateway: Address already in use"):
            check_ports([Port("the gateway", "::", other.getsockname()[1], "use --port")])


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_host_is_told_as_such(host):
    """Once, and nobody is told to end what uses the port."""
    ports = [Port(part, host, free_port(), "use --port") for part in ("the gateway", "another")]

    with pytest.raises(Invalid) as caught:
        check_ports(ports)

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"address {host}: ")
    assert line.endswith(
        "Choose one of this host, such as 127.0.0.1, with --host (BATCHLINE_HOST)."
    )


@pytest.fixture
def taken():
    """A port that somebody listens on until the socket is closed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener, Port("the gateway", "127.0.0.1", listener.getsockname()[1], "use --port")


def test_what_was_left_behind_is_waited_for(taken):
    """Said once, with the port; it returns as soon as the port is free."""
    listener, port = taken
    looks, said = [], []

    def is_left_behind():
        looks.append(1)
        if len(looks) == 3:
            listener.close()
        return True

    wait_for_ports([port], is_left_behind=is_left_behind, within_s=60, say=said.append)

    check_ports([port])
    assert len(looks) == 3
    assert len(said) == 1
    assert f"port {port.number} for the gateway" in said[0]


def test_a_port_of_others_is_not_waited_for(taken):
    """Nor is one waited for longer than those who were left behind live."""
    _, port = taken
    left, said = [True, False], []

    wait_for_ports([port], is_left_behind=lambda: False, within_s=60, say=said.append)
    assert said == []
    wait_for_ports([port], is_left_behind=lambda: left.pop(0), within_s=60, say=said.append)

    assert left == []
    with pytest.raises(Invalid, match="use --port"):
        check_ports([port])


def test_the_wait_is_bounded(taken):
    """However long they live."""
    _, port = taken

    wait_for_ports([port], is_left_behind=lambda: True, within_s=0.3, say=lambda _: None)

    with pytest.raises(Invalid, match="use --port"):
        check_ports([port])
