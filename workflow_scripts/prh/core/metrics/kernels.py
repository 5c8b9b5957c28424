"""Kernels of the layers of a model, as metrics of similarity need them: centred, U-centred or Gaussian."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.core.metrics.packed_matrices import move_packed, packed, unit_rows
from prh.core.metrics.representation import Representation, movable

if TYPE_CHECKING:
    import torch


def centred(x: Representation) -> Iterator[torch.Tensor]:
    """Layers with their column means taken off: float32 [n, d_l]. Cheap, and as large as the layers: not kept."""
    return (layer - layer.double().mean(dim=0).float() for layer in x.layers)


@movable(lambda layers, order: [layer[order] for layer in layers])
def unit_layers(x: Representation) -> list[torch.Tensor]:
    """Centred layers of unit Frobenius norm, float32 [n, d_l]: as large as the layers, and used for every pair."""
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
        K = (distances / (-2 * sigma**2)).expm1()  # centring takes any constant off; expm1 keeps the digits near 1
        means = K.mean(dim=0)
        return K - means - means[:, None] + means.mean()

    return unit_rows(packed(x, (kernel(layer) for layer in centred(x))))  # centring keeps distances, and their digits


def u_centred(layer: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """Rows of the U-centred kernel of centred features (its diagonal is not set to 0): float32 [rows, n].

    U-centring takes the row means of the kernel without its diagonal off, all over n - 2. Rows of the centred kernel
    sum to 0 with the diagonal, so without it to minus the squared norm of the sample.
    """
    n, squared = len(layer), layer.square().sum(dim=1)
    return layer[rows] @ layer.T + (squared[rows, None] + squared) / (n - 2) - squared.sum() / ((n - 1) * (n - 2))


def require_four(x: Representation) -> None:
    if x.n < 4:
        raise ValueError(f"{x.name} has {x.n} samples; the unbiased HSIC needs at least 4.")
