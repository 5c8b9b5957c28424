"""What a model has to prove when it is loaded, before any features or scores are computed.

`SelfTest` holds the results, for the log and for the footer of the table. The checks here need nothing but a function
that runs the model, so that every modality can use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from prh.models.repositories import ModelError

Pass = Callable[[], Sequence[Tensor]]
"""One pass of the model over fixed inputs: returns its features, one tensor per layer, or its logits."""

ROUNDING = {torch.float32: 5e-5, torch.float64: 5e-5, torch.float16: 0.02, torch.bfloat16: 0.06}
"""Largest `distance` of two results that rounding alone explains. The rounding of one operation (1e-7, 5e-4 and 4e-3)
accumulates over some hundred operations; attended padding, dropout or a random mask gives 0.01 to 1."""
QUANTISED = 0.1
"""The same for weights of 4 or 8 bits, whose activations are rounded depending on the rest of the batch."""
SAME_SHAPE = 0.01
"""Upper bound of the same for two inputs of one shape, whose sums are computed in the same order."""


@dataclass(frozen=True)
class SelfTest:
    """The results of a model's self-test, in words, by check."""

    results: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", MappingProxyType(dict(self.results)))

    @classmethod
    def left_out(cls) -> SelfTest:
        """The result for a model whose entry says ``selftest: false``."""
        return cls({"left out": "by selftest: false of the entry"})

    def as_footer(self) -> dict[str, str]:
        """The results for the footer of a table, without the time, which differs on every run."""
        return dict(self.results)

    def log_line(self) -> str:
        """One line for the log."""
        results = "; ".join(f"{check}: {result}" for check, result in self.results.items())
        return f"self-test ({self.seconds:.1f} s): {results}"


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The distance of two lists of tensors: the largest ||a - b|| / ||a|| of any pair, infinite if there is a NaN."""
    farthest = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.double(), b.double()
        size = float(torch.linalg.vector_norm(a))
        apart = float(torch.linalg.vector_norm(a - b))
        relative = apart / size if size > 0 else (0.0 if apart == 0 else float("inf"))
        farthest = max(farthest, relative) if relative == relative else float("inf")
    return farthest


def rounding(dtype: torch.dtype, *, quantised: bool = False) -> float:
    """The distance that counts as rounding for a model of ``dtype``."""
    return QUANTISED if quantised else ROUNDING.get(dtype, QUANTISED)


def prove_repeatable(run: Pass, name: str, tolerance: float) -> list[Tensor]:
    """The result of a pass, after a second pass has given the same.

    Raises ModelError if the two differ by more than ``tolerance``, or hold NaN or infinite numbers.
    """
    tolerance = min(tolerance, SAME_SHAPE)
    first = [layer.clone() for layer in run()]
    if not all(bool(torch.isfinite(layer).all()) for layer in first):
        raise ModelError(
            f"model {name!r} gives NaN or infinite numbers for plain input; its weights are damaged, or need "
            "dtype: float32 or bfloat16."
        )
    apart = distance(first, run())
    if apart > tolerance:
        raise ModelError(
            f"two passes of model {name!r} over the same input differ by {apart:.2g} of its features: it draws random "
            "numbers (dropout, a random mask or random hashes); turn that off under 'model_args', or leave it out."
        )
    return first
