"""Do the intervals of scores hold the score that other samples would give? Sections of ``coverage.py``.

Two models see the same 8 things of each sample, in 32 and 24 features and each with noise of its own; how much noise
says how well they align. Truth is the mean score over all draws, at as many samples: what the interval is about. It has
itself an error of sd / sqrt(draws), which is nothing beside an interval of 4 sd.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

import prh
from prh.core.metrics import METRICS
from prh.jobs.progress import Progress

K = 10
THINGS, WIDTHS = 8, (32, 24)
NOISE = {"chance": None, "low": 3.0, "middle": 1.0, "high": 0.3}
SIZES = {100: 5, 300: 10, 1000: 20}  # number of samples: by what the number of draws is divided
NAMES = tuple(name for name in sorted(METRICS) if name != "debiased_cka")  # another name of unbiased_cka
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


def scores(draws: int) -> Iterator[str]:
    """Lines of a table: share of draws in which the interval of one given layer pair holds the truth."""
    yield from _header("metric", "samples", "draws")
    for n, divisor in SIZES.items():
        count = max(2, draws // divisor)
        rates = {name: [] for name in NAMES}
        for alignment, noise in NOISE.items():
            for name, drawn in given_pair(n, noise, count, f"n = {n}, {alignment}").items():
                rates[name].append(drawn.holds(drawn.score.mean()))
        yield from (_line(f"`{name}`", f"{n:,}", f"{count}", *of) for name, of in rates.items())


def choice(draws: int) -> Iterator[str]:
    """The same around the best of 6 x 6 layer pairs: truth is the mean score of the pair that was chosen."""
    yield from _header("metric", "interval", "draws")
    count = max(2, draws // 10)
    for name in CHOICE:
        of = [chosen_pair(name, noise, count, f"{name}, {alignment}") for alignment, noise in NOISE.items()]
        for kind, rates in zip(("as of a given pair", "knows of the choice"), zip(*of, strict=True), strict=True):
            yield _line(f"`{name}`", kind, f"{count}", *rates)


def given_pair(n: int, noise: float | None, count: int, title: str) -> dict[str, Drawn]:
    """Scores of every metric and their intervals, of ``count`` draws of n samples."""
    rows = {name: [] for name in NAMES}
    with Progress(title, count, "draws") as progress:
        for draw in range(count):
            pair = models(np.random.default_rng(draw), n, noise)
            for name in NAMES:
                alignment = prh.align(*pair, name, k=K, subsamples=100, seed=draw)
                rows[name].append((alignment.best, *(alignment.interval or MISSING)))
            progress.advance()
    return {name: Drawn(*np.array(of).T) for name, of in rows.items()}


def chosen_pair(name: str, noise: float | None, count: int, title: str) -> tuple[float, float]:
    """Coverage by the interval of the best pair as if it had been given, and by the one that knows of the choice."""
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
