"""What a run of the workflow holds and hands on: its results, against other runs, and the environment of its jobs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from prh.io import addresses, files
from prh.jobs import lifeline

LOCK = ".run.lock"
"""The file in the folder of results that a run holds. It stays when the run ends, and holds nothing then."""


def hold(results: str | Path) -> IO[bytes]:
    """Hold a folder of results, made if need be, until the file that is returned is closed or this process ends.

    Two runs that make the same files remove each other's. Snakemake's own lock lies in the folder where it runs, so it
    does not see a run from another one. The kernel frees this lock, also of a run that was killed, and processes
    that the run starts do not inherit it. Over NFS it holds between machines, unless the mount keeps locks local; where
    the file system has none nothing is held.

    Raises files.BusyError naming the other run.
    """
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    held = path.open("a+b")
    if not files.lock(held, wait=False):
        other = _described(path)
        held.close()
        raise files.BusyError(
            f"{folder} is in use by another run ({other}); wait for its end, or give this experiment another folder in "
            "'results'."
        )
    facts = {"host": platform.node(), "process": os.getpid(), "folder": str(Path.cwd())}
    held.truncate(0)
    held.write(json.dumps({**facts, "since": time.strftime("%Y-%m-%d %H:%M:%S")}).encode())
    held.flush()
    return held


def environment(urls: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables for the jobs of a run that this process starts: additions to ``environ``.

    ``urls``: the addresses of the experiment, whose secrets reach the downloads in this way alone.
    """
    return {
        lifeline.OWNERS: lifeline.with_this_process(environ.get(lifeline.OWNERS, "")),
        addresses.ADDRESSES: addresses.kept(urls),
        # A thread that waits for the others of its job by spinning keeps them from their cores where these are busy:
        # 1,024 images through test_resnet with two threads beside two busy processes on two cores took 35 s, 2.8 s with
        # threads that sleep (docs/performance.md).
        "OMP_WAIT_POLICY": environ.get("OMP_WAIT_POLICY", "passive"),
    }


def _described(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['process']} on {facts['host']}, started in {facts['folder']} at {facts['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "it does not say which"
