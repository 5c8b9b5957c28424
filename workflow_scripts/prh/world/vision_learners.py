"""Vision models of the idealised world: small timm networks, trained from scratch on images of events.

They are saved as timm ``local-dir`` folders, so that they are loaded in the same way as published models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from prh.io import files
from prh.world import training
from prh.world.idealised import IdealisedWorld

if TYPE_CHECKING:
    from prh.experiment.schema import VisionModel

OBJECTIVES = ("temporal_contrastive", "next_event", "autoencoder", "supervised", "random")

_PIXEL_MEAN = _PIXEL_STD = 0.5
_EMBEDDING = 64  # dimensions of the vectors that the contrastive loss compares


def train(world: IdealisedWorld, folder: Path, entry: VisionModel, keep: Mapping[int, Path] | None = None) -> None:
    """Train the model of an entry: see `train_vision`."""
    train_vision(world, folder, **entry.training.model_dump(), stop=entry.step, keep=keep, model_args=entry.model_args)


def train_vision(
    world: IdealisedWorld,
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
    stop: int | None = None,
    keep: Mapping[int, Path] | None = None,
) -> Path:
    """Train a timm model on the images of events; save it for ``timm.create_model("local-dir:...", pretrained=True)``.

    Parameters
    ----------
    world
        The world to learn.
    out_dir
        As for :func:`prh.world.language_learners.train_language`.
    architecture, model_args
        Name of a timm model and its arguments. A vision transformer needs ``img_size=world.image_size``.
    objective
        "temporal_contrastive"
            Predict which images of the batch are neighbours in time (InfoNCE, whose optimum is the PMI).
        "next_event"
            Predict the next event.
        "autoencoder"
            Reconstruct the image from one feature vector.
        "supervised"
            Predict the region of the event, a label of :meth:`prh.world.idealised.IdealisedWorld.tasks`.
        "random"
            Keep the initial weights; ``steps`` is ignored.
    steps, batch, learning_rate
        ``steps`` of AdamW on the images of ``batch`` different events; the learning rate warms up, then decays to 0.
    seed, checkpoint_every, stop, keep
        As for :func:`prh.world.language_learners.train_language`.

    Returns
    -------
    Path
        ``out_dir``, with config.json and model.safetensors (no head).

    Raises
    ------
    ValueError
        If an argument is out of range, timm cannot build the model, or the loss is not finite.
    """
    settings = {**locals(), "learner": "vision", "model_args": dict(model_args or {})}
    if objective not in OBJECTIVES:
        raise ValueError(f"vision objective is {objective!r}; it must be one of {', '.join(OBJECTIVES)}.")
    training.require_positive(steps=steps, learning_rate=learning_rate)
    if batch < 2:
        raise ValueError(f"vision batch is {batch}; it must be at least 2 images.")

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
        return training.train(learner, loss, save, Path(out_dir), settings, checkpoint_every, stop, keep)


def _backbone(architecture: str, model_args: dict, images: torch.Tensor) -> nn.Module:
    """The timm model without a head; ValueError if timm cannot build it or it cannot process ``images``."""
    import timm

    try:
        backbone = timm.create_model(architecture, num_classes=0, **model_args)
        backbone.eval()(images[:2])
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        size = f"{images.shape[-1]} x {images.shape[-1]}"
        raise ValueError(
            f"timm cannot build {architecture!r} with {model_args} for images of {size} pixels ({error}); "
            "use another architecture or other model_args."
        ) from error
    return backbone.train()


def _objective(
    name: str, width: int, world: IdealisedWorld, images: torch.Tensor, seed: int
) -> tuple[nn.Module, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """(head on features [batch, width], loss of the output of the head and the events) of an objective.

    Transitions are counted over all walks beforehand, so that each image of a batch is trained on all successors of its
    event at once. A few hundred steps are then sufficient.
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
    """Vectors on a sphere of learnt radius (the temperature) for the contrastive loss.

    Standardising each dimension over the batch prevents an initial collapse of the vectors, in which the loss would
    stay at log(batch) for hundreds of steps.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, _EMBEDDING)
        self.log_length = nn.Parameter(torch.tensor(1.15))  # inner products of up to 10 initially

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        standardised = F.batch_norm(self.linear(features), None, None, training=True)
        return F.normalize(standardised, dim=1) * self.log_length.exp()


def _info_nce(embedded: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of predicting, for each event of a batch, which others are its neighbours in time.

    ``embedded`` is [batch, dimensions]; ``together`` [batch, batch] counts how often two events are neighbours in time.
    """
    itself = torch.eye(len(embedded), dtype=torch.bool)
    predicted = (embedded @ embedded.T).masked_fill(itself, -1e4).log_softmax(dim=1)
    together = together.masked_fill(itself, 0)
    return -(together * predicted).sum() / together.sum().clamp(min=1)


def _timm_config(world: IdealisedWorld, architecture: str, model_args: dict, backbone: nn.Module) -> dict:
    """The config.json of a timm ``local-dir`` folder; images are neither resized nor cropped."""
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
