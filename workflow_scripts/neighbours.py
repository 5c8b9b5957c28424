"""Nearest neighbours of every sample in every layer of a model's features."""

import argparse
import json
from pathlib import Path

import torch

from prh import tables
from prh.alignment import prepare
from prh.command import failing_in_one_sentence
from prh.neighbours import nearest
from prh.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="clamp, clamp_scope, normalise, k_max as JSON")
    parser.add_argument("--features", type=Path, required=True, help="features table")
    parser.add_argument("--output", type=Path, required=True, help="neighbours table to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="torch device of the products")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    spec = arguments.spec
    source = tables.made_by(arguments.features)
    table = tables.read(arguments.features)
    names = tables.layer_columns(table.schema)
    ids = table["sample_id"].to_pylist()
    layers = prepare(
        [tables.layer_array(table, name) for name in names],
        clamp=spec["clamp"],
        normalise=spec["normalise"],
        clamp_scope=spec["clamp_scope"],
    )
    depth = min(spec["k_max"], len(ids) - 1)
    found = []
    with Progress(f"neighbours of {source['model']}", total=len(layers), unit="layer") as progress:
        for layer in layers:
            found.append(nearest(layer, depth, device=arguments.device))
            progress.advance()
    ties = [neighbours.ties for neighbours in found]
    print(
        f"{source['model']}: {len(ids)} samples, {len(layers)} layers, {depth} neighbours; "
        f"rows with a tie at place {depth}: {max(ties):.2%} in the worst layer"
    )
    facts = {"model": source["model"], "layer_names": source["layer_names"], "preparation": spec, "ties": ties}
    output = tables.layers_table(ids, [neighbours.indices for neighbours in found])
    tables.write(output, arguments.output, tables.provenance(**facts))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
