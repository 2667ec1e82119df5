"""Checking input files: every fault by line and code, slices that cover every request."""

from __future__ import annotations

import gzip
import json

import pytest
from inputs import BROKEN, ENDPOINT, body, line

from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.input_file import SLICE_LINES, DuplicateCheck, FileCheck, Limits
from batchline.jsonl.line_check import Rules
from batchline.jsonl.request_lines import decode_requests

RULES = Rules(ENDPOINT)
LIMITS = Limits(lines=1000, line_bytes=10_000, faults=50)


MESSAGES = "/v1/messages"


def check(data, *, limits=LIMITS, chunk_bytes=1 << 20, endpoint=ENDPOINT, **rules):
    rules = Rules(endpoint, **rules)
    whole = FileCheck(1, rules, limits)
    slices = []
    chunks = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
    for chunk in chunks:
        slices += whole.feed(chunk)
    slices += whole.finish()
    second = DuplicateCheck(whole.shared_marks(), rules, limits)
    for chunk in chunks:
        second.feed(chunk)
    second.feed(b"", last=True)
    return whole.report(second.faults), slices


@pytest.mark.spec(
    "3.1-error-line",
    "5.1-json",
    "5.1-missing",
    "5.1-missing-model",
    "5.1-missing-messages",
    "5.1-url",
    "5.1-stream",
    "5.1-method",
    "5.1-types",
    "5.1-strict-json",
    "5-url-exact",
)
@pytest.mark.parametrize(("bad", "code", "param"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 7])
def test_each_fault_is_named_by_line_code_and_parameter(bad, code, param, chunk_bytes):
    """The fault is on line 3: a good line and a blank one come first."""
    if b"\n" in bad:
        bad = bad.replace(b"\n", b" ")
    data = line(custom_id="good") + b"\n\n" + bad + b"\n" + line(custom_id="last")

    report, _ = check(data, chunk_bytes=chunk_bytes)

    assert [(f.line, f.code, f.param) for f in report.faults] == [(3, code, param)]
    assert report.faults[0].message


@pytest.mark.spec("5.1-all-in-order")
def test_all_faults_are_listed_in_line_order():
    """Every kind in one file, each with its own line."""
    lines = [bad.replace(b"\n", b" ") for bad, _, _ in BROKEN.values()]

    report, _ = check(b"\n".join(lines))

    assert [(f.line, f.code) for f in report.faults] == [
        (number, code) for number, (_, code, _) in enumerate(BROKEN.values(), 1)
    ]


@pytest.mark.spec("5.1-duplicate")
def test_duplicates_name_the_second_line():
    """The first use of an id is not a fault."""
    report, _ = check(b"\n".join(line(custom_id=c) for c in ["a", "b", "a", "c", "a"]))

    assert [(f.line, f.code) for f in report.faults] == [
        (3, "duplicate_custom_id"),
        (5, "duplicate_custom_id"),
    ]
    assert "'a'" in report.faults[0].message


def test_equal_hashes_of_different_ids_are_no_duplicates():
    """The second pass compares the ids themselves."""
    second = DuplicateCheck({hash("a"), hash("b")}, RULES, LIMITS)
    second.feed(line(custom_id="a") + b"\n" + line(custom_id="b") + b"\n")
    second.feed(b"", last=True)

    assert second.faults.listed == []


@pytest.mark.spec("5-custom-id-any")
def test_ids_are_compared_byte_for_byte():
    """No trimming, no Unicode normalisation."""
    report, _ = check(b"\n".join(line(custom_id=c) for c in ["a", " a", "é", "e\u0301", "A"]))

    assert (report.total, report.faults) == (5, ())


@pytest.mark.spec("5.1-cap")
def test_faults_beyond_the_cap_are_counted():
    """The list says how many more there are."""
    report, _ = check(b"x\n" * 60)

    assert len(report.faults) == 51
    assert (report.faults[-1].code, report.faults[-1].message[:2]) == ("too_many_errors", "10")


@pytest.mark.parametrize(
    "data", [b"", b"\n\n \r\n", b"\xef\xbb\xbf"], ids=["empty", "blank", "bom"]
)
def test_a_file_without_requests_is_a_fault(data):
    """Nothing to do is said, not run."""
    report, _ = check(data)

    assert report.faults[0].code in {"empty_file", "invalid_json_line"}


@pytest.mark.spec("5.1-too-many")
def test_too_many_lines_is_a_fault_that_names_the_limit():
    """The limit is in the message."""
    report, _ = check(
        b"\n".join(line(custom_id=str(i)) for i in range(6)), limits=Limits(5, 10_000, 50)
    )

    assert report.faults[-1].code == "too_many_tasks"
    assert "5" in report.faults[-1].message


@pytest.mark.spec("5-no-final-newline", "5-crlf", "5-bom", "5-blank-lines")
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_slices_cover_every_request_whatever_the_line_ends(ending, final):
    """BOM, blank lines, CRLF, a missing last newline: decoding the slices gives all requests."""
    lines = [line(custom_id=str(i)) for i in range(SLICE_LINES * 2 + 5)]
    lines.insert(70, b"")
    data = b"\xef\xbb\xbf" + ending.join(lines) + (ending if final else b"")

    report, slices = check(data, chunk_bytes=997)

    assert report.total == SLICE_LINES * 2 + 5
    assert [s.first for s in slices] == [0, 64, 128]
    found = [
        [
            r.custom_id
            for r in decode_requests(data[s.offset_bytes : s.offset_bytes + s.length_bytes])
        ]
        for s in slices
    ]
    assert [len(f) for f in found] == [s.count for s in slices]
    assert [c for f in found for c in f] == [str(i) for i in range(SLICE_LINES * 2 + 5)]


@pytest.mark.spec("5-mixed-models")
def test_one_model_is_named_and_several_are_not():
    """The batch object shows a model only where all lines share it."""
    same, _ = check(line(custom_id="a") + b"\n" + line(custom_id="b"))
    mixed, _ = check(line(custom_id="a") + b"\n" + line(custom_id="b", body=body(model="n")))

    assert (same.model, mixed.model, mixed.faults) == ("m", None, ())


@pytest.mark.spec("5-stream-false")
def test_explicit_nulls_and_stream_false_pass():
    """Clients send them."""
    report, _ = check(
        line(body=body(stream=False, stop=None))
        + b"\n"
        + line(custom_id="b", body=body(stream=None))
    )

    assert report.faults == ()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"max_tokens": None}, "invalid_request"),
        ({"max_tokens": "9"}, "invalid_request"),
        ({"max_tokens": True}, "invalid_request"),
        ({"max_tokens": 0}, "integer_below_min_value"),
        ({"max_tokens": -1}, "integer_below_min_value"),
        ({"max_tokens": 9, "stream": True}, "streaming_unsupported"),
        ({"max_tokens": 11}, "integer_above_max_value"),
        ({"max_tokens": 1}, None),
        ({"max_tokens": 9.0, "stream": False}, None),
    ],
)
def test_a_message_says_how_long_it_may_be(given, code):
    """Anthropic demands `max_tokens`, and so do the servers that speak its dialect; it may have a rule, too."""
    body = {"model": "m", "messages": []} | given
    rules = BodyRules(highest=(("max_tokens", 10),))

    report, _ = check(line(url=MESSAGES, body=body), endpoint=MESSAGES, body=rules)

    assert [fault.code for fault in report.faults] == [code] * (code is not None)
    assert all(fault.param.startswith("body.") for fault in report.faults)


def test_a_server_may_refuse_even_what_a_message_needs():
    """Strange, and said once."""
    body = {"model": "m", "messages": [], "max_tokens": 5}
    rules = BodyRules(refused=("max_tokens",))

    report, _ = check(line(url=MESSAGES, body=body), endpoint=MESSAGES, body=rules)

    assert [fault.code for fault in report.faults] == ["unsupported_parameter"]


@pytest.mark.spec("5.1-long-line")
def test_a_line_of_many_megabytes_is_refused_without_being_kept():
    """Memory stays at the limit while the long line passes."""
    whole = FileCheck(1, RULES, LIMITS)
    for _ in range(50):
        whole.feed(b"y" * 100_000)
        assert len(whole._tail) <= LIMITS.line_bytes + 100_001
    whole.feed(b"\n" + line() + b"\n")
    whole.finish()

    report = whole.report()
    assert [(f.line, f.code) for f in report.faults] == [(1, "invalid_request")]
    assert report.total == 2


def test_a_line_with_several_faults_lists_them_all():
    """One mending is enough: what is wrong with a line is told at once."""
    whole = line(custom_id=7, method="GET", url="/v1/x", body=body(model=..., stream=True))

    report, _ = check(whole)

    assert [(f.code, f.param) for f in report.faults] == [
        ("invalid_request", "custom_id"),
        ("invalid_method", "method"),
        ("invalid_url", "url"),
        ("missing_required_parameter", "body.model"),
        ("streaming_unsupported", "body.stream"),
    ]
    assert {f.line for f in report.faults} == {1}


TEXTS = {
    "json": (b"{", "This line is not parseable as valid JSON."),
    "custom_id": (line(custom_id=...), "Missing required parameter: 'custom_id'."),
    "method": (line(method=...), "Missing required parameter: 'method'."),
    "url": (line(url=...), "Missing required parameter: 'url'."),
    "body": (line(body=...), "Missing required parameter: 'body'."),
    "model": (line(body=body(model=...)), "Missing required parameter: 'model'."),
    "messages": (line(body=body(messages=...)), "Missing required parameter: 'messages'."),
    "another url": (
        line(url="/v1/embeddings"),
        (
            "The URL provided for this request does not match the batch endpoint. "
            "Expected '/v1/chat/completions', but got '/v1/embeddings' instead."
        ),
    ),
    "a full url": (
        line(url="http://127.0.0.1:8000/v1/chat/completions"),
        (
            "The URL provided for this request does not match the batch endpoint. Expected "
            "'/v1/chat/completions', but got 'http://127.0.0.1:8000/v1/chat/completions' instead."
        ),
    ),
    "an endless url": (
        line(url="/v1/" + "x" * 1000),
        (
            "The URL provided for this request does not match the batch endpoint. Expected "
            f"'/v1/chat/completions', but got '/v1/{'x' * 196}…' instead."
        ),
    ),
    "stream": (
        line(body=body(stream=True)),
        "Chat Completions: Streaming is not supported in the Batch API.",
    ),
    "unknown model": (
        line(body=body(model="x")),
        "The provided model 'x' is not supported by the Batch API.",
    ),
}


@pytest.mark.spec("5.1-json", "5.1-missing", "5.1-url", "5.1-stream", "5.1-model-not-found")
@pytest.mark.parametrize(("bad", "message"), TEXTS.values(), ids=TEXTS)
def test_faults_are_told_in_openais_words(bad, message):
    """Clients and people look for these texts."""
    report, _ = check(bad, served=frozenset({"m"}))

    assert [f.message for f in report.faults] == [message]


WHOLE = json.dumps([json.loads(line()) for _ in range(3)])
OTHER_KINDS = {
    "an array in a line": (WHOLE.encode(), 1, "invalid_request", "a JSON array. Write one"),
    "a pretty array": (
        json.dumps(json.loads(WHOLE), indent=1).encode(),
        1,
        "invalid_json_line",
        "a JSON array. Write one request a line: jq -c '.[]' OLD > NEW",
    ),
    "a pretty object": (
        b"\n\n" + json.dumps(json.loads(line()), indent=1).encode(),
        3,
        "invalid_json_line",
        "JSON over several lines. Write one request a line: jq -c . OLD > NEW",
    ),
    "an array longer than a line": (
        json.dumps(json.loads(WHOLE) * 50).encode(),
        1,
        "invalid_request",
        "a JSON array. Write one",
    ),
    "gzip": (gzip.compress(line()), 1, "invalid_json_line", "gzip data. Send it under a name"),
    "a page": (b"<html>\n</html>\n", 1, "invalid_json_line", "a page of HTML or XML. Perhaps"),
    "a table": (
        b"custom_id,prompt\n1,x\n",
        1,
        "invalid_json_line",
        "a table (CSV). Write each row",
    ),
}


@pytest.mark.spec("5.1-other-kinds")
@pytest.mark.parametrize(("data", "number", "code", "told"), OTHER_KINDS.values(), ids=OTHER_KINDS)
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 5])
def test_the_first_fault_of_another_kind_of_file_says_what_it_looks_like(
    data, number, code, told, chunk_bytes
):
    """And how to make JSON Lines of it; the code and OpenAI's words stay."""
    report, _ = check(data, chunk_bytes=chunk_bytes)

    first, *others = report.faults
    assert (first.line, first.code, first.param) == (number, code, None)
    assert first.message.startswith("This line is ")
    assert f". The file looks like {told}" in first.message
    assert not any("looks like" in fault.message for fault in others)


def test_a_broken_line_after_good_ones_makes_no_other_kind_of_file():
    """Nor does a first line that lacks something."""
    late, _ = check(line() + b"\n[" + line() + b"]\n")
    lacking, _ = check(line(custom_id=...) + b"\n{\n")

    assert [fault.message.count("looks like") for fault in (*late.faults, *lacking.faults)] == [
        0,
        0,
        0,
    ]


@pytest.mark.spec("5.1-inner-mark")
def test_a_mark_inside_the_file_is_named_at_its_line():
    """Files that begin with one were joined."""
    report, _ = check(b"\xef\xbb\xbf" + line() + b"\n\xef\xbb\xbf" + line() + b"\n")

    (fault,) = report.faults
    assert (fault.line, fault.code) == (2, "invalid_json_line")
    assert "JSON. It begins with a byte order mark (the bytes EF BB BF)" in fault.message


@pytest.mark.spec("5.1-duplicate")
def test_a_duplicate_is_told_in_openais_words():
    """The text names the id."""
    report, _ = check(line(custom_id="X") + b"\n" + line(custom_id="X"))

    assert report.faults[0].message == (
        "The custom_id 'X' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )


def test_duplicates_beyond_the_cap_are_counted_with_the_others():
    """Ten broken lines and 90 repeated ids, 50 listed: 50 more."""
    lines = [b"x"] * 10 + [line(custom_id="same") for _ in range(91)]

    report, _ = check(b"\n".join(lines))

    assert len(report.faults) == 51
    assert [f.line for f in report.faults[:-1]] == [*range(1, 11), *range(12, 52)]
    assert report.faults[-1].message.startswith("50 more")


def test_an_id_used_in_a_broken_line_is_used():
    """Mending the one line must not bring up the next fault."""
    report, _ = check(line(custom_id="a", url="/") + b"\n" + line(custom_id="a"))

    assert [(f.line, f.code) for f in report.faults] == [
        (1, "invalid_url"),
        (2, "duplicate_custom_id"),
    ]


@pytest.mark.spec("5.1-mismatched-model")
def test_one_model_can_be_demanded():
    """Each line that names another model than the first is a fault."""
    lines = [line(body=body(model=m)) for m in ("m", "n", "m", "o")]

    report, _ = check(b"\n".join(lines), one_model=True)

    assert [(f.line, f.code, f.param) for f in report.faults] == [
        (2, "mismatched_model", "body.model"),
        (4, "mismatched_model", "body.model"),
    ]
    assert report.faults[0].message == (
        "The model 'n' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )


@pytest.mark.spec("5.1-model-not-found", "5-mixed-models")
def test_each_line_of_an_unknown_model_is_named():
    """Also when it is the first model of the file; served ones pass, mixed or not."""
    lines = [line(body=body(model=m)) for m in ("x", "x", "m", "n", "x", "m")]

    report, _ = check(b"\n".join(lines), served=frozenset({"m", "n"}))

    assert [(f.line, f.code, f.param) for f in report.faults] == [
        (n, "model_not_found", "body.model") for n in (1, 2, 5)
    ]


def test_without_knowledge_of_the_fleet_no_model_is_refused():
    """A fleet that is down judges nobody."""
    report, _ = check(line(body=body(model="anything")), served=None)

    assert (report.faults, report.model) == ((), "anything")


@pytest.mark.spec("5.1-too-many")
def test_a_file_with_too_many_requests_is_not_read_to_its_end():
    """The first line too many ends the reading, and the message says so."""
    whole = FileCheck(1, RULES, Limits(5, 10_000, 50))

    whole.feed(b"\n".join(line() for _ in range(5)) + b"\n")
    assert not whole.is_full
    whole.feed(line() + b"\nnonsense\nnonsense\n")
    assert whole.is_full
    whole.finish()

    (fault,) = whole.report().faults
    assert (fault.code, fault.line) == ("too_many_tasks", None)
    assert "more than 5 requests" in fault.message


def test_broken_lines_count_as_requests_too():
    """A file of nonsense ends at the limit as well."""
    report, _ = check(b"x\n" * 20, limits=Limits(5, 10_000, 50))

    assert [f.code for f in report.faults] == ["invalid_json_line"] * 6 + ["too_many_tasks"]


PASSING = {
    "duplicate keys": b'{"model": "x", "model": "m", "messages": [], "messages": [1]}',
    "huge integer": b'{"model": "m", "messages": [], "n": ' + b"9" * 5000 + b"}",
    "huge float": b'{"model": "m", "messages": [], "n": 1e999}',
    "half a pair": b'{"model": "m", "messages": ["\\ud800", "\\\\ud800", "\\ud83d\\ude00"]}',
    "other half": b'{"model": "m", "messages": ["\\uDC00x"]}',
    "escapes": b'{"mod\\u0065l": "m", "messages": ["\\u0000\\/"]}',
    "spaces": b' { "model" : "m" ,\t"messages":[ ] } ',
    "separators": '{"model": "m", "messages": ["\u2028\x85"]}'.encode(),
    "nulls": b'{"model": "m", "messages": null, "stream": null, "stop": null}',
}


@pytest.mark.spec("5-body-untouched")
@pytest.mark.parametrize("raw", PASSING.values(), ids=PASSING)
def test_odd_but_legal_bodies_pass_untouched(raw):
    """What JSON allows is the model server's to judge, and reaches it byte for byte."""
    head = '{"custom_id": "é😀", "method": "POST", "url": "/v1/chat/completions", "body": '.encode()
    data = head + raw + b"}"

    report, _ = check(data)

    assert (report.faults, report.total, report.model) == ((), 1, "m")
    (request,) = decode_requests(data)
    assert bytes(request.body).strip() == raw.strip()
    assert request.custom_id == "é😀"


def test_half_a_surrogate_pair_is_no_custom_id():
    """It is no text and could not be echoed; the line is named."""
    head = b'{"custom_id": "a\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": '

    report, _ = check(head + b'{"model": "m", "messages": []}}')

    assert [(f.line, f.code, f.param) for f in report.faults] == [
        (1, "invalid_request", "custom_id")
    ]


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        ("/v1/completions", "prompt"),
        ("/v1/completions", "prompt_embeds"),
        ("/v1/embeddings", "input"),
        ("/v1/embeddings", "messages"),
        ("/v1/responses", "input"),
        ("/v1/score", "text_1"),
        ("/v1/rerank", "query"),
        ("/v1/moderations", "input"),
        ("/v1/images/generations", "prompt"),
        ("/v1/images/edits", "prompt"),
    ],
)
def test_each_endpoint_takes_its_own_body(endpoint, given):
    """OpenAI's field or vLLM's other one; score and rerank are the model server's to judge."""
    fine, _ = check(line(url=endpoint, body={"model": "m", given: "x"}), endpoint=endpoint)
    bare, _ = check(line(url=endpoint, body={"model": "m"}), endpoint=endpoint)

    assert fine.faults == ()
    needs = endpoint not in {"/v1/score", "/v1/rerank"}
    assert [f.code for f in bare.faults] == ["missing_required_parameter"] * needs


@pytest.mark.spec("5.1-long-line", "5.1-nesting")
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 3_000_000])
def test_the_longest_line_passes_and_deep_nesting_is_answered(chunk_bytes):
    """16 MB in one line, then 100,000 brackets, then a good one."""
    limits = Limits(1000, 16 << 20, 50)
    long = line(body=body(messages=["x" * ((16 << 20) - 200)]))
    deep = line().replace(b"[]", b"[" * 100_000 + b"]" * 100_000)
    data = b"\n".join([long, deep, line()])

    report, slices = check(data, limits=limits, chunk_bytes=chunk_bytes)

    assert len(long) <= 16 << 20
    assert [(f.line, f.code) for f in report.faults] == [(2, "invalid_json_line")]
    assert slices[0].length_bytes == len(long) + 1
