"""Language models of the idealised world: small causal transformers, trained from scratch on walks in words.

They are saved as Hugging Face folders, so that they are loaded in the same way as published models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from prh.io import files, text_files
from prh.world import training
from prh.world.idealised import IdealisedWorld

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

    from prh.experiment.schema import LanguageModel

LANGUAGE_ARCHITECTURES = ("gpt2", "llama")

_PADDING, _START, _UNKNOWN = "<pad>", "<s>", "<unk>"


def train(world: IdealisedWorld, folder: Path, entry: LanguageModel, keep: Mapping[int, Path] | None = None) -> None:
    """Train the model of an entry: see `train_language`."""
    train_language(world, folder, **entry.training.model_dump(), stop=entry.step, keep=keep)


def train_language(
    world: IdealisedWorld,
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
    stop: int | None = None,
    keep: Mapping[int, Path] | None = None,
) -> Path:
    """Train a causal language model on walks in words; save it and its tokeniser as a Hugging Face folder.

    Half of the sequences begin with the start token; the others begin in the middle of a walk, as captions do.

    Parameters
    ----------
    world
        The world to learn.
    out_dir
        Created when training is finished. Until then ``{out_dir}.part`` contains a checkpoint: a call with the same
        arguments resumes from it and ends with the same weights; a call with other arguments starts over.
    architecture
        "gpt2" or "llama", built by transformers.
    width, depth, heads
        Dimensions of the transformer; ``width`` must be a multiple of ``heads``.
    steps, batch, context, learning_rate
        ``steps`` of AdamW on ``batch`` sequences of ``context`` words; the learning rate warms up, then decays to 0.
    density
        Density of the captions: see :meth:`prh.world.idealised.IdealisedWorld.captions`.
    seed
        Seed of the weights, walks and batches. Models with the same seed but other settings still start from different
        weights.
    checkpoint_every
        Number of steps between checkpoints from which to resume.
    stop
        End after so many of the ``steps``, with the weights that the whole training has there (None: at its end).
    keep
        Folders where the weights of some steps are saved on the way, by step.

    Returns
    -------
    Path
        ``out_dir``, for ``AutoModelForCausalLM`` and ``AutoTokenizer``.

    Raises
    ------
    ValueError
        If an argument is out of range or the loss is not finite.
    """
    settings = {**locals(), "learner": "language"}
    if architecture not in LANGUAGE_ARCHITECTURES:
        raise ValueError(
            f"language architecture is {architecture!r}; it must be one of {', '.join(LANGUAGE_ARCHITECTURES)}."
        )
    training.require_positive(
        width=width, depth=depth, heads=heads, steps=steps, batch=batch, learning_rate=learning_rate
    )
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads; change one of them.")
    if not 2 <= context < training.EXPERIENCE[1]:
        raise ValueError(f"context is {context}; it must be from 2 to {training.EXPERIENCE[1] - 1} words.")

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # pointless for saving a few kilobytes
    tokenizer = _word_tokenizer(world, context)
    config = _language_config(tokenizer, architecture, width, depth, heads, context)
    settings = training.settings_of(settings)
    with training.seeded(training.weight_seed(settings)):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    lines = text_files.split_lines(world.text(*training.EXPERIENCE, density=density, seed=seed))
    # with density > 1 an event has several words, so lines differ in length: cut them to the shortest
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
        return training.train(model, loss, save, Path(out_dir), settings, checkpoint_every, stop, keep)


def _word_tokenizer(world: IdealisedWorld, context: int) -> PreTrainedTokenizerFast:
    """A tokeniser with one token per word and no special tokens added, so that captions consist of their words only."""
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
        no_dropout = {
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }  # training data is unlimited, so no regularisation is needed
        return GPT2Config(n_embd=width, n_layer=depth, n_head=heads, n_positions=context, **no_dropout, **common)
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=context,
        **common,
    )
