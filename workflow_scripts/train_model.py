"""Train a model in the idealised world, and write down where its weights lie."""

import argparse
import json
from pathlib import Path

import torch

from prh import files, learners, world
from prh.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="modality, training, model_args, world, as JSON")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # weights are the same from run to run for one number of threads
    spec, folder = arguments.spec, arguments.output.parent / "files"
    place = world.build(**spec["world"])
    if spec["modality"] == "language":
        learners.train_language(place, folder, **spec["training"])
    else:
        learners.train_vision(place, folder, **spec["training"], model_args=spec["model_args"])
    weights = {"source": "world", "root": str(folder), "revision": None, "files": files.listing(folder)}
    with files.writing(arguments.output) as part:
        part.write_text(json.dumps(weights, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
