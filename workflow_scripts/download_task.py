"""Fetch an lm-eval task: one of lm-eval's own, a local task file, or questions about the idealised world."""

from pathlib import Path

from prh.downloads import sources
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import HarnessTask, World
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="task entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="task file to write: {folder}/{task}.yaml")
    arguments = parser.parse_args()

    task, world = arguments.spec.entry("task", HarnessTask), arguments.spec.optional("world", World)
    lock = Lock(arguments.lock, "harness", task.name, arguments.output)
    sources.fetch("harness", task, arguments.output.parent, lock=lock, world=world)
    if not arguments.output.is_file():
        raise ValueError(f"source {task.source!r} made no {arguments.output.name}, the file of task {task.name!r}.")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
