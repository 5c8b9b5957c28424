"""One model against others, usually all before it, in galleries of growing size with the same queries."""

import argparse
from pathlib import Path

import torch

from prh.alignment import comparisons, stored
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus

PRELOAD = ["torch"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="metric, sizes and settings")
    parser.add_argument("--dataset", help="data set that the tables must be of")
    parser.add_argument("--models", nargs="+", required=True, help="this model, then those that it is compared with")
    parser.add_argument(
        "--removed", nargs="*", default=[], help="models that are left out if their samples are not those of the others"
    )
    parser.add_argument("--features", nargs="+", type=Path, required=True, help="their features")
    parser.add_argument("--features-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument("--groups-from", type=Path, help="folder of the shards, if samples are grouped")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="torch device of the products")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="bound on products held at once")
    parser.add_argument("--output", type=Path, required=True, help="table of best layer pairs to write")
    arguments = parser.parse_args()
    with holding_gpus(1, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    spec, names = arguments.spec, arguments.models
    tables.require_each(arguments.features, names, arguments.features_specs, dataset=arguments.dataset)
    best, facts = stored.sweep_row(
        stored.RowModels.of(names, arguments.features, removed=arguments.removed),
        spec.settings["metric"],
        spec.entry("alignment", Alignment),
        arguments.groups_from,
        device=arguments.device,
        memory_gb=arguments.memory_gb,
    )
    facts |= {"dataset": arguments.dataset, "model": names[0], "models": names, "metric": spec.settings["metric"]}
    tables.write(best.to_arrow(), arguments.output, tables.provenance(**spec.provenance, **facts))
    for sentence in comparisons.remarks(best):
        print(sentence)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
