"""Fetch a task of lm-eval: a task file of one's own, questions about the idealised world, or one of lm-eval's own."""

import shutil
from pathlib import Path

from prh.competence import harness_tasks
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import HarnessTask, World
from prh.io import files
from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised, written

WORLD_QUESTIONS = 200


def main() -> None:
    parser = ProgramParser(__doc__, spec="task entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="task file to write: {folder}/{task}.yaml")
    arguments = parser.parse_args()

    task, folder = arguments.spec.entry("task", HarnessTask), arguments.output.parent
    match task.source:
        case "world":
            place = idealised.build(**arguments.spec.entry("world", World).model_dump())
            questions = place.multiple_choice(task.limit or WORLD_QUESTIONS, seed=0)
            written.write_multiple_choice(questions, folder, task=task.name)
        case "local":
            copy(Path(task.path), arguments.output)
        case "lm_eval":
            from prh.downloads import hub  # slow, and the other tasks do without
            from prh.downloads.lockfile import Lock

            repository, revision = harness_tasks.source_of_task(task.name)
            lock = Lock(arguments.lock, "harness", task.name, arguments.output)
            snapshot = hub.find(repository, kind="dataset", revision=revision, lock=lock)
            snapshot.fetch(snapshot.files, folder / "data")
            with files.writing(arguments.output) as part:
                part.write_text(
                    f"# lm-eval's own task {task.name}, on data beside this file:\n"
                    f"# {repository} at {snapshot.commit}\n"
                )


def copy(source: Path, output: Path) -> None:
    """Copy the folder ``source`` to that of ``output``, its task file; the folder appears when it is whole."""
    if not (source / output.name).is_file():
        raise ValueError(f"{source} has no {output.name}, the file of task '{output.stem}'.")
    folder = output.parent
    part = folder.with_name(f"{folder.name}.part")
    with files.making(folder):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
