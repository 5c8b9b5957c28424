"""Programs that die with the process that started them, however it dies: a killed run leaves no job behind.

Between a run and its programs there are shells, which survive it, so the kernel's own signal (PR_SET_PDEATHSIG) would
not come. The run writes itself into an environment variable instead, and every program watches it.
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
"""The environment variable: the processes that a program does not outlive, separated by blanks."""
POLL = 1.0
"""Seconds between two looks, where the kernel does not tell of the end of a process that is no child."""


def with_this_process(owners: str = "") -> str:
    """``owners`` (the value of OWNERS) and this process: the value for the programs that it starts."""
    return " ".join(dict.fromkeys([*owners.split(), f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"]))


def die_with(owners: str, end: Callable[[], object] | None = None) -> None:
    """Kill this process (or call ``end``) as soon as one of ``owners`` is gone: at once, if one is gone already.

    Owners on other machines and in other containers are left out, as on the nodes of a cluster: nothing here can see
    them, and their numbers may be those of other processes.
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
    """What tells this machine, since it was started, and this container from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node().replace(":", "_").replace(" ", "_")


def _started(process: int) -> str:
    """When a process started, in ticks; nothing where there is none: another process may have its number by now."""
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
