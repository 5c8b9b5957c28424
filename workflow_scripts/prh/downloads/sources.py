r"""What a source declares, and the registry of sources of data sets, models, texts and tasks.

A source fetches what an entry of the experiment names. It is declared in a light module::

    class Generated(prh.DatasetEntry):
        source: Literal["generated"]
        seed: int = 0

    def fetch(entry, folder, **_):
        folder.mkdir(parents=True, exist_ok=True)
        rows = ({"text": text} for text in texts_of(entry.seed))
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    prh.register(prh.Source("generated", entry=Generated, fetch=fetch))

The workflow's own sources are in the packages of what they fetch (`HOMES`), one file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from prh.io.functions import Function, import_members, resolved

HOMES = {
    "datasets": "prh.datasets.sources",
    "models": "prh.models.sources",
    "texts": "prh.datasets.text_sources",
    "harness": "prh.competence.task_sources",
}
"""The lists of an experiment whose entries have a source, with the packages of the workflow's own sources."""
READERS = {
    "datasets": "prh.datasets.local_data:read_fetched",
    "texts": "prh.datasets.documents:read_fetched",
}
"""The default for ``Source.read``, by list."""


@dataclass(frozen=True)
class Source:
    """A source of data sets, models, texts or tasks, as the workflow knows it.

    Attributes
    ----------
    name : str
        Its name, the value of the key ``source`` of its entries.
    of : str
        The list of the experiment that has its entries: ``datasets``, ``models``, ``texts`` or ``harness``.
    entry : class or str, optional
        The class of its entries, or the path to it, ``package.module:Class``. Entries of models have the class of their
        modality instead, unless the source gives representations.
    fetch : function, optional
        Makes or finds what an entry names: from (entry, folder to write to, and by name lock, a
        `prh.downloads.lockfile.Lock`, and world, the settings of the world or None) to the folder or file that holds
        it, or to (folder or file, mapping of further facts such as the revision). No other function of a source may
        use the network, except ``size``. A model without it is trained in the idealised world. A text must be a .txt
        file or a local data set with captions, unless ``read`` reads something else; a task must be a folder with an
        lm-eval task file of its name.
    read : function, optional
        Reads what was fetched, in a stable order. The samples of a data set: from (entry, the facts of ``fetch`` with
        the folder or file as root, `prh.datasets.samples.SampleColumns`, {"samples": ..., "shuffle_seed": ...}); by
        default those of a local data set. The documents of a text: from (entry, facts). The representation itself, if
        a source of models gives that instead of weights: from (entry, file or folder, ids of the samples, name of the
        data set) to an iterator over `prh.models.given.Part`; its ``fetch`` also receives dataset, the name.
    mistake : callable
        What is wrong with an entry beyond what its class checks, as a sentence; None if nothing is.
    lies_here : callable
        The folder or file on this machine that an entry names and whose changes are watched, or None.
    is_elsewhere : bool
        Whether it is fetched over the network, so that a lock file holds its version.
    is_of_world : bool
        Whether it comes from the idealised world and depends on the world's settings.
    samples : callable
        The largest number of samples that an entry can give, or None if it is unknown: from (entry, settings of the
        world).
    size : callable, optional
        The size of a download in bytes, which it may ask over the network, or None if it is unknown: from (entry).
    repository : callable, optional
        The hub repository that is fetched, which can be checked in more detail: from (entry) to (id, revision or None).
    checkpoint_key : str, optional
        The key of an entry of models that differs between the checkpoints of a training run; None if they have none.
    origin : callable
        Where an entry is fetched from, in a word: from (entry).

    Examples
    --------
    >>> generated = Source("generated", entry="my_source:Generated", fetch="my_source:fetch")
    >>> generated.of, generated.is_elsewhere, generated.lies_here(None)
    ('datasets', False, None)
    """

    name: str
    of: str = "datasets"
    entry: type | str | None = None
    fetch: Function | None = None
    read: Function | None = None
    mistake: Callable[[Any], str | None] = lambda entry: None
    lies_here: Callable[[Any], str | None] = lambda entry: None
    is_elsewhere: bool = False
    is_of_world: bool = False
    samples: Callable[[Any, Any], int | None] = lambda entry, world: entry.samples
    size: Callable[[Any], int | None] | None = None
    repository: Callable[[Any], tuple[str, str | None]] | None = None
    checkpoint_key: str | None = None
    origin: Callable[[Any], str] = lambda entry: entry.source

    @property
    def reader(self) -> Function:
        """``read``, or the default of its list."""
        return self.read or READERS[self.of]


class Fetched(NamedTuple):
    """The folder or file that was fetched (None for random weights), and further facts about it."""

    root: Path | None
    facts: Mapping[str, Any]


SOURCES: dict[str, dict[str, Source]] = {kind: {} for kind in HOMES}


def register(source: Source) -> Source:
    """Add a source to the registry and return it. Raises ValueError if its list is unknown or its name is taken."""
    if source.of not in HOMES:
        raise ValueError(f"source {source.name!r} is of {source.of!r}; a source is of {', '.join(HOMES)}.")
    if source.name in SOURCES[source.of]:
        raise ValueError(f"there is a source {source.name!r} of {source.of} already; give this one another name.")
    SOURCES[source.of][source.name] = source
    return source


def known(kind: str | None = None) -> Mapping[str, Any]:
    """The sources of a list of the experiment by name, including plugins; without a list, those of all lists."""
    for home in HOMES.values() if kind is None else (HOMES[kind],):
        import_members(home)
    return SOURCES if kind is None else SOURCES[kind]


def source_of(kind: str, entry: Any) -> Source:
    """The source of an entry in a list of the experiment."""
    return known(kind)[entry.source]


def fetch(kind: str, entry: Any, folder: Path, **how: Any) -> Fetched:
    """Fetch an entry into ``folder`` with its source; ``how``: lock and world, see `Source`."""
    function = source_of(kind, entry).fetch
    assert function is not None, f"nothing is fetched for source {entry.source}"
    fetched = resolved(function)(entry, folder, **how)
    return Fetched(*fetched) if isinstance(fetched, tuple) else Fetched(fetched, {})
