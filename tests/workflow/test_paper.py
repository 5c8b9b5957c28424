"""The paper's experiment is planned as docs/paper.md says it is: the jobs of each stage, in the time that is promised."""

import re
import resource

import pytest
import yaml

from tests.workflow.conftest import lay_out

pytestmark = pytest.mark.slow

CPU_SECONDS = 30
STAGES = {
    "data sets": {"download_dataset", "shard_dataset"},
    "models": {"download_model"},
    "features": {"features"},
    "alignment": {"neighbours", "alignment", "best_layers"},
    "benchmarks": {
        *("probes", "bits_per_byte", "harness", "download_text", "download_task"),
        "scores",
    },
    "studies": {"study", "study_with_statistics", "draw"},
}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_dry_run_has_the_jobs_that_are_documented(repository, tmp_path):
    settings = yaml.safe_load((repository / "experiments/paper.yaml").read_text())
    workflow, before = lay_out(repository, tmp_path, settings), cpu_seconds()
    jobs = workflow.would_run()
    assert cpu_seconds() - before < CPU_SECONDS
    assert set(jobs) == set().union(*STAGES.values())

    section = (repository / "docs/paper.md").read_text().split("## Jobs")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+?)(?:[:,][^|]*)? \| ([\d,]+) \|$", section, re.MULTILINE)
    documented = {stage: int(count.replace(",", "")) for stage, count in rows}
    planned = {stage: sum(jobs[rule] for rule in rules) for stage, rules in STAGES.items()}
    assert documented == {**planned, "all": sum(jobs.values()) + 1}, "the rule `all` counts too"
