"""What of the machine a process may use: cores, memory, devices."""

import inspect
import io
import os
import sys

import pytest
import torch

from gcnlab import bench, distributed, doctor, jobs, machine, memory, threads
from gcnlab.errors import InputError
from gcnlab.machine import available_memory, check_devices, cpu_quota, has_terminal, is_same_device, tell, usable_cores

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_usable_cores_are_those_bound_to(monkeypatch):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for quota, cores in ((None, 8), (2.5, 3), (0.5, 1), (16.0, 8)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert usable_cores() == cores


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000", "cpu.max": "400000 100000"}, 2.0),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000"}, 3.0),  # in a container
        ("4:cpu,cpuacct:/x\n1:memory:/y\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 0.5),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("1:cpuset:/\n", {}, None),
        ("0::/\n", {"cpu.max": ""}, None),
    ],
)  # fmt: skip
def test_cpu_quota(tmp_path, own, files, expected):
    assert cpu_quota(tmp_path / "none") is None
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cpu_quota(tmp_path / "own", tmp_path / "mounted") == expected


def write_groups(folder, own, files):
    (folder / "own").write_text(own)
    for name, text in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return folder / "own", folder / "mounted"


@on_linux
@pytest.mark.parametrize(
    ("own", "files", "most"),
    [
        ("0::/\n", {"memory.max": 5000, "memory.current": 1000}, 4000),
        ("0::/pod/job\n", {"pod/memory.max": "max", "pod/job/memory.max": 5000, "pod/job/memory.current": 1500}, 3500),
        ("0::/pod/job\n", {"pod/memory.max": 9000, "pod/memory.current": 8000, "pod/job/memory.max": 5000, "pod/job/memory.current": 0}, 1000),
        ("0::/of/the/host\n", {"memory.max": 7000, "memory.current": 0}, 7000),  # in a container
        ("0::/a\n", {"a/memory.max": 100, "a/memory.current": 900}, 0),
        ("4:memory:/x\n1:cpu:/y\n", {"memory/x/memory.limit_in_bytes": 6000, "memory/x/memory.usage_in_bytes": 2000}, 4000),
    ],
)  # fmt: skip
def test_available_memory_is_that_of_the_process_s_own_control_groups(tmp_path, own, files, most):
    assert available_memory(*write_groups(tmp_path, own, files)) == most


@on_linux
def test_no_limit_of_a_control_group(tmp_path):
    free = available_memory(tmp_path / "none", tmp_path)
    for files in ({"a/memory.max": "max"}, {"a/memory.max": ""}, {}):
        assert available_memory(*write_groups(tmp_path, "0::/a\n", files)) > free / 2


def test_every_command_asks_for_the_cores_that_it_may_use(monkeypatch):
    """Each asks here, and none asks the system for all that there are (doctor says both)."""
    for room in (jobs, threads, bench, doctor):
        assert room.usable_cores is usable_cores
        assert ("cpu_count" in inspect.getsource(room)) == (room is doctor)
    assert doctor.available_memory is memory.available_memory is available_memory
    asked = []
    monkeypatch.setattr(jobs, "usable_cores", lambda: 3)
    monkeypatch.setattr(distributed, "in_processes", lambda function, items, workers: asked.append(workers) or [])
    for workers in (None, 2):
        list(jobs.run_all(len, ["a job", "another"], workers))
    assert asked == [3, 2]


def test_what_a_report_says_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine.describe()["processor"] == f"{machine.processor()}, 7 cores"
    assert list(machine.describe()) == ["processor", "system", *["GPU"] * torch.cuda.is_available()]
    assert machine.processor() == machine.processor().strip() != ""
    assert machine.versions()["torch"] == torch.__version__


@on_linux
def test_peak_memory_counts_what_is_held_and_let_go():
    before = machine.peak_memory_mib()
    size = int(before) + 64  # of which some may fit below the peak of before
    block = b"x" * (size << 20)
    assert machine.peak_memory_mib() >= size
    del block
    assert machine.peak_memory_mib() >= size


def test_names_of_devices():
    assert is_same_device("cpu", torch.device("cpu", 0))
    assert is_same_device(torch.device("meta", 0), "meta")
    assert not is_same_device("cpu", "meta")
    assert not is_same_device("cuda:0", "cuda:1")
    assert not is_same_device("cpu", "cuda")
    check_devices(a=None, b=[1], c=torch.ones(1), d=torch.ones(1, device="cpu:0"))
    with pytest.raises(InputError, match=r"^d: is on meta, but c is on cpu; move one with \.to\(device\)\.$"):
        check_devices(a=None, c=torch.ones(1), d=torch.ones(1, device="meta"))


class Gone(io.StringIO):
    """A terminal that was closed while the process ran."""

    def isatty(self):
        return True

    def write(self, text):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("stream", [None, "closed", "gone"])
def test_a_stderr_that_nobody_reads_is_no_error(monkeypatch, capsys, stream):
    streams = {"closed": io.StringIO(), "gone": Gone()}
    streams["closed"].close()
    monkeypatch.setattr(sys, "stderr", streams.get(stream))
    assert has_terminal() is (stream == "gone")
    tell("a message")
    assert capsys.readouterr().out == ""  # where print would write it
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    tell("a message")
    assert sys.stderr.getvalue() == "gcnlab: a message\n"
