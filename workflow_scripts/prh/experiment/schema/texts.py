"""Competence in language: texts that models predict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name, Section


class Text(Section):
    """A text on which language models are scored in bits per byte."""

    name: Name
    """Name of the text."""
    source: Literal["local", "hub", "world"]
    """A local file, a data set of the Hugging Face hub, or held-out walks through the idealised world."""
    path: str | None = None
    """local: a .txt file (one document per line), or a folder or .jsonl file with captions, as for a data set."""
    id: str | None = None
    """hub: repository."""
    revision: str | None = None
    """hub: commit (best), branch or tag (null: that of the first download, recorded in the lock file)."""
    licence: str | None = None
    """Licence of the text."""
    split: str = "train"
    """hub: split to take."""
    subset: str | None = None
    """hub: configuration of the data set, if it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """hub: patterns of the files to download (null: all). To sample a large corpus, its first file is enough."""
    column: str = "text"
    """hub: column with the documents."""
    documents: Annotated[int, Field(ge=1)] | None = None
    """How many documents to take, from the first on (null: all; world: 64)."""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """Take documents until they reach this many bytes of UTF-8 (null: no limit)."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens that a model sees at once."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens scored in each window after the first (null: half a window)."""

    @model_validator(mode="after")
    def _source_is_told(self) -> Text:
        for source, key in (("local", "path"), ("hub", "id")):
            if (self.source == source) != (getattr(self, key) is not None):
                raise ValueError(f"source '{source}' and '{key}' belong together")
        return self
