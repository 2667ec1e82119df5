"""What an operator sets for a handler that writes files."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from .columns import Column, check_columns, columns_of

LINES_AT_ONCE = 4096
BYTES_AT_ONCE = 4 << 20
"""Of results that are turned into rows together: they take about five times that meanwhile."""


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both have."""

    folder: str
    columns: Sequence[str] = ()
    input_columns: Mapping[str, str] = {}
    compression: str

    def check(self, *, compressions: Collection[str]) -> None:
        """Make the folder if it is not there. Raises ValueError: nothing can be written with these."""
        if self.compression not in compressions:
            known = ", ".join(compressions)
            raise ValueError(f"'compression' may be {known}, not {self.compression!r}")
        check_columns(self.columns, self.input_columns)
        folder = Path(self.folder)
        if not folder.is_absolute():
            raise ValueError(
                f"'folder' must be a whole path, such as /exports, not {self.folder!r}"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ValueError(f"'folder' cannot be made: {exc}") from exc
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"'folder' {self.folder} cannot be written to by this user")

    def path_of(self, batch_id: str, ending: str) -> Path:
        """Return where a file of a batch lies."""
        return Path(self.folder) / f"{batch_id}{ending}"

    def columns_of(self, endpoint: str) -> Sequence[Column]:
        """Return the columns of its file, in order."""
        return columns_of(self.columns, self.input_columns, endpoint=endpoint)
