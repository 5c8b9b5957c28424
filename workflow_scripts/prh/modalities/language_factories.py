"""Language models that a function of the user's builds (``source: python``), with the proofs of all language models.

The module may be one of transformers, or any other that maps token ids to hidden states.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prh.modalities import language
from prh.models import factories, text_checks
from prh.models.loading import Loaded, parameter_count
from prh.models.repositories import ModelError, first_line
from prh.models.selftest import SelfTest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prh.experiment.schema import LanguageModel

UNPROVED = "from the factory, so that its files and special tokens are not proved"
"""What the self-test says of a tokenizer that comes without a folder."""


def load(entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype) -> language.LanguageEncoder:
    """The encoder of the module and tokenizer that the factory of an entry returns, self-tested.

    With the self-test it is built twice, one after the other. Raises ModelError if the factory fails, returns anything
    else or gives other features the second time, and like `prh.modalities.language.load`.
    """
    if not entry.selftest:
        encoder, _ = _built(entry, root, device, dtype)
        encoder.selftest = SelfTest.left_out()
        return encoder
    first, _ = _built(entry, root, device, dtype)
    items = text_checks.probe_items(first, entry.template)[:1]
    features = first.encode(items)
    factories.require_finite(features, entry)
    del first  # so that only one is in memory
    encoder, loaded = _built(entry, root, device, dtype)
    factories.require_same(features, encoder.encode(items), entry, dtype)
    selftest, encoder.batching = text_checks.prove_encoder(encoder, loaded, entry)
    encoder.selftest = as_built(selftest, entry)
    return encoder


def as_built(selftest: SelfTest, entry: LanguageModel) -> SelfTest:
    """``selftest`` with what is known of the weights and the tokenizer of a factory."""
    weights = {"weights": factories.PROVED.format(entry.factory)} if "weights" in selftest.results else {}
    return SelfTest({**selftest.results, **weights, "tokenizer": UNPROVED}, selftest.seconds)


def _built(
    entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype
) -> tuple[language.LanguageEncoder, Loaded]:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    module, tokenizer = factories.build(entry, root)
    is_known = isinstance(module, PreTrainedModel)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        if not entry.special_tokens:
            raise ModelError(
                f"model {entry.name!r}: 'special_tokens: false' needs a tokenizer of transformers, which says which "
                f"tokens are special; its factory returns a {type(tokenizer).__name__}."
            )
        tokenizer = OwnTokenizer(tokenizer, entry.name)
        tokenizer(["A dog runs.", "Snow lies on the roof."])
    encoder = language.LanguageEncoder(
        language.text_part(module) if is_known else OwnStates(module, entry.name),
        tokenizer,
        pooling=entry.pooling,
        special_tokens=entry.special_tokens,
        device=device,
        dtype=dtype,
        parameters=parameter_count(module),
        name=entry.name,
    )
    if not is_known:
        encoder.vocabulary = getattr(module, "vocab_size", language.vocabulary_size(module))
        encoder.limit = getattr(module, "max_tokens", None)
    return encoder, Loaded(module, placed=False, report=None)


def causal(
    entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and the tokenizer that the factory of an entry returns, to be scored.

    Raises NotCausal if they are not a model of transformers with a language-model head and a tokenizer of it, and
    ModelError if the factory fails or gives other predictions the second time.
    """
    if not entry.selftest:
        return _causal(entry, root, device, dtype)
    ids = [torch.arange(1, 8)]
    with torch.inference_mode():
        predictions = text_checks.logits_of(_causal(entry, root, device, dtype)[0], ids)
        factories.require_finite([predictions], entry)
        model, tokenizer = _causal(entry, root, device, dtype)
        factories.require_same([predictions], [text_checks.logits_of(model, ids)], entry, dtype)
    return model, tokenizer


def _causal(
    entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    module, tokenizer = factories.build(entry, root)
    is_known = isinstance(module, PreTrainedModel) and isinstance(tokenizer, PreTrainedTokenizerBase)
    if not is_known or module.config.is_encoder_decoder or module.get_output_embeddings() is None:
        raise text_checks.NotCausal(
            f"model {entry.name!r}: its factory returns a {type(module).__name__} and a {type(tokenizer).__name__}, "
            "and only a causal language model of transformers with its tokenizer can be scored; set 'causal: false'."
        )
    return module.eval().to(device=device, dtype=dtype), tokenizer


class OwnStates(nn.Module):
    """A user's module, called and answering as a model of transformers: its hidden states for token ids.

    The module returns an output with ``hidden_states``, or a list of them, each [texts, tokens, width].
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name
        parameters = inspect.signature(module.forward).parameters.values()
        self.takes = [p.name for p in parameters]
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = True
    ) -> SimpleNamespace:
        """The hidden states of all layers. Raises ModelError if the module returns anything else."""
        more = {"attention_mask": attention_mask, "output_hidden_states": output_hidden_states}
        known = {key: value for key, value in more.items() if key in self.takes or self.takes_all}
        output = self.module(input_ids, **known)
        states = getattr(output, "hidden_states", None)
        if states is None and isinstance(output, Sequence):
            states = output
        if not states or not all(isinstance(state, Tensor) for state in states):
            raise ModelError(
                f"model {self.name!r}: the module of its factory returns a {type(output).__name__}; it must return a "
                "list of hidden states, each [texts, tokens, width], or an output of transformers that has them."
            )
        return SimpleNamespace(hidden_states=tuple(states), last_hidden_state=states[-1])


class OwnTokenizer:
    """A user's tokenizer, called as one of transformers: from a list of texts to lists of token ids."""

    def __init__(self, tokenizer: Callable, name: str) -> None:
        self.tokenizer, self.name = tokenizer, name

    def __call__(self, texts: list[str], **_options: bool) -> dict[str, list[list[int]]]:
        """The token ids of each text. Raises ModelError if the tokenizer returns anything else."""
        try:
            encoded = self.tokenizer(texts)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error, 'no message')}"
            raise ModelError(f"model {self.name!r}: its tokenizer fails for {len(texts)} texts ({reason}).") from error
        rows = encoded.get("input_ids") if isinstance(encoded, Mapping) else encoded
        rows = rows.tolist() if isinstance(rows, Tensor) else rows
        if not isinstance(rows, Sequence) or len(rows) != len(texts) or not all(map(_are_ids, rows)):
            raise ModelError(
                f"model {self.name!r}: its tokenizer returns a {type(encoded).__name__} for {len(texts)} texts; it "
                "must return a list of token ids (whole numbers from 0 on) for each of them, without padding."
            )
        return {"input_ids": [list(map(int, row)) for row in rows]}


def _are_ids(row: object) -> bool:
    row = row.tolist() if isinstance(row, Tensor) else row
    return isinstance(row, Sequence) and all(isinstance(token, int) and token >= 0 for token in row)
