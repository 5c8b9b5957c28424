"""Training of the models of the idealised world, reproducible and resumable.

Initial weights and the batch of every step depend on the seed alone, so a training that was interrupted resumes from
its last checkpoint and ends with the same result. Results are reproducible on one machine with a fixed number of
threads (``torch.set_num_threads``).
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prh.io.files import writing
from prh.jobs.progress import Progress

EXPERIENCE = (4096, 64)
"""Number and length of the walks that a model is trained on: 262,144 events."""
log = logging.getLogger(__name__)
SETTINGS = "training.json"
"""The file beside the weights that holds the settings of their training."""
NOT_OF_THE_WEIGHTS = ("out_dir", "checkpoint_every", "stop", "keep")
"""Arguments of a training that its weights at a step do not depend on."""
_CHECKPOINT = "checkpoint.pt"


def train(
    model: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    save: Callable[[Path], None],
    out_dir: Path,
    settings: dict[str, Any],
    checkpoint_every: int,
    stop: int | None = None,
    keep: Mapping[int, Path] | None = None,
) -> Path:
    """Train ``model`` for ``settings["steps"]`` steps, ``save`` it to ``out_dir`` and return that.

    With ``stop``, end after so many of these steps: the weights are those that the whole training has at that step.
    ``keep`` maps steps on the way to folders where the weights of that step are saved, as such a call would save them.

    ``loss`` draws the batch of a step from the generator it is called with. Resumes from a checkpoint made with the
    same ``settings``. Raises ValueError if the loss is not finite.
    """
    require_positive(checkpoint_every=checkpoint_every)
    part = out_dir.with_name(out_dir.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    steps, peak, seed = settings["steps"], settings["learning_rate"], settings["seed"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    if stop is not None:
        settings = {**settings, "stop": stop}
    last, keep = steps if stop is None else min(stop, steps), keep or {}

    def keep_at(step: int) -> None:
        if step in keep:
            model.eval()
            _write(keep[step], save, {**settings, "stop": step})
            model.train()

    done = _resume(part / _CHECKPOINT, model, optimizer, settings)
    model.train()
    with Progress(f"train {out_dir.name}", last, "step") as progress:
        progress.skip(done)
        if done == 0:
            keep_at(0)
        for step in range(done, last):
            for group in optimizer.param_groups:
                group["lr"] = peak * min(10 * (step + 1) / steps, 1 - step / steps)
            # Each step has its own seed, for its batch and any dropout, so that resuming needs no random state.
            step_seed = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
            with seeded(step_seed):
                value = loss(torch.Generator().manual_seed(step_seed))
                optimizer.zero_grad(set_to_none=True)
                value.backward()
            if not value.isfinite():
                raise ValueError(f"the loss of {out_dir.name} is {value} at step {step}; use a smaller learning_rate.")
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            progress.advance()
            keep_at(step + 1)
            if (step + 1) % checkpoint_every == 0:
                _checkpoint(part / _CHECKPOINT, model, optimizer, settings, step + 1)
    model.eval()
    _write(out_dir, save, settings)
    return out_dir


def _write(folder: Path, save: Callable[[Path], None], settings: dict[str, Any]) -> None:
    """Save a model to ``folder``, which is complete or absent, with the settings of its training."""
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    save(part)
    (part / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (part / _CHECKPOINT).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)


def is_kept(folder: Path, step: int, whole: Path) -> bool:
    """Whether ``folder`` holds the weights at a step of the training whose last weights are in the folder ``whole``."""
    try:
        kept, last = (json.loads((path / SETTINGS).read_text(encoding="utf-8")) for path in (folder, whole))
    except (OSError, ValueError):
        return False
    return kept == {**last, "stop": step}


def _checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict, done: int) -> None:
    state = {"settings": json.dumps(settings), "done": done}
    with writing(path) as part:
        torch.save({**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict) -> int:
    """Load the checkpoint at ``path`` and return its step; 0 if it is absent, damaged or has other settings."""
    if not path.exists():
        return 0
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    try:
        state = torch.load(path, weights_only=True)
        if state["settings"] != json.dumps(settings):
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["done"])
    except Exception as error:  # torch raises many kinds for damaged files
        log.warning("%s is damaged, so training starts over: %s", path, type(error).__name__)
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        return 0


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator inside the block, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def settings_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """All that determines the trained weights, as JSON values: the arguments of the model and a digest of its world."""
    world = arguments["world"]
    digest = hashlib.sha256(world.positions.tobytes())
    digest.update(repr((world.step, world.names, world.image_size, world.seed)).encode())
    relevant = {name: value for name, value in arguments.items() if name not in NOT_OF_THE_WEIGHTS}
    return {**relevant, "world": digest.hexdigest()[:16]}


def weight_seed(settings: dict[str, Any]) -> int:
    """Seed of the initial weights, which differs between any two settings.

    Two models with the same initial weights would agree in their first layers, whatever they learn.
    """
    return int(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8], 16)


def require_positive(**numbers: float) -> None:
    """Raise ValueError for the first of ``numbers`` that is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number}; it must be positive.")
