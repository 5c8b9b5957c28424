"""A task file of lm-eval on this machine, with what lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register
from prh.io import files

if TYPE_CHECKING:
    from prh.experiment.schema import LocalTask


def fetch(entry: LocalTask, folder: Path, **_how: Any) -> Path:
    """Copy the folder of the task; the copy appears when it is whole."""
    source, name = Path(entry.path), f"{entry.name}.yaml"
    if not (source / name).is_file():
        raise ValueError(f"{source} has no {name}, the file of task '{entry.name}'.")
    part = folder.with_name(f"{folder.name}.part")
    with files.making(folder):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder


register(
    Source(
        "local",
        of="harness",
        entry="prh.experiment.schema:LocalTask",
        fetch=fetch,
        lies_here=lambda entry: entry.path,
    )
)
