"""One model against all models before it: scores of all layer pairs, and the best ones with their calibration."""

import argparse
import json
from pathlib import Path

from prh import comparisons, representations, sample_sizes, tables
from prh.command import failing_in_one_sentence
from prh.devices import holding_gpus
from prh.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="metric, settings and preparation, as JSON")
    parser.add_argument("--models", nargs="+", required=True, help="this model, then those before it")
    parser.add_argument("--features", nargs="*", default=[], type=Path, help="their features, if the metric needs them")
    parser.add_argument("--neighbours", nargs="*", default=[], type=Path, help="their neighbours, likewise")
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
    features = arguments.features or [None] * len(names)
    neighbours = arguments.neighbours or [None] * len(names)
    files = [found or table for found, table in zip(neighbours, features, strict=True)]
    ids = representations.read_samples(files[0])
    halved = bool(spec["settings"].get("subsamples") or spec["settings"].get("splits"))
    sample_sizes.require(len(ids), spec["metric"], spec["settings"].get("k", ()), halved=halved)
    groups = None if arguments.groups_from is None else representations.read_groups(arguments.groups_from, ids)
    place = {"device": arguments.device, "memory_gb": arguments.memory_gb}

    def opened(progress: Progress):  # one model at a time: the row needs no more memory for more models
        for name, *paths, file in zip(names[1:], features[1:], neighbours[1:], files[1:], strict=True):
            tables.require_same_samples(ids, representations.read_samples(file), (str(files[0]), str(file)))
            yield representations.representation(name, *paths, spec["preparation"], **place)
            progress.advance()

    x = representations.representation(names[0], features[0], neighbours[0], spec["preparation"], **place)
    settings = comparisons.Settings(**spec["settings"])
    with Progress(f"{spec['metric']} of {names[0]}", total=len(names) - 1, unit="model") as progress:
        scores, best = comparisons.row(x, opened(progress), spec["metric"], settings, groups)
    made_by = tables.provenance(spec=spec, models=names)
    tables.write(scores, arguments.scores, made_by)
    tables.write(best.to_arrow(), arguments.best, made_by)
    print(best.select("model_y", "k", "score", "threshold", "p", "layer_x", "layer_y"))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
