"""Data on this machine in all the forms in which people have them, and in those that are wrong."""

import io
import json
import os
from pathlib import Path

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prh.datasets import parquet_files
from prh.datasets.documents import read_documents
from prh.datasets.errors import DataError
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.datasets.sharding import shard
from prh.io import text_files, unpacking
from prh.io.text_files import TextError


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [picture(i) for i in range(4)]
TEXTS = ["a cat", "a dog", "a tree", "a house"]


PLAIN = SampleColumns()


def samples(root, columns=PLAIN, **chosen):
    return list(read_local(Path(root), columns, chosen))


def parquet(folder, **columns):
    pq.write_table(pa.table(columns), folder / "d.parquet")
    return folder / "d.parquet"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "d/images").mkdir(parents=True)
    for i, content in enumerate(PICTURES):
        (tmp_path / f"d/images/{i}.png").write_bytes(content)
    return tmp_path / "d"


# ---- images in a Parquet file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        pa.array(PICTURES),
        pa.array(PICTURES, pa.large_binary()),
        pa.array(PICTURES, pa.binary_view()),
        pa.array(PICTURES).dictionary_encode(),
        pa.array([{"bytes": content} for content in PICTURES]),
        pa.array([{"bytes": content, "path": "x.png"} for content in PICTURES]),
        pa.array([[content] for content in PICTURES]),
        pa.array([[{"bytes": content, "path": None}] for content in PICTURES]),
    ],
    ids=["binary", "large", "view", "dictionary", "bytes only", "both", "lists of one", "lists of structs"],
)
def test_encoded_images(tmp_path, column):
    read = samples(parquet(tmp_path, image=column, text=TEXTS))
    assert [sample.image for sample in read] == PICTURES
    assert [sample.captions for sample in read] == [(text,) for text in TEXTS]
    assert not any(sample.fault for sample in read)


@pytest.mark.parametrize("as_struct", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("of_folder", [False, True])
def test_images_as_paths(photos, as_struct, absolute, of_folder):
    """Relative to the file or its folder; an absolute path counts where it lies in the folder."""
    names = [str(photos / f"images/{i}.png") if absolute else f"images/{i}.png" for i in range(4)]
    column = [{"bytes": None, "path": name} for name in names] if as_struct else names
    path = parquet(photos, image=column, text=TEXTS)
    assert [sample.image for sample in samples(path.parent if of_folder else path)] == PICTURES


def test_a_parquet_file_in_a_folder_names_images_beside_it_or_below_the_root(photos):
    (photos / "tables").mkdir()
    parquet(photos / "tables", image=["../images/0.png", "images/1.png"], text=TEXTS[:2])
    assert [sample.image for sample in samples(photos)] == PICTURES[:2]


def test_metadata_in_parquet_names_images_by_file_name(photos):
    path = parquet(photos, file_name=[f"images/{i}.png" for i in range(4)], text=TEXTS)
    assert [sample.image for sample in samples(path)] == PICTURES


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "{root}/secret.png", "/etc/passwd"])
def test_no_image_outside_of_the_folder_is_read(photos, name):
    (photos.parent / "secret.png").write_bytes(picture(9))
    name = name.format(root=photos.parent)
    path = parquet(photos, image=[name, "images/1.png"], text=TEXTS[:2])
    (photos / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}))
    for read in (samples(path), samples(photos)):
        assert read[0].image is None
        assert "is outside the folder of the data set" in read[0].fault


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (None, None),
        ("", None),
        ("none.png", "image missing ('none.png' is not there)"),
        ("images", "image missing ('images' is not there)"),
        ("https://x.org/1.png", "is an address; download it"),
        ("n" * 300, "is not there"),
        ("a\0b", "is not there"),
    ],
)
def test_an_image_that_is_missing_is_a_bad_sample(photos, tmp_path, cell, fault):
    columns = SampleColumns()
    path = parquet(photos, image=[cell, "images/1.png"], text=TEXTS[:2])
    read = samples(path)
    assert read[0].image is None
    assert fault is None or fault in read[0].fault
    manifest = shard(read, tmp_path / "s", columns, on_error="skip")
    assert (manifest["samples"], manifest["bad"][0]["reason"][:13]) == (1, "image missing")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, 2]), "row 0: column 'image' should hold images and holds the int 1"),
        (pa.array([PICTURES[:2], PICTURES[:1]]), "column 'image' holds 2 images; a sample has one image"),
        (pa.array([[[1, 2], [3, 4]]] * 2), "column 'image' holds numbers, not encoded images"),
        (pa.array([{"url": "x"}] * 2), "holds a struct with the fields url, not bytes or path of an image"),
        (pa.array([{"bytes": "text", "path": None}] * 2), "should hold images and holds the str 'text'"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, column, message):
    with pytest.raises(DataError, match=message):
        samples(parquet(tmp_path, image=column, text=TEXTS[:2]))


# ---- captions -------------------------------------------------------------------------------------------------


def captions(tmp_path, column, name="text", more=None):
    path = parquet(tmp_path, text=column, **(more or {}))
    return [sample.captions for sample in samples(path, SampleColumns(image=None, captions=name))]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ([[{"raw": "a", "id": 1}, {"raw": "b", "id": 2}]], "text.raw"),
        ([{"raw": ["a", "b"], "ids": [1, 2]}], "text.raw"),
        ([{"en": {"raw": ["a", "b"]}}], "text.en.raw"),
        ([["a", "b"]], "text"),
    ],
)
def test_captions_in_structs_are_reached(tmp_path, column, name):
    assert captions(tmp_path, column, name) == [("a", "b")]


def test_a_column_with_a_dot_in_its_name_comes_first(tmp_path):
    assert captions(tmp_path, [{"raw": "struct"}], "text.raw", {"text.raw": ["column"]}) == [("column",)]


@pytest.mark.parametrize(
    ("column", "name", "message"),
    [
        ([[{"raw": "a", "id": 1}]], "text", r"holds structs with the fields raw, id; .* captions: text\.raw"),
        (
            [{"id": 1, "raw": "a"}],
            "text",
            r"fields id, raw; name the one with the captions, such as captions: text\.raw",
        ),
        ([{"raw": "a"}], "text.rew", r"no field rew for 'text\.rew'; there are raw"),
        (["a"], "text.raw", "names the field raw of a value without fields, the str 'a'"),
        ([{"raw": [["a"], ["b"]]}], "text.raw", "should hold captions and holds a list of 1"),
        ([[{"tokens": ["a", "cat"]}]], "text.tokens", "should hold captions and holds a list of 2"),
        ([7], "text", "d.parquet, row 0: column 'text' should hold captions and holds the int 7"),
        ([1.5], "text", "holds the float 1.5"),
        ([True], "text", "holds the bool True"),
        ([b"a"], "text", "holds 1 bytes"),
        (["a"], "words", "no column 'words' with captions; it has"),
        (["a"], "words.raw", r"no column 'words\.raw' with captions; it has"),
    ],
)
def test_captions_that_are_none_are_refused(tmp_path, column, name, message):
    with pytest.raises(DataError, match=message):
        captions(tmp_path, column, name)


@pytest.mark.parametrize("value", [None, "", "  \n", float("nan"), [None], ["fine", " "]])
def test_an_empty_caption_is_a_bad_sample(tmp_path, value):
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("ok", value)))
    columns = SampleColumns(image=None)
    manifest = shard(read_local(tmp_path, columns), tmp_path / "s", columns, on_error="skip")
    assert manifest["bad"] == [{"sample_id": "00000001", "reason": "empty caption"}]


# ---- labels, groups and ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.0, 1.0, float("nan"), None], ["0", "1", None, None]),
        ([0, 1, -1, None], ["0", "1", "-1", None]),
        ([0.5, 1.0, 2.25, 1e300], ["0.5", "1", "2.25", str(int(1e300))]),
        ([True, False, True, None], ["True", "False", "True", None]),
        (["cat", "", "  ", None], ["cat", None, None, None]),
    ],
)
def test_labels_of_every_type(tmp_path, column, expected):
    path = parquet(tmp_path, text=TEXTS, label=column)
    read = samples(path, SampleColumns(image=None, labels=("label",), group="label"))
    assert [sample.labels.get("label") for sample in read] == expected
    assert [sample.group_id for sample in read] == expected


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"x", float("inf")])
def test_a_label_that_is_no_class_is_refused(tmp_path, value):
    path = parquet(tmp_path, text=TEXTS[:1], label=[value])
    for columns in (SampleColumns(image=None, labels=("label",)), SampleColumns(image=None, group="label")):
        with pytest.raises(DataError, match="row 0: column 'label' should hold one class, group or id and holds"):
            samples(path, columns)


def test_a_class_of_the_datasets_library_has_its_name_and_minus_one_none(tmp_path):
    features = hf.Features({"text": hf.Value("string"), "kind": hf.ClassLabel(names=["ant", "bee", "zebra"])})
    rows = {"text": TEXTS, "kind": [0, -1, 2, None]}
    hf.Dataset.from_dict(rows, features).to_parquet(tmp_path / "d.parquet")
    read = samples(tmp_path, SampleColumns(image=None, labels=("kind",)))
    assert [sample.labels.get("kind") for sample in read] == ["ant", None, "zebra", None]
    metadata = pq.read_schema(tmp_path / "d.parquet").metadata
    pq.write_table(pa.table({"text": TEXTS[:1], "kind": [3]}).replace_schema_metadata(metadata), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="column 'kind' holds class 3, of 3 classes"):
        samples(tmp_path, SampleColumns(image=None, labels=("kind",)))


def ids(path, sample_id):
    return [sample.sample_id for sample in samples(path, SampleColumns(image=None, sample_id=sample_id))]


def test_which_column_is_the_id_can_be_said(tmp_path):
    path = parquet(tmp_path, text=TEXTS, id=[7, 7, 8, 8], name=["a", "b", "c", "d"], number=[1.0, 2.0, 3.0, 4.0])
    assert ids(path, "auto") == ["7", "7", "8", "8"]
    assert ids(path, None) == [f"{i:08d}" for i in range(4)]
    assert ids(path, "name") == ["a", "b", "c", "d"]
    assert ids(path, "number") == ["1", "2", "3", "4"]
    with pytest.raises(DataError, match="no column 'nome' with ids; it has"):
        ids(path, "nome")
    with pytest.raises(DataError, match=r"2 bad samples .*; 'sample_id' names the column of ids"):
        shard(read_local(path, SampleColumns(image=None)), tmp_path / "s", SampleColumns(image=None))


def test_ids_that_are_none(tmp_path):
    path = parquet(tmp_path, text=TEXTS[:2], ids=[[1], [2]], some=["a", None])
    with pytest.raises(DataError, match="column 'ids' should hold one class, group or id and holds a list of 1"):
        ids(path, "ids")
    faults = [sample.fault for sample in samples(path, SampleColumns(image=None, sample_id="some"))]
    assert faults == [None, "no id in column 'some'"]


def test_the_id_of_metadata_is_the_file_name_unless_said(photos):
    rows = [{"file_name": f"images/{i}.png", "text": TEXTS[i], "key": f"k{i}", "id": i} for i in range(2)]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [sample.sample_id for sample in samples(photos)] == ["images/0.png", "images/1.png"]
    assert [sample.sample_id for sample in samples(photos, SampleColumns(sample_id="key"))] == ["k0", "k1"]
    assert [sample.sample_id for sample in samples(photos, SampleColumns(sample_id=None))] == ["00000000", "00000001"]


# ---- metadata -------------------------------------------------------------------------------------------------


ODD = ["a cat\u2028on a mat", "nel\x85here", "feed\x0cand\x0btab", "an 'é' and a \u2029"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_newlines_only(photos, encoding, end):
    rows = [{"file_name": f"images/{i}.png", "text": text} for i, text in enumerate(ODD)]
    content = end.join(json.dumps(row, ensure_ascii=False) for row in rows)
    (photos / "metadata.jsonl").write_bytes(content.encode(encoding))
    assert [sample.captions[0] for sample in samples(photos)] == ODD
    cells = end.join(["file_name,text", *(f'images/{i}.png,"{text}"' for i, text in enumerate(ODD))])
    (photos / "metadata.jsonl").unlink()
    (photos / "metadata.csv").write_bytes(cells.encode(encoding))
    read = samples(photos)
    assert [sample.captions[0] for sample in read] == ODD
    assert [sample.image for sample in read] == PICTURES
    (photos / "t.txt").write_bytes(end.join([*ODD, "", ""]).encode(encoding))
    assert read_documents(photos / "t.txt") == ODD


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.jsonl", b"[1, 2]\n", r"metadata\.jsonl, line 1: not an object such as|line 1: not a JSON object"),
        ("metadata.jsonl", b'{"file_name": "images/0.png", "text": "x"}\n{"file_na', "line 2: not JSON"),
        ("metadata.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("metadata.jsonl", b'{"n": ' + b"9" * 5000 + b"}", "line 1: not JSON"),
        (
            "metadata.jsonl",
            '{"text": "\nKäfer"}'.encode("latin-1"),
            r"line 2: not UTF-8 text \(byte e4\); save it as UTF-8",
        ),
        ("metadata.jsonl", '{"text": "x"}'.encode("utf-16"), r"metadata\.jsonl is UTF-16 text; save it as UTF-8"),
        ("metadata.jsonl", '{"text": "x"}'.encode("utf-32"), r"metadata\.jsonl is UTF-32 text"),
        ("metadata.jsonl", b'{"text": "x"}', "line 1: no file_name; set image: null"),
        ("metadata.csv", b"file_name,text\nimages/0.png,a,b\n", "line 2: 3 cells for 2 columns; put texts with commas"),
        ("metadata.csv", b"file_name,text\nimages/0.png\n", "line 2: 1 cells for 2 columns"),
        ("metadata.csv", b"text,text\na,b\n", "line 1: every column needs a name of its own"),
        ("metadata.csv", b"text\n" + b"x" * 200_000, r"metadata\.csv, line 2: not CSV"),
        ("metadata.csv", b'text\na\n"b\nc\n', r"metadata\.csv, line 4: not CSV \(unexpected end of data\)"),
        ("metadata.csv", "file_name,text\nimages/0.png,Käfer\n".encode("latin-1"), "line 2: not UTF-8 text"),
    ],
)
def test_metadata_that_cannot_be_read_names_file_and_line(photos, name, content, message):
    (photos / name).write_bytes(content)
    with pytest.raises((DataError, TextError), match=message) as caught:
        samples(photos)
    assert str(photos) in str(caught.value)


@pytest.mark.parametrize("name", [None, 5, "", ["a"]])
def test_a_file_name_that_is_none_is_a_bad_sample(photos, tmp_path, name):
    rows = [{"file_name": "images/0.png", "text": "x"}, {"file_name": name, "text": "x"}]
    (photos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = shard(samples(photos), tmp_path / "s", SampleColumns(), on_error="skip")
    reason = f"image missing (its file_name is {json.dumps(name)})"
    assert manifest["bad"] == [{"sample_id": "line 2", "reason": reason}]


def test_an_empty_cell_of_csv_is_nothing(photos):
    (photos / "metadata.csv").write_text("file_name,text,label\nimages/0.png,a,\nimages/1.png,,x\n")
    read = samples(photos, SampleColumns(labels=("label",)))
    assert [(sample.captions, sample.labels) for sample in read] == [(("a",), {}), (("",), {"label": "x"})]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
@pytest.mark.parametrize("by_file", [False, True])
def test_metadata_of_texts_alone(tmp_path, name, by_file):
    rows = [json.dumps({"text": text}) for text in TEXTS] if name.endswith("jsonl") else ["text", *TEXTS]
    (tmp_path / name).write_text("\n".join(rows))
    read = read_local(tmp_path / name if by_file else tmp_path, SampleColumns(image=None))
    assert read.form == f"{name}: texts"
    assert [sample.captions for sample in read] == [(text,) for text in TEXTS]
    assert read_documents(tmp_path) == TEXTS


# ---- images in folders ----------------------------------------------------------------------------------------


FOLDERS = SampleColumns(captions=None, labels=("class",))


def classes(root):
    return {sample.sample_id: sample.labels.get("class") for sample in samples(root, FOLDERS)}


def test_links_are_followed_and_what_is_hidden_is_not_read(photos, tmp_path):
    root = tmp_path / "c"
    for name in (
        "cat/0.png",
        "dog/1.JPG",
        "cat/.ipynb_checkpoints/0.png",
        "__MACOSX/cat/0.png",
        ".git/x.png",
        "cat/._0.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURES[0])
    (root / "bird").symlink_to(photos / "images")
    (root / "dog/2.png").symlink_to(photos / "images/2.png")
    (root / "dog/gone.png").symlink_to(photos / "none.png")
    (root / "dog/circle").symlink_to(root)
    (root / "top.png").write_bytes(PICTURES[1])
    assert classes(root) == {
        **{f"bird/{i}.png": "bird" for i in range(4)},
        "cat/0.png": "cat",
        "dog/1.JPG": "dog",
        "dog/2.png": "dog",
        "dog/gone.png": "dog",  # a bad sample, since the link leads nowhere
        "top.png": None,
    }


def test_folders_have_no_captions_and_one_label(photos):
    with pytest.raises(DataError, match=r"holds images in folders and no metadata\.jsonl, .*: set captions: null"):
        samples(photos)
    with pytest.raises(DataError, match="the only label is 'class', there is no 'kind'"):
        samples(photos, SampleColumns(captions=None, labels=("kind",)))
    with pytest.raises(DataError, match="whose ids are their paths: no column 'name'"):
        samples(photos, SampleColumns(captions=None, sample_id="name"))
    numbered = samples(photos, SampleColumns(captions=None, sample_id=None))
    assert [sample.sample_id for sample in numbered] == [f"{i:08d}" for i in range(4)]


def test_a_file_name_that_is_not_utf8_is_a_bad_sample(photos, tmp_path):
    os.rename(photos / "images/1.png", os.fsencode(photos / "images") + b"/caf\xe9.png")
    manifest = shard(samples(photos, FOLDERS), tmp_path / "s", FOLDERS, on_error="skip")
    assert manifest["samples"] == 3
    assert manifest["bad"][0]["sample_id"] == r"images/caf\udce9.png"


# ---- Parquet files as such ------------------------------------------------------------------------------------


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = parquet(tmp_path, image=PICTURES, text=TEXTS)
    content = bytearray(path.read_bytes())
    for damaged in (content[:100], b"", b"x" * 100, content[:300] + b"\0" * 300 + content[600:]):
        path.write_bytes(bytes(damaged))
        with pytest.raises(
            DataError, match=r"d\.parquet is not a complete Parquet file, or not one that can be read \("
        ):
            shard(read_local(path, SampleColumns()), tmp_path / "s", SampleColumns())


def test_text_that_is_not_utf8_in_a_parquet_file_is_named(tmp_path):
    column = pa.array([b"caf\xe9"]).view(pa.string())
    with pytest.raises(DataError, match=r"d\.parquet is not a complete .*(utf-8|UTF8)"):
        samples(parquet(tmp_path, text=column), SampleColumns(image=None))


def test_a_parquet_file_that_unpacks_out_of_proportion_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREELY", 1_000_000)
    big = b"\0" * 20_000
    shapes = {
        "binary": pa.array([big] * 200),
        "struct": pa.array([{"bytes": big, "path": None}] * 200),
        "list": pa.array([[big.decode()] * 20] * 10),
    }
    for column in shapes.values():
        path = tmp_path / "d.parquet"
        pq.write_table(pa.table({"image": column}), path, compression="zstd")
        with pytest.raises(DataError, match=r"d\.parquet is not read: its .* bytes unpack to .* or more"):
            list(parquet_files.rows(path, ["image"]))
    pq.write_table(pa.table({"image": pa.array([b"\0" * 2_000_000])}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="is not read"):
        list(parquet_files.rows(path, ["image"]))
    pq.write_table(pa.table({"image": shapes["binary"]}), path, compression="none", use_dictionary=False)
    assert len(list(parquet_files.rows(path, ["image"]))) == 200


def test_a_repeated_image_is_no_bomb(tmp_path):
    """Five captions of an image in five rows, as many sets have them."""
    path = parquet(tmp_path, image=[PICTURES[i // 5 % 4] for i in range(100)], text=["a"] * 100)
    assert parquet_files.require_bounded(path, ["image", "text"]) > 0
    assert len(samples(path)) == 100


def test_rows_are_held_a_few_at_a_time(tmp_path, monkeypatch):
    path = parquet(tmp_path, text=["x" * 1000 for _ in range(50)])
    monkeypatch.setattr(parquet_files, "ROW_BYTES", 10_000)
    assert len(list(parquet_files.rows(path, ["text"]))) == 50


def test_split_lines():
    assert text_files.split_lines("") == []
    assert text_files.split_lines("a") == ["a"]
    assert text_files.split_lines("a\n\r\nb\rc\n\n") == ["a", "", "b\rc", ""]


@pytest.mark.parametrize("text", [pa.nulls(2_000_000, pa.string()), pa.array([[""] * 8_000_000])], ids=["rows", "list"])
def test_millions_of_nothing_are_a_bomb(tmp_path, text):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": text}), path, compression="zstd")
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match=r"x\.parquet is not read: its .* bytes unpack to .*; if you trust it"):
        list(read_local(path, SampleColumns(image=None)))
