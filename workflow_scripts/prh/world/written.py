"""The idealised world as files: a data set in the form of users' data sets, and a task of lm-eval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prh.io import files
from prh.models.given import Part
from prh.world import idealised
from prh.world.idealised import IdealisedWorld

if TYPE_CHECKING:
    from prh.experiment.schema import World as Settings
    from prh.experiment.schema import WorldDataset, WorldTask, WorldText

WALKS, WALK_LENGTH = 64, 31
"""Documents of a text, and the words of each."""
QUESTIONS = 200
"""Of a task."""
HELD_OUT = 2**31
"""Seed of the walks of a text; no learner is trained with it."""


def fetch(entry: WorldDataset, folder: Path, *, world: Settings, **_how: Any) -> Path:
    """Fetch function of the source "world": write the data set of an entry (`write_dataset`)."""
    built = idealised.build(**world.model_dump())
    return write_dataset(built, folder, density=entry.density, shuffled=entry.shuffled)


def write_dataset(world: IdealisedWorld, folder: str | Path, *, density: float = 1.0, shuffled: bool = False) -> Path:
    """Write images of all events and metadata.jsonl (file_name, text, label of each task) to a folder; return it."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    labels = {name: values for name, (_, values) in world.tasks().items()}
    captions = world.captions(density, shuffled=shuffled)
    rows = []
    for event, (image, caption) in enumerate(zip(world.images(), captions, strict=True)):
        name = f"images/{event:04d}.png"
        (folder / name).write_bytes(image)
        answers = {task: int(values[event]) for task, values in labels.items()}
        rows.append({"file_name": name, "text": caption, **answers})
    files.write_json_lines(folder / "metadata.jsonl", rows)
    return folder


def fetch_text(entry: WorldText, folder: Path, *, world: Settings, **_how: Any) -> Path:
    """Walks that no learner has read, a line each, as the source of texts that the world is."""
    walks = idealised.build(**world.model_dump()).text(entry.documents or WALKS, WALK_LENGTH, seed=HELD_OUT)
    folder.mkdir(parents=True, exist_ok=True)
    with files.writing(folder / "walks.txt") as part:
        part.write_text(walks, encoding="utf-8")
    return folder / "walks.txt"


def fetch_task(entry: WorldTask, folder: Path, *, world: Settings, **_how: Any) -> Path:
    """Walks to be continued, as the source of tasks that the world is: see `write_multiple_choice`."""
    questions = idealised.build(**world.model_dump()).multiple_choice(entry.limit or QUESTIONS, seed=0)
    write_multiple_choice(questions, folder, task=entry.name)
    return folder


def give_reality(_entry: Any, samples: Sequence[str], *, world: Settings, **_how: Any) -> Iterator[Part]:
    """Features of the samples whose inner products are the known kernel: what every model should converge to."""
    yield Part(["events"], [idealised.build(**world.model_dump()).reality_features()[events_of(samples)]])


def events_of(sample_ids: Sequence[str]) -> np.ndarray:
    """The events of the samples of a data set written by :func:`write_dataset`: int64 [samples]."""
    return np.array([int(Path(name).stem) for name in sample_ids])


def write_multiple_choice(questions: list[dict], folder: str | Path, *, task: str = "world_continuation") -> Path:
    """Write ``questions`` (from `IdealisedWorld.multiple_choice`) as a task of lm-evaluation-harness that works
    offline.

    Returns the task file ``folder/{task}.yaml``; pass ``folder`` to ``TaskManager(include_path=...)`` to use it. Raises
    ValueError if there are no questions.
    """
    if not questions:
        raise ValueError(f"task {task} has no questions; pass at least one.")
    folder = Path(folder).resolve()
    data = folder / f"{task}.jsonl"
    files.write_json_lines(data, questions)
    settings = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{ctx}}",
        "doc_to_target": "{{label}}",
        "doc_to_choice": "endings",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
        "metadata": {"version": 1.0},
    }
    path = folder / f"{task}.yaml"
    files.write_json(path, settings)  # JSON is YAML
    return path
