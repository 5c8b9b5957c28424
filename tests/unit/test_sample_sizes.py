"""Settings that do not fit few samples are named before anything is measured."""

import numpy as np
import pytest

from prh.core import sample_sizes
from prh.core.metrics import METRICS


@pytest.mark.parametrize(
    ("n", "metric", "k", "halved", "said"),
    [
        (1, "cka", [], False, "the metric cka needs at least 3 samples, but there are 1"),
        (3, "unbiased_cka", [], False, "needs at least 4 samples"),
        (12, "svcca", [], True, "the metric svcca needs at least 11 samples, but alignment.subsamples and"),
        (
            4,
            "mutual_knn",
            [3],
            True,
            "alignment.k = 3 of mutual_knn needs at least 4 samples, but alignment.subsamples",
        ),
        (3, "mutual_knn", [1, 3], False, "alignment.k = 3 of mutual_knn needs at least 4 samples, but there are 3"),
        (
            12,
            "mutual_knn",
            [10],
            True,
            "halves of the 12 samples (6); lower alignment.k, set subsamples and splits to 0",
        ),
        (4, "mutual_knn", [3], False, None),
        (22, "mutual_knn", [10], True, None),
        (24, "cka", [10], True, None),
    ],
)
def test_what_does_not_fit_is_named(n, metric, k, halved, said):
    mistake = sample_sizes.mistake(n, metric, k, halved=halved)
    assert (mistake is None) if said is None else said in mistake


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined_at_the_size_that_is_asked_for(name):
    k = [2] if METRICS[name].needs_k else []
    n = next(n for n in range(1, 50) if sample_sizes.mistake(n, name, k) is None)
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(n, 12)), draw.normal(size=(n, 12))
    score = METRICS[name].function(x, y, **({"k": 2} if k else {}), **METRICS[name].options)
    assert np.isfinite(score)
