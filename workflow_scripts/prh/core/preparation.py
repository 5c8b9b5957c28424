"""Preparation of features for comparison: clamp outliers, scale rows to unit length, leave out constant layers.

A layer that is the same for all samples (the class token of an embedding layer, the last token of a fixed prompt)
contains nothing to compare: its neighbours are random, and its centred kernel is rounding error or 0 / 0. Such layers
are left out of every comparison and reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

OFFICIAL: dict[str, dict[str, object]] = {
    name: {"clamp": 0.95, "clamp_scope": "global", "normalise": True, **differing}
    for name, differing in {
        "official": {"quantile": "sample_mean"},
        "official_precise": {},
        "official_library": {"precision": "bfloat16"},
    }.items()
}
"""Arguments of ``prepare`` that reproduce the authors' code, by name of the preparation: see docs/parity.md."""


def preparation_arguments(settings: Mapping[str, object]) -> dict[str, object]:
    """Arguments of ``prepare`` for the settings of a comparison: those of the named preparation, else its own keys."""
    own = {key: settings[key] for key in ("clamp", "clamp_scope", "normalise")}
    return dict(OFFICIAL.get(str(settings["preparation"]), own))


_SMALLEST = 2.0**-126
"""The smallest normal number of float32."""
SAME = 1e-5
"""Rows that differ by less than this share of their length count as the same.

For equal inputs a forward pass yields equal features up to rounding. Measured differences in float32: 3e-7 over 12
layers of BERT with and without padding; 0 for a ViT, a MobileNet and a Llama in batches of 1, 3 and 16. So 1e-5 leaves
ample room for rounding. A real difference of that size would be invisible anyway: it changes cosines by 1e-10, a
thousandth of the last digit of float32.
"""


def prepare(
    x: Any,
    clamp: float | None = 0.95,
    normalise: bool = True,
    clamp_scope: Literal["layer", "global"] = "layer",
    quantile: Literal["exact", "sample_mean"] = "exact",
    precision: Precision = "float32",
    *,
    name: str = "x",
) -> Any:
    """Prepare features as in the paper: clamp outliers, then divide every row by its Euclidean norm.

    Parameters
    ----------
    x : floating [n, d], or a list of them
        One layer or all layers of a model, NumPy or torch.
    clamp : float, optional
        Quantile q in (0, 1] of the absolute values; larger values are clamped to it and keep their sign. None: no
        clamping.
    normalise : bool
        Divide rows by their norms, so that inner products are cosines.
    clamp_scope : {"layer", "global"}
        One quantile per layer, or one over all layers as the official code does for a tensor [n, L, d]. A global
        quantile clamps layers of different scale very differently, so "layer" is the safer choice.
    quantile : {"exact", "sample_mean"}
        "exact": element floor(q * count) of all values in ascending order, as in the official code with ``exact=True``.
        "sample_mean": the mean over samples of each sample's own (interpolated) quantile, as in the official code
        without ``exact``.
    precision : {"float32", "bfloat16"}
        "bfloat16": round values to bfloat16 before and after each step, as the official library does.
    name : str
        Name of a single layer in messages.

    Returns
    -------
    float32 [n, d], or a list of them
        NumPy or torch, like ``x``. Values are in [-1, 1] if normalised.

    Raises
    ------
    ValueError
        For integers, NaN, inf or a wrong shape; for a row of zeros, which has no direction; for a clamp that sets all
        values of sparse features to 0; and for an unknown setting.

    References
    ----------
    Huh et al. (2024), "The Platonic Representation Hypothesis", appendix A; docs/parity.md compares with their code.

    Examples
    --------
    >>> import numpy as np
    >>> from prh import prepare
    >>> x = prepare(np.random.default_rng(0).normal(size=(5, 3)).astype("float32"))
    >>> np.linalg.norm(x, axis=1).round(5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    import torch

    from prh.core.float32 import as_matrix

    require_settings(clamp, clamp_scope, quantile, precision)
    many = isinstance(x, (list, tuple))
    originals = x if many else [x]
    if not originals:
        raise ValueError("x is an empty list; pass at least one layer.")
    names = [f"layer {i}" if many else name for i in range(len(originals))]
    layers = [_rounded(as_matrix(a, label, device_of(a)), precision) for a, label in zip(originals, names, strict=True)]
    limits = _limits(layers, clamp, clamp_scope, quantile)
    parts = zip(layers, limits, names, strict=True)
    prepared = [_finish(a, limit, clamp, normalise, precision, label) for a, limit, label in parts]
    returned = [a if isinstance(b, torch.Tensor) else a.numpy() for a, b in zip(prepared, originals, strict=True)]
    return returned if many else returned[0]


def prepared_layers(
    layers: Iterable[tuple[str, np.ndarray]],
    clamp: float | None,
    normalise: bool,
    clamp_scope: Literal["layer", "global"],
    quantile: Literal["exact", "sample_mean"] = "exact",
    precision: Precision = "float32",
) -> Iterator[np.ndarray | None]:
    """Yield each (name, layer) of a model prepared as by ``prepare``; None for a layer that is constant over samples.

    A layer is constant if its rows are equal before preparation, or equal up to rounding after it (``is_constant``).
    Layers are processed one at a time, except that a global quantile needs all of them, constant ones included, in
    memory.
    """
    from prh.core.float32 import as_matrix

    require_settings(clamp, clamp_scope, quantile, precision)
    common = None
    if clamp_scope == "global":
        layers = list(layers)
        common = _limits([_rounded(as_matrix(a, name), precision) for name, a in layers], clamp, "global", quantile)[0]
    for name, layer in layers:
        a = _rounded(as_matrix(layer, name), precision)
        if bool((a == a[0]).all()):
            yield None
            continue
        limit = common if clamp_scope == "global" else _limits([a], clamp, "layer", quantile)[0]
        a = _finish(a, limit, clamp, normalise, precision, name)
        yield None if is_constant(a) else a.numpy()


def is_constant(layer: torch.Tensor) -> bool:
    """Whether all rows of a prepared layer [n, d] are equal up to rounding (``SAME``)."""
    return float((layer - layer[0]).norm(dim=1).max()) <= SAME * float(layer.norm(dim=1).max())


def require_settings(clamp: float | None, clamp_scope: str, quantile: str, precision: str) -> None:
    """Raise ValueError for a value that ``prepare`` does not accept."""
    if clamp is not None and not 0 < clamp <= 1:
        raise ValueError(f"clamp is {clamp}; it must be a quantile in (0, 1], or None for no clamping.")
    choices = {
        "clamp_scope": (clamp_scope, ("layer", "global")),
        "quantile": (quantile, ("exact", "sample_mean")),
        "precision": (precision, ("float32", "bfloat16")),
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            raise ValueError(f"{key} is {value!r}; it must be '{allowed[0]}' or '{allowed[1]}'.")


def device_of(*layers: Any) -> str:
    """The torch device of the first tensor among ``layers``; "cpu" if all are arrays."""
    return next((str(layer.device) for layer in layers if hasattr(layer, "is_cuda")), "cpu")


def _limits(layers: list[torch.Tensor], clamp: float | None, scope: str, quantile: str) -> list[float | None]:
    """The absolute value that each layer is clamped to; None for no clamping."""
    if clamp is None:
        return [None] * len(layers)
    limit = _quantile if quantile == "exact" else _mean_of_sample_quantiles
    return [limit([a], clamp) for a in layers] if scope == "layer" else [limit(layers, clamp)] * len(layers)


def _quantile(layers: list[torch.Tensor], q: float) -> float:
    """Element floor(q * count) of the sorted absolute values of all layers."""
    import torch

    magnitudes = torch.cat([layer.abs().flatten() for layer in layers])
    rank = min(int(q * len(magnitudes)), len(magnitudes) - 1)
    if magnitudes.is_cuda:
        return float(magnitudes.kthvalue(rank + 1).values)
    return float(np.partition(magnitudes.numpy(), rank)[rank])


def _mean_of_sample_quantiles(layers: list[torch.Tensor], q: float) -> float:
    """Mean over samples of the interpolated quantile of each sample's absolute values in all layers."""
    import torch

    per_sample = [
        torch.quantile(torch.cat([layer[rows].abs() for layer in layers], dim=1), q, dim=1)
        for rows in torch.arange(len(layers[0]), device=layers[0].device).split(64)
    ]
    return float(torch.cat(per_sample).mean())


def _finish(
    layer: torch.Tensor,
    limit: float | None,
    clamp: float | None,
    normalise: bool,
    precision: str,
    name: str,
) -> torch.Tensor:
    """Clamp and normalise one layer, without modifying the caller's array."""
    if limit is not None:
        _require_something_left(layer, limit, clamp, name)
        layer = _rounded(layer.clamp(-limit, limit), precision)
    elif not normalise and precision == "float32":
        layer = layer.clone()
    return _unit_rows(layer, name, precision) if normalise else layer


def _require_something_left(layer: torch.Tensor, limit: float, clamp: float | None, name: str) -> None:
    """Raise ValueError if clamping sets every value to 0, as happens to sparse features whose quantile is 0."""
    if limit > 0 or not bool(layer.any()):
        return
    zeros = float((layer == 0).double().mean())
    raise ValueError(
        f"{name}: clamp = {clamp} would set every value to 0, because {zeros:.1%} of the values are 0 already "
        "(features after a ReLU are sparse); raise clamp above that share, or set it to null."
    )


def _unit_rows(layer: torch.Tensor, name: str, precision: str) -> torch.Tensor:
    norms = layer.norm(dim=1, keepdim=True)
    if not bool(((norms > 0) & norms.isfinite()).all()):  # squared values overflow or underflow in float32
        layer = layer / layer.abs().amax(dim=1, keepdim=True).clamp_min(_SMALLEST)
        norms = layer.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        row = int((norms == 0).flatten().nonzero()[0])
        raise ValueError(
            f"{name}: row {row} is all zeros and has no direction; drop that sample or set normalise=False."
        )
    if precision == "bfloat16":
        coarse = layer.bfloat16()
        return (coarse / coarse.norm(dim=1, keepdim=True)).float()
    return layer / norms


def _rounded(layer: torch.Tensor, precision: str) -> torch.Tensor:
    return layer.bfloat16().float() if precision == "bfloat16" else layer
