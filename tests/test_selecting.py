"""`fit(metrics=, select=)`: metrics of whole epochs, against scikit-learn on the outputs of `predict`."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_cli import gcnlab
from test_distributed import run_ranks, values
from torch import nn
from torch.nn import functional as F

from gcnlab import (
    GCN,
    Graph,
    GraphClassifier,
    GraphCollection,
    Signals,
    TensorBoard,
    recipes,
)
from gcnlab.distributed import LONE
from gcnlab.errors import CheckpointMismatchError, InputError, InputTypeError, NonFiniteError
from gcnlab.models import SIGN, load_model
from gcnlab.precompute import NodeRows
from gcnlab.recipes import RECIPES
from gcnlab.reporting import page as report
from gcnlab.scale import ClusterSampler, NeighborSampler, RandomNodeSampler
from gcnlab.train import METRICS, Callback, Checkpoint, Consistency, EarlyStopping, StopAt, fit, predict
from gcnlab.train.objective import Batch, Objective
from gcnlab.train.together import Together

pytestmark = pytest.mark.usefixtures("one_thread")
__all__ = ["gcnlab", "run_ranks"]  # fixtures

NAN = math.nan
WIDTH, HIDDEN = 5, 3
# What scikit-learn calls each.
THEIRS = {
    "roc_auc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "mae": sklearn_metrics.mean_absolute_error,
    "rmse": sklearn_metrics.root_mean_squared_error,
    "r2": sklearn_metrics.r2_score,
}
OF_TWO = ["roc_auc", "average_precision", "macro_f1"]


def draw(kind, n, generator):
    """Labels: "two" or "three" classes, one column of 0, 1 and NaN, several of them, or numbers with some missing."""
    if kind in ("two", "three"):
        return torch.randint(2 if kind == "two" else 3, (n,), generator=generator)
    columns = {"column": (), "binary": (2,), "numbers": (2,), "number": ()}[kind]
    known = torch.rand(n, *columns, generator=generator) < 0.8
    known[:4] = True
    drawn = torch.randn(n, *columns, generator=generator, dtype=torch.float64)
    return torch.where(known, drawn if kind.startswith("number") else (drawn > 0.3).double(), NAN)


OUTPUTS = {"two": 2, "three": 3, "column": 1, "binary": 2, "numbers": 2, "number": 1}
MEASURED = {
    "two": OF_TWO, "three": ["macro_f1"], "column": OF_TWO[:2], "binary": OF_TWO[:2], "numbers": ["mae", "rmse", "r2"],
    "number": ["mae", "rmse", "r2"],
}  # fmt: skip
LOSS = {"column": "binary", "binary": "binary", "numbers": "mse", "number": "mae"}


def one_graph(kind, n=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, 3 * n), generator=generator)
    part = torch.arange(n) % 3
    return Graph.from_edges(
        torch.cat([edges, edges.flip(0)], 1), n, x=torch.randn(n, WIDTH, generator=generator, dtype=torch.float64),
        y=draw(kind, n, generator), train_mask=part == 0, val_mask=part == 1, test_mask=part == 2,
    )  # fmt: skip


def collection(kind, count=33, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y, graphs = draw(kind, count, generator), []
    for _ in range(count):
        n = int(torch.randint(2, 8, (), generator=generator))
        edges = torch.randint(n, (2, n), generator=generator)
        x = torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)
        graphs.append(Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), n, x=x))
    return GraphCollection(Graph.from_graphs(graphs), torch.tensor([0, *(g.num_nodes for g in graphs)]).cumsum(0), y)


def doors(door, kind):
    """(what makes a model, data, val, options) of one way into `fit`."""
    num, graph, options = OUTPUTS[kind], one_graph(kind), {}
    if door == "graphs":
        graphs = collection(kind)
        make = lambda: GraphClassifier(WIDTH, HIDDEN, num, dropout=0.0, norm=None).double()  # noqa: E731
        return make, graphs[:20], graphs[20:], {"batch_size": 7}
    if door == "images":
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(120, 2, 3, generator=generator)
        y = draw(kind, 120, generator)
        make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, num))  # noqa: E731
        return make, Signals(images[:50], y[:50]), Signals(images[50:], y[50:]), {"batch_size": 11}
    if door == "rows":
        make = lambda: SIGN([WIDTH, WIDTH], HIDDEN, num, dropout=0.0, norm=False).double()  # noqa: E731
        return make, NodeRows(graph, [graph.x, graph.a_hat @ graph.x]), None, {"batch_size": 7}
    make = lambda: GCN(WIDTH, HIDDEN, num, dropout=0.0).double()  # noqa: E731
    if door == "neighbours":
        options = {"batching": NeighborSampler(graph, [None, None], 7)}
    if door == "one operator":
        make = lambda: GCN(WIDTH, HIDDEN, num, dropout=0.0, norm="batch").double()  # noqa: E731
    return make, graph, None, options


def seeded(make, seed):
    torch.manual_seed(seed)
    return make()


def labels_of(data, split):
    graph = data.graph if isinstance(data, NodeRows) else data
    return graph.y[getattr(graph, f"{split}_mask")] if isinstance(graph, Graph) else data.y


def outputs_of(model, data, split):
    graph = data.graph if isinstance(data, NodeRows) else data
    out = predict(model, data)
    return out[getattr(graph, f"{split}_mask")] if isinstance(graph, Graph) else out


def by_scikit_learn(name, out, y):
    """The metric of outputs [num_rows, num_outputs]; the mean over targets, each of its known rows alone."""
    if name == "macro_f1":
        return sklearn_metrics.f1_score(y, out.argmax(1), average="macro", zero_division=0.0)
    if not y.is_floating_point():
        out, y = (out[:, 1] - out[:, 0]).unsqueeze(1), y.unsqueeze(1)
    out, y = out.double().numpy(), y.reshape(len(y), -1).double().numpy()
    known = ~np.isnan(y)
    return np.mean([THEIRS[name](t[k], o[k]) for t, o, k in zip(y.T, out.T, known.T, strict=True)])


def assert_same(a, b, tolerance=1e-10):
    assert a.metrics.keys() == b.metrics.keys()
    for name, value in a.metrics.items():
        torch.testing.assert_close(b.metrics[name], value, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name)
    assert a.best_epoch.tolist() == b.best_epoch.tolist()


# -- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "kind"),
    [
        *[("nodes", kind) for kind in OUTPUTS],
        *[("graphs", kind) for kind in OUTPUTS],
        ("images", "two"), ("images", "binary"), ("rows", "two"), ("rows", "numbers"),
        ("neighbours", "two"), ("neighbours", "binary"), ("one operator", "three"), ("one operator", "column"),
    ],
)  # fmt: skip
def test_what_is_measured_is_what_scikit_learn_finds(door, kind):
    make, data, val, options = doors(door, kind)
    names, options = MEASURED[kind], {"loss": LOSS.get(kind, "cross-entropy"), **options}
    for select in names:
        model = seeded(make, 1)
        history = fit(model, data, val, epochs=6, lr=0.05, metrics=names, select=f"val_{select}", **options)
        out, y = outputs_of(model, data if val is None else val, "val"), labels_of(data if val is None else val, "val")
        for name in names:  # of the weights that were kept
            assert float(history.best(f"val_{name}")) == pytest.approx(by_scikit_learn(name, out, y), abs=1e-9)
        best = (np.argmin if select in ("mae", "rmse") else np.argmax)(history.metrics[f"val_{select}"].numpy())
        assert int(history.best_epoch) == best + 1
        assert history.select == f"val_{select}"
    model = seeded(make, 1)
    still = fit(model, data, val, epochs=1, lr=0.0, optimizer=torch.optim.SGD, metrics=names, select="last", **options)
    if door != "one operator":  # whose batch norm has other averages in training
        out, y = outputs_of(model, data, "train"), labels_of(data, "train")
        for name in names:
            assert float(still.metrics[f"train_{name}"][0]) == pytest.approx(by_scikit_learn(name, out, y), abs=1e-9)
    expected = [f"{split}_{name}" for split in ("train", "val") for name in names]
    assert [name for name in still.metrics if name not in METRICS] == expected


@pytest.mark.parametrize("sampler", [RandomNodeSampler, lambda g, size: ClusterSampler(g, torch.arange(60) % 4)])
def test_samplers_that_cut_the_graph_up_measure_every_row_once(sampler):
    """What a sampler's batches give differs from the whole graph; a model of the features alone does not."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, 2).double()

        def forward(self, x, a_hat):
            return self.linear(x)

    graph, model = one_graph("two"), seeded(Alone, 0)
    history = fit(model, graph, epochs=4, batching=sampler(graph, 20), metrics=OF_TWO, select="val_roc_auc")
    for name in OF_TWO:
        found = by_scikit_learn(name, model(graph.x, None).detach()[graph.val_mask], graph.y[graph.val_mask])
        assert float(history.best(f"val_{name}")) == pytest.approx(found, abs=1e-9)


def test_batches_are_measured_together():
    """No mean over batches: those of one graph alone have no ROC-AUC at all."""
    graphs = collection("two")
    make = doors("graphs", "two")[0]
    options = {"epochs": 1, "lr": 0.0, "optimizer": torch.optim.SGD, "metrics": OF_TWO}
    whole = fit(seeded(make, 0), graphs, graphs, batch_size=99, **options)
    for batch_size in (1, 2, 7):
        assert_same(whole, fit(seeded(make, 0), graphs, graphs, batch_size=batch_size, **options))


def test_numbers_under_a_function_as_loss():
    def huber(out, y):
        return F.huber_loss(out, y.nan_to_num(), reduction="none").mean(1)

    make, graph, _, _ = doors("nodes", "numbers")
    model = seeded(make, 0)
    history = fit(model, graph, epochs=5, loss=huber, select="val_mae", metrics="r2")
    out, y = outputs_of(model, graph, "val"), labels_of(graph, "val")
    for name in ("mae", "r2"):
        assert float(history.best(f"val_{name}")) == pytest.approx(by_scikit_learn(name, out, y), abs=1e-9)
    with pytest.raises(InputError, match=r"shape \(20, 1\), expected \[num_rows, num_targets\], .* have 2 targets"):
        fit(GCN(WIDTH, 3, 1).double(), graph, epochs=1, loss=lambda out, y: huber(out[:, 0], y[:, 0]), metrics="mae")


def test_classes_under_a_function_as_loss():
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
    make, graph, _, _ = doors("nodes", "two")
    history = fit(seeded(make, 0), graph, epochs=5, loss=smooth, metrics=OF_TWO, select="last")
    named = fit(seeded(make, 0), graph, epochs=5, label_smoothing=0.1, metrics=OF_TWO, select="last")
    for name in OF_TWO:
        torch.testing.assert_close(history.metrics[f"val_{name}"], named.metrics[f"val_{name}"])
    with pytest.raises(InputError, match=r"expected \[num_rows, num_classes\], and the data have 2 classes"):
        fit(GCN(WIDTH, 3, 1).double(), graph, epochs=1, loss=lambda out, y: out[:, 0], metrics="macro_f1")


def test_a_logit_of_a_class_that_never_occurs():
    graph = one_graph("two")
    model = seeded(lambda: GCN(WIDTH, HIDDEN, 3, dropout=0.0).double(), 0)
    history = fit(model, graph, epochs=3, metrics=OF_TWO, select="val_average_precision")
    out, y = outputs_of(model, graph, "val"), labels_of(graph, "val")
    for name in OF_TWO:
        assert float(history.best(f"val_{name}")) == pytest.approx(by_scikit_learn(name, out, y), abs=1e-9)


def test_outputs_of_16_bits():
    graph = one_graph("two").to(torch.float32)
    options = {"epochs": 5, "metrics": OF_TWO, "select": "last"}
    found, expected = (
        fit(seeded(lambda: GCN(WIDTH, HIDDEN, 2, dropout=0.0), 0), graph, precision=precision, **options)
        for precision in ("bfloat16", "float32")
    )
    for name in OF_TWO:
        torch.testing.assert_close(found.metrics[f"val_{name}"], expected.metrics[f"val_{name}"], rtol=0, atol=0.1)


def test_consistency_measures_its_samples_on_average():
    """Samples without dropout are one output, and those of half of the labels make one epoch together."""
    make, graph, _, _ = doors("nodes", "two")
    options = {"epochs": 1, "lr": 0.0, "optimizer": torch.optim.SGD, "metrics": OF_TWO, "select": "last"}
    plain = fit(seeded(make, 0), graph, **options)
    for consistency in (Consistency(3), Consistency(2, num_labelled=8)):
        found = fit(seeded(make, 0), graph, consistency=consistency, **options)
        for name in OF_TWO:
            assert float(found.metrics[f"train_{name}"]) == pytest.approx(float(plain.metrics[f"train_{name}"]))
    drawn = Together(Objective("cross-entropy", 2, True, None, 0.0, ("roc_auc",)))
    y, scores = torch.tensor([0, 1, 0, 1]), ([0.0, 1, 2, 3], [0.0, 1, 2, -3])
    drawn.add([torch.stack([torch.zeros(4), torch.tensor(of)], 1).unsqueeze(0) for of in scores], Batch((), None, y))
    (found,) = drawn.value("train", 1, [0], torch.tensor([True]), LONE).values()
    assert found.tolist() == [np.mean([sklearn_metrics.roc_auc_score(y, of) for of in scores])]


# -- seeds, folds, processes, files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "kind"), [("nodes", "two"), ("nodes", "binary"), ("graphs", "numbers"), ("graphs", "column")]
)
def test_seeds_together_are_seeds_alone(door, kind):
    make, data, val, given = doors(door, kind)
    given["batch_size"] = 99  # so that no seed shuffles
    select = f"val_{MEASURED[kind][0]}"
    options = {"loss": LOSS.get(kind, "cross-entropy"), "epochs": 12, "lr": 0.05, "metrics": MEASURED[kind], **given}
    options["select"] = select
    together = fit(make, data, val, seeds=[4, 0, 7], callbacks=[EarlyStopping(2, select)], **options)
    lengths = set()
    for i, seed in enumerate(together.seeds):
        alone = fit(seeded(make, seed), data, val, seed=seed, callbacks=[EarlyStopping(2, select)], **options)
        assert_same(alone, together.part([i]), 1e-9)
        lengths.add(len(alone.epoch_seconds))
    assert len(lengths) > 1  # they stop at different epochs, after which NaN stands


@pytest.mark.parametrize("kind", ["two", "binary", "numbers"])
def test_folds_together_are_folds_alone(kind):
    graphs, seeds = collection(kind, 47), [3, 0, 11]
    ids = torch.randperm(47, generator=torch.Generator().manual_seed(1)).tensor_split(3)
    data = [graphs[torch.cat([part for part in ids if part is not out])] for out in ids]
    val = [graphs[part] for part in ids]
    seen = []

    class Stacks(Callback):
        def before_training(self, seeds, optimizer):
            seen.append(list(seeds))

    def make():
        return GraphClassifier(WIDTH, 7, OUTPUTS[kind], readout="mean", dropout=0.0, num_layers=2, norm=None).double()

    options = {"loss": LOSS.get(kind, "cross-entropy"), "epochs": 9, "batch_size": 8, "metrics": MEASURED[kind]}
    options["select"] = f"val_{MEASURED[kind][0]}"
    together = fit(make, data, val, seeds=seeds, callbacks=[Stacks(), EarlyStopping(3, options["select"])], **options)
    assert seen == [seeds]  # one stack
    for i, seed in enumerate(seeds):
        alone = fit(
            seeded(make, seed), data[i], val[i], seed=seed, callbacks=[EarlyStopping(3, options["select"])], **options
        )
        assert_same(alone, together.part([i]), 1e-9)


@pytest.mark.parametrize("kind", ["two", "numbers"])
def test_processes_are_one_process(run_ranks, kind):
    graphs, val = (
        collection(kind, 33),
        collection(kind, 19, seed=1),
    )  # the last batch has one graph, and so empty shares

    def work(rank):
        make = doors("graphs", kind)[0]
        options = {"loss": LOSS.get(kind, "cross-entropy"), "metrics": MEASURED[kind], "batch_size": 16}
        model = seeded(make, 0)
        return fit(model, graphs, val, seed=0, epochs=4, select=f"val_{MEASURED[kind][0]}", progress=False, **options)

    expected = work(0)
    for size in (2, 3):  # of three ranks one has no batch of the two for validation
        for found in values(run_ranks(work, size)):
            assert_same(expected, found, 1e-12)


def test_processes_that_measure_other_things_are_refused(run_ranks):
    graphs = collection("two", 33)

    def work(rank):
        make = doors("graphs", "two")[0]
        fit(seeded(make, 0), graphs, seed=0, epochs=1, metrics=OF_TWO[rank], select="last", progress=False)

    for outcome in run_ranks(work):
        assert "rank 1 has metrics ['average_precision'], rank 0 has ['roc_auc']" in outcome.text


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
    make, graph, _, _ = doors("nodes", "two")
    make = lambda: GCN(WIDTH, HIDDEN, 2).double()  # noqa: E731  with dropout

    def run(epochs, metrics=("roc_auc", "macro_f1"), select="val_roc_auc", **options):
        stop = EarlyStopping(5, "val_average_precision")
        return fit(
            make, graph, seeds=[1, 5], epochs=epochs, metrics=metrics, select=select, callbacks=[stop], **options
        )

    whole = run(12)
    run(3, checkpoint=Checkpoint(tmp_path / "a"))
    resumed = run(12, ["macro_f1", "roc_auc", "loss"], checkpoint=Checkpoint(tmp_path / "a", resume=True))
    assert_same(whole, resumed, 0.0)
    assert all(torch.equal(resumed.states[name], value) for name, value in whole.states.items())
    for metrics, select, told in ((None, "val_roc_auc", "metrics"), (("roc_auc", "macro_f1"), "val_loss", "select")):
        with pytest.raises(CheckpointMismatchError, match=f"another training .*{told}: "):
            run(12, metrics, select, checkpoint=Checkpoint(tmp_path / "a", resume=True))


# -- what selects and stops -------------------------------------------------------------------------------------------


def test_a_metric_that_selects_or_stops_is_measured():
    graph, make = one_graph("two"), doors("nodes", "two")[0]

    class Watches(Callback):
        reads = ("val_average_precision",)

        def after_epoch(self, epoch, metrics):
            assert 0 < float(metrics["val_average_precision"][0]) <= 1

    plain = fit(seeded(make, 0), graph, epochs=2)
    assert tuple(plain.metrics) == METRICS
    history = fit(
        seeded(make, 0), graph, epochs=2, select="val_roc_auc", callbacks=[StopAt("train_macro_f1", 1), Watches()]
    )
    assert tuple(name for name in history.metrics if name.startswith("val_")) == (
        "val_loss", "val_accuracy", "val_roc_auc", "val_average_precision", "val_macro_f1",
    )  # fmt: skip
    for name in METRICS:  # nothing else changes
        assert torch.equal(history.metrics[name], plain.metrics[name])
    bare = fit(seeded(make, 0), graph.replace(val_mask=None), epochs=2, select="train_roc_auc")
    assert list(bare.metrics) == ["train_loss", "train_accuracy", "train_roc_auc"]
    assert fit(seeded(make, 0), graph, epochs=2, metrics=["loss", "accuracy"]).metrics.keys() == plain.metrics.keys()


def test_stopping_knows_which_way_is_better():
    for metric, better, worse in (
        ("val_roc_auc", 0.8, 0.7), ("val_average_precision", 0.8, 0.7), ("val_macro_f1", 0.8, 0.7), ("val_r2", -0.5, -0.6),
        ("val_mae", 3.0, 4.0), ("val_rmse", 3.0, 4.0), ("train_loss", 3.0, 4.0), ("train_accuracy", 0.8, 0.7),
    ):  # fmt: skip
        stop, middle = EarlyStopping(1, metric), (better + worse) / 2
        ends = [
            stop.after_epoch(i + 1, {metric: torch.tensor([value])}).item()
            for i, value in enumerate((worse, better, worse))
        ]
        assert ends == [False, False, True]
        at = [StopAt(metric, middle).after_epoch(1, {metric: torch.tensor([v])}).item() for v in (worse, better)]
        assert at == [False, True]
    for metric in ("val_roc_auc", "val_average_precision", "val_macro_f1", "val_accuracy"):
        with pytest.raises(InputError, match="value: got 81"):
            StopAt(metric, 81)
    assert StopAt("val_rmse", 81).value == 81


# -- what is refused --------------------------------------------------------------------------------------------------


def with_y(kind, **changes):
    graph = one_graph(kind)
    y = graph.y.clone()
    for split, value in changes.items():
        y[getattr(graph, f"{split}_mask")] = value
    return graph.replace(y=y)


REFUSED = {
    "of three classes": (
        {"metrics": "roc_auc"}, one_graph("three"),
        r'metrics: roc_auc does not go with loss="cross-entropy" of 3 classes, where loss, accuracy, macro_f1 can be '
        r'measured. roc_auc and average_precision go with loss="binary" and with two classes',
    ),
    "of classes": ({"select": "val_rmse"}, one_graph("two"), r"select: rmse does not go with loss=\"cross-entropy\" of 2"),
    "of a callback": (
        {"callbacks": [EarlyStopping(3, "val_r2")]}, one_graph("two"), r"callbacks: r2 does not go with loss=\"cross-entropy\"",
    ),
    "of 0 and 1": (
        {"loss": "binary", "metrics": ["roc_auc", "macro_f1"]}, one_graph("binary"),
        r'metrics: macro_f1 does not go with loss="binary", where loss, accuracy, roc_auc, average_precision can be',
    ),
    "of numbers": (
        {"loss": "mse", "metrics": ["average_precision"]}, one_graph("numbers"),
        r'metrics: average_precision does not go with loss="mse" of torch.float64 labels, where loss, mae, rmse, r2 can',
    ),
    "accuracy of numbers": ({"loss": "mae", "metrics": ["accuracy"]}, one_graph("numbers"), r"metrics: accuracy does not go"),
    "of a function": (
        {"loss": lambda out, y: out[:, 0], "metrics": "mae"}, one_graph("two"),
        r"metrics: mae does not go with a function as loss of 2 classes",
    ),
    "one class to validate": (
        {"select": "val_roc_auc"}, with_y("two", val=1),
        r"select: roc_auc is not defined on the validation nodes. y: no target has both a 1 and a 0",
    ),
    "one class to train": (
        {"metrics": "average_precision"}, with_y("two", train=0),
        r"metrics: average_precision is not defined on the training nodes. y: no target has both",
    ),
    "a constant target": (
        {"loss": "mse", "select": "val_r2"}, with_y("number", val=2.5),
        r"select: r2 is not defined on the validation nodes. y: a target is 2.5 in all of its 20 known rows",
    ),
    "an unknown name": (
        {"metrics": ["auc"]}, one_graph("two"),
        r"metrics: got 'auc', expected names out of loss, accuracy, roc_auc, average_precision, macro_f1, mae, rmse, r2",
    ),
    "a metric with its split": ({"metrics": "val_roc_auc"}, one_graph("two"), r"metrics: got 'val_roc_auc', expected names"),
    "to select without a split": ({"select": "roc_auc"}, one_graph("two"), r"select: got 'roc_auc', expected one of .*val_roc_auc"),
    "to select without val": (
        {"select": "val_roc_auc"}, one_graph("two").replace(val_mask=None), r"graph: has no val_mask; give one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:data. no training node is of class")
def test_metrics_that_cannot_be_measured_are_refused_before_the_training(case, monkeypatch):
    options, graph, message = REFUSED[case]
    monkeypatch.setattr("gcnlab.train.engine.Training", lambda *_: pytest.fail("trained"))
    with pytest.raises(InputError, match=message):
        fit(GCN(WIDTH, HIDDEN, 3).double(), graph, epochs=1, **options)


def test_what_else_is_refused():
    graph, make = one_graph("two"), doors("nodes", "two")[0]
    with pytest.raises(InputTypeError, match=r"metrics: got \{'roc_auc': 1\}, expected a list of names"):
        fit(make(), graph, metrics={"roc_auc": 1})

    class Misspelt(Callback):
        reads = ("val_auc",)

    with pytest.raises(InputError, match=r"callbacks: Misspelt.reads: got 'val_auc', expected one of"):
        fit(make(), graph, callbacks=[Misspelt()])
    with pytest.raises(
        InputError, match=r"monitor: 'val_roc_auc' is not measured, since there is no val_mask and no val"
    ):
        fit(make(), graph.replace(val_mask=None), select="last", callbacks=[EarlyStopping(3, "val_roc_auc")])
    graphs = collection("numbers")
    with pytest.raises(InputError, match="metrics: roc_auc does not go with"):  # at each of several trainings
        fit(doors("graphs", "numbers")[0], [graphs, graphs], [graphs, graphs], seeds=2, loss="mse", metrics="roc_auc")


# -- epochs that lack something ---------------------------------------------------------------------------------------


def test_an_epoch_that_trains_on_one_class_has_no_roc_auc():
    """Label hops read half of the training labels, and an epoch learns from the others."""
    graph = one_graph("two")
    y = torch.where(graph.train_mask, 0, graph.y)
    y[graph.train_mask.nonzero()[0]] = 1  # the only one, which half of the epochs read
    graph = graph.replace(y=y)
    data = NodeRows(graph, [graph.x], graph.a_hat, label_hops=1)
    model = seeded(lambda: SIGN(data.widths, HIDDEN, 2, dropout=0.0).double(), 0)
    history = fit(model, data, seed=0, epochs=12, select="val_roc_auc")
    found = history.metrics["train_roc_auc"][:, 0]
    assert 0 < int(found.isnan().sum()) < 12
    assert not bool(history.metrics["val_roc_auc"].isnan().any())
    assert len(history.frame()) == 12  # no row is lost
    assert len(history.plot().axes[2].lines[0].get_xdata()) == (~found.isnan()).nonzero()[-1].item() + 1


def together(name, rows, y):
    found = Together(Objective("binary", 1, False, None, 0.0, (name,)))
    found.add([torch.tensor(rows).unsqueeze(-1)], Batch((), None, torch.tensor(y)))
    return found


def test_seeds_that_stopped_are_not_measured():
    """Their weights may have left the finite numbers."""
    found = together("roc_auc", [[0.1, NAN, 0.3], [0.1, 0.9, 0.3]], [0.0, 1.0, 0.0])
    (value,) = found.value("val", 7, [4, 9], torch.tensor([False, True]), LONE).values()
    assert str(value.tolist()) == "[nan, 1.0]"
    found = together("roc_auc", [[0.1, 0.9, 0.3], [0.1, -math.inf, 0.3]], [0.0, 0.0, 1.0])
    with pytest.raises(
        NonFiniteError, match="epoch 7: an output of seed 9 for the val data is not finite, so that roc_auc"
    ):
        found.value("val", 7, [4, 9], torch.tensor([True, True]), LONE)
    with pytest.raises(InputError, match="y: no target has both"):
        together("roc_auc", [[0.1, 0.2]], [0.0, 0.0]).value("val", 7, [4], torch.tensor([True]), LONE)


# -- what shows them --------------------------------------------------------------------------------------------------


def test_pictures_tables_and_event_files_have_them(tmp_path):
    graph, make = one_graph("two"), doors("nodes", "two")[0]
    history = fit(
        make, graph, seeds=[2, 5], epochs=4, select="val_roc_auc", metrics="macro_f1", callbacks=[TensorBoard(tmp_path)]
    )
    assert "val_roc_auc " in repr(history)
    frame = history.frame()
    assert frame["val_roc_auc"].tolist() == history.metrics["val_roc_auc"].T.flatten().tolist()
    drawn = history.plot().axes
    assert [axes.get_ylabel() for axes in drawn] == ["loss", "accuracy", "ROC-AUC"]
    assert drawn[2].lines[1].get_ydata() == pytest.approx(history.metrics["val_roc_auc"].mean(1).numpy())
    reader = EventAccumulator(str(tmp_path / "seed-5"))
    reader.Reload()
    written = [event.value for event in reader.Scalars("val_roc_auc")]
    assert written == pytest.approx(history.metrics["val_roc_auc"][:, 1].tolist())
    assert "train_macro_f1" in reader.Tags()["scalars"]


def test_a_picture_of_a_coefficient_below_zero():
    graph, make = one_graph("numbers"), doors("nodes", "numbers")[0]
    history = fit(make, graph, seeds=2, epochs=4, loss="mse", select="val_r2")
    axes = history.plot().axes[1]
    assert axes.get_ylabel() == "R²"
    low = axes.collections[1].get_paths()[0].vertices[:, 1].min()
    expected = history.metrics["val_r2"].mean(1) - history.metrics["val_r2"].std(1, correction=0)
    assert low == pytest.approx(float(expected.min()), abs=1e-6)
    assert low < 0


# -- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "name"), [("roc_auc", "ROC-AUC"), ("average_precision", "average precision")])
def test_a_recipe_of_another_metric(gcnlab, tmp_path, monkeypatch, metric, name):
    recipe = dataclasses.replace(RECIPES["karate-gcn"], name="karate-auc", metric=metric)
    monkeypatch.setitem(RECIPES, "karate-auc", recipe)
    status, said, wrong = gcnlab(
        "run", "karate-auc", "--seeds", 3, "--epochs", 20, "--json", tmp_path / "a.json", "--out", tmp_path / "out"
    )
    assert (status, wrong) == (0, "")
    result = recipes.run("karate-auc", seeds=3, epochs=20)
    assert result["metric"] == metric
    spread = result["test_accuracy"]
    assert f"test {name}" in said
    assert f" {100 * spread['mean']:.2f} % ± " in said
    assert "test accuracy" not in said
    assert f"weights of the best validation {name}" in recipe.selection(20) + said
    model, header = load_model(tmp_path / "out" / "model.gcnlab")
    graph, seed = recipe.graph(), header["seeds"][0]
    assert recipe.train(graph, recipe.inputs(graph, graph.a_hat), [0], 2).select == f"val_{metric}"
    out = predict(model, graph)
    for key, mask in (("test_accuracy", graph.test_mask), ("val_accuracy", graph.val_mask)):
        expected = by_scikit_learn(metric, out[mask], graph.y[mask])
        assert result[key]["per_seed"][seed] == pytest.approx(expected, abs=1e-9)
    assert result["val_accuracy"]["per_seed"][seed] == max(result["val_accuracy"]["per_seed"])
    assert f"| {name} {100 * spread['mean']:.2f} ± " in recipes.markdown_row(result)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for text in (f"test {name}, over 3 seeds", f"validation {name}", f"loss, accuracy and {name} by epoch"):
        assert text in page
    assert "test accuracy" not in page


def test_a_recipe_of_macro_f1_and_one_that_stops_nowhere(gcnlab, monkeypatch):
    recipe = dataclasses.replace(RECIPES["karate-gcn"], name="karate-f1", metric="macro_f1", patience=None)
    monkeypatch.setitem(RECIPES, "karate-f1", recipe)
    result = recipes.run("karate-f1", seeds=2, epochs=8)
    assert result["test_accuracy"] == result["test_macro_f1"]
    assert gcnlab("run", "karate-f1", "--seeds", 2, "--epochs", 8)[1].count("macro-F1") == 1
    assert RECIPES["karate-gcn"].metric == "accuracy"
    assert recipes.run("karate-gcn", seeds=1, epochs=2)["metric"] == "accuracy"


def test_results_without_a_metric_are_of_accuracy():
    assert report.metric_of({}) == "accuracy"
    assert report.metric_of({"metric": "hits@20"}) == "hits@20"
