"""Bits per byte of a text under a language model."""

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import torch

from prh.competence import bits_per_byte
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, Text
from prh.io import files, tables
from prh.jobs.about import about
from prh.jobs.command import batch_size, failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.models import loading

PRELOAD = ["torch", "timm", "transformers.modeling_utils", "scipy.stats", "sklearn.linear_model", "sklearn.isotonic"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="text entry, model entry")
    parser.add_argument("--text", type=Path, required=True, help=".jsonl file, a document per line")
    parser.add_argument("--weights", type=Path, required=True, help="weights.json of the model")
    parser.add_argument("--output", type=Path, required=True, help="table of scores to write")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to hold, unless the device is cpu")
    parser.add_argument("--batch-size", type=batch_size, default="auto", help="sequences in a batch, or auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    with holding_gpus(arguments.gpus, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    text, entry = arguments.spec.entry("text", Text), arguments.spec.entry("model", Model)
    root = files.fetched(arguments.weights, entry.name, entry.source)["root"]
    with about(str(arguments.text)):
        documents = files.read_json_lines(arguments.text)
    device = loading.choose_device(arguments.device)
    batch = arguments.batch_size
    scored = bits_per_byte.score_text(entry, root, text, documents, device=device, batch_size=batch)
    facts = {"model": entry.name, "text": text.name, "device": device, **scored.facts}
    tables.write(scored.table, arguments.output, tables.provenance(**arguments.spec.provenance, **facts))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
