r"""What a source of data sets declares, and the registry of sources.

A source says what its entries hold, fetches what an entry names, and reads samples from what was fetched. It is
declared in a light module::

    class Generated(prh.DatasetEntry):
        source: Literal["generated"]
        seed: int = 0

    def fetch(entry, folder, **_):
        folder.mkdir(parents=True, exist_ok=True)
        rows = ({"text": text} for text in texts_of(entry.seed))
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    prh.register(prh.Source("generated", entry=Generated, fetch=fetch))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prh.io.functions import Function


@dataclass(frozen=True)
class Source:
    """A source of data sets, as the workflow knows it.

    Attributes
    ----------
    name : str
        Its name, the value of the key ``source``.
    entry : class or str
        The class of its entries under ``datasets``, or the path to it, ``package.module:Class``.
    fetch : function
        Makes or finds what an entry names: from (entry, folder to write to, and by name lock, a
        `prh.downloads.lockfile.Lock`, and world, the settings of the world or None) to the folder or file that holds
        it, or to (folder or file, mapping of what else ``read`` needs, such as the revision). No other function of a
        source may use the network.
    read : function
        The samples of what was fetched, in a stable order: from (entry, the mapping of ``fetch`` with the folder or
        file as root, `prh.datasets.samples.SampleColumns`, {"samples": ..., "shuffle_seed": ...}). By default it reads
        a data set in one of the local forms.
    lies_here : callable
        The folder or file on this machine that an entry names and whose changes are watched, or None.
    is_elsewhere : bool
        Whether it is fetched over the network, so that a lock file holds its version.
    is_of_world : bool
        Whether its data come from the idealised world and depend on the world's settings.
    samples : callable
        The largest number of samples that an entry can give, or None if it is unknown: from (entry, settings of the
        world).
    size : callable, optional
        The size in bytes of an entry's download, which it may ask over the network; None if it is unknown.

    Examples
    --------
    >>> generated = Source("generated", entry="my_source:Generated", fetch="my_source:fetch")
    >>> generated.is_elsewhere, generated.lies_here(None)
    (False, None)
    """

    name: str
    entry: type | str
    fetch: Function
    read: Function = "prh.datasets.sources.declarations.local:read"
    lies_here: Callable[[Any], str | None] = lambda entry: None
    is_elsewhere: bool = False
    is_of_world: bool = False
    samples: Callable[[Any, Any], int | None] = lambda entry, world: entry.samples
    size: Callable[[Any], int | None] | None = None


SOURCES: dict[str, Source] = {}


def register(source: Source) -> Source:
    """Add a source to the registry and return it. Raises ValueError if its name is taken."""
    if source.name in SOURCES:
        raise ValueError(f"there is a source {source.name!r} already; give this one another name.")
    SOURCES[source.name] = source
    return source
