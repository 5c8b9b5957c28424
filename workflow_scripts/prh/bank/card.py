"""The data card of a bank on the hub, written from the footers of its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from prh.bank.folder import FEATURES, MODELS, NEIGHBOURS, Bank
from prh.bank.packing import Package, without_paths
from prh.io import tables

SHOWN_SAMPLES = 3


def card(package: Package, repository: str, licences: Mapping[str, str]) -> str:
    """The text of README.md; ``licences`` are those that entries of the experiment state, by their name."""
    title = repository.split("/")[-1]
    parts = [
        f"---\n{yaml.safe_dump(_header(package, title), sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        f"A bank of representations made by prh {_version(package.banks[0])}: {_what(package)}. Score your own model "
        "against all of them, on the same samples:",
        _example(package, repository),
        *(_dataset(bank, package, licences) for bank in package.banks),
        _contents(package),
    ]
    return "\n\n".join(parts) + "\n"


def _header(package: Package, title: str) -> dict[str, Any]:
    names = {"models": MODELS, "alignment": "tables/alignment.parquet", "scores": "tables/scores.parquet"}
    return {
        "pretty_name": title,
        "tags": ["prh", "prh-bank", "representational-alignment"],
        "configs": [{"config_name": name, "data_files": path} for name, path in names.items() if path in package.files],
    }


def _version(bank: Bank) -> str:
    return str(_footer(bank, NEIGHBOURS, bank.models[0]).get("prh", ""))


def _what(package: Package) -> str:
    models = {model for bank in package.banks for model in bank.models}
    sets = ", ".join(f"{bank.dataset} ({bank.n:,} samples)" for bank in package.banks)
    return f"{_counted(len(models), 'model')} on {_counted(len(package.banks), 'data set')}, {sets}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _example(package: Package, repository: str) -> str:
    first = package.banks[0]
    dataset = f', dataset="{first.dataset}"' if len(package.banks) > 1 else ""
    return (
        "```python\n"
        "import numpy as np\n"
        "import prh\n\n"
        f'bank = prh.Bank("hub:{repository}"{dataset})  # add @revision to stay on one commit\n'
        'layers = [np.load("features.npy")]  # [samples, width], rows as in bank.sample_ids\n'
        "print(prh.score(layers, bank))\n"
        "```"
    )


def _dataset(bank: Bank, package: Package, licences: Mapping[str, str]) -> str:
    listed = package.folder / MODELS
    known = {row["model"]: row for row in pl.from_arrow(tables.read(listed)).iter_rows(named=True)}
    columns = ("model", "modality", "family", "parameters", "layers", "source", "revision", "licence")
    rows = [_row(bank, model, known.get(model, {}), licences) for model in bank.models]
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    lines = [_line(shown), _line(["---"] * len(shown)), *(_line([row.get(name) for name in shown]) for row in rows)]
    prepared = ", ".join(f"{key}: {value}" for key, value in bank.preparation.items())
    metrics = sorted({path.split("/")[2] for path in package.files if path.startswith(f"alignment/{bank.dataset}/")})
    facts = [
        f"- samples: {bank.n:,}, such as {', '.join(map(_code, bank.sample_ids[:SHOWN_SAMPLES]))}",
        f"- hash of the samples: `{tables.digest_of_samples(bank.sample_ids)}`",
        *([f"- hash of their images and captions: `{digest}`"] if (digest := _contents_digest(bank)) else []),
        f"- preparation of features: {prepared}",
        f"- neighbours stored for each sample (k_max): {_depth(bank)}",
    ]
    if metrics:
        facts.append(f"- metrics of the alignment tables: {', '.join(metrics)}")
    if licence := licences.get(bank.dataset):
        facts.append(f"- licence of the data: {licence}")
    figures = [path for path in package.files if path.startswith(f"figures/{bank.dataset}/")]
    images = [f"![{Path(path).stem.replace('_', ' ')}]({path})" for path in figures]
    return "\n\n".join([f"## Data set {bank.dataset}", "\n".join(facts), "\n".join(lines), *images])


def _row(bank: Bank, model: str, known: Mapping[str, Any], licences: Mapping[str, str]) -> dict[str, Any]:
    features = bank.folder / FEATURES / bank.dataset / f"{model}.parquet"
    footer = without_paths(tables.made_by(features)) if features.is_file() else {}
    entry = footer.get("settings", {}).get("model", {})
    layers = len(_footer(bank, NEIGHBOURS, model).get("layer_names", [])) or None
    row = {**known, "model": model, "layers": known.get("layers") or layers, "revision": footer.get("revision")}
    return {**row, "source": entry.get("id") or entry.get("source"), "licence": licences.get(model)}


def _footer(bank: Bank, kind: str, model: str) -> dict[str, Any]:
    return tables.made_by(bank.folder / kind / bank.dataset / f"{model}.parquet")


def _depth(bank: Bank) -> int:
    with tables.open_table(bank.folder / NEIGHBOURS / bank.dataset / f"{bank.models[0]}.parquet") as source:
        schema = source.schema_arrow
    return schema.field(tables.layer_columns(schema)[0]).type.list_size


def _contents_digest(bank: Bank) -> str | None:
    """The hash of the data set's contents that its manifest has."""
    path = bank.folder / "datasets" / bank.dataset / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")).get("digest") if path.is_file() else None


def _contents(package: Package) -> str:
    has = {path.split("/")[0] for path in package.files}
    lines = [
        "## What is here",
        "- `neighbours/`: the nearest neighbours of each sample in every layer, enough for metrics of neighbours",
        "- `tables/`: the models and, where the experiment made them, their alignments and scores",
        "- `datasets/`: ids and groups of the samples",
    ]
    shards = any(path.startswith("datasets/") and "/shards/" in path for path in package.files)
    lines += ["- `features/`: the features themselves, for all other metrics"] if FEATURES in has else []
    lines += ["- `alignment/`: the alignment of every pair of layers"] if "alignment" in has else []
    lines += ["- `bank.lock.yaml`: the version of each download"] if "bank.lock.yaml" in has else []
    note = "" if shards else "Images and captions are not part of this bank. "
    return "\n".join([lines[0], "", *lines[1:]]) + (
        f"\n\n{note}The licences of models and data remain those of their owners; what is stated above was stated in "
        "the experiment."
    )


def _line(cells: list[Any]) -> str:
    return f"| {' | '.join('' if cell is None else str(cell).replace('|', '/') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"
