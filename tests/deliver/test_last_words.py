"""What the process of a handler says last is heard, whatever is on its way to it."""

from __future__ import annotations

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


async def test_a_process_reads_on_after_its_last_word(tmp_path):
    """If it ended at once, writing to it would fail, and the word would be lost with the connection."""
    file = tmp_path / "mine.py"
    file.write_text("""if True:
        from batchline.handlers import GiveUp, register_handler

        @register_handler
        class Mine:
            name = "mine"

            async def handle(self, batch, results, context):
                raise GiveUp("never")
    """)
    start = Start(
        source=f"folder:{file}",
        handler="mine",
        batch=BATCH,
        settings={},
        idempotency_key="evt_1",
        attempt=1,
        start=0,
        state=None,
    )

    async with running("run", "mine") as program:
        program.writer.write(framed(start))
        told = await read_by_deliverer(program.reader)
        for _ in range(100):
            program.writer.write(framed(Piece([(0, b"x" * 65536, None)])))
            await program.writer.drain()
        program.writer.write_eof()
        why = await program.wait(Limits())

    assert (told, why) == (Failed("never", is_final=True), None)
