"""Linear probe: time and optimum of prh beside scikit-learn, on features with the spectrum of real ones.

python benchmarks/probes.py [--samples 10000 --width 1024 --classes 100 --threads 2 --device cpu]

Both fit the same path of regularisation on the same standardised features. The objective is computed for both in
float64, so "excess" (objective above the smaller of the two, relative) says who stopped further from the optimum.
CPU seconds (all threads) stand beside seconds: on a busy machine only they can be compared.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from prh.competence.logistic import fit_logistic
from prh.competence.probes import GRID, linear_probe


def synthetic(samples: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes whose principal axes fall off as 1 / rank^0.7 and are turned away from the coordinates."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    deviation = np.arange(1, width + 1) ** -0.7
    centres = 0.3 * rng.normal(size=(classes, width))
    labels = rng.integers(0, classes, samples)
    return (((centres[labels] + rng.normal(size=(samples, width))) * deviation) @ turn).astype(np.float32), labels


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, l2: float) -> float:
    logits = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    top = logits.max(1)
    log_z = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return float((log_z - logits[np.arange(len(y)), y]).mean() + l2 / 2 * np.square(weight, dtype=np.float64).sum())


def scikit_learn_path(x: np.ndarray, y: np.ndarray, tolerance: float) -> list[tuple[np.ndarray, np.ndarray]]:
    model = LogisticRegression(solver="lbfgs", max_iter=300, tol=tolerance, warm_start=True)
    path = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for l2 in GRID:
            model.set_params(C=1 / (len(x) * l2)).fit(x, y)
            path.append((model.coef_.copy(), model.intercept_.copy()))
    return path


def prh_path(x: np.ndarray, y: np.ndarray, classes: int, device: str) -> list[tuple[np.ndarray, np.ndarray]]:
    fits = fit_logistic(torch.as_tensor(x, device=device), y, classes, GRID)
    return [(fit.weight.cpu().numpy(), fit.bias.cpu().numpy()) for fit in fits]


def timed(call, *args):
    """The result of ``call``, and how long it took in words."""
    start, cpu = time.perf_counter(), time.process_time()
    result = call(*args)
    return result, f"{time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} CPU s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="scikit-learn's tol")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    x, y = synthetic(2 * args.samples, args.width, args.classes)
    train, test = slice(args.samples), slice(args.samples, None)
    with threadpool_limits(args.threads):
        probe, seconds = timed(lambda: linear_probe(x[train], y[train], x[test], y[test], device=args.device))
        print(f"linear_probe, {len(GRID)} strengths, refit: {seconds}; top-1 {probe.top1:.4f} at l2 = {probe.l2:g}")

        scaled = ((x - x[train].mean(0)) / x[train].std(0))[train]
        ours, our_time = timed(prh_path, scaled, y[train], args.classes, args.device)
        theirs, their_time = timed(scikit_learn_path, scaled, y[train], args.tolerance)
    print(f"one path: prh {our_time}, scikit-learn {their_time}")
    print("| l2 | excess prh | excess scikit-learn |\n| --- | --- | --- |")
    for l2, own, other in zip(GRID, ours, theirs, strict=True):
        values = [objective(scaled, y[train], *fit, l2) for fit in (own, other)]
        print(f"| {l2:g} | " + " | ".join(f"{value / min(values) - 1:.1e}" for value in values) + " |")


if __name__ == "__main__":
    main()
