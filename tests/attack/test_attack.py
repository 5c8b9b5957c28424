"""A thousand changed experiments, and every kind of file with every damage. More: python -m tests.attack"""

import pytest

from tests.attack import configurations, damage, kinds_of_models, kinds_of_results, kinds_of_sources


def test_a_thousand_changed_experiments_run_or_are_refused_in_sentences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = configurations.attack(tmp_path, 1000, seed=0)
    assert counts["runs"] > 20
    assert counts["refused"] > 500
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize(
    "module", [kinds_of_results, kinds_of_sources, kinds_of_models], ids=lambda module: module.__name__
)
def test_a_damaged_file_is_named_in_one_sentence_or_made_anew(module, tmp_path):
    kinds = module.kinds()
    rows = list(damage.attack(tmp_path, kinds))
    assert len(rows) >= len(kinds) * (len(damage.DAMAGES) - 1)
    assert [str(row) for row in rows if row.is_wrong] == []
    assert {row.damage for row in rows if row.outcome == "told"} >= set(damage.DAMAGES) - {"unreadable"}


def test_permissions_of_files_hold_in_the_matrix_for_root_too(tmp_path):
    path = tmp_path / "x"
    path.write_text("x")
    path.chmod(0)
    if damage.can_give_up_power():
        with damage.as_a_user(), pytest.raises(PermissionError):
            path.read_text()
    path.chmod(0o600)
    assert path.read_text() == "x"
