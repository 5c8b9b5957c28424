"""Seconds to score layers of features against every model of a bank, features excluded.

    python benchmarks/score.py                      # 12 layers against 30 models of 12 layers, n = 1,024
    python benchmarks/score.py --models 5 --n 512   # smaller

Makes a bank on the spot, then prints the seconds to open it, to score against it for the first time (reading its
tables, preparing the layers, their neighbours, 200 permutations) and once more with the bank open, as in training; and
beside these the same null by a loop over models, as the rows of the workflow compute it, timed on one model.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import prh
from prh.core.preparation import prepare

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--layers", type=int, default=12, help="layers of each model, and of what is scored")
    parser.add_argument("--n", type=int, default=1024, help="samples")
    parser.add_argument("--width", type=int, default=768, help="features per layer")
    parser.add_argument("--k", type=int, default=10, help="neighbours")
    parser.add_argument("--k-max", type=int, default=128, help="neighbours that the bank stores")
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor seconds, on a machine in use")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    timed = functools.partial(_timed, CLOCKS[arguments.clock])
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(arguments.n, 32)).astype(np.float32)

    def layers() -> list[np.ndarray]:
        mixed = (shared @ rng.normal(size=(32, arguments.width)).astype(np.float32) for _ in range(arguments.layers))
        return [np.tanh(layer) + rng.normal(size=layer.shape).astype(np.float32) for layer in mixed]

    mine = layers()
    how = {"k": arguments.k, "permutations": arguments.permutations}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.models):  # one at a time: features of 30 models are 1 GB
            prh.make_bank(folder, {f"model{number:02d}": layers()}, dataset="d", k_max=arguments.k_max)
        Path(folder, "tables/models.parquet").unlink()  # which lists only the last one
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6
        prh.score([layer[:, :8] for layer in mine], folder, models=["model00"], permutations=1)  # imports
        opening = timed(lambda: prh.Bank(folder))
        bank = prh.Bank(folder)
        first, again = (timed(lambda: prh.score(mine, bank, **how)) for _ in range(2))
        without = timed(lambda: prh.score(mine, bank, k=arguments.k, permutations=0))
        x, y = prh.Representation("mine", prepare(mine)), bank.representation("model00", "mutual_knn", arguments.k)
        prh.compare(x, y, k=arguments.k)
        loop = timed(lambda: prh.compare(x, y, **how)) * arguments.models
    print(
        f"{arguments.layers} layers against {arguments.models} models, n = {arguments.n:,}, width {arguments.width}, "
        f"k = {arguments.k}, {arguments.permutations} permutations, {arguments.threads} threads, "
        f"{arguments.clock} clock; a bank of {size:.1f} MB with {arguments.k_max} neighbours\n"
    )
    print("| step | seconds |")
    print("|---|---:|")
    print(f"| open the bank | {opening:.2f} |")
    print(f"| score for the first time | {first:.2f} |")
    print(f"| score again, the bank open | {again:.2f} |")
    print(f"| the same without permutations | {without:.2f} |")
    print(f"| the null by a loop over models | {loop:.1f} |")


def _timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start


if __name__ == "__main__":
    main()
