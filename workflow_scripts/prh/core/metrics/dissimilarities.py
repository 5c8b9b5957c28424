"""Representational similarity analysis: do two models agree about how unlike every two samples are?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.packed_matrices import cosines, move_packed, packed, unit_rows

if TYPE_CHECKING:
    import torch


@metric(
    summary="Spearman correlation of dissimilarities",
    needs="features",
    symmetric=True,
    bounded=True,
    chance=lambda k, n: 0.0,
)
def rsa(x: Representation, y: Representation, compare: Literal["spearman", "pearson"] = "spearman") -> np.ndarray:
    """Representational similarity analysis: correlation of the two models' dissimilarities of all pairs of samples.

    Two arrays [n, d], rows paired, n >= 3, d >= 2. Dissimilarity is 1 - the Pearson correlation of two samples'
    features (so it depends on the axes: not invariant to rotation). ``compare``: "spearman" (of ranks, the mean rank
    for ties) or "pearson". Returns a float in [-1, 1]. Source: Kriegeskorte, Mur and Bandettini (2008),
    "Representational similarity analysis".
    """
    if compare not in ("spearman", "pearson"):
        raise ValueError(f"compare is {compare!r}; it must be 'spearman' or 'pearson'.")
    if x.n < 3:
        raise ValueError(f"{x.name} has {x.n} samples; rsa correlates the dissimilarities of at least 3.")
    return cosines(x.state(dissimilarities, compare), y.state(dissimilarities, compare))


variant("rsa_pearson", rsa, compare="pearson", summary="Pearson correlation of dissimilarities", symmetric=True,
bounded=True)  # fmt: skip


@movable(move_packed)
def dissimilarities(x: Representation, compare: str) -> torch.Tensor:
    """Correlation distances of all pairs of samples, or their ranks, centred, packed: float32 [L, n (n + 1) / 2]."""
    import torch
    from scipy.stats import rankdata

    i, j = torch.triu_indices(x.n, x.n, 1, device=x.device)

    def standardised(number: int, layer: torch.Tensor) -> torch.Tensor:
        constant = (layer == layer[:, :1]).all(dim=1)
        if bool(constant.any()):
            raise ValueError(
                f"{x.name}, layer {number}: row {int(constant.nonzero()[0])} is constant, so its correlation "
                "with others is not a number; leave the layer or the sample out, or take another metric than rsa."
            )
        layer = layer.double()
        layer = layer - layer.mean(dim=1, keepdim=True)
        norms = layer.norm(dim=1, keepdim=True)
        correlations = (layer / norms) @ (layer / norms).T
        values = 1 - correlations[i, j].round(decimals=7)  # what rounding made different is a tie again
        if compare == "spearman":
            values = torch.as_tensor(rankdata(values.cpu().numpy()), device=x.device)
        matrix = torch.zeros_like(correlations)
        matrix[i, j] = values - values.mean()
        return matrix

    return unit_rows(packed(x, (standardised(*numbered) for numbered in enumerate(x.layers))))
