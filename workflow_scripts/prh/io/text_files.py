"""Text files as strings and as lines: UTF-8, with or without a byte-order mark, on every system and in every locale."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # before UTF-16, whose mark is the beginning of this one
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


GIT_LFS = b"version https://git-lfs"
"""How the small text begins that git-lfs leaves in the place of a file that it has not fetched."""


class TextError(ValueError):
    """A file is not the text that it should be; the message names it, the place and the mend."""


def read(path: Path) -> str:
    """The content of a UTF-8 file, without a byte-order mark, line ends as they are.

    Raises TextError for any other encoding, with the line and the bytes where it shows, and for what is no text.
    """
    content = path.read_bytes()
    if content.startswith(GIT_LFS):
        raise TextError(f"{path} is a pointer of git-lfs and not the file itself; run 'git lfs pull' in its folder.")
    for encoding, marks in _MARKS.items():
        if content.startswith(marks):
            raise TextError(f"{path} is {encoding} text; save it as UTF-8.")
    if b"\0" in content:
        raise TextError(f"{path} holds zero bytes, so it is damaged or no text in UTF-8; save it as UTF-8.")
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
    r"""The lines of a UTF-8 file, ended by \n or \r\n and nothing else; TextError as from `read`."""
    return split_lines(read(path))


def split_lines(text: str) -> list[str]:
    r"""``text`` split where \n or \r\n stands; what ends a line is no part of it, and no line follows the last end.

    str.splitlines also splits at U+2028, U+0085, form feeds and others, which are characters of a sentence, a token or
    a JSON string.
    """
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    return [part.removesuffix("\r") for part in parts]
