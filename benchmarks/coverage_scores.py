"""Do the intervals of scores hold the score that other samples would give? Sections of ``coverage.py``.

Two models see the same 8 things of each sample, in 32 and 24 features and each with noise of its own; how much noise
says how well they align. What was chosen by looking at these draws is tried on others (``clusters``). Truth is the mean
score over all draws, at as many samples: what the interval is about. It has itself an error of sd / sqrt(draws), which
is nothing beside an interval of 4 sd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

import prh
from prh.core.metrics import METRICS
from prh.jobs.progress import Progress

K = 10
THINGS, WIDTHS = 8, (32, 24)
NOISE = {"chance": None, "low": 3.0, "middle": 1.0, "high": 0.3}
SIZES = {100: 2, 300: 4, 1000: 10}  # number of samples: by what the number of draws is divided
NAMES = tuple(name for name in sorted(METRICS) if name != "debiased_cka")  # another name of unbiased_cka
CLUSTERS, CLUSTERED_THINGS, CLUSTERED_WIDTHS, CLUSTERED_K = 20, 5, (64, 12), 5
CLUSTERED_NOISE = {"chance": None, "low": 5.0, "middle": 2.0, "high": 0.3}
CHOICE = ("mutual_knn", "unbiased_cka", "linear_regression", "svcca")
CHOICE_SIZE = 200  # samples
LAYERS, APART = 6, 0.15  # layers of each side where one pair is chosen, and how far apart they are
MISSING = (np.nan, np.nan)


class Drawn(NamedTuple):
    """Scores and intervals of some draws, all float [draws]; NaN where there is no interval."""

    score: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def holds(self, truth: np.ndarray | float) -> float:
        """Share of draws whose interval holds the truth; one that is missing does not."""
        return float(np.mean((self.low <= truth) & (truth <= self.high)))


class Design(NamedTuple):
    """Made-up data: ``draw(rng, n, noise)`` gives the features of two models."""

    draw: Callable[[Generator, int, float | None], list[np.ndarray]]
    noise: dict[str, float | None]
    k: int


def scores(draws: int, metrics: Sequence[str] | None = None, samples: Sequence[int] | None = None) -> Iterator[str]:
    """Lines of a table: share of draws in which the interval of one given layer pair holds the truth."""
    yield from _grid(Design(models, NOISE, K), draws, metrics, samples)


def clusters(draws: int, metrics: Sequence[str] | None = None, samples: Sequence[int] | None = None) -> Iterator[str]:
    """The same of samples in clusters, with heavy tails."""
    yield from _grid(Design(clustered, CLUSTERED_NOISE, CLUSTERED_K), draws, metrics, samples)


def choice(draws: int, metrics: Sequence[str] | None = None, samples: Sequence[int] | None = None) -> Iterator[str]:
    """The same around the best of 6 x 6 layer pairs: truth is the mean score of the pair that was chosen."""
    yield from _header("metric", "interval", "draws")
    count = max(2, draws // 10)
    for name in metrics or CHOICE:
        of = [chosen_pair(name, noise, count, f"{name}, {alignment}") for alignment, noise in NOISE.items()]
        for kind, rates in zip(("ignores the choice", "accounts for the choice"), zip(*of, strict=True), strict=True):
            yield _line(f"`{name}`", kind, f"{count}", *rates)


def _grid(design: Design, draws: int, metrics: Sequence[str] | None, samples: Sequence[int] | None) -> Iterator[str]:
    yield from _header("metric", "samples", "draws")
    names = metrics or NAMES
    for n in samples or SIZES:
        count = max(2, draws // SIZES[n])
        rates = {name: [] for name in names}
        for alignment in design.noise:
            for name, drawn in given_pair(design, n, alignment, count, names).items():
                rates[name].append(drawn.holds(drawn.score.mean()))
        yield from (_line(f"`{name}`", f"{n:,}", f"{count}", *of) for name, of in rates.items())


def given_pair(design: Design, n: int, alignment: str, count: int, names: Sequence[str]) -> dict[str, Drawn]:
    """Scores of metrics and their intervals, of ``count`` draws of n samples."""
    rows = {name: [] for name in names}
    with Progress(f"n = {n}, {alignment}", count, "draws") as progress:
        for draw in range(count):
            pair = design.draw(np.random.default_rng(draw), n, design.noise[alignment])
            for name in names:
                found = prh.align(*pair, name, k=design.k, subsamples=100, seed=draw)
                rows[name].append((found.best, *(found.interval or MISSING)))
            progress.advance()
    return {name: Drawn(*np.array(of).T) for name, of in rows.items()}


def chosen_pair(name: str, noise: float | None, count: int, title: str) -> tuple[float, float]:
    """Coverage by the interval of the best pair that ignores the choice, and by the one that accounts for it."""
    tables, chosen, fixed, knowing = [], [], [], []
    with Progress(title, count, "draws") as progress:
        for draw in range(count):
            sides = layers(np.random.default_rng(draw), CHOICE_SIZE, noise)
            alignment = prh.align(*sides, name, k=K, subsamples=100, splits=5, seed=draw)
            tables.append(alignment.scores)
            chosen.append(alignment.layers)
            fixed.append((alignment.best, *(alignment.interval or MISSING)))
            knowing.append((alignment.best, *(alignment.chosen_interval or MISSING)))
            progress.advance()
    truth = np.mean(tables, axis=0)[tuple(np.transpose(chosen))]
    return Drawn(*np.array(fixed).T).holds(truth), Drawn(*np.array(knowing).T).holds(truth)


def models(rng: Generator, n: int, noise: float | None) -> list[np.ndarray]:
    """Features of two models for n samples, prepared; without any noise given, of different things."""
    things = rng.normal(size=(n, THINGS))
    seen = (things, things if noise is not None else rng.normal(size=things.shape))
    features = []
    for side, (what, width) in enumerate(zip(seen, WIDTHS, strict=True)):
        mixed = np.tanh(what @ np.random.default_rng(5 + side).normal(size=(THINGS, width)) / 3)
        noisy = mixed + (1.0 if noise is None else noise) * rng.normal(size=mixed.shape)
        features.append(prh.prepare(noisy.astype(np.float32)))
    return features


def clustered(rng: Generator, n: int, noise: float | None) -> list[np.ndarray]:
    """Features of two models for n samples in clusters, few large and many small, with heavy tails everywhere.

    Without any noise given, the models see different things. The first sees them rectified.
    """
    fixed, share = np.random.default_rng(77), 1 / np.arange(1, CLUSTERS + 1)
    centres = 2 * fixed.standard_t(3, size=(2, CLUSTERS, CLUSTERED_THINGS))

    def things(of: np.ndarray) -> np.ndarray:
        return of[rng.choice(CLUSTERS, n, p=share / share.sum())] + rng.standard_t(3, size=(n, CLUSTERED_THINGS))

    seen = things(centres[0])
    features = []
    for side, width in enumerate(CLUSTERED_WIDTHS):
        what = things(centres[1]) if side and noise is None else seen
        mixed = what @ fixed.normal(size=(CLUSTERED_THINGS, width)) / 3
        mixed = mixed if side else np.maximum(mixed, 0)
        noisy = mixed + (1.0 if noise is None else noise) * rng.standard_t(5, size=mixed.shape)
        features.append(prh.prepare(noisy.astype(np.float32)))
    return features


def layers(rng: Generator, n: int, noise: float | None) -> list[list[np.ndarray]]:
    """Layers of two models: the features of ``models``, each with a little noise of its own."""
    return [
        [prh.prepare((x + APART * rng.normal(size=x.shape)).astype(np.float32)) for _ in range(LAYERS)]
        for x in models(rng, n, noise)
    ]


def _header(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join([*columns, *NOISE])} |"
    yield f"|---|{'---:|' * (len(columns) + len(NOISE) - 1)}"


def _line(*cells: str | float) -> str:
    return f"| {' | '.join(cell if isinstance(cell, str) else f'{cell:.3f}' for cell in cells)} |"
