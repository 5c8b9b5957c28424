"""Experiment files, changed at random: each must load as an experiment that can be planned, or be refused in sentences."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import yaml

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import ConfigError, load
from prh.experiment.plan import Plan
from prh.experiment.registries import expand, read

HOSTILE: list[object] = [
    None, True, False, 0, 1, -1, 2, 7, 10**6, 10**12, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1.5, 1e308, 1e-308,
    math.nan, math.inf, -math.inf, "", " ", "a", "A", ".", "..", "-", "-rf", "~", "$HOME", "null", "1", "1e3", "0x10",
    "a b", "a/b", "../../etc/passwd", "/etc/passwd", "/dev/null", "a\nb", "a\tb", "a\0b", "é", "漢字", "\u202e", "\u2028",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"), "x" * 255, "x" * 256, "x" * 5000, "x/" * 3000,
    "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "a'b", 'a"b', "{caption}", "{", "}", "{0}", "{caption.__class__}",
    "{wildcards}", "(", "[", "*", "(?P<", "a{1000000000}", "(a+)+$", "\\", "https://me:pa55word@host/x", "https://[",
    "__use_yte__", "no_such_metric", "mutual_knn", "hub", "local", "vision", "language", "world", "auto", "all",
    [], [None], [[]], [[[[]]]], {}, {"a": 1}, {"name": "x"}, [1, 2, 3], ["a"], ["a", "a"], [{}], [{"name": "x"}],
    {"from": "nowhere.yaml"}, [{"from": "nowhere.yaml"}], [{"from": 1}], {"__use_yte__": True},
    date(2024, 1, 2), b"bytes", list(range(2000)), {str(i): i for i in range(200)}, "vit_tiny_patch16_224", "no_such_vit",
]  # fmt: skip
"""Values that are put in the place of others."""

SECRET = "hunter2"
"""Of the address of the data set `web`. Another one is among HOSTILE: where no address belongs, it stays as it is."""


def base(folder: Path) -> dict[str, object]:
    """An experiment that uses nearly every key, with its local files in ``folder``."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data/metadata.jsonl").write_text("")
    (folder / "text.txt").write_text("a\n")
    (folder / "registry.yaml").write_text(
        yaml.safe_dump({"models": [{"name": "r1", "modality": "vision", "source": "random", "id": "resnet18"}]})
    )
    training = {"architecture": "test_vit", "steps": 5, "learning_rate": 0.003, "seed": 0}
    return {
        "results": "results",
        "datasets": [
            {"name": "photos", "source": "local", "path": str(folder / "data"), "labels": ["class"], "samples": 400},
            {"name": "hub", "source": "hub", "id": "me/data", "revision": "main", "split": "test", "files": ["*.zip"]},
            {"name": "web", "source": "url", "url": f"https://me:{SECRET}@host/x.zip", "sha256": "0" * 64, "folder": "x"},
            {"name": "world", "source": "world", "density": 1.0, "shuffled": True, "shard_size": 16, "use": "control"},
        ],
        "models": [
            {"name": "vit", "modality": "vision", "source": "random", "id": "vit_tiny_patch16_224", "layers": "blocks.*"},
            {"name": "hubbed", "modality": "vision", "source": "hub", "id": "me/vit", "library": "transformers",
             "device_map": "auto", "gpus": 2},
            {"name": "web", "modality": "vision", "source": "url", "id": "resnet50", "url": "https://host/x.pth",
             "checkpoint": {"state": "model", "prefix": "m.", "drop": "fc.*"}, "model_args": {"num_classes": 0}},
            {"name": "gpt", "modality": "language", "source": "hub", "id": "gpt2", "pooling": "last", "caption": 1,
             "template": "{caption}!", "parameters": 1000},
            {"name": "trained", "modality": "vision", "source": "world", "training": {**training, "objective": "random"}},
            {"name": "words", "modality": "language", "source": "world", "training": {**training, "architecture": "gpt2"}},
            {"name": "reality", "modality": "world"},
            {"from": str(folder / "registry.yaml"), "only": ["r1"], "set": {"family": "x"}},
        ],
        "world": {"events": 512, "scale": 1.25, "image_size": 32, "seed": 0},
        "alignment": {"metrics": ["mutual_knn", "cka"], "k": [10], "n": [64, 128], "k_max": 128, "clamp": 0.95,
                      "permutations": 20, "subsamples": 5, "splits": 2, "alpha": 0.05, "seed": 0},
        "probes": [{"name": "p", "train": "photos", "label": "class", "classes": 10, "bins": 5, "limit": 50}],
        "texts": [{"name": "t", "source": "local", "path": str(folder / "text.txt"), "window": 64, "stride": 32}],
        "harness": [{"name": "h", "source": "world", "limit": 5, "shots": 0, "metric": "acc"}],
        "figures": {"layer_pairs": [["vit", "gpt"]], "tasks": "VTAB", "text": "t"},
        "compute": {"device": "cpu", "batch_size": "auto", "threads": 2, "memory_gb": 1.5, "gpu_memory": 80},
    }  # fmt: skip


def mutated(experiment: dict, draw: random.Random) -> object:
    """The experiment with one to three changes: a value replaced, a key lost, renamed, added, an entry twice."""
    changed: object = copy.deepcopy(experiment)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        changed = _changed(changed, draw)
    return changed


def _changed(experiment: object, draw: random.Random) -> object:
    places = list(_places(experiment))
    if not places or draw.random() < 0.01:
        return copy.deepcopy(draw.choice(HOSTILE))
    node, key = draw.choice(places)
    value = copy.deepcopy(draw.choice(HOSTILE))
    match draw.randrange(8):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[draw.choice([f"{key}s", str(key).upper(), "", " ", "name", "__use_yte__", "from"])] = node.pop(key)
        case 1:
            node.append(copy.deepcopy(node[key]))
        case 2:
            node[key] = [node[key]]
        case 3:
            node[key] = {"a": node[key]}
        case 4 if isinstance(node, dict):
            node[draw.choice(["name", "source", "path", "url", "id", "from", "unknown", "seed", "modality"])] = value
        case _:
            node[key] = value
    return experiment


def _places(node: object) -> Iterator[tuple[dict | list, object]]:
    """Every value, by what holds it."""
    if isinstance(node, (dict, list)):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _places(node[key])


def garbled(text: str, draw: random.Random) -> bytes:
    """The bytes of an experiment file with one change that no YAML writer would make."""
    content = bytearray(text.encode())
    place = draw.randrange(len(content))
    lines = text.splitlines(keepends=True)
    match draw.randrange(9):
        case 0:
            content[place] ^= 1 << draw.randrange(8)
        case 1:
            del content[place:]
        case 2:
            content[place:place] = draw.choice(
                [b"\t", b"\0", b"\xff\xfe", b"&a *a", b"*a ", b"!!python/name:os ", b"<<: 1\n"]
            )
        case 3:
            content = bytearray(text.encode(draw.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"])))
        case 4:
            content = bytearray(text.replace("photos", "phötos").encode("latin-1"))
        case 5:
            at = draw.randrange(len(lines))
            content = bytearray("".join([*lines[: at + 1], *lines[at:]]).encode())
        case 6:
            content += b"\nx: " + draw.choice([b"[", b"{a: "]) * draw.choice([10, 200, 3000])
        case 7:
            content = bytearray(draw.randbytes(200))
        case 8:
            content = bytearray("".join(draw.sample(lines, len(lines))).encode())
    return bytes(content)


def outcome(experiment: object, folder: Path) -> str:
    """What becomes of a parsed experiment: "runs" or "refused"; any other error passes.

    Raises AssertionError for a refusal that is no sentence, and where a secret is told.
    """
    try:
        loaded = load(expand(experiment, folder), folder)
    except ConfigError as error:
        _require_sentences(str(error))
        return "refused"
    plan = Plan(loaded)
    list(plan.figures())
    specs = JobSpecs(plan)
    told = [specs.best_layers(), specs.neighbours(), specs.scores()]
    told += [specs.download_dataset(name) for name in plan.datasets]
    told += [specs.features(*run) for run in plan.runs()]
    told += [specs.download_model(name) for name, model in plan.models.items() if model.modality != "world"]
    told += [specs.alignment(name, metric) for name in plan.datasets for metric in loaded.alignment.metrics]
    assert SECRET not in "".join(map(str, told)), "a secret of an address is in what jobs depend on"
    return "runs"


def outcome_of_file(content: bytes, path: Path) -> str:
    """As `outcome`, of the bytes of a file at ``path``."""
    path.write_bytes(content)
    try:
        experiment = read(path)
    except ConfigError as error:
        _require_sentences(str(error))
        assert str(path) in str(error), "the file is not named"
        return "refused"
    return outcome(experiment, path.parent)


def _require_sentences(message: str) -> None:
    assert SECRET not in message, "a secret of an address is told"
    for line in message.splitlines():
        assert line.strip(), f"an empty line in {message!r}"
        assert len(line) < 2000, f"a line of {len(line)} letters: {line[:200]}"


def attack(folder: Path, mutants: int, seed: int) -> Counter[str]:
    """Try so many changed experiments, a quarter of them as bytes of a file; how many ran and were refused.

    The first one that ends in any other way is raised, with a note of its number and seed.
    """
    experiment = base(folder)
    text = yaml.safe_dump(experiment, sort_keys=False, allow_unicode=True)
    assert outcome(experiment, folder) == "runs"
    counts: Counter[str] = Counter()
    for number in range(mutants):
        draw = random.Random(f"{seed} {number}")
        try:
            if number % 4:
                counts[outcome(mutated(experiment, draw), folder)] += 1
            else:
                counts[outcome_of_file(garbled(text, draw), folder / "mutant.yaml")] += 1
        except Exception as error:
            error.add_note(f"mutant {number} of seed {seed}")
            raise
    return counts
