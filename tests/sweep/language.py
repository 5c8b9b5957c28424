"""Every architecture family of text that transformers lists, small and with random weights, through our loading.

Each is saved, loaded as an experiment does (with its self-test), and its features are compared with the hidden states
of the saved model, text by text; it is loaded for scoring too. Every family ends as one of: equal, refused in one
sentence, not built (no small configuration is known), different or failed. The last two are faults.
"""

import argparse
import collections
import logging
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from prh import modalities
from prh.competence import causal_models
from prh.modalities import language
from prh.modalities.language import text_part
from prh.models.repositories import ModelError
from prh.models.selftest import distance
from prh.models.text_checks import NotCausal
from tests.small_models import entry, tokenizer
from tests.sweep.shrinking import shrunken

LISTS = (
    *("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "TEXT_ENCODING", "QUESTION_ANSWERING"),
    *("SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION", "IMAGE_TEXT_TO_TEXT", "ZERO_SHOT_IMAGE_CLASSIFICATION"),
    "MULTIPLE_CHOICE",
)
NO_MASK = {"fnet"}
"""Families whose forward pass takes no attention mask."""
PARAMETERS = 20_000_000
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(76))]
TEXTS = ["w1 w2 w3", " ".join(f"w{i}" for i in range(10, 30)), "w40 w3 w8 w9 w70", "w50 w51"]


@dataclass(frozen=True)
class Outcome:
    """How a family fared: ``kind`` and, unless equal, why; ``scored`` says the same of its language-model head."""

    family: str
    kind: str
    reason: str = ""
    batching: str = ""
    scored: str = ""


def families() -> list[str]:
    """The names of all families in the lists of transformers that are about text and have a headless model."""
    from transformers.models.auto import modeling_auto

    listed = {name for kind in LISTS for name in getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES")}
    return sorted(listed & set(modeling_auto.MODEL_MAPPING_NAMES))


VARIANTS: tuple[dict, ...] = (
    {},
    {"hidden_size": 512, "head_dim": 128},
    {"head_dim": 4},
    {"num_key_value_heads": 4, "num_layers": 4},
)
"""Sizes that are tried in turn until a small model of a family can be built and run."""


def built(family: str) -> torch.nn.Module:
    """A small model of ``family`` with random weights, with its language-model head where there is such a class."""
    import transformers

    problem: Exception | None = None
    for others in VARIANTS:
        try:
            config = shrunken(transformers.CONFIG_MAPPING[family], family, **others)
            has_head = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder
            model = _model(transformers.AutoModelForCausalLM if has_head else transformers.AutoModel, config)
            if type(model.config) is not type(config):  # the class of the text part alone
                model = _model(transformers.AutoModel, config)
            with torch.inference_mode():
                text_part(model)(input_ids=torch.arange(4)[None])
            return model
        except Exception as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _model(auto: type, config) -> torch.nn.Module:
    with torch.device("meta"):
        size = sum(p.numel() for p in auto.from_config(config).parameters())
    if size > PARAMETERS:
        raise ValueError(f"{size:,} parameters")
    torch.manual_seed(0)
    model = auto.from_config(config).eval()
    for name, parameter in model.named_parameters():  # far from the small numbers of an initialisation
        if parameter.ndim > 1 and "position" not in name:  # which may be computed
            parameter.data.mul_(4)
    return model


def attempt(family: str, folder: Path) -> Outcome:
    """Build ``family``, save it, load it our way and compare."""
    try:
        built(family).save_pretrained(folder)
    except Exception as error:
        return Outcome(family, "not built", _short(error))
    with mock.patch.object(language, "load_tokenizer", return_value=tokenizer(WORDS)):  # models are tried here
        return _loaded(family, folder)


def _loaded(family: str, folder: Path) -> Outcome:
    try:
        encoder = modalities.load(entry(folder, name=family), folder)
    except ModelError as error:
        return Outcome(family, "refused", str(error), scored=_scored(family, folder))
    except Exception as error:
        return Outcome(family, "failed", _short(error))
    return _compared(family, encoder, _scored(family, folder))


def _compared(family: str, encoder, scored: str) -> Outcome:
    """Our features of texts in the batches that are allowed, against hidden states of each text alone."""
    from prh.modalities.text_batches import encode_texts

    ours = [torch.from_numpy(layer) for layer in encode_texts(encoder, TEXTS)]
    farthest = 0.0
    with torch.inference_mode():
        for row, (ids, _) in enumerate(encoder.tokenize(TEXTS)):
            mask = {} if family in NO_MASK else {"attention_mask": torch.ones_like(ids)[None]}
            states = encoder.module(input_ids=ids[None], **mask, output_hidden_states=True).hidden_states
            if len(states) != len(ours):
                return Outcome(family, "different", f"{len(ours)} layers, not {len(states)}", encoder.batching, scored)
            farthest = max(farthest, distance([s[0].mean(0) for s in states], [layer[row] for layer in ours]))
    if all(distance([layer[:1]], [layer[1:2]]) == 0 for layer in ours):
        return Outcome(family, "different", "no layer tells texts apart", encoder.batching, scored)
    kind = "equal" if farthest < 1e-4 else "different"
    return Outcome(family, kind, f"by {farthest:.1e}", encoder.batching, scored)


def _scored(family: str, folder: Path) -> str:
    """Whether the folder is scored as a language model, or why not."""
    try:
        loaded = causal_models.load_causal(entry(folder, name=family), folder)
    except NotCausal:
        return "not causal"
    except ModelError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"failed: {_short(error)}"
    return "causal" if loaded.batching == "padded" else "causal, alone"


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:160]}".replace("\n", " ")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep language", description=__doc__)
    parser.add_argument("--slice", default="1/1", help="which part of the families to try, as 2/4")
    parser.add_argument("--only", nargs="*", help="names of families")
    parser.add_argument("--quiet", action="store_true", help="the count only")
    options = parser.parse_args(arguments)
    part, parts = map(int, options.slice.split("/"))
    outcomes = sweep(options.only or families()[part - 1 :: parts], shown=not options.quiet)
    print(summary(outcomes))


def sweep(names: list[str], *, shown: bool = False) -> list[Outcome]:
    """The outcome of every family in ``names``."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    outcomes = []
    try:
        for name in names:
            folder = Path(tempfile.mkdtemp())
            start = time.monotonic()
            try:
                outcomes.append(attempt(name, folder / "model"))
            finally:
                shutil.rmtree(folder)
            if shown:
                done = outcomes[-1]
                reason = done.reason.replace(str(folder), "")[:200]
                took = time.monotonic() - start
                print(
                    f"{name:28} {took:4.1f} s  {done.kind:9} {done.batching:7} [{done.scored[:150]}] {reason}",
                    flush=True,
                )
    finally:
        logging.disable(logging.NOTSET)
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """How many families were tried and how they fared."""
    kinds = collections.Counter(outcome.kind for outcome in outcomes)
    batches = collections.Counter(outcome.batching for outcome in outcomes if outcome.batching)
    scored = collections.Counter(outcome.scored.split(":")[0] for outcome in outcomes if outcome.scored)
    return "\n".join(
        f"{title}: {', '.join(f'{count} {name}' for name, count in counts.most_common())}"
        for title, counts in (
            (f"{len(outcomes)} families", kinds), ("batches", batches), ("as language models", scored)
        )
    )  # fmt: skip
