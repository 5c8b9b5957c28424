"""The profiles name rules that exist (Snakemake passes over others in silence), and what needs the network stays at home."""

import re

import pytest
import yaml


@pytest.fixture(scope="module")
def rules(repository) -> dict[str, str]:
    """The text of each rule by its name."""
    text = "\n".join(path.read_text() for path in sorted((repository / "rules").glob("*.smk")))
    parts = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(params=["default", "slurm", "generic", "s3"])
def profile(request, repository) -> dict:
    return yaml.safe_load((repository / "profiles" / request.param / "config.yaml").read_text())


def test_profiles_name_rules_that_exist(profile, rules):
    assert profile.get("set-resources", {}).keys() <= rules.keys()


def test_downloads_and_nothing_else_run_on_the_login_node(rules):
    local = {name for name, text in rules.items() if "localrule: True" in text}
    assert local == {name for name in rules if name.startswith("download_")} | {
        "note_given"
    }  # files here, as local weights


def test_each_job_is_timed_beside_its_log(rules):
    for name, text in rules.items():
        logs = re.findall(r'"<logs>/(.*)\.log"', text)
        assert logs, name
        assert re.findall(r'"<timings>/(.*)\.tsv"', text) == logs, name


def test_a_profile_fits_on_a_screen(repository):
    for path in sorted((repository / "profiles").glob("*/*")):
        lines = path.read_text().splitlines()
        assert len(lines) <= 50, path
        assert max(map(len, lines)) <= 120, path
        assert lines[0].startswith("#"), path
