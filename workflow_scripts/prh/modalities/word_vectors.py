"""Word vectors: a static baseline for language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prh.io import text_files
from prh.models.checkpoints import refuse_pointers, tensors
from prh.models.repositories import ModelError
from prh.models.selftest import SelfTest

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel


class WordVectors:
    """A static baseline: the mean of the vectors of a text's known words (lower-cased, letters only)."""

    layer_names = ("mean_vector",)
    batching = "padded"
    """Texts may share a batch, since each is averaged on its own."""

    def __init__(self, vectors: Tensor, vocabulary: Sequence[str], device: str = "cpu") -> None:
        if len(vectors) != len(vocabulary):
            raise ModelError(f"{len(vectors)} word vectors and {len(vocabulary)} words: the numbers must be equal.")
        self.parameters = vectors.numel()
        self.selftest = SelfTest({"weights": f"{len(vocabulary)} vectors of {vectors.shape[1]} numbers from the file"})
        self.vectors, self.device = vectors.float().to(device), device
        self._row = {word: i for i, word in enumerate(vocabulary)}

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text, the rows of its known words and a mask of ones. Raises ModelError if it has no known word."""
        items = []
        for text in texts:
            rows = [self._row[word] for word in re.findall(r"[a-z]+", text.lower()) if word in self._row]
            if not rows:
                raise ModelError(f"none of the words of {text!r} has a vector.")
            items.append((torch.tensor(rows), torch.ones(len(rows))))
        return items

    def prove_tokens(self, texts: Sequence[str], items: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Do nothing: this baseline skips unknown words by design, and `tokenize` refuses a text without known ones."""

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Mean vectors, as a list of one float32 [batch, width]."""
        return [torch.stack([self.vectors[rows.to(self.device)].mean(0) for rows, _ in items])]


def load(_entry: LanguageModel, root: Path, device: str, _dtype: torch.dtype) -> WordVectors:
    """The word vectors in the folder ``root``. Raises ModelError if a file is missing or damaged, or they disagree."""
    for name in ("vectors.safetensors", "vocab.txt"):
        if not (root / name).is_file():
            raise ModelError(
                f"{root} has no {name}; word vectors are vectors.safetensors (tensor 'vectors') + vocab.txt."
            )
    refuse_pointers(root)
    vectors = tensors(root / "vectors.safetensors").get("vectors")
    if vectors is None or vectors.ndim != 2 or not bool(torch.isfinite(vectors.float()).all()):
        raise ModelError(f"{root / 'vectors.safetensors'} has no tensor 'vectors' of finite numbers, [words, width].")
    words = text_files.lines(root / "vocab.txt")
    if len(words) != len(vectors):
        raise ModelError(
            f"{root / 'vocab.txt'} has {len(words)} words, one a line, and vectors.safetensors {len(vectors)} vectors: "
            "the numbers must be equal."
        )
    return WordVectors(vectors, words, device)
