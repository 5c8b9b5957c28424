"""Exclusive use of a results folder by one run of the workflow, and the environment that a run passes to its jobs."""

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
"""Lock file in the results folder. It stays when the run ends, but is not locked any more."""


def hold(results: str | Path) -> IO[bytes]:
    """Lock a results folder, created if absent, until the returned file is closed or this process ends.

    Two runs that make the same files would remove each other's. Snakemake's own lock is in its working directory, so it
    does not detect a run started elsewhere. The kernel releases this lock even if the run is killed, and processes that
    the run starts do not inherit it. Over NFS it works between machines, unless the mount keeps locks local; on a file
    system without locks this does nothing.

    Raises files.BusyError, naming the other run.
    """
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    held = path.open("a+b")
    if not files.lock(held, wait=False):
        other = _described(path)
        held.close()
        raise files.BusyError(
            f"{folder} is in use by another run ({other}); wait until it ends, or set another folder "
            "for this experiment in 'results'."
        )
    facts = {"host": platform.node(), "process": os.getpid(), "folder": str(Path.cwd())}
    held.truncate(0)
    held.write(json.dumps({**facts, "since": time.strftime("%Y-%m-%d %H:%M:%S")}).encode())
    held.flush()
    return held


def environment(urls: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables to add to ``environ`` for the jobs of a run that this process starts.

    ``urls``: the addresses of the experiment, whose secrets reach the download jobs only through the environment.
    """
    return {
        lifeline.OWNERS: lifeline.with_this_process(environ.get(lifeline.OWNERS, "")),
        addresses.ADDRESSES: addresses.kept(urls),
        # By default OpenMP threads spin while they wait, which takes cores from other threads on a busy machine: with
        # two other processes on two cores, two spinning threads took 19 s, sleeping ones 5.5 s (docs/performance.md).
        "OMP_WAIT_POLICY": environ.get("OMP_WAIT_POLICY", "passive"),
    }


def _described(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['process']} on {facts['host']}, started in {facts['folder']} at {facts['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "which one is unknown"
