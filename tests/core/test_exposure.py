"""Whether other machines reach the gateway without a key."""

from __future__ import annotations

import pytest

from batchline.config.exposure import check_exposure, is_open_to_others
from batchline.errors import Invalid
from batchline.serving.listening import is_loopback
from batchline.settings import Settings


def settings(**given):
    return Settings(_env_file=None, **given)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST", "localhost.", "::ffff:127.0.0.1"],
)
def test_loopback_is_this_host_alone(host):
    """All of 127.0.0.0/8, in either family, by address or name."""
    assert is_loopback(host)
    check_exposure(settings(host=host))


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "10.0.0.7", "192.168.1.5", "fe80::1", "::ffff:10.0.0.7", "gpu-box"),
        *("localhost.example.org", "128.0.0.1"),
    ],
)
def test_beyond_it_a_key_is_wanted(host):
    """The message says where it would listen, and each way out."""
    assert not is_loopback(host)
    with pytest.raises(Invalid) as caught:
        check_exposure(settings(host=host))

    text = str(caught.value)
    for part in (f"listen on {host} (--host", "BATCHLINE_API_KEY", "127.0.0.1", "--insecure"):
        assert part in text


@pytest.mark.parametrize("given", [{"api_key": "k"}, {"insecure": True}])
def test_a_key_or_the_operators_word_lets_it_start(given):
    """The word alone is warned of."""
    told = settings(host="0.0.0.0", **given)

    check_exposure(told)

    assert is_open_to_others(told) is ("insecure" in given)


@pytest.mark.parametrize(
    ("published_on", "is_fine"),
    [
        ("127.0.0.1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.7", False),
    ],
)
def test_in_a_container_the_hosts_port_decides(published_on, is_fine):
    """Inside, it listens on every address of a network of its own."""
    told = settings(host="0.0.0.0", published_on=published_on)

    if is_fine:
        check_exposure(told)
    else:
        with pytest.raises(Invalid, match="BATCHLINE_COMPOSE_BIND"):
            check_exposure(told)


@pytest.mark.parametrize("published_on", ["", "0.0.0.0:5000", "http://0.0.0.0", "10.0.0.0/8"])
def test_what_is_no_address_stops_the_start(published_on):
    """A typing error opens nothing."""
    with pytest.raises(ValueError, match="published_on"):
        settings(published_on=published_on)
