"""Whole GPUs for jobs that share a machine: each job holds its own, by locks that the kernel frees when the job dies.

To be used before CUDA is: the choice is made through CUDA_VISIBLE_DEVICES, which torch reads at its first call of CUDA.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
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
    folder, found = _lock_folder(), []
    for name in names:
        descriptor = _opened(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        held.callback(os.close, descriptor)
        found.append(name)
        if len(found) == count:
            break
    return found


def _opened(folder: Path, gpu: str) -> int:
    """The lock file of a GPU, open: never one that somebody else has put there, and never emptied."""
    allocation = [value for key in ALLOCATION if (value := os.environ.get(key))]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join([*allocation, "gpu", gpu]))[:200]
    path = folder / f"{name}.lock"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(
            f"the lock of GPU {gpu}, {path}, cannot be opened ({error.strerror}); remove what is there."
        ) from None


def _lock_folder() -> Path:
    """A folder for locks that is this user's alone: all jobs of the user on this machine find the same one.

    In XDG_RUNTIME_DIR it would be another in jobs of a scheduler than at a login. TMPDIR differs between the jobs of
    some schedulers, whose devices do not meet either. Raises ValueError where another user has taken the name.
    """
    folder = Path(tempfile.gettempdir(), f"prh-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ValueError(f"the folder of the locks of GPUs, {folder}, cannot be made: {error.strerror}.") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ValueError(
            f"{folder} is no folder of yours, so the locks of GPUs cannot lie there; have it removed, or set TMPDIR."
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


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
