"""Train a model in the idealised world, and write down where its weights lie."""

import json
from pathlib import Path

import torch

from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, World
from prh.io import files
from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised
from prh.world.language_learners import train_language
from prh.world.vision_learners import train_vision


def main() -> None:
    parser = ProgramParser(__doc__, spec="modality, training and model_args; the world")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # weights are the same from run to run for one number of threads
    entry, folder = arguments.spec.entry("model", Model), arguments.output.parent / "files"
    place = idealised.build(**arguments.spec.entry("world", World).model_dump())
    if entry.modality == "language":
        train_language(place, folder, **entry.training.model_dump())
    else:
        train_vision(place, folder, **entry.training.model_dump(), model_args=entry.model_args)
    weights = {
        "name": entry.name,
        "source": entry.source,
        "root": str(folder),
        "revision": None,
        "files": files.listing(folder),
    }
    with files.writing(arguments.output) as part:
        part.write_text(json.dumps(weights, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
