"""What a training takes: the estimate beside what the system measures, refusal before it is taken, what is kept."""

import json
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from gcnlab import (
    GCN,
    ChebConv,
    GATConv,
    Graph,
    GraphCollection,
    SAGEConv,
    SparseMatrix,
    fit,
    keep_freed_memory,
    memory,
)
from gcnlab.data.synthetic import power_law_edges
from gcnlab.errors import GcnlabError, InputError, MemoryLimitError
from gcnlab.scale import NeighborSampler

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def python(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Square(nn.Module):
    """relu(x w): on 1,000 rows of 8 columns every array is 32,000 bytes, and w is 256."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x):
        return (x @ self.weight).relu()


def test_estimate_by_hand():
    x = torch.zeros(1000, 8)
    before = Square()
    state = {name: value.clone() for name, value in before.state_dict().items()}
    # x, w, Adam's two; x w dies with relu's end, relu(x w), which its derivative reads, lives, as does .sum()'s expanded
    # gradient (no memory of its own); the derivative of x w is a third array while relu(x w) is there.
    least, most = 2 * 32_000 + 3 * 256 + 32_000, 3 * 32_000 + 4 * 256 + 64
    assert least <= memory.estimate_step(before, x) <= most
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in state.items())
    assert before.weight.device.type == "cpu"
    assert before.weight.grad is None
    assert before.training


CODE = """
import json, sys, torch, gcnlab
from gcnlab.data.synthetic import power_law_edges
torch.set_num_threads(1)
kind, num_nodes = sys.argv[1], 60_000
def high_water():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) << 10
def make(kind):
    torch.manual_seed(0)
    if kind == "GCN":
        return gcnlab.GCN(64, 256, 10, num_layers=3), "a_hat"
    return {"GATConv": gcnlab.GATConv(64, 64, num_heads=4), "ChebConv": gcnlab.ChebConv(64, 128)}[kind], "a_hat"
def step(model, graph):
    optimizer = gcnlab.Adam(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(graph.x, graph.a_hat).sum().backward()
        optimizer.step()
def graph_of(num_nodes, num_edges):
    return gcnlab.Graph.from_edges(power_law_edges(num_nodes, num_edges), num_nodes, x=torch.ones(num_nodes, 64))
small = graph_of(1000, 4000)
small.estimate_memory(make(kind)[0])  # what is imported is imported
step(make(kind)[0], small)
graph, model = graph_of(num_nodes, 600_000), make(kind)[0]
graph.a_hat.T
open("/proc/self/clear_refs", "w").write("5")
before = high_water()
there = sum(t.nbytes for t in (graph.x, graph.a_hat.rowptr, graph.a_hat.col, graph.a_hat.value))
there += sum(t.nbytes for t in (graph.adjacency.rowptr, graph.adjacency.col, graph.adjacency.value))
step(model, graph)
print(json.dumps([graph.estimate_memory(model) - there, high_water() - before]))
"""


@on_linux
@pytest.mark.parametrize("kind", ["GCN", "GATConv", "ChebConv"])
def test_estimate_is_what_the_system_measures(kind):
    estimate, measured = python(CODE, kind)
    assert measured > 50e6
    assert abs(estimate - measured) < 0.25 * measured, (estimate / 2**20, measured / 2**20)


def test_estimate_grows_with_the_model_and_takes_any_layer():
    graph = Graph.from_edges(power_law_edges(500, 2000), 500, x=torch.ones(500, 20))
    narrow, wide = (graph.estimate_memory(GCN(20, width, 3)) for width in (8, 64))
    assert wide > narrow + 2 * 500 * 56 * 4
    for layer in (SAGEConv(20, 5), ChebConv(20, 5), GATConv(20, 5)):
        assert graph.estimate_memory(layer) > graph.x.nbytes
    sparse = graph.replace(x=SparseMatrix.from_dense(torch.eye(500)))
    assert sparse.estimate_memory(GCN(500, 8, 3)) < 500 * 500 * 4


def test_a_dense_adjacency_that_cannot_fit_is_refused_at_once():
    """169,343 nodes: 107 GiB."""
    num_nodes = 169_343
    matrix = SparseMatrix.from_edges([[0, 1], [1, 0]], num_nodes)
    start = time.perf_counter()
    with pytest.raises(MemoryLimitError, match=r"169,343 x 169,343 needs 106\.83 GiB, and .* GiB are free.*S @ x"):
        matrix.to_dense()
    assert time.perf_counter() - start < 0.1
    assert issubclass(MemoryLimitError, GcnlabError)
    assert issubclass(MemoryLimitError, MemoryError)


def test_batches_that_cannot_fit_are_refused(monkeypatch):
    graph = Graph.from_edges([[0, 1], [1, 0]], 1000, x=torch.ones(1000, 100))
    many = GraphCollection.from_graphs([graph.replace(y=0)] * 3)
    batch = NeighborSampler(graph, [2]).sample(torch.arange(100))
    monkeypatch.setattr(memory, "_LARGE", 1000)
    monkeypatch.setattr(memory, "available_memory", lambda: 100_000)
    for make, message in (
        (lambda: NeighborSampler(graph, [2]).sample(torch.arange(500)), "nodes: the features of 500 nodes needs"),
        (lambda: graph.subgraph(torch.arange(500)), "nodes: the features of 500 nodes needs"),
        (lambda: many[:2].batch(), "index: a batch of 2 graphs needs"),
        (lambda: graph.with_features("identity").receptive_field(torch.arange(999), 0).x.to_dense(), "to_dense"),
    ):
        with pytest.raises(MemoryLimitError, match=rf"{message}.* GiB are free, of which it may take 50 %"):
            make()
    assert torch.equal(NeighborSampler(graph, [2]).sample(torch.arange(100)).x, batch.x)  # a tenth fits


def test_fit_refuses_a_step_that_cannot_fit(monkeypatch):
    num_nodes = 100_000
    mask = torch.ones(num_nodes, dtype=torch.bool)
    y = torch.arange(num_nodes) % 2
    graph = Graph.from_edges([[0, 1], [1, 0]], num_nodes, x=torch.ones(num_nodes, 8), y=y, train_mask=mask)
    model = GCN(8, 64, 2)
    monkeypatch.setattr(memory, "available_memory", lambda: 60 << 20)
    with pytest.raises(
        MemoryLimitError, match=r"graph: a training step on 100,000 nodes needs 0\.\d+ GiB, and 0\.06 GiB"
    ):
        fit(model, graph, epochs=1, select="last")
    monkeypatch.setattr(memory, "available_memory", lambda: None)  # unknown: go on
    fit(model, graph, epochs=1, select="last")


@on_linux
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_available_memory_knows_limits_of_the_process(limit):
    code = f"""
import json, resource, torch
from gcnlab.memory import available_memory
free = available_memory()
resource.setrlimit(resource.{limit}, (4 << 30, 4 << 30))
print(json.dumps([free, available_memory()]))
"""
    free, limited = python(code)
    assert 0 < limited <= min(free, 4 << 30)
    assert limited < 4 << 30


@on_linux
def test_what_is_freed_is_kept_within_and_given_back_after():
    code = """
import os
os.environ["THP_MEM_ALLOC_ENABLE"] = "0"  # else there are few faults to count
import json, resource, torch
from gcnlab import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def touch(times):
    before = faults()
    for _ in range(times):
        torch.ones(20_000_000)
    return faults() - before
touch(1)
without, before = touch(5), resident()
with keep_freed_memory():
    touch(4)  # what is kept does not always fit the next request at first
    within, inside = touch(5), resident()
print(json.dumps([without, within, before, inside, resident()]))
"""
    without, within, before, inside, after = python(code)
    assert within < without / 20
    assert inside > before + 70_000_000
    assert after < before + 20_000_000


def test_keep_freed_memory_where_there_is_no_mallopt(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    with keep_freed_memory():
        assert float(torch.ones(3).sum()) == 3


# -- the graphs that are made up --------------------------------------------------------------------------------------


def test_power_law_edges():
    num_nodes, num_edges = 20_000, 200_000
    edges = power_law_edges(num_nodes, num_edges, seed=3)
    assert edges.shape == (2, num_edges)
    assert torch.equal(edges, power_law_edges(num_nodes, num_edges, seed=3))
    assert not torch.equal(edges, power_law_edges(num_nodes, num_edges, seed=4))
    assert not bool((edges[0] == edges[1]).any())
    key = edges[0] * num_nodes + edges[1]
    assert len(key.unique()) == num_edges
    assert torch.equal(key.sort().values, (edges[1] * num_nodes + edges[0]).sort().values)
    degree = torch.bincount(edges[0], minlength=num_nodes).double()
    # P(degree >= k) ~ k^-1.5: between 30 and 300 it falls by 10^1.5
    assert 1.3 < float(torch.log10((degree >= 30).sum() / (degree >= 300).sum())) < 1.7
    assert abs(float(torch.corrcoef(torch.stack([degree, torch.arange(num_nodes)]))[0, 1])) < 0.05  # in no order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0), "num_nodes: got 1, expected at least 2"),
        ((10, 3), "num_edges: got 3, expected an even number"),
        ((10, 24), "num_edges: got 24, .* 22 at most"),
        ((10, 4, 2.0), r"exponent: got 2\.0, expected a finite number above 2"),
    ],
)
def test_bad_power_laws(arguments, message):
    with pytest.raises(InputError, match=message):
        power_law_edges(*arguments)
