"""A first experiment for a folder of data: what the folder holds, and the experiment file to begin with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import yaml

from prh.datasets import local_forms, parquet_files
from prh.experiment.code import LIBRARY
from prh.experiment.loading import load
from prh.experiment.registries import expand
from prh.models.given import arrays

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "photo", "picture")
CAPTION_COLUMNS = ("text", "caption", "captions", "texts", "sentence", "sentences", "description", "title")
LABEL_COLUMNS = ("label", "class")
FEATURES = (".npy", ".npz", ".safetensors", ".h5", ".hdf5")
"""Endings of files of features. Parquet files are taken for data."""
VISION = ("resources/models/vision.yaml", ("vit-tiny-in21k", "vit-small-dinov2"))
LANGUAGE = ("resources/models/newer.yaml", ("SmolLM2-135M", "pythia-160m"))
"""Models to begin with: small, well known, and neither gated nor restricted."""


class NothingUsable(ValueError):
    """A folder holds nothing that an experiment can begin with; the message says what was looked for."""


FEWEST = 6
"""Fewest samples: scores are also computed on halves of them, and a metric takes three."""
WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""What YAML does not take for text."""


@dataclass(frozen=True)
class Found:
    """What a folder or file holds.

    Attributes
    ----------
    path
        The folder or file.
    form
        How the data are read, in a few words.
    samples
        Number of samples, as far as it can be counted without reading them.
    image, captions
        Columns of images and captions; None if there are none.
    labels
        Columns of classes.
    features
        Files of features whose rows can be the samples.
    left_out
        A sentence for each file that was looked at and cannot be used.
    """

    path: Path
    form: str
    samples: int
    image: str | None
    captions: str | None
    labels: tuple[str, ...] = ()
    features: tuple[Path, ...] = ()
    ordered: tuple[Path, ...] = ()
    """Those of ``features`` without ids, whose rows are in the order of the samples."""
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for the data set, made from that of the folder or file."""
        return _name(self.path.resolve().stem if self.path.is_file() else self.path.resolve().name)


def workflow_folder() -> Path:
    """The folder of the Snakefile: in the package if prh was installed from a wheel, else the repository."""
    installed = LIBRARY / "prh/workflow"
    return installed if installed.is_dir() else LIBRARY.parent


def look(path: Path) -> Found:
    """Find out what a folder or file holds: samples, their columns, and files of features.

    Raises NothingUsable if there are no samples, FormError or DataError if a file cannot be read.
    """
    if not path.exists():
        raise NothingUsable(f"{path} does not exist; name a folder of images, texts or Parquet files.")
    form = local_forms.form_of(path)
    if form.metadata is None and Path().resolve().is_relative_to(path.resolve()):
        raise NothingUsable(
            "results would lie among the data and be taken for them: go to the folder above, "
            f"{path.resolve().parent}, and name {path.resolve().name} there."
        )
    if form.metadata is not None:
        found = _of_metadata(path, form.metadata)
    elif form.parquet:
        found = _of_parquet(path, form.parquet)
    elif form.images:
        found = _of_images(path, form.images)
    else:
        raise NothingUsable(_nothing(path))
    return _with_features(found)


def _nothing(path: Path) -> str:
    features = _feature_files(path)
    if features:
        return (
            f"{path} holds features ({features[0].name}) but no samples; put them beside the images or texts that they "
            "represent, in the same order or with sample ids."
        )
    return (
        f"{path} holds nothing to begin with; it needs images (with metadata.jsonl or metadata.csv, or one folder per "
        "class), such metadata of texts alone, or Parquet files."
    )


def _of_metadata(path: Path, metadata: Path) -> Found:
    rows = [row for _, row in local_forms.metadata_rows(metadata)]
    if not rows:
        raise NothingUsable(f"{metadata} holds no row; it needs one for each sample.")
    names = list(rows[0])
    has_images = local_forms.FILE_NAME in names or "image" in names
    others = [name for name in names if name not in (local_forms.FILE_NAME, "image")]
    captions = _caption_column([name for name in others if any(isinstance(row.get(name), (str, list)) for row in rows)])
    if not has_images and captions is None:
        raise NothingUsable(
            f"{metadata} has neither a column file_name for images nor one of texts ({', '.join(CAPTION_COLUMNS)}); "
            f"its columns are {', '.join(names)}."
        )
    if has_images and path.is_file():
        raise NothingUsable(f"{path} describes images; name the folder that it is in.")
    what = "images" + (" with captions" if captions else "") if has_images else "texts"
    labels = tuple(name for name in LABEL_COLUMNS if name in names)
    return Found(path, f"{what} ({metadata.name})", len(rows), "image" if has_images else None, captions, labels)


def _of_parquet(path: Path, parquet: Sequence[Path]) -> Found:
    columns = parquet_files.column_names(parquet[0])
    image = next((name for name in (*IMAGE_COLUMNS, local_forms.FILE_NAME) if name in columns), None)
    captions = _caption_column(_text_columns(parquet[0]))
    if image is None and captions is None:
        raise NothingUsable(
            f"{parquet[0]} has no column of images ({', '.join(IMAGE_COLUMNS)}) or texts "
            f"({', '.join(CAPTION_COLUMNS)}); its columns are {', '.join(columns)}. Name yours in an experiment: "
            "docs/data.md."
        )
    what = " and ".join(name for name, column in (("images", image), ("captions", captions)) if column)
    of = parquet[0].name if len(parquet) == 1 else f"{len(parquet)} Parquet files"
    labels = tuple(name for name in LABEL_COLUMNS if name in columns)
    return Found(path, f"{what} ({of})", sum(map(parquet_files.count_rows, parquet)), image, captions, labels)


def _of_images(path: Path, images: Sequence[Path]) -> Found:
    classes = {image.parent for image in images if image.parent != path}
    if not classes:
        return Found(path, "images without captions", len(images), "image", None)
    return Found(path, f"images in {len(classes)} folders, one per class", len(images), "image", None, ("class",))


def _caption_column(names: Sequence[str]) -> str | None:
    return next((name for name in CAPTION_COLUMNS if name in names), None)


def _text_columns(path: Path) -> list[str]:
    """The columns of a Parquet file that hold texts or lists of texts."""
    with parquet_files.opened(path) as source:
        types = {field.name: field.type for field in source.schema_arrow}
    values = {name: getattr(kind, "value_type", kind) for name, kind in types.items()}
    return [name for name, kind in values.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]


# ---- features that lie beside the data ------------------------------------------------------------------------


def _feature_files(path: Path) -> list[Path]:
    """Files of features in a folder, or in its subfolder ``features``."""
    folders = [path, path / "features"] if path.is_dir() else []
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return sorted(file for file in files if file.suffix in FEATURES and not file.name.startswith("."))


def _with_features(found: Found) -> Found:
    usable, ordered, left_out = [], [], []
    for path in _feature_files(found.path):
        try:
            has_ids = _has_ids(path, found.samples)
        except arrays.GivenError as error:
            left_out.append(str(error))
            continue
        usable.append(path)
        if not has_ids:
            ordered.append(path)
    return Found(**{**vars(found), "features": tuple(usable), "ordered": tuple(ordered), "left_out": tuple(left_out)})


def _has_ids(path: Path, samples: int) -> bool:
    """Whether a file of features has the ids of its samples. Raises GivenError if it cannot be used."""
    with arrays.opened(path) as source:
        for array in source.arrays:
            if len(array.shape) not in (2, 3) or "float" not in array.dtype:
                raise arrays.GivenError(
                    f"{path}: {array.name} is {array.dtype} of shape {list(array.shape)}, not features of samples."
                )
            if source.ids is None and array.shape[0] != samples:
                raise arrays.GivenError(
                    f"{path}: {array.name} has {array.shape[0]:,} rows and no ids, but there are {samples:,} samples."
                )
        return source.ids is not None


# ---- the experiment -------------------------------------------------------------------------------------------


def experiment(found: Found, folder: Path) -> str:
    """The text of an experiment for what was found, checked as one that is run in ``folder``.

    Raises NothingUsable if there are too few samples, ConfigError if the experiment would be refused.
    """
    if found.samples < FEWEST:
        raise NothingUsable(f"{found.path} holds {found.samples} samples; to compare models takes at least {FEWEST}.")
    k = min(10, max(1, found.samples // 10))
    sections = (_heading(found, folder), _dataset(found, folder), _models(found, folder), _probes(found), _alignment(k))
    text = "\n\n".join("\n".join(lines) for section in sections if (lines := list(section))) + "\n"
    load(expand(yaml.safe_load(text), folder, workflow_folder()), folder)
    return text


def _heading(found: Found, folder: Path) -> Iterator[str]:
    what = f"{_relative(found.path, folder)}: {found.samples} {found.form}"
    yield f"# {_printable(what)}. Every key is in config.schema.yaml of prh."
    yield f"# what it will download and cost: prh plan --configfile {found.name}.yaml"
    yield f'# run it:                         snakemake -s "$(prh workflow)" --cores 8 --configfile {found.name}.yaml'
    yield f"results: results/{found.name}"


def _dataset(found: Found, folder: Path) -> Iterator[str]:
    yield "datasets:"
    yield f"  - name: {_quoted(found.name)}"
    yield "    source: local"
    yield f"    path: {_quoted(_relative(found.path, folder))}"
    yield f"    image: {_quoted(found.image)}  # column of images (null: there are none)"
    yield f"    captions: {_quoted(found.captions)}  # column of captions (null: there are none)"
    if found.labels:
        yield f"    labels: [{', '.join(map(_quoted, found.labels))}]  # columns of classes, for probes"
    yield "    on_error: fail  # skip leaves bad samples out and counts them"


def _probes(found: Found) -> Iterator[str]:
    if found.labels:
        yield "# What can be read off the features linearly:"
        yield "# probes:"
        yield from (
            f"#   - {{name: {_name(one)}, train: {_quoted(found.name)}, label: {_quoted(one)}}}" for one in found.labels
        )


def _models(found: Found, folder: Path) -> Iterator[str]:
    yield "models:"
    kinds = ((found.image, "images", VISION), (found.captions, "captions", LANGUAGE))
    for column, what, (registry, names) in kinds:
        if column is not None:
            yield f"  # for the {what}: two small models; {registry} has many more"
            yield f"  - {{from: {registry}, only: [{', '.join(names)}]}}"
    for path in found.features:
        twins = [other for other in found.features if other.stem.lower() == path.stem.lower()]
        yield f"  - name: {_name(f'features-{path.stem if len(twins) == 1 else path.name}')}"
        yield "    modality: features  # what to call it in figures: vision, language, or a word of your own"
        yield "    source: features"
        yield f"    files: {{{_quoted(found.name)}: {_quoted(_relative(path, folder))}}}"
        if path in found.ordered:
            yield "    order: dataset  # the file has no ids, so its rows must be in the order of the data set"
    yield from (f"  # left out: {_printable(sentence)}" for sentence in found.left_out)


def _alignment(k: int) -> Iterator[str]:
    yield "alignment:"
    yield "  metrics: [mutual_knn]  # others, such as cka: docs/metrics.md"
    yield f"  k: [{k}]  # nearest neighbours that two models are compared by"


def summary(found: Found, written: Path) -> list[str]:
    """Three lines: what was found, which models the experiment has, how to run it."""
    models = [
        *(f"{' and '.join(VISION[1])} for the images" for _ in [0] if found.image),
        *(f"{' and '.join(LANGUAGE[1])} for the captions" for _ in [0] if found.captions),
        *(f"features of {path.name}" for path in found.features),
    ]
    classes = f", labels {', '.join(found.labels)}" if found.labels else ""
    return [
        f"{found.path}: {found.samples} {found.form}{classes}",
        f"models: {', '.join(models)}" + (f"; left out {len(found.left_out)} files" if found.left_out else ""),
        f'wrote {written}; run it with: snakemake -s "$(prh workflow)" --cores 8 --configfile {written}',
    ]


def write(path: Path, *, force: bool = False) -> list[str]:
    """Write an experiment for the data in ``path`` to the current folder and return the lines to print.

    Raises FileExistsError if the file is there, unless ``force``.
    """
    found = look(path)
    target = Path(f"{found.name}.yaml")
    if target.exists() and not force:
        raise FileExistsError(f"{target} is there already; pass --force to replace it.")
    target.write_text(experiment(found, Path()), encoding="utf-8")
    return summary(found, target)


def _name(text: str) -> str:
    """``text`` as a name that an experiment may use for a file."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:60]
    return name or "data"


def _relative(path: Path, folder: Path) -> str:
    """A path as it is written in an experiment: relative to the folder where snakemake runs, if it is in it."""
    path, folder = path.resolve(), folder.resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _quoted(text: str | None) -> str:
    """``text`` as YAML: bare where it can only be text."""
    if text is None:
        return "null"
    bare = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in WORDS
    return text if bare else json.dumps(text)


def _printable(text: str) -> str:
    """``text`` on one line, for a comment: a file name can hold anything."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
