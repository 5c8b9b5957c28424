"""Texts that language models are scored on: the documents of a local source, and a bounded number of any documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from prh.datasets.errors import DataError
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.io import text_files


def read_fetched(_entry: object, facts: Mapping) -> list[str]:
    """`read_documents` in the form of `prh.downloads.sources.Source.read`."""
    return read_documents(Path(facts["root"]))


def read_documents(path: Path) -> list[str]:
    """The documents of a text: the lines of a .txt file, or every caption (column text) of a local data set.

    Empty documents are left out. Raises DataError if nothing is left.
    """
    if path.suffix.lower() == ".txt":
        documents = text_files.lines(path)
    else:
        samples = read_local(path, SampleColumns(image=None))
        documents = [caption for sample in samples for caption in sample.captions]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise DataError(f"{path} holds no text.")
    return documents


def _bytes(document: str) -> int:
    """The size of a document in UTF-8. Raises DataError if it cannot be encoded."""
    try:
        return len(document.encode())
    except UnicodeEncodeError:
        shown = document[:60].encode("utf-8", "backslashreplace").decode()
        raise DataError(
            f"the document '{shown}' holds half of a surrogate pair, which is not valid text; correct it."
        ) from None


def bounded(documents: Iterable[str], count: int | None = None, size: int | None = None) -> list[str]:
    """The first ``count`` documents, or fewer once they reach ``size`` bytes of UTF-8 (None: no bound).

    Raises DataError if there is no document, if the documents hold fewer than ``size`` bytes and ``count`` is not set,
    or if one is not valid Unicode.
    """
    kept: list[str] = []
    room = math.inf if size is None else size
    for document in islice(documents, count):
        kept.append(document)
        room -= _bytes(document)
        if room <= 0:
            return kept
    if not kept:
        raise DataError("the source holds no text.")
    if size is not None and count is None:
        raise DataError(f"{size:,} bytes of text are asked for, the source has {size - room:,}; lower 'bytes'.")
    return kept
