"""The command line of a program: its spec, and lists that are longer than a command may be."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prh.experiment import plugins
from prh.experiment.specs import Spec
from prh.jobs.about import job_is_about

FROM_FILE = "--arguments"
_KINDS = {"dataset": "data set"} | {kind: kind for kind in ("model", "text", "task", "study", "metric")}
"""What a program is given by name, in its spec or in an option, and how an error calls it."""
_SOURCES = ("url", "id", "path")
"""Keys of an entry that say where it comes from."""


class ProgramParser(argparse.ArgumentParser):
    """A parser with ``--spec`` that also takes arguments from a file.

    Linux bounds a single argument, as which a shell gets its whole command, at 128 KiB: a thousand models are more. So
    ``--arguments FILE`` stands for the arguments that FILE holds, a JSON list of strings.
    """

    def __init__(self, description: str | None, spec: str | None = None) -> None:
        """``spec``: what the spec of the program says; None for a program without one."""
        super().__init__(description=description)
        self._has_spec = spec is not None
        if spec is not None:
            self.add_argument(
                "--spec", type=Spec.parse, required=True, help=f"{spec}, as JSON (prh/experiment/specs.py)"
            )

    def add_tables(self) -> None:
        """The options of a program of studies: three lists, with an item for each table that is read."""
        self.add_argument("--reads", nargs="+", required=True, help="what each table is called by the study")
        self.add_argument("--tables", nargs="+", type=Path, required=True, help="the tables")
        self.add_argument("--tables-specs", nargs="*", default=[], help="digests of their settings")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """The arguments; the log of a job says by which settings and which code it runs."""
        plugins.load_told()
        arguments = super().parse_args(expanded(sys.argv[1:] if args is None else args), namespace)
        job_is_about(dict.fromkeys(_subjects(arguments)))
        if self._has_spec:
            print(f"settings {arguments.spec.digest}, code {arguments.spec.code or 'not told'}", flush=True)
        return arguments


def _subjects(arguments: argparse.Namespace) -> Iterator[str]:
    """What a job is about: the entries of its spec, with where they come from, and the names among its options."""
    settings = arguments.spec.settings if hasattr(arguments, "spec") else {}
    models = getattr(arguments, "models", None)
    first = models[0] if isinstance(models, list) and models else None  # elsewhere it is a table
    for key, kind in _KINDS.items():
        entry = settings.get(key)
        named = entry if isinstance(entry, Mapping) else {"name": entry if isinstance(entry, str) else None}
        for name in (named.get("name"), getattr(arguments, key, None), first if key == "model" else None):
            if isinstance(name, str):
                yield f"{kind} {name!r}"
        yield from (f"from {named[source]}" for source in _SOURCES if isinstance(named.get(source), str))


def expanded(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with every ``--arguments FILE`` replaced by what the file holds."""
    whole, given = [], iter(arguments)
    for argument in given:
        if argument != FROM_FILE:
            whole.append(argument)
            continue
        path = next(given, None)
        if path is None:
            raise ValueError(f"{FROM_FILE} needs a file.")
        whole += json.loads(Path(path).read_text(encoding="utf-8"))
    return whole


def matched(paths: Sequence[Path], specs: Sequence[str]) -> list[tuple[Path, str | None]]:
    """Each path with the digest of the settings that its table must be made by; None where no digests are given."""
    if specs and len(specs) != len(paths):
        raise ValueError(f"there are {len(specs)} digests for {len(paths)} tables; give one for each, or none.")
    return list(zip(paths, specs or [None] * len(paths), strict=True))
