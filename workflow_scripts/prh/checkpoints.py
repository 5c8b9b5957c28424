"""Checkpoints that others wrote: files of weights from the web or a disk, read strictly into an architecture."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from prh.models import ModelError

_SHOWN = 4


def fill(model: nn.Module, path: Path, *, state: str | None = None, prefix: str = "", drop: str | None = None) -> None:
    """Put the weights of the file ``path`` into ``model``, in place; every weight of the model must be in the file.

    The file is safetensors, or PyTorch's without any code in it (``weights_only``). ``state``: key of the weights
    inside the file (None: the file is the weights). ``prefix``: what stands before the names that are wanted; others
    are left out. ``drop``: regular expression for whole names (after the prefix) to leave out. Raises ModelError for a
    file that cannot be read so, and for names or shapes that are not those of the model.
    """
    weights = _named(_weights(path, state), path, prefix, drop)
    wanted = model.state_dict()
    complaints = [
        _few("misses", wanted.keys() - weights.keys()),
        _few("has besides", weights.keys() - wanted.keys()),
        _few(
            "has in another shape", (n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape)
        ),
    ]
    if any(complaints):
        raise ModelError(
            f"{path} does not fit {type(model).__name__}: it {', it '.join(filter(None, complaints))}; "
            "see 'checkpoint' and 'model_args' of the entry."
        )
    model.load_state_dict(weights, strict=True)


def _weights(path: Path, state: str | None) -> Mapping[str, Tensor]:
    """The named tensors of a file."""
    content = _read(path)
    if state is not None:
        if not (isinstance(content, Mapping) and isinstance(content.get(state), Mapping)):
            keys = _few("keys are", map(str, content)) if isinstance(content, Mapping) else "no keys"
            raise ModelError(f"{path} holds no weights under checkpoint.state {state!r}; there {keys or 'are none'}.")
        content = content[state]
    if not (isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values())):
        keys = _few("its keys are", map(str, content)) if isinstance(content, Mapping) else "it is no mapping"
        raise ModelError(
            f"{path} is not a mapping of names to tensors ({keys or 'it is empty'}); give checkpoint.state."
        )
    return content


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path} is not a whole safetensors file ({error}); fetch it again.") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", 1)[0]
        raise ModelError(
            f"{path} holds more than weights, or is damaged, and is not opened since that could run code ({reason}); "
            "save its state_dict in a file of its own and give that as source 'local'."
        ) from None
    except (RuntimeError, EOFError, UnicodeDecodeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ModelError(f"{path} is not a whole PyTorch file ({reason}); fetch it again.") from None


def _named(weights: Mapping[str, Tensor], path: Path, prefix: str, drop: str | None) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix``, without it, less those that ``drop`` matches whole."""
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        raise ModelError(
            f"{path} has no weight whose name begins with {prefix!r} (checkpoint.prefix); {_few('it has', weights)}."
        )
    return {name: value for name, value in found.items() if drop is None or not re.fullmatch(drop, name)}


def _few(verb: str, names: Iterable[str]) -> str:
    """A verb and a few of the names, or nothing where there are none."""
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{verb} {', '.join(listed[:_SHOWN])}{more}" if listed else ""
