"""A bank: the models of a results folder, ready to be compared with something new on the same samples.

A bank is the part of a results folder that a comparison reads. Neighbour tables alone are a bank; features are needed
only by metrics that read them, captions only to encode them, and the table of models only for their modalities::

    neighbours/{dataset}/{model}.parquet    required
    features/{dataset}/{model}.parquet      for metrics that need features
    datasets/{dataset}/                     manifest.json and shards/: captions, and groups of samples (or ids/)
    tables/models.parquet                   order and modalities of the models
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl

from prh.alignment import representations
from prh.bank.places import BankError, Place, place_of
from prh.core.metrics import METRICS, Representation
from prh.core.preparation import preparation_arguments
from prh.io import tables

NEIGHBOURS, FEATURES, MODELS = "neighbours", "features", "tables/models.parquet"


class Bank:
    """The models of a results folder on one data set, to score something new against (`prh.score`).

    Opening a bank reads its footers and sample ids. Neighbour tables are read when they are first needed and then kept,
    so one `Bank` should serve all scores of a training run.

    Parameters
    ----------
    location : str or Path
        A results folder, or ``hub:owner/name`` or ``hub:owner/name@revision`` for a data set repository of the hub with
        the same layout, which is downloaded once.
    dataset : str, optional
        Name of the data set; may be left out if the bank has only one.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    sample_ids : list of str [n]
        Its samples, in the order of all tables.
    models : list of str
        Names of the models, in the order of the experiment.
    preparation : dict
        Arguments of `prh.prepare` with which the features of all models were prepared.

    Raises
    ------
    ValueError
        If the bank does not exist, is damaged or holds tables of different samples or preparations; if it has several
        data sets and none is named; and for a data set that it does not have. FetchError, an OSError, if a repository
        cannot be fetched.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import prh
    >>> rng = np.random.default_rng(0)
    >>> models = {name: [rng.normal(size=(40, 8)).astype("float32")] for name in ("one", "two")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bank = prh.make_bank(folder, models, dataset="noise")
    >>> bank.dataset, bank.models, len(bank.sample_ids)
    ('noise', ['one', 'two'], 40)
    """

    def __init__(self, location: str | Path, dataset: str | None = None) -> None:
        self.location = str(location)
        self._place = place_of(self.location)
        self.folder = self._place.folder
        self.dataset = _chosen_dataset(self._place, self.location, dataset)
        self._place.fetch(f"{NEIGHBOURS}/{self.dataset}/*.parquet", MODELS)
        listed = _listed_models(self.folder)
        self.models = _models(self.folder / NEIGHBOURS / self.dataset, listed)
        self._modalities = {} if listed is None else dict(listed.select("model", "modality").iter_rows())
        first, *others = (self._footer(model) for model in self.models)
        self.preparation = _preparation(first, self._path(self.models[0]))
        for model, footer in zip(self.models[1:], others, strict=True):
            _require_alike(footer, first, self._path(model), self._path(self.models[0]))
        self.sample_ids = representations.read_samples(self._path(self.models[0]))
        if tables.digest_of_samples(self.sample_ids) != first.get("samples"):
            raise tables.TableError(
                f"{self._path(self.models[0])} lists other samples than its footer says; delete it and run again."
            )
        self._lists: dict[tuple[str, int | None], Representation] = {}
        self._stacks: dict[tuple[tuple[str, ...], int], Representation] = {}

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.sample_ids)

    def modality(self, model: str) -> str | None:
        """The modality of a model; None if the bank has no table of models."""
        return self._modalities.get(model)

    def representation(
        self, model: str, metric: str, k: int | None, *, device: str = "cpu", memory_gb: float = 2.0
    ) -> Representation:
        """What ``metric`` needs of a model of the bank. Raises ValueError if the bank does not hold it.

        Neighbours are kept for the next call; features are read again, since those of all models may exceed the memory.
        """
        if METRICS[metric].needs != "neighbours":
            return self._of_features(model, metric, device=device, memory_gb=memory_gb)
        if (model, k) not in self._lists:
            self._lists[model, k] = self._of_neighbours(model, k)
        return self._lists[model, k]

    def stacked(self, names: Sequence[str], metric: str, k: int) -> tuple[Representation, list[int]]:
        """The layers of several models as those of one, for a metric of neighbours, and where each model begins.

        The starts have one more entry, the number of all layers. Layers that are left out of a model are not there.
        """
        models = [self.representation(name, metric, k) for name in names]
        key = (tuple(names), k)
        if key not in self._stacks:
            self._stacks[key] = Representation("the bank", neighbours=[table for one in models for table in one.knn(k)])
        return self._stacks[key], np.cumsum([0, *map(len, models)]).tolist()

    def captions(self, number: int = 0) -> list[str]:
        """Caption ``number`` of every sample. Raises BankError if the bank has no captions, or not that one."""
        from prh.modalities.text_batches import captions_of

        texts: dict[str, str] = {}
        for path in self._shards:
            shard = tables.read(path, ["sample_id", "captions"])
            texts |= zip(shard["sample_id"].to_pylist(), (one for (one,) in captions_of(shard, number)), strict=True)
        missing = [sample for sample in self.sample_ids if sample not in texts]
        if missing:
            raise BankError(
                f"{self.location} has no captions for {len(missing)} of its {self.n} samples, such as {missing[0]!r}; "
                "pass texts, one for each of the bank's sample_ids, in their order."
            )
        return [texts[sample] for sample in self.sample_ids]

    def require_models(self, names: str | Sequence[str] | None) -> list[str]:
        """``names``, or all models for None. Raises BankError for none, and for one that the bank does not have."""
        names = [names] if isinstance(names, str) else names
        if names is not None and not len(names):
            raise BankError(f"models is empty; name some of {', '.join(self.models)}, or leave it out for all.")
        for name in names or ():
            if name not in self.models:
                raise BankError(f"{self.location} has no model {name!r}; it has {', '.join(self.models)}.")
        return self.models if names is None else list(names)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The group of each sample, int [n]; None if every sample is independent of the others.

        Tables of alignments say whether samples are grouped, so that shards, which may hold images and have to be
        fetched, are only read if they are, or if there is no such table. Raises BankError if samples are grouped and
        the shards are absent.
        """
        self._place.fetch(f"alignment/{self.dataset}/*/*.best.parquet")
        rows = sorted((self.folder / "alignment" / self.dataset).glob("*/*.best.parquet"))
        grouped = tables.made_by(rows[0]).get("settings", {}).get("grouped", False) if rows else None
        if grouped is False:
            return None
        if with_groups := self._ids or self._shards:
            groups = representations.read_groups(with_groups[0].parent, self.sample_ids, self._path(self.models[0]))
            return groups if len(np.unique(groups)) < self.n else None
        if grouped:
            raise BankError(
                f"the samples of {self.dataset} are grouped, and {self.location} has no shards with the groups: pass "
                "groups, one for each sample, or permutations=0."
            )
        return None

    @cached_property
    def _ids(self) -> list[Path]:
        """Shards with nothing but ids and groups, which a bank of the hub has instead of images and captions."""
        self._place.fetch(f"datasets/{self.dataset}/ids/*.parquet")
        return sorted((self.folder / "datasets" / self.dataset / "ids").glob("*.parquet"))

    @cached_property
    def _shards(self) -> list[Path]:
        self._place.fetch(f"datasets/{self.dataset}/shards/*.parquet")
        return sorted((self.folder / "datasets" / self.dataset / "shards").glob("*.parquet"))

    def _path(self, model: str, kind: str = NEIGHBOURS) -> Path:
        return self.folder / kind / self.dataset / f"{model}.parquet"

    def _footer(self, model: str) -> dict:
        return tables.require(self._path(model), model=model, dataset=self.dataset)

    def _of_neighbours(self, model: str, k: int | None) -> Representation:
        path = self._path(model)
        footer, table = self._footer(model), tables.read(path)
        left_out, columns = footer.get("left_out", []), iter(tables.layer_columns(table.schema))
        total = len(table.schema.names) - 1 + len(left_out)
        lists = [None if i in left_out else tables.layer_array(table, next(columns)) for i in range(total)]
        depth = min(layer.shape[1] for layer in lists if layer is not None)
        if k is not None and k > depth:
            raise BankError(
                f"k is {k}, but {self.location} holds {depth} neighbours of each sample of {model}; lower k."
            )
        lists = [None if layer is None else layer[:, :k] for layer in lists]
        return Representation(model, neighbours=lists, ties=footer.get("ties"))

    def _of_features(self, model: str, metric: str, **place: object) -> Representation:
        self._place.fetch(f"{FEATURES}/{self.dataset}/*.parquet")
        features = self._path(model, FEATURES)
        if not features.is_file():
            from_lists = ", ".join(sorted(name for name, traits in METRICS.items() if traits.needs == "neighbours"))
            raise BankError(
                f"the metric {metric} needs features, and {self.location} has none of {model} ({features}): choose a "
                f"metric of neighbours ({from_lists}), or a bank with features."
            )
        footer = tables.require(features, model=model, dataset=self.dataset)
        if footer.get("samples") != tables.digest_of_samples(self.sample_ids):
            raise tables.TableError(f"{features} holds other samples than {self._path(model)}; run snakemake again.")
        both = METRICS[metric].needs == "both"
        return representations.representation(
            model, features, self._path(model) if both else None, self.preparation, **place
        )


def _chosen_dataset(place: Place, location: str, dataset: str | None) -> str:
    present = place.folders_in(NEIGHBOURS)
    if not present:
        raise BankError(
            f"{location} is no bank: it has no folder {NEIGHBOURS}/ with a folder for each data set; pass the results "
            "folder of an experiment that has run."
        )
    if dataset is None and len(present) > 1:
        raise BankError(f"{location} has {len(present)} data sets: pass dataset, one of {', '.join(present)}.")
    if dataset is not None and dataset not in present:
        raise BankError(f"{location} has no data set {dataset!r}; it has {', '.join(present)}.")
    return dataset or present[0]


def _listed_models(folder: Path) -> pl.DataFrame | None:
    path = folder / MODELS
    return pl.from_arrow(tables.read(path, ["model", "modality"])) if path.is_file() else None


def _models(folder: Path, listed: pl.DataFrame | None) -> list[str]:
    """The models with a neighbour table: those that the table of models lists, in its order, if there is one."""
    present = sorted(path.stem for path in folder.glob("*.parquet"))
    names = present if listed is None else [name for name in listed["model"] if name in present]
    if not names:
        raise BankError(f"{folder} has no neighbour table of any model; run snakemake to make them.")
    return names


def _preparation(footer: Mapping, path: Path) -> dict[str, object]:
    """The preparation that a footer of neighbours records, where only what differs from the defaults is written."""
    settings = footer.get("settings")
    if not isinstance(settings, Mapping) or not isinstance(settings.get("alignment"), Mapping):
        raise tables.TableError(f"{path} does not record how its features were prepared; run snakemake to make it.")
    return preparation_arguments({**_defaults(), **settings["alignment"]})


def _defaults() -> dict[str, object]:
    """The defaults of the section ``alignment`` that settings in footers are relative to (prh.experiment.specs)."""
    record = resources.files("prh.experiment").joinpath("defaults.json")
    return json.loads(record.read_text(encoding="utf-8"))["Alignment"]


def _require_alike(footer: Mapping, first: Mapping, path: Path, first_path: Path) -> None:
    if footer.get("samples") != first.get("samples"):
        raise tables.TableError(f"{path} and {first_path} hold different samples; run snakemake to make both again.")
    if _preparation(footer, path) != _preparation(first, first_path):
        raise tables.TableError(
            f"{path} and {first_path} were made from features that were prepared differently; run snakemake again."
        )
