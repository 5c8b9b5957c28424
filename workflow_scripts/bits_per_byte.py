"""Bits per byte of a text under a language model."""

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
from prh.modalities import language


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True, help="text entry, as JSON")
    parser.add_argument("--entry", type=json.loads, required=True, help="model entry, as JSON")
    parser.add_argument("--text", type=Path, required=True, help=".jsonl file, a document per line")
    parser.add_argument("--weights", type=Path, required=True, help="weights.json of the model")
    parser.add_argument("--output", type=Path, required=True, help="table of scores to write")
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
    root = files.fetched(arguments.weights)["root"]
    documents = [json.loads(line) for line in arguments.text.read_text(encoding="utf-8").splitlines()]
    device = loading.choose_device(arguments.device)
    model, tokenizer = language_scores.load_causal(arguments.entry, root, device, texts=documents)
    window = min(spec["window"], language.longest_text(model) or spec["window"])
    found = language_scores.bits_per_byte(
        model,
        tokenizer,
        documents,
        window=window,
        stride=spec["stride"],
        batch_size=arguments.batch_size,
        progress=True,
    )
    print(f"{arguments.entry['name']} on {spec['name']}: {found}")
    row = {
        "model": arguments.entry["name"],
        "task": spec["name"],
        "metric": "bits_per_byte",
        "value": found.value,
        "stderr": found.stderr,
        "n": found.bytes,
        "altered": found.altered,
        "source": joins.MEASURED,
    }
    made_by = tables.provenance(text=spec, device=device, tokenizer=found.tokenizer.footer())
    tables.write(joins.scores_table(pl.DataFrame([row])), arguments.output, made_by)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
