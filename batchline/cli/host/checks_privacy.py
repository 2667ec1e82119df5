"""Doctor's checks whether other users reach our files, and other machines the gateway.

Earlier versions created files that every user of the host may read; `doctor --fix` closes them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from batchline.config.exposure import is_open_to_others
from batchline.config.unknown_names import DOTENV
from batchline.settings import Settings, config_path

from .findings import Finding, good, wrong

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SHOWN = 3
_CHECK = "privacy"


def check_privacy(settings: Settings, *, fix: bool) -> Iterator[Finding]:
    """Nobody but the owner can read or change what is in the data directory, or the files of settings.

    `fix`: take those rights away. Files elsewhere, such as backups, are not checked.
    """
    folder = settings.data_dir.expanduser().absolute()
    holding_keys = [path for path in (Path(DOTENV).absolute(), config_path()) if path]
    closed, open_, refused = 0, [], []
    for path in _loose(folder, [path for path in holding_keys if _holds_key(path)]):
        if not fix:
            open_.append(path)
            continue
        try:
            _close(path)
            closed += 1
        except FileNotFoundError:
            continue
        except OSError as exc:
            refused.append(f"{path}: {exc.strerror or exc}")
    if open_:
        yield wrong(
            _CHECK,
            f"{_listed(list(map(str, open_)))} may be read or changed by other users of this host",
            "batchline doctor --fix",
        )
    elif refused:
        yield wrong(
            _CHECK, f"could not be closed: {_listed(refused)}", "run it as their owner, or as root"
        )
    elif closed:
        yield good(_CHECK, f"{closed} files and folders closed to other users of this host")
    else:
        yield good(_CHECK, "data directory and keys are closed to other users of this host")


def check_exposed(settings: Settings) -> Finding:
    """Other machines reach the gateway only with a key."""
    where = settings.published_on or settings.host
    if not is_open_to_others(settings):
        asked = (
            "a key is asked" if settings.api_key else "this host alone reaches it, without a key"
        )
        return good("access", f"{where}: {asked}")
    told = (
        "BATCHLINE_INSECURE lets it start all the same"
        if settings.insecure
        else "it will not start"
    )
    return wrong(
        "access",
        f"{where}: other machines reach the gateway, and no key is asked; {told}",
        "set BATCHLINE_API_KEY, or listen on 127.0.0.1",
    )


def _loose(folder: Path, files: list[Path]) -> Iterator[Path]:
    """Yield what others have rights on; a folder before its content, so that it is closed first."""
    for path in files:
        if _is_loose(path):
            yield path
    if not folder.is_dir():
        return
    if _is_loose(folder):
        yield folder
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            if _is_loose(path):
                yield path


def _is_loose(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:  # gone
        return False
    return not stat.S_ISLNK(mode) and bool(mode & _OTHERS)


def _close(path: Path) -> None:
    """Take the rights of others away. Follows no link, not even a new one. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(opened, stat.S_IMODE(os.fstat(opened).st_mode) & ~_OTHERS)
    finally:
        os.close(opened)


def _holds_key(path: Path) -> bool:
    try:
        return "api_key" in path.read_text("utf-8", "replace").lower()
    except OSError:
        return False


def _listed(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
