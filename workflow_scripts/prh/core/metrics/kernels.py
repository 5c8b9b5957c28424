"""Kernels of the layers of a model, as the metrics need them: linear or Gaussian, centred or U-centred.

Where a model has features, they are centred before they are multiplied, which loses fewer digits than centring their
kernel. Where it has kernels instead, these are centred in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prh.core.metrics.packed_matrices import move_packed, packed, unit_rows
from prh.core.metrics.representation import Representation, movable
from prh.core.neighbour_lists import tiled

if TYPE_CHECKING:
    import torch


def centred(x: Representation) -> Iterator[torch.Tensor]:
    """Layers minus their column means: float32 [n, d_l]. Not cached, since they are cheap but large."""
    return (layer - layer.double().mean(dim=0).float() for layer in x.layers)


@movable(lambda layers, order: [layer[order] for layer in layers])
def unit_layers(x: Representation) -> list[torch.Tensor]:
    """Centred layers of unit Frobenius norm: float32 [n, d_l]. Cached, because every layer pair uses them."""
    return [layer / layer.norm() for layer in centred(x)]


def centred_kernels(x: Representation) -> Iterator[torch.Tensor]:
    """Centred linear kernels, whose rows sum to 0: [n, n], float64 if x has kernels, else float32."""
    if x.has_kernels:
        return (_centred_rows(kernel)(slice(None)) for kernel in x.kernels)
    return (layer @ layer.T for layer in centred(x))


@movable(move_packed)
def linear_kernels(x: Representation) -> torch.Tensor:
    """Centred linear kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return unit_rows(packed(x, centred_kernels(x)))


@movable(move_packed)
def u_centred_kernels(x: Representation) -> torch.Tensor:
    """U-centred linear kernels (no diagonal, rows that sum to 0), packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return unit_rows(packed(x, (rows(slice(None)).fill_diagonal_(0) for rows in kernel_rows(x, "centred"))))


@movable(move_packed)
def rbf_kernels(x: Representation, sigma: float) -> torch.Tensor:
    """Centred Gaussian kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""

    def kernel(distances: torch.Tensor) -> torch.Tensor:
        K = (distances / (-2 * sigma**2)).expm1()  # exp(x) - 1 keeps digits near 1, and centring removes the constant
        means = K.mean(dim=0)
        return K - means - means[:, None] + means.mean()

    return unit_rows(packed(x, (kernel(distances) for distances in squared_distances(x))))


def squared_distances(x: Representation) -> Iterator[torch.Tensor]:
    """Squared distances of all pairs of samples: [n, n], float64 if x has kernels, else float32.

    Raises ValueError for a kernel in which samples are more similar to each other than to themselves, since no features
    have such a kernel.
    """
    if x.has_kernels:
        for place, kernel in zip(x.places, x.kernels, strict=True):
            yield _distances_of(kernel, f"{x.name}, layer {x.numbers[place]}")
        return
    for layer in centred(x):  # centred features have the same distances and lose fewer digits
        squared = layer.square().sum(dim=1)
        yield (squared[:, None] + squared - 2 * layer @ layer.T).clamp(min=0).fill_diagonal_(0)


def kernel_rows(x: Representation, centring: str) -> Iterator[Callable[[slice], torch.Tensor]]:
    """For each layer a function that computes some rows of its kernel: [rows, n], not cached.

    ``centring`` is "centred" (U-centred, see ``u_centred``), "paper" (centred) or "official" (not centred).
    """
    if x.has_kernels:
        of_kernel = {"centred": _u_centred_rows, "paper": _centred_rows, "official": _rows_of}[centring]
        return map(of_kernel, x.kernels)
    layers = x.layers if centring == "official" else centred(x)
    return map(_u_centred_rows_of_layer if centring == "centred" else _rows_of_layer, layers)


def u_centred(layer: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """Rows of the U-centred kernel of centred features: float32 [rows, n]. Its diagonal is not set to 0.

    U-centring subtracts the row and column sums of the kernel without its diagonal, divided by n - 2. Rows of a centred
    kernel sum to 0, so without the diagonal they sum to minus the squared norm of the sample.
    """
    n, squared = len(layer), layer.square().sum(dim=1)
    return layer[rows] @ layer.T + (squared[rows, None] + squared) / (n - 2) - squared.sum() / ((n - 1) * (n - 2))


def _rows_of_layer(layer: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    return lambda rows: layer[rows] @ layer.T


def _u_centred_rows_of_layer(layer: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    return lambda rows: u_centred(layer, rows)


def _rows_of(kernel: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    return lambda rows: kernel[rows].double()


def _centred_rows(kernel: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    means = _row_sums(kernel) / len(kernel)
    return _unless_rounding(kernel, lambda rows: kernel[rows] - means[rows, None] - (means - means.mean()))


def _u_centred_rows(kernel: torch.Tensor) -> Callable[[slice], torch.Tensor]:
    n, sums = len(kernel), _row_sums(kernel) - kernel.diagonal()
    of_columns = sums / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
    return _unless_rounding(kernel, lambda rows: kernel[rows] - sums[rows, None] / (n - 2) - of_columns)


def _unless_rounding(kernel: torch.Tensor, rows_of: Callable[[slice], torch.Tensor]) -> Callable[[slice], torch.Tensor]:
    """``rows_of``, or rows of zeros if centring leaves no more than rounding of similarities off the diagonal.

    That happens where each similarity is the sum of one number per sample. Zeros have no score, which
    ``prh.core.scoring.scores`` reports; rounding would have one.
    """
    from prh.core.kernel_inputs import is_rounding

    left, largest = 0.0, float(kernel.abs().max())
    for rows in tiled(len(kernel), max(1, 2**22 // len(kernel))):
        left = max(left, float(rows_of(rows).tril(rows.start - 1).abs().max()))  # of entries below the diagonal
        if not is_rounding(left, kernel, largest):
            return rows_of
    return lambda rows: rows_of(rows).zero_()


def _row_sums(kernel: torch.Tensor) -> torch.Tensor:
    import torch

    return kernel.sum(dim=1, dtype=torch.float64)


def _distances_of(kernel: torch.Tensor, name: str) -> torch.Tensor:
    """K_ii + K_jj - 2 K_ij: float64 [n, n]; ValueError if some are negative beyond rounding."""
    from prh.core.kernel_inputs import ASYMMETRY, is_rounding

    own, largest = kernel.diagonal().double(), float(kernel.abs().max())
    distances = own[:, None] + own - 2 * kernel
    if float(distances.min()) < -4 * ASYMMETRY * largest:
        i, j = divmod(int(distances.argmin()), len(kernel))
        raise ValueError(
            f"{name}: samples {i} and {j} are more similar to each other ({float(kernel[i, j]):g}) than to themselves "
            f"({float(own[i]):g} and {float(own[j]):g}), so they have no distance; mend the diagonal, or use a metric "
            "that needs no distances, such as cka."
        )
    return distances.zero_() if is_rounding(float(distances.max()), kernel, largest) else distances.clamp_(min=0)


def require_four(x: Representation) -> None:
    """Raise ValueError unless x has the 4 samples that the unbiased HSIC needs."""
    if x.n < 4:
        raise ValueError(f"{x.name} has {x.n} samples; the unbiased HSIC needs at least 4.")
