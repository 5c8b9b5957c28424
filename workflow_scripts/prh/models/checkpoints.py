"""Checkpoints written by others: weight files are checked for damage and loaded strictly into an architecture."""

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
"""Weight files of a transformers folder, in the order in which transformers looks for them."""
_OTHER_FORMS = {"*.gguf": "GGUF", "*.msgpack": "Flax", "*.h5": "TensorFlow", "*.ckpt*": "TensorFlow", "*.onnx": "ONNX"}


class Stored(NamedTuple):
    """A tensor in a file: its dtype as safetensors spells it (F32, BF16, I8 ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


# ---- folders --------------------------------------------------------------------------------------------------


def stored_tensors(root: Path) -> dict[str, Stored]:
    """The weight tensors in a transformers folder, by name. Of safetensors files only the headers are read.

    Raises ModelError, naming the file, if weights are missing (a shard, or all but an adapter), are git-lfs pointers,
    are truncated or damaged, or if a file holds anything but tensors.
    """
    refuse_pointers(root)
    if (root / "adapter_config.json").is_file():
        raise ModelError(
            f"{root} holds a PEFT adapter (adapter_config.json), which would be left out: merge it into its base model "
            "(merge_and_unload), save that, and give its folder."
        )
    name = next((name for name in _WEIGHTS if (root / name).is_file()), None)
    if name is None:
        present = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        form = next((form for end, form in _OTHER_FORMS.items() if any(root.glob(end))), None)
        other = f"; weights of {form} are not read" if form else ""
        raise ModelError(f"{root} has no weights ({_WEIGHTS[0]} or {_WEIGHTS[2]}){other}; {few('it has', present)}.")
    return _shards(root / name) if name.endswith(".json") else _stored(root / name)


def refuse_pointers(root: Path) -> None:
    """Raise ModelError, naming the file, if a file in a model's folder is a git-lfs pointer."""
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_file() and path.stat().st_size < 1024:
            refuse_pointer(path)


def refuse_damaged(root: Path) -> None:
    """Raise ModelError, naming the file, if a model's folder has a git-lfs pointer or a broken safetensors file."""
    refuse_pointers(root)
    for path in sorted(root.glob("*.safetensors")):
        _stored(path)


def refuse_pointer(path: Path) -> None:
    """Raise ModelError if the file ``path`` is a git-lfs pointer."""
    if text_files.is_pointer(path):
        raise ModelError(
            f"{path} is a pointer of git-lfs and not the file itself; run 'git lfs pull' in its folder, or fetch "
            "it from the hub."
        )


def read_json(path: Path) -> dict:
    """The JSON object in a file. Raises ModelError, naming the file, if it holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}); fetch it again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object; fetch it again.")
    return content


def _shards(index: Path) -> dict[str, Stored]:
    """The tensors in the files that an index lists. Raises ModelError if a file or a tensor is missing."""
    file_names = read_json(index).get("weight_map")
    if not (isinstance(file_names, dict) and file_names):
        raise ModelError(f"{index} lists no weight files (weight_map); fetch it again.")
    files = [index.parent / name for name in sorted(set(map(str, file_names.values())))]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise ModelError(f"{index.parent} lacks weight files that {index.name} lists: {some(absent)}; fetch them.")
    held = {name: stored for file in files for name, stored in _stored(file).items()}
    if lost := file_names.keys() - held.keys():
        raise ModelError(f"{index} {few('lists', lost)}, which its files do not hold; fetch them again.")
    return held


def _stored(file: Path) -> dict[str, Stored]:
    if file.suffix != ".safetensors":
        return {
            name: Stored(_TYPES.get(value.dtype, str(value.dtype)), tuple(value.shape))
            for name, value in tensors(file).items()
        }
    from safetensors import safe_open

    with _whole_safetensors(file), safe_open(file, "pt") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


@contextmanager
def _whole_safetensors(path: Path) -> Iterator[None]:
    """Turn an error of safetensors inside the block into a ModelError that names the file."""
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
"""The names that safetensors has for the integer and 8-bit types that `prh.models.load_reports` refuses."""


# ---- files of weights -----------------------------------------------------------------------------------------


def fill(model: nn.Module, path: Path, *, state: str | None = None, prefix: str = "", drop: str | None = None) -> None:
    """Load the weights in the file ``path`` into ``model``, in place; every weight of the model must be in the file.

    The file is safetensors, or a PyTorch file that holds no code (``weights_only``). ``state``: key of the weights
    inside the file (None: the file is the weights). ``prefix``: only names that begin with it are loaded, without it.
    ``drop``: regular expression for full names (without the prefix) to leave out. Raises ModelError if the file cannot
    be read, or its names or shapes are not those of the model.
    """
    weights = _named(tensors(path, state), path, prefix, drop)
    wanted = model.state_dict()
    complaints = [
        few("lacks", wanted.keys() - weights.keys()),
        few("also has", weights.keys() - wanted.keys()),
        few(
            "has the wrong shape for",
            (n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape),
        ),
    ]
    if any(complaints):
        raise ModelError(
            f"{path} does not fit {type(model).__name__}: it {', it '.join(filter(None, complaints))}; "
            "see 'checkpoint' and 'model_args' of the entry."
        )
    model.load_state_dict(weights, strict=True)


def tensors(path: Path, state: str | None = None) -> Mapping[str, Tensor]:
    """The named tensors in a file, or those under its key ``state``. Raises ModelError if there are none."""
    content = _read(path)
    if state is not None:
        if not (isinstance(content, Mapping) and isinstance(content.get(state), Mapping)):
            keys = few("its keys are", map(str, content)) if isinstance(content, Mapping) else ""
            raise ModelError(f"{path} holds no weights under checkpoint.state {state!r}; {keys or 'it has no keys'}.")
        content = content[state]
    if not (isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values())):
        keys = (
            few("its keys are", map(str, content))
            if isinstance(content, Mapping)
            else f"it is a {type(content).__name__}"
        )
        raise ModelError(
            f"{path} is not a mapping of names to tensors ({keys or 'it is empty'}); set checkpoint.state."
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
            f"{path} holds more than weights, or is damaged, and is not opened because that could run code ({reason}); "
            "save its state_dict in a file of its own and use that with source 'local'."
        ) from None
    except (RuntimeError, EOFError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL comes from seeking in a truncated file
            raise
        reason = str(error).split("\n", 1)[0]
        raise ModelError(f"{path} is not a whole PyTorch file ({reason}); fetch it again.") from None


def _named(weights: Mapping[str, Tensor], path: Path, prefix: str, drop: str | None) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix``, without it, except those whose full name matches ``drop``."""
    kept = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if not kept:
        raise ModelError(
            f"{path} has no weight whose name begins with {prefix!r} (checkpoint.prefix); {few('it has', weights)}."
        )
    return {name: value for name, value in kept.items() if drop is None or not re.fullmatch(drop, name)}


def some(names: Iterable[str]) -> str:
    """The first few of the names, and how many more there are, for a message."""
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{', '.join(listed[:_SHOWN])}{more}"


def few(verb: str, names: Iterable[str]) -> str:
    """A verb and the first few of the names; an empty string if there are none."""
    shown = some(names)
    return f"{verb} {shown}" if shown else ""
