"""The checkpoints of training runs: every one that an entry lists becomes a model of the experiment, ``name@step``.

They are compared with the entries of the experiment and not with each other, so that one more of them changes no row of
the alignment matrix but its own.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from prh.downloads.sources import source_of
from prh.experiment.schema import CheckpointAt, Experiment, WeightsEntry
from prh.experiment.schema.base import LONGEST_NAME
from prh.io.names import checkpoint_name


def expanded(experiment: Experiment, folder: Path) -> tuple[Experiment, list[str]]:
    """``experiment`` with a model for each checkpoint that its entries list, after the entry, by rising step.

    An entry that has checkpoints but no weights of its own (source local without a path) is left out. Patterns are
    looked up relative to ``folder``. Also returns a sentence for each mistake.
    """
    models: list[BaseModel] = []
    mistakes: list[str] = []
    for entry in experiment.models:
        if getattr(entry, "checkpoints", None) is None:
            models.append(entry)
            continue
        key = source_of("models", entry).checkpoint_key
        if key != "path" or entry.path is not None:
            models.append(entry)
        try:
            models += _checkpoints(entry, key, folder)
        except ValueError as error:
            mistakes.append(f"models, entry '{entry.name}', checkpoints: {error}.")
    return experiment.model_copy(update={"models": models}), mistakes


def final_step(entry: Any) -> int | None:
    """The step of an entry, if it says so; of a model of the world whose checkpoints are listed, that of its training.

    No step is told of a model of the world without checkpoints.
    """
    if getattr(entry, "step", None) is not None:
        return entry.step
    training = getattr(entry, "training", None)
    return training.steps if training is not None and entry.checkpoints is not None else None


def _checkpoints(entry: WeightsEntry, key: str, folder: Path) -> list[WeightsEntry]:
    if entry.training is not None and getattr(entry.training, "objective", None) == "random":
        raise ValueError("objective 'random' trains nothing, so there are none; leave them out")
    steps: dict[int, Any] = {}
    last = final_step(entry)
    for value in entry.checkpoints:
        for step, place in _places(value, key, folder):
            if entry.training is not None and step > entry.training.steps:
                raise ValueError(f"step {step} is above the {entry.training.steps} steps of the training; lower it")
            if step in steps:
                both = "" if key == "step" else f" ({steps[step]} and {place})"
                raise ValueError(f"step {step} is listed twice{both}; list it once, or give the steps yourself")
            if step == last and entry.training is None:
                raise ValueError(f"step {step} is that of the entry itself; leave one out")
            steps[step] = place
    steps = {step: place for step, place in steps.items() if step != last}  # the end of a training is the entry itself
    if not steps:
        raise ValueError("there is none but the end of the training, which is the entry itself; list earlier steps")
    if len(longest := checkpoint_name(entry.name, max(steps))) > LONGEST_NAME:
        raise ValueError(f"the name '{longest}' has {len(longest)} letters, at most {LONGEST_NAME} may be; shorten it")
    common = {"family": entry.family or entry.name, "checkpoints": None}
    return [
        entry.model_copy(update={**common, key: steps[step], "step": step, "name": checkpoint_name(entry.name, step)})
        for step in sorted(steps)
    ]


def _places(value: int | str | CheckpointAt, key: str, folder: Path) -> Iterator[tuple[int, Any]]:
    """(step, value of the entry's key) of what one item of the list stands for."""
    if isinstance(value, CheckpointAt):
        named = {name for name in ("revision", "path") if getattr(value, name) is not None}
        if named != {key} - {"step"}:
            keys = "step alone" if key == "step" else f"step and {key}"
            raise ValueError(f"the one at step {value.step} must have the key {keys}")
        yield value.step, getattr(value, key)
    elif key == "step":
        if not isinstance(value, int):
            raise ValueError(f"{value!r} is not a number; list steps of the training, such as 10")
        yield value, value
    elif not isinstance(value, str):
        example = "step1000" if key == "revision" else "runs/mine/checkpoint-*"
        raise ValueError(f"{value} is no {key}; name one, such as {example}")
    elif key == "path" and glob.has_magic(value):
        paths = sorted(glob.glob(value, root_dir=folder))
        if not paths:
            raise ValueError(f"nothing matches {value} (relative to {folder.resolve()})")
        pattern = PurePath(value).parts
        varying = max(i for i, part in enumerate(pattern) if glob.has_magic(part)) - len(pattern)
        for path in paths:
            yield step_in(PurePath(path).parts[varying]), path
    else:
        yield step_in(PurePath(value).name if key == "path" else value), value


def step_in(name: str) -> int:
    """The step that a name tells: the number after the last ``step``, or else the last whole number.

    Raises ValueError, with a sentence, for a name without a number.

    Examples
    --------
    >>> step_in("stage1-step140000-tokens294B"), step_in("checkpoint-500"), step_in("model-20.h5")
    (140000, 500, 20)
    """
    bare = re.sub(r"\.[A-Za-z]\w*$", "", name)
    numbers = re.findall(r"step[-_=]?(\d+)", bare, re.IGNORECASE) or re.findall(r"(?<![\d.])\d+(?!\.?\d)", bare)
    if not numbers:
        raise ValueError(f"'{name}' has no whole number that could be its step; write it as {{step: ..., ...}}")
    return int(numbers[-1])
