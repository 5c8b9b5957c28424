"""Files that come from outside or that people write: data sets, archives, experiments."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from prh.datasets import hub_data, hub_reading
from prh.datasets.documents import read_documents
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.datasets.sharding import shard
from prh.downloads import archives, lockfile
from prh.experiment import registries
from prh.io import files, images, tables
from tests.attack.damage import CUT, DAMAGES, NO_CHECKSUM, Kind
from tests.attack.programs import digest

COLUMNS = SampleColumns("image", "text", (), None)
IMAGES = {
    "PNG": {}, "JPEG": {}, "WEBP": {"lossless": True}, "AVIF": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"},
    "BMP": {}, "JPEG2000": {}, "PPM": {},
}  # fmt: skip
SMALL_CHANGES = frozenset({"flipped", "flipped at an end", "truncated"})
"""What formats of images without checksums do not tell, or Pillow does not."""
TEXT_CHANGES = CUT | NO_CHECKSUM | {"flipped at an end"}
OTHER_TEXTS = {"another kind: HTML", "another kind: JSON"}
"""A text may be anything; those of the hub are compared with its hashes when they are fetched."""


def picture(seed: int, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _data(metadata: str = "metadata.jsonl", damaged: str | None = None, kind: str = "PNG", **options: object):
    """A folder of four images with captions; the file to damage is its metadata, or an image."""

    def make(folder: Path) -> Path:
        root = folder / "data"
        root.mkdir(parents=True)
        rows = [{"file_name": f"{i}.png", "text": f"caption {i}"} for i in range(4)]
        for i, row in enumerate(rows):
            (root / row["file_name"]).write_bytes(picture(i, kind, **options))
        if metadata.endswith(".csv"):
            lines = ["file_name,text", *(",".join(row.values()) for row in rows)]
        else:
            lines = [json.dumps(row) for row in rows]
        (root / metadata).write_text("\n".join(lines) + "\n")
        return root / (damaged or metadata)

    return make


def _cut(root: Path, columns: SampleColumns = COLUMNS) -> str:
    return _sharded(read_local(root, columns), root.parent / "shards", columns)


def _sharded(samples: object, folder: Path, columns: SampleColumns) -> str:
    manifest = shard(samples, folder, columns, workers=1)
    rows = [row for entry in manifest["shards"] for row in tables.read(folder / entry["file"]).to_pylist()]
    return digest([{**row, "image": row["image"] and images.decode(row["image"]["bytes"]).tobytes()} for row in rows])


def _parquet(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    image = [{"bytes": picture(i), "path": None} for i in range(4)]
    table = pa.table({"image": image, "text": [f"caption {i}" for i in range(4)]})
    pq.write_table(table, folder / "data/train.parquet", write_page_checksum=True)
    return folder / "data/train.parquet"


def _folders(folder: Path) -> Path:
    """Images in one folder per class."""
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(2):
            (folder / "data" / name / f"{i}.png").write_bytes(picture(i + 2 * (name == "dog")))
    return folder / "data/cat/1.png"


# ---- the hub's forms ------------------------------------------------------------------------------------------

ROWS = [{"text": f"caption {i}", "number": i} for i in range(4)]
TEXTS = SampleColumns(None, "text", (), None)


def _hub(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "data").mkdir(parents=True)
        path = folder / "data" / name
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(ROWS), path, write_page_checksum=True)
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        elif name.endswith(".csv"):
            path.write_text("text,number\n" + "".join(f"{row['text']},{row['number']}\n" for row in ROWS))
        elif name.endswith(".txt"):
            path.write_text("".join(f"{row['text']}\n" for row in ROWS))
        else:
            _write_tar(path, {f"{i}.{end}": data for i in range(4) for end, data in _webdataset(i).items()})
        return path

    return make


def _webdataset(i: int) -> dict[str, bytes]:
    return {"png": picture(i), "txt": f"caption {i}".encode()}


def _write_tar(path: Path, contents: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _read_hub(path: Path) -> str:
    columns = SampleColumns("png", "txt", (), None) if path.suffix == ".tar" else TEXTS
    samples = hub_reading.read_hub(path.parent, "train", None, columns, only=[path.name])
    return _sharded(samples, path.parent.parent / "shards", columns)


def _card(folder: Path) -> Path:
    _hub("train.parquet")(folder)
    (folder / "data/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n---\n# Data\n"
    )
    return folder / "data/README.md"


def _split_of(path: Path) -> str:
    found = hub_data.files_of_split(["README.md", "train.parquet"], path.parent, None, "train")
    return "all" if found is None else ", ".join(found)


# ---- archives and YAML ----------------------------------------------------------------------------------------


def _archive(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data, path = _data()(folder).parent, folder / f"archive{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(data.iterdir()):
                    archive.write(file, file.name)
        else:
            with tarfile.open(path, f"w:{suffix.removeprefix('.tar').lstrip('.')}") as archive:
                archive.add(data, "data")
        return path

    return make


def _unpack(path: Path) -> str:
    found = files.listing(archives.unpack(path, path.with_name(f"{path.name}.unpacked")))
    return digest(sorted((Path(name).name, facts["sha256"]) for name, facts in found.items()))


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


def kinds() -> list[Kind]:
    nothing_locked = frozenset({"missing", "empty"})
    hub = {"train.parquet": frozenset(), "train.jsonl": TEXT_CHANGES, "train.csv": TEXT_CHANGES,
           "train.txt": TEXT_CHANGES | OTHER_TEXTS | {"git-lfs pointer", "zeros"}, "train.tar": TEXT_CHANGES}  # fmt: skip
    return [
        Kind("metadata.jsonl", _data(), lambda path: _cut(path.parent), TEXT_CHANGES),
        Kind("metadata.csv", _data("metadata.csv"), lambda path: _cut(path.parent), TEXT_CHANGES),
        *(
            Kind(f"image: {kind}", _data(damaged="2.png", kind=kind, **options), lambda path: _cut(path.parent),
                 SMALL_CHANGES - {"flipped", "flipped at an end"} if kind == "PNG" else SMALL_CHANGES)
            for kind, options in IMAGES.items()
        ),
        Kind("image in a class", _folders, lambda path: _cut(path.parents[1], SampleColumns("image", None)),
             frozenset({"missing", "folder", "dangling link", "link to itself", "truncated"})),
        Kind("Parquet source", _parquet, lambda path: _cut(path.parent), called="/data holds"),
        Kind("Parquet source by itself", _parquet, lambda path: _cut(path)),
        Kind("text.txt", _written("text.txt", "one line\nand another\nand more\n"),
             lambda path: digest(read_documents(path)),
             TEXT_CHANGES | OTHER_TEXTS),
        *(Kind(f"hub data: {name}", _hub(name), _read_hub, unseen) for name, unseen in hub.items()),
        Kind("hub data: card", _card, _split_of, frozenset(DAMAGES)),  # what it does not tell, all files do
        *(Kind(f"archive{end}", _archive(end), _unpack) for end in (".zip", ".tar.gz", ".tar.xz", ".tar.bz2")),
        Kind("archive.tar", _archive(".tar"), _unpack, NO_CHECKSUM | {"flipped at an end"}),
        Kind("experiment", _written("experiment.yaml", REGISTRY), registries.read,
             TEXT_CHANGES | {"another kind: HTML"}),
        Kind("registry", _written("registry.yaml", REGISTRY),
             lambda path: registries.expand({"models": [{"from": path.name}]}, path.parent), TEXT_CHANGES),
        Kind("lock file", _written("experiment.lock.yaml", LOCK), lockfile.read, TEXT_CHANGES | nothing_locked),
        Kind("lock file, written to", _written("experiment.lock.yaml", LOCK), _lock,
             TEXT_CHANGES | nothing_locked | {"dangling link"}),
    ]  # fmt: skip


def _lock(path: Path) -> dict:
    lockfile.Lock(path, "models", "m9").keep({"id": "me/m9"}, revision="1" * 40)
    return lockfile.read(path)
