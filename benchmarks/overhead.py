"""How much of an experiment's wall time is not the work of its stages: with jobs that are forked, and that start anew.

python benchmarks/overhead.py [--configfile config.yaml] [--cores 2]

The experiment runs twice from nothing, in a temporary folder. Work is what each job counts from the end of its imports
to its own end, less what it imports then; outside is all else that the cores could have done meanwhile: imports, the
start of processes, snakemake, cores without a job.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml

REPOSITORY = Path(__file__).parents[1]
PARTS = ["rules", "workflow_scripts", "forkserver", "profiles", "envs", "resources"]


def lay_out(folder: Path, configfile: Path, forkserver: bool) -> None:
    for name in PARTS:
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    settings = yaml.safe_load(configfile.read_text(encoding="utf-8"))
    settings["results"] = "results"
    settings.setdefault("compute", {})["forkserver"] = forkserver
    (folder / "overhead.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def run(folder: Path, cores: int) -> float:
    """Run the experiment in ``folder``; seconds of wall time."""
    environment = {"PYTHONPATH": str(folder / "workflow_scripts"), "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", "overhead.yaml"]
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"the experiment failed:\n{(folder / 'log').read_text()[-3000:]}")
    return time.perf_counter() - start


def imports(logs: Path) -> tuple[float, float]:
    """Seconds of all imports of the jobs, and of those in their work: after the heading of the log."""
    total = inside = 0.0
    for log in logs.rglob("*.log"):
        before, _, after = log.read_text(encoding="utf-8", errors="replace").partition("\npython ")
        seconds = [sum(map(int, re.findall(r"import time: +(\d+) \|", part))) / 1e6 for part in (before, after)]
        total, inside = total + sum(seconds), inside + seconds[1]
    return total, inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=REPOSITORY / "config.yaml")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    walls = []
    for forkserver in (True, False):
        with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
            lay_out(Path(folder), arguments.configfile, forkserver)
            wall = run(Path(folder), arguments.cores)
            jobs = pl.read_parquet(f"{folder}/results/tables/timings.parquet")
            total, inside = imports(Path(folder, "results/logs"))
        work = jobs["work_seconds"].sum() - inside
        print(
            f"{'forks' if forkserver else 'anew '}: {wall:.0f} s on {arguments.cores} cores, {jobs.height} jobs,"
            f" {jobs['seconds'].sum():.0f} s of jobs, {work:.0f} s of work, {total:.0f} s of imports;"
            f" outside the work {1 - work / (wall * arguments.cores):.1%};"
            f" before or after it {(jobs['seconds'] - jobs['work_seconds']).median():.2f} s in the median job",
            flush=True,
        )
        walls.append(wall)
    print(f"anew / forks: {walls[1] / walls[0]:.2f}")


if __name__ == "__main__":
    main()
