"""Whole GPUs for jobs that share a machine: each job holds one, by a lock that the kernel frees when the job dies.

To be used before CUDA is: the choice is made through CUDA_VISIBLE_DEVICES, which torch reads at its first call of CUDA.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TextIO


def visible_gpus() -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else every device file of the machine."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return sorted((path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


@contextmanager
def one_gpu(wanted: str = "auto", *, poll: float = 0.5) -> Iterator[str | None]:
    """Hold one GPU that no other job of this user holds, waiting for it if need be, and make it the only visible one.

    Yields its name, or None where there is none or ``wanted`` is "cpu". Where the cluster has given this job a device
    already (SLURM sets CUDA_VISIBLE_DEVICES for it alone), nothing is locked.
    """
    gpus = [] if wanted == "cpu" else visible_gpus()
    if not gpus or "SLURM_JOB_ID" in os.environ:
        yield gpus[0] if gpus else None
        return
    lock = None
    while lock is None:
        gpu, lock = _lock_a_free_one(gpus)
        if lock is None:
            time.sleep(poll)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        yield gpu
    finally:
        lock.close()
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextmanager
def all_gpus(wanted: str = "auto") -> Iterator[list[str]]:
    """Hold every visible GPU, waiting for the jobs that have one; yields their names ([] for ``wanted`` "cpu").

    For models that no single GPU can hold. All jobs lock them in one order, so that no two wait for each other.
    """
    gpus = [] if wanted == "cpu" else visible_gpus()
    with ExitStack() as held:
        for gpu in gpus if "SLURM_JOB_ID" not in os.environ else []:
            fcntl.flock(held.enter_context(_lock_file(gpu).open("w")), fcntl.LOCK_EX)
        yield gpus


def gpus_for(entry: Mapping, wanted: str = "auto") -> AbstractContextManager:
    """What a model entry (prh.config) needs: one GPU, or all for one that is spread over them (device_map)."""
    return all_gpus(wanted) if entry.get("device_map") else one_gpu(wanted)


def _lock_file(gpu: str) -> Path:
    return Path(tempfile.gettempdir(), f"prh-{getpass.getuser()}-gpu-{gpu.replace('/', '_')}.lock")


def _lock_a_free_one(gpus: Sequence[str]) -> tuple[str, TextIO | None]:
    for gpu in gpus:
        handle = _lock_file(gpu).open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
        else:
            return gpu, handle
    return gpus[0], None
