"""How learners of the idealised world are trained, and what decides their weights.

Weights and the batch of every step come from the seed alone: a training that was stopped goes on from its last
checkpoint to the same result. Numbers repeat on one machine with one number of threads (``torch.set_num_threads``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prh.io.files import writing
from prh.jobs.progress import Progress

EXPERIENCE = (4096, 64)
"""The walks, and their length, that a learner lives through: 262,144 events."""
_CHECKPOINT = "checkpoint.pt"


def train(
    model: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    save: Callable[[Path], None],
    out_dir: Path,
    settings: dict[str, Any],
    checkpoint_every: int,
) -> Path:
    """Train ``model`` for ``settings["steps"]`` steps and ``save`` it; ``loss`` draws its batch from its generator."""
    require_positive(checkpoint_every=checkpoint_every)
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
            with seeded(step_seed):
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
def seeded(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside the block, and leave torch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def settings_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """What decides the trained weights, as JSON can hold it: the arguments of a learner, and its world as a digest."""
    world = arguments["world"]
    facts = hashlib.sha256(world.positions.tobytes())
    facts.update(repr((world.step, world.names, world.image_size, world.seed)).encode())
    without = {name: value for name, value in arguments.items() if name not in ("out_dir", "checkpoint_every")}
    return {**without, "world": facts.hexdigest()[:16]}


def weight_seed(settings: dict[str, Any]) -> int:
    """Seed of the first weights: another for any other setting.

    Two learners that began with the same weights would agree in their first layers whatever they learnt.
    """
    return int(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8], 16)


def require_positive(**numbers: float) -> None:
    """ValueError for the first of some arguments that is not above 0."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number}; give a positive number.")
