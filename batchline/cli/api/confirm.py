"""Asking before something that cannot be taken back."""

from __future__ import annotations

import sys

import typer

from batchline.cli.failure import ExitCode, Failure


def confirm(question: str, *, to_go_on: str, declined: str) -> None:
    """Return if the user says yes. `to_go_on` completes "give --yes to … without asking".

    Raises Failure: there is no terminal, or the answer is no (`declined`).
    """
    if not sys.stdin.isatty():
        raise Failure(
            "Nobody is here to confirm.",
            why=question,
            remedy=f"give --yes to {to_go_on} without asking",
        )
    if not typer.confirm(question, err=True):
        raise Failure(declined, code=ExitCode.USAGE)
