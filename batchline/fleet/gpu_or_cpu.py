"""Decides whether model servers run on GPUs or on the CPU, from the options and what the host has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchline.errors import Invalid

from .gpus import Gpu

DEFAULT_CPU_SERVERS = 2


@dataclass(frozen=True, slots=True)
class OnGpus:
    """One server per GPU, or per group of them."""

    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class OnCpu:
    """`count` servers of the CPU build."""

    count: int


def choose(*, gpus: str, cpu: int | None, detect: Callable[[], tuple[Gpu, ...]]) -> OnGpus | OnCpu:
    """Decide between GPUs and CPU; `detect` is called only if the options leave it open.

    Raises Invalid: an option is no number, or asks for more GPUs than there are.
    """
    if cpu is not None:
        if cpu < 1:
            raise Invalid(f"--cpu {cpu}: at least 1 server is needed; 2 is a good number.")
        return OnCpu(cpu)
    if gpus != "auto" and not gpus.isdecimal():
        raise Invalid(f"--gpus {gpus}: give a number, or auto for all GPUs.")
    if gpus == "0":
        return OnCpu(DEFAULT_CPU_SERVERS)
    found = detect()
    if gpus == "auto":
        return OnGpus(found) if found else OnCpu(DEFAULT_CPU_SERVERS)
    if int(gpus) > len(found):
        raise Invalid(f"--gpus {gpus}: this host has {len(found)}. Use --cpu 2 to go without.")
    return OnGpus(found[: int(gpus)])
