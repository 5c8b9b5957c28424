"""Common behaviour of the command-line programs of the stages.

The log starts with the command and versions and ends with time and memory used; every error is reported in one
sentence; no program reads standard input or outlives the run that started it.
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
"""Pattern of the line that `usage` writes."""
LONGEST = 600
"""Most characters quoted from the message of another library; the log has all of them."""

OF_MODELS = (
    *(
        "accelerate",
        "datasets",
        "h5py",
        "huggingface_hub",
        "PIL",
        "google",
        "google.protobuf",
        "safetensors",
        "sentencepiece",
        "timm",
    ),
    *("torchvision", "transformers"),
)
OF_WORKFLOW = ("lm_eval", "matplotlib", "snakemake", "umap")
"""Modules that the extras `models` and `workflow` of the package install."""


@contextmanager
def failing_in_one_sentence(*, job: bool = True) -> Iterator[None]:
    """Report any error of the block in one sentence and exit with status 1.

    For an error raised by prh, or a file that cannot be read or written, the sentence is its message. For any other
    error the traceback is printed first, and the sentence says what was being processed (prh.jobs.about), what
    happened, and that it may be a fault of prh.

    The log of a ``job`` starts with versions, machine and command line and ends with the time and memory used. A job
    gets no standard input, and is killed when the run that started it ends.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # so that any file or class name can be printed, in every locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    logging.basicConfig(level=logging.INFO)
    for handler in logging.root.handlers:
        handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    started = time.monotonic()
    logged = job and not sys.stdout.isatty()
    if job:
        _close_input()
        lifeline.die_with(os.environ.get(lifeline.OWNERS, ""))
    if logged:
        print(heading(), flush=True)
    try:
        yield
    except Exception as error:
        if not _is_for_users(error):
            print(redacted_text(traceback.format_exc()), file=sys.stderr, end="", flush=True)
        sys.exit(f"error: {redacted_text(sentence(error))}")
    finally:
        if logged:
            print(usage(time.monotonic() - started), flush=True)


def sentence(error: Exception) -> str:
    """The one-sentence report of an error.

    For an error meant for users, this is its message, preceded by the subjects that it does not name itself. For any
    other error, it is the subjects, the exception, and a hint that it may be a fault of prh.
    """
    message = str(error)
    if extra := _missing_extra(error):
        return f"{error.name} is not installed; it comes with pip install 'prh[{extra}]'."
    if _is_for_users(error):
        if _is_ours(error):  # names its own subject, but not what its callers were processing
            about = [subject for subject in noted(error) if subject not in message]
        else:
            about = [] if getattr(error, "filename", None) else subjects(error)
        return ": ".join([*filter(None, [", ".join(about)]), message])
    quoted = " ".join(message.split())
    quoted = quoted if len(quoted) <= LONGEST else f"{quoted[:LONGEST]} ..."
    cause = f"{type(error).__name__}: {quoted.rstrip('.')}" if quoted else type(error).__name__
    about = ", ".join(subjects(error)) or _output()
    return f"{about}: {cause}; this may be a fault of prh (its traceback is above in the log)."


def heading() -> str:
    """Two lines: versions and machine, and the command to run the program again by hand."""
    known = {"prh": versions.of("prh"), "Python": platform.python_version(), **versions.libraries()}
    listed = ", ".join(f"{name} {number}" for name, number in known.items() if number)
    command = shlex.join(["python", *map(redacted_text, sys.argv)])
    return f"{listed}; {platform.node()}, {os.cpu_count()} cores\n{command}"


def usage(seconds: float) -> str:
    """A line with the elapsed time, and the CPU time and peak memory of this process and its children.

    The memory is the peak of the largest single process, as reported by the kernel (getrusage).
    """
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(own.ru_maxrss, children.ru_maxrss) * unit / 1e6
    return f"took {seconds:.2f} s, {cpu:.2f} s of CPU, at most {peak:.0f} MB"


def batch_size(text: str) -> int | None:
    """The value of --batch-size: a number, or None for "auto", which uses the largest that fits."""
    return None if text == "auto" else int(text)


class _Redacted(logging.Formatter):
    """Removes secrets in addresses from log lines, because HTTP clients log the addresses they request."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted_text(super().format(record))


def _close_input() -> None:
    """Redirect standard input to an empty file, so that a library that asks a question fails instead of hanging."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing != 0:
        os.close(nothing)


def _missing_extra(error: Exception) -> str | None:
    """The extra of the package that installs the module whose absence is the error; None for any other error."""
    extras = {"models": OF_MODELS, "workflow": OF_WORKFLOW} if isinstance(error, ModuleNotFoundError) else {}
    return next((extra for extra, modules in extras.items() if error.name in modules), None)


def _is_for_users(error: Exception) -> bool:
    """Whether the message of an error is meant for users: prh raised it, or it is a system error about a file."""
    if _missing_extra(error):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return True
    return isinstance(error, (ValueError, OSError)) and _is_ours(error)


def _is_ours(error: Exception) -> bool:
    """Whether prh or one of its programs raised an error itself: its traceback ends at a ``raise`` statement there.

    A ValueError from numpy, or from ``int("x")`` in our own code, was not written for users.
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
    """The program and, if its arguments name one, its output, whose path contains the data set and model."""
    flags = ("--output", "--table", "--scores", "--manifest")
    outputs = [value for flag, value in zip(sys.argv, sys.argv[1:], strict=False) if flag in flags]
    program = Path(sys.argv[0]).name
    return f"{program}, making {outputs[0]}" if outputs else program
