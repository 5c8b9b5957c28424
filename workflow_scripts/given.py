"""The features table of a given representation: features or kernels from files, or the kernel of the world."""

from pathlib import Path

from prh.datasets import shards
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, World
from prh.features import given
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence
from prh.modalities import modality_of


def main() -> None:
    parser = ProgramParser(__doc__, spec="model entry; the world")
    parser.add_argument("--dataset", required=True, help="data set that the manifest must be of")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the shards")
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--note", type=Path, help="what is known of its files; none where it has none")
    parser.add_argument("--output", type=Path, required=True, help="features table to write")
    arguments = parser.parse_args()

    spec, dataset = arguments.spec, arguments.dataset
    entry, world = spec.entry("model", Model), spec.optional("world", World)
    samples = shards.sample_ids(shards.read_manifest(arguments.manifest, dataset), arguments.shards)
    root = None
    if arguments.note is not None:
        root = Path(files.fetched(arguments.note, entry.name, entry.source)["root"])
    parts = resolved(modality_of(entry).give)(entry, samples, dataset=dataset, root=root, world=world)
    facts = {"model": entry.name, "parameters": getattr(entry, "parameters", None), "dataset": dataset}
    with files.making(arguments.output):
        given.write(parts, samples, arguments.output, {**spec.provenance, **facts})


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
