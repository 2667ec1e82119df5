"""Which NVIDIA GPUs this host has, as nvidia-smi lists them, and which of them stay idle.

`programs` decides what runs on them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchline.errors import Invalid, Unavailable

_TIMEOUT_S = 30.0  # nvidia-smi needs seconds for eight GPUs without persistence mode
_QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
_UUID, _MIG = "GPU-", "MIG-"
_GPU_LINE = re.compile(r"GPU \d+: .*\(UUID: (?P<uuid>[^)]+)\)")
_MIG_LINE = re.compile(r"\s+(?P<profile>MIG \S+) .*\(UUID: (?P<uuid>[^)]+)\)")
_OLD_MIG = re.compile(r"MIG-(?P<gpu>GPU-[0-9A-Za-z-]+)/\d+/\d+")  # drivers before R470 name them so


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, in the order of the PCI bus, or one MIG device of it."""

    index: int
    uuid: str
    name: str
    memory_mib: int

    @property
    def is_mig(self) -> bool:
        """Whether it is a MIG device: a part of the GPU with that index."""
        return self.uuid.startswith(_MIG)

    @property
    def device(self) -> str:
        """Its name in CUDA_VISIBLE_DEVICES: a number where it has one, for older vLLM."""
        return self.uuid if self.is_mig else str(self.index)


def detect_gpus(*, visible: str | None = None) -> tuple[Gpu, ...]:
    """Return the GPUs of this host; none where there is no nvidia-smi.

    `visible`: the value of CUDA_VISIBLE_DEVICES, if set; only the GPUs it names are returned.
    Raises Unavailable: nvidia-smi is there and fails. Raises Invalid as `keep_visible`.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    gpus = parse_gpus(_ask(program, *_QUERY))
    mig_devices = (
        parse_mig_devices(_ask(program, "-L"), gpus) if visible and _MIG in visible else ()
    )
    return keep_visible(gpus, visible, mig_devices)


def _ask(program: str, *arguments: str) -> str:
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        ).stdout
    except subprocess.CalledProcessError as exc:
        said = (exc.stdout + exc.stderr).strip()
        if "No devices were found" in said:
            return ""
        raise Unavailable(f"nvidia-smi fails: {said}. Use --cpu 2 to go without GPUs.") from exc
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(
            f"nvidia-smi did not answer within {_TIMEOUT_S:.0f} s. Use --cpu 2 to go without GPUs."
        ) from exc


def parse_gpus(table: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's table; a GPU that reports no memory size (unified memory) counts as 0 MiB."""
    gpus = []
    for row in filter(None, map(str.strip, table.splitlines())):
        index, uuid, name, memory = (cell.strip() for cell in row.split(",", 3))
        gpus.append(Gpu(int(index), uuid, name, int(memory) if memory.isdigit() else 0))
    return tuple(gpus)


def parse_mig_devices(listing: str, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Read the MIG devices of these GPUs out of `nvidia-smi -L`."""
    mig_devices = []
    gpu: Gpu | None = None
    for line in listing.splitlines():
        if found := _GPU_LINE.match(line):
            gpu = next((g for g in gpus if g.uuid == found["uuid"]), None)
        elif gpu is not None and (found := _MIG_LINE.match(line)):
            mig_devices.append(Gpu(gpu.index, found["uuid"], f"{gpu.name} {found['profile']}", 0))
    return tuple(mig_devices)


def keep_visible(
    gpus: Sequence[Gpu], visible: str | None, mig_devices: Sequence[Gpu] = ()
) -> tuple[Gpu, ...]:
    """Return the GPUs named by a CUDA_VISIBLE_DEVICES value, in its order; all if it is unset.

    Names are numbers, UUIDs or beginnings of UUIDs, as CUDA reads them. Raises Invalid: it names a GPU
    that this host lacks, or several by one name, or one twice.
    """
    if visible is None:
        return tuple(gpus)
    chosen: list[Gpu] = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name == "-1":  # CUDA stops reading here
            break
        gpu = _named(name, gpus, mig_devices)
        if gpu in chosen:
            raise Invalid(f"CUDA_VISIBLE_DEVICES names {name!r} a second time: {visible!r}.")
        chosen.append(gpu)
    return tuple(chosen)


def _named(name: str, gpus: Sequence[Gpu], mig_devices: Sequence[Gpu]) -> Gpu:
    if found := _OLD_MIG.fullmatch(name):
        return replace(_named(found["gpu"], gpus, ()), uuid=name, memory_mib=0)
    if name.isdecimal():
        matches = [gpu for gpu in gpus if gpu.index == int(name)]
    elif name.startswith((_UUID, _MIG)) and name not in (_UUID, _MIG):
        matches = [gpu for gpu in (*gpus, *mig_devices) if gpu.uuid.startswith(name)]
    else:
        matches = []
    if len(matches) == 1:
        return matches[0]
    fault = "several GPUs begin with that" if matches else "this host has none of that name"
    here = ", ".join(f"{gpu.device} ({gpu.name})" for gpu in (*gpus, *mig_devices)) or "none"
    raise Invalid(
        f"CUDA_VISIBLE_DEVICES names {name!r}, but {fault}.\n"
        f"Write numbers, or UUIDs of GPUs or MIG devices as 'nvidia-smi -L' lists them, such as 0,1 or "
        f"GPU-8932f937.\nHere are: {here}."
    )


def left_over(gpus: Sequence[Gpu], size: int) -> str | None:
    """Say which GPUs stay idle with `size` for each server, and what would use them; None where none does."""
    idle = gpus[len(gpus) // size * size :]
    if not idle:
        return None
    which = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in idle)
    better = ", ".join(str(n) for n in range(1, len(gpus) + 1) if len(gpus) % n == 0)
    return (
        f"{len(idle)} of {len(gpus)} GPUs stay idle: {which}. --tensor-parallel-size {size} takes {size} "
        f"for each server; sizes that use all are {better}."
    )
