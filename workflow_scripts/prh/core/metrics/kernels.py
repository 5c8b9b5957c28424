"""Kernels of the layers of a model, as the metrics need them: linear or Gaussian, centred or U-centred."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.core.metrics.packed_matrices import move_packed, packed, unit_rows
from prh.core.metrics.representation import Representation, movable

if TYPE_CHECKING:
    import torch


def centred(x: Representation) -> Iterator[torch.Tensor]:
    """Layers minus their column means: float32 [n, d_l]. Not cached, since they are cheap but large."""
    return (layer - layer.double().mean(dim=0).float() for layer in x.layers)


@movable(lambda layers, order: [layer[order] for layer in layers])
def unit_layers(x: Representation) -> list[torch.Tensor]:
    """Centred layers of unit Frobenius norm: float32 [n, d_l]. Cached, because every layer pair uses them."""
    return [layer / layer.norm() for layer in centred(x)]


@movable(move_packed)
def linear_kernels(x: Representation) -> torch.Tensor:
    """Centred linear kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return unit_rows(packed(x, (layer @ layer.T for layer in centred(x))))


@movable(move_packed)
def u_centred_kernels(x: Representation) -> torch.Tensor:
    """U-centred linear kernels (no diagonal, rows that sum to 0), packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return unit_rows(packed(x, (u_centred(layer).fill_diagonal_(0) for layer in centred(x))))


@movable(move_packed)
def rbf_kernels(x: Representation, sigma: float) -> torch.Tensor:
    """Centred Gaussian kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""

    def kernel(layer: torch.Tensor) -> torch.Tensor:
        squared = layer.square().sum(dim=1)
        distances = (squared[:, None] + squared - 2 * layer @ layer.T).clamp(min=0).fill_diagonal_(0)
        K = (distances / (-2 * sigma**2)).expm1()  # exp(x) - 1 keeps digits near 1, and centring removes the constant
        means = K.mean(dim=0)
        return K - means - means[:, None] + means.mean()

    return unit_rows(
        packed(x, (kernel(layer) for layer in centred(x)))
    )  # centred features have the same distances and lose fewer digits


def u_centred(layer: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """Rows of the U-centred kernel of centred features: float32 [rows, n]. Its diagonal is not set to 0.

    U-centring subtracts the row and column sums of the kernel without its diagonal, divided by n - 2. Rows of a centred
    kernel sum to 0, so without the diagonal they sum to minus the squared norm of the sample.
    """
    n, squared = len(layer), layer.square().sum(dim=1)
    return layer[rows] @ layer.T + (squared[rows, None] + squared) / (n - 2) - squared.sum() / ((n - 1) * (n - 2))


def require_four(x: Representation) -> None:
    """Raise ValueError unless x has the 4 samples that the unbiased HSIC needs."""
    if x.n < 4:
        raise ValueError(f"{x.name} has {x.n} samples; the unbiased HSIC needs at least 4.")
