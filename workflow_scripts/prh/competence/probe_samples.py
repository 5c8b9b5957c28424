"""The samples of a probe: features with labels, merged into bins, split into training and test parts by class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prh.io import tables


@dataclass(frozen=True)
class Labelled:
    """Features [n, width] and their n labels."""

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(
        cls,
        path: Path,
        sample_ids: Sequence[str],
        labels: Sequence[str | None],
        layer: int = -1,
        shards: str | Path = "the labels",
    ) -> Labelled:
        """One layer of a features table, with the labels of its samples; samples without a label are left out.

        ``layer`` counts from the end if negative. ``shards``: where the labels come from, for messages. Raises
        ValueError for samples in another order, and for a layer that the model does not have.
        """
        count = len(tables.made_by(path)["layer_names"])
        if not -count <= layer < count:
            raise ValueError(f"Layer {layer} is asked for, but the model has {count} layers; lower it.")
        column = tables.layer_name(layer % count)
        table = tables.read(path, ["sample_id", column])
        tables.require_same_samples(table["sample_id"].to_pylist(), sample_ids, (str(path), str(shards)))
        kept = [i for i, label in enumerate(labels) if label is not None]
        return cls(tables.layer_array(table, column)[kept], np.array([labels[i] for i in kept], dtype=str))

    def take(self, rows: np.ndarray) -> Labelled:
        """Some of the samples."""
        return Labelled(self.features[rows], self.labels[rows])


def require_classes(labels: Iterable[str | None], classes: int, where: str) -> None:
    """Raise ValueError unless ``labels`` (None: no label) of ``where`` have exactly this number of classes."""
    names = {label for label in labels if label is not None}
    if len(names) != classes:
        some = ", ".join(sorted(names)[:5])
        raise ValueError(f"{where} must have {classes} classes and has {len(names)} ({some} ...); correct 'classes'.")


def merged(labels: Iterable[str | None], classes: int, bins: int) -> list[str | None]:
    """Labels 0 ... ``classes`` - 1 in ``bins`` classes of equal width, in their order (None stays None).

    Raises ValueError for any other label.
    """
    numbers = {str(number): str(number * bins // classes) for number in range(classes)}
    result: list[str | None] = []
    for label in labels:
        if label is not None and label not in numbers:
            raise ValueError(
                f"The label {label!r} is not one of the numbers 0 to {classes - 1}, so 'bins' cannot merge it."
            )
        result.append(None if label is None else numbers[label])
    return result


def split(
    train: Labelled, test: Labelled | None, limit: int, test_share: float, seed: int
) -> tuple[Labelled, Labelled]:
    """Training and test samples: where there is no test set a share of each class is held out; then at most ``limit``
    training samples are kept, the same share of each class and at least one. Both draws come from ``seed``.

    Raises ValueError where there is no label, a class cannot be in both parts, or ``limit`` is below the classes.
    """
    _require_labels(train.labels, "training")
    if test is None:
        _require_two_of_each(train.labels)
        rest, held = stratified_split(train.labels, test_share, seed)
        train, test = train.take(rest), train.take(held)
    _require_labels(test.labels, "test")
    if len(train.labels) > limit:
        train = train.take(_drawn(train.labels, limit, seed))
    return train, test


def _require_labels(labels: np.ndarray, part: str) -> None:
    if not len(labels):
        raise ValueError(
            f"None of the {part} samples has a label; check 'label' of the probe and 'labels' of its data."
        )


def _require_two_of_each(labels: np.ndarray) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    single = classes[counts == 1]
    if len(single):
        raise ValueError(
            f"{len(single)} classes have one sample each, such as {single[0]!s}, which cannot be both learnt and "
            "tested; leave these classes out, give more samples, or give a test set."
        )


def _drawn(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of at most ``count`` samples: the same share of each class, and at least one of each.

    A class whose share is less than one sample takes that sample from the largest classes.
    """
    classes, label, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if count < len(classes):
        raise ValueError(f"The limit of {count} training samples is below the {len(classes)} classes; raise it.")
    quotas = np.maximum(np.floor(sizes * count / len(labels)).astype(int), 1)
    while quotas.sum() > count:
        quotas[np.argmax(quotas)] -= 1
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(label == i))[:quota] for i, quota in enumerate(quotas)]
    return np.sort(np.concatenate(drawn))


def stratified_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (kept, held out): ``share`` of each class held out, at least one sample of each class kept.

    Raises ValueError if ``share`` is not between 0 and 1 or no class has a second sample to hold out.
    """
    if not 0 < share < 1:
        raise ValueError(f"The share held out must lie between 0 and 1, got {share}.")
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held.append(members[:count])
    held = np.sort(np.concatenate(held))
    if not len(held):
        raise ValueError("No class has two training samples, so none can be held out; give more training samples.")
    return np.setdiff1d(np.arange(len(labels)), held), held
