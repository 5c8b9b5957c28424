"""Language: texts in, one pooled vector per hidden state out.

The layers are Hugging Face's hidden states: the embeddings, the output of every block but the last, and the last one
after the final norm. Hooks pool each the moment it is computed. Some models (Mamba, RWKV, SqueezeBERT) hand out other
states, or have no blocks to hook: their states are taken as the library gives them, hidden_state_0 and on, the stack of
one batch at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from prh.hooks import hooked
from prh.loading import auto_config, auto_model, count_parameters, parameter_count
from prh.models import ModelError
from prh.tokenizer_loading import load_tokenizer
from prh.tokenizer_proof import TokenizerReport, prove_tokenizer

log = logging.getLogger(__name__)


def pool_text(hidden: Tensor, mask: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """Hidden states [batch, tokens, width], padded on the right, as one float32 vector per text, [batch, width].

    ``mask`` [batch, tokens] is 1.0 for the tokens that enter the mean; ``lengths`` [batch] counts the real tokens.
    """
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1].float()
    return torch.bmm((mask / mask.sum(1, keepdim=True))[:, None], hidden.float())[:, 0]


class LanguageEncoder:
    """Texts in, one pooled vector per hidden state out.

    Tokens are padded on the right whatever the tokenizer prefers: for causal models the real tokens then never see
    padding and keep their positions, for encoders the attention mask hides it, so a feature does not depend on its
    batch. ``placed`` and ``parameters`` are those of VisionEncoder: a module may lie on several devices, then each
    hidden state is pooled on its own.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Callable,
        *,
        pooling: str = "mean",
        special_tokens: bool = True,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        placed: bool = False,
        parameters: int | None = None,
    ) -> None:
        self.parameters = parameter_count(module) if parameters is None else parameters
        self.module = module.eval() if placed else module.eval().to(device=device, dtype=dtype)
        self.tokenizer, self.pooling, self.special_tokens, self.device = tokenizer, pooling, special_tokens, device
        self._blocks, states = _language_blocks(self.module, device)
        if self._blocks:
            self.layer_names = ["embeddings", *(f"block_{i}" for i in range(1, states - 1)), "last_hidden_state"]
        else:
            self.layer_names = [f"hidden_state_{i}" for i in range(states)]
        self._limit = longest_text(self.module)

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text its token ids and the 0/1 mask of the tokens that enter the mean (int64, [length]).

        Raises ModelError for a text that gives no token to pool or more than the model has positions for.
        """
        encoded = self.tokenizer(
            list(texts), return_special_tokens_mask=not self.special_tokens, return_attention_mask=False
        )
        rows = encoded["input_ids"]
        lengths = [len(ids) for ids in rows]
        ids = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int64).split(lengths)
        if self.special_tokens:
            pooled = torch.ones(sum(lengths), dtype=torch.int64).split(lengths)
        else:
            special = torch.tensor(list(chain.from_iterable(encoded["special_tokens_mask"])), dtype=torch.int64)
            pooled = (1 - special).split(lengths)
        items = list(zip(ids, pooled, strict=True))
        for text, (tokens, counted) in zip(texts, items, strict=True):
            if not counted.any():
                raise ModelError(f"the tokenizer gives no token for the text {text!r}.")
            if self._limit is not None and len(tokens) > self._limit:
                raise ModelError(f"a text of {len(tokens)} tokens is above the model's {self._limit}: {text[:60]!r}...")
        return items

    def check_texts(self, texts: Sequence[str]) -> TokenizerReport:
        """Prove that texts reach the model through its tokenizer; ModelError where they do not (`prove_tokenizer`)."""
        ids = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return prove_tokenizer(self.tokenizer, texts, ids, scored=False, vocabulary=embedded_tokens(self.module))

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Pooled hidden states, a list of float32 [batch, width], for tokenized texts."""
        lengths = torch.tensor([len(ids) for ids, _ in items], device=self.device)
        ids = pad_sequence([ids for ids, _ in items], batch_first=True).to(self.device)
        mask = pad_sequence([mask for _, mask in items], batch_first=True).to(self.device, torch.float32)
        attention = (torch.arange(ids.shape[1], device=self.device) < lengths[:, None]).long()
        pooled: list[Tensor] = []

        def pool(hidden: Tensor) -> None:
            where = hidden.device
            vectors = pool_text(hidden, mask.to(where), lengths.to(where), self.pooling)
            pooled.append(vectors.to(self.device))

        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            pool(args[0] if args else kwargs["hidden_states"])

        if not self._blocks:
            for state in self.module(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states:
                pool(state)
            return pooled
        with hooked(block.register_forward_pre_hook(take, with_kwargs=True) for block in self._blocks):
            output = self.module(input_ids=ids, attention_mask=attention)
        pool(output.last_hidden_state)
        return pooled


@torch.inference_mode()
def _language_blocks(module: nn.Module, device: str) -> tuple[list[nn.Module], int]:
    """The blocks of a transformers model whose inputs are its hidden states but the last; and how many states it has.

    Which list of modules they are is tried on a short text, since neither its name nor its size tells. The list is
    empty where none is so. Raises ModelError for a model whose states cannot be pooled as one vector a token.
    """
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    seen: list[list[Tensor]] = [[] for _ in lists]

    def note(inputs: list[Tensor]) -> Callable:
        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            given = args[0] if args else kwargs.get("hidden_states")
            if isinstance(given, Tensor):
                inputs.append(given.clone())

        return take

    ids = torch.arange(4, device=device)[None]
    with hooked(
        part.register_forward_pre_hook(note(inputs), with_kwargs=True)
        for parts, inputs in zip(lists, seen, strict=True)
        for part in parts
    ):
        try:
            output = module(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        except TypeError as error:  # code of a repository that knows no such argument, or a library that trips over it
            raise ModelError(
                f"{type(module).__name__} does not give its hidden states ({error}); leave it out."
            ) from error
    states = output.hidden_states or ()
    if not states or any(state.shape[:2] != ids.shape for state in states):
        raise ModelError(
            f"{type(module).__name__} does not give a hidden state for each token and layer; leave it out."
        )
    for parts, inputs in zip(lists, seen, strict=True):
        if _are_alike([*inputs, output.last_hidden_state], states):
            return list(parts), len(states)
    log.info("%s: no blocks have its hidden states as inputs; they are taken as it gives them", type(module).__name__)
    return [], len(states)


def _are_alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and torch.allclose(a.cpu(), b.cpu(), equal_nan=True)
        for a, b in zip(some, others, strict=True)
    )


def longest_text(module: nn.Module) -> int | None:
    """The tokens that a model has positions for; None without a bound. Those of RoBERTa begin after that of padding."""
    limit = getattr(module.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or limit <= 0:
        return None
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return limit - part.padding_idx - 1
    return limit


def embedded_tokens(module: nn.Module) -> int | None:
    """Rows of a model's embeddings of tokens, which ids must lie below; None where it does not tell them."""
    try:
        return module.get_input_embeddings().weight.shape[0]
    except (AttributeError, NotImplementedError):
        return None


def load(entry: Mapping, root: Path | None, device: str, dtype: torch.dtype) -> LanguageEncoder:
    vocabulary = getattr(auto_config(entry, root).get_text_config(), "vocab_size", None)
    tokenizer = load_tokenizer(entry, root, vocabulary=vocabulary)  # first: weights may take long
    model, placed = auto_model(entry, root, device, dtype)
    return LanguageEncoder(
        getattr(model, "language_model", model),
        tokenizer,
        pooling=entry["pooling"],
        special_tokens=entry["special_tokens"],
        device=device,
        dtype=dtype,
        placed=placed,
        parameters=count_parameters(entry, root),
    )
