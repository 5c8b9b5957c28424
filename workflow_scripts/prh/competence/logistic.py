"""Multinomial logistic regression along a path of L2 regularisation.

The objective is mean cross-entropy + ``l2`` / 2 * ||W||^2 (the bias is free), so that one ``l2`` means the same for any
number of samples; scikit-learn's ``C`` is 1 / (n * l2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class LogisticFit:
    """A multinomial logistic regression: weight [classes, width] and bias [classes], float32."""

    l2: float
    weight: torch.Tensor
    bias: torch.Tensor
    loss: float
    converged: bool


def fit_logistic(
    x: torch.Tensor,
    y: np.ndarray,
    classes: int,
    strengths: Sequence[float],
    *,
    start: LogisticFit | None = None,
    tolerance: float = 1e-5,
    max_iter: int = 300,
) -> list[LogisticFit]:
    """Multinomial logistic regressions along ``strengths`` (strongest first, each started from the one before).

    x: [n, width] float32, standardised; y: n class indices; start: where to begin, else all weights at zero.
    L-BFGS runs in the basis of the principal axes, each axis scaled by the curvature it can have at most,
    sqrt(eigenvalue / 2 + l2) (Boehning 1992): the penalty does not change under rotation, so the optimum is the same,
    and correlated features do not slow the search down.
    ``tolerance``: largest absolute entry of the gradient, in those coordinates, at which a fit counts as converged.
    """
    y = torch.as_tensor(y, device=x.device)
    eigenvalues, axes = _principal_axes(x)
    rotated = x @ axes
    if start is None:
        weight, bias = x.new_zeros(rotated.shape[1], classes), _log_frequencies(y, classes, x)
    else:
        weight, bias = axes.T @ start.weight.T, start.bias
    fits = []
    for l2 in strengths:
        weight, bias, loss, converged = _minimise(rotated, y, weight, bias, eigenvalues, l2, tolerance, max_iter)
        fits.append(LogisticFit(l2, (axes @ weight).T, bias, loss, converged))
    return fits


def _minimise(
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eigenvalues: torch.Tensor,
    l2: float,
    tolerance: float,
    max_iter: int,
) -> tuple[torch.Tensor, torch.Tensor, float, bool]:
    """Weight [r, classes], bias, objective, and whether the gradient (nearly) reached ``tolerance``."""
    scale = (eigenvalues / 2 + l2).rsqrt()[:, None]
    scaled_weight = (weight / scale).requires_grad_()
    bias = bias.clone().requires_grad_()
    scaled_x = x * scale.T
    solver = torch.optim.LBFGS(
        [scaled_weight, bias],
        max_iter=max_iter,
        max_eval=2 * max_iter,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        solver.zero_grad()
        cross_entropy = torch.nn.functional.cross_entropy(torch.addmm(bias, scaled_x, scaled_weight), y)
        loss = cross_entropy + l2 / 2 * (scaled_weight * scale).square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    loss = float(objective().detach())
    steepest = max(float(p.grad.abs().max()) for p in (scaled_weight, bias))
    # in single precision the line search stops slightly above its tolerance
    return scaled_weight.detach() * scale, bias.detach(), loss, steepest <= 10 * tolerance


def _principal_axes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues [r] and eigenvectors [width, r] of x.T @ x / n; directions in which x does not vary are left out."""
    n, width = x.shape
    if width <= n:
        eigenvalues, axes = torch.linalg.eigh((x.T @ x / n).double())
    else:  # the same axes from the smaller n x n product
        eigenvalues, left = torch.linalg.eigh((x @ x.T / n).double())
        axes = x.T.double() @ left / (n * eigenvalues.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    seen = eigenvalues > 1e-7 * eigenvalues[-1]
    return eigenvalues[seen].to(x.dtype), axes[:, seen].to(x.dtype)


def _log_frequencies(y: torch.Tensor, classes: int, like: torch.Tensor) -> torch.Tensor:
    return torch.bincount(y, minlength=classes).to(like.dtype).div(len(y)).log()
