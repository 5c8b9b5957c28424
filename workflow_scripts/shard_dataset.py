"""Check every sample of a data set and cut it into Parquet shards."""

import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

from prh.datasets import sharding
from prh.datasets.samples import SampleColumns
from prh.downloads.sources import source_of
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Dataset
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="data set entry")
    parser.add_argument("--source", type=Path, required=True, help="source.json of the download")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json to write")
    parser.add_argument("--shards", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--threads", type=int, default=1, help="threads that decode images")
    arguments = parser.parse_args()

    entry = arguments.spec.entry("dataset", Dataset)
    source = files.fetched(arguments.source, entry.name, entry.source)
    columns = SampleColumns(entry.image, entry.captions, tuple(entry.labels), entry.group, entry.sample_id)
    chosen = {"samples": entry.samples, "shuffle_seed": entry.shuffle_seed}
    samples = resolved(source_of("datasets", entry).reader)(entry, source, columns, chosen)
    manifest = sharding.shard(
        samples,
        arguments.shards,
        columns,
        count=entry.samples,
        shard_size=entry.shard_size,
        on_error=entry.on_error,
        workers=arguments.threads,
        progress=True,
        made_by={"dataset": entry.name, "revision": source.get("revision")},
    )
    print(*sharding.summary(entry.name, manifest), sep="\n")
    files.write_json(arguments.manifest, {"dataset": entry.name, **manifest})


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
