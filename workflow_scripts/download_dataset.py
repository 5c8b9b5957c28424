"""Fetch a data set, or look a local one over, and write down where it lies and what it holds."""

import json
from pathlib import Path

from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Dataset, World
from prh.io import files
from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised, written


def main() -> None:
    parser = ProgramParser(__doc__, spec="data set entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="source.json to write")
    arguments = parser.parse_args()

    entry, folder = arguments.spec.entry("dataset", Dataset), arguments.output.parent / "source"
    source, lock = (
        {"name": entry.name, "source": entry.source},
        Lock(arguments.lock, "datasets", entry.name, arguments.output),
    )
    match entry.source:
        case "local":
            root = Path(entry.path)
        case "hub":
            from prh.datasets import hub_data  # slow, and the other sources do without

            root = folder
            source["revision"], source["split"] = hub_data.fetch(entry.model_dump(), folder, lock)
        case "world":
            place = idealised.build(**arguments.spec.entry("world", World).model_dump())
            root = written.write_dataset(place, folder, density=entry.density, shuffled=entry.shuffled)
        case "url":
            from prh.downloads import archives, web  # likewise

            archive = web.fetch_url(entry.url, folder, sha256=entry.sha256, lock=lock)
            root = archives.unpack(archive, folder.with_name("content")) / entry.folder
    found = files.listing(root)
    print(f"{entry.name}: {len(found)} files, {sum(file['bytes'] for file in found.values()):,} bytes in {root}")
    with files.writing(arguments.output) as part:
        part.write_text(json.dumps({**source, "root": str(root), "files": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
