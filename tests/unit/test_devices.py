"""GPUs are pretended: what counts is which names the processes get, and when."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prh.jobs import devices

HOLD = """
import os, sys, time
from prh.jobs.devices import holding_gpus
with holding_gpus(int(sys.argv[1]), poll=0.05) as gpus:
    print(",".join(gpus), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for key in devices.ALLOCATION:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)


def hold(count=1):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(count)], stdout=subprocess.PIPE, text=True)


def says_nothing(job):
    os.set_blocking(job.stdout.fileno(), False)
    time.sleep(1)
    said = job.stdout.readline()
    os.set_blocking(job.stdout.fileno(), True)
    return said == ""


def end(jobs):
    for job in jobs:
        job.kill()
        job.wait()


def test_each_job_has_a_device_of_its_own_and_a_killed_one_frees_it(two_gpus):
    jobs = [hold(), hold()]
    try:
        given = sorted(job.stdout.readline().split() for job in jobs)
        assert given == [["3", "3"], ["5", "5"]]
        jobs.append(hold())
        assert says_nothing(jobs[2]), "the third waits"
        jobs[0].send_signal(signal.SIGKILL)
        assert jobs[2].stdout.readline().split() in (["3", "3"], ["5", "5"])
    finally:
        end(jobs)


def test_a_job_that_waits_for_two_devices_holds_neither(two_gpus):
    jobs = [hold()]
    try:
        assert jobs[0].stdout.readline().split() == ["3", "3"]
        jobs.append(hold(2))
        assert says_nothing(jobs[1])
        jobs.append(hold())
        assert jobs[2].stdout.readline().split() == ["5", "5"]
        for job in (jobs[0], jobs[2]):
            job.send_signal(signal.SIGKILL)
        assert jobs[1].stdout.readline().split() == ["3,5", "3,5"]
    finally:
        end(jobs)


def test_a_job_that_wants_more_than_there_are_holds_all(two_gpus):
    with devices.holding_gpus(8) as gpus:
        assert gpus == ["3", "5"]


def test_the_environment_is_as_before_afterwards(two_gpus):
    with devices.holding_gpus() as gpus:
        assert gpus == [os.environ["CUDA_VISIBLE_DEVICES"]] == ["3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_cpu_jobs_hold_nothing(two_gpus):
    with devices.holding_gpus(2, "cpu") as gpus:
        assert gpus == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_jobs_of_one_allocation_share_its_devices_and_those_of_another_have_their_own(two_gpus, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with devices.holding_gpus() as mine:
        assert mine == ["3"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        with devices.holding_gpus() as beside:
            assert beside == ["5"]
        monkeypatch.setenv("SLURM_JOB_ID", "2")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        with devices.holding_gpus() as elsewhere:
            assert elsewhere == ["3"]


@pytest.mark.parametrize("none", ["", "-1"])
def test_no_visible_device(two_gpus, monkeypatch, none):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
    with devices.holding_gpus() as gpus:
        assert gpus == []


def test_devices_are_named_by_position_as_cuda_names_them(two_gpus, monkeypatch):
    """A container that is given the fourth GPU alone has /dev/nvidia3, which CUDA calls 0."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "_device_files", lambda: [Path("/dev/nvidia3")])
    assert devices.visible_gpus() == ["0"]


def test_a_gpu_that_torch_cannot_use_is_an_error(two_gpus, monkeypatch):
    monkeypatch.setattr(devices, "_device_files", lambda: [Path("/dev/nvidia0")])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with (
        pytest.raises(ValueError, match=r"cannot use GPU 3; look at nvidia-smi .* device: cpu"),
        devices.holding_gpus(),
    ):
        pass
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


@pytest.mark.parametrize("visible", ["", "3"])
@pytest.mark.parametrize(
    ("files", "said"), [([], "there is no GPU here; set compute.device: auto"), (["/dev/nvidia0"], "cannot use")]
)
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(two_gpus, monkeypatch, visible, files, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(devices, "_device_files", lambda: files)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=said), devices.holding_gpus(1, "cuda"):
        pass


def test_a_gpu_without_a_device_file_is_used(two_gpus, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "_device_files", list)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with devices.holding_gpus(1, "cuda") as gpus:
        assert gpus == []


def lock_folder(tmp_path):
    return tmp_path / f"prh-{os.getuid()}"


def test_locks_lie_in_a_folder_that_is_the_users_alone(two_gpus, tmp_path):
    with devices.holding_gpus():
        assert lock_folder(tmp_path).stat().st_mode & 0o777 == 0o700
        assert [path.name for path in lock_folder(tmp_path).iterdir()] == ["gpu-3.lock"]
    lock_folder(tmp_path).chmod(0o777)
    with devices.holding_gpus():
        assert lock_folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_file_that_a_stranger_links_to_is_neither_emptied_nor_taken(two_gpus, tmp_path):
    mine = tmp_path / "thesis.tex"
    mine.write_text("years of work")
    lock_folder(tmp_path).mkdir(mode=0o700)
    (lock_folder(tmp_path) / "gpu-3.lock").symlink_to(mine)
    with pytest.raises(ValueError, match=r"the lock of GPU 3, .* cannot be opened"), devices.holding_gpus():
        pass
    assert mine.read_text() == "years of work"


def test_what_lies_in_a_lock_file_is_not_emptied(two_gpus, tmp_path):
    lock_folder(tmp_path).mkdir(mode=0o700)
    (lock_folder(tmp_path) / "gpu-3.lock").write_text("kept")
    with devices.holding_gpus():
        assert (lock_folder(tmp_path) / "gpu-3.lock").read_text() == "kept"


@pytest.mark.parametrize("taken", ["link", "file", "other"])
def test_a_folder_that_is_not_the_users_is_refused(two_gpus, tmp_path, monkeypatch, taken):
    if taken == "link":
        (tmp_path / "elsewhere").mkdir()
        lock_folder(tmp_path).symlink_to(tmp_path / "elsewhere")
    elif taken == "file":
        lock_folder(tmp_path).write_text("")
    else:
        lock_folder(tmp_path).mkdir()
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        Path(tmp_path, "prh-12345").mkdir()
    with pytest.raises(ValueError, match=r"is not a folder of yours|cannot be created"), devices.holding_gpus():
        pass


def test_a_gpu_with_a_hostile_name_stays_in_the_folder(two_gpus, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "../../x")
    with devices.holding_gpus():
        assert [path.name for path in lock_folder(tmp_path).iterdir()] == ["gpu-.._.._x.lock"]
