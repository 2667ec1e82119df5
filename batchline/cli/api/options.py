"""The options that every command against the server shares."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:5000"

Url = Annotated[
    str, typer.Option("--url", envvar="BATCHLINE_URL", help="Where the gateway answers")
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="BATCHLINE_API_KEY", help="The server's key, if it asks"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output")]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Let other machines use it without a key, where --host is not this host's loopback",
        show_default=False,
    ),
]
FailOnErrors = Annotated[
    bool, typer.Option("--fail-on-errors", help="Exit with 3 if any line failed")
]
