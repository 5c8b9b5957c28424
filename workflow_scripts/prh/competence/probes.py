"""Linear probes: how much of a task can be read off a model's features by a linear classifier.

A probe standardises the features, fits a multinomial logistic regression at each strength of L2 regularisation
on a part of the training samples, keeps the strength that is best on the held-out part, refits on all training samples
and reports top-1 accuracy on the test samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prh.competence.logistic import LogisticFit, fit_logistic
from prh.competence.probe_samples import stratified_split

GRID = tuple(10.0**exponent for exponent in range(1, -6, -1))


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe.

    top1: share of test samples that are right; stderr: its binomial standard error; l2: the chosen regularisation;
    held_out: top-1 on the held-out part for each strength tried; converged: whether the last fit reached its tolerance.
    """

    top1: float
    stderr: float
    l2: float
    n_train: int
    n_test: int
    classes: int
    held_out: dict[float, float]
    converged: bool


def linear_probe(
    train_x: np.ndarray,
    train_y: Sequence,
    test_x: np.ndarray,
    test_y: Sequence,
    *,
    grid: Sequence[float] = GRID,
    seed: int = 0,
    validation: float = 0.2,
    device: str | torch.device = "cpu",
) -> ProbeResult:
    """Top-1 accuracy of a linear classifier on features.

    train_x, test_x: [n, width], any float dtype. train_y, test_y: n labels (integers or strings), the same classes in
    both. grid: strengths of L2 regularisation to try; the strongest wins a tie on the held-out part.
    validation: share of the training samples held out, the same share of each class, drawn with ``seed``.

    Raises ValueError for NaN, sizes that do not match, fewer than two classes, a class that only one part has, or
    training features that are the same for every sample.
    """
    train_x, test_x = _features(train_x, "training"), _features(test_x, "test")
    classes, train_y, test_y = _labels(train_y, test_y, len(train_x), len(test_x))
    if train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f"Training features have {train_x.shape[1]} columns and test features {test_x.shape[1]}; "
            "both must come from the same layer of the same model."
        )
    if not len(grid) or any(not (math.isfinite(l2) and l2 > 0) for l2 in grid):
        raise ValueError(f"The grid of regularisation must be positive finite numbers, got {list(grid)}.")
    strengths = sorted(grid, reverse=True)

    fit, held = stratified_split(train_y, validation, seed)
    fit_x = train_x[fit]
    scaled = _Standardised.of(fit_x, device)
    if not scaled.varies:
        raise ValueError(
            "The training features are the same for every sample, so no class can be read off them; "
            "probe another layer or look at how the features were made."
        )
    held_x, held_y = scaled.apply(train_x[held]), torch.as_tensor(train_y[held], device=device)
    path = fit_logistic(scaled.apply(fit_x), train_y[fit], len(classes), strengths)
    held_out = {f.l2: _accuracy(f, held_x, held_y) for f in path}
    best = max(path, key=lambda f: (held_out[f.l2], f.l2))

    scaled = _Standardised.of(train_x, device)
    final = fit_logistic(scaled.apply(train_x), train_y, len(classes), [best.l2], start=best)[-1]
    top1 = _accuracy(final, scaled.apply(test_x), torch.as_tensor(test_y, device=device))
    return ProbeResult(
        top1=top1,
        stderr=math.sqrt(top1 * (1 - top1) / len(test_y)),
        l2=best.l2,
        n_train=len(train_y),
        n_test=len(test_y),
        classes=len(classes),
        held_out=held_out,
        converged=final.converged,
    )


@dataclass(frozen=True)
class _Standardised:
    """Mean and scale of training features; a feature that does not vary is only centred."""

    mean: torch.Tensor
    scale: torch.Tensor
    varies: bool
    """Whether any feature varies by more than the rounding of float32."""

    @classmethod
    def of(cls, x: np.ndarray, device: str | torch.device) -> _Standardised:
        mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        varying = deviation > 1e-6 * np.abs(mean)
        scale = np.where(varying, deviation, 1.0)
        moments = (torch.as_tensor(v, dtype=torch.float32, device=device) for v in (mean, scale))
        return cls(*moments, varies=bool(varying.any()))

    def apply(self, x: np.ndarray) -> torch.Tensor:
        return (torch.as_tensor(np.ascontiguousarray(x), device=self.mean.device) - self.mean) / self.scale


def _accuracy(fit: LogisticFit, x: torch.Tensor, y: torch.Tensor) -> float:
    return float(((x @ fit.weight.T + fit.bias).argmax(1) == y).double().mean())


def _features(x: np.ndarray, part: str) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"The {part} features must be a filled array [n, width], got shape {x.shape}.")
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"The {part} features must be floating-point numbers, got {x.dtype}.")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise ValueError(f"The {part} features hold NaN or infinity, first in row {row}; extract them again.")
    return x.astype(np.float32, copy=False)


def _labels(train_y, test_y, n_train: int, n_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes, and both label lists as indices into them."""
    train_y, test_y = np.asarray(train_y), np.asarray(test_y)
    for part, y, n in (("training", train_y, n_train), ("test", test_y, n_test)):
        if y.shape != (n,):
            raise ValueError(f"There are {n} {part} samples and labels of shape {y.shape}; give one label per sample.")
        if y.dtype.kind not in "iuUS":
            raise ValueError(f"The {part} labels must be integers or strings, got {y.dtype}; is a label missing?")
    classes = np.unique(train_y)
    for here, there, names in ((train_y, test_y, ("training", "test")), (test_y, train_y, ("test", "training"))):
        lacking = np.setdiff1d(here, there)
        if len(lacking):
            raise ValueError(
                f"{len(lacking)} classes of the {names[0]} samples are missing from the {names[1]} samples, "
                f"such as {lacking[0]!s}; draw both parts from all classes."
            )
    if len(classes) < 2:
        raise ValueError(f"All samples are of one class ({classes[0]!s}); a probe needs at least two.")
    return classes, np.searchsorted(classes, train_y), np.searchsorted(classes, test_y)
