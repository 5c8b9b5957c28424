"""Train a model in the idealised world, and write down where its weights lie."""

from pathlib import Path

import torch

from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, World
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence
from prh.modalities import modality_of
from prh.world import idealised

PRELOAD = ["torch", "timm", "transformers.modeling_utils"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="modality, training and model_args; the world")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # weights are the same from run to run for one number of threads
    entry, folder = arguments.spec.entry("model", Model), arguments.output.parent / "files"
    world = idealised.build(**arguments.spec.entry("world", World).model_dump())
    resolved(modality_of(entry).train)(world, folder, entry)
    weights = {
        "name": entry.name,
        "source": "world",
        "root": str(folder),
        "revision": None,
        "files": files.listing(folder),
    }
    files.write_json(arguments.output, weights)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
