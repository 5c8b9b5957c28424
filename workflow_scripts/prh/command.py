"""How the command-line programs of the stages behave: a log begins with what ran, a mistake ends it in one sentence."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prh import versions


@contextmanager
def failing_in_one_sentence(*, job: bool = True) -> Iterator[None]:
    """End the program with the message of a ValueError or OSError; anything else is a bug and keeps its traceback.

    The log of a ``job`` begins with the versions, the machine, and the program with its settings.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if job and not sys.stdout.isatty():
        print(heading(), flush=True)
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def heading() -> str:
    """Two lines: what runs where, and how to run it again by hand."""
    known = {"prh": versions.of("prh"), "Python": platform.python_version(), **versions.libraries()}
    listed = ", ".join(f"{name} {number}" for name, number in known.items() if number)
    return f"{listed}; {platform.node()}, {os.cpu_count()} cores\n{shlex.join(['python', *sys.argv])}"


def batch_size(text: str) -> int | None:
    """The value of --batch-size: a number, or None for auto (what fits)."""
    return None if text == "auto" else int(text)
