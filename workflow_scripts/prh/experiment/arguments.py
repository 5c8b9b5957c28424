"""The command line of a program: its spec, and lists of arguments too long for a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prh.experiment import plugins
from prh.experiment.specs import Spec
from prh.io import files
from prh.jobs.about import job_is_about

FROM_FILE = "--arguments"
_KINDS = {"dataset": "data set"} | {kind: kind for kind in ("model", "text", "task", "study", "metric")}
"""Keys of the spec, and options, that name what a job is about, and what error messages call them."""
_SOURCES = ("url", "id", "path")
"""Keys of an entry that say where it comes from."""


class ProgramParser(argparse.ArgumentParser):
    """A parser with ``--spec`` that also reads arguments from a file.

    Linux limits a single argument to 128 KiB, and a shell receives its whole command as one, which a thousand models
    exceed. So ``--arguments FILE`` stands for the arguments in FILE, a JSON list of strings.
    """

    def __init__(self, description: str | None, spec: str | None = None) -> None:
        """``spec``: what the program's spec contains, for the help; None for a program without a spec."""
        super().__init__(description=description)
        self._has_spec = spec is not None
        if spec is not None:
            self.add_argument(
                "--spec", type=Spec.parse, required=True, help=f"{spec}, as JSON (prh/experiment/specs.py)"
            )

    def add_tables(self) -> None:
        """Add the options of a study's program: three lists with one item per table that it reads."""
        self.add_argument("--reads", nargs="+", required=True, help="what each table is called by the study")
        self.add_argument("--tables", nargs="+", type=Path, required=True, help="the tables")
        self.add_argument("--tables-specs", nargs="*", default=[], help="digests of their settings")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """The arguments. Also loads the plugins, and prints the digests of settings and code to the job's log."""
        plugins.load_from_environment()
        arguments = super().parse_args(expanded(sys.argv[1:] if args is None else args), namespace)
        job_is_about(dict.fromkeys(_subjects(arguments)))
        if self._has_spec:
            print(f"settings {arguments.spec.digest}, code {arguments.spec.code or 'unknown'}", flush=True)
        return arguments


def _subjects(arguments: argparse.Namespace) -> Iterator[str]:
    """What a job is about, for its errors: the entries of its spec and their sources, and the names in its options."""
    settings = arguments.spec.settings if hasattr(arguments, "spec") else {}
    models = getattr(arguments, "models", None)
    first = models[0] if isinstance(models, list) else None  # the others stand before it in a row
    for key, kind in _KINDS.items():
        entry = settings.get(key)
        named = entry if isinstance(entry, Mapping) else {"name": entry if isinstance(entry, str) else None}
        for name in (named.get("name"), getattr(arguments, key, None), first if key == "model" else None):
            if isinstance(name, str):
                yield f"{kind} {name!r}"
        yield from (f"from {named[source]}" for source in _SOURCES if isinstance(named.get(source), str))


def expanded(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with every ``--arguments FILE`` replaced by what the file holds."""
    whole, remaining = [], iter(arguments)
    for argument in remaining:
        if argument != FROM_FILE:
            whole.append(argument)
            continue
        path = next(remaining, None)
        if path is None:
            raise ValueError(f"{FROM_FILE} needs a file.")
        whole += _words(path)
    return whole


def _words(path: str) -> list[str]:
    words = files.read_json(path)
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise ValueError(f"{path} holds no list of arguments; run snakemake again, which writes it anew.")
    return words


def matched(paths: Sequence[Path], specs: Sequence[str]) -> list[tuple[Path, str | None]]:
    """Each path with the digest of the settings that its table must be made by; None where no digests are given."""
    if specs and len(specs) != len(paths):
        raise ValueError(f"there are {len(specs)} digests for {len(paths)} tables; give one for each, or none.")
    return list(zip(paths, specs or [None] * len(paths), strict=True))
