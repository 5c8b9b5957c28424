"""Language: texts in, one pooled vector per hidden state out.

The layers are Hugging Face's hidden states: the embeddings, the output of every block but the last, and the last one
after the final norm. Hooks pool each state as soon as it is computed, so that the full stack never exists. Some models
(Mamba, RWKV, SqueezeBERT) return other states or have no blocks to hook. Their states are taken as the library returns
them, hidden_state_0 and on, all states of a batch at once.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from prh.models import text_checks, tokenizer_files, tokenizer_proofs
from prh.models.hooks import hooked
from prh.models.loading import (
    count_parameters,
    explained,
    in_short,
    load_auto,
    parameter_count,
    without_decoder,
)
from prh.models.repositories import ModelError
from prh.models.selftest import SelfTest
from prh.models.weights import input_embeddings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prh.experiment.schema import LanguageModel

log = logging.getLogger(__name__)

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Keys of configurations for the number of tokens that a model has positions for."""
_TRIED = 7
"""Tokens of the text on which blocks are identified: not a multiple of a window to which a model may pad its input."""
_TEXT_PARTS = ("language_model", "text_model", "text_encoder", "text_backbone", "text_tower")
"""Names of the text tower in models of text and something else."""


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

    Tokens are padded on the right whatever the tokenizer prefers. In causal models the real tokens then never see
    padding and keep their positions, and in encoders the attention mask hides it, so a feature does not depend on its
    batch. If it still does, ``batching`` says which texts may share a batch. ``limit``: number of tokens that the model
    has positions for (None: no bound). ``vocabulary``: number of ids that it has vectors for (None: unknown).
    ``placed``: whether the module is on its devices already; on several, each hidden state is pooled where it is.
    ``parameters``: their number, if the module's own are not to be counted. ``name``: the model's, for messages.
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
        name: str = "",
    ) -> None:
        self.name = name
        self.parameters = parameter_count(module) if parameters is None else parameters
        self.module = module.eval() if placed else module.eval().to(device=device, dtype=dtype)
        self.tokenizer, self.pooling, self.special_tokens, self.device = tokenizer, pooling, special_tokens, device
        self.dtype = dtype
        self.batching: text_checks.Batching = "padded"
        self.selftest = SelfTest()
        self._is_masked = _takes(self.module, "attention_mask")
        self._blocks, states = _language_blocks(self.module, device)
        self.limit, self.vocabulary = longest_text(self.module), vocabulary_size(self.module)
        if self._blocks:
            self.layer_names = ["embeddings", *(f"block_{i}" for i in range(1, states - 1)), "last_hidden_state"]
        else:
            self.layer_names = [f"hidden_state_{i}" for i in range(states)]

    def tokenize(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """For each text its token ids and the 0/1 mask of the tokens that enter the mean (int64, [length]).

        Raises ModelError if a text gives no token to pool, more tokens than the model has positions for, or an id that
        it has no vector for.
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
            if self.limit is not None and len(tokens) > self.limit:
                raise ModelError(
                    f"a text has {len(tokens)} tokens and the model takes at most {self.limit}: {text[:60]!r}..."
                )
            if self.vocabulary is not None and int(tokens.max()) >= self.vocabulary:
                raise ModelError(
                    f"the tokenizer gives token {int(tokens.max())} for the text {text[:60]!r} and the model has "
                    f"vectors for {self.vocabulary}: it is the tokenizer of another model."
                )
        return items

    def prove_tokens(self, texts: Sequence[str], items: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Prove that the tokenizer knows ``texts`` and tells them apart, as `prh.models.tokenizer_proofs` does."""
        tokenizer_proofs.prove(self.tokenizer, texts, [ids.tolist() for ids, _ in items], self.name)

    @torch.inference_mode()
    def encode(self, items: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Pooled hidden states of tokenized texts, a list of float32 [batch, width] per layer."""
        lengths = torch.tensor([len(ids) for ids, _ in items], device=self.device)
        ids = pad_sequence([ids for ids, _ in items], batch_first=True).to(self.device)
        mask = pad_sequence([mask for _, mask in items], batch_first=True).to(self.device, torch.float32)
        inputs = {"input_ids": ids}
        if self._is_masked:
            inputs["attention_mask"] = (torch.arange(ids.shape[1], device=self.device) < lengths[:, None]).long()
        pooled: list[Tensor] = []

        def pool(hidden: Tensor) -> None:
            if hidden.shape[1] != ids.shape[1]:
                raise ModelError(
                    f"{type(self.module).__name__} gives hidden states of {hidden.shape[1]} tokens for {ids.shape[1]} "
                    "(it pads texts of some lengths itself); leave it out."
                )
            device = hidden.device
            vectors = pool_text(hidden, mask.to(device), lengths.to(device), self.pooling)
            pooled.append(vectors.to(self.device))

        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            pool(args[0] if args else kwargs["hidden_states"])

        if not self._blocks:
            for state in self.module(**inputs, output_hidden_states=True).hidden_states:
                pool(state)
            return pooled
        with hooked(block.register_forward_pre_hook(take, with_kwargs=True) for block in self._blocks):
            output = self.module(**inputs)
        pool(output.last_hidden_state)
        return pooled


@torch.inference_mode()
def _language_blocks(module: nn.Module, device: str) -> tuple[list[nn.Module], int]:
    """The blocks of a transformers model whose inputs are all hidden states but the last, and the number of states.

    Neither the name nor the length of a module list tells which one holds the blocks, so each is tried on a short text.
    The result is empty if none fits. Raises ModelError if the model does not return a vector per token and state.
    """
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    seen: list[list[Tensor]] = [[] for _ in lists]

    def note(inputs: list[Tensor]) -> Callable:
        def take(_module: nn.Module, args: tuple, kwargs: Mapping) -> None:
            hidden = args[0] if args else kwargs.get("hidden_states")
            if isinstance(hidden, Tensor):
                inputs.append(hidden.clone())

        return take

    if needed := _needed(module) - {"input_ids"}:
        raise ModelError(
            f"{type(module).__name__} cannot read texts alone (it also needs {', '.join(needed)}); leave it out."
        )
    ids = torch.arange(_TRIED, device=device)[None]
    inputs = {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if _takes(module, "attention_mask") else {})
    with hooked(
        part.register_forward_pre_hook(note(inputs), with_kwargs=True)
        for parts, inputs in zip(lists, seen, strict=True)
        for part in parts
    ):
        try:
            output = module(**inputs, output_hidden_states=True)
        except (torch.OutOfMemoryError, ModelError):
            raise
        except Exception as error:  # the model's code may not know an argument, or need other or longer input
            advice = "leave it out" if _is_float32(module) else "try 'dtype: float32', or leave it out"
            raise ModelError(
                f"{type(module).__name__} does not give its hidden states for a text ({in_short(error)[:-1]}); "
                f"{advice}."
            ) from error
    states = getattr(output, "hidden_states", None) or ()
    if not states or any(state.ndim != 3 or state.shape[:2] != ids.shape for state in states):
        raise ModelError(
            f"{type(module).__name__} does not give a hidden state [width] for each token and layer; leave it out."
        )
    for parts, inputs in zip(lists, seen, strict=True):
        if _are_alike([*inputs, output.last_hidden_state], states):
            return list(parts), len(states)
    log.info("%s: no list of blocks takes its hidden states; they are used as returned", type(module).__name__)
    return [], len(states)


def _are_alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(
        a.shape == b.shape and torch.allclose(a.cpu(), b.cpu(), equal_nan=True)
        for a, b in zip(some, others, strict=True)
    )


def _takes(module: nn.Module, argument: str) -> bool:
    """Whether the module can be called with an argument of that name."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters)


def _needed(module: nn.Module) -> set[str]:
    """The arguments without which the module cannot be called."""
    parameters = inspect.signature(module.forward).parameters.values()
    return {p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _is_float32(module: nn.Module) -> bool:
    return all(parameter.dtype == torch.float32 for parameter in module.parameters())


def vocabulary_size(module: nn.Module) -> int | None:
    """The number of ids that a model has vectors for; None if it does not look them up in one table."""
    weight = getattr(input_embeddings(module), "weight", None)
    return len(weight) if isinstance(weight, Tensor) and weight.ndim == 2 else None


def text_part(model: nn.Module) -> nn.Module:
    """The part of a transformers model that reads text: its encoder, its text tower, or all of it."""
    part = without_decoder(model)
    for name in _TEXT_PARTS:
        if isinstance(tower := getattr(part, name, None), nn.Module):
            log.info("using the part %s of %s", name, type(model).__name__)
            return text_part(tower) if hasattr(tower, "config") else tower
    if getattr(part, "get_output_embeddings", lambda: None)() is None:
        return part
    headless = getattr(part, "base_model", part)  # a few models name it wrongly and return themselves
    return getattr(part, "model", part) if headless is part else headless


def longest_text(module: nn.Module) -> int | None:
    """The number of tokens that a model has positions for; None if there is no bound.

    Positions of RoBERTa start after the padding index, which leaves fewer than its configuration says.
    """
    config = getattr(module, "config", None)  # the encoder of a pair may have no configuration of its own
    named = [] if config is None else [getattr(config.get_text_config(), name, None) for name in _POSITIONS]
    limit = next((value for value in named if isinstance(value, int)), None)
    if limit is None or limit <= 0:
        return None
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            return limit - part.padding_idx - 1
    return limit


def load_tokenizer(
    entry: LanguageModel, root: str | Path | None, *, texts: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """The tokenizer of a transformers entry, from its folder, proved on ``texts`` (`prh.models.tokenizer_files`)."""
    folder = Path(root or entry.path)
    with explained(entry.name, root):
        return tokenizer_files.load(folder, entry.name, trust_remote_code=entry.trust_remote_code, texts=texts)


def load(entry: LanguageModel, root: Path | None, device: str, dtype: torch.dtype) -> LanguageEncoder:
    """The encoder of a language entry, self-tested, with weights from ``root`` (None: random weights).

    Raises ModelError if files are missing or damaged, or the model fails its self-test.
    """
    loaded = load_auto(entry, root, device, dtype)
    encoder = LanguageEncoder(
        text_part(loaded.model),
        load_tokenizer(entry, root),
        pooling=entry.pooling,
        special_tokens=entry.special_tokens,
        device=device,
        dtype=dtype,
        placed=loaded.placed,
        parameters=count_parameters(entry, root),
        name=entry.name,
    )
    if not entry.selftest:
        encoder.selftest = SelfTest.left_out()
        return encoder
    encoder.selftest, encoder.batching = text_checks.prove_encoder(encoder, loaded, entry)
    return encoder
