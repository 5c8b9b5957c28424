"""Context for error messages: the model, sample or file that was being processed when an error occurred.

Errors from other libraries name none of these. The subjects of the whole job follow from its arguments (`job_is_about`,
called by prh.experiment.arguments for every program); ``with about("sample '7'"):`` adds further context to each error
that passes through. prh.jobs.command prints both in front of the error message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MARK = "while working on "
_job: list[str] = []
"""Subjects of the whole job; global, because a process runs one job."""


@contextmanager
def about(what: str) -> Iterator[None]:
    """Add ``what`` (such as "model 'vit'") as context to an exception that leaves the block; blocks may be nested."""
    try:
        yield
    except Exception as error:
        error.add_note(MARK + what)
        raise


def job_is_about(subjects: Iterable[str]) -> None:
    """Set the subjects of all errors of this process: the entries that its program was given."""
    _job[:] = subjects


def subjects(error: BaseException) -> list[str]:
    """The subjects of the job, then the context that `about` has added to an error, outermost first."""
    return list(dict.fromkeys([*_job, *noted(error)]))


def noted(error: BaseException) -> list[str]:
    """The context that `about` has added to an error, outermost first."""
    notes = [note.removeprefix(MARK) for note in getattr(error, "__notes__", ()) if note.startswith(MARK)]
    return list(dict.fromkeys(reversed(notes)))
