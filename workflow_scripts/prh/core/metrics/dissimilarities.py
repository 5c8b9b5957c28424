"""Representational similarity analysis: do two models agree on how dissimilar each pair of samples is?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.packed_matrices import cosines, move_packed, packed, unit_rows

if TYPE_CHECKING:
    import torch


@metric(
    summary="Spearman correlation of dissimilarities",
    needs="kernel",
    symmetric=True,
    bounded=True,
    chance=lambda k, n: 0.0,
)
def rsa(x: Representation, y: Representation, compare: Literal["spearman", "pearson"] = "spearman") -> np.ndarray:
    """Representational similarity analysis: correlation of the dissimilarities of all pairs of samples in two models.

    The dissimilarity of two samples is 1 minus the Pearson correlation of their features. It depends on the axes: the
    score is not invariant to rotation. Where a model has kernels instead, it is (K_ii + K_jj) / 2 - K_ij, which is the
    same for a kernel of correlations, and the given dissimilarity where the kernel was made of one.

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
    """Centred dissimilarities of all pairs of samples, or their ranks, packed: float32 [L, n (n + 1) / 2].

    They are correlation distances of features; of a kernel they are half its squared distances.
    """
    import torch
    from scipy.stats import rankdata

    i, j = torch.triu_indices(x.n, x.n, 1, device=x.device)
    distances = (
        (_of_kernel(kernel, i, j) for kernel in x.kernels)
        if x.has_kernels
        else (_of_features(layer, i, j, f"{x.name}, layer {number}") for number, layer in enumerate(x.layers))
    )

    def standardised(values: torch.Tensor) -> torch.Tensor:
        if compare == "spearman":
            values = torch.as_tensor(rankdata(values.cpu().numpy()), device=x.device)
        matrix = torch.zeros((x.n, x.n), dtype=values.dtype, device=x.device)
        matrix[i, j] = values - values.mean()
        return matrix

    return unit_rows(packed(x, map(standardised, distances)))


def _of_features(layer: torch.Tensor, i: torch.Tensor, j: torch.Tensor, name: str) -> torch.Tensor:
    """Correlation distances of the pairs of samples (i, j): float64 [pairs]."""
    constant = (layer == layer[:, :1]).all(dim=1)
    if bool(constant.any()):
        raise ValueError(
            f"{name}: row {int(constant.nonzero()[0])} is constant, so its correlation "
            "with others is undefined; leave out the layer or the sample, or use another metric than rsa."
        )
    layer = layer.double()
    layer = layer - layer.mean(dim=1, keepdim=True)
    norms = layer.norm(dim=1, keepdim=True)
    correlations = (layer / norms) @ (layer / norms).T
    return 1 - correlations[i, j].round(decimals=7)  # restores ties that rounding has broken


def _of_kernel(kernel: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    """Half the squared distances of the pairs of samples (i, j), 1 - r for a kernel of correlations: float64 [pairs].

    They are rounded to 7 digits of the largest one, or less if the kernel itself holds less, which restores ties.
    """
    import torch

    own = kernel.diagonal().double()
    halved = (own[i] + own[j]) / 2 - kernel[i, j]
    step = max(1e-7 * float(halved.abs().max()), 4 * torch.finfo(kernel.dtype).eps * float(kernel.abs().max()))
    return halved.round(decimals=-round(math.log10(step)))
