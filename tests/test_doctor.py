import json
import os
import re
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import requests
import torch
from test_cli import fill, gcnlab  # noqa: F401 (a fixture)

from gcnlab import doctor
from gcnlab.data import catalog
from gcnlab.doctor import diagnose


@pytest.fixture
def well(data_root, monkeypatch):
    """A machine on which nothing is wrong."""
    monkeypatch.setattr(doctor, "DEPENDENCIES", {"torch": doctor.DEPENDENCIES["torch"]})
    monkeypatch.setattr(doctor, "KNOWN_BAD", {})
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1024)
    monkeypatch.setattr(doctor, "available_memory", lambda: 8 << 30)
    monkeypatch.setattr(doctor, "_median", lambda epoch: (0.002, 1.0))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(doctor, "why_unreachable", lambda url: "")
    return data_root


def the_problem(check, **options):
    """The only problem of a diagnosis."""
    (problem,) = diagnose(**options)["problems"]
    assert problem["check"] == check
    return problem


def test_no_problem(gcnlab, well, tmp_path):  # noqa: F811
    file = tmp_path / "new" / "doctor.json"
    status, said, wrong = gcnlab("doctor", "--json", file)
    assert (status, wrong) == (0, "")
    assert said.endswith("\nno problem found\n")
    assert f"  {well}: writable, " in said
    assert f"torch            {metadata.version('torch')}" in said
    found = json.loads(file.read_text())
    assert found["problems"] == []
    assert list(found["checks"]) == ["versions", "devices", "CPU threads", "memory", "data", "speed"]
    assert found["checks"]["memory"]["available bytes"] == 8 << 30


def test_problems_are_listed_with_remedies_and_status_1(gcnlab, well, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(doctor, "available_memory", lambda: 100 << 20)
    monkeypatch.setenv("GCNLAB_DATA", str(tmp_path / "nowhere"))
    status, said, wrong = gcnlab("doctor", "--json", tmp_path / "doctor.json")
    assert (status, wrong) == (1, "")
    assert said.endswith(
        "\n2 problems\n"
        "1. memory: 0.10 GiB are available, and a small recipe takes 1\n"
        "   remedy: end what holds the memory, or raise the limit of this process (ulimit, the container's)\n"
        f"2. data: GCNLAB_DATA: {tmp_path}/nowhere does not exist\n"
        f"   remedy: mkdir -p {tmp_path}/nowhere, or correct the path\n"
    )
    assert len(json.loads((tmp_path / "doctor.json").read_text())["problems"]) == 2


def test_what_a_broken_package_raises_is_a_finding(well, monkeypatch):
    def broken(epoch):
        raise AttributeError("module 'triton'\nhas no attribute 'language'")

    monkeypatch.setattr(doctor, "_median", broken)
    problem = the_problem("speed")
    assert problem["problem"] == "AttributeError: module 'triton' has no attribute 'language'"
    assert "reinstall" in problem["remedy"]


# -- versions ---------------------------------------------------------------------------------------------------------


def test_a_missing_package(well, monkeypatch):
    monkeypatch.setattr(doctor, "DEPENDENCIES", {"no-such-package": ("no_such_module", "`gcnlab dream`")})
    problem = the_problem("versions")
    assert problem["problem"] == "no-such-package is missing, which `gcnlab dream` needs"
    assert problem["remedy"] == "pip install --upgrade no-such-package"


def test_a_package_that_cannot_be_imported(well, monkeypatch, tmp_path):
    (tmp_path / "broken_module.py").write_text("raise ImportError('libfoo.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "DEPENDENCIES", {"torch": ("broken_module", "all of it")})
    assert diagnose()["problems"] == []
    problem = the_problem("versions", verify=True)
    assert problem["problem"] == (
        "torch cannot be imported, which all of it needs (ImportError: libfoo.so: cannot open)"
    )
    assert problem["remedy"] == "pip install --force-reinstall torch"


@pytest.mark.parametrize(
    ("version", "says", "remedy"),
    [
        ("2.5.1+cpu", "torch is 2.5.1+cpu, older than 2.6", "pip install --upgrade 'torch>=2.6'"),
        ("2.6.0+cu124", "torch is 2.6.0+cu124; torch.export", "pip install --upgrade torch"),
        ("2.6.1", None, None),
        ("2.13.0", None, None),
        ("3.0", None, None),
    ],
)
def test_old_and_bad_versions(monkeypatch, version, says, remedy):
    monkeypatch.setattr(doctor, "DEPENDENCIES", {"torch": doctor.DEPENDENCIES["torch"]})
    monkeypatch.setattr(metadata, "version", lambda name: version)
    problems = doctor._versions(verify=False).problems
    if says is None:
        assert problems == []
    else:
        assert problems[0][0].startswith(says)
        assert problems[0][1] == remedy


# -- devices ----------------------------------------------------------------------------------------------------------


def test_a_driver_without_a_torch_for_it(well, monkeypatch):
    monkeypatch.setattr(doctor, "has_nvidia_driver", lambda: True)
    assert "torch is built for the CPU" in the_problem("devices")["problem"]
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert the_problem("devices")["remedy"] == "CUDA_VISIBLE_DEVICES is '': unset it"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "serves CUDA 12.8" in the_problem("devices")["remedy"]


def test_cuda_devices(well, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (3 << 30, 4 << 30))

    def ones(*shape, device):
        if device == "cuda:1":
            raise RuntimeError("no kernel image is available")
        return torch.zeros(shape)

    monkeypatch.setattr(torch, "ones", ones)
    found = doctor._devices()
    assert found.lines[1:] == ["cuda:0  Card 0, 3.0 of 4.0 GiB free", "cuda:1  Card 1, 3.0 of 4.0 GiB free"]
    ((problem, remedy),) = found.problems
    assert problem == "cuda:1 (Card 1) does not compute: no kernel image is available"
    assert "--device cpu" in remedy


# -- CPU threads ------------------------------------------------------------------------------------------------------


def test_more_threads_than_cores(well, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    problem = the_problem("CPU threads")
    assert problem["problem"] == "torch uses 8 threads, and this process may use 2 cores: they wait for each other"
    assert problem["remedy"].startswith("export OMP_NUM_THREADS=2")


@pytest.mark.parametrize(
    ("value", "is_wrong"), [("two", True), ("0", True), ("-1", True), ("2", False), ("4,2", False)]
)
def test_omp_num_threads(well, monkeypatch, value, is_wrong):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert [problem["check"] for problem in diagnose()["problems"]] == ["CPU threads"] * is_wrong


# -- data -------------------------------------------------------------------------------------------------------------


def sized(root, name):
    """The raw folder of a set, with files of the right size and other bytes."""
    folder = fill(root, name)
    for file in catalog()[name]["files"]:
        (folder / file["name"]).write_bytes(bytes(file["size"]))
    return folder


def test_a_root_that_is_a_file(well, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path}/file{os.pathsep}{well}")
    problem = the_problem("data")
    assert problem["problem"] == f"GCNLAB_DATA: {tmp_path}/file is a file"
    assert the_problem("data", root=str(tmp_path / "none"))["problem"] == f"root: {tmp_path}/none does not exist"


def test_no_root_to_write_to(well):
    well.chmod(0o555)
    problem = the_problem("data")
    assert problem["problem"].startswith(f"no data root can be written ({well})")
    assert problem["remedy"].startswith(f"export GCNLAB_DATA=FOLDER{os.pathsep}{well}")


def test_a_root_that_cannot_be_read(monkeypatch, tmp_path):
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may read everything
    monkeypatch.setattr(doctor, "why_unreachable", lambda url: "")
    problems = doctor._data(str(tmp_path / "root"), verify=False).problems
    assert problems[0] == (f"root: {tmp_path}/root cannot be read", f"chmod u+rx {tmp_path}/root, as its owner")


def test_what_the_roots_hold(well, monkeypatch, tmp_path):
    other = tmp_path / "other"
    monkeypatch.setenv("GCNLAB_DATA", f"{well}{os.pathsep}{other}")
    sized(other, "mutag")
    files = sized(well, "cora")
    found = diagnose()
    assert found["problems"] == []
    first, second = found["checks"]["data"]["roots"]
    assert (first["sets"], second["sets"]) == ({"cora": {}}, {"mutag": {}})

    (files / "ind.cora.x").unlink()
    (files / "ind.cora.graph").unlink()
    problem = the_problem("data")
    assert problem["problem"] == f"cora in {well} lacks 2 of 8 files"
    assert problem["remedy"].startswith("`gcnlab data fetch cora`; without a network: Put into ")
    assert "ind.cora.x, ind.cora.graph" in problem["remedy"]

    whole = sized(other, "cora")  # which is then the one that is read
    assert diagnose()["problems"] == []
    (whole / "ind.cora.y").write_bytes(b"cut short")
    assert [problem["problem"] for problem in diagnose()["problems"]] == [
        f"{whole} holds files that are not the source's: ind.cora.y (wrong size)",
        f"cora in {well} lacks 2 of 8 files",
    ]


def test_hashes_on_request_alone(well):
    folder = sized(well, "mutag")
    assert diagnose()["problems"] == []
    problem = the_problem("data", verify=True)
    name = catalog()["mutag"]["files"][0]["name"]
    assert problem["problem"] == f"{folder} holds files that are not the source's: {name} (wrong sha256)"
    assert problem["remedy"].endswith("`gcnlab data fetch mutag`")


def test_temporaries_of_killed_processes(well):
    folder = well / "cora" / "processed"
    folder.mkdir(parents=True)
    left = folder / ".graph.gcnlab.0123456789ab.gcnlab-tmp"
    left.touch()
    problem = the_problem("data")
    assert problem["remedy"] == f"rm {left}"
    assert left.exists()


WITHOUT_FILES = "karate, davis, les-miserables, digits, as in `gcnlab run karate-gcn`, and your own files by their path"


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        ("", r"`gcnlab data fetch cora` brings one\."),
        (
            "no answer within 4 s",
            r"no connection .*https://.*: no answer within 4 s\), and `gcnlab data fetch cora` says",
        ),
    ],
)
def test_no_data_set_is_a_note_and_no_problem(gcnlab, well, monkeypatch, tmp_path, reason, how):  # noqa: F811
    asked = []
    monkeypatch.setattr(doctor, "why_unreachable", lambda url: asked.append(url) or reason)
    file = tmp_path / "doctor.json"
    status, said, wrong = gcnlab("doctor", "--json", file)
    assert (status, wrong) == (0, "")
    note, end = said.splitlines()[-2:]
    assert re.fullmatch(
        rf"note: data: no data set is in {well}; .*{how}.*Without files there are {WITHOUT_FILES}", note
    )
    assert end == "no problem found"
    found = json.loads(file.read_text())
    assert found["notes"] == [{"check": "data", "note": note.removeprefix("note: data: ")}]
    data = found["checks"]["data"]
    assert (data["connection"], data["no connection because"]) == (not reason, reason or None)
    assert len(asked) == 1
    sized(well, "mutag")  # one is there, so that the network is none of the doctor's business
    found = diagnose()
    assert (found["notes"], found["checks"]["data"]["connection"]) == ([], None)
    assert len(asked) == 1


def test_the_network_is_asked_for_a_few_seconds_at_most(data_root, monkeypatch):
    monkeypatch.setattr(sys.modules["gcnlab.data.fetch"], "_CONNECT_SECONDS", 0.2)

    def hang(url, **_):  # as a name server that never answers
        time.sleep(1.5)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", hang)
    start = time.perf_counter()
    assert "no answer within 0 s" in doctor._data(None, verify=False).notes[0]
    assert time.perf_counter() - start < 1.2


def test_no_connection_without_the_package_that_makes_one(data_root, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    assert "no connection to fetch one" in doctor._data(None, verify=False).notes[0]


# -- speed ------------------------------------------------------------------------------------------------------------


def test_speed_is_measured(monkeypatch):
    monkeypatch.setattr(doctor, "_SPEED_SECONDS", 0.2)
    facts = doctor._speed().facts
    assert 0 < facts["epoch seconds median"] < 10
    assert 0 < facts["share of a core"] <= 1


@pytest.mark.parametrize(
    ("measured", "threads", "remedy"),
    [
        ([(0.1, 0.3)], 1, "other processes .* left it 30 % of a core"),
        ([(0.1, 1.0), (0.01, 1.0)], 4, "one thread takes 10.0 ms: export OMP_NUM_THREADS=1"),
        ([(0.1, 0.3), (0.01, 1.0)], 4, "other processes .* of a core: .*; one thread takes 10.0 ms"),
        ([(0.1, 1.0), (0.09, 1.0)], 4, "see whether the machine saves power"),
    ],
)
def test_a_slow_epoch_and_its_cause(monkeypatch, measured, threads, remedy):
    measured = iter(measured)
    monkeypatch.setattr(doctor, "_median", lambda epoch: next(measured))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    ((problem, how),) = doctor._speed().problems
    assert problem == "an epoch takes 86 times what was recorded"
    assert re.match(remedy, how)
    assert next(measured, None) is None


def test_the_recorded_epoch_is_the_benchmarks():
    file = Path(__file__).parents[1] / "benchmarks" / "results" / "epoch-cora.json"
    recorded = json.loads(file.read_text())["epoch_seconds_median"]["gcnlab, whole graph"]
    assert pytest.approx(recorded, rel=0.01) == doctor.RECORDED_SECONDS
