"""One model against all models before it: scores of all layer pairs, and the best ones with their calibration."""

import argparse
from pathlib import Path

from prh.alignment import comparisons, representations
from prh.core import sample_sizes
from prh.core.metrics import METRICS
from prh.core.preparation import preparation_arguments
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.jobs.progress import Progress


def main() -> None:
    parser = ProgramParser(__doc__, spec="metric and settings")
    parser.add_argument("--dataset", help="data set that the tables must be of")
    parser.add_argument("--models", nargs="+", required=True, help="this model, then those before it")
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
    metric, wanted = spec.settings["metric"], spec.entry("alignment", Alignment)
    preparation = preparation_arguments(wanted.model_dump())
    features = arguments.features or [None] * len(names)
    neighbours = arguments.neighbours or [None] * len(names)
    files = [found or table for found, table in zip(neighbours, features, strict=True)]
    for kind in ("features", "neighbours"):
        if paths := getattr(arguments, kind):
            tables.require_each(paths, names, getattr(arguments, f"{kind}_specs"), dataset=arguments.dataset)
    ids = representations.read_samples(files[0])
    halved = bool(wanted.subsamples or wanted.splits)
    sample_sizes.require(len(ids), metric, wanted.k if METRICS[metric].needs_k else (), halved=halved)
    groups = None
    if arguments.groups_from is not None:
        groups = representations.read_groups(arguments.groups_from, ids, arguments.dataset)
    place = {"device": arguments.device, "memory_gb": arguments.memory_gb}

    def opened(progress: Progress):  # one model at a time: the row needs no more memory for more models
        for name, *paths, file in zip(names[1:], features[1:], neighbours[1:], files[1:], strict=True):
            tables.require_same_samples(ids, representations.read_samples(file), (str(files[0]), str(file)))
            yield representations.representation(name, *paths, preparation, **place)
            progress.advance()

    x = representations.representation(names[0], features[0], neighbours[0], preparation, **place)
    settings = comparisons.Settings.of(wanted)
    with Progress(f"{metric} of {names[0]}", total=len(names) - 1, unit="model") as progress:
        scores, best = comparisons.row(x, opened(progress), metric, settings, groups)
    made_by = tables.provenance(
        **spec.provenance,
        dataset=arguments.dataset,
        model=names[0],
        models=names,
        metric=metric,
        samples=tables.digest_of_samples(ids),
        left_out=comparisons.left_out(best),
    )
    tables.write(scores, arguments.scores, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.select("model_y", "k", "score", "threshold", "p", "layer_x", "layer_y"))
    for sentence in comparisons.remarks(best):
        print(sentence)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
