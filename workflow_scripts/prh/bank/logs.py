"""Scores as numbers that the logger of a training loop takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prh.bank.folder import Bank
from prh.bank.scoring import score


def score_logs(
    representation: Any, bank: str | Path | Bank, *, prefix: str = "alignment", **options: Any
) -> dict[str, float]:
    """The scores of `prh.score` as a flat dictionary, for the logger of any training loop.

    Parameters
    ----------
    representation, bank
        As for `prh.score`. Pass an open `Bank`, so that its tables are read only once.
    prefix : str
        First part of all keys.
    **options
        All other arguments of `prh.score`.

    Returns
    -------
    dict of str to float
        For each model of the bank ``{prefix}/{model}``, its score, and ``{prefix}_calibrated/{model}``, its calibrated
        score, if there are permutations and the metric has one.

    Raises
    ------
    ValueError
        As `prh.score`.

    Examples
    --------
    In a training loop: ``if step % 500 == 0: run.log(prh.score_logs(model, bank, data=loader), step=step)``.

    >>> import tempfile
    >>> import numpy as np
    >>> import prh
    >>> x = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prh.score_logs(x, prh.make_bank(folder, {"same": [x]}), permutations=0)
    {'alignment/same': 1.0}
    """
    rows = score(representation, bank, **options).iter_rows(named=True)
    logs = {}
    for row in rows:
        logs[f"{prefix}/{row['model']}"] = row["score"]
        if row["calibrated"] is not None:
            logs[f"{prefix}_calibrated/{row['model']}"] = row["calibrated"]
    return logs
