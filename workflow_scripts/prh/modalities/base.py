"""What a modality declares, and the registry of modalities.

The workflow asks every modality what it can read before any job runs, so a modality is declared in a light module. It
only names the functions that load its models and cut batches, which may import whatever they need::

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
"""The columns of shards that models can read; a data set's entry says under the same keys what fills them."""
GREY = "#666666"


class FeatureError(ValueError):
    """A model gave an unusable feature; the message names model, layer and sample."""


def ignored(_count: float) -> None:
    """Default callback: ignore progress."""


class Encoder(Protocol):
    """What turns samples into features: one vector a layer.

    Its ``Modality.encode`` decides how samples reach it. The default calls ``encode(samples)`` with a few rows of a
    shard (a pyarrow Table with sample_id and the columns that the modality reads), which must return one float32
    [samples, width_l] per layer.
    """

    layer_names: Sequence[str]
    """Names of its layers, from first to last."""
    parameters: int | None
    """Number of parameters; None if that has no meaning."""


@dataclass(frozen=True)
class Cost:
    """What a pass over a sample costs, for estimates.

    Attributes
    ----------
    tokens : callable
        From an entry to the number of tokens in a sample. Each costs two operations per parameter.
    preparing : float
        Least number of seconds per sample, for decoding.
    stored : float
        Bytes per parameter in the files of a model.

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
        Its name, the value of the key ``modality``.
    entry : class or str
        The class of its entries under ``models``, or the path to it, ``package.module:Class``.
    load : function, or mapping of str to function
        From (entry, folder or file of the weights or None, device, dtype) to an `Encoder`. A mapping has one function
        for each value of the entry's key ``library``, and of ``source`` where the source decides.
    reads : sequence of str
        The columns of shards that it reads, from `READABLE`. Its models skip data sets that lack one of them.
    encode : function
        Cuts batches and encodes them: from (encoder, paths of shards, and by name entry, batch_size, workers, advance)
        to an iterator over shards, each a list of float32 [samples, width_l] per layer.
    fits : callable
        Whether a model runs on a data set that has the columns: from (entry of the data set, entry of the model).
    is_probed : bool
        Whether probes read classes from its features, so that its models also run on data sets used only for probes.
    is_scored : callable
        Whether the model of an entry is scored on texts and tasks.
    give : function, optional
        Gives the representation itself, where no model computes it: from (entry, ids of the samples, and by name
        dataset, root and world) to an iterator over `prh.models.given.Part`.
    train : function, optional
        Trains a model of the idealised world: from (world, folder, entry, and by name keep, the folders where the
        weights of some steps are saved, by step). An entry with a ``step`` is trained up to it.
    mistake : callable
        What is wrong with an entry beyond what its class checks, as the end of a sentence; None if nothing is.
    repository : function, optional
        Checks a hub repository beyond its known configuration: from (snapshot, configuration, entry, folder) to an
        iterator over (whether it is a problem, sentence).
    cost : Cost
        What a pass costs.
    colour : str
        Colour of its name in figures.

    Examples
    --------
    >>> letters = Modality("letters", entry="my_letters:Letters", load="my_letters:load", reads=("captions",))
    >>> letters.is_probed, letters.encode
    (False, 'prh.modalities.row_batches:encode')
    """

    name: str
    entry: type | str
    load: Function | Mapping[str, Function] = field(default_factory=dict)
    reads: Sequence[str] = ()
    encode: Function = "prh.modalities.row_batches:encode"
    fits: Callable[[Any, Any], bool] = lambda dataset, entry: True
    is_probed: bool = False
    is_scored: Callable[[Any], bool] = lambda entry: False
    give: Function | None = None
    train: Function | None = None
    mistake: Callable[[Any], str | None] = lambda entry: None
    repository: Function | None = None
    cost: Cost = field(default_factory=Cost)
    colour: str = GREY

    @property
    def is_given(self) -> bool:
        """Whether its representations are given, and not computed by a model."""
        return self.give is not None

    def loader(self, entry: Any) -> Function:
        """The function that loads the model of an entry. Raises KeyError if there is none for its library."""
        if not isinstance(self.load, Mapping):
            return self.load
        source = getattr(entry, "source", "")
        return self.load[source if source in self.load else entry.library]

    def meets(self, dataset: Any, entry: Any) -> bool:
        """Whether the model of an entry runs on the data set of another."""
        has_columns = all(getattr(dataset, column) is not None for column in self.reads)
        return has_columns and self.fits(dataset, entry) and (self.is_probed or dataset.use != "probe")


MODALITIES: dict[str, Modality] = {}


def register(modality: Modality) -> Modality:
    """Add a modality to the registry and return it.

    Raises ValueError if its name is taken or it reads a column that no shard has.
    """
    if modality.name in MODALITIES:
        raise ValueError(f"there is a modality {modality.name!r} already; give this one another name.")
    if wrong := [name for name in modality.reads if name not in READABLE]:
        raise ValueError(f"modality {modality.name!r} reads {wrong[0]!r}; it can read {', '.join(READABLE)}.")
    MODALITIES[modality.name] = modality
    return modality
