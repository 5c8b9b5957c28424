"""Fetch the weights of a model, or look local ones over, and write down where they lie."""

import json
from pathlib import Path

from prh.downloads import hub, web
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model
from prh.io import files
from prh.jobs.command import failing_in_one_sentence
from prh.models import repositories


def main() -> None:
    parser = ProgramParser(__doc__, spec="model entry")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    arguments = parser.parse_args()

    entry = arguments.spec.entry("model", Model)
    folder, root, revision = arguments.output.parent / "files", None, None
    lock = Lock(arguments.lock, "models", entry.name, arguments.output)
    match entry.source:
        case "local":
            root = Path(entry.path)
        case "hub":
            repository = repositories.hub_repository(entry.library, entry.id)
            snapshot = hub.find(repository, revision=entry.revision, lock=lock)
            snapshot.fetch(repositories.needed_files(snapshot.files), folder)
            root, revision = folder, snapshot.commit
        case "url":
            root = web.fetch_url(entry.url, folder, sha256=entry.sha256, lock=lock)
    weights = {
        "name": entry.name,
        "source": entry.source,
        "root": None if root is None else str(root),
        "revision": revision,
        "files": {} if root is None else files.listing(root),
    }
    if entry.source == "random" and entry.path:
        weights["configuration"] = files.listing(Path(entry.path))  # a changed one makes other random weights
    with files.writing(arguments.output) as part:
        part.write_text(json.dumps(weights, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
