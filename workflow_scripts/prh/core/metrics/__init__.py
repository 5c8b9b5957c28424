"""Metrics of representational alignment: plain functions of two arrays, and the registry through which configs name
them.

>>> import prh.core.metrics
>>> prh.core.metrics.METRICS["mutual_knn"].summary
'mean share of common nearest neighbours'

Each function takes two arrays [n, d] with paired rows (NumPy or torch) and returns a float; or two ``Representation``
objects and returns the scores of all their layer pairs. docs/metrics.md compares the metrics in a table.
Importing this package does not import torch.
"""

from prh.core.metrics import (  # noqa: F401  (importing them registers them)
    effects_of_kernels,
    effects_of_masked_kernels,
    effects_of_neighbours,
    effects_of_regression,
)
from prh.core.metrics.base import METRICS, Metric, Representation, metric, variant
from prh.core.metrics.dissimilarities import rsa
from prh.core.metrics.effects import EFFECTS, Effects, effects
from prh.core.metrics.kernel_alignment import cka, debiased_cka, unbiased_cka
from prh.core.metrics.knn import cycle_knn, edit_distance_knn, jaccard_knn, lcs_knn, mutual_knn
from prh.core.metrics.masked_kernels import cknna
from prh.core.metrics.subspaces import linear_regression, procrustes, pwcca, svcca

__all__ = [
    "EFFECTS",
    "METRICS",
    "Effects",
    "Metric",
    "Representation",
    "cka",
    "cknna",
    "cycle_knn",
    "debiased_cka",
    "edit_distance_knn",
    "effects",
    "jaccard_knn",
    "lcs_knn",
    "linear_regression",
    "metric",
    "mutual_knn",
    "procrustes",
    "pwcca",
    "rsa",
    "svcca",
    "unbiased_cka",
    "variant",
]
