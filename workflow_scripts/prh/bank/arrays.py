"""What is scored, as a representation: arrays are checked, put in the bank's order and prepared like its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from prh.bank.rows import order_of
from prh.core.metrics import Representation
from prh.core.preparation import prepared_layers


def as_representation(
    value: Any,
    samples: Sequence[str],
    preparation: Mapping[str, Any],
    *,
    sample_ids: Iterable[object] | None = None,
    name: str = "mine",
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> Representation:
    """Arrays, or a ready `Representation`, on the samples of a bank in its order.

    Parameters
    ----------
    value : array [n, d], sequence or mapping of them, or Representation
        One layer, or the layers in order. A Representation counts as prepared and keeps its name.
    samples : sequence of str
        The bank's sample ids.
    preparation : mapping
        Arguments of `prh.prepare` that the bank's models were prepared with.
    sample_ids, name, device, memory_gb
        See `prh.score`.

    Raises
    ------
    ValueError
        For anything but floating [n, d] without NaN, layers with different n, and rows that are not the bank's samples.
    """
    if isinstance(value, Representation):
        return _reordered(value, order_of(samples, sample_ids, value.n, value.name))
    layers = _named(value, name)
    counts = {label: _rows(layer, label) for label, layer in layers.items()}
    n = next(iter(counts.values()))
    for label, count in counts.items():
        if count != n:
            raise ValueError(f"{label} has {count:,} rows and {next(iter(counts))} {n:,}; all layers need the same.")
    order = order_of(samples, sample_ids, n, name)
    in_order = ((label, layer if order is None else layer[order]) for label, layer in layers.items())
    prepared = list(prepared_layers(in_order, **preparation))
    precision = preparation.get("precision", "float32")
    return Representation(name, prepared, device=device, memory_gb=memory_gb, precision=precision)


def _reordered(value: Representation, order: np.ndarray | None) -> Representation:
    if order is None:
        return value
    return value.reordered(order) if len(order) == value.n else value.subset(order)


def _named(value: Any, name: str) -> dict[str, Any]:
    """Layers by their names in messages."""
    if isinstance(value, Mapping):
        layers = {f"{name}, layer {key}": layer for key, layer in value.items()}
    elif isinstance(value, list | tuple):
        layers = {f"{name}, layer {number}": layer for number, layer in enumerate(value)}
    else:
        layers = {name: value}
    if not layers:
        raise ValueError(f"{name} has no layers; pass at least one array [n, d].")
    return {label: _as_array(layer, label) for label, layer in layers.items()}


def _as_array(layer: Any, label: str) -> Any:
    """A NumPy array or a torch tensor without gradient; ValueError for anything that is no numbers."""
    if hasattr(layer, "detach"):
        array = layer.detach()
        is_complex = array.is_complex()
    else:
        try:
            array = np.asarray(layer)
        except ValueError:  # rows of different lengths
            raise ValueError(f"{label} is no array: its rows differ in length; pass [n, d].") from None
        if array.dtype.kind not in "fiubc":
            raise ValueError(f"{label} holds {_kind(layer, array)}; pass floating numbers [n, d], or a list of layers.")
        is_complex = array.dtype.kind == "c"
    if is_complex:
        raise ValueError(f"{label} holds complex numbers; pass real ones, such as their real and imaginary parts.")
    return array


def _kind(layer: Any, array: np.ndarray) -> str:
    return f"a {type(layer).__name__}" if array.dtype.kind == "O" and array.ndim == 0 else str(array.dtype)


def _rows(layer: Any, label: str) -> int:
    if layer.ndim != 2:
        raise ValueError(f"{label} has shape {list(layer.shape)}; it must be [n, d], one row per sample.")
    return len(layer)
