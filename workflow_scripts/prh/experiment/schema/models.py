"""The models of an experiment, one class per modality."""

from __future__ import annotations

import re
from collections import ChainMap
from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema, model_validator

from prh.downloads.sources import SOURCES, known, source_of
from prh.experiment.schema.base import Pattern, Section, Seed, Sha256, Url
from prh.experiment.schema.brought import Brought
from prh.experiment.schema.checkpoints import Checkpoints
from prh.experiment.schema.given import GIVEN
from prh.experiment.schema.model_entry import ModelEntry
from prh.experiment.schema.training import LanguageTraining, VisionTraining, _Training
from prh.modalities.base import MODALITIES

TAKEN_ARGUMENTS = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "scriptable"),
    *("exportable", "no_jit", "auto_map", "attn_implementation", "quantization_config", "trust_remote_code"),
}
"""Arguments that say where weights or code come from. Other keys of an entry control these, or nothing may."""


def _are_of_architecture(arguments: dict[str, object]) -> dict[str, object]:
    for name in arguments:
        if name in TAKEN_ARGUMENTS or not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"{name!r} is not an argument of an architecture; leave it out")
    return arguments


def _is_factory(text: str) -> str:
    if not re.fullmatch(r"(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*", text):
        raise ValueError(f"{text!r} is not a factory; write file.py:function or package.module:function")
    return text


def _are_arguments(arguments: dict[str, object]) -> dict[str, object]:
    for name in arguments:
        if not name.isidentifier() or name == "path":
            raise ValueError(f"{name!r} cannot be an argument of a factory" + "; set 'path' itself" * (name == "path"))
    return arguments


def _is_source(name: str) -> str:
    if name not in known("models"):
        raise ValueError(f"{name!r} is not one of {', '.join(map(repr, known('models')))}")
    return name


SourceName = Annotated[
    str,
    AfterValidator(_is_source),
    WithJsonSchema({"type": "string", "enum": ["hub", "local", "url", "random", "world", "python"]}),
]


class Checkpoint(Section):
    """How to read a checkpoint that was not written by timm. It must contain every weight of the architecture."""

    state: str | None = None
    """Key of the weights inside the file (null: the file holds the weights themselves)."""
    prefix: str = ""
    """Prefix to strip from the names of weights; weights without it are left out."""
    drop: Pattern | None = None
    """Regular expression for full names (without the prefix) to leave out, such as those of a head: fc\\..*"""


class WeightsEntry(ModelEntry):
    """Keys of every model with weights."""

    source: SourceName
    """Where the weights come from: the Hugging Face hub, a local folder or file, a checkpoint on the web, a random
    initialisation, training in the idealised world, or a function of your own."""
    id: str | None = None
    """hub: repository or timm name; url, local file, random: name of the timm architecture."""
    path: str | None = None
    """local: folder (or checkpoint file) with the weights; random, transformers: folder with config.json;
    python: a file or folder that the factory reads, which it gets as its argument ``path``."""
    factory: Annotated[str, AfterValidator(_is_factory)] | None = None
    """python: function that returns (module, transform) or, for text, (module, tokenizer): my_models.py:build (a file
    relative to the folder where snakemake runs) or package.module:build. It is code, and runs. See docs/own.md."""
    factory_args: Annotated[dict[str, JsonValue], AfterValidator(_are_arguments)] = {}
    """python: arguments for the factory, plain values."""
    revision: str | None = None
    """hub: commit (best), branch or tag (null: that of the first download, recorded in the lock file)."""
    url: Url | None = None
    """url: address of the checkpoint. Passwords, tokens and signatures in it are never written anywhere else."""
    sha256: Sha256 | None = None
    """url: hash of the checkpoint (null: that of the first download, recorded in the lock file)."""
    checkpoint: Checkpoint = Checkpoint()
    """url, local file: how to map the names in the checkpoint to those of the architecture."""
    seed: Seed = 0
    """random: seed of the initialisation."""
    model_args: Annotated[
        dict[str, bool | int | float | str | list[int] | None], AfterValidator(_are_of_architecture)
    ] = {}
    """Arguments for the constructor of the architecture."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of weights and activations; auto: bfloat16 on a GPU that supports it, else float32. Features are always
    float32."""
    trust_remote_code: bool = False
    """Run code from the model's repository. Read it first."""
    selftest: bool = True
    """Verify, before anything is read from the model, that its weights are those of the checkpoint, that two passes are
    equal and that a sample does not depend on its batch. false skips this, and tables say so; a scored model is checked
    to be causal in any case."""
    device_map: Literal["auto"] | None = None
    """auto: if one GPU is too small for a transformers model, spread it over its GPUs, then memory, then disk."""
    gpus: Annotated[int, Field(ge=1)] | None = None
    """How many GPUs a job holds for a model with device_map (null: as many of compute.gpu_memory as its parameters
    fill); without device_map it is one."""
    quantisation: Literal["4bit", "8bit"] | None = None
    """Load a transformers model with 4-bit or 8-bit weights (needs bitsandbytes). This changes its features, so the
    name must contain it (bloomz-7b1-4bit), and every table and figure then shows it."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Number of parameters of the released model, heads included, for figures (null: counted)."""
    training: _Training | None = None
    """world: how it is trained."""
    step: Annotated[int, Field(ge=0)] | None = None
    """Steps of training behind these weights, for tables and the figure of trajectories (null: not known; world: those
    of its training)."""
    checkpoints: Checkpoints | None = None
    """Checkpoints of its training run; each is a model called name@step, beside this one. hub: revisions, such as
    step1000; local: paths or patterns such as runs/mine/checkpoint-*; world: steps of its training, such as 10. The
    step is the number after 'step' in the name, or else the last whole number, or that of {step: 1000, revision: x}."""
    objective: str | None = None
    """What it was trained to do, in a word or two."""
    training_data: str | None = None
    """What it was trained on."""
    licence: str | None = None
    """Licence of the weights."""
    gated: bool = False
    """Whether the hub requires an agreement and a token to download the weights."""
    paper: Literal["yes", "likely", "substitute", "no"] = "no"
    """Whether Huh et al. 2024 used it. likely: they used most of a group that includes it, without saying which;
    substitute: it replaces a model of theirs that is not public."""

    @model_validator(mode="after")
    def _has_what_its_source_needs(self) -> WeightsEntry:
        source = source_of("models", self)
        if self.checkpoints is not None and source.checkpoint_key is None:
            raise ValueError(f"source '{self.source}' has no checkpoints; leave 'checkpoints' out")
        # A run that is still training may have checkpoints and nothing else.
        whole = self
        if self.checkpoints is not None and source.checkpoint_key is not None:
            whole = self.model_copy(update={source.checkpoint_key: "a checkpoint"})
        if mistake := source.mistake(whole):
            raise ValueError(mistake)
        for key in ("factory", "factory_args"):
            if key in self.model_fields_set and self.source != "python":
                raise ValueError(f"'{key}' is only for models of source python")
        if self.source == "world" and self.step is not None:
            raise ValueError("'step' of a model of the world is that of its training; leave it out")
        if (self.source == "world") != (self.training is not None):
            raise ValueError("source 'world' and 'training' belong together: only models of the world are trained")
        for key in ("device_map", "quantisation"):
            if getattr(self, key) is not None and not (
                getattr(self, "library", None) == "transformers" and self.source in ("hub", "local")
            ):
                raise ValueError(f"'{key}' is only for models of library transformers and source hub or local")
        if self.quantisation is not None and self.quantisation not in self.name:
            raise ValueError(
                f"'name' must contain {self.quantisation}, its quantisation, so that all tables and figures show it"
            )
        if self.gpus is not None and self.device_map is None:
            raise ValueError("'gpus' needs 'device_map: auto'; without it a model uses one GPU")
        if self.device_map is not None and self.gpus is None and self.parameters is None:
            raise ValueError("'device_map' needs 'gpus', how many to use, or 'parameters', to estimate how many")
        return self


class VisionModel(WeightsEntry):
    """A model of images."""

    modality: Literal["vision"]
    library: Literal["timm", "transformers"] = "timm"
    """Library that has the architecture."""
    pooling: Literal["auto", "cls", "mean", "gap"] = "auto"
    """How a layer becomes one vector. cls: the class token; mean: the mean over all tokens; gap: the mean over the
    places of the image, without class and register tokens; auto: cls if there is a class token, else gap."""
    training: VisionTraining | None = None
    """world: how it is trained."""
    layers: Pattern | None = None
    """Regular expression for the names of the modules whose outputs are the layers (null: every block)."""


class LanguageModel(WeightsEntry):
    """A model of text."""

    modality: Literal["language"]
    library: Literal["transformers", "word_vectors"] = "transformers"
    """Library that has the architecture; word_vectors: a folder with vectors.safetensors and vocab.txt."""
    pooling: Literal["mean", "last", "cls"] = "mean"
    """How a layer becomes one vector. mean: over the tokens of the text; last: the last token (for text towers such as
    CLIP's, the one that ends the text, from which they take their embedding); cls: the first token."""
    training: LanguageTraining | None = None
    """world: how it is trained."""
    causal: bool | None = None
    """Whether it predicts the next token. Only such models are scored on texts and harness tasks. null: decided when
    the model is loaded; if it is not causal, its tables of scores are empty and say why. true: not being causal is an
    error. false: no scores are computed."""
    special_tokens: bool = True
    """Whether the mean includes special tokens such as BOS (as in the paper; a BOS adds a constant to every sample)."""
    template: str = "{caption}"
    """Prompt around the caption."""
    caption: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """Which caption of a sample to read: its number, counted from 0, or all (features are averaged)."""

    @model_validator(mode="after")
    def _template_has_caption(self) -> LanguageModel:
        try:
            fields = [field[1:] for field in Formatter().parse(self.template) if field[1] is not None]
        except ValueError:
            fields = []
        if not fields or any(field != ("caption", "", None) for field in fields):
            raise ValueError("'template' must contain {caption} and no other field; write a literal brace as {{ or }}")
        return self


class Reality(ModelEntry):
    """The true kernel of the idealised world, as a model: what all others should converge to."""

    modality: Literal["world"]
    source: Literal["world"] = "world"


Model = Annotated[
    VisionModel | LanguageModel | Reality,
    Field(discriminator="modality"),
    Brought("modality", MODALITIES),
    Brought("source", ChainMap(GIVEN, SOURCES["models"])),  # whatever the modality is called
]
