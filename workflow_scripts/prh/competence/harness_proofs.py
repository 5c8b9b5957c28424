"""A check before a model answers lm-eval's questions: that its tokenizer knows their text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prh.models import tokenizer_files, tokenizer_proofs

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

log = logging.getLogger(__name__)


def proving(backend: type[HFLM], name: str) -> type[HFLM]:
    """The backend of lm-eval, in which the model ``name`` answers questions only if its tokenizer knows them."""

    class Proving(backend):
        def loglikelihood(self, requests: list[Instance], **settings: object) -> list[tuple[float, bool]]:
            _prove(self.tokenizer, requests, name)
            return super().loglikelihood(requests, **settings)

        def loglikelihood_rolling(self, requests: list[Instance], **settings: object) -> list[float]:
            _prove(self.tokenizer, requests, name)
            return super().loglikelihood_rolling(requests, **settings)

        def generate_until(self, requests: list[Instance], **settings: object) -> list[str]:
            _prove(self.tokenizer, requests, name)
            return super().generate_until(requests, **settings)

    return Proving


def _prove(tokenizer: object, requests: Sequence[Instance], name: str) -> None:
    # a request holds a text, a text and its continuation, or a text and the settings of generation
    texts = ["".join(part for part in request.args if isinstance(part, str)) for request in requests]
    ids = tokenizer_files.tokenize(tokenizer, texts)
    log.info("tokenizer: %s", tokenizer_proofs.prove(tokenizer, texts, ids, name).in_words())
