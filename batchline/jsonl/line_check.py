"""Checks one line of an input file, fast if it is good.

A good line is decoded in one step with types that refuse every fault. Only a line that they refuse is
checked field by field, to name all its faults. Codes and texts are those of OpenAI's validation errors.
Pure; used by `input_file.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from batchline.api.endpoints import AUDIO
from batchline.model import Fault
from batchline.outbound.media_urls import NO_MEDIA, MediaRules
from batchline.states import OnFaults

from .audio_lines import audio_faults
from .body_rules import NO_RULES, BodyRules
from .encodings import misplaced_mark
from .surrogates import without_lone_surrogates

_NEEDED = {
    "/v1/chat/completions": ("messages",),
    "/v1/completions": ("prompt", "prompt_embeds"),
    "/v1/embeddings": ("input", "messages"),
    "/v1/responses": ("input", "prompt"),
    "/v1/messages": ("messages",),
    "/v1/moderations": ("input",),
    "/v1/images/generations": ("prompt",),
    "/v1/images/edits": ("prompt",),
}
"""Fields of which a body must hold one: the first is OpenAI's, the others are vLLM's."""
_POSITIVE = {"/v1/messages": "max_tokens"}
"""A whole number that a body must hold, of at least 1."""
_STREAMING = {
    "/v1/chat/completions": "Chat Completions",
    "/v1/completions": "Completions",
    "/v1/responses": "Responses",
    "/v1/messages": "Messages",
}
_SHOWN_CHARACTERS = 200
_UNSET = msgspec.UNSET
_Field = msgspec.Raw | msgspec.UnsetType


class _Line(msgspec.Struct):
    custom_id: _Field = _UNSET
    method: _Field = _UNSET
    url: _Field = _UNSET
    body: _Field = _UNSET


class _Body(msgspec.Struct):
    model: _Field = _UNSET
    stream: _Field = _UNSET
    messages: _Field = _UNSET
    prompt: _Field = _UNSET
    prompt_embeds: _Field = _UNSET
    input: _Field = _UNSET
    max_tokens: _Field = _UNSET


_line_decoder = msgspec.json.Decoder(_Line)
_body_decoder = msgspec.json.Decoder(_Body)
_text_decoder = msgspec.json.Decoder(str)
_number_decoder = msgspec.json.Decoder(float)
_any_decoder = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Rules:
    """What all requests of one batch must fulfil."""

    endpoint: str
    served: frozenset[str] | None = None
    """The models that the fleet serves; None where that is not known: none is refused then."""
    one_model: bool = False
    body: BodyRules = NO_RULES
    media: MediaRules = NO_MEDIA
    on_faults: OnFaults = OnFaults.FAIL_BATCH


@dataclass(frozen=True, slots=True)
class Examined:
    """A line checked field by field. Its faults have no line number yet."""

    custom_id: str | None
    model: str | None
    faults: tuple[Fault, ...]


REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder of good lines raises."""


@lru_cache(maxsize=16)
def good_decoder(endpoint: str, rules: BodyRules) -> Callable[[bytes], Any]:
    """Make the decoder of good lines: it returns custom_id and body.model, or raises one of `REFUSED`.

    It refuses some good lines too: `examine` decides. Those for audio are all left to it.
    """
    if endpoint in AUDIO:
        return _refuse
    line = msgspec.defstruct(
        "GoodLine",
        [
            ("custom_id", str),
            ("method", Literal["POST"]),
            ("url", Literal[endpoint]),
            ("body", _good_body(endpoint, rules)),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(line).decode


def _refuse(line: bytes) -> Any:
    del line
    raise msgspec.DecodeError


@lru_cache(maxsize=16)
def _good_body_decoder(endpoint: str, rules: BodyRules) -> Callable[[bytes], Any]:
    if endpoint in AUDIO:
        return _refuse
    return msgspec.json.Decoder(_good_body(endpoint, rules)).decode


def _good_body(endpoint: str, rules: BodyRules) -> Any:
    """Make the type of good bodies."""
    needed = _NEEDED.get(endpoint, ())[:1]
    ruled: dict[str, Any] = {
        name: Annotated[int, msgspec.Meta(le=highest)] | None for name, highest in rules.highest
    } | dict.fromkeys(rules.refused)
    positive = _POSITIVE.get(endpoint)
    if positive is not None:
        ruled[positive] = _positive(positive, rules)
    return msgspec.defstruct(
        "GoodBody",
        [
            ("model", str),
            *((name, msgspec.Raw) for name in needed),
            ("stream", bool | None, None),
            *(
                (f"ruled_{number}", kind, _named(name, is_needed=name == positive))
                for number, (name, kind) in enumerate(ruled.items())
            ),
        ],
        gc=False,
        kw_only=True,
    )


def _positive(name: str, rules: BodyRules) -> Any:
    """Return the type of a positive number, which may have a rule of its own; None: it is refused."""
    if name in rules.refused:
        return None
    return Annotated[int, msgspec.Meta(ge=1, le=dict(rules.highest).get(name))]


def _named(name: str, *, is_needed: bool) -> Any:
    return msgspec.field(name=name) if is_needed else msgspec.field(default=None, name=name)


def examine(line: bytes, rules: Rules) -> Examined:
    """Return every fault of a line; none if it is good."""
    try:
        return _examined(line, rules)
    except RecursionError:  # one decoder had room for it, and another, called from deeper, had none
        return Examined(None, None, (_unparseable(line),))


def _examined(line: bytes, rules: Rules) -> Examined:
    endpoint = rules.endpoint
    whole = without_lone_surrogates(line)
    parsed = _parsed(whole)
    if isinstance(parsed, Fault):
        return Examined(None, None, (parsed,))
    faults: list[Fault] = []
    custom_id = _text(parsed.custom_id, "custom_id", faults)
    if custom_id is not None and whole != line and _is_mended(parsed.custom_id, line):
        faults.append(_invalid("custom_id", "it holds half of a surrogate pair, which is no text."))
        custom_id = None
    method = _text(parsed.method, "method", faults)
    if method not in ("POST", None):
        message = f"Invalid method: '{method[:50]}'. Use 'POST'."
        faults.append(Fault("invalid_method", message, None, "method"))
    url = _text(parsed.url, "url", faults)
    if url not in (endpoint, None):
        message = (
            "The URL provided for this request does not match the batch endpoint. "
            f"Expected '{endpoint}', but got '{_shown(url)}' instead."
        )
        faults.append(Fault("invalid_url", message, None, "url"))
    model = _examine_body(parsed.body, rules, faults)
    return Examined(custom_id, model, tuple(faults))


def body_faults(body: bytes, rules: Rules) -> tuple[Fault, ...]:
    """Return every fault of a body by itself; none if it is good."""
    is_text = is_utf8(body)
    try:
        if is_text and not _good_body_decoder(rules.endpoint, rules.body)(body).stream:
            return ()
    except REFUSED:
        pass
    faults: list[Fault] = []
    try:
        _examine_body(msgspec.Raw(without_lone_surrogates(body)), rules, faults)
    except REFUSED:
        return (_unparseable(body),)
    return tuple(faults) if is_text else (_unparseable(body),)


def _examine_body(raw: _Field, rules: Rules, faults: list[Fault]) -> str | None:
    endpoint = rules.endpoint
    if isinstance(raw, msgspec.UnsetType):
        faults.append(_missing("body"))
        return None
    if _first(raw) != b"{":
        faults.append(_wrong_type("body", "an object", raw))
        return None
    body = _body_decoder.decode(raw)
    model = _text(body.model, "body.model", faults)
    if not isinstance(body.stream, msgspec.UnsetType) and bytes(body.stream) not in (
        b"false",
        b"null",
    ):
        where = _STREAMING.get(endpoint)
        message = f"{where + ': ' if where else ''}Streaming is not supported in the Batch API."
        faults.append(Fault("streaming_unsupported", message, None, "body.stream"))
    needed = _NEEDED.get(endpoint, ())
    if needed and all(isinstance(getattr(body, name), msgspec.UnsetType) for name in needed):
        faults.append(_missing(f"body.{needed[0]}"))
    if name := _POSITIVE.get(endpoint):
        faults.extend(_not_positive(getattr(body, name), f"body.{name}"))
    if endpoint in AUDIO:
        faults.extend(audio_faults(raw, rules.media))
    faults.extend(rules.body.faults(raw, prefix="body."))
    return model


def _not_positive(raw: _Field, name: str) -> Iterator[Fault]:
    if isinstance(raw, msgspec.UnsetType):
        yield _missing(name)
        return
    try:
        number = _number_decoder.decode(raw)
    except msgspec.DecodeError:
        yield _wrong_type(name, "a number", raw)
        return
    if number < 1:
        shown = _shown(bytes(raw).decode())
        message = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {shown} "
            "instead."
        )
        yield Fault("integer_below_min_value", message, None, name)


def unknown_model(model: str) -> Fault:
    """Say that no backend serves the model."""
    message = f"The provided model '{_shown(model)}' is not supported by the Batch API."
    return Fault("model_not_found", message, None, "body.model")


def another_model(model: str) -> Fault:
    """Say that a batch must name one model only."""
    message = (
        f"The model '{_shown(model)}' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    return Fault("mismatched_model", message, None, "body.model")


def too_long(most_bytes: int) -> Fault:
    """Say that a line is longer than allowed."""
    message = (
        f"This line is longer than {most_bytes:,} bytes, the most allowed (BATCHLINE_MAX_LINE_BYTES). "
        "Send less in it, or ask the operator to raise that."
    )
    return Fault("invalid_request", message)


def duplicate(custom_id: str) -> Fault:
    """Say that a custom_id was used before."""
    shown = custom_id if len(custom_id) <= 512 else custom_id[:512] + "…"  # noqa: PLR2004
    message = (
        f"The custom_id '{shown}' for this request is a duplicate of another request. "
        "The custom_id parameter must be unique for each request in a batch."
    )
    return Fault("duplicate_custom_id", message, None, "custom_id")


def is_utf8(text: bytes) -> bool:
    """Whether the bytes are UTF-8; the decoders do not check what they skip."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_mended(raw: _Field, line: bytes) -> bool:
    return not isinstance(raw, msgspec.UnsetType) and bytes(raw) not in line


def _parsed(line: bytes) -> _Line | Fault:
    if not is_utf8(line):
        return _unparseable(line)
    try:
        return _line_decoder.decode(line)
    except msgspec.ValidationError:  # raised at the first byte: the rest may be anything
        if not _is_json(line):
            return _unparseable(line)
        message = "This line is valid JSON, but not an object with custom_id, method, url and body."
        return Fault("invalid_request", message)
    except (msgspec.DecodeError, RecursionError):
        return _unparseable(line)


def _unparseable(line: bytes) -> Fault:
    message, why = "This line is not parseable as valid JSON.", misplaced_mark(line)
    return Fault("invalid_json_line", f"{message} {why}" if why else message)


def _is_json(line: bytes) -> bool:
    try:
        _any_decoder.decode(line)
    except REFUSED:
        return False
    return True


def _text(raw: _Field, name: str, faults: list[Fault]) -> str | None:
    if isinstance(raw, msgspec.UnsetType):
        faults.append(_missing(name))
        return None
    if _first(raw) != b'"':
        faults.append(_wrong_type(name, "a string", raw))
        return None
    return _text_decoder.decode(raw)


def _missing(name: str) -> Fault:
    short = name.removeprefix("body.")
    message = f"Missing required parameter: '{short}'."
    return Fault("missing_required_parameter", message, None, name)


def _wrong_type(name: str, expected: str, raw: msgspec.Raw) -> Fault:
    message = f"Invalid type for '{name}': expected {expected}, but got {_kind(raw)} instead."
    return Fault("invalid_request", message, None, name)


def _invalid(name: str, why: str) -> Fault:
    return Fault("invalid_request", f"Invalid '{name}': {why}", None, name)


def _kind(raw: msgspec.Raw) -> str:
    words = {b"{": "an object", b"[": "an array", b'"': "a string", b"n": "null"}
    return words.get(_first(raw)) or ("a boolean" if _first(raw) in (b"t", b"f") else "a number")


def _first(raw: msgspec.Raw) -> bytes:
    return memoryview(raw)[:1].tobytes()


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
