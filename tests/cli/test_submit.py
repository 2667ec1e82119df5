"""Submitting: what is checked before, what is sent, what is written where."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from scripted_api import REQUEST, completed, running

from batchline.cli.batches.submit import choose_endpoint, first_line
from batchline.jsonl.compression import zstd


def test_submit_uploads_the_file_and_writes_only_the_id_to_stdout(batchline, api, lines):
    """Standard output is the new batch's id, so that scripts can capture it."""
    done = batchline(
        "submit", lines, "--name", "nightly", "--meta", "suite=mmlu", "--window", "48h"
    )

    assert done.exit_code == 0, done.stderr
    batch = api.batches[done.stdout.strip()]
    assert batch["metadata"] == {"name": "nightly", "suite": "mmlu"}
    assert batch["completion_window"] == "48h"
    assert api.uploads[0]["content"] == lines.read_bytes()
    assert api.uploads[0]["purpose"] == "batch"
    assert api.uploads[0]["filename"] == "lines.jsonl"
    assert api.url in done.stderr


@pytest.mark.parametrize("given", ["continue", "pause"])
def test_submit_says_what_shall_happen_on_failures(batchline, api, lines, given):
    """Only where it was asked for; another word is refused before anything is sent."""
    told = batchline("submit", lines, "--on-failures", given).stdout.strip()
    untold = batchline("submit", lines).stdout.strip()
    refused = batchline("submit", lines, "--on-failures", "stop")

    assert api.batches[told]["on_failures"] == given
    assert "on_failures" not in api.batches[untold]
    assert (refused.exit_code, len(api.uploads)) == (2, 2)


def test_submit_says_where_the_end_is_told(batchline, api, lines):
    """Only where it was asked for."""
    told = batchline("submit", lines, "--callback-url", "https://example.com/hook").stdout.strip()
    untold = batchline("submit", lines).stdout.strip()

    assert api.batches[told]["callback_url"] == "https://example.com/hook"
    assert "callback_url" not in api.batches[untold]
    assert "calls back     https://example.com/hook" in batchline("show", told).stdout


def test_submit_takes_the_endpoint_from_the_first_request(batchline, api, tmp_path):
    """Blank lines and a byte order mark before it do not matter."""
    path = tmp_path / "embeddings.jsonl"
    first = json.dumps(REQUEST | {"url": "/v1/embeddings"}).encode()
    path.write_bytes(b"\xef\xbb\xbf\r\n\n" + first)

    done = batchline("submit", path)

    assert api.batches[done.stdout.strip()]["endpoint"] == "/v1/embeddings"
    assert api.uploads[0]["content"] == path.read_bytes()


def test_submit_reads_standard_input(batchline, api, lines):
    """`-` streams standard input, whose length nobody knows."""
    done = batchline("submit", "-", stdin=lines.read_bytes())

    assert done.exit_code == 0, done.stderr
    assert api.uploads[0]["content"] == lines.read_bytes()
    assert api.uploads[0]["length"] is None


@pytest.mark.parametrize("name", ["lines.jsonl.gz", "lines.jsonl.zst"])
def test_submit_sends_a_compressed_file_as_it_is(batchline, api, lines, tmp_path, name):
    """It looks into the file for the endpoint; the server unpacks it by its name."""
    pack = gzip.compress if name.endswith(".gz") else zstd.compress
    path = tmp_path / name
    path.write_bytes(pack(lines.read_bytes()))

    done = batchline("submit", path)

    assert done.exit_code == 0, done.stderr
    assert api.batches[done.stdout.strip()]["endpoint"] == "/v1/chat/completions"
    assert api.uploads[0]["content"] == path.read_bytes()
    assert api.uploads[0]["filename"] == name


@pytest.mark.parametrize("cut", [10, -9])
def test_submit_uploads_no_damaged_compressed_file(batchline, api, lines, tmp_path, cut):
    """Where its first line cannot be unpacked, nothing is sent."""
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(lines.read_bytes().splitlines()[0])[:cut])

    done = batchline("submit", path)

    assert done.exit_code == 2
    assert "cut short" in done.stderr
    assert not api.uploads


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no request"),
        (b"\n \n", "no request"),
        (b"{\n", "Line 1: not JSON"),
        (b"\n[1]\n", "Line 2: not a JSON object"),
        (b'{"url": "/v1/embeddings"}', "lacks custom_id, method, body"),
        (b'{"custom_id": "1", "method": "POST", "url": 3, "body": {}}', "its url is not a path"),
        (b"[" * 100_000, "Line 1: not JSON"),
        (b"[\n{}\n]\n", "The file looks like a JSON array. Write one"),
        (b'{\n"custom_id": 1\n}', "The file looks like JSON over several lines. Write"),
        (gzip.compress(b"{}", mtime=0), "The file looks like gzip data. Send it under"),
        (b"\n\xef\xbb\xbf{}\n", "byte order mark"),
        (b"\xff\xfe{\x00}\x00", "It is UTF-16LE, but must be UTF-8."),
        ("\n{}\n".encode("utf-16-le"), "It is UTF-16LE, but must be UTF-8."),
        ("{}\n".encode("utf-32-be"), "It is UTF-32BE, but must be UTF-8."),
    ],
)
def test_submit_refuses_a_file_that_cannot_work_before_sending_it(
    batchline, api, tmp_path, content, said
):
    """A wrong first line is told at once, with its number, and nothing is uploaded."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)

    done = batchline("submit", path)

    assert done.exit_code == 2
    assert said in done.stderr
    assert api.requests == []


def test_submit_refuses_an_endpoint_that_differs_from_the_file(batchline, api, lines):
    """Given and found endpoint must be equal: the server would fail every line."""
    done = batchline("submit", lines, "--endpoint", "/v1/embeddings")

    assert done.exit_code == 2
    assert "does not match" in done.stderr
    assert choose_endpoint("/v1/embeddings", None) == "/v1/embeddings"
    assert api.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere.jsonl"], "cannot be read"), ([".", "--meta", "x"], "KEY=VALUE"), ([], "FILE")],
)
def test_submit_names_what_is_wrong_with_its_arguments(batchline, arguments, said):
    """Usage errors exit with 2."""
    done = batchline("submit", *arguments)

    assert done.exit_code == 2
    assert said in done.stderr


def test_submit_wait_returns_when_the_batch_has_ended(batchline, api, lines):
    """The id still comes first; how it ended is talk."""
    api.on_create = [running(1), completed()]

    done = batchline("submit", lines, "--wait")

    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() in api.batches
    assert "✓ completed" in done.stderr


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--fail-on-errors"], 3)])
def test_submit_tells_failed_lines_by_exit_code_only_if_asked(batchline, api, lines, options, code):
    """A completed batch with failed lines is a success, unless --fail-on-errors."""
    api.on_create = [completed(failed=2)]

    assert batchline("submit", lines, "--wait", *options).exit_code == code


def test_submit_lists_the_faults_of_a_refused_file(batchline, api, lines):
    """A batch that fails validation exits with 1 and shows line, code and message."""
    faults = [
        {"code": "duplicate_custom_id", "line": 17, "message": "Already on line 9.", "param": None}
    ]
    api.on_create = [{"status": "failed", "errors": {"data": faults}}]

    done = batchline("submit", lines, "-o", lines.with_name("out.jsonl"))

    assert done.exit_code == 1
    assert "line 17" in done.stderr
    assert "duplicate_custom_id: Already on line 9." in done.stderr
    assert not lines.with_name("out.jsonl").exists()


def test_submit_with_an_output_file_stores_the_results(batchline, api, lines, tmp_path):
    """-o waits and downloads in one command."""
    api.files["file-out"] = b'{"id": "a"}\n'
    api.on_create = [completed()]

    done = batchline("submit", lines, "-o", tmp_path / "out.jsonl")

    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"id": "a"}\n'


def test_submit_json_writes_one_object_or_a_stream_of_them(batchline, api, lines):
    """--json: the created batch; with --wait the ended one; with --watch one object a line."""
    api.on_create = [running(1), completed()]

    created = json.loads(batchline("submit", lines, "--json").stdout)
    ended = json.loads(batchline("submit", lines, "--json", "--wait").stdout)
    watched = [
        json.loads(x) for x in batchline("submit", lines, "--json", "--watch").stdout.splitlines()
    ]

    assert created["status"] == "validating"
    assert ended["status"] == "completed"
    assert [w["status"] for w in watched] == ["validating", "in_progress", "completed"]


def test_submit_escapes_the_file_name(batchline, api, tmp_path):
    """Quotes and line breaks in a file's name cannot break out of the multipart header."""
    path = tmp_path / 'a"\r\nX-Evil: 1ü.jsonl'
    path.write_text(json.dumps(REQUEST))

    done = batchline("submit", path)

    assert done.exit_code == 0, done.stderr
    assert api.uploads[0]["filename"].endswith("ü.jsonl")
    assert api.uploads[0]["content"] == path.read_bytes()


def test_an_upload_takes_constant_memory(batchline, api, tmp_path):
    """The file passes in chunks: what is held does not grow with it."""
    path = tmp_path / "large.jsonl"
    line = json.dumps(REQUEST).encode() + b"\n"
    path.write_bytes(line * (40_000_000 // len(line)))
    from batchline.cli.batches.submit import _chunks

    tracemalloc.start()
    with path.open("rb") as stream:
        moved = sum(len(c) for c in _chunks(stream, first_line(stream, str(path))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert moved == path.stat().st_size
    assert peak < 8_000_000


def test_an_early_refusal_of_a_large_upload_is_told(batchline, api, tmp_path):
    """A server that refuses and closes while the file is still being sent is heard."""
    api.key = "right"
    path = tmp_path / "large.jsonl"
    line = json.dumps(REQUEST).encode() + b"\n"
    path.write_bytes(line * (20_000_000 // len(line)))

    done = batchline("submit", path, "--api-key", "wrong")

    assert done.exit_code in (2, 4)
    assert "API key" in done.stderr or "broke off" in done.stderr
