"""Modalities: what a sample is read as. An encoder turns a batch into one [batch, width] float32 tensor per layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prh.models.repositories import ModelError

if TYPE_CHECKING:
    from prh.modalities.language import LanguageEncoder
    from prh.modalities.vision import VisionEncoder
    from prh.modalities.word_vectors import WordVectors


log = logging.getLogger(__name__)


def home_of(modality: str, library: str) -> str:
    """The module that reads models of a modality: that of their library, where it has one of its own."""
    own = f"prh.modalities.{library}"
    return own if find_spec(own) else f"prh.modalities.{modality}"


def load(entry: Mapping, root: Path | None, device: str = "cpu") -> VisionEncoder | LanguageEncoder | WordVectors:
    """The encoder of a model entry (see prh.experiment.schema), with weights from ``root`` (None for random ones).

    Raises ModelError where the files are not whole, the weights do not fit the architecture, or the model fails its
    self-test, whose result the encoder has as ``selftest``.
    """
    from prh.models.loading import choose_dtype, explained

    home = home_of(entry["modality"], entry["library"])
    if find_spec(home) is None:
        raise ModelError(f"cannot load {entry['modality']} models of library {entry['library']!r}.")
    with explained(entry, root):
        encoder = import_module(home).load(entry, root, device, choose_dtype(entry["dtype"], device))
    log.info("%s: %s", entry["name"], encoder.selftest.log_line())
    return encoder
