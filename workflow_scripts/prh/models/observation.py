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
from torch.utils.hooks import RemovableHandle

from prh.models.hooks import hooked
from prh.models.pooling import Path, tensors_in

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


Key = tuple[str, int, int, int]
"""Where tokens were seen: name of the module that was given them, which of its calls, which tensor, how many tokens."""
Learned = dict[tuple[int, frozenset[int]], tuple[Key, Tensor]]
"""By the number of all tokens and the indices of those that are the same for two images: where they enter, and all."""


class _Enough(Exception):
    """All that was looked for has been seen."""


@torch.inference_mode()
def look(module: nn.Module, layers: Layers, images: Tensor, learned: Learned | None = None) -> Seen:
    """Pass ``images`` and note what every layer gives; a pass that fails midway has shown the layers before.

    A tensor that a layer was given and hands on is not what it computes, nor is one that it gives twice. ``learned`` is
    filled, if given, with the tokens that are the same for the two ``images``.
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

    def keep(key: Key, tokens: Tensor) -> None:
        same = (tokens[0] == tokens[1]).all(-1)
        constant = frozenset(same.nonzero().flatten().tolist())
        if 0 < len(constant) < len(same) and (len(same), constant) not in learned:
            learned[len(same), constant] = key, tokens.clone()

    weighted = (part for part in module.modules() if next(part.parameters(recurse=False), None) is not None)
    hooks = [part.register_forward_hook(count) for part in weighted]
    hooks += [layer.register_forward_hook(take(number), with_kwargs=True) for number, (_, layer) in enumerate(layers)]
    if learned is not None:
        hooks += _token_hooks(module, keep)
    with hooked(hooks):
        try:
            module(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            seen.failure = error
    return seen


def _token_hooks(module: nn.Module, visit: Callable[[Key, Tensor], None]) -> list[RemovableHandle]:
    """Hooks that call ``visit`` for every [2, tokens, width] that any part of ``module`` is given."""
    calls: Counter[str] = Counter()

    def look_at(name: str) -> Callable:
        def hook(_module: nn.Module, arguments: tuple, named: dict) -> None:
            calls[name] += 1
            for index, (_, tensor) in enumerate(tensors_in([arguments, named])):
                if tensor.ndim == 3 and tensor.is_floating_point() and 2 in tensor.shape[:2]:
                    tokens = tensor if len(tensor) == 2 else tensor.transpose(0, 1)
                    visit((name, calls[name], index, tokens.shape[1]), tokens)

        return hook

    return [part.register_forward_pre_hook(look_at(name), with_kwargs=True) for name, part in module.named_modules()]


def class_tokens(module: nn.Module, images: Tensor, learned: Learned) -> dict[int, int]:
    """The index of the class token by the number of all tokens, of those ``learned``; {} where there is none."""
    wanted = dict(learned.values())
    parameters = [(name, value) for name, value in module.named_parameters() if _CLASS_TOKEN.fullmatch(name)]
    found: dict[int, int] = {}
    for name, value in parameters if wanted else ():
        if value.is_meta:  # held elsewhere until it is used, where it cannot be changed: the first, as everywhere
            return {key[-1]: 0 for key in wanted}
        # no number for all: a norm behind it would hide that
        change = torch.linspace(1, 2, value.numel(), device=value.device, dtype=value.dtype).view_as(value)
        for key, moved in _moved_tokens(module, images, {name: value + change}, wanted).items():
            if len(moved) == 1:
                found.setdefault(key[-1], moved[0])
    return found


@torch.inference_mode()
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

    with hooked(_token_hooks(module, compare)), suppress(_Enough):
        torch.func.functional_call(module, dict(changed), (images,))
    return moved
