"""Banks written from arrays, without the workflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from prh.alignment import representations
from prh.bank.folder import FEATURES, MODELS, NEIGHBOURS, Bank
from prh.bank.rows import as_ids
from prh.core.preparation import prepared_layers
from prh.io import tables

NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Names of models and data sets, as in an experiment."""


def make_bank(
    folder: str | Path,
    models: Mapping[str, Sequence[np.ndarray]],
    *,
    dataset: str = "samples",
    sample_ids: Sequence[str] | None = None,
    modalities: Mapping[str, str] | None = None,
    features: bool = False,
    k_max: int = 128,
    clamp: float | None = 0.95,
    normalise: bool = True,
) -> Bank:
    """Write a bank from arrays, without the workflow: neighbours, and features if wanted.

    Parameters
    ----------
    folder : str or Path
        Where to write it; a results folder of the workflow in all that `prh.score` reads.
    models : mapping of str to a list of floating [n, d_l]
        Layers of each model, not prepared; rows are the same samples in the same order.
    dataset : str
        Name of the data set.
    sample_ids : sequence of str [n], optional
        Names of the samples; by default their numbers.
    modalities : mapping of str to str, optional
        Modality of each model.
    features : bool
        Whether features are stored too, for metrics that need them.
    k_max : int
        Neighbours stored per sample, at most n - 1.
    clamp, normalise
        Preparation of the features (`prh.prepare`), for these models and for all that is scored against them.

    Returns
    -------
    Bank
        The bank, open.

    Raises
    ------
    ValueError
        For no models, names that cannot be those of files, layers that `prh.prepare` rejects, models or ids of
        different numbers of samples, or repeated ids.

    Examples
    --------
    >>> import tempfile
    >>> rng = np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bank = make_bank(folder, {"noise": [rng.normal(size=(40, 8)).astype("float32")]}, k_max=10)
    >>> bank.models, bank.n
    (['noise'], 40)
    """
    if not models:
        raise ValueError("a bank needs at least one model.")
    for name in (dataset, *models):
        if not re.fullmatch(NAME, name):
            raise ValueError(f"{name!r} cannot be the name of a file; use letters, digits, '.', '-' and '_'.")
    folder, modalities = Path(folder), modalities or {}
    counts = {len(layer) for layers in models.values() for layer in layers}
    if len(counts) != 1:
        raise ValueError(f"all layers of all models must have the same samples; they have {sorted(counts)} rows.")
    (n,) = counts
    ids = as_ids(range(n) if sample_ids is None else sample_ids, n, "the models")
    preparation = {"clamp": clamp, "clamp_scope": "layer", "normalise": normalise}
    facts = {"dataset": dataset, "samples": tables.digest_of_samples(ids)}
    for name, layers in models.items():
        footer = {**facts, "model": name, "layer_names": [f"layer_{number}" for number in range(len(layers))]}
        named = ((f"{name}, layer {number}", layer) for number, layer in enumerate(layers))
        prepared = prepared_layers(named, **preparation)
        lists, about_lists = representations.neighbours_table(name, ids, prepared, min(k_max, n - 1))
        settings = {"settings": {"alignment": {**preparation, "k_max": k_max}}}
        path = folder / NEIGHBOURS / dataset / f"{name}.parquet"
        tables.write(lists, path, tables.provenance(**footer, **about_lists, **settings))
        if features:
            stored = tables.layers_table(ids, [np.asarray(layer, np.float32) for layer in layers])
            tables.write(stored, folder / FEATURES / dataset / f"{name}.parquet", tables.provenance(**footer))
    listed = pl.DataFrame(
        {"model": list(models), "modality": [modalities.get(name) for name in models]},
        schema={"model": pl.String, "modality": pl.String},
    )
    tables.write(listed.to_arrow(), folder / MODELS, tables.provenance())
    return Bank(folder, dataset)
