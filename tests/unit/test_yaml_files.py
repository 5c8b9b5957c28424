"""Files that are read as data, and those that are refused."""

import pytest
import yaml

from prh.io import yaml_files

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


def refused(tmp_path, content, name="x.yaml"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(yaml_files.YamlError) as error:
        yaml_files.read(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            r"has the key 'a' twice (first in line 1); only the last would count: remove one (line 3)",
        ),
        ("a: {b: 1, b: 1}", "has the key 'b' twice"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ("- a: 1\n  'a': 2", "has the key 'a' twice"),
        ("x: &x {a: 1}\ny: {<<: *x, <<: *x}", "has the key '<<' twice"),
        ("a: 1".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("a: 1".encode("utf-32"), "is UTF-32; save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "zero bytes"),
        ("a: 1\nb: é".encode("latin-1"), "has a character that is not UTF-8; save it as UTF-8 (line 2)"),
        (b"a: \0", "zero bytes"),
        ("a: \x07", "is not YAML"),
        ("a:\n\tb: 1", "indent YAML with spaces, not tabs (line 2)"),
        ("a: [1", "is not YAML"),
        ("a: *nowhere", "undefined alias"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 100 levels"),
        ("a: " + "[" * 5000, "nested deeper than 100 levels"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "nested deeper than 100 levels"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "nested deeper than 100 levels"),
        (BOMB, "has aliases that expand to more than 1,000,000 values"),
        ("a: &a [*a]", "has an anchor (&) that contains its own alias (*) (line 1)"),
        ("a: &a {b: *a}", "contains its own alias"),
        ("__use_yte__: true\na: ?1 + 1", "has the key __use_yte__, which makes Snakemake run Python"),
        ("a: {b: [{'__use_yte__': false}]}", "has the key __use_yte__"),
        ('{"__use_yte__": true}', "has the key __use_yte__"),
        ('"\\x5f_use_yte__": true', "has the key __use_yte__"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: !secret x", "is not YAML"),
        ("1: a", "has the key 1, which is not a word"),
        ("yes: a", "has the key True, which is not a word"),
        ("{a: {null: b}}", "has the key None, which is not a word"),
        ("? [a]\n: b", "has a list or a mapping as a key"),
        ("a: 2024-13-45", "has a value that cannot be read"),
        ("a: " + "9" * 5000, "has a value that cannot be read"),
        ("a: !!float x", "has a value that cannot be read"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_data_is_refused_in_one_sentence(tmp_path, content, said):
    assert said in refused(tmp_path, content)


def test_what_is_no_file_is_refused(tmp_path):
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "no", "does not exist"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        with pytest.raises(yaml_files.YamlError, match=said):
            yaml_files.read(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing",
        "- a\n- b",
        "base: &base {a: 1, b: [1, 2]}\nother: {<<: *base, a: 2}\nmore: [*base, *base]",
        "several: [&x {a: 1}, &y {b: 2}, {<<: [*x, *y], c: 3}]",
        "a: .inf\nb: 1e3\nc: 2024-01-02\nd: null\ne: ~\nf: no\ng: 0x1F\nh: 'é ü 漢'",
        "{a: {b: {c: []}}}",
    ],
)
def test_data_are_what_pyyaml_reads(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="utf-8")
    assert yaml_files.read(path) == yaml.safe_load(content)
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert yaml_files.read(path) == yaml.safe_load(content)


def test_every_file_of_the_repository_is_data(repository):
    paths = [
        *repository.glob("resources/**/*.yaml"),
        *repository.glob("experiments/*.yaml"),
        repository / "config.yaml",
    ]
    assert len(paths) > 5
    for path in paths:
        assert yaml_files.read(path) == yaml.safe_load(path.read_text(encoding="utf-8"))
