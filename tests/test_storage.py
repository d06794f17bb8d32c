import json
import os
import random
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
from gcnlab.graph.storage import GraphWriter

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
    ({"class_names": ["a"]}, r"y.npy: y: label 1 at 1; labels must be at least 0 and below 1"), ({"node_names": []}, "has 0 node_names for 3 nodes"),
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


# -- files that are whole and wrong -----------------------------------------------------------------------------------


def put(folder, name, array, **about):
    """Another array under its name, with the head made to match."""
    header = json.loads((folder / "graph.json").read_text())
    np.save(folder / f"{name}.npy", array)
    sha256 = files.sha256_of(folder / f"{name}.npy")
    header["arrays"][name] = {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": sha256, **about}
    (folder / "graph.json").write_text(json.dumps(header))


def kept_graph(rng, folder):
    """A saved graph of a random kind, with an edge 0 - 1, an unlabelled node 2 and rows of at least two entries."""
    n, directed, weighted = 12, rng.random() < 0.4, rng.random() < 0.5
    pairs = {(0, 1), (0, 3), *((rng.randrange(n), rng.randrange(n)) for _ in range(25))}
    pairs |= set() if directed else {(j, i) for i, j in pairs}
    pairs |= {(3, 0), (5, 0), (5, 7)} if directed else set()
    weight = {frozenset(pair): 1 + rng.random() if weighted else 1.0 for pair in pairs}
    edges = sorted(pairs)
    dtype = rng.choice([torch.float32, torch.float64])
    x = torch.rand(n, 6, dtype=dtype)
    sparse = rng.random() < 0.5
    graph = Graph.from_edges(
        torch.tensor(edges).T, n, torch.tensor([weight[frozenset(pair)] for pair in edges]),
        x=SparseMatrix.from_dense(x * (torch.arange(72).view(n, 6) % 13 < 2)) if sparse else x,
        y=torch.tensor([0, 1, -1, *(rng.randrange(3) for _ in range(n - 3))]), class_names=["a", "b", "c"],
        train_mask=torch.arange(n) < 2, val_mask=torch.arange(n) == 4, node_names=[f"n{i}" for i in range(n)],
    )  # fmt: skip
    graph.save(folder)
    return graph


def wrong_entries(rng, folder, graph, prefix):
    """One of the three arrays of a matrix made wrong: the name, the array."""
    rowptr, col, value = (np.load(folder / f"{prefix}{part}.npy") for part in ("rowptr", "col", "value"))
    long_rows = np.flatnonzero(np.diff(rowptr) >= 2)
    row = rng.choice(long_rows.tolist())
    first = int(rowptr[row])
    entry = rng.randrange(len(col))
    index = np.int32
    match rng.randrange(13):
        case 0:
            col[[first, first + 1]] = col[[first + 1, first]]
            return "col", col
        case 1:
            col[first + 1] = col[first]
            return "col", col
        case 2:
            col[entry] = rng.choice([-1, graph.num_nodes + 9, 2**31 - 1, -(2**31)])
            return "col", col
        case 3:
            return "col", col.astype(rng.choice([np.int64, np.int16, np.uint8, np.float32, np.bool_, np.uint32]))
        case 4:
            return "rowptr", rowptr.astype(rng.choice([np.int64, np.float64, np.int8]))
        case 5:
            at = rng.randrange(len(rowptr))
            rowptr[at] = rng.choice([-1, len(col) + 1, 2**31 - 1])
            return "rowptr", rowptr
        case 6:
            return "rowptr", rng.choice([rowptr[:-1], np.append(rowptr, rowptr[-1] + 1), rowptr[:0], rowptr[:, None]])
        case 7:
            rowptr[row : row + 2] = rowptr[row : row + 2][::-1].copy()
            return "rowptr", rowptr
        case 8:
            return "value", rng.choice([value[:-1], np.append(value, value[:1]), value[:, None]])
        case 9:
            return "value", value.astype(rng.choice([np.int32, np.complex64, np.bool_, np.uint8]))
        case 10:
            return "col", rng.choice([col[:-1], np.append(col, index(0)), col[:, None]])
        case 11:
            return "value", value.astype(">f4") if prefix else np.where(
                np.arange(len(value)) == entry, np.nan, value
            ).astype(value.dtype)
        case _:
            return "col", np.sort(col)[::-1].copy()


def wrong_symmetry(rng, folder, graph):
    """A matrix whose `directed` is not right."""
    header = json.loads((folder / "graph.json").read_text())
    rowptr, col, value = (np.load(folder / f"{part}.npy") for part in ("rowptr", "col", "value"))
    row = np.repeat(np.arange(graph.num_nodes), np.diff(rowptr))
    off = np.flatnonzero(row != col).tolist()
    kind = rng.randrange(4)
    if graph.is_directed or kind == 0:
        (folder / "graph.json").write_text(json.dumps({**header, "directed": not header["directed"]}))
    elif kind == 1:  # another weight one way
        value[rng.choice(off)] *= rng.choice([-1, 2, 1.01, 0])
        put(folder, "value", value)
    elif kind == 2:  # an edge one way alone
        at = rng.choice(off)
        rowptr[row[at] + 1 :] -= 1
        for name, array in (("rowptr", rowptr), ("col", np.delete(col, at)), ("value", np.delete(value, at))):
            put(folder, name, array)
    else:  # an edge that leads elsewhere
        at = rng.choice(off)
        free = sorted(set(range(graph.num_nodes)) - set(col[row == row[at]].tolist()) - {int(row[at])})
        here = row == row[at]
        col[at] = rng.choice(free) if free else col[at]
        order = np.argsort(col[here])
        col[here], value[here] = col[here][order], value[here][order]
        put(folder, "col", col)
        put(folder, "value", value)


def wrong_rows(rng, folder, graph):
    """Features, labels or masks made wrong."""
    n = graph.num_nodes
    y, mask = (np.load(folder / f"{name}.npy") for name in ("y", "train_mask"))
    match rng.randrange(9):
        case 0:
            y[rng.randrange(n)] = rng.choice([-2, 3, 2**40, -(2**63)])
            put(folder, "y", y)
        case 1:
            put(
                folder,
                "y",
                rng.choice([y[:-1], y.astype(np.int32), y.astype(np.complex64), y[None], y == 0, y[:, None]]),
            )
        case 2:
            mask[rng.choice([2, 4])] = True  # which has no label; which is for validation
            put(folder, "train_mask", mask)
        case 3:
            put(folder, "train_mask", rng.choice([mask[:-1], mask.astype(np.uint8), mask.astype(float), mask[:, None]]))
        case 4:
            bits = mask.astype(np.uint8)
            bits[rng.randrange(n)] = rng.choice([2, 255])
            put(folder, "train_mask", bits.view(bool))
        case 5 if (folder / "x.npy").exists():
            x = np.load(folder / "x.npy")
            other = np.float64 if x.dtype == np.float32 else np.float32
            put(folder, "x", rng.choice([x[:-1], x[:, :-1], x.astype(other), x.astype(np.int64), x[None], x[:, 0]]))
        case 5 | 6:
            header = json.loads((folder / "graph.json").read_text())
            names = header["node_names"]
            header |= rng.choice([
                {"num_features": 7}, {"num_features": 10**12}, {"num_features": 0}, {"class_names": ["a", "b"]},
                {"class_names": ["a", "b", "b"]}, {"class_names": [["a"], "b", "c"]}, {"node_names": names[:-1]},
                {"node_names": [*names[:-1], names[0]]}, {"node_names": [*names[:-1], [0]]}, {"node_names": [*names[:-1], True]},
            ])  # fmt: skip
            if header["num_features"] == 7 and (folder / "x_col.npy").exists():
                header["num_features"] = 1  # one more could be an empty column
            (folder / "graph.json").write_text(json.dumps(header))
        case 7:
            header = json.loads((folder / "graph.json").read_text())
            name = rng.choice(["../outside", "z", "x_rowptr" if "x" in header["arrays"] else "x", "/etc/passwd", ""])
            header["arrays"][name] = header["arrays"]["y"]
            (folder / "graph.json").write_text(json.dumps(header))
        case _:
            (folder / "y.npy").write_bytes(rng.choice([b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(40), bytes(200)]))
            header = json.loads((folder / "graph.json").read_text())
            header["arrays"]["y"]["sha256"] = files.sha256_of(folder / "y.npy")
            (folder / "graph.json").write_text(json.dumps(header))


@pytest.mark.filterwarnings("error")
def test_no_wrong_graph_is_opened_whatever_its_digests_say(tmp_path, trials):
    for trial in range(trials("damages of saved graphs with right digests", 60, 400)):
        rng, folder = random.Random(trial), tmp_path / f"{trial}"
        torch.manual_seed(trial)
        graph = kept_graph(rng, folder)
        assert same(Graph.open(folder).adjacency, graph.adjacency)
        kind = rng.randrange(4)
        if kind < 2:
            prefix = "x_" if kind and (folder / "x_col.npy").exists() else ""
            name, array = wrong_entries(rng, folder, graph, prefix)
            put(folder, f"{prefix}{name}", array, **({"dtype": "float32"} if array.dtype.byteorder == ">" else {}))
        else:
            (wrong_symmetry if kind == 2 else wrong_rows)(rng, folder, graph)
        with pytest.raises(CorruptFileError):
            raise AssertionError(f"trial {trial}: {Graph.open(folder)}")


def test_a_matrix_is_looked_at_whole_across_blocks(tmp_path, monkeypatch):
    """Of blocks of 7 entries: rows longer than several, empty rows at both ends and between, weights that rounding leaves apart."""
    monkeypatch.setattr("gcnlab.structure._BLOCK", 7)
    generator = torch.Generator().manual_seed(0)
    for trial in range(20):
        a = torch.rand(30, 30, generator=generator) * (torch.rand(30, 30, generator=generator) < 0.2)
        a[:, torch.arange(trial % 25)] = 0
        a[torch.arange(30 - trial % 7, 30)] = 0
        a[11] = torch.rand(30, generator=generator)
        a = (a + a.T) / 2 if trial % 2 else a
        a[3, 11] *= 1 + 2e-7 * (trial % 4)  # still what `is_symmetric` takes for rounding
        graph = Graph.from_dense(a)
        graph.save(tmp_path / f"{trial}")
        again = Graph.open(tmp_path / f"{trial}")
        assert again.is_directed == graph.is_directed
        assert same(again.adjacency, graph.adjacency)
        rowptr, col = graph.adjacency.rowptr.numpy().copy(), graph.adjacency.col.numpy().copy()
        inside = [at for at in range(1, len(col)) if at not in rowptr]  # in the row of the entry before
        for at in (inside[0], *[at for at in inside if at % 7 == 0][:2]):
            for wrong in (col[at - 1], col[at - 1] - 1, 30, -1):
                put(tmp_path / f"{trial}", "col", np.where(np.arange(len(col)) == at, wrong, col).astype(np.int32))
                with pytest.raises(CorruptFileError, match=rf"in row {np.searchsorted(rowptr, at, 'right') - 1}\b"):
                    Graph.open(tmp_path / f"{trial}")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_opening_a_graph_takes_no_memory_of_its_own(tmp_path):
    """A graph of 30 MB is opened and looked at in a process that grows by a fraction of that."""
    code = """
import sys, gcnlab
def most():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) >> 10
gcnlab.Graph.open(sys.argv[1] + "/small")
before = most()
graph = gcnlab.Graph.open(sys.argv[1] + "/large")
assert graph.adjacency.col.nbytes + graph.adjacency.value.nbytes > 28e6
print(most() - before)
"""
    write_communities(tmp_path / "small", 2000, 200_000)
    write_communities(tmp_path / "large", 100_000, 4_000_000)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 4 + 4  # MiB; the row pointer, masks and labels are mapped, and looked at there


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
from gcnlab.graph import storage
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
    x = np.load(saved / "x.npy")
    for array, about, message in (
        (x[:2], {}, r"x.npy: has shape \[2, 2\], expected \[3, 2\]; save the graph again"),
        (x[:2], {"shape": [2, 2]}, r"x.npy: holds torch.float32 of shape \[2, 2\], expected torch.float32 \[3, 2\]"),
        (x.astype(np.float64), {"shape": [3, 2]}, r"x.npy: holds torch.float64, expected torch.float32"),
    ):
        put(saved, "x", array, **{"dtype": "float32", "shape": [3, 2], **about})
        with pytest.raises(CorruptFileError, match=message):
            Graph.open(saved)


def test_a_community_graph_has_a_largest_size(tmp_path):
    with pytest.raises(InputError, match=r"num_nodes: got 2147483648, expected below 2\^31"):
        write_communities(tmp_path / "graph", 2**31, 10, 3)
