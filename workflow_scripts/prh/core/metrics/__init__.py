"""Metrics of representational alignment: plain functions of two arrays, and a registry of them for the workflow.

>>> import prh.core.metrics
>>> prh.core.metrics.METRICS["mutual_knn"].summary
'mean share of common nearest neighbours'

Each function takes two arrays [n, d] with paired rows (NumPy or torch) and returns a float; or two ``Representation``
objects, and returns the scores of all their layer pairs. docs/metrics.md compares them in a table.
Importing this package does not import torch.
"""

from prh.core.metrics.base import METRICS, Metric, Representation, metric, variant
from prh.core.metrics.kernels import cka, cknna, debiased_cka, rsa, unbiased_cka
from prh.core.metrics.knn import cycle_knn, edit_distance_knn, jaccard_knn, lcs_knn, mutual_knn
from prh.core.metrics.subspaces import linear_regression, procrustes, pwcca, svcca

__all__ = [
    "METRICS",
    "Metric",
    "Representation",
    "cka",
    "cknna",
    "cycle_knn",
    "debiased_cka",
    "edit_distance_knn",
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
