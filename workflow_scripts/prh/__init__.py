"""prh: measure how far the representations of vision and language models converge.

The library behind the workflow; it takes arrays and tables and returns arrays and tables.
Names are loaded on first use, so that a job that draws a figure never imports torch.
"""

from importlib import import_module

_HOMES = {
    "Alignment": "prh.core.alignment",
    "Representation": "prh.core.metrics",
    "Study": "prh.studies",
    "StudyTables": "prh.studies",
    "Target": "prh.studies",
    "align": "prh.core.alignment",
    "compare": "prh.core.alignment",
    "metric": "prh.core.metrics",
    "metrics": "prh.core.metrics",
    "prepare": "prh.core.preparation",
    "register": "prh.studies",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'prh' has no attribute {name!r}")
    module = import_module(_HOMES[name])
    return module if name == "metrics" else getattr(module, name)
