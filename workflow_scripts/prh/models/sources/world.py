"""Models that their modality's ``train`` trains in the idealised world."""

from prh.downloads.sources import Source, register

register(Source("world", of="models", is_of_world=True, checkpoint_key="step"))
