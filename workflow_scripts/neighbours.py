"""Nearest neighbours of every sample in every layer of a model's features."""

import argparse
import json
from pathlib import Path

import torch

from prh import representations, sample_sizes, tables
from prh.command import failing_in_one_sentence
from prh.devices import holding_gpus
from prh.neighbours import nearest
from prh.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="clamp, clamp_scope, normalise, k_max as JSON")
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
    spec = arguments.spec
    preparation = {key: value for key, value in spec.items() if key != "k_max"}
    source = tables.made_by(arguments.features)
    ids = representations.read_samples(arguments.features)
    sample_sizes.require(len(ids), "mutual_knn")
    with tables.open_table(arguments.features) as features:
        names = tables.layer_columns(features.schema_arrow)
    depth = min(spec["k_max"], len(ids) - 1)
    found = []
    with Progress(f"neighbours of {source['model']}", total=len(names), unit="layer") as progress:
        for layer in representations.prepared(arguments.features, preparation):
            found.append(nearest(layer, depth, device=arguments.device, memory_gb=arguments.memory_gb))
            progress.advance()
    ties = [neighbours.ties.tolist() for neighbours in found]
    print(
        f"{source['model']}: {len(ids)} samples, {len(names)} layers, {depth} neighbours; "
        f"rows with a tie at one place: {max(map(max, ties)):.2%} in the worst layer, at the worst place"
    )
    facts = {"model": source["model"], "layer_names": source["layer_names"], "preparation": spec, "ties": ties}
    output = tables.layers_table(ids, [neighbours.indices for neighbours in found])
    tables.write(output, arguments.output, tables.provenance(**facts))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
