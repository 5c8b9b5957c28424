"""What a language model has to prove: how texts may share a batch, which layers tell texts apart, that it is causal.

Everything is tried on a few short texts; `prh.models.selftest` defines what counts as equal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from prh.models import weights
from prh.models.hooks import hooked
from prh.models.repositories import ModelError
from prh.models.selftest import SAME_SHAPE, SelfTest, distance, prove_repeatable, rounding

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel
    from prh.modalities.language import LanguageEncoder
    from prh.models.loading import Loaded

log = logging.getLogger(__name__)

Batching = Literal["padded", "equal", "single"]
"""How texts may share a batch without changing each other: padded, only with equal lengths, or not at all."""
Item = tuple[Tensor, Tensor]

_SAME = 1e-6
"""Largest distance of two vectors in one batch that count as the same."""
LONG = 160
"""Number of tokens in the longest text that is tried."""
_SENTENCES = (
    "A dog runs.",
    "Two children in red coats are playing with a ball on the green grass near the lake.",
    "The old man reads a newspaper.",
    "People walk along a crowded street in the rain, some of them under black umbrellas.",
    "A plate with bread and cheese.",
    "Snow lies on the roof of a small wooden house between high mountains.",
    "She sings.",
    "A white boat and two swimmers cross the bay at sunset while gulls circle above the pier.",
)
_SHARED = {
    "padded": "a text alone equals the same text padded in a batch",
    "equal": "padding changes a text, so batches are cut to equal lengths",
    "single": "the other texts of a batch change a text, so each is run alone",
}


# ---- features -------------------------------------------------------------------------------------------------


def prove_encoder(encoder: LanguageEncoder, loaded: Loaded, entry: LanguageModel) -> tuple[SelfTest, Batching]:
    """The self-test of a text encoder, run before it encodes anything, and how texts may share its batches.

    Raises ModelError if a weight did not come from the checkpoint, or two passes differ.
    """
    start = time.monotonic()
    name = entry.name
    items = probe_items(encoder, entry.template)
    tolerance = rounding(encoder.dtype, quantised=entry.quantisation is not None)
    short = items[:1]
    results = {"weights": weights.prove(loaded.report, encoder.module, lambda: encoder.encode(short), name)}
    alone = prove_repeatable(lambda: encoder.encode(short), name, tolerance)
    results["two passes"] = "equal"
    batching, together = _shares_batches(encoder.encode, items, alone, encoder.limit, tolerance)
    results["batches"] = _batching_in_words(batching, name)
    if same := _constant_layers(together, encoder.layer_names):
        results["layers that are equal for all texts"] = ", ".join(same)
        log.warning("model %s: layers that are equal for all texts tried: %s", name, ", ".join(same))
    return SelfTest(results, time.monotonic() - start), batching


def _batching_in_words(batching: Batching, name: str) -> str:
    """How texts may share a batch, for the log and the footer; logs a warning if texts may not be padded."""
    if batching != "padded":
        log.warning("model %s: %s", name, _SHARED[batching])
    return _SHARED[batching]


def _shares_batches(
    encode: Callable[[Sequence[Item]], Sequence[Tensor]],
    items: Sequence[Item],
    alone: Sequence[Tensor],
    limit: int | None,
    tolerance: float,
) -> tuple[Batching, list[Tensor]]:
    """How texts may share a batch, and the layers of a batch that they share.

    ``alone`` is the first of ``items`` encoded alone; in a batch that may be shared it stays the same.
    """
    together = list(encode(items))
    far = encode([items[0], _long(items[-1], limit)])  # some models approximate attention only for long texts
    if all(distance(alone, [layer[:1] for layer in layers]) <= tolerance for layers in (together, far)):
        return "padded", together
    length = len(items[0][0])
    together = list(encode([_cut(item, length) for item in items if len(item[0]) >= length]))
    return "equal" if distance(alone, [layer[:1] for layer in together]) <= tolerance else "single", together


def _cut(item: Item, length: int) -> Item:
    """The first tokens of a text; if the mask has none of them for the mean, all of them enter it."""
    ids, mask = (part[:length] for part in item)
    return ids, mask if mask.any() else torch.ones_like(mask)


def _long(item: Item, limit: int | None) -> Item:
    """The text repeated to LONG tokens, or to as many as the model has positions for."""
    length = min(LONG, limit or LONG)
    ids, mask = (part.repeat(-(-length // len(part)))[:length] for part in item)
    return ids, mask


def _constant_layers(together: Sequence[Tensor], names: Sequence[str]) -> list[str]:
    """Names of the layers that give the same vector for every text in a batch."""
    return [
        name
        for layer, name in zip(together, names, strict=True)
        if len(layer) > 1 and distance([layer], [layer[:1].expand_as(layer)]) <= _SAME
    ]


def probe_items(encoder: LanguageEncoder, template: str = "{caption}") -> list[Item]:
    """Tokenized texts of several lengths, shortest first, in the prompt ``template`` of the entry.

    If the tokenizer knows too few of their words, as the idealised world's does, the ids are drawn at random.
    """
    longest = encoder.limit or 64
    try:
        items = encoder.tokenize([template.format(caption=text) for text in _SENTENCES])
    except ModelError:
        items = []
    items = sorted((_cut(item, longest) for item in items), key=lambda item: len(item[0]))
    if items and len(items[0][0]) < len(items[-1][0]) and len(torch.cat([ids for ids, _ in items]).unique()) > 3:
        return items
    rows = random_ids(encoder.vocabulary or 100, max(2, min(24, longest)))
    return [(ids, torch.ones_like(ids)) for ids in rows]


def random_ids(vocabulary: int, longest: int) -> list[Tensor]:
    """Eight rows of random ids below ``vocabulary``, of 1/3 of ``longest`` up to ``longest`` tokens, shortest first."""
    generator = torch.Generator().manual_seed(0)
    first = min(3, vocabulary - 1)  # most vocabularies begin with padding, BOS and EOS
    lengths = sorted(max(1, round(longest * (1 / 3 + 2 / 3 * i / 7))) for i in range(8))
    return [torch.randint(first, vocabulary, (length,), generator=generator) for length in lengths]


# ---- scores ---------------------------------------------------------------------------------------------------


_ORDER = {"causal": "a later token changes no earlier prediction", "two passes": "equal"}
"""Results of `_prove_order`, in words."""


class NotCausal(ModelError):
    """A model whose prediction of a token sees that token or later ones, so that it cannot be scored."""


def prove_causal(
    loaded: Loaded, entry: LanguageModel, dtype: torch.dtype, longest: int, vocabulary: int
) -> tuple[SelfTest, Batching]:
    """The self-test of a model whose predictions are scored, and how texts may share its batches.

    longest: the number of tokens that it has positions for. That the model is causal is proved even with ``selftest:
    false``, because bits per byte of any other model mean nothing. Raises NotCausal if a prediction sees later tokens,
    and ModelError if the head or another weight did not come from the checkpoint, or two passes differ.
    """
    start = time.monotonic()
    model, name = loaded.model, entry.name
    rows = random_ids(vocabulary, max(2, min(24, longest)))
    tolerance = rounding(dtype, quantised=entry.quantisation is not None)
    hint = "; a model that was saved without its language-model head needs 'causal: false'"
    if not entry.selftest:
        _prove_order(model, rows[-1], name, tolerance)
        left_out = "by selftest: false of the entry, but for what follows"
        return SelfTest({"left out": left_out, **_ORDER}, time.monotonic() - start), "padded"
    with torch.inference_mode():
        _prove_order(model, rows[-1], name, tolerance)
        proved = weights.prove(loaded.report, model, lambda: [logits_of(model, rows[-1:])], name, hint=hint)
        alone = logits_of(model, rows[:1])
        together = logits_of(model, rows)[:1, : len(rows[0])]
    batching: Batching = "padded" if distance([alone], [together]) <= tolerance else "single"
    results = {"weights": proved, **_ORDER, "batches": _batching_in_words(batching, name)}
    return SelfTest(results, time.monotonic() - start), batching


def _prove_order(model: nn.Module, ids: Tensor, name: str, tolerance: float) -> None:
    """Prove that two passes are equal and that no prediction sees later tokens; raises like `prove_causal`."""
    with torch.inference_mode():
        whole = prove_repeatable(lambda: [logits_of(model, [ids])], name, tolerance)
        refuse_later_tokens(model, ids, whole[0], name, tolerance)


def refuse_later_tokens(model: nn.Module, ids: Tensor, logits: Tensor, name: str, tolerance: float) -> None:
    """Raise NotCausal if replacing a token at the end or in the middle of ``ids`` changes an earlier prediction.

    A change within rounding counts only if the earlier predictions have a gradient with respect to the later token.
    Mixtures of experts round differently with other tokens beside them and have none, whereas an untrained 16-bit
    encoder sees every token a little.
    """
    low, high = int(ids.min()), int(ids.max())
    for position in {len(ids) - 1, max(1, len(ids) // 2)}:
        other = ids.clone()
        other[position] = low if ids[position] != low else high
        changed = logits_of(model, [other])
        apart = distance([logits[:, :position]], [changed[:, :position]])
        if apart > min(tolerance, SAME_SHAPE) or (apart > 0 and _sees(model, ids, position)):
            raise NotCausal(
                f"model {name!r} ({type(model).__name__}) is not a causal language model: replacing token {position} "
                f"changes its earlier predictions by {apart:.2g}; set 'causal: false'."
            )


def _sees(model: nn.Module, ids: Tensor, position: int) -> bool:
    """Whether a prediction before ``position`` has a gradient with respect to a token from there on.

    False if no gradient can be computed (weights offloaded to disk, kernels without a backward pass).
    """
    gradients = _gradients(model, ids, position)
    return gradients is not None and bool((gradients[position:] != 0).any())


def _gradients(model: nn.Module, ids: Tensor, position: int) -> Tensor | None:
    """Gradient [tokens, width] of the predictions before ``position`` in each token's embedding; None if there is none.

    It is exactly zero for masked tokens, in every precision.
    """
    embedded: list[Tensor] = []

    def take(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().clone().requires_grad_())
        return embedded[-1]

    table = weights.input_embeddings(model)
    if table is None:
        return None
    with torch.inference_mode(mode=False), torch.enable_grad(), hooked([table.register_forward_hook(take)]):
        try:
            early = logits_of(model, [ids.clone()])[:, :position].float()
            # weighted, because gradients may cancel in the plain sum
            mixed = (early * torch.linspace(0.5, 1.5, early.numel(), device=early.device).view_as(early)).sum()
            return torch.autograd.grad(mixed, embedded[0])[0][0].nan_to_num()
        except (RuntimeError, NotImplementedError) as error:
            log.debug("no gradient can be computed", exc_info=error)
            return None


def logits_of(model: nn.Module, rows: Sequence[Tensor]) -> Tensor:
    """Logits [batch, tokens, vocabulary] for rows of ids, padded on the right."""
    ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(model.device)
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    attention = (torch.arange(ids.shape[1], device=model.device) < lengths[:, None]).long()
    return model(input_ids=ids, attention_mask=attention, use_cache=False).logits
