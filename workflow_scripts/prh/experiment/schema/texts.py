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
    """A file here, a data set of the Hugging Face hub, or walks through the idealised world that no model has read."""
    path: str | None = None
    """local: a .txt file (a document per line), or a folder or .jsonl file with captions, as a data set."""
    id: str | None = None
    """hub: repository."""
    revision: str | None = None
    """hub: branch, tag or (best) commit (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the text."""
    split: str = "train"
    """hub: split to take."""
    subset: str | None = None
    """hub: configuration of the data set, where it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """hub: patterns of the files to download (null: all). A sample needs the first file of a large corpus only."""
    column: str = "text"
    """hub: column with the documents."""
    documents: Annotated[int, Field(ge=1)] | None = None
    """How many documents to take, from the first on (null: all; world: 64)."""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """Take documents until they hold so many bytes of UTF-8 (null: no bound)."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens that a model sees at once."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens that each window scores after the first (null: half a window)."""

    @model_validator(mode="after")
    def _source_is_told(self) -> Text:
        for source, key in (("local", "path"), ("hub", "id")):
            if (self.source == source) != (getattr(self, key) is not None):
                raise ValueError(f"source '{source}' and '{key}' belong together")
        return self
