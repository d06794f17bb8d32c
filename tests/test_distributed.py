"""Several processes: forked ranks of one test, or processes that torchrun's agent starts."""

import os
import pickle
import signal
import socket
import time
import traceback
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from gcnlab import Graph, GraphCollection, distributed, fit
from gcnlab.train import EarlyStopping

CHECKOUT = Path(__file__).resolve().parents[1]
TIMEOUT = 8.0  # seconds, of a collective
LIMIT = 60.0  # seconds, of all ranks together


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """torch's, which its first DistributedDataParallel imports: once here, and not in each rank."""
    import torch._dynamo  # noqa: F401


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Outcome:
    """How a rank ended: its exit status, what it returned, and the error that ended it, as Python shows it."""

    def __init__(self, file, status):
        self.status, (self.value, self.error, self.text) = status, (None, None, "")
        if file.exists():
            self.value, self.error, self.text = pickle.loads(file.read_bytes())


@pytest.fixture
def run_ranks(tmp_path):
    """Runs work(rank) in forked ranks of one process group; LIMIT seconds later they are killed and the test fails."""

    def run(work, size=2, timeout=TIMEOUT, resume=lambda pids: None):
        port, pids = free_port(), []
        files = [tmp_path / f"rank {rank} of {port}" for rank in range(size)]
        for rank in range(size):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the process has threads
                pid = os.fork()
            if not pid:
                _be_rank(work, rank, size, port, timeout, files[rank])
            pids.append(pid)
        return [Outcome(file, status) for file, status in zip(files, _wait(pids), strict=True)]

    return run


def values(outcomes):
    for outcome in outcomes:
        assert outcome.status == 0, outcome.text
    return [outcome.value for outcome in outcomes]


def _be_rank(work, rank, size, port, timeout, file):
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test",
    )  # fmt: skip
    status = 1
    try:
        torch.set_num_threads(1)
        os.dup2(os.open(f"{file} stderr", os.O_CREAT | os.O_WRONLY), 2)
        with distributed.processes("cpu", timeout):
            value = work(rank)
        file.write_bytes(pickle.dumps((value, None, "")))
        status = 0
    except BaseException as error:
        file.write_bytes(pickle.dumps((None, type(error), traceback.format_exc())))
    finally:
        os._exit(status)


def _wait(pids):
    """The exit statuses; -9 of a killed one, as subprocess has it."""
    end, statuses = time.monotonic() + LIMIT, {}
    while len(statuses) < len(pids):
        for pid in set(pids) - statuses.keys():
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                statuses[pid] = os.waitstatus_to_exitcode(status)
            elif len(statuses) == len(pids) - 1 and _is_stopped(pid):  # all others are gone: nobody waits for it
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            for pid in set(pids) - statuses.keys():
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"ranks still ran after {LIMIT} s")
        time.sleep(0.02)
    return [statuses[pid] for pid in pids]


def _is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# -- data and models ---------------------------------------------------------------------------------------------------


def collection(num_graphs=37, seed=0):
    """Cycles and paths of 3 to 8 nodes with random features, in float64."""
    torch.manual_seed(seed)
    graphs = []
    for i in range(num_graphs):
        n, is_cycle = 3 + i % 6, i % 2
        source = torch.arange(n - 1 + is_cycle)
        edges = torch.stack([source, (source + 1) % n])
        x = torch.randn(n, 5, dtype=torch.float64)
        graphs.append(Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), n, x=x).replace(y=is_cycle))
    return GraphCollection.from_graphs(graphs)


class PlainClassifier(nn.Module):
    """Two layers and a mean readout, without dropout and BatchNorm."""

    def __init__(self, hidden=7, num_outputs=2):
        super().__init__()
        self.first, self.last = nn.Linear(5, hidden), nn.Linear(hidden, num_outputs)

    def forward(self, x, a_hat, p):
        h = (a_hat @ self.first(x)).relu()
        return self.last((p @ h) / p.to_dense().sum(1, keepdim=True))


def classifier(seed=0, **options):
    torch.manual_seed(seed)
    return PlainClassifier(**options).double()


def train(graphs, val, epochs=4, **options):
    model = classifier()
    history = fit(model, graphs, val, epochs=epochs, batch_size=8, progress=False, **options)
    return model.state_dict(), history.metrics, history.best_epoch


def assert_close(found, expected, tolerance=1e-12):
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=tolerance, msg=name)
    assert torch.equal(found[2], expected[2])


# -- D3, D4: two processes are one -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": torch.tensor([0.2, 1.7], dtype=torch.float64)},
        {"class_weight": torch.tensor([0.0, 1.0], dtype=torch.float64), "clip_norm": 0.1, "average": 0.9},
        {"scheduler": "one-cycle", "label_smoothing": 0.1, "callbacks": [EarlyStopping(2)]},
    ],
    ids=["plain", "weighted", "weight zero", "cycle"],
)
@pytest.mark.parametrize("size", [2, 3])
def test_processes_are_one_process(run_ranks, options, size):
    graphs, val = collection(33), collection(19, seed=1)  # 33: a last batch of one graph, and so of empty shares
    expected = train(graphs, val, **options)
    outcomes = run_ranks(lambda rank: train(graphs, val, **options), size)
    for found in values(outcomes):
        assert_close(found, expected)
