"""The alignment figures draw the numbers they are given, legibly, and refuse in one sentence what they cannot draw."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from itertools import combinations, pairwise, product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import spearmanr

import prh.studies
from prh.figures import style
from prh.studies.alignment_matrix import drawing as alignment_matrix
from prh.studies.cross_modal import drawing as cross_modal
from prh.studies.k_sweep import drawing as k_sweep
from prh.studies.layer_matrix import drawing as layer_matrix
from prh.studies.metric_correlation import drawing as metric_correlation
from prh.studies.metric_correlation.table import metric_correlations
from prh.studies.n_sweep import drawing as n_sweep
from prh.studies.pairs import across


def make_models(count: int, families: int = 3) -> pl.DataFrame:
    """``count`` models of two modalities whose families come mixed, as a user lists them; one name has 40 letters."""
    rows = [
        {
            "model": f"vit_base_patch16_224.recipe_{i:03d}" if i % 3 else f"llama_{i:03d}",
            "modality": "vision" if i % 3 else "language",
            "family": f"{'vit' if i % 3 else 'llama'}_family_{i % (2 * families) // 2}",
            "parameters": (count - i) * 1_000_000,
        }
        for i in range(count)
    ]
    rows[-1]["model"] = rows[-1]["model"].ljust(40, "x")
    return pl.DataFrame(rows)


def make_best(models: pl.DataFrame, metrics=("mutual_knn",), ks=(10,), ns=(1024,)) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for x, y in combinations(models.drop("parameters").rows(named=True), 2):
        pair = {f"{key}_x": value for key, value in x.items()} | {f"{key}_y": value for key, value in y.items()}
        base = rng.uniform(0.02, 0.6)
        for metric, k, n in product(metrics, ks, ns):
            score = min(1.0, base * (k / 10) ** 0.2 * (1024 / n) ** 0.1 + 0.02 * rng.uniform())
            threshold = 1.5 * k / n
            rows.append(
                pair
                | {"dataset": "wit", "metric": metric, "k": k, "n": n, "score": score, "layer_x": 3, "layer_y": 5}
                | {"threshold": threshold, "p": 0.01, "q": 0.2 if base < 0.1 else 0.01}
                | {"calibrated": max(score - threshold, 0.0), "low": score - 0.01, "high": score + 0.01}
                | {"chance": k / (n - 1) if metric == "mutual_knn" else None}
            )
    return pl.DataFrame(rows)


def make_layers(layers_x: int = 5, layers_y: int = 8) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    rows = [("a", i, "b", j, 10, 64, rng.uniform()) for i in range(layers_x) for j in range(layers_y)]
    return pl.DataFrame(rows, ["model_x", "layer_x", "model_y", "layer_y", "k", "n", "score"], orient="row")


def texts(fig: Figure) -> list[Text]:
    """The texts that are drawn: matplotlib keeps ticks beyond the limits of an axis, and does not draw them."""
    for _ in range(2):  # as ``style.save`` does
        fig.draw_without_rendering()
    beyond = set()
    for axis in fig.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        ticks = [tick for tick in axis.get_major_ticks() if not low - 1e-9 <= tick.get_loc() <= high + 1e-9]
        beyond |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    return [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in beyond]


def assert_legible(fig: Figure) -> None:
    """No two texts of a figure touch, none leaves the figure, none is smaller than 4 points."""
    shown = texts(fig)
    renderer = fig.canvas.get_renderer()
    boxes = np.array(
        [Text.get_window_extent(text, renderer).extents for text in shown]
    )  # without an annotation's arrow
    x0, y0, x1, y1 = boxes.T
    slack = 0.75  # pixels of 1/100 inch: less than the empty rim of a letter
    overlap = np.triu(
        (x0[:, None] + slack < x1)
        & (x0 + slack < x1[:, None])
        & (y0[:, None] + slack < y1)
        & (y0 + slack < y1[:, None]),
        1,
    )
    assert not overlap.any(), [(shown[i].get_text(), shown[j].get_text()) for i, j in np.argwhere(overlap)[:5]]
    width, height = fig.bbox.size
    outside = (x0 < -1) | (y0 < -1) | (x1 > width + 1) | (y1 > height + 1)
    assert not outside.any(), [shown[i].get_text() for i in np.flatnonzero(outside)[:5]]
    assert min(text.get_fontsize() for text in shown) > 4


def line(fig_or_ax, label: str):
    return next(found for found in fig_or_ax.get_lines() if found.get_label() == label)


# --- the alignment matrix -------------------------------------------------------------------------------------------


def test_matrix_draws_each_score_both_ways_and_groups_modalities_and_families():
    models = make_models(9)
    best = make_best(models)
    ax = alignment_matrix.draw(best, models).axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [label.get_text() for label in ax.get_xticklabels()]
    drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
    for x, y, score in best.select("model_x", "model_y", "score").iter_rows():
        i, j = names.index(x), names.index(y)
        assert drawn[i, j] == drawn[j, i] == score
    assert np.isnan(np.diag(drawn)).all()
    kind = dict(models.select("model", pl.concat_str("modality", "family", separator="/")).iter_rows())
    groups = [kind[name] for name in names]
    assert len(list(dict.fromkeys(groups))) == 1 + sum(a != b for a, b in pairwise(groups))
    modalities = [group.split("/")[0] for group in groups]
    assert sum(a != b for a, b in pairwise(modalities)) == 1


def test_matrix_keeps_both_values_of_an_asymmetric_metric():
    best = pl.DataFrame({"model_x": ["a", "b"], "model_y": ["b", "a"], "score": [0.2, 0.7]})
    assert np.array_equal(alignment_matrix.square(best, ["a", "b"], "score"), [[np.nan, 0.2], [0.7, np.nan]], True)


def test_matrix_writes_numbers_and_crosses_only_where_due():
    models = make_models(7)
    best = make_best(models)
    fig = alignment_matrix.draw(best, models)
    written = [text.get_text() for text in fig.axes[0].texts]
    assert written.count(style.short_number(best["score"][0])) == 2
    crosses = fig.axes[0].collections[0].get_offsets()
    assert len(crosses) == 2 * best.filter(pl.col("q") > 0.05).height > 0
    assert any("not significant" in text.get_text() for text in fig.texts)
    sure = alignment_matrix.draw(best.with_columns(q=None), models)
    assert not any("not significant" in text.get_text() for text in sure.texts)


@pytest.mark.parametrize("count", [2, 7, 30, 98])
def test_matrix_is_legible(count):
    models = make_models(count, families=1 + count // 5)
    assert_legible(alignment_matrix.draw(make_best(models), models))


def test_matrix_is_legible_with_a_family_for_each_of_many_models():
    models = make_models(60).with_columns(family=pl.format("family_of_{}", "model"))
    assert_legible(alignment_matrix.draw(make_best(models), models))


def test_matrix_of_one_modality_with_missing_pairs_says_what_grey_means_and_who_is_left_out():
    models = make_models(8).with_columns(modality=pl.lit("vision"))
    best = make_best(models)
    gone, partner, other = models["model"][0], models["model"][1], models["model"][2]
    best = best.filter(pl.col("model_x") != gone).with_columns(
        score=pl.when(pl.col("model_x") == partner, pl.col("model_y") == other).then(np.nan).otherwise("score")
    )
    fig = alignment_matrix.draw(best, models)
    note = fig.texts[-1].get_text().replace("\n", " ")
    assert "Grey: no score." in note
    assert "Left out" in note
    assert gone in note
    assert fig.axes[0].images[0].get_array().shape == (7, 7)
    assert_legible(fig)


def test_matrix_draws_calibrated_values():
    models = make_models(5)
    best = make_best(models)
    fig = alignment_matrix.draw(best, models, value="calibrated")
    assert np.nanmax(np.ma.filled(fig.axes[0].images[0].get_array(), np.nan)) == best["calibrated"].max()


# --- layers ---------------------------------------------------------------------------------------------------------


def test_layer_matrix_draws_each_score_in_its_place_either_way_round():
    rows = make_layers()
    for x, y in (("a", "b"), ("b", "a")):
        fig = layer_matrix.draw(rows, x, y)
        expected = rows["score"].to_numpy().reshape(5, 8)
        assert np.array_equal(fig.axes[0].images[0].get_array(), expected.T if x == "a" else expected)
        best = np.unravel_index(expected.argmax(), expected.shape)
        (mark_x,), (mark_y,) = fig.axes[0].get_lines()[0].get_data()
        assert (mark_x, mark_y) == (best if x == "a" else best[::-1])
        assert_legible(fig)


@pytest.mark.parametrize("shape", [(1, 1), (1, 33), (81, 25)])
def test_layer_matrix_is_legible(shape):
    rows = make_layers(*shape).with_columns(model_x=pl.lit("x" * 40), model_y=pl.lit("y" * 40))
    assert_legible(layer_matrix.draw(rows, "x" * 40, "y" * 40, metric="mutual_knn"))


# --- across modalities ----------------------------------------------------------------------------------------------


def test_cross_modal_draws_scores_mean_chance_threshold_and_intervals():
    models = make_models(12)
    best = make_best(models)
    fig = cross_modal.draw(best, models)
    assert_legible(fig)
    names = cross_modal.ordered(models, "language", "competence")
    pairs = across(best, "language", "vision")
    family, members = next(iter(models.filter(modality="vision").group_by("family", maintain_order=True)))
    ax = fig.axes[0]
    assert ax.get_legend().get_title().get_text() == family[0]
    lines = [[pairs.filter(x=name, y=member)["score"][0] for name in names] for member in members["model"]]
    for member, scores in zip(members["model"], lines, strict=True):
        assert np.array_equal(line(ax, member).get_ydata(), scores)
    assert np.allclose(line(ax, f"mean of {len(members)}").get_ydata(), np.mean(lines, axis=0))
    flat = {tuple(found.get_ydata()) for found in ax.get_lines() if len(set(found.get_ydata())) == 1}
    assert (10 / 1023, 10 / 1023) in flat
    *intervals, thresholds = ax.collections
    assert np.allclose([segment[:, 1] for segment in thresholds.get_segments()], 1.5 * 10 / 1024)
    interval = intervals[0].get_segments()[0]
    assert np.allclose(interval[:, 1], [lines[0][0] - 0.01, lines[0][0] + 0.01])


def test_cross_modal_orders_by_competence_and_keeps_gaps_of_missing_pairs():
    models = make_models(9).with_columns(competence=pl.int_range(9).reverse())
    best = make_best(models)
    names = cross_modal.ordered(models, "language", "competence")
    assert names == models.filter(modality="language")["model"].to_list()[::-1]
    vision = models.filter(modality="vision")["model"][0]
    pair = pl.col("model_x").is_in([names[1], vision]) & pl.col("model_y").is_in([names[1], vision])
    ax = cross_modal.draw(best.filter(~pair), models).axes[0]
    assert np.isnan(line(ax, vision).get_ydata()).tolist() == [False, True, False]


@pytest.mark.parametrize("count", [2, 7, 30, 98])
def test_cross_modal_is_legible(count):
    models = make_models(count, families=1 + count // 8)
    best = make_best(models).with_columns(threshold=None, low=None, high=None)
    assert_legible(cross_modal.draw(best, models))


def test_cross_modal_says_which_models_have_no_score():
    models = make_models(9)
    best = make_best(models)
    gone = models.filter(modality="vision")["model"][0]
    fig = cross_modal.draw(best.filter(pl.col("model_x") != gone, pl.col("model_y") != gone), models)
    assert f"Left out (no score across the two modalities): {gone}." in fig.texts[-1].get_text().replace("\n", " ")


def test_cross_modal_needs_both_modalities():
    models = make_models(5).with_columns(modality=pl.lit("vision"))
    with pytest.raises(ValueError, match="no score of a language model with a vision model"):
        cross_modal.draw(make_best(models), models)


# --- sweeps ---------------------------------------------------------------------------------------------------------


def test_k_sweep_draws_means_over_partners_and_chance():
    models, ks = make_models(9), (1, 10, 100)
    best = make_best(models, ks=ks)
    fig = k_sweep.draw(best, models)
    assert_legible(fig)
    names = k_sweep.by_size(models, "language")
    assert names == models.filter(modality="language")["model"].to_list()[::-1]
    pairs = across(best, "language", "vision")
    for name, drawn in zip(names, fig.axes[0].get_lines(), strict=False):
        means = [pairs.filter(x=name, k=k)["score"].mean() for k in ks]
        assert np.allclose(drawn.get_ydata(), means)
    assert np.allclose(fig.axes[0].get_lines()[-1].get_ydata(), np.array(ks) / 1023)


def test_k_sweep_standardised_is_centred_on_the_smallest_model_with_unit_deviation():
    models = make_models(9)
    best = make_best(models, metrics=("cknna",), ks=(10, 100, 1000)).with_columns(
        score=pl.when(k=1000).then(1.0).otherwise("score")
    )
    fig = k_sweep.draw(best, models, standardised=True)
    assert_legible(fig)
    lines = fig.axes[0].get_lines()
    assert len(lines) == 2
    for drawn in lines:
        assert drawn.get_ydata()[0] == 0
        assert np.std(drawn.get_ydata()) == pytest.approx(1)
    assert "k = 1,000" in fig.texts[-1].get_text()


def test_k_sweep_leaves_out_pairs_that_lack_a_k():
    models = make_models(6)
    best = make_best(models, ks=(5, 10))
    pairs = across(best, "language", "vision")
    x, y = pairs.select("x", "y").row(0)
    broken = pl.col("model_x").is_in([x, y]) & pl.col("model_y").is_in([x, y]) & (pl.col("k") == 5)
    fig = k_sweep.draw(best.filter(~broken), models)
    assert f"{x} × {y}" in fig.texts[-1].get_text().replace("\n", " ")


def test_k_sweep_standardised_needs_models_that_differ():
    models = make_models(2)
    with pytest.raises(ValueError, match="needs two models with different scores"):
        k_sweep.draw(make_best(models, ks=(5, 10)), models, standardised=True)


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("standardised", [False, True])
def test_k_sweep_is_legible(count, standardised):
    models = make_models(count)
    best = make_best(models, ks=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50, 100, 200, 500, 1000))
    if not (standardised and count == 2):
        assert_legible(k_sweep.draw(best, models, standardised=standardised))


@pytest.mark.parametrize("count", [2, 7, 30])
def test_n_sweep_draws_the_mean_of_each_kind_of_pair_raw_and_calibrated(count):
    models, ns = make_models(count), (128, 256, 1024)
    best = make_best(models, ns=ns)
    fig = n_sweep.draw(best)
    assert_legible(fig)
    raw, calibrated = fig.axes
    across = best.filter(pl.col("modality_x") != pl.col("modality_y"))
    label = next(found.get_label() for found in raw.get_lines() if found.get_label().startswith("language × vision"))
    for ax, column in ((raw, "score"), (calibrated, "calibrated")):
        means = [across.filter(n=n)[column].mean() for n in ns]
        assert np.allclose(line(ax, label).get_ydata(), means)
    assert np.allclose(line(raw, "chance").get_ydata(), 10 / (np.array(ns) - 1))
    assert np.allclose(line(raw, "null threshold (mean)").get_ydata(), 15 / np.array(ns))


def test_n_sweep_without_calibration_has_one_panel_and_takes_a_k_that_grows_with_n():
    models = make_models(4)
    best = pl.concat(make_best(models, metrics=("cka",), ks=(n // 100,), ns=(n,)) for n in (100, 1000))
    fig = n_sweep.draw(best.with_columns(calibrated=None, threshold=None))
    assert len(fig.axes) == 1
    assert "k = 1 to 10" in fig.get_suptitle()


def test_n_sweep_leaves_out_pairs_that_lack_an_n():
    best = make_best(make_models(4), ns=(128, 256))
    assert "1 model pairs without" in n_sweep.draw(best[1:]).texts[-1].get_text()
    with pytest.raises(ValueError, match="more than once"):
        n_sweep.draw(make_best(make_models(4), ks=(5, 10)))


# --- metrics --------------------------------------------------------------------------------------------------------


def test_metric_correlation_equals_scipy_on_the_common_pairs():
    best = make_best(make_models(7), metrics=("mutual_knn", "cka", "svcca"))
    best = best.filter(~((pl.col("metric") == "cka") & (pl.int_range(pl.len()) > 40)))
    table = metric_correlations(best)
    assert table["metric_x"].unique(maintain_order=True).to_list() == ["mutual_knn", "cka", "svcca"]
    row = table.row(by_predicate=(pl.col("metric_x") == "svcca") & (pl.col("metric_y") == "cka"), named=True)
    cka, svcca = best.filter(metric="cka"), best.filter(metric="svcca")
    both = cka.join(svcca, on=["model_x", "model_y"], suffix="_svcca")
    assert row["pairs"] == len(both) == len(cka) < len(svcca)
    assert row["spearman"] == pytest.approx(spearmanr(both["score"], both["score_svcca"]).statistic)
    fig = metric_correlation.draw(table)
    assert fig.axes[0].images[0].get_array()[2, 1] == row["spearman"]
    assert_legible(fig)


def test_metric_correlation_tells_ks_apart_and_is_grey_where_undefined():
    best = make_best(make_models(4), metrics=("cknna", "cka"), ks=(5, 10))
    best = best.filter((pl.col("metric") == "cknna") | (pl.col("k") == 5))
    best = best.with_columns(score=pl.when(metric="cka").then(0.5).otherwise("score"))
    table = metric_correlations(best)
    assert set(table["metric_x"]) == {"cknna@5", "cknna@10", "cka"}
    assert table.filter(metric_x="cka")["spearman"].is_null().all()
    drawn = np.ma.filled(metric_correlation.draw(table).axes[0].images[0].get_array(), np.nan)
    assert np.isnan(drawn).sum() == 5


@pytest.mark.parametrize("count", [1, 8, 24])
def test_metric_correlation_is_legible(count):
    best = make_best(make_models(4), metrics=[f"a_metric_with_a_long_name_{i}" for i in range(count)])
    assert_legible(metric_correlation.draw(metric_correlations(best)))


# --- bad tables -----------------------------------------------------------------------------------------------------

DRAWS = {
    "alignment_matrix": lambda best: alignment_matrix.draw(best, make_models(4)),
    "cross_modal": lambda best: cross_modal.draw(best, make_models(4)),
    "k_sweep": lambda best: k_sweep.draw(best, make_models(4)),
    "n_sweep": n_sweep.draw,
}


def turned(best: pl.DataFrame) -> pl.DataFrame:
    """The same pairs in the other order, as a metric that is not symmetric adds them, with other scores."""
    names = {
        f"{name}_{side}": f"{name}_{other}" for name in ("model", "modality", "family") for side, other in ("xy", "yx")
    }
    return best.rename(names).select(best.columns).with_columns(pl.col("score") + 0.1)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_pairs_scored_in_both_orders_are_drawn(draw):
    best = make_best(make_models(4))
    draw(pl.concat([best, turned(best)]))


def test_a_score_across_modalities_is_the_mean_of_both_orders():
    best = make_best(make_models(4))
    one, both = (
        across(table, "language", "vision").sort("x", "y") for table in (best, pl.concat([best, turned(best)]))
    )
    assert one["x", "y"].equals(both["x", "y"])
    np.testing.assert_allclose(both["score"], one["score"] + 0.05)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_bad_best_tables_are_refused_in_one_sentence(draw):
    best = make_best(make_models(4))
    with pytest.raises(ValueError, match="has no column score"):
        draw(best.drop("score"))
    with pytest.raises(ValueError, match="table is empty"):
        draw(best.clear())
    with pytest.raises(ValueError, match="mixes 2 values of dataset"):
        draw(pl.concat([best, best.with_columns(dataset=pl.lit("other"))]))
    with pytest.raises(ValueError, match="more than once"):
        draw(pl.concat([best, best]))


def test_metric_correlations_refuse_a_bad_best_table():
    best = make_best(make_models(4))
    for said, table in {
        "has no column score": best.drop("score"),
        "is empty": best.clear(),
        "must hold one data set and one n": pl.concat([best, best.with_columns(dataset=pl.lit("other"))]),
        "holds a model pair twice": pl.concat([best, best]),
    }.items():
        with pytest.raises(ValueError, match=said):
            metric_correlations(table)


@pytest.mark.parametrize("draw", [alignment_matrix.draw, cross_modal.draw, k_sweep.draw])
def test_scores_that_are_all_missing_are_refused(draw):
    models = make_models(4)
    with pytest.raises(ValueError, match="The best table has no"):
        draw(make_best(models).with_columns(score=np.nan), models)


def test_bad_models_tables_are_refused():
    models = make_models(4)
    best = make_best(models)
    for draw in (alignment_matrix.draw, cross_modal.draw):
        with pytest.raises(ValueError, match="models table has no column family"):
            draw(best, models.drop("family"))
        with pytest.raises(ValueError, match=r"models table gives .* more than once"):
            draw(best, pl.concat([models, models]))
        with pytest.raises(ValueError, match="models table is empty"):
            draw(best, models.clear())


def test_bad_layer_tables_are_refused():
    rows = make_layers()
    with pytest.raises(ValueError, match="has no column score"):
        layer_matrix.draw(rows.drop("score"), "a", "b")
    with pytest.raises(ValueError, match="is empty"):
        layer_matrix.draw(rows.clear(), "a", "b")
    with pytest.raises(ValueError, match="no score of a with c"):
        layer_matrix.draw(rows, "a", "c")
    with pytest.raises(ValueError, match="mixes 2 values of k"):
        layer_matrix.draw(pl.concat([rows, rows.with_columns(k=pl.lit(5, pl.Int64))]), "a", "b")


# --- the look -------------------------------------------------------------------------------------------------------


def test_saving_twice_gives_the_same_bytes_and_keeps_dots_in_names(tmp_path):
    models = make_models(7)
    best = make_best(models)
    first = style.save(alignment_matrix.draw(best, models), tmp_path / "one" / "vit.mae")
    again = style.save(alignment_matrix.draw(best, models), tmp_path / "two" / "vit.mae.svg")
    assert [path.name for path in first] == ["vit.mae.svg", "vit.mae.png"]
    for a, b in zip(first, again, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert b"<dc:date>" not in first[0].read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["vit.mae.png", "vit.mae.svg"]


def test_a_failed_save_leaves_nothing(tmp_path):
    fig = style.figure()
    fig.text(0.5, 0.5, "$\\frac{broken$")
    with pytest.raises(ValueError):
        style.save(fig, tmp_path / "figure")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30).map(sorted), st.floats(0.1, 2))
def test_spread_keeps_order_and_gap_and_moves_nothing_that_fits(wanted, gap):
    places = style.spread(wanted, gap)
    assert (np.diff(places) >= gap - 1e-9).all()
    assert np.mean(places) == pytest.approx(np.mean(wanted), abs=1e-9)
    if (np.diff(wanted) >= gap).all():
        assert np.allclose(places, wanted)


def test_spread_keeps_within_its_bounds():
    places = style.spread([0.9, 0.95, 1.0], 0.1, 0.0, 1.0)
    assert places[-1] <= 1.0
    assert np.diff(places) == pytest.approx([0.1, 0.1])
    assert style.spread([-0.5, 0.5], 0.1, 0.0, 1.0).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, ".123"), (-0.05, "-.050"), (1.0, "1.00"), (0.9999, "1.00"), (0, ".000")]
)
def test_short_number(value, text):
    assert style.short_number(value) == text


def test_numbers_in_cells_contrast_with_their_colour():
    assert style.readable_on((1, 1, 1)) == "black"
    assert style.readable_on((0.27, 0, 0.33, 1)) == "white"


def test_colours_and_markers_together_tell_fifty_names_apart():
    names = [str(i) for i in range(50)]
    assert len(set(zip(style.colours(names).values(), style.markers(names).values(), strict=True))) == 50


def test_figures_do_not_load_torch():
    modules = [module.name for module in pkgutil.iter_modules(prh.studies.__path__) if module.ispkg]
    loaded = "{'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    imports = "; ".join(f"import prh.studies.{module}.drawing" for module in modules)
    code = f"import sys; {imports}; sys.exit(bool({loaded}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- notes on ties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [alignment_matrix, cross_modal, k_sweep, n_sweep])
def test_models_whose_neighbours_are_drawn_by_lot_are_named_below(module):
    models = make_models(6)
    over = {"ks": (5, 10)} if module is k_sweep else {"ns": (512, 1024)} if module is n_sweep else {}
    best = make_best(models, **over)
    name = models["model"][0]
    flags = best.with_columns(tied_x=pl.col("model_x") == name, tied_y=pl.col("model_y") == name)
    options = [] if module is n_sweep else [models]
    sentence = f"Ties: more than 5 % of the k-th neighbours in {name} are chosen at random."
    assert sentence in note(module.draw(flags, *options))
    assert "by lot" not in note(module.draw(best, *options)), "tables without these columns name none"
    none = flags.with_columns(tied_x=pl.lit(None, pl.Boolean), tied_y=pl.lit(False))
    assert "by lot" not in note(module.draw(none, *options))


def note(fig: Figure) -> str:
    return " ".join(text.get_text() for text in fig.texts).replace("\n", " ")
