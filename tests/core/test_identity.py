"""Who answers on a port: only the process that was meant is taken for it."""

from __future__ import annotations

import os

import pytest

from batchline.serving.identity import Part, identity, is_ours, is_part, is_process


def test_a_process_is_known_by_what_it_tells(tmp_path, monkeypatch):
    """The same directory under another name is the same."""
    told = identity(Part.GATEWAY, tmp_path / "data")
    monkeypatch.chdir(tmp_path)

    assert is_part(Part.GATEWAY, told)
    assert is_process(Part.GATEWAY, told, pid=os.getpid())
    for same in ("data", "./data/../data", tmp_path / "data"):
        assert is_ours(Part.GATEWAY, told, data_dir=type(tmp_path)(same))


def test_another_part_another_process_and_another_directory_are_told_apart(tmp_path):
    """Each would answer 200."""
    told = identity(Part.GATEWAY, tmp_path / "data")

    assert not is_part(Part.DISPATCHER, told)
    assert not is_process(Part.GATEWAY, told, pid=os.getpid() + 1)
    assert not is_ours(Part.GATEWAY, told, data_dir=tmp_path / "other")


@pytest.mark.parametrize("told", [None, "ok", [], {}, {"status": "ok"}, {"service": "dispatcher"}])
def test_who_does_not_tell_is_a_stranger(told, tmp_path):
    """Whatever else it answers."""
    assert not is_part(Part.DISPATCHER, told)
    assert not is_process(Part.DISPATCHER, told, pid=1)
    assert not is_ours(Part.DISPATCHER, told, data_dir=tmp_path)


def test_no_path_is_given_away(tmp_path):
    """Anybody may ask."""
    assert str(tmp_path) not in str(identity(Part.GATEWAY, tmp_path))
