import copy
import gc
import inspect
import math

import numpy as np
import oracles
import pytest
import torch
from checks import ZOO, a_hat, assert_close, compiling, dense_copy
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

import gcnlab
from gcnlab import GCN, GCNConv, Graph, GraphClassifier, SparseMatrix, models
from gcnlab.checkpoint import write_checkpoint
from gcnlab.deep import JumpingKnowledge
from gcnlab.errors import CheckpointMismatchError, GcnlabError, InputError, InputTypeError
from gcnlab.models import summary

pytestmark = pytest.mark.usefixtures("one_thread")

F, H, C = 11, 5, 3


def gcn(*args, dtype=torch.float64, **options):
    """A GCN with random weights, biases too."""
    torch.manual_seed(0)
    model = GCN(*args, **options).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    return model


def features(num_nodes, *batch, density=1.0, dtype=torch.float64):
    torch.manual_seed(1)
    x = torch.randn(*batch, num_nodes, F, dtype=torch.float64)
    return (x * (torch.rand_like(x) < density)).to(dtype)


@pytest.mark.parametrize("options", [
    {}, {"momentum": 0.3}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"affine": False, "momentum": None},
], ids=repr)  # fmt: skip
def test_a_batch_norm_of_counted_rows_is_torchs_of_repeated_ones(options):
    torch.manual_seed(0)
    counts = torch.tensor([1, 3, 1, 2, 5])
    norm, expected = models.BatchNorm(F, **options).double(), torch.nn.BatchNorm1d(F, **options).double()
    expected.load_state_dict(norm.state_dict())
    for _ in range(3):
        h = torch.randn(5, F, dtype=torch.float64)
        assert_close(norm(h, counts.double()).repeat_interleave(counts, 0), expected(h.repeat_interleave(counts, 0)))
    for name, value in expected.state_dict().items():
        assert_close(norm.state_dict()[name], value)
    norm, expected = norm.eval(), expected.eval()
    assert_close(norm(h, counts.double()).repeat_interleave(counts, 0), expected(h.repeat_interleave(counts, 0)))


@pytest.mark.parametrize("name", ZOO)
def test_two_layers_against_the_paper(name):
    graph = ZOO[name].graph()
    model, x, operator = gcn(F, H, C).eval(), features(graph.num_nodes), a_hat(graph)
    weights = [parameter.detach().numpy() for parameter in model.parameters()]
    expected = torch.from_numpy(oracles.gcn_two_layers(x.numpy(), oracles.a_hat(ZOO[name].dense()), *weights))
    assert_close(model(x, operator), expected)
    assert_close(model(SparseMatrix.from_dense(x), operator), expected)
    batch = torch.stack([x, -x])
    assert_close(model(batch, operator), torch.stack([model(x, operator), model(-x, operator)]))


@pytest.mark.parametrize("num_layers", [1, 2, 3, 5])
def test_number_of_layers(num_layers):
    graph = ZOO["weighted"].graph()
    model, h = gcn(F, H, C, num_layers).eval(), features(7)
    widths = [(layer.in_channels, layer.out_channels) for layer in model.layers]
    assert widths == [*zip([F] + [H] * (num_layers - 1), [H] * (num_layers - 1) + [C], strict=True)]
    expected = h.numpy()
    for i, layer in enumerate(model.layers):
        expected = oracles.gcn_layer(
            expected, dense_copy(graph.a_hat), layer.weight.detach().numpy(), layer.bias.detach().numpy()
        )
        expected = expected if i == num_layers - 1 else np.maximum(expected, 0)
    assert_close(model(h, graph.a_hat), torch.from_numpy(expected))
    assert sum(p.numel() for p in model.parameters()) == sum((a + 1) * b for a, b in widths)


def test_against_pyg(pyg):
    edges = ZOO["weighted"]
    graph = edges.graph(torch.float32)
    theirs = pyg.nn.GCN(F, H, 2, C)
    ours = GCN(F, H, C).eval()
    for layer, conv in zip(ours.layers, theirs.convs, strict=True):
        layer.load_state_dict(GCNConv.from_pyg(conv).state_dict())
    x = features(7, dtype=torch.float32)
    assert_close(ours(x, graph.a_hat), theirs(x, edges.edge_index, edges.edge_weight.float()), 1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_dropout_acts_on_the_input_of_every_layer(monkeypatch, num_layers, training):
    seen = []

    def record(h, p, training):
        seen.append((h, p, training))
        return h * 2

    monkeypatch.setattr(models, "dropout", record)
    monkeypatch.setattr(models, "relu_dropout", lambda h, *options: record(h.relu(), *options))
    model, x, operator = (
        gcn(F, H, C, num_layers, dropout=0.3).train(training),
        features(7),
        ZOO["weighted"].graph().a_hat,
    )
    out = model(x, operator)
    assert [(p, mode) for _, p, mode in seen] == [(0.3, training)] * num_layers
    assert seen[0][0] is x
    assert [tuple(h.shape) for h, _, _ in seen[1:]] == [(7, H)] * (num_layers - 1)
    assert all(bool((h >= 0).all()) for h, _, _ in seen[1:])  # after the relu
    expected = x
    for i, layer in enumerate(model.layers):
        expected = layer(expected * 2, operator)
        expected = expected if i == num_layers - 1 else expected.relu()
    assert_close(out, expected)


def test_dropout_of_the_first_input_alone():
    """One layer on X = I and Â = I: the output is the dropped-out weight."""
    model = GCN(F, H, C, num_layers=1, dropout=0.5)
    weight = model.layers[0].weight
    torch.manual_seed(0)
    out = model.train()(torch.eye(F), torch.eye(F))
    gone = ~out.any(1)
    assert 0 < int(gone.sum()) < F
    assert_close(out[~gone], 2 * weight[~gone], 1e-6)
    assert_close(model.eval()(torch.eye(F), torch.eye(F)), weight, 1e-6)


def test_expected_logits_of_one_layer_are_those_without_dropout():
    model, x, operator = gcn(F, H, C, 1, dropout=0.5), features(7), ZOO["weighted"].graph().a_hat
    torch.manual_seed(0)
    draws = model(x.expand(2003, *x.shape), operator)
    z = (draws.mean(0) - model.eval()(x, operator)) / (draws.std(0) / 2003**0.5)
    assert bool((z.abs() < 4).all())


def test_one_operator_a_layer():
    graph = ZOO["directed, weighted"].graph()
    model, x = gcn(F, H, C).eval(), features(5)
    first, second = a_hat(graph), graph.normalize(norm="rw")
    expected = model.layers[1](model.layers[0](x, first).relu(), second)
    assert_close(model(x, [first, second]), expected)
    assert_close(model(x, (first, second)), expected)
    assert_close(model(x, [first, first]), model(x, first))


def test_forward_changes_nothing():
    graph = ZOO["weighted"].graph()
    model, x = gcn(F, H, C), features(7).requires_grad_()
    before, state = x.detach().clone(), copy.deepcopy(model.state_dict())
    model(x, graph.a_hat).sum().backward()
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert list(state) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert GCN(**model.config).config == model.config


@pytest.mark.parametrize("sparse", [False, True], ids=["dense x", "sparse x"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_compile(training, sparse):
    """The whole model is one graph; in training with its dropout. (Without code generation.)"""
    graph = ZOO["undirected"].graph(torch.float32)
    model = gcn(F, H, C, dtype=torch.float32).train(training)
    x = features(7, density=0.4, dtype=torch.float32)
    x = SparseMatrix.from_dense(x) if sparse else x
    with compiling():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        outs = [compiled(x, graph.a_hat) for _ in range(3)]
        gradients = torch.autograd.grad(outs[0].square().sum(), tuple(model.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    if training:
        assert not torch.equal(outs[0], outs[1])
        assert not torch.equal(outs[1], outs[2])
    else:
        expected = model(x, graph.a_hat)
        wanted = torch.autograd.grad(expected.square().sum(), tuple(model.parameters()))
        assert_close(outs[2], expected, 1e-5)
        for found, gradient in zip(gradients, wanted, strict=True):
            assert_close(found, gradient, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_compile_with_code_generation(training):
    graph = ZOO["undirected"].graph(torch.float32)
    model = gcn(F, H, C, dtype=torch.float32, dropout=0.0).train(training)
    x = features(7, dtype=torch.float32)
    with compiling():
        out = torch.compile(model, fullgraph=True)(x, graph.a_hat)
        gradients = torch.autograd.grad(out.square().sum(), tuple(model.parameters()))
    expected = model(x, graph.a_hat)
    assert_close(out, expected, 1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), tuple(model.parameters()))
    for found, gradient in zip(gradients, wanted, strict=True):
        assert_close(found, gradient, 1e-4)


def test_autocast_trains():
    graph = ZOO["weighted"].graph(torch.float32)
    model, x = gcn(F, H, C, dtype=torch.float32, dropout=0.0), features(7, dtype=torch.float32)
    labels = torch.arange(7) % C
    expected = torch.nn.functional.cross_entropy(model(x, graph.a_hat), labels)
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(x, graph.a_hat), labels)
    assert_close(loss, expected, 0.05)
    wanted = torch.autograd.grad(expected, tuple(model.parameters()))
    for gradient, other in zip(torch.autograd.grad(loss, tuple(model.parameters())), wanted, strict=True):
        assert gradient.dtype == torch.float32
        assert_close(gradient, other, 0.1)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense x", "sparse x"])
def test_many_seeds_at_once(sparse):
    """vmap over weights trains as a loop does; with dropout every seed draws its own."""
    graph = ZOO["weighted"].graph()
    x = features(7, density=0.4)
    x = SparseMatrix.from_dense(x) if sparse else x
    seeds = [gcn(F, H, C, dropout=0.5) for _ in range(3)]
    for i, model in enumerate(seeds):
        model.layers[0].weight.data.mul_(i + 1)
    params, _ = stack_module_state(seeds)
    params = {name: value.detach().requires_grad_() for name, value in params.items()}

    def loss(params):
        return functional_call(seeds[0], params, (x, graph.a_hat)).square().sum()

    for model in seeds:
        model.eval()
    vmap(loss)(params).sum().backward()
    for i, model in enumerate(seeds):
        model(x, graph.a_hat).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert_close(params[name].grad[i], parameter.grad, what=(i, name))
    seeds[0].train()
    same = {name: value[:1].expand_as(value) for name, value in params.items()}
    losses = vmap(loss, randomness="different")(same)
    assert len(set(losses.tolist())) == 3


def test_summary():
    graph = Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, F))
    model = GCN(F, H, C)
    lines = [" ".join(line.split()) for line in summary(model, graph.x, graph.a_hat).splitlines()]
    assert lines[:3] == [
        "layer output shape parameters",
        f"layers.0 (GCNConv) (2, {H}) {(F + 1) * H} = {F} x {H} + {H}",
        f"layers.1 (GCNConv) (2, {C}) {(H + 1) * C} = {H} x {C} + {C}",
    ]
    assert lines[3].startswith(f"total: {(F + 1) * H + (H + 1) * C} parameters")
    assert model.training


def test_batch_norm_by_its_name_or_true():
    """A checkpoint of 1.0 says True or False, and a training that it holds is resumed with the same config."""
    named, old = (GCN(F, H, C, 3, norm=norm) for norm in ("batch", True))
    assert named.norms is not None
    assert [type(norm) for norm in named.norms] == [type(norm) for norm in old.norms] == [torch.nn.BatchNorm1d] * 2
    assert named.config == old.config
    assert GCN(F, H, C, norm=None).config == GCN(F, H, C, norm=False).config == GCN(F, H, C).config
    assert GCN(F, H, C).norms is None
    for model in (named, GCN(F, H, C)):
        assert GCN(**model.config).config == model.config
    for norm in ("instance", "False", "", 1):
        with pytest.raises(InputError, match=rf"norm: got {norm!r}, expected None, .* \"pair\", False or True"):
            GCN(F, H, C, norm=norm)


def test_a_config_that_no_constructor_takes_is_a_mismatch(tmp_path):
    model = GCN(F, H, C)
    weights = {name: value.unsqueeze(0) for name, value in model.state_dict().items()}
    for changes, message in (({"norm": "instance"}, "norm: got 'instance'"), ({"dropout": 1.5}, "dropout: got 1.5")):
        header = {"model": {"class": "GCN", "config": {**model.config, **changes}}}
        write_checkpoint(tmp_path / "a", header, weights)
        with pytest.raises(CheckpointMismatchError, match=f"does not make a GCN: {message}"):
            models.load_model(tmp_path / "a")


def test_a_summary_and_a_report_leave_each_module_in_its_own_mode(monkeypatch):
    from gcnlab import load, plot
    from gcnlab.reporting import Content
    from gcnlab.reporting.findings import add_nodes

    cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    karate = load("karate").replace(x=torch.rand(34, 5))
    gcn = GCN(5, 7, 2, norm=True)
    images = torch.rand(2, 5, 5)
    for model, look in (
        (cnn, lambda: summary(cnn, images.unsqueeze(1))), (cnn, lambda: plot.feature_maps(cnn, images)),
        (gcn, lambda: add_nodes(Content({}, karate.class_names), gcn, karate, None, karate.y)),
    ):  # fmt: skip
        model.train()
        (norm,) = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
        norm.eval()
        modes, mean = [module.training for module in model.modules()], norm.running_mean.clone()
        assert sorted(set(modes)) == [False, True]
        look()
        assert [module.training for module in model.modules()] == modes
        with monkeypatch.context() as patch:
            patch.setattr(norm, "forward", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                look()
        assert [module.training for module in model.modules()] == modes
        norm.train()  # one that trains learns nothing from being looked at
        look()
        assert torch.equal(norm.running_mean, mean)


WRONG_X = {
    "COO": lambda x: x.to_sparse(),
    "CSR": lambda x: x.to_sparse_csr(),
    "CSC": lambda x: x.to_sparse_csc(),
    "nested": lambda x: torch.nested.nested_tensor([x, x]),
    "array": lambda x: x.numpy(),
    "list": lambda x: x.tolist(),
    "integers": lambda x: x.long(),
    "another dtype": lambda x: x.double(),
    "nothing": lambda x: None,
    "a graph": lambda x: Graph.from_edges([[0], [1]], x=x[:2]),
    "one dimension": lambda x: x[:, 0],
    "too wide": lambda x: x.repeat(1, 2),
}
TAKES_X = {
    "GCNConv": lambda x, a: GCNConv(F, C)(x, a),
    "RelationalGCNConv": lambda x, a: gcnlab.RelationalGCNConv(F, C, 2)(x, [a, a]),
    "ChebConv": lambda x, a: gcnlab.ChebConv(F, C)(x, a),
    "SGConv": lambda x, a: gcnlab.SGConv(F, C)(x, a),
    "GCN2Conv": lambda x, a: gcnlab.GCN2Conv(F, 1)(x, a, torch.ones(7, F)),
    "SAGEConv": lambda x, a: gcnlab.SAGEConv(F, C)(x, a),
    "SAGEConv of the maximum": lambda x, a: gcnlab.SAGEConv(F, C, aggregate="max")(x, a),
    "GINConv": lambda x, a: gcnlab.GINConv(F, C)(x, a),
    "GATConv": lambda x, a: gcnlab.GATConv(F, C)(x, a),
    "GCN": lambda x, a: GCN(F, H, C)(x, a),
    "GCN that drops nodes": lambda x, a: GCN(F, H, C, drop_node=0.5)(x, a),
    "GCN in evaluation": lambda x, a: GCN(F, H, C).eval()(x, a),
    "GRAND": lambda x, a: gcnlab.GRAND(F, H, C)(x, a),
    "GRAND with a norm": lambda x, a: gcnlab.GRAND(F, H, C, norm=True)(x, a),
    "SIGN": lambda x, a: gcnlab.SIGN([F], H, C)([x]),
    "GraphClassifier": lambda x, a: gcnlab.GraphClassifier(F, H, C)(x, a),
    "NoStructure": lambda x, a: gcnlab.NoStructure(F, H, C)(x, a),
    "attention": lambda x, a: gcnlab.Readout("attention", F)(x),
    "set2set": lambda x, a: gcnlab.Readout("set2set", F)(x),
    "TopKPool": lambda x, a: gcnlab.TopKPool(F)(x, a),
    "LinkHead": lambda x, a: gcnlab.links.LinkHead(F, H)(x, [[0], [1]]),
}


@pytest.mark.filterwarnings("ignore:.*beta state", "ignore:The PyTorch API of nested tensors", "ignore:.*formula takes")
@pytest.mark.parametrize("wrong", WRONG_X)
@pytest.mark.parametrize("name", TAKES_X)
def test_features_that_no_layer_takes_are_named(name, wrong):
    a_hat, x = ZOO["weighted"].graph(torch.float32).a_hat, torch.ones(7, F)
    TAKES_X[name](x, a_hat)
    with pytest.raises(GcnlabError, match=r"^(x|h|xs\[0\]|h, adjacency and batch): "):
        TAKES_X[name](WRONG_X[wrong](x), a_hat)


@pytest.mark.filterwarnings("ignore:.*beta state", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("wrong", ["COO", "CSR", "nested", "array", "list", "nothing"])
@pytest.mark.parametrize("kind", ["mean", "sum", "max", "sort"])
def test_what_no_readout_takes_is_named(kind, wrong):
    with pytest.raises(InputTypeError, match=r"^h: got .*, expected a"):
        gcnlab.Readout(kind)(WRONG_X[wrong](torch.ones(7, F)), torch.zeros(7, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:.*beta state")
def test_sparse_tensors_of_torch_become_features_as_the_error_says():
    a_hat = ZOO["weighted"].graph(torch.float32).a_hat
    x = features(7, density=0.3, dtype=torch.float32)
    layer = GCNConv(F, C)
    for sparse in (x.to_sparse(), x.to_sparse_csr()):
        with pytest.raises(InputTypeError, match=r"x: got a sparse torch tensor .* SparseMatrix\.from_torch\(x\)"):
            layer(sparse, a_hat)
        for product in (lambda sparse=sparse: a_hat @ sparse, lambda sparse=sparse: sparse @ a_hat):
            with pytest.raises(InputTypeError, match="x: got a sparse torch tensor"):
                product()
        torch.testing.assert_close(layer(SparseMatrix.from_torch(sparse), a_hat), layer(x, a_hat))
        torch.testing.assert_close(layer(sparse.to_dense(), a_hat), layer(x, a_hat))


WORDS = {
    "int": [1.5, 3.0, "3", True, None, torch.tensor(3.0), torch.tensor(True), np.float64(3), math.nan, -1, [2]],
    "float": ["0.5", True, None, math.nan, math.inf, [0.5], 1j],
    "bool": ["False", 1, 0, None, "x"],
    "str": [3, "nonsense", None, ["mean"]],
}
MADE_OF_WORDS = [
    (gcnlab.GCNConv, {"in_channels": 4, "out_channels": 3}),
    (gcnlab.RelationalGCNConv, {"in_channels": 4, "out_channels": 3, "num_relations": 2}),
    (gcnlab.ChebConv, {"in_channels": 4, "out_channels": 3}),
    (gcnlab.SGConv, {"in_channels": 4, "out_channels": 3}),
    (gcnlab.APPNP, {}),
    (gcnlab.GCN2Conv, {"channels": 4, "layer": 1}),
    (gcnlab.SAGEConv, {"in_channels": 4, "out_channels": 3}),
    (gcnlab.GINConv, {"in_channels": 4, "out_channels": 3}),
    (gcnlab.GATConv, {"in_channels": 4, "out_channels": 4}),
    (gcnlab.GCN, {"in_channels": 4, "hidden_channels": 4, "out_channels": 2}),
    (gcnlab.GRAND, {"in_channels": 4, "hidden_channels": 4, "out_channels": 2}),
    (gcnlab.SIGN, {"in_channels": [4], "hidden_channels": 4, "out_channels": 2}),
    (gcnlab.GraphClassifier, {"in_channels": 4, "hidden_channels": 4, "out_channels": 2}),
    (gcnlab.NoStructure, {"in_channels": 4, "hidden_channels": 4, "out_channels": 2}),
    (gcnlab.GridGCN, {"in_channels": 1, "channels": [4], "num_classes": 2}),
    (gcnlab.Readout, {"kind": "set2set+attention+flatten", "in_channels": 4, "num_nodes": 3}),
    (gcnlab.TopKPool, {"in_channels": 4}),
    (gcnlab.EarlyStopping, {"patience": 3}),
    (gcnlab.Consistency, {}),
    (gcnlab.links.LinkHead, {"in_channels": 4, "hidden_channels": 4}),
    (JumpingKnowledge, {"kind": "lstm", "channels": 4, "num_layers": 2}),
]
IS_A_LIST_TOO = {("GridGCN", "num_layers")}  # an integer, or one for each level


@pytest.mark.parametrize(("make", "given"), MADE_OF_WORDS, ids=lambda value: getattr(value, "__name__", ""))
def test_words_of_another_kind_are_refused_by_name(make, given):
    """Every argument of every layer and model: what its annotation does not say is an error that names it."""
    num_tried = 0
    for name, parameter in inspect.signature(make).parameters.items():
        kinds = str(parameter.annotation).split(" | ")
        for kind in set(kinds) & set(WORDS):
            for word in WORDS[kind]:
                if (word is None and "None" in kinds) or (
                    isinstance(word, list) and (make.__name__, name) in IS_A_LIST_TOO
                ):
                    continue
                if {"bool", "str"} <= set(kinds) and (isinstance(word, bool) or kind == "bool"):
                    continue
                num_tried += 1
                with pytest.raises(GcnlabError, match=name):
                    make(**{**given, name: word})
        if "int" in kinds and name != "head_layers":
            for number in (np.int64(4), torch.tensor(4)):
                make(**{**given, name: number})
    assert num_tried > 5


# -- fused layers ------------------------------------------------------------------------------------------------------


def small_batch():
    edges = torch.tensor([[0, 1, 2, 3, 5], [1, 2, 3, 4, 6]])
    graph = Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), 7, x=torch.randn(7, 3, generator=generator(0)))
    return graph.x, graph.a_hat, torch.tensor([0, 0, 0, 0, 0, 1, 1])


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_a_watched_layer_runs_by_itself():
    model = GraphClassifier(3, 4, 2, num_layers=2)
    seen = []
    model.convs[1].register_forward_hook(lambda *_: seen.append("conv"))
    model.norms[0].register_full_backward_hook(lambda *_: seen.append("norm"))
    model(*small_batch()).sum().backward()
    assert seen == ["conv", "norm"]


def test_fused_layers_keep_the_running_averages_of_the_modules(monkeypatch):
    torch.manual_seed(0)
    both = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr("gcnlab.models.can_be_fused", lambda *_: False)
        torch.manual_seed(0)
        model = GraphClassifier(3, 4, 2, num_layers=2, dropout=0.0)
        for conv in model.convs:
            torch.nn.init.normal_(conv.bias)
        for _ in range(3):
            model(*small_batch())
        both.append(dict(model.named_buffers()))
    assert int(both[0]["norms.0.num_batches_tracked"]) == 3
    for name, value in both[0].items():
        torch.testing.assert_close(value, both[1][name], msg=name)


def test_a_step_of_fused_layers_leaves_no_cycle_behind():
    """A cycle would keep the arrays of a step until Python's collector runs, and the next step would take new ones."""
    model = GraphClassifier(3, 4, 2, num_layers=3, jumping_knowledge="cat")
    x, a_hat, graphs = small_batch()
    gc.collect()
    gc.disable()
    try:
        model(x, a_hat, graphs).sum().backward()
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        assert not [tensor for tensor in tensors if "FusedLayers" in type(tensor.grad_fn).__name__]
    finally:
        gc.enable()


def test_derivatives_of_derivatives_of_fused_layers():
    model = GraphClassifier(3, 4, 2, num_layers=2, dropout=0.0).double()
    x, a_hat, graphs = small_batch()
    weights = [model.convs[0].weight, model.norms[1].weight]

    def gradient(*given):
        out = torch.func.functional_call(
            model,
            {"convs.0.weight": given[0], "norms.1.weight": given[1]},
            (x.double(), a_hat.to(torch.float64), graphs),
        )
        return torch.autograd.grad(out.square().sum(), given, create_graph=True)

    assert torch.autograd.gradcheck(gradient, weights, eps=1e-6, atol=1e-4)
