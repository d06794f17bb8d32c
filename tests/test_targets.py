"""Targets beyond one class a row: several labels, real numbers, missing ones; in collections, `fit` and `metrics`."""

import math
import pickle

import networkx
import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn
from torch.nn import functional as F

from gcnlab import GCN, Graph, GraphClassifier, GraphCollection, GraphLoader, Signals, metrics
from gcnlab.errors import CheckpointMismatchError, InputError
from gcnlab.models import SIGN
from gcnlab.precompute import NodeRows
from gcnlab.train import METRICS, Checkpoint, EarlyStopping, StopAt, fit, predict

pytestmark = pytest.mark.usefixtures("one_thread")

NAN = math.nan
SIZES = (5, 3, 11, 2, 1, 7, 3, 4, 6, 2, 5, 13, 1, 3)
NUM_FEATURES, HIDDEN, NUM_TARGETS = 7, 3, 2
PATH = [[0, 1, 1, 2], [1, 0, 2, 1]]


def random_graphs(y_of):
    """Graphs of SIZES with float64 features; y_of(generator) makes the y of each."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for n in SIZES:
        upper = (torch.rand(n, n, generator=generator) < 0.4).double().triu(1)
        x = torch.randn(n, NUM_FEATURES, generator=generator, dtype=torch.float64)
        graphs.append(Graph.from_dense(upper + upper.T, x=x, y=y_of(generator)))
    return graphs


def labels(generator):  # four in ten are missing
    known = torch.rand(1, NUM_TARGETS, generator=generator) < 0.6
    return torch.where(known, torch.randint(2, (1, NUM_TARGETS), generator=generator), NAN)


def numbers(generator):
    return torch.where(labels(generator).isnan(), NAN, torch.randn(1, NUM_TARGETS, generator=generator))


def collection(loss):
    return GraphCollection.from_graphs(random_graphs(labels if loss == "binary" else numbers), name="toy")


def one_graph(loss):
    """The graphs of a collection as one with targets of nodes."""
    generator = torch.Generator().manual_seed(1)
    whole = collection(loss).whole
    make = labels if loss == "binary" else numbers
    part = torch.arange(whole.num_nodes) % 3
    y = torch.cat([make(generator) for _ in part])
    return whole.replace(y=y, train_mask=part == 0, val_mask=part == 1, test_mask=part == 2)


def classifier(num_outputs=NUM_TARGETS):
    return GraphClassifier(NUM_FEATURES, HIDDEN, num_outputs, dropout=0.0, norm=None).double()


def gcn(num_outputs=NUM_TARGETS):
    return GCN(NUM_FEATURES, HIDDEN, num_outputs, dropout=0.0).double()


def seeded(maker, seed):
    torch.manual_seed(seed)
    return maker()


def by_hand(loss, out, y):
    """The mean loss and accuracy over the known targets, one target after the other."""
    terms, hits = [], []
    for o, t in zip(out.flatten(), y.flatten(), strict=True):
        if math.isnan(t):
            continue
        if loss == "binary":
            p = 1 / (1 + (-o).exp())
            terms.append(-(p.log() if t == 1 else (1 - p).log()))
            hits.append(float((p > 0.5) == (t == 1)))
        else:
            terms.append((o - t) ** 2 if loss == "mse" else (o - t).abs())
    return sum(terms) / len(terms), sum(hits) / len(hits) if hits else None


def assert_close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


def same(a, b):
    return torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))


# -- graphs and collections -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y_of", [numbers, lambda g: torch.randn((), generator=g)], ids=["[1, T]", "0-d"])
def test_targets_are_cut_with_their_graphs(y_of):
    graphs = random_graphs(y_of)
    together = GraphCollection.from_graphs(graphs)
    several = graphs[0].y.dim() == 2
    expected = torch.cat([graph.y for graph in graphs]) if several else torch.stack([graph.y for graph in graphs])
    assert together.y.shape == ((len(SIZES), NUM_TARGETS) if several else (len(SIZES),))
    assert same(together.y, expected)
    assert together.num_classes == (NUM_TARGETS if several else 1)
    assert all(same(one.y, graph.y) for one, graph in zip(together, graphs, strict=True))
    index = [3, 0, 0, -1]
    for chosen in (together[index], together[:][index]):
        assert same(chosen.y, expected[index])
        assert same(chosen.batch([2, 0]).y, expected[[0, 3]])
        assert same(chosen[-1].y, graphs[-1].y)
    assert same(together[2:][3].y, graphs[5].y)
    torch.manual_seed(0)
    batches = list(GraphLoader(together, batch_size=3, shuffle=True))
    torch.manual_seed(0)
    order = torch.randperm(len(SIZES))
    assert same(torch.cat([batch.y for batch in batches]), expected[order])
    assert [batch.y.shape[0] for batch in batches] == [3, 3, 3, 3, 2]
    assert same(pickle.loads(pickle.dumps(together[1:])).y, expected[1:])
    assert same(GraphCollection(together.whole, torch.tensor([0, *SIZES]).cumsum(0), expected).to("cpu").y, expected)


def test_targets_in_words():
    graphs = collection("binary")
    assert repr(graphs).endswith(f"{NUM_FEATURES} features, {NUM_TARGETS} targets)")
    missing = int(graphs.y.isnan().sum())
    assert missing > 0
    assert f"targets            {NUM_TARGETS}, {missing} of {2 * len(SIZES)} values missing" in graphs.summary()
    assert "classes" not in repr(graphs.batch())
    names = GraphCollection.from_graphs(random_graphs(numbers), class_names=["mu", "alpha"])
    assert names.class_names == ("mu", "alpha")
    with pytest.raises(InputError, match=r"class_names: got 3 names for 2 targets"):
        GraphCollection.from_graphs(random_graphs(numbers), class_names=["mu", "alpha", "gap"])


def test_targets_of_a_graph():
    y = torch.tensor([[0.5, NAN, 2.0]])
    graph = Graph.from_edges(PATH, y=y)  # a row of targets does not say how many nodes there are
    assert graph.num_nodes == 3
    assert same(graph.y, y)
    assert same(graph.replace(x=torch.ones(3, 2)).y, y)
    assert graph.y.dtype == torch.float32
    assert Graph.from_edges(PATH, y=y.double()).y.dtype == torch.float64
    assert "y" not in graph.to_networkx().nodes[0]
    assert networkx.get_node_attributes(Graph.from_edges(PATH, y=torch.ones(3, 2)).to_networkx(), "y") == {
        i: [1, 1] for i in range(3)
    }
    with pytest.raises(
        InputError, match=r"y: got shape \(3,\), expected \[5\].*several targets .* are \[1, num_targets\]"
    ):
        Graph.from_edges(PATH, 5, y=[0.5, 1.0, 2.0])
    for bad, message in (([[1.0, -math.inf]], r"y: target -inf at \[0, 1\]"), ([1.0, 2.0, math.inf], r"inf at \[2\]")):
        with pytest.raises(InputError, match=message):
            Graph.from_edges(PATH, y=bad)


def test_targets_to_and_from_pyg(pyg):
    graph = Graph.from_edges(PATH, x=torch.ones(3, 5), y=[[0.5, NAN]])
    data = graph.to_pyg()
    assert same(Graph.from_pyg(data).y, graph.y)
    batch = pyg.data.Batch.from_data_list([data, data, data])
    assert same(batch.y, GraphCollection.from_graphs([graph] * 3).y)
    data.y = torch.tensor([[0.25]])  # as PyG writes one target of a graph
    assert Graph.from_pyg(data).y == torch.tensor(0.25)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (1, r"graph 1 has y torch.int64 of shape \(\), graph 0 torch.float32 of shape \(1, 2\)"),
        (0.5, r"graph 1 has y torch.float32 of shape \(\), graph 0"),
        ([[1.0, 2.0, 3.0]], r"graph 1 has y torch.float32 of shape \(1, 3\), graph 0"),
        ([1.0, 2.0, 3.0], r"graph 1 has labels of its 3 nodes, .*Graph.from_graphs joins"),
        (torch.ones(3, 2), r"graph 1 has labels of its 3 nodes"),
        (None, r"graph 1 has no label; pass y=, one integer .* floats \[1, num_targets\]"),
    ],
)
def test_graphs_of_a_collection_have_targets_of_one_kind(second, message):
    with pytest.raises(InputError, match=message):
        GraphCollection.from_graphs([Graph.from_edges(PATH, y=[[1.0, 2.0]]), Graph.from_edges(PATH, y=second)])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0.5, 1.0], [math.inf, 0.0]], r"y: target inf at \[1, 0\]; a target is a finite number, or NaN if missing"),
        ([0.5, -math.inf], r"y: target -inf at \[1\]"),
        ([[0.5]], r"y: got 1 labels for 2 graphs"),
        (
            [[[0.5]], [[0.5]]],
            r"y: got torch.float32 of shape \(2, 1, 1\), expected one label per graph, \[2\] integers, or targets, floats",
        ),
        ([[0, 1], [1, 1]], r"y: got torch.int64 of shape \(2, 2\), .* floats \[2\] or \[2, num_targets\]; y.float\(\)"),
        ([True, None], r"y: graph 1 has no label"),
    ],
)
def test_targets_are_checked_at_the_door(y, message):
    whole = Graph.from_edges([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]])
    with pytest.raises(InputError, match=message):
        GraphCollection(whole, [0, 2, 5], y)


# -- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["binary", "mse", "mae"])
@pytest.mark.parametrize("level", ["graphs", "nodes"])
def test_the_losses_are_those_of_a_plain_loop(loss, level):
    """Dense float64, torch.optim.SGD, each target by itself: nothing of the training loop."""
    rate, epochs = 0.05, 6
    if level == "graphs":
        graphs = collection(loss)
        data, val, maker = graphs[:9], graphs[9:], classifier
        parts = [(part.batch().x, part.batch().a_hat, part.batch().p) for part in (data, val)]
        ys = [data.y, val.y]
    else:
        data, val, maker = one_graph(loss), None, gcn
        parts = [(data.x, data.a_hat)] * 2
        ys = [data.y[data.train_mask], data.y[data.val_mask]]
    rows = [slice(None)] * 2 if level == "graphs" else [data.train_mask, data.val_mask]
    model, oracle = seeded(maker, 0), seeded(maker, 0)
    options = {"loss": loss, "epochs": epochs, "lr": rate, "select": "last", "batch_size": 99}
    history = fit(model, data, val, optimizer=torch.optim.SGD, **options)
    opt = torch.optim.SGD(oracle.parameters(), lr=rate)
    for epoch in range(epochs):
        for i, split in enumerate(("train", "val")):
            value, accuracy = by_hand(loss, oracle(*parts[i])[rows[i]], ys[i])
            assert_close(history.metrics[f"{split}_loss"][epoch, 0], value.detach())
            if accuracy is not None:
                assert float(history.metrics[f"{split}_accuracy"][epoch, 0]) == pytest.approx(accuracy)
            if split == "train":
                opt.zero_grad()
                value.backward()
                opt.step()
    for ours, theirs in zip(model.parameters(), oracle.parameters(), strict=True):
        assert_close(ours, theirs)
    accuracies = {"train_accuracy", "val_accuracy"} if loss == "binary" else set()
    assert set(history.metrics) == {"train_loss", "val_loss"} | accuracies


@pytest.mark.parametrize("loss", ["binary", "mse", "mae"])
@pytest.mark.parametrize("level", ["graphs", "nodes"])
def test_seeds_together_are_seeds_alone(loss, level):
    if level == "graphs":
        graphs = collection(loss)
        sources, maker = (graphs[:9], graphs[9:]), classifier
    else:
        sources, maker = (one_graph(loss),), gcn
    options = {"loss": loss, "epochs": 5, "callbacks": [EarlyStopping(2)], "batch_size": 99}
    together = fit(maker, *sources, seeds=[4, 0, 7], **options)
    for i, seed in enumerate(together.seeds):
        alone = fit(seeded(maker, seed), *sources, seed=seed, **options)
        length = len(alone.epoch_seconds)
        for name in alone.metrics:
            assert_close(together.metrics[name][:length, i], alone.metrics[name][:, 0])
        for name, value in together.state(i).items():
            assert_close(value, alone.state(0)[name])


def test_a_mean_over_targets_does_not_depend_on_the_batches():
    """Batches hold different numbers of known targets; single graphs may hold none."""
    graphs = collection("binary")
    assert bool(graphs.y.isnan().all(1).any())
    options = {"loss": "binary", "epochs": 1, "optimizer": torch.optim.SGD, "lr": 0.0}
    expected, accuracy = by_hand("binary", predict(seeded(classifier, 0), graphs), graphs.y)
    for batch_size in (1, 3, 99):
        history = fit(seeded(classifier, 0), graphs, graphs, batch_size=batch_size, **options)
        for split in ("train", "val"):
            assert_close(history.metrics[f"{split}_loss"][0, 0], expected)
            assert float(history.metrics[f"{split}_accuracy"][0, 0]) == pytest.approx(accuracy)


def test_one_target_may_stand_in_one_dimension():
    graphs = GraphCollection.from_graphs(random_graphs(lambda g: torch.randn((), generator=g)))
    column = GraphCollection(graphs.whole, torch.tensor([0, *SIZES]).cumsum(0), graphs.y.unsqueeze(1))
    flat, wide = (
        fit(seeded(lambda: classifier(1), 0), g, loss="mse", epochs=4, select="last") for g in (graphs, column)
    )
    assert torch.equal(flat.metrics["train_loss"], wide.metrics["train_loss"])


def test_a_function_as_loss():
    """Of classes, numbers and pairs of both; those of torch with reduction="none"."""
    graphs = collection("mse")
    y = torch.arange(len(SIZES)) % 3
    classes = GraphCollection(graphs.whole, torch.tensor([0, *SIZES]).cumsum(0), y)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
    for data, loss, num_outputs, expected in (
        (classes, smooth, 3, lambda out: F.cross_entropy(out, y, label_smoothing=0.1)),
        (
            graphs,
            lambda out, y: F.huber_loss(out[:, 1:], y.nan_to_num(), reduction="none").mean(1),
            3,
            lambda out: F.huber_loss(out[:, 1:], graphs.y.nan_to_num().double()),
        ),
    ):
        maker = lambda num_outputs=num_outputs: classifier(num_outputs)  # noqa: E731
        options = {"loss": loss, "epochs": 3, "select": "last", "batch_size": 99}
        together = fit(maker, data, seeds=[5, 2], **options)
        assert set(together.metrics) == ({"train_loss", "train_accuracy"} if data is classes else {"train_loss"})
        for i, seed in enumerate(together.seeds):
            out = predict(seeded(maker, seed), data)
            assert_close(together.metrics["train_loss"][0, i], expected(out))
            if data is classes:
                assert_close(together.metrics["train_accuracy"][0, i], (out.argmax(1) == y).double().mean())
            alone = fit(seeded(maker, seed), data, seed=seed, **options)
            assert_close(together.metrics["train_loss"][:, i], alone.metrics["train_loss"][:, 0])


def of_classes(kind):
    """(model, data...) of three classes: nodes of one graph, graphs, images, or rows of features."""
    drawn = torch.Generator().manual_seed(3)
    graphs = collection("mse")
    if kind == "graphs":
        many = GraphCollection(graphs.whole, torch.tensor([0, *SIZES]).cumsum(0), torch.arange(len(SIZES)) % 3)
        return seeded(lambda: classifier(3), 0), many, many[4:]
    if kind == "images":
        images = Signals(torch.rand(20, 4, 3, generator=drawn), torch.arange(20) % 3)
        return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 0), images, images[5:]
    whole = one_graph("mse")
    whole = whole.replace(y=torch.arange(whole.num_nodes) // 3 % 3)  # masks go by the remainder
    if kind == "rows":
        return seeded(lambda: SIGN([NUM_FEATURES], HIDDEN, 3).double(), 0), NodeRows(whole, [whole.x])
    return seeded(lambda: gcn(3), 0), whole


@pytest.mark.parametrize("kind", ["nodes", "graphs", "images", "rows"])
def test_a_function_of_classes_has_the_accuracy_of_cross_entropy(kind):
    options = {"epochs": 6, "lr": 0.05, "batch_size": 5, "seed": 1, "select": "val_accuracy"}
    stops = lambda: [EarlyStopping(4, "val_accuracy"), StopAt("train_accuracy", 1.0)]  # noqa: E731
    named = fit(*of_classes(kind), callbacks=stops(), **options)
    function = fit(*of_classes(kind), loss=nn.CrossEntropyLoss(reduction="none"), callbacks=stops(), **options)
    assert list(function.metrics) == list(named.metrics) == list(METRICS)
    assert torch.equal(function.best_epoch, named.best_epoch)
    for name, values in named.metrics.items():
        torch.testing.assert_close(function.metrics[name], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_outputs", [1, 2])
def test_a_function_of_counts_has_no_accuracy(num_outputs):
    """Counts of events are integers, too; a Poisson model has one output for them, another its mean and spread."""
    _, whole = of_classes("nodes")
    loss = lambda out, y: F.poisson_nll_loss(out[:, 0], y, reduction="none")  # noqa: E731
    history = fit(gcn(num_outputs), whole, loss=loss, epochs=2)
    assert set(history.metrics) == {"train_loss", "val_loss"}
    with pytest.raises(InputError, match=r"select: 'val_accuracy' is not measured, but train_loss and val_loss with"):
        fit(gcn(num_outputs), whole, loss=loss, epochs=2, select="val_accuracy")
    with pytest.raises(InputError, match=r"select: got 'val_accuracy', but this loss has no accuracy"):
        fit(gcn(), one_graph("mse"), loss=lambda out, y: (out - y).nan_to_num().square().mean(1), select="val_accuracy")


def test_cross_entropy_is_unchanged_by_default():
    graphs = collection("mse")
    classes = GraphCollection(graphs.whole, torch.tensor([0, *SIZES]).cumsum(0), torch.arange(len(SIZES)) % 2)
    default = fit(seeded(classifier, 0), classes, epochs=3, select="last")
    named = fit(seeded(classifier, 0), classes, epochs=3, select="last", loss="cross-entropy")
    assert torch.equal(default.metrics["train_loss"], named.metrics["train_loss"])
    assert set(default.metrics) == {"train_loss", "train_accuracy"}


def test_sizes_of_graphs_are_learned():
    """The number of nodes is what a sum readout of a constant says; a label says whether it is above 4."""
    rings = [([*range(n)], [*range(1, n), 0]) for n in range(1, 14)]
    graphs = [
        Graph.from_edges([a + b, b + a], len(a), x=torch.ones(len(a), 1), y=len(a) / 10, duplicates="first")
        for a, b in rings
    ]
    data = GraphCollection.from_graphs(graphs)
    torch.manual_seed(0)
    model = GraphClassifier(1, 5, 1, num_layers=1, readout="sum", dropout=0.0, norm=None)
    history = fit(model, data, data, loss="mse", epochs=150, lr=0.05)
    assert float(history.best("val_loss")) < 1e-3 < float(history.metrics["val_loss"][0])
    assert metrics.mean_absolute_error(predict(model, data), data.y) < 0.03
    y = (torch.arange(1, 14) > 4).float().unsqueeze(1)
    y[5] = NAN
    data = GraphCollection(data.whole, torch.arange(14).cumsum(0), y)
    model = GraphClassifier(1, 5, 1, num_layers=1, readout="sum", dropout=0.0, norm=None)
    history = fit(model, data, data, loss="binary", epochs=150, lr=0.05, select="val_accuracy")
    assert float(history.best("val_accuracy")) == 1.0
    assert metrics.roc_auc(predict(model, data), data.y) == 1.0


def test_half_precision_is_scored_in_float32():
    history = fit(gcn().bfloat16(), one_graph("mse").to(torch.bfloat16), loss="mse", epochs=1)
    assert history.metrics["train_loss"].dtype == torch.float32


def test_a_checkpoint_knows_its_loss(tmp_path):
    graphs, path = collection("binary"), tmp_path / "checkpoint"
    fit(seeded(classifier, 0), graphs, loss="mse", epochs=4, select="last", checkpoint=Checkpoint(path))
    options = {"epochs": 6, "select": "last", "checkpoint": Checkpoint(path, resume=True)}
    with pytest.raises(CheckpointMismatchError, match=r"loss: 'mse' in the file, 'mae' here"):
        fit(seeded(classifier, 0), graphs, loss="mae", **options)
    resumed = fit(seeded(classifier, 0), graphs, loss="mse", **options)
    through = fit(seeded(classifier, 0), graphs, loss="mse", epochs=6, select="last")
    assert torch.equal(resumed.metrics["train_loss"], through.metrics["train_loss"])


def graphs_with(y):
    return GraphCollection(collection("mse").whole, torch.tensor([0, *SIZES]).cumsum(0), y)


CLASSES = torch.arange(len(SIZES)) % 3
ONES = torch.ones(len(SIZES), NUM_TARGETS)
ERRORS = {
    "an unknown loss": (
        {"loss": "hinge"},
        r"loss: got 'hinge', expected one of cross-entropy, binary, mse, mae, or a function",
    ),
    "floats without a loss": (
        {"loss": "cross-entropy"},
        r"data: has y torch.float32 of shape \(14, 2\), .*loss=.binary",
    ),
    "classes as numbers": (
        {"data": graphs_with(CLASSES)},
        r"data: has y torch.int64 of shape \(14,\), expected floats \[num_graphs\].*y.float\(\)",
    ),
    "classes as labels": (
        {"data": graphs_with(CLASSES), "loss": "binary"},
        r"data: has y torch.int64 .*expected floats",
    ),
    "numbers as labels": (
        {"data": graphs_with(ONES * torch.arange(14).unsqueeze(1)), "loss": "binary"},
        r'data: y has 2 at \[2, 0\], but loss="binary" takes 0, 1, and NaN',
    ),
    "nothing known": ({"data": graphs_with(ONES * NAN)}, r"data: of its graphs no target is known, all are NaN"),
    "nothing known to select": (
        {"val": graphs_with(ONES * NAN), "select": "val_loss"},
        r"val: of its graphs no target is known",
    ),
    "another number of targets": (
        {"val": graphs_with(ONES[:, :1]), "select": "val_loss"},
        r"val: has y of shape \(14, 1\), but data of \(14, 2\)",
    ),
    "an accuracy of numbers": (
        {"select": "train_accuracy"},
        r'select: got .train_accuracy., but this loss has no accuracy; select "val_loss"',
    ),
    "an accuracy to stop by": (
        {"callbacks": [EarlyStopping(3, "val_accuracy")], "val": graphs_with(ONES)},
        r"monitor: 'val_accuracy' is not measured, but train_loss and val_loss with this loss",
    ),
    "class weights": ({"class_weight": torch.ones(2)}, r'class_weight: goes with loss="cross-entropy"'),
    "too many outputs": (
        {"model": classifier(3)},
        r"model: gave an output of shape \(14, 3\), expected \[num_rows, num_targets\], and the data have 2 targets",
    ),
    "one output for two targets": ({"model": classifier(1)}, r"shape \(14, 1\), .*the data have 2 targets"),
    "the mean as loss": (
        {"loss": nn.MSELoss()},
        r'loss: gave shape \(\), expected \[14\], one loss a row \(reduction="none"',
    ),
    "a loss for each target": ({"loss": nn.L1Loss(reduction="none")}, r"loss: gave shape \(14, 2\), expected \[14\]"),
    "a class of losses": ({"loss": lambda out, y: [out, y]}, r"loss: gave a list, expected \[14\]"),
}


@pytest.mark.parametrize(("changes", "message"), ERRORS.values(), ids=ERRORS)
def test_wrong_pairings(changes, message):
    options = {"model": classifier(), "data": graphs_with(ONES), "loss": "mse", "epochs": 2, "select": "last"}
    with pytest.raises(InputError, match=message):
        fit(**options | changes)


def test_wrong_pairings_on_one_graph():
    graph = one_graph("mse")
    n = graph.num_nodes
    unknown = graph.y.clone()
    unknown[graph.val_mask] = NAN
    for changes, loss, message in (
        ({"y": None}, "mse", r"graph: has no y, expected floats \[num_nodes\] or \[num_nodes, num_targets\]"),
        (
            {"y": torch.ones(1, 2)},
            "mse",
            r"graph: has y torch.float32 of shape \(1, 2\), expected floats \[num_nodes\]",
        ),
        ({"y": torch.tensor(0.5)}, "mse", r"graph: has y torch.float32 of shape \(\)"),
        ({"y": torch.zeros(n, dtype=torch.int64)}, "mae", r"graph: has y torch.int64 .*expected floats"),
        ({}, "cross-entropy", r"graph: has y torch.float32 .*expected one integer class per node.*loss=.binary"),
        ({}, "binary", r"graph: y has .* at \[\d+, 1\], but loss"),
        ({"y": unknown}, "mse", r"val_mask: of its nodes no target is known"),
    ):
        with pytest.raises(InputError, match=message):
            fit(gcn(), graph.replace(**changes), loss=loss, epochs=2)


def test_as_many_outputs_as_labels():
    """One row of output would be broadcast to all of them."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier()

        def forward(self, x, a_hat, batch):
            return self.inner(x, a_hat, batch).mean(0, keepdim=True)

    with pytest.raises(InputError, match=r"model: gave 1 rows of output for 14 labels"):
        fit(Pooled(), graphs_with(ONES), loss="mse", epochs=1, select="last")


# -- metrics ----------------------------------------------------------------------------------------------------------

SKLEARN = {
    "roc_auc": (metrics.roc_auc, sklearn_metrics.roc_auc_score),
    "average_precision": (metrics.average_precision, sklearn_metrics.average_precision_score),
    "mean_absolute_error": (metrics.mean_absolute_error, sklearn_metrics.mean_absolute_error),
    "root_mean_squared_error": (metrics.root_mean_squared_error, sklearn_metrics.root_mean_squared_error),
    "r2_score": (metrics.r2_score, sklearn_metrics.r2_score),
}


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("num_values", [3, 1000], ids=["many ties", "few ties"])
def test_metrics_are_those_of_scikit_learn(name, num_values):
    metric, theirs = SKLEARN[name]
    is_binary = name in ("roc_auc", "average_precision")
    rng = np.random.default_rng(num_values)
    for num_rows in (2, 5, 101):
        scores = rng.integers(num_values, size=(num_rows, 3)) / 8 - 1
        y = rng.integers(2, size=(num_rows, 3)) if is_binary else rng.standard_normal((num_rows, 3))
        y[:2] = [[0, 1, 0], [1, 0, 1]]
        y = y.astype(float)
        y[rng.random(y.shape) * (np.arange(num_rows) > 1)[:, None] > 0.7] = NAN
        expected = [theirs(t[~np.isnan(t)], s[~np.isnan(t)]) for s, t in zip(scores.T, y.T, strict=True)]
        found = metric(torch.from_numpy(scores), torch.from_numpy(y))
        assert found == pytest.approx(np.mean(expected), rel=1e-12)
        order = torch.from_numpy(rng.permutation(num_rows))
        assert metric(torch.from_numpy(scores)[order], torch.from_numpy(y)[order]) == pytest.approx(found, rel=1e-12)
        one = metric(torch.from_numpy(scores[:, :1]), torch.from_numpy(y[:, 0]))  # not broadcast
        assert one == pytest.approx(expected[0], rel=1e-12)


def test_metrics_by_hand():
    scores, y = torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, False, True, False])
    assert metrics.roc_auc(scores, y) == (1 + 1 + 0.5 + 1) / 4
    assert metrics.average_precision(scores, y) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    # A target with one kind alone has no area: the mean is that of the others.
    two, labels = scores.unsqueeze(1).repeat(1, 2), torch.stack([y.float(), torch.tensor([1, NAN, 1, 1])], 1)
    assert metrics.roc_auc(two, labels) == 0.875
    assert metrics.mean_absolute_error(torch.tensor([[1.0, 9], [4, 9]]), torch.tensor([[3.0, NAN], [4, NAN]])) == 1.0
    # Of each target by itself, and not of all known values: sqrt(4) and sqrt(mean(0, 0, 1))
    out, y = torch.zeros(3, 2), torch.tensor([[2.0, 0], [NAN, 0], [NAN, 1]])
    assert metrics.root_mean_squared_error(out, y) == pytest.approx((2 + math.sqrt(1 / 3)) / 2)
    assert metrics.r2_score(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 3.0])) == 0.0
    with pytest.raises(InputError, match=r"y: a target is 0.1 in all of its 3 known rows, .* leave it out"):
        metrics.r2_score(torch.rand(4, 2), torch.tensor([[0.1, 5], [0.1, 6], [NAN, 7], [0.1, 8]], dtype=torch.float64))
    many = torch.cat([torch.zeros(50_000), torch.ones(50_000)])  # n_1 n_0 is beyond int32
    assert metrics.roc_auc(many, many.long()) == 1.0


@pytest.mark.parametrize("name", SKLEARN)
def test_nothing_is_scored_by_accident(name):
    metric = SKLEARN[name][0]
    y = torch.tensor([[0.0], [1.0], [NAN]])
    for scores, target, message in (
        (torch.tensor([[0.0], [NAN], [1.0]]), y, r"scores: nan in row 1, column 0; expected a finite number"),
        (torch.zeros(3, 2), y, r"scores and y: got shapes \(3, 2\) and \(3, 1\).*logits\[:, 1\] - logits\[:, 0\]"),
        (torch.zeros(2), y, r"scores and y: got shapes \(2, 1\) and \(3, 1\)"),
        (torch.zeros(3, 1, 1), y, r"scores and y: got shapes \(3, 1, 1\)"),
        (torch.zeros(3), y * math.inf, r"y: inf in row 1, column 0"),
        (torch.zeros(3), y * NAN, r"y: no target has"),
        (torch.zeros(0), y[:0], r"y: no target has .* nothing to score"),
    ):
        with pytest.raises(InputError, match=message):
            metric(scores, target)
    if name in ("roc_auc", "average_precision"):
        with pytest.raises(InputError, match=r"y: 2 in row 0, column 0; expected 0, 1 or NaN"):
            metric(torch.zeros(3), torch.tensor([2, 0, 1]))
        with pytest.raises(InputError, match=r"y: no target has both a 1 and a 0"):
            metric(torch.zeros(3), torch.ones(3))
