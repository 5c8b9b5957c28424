"""The error of data sets, in a module of its own so that jobs that only read shards depend on no reader of sources."""

from __future__ import annotations


class DataError(ValueError):
    """The data are not what their entry promises; the message names the samples and what to do."""
