"""What a handler is, and how a module says which it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

H = TypeVar("H")


class Handler(Protocol):
    """Gets the results of batches that end. An instance is made for each attempt, in a process of its own.

    Beside what stands here it may have:

    - `enabled(settings) -> bool`: whether it shall run with these settings, those of its section;
      it raises ValueError if they are wrong. Without it a handler runs if it has a section, or lies in
      the handlers' folder.
    - `wants_requests = True`: results bring the requests that they answer. Where that depends on the
      settings it is a method, `wants_requests(settings) -> bool`.
    - `__aenter__` and `__aexit__`: what it opens and closes around `handle`.
    """

    name: str

    handle: Callable[..., Any]
    """One of two:

    - `async handle(batch: EndedBatch, results: Results, context: Context) -> None`
    - `handle(batch_id, results, metadata) -> bool`: in a thread; `results` is a sequence of dicts, the
      lines of the result files. False, or an exception, is a failure.
    """


_registered: list[Any] = []


def register_handler(handler: H) -> H:
    """Name a handler of this module: a class or an object. Returns it, so that it may decorate a class."""
    _registered.append(handler)
    return handler


def take_registered() -> list[Any]:
    """Return what was registered since this was last called."""
    found = list(_registered)
    _registered.clear()
    return found
