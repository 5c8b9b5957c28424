"""Fetch a text to score language models on: one document per line, as JSON strings."""

import argparse
import json
import shutil
from pathlib import Path

from prh import datasets, files, text_files, world
from prh.command import failing_in_one_sentence
from prh.lockfile import Lock

WORLD_DOCUMENTS, WORLD_LENGTH = 64, 31
HELD_OUT = 2**31  # no learner is trained with this seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="text entry, as JSON")
    parser.add_argument("--lock", type=Path, help="lock file of the experiment")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl file to write")
    arguments = parser.parse_args()

    spec, folder = arguments.spec, arguments.output.with_suffix(".source")
    lock = Lock(arguments.lock, "texts", spec["name"], arguments.output)
    match spec["source"]:
        case "world":
            count = spec["documents"] or WORLD_DOCUMENTS
            documents = text_files.split_lines(world.build(**spec["world"]).text(count, WORLD_LENGTH, seed=HELD_OUT))
        case "local":
            documents = datasets.read_documents(Path(spec["path"]))
        case "hub":
            from prh import hub_data  # slow, and the other sources do without

            revision, split = hub_data.fetch(spec, folder, lock)
            print(f"{spec['id']} at {revision}")
            documents = datasets.hub_documents(folder, spec["split"], spec["subset"], spec["column"], split)
    documents = datasets.bounded(documents, spec["documents"], spec["bytes"])
    with files.writing(arguments.output) as part:
        part.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # many times what was taken
    print(f"{spec['name']}: {len(documents)} documents, {sum(len(d.encode()) for d in documents):,} bytes")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
