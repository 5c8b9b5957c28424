"""Score a language model on an lm-eval task; the full results file is kept."""

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import torch

from prh.competence import harness
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import HarnessTask, Model
from prh.io import files, tables
from prh.jobs.command import batch_size, failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.models import loading

PRELOAD = [
    "torch",
    "timm",
    "transformers.modeling_utils",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.isotonic",
    "lm_eval.models.huggingface",
]


def main() -> None:
    parser = ProgramParser(__doc__, spec="task entry, model entry")
    parser.add_argument("--task", type=Path, required=True, help="task file")
    parser.add_argument("--weights", type=Path, required=True, help="weights.json of the model")
    parser.add_argument("--results", type=Path, required=True, help="lm-eval's results, JSON, to write")
    parser.add_argument("--scores", type=Path, required=True, help="table of scores to write")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to hold, unless the device is cpu")
    parser.add_argument("--batch-size", type=batch_size, default="auto", help="sequences in a batch, or auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    with holding_gpus(arguments.gpus, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    task, entry = arguments.spec.entry("task", HarnessTask), arguments.spec.entry("model", Model)
    root = files.fetched(arguments.weights, entry.name, entry.source)["root"]
    device, batch = loading.choose_device(arguments.device), arguments.batch_size
    scored = harness.score_task(entry, root, task, arguments.task, arguments.results, device=device, batch_size=batch)
    facts = {"model": entry.name, "task": task.name, **scored.facts}
    tables.write(scored.table, arguments.scores, tables.provenance(**arguments.spec.provenance, **facts))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
