"""Language models of the idealised world: small causal transformers, trained from scratch on walks told in words.

They are saved in the form in which published models come, a Hugging Face folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from prh.io import files, text_files
from prh.world import training
from prh.world.idealised import World

# It takes seconds to import.
if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

LANGUAGE_ARCHITECTURES = ("gpt2", "llama")

_PADDING, _START, _UNKNOWN = "<pad>", "<s>", "<unk>"


def train_language(
    world: World,
    out_dir: str | Path,
    *,
    architecture: str = "gpt2",
    width: int = 32,
    depth: int = 2,
    heads: int = 2,
    steps: int = 200,
    batch: int = 64,
    context: int = 32,
    learning_rate: float = 3e-3,
    density: float = 1.0,
    seed: int = 0,
    checkpoint_every: int = 100,
) -> Path:
    """Train a causal language model on walks told in words; save it and its tokeniser as a Hugging Face folder.

    Half of the sequences open with the start token; half begin in the middle of a walk, as captions do.

    Parameters
    ----------
    world
        What there is to learn.
    out_dir
        Appears when training is finished. Until then ``{out_dir}.part`` holds a checkpoint: a call with the same
        arguments goes on from it and ends with the same weights, a call with others starts anew.
    architecture
        "gpt2" or "llama", built by transformers.
    width, depth, heads
        Of the transformer; ``heads`` divides ``width``.
    steps, batch, context, learning_rate
        ``steps`` of AdamW on ``batch`` sequences of ``context`` words; the rate warms up, then falls to 0.
    density
        How events are told: see :meth:`prh.world.idealised.World.captions`.
    seed
        Of the weights, the walks and the batches. With one seed, learners of different settings still begin with
        different weights.
    checkpoint_every
        Steps between checkpoints.

    Returns
    -------
    ``out_dir``, which ``AutoModelForCausalLM`` and ``AutoTokenizer`` load.
    """
    settings = {**locals(), "learner": "language"}
    if architecture not in LANGUAGE_ARCHITECTURES:
        raise ValueError(f"language architecture is {architecture!r}; give one of {', '.join(LANGUAGE_ARCHITECTURES)}.")
    training.require_positive(
        width=width, depth=depth, heads=heads, steps=steps, batch=batch, learning_rate=learning_rate
    )
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads; change one of them.")
    if not 2 <= context < training.EXPERIENCE[1]:
        raise ValueError(f"context is {context}; give from 2 to {training.EXPERIENCE[1] - 1} words.")

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # saving a few kilobytes is no news
    tokenizer = _word_tokenizer(world, context)
    config = _language_config(tokenizer, architecture, width, depth, heads, context)
    settings = training.settings_of(settings)
    with training.seeded(training.weight_seed(settings)):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    lines = text_files.split_lines(world.text(*training.EXPERIENCE, density=density, seed=seed))
    # told at length (density > 1), an event has more words than one: cut to the shortest line
    encoded = [line.ids for line in tokenizer.backend_tokenizer.encode_batch(lines)]
    length = min(map(len, encoded))
    tokens = torch.tensor([ids[:length] for ids in encoded])

    def loss(rng: torch.Generator) -> torch.Tensor:
        walk = torch.randint(len(tokens), (batch, 1), generator=rng)
        first = torch.randint(length - context + 1, (batch, 1), generator=rng)
        words = tokens[walk, first + torch.arange(context)]
        opened = torch.rand(batch, generator=rng) < 0.5
        words[opened] = F.pad(words[opened, :-1], (1, 0), value=tokenizer.bos_token_id)
        logits = model(input_ids=words, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    with files.making(out_dir):
        return training.train(model, loss, save, Path(out_dir), settings, checkpoint_every)


def _word_tokenizer(world: World, context: int) -> PreTrainedTokenizerFast:
    """One token per word. It adds nothing to a text, so the features of a caption are of its words alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [_PADDING, _START, _UNKNOWN, *world.vocabulary]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": _START, "eos_token": _START, "pad_token": _PADDING, "unk_token": _UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **special)


def _language_config(
    tokenizer: PreTrainedTokenizerFast, architecture: str, width: int, depth: int, heads: int, context: int
) -> PretrainedConfig:
    from transformers import GPT2Config, LlamaConfig

    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    common = {"vocab_size": len(tokenizer), "tie_word_embeddings": True, **special}
    if architecture == "gpt2":
        no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # a world without end needs none
        return GPT2Config(n_embd=width, n_layer=depth, n_head=heads, n_positions=context, **no_dropout, **common)
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=context,
        **common,
    )
