"""Fetch a task of lm-eval: a task file of one's own, questions about the idealised world, or one of lm-eval's own."""

import argparse
import json
import shutil
from pathlib import Path

from prh import files, world
from prh.command import failing_in_one_sentence

WORLD_QUESTIONS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="task entry, as JSON")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="task file to write: {folder}/{task}.yaml")
    arguments = parser.parse_args()

    spec, folder = arguments.spec, arguments.output.parent
    match spec["source"]:
        case "world":
            questions = world.build(**spec["world"]).multiple_choice(spec["limit"] or WORLD_QUESTIONS, seed=0)
            world.write_multiple_choice(questions, folder, task=spec["name"])
        case "local":
            copy(Path(spec["path"]), arguments.output)
        case "lm_eval":
            from prh import fetching, language_scores  # slow, and the other tasks do without
            from prh.lockfile import Lock

            repository, revision = language_scores.source_of_task(spec["name"])
            lock = Lock(arguments.lock, "harness", spec["name"], arguments.output)
            snapshot = fetching.find(repository, kind="dataset", revision=revision, lock=lock)
            snapshot.fetch(snapshot.files, folder / "data")
            with files.writing(arguments.output) as part:
                part.write_text(
                    f"# lm-eval's own task {spec['name']}, on data beside this file:\n"
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
