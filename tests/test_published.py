"""Published archives whose bytes are not known: fetched, read by another reader, and compared by their content."""

import functools
import http.server
import os
import threading
import warnings
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
import torch

from gcnlab.data import _READERS, catalog, fetch, folds, load, npz, tu, verify
from gcnlab.data.identity import content_digest, order_digest
from gcnlab.doctor import diagnose
from gcnlab.errors import DatasetFormatError, DatasetNotFoundError

# pooch does not close the responses that it refuses
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server of the files in `server.folder`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    server.daemon_threads = True
    server.folder = folder
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def entry_of(name, content, counts, url, **published):
    """An entry of a set whose own file no address serves, with a published archive."""
    own = {"name": "own.bin", "url": None, "origin": "a conversion", "sha256": "0" * 64, "size": 1}
    file = {"name": url.rpartition("/")[2], "url": url, "sha256": None, "size": None, "max_bytes": 1 << 20}
    return {
        **catalog()[name], "files": [own], "path": "own.bin", "counts": counts,
        "published": {"files": [file], "max_unpacked_bytes": 1 << 20, **published}, **content,
    }  # fmt: skip


# -- a graph ----------------------------------------------------------------------------------------------------------

A = np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]], np.float32)
X = np.array([[1, 0, 3], [0, 2, 0], [0, 0, 1], [1, 1, 0], [0, 0, 4]], np.float32)
LABELS = np.array([1, 2, 2, 1, 2])


def save_npz(path, a=A, x=X, labels=LABELS, **more):
    parts = {"labels": labels, **more}
    for prefix, matrix in (("adj", sp.csr_matrix(a)), ("attr", sp.csr_matrix(x))):
        parts |= {f"{prefix}_data": matrix.data, f"{prefix}_indices": matrix.indices, f"{prefix}_indptr": matrix.indptr}
        parts[f"{prefix}_shape"] = np.array(matrix.shape)
    np.savez(path, **parts)
    return path


def save_mat(path, a=A, x=X, labels=LABELS):
    variables = {"Network": sp.csc_matrix(a), "Attributes": sp.csc_matrix(x), "Label": labels[:, None]}
    scipy.io.savemat(path, variables, do_compression=True)
    return path


@pytest.fixture
def toy(server, monkeypatch, data_root, tmp_path):
    """A named set "toy" without files, whose published form is a Matlab file that the server has."""
    header, arrays = npz.read(save_npz(tmp_path / "own.npz"), "toy")
    content = {"content_sha256": content_digest(arrays)}
    url = server.url + save_mat(server.folder / "Toy.mat").name
    entry = entry_of("blogcatalog", content, npz.counts(header, arrays), url, format="mat_networks")
    monkeypatch.setitem(catalog(), "toy", entry)
    return entry


def test_a_published_archive_is_fetched_and_read(toy, server, data_root):
    assert verify("toy") == {"Toy.mat": "missing"}
    with pytest.raises(DatasetNotFoundError, match=r"Put into .*toy/published these files: Toy.mat \(from http://127"):
        load("toy", download=False)
    for _ in range(2):  # from the archive, and from the processed form
        graph = load("toy", split=None)
        assert np.array_equal(graph.adjacency.to_dense().numpy(), A)
        assert np.array_equal(np.asarray(graph.x.to_dense()), X)
        assert [graph.class_names[label] for label in graph.y] == [str(label) for label in LABELS]
    assert fetch("toy") == data_root / "toy" / "published"
    assert verify("toy") == {"Toy.mat": "unverified"}
    assert diagnose()["checks"]["data"]["roots"][0]["sets"] == {"toy": {}}
    assert (data_root / "toy" / "processed" / "graph.gcnlab").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"x": X + (X == 4)},
        {"labels": LABELS[::-1].copy()},
        {"a": A[::-1, ::-1].copy()},
    ],
    ids=["a feature", "labels", "edges"],
)
def test_other_content_of_the_same_counts_is_refused(toy, server, data_root, change):
    save_mat(server.folder / "Toy.mat", **change)
    with pytest.raises(
        DatasetFormatError, match=r"Toy.mat: it has the counts of toy, but other content than the files"
    ):
        load("toy")
    assert not (data_root / "toy" / "processed" / "graph.gcnlab").exists()
    load(data_root / "toy" / "published" / "Toy.mat")  # as one's own


def test_other_counts_are_refused(toy, server):
    save_mat(server.folder / "Toy.mat", labels=np.array([1, 2, 3, 1, 2]))
    with pytest.raises(DatasetFormatError, match=r"'classes': 3.*but the manifest states .*'classes': 2"):
        load("toy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "it sent 37 bytes that are no archive"),
        (b"", "it sent 0 bytes that are no archive"),
        (b"MATLAB 5.0" + bytes(2 << 20), "it sent more bytes than the file has"),
    ],
)
def test_what_is_no_archive_is_not_kept(toy, server, data_root, content, message):
    (server.folder / "Toy.mat").write_bytes(content)
    with pytest.raises(DatasetNotFoundError, match=f"did not give Toy.mat \\({message}\\); nothing of it was kept"):
        load("toy")
    assert not list((data_root / "toy" / "published").iterdir())


def test_the_set_s_own_file_comes_first(toy, server, data_root, tmp_path):
    load("toy")
    own = data_root / "toy" / "raw" / "own.bin"
    own.parent.mkdir()
    own.write_bytes(b"x")
    assert verify("toy") == {"own.bin": "wrong sha256"}
    assert diagnose()["checks"]["data"]["roots"][0]["sets"] == {"toy": {}}  # of the right size


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"Network": A}, "key 'Network': expected a sparse square matrix of numbers"),
        ({"Network": sp.csc_matrix(np.triu(A))}, "key 'Network': an edge must stand in both directions"),
        ({"Attributes": X}, "key 'Attributes': expected a sparse matrix of finite numbers with 5 rows"),
        ({"Attributes": sp.csc_matrix(X[:4])}, "key 'Attributes': expected a sparse matrix of finite numbers with 5"),
        ({"Attributes": sp.csc_matrix(np.where(X > 0, np.inf, 0))}, "key 'Attributes': expected a sparse matrix of finite"),
        ({"Label": LABELS[:4, None]}, r"key 'Label': expected integers \[5, 1\]"),
        ({"Label": LABELS[:, None] + 0.5}, r"key 'Label': expected integers \[5, 1\]"),
        ({"Label": LABELS[:, None] - 9}, "key 'Label': a label is at least 0, or -1 for none"),
        ({"Label": None}, "key 'Label': this variable is missing"),
    ],
)  # fmt: skip
def test_malformed_attributed_networks(tmp_path, variables, message):
    content = {"Network": sp.csc_matrix(A), "Attributes": sp.csc_matrix(X), "Label": LABELS[:, None]} | variables
    scipy.io.savemat(tmp_path / "g.mat", {key: value for key, value in content.items() if value is not None})
    with pytest.raises(DatasetFormatError, match=message):
        load(tmp_path / "g.mat")


# -- a collection -----------------------------------------------------------------------------------------------------

GRAPHS = [  # edges and class
    ([(0, 1), (1, 2), (2, 0)], 5),
    ([(0, 1), (1, 2), (2, 3)], 7),
    ([(0, 0), (0, 1)], 5),
    ([(0, 1), (0, 2), (0, 3), (0, 4)], 7),
]


def save_tu(path, order, names, times=1, graphs=GRAPHS):
    """A TU archive of the graphs in an order, classes under other names, each edge listed so many times."""
    edges, indicator, labels, first = [], [], [], 1
    for number, index in enumerate(order, 1):
        ends, label = graphs[index]
        size = 1 + max(map(max, ends))
        for i, j in ends:
            i, j = first + size - 1 - i, first + size - 1 - j  # nodes in the reverse order
            edges += [f"{i}, {j}", *([f"{j}, {i}"] if i != j else [])] * times
        indicator += [str(number)] * size
        labels.append(str(names[label]))
        first += size
    with zipfile.ZipFile(path, "w") as archive:
        for part, lines in (("A", edges), ("graph_indicator", indicator), ("graph_labels", labels)):
            archive.writestr(f"TOY/TOY_{part}.txt", "\n".join(lines) + "\n")
    return path


@pytest.fixture
def many(server, monkeypatch, data_root, tmp_path):
    header, arrays = tu.read(save_tu(tmp_path / "own.zip", range(4), {5: 5, 7: 7}), "many")
    content = {"content_sha256": content_digest(arrays), "order_sha256": order_digest(arrays)}
    url = server.url + "TOY.zip"
    monkeypatch.setitem(
        catalog(), "many", entry_of("collab", content, tu.counts(header, arrays), url, format="tu", path="")
    )


def test_a_published_collection_in_the_same_order(many, server):
    save_tu(server.folder / "TOY.zip", range(4), {5: -1, 7: 1}, times=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs = load("many", features="degree")
    assert [graph.num_nodes for graph in graphs] == [3, 4, 2, 5]
    assert graphs.y.tolist() == [0, 1, 0, 1]
    with pytest.raises(DatasetNotFoundError, match="many has no fold lists here"):
        folds("many")  # those of the set's own archive count its own graphs


def test_a_published_collection_in_another_order_is_told(many, server):
    save_tu(server.folder / "TOY.zip", [1, 0, 2, 3], {5: 3, 7: 0})
    with pytest.warns(UserWarning, match=r"many: .*published has the graphs of the set in another order, so that"):
        graphs = load("many")
    assert [graph.num_nodes for graph in graphs] == [4, 3, 2, 5]


@pytest.mark.parametrize(
    "graphs",
    [
        [([(0, 1), (1, 2), (2, 3)], 5), ([(0, 1), (1, 2), (2, 0)], 7), *GRAPHS[2:]],  # two graphs change their classes
        [*GRAPHS[:2], ([(1, 1), (0, 1)], 5), ([(0, 1), (1, 2), (0, 3), (0, 4)], 7)],  # one edge is another
    ],
    ids=["classes", "an edge"],
)
def test_another_collection_of_the_same_counts_is_refused(many, server, graphs):
    save_tu(server.folder / "TOY.zip", range(4), {5: 5, 7: 7}, graphs=graphs)
    with pytest.raises(DatasetFormatError, match=r"TOY.zip: it has the counts of many, but other content"):
        load("many")


def test_the_digest_does_not_depend_on_index_types_or_stored_zeros(tmp_path):
    _, arrays = npz.read(save_npz(tmp_path / "g.npz"), "g")
    wide = {key: part.long() if part.dtype == torch.int32 else part for key, part in arrays.items()}
    assert content_digest(wide) == content_digest(arrays)
    named = {
        f"x.{key}": part for key, part in (("rowptr", torch.tensor([0, 2, 2, 2, 2, 2])), ("col", torch.tensor([0, 1])))
    }
    less = {**arrays, **named, "x.value": torch.tensor([1.0, 0.0])}
    least = {
        **arrays, "x.rowptr": torch.tensor([0, 1, 1, 1, 1, 1]), "x.col": torch.tensor([0]), "x.value": torch.ones(1),
    }  # fmt: skip
    assert content_digest(less) == content_digest(least) != content_digest(arrays)


# -- the real files ---------------------------------------------------------------------------------------------------


def publish(name, raw, folder):
    """Write the published form of a set from its own files, as its source has it."""
    published = folder / catalog()[name]["published"]["files"][0]["name"]
    if name == "facebook":
        with zipfile.ZipFile(published, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("facebook_large/README.txt", "as in SNAP's archive\n")
            for file in catalog()[name]["files"]:
                archive.write(raw / file["name"], f"facebook_large/{file['name']}")
        return
    parts = dict(np.load(raw / catalog()[name]["files"][0]["name"]))
    if name != "blogcatalog":  # with names that are pickled
        np.savez(published, **parts, class_names=np.array(["a", None], object))
        return
    a, x = (
        sp.csr_matrix(
            tuple(parts[f"{prefix}_{part}"] for part in ("data", "indices", "indptr")), parts[f"{prefix}_shape"]
        )
        for prefix in ("adj", "attr")
    )
    save_mat(published, a, x, parts["labels"])


@pytest.mark.data
@pytest.mark.parametrize("name", ["facebook", "blogcatalog", "amazon-photo", "amazon-computers", "coauthor-cs"])
def test_real_sets_from_their_published_form(name, tmp_path, monkeypatch):
    raw = fetch(name)
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path / 'first'}{os.pathsep}{os.environ['GCNLAB_DATA']}")
    expected = load(name, seed=2)
    folder = tmp_path / name / "published"
    folder.mkdir(parents=True)
    publish(name, raw, folder)
    graph = load(name, root=tmp_path, download=False, seed=2)
    for key in ("rowptr", "col", "value"):
        assert torch.equal(getattr(graph.adjacency, key), getattr(expected.adjacency, key))
    assert torch.equal(graph.y, expected.y)
    assert torch.equal(graph.train_mask, expected.train_mask)
    difference = graph.x.to_scipy() - expected.x.to_scipy() if hasattr(graph.x, "to_scipy") else graph.x - expected.x
    assert abs(difference).sum() == 0


@pytest.mark.data
def test_stated_digests_are_those_of_the_files(tmp_path):
    for name, entry in catalog().items():
        if "content_sha256" in entry and name != "collab":  # 25 million entries
            reader = _READERS[entry["format"]]
            raw = fetch(name)
            _, arrays = reader.read(raw / entry.get("path", ""), name, **entry.get("read", {}))
            assert content_digest(arrays) == entry["content_sha256"]
            if "order_sha256" in entry:
                assert order_digest(arrays) == entry["order_sha256"]
