"""How the command-line programs of the stages behave: a log begins with what ran and ends with the time and memory that
it took; whatever goes wrong is told in one sentence; nothing is asked, and no program outlives the run that started it.
"""

from __future__ import annotations

import dis
import io
import logging
import os
import platform
import re
import resource
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prh.io import versions
from prh.io.addresses import redacted_text
from prh.jobs import lifeline
from prh.jobs.about import noted, subjects

USAGE = re.compile(r"^took ([\d.]+) s, ([\d.]+) s of CPU, at most ([\d.]+) MB$", re.MULTILINE)
"""The line of `usage`."""
LONGEST = 600
"""Letters of another library's message that are repeated in a sentence; the log has all of them."""


@contextmanager
def failing_in_one_sentence(*, job: bool = True) -> Iterator[None]:
    """End the program with one sentence, and status 1, for whatever goes wrong in the block.

    That is the message of an error that prh raised, or of a file that could not be read or written. For anything else
    the traceback is printed first, and the sentence says what the work was about (prh.jobs.about), what happened, and
    that it may be a fault of prh.

    The log of a ``job`` begins with the versions, the machine, and the program with its settings, and ends with the
    time and memory that it took. A job reads nothing from its standard input, and dies with the run that started it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and classes are printed in every locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    logging.basicConfig(level=logging.INFO)
    for handler in logging.root.handlers:
        handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    started = time.monotonic()
    told = job and not sys.stdout.isatty()
    if job:
        _close_input()
        lifeline.die_with(os.environ.get(lifeline.OWNERS, ""))
    if told:
        print(heading(), flush=True)
    try:
        yield
    except Exception as error:
        if not _is_told(error):
            print(redacted_text(traceback.format_exc()), file=sys.stderr, end="", flush=True)
        sys.exit(f"error: {redacted_text(sentence(error))}")
    finally:
        if told:
            print(usage(time.monotonic() - started), flush=True)


def sentence(error: Exception) -> str:
    """What an error says: its own words where they are meant for users, after what it was about as far as they do not
    name it; else what it was about and what it may be.
    """
    message = str(error)
    if _is_told(error):
        if _is_ours(error):  # a part of prh that does not know for whom it works cannot name it
            about = [subject for subject in noted(error) if subject not in message]
        else:
            about = [] if getattr(error, "filename", None) else subjects(error)
        return ": ".join([*filter(None, [", ".join(about)]), message])
    words = " ".join(message.split())
    words = words if len(words) <= LONGEST else f"{words[:LONGEST]} ..."
    cause = f"{type(error).__name__}: {words.rstrip('.')}" if words else type(error).__name__
    about = ", ".join(subjects(error)) or _output()
    return f"{about}: {cause}; this may be a fault of prh (its traceback is above in the log)."


def heading() -> str:
    """Two lines: what runs where, and how to run it again by hand."""
    known = {"prh": versions.of("prh"), "Python": platform.python_version(), **versions.libraries()}
    listed = ", ".join(f"{name} {number}" for name, number in known.items() if number)
    command = shlex.join(["python", *map(redacted_text, sys.argv)])
    return f"{listed}; {platform.node()}, {os.cpu_count()} cores\n{command}"


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


class _Redacted(logging.Formatter):
    """Log lines without the secrets of the addresses in them: clients of the web log what they ask for."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted_text(super().format(record))


def _close_input() -> None:
    """Let whoever asks a question read the end of a file: in a job nobody answers, and it would wait for ever."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing != 0:
        os.close(nothing)


def _is_told(error: Exception) -> bool:
    """Whether an error is a sentence for users already: one that prh raised, or the system's on a file."""
    if isinstance(error, OSError) and error.errno is not None:
        return True
    return isinstance(error, (ValueError, OSError)) and _is_ours(error)


def _is_ours(error: Exception) -> bool:
    """Whether prh or one of its programs raised an error itself: the last step of its traceback is a ``raise`` there.

    A ValueError of numpy, or of ``int("x")`` in our own line, was not written for users.
    """
    if type(error).__module__.split(".")[0] == "prh":
        return True
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None or step.tb_frame.f_globals.get("__name__", "").split(".")[0] not in ("prh", "__main__"):
        return False
    return dis.opname[step.tb_frame.f_code.co_code[step.tb_lasti]] == "RAISE_VARARGS"


def _output() -> str:
    """The program and, where its arguments tell, what it was to make: in whose path the data set and model stand."""
    flags = ("--output", "--table", "--scores", "--manifest")
    outputs = [value for flag, value in zip(sys.argv, sys.argv[1:], strict=False) if flag in flags]
    program = Path(sys.argv[0]).name
    return f"{program}, making {outputs[0]}" if outputs else program
