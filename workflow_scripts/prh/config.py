"""The configuration of an experiment: every key, its type, default and meaning, in one place.

``config.schema.yaml`` is generated from these classes (``make schema``; a test keeps them equal), so that an
editor can complete and check an experiment file. `load` turns the parsed YAML into an `Experiment` with every
default filled in, or raises `ConfigError` with one sentence for each mistake.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prh.metrics import METRICS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seed = Annotated[int, Field(ge=0)]


class ConfigError(ValueError):
    """The configuration cannot be run; the message has one line for each mistake."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Dataset(Section):
    name: Name
    """Name in paths, tables and figures."""
    samples: Annotated[int, Field(ge=2)] | None = None
    """How many samples to take (null: all)."""
    shuffle_seed: Seed | None = None
    """Take the samples at random with this seed (null: the first ones, in the order of the source)."""
    image: str | None = "image"
    """Column with the image (null: the data set has none)."""
    captions: str | None = "text"
    """Column with the caption or the list of captions (null: the data set has none)."""
    label: str | None = None
    """Column with the class of a sample."""
    group: str | None = None
    """Column with the group of a sample (a subject, a page, a video): groups are kept together when calibrating."""
    on_error: Literal["fail", "skip"] = "fail"
    """What a bad sample does (unreadable image, empty caption): stop the job, or leave the sample out and count it."""
    shard_size: Annotated[int, Field(ge=1)] = 512
    """Samples in a shard; a killed extraction goes on after its last finished shard."""


class LocalDataset(_Dataset):
    """A folder (images with metadata.jsonl, or one folder per class) or Parquet files on this machine."""

    source: Literal["local"]
    path: str
    """A folder or a .parquet file, relative to the folder where snakemake runs."""


class HubDataset(_Dataset):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    id: str
    """Repository, such as minhuh/prh."""
    revision: str
    """Branch, tag or (best) commit."""
    split: str = "train"
    """Split to take."""
    subset: str | None = None
    """Configuration of the data set, where it has several."""


class UrlDataset(_Dataset):
    """An archive (zip, tar) with a folder in one of the local forms."""

    source: Literal["url"]
    url: str
    """Address of the archive."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Hash that the archive must have."""
    folder: str = "."
    """The folder inside the archive."""


Dataset = Annotated[LocalDataset | HubDataset | UrlDataset, Field(discriminator="source")]


class _Model(Section):
    name: Name
    """Name in paths, tables and figures."""
    family: str | None = None
    """Models of one family are drawn together (null: the name)."""
    source: Literal["hub", "local", "random"]
    """Where the weights come from: the Hugging Face hub, a folder or file here, or a random initialisation."""
    id: str | None = None
    """hub: repository or timm name; random: name of the timm architecture."""
    path: str | None = None
    """local: folder (or checkpoint file) with the weights; random, transformers: folder with config.json."""
    revision: str | None = None
    """hub: branch, tag or (best) commit."""
    seed: Seed = 0
    """random: seed of the initialisation."""
    model_args: dict[str, bool | int | float | str | list[int] | None] = {}
    """Arguments for the constructor of the architecture."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; auto: bfloat16 on a GPU that has it, else float32. Features are float32."""
    trust_remote_code: bool = False
    """Run code from the model's repository. Read it first."""

    @model_validator(mode="after")
    def _source_is_told(self) -> _Model:
        if self.source == "local" and not self.path:
            raise ValueError("source 'local' needs 'path', the folder or file with the weights")
        if self.source == "hub" and not self.id:
            raise ValueError("source 'hub' needs 'id', the repository or timm name")
        if self.source == "random" and not (self.id or self.path):
            raise ValueError("source 'random' needs 'id' (timm architecture) or 'path' (folder with config.json)")
        return self


class VisionModel(_Model):
    """A model of images."""

    modality: Literal["vision"]
    library: Literal["timm", "transformers"] = "timm"
    """Library that has the architecture."""
    pooling: Literal["auto", "cls", "mean", "gap"] = "auto"
    """A layer's vector: cls, the class token; mean, over all tokens; gap, over the places of the image (class and
    register tokens left out). auto: cls where there is a class token, else gap."""
    layers: str | None = None
    """Regular expression for the names of the modules whose outputs are the layers (null: every block)."""


class LanguageModel(_Model):
    """A model of text."""

    modality: Literal["language"]
    library: Literal["transformers", "word_vectors"] = "transformers"
    """Library that has the architecture; word_vectors: a folder with vectors.safetensors and vocab.txt."""
    pooling: Literal["mean", "last", "cls"] = "mean"
    """A layer's vector: mean over the tokens of the text, the last token, or the first."""
    special_tokens: bool = True
    """Whether the mean takes in special tokens such as BOS (the paper does; a BOS adds a constant to every sample)."""
    template: str = "{caption}"
    """Prompt around the caption."""
    caption: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Which caption of a sample: its number, or all (features are averaged)."""

    @model_validator(mode="after")
    def _template_has_caption(self) -> LanguageModel:
        if "{caption}" not in self.template:
            raise ValueError("'template' must contain {caption}")
        return self


Model = Annotated[VisionModel | LanguageModel, Field(discriminator="modality")]


class Alignment(Section):
    """How representations are compared."""

    metrics: Annotated[list[str], Field(min_length=1)] = ["mutual_knn"]
    """Metrics, see docs/metrics.md."""
    k: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [10]
    """Numbers of neighbours."""
    k_max: Annotated[int, Field(ge=1)] = 128
    """Depth of the stored neighbour lists: any k up to it, and every subsample, is read from them."""
    clamp: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    """Features are cut at this quantile of their absolute values (null: not at all)."""
    clamp_scope: Literal["layer", "global"] = "layer"
    """One threshold for each layer, or one for all layers of a model as in the official code's tensor path."""
    normalise: bool = True
    """Divide each feature vector by its Euclidean length."""
    permutations: Annotated[int, Field(ge=0)] = 200
    """Permutations of the samples for the null distribution of the best layer pair (0: no calibration)."""
    subsamples: Annotated[int, Field(ge=0)] = 100
    """Half-samples for the interval of the best score (0: none)."""
    splits: Annotated[int, Field(ge=0)] = 5
    """Random splits for the cross-fitted score and the optimism of the maximum (0: none)."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level of thresholds and intervals."""
    seed: Seed = 0
    """Seed of permutations, subsamples and splits."""


class Figures(Section):
    """Choices for the figures."""

    layer_pairs: list[tuple[str, str]] = []
    """Model pairs whose layer x layer matrix is drawn besides that of the best vision and language pair."""


class Compute(Section):
    """How the machine is used. Nothing here changes a result, so a change here runs nothing again."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Samples in a batch; halved when memory runs out."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads of an extraction."""


class Experiment(Section):
    """An experiment: data sets, models, and how they are compared."""

    results: str = "results"
    """Folder for everything that is made. Experiments that share work name the same folder."""
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """The data sets; every model that can read a data set is run on it."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models. Add new ones at the end: each is compared with those before it."""
    alignment: Alignment = Alignment()
    figures: Figures = Figures()
    compute: Compute = Compute()

    def dataset(self, name: str) -> _Dataset:
        """The data set entry called ``name`` (KeyError if there is none)."""
        return _named(self.datasets, name)

    def model(self, name: str) -> _Model:
        """The model entry called ``name`` (KeyError if there is none)."""
        return _named(self.models, name)


def _named(entries: list, name: str) -> Section:
    for entry in entries:
        if entry.name == name:
            return entry
    raise KeyError(name)


def load(raw: Mapping[str, object], folder: str | Path = ".") -> Experiment:
    """Check ``raw`` (a parsed experiment file) and fill in defaults.

    Paths of local data and weights are looked up relative to ``folder``. Raises ConfigError with a line for each
    mistake: unknown or missing keys, wrong types, names used twice, unknown metrics, k >= n, missing folders.
    """
    try:
        experiment = Experiment.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(dict.fromkeys(_sentence(item, raw) for item in error.errors()))) from None
    mistakes = [*_repeated(experiment), *_metric_mistakes(experiment), *_missing_paths(experiment, Path(folder))]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return experiment


def _repeated(experiment: Experiment) -> list[str]:
    mistakes = []
    for kind, entries in (("datasets", experiment.datasets), ("models", experiment.models)):
        counts = Counter(entry.name for entry in entries)
        mistakes += [
            f"{kind}: the name '{name}' is used {count} times; give each entry its own."
            for name, count in counts.items()
            if count > 1
        ]
    known = {model.name for model in experiment.models}
    for pair in experiment.figures.layer_pairs:
        mistakes += [f"figures.layer_pairs: there is no model '{name}'." for name in pair if name not in known]
    return mistakes


def _metric_mistakes(experiment: Experiment) -> list[str]:
    settings = experiment.alignment
    mistakes = [
        f"alignment.metrics: there is no metric '{name}'{_meant(name, METRICS)}."
        for name in settings.metrics
        if name not in METRICS
    ]
    largest = max(settings.k)
    if largest > settings.k_max:
        mistakes.append(f"alignment.k: {largest} is above k_max = {settings.k_max}; raise k_max.")
    for dataset in experiment.datasets:
        if dataset.samples is not None and largest >= dataset.samples:
            mistakes.append(
                f"alignment.k: {largest} neighbours need more than the {dataset.samples} samples of data set "
                f"'{dataset.name}'; k must be below the number of samples."
            )
    return mistakes


def _missing_paths(experiment: Experiment, folder: Path) -> list[str]:
    mistakes = []
    for kind, entries in (("data set", experiment.datasets), ("model", experiment.models)):
        for entry in entries:
            path = getattr(entry, "path", None)
            if path is not None and not (folder / path).exists():
                mistakes.append(f"{kind} '{entry.name}': path {path} does not exist (relative to {folder.resolve()}).")
    return mistakes


def _sentence(error: Mapping, raw: Mapping[str, object]) -> str:
    """One pydantic error as one sentence that names the entry and the key."""
    entry, section, key = _place(error["loc"], raw)
    where = f"{entry}, {key}" if key else entry
    match error["type"]:
        case "extra_forbidden":
            return f"{entry}: unknown key '{key}'{_meant(key, _keys(error['loc'], section))}."
        case "missing":
            return f"{entry}: the key '{error['loc'][-1]}' is missing."
        case "union_tag_not_found":
            return f"{entry}: the key {error['ctx']['discriminator']} is missing."
        case "union_tag_invalid":
            context = error["ctx"]
            return f"{entry}: unknown {context['discriminator']} '{context['tag']}'; known: {context['expected_tags']}."
        case "value_error":
            return f"{entry}: {error['ctx']['error']}."
        case "literal_error":
            return f"{where}: {error['input']!r} is not one of {error['ctx']['expected']}."
        case _:
            return f"{where}: {error['msg']} (got {error['input']!r})."


def _place(loc: tuple, raw: Mapping[str, object]) -> tuple[str, Mapping, str]:
    """Where an error is, in the words of the file: ("models, entry 'vit'", that entry, "pooling").

    ``loc`` also holds steps that are not in the file: the tags of pydantic's unions.
    """
    words, node, section, key = [], raw, raw, ""
    for step in loc:
        if isinstance(node, Mapping) and step in node:
            node, key = node[step], str(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node, key = node[step], f"{key}[{step}]"
        else:
            continue
        if isinstance(node, Mapping):
            words = [str(loc[0]), f"entry {node.get('name', step + 1)!r}"] if isinstance(step, int) else [*words, key]
            section, key = node, ""
    return ", ".join(words) or "the experiment", section, key


_SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "datasets": (LocalDataset, HubDataset, UrlDataset),
    "models": (VisionModel, LanguageModel),
    "alignment": (Alignment,),
    "figures": (Figures,),
    "compute": (Compute,),
}


def _keys(loc: tuple, node: object) -> list[str]:
    """The keys allowed where an unknown one was found."""
    classes = _SECTIONS.get(str(loc[0]), (Experiment,)) if len(loc) > 1 else (Experiment,)
    used = set(node) if isinstance(node, Mapping) else set()
    return sorted({name for section in classes for name in section.model_fields} - used)


def _meant(word: str, known: object) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def schema() -> str:
    """The JSON schema of an experiment file, as YAML with a heading."""
    heading = "# Generated from workflow_scripts/prh/config.py by `make schema`; do not edit.\n"
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    return heading + yaml.safe_dump(body, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    print(schema(), end="")
