"""One model against all models before it, in galleries of growing size with the same queries."""

import argparse
from pathlib import Path

import torch

from prh.alignment import comparisons, representations
from prh.core.preparation import preparation_arguments
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.jobs.progress import Progress


def main() -> None:
    parser = ProgramParser(__doc__, spec="metric, sizes and settings")
    parser.add_argument("--dataset", help="data set that the tables must be of")
    parser.add_argument("--models", nargs="+", required=True, help="this model, then those before it")
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
    spec, names, paths = arguments.spec, arguments.models, arguments.features
    metric, wanted = spec.settings["metric"], spec.entry("alignment", Alignment)
    preparation = preparation_arguments(wanted.model_dump())
    tables.require_each(paths, names, arguments.features_specs, dataset=arguments.dataset)
    ids = representations.read_samples(paths[0])
    groups = None
    if arguments.groups_from is not None:
        groups = representations.read_groups(arguments.groups_from, ids, arguments.dataset)

    def opened(progress: Progress):
        for name, path in zip(names[1:], paths[1:], strict=True):
            tables.require_same_samples(ids, representations.read_samples(path), (str(paths[0]), str(path)))
            yield name, list(representations.prepared(path, preparation))
            progress.advance()

    x = names[0], list(representations.prepared(paths[0], preparation))
    settings = comparisons.Settings.of(wanted)
    with Progress(f"{metric} of {names[0]} over n", total=len(names) - 1, unit="model") as progress:
        best = comparisons.sweep_row(
            x,
            opened(progress),
            metric,
            wanted.n,
            settings,
            groups,
            device=arguments.device,
            memory_gb=arguments.memory_gb,
            precision=preparation.get("precision", "float32"),
        )
    made_by = tables.provenance(
        **spec.provenance,
        dataset=arguments.dataset,
        model=names[0],
        models=names,
        metric=metric,
        samples=tables.digest_of_samples(ids),
    )
    tables.write(best.to_arrow(), arguments.output, made_by)
    for sentence in comparisons.remarks(best):
        print(sentence)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
