"""`batchline version`."""

from __future__ import annotations

from batchline.cli.api.options import AsJson
from batchline.cli.render import put, put_json


def version(as_json: AsJson = False) -> None:
    """Write the version."""
    from batchline import __version__

    if as_json:
        put_json({"version": __version__})
    else:
        put(f"batchline {__version__}")
