"""Sets in the file form of the Open Graph Benchmark, against graphs made by hand; what is malformed names file and line."""

import dataclasses
import gzip
import importlib.util
import io
import json
import random
import re
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from test_recipes import check_contract

from gcnlab import GcnlabError, Graph, GraphCollection, data, metrics
from gcnlab.cli import main
from gcnlab.data import catalog, load, ogb, ogb_evaluator, ogb_split, verify
from gcnlab.errors import DatasetFormatError, DatasetNotFoundError, InputError
from gcnlab.models import load_model
from gcnlab.propagate import correct_and_smooth
from gcnlab.recipes import RECIPES, find, run
from gcnlab.train import predict

pytestmark = pytest.mark.usefixtures("one_thread")

# Five nodes; 3 -> 1 stands there twice, 0 and 1 have an edge each way, 4 points at itself.
EDGES = [(0, 1), (3, 1), (1, 0), (3, 1), (4, 4), (2, 3)]
X = [[0.5, -1.25], [1e-3, 2], [0, 0], [3.25, -0.0625], [7, 8]]
Y = [2, 0, 1, 2, 0]
SPLIT = {"train": [4, 0], "valid": [1], "test": [2, 3]}
# Three graphs, of 2, 1 and 3 nodes.
SIZES, COUNTS = [2, 1, 3], [1, 0, 2]
GRAPH_EDGES = [(1, 0), (0, 2), (1, 2)]
GRAPH_X = [[3, 0], [1, 1], [0, 0], [3, 1], [2, 0], [0, 0]]


def csv(rows, sep=","):
    return "".join(sep.join(map(str, row)) + "\n" for row in rows).encode()


def column(values):
    return csv([[value] for value in values])


def node_files():
    return {
        "raw/num-node-list": column([5]),
        "raw/num-edge-list": column([6]),
        "raw/edge": csv(EDGES),
        "raw/node-feat": csv(X),
        "raw/node-label": column(Y),
        "raw/node_year": column([2015] * 5),  # not read
        "mapping/nodeidx2paperid": b"node idx,paper id\n0,abc\n",  # not read
        **{f"split/time/{part}": column(rows) for part, rows in SPLIT.items()},
    }


def graph_files():
    return {
        "raw/num-node-list": column(SIZES),
        "raw/num-edge-list": column(COUNTS),
        "raw/edge": csv(GRAPH_EDGES),
        "raw/node-feat": csv(GRAPH_X),
        "raw/edge-feat": csv([[0, 1]] * 3),  # not read
        "raw/graph-label": column([1, 0, 1]),
        "split/scaffold/train": column([2]),
        "split/scaffold/valid": column([0]),
        "split/scaffold/test": column([1]),
    }


def write(folder, files):
    for name, content in files.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content))
    return folder


def directed():
    a = torch.zeros(5, 5)
    for source, target in EDGES:
        a[target, source] = 1
    return a


# -- one graph --------------------------------------------------------------------------------------------------------


def check_graph(graph):
    a = directed()
    assert torch.equal(graph.adjacency.to_dense(), ((a + a.T) > 0).float())
    assert not graph.is_directed
    assert graph.num_duplicates == 1
    assert torch.equal(graph.x, torch.tensor(X))
    assert graph.x.is_contiguous()
    assert graph.y.tolist() == Y
    masks = graph.train_mask, graph.val_mask, graph.test_mask
    assert [mask.nonzero()[:, 0].tolist() for mask in masks] == [sorted(rows) for rows in SPLIT.values()]


def test_node_set(tmp_path):
    folder = write(tmp_path / "papers", node_files())
    graph = load(folder)
    check_graph(graph)
    assert graph.name == "papers"
    as_listed = load(folder, undirected=False)
    assert torch.equal(as_listed.adjacency.to_dense(), directed())
    assert as_listed.is_directed
    train, val, test = ogb_split(folder)
    assert [train.tolist(), val.tolist(), test.tolist()] == list(SPLIT.values())


def test_node_set_without_features_and_with_unknown_labels(tmp_path):
    files = {**node_files(), "raw/node-label": b"1\n\n0\n3\n0\n", "split/time/valid": b""}
    del files["raw/node-feat"]
    with pytest.raises(InputError, match=r"val_mask: selects no node"):
        load(write(tmp_path, files))
    graph = load(write(tmp_path, {**files, "split/time/valid": column([3]), "split/time/test": column([2])}))
    assert graph.x is None
    assert graph.y.tolist() == [1, -1, 0, 3, 0]
    assert graph.num_classes == 4
    with pytest.raises(InputError, match=r'features: .* has no columns of categories .*for "one_hot"'):
        load(tmp_path, features="one_hot")


def test_several_labels_and_real_ones(tmp_path):
    files = {**node_files(), "raw/node-label": b"1,0\n0,1\n1,1\n,0\n0,\n"}
    y = load(write(tmp_path, files)).y
    assert y.dtype == torch.float32
    assert torch.equal(y.isnan(), torch.tensor([[0, 0], [0, 0], [0, 0], [1, 0], [0, 1]]).bool())
    assert y[:3].tolist() == [[1, 0], [0, 1], [1, 1]]
    y = load(write(tmp_path, {**files, "raw/node-label": b"0.5\n-1\n2\n3\n4\n"})).y
    assert y.flatten().tolist() == [0.5, -1, 2, 3, 4]


@pytest.mark.parametrize("files", [node_files, graph_files])
def test_same_as_ogb_reads(tmp_path, files):
    read = pytest.importorskip("ogb.io.read_graph_raw").read_csv_graph_raw
    folder = write(tmp_path, files())
    loaded = load(folder)
    for ours, theirs in zip(
        [loaded] if isinstance(loaded, Graph) else loaded, read(f"{folder}/raw", True), strict=True
    ):
        assert ours.num_nodes == theirs["num_nodes"]
        assert {*zip(*ours.edge_index.tolist(), strict=True)} == {*zip(*theirs["edge_index"].tolist(), strict=True)}
        assert np.array_equal(ours.x if isinstance(ours.x, torch.Tensor) else ours.x.to_dense(), theirs["node_feat"])


@pytest.mark.parametrize("chunk", [1, 7, 1 << 26])
def test_numbers_are_those_of_float(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(ogb, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    expected = (rng.standard_normal((31, 3)) * 10.0 ** rng.integers(-9, 9, (31, 3))).astype(np.float32)
    text = csv(expected.tolist())
    write(tmp_path, {"windows": text.replace(b"\n", b"\r\n"), "plain": text.rstrip(b"\n")})
    for name in ("windows", "plain"):
        found = ogb._numbers(tmp_path / f"{name}.csv.gz", 31, "nodes", may_be_empty=False)
        np.testing.assert_allclose(found, expected, rtol=2e-7)  # pandas may be off by one unit in the last place


# -- many graphs ------------------------------------------------------------------------------------------------------


def test_graph_set(tmp_path):
    graphs = load(write(tmp_path / "molecules", graph_files()))
    assert isinstance(graphs, GraphCollection)
    assert [graph.num_nodes for graph in graphs] == SIZES
    assert graphs.y.tolist() == [1, 0, 1]
    assert graphs[0].adjacency.to_dense().tolist() == [[0, 1], [1, 0]]
    assert graphs[1].adjacency.to_dense().tolist() == [[0]]
    assert graphs[2].adjacency.to_dense().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert graphs[2].x.tolist() == GRAPH_X[3:]
    assert [part.tolist() for part in ogb_split(tmp_path / "molecules")] == [[2], [0], [1]]
    listed = load(tmp_path / "molecules", undirected=False)
    assert listed[2].adjacency.to_dense().tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]


def test_one_hot_is_the_sum_of_embeddings(tmp_path):
    graphs = load(write(tmp_path, graph_files()), features="one_hot")
    tables = torch.nn.Embedding(4, 6), torch.nn.Embedding(2, 6)
    values = torch.tensor(GRAPH_X)
    expected = tables[0](values[:, 0]) + tables[1](values[:, 1])
    assert torch.allclose(graphs.whole.x @ torch.cat([table.weight for table in tables]), expected)
    with pytest.raises(InputError, match=r'has no columns of categories \(integers from 0\) for "one_hot"'):
        load(write(tmp_path / "real", node_files()), features="one_hot")


NAN = float("nan")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (b"1,0\n,1\n1,\n", [[1, 0], [NAN, 1], [1, NAN]]),
        (b"0.5\n1\n2\n", [[0.5], [1], [2]]),
        (b"1\n-1\n1\n", [[1], [-1], [1]]),
        (b"1\n\n0\n", [1, NAN, 0]),
    ],
)
def test_several_real_and_unknown_labels_of_graphs_are_targets(tmp_path, labels, expected):
    graphs = load(write(tmp_path, {**graph_files(), "raw/graph-label": labels}))
    torch.testing.assert_close(graphs.y, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0, equal_nan=True)
    assert graphs[1:].batch().num_nodes == 4


def test_a_graph_without_its_class(tmp_path):
    folder = write(tmp_path, {**graph_files(), "raw/graph-label": b"2\n\n0\n"})
    assert ogb.read(folder, "toy")[1]["y"].tolist() == [2, -1, 0]  # it is read all the same
    with pytest.raises(InputError, match=r"graph 1 has no label, and the others have 3 classes"):
        load(folder)


def test_options(tmp_path):
    folder = write(tmp_path, graph_files())
    for options, message in (
        ({"undirected": 1}, r"undirected: got 1, expected True or False"),
        ({"features": "degree"}, r"features: got 'degree', expected \"values\" or \"one_hot\""),
        ({"split": "time"}, r"option 'split' is unknown; .* takes undirected, features"),
    ):
        with pytest.raises(InputError, match=message):
            load(folder, **options)


# -- by name ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def arxiv(data_root, monkeypatch):
    """The folder of "ogbn-arxiv" in the data root, with the small graph in its place."""
    counts = {"nodes": 5, "listed_edges": 6, "features": 2, "classes": 3, "train": 2, "val": 1, "test": 2}
    monkeypatch.setitem(catalog(), "ogbn-arxiv", {**catalog()["ogbn-arxiv"], "counts": counts})
    return data_root / "ogbn-arxiv"


def test_named_set(arxiv, monkeypatch):
    with pytest.raises(DatasetNotFoundError, match=r"publishes no sha256 .*Put into .*ogbn-arxiv these files: raw/num"):
        load("ogbn-arxiv")
    assert set(verify("ogbn-arxiv").values()) == {"missing"}
    write(arxiv, node_files())
    assert set(verify("ogbn-arxiv").values()) == {"unverified"}
    reads, read = [], ogb.read
    monkeypatch.setattr(ogb, "read", lambda *arguments: reads.append(1) or read(*arguments))
    for _ in range(2):
        check_graph(load("ogbn-arxiv"))
    assert load("ogbn-arxiv", undirected=False).is_directed
    assert len(reads) == 1  # the processed form serves both
    assert [part.tolist() for part in ogb_split("ogbn-arxiv")] == list(SPLIT.values())
    write(arxiv, {"raw/node-label": column([0, 2, 1, 2, 0])})
    assert load("ogbn-arxiv").y.tolist() == [0, 2, 1, 2, 0]  # read anew: its files have other bytes
    write(arxiv, {"raw/node-label": column([0, 1, 1, 1, 0])})
    with pytest.raises(DatasetFormatError, match=r"'classes': 2.*but the manifest states .*'classes': 3"):
        load("ogbn-arxiv")


def test_split_of_what_is_no_ogb_set(tmp_path):
    with pytest.raises(InputError, match=r"name: cora is not one of OGB's sets"):
        ogb_split("cora")
    with pytest.raises(DatasetNotFoundError, match=r"name: '.*' is neither a data set nor a folder with OGB's raw/"):
        ogb_split(tmp_path)


def test_entries_are_complete():
    sets = {name: entry for name, entry in catalog().items() if entry["format"] == "ogb"}
    assert set(sets) == {"ogbn-arxiv", "ogbn-products", "ogbg-molhiv"}
    for name, entry in sets.items():
        counts = entry["counts"]
        assert set(counts) == {
            "graphs" if name.startswith("ogbg") else "nodes",
            *("listed_edges", "features", "classes", "train", "val", "test"),
        }
        rows = counts["graphs"] if name.startswith("ogbg") else counts["nodes"]
        assert counts["train"] + counts["val"] + counts["test"] == rows
        assert all(file["sha256"] is None and file["url"] is None for file in entry["files"])
        assert f"`{name}`" in data.readme_table()


# -- the recipes ------------------------------------------------------------------------------------------------------


def blocks_files(num_nodes=120, num_classes=3):
    """Nodes of three classes that cite mostly their own, each edge once; features that say little by themselves."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, num_classes, num_nodes)
    pairs = rng.integers(0, num_nodes, (6 * num_nodes, 2))
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & ((y[pairs[:, 0]] == y[pairs[:, 1]]) | (rng.random(len(pairs)) < 0.05))]
    x = np.eye(num_classes)[y] + 1.5 * rng.standard_normal((num_nodes, num_classes))
    order = rng.permutation(num_nodes)
    parts = {"train": order[:60], "valid": order[60:90], "test": order[90:]}
    return {
        "raw/num-node-list": column([num_nodes]),
        "raw/num-edge-list": column([len(pairs)]),
        "raw/edge": csv(pairs),
        "raw/node-feat": csv(x.round(4)),
        "raw/node-label": column(y),
        **{f"split/time/{part}": column(rows) for part, rows in parts.items()},
    }


SMALL_RECIPE = {"hidden_channels": 8, "batch_size": 16, "lr": 0.01}


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    """A folder in OGB's form, and the recipes as small as it is."""
    for name in ("arxiv-gcn", "arxiv-diffusion"):
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(RECIPES[name], **SMALL_RECIPE))
    return write(tmp_path / "blocks", blocks_files())


@pytest.mark.parametrize("name", ["arxiv-gcn", "arxiv-diffusion"])
def test_a_recipe_on_a_folder(name, blocks, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "result.json"
    arguments = ["run", name, "--dataset", str(blocks), "--seeds", "2", "--epochs", "25", "--json", str(file)]
    assert main([*arguments, "--out", str(out)]) == 0
    result = json.loads(file.read_text())
    check_contract(result, 2)
    assert (result["recipe"], result["dataset"], result["protocol"]) == (name, str(blocks), "ogb")
    assert result["published"] is None  # it is of another set
    assert result["epochs"] == 25
    assert result["test_accuracy"]["mean"] > 0.7  # of three classes
    assert all(30 * value == pytest.approx(round(30 * value)) for value in result["test_accuracy"]["per_seed"])
    names = {
        "curves.png",
        "model.gcnlab",
        "report.html",
        "result.json",
        *(["hops"] if name == "arxiv-diffusion" else []),
    }
    assert {path.name for path in out.iterdir()} == names
    said = capsys.readouterr().out
    assert "protocol ogb: the set's own split and OGB's accuracy" in said

    per_seed = result["val_accuracy"]["per_seed"]
    _, header = load_model(out / "model.gcnlab")
    assert header["seeds"] == [per_seed.index(max(per_seed))]
    assert main(["predict", str(out / "model.gcnlab"), "--out", str(tmp_path / "labels.csv")]) == 0
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    graph = load(blocks)
    right = torch.tensor([int(label) for _, label, _ in rows]) == graph.y
    assert float(right[graph.test_mask].double().mean()) == result["test_accuracy"]["per_seed"][header["seeds"][0]]
    assert all(0 < float(probability) <= 1 for *_, probability in rows)

    if name == "arxiv-diffusion":  # again, from the hops that are there, and from memory
        for options in (["--out", str(out)], []):
            assert main([*arguments, *options]) == 0
            again = json.loads(file.read_text())
            assert again["test_accuracy"] == result["test_accuracy"]
            assert again["val_accuracy"] == result["val_accuracy"]


def test_labels_of_the_test_nodes_are_not_read(blocks, tmp_path):
    """Whatever stands there, the model and its predictions are the same."""
    files = blocks_files()
    y, test = (np.loadtxt(io.BytesIO(files[name]), dtype=int) for name in ("raw/node-label", "split/time/test"))
    y[test] = (y[test] + 1) % 3
    other = write(tmp_path / "other", {**files, "raw/node-label": column(y)})
    one, two = (
        run("arxiv-diffusion", dataset=str(folder), seeds=1, epochs=5, out=tmp_path / f"out {folder.name}")
        for folder in (blocks, other)
    )
    assert one["val_accuracy"] == two["val_accuracy"]
    assert one["test_accuracy"] != two["test_accuracy"]
    (model, header), (other, header_of_other) = (
        load_model(tmp_path / f"out {name}" / "model.gcnlab") for name in ("blocks", "other")
    )
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    assert header["temperature"] == header_of_other["temperature"] != 1.0


def test_logits_of_smoothed_scores(blocks):
    """Their softmax is the scores, each row divided by its sum; the best class stays the best, however close."""
    recipe = find("arxiv-diffusion")
    graph = recipe.graph(str(blocks))
    inputs = recipe.inputs(graph, recipe.operator(graph))
    torch.manual_seed(0)
    model = recipe.model(graph).eval()
    z = predict(model, **inputs).softmax(1)
    s = graph.normalize(None)
    scores = correct_and_smooth(z, graph.y, graph.train_mask, s, recipe.correct_alpha, recipe.smooth_alpha)
    found = recipe.logits(model, inputs)
    assert bool(((z.argmax(1) == graph.y) < (scores.argmax(1) == graph.y))[graph.val_mask].any())  # so they are taken
    assert torch.equal(found.argmax(1), scores.argmax(1))
    assert torch.allclose(found.softmax(1), scores.double() / scores.double().sum(1, keepdim=True), atol=1e-6)


def test_a_named_set_is_scored_by_ogb(data_root, blocks, monkeypatch):
    files = blocks_files()
    counts = {"nodes": 120, "listed_edges": int(files["raw/num-edge-list"]), "features": 3, "classes": 3}
    counts |= {"train": 60, "val": 30, "test": 30}
    monkeypatch.setitem(catalog(), "ogbn-arxiv", {**catalog()["ogbn-arxiv"], "counts": counts})
    write(data_root / "ogbn-arxiv", files)
    asked = []

    def evaluator(name):
        return lambda outputs, y: asked.append((name, len(y))) or metrics.accuracy(outputs, y)

    monkeypatch.setattr("gcnlab.recipes.nodes.ogb_evaluator", evaluator)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    result = run("arxiv-diffusion", seeds=1, epochs=3)
    assert asked == [("ogbn-arxiv", 30), ("ogbn-arxiv", 30)]
    assert result["published"]["value"] == 0.7312
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("arxiv-diffusion", seeds=1, epochs=3)["test_accuracy"] == result["test_accuracy"]
    assert len(asked) == 2


def test_summary_and_plan(data_root, monkeypatch, capsys):
    times = []
    monkeypatch.setattr("gcnlab.precompute._seconds", lambda call: times.append(call) or 0.001)
    assert main(["summary", "arxiv-diffusion", "--plan", "--dataset", "ogbn-products"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("arxiv-diffusion on ogbn-products, one seed, 1 threads\n")
    assert f"hops on disk                   {5 * 4 * 2449029 * 100 / 2**30:9.2f} GiB" in said
    assert len(times) == 5
    assert main(["summary", "arxiv-gcn", "--plan"]) == 2
    assert "plan: arxiv-gcn propagates no features beforehand" in capsys.readouterr().err
    assert main(["summary", "arxiv-diffusion", "--plan", "--dataset", "cora"]) == 2
    assert "dataset: 'cora' has no counts to plan with; these have: ogbn-arxiv" in capsys.readouterr().err
    files = blocks_files()
    counts = {"nodes": 120, "listed_edges": int(files["raw/num-edge-list"]), "features": 3, "classes": 3}
    counts |= {"train": 60, "val": 30, "test": 30}
    monkeypatch.setitem(catalog(), "ogbn-arxiv", {**catalog()["ogbn-arxiv"], "counts": counts})
    write(data_root / "ogbn-arxiv", files)
    assert main(["summary", "arxiv-diffusion"]) == 0
    said = capsys.readouterr().out
    assert "a batch of 4,096 rows of features and labels" in said
    assert "layers.1 (Linear)" in said


def test_what_the_recipes_do_not_run_on(tmp_path):
    folder = write(tmp_path, graph_files())
    for dataset, message in (
        ("ogbg-molhiv", r"dataset: arxiv-gcn does not run on 'ogbg-molhiv'; it runs on ogbn-arxiv, ogbn-products\."),
        (str(folder), r"is not one graph, of which arxiv-gcn classifies the nodes"),
    ):
        with pytest.raises(InputError, match=message):
            run("arxiv-gcn", dataset=dataset, seeds=1, epochs=1)


# -- malformed files --------------------------------------------------------------------------------------------------

BAD_NODE_SETS = [
    ("raw/num-node-list", b"", r"num-node-list.csv.gz: expected 1 to 2147483647 nodes in all \(found 0\)"),
    ("raw/num-edge-list", b"6\n0\n", r"num-edge-list.csv.gz: it has 2 lines, but there are 1 graphs"),
    ("raw/num-node-list", b"0\n", r"num-node-list.csv.gz: expected 1 to 2147483647 nodes in all \(found 0\)"),
    ("raw/num-node-list", b"99999999999\n", r"a count is at least 0 and below 2147483648 \(found 99999999999\)"),
    ("raw/num-node-list", b"-5\n", r"num-node-list.csv.gz, line 1: a count is at least 0"),
    ("raw/num-node-list", b"2147483647\n", r"node-label.csv.gz: it has 5 lines, but there are 2147483647 nodes"),
    ("raw/num-node-list", b"2\n3\n", r"num-node-list.csv.gz: a set with labels of nodes is one graph \(found 2\)"),
    ("raw/num-edge-list", b"5\n", r"edge.csv.gz: it has 6 lines, but num-edge-list.csv.gz states 5"),
    ("raw/edge", b"0,1\n" * 5 + b"0,5\n", r"edge.csv.gz, line 6: a node .* from 0 to 4 \(found \[0, 5\]\)"),
    ("raw/edge", b"0,1\n" * 5 + b"-1,0\n", r"edge.csv.gz, line 6: a node .* from 0 to 4 \(found \[-1, 0\]\)"),
    ("raw/edge", b"0,1\n" * 5 + b"0,x\n", r"edge.csv.gz, line 6: expected an integer \(found 'x'\)"),
    ("raw/edge", b"0,1\n" * 5 + b"0,1,2\n", r"edge.csv.gz, line 6: expected 2 on this line, but there are 3"),
    ("raw/node-feat", csv(X[:4]), r"node-feat.csv.gz: it has 4 lines, but there are 5 nodes"),
    ("raw/node-feat", csv([*X, *X]), r"node-feat.csv.gz: it has more than 5 lines, but there are 5 nodes"),
    ("raw/node-feat", csv([*X[:3], [1], X[4]]), r"node-feat.csv.gz, line 4: expected 2 numbers, but there are 1"),
    ("raw/node-feat", csv([X[0], [1], [1, 2, 3], *X[3:]]), r"feat.csv.gz, line 2: expected 2 numbers, but there are 1"),
    ("raw/node-feat", csv([*X[:4], ["nan", 1]]), r"feat.csv.gz, line 5: expected a finite number \(found 'nan'\)"),
    ("raw/node-feat", csv([*X[:4], [1, "inf"]]), r"feat.csv.gz, line 5: expected a finite number \(found 'inf'\)"),
    ("raw/node-feat", csv([*X[:4], [1, "1e60"]]), r"feat.csv.gz, line 5: expected a finite number \(found '1e60'\)"),
    ("raw/node-feat", csv([*X[:4], [1, ""]]), r"feat.csv.gz, line 5: expected a finite number \(found ''\)"),
    ("raw/node-feat", csv([*X[:4], ['"1"', 1]]), r"feat.csv.gz, line 5: expected a finite number \(found '\"1\"'\)"),
    ("raw/node-feat", csv([["a", "b"], *X]), r"feat.csv.gz, line 1: expected a finite number \(found 'a'\)"),
    ("raw/node-label", b"0\n1\n2\nx\n0\n", r"node-label.csv.gz, line 4: expected a finite number \(found 'x'\)"),
    ("raw/node-label", b"0\n1\n2\ninf\n0\n", r"node-label.csv.gz, line 4: expected a finite number \(found 'inf'\)"),
    ("raw/node-label", b"0,1\n1,1\n2\n1,1\n0,1\n", r"label.csv.gz, line 3: expected 2 numbers, but there are 1"),
    ("raw/graph-label", b"0\n", r"raw: expected node-label.csv.gz or .* one of them \(found 'node and graph'\)"),
    ("split/time/train", b"4\n5\n", r"time/train.csv.gz, line 2: expected an integer from 0 to 4 \(found 5\)"),
    ("split/time/train", b"4\n4\n", r"time/train.csv.gz, line 2: this row stands in this part or another already"),
    ("split/time/test", b"2\n4\n", r"time/test.csv.gz, line 2: this row stands .* \(found 4\)"),
    ("split/other/test", b"2\n", r"split: expected one folder with train.csv.gz, ... \(found 'other, time'\)"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_NODE_SETS)
def test_malformed_files(tmp_path, name, content, message):
    folder = write(tmp_path, {**node_files(), name: content})
    with pytest.raises(DatasetFormatError, match=message):
        load(folder)


def test_malformed_graph_sets(tmp_path):
    for name, content, message in (
        (
            "raw/edge",
            csv([(1, 0), (0, 2), (1, 3)]),
            r"edge.csv.gz, line 3: a node of this graph .* from 0 to 2 \(found",
        ),
        ("raw/edge", csv([(2, 0), (0, 2), (1, 2)]), r"edge.csv.gz, line 1: a node of this graph .* from 0 to 1"),
        ("raw/graph-label", column([1, 0]), r"graph-label.csv.gz: it has 2 lines, but there are 3 graphs"),
    ):
        with pytest.raises(DatasetFormatError, match=message):
            load(write(tmp_path, {**graph_files(), name: content}))
    files = graph_files()
    files["raw/node-label"] = files.pop("raw/graph-label")
    with pytest.raises(DatasetFormatError, match=r"a set with labels of nodes is one graph \(found 3\)"):
        load(write(tmp_path / "nodes", files))


@pytest.mark.parametrize("name", ["raw/num-edge-list", "raw/edge", "split/time/valid"])
def test_missing_files(tmp_path, name):
    folder = write(tmp_path, node_files())
    (folder / f"{name}.csv.gz").unlink()
    with pytest.raises(DatasetFormatError, match=rf"{name}.csv.gz: this file is missing"):
        load(folder)


def test_small_file_that_unpacks_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr(ogb, "_MAX_SMALL", 1 << 16)
    monkeypatch.setattr(ogb, "_CHUNK", 1 << 14)
    folder = write(tmp_path, {**node_files(), "raw/edge": b"0,1\n" * (1 << 22)})
    tracemalloc.start()
    try:
        with pytest.raises(DatasetFormatError, match=r"edge.csv.gz: it unpacks to more than 50 times its size"):
            load(folder)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20  # bytes; unpacked they are 16 MiB
    finally:
        tracemalloc.stop()


def test_damage(tmp_path):
    """Truncated and flipped files: read, or refused, and nothing else."""
    rng = random.Random(0)
    folder = write(tmp_path, node_files())
    paths = sorted(folder.rglob("*.gz"))
    for trial in range(200):
        path = rng.choice(paths)
        right = path.read_bytes()
        content = bytearray(right if trial % 2 else gzip.decompress(right))  # packed: gzip's own checksum finds it
        if rng.random() < 0.25:
            del content[rng.randrange(len(content)) :]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content if trial % 2 else gzip.compress(bytes(content)))
        try:
            assert isinstance(load(folder), Graph)
        except GcnlabError as error:
            assert "\n" not in str(error)  # noqa: PT017
        path.write_bytes(right)
    check_graph(load(folder))


# -- OGB's own figure -------------------------------------------------------------------------------------------------


def test_evaluator():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports say that what it is built on is deprecated
        pytest.importorskip("ogb.nodeproppred")
        accuracy, rocauc = ogb_evaluator("ogbn-arxiv"), ogb_evaluator("ogbg-molhiv")
        many = ogb_evaluator("ogbg-molclintox")
    logits = torch.tensor([[1.0, 3, 2], [4, 0, 0], [0, 1, 5], [0, 1, 0]], requires_grad=True)
    assert accuracy(logits, torch.tensor([1, 0, 0, 1])) == 0.75
    y = torch.tensor([0, 1, 0, 1])
    scores = torch.tensor([0.1, 0.4, 0.35, 0.8])
    two_classes = torch.stack([torch.tensor([5.0, 5, -5, -5]), torch.tensor([5.0, 5, -5, -5]) + scores], 1)
    assert rocauc(scores[:, None], y) == rocauc(two_classes, y[:, None]) == 1.0
    scores[1] = 0.2  # below a negative: 3 of the 4 pairs are in order
    assert rocauc(scores[:, None], y) == 0.75
    tasks = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0.0]])
    assert many(torch.stack([scores, -scores], 1), tasks) == 0.75
    with pytest.raises(InputError, match=r"outputs and y: got shapes \(3, 3\) and \(4, 1\), expected a row for each"):
        accuracy(logits[:3], y)
    with pytest.raises(InputError, match=r"outputs: got 3 columns, expected 1, a score for each task"):
        rocauc(logits, y)
    with pytest.raises(InputError, match=r"outputs: got 3 values that are NaN or infinite"):
        accuracy(logits.detach() * torch.tensor([[1.0], [torch.nan], [1], [1]]), y)
    with pytest.raises(InputError, match=r"outputs: got no rows"):
        accuracy(logits[:0], y[:0])
    with pytest.raises(InputError, match=r"y: row 2 is unlabelled"):
        accuracy(logits, torch.tensor([1, 0, -1, 1]))
    with pytest.raises(InputError, match=r"OGB's evaluator of ogbg-molhiv says: No positively labeled data"):
        rocauc(scores[:, None], y * 0)
    with pytest.raises(InputError, match=r"name: 'ogbn-arvix' is not among OGB's sets of this kind"):
        ogb_evaluator("ogbn-arvix")


def test_evaluator_of_other_names(monkeypatch):
    with pytest.raises(
        InputError, match=re.escape("name: got 'cora', expected a name that begins with ogbn- or ogbg-")
    ):
        ogb_evaluator("cora")
    monkeypatch.setitem(sys.modules, "ogb.nodeproppred", None)
    with pytest.raises(InputError, match=r"the evaluator of ogbn-arxiv is OGB's own; pip install ogb"):
        ogb_evaluator("ogbn-arxiv")
