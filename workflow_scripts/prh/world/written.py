"""The idealised world as files: a data set as people have one, and a task of lm-eval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prh.io.files import writing
from prh.world.idealised import World


def write_dataset(world: World, folder: str | Path, *, density: float = 1.0, shuffled: bool = False) -> Path:
    """Write the events as a folder of images with metadata.jsonl: file_name, text, and the label of every task."""
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
    with writing(folder / "metadata.jsonl") as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def events_of(sample_ids: Sequence[str]) -> np.ndarray:
    """The events of the samples of a data set that :func:`write_dataset` wrote: int64 [samples]."""
    return np.array([int(Path(name).stem) for name in sample_ids])


def write_multiple_choice(questions: list[dict], folder: str | Path, *, task: str = "world_continuation") -> Path:
    """Write ``questions`` (of :meth:`World.multiple_choice`) as a task of lm-evaluation-harness that needs no network.

    Returns the task file ``folder/{task}.yaml``; give ``folder`` as ``TaskManager(include_path=...)`` and ask for
    ``task``.
    """
    if not questions:
        raise ValueError(f"task {task} has no question; give at least one.")
    folder = Path(folder).resolve()
    data = folder / f"{task}.jsonl"
    with writing(data) as part:
        part.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
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
    with writing(path) as part:
        part.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")  # JSON is YAML
    return path
