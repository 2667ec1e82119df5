"""`batchline docs`: regenerate the tables of the documents and the nginx files that are made from code.

Hidden from help: for those who work on batchline. A test holds the committed files against `rendered`.
A table stands between two comments that name it; the text around it is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchline.cli.failure import Failure
from batchline.cli.render import clean, put
from batchline.config.settings_table import settings_table
from batchline.fleet.nginx import render_committed
from batchline.metrics import metrics_table


def docs(
    *,
    root: Annotated[
        Path, typer.Option("--root", help="The repository's root", file_okay=False)
    ] = Path(),
) -> None:
    """Regenerate the tables of docs/ that are made from code, and the nginx files."""
    if not (root / "pyproject.toml").is_file():
        raise Failure(
            f"{clean(str(root.absolute()))} is not the repository's root.",
            remedy="run it there, or name it with --root",
        )
    for name, text in rendered(root).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        put(name)


def rendered(root: Path) -> dict[str, str]:
    """Return path from the repository's root -> content of every generated file."""
    from dispatcher.tables import retry_table, status_table

    tables = {
        "docs/settings.md": {"settings": settings_table()},
        "docs/metrics.md": {"metrics": metrics_table()},
        "docs/retries.md": {"retries": retry_table(), "statuses": status_table()},
    }
    filled = {
        name: _filled((root / name).read_text("utf-8"), made) for name, made in tables.items()
    }
    return filled | render_committed()


def _filled(text: str, tables: dict[str, str]) -> str:
    """Return the document with each table renewed between the comments that name it."""
    for name, table in tables.items():
        begin, end = f"<!-- table {name}: run `make docs` -->\n\n", f"\n<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}{table}{end}{after}"
    return text
