"""What a training takes: the estimate beside what the system measures, refusal before it is taken, what is kept."""

import json
import re
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
    Readout,
    SAGEConv,
    SparseMatrix,
    fit,
    image,
    keep_freed_memory,
    memory,
    metrics,
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
    monkeypatch.setattr(memory, "LARGE", 1000)
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


SIZES = {  # what is asked for by a few numbers, in a process that may take 2 GiB: the expression, and what is said
    "ids of graphs": ("Readout('mean')(torch.ones(2, 2), torch.tensor([0, B]))", "shape: a matrix of 10,000,000,001 rows"),
    "a wide readout": ("Readout('mean')(torch.ones(2, 200), torch.tensor([0, 10**7]))", "batch: a readout of 10,000,001 graphs"),
    "the largest": ("Readout('max')(torch.ones(2, 200), torch.tensor([0, 10**7]))", "batch: a readout of 10,000,001 graphs"),
    "num_graphs": ("readout_matrix(torch.tensor([0, 1]), B)", "shape: a matrix of 10,000,000,000 rows"),
    "k": ("Readout('sort', k=B)(torch.ones(3, 2))", "batch: a readout of 1 graphs and 20,000,000,000 columns"),
    "num_classes": ("metrics.confusion_matrix(torch.eye(2), torch.tensor([0, 1]), 10**6)", "num_classes: a confusion matrix"),
    "labels": ("metrics.confusion_matrix(torch.tensor([0, 10**12]), torch.tensor([0, 1]))", "y: a confusion matrix"),
    "F1": ("metrics.macro_f1(torch.tensor([0, 10**6]), torch.tensor([0, 1]))", "y: a confusion matrix of 1,000,001 classes"),
    "per class": ("metrics.per_class_accuracy(torch.tensor([0]), torch.tensor([0]), 10**6)", "num_classes: a confusion"),
    "weights": ("metrics.class_weights(torch.tensor([0, 1]), 10**12)", "num_classes: the weights of 1,000,000,000,000 classes"),
    "bins": ("metrics.calibration_error(torch.eye(2), torch.tensor([0, 1]), 10**12)", "num_bins: 1,000,000,000,000 bins"),
    "scores": ("propagate.label_propagation(G.y, G.train_mask, G.a_hat, num_classes=10**8)", "num_classes: scores of 100,000"),
    "known labels": ("propagate.label_propagation(G.y + 10**9, G.train_mask, G.a_hat)", "y: scores of 100,000 nodes"),
    "label hops": ("NodeRows(G.replace(y=G.y + 999_990), [G.x], label_hops=2)", "label_hops: 2 label hops of 100,000 nodes"),
    "hops": ("hops(G.x, G.a_hat, 10**6)", "x: 1000001 dense matrices of 100,000 x 2"),
    "coefficients": ("propagate.ppr_coefficients(0.2, 10**9)", "num_hops: 1,000,000,000 numbers"),
    "diffusion": ("propagate.diffusion(STAR.a_hat, [0.5, 0.3, 0.2])", "top_k: P of .* entries in .* of 100,000 rows"),
    "a grid": ("image.grid_graph(10**5, 10**5).adjacency", "shape: adjacency of a grid of 100000 x 100000"),
    "its a_hat": ("image.grid_graph(5000, 5000).a_hat", "shape: adjacency of a grid of 5000 x 5000"),
    "its operator": ("image.grid_graph(10**5, 10**5).operator", "shape: adjacency of a grid"),
    "places": ("image.grid_graph(10**5, 10**5).coordinates", "shape: the positions of a grid"),
    "relations": ("image.grid_graph(10**5, 10**5).relations[0]", "shape: 9 matrices of 10,000,000,000 nodes"),
    "clusters": ("image.cluster_assignment(image.grid_graph(10**5, 10**5))", "shape: the clusters of a grid"),
    "transpose": ("WIDE.T", "T: a matrix of 10,000,000,001 columns"),
    "sums": ("WIDE.row_normalized()", "row_sums: a matrix of 10,000,000,001 columns"),
    "columns": ("WIDE.select_cols(torch.tensor([0]))", "select_cols: a matrix of 10,000,000,001 columns"),
    "feature ids": ("Graph.from_edges([[0], [1]], x=WIDE).with_row_normalized_features()", "row_sums: a matrix of"),
    "sparse product": ("STAR.adjacency @ STAR.adjacency", "S @ R: a product of up to 9,999,900,000 entries"),
    "hops of sparse X": ("propagate.propagate(STAR.adjacency, STAR.adjacency, 2)", "S @ R: a product of up to"),
    "product": ("G.a_hat @ torch.ones(1, 1).expand(10**5, 10**5)", "S @ x: a product of 100,000 x 100,000"),
    "of signals": ("G.a_hat @ torch.ones(1, 1, 1).expand(1000, 10**5, 100)", "S @ x: a product of 100,000 x 100,000"),
    "from the left": ("torch.ones(1, 1).expand(10**5, 10**5) @ G.a_hat", "S @ x: a product of 100,000 x 100,000"),
    "identity": ("SparseMatrix.eye(B)", "size: an identity of 10,000,000,000 rows"),
    "degrees": ("STAR.with_features('degree_bins', B)", "max_degree: bins of degrees to 10,000,000,000"),
    "a label": ("Graph.from_edges([[0], [1]], y=torch.tensor([0, 10**12]))", "y: the largest label is 1,000,000,000,000"),
    "a graph's label": ("GraphCollection(Graph.from_edges([[], []], 2), [0, 1, 2], [0, 10**12])", "y: the largest label is"),
    "random edges": ("synthetic.power_law_edges(10**6, 10**11)", "num_nodes, num_edges: a graph of 1,000,000 nodes"),
    "random nodes": ("synthetic.write_communities('none', 2 * 10**9, 10)", "num_nodes: 2,000,000,000 nodes"),
    "random features": ("synthetic.write_communities('none', 10, 10, num_features=10**9)", "num_features: 1,000,000,000 features"),
    "disk": ("synthetic.write_communities('none', 10**6, 10**14)", "folder: none needs .* GiB more, and its disk has"),
}  # fmt: skip


@on_linux
def test_sizes_that_cannot_fit_are_refused_before_they_are_asked_for(tmp_path):
    code = """
import json, resource, sys, time, torch
from gcnlab import Graph, GraphCollection, Readout, SparseMatrix, image, metrics
from gcnlab.segments import readout_matrix
from gcnlab.data import synthetic
from gcnlab.errors import InputError, MemoryLimitError
from gcnlab.precompute import NodeRows, hops
propagate = sys.modules["gcnlab.propagate"]
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30),) * 2)
n, B = 10**5, 10**10
ids = torch.arange(1, n)
G = Graph.from_edges(torch.stack([torch.cat([ids, ids - 1]), torch.cat([ids - 1, ids])]), n, x=torch.ones(n, 2),
    y=torch.arange(n) % 3, train_mask=torch.arange(n) < 9)
STAR = Graph.from_edges(torch.stack([torch.cat([ids, 0 * ids]), torch.cat([0 * ids, ids])]), n)
WIDE = SparseMatrix.from_edges([[0, B], [0, 1]], shape=(2, B + 1))
found = {}
for name, expression in json.load(sys.stdin).items():
    began = time.process_time()
    try:
        eval(expression)
        found[name] = "no error"
    except (MemoryLimitError, InputError) as error:
        found[name] = str(error)
    except (MemoryError, RuntimeError, ValueError) as error:
        found[name] = f"{type(error).__name__} {error}"
    if name != "diffusion" and time.process_time() - began > 2:
        found[name] += ", after some time"
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps({name: expression for name, (expression, _) in SIZES.items()}),
        capture_output=True, text=True, timeout=200, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [
        f"{name}: {found[name]}" for name, (_, message) in SIZES.items() if not re.match(message, found[name])
    ] == []
    assert not [name for name, said in found.items() if said.endswith("some time")]
    assert list(tmp_path.iterdir()) == []


def test_what_fits_is_not_refused():
    """Ids and counts below the limit, and shapes of which nothing is made."""
    assert image.grid_graph(10**5, 10**5).num_nodes == 10**10
    assert SparseMatrix.from_edges([[0, 10**10], [0, 1]], shape=(2, 10**10 + 1)).nnz == 2
    assert Readout("sum")(torch.ones(2, 3), torch.tensor([0, 10**5])).shape == (10**5 + 1, 3)
    assert metrics.confusion_matrix(torch.tensor([0, 999]), torch.tensor([0, 1])).shape == (1000, 1000)
    assert Graph.from_edges([[0], [1]], y=torch.tensor([0, 999_999])).num_classes == 10**6
    s = SparseMatrix.from_dense(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
    assert torch.equal((s @ s).to_dense(), s.to_dense() @ s.to_dense())


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
