"""Which bytes cannot be the input of a batch, whatever their lines are: blank ones, and another encoding."""

from __future__ import annotations

from batchline.errors import Invalid
from batchline.jsonl.encodings import foreign_encoding, not_utf8
from gateway.transfer.file_sink import FileSink

from .unpacking import BATCH

_NO_JSONL = "Invalid file format for Batch API. Must be .jsonl"


def refuse_blank(purpose: str, *, is_blank: bool) -> None:
    """Refuse an input that holds only white space. Raises Invalid."""
    if purpose == BATCH and is_blank:
        raise Invalid(_NO_JSONL)


def refuse_unreadable(purpose: str, sink: FileSink) -> None:
    """Refuse an input that is blank, or certainly not UTF-8. Raises Invalid."""
    refuse_blank(purpose, is_blank=sink.is_blank)
    if purpose == BATCH and (encoding := foreign_encoding(sink.head)):
        raise Invalid(f"{_NO_JSONL}. {not_utf8(encoding)}")
