"""Every key of an experiment, with its type, default and meaning; one file per section.

``config.schema.yaml`` is generated from these classes (``make schema``; a test checks that it is up to date).
"""

from prh.experiment.schema.alignment import Alignment
from prh.experiment.schema.base import Section
from prh.experiment.schema.checkpoints import CheckpointAt
from prh.experiment.schema.compute import Compute
from prh.experiment.schema.datasets import Dataset, DatasetEntry, HubDataset, LocalDataset, UrlDataset, WorldDataset
from prh.experiment.schema.experiment import Experiment
from prh.experiment.schema.figures import Figures
from prh.experiment.schema.given import FeaturesModel, GivenModel, KernelModel
from prh.experiment.schema.model_entry import ModelEntry
from prh.experiment.schema.models import Checkpoint, LanguageModel, Model, Reality, VisionModel, WeightsEntry
from prh.experiment.schema.probes import Probe
from prh.experiment.schema.registry import LISTS, From
from prh.experiment.schema.tasks import HarnessTask, LmEvalTask, LocalTask, TaskEntry, WorldTask
from prh.experiment.schema.texts import HubText, LocalText, Text, TextEntry, WorldText
from prh.experiment.schema.training import LanguageTraining, VisionTraining
from prh.experiment.schema.world import World

__all__ = [
    "LISTS",
    "Alignment",
    "Checkpoint",
    "CheckpointAt",
    "Compute",
    "Dataset",
    "DatasetEntry",
    "Experiment",
    "FeaturesModel",
    "Figures",
    "From",
    "GivenModel",
    "HarnessTask",
    "HubDataset",
    "HubText",
    "KernelModel",
    "LanguageModel",
    "LanguageTraining",
    "LmEvalTask",
    "LocalDataset",
    "LocalTask",
    "LocalText",
    "Model",
    "ModelEntry",
    "Probe",
    "Reality",
    "Section",
    "TaskEntry",
    "Text",
    "TextEntry",
    "UrlDataset",
    "VisionModel",
    "VisionTraining",
    "WeightsEntry",
    "World",
    "WorldDataset",
    "WorldTask",
    "WorldText",
]
