"""Through a real SLURM of one node: the profiles of clusters, a job that fails once, one that is cancelled, and GPUs."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.workflow.conftest import Workflow, lay_out, small_real_mini, small_world

pytestmark = [pytest.mark.slow, pytest.mark.whole]

NODE = Path(__file__).with_name("slurm_node.sh")
# Three jobs at once; a test waits for no shared file system, and polls at once.
QUICKLY = ["--jobs", "3", "--latency-wait", "5", "--retries", "1"]

# Python runs it at every start, as sitecustomize: it makes one program fail at its first attempt, holds another up
# until it is cancelled, and writes down which GPU each program holds, and when.
FAULTS = '''
import atexit, os, sys, time
from pathlib import Path

folder, arguments = Path(__file__).parent, sys.orig_argv
program = next((Path(a).name for a in arguments[1:2] if "workflow_scripts" in a), None)
if program:
    job, started = os.environ.get("SLURM_JOB_ID", "none"), time.time()

    def write_down():
        line = f"{program},{job},{os.environ.get('CUDA_VISIBLE_DEVICES', '')},{started},{time.time()}\\n"
        with open(folder / "ran.csv", "a") as stream:
            stream.write(line)

    atexit.register(write_down)
    if program == "train_model.py" and any("random-vit/" in a for a in arguments):
        attempts = folder / "attempts"
        with open(attempts, "a") as stream:
            stream.write(job + "\\n")
        if len(attempts.read_text().split()) == 1:
            sys.exit("injected: the first attempt fails")
    if program == "features.py" and any("llama-w48-300" in a for a in arguments) and (folder / "hold").exists():
        time.sleep(600)
'''


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def node():
    """A SLURM for the tests of this module. It is of the whole machine: other sessions that want it wait."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a SLURM on this machine")
    with open("/var/tmp/prh-slurm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for step in ["start"] if shutil.which("slurmctld") and shutil.which("munged") else ["install", "start"]:
            done = subprocess.run([NODE, step], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no SLURM: {step} of {NODE.name} failed: {(done.stdout + done.stderr)[-300:]}")
        yield
        run("scancel", "--user", "root")
        run(NODE, "stop")
