import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gcnlab
from gcnlab import Graph, SparseMatrix, files
from gcnlab.data.synthetic import write_communities
from gcnlab.errors import CorruptFileError, InputError
from gcnlab.storage import GraphWriter

pytestmark = pytest.mark.usefixtures("one_thread")
EDGES = [[0, 1, 1, 2], [1, 0, 2, 1]]


def same(a, b):
    if isinstance(a, SparseMatrix):
        return a.shape == b.shape and all(same(getattr(a, k), getattr(b, k)) for k in ("rowptr", "col", "value"))
    return type(a) is type(b) and (
        not isinstance(a, torch.Tensor) or (a.dtype == b.dtype and torch.equal(a.nan_to_num(9), b.nan_to_num(9)))
    )


KEYS = ("adjacency", "x", "y", "train_mask", "val_mask", "test_mask")


@pytest.mark.parametrize("graph", [
    Graph.from_edges(EDGES),
    Graph.from_edges(EDGES, 4, [1.0, 1.0, 2.0, 2.0], x=torch.randn(4, 3), y=[0, 1, -1, 2], train_mask=[True, False, False, False]),
    Graph.from_edges([[0, 1], [1, 2]], 3, x=torch.eye(3), node_names=["a", "b", "c"], name="chain"),
    Graph.from_edges(EDGES, x=torch.randn(3, 2, dtype=torch.float64), y=torch.tensor([[0.5, float("nan")]] * 3)),
    Graph.from_edges(EDGES, y=torch.tensor([0, 1, 0]), class_names=["x", "y"], node_names=[7, 8, 9]),
    Graph.from_edges(EDGES, y=torch.tensor(1), x=torch.ones(3, 2).bfloat16()),
    Graph.from_edges([[], []], 2, x=torch.ones(2, 0)),
    Graph.from_edges([[], []], 0),
])  # fmt: skip
def test_round_trip(graph, tmp_path):
    graph.save(tmp_path / "graph")
    again = Graph.open(tmp_path / "graph")
    assert all(same(getattr(graph, key), getattr(again, key)) for key in KEYS)
    for key in ("name", "node_names", "class_names", "num_duplicates", "is_directed", "num_classes", "num_features"):
        assert getattr(graph, key) == getattr(again, key)
    assert repr(graph) == repr(again)


@pytest.mark.filterwarnings("ignore:the symmetric normalisation of a directed graph")
def test_arrays_are_files_mapped_into_memory(tmp_path):
    graph = Graph.from_edges(EDGES, x=torch.randn(3, 50))
    graph.save(tmp_path / "graph")
    again = Graph.open(tmp_path / "graph")
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text()
        assert all(f"{name}.npy" in maps for name in ("col", "x", "value"))
    torch.testing.assert_close(again.a_hat.to_dense(), graph.a_hat.to_dense())
    assert np.load(tmp_path / "graph" / "x.npy").shape == (3, 50)  # plain files, for any reader
    model = gcnlab.GCN(50, 4, 2)
    torch.testing.assert_close(gcnlab.predict(model, again), gcnlab.predict(model, graph))


@pytest.fixture
def saved(tmp_path):
    Graph.from_edges(EDGES, x=torch.randn(3, 2), y=[0, 1, 0]).save(tmp_path / "graph")
    return tmp_path / "graph"


@pytest.mark.parametrize("name", ["rowptr", "col", "value", "x", "y"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damage_is_seen(saved, name, damage):
    file = saved / f"{name}.npy"
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        data[-1] ^= 1
        file.write_bytes(data if damage == "flip" else data[:-1])
    with pytest.raises(CorruptFileError, match=rf"{name}\.npy.*save the graph again"):
        Graph.open(saved)


@pytest.mark.parametrize("change", [
    lambda h: h.pop("arrays"), lambda h: h.update(format="other"), lambda h: h["arrays"].pop("col"),
    lambda h: h["arrays"]["col"].pop("sha256"), lambda h: h.pop("directed"), lambda h: h["arrays"].update(y=3),
    lambda h: h.update(directed="x"), lambda h: h.update(num_features=-1), lambda h: h.update(num_duplicates=None),
    lambda h: h.update(name=-1), lambda h: h.update(class_names="x"), lambda h: h.update(node_names=-1),
])  # fmt: skip
def test_a_changed_head_is_seen(saved, change):
    header = json.loads((saved / "graph.json").read_text())
    change(header)
    (saved / "graph.json").write_text(json.dumps(header))
    with pytest.raises(CorruptFileError, match=r"graph\.json: is not the head of a saved graph"):
        Graph.open(saved)


@pytest.mark.parametrize(("change", "message"), [
    ({"class_names": ["a"]}, "has 1 class_names, but y a label 1"), ({"node_names": []}, "has 0 node_names for 3 nodes"),
])  # fmt: skip
def test_names_that_do_not_fit_are_seen(saved, change, message):
    header = json.loads((saved / "graph.json").read_text())
    (saved / "graph.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(CorruptFileError, match=message):
        Graph.open(saved)


@pytest.mark.parametrize(("name", "values", "message"), [
    ("col", [0, 1, 2, 3], "ids outside 0 to 2"),
    ("col", [0, -1, 2, 1], "ids outside 0 to 2"),
    ("rowptr", [0, 3, 1, 4], "rowptr decreases"),
    ("rowptr", [0, 1, 3, 5], "do not fit each other"),
    ("rowptr", [1, 1, 3, 4], "do not fit each other"),
])  # fmt: skip
def test_another_programs_graph_is_looked_at(tmp_path, name, values, message):
    arrays = {"rowptr": [0, 1, 3, 4], "col": [1, 0, 2, 1], name: values}
    writer = GraphWriter(tmp_path / "graph")
    for key, dtype in (("rowptr", torch.int32), ("col", torch.int32), ("value", torch.float32)):
        tensor = torch.tensor(arrays.get(key, [1.0] * 4), dtype=dtype)
        writer.write(key, dtype, tensor.shape, [tensor])
    writer.finish(directed=False, num_features=0, num_duplicates=0, name=None, class_names=None, node_names=None)
    with pytest.raises(CorruptFileError, match=message):
        Graph.open(tmp_path / "graph")


def test_pickles_are_not_opened(saved):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch /tmp/gcnlab-evil",)

    np.save(saved / "y.npy", np.array([Evil()] * 3), allow_pickle=True)
    for check in (True, False):
        with pytest.raises(CorruptFileError, match=r"y\.npy"):
            Graph.open(saved, check)
    assert not os.path.exists("/tmp/gcnlab-evil")


def test_folders_that_hold_something_else(saved, tmp_path):
    with pytest.raises(InputError, match=r"graph holds y\.npy, expected a new folder"):
        Graph.from_edges(EDGES).save(saved)
    (tmp_path / "foreign").mkdir()
    np.save(tmp_path / "foreign" / "x.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"foreign holds x\.npy"):
        Graph.from_edges(EDGES).save(tmp_path / "foreign")
    assert np.load(tmp_path / "foreign" / "x.npy").shape == (3,)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no graph\.json"):
        Graph.open(tmp_path / "empty")
    with pytest.raises(InputError, match=r"node_names: \(0, 1\) is a tuple"):
        Graph.from_edges(EDGES, node_names=[(0, 1), (1, 2), (2, 3)]).save(tmp_path / "names")


def test_a_killed_save_is_no_graph_and_can_be_saved_again(tmp_path):
    code = """
import os, signal, sys, torch, gcnlab
from gcnlab import storage
def die(*arguments, **header):
    os.kill(os.getpid(), signal.SIGKILL)
storage.GraphWriter.finish = die
gcnlab.Graph.from_edges([[0, 1], [1, 0]]).save(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "graph")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="wrote to its end"):
        Graph.open(tmp_path / "graph")
    Graph.from_edges(EDGES).save(tmp_path / "graph")
    assert Graph.open(tmp_path / "graph").num_nodes == 3


# -- made-up graphs ---------------------------------------------------------------------------------------------------


def test_communities(tmp_path):
    graph = write_communities(
        tmp_path / "a", 4000, 60_000, num_classes=5, num_features=8, homophily=0.75, signal=1.0, seed=3
    )
    assert graph.num_edges == 60_000 - graph.num_duplicates
    assert graph.num_duplicates < 6000
    assert torch.equal(Graph.open(tmp_path / "a").adjacency.col, graph.adjacency.col)  # and all its checks
    plain = SparseMatrix(graph.adjacency.rowptr, graph.adjacency.col, graph.adjacency.value, graph.adjacency.shape)
    assert plain.is_symmetric()
    assert graph.num_self_loops == 0
    row = graph.adjacency.row
    assert bool(((row[1:] > row[:-1]) | (graph.adjacency.col[1:] > graph.adjacency.col[:-1])).all())  # sorted, distinct
    source, target = graph.edge_index
    same_class = float((graph.y[source] == graph.y[target]).float().mean())
    assert abs(same_class - (0.75 + 0.25 / 5)) < 0.02
    degree = graph.degree.sort(descending=True).values
    assert float(degree[0]) > 20 * float(degree.median())
    assert abs(float(torch.bincount(graph.y).float().std()) - (4000 * 0.2 * 0.8) ** 0.5) < 30
    means = torch.stack([graph.x[graph.y == c].mean(0) for c in range(5)])
    residual = graph.x - means[graph.y]
    assert abs(float(residual.std()) - 1) < 0.02
    assert float(means.std()) > 0.5
    assert abs(int(graph.train_mask.sum()) - 400) < 80
    assert bool((graph.train_mask.int() + graph.val_mask.int() + graph.test_mask.int() == 1).all())
    again = write_communities(
        tmp_path / "b", 4000, 60_000, num_classes=5, num_features=8, homophily=0.75, signal=1.0, seed=3
    )
    assert all(same(getattr(graph, key), getattr(again, key)) for key in KEYS)


def test_edges_are_sorted_file_by_file(tmp_path, monkeypatch):
    monkeypatch.setattr("gcnlab.data.synthetic._CHUNK", 500)  # drawn in 6 parts, sorted in 6 files
    graph = write_communities(tmp_path / "graph", 301, 6000, num_features=3)
    opened = Graph.open(tmp_path / "graph")
    plain = SparseMatrix(*(getattr(opened.adjacency, key) for key in ("rowptr", "col", "value", "shape")))
    assert plain.is_symmetric()
    assert 4000 < graph.num_edges < 6000


def test_communities_without_edges(tmp_path):
    assert write_communities(tmp_path / "graph", 10, 0).num_edges == 0


@pytest.mark.parametrize(("options", "message"), [
    ({"num_nodes": 1}, "num_nodes: got 1"), ({"num_edges": 5}, "num_edges: got 5"),
    ({"num_classes": 0}, "num_classes: got 0"), ({"homophily": 1.5}, "homophily: got 1.5"),
    ({"signal": float("nan")}, "signal: got nan"), ({"train_share": 0.0}, "train_share"), ({"exponent": 2.0}, "exponent: got 2.0"),
])  # fmt: skip
def test_bad_communities(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        write_communities(tmp_path / "graph", **{"num_nodes": 100, "num_edges": 200, **options})


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA")
def test_a_graph_larger_than_the_limit_of_memory(tmp_path):
    """300 MB of features, of which a step may hold what fits into 200 MB above an empty process."""
    code = """
import resource, sys, torch, gcnlab
from gcnlab.scale import NeighborSampler
torch.set_num_threads(1)
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + 200_000_000,) * 2)
graph = gcnlab.Graph.open(sys.argv[1])
assert graph.x.nbytes > 300_000_000
model = gcnlab.GCN(graph.num_features, 16, graph.num_classes)
gcnlab.fit(model, graph, batching=NeighborSampler(graph, (5, 5), 500), epochs=1, select="last")
logits = gcnlab.predict(model, graph, batch_size=2000)
print(gcnlab.metrics.accuracy(logits[graph.test_mask], graph.y[graph.test_mask]))
try:
    graph.x.clone()
except RuntimeError:
    print("too large")
"""
    write_communities(tmp_path / "graph", 100_000, 400_000, num_features=760, signal=0.1, train_share=0.05)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "graph")], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    accuracy, last = done.stdout.split("\n")[:2]
    assert float(accuracy) > 0.5  # ten classes
    assert last == "too large"


def test_arrays_that_are_whole_and_do_not_fit_are_seen(saved):
    """Another array under its name, with the head made to match."""
    header = json.loads((saved / "graph.json").read_text())

    def put(name, array, **about):
        np.save(saved / f"{name}.npy", array)
        header["arrays"][name] |= {"sha256": files.sha256_of(saved / f"{name}.npy"), **about}
        (saved / "graph.json").write_text(json.dumps(header))

    x = np.load(saved / "x.npy")
    for array, about, message in (
        (x[:2], {}, r"x.npy: has shape \[2, 2\], expected \[3, 2\]; save the graph again"),
        (x[:2], {"shape": [2, 2]}, r"x.npy: has 2 rows, expected 3"),
        (x.astype(np.float64), {"shape": [3, 2]}, r"x.npy: holds torch.float64, expected torch.float32"),
    ):
        put("x", array, **about)
        with pytest.raises(CorruptFileError, match=message):
            Graph.open(saved)


def test_a_community_graph_has_a_largest_size(tmp_path):
    with pytest.raises(InputError, match=r"num_nodes: got 2147483648, expected below 2\^31"):
        write_communities(tmp_path / "graph", 2**31, 10, 3)
