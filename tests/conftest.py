import datetime
import json
import os
import platform
import socket
import time
import warnings
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: one thread each, or they wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings
from promises import TESTS

from gcnlab.errors import DatasetNotFoundError


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="as many trials as the reliability plan asks for")
    parser.addoption("--record", metavar="FILE", help="write what the promises were tested with, as JSON")


def pytest_configure(config):
    config.began = time.time()
    settings.register_profile("short", max_examples=100, derandomize=True, deadline=None, database=None)
    settings.register_profile("long", max_examples=1000, deadline=None, database=None, print_blob=True)
    settings.load_profile("long" if config.getoption("--long") else "short")


def pytest_collection_modifyitems(config, items):
    """Mark the tests of a promise with its row."""
    for item in items:
        name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
        for row in (row for row, tests in TESTS.items() if name in tests):
            item.add_marker(pytest.mark.promise(row))
            item.user_properties.append(("row", row))


@pytest.fixture
def trials(request, record_property):
    """`trials(what, number, at_length)`: how many trials to make, and that they were made."""

    def of(what: str, number: int, at_length: int) -> int:
        number = at_length if request.config.getoption("--long") else number
        record_property("trials", (what, number))
        return number

    return of


def pytest_terminal_summary(terminalreporter, config):
    """With --record: for each promise, and each kind of trial, how many tests and trials there were, and failures."""
    if not config.getoption("--record"):
        return
    rows, trials = {}, {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.getreports(outcome):
            for key, value in getattr(report, "user_properties", ()):
                if key == "row" and (report.when == "call" or outcome != "passed"):
                    row = rows.setdefault(value, {"passed": 0, "failed": 0, "skipped": 0})
                    row[outcome] += 1
                if key == "trials" and report.when == "call":
                    of = trials.setdefault(value[0], {"number": 0, "failed_tests": 0, "seconds": 0.0})
                    of["number"] += value[1]
                    of["failed_tests"] += outcome == "failed"
                    of["seconds"] = round(of["seconds"] + report.duration, 1)
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "form": "long" if config.getoption("--long") else "short",
        "seconds": round(time.time() - config.began),
        "rows": dict(sorted(rows.items(), key=lambda item: list(TESTS).index(item[0]))),
        "trials": trials,
    }
    Path(config.getoption("--record")).write_text(json.dumps(record, indent=2) + "\n")


@pytest.fixture(scope="session", autouse=True)
def offline():
    """Plain pytest runs without a network: only this machine may be reached."""
    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test of real files skips where they are not; where GCNLAB_REQUIRE_DATA is set, it has then failed."""
    report = yield
    if (
        call.excinfo is not None
        and item.get_closest_marker("data")
        and call.excinfo.errisinstance(DatasetNotFoundError)
    ):
        report.outcome, report.longrepr = (
            "skipped",
            (str(item.path), item.location[1], f"Skipped: {call.excinfo.value}"),
        )
    if report.skipped and item.get_closest_marker("data") and os.environ.get("GCNLAB_REQUIRE_DATA"):
        report.outcome, report.longrepr = "failed", f"skipped, but the data must be there: {report.longrepr}"
    return report


@pytest.fixture
def data_root(tmp_path, monkeypatch) -> Path:
    """An empty data root, the only one."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("GCNLAB_DATA", str(root))
    return root


@pytest.fixture(scope="session")
def pyg():
    """torch_geometric, whose first import says that what it is built on is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_geometric.nn
    return torch_geometric


@pytest.fixture(scope="module")
def one_thread():
    """Matrices of seven rows gain nothing from threads, and lose much to them where the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
