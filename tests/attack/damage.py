"""Every kind of file that prh reads, damaged in every way: what reads it must say so in one sentence that names the file.

`KINDS` lists the kinds: how a sound one is made, and what reads it as the programs do. What cannot be told from sound
bytes (a flipped bit in a number of a file without checksums) may be read.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from prh import modalities
from prh.alignment import representations
from prh.datasets.local_data import read_local
from prh.datasets.samples import Columns
from prh.datasets.sharding import shard
from prh.datasets.shards import shard_paths
from prh.downloads import lockfile
from prh.experiment import registries
from prh.io import files, tables
from prh.jobs import command

PREPARATION = {"clamp": 0.95, "clamp_scope": "layer", "normalise": True}
COLUMNS = Columns("image", "text", (), None)
SHORTER = frozenset({"truncated", "half"})
"""Damages that leave a text whose end nothing tells as sound as one that was written shorter."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``make`` writes sound files into a folder and returns the one to damage; ``use`` reads it."""

    name: str
    make: Callable[[Path], Path]
    use: Callable[[Path], object]
    may_be_read: frozenset[str] = frozenset()
    """Damages after which it may be as sound as before, besides flipped bits."""


@dataclass(frozen=True)
class Row:
    """A file, its damage, and what became of it."""

    kind: str
    damage: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.kind:24} {self.damage:22} {self.verdict}"


# ---- kinds of files -------------------------------------------------------------------------------------------


def _layers(dtype: type, high: int | None = None) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    shape = (40, 8)
    return [
        draw.integers(0, high, shape).astype(dtype) if high else draw.normal(size=shape).astype(dtype) for _ in "ab"
    ]


def _table(layers: list[np.ndarray]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "vit.parquet"
        footer = {"model": "vit", "layer_names": ["a", "b"], "parameters": 1, "preparation": PREPARATION}
        tables.write(tables.layers_table([f"s{i}" for i in range(40)], layers), path, footer)
        return path

    return make


def _features(path: Path) -> None:
    representations.read_samples(path)
    representations.representation("vit", path, None, PREPARATION, device="cpu", memory_gb=1.0)


def _neighbours(path: Path) -> None:
    representations.read_samples(path)
    tables.read(path)


def _data(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    lines = []
    for i in range(4):
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (24, 24, 3), np.uint8)).save(stream, "PNG")
        (folder / f"data/{i}.png").write_bytes(stream.getvalue())
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"caption {i}"}) + "\n")
    (folder / "data/metadata.jsonl").write_text("".join(lines))
    return folder / "data/metadata.jsonl"


def _shard(path: Path) -> None:
    shard(read_local(path.parent, COLUMNS), path.parent.parent / "shards", COLUMNS, workers=1)


def _fetched(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        root = _data(folder).parent
        path = folder / name
        path.write_text(json.dumps({"source": "local", "root": str(root), "files": files.listing(root)}, indent=1))
        return path

    return make


def _fetched_file(folder: Path) -> Path:
    _fetched("source.json")(folder)
    return folder / "data/1.png"


def _manifest(folder: Path) -> Path:
    shards = folder / "shards"
    manifest = shard(read_local(_data(folder).parent, COLUMNS), shards, COLUMNS, workers=1)
    path = folder / "manifest.json"
    path.write_text(json.dumps({"dataset": "photos", **manifest}, indent=1))
    return path


def _use_manifest(path: Path) -> None:
    manifest = files.read_json(path, "dataset", "shards")
    for file in shard_paths(manifest, path.parent / "shards"):
        tables.read(file, ["sample_id", "image", "captions"])


def _word_vectors(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        save_file(
            {"vectors": torch.randn(30, 6, generator=torch.Generator().manual_seed(0))}, folder / "vectors.safetensors"
        )
        (folder / "vocab.txt").write_text("\n".join(f"word{chr(97 + i % 26)}{i // 26}" for i in range(30)))
        return folder / name

    return make


def _load_words(path: Path) -> None:
    entry = {"name": "words", "modality": "language", "library": "word_vectors", "dtype": "float32"}
    modalities.load(entry, path.parent)


def _archive(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = _data(folder).parent
        path = folder / f"archive{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(data.iterdir()):
                    archive.write(file, file.name)
        else:
            with tarfile.open(path, "w:gz") as archive:
                archive.add(data, "data")
        return path

    return make


def _unpack(path: Path) -> None:
    from prh.downloads.archives import unpack

    files.listing(unpack(path, path.with_name(f"{path.name}.unpacked")))


def _written(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return folder / name

    return make


REGISTRY = yaml.safe_dump(
    {"models": [{"name": f"m{i}", "modality": "vision", "source": "random", "id": "resnet18"} for i in range(9)]}
)
LOCK = yaml.safe_dump({"models": {f"m{i}": {"id": f"me/m{i}", "revision": "0" * 40} for i in range(9)}})

KINDS = [
    Kind("features table", _table(_layers(np.float32)), _features),
    Kind("neighbours table", _table(_layers(np.int32, 39)), _neighbours),
    Kind("manifest.json", _manifest, _use_manifest),
    Kind("shard", lambda folder: _manifest(folder).parent / "shards/00000.parquet",
         lambda path: _use_manifest(path.parent.parent / "manifest.json")),
    Kind("source.json", _fetched("source.json"), files.fetched),
    Kind("weights.json", _fetched("weights.json"), files.fetched),
    Kind("file that was fetched", _fetched_file, lambda path: files.fetched(path.parent.parent / "source.json")),
    Kind("metadata.jsonl", _data, _shard, SHORTER),
    Kind("image", lambda folder: _data(folder).with_name("2.png"), _shard, frozenset({"truncated"})),
    Kind("vectors.safetensors", _word_vectors("vectors.safetensors"), _load_words),
    Kind("vocab.txt", _word_vectors("vocab.txt"), _load_words),
    Kind("zip archive", _archive(".zip"), _unpack),
    Kind("tar archive", _archive(".tar.gz"), _unpack, frozenset({"truncated"})),
    Kind("experiment", _written("experiment.yaml", REGISTRY), registries.read, SHORTER | {"another kind: HTML"}),
    Kind("registry", _written("registry.yaml", REGISTRY),
         lambda path: registries.expand({"models": [{"from": path.name}]}, path.parent), SHORTER),
    Kind("lock file", _written("experiment.lock.yaml", LOCK), lockfile.read, SHORTER | {"empty"}),
    Kind("documents", _written("text.jsonl", '"one"\n"two"\n"three"\n'), files.read_json_lines, SHORTER),
    Kind("lm-eval results", _written("task.json", '{"results": {"t": {"acc,none": 0.5}}}'),
         lambda path: files.read_json(path, "results")),
]  # fmt: skip


# ---- damages --------------------------------------------------------------------------------------------------


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(10):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _replace_by_folder(path: Path, _draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_dangling_link(path: Path, _draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _other_bytes(content: bytes) -> Callable[[Path, random.Random], object]:
    return lambda path, _draw: path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "empty": _other_bytes(b""),
    "truncated": lambda path, draw: path.write_bytes(path.read_bytes()[: -draw.randrange(2, 8)]),
    "half": lambda path, _draw: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": _flip,
    "zeros": lambda path, _draw: path.write_bytes(bytes(path.stat().st_size)),
    "random bytes": lambda path, draw: path.write_bytes(draw.randbytes(path.stat().st_size)),
    "another kind: PDF": _other_bytes(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"),
    "another kind: HTML": _other_bytes(b"<!DOCTYPE html><html><body>404: not found</body></html>\n"),
    "git-lfs pointer": _other_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"),
    "folder": _replace_by_folder,
    "dangling link": _replace_by_dangling_link,
    "unreadable": lambda path, _draw: path.chmod(0),
}


def damaged(kind: Kind, damage: str, folder: Path, seed: int) -> Row:
    """Make a file of a kind, damage it, read it."""
    folder.mkdir(parents=True)
    path = kind.make(folder / "sound")
    DAMAGES[damage](path, random.Random(f"{seed} {kind.name} {damage}"))
    try:
        kind.use(path)
    except Exception as error:
        sentence = command.sentence(error)
        first = sentence.split("\n")[0]
        if "may be a fault of prh" in sentence:
            return Row(kind.name, damage, f"WRONG: no sentence of ours: {sentence}")
        if "\n" in sentence.strip():
            return Row(kind.name, damage, f"WRONG: more than a sentence: {first} ...")
        named = path.name in sentence or (damage == "folder" and path.parent.name in sentence)
        return Row(kind.name, damage, f"told: {first}" if named else f"WRONG: the file is not named: {first}")
    finally:
        if not path.is_symlink() and path.exists():
            path.chmod(0o755)
        shutil.rmtree(folder)
    return Row(
        kind.name, damage, "read" if damage in kind.may_be_read | {"flipped"} else "WRONG: read as if it were sound"
    )


def attack(folder: Path, seeds: Iterable[int] = (0,)) -> list[Row]:
    """Every kind of file with every damage."""
    rows = []
    for seed in seeds:
        for kind in KINDS:
            for damage in DAMAGES:
                if damage == "unreadable" and os.geteuid() == 0:  # root reads everything
                    continue
                rows.append(damaged(kind, damage, folder / f"{seed}-{kind.name}-{damage}".replace(" ", "_"), seed))
    return rows
