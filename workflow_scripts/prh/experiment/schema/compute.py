"""How an experiment uses the machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.experiment.schema.base import Section


class Compute(Section):
    """How the machine is used. Nothing here changes a result, so changing it reruns nothing."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: models use a GPU if there is one; neighbours and comparisons use the CPU, so that they need not wait for a
    GPU. cuda: these use a GPU too. cpu: nothing does."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Samples per batch (sequences, for language models); halved when memory runs out."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads of a job that extracts features, scores a language model, searches neighbours or cuts shards."""
    gpu_memory: Annotated[int, Field(ge=1)] = 80
    """Memory of one GPU, in GiB; determines how many GPUs a model with device_map needs."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """GB that a neighbour search or a comparison may use at once on its device, besides features and results."""
    forkserver: bool = True
    """Whether jobs on this machine start as forks of one process that has already imported their libraries (Linux)."""
