"""Features as they are compared: outliers clamped, rows of unit length, layers without a difference left out.

Layers that say the same of every sample (a class token in an embedding layer, the last token of a fixed prompt) hold
nothing to compare: neighbours among equal samples are drawn by lot, and a centred kernel is rounding or 0 / 0. They
are left out of every comparison, and named.
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
"""Arguments of ``prepare`` as the authors' code has them: see docs/parity.md."""


def preparation_arguments(settings: Mapping[str, object]) -> dict[str, object]:
    """Arguments of ``prepare`` from the settings of a comparison: their own, or those of the preparation they name."""
    own = {key: settings[key] for key in ("clamp", "clamp_scope", "normalise")}
    return dict(OFFICIAL.get(str(settings["preparation"]), own))


_SMALLEST = 2.0**-126
"""The smallest normal number of float32."""
SAME = 1e-5
"""Rows are the same that differ by less than this share of their length.

Of the same input a pass makes the same features but for rounding: measured in float32 over 12 layers of BERT, 3e-7 with
and without padding; 0 for a ViT, a MobileNet and a Llama in batches of 1, 3 and 16. So 1e-5 is rounding with room to
spare. As a real difference it could hardly be seen: cosines then differ by 1e-10, a thousandth of float32's last digit.
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
    """Features as the paper compares them: outliers clamped, then every row divided by its Euclidean norm.

    Parameters
    ----------
    x : floating [n, d], or a list of them
        One layer or all layers of a model, NumPy or torch.
    clamp : float, optional
        Quantile q of the absolute values; what is beyond it is set to it, sign kept. None: no clamping.
    normalise : bool
        Divide rows by their norms, so that inner products are cosines.
    clamp_scope : {"layer", "global"}
        A quantile per layer, or one over all layers together as the official code takes it for a tensor [n, L, d].
        Layers of different scale then lose very different parts: "layer" is the safer choice.
    quantile : {"exact", "sample_mean"}
        "exact": the element at place floor(q * count) of all values in ascending order, as in the official code with
        ``exact=True``. "sample_mean": the mean over samples of each sample's own quantile (interpolated), as in the
        official code without it.
    precision : {"float32", "bfloat16"}
        "bfloat16": values are rounded to bfloat16 before and after each step, as the official library does.
    name : str
        What a single layer is called in messages.

    Returns
    -------
    float32 [n, d], or a list of them
        Of the same kind as ``x``, array or tensor.

    Raises
    ------
    ValueError
        Integers, NaN, inf, a wrong shape, a row of zeros, which has no direction, or a clamp that leaves nothing of
        sparse features.

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
    given = x if many else [x]
    if not given:
        raise ValueError("x is an empty list; give one layer at least.")
    names = [f"layer {i}" if many else name for i in range(len(given))]
    layers = [_rounded(as_matrix(a, label, device_of(a)), precision) for a, label in zip(given, names, strict=True)]
    limits = _limits(layers, clamp, clamp_scope, quantile)
    parts = zip(layers, limits, names, strict=True)
    done = [_finish(a, limit, clamp, normalise, precision, label) for a, limit, label in parts]
    done = [a if isinstance(b, torch.Tensor) else a.numpy() for a, b in zip(done, given, strict=True)]
    return done if many else done[0]


def prepared_layers(
    layers: Iterable[tuple[str, np.ndarray]],
    clamp: float | None,
    normalise: bool,
    clamp_scope: Literal["layer", "global"],
    quantile: Literal["exact", "sample_mean"] = "exact",
    precision: Precision = "float32",
) -> Iterator[np.ndarray | None]:
    """``prepare`` on the (name, layer) of a model, one at a time; None for each layer that is the same for all samples.

    It is the same before preparation (all rows equal) or after it (``is_constant``). A quantile over all layers looks
    at these too, and takes all layers into memory.
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
    """Whether the rows of a prepared layer [n, d] are the same but for rounding: see ``SAME``."""
    return float((layer - layer[0]).norm(dim=1).max()) <= SAME * float(layer.norm(dim=1).max())


def require_settings(clamp: float | None, clamp_scope: str, quantile: str, precision: str) -> None:
    """Raise ValueError for a setting that ``prepare`` does not know."""
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
    """The torch device of the first of ``layers`` that lies on one, as products are taken there; "cpu" for arrays."""
    return next((str(layer.device) for layer in layers if hasattr(layer, "is_cuda")), "cpu")


def _limits(layers: list[torch.Tensor], clamp: float | None, scope: str, quantile: str) -> list[float | None]:
    """The largest absolute value that each layer may keep; None for no limit."""
    if clamp is None:
        return [None] * len(layers)
    of = _quantile if quantile == "exact" else _mean_of_sample_quantiles
    return [of([a], clamp) for a in layers] if scope == "layer" else [of(layers, clamp)] * len(layers)


def _quantile(layers: list[torch.Tensor], q: float) -> float:
    """The element at place floor(q * count) of the sorted absolute values of all layers."""
    import torch

    magnitudes = torch.cat([layer.abs().flatten() for layer in layers])
    place = min(int(q * len(magnitudes)), len(magnitudes) - 1)
    if magnitudes.is_cuda:
        return float(magnitudes.kthvalue(place + 1).values)
    return float(np.partition(magnitudes.numpy(), place)[place])


def _mean_of_sample_quantiles(layers: list[torch.Tensor], q: float) -> float:
    """The mean over samples of the interpolated quantile of a sample's absolute values in all layers."""
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
    """Clamp and normalise one layer; never in memory that is the caller's."""
    if limit is not None:
        _require_something_left(layer, limit, clamp, name)
        layer = _rounded(layer.clamp(-limit, limit), precision)
    elif not normalise and precision == "float32":
        layer = layer.clone()
    return _unit_rows(layer, name, precision) if normalise else layer


def _require_something_left(layer: torch.Tensor, limit: float, clamp: float | None, name: str) -> None:
    """Sparse features, as after a ReLU: where most values are 0, the quantile is 0, and clamping there empties rows."""
    if limit > 0 or not bool(layer.any()):
        return
    zeros = float((layer == 0).double().mean())
    raise ValueError(
        f"{name}: the clamp empties every row, as {zeros:.1%} of the values are 0 and so is the quantile {clamp} of "
        "their sizes (features after a ReLU are sparse); raise clamp above that share, or set it to null."
    )


def _unit_rows(layer: torch.Tensor, name: str, precision: str) -> torch.Tensor:
    norms = layer.norm(dim=1, keepdim=True)
    if not bool(((norms > 0) & norms.isfinite()).all()):  # squares beyond float32, or below it
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
