"""A task of lm-eval on a language model; its results file is kept whole."""

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import polars as pl
import torch

from prh.competence import causal_models, scores
from prh.competence.harness import harness_scores, run_harness
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import HarnessTask, Model
from prh.io import files, tables
from prh.jobs.about import about
from prh.jobs.command import batch_size, failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.models import loading, text_checks

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
    own = task.source == "lm_eval"
    root = files.fetched(arguments.weights, entry.name, entry.source)["root"]
    device = loading.choose_device(arguments.device)
    facts = {**arguments.spec.provenance, "model": entry.name, "task": task.name}
    try:
        loaded = causal_models.load_causal(entry, root, device)
    except text_checks.NotCausal as error:
        reason = causal_models.reason_not_scored(error, entry)
        files.write_json(arguments.results, {"results": {}, "not_scored": reason})
        tables.write(scores.SCORES.empty_table(), arguments.scores, tables.provenance(**facts, not_scored=reason))
        return
    with about(f"model {entry.name!r}"), about(f"task {task.name!r}"):
        run_harness(
            loaded.model,
            loaded.tokenizer,
            [task.name],
            include_path=None if own else arguments.task.parent,
            data=arguments.task.parent / "data" if own else None,
            num_fewshot=task.shots,
            limit=task.limit,
            batch_size=loaded.batch_size(arguments.batch_size),
            name=entry.name,
            out_json=arguments.results,
        )
    found = harness_scores(arguments.results)
    print(found)
    table = scores.scores_table(found.with_columns(model=pl.lit(entry.name), source=pl.lit(scores.MEASURED)))
    made_by = tables.provenance(**facts, selftest=loaded.selftest.as_footer())
    tables.write(table, arguments.scores, made_by)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
