"""What a modality declares, and the registry of modalities.

The workflow asks every modality what it can read before any job runs. So a modality is declared by a light module, and
names the functions that load its models and cut their batches, which may import whatever they need::

    class Letters(prh.ModelEntry):
        modality: Literal["letters"]

    class Encoder:
        layer_names, parameters = ["counts"], None

        def encode(self, samples):
            captions = samples["captions"].to_pylist()
            return [np.array([[texts[0].count(letter) for letter in "aeiou"] for texts in captions], np.float32)]

    prh.register(prh.Modality("letters", entry=Letters, reads=("captions",), load=lambda *_: Encoder()))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prh.io.functions import Function

READABLE = ("image", "captions")
"""The columns of shards that models can read; an entry of a data set says by these keys where they come from."""
GREY = "#666666"


class FeatureError(ValueError):
    """A model gave a feature that cannot be used; the message names model, layer and sample."""


def ignored(_count: float) -> None:
    """Default callback: ignore progress."""


class Encoder(Protocol):
    """What turns samples into features: one vector a layer.

    How its samples reach it is a matter between it and ``Modality.encode``; by default that calls
    ``encode(samples)`` with a few rows of a shard (a pyarrow Table with sample_id and the columns that the modality
    reads), which returns a float32 [samples, width_l] for each layer.
    """

    layer_names: Sequence[str]
    """What its layers are called, from the first to the last."""
    parameters: int | None
    """How many it has; None where that means nothing."""


@dataclass(frozen=True)
class Cost:
    """What a pass over a sample costs, for estimates.

    Attributes
    ----------
    tokens : callable
        From an entry to the tokens of a sample, at two operations for each and each parameter.
    preparing : float
        Seconds that a sample takes at least, to be decoded.
    stored : float
        Bytes of a weight in the files of a model.

    Examples
    --------
    >>> Cost(tokens=lambda entry: 257, preparing=1 / 200).tokens(None)
    257
    """

    tokens: Callable[[Any], float] = lambda entry: 1
    preparing: float = 0
    stored: float = 4


@dataclass(frozen=True)
class Modality:
    """A modality, as the workflow knows it.

    Attributes
    ----------
    name : str
        Its own name, the value of the key ``modality``.
    entry : class or str
        The class of its entries under ``models``, or where it is.
    load : function, or mapping of str to function
        From (entry, folder or file of the weights or None, device, dtype) to an `Encoder`; by library where its entries
        have that key.
    reads : sequence of str
        The columns of shards that it reads, of `READABLE`; a data set that lacks one is not for it.
    encode : function
        How batches are cut: from (encoder, paths of shards, and by name entry, batch_size, workers, advance) to an
        iterator over the features of each shard, a list of float32 [samples, width_l].
    fits : callable
        Whether an entry of a data set is for it, beside its columns.
    is_probed : bool
        Whether classes are read from its features, and so whether it meets data sets that are there for probes only.
    is_scored : callable
        Whether the model of an entry is scored on texts and tasks.
    is_given : bool
        Whether its representation is given and no model computes it: the known kernel of the idealised world.
    train : function, optional
        Trains a model of the idealised world: from (world, folder, entry).
    mistake : callable
        What is wrong with an entry that its class cannot see, as the end of a sentence; None for nothing.
    repository : function, optional
        What a repository of the hub must hold besides a configuration that is known: from (snapshot, configuration,
        entry, folder) to (whether it is a problem, sentence).
    cost : Cost
        What a pass costs.
    colour : str
        Of its name in figures.

    Examples
    --------
    >>> letters = Modality("letters", entry="my_letters:Letters", load="my_letters:load", reads=("captions",))
    >>> letters.is_probed, letters.encode
    (False, 'prh.modalities.row_batches:encode')
    """

    name: str
    entry: type | str
    load: Function | Mapping[str, Function]
    reads: Sequence[str] = ()
    encode: Function = "prh.modalities.row_batches:encode"
    fits: Callable[[Any], bool] = lambda dataset: True
    is_probed: bool = False
    is_scored: Callable[[Any], bool] = lambda entry: False
    is_given: bool = False
    train: Function | None = None
    mistake: Callable[[Any], str | None] = lambda entry: None
    repository: Function | None = None
    cost: Cost = field(default_factory=Cost)
    colour: str = GREY

    def loader(self, entry: Any) -> Function:
        """The function that loads the model of an entry. Raises KeyError for a library that it has none for."""
        return self.load[entry.library] if isinstance(self.load, Mapping) else self.load

    def meets(self, dataset: Any) -> bool:
        """Whether its models are run on the data set of an entry."""
        has_columns = all(getattr(dataset, column) is not None for column in self.reads)
        return has_columns and self.fits(dataset) and (self.is_probed or dataset.use != "probe")


MODALITIES: dict[str, Modality] = {}


def register(modality: Modality) -> Modality:
    """Make a modality known. Raises ValueError for a name that is taken, and for a column that no shard has."""
    if modality.name in MODALITIES:
        raise ValueError(f"there is a modality {modality.name!r} already; give this one another name.")
    if wrong := [name for name in modality.reads if name not in READABLE]:
        raise ValueError(f"modality {modality.name!r} reads {wrong[0]!r}; it can read {', '.join(READABLE)}.")
    MODALITIES[modality.name] = modality
    return modality
