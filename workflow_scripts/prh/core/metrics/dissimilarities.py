"""Representational similarity analysis: do two models agree on how dissimilar each pair of samples is?"""

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
    """Representational similarity analysis: correlation of the dissimilarities of all pairs of samples in two models.

    The dissimilarity of two samples is 1 minus the Pearson correlation of their features. It depends on the axes: the
    score is not invariant to rotation.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples; n >= 3, d >= 2.
    compare : {"spearman", "pearson"}
        Correlation of the dissimilarities: "spearman" of their ranks (ties get the mean rank), or "pearson".

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [-1, 1]; about 0 for unrelated representations.

    Raises
    ------
    ValueError
        For fewer than 3 samples, a sample whose features are all equal, or an unknown ``compare``.

    References
    ----------
    Kriegeskorte, Mur and Bandettini (2008), "Representational similarity analysis".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(rsa(x, 2 * x + 1), 6)
    1.0
    """
    if compare not in ("spearman", "pearson"):
        raise ValueError(f"compare is {compare!r}; it must be 'spearman' or 'pearson'.")
    if x.n < 3:
        raise ValueError(f"{x.name} has {x.n} samples; rsa needs at least 3.")
    return cosines(x.state(dissimilarities, compare), y.state(dissimilarities, compare))


variant("rsa_pearson", rsa, compare="pearson", summary="Pearson correlation of dissimilarities", symmetric=True,
bounded=True)  # fmt: skip


@movable(move_packed)
def dissimilarities(x: Representation, compare: str) -> torch.Tensor:
    """Centred correlation distances of all pairs of samples, or their ranks, packed: float32 [L, n (n + 1) / 2]."""
    import torch
    from scipy.stats import rankdata

    i, j = torch.triu_indices(x.n, x.n, 1, device=x.device)

    def standardised(number: int, layer: torch.Tensor) -> torch.Tensor:
        constant = (layer == layer[:, :1]).all(dim=1)
        if bool(constant.any()):
            raise ValueError(
                f"{x.name}, layer {number}: row {int(constant.nonzero()[0])} is constant, so its correlation "
                "with others is undefined; leave out the layer or the sample, or use another metric than rsa."
            )
        layer = layer.double()
        layer = layer - layer.mean(dim=1, keepdim=True)
        norms = layer.norm(dim=1, keepdim=True)
        correlations = (layer / norms) @ (layer / norms).T
        values = 1 - correlations[i, j].round(decimals=7)  # restores ties that rounding has broken
        if compare == "spearman":
            values = torch.as_tensor(rankdata(values.cpu().numpy()), device=x.device)
        matrix = torch.zeros_like(correlations)
        matrix[i, j] = values - values.mean()
        return matrix

    return unit_rows(packed(x, (standardised(*numbered) for numbered in enumerate(x.layers))))
