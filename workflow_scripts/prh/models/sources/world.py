"""Models that are trained in the idealised world, by their modality's ``train``."""

from prh.downloads.sources import Source, register

register(Source("world", of="models", is_of_world=True))
