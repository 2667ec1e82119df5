"""Which GPUs a host has."""

from __future__ import annotations

import stat

import pytest

from batchline.errors import Invalid, Unavailable
from batchline.fleet.gpus import Gpu, detect_gpus, keep_visible, parse_gpus

TABLE = """0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559
1, GPU-bbbb, NVIDIA GB10, [N/A]
"""
TWO = (Gpu(0, "GPU-aaaa", "NVIDIA H100 80GB HBM3", 81559), Gpu(1, "GPU-bbbb", "NVIDIA GB10", 0))


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program named nvidia-smi on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return install


def test_the_table_is_read():
    """Index, uuid, name, memory; unified memory has no size."""
    assert parse_gpus(TABLE) == TWO


def test_a_host_without_the_driver_has_none(monkeypatch, tmp_path):
    """No nvidia-smi, no GPUs, no error."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert detect_gpus() == ()


def test_the_program_is_asked(nvidia_smi):
    """What it prints is what there is."""
    nvidia_smi(f"cat <<'END'\n{TABLE}END")

    assert detect_gpus() == TWO


def test_a_driver_without_a_device_means_none(nvidia_smi):
    """As in a container that was given no GPU."""
    nvidia_smi("echo 'No devices were found'; exit 6")

    assert detect_gpus() == ()


def test_a_broken_driver_is_reported_with_the_way_round_it(nvidia_smi):
    """Falling back to CPU in silence would hide eight idle GPUs."""
    nvidia_smi("echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18")

    with pytest.raises(Unavailable, match=r"(?s)mismatch.*--cpu"):
        detect_gpus()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, TWO),
        ("1", TWO[1:]),
        ("1,0", TWO[::-1]),
        ("GPU-b", TWO[1:]),
        ("", ()),
        ("0,-1", TWO[:1]),
    ],
)
def test_cuda_visible_devices_is_respected(visible, expected):
    """A scheduler may have lent this process some GPUs only."""
    assert keep_visible(TWO, visible) == expected


def test_a_visible_device_that_does_not_exist_is_refused():
    """It is a mistake of the caller, not an empty host."""
    with pytest.raises(Invalid, match="CUDA_VISIBLE_DEVICES"):
        keep_visible(TWO, "7")
