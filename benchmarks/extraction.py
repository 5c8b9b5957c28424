"""Speed of extraction beside a bare forward pass and a plain loop, and its peak memory for n and 4n samples.

    python benchmarks/extraction.py            # minutes on two cores, with the real weights in ../shared/real
    python benchmarks/extraction.py --quick    # few samples and models; without real data synthetic ones are made

Prints two markdown tables. Rates are medians over repetitions in which all ways take turns, ratios are medians of each
repetition's own ratio, so that a machine whose speed drifts does not decide.

prh      `encode_images` from shards on disk (read, decode, forward, pool every layer), `encode_texts` from strings
         (tokenise, batch by length, forward, pool every layer); start of the workers included.
bare     the model as its library makes it on batches that lie ready in memory, no pooling, at its best batch size of
         those tried (language: batches of similar length, cut at the best number of padded tokens). With the settings
         of the process that prh has: denormal numbers are flushed, freed memory is kept.
loop     language only, what the official code does: batches of 4 padded to the longest caption of the set, all hidden
         states stacked, then averaged over the real tokens. Its tokenisation is not timed.
inputs   decoding or tokenising alone, on one core.

Tokens are real ones: padding does not count.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from prh import modalities
from prh.datasets.local_data import read_local
from prh.datasets.samples import Sample, SampleColumns
from prh.datasets.sharding import shard
from prh.datasets.shards import shard_paths
from prh.experiment.schema import LanguageModel, VisionModel
from prh.features import extraction
from prh.modalities import image_batches, text_batches
from prh.modalities.language import LanguageEncoder
from prh.modalities.vision import VisionEncoder
from prh.models import memory

REAL = Path(__file__).resolve().parents[2] / "shared/real"
IMAGE_BATCHES = (4, 8, 16, 32, 64)
TOKEN_BATCHES = (512, 1024, 2048, 4096, 8192)
SHARD = 256
WORDS = ("a", "the", "in", "on", "two", "red", "dog", "man", "grass", "ball", "water", "running", "small", "plays")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the samples, one repetition")
    parser.add_argument("--real", type=Path, default=REAL, help="folder with flickr1k/ and weights/")
    parser.add_argument("--repetitions", type=int, help="3, or 1 with --quick")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, as compute.threads")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu (with --threads 1): on a machine in use")
    parser.add_argument("--only", choices=("vision", "language", "memory"), help="one of the three measures")
    arguments = parser.parse_args()
    if arguments.repetitions is None:
        arguments.repetitions = 1 if arguments.quick else 3
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    memory.keep_freed()  # bare passes have it too

    samples = _samples(arguments.real / "flickr1k")
    wanted = [arguments.only] if arguments.only else ["memory", "vision", "language"]
    print(f"{arguments.threads} threads, {os.cpu_count()} cores, {arguments.repetitions} repetitions, "
          f"{arguments.clock} clock, torch {torch.__version__}", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        # Memory first: a process starts with its parent's peak, so the parent must still be small.
        if "memory" in wanted:
            memory_table(samples, 64 if arguments.quick else 512, arguments, Path(folder))
        if {"vision", "language"} & set(wanted):
            speed_table(samples, arguments, Path(folder), wanted)


def speed_table(samples: Sequence[Sample], arguments: argparse.Namespace, folder: Path, wanted: Sequence[str]) -> None:
    print("\n| model | unit | samples | prh | bare | best batch | prh / bare | loop | prh / loop | inputs |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    share = 5 if arguments.quick else 1
    if "vision" in wanted:
        for name, encoder, model, count in vision_models(arguments.real):
            time_images(name, encoder, model, samples[: count // share], arguments, folder / name)
    if "language" in wanted:
        texts = [caption for sample in samples for caption in sample.captions]
        for name, encoder, count in language_models(arguments.real, folder):
            time_texts(name, encoder, texts, count // share, arguments)


# ---- what is measured ------------------------------------------------------------------------------------------------


def _samples(flickr: Path) -> list[Sample]:
    """The photographs and captions, or where they are absent noise and made-up sentences of the same sizes."""
    if flickr.is_dir():
        return list(read_local(flickr, SampleColumns()))
    rng = np.random.default_rng(0)
    captions = [[" ".join(rng.choice(WORDS, rng.integers(4, 22))) for _ in range(5)] for _ in range(1000)]
    return [Sample(f"{i:04d}", _noise(rng), None, tuple(texts)) for i, texts in enumerate(captions)]


def _noise(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray(rng.integers(0, 256, (20, 26, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize((200, 150)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def vision_models(real: Path) -> Iterable[tuple[str, VisionEncoder, torch.nn.Module, int]]:
    """Name, encoder, the model as timm makes it, and number of images to time it on."""
    weights = real / "weights/vision/mobilenet_v2_1.0_224"
    if weights.is_dir():
        entry = VisionModel(name="m", modality="vision", source="local", path=str(weights))
        bare = timm.create_model(f"local-dir:{weights}", pretrained=True)
        yield "mobilenet_v2_1.0_224", modalities.load(entry, weights), bare, 500
    entry = VisionModel(name="m", modality="vision", source="random", id="vit_small_patch16_224")
    yield entry.id, modalities.load(entry, None), timm.create_model(entry.id), 100


def language_models(real: Path, folder: Path) -> Iterable[tuple[str, LanguageEncoder, int]]:
    """Name, encoder and number of captions to time it on."""
    weights = real / "weights/language/stories260K"
    if not weights.is_dir():
        return
    entry = LanguageModel(name="m", modality="language", source="local", path=str(weights))
    yield "stories260K", modalities.load(entry, weights), 5000
    made = folder / "llama"
    shutil.copytree(weights, made, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "head_dim": 64}
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    entry = LanguageModel(name="m", modality="language", source="random", path=str(made))
    encoder = modalities.load(entry, None)
    yield f"Llama, {encoder.parameters / 1e6:.0f}M random", encoder, 300


# ---- vision ----------------------------------------------------------------------------------------------------------


def time_images(
    name: str,
    encoder: VisionEncoder,
    model: torch.nn.Module,
    samples: Sequence[Sample],
    arguments: argparse.Namespace,
    folder: Path,
) -> None:
    clock = CLOCKS[arguments.clock]
    model = model.eval().to(memory_format=torch.channels_last)
    manifest = shard(samples, folder, SampleColumns(), shard_size=SHARD)
    shards = shard_paths(manifest, folder)
    ready, decoding = _timed(lambda: torch.stack([encoder.decode(sample.image) for sample in samples]), clock)

    def bare(size: int) -> None:
        with torch.inference_mode():
            for batch in batches[size]:
                model(batch)

    batches = {size: [encoder.as_input(batch) for batch in ready.split(size)] for size in IMAGE_BATCHES}
    best = _fastest({size: lambda size=size: bare(size) for size in IMAGE_BATCHES}, clock)
    ways = {"prh": lambda: list(image_batches.encode_images(encoder, shards)), "bare": lambda: bare(best)}
    seconds = _in_turns(ways, arguments.repetitions, clock)
    _speed_row(name, "images/s", len(samples), len(samples), seconds, best, len(samples) / decoding)


# ---- language --------------------------------------------------------------------------------------------------------


def time_texts(
    name: str, encoder: LanguageEncoder, texts: Sequence[str], count: int, arguments: argparse.Namespace
) -> None:
    clock = CLOCKS[arguments.clock]
    chosen = [texts[i] for i in np.random.default_rng(0).choice(len(texts), count, replace=False)]
    longest = max(len(ids) for ids, _ in encoder.tokenize(texts))
    items, tokenising = _timed(lambda: encoder.tokenize(chosen), clock)
    lengths = [len(ids) for ids, _ in items]
    batches = {
        tokens: [
            _padded([items[i] for i in batch], max(lengths[i] for i in batch))
            for batch in text_batches.length_batches(lengths, tokens)
        ]
        for tokens in TOKEN_BATCHES
    }
    looped = items[: max(4, count // 10)]
    plain = [_padded(looped[start : start + 4], longest) for start in range(0, len(looped), 4)]

    def bare(tokens: int) -> None:
        with torch.inference_mode():
            for ids, mask in batches[tokens]:
                encoder.module(input_ids=ids, attention_mask=mask)

    best = _fastest({tokens: lambda tokens=tokens: bare(tokens) for tokens in TOKEN_BATCHES}, clock)
    found = text_batches.encode_texts(encoder, chosen)
    for layer, expected in zip(found, official_loop(encoder.module, plain), strict=True):
        np.testing.assert_allclose(layer[: len(looped)], expected, atol=1e-3, rtol=1e-3)
    ways = {
        "prh": lambda: text_batches.encode_texts(encoder, chosen),
        "bare": lambda: bare(best),
        "loop": lambda: official_loop(encoder.module, plain),
    }
    seconds = _in_turns(ways, arguments.repetitions, clock)
    share = sum(lengths) / sum(lengths[: len(looped)])
    seconds["loop"] = [second * share for second in seconds["loop"]]
    _speed_row(name, "tokens/s", count, sum(lengths), seconds, best, sum(lengths) / tokenising)


def _padded(items: Sequence[tuple[Tensor, Tensor]], length: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask [texts, length], padded on the right."""
    ids = pad_sequence([ids for ids, _ in items], batch_first=True)
    mask = pad_sequence([torch.ones_like(ids) for ids, _ in items], batch_first=True)
    missing = (0, length - ids.shape[1])
    return torch.nn.functional.pad(ids, missing), torch.nn.functional.pad(mask, missing)


@torch.no_grad()
def official_loop(module: torch.nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Hidden states [layers, texts, width] averaged over the real tokens, after all of them are stacked."""
    pooled = []
    for ids, mask in batches:
        output = module(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        stacked = torch.stack(output.hidden_states).permute(1, 0, 2, 3)
        weights = mask[:, None, :, None]
        pooled.append(((stacked * weights).sum(2) / weights.sum(2)).cpu())
    return torch.cat(pooled).permute(1, 0, 2)


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory_table(samples: Sequence[Sample], n: int, arguments: argparse.Namespace, folder: Path) -> None:
    print("\n| model | samples | features on disk, MB | peak MB | of the largest worker |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for count in (n, 4 * n):
        # Each with an id of its own, as often as needed
        again = (
            Sample(f"{i:06d}", sample.image, None, sample.captions)
            for i, sample in enumerate(itertools.islice(itertools.cycle(samples), count))
        )
        shard(again, folder / f"{count}", SampleColumns(), shard_size=SHARD // 4)
    for kind in ("vision", "language"):
        for count in (n, 4 * n):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                row = pool.submit(peak_memory, kind, folder / f"{count}", arguments.real, arguments.threads).result()
            if row is not None:
                name, size, peak, worker = row
                print(f"| {name} | {count:,} | {size:.0f} | {peak:.0f} | {worker:.0f} |", flush=True)


def peak_memory(kind: str, folder: Path, real: Path, threads: int) -> tuple[str, float, float, float] | None:
    """Name, and in MB the size of the table, the peak of this process and of its largest worker.

    Runs alone in a process of its own: a peak never falls again.
    """
    torch.set_num_threads(threads)
    memory.keep_freed()
    shards = sorted(folder.glob("*.parquet"))
    with tempfile.TemporaryDirectory() as made:
        models = vision_models(real) if kind == "vision" else language_models(real, Path(made))
        name, encoder, *_ = next(iter(models), (None, None))
        if name is None:
            return None
        output = Path(made) / "features.parquet"
        entry = SimpleNamespace(caption="all", template="{caption}")
        encode = partial((text_batches if kind == "language" else image_batches).encode, entry=entry)
        extraction.extract(encoder, shards, output, model=name, digest="", encode=encode)
        size = output.stat().st_size / 2**20
    peaks = (resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return name, size, *peaks


# ---- clock -----------------------------------------------------------------------------------------------------------


def _timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> tuple[object, float]:
    start = clock()
    result = work()
    return result, clock() - start


def _cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    return sum(os.times()[:4])


CLOCKS = {"wall": time.perf_counter, "cpu": _cpu_seconds}


def _fastest(ways: dict[int, Callable[[], object]], clock: Callable[[], float]) -> int:
    """The key of the way that is fastest in the better of two turns."""
    seconds = _in_turns(ways, 2, clock)
    return min(seconds, key=lambda key: min(seconds[key]))


def _in_turns(ways: dict, repetitions: int, clock: Callable[[], float]) -> dict[object, list[float]]:
    """Seconds of each way in each repetition; all ways take turns."""
    seconds: dict[object, list[float]] = {key: [] for key in ways}
    for _ in range(repetitions):
        for key, work in ways.items():
            seconds[key].append(_timed(work, clock)[1])
    return seconds


def _speed_row(
    name: str, unit: str, samples: int, work: int, seconds: dict[str, list[float]], best: int, inputs: float
) -> None:
    """One line of the table; ``work`` is what is counted in ``unit``."""
    rates = {way: f"{work / median(taken):,.0f}" for way, taken in seconds.items()}
    ratios = {
        way: f"{median(other / own for own, other in zip(seconds['prh'], taken, strict=True)):.2f}"
        for way, taken in seconds.items()
    }
    print(f"| {name} | {unit} | {samples:,} | {rates['prh']} | {rates['bare']} | {best} | {ratios['bare']} | "
          f"{rates.get('loop', '')} | {ratios.get('loop', '')} | {inputs:,.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
