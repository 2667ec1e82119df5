"""How a command fails: the exit codes that scripts may rely on, and the error that people read.

Every error says what happened, why, and what to do next. Printing it is `main`'s work.
"""

from __future__ import annotations

from enum import IntEnum

from batchline.errors import BatchlineError


class ExitCode(IntEnum):
    """The process's exit code. docs/cli.md explains them."""

    OK = 0
    ENDED_BADLY = 1
    """The batch failed, expired or was cancelled; doctor or handlers found something wrong."""
    USAGE = 2
    """The request can never work as given: bad file, unknown id, wrong key."""
    LINES_FAILED = 3
    """The batch completed, but some lines failed (only with --fail-on-errors)."""
    UNREACHABLE = 4
    """The server does not answer, or cannot serve at present."""
    INTERRUPTED = 130


class Failure(BatchlineError):
    """The command cannot do what was asked. `why` and `remedy` may be empty."""

    def __init__(
        self, what: str, *, why: str = "", remedy: str = "", code: ExitCode = ExitCode.USAGE
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.code = code
