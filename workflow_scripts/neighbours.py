"""Nearest neighbours of every sample in every layer of a model's features."""

import argparse
from pathlib import Path

import torch

from prh.alignment import representations
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus

PRELOAD = ["torch"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="preparation and depth")
    parser.add_argument("--dataset", help="data set that the features must be of")
    parser.add_argument("--model", help="model that they must be of")
    parser.add_argument("--features-spec", help="digest of their settings")
    parser.add_argument("--features", type=Path, required=True, help="features table")
    parser.add_argument("--output", type=Path, required=True, help="neighbours table to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="torch device of the products")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="bound on products held at once")
    arguments = parser.parse_args()
    with holding_gpus(1, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    tables.require(arguments.features, model=arguments.model, dataset=arguments.dataset, spec=arguments.features_spec)
    section = arguments.spec.entry("alignment", Alignment)
    table, facts = representations.stored_neighbours(
        arguments.features, section, device=arguments.device, memory_gb=arguments.memory_gb
    )
    print(*representations.summary(facts), sep="\n")
    tables.write(table, arguments.output, tables.provenance(**arguments.spec.provenance, **facts))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
