"""The benchmark of intervals and p-values runs and counts; its tables are in docs/statistics.md."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("benchmark_of_coverage", PATH)
    module = importlib.util.module_from_spec(spec)
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


def test_too_few_draws_and_unknown_sections_are_refused(coverage, monkeypatch, capsys):
    for arguments, message in ((["--draws", "1"], "at least 2"), (["--sections", "moods"], "invalid choice: 'moods'")):
        monkeypatch.setattr("sys.argv", ["coverage.py", *arguments])
        with pytest.raises(SystemExit):
            coverage.main()
        assert message in capsys.readouterr().err
