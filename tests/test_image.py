import copy
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from checks import LAYER_CHECKS, LayerCase, assert_close, compiling, dense_copy
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from gcnlab import ClusterPool, GCNConv, Graph, GridGCN, Readout, RelationalGCNConv, SparseMatrix
from gcnlab.errors import InputError, InputTypeError
from gcnlab.image import GridOperator, cluster_assignment, coarsen, grid_graph, to_images, to_signals, with_coordinates
from gcnlab.layers import linear

pytestmark = pytest.mark.usefixtures("one_thread")

GRIDS = {
    f"{'x'.join(map(str, shape))}, {connectivity}": (shape, connectivity)
    for connectivities, shapes in (
        ((2,), [(1,), (2,), (7,)]),
        ((4, 8), [(1, 1), (1, 7), (7, 1), (2, 2), (5, 7), (7, 5), (3, 11), (6, 4)]),
        ((6, 26), [(1, 1, 1), (1, 1, 5), (2, 3, 5), (3, 3, 3), (5, 2, 3)]),
    )
    for shape, connectivity in product(shapes, connectivities)
}
every_grid = pytest.mark.parametrize(("shape", "connectivity"), GRIDS.values(), ids=GRIDS)


# -- oracles: dense float64, pixel by pixel ---------------------------------------------------------------------------


def pixels(shape):
    return list(product(*map(range, shape)))


def neighbours(p, q, connectivity):
    """Whether q is a neighbour of p: they share a side, or a corner too."""
    steps = [abs(a - b) for a, b in zip(p, q, strict=True)]
    return max(steps) == 1 and (sum(steps) == 1 or connectivity == 3 ** len(p) - 1)


def dense_grid(shape, connectivity):
    nodes = pixels(shape)
    return np.array([[float(neighbours(p, q, connectivity)) for q in nodes] for p in nodes])


def dense_a_hat(shape, connectivity):
    tilde = dense_grid(shape, connectivity) + np.eye(math.prod(shape))
    degree = tilde.sum(1)
    return tilde / np.sqrt(np.outer(degree, degree))


def relational_oracle(x, relations, weights, bias):
    return sum(a_r @ x @ w_r for a_r, w_r in zip(relations, weights, strict=True)) + bias


# -- the graph --------------------------------------------------------------------------------------------------------


@every_grid
def test_adjacency(shape, connectivity):
    grid = grid_graph(*shape, connectivity=connectivity)
    expected = dense_grid(shape, connectivity)
    assert isinstance(grid, Graph)
    assert (grid.shape, grid.connectivity) == (shape, connectivity)
    assert np.array_equal(dense_copy(grid.adjacency), expected)
    assert grid.num_edges == int(expected.sum())
    assert grid.num_self_loops == 0
    assert not grid.is_directed
    assert np.abs(dense_copy(grid.a_hat) - dense_a_hat(shape, connectivity)).max() < 1e-6


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (3, 1), (2, 3, 5)], ids=str)
def test_four_neighbours_are_networkx_grid(shape):
    theirs = networkx.grid_graph(shape[::-1])  # its first axis is the last of the names
    expected = networkx.to_numpy_array(theirs, nodelist=pixels(shape))
    grid = grid_graph(*shape, connectivity=2 * len(shape))
    assert np.array_equal(dense_copy(grid.adjacency), expected)
    assert np.array_equal(networkx.to_numpy_array(grid.to_networkx()), expected)


def test_to_pyg(pyg):
    grid = grid_graph(3, 5, connectivity=4)
    data = grid.to_pyg()
    assert torch.equal(data.edge_index, grid.edge_index)
    assert data.num_nodes == 15
    assert data.pos.tolist() == [[float(row), float(column)] for row, column in pixels((3, 5))]
    assert (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]).abs().sum(1).eq(1).all()


def test_the_default_is_the_larger_neighbourhood():
    assert [grid_graph(*[3] * axes).connectivity for axes in (1, 2, 3)] == [2, 8, 26]


@every_grid
def test_relations(shape, connectivity):
    """Each offset's matrix has a one where the source stands there; together they are Ã."""
    grid = grid_graph(*shape, connectivity=connectivity)
    nodes = pixels(shape)
    assert len(grid.relations) == len(grid.offsets) == connectivity + 1
    assert grid.offsets == sorted(grid.offsets)
    assert len(set(grid.offsets)) == connectivity + 1
    for offset, matrix in zip(grid.offsets, grid.relations, strict=True):
        moved = [tuple(a + o for a, o in zip(p, offset, strict=True)) for p in nodes]
        assert np.array_equal(dense_copy(matrix), np.array([[float(q == m) for q in nodes] for m in moved])), offset
    assert np.array_equal(sum(map(dense_copy, grid.relations)), dense_copy(grid.a_tilde))


def test_coordinates():
    grid = grid_graph(3, 4)
    assert [tuple(p) for p in grid.positions.tolist()] == pixels((3, 4))
    expected = [[row - 1.0, 2 * column / 3 - 1] for row, column in pixels((3, 4))]
    assert_close(grid.coordinates, torch.tensor(expected), 1e-6)
    assert grid_graph(1, 3).coordinates.tolist() == [[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]]
    signals = torch.rand(2, 12, 5)
    both = with_coordinates(signals, grid)
    assert both.shape == (2, 12, 7)
    assert torch.equal(both[..., :5], signals)
    assert torch.equal(both[1, :, 5:], grid.coordinates)


def test_a_stencil_makes_no_matrix():
    grid = grid_graph(9, 11)
    layer = RelationalGCNConv(2, 3, 9)
    assert layer(torch.rand(1, 99, 2), grid.relations).shape == (1, 99, 3)
    assert layer.double()(torch.rand(1, 99, 2).double(), grid.to(torch.float64).relations).dtype == torch.float64
    assert (grid.num_nodes, grid.num_edges, grid.device.type, grid.dtype) == (99, 676, "cpu", torch.float32)
    assert grid.coordinates.shape == (99, 2)
    for unmade in (grid, grid.coarser, grid.to(torch.float64), copy.deepcopy(grid)):
        assert unmade.__dict__["adjacency"] is None
    assert "_matrices" not in vars(grid.relations)
    assert grid.adjacency.nnz == grid.num_edges
    assert grid.to(torch.float64).adjacency.dtype == grid.relations.to(torch.float64)[4].dtype == torch.float64


def test_a_grid_stays_one():
    grid = grid_graph(3, 5, connectivity=4)
    a_hat = grid.a_hat
    for other in (grid.replace(x=torch.ones(15, 2)), grid.with_features("degree")):
        assert (other.shape, other.connectivity) == ((3, 5), 4)
        assert other.a_hat is a_hat
    wide = grid.to(torch.float64)
    assert wide.shape == (3, 5)
    assert {wide.a_hat.dtype, wide.operator.dtype, wide.relations[0].dtype, wide.coordinates.dtype} == {torch.float64}
    assert wide.coarser.adjacency.dtype == torch.float64
    assert grid.to("cpu") is grid
    assert not hasattr(grid.replace(adjacency=SparseMatrix.eye(15)), "shape")
    assert grid.operator is grid.operator
    assert grid.relations is grid.relations
    assert grid.coarser is grid.coarser
    with pytest.raises(AttributeError, match="immutable"):
        grid.shape = (5, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 3), "shape: got 0, expected at least 1"),
        ((3, -1), "shape: got -1"),
        ((2.0, 3), r"shape: got 2\.0, expected integers"),
        ((True, 3), "shape: got True, expected integers"),
        (("3", 3), "shape: got '3', expected integers"),
        (((2, 3),), r"shape: got \(2, 3\), expected integers.*unpack it: grid_graph\(\*shape\)"),
        ((), "shape: got 0 sizes"),
        ((1, 2, 3, 4), "shape: got 4 sizes"),
    ],
    ids=str,
)
def test_bad_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        grid_graph(*shape)


@pytest.mark.parametrize(("shape", "connectivity"), [((3, 3), 6), ((3,), 4), ((3, 3, 3), 8), ((3, 3), "8")], ids=str)
def test_bad_connectivity(shape, connectivity):
    with pytest.raises(ValueError, match=f"connectivity: got {connectivity!r}, expected"):
        grid_graph(*shape, connectivity=connectivity)
    assert grid_graph(np.int64(2), 3).shape == (2, 3)


# -- Â as a stencil ---------------------------------------------------------------------------------------------------


@every_grid
@pytest.mark.parametrize("norm", ["sym", None])
def test_operator(shape, connectivity, norm):
    """Both forms against the dense Â, for vectors, matrices and batches."""
    grid = grid_graph(*shape, connectivity=connectivity)
    operator = grid.operator if norm == "sym" else GridOperator(grid, norm=None)
    n = grid.num_nodes
    dense = dense_a_hat(shape, connectivity) if norm == "sym" else dense_grid(shape, connectivity) + np.eye(n)
    torch.manual_seed(0)
    for x in (torch.randn(n), torch.randn(n, 3), torch.randn(2, n, 3), torch.randn(0, n, 3), torch.randn(2, 3, n).mT):
        columns = x.unsqueeze(1) if x.dim() == 1 else x
        expected = torch.from_numpy(dense @ columns.double().numpy()).reshape(x.shape)
        for found in (operator @ x, operator.stencil(x), grid.normalize(norm=norm) @ x):
            assert_close(found, expected, 2e-6 if norm is None else 1e-6)
    assert np.abs(operator.to_dense().double().numpy() - dense).max() < 1e-6


@pytest.mark.parametrize("form", ["@", "stencil"])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_operator_derivatives(form, connectivity):
    operator = grid_graph(3, 4, connectivity=connectivity).to(torch.float64).operator
    f = operator.__matmul__ if form == "@" else operator.stencil
    x = torch.randn(2, 12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, x)
    assert torch.autograd.gradgradcheck(f, x)
    batch = torch.randn(5, 2, 12, 3, dtype=torch.float64)
    assert_close(vmap(f)(batch), torch.stack([f(x_i) for x_i in batch]))
    with compiling():
        assert_close(torch.compile(lambda x: f(x), fullgraph=True, backend="aot_eager")(x), f(x))


def test_operator_in_layers_and_low_precision():
    grid = grid_graph(5, 7)
    layer, x = GCNConv(11, 13), torch.randn(3, 35, 11)
    assert_close(layer(x, grid.operator), layer(x, grid.a_hat), 1e-6)
    with compiling():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert_close(compiled(x, grid.operator), layer(x, grid.a_hat), 1e-6)
    low = grid.operator @ x.bfloat16()
    assert low.dtype == grid.operator.stencil(x.bfloat16()).dtype == torch.bfloat16
    assert_close(low, grid.a_hat @ x, 0.05)
    assert_close(grid.operator.stencil(x.bfloat16()), grid.a_hat @ x, 0.05)
    wide = grid.operator.to(torch.float64)
    assert_close(wide @ x.double(), wide.stencil(x.double()), 1e-6)  # from the rounded values
    assert wide.T is wide
    assert repr(grid.operator) == "GridOperator(grid of 5 x 7, 8 neighbours, torch.float32, cpu)"


def test_bad_operands_of_the_operator():
    operator = grid_graph(2, 3).operator
    for f in (operator.__matmul__, operator.stencil):
        with pytest.raises(InputError, match=r"x has shape \(5, 2\)|x: got shape \(5, 2\)"):
            f(torch.ones(5, 2))
        with pytest.raises(InputError, match=r"float32.*float64|float64.*float32"):
            f(torch.ones(6, 2).double())
    with pytest.raises(TypeError, match="unsupported operand"):
        torch.ones(2, 6) @ operator
    with pytest.raises(InputTypeError, match="torch's relu does not take a GridOperator; operator @ x does"):
        torch.relu(operator)
    with pytest.raises(InputTypeError, match="grid: got Graph, expected a Grid"):
        GridOperator(Graph.from_edges([[0], [1]]))
    with pytest.raises(InputError, match="norm: got 'rw'"):
        GridOperator(grid_graph(2, 3), norm="rw")


# -- signals ----------------------------------------------------------------------------------------------------------


def test_signals_of_uint8_images():
    images = torch.randint(0, 256, (5, 3, 7), dtype=torch.uint8)
    signals = to_signals(images)
    assert signals.shape == (5, 21, 1)
    assert signals.dtype == torch.float32
    assert_close(signals[2, 1 * 7 + 4, 0], images[2, 1, 4].double() / 255, 1e-7)
    assert torch.equal(to_signals(images.numpy()), signals)
    raw = to_signals(images, scale=False)
    assert raw.dtype == torch.uint8
    assert raw.data_ptr() == images.data_ptr()
    readonly = images.numpy()
    readonly.flags.writeable = False
    assert torch.equal(to_signals(readonly), signals)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("shape", [(6,), (7, 5), (2, 3, 5)], ids=str)
def test_channels_both_ways(shape, count):
    """Every signal of every pixel, by hand, in views; and back."""
    images = torch.rand(2, *shape, count)
    expected = torch.stack([torch.stack([image[p] for p in pixels(shape)]) for image in images])
    for place, given in (("last", images), ("first", images.movedim(-1, 1).contiguous())):
        signals = to_signals(given, channels=place)
        assert torch.equal(signals, expected)
        assert signals.data_ptr() == given.data_ptr()
        back = to_images(signals, shape, channels=place)
        assert torch.equal(back, given)
        assert back.data_ptr() == given.data_ptr()
    plain = images[..., 0].contiguous()
    signals = to_signals(plain, channels="none")
    assert torch.equal(signals[..., 0], expected[..., 0])
    assert torch.equal(to_images(signals, shape, channels="none"), plain)


def test_channels_are_found_where_that_is_clear():
    assert to_signals(torch.rand(5, 7, 6)).shape == (5, 42, 1)
    assert to_signals(torch.rand(5, 7, 6, 3)).shape == to_signals(torch.rand(5, 3, 7, 6)).shape == (5, 42, 3)
    for shape in ((5, 32, 7, 6), (5, 3, 7, 2), (5, 8, 7, 6, 9)):
        with pytest.raises(InputError, match=r"images: shape .* does not show where the channels are; pass channels="):
            to_signals(torch.rand(shape))


def test_signals_are_a_convolution_s_channels_last_memory():
    signals = to_signals(torch.rand(5, 7, 6, 3))
    assert to_images(signals, (7, 6), channels="first").is_contiguous(memory_format=torch.channels_last)
    layer, grid = RelationalGCNConv(3, 16, 9), grid_graph(7, 6)
    assert layer(signals, grid.relations).is_contiguous()


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.rand(7, 6), {}, r"images: got shape \(7, 6\), expected \[N, H, W\].*images\[None\]"),
        (torch.rand(7), {"channels": "none"}, "images: got shape"),
        (torch.rand(7, 6), {"channels": "last"}, "images: got shape"),
        (torch.ones(2, 3, 3, dtype=torch.int64), {}, "images: got dtype torch.int64, expected uint8"),
        (np.ones((2, 3, 3), dtype=np.int32), {}, "images: got dtype int32, expected uint8 or floats"),
        (np.array([["a"]]), {}, "images: got dtype <U1"),
        ([[[1.0]]], {}, "images: got list, expected a tensor or an array"),
        (torch.rand(2, 3, 3), {"channels": "middle"}, "channels: got 'middle', expected"),
        (torch.tensor([[[0.0, math.nan]]]), {}, r"images: 1 values are NaN or infinite, the first nan at \(0, 0, 1\)"),
        (np.array([[[math.inf, 0.0]]]), {}, r"images: 1 values are NaN or infinite, the first inf at \(0, 0, 0\)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else type(value).__name__,
)
def test_bad_images(images, options, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        to_signals(images, **options)


def test_images_of_another_byte_order():
    images = np.arange(24.0).reshape(2, 3, 4) / 32
    for order in "<>":
        assert_close(to_signals(images.astype(f"{order}f4")), torch.arange(24.0).view(2, 12, 1) / 32)


def test_images_whose_sum_alone_is_infinite_are_finite():
    assert to_signals(torch.full((1, 2, 2), 3e38)).shape == (1, 4, 1)


def test_bad_signals():
    grid = grid_graph(2, 3)
    for f in (lambda h: to_images(h, (2, 3)), lambda h: with_coordinates(h, grid), lambda h: coarsen(h, grid)):
        with pytest.raises(InputError, match=r"signals: got shape \(5, 2\), expected \[batch, 6, channels\] .* 2 x 3"):
            f(torch.rand(5, 2))
    with pytest.raises(InputError, match='channels: got "none", but the signals have 2 channels'):
        to_images(torch.rand(1, 6, 2), (2, 3), channels="none")
    with pytest.raises(InputError, match="channels: got 'up'"):
        to_images(torch.rand(1, 6, 2), (2, 3), channels="up")
    with pytest.raises(InputError, match="kind: got 'sum'"):
        coarsen(torch.rand(1, 6, 2), grid, "sum")


# -- the relational layer ---------------------------------------------------------------------------------------------


class TwoRelations(RelationalGCNConv):
    def forward(self, x, a_hat):
        return super().forward(x, [a_hat, SparseMatrix.eye(x.shape[-2], self.weight.dtype)])


def two_relations_oracle(weights, x, a_hat):
    matrices = weights["weight"]
    if "coefficient" in weights:
        matrices = np.einsum("rb,bio->rio", weights["coefficient"], matrices)
    return relational_oracle(x, [a_hat, np.eye(len(a_hat))], matrices, weights.get("bias", 0.0))


LAYERS = {
    "a weight a relation": LayerCase(lambda: TwoRelations(5, 3, 2), two_relations_oracle),
    "bases": LayerCase(lambda: TwoRelations(5, 3, 2, num_bases=3, bias=False), two_relations_oracle),
}


@pytest.mark.parametrize("check", LAYER_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", LAYERS)
def test_relational_layer(name, check):
    check(LAYERS[name])


@every_grid
@pytest.mark.parametrize("num_bases", [None, 2])
def test_grid_form_is_the_general_form(shape, connectivity, num_bases):
    """One convolution, a list of matrices, and the dense formula; gradients too."""
    grid = grid_graph(*shape, connectivity=connectivity)
    torch.manual_seed(0)
    layer = RelationalGCNConv(5, 3, connectivity + 1, num_bases)
    nn.init.uniform_(layer.bias)
    x = torch.randn(2, grid.num_nodes, 5, requires_grad=True)
    at_once, one_by_one = layer(x, grid.relations), layer(x, list(grid.relations))
    weights, bias = layer.relation_weights().detach().double().numpy(), layer.bias.detach().double().numpy()
    dense = [dense_copy(matrix) for matrix in grid.relations]
    expected = torch.from_numpy(relational_oracle(x.detach().double().numpy(), dense, weights, bias))
    assert_close(at_once.detach(), expected, 1e-5)
    assert_close(one_by_one.detach(), expected, 1e-5)
    assert_close(layer(x[0], grid.relations), at_once[0], 1e-5)
    inputs = (x, *layer.parameters())
    for a, b in zip(
        torch.autograd.grad(at_once.square().sum(), inputs),
        torch.autograd.grad(one_by_one.square().sum(), inputs),
        strict=True,
    ):
        assert_close(a, b, 1e-4)
    assert layer(x[:0], grid.relations).shape == (0, grid.num_nodes, 3)


def test_grid_form_under_transforms():
    grid = grid_graph(3, 4)
    layer = RelationalGCNConv(3, 5, 9)
    x = torch.randn(2, 6, 12, 3)
    weights = {name: torch.randn(2, *p.shape) for name, p in layer.named_parameters()}

    def loss(weights, x, relations=grid.relations):
        return functional_call(layer, weights, (x, relations)).square().sum()

    found = vmap(grad(loss))(weights, x)
    for i in range(2):
        expected = grad(loss)({name: w[i] for name, w in weights.items()}, x[i], list(grid.relations))
        for name in weights:
            assert_close(found[name][i], expected[name], 1e-4, name)
    with compiling():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert_close(compiled(x[0], grid.relations), layer(x[0], list(grid.relations)), 1e-5)
    wide = grid.relations.to(torch.float64)
    assert_close(layer.double()(x[0].double(), wide), layer(x[0].double(), wide[:]))


def test_relational_weights_at_the_start():
    torch.manual_seed(0)
    layer, bases = RelationalGCNConv(31, 37, 9), RelationalGCNConv(31, 37, 9, num_bases=5)
    bound = math.sqrt(6 / (9 * (31 + 37)))  # as Keras' Glorot start of a 3x3 convolution
    assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert not layer.bias.any()
    assert layer.weight.shape == (9, 31, 37)
    assert (bases.weight.shape, bases.coefficient.shape) == ((5, 31, 37), (9, 5))
    many = torch.stack([RelationalGCNConv(31, 37, 9, num_bases=5).relation_weights().detach() for _ in range(20)])
    assert float(many.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert RelationalGCNConv(2, 3, 9, bias=False).bias is None
    assert repr(bases) == "RelationalGCNConv(31, 37, num_relations=9, num_bases=5)"


def test_bad_relations():
    grid, x = grid_graph(2, 3), torch.rand(1, 6, 2)
    layer = RelationalGCNConv(2, 3, 9)
    with pytest.raises(InputTypeError, match="relations: got SparseMatrix, expected a list of matrices"):
        layer(x, grid.a_hat)
    with pytest.raises(InputError, match="relations: got 5 matrices, but the layer has num_relations=9"):
        layer(x, grid_graph(2, 3, connectivity=4).relations)
    with pytest.raises(InputError, match=r"relations\[2\]: got shape \(4, 4\), expected \[6, 6\]"):
        layer(x, [*grid.relations[:2], torch.eye(4), *grid.relations[3:]])
    with pytest.raises(InputError, match=r"x: got shape \(1, 6, 5\).*in_channels=2"):
        layer(torch.rand(1, 6, 5), grid.relations)
    with pytest.raises(InputError, match="num_bases: got 0"):
        RelationalGCNConv(2, 3, 9, num_bases=0)
    with pytest.raises(InputTypeError, match=r"num_relations: got 2\.5"):
        RelationalGCNConv(2, 3, 2.5)


# -- the ladder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 7), (28, 28)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_is_a_relational_gcn(shape, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 3, padding="same" if bias else 1, bias=bias)
    layer, grid = RelationalGCNConv.from_conv2d(conv), grid_graph(*shape)
    images = torch.randn(2, 3, *shape)
    signals = to_signals(images, channels="first")
    expected = conv(images)
    for relations in (grid.relations, list(grid.relations)):
        assert_close(to_images(layer(signals, relations), shape, channels="first"), expected, 1e-5)
    assert_close(layer.to_conv2d()(images), expected, 1e-6)
    layer.weight.data.zero_()
    assert conv.weight.any()
    assert RelationalGCNConv.from_conv2d(conv.double()).weight.dtype == torch.float64
    bases = RelationalGCNConv(3, 5, 9, num_bases=2)
    assert_close(bases.to_conv2d()(images), to_images(bases(signals, grid.relations), shape, "first"), 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5, "padding": 1},
        {"stride": 2},
        {"padding": 0},
        {"padding": 2, "dilation": 2},
        {"groups": 2},
        {"padding_mode": "reflect"},
    ],
    ids=str,
)
def test_other_convolutions_are_refused(options):
    conv = nn.Conv2d(2, 4, **{"kernel_size": 3, "padding": 1, **options})
    with pytest.raises(InputError, match=r"conv: has (\w+)=.*, expected a Conv2d with \1="):
        RelationalGCNConv.from_conv2d(conv)
    with pytest.raises(InputTypeError, match="conv: got Linear"):
        RelationalGCNConv.from_conv2d(nn.Linear(2, 4))
    with pytest.raises(InputError, match="the layer has 5 relations, expected 9"):
        RelationalGCNConv(2, 4, 5).to_conv2d()


def test_tied_relations_are_an_isotropic_convolution():
    grid = grid_graph(5, 7)
    torch.manual_seed(0)
    layer, signals = RelationalGCNConv(3, 4, 9), torch.randn(2, 35, 3)
    nn.init.uniform_(layer.bias)
    tied = layer.tie_relations()
    kernel = layer.to_conv2d().weight.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3)  # the same weight nine times
    expected = to_signals(F.conv2d(to_images(signals, (5, 7), "first"), kernel, layer.bias, padding=1), "first")
    assert_close(tied(signals, grid.a_tilde), expected, 1e-5)
    assert_close(tied(signals, GridOperator(grid, norm=None)), expected, 1e-5)
    layer.weight.data.copy_(tied.weight.expand(9, 3, 4))
    assert_close(layer(signals, grid.relations), expected, 1e-5)
    d = grid.degree_tilde.rsqrt()  # and with each relation normalised by degree it is Kipf's
    normalised = [a_r.scale(d, d) for a_r in grid.relations]
    assert_close(layer(signals, normalised), tied(signals, grid.a_hat), 1e-5)


def test_the_edge_filter_is_the_laplacian():
    grid, signals = grid_graph(5, 7), torch.randn(2, 35, 1)
    kernel = torch.full((1, 1, 3, 3), -1.0)
    kernel[0, 0, 1, 1] = 8.0
    filtered = F.conv2d(to_images(signals, (5, 7), "first"), kernel, padding=1)[:, 0]
    laplacian = torch.from_numpy(networkx.laplacian_matrix(grid.to_networkx()).toarray()).float()
    expected = to_images(laplacian @ signals, (5, 7), "none")
    assert_close(filtered[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], 1e-5)
    assert (filtered - expected)[:, 0].abs().max() > 0.1


def test_a_1x1_convolution_has_the_identity_and_global_pooling_is_the_mean_readout():
    images = torch.randn(2, 5, 7, 6)
    conv, layer = nn.Conv2d(5, 3, 1), GCNConv(5, 3)
    layer.weight.data.copy_(conv.weight[:, :, 0, 0].T)
    layer.bias.data.copy_(conv.bias)
    signals = to_signals(images, channels="first")
    assert_close(to_images(layer(signals, SparseMatrix.eye(42)), (7, 6), "first"), conv(images), 1e-5)
    assert_close(Readout("mean")(signals), F.adaptive_avg_pool2d(images, 1).flatten(1), 1e-6)
    assert_close(Readout("mean+max")(signals)[:, 5:], images.amax((2, 3)), 1e-6)


def test_the_readout_that_keeps_position():
    h = torch.randn(3, 42, 5)
    readout = Readout("flatten+mean", num_nodes=42)
    assert readout.width(5) == 42 * 5 + 5
    out = readout(h)
    assert out.shape == (3, readout.width(5))
    for i in range(3):
        assert out[i].tolist()[:-5] == [value for node in h[i].tolist() for value in node]
    by_node = h.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(readout(by_node), out)
    assert readout(h[:0]).shape == (0, 215)
    assert torch.autograd.gradcheck(Readout("flatten", num_nodes=2), torch.rand(3, 2, 5).double().requires_grad_())
    with pytest.raises(InputError, match="num_nodes: flatten needs the number of nodes"):
        Readout("flatten")
    with pytest.raises(InputError, match="h: has 41 nodes, but the readout was made for num_nodes=42"):
        readout(h[:, 1:])
    with pytest.raises(InputError, match=r"h: got shape \(42, 5\), but flatten takes"):
        readout(h[0], torch.zeros(42, dtype=torch.int64))


# -- the product with W, which GCNConv does before or after Â ---------------------------------------------------------


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 32), (7, 7), (8, 32), (32, 8), (16, 16)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_gcn_layers_of_every_width_on_signals(c_in, c_out, bias, batch):
    grid = grid_graph(3, 5)
    torch.manual_seed(0)
    layer = GCNConv(c_in, c_out, bias=bias)
    if bias:
        nn.init.uniform_(layer.bias)
    first = torch.randn(batch, 15, c_in, requires_grad=True)
    for x in (first, first.transpose(0, 1).contiguous().transpose(0, 1)):  # by image, and by node
        out = layer(x, grid.operator)
        expected = torch.from_numpy(dense_a_hat((3, 5), 8)).float() @ x @ layer.weight
        expected = expected + layer.bias if bias else expected
        assert_close(out, expected, 1e-5)
        inputs = (first, *layer.parameters())
        g = torch.randn_like(out)
        for a, b in zip(torch.autograd.grad(out, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True):
            assert_close(a, b, 1e-4)


def test_the_product_with_w_copies_no_signals():
    by_node = torch.rand(15, 3, 32).movedim(0, 1)
    out = linear(by_node, torch.rand(32, 16))
    assert out.movedim(1, 0).is_contiguous()
    assert linear(by_node.contiguous(), torch.rand(32, 16)).is_contiguous()


def test_signals_without_nodes():
    layer, x = GCNConv(8, 16), torch.rand(3, 0, 8, requires_grad=True)
    out = layer(x, torch.zeros(0, 0))
    assert out.shape == (3, 0, 16)
    out.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("shape", [(3, 4), (1, 7)])
def test_a_grid_is_no_matrix(shape):
    grid = grid_graph(*shape)
    with pytest.raises(InputTypeError, match=r"a_hat: got Grid, expected a matrix: graph\.a_hat"):
        GCNConv(2, 3)(torch.rand(grid.num_nodes, 2), grid)


def test_gcn_layers_on_signals_under_transforms():
    grid, layer, x = grid_graph(3, 4), GCNConv(8, 16), torch.randn(2, 3, 12, 8)
    weights = {name: torch.randn(2, *p.shape) for name, p in layer.named_parameters()}

    def loss(weights, x):
        return functional_call(layer, weights, (x, grid.operator)).square().sum()

    found = vmap(grad(loss))(weights, x)
    for i in range(2):
        expected = grad(loss)({name: w[i] for name, w in weights.items()}, x[i])
        for name in weights:
            assert_close(found[name][i], expected[name], 1e-4, name)


# -- coarsening -------------------------------------------------------------------------------------------------------


@every_grid
@pytest.mark.parametrize("kind", ["max", "mean"])
def test_coarsening(shape, connectivity, kind):
    """Cluster by cluster: the nodes whose positions, halved, are those of the coarser node."""
    grid = grid_graph(*shape, connectivity=connectivity)
    torch.manual_seed(0)
    signals = torch.randn(2, grid.num_nodes, 3)
    out, coarser = coarsen(signals, grid, kind)
    assert coarser.shape == tuple(math.ceil(size / 2) for size in shape)
    assert coarser.connectivity == connectivity
    nodes = pixels(shape)
    reduce = np.max if kind == "max" else np.mean
    expected = [
        reduce(signals[:, [i for i, p in enumerate(nodes) if tuple(a // 2 for a in p) == k]].numpy(), axis=1)
        for k in pixels(coarser.shape)
    ]
    assert_close(out, torch.from_numpy(np.stack(expected, 1)), 1e-6)
    assignment = cluster_assignment(grid)
    assert assignment.shape == (grid.num_nodes, coarser.num_nodes)
    assert assignment.row_sums().eq(1).all()
    if kind == "mean":
        assert_close(assignment.T.row_normalized() @ signals, out, 1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (5, 7)], ids=str)
def test_coarsening_is_pooling(shape):
    images = torch.randn(2, 3, *shape)
    signals, grid = to_signals(images, "first"), grid_graph(*shape)
    for kind, pool in (("max", F.max_pool2d), ("mean", F.avg_pool2d)):
        expected = pool(images, 2, ceil_mode=True)
        assert_close(to_images(coarsen(signals, grid, kind)[0], expected.shape[2:], "first"), expected, 1e-6)


def test_the_coarser_grid_joins_the_clusters_that_touch():
    grid = grid_graph(5, 7)
    _, joined = ClusterPool()(torch.rand(35, 1), grid.adjacency, cluster_assignment(grid))
    touching = dense_copy(joined) > 0
    np.fill_diagonal(touching, False)
    assert np.array_equal(touching, dense_copy(grid.coarser.adjacency) > 0)


@pytest.mark.parametrize(("shape", "options", "num_relations"), [((5, 4), {"connectivity": 4}, 5), ((3, 3, 3), {}, 27)])
def test_a_network_on_grids_of_other_relations(shape, options, num_relations):
    grid = grid_graph(*shape, **options)
    x = torch.rand(2, grid.num_nodes, 1)
    model = GridGCN(1, [4, 4], 3, num_relations=num_relations)
    assert model(x, grid).shape == (2, 3)
    with pytest.raises(InputError, match=f"relations: got {num_relations} .* num_relations=9"):
        GridGCN(1, [4], 3)(x, grid)
    with pytest.raises(InputTypeError, match=r"grid: got a SparseMatrix, expected what image\.grid_graph gives"):
        model(x, grid.a_hat)


def test_importing_the_bridge_is_cheap():
    """torch alone: no scipy, networkx, scikit-image or Pillow."""
    others = ("scipy", "networkx", "skimage", "PIL", "matplotlib")
    code = f"import gcnlab, sys; gcnlab.image.grid_graph(2, 2); print([m for m in {others} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_the_example_of_the_ladder_finds_no_difference(tmp_path):
    script = Path(__file__).parent.parent / "examples" / "cnn_is_a_gcn.py"
    picture = tmp_path / "ladder.png"
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(picture)], capture_output=True, text=True, check=True
    )
    differences = [float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(differences) == 9
    assert max(differences) < 1e-12
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_whole_numbers_take_no_coordinates_and_no_mean():
    signals = to_signals(torch.full((1, 2, 3), 7, dtype=torch.uint8), scale=False)
    for call in (
        lambda: with_coordinates(signals, grid_graph(2, 3)),
        lambda: coarsen(signals, grid_graph(2, 3), "mean"),
    ):
        with pytest.raises(InputTypeError, match=r"signals: got torch.uint8, expected floats; to_signals\(images\)"):
            call()


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_coarsened_exactly(shape, dtype):
    grid = grid_graph(*shape)
    x = torch.randint(2 if dtype == torch.bool else 200, (2, grid.num_nodes, 3)).to(dtype)
    found, coarser = coarsen(x, grid, "max")
    assert found.dtype == dtype
    assert coarser is grid.coarser
    assert torch.equal(found.double(), coarsen(x.double(), grid, "max")[0])


def test_the_largest_whole_number_stays():
    x = torch.tensor([2**60, 2**60 + 1]).view(1, 2, 1)
    assert coarsen(x, grid_graph(2), "max")[0].item() == 2**60 + 1
