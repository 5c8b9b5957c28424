"""Linear probes on a vision model's features: every task that is trained on one data set."""

from pathlib import Path

import torch

from prh.competence import probe_tasks
from prh.experiment.arguments import ProgramParser, matched
from prh.experiment.schema import Probe
from prh.experiment.specs import filled
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence

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
    names = probe_tasks.datasets_of(tasks)
    for name, (path, spec) in zip(names, matched(arguments.features, arguments.features_specs), strict=True):
        tables.require(path, model=arguments.model, dataset=name, spec=spec)
    shards, features = (dict(zip(names, paths, strict=True)) for paths in (arguments.shards, arguments.features))
    scored = probe_tasks.score_probes(arguments.model, tasks, shards, features)
    made_by = tables.provenance(**arguments.spec.provenance, model=arguments.model, dataset=names[0], **scored.facts)
    tables.write(scored.table, arguments.output, made_by)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
