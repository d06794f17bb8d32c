import math
import subprocess
import sys
from itertools import combinations

import checks
import numpy as np
import oracles
import pytest
import scipy.stats
import torch
from checks import LAYER_CHECKS, ZOO, LayerCase, assert_close, check_layer, compiling, unnamed
from torch import nn
from torch.func import vmap

import gcnlab
from gcnlab import GCNConv, Graph, SparseMatrix, dropout
from gcnlab.errors import InputError
from gcnlab.layers import glorot_uniform, relu_dropout

pytestmark = pytest.mark.usefixtures("one_thread")

# -- every layer ------------------------------------------------------------------------------------------------------


def gcn_oracle(weights, x, operator):
    return oracles.gcn_layer(x, operator, weights["weight"], weights.get("bias"))


LAYERS = {
    "GCNConv": LayerCase(lambda: GCNConv(5, 3), gcn_oracle),
    "GCNConv to more channels": LayerCase(lambda: GCNConv(5, 11), gcn_oracle),  # Â first, then W
    "GCNConv without bias": LayerCase(lambda: GCNConv(5, 3, bias=False), gcn_oracle),
    "GCNConv on the row-normalised operator": LayerCase(
        lambda: GCNConv(5, 3), gcn_oracle, operator=lambda graph: graph.normalize(norm="rw")
    ),
    "GCNConv on L̃, as a matrix of one's own": LayerCase(
        lambda: GCNConv(5, 3), gcn_oracle, operator=checks.ignoring_direction(lambda graph: unnamed(graph.l_tilde()))
    ),
}


@pytest.mark.parametrize("check", LAYER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name, check):
    check(LAYERS[name])


# -- the checks themselves: each must refuse a layer that breaks its promise -----------------------------------------


class Broken(GCNConv):
    """A GCNConv with one fault; `fault` is its forward pass."""

    def __init__(self, fault):
        super().__init__(5, 3)
        self.fault = fault

    def forward(self, x, a_hat):
        return self.fault(self, x, a_hat)


def right(layer, x, a_hat):
    return GCNConv.forward(layer, x, a_hat)


def halves_x(layer, x, a_hat):
    out = right(layer, x, a_hat)
    x.data.mul_(0.5)
    return out


def keeps_the_operator(layer, x, a_hat):
    layer.kept = a_hat
    return right(layer, x, a_hat)


FIRST = {}


def keeps_the_first_operator(layer, x, a_hat):
    return right(layer, x, FIRST.setdefault(id(layer), a_hat))


def averages_the_batch(layer, x, a_hat):
    return right(layer, x.mean(0, keepdim=True).expand_as(x) if x.dim() == 3 else x, a_hat)


def drops_negative_entries_of_sparse_x(layer, x, a_hat):
    return right(layer, x.with_value(x.value.relu()) if isinstance(x, SparseMatrix) else x, a_hat)


FAULTS = {
    "the operator transposed": ("oracle", lambda layer, x, a: right(layer, x, a.T)),
    "no bias": ("oracle", lambda layer, x, a: right(layer, x, a) - layer.bias),
    "a relu": ("oracle", lambda layer, x, a: right(layer, x, a).relu()),
    "another dtype": ("oracle", lambda layer, x, a: right(layer, x, a).double()),
    "an order of nodes": (
        "permutation",
        lambda layer, x, a: right(layer, x, a) + torch.arange(a.shape[0], dtype=layer.weight.dtype)[:, None],
    ),
    "one edge forgotten": (
        "any_graph",
        lambda layer, x, a: right(layer, x, a.with_value(a.value * (torch.arange(len(a.value)) < 5))),
    ),
    "anything taken": ("refusals", lambda layer, x, a: x),
    "a gradient cut off": ("gradients", lambda layer, x, a: right(layer, x.detach(), a) + 0 * x.sum()),
    "random numbers": ("gradients", lambda layer, x, a: right(layer, x, a) + torch.rand(()) * 1e-3),
    "a batch averaged": ("batch", averages_the_batch),
    "sparse x is another x": ("sparse_x", drops_negative_entries_of_sparse_x),
    "SparseMatrix alone": ("operators", lambda layer, x, a: right(layer, x, a.with_value(a.value))),
    "x changed": ("purity", halves_x),
    "a cache": ("purity", keeps_the_operator),
    "the operator of another call": ("purity", keeps_the_first_operator),
    "the largest of no entries": ("empty", lambda layer, x, a: right(layer, x / x.abs().max(), a)),
    "a Python number": ("vmap", lambda layer, x, a: right(layer, x, a) * x.sum().item() / x.sum()),
    "a print": ("compile", lambda layer, x, a: (print(end=""), torch._dynamo.graph_break(), right(layer, x, a))[-1]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_checks_refuse(name):
    check, fault = FAULTS[name]
    with pytest.raises((AssertionError, RuntimeError, AttributeError, pytest.fail.Exception)):
        getattr(checks, f"check_{check}")(LayerCase(lambda: Broken(fault), gcn_oracle))


def test_the_checks_refuse_a_weight_outside_of_the_state():
    class Forgetful(GCNConv):
        def __init__(self):
            super().__init__(5, 3)
            self.bias = None
            self.extra = torch.rand(3, dtype=torch.float64)

        def forward(self, x, a_hat):
            return super().forward(x, a_hat) + self.extra

    with pytest.raises(AssertionError):
        checks.check_state_dict(LayerCase(Forgetful, gcn_oracle))


def test_check_layer_runs_them_all(monkeypatch):
    ran = []
    monkeypatch.setattr(checks, "LAYER_CHECKS", [lambda case, i=i: ran.append((i, case)) for i in range(3)])
    check_layer(GCNConv, gcn_oracle, in_channels=7, batch=False)
    assert ran == [(i, LayerCase(GCNConv, gcn_oracle, in_channels=7, batch=False)) for i in range(3)]


# -- GCNConv ----------------------------------------------------------------------------------------------------------


def test_by_hand():
    """Two joined nodes: Â is all halves, so both get the mean of x W, plus b."""
    layer = GCNConv(2, 1)
    layer.load_state_dict({"weight": torch.tensor([[1.0], [10.0]]), "bias": torch.tensor([0.5])})
    a_hat = Graph.from_edges([[0, 1], [1, 0]]).a_hat
    assert layer(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), a_hat).tolist() == [[32.5], [32.5]]


def test_rectangular_operator_gives_the_rows_of_the_targets():
    case, edges = LAYERS["GCNConv"], ZOO["weighted"]
    layer, operator, x = case.layer(), edges.graph().a_hat, case.x(edges)
    rows = torch.tensor([5, 0])
    assert_close(layer(x, operator.select_rows(rows)), layer(x, operator)[rows])


def test_weights_at_the_start():
    torch.manual_seed(0)
    layer = GCNConv(101, 59)
    bound = math.sqrt(6 / (101 + 59))
    assert layer.weight.shape == (101, 59)
    assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert scipy.stats.kstest(layer.weight.detach().flatten(), "uniform", (-bound, 2 * bound)).pvalue > 0.01
    assert not layer.bias.any()
    before = layer.weight.clone()
    layer.bias.data.fill_(1.0)
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)
    assert not layer.bias.any()
    assert GCNConv(5, 3, bias=False).bias is None
    assert glorot_uniform(layer.weight) is layer.weight
    assert repr(layer) == "GCNConv(101, 59)"
    assert repr(GCNConv(5, 3, bias=False)) == "GCNConv(5, 3, bias=False)"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["undirected", "weighted", "directed", "directed, weighted", "loops", "isolated"])
def test_against_pyg(pyg, name, bias):
    torch.manual_seed(0)
    theirs = pyg.nn.GCNConv(5, 3, bias=bias)
    if bias:
        nn.init.uniform_(theirs.bias)
    ours = GCNConv.from_pyg(theirs)
    edges = ZOO[name]
    x = torch.randn(edges.num_nodes, 5)
    weight = None if edges.edge_weight is None else edges.edge_weight.float()
    expected = theirs(x, edges.edge_index, weight)
    found = ours(x, checks.a_hat(edges.graph(torch.float32)))
    assert_close(found, expected, 1e-6)
    assert_close(ours.to_pyg()(x, edges.edge_index, weight), expected, 1e-6)
    (found.square().sum() + expected.square().sum()).backward()
    assert_close(ours.weight.grad, theirs.lin.weight.grad.T, 1e-5)


def test_pyg_weights_are_copies_of_the_same_dtype(pyg):
    layer = GCNConv.from_pyg(pyg.nn.GCNConv(5, 3).double())
    assert layer.weight.dtype == torch.float64
    there = layer.to_pyg()
    assert there.lin.weight.dtype == torch.float64
    there.lin.weight.data.zero_()
    assert layer.weight.any()
    for options in ({"normalize": False}, {"add_self_loops": False}, {"improved": True},
                    {"flow": "target_to_source"}, {"aggr": "mean"}, {"aggr": "max"}):  # fmt: skip
        with pytest.raises(InputError, match=f"conv: has {next(iter(options))}=.*, expected PyG's GCNConv"):
            GCNConv.from_pyg(pyg.nn.GCNConv(5, 3, **options))
    with pytest.raises(InputError, match="conv: has in_channels=-1, so no weights yet; call it on its data once"):
        GCNConv.from_pyg(pyg.nn.GCNConv(-1, 3))
    with pytest.raises(InputError, match="conv: has normalize=None"):
        GCNConv.from_pyg(torch.nn.Linear(5, 3))


def test_autocast():
    case, edges = LAYERS["GCNConv"], ZOO["weighted"]
    layer, operator, x = case.layer(torch.float32), edges.graph(torch.float32).a_hat, case.x(edges).float()
    expected = layer(x, operator)
    for features in (x, x.bfloat16(), SparseMatrix.from_dense(x)):
        for a in (operator, operator.to_dense()):
            with torch.autocast("cpu", torch.bfloat16):
                out = layer(features, a)
            assert_close(out.detach(), expected, 0.1)
    (gradient,) = torch.autograd.grad(out.float().sum(), layer.weight)
    assert gradient.dtype == torch.float32


@pytest.mark.slow
def test_compile_with_code_generation():
    """The default backend, which writes and compiles C++."""
    case, edges = LAYERS["GCNConv"], ZOO["undirected"]
    layer, operator, x = case.layer(torch.float32), edges.graph(torch.float32).a_hat, case.x(edges).float()
    with compiling():
        out = torch.compile(layer, fullgraph=True)(x, operator)
        gradients = torch.autograd.grad(out.square().sum(), tuple(layer.parameters()))
    expected = layer(x, operator)
    assert_close(out, expected, 1e-6)
    wanted = torch.autograd.grad(expected.square().sum(), tuple(layer.parameters()))
    for found, gradient in zip(gradients, wanted, strict=True):
        assert_close(found, gradient, 1e-5)


# -- dropout ----------------------------------------------------------------------------------------------------------

BYTES = [1 / 256, 0.25, 0.5, 0.75, 255 / 256]  # multiples of 1/256: a lane is one byte
WORDS = [1e-6, 0.1, 0.3, 1 / 3, 0.9, 0.999999]  # the others: two bytes


def one_of_each(lane):
    """A `torch.randint` whose words hold each value of a lane once."""
    info = torch.iinfo(lane)
    words = torch.arange(info.min, info.max + 1).to(lane).view(torch.int64)
    return lambda low, high, size: words


@pytest.mark.parametrize(("p", "lane"), [(p, torch.int8) for p in BYTES] + [(p, torch.int16) for p in WORDS], ids=str)
def test_dropout_rate_and_scale_are_exact(monkeypatch, p, lane):
    """Of all values of a lane, as many drop as p says, and the scale is that of this number: the mean stays exact."""
    levels = 2 ** torch.iinfo(lane).bits
    dropped = min(round(p * levels), levels - 1)
    assert abs(dropped / levels - p) <= 1 / 65536
    monkeypatch.setattr(torch, "randint", one_of_each(lane))
    out = dropout(torch.ones(levels, dtype=torch.float64), p)
    assert int((out == 0).sum()) == dropped
    assert out[out != 0].unique().tolist() == ([levels / (levels - dropped)])
    assert float(out.mean()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("p", "lanes"), [(0.5, 8), (0.25, 8), (0.3, 4), (1 / 3, 4)])
def test_dropout_lanes_are_fair_and_independent(p, lanes):
    """Every lane of the random words on its own, every pair of lanes, each lane and the next word's, all lanes at once."""
    torch.manual_seed(0)
    words = 100_003
    keep = (dropout(torch.ones(words * lanes), p) != 0).view(words, lanes).double().numpy()
    rate = keep.mean(0)
    sigma = math.sqrt(p * (1 - p) / words)
    assert (np.abs(rate - (1 - p)) < 4 * sigma).all(), rate
    for a, b in combinations(range(lanes), 2):
        assert abs(np.corrcoef(keep[:, a], keep[:, b])[0, 1]) < 4.5 / math.sqrt(words), (a, b)
    for a in range(lanes):
        assert abs(np.corrcoef(keep[1:, a], keep[:-1, a])[0, 1]) < 4 / math.sqrt(words), a
    kept = keep.sum(1).astype(int)
    binomial = scipy.stats.binom.pmf(np.arange(lanes + 1), lanes, 1 - p) * words
    assert binomial.min() > 1
    assert scipy.stats.chisquare(np.bincount(kept, minlength=lanes + 1), binomial).pvalue > 0.001


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (2, 5, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_dropout_of_every_shape_and_dtype(shape, dtype, p):
    torch.manual_seed(0)
    x = torch.rand(shape).to(dtype) + 1
    before = x.clone()
    out = dropout(x, p)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    scale = {0.5: 2.0, 0.3: 65536 / (65536 - round(0.3 * 65536))}[p]
    assert_close(out[out != 0], x[out != 0] * scale, 0.02 if dtype == torch.bfloat16 else 1e-6)
    assert torch.equal(x, before)


def test_dropout_of_a_view_drops_by_place():
    x = torch.rand(5, 7).T + 1
    torch.manual_seed(0)
    found = dropout(x)
    torch.manual_seed(0)
    assert torch.equal(found, dropout(x.contiguous()))


@pytest.mark.parametrize("sparse", [False, True])
def test_dropout_of_nothing_and_of_everything(sparse):
    x = SparseMatrix.from_dense(torch.eye(5)) if sparse else torch.rand(5, 3) + 1
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 1.0, training=False) is x
    gone = dropout(x, 1.0)
    assert gone.shape == x.shape
    assert not (gone.to_dense() if sparse else gone).any()


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_dropout_is_seeded(p):
    x = torch.ones(1009)
    torch.manual_seed(7)
    first, second = dropout(x, p), dropout(x, p)
    torch.manual_seed(7)
    assert torch.equal(dropout(x, p), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.5, 0.3, 1.0])
def test_dropout_gradient_is_its_mask(p):
    x = (torch.rand(101, dtype=torch.float64) + 1).requires_grad_()
    out = dropout(x, p)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert_close(gradient, (out / x).detach())


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_dropout_of_sparse_features(p):
    """Stored entries drop, the pattern stays, and so does the mean; the transpose's pattern is shared."""
    torch.manual_seed(0)
    x = SparseMatrix.from_dense((torch.rand(211, 503) < 0.3) * (1 + torch.rand(211, 503)))
    value = x.value.clone()
    out = dropout(x, p)
    assert torch.equal(x.value, value)
    assert out.rowptr is x.rowptr
    assert out.col is x.col
    assert x.T.nnz == x.nnz
    assert out.t_pattern is x.t_pattern is not None
    kept = out.value != 0
    assert abs(float(kept.double().mean()) - (1 - p)) < 4 * math.sqrt(p * (1 - p) / x.nnz)
    assert_close(out.value[kept], x.value[kept] / (1 - p), 1e-4)
    learned = x.with_value(value.requires_grad_())
    dropout(learned, p).to_dense().sum().backward()
    assert set(value.grad.mul(1 - p).round(decimals=3).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("sparse", [False, True])
def test_dropout_under_vmap(sparse, p):
    x = SparseMatrix.eye(1009) if sparse else torch.ones(1009)

    def drop(weight):
        out = dropout(x, p)
        return weight * (out.value if sparse else out)

    weights = torch.ones(5)
    torch.manual_seed(0)
    out = vmap(drop, randomness="different")(weights)
    assert out.shape == (5, 1009)
    assert all(not torch.equal(out[i], out[j]) for i, j in combinations(range(5), 2))
    assert abs(np.corrcoef(out.numpy() != 0) - np.eye(5)).max() < 4.5 / math.sqrt(1009)
    assert abs(float((out != 0).double().mean()) - (1 - p)) < 4 * math.sqrt(p * (1 - p) / out.numel())
    torch.manual_seed(0)
    assert torch.equal(vmap(drop, randomness="different")(weights), out)
    same = vmap(drop, randomness="same")(weights)
    assert all(torch.equal(same[0], row) for row in same)
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(drop)(weights)
    batched = vmap(lambda x: dropout(x, p), randomness="different")(torch.ones(5, 1009))  # x itself in the batch
    assert not torch.equal(batched[0], batched[1])


def test_dropout_under_compile():
    x = torch.ones(100_003)
    with compiling():
        torch.manual_seed(0)
        out = torch.compile(lambda x: dropout(x, 0.3), fullgraph=True, backend="aot_eager")(x)
    assert abs(float((out != 0).double().mean()) - 0.7) < 4 * math.sqrt(0.21 / x.numel())
    assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / 0.7), 1e-6)


# -- dropout of large arrays, and with the relu before it --------------------------------------------------------------

LARGE = 2**20 + 7  # entries: more than four blocks, and no multiple of a word's bits


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("drop", [dropout, relu_dropout])
def test_large_dropout_rate_scale_and_independence(drop, p):
    torch.manual_seed(0)
    x = torch.rand(LARGE, dtype=torch.float64) + 1
    out = drop(x, p)
    keep = out != 0
    kept = max(round((1 - p) * 65536), 1)
    assert_close(out[keep], x[keep] * 65536 / kept, 1e-12)
    assert abs(float(keep.double().mean()) - kept / 65536) < 4.5 * math.sqrt(p * (1 - p) / LARGE) + 1e-9
    if p == 1e-6:
        return
    for step in (1, 2, 7, 8, 63, 64, 2**18):  # neighbours in a byte, a word, and places of two blocks
        a, b = keep[:-step].double(), keep[step:].double()
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 5 / math.sqrt(LARGE), step
    bits = keep[: LARGE // 64 * 64].view(-1, 64).double().mean(0)  # every bit of a word on its own
    assert float((bits - kept / 65536).abs().max()) < 5 * math.sqrt(p * (1 - p) / (LARGE // 64))


@pytest.mark.parametrize("p", [0.3, 0.5])
@pytest.mark.parametrize("shape", [(7,), (LARGE,), (1025, 1031)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_relu_dropout_and_its_derivative(shape, dtype, p):
    torch.manual_seed(0)
    h = torch.randn(shape).to(dtype)
    h.view(-1)[:3] = torch.tensor([0.0, -0.0, 2.0])
    before, g = h.clone(), torch.randn(shape).to(dtype)
    h.requires_grad_()
    out = relu_dropout(h, p)
    assert (out.shape, out.dtype) == (h.shape, dtype)
    assert torch.equal(h, before)
    assert not bool(out[h <= 0].any())
    kept = out > 0
    assert abs(float(kept.sum() / (h > 0).sum()) - (1 - p)) < (0.8 if len(out) == 7 else 0.01)
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-4
    assert_close(out[kept], h[kept].detach() / (1 - p), tolerance)
    assert_close(torch.autograd.grad(out, h, g)[0], torch.where(kept, g / (1 - p), 0), tolerance)
    torch.manual_seed(1)
    first = relu_dropout(h, p)
    torch.manual_seed(1)
    assert torch.equal(relu_dropout(h, p), first)
    assert torch.equal(relu_dropout(h, p, training=False), h.relu())
    assert torch.equal(relu_dropout(h, 0.0), h.relu())
    assert not bool(relu_dropout(h, 1.0).any())


def test_relu_dropout_of_a_large_view_and_of_a_bad_p():
    h = torch.rand(1031, 1025).T + 1
    torch.manual_seed(0)
    found = relu_dropout(h)
    torch.manual_seed(0)
    assert torch.equal(found, relu_dropout(h.contiguous()))
    with pytest.raises(InputError, match=r"p: got 1\.5, expected a probability"):
        relu_dropout(h, 1.5)


def test_second_derivatives_of_large_relu_dropout():
    h = torch.randn(LARGE, dtype=torch.float64, requires_grad=True)
    g = torch.randn(LARGE, dtype=torch.float64, requires_grad=True)
    out = relu_dropout(h)
    (grad,) = torch.autograd.grad(out, h, g, create_graph=True)
    assert_close(torch.autograd.grad(grad.sum(), g)[0], 2.0 * (out > 0), 1e-12)


def test_a_large_product_that_its_operator_keeps_stays_as_it_is():
    class Keeps:
        shape, dtype, kept = (1025, 1025), torch.float32, torch.ones(1025, 1031)

        def __matmul__(self, x):
            return self.kept

    layer = GCNConv(1031, 1031)
    nn.init.ones_(layer.bias)
    out = layer(torch.ones(1025, 1031, requires_grad=True), Keeps())
    assert bool((Keeps.kept == 1).all())
    assert bool((out == 2).all())


def test_no_layer_needs_a_graph():
    """Imported without gcnlab's door, the layers bring no module of gcnlab.graph along."""
    code = """
import sys, types
door = types.ModuleType("gcnlab")
door.__path__, door.__version__ = [sys.argv[1]], ""
sys.modules["gcnlab"] = door
import gcnlab.layers
print([name for name in sys.modules if name.startswith("gcnlab.graph")], "gcnlab.layers.gcn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, *gcnlab.__path__], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
