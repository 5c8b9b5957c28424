"""The data sets of an experiment: a class for each source."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from prh.downloads.sources import SOURCES
from prh.experiment.schema.base import Name, Section, Seed, Sha256, Url
from prh.experiment.schema.brought import Brought


def _lies_inside(path: str) -> str:
    if os.path.isabs(path) or ".." in path.split("/"):
        raise ValueError(f"{path!r} leads out of the archive; name a folder in it")
    return path


class DatasetEntry(Section):
    """Keys of every data set, whatever its source."""

    name: Name
    """Name in paths, tables and figures."""
    samples: Annotated[int, Field(ge=2)] | None = None
    """How many samples to take (null: all)."""
    shuffle_seed: Seed | None = None
    """Seed for drawing the samples at random (null: take the first ones, in the order of the source)."""
    image: str | None = "image"
    """Column with the image (null: the data set has none; a local file of texts only needs no null)."""
    captions: str | None = "text"
    """Column with the caption or the list of captions (null: the data set has none; local folders of images need no
    null). sentences.raw means the field raw of the structs in column sentences; this works for all columns."""
    labels: list[str] = []
    """Columns with classes of a sample, for probes ("class": the folder, if there is one folder per class)."""
    group: str | None = None
    """Column with the group of a sample (a subject, a page, a video): calibration keeps groups together."""
    sample_id: str | None = "auto"
    """Column with the unique id of a sample (auto: file_name in metadata, else sample_id or id, else samples are
    numbered; null: samples are numbered)."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with a bad sample (unreadable image, empty caption): stop the job, or leave it out and count it."""
    shard_size: Annotated[int, Field(ge=1)] = 512
    """Samples per shard, fewer if they exceed 256 MiB; a killed extraction continues after its last finished shard."""
    models: list[str] | None = None
    """The models to run on it (null: all that can read it)."""
    use: Literal["alignment", "control", "probe"] = "alignment"
    """alignment: compare models and draw all figures; control: compare models, draw the alignment figures only; probe:
    compute features for probes, compare nothing."""


class LocalDataset(DatasetEntry):
    """Files on this machine: a folder of images with metadata.jsonl or metadata.csv, such metadata of texts only, a
    folder with one folder of images per class, or Parquet files. See docs/data.md.
    """

    source: Literal["local"]
    path: str
    """A folder or a .parquet file, relative to the folder where snakemake runs."""


class HubDataset(DatasetEntry):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    id: str
    """Repository, such as minhuh/prh."""
    revision: str | None = None
    """Commit (best), branch or tag (null: that of the first download, recorded in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    split: str = "train"
    """Split to take."""
    subset: str | None = None
    """Configuration of the data set, if it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the files to download, such as train/*.tar (null: all). If set, nothing else is read, not even a data
    set card that lists other files."""


class UrlDataset(DatasetEntry):
    """An archive on the web (zip, tar) that contains a folder in one of the local forms."""

    source: Literal["url"]
    url: Url
    """Address of the archive. Passwords, tokens and signatures in it are never written anywhere else."""
    sha256: Sha256 | None = None
    """Hash that the archive must have (null: that of the first download, recorded in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    folder: Annotated[str, AfterValidator(_lies_inside)] = "."
    """The folder inside the archive."""


class WorldDataset(DatasetEntry):
    """The events of the idealised world, each as an image and a caption."""

    source: Literal["world"]
    density: Annotated[float, Field(ge=0)] = 1.0
    """Words in a caption: the event and those with the largest PMI to it; below 1, the fraction of events named."""
    shuffled: bool = False
    """Assign captions to images at random: the negative control."""


Dataset = Annotated[
    LocalDataset | HubDataset | UrlDataset | WorldDataset,
    Field(discriminator="source"),
    Brought("source", SOURCES["datasets"]),
]
