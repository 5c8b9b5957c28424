"""Exact neighbours of many samples: prh.core.neighbours.nearest beside faiss.IndexFlatIP on the same data.

    python benchmarks/neighbours_at_scale.py            # n = 100,000 x 1,024 on two cores, with faiss
    python benchmarks/neighbours_at_scale.py --quick    # n = 10,000 x 256
    python benchmarks/neighbours_at_scale.py --n 1000000 --device cuda --no-faiss --memory-gb 16

Prints a markdown table: seconds, peak memory above the data, share of rows where both find the same neighbours.
"""

import argparse
import resource
import time

import numpy as np
import torch

from prh.core.neighbours import nearest

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="n = 10,000 x 256: seconds")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor seconds, on a machine in use")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-gb", type=float, default=2.0)
    parser.add_argument("--no-faiss", action="store_true", help="leave the peer out")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n, arguments.width = 10_000, 256
    torch.set_num_threads(arguments.threads)

    x = _unit_rows(arguments.n, arguments.width)
    data = x.nbytes / 2**30
    print(f"n = {arguments.n:,} x {arguments.width}, k = {arguments.k}, {arguments.threads} threads, "
          f"{arguments.clock} clock, {arguments.device}, memory_gb = {arguments.memory_gb}, "
          f"data {data:.2f} GiB\n")  # fmt: skip
    print("| search | seconds | GFLOP/s | peak GiB above the data | rows with the same neighbours |")
    print("|---|---:|---:|---:|---:|")
    clock = CLOCKS[arguments.clock]
    start = clock()
    found = nearest(x, arguments.k, device=arguments.device, memory_gb=arguments.memory_gb)
    _line("prh.core.neighbours.nearest", clock() - start, arguments, data, "")
    if not arguments.no_faiss:
        start = clock()
        theirs = _faiss(x, arguments.k, arguments.threads)
        seconds = clock() - start
        same = np.mean([set(a) == set(b) for a, b in zip(found.indices, theirs, strict=True)])
        _line("faiss.IndexFlatIP", seconds, arguments, data, f"{same:.5f}")


def _unit_rows(n: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, width), dtype=np.float32)
    x += rng.standard_normal((n, 32), dtype=np.float32) @ rng.standard_normal((32, width), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def _faiss(x: np.ndarray, k: int, threads: int) -> np.ndarray:
    """Neighbours [n, k], self taken out (it is not always the first: inner products do not favour it by themselves)."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    found = index.search(x, k + 1)[1]
    others = found != np.arange(len(x))[:, None]
    return found[others & (np.cumsum(others, axis=1) <= k)].reshape(len(x), k)


def _line(name: str, seconds: float, arguments: argparse.Namespace, data: float, same: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - data
    rate = 2 * arguments.n**2 * arguments.width / seconds / 1e9
    print(f"| {name} | {seconds:.1f} | {rate:.0f} | {peak:.2f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
