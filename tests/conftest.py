import os
import socket
import warnings
from pathlib import Path

import pytest
import torch

from gcnlab.errors import DatasetNotFoundError


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
