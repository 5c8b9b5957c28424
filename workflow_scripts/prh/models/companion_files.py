"""The small files beside weights (configuration, vocabularies, merges), checked before a library reads them.

A library that meets a truncated, empty or foreign file reports it without naming it, or silently does without: a
tokenizer without merges cuts words into letters.
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
"""Usual names of a tokenizer's SentencePiece model."""
MOST_UNMERGED = 0.1
"""Largest share of a vocabulary's longer tokens that may come from no merge: special and added tokens do not."""


def require_whole(folder: Path) -> None:
    """Raise ModelError, naming the file, if a small file in a model's folder is damaged or of the wrong kind."""
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
    """The tokenizer files in a folder, for messages."""
    present = [name for name in (*SETTINGS, *TEXTS, *PIECES) if (folder / name).is_file() and "processor" not in name]
    return f"{', '.join(present) or 'nothing'} in {folder}"


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
    """Raise ModelError if merges.txt lacks the merges of many tokens in vocab.json, as a truncated file does."""
    if not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        return
    merges = (line.split() for line in text_files.lines(folder / "merges.txt"))
    merged = {"".join(pair[:2]) for pair in merges}
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    longer = [token for token in vocabulary if len(token.removesuffix("</w>")) > 1 and not token.startswith("<")]
    lacking = [token for token in longer if token not in merged]
    if len(lacking) > max(10, MOST_UNMERGED * len(longer)):
        raise ModelError(
            f"{folder / 'merges.txt'} has no merge for {len(lacking)} of {len(longer)} tokens of vocab.json, such as "
            f"{lacking[0]!r}; it is truncated or belongs to another model: fetch both again."
        )


def _is_tiktoken(path: Path) -> bool:
    """Whether a file lists base64 tokens with their ranks, as tiktoken writes them."""
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
    """Whether bytes are a complete SentencePiece model: protobuf with its pieces (field 1) and trainer (field 2)."""
    fields, position = set(), 0
    try:
        while position < len(content):
            key, position = _varint(content, position)
            if key & 7 != 2:  # every top-level field of a model is length-delimited
                return False
            length, position = _varint(content, position)
            fields.add(key >> 3)
            position += length
    except IndexError:
        return False
    return position == len(content) and {1, 2} <= fields


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The protobuf varint at ``position``, and the position after it."""
    value = shift = 0
    while True:
        byte = content[position]
        value, position, shift = value | (byte & 127) << shift, position + 1, shift + 7
        if byte < 128:
            return value, position
