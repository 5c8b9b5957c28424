"""Every metric again, in plain NumPy float64, one layer pair at a time: slow, short, and close to its definition.

The library must give the same numbers. Nothing here is shared with it.
"""

import hashlib
import math

import numpy as np

EPS32 = float(np.finfo(np.float32).eps)


def knn(x, k, name="x", layer=0):
    """Neighbours by inner product rounded to float32 (products that differ by less are tied), ties in drawn order."""
    x = np.asarray(x, np.float64)
    similarity = np.array([[np.dot(a, b) for b in x] for a in x]).astype(np.float32)
    np.fill_diagonal(similarity, -np.inf)
    lots = np.array([[-lot(name, layer, i, j) for j in range(len(x))] for i in range(len(x))])
    return np.lexsort((lots, -similarity), axis=1)[:, :k]


def lot(name, layer, i, j):
    """The place of j in the order of the samples equally near to i, highest first."""
    key = int.from_bytes(hashlib.blake2b(f"{layer} {name}".encode(), digest_size=8).digest(), "little")
    first = _mix((_mix(i ^ key % 2**32) + (key >> 32)) % 2**32)
    second = _mix((first + 0x5BF03635) % 2**32)
    return _mix((_mix(j ^ first) + second) % 2**32)


def _mix(word):
    """The hash lowbias32 of Wellons."""
    word = (word ^ (word >> 16)) * 0x21F0AAAD % 2**32
    word = (word ^ (word >> 15)) * 0x735A2D97 % 2**32
    return word ^ (word >> 15)


def _lists(x, y, k):
    return zip(knn(x, k, "x"), knn(y, k, "y"), strict=True)


def mutual_knn(x, y, k):
    return np.mean([len(set(a) & set(b)) / k for a, b in _lists(x, y, k)])


def jaccard_knn(x, y, k):
    return np.mean([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in _lists(x, y, k)])


def cycle_knn(x, y, k):
    near_x, near_y = knn(x, k, "x"), knn(y, k, "y")
    return np.mean([any(i in near_x[j] for j in near_y[i]) for i in range(len(x))])


def lcs_knn(x, y, k):
    return np.mean([_lcs(a, b) / k for a, b in _lists(x, y, k)])


def _lcs(a, b):
    length = np.zeros((len(a) + 1, len(b) + 1))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            length[i + 1, j + 1] = length[i, j] + 1 if p == q else max(length[i, j + 1], length[i + 1, j])
    return length[-1, -1]


def edit_distance_knn(x, y, k):
    return np.mean([1 - _levenshtein(a, b) / k for a, b in _lists(x, y, k)])


def _levenshtein(a, b):
    distance = np.add.outer(np.arange(len(a) + 1.0), np.arange(len(b) + 1.0))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            distance[i + 1, j + 1] = min(distance[i, j] + (p != q), distance[i, j + 1] + 1, distance[i + 1, j] + 1)
    return distance[-1, -1]


def hsic_biased(K, L):
    H = np.eye(len(K)) - 1 / len(K)
    return np.trace(K @ H @ L @ H)


def hsic_unbiased(K, L):
    """Song et al. (2012), eq. 5, with the official code's transposition in the first term."""
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    return ((K * L.T).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K @ L).sum() / (n - 2)) / (n * (n - 3))


def _normalised(hsic, K, L, epsilon=0.0):
    return hsic(K, L) / (np.sqrt(hsic(K, K) * hsic(L, L)) + epsilon)


def cka(x, y):
    return _normalised(hsic_biased, x @ x.T, y @ y.T)


def cka_rbf(x, y, sigma=1.0):
    K, L = (np.exp(-((z[:, None] - z) ** 2).sum(-1) / (2 * sigma**2)) for z in (x, y))
    return _normalised(hsic_biased, K, L)


def unbiased_cka(x, y):
    return _normalised(hsic_unbiased, x @ x.T, y @ y.T)


debiased_cka = unbiased_cka


def _mask(x, k, name):
    mask = np.zeros((len(x), len(x)))
    np.put_along_axis(mask, knn(x, k, name), 1, axis=1)
    return mask


def _u_centred(K):
    n = len(K)
    K = K - np.diag(np.diag(K))
    K = K - K.sum(0) / (n - 2) - K.sum(1)[:, None] / (n - 2) + K.sum() / ((n - 1) * (n - 2))
    return K - np.diag(np.diag(K))


def cknna(x, y, k):
    A, B = (_mask(z, k, name) * _u_centred(z @ z.T) for z, name in ((x, "x"), (y, "y")))
    return (A * B).sum() / np.sqrt((A * A).sum() * (B * B).sum())


def cknna_paper(x, y, k):
    A, B = (_mask(z, k, name) * ((z - z.mean(0)) @ (z - z.mean(0)).T) for z, name in ((x, "x"), (y, "y")))
    return (A * B).sum() / np.sqrt((A * A).sum() * (B * B).sum())


def cknna_official(x, y, k):
    K, L, k_mask, l_mask = x @ x.T, y @ y.T, _mask(x, k, "x"), _mask(y, k, "y")
    both = k_mask * l_mask
    self_terms = hsic_unbiased(k_mask * K, k_mask * K) * hsic_unbiased(l_mask * L, l_mask * L)
    return hsic_unbiased(both * K, both * L) / (np.sqrt(self_terms) + 1e-6)


def _dissimilarities(x):
    return np.round(1 - np.corrcoef(x)[np.triu_indices(len(x), 1)], 7)


def _ranks(values):
    """Mean ranks: of equal values, the mean of the places they share."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def rsa(x, y):
    return np.corrcoef(_ranks(_dissimilarities(x)), _ranks(_dissimilarities(y)))[0, 1]


def rsa_pearson(x, y):
    return np.corrcoef(_dissimilarities(x), _dissimilarities(y))[0, 1]


def _svd(x):
    U, S, Vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    rank = int((S / S[0] > max(x.shape) * EPS32).sum())
    return U[:, :rank], S[:rank], Vt[:rank]


def svcca(x, y, dims=10):
    def leading(z):
        U, S, _ = _svd((z - z.mean(0)) / np.maximum(z.std(0, ddof=1), 1e-8))
        return U[:, : _with_equals(S, dims)]

    U, V = leading(x), leading(y)
    return np.linalg.svd(U.T @ V, compute_uv=False).sum() / min(U.shape[1], V.shape[1])


def _with_equals(S, count):
    """Of ``count`` leading singular values and those equal to the last."""
    last = S[min(count, len(S)) - 1]
    return int((last * (1 - 1e-7) < S).sum())


def pwcca(x, y, variance=0.99):
    def leading(z):
        U, S, _ = _svd(z)
        share = np.cumsum(S**2) / (S**2).sum()
        return U[:, : _with_equals(S, int((share < variance - 1e-12).sum()) + 1)]

    U, V = leading(x), leading(y)
    P, correlations, _ = np.linalg.svd(U.T @ V, full_matrices=False)
    projected = (U @ P).T @ (x - x.mean(0))
    start, total, weighted = 0, 0, 0
    for stop in [*(np.flatnonzero(correlations[:-1] - correlations[1:] > 1e-7) + 1), len(correlations)]:
        m = stop - start
        weight = np.linalg.norm(projected[start:stop], axis=0).sum() * m * _mean_coordinate(m)
        total, weighted = total + weight, weighted + weight * correlations[start:stop].mean()
        start = stop
    return weighted / total


def _mean_coordinate(m):
    """Mean size of the first coordinate of a random unit vector in m dimensions, 1 for m = 1."""
    return math.exp(math.lgamma(m / 2) - math.lgamma((m + 1) / 2)) / math.sqrt(math.pi)


def procrustes(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.svd(x.T @ y, compute_uv=False).sum() / np.linalg.norm(x) / np.linalg.norm(y)


def linear_regression(x, y):
    def unexplained(ridge):
        penalty = ridge * ((x - x.mean(0)) ** 2).sum() / len(x)
        return sum(_error_without(i, x, y, penalty) for i in range(len(x))) / ((y - y.mean(0)) ** 2).sum()

    return 1 - min(unexplained(ridge) for ridge in (0.01, 0.1, 1, 10, 100))


def _error_without(i, x, y, penalty):
    """Squared error of sample i predicted by a ridge regression on all others, its intercept not penalised."""
    a, b = np.delete(x, i, 0), np.delete(y, i, 0)
    mean_a, mean_b = a.mean(0), b.mean(0)
    a = a - mean_a
    weights = np.linalg.solve(a.T @ a + penalty * np.eye(x.shape[1]), a.T @ (b - mean_b))
    return ((y[i] - mean_b - (x[i] - mean_a) @ weights) ** 2).sum()
