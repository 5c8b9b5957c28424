"""lm-eval's own tasks: it knows their questions, and their data are fetched beside the task file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register
from prh.io import files

if TYPE_CHECKING:
    from prh.downloads.lockfile import Lock
    from prh.experiment.schema import LmEvalTask


def repository(entry: LmEvalTask) -> tuple[str, str | None]:
    """The data set of the hub that a task asks about, and the revision that it wants."""
    from prh.competence import harness_tasks

    return harness_tasks.source_of_task(entry.name)


def fetch(entry: LmEvalTask, folder: Path, *, lock: Lock, **_how: Any) -> Path:
    """Download the data of the task into ``folder/data``, and write a task file that only says where they are from."""
    from prh.downloads import hub

    name, revision = repository(entry)
    snapshot = hub.find(name, kind="dataset", revision=revision, lock=lock)
    snapshot.fetch(snapshot.files, folder / "data")
    with files.writing(folder / f"{entry.name}.yaml") as part:
        part.write_text(
            f"# lm-eval's own task {entry.name}, on data beside this file:\n# {name} at {snapshot.commit}\n"
        )
    return folder


register(
    Source(
        "lm_eval",
        of="harness",
        entry="prh.experiment.schema:LmEvalTask",
        fetch=fetch,
        is_elsewhere=True,
        origin=lambda entry: "lm-eval's own",
        repository=repository,
    )
)
