"""What the body of a line for the audio endpoints must hold beside its model. Pure; used by `line_check`.

OpenAI's audio endpoints take a form with a file. A line is JSON, so it names the file by `file_url`, as
`vllm run-batch` has it, and every other field becomes a field of the form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from batchline.model import Fault
from batchline.outbound.media_urls import MediaRules

from .surrogates import without_lone_surrogates

FILE_URL, FILE = "file_url", "file"
FORMATS = ("json", "verbose_json")
"""Of answers: others are text, and a result is JSON."""
_MOST_FIELDS = 100
"""OpenAI's and vLLM's endpoints know about twenty."""
_UNSET = msgspec.UNSET
_Field = msgspec.Raw | msgspec.UnsetType


class _Audio(msgspec.Struct):
    file_url: _Field = _UNSET
    file: _Field = _UNSET
    response_format: _Field = _UNSET


@dataclass(frozen=True, slots=True)
class AudioRequest:
    """What a line asks for: a file, and the text fields of the form, in their order."""

    file_url: str
    fields: tuple[tuple[str, str], ...]


_decoder = msgspec.json.Decoder(_Audio)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)


def audio_faults(body: msgspec.Raw, media: MediaRules) -> Iterator[Fault]:
    """Yield the faults of the body of a line for an audio endpoint; it is a JSON object."""
    found = _decoder.decode(body)
    faults = list(_faults_of(found, media))
    yield from faults
    if not faults:
        try:
            read_audio_request(bytes(body))
        except ValueError as exc:
            yield Fault("invalid_request", str(exc), None, "body")


def read_audio_request(body: bytes) -> AudioRequest:
    """Read the body of a checked line. Raises ValueError: it is no such body, in words.

    Texts stay as they are, an array becomes a field `name[]` for each entry, null none, the rest its JSON.
    """
    found = _fields_decoder.decode(without_lone_surrogates(body))
    url = _text(found.pop(FILE_URL, _UNSET))
    found.pop(FILE, None)
    if url is None:
        raise ValueError(f"Missing required parameter: '{FILE_URL}'.")
    fields: list[tuple[str, str]] = []
    for name, raw in found.items():
        fields += _form_fields(name, raw)
        if len(fields) > _MOST_FIELDS:
            raise ValueError(
                f"The body has more than {_MOST_FIELDS} fields, entries of arrays included."
            )
    return AudioRequest(url, tuple(fields))


def _form_fields(name: str, raw: msgspec.Raw) -> list[tuple[str, str]]:
    if _is_null(raw):
        return []
    if memoryview(raw)[:1].tobytes() != b"[":
        return [(name, _as_text(raw))]
    name = name.removesuffix("[]") + "[]"  # as OpenAI's own clients write them
    items = _items_decoder.decode(raw)[: _MOST_FIELDS + 1]
    return [(name, _as_text(item)) for item in items]


def _as_text(raw: msgspec.Raw) -> str:
    text = _text(raw)
    return bytes(raw).decode() if text is None else text


def _faults_of(found: _Audio, media: MediaRules) -> Iterator[Fault]:
    if isinstance(found.file_url, msgspec.UnsetType):
        yield Fault(
            "missing_required_parameter",
            f"Missing required parameter: '{FILE_URL}'.",
            None,
            f"body.{FILE_URL}",
        )
    elif (url := _text(found.file_url)) is None:
        yield _invalid(FILE_URL, "expected a string.")
    elif (flaw := media.flaw_of(url)) is not None:
        yield _invalid(FILE_URL, flaw)
    if not _is_null(found.file):
        yield _invalid(FILE, f"a line cannot carry a file. Name it in '{FILE_URL}'.")
    if not _is_null(found.response_format) and _text(found.response_format) not in FORMATS:
        names = " or ".join(f"'{name}'" for name in FORMATS)
        yield _invalid("response_format", f"results are JSON; use {names}.")


def _text(raw: _Field) -> str | None:
    """Return the text of a field, or None where it holds no text."""
    if isinstance(raw, msgspec.UnsetType) or memoryview(raw)[:1].tobytes() != b'"':
        return None
    return _text_decoder.decode(without_lone_surrogates(bytes(raw)))


def _is_null(raw: _Field) -> bool:
    return isinstance(raw, msgspec.UnsetType) or memoryview(raw)[:5].tobytes() == b"null"


def _invalid(name: str, why: str) -> Fault:
    return Fault("invalid_request", f"Invalid 'body.{name}': {why}", None, f"body.{name}")
