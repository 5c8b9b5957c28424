"""What a pass of a vision model reveals: the shapes of the layers' outputs, and which tokens are learned."""

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
    """What one pass revealed of the layers: the shapes of their outputs (None: did not run) and how often each ran."""

    shapes: list[Shapes | None]
    calls: Counter[int] = field(default_factory=Counter)
    consumed: Counter[Path] = field(default_factory=Counter)
    """How often the next layer took the tensor at this path as an input."""
    depths: dict[int, int] = field(default_factory=dict)
    """How many modules with weights had run when each layer was done; under -1, in the whole pass."""
    failure: Exception | None = None


Key = tuple[str, int, int, int]
"""Where tokens were seen: the module that received them, which of its calls, which tensor, how many tokens."""
Learned = dict[tuple[int, frozenset[int]], tuple[Key, Tensor]]
"""Learned tokens. Key: the number of tokens and the indices of those that are the same for two images. Value: where
these tokens first appeared, and all tokens there."""


class _Enough(Exception):
    """Everything that was looked for has been seen, so that the pass can stop."""


@torch.inference_mode()
def look(module: nn.Module, layers: Layers, images: Tensor, learned: Learned | None = None) -> Seen:
    """Pass ``images`` and record the outputs of every layer; a pass that fails midway records the layers before.

    An input that a layer merely returns does not count as an output, and a tensor that it returns twice counts once. If
    ``learned`` is a dict, the tokens that are the same for the two ``images`` are added to it.
    """
    seen = Seen([None] * len(layers))
    ran = itertools.count(1)
    before: list[
        tuple[Path, Tensor]
    ] = []  # outputs of the layer before; holding them keeps their ids from being reused

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
    """Hooks that call ``visit`` with every [2, tokens, width] that any part of ``module`` receives."""
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
    """The index of the class token among the ``learned`` tokens, by the total number of tokens; {} if there is none."""
    wanted = dict(learned.values())
    parameters = [(name, value) for name, value in module.named_parameters() if _CLASS_TOKEN.fullmatch(name)]
    indices: dict[int, int] = {}
    for name, value in parameters if wanted else ():
        if value.is_meta:  # offloaded, so it cannot be changed here; every known model has its class token first
            return {key[-1]: 0 for key in wanted}
        # a different change in each element: a norm would hide a constant shift
        change = torch.linspace(1, 2, value.numel(), device=value.device, dtype=value.dtype).view_as(value)
        for key, moved in _moved_tokens(module, images, {name: value + change}, wanted).items():
            if len(moved) == 1:
                indices.setdefault(key[-1], moved[0])
    return indices


@torch.inference_mode()
def _moved_tokens(
    module: nn.Module, images: Tensor, changed: Mapping[str, Tensor], wanted: Mapping[Key, Tensor]
) -> dict[Key, list[int]]:
    """The indices of the tokens that differ from the ``wanted`` ones once some parameters are ``changed``."""
    moved: dict[Key, list[int]] = {}

    def compare(key: Key, tokens: Tensor) -> None:
        if key in wanted and key not in moved:
            moved[key] = (tokens != wanted[key]).any(-1).any(0).nonzero().flatten().tolist()
            if len(moved) == len(wanted):
                raise _Enough

    with hooked(_token_hooks(module, compare)), suppress(_Enough):
        torch.func.functional_call(module, dict(changed), (images,))
    return moved
