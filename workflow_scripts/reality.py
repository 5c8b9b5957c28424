"""The kernel of the idealised world as features: what every model should converge to."""

from pathlib import Path

from prh.datasets.shards import read_manifest, shard_paths
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import World
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.world import idealised, written


def main() -> None:
    parser = ProgramParser(__doc__, spec="settings of the world")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--dataset", help="data set that the manifest must be of")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the shards")
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--output", type=Path, required=True, help="features table to write")
    arguments = parser.parse_args()

    manifest = read_manifest(arguments.manifest, arguments.dataset)
    shards = shard_paths(manifest, arguments.shards)
    ids = [sample for path in shards for sample in tables.read(path, ["sample_id"])["sample_id"].to_pylist()]
    world = idealised.build(**arguments.spec.entry("world", World).model_dump())
    features = world.reality_features()[written.events_of(ids)]
    facts = {"model": arguments.model, "layer_names": ["events"], "parameters": None, "dataset": manifest["dataset"]}
    facts["samples"] = tables.digest_of_samples(ids)
    tables.write(
        tables.layers_table(ids, [features]), arguments.output, tables.provenance(**arguments.spec.provenance, **facts)
    )


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
