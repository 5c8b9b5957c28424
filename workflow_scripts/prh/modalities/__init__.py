"""Modalities: what a sample is read as. An encoder turns a batch into one [batch, width] float32 tensor per layer."""

from prh.modalities.base import MODALITIES, Cost, Encoder, FeatureError, Modality, register
from prh.modalities.loading import load, loader_of
from prh.modalities.registry import colour_of, given, known, modality_of

__all__ = [
    "MODALITIES",
    "Cost",
    "Encoder",
    "FeatureError",
    "Modality",
    "colour_of",
    "given",
    "known",
    "load",
    "loader_of",
    "modality_of",
    "register",
]
