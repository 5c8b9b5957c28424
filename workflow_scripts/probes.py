"""Linear probes on a vision model's features: every task that is trained on one data set."""

import argparse
import json
from pathlib import Path

import polars as pl
import torch

from prh import datasets, joins, probes, tables
from prh.command import failing_in_one_sentence
from prh.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="probe entries, as JSON")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--datasets", nargs="+", required=True, help="names of the data sets, training first")
    parser.add_argument("--shards", nargs="+", type=Path, required=True, help="their folders of shards")
    parser.add_argument("--features", nargs="+", type=Path, required=True, help="their features tables")
    parser.add_argument("--output", type=Path, required=True, help="table of scores to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    shards = dict(zip(arguments.datasets, arguments.shards, strict=True))
    features = dict(zip(arguments.datasets, arguments.features, strict=True))

    def labelled(dataset: str, probe: dict) -> probes.Labelled:
        ids, labels = datasets.labels_of(sorted(shards[dataset].glob("*.parquet")), probe["label"])
        if probe["classes"] is not None:
            probes.require_classes(labels, probe["classes"], f"Data set {dataset!r} of task {probe['name']!r}")
        if probe["bins"] is not None:
            labels = probes.merged(labels, probe["classes"], probe["bins"])
        return probes.Labelled.read(features[dataset], ids, labels, probe["layer"])

    rows = []
    with Progress(f"probes of {arguments.model}", total=len(arguments.spec), unit="task") as progress:
        for probe in arguments.spec:
            train = labelled(probe["train"], probe)
            test = None if probe["test"] is None else labelled(probe["test"], probe)
            train, test = probes.split(train, test, probe["limit"], probe["test_share"], probe["seed"])
            found = probes.linear_probe(train.features, train.labels, test.features, test.labels, seed=probe["seed"])
            print(f"{probe['name']}: top-1 {found.top1:.3f} ± {found.stderr:.3f} ({found.classes} classes)")
            rows.append(
                {
                    "model": arguments.model,
                    "task": probe["name"],
                    "metric": "top1",
                    "value": found.top1,
                    "stderr": found.stderr,
                    "n": found.n_test,
                    "source": joins.MEASURED,
                }
            )
            progress.advance()
    scores = joins.scores_table(pl.DataFrame(rows))
    tables.write(scores, arguments.output, tables.provenance(model=arguments.model, probes=arguments.spec))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
