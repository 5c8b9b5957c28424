"""What columns of others hold: classes in structs, groups without a class, lists that were printed, missing columns."""

import re

import datasets as hf
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prh.datasets.documents import bounded, read_documents
from prh.datasets.errors import DataError
from prh.datasets.hub_reading import read_hub
from prh.datasets.local_data import read_local
from prh.datasets.samples import Sample, SampleColumns
from prh.datasets.sharding import problem
from prh.io.text_files import TextError

TEXTS = SampleColumns(image=None)


@pytest.fixture
def read(tmp_path):
    """Reads a table with classes in structs as a local file and as a data set of the hub; both must give the same."""
    classes = hf.ClassLabel(names=["ant", "bee"])
    features = hf.Features(
        {"text": hf.Value("string"), "kind": classes, "of": {"kind": classes}, "deep": {"of": {"kind": classes}}}
    )
    numbers = [0, -1, None, 1]
    rows = {
        "text": list("abcd"),
        "kind": numbers,
        "of": [{"kind": n} for n in numbers],
        "deep": [{"of": {"kind": n}} for n in numbers],
    }
    (tmp_path / "data").mkdir()
    hf.Dataset.from_dict(rows, features).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")

    def both(columns):
        local = list(read_local(tmp_path / "data", columns))
        assert list(read_hub(tmp_path, "train", None, columns)) == local
        return local

    return both


@pytest.mark.parametrize("name", ["kind", "of.kind", "deep.of.kind"])
def test_a_class_has_its_name_wherever_it_stands_and_minus_one_is_none(read, name):
    labels = [sample.labels.get(name) for sample in read(SampleColumns(image=None, labels=(name,)))]
    assert labels == ["ant", None, None, "bee"]


@pytest.mark.parametrize("name", ["kind", "of.kind"])
def test_samples_without_a_class_are_no_group(read, name):
    assert [sample.group_id for sample in read(SampleColumns(image=None, group=name))] == ["ant", None, None, "bee"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (SampleColumns(captions="words", image=None), "no column 'words' with captions; it has caption, picture, tag"),
        (
            SampleColumns(image="picture", captions=None, labels=("kind",)),
            "no column 'kind' with labels; it has caption",
        ),
        (
            SampleColumns(captions="caption", image=None, group="page"),
            "no column 'page' with groups; it has caption, pi",
        ),
        (
            SampleColumns(captions="caption", image=None, sample_id="key"),
            "no column 'key' with ids; it has caption, picture",
        ),
        (
            SampleColumns(captions="tag.raw.x", image=None),
            "'tag.raw.x' names the field raw of a value without fields, the int 1",
        ),
    ],
)
def test_a_missing_column_names_all_that_a_file_has(tmp_path, columns, message):
    pq.write_table(pa.table({"picture": [b"x"], "caption": ["a"], "tag": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        list(read_local(tmp_path / "t.parquet", columns))


@pytest.mark.parametrize(
    "text",
    ['["a cat", "two cats"]', "['a cat' 'two cats']", "{'raw': 'a cat'}", '{"raw": "a cat", "n": null}', ' ["a"]\n'],
)
def test_a_list_or_struct_that_was_printed_is_no_caption(text):
    reason = problem(Sample("s", None, None, (text,)), TEXTS)
    assert reason == "caption is a list or struct that was written as text; keep it as lists of texts"


@pytest.mark.parametrize("text", ["[Music]", "[1, 2]", "{}", "[]", "[a cat", "[[[[", "{x} of {y}", "[" * 5000 + "]"])
def test_brackets_alone_make_no_list(text):
    assert problem(Sample("s", None, None, (text,)), TEXTS) is None


@pytest.mark.parametrize("name", ["t.parquet", "metadata.jsonl", "metadata.csv"])
def test_a_table_that_git_lfs_has_not_fetched_is_called_a_pointer(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n")
    with pytest.raises(DataError, match=rf"{name} is a pointer of git-lfs"):
        list(read_local(tmp_path, TEXTS))


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_of_another_encoding_is_told_with_and_without_a_mark(tmp_path, name, encoding):
    path = tmp_path / name
    path.write_bytes({"t.txt": "a\n", "t.jsonl": '{"text": "a"}\n', "t.csv": "text\na\n"}[name].encode(encoding))
    with pytest.raises((DataError, TextError), match=rf"{re.escape(name)} .*; save it as UTF-8"):
        read_documents(path)


def test_half_a_surrogate_pair_is_no_text(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": "b\\ud800"}\n')
    with pytest.raises(DataError, match=r"the document 'b\\ud800' holds half of a surrogate pair"):
        bounded(read_documents(tmp_path / "t.jsonl"))


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path):
    (tmp_path / "t.csv").write_text('text\n"a\nb\nc\n')
    with pytest.raises(DataError, match=r"t\.csv, line 4: not CSV \(unexpected end of data\)"):
        list(read_local(tmp_path / "t.csv", TEXTS))


def test_a_file_of_another_kind_is_not_called_a_damaged_parquet_file(tmp_path):
    (tmp_path / "t.json").write_text('[{"text": "a"}]')
    with pytest.raises(DataError, match=r"t\.json is neither a \.jsonl nor a \.csv file, and not a complete Parquet"):
        list(read_local(tmp_path / "t.json", TEXTS))
    (tmp_path / "T.TXT").write_text("a\nb\n")
    assert read_documents(tmp_path / "T.TXT") == ["a", "b"]


def test_a_link_to_nothing_is_a_sample_without_its_image(tmp_path):
    for folder in ("cat", "@eaDir"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"png")
    (tmp_path / "cat" / "1.png").symlink_to(tmp_path / "nowhere.png")
    found = list(read_local(tmp_path, SampleColumns(captions=None, labels=("class",))))
    assert [(sample.sample_id, sample.fault) for sample in found] == [
        ("cat/0.png", None),
        ("cat/1.png", "image unreadable (No such file or directory)"),
    ]
