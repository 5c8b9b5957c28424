"""The blocks of a vision model: which of its modules' outputs are its layers."""

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
    """The blocks inside ``module``: containers and stages are opened, anything else is a block.

    What a stage holds (``in_stage``) is no stage again: the layers of a block of HGNet are convolutions, which it joins
    in the end. Of a sequence, other than the ``trunk`` of a model itself, plain operations are no blocks of their own.
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
    """The children of a container; None where ``module`` is none, or is a sequence of plain operations (one block).

    Plain operations between blocks (the norm and convolution before a stage of RDNet) are left out.
    """
    children = dict(module.named_children())
    if isinstance(module, nn.ModuleList) or _is_numbered(children) or (trunk and isinstance(module, nn.Sequential)):
        return children
    if not isinstance(module, nn.Sequential):
        return None
    return {key: child for key, child in children.items() if not _is_plain(child)} or None


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is one operation: a convolution, a norm, a linear map, or something without weights."""
    if isinstance(module, _OPERATIONS):
        return True
    return next(module.children(), None) is None and next(module.parameters(), None) is None


def _are_units(children: Mapping[str, nn.Module]) -> bool:
    """Whether the children of a container are sequences of the same parts, plain operations among them (ConvMixer)."""
    built = {(type(child), *(type(part) for part in child.children())) for child in children.values()}
    first = next(iter(children.values()), None)
    return len(built) == 1 and isinstance(first, nn.Sequential) and any(map(_is_plain, first))


def _is_numbered(children: Mapping[str, nn.Module]) -> bool:
    """Whether children are called b1, b2, ... as the blocks of a RegNet stage are."""
    return bool(children) and all(re.fullmatch(r"b\d+", key) for key in children)


def find_layers(model: nn.Module, pattern: str | None = None) -> list[tuple[str, nn.Module]]:
    """Names and modules of a vision model's layers, in order of depth.

    With ``pattern``, every module whose whole name matches it; else every block of the trunk. Raises ModelError
    where nothing is found: say then in the entry which modules are meant (``layers``).
    """
    if pattern is not None:
        found = [(name, module) for name, module in model.named_modules() if re.fullmatch(pattern, name)]
        if not found:
            raise ModelError(f"no module is named like layers: {pattern!r}; there are {_some_names(model)}.")
        return found
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
            found = find_layers(inner) if listed is None else listed
            return [(f"{wrapped}.{name}", module) for name, module in found]
    if (listed := _listed(model)) is not None:
        return listed
    raise ModelError(f"cannot tell the layers of {type(model).__name__}; give 'layers', one of {_some_names(model)}.")


def _listed(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The blocks of a model that has them in a list of a usual name; None where it has no such list."""
    for name in _LISTS:
        if isinstance(blocks := getattr(model, name, None), nn.ModuleList):
            return list(named_blocks(blocks, name))
    return None


_VISION_PARTS = (
    *("vision_model", "vision_tower", "vision_encoder", "image_model", "image_encoder", "image_tower", "visual"),
)


def vision_part(model: nn.Module) -> nn.Module:
    """The part of a model of images and text (CLIP, LLaVA ...) that takes images; ``model`` where it has none."""
    for holder in (model, getattr(model, "model", None)):
        for name in _VISION_PARTS:
            if isinstance(part := getattr(holder, name, None), nn.Module):
                return vision_part(part)
    return model


def _some_names(model: nn.Module) -> str:
    names = [name for name, _ in model.named_modules() if name.count(".") <= 1 and name]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
