"""Modalities: what a sample is read as. An encoder turns a batch into one [batch, width] float32 tensor per layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prh.models import ModelError

if TYPE_CHECKING:
    from prh.modalities.language import LanguageEncoder
    from prh.modalities.vision import VisionEncoder
    from prh.modalities.word_vectors import WordVectors


def load(entry: Mapping, root: Path | None, device: str = "cpu") -> VisionEncoder | LanguageEncoder | WordVectors:
    """The encoder of a model entry (see prh.config), with weights from ``root`` (None for random ones).

    Raises ModelError, or the library's own error, where the weights do not fit the architecture.
    """
    from prh.loading import choose_dtype

    dtype = choose_dtype(entry["dtype"], device)
    match entry["modality"], entry["library"]:
        case "vision", _:
            from prh.modalities import vision as modality
        case "language", "transformers":
            from prh.modalities import language as modality
        case "language", "word_vectors":
            from prh.modalities import word_vectors as modality
        case _:
            raise ModelError(f"cannot load {entry['modality']} models of library {entry['library']!r}.")
    return modality.load(entry, root, device, dtype)
