"""A task of lm-eval on a language model; its results file is kept whole."""

import argparse
import json
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import polars as pl
import torch

from prh import files, joins, language_scores, loading, tables
from prh.command import batch_size, failing_in_one_sentence
from prh.devices import holding_gpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="task entry, as JSON")
    parser.add_argument("--entry", type=json.loads, required=True, help="model entry, as JSON")
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
    spec = arguments.spec
    own = spec["source"] == "lm_eval"
    root = files.fetched(arguments.weights)["root"]
    device = loading.choose_device(arguments.device)
    language_scores.run_harness(
        *language_scores.load_causal(arguments.entry, root, device),
        [spec["name"]],
        include_path=None if own else arguments.task.parent,
        data=arguments.task.parent / "data" if own else None,
        num_fewshot=spec["shots"],
        limit=spec["limit"],
        batch_size=arguments.batch_size,
        out_json=arguments.results,
    )
    found = language_scores.harness_scores(arguments.results)
    print(found)
    scores = found.with_columns(model=pl.lit(arguments.entry["name"]), source=pl.lit(joins.MEASURED))
    tables.write(joins.scores_table(scores), arguments.scores, tables.provenance(task=spec))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
