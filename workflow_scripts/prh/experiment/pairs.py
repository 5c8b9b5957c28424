"""Which row of the alignment matrix holds which pair of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


def partners(
    models: Sequence[str],
    held: Mapping[str, Collection[str]],
    is_wanted: Callable[[str, str], bool] = lambda earlier, later: True,
) -> dict[str, tuple[str, ...]]:
    """The models that each model's row is to hold, so that every pair is in a row and few rows are made again.

    A pair belongs to the row of its later model. If that row is already there without the pair, making it again would
    repeat all its other pairs, so the row of the earlier model takes the pair if it has to be made anyway. If neither
    has to, the row that lacks the most pairs is made again.

    Parameters
    ----------
    models : sequence of str
        The models of the experiment, in its order, each once.
    held : mapping
        For each row that can stay as it is, the other models in it. Some of them may be in no experiment any more. A
        row that is not here has to be made.
    is_wanted : callable
        Whether two models, the earlier one first, are to be compared at all.

    Returns
    -------
    dict
        A tuple for each of ``models``. A row that stays as it is has all of ``held``. Every wanted pair is in at
        least one row; readers take one that is in both from the row of the later model.

    Examples
    --------
    >>> partners(["a", "b", "c"], {})
    {'a': (), 'b': ('a',), 'c': ('b', 'a')}
    >>> partners(["a", "new", "b", "c"], {"a": (), "b": ("a",), "c": ("b", "a")})
    {'a': (), 'new': ('a', 'b', 'c'), 'b': ('a',), 'c': ('b', 'a')}
    """
    there = {model: frozenset(held[model]) for model in models if model in held}
    made_again = set(_made_again(models, there, is_wanted))
    kept = {model: others for model, others in there.items() if model not in made_again}
    rows = {model: list(held[model]) if model in kept else [] for model in models}
    for earlier, later in _apart(models, kept, is_wanted):
        owner, other = (earlier, later) if later in kept else (later, earlier)
        rows[owner].append(other)
    return {model: tuple(others) for model, others in rows.items()}


def _apart(
    models: Sequence[str], kept: Mapping[str, frozenset[str]], is_wanted: Callable[[str, str], bool]
) -> Iterator[tuple[str, str]]:
    """The wanted pairs (earlier, later) that no row of ``kept`` holds; for each later model, the nearest one first."""
    nothing: frozenset[str] = frozenset()
    for place, later in enumerate(models):
        row = kept.get(later, nothing)
        for earlier in reversed(models[:place]):
            if earlier not in row and later not in kept.get(earlier, nothing) and is_wanted(earlier, later):
                yield earlier, later


def _made_again(
    models: Sequence[str], kept: Mapping[str, frozenset[str]], is_wanted: Callable[[str, str], bool]
) -> Iterator[str]:
    """The rows of ``kept`` that have to be made again because of pairs that neither of two of them holds.

    The one with the most such pairs is first, then the one with the most of those that are left.
    """
    lacking: dict[str, set[str]] = {model: set() for model in models if model in kept}
    for earlier, later in _apart(models, kept, is_wanted):
        if earlier in kept and later in kept:
            lacking[earlier].add(later)
            lacking[later].add(earlier)
    place = {model: number for number, model in enumerate(models)}
    while lacking:
        model = max(lacking, key=lambda name: (len(lacking[name]), place[name]))
        if not lacking[model]:
            return
        yield model
        for other in lacking.pop(model):
            lacking[other].discard(model)
