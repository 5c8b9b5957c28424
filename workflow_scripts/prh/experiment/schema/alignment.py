"""How the representations of an experiment are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Section, Seed


class Alignment(Section):
    """How representations are compared."""

    metrics: Annotated[list[str], Field(min_length=1)] = ["mutual_knn"]
    """Names of metrics; docs/metrics.md lists them."""
    k: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [10]
    """Numbers of neighbours."""
    n: list[Annotated[int, Field(ge=2)]] = []
    """Gallery sizes at which neighbour metrics are measured in addition: the same queries, as many as the smallest
    size, in nested galleries."""
    k_max: Annotated[int, Field(ge=1)] = 128
    """Neighbours stored per sample: enough for any k up to it, and for every half of the samples (intervals,
    cross-fit) if it is at least about 2 k + 10 sqrt(k) + 45."""
    preparation: Literal["own", "official", "official_precise", "official_library"] = "own"
    """own: prepare features as the next three keys say. The others prepare them as the authors' code does, which fixes
    these keys: official as its published command line, official_precise as the same with --precise, official_library as
    its Python interface, with bfloat16 kernels (docs/parity.md)."""
    clamp: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    """Clamp features at this quantile of their absolute values (null: do not clamp)."""
    clamp_scope: Literal["layer", "global"] = "layer"
    """One clamp threshold per layer, or one for all layers of a model as in the official code's tensor path."""
    normalise: bool = True
    """Divide each feature vector by its Euclidean length."""
    permutations: Annotated[int, Field(ge=0)] = 200
    """Permutations of the samples for the null distribution of the best layer pair (0: no calibration)."""
    subsamples: Annotated[int, Field(ge=0)] = 100
    """Half-samples for the intervals of the metrics that need them (0: no intervals for any score)."""
    splits: Annotated[int, Field(ge=0)] = 5
    """Random splits for the cross-fitted score and the optimism of the maximum (0: none)."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Significance level of thresholds; intervals have coverage 1 - alpha."""
    seed: Seed = 0
    """Seed of permutations, subsamples and splits."""

    @model_validator(mode="after")
    def _preparation_is_told_once(self) -> Alignment:
        fixed = sorted({"clamp", "clamp_scope", "normalise"} & self.model_fields_set)
        if self.preparation != "own" and fixed:
            raise ValueError(f"preparation '{self.preparation}' fixes {', '.join(fixed)}: leave these out")
        return self
