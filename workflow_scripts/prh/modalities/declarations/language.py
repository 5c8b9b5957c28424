"""Language: models of text, and word vectors as their baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prh.modalities.base import Cost, Modality, register
from prh.models.repositories import may_be_causal

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel

TOKENS = 32
"""Tokens in a caption, for estimates."""
CAPTIONS = 5
"""Captions per sample if all are read, for estimates."""


def is_scored(entry: LanguageModel) -> bool:
    """Whether the model of an entry may predict the next token, so that it can be scored."""
    return entry.library == "transformers" and may_be_causal(entry)


register(
    Modality(
        "language",
        entry="prh.experiment.schema:LanguageModel",
        load={
            "transformers": "prh.modalities.language:load",
            "word_vectors": "prh.modalities.word_vectors:load",
            "python": "prh.modalities.language_factories:load",
        },
        reads=("captions",),
        encode="prh.modalities.text_batches:encode",
        is_scored=is_scored,
        train="prh.world.language_learners:train",
        repository="prh.models.hub_checks:tokenizer",
        cost=Cost(tokens=lambda entry: TOKENS * (CAPTIONS if entry.caption == "all" else 1), stored=2),
        colour="#D55E00",
    )
)
