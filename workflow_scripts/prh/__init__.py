"""prh: measure how far the representations of vision and language models converge.

The library behind the workflow: it takes arrays and tables and returns arrays and tables. Public names are imported on
first use, so that a job that only draws a figure does not import torch.
"""

from importlib import import_module

_HOMES = {
    "Cost": "prh.modalities",
    "DatasetEntry": "prh.experiment.schema",
    "Modality": "prh.modalities",
    "ModelEntry": "prh.experiment.schema",
    "PairAlignment": "prh.core.alignment",
    "Representation": "prh.core.metrics",
    "Source": "prh.downloads.sources",
    "Study": "prh.studies",
    "StudyTables": "prh.studies",
    "Target": "prh.studies",
    "TaskEntry": "prh.experiment.schema",
    "TextEntry": "prh.experiment.schema",
    "WeightsEntry": "prh.experiment.schema",
    "align": "prh.core.alignment",
    "compare": "prh.core.alignment",
    "metric": "prh.core.metrics",
    "metrics": "prh.core.metrics",
    "prepare": "prh.core.preparation",
    "register": "prh.experiment.plugins",
    "similarities": "prh.core.kernel_inputs",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'prh' has no attribute {name!r}")
    module = import_module(_HOMES[name])
    return module if name == "metrics" else getattr(module, name)
