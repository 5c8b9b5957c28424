"""Linear probes: how much of a task can be read off a model's features by a linear classifier.

A probe standardises the features, fits a multinomial logistic regression at each strength of L2 regularisation
on a part of the training samples, keeps the strength that is best on the held-out part, refits on all training samples
and reports top-1 accuracy on the test samples.

The objective is mean cross-entropy + ``l2`` / 2 * ||W||^2 (the bias is free), so that one ``l2`` means the same for any
number of samples; scikit-learn's ``C`` is 1 / (n * l2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prh.io import tables

GRID = tuple(10.0**exponent for exponent in range(1, -6, -1))


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe.

    top1: share of test samples classified right; stderr: its binomial standard error; l2: the chosen regularisation;
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
    both. grid: strengths of L2 regularisation to try; of strengths equal on the held-out part the strongest is kept.
    validation: share of the training samples held out, the same share of each class, drawn with ``seed``.

    Raises ValueError for NaN, sizes that do not agree, fewer than two classes, a class that only one part has, or
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
    and correlated features no longer slow the search down.
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
    """Weight [r, classes], bias, objective and whether the gradient came (nearly) down to ``tolerance``."""
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
    # in single precision the line search ends a little above the tolerance it is given
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


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (kept, held out): ``share`` of each class held out, at least one sample of each class kept.

    Raises ValueError if ``share`` is not between 0 and 1 or no class has a second sample to hold out.
    """
    if not 0 < share < 1:
        raise ValueError(f"The share held out must lie between 0 and 1, got {share}.")
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held.append(members[:count])
    held = np.sort(np.concatenate(held))
    if not len(held):
        raise ValueError("No class has two training samples, so none can be held out; give more training samples.")
    return np.setdiff1d(np.arange(len(labels)), held), held


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


@dataclass(frozen=True)
class Labelled:
    """Features [n, width] with their n labels."""

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(cls, path: Path, sample_ids: Sequence[str], labels: Sequence[str | None], layer: int = -1) -> Labelled:
        """One layer of a features table, with the labels of its samples; samples without a label are left out.

        ``layer`` counts from the end if negative. Raises ValueError for samples in another order, or a layer too many.
        """
        count = len(tables.made_by(path)["layer_names"])
        if not -count <= layer < count:
            raise ValueError(f"Layer {layer} is asked for and the model has {count} layers; lower it.")
        column = tables.layer_name(layer % count)
        table = tables.read(path, ["sample_id", column])
        tables.require_same_samples(table["sample_id"].to_pylist(), sample_ids, ("the features", "the labels"))
        kept = [i for i, label in enumerate(labels) if label is not None]
        return cls(tables.layer_array(table, column)[kept], np.array([labels[i] for i in kept], dtype=str))

    def take(self, rows: np.ndarray) -> Labelled:
        """Some of the samples."""
        return Labelled(self.features[rows], self.labels[rows])


def require_classes(labels: Iterable[str | None], classes: int, where: str) -> None:
    """Raise ValueError unless ``labels`` (None: no label) of the data set ``where`` hold exactly so many classes."""
    found = {label for label in labels if label is not None}
    if len(found) != classes:
        some = ", ".join(sorted(found)[:5])
        raise ValueError(f"{where} must have {classes} classes and has {len(found)} ({some} ...); mend 'classes'.")


def merged(labels: Iterable[str | None], classes: int, bins: int) -> list[str | None]:
    """Labels 0 ... ``classes`` - 1 in ``bins`` classes of equal width, in their order (None stays None).

    Raises ValueError for a label that is no such number.
    """
    numbers = {str(number): str(number * bins // classes) for number in range(classes)}
    result: list[str | None] = []
    for label in labels:
        if label is not None and label not in numbers:
            raise ValueError(
                f"The label {label!r} is none of the numbers 0 to {classes - 1}, so 'bins' cannot merge it."
            )
        result.append(None if label is None else numbers[label])
    return result


def split(
    train: Labelled, test: Labelled | None, limit: int, test_share: float, seed: int
) -> tuple[Labelled, Labelled]:
    """Training and test samples: where there is no test set a share of each class is held out; then at most ``limit``
    training samples are kept, the same share of each class and at least one. Both draws come from ``seed``.

    Raises ValueError where there is no label, a class cannot be in both parts, or ``limit`` is below the classes.
    """
    _require_labels(train.labels, "training")
    if test is None:
        _require_two_of_each(train.labels)
        rest, held = stratified_split(train.labels, test_share, seed)
        train, test = train.take(rest), train.take(held)
    _require_labels(test.labels, "test")
    if len(train.labels) > limit:
        train = train.take(_drawn(train.labels, limit, seed))
    return train, test


def _require_labels(labels: np.ndarray, part: str) -> None:
    if not len(labels):
        raise ValueError(f"None of the {part} samples has a label; see 'label' of the probe and 'labels' of its data.")


def _require_two_of_each(labels: np.ndarray) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    single = classes[counts == 1]
    if len(single):
        raise ValueError(
            f"{len(single)} classes have one sample each, such as {single[0]!s}, which cannot be both learnt and "
            "tested; leave these classes out, give more samples, or give a test set."
        )


def _drawn(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of at most ``count`` samples: the same share of each class, and at least one of each.

    A class that its share gives less than one sample takes it from the largest classes.
    """
    classes, label, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if count < len(classes):
        raise ValueError(f"The limit of {count} training samples is below the {len(classes)} classes; raise it.")
    quotas = np.maximum(np.floor(sizes * count / len(labels)).astype(int), 1)
    while quotas.sum() > count:
        quotas[np.argmax(quotas)] -= 1
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(label == i))[:quota] for i, quota in enumerate(quotas)]
    return np.sort(np.concatenate(drawn))
