"""What passes of a vision model show of its layers: the shapes of what they give, and which tokens are learned ones."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prh.hooks import hooked
from prh.pooling import Path, tensors_in

Layers = Sequence[tuple[str, nn.Module]]
Shapes = Mapping[Path, tuple[int, ...]]

_CLASS_TOKEN = re.compile(r"(.*\.)?(cls|class)_?(token|emb\w*?)s?(_?\d+)?")


@dataclass
class Seen:
    """What one pass showed of the layers: shapes of what they gave (None: not run), and how often each was run."""

    shapes: list[Shapes | None]
    calls: Counter[int] = field(default_factory=Counter)
    consumed: Counter[Path] = field(default_factory=Counter)
    """How often the next layer was given the tensor at this path."""
    depths: dict[int, int] = field(default_factory=dict)
    """How many modules with weights had run when the layer was done; of the whole pass under -1."""
    failure: Exception | None = None


class _Enough(Exception):
    """All that was looked for has been seen."""


@torch.inference_mode()
def look(module: nn.Module, layers: Layers, images: Tensor) -> Seen:
    """Pass ``images`` and note what every layer gives; a pass that fails midway has shown the layers before.

    A tensor that a layer was given and hands on is not what it computes, nor is one that it gives twice.
    """
    seen = Seen([None] * len(layers))
    ran = itertools.count(1)
    before: list[tuple[Path, Tensor]] = []  # of the layer before: held, so that no later tensor is taken for it

    def take(number: int) -> Callable:
        def hook(_module: nn.Module, arguments: tuple, named: dict, output: object) -> None:
            inputs = {id(tensor) for _, tensor in tensors_in([arguments, named])}
            seen.consumed.update(path for path, tensor in before if id(tensor) in inputs)
            computed: dict[int, tuple[Path, Tensor]] = {}
            for path, tensor in tensors_in(output):
                if tensor.is_floating_point() and (id(tensor) not in inputs or path == ()):
                    computed.setdefault(id(tensor), (path, tensor))
            before[:] = computed.values()
            seen.calls[number] += 1
            seen.depths[number] = seen.depths.get(-1, 0)
            seen.shapes[number] = {path: tuple(tensor.shape) for path, tensor in before}

        return hook

    def count(_module: nn.Module, _arguments: tuple, _output: object) -> None:
        seen.depths[-1] = next(ran)

    weighted = (part for part in module.modules() if next(part.parameters(recurse=False), None) is not None)
    hooks = [part.register_forward_hook(count) for part in weighted]
    hooks += [layer.register_forward_hook(take(number), with_kwargs=True) for number, (_, layer) in enumerate(layers)]
    with hooked(hooks):
        try:
            module(images)
        except Exception as error:
            seen.failure = error
    return seen


Key = tuple[str, int, int]
"""Where tokens were seen: name of the module that was given them, which of its calls, how many tokens."""


def learned_tokens(module: nn.Module, images: Tensor) -> tuple[dict[int, list[frozenset[int]]], dict[int, int]]:
    """Of two different ``images``: the tokens that are the same for both, and which of them is the class token.

    Both by how many tokens there are in all (a model may add tokens between its blocks). Of the former there may be
    several candidates. Both are empty where the module has no tokens.
    """
    first_seen: dict[tuple[int, frozenset[int]], tuple[Key, Tensor]] = {}

    def keep(key: Key, tokens: Tensor) -> None:
        same = (tokens[0] == tokens[1]).all(-1)
        constant = frozenset(same.nonzero().flatten().tolist())
        if 0 < len(constant) < key[2] and (key[2], constant) not in first_seen:
            first_seen[key[2], constant] = key, tokens.clone()

    _walk_tokens(module, images, {}, keep)
    candidates: dict[int, list[frozenset[int]]] = {}
    for count, constant in first_seen:
        candidates.setdefault(count, []).append(constant)
    return candidates, _class_tokens(module, images, dict(first_seen.values()))


def _class_tokens(module: nn.Module, images: Tensor, wanted: Mapping[Key, Tensor]) -> dict[int, int]:
    """The index of the class token by the number of all tokens; ``wanted``: the tokens where they enter."""
    parameters = [(name, value) for name, value in module.named_parameters() if _CLASS_TOKEN.fullmatch(name)]
    found: dict[int, int] = {}
    for name, value in parameters if wanted else ():
        if value.is_meta:  # held elsewhere until it is used, where it cannot be changed: the first, as everywhere
            return {key[2]: 0 for key in wanted}
        for (_, _, count), moved in _moved_tokens(module, images, {name: value + 1}, wanted).items():
            if len(moved) == 1:
                found.setdefault(count, moved[0])
    return found


def _moved_tokens(
    module: nn.Module, images: Tensor, changed: Mapping[str, Tensor], wanted: Mapping[Key, Tensor]
) -> dict[Key, list[int]]:
    """Which tokens differ from the ``wanted`` ones where some parameters are ``changed``."""
    moved: dict[Key, list[int]] = {}

    def compare(key: Key, tokens: Tensor) -> None:
        if key in wanted and key not in moved:
            moved[key] = (tokens != wanted[key]).any(-1).any(0).nonzero().flatten().tolist()
            if len(moved) == len(wanted):
                raise _Enough

    with suppress(_Enough):
        _walk_tokens(module, images, changed, compare)
    return moved


@torch.inference_mode()
def _walk_tokens(
    module: nn.Module, images: Tensor, changed: Mapping[str, Tensor], visit: Callable[[Key, Tensor], None]
) -> None:
    """Call ``visit`` for every [2, tokens, width] that any module is given, with some parameters ``changed``."""
    calls: Counter[str] = Counter()

    def look_at(name: str) -> Callable:
        def hook(_module: nn.Module, arguments: tuple, named: dict) -> None:
            calls[name] += 1
            for _, tensor in tensors_in([arguments, named]):
                if tensor.ndim == 3 and tensor.is_floating_point():
                    if len(tensor) == len(images):
                        visit((name, calls[name], tensor.shape[1]), tensor)
                    elif tensor.shape[1] == len(images):
                        visit((name, calls[name], len(tensor)), tensor.transpose(0, 1))

        return hook

    hooks = (part.register_forward_pre_hook(look_at(name), with_kwargs=True) for name, part in module.named_modules())
    with hooked(hooks):
        torch.func.functional_call(module, dict(changed), (images,)) if changed else module(images)
