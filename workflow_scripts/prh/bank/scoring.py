"""Score something new against every model of a bank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from prh.alignment.comparisons import compare_in_order
from prh.bank.arrays import as_representation
from prh.bank.counting import COUNTING, counted
from prh.bank.folder import Bank
from prh.core import sample_sizes
from prh.core.alignment import PairAlignment
from prh.core.scoring import metric_called

TABLE = {
    "model": pl.String,
    "modality": pl.String,
    "score": pl.Float64,
    "threshold": pl.Float64,
    "p": pl.Float64,
    "calibrated": pl.Float64,
    "layer": pl.Int16,
    "model_layer": pl.Int16,
    "n": pl.Int32,
    "k": pl.Int32,
    "metric": pl.String,
}
"""Columns of the table of `score`."""


def score(
    representation: Any,
    bank: str | Path | Bank,
    dataset: str | None = None,
    *,
    metric: str = "mutual_knn",
    k: int = 10,
    permutations: int = 200,
    sample_ids: Iterable[object] | None = None,
    name: str = "mine",
    models: str | Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    device: str = "cpu",
    memory_gb: float = 2.0,
    data: Iterable[Any] | None = None,
    tokenizer: Callable | None = None,
    texts: Sequence[str] | None = None,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
) -> pl.DataFrame:
    """How much something new agrees with every model of a bank, and how sure that is.

    Features are prepared as those of the bank's models were (its footers say how) and compared with each model on all
    layer pairs; scores, thresholds and p-values are computed as in the workflow's own tables of alignments.

    Parameters
    ----------
    representation : floating [n, d], a list or mapping of them, Representation, or torch.nn.Module
        What is scored. Arrays (NumPy or torch) are features as the model gives them; a list or mapping holds the layers
        in order. A `Representation` is used as it is: prepared already, under its own name. A module is run on ``data``
        or on texts, without gradients and in evaluation mode, and left in the mode it was in.
    bank : str, Path or Bank
        A results folder, ``hub:owner/name@revision``, or a `Bank` that is open already, which saves reading it again.
    dataset : str, optional
        The data set of the bank; may be left out if there is only one.
    metric : str
        A name in ``prh.metrics.METRICS``. Neighbour tables are enough for metrics of neighbours; for others the bank
        must have features.
    k : int
        Number of neighbours, for metrics that use them.
    permutations : int
        Size of the permutation null of the maximum over layer pairs; 0 for no threshold, p and calibrated score.
    sample_ids : sequence of str [n], optional
        Which sample each row is. Rows are joined with the bank's samples by these, and rows of other samples are not
        used. Without ids the rows must be all samples in the bank's order (``Bank.sample_ids``).
    name : str
        Its name in messages, and key of the random order of ties (``prh.core.ties``): give it a name that no model of
        the bank has.
    models : str or sequence of str, optional
        Compare with these models only.
    groups : sequence [n], optional
        Group of each sample of the bank, in its order, if samples are not independent; by default those that the bank's
        shards tell.
    alpha : float
        Significance level of the threshold.
    seed : int
        Seed of the permutations.
    device : str
        torch device of products, for metrics that need them.
    memory_gb : float
        Upper bound on the working memory of a step.
    data : iterable of batches, optional
        For a module: a DataLoader that yields the inputs in the order of the bank's samples, or of ``sample_ids``, and
        so must not shuffle. A batch is a tensor, a mapping of arguments, or a tuple of inputs and anything else.
    tokenizer : callable, optional
        For a transformers model that reads text: its tokenizer.
    texts : sequence of str [n], optional
        What a model with a tokenizer reads; by default the first caption of each of the bank's samples.
    layers : str or sequence of str, optional
        Of a module run on ``data``: the modules whose outputs are its layers, as a regular expression for their full
        names or as a list of these. By default its blocks, found as in the workflow.
    pooling : str, optional
        How the outputs of a module are pooled: "cls", "gap" or "mean" for images, "mean", "last" or "cls" for texts and
        other sequences. By default "cls" for images if all layers have a class token, and the mean for all others.

    Returns
    -------
    DataFrame
        One row per model of the bank, best first (by calibrated score, or by score where there is none): model,
        modality, score, threshold, p, calibrated, layer (of what is scored) and model_layer of the best pair, n, k,
        metric. For a metric that is not symmetric the score is that of (representation, model).

    Raises
    ------
    ValueError
        For arrays that are not floating [n, d] without NaN, rows that are not the bank's samples, a k beyond the bank's
        neighbours, features that the bank does not have, an unknown metric, model or data set, and a module whose
        layers or pooling cannot be determined.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import prh
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(100, 6))
    >>> mixed = lambda d: (shared @ rng.normal(size=(6, d))).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     models = {"alike": [mixed(32)], "noise": [rng.normal(size=(100, 32)).astype("float32")]}
    ...     bank = prh.make_bank(folder, models)
    ...     table = prh.score([mixed(64), mixed(48)], bank, permutations=99)
    >>> table["model"].to_list(), table["p"][0], table["calibrated"][1]
    (['alike', 'noise'], 0.01, 0.0)
    """
    bank = _opened(bank, dataset)
    names, traits = bank.require_models(models), metric_called(metric)
    k = k if traits.needs_k else None
    _require_settings(k, permutations, alpha, seed, needs_k=traits.needs_k)
    sample_sizes.require(bank.n, traits.name)
    how = {"data": data, "tokenizer": tokenizer, "texts": texts, "layers": layers, "pooling": pooling}
    place = {"device": device, "memory_gb": memory_gb}
    if is_module(representation):
        from prh.bank.modules import layers_of

        representation = layers_of(representation, bank, name=name, **how)
    elif ignored := [key for key, value in how.items() if value is not None]:
        raise ValueError(f"{' and '.join(ignored)} only apply to a torch module; {name} is features already.")
    x = as_representation(representation, bank.sample_ids, bank.preparation, sample_ids=sample_ids, name=name, **place)
    if groups is None and permutations:
        groups = bank.groups
    groups = None if groups is None else np.asarray(groups)
    evidence = {"permutations": permutations, "groups": groups, "alpha": alpha, "seed": seed}
    if traits.name in COUNTING:
        alignments = counted(x, bank, names, traits, k, **evidence)
    else:
        models_of_bank = ((model, bank.representation(model, traits.name, k, **place)) for model in names)
        alignments = ((model, compare_in_order(x, y, traits.name, k, **evidence)) for model, y in models_of_bank)
    rows = [_row(model, bank.modality(model), alignment) for model, alignment in alignments]
    table = pl.DataFrame(rows, schema=TABLE, orient="row")
    return table.sort("calibrated", "score", descending=True, nulls_last=True, maintain_order=True)


def _require_settings(k: object, permutations: object, alpha: float, seed: object, *, needs_k: bool) -> None:
    """Raise ValueError for a setting that is not a number of its range."""
    numbers = [("permutations", permutations, 0), ("seed", seed, 0), *([("k", k, 1)] if needs_k else [])]
    for key, value, least in numbers:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{key} is {value!r}; it must be a whole number of at least {least}.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")


def is_module(value: Any) -> bool:
    """Whether ``value`` is a torch module; torch is imported only where it may be one."""
    return hasattr(value, "forward") and hasattr(value, "named_modules")


def _opened(bank: str | Path | Bank, dataset: str | None) -> Bank:
    if not isinstance(bank, Bank):
        return Bank(bank, dataset)
    return bank if dataset in (None, bank.dataset) else Bank(bank.location, dataset)


def _row(model: str, modality: str | None, alignment: PairAlignment) -> dict[str, object]:
    return {
        "model": model,
        "modality": modality,
        "score": alignment.best,
        "threshold": alignment.threshold,
        "p": alignment.p,
        "calibrated": alignment.calibrated,
        "layer": alignment.layers[0],
        "model_layer": alignment.layers[1],
        "n": alignment.n,
        "k": alignment.k,
        "metric": alignment.metric,
    }
