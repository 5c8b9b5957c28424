"""Fetch a data set, or look a local one over, and write down where it lies and what it holds."""

import json
from pathlib import Path

from prh.datasets.sources import source_of
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Dataset, World
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="data set entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="source.json to write")
    arguments = parser.parse_args()

    spec, folder = arguments.spec, arguments.output.parent / "source"
    entry = spec.entry("dataset", Dataset)
    lock = Lock(arguments.lock, "datasets", entry.name, arguments.output)
    world = spec.entry("world", World) if "world" in spec.settings else None
    root = resolved(source_of(entry).fetch)(entry, folder, lock=lock, world=world)
    root, facts = root if isinstance(root, tuple) else (root, {})
    found = files.listing(root)
    print(f"{entry.name}: {len(found)} files, {sum(file['bytes'] for file in found.values()):,} bytes in {root}")
    told = {"name": entry.name, "source": entry.source, **facts, "root": str(root), "files": found}
    with files.writing(arguments.output) as part:
        part.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
