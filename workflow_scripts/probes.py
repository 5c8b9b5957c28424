"""Linear probes on a vision model's features: every task that is trained on one data set."""

from pathlib import Path

import polars as pl
import torch

from prh.competence import probe_samples, scores
from prh.competence.probes import linear_probe
from prh.datasets.shards import labels_of
from prh.experiment.arguments import ProgramParser, matched
from prh.experiment.schema import Probe
from prh.experiment.specs import filled
from prh.io import tables
from prh.jobs.about import about
from prh.jobs.command import failing_in_one_sentence
from prh.jobs.progress import Progress

PRELOAD = ["torch", "scipy.stats", "sklearn.linear_model", "sklearn.isotonic"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="probe entries")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument(
        "--shards", nargs="+", type=Path, required=True, help="folders of shards of the data sets, training first"
    )
    parser.add_argument("--features", nargs="+", type=Path, required=True, help="their features tables")
    parser.add_argument("--features-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument("--output", type=Path, required=True, help="table of scores to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    tasks = [filled(Probe, task) for task in arguments.spec.settings["probes"]]
    names = list(dict.fromkeys(name for task in tasks for name in (task.train, task.test) if name))
    shards = dict(zip(names, arguments.shards, strict=True))
    features = dict(zip(names, arguments.features, strict=True))
    for name, (path, spec) in zip(names, matched(arguments.features, arguments.features_specs), strict=True):
        tables.require(path, model=arguments.model, dataset=name, spec=spec)

    def labelled(dataset: str, probe: Probe) -> probe_samples.Labelled:
        with about(f"labels {probe.label!r} in {shards[dataset]}"):
            ids, labels = labels_of(sorted(shards[dataset].glob("*.parquet")), probe.label, dataset)
        if probe.classes is not None:
            probe_samples.require_classes(labels, probe.classes, f"Data set {dataset!r} of task {probe.name!r}")
        if probe.bins is not None:
            labels = probe_samples.merged(labels, probe.classes, probe.bins)
        with about(str(features[dataset])):
            return probe_samples.Labelled.read(features[dataset], ids, labels, probe.layer, shards[dataset])

    rows = []
    with Progress(f"probes of {arguments.model}", total=len(tasks), unit="task") as progress:
        for probe in tasks:
            with about(f"model {arguments.model!r}"), about(f"task {probe.name!r}"):
                train = labelled(probe.train, probe)
                test = None if probe.test is None else labelled(probe.test, probe)
                train, test = probe_samples.split(train, test, probe.limit, probe.test_share, probe.seed)
                found = linear_probe(train.features, train.labels, test.features, test.labels, seed=probe.seed)
            print(f"{probe.name}: top-1 {found.top1:.3f} ± {found.stderr:.3f} ({found.classes} classes)")
            rows.append(
                {
                    "model": arguments.model,
                    "task": probe.name,
                    "metric": "top1",
                    "value": found.top1,
                    "stderr": found.stderr,
                    "n": found.n_test,
                    "source": scores.MEASURED,
                }
            )
            progress.advance()
    made_by = tables.provenance(**arguments.spec.provenance, model=arguments.model, dataset=names[0])
    tables.write(scores.scores_table(pl.DataFrame(rows)), arguments.output, made_by)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
