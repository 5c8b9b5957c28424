"""Kernels that users bring (brains, judgements, hosted models), a file for each data set."""

from prh.downloads.sources import Source, register
from prh.models.sources.features import fetch

register(
    Source(
        "kernel",
        of="models",
        entry="prh.experiment.schema:KernelModel",
        fetch=fetch,
        read="prh.models.given.kernels:read",
    )
)
