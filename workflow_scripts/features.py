"""Pooled features of every layer of a model for every sample of a data set."""

import argparse
import os
from functools import partial
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import torch

from prh.datasets import shards
from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model
from prh.features import extraction
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import batch_size, failing_in_one_sentence
from prh.jobs.devices import holding_gpus
from prh.modalities import load, modality_of
from prh.models import loading, memory

PRELOAD = ["torch", "timm", "transformers.modeling_utils"]
NO_WEIGHTS = {"root": None, "revision": None, "files": {}}


def main() -> None:
    parser = ProgramParser(__doc__, spec="model entry, layers to keep")
    parser.add_argument("--dataset", help="data set that the manifest must be of")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.json of the shards")
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--weights", type=Path, help="weights.json of the model; none where it has none")
    parser.add_argument("--output", type=Path, required=True, help="features table to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to hold, unless the device is cpu; for 0 it is")
    parser.add_argument("--batch-size", type=batch_size, default="auto", help="samples in a batch, or auto")
    arguments = parser.parse_args()
    if not arguments.gpus:
        arguments.device = "cpu"
    with files.making(arguments.output), holding_gpus(arguments.gpus, arguments.device):
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    spec = arguments.spec
    entry, layers = spec.entry("model", Model), spec.settings.get("layers")
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # numbers below 1e-38 slow a CPU down by half in some networks and change nothing
    memory.keep_freed()
    manifest = shards.read_manifest(arguments.manifest, arguments.dataset)
    weights = NO_WEIGHTS
    if arguments.weights is not None:
        weights = files.fetched(arguments.weights, entry.name, entry.source)
    device = loading.choose_device(arguments.device)
    root = None if weights["root"] is None else Path(weights["root"])
    encoder = load(entry, root, device)
    dtype = loading.choose_dtype(getattr(entry, "dtype", "auto"), device)  # auto is not the same on every GPU
    program = files.sha256(Path(__file__))
    extraction.extract(
        encoder,
        shards.shard_paths(manifest, arguments.shards),
        arguments.output,
        model=entry.name,
        digest=extraction.recipe(
            spec.settings, spec.code, weights["files"], manifest["shards"], device, str(dtype), layers, program
        ),
        encode=partial(resolved(modality_of(entry).encode), entry=entry),
        keep=layers,
        batch_size=arguments.batch_size,
        workers=arguments.threads,
        made_by={
            **spec.provenance,
            "revision": weights["revision"],
            "quantisation": getattr(entry, "quantisation", None),
            "device": device,
            "dataset": manifest["dataset"],
        },
    )


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
