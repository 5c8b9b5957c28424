"""The small files beside weights (configuration, vocabularies, merges), looked at before a library reads them.

A library that finds one of them cut off, empty or of another kind says so without its name, or makes do without it: a
tokenizer without merges gives letters in the place of words.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path

from prh.io import text_files
from prh.models import checkpoints
from prh.models.repositories import ModelError

SETTINGS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
)
"""Files that are a JSON object."""
TEXTS = ("merges.txt", "vocab.txt")
PIECES = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "source.spm",
)
"""What the SentencePiece model of a tokenizer is called."""
MOST_UNMERGED = 0.1
"""Share of a vocabulary's longer tokens that no merge makes: special and made-up ones."""


def require_whole(folder: Path) -> None:
    """Raise ModelError, naming the file, for a small file of a model's folder that is damaged or of another kind."""
    for name in (*SETTINGS, *TEXTS, *PIECES):
        path = folder / name
        if not os.path.lexists(path):
            continue
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is a link that leads nowhere"
            raise ModelError(f"{path} {what}; fetch the file itself.")
        _require_kind(path)
    if not (folder / "tokenizer.json").is_file():
        _require_merges(folder)


def described(folder: Path) -> str:
    """The files of a tokenizer that are in a folder, for messages."""
    there = [name for name in (*SETTINGS, *TEXTS, *PIECES) if (folder / name).is_file() and "processor" not in name]
    return f"{', '.join(there) or 'nothing'} in {folder}"


def _require_kind(path: Path) -> None:
    if path.name in SETTINGS:
        checkpoints.read_json(path)
    elif path.name in TEXTS:
        try:
            lines = text_files.lines(path)
        except text_files.TextError as error:
            raise ModelError(str(error)) from None
        if not any(line and not line.startswith("#version") for line in lines):
            raise ModelError(f"{path} holds no {'merge' if 'merges' in path.name else 'word'}; fetch it again.")
    elif not (_is_sentencepiece(path.read_bytes()) or _is_tiktoken(path)):
        raise ModelError(f"{path} is not a whole SentencePiece model, nor tiktoken's list of tokens; fetch it again.")


def _require_merges(folder: Path) -> None:
    """ModelError where merges.txt lacks a good part of the merges by which tokens of vocab.json come about."""
    if not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        return
    merges = (line.split() for line in text_files.lines(folder / "merges.txt"))
    made = {"".join(pair[:2]) for pair in merges}
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    longer = [token for token in vocabulary if len(token.removesuffix("</w>")) > 1 and not token.startswith("<")]
    lacking = [token for token in longer if token not in made]
    if len(lacking) > max(10, MOST_UNMERGED * len(longer)):
        raise ModelError(
            f"{folder / 'merges.txt'} has no merge for {len(lacking)} of {len(longer)} tokens of vocab.json, such as "
            f"{lacking[0]!r}; it is cut off or of another model: fetch both again."
        )


def _is_tiktoken(path: Path) -> bool:
    """Whether a file is a list of tokens in base64 with their ranks."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        for line in lines:
            token, rank = line.split()
            base64.b64decode(token, validate=True)
            int(rank)
    except (ValueError, binascii.Error):
        return False
    return bool(lines)


def _is_sentencepiece(content: bytes) -> bool:
    """Whether bytes are a whole SentencePiece model: protobuf in which, after the pieces, stands how it was trained."""
    fields, place = set(), 0
    try:
        while place < len(content):
            key, place = _varint(content, place)
            if key & 7 != 2:  # all that a model holds at its top has a length
                return False
            length, place = _varint(content, place)
            fields.add(key >> 3)
            place += length
    except IndexError:
        return False
    return place == len(content) and {1, 2} <= fields


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of protobuf at ``place``, and the place after it."""
    value = shift = 0
    while True:
        byte = content[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
