"""Modalities: what a sample is read as. An encoder turns a batch into one [batch, width] float32 tensor per layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prh.models import ModelError

if TYPE_CHECKING:
    from prh.modalities.language import LanguageEncoder
    from prh.modalities.vision import VisionEncoder
    from prh.modalities.word_vectors import WordVectors


log = logging.getLogger(__name__)


def load(entry: Mapping, root: Path | None, device: str = "cpu") -> VisionEncoder | LanguageEncoder | WordVectors:
    """The encoder of a model entry (see prh.config), with weights from ``root`` (None for random ones).

    Raises ModelError where the files are not whole, the weights do not fit the architecture, or the model fails its
    self-test, whose result the encoder has as ``selftest``.
    """
    from prh.loading import choose_dtype, explained
    from prh.selftest import SelfTest

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
    with explained(entry, root):
        encoder = modality.load(entry, root, device, dtype)
    encoder.selftest = SelfTest.of(encoder.selftest)
    log.info("%s: %s", entry["name"], encoder.selftest.log_line())
    return encoder
