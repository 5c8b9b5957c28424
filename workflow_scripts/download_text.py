"""Fetch a text to score language models on: one document per line, as JSON strings."""

import json
import shutil
from pathlib import Path

from prh.datasets.documents import bounded, read_documents
from prh.datasets.hub_reading import hub_documents
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Text, World
from prh.io import files, text_files
from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised

WORLD_DOCUMENTS, WORLD_LENGTH = 64, 31
HELD_OUT = 2**31  # no learner is trained with this seed


def main() -> None:
    parser = ProgramParser(__doc__, spec="text entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl file to write")
    arguments = parser.parse_args()

    text, folder = arguments.spec.entry("text", Text), arguments.output.with_suffix(".source")
    lock = Lock(arguments.lock, "texts", text.name, arguments.output)
    match text.source:
        case "world":
            count = text.documents or WORLD_DOCUMENTS
            place = idealised.build(**arguments.spec.entry("world", World).model_dump())
            documents = text_files.split_lines(place.text(count, WORLD_LENGTH, seed=HELD_OUT))
        case "local":
            documents = read_documents(Path(text.path))
        case "hub":
            from prh.datasets import hub_data  # slow, and the other sources do without

            revision, split = hub_data.fetch(text, folder, lock)
            print(f"{text.id} at {revision}")
            documents = hub_documents(folder, text.split, text.subset, text.column, split)
    documents = bounded(documents, text.documents, text.bytes)
    with files.writing(arguments.output) as part:
        part.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # many times what was taken
    print(f"{text.name}: {len(documents)} documents, {sum(len(d.encode()) for d in documents):,} bytes")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
