"""Whether ports are free."""

from __future__ import annotations

import socket

import pytest
from ports import free_port

from batchline.errors import Invalid
from batchline.fleet.ports import Port, check_ports


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
