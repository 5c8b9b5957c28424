"""The configuration of an experiment: every key, its type, default and meaning, in one place.

``config.schema.yaml`` is generated from these classes (``make schema``; a test keeps them equal), so that an
editor can complete and check an experiment file. `load` turns the parsed YAML into an `Experiment` with every
default filled in, or raises `ConfigError` with one sentence for each mistake.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from prh.core import sample_sizes
from prh.core.metrics import METRICS
from prh.datasets import local_forms
from prh.experiment.specs import section_in
from prh.io.addresses import is_complete, redacted, redacted_text
from prh.models import timm_names

# The lists of an experiment, which are those of a registry too (prh/experiment/registries.py).
LISTS = ("datasets", "models", "probes", "texts", "harness")

LONGEST_NAME = 100
"""Letters of a name: a figure's file may have two of them in its name, and a disk allows 255."""
LARGEST_NUMBER = 2**63 - 1


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _is_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+\S*", text) or not is_complete(text):
        raise ValueError("it is no address of the web: one begins with https:// or http://, then the host")
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=LONGEST_NAME)]
Pattern = Annotated[str, AfterValidator(_is_pattern)]
# The secrets of an address are for the download alone: what jobs depend on, and tell in their logs, are redacted ones.
Url = Annotated[str, AfterValidator(_is_address), PlainSerializer(redacted, return_type=str, when_used="json")]
Seed = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


LONGEST_LINE = 1500


def unusable_path(path: str) -> str | None:
    """Why a path cannot stand in patterns of Snakemake and in messages; None if it can. Commands quote it."""
    if not path.isprintable():
        return "has a character that cannot be printed, such as a line break"
    return next((f"has a {sign}, which has a meaning for Snakemake" for sign in "{}<>" if sign in path), None)


def safe_folder(path: str) -> str:
    """``path`` as the folder of results, without what says nothing (``./``, ``//``, a slash at its end).

    Raises ValueError with a sentence for a path that means another thing to Snakemake, to the shell or to programs.
    """
    tidy = re.sub("(?<!^)/+$", "", re.sub("//+", "/", re.sub(r"^(\./+)+", "", path)))
    reasons = {
        "is no folder of its own": tidy in ("", ".", "/"),
        "has a space at an end": path != path.strip(),
        "begins with ~, which is not expanded here": tidy.startswith("~"),
        "begins with -, like an option": tidy.startswith("-"),
        "has a $, and variables are not expanded here": "$" in tidy,
        "is an address (for a bucket see profiles/s3)": "://" in path,
    }
    reason = unusable_path(path) or next((reason for reason, holds in reasons.items() if holds), None)
    if reason:
        raise ValueError(f"results is {path!r}, which {reason}; name another folder, such as results")
    return tidy


class ConfigError(ValueError):
    """The configuration cannot be run; the message has one line for each mistake, without secrets of addresses."""

    def __init__(self, mistakes: str) -> None:
        super().__init__("\n".join(map(_shortened, redacted_text(mistakes).split("\n"))))


def _shortened(line: str) -> str:
    """A sentence that repeats a value of thousands of letters, without most of them."""
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} [...] {line[-half:]}"


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, raw: object) -> object:
        """``seed: yes`` is true in YAML, and would be the number 1."""
        for key, value in raw.items() if isinstance(raw, Mapping) else ():
            field = cls.model_fields.get(key) if isinstance(key, str) else None
            if isinstance(value, bool) and field is not None and not _allows(field.annotation, bool):
                raise ValueError(f"'{key}' is {str(value).lower()}, and wants another kind of value")
        return raw


def _allows(annotation: object, kind: type) -> bool:
    """Whether a type of a field is ``kind``, or a union or the like that holds it."""
    return annotation in (kind, object) or any(_allows(part, kind) for part in get_args(annotation))


class From(Section):
    """Entries of a registry: a YAML file with the same lists as an experiment. It stands in a list for many entries."""

    file: Annotated[str, Field(alias="from")]
    """The file, relative to the folder where snakemake runs."""
    only: list[str] | None = None
    """Names of the entries to take (null: all)."""
    without: list[str] = []
    """Names of entries to leave out."""
    set: dict[str, object] = {}
    """Keys with which every taken entry is changed."""


class _Dataset(Section):
    name: Name
    """Name in paths, tables and figures."""
    samples: Annotated[int, Field(ge=2)] | None = None
    """How many samples to take (null: all)."""
    shuffle_seed: Seed | None = None
    """Take the samples at random with this seed (null: the first ones, in the order of the source)."""
    image: str | None = "image"
    """Column with the image (null: the data set has none; a local file of texts alone needs no null)."""
    captions: str | None = "text"
    """Column with the caption or the list of captions (null: the data set has none; local folders of images need no
    null). sentences.raw is the field raw of the structs in column sentences; all columns can be named like that."""
    labels: list[str] = []
    """Columns with classes of a sample, for probes ("class": the folder, where there is one folder per class)."""
    group: str | None = None
    """Column with the group of a sample (a subject, a page, a video): groups are kept together when calibrating."""
    sample_id: str | None = "auto"
    """Column with the id of a sample, each its own (auto: file_name in metadata, else sample_id or id, else the samples
    are numbered; null: they are numbered)."""
    on_error: Literal["fail", "skip"] = "fail"
    """What a bad sample does (unreadable image, empty caption): stop the job, or leave the sample out and count it."""
    shard_size: Annotated[int, Field(ge=1)] = 512
    """Samples in a shard, fewer where they take more than 256 MiB; a killed extraction goes on after its last finished
    shard."""
    models: list[str] | None = None
    """The models that are run on it (null: all that can read it)."""
    use: Literal["alignment", "control", "probe"] = "alignment"
    """alignment: models are compared and all figures drawn; control: compared, with the alignment figures only;
    probe: features for probes, no comparison."""


class LocalDataset(_Dataset):
    """A folder (images with metadata.jsonl or metadata.csv, such metadata of texts alone, or one folder per class) or
    Parquet files on this machine. See docs/data.md.
    """

    source: Literal["local"]
    path: str
    """A folder or a .parquet file, relative to the folder where snakemake runs."""


class HubDataset(_Dataset):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    id: str
    """Repository, such as minhuh/prh."""
    revision: str | None = None
    """Branch, tag or (best) commit (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    split: str = "train"
    """Split to take."""
    subset: str | None = None
    """Configuration of the data set, where it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the files to download, such as train/*.tar (null: all). Then nothing else is read, such as a card
    that speaks of other files."""


class UrlDataset(_Dataset):
    """An archive (zip, tar) with a folder in one of the local forms."""

    source: Literal["url"]
    url: Url
    """Address of the archive. Passwords, tokens and signatures in it are written down nowhere else."""
    sha256: Sha256 | None = None
    """Hash that the archive must have (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    folder: str = "."
    """The folder inside the archive."""


class WorldDataset(_Dataset):
    """The events of the idealised world, each as an image and a caption."""

    source: Literal["world"]
    density: Annotated[float, Field(ge=0)] = 1.0
    """Words in a caption: the event and those that go with it best; below 1, the share of events told at all."""
    shuffled: bool = False
    """Deal the captions to the images at random: the negative control."""


Dataset = Annotated[LocalDataset | HubDataset | UrlDataset | WorldDataset, Field(discriminator="source")]


class World(Section):
    """The idealised world that data sets and models of source 'world' live in. See docs/world.md."""

    events: Annotated[int, Field(ge=32)] = 512
    """Number of events."""
    scale: Annotated[float, Field(gt=0, le=2)] = 1.25
    """How far a walk steps, in units of the spacing of the events."""
    image_size: Annotated[int, Field(ge=16)] = 32
    """Pixels on a side of an image."""
    seed: Seed = 0
    """Everything in the world is drawn from it."""


class _Training(Section):
    steps: Annotated[int, Field(ge=1)] = 200
    """Steps of AdamW."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Highest learning rate; it warms up and falls to zero."""
    seed: Seed = 0
    """Seed of weights and batches."""


class VisionTraining(_Training):
    """How a vision model of the world is trained."""

    architecture: str
    """Name of a timm architecture; its arguments are in model_args."""
    objective: Literal["temporal_contrastive", "next_event", "autoencoder", "supervised", "random"] = "next_event"
    """What it learns: see docs/world.md. random: nothing."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Images in a batch."""


class LanguageTraining(_Training):
    """How a language model of the world is trained."""

    architecture: Literal["gpt2", "llama"] = "gpt2"
    """Class of transformers."""
    width: Annotated[int, Field(ge=1)] = 32
    """Width of the transformer."""
    depth: Annotated[int, Field(ge=1)] = 2
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads; they divide the width."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Sequences in a batch."""
    context: Annotated[int, Field(ge=2)] = 32
    """Words in a sequence."""
    density: Annotated[float, Field(ge=0)] = 1.0
    """How events are told in the text that it reads."""


class Checkpoint(Section):
    """How a checkpoint that was not written by timm is read; every weight of the architecture must be found in it."""

    state: str | None = None
    """Key of the weights inside the file (null: the file is the weights)."""
    prefix: str = ""
    """What stands before the name of every weight that is wanted; others are left out."""
    drop: Pattern | None = None
    """Regular expression for whole names (after the prefix) to leave out, such as those of a head: fc\\..*"""


class _Model(Section):
    name: Name
    """Name in paths, tables and figures."""
    family: str | None = None
    """Models of one family are drawn together (null: the name)."""
    source: Literal["hub", "local", "url", "random", "world"]
    """Where the weights come from: the Hugging Face hub, a folder or file here, a checkpoint on the web, a random
    initialisation, or training in the idealised world."""
    id: str | None = None
    """hub: repository or timm name; url, local file, random: name of the timm architecture."""
    path: str | None = None
    """local: folder (or checkpoint file) with the weights; random, transformers: folder with config.json."""
    revision: str | None = None
    """hub: branch, tag or (best) commit (null: that of the first download, kept in the lock file)."""
    url: Url | None = None
    """url: address of the checkpoint. Passwords, tokens and signatures in it are written down nowhere else."""
    sha256: Sha256 | None = None
    """url: hash of the checkpoint (null: that of the first download, kept in the lock file)."""
    checkpoint: Checkpoint = Checkpoint()
    """url, local file: how the names in the checkpoint become those of the architecture."""
    seed: Seed = 0
    """random: seed of the initialisation."""
    model_args: dict[str, bool | int | float | str | list[int] | None] = {}
    """Arguments for the constructor of the architecture."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; auto: bfloat16 on a GPU that has it, else float32. Features are float32."""
    trust_remote_code: bool = False
    """Run code from the model's repository. Read it first."""
    selftest: bool = True
    """Prove, before anything is read from the model, that its weights are those of the checkpoint, that two passes are
    equal and that a sample does not depend on its batch. false leaves that out, and tables say so."""
    device_map: Literal["auto"] | None = None
    """auto: spread a transformers model over its GPUs, then memory, then disk, where one GPU is too small for it."""
    gpus: Annotated[int, Field(ge=1)] | None = None
    """How many GPUs a job of a model with device_map holds (null: as many of compute.gpu_memory as its parameters
    fill); without device_map it is one."""
    quantisation: Literal["4bit", "8bit"] | None = None
    """Load a transformers model with weights of so few bits (needs bitsandbytes). Features change, so the name must
    tell it (bloomz-7b1-4bit): every table and figure then does."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Number of parameters of the released model, heads included, for figures (null: counted)."""
    training: _Training | None = None
    """world: how it is trained."""
    objective: str | None = None
    """What it was trained to do, in a word or two."""
    training_data: str | None = None
    """What it was trained on."""
    licence: str | None = None
    """Licence of the weights."""
    gated: bool = False
    """Whether the hub wants an agreement and a token before it gives the weights."""
    paper: Literal["yes", "likely", "substitute", "no"] = "no"
    """Whether Huh et al. 2024 used it. likely: it is one of a group of which they used most and named none; substitute:
    it stands in for one of theirs that is not public."""

    @model_validator(mode="after")
    def _source_is_told(self) -> _Model:
        if self.source == "local" and not self.path:
            raise ValueError("source 'local' needs 'path', the folder or file with the weights")
        if self.source == "hub" and not self.id:
            raise ValueError("source 'hub' needs 'id', the repository or timm name")
        if self.source == "url" and not (self.url and self.id):
            raise ValueError("source 'url' needs 'url', the checkpoint, and 'id', the timm architecture that it fits")
        if self.source == "random" and not (self.id or self.path):
            raise ValueError("source 'random' needs 'id' (timm architecture) or 'path' (folder with config.json)")
        if (self.source == "world") != (self.training is not None):
            raise ValueError(
                "source 'world' and 'training' belong together: a model of the world is trained, no other is"
            )
        for key in ("device_map", "quantisation"):
            if getattr(self, key) is not None and not (
                self.library == "transformers" and self.source in ("hub", "local")
            ):
                raise ValueError(f"'{key}' is for models of library transformers and source hub or local")
        if self.quantisation is not None and self.quantisation not in self.name:
            raise ValueError(
                f"'name' must contain {self.quantisation}, its quantisation, which all tables and figures tell by it"
            )
        if self.gpus is not None and self.device_map is None:
            raise ValueError("'gpus' goes with 'device_map: auto'; without it a model lies on one GPU")
        if self.device_map is not None and self.gpus is None and self.parameters is None:
            raise ValueError("'device_map' needs 'gpus', how many there are for it, or 'parameters', to reckon it from")
        return self


class VisionModel(_Model):
    """A model of images."""

    modality: Literal["vision"]
    library: Literal["timm", "transformers"] = "timm"
    """Library that has the architecture."""
    pooling: Literal["auto", "cls", "mean", "gap"] = "auto"
    """A layer's vector: cls, the class token; mean, over all tokens; gap, over the places of the image (class and
    register tokens left out). auto: cls where there is a class token, else gap."""
    training: VisionTraining | None = None
    """world: how it is trained."""
    layers: Pattern | None = None
    """Regular expression for the names of the modules whose outputs are the layers (null: every block)."""


class LanguageModel(_Model):
    """A model of text."""

    modality: Literal["language"]
    library: Literal["transformers", "word_vectors"] = "transformers"
    """Library that has the architecture; word_vectors: a folder with vectors.safetensors and vocab.txt."""
    pooling: Literal["mean", "last", "cls"] = "mean"
    """A layer's vector: mean over the tokens of the text, the last token (of the text towers of CLIP and its like the
    one that ends the text, from which they take their embedding), or the first."""
    training: LanguageTraining | None = None
    """world: how it is trained."""
    causal: bool | None = None
    """Whether it predicts the next token: texts and harness tasks are scored for such models only. null: what the model
    turns out to be when it is loaded; for one that is not causal the tables of scores are empty and say why. true: an
    error if it is not. false: no scores are asked for."""
    special_tokens: bool = True
    """Whether the mean takes in special tokens such as BOS (the paper does; a BOS adds a constant to every sample)."""
    template: str = "{caption}"
    """Prompt around the caption."""
    caption: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Which caption of a sample: its number, or all (features are averaged)."""

    @model_validator(mode="after")
    def _template_has_caption(self) -> LanguageModel:
        try:
            is_filled = "a cat" in self.template.format(caption="a cat")
        except (ValueError, LookupError, AttributeError):
            is_filled = False
        if not is_filled:
            raise ValueError("'template' must contain {caption} and no other field; a brace itself is written {{ or }}")
        return self


class Reality(Section):
    """The kernel of the idealised world itself, as a model: what all others should converge to."""

    name: Name
    """Name in paths, tables and figures."""
    modality: Literal["world"]
    source: Literal["world"] = "world"
    family: str | None = None
    """Models of one family are drawn together (null: the name)."""


Model = Annotated[VisionModel | LanguageModel | Reality, Field(discriminator="modality")]


class Probe(Section):
    """A classification task for vision models: a linear probe on their features."""

    name: Name
    """Name of the task."""
    group: Literal["natural", "specialised", "structured"] = "natural"
    """VTAB group."""
    train: str
    """Data set with the training samples."""
    test: str | None = None
    """Data set with the test samples (null: a part of the training samples, held out)."""
    label: str
    """Column with the classes, one of the data set's 'labels'."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """How many classes there must be, or the probe is refused (null: not checked)."""
    bins: Annotated[int, Field(ge=2)] | None = None
    """Merge 'classes', numbered from 0 in their order, into so many of equal width (null: as they are)."""
    limit: Annotated[int, Field(ge=2)] = 10_000
    """At most so many training samples, drawn by class."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the samples that is held out where 'test' is null."""
    layer: int = -1
    """Layer whose features are probed, counted from the end if negative."""
    seed: Seed = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _bins_are_fewer(self) -> Probe:
        if self.bins is not None and (self.classes is None or self.bins >= self.classes):
            raise ValueError("'bins' merges classes, so 'classes' must be given and be more")
        return self


class Text(Section):
    """A text on which language models are scored in bits per byte."""

    name: Name
    """Name of the text."""
    source: Literal["local", "hub", "world"]
    """A file here, a data set of the Hugging Face hub, or walks through the idealised world that no model has read."""
    path: str | None = None
    """local: a .txt file (a document per line), or a folder or .jsonl file with captions, as a data set."""
    id: str | None = None
    """hub: repository."""
    revision: str | None = None
    """hub: branch, tag or (best) commit (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the text."""
    split: str = "train"
    """hub: split to take."""
    subset: str | None = None
    """hub: configuration of the data set, where it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """hub: patterns of the files to download (null: all). A sample needs the first file of a large corpus only."""
    column: str = "text"
    """hub: column with the documents."""
    documents: Annotated[int, Field(ge=1)] | None = None
    """How many documents to take, from the first on (null: all; world: 64)."""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """Take documents until they hold so many bytes of UTF-8 (null: no bound)."""
    window: Annotated[int, Field(ge=2)] = 512
    """Tokens that a model sees at once."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens that each window scores after the first (null: half a window)."""

    @model_validator(mode="after")
    def _source_is_told(self) -> Text:
        for source, key in (("local", "path"), ("hub", "id")):
            if (self.source == source) != (getattr(self, key) is not None):
                raise ValueError(f"source '{source}' and '{key}' belong together")
        return self


class HarnessTask(Section):
    """A task of EleutherAI's lm-eval."""

    name: Name
    """lm-eval's name of the task."""
    source: Literal["lm_eval", "local", "world"]
    """lm-eval's own tasks, a folder with a task file here, or walks of the idealised world to be continued."""
    path: str | None = None
    """local: folder with the task's YAML file."""
    metric: str = "acc"
    """The metric of the task that figures show."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Examples in the prompt (null: the task's own number)."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many questions (world: 200 are made)."""

    @model_validator(mode="after")
    def _source_is_told(self) -> HarnessTask:
        if (self.source == "local") != (self.path is not None):
            raise ValueError("source 'local' and 'path' belong together")
        return self


class Alignment(Section):
    """How representations are compared."""

    metrics: Annotated[list[str], Field(min_length=1)] = ["mutual_knn"]
    """Metrics, see docs/metrics.md."""
    k: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [10]
    """Numbers of neighbours."""
    n: list[Annotated[int, Field(ge=2)]] = []
    """Sizes of the gallery at which neighbour metrics are measured besides: the same queries, as many as the smallest
    size, in nested galleries."""
    k_max: Annotated[int, Field(ge=1)] = 128
    """Depth of the stored neighbour lists: any k up to it is read from them, and so is every half of the samples where
    k_max is some 2 k + 10 sqrt(k) + 45."""
    preparation: Literal["own", "official", "official_precise", "official_library"] = "own"
    """own: features are prepared as the next three keys say. The others prepare them as the authors' code does, which
    fixes these keys: official is its command line as published, official_precise the same with --precise, and
    official_library its Python interface, with bfloat16 kernels (docs/parity.md)."""
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

    @model_validator(mode="after")
    def _preparation_is_told_once(self) -> Alignment:
        fixed = sorted({"clamp", "clamp_scope", "normalise"} & self.model_fields_set)
        if self.preparation != "own" and fixed:
            raise ValueError(f"preparation '{self.preparation}' fixes {', '.join(fixed)}: leave these out")
        return self


class Figures(Section):
    """Choices for the figures."""

    layer_pairs: list[tuple[str, str]] = []
    """Model pairs whose layer x layer matrix is drawn besides that of the best vision and language pair."""
    tasks: str = "VTAB"
    """What the probed tasks are called in Figure 2."""
    text: str | None = None
    """The text whose bits per byte stand for competence in language (null: the first)."""
    reference: str | None = None
    """Vision family (or model) to which Figure 4 aligns language models (null: the family of the last vision model)."""


class Compute(Section):
    """How the machine is used. Nothing here changes a result, so a change here runs nothing again."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: models take a GPU where there is one; neighbours and comparisons take the CPU, so that they wait for none.
    cuda: these take a GPU too. cpu: nothing does."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Samples in a batch, of language models sequences; halved when memory runs out."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads of an extraction, of the scoring of a language model, of a search for neighbours, or of sharding."""
    gpu_memory: Annotated[int, Field(ge=1)] = 80
    """Memory of one GPU, in GiB; it tells how many GPUs a model with device_map needs."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """GB that a search for neighbours or a comparison may hold at once, on its device, beside features and results."""
    forkserver: bool = True
    """Whether jobs on this machine start as forks of one process that has imported their libraries (Linux)."""


class Experiment(Section):
    """An experiment: data sets, models, and how they are compared."""

    results: Annotated[str, AfterValidator(safe_folder)] = "results"
    """Folder for everything that is made. Experiments that share work name the same folder."""
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """The data sets; every model that can read a data set is run on it."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models. Add new ones at the end: each is compared with those before it."""
    world: World = World()
    alignment: Alignment = Alignment()
    probes: list[Probe] = []
    """Tasks for vision models (Figure 2)."""
    texts: list[Text] = []
    """Texts for language models (Figure 3)."""
    harness: list[HarnessTask] = []
    """Tasks for language models (Figure 4)."""
    figures: Figures = Figures()
    compute: Compute = Compute()

    def dataset(self, name: str) -> _Dataset:
        """The data set entry called ``name`` (KeyError if there is none)."""
        return _named(self.datasets, name)

    def urls(self) -> list[str]:
        """The addresses of its data sets and models."""
        return [url for entry in (*self.datasets, *self.models) if (url := getattr(entry, "url", None)) is not None]

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
    if not isinstance(raw, Mapping):
        raise ConfigError("an experiment must hold keys such as datasets and models.")
    if too_large := _too_large(raw):
        raise ConfigError(too_large)
    try:
        experiment = Experiment.model_validate(dict(raw))
    except ValidationError as error:
        sentences = dict.fromkeys(redacted_text(_sentence(item, raw)) for item in error.errors())
        raise ConfigError("\n".join(sentences)) from None
    experiment = _with_forms(experiment, Path(folder))
    mistakes = [
        *_repeated(experiment),
        *_unknown_names(experiment),
        *_metric_mistakes(experiment),
        *_size_mistakes(experiment),
        *_probe_mistakes(experiment),
        *_model_mistakes(experiment),
        *_alike_addresses(experiment),
        *_missing_paths(experiment, Path(folder)),
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return experiment


def _with_forms(experiment: Experiment, folder: Path) -> Experiment:
    """``experiment`` with image or captions null where it leaves them out and local data cannot have them."""
    entries = []
    for entry in experiment.datasets:
        open_keys = {"image", "captions"} - entry.model_fields_set
        if entry.source == "local" and open_keys:
            lacking = open_keys & local_forms.not_there(folder / entry.path)
            entry = entry.model_copy(update=dict.fromkeys(lacking))
        entries.append(entry)
    return experiment.model_copy(update={"datasets": entries})


def _repeated(experiment: Experiment) -> list[str]:
    """What is there twice, also for a disk that does not tell VIT from vit, and for two outputs of one path."""
    mistakes = []
    for kind in LISTS:
        names = [entry.name for entry in getattr(experiment, kind)]
        mistakes += [
            f"{kind}: the name '{name}' is used {count} times; give each entry its own."
            for name, count in Counter(names).items()
            if count > 1
        ]
        alike: dict[str, str] = {}
        mistakes += [
            f"{kind}: the names '{alike[name.lower()]}' and '{name}' are one file on some disks; rename one."
            for name in dict.fromkeys(names)
            if alike.setdefault(name.lower(), name) != name
        ]
    models = {model.name for model in experiment.models}
    mistakes += [
        f"models: '{model}{ending}' has the path of a table of '{model}'; rename it."
        for model in sorted(models)
        for ending in (".best", ".sweep")
        if model + ending in models
    ]
    for key in ("metrics", "k", "n"):
        counts = Counter(getattr(experiment.alignment, key))
        mistakes += [
            f"alignment.{key}: {value} is listed {n} times; list it once." for value, n in counts.items() if n > 1
        ]
    return mistakes


def _unknown_names(experiment: Experiment) -> list[str]:
    known, figures = {model.name for model in experiment.models}, experiment.figures
    mistakes = [
        f"figures.layer_pairs: there is no model '{name}'."
        for pair in figures.layer_pairs
        for name in pair
        if name not in known
    ]
    for dataset in experiment.datasets:
        mistakes += [
            f"datasets, entry '{dataset.name}': there is no model '{name}'{_meant(name, known)}."
            for name in dataset.models or ()
            if name not in known
        ]
    if figures.text not in {None, *(text.name for text in experiment.texts)}:
        mistakes.append(f"figures.text: there is no text '{figures.text}'.")
    vision = [model for model in experiment.models if model.modality == "vision"]
    families = {name for model in vision for name in (model.name, model.family) if name is not None}
    if figures.reference not in {None, *families}:
        meant = _meant(figures.reference, families)
        mistakes.append(f"figures.reference: there is no vision family or model '{figures.reference}'{meant}.")
    return mistakes


def _probe_mistakes(experiment: Experiment) -> list[str]:
    labels = {entry.name: set(entry.labels) for entry in experiment.datasets}
    mistakes = []
    for probe in experiment.probes:
        for name in filter(None, (probe.train, probe.test)):
            if name not in labels:
                mistakes.append(f"probe '{probe.name}': there is no data set '{name}'{_meant(name, labels)}.")
            elif probe.label not in labels[name]:
                mistakes.append(f"probe '{probe.name}': add '{probe.label}' to the labels of data set '{name}'.")
    return mistakes


def _model_mistakes(experiment: Experiment) -> list[str]:
    """Architectures that timm does not have: a job would say so after hours of others."""
    mistakes = []
    for model in experiment.models:
        if model.modality != "vision":
            continue
        named = model.training.architecture if model.training else model.id
        is_read = model.library == "timm" and (model.source != "local" or not Path(str(model.path)).is_dir())
        if named is not None and is_read and (mistake := timm_names.mistake(named)):
            mistakes.append(f"models, entry '{model.name}': {mistake}.")
    return mistakes


def _alike_addresses(experiment: Experiment) -> list[str]:
    """Addresses that are told apart only by what is never written down: one would be taken for the other."""
    named: dict[str, tuple[str, str]] = {}
    mistakes = []
    for entry in (*experiment.datasets, *experiment.models):
        if (url := getattr(entry, "url", None)) is None:
            continue
        name, other = named.setdefault(redacted(url), (entry.name, url))
        if other != url:
            mistakes.append(
                f"the addresses of '{name}' and '{entry.name}' differ only in what may be a password or a signature; "
                "give both the same."
            )
    return mistakes


def _too_large(raw: object) -> str | None:
    """A sentence on a whole number that no machine counts with."""
    todo, seen = [("", raw)], set()
    while todo:
        key, value = todo.pop()
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            digits = int((value.bit_length() - 1) * math.log10(2)) + 1
            return f"{key}: a number of {digits} digits is too large (at most {LARGEST_NUMBER:,})."
        if id(value) in seen or not isinstance(value, (Mapping, list)):
            continue
        seen.add(id(value))
        inside = value.items() if isinstance(value, Mapping) else ((key, part) for part in value)
        todo += [(f"{key}.{name}".lstrip(".") if isinstance(value, Mapping) else key, part) for name, part in inside]
    return None


def _metric_mistakes(experiment: Experiment) -> list[str]:
    settings = experiment.alignment
    mistakes = [
        f"alignment.metrics: there is no metric '{name}'{_meant(name, METRICS)}."
        for name in settings.metrics
        if name not in METRICS
    ]
    if settings.subsamples == 1:
        mistakes.append(
            "alignment.subsamples: one half-sample has no spread; ask for 2 at least (100 is plenty), or 0."
        )
    return mistakes


def _size_mistakes(experiment: Experiment) -> list[str]:
    """Where k neighbours, or k in a half of the samples, are more than there can be."""
    settings, mistakes = experiment.alignment, []
    largest, halved = max(settings.k), bool(settings.subsamples or settings.splits)
    compared = {entry.name: _samples(entry, experiment) for entry in experiment.datasets if entry.use != "probe"}
    deepest = max((size - 1 if size else math.inf for size in compared.values()), default=0)
    needed = min(listed_for_halves(largest), deepest)
    if largest > settings.k_max:
        mistakes.append(f"alignment.k: {largest} is above k_max = {settings.k_max}; raise k_max.")
    elif halved and needed > settings.k_max:
        mistakes.append(
            f"alignment.k_max: {settings.k_max} is too short for k = {largest} in halves of the samples; raise it to "
            f"{needed}, or set subsamples and splits to 0."
        )
    if settings.n and largest >= min(settings.n):
        mistakes.append(f"alignment.n: a gallery of {min(settings.n)} is too small for k = {largest}.")
    for name, size in compared.items():
        if size is None:
            continue
        if largest >= size:
            mistakes.append(
                f"alignment.k: {largest} neighbours need more than the {size} samples of data set '{name}'; k must be "
                "below the number of samples."
            )
        elif halved and largest >= size // 2:
            mistakes.append(
                f"alignment.k: {largest} neighbours need more than half of the {size} samples of data set '{name}'; "
                "lower k, or set subsamples and splits to 0."
            )
        for metric in settings.metrics:
            if metric in METRICS and (mistake := sample_sizes.mistake(size, metric, halved=halved)):
                mistakes.append(f"data set '{name}': {mistake}")
        if settings.n and max(settings.n) > size:
            mistakes.append(
                f"alignment.n: a gallery of {max(settings.n)} needs more than the {size} samples of data set '{name}'."
            )
    return mistakes


def _samples(entry: _Dataset, experiment: Experiment) -> int | None:
    """How many samples a data set has at most, as far as its entry says."""
    if entry.source == "world":
        return min(entry.samples or experiment.world.events, experiment.world.events)
    return entry.samples


def listed_for_halves(k: int) -> int:
    """How deep neighbours must be listed for k of them to lie in every random half of the samples.

    Of a list of m, m / 2 neighbours do, give or take sqrt(m) / 2. The answer is the m at which k is seven times that
    below: of all samples, layers and halves of a large experiment (10^9) none is then expected to have fewer.
    """
    return math.ceil(2 * k + 24.5 + 7 * math.sqrt(2 * k + 12.25))


def _missing_paths(experiment: Experiment, folder: Path) -> list[str]:
    mistakes = []
    entries = (experiment.datasets, experiment.models, experiment.texts, experiment.harness)
    for kind, group in zip(("data set", "model", "text", "harness task"), entries, strict=True):
        for entry in group:
            path = getattr(entry, "path", None)
            if path is not None and (unusable := unusable_path(path)):
                mistakes.append(f"{kind} '{entry.name}': path {path!r} {unusable}; rename it.")
            elif path is not None and not os.path.exists(folder / path):  # Path.exists raises for impossible names
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
            return f"{where}: {error['ctx']['error']}."
        case "literal_error":
            return f"{where}: {error['input']!r} is not one of {error['ctx']['expected']}."
        case "string_too_long":
            return f"{where}: {len(error['input'])} letters are too many; at most {error['ctx']['max_length']} may be."
        case _:
            got = repr(error["input"])
            return f"{where}: {error['msg']} (got {got if len(got) <= 200 else f'{got[:200]} ...'})."


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
    "datasets": (LocalDataset, HubDataset, UrlDataset, WorldDataset),
    "models": (VisionModel, LanguageModel, Reality),
    "probes": (Probe,),
    "texts": (Text,),
    "harness": (HarnessTask,),
    "world": (World,),
    "alignment": (Alignment,),
    "figures": (Figures,),
    "compute": (Compute,),
}


def _keys(loc: tuple, node: object) -> list[str]:
    """The keys allowed where an unknown one was found."""
    classes = _SECTIONS.get(str(loc[0]), (Experiment,)) if len(loc) > 1 else (Experiment,)
    for step in loc[1:-1]:
        fields = [described for one in classes if (described := one.model_fields.get(step)) is not None]
        classes = [inner for one in fields if (inner := section_in(one.annotation))] or classes
    used = set(node) if isinstance(node, Mapping) else set()
    return sorted({name for section in classes for name in section.model_fields} - used)


def _meant(word: str, known: object) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def schema() -> str:
    """The JSON schema of an experiment file, as YAML with a heading."""
    heading = "# Generated from workflow_scripts/prh/experiment/config.py by `make schema`; do not edit.\n"
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    body["$defs"]["From"] = From.model_json_schema()
    for kind in LISTS:
        entries = body["properties"][kind]
        entries["items"] = {"anyOf": [entries["items"], {"$ref": "#/$defs/From"}]}
    return heading + yaml.safe_dump(body, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    print(schema(), end="")
