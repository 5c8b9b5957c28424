"""Report on the idealised world: does alignment rise with competence, and is the negative control at chance?"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from scipy.stats import spearmanr

from prh.io.names import AT, is_checkpoint

COMPETENCE = {"vision": ("top1", 1), "language": ("bits_per_byte", -1)}


def competence(scores: pl.DataFrame, modality: str) -> dict[str, float]:
    """Competence of each model: mean accuracy over the probes, or minus the bits per byte; without checkpoints."""
    metric, sign = COMPETENCE[modality]
    entries = scores.filter(pl.col("metric") == metric, ~pl.col("model").str.contains(AT, literal=True))
    means = entries.group_by("model").agg(sign * pl.col("value").mean())
    return dict(means.sort("model").iter_rows())


def between(best: pl.DataFrame, modality: str, other: str) -> dict[str, dict[str, float]]:
    """Alignment of each model of ``modality`` with each of ``other``: {model: {other model: score}}.

    ``best`` holds the rows of one data set, metric and k. Checkpoints are left out.
    """
    alignment: dict[str, dict[str, float]] = {}
    columns = ("model_x", "modality_x", "model_y", "modality_y", "score")
    for x, modality_x, y, modality_y, score in best.select(columns).iter_rows():
        for a, b, modalities in ((x, y, (modality_x, modality_y)), (y, x, (modality_y, modality_x))):
            if modalities == (modality, other) and not (is_checkpoint(a) or is_checkpoint(b)):
                alignment.setdefault(a, {})[b] = score
    return alignment


def report(best: pl.DataFrame, scores: pl.DataFrame, control: pl.DataFrame) -> Iterator[str]:
    """Yield the lines of the report.

    ``best`` and ``control`` are the rows of the world and of its copy with shuffled captions, for one measure.
    """
    k, n = best.select("k", "n").row(0)
    yield f"chance level k / (n - 1) = {k / (n - 1):.3f}"
    strongest = {}
    for modality in COMPETENCE:
        competence_of = competence(scores, modality)
        aligned = {model: next(iter(row.values())) for model, row in between(best, modality, "world").items()}
        models = sorted(set(competence_of) & set(aligned), key=lambda model: competence_of[model])
        strongest[modality] = models[-1]
        ladder = ", ".join(f"{aligned[model]:.2f}" for model in models)
        rho = spearmanr([competence_of[m] for m in models], [aligned[m] for m in models]).statistic
        yield f"{modality} with reality, by rising competence: {ladder} (Spearman {rho:.2f})"
    vision, language = strongest["vision"], strongest["language"]
    score = between(best, "vision", "language")[vision][language]
    yield f"strongest of both modalities, {vision} with {language}: {score:.2f}"
    highest = max(score for row in between(control, "vision", "language").values() for score in row.values())
    yield f"negative control, captions shuffled against images: at most {highest:.3f}"
