"""Which GPUs a host has."""

from __future__ import annotations

import stat

import pytest

from batchline.errors import Invalid, Unavailable
from batchline.fleet.gpus import (
    Gpu,
    detect_gpus,
    keep_visible,
    left_over,
    parse_gpus,
    parse_mig_devices,
)

TABLE = """0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559
1, GPU-bbbb, NVIDIA GB10, [N/A]
"""
TWO = (Gpu(0, "GPU-aaaa", "NVIDIA H100 80GB HBM3", 81559), Gpu(1, "GPU-bbbb", "NVIDIA GB10", 0))

MIXED_TABLE = """0, GPU-7f57f032, NVIDIA H100 80GB HBM3, 81559
1, GPU-8c7c9c30, NVIDIA H100 80GB HBM3, 81559
"""
MIXED = parse_gpus(MIXED_TABLE)
LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57f032)
  MIG 2g.20gb     Device  0: (UUID: MIG-377e0049)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39aa248)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-8c7c9c30)
"""


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


MIG_DEVICES = parse_mig_devices(LISTING, MIXED)
OLD = "MIG-GPU-8c7c9c30/7/0"


def test_mig_devices_are_read_from_the_list():
    """Each with its GPU; what stands between does not matter."""
    assert [(s.index, s.uuid, s.name, s.device) for s in MIG_DEVICES] == [
        (0, "MIG-377e0049", "NVIDIA H100 80GB HBM3 MIG 2g.20gb", "MIG-377e0049"),
        (0, "MIG-f39aa248", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG-f39aa248"),
    ]


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("MIG-f39aa248", ["MIG-f39aa248"]),
        ("MIG-f39aa248,MIG-377e0049", ["MIG-f39aa248", "MIG-377e0049"]),
        ("MIG-3,1", ["MIG-377e0049", "1"]),
        ("GPU-8c", ["1"]),
        (OLD, [OLD]),
        (f"{OLD},MIG-GPU-8c7c9c30/8/0", [OLD, "MIG-GPU-8c7c9c30/8/0"]),
    ],
)
def test_uuids_and_mig_devices_are_respected(visible, devices):
    """A server is given a number where the GPU has one: older vLLM reads nothing else."""
    assert [gpu.device for gpu in keep_visible(MIXED, visible, MIG_DEVICES)] == devices


def test_nvidia_smi_is_asked_for_mig_devices(nvidia_smi):
    """Where they are named."""
    nvidia_smi(
        f'if [ "$1" = -L ]; then cat <<END\n{LISTING}END\nelse cat <<END\n{MIXED_TABLE}END\nfi'
    )

    assert [gpu.device for gpu in detect_gpus(visible="MIG-f39aa248")] == ["MIG-f39aa248"]
    assert [gpu.device for gpu in detect_gpus(visible="1,0")] == ["1", "0"]


@pytest.mark.parametrize(
    ("visible", "why"),
    [
        ("7", "'7', but this host has none of that name"),
        ("0,GPU-9", "'GPU-9', but this host has none"),
        ("MIG-9", "'MIG-9', but this host has none"),
        ("MIG-GPU-9/1/0", "'GPU-9', but this host has none"),
        ("GPU-", "'GPU-', but this host has none"),
        ("G", "'G', but this host has none"),
        ("all", "'all', but this host has none"),
        ("01,1", "'1' a second time"),
        ("GPU-8c,1", "'1' a second time"),
    ],
)
def test_a_visible_device_that_cannot_be_meant_is_refused(visible, why):
    """It is a mistake of the caller, not an empty host."""
    with pytest.raises(Invalid, match="CUDA_VISIBLE_DEVICES") as caught:
        keep_visible(MIXED, visible, MIG_DEVICES)

    assert why in str(caught.value)
    assert "second time" in why or "Here are: 0 (NVIDIA H100 80GB HBM3), 1 (" in str(caught.value)


def test_a_beginning_that_two_gpus_share_names_neither():
    """Taking the first would be a guess."""
    with pytest.raises(Invalid, match="several GPUs begin with that"):
        keep_visible((Gpu(0, "GPU-ab", "a", 1), Gpu(1, "GPU-ac", "b", 1)), "GPU-a")


def test_gpus_that_are_left_over_are_named_with_what_would_use_them():
    """An idle GPU costs as much as a busy one."""
    gpus = tuple(Gpu(n, f"GPU-{n}", "H100", 81559) for n in range(8))

    assert left_over(gpus, 3) == (
        "2 of 8 GPUs stay idle: 6 (H100), 7 (H100). --tensor-parallel-size 3 takes 3 for each server; "
        "sizes that use all are 1, 2, 4, 8."
    )
    assert left_over(gpus, 4) is None
