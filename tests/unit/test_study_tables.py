import math
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from prh.competence.scores import SCORES, published_for, published_scores
from prh.experiment import registries
from prh.studies.base import StudyTables
from prh.studies.figure2 import table as figure2_table
from prh.studies.figure2.table import model_map
from prh.studies.figure2.table import table as figure2
from prh.studies.figure3.table import table as figure3_table
from prh.studies.figure4.table import table as figure4_table
from prh.studies.scored_models import solved

ROOT = Path(__file__).resolve().parents[2]
SETTING = {"dataset": "d", "metric": "mutual_knn", "k": 10, "n": 100}
MODALITY = {"v": "vision", "l": "language", "w": "world"}


def best_table(alignment: dict[tuple[str, str], float], family: dict[str, str] | None = None) -> pl.DataFrame:
    """Rows of the best alignments; a model's modality is told by its first letter."""
    rows = [
        {
            **SETTING,
            **{f"model_{side}": model for side, model in zip("xy", pair, strict=True)},
            **{f"modality_{side}": MODALITY[model[0]] for side, model in zip("xy", pair, strict=True)},
            **{f"family_{side}": (family or {}).get(m, m[0].upper()) for side, m in zip("xy", pair, strict=True)},
            "score": score,
            "calibrated": score / 2,
        }
        for pair, score in alignment.items()
    ]
    return pl.DataFrame(rows)


def score_table(rows: list[tuple]) -> pl.DataFrame:
    """Scores from (model, task, metric, value) or (model, task, metric, value, source)."""
    full = [
        {
            "model": m,
            "task": t,
            "metric": k,
            "value": float(v),
            "stderr": 0.01,
            "source": (*rest, "measured")[0],
            "shots": 5,
        }
        for m, t, k, v, *rest in rows
    ]
    return pl.DataFrame(full)


def statistic(joined: StudyTables, panel: str, name: str, group: str | None = None) -> dict:
    rows = joined.statistics.filter(
        (pl.col("panel") == panel) & (pl.col("statistic") == name) & pl.col("group").eq_missing(pl.lit(group))
    )
    (row,) = rows.rows(named=True)
    return row


def test_solved_by_hand():
    scores = pl.DataFrame(
        {
            "model": ["a", "a", "b", "b", "c", "c"],
            "task": ["t", "u", "t", "u", "t", "u"],
            "value": [1.0, 0.5, 0.8, 0.39, 0.79, 0.4],
        }
    )
    assert solved(scores).rows() == [("a", 2, 2), ("b", 1, 2), ("c", 1, 2)]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (pl.DataFrame({"model": ["a"], "value": [1.0]}), "lack the column task"),
        (pl.DataFrame({"model": ["a"], "task": ["t"], "value": [math.nan]}), "NaN"),
        (pl.DataFrame({"model": ["a", "a"], "task": ["t", "t"], "value": [1.0, 1.0]}), "a on task t more than once"),
    ],
)
def test_solved_refuses_bad_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        solved(scores)


# Four vision models in two bins: v1, v2 solve one of two tasks, v3, v4 both; v5 has no score, v6 one of two.
VISION = ["v1", "v2", "v3", "v4", "v5", "v6"]
ALIGNMENT = dict.fromkeys(combinations(VISION, 2), 0.2) | {("v1", "v2"): 0.1, ("v3", "v4"): 0.4, ("v2", "v3"): 0.0}
PROBES = score_table(
    [
        *(("v1", "t", "top1", 1.0), ("v1", "u", "top1", 0.1)),
        *(("v2", "t", "top1", 0.9), ("v2", "u", "top1", 0.1)),
        *(("v3", "t", "top1", 0.9), ("v3", "u", "top1", 1.0)),
        *(("v4", "t", "top1", 0.9), ("v4", "u", "top1", 0.8)),
        ("v6", "t", "top1", 1.0),
    ]
)


@pytest.fixture
def no_umap(monkeypatch):
    """Places on a line instead of UMAP, whose first use takes many seconds to compile."""
    monkeypatch.setattr(
        figure2_table, "model_map", lambda alignment, *, seed: np.arange(2.0 * len(alignment)).reshape(-1, 2)
    )


@pytest.mark.usefixtures("no_umap")
def test_figure2_by_hand():
    joined = figure2(best_table(ALIGNMENT), PROBES, bins=2)
    assert joined.missing == ["v5", "v6"]
    assert joined.table.select("model", "solved", "bin").rows() == [
        ("v1", 1, 1),
        ("v2", 1, 1),
        ("v3", 2, 1),
        ("v4", 2, 1),
    ]
    assert joined.table["average"].to_list() == pytest.approx([0.55, 0.5, 0.95, 0.85])
    inside = statistic(joined, "bins", "mean alignment", "1")
    assert inside["value"] == pytest.approx((0.1 + 0.4 + 0 + 3 * 0.2) / 6)
    assert inside["n"] == 4
    without = np.array([0.6, 0.8, 0.5, 0.3]) / 3  # the mean of the three pairs that are left without v1, v2, v3, v4
    half = stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    assert (inside["low"], inside["high"]) == pytest.approx((1.1 / 6 - half, 1.1 / 6 + half))
    assert inside["method"] == "mean of 6 pairs; stderr as if independent; 95 % jackknife interval over models"
    assert joined.statistics.filter(pl.col("panel") == "bins").height == 1


@pytest.mark.usefixtures("no_umap")
def test_figure2_bins_are_of_equal_width_and_the_last_holds_those_that_solve_all():
    joined = figure2(best_table(ALIGNMENT), PROBES, bins=3)
    assert joined.table["bin"].to_list() == [1, 1, 2, 2]
    assert statistic(joined, "bins", "mean alignment", "1")["value"] == pytest.approx(0.1)
    assert statistic(joined, "bins", "mean alignment", "2")["value"] == pytest.approx(0.4)
    assert statistic(joined, "bins", "mean alignment", "2")["stderr"] is None  # one pair has no spread
    assert statistic(joined, "bins", "mean alignment", "2")["low"] is None
    method = statistic(joined, "bins", "mean alignment", "2")["method"]
    assert method == "mean of 1 pair; no interval: it needs three models"


@pytest.mark.usefixtures("no_umap")
def test_figure2_trend_permutes_models_by_hand():
    trend = statistic(figure2(best_table(ALIGNMENT), PROBES), "all", "Spearman")
    # min(solved) is 2 for (v3, v4) alone. A relabelling gives the 2 to any of the six pairs; only the largest
    # alignment, (v3, v4), and the smallest, (v2, v3), lie as far from the middle rank.
    assert trend["value"] > 0
    assert trend["p"] == pytest.approx(2 / 6)
    assert trend["n"] == 4


@pytest.mark.usefixtures("no_umap")
def test_figure2_counts_a_pair_in_both_orders_once_and_averages_it():
    both = ALIGNMENT | {("v4", "v3"): 0.6, ("v3", "v3"): 1.0}
    joined = figure2(best_table(both), PROBES, bins=3)
    assert statistic(joined, "bins", "mean alignment", "2")["value"] == pytest.approx(0.5)


@pytest.mark.usefixtures("no_umap")
def test_figure2_of_calibrated_alignment():
    joined = figure2(best_table(ALIGNMENT), PROBES, bins=3, value="calibrated")
    assert statistic(joined, "bins", "mean alignment", "2")["value"] == pytest.approx(0.2)
    assert joined.table["alignment"].unique().to_list() == ["calibrated"]


@pytest.mark.usefixtures("no_umap")
def test_figure2_needs_every_pair():
    lacking = {pair: score for pair, score in ALIGNMENT.items() if pair != ("v1", "v3")}
    with pytest.raises(ValueError, match="1 pairs of models have no alignment, such as v1 with v3"):
        figure2(best_table(lacking), PROBES)


@pytest.mark.slow
def test_model_map_handles_zeros_and_is_repeatable():
    rng = np.random.default_rng(0)
    alignment = rng.uniform(0, 0.3, size=(12, 12))
    alignment = (alignment + alignment.T) / 2
    alignment[0, 1:] = alignment[1:, 0] = 0
    np.fill_diagonal(alignment, np.nan)
    first = model_map(alignment, seed=3)
    assert first.shape == (12, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, model_map(alignment, seed=3))


def test_model_map_of_too_few_models_is_empty():
    assert np.isnan(model_map(np.ones((3, 3)))).all()


def test_model_map_of_no_alignment_is_refused():
    with pytest.raises(ValueError, match="positive alignment"):
        model_map(np.zeros((5, 5)))


# Three language models (l4 has no bits per byte) and three vision models of two families.
CROSS = {
    ("l1", "v1"): 0.1, ("l2", "v1"): 0.2, ("l3", "v1"): 0.3, ("l4", "v1"): 0.9,
    ("v2", "l1"): 0.2, ("v2", "l2"): 0.4, ("v2", "l3"): 0.6, ("v2", "l4"): 0.9,
    ("l1", "v3"): 0.3, ("l2", "v3"): 0.2, ("l3", "v3"): 0.1, ("l4", "v3"): 0.9,
    ("v1", "v2"): 0.7, ("l1", "l2"): 0.7, ("w", "l1"): 0.5, ("v1", "w"): 0.5,
}  # fmt: skip
FAMILY = {"v1": "F", "v2": "F", "v3": "G"}
PARAMETERS = {"l1": 10, "l2": 20, "l3": 30, "l4": 40, "v1": 5, "v2": 4, "v3": 3}
MODELLING = [
    ("l1", "text", "bits_per_byte", 0.9),
    ("l2", "text", "bits_per_byte", 0.8),
    ("l3", "text", "bits_per_byte", 0.6),
]


def models_table(parameters: dict[str, int]) -> pl.DataFrame:
    return pl.DataFrame({"model": list(parameters), "parameters": list(parameters.values())})


def figure3(best, scores, parameters, **options) -> StudyTables:
    return figure3_table(best, models_table(parameters), scores, **options)


def figure4(best, scores, parameters, **options) -> StudyTables:
    return figure4_table(best, models_table(parameters), scores, **options)


def test_figure3_by_hand():
    joined = figure3(best_table(CROSS, FAMILY), score_table(MODELLING), PARAMETERS)
    assert joined.missing == ["l4"]
    assert joined.table.height == 9
    assert joined.table.filter(pl.col("vision_family") == "F")["vision"].unique(maintain_order=True).to_list() == [
        "v2",
        "v1",
    ]
    row = joined.table.row(by_predicate=(pl.col("language") == "l2") & (pl.col("vision") == "v2"), named=True)
    assert (row["x"], row["y"]) == pytest.approx((0.2, 0.4))
    assert (row["language_parameters"], row["vision_parameters"]) == (20, 4)
    assert statistic(joined, "F", "Spearman", "v1")["value"] == pytest.approx(1)
    assert statistic(joined, "G", "Spearman")["value"] == pytest.approx(-1)
    assert statistic(joined, "G", "Spearman")["p"] == pytest.approx(2 / 6)
    assert statistic(joined, "G", "Spearman")["n"] == 3
    # x = 0.1, 0.2, 0.4 and y = 0.1, 0.2, 0.3: slope = sum(dx dy) / sum(dx dx) = 0.03 / (0.14 / 3)
    assert statistic(joined, "F", "slope", "v1")["value"] == pytest.approx(0.03 / (0.14 / 3))


def test_figure3_asks_which_text_and_refuses_unknown_sizes():
    best = best_table(CROSS, FAMILY)
    two = score_table([*MODELLING, *((m, "other", k, v) for m, _, k, v in MODELLING)])
    with pytest.raises(ValueError, match="several tasks \\(other, text\\)"):
        figure3(best, two, PARAMETERS)
    assert figure3(best, two, PARAMETERS, task="other").table.height == 9
    with pytest.raises(ValueError, match="parameters of v3 is not known"):
        figure3(best, score_table(MODELLING), {m: p for m, p in PARAMETERS.items() if m != "v3"})


def test_measured_scores_stand_before_published_ones():
    scores = score_table([*MODELLING, ("l1", "text", "bits_per_byte", 0.1, "A paper")])
    table = figure3(best_table(CROSS, FAMILY), scores, PARAMETERS).table
    assert table.filter(pl.col("language") == "l1")["x"].to_list() == pytest.approx([0.1] * 3)


TASKS = {"endings": "acc_norm", "sums": "exact_match"}
DOWNSTREAM = [
    *(("l1", "endings", "acc_norm", 0.3), ("l2", "endings", "acc_norm", 0.5), ("l3", "endings", "acc_norm", 0.4)),
    *(("l1", "sums", "exact_match", 0.0), ("l2", "sums", "exact_match", 0.0), ("l3", "sums", "exact_match", 0.9, "B")),
]


def test_figure4_by_hand():
    scores = score_table([*MODELLING, *DOWNSTREAM])
    joined = figure4(best_table(CROSS, FAMILY), scores, PARAMETERS, tasks=TASKS, reference="F")
    assert joined.missing == ["l4"]
    endings = joined.table.filter(pl.col("task") == "endings")
    assert endings["model"].to_list() == ["l1", "l2", "l3"]
    assert endings["x"].to_list() == pytest.approx([0.15, 0.3, 0.45])  # the mean over v1 and v2
    assert endings["reference_models"].to_list() == [2, 2, 2]
    assert endings["rank"].to_list() == [3, 2, 1]
    assert endings["monotone"].to_list() == pytest.approx([0.3, 0.45, 0.45])
    assert endings["parameters"].to_list() == [10, 20, 30]
    assert joined.table.filter(pl.col("task") == "sums")["source"].to_list() == ["measured", "measured", "B"]
    assert statistic(joined, "endings", "Spearman")["value"] == pytest.approx(0.5)
    assert statistic(joined, "sums", "R2 linear")["value"] == pytest.approx(0.75)
    assert statistic(joined, "sums", "R2 monotone")["value"] == pytest.approx(1)


def test_figure4_of_models_that_all_align_alike():
    """As calibrated scores may, which are all 0 where nothing is significant."""
    scores = score_table([*MODELLING, *DOWNSTREAM])
    joined = figure4(best_table(dict.fromkeys(CROSS, 0.0), FAMILY), scores, PARAMETERS, tasks=TASKS, reference="F")
    assert statistic(joined, "endings", "slope")["value"] is None
    assert statistic(joined, "endings", "R2 linear")["value"] is None


def test_figure4_against_a_single_model_and_an_unknown_one():
    scores = score_table([*MODELLING, *DOWNSTREAM])
    joined = figure4(best_table(CROSS, FAMILY), scores, PARAMETERS, tasks=TASKS, reference="v3")
    assert joined.table["x"].unique().sort().to_list() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="There is no vision model or vision family H; the families are F, G"):
        figure4(best_table(CROSS, FAMILY), scores, PARAMETERS, tasks=TASKS, reference="H")
    with pytest.raises(ValueError, match="at least one task"):
        figure4(best_table(CROSS, FAMILY), scores, PARAMETERS, tasks={}, reference="F")


def test_too_few_models_with_scores_are_said_to_be_so():
    with pytest.raises(ValueError, match="Figure 3 needs at least 3 models with a bits_per_byte score; there are 2"):
        figure3(best_table(CROSS, FAMILY), score_table(MODELLING[:2]), PARAMETERS)
    with pytest.raises(ValueError, match="Figure 2 needs at least 3"):
        figure2(best_table(ALIGNMENT), PROBES.filter(pl.col("model") == "v1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("family_y"), "lacks the column family_y"),
        (lambda t: pl.concat([t, t.with_columns(k=pl.lit(20, pl.Int64))]), "holds 2; filter it first"),
        (lambda t: t.with_columns(score=pl.lit(math.nan)), "score of the best alignments holds NaN"),
        (lambda t: pl.concat([t, t.head(1)]), "l1, v1 has more than one row"),
        (lambda t: t.filter(~((pl.col("model_x") == "l2") & (pl.col("model_y") == "v1"))), "l2 with v1"),
    ],
)
def test_bad_alignments_are_refused_in_words(change, message):
    with pytest.raises(ValueError, match=message):
        figure3(change(best_table(CROSS, FAMILY)), score_table(MODELLING), PARAMETERS)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (score_table(MODELLING).drop("source"), "lack the column source"),
        (score_table([*MODELLING, MODELLING[0]]), "l1 on task text twice from one source"),
        (score_table([*MODELLING, ("l4", "text", "bits_per_byte", math.nan)]), "NaN or missing"),
    ],
)
def test_bad_scores_are_refused_in_words(scores, message):
    with pytest.raises(ValueError, match=message):
        figure3(best_table(CROSS, FAMILY), scores, PARAMETERS)


def test_an_unknown_kind_of_alignment_is_refused():
    with pytest.raises(ValueError, match="one of score, calibrated, got p"):
        figure3(best_table(CROSS, FAMILY), score_table(MODELLING), PARAMETERS, value="p")


def test_the_published_scores_are_usable():
    scores = published_scores(ROOT / "resources" / "published_scores.csv")
    assert scores.columns == SCORES.names
    assert not scores["model"].str.contains("bloom-").any()  # BLOOM is not BLOOMZ


def test_published_scores_are_found_by_a_model_s_id_or_name():
    columns = {name: [None] * 3 for name in SCORES.names}
    columns |= {"model": ["org/a", "b", "org/c"], "task": ["t"] * 3, "value": [0.1, 0.2, 0.3]}
    named = published_for({"first": "org/a", "again": "org/a", "b": "b"}, pl.DataFrame(columns))
    assert named.columns == SCORES.names
    assert sorted(named.select("model", "value").rows()) == [("again", 0.1), ("b", 0.2), ("first", 0.1)]


def test_the_registry_s_language_models_find_their_published_scores():
    source = [{"from": "resources/models/language.yaml"}]
    models = {entry["name"]: entry["id"] for entry in registries.expand({"models": source}, ROOT)["models"]}
    found = published_for(models, published_scores(ROOT / "resources" / "published_scores.csv"))
    assert {"llama-7b", "llama-13b", "open_llama_3b", "gemma-2b"} <= set(found["model"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,task\na,b\n", "must have the columns"),
        ("model,task,metric,value,stderr,shots,version,source\na,t,acc,81.3,,,,p\n", "line 2: the value 81.3"),
        ("model,task,metric,value,stderr,shots,version,source\na,t,acc,0.8,,,,\n", "line 2: the source None"),
        ("model,task,metric,value,stderr,shots,version,source\n" + 2 * "a,t,acc,0.8,,,,p\n", "a on t twice"),
    ],
)
def test_bad_published_scores_are_refused_in_words(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        published_scores(path)
