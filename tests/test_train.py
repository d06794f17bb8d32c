import copy
import functools
import io
import json
import math
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import time
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from checks import unnamed
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import register_optimizer_step_post_hook

import gcnlab
from gcnlab import GCN, ChebConv, GINConv, Graph, GraphClassifier, GraphCollection, GraphLoader, Signals
from gcnlab.data.synthetic import power_law_edges
from gcnlab.errors import CheckpointMismatchError, InputError, InputTypeError, NonFiniteError
from gcnlab.generators import generators_alone
from gcnlab.layers import GCNConv
from gcnlab.layers.norm import BatchNorm
from gcnlab.models import SIGN
from gcnlab.precompute import NodeRows
from gcnlab.scale import NeighborSampler, RandomNodeSampler
from gcnlab.trace import evaluation
from gcnlab.train import METRICS, Adam, Callback, Checkpoint, EarlyStopping, History, StopAt, fit, predict
from gcnlab.train.callbacks import _Silent
from gcnlab.train.norms import averages_made_again
from gcnlab.train.objective import check_finite
from gcnlab.transfer import freeze

NUM_NODES, NUM_FEATURES, NUM_CLASSES, HIDDEN = 61, 13, 3, 7


def planted_partition(num_nodes=NUM_NODES, num_features=NUM_FEATURES, num_classes=NUM_CLASSES, seed=0):
    """Classes that mostly link among themselves, with noisy features of their own."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % num_classes
    same = y.unsqueeze(0) == y.unsqueeze(1)
    probability = torch.where(same, 6 * num_classes, 3) / num_nodes
    upper = (torch.rand(num_nodes, num_nodes, generator=generator) < probability).float().triu(1)
    centres = torch.randn(num_classes, num_features, generator=generator)
    x = centres[y] + 2 * torch.randn(num_nodes, num_features, generator=generator)
    order = torch.randperm(num_nodes, generator=generator)
    train, val = torch.zeros(2, num_nodes, dtype=torch.bool)
    train[order[: num_nodes // 5]] = True
    val[order[num_nodes // 5 : num_nodes // 2]] = True
    return Graph.from_dense(upper + upper.T, x=x, y=y, train_mask=train, val_mask=val, test_mask=~(train | val))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Such small products take longer on two threads, much longer on a machine that does other work too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def graph():
    return planted_partition()


def make(dropout=0.0):
    return lambda: GCN(NUM_FEATURES, HIDDEN, NUM_CLASSES, dropout=dropout)


def seeded(maker, seed):
    torch.manual_seed(seed)
    return maker()


class WholeGraph(nn.Module):
    """A model whose forward takes one operator, so that it is trained on the whole graph."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, a_hat):
        return self.inner(x, a_hat)


class NormedGCN(nn.Module):
    """A model with buffers: running averages, and a count of batches in int64."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = GCNConv(NUM_FEATURES, HIDDEN), nn.BatchNorm1d(HIDDEN)
        self.second = GCNConv(HIDDEN, NUM_CLASSES)

    def forward(self, x, a_hat):
        return self.second(self.norm(self.first(x, a_hat)).relu(), a_hat)


class StopAfter(Callback):
    """Stops the i-th seed after epoch epochs[i], or all after epoch epochs."""

    def __init__(self, epochs):
        self.epochs = torch.tensor(epochs)

    def after_epoch(self, epoch, metrics):
        return self.epochs <= epoch


def assert_close(a, b, tolerance):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# -- Adam -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("settings", [{}, {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.3}], ids=str)
def test_adam_is_that_of_torch(settings, dtype):
    sides = []
    for adam in (Adam, torch.optim.Adam):
        generator = torch.Generator().manual_seed(0)
        params = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in ((5, 3), (3,), ())]
        late = torch.ones(2, dtype=dtype, requires_grad=True)
        never = torch.ones(2, dtype=dtype, requires_grad=True)
        opt = adam(
            [{"params": params[:1], "weight_decay": 5e-2}, {"params": [*params[1:], late, never], "lr": 0.03}],
            **settings,
        )
        schedule = torch.optim.lr_scheduler.StepLR(opt, 20, 0.5)
        for step in range(50):
            opt.zero_grad()
            loss = sum((p.sin() * torch.randn(p.shape, generator=generator, dtype=dtype)).sum() for p in params)
            if step % 3 == 2:  # a parameter that not every step uses: its averages count its own steps
                loss = loss + late.square().sum()
            loss.backward()
            opt.step()
            schedule.step()
        sides.append([*params, late, never])
    for ours, theirs in zip(*sides, strict=True):
        assert_close(ours, theirs, 1e-7 if dtype == torch.float32 else 1e-14)
    assert sides[0][-1].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["transposed", "transposed gradient", "16 bits", "state of another shape"])
def test_adam_of_what_is_no_plain_array(kind):
    """torch's fused Adam reads memory as it comes and checks nothing; such parameters are not for it."""
    sides = []
    for adam in (Adam, torch.optim.Adam):
        generator = torch.Generator().manual_seed(0)
        p = torch.randn(7, 5, generator=generator).to(torch.bfloat16 if kind == "16 bits" else torch.float32)
        p = (p.t().detach() if kind == "transposed" else p).requires_grad_()
        opt = adam([p], lr=0.1, weight_decay=0.1)
        for _ in range(3):
            p.grad = torch.randn(p.shape[::-1], generator=generator).t().to(p.dtype)
            if kind != "transposed gradient":
                p.grad = torch.empty_like(p).copy_(p.grad)
            opt.step()
        sides.append(p)
    assert_close(*sides, 1e-7)
    if kind == "state of another shape":
        opt = Adam([p])
        opt.state[p] = {"step": 1, "exp_avg": torch.zeros(5, 7), "exp_avg_sq": torch.zeros_like(p)}
        with pytest.raises(RuntimeError, match="size"):
            opt.step()


def test_adam_goes_on_from_its_state():
    def steps(opt, p, count):
        for _ in range(count):
            opt.zero_grad()
            p.square().sum().backward()
            opt.step()

    one, other = (torch.ones(3, requires_grad=True) for _ in range(2))
    opt = Adam([one], lr=0.1, weight_decay=0.1)
    steps(opt, one, 5)
    state = opt.state_dict()
    with torch.no_grad():
        other.copy_(one)
    copy = Adam([other], lr=7.0)
    copy.load_state_dict(state)
    steps(opt, one, 5)
    steps(copy, other, 5)
    assert torch.equal(one, other)


def stepped(make, steps=2, **settings):
    p = torch.nn.Parameter(torch.arange(3.0))
    opt = make([p], lr=0.1, **settings)
    for k in range(steps):
        p.grad = torch.tensor([1.0, -2.0, 0.5]) * (k + 1)
        opt.step()
    return p, opt


def next_step(p, opt):
    p.grad = torch.ones(3)
    opt.step()
    return p.detach().clone()


def test_adam_keeps_the_contract_of_an_optimizer():
    want = next_step(*stepped(Adam))
    p, opt = stepped(Adam)
    assert {key: state.keys() for key, state in opt.state.items()} == {p: {"step", "exp_avg", "exp_avg_sq"}}
    assert opt.state[p]["step"] == 2
    assert torch.equal(next_step(*copy.deepcopy((p, opt))), want)
    assert torch.equal(next_step(*pickle.loads(pickle.dumps((p, opt)))), want)
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("pre"))
    opt.register_step_post_hook(lambda *_: calls.append("post"))
    assert torch.equal(next_step(p, opt), want)
    assert calls == ["pre", "post"]
    with register_optimizer_step_post_hook(lambda *_: calls.append("of every optimizer")):
        next_step(*stepped(Adam, 0))
    assert calls[2:] == ["of every optimizer"]
    other = torch.nn.Parameter(torch.ones(2))
    opt.add_param_group({"params": [other], "lr": 1.0})
    assert [group["lr"] for group in opt.param_groups] == [0.1, 1.0]
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [other]})

    def closure():
        assert torch.is_grad_enabled()
        opt.zero_grad()
        loss = other.square().sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 2
    assert other.tolist() == pytest.approx([0, 0], abs=1e-6)
    opt.zero_grad(set_to_none=False)
    assert other.grad.tolist() == [0, 0]
    opt.zero_grad()
    assert other.grad is None


@pytest.mark.parametrize("settings", [{}, {"betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1}], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (torch.optim.Adam, Adam)])
def test_adam_of_gcnlab_and_of_torch_go_on_from_each_other(ours, theirs, settings):
    (p, one), (q, other) = stepped(ours, 0), stepped(theirs, 3, **settings)
    p.data.copy_(q.data)
    one.load_state_dict(other.state_dict())
    before = other.state_dict()["state"][0]["exp_avg"].clone()
    found = next_step(p, one)
    assert torch.equal(other.state_dict()["state"][0]["exp_avg"], before) or ours is not Adam  # torch's shares it
    if ours is Adam:
        assert_close(found, next_step(q, other), 1e-7)
    else:
        assert_close(found, next_step(*stepped(torch.optim.Adam, 3, **settings)), 1e-7)


def test_adam_refuses_a_state_of_another_kind():
    opt = stepped(Adam)[1]
    for make in (
        lambda params, lr: torch.optim.Adam(params, lr, amsgrad=True), torch.optim.AdamW,
        lambda params, lr: torch.optim.Adam(params, lr, maximize=True),
        lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    ):  # fmt: skip
        with pytest.raises(CheckpointMismatchError, match="optimizer: the state is of"):
            opt.load_state_dict(stepped(make)[1].state_dict())


def test_adam_goes_on_from_the_state_of_1_0():
    want = next_step(*stepped(Adam))
    (p, _), (q, opt) = stepped(Adam), stepped(Adam, 0)
    q.data.copy_(p.data)
    state = stepped(Adam)[1].state_dict()
    old = {0: [2, state["state"][0]["exp_avg"], state["state"][0]["exp_avg_sq"]]}
    groups = [{key: value for key, value in state["param_groups"][0].items() if key != "params"}]
    opt.load_state_dict({"state": old, "param_groups": groups})
    assert torch.equal(next_step(q, opt), want)


def test_adam_does_not_import_the_compiler():
    code = (
        "import sys, torch, gcnlab; p = torch.nn.Parameter(torch.ones(2)); opt = gcnlab.Adam([p]); p.grad = torch.ones(2); "
        "opt.step(); opt.zero_grad(); opt.load_state_dict(opt.state_dict()); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_optimizer_that_needs_a_closure(graph):
    with pytest.raises(InputError, match=r"optimizer: LBFGS needs a closure .* gcnlab\.Adam, torch\.optim\.AdamW"):
        fit(GCN(NUM_FEATURES, 4, 3), graph, epochs=1, optimizer=torch.optim.LBFGS)


@pytest.mark.parametrize("error", [None, ValueError])
def test_evaluation_gives_each_module_its_own_mode_back(error):
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval(), nn.Linear(2, 2))
    with pytest.raises(error) if error else nullcontext(), evaluation(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        if error:
            raise error
    assert [module.training for module in model.modules()] == [True, True, False, True]


# -- one model --------------------------------------------------------------------------------------------------------


def test_karate_is_learned_from_its_two_leaders():
    karate = gcnlab.load("karate").with_features("identity")
    torch.manual_seed(0)
    model = GCN(34, 16, 2)
    history = fit(model, karate, epochs=100)
    assert float(history.metrics["train_loss"][-1]) < 0.2 < float(history.metrics["train_loss"][0])
    accuracy = (predict(model, karate).argmax(1) == karate.y)[karate.test_mask].float().mean()
    assert float(accuracy) > 0.85
    assert not model.training


def test_a_planted_partition_is_learned(graph):
    history = fit(make(0.5), graph, seeds=3, epochs=60, lr=0.02, weight_decay=5e-4)
    assert float(history.best("val_accuracy").min()) > 0.7
    assert history.seeds == [0, 1, 2]
    assert set(history.metrics) == set(METRICS)
    assert all(table.shape == (60, 3) for table in history.metrics.values())
    assert len(history.epoch_seconds) == 60


def test_the_model_is_left_with_the_kept_weights(graph):
    model = seeded(make(), 0)
    history = fit(model, graph, epochs=40, lr=0.1)
    best = int(history.best_epoch) - 1
    assert best == int(history.metrics["val_loss"][:, 0].argmin()) < 39
    assert all(torch.equal(value, history.state(0)[name]) for name, value in model.state_dict().items())
    logits = predict(model, graph, graph.val_mask)
    loss = nn.functional.cross_entropy(logits, graph.y[graph.val_mask])
    assert_close(loss, history.best("val_loss")[0], 1e-6)


def test_the_losses_are_those_of_a_plain_loop(graph):
    """Dense float64, torch.optim.Adam, cross_entropy: nothing of the training loop."""
    small = graph.replace(x=graph.x.double())
    model, oracle = (seeded(make(), 0).double() for _ in range(2))
    history = fit(model, small, epochs=20, lr=0.05, weight_decay={"layers.0": 0.01}, select="last")
    a_hat, parameters = small.a_hat.to_dense(), list(oracle.layers)
    groups = [{"params": parameters[0].parameters(), "weight_decay": 0.01}, {"params": parameters[1].parameters()}]
    opt = torch.optim.Adam(groups, lr=0.05)
    for epoch in range(20):
        h = (a_hat @ small.x @ oracle.layers[0].weight + oracle.layers[0].bias).relu()
        logits = a_hat @ h @ oracle.layers[1].weight + oracle.layers[1].bias
        loss = nn.functional.cross_entropy(logits[small.train_mask], small.y[small.train_mask])
        assert_close(history.metrics["train_loss"][epoch, 0], loss.detach(), 1e-12)
        opt.zero_grad()
        loss.backward()
        opt.step()
    for ours, theirs in zip(model.parameters(), oracle.parameters(), strict=True):
        assert_close(ours, theirs, 1e-10)


@pytest.mark.parametrize("select", ["val_loss", "val_accuracy", "train_loss", "train_accuracy", "last"])
def test_select(graph, select):
    history = fit(make(), graph, seeds=2, epochs=30, lr=0.1, select=select)
    for i in range(2):
        if select == "last":
            assert int(history.best_epoch[i]) == 30
        else:
            column = history.metrics[select][:, i]
            best = column.min() if select.endswith("loss") else column.max()
            assert int(history.best_epoch[i]) == int((column == best).nonzero()[0]) + 1  # the first of equals
            assert history.best(select)[i] == best


def test_without_a_validation_mask(graph):
    bare = graph.replace(val_mask=None)
    history = fit(make(), bare, seeds=2, epochs=3, select="last")
    assert set(history.metrics) == {"train_loss", "train_accuracy"}
    with pytest.raises(InputError, match=r"'val_loss' is not measured, since there is no val_mask and no val"):
        fit(make(), bare, seeds=2, epochs=3, select="last", callbacks=[EarlyStopping(2)])
    with pytest.raises(InputError, match=r"metric: 'val_loss' is not measured, since there is no val_mask and no val"):
        fit(make(), bare, seeds=2, epochs=3, select="last", callbacks=[StopAt("val_loss", 0.1)])


def test_class_weights(graph):
    weight = torch.tensor([1.0, 5.0, 0.5])
    history = fit(make(), graph, seeds=2, epochs=1, class_weight=weight)
    for i, seed in enumerate(history.seeds):
        logits = predict(seeded(make(), seed), graph, graph.train_mask)
        expected = nn.functional.cross_entropy(logits, graph.y[graph.train_mask], weight)
        assert_close(history.metrics["train_loss"][0, i], expected, 1e-6)


def test_a_scheduler_sets_the_learning_rate(graph):
    rates = []

    class Watch(Callback):
        def after_epoch(self, epoch, metrics):
            rates.append(schedules[0].get_last_lr()[0])

    for optimizer in (Adam, torch.optim.Adam):
        schedules = []

        def scheduler(opt, schedules=schedules):
            schedules.append(torch.optim.lr_scheduler.StepLR(opt, 2, 0.1))
            return schedules[0]

        fit(seeded(make(), 0), graph, epochs=5, lr=0.5, optimizer=optimizer, scheduler=scheduler, callbacks=[Watch()])
    assert rates == pytest.approx([0.5, 0.05, 0.05, 0.005, 0.005] * 2)


def test_weight_decay_by_part(graph):
    maker = lambda: GCN(NUM_FEATURES, HIDDEN, NUM_CLASSES, num_layers=11)  # noqa: E731
    groups = []

    def optimizer(given, lr):
        groups.extend(given)
        return Adam(given, lr)

    model = maker()
    fit(model, graph, epochs=1, weight_decay={"layers.1": 0.5, "layers": 0.1}, optimizer=optimizer)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {name: 0.5 if name.startswith("layers.1.") else 0.1 for name, _ in model.named_parameters()}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == expected  # layers.10 is not in layers.1
    with pytest.raises(
        InputError, match=r"'layer.0' is no part of the model, which has layers.0.weight, layers.0.bias"
    ):
        fit(make()(), graph, weight_decay={"layer.0": 0.5})


def test_half_precision_scores_in_float32(graph):
    small = graph.replace(x=graph.x.bfloat16())
    history = fit(seeded(make(), 0).bfloat16(), small, epochs=5)
    assert history.metrics["train_loss"].dtype == torch.float32
    reference = fit(seeded(make(), 0), graph, epochs=5)
    assert_close(history.metrics["train_loss"], reference.metrics["train_loss"], 0.03)


# -- the same numbers on other ways -----------------------------------------------------------------------------------


def test_the_receptive_field_gives_the_numbers_of_the_whole_graph(graph):
    part = fit(make(), graph, seeds=2, epochs=30, weight_decay=5e-4)
    whole = fit(lambda: WholeGraph(make()()), graph, seeds=2, epochs=30, weight_decay=5e-4)
    for name in METRICS:
        assert_close(part.metrics[name], whole.metrics[name], 1e-6)


@pytest.mark.parametrize("optimizer", [Adam, torch.optim.Adam, torch.optim.SGD])
def test_seeds_together_are_seeds_alone(graph, optimizer):
    options = {"epochs": 30, "optimizer": optimizer, "weight_decay": {"layers.0": 0.01}, "select": "val_accuracy"}
    options["scheduler"] = lambda opt: torch.optim.lr_scheduler.StepLR(opt, 10, 0.5)
    together = fit(make(), graph, seeds=[4, 0, 7], callbacks=[EarlyStopping(3)], **options)
    for i, seed in enumerate(together.seeds):
        model = seeded(make(), seed)
        alone = fit(model, graph, seed=seed, callbacks=[EarlyStopping(3)], **options)
        length = len(alone.epoch_seconds)
        for name in METRICS:
            assert_close(together.metrics[name][:length, i], alone.metrics[name][:, 0], 1e-5)
            assert bool(together.metrics[name][length:, i].isnan().all())
        assert together.best_epoch[i] == alone.best_epoch[0]
        for name, value in together.state(i).items():
            assert_close(value, alone.state(0)[name], 1e-5)


def test_a_list_of_one_seed_is_the_model_alone(graph):
    listed = fit(make(), graph, seeds=[3], epochs=4)
    alone = fit(seeded(make(), 3), graph, seed=3, epochs=4)
    assert listed.seeds == alone.seeds == [3]
    assert torch.equal(listed.metrics["val_loss"], alone.metrics["val_loss"])
    again = fit(seeded(make(0.5), 3), graph, seed=11, epochs=4)  # `seed` sets the dropout of a model
    other = fit(seeded(make(0.5), 3), graph, seed=12, epochs=4)
    assert torch.equal(
        again.metrics["val_loss"], fit(seeded(make(0.5), 3), graph, seed=11, epochs=4).metrics["val_loss"]
    )
    assert not torch.equal(again.metrics["val_loss"], other.metrics["val_loss"])


def test_dropout_of_seeds_together_is_as_strong_as_alone(graph):
    options = {"epochs": 30, "lr": 0.02, "select": "last"}
    together = fit(make(0.5), graph, seeds=20, **options).metrics["val_loss"][-1]
    alone = torch.cat([fit(make(0.5), graph, seeds=[s], **options).metrics["val_loss"][-1] for s in range(20)])
    assert float(together.std()) > 0
    error = math.sqrt(float(together.var() + alone.var()) / 20)
    assert abs(float(together.mean() - alone.mean())) < 3 * error  # z below 3, with these seeds
    none = fit(make(0.0), graph, seeds=20, **options).metrics["train_loss"][-1]
    assert float(none.mean()) < float(together.mean())


def test_dropout_masks_differ_between_seeds(graph):
    def equal():
        torch.manual_seed(0)
        return make(0.5)()

    history = fit(equal, graph, seeds=5, epochs=1)
    losses = history.metrics["train_loss"][0].tolist()
    assert len(set(losses)) == 5
    assert len({tuple(weight.flatten().tolist()) for weight in history.states["layers.0.weight"]}) == 5


def test_stacks_of_different_length_join(graph):
    stops = StopAfter([4, 2])
    history = fit(make(), graph, seeds=[5, 6], epochs=9, callbacks=[stops])
    other = fit(make(), graph, seeds=[1], epochs=6)
    third = fit(make(), graph, seeds=[2], epochs=1)
    joined = History.join([History.join([history, other]), third])
    assert joined.seeds == [5, 6, 1, 2]
    lengths = (~joined.metrics["val_loss"].isnan()).sum(0)
    assert lengths.tolist() == [4, 2, 6, 1]
    assert joined.metrics["val_loss"].shape == (6, 4)
    assert len(joined.epoch_seconds) == 4 + 6 + 1
    for i, (part, j) in enumerate([(history, 0), (history, 1), (other, 0), (third, 0)]):
        assert joined.best("val_loss")[i] == part.best("val_loss")[j]
        assert torch.equal(joined.state(i)["layers.0.weight"], part.state(j)["layers.0.weight"])


def test_seeds_at_once_changes_nothing_without_dropout(graph):
    one = fit(make(), graph, seeds=5, epochs=8)
    for size in (1, 2):
        other = fit(make(), graph, seeds=5, epochs=8, seeds_at_once=size)
        assert other.seeds == one.seeds
        assert_close(other.metrics["val_loss"], one.metrics["val_loss"], 1e-5)
        assert len(other.epoch_seconds) == 8 * -(-5 // size)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_graph_repeats_to_the_bit(threads, monkeypatch):
    """Large enough for the dropout of large arrays, and for several threads in every product."""
    num_nodes = 20_000
    mask = torch.ones(num_nodes, dtype=torch.bool)
    edges = power_law_edges(num_nodes, 100_000)
    x = torch.randn(num_nodes, 64, generator=torch.Generator().manual_seed(0))
    graph = Graph.from_edges(edges, num_nodes, x=x, y=edges[0, :num_nodes] % 5, train_mask=mask)
    monkeypatch.setattr("gcnlab.threads.usable_cores", lambda: threads)
    torch.set_num_threads(threads)
    try:
        found = []
        for _ in range(2):
            torch.manual_seed(0)
            model = GCN(64, 64, 5, num_layers=3)
            fit(model, graph, epochs=3, select="last", deterministic=True)
            found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(*found)


@pytest.mark.parametrize("before", [(False, False), (True, False), (True, True)])
def test_the_deterministic_mode_is_as_before_afterwards(before):
    modes = []

    class Look(Callback):
        def after_epoch(self, epoch, metrics):
            now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
            modes.append(now)

    enabled, warn_only = before
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    try:
        for wanted in (False, True):
            fit(GCN(NUM_FEATURES, HIDDEN, NUM_CLASSES), planted_partition(), epochs=1, callbacks=[Look()],
                deterministic=wanted)  # fmt: skip
            now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
            assert now == before
    finally:
        torch.use_deterministic_algorithms(False)
    assert modes == [before, (True, False)]


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_early_stopping_counts_epochs_without_a_better_value():
    stopping = EarlyStopping(2, "val_accuracy")
    values = torch.tensor([[0.5, 0.5, 0.5], [0.6, 0.5, 0.4], [0.6, 0.6, 0.3], [0.6, 0.6, 0.9], [0.7, 0.6, 0.9]])
    stopped = [stopping.after_epoch(i + 1, {"val_accuracy": row}).tolist() for i, row in enumerate(values)]
    assert stopped[:2] == [[False] * 3] * 2
    assert stopped[2] == [False, False, True]  # an equal value is no better one
    assert stopped[3] == [True, False, False]
    assert stopped[4] == [False, True, False]


def test_a_stopped_seed_keeps_its_weights(graph):
    options = {"seeds": 3, "lr": 0.1, "select": "last"}
    short = fit(make(), graph, epochs=4, **options)
    history = fit(make(), graph, epochs=12, callbacks=[StopAfter([4, 99, 7])], **options)
    assert history.best_epoch.tolist() == [4, 12, 7]
    for name, value in short.states.items():
        assert torch.equal(history.states[name][0], value[0])
    for table in history.metrics.values():
        assert (~table.isnan()).sum(0).tolist() == [4, 12, 7]
        assert bool(table[4:, 0].isnan().all())
    ended = fit(make(), graph, epochs=50, callbacks=[StopAfter([4, 2, 3])], **options)
    assert len(ended.epoch_seconds) == 4


def test_early_stopping_starts_anew_with_each_stack(graph):
    callback = EarlyStopping(3)
    together = fit(make(), graph, seeds=4, epochs=60, lr=0.2, callbacks=[callback])
    apart = fit(make(), graph, seeds=4, epochs=60, lr=0.2, callbacks=[callback], seeds_at_once=2)
    lengths = [(~history.metrics["val_loss"].isnan()).sum(0).tolist() for history in (together, apart)]
    assert lengths[0] == lengths[1]
    assert len(set(lengths[0])) > 1
    assert max(lengths[0]) < 60


def test_stop_at_a_loss_or_an_accuracy_stops_there():
    values = torch.tensor([[0.4, 0.5, 0.6], [0.5, 0.4, 0.6]], dtype=torch.float64)
    for metric, expected in (
        ("train_loss", [[True, True, False], [True, True, False]]),
        ("val_accuracy", [[False, True, True], [True, False, True]]),
    ):
        stop = StopAt(metric, 0.5)
        assert [stop.after_epoch(i + 1, {metric: row}).tolist() for i, row in enumerate(values)] == expected


@pytest.mark.parametrize(("metric", "value"), [("train_loss", 0.3), ("val_accuracy", 0.8)])
def test_stop_at_stops_each_seed_at_its_own_epoch(graph, metric, value):
    history = fit(make(), graph, seeds=3, epochs=80, lr=0.05, select="last", callbacks=[StopAt(metric, value)])
    assert len(set(history.best_epoch.tolist())) > 1
    for i, last in enumerate(history.best_epoch.tolist()):
        curve = history.metrics[metric][:, i]
        reached = curve <= value if metric.endswith("loss") else curve >= value
        assert reached.tolist() == [epoch == last for epoch in range(1, len(curve) + 1)]  # NaN after it
        assert 1 < last < 80


def test_stop_at_goes_on_from_a_checkpoint(graph, tmp_path):
    def run(epochs, **options):
        stop = StopAt("val_accuracy", 0.8)
        return fit(make(), graph, seeds=3, epochs=epochs, lr=0.05, select="last", callbacks=[stop], **options)

    whole = run(80)
    first = int(whole.best_epoch.min())
    assert first < int(whole.best_epoch.max())
    path = tmp_path / "a"
    run(first, checkpoint=Checkpoint(path))  # one seed has stopped, the others have not
    resumed = run(80, checkpoint=Checkpoint(path, resume=True))
    again = run(90, checkpoint=Checkpoint(path, resume=True))  # all have
    for history in (resumed, again):
        assert history.best_epoch.tolist() == whole.best_epoch.tolist()
        assert all(torch.equal(value, whole.states[name]) for name, value in history.states.items())
        assert len(history.epoch_seconds) == len(whole.epoch_seconds)


# -- models that cannot be stacked ------------------------------------------------------------------------------------


def test_models_with_buffers_are_trained_one_by_one(graph):
    history = fit(NormedGCN, graph, seeds=3, epochs=25, lr=0.05)
    assert float(history.best("val_accuracy").min()) > 0.7
    assert history.states["norm.num_batches_tracked"].tolist() == history.best_epoch.tolist()
    for i, seed in enumerate(history.seeds):
        model = NormedGCN()
        model.load_state_dict(history.state(i))  # the running averages of the kept epoch too
        loss = nn.functional.cross_entropy(predict(model, graph, graph.val_mask), graph.y[graph.val_mask])
        assert_close(loss, history.best("val_loss")[i], 1e-6)
        alone = seeded(NormedGCN, seed)
        assert torch.equal(
            fit(alone, graph, epochs=25, lr=0.05).metrics["val_loss"][:, 0], history.metrics["val_loss"][:, i]
        )
        assert all(torch.equal(value, history.state(i)[name]) for name, value in alone.state_dict().items())


def test_shared_weights_stay_shared(graph):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = GCNConv(NUM_FEATURES, NUM_FEATURES), GCNConv(NUM_FEATURES, NUM_FEATURES)
            self.second.weight = self.first.weight

        def forward(self, x, a_hat):
            return self.second(self.first(x, a_hat).relu(), a_hat)

    history = fit(Tied, graph, seeds=2, epochs=3)
    assert torch.equal(history.states["first.weight"], history.states["second.weight"])
    Tied().load_state_dict(history.state(1))


def test_frozen_weights_stay_as_they_are(graph):
    def frozen():
        model = make()()
        model.layers[0].weight.requires_grad_(False)
        return model

    history = fit(frozen, graph, seeds=2, epochs=3, weight_decay=0.1)
    for i in range(2):
        assert torch.equal(history.state(i)["layers.0.weight"], seeded(make(), i).layers[0].weight)
        assert not torch.equal(history.state(i)["layers.1.weight"], seeded(make(), i).layers[1].weight)
    fit(frozen(), graph, epochs=3, weight_decay=0.1)


def test_the_optimizer_gets_the_weights_that_train(graph):
    def frozen(*names):
        model = seeded(make(), 0)
        for name in names:
            model.get_parameter(name).requires_grad_(False)
            model.get_parameter(name).grad = torch.full_like(model.get_parameter(name), math.nan)  # an earlier training
        return model

    given = []

    def optimizer(groups, lr):
        given.append([p for group in groups for p in group["params"]])
        return torch.optim.SGD(groups, lr=lr)

    for weight_decay in (0.1, {"layers.0": 0.1}):
        model = frozen("layers.0.weight", "layers.0.bias")
        fit(model, graph, epochs=2, optimizer=optimizer, weight_decay=weight_decay)
        assert list(map(id, given[-1])) == [id(model.layers[1].weight), id(model.layers[1].bias)]
    with pytest.raises(InputError, match="model: all of its parameters are frozen"):
        fit(frozen(*dict(model.named_parameters())), graph, epochs=2)


def test_a_training_of_other_weights_is_not_resumed(graph, tmp_path):
    model, checkpoint = make()(), Checkpoint(tmp_path / "a", resume=True)
    fit(model, graph, epochs=2, checkpoint=checkpoint)
    model.layers[0].requires_grad_(False)
    with pytest.raises(CheckpointMismatchError, match=r"frozen weights: \[\] in the file, \['layers.0.weight', "):
        fit(model, graph, epochs=3, checkpoint=checkpoint)


# -- numbers that are not finite --------------------------------------------------------------------------------------


class BreaksAt(GCN):
    """Its output, or the gradient of its first weight, is NaN in training epoch k."""

    def __init__(self, epoch, what):
        super().__init__(NUM_FEATURES, HIDDEN, NUM_CLASSES, dropout=0.0)
        self.countdown, self.what = epoch, what

    def forward(self, x, a_hat):
        self.countdown -= self.training
        if self.what == "gradient" and self.training:
            hook = lambda g: torch.full_like(g, math.inf) if self.countdown == 0 else g  # noqa: E731
            weight = self.layers[0].weight * 1
            weight.register_hook(hook)
            h = a_hat[0] @ (x @ weight) + self.layers[0].bias
            return self.layers[1](h.relu(), a_hat[1])
        logits = super().forward(x, a_hat)
        here = self.training if self.what == "loss" else not self.training
        return logits * (math.nan if self.countdown == 0 and here else 1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("loss", r"epoch 7: the training loss is not finite \(1 of 1 values\)"),
        ("gradient", r"epoch 7: the gradient of layers.0.weight is not finite \(91 of 91 values\)"),
        ("validation", r"epoch 7: the validation loss is not finite"),
    ],
)
def test_training_stops_at_a_number_that_is_not_finite(graph, tmp_path, what, message):
    model = BreaksAt(7, what)
    path = tmp_path / "checkpoint"
    seen = []

    class Watch(Callback):
        def after_epoch(self, epoch, metrics):
            seen.append((epoch, path.exists() and path.read_bytes()))

    with pytest.raises(NonFiniteError, match=message):
        fit(model, graph, epochs=20, checkpoint=Checkpoint(path, every=5), callbacks=[Watch()])
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert path.read_bytes() == seen[-1][1]  # that of epoch 5


def test_a_huge_learning_rate_names_the_seed(graph, tmp_path):
    with pytest.raises(NonFiniteError, match=r"epoch 1: the validation loss of seed 4 is not finite .* a smaller lr"):
        fit(make(), graph, seeds=[4, 5], lr=1e30)


def test_weights_that_are_not_finite_are_not_handed_out(graph, tmp_path):
    class Overflows(torch.optim.SGD):
        def step(self, closure=None):
            self.param_groups[0]["params"][0].data[0].fill_(math.inf)

    # After the last step no loss is taken without a validation mask, and yet such weights are not handed out.
    bare = graph.replace(val_mask=None)
    path = tmp_path / "checkpoint"
    for checkpoint in (None, Checkpoint(path)):
        with pytest.raises(
            NonFiniteError, match=r"epoch 1: the (kept )?weight layers.0.weight of seed 4 is not finite"
        ):
            fit(make(), bare, seeds=[4, 5], epochs=1, select="last", checkpoint=checkpoint, optimizer=Overflows)
    assert not path.exists()


def test_a_stopped_seed_may_diverge():
    tensors = {"the loss": torch.tensor([math.nan, 1.0, 2.0]), "the weight w": torch.ones(3, 2)}
    check = check_finite
    check(5, [7, 8, 9], torch.tensor([False, True, True]), tensors)
    with pytest.raises(NonFiniteError, match=r"epoch 5: the loss of seed 7 is not finite \(1 of 3 values\)"):
        check(5, [7, 8, 9], torch.tensor([True, True, True]), tensors)
    tensors["the weight w"][2, 1] = math.inf
    with pytest.raises(NonFiniteError, match=r"epoch 5: the weight w of seed 9 is not finite \(1 of 4 values\)"):
        check(5, [7, 8, 9], torch.tensor([False, True, True]), tensors)
    check(5, [7], torch.tensor([True]), {"large": torch.full((1, 9), 3e38)})  # finite, though its norm is not


# -- what a user's own parts bring -----------------------------------------------------------------------------------


class Decays(Callback):
    """Notes the weight decay of each parameter group."""

    def before_training(self, seeds, optimizer):
        self.found = [group["weight_decay"] for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("optimizer", "given", "expected"),
    [
        (torch.optim.AdamW, None, [0.01]),
        (functools.partial(torch.optim.AdamW, weight_decay=10.0), None, [10.0]),
        (functools.partial(torch.optim.AdamW, weight_decay=10.0), 0.0, [0.0]),
        (Adam, None, [0.0]),
        (Adam, {"layers.0": 0.5}, [0.5, 0.0]),
    ],
)
def test_the_weight_decay_is_the_optimizers_own_unless_given(graph, optimizer, given, expected):
    seen = Decays()
    fit(make()(), graph, optimizer=optimizer, weight_decay=given, epochs=1, callbacks=[seen])
    assert seen.found == expected


def test_a_plateau_reads_the_validation_loss(graph):
    def scheduler(optimizer):
        return ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.0, eps=0.0)

    class Rates(Callback):
        rates = ()

        def before_training(self, seeds, optimizer):
            self.optimizer = optimizer

        def after_epoch(self, epoch, metrics):
            self.rates += (self.optimizer.param_groups[0]["lr"],)

    seen = Rates()
    history = fit(make()(), graph, lr=0.5, epochs=12, scheduler=scheduler, callbacks=[seen])
    rate, best, expected = 0.5, math.inf, []
    for loss in history.metrics["val_loss"][:, 0].tolist():
        rate, best = (rate, loss) if loss < best else (rate * 0.1, best)
        expected.append(rate)
    assert seen.rates == pytest.approx(expected)
    assert expected[-1] < 0.5


class Projected(nn.Module):
    """Its projection is neither a weight nor a buffer, and differs from one to the next."""

    def __init__(self):
        super().__init__()
        self.projection = (torch.randn(NUM_FEATURES, HIDDEN),)
        self.conv = GCNConv(HIDDEN, NUM_CLASSES)

    def forward(self, x, a_hat):
        return self.conv(x @ self.projection[0], a_hat)


def test_each_seed_has_its_own_plain_tensors(graph):
    history = fit(Projected, graph, seeds=2, epochs=1, lr=0.0, select="last")
    for i in range(2):
        model = seeded(Projected, i)
        model.load_state_dict(history.state(i))
        loss = nn.functional.cross_entropy(predict(model, graph, graph.val_mask), graph.y[graph.val_mask])
        assert float(history.metrics["val_loss"][0, i]) == pytest.approx(float(loss), rel=1e-5)


def test_a_mean_weighted_by_classes_is_over_all_batches():
    y = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0])
    graphs = GraphCollection.from_graphs(
        [Graph.from_edges([[0, 1], [1, 0]], x=torch.rand(2, 3), y=label) for label in y.tolist()]
    )
    weight = torch.tensor([1.0, 9.0])
    model = seeded(lambda: GraphClassifier(3, 4, 2, norm=None, dropout=0.0), 0)
    expected = float(nn.functional.cross_entropy(predict(model, graphs), y, weight))
    for size in (1, 3, 5, 12):
        history = fit(model, graphs, graphs, class_weight=[1.0, 9.0], batch_size=size, epochs=1, lr=0.0)
        assert float(history.metrics["val_loss"]) == pytest.approx(expected, rel=1e-6), size
        assert float(history.metrics["train_loss"]) == pytest.approx(expected, rel=1e-6), size
        assert 0 <= float(history.metrics["val_accuracy"]) <= 1
    history = fit(model, graphs, graphs[y == 0], class_weight=[0.0, 1.0], epochs=1, lr=0.0, select="last")
    assert float(history.metrics["val_loss"]) == 0  # of no graph that counts


def test_the_operator_of_many_graphs_is_a_function_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    graphs = GraphCollection.from_graphs(
        [
            Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]], x=torch.rand(3, 2, generator=generator), y=i % 2)
            for i in range(6)
        ]
    )
    batch = graphs.batch()
    for conv in (GINConv, GCNConv):
        model = seeded(lambda conv=conv: GraphClassifier(2, 4, 2, conv=conv, dropout=0.0), 0)
        fit(model, graphs, select="last", epochs=2, operator=lambda batch: batch.adjacency)
        expected = model(batch.x, batch.adjacency, batch.p)
        for data in (graphs, batch):
            found = predict(model, data, operator=lambda batch: batch.adjacency)
            assert torch.allclose(found, expected, atol=1e-6)
            assert torch.equal(predict(model, data), found)  # what it was trained with
            other = predict(model, data, operator=lambda batch: unnamed(batch.a_hat))
            assert not torch.allclose(other, expected, atol=1e-3)
        last = fit(model, graphs, select="last", epochs=1, lr=0.0, operator=lambda batch: batch.adjacency, batch_size=6)
        batch_loss = nn.functional.cross_entropy(model.train()(batch.x, batch.adjacency, batch.p), graphs.y)
        assert float(last.metrics["train_loss"]) == pytest.approx(float(batch_loss.detach()), rel=1e-5)
    with pytest.raises(
        InputTypeError, match="operator: got a SparseMatrix; of many graphs it is a function of the batch"
    ):
        fit(model, graphs, select="last", operator=graphs.whole.adjacency)
    with pytest.raises(InputError, match="nodes: go with one Graph or NodeRows, not with GraphCollection"):
        predict(model, graphs, torch.tensor([0]))


class TwoCheb(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = ChebConv(NUM_FEATURES, HIDDEN), ChebConv(HIDDEN, NUM_CLASSES)

    def forward(self, x, l_tilde):
        return self.second(self.first(x, l_tilde).relu(), l_tilde)


@pytest.mark.parametrize("maker", [make(), TwoCheb])
def test_predict_takes_the_matrix_of_the_training(graph, maker):
    given = {"l_tilde(1.5)": graph.l_tilde(1.5), "l_tilde(None)": graph.l_tilde(None)}
    if maker is not TwoCheb:
        given = {"a_tilde": graph.a_tilde, "normalize('fill', 'rw')": graph.normalize("fill", "rw")}
    for kind, operator in given.items():
        model = seeded(maker, 0)
        assert fit(model, graph, epochs=3, operator=operator).operator == kind
        expected = model(graph.x, operator)
        for trained in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert "trained_operator" not in trained.state_dict()
            assert trained.trained_operator == kind
            assert torch.equal(predict(trained, graph), expected)
            assert torch.equal(predict(trained, graph, operator=operator), expected)
            predict(trained, graph, operator=unnamed(graph.a_hat))  # one's own, taken without a word
        with pytest.warns(UserWarning, match=r"operator: got graph.normalize\(None, 'sym'\), but the model was trained with graph."
                          + re.escape(kind)) as told:  # fmt: skip
            predict(model, graph, operator=graph.normalize(None))
        assert told[0].filename == __file__
        fit(model, graph, epochs=1)  # goes on with it
        assert model.trained_operator == kind
        fit(model, graph, epochs=1, operator=graph.normalize(None))
        assert model.trained_operator == "normalize(None, 'sym')"


def test_a_matrix_of_one_s_own_is_missed_by_predict(graph):
    other = graph.replace(adjacency=graph.adjacency.with_value(2 * graph.adjacency.value))
    equal = graph.replace(adjacency=graph.adjacency.with_value(graph.adjacency.value.clone()))
    own = [graph.a_hat.to_dense(), unnamed(graph.a_hat), other.a_hat, graph.to(torch.float64).a_hat.to(torch.float32)]
    own[3] = graph.a_hat.with_value(own[3].value)
    for operator in own:
        model = seeded(make(), 0)
        assert fit(model, graph, epochs=1, operator=operator).operator == model.trained_operator == "own"
        with pytest.warns(
            UserWarning,
            match=r"operator: the model was trained with a matrix of your own, and is called with graph.a_hat now; pass yours as operator=",
        ) as told:
            found = predict(model, graph)
        assert told[0].filename == __file__
        assert torch.equal(found, model(graph.x, graph.a_hat))
        assert torch.equal(predict(model, graph, operator=graph.a_hat), found)
        some = predict(model, graph, torch.tensor([7, 3]), operator=operator)
        assert_close(some, model(graph.x, operator)[[7, 3]], 1e-6)
        with pytest.warns(UserWarning, match="trained with a matrix of your own") as told:
            fit(model, graph, epochs=1)
        assert (told[0].filename, model.trained_operator) == (__file__, "a_hat")
    model = seeded(make(), 0)
    fit(model, graph, epochs=1, operator=equal.a_hat)
    assert model.trained_operator == "a_hat"  # entry by entry what this graph makes


def test_a_training_says_what_its_models_were_called_with(graph):
    history = fit(TwoCheb, graph, seeds=3, epochs=2, seeds_at_once=2)
    assert history.operator == "l_tilde(2.0)"
    model = TwoCheb()
    model.load_state_dict(history.state(1))
    assert torch.equal(predict(model, graph), model(graph.x, graph.l_tilde()))
    assert fit(TwoCheb, graph, seeds=2, epochs=1, operator=unnamed(graph.l_tilde())).operator == "own"


def test_averages_of_several_batches_are_weighted_by_their_nodes():
    generator = torch.Generator().manual_seed(0)
    norm = BatchNorm(3).double()
    values = [torch.randn(n, 3, dtype=torch.float64, generator=generator) for n in (5, 9)]
    counts = [torch.randint(1, 5, (len(h),), generator=generator).double() for h in values]
    with averages_made_again([norm], [norm.num_batches_tracked]):
        for h, count in zip(values, counts, strict=True):
            norm(h, count)
    every, weight = torch.cat(values), torch.cat(counts)
    torch.testing.assert_close(norm.running_mean, (every * weight.unsqueeze(1)).sum(0) / weight.sum())
    assert int(norm.num_batches_tracked) == 0
    assert not norm.training


def test_a_function_that_draws_is_asked_for_its_kind_beside_the_numbers():
    graphs = GraphCollection.from_graphs(
        [Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]], x=torch.eye(3), y=i % 2) for i in range(4)]
    )
    drawn = []

    def draws(batch):
        drawn.append(float(torch.rand(())))
        return batch.a_hat.with_value(batch.a_hat.value * drawn[-1])

    assert (
        fit(
            lambda: GraphClassifier(3, 4, 2, dropout=0.0), graphs, seeds=[5], select="last", epochs=1, operator=draws
        ).operator
        == "own"
    )
    used = drawn[1]  # after it, the averages of the norms ask once more
    torch.manual_seed(5)
    GraphClassifier(3, 4, 2)
    torch.randperm(4)
    assert used == float(torch.rand(()))


def test_predict_checks_nodes_of_any_model(graph):
    model = WholeGraph(make()())
    every = predict(model, graph)
    assert torch.equal(predict(model, graph, graph.val_mask), every[graph.val_mask])
    for nodes, message in (
        (graph.val_mask.long(), "nodes: got zeros and ones"),
        (torch.tensor([-1]), "nodes: id -1 at 0"),
        (torch.tensor([NUM_NODES]), f"nodes: id {NUM_NODES} at 0"),
    ):
        with pytest.raises(InputError, match=message):
            predict(model, graph, nodes)
    with pytest.raises(InputTypeError, match="data: got list, expected a Graph"):
        predict(model, [graph])


def test_predict_leaves_every_module_in_its_mode(graph):
    model = NormedGCN()
    model.norm.eval()
    predict(model, graph)
    assert (model.training, model.norm.training) == (True, False)
    with pytest.raises(InputError):
        predict(model, graph.replace(x=torch.ones(NUM_NODES, 2)))
    assert (model.training, model.norm.training) == (True, False)


def test_seeds_may_be_a_number_of_numpy(graph):
    assert fit(make(), graph, seeds=np.int64(2), epochs=1).seeds == [0, 1]


# -- seeds and the caller's generators ----------------------------------------------------------------------------------


def generators():
    """The states of the global generators of torch, numpy and Python, for comparison."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), (kind, keys.tolist(), *rest), random.getstate()


def set_generators(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


class Draws(Callback):
    """Draws from every generator after each epoch, and may end the training."""

    def __init__(self, error=None):
        self.error, self.drawn = error, []

    def after_epoch(self, epoch, metrics):
        self.drawn.append((float(torch.rand(())), float(np.random.rand()), random.random()))  # noqa: NPY002
        if epoch == 2 and self.error is not None:
            raise self.error


def test_a_loop_of_trainings_varies_and_a_seed_before_it_repeats_it(graph):
    def loop():
        histories = []
        for _ in range(3):
            model = make(0.5)()
            histories.append(fit(model, graph, epochs=3))
        return histories

    torch.manual_seed(5)
    first = loop()
    torch.manual_seed(5)
    again = loop()
    for name in ("train_loss", "val_loss"):
        assert len({tuple(history.metrics[name].flatten().tolist()) for history in first}) == 3
        assert all(torch.equal(a.metrics[name], b.metrics[name]) for a, b in zip(first, again, strict=True))
    weights = [history.states["layers.0.weight"] for history in first]
    assert not torch.equal(weights[0], weights[1])
    assert all(torch.equal(w, other.states["layers.0.weight"]) for w, other in zip(weights, again, strict=True))
    assert len({history.seeds[0] for history in first}) == 3


@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"seeds": 3}, {"seeds": [7]}], ids=str)
@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), InputError("in a callback")], ids=repr)
def test_fit_draws_one_number_at_most_and_leaves_every_generator_as_it_was(graph, options, error):
    model, draws = make(0.5), Draws(error)
    model = model if "seeds" in options else model()
    set_generators(8)
    if not options:
        torch.randint(2**53, ())
    expected = generators()
    set_generators(8)
    with nullcontext() if error is None else pytest.raises(type(error)):
        fit(model, graph, epochs=3, callbacks=[draws], **options)
    assert len(draws.drawn) >= 2
    assert generators() == expected


def test_an_input_error_draws_nothing(graph):
    model, before = make()(), generators()
    for changes in ({"seed": -1}, {"lr": -1.0}, {"select": "nothing"}):
        with pytest.raises(InputError):
            fit(model, graph, **changes)
    with pytest.raises(InputError, match="has no train_mask"):
        fit(model, graph.replace(train_mask=None))
    assert generators() == before


@pytest.mark.parametrize("seed", [0, 3, 2**63 - 1, np.int64(5), None], ids=repr)
def test_the_seed_of_a_history_repeats_its_training(graph, seed):
    def run(seed, elsewhere):
        model, draws = seeded(make(0.5), 1), Draws()
        set_generators(elsewhere)
        history = fit(model, graph, epochs=3, callbacks=[draws], seed=seed)
        return history, draws.drawn

    first, drawn = run(seed, 4)
    again, drawn_again = run(first.seeds[0], 5)
    assert type(first.seeds[0]) is int
    assert json.loads(json.dumps(first.seeds), parse_int=float) == first.seeds or seed == 2**63 - 1
    assert seed is None or first.seeds == [seed]
    assert first.frame()["seed"].unique().tolist() == first.seeds
    assert drawn == drawn_again  # of numpy's and Python's generators, too
    assert torch.equal(first.metrics["train_loss"], again.metrics["train_loss"])
    assert all(torch.equal(value, again.states[name]) for name, value in first.states.items())
    assert drawn != run(12, 4)[1]


def test_the_seeds_of_a_stack_start_numpy_and_python_too(graph):
    def noisy():
        model = make()()
        with torch.no_grad():
            model.layers[0].weight += float(np.random.rand()) + random.random()  # noqa: NPY002
        return model

    set_generators(1)
    together = fit(noisy, graph, seeds=[4, 6], epochs=2)
    set_generators(2)
    alone = fit(noisy, graph, seeds=[6], epochs=2)
    assert_close(together.states["layers.0.weight"][1], alone.states["layers.0.weight"][0], 1e-6)


# -- classes without training rows --------------------------------------------------------------------------------------


def many(labels):
    return GraphCollection.from_graphs([Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 3), y=y) for y in labels])


def labelled(kind, train, val, class_names=None):
    """(model, data...) whose training and validation rows have these labels."""
    y = torch.tensor([*train, *val])
    if kind == "graph":
        return GraphClassifier(3, 2, 7, 1), many(train), many(val)
    if kind == "image":
        both = Signals(torch.rand(len(y), 2, 2), y)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 7)), both[: len(train)], both[len(train) :]
    mask = torch.arange(len(y)) < len(train)
    line = torch.stack([torch.arange(len(y) - 1), torch.arange(1, len(y))])
    edges = torch.cat([line, line.flip(0)], 1)
    options = {"y": y, "train_mask": mask, "val_mask": ~mask, "class_names": class_names}
    whole = Graph.from_edges(edges, x=torch.rand(len(y), 3), **options)
    if kind == "rows":
        return SIGN([3], 2, 7), NodeRows(whole, [whole.x])
    return GCN(3, 2, 7), whole


@pytest.mark.parametrize("kind", ["node", "graph", "image", "rows"])
@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ([0, 0, 2, 2], [0, 1, 1], "no training {} is of class 1, but 2 validation {}s are: the model cannot learn it"),
        (
            [0, 1, 1],
            [3, 2, 0],
            "no training {} is of class 2, 3, but 2 validation {}s are: the model cannot learn them",
        ),
        (
            [1, 1, 2],
            [1, 2],
            "no training {} is of class 0: the model cannot learn it. Draw .* number the labels from 0",
        ),
        ([5, 6, 5], [6], "no training {} is of class 0, 1, 2 and 2 more: the model cannot learn them"),
        ([0, 1, 0], [1, 0], None),
    ],
    ids=str,
)
def test_a_class_without_training_rows_is_said_once(kind, train, val, message):
    row = "node" if kind == "rows" else kind
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(*labelled(kind, train, val), epochs=2, batch_size=9)
    assert len(said) == (message is not None)
    if message:
        assert re.search(message.replace("{}", row), str(said[0].message)), said[0].message
        assert said[0].filename == __file__


def test_a_class_without_training_rows_has_its_name():
    message = r"no training node is of class 2 \('c'\), 3 \('d'\), but 1 validation node is:"
    with pytest.warns(UserWarning, match=message):
        fit(*labelled("node", [0, 1, 0], [2, 0], ["a", "b", "c", "d"]), epochs=1)
    function = nn.CrossEntropyLoss(reduction="none")
    with pytest.warns(UserWarning, match=r"no training node is of class 1 \('b'\):"):  # where classes have names
        fit(*labelled("node", [0, 2], [2], ["a", "b", "c"]), epochs=1, loss=function)
    fit(*labelled("node", [0, 2], [2]), epochs=1, loss=lambda out, y: (out[:, 0] - y).square())  # counts are no classes


# -- batches of a single row ----------------------------------------------------------------------------------------------


class NormedReadout(nn.Module):
    """A batch norm on the readout: a batch of one graph is a single row of it, however many nodes the graph has."""

    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x, a_hat, p):
        return self.head(self.norm(p @ (a_hat @ x)))


def lone_rows(kind):
    """(model, data, batch_size) of 9 rows in batches of 8 and 1."""
    y, generator = torch.arange(9) % 2, torch.Generator().manual_seed(0)
    points = [Graph.from_edges([[], []], num_nodes=1, x=torch.rand(1, 3, generator=generator), y=int(c)) for c in y]
    images = Signals(torch.rand(9, 2, 3, generator=generator), y)
    nodes = Graph.from_edges([[], []], 9, x=torch.rand(9, 3, generator=generator), y=y, train_mask=torch.ones(9) > 0)
    return {
        "graphs of one node": (lambda: GraphClassifier(3, 4, 2, 2), GraphCollection.from_graphs(points)),
        "a graph": (NormedReadout, many(y.tolist())),
        "images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)), images),
        "maps": (
            lambda: nn.Sequential(nn.Conv2d(1, 5, (2, 3)), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 2)), images,
        ),
        "sampled nodes": (lambda: GCN(3, 4, 2, norm=True), nodes),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("kind", ["graphs of one node", "a graph", "images", "maps", "sampled nodes"])
@pytest.mark.parametrize("seeds", [None, 2])
def test_a_batch_norm_takes_its_running_averages_for_a_single_row(kind, seeds):
    make, data = lone_rows(kind)
    options = {"epochs": 3, "batch_size": 8, "select": "last", "lr": 0.05}
    if isinstance(data, Graph):
        options["batching"] = NeighborSampler(data, (2, 2), batch_size=8)
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = make() if seeds is None else make
        history = fit(model, data, seeds=seeds, **options)
    assert [str(warning.message).split(",")[0] for warning in said] == ["batch_size: with 8"]
    assert "a batch norm met a batch of a single row" in str(said[0].message)
    assert bool(torch.isfinite(history.metrics["train_loss"]).all())
    if seeds is None:
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        assert all(int(norm.num_batches_tracked) == 3 for norm in norms)  # of two batches an epoch the one of 8
        assert not any(norm._forward_pre_hooks or norm._forward_hooks for norm in norms)
        assert not any(module.training for module in model.modules())


def test_a_single_row_moves_as_its_running_averages_say():
    """A step on one row is one of the model with its batch norm in evaluation mode."""
    make, data = lone_rows("images")
    torch.manual_seed(0)
    model, oracle = make(), make()
    oracle.load_state_dict(model.state_dict())
    with pytest.warns(UserWarning, match="with 1, a batch norm met a batch of a single row"):
        fit(model, data[:1][torch.tensor([0])], epochs=1, batch_size=1, select="last", optimizer=torch.optim.SGD)
    step = torch.optim.SGD(oracle.parameters(), lr=0.01)
    oracle.train()[2].eval()
    (images,), y = next(data[:1].batches(1))
    nn.functional.cross_entropy(oracle(images), y).backward()
    step.step()
    for name, value in oracle.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_rows_of_one_in_each_batch():
    _, nodes = lone_rows("sampled nodes")
    model = SIGN([3], 4, 2, norm=True)
    with pytest.warns(UserWarning, match="with 1, a batch norm met a batch of a single row"):
        fit(model, NodeRows(nodes, [nodes.x]), epochs=1, batch_size=1, select="last")
    fit(model, NodeRows(nodes, [nodes.x]), epochs=1, batch_size=8, select="last")  # 5 and 4 rows


def test_batches_of_more_rows_are_normalised_by_themselves():
    """One graph of many nodes alone in a batch, and one row that stands for several nodes, are as they were."""
    ring = Graph.from_edges([[0, 1, 2], [1, 2, 0]], x=torch.rand(3, 3)).to_undirected()
    graphs = GraphCollection.from_graphs([ring.replace(y=i % 2) for i in range(9)])
    model = GraphClassifier(3, 4, 2, 2)
    fit(model, graphs, epochs=2, batch_size=8, select="last")  # a warning is an error here
    assert [int(norm.num_batches_tracked) for norm in model.norms] == [4, 4]
    alike = GraphCollection.from_graphs([ring.replace(x=torch.ones(3, 3), y=i % 2) for i in range(9)])
    assert alike.merged().num_nodes == 9
    model = GraphClassifier(3, 4, 2, 2)
    fit(model, alike, epochs=2, batch_size=8, select="last")
    assert [int(norm.num_batches_tracked) for norm in model.norms] == [4, 4]


def test_a_batch_norm_without_averages_names_the_batch_size():
    _, data = lone_rows("images")
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(InputError, match=r"batch_size: with 8, a batch norm without running averages met a batch of a"):
        fit(model, data, epochs=1, batch_size=8, select="last")
    assert not model[2]._forward_pre_hooks


# -- running averages of batch norms ------------------------------------------------------------------------------------


class Normed(nn.Module):
    """Linear, batch norm, dropout, linear, on images."""

    def __init__(self, norm=nn.BatchNorm1d, **options):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 5), norm(5, **options), nn.Linear(5, 2)

    def forward(self, images):
        h = self.first(nn.functional.dropout(images.flatten(1), 0.3, self.training))
        if isinstance(self.norm, nn.InstanceNorm1d):
            h = h.unsqueeze(2) * torch.tensor([1.0, 2.0])
        elif not isinstance(self.norm, nn.BatchNorm1d):
            h = h.view(*h.shape, *[1] * (2 if isinstance(self.norm, nn.BatchNorm2d) else 3))
        h = self.norm(h).view(len(h), 5, -1).mean(2)
        return self.head(nn.functional.dropout(h, 0.3, self.training))


def normed(kind):
    """(model, data, options, arguments of all training rows) of 30 rows."""
    torch.manual_seed(0)
    y, x = torch.arange(30) % 2, torch.rand(30, 6) + torch.arange(30).view(-1, 1) % 2
    images = Signals(x.view(30, 2, 3) / 2, y)
    ring = torch.arange(30)
    ring = Graph.from_edges(
        [ring.tolist(), ring.roll(1).tolist()], 30, x=x, y=y, train_mask=ring < 20, val_mask=ring >= 20
    )
    ring = ring.to_undirected()
    trees = [
        Graph.from_edges(
            [[0] * n, list(range(1, n + 1))], n + 1, x=torch.eye(6)[[n % 2] + [2] * n], y=n % 2
        ).to_undirected()
        for n in (torch.arange(30) % 5 + 2).tolist()
    ]
    trees = GraphCollection.from_graphs(trees)
    all_neighbors = NeighborSampler(ring, (9, 9), batch_size=20)
    part = all_neighbors.sample(torch.arange(20))
    rows = NodeRows(ring, [ring.x])
    batch = trees.batch()
    return {
        "images": (Normed, images, {"batch_size": 8}, (images.inputs(slice(None)))),
        "images, average": (Normed, images, {"batch_size": 8, "average": 0.9}, images.inputs(slice(None))),
        "no momentum": (lambda: Normed(momentum=None), images, {"batch_size": 8}, images.inputs(slice(None))),
        "maps": (lambda: Normed(nn.BatchNorm2d), images, {"batch_size": 8}, images.inputs(slice(None))),
        "volumes": (lambda: Normed(nn.BatchNorm3d), images, {"batch_size": 8}, images.inputs(slice(None))),
        "instances": (
            lambda: Normed(nn.InstanceNorm1d, track_running_stats=True), images, {"batch_size": 8}, images.inputs(slice(None)),
        ),
        "seeds": (Normed, images, {"batch_size": 8, "seeds": 2}, images.inputs(slice(None))),
        "bfloat16": (Normed, images, {"batch_size": 8, "precision": "bfloat16"}, images.inputs(slice(None))),
        "nodes": (lambda: GCN(6, 5, 2, norm=True, dropout=0.3), ring, {}, (ring.x, ring.a_hat)),
        "sampled nodes": (
            lambda: GCN(6, 5, 2, norm=True), ring, {"batching": all_neighbors}, (part.x, part.a_hat),
        ),
        "rows of nodes": (lambda: SIGN([6], 5, 2, norm=True), rows, {"batch_size": 8}, (rows.inputs(rows.train_ids),)),
        "graphs": (
            lambda: GraphClassifier(6, 5, 2, 2, readout="mean+sort"), trees, {"batch_size": 8}, (batch.x, batch.a_hat, batch.p)
        ),
        "merged graphs": (lambda: GraphClassifier(6, 5, 2, 2), trees, {"batch_size": 8}, (batch.x, batch.a_hat, batch.p)),
    }[kind]  # fmt: skip


def first_norm(model):
    return next(module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase))


@pytest.mark.parametrize("kind", [
    "images", "images, average", "no momentum", "maps", "volumes", "instances", "seeds", "bfloat16", "nodes", "sampled nodes",
    "rows of nodes", "graphs", "merged graphs",
])  # fmt: skip
@pytest.mark.parametrize("epochs", [1, 3])
def test_averages_are_those_that_the_kept_weights_give(kind, epochs):
    """Those of the first norm, whose inputs do not depend on the batches, are of all rows together."""
    make, data, options, arguments = normed(kind)
    torch.manual_seed(0)
    model = make()
    history = fit(
        model if "seeds" not in options else make, data, epochs=epochs, lr=0.3, select="last", progress=False, **options
    )
    model.load_state_dict(history.state(0))
    norm = first_norm(model.eval())
    momentum = norm.momentum
    seen = []
    with torch.no_grad():
        if kind == "merged graphs":
            seen.append(model.convs[0](*arguments[:2]))
        else:
            norm.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0].clone()))
            model(*arguments)
    values = seen[0].transpose(0, 1).flatten(1)
    assert_close(norm.running_mean, values.mean(1), 2e-2 if kind == "bfloat16" else 1e-5)
    within = seen[0].flatten(2).var(2).mean(0) if kind == "instances" else values.var(1)
    torch.testing.assert_close(norm.running_var, within, rtol=0.3, atol=1e-3)  # torch keeps that within each batch
    assert norm.momentum == momentum == (None if kind == "no momentum" else 0.1)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_averages_do_not_touch_the_training(monkeypatch, momentum):
    """Nothing is drawn for them, and steps are counted once."""
    _, data, options, _ = normed("images")

    def trained():
        torch.manual_seed(0)
        model = Normed(momentum=momentum)
        history = fit(model, data, epochs=4, seed=0, select="last", progress=False, **options)
        return model, history

    model, history = trained()
    monkeypatch.setattr("gcnlab.train.engine.keeps_averages", lambda module: False)
    other, expected = trained()
    assert torch.equal(history.metrics["train_loss"], expected.metrics["train_loss"])
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]) != ("running" in name)
    assert int(model.norm.num_batches_tracked) == 16
    assert not model.norm._forward_pre_hooks
    assert not any(module.training for module in model.modules())


def test_validation_scores_and_kept_weights_have_averages_of_their_own():
    _, data, _, _ = normed("images")
    torch.manual_seed(0)
    model = Normed()
    history = fit(model, data[:20], data[20:], epochs=9, lr=0.3, seed=0, progress=False, batch_size=20)
    assert 1 <= int(history.best_epoch) < 9
    with torch.no_grad():
        h = model.first(data.inputs(slice(0, 20))[0].flatten(1))
    assert_close(model.norm.running_mean, h.mean(0), 1e-6)
    assert_close(model.norm.running_var, h.var(0), 1e-6)
    expected = nn.functional.cross_entropy(predict(model, data[20:]), data.y[20:])
    assert_close(history.best("val_loss")[0], expected, 1e-6)


class InEvaluation(Normed):
    """Freezes its norm as many do: in `train`."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self


def test_a_frozen_batch_norm_keeps_its_averages():
    _, data, options, _ = normed("images")
    for make in (lambda: freeze(Normed(), "norm"), InEvaluation, lambda: Normed(momentum=0.0)):
        torch.manual_seed(0)
        model = make()
        nn.init.normal_(model.norm.running_mean)
        before = copy.deepcopy(model.norm)
        fit(model, data, epochs=2, select="last", progress=False, **options)
        assert torch.equal(model.norm.running_mean, before.running_mean)
        assert torch.equal(model.norm.running_var, before.running_var)


def test_averages_are_of_the_last_rows_of_an_epoch(monkeypatch):
    """Of 30 images in batches of 8, 8, 8 and 6: at least 7 rows are the last two batches, whose images are drawn by then."""
    _, data, options, _ = normed("images")
    monkeypatch.setattr("gcnlab.train.engine.AVERAGED_ROWS", 7)
    torch.manual_seed(0)
    model = Normed()
    fit(model, data, epochs=1, seed=0, select="last", progress=False, **options)
    torch.manual_seed(0)
    last = torch.randperm(30)[16:]
    with torch.no_grad():
        h = model.first(data.inputs(last)[0].flatten(1))
    assert_close(model.norm.running_mean, h.mean(0), 1e-6)


def test_a_batch_norm_without_averages_trains_as_before():
    _, data, options, _ = normed("images")
    history = fit(Normed(track_running_stats=False), data, data, epochs=2, progress=False, **options)
    assert bool(torch.isfinite(history.metrics["val_loss"]).all())


# -- input errors -----------------------------------------------------------------------------------------------------


ERRORS = {
    "a function without seeds": (
        InputTypeError,
        r"model: got function, expected a module; pass seeds=n",
        {"seeds": None},
    ),
    "a module with seeds": (InputTypeError, r"model: got a module, but each seed needs its own", {"model": make()()}),
    "no seeds": (InputError, r"seeds: got \[\], expected at least one", {"seeds": []}),
    "zero seeds": (InputError, r"seeds: got 0", {"seeds": 0}),
    "seeds of floats": (InputTypeError, r"seeds\[1\]: got 1.5, expected an integer", {"seeds": [0, 1.5]}),
    "seeds as text": (InputTypeError, r"seeds: got '12', expected how many, or a list", {"seeds": "12"}),
    "seeds as a float": (InputTypeError, r"seeds: got 2.0, expected how many, or a list", {"seeds": 2.0}),
    "seeds as a bool": (InputTypeError, r"seeds: got True, expected an integer", {"seeds": True}),
    "a negative one of seeds": (InputError, r"seeds\[1\]: got -2, expected at least 0", {"seeds": [1, -2]}),
    "seeds twice": (InputError, r"seeds: got \[1, 2, 1\], expected each once", {"seeds": [1, 2, 1]}),
    "a negative seed": (InputError, r"seed: got -1, expected at least 0", {"seed": -1, "seeds": None}),
    "a large seed": (
        InputError,
        r"seed: got 9223372036854775808, expected at least 0 and below 2\^63",
        {"seed": 2**63, "seeds": None},
    ),
    "seed as a float": (InputTypeError, r"seed: got 1.0, expected an integer", {"seed": 1.0, "seeds": None}),
    "seed as a bool": (InputTypeError, r"seed: got False, expected an integer", {"seed": False, "seeds": None}),
    "seed and seeds": (InputError, r"seed: got 3 with seeds=2; seed goes with one model", {"seed": 3}),
    "epochs": (InputError, r"epochs: got 0, expected at least 1", {"epochs": 0}),
    "seeds_at_once": (InputError, r"seeds_at_once: got 0, expected at least 1", {"seeds_at_once": 0}),
    "lr": (InputError, r"lr: got -0.1, expected a finite number", {"lr": -0.1}),
    "lr nan": (InputError, r"lr: got nan, expected a finite number", {"lr": math.nan}),
    "select": (InputError, r"select: got 'test_accuracy', expected one of train_loss", {"select": "test_accuracy"}),
    "class_weight": (InputError, r"class_weight: got shape \(2,\), expected \[3\]", {"class_weight": torch.ones(2)}),
    "a class of negative weight": (
        InputError,
        r"class_weight: got \[-1.0, .*, 0 at least",
        {"class_weight": [-1.0, 2, 1]},
    ),
    "no class of any weight": (InputError, r"class_weight: got .* not all 0", {"class_weight": [0.0, 0, 0]}),
    "weight_decay": (InputError, r"weight_decay: got -1, expected a finite number at least 0", {"weight_decay": -1}),
    "weight_decay of a part": (
        InputError,
        r"weight_decay: got nan, expected",
        {"weight_decay": {"layers.0": math.nan}},
    ),
    "two outputs": (
        InputTypeError,
        r"model: gave a tuple, expected one tensor",
        {"model": lambda: WholeGraph(lambda x, a_hat: (x, x)), "seeds": [0]},
    ),
    "what a callback gives": (
        InputError,
        r"callbacks: StopAfter.after_epoch gave torch.bool of shape \(1,\), expected None, a bool, or one a seed, \[2\]",
        {"callbacks": [StopAfter([2])]},
    ),
    "a plateau of two seeds": (
        InputError,
        r"scheduler: ReduceLROnPlateau of mode 'min' with 2 seeds at once; .*: seeds_at_once=1",
        {"scheduler": ReduceLROnPlateau},
    ),
    "too few outputs": (
        InputError,
        r"model: gave an output of shape \(\d+, 2\), expected \[num_rows, num_classes\], and the data have 3 classes",
        {"model": lambda: GCN(NUM_FEATURES, HIDDEN, 2)},
    ),
    "another width": (InputError, r"x: got shape .*in_channels=11", {"model": lambda: GCN(11, HIDDEN, 3)}),
    "not a graph": (
        InputTypeError,
        r"data: got dict, expected a Graph, a GraphBatch, a GraphCollection, Signals or NodeRows",
        {"data": {}},
    ),
    "a folder as checkpoint": (InputError, r"checkpoint: .* is a folder", {"checkpoint": Checkpoint("."), "seeds": 2}),
    "stacks in a checkpoint": (
        InputError,
        r"checkpoint: got 3 seeds, but one stack of at most 2 can be saved",
        {"checkpoint": Checkpoint("never-written"), "seeds": 3, "seeds_at_once": 2},
    ),
}


@pytest.mark.parametrize(("error", "message", "changes"), ERRORS.values(), ids=ERRORS)
def test_input_errors(graph, error, message, changes):
    options = {"model": make(), "data": graph, "seeds": 2, "epochs": 2} | changes
    with pytest.raises(error, match=message):
        fit(**options)


def test_what_the_graph_lacks(graph):
    for changes, message in (
        ({"x": None}, r'graph: has no x; make one with graph.with_features\("identity"\)'),
        ({"y": None}, r"graph: has .*, expected one integer class per node"),
        ({"y": torch.rand(NUM_NODES)}, r"graph: has .*, expected one integer class per node"),
        ({"train_mask": None}, r"graph: has no train_mask, which says on which nodes to train"),
        ({"val_mask": None}, r'graph: has no val_mask; give one, or select="last"'),
    ):
        with pytest.raises(InputError, match=message):
            fit(make(), graph.replace(**changes), seeds=2)
    with pytest.raises(InputError, match=r'graph: has no x; make one with graph.with_features\("identity"\)'):
        predict(make()(), graph.replace(x=None))


def test_features_are_checked_once_unless_told_not_to(graph):
    x = graph.x.clone()
    x[5, 2] = math.nan
    options = {name: getattr(graph, name) for name in ("y", "train_mask", "val_mask", "test_mask")}
    bad = Graph(graph.adjacency, x, check_finite=False, **options)
    with pytest.raises(InputError, match=r"x: 1 values are NaN or infinite, the first in row 5"):
        fit(make(), bad, seeds=2)
    with pytest.raises(NonFiniteError, match="epoch 1"):
        fit(make(), bad, seeds=2, check_finite=False)


def test_a_function_must_make_new_models(graph):
    model = make()()
    with pytest.raises(InputError, match=r"model: the function gave one module twice"):
        fit(lambda: model, graph, seeds=3)


def test_wrong_settings_of_callbacks():
    with pytest.raises(InputError, match=r"patience: got 0, expected at least 1"):
        EarlyStopping(0)
    with pytest.raises(InputError, match=r"monitor: got 'loss', expected one of train_loss"):
        EarlyStopping(3, "loss")
    with pytest.raises(InputError, match=r"metric: got 'accuracy', expected one of train_loss"):
        StopAt("accuracy", 0.9)
    with pytest.raises(InputError, match=r"value: got 95, expected a probability between 0 and 1"):
        StopAt("val_accuracy", 95)
    with pytest.raises(InputError, match=r"every: got 0, expected at least 1"):
        Checkpoint("c", every=0)


# -- prediction, history, progress ------------------------------------------------------------------------------------


def test_predict(graph):
    model = make(0.5)().train()
    everywhere = predict(model, graph)
    assert model.training
    assert everywhere.shape == (NUM_NODES, NUM_CLASSES)
    assert not everywhere.requires_grad
    ids = torch.tensor([7, 2, 60, 2])
    assert_close(predict(model, graph, ids), everywhere[ids], 1e-6)
    assert_close(predict(model, graph, graph.val_mask), everywhere[graph.val_mask], 1e-6)
    assert_close(predict(WholeGraph(model), graph, ids), everywhere[ids], 1e-6)


def test_history_as_a_table(graph):
    history = fit(make(), graph, seeds=[5, 9], epochs=6, callbacks=[StopAfter([6, 3])])
    frame = history.frame()
    assert list(frame.columns) == ["seed", "epoch", *METRICS]
    assert frame["seed"].tolist() == [5] * 6 + [9] * 3
    assert frame["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    assert frame["val_loss"].tolist() == [*history.metrics["val_loss"][:, 0], *history.metrics["val_loss"][:3, 1]]


def test_history_as_a_picture(graph, tmp_path):
    history = fit(make(), graph, seeds=2, epochs=6, callbacks=[StopAfter([6, 3])])
    figure = history.plot(tmp_path / "curves.png", "a title")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle().startswith("a title\nmean of 2 seeds")
    loss = figure.axes[0]
    assert [line.get_label() for line in loss.get_legend_handles_labels()[0]] == ["training", "validation"]
    drawn = loss.lines[1].get_ydata()
    both = history.metrics["val_loss"].nanmean(1)
    assert drawn.tolist() == pytest.approx(both.tolist())
    assert "matplotlib.pyplot" not in sys.modules  # no window, no global state
    bare = fit(make(), graph.replace(val_mask=None), seeds=1, epochs=2, select="last")
    assert len(bare.plot().axes[0].lines) == 2  # the curve, the dashed line


def test_progress_is_one_line_and_only_on_a_terminal(graph, monkeypatch, capsys):
    fit(make(), graph, seeds=2, epochs=3)
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for progress, silent in ((None, False), (False, True)):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        fit(make(), graph, seeds=5, epochs=40, seeds_at_once=2, progress=progress, callbacks=[StopAfter(2)])
        assert "\n" not in terminal.getvalue()
        assert (terminal.getvalue() == "") is silent
    assert capsys.readouterr().out == ""


def test_progress_reaches_its_end_when_seeds_stop_early(graph, monkeypatch):
    done = []

    class Bar(_Silent):
        def update(self, n=1):
            done.append(n)

    monkeypatch.setattr("gcnlab.train.engine.progress_bar", lambda progress, total: Bar())
    fit(make(), graph, seeds=5, epochs=40, seeds_at_once=2, callbacks=[StopAfter(2)])
    assert sum(done) == 3 * 40


def test_a_history_is_shown_in_one_line(graph):
    text = repr(fit(make(), graph, seeds=2, epochs=3))
    assert re.fullmatch(r"History\(2 seeds, 3 epochs; kept: train_loss [\d.]+, .*val_accuracy [\d.]+\)", text)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"callbacks": EarlyStopping(3)}, "callbacks: expected a list"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1.0)}, "optimizer: got a SGD; pass what makes one"),
        ({"checkpoint": "x.ck"}, "checkpoint: got 'x.ck', expected Checkpoint"),
        ({"epochs": 1.5}, "epochs: got 1.5, expected an integer"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": -1}, "seeds: got -1"),
    ],
)
def test_arguments_of_another_kind_are_named(graph, options, match):
    with pytest.raises((InputError, InputTypeError), match=match):
        fit(make(), graph, **{"seeds": 2, "epochs": 2, **options})


def test_a_history_moves_to_the_cpu(graph):
    history = fit(make(), graph, seeds=2, epochs=2)
    assert {str(value.device) for value in history.cpu().states.values()} == {"cpu"}


def test_unchecked_features_train_where_no_labelled_node_sees_them():
    graph = planted_partition()
    far = Graph.from_edges(graph.edge_index, NUM_NODES + 1, x=torch.cat([graph.x, torch.full((1, NUM_FEATURES), math.nan)]),
                           y=[*graph.y.tolist(), -1], train_mask=[*graph.train_mask.tolist(), False], check_finite=False)  # fmt: skip
    with pytest.raises(InputError, match=r"x: 13 values are NaN"):
        fit(make(), far, seeds=2, epochs=1, select="last")
    assert math.isfinite(
        float(fit(make(), far, seeds=2, epochs=1, select="last", check_finite=False).metrics["train_loss"][-1, 0])
    )


# -- whatever the caller is in, and whoever trains beside --------------------------------------------------------------

TRAININGS = {
    "nodes": lambda graph: fit(make(0.5), graph, seeds=2, epochs=3, progress=False),
    "one model": lambda graph: fit(seeded(make(0.5), 1), graph, seed=3, epochs=3, progress=False),
    "a seed that is drawn": lambda graph: fit(seeded(make(0.5), 1), graph, epochs=3, progress=False),
    "sampled": lambda graph: fit(
        seeded(make(0.5), 1), graph, seed=3, epochs=2, progress=False, batching=NeighborSampler(graph, (3, 3), 5)
    ),
    "graphs": lambda graph: fit(
        seeded(lambda: GraphClassifier(3, 4, 2), 1), some_graphs(), some_graphs(), seed=3, epochs=3, batch_size=3
    ),
    "16 bits": lambda graph: fit(seeded(make(0.5), 1), graph, seed=3, epochs=3, precision="bfloat16", progress=False),
    "Python and numpy": lambda graph: fit(Noisy, graph, seeds=[1], epochs=3, progress=False),
}


class Noisy(WholeGraph):
    """A model that draws from every generator."""

    def __init__(self):
        super().__init__(make()())

    def forward(self, x, a_hat):
        return super().forward(x * (random.random() + np.random.rand() + torch.rand(())), a_hat)  # noqa: NPY002


def some_graphs():
    graphs = [Graph.from_edges([[0, 1], [1, 0]], x=torch.full((2, 3), i / 8), y=i % 2) for i in range(8)]
    return GraphCollection.from_graphs(graphs)


def same(a, b):
    return all(torch.equal(a.metrics[name], b.metrics[name]) for name in METRICS) and all(
        torch.equal(a.states[name], b.states[name]) for name in a.states
    )


class Slow(nn.Module):
    """A module that draws its first values long after its parameter is there."""

    has_parameter = threading.Event()

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3))
        self.has_parameter.set()
        time.sleep(0.1)
        nn.init.normal_(self.weight)


def test_a_training_waits_for_a_module_that_another_thread_makes(graph):
    options = {"seed": 3, "epochs": 1000, "select": "last", "progress": False}
    alone = fit(seeded(make(0.5), 1), graph, **options).metrics["train_loss"]
    model = seeded(make(0.5), 1)
    Slow.has_parameter.clear()
    maker = threading.Thread(target=Slow)
    maker.start()
    assert Slow.has_parameter.wait(10)
    meanwhile = fit(model, graph, callbacks=[Wait(maker)], **options).metrics["train_loss"]
    assert torch.equal(meanwhile, alone[: len(meanwhile)])


class Wait(Callback):
    """Ends the training some epochs after the maker of the module is done."""

    def __init__(self, maker):
        self.maker, self.left = maker, 3

    def after_epoch(self, epoch, metrics):
        self.left -= not self.maker.is_alive()
        return self.left <= 0


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_in_threads_are_those_alone(graph, name, monkeypatch):
    nodes, graphs = seeded(make(0.5), 1), seeded(lambda: GraphClassifier(3, 4, 2), 1)

    def ready(maker, seed):  # a thread that seeded by itself would disturb the others
        return copy.deepcopy(graphs if "GraphClassifier" in maker.__code__.co_names else nodes)

    monkeypatch.setattr(sys.modules[__name__], "seeded", ready)
    is_drawn = name == "a seed that is drawn"
    torch.manual_seed(11)
    alone = [TRAININGS[name](graph) for _ in range(3 if is_drawn else 1)]
    found, errors = [], []

    def run(work, results):
        try:
            results.append(work(graph))
        except BaseException as error:
            errors.append(error)

    def makes_models(_):
        for _ in range(5):
            gcnlab.models.summary(make()(), graph.x, graph.a_hat)
            NormedGCN(), nn.Linear(3, 4)

    torch.manual_seed(11)
    threads = [threading.Thread(target=run, args=(TRAININGS[name], found)) for _ in range(3)]
    if not is_drawn:
        threads += [threading.Thread(target=run, args=(work, [])) for work in (makes_models, *TRAININGS.values())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert len(found) == 3
    if is_drawn:  # whose turn comes first is the threads' business
        alone, found = (sorted(several, key=lambda history: history.seeds) for several in (alone, found))
    assert all(same(history, alone[i if is_drawn else 0]) for i, history in enumerate(found))


def test_a_training_within_a_training(graph):
    """A callback may train: the thread does not wait for itself."""

    class Nested(Callback):
        def after_epoch(self, epoch, metrics):
            if epoch == 1:
                self.history = fit(make(0.5), graph, seeds=[7], epochs=2, progress=False)

    nested = Nested()
    outer = fit(make(0.5), graph, seeds=[3], epochs=3, progress=False, callbacks=[nested])
    assert same(outer, fit(make(0.5), graph, seeds=[3], epochs=3, progress=False))
    assert same(nested.history, fit(make(0.5), graph, seeds=[7], epochs=2, progress=False))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_while_another_thread_trains_can_train(graph, tmp_path):
    started, go_on = threading.Event(), threading.Event()

    class Waits(Callback):
        def after_epoch(self, epoch, metrics):
            started.set()
            go_on.wait(60)

    thread = threading.Thread(target=lambda: fit(make(), graph, seeds=1, epochs=1, progress=False, callbacks=[Waits()]))
    thread.start()
    started.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 says that forks of threads may deadlock
        child = os.fork()
    if not child:
        with generators_alone():
            os._exit(7)
    go_on.set()
    thread.join(60)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert done


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, functools.partial(torch.autocast, "cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_a_training_is_the_same_within_any_mode(graph, context, name):
    torch.manual_seed(5)
    expected = TRAININGS[name](graph)
    with context():
        torch.manual_seed(5)
        if name in ("one model", "16 bits") and context is torch.inference_mode:
            with pytest.raises(InputError, match="model: its weights were made under"):
                TRAININGS[name](graph)
            return
        if name in ("a seed that is drawn", "sampled", "graphs") and context is torch.inference_mode:
            return  # as above
        assert same(TRAININGS[name](graph), expected)
        assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
        assert torch.is_grad_enabled() == (context not in (torch.no_grad, torch.inference_mode))


class Detached(WholeGraph):
    def __init__(self, how):
        super().__init__(make()())
        self.how = how

    def forward(self, x, a_hat):
        if self.how == "no_grad":
            with torch.no_grad():
                return super().forward(x, a_hat)
        if self.how == "inference_mode":
            with torch.inference_mode():
                return super().forward(x, a_hat)
        return super().forward(x, a_hat).detach()


@pytest.mark.parametrize("seeds", [None, 2])
@pytest.mark.parametrize("how", ["detach", "no_grad", "inference_mode"])
def test_a_model_whose_output_has_no_derivative_is_named(graph, how, seeds):
    model = Detached(how) if seeds is None else lambda: Detached(how)
    with pytest.raises(InputError, match="model: no derivative leads from its output to its weights"):
        fit(model, graph, seeds=seeds, epochs=2, progress=False)


def test_what_would_learn_and_is_no_parameter_is_named(graph):
    a = graph.adjacency
    learnt = graph.replace(adjacency=a.with_value(a.value.clone().requires_grad_()))
    graphs = some_graphs()
    whole = graphs.whole
    collection = GraphCollection(
        whole.replace(adjacency=whole.adjacency.with_value(whole.adjacency.value.clone().requires_grad_())),
        torch.arange(9) * 2, graphs.y,
    )  # fmt: skip
    images = Signals(torch.rand(4, 3, 3).requires_grad_(), [0, 1, 0, 1])
    rows = NodeRows(graph, [torch.rand(NUM_NODES, 2).requires_grad_()])
    classifier, rest = GraphClassifier(3, 4, 2), {"epochs": 2, "progress": False}
    for train, message in (
        (lambda: fit(make()(), learnt, **rest), "data: A: requires a gradient"),
        (lambda: fit(make(), learnt, seeds=2, **rest), "data: A: requires a gradient"),
        (lambda: fit(make()(), learnt, batching="auto", **rest), "data: A: requires a gradient"),
        (
            lambda: fit(make()(), graph.replace(x=graph.x.clone().requires_grad_()), **rest),
            "data: x: requires a gradient",
        ),
        (lambda: fit(make()(), graph, operator=learnt.a_hat, **rest), "operator: requires a gradient"),
        (lambda: fit(classifier, collection, graphs, **rest), "data: A: requires a gradient"),
        (lambda: fit(classifier, graphs, collection, **rest), "val: A: requires a gradient"),
        (lambda: fit(nn.Flatten(), images, images, **rest), "data: images: requires a gradient"),
        (lambda: fit(SIGN([2], 4, 3), rows, **rest), r"data: features\[0\]: requires a gradient"),
    ):
        with pytest.raises(InputError, match=message + ", but fit trains the parameters of the model alone"):
            train()
    fixed = learnt.replace(adjacency=a.with_value(learnt.adjacency.value.detach()))
    assert same(fit(make(), fixed, seeds=1, **rest), fit(make(), graph, seeds=1, **rest))


@pytest.mark.parametrize("number", [np.int64(4), np.uint8(4), torch.tensor(4)])
def test_counts_may_be_numbers_of_numpy_and_torch(graph, number):
    graphs = some_graphs()
    expected = fit(make(0.5), graph, seeds=4, epochs=4, seeds_at_once=4, progress=False)
    assert same(fit(make(0.5), graph, seeds=number, epochs=number, seeds_at_once=number, progress=False), expected)
    trained = [
        fit(seeded(lambda: GraphClassifier(3, 4, 2), 1), graphs, graphs, seed=1, epochs=1, batch_size=size)
        for size in (4, number)
    ]
    assert same(*trained)
    for batches in (
        lambda size: GraphLoader(graphs, size, shuffle=True, bucket=True),
        lambda size: Signals(torch.zeros(8, 3, 3), torch.arange(8) % 2).batches(size),
        lambda size: NeighborSampler(graph, (size, 3), size).batches(),
        lambda size: RandomNodeSampler(graph, size).batches(),
    ):
        assert len(list(batches(number))) == len(list(batches(4)))
    model = make()().eval()
    torch.testing.assert_close(predict(model, graph, batch_size=number), predict(model, graph))
    for wrong in (4.0, np.float64(4), "4", True, np.True_, torch.tensor(4.0), torch.tensor(True), None):
        for count in ("epochs", "seeds_at_once", "batch_size"):
            with pytest.raises(InputTypeError, match=rf"{count}: got .*, expected an integer"):
                fit(make(), graph, seeds=1, progress=False, **{count: wrong})
        with pytest.raises(InputTypeError, match=r"batch_size: got .*, expected an integer"):
            GraphLoader(graphs, wrong)


def test_wrong_words_of_checkpoints_and_optimizers():
    for path in (None, 3, True, ["file"]):
        with pytest.raises(InputTypeError, match=r"path: got .*, expected the name of a file"):
            Checkpoint(path)
    for betas, match in (
        ("ab", "betas: got"),
        ((0.9,), "betas: got"),
        ((0.9, 1.0), r"betas\[1\]: got 1.0"),
        (0.9, "betas: got"),
    ):
        with pytest.raises(InputError, match=match):
            Adam([torch.ones(1, requires_grad=True)], betas=betas)


@pytest.mark.parametrize("progress", [None, True, False])
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_training_without_stderr(graph, monkeypatch, progress, is_closed):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if is_closed and not progress else None)
    history = fit(make(), graph, seeds=1, epochs=2, progress=progress)
    assert len(history.epoch_seconds) == 2


def test_validation_has_the_classes_of_the_training_by_their_names():
    """Of val alone, which has only some of the classes, they were numbered otherwise."""
    x = torch.rand(30, 4, 4) * 0.1
    x[1::3] += 0.4
    x[2::3] += 0.8
    names = ["ant", "bee", "cat"] * 10
    kept = [i for i, name in enumerate(names) if name != "ant"]
    images = Signals(x, names), Signals(x[kept], [names[i] for i in kept])
    graphs = [
        Graph.from_edges([[0, 1], [1, 0]], x=x[i].flatten().expand(2, -1), y=name) for i, name in enumerate(names)
    ]
    collections = GraphCollection.from_graphs(graphs), GraphCollection.from_graphs([graphs[i] for i in kept])
    for train, val, model in (
        (*images, nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))),
        (*collections, GraphClassifier(16, 16, 3, 2, dropout=0.0)),
    ):
        assert val.class_names == ("bee", "cat")
        history = fit(model, train, val, seed=0, epochs=100, lr=0.02, select="last", progress=False)
        assert float(history.metrics["val_accuracy"][-1]) == float(history.metrics["train_accuracy"][-1]) == 1.0
    strange = Signals(x, ["ant", "bee", "emu"] * 10)
    with pytest.raises(
        InputError, match="val: has the class 'emu', which is not among those of data: 'ant', 'bee', 'cat'"
    ):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), images[0], strange, epochs=1, progress=False)


def test_adam_refuses_what_it_does_not_compute():
    p = nn.Parameter(torch.ones(1))
    for name in ("maximize", "amsgrad"):
        with pytest.raises(InputError, match=f"{name}: gcnlab.Adam has no such setting; torch.optim.Adam has"):
            Adam([{"params": [p], name: True}])
    with pytest.raises(InputTypeError, match="params: some are complex"):
        Adam([nn.Parameter(torch.ones(1, dtype=torch.complex64))])


def test_rates_of_numpy_are_kept_in_a_checkpoint(graph, tmp_path):
    path = tmp_path / "c"
    fit(make(), graph, seeds=1, epochs=2, lr=np.float32(0.01), progress=False, checkpoint=Checkpoint(path, 1))
    fit(make(), graph, seeds=1, epochs=3, lr=np.float32(0.01), progress=False, checkpoint=Checkpoint(path, 1))


@pytest.mark.parametrize("keeps", ["graph", "matrix", "x"])
def test_seeds_whose_model_keeps_a_graph_of_its_weights_learn_them(graph, keeps):
    s = graph.adjacency

    class Learns(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(s.nnz) if keeps != "x" else graph.x.clone())
            self.kept = (
                s.with_value(self.w) if keeps == "matrix" else Graph(s.with_value(self.w)) if keeps == "graph" else None
            )
            self.kept = graph.replace(x=self.w) if keeps == "x" else self.kept
            self.gcn = make()()

        def forward(self, x, a_hat):
            if keeps == "x":
                return self.gcn(self.kept.x, a_hat)
            return self.gcn(x, self.kept if keeps == "matrix" else self.kept.a_hat)

    start = Learns().w.detach()
    weights = fit(Learns, graph, seeds=2, epochs=5, select="last", progress=False).states["w"]
    assert bool(((weights - start).abs().flatten(1).amax(1) > 1e-3).all())
