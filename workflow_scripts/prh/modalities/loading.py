"""From the entry of a model to its encoder. Libraries are imported only when a model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prh.io.functions import Function, resolved
from prh.modalities.base import Encoder
from prh.modalities.registry import known, modality_of

log = logging.getLogger(__name__)


def loader_of(entry: Any) -> Function:
    """The function that loads the model of an entry. Raises ModelError if its modality has none for its library."""
    from prh.models.repositories import ModelError

    try:
        return modality_of(entry).loader(entry)
    except KeyError:
        raise ModelError(f"cannot load {entry.modality} models of library {entry.library!r}.") from None


def load(entry: Any, root: Path | None, device: str = "cpu") -> Encoder:
    """The encoder of a model entry (see prh.experiment.schema), with weights from ``root`` (None: random weights).

    ``entry`` may also be a mapping, with the keys that it has in an experiment: the entry class of its modality checks
    them and fills in the defaults. Raises ModelError if files are missing or damaged, the weights do not fit the
    architecture, or the model fails its self-test, whose result is the encoder's ``selftest``; and pydantic's
    ValidationError if a mapping has a wrong key or value.
    """
    from prh.models.loading import choose_dtype, explained

    if isinstance(entry, Mapping):
        entry = _typed(entry)
    loader = resolved(loader_of(entry))
    with explained(entry.name, root):
        encoder = loader(entry, root, device, choose_dtype(getattr(entry, "dtype", "auto"), device))
    if hasattr(encoder, "selftest"):
        log.info("%s: %s", entry.name, encoder.selftest.log_line())
    return encoder


def _typed(keys: Mapping[str, Any]) -> Any:
    """The entry of a model with these keys, as the class of its modality makes it."""
    modality = known().get(keys.get("modality"))
    if modality is None:
        raise ValueError(f"modality {keys.get('modality')!r} is not known; there are {', '.join(known())}.")
    return resolved(modality.entry)(**keys)
