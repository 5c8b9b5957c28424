"""Vision models of the idealised world: small timm networks, trained from scratch on images of events.

They learn which events come next, or what else their objective asks, and are saved in the form in which published
models come, a timm ``local-dir`` folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from prh.io import files
from prh.world import training
from prh.world.idealised import World

OBJECTIVES = ("temporal_contrastive", "next_event", "autoencoder", "supervised", "random")

_PIXEL_MEAN = _PIXEL_STD = 0.5
_EMBEDDING = 64  # numbers that the contrastive loss compares


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
    training.require_positive(steps=steps, learning_rate=learning_rate)
    if batch < 2:
        raise ValueError(f"vision batch is {batch}; give at least 2 images.")

    images = torch.from_numpy(world.pixels()).permute(0, 3, 1, 2).float() / 255
    images = (images - _PIXEL_MEAN) / _PIXEL_STD
    settings = training.settings_of(settings | ({"steps": 0} if objective == "random" else {}))
    with training.seeded(training.weight_seed(settings)):
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
        return training.train(learner, loss, save, Path(out_dir), settings, checkpoint_every)


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
    walks = world.walks(*training.EXPERIENCE, seed)
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
