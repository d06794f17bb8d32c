import copy
import json
import math
import os
import pickle
import random
import sys
import typing
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pretended import seen_on_device
from test_data import damaged, load_under_kills

import gcnlab
import gcnlab.data as data
from gcnlab import Graph, GraphClassifier, GraphCollection, GraphLoader, SparseMatrix, load, predict
from gcnlab.data import archive, catalog, folds, gin_text, nested_folds, text, tu
from gcnlab.data.archive import Source
from gcnlab.data.errica import read_nested
from gcnlab.data.text import Integers
from gcnlab.errors import (
    ChecksumError,
    DatasetFormatError,
    DatasetNotFoundError,
    GcnlabError,
    InputError,
    InputTypeError,
)

SIZES = (3, 1, 5, 2, 7, 4)  # the graph of 1 node and the last one have no edges
CLASSES = (-1, 7, 7, -1, 3, 7)


def dense(matrix):
    return matrix.to_dense() if isinstance(matrix, SparseMatrix) else matrix


class Truth:
    """A few small graphs, undirected, with self-loops, isolated nodes, node labels and attributes, and their files."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.a = []
        for number, size in enumerate(SIZES):
            upper = np.triu(rng.random((size, size)) < 0.6)
            if number in (1, len(SIZES) - 1):
                upper[:] = False
            self.a.append((upper | upper.T).astype(np.float32))
        self.start = np.append(0, np.cumsum(SIZES))
        self.node_labels = rng.choice([2, 5, 11], self.start[-1])
        self.attributes = rng.normal(size=(self.start[-1], 2)).round(4)
        self.edges = [
            (self.start[g] + i + 1, self.start[g] + j + 1)
            for g, a in enumerate(self.a)
            for i, j in np.argwhere(a).tolist()
        ]
        self.num_entries = len(self.edges)
        rng.shuffle(self.edges)
        self.edges += self.edges[:5]  # listed twice
        self.indicator = np.repeat(np.arange(len(SIZES)), SIZES) + 1

    def tu(self):
        def lines(rows):
            return "".join(f"{row}\n" for row in rows).encode()

        return {
            "A": lines(f"{i}, {j}" for i, j in self.edges),
            "graph_indicator": lines(self.indicator),
            "graph_labels": lines(CLASSES),
            "node_labels": lines(self.node_labels),
            "node_attributes": lines(", ".join(map(str, row)) for row in self.attributes),
        }

    def gin(self):
        lines = [str(len(SIZES))]
        node = 0
        for a, label in zip(self.a, CLASSES, strict=True):
            lines.append(f"{len(a)} {label}")
            for row in a:
                neighbours = np.flatnonzero(row).tolist()
                lines.append(" ".join(map(str, [self.node_labels[node], len(neighbours), *neighbours])))
                node += 1
        return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def truth():
    return Truth()


def write_tu(folder, parts, name="TOY"):
    folder.mkdir(exist_ok=True)
    for part, content in parts.items():
        (folder / f"{name}_{part}.txt").write_bytes(content)
    return folder


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def check(collection, truth, num_duplicates=5):
    assert len(collection) == collection.num_graphs == len(SIZES)
    assert collection.num_nodes == sum(SIZES)
    assert collection.num_edges == truth.num_entries
    assert collection.num_duplicates == num_duplicates
    assert collection.class_names == ("-1", "3", "7")
    assert collection.num_classes == 3
    assert [int(collection.class_names[label]) for label in collection.y] == list(CLASSES)
    for graph, a, label in zip(collection, truth.a, CLASSES, strict=True):
        assert torch.equal(graph.adjacency.to_dense(), torch.from_numpy(a))
        assert graph.y.shape == ()
        assert graph.y.dtype == torch.int64
        assert collection.class_names[graph.y] == str(label)


@pytest.fixture
def toy(truth, tmp_path):
    return load(write_tu(tmp_path / "toy", truth.tu()))


# -- the collection ---------------------------------------------------------------------------------------------------


def test_as_a_list(toy, truth):
    ids = list(range(len(SIZES)))

    def sizes(part):
        assert isinstance(part, GraphCollection)
        assert part.sizes.tolist() == [graph.num_nodes for graph in part]
        assert part.num_edges == sum(graph.num_edges for graph in part)
        assert part.y.tolist() == [int(graph.y) for graph in part]
        return part.sizes.tolist()

    for at in (slice(None), slice(1, 4), slice(None, None, 2), slice(None, None, -1), slice(-2, None), slice(4, 1)):
        assert sizes(toy[at]) == list(SIZES[at])
    for at in (
        [2, 0, 0],
        [-1],
        [],
        torch.tensor([5, 1]),
        np.array([3, 2]),
        range(1, 3),
        torch.tensor([4], dtype=torch.int32),
    ):
        assert sizes(toy[at]) == [SIZES[i] for i in at]
    mask = torch.tensor([True, False, False, True, True, False])
    assert sizes(toy[mask]) == [3, 2, 7]
    inner = toy[[5, 3, 2]][1:]
    assert sizes(inner) == [2, 5]
    assert sizes(inner[torch.tensor([1, 0])]) == [5, 2]
    assert inner.num_classes == 3
    for i in (*ids, np.int64(2), torch.tensor(1), True):
        assert toy[i].num_nodes == SIZES[int(i)]
    assert toy[-1].num_nodes == SIZES[-1]
    assert [graph.num_nodes for graph in reversed(toy)] == list(SIZES[::-1])
    assert inner[1].num_nodes == 5
    for i in (6, -7, [0, 6], [-7]):
        with pytest.raises(InputError, match=r"index: got -?[67], but there are 6 graphs"):
            toy[i]
        with pytest.raises(IndexError):
            toy[i]
    with pytest.raises(InputError, match=r"but there are 2 graphs"):
        inner[2]
    for i in (1.0, "a", [0.5], None, [[1]], mask[:3], torch.ones(2)):
        with pytest.raises(InputTypeError, match=r"index: got"):
            toy[i]


def test_repr_and_summary(toy):
    assert repr(toy) == f"GraphCollection(TOY: 6 graphs, 22 nodes, {toy.num_edges} stored edges, 3 features, 3 classes)"
    summary = toy.summary()
    for line in (
        r"graphs             6",
        r"nodes              22; a graph has 1 to 7, 3.7 on average",
        rf"edges              {toy.num_edges} stored, symmetric",
        r"duplicates merged  5",
        r"classes            -1: 2 graphs, 3: 1 graphs, 7: 3 graphs",
        r"features           3",
    ):
        assert line in summary
    loops = sum(int(graph.adjacency.diagonal().sum()) for graph in toy)
    assert f"self-loops         {loops}" in summary
    isolated = sum(int((dense(g.adjacency).fill_diagonal_(0).sum(1) == 0).sum()) for g in toy)
    assert f"isolated nodes     {isolated}" in summary
    assert "graphs             2" in toy[1:3].summary()
    assert "graphs             0" in toy[:0].summary()


INDICES = ([0], [1], [5], [2, 4], [4, 2, 4], [5, 1], [3, 1, 0, 5, 2, 4], [])


@pytest.mark.parametrize("features", [None, "constant", "attributes", "degree"])
@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("part", [slice(None), [5, 3, 2, 1, 4, 0]])
def test_batch_is_block_diagonal(truth, tmp_path, features, derived, part):
    collection = load(write_tu(tmp_path / "toy", truth.tu()), features=features)
    if derived:
        _ = collection.whole.a_hat, collection.whole.laplacian
    collection = collection[part]
    order = list(range(6)) if isinstance(part, slice) else part
    for index in INDICES:
        batch = collection.batch(index)
        chosen = [order[i] for i in index]
        blocks = sp.block_diag([truth.a[g] for g in chosen] or [np.zeros((0, 0))], format="csr")
        found = batch.adjacency.to_scipy()
        assert (found != blocks).nnz == 0
        assert found.has_canonical_format
        assert batch.adjacency.col.dtype == batch.adjacency.rowptr.dtype == torch.int32
        assert batch.y.tolist() == [[-1, 3, 7].index(CLASSES[g]) for g in chosen]
        assert batch.ptr.tolist() == [0, *np.cumsum([SIZES[g] for g in chosen], dtype=int)]
        assert batch.batch.tolist() == [i for i, g in enumerate(chosen) for _ in range(SIZES[g])]
        x = torch.cat([dense(collection[i].x) for i in index]) if index else torch.zeros(0, collection.num_features)
        assert torch.equal(dense(batch.x), x)
        assert type(batch.x) is type(collection.whole.x)  # whatever the share of zeros in this one
        if index:  # what was cut out of the whole is what the batch itself would derive
            fresh = Graph(SparseMatrix.from_scipy(blocks))
            for name in ("a_hat", "laplacian"):
                torch.testing.assert_close(getattr(batch, name).to_dense(), getattr(fresh, name).to_dense())
            assert not batch.is_directed
            assert torch.equal(batch.adjacency.T.to_dense(), fresh.adjacency.to_dense().T)


def test_batch_of_directed_and_weighted_graphs():
    rng = np.random.default_rng(1)
    a = [rng.random((n, n)).astype(np.float32) * (rng.random((n, n)) < 0.5) for n in (5, 3, 11, 2)]
    x = [torch.randn(len(block), 7) for block in a]
    graphs = [
        Graph.from_dense(block, x=feature, y=torch.tensor(i % 2))
        for i, (block, feature) in enumerate(zip(a, x, strict=True))
    ]
    collection = GraphCollection.from_graphs(graphs, class_names=("even", "odd"), name="mine")
    for index in ([2, 0], [3, 1, 2, 0], [1, 1]):
        batch = collection.batch(index)
        assert np.array_equal(batch.adjacency.to_dense().numpy(), sp.block_diag([a[i] for i in index]).toarray())
        assert torch.equal(batch.x, torch.cat([x[i] for i in index]))
    assert collection.whole.is_directed
    assert collection.batch([2]).is_directed
    assert collection.batch().y.tolist() == [0, 1, 0, 1]
    assert collection.to("cpu").batch([1]).num_nodes == 3
    copied = pickle.loads(pickle.dumps(collection[1:]))
    assert copied.sizes.tolist() == [3, 11, 2]
    labelled = collection.whole.replace(y=torch.zeros(21, dtype=torch.int64), train_mask=torch.ones(21) > 0)
    assert GraphCollection(labelled, [0, 5, 21], [0, 1])[1].to("cpu").train_mask is None
    with pytest.raises(InputError, match=r"graph 1 has no label"):
        GraphCollection.from_graphs([graphs[0], graphs[1].replace(y=None)])
    with pytest.raises(InputError, match=r"graph 2 has 0 features, graph 0 has 7"):
        GraphCollection.from_graphs([*graphs[:2], graphs[2].replace(x=None)])
    with pytest.raises(InputError, match=r"graphs: got none"):
        GraphCollection.from_graphs([])


@pytest.mark.parametrize(
    ("node_ptr", "y", "message"),
    [
        ([0, 2, 4], [0, 1], r"node_ptr: expected numbers that rise from 0 to 5"),
        ([1, 2, 5], [0, 1], r"node_ptr: expected"),
        ([0, 6, 5], [0, 1], r"node_ptr: expected"),
        ([], [], r"node_ptr: "),
        ([0.0, 5.0], [0], r"node_ptr: got torch.float32"),
        ([0, 2, 5], [0], r"y: got 1 labels for 2 graphs"),
        ([0, 2, 5], [0, -1], r"y: label -1 at 1; labels must be at least 0"),
        ([0, 2, 5], [[0, 1]], r"y: got torch.int64 of shape \(1, 2\)"),
        ([0, 3, 5], [0, 1], r"whole: the edge 3 -> 2 leads from graph 1 to graph 0"),
    ],
)
def test_collection_checks_its_parts(node_ptr, y, message):
    whole = Graph.from_edges([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]])
    with pytest.raises(InputError, match=message):
        GraphCollection(whole, node_ptr, y)
    with pytest.raises(InputTypeError, match=r"whole: got int"):
        GraphCollection(3, node_ptr, y)


# -- features ---------------------------------------------------------------------------------------------------------


def test_features(truth, tmp_path):
    folder = write_tu(tmp_path / "toy", truth.tu())
    degree = np.concatenate([(a != 0).sum(1) for a in truth.a])
    one_hot_label = np.array([[label == k for k in (2, 5, 11)] for label in truth.node_labels], np.float32)
    attributes = truth.attributes.astype(np.float32)
    highest = degree.max()
    for options, expected in (
        ({}, one_hot_label),
        ({"features": "label"}, one_hot_label),
        ({"attributes": True}, np.hstack([attributes, one_hot_label])),
        ({"features": "attributes"}, attributes),
        ({"features": "attributes", "attributes": True}, attributes),
        ({"features": "constant"}, np.ones((22, 1))),
        ({"features": "log_degree"}, np.array([[math.log(1 + d)] for d in degree])),
        (
            {"features": "degree_bins"},
            np.eye(math.floor(2 * math.log2(1 + highest)) + 1)[[math.floor(2 * math.log2(1 + d)) for d in degree]],
        ),
        ({"features": "degree"}, np.eye(highest + 1)[degree]),
        ({"features": "degree", "max_degree": 2}, np.eye(3)[np.minimum(degree, 2)]),
        ({"features": "degree", "max_degree": 0}, np.ones((22, 1))),
        ({"features": "degree", "max_degree": 9, "attributes": True}, np.hstack([attributes, np.eye(10)[degree]])),
    ):
        collection = load(folder, **options)
        found = torch.cat([dense(graph.x) for graph in collection])
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), msg=str(options))
        assert collection.num_features == expected.shape[1]
    wide = load(folder, features="degree", max_degree=9)
    assert isinstance(wide.whole.x, SparseMatrix)
    assert isinstance(wide[0].x, SparseMatrix)

    (folder / "TOY_node_labels.txt").unlink()
    assert torch.equal(load(folder).whole.x, torch.from_numpy(attributes))
    with pytest.raises(InputError, match=r"TOY has no node labels, it has node attributes"):
        load(folder, features="label")
    (folder / "TOY_node_attributes.txt").unlink()
    assert load(folder).whole.x is None
    assert load(folder)[0].x is None
    for options in ({"attributes": True}, {"features": "attributes"}):
        with pytest.raises(InputError, match=r"TOY has no node attributes, it has neither"):
            load(folder, **options)


def test_options(truth, tmp_path):
    folder = write_tu(tmp_path / "toy", truth.tu())
    for options, message in (
        ({"features": "degrees"}, r"features: got 'degrees', expected \"label\", "),
        ({"attributes": 1}, r"attributes: got 1, expected True or False"),
        ({"features": "degree", "max_degree": -1}, r"max_degree: got -1, expected at least 0"),
        ({"features": "degree", "max_degree": 2.0}, r"max_degree: got 2\.0"),
        ({"max_degree": 2}, r"max_degree: got 2 for None features; it goes with one-hot degrees or bins"),
        ({"split": "random"}, r"option 'split' is unknown; .*takes features, attributes, max_degree"),
    ):
        with pytest.raises((InputError, InputTypeError), match=message):
            load(folder, **options)


# -- TU text ----------------------------------------------------------------------------------------------------------


def test_tu_folder_and_zips(truth, tmp_path):
    parts = truth.tu()
    check(load(write_tu(tmp_path / "toy", parts)), truth)
    for prefix in ("TOY//TOY_", "TOY/TOY_", "TOY_", "./TOY/TOY_"):
        members = {f"{prefix}{part}.txt": content for part, content in parts.items()}
        members |= {"__MACOSX/TOY/._x": b"x", f"{prefix}README": b"read me"}
        path = write_zip(tmp_path / "any.zip", members)
        collection = load(path)
        check(collection, truth)
        assert collection.name == "TOY"
    (tmp_path / "one").mkdir()
    path.rename(tmp_path / "one" / "any.zip")
    check(load(str(tmp_path / "one")), truth)


def test_tu_last_line_without_newline_and_crlf(truth, tmp_path):
    parts = truth.tu()
    for change in (
        lambda content: content.rstrip(b"\n"),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content + b"\n \n",
        lambda content: content.replace(b", ", b" , "),
    ):
        check(load(write_tu(tmp_path / "toy", {part: change(content) for part, content in parts.items()})), truth)


def test_directed_edges_point_as_in_pyg(tmp_path):
    parts = {"A": b"1, 2\n4, 3\n", "graph_indicator": b"1\n1\n2\n2\n", "graph_labels": b"0\n1\n"}
    collection = load(write_tu(tmp_path / "toy", parts))
    assert [graph.edge_index.tolist() for graph in collection] == [[[0], [1]], [[1], [0]]]
    assert collection.whole.is_directed


def test_tu_is_read_as_pyg_reads_it(truth, tmp_path, pyg):
    from torch_geometric.io import read_tu_data

    collection = load(write_tu(tmp_path / "toy", truth.tu()), attributes=True)
    whole, slices, _ = read_tu_data(str(tmp_path / "toy"), "TOY")
    x = whole.x[:, whole.x.any(0)]  # PyG makes a column for every number up to the largest label
    assert torch.equal(dense(collection.whole.x), x)
    assert torch.equal(collection.y, whole.y)
    assert slices["x"].tolist() == truth.start.tolist()
    for i, graph in enumerate(collection[:-1]):  # PyG forgets that the last graph, which has no edges, has none
        source, target = whole.edge_index[:, slices["edge_index"][i] : slices["edge_index"][i + 1]]
        a = torch.zeros(graph.num_nodes, graph.num_nodes)
        a[target, source] = 1
        assert torch.equal(dense(graph.adjacency).fill_diagonal_(0), a)  # PyG drops self-loops


def line(number, value):
    """Replace a line (from 1; 0 appends, None deletes)."""

    def change(content):
        lines = content.decode().splitlines()
        if value is None:
            del lines[number - 1]
        elif number:
            lines[number - 1] = value
        else:
            lines.append(value)
        return "\n".join(lines).encode()

    return change


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("A", line(4, "1, 4"), r"A.txt, line 4: this edge leads from one graph into another \(found \[1, 4\]"),
        ("A", line(4, "0, 1"), r"A.txt, line 4: a node is an integer from 1 to 22 \(found \[0, 1\]"),
        ("A", line(0, "22, 23"), r"A.txt, line \d+: a node is an integer from 1 to 22 \(found \[22, 23\]"),
        ("A", line(4, "-1, 1"), r"A.txt, line 4: a node is"),
        ("A", line(4, "1"), r"A.txt, line 4: expected 2 on this line, but there are 1"),
        ("A", line(4, "1, 1, 1"), r"A.txt, line 4: expected 2 on this line, but there are 3"),
        ("A", line(4, ""), r"A.txt, line 4: expected 2 on this line, but there are 0"),
        ("A", line(4, "1, 1.0"), r"A.txt, line 4: expected an integer \(found '1\.0'"),
        ("A", line(4, "1, x"), r"A.txt, line 4: expected an integer \(found 'x'"),
        ("A", line(4, "1, 1-"), r"A.txt, line 4: expected an integer \(found '1-'"),
        ("A", line(4, "1, -"), r"A.txt, line 4: expected an integer \(found '-'"),
        ("A", line(4, "1, --1"), r"A.txt, line 4: expected an integer \(found '--1'"),
        ("A", line(4, "1, " + "9" * 30), r"A.txt, line 4: expected an integer"),
        ("A", line(4, "1\0, 2"), r"A.txt, line 4: expected an integer"),
        ("graph_indicator", line(1, "2"), r"indicator.txt, line 1: the first node is in graph 1.*found 2"),
        ("graph_indicator", line(1, "0"), r"indicator.txt, line 1: the first node is in graph 1.*found 0"),
        ("graph_indicator", line(6, "1"), r"indicator.txt, line 6: .*found 1"),
        ("graph_indicator", line(5, "5"), r"indicator.txt, line 5: .*found 5"),
        ("graph_indicator", line(0, "8"), r"indicator.txt, line 23: .*found 8"),
        ("graph_indicator", lambda _: b"", r"indicator.txt: it names no node"),
        ("graph_indicator", line(22, None), r"node_labels.txt: it has 22 lines, but there are 21 nodes"),
        ("graph_labels", line(6, None), r"graph_labels.txt: it has 5 lines, but there are 6 graphs"),
        ("graph_labels", line(0, "1"), r"graph_labels.txt: it has 7 lines, but there are 6 graphs"),
        ("graph_labels", line(3, "nan"), r"graph_labels.txt, line 3: expected an integer \(found 'nan'"),
        ("graph_labels", lambda _: b"", r"graph_labels.txt: it has 0 lines"),
        ("node_labels", line(0, "1"), r"node_labels.txt: it has 23 lines, but there are 22 nodes"),
        ("node_labels", line(2, "1, 2"), r"node_labels.txt, line 2: expected 1 on this line, but there are 2"),
        ("node_attributes", line(9, "nan, 1"), r"attributes.txt, line 9: an attribute is NaN or infinite"),
        ("node_attributes", line(9, "1, inf"), r"attributes.txt, line 9: an attribute is NaN or infinite"),
        ("node_attributes", line(9, "1, 1e300"), r"attributes.txt, line 9: an attribute is NaN or infinite"),
        ("node_attributes", line(9, "1, x"), r"attributes.txt, line 9: expected numbers"),
        ("node_attributes", line(9, "1"), r"attributes.txt, line 9: expected numbers.*columns changed"),
        ("node_attributes", line(0, "1, 1"), r"attributes.txt: it has 23 lines, but there are 22 nodes"),
        ("node_attributes", lambda _: b"\n", r"attributes.txt: it has 0 lines"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_malformed_tu(truth, tmp_path, part, change, message, form):
    parts = truth.tu()
    parts[part] = change(parts[part])
    if form == "zip":
        path = write_zip(tmp_path / "toy.zip", {f"TOY//TOY_{key}.txt": content for key, content in parts.items()})
    else:
        path = write_tu(tmp_path / "toy", parts)
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(path)
    assert raised.value.file.startswith(str(path))
    if "line" in message.split(":")[0]:
        assert isinstance(raised.value.line, int)


def test_missing_tu_files(truth, tmp_path):
    for part in ("graph_indicator", "graph_labels"):
        parts = truth.tu()
        del parts[part]
        folder = write_tu(tmp_path / part, parts)
        with pytest.raises(DatasetFormatError, match=rf"TOY_{part}.txt: this file is missing"):
            load(folder)
        members = {f"TOY/TOY_{key}.txt": content for key, content in parts.items()}
        with pytest.raises(DatasetFormatError, match=rf"TOY_{part}.txt: this file is missing from the archive"):
            load(write_zip(tmp_path / "toy.zip", members))
    write_tu(write_tu(tmp_path / "two", truth.tu()), truth.tu(), "OTHER")
    with pytest.raises(DatasetFormatError, match=r"expected one file NAME_A.txt \(found 'OTHER_A.txt, TOY_A.txt'"):
        load(tmp_path / "two")


def test_integers_in_chunks(monkeypatch):
    rng = random.Random(0)
    rows = [
        [rng.randint(-(10 ** rng.randint(0, 17)), 10 ** rng.randint(0, 17)) for _ in range(rng.randint(0, 5))]
        for _ in range(300)
    ]
    rows[-1] = [10**18 - 1]
    content = "\n".join(rng.choice([" ", ", ", "\t"]).join(map(str, row)) for row in rows).encode()
    for chunk in (1, 7, 100, 1 << 20):
        monkeypatch.setattr(text, "_CHUNK", chunk)
        numbers = Integers("file", content)
        assert numbers.num_lines == len(rows)
        assert numbers.values.tolist() == [value for row in rows for value in row]
        assert np.diff(numbers.start).tolist() == [len(row) for row in rows]
        with pytest.raises(DatasetFormatError, match=r"file, line 302: expected an integer \(found 'a'"):
            Integers("file", content + b"\n1\na")


# -- zip archives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../TOY/TOY_x.txt", "a member lies outside"),
        ("TOY/../../x", "a member lies outside"),
        ("/TOY/x", "a member lies outside"),
        ("//TOY/x", "a member lies outside"),
        ("C:/TOY/x", "a member lies outside"),
        ("TOY\\..\\x", "a member lies outside"),
        ("TOY/TOY_A.txt", "two members have one name"),
    ],
)
def test_zip_members_outside(truth, tmp_path, name, message):
    members = {f"TOY//TOY_{part}.txt": content for part, content in truth.tu().items()}
    path = write_zip(tmp_path / "toy.zip", members)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(zipfile.ZipInfo("x"), b"1")
        file.infolist()[-1].filename = name
        file.NameToInfo[name] = file.NameToInfo.pop("x")
    with pytest.raises(DatasetFormatError, match=message):
        load(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_zip_bombs_and_damage(truth, tmp_path, monkeypatch):
    parts = truth.tu()
    members = {f"TOY//TOY_{part}.txt": content for part, content in parts.items()}
    total = sum(map(len, members.values()))
    path = write_zip(tmp_path / "toy.zip", members)
    assert len(tu.read(path, "toy", total)[1]["y"]) == 6
    with pytest.raises(DatasetFormatError, match=rf"its members are larger than {total - 1} bytes"):
        tu.read(path, "toy", total - 1)
    assert archive.MAX_BYTES <= 4 << 30
    bomb = write_zip(tmp_path / "bomb.zip", {**members, "TOY/TOY_node_labels2.txt": bytes(1 << 20)})
    assert bomb.stat().st_size < 1 << 13
    with pytest.raises(
        DatasetFormatError, match=r"its members are larger than 9999 bytes.*unpack it and pass the folder"
    ):
        tu.read(bomb, "toy", 9999)
    # A member that states fewer bytes than it holds gives no more than it states.
    raw = bytearray(write_zip(tmp_path / "lie.zip", {"TOY_A.txt": bytes(1 << 20)}).read_bytes())
    for at in (22, raw.rfind(b"PK\1\2") + 24):
        raw[at : at + 4] = (100).to_bytes(4, "little")
    (tmp_path / "lie.zip").write_bytes(raw)
    with Source(tmp_path / "lie.zip", 1000) as source, pytest.raises(DatasetFormatError, match=r"cannot be unpacked"):
        source.read("TOY_A.txt")
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(DatasetFormatError, match=r"not a readable zip archive"):
        load(tmp_path / "no.zip")
    encrypted = bytearray(path.read_bytes())
    for at in range(len(encrypted) - 4):
        if encrypted[at : at + 4] in (b"PK\3\4", b"PK\1\2"):
            encrypted[at + (6 if encrypted[at + 2] == 3 else 8)] |= 1
    (tmp_path / "encrypted.zip").write_bytes(encrypted)
    with pytest.raises(DatasetFormatError, match=r"cannot be unpacked: .*encrypted"):
        load(tmp_path / "encrypted.zip")
    with pytest.raises(DatasetFormatError, match=r"expected a folder of Planetoid files"):
        load(write_zip(tmp_path / "else.zip", {"letter.doc": b"x"}))


# -- GIN text ---------------------------------------------------------------------------------------------------------


def test_gin_text(truth, tmp_path):
    raw = truth.gin()
    (tmp_path / "toy").mkdir()
    expected = load(write_tu(tmp_path / "tu", {k: v for k, v in truth.tu().items() if k != "node_attributes"}))
    for content in (raw, raw.rstrip(b"\n"), raw.replace(b"\n", b"\r\n")):
        (tmp_path / "toy" / "TOY.txt").write_bytes(content)
        path = write_zip(tmp_path / "TOY.zip", {"TOY/TOY.txt": content, "TOY/10fold_idx/test_idx-1.txt": b"0\n"})
        for source in (tmp_path / "toy", path):
            collection = load(source)
            check(collection, truth, num_duplicates=0)
            assert torch.equal(dense(collection.whole.x), dense(expected.whole.x))


def test_gin_text_edges_listed_once_and_twice(tmp_path):
    (tmp_path / "TOY.txt").write_bytes(b"2\n3 0\n0 2 1 1\n0 0\n0 1 1\n1 1\n0 1 0\n")
    collection = load(tmp_path)
    assert collection[0].adjacency.to_dense().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert collection[1].adjacency.to_dense().tolist() == [[1]]
    assert collection.num_duplicates == 1
    assert collection.whole.x is None  # all tags are equal
    assert not collection.whole.is_directed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1: expected the number of graphs"),
        (b"0\n", r"line 1: expected the number of graphs \(found \[0\]"),
        (b"1 1\n", r"line 1: expected the number of graphs"),
        (b"2\n1 0\n0 0\n", r"line 1 states 2 graphs, but there are 1"),
        (b"1\n1 0\n0 0\n1 0\n0 0\n", r"the file has 5 lines, but its numbers of graphs and nodes end at line 3"),
        (b"1\n3 0\n0 0\n0 0\n", r"the file has 4 lines, .* need 5"),
        (b"1\n999999999999 0\n0 0\n", r"need 1000000000001"),
        (b"1\n1\n0 0\n", r"line 2: expected the number of nodes of a graph, at least 1, and its label \(found \[1\]"),
        (b"1\n0 0\n", r"line 2: expected the number of nodes"),
        (b"1\n-4 0\n", r"line 2: expected the number of nodes"),
        (b"1\n2 0\n0\n0 0\n", r"line 3: a node has a label, the number of its neighbours"),
        (b"1\n2 0\n0 1\n0 0\n", r"line 3: this node states 1 neighbours, but 0 numbers follow"),
        (b"1\n2 0\n0 1 1 1\n0 0\n", r"line 3: this node states 1 neighbours, but 2 numbers follow"),
        (b"1\n2 0\n0 -1 1\n0 0\n", r"line 3: this node states -1 neighbours"),
        (b"1\n2 0\n0 0\n0 1 2\n", r"line 4: a neighbour is an integer from 0 to 1 \(found 2\)"),
        (b"2\n2 0\n0 0\n0 0\n1 0\n0 2 0 -1\n", r"line 6: a neighbour is an integer from 0 to 0 \(found -1\)"),
        (b"1\n1 a\n0 0\n", r"line 2: expected an integer \(found 'a'"),
    ],
)
def test_malformed_gin_text(tmp_path, content, message):
    (tmp_path / "TOY.txt").write_bytes(content)
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(tmp_path)
    assert raised.value.file == str(tmp_path / "TOY.txt")


# -- folds ------------------------------------------------------------------------------------------------------------


def fold_lists():
    """Ten folds of 12 graphs; none tests graph 11 and 10."""
    lists = {}
    for fold in range(1, 11):
        lists[f"train_idx-{fold}.txt"] = "".join(f"{i}\n" for i in range(12) if i != fold - 1).encode()
        lists[f"test_idx-{fold}.txt"] = f"{fold - 1}\n".encode()
    return lists


@pytest.fixture
def many(data_root, monkeypatch):
    """A named set "many" of 12 graphs without files."""
    monkeypatch.setitem(catalog(), "many", {**catalog()["collab"], "counts": {"graphs": 12}, "has_folds": False})
    return data_root / "many" / "folds"


def write_folds(folder, lists):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in lists.items():
        (folder / name).write_bytes(content)


def test_folds(many, tmp_path, monkeypatch):
    with pytest.raises(DatasetNotFoundError, match=rf"many has no fold lists here. Put into {many} these files: train"):
        folds("many")
    write_folds(many, fold_lists())
    found = folds("many")
    assert len(found) == 10
    assert found.left_out.tolist() == [10, 11]
    for fold, (train, test) in enumerate(found):
        assert test.tolist() == [fold]
        assert train.tolist() == [i for i in range(12) if i != fold]
        assert train.dtype == test.dtype == torch.int64
    with pytest.raises(InputError, match=r"name: karate is one graph; folds are of collections"):
        folds("karate")
    with pytest.raises(DatasetNotFoundError, match=r"'manny' is not a data set"):
        folds("manny")


def test_folds_in_the_archive(data_root, monkeypatch):
    raw = data_root / "many" / "raw"
    raw.mkdir(parents=True)
    path = write_zip(raw / "MANY.zip", {f"MANY/10fold_idx/{name}": content for name, content in fold_lists().items()})
    file = {"name": path.name, "url": None, "origin": "me", "size": path.stat().st_size, "sha256": data.sha256_of(path)}
    entry = {**catalog()["collab"], "counts": {"graphs": 12}, "files": [file]}
    monkeypatch.setitem(catalog(), "many", entry)
    assert folds("many").left_out.tolist() == [10, 11]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_idx-3.txt", b"12\n", r"test_idx-3.txt, line 1: a graph is an integer from 0 to 11 \(found 12\)"),
        ("train_idx-3.txt", b"1\n-1\n", r"train_idx-3.txt, line 2: a graph is an integer from 0 to 11 \(found -1\)"),
        ("train_idx-3.txt", b"4\n1\n1\n", r"train_idx-3.txt, line 3: this graph stands in the list already"),
        ("test_idx-3.txt", b"10\n4\n", r"test_idx-3.txt, line 1: this graph is in the train list of this fold too"),
        ("test_idx-3.txt", b"", r"test_idx-3.txt: it names no graph"),
        ("test_idx-3.txt", b"2.0\n", r"test_idx-3.txt, line 1: expected an integer"),
        ("test_idx-3.txt", None, r"expected one file test_idx-3.txt"),
    ],
)
def test_malformed_folds(many, name, content, message):
    lists = fold_lists()
    if content is None:
        del lists[name]
    else:
        lists[name] = content
    write_folds(many, lists)
    with pytest.raises(DatasetFormatError, match=message):
        folds("many")


def test_folds_must_not_share_a_test(many):
    lists = fold_lists()
    lists["train_idx-4.txt"], lists["test_idx-4.txt"] = b"5\n", b"3\n1\n"
    write_folds(many, lists)
    with pytest.raises(DatasetFormatError, match=r"test_idx-4.txt, line 2: fold 2 tests this graph too \(found 1\)"):
        folds("many")


# -- npz --------------------------------------------------------------------------------------------------------------


def npz_parts():
    rng = np.random.default_rng(2)
    upper = sp.random(13, 13, 0.3, random_state=rng, format="csr")
    a = ((upper + upper.T) != 0).astype(np.float32).tocsr()
    x = sp.random(13, 29, 0.1, random_state=rng, format="csr", dtype=np.float32)
    parts = {"labels": rng.integers(1, 4, 13)}
    for prefix, matrix in (("adj", a), ("attr", x)):
        for key in ("data", "indices", "indptr"):
            parts[f"{prefix}_{key}"] = getattr(matrix, key)
        parts[f"{prefix}_shape"] = np.array(matrix.shape)
    return a, x, parts


def test_npz(tmp_path):
    a, x, parts = npz_parts()
    path = tmp_path / "mine.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, **parts)
        for source in (path, tmp_path):
            graph = load(source, seed=3)
            assert graph.name == "mine"
            assert np.array_equal(graph.adjacency.to_dense(), a.toarray())
            assert np.array_equal(dense(graph.x), x.toarray())
            assert graph.class_names == ("1", "2", "3")
            assert graph.y.tolist() == (parts["labels"] - 1).tolist()
    parts["labels"] = np.array([-1, 5, 5, 9, 9, 5, 9, -1, 5, 5, 5, 5, 9], np.int8)
    for key in ("data", "indices", "indptr", "shape"):
        del parts[f"attr_{key}"]
    np.savez(path, **parts)
    graph = load(path, split=None)
    assert graph.x is None
    assert graph.y.tolist() == [-1, 0, 0, 1, 1, 0, 1, -1, 0, 0, 0, 0, 1]
    assert graph.class_names == ("5", "9")
    assert graph.train_mask is None


def test_random_split(tmp_path):
    _, _, parts = npz_parts()
    parts["labels"][[2, 5, 7]] = -1
    np.savez(tmp_path / "mine.npz", **parts)
    masks = []
    for seed in (0, 0, 1):
        graph = load(tmp_path, split="random", seed=seed)
        parts = graph.train_mask, graph.val_mask, graph.test_mask
        assert [int(mask.sum()) for mask in parts] == [6, 2, 2]
        assert torch.equal(sum(mask.int() for mask in parts), (graph.y >= 0).int())
        masks.append(torch.stack(parts))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    for options, message in (
        ({"split": "public"}, r"split: got 'public', expected \"auto\", \"given\", \"random\" or None"),
        ({"seed": -1}, r"seed: got -1"),
        ({"features": "degree"}, r"takes split, seed"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path, **options)


def npy(shape, dtype="'<i8'", content=b""):
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("adj_shape", np.array([13, 12]), r"key 'adj_indices': index at|key 'adj_shape': expected a square matrix"),
        ("adj_shape", np.array([12, 12]), r"key 'adj_indptr': 12 rows need 13 numbers"),
        ("adj_shape", np.array([-1, 13]), r"key 'adj_shape': a matrix needs two sizes"),
        ("adj_shape", np.array([2**40, 13]), r"key 'adj_shape': a matrix needs two sizes"),
        ("adj_shape", np.array([13]), r"key 'adj_shape': a matrix needs two sizes"),
        ("adj_indptr", lambda v: v[::-1].copy(), r"key 'adj_indptr': 13 rows need"),
        ("adj_indptr", lambda v: np.append(v[[0, -1]], v[2:]), r"key 'adj_indptr': it falls after position 1"),
        ("adj_indices", lambda v: v + 1, r"key 'adj_indices': index at \d+ is not within 0..12 \(found 13\)"),
        ("adj_indices", lambda v: v - 1, r"key 'adj_indices': .*found -1"),
        ("adj_indices", lambda v: v.astype(float), r"key 'adj_indices': expected a vector of numbers \(found 'float64"),
        ("adj_data", lambda v: v * np.nan, r"key 'adj_data': \d+ values are NaN or infinite, the first at 0"),
        ("adj_data", lambda v: v[1:], r"key 'adj_indptr': 13 rows"),
        ("attr_data", lambda v: np.append(v[:-1], np.inf), r"key 'attr_data': 1 values are NaN or infinite"),
        ("attr_shape", np.array([14, 29]), r"key 'attr_indptr'"),
        ("attr_indices", lambda v: v.reshape(1, -1), r"key 'attr_indices': expected a vector of numbers"),
        ("labels", lambda v: v[:-1], r"key 'labels': 12 labels for 13 nodes"),
        ("labels", lambda v: v - 9, r"key 'labels': a label is at least 0, or -1 for none"),
        ("labels", lambda v: v.astype(object), r"key 'labels': expected a vector of numbers \(found 'object"),
        ("labels", lambda v: v.astype(str), r"key 'labels': expected a vector of numbers"),
        ("labels", lambda v: np.full(13, 2**63, np.uint64), r"key 'labels': an integer of more than 63 bits"),
        ("labels", npy("(10**12,)"), r"key 'labels': not a readable array"),
        ("labels", npy("(1000000000000,)"), r"key 'labels': its header states 1000000000000 values"),
        ("labels", npy("(-1,)"), r"key 'labels': its header states -1 values"),
        ("labels", npy("(13,)", "'|O'", pickle.dumps([1] * 13)), r"key 'labels': expected a vector of numbers"),
        ("labels", b"\x93NUMPY\3\0", r"key 'labels': not a readable array"),
        ("labels", b"", r"key 'labels': not a readable array"),
        ("labels", None, r"labels.npy: this file is missing from the archive"),
    ],
)
def test_malformed_npz(tmp_path, key, value, message):
    _, _, parts = npz_parts()
    raw = value if isinstance(value, bytes) else None
    value = value(parts[key]) if callable(value) else value
    if raw is not None or value is None:
        del parts[key]
    else:
        parts[key] = value
    path = tmp_path / "mine.npz"
    np.savez(path, allow_pickle=True, **parts)
    if raw is not None:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(f"{key}.npy", raw)
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(path)
    assert raised.value.file.startswith(str(path))


def test_npz_entries_given_twice(tmp_path):
    np.savez(
        tmp_path / "mine.npz",
        adj_data=np.ones(4),
        adj_indices=[1, 1, 0, 0],
        adj_indptr=[0, 2, 4],
        adj_shape=(2, 2),
        labels=[0, 1],
    )
    graph = load(tmp_path, split=None)
    assert graph.adjacency.to_dense().tolist() == [[0, 1], [1, 0]]
    assert graph.num_duplicates == 2


# -- tables -----------------------------------------------------------------------------------------------------------

OWN = {
    "edges.csv": "source,target,weight\nana,ben,2\nben,cy,0.5\ncy,cy,3\nben,ana,2\n",
    "features.csv": 'id,age,"height, m"\ncy,30,1.5\nana,0,1.75\nben,25,0\ndee,1,1\n',
    "labels.csv": "label,id\n9,ana\n,ben\n10,cy\n",
}
SNAP = {
    "musae_toy_edges.csv": "id_1,id_2\n0,1\n1,2\n2,2\n1,0\n",
    "musae_toy_features.json": '{"2": [4, 0], "0": [], "1": [3, 3]}',
    "musae_toy_target.csv": 'id,page_name,page_type\n1,"b, or c",tvshow\n0,a,company\n2,"d ""e""\nf",tvshow\n',
}


def write_tables(folder, tables):
    folder.mkdir(exist_ok=True)
    for name, content in tables.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_own_tables(tmp_path):
    graph = load(write_tables(tmp_path / "mine", OWN), split=None)
    assert graph.name == "mine"
    assert graph.node_names == ("cy", "ana", "ben", "dee")
    assert graph.adjacency.to_dense().tolist() == [[3, 0, 0.5, 0], [0, 0, 2, 0], [0.5, 2, 0, 0], [0, 0, 0, 0]]
    assert dense(graph.x).tolist() == [[30, 1.5], [0, 1.75], [25, 0], [1, 1]]
    assert graph.class_names == ("9", "10")
    assert graph.y.tolist() == [1, 0, -1, -1]
    assert graph.num_duplicates == 1
    bare = {"edges.csv": "target,source\nana,ben\n", "labels.csv": "id,label\nben,x\nana,-1\n"}
    for content in (bare, {k: "\ufeff" + v.replace("\n", "\r\n").rstrip() for k, v in bare.items()}):
        graph = load(write_tables(tmp_path / "bare", content))
        assert graph.node_names == ("ben", "ana")
        assert graph.class_names == ("-1", "x")
        assert graph.adjacency.to_dense().tolist() == [[0, 1], [1, 0]]
        assert graph.x is None
    assert load(write_zip(tmp_path / "mine.zip", {f"mine/{k}": v for k, v in OWN.items()})).num_nodes == 4


@pytest.mark.parametrize(
    ("labels", "class_names", "y"),
    [
        (("-1", "0", "1"), ("-1", "0", "1"), [0, 1, 2]),
        (("1", "-1", ""), ("-1", "1"), [1, 0, -1]),
        (("01", "1", "001"), ("001", "01", "1"), [1, 2, 0]),
        (("10", "9", "0"), ("0", "9", "10"), [2, 1, 0]),
        (("-0", "0", "+1"), ("+1", "-0", "0"), [1, 2, 0]),
    ],
)
def test_a_label_is_any_text(tmp_path, labels, class_names, y):
    rows = "".join(f"{node},{label}\n" for node, label in zip("abc", labels, strict=True))
    files = {"edges.csv": "source,target\na,b\n", "labels.csv": f"id,label\n{rows}"}
    graph = load(write_tables(tmp_path / "own", files), split=None)
    assert (graph.class_names, graph.y.tolist()) == (class_names, y)


def test_snap_tables(tmp_path):
    for source in (
        write_tables(tmp_path / "toy", SNAP),
        write_zip(tmp_path / "toy.zip", {f"toy/{name}": content for name, content in SNAP.items()}),
    ):
        graph = load(source)
        assert graph.adjacency.to_dense().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 1]]
        assert dense(graph.x).tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
        assert graph.class_names == ("company", "tvshow")
        assert graph.y.tolist() == [0, 1, 1]
        assert graph.num_duplicates == 1


@pytest.mark.parametrize(
    ("tables", "name", "content", "message"),
    [
        (OWN, "edges.csv", "source,target\nana,bob\n", r"line 2: this node has no row .*found 'bob'"),
        (OWN, "edges.csv", "source,target\n\nana\n", r"line 3: expected 2 columns, but there are 1"),
        (
            OWN,
            "edges.csv",
            "source,target,wieght\nana,ben,1\n",
            r"line 1: expected the column names source, target, and",
        ),
        (OWN, "edges.csv", "", r"line 1: expected the column names"),
        (OWN, "edges.csv", "ana,ben\n", r"line 1: expected the column names .*found 'ana, ben'"),
        (OWN, "edges.csv", "source,target,weight\nana,ben,nan\n", r"line 2: expected finite numbers \(found 'nan'"),
        (OWN, "edges.csv", "source,target,weight\nana,ben,\n", r"line 2: expected finite numbers"),
        (OWN, "edges.csv", "source,target,weight\nana,ben,1\nben,ana,2\n", r"line 3: .*with another weight \(found 2"),
        (OWN, "edges.csv", b"source,target\n\xff,ben\n", r"line 2: this line is not in UTF-8; save the file as UTF-8"),
        (OWN, "edges.csv", 'source,target\n"ana,ben\n', r"not readable as CSV"),
        (OWN, "features.csv", "id,age\nana,inf\n", r"line 2: expected finite numbers \(found 'inf'"),
        (OWN, "features.csv", "id,age\nana,1\nana,1\n", r"line 3: this id has a row already \(found 'ana'"),
        (OWN, "features.csv", "id,age\n,1\n", r"line 2: the id is empty"),
        (OWN, "features.csv", "age,id\n1,ana\n", r"line 1: expected the column names id, \.\.\."),
        (OWN, "labels.csv", "id,label\nbob,1\n", r"line 2: this id has no row in features.csv \(found 'bob'"),
        (OWN, "labels.csv", "id,label\nana,1\nana,2\n", r"line 3: this id has a row already"),
        (SNAP, "musae_toy_edges.csv", "id_1,id_2\n0,3\n", r"line 2: a node is an integer from 0 to 2 \(found '3'"),
        (SNAP, "musae_toy_edges.csv", "id_1,id_2\n0,-1\n", r"line 2: a node is an integer"),
        (SNAP, "musae_toy_edges.csv", "id_1,id_2\n0,1.0\n", r"line 2: a node is an integer"),
        (SNAP, "musae_toy_target.csv", "id,type\n0,a\n0,b\n", r"line 3: this id has a row already \(found 0"),
        (SNAP, "musae_toy_target.csv", "id,type\n0,a\n2,b\n", r"ids count from 0 to 1, but 1 has no row"),
        (SNAP, "musae_toy_target.csv", "id,type\n0,\n", r"line 2: the last column must hold the class"),
        (SNAP, "musae_toy_target.csv", "id\n0\n", r"line 2: the last column must hold the class"),
        (SNAP, "musae_toy_target.csv", None, r"target.csv: this file is missing"),
        (SNAP, "musae_toy_features.json", "{", r"not readable as JSON"),
        (SNAP, "musae_toy_features.json", "[" * 100000, r"not readable as JSON"),
        (SNAP, "musae_toy_features.json", "[]", r"expected an object with 3 nodes \(found 0"),
        (SNAP, "musae_toy_features.json", '{"0": []}', r"expected an object with 3 nodes \(found 1"),
        (SNAP, "musae_toy_features.json", '{"0": [], "0": [], "1": []}', r"a key is given twice"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [], "3": []}', r"key '3': a node is an integer from 0 to 2"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [], "01": []}', r"a node is given twice"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [-1], "2": []}', r"key '1': expected a list of integers"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [true], "2": []}', r"key '1': expected a list of integers"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [NaN], "2": []}', r"key '1': expected a list of integers"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": [99999999999], "2": []}', r"key '1': expected a list"),
        (SNAP, "musae_toy_features.json", '{"0": [], "1": 1, "2": []}', r"key '1': expected a list of integers"),
    ],
)
def test_malformed_tables(tmp_path, tables, name, content, message):
    folder = write_tables(tmp_path / "mine", {**tables, name: content or ""})
    if content is None:
        (folder / name).unlink()
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(folder)
    assert raised.value.file == str(folder / name)


def test_tables_that_name_no_nodes(tmp_path):
    with pytest.raises(DatasetFormatError, match=r"features.csv or labels.csv must name the nodes"):
        load(write_tables(tmp_path / "mine", {"edges.csv": "source,target\n"}))


# -- damaged files of one's own ---------------------------------------------------------------------------------------


def fuzz(path, files, rng):
    """Load with each file of `path` (a folder, or itself the file) damaged: a graph, or one of gcnlab's own errors."""
    outcomes = {"read": 0, "refused": 0}
    for file in files:
        content = file.read_bytes()
        for bad in damaged(content, rng, 100, 10):
            file.write_bytes(bad)
            try:
                loaded = load(path)
                graph = loaded.batch() if isinstance(loaded, GraphCollection) else loaded
                n = graph.num_nodes
                assert not graph.adjacency.nnz or int(graph.adjacency.col.max()) < n
                outcomes["read"] += 1
            except GcnlabError:
                outcomes["refused"] += 1
        file.write_bytes(content)
    return outcomes


def test_damaged_tu(truth, tmp_path, trials):
    folder = write_tu(tmp_path / "toy", truth.tu())
    outcomes = fuzz(folder, sorted(folder.iterdir()), random.Random(0))
    trials("damaged files, without a checksum", sum(outcomes.values()), sum(outcomes.values()))
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 20
    path = write_zip(tmp_path / "toy.zip", {f"TOY//TOY_{part}.txt": content for part, content in truth.tu().items()})
    assert fuzz(path, [path], random.Random(1))["refused"] > 50


def test_damaged_gin_text_npz_and_tables(truth, tmp_path):
    (tmp_path / "gin").mkdir()
    (tmp_path / "gin" / "TOY.txt").write_bytes(truth.gin())
    np.savez(tmp_path / "mine.npz", **npz_parts()[2])
    write_tables(tmp_path / "own", OWN)
    write_tables(tmp_path / "snap", SNAP)
    for path in (tmp_path / "gin", tmp_path / "mine.npz", tmp_path / "own", tmp_path / "snap"):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        assert fuzz(path, files, random.Random(0))["refused"] > 20, path


@pytest.mark.parametrize("key", ["labels", "adj_indptr", "attr_data"])
def test_damaged_arrays_within_an_npz(tmp_path, key):
    """Under the archive's own checksums: the bytes of one array."""
    path = tmp_path / "mine.npz"
    np.savez(path, **npz_parts()[2])
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    refused = 0
    for bad in damaged(members[f"{key}.npy"], random.Random(0), 100, 10):
        write_zip(path, {**members, f"{key}.npy": bad})
        try:
            load(path)
        except GcnlabError:
            refused += 1
    assert refused > 20


# -- the folds of Errica et al. ----------------------------------------------------------------------------------------


def outer_folds(num_graphs=23):
    """Fold k tests k, k + 10, ... and selects on the next ones; what is left trains."""
    tests = [list(range(k, num_graphs, 10)) for k in range(10)]
    return [
        {
            "test": tests[k],
            "model_selection": [
                {"train": [i for i in range(num_graphs) if i % 10 not in (k, (k + 1) % 10)], "validation": tests[k - 9]}
            ],
        }
        for k in range(10)
    ]


def test_nested_folds_of_a_file(tmp_path):
    path = tmp_path / "TOY.json"
    path.write_text(json.dumps(outer_folds()))
    found = read_nested(path, 23)
    assert len(found) == 10
    train, val, test = found[2]
    assert (val.tolist(), test.tolist()) == ([3, 13], [2, 12, 22])
    assert sorted([*train.tolist(), *val.tolist(), *test.tolist()]) == list(range(23))
    assert {ids.dtype for fold in found for ids in fold} == {torch.int64}


def with_test(fold, ids):
    folds = outer_folds()
    folds[fold]["test"] = ids
    return folds


def with_inner(fold, **parts):
    folds = outer_folds()
    folds[fold]["model_selection"][0].update(parts)
    return folds


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", r"not readable as JSON: "),
        (b"\xff", r"not readable as JSON: "),
        (b"[" * 10**5, r"not readable as JSON: "),
        ({}, r"expected a list of 10 folds \(found '\{\}'\)"),
        (outer_folds()[:9], r"expected a list of 10 folds \(found '9 of them'\)"),
        ([*outer_folds()[:9], "x"], r"key 'fold 10': expected \{\"test\": \[...\], .* \(found 'x'\)"),
        ([{"test": [0]}, *outer_folds()[1:]], r"key 'fold 1': expected .*model_selection"),
        (
            [{**outer_folds()[0], "model_selection": []}, *outer_folds()[1:]],
            r"key 'fold 1': expected .*model_selection",
        ),
        (with_test(3, []), r"key 'test of fold 4': expected a list of graph numbers \(found '\[\]'\)"),
        (with_test(3, 7), r"key 'test of fold 4': expected a list of graph numbers \(found '7'\)"),
        (with_test(3, [3, 13, 23]), r"key 'test of fold 4': a graph is an integer from 0 to 22 \(found 23\)"),
        (with_test(3, [3, True]), r"key 'test of fold 4': a graph is an integer from 0 to 22 \(found True\)"),
        (with_test(3, [3, 13.0]), r"key 'test of fold 4': a graph is an integer from 0 to 22 \(found 13.0\)"),
        (with_inner(3, validation=[-1]), r"key 'validation of fold 4': a graph is an integer .* \(found -1\)"),
        (
            with_inner(3, validation=[4, 4]),
            r"'validation of fold 4': this graph is in the validation list .* \(found 4\)",
        ),
        (
            with_inner(3, validation=[5]),
            r"'validation of fold 4': this graph is in the train list of this fold already",
        ),
        (with_test(3, [3, 13, 5]), r"key 'test of fold 4': this graph is in the train list of this fold already"),
        (with_test(3, [3, 13, 4]), r"key 'test of fold 4': this graph is in the validation list .* \(found 4\)"),
        (with_test(3, [3]), r"no fold tests this graph \(found 13\)"),
        ([outer_folds()[0], *outer_folds()[:9]], r"key 'test of fold 2': fold 1 tests this graph too \(found 0\)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_malformed_nested_folds_are_named(tmp_path, content, message):
    path = tmp_path / "TOY.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(DatasetFormatError, match=rf"TOY\.json(: |, ).*{message}"):
        read_nested(path, 23)


@pytest.fixture
def named_folds(data_root, monkeypatch):
    """The path of the nested folds of a named set "toy" of 23 graphs, in the data root."""
    path = data_root / "folds-errica" / "TOY.json"
    path.parent.mkdir()
    path.write_text(json.dumps(outer_folds()))
    file = {"name": path.name, "url": "https://example.org/TOY_splits.json", "size": path.stat().st_size}
    file |= {"sha256": data.sha256_of(path), "same_order": True}
    monkeypatch.setitem(catalog(), "toy", {**catalog()["nci1"], "counts": {"graphs": 23}, "nested_folds": file})
    return path


def test_nested_folds_by_name(named_folds):
    assert [fold.test.tolist() for fold in nested_folds("toy")] == [fold["test"] for fold in outer_folds()]
    assert nested_folds("toy", root=named_folds.parents[1], download=False)[9].val.tolist() == [0, 10, 20]


def test_nested_folds_are_compared_with_their_sha256(named_folds):
    named_folds.write_text(json.dumps(outer_folds()[::-1]))
    with pytest.raises(ChecksumError, match=r"TOY\.json: sha256 is"):
        nested_folds("toy")


def test_nested_folds_that_are_missing(named_folds):
    named_folds.unlink()
    put = r"Put into .*folds-errica these files: TOY\.json \(from https://example\.org\)"
    with pytest.raises(DatasetNotFoundError, match=put):
        nested_folds("toy", download=False)
    for name, message in (
        ("mutag", "Errica et al. give no folds of mutag; they do of proteins, nci1, dd,"),
        ("toys", "name: 'toys' is not a data set"),
    ):
        with pytest.raises(DatasetNotFoundError, match=message):
            nested_folds(name)
    with pytest.raises(InputError, match="name: cora is one graph; folds are of collections"):
        nested_folds("cora")


# -- by name ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(truth, data_root, monkeypatch):
    """A named set "toy" in the data root, of a zip that no address serves."""
    raw = data_root / "toy" / "raw"
    raw.mkdir(parents=True)
    path = write_zip(raw / "TOY.zip", {f"TOY//TOY_{part}.txt": content for part, content in truth.tu().items()})
    file = {"name": "TOY.zip", "url": None, "origin": "a friend", "size": path.stat().st_size}
    entry = {
        **catalog()["mutag"],
        "files": [{**file, "sha256": data.sha256_of(path)}],
        "max_unpacked_bytes": sum(map(len, truth.tu().values())),
        "counts": tu.counts(*tu.read(path, "toy")),
    }
    monkeypatch.setitem(catalog(), "toy", entry)
    return entry


def test_named_set_and_its_processed_form(named, truth, data_root, monkeypatch):
    assert named["counts"] == {
        **{"graphs": 6, "nodes": 22, "entries": truth.num_entries, "duplicates": 5, "classes": 3},
        **{"self_loops": int(sum(np.trace(a) for a in truth.a)), "node_labels": 3, "node_attributes": 2},
    }
    first = load("toy", attributes=True)
    check(first, truth)
    assert (data_root / "toy" / "processed").is_dir()
    monkeypatch.setattr(tu, "read", None)  # not asked again
    second = load("TOY", attributes=True)
    check(second, truth)
    assert torch.equal(dense(second.whole.x), dense(first.whole.x))
    check(load("toy", features="degree"), truth)


def test_named_set_keeps_to_its_stated_size(named):
    named["max_unpacked_bytes"] -= 1
    with pytest.raises(DatasetFormatError, match=r"its members are larger than"):
        load("toy")


def test_every_damage_of_a_named_set_is_found(named, data_root, trials):
    path = data_root / "toy" / "raw" / "TOY.zip"
    number = trials("damaged files, with a checksum", 300, 300)
    for bad in damaged(path.read_bytes(), random.Random(0), number - 50, 50):
        path.write_bytes(bad)
        with pytest.raises(ChecksumError):
            load("toy")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_kill_while_unpacking(named, data_root, trials):
    load("toy")
    number = trials("kill -9 while unpacking", 3, 20)
    assert load_under_kills(named, data_root, number, "processed") > 0


def test_files_that_no_address_serves(named, data_root):
    (data_root / "toy" / "raw" / "TOY.zip").unlink()
    with pytest.raises(
        DatasetNotFoundError,
        match=r"no address serves these bytes. Put into .*toy/raw these files: TOY.zip \(from a friend\)",
    ):
        load("toy")
    with pytest.raises(DatasetNotFoundError, match=r"is not complete on this machine. Put into"):
        load("toy", download=False)


def test_types_of_load_follow_the_manifest():
    kinds = {
        "graph classification": data._GraphSet,
        "node classification": data._NodeSet,
        "community detection": data._Network,
        "image classification": data._ImageSet,
    }
    assert set(kinds) == {entry["task"] for entry in catalog().values()}
    for task, names in kinds.items():
        assert [name for name, entry in catalog().items() if entry["task"] == task] == list(typing.get_args(names))


# -- the real files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_root(tmp_path_factory):
    """The roots of GCNLAB_DATA, and before them an empty one, so that nothing is written to them."""
    with pytest.MonkeyPatch.context() as patch:
        roots = f"{tmp_path_factory.mktemp('root')}{os.pathsep}{os.environ.get('GCNLAB_DATA', '')}"
        patch.setenv("GCNLAB_DATA", roots)
        yield roots


def load_real(root, name, **options):
    try:
        return load(name, root=None, download=False, **options)
    except DatasetNotFoundError:
        pytest.skip(f"{name} is not in GCNLAB_DATA")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts", "loops", "duplicates", "labels", "features"),
    [
        ("mutag", (188, 3371, 7442), 0, 0, {"-1": 63, "1": 125}, 7),
        ("proteins", (1113, 43471, 162088), 0, 0, {"1": 663, "2": 450}, 3),
        ("nci1", (4110, 122747, 265506), 0, 0, {"0": 2053, "1": 2057}, 37),
        ("dd", (1178, 334925, 1686092), 0, 0, {"1": 691, "2": 487}, 82),
        ("imdb-binary", (1000, 19773, 193062), 0, 193062, {"0": 500, "1": 500}, 0),
        ("imdb-multi", (1500, 19502, 197806), 0, 197806, {"1": 500, "2": 500, "3": 500}, 0),
        ("reddit-binary", (2000, 859254, 1991016), 0, 0, {"0": 1000, "2": 1000}, 0),
        ("collab", (5000, 372474, 24574995), 2837, 0, {"0": 2600, "1": 775, "2": 1625}, 0),
    ],
)
def test_real_collections(real_root, name, counts, loops, duplicates, labels, features):
    collection = load_real(real_root, name)
    assert (collection.num_graphs, collection.num_nodes, collection.num_edges) == counts
    assert collection.num_duplicates == duplicates
    assert dict(zip(collection.class_names, collection.y.bincount().tolist(), strict=True)) == labels
    assert collection.num_features == features
    assert collection.whole.num_self_loops == loops
    assert not collection.whole.is_directed
    assert bool((collection.whole.adjacency.value == 1).all())
    chosen = torch.arange(0, len(collection), max(1, len(collection) // 29))
    batch = collection.batch(chosen)
    blocks = sp.block_diag([graph.to_scipy() for graph in collection[chosen]], format="csr")
    assert (batch.to_scipy() != blocks).nnz == 0


@pytest.mark.data
def test_real_features(real_root):
    proteins = load_real(real_root, "proteins", attributes=True)
    assert proteins[0].x[0].tolist() == [23, 1, 0, 0]
    degree = load_real(real_root, "imdb-binary", features="degree")
    assert degree.num_features == 136
    assert int(dense(degree[3].x).argmax(1)[0]) == int(degree[3].degree[0])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "num_graphs", "left_out"),
    [
        *(("imdb-binary", 1000, []), ("imdb-multi", 1500, []), ("proteins", 1113, [25, 314, 454])),
        *(("collab", 5000, []), ("reddit-binary", 2000, [])),
    ],
)
def test_real_folds(real_root, name, num_graphs, left_out):
    try:
        found = folds(name, download=False)
    except DatasetNotFoundError:
        pytest.skip(f"{name} has no folds in GCNLAB_DATA")
    assert found.left_out.tolist() == left_out
    assert all(len(train) + len(test) == num_graphs for train, test in found)
    if name == "collab":
        folder = next(
            Path(root) / name / "raw" for root in real_root.split(os.pathsep) if (Path(root) / name / "raw").is_dir()
        )
        with Source(folder) as source:
            inside = gin_text.read_folds(source, num_graphs)
        assert all(
            torch.equal(a, b) for one, other in zip(found, inside, strict=True) for a, b in zip(one, other, strict=True)
        )


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, entry in catalog().items() if "nested_folds" in entry])
def test_real_nested_folds(real_root, name):
    try:
        found = nested_folds(name, download=False)
    except DatasetNotFoundError:
        pytest.skip(f"{name} has no nested folds in GCNLAB_DATA")
    y = load_real(real_root, name).y
    share = y.bincount() / len(y)
    for fold in found:
        assert len(torch.cat(fold).unique()) == len(y)
        assert [round(len(ids) / len(y), 2) for ids in fold] == [0.81, 0.09, 0.1]
        for ids in fold:  # stratified by these labels, so that the numbers count the graphs of these files
            count = y[ids].bincount(minlength=len(share))
            torch.testing.assert_close(count, share * len(ids), atol=2, rtol=0, check_dtype=False)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts", "loops", "split"),
    [
        ("facebook", (22470, 341825, 4714, 4), 179, [13482, 4494, 4494]),
        ("blogcatalog", (5196, 343486, 8189, 6), 0, [3118, 1039, 1039]),
    ],
)
def test_real_social_graphs(real_root, name, counts, loops, split):
    graph = load_real(real_root, name)
    assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes) == counts
    assert graph.num_self_loops == loops
    assert not graph.is_directed
    assert isinstance(graph.x, SparseMatrix)
    assert [int(mask.sum()) for mask in (graph.train_mask, graph.val_mask, graph.test_mask)] == split
    assert int((graph.y < 0).sum()) == 0
    if name == "facebook":
        path = next(
            Path(root) / name / "raw" for root in real_root.split(os.pathsep) if (Path(root) / name / "raw").is_dir()
        )
        edges = np.loadtxt(path / "musae_facebook_edges.csv", int, delimiter=",", skiprows=1)
        features = json.loads((path / "musae_facebook_features.json").read_text())
        assert sorted(graph.adjacency.col[graph.adjacency.row == 7].tolist()) == sorted(
            {int(v) for u, v in edges if u == 7} | {int(u) for u, v in edges if v == 7}
        )
        assert graph.x.col[graph.x.row == 7].tolist() == sorted(features["7"])


@pytest.mark.data
def test_real_mutag_is_that_of_pyg(real_root, tmp_path, pyg):
    from torch_geometric.io import read_tu_data

    collection = load_real(real_root, "mutag")
    folder = next(
        Path(root) / "mutag" / "raw" for root in real_root.split(os.pathsep) if (Path(root) / "mutag" / "raw").is_dir()
    )
    with zipfile.ZipFile(folder / "MUTAG.zip") as file:
        for name in file.namelist():
            (tmp_path / name.rpartition("/")[2]).write_bytes(file.read(name))
    whole, slices, _ = read_tu_data(str(tmp_path), "MUTAG")
    assert torch.equal(dense(collection.whole.x), whole.x)
    assert torch.equal(collection.y, whole.y)
    for i, graph in enumerate(collection):
        source, target = whole.edge_index[:, slices["edge_index"][i] : slices["edge_index"][i + 1]]
        a = torch.zeros(graph.num_nodes, graph.num_nodes)
        a[target, source] = 1
        assert torch.equal(dense(graph.adjacency), a)


def test_a_batch_is_a_cut_of_its_collection(truth, tmp_path):
    batch = load(write_tu(tmp_path / "toy", truth.tu()), attributes=True).batch()
    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    assert {str(part.device) for part in (moved.adjacency, moved.x, moved.y, moved.ptr)} == {"meta"}
    assert moved.num_nodes == batch.num_nodes
    merged = GraphCollection.from_graphs(
        [Graph.from_edges([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]], x=torch.ones(4, 1), y=0)] * 2
    )
    with pytest.raises(
        InputError, match=r"to: alike nodes are merged in this batch; change the dtype of its collection"
    ):
        merged.merged().batch().to(torch.float64)
    with pytest.raises(InputError, match="replace: a batch is cut out of its collection"):
        merged.merged().batch().replace(x=None)


def test_a_batch_of_graphs_with_labels():
    graph = Graph.from_edges([[0, 1], [1, 0]], y=torch.tensor(1))
    assert gcnlab.batch([graph, graph]).y.tolist() == [1, 1]


def test_npz_that_do_not_fit_together(tmp_path):
    _, _, parts = npz_parts()
    path = tmp_path / "mine.npz"
    for changes, message in (
        ({"adj_shape": np.array([13, 14])}, r"key 'adj_shape': expected a square matrix \(found \(13, 14\)\)"),
        ({"attr_shape": np.array([14, 29]), "attr_indptr": np.append(parts["attr_indptr"], parts["attr_indptr"][-1])},
         r"key 'attr_shape': X has 14 rows, but A has 13"),
    ):  # fmt: skip
        np.savez(path, **{**parts, **changes})
        with pytest.raises(DatasetFormatError, match=message):
            load(path)
    np.savez(tmp_path / "other.npz", **parts)
    with pytest.raises(DatasetFormatError, match=r"expected one npz file \(found 'mine.npz, other.npz'\)"):
        data.npz.read(tmp_path, "two")


def test_counts_of_a_network():
    graph_counts = data.node_sets.counts(
        {"num_features": 5}, {"adjacency.rowptr": torch.tensor([0, 2, 3]), "adjacency.col": torch.tensor([0, 1, 0])}
    )
    assert (graph_counts["nodes"], graph_counts["edges"], graph_counts["self_loops"]) == (2, 1, 1)


def test_two_tables_of_edges(tmp_path):
    write_tables(tmp_path / "own", {"a_edges.csv": "node_1,node_2\n0,1\n", "b_edges.csv": "node_1,node_2\n0,1\n"})
    with pytest.raises(DatasetFormatError, match=r"expected one file edges.csv \(found 'a_edges.csv, b_edges.csv'\)"):
        load(tmp_path / "own")
    with pytest.raises(DatasetNotFoundError, match=r"nowhere: no such file or folder"):
        Source(tmp_path / "nowhere")


# -- what a batch and a collection share with a graph ------------------------------------------------------------------


def two_graphs(dtype=torch.float32):
    return [Graph.from_edges([[0, 1], [1, 0]], x=torch.rand(2, 3).to(dtype), y=i) for i in range(2)]


def test_the_dtype_of_a_collection_and_of_a_batch():
    graphs = GraphCollection.from_graphs(two_graphs(torch.float64))
    for found in (
        graphs.to(torch.float32).batch(),
        graphs[[1]].to(torch.float32).batch(),
        graphs.batch().to(torch.float32),
    ):
        assert (found.x.dtype, found.a_hat.dtype, found.p.dtype) == (torch.float32,) * 3
        assert found.y.dtype == torch.int64
    assert graphs[[1]].to(torch.float32).y.tolist() == [1]
    gcnlab.fit(gcnlab.GraphClassifier(3, 4, 2), graphs.to(torch.float32), select="last", epochs=1)


def test_a_batch_has_a_summary_and_is_not_saved(tmp_path):
    batch = gcnlab.batch(two_graphs())
    assert batch.summary().startswith("GraphBatch\n  nodes              4\n")
    assert batch.summary().endswith("\n  graphs             2")
    with pytest.raises(InputError, match="save: is of one graph"):
        batch.save(tmp_path / "g")


def test_graphs_of_one_node_from_pyg(pyg):
    empty = torch.empty(2, 0, dtype=torch.long)
    for y in (torch.tensor([1]), torch.tensor([[0.5]])):
        graphs = [Graph.from_pyg(pyg.data.Data(x=torch.rand(n, 3), edge_index=empty, y=y)) for n in (3, 1, 2)]
        assert GraphCollection.from_graphs(graphs).y.tolist() == [y.item()] * 3


def pyg_graphs(pyg, *changes):
    """Three graphs, one without an edge; of the last some values changed."""
    generator = torch.Generator().manual_seed(0)
    made = [
        {
            "x": torch.rand(n, 3, generator=generator),
            "edge_index": torch.randint(0, n, (2, e), generator=generator),
            "edge_weight": torch.rand(e, generator=generator),
            "y": torch.tensor([n % 2]),
            "num_nodes": n,
        }
        for n, e in ((4, 9), (1, 0), (6, 20))
    ]
    made[2] |= dict(changes)
    return [pyg.data.Data(**values) for values in made]


def test_from_pyg_gives_what_from_graphs_gives(pyg):
    for change in ({}, {"y": torch.rand(1, 2)}, {"x": None}):
        graphs = pyg_graphs(pyg)
        for graph in graphs:
            graph.update(change)
        found = GraphCollection.from_pyg(graphs, name="three")
        expected = GraphCollection.from_graphs([Graph.from_pyg(data) for data in graphs])
        assert (found.name, found.sizes.tolist()) == ("three", [4, 1, 6])
        assert torch.equal(found.y, expected.y)
        assert found.whole.num_duplicates == expected.whole.num_duplicates > 0
        for part in ("rowptr", "col", "value"):
            assert torch.equal(getattr(found.whole.adjacency, part), getattr(expected.whole.adjacency, part))
        assert found.whole.x is expected.whole.x is None or torch.equal(found.whole.x, expected.whole.x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("edge_index", torch.tensor([[0, 6], [1, 2]])),
            r"graph 2 has 6 nodes and an edge 6 -> 2; ids must be at least 0",
        ),
        (("edge_index", torch.tensor([[0, -1], [1, 2]])), r"graph 2 has 6 nodes and an edge -1 -> 2"),
        (("edge_weight", None), r"graph 2 has edge weights of none; expected 20 rows"),
        (("edge_weight", torch.ones(19)), r"graph 2 has edge weights of shape \(19,\); expected 20 rows"),
        (("x", torch.ones(6, 2)), r"graph 2 has x of shape \(6, 2\); expected 6 rows, as wide as in graph 0"),
        (("y", None), r"graph 2 has no label"),
        (("y", torch.tensor([0, 1])), r"graph 2 has no label"),
        (("y", torch.tensor([0.5])), r"graph 2 has y torch.float32 of shape \(\), graph 0 torch.int64"),
        (("edge_index", None), r"graph 2: has neither edge_index nor adj_t"),
    ],
)
def test_what_from_pyg_refuses(pyg, change, message):
    graphs = pyg_graphs(pyg, change)
    if change[0] == "edge_index" and change[1] is not None:
        graphs[2].edge_weight = torch.ones(2)
    with pytest.raises((InputError, InputTypeError), match=message):
        GraphCollection.from_pyg(graphs)


def batch_of_two():
    edge = [[0, 1, 1, 2], [1, 0, 2, 1]]
    return gcnlab.batch([Graph.from_edges(edge, x=torch.rand(3, 2), y=i) for i in range(2)])


def test_labels_of_graphs_are_never_those_of_nodes():
    """Of a batch with as many graphs as it has nodes the numbers would fit, too."""
    from gcnlab import links, scale

    one_node = Graph.from_edges([[0], [0]], x=torch.rand(1, 3), y=1)
    for batch in (batch_of_two(), gcnlab.batch([one_node, one_node])):
        for refused in (
            lambda b: scale.NeighborSampler(b, [1], 2), lambda b: scale.RandomNodeSampler(b, 2),
            lambda b: scale.ClusterSampler(b, torch.zeros(b.num_nodes, dtype=torch.int64)), lambda b: scale.partition(b, 1),
            lambda b: links.split_edges(b), lambda b: links.sample_non_edges(b, 1),
            lambda b: gcnlab.NodeRows(b, [b.x]), lambda b: gcnlab.fit(gcnlab.GCN(b.num_features, 4, 2), b),
            lambda b: gcnlab.fit(gcnlab.GCN(b.num_features, 4, 2), b, batching="auto"),
            lambda b: Graph.from_graphs([b, b]), lambda b: GraphCollection.from_graphs([b]), lambda b: gcnlab.batch([b]),
            lambda b: GraphCollection(b, b.ptr, b.y),
        ):  # fmt: skip
            with pytest.raises(InputError, match=r"GraphBatch, expected one Graph"):
                refused(batch)
        for refused in (lambda b: b.replace(y=None), lambda b: b.replace(train_mask=[True] * b.num_nodes)):
            with pytest.raises(InputError, match="replace: a batch is cut out of its collection"):
                refused(batch)
        with pytest.raises(InputError, match=r"GraphBatch: gcnlab\.batch"):
            gcnlab.GraphBatch(batch.adjacency, batch.x)
        assert not any("y" in values for _, values in batch.to_networkx().nodes(data=True))
        assert [value for _, value in batch.to_networkx().nodes(data="graph")] == batch.batch.tolist()
    assert "y" not in gcnlab.batch([one_node, one_node]).to_networkx().nodes[0]


def test_a_batch_says_and_does_what_it_is():
    batch = batch_of_two()
    assert repr(batch) == "GraphBatch(2 graphs, 6 nodes, 8 stored edges, 2 features, 2 classes)"
    assert "classes" not in repr(gcnlab.batch([Graph.from_edges([[0], [0]])]))
    with pytest.raises(InputError, match="estimate_memory: is of a model of one Graph"):
        batch.estimate_memory(gcnlab.GraphClassifier(2, 4, 2))


def test_a_batch_has_a_graph_and_is_none():
    """It offers what is the same for its nodes and those of the graph that it has; all else it refuses, or has not."""
    batch = batch_of_two()
    assert not isinstance(batch, Graph)
    assert isinstance(batch.graph, Graph)
    assert batch.graph.y is None
    for name in ("degree", "degree_tilde", "edge_index"):
        assert torch.equal(getattr(batch, name), getattr(batch.graph, name))
    for name in ("a_hat", "a_tilde", "laplacian", "adjacency"):
        assert getattr(batch, name) is getattr(batch.graph, name)
    for mine, theirs in (
        (batch.normalize(None, "rw"), batch.matrix("random_walk")), (batch.l_tilde(), batch.matrix("l_tilde")),
    ):  # fmt: skip
        assert mine is theirs
    assert torch.equal(batch.combinatorial_laplacian.to_dense(), batch.graph.combinatorial_laplacian.to_dense())
    assert (batch.is_directed, batch.has_self_loops, batch.num_self_loops, batch.num_duplicates) == (False, False, 0, 0)
    assert batch.to_scipy().nnz == batch.num_edges
    for method in (
        "replace", "with_features", "with_row_normalized_features", "to_undirected", "subgraph", "receptive_field",
        "rows_of", "save", "estimate_memory",
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{method}: "):
            getattr(batch, method)(None)
    for name in ("train_mask", "node_names", "from_edges", "kept"):
        with pytest.raises(AttributeError, match=f"GraphBatch has no {name}, which is of one Graph.*batch.graph"):
            getattr(batch, name)
    with pytest.raises(AttributeError, match=r"GraphBatch has no nonsense\.$"):
        batch.nonsense  # noqa: B018
    with pytest.raises(AttributeError, match="a GraphBatch is immutable"):
        batch.y = None


def test_copies_of_a_batch():
    batch = batch_of_two()
    for other in (copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert type(other) is gcnlab.GraphBatch
        assert repr(other) == repr(batch)
        for name in ("ptr", "batch", "y", "x"):
            assert torch.equal(getattr(other, name), getattr(batch, name))
        assert torch.equal(other.p.to_dense(), batch.p.to_dense())
        assert torch.equal(other.a_hat.to_dense(), batch.a_hat.to_dense())


def test_graphs_on_another_device(pyg):
    batch = "gcnlab.batch([g.to(D) for g in graphs])"
    devices = f"[part.device.type for part in ({batch}, {batch}.x, {batch}.y, {batch}.ptr)]"
    assert seen_on_device(devices) == str(["pretend"] * 4)
    assert (
        seen_on_device(f"{batch}.adjacency.to_dense().tolist() == gcnlab.batch(graphs).adjacency.to_dense().tolist()")
        == "True"
    )
    made = "GraphCollection.from_pyg([g.to(D).to_pyg() for g in graphs])"
    assert seen_on_device(f"len({made}), {made}.whole.device.type, {made}.y.tolist()") == "(2, 'pretend', [0, 1])"
    mixed = seen_on_device("gcnlab.batch([graphs[0], graphs[1].to(D)])")
    assert "InputError: graph 1: is on pretend:0, but graph 0 is on cpu" in mixed


def test_a_collection_owns_its_labels_starts_and_choices():
    edge = Graph.from_edges([[0, 1, 2, 3], [1, 0, 3, 2]], x=torch.ones(4, 2))
    y, ptr, chosen = torch.tensor([0, 1]), torch.tensor([0, 2, 4]), torch.tensor([1, 0])
    graphs = GraphCollection(edge, ptr, y)
    some = graphs[chosen]
    for buffer in (y, ptr, chosen):
        buffer.fill_(0)
    assert (graphs.y.tolist(), graphs.sizes.tolist(), some.y.tolist()) == ([0, 1], [2, 2], [1, 0])
    x, label = torch.ones(2, 3), torch.tensor(0)
    several = []
    for i in range(2):  # one buffer for all graphs: the features are read when they are joined
        label.fill_(i)
        several.append(Graph.from_edges([[0, 1], [1, 0]], x=x.clone(), y=label))
    assert GraphCollection.from_graphs(several).y.tolist() == [0, 1]
    shared = Graph.from_edges([[0, 1], [1, 0]], x=x, y=0)
    x.fill_(2.0)
    with pytest.raises(InputError, match="x: has been written to since it was given"):
        GraphCollection.from_graphs([shared, shared])
    whole = edge.replace(x=(given := torch.ones(4, 2)))
    graphs = GraphCollection(whole, [0, 2, 4], [0, 1])
    given.zero_()
    for read in (lambda: graphs.batch(), lambda: graphs[0], lambda: list(GraphLoader(graphs)), lambda: graphs.merged()):
        with pytest.raises(InputError, match="x: has been written to since it was given"):
            read()


def test_alike_nodes_of_learnt_weights_are_not_merged():
    star = Graph.from_edges([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]], x=torch.ones(4, 2), y=0)
    graphs = GraphCollection.from_graphs([star, star])
    whole = graphs.whole
    assert graphs.merged().batch().num_nodes < 8
    learnt = whole.replace(adjacency=whole.adjacency.with_value(torch.ones(12, requires_grad=True)))
    for changed in (learnt, whole.replace(x=torch.ones(8, 2, requires_grad=True))):
        graphs = GraphCollection(changed, [0, 4, 8], [0, 0])
        with torch.no_grad():
            assert graphs.merged() is graphs
    weight = learnt.adjacency.value
    graphs = GraphCollection(learnt, [0, 4, 8], [0, 0])
    for _ in range(2):  # one cut for each step
        with torch.no_grad():
            predict(GraphClassifier(2, 3, 2), graphs)
        batch = graphs.batch()
        GraphClassifier(2, 3, 2)(batch.x, batch.a_hat, batch).sum().backward()
        with torch.no_grad():
            weight.mul_(2.0)
        assert torch.equal(graphs.batch().adjacency.value, weight)
        assert weight.grad is not None


def test_merged_nodes_are_those_of_the_features_and_the_collection():
    star = Graph.from_edges([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]], x=torch.ones(4, 2), y=0)
    whole = GraphCollection.from_graphs([star, star]).whole
    graphs = GraphCollection(whole, [0, 4, 8], [0, 1])
    assert graphs.merged().batch().num_nodes == 4
    x = torch.ones(8, 2)
    x[1:4] = 2.0
    other = GraphCollection(graphs.whole.replace(x=x), [0, 4, 8], [0, 1]).merged().batch()
    assert sorted(other.x.flatten().tolist()) == [1, 1, 1, 1, 1, 1, 2, 2]
    together = GraphCollection(graphs.whole, [0, 8], [0])
    assert together.merged().sizes.tolist() == [2]
    assert together.merged().batch().multiplicity.sum() == 8


def test_what_inference_mode_cut_out_serves_a_training():
    edge = Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 2), y=0)
    with torch.inference_mode():
        graphs = GraphCollection.from_graphs([edge, edge.replace(y=1)])
        graphs.merged(), predict(GraphClassifier(2, 3, 2), graphs)
    batch = graphs.batch()
    with torch.inference_mode():
        batch.p, batch.a_hat, batch.a_hat.T  # noqa: B018
    GraphClassifier(2, 3, 2)(batch.x, batch.a_hat, batch).sum().backward()


@pytest.mark.parametrize("several", ["batch", "collection", "list", "graph", "number"])
def test_several_graphs_where_one_is_expected_are_named(several, pyg):
    edge = Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 2), y=0)
    graphs = GraphCollection.from_graphs([edge, edge])
    given, message = {
        "batch": ([graphs.batch(), graphs.batch()], "graphs: graph 0: got a GraphBatch, expected one Graph"),
        "collection": (
            [graphs, graphs],
            "graphs: graph 0: got gcnlab.GraphCollection, expected a gcnlab.Graph",
        ),
        "list": ([[edge], [edge]], "graphs: graph 0: got list, expected a gcnlab.Graph"),
        "graph": (edge, "graphs: got one Graph, expected a list of graphs"),
        "number": (5, "graphs: got one int, expected a list of graphs"),
    }[several]
    for make in (gcnlab.batch, GraphCollection.from_graphs, Graph.from_graphs):
        with pytest.raises(InputTypeError if several != "batch" else InputError, match=message):
            make(given)
    from torch_geometric.data import Batch

    joined = Batch.from_data_list([graph.to_pyg() for graph in graphs])
    assert len(GraphCollection.from_pyg(joined)) == 2
    with pytest.raises(
        InputTypeError, match=r"graphs: graph 0 is a Batch of several, expected one Data; .*to_data_list"
    ):
        GraphCollection.from_pyg([joined, joined])
