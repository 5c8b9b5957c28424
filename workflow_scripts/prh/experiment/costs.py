"""What an experiment will cost, before anything runs: downloads, disk, GPU memory and hours of each stage.

The hub is asked for the sizes of downloads if it can be reached. Everything else is estimated from numbers of
parameters and samples by the rules below, well enough to tell a day from a week and 10 GB from 1 TB.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prh.downloads.sources import source_of
from prh.downloads.transfer import human
from prh.experiment.downloads import Download, downloads, parameters
from prh.experiment.plan import MADE, Plan, with_activations
from prh.experiment.schema import Experiment, Model
from prh.modalities import modality_of

SHAPE = 1.2e5
"""A transformer of depth L and width 100 L has about 12 L (100 L)^2 = SHAPE L^3 parameters."""
TEXT_BYTES, BYTES_PER_TOKEN = 18e6, 4.5
"""Bytes assumed for a text whose entry sets no limit, and for a token."""
QUESTIONS = {"hellaswag": (10_042, 400, 0), "gsm8k": (1_319, 150, 256)}
"""For tasks of lm-eval: the number of questions; the tokens of one question with all its answers, counted once for the
question and once for each example in the prompt; the tokens that a model writes as an answer."""
ANY_QUESTIONS = (10_000, 400, 0)
"""The same for any other task."""
WRITTEN_AT_ONCE = 8
"""Answers that are generated together. Generating one token of each reads all weights once."""
SAMPLES = 10_000
"""Samples assumed for a data set whose entry does not say how many it has."""
COMPRESSED = 0.5
"""Size of float32 features on disk relative to memory."""
READ_RATE = 1e9
"""Bytes of weights loaded per second."""
MEMORY_RATE = {"cpu": 2e10, "cuda": 2e12}
"""Memory bandwidth of a device, bytes per second."""
CPU_FLOPS, SCORE_SECONDS = 5e10, 5e-6
"""Operations per second of a neighbour search or a probe; seconds to score one layer pair of 1,024 samples."""
PROBE_STEPS = 8 * 300
"""Upper bound on the optimiser steps of a probe: fits times steps per fit."""
ASSUMED_TFLOPS = 50.0
"""Speed assumed for a GPU if there is none here to measure."""
JOB_SECONDS = 5
"""Seconds that any job takes to start."""


@dataclass(frozen=True)
class Stage:
    """The costs of a stage, in bytes and hours. ``memory``: peak on one device; ``held``: hours that hold a GPU."""

    name: str
    jobs: int
    download: float = 0
    disk: float = 0
    memory: float = 0
    hours: float = 0
    held: float = 0


def sustained(device: str, threads: int) -> float:
    """TFLOP/s of a matrix product on this machine: float32 on ``threads`` CPU threads, or bfloat16 on a GPU.

    Takes less than a second once torch is imported.
    """
    import torch

    torch.set_num_threads(threads)
    side, dtype = (1024, torch.float32) if device == "cpu" else (8192, torch.bfloat16)
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < 0.3:
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # a number: waits for a GPU
        taken.append(time.perf_counter() - start)
    return 2 * side**3 / sorted(taken[1:])[len(taken[1:]) // 2] / 1e12


def speed(experiment: Experiment) -> tuple[float, str]:
    """The TFLOP/s to assume, measured here if possible, and how the number was obtained."""
    compute = experiment.compute
    if compute.device == "cpu":
        return sustained("cpu", compute.threads), f"measured just now on {compute.threads} threads of this CPU"
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return sustained("cuda", compute.threads), f"measured just now on this {name}; models sustain less"
    return ASSUMED_TFLOPS, "ASSUMED: there is no GPU here to measure; pass --tflops, or set device: cpu"


def stages(plan: Plan, fetched: list[Download], tflops: float, bandwidth: float) -> list[Stage]:
    """The costs of every stage. ``tflops``: sustained 10^12 operations per second; ``bandwidth``: bytes per second."""
    device, sizes = _device(plan.experiment), {(item.kind, item.name): item.size for item in fetched}
    entries = {name: plan.models[name].model_dump(mode="json") for name in plan.encoded()}
    counts = {name: _count(entry, sizes.get(("models", name))) for name, entry in entries.items()}
    brought = {kind: sum(size or 0 for (of, _), size in sizes.items() if of == kind) for kind in MADE}
    brought["texts"] += brought.pop("harness")
    runs = [(dataset, model) for dataset, model in plan.runs() if model in counts]

    disk = work = 0.0
    for dataset, model in runs:
        n, count = samples(plan, dataset), counts[model]
        kept = len(plan.probed_layers(dataset)) / depth(count) if plan.probed_layers(dataset) else 1
        disk += n * width(count) * min(kept, 1) * 4 * COMPRESSED
        work += _forward_seconds(plan.models[model], count, n, tflops)
    scoring = sum(_scoring_seconds(plan, name, counts[name], tflops) for name in plan.scored()) / 3600
    probing = sum(_probing_seconds(plan, *run, counts) for run in plan.probe_runs()) / 3600

    jobs = _jobs(plan)
    idle = {stage: number * JOB_SECONDS / 3600 for stage, number in jobs.items()}

    def memory(of: Iterable[str]) -> float:
        return max((with_activations(plan.weight_bytes(name, device) * counts[name]) for name in of), default=0)

    return [
        Stage("datasets", jobs["datasets"], brought["datasets"], 2 * brought["datasets"], 0,
              brought["datasets"] / bandwidth / 3600 + idle["datasets"]),
        Stage("models", jobs["models"], brought["models"], brought["models"], 0,
              brought["models"] / bandwidth / 3600 + idle["models"]),
        Stage("features", jobs["features"], 0, disk, memory(model for _, model in runs),
              work / 3600 + idle["features"], work / 3600),
        Stage("alignment", jobs["alignment"], 0, *_alignment(plan, counts, idle["alignment"])),
        Stage("competence", jobs["competence"], brought["texts"], brought["texts"], memory(plan.scored()),
              scoring + probing + brought["texts"] / bandwidth / 3600 + idle["competence"], scoring),
        Stage("studies", jobs["studies"], 0, 0, 0, idle["studies"]),
    ]  # fmt: skip


def _device(experiment: Experiment) -> str:
    """The device that models are assumed to run on: a GPU if the device is auto."""
    return "cpu" if experiment.compute.device == "cpu" else "cuda"


def _count(entry: Mapping, size: float | None) -> float:
    """Number of parameters of a model, also of a local one; 0 if it is unknown or the model has no weights."""
    if "source" not in entry:
        return 0.0
    if size is None and entry.get("source") == "local":
        size = sum(file.stat().st_size for file in Path(entry["path"]).rglob("*") if file.is_file())
    return parameters(entry, size) or 0.0


def _scoring_seconds(plan: Plan, model: str, count: float, tflops: float) -> float:
    """Seconds to score one model on all texts and tasks."""
    experiment = plan.experiment
    tokens = sum((text.bytes or TEXT_BYTES) / BYTES_PER_TOKEN * 2 for text in experiment.texts)  # windows overlap
    device = _device(experiment)
    reading = plan.weight_bytes(model, device) * count / MEMORY_RATE[device]
    writing = 0.0
    for task in experiment.harness:
        there, length, written = QUESTIONS.get(task.name, ANY_QUESTIONS)
        asked = min(task.limit or there, there)
        tokens += asked * length * (1 + (task.shots or 0))
        step = max(reading, 2 * count * WRITTEN_AT_ONCE / (tflops * 1e12))
        writing += asked / WRITTEN_AT_ONCE * written * step
    return (
        2 * count * tokens / (tflops * 1e12) + writing + modality_of(plan.models[model]).cost.stored * count / READ_RATE
    )


def _probing_seconds(plan: Plan, dataset: str, model: str, counts: Mapping[str, float]) -> float:
    """Seconds to probe one model on all tasks of a data set, on a CPU."""
    wide = 100 * depth(counts.get(model, 0))
    tasks = [probe for probe in plan.experiment.probes if probe.train == dataset]
    rows = sum(min(probe.limit, samples(plan, dataset)) * (probe.classes or 10) for probe in tasks)
    return PROBE_STEPS * 4 * rows * wide / CPU_FLOPS


def _forward_seconds(entry: Model, count: float, n: int, tflops: float) -> float:
    """Seconds to extract features of ``n`` samples: per sample a forward pass, or its preparation if that is slower."""
    cost = modality_of(entry).cost
    return max(2 * count * cost.tokens(entry) / (tflops * 1e12), cost.preparing) * n + cost.stored * count / READ_RATE


def _alignment(plan: Plan, counts: Mapping[str, float], idle: float) -> tuple[float, float, float, float]:
    """Disk, GPU memory, hours of one core and, among these, hours that hold a GPU, of the alignment stage."""
    settings, disk, search, rows = plan.experiment.alignment, 0.0, 0.0, 0.0
    draws = 1 + settings.permutations + settings.subsamples
    for dataset in {dataset for dataset, _ in plan.comparisons()}:
        n = samples(plan, dataset)
        of = [counts[model] for model in plan.all_of(dataset) if model in counts]
        layers = sum(map(depth, of))
        disk += n * layers * settings.k_max * 4 * COMPRESSED
        search += sum(2 * n * n * width(count) for count in of) / CPU_FLOPS
        rows += layers**2 / 2 * len(settings.k) * draws * SCORE_SECONDS * n / 1024
    on_features = sum(plan.row_needs(metric, "features") for metric in settings.metrics)
    held = search + on_features * rows if plan.experiment.compute.device == "cuda" else 0.0
    return disk, 0, (search + len(settings.metrics) * rows) / 3600 + idle, held / 3600


def samples(plan: Plan, dataset: str) -> int:
    """The number of samples of a data set, assumed if its entry does not say."""
    return _stated_samples(plan, dataset) or SAMPLES


def _stated_samples(plan: Plan, dataset: str) -> int | None:
    """The most samples that a data set can have according to its entry; None if that does not say."""
    entry = plan.datasets[dataset]
    return source_of("datasets", entry).samples(entry, plan.experiment.world)


def depth(count: float) -> float:
    """Layers of a transformer with so many parameters."""
    return max(1.0, (count / SHAPE) ** (1 / 3))


def width(count: float) -> float:
    """The widths of all its layers together."""
    return 100 * depth(count) ** 2


def _jobs(plan: Plan) -> dict[str, int]:
    """Number of jobs of each stage, starting from an empty results folder."""
    experiment, metrics = plan.experiment, plan.experiment.alignment.metrics
    rows, studies = plan.comparisons(), [study for study, _ in plan.targets.values()]
    swept = [(dataset, measure) for dataset, measure, _ in plan.panels() if plan.is_swept(measure)]
    sweeps = {(dataset, plan.measures[measure]["metric"]) for dataset, measure in swept}
    in_files = set(plan.in_files())
    searched = any(plan.row_needs(metric, "neighbours") for metric in metrics)
    scored = len(experiment.texts) * (1 + len(plan.scored("texts")))
    scored += len(experiment.harness) * (1 + len(plan.scored("harness")))
    return {
        "datasets": 2 * len(plan.datasets),
        "models": sum(map(plan.has_weights, plan.models)) + sum(model in in_files for _, model in plan.runs()),
        "features": len(plan.runs()),
        "alignment": searched * len(rows) + len(metrics) * len(rows) + 1 + len(swept)
        + sum(len(plan.models_of(dataset)) for dataset, _ in sweeps),
        "competence": len(plan.probe_runs()) + scored + 1 if any("scores" in study.reads for study in studies) else 0,
        "studies": len(studies) + sum(study.table is not None for study in studies),
    }  # fmt: skip


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells as aligned columns; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(cell.ljust(size) for cell, size in row).rstrip() for row in padded)


def _short(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}" if hours else "-"


def report(experiment: Experiment, lock: Path | None, online: bool, tflops: float | None, bandwidth: float) -> str:
    """The whole estimate as text. ``tflops`` None: measured on this machine if possible."""
    plan, on_cpu = Plan(experiment), experiment.compute.device == "cpu"
    tflops, known = speed(experiment) if tflops is None else (tflops, "--tflops")
    fetched = downloads(experiment, lock, online)
    sized = [("download", "source", "size", "")]
    for item in fetched:
        size = "unknown" if item.size is None else human(item.size) if item.exact else f"~{human(item.size)}"
        sized.append((f"{item.kind}/{item.name}", item.source, size, item.note))
    costs = stages(plan, fetched, tflops, bandwidth)
    rows = [("stage", "jobs", "download", "disk", *(("memory", "hours") if on_cpu else ("GPU memory", "hours", "GPU")))]
    total = Stage("all", *(sum(getattr(stage, key) for stage in costs) for key in ("jobs", "download", "disk")),
                  max(stage.memory for stage in costs), sum(stage.hours for stage in costs),
                  sum(stage.held for stage in costs))  # fmt: skip
    for stage in [*costs, total]:
        sizes = (human(value) if value else "-" for value in (stage.download, stage.disk, stage.memory))
        hours = (_short(stage.hours), *(() if on_cpu else (_short(stage.held),)))
        rows.append((stage.name, str(stage.jobs), *sizes, *hours))
    unstated = [name for name in plan.datasets if _stated_samples(plan, name) is None]
    notes = [
        f"An estimate, for {tflops:.3g} TFLOP/s ({known}) and {human(bandwidth)}/s (--bandwidth),\n"
        "jobs one after another, an empty results folder, "
        f"{'float32 on the CPU' if on_cpu else 'bfloat16 on one GPU; GPU: those of the hours that hold it'}."
    ]
    if fetched and not online:
        sized_models = [plan.models[item.name] for item in fetched if item.kind == "models"]
        stored = {model.modality: f"{modality_of(model).cost.stored:g} ({model.modality})" for model in sized_models}
        rule = f": sizes with ~ are parameters x bytes per weight, {', '.join(stored.values())}" if stored else ""
        notes.append(f"The hub was not asked{rule}.")
    if unstated:
        notes.append(f"{SAMPLES:,} samples are assumed of {', '.join(unstated)}: their entries do not say how many.")
    if unsized := [item.name for item in fetched if item.size is None]:
        notes.append(f"Not counted, as nothing tells their size: {', '.join(unsized)}.")
    return "\n\n".join([*([table(sized)] if fetched else []), table(rows), "\n".join(notes)])
