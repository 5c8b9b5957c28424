"""Every family of vision models that timm, transformers and our registries list, small and with random weights, through our loading.

Each is loaded as an experiment does (with its self-test), and its features are compared with the intermediates or hidden
states that its library hands out, pooled here by hand. Every family ends as one of: equal; refused in one sentence;
unchecked (it loads, and its library hands out nothing to compare with); not built (no small one is known); different;
failed. The last two are faults.

    python -m tests.sweep vision [--slice 1/4] [--library timm|transformers|registries] [--only NAME ...] [--all]
"""

import argparse
import collections
import io
import logging
import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from PIL import Image

from prh.experiment.schema import VisionModel
from prh.models.repositories import ModelError


@dataclass(frozen=True)
class Outcome:
    """How a family fared: ``kind``, and why or how far it was checked."""

    family: str
    kind: str
    reason: str = ""
    seconds: float = 0.0


def entry(model_args=None, **changes):
    """The entry of a vision model; ``model_args`` may hold what an experiment does not let a user set."""
    plain = VisionModel(**{"name": "tried", "modality": "vision", "source": "random", **changes})
    return plain.model_copy(update={"model_args": model_args or {}})


def pictures(count: int = 2) -> list[bytes]:
    """Encoded pictures with structure at every scale, each with its own."""
    encoded = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        pixels = sum(
            np.kron(generator.random((256 // cell, 256 // cell, 3)), np.ones((cell, cell, 1))) for cell in (2, 16, 64)
        )
        stream = io.BytesIO()
        Image.fromarray((pixels * 85).astype(np.uint8)).save(stream, "PNG")
        encoded.append(stream.getvalue())
    return encoded


def same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-3) -> bool:
    """Whether two features are equal up to rounding, relative to their largest value."""
    return ours.shape == theirs.shape and bool(
        (ours - theirs).abs().max() <= tolerance * theirs.abs().max().clamp(min=1e-12)
    )


def by_hand(output, after: int = 0) -> torch.Tensor | None:
    """The mean over the image of an output for square images, told by nothing but squares; None where that fails.

    The two equal axes of a map are the image. Of the tokens as many as make the largest square are; others are first,
    but for the ``after`` last ones.
    """
    tensors = [output] if isinstance(output, torch.Tensor) else [x for x in output if isinstance(x, torch.Tensor)]
    state = next((x.float() for x in tensors if len(x) == 2), None)
    if state is None or state.ndim not in (2, 3, 4):
        return None
    if state.ndim == 2:
        return state
    if state.ndim == 3:
        state = state[:, : state.shape[1] - after]
        places = math.isqrt(state.shape[1]) ** 2
        return state[:, state.shape[1] - places :].mean(1)
    _, a, b, c = state.shape
    if a == b == c or (a != b and b != c):
        return None
    return state.mean((2, 3)) if b == c else state.mean((1, 2))


def hooked_by_hand(encoder, images: torch.Tensor, after: int = 0) -> str:
    """How many of the layers equal a plain hook with pooling by hand; raises AssertionError for one that does not."""
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: outputs.update({name: by_hand(output, after)}))
        for name, module in encoder._layers
    ]
    chosen, encoder.pooling = encoder.pooling, "gap"
    ours = encoder.encode(images)
    encoder.pooling = chosen
    for hook in hooks:
        hook.remove()
    checked = 0
    for name, layer in zip(encoder.layer_names, ours, strict=True):
        if outputs[name] is not None:
            assert same(layer, outputs[name]), (
                f"layer {name}: ours {list(layer.shape)}, by hand {list(outputs[name].shape)}"
            )
            checked += 1
    return f"{checked} of {len(ours)} layers are as pooled by hand"


def attempt(family: str, check) -> Outcome:
    """The outcome of ``check()``, which gives (kind, reason) or raises."""
    started = time.process_time()
    try:
        kind, reason = check()
    except ModelError as error:
        kind, reason = "refused", str(error)
    except Exception as error:
        kind, reason = "failed", f"{type(error).__name__}: {str(error)[:300]}"
    return Outcome(family, kind, reason.replace("\n", " "), time.process_time() - started)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slice", default="1/1", help="which part of how many")
    parser.add_argument("--library", choices=["timm", "transformers", "registries"], help="one only")
    parser.add_argument("--only", nargs="*", help="these families only")
    parser.add_argument("--all", action="store_true", help="timm: each variant in spelling, not only each module")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    outcomes = list(sweep(options.slice, options.library, options.only, every=options.all))
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes)} tried in {seconds:.0f} s of CPU: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    return int(bool(counts["different"] + counts["failed"]))


def sweep(part: str = "1/1", library: str | None = None, only: list[str] | None = None, *, every: bool = False):
    """Outcomes of the families of a part, one at a time, printed as they come."""
    from tests.sweep import vision_timm, vision_transformers

    number, parts = map(int, part.split("/"))
    tasks = []
    if library in (None, "timm"):
        tasks += [(f"timm {name}", vision_timm.check, name) for name in vision_timm.families(every=every)]
    if library in (None, "registries"):
        tasks += [(f"registry {name}", vision_timm.check_registered, name) for name in vision_timm.registered()]
    if library in (None, "transformers"):
        tasks += [(f"transformers {name}", vision_transformers.check, name) for name in vision_transformers.families()]
    if only:
        tasks = [task for task in tasks if task[2] in only]
    for name, check, family in tasks[number - 1 :: parts]:
        outcome = attempt(name, lambda check=check, family=family: check(family))
        print(f"{outcome.kind:9} {outcome.family}: {outcome.reason} ({outcome.seconds:.1f} s)", flush=True)
        yield outcome
