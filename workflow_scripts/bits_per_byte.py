"""Bits per byte of a text under a language model."""

import argparse
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import polars as pl
import torch

from prh.competence import causal_models, scores
from prh.competence.bits_per_byte import bits_per_byte
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, Text
from prh.io import files, tables
from prh.jobs.about import about
from prh.jobs.command import batch_size, failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.modalities import language
from prh.models import loading, text_checks

PRELOAD = ["torch", "timm", "transformers.modeling_utils", "scipy.stats", "sklearn.linear_model", "sklearn.isotonic"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="text entry, model entry")
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
    text, entry = arguments.spec.entry("text", Text), arguments.spec.entry("model", Model)
    root = files.fetched(arguments.weights, entry.name, entry.source)["root"]
    with about(str(arguments.text)):
        documents = files.read_json_lines(arguments.text)
    device = loading.choose_device(arguments.device)
    facts = {**arguments.spec.provenance, "model": entry.name, "text": text.name, "device": device}
    try:
        loaded = causal_models.load_causal(entry, root, device, texts=documents)
    except text_checks.NotCausal as error:
        reason = causal_models.reason_not_scored(error, entry)
        tables.write(scores.SCORES.empty_table(), arguments.output, tables.provenance(**facts, not_scored=reason))
        return
    window = min(text.window, language.longest_text(loaded.model) or text.window)
    with about(f"model {entry.name!r}"):
        found = bits_per_byte(
            loaded.model,
            loaded.tokenizer,
            documents,
            window=window,
            stride=text.stride,
            batch_size=loaded.batch_size(arguments.batch_size),
            progress=True,
            name=entry.name,
        )
    print(f"{entry.name} on {text.name}: {found}")
    row = {
        "model": entry.name,
        "task": text.name,
        "metric": "bits_per_byte",
        "value": found.value,
        "stderr": found.stderr,
        "n": found.bytes,
        "altered": found.altered_share,
        "source": scores.MEASURED,
    }
    made_by = tables.provenance(**facts, selftest=loaded.selftest.as_footer())
    tables.write(scores.scores_table(pl.DataFrame([row])), arguments.output, made_by)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
