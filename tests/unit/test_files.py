import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prh.io import files

NOTE = {"name": "n", "source": "local"}


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


def test_json_is_written_whole_or_not_at_all(tmp_path):
    files.write_json(tmp_path / "new/record.json", {"name": "Größe", "files": [1, None]})
    assert files.read_json(tmp_path / "new/record.json") == {"name": "Größe", "files": [1, None]}
    files.write_json_lines(tmp_path / "new/rows.jsonl", (row for row in ["one\ntwo", {"a": 1.5}]))
    assert files.read_json_lines(tmp_path / "new/rows.jsonl") == ["one\ntwo", {"a": 1.5}]
    for write in (files.write_json, files.write_json_lines):
        with pytest.raises(TypeError):
            write(tmp_path / "new/half.json", [1, object()])
    files.write_json(tmp_path / "new/text.json", {"b": Path("x"), "a": 1}, sort_keys=True, default=str)
    assert (tmp_path / "new/text.json").read_text() == '{\n "a": 1,\n "b": "x"\n}'
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["record.json", "rows.jsonl", "text.json"]


def test_what_was_fetched_must_still_be_there(folder):
    note = folder / "weights.json"
    note.write_text(json.dumps(NOTE | {"root": str(folder / "a"), "files": files.listing(folder / "a")}))
    assert files.fetched(note, "n", "local")["root"] == str(folder / "a")
    (folder / "a/x.txt").write_text("hello you")
    with pytest.raises(
        ValueError, match=r"a/x\.txt was downloaded but has changed; delete .*weights\.json and run snakemake"
    ):
        files.fetched(note, "n", "local")
    (folder / "a/x.txt").unlink()
    with pytest.raises(ValueError, match=r"a/x\.txt was downloaded but is missing; delete .*weights\.json"):
        files.fetched(note, "n", "local")


def test_what_was_fetched_may_be_one_file_or_none(folder):
    note = folder / "weights.json"
    path = folder / "a/x.txt"
    note.write_text(json.dumps(NOTE | {"root": str(path), "files": files.listing(path)}))
    assert files.fetched(note, "n", "local")["root"] == str(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"x\.txt was downloaded but is missing"):
        files.fetched(note, "n", "local")
    note.write_text(json.dumps({"name": "n", "source": "random", "root": None, "files": {}}))
    assert files.fetched(note, "n", "random")["root"] is None


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


def test_two_writers_of_one_file_do_not_write_into_each_other(tmp_path):
    target = tmp_path / "x"
    with files.writing(target) as one, files.writing(target) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two, longer")
    assert target.read_text() in ("one", "two, longer")
    assert list(tmp_path.iterdir()) == [target]


WRITER = "import sys, time; from prh.io import files\nwith files.writing(sys.argv[1]) as part:\n" + (
    "    part.write_text('half'); print(part, flush=True); time.sleep(60)\n"
)


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    target = tmp_path / "x[1].json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, target], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    try:
        killed, living = (Path(writer.stdout.readline().strip()) for writer in writers)
        writers[0].kill()
        writers[0].wait()
        assert killed.exists()
        with files.writing(target) as part:
            part.write_text("whole")
        assert not killed.exists()
        assert living.read_text() == "half"
        assert target.read_text() == "whole"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_the_longest_names_have_room_for_what_lies_beside_them(tmp_path):
    path = tmp_path / ("x" * 255)
    with files.making(path), files.writing(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_only_one_process_makes_a_file_of_pieces(tmp_path):
    target = tmp_path / "table.parquet"
    code = "import sys, time; from prh.io import files\nwith files.making(sys.argv[1]):\n    print(1, flush=True); time.sleep(60)\n"
    other = subprocess.Popen([sys.executable, "-c", code, target], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        busy = pytest.raises(files.BusyError, match=r"another process is making .*table\.parquet; wait until it ends")
        with busy, files.making(target):
            pass
    finally:
        other.kill()
        other.wait()
    with files.making(target):  # the kernel has let go of it
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_fault_inside_is_not_taken_for_a_busy_file(tmp_path):
    with pytest.raises(files.BusyError, match="another one"), files.making(tmp_path / "x"):
        raise files.BusyError("another one")


def test_file_systems_without_locks_hold_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.writing(tmp_path / "x") as part, files.locked(tmp_path / "y"):
        part.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"root": ', r"note\.json is not JSON \(line 1, column"),
        (b"", r"note\.json is not JSON"),
        (b"\xff{}", r"note\.json is not UTF-8 text \(byte 0\)"),
        (b"[" * 100_000, r"note\.json is (nested too deeply|not JSON)"),
        (b"[1]", r"note\.json is not an object with source, root, files"),
        (b'{"name": "n", "source": "local", "root": null}', r"note\.json lacks files"),
        (
            b'{"name": "n", "source": "local", "root": null, "files": {"a": {}}}',
            r"note\.json does not say where its files are",
        ),
        (
            b'{"name": "n", "source": "local", "root": null, "files": {}}',
            r"note\.json does not say where its files are",
        ),
        (
            b'{"name": "m", "source": "local", "root": null, "files": {}}',
            "was written for the name 'm', not 'n'",
        ),
        (
            b'{"name": "n", "source": "hub", "root": "x", "files": {}}',
            "was written for the source 'hub', not 'local'",
        ),
        (
            b'{"name": "n", "source": "local", "root": "x", "files": []}',
            r"note\.json does not say where its files are",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_damaged_note_is_named(tmp_path, content, said):
    note = tmp_path / "note.json"
    note.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        files.fetched(note, "n", "local")


def test_a_change_of_equal_size_is_told_also_where_its_time_is_old(folder):
    note, path = folder / "weights.json", folder / "a/x.txt"
    note.write_text(json.dumps(NOTE | {"root": str(folder / "a"), "files": files.listing(folder / "a")}))
    os.utime(path)  # younger than the note, with the same content
    assert files.fetched(note, "n", "local")["root"] == str(folder / "a")
    path.write_text("Hello")
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match=r"a/x\.txt was downloaded but has changed"):
        files.fetched(note, "n", "local")


def test_lines_of_json_are_split_at_newlines_only(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('"a\u2028b\x85c"\n"d"\n', encoding="utf-8")
    assert files.read_json_lines(path) == ["a\u2028b\x85c", "d"]
    path.write_text('"a"\n"d')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2, is not JSON"):
        files.read_json_lines(path)
