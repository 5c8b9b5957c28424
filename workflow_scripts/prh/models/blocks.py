"""The blocks of a vision model: the modules whose outputs are its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import nn

from prh.models.repositories import ModelError

_TIMM_TRUNKS = (
    *("blocks", "stages", "layers", "layer1", "s1", "features", "network", "trunk"),
    *("levels", "transformers", "dense_stages", "serial_blocks1", "stage1", "block1", "level1"),
)
_WRAPPERS = ("encoder", "vision_model", "model", "backbone", "vision_tower", "body", "timm_model", "transformer")
_LISTS = ("layer", "block")
_OPERATIONS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.Linear)
_NUMBERED = re.compile(r"^(layer|s|serial_blocks|stage|block|level)1$")


def named_blocks(
    module: nn.Module, name: str, *, trunk: bool = False, in_stage: bool = False
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks inside ``module`` with their names: containers and stages are opened, anything else is a block.

    Nothing inside a stage (``in_stage``) is opened as a stage again: the ``layers`` of an HGNet block are convolutions
    that the block itself joins. Plain operations in a sequence are not blocks, except in the model's own ``trunk``.
    """
    for attribute in () if in_stage else ("blocks", "layers"):
        inner = getattr(module, attribute, None)
        if isinstance(inner, nn.Sequential | nn.ModuleList):
            yield from named_blocks(inner, f"{name}.{attribute}", in_stage=True)
            return
    opened = _opened(module, trunk=trunk)
    if opened is None:
        yield name, module
        return
    are_units = _are_units(opened)
    for key, child in opened.items():
        yield from [(f"{name}.{key}", child)] if are_units else named_blocks(child, f"{name}.{key}", in_stage=in_stage)


def _opened(module: nn.Module, *, trunk: bool) -> Mapping[str, nn.Module] | None:
    """The children of a container; None if ``module`` is not one, or is a sequence of plain operations only (a block).

    Plain operations between blocks are left out, such as the norm and convolution before a stage of RDNet.
    """
    children = dict(module.named_children())
    if isinstance(module, nn.ModuleList) or _is_numbered(children) or (trunk and isinstance(module, nn.Sequential)):
        return children
    if not isinstance(module, nn.Sequential):
        return None
    return {key: child for key, child in children.items() if not _is_plain(child)} or None


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a single operation: a convolution, norm or linear map, or something without weights."""
    if isinstance(module, _OPERATIONS):
        return True
    return next(module.children(), None) is None and next(module.parameters(), None) is None


def _are_units(children: Mapping[str, nn.Module]) -> bool:
    """Whether all children are sequences built alike, with plain operations in them, as the blocks of ConvMixer are."""
    built = {(type(child), *(type(part) for part in child.children())) for child in children.values()}
    first = next(iter(children.values()), None)
    return len(built) == 1 and isinstance(first, nn.Sequential) and any(map(_is_plain, first))


def _is_numbered(children: Mapping[str, nn.Module]) -> bool:
    """Whether children are named b1, b2, ... like the blocks of a RegNet stage."""
    return bool(children) and all(re.fullmatch(r"b\d+", key) for key in children)


def find_layers(model: nn.Module, pattern: str | None = None) -> list[tuple[str, nn.Module]]:
    """Names and modules of a vision model's layers, in order of depth.

    With ``pattern``, every module whose full name matches it, otherwise every block of the trunk. Raises ModelError if
    there is none; the entry can then name the modules with ``layers``.
    """
    if pattern is not None:
        matching = [(name, module) for name, module in model.named_modules() if re.fullmatch(pattern, name)]
        if not matching:
            raise ModelError(f"no module name matches layers: {pattern!r}; the model has {_some_names(model)}.")
        return matching
    for trunk in _TIMM_TRUNKS:
        part = getattr(model, trunk, None)
        if not isinstance(part, nn.Module):
            continue
        if _NUMBERED.match(trunk):
            prefix, number, stages = trunk[:-1], 1, []
            while isinstance(stage := getattr(model, f"{prefix}{number}", None), nn.Module):
                stages += named_blocks(stage, f"{prefix}{number}")
                number += 1
            return stages
        return list(named_blocks(part, trunk, trunk=True))
    for wrapped in _WRAPPERS:
        inner = getattr(model, wrapped, None)
        if isinstance(inner, nn.Module):
            listed = _listed(inner)
            layers = find_layers(inner) if listed is None else listed
            return [(f"{wrapped}.{name}", module) for name, module in layers]
    if (listed := _listed(model)) is not None:
        return listed
    raise ModelError(
        f"cannot tell which modules of {type(model).__name__} are its layers; name them with 'layers', a regular "
        f"expression for names such as {_some_names(model)}."
    )


def _listed(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The blocks of a model that keeps them in a list with a common name; None if it has no such list."""
    for name in _LISTS:
        if isinstance(blocks := getattr(model, name, None), nn.ModuleList):
            return list(named_blocks(blocks, name))
    return None


_VISION_PARTS = (
    *("vision_model", "vision_tower", "vision_encoder", "image_model", "image_encoder", "image_tower", "visual"),
)


def vision_part(model: nn.Module) -> nn.Module:
    """The part of an image-and-text model (CLIP, LLaVA ...) that takes images; ``model`` itself if it has none."""
    for holder in (model, getattr(model, "model", None)):
        for name in _VISION_PARTS:
            if isinstance(part := getattr(holder, name, None), nn.Module):
                return vision_part(part)
    return model


def _some_names(model: nn.Module) -> str:
    names = [name for name, _ in model.named_modules() if name.count(".") <= 1 and name]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
