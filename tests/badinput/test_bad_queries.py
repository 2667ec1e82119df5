"""The queries of lists: wrong types, bounds, repetition, odd characters."""

from __future__ import annotations

import pytest
from wire import Case, request

LIMITS = {
    "a word": ("abc", "invalid_type"),
    "empty": ("", "invalid_type"),
    "a decimal": ("1.5", "invalid_type"),
    "an exponent": ("1e3", "invalid_type"),
    "hexadecimal": ("0x10", "invalid_type"),
    "underscored": ("1_0", "invalid_type"),
    "a space before": ("%201", "invalid_type"),
    "a line end": ("1%0a", "invalid_type"),
    "not ASCII": ("%D9%A3", "invalid_type"),
    "null": ("null", "invalid_type"),
    "NUL": ("1%00", "invalid_type"),
    "a list": ("[1]", "invalid_type"),
    "negative": ("-1", "integer_below_min_value"),
    "very negative": ("-" + "9" * 30, "integer_below_min_value"),
    "too large": ("10001", "integer_above_max_value"),
    "far too large": ("9" * 30, "integer_above_max_value"),
    "endless": ("9" * 3000, "invalid_type"),
}


@pytest.mark.parametrize(("limit", "code"), LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_a_limit_that_is_none_is_refused(server, path, limit, code):
    """By OpenAI's code, naming what is allowed."""
    says = "^Invalid.*'limit'.*(an integer|Expected a value [<>]= )"

    server.refuses(Case(request("GET", f"{path}?limit={limit}"), 400, says, "limit", code))


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/files", "0"), ("/v1/batches", "0"), ("/v1/batches", "101")]
)
def test_a_limit_just_outside_is_refused(server, path, limit):
    """Each list has its own bounds."""
    code = "integer_below_min_value" if limit == "0" else "integer_above_max_value"

    server.refuses(Case(request("GET", f"{path}?limit={limit}"), 400, "Expected", "limit", code))


@pytest.mark.parametrize("order", ["", "ASC", "Desc", "random", "asc%00", "asc,desc", "1"])
def test_an_order_that_is_none_is_refused(server, order):
    """Naming the two."""
    case = Case(
        request("GET", f"/v1/files?order={order}"),
        400,
        "Supported values are: 'asc' and 'desc'",
        "order",
        "invalid_value",
    )

    server.refuses(case)


CURSORS = {
    "unknown": "file-x",
    "another kind": "batch_x",
    "NUL": "%00",
    "not UTF-8": "%ff",
    "a lone surrogate": "%ed%a0%80",
    "an emoji": "%f0%9f%98%80",
    "SQL": "'%20OR%20'1'='1",
    "a wildcard": "%25",
    "a number": "0",
    "endless": "a" * 5000,
    "a line end": "a%0d%0ab",
    "half an escape": "%4",
}


@pytest.mark.parametrize("after", CURSORS.values(), ids=CURSORS)
@pytest.mark.parametrize(
    ("path", "says"),
    [("/v1/files", "No such File object: "), ("/v1/batches", "No batch found with id ")],
)
def test_a_cursor_that_is_none_is_a_404(server, path, says, after):
    """Ignoring it would make a client ask for the same page for ever."""
    server.refuses(Case(request("GET", f"{path}?after={after}"), 404, says, "after"))


IGNORED = {
    "unknown names": "foo=bar&limitt=x",
    "a name without value": "foo",
    "only signs": "&&&===&",
    "an odd purpose": "purpose=%00%ff",
    "an unknown purpose": "purpose=nothing",
    "many": "&".join(f"a{n}=1" for n in range(800)),
    "half an escape": "a=%",
    "brackets": "a[]=1&a[b]=2",
    "an empty cursor": "after=",
    "semicolons": "limit=5;limit=x",
}


@pytest.mark.parametrize("query", IGNORED.values(), ids=IGNORED)
def test_what_a_list_does_not_know_it_ignores(server, query):
    """As OpenAI does; a purpose that nobody has gives an empty list."""
    answer = server.ask(request("GET", f"/v1/files?{query}"))

    if query.startswith("limit"):
        assert answer.status == 400
    else:
        assert (answer.status, answer.json["object"]) == (200, "list")


@pytest.mark.parametrize("query", ["limit=1&limit=2", "order=asc&order=desc", "after=a&after=b"])
def test_of_a_repeated_parameter_the_first_counts(server, stored, query):
    """Whatever the others are: one rule for all."""
    first, _, _ = query.partition("&")

    answers = [server.ask(request("GET", f"/v1/files?{q}")) for q in (query, first)]

    assert answers[0].status == answers[1].status
    assert answers[0].body == answers[1].body
