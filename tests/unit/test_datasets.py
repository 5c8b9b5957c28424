import io
import json
import shutil
import tarfile
import time
from threading import get_ident

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prh.datasets import sharding
from prh.datasets.documents import bounded
from prh.datasets.errors import DataError
from prh.datasets.hub_reading import hub_documents, read_hub
from prh.datasets.local_data import read_local
from prh.datasets.samples import Sample, SampleColumns
from prh.datasets.sharding import shard
from prh.datasets.shards import labels_of, read_manifest, shard_paths
from prh.io import images, tables


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    rows = []
    for i in range(7):
        (root / f"images/{i}.png").write_bytes(picture(i))
        rows.append({"file_name": f"images/{i}.png", "text": [f"photo {i}", f"picture {i}"], "page": i // 2})
    write_metadata(root, rows)
    return root


def write_metadata(root, rows):
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def metadata(root):
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]


def test_a_folder_becomes_shards_with_the_original_bytes(folder, tmp_path):
    manifest = shard(read_local(folder, SampleColumns(group="page")), tmp_path / "s", SampleColumns(), shard_size=3)
    assert [entry["samples"] for entry in manifest["shards"]] == [3, 3, 1]
    rows = [row for path in shard_paths(manifest, tmp_path / "s") for row in tables.read(path).to_pylist()]
    assert [row["sample_id"] for row in rows] == [f"images/{i}.png" for i in range(7)]
    assert rows[4]["image"] == {"bytes": picture(4), "path": "images/4.png"}
    assert rows[4]["captions"] == ["photo 4", "picture 4"]
    assert rows[5]["group_id"] == "2"
    assert manifest["samples"] == 7
    assert manifest["skipped"] == 0


def test_shards_are_read_by_the_datasets_library(folder, tmp_path):
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns())
    data = load_dataset("parquet", data_dir=str(tmp_path / "s"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.cast_column("image", ImageFeature())[2]["image"].size == (9, 8)


def test_the_same_data_give_the_same_shards(folder, tmp_path):
    first = shard(read_local(folder, SampleColumns()), tmp_path / "a", SampleColumns(), shard_size=4)
    assert first == shard(read_local(folder, SampleColumns()), tmp_path / "b", SampleColumns(), shard_size=4)


def test_parquet_and_class_folders(tmp_path):
    table = pa.table(
        {"image": [{"bytes": picture(i), "path": None} for i in range(5)], "text": [f"t{i}" for i in range(5)]}
    )
    (tmp_path / "p").mkdir()
    pq.write_table(table, tmp_path / "p" / "train.parquet")
    samples = list(read_local(tmp_path / "p", SampleColumns()))
    assert [sample.sample_id for sample in samples] == [f"{i:08d}" for i in range(5)]
    assert samples[3].captions == ("t3",)
    assert [s.sample_id for s in read_local(tmp_path / "p" / "train.parquet", SampleColumns())] == [
        s.sample_id for s in samples
    ]

    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / "c" / name).parent.mkdir(parents=True)
        (tmp_path / "c" / name).write_bytes(picture(1, "JPEG"))
    assert [(s.sample_id, s.labels["class"]) for s in read_local(tmp_path / "c", SampleColumns(captions=None))] == [
        ("cat/1.jpg", "cat"),
        ("dog/2.jpg", "dog"),
    ]


def test_a_random_subset_is_seeded_and_in_order(folder):
    def chosen(seed):
        return [s.sample_id for s in read_local(folder, SampleColumns(), {"samples": 4, "shuffle_seed": seed})]

    assert chosen(1) == chosen(1) == sorted(chosen(1))
    assert len(set(chosen(1))) == 4
    assert len({tuple(chosen(seed)) for seed in range(10)}) > 1


def break_missing(root, rows):
    (root / "images/2.png").unlink()


def break_truncated(root, rows):
    (root / "images/2.png").write_bytes(picture(2)[:90])


def break_empty_file(root, rows):
    (root / "images/2.png").write_bytes(b"")


def break_not_an_image(root, rows):
    (root / "images/2.png").write_text("hello")


def break_empty_caption(root, rows):
    rows[2]["text"] = ["fine", "  "]


def break_no_caption(root, rows):
    rows[2]["text"] = []


def break_null_caption(root, rows):
    rows[2]["text"] = None


def break_duplicate(root, rows):
    rows[2] = rows[1]


@pytest.mark.parametrize(
    ("broken", "bad_id", "reason"),
    [
        (break_missing, "images/2.png", "image missing"),
        (break_truncated, "images/2.png", "image unreadable"),
        (break_empty_file, "images/2.png", "image unreadable"),
        (break_not_an_image, "images/2.png", "image unreadable"),
        (break_empty_caption, "images/2.png", "empty caption"),
        (break_no_caption, "images/2.png", "no caption"),
        (break_null_caption, "images/2.png", "empty caption"),
        (break_duplicate, "images/1.png", "sample_id used twice"),
    ],
)
def test_a_bad_sample_is_named_or_skipped(folder, tmp_path, broken, bad_id, reason):
    rows = metadata(folder)
    broken(folder, rows)
    write_metadata(folder, rows)
    with pytest.raises(DataError, match=rf"1 bad samples \({bad_id}: {reason}"):
        shard(read_local(folder, SampleColumns()), tmp_path / "fail", SampleColumns())
    manifest = shard(read_local(folder, SampleColumns()), tmp_path / "skip", SampleColumns(), on_error="skip")
    assert manifest["samples"] == 6
    assert manifest["skipped"] == 1
    assert manifest["bad"][0]["sample_id"] == bad_id
    assert manifest["bad"][0]["reason"].startswith(reason)


def test_a_skipped_sample_is_made_up_for(folder, tmp_path):
    (folder / "images/0.png").unlink()
    manifest = shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns(), count=6, on_error="skip")
    assert manifest["samples"] == 6


def test_too_few_samples(folder, tmp_path):
    with pytest.raises(DataError, match="9 samples are asked for, the source has 7; lower 'samples'"):
        shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns(), count=9)


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match=r"holds neither metadata\.jsonl nor Parquet files nor images"):
        read_local(tmp_path, SampleColumns())
    with pytest.raises(DataError, match="holds no good sample"):
        shard([], tmp_path / "s", SampleColumns())


def test_bad_metadata_names_the_line(folder):
    text = (folder / "metadata.jsonl").read_text().splitlines()
    (folder / "metadata.jsonl").write_text("\n".join([*text[:3], text[3][:20]]))
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 4: not JSON"):
        read_local(folder, SampleColumns())
    (folder / "metadata.jsonl").write_text('{"photo": "x.png"}\n')
    with pytest.raises(DataError, match=r"line 1: no file_name"):
        read_local(folder, SampleColumns())


def test_a_missing_column_names_those_that_are_there(folder):
    with pytest.raises(DataError, match="no column 'caption' with captions; it has file_name, page, text"):
        list(read_local(folder, SampleColumns(captions="caption")))
    with pytest.raises(DataError, match="no column 'video'"):
        list(read_local(folder, SampleColumns(group="video")))


def test_parquet_without_the_column_of_images_is_told_so(tmp_path):
    pq.write_table(pa.table({"picture": [b""], "text": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: no column 'image' with images; it has picture, text"):
        list(read_local(tmp_path / "t.parquet", SampleColumns()))


def test_a_sample_may_be_called_0(tmp_path):
    pq.write_table(pa.table({"sample_id": [0, None, 7], "id": [5, 0, 6], "text": ["a"] * 3}), tmp_path / "t.parquet")
    samples = read_local(tmp_path / "t.parquet", SampleColumns(image=None))
    assert [sample.sample_id for sample in samples] == ["0", "0", "7"]


def test_a_truncated_parquet_source_is_named(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:50])
    with pytest.raises(DataError, match=r"t\.parquet is not a complete Parquet file"):
        list(read_local(tmp_path, SampleColumns(image=None)))


def test_images_are_decoded_by_as_many_threads_as_are_given(folder, tmp_path, monkeypatch):
    threads = set()

    def slow(content):
        threads.add(get_ident())
        time.sleep(0.01)
        return ()

    monkeypatch.setattr(images, "inspect", slow)
    shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns(), workers=1)
    assert len(threads) == 1


def test_a_missing_shard_is_named(folder, tmp_path):
    manifest = shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns(), shard_size=4)
    (tmp_path / "s" / "00001.parquet").unlink()
    with pytest.raises(DataError, match=r"00001\.parquet is in the manifest but does not exist"):
        shard_paths(manifest, tmp_path / "s")


def test_a_hub_data_set_is_read_as_the_datasets_library_reads_it(folder, tmp_path):
    """The snapshot of a hub repository in imagefolder form, from which the library makes its own columns."""
    shutil.copytree(folder, tmp_path / "snapshot" / "train")
    columns = SampleColumns(labels=("page",))
    samples = list(read_hub(tmp_path / "snapshot", "train", None, columns))
    assert len(samples) == 7
    assert samples[2].captions == ("photo 2", "picture 2")
    assert samples[2].image == picture(2)
    assert samples[5].labels == {"page": "2"}
    chosen = {"samples": 3, "shuffle_seed": 0}
    some = list(read_hub(tmp_path / "snapshot", "train", None, columns, chosen))
    assert len(some) == 3
    assert {sample.sample_id for sample in some} < {sample.sample_id for sample in samples}


def write_webdataset(folder, shards, per_shard=5):
    """Tar archives as the clip-benchmark sets have them: 0.tar, 1.tar ... of s0000000.cls, s0000000.webp ..."""
    folder.mkdir(parents=True)
    for number in range(shards):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for i in range(number * per_shard, (number + 1) * per_shard):
                for suffix, content in (("cls", str(i % 4).encode()), ("webp", picture(i, "WEBP"))):
                    entry = tarfile.TarInfo(f"s{i:07d}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


WEBDATASET = SampleColumns(image="webp", captions=None, labels=("cls",))


@pytest.mark.parametrize(("split", "shards"), [("train", 3), ("test", 1)])
def test_a_webdataset_of_the_hub_is_read(tmp_path, split, shards):
    write_webdataset(tmp_path / split, shards)
    samples = list(read_hub(tmp_path, split, None, WEBDATASET))
    assert [sample.labels["cls"] for sample in samples] == [str(i % 4) for i in range(5 * shards)]
    assert samples[3].image == picture(3, "WEBP")
    chosen = {"samples": 4, "shuffle_seed": 1}
    some, again = ([s.sample_id for s in read_hub(tmp_path, split, None, WEBDATASET, chosen)] for _ in "12")
    assert some == again
    assert len(set(some)) == 4
    manifest = shard(iter(samples), tmp_path / "s", WEBDATASET)
    assert manifest["skipped"] == 0


def test_a_webdataset_is_read_one_sample_after_the_other(tmp_path):
    """What is held does not grow with the data set: the second archive is not touched for a sample of the first."""
    write_webdataset(tmp_path / "train", 2, per_shard=20)
    samples = read_hub(tmp_path, "train", None, WEBDATASET)
    next(samples)
    (tmp_path / "train" / "1.tar").unlink()
    with pytest.raises(DataError, match=r"split train: .*1\.tar"):
        list(samples)


def test_classes_of_a_parquet_source_are_their_names(tmp_path):
    features = hf.Features({"img": hf.Image(), "fine": hf.ClassLabel(names=["apple", "bear"])})
    rows = {"img": [{"bytes": picture(i), "path": None} for i in range(4)], "fine": [0, 1, 1, 0]}
    (tmp_path / "data").mkdir()
    hf.Dataset.from_dict(rows, features).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    columns = SampleColumns(image="img", captions=None, labels=("fine",))
    samples = list(read_hub(tmp_path, "test", None, columns))
    assert [sample.labels["fine"] for sample in samples] == ["apple", "bear", "bear", "apple"]
    assert samples[1].image == picture(1)


@pytest.mark.parametrize(
    ("split", "columns", "message"),
    [
        ("test", WEBDATASET, "split test: .* Correct 'files', 'split' or 'subset'"),
        ("train", SampleColumns(image="img", captions=None), "no column 'img' with images; it has .*cls, webp"),
        ("train", SampleColumns(image="webp", captions="text"), "no column 'text'"),
        ("train", SampleColumns(image="webp", captions=None, labels=("label",)), "no column 'label'"),
    ],
)
def test_a_split_or_column_that_a_hub_data_set_lacks_is_named(tmp_path, split, columns, message):
    write_webdataset(tmp_path / "train", 1)
    with pytest.raises(DataError, match=message):
        list(read_hub(tmp_path, split, None, columns))


def test_documents_of_the_hub_are_taken_up_to_a_bound(tmp_path):
    texts = [f"document {i}" for i in range(9)] + [None, "", "  ", "last"]
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"text": texts, "url": ["u"] * 13}), tmp_path / "plain" / "train-00000-of-00002.parquet")
    documents = list(hub_documents(tmp_path, "train", None, "text"))
    assert documents == [*texts[:9], "last"]
    assert bounded(documents) == documents
    assert bounded(documents, count=2) == texts[:2]
    assert bounded(documents, size=10) == texts[:1]
    assert bounded(documents, size=11) == texts[:2]
    assert bounded(documents, count=1, size=1000) == texts[:1]
    with pytest.raises(DataError, match="1,000 bytes of text are asked for, the source has 94; lower 'bytes'"):
        bounded(documents, size=1000)
    with pytest.raises(DataError, match="holds no text"):
        bounded([])
    with pytest.raises(DataError, match="no column 'body'; there are text, url"):
        list(hub_documents(tmp_path, "train", None, "body"))


# ---- what sharding says ---------------------------------------------------------------------------------------


def sample(number: int, size: int = 0, **facts) -> Sample:
    return Sample(f"{number:04d}", facts.pop("image", None), None, facts.pop("captions", ("x" * size,)), **facts)


PLAIN, TEXTS = SampleColumns(), SampleColumns(image=None)


def test_shards_are_cut_by_bytes_too(tmp_path, monkeypatch):
    """An Arrow column of more than 2 GiB is written and cannot be read again."""
    monkeypatch.setattr(sharding, "SHARD_BYTES", 10_000)
    sizes = [1000, 1000, 100, 2400, 100, 2500, 2500, 10]  # a character takes up to four bytes
    manifest = shard((sample(i, size) for i, size in enumerate(sizes)), tmp_path / "s", TEXTS, shard_size=3)
    assert [entry["samples"] for entry in manifest["shards"]] == [3, 2, 1, 1, 1]
    paths = shard_paths(manifest, tmp_path / "s")
    ids = [sample_id for path in paths for sample_id in tables.read(path)["sample_id"].to_pylist()]
    assert ids == [f"{i:04d}" for i in range(8)]
    assert sharding.SHARD_BYTES * 8 <= 2**31


@pytest.mark.slow
def test_more_bytes_than_a_shard_holds_are_read_again(tmp_path, monkeypatch):
    """300 MB of images with the bound as it is."""
    monkeypatch.setattr(images, "inspect", lambda content: ())
    content = np.random.default_rng(0).bytes(2**25)
    photos = (sample(i, image=content[i:] + content[:i], captions=()) for i in range(9))
    manifest = shard(photos, tmp_path / "s", SampleColumns(captions=None), workers=1)
    assert [entry["samples"] for entry in manifest["shards"]] == [8, 1]
    for path in shard_paths(manifest, tmp_path / "s"):
        for cell in tables.read(path, ["image"])["image"].combine_chunks().field("bytes"):
            assert len(cell.as_buffer()) == 2**25


def test_the_digest_tells_samples_and_not_how_they_are_cut(folder, tmp_path):
    def digest(columns=PLAIN, **options):
        read = read_local(folder, columns)
        return shard(read, tmp_path / "s", columns, made_by={"dataset": "d"}, **options)["digest"]

    whole = digest()
    assert whole == digest(shard_size=2) != digest(count=6)
    assert digest(SampleColumns(group="page")) != whole
    assert digest(SampleColumns(labels=("page",))) != whole
    rows = metadata(folder)
    (folder / "images/1.png").write_bytes(picture(100))
    assert digest() != whole
    (folder / "images/1.png").write_bytes(picture(1))
    assert digest() == whole
    write_metadata(folder, [*rows[1:], rows[0]])
    assert digest() != whole
    manifest = shard(read_local(folder, SampleColumns()), tmp_path / "s", SampleColumns(), shard_size=4)
    footers = [tables.made_by(path)["digest"] for path in shard_paths(manifest, tmp_path / "s")]
    assert footers == [entry["digest"] for entry in manifest["shards"]]
    assert len(set(footers)) == 2


def test_what_is_done_to_images_is_counted_and_said(tmp_path):
    (tmp_path / "d").mkdir()
    pixels = np.zeros((8, 9, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "d/alpha.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "d/turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save(tmp_path / "d/deep.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "d/plain.png")
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(tmp_path / "d/floats.tiff")
    Image.new("L", (2000, 1)).save(tmp_path / "d/strip.png")
    for name in ("photo.heic", "notes.txt", "more.txt", "README"):
        (tmp_path / "d" / name).write_bytes(b"x")
    columns = SampleColumns(captions=None)
    manifest = shard(read_local(tmp_path / "d", columns), tmp_path / "s", columns, on_error="skip")
    assert manifest["images"] == {images.TURNED: 1, images.FLATTENED: 1, images.SCALED: 1}
    assert manifest["left_out"] == {".heic": 1, ".txt": 2, "no ending": 1}
    assert [entry["sample_id"] for entry in manifest["bad"]] == ["floats.tiff", "strip.png"]
    said = "\n".join(sharding.summary("photos", manifest))
    assert "photos: 4 samples in 1 shards, 2 skipped, read as images, their folder the label 'class'" in said
    assert "photos: files that are not images: 1 .heic, 2 .txt, 1 no ending" in said
    assert f"photos: 1 images {images.TURNED}" in said
    assert "photos: left out floats.tiff: image unreadable (its pixels are floating-point numbers" in said
    with pytest.raises(DataError, match=r"2 bad samples .*strip\.png: .*2,000 x 1 pixels"):
        shard(read_local(tmp_path / "d", columns), tmp_path / "s2", columns)


def test_a_label_of_minus_one_that_is_not_known_to_be_none_is_said(tmp_path):
    samples = [sample(i, 3, labels={"mood": str(mood)}) for i, mood in enumerate((-1, 0, 1, -1))]
    manifest = shard(samples, tmp_path / "s", TEXTS)
    assert manifest["minus_one"] == {"mood": 2}
    assert any("label 'mood' is -1 in 2 samples" in line for line in sharding.summary("d", manifest))


@pytest.mark.parametrize("broken", [{"captions": ("\ud800",)}, {"captions": ("a",), "group_id": "caf\udce9"}])
def test_text_that_is_not_unicode_is_a_bad_sample(tmp_path, broken):
    manifest = shard([sample(0, 2), sample(1, **broken)], tmp_path / "s", TEXTS, on_error="skip")
    assert manifest["bad"][0]["reason"].startswith("text that is not Unicode")
    json.dumps(manifest).encode()


def test_reasons_are_the_same_in_every_run(folder, tmp_path):
    (folder / "images/1.png").write_bytes(b"no image")
    (folder / "images/2.png").write_bytes(picture(2)[:100])
    first, second = (
        shard(read_local(folder, SampleColumns()), tmp_path / name, SampleColumns(), on_error="skip") for name in "ab"
    )
    assert first == second
    assert "0x" not in json.dumps(first["bad"])


def test_if_all_are_bad_one_is_shown(tmp_path):
    with pytest.raises(DataError, match="holds no good sample: all 2 are bad, such as 0000: empty caption"):
        shard([sample(0), sample(1)], tmp_path / "s", TEXTS, on_error="skip")


def test_labels_that_nobody_has_are_told(tmp_path):
    manifest = shard([sample(0, 2, labels={"a": "x"}), sample(1, 2)], tmp_path / "s", TEXTS)
    paths = shard_paths(manifest, tmp_path / "s")
    assert labels_of(paths, "a") == (["0000", "0001"], ["x", None])
    with pytest.raises(DataError, match=r"none of the 2 samples in .* has a label 'b'"):
        labels_of(paths, "b")


def test_a_manifest_or_shard_of_another_data_set_is_refused(tmp_path):
    manifests = {}
    for name in ("photos", "other"):
        samples = [Sample(f"{name}{i}", None, None, ("x",)) for i in range(4)]
        made = shard(samples, tmp_path / name, SampleColumns(image=None), shard_size=2)
        manifests[name] = tmp_path / f"{name}.json"
        manifests[name].write_text(json.dumps({"dataset": name, **made}))
    manifest = read_manifest(manifests["photos"], "photos")
    assert len(shard_paths(manifest, tmp_path / "photos")) == 2
    with pytest.raises(DataError, match=r"photos\.json is the manifest of data set 'photos' instead of 'other'"):
        read_manifest(manifests["photos"], "other")
    with pytest.raises(DataError, match=r"other.00000\.parquet is not the shard that manifest\.json lists"):
        shard_paths(manifest, tmp_path / "other")
    manifests["photos"].write_text('{"dataset": "photos", "shards": [5]}')
    with pytest.raises(DataError, match=r"photos\.json is damaged: it does not list its shards"):
        read_manifest(manifests["photos"])
