"""What a library did with a checkpoint: the report that `prh.models.weights` holds against a pass of the model.

Before that, names of weights are freed of what wrappers added, and codes that nothing explains are refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from prh.models.checkpoints import Stored, some
from prh.models.repositories import ModelError

log = logging.getLogger(__name__)

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch.compile, FSDP and activation checkpointing put into the names of weights, anywhere."""
_DATA_PARALLEL = "module."
"""What DataParallel and DistributedDataParallel put before all names."""
_INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"}


@dataclass(frozen=True)
class LoadReport:
    """What was loaded into ``model``, and how it went; names are those of the model, or of the file if unexpected.

    missing: weights and buffers that the checkpoint did not fill, those of another shape among them (``shapes`` tells
    theirs). unexpected: what it has besides. chosen: whether ``model_args`` of the entry change the architecture, so
    that blocks of the checkpoint may be left out on purpose. strict: whether each of its names must have a place.
    """

    model: nn.Module
    root: Path
    missing: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    shapes: Mapping[str, str] | None = None
    chosen: bool = False
    strict: bool = False


def renames(names: Collection[str]) -> dict[str, str]:
    """Regular expressions and what replaces them, each once, that free the names of weights of what wrappers added."""
    mapping: dict[str, str] = {}
    if names and all(name.startswith(_DATA_PARALLEL) for name in _without_wrappers(names)):
        mapping[rf"^((?:(?:{'|'.join(_WRAPPERS)})\.)*){re.escape(_DATA_PARALLEL)}"] = r"\1"
    for wrapper in _WRAPPERS:
        for occurrence in range(max((name.split(".").count(wrapper) for name in names), default=0)):
            mapping[rf"(^|\.){wrapper}\.{'(?:)' * occurrence}"] = r"\1"  # each pattern replaces the first that is left
    if mapping:
        log.warning("names of weights are freed of what a wrapper put into them, as in %s", min(names))
    return mapping


def _without_wrappers(names: Iterable[str]) -> Iterator[str]:
    return (".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names)


def refuse_integers(stored: Mapping[str, Stored], config: Mapping, root: Path) -> None:
    """Raise ModelError for weights of whole numbers or 8-bit floats that no ``quantization_config`` explains.

    Such weights mean nothing without their scales, which a library that does not know of them would leave out.
    """
    if config.get("quantization_config") or config.get("compression_config"):
        return
    coded = [
        name
        for name, tensor in stored.items()
        if tensor.dtype.startswith(("F8", "F4", "F6"))
        or (tensor.dtype in _INTEGERS and name.endswith("weight") and len(tensor.shape) > 1)
    ]
    if coded:
        kind = stored[min(coded)].dtype
        raise ModelError(
            f"{root} holds quantised weights ({kind}: {some(coded)}), and its config.json has no "
            "quantization_config that says how to read them; give the folder of the full weights."
        )


class Load(NamedTuple):
    """A call of ``load_state_dict``: the module, its missing and unexpected keys, and whether these are errors."""

    module: nn.Module
    missing: frozenset[str]
    unexpected: frozenset[str]
    strict: bool


@contextmanager
def recorded_loads(*, tolerant: bool) -> Iterator[list[Load]]:
    """What ``load_state_dict`` finds inside, call by call.

    timm loads inside ``create_model``. It says only in its log what was missing, or insists on a head that no layer
    reads. ``tolerant``: names that do not fit are no error here, since they are to be proved.
    """
    loads: list[Load] = []
    plain = nn.Module.load_state_dict

    def recorded(module: nn.Module, state: Mapping[str, object], strict: bool = True, assign: bool = False) -> object:
        result = plain(module, state, strict=strict and not tolerant, assign=assign)
        loads.append(Load(module, frozenset(result.missing_keys), frozenset(result.unexpected_keys), strict))
        return result

    nn.Module.load_state_dict = recorded
    try:
        yield loads
    finally:
        nn.Module.load_state_dict = plain
