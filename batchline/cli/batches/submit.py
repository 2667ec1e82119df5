"""`batchline submit`: checks the file's first line, uploads it, creates the batch, and waits if asked to.

Reads the file once, in chunks. The server checks every line; the check here only avoids an upload that
cannot work.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, FailOnErrors, Url
from batchline.cli.api.transfer import Transfer
from batchline.cli.api.unpacked import Unpacked
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean, put, put_json, say
from batchline.jsonl.compression import split_ending
from batchline.jsonl.encodings import foreign_encoding, misplaced_mark, not_utf8
from batchline.jsonl.file_kinds import HEAD_BYTES, file_kind
from batchline.states import BatchStatus, OnFailures

if TYPE_CHECKING:
    from batchline.cli.api.batch import ApiBatch
    from batchline.cli.api.client import Client, Wanted

STDIN = "-"

_CHUNK_BYTES = 1 << 20
_FIRST_LINE_BYTES = 16 * 1024 * 1024  # the server's default for the longest line
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FirstLine:
    """The url of the file's first request, and the bytes read so far to find it."""

    url: str
    looked_at: bytes


File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="JSON Lines file, also .gz or .zst; - reads standard input"
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Such as /v1/chat/completions [default: the first line's url]")
]
Meta = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; may be repeated")
]
WhenFailing = Annotated[
    OnFailures | None,
    typer.Option(help="When most lines fail: go on, or pause [default: the server's setting]"),
]
CallbackUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Tell its end there too, by a signed webhook")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Wait, and store the results here")
]


def submit(
    *,
    file: File,
    endpoint: Endpoint = None,
    name: Annotated[str | None, typer.Option(help="A name to find it by (metadata 'name')")] = None,
    window: Annotated[str, typer.Option(help="Time until it expires")] = "24h",
    meta: Meta = None,
    on_failures: WhenFailing = None,
    callback_url: CallbackUrl = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it has ended")] = False,
    output: Output = None,
    fail_on_errors: FailOnErrors = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Upload a file of requests and start a batch; writes its id."""
    metadata = read_metadata(meta or [], name=name)
    followed = wait or watch or output is not None
    with _opened(file) as stream:
        head = _look_at(stream, file)
        endpoint = choose_endpoint(head.url, endpoint)
        from batchline.cli.api.client import (  # after the check, so that a bad file is refused at once
            Client,
            Wanted,
        )

        wanted = Wanted(endpoint, window, metadata, on_failures, callback_url)
        with Client(url, api_key) as client:
            file_id = _upload(client, stream, head=head, file=file)
            batch = _create(client, file_id, wanted)
            say(f"created on {client.url}/", mark="✓")
            if not as_json:
                put(batch.id)
            elif not followed:
                put_json(batch.raw)
            if not followed:
                say(f"Follow it:  batchline watch {batch.id}")
                return
            ended = _follow(client, batch, watch=watch, as_json=as_json)
            if output is None and not as_json:
                _tell_next(ended)
            if output is not None and ended.status is not BatchStatus.FAILED:
                _store(client, ended, output)
    raise typer.Exit(_exit_code(ended, fail_on_errors=fail_on_errors))


def read_metadata(pairs: Sequence[str], *, name: str | None) -> dict[str, str]:
    """Read `key=value` pairs and add the name. Raises Failure."""
    metadata: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Failure(
                f"--meta {clean(pair, limit=80)!r} is not KEY=VALUE.",
                remedy="for example --meta suite=mmlu",
            )
        metadata[key] = value
    if name is not None:
        metadata["name"] = name
    return metadata


def _look_at(stream: BinaryIO, file: str) -> FirstLine:
    """Find the first request. A compressed file is opened twice, since it is uploaded as it is."""
    _, coding = split_ending(file)
    if coding is None:
        return first_line(stream, file)
    with _opened(file) as packed:
        unpacked = BufferedReader(Unpacked(packed, coding, name=clean(file)))
        return FirstLine(url=first_line(unpacked, file).url, looked_at=b"")


def first_line(stream: BinaryIO, file: str) -> FirstLine:
    """Read up to the first request and check it. Raises Failure."""
    number, text, looked_at = 0, b"", bytearray()
    while not text:
        number += 1
        line = stream.readline(_FIRST_LINE_BYTES)
        if not line:
            raise Failure(f"{clean(file)} holds no request.", remedy="write one JSON object a line")
        looked_at += line
        text = line.removeprefix(_BOM if number == 1 else b"").strip()
    if encoding := foreign_encoding(looked_at):
        raise Failure(
            f"{clean(file)} is not a batch input file; nothing was uploaded.",
            why=not_utf8(encoding),
        )
    try:
        request = json.loads(text.decode())
    except (ValueError, RecursionError) as exc:
        raise _bad_line(
            file, number, f"not JSON: {exc}", hint=_hint(stream, looked_at, text)
        ) from exc
    if not isinstance(request, dict):
        raise _bad_line(file, number, "not a JSON object", hint=_hint(stream, looked_at, text))
    missing = [key for key in ("custom_id", "method", "url", "body") if key not in request]
    if missing:
        raise _bad_line(file, number, f"it lacks {', '.join(missing)}")
    url = request["url"]
    if not isinstance(url, str) or not url.startswith("/"):
        raise _bad_line(file, number, "its url is not a path such as /v1/chat/completions")
    return FirstLine(url=url, looked_at=bytes(looked_at))


def choose_endpoint(url: str, given: str | None) -> str:
    """Return the endpoint of the batch: the first line's url, which must equal a given one."""
    if given is not None and given != url:
        raise Failure(
            f"--endpoint {clean(given, limit=80)} does not match the file; nothing was uploaded.",
            why=f"Its first request has url {clean(url, limit=80)}; the two must be equal.",
            remedy="leave --endpoint out, or fix the file",
        )
    return url


def _hint(stream: BinaryIO, looked_at: bytearray, line: bytes) -> str:
    """Say what kind of file it is, or which byte order mark the line holds, if that is clear."""
    more = (
        b"" if stream is sys.stdin.buffer else stream.read(HEAD_BYTES)
    )  # reading more of a pipe may block
    return str(file_kind(bytes(looked_at) + more) or misplaced_mark(line) or "")


def _bad_line(file: str, number: int, fault: str, *, hint: str = "") -> Failure:
    return Failure(
        f"{clean(file)} is not a batch input file; nothing was uploaded.",
        why=f"Line {number}: {clean(fault, limit=300)}. {hint}".rstrip(),
        remedy='write lines like {"custom_id": "1", "method": "POST",'
        ' "url": "/v1/chat/completions", "body": {...}}',
    )


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    if file == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as exc:
        raise Failure(
            f"{clean(file)} cannot be read.", why=f"{exc.strerror or exc}.", remedy="check the path"
        ) from exc


def _size_bytes(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream without a file behind it
        return None
    return (
        status.st_size if stat.S_ISREG(status.st_mode) and stream is not sys.stdin.buffer else None
    )


def _upload(client: Client, stream: BinaryIO, *, head: FirstLine, file: str) -> str:
    size_bytes = _size_bytes(stream)
    filename = "stdin.jsonl" if file == STDIN else Path(file).name
    with Transfer("uploading", total_bytes=size_bytes) as transfer:
        chunks = _counted(_chunks(stream, head), transfer)
        try:
            stored = client.upload(chunks, size_bytes=size_bytes, filename=filename)
        except KeyboardInterrupt:
            raise Failure(
                "Stopped while uploading. No batch was created.", code=ExitCode.INTERRUPTED
            ) from None
    say(f"uploaded {transfer.summary}", mark="✓")
    return str(stored.get("id"))


def _create(client: Client, file_id: str, wanted: Wanted) -> ApiBatch:
    try:
        return client.create_batch(file_id, wanted)
    except Failure as failure:
        if failure.code is ExitCode.USAGE:  # refused for good: nothing will ever use the file
            with suppress(Failure):
                client.delete_file(file_id)
        raise


def _chunks(stream: BinaryIO, head: FirstLine) -> Iterator[bytes]:
    yield head.looked_at
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _counted(chunks: Iterator[bytes], transfer: Transfer) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        transfer.advance(len(chunk))


def _follow(client: Client, batch: ApiBatch, *, watch: bool, as_json: bool) -> ApiBatch:
    from .watch import choose_screen, final_line, follow

    # Standard output holds the id, so progress goes to standard error; with --json it holds only objects.
    screen = choose_screen(as_json=as_json and watch, quiet=not watch, talk=True)
    ended = follow(client, batch, screen)
    say(final_line(ended))
    if as_json and not watch:
        put_json(ended.raw)
    return ended


def _tell_next(batch: ApiBatch) -> None:
    from .watch import tell_next

    tell_next(batch)


def _store(client: Client, batch: ApiBatch, output: Path) -> None:
    from .results import store_results

    store_results(client, batch, output)


def _exit_code(batch: ApiBatch, *, fail_on_errors: bool) -> ExitCode:
    from .watch import exit_code

    return exit_code(batch, fail_on_errors=fail_on_errors)
