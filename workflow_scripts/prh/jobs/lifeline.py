"""Programs that die with the run that started them, however it ends, so that a killed run leaves no jobs behind.

The kernel's own signal for this (PR_SET_PDEATHSIG) would not arrive, because shells stand between a run and its
programs and survive the run. Instead the run identifies itself in an environment variable, and every program watches
it.
"""

from __future__ import annotations

import os
import platform
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

OWNERS = "PRH_OWNERS"
"""Environment variable with the processes that a program must not outlive, separated by spaces."""
POLL = 1.0
"""Seconds between checks on systems where the kernel cannot notify of the end of a process that is not a child."""


def with_this_process(owners: str = "") -> str:
    """The value of OWNERS for programs started by this process: ``owners`` and this process."""
    return " ".join(dict.fromkeys([*owners.split(), f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"]))


def die_with(owners: str, end: Callable[[], object] | None = None) -> None:
    """Kill this process (or call ``end``) as soon as one of ``owners`` ends; immediately if one has already ended.

    Owners on other machines and in other containers (as on cluster nodes) are ignored, because they are invisible here
    and their process IDs may belong to other processes.
    """
    end = end or (lambda: os.kill(os.getpid(), signal.SIGKILL))
    for owner in owners.split():
        machine, _, rest = owner.rpartition(":")
        machine, _, number = machine.rpartition(":")
        if machine == _machine() and number.isdecimal():
            threading.Thread(target=_watch, args=(int(number), rest, end), daemon=True).start()


def _watch(process: int, started: str, end: Callable[[], object]) -> None:
    descriptor = None
    with suppress(OSError, AttributeError):  # not Linux, or not allowed
        descriptor = os.pidfd_open(process)
    if descriptor is not None and _started(process) == started:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    else:
        while _started(process) == started:
            time.sleep(POLL)
    end()


def _machine() -> str:
    """Identifies this machine, its current boot, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node().replace(":", "_").replace(" ", "_")


def _started(process: int) -> str:
    """Start time of a process, in ticks, which tells it from a later one with the same ID; "" if it has ended."""
    try:
        words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"
