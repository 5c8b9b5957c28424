"""What an error was about: the model, the sample, the file that was worked on when it happened.

Libraries raise errors that name none of these. What a whole job is about is known from its arguments
(`job_is_about`, which prh.experiment.arguments calls for every program). ``with about("sample '7'"):`` notes on every
error that passes what it was about besides. prh.jobs.command puts both before the error's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MARK = "while working on "
_job: list[str] = []
"""What the whole job is about: a process runs one job."""


@contextmanager
def about(what: str) -> Iterator[None]:
    """Note ``what`` (such as "model 'vit'") on an exception that leaves the block; blocks may be nested."""
    try:
        yield
    except Exception as error:
        error.add_note(MARK + what)
        raise


def job_is_about(subjects: Iterable[str]) -> None:
    """Say what every error of this process is about, whatever it was doing: the entries that its program was given."""
    _job[:] = subjects


def subjects(error: BaseException) -> list[str]:
    """What the job is about, then what `about` has noted on an error, the widest first."""
    return list(dict.fromkeys([*_job, *noted(error)]))


def noted(error: BaseException) -> list[str]:
    """What `about` has noted on an error, the widest first."""
    notes = [note.removeprefix(MARK) for note in getattr(error, "__notes__", ()) if note.startswith(MARK)]
    return list(dict.fromkeys(reversed(notes)))
