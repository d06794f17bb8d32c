"""Trainings of one model on collections of their own, as one stack: what each gives alone, and what they are made of."""

import pytest
import torch
from checks import assert_close
from torch import nn

import gcnlab
from gcnlab import (
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    GCNConv,
    Graph,
    GraphClassifier,
    GraphCollection,
    NoStructure,
    fit,
)
from gcnlab.errors import CheckpointMismatchError, InputError
from gcnlab.generators import generators_kept
from gcnlab.graph.blocks import BatchBlocks
from gcnlab.layers import GINConv
from gcnlab.models import BatchNorm
from gcnlab.sparse import SparseMatrix
from gcnlab.sparse.blocks import Block, at_once
from gcnlab.train.history import Mean
from gcnlab.train.objective import Batch, Objective, score_batch

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = [3, 0, 11]


class Stacks(Callback):
    """The seeds of each stack that is trained."""

    def __init__(self):
        self.seen = []

    def before_training(self, seeds, optimizer):
        self.seen.append(list(seeds))


def random_graphs(count=47, seed=0, width=5, targets=None, dtype=torch.float64, sparse=False):
    """Graphs of 3 to 11 nodes whose features say their class, with noise."""
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for i in range(count):
        n = int(torch.randint(3, 12, (), generator=draw))
        edges = torch.randint(0, n, (2, 2 * n), generator=draw)
        x = torch.rand(n, width, generator=draw, dtype=torch.float64) + (i % 2) * torch.linspace(0, 0.6, width)
        if sparse:
            x = torch.where(torch.rand(n, width, generator=draw) < 0.15, x, 0)
        y = i % 2 if targets is None else targets[i : i + 1]
        graphs.append(Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), n, x=x, y=y))
    return GraphCollection.from_graphs(graphs).to(dtype)


def folds(graphs, num=3):
    """(training, validation) collections of so many folds, of unequal sizes."""
    ids = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(1)).tensor_split(num)
    rest = [torch.cat([part for part in ids if part is not out]) for out in ids]
    return [graphs[part] for part in rest], [graphs[part] for part in ids]


def maker(conv=GCNConv, num_outputs=2, width=5, **options):
    """Models without the biases that a norm takes away again: Adam makes steps of the rounding errors of their gradients."""
    options = {"readout": "mean", "jumping_knowledge": "cat", "dropout": 0.0, "num_layers": 2, **options}

    def without_bias(a, b):
        return conv(a, b, bias=False) if conv is GCNConv else conv(a, b)

    return lambda: GraphClassifier(width, 7, num_outputs, conv=without_bias, **options).double()


def alone(make, data, val, seed, **options):
    with generators_kept(seed):
        model = make()
    return fit(model, data, val, seed=seed, **options)


def assert_each_is_alone(make, data, val, *, stacks, tolerance=1e-10, seeds=SEEDS, options=dict):
    """`options()` makes the options of one call of fit, whose callbacks are its own."""
    told = Stacks()
    given = options()
    together = fit(
        make, data, val, seeds=seeds, **{**given, "callbacks": [*given.get("callbacks", ()), told], "progress": False}
    )
    assert told.seen == stacks
    assert together.seeds == list(seeds)
    lengths = []
    for i, seed in enumerate(seeds):
        one = alone(make, data[i], None if val is None else val[i], seed, **options())
        mine = together.part([i])
        assert mine.best_epoch.tolist() == one.best_epoch.tolist()
        assert mine.metrics.keys() == one.metrics.keys()
        for name, value in one.metrics.items():
            assert_close(mine.metrics[name], value, tolerance, name)
        assert mine.states.keys() == one.states.keys()
        for name, value in one.states.items():
            assert_close(mine.states[name], value, tolerance, name)
        lengths.append(len(one.metrics["train_loss"]))
    return lengths


def step_lr(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)


# -- each training is what it is alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["mean", "sum", "max", "mean+max+sum"])
@pytest.mark.parametrize("norm", ["batch", None])
def test_trainings_together_are_trainings_alone(readout, norm):
    data, val = folds(random_graphs())
    assert [len(part) for part in val] == [16, 16, 15]  # so that batches differ in graphs, too

    def options():
        return {
            "epochs": 14, "batch_size": 8, "lr": 0.05, "scheduler": step_lr, "callbacks": [EarlyStopping(3)],
            "weight_decay": 1e-3,
        }  # fmt: skip

    lengths = assert_each_is_alone(maker(readout=readout, norm=norm), data, val, stacks=[SEEDS], options=options)
    assert len(set(lengths)) > 1 or (readout, norm) != ("mean", "batch")  # they stop at different epochs


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"jumping_knowledge": "last", "head_layers": 2}, {"optimizer": torch.optim.SGD, "clip_norm": 0.1}),
        ({}, {"average": 0.7, "select": "last", "label_smoothing": 0.1}),
        ({"num_layers": 3}, {"class_weight": torch.tensor([0.3, 2.0]), "scheduler": "one-cycle"}),
        ({}, {"loss": nn.CrossEntropyLoss(reduction="none"), "select": "val_accuracy"}),
    ],
    ids=["sgd", "averaged", "weighted", "a function"],
)
def test_options_mean_the_same_in_a_stack(changes, options):
    data, val = folds(random_graphs())
    assert_each_is_alone(
        maker(**changes),
        data,
        val,
        stacks=[SEEDS],
        options=lambda: {"epochs": 5, "batch_size": 8, "lr": 0.05, **options},
    )


@pytest.mark.parametrize("loss", ["binary", "mse", "mae"])
def test_targets_in_a_stack(loss):
    targets = torch.rand(47, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    targets = targets.round() if loss == "binary" else targets
    targets[torch.rand(47, 3, generator=torch.Generator().manual_seed(5)) < 0.2] = float("nan")
    data, val = folds(random_graphs(targets=targets))
    assert_each_is_alone(
        maker(num_outputs=3), data, val, stacks=[SEEDS], options=lambda: {"epochs": 4, "batch_size": 8, "loss": loss}
    )


def test_without_validation():
    data, _ = folds(random_graphs())
    options = {"epochs": 3, "batch_size": 8, "select": "train_loss"}
    assert_each_is_alone(maker(), data, None, stacks=[SEEDS], options=lambda: options)


@pytest.mark.parametrize("sparse", [True, False])
def test_collections_of_their_own(sparse):
    """No whole is shared, and one validation has fewer batches than the others."""
    data = [random_graphs(24, seed, sparse=sparse) for seed in range(3)]
    val = [random_graphs(count, 9 + count, sparse=sparse) for count in (5, 17, 8)]
    assert isinstance(data[0].whole.x, SparseMatrix) == sparse
    assert_each_is_alone(maker(), data, val, stacks=[SEEDS], options=lambda: {"epochs": 4, "batch_size": 8})


@pytest.mark.parametrize("sparse", [True, False])
def test_the_baseline_without_structure_in_a_stack(sparse):
    data, val = folds(random_graphs(sparse=sparse))
    options = {"epochs": 4, "batch_size": 8}
    assert_each_is_alone(lambda: NoStructure(5, 7, 2, 0.0).double(), data, val, stacks=[SEEDS], options=lambda: options)


def test_alike_nodes_are_merged_in_a_stack_too():
    rings = []
    for i in range(30):
        n = 5 + i % 4
        nodes = torch.arange(n)
        ends = torch.stack([nodes, (nodes + 1) % n]) if i % 2 else torch.stack([nodes[1:], 0 * nodes[1:]])
        rings.append(Graph.from_edges(torch.cat([ends, ends.flip(0)], 1), n, y=i % 2).with_features("degree"))
    graphs = GraphCollection.from_graphs(rings).to(torch.float64)
    assert graphs.merged() is not graphs
    assert not graphs.merged().whole.a_hat.symmetric
    data, val = folds(graphs)
    make = maker(width=graphs.num_features, readout="mean+sum")
    assert_each_is_alone(make, data, val, stacks=[SEEDS], options=lambda: {"epochs": 4, "batch_size": 6, "lr": 0.05})


def test_trainings_of_as_many_batches_are_one_stack():
    graphs = random_graphs()
    data = [graphs[:32], graphs[:20], graphs[10:40], graphs[22:40]]
    val = [graphs[40:]] * 4
    assert_each_is_alone(
        maker(),
        data,
        val,
        stacks=[[3, 9], [0, 11]],
        seeds=[3, 0, 9, 11],
        options=lambda: {"epochs": 3, "batch_size": 8},
    )


def test_no_more_than_seeds_at_once_are_one_stack():
    data, val = folds(random_graphs())
    options = {"epochs": 3, "batch_size": 8, "seeds_at_once": 2}
    assert_each_is_alone(maker(), data, val, stacks=[SEEDS[:2], SEEDS[2:]], options=lambda: options)


class OwnMean(nn.Module):
    """A model that would count the nodes that are added to a batch, and does not say that it merges nodes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x, a_hat, batch):
        return self.layer(batch @ x - x.mean(0))


class Watched(nn.Module):
    """A model that merges nodes and looks at values, which torch.func.vmap can't."""

    merges_nodes = True

    def __init__(self):
        super().__init__()
        self.inner = maker()()

    def forward(self, x, a_hat, batch):
        out = self.inner(x, a_hat, batch)
        return out if float(out.detach().sum()) < 1e9 else -out


@pytest.mark.parametrize(
    "make",
    [maker(conv=GINConv), maker(readout="sort"), maker(readout="attention"), lambda: OwnMean().double(), Watched],
    ids=["gin", "sort", "attention", "own", "values"],
)
def test_what_cannot_be_a_stack_is_trained_one_by_one(make):
    data, val = folds(random_graphs(), 3)
    assert_each_is_alone(
        make, data, val, stacks=[[seed] for seed in SEEDS], tolerance=0, options=lambda: {"epochs": 3, "batch_size": 8}
    )


def test_a_batch_of_one_node_is_no_part_of_a_stack():
    """Alone, a batch norm takes its running averages for it."""
    graphs = [
        *random_graphs(16),
        *(Graph.from_edges([[], []], 1, x=torch.rand(1, 5).double(), y=i % 2) for i in range(9)),
    ]
    data = GraphCollection.from_graphs(graphs)
    with pytest.warns(UserWarning, match="a batch norm met a batch of a single row"):
        history = fit(
            maker(), [data] * 2, [data] * 2, seeds=[0, 1], epochs=9, batch_size=8, callbacks=[told := Stacks()]
        )
    assert told.seen == [[0], [1]]
    assert bool(history.metrics["val_loss"].isfinite().all())


def test_an_operator_of_the_users_is_that_of_each_batch():
    data, val = folds(random_graphs())

    def without_loops(batch):
        a = batch.adjacency
        return batch.graph.replace(adjacency=a.select_entries(a.row != a.col)).a_hat

    assert_each_is_alone(
        maker(), data, val, stacks=[[seed] for seed in SEEDS], tolerance=0,
        options=lambda: {"epochs": 2, "batch_size": 8, "operator": without_loops},
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("readout", ["mean", "mean+max+sum"])
def test_a_stack_on_a_gpu(readout):
    data, val = ([part.to("cuda") for part in parts] for parts in folds(random_graphs()))
    make = maker(readout=readout)
    assert_each_is_alone(
        lambda: make().cuda(), data, val, stacks=[SEEDS], tolerance=1e-8,
        options=lambda: {"epochs": 5, "batch_size": 8, "callbacks": [EarlyStopping(2)]},
    )  # fmt: skip


# -- seeds and dropout --------------------------------------------------------------------------------------------------


def test_one_seed_may_be_that_of_all():
    data, val = folds(random_graphs())
    options = {"epochs": 2, "batch_size": 8}
    assert_each_is_alone(maker(), data, val, stacks=[[5, 5, 5]], seeds=[5, 5, 5], options=lambda: options)


def test_dropout_masks_differ_between_trainings_and_are_as_strong_as_alone():
    graphs = random_graphs(40)
    make, options = maker(dropout=0.5), {"epochs": 6, "batch_size": 10, "select": "last"}
    same = fit(make, [graphs] * 3, [graphs] * 3, seeds=[7] * 3, **options)
    assert len(set(same.metrics["train_loss"][0].tolist())) == 3
    seeds = list(range(12))
    together = fit(make, [graphs] * 12, [graphs] * 12, seeds=seeds, **options).metrics["train_loss"][-1]
    ones = torch.cat([alone(make, graphs, graphs, seed, **options).metrics["train_loss"][-1] for seed in seeds])
    error = float((together.var() + ones.var()).div(12).sqrt())
    assert abs(float(together.mean() - ones.mean())) < 3 * error
    none = fit(maker(), [graphs] * 12, [graphs] * 12, seeds=seeds, **options).metrics["train_loss"][-1]
    assert float(none.mean()) < float(together.mean()) - 3 * error


def test_a_stack_repeats_to_the_bit_and_leaves_the_generators():
    data, val = folds(random_graphs())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    runs = [fit(maker(dropout=0.5), data, val, seeds=SEEDS, epochs=3, batch_size=8) for _ in range(2)]
    assert all(torch.equal(value, runs[1].states[name]) for name, value in runs[0].states.items())
    assert torch.equal(torch.get_rng_state(), before)


# -- saved and resumed --------------------------------------------------------------------------------------------------


def test_a_resumed_stack_is_the_uninterrupted_one(tmp_path):
    data, val = folds(random_graphs())

    def run(epochs, **options):
        return fit(
            maker(dropout=0.3), data, val, seeds=SEEDS, epochs=epochs, batch_size=8, scheduler=step_lr,
            callbacks=[EarlyStopping(4)], average=0.5, **options,
        )  # fmt: skip

    whole = run(9)
    run(4, checkpoint=Checkpoint(tmp_path / "a"))
    resumed = run(9, checkpoint=Checkpoint(tmp_path / "a", resume=True))
    assert resumed.best_epoch.tolist() == whole.best_epoch.tolist()
    for name, value in whole.metrics.items():
        assert torch.equal(resumed.metrics[name].nan_to_num(-1), value.nan_to_num(-1))
    assert all(torch.equal(resumed.states[name], value) for name, value in whole.states.items())


def test_a_stack_on_other_folds_is_not_resumed(tmp_path):
    data, val = folds(random_graphs())
    options = {"seeds": SEEDS, "epochs": 2, "batch_size": 8}
    fit(maker(), data, val, checkpoint=Checkpoint(tmp_path / "a"), **options)
    swapped = [data[0], data[2], data[1]]
    with pytest.raises(CheckpointMismatchError, match="of training 1"):
        fit(maker(), swapped, val, checkpoint=Checkpoint(tmp_path / "a", resume=True), **options)
    with pytest.raises(InputError, match="checkpoint: got 3 trainings, but one stack"):
        fit(maker(conv=GINConv), data, val, checkpoint=Checkpoint(tmp_path / "b"), **options)


# -- what is refused ----------------------------------------------------------------------------------------------------


def test_inputs_that_do_not_fit_each_other():
    data, val = folds(random_graphs())
    options = {"epochs": 1, "batch_size": 8}

    make = maker()

    def refused(match, data=data, val=val, make=make, kind=InputError, **changes):
        with pytest.raises(kind, match=match):
            fit(make, data, val, **{"seeds": SEEDS, **options, **changes})

    refused("model: got a module, but each training needs its own", make=maker()(), kind=gcnlab.errors.InputTypeError)
    refused(r"seeds: got none, but each of the 3 collections", seeds=None)
    refused(r"seeds: got 2, but data has 3 collections", seeds=2)
    refused(r"val: got 2, but data has 3 collections", val=val[:2])
    refused(r"val: got GraphCollection, expected a list", val=val[0], kind=gcnlab.errors.InputTypeError)
    refused(
        r"data\[1\]: got Graph, expected a GraphCollection",
        data=[data[0], data[0][0], data[2]],
        kind=gcnlab.errors.InputTypeError,
    )
    refused(r"data\[2\]: has features: 3, but data\[0\] 5", data=[*data[:2], random_graphs(20, width=3)])
    refused(r"val\[0\]: has the dtype torch.float32", val=[random_graphs(20, dtype=torch.float32), *val[1:]])
    targets = torch.rand(20, 2, dtype=torch.float64)
    refused(r"data\[1\]: has labels of shape", data=[data[0], random_graphs(20, targets=targets), data[2]])
    refused("val: got none", val=None)
    module = maker()()
    refused("model: the function gave one module twice", make=lambda: module)
    with pytest.raises(InputError, match=r"seeds: got \[1, 1\], expected each once"):
        fit(maker(), data[0], val[0], seeds=[1, 1], **options)


def test_a_training_that_diverges_is_named():
    data, val = folds(random_graphs())
    x = data[1].whole.x.clone()
    data[1] = GraphCollection(data[1].whole.replace(x=1e308 * x), data[1]._ptr, data[1]._y)[data[1].ids]
    with pytest.raises(gcnlab.errors.NonFiniteError, match="of seed 0 is not finite"):
        fit(maker(norm=None, readout="sum"), data, val, seeds=SEEDS, epochs=3, batch_size=8)


# -- what a stack is made of --------------------------------------------------------------------------------------------


def test_the_blocks_of_a_batch():
    """Against the batches of each training alone, dense."""
    graphs = random_graphs(12)
    empty = Graph.from_edges([[], []], 0, x=torch.zeros(0, 5).double(), y=0)
    graphs = GraphCollection.from_graphs([*graphs, empty])
    chosen = [torch.tensor([3, 1, 12]), torch.tensor([], dtype=torch.int64), torch.tensor([7, 0, 2, 9])]
    blocks = BatchBlocks.of(graphs.batch(torch.cat(chosen)), "a_hat", [3, 0, 4])
    n, b = blocks.graph.shape[1], 5
    assert blocks.counts.tolist() == [[i < size for i in range(b)] for size in (3, 0, 4)]
    a_hat, p = blocks.matrix.to_dense(), blocks.p.to_dense()
    assert a_hat.shape == (3 * n, 3 * n)
    for i, ids in enumerate(chosen):
        rows, read = slice(i * n, (i + 1) * n), slice(i * b, (i + 1) * b)
        own = graphs.batch(ids)
        m = own.num_nodes
        assert float(a_hat[rows].abs().sum()) == pytest.approx(float(a_hat[rows, rows].abs().sum()))
        assert_close(a_hat[rows, rows][:m, :m], own.a_hat.to_dense())
        assert not bool(a_hat[rows, rows][m:].any())
        expected = torch.zeros(b, n).double()
        if len(ids):
            expected[: len(ids), :m] = own.p.to_dense()
            assert_close(blocks.x[i, :m], own.x)
            assert blocks.y[i, : len(ids)].tolist() == own.y.tolist()
        assert_close(p[read, rows], expected)
        assert torch.equal(blocks.rowptr[i].diff(), blocks.graph[i].bincount(minlength=b))


def test_a_block_is_its_part_of_the_whole():
    parts = [SparseMatrix.from_dense(torch.rand(3, 4).round().double()) for _ in range(5)]
    whole = SparseMatrix.from_dense(torch.block_diag(*(part.to_dense() for part in parts)))
    x = torch.rand(5, 4, 2, dtype=torch.float64, requires_grad=True)

    def product(x):
        block = Block(whole, 5)
        assert block.shape == (3, 4)
        return block @ x, block.row_sums()

    out, sums = torch.func.vmap(product)(x)
    expected = torch.stack([part.to_dense() @ x_i for part, x_i in zip(parts, x, strict=True)])
    assert_close(out, expected)
    assert_close(sums, torch.stack([part.to_dense().sum(1) for part in parts]))
    weight = torch.rand_like(out)
    found, wanted = (torch.autograd.grad(of, x, weight)[0] for of in (out, expected))
    assert_close(found, wanted)
    with pytest.raises(AttributeError, match="rowptr: one block of several has products alone"):
        _ = Block(whole, 5).rowptr


def test_at_once_gives_all_items_in_a_leading_dimension():
    seen = []

    def all_items(x, y, name):
        seen.append((x.shape, y.shape, name))
        return x.sum(-1) + y.unsqueeze(-1), x.cumsum(-1)

    def one(x, y):
        return at_once(all_items, x, y, "both")

    x, y = torch.rand(2, 6, 3), torch.rand(())
    total, running = torch.func.vmap(one, in_dims=(1, None))(x, y)
    assert seen == [((6, 2, 3), (6,), "both")]
    assert_close(total, x.sum(-1).t() + y, 1e-6)
    assert_close(running, x.cumsum(-1).movedim(1, 0), 1e-6)
    plain = one(x, y)
    assert_close(plain[0], x.sum(-1) + y, 1e-6)


def test_a_pattern_of_each_item_is_no_product():
    """Rather an error than the product with the first item's."""
    matrix = SparseMatrix.eye(3)

    def one(rowptr, x):
        return SparseMatrix(rowptr, matrix.col, matrix.value, (3, 3)) @ x

    with pytest.raises(InputError, match="goes over patterns"):
        torch.func.vmap(one)(matrix.rowptr.expand(2, 4).clone(), torch.rand(2, 3, 1))


def test_a_batch_norm_of_several_moves_the_averages_of_each():
    norm, h = BatchNorm(4), torch.rand(3, 6, 4)
    counts = torch.tensor([[1.0, 1, 1, 1, 0, 0], [1, 2, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    averages = {name: torch.stack([value.clone() for _ in range(3)]) for name, value in norm.named_buffers()}

    def one(own, h, counts):
        return torch.func.functional_call(norm, own, (h, counts))

    out = torch.func.vmap(one)(averages, h, counts)
    for i in range(3):
        rows = torch.repeat_interleave(torch.arange(6), counts[i].long())
        plain = nn.BatchNorm1d(4)
        expected = plain(h[i, rows])
        assert_close(out[i, rows], expected.detach(), 1e-5)
        for name, value in plain.named_buffers():
            assert_close(averages[name][i], value, 1e-5, name)
    assert norm.num_batches_tracked == 0


def test_a_mean_over_batches_of_several_trainings():
    mean = Mean()
    mean.add({"loss": torch.tensor([2, 0])}, {"loss": torch.tensor([1.0, 0.0])})
    mean.add({"loss": torch.tensor([6, 0])}, {"loss": torch.tensor([3.0, 0.0])})
    assert mean.value()["loss"].tolist() == [2.5, 0.0]


def test_scores_of_rows_of_their_own():
    objective = Objective("cross-entropy", 3, True, torch.tensor([1.0, 0.5, 2.0]))
    logits, y = torch.randn(2, 4, 3, dtype=torch.float64), torch.tensor([[0, 1, 2, 0], [2, 0, 0, 0]])
    own = torch.tensor([[True, True, True, False], [True, False, False, False]])
    counts, scores = score_batch(logits, Batch((), None, y, own=own), objective)
    for i in range(2):
        expected = score_batch(logits[i : i + 1, own[i]], Batch((), None, y[i, own[i]]), objective)
        for name in ("loss", "accuracy"):
            assert_close(scores[name][i], expected[1][name][0])
            assert float(counts[name][i]) == float(expected[0][name])


def test_adam_of_a_stack_is_adam():
    """The optimizer sees stacked weights: element-wise ones treat them as they treat each alone."""
    data, val = folds(random_graphs())
    histories = [
        fit(maker(), data, val, seeds=SEEDS, epochs=3, batch_size=8, optimizer=optimizer)
        for optimizer in (Adam, torch.optim.Adam)
    ]
    assert_close(histories[0].metrics["val_loss"], histories[1].metrics["val_loss"], 1e-9)
