"""Downloaded data sets of the hub: forms that the `datasets` library reads, and hostile or damaged ones."""

import io
import json
import zipfile

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prh.datasets.errors import DataError
from prh.datasets.hub_reading import hub_documents, read_hub
from prh.datasets.samples import SampleColumns
from prh.io import unpacking


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def read(root, columns, **options):
    return list(read_hub(root, "train", None, columns, **options))


def write(root, features, **columns):
    hf.Dataset.from_dict(columns, hf.Features(features)).to_parquet(root / "train-0.parquet")


def test_a_class_of_minus_one_is_none(tmp_path):
    write(tmp_path, {"kind": hf.ClassLabel(names=["ant", "bee", "zebra"])}, kind=[0, -1, 2, -1])
    labels = [sample.labels for sample in read(tmp_path, SampleColumns(image=None, captions=None, labels=("kind",)))]
    assert labels == [{"kind": "ant"}, {}, {"kind": "zebra"}, {}]


def test_fields_of_structs_and_lists_of_one_image(tmp_path):
    cells = [[{"bytes": picture(i), "path": None}] for i in range(2)]
    features = {
        "image": hf.List(hf.Image()),
        "sentences": hf.List({"raw": hf.Value("string"), "id": hf.Value("int64")}),
    }
    write(tmp_path, features, image=cells, sentences=[[{"raw": "a", "id": 1}, {"raw": "b", "id": 2}]] * 2)
    samples = read(tmp_path, SampleColumns(captions="sentences.raw"))
    assert [sample.image for sample in samples] == [picture(0), picture(1)]
    assert samples[1].captions == ("a", "b")
    assert list(hub_documents(tmp_path, "train", None, "sentences.raw")) == ["a", "b"] * 2
    with pytest.raises(
        DataError, match=r"split train, row 0: column 'sentences' holds structs with the fields raw, id"
    ):
        read(tmp_path, SampleColumns(captions="sentences"))
    with pytest.raises(DataError, match=r"no column 'phrases\.raw' with captions; it has image, sentences"):
        read(tmp_path, SampleColumns(captions="phrases.raw"))


def test_the_id_can_be_said(tmp_path):
    write(tmp_path, {"text": hf.Value("string"), "key": hf.Value("string")}, text=["a", "b"], key=["x", "y"])
    assert [s.sample_id for s in read(tmp_path, SampleColumns(image=None, sample_id="key"))] == ["x", "y"]
    assert [s.sample_id for s in read(tmp_path, SampleColumns(image=None))] == ["00000000", "00000001"]


def test_images_in_a_zip_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        rows = [{"file_name": f"{i}.png", "text": f"t{i}"} for i in range(3)]
        archive.writestr("metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for i in range(3):
            archive.writestr(f"{i}.png", picture(i))
    assert [(s.captions, s.image) for s in read(tmp_path, SampleColumns())] == [
        ((f"t{i}",), picture(i)) for i in range(3)
    ]


@pytest.mark.parametrize("name", ["../../secret.png", "{root}/secret.png"])
def test_nothing_outside_of_the_repository_is_read(tmp_path, name):
    name = name.format(root=tmp_path)
    (tmp_path / "secret.png").write_bytes(picture(9))
    (tmp_path / "a/train").mkdir(parents=True)
    (tmp_path / "a/train/0.png").write_bytes(picture(0))
    rows = [{"file_name": "0.png", "text": "x"}, {"file_name": name, "text": "x"}]
    (tmp_path / "a/train/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="Invalid metadata file_name"):
        read(tmp_path / "a", SampleColumns())
    (tmp_path / "b").mkdir()
    cells = pa.array([{"bytes": None, "path": name}, {"bytes": picture(1), "path": "1.png"}])
    pq.write_table(pa.table({"image": cells, "text": ["a", "b"]}), tmp_path / "b/train-0.parquet")
    first, second = read(tmp_path / "b", SampleColumns())
    assert (first.image, second.image) == (None, picture(1))
    assert "is outside the folder" in first.fault


@pytest.mark.parametrize(("name", "content"), [("train.jsonl", '{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n'),
                                              ("train.csv", "text,n\na,1\nb,2\n")])  # fmt: skip
def test_rows_whose_types_the_library_does_not_know_beforehand(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert [s.captions for s in read(tmp_path, SampleColumns(image=None))] == [("a",), ("b",)]


def damage_json(root):
    (root / "train.jsonl").write_text('{"text": "a"}\n{"te')


def damage_encoding(root):
    (root / "train.jsonl").write_bytes('{"text": "Käfer"}\n'.encode("latin-1"))


def damage_parquet(root):
    pq.write_table(pa.table({"text": [str(i) * 50 for i in range(100)]}), root / "train-0.parquet")
    content = bytearray((root / "train-0.parquet").read_bytes())
    content[100:200] = bytes(100)
    (root / "train-0.parquet").write_bytes(content)


def truncate_parquet(root):
    damage_parquet(root)
    (root / "train-0.parquet").write_bytes((root / "train-0.parquet").read_bytes()[:300])


def damage_csv(root):
    (root / "train.csv").write_text('text\na\n"b\n')


def empty_zip(root):
    (root / "train.zip").write_bytes(b"PK no zip")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, r"train\.jsonl, line 2: not JSON"),
        (damage_encoding, r"train\.jsonl, line 1: not UTF-8 text"),
        (damage_parquet, r"train-0\.parquet is not a complete Parquet file"),
        (truncate_parquet, r"train-0\.parquet is not a complete Parquet file"),
        (damage_csv, r"train\.csv cannot be read"),
        (empty_zip, r"train\.zip"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    damage(tmp_path)
    for reading in (
        lambda: read(tmp_path, SampleColumns(image=None)),
        lambda: list(hub_documents(tmp_path, "train", None, "text")),
    ):
        with pytest.raises((DataError, ValueError), match=message) as caught:
            reading()
        assert str(caught.value).startswith(str(tmp_path))
        assert "\n" not in str(caught.value)


def test_documents_that_are_no_texts_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(DataError, match="row 0: column 'text' should hold captions and holds the int 5"):
        list(hub_documents(tmp_path, "train", None, "text"))


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREELY", 1_000_000)
    pq.write_table(pa.table({"text": ["x" * 20_000] * 200}), tmp_path / "train-0.parquet", compression="zstd")
    for reading in (
        lambda: read(tmp_path, SampleColumns(image=None)),
        lambda: list(hub_documents(tmp_path, "train", None, "text")),
    ):
        with pytest.raises(DataError, match=r"train-0\.parquet is not read: its"):
            reading()
