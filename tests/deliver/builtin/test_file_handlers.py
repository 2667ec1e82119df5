"""The handlers for Parquet and CSV: what their files hold, whatever dies."""

from __future__ import annotations

import base64
import csv
import json
import struct

import pytest
from arro3.io import read_parquet
from ended_batches import chat_answer, chat_request
from handler_bench import survey_of

from batchline.handlers import Context, EndedBatch, Result, Results
from batchline.jsonl.result_lines import answer_record
from batchline.webhooks.records import DeliveryState
from deliver.builtin.files.parquet_files import ParquetFiles

PENDING, DELIVERED, GIVEN_UP = DeliveryState
LINES = 900

DYING = """
    import os, signal
    from deliver.builtin.files.parquet_files import ParquetFiles

    class Killed:
        def __init__(self, results): self._results = results
        async def chunks(self, most, most_bytes=None):
            taken = 0
            async for chunk in self._results.chunks(100):
                yield chunk
                taken += len(chunk)
                if taken >= 500: os.kill(os.getpid(), signal.SIGKILL)

    @register_handler
    class Dying(ParquetFiles):
        name = "dying"

        async def handle(self, batch, results, context):
            await super().handle(batch, results if context.attempt > 2 else Killed(results), context)
"""

FULL = """
    import resource
    from deliver.builtin.files.parquet_files import ParquetFiles

    @register_handler
    class Full(ParquetFiles):
        name = "full"

        async def handle(self, batch, results, context):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            await super().handle(batch, results, context)
"""


def rows_of(path):
    table = read_parquet(path).read_all()
    columns = {name: table[name].to_pylist() for name in table.schema.names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def line_of(index, said):
    body = b'{"choices": [{"message": {"content": "%s"}}]}' % said
    return answer_record("batch_req_x", f"c{index}", status=200, upstream_id="u", body=body)


async def test_a_parquet_file_has_each_answer_beside_its_request(make_handlers, tmp_path):
    """Though the process is killed twice while it writes: no half file is left; a replay changes nothing."""
    folder = tmp_path / "exports"
    bench = await make_handlers(DYING, sections={"dying": {"folder": str(folder)}})
    batch = await bench.completed(LINES, failed=[7], refused=[8])

    seen = []
    for _ in range(3):
        await bench.round()
        delivery = await bench.delivery()
        seen.append((delivery.state, [path.name for path in folder.glob("*.parquet")]))
        bench.clock.advance(3600)

    path = folder / f"{batch.id}.parquet"
    assert seen == [(PENDING, []), (PENDING, []), (DELIVERED, [path.name])]
    assert list(folder.iterdir()) == [path]
    rows = rows_of(path)
    assert [row["custom_id"] for row in rows] == [f"c{i}" for i in range(LINES)]
    assert rows[0] == {
        "custom_id": "c0",
        "index": 0,
        "prompt": "question 0",
        "answer": "answer 0",
        "finish_reason": "stop",
        "model": "m",
        "status_code": 200,
        "error_code": None,
        "error_message": None,
        "input_tokens": 3,
        "output_tokens": 2,
        "request": rows[0]["request"],
        "response": rows[0]["response"],
    }
    assert json.loads(rows[0]["request"]) == chat_request(0)["body"]
    assert json.loads(rows[0]["response"]) == chat_answer(0)
    told = [(row["answer"], row["status_code"], row["error_code"]) for row in rows[7:9]]
    assert told == [(None, None, "server_error"), (None, 400, "400")]

    before = path.read_bytes()
    await bench.store.replay_delivery(delivery.number, now=int(bench.clock.now()))
    await bench.spend(3 * 3600, every_s=3600)
    assert (await bench.delivery()).state is DELIVERED
    assert path.read_bytes() == before


async def test_a_full_disk_is_told_and_leaves_nothing(make_handlers, tmp_path):
    """The library panics there, which would look as if the process had died."""
    folder = tmp_path / "exports"
    bench = await make_handlers(FULL, sections={"full": {"folder": str(folder)}})
    await bench.completed(2)

    await bench.round()

    delivery = await bench.delivery()
    assert delivery.state is PENDING
    assert delivery.last_error == "The handler failed: OSError: [Errno 27] File too large"
    assert list(folder.iterdir()) == []


async def test_lines_that_grow_without_measure_go_on_in_another_file(tmp_path):
    """A row group lies in memory, and for a whole file has one number of rows: so that stays bounded."""
    batch = EndedBatch(
        **dict.fromkeys(EndedBatch.__struct_fields__, 0)
        | {"id": "batch_1", "endpoint": "/v1/chat/completions"}
    )
    settings = {"folder": str(tmp_path), "columns": ["custom_id", "answer"]}
    short, long = b"a" * 100, b"a" * (1 << 20)
    lines = [Result(i, line_of(i, short if i < 4096 else long)) for i in range(4296)]

    async def pieces():
        yield lines

    results = Results(pieces())
    context = Context(
        results, settings=settings, idempotency_key="", attempt=1, state=None, keep=None
    )
    await ParquetFiles().handle(batch, results, context)

    first, second = (rows_of(tmp_path / name) for name in ("batch_1.parquet", "batch_1.2.parquet"))
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert 4096 < len(first) < 4296
    assert [row["custom_id"] for row in first + second] == [f"c{i}" for i in range(4296)]
    assert len(second[0]["answer"]) == len(long)


async def test_vectors_are_lists_and_columns_are_chosen(make_handlers, tmp_path):
    """Of numbers or of base64; columns of the request are named by where they stand."""

    def embedded(index):
        vector = [index + 0.5, -1.0]
        packed = base64.b64encode(struct.pack("<2f", *vector)).decode()
        data = [{"index": 0, "embedding": packed if index % 2 else vector}]
        return {"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1}}

    sections = {
        "parquet": {
            "folder": str(tmp_path),
            "columns": ["custom_id", "embedding"],
            "input_columns": {"asked": "messages.0.content"},
        }
    }
    bench = await make_handlers(sections=sections)
    batch = await bench.completed(3, body_of=embedded, endpoint="/v1/embeddings")

    await bench.round()

    assert (await bench.delivery()).last_error is None
    assert rows_of(tmp_path / f"{batch.id}.parquet") == [
        {"custom_id": f"c{i}", "embedding": [i + 0.5, -1.0], "asked": f"question {i}"}
        for i in range(3)
    ]


@pytest.mark.parametrize("is_for_spreadsheets", [False, True])
async def test_a_csv_file_holds_what_the_model_said(make_handlers, tmp_path, is_for_spreadsheets):
    """Lines within a cell stay; where spreadsheets shall read it, no text is a formula.

    Whoever may read the folder may read the file.
    """
    said = ["plain", 'two\nlines, "quoted"', "=1+1", "", "\r", None]

    def answer(index):
        body = chat_answer(index)
        body["choices"][0]["message"]["content"] = said[index]
        return body

    mark = "'" if is_for_spreadsheets else ""
    tmp_path.chmod(0o750)
    section = {"folder": str(tmp_path), "spreadsheet": is_for_spreadsheets}
    bench = await make_handlers(sections={"csv": section})
    batch = await bench.completed(6, body_of=answer)

    await bench.round()

    path = tmp_path / f"{batch.id}.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["answer"] for row in rows] == [*said[:2], f"{mark}=1+1", "", f"{mark}\r", ""]
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") is is_for_spreadsheets


async def test_what_cannot_be_written_is_told(make_handlers, tmp_path):
    """A folder that goes away is tried again; wrong settings are faults at the start."""
    folder = tmp_path / "gone"
    bench = await make_handlers(sections={"parquet": {"folder": str(folder)}})
    folder.rmdir()
    await bench.completed(2)

    await bench.round()

    delivery = await bench.delivery()
    assert delivery.state is PENDING
    assert "No such file or directory" in delivery.last_error
    wrong = {
        "a": {"handler": "csv"},
        "b": {"handler": "csv", "folder": "here"},
        "c": {"handler": "parquet", "folder": str(tmp_path), "compresion": "none"},
        "d": {"handler": "parquet", "folder": str(tmp_path), "columns": ["promt"]},
        "e": {"handler": "csv", "folder": str(tmp_path), "compression": "zip"},
        "f": {"handler": "csv", "folder": str(tmp_path), "input_columns": {"model": "a"}},
    }
    faults = "\n".join((await survey_of(tmp_path, sections=wrong)).faults)
    for told in ("`folder`", "'here'", "`compresion`", "'promt'", "none, gzip", "'model'"):
        assert told in faults
