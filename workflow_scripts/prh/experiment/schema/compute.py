"""How an experiment uses the machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.experiment.schema.base import Section


class Compute(Section):
    """How the machine is used. Nothing here changes a result, so a change here runs nothing again."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: models take a GPU where there is one; neighbours and comparisons take the CPU, so that they wait for none.
    cuda: these take a GPU too. cpu: nothing does."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Samples in a batch, of language models sequences; halved when memory runs out."""
    threads: Annotated[int, Field(ge=1)] = 2
    """CPU threads of an extraction, of the scoring of a language model, of a search for neighbours, or of sharding."""
    gpu_memory: Annotated[int, Field(ge=1)] = 80
    """Memory of one GPU, in GiB; it tells how many GPUs a model with device_map needs."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """GB that a search for neighbours or a comparison may hold at once, on its device, beside features and results."""
    forkserver: bool = True
    """Whether jobs on this machine start as forks of one process that has imported their libraries (Linux)."""
