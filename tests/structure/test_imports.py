"""The house rules that a machine can check: who imports whom, one door per kind of outside world."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest
from modules import MODULES, ROOT, name_of, nodes

LEAVES = ("gateway", "dispatcher", "deliver", "dashboard")
ONLY_IN = {
    "aiosqlite": {"batchline/store/database/connection.py"},
    "aiosql": {"batchline/store/sqlite/base.py"},
    "sqlite3": {
        "batchline/store/database/connection.py",
        "batchline/store/database/direct.py",
        "batchline/store/database/group.py",
        "batchline/store/database/look.py",
        "batchline/store/database/database_errors.py",
        "batchline/store/database/schema.py",
    },
    "prometheus_client": {
        "batchline/metrics.py",
        "gateway/routes/ops.py",
        "batchline/serving/ops.py",
        "dispatcher/probing/gauges.py",
    },
    "httpcore": {
        "batchline/outbound/connection.py",
        "batchline/webhooks/post.py",
        "dispatcher/media/fetch.py",
    },
    "standardwebhooks": {"batchline/webhooks/signing.py"},
    "asyncpg": {"deliver/builtin/postgres.py"},
    "obstore": {"deliver/builtin/s3.py"},
    "fcntl": {"batchline/process/file_lock.py"},
    "signal": {
        "batchline/process/failpoints.py",
        "batchline/process/service.py",
        "batchline/fleet/programs.py",
        "batchline/fleet/supervise.py",
        "batchline/fleet/reaper.py",
        "deliver/handling/child.py",
        "deliver/handling/process_tree.py",
    },
}
ENVIRON = {"batchline/child_environment.py", "batchline/settings.py"}
AIOHTTP_CLIENT = {
    "dispatcher/replies/upstream.py",
    "dispatcher/probing/asker.py",
    "gateway/upstream/session.py",
}
HTTPX = (
    "batchline/cli/",
    "batchline/fleet/health.py",
    "batchline/outbound/connection.py",
    "batchline/webhooks/post.py",
    "deliver/builtin/label_studio/client.py",
)
CLOCK = "batchline/clock.py"
ROOMS = {
    "backends": (),
    "replies": ("backends",),
    "attempts": ("backends", "replies"),
    "media": (),
    "sending": ("attempts", "backends", "media", "replies"),
    "batches": ("attempts", "sending"),
    "probing": ("backends", "media", "replies", "sending"),
    "upkeep": ("sending",),
}
"""The folders of the dispatcher, and which others each uses."""


def imported(path):
    """Every absolute module name imported anywhere in the file."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def attributes(path):
    """Every dotted use such as `os.environ` or `aiohttp.ClientSession`."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def tops(path):
    return {name.partition(".")[0] for name in imported(path)}


def test_the_core_imports_no_leaf_and_leaves_import_none_another():
    """Only the command line composes; only the gateway mounts the dashboard."""
    foreign = {
        (name_of(path), leaf)
        for path in MODULES
        if not name_of(path).startswith("batchline/cli/")
        for leaf in tops(path) & set(LEAVES) - {name_of(path).partition("/")[0]}
    }
    assert foreign == {("gateway/app.py", "dashboard")}


def room_of(path):
    """The folder of the dispatcher that a module lies in; None beside them."""
    parts = path.relative_to(ROOT / "dispatcher").parts
    return parts[0] if len(parts) > 1 else None


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_the_dispatcher_use_those_below_them(room):
    """What each may use is written down, and none uses a room that uses it."""
    used = {
        name.split(".")[1]
        for path in MODULES
        if name_of(path).startswith(f"dispatcher/{room}/")
        for name in imported(path)
        if name.startswith("dispatcher.")
    }
    assert used - {room} == set(ROOMS[room])
    assert not any(room in ROOMS[lower] for lower in ROOMS[room])


def test_the_dispatcher_has_no_other_rooms():
    """Beside them lies what puts them together."""
    found = {room_of(p) for p in MODULES if name_of(p).startswith("dispatcher/")}
    assert found - {None} == set(ROOMS)


def test_each_outside_world_has_one_door():
    """The database, the client, the environment: one module each."""
    wrong = []
    for path in MODULES:
        name, used, uses = name_of(path), tops(path), attributes(path)
        wrong += [
            (name, library)
            for library, allowed in ONLY_IN.items()
            if library in used and name not in allowed
        ]
        if "httpx" in used and not name.startswith(HTTPX):
            wrong.append((name, "httpx"))
        if "aiohttp.ClientSession" in uses and name not in AIOHTTP_CLIENT:
            wrong.append((name, "aiohttp.ClientSession"))
        if uses & {"os.environ", "os.getenv"} and name not in ENVIRON:
            wrong.append((name, "the environment"))
        if "time.time" in uses and name != CLOCK and not name.startswith("batchline/cli/"):
            wrong.append((name, "the clock"))
    assert wrong == []


def test_modules_say_what_they_own():
    """Each opens with it."""
    assert [name_of(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_request_bodies_are_read_in_one_place():
    """Elsewhere they would come in compressed, and without a bound on how long to wait: `body.py`."""
    doors = ("request.read(", "request.json(", "request.text(", "request.post(", "request.content.")
    guilty = [
        name_of(p)
        for p in MODULES
        if name_of(p).startswith("gateway/") and any(d in p.read_text() for d in doors)
    ]
    assert guilty == ["gateway/transfer/body.py"]


def test_the_sql_files_hold_all_sql():
    """No statement is written in Python, pragmas and transactions of the engine aside."""
    words = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM")
    guilty = [name_of(p) for p in MODULES if any(f'"{w}' in p.read_text() for w in words)]
    assert not guilty


def test_every_named_statement_is_used():
    """Dead SQL goes."""
    sql = ROOT / "batchline/store/sql"
    text = "".join(path.read_text() for path in sorted(sql.glob("*.sql")))
    names = [
        line.split()[2].rstrip("!") for line in text.splitlines() if line.startswith("-- name:")
    ]
    code = "".join(p.read_text() for p in (ROOT / "batchline/store").rglob("*.py"))
    assert [n for n in names if f'"{n}"' not in code] == []


def test_the_version_is_the_newest_in_the_changelog():
    """The newest release with its date, below what is not released yet."""
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    unreleased, newest = [line for line in lines if line.startswith("## ")][:2]
    assert unreleased == "## [Unreleased]"
    assert re.fullmatch(rf"## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", newest)


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-dev.lock",
        "tests/clients/requirements.lock",
        "tests/curation/requirements.lock",
    ],
)
def test_lock_files_pin_hashes_and_name_no_index(name):
    """Any index may serve them; the hashes decide."""
    text = (ROOT / name).read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert not any(line.startswith("-") for line in text.splitlines())


def test_no_committed_file_names_a_package_index():
    """Where packages come from is the machine's business."""
    hosts = (
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry.npmjs" + ".org",
        "download.pytorch" + ".org",
    )
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    texts = {f: (ROOT / f).read_bytes() for f in files if f and (ROOT / f).is_file()}
    assert [f for f, text in texts.items() if any(h.encode() in text for h in hosts)] == []
