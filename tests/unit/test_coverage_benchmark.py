"""The benchmark of intervals and p-values runs and counts; its tables are in docs/statistics.md."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import prh

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("benchmark_of_coverage", PATH)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PATH.parent)  # as for a program, which finds what lies beside it
        spec.loader.exec_module(module)
    return module


def test_a_row_has_the_standard_error_of_a_share(coverage):
    assert coverage.Row("a case", 400, 0.95, 0.9).markdown() == "| a case | 400 | 0.95 | 0.900 | 0.015 |"
    assert coverage.Row("all", 100, 0.95, 1.0).markdown() == "| all | 100 | 0.95 | 1.000 | 0.010 |"


def test_shares_count_draws_and_fewer_draws_are_the_first_of_more(coverage):
    drawn = []

    def counts(rng: np.random.Generator) -> bool:
        drawn.append(rng.random())
        return len(drawn) % 4 == 0

    assert coverage._share("quarter", counts, 8) == 0.25
    assert coverage._share("again", counts, 4) == 0.25
    assert drawn[:4] == drawn[8:]
    assert len(set(drawn)) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("section", "least", "most"), [("pairs", 0.6, 1), ("qap", 0, 0.4), ("null", 0, 0.5)])
def test_sections_observe_rates_near_the_nominal_ones(coverage, section, least, most):
    draws = 5 if section == "null" else 20
    rows = list(coverage.SECTIONS[section](draws))
    assert len({row.case for row in rows}) == len(rows) > 5
    assert all(row.draws == draws and least <= row.observed <= most for row in rows)
    assert sum(row.observed for row in rows) / len(rows) == pytest.approx(rows[0].nominal, abs=0.1)


def test_an_interval_holds_what_lies_in_it_and_a_missing_one_nothing(coverage):
    low, high = np.array([0.0, 0.4, np.nan]), np.array([1.0, 1.0, np.nan])
    drawn = coverage.coverage_scores.Drawn(np.full(3, 0.5), low, high)
    assert drawn.holds(0.5) == pytest.approx(2 / 3)
    assert drawn.holds(np.array([0.5, 0.3, 0.5])) == pytest.approx(1 / 3)


def test_grids_have_a_cell_for_every_alignment(coverage, monkeypatch):
    scores = coverage.coverage_scores
    monkeypatch.setattr(scores, "NAMES", ("mutual_knn", "cka"))
    monkeypatch.setattr(scores, "SIZES", {40: 10})
    monkeypatch.setattr(scores, "CHOICE", ("cka",))
    monkeypatch.setattr(scores, "CHOICE_SIZE", 40)
    for grid, rows in (("scores", 2), ("clusters", 2), ("choice", 2)):
        header, rule, *lines = coverage.TABLES[grid](20)
        assert header.endswith("| draws | chance | low | middle | high |")
        assert len(lines) == rows
        assert {line.count("|") for line in (header, rule, *lines)} == {8}


@pytest.mark.parametrize(("draw", "noise"), [("models", "NOISE"), ("clustered", "CLUSTERED_NOISE")])
def test_models_align_as_they_are_called(coverage, draw, noise):
    """Less noise, more alignment; different things, none."""
    scores = coverage.coverage_scores
    draw, noises = getattr(scores, draw), getattr(scores, noise).values()
    means = [
        np.mean([prh.align(*draw(np.random.default_rng(seed), 100, of), "unbiased_cka").best for seed in range(5)])
        for of in noises
    ]
    assert abs(means[0]) < 0.02
    assert means[1] < 0.1 < means[2] < 0.4 < means[3]


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["chance", "middle", "high"])
def test_intervals_of_scores_hold_the_truth(coverage, noise):
    """At n = 100; 100 draws have an error of 0.022, four of which below 0.95 are 0.86."""
    scores = coverage.coverage_scores
    names = ("mutual_knn", "cycle_knn", "cknna", "unbiased_cka", "rsa", "linear_regression")
    design = scores.Design(scores.models, scores.NOISE, scores.K)
    for name, drawn in scores.given_pair(design, 100, noise, 100, names).items():
        width = np.mean(np.minimum(drawn.high, 2 * drawn.score - drawn.low) - drawn.low)
        assert drawn.holds(drawn.score.mean()) >= 0.86, name
        if name != "cycle_knn":  # near 1 its least variance is wide
            assert width / 4 / drawn.score.std() < 1.3, name


@pytest.mark.slow
def test_intervals_of_chosen_pairs_know_of_the_choice(coverage):
    as_given, knowing = coverage.coverage_scores.chosen_pair("unbiased_cka", None, 60, "choice")
    assert as_given < 0.85 <= knowing


def test_too_few_draws_and_unknown_sections_are_refused(coverage, monkeypatch, capsys):
    for arguments, message in ((["--draws", "1"], "at least 2"), (["--sections", "moods"], "invalid choice: 'moods'")):
        monkeypatch.setattr("sys.argv", ["coverage.py", *arguments])
        with pytest.raises(SystemExit):
            coverage.main()
        assert message in capsys.readouterr().err
