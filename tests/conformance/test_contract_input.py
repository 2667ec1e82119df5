"""The contract, section 5: what an input file may hold, and how its faults are told."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from inputs import ENDPOINT, body, line, requests
from scripted import HANG, completion, error

from batchline.settings import Settings


async def answered(api, content, **fields):
    """Run a batch to its end; return it with its output and error lines by custom_id."""
    batch = await api.create(content, **fields)
    async with api.dispatching():
        ended = await api.ended(batch)
    output, errors = await api.results(ended)
    return ended, [item["custom_id"] for item in output], errors


@pytest.mark.spec("5-lines", "5-body-untouched")
async def test_a_line_is_one_request(api):
    """Its body, and nothing else of it, goes to the model server, once."""
    sent = body(
        seed=98765432109876543210,
        stop=None,
        response_format=None,
        chat_template_kwargs={"enable_thinking": False},
        top_k=20,
        text="žluťoučký 名前 \u2028",
        temperature=0.10,
    )
    got = []
    api.upstream.script = lambda given, _: got.append(given) or error(400)

    ended, *_ = await answered(api, line(body=sent))

    assert got == [sent]
    assert ended["request_counts"]["total"] == 1


ODD_IDS = [
    "",
    " ",
    " a ",
    "a" * 512,
    "a" * 100_000,
    "é",
    "e\u0301",
    "\u2028\u2029\x85\x00\x1f\x7f",
    '"\\/',
    "😀\ud7ff\uffff",
    "12",
    "null",
    "../../x",
    "\ufeffa",
]


@pytest.mark.spec("5-custom-id-any", "5-custom-id-length")
async def test_custom_ids_come_back_byte_for_byte(api):
    """Any text, however long, in the order of the input."""
    content = b"\n".join(line(custom_id=name) for name in ODD_IDS)

    _, ids, errors = await answered(api, content)

    assert ids == ODD_IDS
    assert errors == []


@pytest.mark.spec("5-bom", "5-crlf", "5-blank-lines", "5-no-final-newline")
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + line(custom_id="a") + b"\n" + line(custom_id="b"),
        b"\xef\xbb\xbf\n" + line(custom_id="a") + b"\n" + line(custom_id="b"),
        line(custom_id="a") + b"\r\n" + line(custom_id="b") + b"\r\n",
        b"\n \r\n" + line(custom_id="a") + b"\n\n\t\n" + line(custom_id="b") + b"\n\n",
    ],
    ids=["BOM, no final newline", "BOM on a line of its own", "CRLF", "blank lines"],
)
async def test_line_ends_and_blanks_do_not_matter(api, content):
    """Two requests each time."""
    ended, ids, _ = await answered(api, content)

    assert ended["status"] == "completed", ended["errors"]
    assert ids == ["a", "b"]


@pytest.mark.spec("5-stream-false")
async def test_stream_false_and_nulls_pass(api):
    """Clients send what they do not mean; half of a surrogate pair makes no difference."""
    given = {"stream": False, "stop": None, "response_format": None, "tools": None}
    content = b"\n".join(
        line(custom_id=name, body=body(**given, x=name)) for name in ("a", "\\", "b")
    ).replace(b'"x": "b"', b'"x": "\\ud800"')

    ended, ids, _ = await answered(api, content)

    assert ended["status"] == "completed", ended["errors"]
    assert ids == ["a", "\\", "b"]


@pytest.mark.spec("5-mixed-models")
async def test_models_may_be_mixed(api):
    """Each line goes with its own; the batch names none of them."""
    content = requests(1, model="m") + requests(2, model="n").splitlines()[1]
    models = []
    api.upstream.models = ["m", "n"]
    api.upstream.script = lambda given, _: models.append(given["model"]) or error(400)

    ended, *_ = await answered(api, content)

    assert (ended["status"], ended["model"], sorted(models)) == ("completed", None, ["m", "n"])


@pytest.mark.spec("5-request-limit")
async def test_more_than_fifty_thousand_requests_are_allowed(api):
    """A million by default."""
    assert Settings(_env_file=None).max_lines == 1_000_000
    one = requests(1)
    content = b"".join(one.replace(b"id-0", b"id-%d" % n) for n in range(50_001))
    api.upstream.script = lambda *_: HANG

    batch = await api.create(content)
    async with api.dispatching(grace_s=0):
        await api.shows(batch, "in_progress")

    assert (await api.show(batch))["request_counts"]["total"] == 50_001


@pytest.mark.spec("5.1-too-many")
async def test_too_many_requests_name_the_limit(api):
    """Nothing runs."""
    batch = await api.create(requests(5))
    async with api.dispatching(max_lines=4):
        ended = await api.ended(batch)

    (fault,) = ended["errors"]["data"]
    assert (fault["code"], ended["status"]) == ("too_many_tasks", "failed")
    assert "4" in fault["message"]
    assert api.upstream.paths == []


@pytest.mark.spec("5-embedding-inputs")
async def test_embedding_inputs_are_not_counted(api):
    """One line may hold as many as its length allows."""
    content = line(url="/v1/embeddings", body={"model": "m", "input": ["x"] * 50_001})

    ended, *_ = await answered(api, content, endpoint="/v1/embeddings")

    assert ended["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


@pytest.mark.spec("5-url-never-followed", "5.1-url", "5.1-nothing-runs")
async def test_a_foreign_url_is_never_called(api):
    """The batch fails, and nobody connects there."""
    calls = []

    async def called(_, writer):
        calls.append(1)
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ended, *_ = await answered(api, line(url=f"http://127.0.0.1:{port}{ENDPOINT}"))
    server.close()
    await server.wait_closed()

    (fault,) = ended["errors"]["data"]
    assert fault == {
        "code": "invalid_url",
        "line": 1,
        "message": "The URL provided for this request does not match the batch endpoint. "
        f"Expected '{ENDPOINT}', but got 'http://127.0.0.1:{port}{ENDPOINT}' instead.",
        "param": "url",
    }
    assert calls == []
    assert api.upstream.paths == []


@pytest.mark.spec("5.1-nothing-runs")
async def test_one_bad_line_stops_all(api):
    """The last of many is broken: nothing was sent."""
    ended, *_ = await answered(api, requests(500) + b"{broken")

    assert ended["status"] == "failed"
    assert [fault["line"] for fault in ended["errors"]["data"]] == [501]
    assert api.upstream.paths == []


async def faults(api, *lines):
    """Validate a file of these lines; return its faults."""
    ended, *_ = await answered(api, b"\n".join(lines))
    assert ended["status"] == "failed"
    return ended["errors"]["data"]


@pytest.mark.spec("5.1-missing", "5.1-missing-model", "5.1-missing-messages")
async def test_what_is_missing_is_named(api):
    """OpenAI's code and words."""
    names = ("custom_id", "method", "url", "body")
    bodies = ("model", "messages")

    found = await faults(
        api,
        *[line(**{name: ...}) for name in names],
        *[line(custom_id=name, body=body(**{name: ...})) for name in bodies],
    )

    params = [*names, *(f"body.{name}" for name in bodies)]
    assert found == [
        {
            "code": "missing_required_parameter",
            "line": number,
            "message": f"Missing required parameter: '{param.removeprefix('body.')}'.",
            "param": param,
        }
        for number, param in enumerate(params, 1)
    ]


@pytest.mark.spec("5.1-json", "5.1-stream", "5.1-method")
async def test_faults_have_openais_words(api):
    """Code, param and message."""
    found = await faults(api, b"{", line(body=body(stream=True)), line(method="GET"))

    assert [(f["line"], f["code"], f["param"]) for f in found] == [
        (1, "invalid_json_line", None),
        (2, "streaming_unsupported", "body.stream"),
        (3, "invalid_method", "method"),
    ]
    assert found[0]["message"] == "This line is not parseable as valid JSON."
    assert found[1]["message"] == "Chat Completions: Streaming is not supported in the Batch API."
    assert "'GET'" in found[2]["message"]


@pytest.mark.spec("5.1-duplicate")
async def test_a_duplicate_is_named_in_openais_words(api):
    """At the line that repeats it."""
    content = b"\n".join(line(custom_id=name) for name in ("a", "X", "b", "X"))

    ended, *_ = await answered(api, content)

    assert ended["errors"]["data"] == [
        {
            "code": "duplicate_custom_id",
            "line": 4,
            "message": (
                "The custom_id 'X' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            ),
            "param": "custom_id",
        }
    ]


@pytest.mark.spec("5.1-empty")
@pytest.mark.parametrize("content", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf\n\n"], ids=repr)
async def test_a_file_without_requests_says_so(api, tmp_path, content):
    """An upload cannot be blank; bytes that were lost later can."""
    batch = await api.create(requests(1))
    (blob,) = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]
    blob.write_bytes(content)
    async with api.dispatching():
        ended = await api.ended(batch)

    assert [fault["code"] for fault in ended["errors"]["data"]] == ["empty_file"]


DEEP = b"[" * 100_000 + b"]" * 100_000
OBJECTS = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.spec("5.1-nesting", "3.1-error-line")
async def test_deep_nesting_is_a_fault_of_its_line(api):
    """Each is named, and the dispatcher runs the next batch."""
    lines = [
        DEEP,
        DEEP[:100_000],
        OBJECTS,
        line().replace(b'"m"', DEEP),
        line().replace(b'"messages": []', b'"messages": [], "x": ' + DEEP),
        line(custom_id="a").replace(b'"a"', OBJECTS),
    ]

    found = await faults(api, line(custom_id="good"), *lines)

    assert [f["line"] for f in found] == [2, 3, 4, 5, 6, 7]
    assert (await answered(api, requests(1)))[0]["status"] == "completed"


@pytest.mark.spec("5.1-long-line")
async def test_a_huge_line_is_a_fault(api):
    """20 MB on one line fail it, by name, and the rest is still checked."""
    huge = line(body=body(x="y" * 20_000_000))
    content = huge + b"\n" + line(custom_id="good") + b"\n{broken\n"

    ended, *_ = await answered(api, content)

    faults = [(f["line"], f["code"]) for f in ended["errors"]["data"]]
    assert faults == [(1, "invalid_request"), (3, "invalid_json_line")]


@pytest.mark.spec("5.1-all-in-order", "5.1-cap")
async def test_all_faults_are_told_up_to_the_cap(api):
    """In line order; the rest is counted."""
    content = b"\n".join(
        bad for _ in range(60) for bad in (b"{", line(url="/v1/x"), b"[]", line(method="PUT"))
    )

    ended, *_ = await answered(api, content)

    data = ended["errors"]["data"]
    assert [fault["line"] for fault in data[:200]] == list(range(1, 201))
    assert len(data) == 201
    assert data[200]["line"] is None
    assert "40" in data[200]["message"]


@pytest.mark.spec("5.1-lost-file")
async def test_lost_bytes_fail_the_batch(api, tmp_path):
    """As for an unknown file: no line, param file_id."""
    batch = await api.create(requests(1))
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    async with api.dispatching():
        ended = await api.ended(batch)

    (fault,) = ended["errors"]["data"]
    assert ended["status"] == "failed"
    assert (fault["code"], fault["line"], fault["param"]) == ("invalid_request", None, "file_id")
    assert fault["message"].startswith(f"Cannot find file {batch['input_file_id']}")


@pytest.mark.spec("5.1-upstream-judges")
async def test_what_the_model_server_refuses_fails_one_line(api):
    """Its neighbours succeed, and the batch completes."""
    api.upstream.script = lambda given, _: (
        error(400, "temperature") if given["tag"] == "t1" else web.json_response(completion())
    )
    ended, ids, errors = await answered(api, requests(3))

    assert ended["status"] == "completed"
    assert ids == ["id-0", "id-2"]
    assert errors[0]["response"]["body"]["error"]["message"] == "temperature"


@pytest.mark.spec("5.1-types")
async def test_wrong_types_are_invalid_requests(api):
    """Code and line, whatever stands where something else should."""
    lines = [
        *(b"[]", b"7", b'"x"', b"null"),
        *(line(custom_id=7), line(custom_id=None), line(method=1), line(url=[])),
        *(line(body="x"), line(body=[]), line(body=None), line(body=body(model=3))),
    ]

    found = await faults(api, *lines)

    assert [f["line"] for f in found] == list(range(1, len(lines) + 1))
    assert {f["code"] for f in found} == {"invalid_request"}
    assert all(f["message"] for f in found)


@pytest.mark.spec("5.1-strict-json")
async def test_what_only_looks_like_json_is_refused(api):
    """Each of these is read by some lenient parser."""
    good = line()
    lines = [
        good.replace(b'"m"', b"NaN"),
        good.replace(b'"m"', b"-Infinity"),
        good.replace(b'"m"', b'"m\x01"'),
        good.replace(b'"m"', b'"m\x00"'),
        good.replace(b'"m"', b'"m\xff"'),
        good.replace(b'"m"', b'"\xed\xa0\x80"'),
        good.replace(b"[]", b"[],"),
        good + b" {}",
        good.replace(b'"', b"'"),
        b"\xff\xfe" + good.decode().encode("utf-16-le"),
        good.replace(b'"messages": []', b'"messages": [], "x": 01'),
        good.replace(b'"messages": []', b'"messages": [], "x": "\\x"'),
    ]

    found = await faults(api, *lines)

    assert [(f["line"], f["code"]) for f in found] == [
        (number, "invalid_json_line") for number in range(1, len(lines) + 1)
    ]


async def test_the_unchanged_line_is_good(api):
    """So that each case above has one fault."""
    ended, ids, _ = await answered(api, line(custom_id="a"))

    assert (ended["status"], ids) == ("completed", ["a"])
