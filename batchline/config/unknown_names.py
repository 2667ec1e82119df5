"""Finds names in the environment and the files that look like settings and are none. Pure.

`settings` reads both, and knows which names there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from io import StringIO

from dotenv.parser import parse_stream

PREFIX = "BATCHLINE_"
CONFIG_VARIABLE = "BATCHLINE_CONFIG"
CLIENT_VARIABLES = frozenset({"BATCHLINE_URL"})
"""Variables that only the client commands read."""
COMPOSE_ONLY = ("BATCHLINE_COMPOSE_", "BATCHLINE_TEST_")
"""Prefixes of the compose files and the tests; of these variables the processes read only `FAILPOINTS`."""
DOTENV = ".env"

_BEGINNING = PREFIX[:2]
"""Names that begin otherwise are not checked."""
_ALIKE = 0.6
_SAME_BUT_FOR_SLIPS = 0.9
"""How alike a name without our prefix must be to a setting to count as one written wrongly."""


def unknown_variables(names: Iterable[str], fields: Collection[str], where: str = "") -> list[str]:
    """Name the variables that are no setting; upper and lower case are the same.

    `fields`: the names of the settings, as in the YAML file.
    """
    known = {PREFIX + field.upper() for field in fields} | {CONFIG_VARIABLE} | CLIENT_VARIABLES
    said = []
    for name in sorted(names):
        upper = name.upper()
        if upper in known or upper.startswith(COMPOSE_ONLY) or not upper.startswith(_BEGINNING):
            continue
        if upper.startswith(PREFIX):
            near = nearest(upper.removeprefix(PREFIX), [k.removeprefix(PREFIX) for k in known])
            said.append(_no_such(name + where, near and PREFIX + near))
        elif meant := nearest(upper, known, _SAME_BUT_FOR_SLIPS):
            said.append(_no_such(name + where, meant))
    return said


def unknown_keys(names: Iterable[str], fields: Collection[str], where: str) -> list[str]:
    """Name the keys of the YAML file that are no setting."""
    unknown = sorted(name for name in names if name not in fields)
    return [_no_such(name + where, nearest(name.lower(), fields)) for name in unknown]


def dotenv_faults(text: str, fields: Collection[str]) -> Iterator[str]:
    """Name the lines of `.env` that would be ignored. Lines of other programs are not checked."""
    statements = list(parse_stream(StringIO(text)))
    for statement in statements:
        text = statement.original.string
        is_ours = PREFIX in text.upper()
        if is_ours and (statement.error or (statement.key and statement.value is None)):
            line = statement.original.line + text.partition(text.lstrip())[0].count("\n")
            yield f"{DOTENV}, line {line}: not NAME=value, such as {PREFIX}PORT=5000"
    names = {statement.key for statement in statements if statement.key}
    yield from unknown_variables(names, fields, f" (in {DOTENV})")
    if CONFIG_VARIABLE in {name.upper() for name in names}:
        yield f"{CONFIG_VARIABLE} (in {DOTENV}): it is read from the environment only"


def nearest(name: str, known: Iterable[str], alike: float = _ALIKE) -> str | None:
    """Return the known name that was probably meant; None if none is so much alike."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=alike)), None)


def _no_such(name: str, meant: str | None) -> str:
    hint = f"did you mean {meant}? " if meant else ""
    return f"{name}: no such setting; {hint}docs/settings.md lists them all"
