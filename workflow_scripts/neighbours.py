"""Nearest neighbours of every sample in every layer of a model's features."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from prh.alignment import representations
from prh.core import sample_sizes
from prh.core.preparation import preparation_arguments
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Alignment
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.jobs.progress import Progress


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
    wanted = arguments.spec.entry("alignment", Alignment)
    preparation = preparation_arguments(wanted.model_dump())
    source = tables.require(
        arguments.features, model=arguments.model, dataset=arguments.dataset, spec=arguments.features_spec
    )
    ids = representations.read_samples(arguments.features)
    sample_sizes.require(len(ids), "mutual_knn")
    with tables.open_table(arguments.features) as features:
        names = tables.layer_columns(features.schema_arrow)
    depth = min(wanted.k_max, len(ids) - 1)
    place = {"device": arguments.device, "memory_gb": arguments.memory_gb}
    with Progress(f"neighbours of {source['model']}", total=len(names), unit="layer") as progress:
        layers = counted(representations.prepared(arguments.features, preparation), progress)
        output, facts = representations.neighbours_table(
            source["model"], ids, layers, depth, precision=preparation.get("precision", "float32"), **place
        )
    worst = max(max(shares) for shares in facts["ties"] if shares is not None)
    print(
        f"{source['model']}: {len(ids)} samples, {len(names)} layers, {depth} neighbours; "
        f"rows with a tie at one place, broken by lot: {worst:.2%} in the worst layer, at the worst place"
    )
    if facts["left_out"]:
        which = ", ".join(f"{number} ({source['layer_names'][number]})" for number in facts["left_out"])
        print(f"{source['model']}: left out, as it is the same for all samples: layer {which}")
    facts |= {
        "model": source["model"],
        "dataset": source.get("dataset"),
        "samples": tables.digest_of_samples(ids),
        "layer_names": source["layer_names"],
    }
    tables.write(output, arguments.output, tables.provenance(**arguments.spec.provenance, **facts))


def counted(layers: Iterator[np.ndarray | None], progress: Progress) -> Iterator[np.ndarray | None]:
    for layer in layers:
        yield layer
        progress.advance()


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
