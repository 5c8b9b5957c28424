"""Every kind of file that prh reads, damaged in every way. One of three things may follow:

- one sentence that names the file;
- the result that the sound file gives (what was lost does not matter, or is made anew);
- another result, where nothing in the file tells that it was another: a text without its last line. Each kind lists the
  damages of which that is so (``unseen``), as each such pair is a number that may be wrong without a word.

The kinds are in tests/attack/kinds_of_*.py: how a sound file is made, and what reads it as the programs do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prh.jobs import command
from tests.attack.programs import quietly

CUT = frozenset({"truncated", "half"})
"""Damages that leave a text whose end nothing tells as sound as one that was written shorter."""
NO_CHECKSUM = frozenset({"flipped"})


@dataclass(frozen=True)
class Kind:
    """A kind of file: ``make`` writes sound files into a folder and returns the one to damage; ``use`` reads it.

    ``use`` returns what came of the file, to be compared. ``others``: functions that put a sound file of something else
    in its place. ``unseen``: damages after which another result may come.
    """

    name: str
    make: Callable[[Path], Path]
    use: Callable[[Path], object]
    unseen: frozenset[str] = frozenset()
    others: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    called: str | None = None
    """What the sentence may name in the place of the file: the folder it lies in, where that is the one thing to name.
    Of a file with many samples it may name the bad ones."""


@dataclass(frozen=True)
class Row:
    """A file, its damage, and what became of it."""

    kind: str
    damage: str
    verdict: str

    def __str__(self) -> str:
        return f"{self.kind:28} {self.damage:22} {self.verdict}"

    @property
    def is_wrong(self) -> bool:
        return self.verdict.startswith("WRONG")

    @property
    def outcome(self) -> str:
        """The verdict without what is special to this file."""
        return self.verdict.partition(":")[0]


# ---- damages --------------------------------------------------------------------------------------------------


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(10):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _flip_at_an_end(path: Path, draw: random.Random) -> None:
    """One bit, in the first or last tenth: headers and footers, which the many bytes between them would hide."""
    content = bytearray(path.read_bytes())
    place = draw.randrange(max(1, len(content) // 10))
    content[place if draw.random() < 0.3 else -1 - place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _replace_by_folder(path: Path, _draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_dangling_link(path: Path, _draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _replace_by_link_to_itself(path: Path, _draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _other_bytes(content: bytes) -> Callable[[Path, random.Random], object]:
    return lambda path, _draw: path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "missing": lambda path, _draw: path.unlink(),
    "empty": _other_bytes(b""),
    "truncated": lambda path, draw: path.write_bytes(path.read_bytes()[: -draw.randrange(2, 8)]),
    "half": lambda path, _draw: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": _flip,
    "flipped at an end": _flip_at_an_end,
    "with more behind": lambda path, draw: path.write_bytes(path.read_bytes() + draw.randbytes(50)),
    "zeros": lambda path, _draw: path.write_bytes(bytes(path.stat().st_size)),
    "random bytes": lambda path, draw: path.write_bytes(draw.randbytes(path.stat().st_size)),
    "another kind: PDF": _other_bytes(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"),
    "another kind: HTML": _other_bytes(b"<!DOCTYPE html><html><body>404: not found</body></html>\n"),
    "another kind: JSON": _other_bytes(b'[{"a": null}, 1e999, "\\ud800"]\n'),
    "in UTF-16": lambda path, _draw: path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16")),
    "git-lfs pointer": _other_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"),
    "folder": _replace_by_folder,
    "dangling link": _replace_by_dangling_link,
    "link to itself": _replace_by_link_to_itself,
    "unreadable": lambda path, _draw: path.chmod(0),
}


# ---- one cell -------------------------------------------------------------------------------------------------


def damaged(kind: Kind, damage: str, folder: Path, seed: int, expected: object) -> Row:
    """Make a file of a kind, damage it, read it; ``expected``: what comes of the sound one."""
    folder.mkdir(parents=True)
    path = kind.make(folder / "sound")
    if damage in kind.others:
        kind.others[damage](path)
    else:
        DAMAGES[damage](path, random.Random(f"{seed} {kind.name} {damage}"))
    try:
        with as_a_user(), quietly():
            found = kind.use(path)
    except Exception as error:
        return Row(kind.name, damage, _told(kind, path, error))
    finally:
        if not path.is_symlink() and path.exists():
            path.chmod(0o755)
        shutil.rmtree(folder)
    if found == expected:
        return Row(kind.name, damage, "as before")
    return Row(
        kind.name, damage, "unseen" if damage in kind.unseen else f"WRONG: another result, unseen: {found}"[:200]
    )


def _told(kind: Kind, path: Path, error: Exception) -> str:
    sentence = command.sentence(error)
    first = sentence.split("\n")[0]
    if "may be a fault of prh" in sentence:
        return f"WRONG: no sentence of ours: {sentence}"
    if "\n" in sentence.strip():
        return f"WRONG: more than a sentence: {first} ..."
    if not any(name in sentence for name in (path.name, kind.called or path.name, "bad samples (")):
        return f"WRONG: the file is not named: {first}"
    return f"told: {first}"


def attack(folder: Path, kinds: Iterable[Kind], seeds: Iterable[int] = (0,)) -> Iterator[Row]:
    """Every kind of file with every damage."""
    seeds = tuple(seeds)
    for kind in kinds:
        with quietly():
            expected = kind.use(kind.make(folder / kind.name))
        shutil.rmtree(folder / kind.name)
        for seed in seeds:
            for damage in [*DAMAGES, *kind.others]:
                if damage == "unreadable" and not can_give_up_power():
                    continue
                yield damaged(kind, damage, folder / f"{seed}-{kind.name}-{damage}".replace(" ", "_"), seed, expected)


# ---- root reads everything ------------------------------------------------------------------------------------

_DAC_OVERRIDE, _DAC_READ_SEARCH, _VERSION_3 = 1 << 1, 1 << 2, 0x20080522


def _capabilities(change: list[int] | None = None) -> list[int] | None:
    """The capabilities of this thread as Linux counts them, after they were set to ``change``; None where it fails."""
    header, data = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)(*(change or []))
    libc = ctypes.CDLL(None, use_errno=True)
    done = (libc.capset if change else libc.capget)(header, data)
    return None if done else list(data)


@contextlib.contextmanager
def as_a_user() -> Iterator[None]:
    """Let the permissions of files hold for root too in the block."""
    if os.geteuid() != 0:
        yield
        return
    before = _capabilities()
    if before:
        _capabilities([before[0] & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH), *before[1:]])
    try:
        yield
    finally:
        if before:
            _capabilities(before)


def can_give_up_power() -> bool:
    """Whether `as_a_user` works here."""
    return os.geteuid() != 0 or _capabilities() is not None
