"""The layers of `more_layers` and what goes around them: the checks of every layer, and PyG's layer of the same name."""

import math

import numpy as np
import oracles
import pytest
import torch
from checks import LAYER_CHECKS, ZOO, LayerCase, assert_close, ignoring_direction
from torch import nn
from torch.utils._pytree import tree_structure, treespec_dumps, treespec_loads

from gcnlab import APPNP, GCN, ChebConv, GATConv, GCN2Conv, GINConv, Graph, SAGEConv, SGConv, SparseMatrix
from gcnlab.errors import InputError, InputTypeError
from gcnlab.more_layers import neighbour_max
from gcnlab.propagate import propagate

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
