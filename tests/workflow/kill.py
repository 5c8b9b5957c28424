"""Kill a running experiment at random moments, go on each time, and see that nothing was lost, repeated or broken.

    python -m tests.workflow.kill --times 30 --seed 0

The experiment is the default one, shrunk (`small_world`), in a folder of its own. The whole process group is killed
(SIGKILL). After each kill every file under its final name must be whole; at the end every file that was finished at a
kill must still be the same one, and the tables must be those of a run that was left alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import yaml
from PIL import Image
from polars.testing import assert_frame_equal
from safetensors import SafetensorError
from safetensors.torch import load_file

from prh.io import tables
from tests.workflow.conftest import Workflow, lay_out, small_world

NOT_RESULTS = {"logs", "timings", ".rows.json"}  # the last is what a run has decided at its start


def unfinished(folder: Path) -> set[str]:
    """Outputs of the jobs that ran when snakemake died, by its own marks."""
    marks = folder / ".snakemake/incomplete"
    return {base64.b64decode(mark.name).decode() for mark in marks.iterdir()} if marks.is_dir() else set()


def result_files(folder: Path) -> list[Path]:
    """All files under their final names: no logs, no timings, no locks, no parts of what is being written."""
    found = (path for path in (folder / "results").rglob("*") if path.is_file())
    inside = ((path, path.relative_to(folder / "results").parts) for path in found)
    return [
        path
        for path, parts in inside
        if parts[0] not in NOT_RESULTS and not any(part.endswith((".part", ".parts", ".lock")) for part in parts)
    ]


def output_of(path: Path) -> Path:
    """The output of the job that makes ``path``: mostly itself; of files in a folder beside an output, that one."""
    for place in path.parents:
        if place.name == "source":
            return place.with_suffix(".json")
        if place.name == "files":
            return place.with_name("weights.json")
        if place.parent.name == "tasks":
            return place / f"{place.name}.yaml"
    return path


def finished(folder: Path) -> dict[str, int]:
    """Time of the last change of every file that belongs to a finished job."""
    running = unfinished(folder)
    outputs = {path: output_of(path) for path in result_files(folder)}
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path, output in outputs.items()
        if output.exists() and not any(str(output.relative_to(folder)).startswith(name) for name in running)
    }


def broken(folder: Path) -> list[str]:
    """Files under their final names that cannot be read."""
    bad = []
    for path in result_files(folder):
        try:
            match path.suffix:
                case ".parquet":
                    tables.read(path)
                case ".json":
                    json.loads(path.read_text(encoding="utf-8"))
                case ".jsonl":
                    [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                case ".yaml":
                    yaml.safe_load(path.read_text(encoding="utf-8"))
                case ".safetensors":
                    load_file(path)
                case ".png" | ".jpg":
                    Image.open(path).load()
                case ".svg":
                    ElementTree.parse(path)
        except (ValueError, OSError, SafetensorError, yaml.YAMLError, ElementTree.ParseError) as error:
            bad.append(f"{path}: {error}")
    return bad


def run_and_kill(workflow: Workflow, when: Callable[[], bool], *arguments: str) -> bool:
    """Start a run in a process group of its own and kill the group (SIGKILL) as soon as ``when()`` holds; whether it was
    still running then. ``arguments`` are snakemake's.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = workflow.start("--cores", "2", *arguments, start_new_session=True, **quiet)
    while process.poll() is None and not when():
        time.sleep(0.02)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def after(seconds: float) -> Callable[[], bool]:
    """Whether ``seconds`` have passed since this call."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def experiment(repository: Path) -> dict:
    """The small world with fewer models, so that it can be run again and again, but with every stage."""
    settings = small_world(repository)
    kept = {"reality", "random-vit", "contrastive-convnext-60", "gpt2-w8-30", "gpt2-w16-60"}
    settings["models"] = [entry for entry in settings["models"] if entry["name"] in kept]
    settings["alignment"] |= {"permutations": 20}
    settings["probes"] = [{"name": "side", "train": "world", "label": "side"}]
    return settings


def torment(workflow: Workflow, times: int, seed: int, longest: float) -> int:
    """Run ``workflow`` to its end, killing it ``times`` times after 0 to ``longest`` seconds; returns how often it was.

    Raises AssertionError for a broken file, and for a finished one that was made again.
    """
    draw, kills = random.Random(seed), 0
    kept: dict[str, int] = {}
    for _ in range(times):
        kills += run_and_kill(workflow, after(draw.uniform(0, longest)))
        assert not (bad := broken(workflow.folder)), bad
        require_kept(workflow.folder, kept)
        kept = finished(workflow.folder)
        workflow.snakemake("--unlock")
    workflow.run()
    require_kept(workflow.folder, kept)
    assert not (bad := broken(workflow.folder)), bad
    assert workflow.would_run() == {}
    return kills


def require_kept(folder: Path, kept: dict[str, int]) -> None:
    now = {name: (folder / name).stat().st_mtime_ns for name in kept if (folder / name).exists()}
    again = [name for name, changed in kept.items() if now.get(name) != changed]
    assert not again, f"finished before the kill, and made again: {again}"


def final_tables(workflow: Workflow) -> set[str]:
    """The tables at the end of the workflow, but for that of times."""
    results = workflow.folder / "results"
    found = {path.relative_to(results).as_posix() for path in results.glob("tables/**/*.parquet")}
    return found - {"tables/timings.parquet"}


def assert_same_tables(one: Workflow, other: Workflow) -> None:
    """Raises AssertionError where two finished runs of an experiment did not come to the same."""
    names = final_tables(one)
    assert "tables/alignment.parquet" in names
    assert names == final_tables(other)
    for name in sorted(names):
        assert_frame_equal(one.table(name), other.table(name), abs_tol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=30, help="how often the run is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        calm = lay_out(repository, Path(folder, "calm"), experiment(repository))
        start = time.monotonic()
        calm.run()
        took = time.monotonic() - start
        print(f"left alone, the run takes {took:.0f} s", flush=True)
        rough, kills, seed = lay_out(repository, Path(folder, "rough"), experiment(repository)), 0, arguments.seed
        while kills < arguments.times:
            kills += torment(rough, min(6, arguments.times - kills), seed, took / 2)
            assert_same_tables(calm, rough)
            print(f"killed {kills} times: every table as it must be, nothing made twice, nothing broken", flush=True)
            rough = lay_out(repository, Path(folder, f"rough{seed + 1}"), experiment(repository))
            seed += 1


if __name__ == "__main__":
    main()
