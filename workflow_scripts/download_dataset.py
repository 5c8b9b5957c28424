"""Download a data set, or inspect a local one, and record where it is and what it contains."""

from pathlib import Path

from prh.downloads import sources
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Dataset, World
from prh.io import files
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="data set entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="source.json to write")
    arguments = parser.parse_args()

    spec = arguments.spec
    entry, world = spec.entry("dataset", Dataset), spec.optional("world", World)
    lock = Lock(arguments.lock, "datasets", entry.name, arguments.output)
    root, facts = sources.fetch("datasets", entry, arguments.output.parent / "source", lock=lock, world=world)
    listing = files.listing(root)
    print(f"{entry.name}: {len(listing)} files, {sum(file['bytes'] for file in listing.values()):,} bytes in {root}")
    about = {"name": entry.name, "source": entry.source, **facts, "root": str(root), "files": listing}
    files.write_json(arguments.output, about)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
