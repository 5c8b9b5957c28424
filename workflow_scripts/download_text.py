"""Fetch a text for scoring language models: one document per line, as JSON strings."""

import shutil
from pathlib import Path

from prh.datasets.documents import bounded
from prh.downloads import sources
from prh.downloads.lockfile import Lock
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Text, World
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="text entry; the world")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl file to write")
    arguments = parser.parse_args()

    spec, folder = arguments.spec, arguments.output.with_suffix(".source")
    text, world = spec.entry("text", Text), spec.optional("world", World)
    lock = Lock(arguments.lock, "texts", text.name, arguments.output)
    root, facts = sources.fetch("texts", text, folder, lock=lock, world=world)
    read = resolved(sources.source_of("texts", text).reader)
    documents = bounded(read(text, {**facts, "root": root}), text.documents, text.bytes)
    files.write_json_lines(arguments.output, documents)
    shutil.rmtree(folder, ignore_errors=True)  # many times what was taken
    version = f" at {facts['revision']}" if facts.get("revision") else ""
    size = sum(len(document.encode()) for document in documents)
    print(f"{text.name}{version}: {len(documents)} documents, {size:,} bytes")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
