"""Doctor: who else reaches what is ours, and closing it."""

from __future__ import annotations

import json
import stat

import pytest
from typer.testing import CliRunner

from batchline.cli.host.checks_privacy import check_exposed, check_privacy
from batchline.cli.host.findings import Level
from batchline.cli.main import app
from batchline.settings import Settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data directory as an earlier version left it, and a file of settings with a key."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (data / "blobs" / "ab").mkdir(parents=True)
    for path, mode in {
        data: 0o755,
        data / "blobs": 0o750,
        data / "blobs" / "ab": 0o777,
    }.items():
        path.chmod(mode)
    for name, mode in {
        "batchline.sqlite3": 0o644,
        "blobs/ab/file": 0o600,
        "blobs/b": 0o640,
    }.items():
        (data / name).write_bytes(b"x")
        (data / name).chmod(mode)
    (tmp_path / ".env").write_text("BATCHLINE_API_KEY=secret\n")
    (tmp_path / ".env").chmod(0o644)
    return data


def rights(folder):
    paths = [folder, *folder.rglob("*"), folder.parent / ".env"]
    return {
        path.name: stat.S_IMODE(path.lstat().st_mode) for path in paths if not path.is_symlink()
    }


def settings(folder, **given):
    return Settings(_env_file=None, data_dir=folder, **given)


def the(findings):
    (finding,) = findings
    return finding


def test_files_that_others_may_read_are_found_and_left(folder):
    """Six of eight: how many, some of them, and the command that closes them."""
    before = rights(folder)

    found = the(check_privacy(settings(folder), fix=False))

    assert found.level is Level.WRONG
    assert ".env" in found.detail
    assert "and 3 more may be read or changed by other users" in found.detail
    assert found.remedy == "batchline doctor --fix"
    assert rights(folder) == before


def test_they_are_closed_on_demand_and_stay_their_owners(folder):
    """Nothing else changes; the next look finds nothing."""
    found = the(check_privacy(settings(folder), fix=True))

    assert (found.level, found.detail.split()[0]) == (Level.OK, "6")
    assert rights(folder) == {
        ".env": 0o600,
        "data": 0o700,
        "blobs": 0o700,
        "ab": 0o700,
        "batchline.sqlite3": 0o600,
        "file": 0o600,
        "b": 0o600,
    }
    assert "closed to other users" in the(check_privacy(settings(folder), fix=False)).detail


def test_a_link_is_not_followed(folder, tmp_path):
    """What it leads to is somebody else's."""
    other = tmp_path / "other"
    other.write_text("x")
    other.chmod(0o644)
    (folder / "link").symlink_to(other)
    (folder / "gone").symlink_to("nowhere")

    the(check_privacy(settings(folder), fix=True))

    assert stat.S_IMODE(other.stat().st_mode) == 0o644


def test_a_dotenv_without_a_key_is_nobodys_business(folder, tmp_path):
    """Ports and models are no secrets."""
    (tmp_path / ".env").write_text("BATCHLINE_PORT=5000\n")
    the(check_privacy(settings(folder), fix=True))

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o644


def test_a_data_directory_that_is_not_there_yet_is_fine(tmp_path, monkeypatch):
    """It is created closed."""
    monkeypatch.chdir(tmp_path)

    assert the(check_privacy(settings(tmp_path / "new"), fix=True)).level is Level.OK


def test_the_command_says_and_mends_it(folder):
    """As the remedy reads."""
    run = CliRunner()
    env = {"BATCHLINE_DATA_DIR": str(folder)}

    def privacy(*options):
        done = run.invoke(app, ["doctor", "--json", *options], env=env)
        return next(
            f["level"] for f in json.loads(done.stdout)["findings"] if f["check"] == "privacy"
        )

    assert [privacy(), privacy("--fix"), privacy()] == ["wrong", "ok", "ok"]
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        ({}, Level.OK, "this host alone reaches it"),
        ({"host": "0.0.0.0", "api_key": "k"}, Level.OK, "a key is asked"),
        ({"host": "0.0.0.0", "published_on": "127.0.0.1"}, Level.OK, "this host alone"),
        ({"host": "0.0.0.0"}, Level.WRONG, "it will not start"),
        ({"host": "0.0.0.0", "insecure": True}, Level.WRONG, "lets it start all the same"),
    ],
)
def test_a_gateway_that_others_reach_without_a_key_is_told(tmp_path, given, level, said):
    """Whether it starts or not."""
    found = check_exposed(settings(tmp_path, **given))

    assert found.level is level
    assert said in found.detail
