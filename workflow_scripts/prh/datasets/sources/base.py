r"""What a source of data sets declares, and the registry of sources.

A source says what its entries hold, fetches what one of them names, and reads samples from what it has fetched. It is
declared by a light module::

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
        Its own name, the value of the key ``source``.
    entry : class or str
        The class of its entries under ``datasets``, or where it is.
    fetch : function
        Makes or finds what an entry names: from (entry, folder to write to, and by name lock, a
        `prh.downloads.lockfile.Lock`, and world, the settings of the world or None) to the folder or file where it
        lies, or to that and a mapping of what ``read`` is to know besides, such as the revision. It may use the
        network, alone of all.
    read : function
        The samples of what was fetched, in a stable order: from (entry, what ``fetch`` told, with its root,
        `prh.datasets.samples.SampleColumns`, {"samples": ..., "shuffle_seed": ...}). Where it is not given, that is a
        data set in one of the local forms.
    lies_here : callable
        The folder or file on this machine that an entry names, whose changes are watched; None for none.
    is_elsewhere : bool
        Whether it is fetched over the network, so that a lock file holds its version.
    is_of_world : bool
        Whether its data come from the idealised world, and so depend on the settings of that.
    samples : callable
        How many samples an entry gives at most, as far as can be told beforehand: from (entry, settings of the world).
    size : callable, optional
        Bytes of the download of an entry, asked where it lies; None where nothing tells.

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
    """Make a source known. Raises ValueError for a name that is taken."""
    if source.name in SOURCES:
        raise ValueError(f"there is a source {source.name!r} already; give this one another name.")
    SOURCES[source.name] = source
    return source
