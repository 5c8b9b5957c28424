import json

import pytest

from prh import files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("hello")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "y.txt").write_text("hidden")
    return tmp_path


def test_listing_knows_files_by_content(folder):
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert files.listing(folder) == {"a/x.txt": {"bytes": 5, "sha256": digest}}
    assert files.listing(folder / "a" / "x.txt") == {"x.txt": {"bytes": 5, "sha256": digest}}
    (folder / "a" / "x.txt").write_text("Hello")
    assert files.listing(folder)["a/x.txt"]["sha256"] != digest


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no file"):
        files.listing(tmp_path)


def test_a_file_is_complete_or_absent(tmp_path):
    with pytest.raises(RuntimeError), files.writing(tmp_path / "new" / "x") as part:
        part.write_text("half")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []
    with files.writing(tmp_path / "new" / "x") as part:
        part.write_text("whole")
        assert not (tmp_path / "new" / "x").exists()
    assert (tmp_path / "new" / "x").read_text() == "whole"


def test_what_was_fetched_must_still_be_there(folder):
    note = folder / "weights.json"
    note.write_text(json.dumps({"root": str(folder / "a"), "files": files.listing(folder / "a")}))
    assert files.fetched(note)["root"] == str(folder / "a")
    (folder / "a/x.txt").write_text("hello you")
    with pytest.raises(
        ValueError, match=r"a/x\.txt was fetched and has changed; delete .*weights\.json and run snakemake"
    ):
        files.fetched(note)
    (folder / "a/x.txt").unlink()
    with pytest.raises(ValueError, match=r"a/x\.txt was fetched and is not there; delete .*weights\.json"):
        files.fetched(note)


def test_what_was_fetched_may_be_one_file_or_none(folder):
    note = folder / "weights.json"
    path = folder / "a/x.txt"
    note.write_text(json.dumps({"root": str(path), "files": files.listing(path)}))
    assert files.fetched(note)["root"] == str(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"x\.txt was fetched and is not there"):
        files.fetched(note)
    note.write_text(json.dumps({"root": None, "files": {}}))
    assert files.fetched(note)["root"] is None


def test_sizes_are_those_of_a_listing_without_its_hashes(tmp_path):
    for name, content in {"b/1.txt": b"one", "b/2.txt": b"", "a.txt": b"three", ".git/x": b"x", "b/.y": b"y"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert files.sizes(tmp_path) == {name: facts["bytes"] for name, facts in files.listing(tmp_path).items()}
    assert files.sizes(tmp_path) == {"a.txt": 5, "b/1.txt": 3, "b/2.txt": 0}
    assert files.sizes(tmp_path / "a.txt") == {"a.txt": 5}


def test_links_to_folders_are_listed_and_circles_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.png").write_bytes(b"12")
    (tmp_path / "root/cat/.ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "root/cat/.ipynb_checkpoints/2.png").write_bytes(b"1")
    (tmp_path / "root/cat/2.png").write_bytes(b"1")
    (tmp_path / "root/__MACOSX").mkdir()
    (tmp_path / "root/__MACOSX/2.png").write_bytes(b"1")
    (tmp_path / "root/bird").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    assert files.sizes(tmp_path / "root") == {"bird/1.png": 2, "cat/2.png": 1}
