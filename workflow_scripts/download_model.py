"""Download the weights of a model, or inspect local files, and record where they are."""

from pathlib import Path

from prh.downloads import sources
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model
from prh.io import files
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="model entry")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--dataset", help="data set, for a representation that is given")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    arguments = parser.parse_args()

    entry = arguments.spec.entry("model", Model)
    lock = Lock(arguments.lock, "models", entry.name, arguments.output)
    folder, how = arguments.output.parent / "files", {"lock": lock, "world": None, "dataset": arguments.dataset}
    root, facts = sources.fetch("models", entry, folder, **how)
    weights = {
        "name": entry.name,
        "source": entry.source,
        "root": None if root is None else str(root),
        "revision": None,
        **facts,
        "files": {} if root is None else files.listing(root),
    }
    files.write_json(arguments.output, weights)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
