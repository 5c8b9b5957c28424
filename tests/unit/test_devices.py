"""GPUs are pretended: what counts is which names the processes get, and when."""

import os
import signal
import subprocess
import sys
import time

import pytest

from prh import devices

HOLD = """
import os, sys, time
from prh.devices import one_gpu
with one_gpu(poll=0.05) as gpu:
    print(gpu, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)


def hold():
    return subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)


def test_each_job_has_a_device_of_its_own_and_a_killed_one_frees_it(two_gpus):
    jobs = [hold(), hold()]
    try:
        given = sorted(job.stdout.readline().split() for job in jobs)
        assert given == [["3", "3"], ["5", "5"]]
        third = hold()
        jobs.append(third)
        os.set_blocking(third.stdout.fileno(), False)
        time.sleep(1)
        assert third.stdout.readline() == "", "the third waits"
        jobs[0].send_signal(signal.SIGKILL)
        os.set_blocking(third.stdout.fileno(), True)
        assert third.stdout.readline().split() in (["3", "3"], ["5", "5"])
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def test_the_environment_is_as_before_afterwards(two_gpus):
    with devices.one_gpu() as gpu:
        assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_cpu_jobs_hold_nothing(two_gpus):
    with devices.one_gpu("cpu") as gpu:
        assert gpu is None
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_what_the_cluster_gave_is_left_alone(two_gpus, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with devices.one_gpu() as gpu:
        assert gpu == "3"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


@pytest.mark.parametrize("none", ["", "-1"])
def test_no_visible_device(two_gpus, monkeypatch, none):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
    with devices.one_gpu() as gpu:
        assert gpu is None
