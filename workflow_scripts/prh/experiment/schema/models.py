"""The models of an experiment: a class for each modality."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name, Pattern, Section, Seed, Sha256, Url
from prh.experiment.schema.training import LanguageTraining, VisionTraining, _Training


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
