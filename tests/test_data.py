import contextlib
import copyreg
import hashlib
import http.server
import json
import os
import pickle
import random
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.parse
from collections import defaultdict
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from test_files import as_1_0

from gcnlab import SparseMatrix
from gcnlab.data import catalog, fetch, graph_sets, load, node_sets, ogb, planetoid, readme_table, verify
from gcnlab.data.unpickle import ADMITTED, read_pickle
from gcnlab.errors import (
    ChecksumError,
    CorruptFileError,
    DatasetFormatError,
    DatasetNotFoundError,
    GcnlabError,
    InputError,
    InputTypeError,
    UnsafeFileError,
)
from gcnlab.files import read_arrays, write_arrays

fetching = sys.modules["gcnlab.data.fetch"]  # the module; gcnlab.data.fetch is the function
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")
NUM_NODES, NUM_ALL, NUM_TRAIN, NUM_FEATURES, NUM_CLASSES = 23, 13, 5, 11, 3
ABSENT = (16, 19)


def dense(matrix):
    return matrix.to_dense() if hasattr(matrix, "to_dense") else matrix


class Truth:
    """A small citation graph and the parts of its Planetoid files; two nodes are absent from them, as in CiteSeer."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = (rng.random((NUM_NODES, NUM_FEATURES)) < 0.3).astype(np.float32)
        self.y = rng.integers(0, NUM_CLASSES, NUM_NODES)
        self.y[:NUM_CLASSES] = range(NUM_CLASSES)
        self.x[list(ABSENT)] = 0
        self.y[list(ABSENT)] = -1
        test = [node for node in range(NUM_ALL, NUM_NODES) if node not in ABSENT]
        rng.shuffle(test)
        self.graph = defaultdict(list, {node: [] for node in range(NUM_NODES)})
        for u, v in [*rng.integers(0, NUM_NODES, (40, 2)).tolist(), (3, 3), (2, 4), (4, 2), (2, 4)]:
            self.graph[u].append(v)
        one_hot = np.eye(NUM_CLASSES, dtype=np.int32)
        self.parts = {
            "x": sp.csr_matrix(self.x[:NUM_TRAIN]),
            "y": one_hot[self.y[:NUM_TRAIN]],
            "tx": sp.csr_matrix(self.x[test]),
            "ty": one_hot[self.y[test]],
            "allx": sp.csr_matrix(self.x[:NUM_ALL]),
            "ally": one_hot[self.y[:NUM_ALL]],
            "graph": self.graph,
            "test.index": test,
        }

    def adjacency(self):
        graph = nx.Graph([(u, v) for u, neighbours in self.graph.items() for v in neighbours])
        return nx.to_numpy_array(graph, nodelist=range(NUM_NODES))

    def write(self, folder, name="toy", protocol=2):
        folder.mkdir(parents=True, exist_ok=True)
        for part, content in self.parts.items():
            if part == "test.index":
                raw = content if isinstance(content, bytes) else "".join(f"{node}\n" for node in content).encode()
            else:
                raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
            (folder / f"ind.{name}.{part}").write_bytes(raw)
        return folder


@pytest.fixture
def truth():
    return Truth()


@pytest.fixture
def toy(tmp_path, monkeypatch, data_root, truth):
    """A named data set "toy" whose raw files lie in the data root; its entry in the catalog."""
    folder = truth.write(data_root / "toy" / "raw")
    entry = toy_entry(folder)
    monkeypatch.setitem(catalog(), "toy", entry)
    return entry


def toy_entry(folder, url="https://127.0.0.1/"):
    contents = {f"ind.toy.{part}": (folder / f"ind.toy.{part}").read_bytes() for part in PARTS}
    return {
        **catalog()["cora"],
        "files": [
            {"name": name, "url": url + name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in contents.items()
        ],
        "counts": planetoid.counts(*planetoid.read(folder, "toy")),
    }


def check_toy(graph, truth):
    assert np.array_equal(dense(graph.x).numpy(), truth.x)
    assert graph.y.tolist() == truth.y.tolist()
    assert np.array_equal(graph.adjacency.to_dense().numpy(), truth.adjacency())
    assert graph.train_mask.nonzero()[:, 0].tolist() == list(range(NUM_TRAIN))
    assert graph.val_mask.nonzero()[:, 0].tolist() == list(range(NUM_TRAIN, NUM_ALL))
    assert graph.test_mask.nonzero()[:, 0].tolist() == sorted(truth.parts["test.index"])


@pytest.fixture
def count_reads(monkeypatch):
    """A list that grows with each reading of raw files."""
    reads, read = [], planetoid.read

    def counted(folder, name):
        reads.append(folder)
        return read(folder, name)

    monkeypatch.setattr(planetoid, "read", counted)
    return reads


# -- the catalog ------------------------------------------------------------------------------------------------------


def test_manifest_is_complete():
    for name, entry in catalog().items():
        for key in ("title", "task", "description", "licence", "source", "citation", "format"):
            assert entry[key], (name, key)
        assert entry["embedded"] == (not entry["files"])
        if entry["format"] == "ogb":  # which publishes neither sizes nor sha256: tests/test_ogb.py
            continue
        assert entry["max_bytes"] == sum(file["size"] for file in entry["files"])
        for file in entry["files"]:
            if file["url"] is None:
                assert file["origin"]
            else:
                assert file["url"].startswith("https://")
                assert file["url"].endswith(urllib.parse.quote(file["name"]))
            assert len(bytes.fromhex(file["sha256"])) == 32
        for file in entry.get("split_files", {}).values():
            assert file["url"].startswith("https://")
            assert len(bytes.fromhex(file["sha256"])) == 32
        if "path" in entry:
            assert entry["path"] == entry["files"][0]["name"]
        for file in entry.get("published", {}).get("files", ()):  # whose bytes are not known: its content is compared
            assert (file["sha256"], file["size"]) == (None, None)
            assert file["url"].startswith("https://")
            assert file["url"].endswith(file["name"])
            assert len(bytes.fromhex(entry["content_sha256"])) == 32
            assert ("order_sha256" in entry) == (entry["task"] == "graph classification")
        if entry["task"] == "image classification":  # tests/test_image_data.py
            continue
        counts = {"nodes", "self_loops", "classes"}
        if entry["task"] == "graph classification":
            counts |= {"graphs", "entries", "duplicates", "node_labels", "node_attributes"}
        else:
            counts |= {"edges", "features"}
        if entry["format"] in ("embedded", "planetoid"):  # which have a public split
            counts |= {"train", "val", "test"}
        if entry["format"] == "heterophilous":
            counts |= {"splits"}
        assert set(entry["counts"]) == counts


def test_readme_is_what_the_manifest_says():
    readme = Path(__file__).parents[1] / "datasets" / "README.md"
    assert readme.read_text(encoding="utf-8") == readme_table(), (
        "write gcnlab.data.readme_table() to datasets/README.md"
    )


def test_import_needs_torch_alone():
    code = (
        "import sys, torch; before = set(sys.modules); import gcnlab.data; gcnlab.data.load('karate'); "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); print(new)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "{'gcnlab'}"


def test_karate_is_networkx_s():
    graph = load("karate")
    expected = nx.karate_club_graph()
    assert np.array_equal(graph.adjacency.to_dense().numpy(), nx.to_numpy_array(expected, weight=None))
    clubs = [expected.nodes[node]["club"] for node in graph.node_names]
    assert [graph.class_names[label] for label in graph.y] == clubs
    assert graph.train_mask.nonzero()[:, 0].tolist() == [0, 33]
    assert graph.y[graph.val_mask].bincount().tolist() == [4, 4]
    assert int(graph.test_mask.sum()) == 24
    assert graph.x is None
    counts = catalog()["karate"]["counts"]
    assert (graph.num_nodes, graph.num_edges) == (counts["nodes"], 2 * counts["edges"])
    with pytest.raises(InputError, match=r"option 'split' is unknown; karate takes no options"):
        load("karate", split="public")


def test_davis_is_networkx_s():
    graph, expected = load("davis"), nx.davis_southern_women_graph()
    assert np.array_equal(graph.adjacency.to_dense().numpy(), nx.to_numpy_array(expected))
    assert graph.node_names == tuple(expected.nodes)
    assert [graph.class_names[label] for label in graph.y] == ["woman"] * 18 + ["event"] * 14
    assert graph.class_names[graph.y[graph.node_names.index("E7")]] == "event"
    counts = catalog()["davis"]["counts"]
    assert (graph.num_nodes, graph.num_edges, graph.num_classes) == (counts["nodes"], 2 * counts["edges"], 2)
    assert (graph.name, graph.x, graph.train_mask) == ("davis", None, None)


def test_les_miserables_is_networkx_s():
    graph, expected = load("les-miserables"), nx.les_miserables_graph()
    assert np.array_equal(graph.adjacency.to_dense().numpy(), nx.to_numpy_array(expected))
    assert int(graph.adjacency.value.max()) == expected["Valjean"]["Cosette"]["weight"] == 31
    counts = catalog()["les-miserables"]["counts"]
    assert (graph.num_nodes, graph.num_edges) == (counts["nodes"], 2 * counts["edges"])
    assert (graph.name, graph.x, graph.y) == ("les-miserables", None, None)


def test_unknown_names_and_options(toy):
    with pytest.raises(DatasetNotFoundError, match=r"'crora' is neither a data set nor a path that exists; .*cora"):
        load("crora")
    with pytest.raises(DatasetNotFoundError, match=r"'crora' is not a data set; the names are karate, cora"):
        fetch("crora")
    with pytest.raises(InputTypeError, match=r"name: got int"):
        load(3)
    with pytest.raises(InputTypeError, match=r"root: got int"):
        load("toy", root=3)
    with pytest.raises(InputError, match=r"option 'splits' is unknown; toy takes split, seed, train_per_class"):
        load("toy", splits="public")
    with pytest.raises(InputError, match=r"split: got 'publik', expected \"public\", \"random\" or \"full\""):
        load("toy", split="publik")
    with pytest.raises(InputTypeError, match=r"seed: got 1\.5, expected an integer"):
        load("toy", split="random", seed=1.5)
    with pytest.raises(InputError, match=r"train_per_class: got 0, expected at least 1"):
        load("toy", split="random", train_per_class=0)


# -- Planetoid files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "form", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array, np.array, np.asfortranarray]
)
def test_own_folder_of_any_protocol_and_matrix_form(tmp_path, truth, protocol, form):
    for part in ("x", "tx", "allx"):
        truth.parts[part] = form(truth.parts[part].toarray().astype(np.float64))
    if protocol % 2:  # numpy's integers as ids
        truth.parts["graph"] = {np.int64(u): [np.int32(v) for v in vs] for u, vs in truth.graph.items()}
        truth.parts["graph"] = {int(u): vs for u, vs in truth.parts["graph"].items()}
    graph = load(truth.write(tmp_path, "my.set", protocol))
    check_toy(graph, truth)
    assert graph.name == "my.set"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"ind.my.set.{part}" for part in PARTS)


def test_old_names_of_globals(tmp_path, truth):
    """The files of 2016 name modules that numpy and scipy have renamed since."""
    truth.write(tmp_path)
    for part in PARTS[:6]:
        path = tmp_path / f"ind.toy.{part}"
        raw = path.read_bytes()
        for new, old in ((b"numpy._core", b"numpy.core"), (b"scipy.sparse._csr", b"scipy.sparse.csr")):
            raw = raw.replace(new, old)
        path.write_bytes(raw)
    check_toy(load(tmp_path), truth)


def test_big_endian_and_duplicate_entries(tmp_path, truth):
    truth.parts["y"] = truth.parts["y"].astype(">i8")
    doubled = sp.csr_matrix(truth.parts["allx"])
    parts = [np.repeat(doubled.data, 2) / 2, np.repeat(doubled.indices, 2), doubled.indptr * 2]
    truth.parts["allx"] = sp.csr_matrix(tuple(parts), doubled.shape)
    check_toy(load(truth.write(tmp_path)), truth)


def test_last_line_without_newline_and_crlf(tmp_path, truth):
    lines = [str(node) for node in truth.parts["test.index"]]
    for raw in ("\n".join(lines), "\r\n".join(lines) + "\r\n"):
        truth.parts["test.index"] = raw.encode()
        graph = load(truth.write(tmp_path))
        truth.parts["test.index"] = list(map(int, lines))
        check_toy(graph, truth)


def test_absent_nodes_are_in_no_mask(toy):
    for split in ("public", "full"):
        graph = load("toy", split=split)
        for node in ABSENT:
            assert graph.y[node] == -1
            assert not dense(graph.x)[node].any()
            assert not (graph.train_mask[node] | graph.val_mask[node] | graph.test_mask[node])


def edited(part, change):
    """A change of one part of the files, as a test parameter."""

    def apply(truth):
        content = truth.parts[part]
        result = change(content)
        truth.parts[part] = content if result is None else result

    return apply


def set_row(matrix, row, value):
    matrix = matrix.astype(float)
    matrix[row] = value
    return matrix


def raw_csr(**changes):
    """The pickle of a CSR matrix that scipy would not make."""

    def change(matrix):
        state = {"_shape": matrix.shape, "indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data}
        bad = sp.csr_matrix.__new__(sp.csr_matrix)
        bad.__dict__.update({**state, **{key: value(matrix) for key, value in changes.items()}})
        return pickle.dumps(bad, 2)

    return change


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (edited("test.index", lambda ids: [*ids[:-1], -3]), "test.index", "line 8: .* at least 13.*found -3"),
        (edited("test.index", lambda ids: [*ids[:-1], 12]), "test.index", "line 8: .* at least 13.*found 12"),
        (edited("test.index", lambda ids: [*ids[:-1], ids[0]]), "test.index", "line 8: this id stands on line 1"),
        (edited("test.index", lambda ids: b"13\n14.0\n"), "test.index", r"line 2: expected a node id.*found '14\.0'"),
        (edited("test.index", lambda ids: b"13\n\n14\n"), "test.index", "line 2: expected a node id.*found ''"),
        (edited("test.index", lambda ids: b"13\n1_4\n"), "test.index", "line 2: expected a node id"),
        (edited("test.index", lambda ids: b"9" * 30), "test.index", "line 1: expected a node id"),
        (edited("test.index", lambda ids: b""), "test.index", "it names no test node"),
        (edited("test.index", lambda ids: ids[:-1]), "test.index", "has 7 rows, but tx has 8"),
        (edited("test.index", lambda ids: [*ids[:-1], 999999999]), "graph", "999999977 of 1000000000 nodes are"),
        (edited("x", lambda x: x[:4]), "y", "has 5 rows, but x has 4"),
        (edited("tx", lambda x: x[:4]), "ty", "has 8 rows, but tx has 4"),
        (edited("ally", lambda y: y[:12]), "ally", "has 12 rows, but allx has 13"),
        (edited("y", lambda y: y[:, :2]), "y", "row 2 is not one-hot"),
        (edited("tx", lambda x: x[:, :10]), "tx", "has 10 columns, but allx has 11"),
        (edited("ty", lambda y: y[:, [0, 1, 2, 2]] * [1, 1, 1, 0]), "ty", "has 4 columns, but ally has 3"),
        (edited("y", lambda y: np.roll(y, 1, axis=1)), "y", "key 0: this row has another class"),
        (edited("ally", lambda y: set_row(y, 4, 0)), "ally", r"key 4: row 4 is not one-hot \(found \[0.0, 0.0, 0.0\]"),
        (edited("ally", lambda y: set_row(y, 4, 1)), "ally", "row 4 is not one-hot"),
        (edited("ally", lambda y: set_row(y, 4, [0.5, 0.5, 0])), "ally", "row 4 is not one-hot"),
        (edited("ally", lambda y: set_row(y, 4, np.nan)), "ally", "row 4 is not one-hot"),
        (edited("ally", lambda y: y[:, :0]), "ally", "expected a matrix of one-hot labels"),
        (edited("ally", lambda y: y[:, 0]), "ally", "expected a matrix of one-hot labels"),
        (edited("ally", lambda y: [1, 2]), "ally", "expected a matrix of one-hot labels"),
        (edited("allx", lambda x: {}), "allx", "expected a matrix of features, got dict"),
        (edited("allx", lambda x: set_row(x.toarray(), 7, np.nan)), "allx", "key 7: 11 features are NaN or infinite"),
        (edited("tx", lambda x: x.astype(float) * 1e300), "tx", "are NaN or infinite"),
        (edited("graph", lambda g: g.pop(4)), "graph", "expected a dict"),
        (edited("graph", lambda g: {u: vs for u, vs in g.items() if u != 4}), "graph", "key 4: 1 of 23 nodes"),
        (edited("graph", lambda g: {**g, 23: []}), "graph", "key 23: a node id is an integer from 0 to 22"),
        (edited("graph", lambda g: {**g, -1: []}), "graph", "key -1: a node id is"),
        (edited("graph", lambda g: {**g, "5": []}), "graph", "key '5': a node id is"),
        (edited("graph", lambda g: {**g, 5: [23]}), "graph", r"key 5: a neighbour is .* from 0 to 22 \(found 23\)"),
        (edited("graph", lambda g: {**g, 5: [-1]}), "graph", r"key 5: a neighbour is .*\(found -1\)"),
        (edited("graph", lambda g: {**g, 5: [1.0]}), "graph", r"key 5: a neighbour is .*\(found 1.0\)"),
        (edited("graph", lambda g: {**g, 5: [True]}), "graph", r"key 5: a neighbour is .*\(found 'bool'\)"),
        (edited("graph", lambda g: {**g, 5: [10**5000]}), "graph", "an integer of more than 64 bits"),
        (edited("graph", lambda g: {**g, 5: (1,)}), "graph", "key 5: expected a list of neighbours, got tuple"),
        (edited("graph", lambda g: {**g, 5.5: []}), "graph", "a float as a key"),
        (edited("x", raw_csr(indptr=lambda m: m.indptr[:-1])), "x", "do not fit together"),
        (edited("x", raw_csr(indptr=lambda m: m.indptr + 1)), "x", "do not fit together"),
        (edited("x", raw_csr(indptr=lambda m: m.indptr[[0, 2, 1, 3, 4, 5]])), "x", "indptr falls after position 1"),
        (edited("x", raw_csr(indices=lambda m: m.indices + 5)), "x", r"index at position \d+ is not within 0..10"),
        (edited("x", raw_csr(indices=lambda m: m.indices - 5)), "x", r"index at position 0 is not within 0..10"),
        (edited("x", raw_csr(indices=lambda m: m.indices.astype(float))), "x", "indices .* is not a vector of numbers"),
        (edited("x", raw_csr(data=lambda m: m.data[1:])), "x", "do not fit together"),
        (edited("x", raw_csr(data=lambda m: "no")), "x", "a str where a _Array belongs"),
        (edited("x", raw_csr(_shape=lambda m: (5, 2**40))), "x", "each from 0 to 2147483647"),
        (edited("x", raw_csr(_shape=lambda m: (5,))), "x", "a matrix needs two sizes"),
        (edited("x", raw_csr(_shape=lambda m: (5, "11"))), "x", "a matrix needs two sizes"),
    ],
)  # fmt: skip
def test_malformed_files(tmp_path, truth, change, file, message):
    change(truth)
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(truth.write(tmp_path))
    assert Path(raised.value.file).name == f"ind.toy.{file}"


def test_folders_that_are_not_planetoid(tmp_path, truth):
    with pytest.raises(DatasetFormatError, match=r"expected a folder of Planetoid files .*found 'none'"):
        load(tmp_path)
    truth.write(tmp_path)
    with pytest.raises(DatasetFormatError, match=r"ind.toy.x: not a readable zip archive"):
        load(tmp_path / "ind.toy.x")
    with pytest.raises(InputError, match=r"takes split, seed, train_per_class"):
        load(tmp_path, shuffle=True)
    with pytest.raises(InputError, match=r"split: got 'half'"):
        load(str(tmp_path), split="half")
    (tmp_path / "ind.toy.ty").unlink()
    with pytest.raises(DatasetFormatError, match=r"ind.toy.ty: this file is missing"):
        load(tmp_path)
    truth.write(tmp_path, "other")
    with pytest.raises(DatasetFormatError, match=r"of one name .*found 'other, toy'"):
        load(tmp_path)


def test_random_split(tmp_path, truth):
    num_nodes, num_test = 2003, 307
    rng = np.random.default_rng(1)
    y = rng.integers(0, NUM_CLASSES, num_nodes)
    one_hot, x = np.eye(NUM_CLASSES)[y], sp.random(num_nodes, 7, density=0.1, format="csr", random_state=1)
    first = num_nodes - num_test
    truth.parts = {
        "x": x[:60], "allx": x[:first], "tx": x[first:],
        "y": one_hot[:60], "ally": one_hot[:first], "ty": one_hot[first:],
        "graph": {node: [(node * 7) % num_nodes] for node in range(num_nodes)}, "test.index": range(first, num_nodes),
    }  # fmt: skip
    truth.write(tmp_path)
    graphs = [load(tmp_path, split="random", seed=seed) for seed in (0, 0, 1)]
    for graph in graphs:
        assert graph.y[graph.train_mask].bincount().tolist() == [20] * NUM_CLASSES
        assert (int(graph.val_mask.sum()), int(graph.test_mask.sum())) == (500, 1000)
    assert torch.equal(graphs[0].test_mask, graphs[1].test_mask)
    assert not torch.equal(graphs[0].test_mask, graphs[2].test_mask)
    assert load(tmp_path, split="random", train_per_class=7).train_mask.sum() == 7 * NUM_CLASSES
    full, public = load(tmp_path, split="full"), load(tmp_path)
    assert torch.equal(full.val_mask, public.val_mask)
    assert torch.equal(full.test_mask, public.test_mask)
    assert torch.equal(full.train_mask, ~(full.val_mask | full.test_mask))
    with pytest.raises(InputError, match=r"train_per_class: got 900, but class 0 has .* labelled nodes"):
        load(tmp_path, split="random", train_per_class=900)
    with pytest.raises(InputError, match=r"beside the training nodes 1403 are labelled"):
        load(tmp_path, split="random", train_per_class=200)


# -- pickles that ask for code ----------------------------------------------------------------------------------------


class Call:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def payloads(command):
    """name -> (bytes, the error); each would run `command` or another call if Python's own pickle read it."""
    text = command.encode()
    short = struct.pack("<B", len(text)) + text
    code = f"__import__('os').system({command!r})"
    call = pickle.dumps(Call(os.system, command), 2)[2:-1]  # without PROTO and STOP
    csr = b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81"
    object_array = np.empty(1, dtype=object)
    object_array[0] = Call(os.system, command)
    matrix = sp.csr_matrix(np.eye(3))
    matrix.extra = Call(os.system, command)
    system = r"(posix|nt)\.system"
    return {
        "os.system": (pickle.dumps(Call(os.system, command), 2), UnsafeFileError, system),
        "eval": (pickle.dumps(Call(eval, code), 0), UnsafeFileError, r"__builtin__\.eval"),
        "exec": (pickle.dumps(Call(exec, code), 4), UnsafeFileError, r"builtins\.exec"),
        "Popen": (pickle.dumps(Call(subprocess.Popen, command, -1), 4), UnsafeFileError, r"subprocess\.Popen"),
        "partial": (b"cfunctools\npartial\n(cos\nsystem\ntR.", UnsafeFileError, r"functools\.partial"),
        "getattr chain": (b"c__builtin__\ngetattr\n(c__builtin__\n__import__\ntR.", UnsafeFileError, "getattr"),
        "attribute of an admitted name": (
            b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__class__.x\x93.",
            UnsafeFileError,
            r"numpy\.ndarray\.__class__",
        ),
        "another module's ndarray": (b"cevil\nndarray\n)R.", UnsafeFileError, r"evil\.ndarray"),
        "numpy.load": (b"cnumpy\nload\n(S'x.npy'\ntR.", UnsafeFileError, r"numpy\.load"),
        "state of a matrix": (csr + b"}U\x05shape" + call + b"sb.", UnsafeFileError, system),
        "attribute of a matrix": (pickle.dumps(matrix, 2), UnsafeFileError, system),
        "__setstate__": (csr + b"}U\x0c__setstate__cos\nsystem\nsbU" + short + b"b.", UnsafeFileError, r"os\.system"),
        "in an array": (pickle.dumps(object_array, 2), GcnlabError, "ind.toy.x"),
        "in a dict": (pickle.dumps({1: [Call(os.system, command)]}, 5), UnsafeFileError, system),
        "in a factory": (b"ccollections\ndefaultdict\n(cos\nsystem\ntR.", UnsafeFileError, r"os\.system"),
        "INST": (b"(S'" + text + b"'\nios\nsystem\n.", UnsafeFileError, r"os\.system"),
        "INST of an admitted name": (b"(icollections\ndefaultdict\n.", DatasetFormatError, "INST"),
        "OBJ": (b"(cos\nsystem\nU" + short + b"o.", UnsafeFileError, r"os\.system"),
        "call of what a call gave": (b"cnumpy\ndtype\n(S'f4'\ntR(tR.", DatasetFormatError, "_Dtype where a _Global"),
        "state for a global": (b"cnumpy\ndtype\n}b.", DatasetFormatError, "a state for a _Global"),
        "subclass of ndarray": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cscipy.sparse.csr\ncsr_matrix\n(I0\ntS'b'\ntR.",
            DatasetFormatError,
            "another class than ndarray",
        ),
        "extension registry": (b"\x80\x02\x82\xf0)R.", UnsafeFileError, "copyreg extension 240"),
        "persistent id": (b"Pid\n.", DatasetFormatError, "PERSID"),
        "out-of-band buffer": (b"\x80\x05\x97.", DatasetFormatError, "NEXT_BUFFER"),
    }


@pytest.mark.parametrize("name", payloads("true"))
def test_no_pickle_runs_code(tmp_path, truth, name, monkeypatch):
    marker = tmp_path / "marker"
    raw, error, message = payloads(f'echo > "{marker}"')[name]
    monkeypatch.setitem(copyreg._inverted_registry, 240, ("os", "getcwd"))
    truth.parts["x"] = raw
    with pytest.raises(error, match=message) as raised:
        load(truth.write(tmp_path / "set"))
    assert isinstance(raised.value, GcnlabError)
    assert str(tmp_path / "set" / "ind.toy.x") in str(raised.value)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore")  # old names of scipy's modules
def test_the_payloads_would_run(tmp_path):
    """Otherwise the test above shows nothing."""
    for name in ("os.system", "eval", "exec", "state of a matrix", "in an array", "in a dict", "INST", "OBJ"):
        marker = tmp_path / name
        with contextlib.suppress(Exception):
            pickle.loads(payloads(f'echo > "{marker}"')[name][0], encoding="latin1")
        assert marker.exists(), name


def test_admitted_globals_are_a_known_list():
    """A longer list is a decision: each name must be one that this module's machine turns into plain data."""
    modules = {name.split()[0].split(".")[0] for name in ADMITTED}
    assert modules == {"numpy", "scipy", "collections", "__builtin__", "builtins", "copy_reg", "copyreg", "_codecs"}
    assert len(ADMITTED) == 25


def array_pickle(shape, raw, dtype=b"f8"):
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x00(K\x01" + shape
        + b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"K\x00K\x01\x87R\x89" + raw + b"tb."
    )  # fmt: skip


def test_array_pickle_is_well_made(tmp_path):
    (tmp_path / "a").write_bytes(array_pickle(b"K\x01\x85", b"U\x08" + struct.pack("<d", 1.5)))
    assert read_pickle(tmp_path / "a").tolist() == [1.5]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (array_pickle(b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85", b"U\x00"), "has 0 bytes"),
        (array_pickle(b"K\x00\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x86", b"U\x00", b"O8"), "dtype 'O8'"),
        (array_pickle(b"J\xff\xff\xff\xff\x85", b"U\x00"), "negative size"),
        (array_pickle(b"K\x01\x85", b"]K\x01a", b"O8"), "dtype 'O8'"),
        (array_pickle(b"K\x01\x85", b"]K\x01a"), "an array's content is a list"),
        (array_pickle(b"K\x01\x85", b"U\x08" + bytes(8), b"V8"), "dtype 'V8'"),
        (array_pickle(b"K\x01\x85", b"U\x08" + bytes(8), b"f8,O"), "dtype 'f8,O'"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.", "a NoneType where a ndarray"),
        (b"\x80\x05\x96" + (2**60).to_bytes(8, "little") + b"abc.", "not a readable pickle"),  # BYTEARRAY8
        (b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"abc.", "not a readable pickle"),  # BINBYTES8
        (b"T\xff\xff\xff\x7fabc.", "not a readable pickle"),  # BINSTRING
        (b"]r\xff\xff\xff\x7fa.", "not a readable pickle"),  # a memo index of 2**31 - 1
        (b"}" + b")" + b"\x85" * 60_000 + b"K\x01s.", "a tuple as a key"),  # hashing it would overrun C's stack
        (b"I" + b"9" * 5000 + b"\n.", "not a readable pickle"),
        (b"", "not a readable pickle"),
        (b".", "the stack is empty"),
        (b"(.", "not a readable pickle"),
        (b"a.", "not a readable pickle"),
        (b"K\x01", "not a readable pickle"),
        (b"K\x01K\x02.", "more follows"),
        (b"K\x01.K\x01.", "more follows"),
        (b"h\x07.", "not a readable pickle"),
        (b"tR.", "no mark"),
        (b"K\x01(a.", "not a readable pickle"),
        (b"<!DOCTYPE html><html>", "not a readable pickle"),
    ],
)  # fmt: skip
def test_hostile_pickles_fail_without_harm(tmp_path, raw, message):
    (tmp_path / "a").write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetFormatError, match=message):
            read_pickle(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_a_small_pickle_does_not_become_large_arrays(tmp_path):
    """100,000 bytes once, and 2,000 arrays made of them."""
    array = array_pickle(b"J" + (100_000).to_bytes(4, "little") + b"\x85", b"h\x09", b"u1")[2:-1]
    content = (
        b"\x80\x02]T" + (100_000).to_bytes(4, "little") + bytes(100_000) + b"q\x090" + (array + b"a") * 2_000 + b"."
    )
    (tmp_path / "a").write_bytes(content.replace(b"q\x090", b"q\x09a", 1))
    with pytest.raises(DatasetFormatError, match=r"its arrays are larger than the file"):
        read_pickle(tmp_path / "a")


# -- changed bytes ----------------------------------------------------------------------------------------------------


def damaged(content, rng, flips=60, cuts=20):
    """The content with one bit flipped, so many times, and cut short, so many times."""
    for _ in range(flips if content else 0):
        at = rng.randrange(len(content))
        yield content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    for _ in range(cuts):
        yield content[: rng.randrange(max(len(content), 1))]


@pytest.mark.parametrize("part", PARTS)
def test_damaged_file_of_a_named_set_is_refused_unread(toy, data_root, part, count_reads, trials):
    path = data_root / "toy" / "raw" / f"ind.toy.{part}"
    content = path.read_bytes()
    expected = hashlib.sha256(content).hexdigest()
    load("toy")
    assert len(count_reads) == 1
    trials("damaged files, with a checksum", 80, 80)
    for changed in damaged(content, random.Random(part)):
        path.write_bytes(changed)
        with pytest.raises(ChecksumError) as raised:
            load("toy")
        assert (raised.value.file, raised.value.expected) == (str(path), expected)
        assert path.read_bytes() == changed
    assert len(count_reads) == 1
    assert verify("toy")[path.name] == "wrong sha256"
    path.unlink()
    assert verify("toy")[path.name] == "missing"
    path.write_bytes(content)
    assert set(verify("toy").values()) == {"ok"}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("part", PARTS)
def test_damaged_file_of_one_s_own_is_read_or_refused(tmp_path, truth, part, protocol, trials):
    path = truth.write(tmp_path, protocol=protocol) / f"ind.toy.{part}"
    messages = []
    cuts = trials("damaged files, without a checksum", 40, 80) // 4
    for changed in damaged(path.read_bytes(), random.Random(f"{part}{protocol}"), 3 * cuts, cuts):
        path.write_bytes(changed)
        try:
            load(tmp_path)
        except GcnlabError as error:
            messages.append(str(error))
    assert len(messages) >= 10
    assert all("ind.toy." in message for message in messages)


# -- data roots and the processed form --------------------------------------------------------------------------------


def test_second_time_reads_the_processed_form_alone(toy, truth, count_reads, data_root):
    graphs = [load("toy") for _ in range(3)]
    assert len(count_reads) == 1
    for graph in graphs:
        check_toy(graph, truth)
    assert torch.equal(graphs[0].x.value if hasattr(graphs[0].x, "value") else graphs[0].x, dense(graphs[1].x))
    assert sorted(file.name for file in (data_root / "toy" / "processed").iterdir()) == ["graph.gcnlab"]


def test_changed_raw_file_or_format_is_processed_again(toy, truth, count_reads, data_root, monkeypatch):
    load("toy")
    monkeypatch.setattr(planetoid, "FORMAT_VERSION", planetoid.FORMAT_VERSION + 1)
    load("toy")
    load("toy")
    assert len(count_reads) == 2
    monkeypatch.setattr("gcnlab.data.__version__", "9.9")  # whose readers may read otherwise
    load("toy")
    load("toy")
    assert len(count_reads) == 3
    truth.x[0] = 1
    truth.parts["allx"] = sp.csr_matrix(truth.x[:NUM_ALL])
    monkeypatch.setitem(catalog(), "toy", toy_entry(truth.write(data_root / "toy" / "raw")))
    count_reads.clear()
    check_toy(load("toy"), truth)
    check_toy(load("toy"), truth)
    assert len(count_reads) == 1


def test_damaged_processed_form_is_announced_and_made_again(toy, truth, count_reads, data_root):
    load("toy")
    path = data_root / "toy" / "processed" / "graph.gcnlab"
    content = path.read_bytes()
    for changed in [*damaged(content, random.Random(0), 10, 5), b"", pickle.dumps(Call(os.system, "true"))]:
        path.write_bytes(changed)
        with pytest.warns(UserWarning, match=r"graph.gcnlab: .*; it is made again from the raw files"):
            check_toy(load("toy"), truth)
        assert path.read_bytes() == content


def test_a_processed_form_of_1_0_is_read(toy, truth, count_reads, data_root):
    load("toy")
    path = data_root / "toy" / "processed" / "graph.gcnlab"
    path.write_bytes(as_1_0(*read_arrays(path)))
    content = path.read_bytes()
    check_toy(load("toy"), truth)
    assert path.read_bytes() == content
    assert len(count_reads) == 1


def damaged_arrays(rng, header, arrays, names):
    """A copy of header and arrays with one thing wrong that no reader gives: and what."""
    arrays = {name: array.clone() for name, array in arrays.items()}
    name = rng.choice(names)
    array = arrays[name]
    match rng.randrange(4):
        case 0:
            arrays[name] = array[:-1] if rng.random() < 0.5 else torch.cat([array, array[-1:]])
        case 1:
            arrays[name] = array.to(
                rng.choice([d for d in (torch.int8, torch.complex64, torch.bool) if d != array.dtype])
            )
        case 2 if not array.is_floating_point() or name == "node_attributes":
            array[rng.randrange(len(array))] = (
                float("nan") if array.is_floating_point() else 120 if array.dtype == torch.uint8 else -2
            )
        case 2:
            arrays[name] = array[:, None]
        case _ if name.endswith(".col"):  # permuted or repeated in a row
            rowptr = arrays[name.replace("col", "rowptr")]
            first = int(rowptr[rng.choice((rowptr.diff() >= 2).nonzero().squeeze(1).tolist())])
            array[first : first + 2] = array[first : first + 2].flip(0) if rng.random() < 0.5 else array[first]
        case _:
            del arrays[name]
    return header, arrays, name


def test_processed_forms_with_right_digests_are_looked_at(toy, truth, data_root, trials):
    load("toy")
    path = data_root / "toy" / "processed" / "graph.gcnlab"
    content = path.read_bytes()
    header, arrays = read_arrays(path)
    for trial in range(trials("damages of processed sets with right digests", 40, 400)):
        _, wrong, name = damaged_arrays(random.Random(trial), header, arrays, list(arrays))
        write_arrays(path, header, wrong)
        with pytest.warns(UserWarning, match=r"graph.gcnlab: .*; it is made again from the raw files"):
            check_toy(load("toy"), truth)
        assert path.read_bytes() == content, f"trial {trial}: {name}"
    write_arrays(path, header, {**arrays, "y": torch.where(arrays["y"] == 1, 120, arrays["y"])})
    with pytest.warns(UserWarning, match=rf"y holds -1 to 120, expected -1 to less than {NUM_CLASSES}"):
        check_toy(load("toy"), truth)
    for field in ("num_nodes", "num_features", "name", "num_duplicates"):
        for value in (None, -1, 3.0, [], True):
            write_arrays(path, {**header, field: value}, arrays)
            with pytest.warns(UserWarning, match="it is made again"):
                check_toy(load("toy"), truth)


def test_processed_collections_and_tables_with_right_digests_are_looked_at(trials):
    edges = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 5, 0, 2], [1, 0, 2, 1, 4, 3, 5, 4, 2, 0]])
    adjacency, x = SparseMatrix.from_edges(edges, 6), SparseMatrix.from_dense(torch.ones(6, 3).tril())
    table = node_sets.pack("t", adjacency, x, ["a", "b", "a", None, "b", "a"], 0, [*"uvwxyz"])
    collection = graph_sets.pack(
        "c", *edges.numpy(), np.array([0, 3, 6]), np.array([5, 7]), np.array([1, 2, 1, 1, 2, 9]), np.ones((6, 2))
    )
    ogb_set = {"name": "o", "level": "node", "num_duplicates": 0}, {
        "adjacency.rowptr": adjacency.rowptr, "adjacency.col": adjacency.col, "node_ptr": torch.tensor([0, 6]),
        "y": torch.arange(6) % 2, "x": torch.ones(6, 2),
        **{part: torch.tensor(ids) for part, ids in {"train": [0, 1], "val": [2], "test": [3, 5]}.items()},
    }  # fmt: skip
    for reader, (header, arrays), optional in (
        (node_sets, table, ("y", "x.value", "adjacency.value", "x.col")), (graph_sets, collection, ("node_label", "node_attributes")),
        (ogb, ogb_set, ("x",)),
    ):  # fmt: skip
        reader.check(Path("f"), header, arrays)
        for trial in range(trials("damages of processed sets with right digests", 60, 400)):
            _, wrong, name = damaged_arrays(random.Random(trial), header, arrays, list(arrays))
            if name in (*optional, "train", "val", "test") and (name not in wrong or name in ("train", "val", "test")):
                continue  # a set without it, or with fewer rows in a part, is one, too
            with pytest.raises(CorruptFileError):
                raise AssertionError(
                    f"{reader.__name__}, trial {trial}: {name}, {reader.check(Path('f'), header, wrong)}"
                )
    header, arrays = collection
    for source, target in ((2, 3), (3, 2)):
        crossing = SparseMatrix.from_edges(torch.cat([edges, torch.tensor([[source], [target]])], 1), 6)
        wrong = {**arrays, "adjacency.rowptr": crossing.rowptr, "adjacency.col": crossing.col}
        with pytest.raises(CorruptFileError, match=f"an edge {source} -> {target} leads from one graph into another"):
            graph_sets.check(Path("f"), {**header, "symmetric": False}, wrong)
    with pytest.raises(CorruptFileError, match="have a row twice"):
        ogb.check(Path("f"), ogb_set[0], {**ogb_set[1], "val": torch.tensor([1])})


def test_counts_that_disagree_with_the_manifest_are_refused(toy):
    toy["counts"]["edges"] += 1
    with pytest.raises(DatasetFormatError, match=r"but the manifest states"):
        load("toy")


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write bit")
def test_read_only_roots(toy, truth, data_root, tmp_path, monkeypatch, count_reads):
    for folder in (data_root / "toy" / "raw", data_root / "toy", data_root):
        folder.chmod(0o555)
    try:
        before = sorted(data_root.rglob("*"))
        check_toy(load("toy"), truth)
        check_toy(load("toy"), truth)
        assert len(count_reads) == 2  # nowhere to keep it: read in memory each time
        assert sorted(data_root.rglob("*")) == before
        with pytest.raises(DatasetNotFoundError, match=r"no data root can be written .*set GCNLAB_DATA"):
            load("cora")
        writable = tmp_path / "missing" / "writable"
        monkeypatch.setenv("GCNLAB_DATA", f"{data_root}{os.pathsep}{writable}{os.pathsep}")
        check_toy(load("toy"), truth)
        check_toy(load("toy"), truth)
        assert len(count_reads) == 3
        assert (writable / "toy" / "processed" / "graph.gcnlab").is_file()
        assert sorted(data_root.rglob("*")) == before
        with pytest.raises(
            DatasetNotFoundError, match=rf"Put into {writable / 'cora' / 'raw'} these files: ind.cora.x"
        ):
            load("cora", download=False)
    finally:
        for folder in (data_root, data_root / "toy", data_root / "toy" / "raw"):
            folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write bit")
def test_processed_form_that_cannot_be_kept(toy, truth, data_root):
    (data_root / "toy" / "processed").write_bytes(b"a file where a folder belongs")
    with pytest.warns(UserWarning, match=r"the processed form of toy is not kept"):
        check_toy(load("toy"), truth)


def test_which_root(tmp_path, monkeypatch):
    monkeypatch.setenv("GCNLAB_DATA", os.pathsep.join([str(tmp_path / "a"), "", str(tmp_path / "b")]))
    assert fetching.data_roots() == [tmp_path / "a", tmp_path / "b"]
    assert fetching.data_roots(tmp_path / "c") == [tmp_path / "c"]
    monkeypatch.delenv("GCNLAB_DATA")
    assert fetching.data_roots() == [Path(__file__).resolve().parents[1] / "datasets"]  # a checkout
    monkeypatch.setattr(fetching, "__file__", str(tmp_path / "site-packages" / "gcnlab" / "data" / "fetch.py"))
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert fetching.data_roots() == [tmp_path / "cache" / "gcnlab"]
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert fetching.data_roots() == [Path.home() / ".cache" / "gcnlab"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"root: .*file is a file, expected a folder"):
        load("cora", root=tmp_path / "file")
    monkeypatch.setenv("GCNLAB_DATA", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"GCNLAB_DATA: .*file is a file, expected a folder"):
        load("cora")


CHILD = """
import json, sys, time
import gcnlab.data as data
data.catalog()["toy"] = json.loads(sys.argv[1])
read = data.planetoid.read
def slow_read(folder, name):
    print("read", flush=True)
    result = read(folder, name)
    time.sleep(0.3)
    return result
data.planetoid.read = slow_read
print("ready", flush=True)
for line in sys.stdin:
    print(data.load("toy").num_edges, flush=True)
"""


def start_child(entry):
    arguments = [sys.executable, "-c", CHILD, json.dumps(entry)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [2, 4])
def test_processes_share_one_root(toy, truth, data_root, number, trials):
    rng = random.Random(number)
    num_edges = str(int((truth.adjacency() != 0).sum()))
    children = [start_child(toy) for _ in range(number)]
    for _ in range(trials("several processes on one data root", 2, {2: 40, 4: 20}[number])):
        for child in children:
            time.sleep(rng.uniform(0, 0.4 / number))
            child.stdin.write("\n")
            child.stdin.flush()
        outputs = [[child.stdout.readline().strip()] for child in children]
        for child, said in zip(children, outputs, strict=True):
            if said == ["read"]:
                said.append(child.stdout.readline().strip())
        assert sorted(outputs, key=len) == [*[[num_edges]] * (number - 1), ["read", num_edges]]
        shutil.rmtree(data_root / "toy" / "processed")
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0


KILLS = """
import json, os, random, shutil, signal, sys, time
import pooch, requests
import gcnlab.data as data

root, number, forget = sys.argv[2], int(sys.argv[3]), sys.argv[4]
data.catalog()["toy"] = json.loads(sys.argv[1])
start = time.perf_counter()
expected = repr(data.load("toy"))
took = time.perf_counter() - start
rng = random.Random(0)
unfinished = 0
for trial in range(number):
    shutil.rmtree(os.path.join(root, "toy", forget))
    pid = os.fork()
    if pid == 0:
        data.load("toy")
        os._exit(0)
    time.sleep(rng.uniform(0, 1.3 * took))
    os.kill(pid, signal.SIGKILL)
    unfinished += os.waitpid(pid, 0)[1] != 0
    assert repr(data.load("toy")) == expected
    left = [name for _, _, names in os.walk(root) for name in names if name.endswith("-tmp")]
    assert not left, left
print(unfinished)
"""


def load_under_kills(entry, root, number, forget):
    """Load "toy" again and again without the folder `forget`, killed at any moment; the next load must be right.

    Gives the number of those that the kill met at work.
    """
    arguments = [sys.executable, "-W", "ignore", "-c", KILLS, json.dumps(entry), str(root), str(number), forget]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1500, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_kill_while_processing(toy, data_root, trials):
    load("toy")
    number = trials("kill -9 while processing a data set", 10, 60)
    assert load_under_kills(toy, data_root, number, "processed") > 0


# -- downloads --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch, data_root, truth):
    """Serves the files of "toy"; `server.answer` may replace what it does for a path, `server.asked` lists the GETs."""
    folder = truth.write(tmp_path / "served")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            name = self.path.lstrip("/")
            server.asked.append(name)
            content = (folder / name).read_bytes()
            status, headers, body = server.answer(name, content)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            step = server.step or -(-len(body) // 2)
            for start in range(0, len(body), step or 1):
                self.wfile.write(body[start : start + step])
                time.sleep(server.pause)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked = []
    server.pause, server.step = 0, None  # seconds after each piece; bytes of one, by default half of a file
    server.answer = lambda name, content: (200, {"Content-Length": len(content)}, content)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.folder = folder
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setitem(catalog(), "toy", toy_entry(folder, server.url))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_download(server, truth, data_root, capsys):
    assert set(verify("toy").values()) == {"missing"}
    check_toy(load("toy"), truth)
    check_toy(load("toy"), truth)
    assert sorted(server.asked) == sorted(f"ind.toy.{part}" for part in PARTS)
    assert fetch("toy") == data_root / "toy" / "raw"
    assert sorted(file.name for file in fetch("toy").iterdir()) == sorted(server.asked)
    assert set(verify("toy").values()) == {"ok"}
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")  # no progress bar where there is no terminal
    (data_root / "toy" / "raw" / "ind.toy.graph").unlink()
    server.asked.clear()
    load("toy")
    assert server.asked == ["ind.toy.graph"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda name, content: (404, {}, b"not found"), "404"),
        (lambda name, content: (500, {}, b""), "500"),
        (lambda name, content: (200, {}, b"<!DOCTYPE html><title>Sign in</title>"), "it sent an HTML page of 37 bytes"),
        (lambda name, content: (200, {"Content-Length": len(content)}, content[:-9]), "IncompleteRead|ead"),
        (lambda name, content: (200, {}, content[:-9]), r"it sent a file of \d+ bytes, expected \d+ bytes with sha256"),
        (lambda name, content: (200, {}, content[:-1] + b"\0"), "it sent other bytes of "),
        (lambda name, content: (200, {}, content + b"\0"), "it sent more bytes than the file has"),
        (lambda name, content: (200, {}, b""), "it sent a file of 0 bytes"),
        (lambda name, content: (302, {"Location": "/" + name}, b""), "redirects"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pooch does not close refused responses
def test_failed_download_leaves_nothing(server, truth, data_root, answer, reason):
    right = server.answer
    server.answer = lambda name, content: (answer if name == "ind.toy.tx" else right)(name, content)
    with pytest.raises(DatasetNotFoundError, match=reason) as raised:
        load("toy")
    message = str(raised.value)
    folder = data_root / "toy" / "raw"
    assert f"{server.url}ind.toy.tx" in message
    assert f"Put into {folder} these files: ind.toy.tx, ind.toy.ty, ind.toy.allx" in message
    assert "\n" not in message
    assert sorted(file.name for file in folder.iterdir()) == ["ind.toy.x", "ind.toy.y"]
    server.answer = right
    check_toy(load("toy"), truth)


def test_download_is_off_or_impossible(server, data_root, monkeypatch):
    with pytest.raises(
        DatasetNotFoundError, match=r"toy is not complete on this machine. Put into .*raw these files"
    ) as raised:
        load("toy", download=False)
    names = ", ".join(f"ind.toy.{part}" for part in PARTS)
    assert str(raised.value).endswith(f"these files: {names} (from {server.url.rstrip('/')}).")
    assert server.asked == []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setitem(catalog()["toy"]["files"][0], "url", f"http://127.0.0.1:{port}/x")
    began = time.monotonic()
    with pytest.raises(
        DatasetNotFoundError, match=rf"cannot reach http://127.0.0.1:{port}/x .*Put into .*ind.toy.test.index"
    ):
        load("toy")
    assert time.monotonic() - began < 4
    assert list(data_root.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_kill_while_downloading(server, data_root, trials):
    server.pause = 0.01
    number = trials("kill -9 while downloading", 3, 20)
    assert load_under_kills(catalog()["toy"], data_root, number, "raw") > 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_signed_is_refused(server, data_root, tmp_path, monkeypatch):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for file in catalog()["toy"]["files"]:
        monkeypatch.setitem(file, "url", file["url"].replace("http:", "https:"))
    monkeypatch.setattr(server, "handle_error", lambda *arguments: None)
    with pytest.raises(DatasetNotFoundError, match=r"certificate verify failed.*Put into"):
        load("toy")
    assert server.asked == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))  # which shows that the rest works
    load("toy")
    assert len(server.asked) == len(PARTS)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_missing_are_named(server, monkeypatch, tmp_path, variable, capfd):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    for file in catalog()["toy"]["files"]:
        monkeypatch.setitem(file, "url", file["url"].replace("http:", "https:"))
    began = time.monotonic()
    with pytest.raises(DatasetNotFoundError, match=rf"invalid path: .*ca.pem; {variable} is .*ca.pem\)\. Put into"):
        load("toy")
    assert time.monotonic() - began < 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [UnicodeError("label too long"), ValueError(), RuntimeError("no proxy")], ids=repr)
def test_whatever_keeps_a_connection_from_being_made_is_told(server, monkeypatch, error, capfd):
    def head(*arguments, **options):
        raise error

    monkeypatch.setattr("requests.head", head)
    with pytest.raises(DatasetNotFoundError, match=f"cannot reach .* \\({error or 'ValueError'}"):
        load("toy")
    assert capfd.readouterr() == ("", "")


def test_a_server_that_sends_a_few_bytes_at_a_time_is_left(server, data_root, monkeypatch):
    """Each byte comes in time, so that no timeout of a connection ends it."""
    monkeypatch.setattr(fetching, "_STALL_SECONDS", 1.0)
    size = max(len(file.read_bytes()) for file in server.folder.iterdir())
    server.step, server.pause = -(-size // 40), 0.1  # some bytes ten times a second; the largest file takes 4 s
    began = time.monotonic()
    with pytest.raises(
        DatasetNotFoundError, match=r"did not give .* \(it sent less than 64 KiB in 1 s\); nothing of it"
    ):
        load("toy")
    assert time.monotonic() - began < 8
    assert [file.name for file in (data_root / "toy").rglob("*") if file.is_file()] == [".lock"]
    server.step, server.pause = None, 0.0
    load("toy")  # nobody holds the lock


def test_a_server_of_the_lowest_rate_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(fetching, "_STALL_SECONDS", 0.5)
    monkeypatch.setattr(fetching, "_CHUNK", 100)
    server.answer = lambda name, content: (200, {"Content-Length": len(content)}, content)
    size = max(len(file.read_bytes()) for file in server.folder.iterdir())
    server.step, server.pause = size // 4, 0.2  # a file takes longer than the limit, and each chunk less
    load("toy")


@pytest.mark.parametrize("variable", ["HOME", "GCNLAB_DATA"])
def test_a_user_without_a_home_folder(monkeypatch, variable):
    def unknown(*arguments):
        raise KeyError("getpwuid(): uid not found: 12345")

    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "GCNLAB_DATA"):
        monkeypatch.delenv(name, raising=False)
    load("karate")  # which needs none
    if variable == "HOME":
        monkeypatch.setattr(fetching, "__file__", "/an/install/gcnlab/data/fetch.py")
    else:
        monkeypatch.setenv("GCNLAB_DATA", "~/data")
    for call in (load, verify, fetch):
        with pytest.raises(InputError, match=r"~/\S+: this user has no home folder, .* and set GCNLAB_DATA"):
            call("cora")
    with pytest.raises(InputError, match=r"~other/graph: this user has no home folder"):
        load("~other/graph")


def test_connection_gives_up_in_time(server, monkeypatch):
    assert fetching._CONNECT_SECONDS <= 4.5
    monkeypatch.setattr(fetching, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as silent:  # accepts and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with monkeypatch.context() as patch:
            patch.setitem(catalog()["toy"]["files"][0], "url", f"http://127.0.0.1:{silent.getsockname()[1]}/")
            began = time.monotonic()
            with pytest.raises(DatasetNotFoundError, match=r"cannot reach"):
                load("toy")
            assert time.monotonic() - began < 2
    release = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def hanging(*arguments, **options):  # a name server that never answers
        release.wait(30)
        return getaddrinfo(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    began = time.monotonic()
    with pytest.raises(DatasetNotFoundError, match=r"no answer within"):
        load("toy")
    assert time.monotonic() - began < 2
    release.set()


def test_a_file_of_another_root_is_enough(server, truth, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("GCNLAB_DATA", f"{data_root}{os.pathsep}{tmp_path / 'second'}")
    truth.write(tmp_path / "second" / "toy" / "raw")
    (data_root / "toy" / "raw").mkdir(parents=True)
    (data_root / "toy" / "raw" / "ind.toy.x").write_bytes(b"half of a set, which is not used")
    check_toy(load("toy"), truth)
    assert server.asked == []


# -- the real files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def real_root(tmp_path, monkeypatch):
    """The roots of GCNLAB_DATA, and before them an empty one, so that nothing is written to them."""
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path}{os.pathsep}{os.environ.get('GCNLAB_DATA', '')}")


def load_real(name, **options):
    try:
        return load(name, download=False, **options)
    except DatasetNotFoundError:
        pytest.skip(f"{name} is not in GCNLAB_DATA")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts", "unlabelled", "self_loops"),
    [
        ("cora", (2708, 5278, 1433, 7, 140, 500, 1000), 0, 0),
        ("citeseer", (3327, 4552, 3703, 6, 120, 500, 1000), 15, 124),
        ("pubmed", (19717, 44324, 500, 3, 60, 500, 1000), 0, 3),
    ],
)
def test_real_sets(real_root, name, counts, unlabelled, self_loops):
    first, graph = load_real(name), load_real(name)
    for loaded in (first, graph):
        row, col = loaded.adjacency.row, loaded.adjacency.col
        assert int((row == col).sum()) == self_loops
        assert bool((loaded.adjacency.value == 1).all())
        masks = [int(mask.sum()) for mask in (loaded.train_mask, loaded.val_mask, loaded.test_mask)]
        found = (loaded.num_nodes, int((row < col).sum()), loaded.num_features, loaded.num_classes, *masks)
        assert found == counts
        assert int((loaded.y < 0).sum()) == unlabelled
    assert set(verify(name).values()) == {"ok"}
    random_split, full = load_real(name, split="random", seed=3), load_real(name, split="full")
    assert random_split.y[random_split.train_mask].bincount().tolist() == [20] * counts[3]
    assert int(full.train_mask.sum()) == counts[0] - unlabelled - 1500
    began = time.perf_counter()
    load_real(name)
    assert time.perf_counter() - began < 0.5  # measured: 0.002 s for Cora, 0.02 s for Pubmed


@pytest.mark.data
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_real_sets_are_those_of_pyg(real_root, name):
    graph = load_real(name)
    pytest.importorskip("torch_geometric")
    from torch_geometric.io import read_planetoid_data

    data = read_planetoid_data(str(fetch(name)), name)
    row, col = graph.adjacency.row, graph.adjacency.col
    keep = row != col  # PyG drops self-loops
    ours = torch.stack([col, row])[:, keep].long()
    assert torch.equal(ours, data.edge_index)
    assert torch.equal(dense(graph.x), data.x.to_dense() if data.x.is_sparse else data.x)
    labelled = graph.y >= 0  # PyG gives CiteSeer's 15 absent nodes class 0
    assert torch.equal(graph.y[labelled], data.y[labelled])
    for mask in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(graph, mask), getattr(data, mask))
