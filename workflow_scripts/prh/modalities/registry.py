"""The known modalities, and lookups by entry or name."""

from __future__ import annotations

from typing import Any

from prh.downloads.sources import source_of
from prh.io.functions import import_members
from prh.modalities.base import GREY, MODALITIES, Modality


def known() -> dict[str, Modality]:
    """All modalities by name: the workflow's own, and those registered by plugins."""
    import_members("prh.modalities.declarations")
    return MODALITIES


def modality_of(entry: Any) -> Modality:
    """The modality of a model's entry: its own, or ``given`` if its source gives the representation itself."""
    source = getattr(entry, "source", None)
    is_given = source is not None and source_of("models", entry).read is not None
    return known()["given" if is_given else entry.modality]


def given() -> list[str]:
    """The names of the modalities whose representations are given and not computed by a model."""
    return [name for name, modality in known().items() if modality.is_given]


def colour_of(name: str) -> str:
    """The colour of a modality's name in figures; grey for an unknown modality."""
    return known()[name].colour if name in known() else GREY
