"""The domain errors. Leaves raise them; `gateway/errors.py` alone turns them into HTTP answers.

BatchlineError
├── Invalid            a request or setting is wrong: names the parameter and the remedy
│   ├── TooLarge       more bytes or lines than allowed
│   │   └── RequestTooLarge   the body of one request
│   └── UnsupportedEncoding   compressed in a way that is not taken
├── NotFound           no such thing
├── Conflict           the thing is in a state that forbids this
├── Unauthorized       missing or wrong API key
├── Forbidden          whoever asks is known, or need not be, and may not do this
├── Unavailable        a part this needs does not answer at present
│   ├── StoreUnavailable   the database or the disk refuses
│   │   └── DiskFull       the disk has no room left
│   └── NoBackend          no model server accepts requests
├── BackendFailed      a model server took a request and did not answer it properly
├── BackendSilent      a model server took a request and said nothing for too long
└── NewerStore         the data directory belongs to a newer version
"""

from __future__ import annotations


class BatchlineError(Exception):
    """Base of every error that batchline raises on purpose."""


class Invalid(BatchlineError):
    """Input that can never work as given. `param` names what is wrong (OpenAI's error object)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class TooLarge(Invalid):
    """More bytes than the limit allows; the message states the limit."""


class RequestTooLarge(TooLarge):
    """The body of one request has more bytes than a request may have."""


class UnsupportedEncoding(Invalid):
    """The body is compressed in a way that is not taken; the message names those that are."""


class NotFound(BatchlineError):
    """The named thing does not exist (or was deleted, or expired)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Conflict(BatchlineError):
    """The thing's present state forbids this. Final: repeating will not help."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Unauthorized(BatchlineError):
    """The API key is missing or wrong."""


class Forbidden(BatchlineError):
    """Whoever asks may not do this, or not in this way; the message says what to do instead."""


class Unavailable(BatchlineError):
    """A part this needs does not answer at present; the message says which and what to do."""


class StoreUnavailable(Unavailable):
    """The database or the disk refuses: locked for too long, full, read-only."""


class DiskFull(StoreUnavailable):
    """The disk has no room left, or less than `min_free_bytes`; the message says how much is free."""


class NoBackend(Unavailable):
    """No model server accepts requests at present: nothing was sent."""


class BackendFailed(BatchlineError):
    """A model server took a request and broke off, or answered what is no answer."""


class BackendSilent(BatchlineError):
    """A model server took a request and then said nothing for longer than the limit."""


class NewerStore(BatchlineError):
    """The data directory was written by a newer version; this one must not touch it."""
