"""A line may be nested as deeply as it likes: it is good, or it is refused."""

from __future__ import annotations

import pytest

from batchline.jsonl.line_check import Rules, body_faults, examine


@pytest.mark.parametrize(
    "endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/audio/translations"]
)
def test_a_line_near_the_limit_of_a_decoder_is_good_or_refused(endpoint):
    """Each decoder has its own limit, near the same depth: none of them may break the check."""
    faulty = []
    for depth in (10, *range(900, 1050), 100_000):
        nested = b"[" * depth + b"]" * depth
        body = (
            b'{"model":"m","max_tokens":1,"input":1,"file_url":"data:audio/wav;base64,AAAA","messages":'
            + nested
            + b"}"
        )
        line = (
            b'{"custom_id":"a","method":"POST","url":"'
            + endpoint.encode()
            + b'","body":'
            + body
            + b"}"
        )
        body_faults(body, Rules(endpoint))
        faulty.append(bool(examine(line, Rules(endpoint)).faults))

    assert faulty[0] is False
    assert faulty[-1] is True
