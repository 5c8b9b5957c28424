"""Whole GPUs for jobs that share a machine: each job holds its own, by locks that the kernel frees when the job dies.

To be used before CUDA is: the choice is made through CUDA_VISIBLE_DEVICES, which torch reads at its first call of CUDA.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ALLOCATION = ("SLURM_JOB_ID", "SLURM_STEP_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Where schedulers say whose devices a process sees. Two allocations on a machine may each call their own GPU 0."""


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA calls them: those of CUDA_VISIBLE_DEVICES, else their positions.

    CUDA counts the devices that it is given: in a container with /dev/nvidia3 alone, that one is 0.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(position) for position in range(len(_device_files()))]


@contextmanager
def holding_gpus(count: int = 1, wanted: str = "auto", *, poll: float = 0.5) -> Iterator[list[str]]:
    """Hold GPUs that no other job of this user and allocation holds, and make them the only visible ones.

    ``count`` of them, or all where there are fewer; waits until so many are free. Yields their names, [] where there is
    none or ``wanted`` is "cpu". Raises ValueError where torch can use no GPU although there is one, or
    although ``wanted`` is "cuda".
    """
    names = [] if wanted == "cpu" else visible_gpus()
    if not names:
        if wanted.startswith("cuda"):
            _check_cuda(names, wanted)
        yield []
        return
    count = min(max(count, 1), len(names))
    with ExitStack() as held:
        while len(gpus := _lock_free_ones(names, count, held)) < count:
            held.close()  # all or none: two jobs that each keep a part of what both need would wait for ever
            time.sleep(poll)
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        try:
            _check_cuda(gpus, wanted)
            yield gpus
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _device_files() -> list[Path]:
    return list(Path("/dev").glob("nvidia[0-9]*"))


def _lock_free_ones(names: Sequence[str], count: int, held: ExitStack) -> list[str]:
    """Lock up to ``count`` free GPUs of ``names``, to be let go with ``held``."""
    found: list[str] = []
    for name in names:
        handle = _lock_file(name).open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        held.enter_context(handle)
        found.append(name)
        if len(found) == count:
            break
    return found


def _lock_file(gpu: str) -> Path:
    allocation = [value for key in ALLOCATION if (value := os.environ.get(key))]
    name = "-".join(["prh", str(os.getuid()), *allocation, "gpu", gpu])
    return Path(tempfile.gettempdir(), f"{name.replace('/', '_')}.lock")


def _check_cuda(gpus: Sequence[str], wanted: str) -> None:
    """A job that asked for a GPU and would compute on the CPU, a hundred times slower, without a word."""
    if not _device_files() and not wanted.startswith("cuda"):
        return
    import torch

    if torch.cuda.is_available():  # some have no device files: in WSL, say
        return
    if not _device_files():
        raise ValueError(f"device {wanted!r} is asked for and there is no GPU here; set compute.device: auto.")
    those = f"GPU {','.join(gpus)}" if gpus else "them"
    raise ValueError(
        f"this machine has GPUs, but torch {torch.__version__} cannot use {those}; "
        "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or set device: cpu under compute."
    )
