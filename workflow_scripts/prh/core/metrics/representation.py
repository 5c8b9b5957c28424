"""The representation of one model: its layers, kernels or neighbours, and a cache of what metrics derive from them.

Whatever depends on one model alone (neighbours, kernels, principal components) is a *state*: a function of one
representation that ``Representation.state`` computes once and shares among all pairs, permutations and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prh.core.metrics.checked_inputs import checked_inputs, searched
from prh.core.preparation import Precision

if TYPE_CHECKING:
    import torch


class Representation:
    """n samples as one model represents them: layers or kernels, neighbours or both, with cached derived results.

    Layers that are constant over the samples (``prh.core.preparation.is_constant``; ``is_constant_kernel``) are left
    out: ``layers``, ``knn`` and ``len`` only cover the others, and ``places`` holds the positions of those among the
    ``total`` layers.

    Parameters
    ----------
    name : str
        Name of the model in messages, and key of its random order of ties (``prh.core.ties``): models that are compared
        need different names.
    layers : sequence of floating [n, d_l], optional
        One array per layer, converted to float32 and already prepared (``prh.prepare``); None for a layer that is left
        out.
    neighbours : sequence of integer [n, k_max], optional
        One table per layer, nearest first, self excluded (``prh.core.neighbours.nearest``); None for a layer that is
        left out. If absent or not deep enough, neighbours are searched in ``layers`` when a metric needs them.
    kernels : sequence of floating [n, n], optional
        In place of layers, one symmetric matrix of similarities of all pairs of samples per layer (region, subject):
        for models of which no features are known. ``prh.similarities`` makes it of dissimilarities; None for one that
        is left out. Metrics that need features themselves refuse it (``Metric.needs``).
    ties : sequence of floating [k_max], optional
        Share of ties at each rank of each table, as ``nearest`` returns it; None for a layer that is left out.
    gallery : int, optional
        Number of samples among which neighbours were searched; the n samples are the first of them. By default n.
    device : str
        torch device to compute on (neighbours, kernels, decompositions).
    memory_gb : float
        Upper bound on the working memory of one step, in addition to its inputs and its result.
    precision : {"float32", "bfloat16"}
        What products are rounded to when neighbours are searched, see ``nearest``.

    Raises
    ------
    ValueError
        If there are neither layers nor kernels nor neighbours, or layers and kernels; all layers are constant, their n
        differ or is 1, values are NaN, inf or integers, a kernel is not square and symmetric, or a table lists a sample
        as its own neighbour or another one twice.

    Examples
    --------
    >>> import numpy as np
    >>> from prh import Representation, compare, prepare
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(100, 8))
    >>> deep, shallow = (prepare([(shared @ rng.normal(size=(8, d))).astype("float32")]) for d in (64, 32))
    >>> first, second = Representation("deep", deep), Representation("shallow", shallow)
    >>> compare(first, second, "mutual_knn", k=10).best > 10 / 99  # chance
    True

    A model of which only similarities are known:

    >>> judged = Representation("judged", kernels=[shared @ shared.T])
    >>> compare(first, judged, "cka").best > 0.8
    True
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[np.ndarray | torch.Tensor | None] | None = None,
        neighbours: Sequence[np.ndarray | None] | None = None,
        *,
        kernels: Sequence[np.ndarray | torch.Tensor | None] | None = None,
        ties: Sequence[np.ndarray | None] | None = None,
        gallery: int | None = None,
        device: str = "cpu",
        memory_gb: float = 2.0,
        precision: Precision = "float32",
    ) -> None:
        self.name, self.device, self.memory_gb, self.precision = name, device, memory_gb, precision
        inputs = checked_inputs(name, layers, kernels, neighbours, gallery, device)
        self.total, self.places, self.n = inputs.total, inputs.places, inputs.n
        self.numbers = list(range(self.total))
        self.gallery = gallery or self.n
        self._layers, self._kernels, self._tables = inputs.layers, inputs.kernels, inputs.tables
        self._ties = None if ties is None else [ties[place] for place in self.places]
        self._states: dict[tuple, Any] = {}

    def __len__(self) -> int:
        """The number of layers that take part."""
        return len(self.places)

    @property
    def depth(self) -> int:
        """The largest k that ``knn`` can return: gallery - 1 with layers or kernels, else the depth of the tables."""
        if self._searchable:
            return self.gallery - 1
        return min(table.shape[1] for table in self._tables or ())

    @property
    def left_out(self) -> tuple[int, ...]:
        """Numbers of the layers that take no part because they are constant over the samples."""
        return tuple(number for place, number in enumerate(self.numbers) if place not in self.places)

    @property
    def layers(self) -> list[torch.Tensor]:
        """The layers that take part, as float32 tensors [n, d_l] on the device; ValueError without features."""
        if self._layers is None:
            only = "neighbours" if self._kernels is None else "kernels"
            raise ValueError(f"{self.name} has only {only}, but this metric needs features: pass layers.")
        return self._layers

    @property
    def has_kernels(self) -> bool:
        """Whether there are kernels in place of layers."""
        return self.root._kernels is not None

    @property
    def kernels(self) -> list[torch.Tensor]:
        """The kernels of the layers that take part: float32 or float64 [n, n] on the device; ValueError without."""
        if self._kernels is None:
            raise ValueError(f"{self.name} has no kernels; pass them, or compute them from its layers.")
        return self._kernels

    def knn(self, k: int) -> np.ndarray:
        """The k nearest neighbours of every sample in every layer that takes part: int32 [L, n, k], nearest first.

        Raises ValueError for a k that is not an integer from 1 to gallery - 1, or exceeds tables without layers or
        kernels.
        """
        if not isinstance(k, (int, np.integer)) or not 1 <= k < self.gallery:
            raise ValueError(
                f"k is {k!r}, but {self.name} has {self.gallery} samples: k must be an integer from 1 to "
                f"{self.gallery - 1}."
            )
        return self.state(_nearest, int(k))

    def ties(self, k: int) -> np.ndarray | None:
        """Share of samples whose k-th and (k+1)-th neighbours are equally near: [total], NaN for a layer left out.

        None if unknown.
        """
        if self._ties is None:
            return None
        shares = np.full(self.total, np.nan)
        shares[self.places] = [layer_ties[k - 1] for layer_ties in self._ties]
        return shares

    def state(self, build: Callable[..., Any], *args: Any) -> Any:
        """``build(self, *args)``, computed on first use and cached."""
        key = (build, *args)
        if key not in self._states:
            self._states[key] = self._build(build, *args)
        return self._states[key]

    def layer(self, place: int) -> Representation:
        """The same model with one layer only, its position among all layers; ValueError if that is left out."""
        if place not in self.places:
            alike = "similarities" if self.has_kernels else "rows"
            number = self.numbers[place]
            raise ValueError(f"{self.name}, layer {number}: all {alike} are equal; compare another layer.")
        index = int(np.flatnonzero(self.places == place)[0])
        inputs = {"layers": self._layers, "kernels": self._kernels, "neighbours": self._tables}
        settings: dict[str, Any] = {"device": self.device, "memory_gb": self.memory_gb, "precision": self.precision}
        settings |= {kind: None if part is None else [part[index]] for kind, part in inputs.items()}
        part = Representation(self.name, gallery=self.gallery, **settings)
        part.numbers = [self.numbers[place]]
        return part

    def reordered(self, order: np.ndarray) -> Representation:
        """The same model with its samples permuted: row i of the result is row ``order[i]``.

        Neighbours and all other ``movable`` states are rearranged, not recomputed.
        """
        return _Reordered(self, np.asarray(order))

    def subset(self, keep: np.ndarray) -> Representation:
        """The same model on the samples ``keep`` (distinct indices) only, with their neighbours among these.

        Without layers or kernels, the tables of neighbours must be deep enough (``prh.core.neighbours.restrict``), and
        layers that are constant over these samples cannot be told; otherwise they are left out too.
        """
        if self.gallery != self.n:
            raise ValueError(
                f"{self.name} has neighbours of only {self.n} of {self.gallery} samples; pass those of all samples."
            )
        keep = np.asarray(keep, np.int64)
        # Neighbour lists are small, so the halves of a model are cached for all models that it is cross-fitted with.
        return _Subset(self, keep) if self._searchable else self.state(_kept_subset, keep.tobytes())

    @property
    def root(self) -> Representation:
        """The representation from which this one was reordered or subset; itself if it was not."""
        return self

    @property
    def _searchable(self) -> bool:
        return self._layers is not None or self._kernels is not None

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        return build(self, *args)

    def _tables_of_depth(self, k: int) -> list[np.ndarray]:
        deepest = min(table.shape[1] for table in self._tables) if self._tables is not None else 0
        if k > deepest:
            if not self._searchable:
                raise ValueError(
                    f"k is {k}, but {self.name} has only {deepest} neighbours per sample; raise k_max or lower k."
                )
            neighbours = searched(self, k)
            self._tables, self._ties = [layer.indices for layer in neighbours], [layer.ties for layer in neighbours]
        return self._tables or []


class _Reordered(Representation):
    """``source`` with its samples in the order ``rows``."""

    def __init__(self, source: Representation, rows: np.ndarray) -> None:
        self.name, self.device, self.memory_gb = source.name, source.device, source.memory_gb
        self.precision, self.total, self.numbers = source.precision, source.total, source.numbers
        self.n, self.gallery, self.source, self.rows = source.n, source.gallery, source, rows
        self.places = source.places
        self._ties, self._states = None, {}

    @property
    def root(self) -> Representation:
        return self.source.root

    @property
    def layers(self) -> list[torch.Tensor]:
        return self.state(_rows_of_layers)

    @property
    def kernels(self) -> list[torch.Tensor]:
        return self.state(_rows_of_kernels)

    def layer(self, place: int) -> Representation:
        return type(self)(self.source.layer(place), self.rows)

    def subset(self, keep: np.ndarray) -> Representation:
        return self.source.subset(self.rows[keep])

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        move = getattr(build, "move", None)
        return move(self.source.state(build, *args), self.rows) if move else build(self, *args)


class _Subset(_Reordered):
    """``source`` on the samples ``rows`` only; apart from its inputs and neighbours, its states are recomputed."""

    def __init__(self, source: Representation, rows: np.ndarray) -> None:
        super().__init__(source, rows)
        self.n = self.gallery = len(rows)
        if source._searchable:
            rows_of, is_constant = _parts_of(source)
            parts = rows_of(self)
            differing = [not is_constant(part) for part in parts]
            self.places = source.places[differing]
            kept = [part for part, differs in zip(parts, differing, strict=True) if differs]
            self._states[(rows_of,)] = kept

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        return _restricted(self, *args) if build is _nearest else build(self, *args)


def movable(move: Callable[[Any, np.ndarray], Any]) -> Callable[[Callable], Callable]:
    """Mark a state that can be permuted with the samples, by ``move(state, order)``, instead of being recomputed."""

    def mark(build: Callable) -> Callable:
        build.move = move  # type: ignore[attr-defined]
        return build

    return mark


def _move_neighbours(knn: np.ndarray, order: np.ndarray) -> np.ndarray:
    inverse = np.empty(len(order), np.int32)
    inverse[order] = np.arange(len(order), dtype=np.int32)
    return inverse[knn[:, order[: knn.shape[1]]]]


@movable(_move_neighbours)
def _nearest(x: Representation, k: int) -> np.ndarray:
    return np.stack([table[:, :k] for table in x._tables_of_depth(k)])


def _kept_subset(x: Representation, keep: bytes) -> _Subset:
    return _Subset(x, np.frombuffer(keep, np.int64))


def _restricted(x: _Subset, k: int) -> np.ndarray:
    from prh.core.neighbour_lists import restrict

    if x.source._searchable:
        return np.stack([layer.indices for layer in searched(x, k, x.rows)])
    return np.stack([restrict(table, x.rows, k) for table in x.source._tables or ()])


def _rows_of_layers(x: _Reordered) -> list[torch.Tensor]:
    return [layer[x.rows] for layer in x.source.layers]


def _rows_of_kernels(x: _Reordered) -> list[torch.Tensor]:
    return [kernel[x.rows][:, x.rows] for kernel in x.source.kernels]


def _parts_of(source: Representation) -> tuple[Callable[[_Reordered], list[torch.Tensor]], Callable[..., bool]]:
    """How to take the rows of what ``source`` has, layers or kernels, and to tell whether one is constant."""
    from prh.core.kernel_inputs import is_constant_kernel
    from prh.core.preparation import is_constant

    return (_rows_of_kernels, is_constant_kernel) if source.has_kernels else (_rows_of_layers, is_constant)
