"""Reports of what a library did with a checkpoint, which `prh.models.weights` compares with a pass of the model.

Two things come before that: wrapper prefixes are removed from the names of weights, and quantised weights without a
configuration are refused.
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
"""Parts that torch.compile, FSDP and activation checkpointing insert anywhere in the names of weights."""
_DATA_PARALLEL = "module."
"""Prefix that DataParallel and DistributedDataParallel add to every name."""
_INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"}


@dataclass(frozen=True)
class LoadReport:
    """The result of loading the checkpoint ``root`` into ``model``.

    missing: names of weights and buffers of the model that the checkpoint did not fill, including those whose shape
    differs (``shapes`` gives both shapes). unexpected: names in the checkpoint that the model does not have. chosen:
    whether the entry's ``model_args`` change the architecture, so that blocks may be left out on purpose. strict:
    whether any unexpected name is an error.
    """

    model: nn.Module
    root: Path
    missing: frozenset[str] = frozenset()
    unexpected: frozenset[str] = frozenset()
    shapes: Mapping[str, str] | None = None
    chosen: bool = False
    strict: bool = False


def renames(names: Collection[str]) -> dict[str, str]:
    """Substitutions, regular expression to replacement, each applied once, that remove wrappers from weight names."""
    mapping: dict[str, str] = {}
    if names and all(name.startswith(_DATA_PARALLEL) for name in _without_wrappers(names)):
        mapping[rf"^((?:(?:{'|'.join(_WRAPPERS)})\.)*){re.escape(_DATA_PARALLEL)}"] = r"\1"
    for wrapper in _WRAPPERS:
        for occurrence in range(max((name.split(".").count(wrapper) for name in names), default=0)):
            mapping[rf"(^|\.){wrapper}\.{'(?:)' * occurrence}"] = r"\1"  # each pattern removes one occurrence
    if mapping:
        log.warning("removing the prefixes of wrappers from the names of weights, such as %s", min(names))
    return mapping


def _without_wrappers(names: Iterable[str]) -> Iterator[str]:
    return (".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names)


def refuse_integers(stored: Mapping[str, Stored], config: Mapping, root: Path) -> None:
    """Raise ModelError for integer or 8-bit float weights if there is no ``quantization_config``.

    Such weights mean nothing without their scales, which a library ignores if no configuration mentions them.
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
    """A call of ``load_state_dict``: the module, its missing and unexpected keys, and whether it was strict."""

    module: nn.Module
    missing: frozenset[str]
    unexpected: frozenset[str]
    strict: bool


@contextmanager
def recorded_loads(*, tolerant: bool) -> Iterator[list[Load]]:
    """Record every call of ``load_state_dict`` in the block, as a list that grows.

    timm loads weights inside ``create_model``, where it either only logs what was missing or insists on a head that no
    layer reads. ``tolerant``: mismatched names raise no error, because the caller goes on to prove them.
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
