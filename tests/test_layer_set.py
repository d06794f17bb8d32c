"""The layers but GCN and what goes around them: the checks of every layer, and PyG's layer of the same name."""

import copy
import math
import pickle
import re

import numpy as np
import oracles
import pytest
import torch
from checks import LAYER_CHECKS, ZOO, LayerCase, assert_close, compiling, ignoring_direction, unnamed
from torch import nn
from torch.utils._pytree import tree_structure, treespec_dumps, treespec_loads

from gcnlab import (
    APPNP,
    GCN,
    ChebConv,
    GATConv,
    GCN2Conv,
    GCNConv,
    GINConv,
    Graph,
    GraphClassifier,
    GraphCollection,
    SAGEConv,
    SGConv,
    SparseMatrix,
    fit,
    predict,
)
from gcnlab.checkpoint import read_checkpoint
from gcnlab.errors import InputError, InputTypeError
from gcnlab.layers import wanted_operators
from gcnlab.propagate import propagate
from gcnlab.segments import neighbour_max
from gcnlab.train import Checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


class AppnpOfALinearModel(nn.Module):
    """APPNP has no weights of its own; the checks want some."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)
        self.propagate = APPNP(num_iterations=4, alpha=0.3)

    def forward(self, x, a_hat):
        return self.propagate(self.linear(x), a_hat)


class Gcn2OfTwoHalves(nn.Module):
    """GCN2Conv takes H and H_0; the checks give one x."""

    def __init__(self):
        super().__init__()
        self.conv = GCN2Conv(3, layer=2, alpha=0.2, theta=0.5)

    def forward(self, x, a_hat):
        return self.conv(x[..., :3], a_hat, x[..., 3:])


def appnp_oracle(weights, x, operator):
    return oracles.appnp(x @ weights["linear.weight"].T + weights["linear.bias"], operator, 4, 0.3)


def gcn2_oracle(weights, x, operator):
    return oracles.gcn2_layer(x[:, :3], x[:, 3:], operator, weights["conv.weight"], 0.2, math.log(0.5 / 2 + 1))


def sage_oracle(aggregate):
    def oracle(weights, x, operator):
        neighbours = operator @ x if aggregate == "mean" else oracles.neighbour_max(x, operator)
        return oracles.sage_layer(x, neighbours, weights["root_weight"], weights["weight"], weights["bias"])

    return oracle


def gin_oracle(eps=None):
    def oracle(weights, x, operator):
        epsilon = weights["eps"] if eps is None else eps
        return oracles.gin_layer(
            x, operator, epsilon, weights["weight"], weights["bias"], weights["out.weight"].T, weights["out.bias"]
        )

    return oracle


def gat_oracle(concat):
    def oracle(weights, x, operator):
        weight = np.split(weights["weight"], len(weights["source"]), axis=1)
        heads = [
            oracles.gat_head(x, operator, *parts)
            for parts in zip(weight, weights["source"], weights["target"], strict=True)
        ]
        return (np.concatenate(heads, 1) if concat else sum(heads) / len(heads)) + weights["bias"]

    return oracle


def cheb_oracle(weights, x, operator):
    return oracles.cheb_layer(x, operator, weights["weight"], weights["bias"])


l_tilde = ignoring_direction(lambda graph: graph.l_tilde())

LAYERS = {
    "ChebConv": LayerCase(lambda: ChebConv(5, 3, num_terms=5), cheb_oracle, operator=l_tilde),
    "ChebConv of one term": LayerCase(lambda: ChebConv(5, 3, num_terms=1), cheb_oracle, operator=l_tilde),
    "ChebConv of two terms": LayerCase(lambda: ChebConv(5, 3, num_terms=2), cheb_oracle, operator=l_tilde),
    "SGConv": LayerCase(
        lambda: SGConv(5, 3, num_hops=3), lambda w, x, a: oracles.sgc_layer(x, a, 3, w["weight"], w["bias"])
    ),
    "APPNP": LayerCase(AppnpOfALinearModel, appnp_oracle),
    "GCN2Conv": LayerCase(Gcn2OfTwoHalves, gcn2_oracle, in_channels=6, sparse_x=False),
    "SAGEConv, mean": LayerCase(
        lambda: SAGEConv(5, 3), sage_oracle("mean"), operator=lambda graph: graph.normalize(None, "rw")
    ),
    "SAGEConv, max": LayerCase(
        lambda: SAGEConv(5, 3, "max"),
        sage_oracle("max"),
        operator=lambda graph: graph.adjacency,
        sparse_x=False,
        any_operator=False,
    ),
    "GINConv": LayerCase(
        lambda: GINConv(5, 3, hidden_channels=11), gin_oracle(0.0), operator=lambda graph: graph.adjacency
    ),
    "GINConv, learned eps": LayerCase(
        lambda: GINConv(5, 3, train_eps=True), gin_oracle(), operator=lambda graph: graph.adjacency
    ),
    "GATConv": LayerCase(
        lambda: GATConv(5, 3, num_heads=2),
        gat_oracle(concat=True),
        operator=lambda graph: graph.a_tilde,
        any_operator=False,
    ),
    "GATConv, mean of heads, no loops": LayerCase(
        lambda: GATConv(5, 3, num_heads=2, concat=False),
        gat_oracle(concat=False),
        operator=lambda graph: graph.adjacency,
        any_operator=False,
    ),
}


@pytest.mark.parametrize("check", LAYER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name, check):
    check(LAYERS[name])


@pytest.mark.gpu
@pytest.mark.parametrize("graph", ["weighted", "isolated", "no edges"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_on_a_gpu(name, graph):
    case, edges = LAYERS[name], ZOO[graph]
    layer, operator, x = case.layer(), case.operator(edges.graph()), case.x(edges)
    out = layer(x, operator)
    gradients = torch.autograd.grad(out.square().sum(), tuple(layer.parameters()))
    layer = layer.cuda()
    out_there = layer(x.cuda(), operator.to("cuda"))
    assert_close(out_there.cpu(), out, 1e-10)
    for a, b in zip(torch.autograd.grad(out_there.square().sum(), tuple(layer.parameters())), gradients, strict=True):
        assert_close(a.cpu(), b, 1e-10)


# -- PyG's layer of the same name, with the same weights --------------------------------------------------------------

GRAPH = ZOO["undirected"].graph(torch.float32)


def copied(ours, theirs, pairs):
    """Put PyG's weights into ours: pairs of (name, tensor)."""
    state = dict(pairs)
    assert set(state) == {name for name, _ in ours.named_parameters()}
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(state[name].reshape(parameter.shape))
    return ours, theirs


def cheb(pyg):
    theirs = pyg.nn.ChebConv(5, 3, K=4)
    weight = torch.stack([lin.weight.T for lin in theirs.lins])
    return *copied(ChebConv(5, 3, num_terms=4), theirs, {"weight": weight, "bias": theirs.bias}), GRAPH.l_tilde()


def sg(pyg):
    theirs = pyg.nn.SGConv(5, 3, K=3)
    pairs = {"weight": theirs.lin.weight.T, "bias": theirs.lin.bias}
    return *copied(SGConv(5, 3, num_hops=3), theirs, pairs), GRAPH.a_hat


def appnp(pyg):
    return APPNP(num_iterations=7, alpha=0.2), pyg.nn.APPNP(K=7, alpha=0.2), GRAPH.a_hat


def gcn2(pyg):
    theirs = pyg.nn.GCN2Conv(5, alpha=0.2, theta=0.5, layer=3)
    return *copied(GCN2Conv(5, layer=3, alpha=0.2, theta=0.5), theirs, {"weight": theirs.weight1}), GRAPH.a_hat


def sage(pyg, aggregate="mean"):
    theirs = pyg.nn.SAGEConv(5, 3, aggr=aggregate)
    pairs = {"weight": theirs.lin_l.weight.T, "bias": theirs.lin_l.bias, "root_weight": theirs.lin_r.weight.T}
    return *copied(SAGEConv(5, 3, aggregate), theirs, pairs), GRAPH.normalize(None, "rw")


def sage_max(pyg):
    return sage(pyg, "max")


def gin(pyg, batch_norm=False):
    norm = [nn.BatchNorm1d(11)] if batch_norm else []
    mlp = nn.Sequential(nn.Linear(5, 11), *norm, nn.ReLU(), nn.Linear(11, 3))
    theirs = pyg.nn.GINConv(mlp, eps=0.3, train_eps=True)
    pairs = {"weight": mlp[0].weight.T, "bias": mlp[0].bias, "out.weight": mlp[-1].weight, "out.bias": mlp[-1].bias}
    pairs |= {f"norm.{name}": value for name, value in norm[0].named_parameters()} if norm else {}
    ours = GINConv(5, 3, 11, eps=0.3, train_eps=True, norm="batch" if batch_norm else None)
    return *copied(ours, theirs, {**pairs, "eps": theirs.eps}), GRAPH.adjacency


def gin_batch_norm(pyg):
    return gin(pyg, batch_norm=True)


def gat(pyg, concat=True):
    theirs = pyg.nn.GATConv(5, 3, heads=2, concat=concat)
    pairs = {
        "weight": theirs.lin.weight.T, "bias": theirs.bias, "source": theirs.att_src, "target": theirs.att_dst
    }  # fmt: skip
    return *copied(GATConv(5, 3, num_heads=2, concat=concat), theirs, pairs), GRAPH.a_tilde


def gat_mean(pyg):
    return gat(pyg, concat=False)


@pytest.mark.parametrize("make", [cheb, sg, appnp, gcn2, sage, sage_max, gin, gin_batch_norm, gat, gat_mean])
def test_pyg_gives_the_same_numbers_and_gradients(make, pyg):
    torch.manual_seed(0)
    ours, theirs, operator = make(pyg)
    x = torch.randn(7, 5, requires_grad=True)
    first = (torch.randn(7, 5),) if make is gcn2 else ()
    out, expected = ours(x, operator, *first), theirs(x, *first, GRAPH.edge_index)
    assert_close(out, expected, 1e-5)
    cotangent = torch.randn_like(out)
    assert_close(
        torch.autograd.grad(out, x, cotangent)[0], torch.autograd.grad(expected, x, cotangent)[0], 1e-5, "gradient"
    )


# -- each layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_sgconv_of_what_was_propagated_before(sparse):
    graph = ZOO["weighted"].graph()
    layer, precomputed = SGConv(5, 3, num_hops=3).double(), SGConv(5, 3, num_hops=0).double()
    precomputed.load_state_dict(layer.state_dict())
    x = torch.randn(7, 5).double() * (torch.rand(7, 5) < 0.3)
    before = propagate(SparseMatrix.from_dense(x) if sparse else x, graph.a_hat, 3)
    assert_close(precomputed(before, graph.a_hat), layer(x, graph.a_hat))


def test_what_is_propagated_stays_sparse_while_it_is():
    path = Graph.from_edges([[0, 1], [1, 0]], num_nodes=40)
    x = SparseMatrix.from_dense(torch.eye(40))
    once = propagate(x, path.a_hat)
    assert isinstance(once, SparseMatrix)
    assert_close(once.to_dense(), path.a_hat.to_dense(), 1e-7)
    full = Graph.from_dense(torch.ones(40, 40))
    assert_close(propagate(x, full.a_hat, 2), torch.full((40, 40), 1 / 40), 1e-6)


def test_gatconv_with_scores_that_overflow_exp():
    layer = GATConv(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0), layer.source.fill_(1000.0), layer.target.fill_(0.0)
    x = torch.tensor([[1.0], [2.0], [-3.0]], requires_grad=True)
    everyone = SparseMatrix.from_dense(torch.ones(3, 3))
    out = layer(x, everyone)
    assert_close(out, torch.full((3, 1), 2.0))  # the neighbour with the largest score takes it all
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_gatconv_drops_attention_and_rescales_it():
    torch.manual_seed(0)
    layer = GATConv(1, 1, bias=False, dropout=0.25)
    with torch.no_grad():
        layer.weight.fill_(1.0), layer.source.fill_(0.0), layer.target.fill_(0.0)
    everyone = SparseMatrix.from_dense(torch.ones(400, 400))
    shares = torch.stack([layer(torch.ones(400, 1), everyone).detach() for _ in range(5)])
    assert shares.std() > 0.01  # of sums that are 1 without dropout
    assert abs(float(shares.mean()) - 1) < 0.01
    assert_close(layer.eval()(torch.ones(400, 1), everyone), torch.ones(400, 1), 1e-5)


def test_appnp_drops_edges_anew_each_iteration():
    torch.manual_seed(0)
    layer = APPNP(num_iterations=2, alpha=0.0, dropout=0.5)
    swap = SparseMatrix.from_dense([[0.0, 1.0], [1.0, 0.0]])
    found = {tuple(layer(torch.ones(2, 1), swap).flatten().tolist()) for _ in range(100)}
    # Each output is a product of an entry of the first draw and the other of the second: of one draw they were equal.
    assert found == {(0.0, 0.0), (0.0, 4.0), (4.0, 0.0), (4.0, 4.0)}
    with pytest.raises(InputTypeError, match=r"dropout=0\.5"):
        layer(torch.ones(2, 1), swap.to_dense())
    assert_close(layer.eval()(torch.ones(2, 1), swap.to_dense()), torch.ones(2, 1))


def test_neighbour_max_by_hand():
    x = torch.tensor([[1.0, -5.0], [3.0, -2.0], [3.0, -4.0]], requires_grad=True)
    pattern = SparseMatrix.from_dense([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.5, -1.0, 1.0]])
    out = neighbour_max(x, pattern)
    assert out.tolist() == [[3.0, -4.0], [0.0, 0.0], [3.0, -2.0]]
    out.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]  # of the two equal ones the first


def test_ginconv_batch_norm_counts_every_node_of_a_batch():
    layer = GINConv(5, 3, norm="batch")
    x = torch.randn(4, 7, 5)
    together = layer(x, GRAPH.adjacency)
    blocks = SparseMatrix.from_dense(torch.block_diag(*[GRAPH.adjacency.to_dense()] * 4))
    assert_close(together.flatten(0, 1), layer(x.flatten(0, 1), blocks), 1e-5)


@pytest.mark.parametrize("a_hat", [GRAPH.a_hat, GRAPH.a_hat.to_dense()], ids=["sparse", "dense"])
def test_what_is_mixed_with_the_first_h_under_autocast(a_hat):
    torch.manual_seed(0)
    x = torch.randn(7, 5)
    for layer, operands in ((APPNP(3), (x, a_hat)), (GCN2Conv(5, layer=1), (x, a_hat, x))):
        expected = layer(*operands)
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(layer(*operands).detach(), expected, 0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChebConv(5, 3, num_terms=0), "num_terms: got 0, expected at least 1"),
        (lambda: SGConv(5, 3, num_hops=-1), "num_hops: got -1"),
        (lambda: APPNP(alpha=1.5), "alpha: got 1.5, expected a probability between 0 and 1"),
        (lambda: GCN2Conv(5, layer=0), "layer: got 0, expected at least 1"),
        (lambda: SAGEConv(5, 3, "lstm"), 'aggregate: got \'lstm\', expected "mean" or "max"'),
        (lambda: GINConv(5, 3, norm="layer"), 'norm: got \'layer\', expected "batch" or None'),
        (lambda: GATConv(5, 3, num_heads=0), "num_heads: got 0"),
        (lambda: GATConv(5, 3, dropout=-0.1), "dropout: got -0.1"),
        (lambda: ChebConv(5, 3)(torch.ones(7, 4), torch.eye(7)), "in_channels=5"),
        (lambda: ChebConv(5, 3)(torch.ones(7, 5), torch.eye(6)), r"l_tilde: got shape \(6, 6\), expected \[7, 7\]"),
        (lambda: SGConv(5, 3)(torch.ones(7, 5), torch.ones(3, 7)), r"a_hat: got shape \(3, 7\), expected a square"),
        (lambda: SAGEConv(5, 3, "max")(torch.ones(7, 5), torch.eye(7)), "operator: got Tensor, expected a SparseMatrix"),
        (lambda: SAGEConv(5, 3, "max")(SparseMatrix.eye(5), SparseMatrix.eye(5)), "x: got a SparseMatrix"),
        (lambda: GATConv(5, 3)(torch.ones(7, 5), torch.eye(7)), "a_tilde: got Tensor, expected a SparseMatrix"),
        (lambda: APPNP()(SparseMatrix.eye(5), torch.eye(5)), "h: got SparseMatrix, expected a tensor: the predictions"),
        (lambda: GCN2Conv(5, layer=1)(torch.ones(7, 5), torch.eye(7), torch.ones(7, 4)), r"x_0: got shape \(7, 4\)"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(make, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        make()


def test_the_embeddings_of_a_gcn_are_what_its_layers_made():
    torch.manual_seed(0)
    model = GCN(5, 11, 3, num_layers=3).eval()
    x = torch.randn(7, 5)
    logits, (first, second) = model(x, GRAPH.a_hat, hidden=True)
    assert torch.equal(logits, model(x, GRAPH.a_hat))
    assert_close(first, model.layers[0](x, GRAPH.a_hat).relu())
    assert_close(model.layers[2](model.layers[1](first, GRAPH.a_hat).relu(), GRAPH.a_hat), logits)
    assert_close(second, model.layers[1](first, GRAPH.a_hat).relu())


def test_the_form_of_a_matrix_survives_json():
    """torch.export.save writes the structure of a program's inputs as JSON."""
    structure = tree_structure(GRAPH.a_hat)
    assert treespec_loads(treespec_dumps(structure)) == structure


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (ChebConv(7, 3, num_terms=5, bias=False), "ChebConv(7, 3, num_terms=5)"),
        (SGConv(7, 3, num_hops=5, bias=False), "SGConv(7, 3, num_hops=5)"),
        (APPNP(num_iterations=5, alpha=0.3), "APPNP(num_iterations=5, alpha=0.3, dropout=0.0)"),
        (GCN2Conv(3, layer=2, alpha=0.2, theta=0.5), "GCN2Conv(3, alpha=0.2, beta=0.2231)"),
        (SAGEConv(7, 3, bias=False), "SAGEConv(7, 3, aggregate='mean')"),
        (GINConv(7, 3, hidden_channels=11), "GINConv(\n  7, 3, hidden_channels=11"),
        (GATConv(7, 3, num_heads=2), "GATConv(7, 3, num_heads=2, concat=True)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_layers_are_shown(layer, shown):
    assert repr(layer).startswith(shown)
    assert getattr(layer, "bias", None) is None or "bias=False" not in shown


# -- the matrix of each layer -----------------------------------------------------------------------------------------

TRAINED = {"GCNConv": LayerCase(lambda: GCNConv(5, 3), lambda *_: 0), **LAYERS}
del TRAINED["GATConv, mean of heads, no loops"]  # another choice than the layer's own


def labelled(in_channels, name="undirected"):
    """A graph of the zoo with classes, features and masks."""
    masks = {"train_mask": torch.arange(7) < 3, "val_mask": torch.arange(7) > 4}
    x = torch.randn(7, in_channels, generator=torch.Generator().manual_seed(1))
    return ZOO[name].graph(torch.float32, x=x, y=torch.tensor([0, 1, 2, 0, 1, 2, 0]), **masks)


def seeded(case):
    torch.manual_seed(0)
    return case.make()


@pytest.mark.parametrize("seeds", [None, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_a_model_is_called_with_the_matrix_that_its_layer_names(name, seeds, tmp_path):
    """Without operator= the numbers are those of the right matrix given each time, also from a file and in a copy."""
    case, path = TRAINED[name], tmp_path / "checkpoint"
    graph = labelled(case.in_channels)
    operator = case.operator(graph)
    options = {"epochs": 3, "lr": 0.1, "seeds": seeds}
    model, expected = (case.make, case.make) if seeds else (seeded(case), seeded(case))
    history = fit(model, graph, **options, checkpoint=Checkpoint(path))
    by_hand = fit(expected, graph, **options, operator=operator)
    assert all(torch.equal(history.states[key], by_hand.states[key]) for key in by_hand.states)
    assert history.operator == operator.kind
    header, weights, _ = read_checkpoint(path)
    assert header["operator"] == operator.kind
    again = case.make()
    again.load_state_dict({key: value[0] for key, value in weights.items()})
    if seeds:
        model, expected = case.make(), case.make()
        model.load_state_dict(history.state(0))
        expected.load_state_dict(by_hand.state(0))
    right = expected.eval()(graph.x, operator)
    for trained in (model, again, copy.deepcopy(model), pickle.loads(pickle.dumps(expected))):
        assert torch.equal(predict(trained, graph), right)
        assert torch.equal(predict(trained, graph, operator=operator), right)
        assert torch.equal(predict(trained, graph, torch.tensor([4, 2])), right[[4, 2]])


@pytest.mark.parametrize(
    "conv", [GCNConv, ChebConv, SAGEConv, lambda a, b: SAGEConv(a, b, "max"), GINConv, GATConv, SGConv]
)
def test_a_collection_gives_each_layer_its_matrix(conv):
    generator = torch.Generator().manual_seed(0)
    graphs = GraphCollection.from_graphs(
        [
            Graph.from_edges(
                [[0, 1, 1, 2, 2, 0][: 4 + i % 3], [1, 0, 2, 1, 0, 2][: 4 + i % 3]],
                x=torch.rand(3, 2, generator=generator), y=i % 2,
            ).to_undirected()
            for i in range(6)
        ]
    )  # fmt: skip
    kind = wanted_operators(conv(2, 2))[0]

    def operator(batch):
        return batch.matrix(kind)

    models = []
    for given in (None, operator):
        torch.manual_seed(0)
        model = GraphClassifier(2, 4, 2, conv=conv, dropout=0.0)
        history = fit(model, graphs[:4], graphs[4:], epochs=3, lr=0.1, batch_size=2, operator=given)
        assert history.operator == model.trained_operator == graphs.batch().matrix(kind).kind
        models.append(model)
    assert all(torch.equal(a, b) for a, b in zip(*(model.state_dict().values() for model in models), strict=True))
    batch = graphs.batch()
    expected = models[1](batch.x, batch.matrix(kind), batch.p)
    for data in (graphs, batch):
        found = predict(models[0], data)
        assert torch.equal(found, predict(models[1], data, operator=operator))
        assert_close(found, expected.detach(), 1e-6)


def test_layers_that_name_different_matrices_are_refused():
    class Mixed(nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x, operator):
            return self.second(self.first(x, operator), operator)

    class Knows(Mixed):
        operator = "a_hat"

        def forward(self, x, a_hat):
            return self.second(self.first(x, unnamed(a_hat)), a_hat)

    graph = labelled(5)
    for first, second, kinds in (
        (GCNConv(5, 4), GATConv(4, 3), ("a_hat",)),
        (GATConv(5, 4), GCNConv(4, 3), ("a_hat",)),
        (GATConv(5, 4), ChebConv(4, 3), ("l_tilde(2.0)",)),
        (SAGEConv(5, 4, "max"), SAGEConv(4, 3), ("random_walk",)),
        (GINConv(5, 4), SAGEConv(4, 3, "max"), ("adjacency",)),
        (nn.Linear(5, 4), nn.Linear(4, 3), ()),
    ):
        assert wanted_operators(Mixed(first, second)) == kinds
    for first, second in (
        (ChebConv(5, 4), GCNConv(4, 3)), (GINConv(5, 4), SAGEConv(4, 3)), (GINConv(5, 4), GATConv(4, 3)),
    ):  # fmt: skip
        model = nn.Sequential(Mixed(first, second))
        for call in (lambda model=model: fit(model, graph), lambda model=model: predict(model, graph)):
            with pytest.raises(
                InputError,
                match=rf"operator: the layers of Sequential take different matrices: 0.first \({type(first).__name__}\) graph\..*, 0.second \({type(second).__name__}\) graph\..* Pass the one",
            ):
                call()
    model = Mixed(ChebConv(5, 4), GCNConv(4, 3))
    mine = unnamed(graph.a_hat)
    fit(model, graph, epochs=1, operator=mine)
    assert torch.equal(predict(model, graph, operator=mine), model(graph.x, mine))
    knows = Knows(ChebConv(5, 4), GCNConv(4, 3))
    fit(knows, graph, epochs=1)  # which says for all of its parts what it is called with
    assert torch.equal(predict(knows, graph), knows(graph.x, graph.a_hat))


def test_names_that_are_no_kinds():
    class Misspelt(GCNConv):
        operator = "a_hatt"

    class Foreign(nn.Linear):
        operator = torch.add  # something else of its author's

    with pytest.raises(InputError, match=r"Misspelt.operator: got 'a_hatt', expected one of a_hat, a_tilde, adjacency"):
        fit(nn.ModuleList([Misspelt(5, 3)]), labelled(5))
    assert wanted_operators(nn.Sequential(Foreign(5, 3), GINConv(3, 3))) == ("adjacency",)


WRONG = {
    "GCNConv": ["laplacian", "l_tilde"],
    "SGConv": ["laplacian", "l_tilde"],
    "APPNP": ["laplacian", "l_tilde"],
    "GCN2Conv": ["laplacian", "l_tilde"],
    "ChebConv": ["a_hat", "a_tilde", "adjacency", "random_walk", "laplacian"],
    "SAGEConv, mean": ["a_hat", "a_tilde", "adjacency", "normalize(None, 'sym')", "laplacian", "l_tilde"],
    "SAGEConv, max": ["a_hat", "a_tilde", "normalize('fill', 'rw')", "laplacian", "l_tilde"],
    "GINConv": ["a_hat", "random_walk", "laplacian", "l_tilde"],
    "GATConv": [],
}
EVERY = ("a_hat", "a_tilde", "adjacency", "random_walk", "normalize('fill', 'rw')", "normalize(None, 'sym')",
         "normalize('add', None)", "laplacian", "l_tilde")  # fmt: skip
QUIET = {  # kinds that are in no list: nothing to say for or against them
    "ChebConv": ["normalize('fill', 'rw')", "normalize('add', None)"],
    "SAGEConv, mean": ["normalize('add', None)"],
    "SAGEConv, max": ["normalize('add', None)"],
    "GINConv": ["normalize('fill', 'rw')", "normalize(None, 'sym')"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_layer_says_when_it_gets_another_matrix(name):
    case = TRAINED[name]
    graph, layer = labelled(case.in_channels), case.make().eval()
    for kind in EVERY:
        if kind in QUIET.get(name, ()):
            continue
        matrix = graph.matrix(kind)
        if kind not in WRONG[name]:
            layer(graph.x, matrix)  # a warning is an error
            continue
        named = case.operator(graph).kind.replace("(2.0)", "()").replace("random_walk", r"normalize(None, 'rw')")
        shown = matrix.kind.replace("random_walk", "normalize(None, 'rw')")
        expected = f"got graph.{shown}, but its formula takes graph.{named}. Pass that one"
        with pytest.warns(UserWarning, match=re.escape(expected)) as told:
            out = layer(graph.x, matrix)
        assert len(told) == 1
        assert name in ("APPNP", "GCN2Conv") or told[0].filename == __file__
        assert torch.equal(layer(graph.x, unnamed(matrix)), out)  # one's own, and taken without a word


def test_the_warning_does_not_break_a_compiled_layer():
    graph, layer = labelled(5), ChebConv(5, 3)
    with compiling(), torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for matrix in (graph.l_tilde(), graph.a_hat, unnamed(graph.a_hat)):
            assert_close(compiled(graph.x, matrix), layer(graph.x, unnamed(matrix)), 1e-6)
        program = torch.export.export(layer, (graph.x, graph.l_tilde())).module()
        mine = unnamed(graph.l_tilde()).mark_symmetric()
        assert_close(program(graph.x, mine), layer(graph.x, mine), 1e-6)


def test_a_layer_of_one_s_own_that_names_its_matrix():
    class Mean(nn.Module):
        operator = "random_walk"
        accepts = ("normalize('fill', 'rw')",)

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x, operator):
            return operator @ self.linear(x)

    graph, models = labelled(5), []
    for operator in (None, graph.normalize(None, "rw"), graph.normalize("fill", "rw"), graph.a_hat):
        torch.manual_seed(0)
        models.append(Mean())
        if operator is graph.a_hat:
            with pytest.warns(
                UserWarning, match=r"Mean: got graph.a_hat, but its formula takes graph.normalize\(None, 'rw'\)"
            ) as told:
                fit(models[-1], graph, epochs=2, operator=operator)
            assert told[0].filename == __file__
            with pytest.warns(UserWarning, match="Mean: got graph.a_hat") as told:
                predict(models[-1], graph, operator=operator)
            assert told[0].filename == __file__
        else:
            fit(models[-1], graph, epochs=2, operator=operator)
    assert torch.equal(models[0].linear.weight, models[1].linear.weight)
    assert models[2].trained_operator == "normalize('fill', 'rw')"
    assert torch.equal(predict(models[2], graph), predict(models[2], graph, operator=graph.normalize("fill", "rw")))


def test_models_of_others_go_on_with_a_hat():
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x, a_hat):
            assert a_hat.kind == "a_hat"
            return a_hat @ self.linear(x)

    graph, model = labelled(5), Foreign()
    assert wanted_operators(model) == ()
    assert fit(model, graph, epochs=1).operator == model.trained_operator == "a_hat"
    assert torch.equal(predict(model, graph), model(graph.x, graph.a_hat))
