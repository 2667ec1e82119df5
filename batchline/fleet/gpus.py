"""Which NVIDIA GPUs this host has. Owns the question to nvidia-smi, not what runs on the GPUs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from batchline.errors import Invalid, Unavailable

_TIMEOUT_S = 30.0  # nvidia-smi takes seconds to wake eight GPUs without persistence mode
_QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, in the order of the PCI bus."""

    index: int
    uuid: str
    name: str
    memory_mib: int


def detect_gpus(*, visible: str | None = None) -> tuple[Gpu, ...]:
    """Return the GPUs of this host; none where there is no nvidia-smi.

    `visible`: the value of CUDA_VISIBLE_DEVICES, if set; only the GPUs it names are returned.
    Raises Unavailable: nvidia-smi is there and fails.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as exc:
        said = (exc.stdout + exc.stderr).strip()
        if "No devices were found" in said:
            return ()
        raise Unavailable(f"nvidia-smi fails: {said}. Use --cpu 2 to go without GPUs.") from exc
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(
            f"nvidia-smi did not answer within {_TIMEOUT_S:.0f} s. Use --cpu 2 to go without GPUs."
        ) from exc
    return keep_visible(parse_gpus(done.stdout), visible)


def parse_gpus(table: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's table; a GPU that reports no memory size (unified memory) counts as 0 MiB."""
    gpus = []
    for row in filter(None, map(str.strip, table.splitlines())):
        index, uuid, name, memory = (cell.strip() for cell in row.split(",", 3))
        gpus.append(Gpu(int(index), uuid, name, int(memory) if memory.isdigit() else 0))
    return tuple(gpus)


def keep_visible(gpus: tuple[Gpu, ...], visible: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs named by a CUDA_VISIBLE_DEVICES value, in its order; all if it is unset.

    Raises Invalid: it names a GPU that this host lacks.
    """
    if visible is None:
        return gpus
    chosen = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name == "-1":  # CUDA stops reading here
            break
        found = [g for g in gpus if str(g.index) == name or g.uuid.startswith(name)]
        if not found:
            raise Invalid(f"CUDA_VISIBLE_DEVICES names {name!r}; this host has {len(gpus)} GPUs.")
        chosen.append(found[0])
    return tuple(chosen)
