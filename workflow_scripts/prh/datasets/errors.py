"""What is wrong with data, apart from whatever reads them: stages that only look at shards depend on no reader."""

from __future__ import annotations


class DataError(ValueError):
    """The data are not what the entry promises; the message names the samples and the mend."""
