"""The data sets of an experiment: a class for each source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.experiment.schema.base import Name, Section, Seed, Sha256, Url


class _Dataset(Section):
    name: Name
    """Name in paths, tables and figures."""
    samples: Annotated[int, Field(ge=2)] | None = None
    """How many samples to take (null: all)."""
    shuffle_seed: Seed | None = None
    """Take the samples at random with this seed (null: the first ones, in the order of the source)."""
    image: str | None = "image"
    """Column with the image (null: the data set has none; a local file of texts alone needs no null)."""
    captions: str | None = "text"
    """Column with the caption or the list of captions (null: the data set has none; local folders of images need no
    null). sentences.raw is the field raw of the structs in column sentences; all columns can be named like that."""
    labels: list[str] = []
    """Columns with classes of a sample, for probes ("class": the folder, where there is one folder per class)."""
    group: str | None = None
    """Column with the group of a sample (a subject, a page, a video): groups are kept together when calibrating."""
    sample_id: str | None = "auto"
    """Column with the id of a sample, each its own (auto: file_name in metadata, else sample_id or id, else the samples
    are numbered; null: they are numbered)."""
    on_error: Literal["fail", "skip"] = "fail"
    """What a bad sample does (unreadable image, empty caption): stop the job, or leave the sample out and count it."""
    shard_size: Annotated[int, Field(ge=1)] = 512
    """Samples in a shard, fewer where they take more than 256 MiB; a killed extraction goes on after its last finished
    shard."""
    models: list[str] | None = None
    """The models that are run on it (null: all that can read it)."""
    use: Literal["alignment", "control", "probe"] = "alignment"
    """alignment: models are compared and all figures drawn; control: compared, with the alignment figures only;
    probe: features for probes, no comparison."""


class LocalDataset(_Dataset):
    """A folder (images with metadata.jsonl or metadata.csv, such metadata of texts alone, or one folder per class) or
    Parquet files on this machine. See docs/data.md.
    """

    source: Literal["local"]
    path: str
    """A folder or a .parquet file, relative to the folder where snakemake runs."""


class HubDataset(_Dataset):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    id: str
    """Repository, such as minhuh/prh."""
    revision: str | None = None
    """Branch, tag or (best) commit (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    split: str = "train"
    """Split to take."""
    subset: str | None = None
    """Configuration of the data set, where it has several."""
    files: Annotated[list[str], Field(min_length=1)] | None = None
    """Patterns of the files to download, such as train/*.tar (null: all). Then nothing else is read, such as a card
    that speaks of other files."""


class UrlDataset(_Dataset):
    """An archive (zip, tar) with a folder in one of the local forms."""

    source: Literal["url"]
    url: Url
    """Address of the archive. Passwords, tokens and signatures in it are written down nowhere else."""
    sha256: Sha256 | None = None
    """Hash that the archive must have (null: that of the first download, kept in the lock file)."""
    licence: str | None = None
    """Licence of the data."""
    folder: str = "."
    """The folder inside the archive."""


class WorldDataset(_Dataset):
    """The events of the idealised world, each as an image and a caption."""

    source: Literal["world"]
    density: Annotated[float, Field(ge=0)] = 1.0
    """Words in a caption: the event and those that go with it best; below 1, the share of events told at all."""
    shuffled: bool = False
    """Deal the captions to the images at random: the negative control."""


Dataset = Annotated[LocalDataset | HubDataset | UrlDataset | WorldDataset, Field(discriminator="source")]
