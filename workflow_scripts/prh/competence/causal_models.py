"""Causal language models for scoring: loaded with their head, and verified before they give a score."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prh.modalities import language, language_factories
from prh.models import loading, text_checks
from prh.models.selftest import SelfTest
from prh.models.text_checks import NotCausal

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from prh.experiment.schema import LanguageModel

log = logging.getLogger(__name__)

LOGITS = 2 << 30
"""Bytes of logits that a batch may have: a vocabulary of 250,000 makes 0.5 GB of each window of 512 tokens."""


class CausalModel(NamedTuple):
    """A causal language model, ready to be scored.

    selftest: the checks that it has passed. batching: whether its texts may share a batch.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    selftest: SelfTest
    batching: text_checks.Batching

    def batch_size(self, wanted: int | None) -> int | None:
        """The batch size that is ``wanted`` (None: what fits), or 1 where texts in a batch affect each other."""
        return wanted if self.batching == "padded" else 1


def load_causal(
    entry: LanguageModel, root: str | Path | None, device: str = "cpu", *, texts: Sequence[str] = ()
) -> CausalModel:
    """The causal language model and the tokeniser of a model entry (see prh.experiment.schema), with weights from
    ``root``.

    texts: what is to be scored; the ids of the tokenizer are checked on it.
    The type of the weights and the placement of big and quantised models are those of `prh.modalities.load`; without a
    ``root`` weights are random. Raises NotCausal for a model that does not predict each token from those before it
    alone, and ModelError for one that cannot be loaded, or whose head or another weight is not in the checkpoint.
    """
    root = None if root is None else Path(root)
    dtype = loading.choose_dtype(entry.dtype, device)
    is_built = entry.source == "python"
    loaded, tokenizer = (_from_factory if is_built else _from_files)(entry, root, device, dtype, texts)
    model = loaded.model.eval() if loaded.placed else loaded.model.eval().to(device)
    with loading.explained(entry.name, root):
        vocabulary = language.vocabulary_size(model) or model.config.get_text_config().vocab_size
        longest = language.longest_text(model) or text_checks.LONG
        selftest, batching = text_checks.prove_causal(loaded, entry, dtype, longest, vocabulary)
    if is_built:
        selftest = language_factories.as_built(selftest, entry)
    log.info("%s: %s", entry.name, selftest.log_line())
    return CausalModel(model, tokenizer, selftest, batching)


def _from_files(
    entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype, texts: Sequence[str]
) -> tuple[loading.Loaded, PreTrainedTokenizerBase]:
    _refuse_other_kinds(entry, loading.auto_config(entry, root))
    # with a cache, since some tasks generate their answers
    loaded = loading.load_auto(entry, root, device, dtype, kind="AutoModelForCausalLM", cache=True)
    return loaded, language.load_tokenizer(entry, root, texts=texts)


def _from_factory(
    entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype, _texts: Sequence[str]
) -> tuple[loading.Loaded, PreTrainedTokenizerBase]:
    model, tokenizer = language_factories.causal(entry, root, device, dtype)
    return loading.Loaded(model, placed=True, report=None), tokenizer


def _refuse_other_kinds(entry: LanguageModel, config: PreTrainedConfig) -> None:
    """Raise NotCausal for a model that its configuration shows not to be a causal language model."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise NotCausal(
            f"model {entry.name!r} ({kind}) is an encoder-decoder, whose decoder continues what its encoder reads: "
            "it is not a causal language model; set 'causal: false'."
        )
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if not own_code and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise NotCausal(
            f"model {entry.name!r}: transformers has no causal language model of the kind {kind!r}; set "
            "'causal: false'."
        )


def reason_not_scored(error: NotCausal, entry: LanguageModel) -> str:
    """Why a model gets no scores, for its empty table. Raises ``error`` where the entry says that it is causal."""
    if entry.causal:
        raise error
    log.warning("no scores: %s", error)
    return str(error)


def fitting_batch(model: PreTrainedModel, tokens: int) -> int:
    """How many sequences of ``tokens`` tokens make a batch: 8, or fewer (at least 1) so that its logits fit LOGITS."""
    each = tokens * model.config.get_text_config().vocab_size * model.dtype.itemsize
    return max(1, min(8, LOGITS // each))
