"""What the process of a handler says last is heard, whatever is on its way to it."""

from __future__ import annotations

import logging

from batchline.handlers import EndedBatch
from batchline.handlers.sections import Limits
from deliver.handling.limited_process import running
from deliver.handling.messages import Failed, Piece, Start, framed, read_by_deliverer

BATCH = EndedBatch(
    id="batch_1",
    status="completed",
    endpoint="/v1/chat/completions",
    model="m",
    metadata={},
    created_at=1,
    ended_at=2,
    total=9,
    completed=9,
    failed=0,
    input_file_id="file-1",
    output_file_id="file-2",
    error_file_id=None,
)


def started(folder, *, printing=""):
    """Make the message that starts a handler which gives up at once."""
    file = folder / "mine.py"
    file.write_text(f"""if True:
        from batchline.handlers import GiveUp, register_handler
        {printing}

        @register_handler
        class Mine:
            name = "mine"

            async def handle(self, batch, results, context):
                raise GiveUp("never")
    """)
    return framed(
        Start(
            source=f"folder:{file}",
            handler="mine",
            batch=BATCH,
            settings={},
            idempotency_key="evt_1",
            attempt=1,
            start=0,
            state=None,
        )
    )


async def test_a_process_reads_on_after_its_last_word(tmp_path):
    """If it ended at once, writing to it would fail, and the word would be lost with the connection."""
    async with running("run", "mine") as program:
        program.writer.write(started(tmp_path))
        told = await read_by_deliverer(program.reader)
        for _ in range(100):
            program.writer.write(framed(Piece([(0, b"x" * 65536, None)])))
            await program.writer.drain()
        program.writer.write_eof()
        why = await program.wait(Limits())

    assert (told, why) == (Failed("never", is_final=True), None)


async def test_of_what_a_process_prints_the_first_lines_are_logged(tmp_path, caplog):
    """However many come at once: the log is not the handler's to fill."""
    caplog.set_level(logging.INFO, "deliver.handling.limited_process")
    printing = 'print("x\\n" * 10_000 + "the end", end="", flush=True)'

    async with running("run", "mine") as program:
        program.writer.write(started(tmp_path, printing=printing))
        await read_by_deliverer(program.reader)
        program.writer.write_eof()
        await program.wait(Limits())

    logged = [message for message in caplog.messages if message.startswith("mine: ")]
    assert logged == ["mine: x"] * 200
