"""Competence in language: texts that models predict; a class for each source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.downloads.sources import SOURCES
from prh.experiment.schema.base import Name, Section
from prh.experiment.schema.brought import Brought


class TextEntry(Section):
    """Keys of every text, on which language models are scored in bits per byte."""

    name: Name
    """Name of the text."""
    documents: Annotated[int, Field(ge=1)] | None = None
    """How many documents to take, from the first on (null: all; world: 64)."""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """Take documents until they reach this many bytes of UTF-8 (null: no limit)."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens that a model sees at once."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens scored in each window after the first (null: half a window)."""


class LocalText(TextEntry):
    """A text on this machine."""

    source: Literal["local"]
    path: str
    """A .txt file (one document per line), or a folder or .jsonl file with captions, as for a data set."""


class HubText(TextEntry):
    """A column of a data set of the Hugging Face hub."""

    source: Literal["hub"]
    id: str
    """Repository."""
    revision: str | None = None
    """Commit (best), branch or tag (null: that of the first download, recorded in the lock file)."""
    licence: str | None = None
    """Licence of the text."""
    split: str = "train"
    """Split to take."""
    subset: str | None = None
    """Configuration of the data set, if it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the files to download (null: all). To sample a large corpus, its first file is enough."""
    column: str = "text"
    """Column with the documents."""


class WorldText(TextEntry):
    """Held-out walks through the idealised world."""

    source: Literal["world"]


Text = Annotated[LocalText | HubText | WorldText, Field(discriminator="source"), Brought("source", SOURCES["texts"])]
