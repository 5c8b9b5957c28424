"""Do intervals hold the truth, and do tests err, as often as they say? python benchmarks/coverage.py

    python benchmarks/coverage.py                                  # all sections, 2,000 draws of each case
    python benchmarks/coverage.py --draws 100                      # quick: all sections, roughly
    python benchmarks/coverage.py --sections pairs --draws 10000   # one of them, more exactly

Prints a markdown table for each section: a case of made-up data with a known truth, how often it was drawn, the rate
that is promised, the rate that was observed and the standard error of that, from the number of draws. A section is a
function in SECTIONS from a number of draws to rows.

pairs: coverage of the 95 % interval of a mean over pairs of models (``prh.core.statistics.pair_mean``).
qap: share of p <= 0.05 where a trend over models (``qap_square``, ``qap_rows``) has nothing in it.
null: share of p <= 0.05 of ``prh.align`` for two representations that have nothing to do with each other.
scores: coverage of the 95 % interval of the score of one given layer pair, of every metric; 2,000 draws mean 1,000 of
    100 samples, 500 of 300 and 200 of 1,000. --metrics and --samples say which.
clusters: the same of other data, with k = 5.
choice: the same around the best of 6 x 6 layer pairs, without and with knowing of the choice; a tenth of the draws.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import coverage_scores
import numpy as np
from numpy.random import Generator

import prh
from prh.core import statistics
from prh.jobs.progress import Progress

LEVEL = 0.05
PERMUTATIONS = 199  # (199 + 1) * 0.05 is whole, so that a p-value of at most 0.05 has a chance of just 0.05
EFFECTS = {"models differ": (1.0, 0.5), "models differ little": (0.3, 0.5), "models do not differ": (0.0, 0.5)}
SETS = (3, 4, 5, 7, 10, 20)
GRIDS = ((3, 3), (3, 10), (3, 40), (5, 5), (12, 17))
SAMPLES = 100


class Row(NamedTuple):
    """A line of a table: ``observed`` of ``draws``, where ``nominal`` is promised."""

    case: str
    draws: int
    nominal: float
    observed: float

    def markdown(self) -> str:
        """The row with the standard error of a share; where all or none were counted, of one draw that was not."""
        share = min(max(self.observed, 1 / self.draws), 1 - 1 / self.draws)
        error = math.sqrt(share * (1 - share) / self.draws)
        return f"| {self.case} | {self.draws:,} | {self.nominal:.2f} | {self.observed:.3f} | {error:.3f} |"


def pairs(draws: int) -> Iterator[Row]:
    """Intervals of means over all pairs of one set, and between two sets: a value is what its models add and noise."""
    designs = {f"{models} models": tuple(np.triu_indices(models, 1)) for models in SETS}
    designs |= {
        f"{rows} x {columns} models": (np.repeat(np.arange(rows), columns), rows + np.tile(np.arange(columns), rows))
        for rows, columns in GRIDS
    }
    for design, (left, right) in designs.items():
        for effect, (between, noise) in EFFECTS.items():
            case = f"{design}, {effect}"

            def holds(rng: Generator, left=left, right=right, between=between, noise=noise, case=case) -> bool:
                able = between * rng.normal(size=right.max() + 1)
                values = (able[left] + able[right]) / 2 + noise * rng.normal(size=len(left))
                mean = statistics.pair_mean(values, left.tolist(), right.tolist())
                if mean.no_interval:
                    raise RuntimeError(f"{case}: there is no interval: {mean.no_interval}.")
                return mean.low <= 0 <= mean.high

            yield Row(case, draws, 1 - LEVEL, _share(case, holds, draws))


def qap(draws: int) -> Iterator[Row]:
    """Trends of scores with a property of models that they have nothing to do with; a model's scores go together."""

    def square(rng: Generator, models: int) -> float:
        able, noise = rng.normal(size=models), rng.normal(size=(models, models))
        scores = able[:, None] + able + (noise + noise.T) / 2
        solved = rng.integers(0, 8, models)  # as in Figure 2: counts of solved tasks, with ties
        return statistics.qap_square(scores, np.minimum.outer(solved, solved), permutations=PERMUTATIONS).p

    def rows(rng: Generator, models: int) -> float:
        able, noise = rng.normal(size=(models, 1)), rng.normal(size=(models, 5))
        return statistics.qap_rows(able + 0.3 * noise, rng.normal(size=models), permutations=PERMUTATIONS).p

    cases = {"`qap_square`, {} models": square, "`qap_rows`, {} x 5 models": rows}
    for name, p in cases.items():
        for models in (5, 8, 12, 20):
            case = name.format(models)
            # Where all drawn counts are equal there is no trend: p is NaN, which rejects nothing.
            yield Row(case, draws, LEVEL, _share(case, lambda rng, p=p, m=models: p(rng, m) <= LEVEL, draws))


def null(draws: int) -> Iterator[Row]:
    """p-values of the best of 2 x 2 layer pairs for two independent models, with and without ties."""
    features = {
        "Gaussian": lambda rng: rng.normal(size=(SAMPLES, 16)),
        "one-hot, 10 classes": lambda rng: np.eye(10)[rng.integers(0, 10, SAMPLES)],
        "half of the rows identical": _half_identical,
        "spread 3e-4 on a common offset": lambda rng: 1 + 3e-4 * rng.normal(size=(SAMPLES, 16)),
    }
    for metric in ("mutual_knn", "cknna", "unbiased_cka"):
        for kind, draw in features.items():
            case = f"`{metric}`, {kind}"

            def significant(rng: Generator, draw=draw, metric=metric) -> bool:
                models = []
                for _ in "xy":
                    first = draw(rng)  # a second layer that says the same in other directions, as layers do
                    second = first @ np.linalg.qr(rng.normal(size=(first.shape[1],) * 2))[0]
                    models.append([prh.prepare(layer.astype(np.float32)) for layer in (first, second)])
                options = {"permutations": PERMUTATIONS, "seed": int(rng.integers(2**31))}
                return prh.align(*models, metric, k=10, **options).p <= LEVEL

            yield Row(case, draws, LEVEL, _share(case, significant, draws))


def _half_identical(rng: Generator) -> np.ndarray:
    """Half of the samples, drawn for each model, share one row: as captions do that end in the same token."""
    x = rng.normal(size=(SAMPLES, 16))
    x[rng.permutation(SAMPLES)[: SAMPLES // 2]] = x[0]
    return x


def _share(title: str, counts: Callable[[Generator], bool], draws: int) -> float:
    """Share of draws that count; draw i has a seed of its own, so that fewer draws are the first of more."""
    total = 0
    with Progress(title, draws, "draws") as progress:
        for draw in range(draws):
            total += bool(counts(np.random.default_rng(draw)))
            progress.advance()
    return total / draws


# Each prints one table.
SECTIONS: dict[str, Callable[[int], Iterator[Row]]] = {"pairs": pairs, "qap": qap, "null": null}
TABLES: dict[str, Callable[..., Iterator[str]]] = {
    "scores": coverage_scores.scores,
    "clusters": coverage_scores.clusters,
    "choice": coverage_scores.choice,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="of each case")
    parser.add_argument("--sections", nargs="+", choices=[*SECTIONS, *TABLES], metavar="SECTION")
    for option, kind, of in (("metrics", str, coverage_scores.NAMES), ("samples", int, coverage_scores.SIZES)):
        text = f"of scores and clusters ({', '.join(map(str, of))})"
        parser.add_argument(f"--{option}", nargs="+", type=kind, choices=of, metavar=option.upper(), help=text)
    arguments = parser.parse_args()
    if arguments.draws < 2:
        parser.error("--draws must be at least 2.")
    for name in arguments.sections or [*SECTIONS, *TABLES]:
        print(f"\n## {name}\n")
        if name in TABLES:
            for line in TABLES[name](arguments.draws, arguments.metrics, arguments.samples):
                print(line, flush=True)
            continue
        print("| case | draws | nominal | observed | error of observed |\n|---|---:|---:|---:|---:|")
        for row in SECTIONS[name](arguments.draws):
            print(row.markdown(), flush=True)


if __name__ == "__main__":
    main()
