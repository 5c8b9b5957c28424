"""Learners of the idealised world: small causal language models and small vision networks, trained from scratch.

A language model reads walks told in words; a vision network sees images of events and learns which come next. Both are
saved in the forms in which published models come: a Hugging Face folder, a timm ``local-dir`` folder.

Weights and the batch of every step come from the seed alone: a training that was stopped goes on from its last
checkpoint to the same result. Numbers repeat on one machine with one number of threads (``torch.set_num_threads``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from prh.io import files, text_files
from prh.io.files import writing
from prh.jobs.progress import Progress
from prh.world.idealised import World

# timm and transformers take seconds to import and a learner needs one of them: each is imported where it is used.
if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

LANGUAGE_ARCHITECTURES = ("gpt2", "llama")
OBJECTIVES = ("temporal_contrastive", "next_event", "autoencoder", "supervised", "random")

_PADDING, _START, _UNKNOWN = "<pad>", "<s>", "<unk>"
_CHECKPOINT = "checkpoint.pt"
_EXPERIENCE = (4096, 64)  # the walks, and their length, that a learner lives through: 262,144 events
_PIXEL_MEAN = _PIXEL_STD = 0.5
_EMBEDDING = 64  # numbers that the contrastive loss compares


def train_language(
    world: World,
    out_dir: str | Path,
    *,
    architecture: str = "gpt2",
    width: int = 32,
    depth: int = 2,
    heads: int = 2,
    steps: int = 200,
    batch: int = 64,
    context: int = 32,
    learning_rate: float = 3e-3,
    density: float = 1.0,
    seed: int = 0,
    checkpoint_every: int = 100,
) -> Path:
    """Train a causal language model on walks told in words; save it and its tokeniser as a Hugging Face folder.

    Half of the sequences open with the start token; half begin in the middle of a walk, as captions do.

    Parameters
    ----------
    world
        What there is to learn.
    out_dir
        Appears when training is finished. Until then ``{out_dir}.part`` holds a checkpoint: a call with the same
        arguments goes on from it and ends with the same weights, a call with others starts anew.
    architecture
        "gpt2" or "llama", built by transformers.
    width, depth, heads
        Of the transformer; ``heads`` divides ``width``.
    steps, batch, context, learning_rate
        ``steps`` of AdamW on ``batch`` sequences of ``context`` words; the rate warms up, then falls to 0.
    density
        How events are told: see :meth:`prh.world.idealised.World.captions`.
    seed
        Of the weights, the walks and the batches. With one seed, learners of different settings still begin with
        different weights.
    checkpoint_every
        Steps between checkpoints.

    Returns
    -------
    ``out_dir``, which ``AutoModelForCausalLM`` and ``AutoTokenizer`` load.
    """
    settings = {**locals(), "learner": "language"}
    if architecture not in LANGUAGE_ARCHITECTURES:
        raise ValueError(f"language architecture is {architecture!r}; give one of {', '.join(LANGUAGE_ARCHITECTURES)}.")
    _require_positive(width=width, depth=depth, heads=heads, steps=steps, batch=batch, learning_rate=learning_rate)
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads; change one of them.")
    if not 2 <= context < _EXPERIENCE[1]:
        raise ValueError(f"context is {context}; give from 2 to {_EXPERIENCE[1] - 1} words.")

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # saving a few kilobytes is no news
    tokenizer = _word_tokenizer(world, context)
    config = _language_config(tokenizer, architecture, width, depth, heads, context)
    settings = _settings(settings)
    with _seeded(_weight_seed(settings)):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    lines = text_files.split_lines(world.text(*_EXPERIENCE, density=density, seed=seed))
    # told at length (density > 1), an event has more words than one: cut to the shortest line
    encoded = [line.ids for line in tokenizer.backend_tokenizer.encode_batch(lines)]
    length = min(map(len, encoded))
    tokens = torch.tensor([ids[:length] for ids in encoded])

    def loss(rng: torch.Generator) -> torch.Tensor:
        walk = torch.randint(len(tokens), (batch, 1), generator=rng)
        first = torch.randint(length - context + 1, (batch, 1), generator=rng)
        words = tokens[walk, first + torch.arange(context)]
        opened = torch.rand(batch, generator=rng) < 0.5
        words[opened] = F.pad(words[opened, :-1], (1, 0), value=tokenizer.bos_token_id)
        logits = model(input_ids=words, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    with files.making(out_dir):
        return _train(model, loss, save, Path(out_dir), settings, checkpoint_every)


def train_vision(
    world: World,
    out_dir: str | Path,
    *,
    architecture: str,
    model_args: Mapping[str, Any] | None = None,
    objective: str = "next_event",
    steps: int = 150,
    batch: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
    checkpoint_every: int = 100,
) -> Path:
    """Train a timm model on the images of events; save it for ``timm.create_model("local-dir:...", pretrained=True)``.

    Parameters
    ----------
    world
        What there is to learn.
    out_dir
        As for :func:`train_language`.
    architecture, model_args
        Name of a timm model and its arguments. A vision transformer needs ``img_size=world.image_size``.
    objective
        "temporal_contrastive"
            Tell which images of the batch come next to which (InfoNCE, whose optimum is the PMI).
        "next_event"
            Say which event comes next.
        "autoencoder"
            Draw the image again from one feature vector.
        "supervised"
            Name the region of the event, a label of :meth:`prh.world.idealised.World.tasks`.
        "random"
            Keep the weights as they were drawn; ``steps`` is not looked at.
    steps, batch, learning_rate
        ``steps`` of AdamW on the images of ``batch`` different events; the rate warms up, then falls to 0.
    seed, checkpoint_every
        As for :func:`train_language`.

    Returns
    -------
    ``out_dir``, with config.json and model.safetensors (no head).
    """
    settings = {**locals(), "learner": "vision", "model_args": dict(model_args or {})}
    if objective not in OBJECTIVES:
        raise ValueError(f"vision objective is {objective!r}; give one of {', '.join(OBJECTIVES)}.")
    _require_positive(steps=steps, learning_rate=learning_rate)
    if batch < 2:
        raise ValueError(f"vision batch is {batch}; give at least 2 images.")

    images = torch.from_numpy(world.pixels()).permute(0, 3, 1, 2).float() / 255
    images = (images - _PIXEL_MEAN) / _PIXEL_STD
    settings = _settings(settings | ({"steps": 0} if objective == "random" else {}))
    with _seeded(_weight_seed(settings)):
        backbone = _backbone(architecture, settings["model_args"], images)
        width = backbone(images[:2]).shape[1]
        head, objective_loss = _objective(objective, width, world, images, seed)
        learner = nn.Sequential(backbone, head)

    def loss(rng: torch.Generator) -> torch.Tensor:
        events = torch.randperm(world.size, generator=rng)[:batch]
        return objective_loss(learner(images[events]), events)

    def save(folder: Path) -> None:
        weights = {name: value.contiguous() for name, value in backbone.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        config = _timm_config(world, architecture, settings["model_args"], backbone)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    with files.making(out_dir):
        return _train(learner, loss, save, Path(out_dir), settings, checkpoint_every)


# ---- language


def _word_tokenizer(world: World, context: int) -> PreTrainedTokenizerFast:
    """One token per word. It adds nothing to a text, so the features of a caption are of its words alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [_PADDING, _START, _UNKNOWN, *world.vocabulary]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": _START, "eos_token": _START, "pad_token": _PADDING, "unk_token": _UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **special)


def _language_config(
    tokenizer: PreTrainedTokenizerFast, architecture: str, width: int, depth: int, heads: int, context: int
) -> PretrainedConfig:
    from transformers import GPT2Config, LlamaConfig

    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    common = {"vocab_size": len(tokenizer), "tie_word_embeddings": True, **special}
    if architecture == "gpt2":
        no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # a world without end needs none
        return GPT2Config(n_embd=width, n_layer=depth, n_head=heads, n_positions=context, **no_dropout, **common)
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=context,
        **common,
    )


# ---- vision


def _backbone(architecture: str, model_args: dict, images: torch.Tensor) -> nn.Module:
    """The timm model without a head; ValueError if there is none of that name and arguments, or it cannot see."""
    import timm

    try:
        backbone = timm.create_model(architecture, num_classes=0, **model_args)
        backbone.eval()(images[:2])
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        size = f"{images.shape[-1]} x {images.shape[-1]}"
        raise ValueError(
            f"timm cannot make {architecture!r} with {model_args} for images of {size} pixels ({error}); "
            "give another architecture or other model_args."
        ) from error
    return backbone.train()


def _objective(
    name: str, width: int, world: World, images: torch.Tensor, seed: int
) -> tuple[nn.Module, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """The head that an objective puts on features [batch, width], and its loss of the head's output and the events.

    What follows what is counted over all walks at once: every event of a batch learns from all of its successors, at
    the price of one image. A few hundred steps are then enough.
    """
    if name == "random":
        return nn.Identity(), lambda output, events: output.sum()
    if name == "autoencoder":
        flat = images.flatten(1)
        return nn.Linear(width, flat.shape[1]), lambda output, events: F.mse_loss(output, flat[events])
    if name == "supervised":
        labels = torch.from_numpy(world.tasks()["region"][1])
        classes = int(labels.max()) + 1
        return nn.Linear(width, classes), lambda output, events: F.cross_entropy(output, labels[events])
    walks = world.walks(*_EXPERIENCE, seed)
    counts = np.zeros((world.size, world.size), np.float32)
    np.add.at(counts, (walks[:, :-1], walks[:, 1:]), 1)
    counts = torch.from_numpy(counts)
    if name == "next_event":
        follows = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        return nn.Linear(width, world.size), lambda output, events: F.cross_entropy(output, follows[events])
    neighbours = counts + counts.T
    return _Embedding(width), lambda output, events: _info_nce(output, neighbours[events][:, events])


class _Embedding(nn.Module):
    """Vectors on a sphere for the contrastive loss, longer the surer the learner is (a learnt temperature).

    Standardising each number over the batch keeps the vectors from falling together first, where the loss rests at
    log(batch) for hundreds of steps.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, _EMBEDDING)
        self.log_length = nn.Parameter(torch.tensor(1.15))  # inner products up to 10 at first

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        standardised = F.batch_norm(self.linear(features), None, None, training=True)
        return F.normalize(standardised, dim=1) * self.log_length.exp()


def _info_nce(embedded: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of which event of a batch goes with which; an event is not asked for itself.

    ``embedded`` is [batch, numbers]; ``together`` [batch, batch] counts how often two events are neighbours in time.
    """
    itself = torch.eye(len(embedded), dtype=torch.bool)
    guess = (embedded @ embedded.T).masked_fill(itself, -1e4).log_softmax(dim=1)
    together = together.masked_fill(itself, 0)
    return -(together * guess).sum() / together.sum().clamp(min=1)


def _timm_config(world: World, architecture: str, model_args: dict, backbone: nn.Module) -> dict:
    """The config.json of a timm ``local-dir`` folder: images go in as they are, neither resized nor cropped."""
    known = backbone.pretrained_cfg
    return {
        "architecture": architecture,
        "model_args": model_args,
        "num_classes": 0,
        "num_features": backbone.num_features,
        "pretrained_cfg": {
            "input_size": [3, world.image_size, world.image_size],
            "fixed_input_size": bool(known.get("fixed_input_size", False)),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [_PIXEL_MEAN] * 3,
            "std": [_PIXEL_STD] * 3,
            "num_classes": 0,
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
    }


# ---- training


def _train(
    model: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    save: Callable[[Path], None],
    out_dir: Path,
    settings: dict[str, Any],
    checkpoint_every: int,
) -> Path:
    """Train ``model`` for ``settings["steps"]`` steps and ``save`` it; ``loss`` draws its batch from its generator."""
    _require_positive(checkpoint_every=checkpoint_every)
    part = out_dir.with_name(out_dir.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    steps, peak, seed = settings["steps"], settings["learning_rate"], settings["seed"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    done = _resume(part / _CHECKPOINT, model, optimizer, settings)
    model.train()
    with Progress(f"train {out_dir.name}", steps, "step") as progress:
        progress.skip(done)
        for step in range(done, steps):
            for group in optimizer.param_groups:
                group["lr"] = peak * min(10 * (step + 1) / steps, 1 - step / steps)
            # Each step has a seed of its own, for its batch and for any dropout: nothing random outlives a stop.
            step_seed = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
            with _seeded(step_seed):
                value = loss(torch.Generator().manual_seed(step_seed))
                optimizer.zero_grad(set_to_none=True)
                value.backward()
            if not value.isfinite():
                raise ValueError(f"loss of {out_dir.name} is {value} at step {step}; give a smaller learning_rate.")
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            progress.advance()
            if (step + 1) % checkpoint_every == 0:
                _checkpoint(part / _CHECKPOINT, model, optimizer, settings, step + 1)
    model.eval()
    save(part)
    (part / "training.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (part / _CHECKPOINT).unlink(missing_ok=True)
    if out_dir.exists():
        shutil.rmtree(out_dir)
    os.replace(part, out_dir)
    return out_dir


def _checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict, done: int) -> None:
    state = {"settings": json.dumps(settings), "done": done}
    with writing(path) as part:
        torch.save({**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict) -> int:
    """Load the checkpoint at ``path`` and return its steps; 0 if there is none of these settings."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != json.dumps(settings):
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["done"]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside the block, and leave torch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """What decides the trained weights, as JSON can hold it: the arguments of a learner, and its world as a digest."""
    world = arguments["world"]
    facts = hashlib.sha256(world.positions.tobytes())
    facts.update(repr((world.step, world.names, world.image_size, world.seed)).encode())
    without = {name: value for name, value in arguments.items() if name not in ("out_dir", "checkpoint_every")}
    return {**without, "world": facts.hexdigest()[:16]}


def _weight_seed(settings: dict[str, Any]) -> int:
    """Seed of the first weights: another for any other setting.

    Two learners that began with the same weights would agree in their first layers whatever they learnt.
    """
    return int(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8], 16)


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number}; give a positive number.")
