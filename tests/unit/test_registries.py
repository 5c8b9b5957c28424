import pytest

from prh.experiment.messages import ConfigError
from prh.experiment.registries import expand

REGISTRY = """
models:
  - {name: small, modality: vision, source: hub, id: a}
  - {name: large, modality: vision, source: hub, id: b, pooling: cls}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vision.yaml").write_text(REGISTRY)
    return tmp_path


def expanded(folder, **asked):
    own = {"name": "own", "modality": "vision"}
    return expand({"models": [own, {"from": "vision.yaml", **asked}], "results": "r"}, folder)["models"][1:]


def test_an_entry_stands_for_all_of_a_file_in_its_order(folder):
    assert [entry["name"] for entry in expanded(folder)] == ["small", "large"]
    assert [entry["name"] for entry in expanded(folder, only=["large"])] == ["large"]
    assert [entry["name"] for entry in expanded(folder, without=["large"])] == ["small"]
    assert [entry["pooling"] for entry in expanded(folder, set={"pooling": "gap"})] == ["gap", "gap"]


def test_what_is_no_registry_entry_stays_as_it_is(folder):
    raw = {"models": [{"name": "own"}, "not an entry"], "datasets": None, "results": "r"}
    assert expand(raw, folder) == raw


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"only": ["larg"]}, "models: .*vision.yaml has no entry 'larg'; it has small, large."),
        ({"without": ["none"]}, "has no entry 'none'"),
        ({"olny": ["large"]}, "wrong olny; the keys are from, only, without, set."),
        ({"only": "large"}, "wrong only"),
        ({"from": "nowhere.yaml"}, "the registry .*nowhere.yaml does not exist."),
    ],
)
def test_a_wrong_entry_is_one_sentence(folder, asked, message):
    with pytest.raises(ConfigError, match=message):
        expanded(folder, **asked)


@pytest.mark.parametrize("content", ["- 1", "models: {a: 1}", "models: [{id: x}]", "datasets: []", ""])
def test_a_file_that_is_no_registry_is_named(folder, content):
    (folder / "vision.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"vision\.yaml has no list 'models' of entries with a name"):
        expanded(folder)


def test_a_file_that_is_not_yaml_is_named(folder):
    (folder / "vision.yaml").write_text("models: [")
    with pytest.raises(ConfigError, match=r"vision\.yaml is not YAML"):
        expanded(folder)


def test_all_mistakes_are_told_at_once(folder):
    raw = {"models": [{"from": "a.yaml"}], "probes": [{"from": "b.yaml"}]}
    with pytest.raises(ConfigError, match=r"(?s)a\.yaml.*\n.*b\.yaml"):
        expand(raw, folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "has a character that is not UTF-8"),
        ("models: []".encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_a_registry_that_is_no_text_is_named(tmp_path, content, message):
    (tmp_path / "models.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"models\.yaml.*{message}"):
        expand({"models": [{"from": "models.yaml"}]}, tmp_path)


def test_a_registry_with_an_impossible_name_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"the registry .* (cannot be read|does not exist)"):
        expand({"models": [{"from": "x" * 300}]}, tmp_path)


@pytest.mark.parametrize("value", [16**5000, "x\ud800"], ids=["number", "text"])
def test_values_that_cannot_be_shown_are_refused_before_they_are_repeated(tmp_path, value):
    with pytest.raises(ConfigError, match=r"a number of 6021 digits is too large|holds half of a surrogate pair"):
        expand({"models": [{"from": value}]}, tmp_path)
