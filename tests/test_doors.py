"""One graph given through every door is one graph; what a door cannot carry is said by a table of docs/inputs.md."""

import csv
import math
import os
import re
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gcnlab
from gcnlab import Graph, GraphCollection, Signals, SparseMatrix
from gcnlab.data import ImageSet
from gcnlab.errors import DatasetFormatError, InputError, InputTypeError, MemoryLimitError
from gcnlab.graph import knn_graph

PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
COLUMNS = ("names", "isolated", "directed", "weights", "features", "classes", "class names", "targets", "masks")


@dataclass(frozen=True)
class Plain:
    """A graph as a person would write it down; nothing here is of gcnlab."""

    names: list
    edges: dict  # (source, target) by position -> weight; both directions where it is undirected
    directed: bool
    weighted: bool
    x: np.ndarray | None
    kind: str  # of labels
    labels: list | None
    masks: dict  # name -> bools

    @property
    def n(self):
        return len(self.names)

    @property
    def dense(self):
        a = np.zeros((self.n, self.n))
        for (source, target), weight in self.edges.items():
            a[target, source] = weight
        return a

    def rows(self):
        """(source, target, weight), each undirected edge once."""
        return [(s, t, w) for (s, t), w in self.edges.items() if self.directed or s <= t]


KINDS = (
    "none",
    "integers",
    "missing",
    "bools",
    "text",
    "text missing",
    "category",
    "column",
    "targets",
    "targets missing",
)


@st.composite
def plain_graphs(draw):
    n = draw(st.integers(1, 7))
    texts = st.text("abcü 10", min_size=1, max_size=3).map(str.strip).filter(bool)
    names = draw(
        st.lists(st.one_of(texts) if draw(st.booleans()) else st.integers(0, 99), min_size=n, max_size=n, unique=True)
    )
    directed, weighted = draw(st.booleans()), draw(st.booleans())
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=10))
    edges = {}
    for s, t in sorted(pairs):
        weight = draw(st.integers(1, 9)) / 4 if weighted else 1.0
        if not directed:
            s, t = min(s, t), max(s, t)
            edges[t, s] = weight
        edges[s, t] = weight
    x = draw(st.none() | st.lists(st.integers(-8, 8), min_size=3 * n, max_size=3 * n))
    x = None if x is None else np.array(x).reshape(n, 3) / 4
    kind = draw(st.sampled_from(KINDS))
    classes = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    missing = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    if kind in ("missing", "text missing", "column", "category", "targets missing"):
        classes = [None if gone else c for c, gone in zip(classes, missing, strict=True)]
    labels = {
        "none": None,
        "bools": [c == 1 for c in classes],
        "text": [f"c{c}" for c in classes],
        "text missing": [None if c is None else f"c{c}" for c in classes],
        "category": [None if c is None else f"c{c}" for c in classes],
        "targets": [c + 0.25 for c in classes if c is not None],
        "targets missing": [math.nan if c is None else c + 0.25 for c in [*classes[:-1], 1]],
    }.get(kind, classes)
    known = [i for i in range(n) if labels is not None and labels[i] is not None]
    parts = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    masks = {}
    for part, key in enumerate(("train_mask", "val_mask", "test_mask")):
        mask = [parts[i] == part and (labels is None or i in known) for i in range(n)]
        if any(mask):
            masks[key] = mask
    return Plain(names, edges, directed, weighted, x, kind, labels, masks)


def y_of(plain, form="list"):
    """The labels as a list, a pandas Series by name, or a tensor of class numbers."""
    if plain.labels is None:
        return None
    if form == "tensor":
        if "targets" in plain.kind:
            return torch.tensor(plain.labels)
        names = sorted({label for label in plain.labels if label is not None}) if "text" in plain.kind else []
        numbers = {None: -1, **{c: c for c in range(3)}, **{f"c{c}": c for c in range(3)}}
        numbers |= {name: i for i, name in enumerate(names)}
        return torch.tensor([numbers[label] for label in plain.labels])
    if form == "list":
        return pd.Categorical(plain.labels, ["c0", "c1", "c2"]) if plain.kind == "category" else plain.labels
    dtype = {"missing": "Int64", "bools": "boolean", "category": pd.CategoricalDtype(["c0", "c1", "c2"])}
    return pd.Series(plain.labels, plain.names, dtype=dtype.get(plain.kind))


def named(plain, rng):
    """x, y and masks as tables by name, in an order of their own."""
    order = rng.permutation(plain.n)
    names = [plain.names[i] for i in order]
    tables = {key: pd.Series(mask, plain.names).loc[names] for key, mask in plain.masks.items()}
    if plain.labels is not None:
        tables["y"] = y_of(plain, "series").loc[names]
    if plain.x is not None:
        tables["x"] = pd.DataFrame(plain.x, plain.names).loc[names]
    return tables


def by_position(plain):
    given = {"node_names": plain.names, "y": y_of(plain), **plain.masks}
    return {**given, "x": None if plain.x is None else torch.tensor(plain.x)}


def from_edges(plain, rng, folder):
    ends = list(plain.edges) or [[], []]
    index = torch.tensor(ends).T if plain.edges else ends
    return Graph.from_edges(
        index, plain.n, list(plain.edges.values()) if plain.weighted else None, **by_position(plain)
    )


def from_networkx(plain, rng, folder):
    graph = nx.DiGraph() if plain.directed else nx.Graph()
    graph.add_nodes_from(plain.names[i] for i in rng.permutation(plain.n))
    for s, t, w in plain.rows():
        graph.add_edge(plain.names[s], plain.names[t], **({"w": w} if plain.weighted else {}))
    tables = named(plain, rng)
    label = None
    if plain.labels is not None and plain.kind not in ("category", "column"):
        nx.set_node_attributes(graph, dict(zip(plain.names, plain.labels, strict=True)), "label")
        label, tables = "label", {key: table for key, table in tables.items() if key != "y"}
    return Graph.from_networkx(graph, weight="w" if plain.weighted and plain.edges else None, label=label, **tables)


def from_pandas(plain, rng, folder):
    rows = plain.rows()
    if not plain.directed:  # some pairs again, the other way round
        rows = rows + [(t, s, w) for s, t, w in rows if rng.random() < 0.5]
    frame = pd.DataFrame([(plain.names[s], plain.names[t], w) for s, t, w in rows], columns=["a", "b", "w"])
    tables = named(plain, rng)
    if not {"x", "y"} & tables.keys() or rng.random() < 0.5:
        tables["node_names"] = [plain.names[i] for i in rng.permutation(plain.n)]
    return Graph.from_pandas(frame, "a", "b", "w" if plain.weighted else None, directed=plain.directed, **tables)


def from_scipy(plain, rng, folder):
    return Graph.from_scipy(sp.csr_array(plain.dense), node_names=plain.names, **named(plain, rng))


def from_dense(plain, rng, folder):
    frame = pd.DataFrame(plain.dense, plain.names, plain.names)
    names = [plain.names[i] for i in rng.permutation(plain.n)]
    return Graph.from_dense(frame[names], **named(plain, rng))


def from_torch(plain, rng, folder):
    return Graph.from_torch(torch.tensor(plain.dense).to_sparse_csr(), **by_position(plain))


def pyg_round_trip(plain, rng, folder):
    return Graph.from_pyg(from_edges(plain, rng, folder).to_pyg())


def networkx_round_trip(plain, rng, folder):
    graph = from_edges(plain, rng, folder).to_networkx()
    features, label = ("x" if plain.x is not None else None), ("y" if plain.labels is not None else None)
    return Graph.from_networkx(graph, features=features, label=label)


def replace_all(plain, rng, folder):
    return Graph(SparseMatrix.from_dense(plain.dense), node_names=plain.names).replace(**named(plain, rng))


def save_and_open(plain, rng, folder):
    from_edges(plain, rng, folder).save(folder / "saved")
    return Graph.open(folder / "saved")


def side_by_side(plain, rng, folder):
    return Graph.from_graphs([from_edges(plain, rng, folder)])


def batch(plain, rng, folder):
    graph = from_edges(plain, rng, folder).replace(y=None, train_mask=None, val_mask=None, test_mask=None)
    return gcnlab.batch([graph]).graph


def csv_folder(plain, rng, folder):
    def write(name, head, rows):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])

    order = [int(i) for i in rng.permutation(plain.n)]
    name = [str(name) for name in plain.names]
    weight = ["weight"] if plain.weighted else []
    rows = [(name[s], name[t], w)[: 2 + len(weight)] for s, t, w in plain.rows()]
    write("edges.csv", ["source", "target", *weight], rows)
    if plain.x is not None:
        write("features.csv", ["id", "f", "g", "h"], [(name[i], *plain.x[i]) for i in order])
    labels = [None] * plain.n if plain.labels is None else plain.labels
    text = [None if label is None or label != label else str(label) for label in labels]
    if plain.x is None or plain.labels is not None:
        write("labels.csv", ["id", "label"], [(name[i], text[i]) for i in order])
    graph = gcnlab.load(folder, split=None)
    return graph if plain.labels is not None else graph.replace(y=None, class_names=None)


def npz_file(plain, rng, folder):
    a = sp.csr_array(plain.dense)
    arrays = {f"adj_{part}": getattr(a, part) for part in ("data", "indices", "indptr", "shape")}
    if plain.x is not None:
        x = sp.csr_array(plain.x)
        arrays |= {f"attr_{part}": getattr(x, part) for part in ("data", "indices", "indptr", "shape")}
    y = y_of(plain, "tensor")
    np.savez(folder / "graph.npz", labels=np.zeros(plain.n) if y is None else y.numpy(), **arrays, **plain.masks)
    graph = gcnlab.load(folder / "graph.npz", split="auto" if plain.masks else None)
    return graph if y is not None else graph.replace(y=None, class_names=None)


DOORS = {
    "`Graph.from_edges`": from_edges,
    "`Graph.from_networkx`": from_networkx,
    "`Graph.from_pandas`": from_pandas,
    "`Graph.from_scipy`": from_scipy,
    "`Graph.from_dense`": from_dense,
    "`Graph.from_torch`": from_torch,
    "`to_pyg`, `Graph.from_pyg`": pyg_round_trip,
    "`to_networkx`, `Graph.from_networkx`": networkx_round_trip,
    "`Graph.replace`": replace_all,
    "`Graph.save`, `Graph.open`": save_and_open,
    "`Graph.from_graphs`": side_by_side,
    "`gcnlab.batch`": batch,
    "a folder of CSV tables": csv_folder,
    "an npz file": npz_file,
}


def table_of_the_page():
    """door -> what it carries, from the last table of the page."""
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    head = max(i for i, row in enumerate(rows) if row[0] == "door")
    assert len(rows[head]) == len(COLUMNS) + 1
    return {row[0]: dict(zip(COLUMNS, (cell == "yes" for cell in row[1:]), strict=True)) for row in rows[head + 1 :]}


CARRIES = table_of_the_page()


def expected(plain, carries):
    """What is to be seen of a graph by names, as far as the door carries it."""
    name = plain.names if carries["names"] else list(range(plain.n))
    seen = {"nodes": {str(node) for node in name}}
    seen["edges"] = {(str(name[s]), str(name[t])): w for (s, t), w in plain.edges.items()}
    if plain.x is not None:
        seen["x"] = {str(node): tuple(row) for node, row in zip(name, plain.x.tolist(), strict=True)}
    is_target = "targets" in plain.kind
    if plain.labels is not None and carries["targets" if is_target else "classes"]:
        labels = plain.labels if is_target or carries["class names"] else y_of(plain, "tensor").tolist()
        seen["y"] = {str(node): label_text(label) for node, label in zip(name, labels, strict=True)}
    if carries["masks"]:
        for key, mask in plain.masks.items():
            seen[key] = {str(node) for node, is_in in zip(name, mask, strict=True) if is_in}
    return seen


def label_text(label):
    if label is None or label == -1 or label != label:
        return "missing"
    return {"True": "1", "False": "0"}.get(str(label), str(label))


def found(graph):
    name = [str(node) for node in (graph.node_names or range(graph.num_nodes))]
    source, target = graph.edge_index.tolist()
    weights = graph.adjacency.value.tolist()
    seen = {"nodes": set(name)}
    seen["edges"] = {(name[s], name[t]): w for s, t, w in zip(source, target, weights, strict=True)}
    if graph.x is not None:
        x = graph.x.to_dense() if isinstance(graph.x, SparseMatrix) else graph.x
        seen["x"] = {node: tuple(row) for node, row in zip(name, x.tolist(), strict=True)}
    if graph.y is not None:
        names = graph.class_names
        labels = [names[c] if names and c >= 0 else c for c in graph.y.tolist()]
        seen["y"] = {node: label_text(label) for node, label in zip(name, labels, strict=True)}
    for key in ("train_mask", "val_mask", "test_mask"):
        if getattr(graph, key) is not None:
            seen[key] = {node for node, is_in in zip(name, getattr(graph, key).tolist(), strict=True) if is_in}
    return seen


def test_every_door_of_the_page_is_tried():
    assert CARRIES.keys() == DOORS.keys()


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain=plain_graphs(), seed=st.integers(0, 2**32 - 1))
def test_one_graph_through_every_door_is_one_graph(pyg, door, plain, seed):
    carries = CARRIES[door]
    if not carries["directed"] and plain.directed:
        plain = replace(
            plain,
            directed=False,
            edges={e: w for s, t in plain.edges for e, w in (((s, t), 1.0), ((t, s), 1.0))},
            weighted=False,
        )
    with tempfile.TemporaryDirectory() as folder:
        graph = DOORS[door](plain, np.random.default_rng(seed), Path(folder))
        assert found(graph) == expected(plain, carries)
        assert graph.is_directed == (plain.dense != plain.dense.T).any()
        if carries["names"] and not door.startswith("a folder"):
            assert set(graph.node_names) == set(plain.names)


# -- tables -----------------------------------------------------------------------------------------------------------

CHAIN = [[0, 1, 1, 2], [1, 0, 2, 1]]  # a - b - c
ROWS = {"a": 30, "b": 20, "c": 10}
EDGES = pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"]})
BY_NAME = {
    "from_edges": lambda **o: Graph.from_edges(CHAIN, node_names=["a", "b", "c"], **o),
    "from_networkx": lambda **o: Graph.from_networkx(nx.path_graph(["b", "a", "c"]).to_undirected(), **o),
    "from_pandas": lambda **o: Graph.from_pandas(EDGES, **o),
    "from_pandas, names": lambda **o: Graph.from_pandas(EDGES, node_names=["c", "a", "b"], **o),
    "from_scipy": lambda **o: Graph.from_scipy(sp.csr_array(np.eye(3)), node_names=["b", "c", "a"], **o),
    "from_dense": lambda **o: Graph.from_dense(pd.DataFrame(np.eye(3), list("bca"), list("cab")), **o),
    "from_pyg": lambda **o: Graph.from_pyg(Graph.from_edges(CHAIN).to_pyg(), node_names=["a", "b", "c"], **o),
    "replace": lambda **o: Graph.from_edges(CHAIN, node_names=["c", "b", "a"]).replace(**o),
}
by_name = pytest.mark.parametrize("door", BY_NAME.values(), ids=BY_NAME)
SERIES = pd.Series([10, 20, 30], index=["c", "b", "a"])


@by_name
@pytest.mark.parametrize(
    "x",
    [SERIES, SERIES.to_frame(), SERIES.astype("Int64"), SERIES.astype("Float32").to_frame(), SERIES.astype(object)],
    ids=["Series", "DataFrame", "Int64", "Float32", "object"],
)
def test_features_follow_the_names(pyg, door, x):
    graph = door(x=x)
    assert dict(zip(graph.node_names, graph.x.flatten().tolist(), strict=True)) == ROWS


@by_name
@pytest.mark.parametrize("dtype", ["int64", "Int64", "uint8", "category", "string", "object"])
def test_labels_follow_the_names(pyg, door, dtype):
    graph = door(y=pd.Series([2, 1, 0], index=["c", "b", "a"]).astype(dtype))
    assert not graph.y.is_floating_point()
    assert dict(zip(graph.node_names, graph.y.tolist(), strict=True)) == {"a": 0, "b": 1, "c": 2}


@by_name
@pytest.mark.parametrize("dtype", ["bool", "boolean", "object", "uint8"])
def test_masks_follow_the_names(pyg, door, dtype):
    graph = door(train_mask=pd.Series([True, False, False], index=["c", "b", "a"]).astype(dtype))
    assert dict(zip(graph.node_names, graph.train_mask.tolist(), strict=True)) == {"a": False, "b": False, "c": True}


@by_name
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["c", "b", "b"], "its index has 'b' twice, in rows 1 and 2"),
        (["c", "b", "z"], "its index has no row for node 'a'|no row for node"),
        ([1, 2, 3], "its index has"),
    ],
)
@pytest.mark.parametrize("key", ["x", "y", "test_mask"])
def test_tables_of_other_names_are_refused(pyg, door, key, names, message):
    with pytest.raises(InputError, match=rf"^{key}: ({message})"):
        door(**{key: pd.Series([True, False, True], index=names)})


def test_a_table_beside_nodes_without_names():
    shuffled = pd.DataFrame({"v": [10.0, 30.0, 20.0]}, index=[2, 0, 1])
    assert Graph.from_edges(CHAIN, x=shuffled).x.flatten().tolist() == [30, 20, 10]  # the ids are names
    assert Graph.from_edges(CHAIN, x=shuffled.reset_index(drop=True)).x.flatten().tolist() == [10, 30, 20]
    for table in (
        SERIES,
        shuffled.set_index(pd.Index([1, 2, 3])),
        shuffled.iloc[::-1].set_index(pd.Index(list("abc"))),
    ):
        with pytest.raises(InputError, match=r"x: its index names the rows .*; pass node_names=, or x.to_numpy\(\)"):
            Graph.from_edges(CHAIN, x=table)
    graph = nx.Graph([(2, 0), (0, 1)])
    with pytest.raises(InputError, match=r"x: its default index 0, 1, 2, ... could be the names .*order is 2, 0, 1"):
        Graph.from_networkx(graph, x=shuffled.reset_index(drop=True))
    assert Graph.from_networkx(graph, x=shuffled).x.flatten().tolist() == [10, 30, 20]


def test_names_of_another_type():
    edges = pd.DataFrame({"source": [1, 2], "target": [2, 3]})
    with pytest.raises(InputError, match=r"x: its index has '1' \(str\), the nodes of edges are 1 and 3 more \(int\)"):
        Graph.from_pandas(edges, x=pd.Series([1.0, 2.0, 3.0], index=["1", "2", "3"]))
    with pytest.raises(InputError, match=r"y: its index has '1' \(str\), the nodes have 1 \(int\); .*astype\(int\)"):
        Graph.from_pandas(edges, node_names=[1, 2, 3], y=pd.Series([0, 1, 0], index=["1", "2", "3"]))


def test_a_positional_array_beside_names_that_are_numbered_here():
    edges = pd.DataFrame({"source": ["n1", "n2", "n9"], "target": ["n2", "n9", "n10"]})
    arrays = {"x": np.ones((4, 1)), "y": [0, 1, 0, 1], "train_mask": torch.tensor([True] * 4), "val_mask": [True] * 4}
    for key, value in [*arrays.items(), ("x", pd.DataFrame({"v": [1.0] * 4})), ("x", SparseMatrix.eye(4))]:
        with pytest.raises(InputError, match=rf"{key}: has a row per node, but no names to tell whose; .*'n1', 'n10'"):
            Graph.from_pandas(edges, **{key: value})
        graph = Graph.from_pandas(edges, node_names=["n1", "n2", "n9", "n10"], **{key: value})
        assert graph.node_names == ("n1", "n2", "n9", "n10")
    numbered = edges.apply(lambda column: column.map(lambda name: int(name[1:])))
    assert Graph.from_pandas(numbered, y=[0, 1, 2, 3]).node_names == (1, 2, 9, 10)  # their order is no question
    assert Graph.from_pandas(edges, y=1).y.dim() == 0  # of the graph


def test_rows_without_an_edge_are_isolated_nodes():
    x = pd.Series([1.0, 2, 3, 4, 5], index=list("edcba"))
    graph = Graph.from_pandas(EDGES, x=x, y=pd.Series(0, index=list("abcde")))
    assert graph.node_names == tuple("abcde")
    assert graph.num_edges == 4
    with pytest.raises(
        InputError, match=r"y: its index has no row for node 'd'; y.reindex\(names\) leaves it unlabelled"
    ):
        Graph.from_pandas(EDGES, x=x, y=pd.Series(0, index=list("abce")))


def test_a_table_as_adjacency():
    table = pd.DataFrame([[0, 0, 1], [0, 1, 0], [1, 0, 0]], list("ABC"), list("ACB"))
    graph = Graph.from_dense(table)
    assert graph.node_names == tuple("ABC")
    assert graph.adjacency.to_dense().tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert torch.equal(
        Graph.from_dense(table, node_names=list("CBA")).adjacency.to_dense(), graph.adjacency.to_dense().flip(0, 1)
    )
    assert Graph.from_dense(pd.DataFrame(np.eye(3))).node_names is None
    with pytest.raises(InputError, match=r"adjacency: its columns are 'A', 'C', 'D', expected the nodes 'A', 'B', 'C'"):
        Graph.from_dense(table.rename(columns={"B": "D"}))
    with pytest.raises(InputError, match=r"adjacency.columns: its index has 'A' twice"):
        Graph.from_dense(table.rename(columns={"B": "A"}))
    with pytest.raises(InputError, match=r"matrix: its columns are its rows in another order"):
        SparseMatrix.from_dense(table)


def test_columns_of_several_types():
    table = pd.DataFrame({"age": [30, 40], "member": [True, False], "score": [0.5, None], "level": [1, None]})
    table["level"] = table["level"].astype("Int64")
    graph = Graph.from_edges([[0, 1], [1, 0]], x=table, check_finite=False)
    assert graph.x[0].tolist() == [30, 1, 0.5, 1]
    assert graph.x[1, 2:].isnan().all()
    whole = table[["age", "member"]]
    for x in (whole, whole.to_numpy(), whole.to_numpy().tolist()):  # an array of objects, and lists
        assert Graph.from_edges([[0, 1], [1, 0]], x=x).x.tolist() == [[30, 1], [40, 0]]
    for column in (["k", "l"], pd.Categorical(["k", "l"]), pd.to_datetime(["2020-01-01", "2021-01-01"]), [None, "l"]):
        with pytest.raises(InputTypeError, match=r"x: column 'city' has .*expected numbers; .*get_dummies"):
            Graph.from_edges([[0, 1], [1, 0]], x=table.assign(city=column))
    with pytest.raises(InputTypeError, match=r"x: got ndarray \('k' at \[1, 0\]\)"):
        Graph.from_edges([[0, 1], [1, 0]], x=np.array([[1, 2], ["k", 3]], dtype=object))


def test_names_occur_once():
    for names in (["a", "a", "b"], [1, 1.0, 2], np.array(["a", "b", "a"]), pd.Index(["a", "b", "a"])):
        for door in (
            lambda names: Graph.from_edges(CHAIN, node_names=names),
            lambda names: Graph.from_dense(np.eye(3), node_names=names),
            lambda names: Graph.from_edges(CHAIN).replace(node_names=names),
            lambda names: Graph.from_pandas(EDGES, node_names=names),
            lambda names: Graph.from_networkx(nx.path_graph(3), node_names=names),
        ):
            with pytest.raises(InputError, match=r"node_names: .* is given twice, at 0 and [12]"):
                door(names)
    with pytest.raises(InputError, match="class_names: 'x' is given twice"):
        Graph.from_edges(CHAIN, y=[0, 1, 0], class_names=["x", "x"])
    with pytest.raises(InputTypeError, match="node_names: got the text 'abc'"):
        Graph.from_edges(CHAIN, node_names="abc")
    with pytest.raises(InputTypeError, match="node_names: name 1 is a list"):
        Graph.from_edges(CHAIN, node_names=["a", ["b"], "c"])


def test_networkx_takes_its_own_nodes_in_an_order():
    graph = nx.path_graph(["a", "b", "c"])
    ordered = Graph.from_networkx(graph, node_names=["c", "a", "b"], x=SERIES)
    assert ordered.x.flatten().tolist() == [10, 30, 20]
    assert ordered.adjacency.to_dense().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    with pytest.raises(InputError, match=r"node_names: .*relabel_nodes"):
        Graph.from_networkx(graph, node_names=["x", "a", "b"])
    for both in ({"label": "l", "y": [0, 1, 0]}, {"features": "l", "x": torch.ones(3, 1)}):
        with pytest.raises(InputError, match="got both"):
            Graph.from_networkx(graph, **both)


def test_weights_have_no_names_to_follow():
    for weight in (pd.Series([1.0] * 4, index=list("abcd")), pd.Series([1.0] * 4, index=[3, 2, 1, 0])):
        for door in (Graph.from_edges, SparseMatrix.from_edges):
            with pytest.raises(
                InputError,
                match=r"edge_weight: its index is not 0, 1, 2, ..., and it is read by position.*edge_weight.to_numpy\(\)",
            ):
                door(CHAIN, edge_weight=weight)
    assert Graph.from_edges(CHAIN, edge_weight=pd.Series([1, 1, 2, 2])).adjacency.value.tolist() == [1, 1, 2, 2]


def test_what_is_read_by_position_has_no_names():
    graph = Graph.from_edges(CHAIN, x=torch.rand(3, 2), y=[0, 1, 0], train_mask=[True] * 3, node_names=list("abc"))
    model = gcnlab.GCN(2, 4, 2)
    mask = pd.Series([True, False, True], index=list("cba"))
    logits = gcnlab.predict(model, graph)
    for argument, call in {
        "nodes": lambda: gcnlab.predict(model, graph, nodes=mask),
        "y": lambda: gcnlab.metrics.accuracy(logits, mask.astype(int)),
        "scores": lambda: gcnlab.metrics.roc_auc(mask.astype(float), [0, 1, 1]),
        "class_weight": lambda: gcnlab.fit(
            model, graph, select="last", class_weight=pd.Series([1.0, 2.0], index=["y", "x"])
        ),
        "node_ptr": lambda: GraphCollection(graph, pd.Series([0, 3], index=["a", "b"]), [0]),
    }.items():
        with pytest.raises(InputError, match=rf"{argument}: its index is not 0, 1, 2, .* {argument}.to_numpy\(\)"):
            call()
    assert gcnlab.predict(model, graph, nodes=mask.reset_index(drop=True)).equal(logits[[0, 2]])


@by_name
def test_dicts_are_by_name(pyg, door):
    graph = door(
        x={"c": 10, "b": 20, "a": 30}, y={"c": "z", "b": None, "a": "x"}, train_mask={"c": True, "a": False, "b": False}
    )
    assert dict(zip(graph.node_names, graph.x.flatten().tolist(), strict=True)) == ROWS
    assert dict(zip(graph.node_names, graph.y.tolist(), strict=True)) == {"a": 0, "b": -1, "c": 1}
    assert [name for name, is_in in zip(graph.node_names, graph.train_mask, strict=True) if is_in] == ["c"]
    assert door(x={"c": [1, 2], "b": [3, 4], "a": [5, 6]}).num_features == 2
    with pytest.raises(InputError, match="y: its index has"):
        door(y={"c": 0, "b": 1, "z": 0})


def test_what_has_no_order_is_refused():
    for argument in ("node_names", "class_names", "y"):
        for value in ({"a", "b", "c"}, frozenset("abc")):
            with pytest.raises(InputTypeError, match=rf"{argument}: got a (frozen)?set, expected a list"):
                Graph.from_edges(CHAIN, 3, **{"y": [0, 1, 2], argument: value})
    with pytest.raises(InputTypeError, match="class_names: got a dict"):
        Graph.from_edges(CHAIN, y=[0, 1, 0], class_names={0: "x", 1: "y"})
    with pytest.raises(InputTypeError, match="y: got a dict"):
        Signals(torch.zeros(2, 3, 3), {"a": 0, "b": 1})


def test_masked_arrays_and_tables_of_edges():
    masked = np.ma.array([0, 1, 2], mask=[False, True, False])
    assert Graph.from_edges(CHAIN, y=masked).y.tolist() == [0, -1, 2]
    for argument, value in (("x", masked[:, None]), ("edge_weight", np.ma.array([1.0] * 4, mask=[0, 0, 1, 0]))):
        with pytest.raises(InputTypeError, match=rf"{argument}: got MaskedArray \(1 values masked; fill them\)"):
            Graph.from_edges(CHAIN, **{argument: value})
    with pytest.raises(InputTypeError, match=r"edge_index: got a DataFrame; Graph\.from_pandas"):
        Graph.from_edges(pd.DataFrame({"source": [0, 1], "target": [1, 2]}))
    with pytest.raises(InputTypeError, match=r"edge_index: got list \('a' at \[0, 0\]\), .*Graph.from_pandas numbers"):
        Graph.from_edges([["a", "b"], ["b", "c"]])


def test_points_keep_their_names():
    points = pd.DataFrame({"lon": [0, 1, 3], "lat": [0.0, 0, 0]}, index=["x", "y", "z"])
    graph = knn_graph(points, 1, x=points.loc[["z", "y", "x"]])
    assert graph.node_names == ("x", "y", "z")
    assert graph.x[:, 0].tolist() == [0, 1, 3]
    assert knn_graph(points.reset_index(drop=True), 1).node_names is None


# -- labels -----------------------------------------------------------------------------------------------------------

NA, NAN = pd.NA, math.nan
CLASSES = [  # given, y, class_names
    ([0, 2, -1], [0, 2, -1], None),
    ([0, None, 1], [0, -1, 1], None),
    ([0, NAN, 1], [0, -1, 1], None),
    ([NA, 0, 1], [-1, 0, 1], None),
    ([np.int8(1), np.bool_(False), True], [1, 0, 1], None),
    ([True, None, False], [1, -1, 0], None),
    ([np.bool_(True), np.bool_(False), np.bool_(True)], [1, 0, 1], None),
    (np.array([True, False, True]), [1, 0, 1], None),
    (torch.tensor([True, False, True]), [1, 0, 1], None),
    (np.array([[0], [2], [1]], np.uint8), [0, 2, 1], None),
    (torch.tensor([[0], [2], [1]]), [0, 2, 1], None),
    (pd.Series([0, 1, None]), [0, 1, -1], None),
    (pd.Series([0, 1, None], dtype=object), [0, 1, -1], None),
    (pd.array([0, None, 1], "Int64"), [0, -1, 1], None),
    (pd.Series([True, None, False], dtype="boolean"), [1, -1, 0], None),
    (pd.DataFrame({"label": [0, 1, 2]}), [0, 1, 2], None),
    (["b", "a", "b"], [1, 0, 1], ("a", "b")),
    (["b", None, "a"], [1, -1, 0], ("a", "b")),
    (["b", "", " a "], [1, -1, 0], ("a", "b")),
    ([b"b", b"a", b"b"], [1, 0, 1], ("a", "b")),
    (np.array([["b"], ["a"], ["b"]]), [1, 0, 1], ("a", "b")),
    (np.array(["10", "9", "0"]), [2, 1, 0], ("0", "9", "10")),
    (["1.0", "0.0", ""], [1, 0, -1], ("0", "1")),
    (["007", "7", "+7"], [1, 2, 0], ("+7", "007", "7")),
    (pd.Series(["b", None, "a"], dtype="string"), [1, -1, 0], ("a", "b")),
    (pd.Categorical(["lo", "hi", None], ["lo", "mid", "hi"]), [0, 2, -1], ("lo", "mid", "hi")),
    (pd.Series(pd.Categorical([5, 3, 5])), [1, 0, 1], ("3", "5")),
]
LABEL_DOORS = {
    "from_edges": lambda y: Graph.from_edges(CHAIN, y=y),
    "from_dense": lambda y: Graph.from_dense(np.eye(3), y=y),
    "from_scipy": lambda y: Graph.from_scipy(sp.csr_array(np.eye(3)), y=y),
    "from_networkx": lambda y: Graph.from_networkx(nx.path_graph(3), y=y),
    "replace": lambda y: Graph.from_edges(CHAIN).replace(y=y),
}
label_doors = pytest.mark.parametrize("door", LABEL_DOORS.values(), ids=LABEL_DOORS)


@label_doors
@pytest.mark.parametrize(("given", "y", "names"), CLASSES, ids=range(len(CLASSES)))
def test_what_becomes_a_class(door, given, y, names):
    graph = door(given)
    assert not graph.y.is_floating_point()
    assert (graph.y.tolist(), graph.class_names) == (y, names)


@pytest.mark.parametrize(("given", "y", "names"), CLASSES, ids=range(len(CLASSES)))
def test_what_becomes_a_class_of_graphs_and_images(given, y, names):
    whole, images = Graph.from_edges([[], []], 3), torch.zeros(3, 2, 2, dtype=torch.uint8)
    doors = (lambda: GraphCollection(whole, [0, 1, 2, 3], given), lambda: Signals(images, given))
    for door in doors:
        if -1 in y:
            with pytest.raises(InputError, match=r"y: (label -1 at \d|(graph|image) \d has no label)"):
                door()
        else:
            assert (door().y.tolist(), door().class_names) == (y, names)
    if -1 not in y:
        images = ImageSet(images, given, images[:1], given[:1])
        assert (images.train_labels.tolist(), images.test_labels.tolist()) == (y, y[:1] if names is None else [y[0]])


@label_doors
@pytest.mark.parametrize(
    "given",
    [
        [0.5, 1.0, NAN],
        [0.0, 1.0, 2.0],
        np.array([0.0, 1.0, NAN]),
        torch.tensor([0.0, 1.0, NAN]),
        pd.Series([0.5, 1, None]),
        pd.Series([0.0, 1.0, 2.0]),
        pd.Series([-2.0, 1, None]),
        ["0.637", "1", "nan"],
        ["0.5", "", "-3e-2"],
        np.array([[0, 1], [1, 0], [1, 0]]),
        [[0.5, 1], [1, 2], [3, 4]],
        pd.DataFrame({"a": [True, False, True], "b": [False, True, False]}),
    ],
)
@pytest.mark.filterwarnings("ignore:y. labels 'nan'")
def test_what_becomes_a_target(door, given):
    graph = door(given)
    assert graph.y.is_floating_point()
    assert graph.class_names is None
    assert graph.num_classes == 0


def test_text_that_means_a_missing_label_is_said():
    for text in ("nan", "NA", "N/A", "NULL", "?", "None"):
        with pytest.warns(UserWarning, match=rf"y: labels '{re.escape(text)}' are how a missing value is written"):
            graph = Graph.from_edges(CHAIN, y=["x", text, "y"])
        assert graph.y.tolist() == [0, -1, 1]
    with pytest.warns(UserWarning, match="y: label 'Unknown' counts as a class; leave it empty"):
        assert Graph.from_edges(CHAIN, y=["x", "Unknown", "y"]).num_classes == 3
    named = Graph.from_edges(CHAIN, y=["NA", "EU", "NA"], class_names=["EU", "NA"])
    assert named.y.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["0.5", "0.7", "n.a."], "y: label 'n.a.' at 2 is no finite number, but most others are"),
        (["0.5", "0.7", "inf"], "y: label 'inf' at 2 is no finite number"),
        (["a", 1, "b"], r"y: got values of int \(first at 1\), str \(first at 0\), expected"),
        ([2**70, 1, 0], "y: label 1180591620717411303424 does not fit 64 bits"),
        ([0, 1, -2], "y: label -2 at 2; labels must be at least 0, or -1 .*return_inverse"),
        ([[0, 1], [1], [2, 3]], r"y: got values of list .first at 0., expected"),
        (torch.zeros(3, dtype=torch.complex64), "y: got torch.complex64"),
        (pd.to_datetime(["2020-01-01"] * 3), r"y: got values of Timestamp"),
    ],
)
def test_labels_that_are_refused(given, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        Graph.from_edges(CHAIN, y=given)


def test_a_single_label_is_the_graphs():
    for y in (1, "ring", [1], torch.tensor([[1]]), np.array([1]), pd.Series([1])):
        assert Graph.from_edges(CHAIN, y=y).y.dim() == 0
    assert Graph.from_edges([[], []], y=[1]).num_nodes == 1
    assert Graph.from_edges(CHAIN, y=torch.tensor([[0.5, 1.5]])).y.shape == (1, 2)


def test_graphs_are_numbered_alike_by_their_class_names():
    graphs = [Graph.from_edges(CHAIN, y=y) for y in ("ring", "star", "ring")]
    assert [int(graph.y) for graph in graphs] == [0, 0, 0]
    collection = GraphCollection.from_graphs(graphs)
    assert (collection.y.tolist(), collection.class_names) == ([0, 1, 0], ("ring", "star"))
    assert GraphCollection.from_graphs(graphs, class_names=["star", "ring"]).y.tolist() == [1, 0, 1]
    assert GraphCollection.from_graphs(graphs[:1]).class_names == ("ring",)
    with pytest.raises(
        InputError, match="graph 1 has the class 'star', which is not among class_names 'ring', 'chain'"
    ):
        GraphCollection.from_graphs(graphs, class_names=["ring", "chain"])
    with pytest.raises(InputError, match="graph 0 has class_names and graph 2 has none"):
        GraphCollection.from_graphs([*graphs[:2], Graph.from_edges(CHAIN, y=1)])
    both = Graph.from_graphs([Graph.from_edges(CHAIN, y=["b", "a", None]), Graph.from_edges(CHAIN, y=["c", "b", "c"])])
    assert (both.y.tolist(), both.class_names) == ([1, 0, -1, 2, 1, 2], ("a", "b", "c"))


def test_minus_one_and_one_are_classes_of_graphs(pyg):
    graphs = [Graph.from_edges(CHAIN, y=y) for y in (-1, 1, -1)]
    data = [graph.to_pyg() for graph in graphs]
    whole = Graph.from_edges([[], []], 3)
    for door in (
        lambda: GraphCollection.from_graphs(graphs),
        lambda: GraphCollection.from_pyg(data),
        lambda: GraphCollection(whole, [0, 1, 2, 3], [-1, 1, -1]),
    ):
        assert (door().y.tolist(), door().class_names) == ([0, 1, 0], ("-1", "1"))
    with pytest.raises(
        InputError, match=r"y: label -1 at 0; labels must be at least 0. torch.unique\(y, return_inverse"
    ):
        GraphCollection(whole, [0, 1, 2, 3], [-1, 1, 0])


@pytest.mark.parametrize(
    "y", [torch.tensor([[0.0], [1], [2]]), torch.tensor([0.0, 1, 2]), torch.eye(3), torch.tensor([0.0, NAN, 1])]
)
def test_the_remedy_for_floats_gives_the_right_classes(y):
    graph = Graph.from_edges(CHAIN, x=torch.rand(3, 4), y=y, train_mask=[True, not bool(y.isnan().any()), True])
    with pytest.raises(InputError) as error:
        gcnlab.fit(gcnlab.GCN(4, 4, 3), graph, epochs=1, select="last")
    remedy = re.search(r"(y\.\S+\)) makes", str(error.value))[1]
    classes = eval(remedy, {"y": y})  # what a reader would copy
    assert classes.tolist() == ([0, -1, 1] if y.isnan().any() else [0, 1, 2])
    gcnlab.fit(gcnlab.GCN(4, 4, 3), graph.replace(y=classes), epochs=1, select="last")


def test_labels_of_a_csv_folder(tmp_path):
    def load(labels):
        (tmp_path / "edges.csv").write_text("source,target\na,b\nb,c\n")
        (tmp_path / "labels.csv").write_text(
            "id,label\n" + "".join(f"{n},{v}\n" for n, v in zip("abc", labels, strict=True))
        )
        return gcnlab.load(tmp_path, split=None)

    assert load(["0.637", "0.270", ""]).y[:2].tolist() == pytest.approx([0.637, 0.270])
    assert load(["1.0", "", "0.0"]).class_names == ("0", "1")
    with pytest.warns(UserWarning, match=r"labels.csv: labels 'nan' are how a missing value is written"):
        assert load(["x", "nan", "y"]).y.tolist() == [0, -1, 1]
    with pytest.raises(DatasetFormatError, match=r"labels.csv: label 'x' at 2 is no finite number"):
        load(["0.5", "0.25", "x"])


# -- edges ------------------------------------------------------------------------------------------------------------


def test_an_undirected_table_counts_a_pair_once():
    table = pd.DataFrame({"source": ["a", "b", "b", "a"], "target": ["b", "a", "c", "b"], "w": [2.0, 2.0, 3.0, 2.0]})
    for weight, ab, bc in ((None, 1, 1), ("w", 2, 3)):
        graph = Graph.from_pandas(table, weight=weight)
        assert graph.adjacency.to_dense().tolist() == [[0, ab, 0], [ab, 0, bc], [0, bc, 0]]
        assert graph.num_duplicates == 2
    table.loc[1, "w"] = 5.0
    with pytest.raises(
        InputError, match=r"the pair 'b' - 'a' is in rows 0 and 1, with the weights 2 and 5; .*duplicates"
    ):
        Graph.from_pandas(table, weight="w")
    for duplicates, ab in (("sum", 9), ("first", 2)):
        assert float(Graph.from_pandas(table, weight="w", duplicates=duplicates).adjacency.to_dense()[0, 1]) == ab
    with pytest.raises(InputError, match=r"the pair 'b' - 'a' is in rows 0 and 1; "):
        Graph.from_pandas(table, duplicates="error")
    assert float(Graph.from_pandas(table, weight="w", directed=True).adjacency.to_dense()[1, 0]) == 4
    with pytest.raises(InputError, match="duplicates: got 'last'"):
        Graph.from_pandas(table, duplicates="last")


def test_ids_that_count_from_1(pyg):
    ids, x = [[1, 2, 3], [2, 3, 1]], torch.rand(3, 2)
    doors = {
        "x has 3 rows": lambda: Graph.from_edges(ids, x=x),
        "y has 3 rows": lambda: Graph.from_edges(ids, y=[0, 1, 0]),
        "node_names has 3 names": lambda: Graph.from_edges(ids, node_names=["a", "b", "c"]),
        "ids must be": lambda: Graph.from_edges(ids, 3),
        "so ids": lambda: Graph.from_edges(ids, x=pd.DataFrame(x.numpy())),
        "but ids": lambda: Graph.from_pyg(pyg.data.Data(x=x, edge_index=torch.tensor(ids))),
    }
    for message, door in doors.items():
        with pytest.raises(
            InputError, match=rf"edge \d is .*{message}.*do they count from 1\? Then pass edge_index - 1"
        ):
            door()
    with pytest.raises(InputError, match=r"graph 0 has 3 nodes and an edge 2 -> 3; .*Do they count from 1"):
        GraphCollection.from_pyg([pyg.data.Data(x=x, edge_index=torch.tensor(ids), y=torch.tensor([0]))])
    with pytest.raises(
        InputError, match=r"edge 1 is 0 -> 7, but x has 3 rows, so ids .*below 3; give x for every node"
    ):
        Graph.from_edges([[1, 0], [2, 7]], x=x)


def test_ids_that_are_not_numbered(pyg):
    ids = [[0, 5], [5, 230_425_980]]
    for door in (
        lambda: Graph.from_edges(ids),
        lambda: SparseMatrix.from_edges(ids),
        lambda: Graph.from_pyg(pyg.data.Data(edge_index=torch.tensor(ids))),
        lambda: GraphCollection.from_pyg([pyg.data.Data(edge_index=torch.tensor(ids), y=torch.tensor([0]))]),
    ):
        with pytest.raises(
            InputError, match=r"the largest id is 230,425,980, but there are only 2 edges, .*from_pandas"
        ):
            door()
    assert Graph.from_pandas(pd.DataFrame({"source": ids[0], "target": ids[1]})).num_nodes == 3
    assert Graph.from_edges([[0], [2_000_000]], num_nodes=2_000_001).num_nodes == 2_000_001
    with pytest.raises(MemoryLimitError, match="a matrix of 3,000,000,000 rows needs"):
        Graph.from_edges(ids, num_nodes=3 * 10**9)


def test_a_weight_that_no_edge_has():
    graph = nx.Graph()
    graph.add_edge("a", "b", value=3.0)
    for weight in ("valeu", "w"):
        with pytest.raises(InputError, match=f"weight: no edge has an attribute '{weight}'; the edges have value"):
            Graph.from_networkx(graph, weight=weight)
    assert Graph.from_networkx(graph, weight="value").adjacency.value.tolist() == [3, 3]
    assert Graph.from_networkx(graph).adjacency.value.tolist() == [1, 1]


def test_the_matrix_of_a_bipartite_graph():
    for door, matrix in ((Graph.from_scipy, sp.csr_array(np.ones((2, 3)))), (Graph.from_dense, np.ones((2, 3)))):
        with pytest.raises(InputError, match=r"adjacency: got 2 x 3, .*2 \+ 3 nodes .*block_array"):
            door(matrix)


def test_one_graph_of_several():
    first = Graph.from_edges([[0], [1]], x=torch.eye(2), y=[0, 1], train_mask=[True, False], node_names=["a", "b"])
    second = Graph.from_edges(
        CHAIN, x=torch.rand(3, 2), y=[1, -1, 0], test_mask=[True, False, False], node_names=list("bcd")
    )
    both = Graph.from_graphs([first, second])
    assert both.adjacency.to_dense()[2:, 2:].equal(second.adjacency.to_dense())
    assert both.x.equal(torch.cat([first.x, second.x]))
    assert both.y.tolist() == [0, 1, 1, -1, 0]
    assert both.train_mask.tolist() == [True, *[False] * 4]
    assert both.test_mask.tolist() == [False, False, True, False, False]
    assert both.val_mask is None
    assert both.node_names == ((0, "a"), (0, "b"), (1, "b"), (1, "c"), (1, "d"))
    assert Graph.from_graphs([first, second.replace(node_names=list("cde"))]).node_names == tuple("abcde")
    for graphs, message in (
        ([], "graphs: got none"),
        ([first, second.replace(y=None, test_mask=None)], "graph 1 has none, expected a label for each of its 3 nodes"),
        ([first.replace(y=1), second], r"graph 0 has y of shape \(\), .*GraphCollection.from_graphs"),
        ([first, second.replace(x=None)], "graph 1 has 0 features, graph 0 has 2"),
    ):
        with pytest.raises(InputError, match=message):
            Graph.from_graphs(graphs)
    with pytest.raises(InputError, match=r"graph 0 has labels of its 2 nodes, .*Graph.from_graphs joins"):
        gcnlab.batch([first, second])


# -- masks and PyG ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["train_mask", "val_mask", "test_mask"])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((10, 3), bool), r"got shape \(10, 3\), .* or \[3, S\] for S splits; its transpose has: pass {}.T"),
        (np.ones((3, 10, 1), bool), r"got shape \(3, 10, 1\), expected \[3\], or \[3, S\] for S splits\.$"),
        (np.ones((3, 10), int), r"got dtype torch.int64, expected bool; {}.bool\(\) makes a mask of zeros and ones"),
        (torch.tensor([1, 0, 1]), r"got dtype torch.int64, expected bool; {}.bool\(\) makes a mask of zeros and ones"),
        ([0.0, 1.0, 1.0], r"expected bool; {}.bool\(\)"),
        (torch.tensor([0, 2], dtype=torch.uint8), r"expected bool; mask\[ids\] = True"),
        (pd.Series([True, None, False]), r"row 1 is missing; fillna\(False\)"),
        (pd.Series([True, None, False], dtype="boolean"), r"row 1 is missing"),
        (["True", "False", "True"], r"got list \('True' at 0\)"),
    ],
)
def test_masks_that_are_refused(key, mask, message):
    with pytest.raises((InputError, InputTypeError), match=rf"^{key}: .*" + message.format(key)):
        Graph.from_edges(CHAIN, **{key: mask})


def test_masks_of_bytes_and_columns():
    for mask in (
        torch.tensor([1, 0, 1], dtype=torch.uint8),
        np.array([[True], [False], [True]]),
        pd.DataFrame({"m": [True, False, True]}),
    ):
        assert Graph.from_edges(CHAIN, train_mask=mask).train_mask.tolist() == [True, False, True]


def test_edge_attr_of_pyg(pyg):
    def data(**values):
        return pyg.data.Data(x=torch.rand(3, 4), edge_index=torch.tensor(CHAIN), y=torch.tensor([1]), **values)

    floats = torch.tensor([0.5, 0.5, 2.0, 2.0])
    for values in (
        {"edge_attr": floats},
        {"edge_attr": floats[:, None]},
        {"edge_weight": floats},
        {"edge_weight": floats[:, None]},
    ):
        assert Graph.from_pyg(data(**values)).adjacency.value.tolist() == floats.tolist()
        assert GraphCollection.from_pyg([data(**values)])[0].adjacency.value.tolist() == floats.tolist()
    types = torch.tensor([1, 1, 3, 3])
    for values in (
        {"edge_attr": types},
        {"edge_attr": types[:, None]},
        {"edge_attr": types == 1},
        {"edge_attr": torch.eye(4)},
    ):
        with pytest.warns(UserWarning, match=r"data: edge_attr is left out \(torch") as warned:
            assert Graph.from_pyg(data(**values)).adjacency.value.tolist() == [1] * 4
        assert len(warned) == 1
        with pytest.warns(UserWarning, match=r"graphs: edge_attr is left out \(torch") as warned:
            graphs = GraphCollection.from_pyg([data(**values)] * 3)
        assert len(warned) == 1
        assert graphs.whole.adjacency.value.tolist() == [1] * 12
    with pytest.warns(UserWarning, match=r"edge_attr is left out \(there is an edge_weight\)"):
        assert Graph.from_pyg(data(edge_weight=floats, edge_attr=types)).adjacency.value.tolist() == floats.tolist()


def test_other_forms_of_pyg(pyg):
    whole = Graph.from_edges([[0, 1], [1, 2]], 4, edge_weight=[0.5, 2.0], x=torch.rand(4, 2)).to_pyg()
    index = torch.stack([whole.edge_index[1], whole.edge_index[0]])
    for layout in (torch.sparse_csr, torch.sparse_coo):
        adj_t = torch.sparse_coo_tensor(index, whole.edge_weight, (4, 4)).to_sparse(layout=layout)
        graph = Graph.from_pyg(pyg.data.Data(x=whole.x, adj_t=adj_t))
        assert graph.adjacency.to_dense().equal(Graph.from_pyg(whole).adjacency.to_dense())
        assert Graph.from_pyg(pyg.data.Data(adj_t=adj_t)).num_nodes == 4
    graphs = [Graph.from_edges(CHAIN, x=torch.rand(3, 2), y=i).to_pyg() for i in range(2)]
    together = pyg.data.Batch.from_data_list(graphs)
    with pytest.raises(InputError, match=r"data: is a Batch of 2 graphs; pass it to GraphCollection.from_pyg"):
        Graph.from_pyg(together)
    assert GraphCollection.from_pyg(together).y.tolist() == [0, 1]
    with pytest.raises(InputTypeError, match=r"data: is a HeteroData, .*to_homogeneous"):
        Graph.from_pyg(pyg.data.HeteroData())
    with pytest.raises(InputError, match="data: has neither edge_index nor adj_t"):
        Graph.from_pyg(pyg.data.Data(x=torch.rand(3, 2)))


@pytest.mark.data
def test_mutag_of_pyg_is_ours(pyg, tmp_path):
    ours = gcnlab.load("mutag")
    (tmp_path / "MUTAG" / "raw").mkdir(parents=True)
    roots = [Path(root) for root in os.environ["GCNLAB_DATA"].split(os.pathsep)]
    archive = next(
        root / "mutag" / "raw" / "MUTAG.zip" for root in roots if (root / "mutag" / "raw" / "MUTAG.zip").is_file()
    )
    with zipfile.ZipFile(archive) as file:
        for member in file.namelist():
            if member.endswith(".txt"):
                (tmp_path / "MUTAG" / "raw" / member.rpartition("/")[2]).write_bytes(file.read(member))
    with pytest.warns(UserWarning, match=r"graphs: edge_attr is left out \(torch.float32 of shape \[\d+, 4\]"):
        theirs = GraphCollection.from_pyg(pyg.datasets.TUDataset(str(tmp_path), "MUTAG"))
    assert theirs.y.equal(ours.y)
    assert theirs.sizes.equal(ours.sizes)
    assert (
        theirs.whole.x.to_dense().equal(ours.whole.x.to_dense())
        if isinstance(ours.whole.x, SparseMatrix)
        else theirs.whole.x.equal(ours.whole.x)
    )
    for part in ("rowptr", "col", "value"):
        assert getattr(theirs.whole.adjacency, part).equal(getattr(ours.whole.adjacency, part))


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "way_in"),
    [
        ("g.gml", "read_gml"),
        ("G.GraphML", "read_graphml"),
        ("e.csv", "pandas.read_csv"),
        ("e.edgelist", "read_edgelist"),
        ("a.npy", "numpy.load"),
        ("g.tar.gz", "unpack it"),
        ("a.mtx", "mmread"),
        ("d.pt", "weights_only=True"),
    ],
)
def test_a_file_of_another_form_names_its_reader(tmp_path, name, way_in):
    (tmp_path / name).write_text("graph [\n]\n")
    with pytest.raises(DatasetFormatError, match=re.escape(way_in)):
        gcnlab.load(tmp_path / name)


# -- images ------------------------------------------------------------------------------------------------------------

IMAGE_DOORS = ("bytes", "floats", "float64", "Signals on a grid", "folder", "parts", "idx", "npz")


@st.composite
def plain_images(draw):
    """Distinct images [N, H, W] or [N, H, W, 3] with a class each; every class has five at least."""
    shape = (draw(st.integers(2, 6)), draw(st.integers(2, 6)), *draw(st.sampled_from([(), (3,)])))
    y = np.repeat(np.arange(draw(st.integers(2, 3))), 5)
    images = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (len(y), *shape), dtype=np.uint8)
    images[:, 0, 0] = (np.arange(len(y)) * 16).reshape(-1, *[1] * (len(shape) - 2))  # so that no two are equal
    return images, y


def idx_file(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def through_image_door(door, images, y, folder):
    """The pixels as a model gets them, [N, height * width, channels], and the classes; those of both parts, if there are two."""
    import PIL.Image

    order = np.random.default_rng(0).permutation(len(y))
    parts = {"train": order[3:], "test": order[:3]}
    if door in ("folder", "parts"):
        for part, rows in parts.items():
            for row in rows:
                path = folder / (part if door == "parts" else "") / f"class {y[row]}" / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(images[row]).save(path)
        if door == "parts":
            for c in np.unique(y):  # a class that the three test images lack
                (folder / "train" / f"class {c}").mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*the test images have none of")
            found = gcnlab.load(folder)
    elif door == "idx":
        for part, rows in (("train", parts["train"]), ("t10k", parts["test"])):
            idx_file(folder / f"{part}-images-idx3-ubyte", images[rows])
            idx_file(folder / f"{part}-labels-idx1-ubyte", y[rows])
        found = gcnlab.load(folder)
    elif door == "npz":
        arrays = {f"x_{part}": images[rows] for part, rows in parts.items()}
        np.savez(folder / "set.npz", **arrays, **{f"y_{part}": y[rows] for part, rows in parts.items()})
        found = gcnlab.load(folder / "set.npz")
    else:
        given = {"floats": (images / np.float32(255)), "float64": images / 255}.get(door, images)
        grid = gcnlab.image.grid_graph(*images.shape[1:3])  # which says that few columns are no channels
        signals = Signals(given, y, grid)
        return signals.inputs(slice(None))[0], signals.y
    x, labels = torch.cat([found.train_images, found.test_images]), torch.cat([found.train_labels, found.test_labels])
    return Signals(x, labels, found.grid()).inputs(slice(None))[0], labels


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(plain_images())
def test_one_set_of_images_through_every_door_is_one_set(plain):
    images, y = plain
    expected = sorted(zip(images.reshape(len(y), -1).tolist(), y.tolist(), strict=True))
    for door in IMAGE_DOORS:
        with tempfile.TemporaryDirectory() as name:
            if door == "idx" and images.ndim == 4:
                with pytest.raises(DatasetFormatError, match="magic number"):
                    through_image_door(door, images, y, Path(name))
                continue
            x, labels = through_image_door(door, images, y, Path(name))
        assert x.dtype == torch.float32
        bytes_of = (x * 255).round()
        torch.testing.assert_close(bytes_of / 255, x, rtol=0, atol=1e-6)
        found = bytes_of.flatten(1).int().tolist()
        assert sorted(zip(found, labels.tolist(), strict=True)) == expected, door


def test_a_zip_archive_of_images_is_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("cat/0.png", b"")
    with pytest.raises(
        DatasetFormatError, match="a zip archive of pictures or idx files; unpack it and pass the folder"
    ):
        gcnlab.load(tmp_path / "pets.zip")
