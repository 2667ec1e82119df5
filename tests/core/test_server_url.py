"""Addresses of servers: what is refused, and the one form of all others."""

from __future__ import annotations

import pytest

from batchline.config.server_url import server_name, server_url, without_secrets

REFUSED = {
    "nothing": ("", "has no scheme; write it like http://127.0.0.1:8000"),
    "no scheme": ("127.0.0.1:8000", "has no scheme; write http://127.0.0.1:8000"),
    "only a name": ("vllm", "has no scheme; write http://vllm"),
    "a name and a port": ("localhost:8000", "has no scheme; write http://localhost:8000"),
    "no scheme, a path": ("vllm:8000/v1", "has no scheme; write http://vllm:8000"),
    "slashes without scheme": ("//vllm:8000", "has no scheme; write it like"),
    "one slash": ("http:/vllm:8000", "has no scheme; write it like"),
    "another scheme": ("ftp://vllm:8000/a/v1", "over http or https; write http://vllm:8000/a"),
    "a socket": ("unix://vllm", "over http or https; write http://vllm"),
    "two schemes": ("http://http://vllm", "names no host that can be reached"),
    "no host": ("http://", "names no host that can be reached; write it like http://"),
    "only a port": ("http://:8000", "names no host"),
    "no port": ("http://vllm:port", "names no host"),
    "too high a port": ("http://vllm:80000", "names no host"),
    "port 0": ("http://vllm:0", "names no host"),
    "half an IPv6 address": ("http://[::1", "names no host"),
    "a space": ("http://vl lm:8000", "names no host"),
    "a space in the path": ("http://vllm/a b", "has characters behind its host"),
    "a query": ("http://vllm/a?key=secret", "goes on with '?'; write http://vllm/a"),
    "a fragment": ("http://vllm/#secret", "goes on with '#'; write http://vllm"),
    "a password": ("http://me:secret@vllm/v1", "BATCHLINE_UPSTREAM_API_KEY and write http://vllm"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_reached_is_refused_with_what_to_write(text, why):
    """No secret is repeated."""
    with pytest.raises(ValueError, match=r"^(has|names|holds|goes)") as caught:
        server_url(text)

    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://vllm",
        "https://gpu-1.lab.example:8443",
        "http://[::1]:8000",
        "http://my_server",
        "http://bücher.example",
        "https://lab.example/team-a/llm",
        "https://gateway.example/v1/account/openai",
        "https://lab.example/v1beta/openai",
    ],
)
def test_an_address_is_the_same_with_and_without_what_requests_bring_along(url):
    """A slash, /v1, an endpoint, as they stand in the examples of other clients."""
    ends = ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/embeddings", "/v1/models"]

    assert {server_url(url + end) for end in ends} == {url}


def test_servers_at_different_paths_of_one_host_have_different_names():
    """They are told apart in metrics and on the dashboard."""
    assert server_name("http://vllm:8000") == "vllm:8000"
    assert server_name("https://lab.example/a") != server_name("https://lab.example/b")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h:5000", "http://h:5000"),
        ("http://me:secret@h/a", "http://…@h/a"),
        ("http://me:sec/ret@h", "http://…@h"),
        ("me:secret@h", "…@h"),
        ("http://h?key=secret@x", "http://h?…"),
        ("http://h#secret", "http://h#…"),
    ],
)
def test_secrets_are_left_out_of_what_is_shown(address, shown):
    """However badly it is written."""
    assert without_secrets(address) == shown
