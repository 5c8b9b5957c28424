"""Nearest neighbours read from a kernel: what ``prh.core.neighbours`` searches in features, found in similarities."""

from __future__ import annotations

import numpy as np
import torch

from prh.core import ties
from prh.core.kernel_inputs import as_similarities
from prh.core.neighbour_lists import tiled
from prh.core.neighbours import Neighbours
from prh.core.preparation import Precision

BYTES = 64  # per similarity of a tile: its rounded copy, and the keys by which rows with ties are sorted


def nearest_by_kernel(
    K: np.ndarray | torch.Tensor,
    k: int,
    *,
    key: int | None = None,
    numbers: np.ndarray | None = None,
    precision: Precision = "float32",
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> Neighbours:
    """The k samples that are most similar to each sample: those of the largest entries of its row of a kernel.

    Equal to ``prh.core.neighbours.nearest`` of features whose kernel this is: similarities are rounded to float32, and
    equal ones are in the same random order.

    Parameters
    ----------
    K : floating [q, m]
        Similarities of the first q samples of a gallery with all its m samples; usually q = m. A sample is not its own
        neighbour, so the diagonal is not read.
    k : int
        From 1 to m - 1.
    key : int, optional
        Key of the random order of equally similar samples (``prh.core.ties.key_of``); by default derived from the
        content of ``K``. Models that are compared must have different keys.
    numbers : int [m], optional
        Sample numbers of the gallery for that random order, if it is part of a larger set; by default 0 ... m - 1.
    precision : {"float32", "bfloat16"}
        What similarities are rounded to.
    device : str
        torch device to compute on.
    memory_gb : float
        Upper bound on the working memory, in addition to ``K``.

    Returns
    -------
    Neighbours
        The indices of the neighbours and the share of ties at each rank.

    Raises
    ------
    ValueError
        For a kernel that is not floating, holds NaN or inf, or has more rows than columns; for k out of range; and for
        an unknown precision.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_by_kernel(np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.5], [0.9, 0.5, 1.0]]), k=1).indices.ravel().tolist()
    [2, 2, 0]
    """
    K = as_similarities(K, "K", device)
    queries, gallery = K.shape
    if queries > gallery:
        raise ValueError(f"K has {queries} rows and {gallery} columns; its rows must be the first of the columns.")
    if not isinstance(k, (int, np.integer)) or not 1 <= k < gallery:
        raise ValueError(f"k is {k!r}, but K has {gallery} samples: k must be an integer from 1 to {gallery - 1}.")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; it must be 'float32' or 'bfloat16'.")
    numbers = torch.as_tensor(np.arange(gallery) if numbers is None else np.asarray(numbers, np.int64), device=K.device)
    depth = min(int(k) + 1, gallery - 1)  # one more than k, to see whether the k-th is tied with the next
    indices, tied = np.empty((queries, k), np.int32), np.zeros(k)
    for rows in tiled(queries, max(1, int(memory_gb * 2**30 / BYTES / gallery))):
        similarity = K[rows].to(torch.float32, copy=True)
        if precision == "bfloat16":
            similarity = similarity.bfloat16().float()
        own = torch.arange(rows.start, rows.stop, device=K.device)
        similarity[own - rows.start, own] = -torch.inf
        values, nearest = similarity.topk(depth, dim=1)
        equal = values[:, :-1] == values[:, 1:]
        unsure = equal.any(dim=1).nonzero().flatten()
        if len(unsure):
            key = ties.key_of_content(K) if key is None else key
            order = ties.priorities(key, numbers[own[unsure]], numbers)
            nearest[unsure] = ties.sortable(similarity[unsure], order).topk(depth, dim=1).indices
        indices[rows] = nearest[:, :k].cpu().numpy()
        tied[: equal.shape[1]] += equal.sum(dim=0).cpu().numpy()
    return Neighbours(indices, tied / queries)
