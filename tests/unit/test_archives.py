import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from prh.downloads.archives import ArchiveError, unpack
from prh.io import unpacking

MEGABYTE = 1_000_000


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zip_of(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def tar_of(*links: tuple[str, str], kind: bytes = tarfile.SYMTYPE, mode: str = "w:gz", **files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def refused(tmp_path, data, message):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ArchiveError, match=message) as caught:
        unpack(tmp_path / "a", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a"))
    assert sorted(os.listdir(tmp_path)) == ["a"]


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_archives(tmp_path, pack):
    (tmp_path / "a").write_bytes(pack(**{"photos/1.txt": "one", "photos/b/2.txt": "two"}))
    assert content(unpack(tmp_path / "a", tmp_path / "out")) == {"photos/1.txt": b"one", "photos/b/2.txt": b"two"}


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "../out-2/x"])
def test_an_archive_that_leads_out_of_its_folder(tmp_path, pack, name):
    refused(tmp_path, pack(**{"fine.txt": "one", name: "two"}), r"is not unpacked: .*outside")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive at all", "is neither a zip nor a tar archive"),
        (b"", "is neither a zip nor a tar archive"),
        (tar_of(a="x" * 100_000)[:150], "is (neither|a damaged)"),
        (tar_of(a="x" * 100_000, mode="w")[:50_000], "is a damaged archive"),
        (zip_of(a="x" * 1000)[:-40], "is neither a zip|is a damaged archive"),
        (
            zip_of(a="".join(map(chr, range(32, 127))) * 3)[:45]
            + b"?"
            + zip_of(a="".join(map(chr, range(32, 127))) * 3)[46:],
            "is a damaged archive",
        ),
        (tar_of(**{"n" * 256: "x"}), "is not unpacked: File name too long"),
    ],
    ids=["text", "empty", "short tar", "cut tar", "cut zip", "flipped zip", "long name"],
)
def test_what_is_no_archive(tmp_path, data, message):
    refused(tmp_path, data, message)


def test_an_encrypted_zip_is_named(tmp_path):
    data = bytearray(zip_of(**{"1.txt": "one"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    refused(tmp_path, bytes(data), "is not unpacked: .*encrypted.*; pack it again")


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_bomb_is_not_unpacked(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(unpacking, "FREELY", MEGABYTE)
    bomb = pack(a="0" * MEGABYTE, b="0" * MEGABYTE)
    assert len(bomb) < 10_000
    refused(tmp_path, bomb, rf"its {len(bomb):,} bytes unpack to .* above 1,000,000 and 100 times its size")
    monkeypatch.setattr(unpacking, "FREELY", 3 * MEGABYTE)
    assert sum(map(len, content(unpack(tmp_path / "a", tmp_path / "out")).values())) == 2 * MEGABYTE


def test_a_million_empty_files_are_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREELY", MEGABYTE)
    monkeypatch.setattr(unpacking, "RATIO", 20)
    refused(tmp_path, tar_of(**{f"{i}": "" for i in range(3000)}), "is not unpacked: its")


def test_an_archive_needs_room(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    refused(tmp_path, zip_of(a="x" * 1000), r"is not unpacked: it needs 1,512 bytes and .* has 100\.")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "photos/../../../a"])
def test_links_do_not_leave_the_folder(tmp_path, kind, target):
    refused(
        tmp_path, tar_of(("photos/link", target), kind=kind, **{"photos/1.txt": "one"}), "is (not unpacked|a damaged)"
    )


def test_nothing_is_written_through_a_link(tmp_path):
    """A link to a folder, then a file in it: first a harmless link, then one that leads on to the outside."""
    data = tar_of(("in", "photos"), ("photos/up", ".."), ("in/up/up", ".."), **{"photos/1.txt": "one"})
    refused(tmp_path, data, "is not unpacked")


def test_links_inside_of_the_folder_are_kept_and_those_to_nowhere_left_out(tmp_path):
    (tmp_path / "a").write_bytes(tar_of(("links/one", "../1.txt"), ("gone", "2.txt"), **{"1.txt": "one"}))
    assert content(unpack(tmp_path / "a", tmp_path / "out")) == {"1.txt": b"one", "links/one": b"one"}


@pytest.mark.parametrize("packed", [gzip, bz2, lzma], ids=lambda module: module.__name__)
def test_the_checksum_behind_a_packed_tar_is_read(tmp_path, packed):
    """Nothing else tells a flipped bit in what is stored; tarfile stops before it."""
    data = bytearray(packed.compress(tar_of(a="one", mode="w")))
    data[{gzip: -5, bz2: -4, lzma: -12}[packed]] ^= 1
    refused(tmp_path, bytes(data), "is (not unpacked|a damaged)")


def test_what_follows_a_tar_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREELY", MEGABYTE)
    refused(
        tmp_path, gzip.compress(tar_of(a="one", mode="w") + bytes(3 * MEGABYTE)), "is not unpacked: its .* bytes unpack"
    )


def test_what_is_behind_a_packed_tar_and_no_part_of_it(tmp_path):
    refused(
        tmp_path, gzip.compress(tar_of(a="one", mode="w")) + b"more than there should be", "is not unpacked: Not a gzip"
    )
