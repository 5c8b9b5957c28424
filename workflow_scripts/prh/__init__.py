"""prh: measure how far the representations of vision and language models converge.

The library behind the workflow: it takes arrays and tables and returns arrays and tables. Public names are imported on
first use, so that a job that only draws a figure does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what _HOMES says, for type checkers; a test compares the two
    from prh.bank.folder import Bank as Bank
    from prh.bank.lightning import LightningScoreCallback as LightningScoreCallback
    from prh.bank.logs import score_logs as score_logs
    from prh.bank.scoring import score as score
    from prh.bank.trainer import ScoreCallback as ScoreCallback
    from prh.bank.writing import make_bank as make_bank
    from prh.core import metrics as metrics
    from prh.core.alignment import PairAlignment as PairAlignment
    from prh.core.alignment import align as align
    from prh.core.alignment import compare as compare
    from prh.core.kernel_inputs import similarities as similarities
    from prh.core.metrics import Representation as Representation
    from prh.core.metrics import metric as metric
    from prh.core.preparation import prepare as prepare
    from prh.downloads.sources import Source as Source
    from prh.experiment.plugins import register as register
    from prh.experiment.schema import DatasetEntry as DatasetEntry
    from prh.experiment.schema import ModelEntry as ModelEntry
    from prh.experiment.schema import TaskEntry as TaskEntry
    from prh.experiment.schema import TextEntry as TextEntry
    from prh.experiment.schema import WeightsEntry as WeightsEntry
    from prh.modalities import Cost as Cost
    from prh.modalities import Modality as Modality
    from prh.studies import Study as Study
    from prh.studies import StudyTables as StudyTables
    from prh.studies import Target as Target

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
