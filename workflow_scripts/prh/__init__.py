"""prh: measure how far the representations of vision and language models converge.

The library behind the workflow: it takes arrays and tables and returns arrays and tables. Public names are imported on
first use, so that a job that only draws a figure does not import torch.
"""

from importlib import import_module

_HOMES = {
    "Bank": "prh.bank.folder",
    "Cost": "prh.modalities",
    "DatasetEntry": "prh.experiment.schema",
    "LightningScoreCallback": "prh.bank.lightning",
    "Modality": "prh.modalities",
    "ModelEntry": "prh.experiment.schema",
    "PairAlignment": "prh.core.alignment",
    "Representation": "prh.core.metrics",
    "ScoreCallback": "prh.bank.trainer",
    "Source": "prh.downloads.sources",
    "Study": "prh.studies",
    "StudyTables": "prh.studies",
    "Target": "prh.studies",
    "TaskEntry": "prh.experiment.schema",
    "TextEntry": "prh.experiment.schema",
    "WeightsEntry": "prh.experiment.schema",
    "align": "prh.core.alignment",
    "compare": "prh.core.alignment",
    "make_bank": "prh.bank.writing",
    "metric": "prh.core.metrics",
    "metrics": "prh.core.metrics",
    "prepare": "prh.core.preparation",
    "register": "prh.experiment.plugins",
    "score": "prh.bank.scoring",
    "score_logs": "prh.bank.logs",
    "similarities": "prh.core.kernel_inputs",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'prh' has no attribute {name!r}")
    module = import_module(_HOMES[name])
    return module if name == "metrics" else getattr(module, name)
