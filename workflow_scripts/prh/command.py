"""How the command-line programs of the stages behave: a log begins with what ran and ends with the time and memory that
it took; a mistake is told in one sentence.
"""

from __future__ import annotations

import io
import logging
import os
import platform
import re
import resource
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prh import versions

USAGE = re.compile(r"^took ([\d.]+) s, ([\d.]+) s of CPU, at most ([\d.]+) MB$", re.MULTILINE)
"""The line of `usage`."""


@contextmanager
def failing_in_one_sentence(*, job: bool = True) -> Iterator[None]:
    """End the program with the message of a ValueError or OSError; anything else is a bug and keeps its traceback.

    The log of a ``job`` begins with the versions, the machine, and the program with its settings, and ends with the
    time and memory that it took.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and classes are printed in every locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    told = job and not sys.stdout.isatty()
    if told:
        print(heading(), flush=True)
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        if told:
            print(usage(time.monotonic() - started), flush=True)


def heading() -> str:
    """Two lines: what runs where, and how to run it again by hand."""
    known = {"prh": versions.of("prh"), "Python": platform.python_version(), **versions.libraries()}
    listed = ", ".join(f"{name} {number}" for name, number in known.items() if number)
    return f"{listed}; {platform.node()}, {os.cpu_count()} cores\n{shlex.join(['python', *sys.argv])}"


def usage(seconds: float) -> str:
    """A line that says how long the work took, and what this process and its children have used since they started.

    The memory is the peak of the largest of them, as the kernel counts it (getrusage).
    """
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(own.ru_maxrss, children.ru_maxrss) * unit / 1e6
    return f"took {seconds:.2f} s, {cpu:.2f} s of CPU, at most {peak:.0f} MB"


def batch_size(text: str) -> int | None:
    """The value of --batch-size: a number, or None for auto (what fits)."""
    return None if text == "auto" else int(text)
