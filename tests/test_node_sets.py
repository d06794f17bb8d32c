"""The node sets added by name after 1.0, and the readers of their forms: npz with a split file, heterophilous, Matlab, lists."""

import hashlib
import io
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
import torch

from gcnlab.cli import main
from gcnlab.data import catalog, edge_lists, fetch, heterophilous, load, npz, verify
from gcnlab.doctor import diagnose
from gcnlab.errors import (
    ChecksumError,
    CorruptFileError,
    DatasetFormatError,
    DatasetNotFoundError,
    GcnlabError,
    InputError,
)

MASKS = ("train_mask", "val_mask", "test_mask")


def dense(matrix):
    return matrix.to_dense() if hasattr(matrix, "to_dense") else matrix


# -- npz: edges that stand in one direction, and a split file ---------------------------------------------------------


def csr_parts(a, x, labels):
    a, x = sp.csr_matrix(np.asarray(a, np.float32)), sp.csr_matrix(np.asarray(x, np.float32))
    parts = {"labels": np.asarray(labels)}
    for prefix, matrix in (("adj", a), ("attr", x)):
        parts |= {f"{prefix}_data": matrix.data, f"{prefix}_indices": matrix.indices, f"{prefix}_indptr": matrix.indptr}
        parts[f"{prefix}_shape"] = np.array(matrix.shape)
    return parts


ONE_WAY = np.array([[0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], np.float32)


def test_edges_in_one_direction_count_for_both(tmp_path):
    np.savez(tmp_path / "g.npz", **csr_parts(ONE_WAY, np.eye(5), [0, 1, 0, 1, -1]))
    header, arrays = npz.read(tmp_path / "g.npz", "g", undirected=True)
    graph = npz.to_graph(header, arrays)
    expected = np.maximum(ONE_WAY, ONE_WAY.T)
    assert np.array_equal(graph.adjacency.to_dense().numpy(), expected)
    assert npz.counts(header, arrays) == {"nodes": 5, "edges": 4, "self_loops": 1, "features": 5, "classes": 2}
    assert graph.num_duplicates == 0  # both directions of an edge are no repetition
    assert np.array_equal(load(tmp_path / "g.npz").adjacency.to_dense().numpy(), ONE_WAY)  # one's own: as it stands
    two_weights = np.where(ONE_WAY > 0, 2, 0) - np.triu(ONE_WAY)
    np.savez(tmp_path / "g.npz", **csr_parts(two_weights, np.eye(5), [0, 1, 0, 1, -1]))
    with pytest.raises(
        DatasetFormatError, match=r"adj_data': the edge \d, \d has another weight in the other direction"
    ):
        npz.read(tmp_path / "g.npz", "g", undirected=True)


@pytest.fixture
def split_set(data_root, monkeypatch, tmp_path):
    """A named set "toy" with a published split, whose files lie in the data root; its entry in the catalog."""
    folder = data_root / "toy" / "raw"
    folder.mkdir(parents=True)
    labels = np.arange(20) % 3
    np.savez(folder / "toy.npz", **csr_parts(np.eye(20, k=1), np.eye(20), labels))
    np.savez(folder / "toy_split.npz", train=np.arange(0, 12), valid=np.array([13, 12]), test=np.arange(15, 19))
    files = [stated(folder / name) for name in ("toy.npz", "toy_split.npz")]
    entry = {
        **catalog()["amazon-photo"],
        "files": files[:1], "path": "toy.npz", "split_files": {"tunedgnn": files[1]},
        "counts": {"nodes": 20, "edges": 19, "self_loops": 0, "features": 20, "classes": 3},
    }  # fmt: skip
    monkeypatch.setitem(catalog(), "toy", entry)
    return entry


def stated(path, url="https://127.0.0.1/"):
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": path.name, "url": url + path.name, "sha256": digest, "size": len(content)}


def test_a_published_split(split_set, data_root):
    graph = load("toy", split="tunedgnn")
    parts = [mask.nonzero()[:, 0].tolist() for mask in (graph.train_mask, graph.val_mask, graph.test_mask)]
    assert parts == [list(range(12)), [12, 13], list(range(15, 19))]
    assert torch.equal(load("toy", split=None).adjacency.to_dense(), graph.adjacency.to_dense())
    assert load("toy", split=None).train_mask is None
    drawn = load("toy", seed=3)
    assert [int(getattr(drawn, mask).sum()) for mask in MASKS] == [12, 4, 4]
    assert torch.equal(drawn.train_mask, load("toy", split="random", seed=3).train_mask)
    assert verify("toy") == {"toy.npz": "ok", "toy_split.npz": "ok"}
    with pytest.raises(InputError, match=r'split: got \'luo\', expected "random", "tunedgnn" or None'):
        load("toy", split="luo")
    with pytest.raises(InputError, match=r"split: got \['tunedgnn'\]"):
        load("toy", split=["tunedgnn"])
    path = data_root / "toy" / "raw" / "toy_split.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert verify("toy")["toy_split.npz"] == "wrong sha256"
    with pytest.raises(ChecksumError, match=r"toy_split.npz"):
        load("toy", split="tunedgnn")
    load("toy")  # which does not need it
    path.unlink()
    assert verify("toy") == {"toy.npz": "ok"}
    load("toy")
    with pytest.raises(DatasetNotFoundError, match=r"Put into .*raw these files: toy_split.npz \(from https://127"):
        load("toy", split="tunedgnn", download=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train", np.array([0, 20]), r"key 'train': node at 1 is not within 0\.\.19 \(found 20\)"),
        ("valid", np.array([-1]), r"key 'valid': node at 0 is not within 0\.\.19 \(found -1\)"),
        ("valid", np.array([12, 13, 12]), r"key 'valid': node at 2 stands in this list or in another already \(found 12\)"),
        ("test", np.array([15, 11]), r"key 'test': node at 1 stands in this list or in another already \(found 11\)"),
        ("test", np.array([], np.int64), "key 'test': it names no node"),
        ("test", np.array([1.0]), "key 'test': expected a vector of numbers"),
        ("test", np.array([[15]]), "key 'test': expected a vector of numbers"),
        ("test", None, r"test\.npy: this file is missing"),
    ],
)  # fmt: skip
def test_malformed_split_files(tmp_path, key, value, message):
    parts = {"train": np.arange(12), "valid": np.array([12, 13]), "test": np.arange(15, 19)} | {key: value}
    np.savez(tmp_path / "split.npz", **{name: part for name, part in parts.items() if part is not None})
    with pytest.raises(DatasetFormatError, match=message):
        npz.read_split(tmp_path / "split.npz", 20)


# -- sets that share a folder -----------------------------------------------------------------------------------------


@pytest.fixture
def two_lists(data_root, monkeypatch):
    """Named sets "east" and "west" in the shared folder `lists`."""
    folder = data_root / "lists" / "raw"
    folder.mkdir(parents=True)
    for name, edges, labels in (("east", "7 3\n3 3\n10 7\n", "3 1\n7 0\n10 1\n"), ("west", "0 1\n", "0 4\n1 2\n")):
        (folder / f"{name}.edgelist").write_text(edges)
        (folder / f"labels-{name}.txt").write_text("node label\n" + labels)
        files = [stated(folder / file) for file in (f"{name}.edgelist", f"labels-{name}.txt")]
        counts = edge_lists.counts(*edge_lists.read(folder / f"{name}.edgelist", name))
        entry = {**catalog()["europe-airports"], "home": "lists", "files": files, "path": f"{name}.edgelist"}
        monkeypatch.setitem(catalog(), name, {**entry, "counts": counts})
    return folder


def test_sets_share_a_folder_of_raw_files(two_lists, data_root, tmp_path, monkeypatch):
    east, west = load("east"), load("west")
    assert east.node_names == ("3", "7", "10")
    assert east.adjacency.to_dense().tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert [east.class_names[label] for label in east.y] == ["1", "0", "1"]
    assert (west.num_nodes, west.class_names, west.x) == (2, ("2", "4"), None)
    for name in ("east", "west"):
        assert fetch(name) == two_lists
        assert set(verify(name).values()) == {"ok"}
        assert (data_root / name / "processed" / "graph.gcnlab").is_file()
    assert sorted(path.name for path in (data_root / "lists").iterdir()) == ["raw"]
    (two_lists / "west.edgelist").unlink()
    assert set(verify("east").values()) == {"ok"}
    assert verify("west") == {"west.edgelist": "missing", "labels-west.txt": "ok"}
    with pytest.raises(DatasetNotFoundError, match=rf"Put into {two_lists} these files: west.edgelist"):
        load("west", download=False)
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path / 'first'}{os.pathsep}{data_root}")
    assert load("east").num_nodes == 3
    (data_root / "east" / "processed" / "graph.gcnlab").unlink()
    assert load("east").num_nodes == 3
    assert (tmp_path / "first" / "east" / "processed" / "graph.gcnlab").is_file()


def test_shared_folders_on_the_command_line_and_in_the_doctor(two_lists, capsys):
    main(["data", "list"])
    states = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " here " in states["east"]
    assert " here " in states["west"]
    main(["data", "verify", "east"])
    assert "east/labels-east.txt: ok" in capsys.readouterr().out
    assert diagnose()["checks"]["data"]["roots"][0]["sets"] == {"east": {}, "west": {}}


# -- heterophilous ----------------------------------------------------------------------------------------------------

NUM_NODES, NUM_SPLITS = 11, 3


def heterophilous_parts():
    rng = np.random.default_rng(2)
    part = np.stack([rng.permutation([0] * 5 + [1] * 3 + [2] * 2 + [3]) for _ in range(NUM_SPLITS)])
    masks = {f"{key}_masks": part == number for number, key in enumerate(("train", "val", "test"))}
    edges = np.array([[0, 1], [1, 2], [5, 5], [7, 3], [9, 10]])
    features = (rng.random((NUM_NODES, 7)) < 0.5).astype(np.float32)
    return {"node_features": features, "node_labels": rng.integers(0, 3, NUM_NODES), "edges": edges, **masks}


def write_npz(path, parts):
    np.savez(path, **{key: part for key, part in parts.items() if part is not None})
    return path


def test_heterophilous_arrays(tmp_path):
    parts = heterophilous_parts()
    parts["edges"] = np.concatenate([parts["edges"], [[2, 1]]])
    path = write_npz(tmp_path / "mine.npz", parts)
    header, arrays = heterophilous.read(path, "mine")
    heterophilous.check(path, header, arrays)
    expected = np.zeros((NUM_NODES, NUM_NODES))
    for i, j in parts["edges"]:
        expected[i, j] = expected[j, i] = 1
    for split in ("random", None):
        graph = load(path, split=split)
        assert np.array_equal(graph.adjacency.to_dense().numpy(), expected)
        assert np.array_equal(dense(graph.x).numpy(), parts["node_features"])
        assert graph.y.tolist() == parts["node_labels"].tolist()
        assert (graph.train_mask is None) == (split is None)
        assert graph.num_duplicates == 1
    graph = load(path)
    assert graph.num_splits == NUM_SPLITS
    for key in MASKS:
        assert np.array_equal(getattr(graph, key).numpy(), parts[f"{key}s"].T)
        assert np.array_equal(getattr(graph.with_split(1), key).numpy(), parts[f"{key}s"][1])
    found = heterophilous.counts(header, arrays)
    assert found == {"nodes": 11, "edges": 4, "self_loops": 1, "features": 7, "classes": 3, "splits": 3}
    with pytest.raises(InputError, match=r'split: got \'public\', expected "auto", "given", "random" or None'):
        load(path, split="public")


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("node_features", lambda a: a[:-1], "node_features': it has 10 rows, but there are 11 labels"),
        ("node_features", lambda a: a[:, 0], "node_features': expected numbers in 2 axes"),
        ("node_features", lambda a: np.where(a == a.max(), np.nan, a), "rows have NaN or infinite values, the first is"),
        ("node_features", lambda a: a.astype(float) + 1e300, "11 rows have NaN or infinite values, the first is 0"),
        ("node_features", lambda a: a.astype(object), "node_features': expected numbers in 2 axes .*object"),
        ("node_labels", lambda a: a - 3, "node_labels': a label is at least 0, or -1 for none"),
        ("node_labels", lambda a: a.astype(float), "node_labels': expected a vector of numbers"),
        ("node_labels", lambda a: a.astype(object), "node_labels': expected a vector of numbers"),
        ("edges", lambda a: a.T, r"edges': an edge has two ends \(found '\(2, 5\)'\)"),
        ("edges", lambda a: np.where(a == 10, 11, a), r"edges': edge 4 has an end that is not within 0\.\.10 \(found \[9, 11\]"),
        ("edges", lambda a: a - 1, r"edges': edge 0 has an end that is not within 0\.\.10 \(found \[-1, 0\]"),
        ("edges", lambda a: a.astype(np.float32), "edges': expected numbers in 2 axes"),
        ("train_masks", lambda a: a[:, :-1], r"train_masks': expected bool \[3, 11\], a row per split \(found '\(3, 10\)'"),
        ("val_masks", lambda a: a[:2], r"val_masks': expected bool \[3, 11\], a row per split \(found '\(2, 11\)'"),
        ("test_masks", lambda a: a.astype(np.int64), "test_masks': expected numbers in 2 axes"),
        ("test_masks", lambda a: a | (np.arange(3) == 1)[:, None], r"split 1 has node \d+ in two parts"),
        ("train_masks", lambda a: a.astype(object), "train_masks': expected numbers in 2 axes"),
        ("val_masks", lambda a: None, r"val_masks\.npy: this file is missing"),
        ("edges", lambda a: None, r"edges\.npy: this file is missing"),
    ],
)  # fmt: skip
def test_malformed_heterophilous_arrays(tmp_path, key, change, message):
    parts = heterophilous_parts()
    parts[key] = change(parts[key])
    with pytest.raises(DatasetFormatError, match=message) as raised:
        load(write_npz(tmp_path / "mine.npz", parts))
    assert "mine.npz" in str(raised.value)


def test_no_split_at_all_is_refused(tmp_path):
    parts = {key: part[:0] if key.endswith("masks") else part for key, part in heterophilous_parts().items()}
    with pytest.raises(DatasetFormatError, match=r"train_masks': expected bool \[S, 11\]"):
        load(write_npz(tmp_path / "mine.npz", parts))


def test_processed_masks_are_looked_at(tmp_path):
    header, arrays = heterophilous.read(write_npz(tmp_path / "mine.npz", heterophilous_parts()), "mine")
    for change, message in (
        ({"val_mask": arrays["train_mask"]}, "overlap in split 0"),
        ({"val_mask": arrays["val_mask"][:, :2]}, "val_mask: got 2 splits, but train_mask has 3"),
        ({"val_mask": arrays["val_mask"][:10]}, r"val_mask: .*10"),
        ({"test_mask": arrays["test_mask"].to(torch.int64) + 1}, "test_mask"),
    ):
        with pytest.raises(CorruptFileError, match=message):
            heterophilous.check(Path("f"), header, {**arrays, **change})


# -- Matlab -----------------------------------------------------------------------------------------------------------

INFO = np.array(  # status, gender, major, second major, dorm, year, high school
    [
        [1, 2, 50, 0, 7, 2005, 9],
        [2, 1, 60, 0, 7, 2006, 9],
        [1, 0, 50, 3, 0, 2005, 8],
        [1, 1, 0, 0, 7, 2005, 9],
    ],
    np.uint16,
)
FRIENDS = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], float)


def test_matlab_files(tmp_path):
    path = tmp_path / "School of Life.mat"
    scipy.io.savemat(path, {"A": sp.csc_matrix(FRIENDS), "local_info": INFO, "more": "text"}, do_compression=True)
    graph = load(path, split=None)
    assert graph.name == "School of Life"
    assert np.array_equal(graph.adjacency.to_dense().numpy(), FRIENDS)
    assert graph.y.tolist() == [1, 0, -1, 0]
    assert graph.class_names == ("1", "2")
    # status 1 2 | major 0 50 60 | second major 0 3 | dorm 0 7 | year 2005 2006 | high school 8 9
    expected = [
        [1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1],
        [0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1],
        [1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0],
        [1, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1],
    ]
    assert dense(graph.x).tolist() == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"A": FRIENDS}, "key 'A': expected a sparse square matrix of numbers"),
        ({"A": sp.csc_matrix(FRIENDS[:, :3])}, r"key 'A': expected a sparse square matrix of numbers \(found \(4, 3\)"),
        ({"A": sp.csc_matrix(np.triu(FRIENDS))}, "key 'A': an edge must stand in both directions"),
        ({"A": sp.csc_matrix(FRIENDS * 1j)}, "key 'A': expected a sparse square matrix of numbers"),
        ({"A": None}, "key 'A': this variable is missing; .*Graph.from_scipy takes"),
        ({"local_info": None}, "key 'local_info': this variable is missing"),
        ({"local_info": INFO[:3]}, r"key 'local_info': expected numbers \[4, 7\], a row per node \(found \(3, 7\)"),
        ({"local_info": INFO[:, :6]}, r"key 'local_info': expected numbers \[4, 7\]"),
        ({"local_info": INFO - 1.5}, "key 'local_info': row 0 holds something else than integers of at least 0"),
        ({"local_info": np.where(INFO == 60, np.nan, INFO)}, "key 'local_info': row 1 holds something else than integers"),
        ({"local_info": INFO.astype(object)}, r"key 'local_info': expected numbers \[4, 7\]"),
        ({"local_info": {"a": INFO}}, r"key 'local_info': expected numbers \[4, 7\]"),
    ],
)  # fmt: skip
def test_malformed_matlab_files(tmp_path, variables, message):
    content = {"A": sp.csc_matrix(FRIENDS), "local_info": INFO} | variables
    path = tmp_path / "mine.mat"
    scipy.io.savemat(path, {key: value for key, value in content.items() if value is not None})
    with pytest.raises(DatasetFormatError, match=message):
        load(path)


def test_damaged_matlab_files_are_read_or_refused(tmp_path, trials):
    path = tmp_path / "mine.mat"
    rng, messages = random.Random(0), []
    for is_packed in (False, True):
        scipy.io.savemat(path, {"A": sp.csc_matrix(FRIENDS), "local_info": INFO}, do_compression=is_packed)
        content = path.read_bytes()
        for _ in range(trials("damaged Matlab files", 150, 2_000)):
            at = rng.randrange(len(content))
            cut = rng.randrange(len(content)) if rng.random() < 0.2 else len(content)
            path.write_bytes((content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])[:cut])
            try:
                load(path)
            except GcnlabError as error:
                messages.append(str(error))
    assert len(messages) > 50
    assert all("mine.mat" in message for message in messages)
    for wrong in (b"", b"<!DOCTYPE html>", b"MATLAB 7.3 MAT-file" + bytes(500)):
        path.write_bytes(wrong)
        with pytest.raises(DatasetFormatError, match=r"mine.mat: not a Matlab file of version 5 to 7; Matlab's save"):
            load(path)


# -- edge lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "labels", "file", "message"),
    [
        ("1 2\n2 9\n", "node label\n1 0\n2 0\n", "g.edgelist", r"line 2: an end of this edge has no line in labels-g.txt"),
        ("1 2\n2\n", "node label\n1 0\n2 0\n", "g.edgelist", "line 2: expected 2 on this line, but there are 1"),
        ("1 2\n2 x\n", "node label\n1 0\n2 0\n", "g.edgelist", r"line 2: expected an integer \(found 'x'\)"),
        ("1 2\n", "node label\n1 0\n2 0\n1 1\n", "labels-g.txt", r"line 4: this node has a label already \(found 1\)"),
        ("1 2\n", "node label\n1 0\n2 -1\n", "labels-g.txt", "line 3: a node and its label are integers of at least 0"),
        ("1 2\n", "node label\n1 0\n2 0 0\n", "labels-g.txt", "line 3: expected 2 on this line, but there are 3"),
        ("1 2\n", "node label\n1 0\n2 b\n", "labels-g.txt", r"line 3: expected an integer \(found 'b'\)"),
        ("1 2\n", "1 0\n2 0\n", "labels-g.txt", r"line 1: expected the column names node label \(found '1 0'\)"),
        ("1 2\n", "", "labels-g.txt", "line 1: expected the column names node label"),
        ("1 2\n", "node label\n", "g.edgelist", "line 1: an end of this edge has no line in labels-g.txt"),
        ("1 2\n", None, "labels-g.txt", "this file is missing"),
        (None, "node label\n1 0\n", "g.edgelist", "this file is missing"),
    ],
)  # fmt: skip
def test_malformed_edge_lists(tmp_path, edges, labels, file, message):
    for name, content in (("g.edgelist", edges), ("labels-g.txt", labels)):
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(DatasetFormatError, match=message) as raised:
        edge_lists.read(tmp_path / "g.edgelist", "g")
    assert Path(raised.value.file).name == file


def test_pickled_arrays_are_never_opened(tmp_path):
    marker = tmp_path / "marker"

    class Call:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    payload = np.array([Call()], dtype=object)
    for parts, key in ((heterophilous_parts(), "node_features"), (csr_parts(ONE_WAY, np.eye(5), [0] * 5), "labels")):
        path = write_npz(tmp_path / "mine.npz", parts | {key: payload})
        with pytest.raises(DatasetFormatError, match=f"key '{key}': expected"):
            load(path)
    path = write_npz(tmp_path / "split.npz", {"train": payload, "valid": np.array([1]), "test": np.array([2])})
    with pytest.raises(DatasetFormatError, match="key 'train': expected a vector of numbers"):
        npz.read_split(path, 5)
    assert not marker.exists()
    with zipfile.ZipFile(path) as archive:  # which shows that the payload would act
        np.load(io.BytesIO(archive.read("train.npy")), allow_pickle=True)
    assert marker.exists()


def test_damaged_heterophilous_arrays_are_read_or_refused(tmp_path, trials):
    """Changed bytes within the arrays, so that the checksums of the archive do not find them."""
    rng, messages = random.Random(1), []
    path = write_npz(tmp_path / "mine.npz", heterophilous_parts())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(trials("damaged heterophilous arrays", 200, 2_000)):
        name = rng.choice(list(members))
        content = members[name]
        at = rng.randrange(len(content))
        with zipfile.ZipFile(path, "w") as archive:
            for other, kept in members.items():
                damaged = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
                archive.writestr(other, damaged if other == name else kept)
        try:
            load(path, split="random")
        except GcnlabError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all("mine.npz" in message for message in messages)


# -- the real files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_root(tmp_path_factory):
    """The roots of GCNLAB_DATA, and before them an empty one, so that nothing is written to them."""
    return f"{tmp_path_factory.mktemp('processed')}{os.pathsep}{os.environ.get('GCNLAB_DATA', '')}"


def load_real(real_root, monkeypatch, name, **options):
    monkeypatch.setenv("GCNLAB_DATA", real_root)
    return load(name, download=False, **options)


def homophily(graph):
    """The share of edges between two nodes of one class, of the edges between nodes with a label; without self-loops."""
    row, col = graph.adjacency.row.numpy(), graph.adjacency.col.numpy()
    y = graph.y.numpy()
    counted = (row < col) & (y[row] >= 0) & (y[col] >= 0)
    return float((y[row] == y[col])[counted].mean())


REAL = [  # name, nodes, edges, loops, features, labels per class, without a label, homophily
    ("amazon-photo", 7650, 119081, 1, 745, [369, 1686, 703, 915, 882, 823, 1941, 331], 0, 0.8272),
    ("amazon-computers", 13752, 245861, 0, 767, [436, 2142, 1414, 542, 5158, 308, 487, 818, 2156, 291], 0, 0.7772),
    ("coauthor-cs", 18333, 81894, 0, 6805, [708, 462, 2050, 429, 1394, 2193, 371, 924, 775, 118, 1444, 2033, 420, 4136, 876], 0, 0.8081),
    ("chameleon-filtered", 890, 8854, 0, 2325, [242, 134, 209, 164, 141], 0, 0.2361),
    ("chameleon", 2277, 31371, 0, 2325, [456, 460, 453, 521, 387], 0, 0.2299),
    ("actor", 7600, 26659, 0, 932, [853, 1337, 1630, 1815, 1965], 0, 0.2167),
    ("texas", 183, 279, 0, 1703, [33, 1, 18, 101, 30], 0, 0.0609),
    ("cornell", 183, 277, 0, 1703, [38, 16, 30, 82, 17], 0, 0.1227),
    ("minesweeper", 10000, 39402, 0, 7, [8000, 2000], 0, 0.6828),
    ("amherst41", 2235, 90954, 0, 1193, [1015, 1017], 203, 0.5306),
    ("johns-hopkins55", 5180, 186586, 0, 2406, [2153, 2609], 418, 0.5488),
    ("reed98", 962, 18812, 0, 745, [504, 361], 97, 0.5216),
    ("europe-airports", 399, 5993, 2, 0, [99, 99, 99, 102], 0, 0.4046),
    ("brazil-airports", 131, 1003, 71, 0, [32, 32, 32, 35], 0, 0.4307),
]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(("name", "nodes", "edges", "loops", "features", "labels", "unlabelled", "share"), REAL)
def test_real_node_sets(real_root, monkeypatch, name, nodes, edges, loops, features, labels, unlabelled, share):
    for _ in range(2):  # from the raw files, and from the processed form
        graph = load_real(real_root, monkeypatch, name, split="random", seed=5)
        row, col = graph.adjacency.row, graph.adjacency.col
        assert (graph.num_nodes, int((row < col).sum()), int((row > col).sum())) == (nodes, edges, edges)
        assert int((row == col).sum()) == loops
        assert bool((graph.adjacency.value == 1).all())
        assert graph.adjacency.is_symmetric()
        assert graph.num_features == features
        assert graph.y[graph.y >= 0].bincount().tolist() == labels
        assert int((graph.y < 0).sum()) == unlabelled
        assert homophily(graph) == pytest.approx(share, abs=5e-5)
        num_known = nodes - unlabelled
        sizes = [int(getattr(graph, mask).sum()) for mask in MASKS]
        assert sizes == [
            round(0.6 * num_known), round(0.2 * num_known), num_known - round(0.6 * num_known) - round(0.2 * num_known),
        ]  # fmt: skip
    assert set(verify(name).values()) == {"ok"}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "first", "sizes"),  # the first edges, by their two ends; nodes of train, val and test in each split
    [
        ("chameleon-filtered", [(0, 12), (0, 127), (0, 323)], None),
        ("chameleon", [(0, 1161), (0, 1667), (0, 1991)], (1092, 729, 456)),
        ("actor", [(0, 812), (0, 2051), (0, 6341)], (3648, 2432, 1520)),
        ("texas", [(0, 58), (0, 121), (1, 80)], (87, 59, 37)),
        ("cornell", [(0, 101), (0, 122), (1, 27)], (87, 59, 37)),
        ("minesweeper", [(0, 1), (0, 100), (0, 101)], (5000, 2500, 2500)),
    ],
)  # fmt: skip
def test_real_given_splits(real_root, monkeypatch, name, first, sizes):
    graph = load_real(real_root, monkeypatch, name)
    assert graph.num_splits == catalog()[name]["counts"]["splits"] == 10
    raw = np.load(fetch(name) / catalog()[name]["path"])
    for key in MASKS:
        assert np.array_equal(getattr(graph, key).numpy(), raw[f"{key}s"].T)
        if sizes is not None:
            assert set(getattr(graph, key).sum(0).tolist()) == {sizes[MASKS.index(key)]}
    assert bool((sum(getattr(graph, key).int() for key in MASKS) == 1).all())  # each node in one part of each split
    row, col = graph.adjacency.row, graph.adjacency.col
    assert list(zip(row[row < col].tolist(), col[row < col].tolist(), strict=True))[:3] == first
    assert np.array_equal(dense(graph.x).numpy(), raw["node_features"])
    if name == "chameleon-filtered":
        assert graph.train_mask.sum(0).tolist() == [409, 427, 422, 412, 440, 434, 418, 421, 431, 426]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("amazon-photo", (4590, 1530, 1530)),
        ("amazon-computers", (8251, 2750, 2751)),
        ("coauthor-cs", (10999, 3666, 3668)),
    ],
)  # fmt: skip
def test_real_published_splits(real_root, monkeypatch, name, sizes):
    graph = load_real(real_root, monkeypatch, name, split="tunedgnn")
    assert tuple(int(getattr(graph, key).sum()) for key in MASKS) == sizes
    assert sum(sizes) == graph.num_nodes
    raw = np.load(fetch(name) / "tunedgnn_split.npz")
    for key, part in zip(MASKS, ("train", "valid", "test"), strict=True):
        assert getattr(graph, key).nonzero()[:, 0].tolist() == sorted(raw[part].tolist())
    matrix = np.load(fetch(name) / catalog()[name]["path"])
    a = sp.csr_matrix((matrix["adj_data"], matrix["adj_indices"], matrix["adj_indptr"]), matrix["adj_shape"])
    assert (abs(graph.adjacency.to_scipy() - a.maximum(a.T))).nnz == 0
    x = sp.csr_matrix((matrix["attr_data"], matrix["attr_indices"], matrix["attr_indptr"]), matrix["attr_shape"])
    assert np.array_equal(dense(graph.x).sum(1).numpy(), np.asarray(x.sum(1))[:, 0])


@pytest.mark.data
@pytest.mark.parametrize("name", ["amherst41", "johns-hopkins55", "reed98"])
def test_real_matlab_files_are_what_scipy_reads(real_root, monkeypatch, name):
    graph = load_real(real_root, monkeypatch, name)
    content = scipy.io.loadmat(fetch(name) / catalog()[name]["path"])
    assert abs(graph.adjacency.to_scipy() - content["A"]).nnz == 0
    info = content["local_info"].astype(int)
    assert graph.y.tolist() == (info[:, 1] - 1).tolist()
    columns = [np.unique(info[:, i]) == info[:, i : i + 1] for i in (0, 2, 3, 4, 5, 6)]
    assert np.array_equal(dense(graph.x).numpy(), np.hstack(columns))
