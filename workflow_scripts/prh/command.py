"""How the command-line programs of the stages behave: mistakes end in one sentence, not in a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def failing_in_one_sentence() -> Iterator[None]:
    """End the program with the message of a ValueError or OSError; anything else is a bug and keeps its traceback."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
