"""What an error was about: the model, the sample, the file that was worked on when it happened.

Libraries raise errors that name none of these. ``with about("model 'vit'"):`` notes it on every error that passes, and
prh.jobs.command puts it before the error's own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MARK = "while working on "


@contextmanager
def about(what: str) -> Iterator[None]:
    """Note ``what`` (such as "model 'vit'") on an exception that leaves the block; blocks may be nested."""
    try:
        yield
    except Exception as error:
        error.add_note(MARK + what)
        raise


def subjects(error: BaseException) -> list[str]:
    """What `about` has noted on an error, the widest first."""
    notes = [note.removeprefix(MARK) for note in getattr(error, "__notes__", ()) if note.startswith(MARK)]
    return list(dict.fromkeys(reversed(notes)))
