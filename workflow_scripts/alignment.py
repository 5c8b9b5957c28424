"""One model against others, usually all before it: scores of all layer pairs, and the best pair, calibrated."""

import argparse
from pathlib import Path

from prh.alignment import comparisons, stored
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus

PRELOAD = ["torch"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="metric and settings")
    parser.add_argument("--dataset", help="data set that the tables must be of")
    parser.add_argument("--models", nargs="+", required=True, help="this model, then those that it is compared with")
    parser.add_argument(
        "--removed", nargs="*", default=[], help="models that are left out if their samples are not those of the others"
    )
    parser.add_argument("--features", nargs="*", default=[], type=Path, help="their features, if the metric needs them")
    parser.add_argument("--neighbours", nargs="*", default=[], type=Path, help="their neighbours, likewise")
    parser.add_argument("--features-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument("--neighbours-specs", nargs="*", default=[], help="likewise")
    parser.add_argument("--groups-from", type=Path, help="folder of the shards, if samples are grouped")
    parser.add_argument("--device", default="cpu", help="torch device of the products")
    parser.add_argument("--memory-gb", type=float, default=2.0, help="bound on what one step holds at once")
    parser.add_argument("--scores", type=Path, required=True, help="table of all layer pairs to write")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs to write")
    arguments = parser.parse_args()
    with holding_gpus(1, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    spec, names = arguments.spec, arguments.models
    for kind in ("features", "neighbours"):
        if paths := getattr(arguments, kind):
            tables.require_each(paths, names, getattr(arguments, f"{kind}_specs"), dataset=arguments.dataset)
    scores, best, facts = stored.row(
        stored.RowModels.of(names, arguments.features, arguments.neighbours, arguments.removed),
        spec.settings["metric"],
        spec.entry("alignment", Alignment),
        arguments.groups_from,
        device=arguments.device,
        memory_gb=arguments.memory_gb,
    )
    facts |= {"dataset": arguments.dataset, "model": names[0], "models": names, "metric": spec.settings["metric"]}
    made_by = tables.provenance(**spec.provenance, **facts)
    tables.write(scores, arguments.scores, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.select("model_y", "k", "score", "threshold", "p", "layer_x", "layer_y"))
    for sentence in comparisons.remarks(best):
        print(sentence)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
