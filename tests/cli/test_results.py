"""Downloading: whole or not at all, resumed where it broke off."""

from __future__ import annotations

import subprocess

import pytest
from scripted_api import completed, running

CONTENT = b"".join(b'{"custom_id": "%d", "response": {}}\n' % n for n in range(5000))


@pytest.fixture
def ended(api):
    api.files["file-out"] = CONTENT
    api.files["file-err"] = b'{"error": {}}\n'
    return api.add(**completed(failed=1))


def test_results_go_to_standard_output_untouched(ended, start_batchline):
    """Nothing else is written there: it can be piped on."""
    process = start_batchline("results", ended, stdout=subprocess.PIPE)

    assert process.communicate(timeout=60)[0] == CONTENT
    assert process.returncode == 0


def test_results_and_errors_go_to_a_file(batchline, ended, tmp_path):
    """The final name appears only when all is there; no partial file stays."""
    assert batchline("results", "-o", tmp_path / "out.jsonl").exit_code == 0
    assert batchline("results", ended, "--errors", "-o", tmp_path / "err.jsonl").exit_code == 0

    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT
    assert (tmp_path / "err.jsonl").read_bytes() == b'{"error": {}}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["err.jsonl", "out.jsonl"]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_download_that_breaks_off_goes_on_by_itself(batchline, api, ended, tmp_path, ranges):
    """Cut again and again, it ends with the same bytes; a server without ranges costs only time."""
    api.ranges = ranges
    api.cut_after = [70_000, 90_000, 100_000] if ranges else [70_000, 0]

    done = batchline("results", "-o", tmp_path / "out.jsonl")

    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT
    assert api.cut_after == []


def test_a_second_call_resumes_a_partial_download(batchline, api, ended, tmp_path):
    """Only what is missing is fetched."""
    (tmp_path / "out.jsonl.file-out.part").write_bytes(CONTENT[:100_000])
    api.files["file-out"] = b"?" * 100_000 + CONTENT[100_000:]

    assert batchline("results", "-o", tmp_path / "out.jsonl").exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT


def test_a_partial_download_of_another_batch_is_not_continued(batchline, ended, tmp_path):
    """The partial file's name carries the server's file id."""
    (tmp_path / "out.jsonl.file-other.part").write_bytes(b"other")

    assert batchline("results", "-o", tmp_path / "out.jsonl").exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_started_again(batchline, ended, tmp_path):
    """More bytes than the file has cannot be its beginning."""
    (tmp_path / "out.jsonl.file-out.part").write_bytes(b"x" * (len(CONTENT) + 1))

    assert batchline("results", "-o", tmp_path / "out.jsonl").exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT


def test_a_download_that_never_moves_gives_up_and_keeps_what_it_has(
    batchline, api, ended, tmp_path
):
    """Exit 4; the part stays for the next call."""
    api.cut_after = [1000] + [0] * 20

    done = batchline("results", "-o", tmp_path / "out.jsonl")

    assert done.exit_code == 4
    assert not (tmp_path / "out.jsonl").exists()
    assert (tmp_path / "out.jsonl.file-out.part").read_bytes() == CONTENT[:1000]


def test_a_file_of_a_running_batch_is_refused(batchline, api, tmp_path):
    """What is not whole yet is no file: the way to wait for it is told."""
    batch_id = api.add(**running(1))

    done = batchline("results", "-o", tmp_path / "out.jsonl")
    following = batchline("results", "--follow", "-o", tmp_path / "out.jsonl")

    assert (done.exit_code, following.exit_code) == (2, 2)
    assert f"batchline watch {batch_id}" in done.stderr
    assert "standard output" in following.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_failed_lines_is_an_empty_file(batchline, api, tmp_path):
    """A script finds the file that it asked for, with no line in it."""
    api.add(**completed())

    done = batchline("results", "--errors", "-o", tmp_path / "err.jsonl")

    assert done.exit_code == 0
    assert "No line failed" in done.stderr
    assert (tmp_path / "err.jsonl").read_bytes() == b""


def test_an_output_that_cannot_be_written_is_named(batchline, ended, tmp_path):
    """The path and the reason."""
    done = batchline("results", "-o", tmp_path / "missing" / "out.jsonl")

    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


def test_a_file_id_that_is_none_never_names_a_local_file(batchline, api, tmp_path):
    """A hostile server cannot choose where the part is written."""
    api.add(**completed(output_file_id="../../evil"))

    done = batchline("results", "-o", tmp_path / "out.jsonl")

    assert done.exit_code == 2
    assert "is not an id" in done.stderr
    assert list(tmp_path.iterdir()) == []
