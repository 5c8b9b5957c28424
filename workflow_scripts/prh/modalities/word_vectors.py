"""Word vectors: a static baseline for language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from prh.models import ModelError


class WordVectors:
    """A static baseline: the mean of the vectors of a text's known words (lower-cased, letters only)."""

    layer_names = ("mean_vector",)

    def __init__(self, vectors: Tensor, vocabulary: Sequence[str], device: str = "cpu") -> None:
        if len(vectors) != len(vocabulary):
            raise ModelError(f"{len(vectors)} word vectors and {len(vocabulary)} words: they must be as many.")
        self.parameters = vectors.numel()
        self.vectors, self.device = vectors.float().to(device), device
        self._row = {word: i for i, word in enumerate(vocabulary)}

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text the rows of its known words and a mask of ones; ModelError for a text without any."""
        items = []
        for text in texts:
            rows = [self._row[word] for word in re.findall(r"[a-z]+", text.lower()) if word in self._row]
            if not rows:
                raise ModelError(f"none of the words of {text!r} has a vector.")
            items.append((torch.tensor(rows), torch.ones(len(rows))))
        return items

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Mean vectors, one float32 [batch, width] in a list."""
        return [torch.stack([self.vectors[rows.to(self.device)].mean(0) for rows, _ in items])]


def load(_entry: Mapping, root: Path, device: str, _dtype: torch.dtype) -> WordVectors:
    from safetensors.torch import load_file

    for name in ("vectors.safetensors", "vocab.txt"):
        if not (root / name).is_file():
            raise ModelError(
                f"{root} has no {name}; word vectors are vectors.safetensors (tensor 'vectors') + vocab.txt."
            )
    vectors = load_file(root / "vectors.safetensors")["vectors"]
    return WordVectors(vectors, (root / "vocab.txt").read_text(encoding="utf-8").splitlines(), device)
