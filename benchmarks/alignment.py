"""Seconds to align all layers of many models, beside the matrix products alone and beside a loop over pairs.

    python benchmarks/alignment.py            # 454 x 352 layers (12 language, 17 vision models), n = 1,024
    python benchmarks/alignment.py --quick    # 24 x 16 layers, n = 512

Prints a markdown table. For each metric: seconds from features to scores of all layer pairs (neighbours, kernels and
decompositions included) and its ratio to the floor, the float32 products X X' of all layers that every neighbour search
must make. Then how many times longer a loop over pairs takes, both sides from scratch for every pair: timed on a sample
of pairs in the same run and multiplied up. The loop is what the official code does, for metrics that it does not have
(marked *) our own function of one pair. Metrics that need a decomposition for each pair are timed on few layers. Last,
a permutation null.
"""

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np
import torch

from prh.core.evidence import null_maxima
from prh.core.metrics import METRICS, Representation
from prh.core.preparation import prepare
from prh.core.scoring import scores

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PAIRWISE = ("procrustes", "pwcca")  # a decomposition per layer pair
FEW = (12, 9)  # layers on which these are timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small grid, seconds instead of minutes")
    parser.add_argument("--layers", type=int, nargs=2, default=(454, 352), help="layers of the two sides")
    parser.add_argument("--n", type=int, default=1024, help="samples")
    parser.add_argument("--width", type=int, default=768, help="features per layer")
    parser.add_argument("--k", type=int, default=10, help="neighbours")
    parser.add_argument("--metrics", nargs="*", default=sorted(METRICS, key=PAIRWISE.__contains__))
    parser.add_argument("--pairs", type=int, default=5, help="layer pairs of the timed loop")
    parser.add_argument("--permutations", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor seconds, on a machine in use")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.layers, arguments.n, arguments.permutations = (24, 16), 512, 50
    torch.set_num_threads(arguments.threads)

    rng = np.random.default_rng(0)
    shared = rng.normal(size=(arguments.n, 32)).astype(np.float32)
    xs, ys = ([_layer(rng, shared, arguments.width) for _ in range(count)] for count in arguments.layers)
    seconds = functools.partial(_timed, CLOCKS[arguments.clock])
    floor = min(seconds(lambda: _products(xs + ys, arguments.device)) for _ in range(2))
    print(f"{len(xs)} x {len(ys)} layers, n = {arguments.n:,}, width {arguments.width}, k = {arguments.k}, "
          f"{arguments.threads} threads, {arguments.clock} clock, {arguments.device}, "
          f"torch {torch.__version__}")  # fmt: skip
    print(f"\nFloor, the products X X' of {len(xs) + len(ys)} layers alone: {floor:.1f} s\n")
    print("| metric | seconds | of which pairs | ratio to the floor | loop over pairs, seconds | times faster |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in arguments.metrics:
        few = [side[:count] if name in PAIRWISE else side for side, count in zip((xs, ys), FEW, strict=True)]
        x, y = (
            Representation(s, side, device=arguments.device, memory_gb=8) for s, side in zip("xy", few, strict=True)
        )
        whole, again = (seconds(lambda: scores(x, y, name, arguments.k)) for _ in range(2))  # noqa: B023
        chosen = list(zip(xs, ys, strict=False))[: arguments.pairs]
        loop = LOOPS.get(name) or _own(name)
        one = seconds(lambda: [loop(a, b, arguments.k) for a, b in chosen]) / len(chosen)  # noqa: B023
        pairs, share = len(x) * len(y), (len(x) + len(y)) / (len(xs) + len(ys))
        title = f"{name}{'' if name in LOOPS else ' *'}{f', {len(x)} x {len(y)} layers' if name in PAIRWISE else ''}"
        print(f"| {title} | {whole:.1f} | {again:.1f} | {whole / floor / share:.1f} | {one * pairs:,.0f} | "
              f"{one * pairs / whole:,.0f} |", flush=True)  # fmt: skip
    x, y = Representation("x", xs[:24]), Representation("y", ys[:33])
    scores(x, y, "mutual_knn", arguments.k)
    null = seconds(lambda: null_maxima(x, y, "mutual_knn", arguments.k, arguments.permutations, rng))
    print(f"\nNull of mutual_knn, {arguments.permutations} permutations of {len(x)} x {len(y)} layers: {null:.1f} s")


def _layer(rng: np.random.Generator, shared: np.ndarray, width: int) -> torch.Tensor:
    mixed = shared @ rng.normal(size=(shared.shape[1], width)).astype(np.float32)
    return torch.as_tensor(prepare(np.tanh(mixed) + rng.normal(size=mixed.shape).astype(np.float32)))


def _timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start


def _products(layers: list[torch.Tensor], device: str) -> None:
    for layer in layers:
        layer = layer.to(device)
        layer @ layer.T
    if device != "cpu":
        torch.cuda.synchronize()


# One pair at a time, everything from the features: what a loop over pairs does ----------------------------------------


def _knn(x: torch.Tensor, k: int) -> torch.Tensor:
    return (x @ x.T).fill_diagonal_(-1e8).argsort(dim=1, descending=True)[:, :k]


def _mask(x: torch.Tensor, k: int) -> torch.Tensor:
    return torch.zeros(len(x), len(x)).scatter_(1, _knn(x, k), 1.0)


def _mutual_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    return ((_mask(x, k) * _mask(y, k)).sum(dim=1) / k).mean().item()


def _cycle_knn(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    back = _knn(x, k)[_knn(y, k)].reshape(len(x), -1)
    return (back == torch.arange(len(x))[:, None]).any(dim=1).float().mean().item()


def _hsic_biased(K: torch.Tensor, L: torch.Tensor) -> torch.Tensor:
    H = torch.eye(len(K)) - 1 / len(K)
    return torch.trace(K @ H @ L @ H)


def _hsic_unbiased(K: torch.Tensor, L: torch.Tensor) -> torch.Tensor:
    n = len(K)
    K, L = K.clone().fill_diagonal_(0), L.clone().fill_diagonal_(0)
    total = (K * L.T).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * (K @ L).sum() / (n - 2)
    return total / (n * (n - 3))


def _cka(hsic: Callable) -> Callable:
    def score(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
        K, L = x @ x.T, y @ y.T
        return (hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt()).item()

    return score


def _cknna(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
    K, L, k_mask, l_mask = x @ x.T, y @ y.T, _mask(x, k), _mask(y, k)
    both = k_mask * l_mask
    self_terms = _hsic_unbiased(k_mask * K, k_mask * K) * _hsic_unbiased(l_mask * L, l_mask * L)
    return (_hsic_unbiased(both * K, both * L) / self_terms.sqrt()).item()


def _own(name: str) -> Callable:
    def score(x: torch.Tensor, y: torch.Tensor, k: int) -> float:
        return scores(Representation("x", [x]), Representation("y", [y]), name, k)[0, 0]

    return score


LOOPS = {
    "mutual_knn": _mutual_knn,
    "cycle_knn": _cycle_knn,
    "cka": _cka(_hsic_biased),
    "unbiased_cka": _cka(_hsic_unbiased),
    "cknna_official": _cknna,
}

if __name__ == "__main__":
    main()
