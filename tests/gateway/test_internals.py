"""The gateway does not start on an aiohttp that lacks what its connections use."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest
from aiohttp import web, web_protocol
from aiohttp.base_protocol import BaseProtocol

from batchline.errors import Unavailable
from gateway.connections import internals
from gateway.connections.internals import KNOWN_TO_WORK, check_aiohttp

ROOM = Path(internals.__file__).parent


async def test_the_version_that_is_pinned_is_known_to_work():
    """A new one is added when the tests have passed with it."""
    await check_aiohttp()
    assert version("aiohttp") in KNOWN_TO_WORK


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (web_protocol, "_ErrInfo"),
        (BaseProtocol, "_pause_transport_reading"),
        (web.RequestHandler, "finish_response"),
    ],
)
async def test_what_is_missing_is_named_with_versions_that_have_it(monkeypatch, owner, name):
    """Else the first slow client would find out."""
    monkeypatch.delattr(owner, name)

    with pytest.raises(Unavailable, match=rf"lacks .*\.{name}.* 3\.14\.5\."):
        await check_aiohttp()


async def test_other_parameters_are_told(monkeypatch):
    """An override would be called with what it does not know."""
    monkeypatch.setattr(web.RequestHandler, "handle_error", lambda self, request: None)

    with pytest.raises(Unavailable, match=r"RequestHandler\.handle_error\(self, request, status"):
        await check_aiohttp()


def test_every_private_name_that_is_used_is_checked():
    """What the room takes from classes that are not its own."""
    used, own = set(), set()
    for path in set(ROOM.glob("*.py")) - {Path(internals.__file__)}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Attribute):
                used.add((ast.unparse(node.value), node.attr))
    foreign = {attr for of, attr in used if attr not in own or of == "super()"}

    checked = {
        *internals._OF_CONNECTIONS,
        *internals._OF_SERVERS,
        *(name.partition(".")[2] for name in internals._CALLED),
    }
    assert {n for n in foreign if is_private(n)} == {n for n in checked if is_private(n)}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")
