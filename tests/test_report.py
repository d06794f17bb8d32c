"""The report: one file that loads nothing, says what the result says, and keeps its hands off the training."""

import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from test_cli import gcnlab, result_file
from test_protocols import SMALL, tu_folder
from test_signals import stripes

from gcnlab import GCN, GRAND, SIGN, Graph, GraphClassifier, History, NodeRows, compare, load, metrics, plot, recipes
from gcnlab.data import ImageSet
from gcnlab.errors import InputError
from gcnlab.precompute import hops
from gcnlab.recipes import RECIPES, GraphRecipe
from gcnlab.reporting import Content
from gcnlab.reporting import page as report
from gcnlab.reporting.charts import chart, mark
from gcnlab.reporting.findings import Drawing, add_graphs, add_nodes, layout, pca

__all__ = ["gcnlab", "tu_folder"]  # fixtures
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What is looked at: the sections, what an element would load, the values, the data of scripts, and the marks."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.loaded, self.values, self.scripts, self.tags, self.text = [], [], {}, {}, [], ""
        self._script = self._value = None
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "section":
            self.sections.append(attributes["id"])
        self.loaded += [attributes[key] for key in ("src", "href", "srcset", "data", "action") if key in attributes]
        self._script = attributes.get("id", "code") if tag == "script" else None
        if tag == "data":
            self._value = attributes["data-key"], attributes["value"]

    def handle_endtag(self, tag):
        self._script = self._value = None

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = data
            return
        self.text += data
        if self._value:
            self.values[self._value[0]] = self._value[1], data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def check(path, sections, result=None):
    """A page of these sections that loads nothing, whose numbers are the result's."""
    page = Page(path)
    assert page.sections == sections
    assert all(re.match(r"#|data:image/png;base64,", address) for address in page.loaded)
    assert not {name for name, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form"}
    assert "http:" not in page.html
    assert "https:" not in page.html
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", page.html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.loaded if address[0] == "#"} <= set(ids)
    assert len(page.html) < 3 << 20
    assert "No picture" not in page.text
    if result is not None:
        check_values(page, result)
    return page


def check_values(page, result):
    assert {"test_accuracy.mean", "num_parameters"} <= set(page.values)
    for key, (value, text) in page.values.items():
        found = result
        for name in key.split("."):
            found = found[int(name) if isinstance(found, list) else name]
        assert value == str(found), key
        if "accuracy" in key or "f1" in key:
            assert text == f"{100 * found:.2f}", key
    values = result["test_accuracy"]
    many = "per_fold" if "per_fold" in values else "per_seed"
    shown = [key for key in page.values if key.startswith(f"test_accuracy.{many}.")]
    assert len(shown) == (len(values[many]) if len(values[many]) > 1 else 0)


def points(page, key="points"):
    return json.loads(page.scripts[key])


# -- what each kind of recipe shows --------------------------------------------------------------------------------------


def test_nodes(tmp_path):
    result = recipes.run("karate-gcn", seeds=3, epochs=20, device="cpu", out=tmp_path)
    sections = ["result", "protocol", "curves", "confusion", "embedding", "smoothing", "graph", "environment"]
    page = check(tmp_path / "report.html", sections, result)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    shown = points(page)
    assert sorted(map(int, shown["names"])) == list(range(34))
    assert shown["classes"] == ["Mr. Hi", "Officer"]
    graph = load("karate")
    assert [shown["y"][i] for i in np.argsort([int(name) for name in shown["names"]])] == graph.y.tolist()
    drawn = points(page, "drawn")
    right = np.array(drawn["y"]) == np.array(drawn["predicted"])
    best = int(np.argmax(result["val_accuracy"]["per_seed"]))
    test = graph.test_mask.numpy()
    assert right[test].mean() == pytest.approx(result["test_accuracy"]["per_seed"][best])
    # of the wrong, and of none else, the marks are hollow and crossed: in two embeddings and in the graph
    crossed = [a["href"] for name, a in page.tags if name == "use" and a["href"].endswith("x")]
    assert len(crossed) == 3 * (~right).sum() + 2 * bool((~right).any())  # and in the two legends
    assert "the two leaders labelled" in page.text
    assert f"seed {best}, which has the best validation accuracy" in page.text


def test_a_new_split_for_each_seed_shows_that_of_the_seed(tmp_path, monkeypatch):
    """The test nodes that are shown are those of the best seed, not of the last."""
    seen = {}
    karate = load("karate")

    def split(self, dataset=None, protocol=None, root=None, seed=0):
        order = torch.randperm(34, generator=torch.Generator().manual_seed(seed))
        masks = [torch.zeros(34, dtype=torch.bool).index_fill(0, part, True) for part in order.split([10, 10, 14])]
        names = dict(zip(("train_mask", "val_mask", "test_mask"), masks, strict=True))
        return karate.with_features("identity").replace(**names)

    recipe = dataclasses.replace(RECIPES["karate-gcn"], protocols=("random",))
    monkeypatch.setitem(RECIPES, "karate-gcn", recipe)
    monkeypatch.setattr(recipes.Recipe, "graph", split)

    def watch(content, model, data, operator, predicted):
        seen.update(mask=data.test_mask, right=predicted == data.y)
        add_nodes(content, model, data, operator, predicted)

    monkeypatch.setattr("gcnlab.recipes.nodes.add_nodes", watch)
    result = recipes.run("karate-gcn", seeds=4, epochs=30, device="cpu", out=tmp_path)
    best = int(np.argmax(result["val_accuracy"]["per_seed"]))
    assert best != 3
    right = float(seen["right"][seen["mask"]].double().mean())
    assert right == pytest.approx(result["test_accuracy"]["per_seed"][best])
    check(tmp_path / "report.html", ["result", "protocol", "curves", "confusion", "embedding", "smoothing", "graph",
                                     "environment"], result)  # fmt: skip


@pytest.fixture
def rings(tu_folder, monkeypatch):
    monkeypatch.setitem(RECIPES, "rings", GraphRecipe("rings", str(tu_folder), {"features": "degree"}, (SMALL,)))


@pytest.mark.parametrize("protocol", ["gin", "nested", "holdout"])
def test_graphs(rings, protocol, tmp_path):
    result = recipes.run("rings", protocol=protocol, device="cpu", threads=1, out=tmp_path / "out")
    shown = {"gin": [], "nested": ["confusion"], "holdout": ["confusion", "embedding", "smoothing"]}[protocol]
    page = check(
        tmp_path / "out" / "report.html",
        ["result", "protocol", "curves", *shown, "graph", "environment"],
        result,
    )
    drawn = points(page, "drawn")
    assert drawn["y"] is None
    if protocol == "holdout":
        assert len(points(page)["names"]) == 40
    else:
        assert "fold 10" in page.text
        assert ("no held-out test" in page.text) == (protocol == "gin")
    if protocol == "nested":  # each graph three times
        rows = [json.loads(line)["result"] for line in (tmp_path / "out" / "folds.jsonl").read_text().splitlines()]
        tables = torch.tensor([row["confusion_matrix"] for row in rows])
        assert int(tables.sum()) == 120
        of_folds = tables.diagonal(dim1=1, dim2=2).sum(1) / tables.sum((1, 2))
        torch.testing.assert_close(of_folds.double(), torch.tensor([row["test_accuracy"] for row in rows]).double())
        right = int(tables.diagonal(dim1=1, dim2=2).sum())
        assert f"accuracy {100 * right / 120:.2f} % of 120" in page.text
        assert "Predictions in the final runs of all folds together." in page.text


def test_images(tmp_path, monkeypatch):
    images = ImageSet(*stripes(140), *stripes(30, seed=1), ["upright", "lying", "none"], name="digits")
    monkeypatch.setattr("gcnlab.recipes.images.load", lambda name, root=None: images)
    result = recipes.run("fashion-mnist-grid", dataset="digits", epochs=1, seeds=2, device="cpu", out=tmp_path)
    sections = ["result", "protocol", "curves", "confusion", "embedding", "smoothing", "maps", "environment"]
    page = check(tmp_path / "report.html", sections, result)
    assert page.count("img") == 1
    assert points(page)["classes"] == ["upright", "lying", "none"]
    assert sorted(map(int, points(page)["names"])) == list(range(30))

    monkeypatch.setattr("gcnlab.recipes.images.PRETRAINED", tmp_path)
    shutil.copy(tmp_path / "model.gcnlab", tmp_path / "fashion-mnist-grid.gcnlab")
    again = recipes.run("fashion-mnist-grid", dataset="digits", pretrained=True, device="cpu", out=tmp_path / "again")
    sections.remove("curves")
    check(tmp_path / "again" / "report.html", sections, again)


def test_models_side_by_side(tmp_path):
    rows = compare.compare("digits", ["isotropic-flat"], epochs=1, out=tmp_path, threads=1)
    sections = ["result", "sizes", "protocol", "curves", "confusion", "environment"]
    page = check(tmp_path / "report.html", sections)
    for row in rows:
        assert f"{100 * row['test_accuracy']:.2f} %" in page.text
        assert f"{row['num_parameters']:,}" in page.text
        assert sum(map(sum, row["confusion_matrix"])) == 359
    assert "1 isotropic-flat" in " ".join(page.text.split())  # the legend of the picture


def test_two_results(gcnlab, tmp_path):
    a, b = result_file(tmp_path / "gcn", 0.7), result_file(tmp_path / "mlp", 0.65)
    status, said, wrong = gcnlab("compare", a, b, "--out", tmp_path / "out")
    assert (status, wrong) == (0, "")
    page = check(tmp_path / "out" / "report.html", ["result", "folds"])
    assert said.split("\n")[0] in page.text
    assert len(re.findall(r"fold \d+\d\d\.00\d\d\.00\+5\.00", page.text)) == 10


def test_two_results_over_seeds(gcnlab, tmp_path):
    spread = {"mean": 0.75, "std": 0.05, "per_seed": [0.7, 0.8]}
    changes = {"protocol": "random", "seeds": [3, 5], "test_accuracy": spread}
    a, b = (result_file(tmp_path / name, 0.7, **changes) for name in ("gcn", "mlp"))
    assert gcnlab("compare", a, b, "--out", tmp_path / "out")[0] == 0
    page = check(tmp_path / "out" / "report.html", ["result", "seeds"])
    assert re.search(r"seed 370\.0070\.00\+0\.00\s+seed 580\.00", page.text)
    assert "on the same seeds of rings" in page.text


@pytest.mark.parametrize("module", ["matplotlib.figure", "jinja2"])
def test_what_a_report_needs_is_asked_for_at_the_start(gcnlab, tmp_path, monkeypatch, module):
    a, b = result_file(tmp_path / "gcn", 0.7), result_file(tmp_path / "mlp", 0.65)
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"out: \S+ needs the package {module.partition('.')[0]}, .*; pip install"
    status, said, wrong = gcnlab("compare", a, b, "--out", tmp_path / "out")
    assert (status, said) == (2, "")
    assert re.search(message, wrong)
    for run in (lambda out: recipes.run("karate-gcn", out=out), lambda out: compare.compare("digits", out=out)):
        with pytest.raises(InputError, match=message):
            run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- names from outside --------------------------------------------------------------------------------------------------


EVIL = "</script><script>alert(1)</script>"
HOSTILE = (EVIL, "<i>two</i>", "{{ 7*7 }}{% raw %}", "\"'><b onload=alert(1)>", "&amp;", "]]><!--")


def result_of(**changes):
    return {
        "recipe": "a", "dataset": "b", "protocol": "public", "model": "c", "num_parameters": 1, "seeds": [0],
        "test_accuracy": {"mean": 0.5, "std": 0.0, "per_seed": [0.5]}, "epochs": 0, "device": "cpu",
        "versions": {"gcnlab": "d"}, "published": {"value": 0.5, "source": "e"}, **changes,
    }  # fmt: skip


def check_harmless(page, num_scripts):
    """The names are there as they are, and nothing that they say is an element, an attribute or a template."""
    assert page.count("script") == num_scripts
    assert not {name for name, _ in page.tags} & {"b", "i", "u", "h3", "h4", "h5", "h6"}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert "49" not in page.text
    assert "<!--" not in page.html


def test_names_are_only_text(tmp_path):
    graph = nx.relabel_nodes(nx.path_graph(8), {0: "<script>", **{i + 1: name for i, name in enumerate(HOSTILE)}})
    graph = Graph.from_networkx(graph).replace(
        y=torch.tensor([0, 0, 0, 0, 1, 1, 1, -1]), class_names=HOSTILE[:2], test_mask=torch.arange(8) < 7,
        x=torch.rand(8, 3, generator=torch.Generator().manual_seed(0)),
    )  # fmt: skip
    torch.manual_seed(0)
    model = GCN(3, 5, 2).eval()
    facts = {"protocol": "<u>", "data": graph.summary(), HOSTILE[3]: HOSTILE[3]}
    content = Content(facts, graph.class_names, confusion=[[3, 1], [0, 3]], chosen=HOSTILE[2])
    add_nodes(content, model, graph, None, torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]))
    result = result_of(
        recipe="<h6>", dataset=EVIL, model="<h5>", versions={"gcnlab": "<h4>", "torch": HOSTILE[3]},
        published={"value": 0.5, "source": "<h3>"}, device=HOSTILE[2],
    )  # fmt: skip
    report.write(tmp_path / "report.html", report.of_run(result, content))
    page = check(tmp_path / "report.html", ["result", "protocol", "confusion", "embedding", "smoothing", "graph",
                                            "environment"], result)  # fmt: skip
    check_harmless(page, 3)
    assert {"<script>", *HOSTILE} <= set(points(page, "drawn")["names"])
    assert points(page)["classes"] == list(HOSTILE[:2])
    assert page.values["device"] == (HOSTILE[2], HOSTILE[2])
    assert f"<h6> on {EVIL}" in page.text
    assert HOSTILE[3] in page.text
    assert "unlabelled" in page.text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_models_are_only_text(tmp_path, name):
    matrix = {"confusion_matrix": [[3, 1], [0, 3]], "class_names": [name, "<i>"]}
    row = {"model": name, "family": name, "num_parameters": 9, "test_accuracy": 0.75, "seconds": 1.0, **matrix}
    curves = History([0], {"val_loss": torch.ones(3, 1)}, torch.tensor([2]), {})
    html = report.of_comparison(name, {name: name}, [row], [["model"], [name]], {name: curves}, {name: name})
    report.write(tmp_path / "models.html", html)
    page = check(tmp_path / "models.html", ["result", "sizes", "protocol", "curves", "confusion", "environment"])
    check_harmless(page, 1)
    assert page.text.count(name) >= 10
    accuracy = {"mean": 0.5, "std": 0.1, "per_fold": [0.4, 0.6]}
    a, b = (result_of(recipe=recipe, dataset=name, model=name, test_accuracy=accuracy) for recipe in (name, f"{name}!"))
    report.write(tmp_path / "pair.html", report.of_pair(a, b, name))
    check_harmless(check(tmp_path / "pair.html", ["result", "folds", "environment"]), 1)


# -- charts of matplotlib ------------------------------------------------------------------------------------------------


def test_a_chart_follows_the_page():
    """Its text is text in the page's font, its colours are the page's, and it says nothing of where and when it was made."""
    picture = chart("a", "dots", plot.accuracies, {"<one>": [0.5, 0.75], "two": [0.5]}, 0.75)
    assert "&lt;one&gt;</text>" in picture.content
    assert "currentColor" in picture.content
    assert "var(--c0)" in picture.content
    assert set(re.findall(r"#[0-9a-f]{6}\b", picture.content)) == set()
    assert not re.search(r"white|font-family|metadata|<style|<!|\n|\d\.\d{3}", picture.content)
    matrix = chart("b", "", plot.confusion, [[3, 1], [0, 2]]).content
    assert re.search(r">3</text>", matrix)
    assert set(re.findall(r"#[0-9a-f]{6}\b", matrix)) == set()


def test_a_chart_that_cannot_be_drawn_is_left_out(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no <font>")

    monkeypatch.setattr(plot, "confusion", fail)
    report.write(tmp_path / "report.html", report.of_run(result_of(), Content({}, ("a",), confusion=[[1]])))
    page = Page(tmp_path / "report.html")
    assert page.sections == ["result", "confusion", "environment"]
    assert "No picture (confusion matrix): ValueError: no <font>" in page.text


def test_a_chart_is_the_same_each_time_and_shares_no_id_with_another(monkeypatch):
    import matplotlib

    def ids(content):
        return set(re.findall(r'id="([^"]+)"', content))

    first, again, other = (chart(key, "", plot.folds, [[0.5, 0.6], [0.4, 0.7]]).content for key in "aab")
    assert first == again
    assert ids(first)
    assert not ids(first) & ids(other)
    assert ids(first) == set(
        re.findall(r'(?:url\(|href=")#([\w-]+)', first)
    )  # those that nothing refers to are left out
    # The reader's own settings are for pictures in files.
    for name, value in (
        ("text.color", "white"),
        ("axes.facecolor", "black"),
        ("font.size", 20.0),
        ("svg.fonttype", "path"),
    ):
        monkeypatch.setitem(matplotlib.rcParams, name, value)
    assert chart("a", "", plot.folds, [[0.5, 0.6], [0.4, 0.7]]).content == first
    assert matplotlib.rcParams["text.color"] == "white"


# -- what is measured ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(53, 7), (211, 97), (71, 307), (5, 1), (2, 3)])
def test_components_are_those_of_scikit_learn(shape):
    h = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * torch.arange(1, shape[1] + 1) ** -1.0 + 2
    h[:, 0] *= 9
    places, shares = pca(h)
    expected = PCA(min(2, *shape), svd_solver="full").fit(h.double().numpy())
    found = expected.transform(h.double().numpy())
    for k in range(min(2, *shape)):
        if expected.explained_variance_ratio_[k] < 1e-9:
            continue
        sign = np.sign(found[np.abs(found[:, k]).argmax(), k])
        np.testing.assert_allclose(places[:, k], sign * found[:, k], atol=2e-3 * np.abs(found).max())
        assert float(shares[k]) == pytest.approx(expected.explained_variance_ratio_[k], rel=1e-3)


def test_points_all_alike_have_places():
    places, shares = pca(torch.ones(7, 3))
    assert places.tolist() == [[0.0, 0.0]] * 7
    assert shares.tolist() == [0.0, 0.0]


def test_layers_of_a_gcn_are_its_embeddings():
    graph = load("karate").replace(x=torch.rand(34, 5))
    model = GCN(5, 7, 2, num_layers=4).eval()
    content = Content({}, graph.class_names)
    with torch.no_grad():
        logits, embeddings = model(graph.x, graph.a_hat, hidden=True)
    add_nodes(content, model, graph, None, logits.argmax(1))
    assert list(content.points.layers) == ["features", "layer 1", "layer 2", "layer 3", "output"]
    for found, expected in zip(content.points.layers.values(), [graph.x, *embeddings, logits], strict=True):
        torch.testing.assert_close(found, expected)
    assert content.distances["layer 3"] == metrics.mean_average_distance(embeddings[2])


@pytest.mark.parametrize(("hidden", "norm"), [(7, False), (7, True), (None, True)])
def test_layers_of_grand(hidden, norm):
    graph = load("karate").replace(x=torch.rand(34, 5))
    content = Content({}, graph.class_names)
    add_nodes(content, GRAND(5, hidden, 2, norm=norm).eval(), graph, graph.a_hat, graph.y)
    assert list(content.points.layers) == ["features", *(["layer 1"] if hidden else []), "output"]


def test_layers_of_rows(monkeypatch):
    monkeypatch.setattr("gcnlab.reporting.findings.MAX_NODES", 20)
    graph = load("karate")
    rows = NodeRows(graph, hops(torch.eye(34), graph.a_hat, 2), label_hops=1)
    model = SIGN(rows.widths, 4, 2).eval()
    content = Content({}, graph.class_names)
    add_nodes(content, model, rows, None, graph.y)
    layers = content.points.layers
    assert list(layers) == ["features", "features, 1 hop", "features, 2 hops", "labels, 1 hop", "layer 1", "output"]
    chosen = torch.tensor(content.points.names)
    assert len(chosen) == 20
    torch.testing.assert_close(layers["features, 1 hop"], graph.a_hat.to_dense()[chosen])


def test_a_sample_has_the_rows_of_its_nodes(monkeypatch):
    monkeypatch.setattr("gcnlab.reporting.findings.MAX_NODES", 11)
    graph = load("karate").replace(x=torch.rand(34, 5))
    model = GCN(5, 7, 2).eval()
    content = Content({}, graph.class_names)
    add_nodes(content, model, graph, None, graph.y)
    chosen = torch.tensor(content.points.names)
    with torch.no_grad():
        torch.testing.assert_close(content.points.layers["output"], model(graph.x, graph.a_hat)[chosen])
    assert torch.equal(content.points.y, graph.y[chosen])
    assert content.points.total == 34


def test_readouts_of_graphs(tu_folder):
    graphs = load(tu_folder, features="degree")
    model = GraphClassifier(graphs.num_features, 5, 2, num_layers=3, jumping_knowledge="cat").eval()
    content = Content({}, ("a", "b"))
    add_graphs(content, graphs, model, torch.arange(10))
    assert list(content.points.layers) == ["readout 1", "readout 2", "readout 3", "output"]
    assert list(content.distances) == ["features", "layer 1", "layer 2", "layer 3"]
    with torch.no_grad():
        batch = graphs.batch()
        torch.testing.assert_close(content.points.layers["output"], model(batch.x, batch.a_hat, batch.p))
    assert all(re.match(r"graph \d: [ab] (✓|✗ predicted [ab])$", drawing.caption) for drawing in content.drawings)


def test_neighbourhoods_are_those_of_the_graph(monkeypatch):
    monkeypatch.setattr("gcnlab.reporting.findings.WHOLE_GRAPH", 20)
    graph = load("karate").replace(x=torch.rand(34, 5))
    content = Content({}, graph.class_names)
    wrong = graph.y.clone()
    wrong[::3] = 1 - wrong[::3]
    add_nodes(content, GCN(5, 7, 2).eval(), graph, None, wrong)
    whole = nx.karate_club_graph()
    assert len(content.drawings) == 6
    assert sum("✗" in drawing.caption for drawing in content.drawings) == 3
    for drawing in content.drawings:
        nodes = list(drawing.names)
        assert graph.test_mask[nodes[0]]
        lengths = nx.single_source_shortest_path_length(whole, nodes[0])
        assert all(lengths[node] <= 2 for node in nodes)
        expected = whole.subgraph(nodes).edges
        assert {frozenset((nodes[i], nodes[j])) for i, j in drawing.edges} == set(map(frozenset, expected))


def test_parts_without_a_path_are_drawn():
    drawing = Drawing("two pairs and one", range(5), None, None, [(0, 1), (2, 3)])
    places = np.array(layout(drawing))
    assert np.isfinite(places).all()
    assert np.abs(places).max() <= 1.001
    assert layout(Drawing("one", [0], None, None, [])) == [(0.0, 0.0)]


def test_classes_look_different():
    looks = {re.sub(r' x=".*', "", mark("l", label, False)) for label in range(70)}
    assert len(looks) == 70


def test_curves_that_are_flat_or_short():
    history = History([0], {"train_loss": torch.zeros(1, 1), "val_loss": torch.zeros(1, 1)}, torch.tensor([1]), {})
    assert "nan" not in chart("h", "", plot.history, history).content.lower()


# -- the run is what it was ----------------------------------------------------------------------------------------------


def test_nothing_is_drawn_from_the_generators(tmp_path):
    """A report takes no random number from any generator that a training may use."""
    graph = load("karate").replace(x=torch.rand(34, 90))
    content = Content({}, graph.class_names)
    model = GCN(90, 70, 2).eval()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    add_nodes(content, model, graph, None, graph.y)
    assert "t-SNE" in report.of_run(result_of(), content, with_tsne=True)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_the_result_is_the_same_with_a_report(tmp_path):
    alone, reported = (recipes.run("karate-gcn", seeds=2, epochs=9, device="cpu", out=o) for o in (None, tmp_path))
    times = ("seconds", "epoch_seconds_median")
    assert {k: v for k, v in alone.items() if k not in times} == {k: v for k, v in reported.items() if k not in times}


def test_tsne_on_request(gcnlab, tmp_path):
    options = ("run", "karate-gcn", "--seeds", 1, "--epochs", 5, "--device", "cpu", "--tsne")
    assert gcnlab(*options, "--out", tmp_path)[::2] == (0, "")
    page = Page(tmp_path / "report.html")
    assert page.text.count(": t-SNE") == 2
    status, _, wrong = gcnlab(*options)
    assert status == 2
    assert "tsne: is drawn into report.html" in wrong
    with pytest.raises(InputError, match="tsne"):
        recipes.run("karate-gcn", tsne=True)


# -- in a browser --------------------------------------------------------------------------------------------------------


def console(path, profile):
    """What a page says on the console of a browser."""
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--virtual-time-budget=2000", f"--user-data-dir={profile}", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "</html>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_finds_nothing_wrong(tmp_path):
    recipes.run("karate-gcn", seeds=2, epochs=9, device="cpu", out=tmp_path)
    path = tmp_path / "report.html"
    assert console(path, tmp_path / "profile") == []
    # The script runs: it shows what the mark under the pointer stands for.
    poke = 'document.querySelector("[data-points] > use").dispatchEvent(new Event("pointerover", {bubbles: true}));'
    tell = "console.log(document.getElementById('tip').textContent.split('\\n').length)"
    path.write_text(path.read_text().replace("</script></body>", f"{poke}{tell}</script></body>"))
    (line,) = console(path, tmp_path / "profile")
    assert '"3"' in line
