"""Exclusive GPUs for jobs that share a machine, by file locks that the kernel releases when a job dies.

Must be used before torch initialises CUDA, because it works by setting CUDA_VISIBLE_DEVICES, which torch reads only
then.
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
"""Variables in which schedulers identify an allocation; two allocations on a machine may both call their GPU 0."""


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use: those in CUDA_VISIBLE_DEVICES, else 0, 1, ...

    CUDA numbers the devices that are present: in a container with only /dev/nvidia3, that one is 0.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(position) for position in range(len(_device_files()))]


@contextmanager
def holding_gpus(count: int = 1, wanted: str = "auto", *, poll: float = 0.5) -> Iterator[list[str]]:
    """Lock GPUs that no other job of this user and allocation has locked, and make only those visible to CUDA.

    Waits until ``count`` of them are free, or all if there are fewer. Yields their names; [] if there is no GPU or
    ``wanted`` is "cpu". Raises ValueError if torch cannot use a GPU although there is one or ``wanted`` is "cuda".
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
            held.close()  # all or none: two jobs that each held some of the GPUs they need would deadlock
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
    """Lock up to ``count`` free GPUs of ``names``; closing ``held`` releases them."""
    folder, locked = _lock_folder(), []
    for name in names:
        descriptor = _opened(folder, name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        held.callback(os.close, descriptor)
        locked.append(name)
        if len(locked) == count:
            break
    return locked


def _opened(folder: Path, gpu: str) -> int:
    """Open the lock file of a GPU, without following links and without truncating it."""
    allocation = [value for key in ALLOCATION if (value := os.environ.get(key))]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join([*allocation, "gpu", gpu]))[:200]
    path = folder / f"{name}.lock"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ValueError(f"the lock of GPU {gpu}, {path}, cannot be opened ({error.strerror}); remove it.") from None


def _lock_folder() -> Path:
    """The folder for locks: private to this user and the same for all of the user's jobs on this machine.

    XDG_RUNTIME_DIR would not do, because it differs between scheduler jobs and login sessions. TMPDIR also differs
    between jobs of some schedulers, but those jobs do not share devices. Raises ValueError if the name is taken by
    another user.
    """
    folder = Path(tempfile.gettempdir(), f"prh-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ValueError(f"the folder for GPU locks, {folder}, cannot be created: {error.strerror}.") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ValueError(
            f"{folder} is not a folder of yours, so GPU locks cannot be stored there; have it removed, or set TMPDIR."
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def _check_cuda(gpus: Sequence[str], wanted: str) -> None:
    """Raise ValueError if torch cannot use the GPUs; the job would silently run on the CPU, 100 times slower."""
    if not _device_files() and not wanted.startswith("cuda"):
        return
    import torch

    if torch.cuda.is_available():  # checked first, because some GPUs have no device files (in WSL, for example)
        return
    if not _device_files():
        raise ValueError(f"device {wanted!r} is requested, but there is no GPU here; set compute.device: auto.")
    those = f"GPU {','.join(gpus)}" if gpus else "them"
    raise ValueError(
        f"this machine has GPUs, but torch {torch.__version__} cannot use {those}; "
        "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or set device: cpu under compute."
    )
