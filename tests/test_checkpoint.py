import io
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import torch
from test_files import OF_1_0
from test_train import HIDDEN, NUM_CLASSES, NUM_FEATURES, NormedGCN, graph, make, one_thread, planted_partition, seeded
from torch import nn

import gcnlab
from gcnlab import GCN, Graph, GraphCollection, SparseMatrix
from gcnlab.checkpoint import (
    Digest,
    describe,
    digest_of,
    read_checkpoint,
    sha256_of_tensors,
    write_checkpoint,
)
from gcnlab.errors import (
    CheckpointCorruptError,
    CheckpointMismatchError,
    InputTypeError,
)
from gcnlab.files import write_arrays
from gcnlab.generators import generators_kept, rng_state, set_rng_state, set_seed
from gcnlab.image import Signals, grid_graph
from gcnlab.models import MODELS, SIGN, GraphClassifier, GridGCN, load_model
from gcnlab.precompute import NodeRows
from gcnlab.scale import ClusterSampler
from gcnlab.train import Adam, Callback, Checkpoint, EarlyStopping, fit, predict

__all__ = ["graph", "one_thread"]  # fixtures
EPOCHS = 40


class Interrupt(Callback):
    """Ends the training, as a kill would, after an epoch and before its checkpoint."""

    def __init__(self, epoch=None):
        self.epoch = epoch

    def after_epoch(self, epoch, metrics):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def interrupted(cut, path, run, **options):
    """Train up to the checkpoint of epoch `cut`, leave every generator elsewhere, and resume."""
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=Checkpoint(path, every=1), interrupt=cut + 1, **options)
    torch.manual_seed(999)
    np.random.seed(999)  # noqa: NPY002
    random.seed(999)
    return run(checkpoint=Checkpoint(path, every=7, resume=True), **options)


def assert_same(a, b):
    assert a.seeds == b.seeds
    assert torch.equal(a.best_epoch, b.best_epoch)
    assert list(a.metrics) == list(b.metrics)
    for one, other in ((a.metrics, b.metrics), (a.states, b.states)):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name].nan_to_num(nan=-7), other[name].nan_to_num(nan=-7)), name
    assert len(a.epoch_seconds) == len(b.epoch_seconds)


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [False, True], ids=["single", "stacked"])
@pytest.mark.parametrize("optimizer", [Adam, torch.optim.Adam, torch.optim.SGD])
def test_a_resumed_training_is_the_uninterrupted_one(graph, tmp_path, stacked, optimizer):
    def run(checkpoint=None, interrupt=None):
        model, seeds = (make(0.5), [3, 5]) if stacked else (seeded(make(0.5), 3), None)
        return fit(
            model, graph, seeds=seeds, seed=None if stacked else 3, epochs=EPOCHS, lr=0.05, weight_decay={"layers.0": 0.01},
            optimizer=optimizer, scheduler=lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS),
            callbacks=[EarlyStopping(12), Interrupt(interrupt)], checkpoint=checkpoint,
        )  # fmt: skip

    whole = run()
    last = len(whole.epoch_seconds)
    assert last > 31
    for cut in (0, 1, 30, last - 1):
        path = tmp_path / str(cut)
        assert_same(interrupted(cut, path, run), whole)
    assert_same(run(Checkpoint(tmp_path / "30", resume=True)), whole)  # a finished one
    assert_same(run(Checkpoint(tmp_path / "30")), whole)  # resume=False starts anew


def test_resuming_twice_from_one_file(graph, tmp_path):
    def run(checkpoint=None, interrupt=None):
        return fit(make(0.5), graph, seeds=2, epochs=20, checkpoint=checkpoint, callbacks=[Interrupt(interrupt)])

    whole = run()
    interrupted(9, tmp_path / "a", run)
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path / "a", every=1), 10)
    shutil.copy(tmp_path / "a", tmp_path / "b")
    assert_same(run(Checkpoint(tmp_path / "a", resume=True)), whole)
    assert_same(run(Checkpoint(tmp_path / "b", resume=True)), whole)


def test_a_model_with_buffers_resumes_to_the_bit(graph, tmp_path):
    def run(checkpoint=None, interrupt=None):
        model = seeded(NormedGCN, 0)
        history = fit(model, graph, epochs=20, lr=0.1, checkpoint=checkpoint, callbacks=[Interrupt(interrupt)])
        return history, model.state_dict()

    (whole, expected), (resumed, found) = run(), interrupted(11, tmp_path / "a", run)
    assert_same(resumed, whole)
    assert "norm.running_mean" in resumed.states
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_every_random_number_generator_goes_on(graph, tmp_path):
    drawn = []

    class Draw(Callback):
        def after_epoch(self, epoch, metrics):
            drawn.append((torch.rand(()).item(), np.random.rand(), random.gauss(0, 1), np.random.randn()))  # noqa: NPY002

    def run(checkpoint=None, interrupt=None):
        return fit(make(), graph, seeds=1, epochs=9, checkpoint=checkpoint, callbacks=[Draw(), Interrupt(interrupt)])

    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    run()
    whole, drawn = drawn, []
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    interrupted(4, tmp_path / "a", run)
    assert drawn[:5] + drawn[5:] == whole[:5] + whole[4:]  # epoch 5 twice: before and after the interruption


@pytest.mark.parametrize("first", [None, 3])
def test_without_a_seed_the_files_is_taken(graph, tmp_path, first):
    def run(checkpoint=None, interrupt=None, seed=None):
        options = {"checkpoint": checkpoint, "callbacks": [Interrupt(interrupt)]}
        return fit(seeded(make(0.5), 1), graph, epochs=9, seed=seed, **options)

    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path / "a", every=1), 5, first)
    shutil.copy(tmp_path / "a", tmp_path / "b")
    (seed,) = read_checkpoint(tmp_path / "a")[0]["seeds"]
    assert first in (None, seed)
    model = make(0.5)()
    torch.manual_seed(999)
    torch.randint(2**53, ())
    expected = torch.get_rng_state()
    torch.manual_seed(999)
    resumed = fit(model, graph, epochs=9, callbacks=[Interrupt()], checkpoint=Checkpoint(tmp_path / "a", resume=True))
    assert torch.equal(torch.get_rng_state(), expected)  # one draw, whose number is not used
    assert resumed.seeds == [seed] == read_checkpoint(tmp_path / "a")[0]["seeds"]
    assert_same(resumed, run(seed=seed))
    assert_same(run(Checkpoint(tmp_path / "b", resume=True), seed=seed), resumed)
    with pytest.raises(CheckpointMismatchError, match=rf"seeds: \[{seed}\] in the file, \[4\] here"):
        run(Checkpoint(tmp_path / "a", resume=True), seed=4)
    fit(make(0.5), graph, seeds=2, epochs=2, checkpoint=Checkpoint(tmp_path / "two"))
    with pytest.raises(CheckpointMismatchError, match=r"seeds: \[0, 1\] in the file, \[\d+\] here"):
        run(Checkpoint(tmp_path / "two", resume=True))


def test_more_epochs_than_the_first_time(graph, tmp_path):
    fit(make(0.5), graph, seeds=2, epochs=8, checkpoint=Checkpoint(tmp_path / "a"))
    longer = fit(make(0.5), graph, seeds=2, epochs=20, checkpoint=Checkpoint(tmp_path / "a", resume=True))
    assert_same(longer, fit(make(0.5), graph, seeds=2, epochs=20))
    with pytest.raises(CheckpointMismatchError, match=r"is at epoch 20, beyond the 8 epochs of this training"):
        fit(make(0.5), graph, seeds=2, epochs=8, checkpoint=Checkpoint(tmp_path / "a", resume=True))


def test_how_often_a_checkpoint_is_written(graph, tmp_path):
    seen = []

    class Watch(Callback):
        def after_epoch(self, epoch, metrics):
            path = tmp_path / "folder" / "a"
            seen.append(read_checkpoint(path)[0]["epoch"] if path.exists() else 0)

    checkpoint = Checkpoint(tmp_path / "folder" / "a", every=3, header={"note": "mine"})
    fit(make(), graph, seeds=2, epochs=8, checkpoint=checkpoint, callbacks=[Watch()])
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    header, weights, training = read_checkpoint(tmp_path / "folder" / "a")
    assert (header["epoch"], header["note"], header["seeds"]) == (8, "mine", [0, 1])
    assert weights["layers.0.weight"].shape == (2, NUM_FEATURES, HIDDEN)
    assert training["rows"]["val_loss"].shape == (8, 2)


# -- a checkpoint of something else -----------------------------------------------------------------------------------

OTHERS = {
    "model": (
        {"model": lambda: GCN(NUM_FEATURES, 11, NUM_CLASSES)},
        r"model: \{'class': 'GCN'.*'hidden_channels': 7.*\} in the file, \{.*'hidden_channels': 11.*\} here",
    ),
    "class": ({"model": NormedGCN, "seeds": [0]}, r"model: .*'GCN'.* in the file, .*'NormedGCN'.*; seeds: \[0, 1\] in"),
    "seeds": ({"seeds": [0, 2]}, r"\(seeds: \[0, 1\] in the file, \[0, 2\] here\)"),
    "lr": ({"lr": 0.5}, r"\(lr of parameter group 0: 0.01 in the file, 0.5 here\)"),
    "weight_decay": ({"weight_decay": 0.1}, r"weight_decay of parameter group 0: 0.0 in the file, 0.1 here"),
    "betas": (
        {"optimizer": lambda groups, lr: Adam(groups, lr, betas=(0.5, 0.9))},
        r"\(betas of parameter group 0: \[0.9, 0.999\] in the file, \[0.5, 0.9\] here\)",
    ),
    "groups": ({"weight_decay": {"layers.0": 0.1}}, r"lr of parameter group 1: None in the file, 0.01 here"),
    "optimizer": ({"optimizer": torch.optim.SGD}, r"optimizer: 'Adam' in the file, 'SGD' here"),
    "scheduler": (
        {"scheduler": lambda opt: torch.optim.lr_scheduler.StepLR(opt, 9)},
        r"scheduler: 'NoneType' in the file, 'StepLR' here; .*step_size of the scheduler: None in the file, 9 here",
    ),
    "select": ({"select": "last"}, r"\(select: 'val_loss' in the file, 'last' here\)"),
    "callbacks": ({"callbacks": []}, r"\(callbacks: \['EarlyStopping'\] in the file, \[\] here\)"),
    "monitor": (
        {"callbacks": [EarlyStopping(9, "train_loss")]},
        r"monitor: the checkpoint's is 'val_loss', got 'train_l",
    ),
    "class weights": ({"class_weight": torch.ones(3)}, r"\(sha256 of graph, labels, masks and class weights: "),
}


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=OTHERS)
def test_another_training_is_not_resumed(graph, tmp_path, changes, message):
    options = {"model": make(), "data": graph, "seeds": 2, "epochs": 5, "callbacks": [EarlyStopping(9)]}
    path = tmp_path / "a"
    fit(**options, checkpoint=Checkpoint(path))
    before = path.read_bytes()
    with pytest.raises(CheckpointMismatchError, match=message):
        fit(**(options | changes), checkpoint=Checkpoint(path, resume=True))
    assert path.read_bytes() == before
    options["callbacks"] = [EarlyStopping(30)]  # a new patience is no other training
    fit(**(options | {"epochs": 6}), checkpoint=Checkpoint(path, resume=True))


def test_another_graph_or_split_is_not_resumed(graph, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a", resume=True)
    fit(make(), graph, seeds=2, epochs=2, checkpoint=checkpoint)
    others = (
        planted_partition(seed=1),
        graph.replace(train_mask=graph.test_mask, test_mask=graph.train_mask),
        graph.replace(y=graph.y.roll(1)),
        graph.replace(val_mask=None),
    )
    for other in others:
        with pytest.raises(CheckpointMismatchError, match=r"sha256 of graph, labels, masks and class weights: "):
            fit(make(), other, seeds=2, epochs=2, select="last" if other.val_mask is None else "val_loss",
                checkpoint=checkpoint)  # fmt: skip


def nudged(tensor, factor=1.01):
    """The tensor with its largest value changed."""
    changed = tensor.clone()
    changed.view(-1)[changed.abs().argmax()] *= factor
    return changed


def nudged_edges(graph):
    """The graph with one weight changed, in both directions."""
    dense = graph.adjacency.to_dense()
    i, j = dense.nonzero()[0]
    dense[i, j] = dense[j, i] = 1.01 * dense[i, j]
    return graph.replace(adjacency=SparseMatrix.from_dense(dense))


@generators_kept(0)
def data_of_each_kind():
    """kind -> (model, data and options of a training, other ones that differ in values alone, what is then said)."""
    graph = planted_partition()
    weighted = nudged_edges(graph)
    sparse = graph.replace(x=SparseMatrix.from_dense(graph.x * (graph.x > graph.x.quantile(0.93))))
    hops = [graph.x, graph.a_hat @ graph.x]
    images, y = torch.randint(0, 256, (20, 5, 7), dtype=torch.uint8), torch.arange(20) % 3
    collection = GraphCollection.from_graphs(
        [Graph.from_edges([[0, 1], [1, 0]], x=torch.randn(3, 4), y=torch.tensor(i % 2)) for i in range(12)]
    )
    heavier = GraphCollection(nudged_edges(collection.whole), collection._ptr, collection.y)
    warmer = GraphCollection(collection.whole.replace(x=nudged(collection.whole.x)), collection._ptr, collection.y)
    own, pieces = graph.a_hat.to_dense(), torch.arange(graph.num_nodes) % 4
    gcn = lambda: GCN(NUM_FEATURES, HIDDEN, NUM_CLASSES)  # noqa: E731
    grids = lambda: GridGCN(1, (4,), 3)  # noqa: E731
    graphs = lambda: GraphClassifier(4, 5, 2)  # noqa: E731
    return {
        "x": (gcn, {"data": graph}, {"data": graph.replace(x=nudged(graph.x))}, "values of x: "),
        "sparse x": (
            gcn, {"data": sparse}, {"data": sparse.replace(x=sparse.x.with_value(nudged(sparse.x.value)))},
            "values of x: ",
        ),
        "edge weights": (gcn, {"data": weighted}, {"data": nudged_edges(weighted)}, "edge weights: "),
        "dense operator": (
            gcn, {"data": graph, "operator": own}, {"operator": nudged(own)}, "values of the operator: ",
        ),
        "sparse operator": (
            gcn, {"data": graph, "operator": graph.a_hat.with_value(graph.a_hat.value * 2)},
            {"operator": graph.a_hat.with_value(nudged(graph.a_hat.value * 2))}, "values of the operator: ",
        ),
        "parts": (
            gcn, {"data": graph, "batching": ClusterSampler(graph, pieces)},
            {"batching": ClusterSampler(graph, pieces.roll(1))}, "parts of the sampler: ",
        ),
        "rows": (
            lambda: SIGN([NUM_FEATURES] * 2, HIDDEN, NUM_CLASSES), {"data": NodeRows(graph, hops)},
            {"data": NodeRows(graph, [hops[0], nudged(hops[1])])}, "values of the features 1: ",
        ),
        "label hops": (
            lambda: SIGN([NUM_FEATURES, NUM_CLASSES], HIDDEN, NUM_CLASSES),
            {"data": NodeRows(graph, hops[:1], label_hops=1)},
            {"data": NodeRows(graph, hops[:1], graph.a_hat.with_value(nudged(graph.a_hat.value)), 1)},
            "values of the operator: ",
        ),
        "graphs, x": (graphs, {"data": collection, "val": collection}, {"data": warmer}, "values of x of data: "),
        "graphs, weights": (
            graphs, {"data": collection, "val": collection}, {"data": heavier},
            "edges and their weights of data: ",
        ),
        "graphs of validation": (
            graphs, {"data": collection[:6], "val": collection[6:]}, {"val": warmer[6:]}, "values of x of val: ",
        ),
        "images": (
            grids, {"data": Signals(images, y, grid_graph(5, 7))},
            {"data": Signals(images.roll(1), y, grid_graph(5, 7))}, "sha256 of images, labels and class weights: ",
        ),
        "grid": (
            grids, {"data": Signals(images, y, grid_graph(5, 7))},
            {"data": Signals(images, y, grid_graph(5, 7, connectivity=4))},
            "size of the grid of data and neighbours of a node: ",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", data_of_each_kind())
def test_a_training_on_other_values_is_not_resumed(tmp_path, kind):
    make, options, other, message = data_of_each_kind()[kind]
    options = {"epochs": 2, "seed": 0, "select": "last", "checkpoint": Checkpoint(tmp_path / "a", 1, True), **options}
    fit(seeded(make, 0), **options)
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(CheckpointMismatchError, match=message):
        fit(seeded(make, 0), **(options | other))
    assert (tmp_path / "a").read_bytes() == before
    fit(seeded(make, 0), **options)  # its own


def test_a_training_goes_on_where_the_last_bits_of_values_differ(graph, tmp_path):
    options = {"seeds": 2, "checkpoint": Checkpoint(tmp_path / "a", resume=True)}
    fit(make(), graph, epochs=2, **options)
    noise = 1 + 2**-20 * (2 * torch.rand(graph.x.shape) - 1)
    history = fit(make(), graph.replace(x=graph.x * noise), epochs=4, **options)
    assert len(history.metrics["val_loss"]) == 4


def test_a_module_that_computes_otherwise_is_not_resumed(graph, tmp_path):
    class Own(GCN):
        def __init__(self, slope):
            super().__init__(NUM_FEATURES, HIDDEN, NUM_CLASSES)
            self.config, self.activation = None, nn.LeakyReLU(slope)

    options = {"data": graph, "seed": 0, "epochs": 2, "checkpoint": Checkpoint(tmp_path / "a", resume=True)}
    fit(Own(0.1), **options)
    message = (
        r"module activation: 'LeakyReLU\(negative_slope=0.1\)' in the file, 'LeakyReLU\(negative_slope=0.2\)' here"
    )
    with pytest.raises(CheckpointMismatchError, match=message):
        fit(Own(0.2), **options)


def test_a_file_of_another_version_is_resumed_and_said(graph, tmp_path):
    def of_another_version(header, weights, training):
        header["versions"]["gcnlab"] = "0.9"

    def of_1_0(header, weights, training):
        del header["versions"], header["modules"], training["digests"]

    whole = fit(make(), graph, seeds=2, epochs=6)
    said = {
        of_another_version: r"a: was written with .*'gcnlab': '0.9'.*, and goes on with .*: its numbers may not be",
        of_1_0: "a: is of gcnlab 1.0, which kept no digest of the values of X and of edge weights; make sure",
    }
    for age, message in said.items():
        fit(make(), graph, seeds=2, epochs=3, checkpoint=Checkpoint(tmp_path / "a"))
        rewritten(tmp_path / "a", age)
        resume = Checkpoint(tmp_path / "a", resume=True)
        with (
            pytest.raises(CheckpointMismatchError, match="sha256 of graph"),  # which 1.0 compared, too
            pytest.warns(UserWarning, match=message),
        ):
            fit(make(), graph.replace(y=graph.y.roll(1)), seeds=2, epochs=6, checkpoint=resume)
        with pytest.warns(UserWarning, match=message) as told:
            assert_same(fit(make(), graph, seeds=2, epochs=6, checkpoint=resume), whole)
        assert [warning.filename for warning in told] == [__file__]


def test_a_training_of_1_0_is_resumed(tmp_path):
    graph = gcnlab.load("karate").with_features("identity")
    options = {"model": seeded(lambda: GCN(graph.num_features, 4, graph.num_classes), 0), "data": graph, "seed": 0}
    shutil.copy(OF_1_0 / "training.gcnlab", tmp_path / "a")  # of 3 epochs
    with pytest.warns(UserWarning, match="a: is of gcnlab 1.0, which kept no digest"):
        resumed = fit(**options, epochs=6, checkpoint=Checkpoint(tmp_path / "a", resume=True))
    options["model"] = seeded(lambda: GCN(graph.num_features, 4, graph.num_classes), 0)
    whole = fit(**options, epochs=6)
    for name, values in whole.metrics.items():
        torch.testing.assert_close(resumed.metrics[name], values, rtol=1e-4, atol=1e-5, msg=name)
    assert (tmp_path / "a").read_bytes()[8:].startswith(b'{"__metadata__"')  # it goes on in today's form


def test_a_model_of_1_0_is_loaded():
    model, header = load_model(OF_1_0 / "model.gcnlab")
    assert (header["recipe"], header["class_names"], header["seeds"]) == ("karate-gcn", ["Mr. Hi", "Officer"], [0])
    scores = predict(model, gcnlab.load("karate").with_features("identity"))
    torch.testing.assert_close(scores[:2], torch.tensor([[0.1259, 0.0493], [0.0868, 0.0246]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "wrong", [None, 3, [], {"x": None}, {"x": ["a"]}, {"x": ["a", 3]}, {"x": ["a", torch.ones(4)]}]
)
def test_digests_that_cannot_be_read_are_named(graph, tmp_path, wrong):
    checkpoint = Checkpoint(tmp_path / "a", resume=True)
    fit(make(), graph, seeds=2, epochs=2, checkpoint=checkpoint)
    rewritten(tmp_path / "a", lambda header, weights, training: training.update(digests=wrong))
    with pytest.raises(CheckpointCorruptError, match="a: its digests of the data cannot be read"):
        fit(make(), graph, seeds=2, epochs=2, checkpoint=checkpoint)


def test_a_checkpoint_says_what_the_model_was_called_with(graph, tmp_path):
    for i, operator in enumerate((None, graph.a_tilde, graph.a_hat.to_dense())):
        path, trained = tmp_path / str(i), seeded(make(), 0)
        fit(trained, graph, epochs=2, operator=operator, checkpoint=Checkpoint(path))
        model, header = load_model(path)
        assert header["operator"] == model.trained_operator == ("a_hat", "a_tilde", "own")[i]
        if i < 2:
            assert torch.equal(predict(model, graph), predict(trained, graph))
        else:
            with pytest.warns(UserWarning, match="trained with a matrix of your own"):
                predict(model, graph)
    rewritten(path, lambda header, weights, training: header.pop("operator"))  # as the files of 1.0
    model, _ = load_model(path)
    assert not hasattr(model, "trained_operator")
    assert torch.equal(predict(model, graph), model(graph.x, graph.a_hat))
    for wrong in ("b_hat", ["a_hat"], 3, {"l_tilde": 2.0}):
        rewritten(path, lambda header, weights, training, wrong=wrong: header.update(operator=wrong))
        with pytest.raises(CheckpointMismatchError, match=r"its operator is .*, which names no matrix of a Graph"):
            load_model(path)


def test_a_training_with_another_matrix_is_not_resumed(graph, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a", resume=True)
    options = {"seeds": 2, "epochs": 2, "checkpoint": checkpoint}
    fit(make(), graph, **options)
    fit(make(), graph, **options, operator=graph.a_hat)  # the same
    for other in (graph.a_tilde, graph.normalize("fill", "rw")):
        with pytest.raises(
            CheckpointMismatchError,
            match=f"operator: None in the file, {other.kind!r} here".replace("(", r"\(").replace(")", r"\)"),
        ):
            fit(make(), graph, **options, operator=other)
    with pytest.raises(CheckpointMismatchError, match="sha256 of graph, labels, masks and class weights"):
        fit(make(), graph, **options, operator=graph.a_hat.with_value(graph.a_hat.value))
    checkpoint.path = tmp_path / "b"
    fit(make(), graph, **options, operator=graph.normalize("add", "rw"))
    with pytest.raises(CheckpointMismatchError, match="in the file, None here"):
        fit(make(), graph, **options)


def rewritten(path, change):
    """Write the checkpoint of `path` again after change(header, weights, training)."""
    header, weights, training = read_checkpoint(path)
    change(header, weights, training)
    write_checkpoint(path, header, weights, training)


WRONG = {
    "a missing weight": (lambda w: w.pop("layers.1.bias"), r"does not fit the model: layers.1.bias is missing\."),
    "two differences": (
        lambda w: (w.pop("layers.1.bias"), w.update(layers=torch.ones(2, 1))),
        r"layers is not in the model; layers.1.bias is missing\.",
    ),
    "a shape": (
        lambda w: w.update({"layers.0.bias": torch.ones(2, 5)}),
        r"layers.0.bias is \((2, )?5,?\) torch.float32, the model has \((2, )?7,?\) torch.float32",
    ),
    "a dtype": (
        lambda w: w.update({"layers.0.bias": w["layers.0.bias"].double()}),
        r"layers.0.bias is .* torch.float64",
    ),
    "NaN": (lambda w: w["layers.1.bias"].fill_(math.nan), r"layers.1.bias holds NaN or infinity"),
    "infinity": (lambda w: w["layers.1.weight"][0, 0, 0].fill_(-math.inf), r"layers.1.weight holds NaN or infinity"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_weights_that_do_not_fit_are_refused(graph, tmp_path, change, message):
    path = tmp_path / "a"
    options = {"model": make(), "data": graph, "seeds": 2, "epochs": 2}
    fit(**options, checkpoint=Checkpoint(path))
    rewritten(path, lambda header, weights, training: change(weights))
    with pytest.raises(CheckpointMismatchError, match=message):
        fit(**options, checkpoint=Checkpoint(path, resume=True))
    with pytest.raises(CheckpointMismatchError, match=message):
        load_model(path)
    fit(**options, checkpoint=Checkpoint(path))
    rewritten(path, lambda header, weights, training: change(training["current"]))
    with pytest.raises(CheckpointMismatchError, match=message):
        fit(**options, checkpoint=Checkpoint(path, resume=True))
    load_model(path)  # reads the kept weights alone


def test_load_model(graph, tmp_path):
    history = fit(make(), graph, seeds=2, epochs=3, checkpoint=Checkpoint(tmp_path / "a"))
    model, header = load_model(tmp_path / "a")
    assert isinstance(model, GCN)
    assert not model.training
    assert header["seeds"] == [0, 1]
    assert all(torch.equal(value, history.state(0)[name]) for name, value in model.state_dict().items())
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "b")


@pytest.mark.parametrize("name", ["NormedGCN", "Module", "torch.nn.Linear", "__import__", "os.system"])
def test_load_model_makes_only_its_own_classes(tmp_path, name):
    header = {"model": {"class": name, "config": {"in_features": 1, "out_features": 1, "name": "os"}}}
    write_checkpoint(tmp_path / "a", header, {"weight": torch.ones(1, 1)})
    with pytest.raises(CheckpointMismatchError, match=rf"holds a {name}, expected one of GCN"):
        load_model(tmp_path / "a")


@pytest.mark.parametrize("config", [{"in_channels": 2}, {**make()().config, "device": "cuda"}, [3, 2], "GCN"], ids=str)
def test_load_model_needs_a_config_that_makes_one(tmp_path, config):
    write_checkpoint(tmp_path / "a", {"model": {"class": "GCN", "config": config}}, {})
    with pytest.raises(CheckpointMismatchError, match=r"its config does not make a GCN"):
        load_model(tmp_path / "a")
    write_checkpoint(tmp_path / "b", {}, {})
    with pytest.raises(CheckpointMismatchError, match=r"holds a None, expected one of GCN"):
        load_model(tmp_path / "b")


def test_a_trained_model_is_no_training_to_resume(graph, tmp_path):
    history = fit(make(), graph, seeds=[0], epochs=2)
    header = {"model": {"class": "GCN", "config": make()().config}, "seeds": [0]}
    write_checkpoint(tmp_path / "a", header, history.states)
    load_model(tmp_path / "a")
    write_checkpoint(tmp_path / "b", header, history.states, {"another": "form"})
    for name in "ab":
        with pytest.raises(CheckpointMismatchError, match=r"holds a trained model, not a training to resume"):
            fit(make(), graph, seeds=[0], epochs=2, checkpoint=Checkpoint(tmp_path / name, resume=True))


# -- damage -----------------------------------------------------------------------------------------------------------


def test_flips_and_truncations_are_found(graph, tmp_path, trials):
    path = tmp_path / "a"
    options = {"model": make(0.5), "data": graph, "seeds": 2, "epochs": 6}
    fit(**options, checkpoint=Checkpoint(path))
    content = path.read_bytes()
    rng = random.Random(0)
    for trial in range(trials("damaged checkpoints", 132, 2200)):
        if trial % 11:
            at = rng.randrange(len(content))
            damaged = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        else:
            damaged = content[: rng.randrange(len(content))]
        path.write_bytes(damaged)
        with pytest.raises(CheckpointCorruptError) as raised:
            read_checkpoint(path)
        assert raised.value.file == str(path)
        if trial % 27 == 0:
            with pytest.raises(CheckpointCorruptError):
                load_model(path)
            with pytest.raises(CheckpointCorruptError):
                fit(**options, checkpoint=Checkpoint(path, resume=True))
        assert path.read_bytes() == damaged  # no door repairs or removes it
    path.write_bytes(content)
    read_checkpoint(path)


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def torch_saved(thing, **options):
    buffer = io.BytesIO()
    torch.save(thing, buffer, **options)
    return buffer.getvalue()


CODE = {
    "pickle": pickle.dumps,
    "torch.save": torch_saved,
    "old torch.save": lambda thing: torch_saved(thing, _use_new_zipfile_serialization=False),
    "numpy": lambda thing: (buffer := io.BytesIO(), np.save(buffer, np.array([thing])), buffer.getvalue())[-1],
}


CONFIGS = {  # arguments of each class of `load_model`, small
    "GCN": (5, 4, 3, 3), "GRAND": (5, 4, 3), "SIGN": ([5, 5], 4, 3), "GraphClassifier": (5, 4, 3), "NoStructure": (5, 4, 3),
    "GridGCN": (1, [4, 6], 3),
}  # fmt: skip
WRONG = [None, True, -1, 0, 2**31, 10**9, 10**18, 1.5, 1e308, "", "x", [], [0], [-1], [10**12], [1] * 100, {}, [[1]]]


def honest(name):
    """Header and weights of a checkpoint of a model."""
    model = MODELS[name](*CONFIGS[name])
    header = {
        "recipe": "karate-gcn", "dataset": "karate", "model": describe(model), "features": {}, "class_names": list("abc"),
        "seeds": [0], "temperature": 1.25, "operator": "a_hat", "image_shape": None, "mirrored": None,
    }  # fmt: skip
    header["model"]["config"] = dict(header["model"]["config"])
    return header, {key: value.detach().unsqueeze(0).clone() for key, value in model.state_dict().items()}


def crafted(rng, name):
    """A checkpoint of a model, and what was made wrong in it, which no file of gcnlab's has."""
    header, weights = honest(name)
    kind = rng.randrange(6)
    if kind < 3:
        key = rng.choice([
            key for key, value in header["model"]["config"].items() if isinstance(value, (int, list)) and not isinstance(value, bool)
        ])  # fmt: skip
        before = header["model"]["config"][key]
        value = rng.choice([wrong for wrong in WRONG if wrong != before and not (before is None and wrong is None)])
        header["model"]["config"][key] = value
        return header, weights, f"{key}={value}"
    if kind == 3:
        key, value = rng.choice([
            *(("class_names", value) for value in (["a"], list("abcd"), "abc", 3, {"a": 1})),
            *(("temperature", value) for value in (0, -1.0, "1", [1.0], True, float("inf"), float("nan"))),
            *(("operator", value) for value in ("b_hat", 3, ["a_hat"], {})), *(("model", value) for value in ([], "GCN", 3, True)),
            *(("recipe", value) for value in (3, [], {})), *(("dataset", value) for value in (3, ["karate"], {})),
            *(("features", value) for value in ("label", 3, [])), *(("image_shape", value) for value in ("28", [-1], [1.5])),
            ("mirrored", 1), ("mirrored", "no"), ("seeds", 0), ("seeds", [-1]), ("seeds", ["0"]),
        ])  # fmt: skip
        header[key] = value
        return header, weights, f"{key}={value}"
    key = rng.choice(list(weights))
    if kind == 4:
        weights[key] = rng.choice([
            weights[key][0], weights[key][:0], weights[key].double() + 1, weights[key][None], torch.tensor(1.0),
            weights[key].repeat(1, *[2] * (weights[key].dim() - 1)) if weights[key].dim() > 1 else weights[key][:0],
        ])  # fmt: skip
        return header, weights, f"{key} of shape {tuple(weights[key].shape)}"
    if rng.random() < 0.5:
        del weights[key]
        return header, weights, f"no {key}"
    header["model"][rng.choice(["class", "config"])] = rng.choice([None, 3, "Linear", [], {}, {"a": 1}, True])
    return header, weights, f"model={header['model']}"


def test_trainings_that_gcnlab_did_not_write_are_not_resumed(graph, tmp_path, trials):
    path = tmp_path / "a"

    def resume():
        return fit(
            seeded(make(), 0), graph, seed=0, epochs=6, progress=False, checkpoint=Checkpoint(path, 3, resume=True)
        )

    fit(seeded(make(), 0), graph, seed=0, epochs=3, progress=False, checkpoint=Checkpoint(path, 3))
    honest = path.read_bytes()
    resume()
    wrong = [None, True, 3.5, "x", [], {}, [[]], {"a": 1}, torch.ones(7), torch.ones(0), -1]
    for trial in range(trials("crafted training states", 60, 600)):
        rng = random.Random(trial)
        path.write_bytes(honest)
        header, weights, training = read_checkpoint(path)
        if rng.random() < 0.3:
            place, key = header, rng.choice(["settings", "seeds", "epoch"])
        else:
            place, key = training, rng.choice(
                ["current", "optimizer", "callbacks", "rng", "num_steps", "epoch_seconds", "rows", "active", "best_epoch", "best_value"]
            )  # fmt: skip
        value = rng.choice([w for w in wrong if place is training or not isinstance(w, torch.Tensor)])
        if key == "callbacks" and value == []:  # this training has none
            value = {}
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = value
        write_checkpoint(path, header, weights, training)
        with pytest.raises((CheckpointMismatchError, CheckpointCorruptError)):
            raise AssertionError(f"trial {trial}: {key}, {value}: {resume()}")


def of_group(**values):
    return lambda t: t["optimizer"]["param_groups"][0].update(values)


def of_parameter(**values):
    return lambda t: t["optimizer"]["state"][0].update(values)


def of_best(name, value):
    return lambda t: t.update({name: t[name] * 0 + value})


NOT_A_STATE = {
    "a step below 0": (of_parameter(step=-1), "step of parameter 0 is -1.0, expected 0 to 3"),
    "more steps than were taken": (of_parameter(step=4), "step of parameter 0 is 4.0, expected 0 to 3"),
    "a step that is a text": (of_parameter(step="x"), "training state cannot be read"),
    "moments of a shape that fits": (
        of_parameter(exp_avg=torch.ones(2, NUM_FEATURES, HIDDEN)),
        "exp_avg of parameter 0",
    ),
    "moments of one value": (of_parameter(exp_avg_sq=torch.tensor(1.0)), r"exp_avg_sq of parameter 0 has shape \(\)"),
    "no moments": (lambda t: t["optimizer"]["state"].clear(), "its state is empty after 3 steps"),
    "a state of no parameter": (lambda t: t["optimizer"]["state"].update({0: 3}), "training state cannot be read"),
    "no learning rate": (of_group(lr=None), "lr is None, expected one like 0.01"),
    "a learning rate below 0": (of_group(lr=-0.1), "lr is -0.1"),
    "a learning rate of NaN": (of_group(lr=math.nan), "lr is nan"),
    "a learning rate of true": (of_group(lr=True), "lr is True"),
    "one beta": (of_group(betas=[0.9]), r"betas is \[0.9\]"),
    "a text for epsilon": (of_group(eps="x"), "eps is 'x'"),
    "best_value NaN": (of_best("best_value", math.nan), "best_value holds NaN"),
    "best_value that nothing betters": (of_best("best_value", -math.inf), "best_value holds NaN, -infinity"),
    "best_value of integers": (lambda t: t.update(best_value=torch.tensor([1])), "best_value holds .* no floats"),
    "best_epoch to come": (of_best("best_epoch", 4), "best_epoch is not from 0 to 3"),
    "best_epoch below 0": (of_best("best_epoch", -1), "best_epoch is not from 0 to 3"),
    "best_epoch a half": (of_best("best_epoch", 0.5), "best_epoch is not from 0 to 3"),
    "active of floats": (of_best("active", 1.0), "active is not true or false"),
    "no steps": (lambda t: t.update(num_steps=0), "num_steps is 0 after 3 epochs"),
    "a word that numpy's generator has not": (lambda t: t["rng"]["numpy"].__setitem__(2, 10**9), "numpy is at word"),
    "a word before numpy's first": (lambda t: t["rng"]["numpy"].__setitem__(2, -5), "numpy is at word -5 of 624"),
    "a text for a scheduler's rate": (lambda t: t["scheduler"].update(base_lrs=["x"]), "scheduler: base_lrs is"),
    "a scheduler before its start": (lambda t: t["scheduler"].update(last_epoch=-3), "scheduler: last_epoch is -3"),
}


@pytest.mark.parametrize("optimizer", [Adam, torch.optim.Adam])
@pytest.mark.parametrize("name", NOT_A_STATE)
def test_a_state_that_no_training_reaches_is_refused(graph, tmp_path, optimizer, name):
    change, message = NOT_A_STATE[name]
    options = {
        "data": graph, "seed": 0, "lr": 0.01, "optimizer": optimizer, "checkpoint": Checkpoint(tmp_path / "a", 1, True),
        "scheduler": lambda opt: torch.optim.lr_scheduler.StepLR(opt, 2),
    }  # fmt: skip
    fit(seeded(make(), 0), epochs=3, **options)
    honest = (tmp_path / "a").read_bytes()
    rewritten(tmp_path / "a", lambda header, weights, training: change(training))
    with pytest.raises(CheckpointCorruptError, match=f"a: .*{message}"):
        fit(seeded(make(), 0), epochs=4, **options)
    (tmp_path / "a").write_bytes(honest)
    fit(seeded(make(), 0), epochs=4, **options)


def test_headers_of_checkpoints_that_no_model_has_are_refused(tmp_path, trials):
    """In little memory and no time: nothing is built before it is known that the weights are those of the model."""
    for names in (["a"], list("abcd")):
        header, weights = honest("GCN")
        write_checkpoint(tmp_path / "a", {**header, "class_names": names}, weights)
        with pytest.raises(CheckpointMismatchError, match=f"has {len(names)} class_names for 3 outputs"):
            load_model(tmp_path / "a")
    for trial in range(trials("crafted headers of checkpoints", 100, 1000)):
        rng = random.Random(trial)
        name = rng.choice(list(CONFIGS))
        torch.manual_seed(trial)
        write_checkpoint(tmp_path / "a", *honest(name))
        load_model(tmp_path / "a")
        header, weights, what = crafted(rng, name)
        write_checkpoint(tmp_path / "a", header, weights)
        began = time.perf_counter()
        with pytest.raises((CheckpointMismatchError, CheckpointCorruptError)) as raised:
            raise AssertionError(f"trial {trial}: {name} with {what} is taken: {load_model(tmp_path / 'a')}")
        assert str(tmp_path / "a") in str(raised.value)
        assert time.perf_counter() - began < 2, f"trial {trial}: {name} with {what}"


@pytest.mark.parametrize("write", CODE.values(), ids=CODE)
def test_code_in_a_checkpoint_never_runs(graph, tmp_path, write):
    path, mark = tmp_path / "a", tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(mark)))  # which shows that it works
    mark.rmdir()
    path.write_bytes(write(Payload(mark)))
    for door in (
        lambda: read_checkpoint(path),
        lambda: load_model(path),
        lambda: fit(make(), graph, seeds=2, epochs=2, checkpoint=Checkpoint(path, resume=True)),
    ):
        with pytest.raises(CheckpointCorruptError, match=r"not a file of gcnlab's arrays"):
            door()
    assert not mark.exists()


def test_other_files_of_arrays_are_no_checkpoints(tmp_path):
    path = tmp_path / "a"
    write_arrays(path, {"kind": "graph"}, {"x": torch.ones(3)})
    with pytest.raises(CheckpointCorruptError, match=r"is a file of gcnlab's arrays, but not a checkpoint"):
        read_checkpoint(path)
    for training in ([], {"tensor": "nowhere"}, {"list": 3}, {"dict": [[1]]}, {"plain": 1, "list": []}, "state"):
        write_arrays(path, {"kind": "gcnlab checkpoint", "training": training}, {})
        with pytest.raises(CheckpointCorruptError, match=r"its training state cannot be read"):
            read_checkpoint(path)
    write_arrays(path, {"kind": "gcnlab checkpoint"}, {})
    with pytest.raises(CheckpointCorruptError):
        read_checkpoint(path)


# -- what a checkpoint holds ------------------------------------------------------------------------------------------


def test_nested_state_round_trip(tmp_path):
    training = {
        "numbers": [1, 2.5, -0.1 - 0.2, 2**70, True, None, "ß"],
        3: {"tensor": torch.arange(5), "empty": {}, "": []},
        "nested": [[torch.tensor(1.5, dtype=torch.bfloat16)], {0: {1: torch.ones(0, 2)}}],
        "infinite": math.inf,
    }
    write_checkpoint(tmp_path / "a", {"note": 1}, {"w": torch.ones(2, 3)}, training)
    header, weights, found = read_checkpoint(tmp_path / "a")
    assert header["note"] == 1
    assert weights["w"].shape == (2, 3)
    assert found["numbers"] == training["numbers"]
    assert found["infinite"] == math.inf
    assert list(found) == list(training)
    assert found[3]["tensor"].tolist() == [0, 1, 2, 3, 4]
    assert (found[3]["empty"], found[3][""]) == ({}, [])
    assert found["nested"][0][0].dtype == torch.bfloat16
    assert found["nested"][1][0][1].shape == (0, 2)
    with pytest.raises(InputTypeError, match=r"training/a/0: is a set, which a checkpoint cannot hold"):
        write_checkpoint(tmp_path / "b", {}, {}, {"a": [{1, 2}]})
    assert not (tmp_path / "b").exists()


def test_generators_go_back():
    state = rng_state()

    def draw():
        return torch.rand(2).tolist(), random.random(), np.random.rand(), np.random.randn()  # noqa: NPY002

    first = draw()
    set_rng_state(state)
    assert draw() == first
    set_rng_state(state)
    with suppress(KeyError), generators_kept():
        assert draw() == first
        raise KeyError
    assert draw() == first
    set_rng_state(state)
    with generators_kept(7):
        seventh = draw()
    assert draw() == first
    set_seed(7)
    assert draw() == seventh != first


class FakeDevice:
    """What stands for `torch.cuda`, or `torch.mps`, whose only generator is a number."""

    def __init__(self, is_used):
        self.is_used, self.state = is_used, 5

    def is_initialized(self):
        return self.is_used

    is_available = is_initialized

    def manual_seed(self, seed):
        assert self.is_used
        self.state = seed

    def get_rng_state(self):
        assert self.is_used
        return torch.tensor([self.state])

    def set_rng_state(self, state):
        assert self.is_used
        self.state = int(state)

    def device_count(self):
        return 1

    manual_seed_all = manual_seed

    def get_rng_state_all(self):
        return [self.get_rng_state()]

    def set_rng_state_all(self, states):
        self.set_rng_state(states[0])


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_the_generators_of_devices_go_back_where_they_are_in_use(monkeypatch, name, is_used):
    """Seeding a CUDA that is not in use yet would be remembered until it is."""
    device = FakeDevice(is_used)
    monkeypatch.setattr(torch, name, device)
    if name == "mps":
        monkeypatch.setattr(torch.backends, "mps", device)
    with generators_kept(11):
        assert device.state == (11 if is_used else 5)
        set_seed(12)
    assert device.state == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (131, 257), (3, 0)])
def test_a_digest_sees_values_and_not_their_last_bits(dtype, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    digest = Digest.of([x, None])
    rounded = x.float() * (1 + 2**-20 * (2 * torch.rand(shape) - 1))
    assert (
        digest
        == Digest.of([rounded.to(dtype), None])
        == Digest.of([x.t().contiguous().t() if x.dim() == 2 else x, None])
    )
    others = [[x], [None, x], [x.unsqueeze(0), None], [x.to(torch.float16), None]]
    if x.numel():
        others += [[factor * x, None] for factor in (1.5, -1, 0)] + [[x.roll(1), None], [x.flip(0), None]]
    for other in others:
        assert digest != Digest.of(other)


def test_a_digest_sees_every_integer_and_places_of_ones():
    x = (torch.rand(100, 163, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    ones, zeros = (x.view(-1) == 1).nonzero(), (x.view(-1) == 0).nonzero()
    for i in range(50):  # a one that is elsewhere leaves the sum and the norm as they were
        other = x.clone()
        other.view(-1)[ones[i]], other.view(-1)[zeros[7 * i]] = 0, 1
        assert Digest.of([x]) != Digest.of([other])
    large = torch.arange(100_000)
    assert Digest.of([large]) != Digest.of([torch.where(large == 77_777, -1, large)])
    holes = torch.tensor([math.nan, 1.0, math.inf, -math.inf])
    assert Digest.of([holes]) == Digest.of([holes.clone()])
    assert Digest.of([holes]) != Digest.of([holes.flip(0)])


def test_a_digest_of_values_sees_every_bit():
    one = torch.eye(3)
    sparse = SparseMatrix.from_dense(one)
    values = [[one], [sparse], [one.to_sparse_coo().double()], [one, ("a", "b")], [one, ("a, b",)], [("a", "b"), one]]
    values += [[one.nextafter(torch.tensor(2.0))], [sparse.with_value(nudged(sparse.value, 1 + 1e-7))], [one, None], []]
    assert len({digest_of(*parts) for parts in values}) == len(values)
    assert digest_of(sparse) == digest_of(one.to_sparse_csr())


def test_sha256_of_tensors_sees_every_bit_and_shape():
    one = torch.arange(6.0)
    digests = {
        sha256_of_tensors(tensors)
        for tensors in ([one], [one.reshape(2, 3)], [one.double()], [one, None], [None, one], [one[:5]], [-one], [])
    }
    assert len(digests) == 8
    assert sha256_of_tensors([one.reshape(2, 3).T]) == sha256_of_tensors([one.reshape(2, 3).T.contiguous()])


# -- kill -9 ----------------------------------------------------------------------------------------------------------

KILL = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from gcnlab.checkpoint import read_checkpoint, write_checkpoint

folder, path = sys.argv[2], sys.argv[2] + "/a"

def save(step):
    value = torch.full((int(sys.argv[4]),), float(step))
    write_checkpoint(path, {"step": step}, {"w": value}, {"state": value})

start = time.perf_counter()
save(0)
save(1)
took = (time.perf_counter() - start) / 2
rng = random.Random(0)
stale = 0
for trial in range(int(sys.argv[3])):
    begun, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(says, b"x")
        for step in range(2, 10**9):
            save(step)
    os.read(begun, 1)
    time.sleep(rng.uniform(0, 1.3 * took))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    stale += len(os.listdir(folder)) > 1
    header, weights, training = read_checkpoint(path)
    assert bool((weights["w"] == header["step"]).all()) and bool((training["state"] == header["step"]).all())
print(stale)

from test_train import fit, make, planted_partition
from gcnlab.train import Checkpoint
open(folder + "/.a.0123.gcnlab-tmp", "wb").close()
read = {}
def scheduler(opt):
    read["at start"] = sorted(os.listdir(folder))
    return torch.optim.lr_scheduler.StepLR(opt, 9)
fit(make(), planted_partition(), seeds=2, epochs=1, scheduler=scheduler, checkpoint=Checkpoint(path))
assert read["at start"] == ["a"] == os.listdir(folder), read
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_kill_while_saving_leaves_the_old_or_the_new_checkpoint(tmp_path, trials):
    here = str(__file__).rpartition("test_checkpoint")[0]
    kills = trials("kill -9 while saving a checkpoint", 20, 200)
    size = 1_000_000 if kills < 200 else 7_500_000  # twice, float32: 8 or 60 MB
    done = subprocess.run(
        [sys.executable, "-c", KILL, here, str(tmp_path), str(kills), str(size)],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0  # some kills did meet a save
