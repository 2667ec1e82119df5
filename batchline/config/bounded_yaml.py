"""Reads a small YAML text: texts, lists and mappings, within bounds of size, depth and work. Pure.

Scalars stay as they are written, so that the settings read them as they read a variable: `0012` is no octal
number, and `no` is no truth. `null` and `~` are None. Aliases are refused, since a few of them make a
structure of any size, and so are keys that stand twice, of which one would be lost.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 64 * 1024
_DEEPEST = 8
_MOST_KEYS = 256
"""Of one mapping: each that is unknown costs a search for the one that was meant."""
_NULLS = frozenset({"null", "Null", "NULL", "~"})


def read_yaml(content: bytes) -> Any:
    """Return what the text holds; None for an empty one.

    Raises ValueError: it is too long, no UTF-8, no YAML, or refused. The message shows no value.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as exc:
        raise ValueError(f"it is not UTF-8 (byte {exc.start + 1})") from exc
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes nothing but texts
    except yaml.YAMLError as exc:
        raise ValueError(told(exc)) from exc


def told(exc: yaml.YAMLError) -> str:
    """Say what is wrong with a text, and where; it shows no value, since that may be a secret."""
    if not isinstance(exc, yaml.MarkedYAMLError):
        return "it holds characters that YAML does not allow"
    mark = exc.problem_mark or exc.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{exc.problem or exc.context}"


class _Loader(yaml.BaseLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless it is an alias or lies too deep."""
        if self.check_event(yaml.AliasEvent):
            raise self._refused("aliases (*name) are not taken; write the value again")
        if self._depth == _DEEPEST:
            raise self._refused(f"more than {_DEEPEST} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return what the node holds; None for a null without quotes."""
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS:
            return None
        return super().construct_object(node, deep=deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Return the mapping, unless it has too many keys, or one of them twice."""
        if len(node.value) > _MOST_KEYS:
            raise _refused(f"more than {_MOST_KEYS} keys", node.start_mark)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        seen = set()
        for key, _ in node.value:
            if (name := self.construct_object(key, deep=True)) in seen:
                raise _refused(f"the key {name} stands twice", key.start_mark)
            seen.add(name)
        return made

    def _refused(self, why: str) -> yaml.MarkedYAMLError:
        """Return the error for what comes next."""
        return _refused(why, self.peek_event().start_mark)  # type: ignore[no-untyped-call]


def _refused(why: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=at)
