"""Reading of UTF-8 text files, with or without a byte-order mark, identically on every system and in every locale."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # before UTF-16, whose mark is a prefix of this one
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


GIT_LFS = b"version https://git-lfs"
"""Start of the placeholder that git-lfs leaves for a file it has not fetched."""


class TextError(ValueError):
    """A file is not UTF-8 text; the message names the file, the position and the remedy."""


def read(path: Path) -> str:
    """The content of a UTF-8 file without its byte-order mark; line ends are kept.

    Raises TextError for another encoding, with the line and bytes where it fails, and for files that are not text.
    """
    content = path.read_bytes()
    if content.startswith(GIT_LFS):
        raise TextError(f"{path} is a pointer of git-lfs and not the file itself; run 'git lfs pull' in its folder.")
    for encoding, marks in _MARKS.items():
        if content.startswith(marks):
            raise TextError(f"{path} is {encoding} text; save it as UTF-8.")
    if b"\0" in content:
        raise TextError(f"{path} holds zero bytes, so it is damaged or not UTF-8 text; save it as UTF-8.")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wrong = content[error.start : error.end].hex(" ")
        raise TextError(f"{path}, line {line}: not UTF-8 text (byte {wrong}); save it as UTF-8.") from None


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer of git-lfs."""
    with path.open("rb") as file:
        return file.read(len(GIT_LFS)) == GIT_LFS


def lines(path: Path) -> list[str]:
    r"""The lines of a UTF-8 file, split at \n and \r\n only. Raises TextError like `read`."""
    return split_lines(read(path))


def split_lines(text: str) -> list[str]:
    r"""Split ``text`` at \n and \r\n, which are dropped; a final line end does not start another line.

    str.splitlines would also split at U+2028, U+0085, form feeds and others, which can be part of a sentence, a token
    or a JSON string.
    """
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    return [part.removesuffix("\r") for part in parts]
