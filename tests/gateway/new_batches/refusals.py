"""What both ways to bring requests share: a refusal names its place, and leaves nothing."""

from __future__ import annotations


async def check_refused(gateway, answer, param, said):
    """A 400 about `param` that says `said`; no batch, no file, no bytes."""
    error = answer.json["error"]
    assert (answer.status, error["param"]) == (400, param), error
    assert said in error["message"]
    assert (await gateway.call("GET", "/v1/batches")).json["data"] == []
    assert (await gateway.call("GET", "/v1/files")).json["data"] == []
    assert gateway.stored() == []
