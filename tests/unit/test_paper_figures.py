from itertools import pairwise

import polars as pl
import pytest
from matplotlib.figure import Figure

from prh.figures import captions, style
from prh.studies.figure2 import drawing as figure2
from prh.studies.figure3 import drawing as figure3
from prh.studies.figure4 import drawing as figure4

SETTING = {"dataset": "d", "metric": "mutual_knn", "k": 10, "n": 100, "alignment": "score"}
EMPTY = {
    "panel": None,
    "group": None,
    "statistic": None,
    "value": None,
    "stderr": None,
    "low": None,
    "high": None,
    "p": None,
    "n": 3,
}


def statistics(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame([EMPTY | row for row in rows], infer_schema_length=None)


def trend(panel: str, value: float | None = 0.9) -> dict:
    return {"panel": panel, "statistic": "Spearman", "value": value, "p": 0.02}


TABLE2 = pl.DataFrame(
    [
        {"model": f"v{i}", "family": "FG"[i % 2], "solved": i, "tasks": 4, "bin": i // 2, "bins": 5, "average": 0.1 * i,
         "map_x": float(i), "map_y": float(i % 3), **SETTING}
        for i in range(5)
    ]
)  # fmt: skip
STATISTICS2 = statistics(
    {
        "panel": "bins",
        "group": "0",
        "statistic": "mean alignment",
        "value": 0.2,
        "stderr": 0.01,
        "low": 0.15,
        "high": 0.25,
    },
    {"panel": "bins", "group": "1", "statistic": "mean alignment", "value": 0.3},
    trend("all"),
)
TABLE3 = pl.DataFrame(
    [
        {"language": f"org/l{i}", "vision": f"v_{size}_x", "vision_family": family, "x": 0.1 * i,
         "y": 0.05 * i + 0.01 * j, "vision_parameters": 10**j, "source": "measured", **SETTING}
        for family in "FG"
        for i in range(4)
        for j, size in enumerate(("small", "large"))
    ]
)  # fmt: skip
TABLE4 = pl.DataFrame(
    [
        {"task": task, "task_metric": "acc", "model": f"l{i}", "x": 0.1 * i, "y": 0.2 * i, "source": source, "shots": 5,
         "parameters": 10**i, "rank": 4.0 - i, "monotone": 0.2 * i, "reference": "F", "reference_models": 2, **SETTING}
        for task in ("endings", "sums")
        for i, source in enumerate(("measured", "measured", "A paper"))
    ]
)  # fmt: skip
STATISTICS4 = statistics(
    *(
        row
        for task in ("endings", "sums")
        for row in (
            trend(task),
            {"panel": task, "statistic": "R2 linear", "value": 0.5},
            {"panel": task, "statistic": "R2 monotone", "value": 0.75},
        )
    )
)
CASES = [
    (figure2, TABLE2, STATISTICS2),
    (figure3, TABLE3, statistics(trend("F"), trend("G"))),
    (figure4, TABLE4, STATISTICS4),
]


def words(fig: Figure) -> str:
    texts = [t for ax in fig.axes for t in (*ax.texts, ax._left_title, ax.xaxis.label, ax.yaxis.label)]
    return " | ".join(text.get_text() for text in (*texts, *fig.texts))


@pytest.mark.parametrize(("module", "table", "rows"), CASES)
def test_a_figure_quotes_its_statistics_and_names_what_is_left_out(tmp_path, module, table, rows):
    fig = module.draw(table, rows, ["lost-model"], ["tied-model"])
    assert "ρ = 0.90, p = 0.02" in words(fig)
    assert "lost-model" in words(fig)
    assert "the k-th neighbours in tied-model are chosen at random." in words(fig).replace("\n", " ")
    assert "by lot" not in words(module.draw(table, rows))
    assert "Alignment of" in words(fig) or "Alignment and" in words(fig)
    svg, png = style.save(fig, tmp_path / "figure")
    assert svg.stat().st_size > 0
    assert png.stat().st_size > 0


def test_figure2_says_where_its_bins_have_no_interval():
    note = words(figure2.draw(TABLE2, STATISTICS2)).replace("\n", " ")
    assert "thin: 95 % jackknife over models. No interval for 1 of 2 bins: fewer than three models" in note
    with_all = STATISTICS2.filter(pl.col("group").is_null() | (pl.col("group") == "0"))
    assert "No interval" not in words(figure2.draw(TABLE2, with_all))


@pytest.mark.parametrize(("module", "table", "rows"), CASES)
def test_a_figure_of_calibrated_alignment_says_so(module, table, rows):
    fig = module.draw(table.with_columns(alignment=pl.lit("calibrated")), rows)
    assert "Calibrated alignment" in words(fig)
    assert "Left out" not in words(fig)


@pytest.mark.parametrize(("module", "table", "rows"), CASES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("k"), "no column k"),
        (lambda t: t.clear(), "empty"),
        (lambda t: pl.concat([t, t.with_columns(n=pl.lit(7, pl.Int64))]), "mixes 2 values of n"),
    ],
)
def test_a_table_that_is_not_the_figures_is_refused(module, table, rows, change, message):
    with pytest.raises(ValueError, match=message):
        module.draw(change(table), rows)


def test_statistics_must_belong_to_the_figure():
    with pytest.raises(ValueError, match="0 rows of Spearman for panel G"):
        figure3.draw(TABLE3, statistics(trend("F")))


def test_figure2_without_a_map_still_draws_its_bars():
    fig = figure2.draw(TABLE2.with_columns(map_x=pl.lit(None, pl.Float64)), STATISTICS2)
    assert "a map needs four models" in words(fig)
    assert len(fig.axes[0].patches) == 2


def test_figure3_names_language_models_without_overlap():
    fig = figure3.draw(TABLE3.with_columns(x=pl.col("x") / 1000), statistics(trend("F"), trend("G")))
    fig.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in fig.axes[0].texts), key=lambda box: box.x0)
    assert len(boxes) == 4
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))


def test_figure4_draws_no_line_where_all_alignments_are_equal():
    r2 = pl.when(pl.col("statistic") == "R2 linear").then(None).otherwise("value")
    fig = figure4.draw(TABLE4.with_columns(x=pl.lit(0.0)), STATISTICS4.with_columns(value=r2))
    fig.draw_without_rendering()
    assert "linear" not in words(fig).replace("non-linear", "")


def test_figure4_marks_published_scores():
    fig = figure4.draw(TABLE4, STATISTICS4)
    assert "Dashed edge: published score." in words(fig)
    assert "A paper" in words(fig)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["vit_tiny_p16.in21k", "vit_large_p16.in21k"], ["tiny", "large"]),
        (["only"], ["only"]),
        (["a-b", "a-b-c"], ["a-b", "a-b-c"]),
        (["unlike", "names"], ["unlike", "names"]),
    ],
)
def test_short_names(names, short):
    assert figure3.short_names(names) == short


@pytest.mark.parametrize(
    ("count", "short"), [(260_032, "260k"), (1_100_000_000, "1.1B"), (65e9, "65B"), (999, "999"), (999_900, "1M")]
)
def test_short_counts(count, short):
    assert figure4.short_count(count) == short


def test_a_correlation_that_is_not_defined_is_not_a_number():
    assert captions.trend({"value": None, "p": None, "n": 3}) == "ρ is not defined"
