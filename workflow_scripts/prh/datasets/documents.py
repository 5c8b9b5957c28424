"""Texts that language models are scored on: the documents of a local source, and as many of any as are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from prh.datasets.errors import DataError
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.io import text_files


def read_documents(path: Path) -> list[str]:
    """The documents of a text: the lines of a .txt file, or every caption (column text) of a local data set.

    Empty lines are left out. Raises DataError where nothing is left.
    """
    if path.suffix.lower() == ".txt":
        documents = text_files.lines(path)
    else:
        read = read_local(path, SampleColumns(image=None))
        documents = [caption for sample in read for caption in sample.captions]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise DataError(f"{path} holds no text.")
    return documents


def _bytes(document: str) -> int:
    try:
        return len(document.encode())
    except UnicodeEncodeError:
        shown = document[:60].encode("utf-8", "backslashreplace").decode()
        raise DataError(f"the document '{shown}' holds half of a surrogate pair, which is no text; mend it.") from None


def bounded(documents: Iterable[str], count: int | None = None, size: int | None = None) -> list[str]:
    """The first ``count`` documents; and no more after those that reach ``size`` bytes of UTF-8 (None: no bound).

    Raises DataError where ``size`` bytes are asked for and the documents hold fewer, and for one that is no Unicode.
    """
    taken: list[str] = []
    room = math.inf if size is None else size
    for document in islice(documents, count):
        taken.append(document)
        room -= _bytes(document)
        if room <= 0:
            return taken
    if not taken:
        raise DataError("the source holds no text.")
    if size is not None and count is None:
        raise DataError(f"{size:,} bytes of text are asked for, the source has {size - room:,}; lower 'bytes'.")
    return taken
