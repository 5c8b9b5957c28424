"""What every metric stands on: the representation of one model, and the registry of metrics.

A metric is one function of two ``Representation`` objects that returns the scores of *all* their layer pairs. What
belongs to one layer alone (its neighbours, its Gram matrix, its principal directions) is a *state*: a function of one
representation, computed once by ``Representation.state`` and shared by all pairs, all permutations and all metrics.

To add a metric, write that function under ``@metric``; the workflow's configuration then knows it by its name::

    @metric(summary="share of samples with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True)
    def same_nearest(x, y):
        return np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])

This module does not import torch: the names and traits of the metrics are needed where no array is (reading a config).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

    from prh.neighbours import Neighbours

Needs = Literal["neighbours", "features", "both"]


class Representation:
    """One model's view of n samples: its layers, its neighbours, or both, and whatever is derived from them, once.

    Parameters
    ----------
    name : str
        What the model is called in messages.
    layers : sequence of floating [n, d_l], optional
        One array per layer, taken as float32, prepared as the metric wants them (``prh.prepare``).
    neighbours : sequence of integer [n, k_max], optional
        One table per layer, nearest first, self excluded (``prh.neighbours.nearest``). Without them, or where they
        are not deep enough, neighbours are searched in ``layers`` when a metric asks.
    ties : sequence of floating [k_max], optional
        Of each table the share of ties at each place, as ``nearest`` counts them.
    gallery : int, optional
        Number of samples that neighbours were searched among, the n samples being the first of them. By default n.
    device : str
        torch device of the products (neighbours, kernels, decompositions).
    memory_gb : float
        Bound on what one step of a computation holds beside its inputs and its result.

    Raises ValueError for a bad layer or table: none at all, unequal n, NaN, inf, integers, one sample, all rows equal,
    a sample among its own neighbours or twice among another's.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[np.ndarray | torch.Tensor] | None = None,
        neighbours: Sequence[np.ndarray] | None = None,
        *,
        ties: Sequence[np.ndarray] | None = None,
        gallery: int | None = None,
        device: str = "cpu",
        memory_gb: float = 2.0,
    ) -> None:
        given = [part for part in (layers, neighbours) if part is not None and len(part)]
        if not given:
            raise ValueError(f"{name} has neither layers nor neighbours; give at least one of them.")
        if len({len(part) for part in given}) > 1:
            raise ValueError(
                f"{name} has {len(layers)} layers but neighbours of {len(neighbours)}; give as many or one."
            )
        sizes = {len(layer) for part in given for layer in part}
        if len(sizes) > 1:
            raise ValueError(f"{name}: its layers have {sorted(sizes)} samples; every layer must have the same.")
        self.name, self.device, self.memory_gb = name, device, memory_gb
        self.n = sizes.pop()
        self.gallery = gallery or self.n
        self._layers = _checked_layers(layers, name, device) if layers is not None else None
        self._tables = _checked_tables(neighbours, name, self.gallery) if neighbours is not None else None
        self._ties = ties
        self._states: dict[tuple, Any] = {}

    def __len__(self) -> int:
        """The number of layers."""
        return len(self._tables if self._layers is None else self._layers)

    @property
    def layers(self) -> list[torch.Tensor]:
        """Each layer as a float32 tensor [n, d_l] on the device; ValueError if there are none."""
        if self._layers is None:
            raise ValueError(f"{self.name} has neighbours only, and this metric needs its features: give layers.")
        return self._layers

    def knn(self, k: int) -> np.ndarray:
        """The k nearest neighbours of every sample in every layer: int32 [L, n, k], nearest first.

        ValueError for a k that is not an integer from 1 to n - 1, or beyond the tables where there are no layers.
        """
        if not isinstance(k, (int, np.integer)) or not 1 <= k < self.gallery:
            raise ValueError(
                f"k is {k!r}, but {self.name} has {self.gallery} samples: k must be an integer below that, at least 1."
            )
        return self.state(_nearest, int(k))

    def ties(self, k: int) -> np.ndarray | None:
        """Share of samples, for each layer, whose k-th and (k+1)-th neighbours are equally near; None if not known."""
        return None if self._ties is None else np.array([places[k - 1] for places in self._ties])

    def state(self, build: Callable[..., Any], *args: Any) -> Any:
        """``build(self, *args)``, computed on first use and kept."""
        key = (build, *args)
        if key not in self._states:
            self._states[key] = self._build(build, *args)
        return self._states[key]

    def layer(self, index: int) -> Representation:
        """The same model with one layer only."""
        one = [None if part is None else [part[index]] for part in (self._layers, self._tables)]
        return Representation(self.name, *one, gallery=self.gallery, device=self.device, memory_gb=self.memory_gb)

    def reordered(self, order: np.ndarray) -> Representation:
        """The same model on the samples in another order: row i is what was row ``order[i]`` (a permutation).

        Neighbours move by an index map, and so does every state that says how (``movable``): they are not computed
        again.
        """
        return _Reordered(self, np.asarray(order))

    def subset(self, keep: np.ndarray) -> Representation:
        """The same model on the samples ``keep`` (distinct indices) only, with their neighbours among them.

        Tables of neighbours must be deep enough for that (``prh.neighbours.restrict``) unless there are layers.
        """
        if self.gallery != self.n:
            raise ValueError(
                f"{self.name} has the neighbours of {self.n} of {self.gallery} samples; give those of all."
            )
        keep = np.asarray(keep, np.int64)
        # Lists of neighbours are small: halves of one model are kept for all models that it is cross-fitted with.
        return self.state(_kept_subset, keep.tobytes()) if self._layers is None else _Subset(self, keep)

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        return build(self, *args)

    def _tables_of_depth(self, k: int) -> list[np.ndarray]:
        deepest = min(table.shape[1] for table in self._tables) if self._tables is not None else 0
        if k > deepest:
            if self._layers is None:
                raise ValueError(
                    f"k is {k}, but the neighbours of {self.name} are {deepest} deep; raise k_max or lower k."
                )
            found = _searched(self._layers, k, self)
            self._tables, self._ties = [one.indices for one in found], [one.ties for one in found]
        return self._tables


class _Reordered(Representation):
    """``source`` with its samples in the order ``rows``."""

    def __init__(self, source: Representation, rows: np.ndarray) -> None:
        self.name, self.device, self.memory_gb = source.name, source.device, source.memory_gb
        self.n, self.gallery, self.source, self.rows = source.n, source.gallery, source, rows
        self._ties, self._states = None, {}

    def __len__(self) -> int:
        return len(self.source)

    @property
    def layers(self) -> list[torch.Tensor]:
        return self.state(_rows_of_layers)

    def layer(self, index: int) -> Representation:
        return type(self)(self.source.layer(index), self.rows)

    def subset(self, keep: np.ndarray) -> Representation:
        return self.source.subset(self.rows[keep])

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        move = getattr(build, "move", None)
        return move(self.source.state(build, *args), self.rows) if move else build(self, *args)


class _Subset(_Reordered):
    """``source`` on the samples ``rows`` only; nothing but rows of features and of neighbours can be taken over."""

    def __init__(self, source: Representation, rows: np.ndarray) -> None:
        super().__init__(source, rows)
        self.n = self.gallery = len(rows)

    def _build(self, build: Callable[..., Any], *args: Any) -> Any:
        return _restricted(self, *args) if build is _nearest else build(self, *args)


def movable(move: Callable[[Any, np.ndarray], Any]) -> Callable[[Callable], Callable]:
    """Mark a state as one that follows a permutation of the samples: ``move(state, order)`` instead of a new build."""

    def mark(build: Callable) -> Callable:
        build.move = move
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
    from prh.neighbour_lists import restrict

    if x.source._layers is not None:
        return np.stack([found.indices for found in _searched(x.layers, k, x)])
    return np.stack([restrict(table, x.rows, k) for table in x.source._tables])


def _searched(layers: Sequence[torch.Tensor], k: int, x: Representation) -> list[Neighbours]:
    from prh.neighbours import nearest

    return [nearest(layer, k, device=x.device, memory_gb=x.memory_gb) for layer in layers]


def _rows_of_layers(x: _Reordered) -> list[torch.Tensor]:
    return [layer[x.rows] for layer in x.source.layers]


def _checked_layers(layers: Sequence[Any], name: str, device: str) -> list[torch.Tensor]:
    from prh.neighbours import as_matrix

    checked = [as_matrix(layer, f"{name}, layer {i}", device) for i, layer in enumerate(layers)]
    for i, layer in enumerate(checked):
        if len(layer) < 2:
            raise ValueError(f"{name}, layer {i} has one sample; alignment compares relations between at least two.")
        if bool((layer == layer[0]).all()):
            raise ValueError(
                f"{name}, layer {i}: all rows are equal, so no sample is nearer than another; leave it out."
            )
    return checked


def _checked_tables(tables: Sequence[Any], name: str, gallery: int) -> list[np.ndarray]:
    checked = [np.asarray(table) for table in tables]
    for i, table in enumerate(checked):
        if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer) or not table.size:
            raise ValueError(
                f"{name}, layer {i}: neighbours must be integers [n, k_max], not {table.dtype} {list(table.shape)}."
            )
        if table.min() < 0 or table.max() >= gallery:
            raise ValueError(f"{name}, layer {i}: neighbours must be samples 0 to {gallery - 1}; make the table again.")
        in_order = np.sort(table, axis=1)
        if (table == np.arange(len(table))[:, None]).any() or (in_order[:, 1:] == in_order[:, :-1]).any():
            raise ValueError(f"{name}, layer {i}: a sample is its own neighbour or one twice; make the table again.")
    return [table.astype(np.int32, copy=False) for table in checked]


@dataclass(frozen=True)
class Metric:
    """A registered metric: its traits, and the function that scores all layer pairs of two representations."""

    name: str
    summary: str
    needs: Needs  # what a representation must hold
    symmetric: bool  # score(x, y) == score(y, x)
    bounded: bool  # never above 1: only then is a calibrated score defined
    function: Callable[..., np.ndarray] = field(repr=False, compare=False)
    options: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def needs_k(self) -> bool:
        """Whether the metric looks at the k nearest neighbours."""
        return "k" in inspect.signature(self.function).parameters

    def scores(self, x: Representation, y: Representation, k: int | None = None) -> np.ndarray:
        """Scores of all layer pairs, float64 [L_x, L_y]; ``k`` is ignored by a metric without neighbours."""
        return self.function(x, y, **({"k": k} if self.needs_k and k is not None else {}), **self.options)


METRICS: dict[str, Metric] = {}


def metric(*, summary: str, needs: Needs, symmetric: bool, bounded: bool) -> Callable[[Callable], Callable]:
    """Register a function ``f(x, y, k=..., **options)`` of two representations, under its own name.

    The public function it becomes takes two arrays [n, d] and returns a float as well as two ``Representation`` objects
    and returns float64 [L_x, L_y].
    """

    def register(function: Callable[..., np.ndarray]) -> Callable:
        @functools.wraps(function)
        def public(x: Any, y: Any, *args: Any, **options: Any) -> float | np.ndarray:
            if isinstance(x, Representation) and isinstance(y, Representation):
                require_paired(x, y)
                return function(x, y, *args, **options)
            device = device_of(x, y)
            x, y = Representation("x", [x], device=device), Representation("y", [y], device=device)
            require_paired(x, y)
            score = float(function(x, y, *args, **options)[0, 0])
            if np.isnan(score):
                raise ValueError(
                    f"{function.__name__} of these two arrays is not a number; see the ranges in its docstring."
                )
            return score

        METRICS[function.__name__] = Metric(function.__name__, summary, needs, symmetric, bounded, public)
        return public

    return register


def device_of(*layers: Any) -> str:
    """The torch device of the first of ``layers`` that lies on one, as products are taken there; "cpu" for arrays."""
    return next((str(layer.device) for layer in layers if hasattr(layer, "is_cuda")), "cpu")


def variant(name: str, of: Callable, *, summary: str, symmetric: bool, bounded: bool, **options: Any) -> None:
    """Register a metric with other ``options`` under a name of its own, so that a config can ask for it."""
    METRICS[name] = Metric(name, summary, METRICS[of.__name__].needs, symmetric, bounded, of, options)


def require_paired(x: Representation, y: Representation) -> None:
    """Raise ValueError unless x and y hold the same number of samples."""
    if x.n != y.n:
        raise ValueError(
            f"{x.name} has {x.n} samples and {y.name} has {y.n}; their rows must be the same samples, in order."
        )
