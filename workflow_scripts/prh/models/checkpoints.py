"""Checkpoints that others wrote: files of weights from the web or a disk, read strictly into an architecture."""

from __future__ import annotations

import errno
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prh.io import text_files
from prh.models.repositories import ModelError

_SHOWN = 4
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files of weights of a transformers folder, in the order in which transformers takes them."""
_OTHER_FORMS = {"*.gguf": "GGUF", "*.msgpack": "Flax", "*.h5": "TensorFlow", "*.ckpt*": "TensorFlow", "*.onnx": "ONNX"}


class Stored(NamedTuple):
    """A tensor as a file holds it: its type of numbers (as safetensors says it: F32, BF16, I8 ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


# ---- folders --------------------------------------------------------------------------------------------------


def stored_tensors(root: Path) -> dict[str, Stored]:
    """The tensors of the weights of a transformers folder, by name; only headers are read of safetensors files.

    Raises ModelError, naming the file, for weights that are absent (a shard, all but an adapter), that are a pointer of
    git-lfs, truncated or damaged, or that hold more than tensors.
    """
    refuse_pointers(root)
    if (root / "adapter_config.json").is_file():
        raise ModelError(
            f"{root} holds a PEFT adapter (adapter_config.json), which would be left out: merge it into its base model "
            "(merge_and_unload), save that, and give its folder."
        )
    name = next((name for name in _WEIGHTS if (root / name).is_file()), None)
    if name is None:
        there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        form = next((form for end, form in _OTHER_FORMS.items() if any(root.glob(end))), None)
        other = f"; weights of {form} are not read" if form else ""
        raise ModelError(f"{root} has no weights ({_WEIGHTS[0]} or {_WEIGHTS[2]}){other}; {few('it has', there)}.")
    return _shards(root / name) if name.endswith(".json") else _stored(root / name)


def refuse_pointers(root: Path) -> None:
    """Raise ModelError for a file of a model's folder that git-lfs has left as a pointer, naming it."""
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_file() and path.stat().st_size < 1024:
            refuse_pointer(path)


def refuse_damaged(root: Path) -> None:
    """Raise ModelError for a file of a model's folder that git-lfs left as a pointer, or for broken safetensors."""
    refuse_pointers(root)
    for path in sorted(root.glob("*.safetensors")):
        _stored(path)


def refuse_pointer(path: Path) -> None:
    """Raise ModelError if the file ``path`` is a pointer of git-lfs."""
    if text_files.is_pointer(path):
        raise ModelError(
            f"{path} is a pointer of git-lfs and not the file itself; run 'git lfs pull' in its folder, or fetch "
            "it from the hub."
        )


def read_json(path: Path) -> dict:
    """A JSON object; ModelError that names the file where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); fetch it again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; fetch it again.")
    return content


def _shards(index: Path) -> dict[str, Stored]:
    """The tensors of the files that an index names; ModelError for a file or a tensor that is absent."""
    places = read_json(index).get("weight_map")
    if not (isinstance(places, dict) and places):
        raise ModelError(f"{index} names no files of weights (weight_map); fetch it again.")
    files = [index.parent / name for name in sorted(set(map(str, places.values())))]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise ModelError(f"{index.parent} lacks weights: {index.name} {few('names', absent)}, absent; fetch them.")
    there = {name: stored for file in files for name, stored in _stored(file).items()}
    if lost := places.keys() - there.keys():
        raise ModelError(f"{index} {few('names', lost)}, which its files do not hold; fetch them again.")
    return there


def _stored(file: Path) -> dict[str, Stored]:
    if file.suffix != ".safetensors":
        return {
            name: Stored(_TYPES.get(value.dtype, str(value.dtype)), tuple(value.shape))
            for name, value in tensors(file).items()
        }
    from safetensors import safe_open

    with _whole_safetensors(file), safe_open(file, "pt") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
        return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


@contextmanager
def _whole_safetensors(path: Path) -> Iterator[None]:
    """Make a ModelError, which names the file, of what is wrong with safetensors that are read in the block."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}); fetch it again.") from None


_TYPES = {
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    **dict.fromkeys((torch.float8_e4m3fn, torch.float8_e5m2), "F8"),
}
"""What safetensors calls the types that `prh.models.load_reports` asks about."""


# ---- files of weights -----------------------------------------------------------------------------------------


def fill(model: nn.Module, path: Path, *, state: str | None = None, prefix: str = "", drop: str | None = None) -> None:
    """Put the weights of the file ``path`` into ``model``, in place; every weight of the model must be in the file.

    The file is safetensors, or PyTorch's without any code in it (``weights_only``). ``state``: key of the weights
    inside the file (None: the file is the weights). ``prefix``: what stands before the names that are wanted; others
    are left out. ``drop``: regular expression for whole names (after the prefix) to leave out. Raises ModelError for a
    file that cannot be read so, and for names or shapes that are not those of the model.
    """
    weights = _named(tensors(path, state), path, prefix, drop)
    wanted = model.state_dict()
    complaints = [
        few("misses", wanted.keys() - weights.keys()),
        few("has besides", weights.keys() - wanted.keys()),
        few("has in another shape", (n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape)),
    ]
    if any(complaints):
        raise ModelError(
            f"{path} does not fit {type(model).__name__}: it {', it '.join(filter(None, complaints))}; "
            "see 'checkpoint' and 'model_args' of the entry."
        )
    model.load_state_dict(weights, strict=True)


def tensors(path: Path, state: str | None = None) -> Mapping[str, Tensor]:
    """The named tensors of a file, or those under its key ``state``. Raises ModelError for any other file."""
    content = _read(path)
    if state is not None:
        if not (isinstance(content, Mapping) and isinstance(content.get(state), Mapping)):
            keys = few("keys are", map(str, content)) if isinstance(content, Mapping) else "no keys"
            raise ModelError(f"{path} holds no weights under checkpoint.state {state!r}; there {keys or 'are none'}.")
        content = content[state]
    if not (isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values())):
        keys = (
            few("its keys are", map(str, content))
            if isinstance(content, Mapping)
            else f"it is a {type(content).__name__}"
        )
        raise ModelError(
            f"{path} is not a mapping of names to tensors ({keys or 'it is empty'}); give checkpoint.state."
        )
    return content


def _read(path: Path) -> object:
    refuse_pointer(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        with _whole_safetensors(path):
            return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", 1)[0]
        raise ModelError(
            f"{path} holds more than weights, or is damaged, and is not opened since that could run code ({reason}); "
            "save its state_dict in a file of its own and give that as source 'local'."
        ) from None
    except (RuntimeError, EOFError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which seeking in half a file gives
            raise
        reason = str(error).split("\n", 1)[0]
        raise ModelError(f"{path} is not a whole PyTorch file ({reason}); fetch it again.") from None


def _named(weights: Mapping[str, Tensor], path: Path, prefix: str, drop: str | None) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix``, without it, less those that ``drop`` matches whole."""
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        raise ModelError(
            f"{path} has no weight whose name begins with {prefix!r} (checkpoint.prefix); {few('it has', weights)}."
        )
    return {name: value for name, value in found.items() if drop is None or not re.fullmatch(drop, name)}


def some(names: Iterable[str]) -> str:
    """A few of the names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{', '.join(listed[:_SHOWN])}{more}"


def few(verb: str, names: Iterable[str]) -> str:
    """A verb and a few of the names, or nothing where there are none."""
    shown = some(names)
    return f"{verb} {shown}" if shown else ""
