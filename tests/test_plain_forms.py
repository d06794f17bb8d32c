"""Beside each fast form stands its plain form, `..._reference`. Here they are equal: the results and the derivatives.

`PAIRS` has a function for each pair that returns (fast, plain, inputs) of a case; the two are called with the inputs and
compared to the bit, or to the tolerance that the pair states. Random forms are given the same coins.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import scipy.stats
import torch
from torch import nn

import gcnlab
from gcnlab import GCN, GCNConv, Graph, Readout, SparseMatrix, dropout
from gcnlab.graph.merging import (
    alike,
    alike_reference,
    depth_classes,
    depth_classes_reference,
    merge,
    merge_reference,
)
from gcnlab.image import grid_graph
from gcnlab.layers import affine, drop, fused, gcn, neighbours, norm, polynomial
from gcnlab.propagate import diffusion, diffusion_reference
from gcnlab.scale import NeighborSampler, rows_reference
from gcnlab.segments import (
    consecutive,
    consecutive_reference,
    neighbour_max,
    neighbour_max_reference,
    segment_max,
    segment_max_reference,
    segment_softmax,
    segment_softmax_reference,
)
from gcnlab.sparse import kernels, matrix

pytestmark = pytest.mark.usefixtures("one_thread")

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
# (rows, columns, channels): ordinary ones; one row; one column; a matrix without entries; one without rows
SIZES = {"wide": (7, 11, 5), "tall": (13, 3, 17), "one row": (1, 5, 3), "one column": (5, 1, 2), "no entry": (3, 2, 4), "no row": (0, 5, 3)}  # fmt: skip
LARGE = (1 << 20) + 7  # entries: large arrays take another path


@dataclass
class Pair:
    """A fast form beside its plain one."""

    case: Callable[..., tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]
    cases: dict[str, tuple[Any, ...]]
    tolerance: dict[torch.dtype, float] = field(default_factory=dict)  # relative to the largest entry; none: to the bit
    derivatives: dict[torch.dtype, float] | None = None  # their tolerance, if it is another
    plain: tuple[str, ...] = field(default=())  # the plain forms that it compares


class Data(NamedTuple):
    """An input that asks for no derivative."""

    x: torch.Tensor


def sparse(rows: int, cols: int, dtype: torch.dtype = F64, share: float = 0.5, empty: bool = False) -> SparseMatrix:
    """A matrix in which one row is empty, if it has several."""
    dense = torch.randn(rows, cols, dtype=F64) * (torch.rand(rows, cols) < share)
    dense[rows // 2 : rows // 2 + (rows > 1)] = 0
    return SparseMatrix.from_dense(0 * dense if empty else dense).to(dtype)


def sized(*dtypes: torch.dtype) -> dict[str, tuple[Any, ...]]:
    return {f"{name}, {dtype}": (name, dtype) for name in SIZES for dtype in dtypes}


def of_size(name: str, dtype: torch.dtype) -> tuple[SparseMatrix, int, int, int]:
    rows, cols, channels = SIZES[name]
    return sparse(rows, cols, dtype, empty=name == "no entry"), rows, cols, channels


# -- layers/affine.py -------------------------------------------------------------------------------------------------


def propagated(num_in, num_out, kind, has_bias, dtype):
    n = 1 if kind == "one node" else 7
    a_hat = sparse(n, n, dtype)
    x = torch.randn(*([3] if kind == "signals" else []), n, num_in, dtype=dtype)
    bias = torch.randn(num_out, dtype=dtype) if has_bias else None
    inputs = (
        a_hat,
        sparse(n, num_in, dtype) if kind == "sparse" else x,
        torch.randn(num_in, num_out, dtype=dtype),
        bias,
    )
    if kind == "a tensor":
        inputs = (a_hat.to_dense(), *inputs[1:])
    return affine.propagated, affine.propagated_reference, inputs


def propagated_of_many_nodes(num_in, num_out):
    inputs = (
        SparseMatrix.eye(1 << 16),
        torch.randn(1 << 16, num_in),
        torch.randn(num_in, num_out),
        torch.randn(num_out),
    )
    return affine.propagated, affine.propagated_reference, inputs


def linear(shape, num_out, stored, dtype):
    x = torch.randn(*shape, dtype=dtype)
    if stored == "by node":
        x = x.movedim(0, 1).contiguous().movedim(0, 1)
    x = SparseMatrix.from_dense(x) if stored == "sparse" else x
    return (
        affine.linear,
        affine.linear_reference,
        (x, torch.randn(shape[-1], num_out, dtype=dtype), torch.randn(num_out, dtype=dtype)),
    )


# -- layers/drop.py ---------------------------------------------------------------------------------------------------


def dropped(fast, plain, shape, p, dtype, requires_grad=True):
    """The plain form is given the coins of the fast one, which its output shows, and p as the fast one rounds it."""
    x = (torch.rand(shape, dtype=F64) + 0.5).to(dtype)
    x = x * torch.where(torch.rand(shape) < 0.3, -1, 1).to(dtype) if fast is drop.relu_dropout else x
    x = x if requires_grad else Data(x)
    coins = {}

    def fast_once(x):
        torch.manual_seed(7)
        coins["keep"] = (out := fast(x, p)) != 0
        return out

    levels = 256 if (p * 256).is_integer() else 65536
    return fast_once, lambda x: plain(x, round(p * levels) / levels, coins["keep"]), (x,)


# -- layers -----------------------------------------------------------------------------------------------------------


def related(height, width, channels, batch):
    relations = grid_graph(height, width).to(F64).relations
    x = torch.randn(*([batch] if batch else []), height * width, channels, dtype=F64)
    return (
        gcn.related,
        gcn.related_reference,
        (relations, x, torch.randn(9, channels, 5, dtype=F64), torch.randn(5, dtype=F64)),
    )


def chebyshev(num_terms, dtype):
    l_tilde = sparse(7, 7, dtype) * 0.3
    terms = tuple(torch.randn(7, 3, dtype=dtype) for _ in range(num_terms))
    return (
        lambda s, *terms: polynomial.chebyshev(s, terms),
        lambda s, *terms: polynomial.chebyshev_reference(s, terms),
        (l_tilde, *terms),
    )


def attended(num_heads, n, p, dtype, empty=False):
    pattern = sparse(n, n, dtype, empty=empty)
    pattern = pattern.with_value(pattern.value.detach())
    inputs = tuple(torch.randn(*shape, dtype=dtype) for shape in ((n, num_heads * 3), (num_heads, 3), (num_heads, 3)))

    def seeded(form):
        def call(h, source, target):
            torch.manual_seed(5)  # the same coins, head by head
            return form(h, source, target, pattern, 0.2, p)

        return call

    return seeded(neighbours.attended), seeded(neighbours.attended_reference), inputs


def weighted_norm(n, channels, dtype):
    count = torch.randint(2, 5, (n,)).to(dtype)

    def fast(h, gamma, beta):
        layer = norm.BatchNorm(channels).to(dtype)
        del layer.weight, layer.bias
        layer.weight, layer.bias = gamma, beta
        return layer(h, count)

    return (
        fast,
        lambda *inputs: norm.weighted_norm_reference(*inputs, count / count.sum(), 1e-5),
        tuple(torch.randn(*shape, dtype=dtype) for shape in ((n, channels), (channels,), (channels,))),
    )


def fused_layers(sizes, widths, has_norm, counted, has_bias, dtype):
    """Layers l of operators [sizes[l + 1], sizes[l]]; the sum of all outputs and the last are both asked for."""
    x = torch.randn(sizes[0], widths[0], dtype=dtype)
    operators = [sparse(b, a, dtype, share=0.8) for a, b in pairwise(sizes)]
    counts = [torch.randint(1, 4, (n,)).to(dtype) if counted else None for n in sizes[1:]]
    parameters, kept = [], []
    for a, b in pairwise(widths):
        parameters += [torch.randn(a, b, dtype=dtype), torch.randn(b, dtype=dtype) if has_bias else None]
        parameters += [torch.rand(b, dtype=dtype) + 0.5, torch.randn(b, dtype=dtype)] if has_norm else [None, None]
        kept.append((GCNConv(a, b, bias=has_bias).to(dtype), norm.BatchNorm(b).to(dtype) if has_norm else None))

    def fast(*given):
        for i, (conv, layer_norm) in enumerate(kept):
            for module, name, value in zip(
                (conv, conv, layer_norm, layer_norm), ("weight", "bias") * 2, given[4 * i :], strict=False
            ):
                if value is not None:
                    delattr(module, name)
                    setattr(module, name, value)
        convs, norms = [conv for conv, _ in kept], [layer_norm for _, layer_norm in kept] if has_norm else None
        assert fused.can_be_fused(convs, norms, x, operators, counts)
        return fused.fused_layers(convs, norms, x, operators, counts)

    return fast, lambda *given: fused.fused_layers_reference(x, operators, counts, given, 1e-5), tuple(parameters)


def readout(kind, batch, n, dtype):
    """The readouts of signals need no P; their plain form is that of graphs in a batch."""
    layer = Readout(kind)
    graph = torch.arange(batch).repeat_interleave(n)
    return layer, lambda h: layer(h.flatten(0, 1), graph), (torch.randn(batch, n, 3, dtype=dtype),)


# -- segments.py ------------------------------------------------------------------------------------------------------


def segments(fast, plain, name, dtype, ties=None):
    p, *_, channels = of_size(name, dtype)
    values = torch.randn(p.nnz, channels, dtype=dtype)
    values = values if ties is None else values.round() + ties
    p = p.with_value(p.value.abs())
    return (lambda values: fast(values, p)), (lambda values: plain(values, p)), (values,)


def neighbour_maxima(name, dtype, batch=0, ties=False):
    pattern, _, cols, channels = of_size(name, dtype)
    x = torch.randn(*([batch] if batch else []), cols, channels, dtype=dtype)
    x = x.round() if ties else x
    return (lambda x: neighbour_max(x, pattern)), (lambda x: neighbour_max_reference(x, pattern)), (x,)


def consecutive_graphs(*sizes):
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return consecutive, consecutive_reference, (ptr,)


# -- sparse/ ----------------------------------------------------------------------------------------------------------


def product(name, dtype):
    s, _, cols, channels = of_size(name, dtype)
    return (
        lambda value, x: s.with_value(value) @ x,
        lambda value, x: kernels.spmm_reference(s.rowptr, s.col, value, x),
        (s.value, torch.randn(cols, channels, dtype=dtype)),
    )


def sampled_product(name, dtype):
    """It is the derivative of a product for the values, so it is reached by one; its own derivatives by a second."""
    s, rows, cols, channels = of_size(name, dtype)

    def fast(g, x):
        value = s.value.requires_grad_()
        return torch.autograd.grad(s.with_value(value) @ x, value, g, create_graph=True)[0]

    inputs = torch.randn(rows, channels, dtype=dtype), torch.randn(cols, channels, dtype=dtype)
    return fast, lambda g, x: kernels.sddmm_reference(s.rowptr, s.col, g, x), inputs


def transposed(name, index):
    s, _, cols, _ = of_size(name, F64)
    return kernels.OPERATORS.transpose, kernels.transpose_reference, (s.rowptr.to(index), s.col.to(index), cols)


def transpose_of_many_columns():
    s = SparseMatrix.from_coo(torch.arange(40) % 3, torch.randperm(1 << 16)[:40].sort().values, shape=(3, 1 << 16))
    return (
        lambda rowptr, col: kernels.OPERATORS.transpose(rowptr, col, 1 << 16)[2],
        lambda rowptr, col: torch.tensor(sorted(range(40), key=lambda e: int(col[e]))),
        (s.rowptr, s.col),
    )


def self_loops(mode, diagonal, n, dtype):
    s = sparse(n, n, dtype).to_dense()
    s.fill_diagonal_(0)
    s = SparseMatrix.from_dense(s)
    on = torch.arange(n)[torch.rand(n) < diagonal]  # some of the loops that are stored are 0
    loops = SparseMatrix.from_coo(on, on, torch.randn(len(on), dtype=F64).round().to(dtype), (n, n))
    s = s + loops
    return (
        lambda value: s.with_value(value).with_self_loops(mode),
        lambda value: matrix.with_self_loops_reference(s.with_value(value), mode),
        (s.value,),
    )


def diffused(n, top_k):
    s = sparse(n, n)
    theta = [0.4, 0.3, 0.2, 0.1]
    return (lambda: diffusion(s, theta, top_k).to_dense()), (lambda: diffusion_reference(s, theta, top_k)), ()


# -- graph/merging.py and scale.py -------------------------------------------------------------------------------------


def graph_with_alike_nodes(weighted):
    """Two stars, a ring, and as one group a pair and two nodes with a loop each, which Ã tells apart and A does not."""
    edges = (
        [(0, i) for i in range(1, 6)] + [(6, i) for i in range(7, 10)] + [(10 + i, 10 + (i + 1) % 5) for i in range(5)]
    )
    both = torch.tensor(edges + [(15, 16)] + [(b, a) for a, b in edges] + [(16, 15), (17, 17), (18, 18)]).T
    weight = 1.0 + both.sum(0) % 2 if weighted else torch.ones(both.shape[1])
    weight[-2:] = weight[-3]
    group = torch.tensor([0] * 6 + [1] * 4 + [2] * 5 + [3] * 4)
    x = torch.cat([torch.arange(15) % 2, torch.ones(4)]).double().unsqueeze(1)
    return Graph.from_edges(both, 19, weight.double(), x=x), group


def partition_of_alike_nodes(weighted, features):
    graph, group = graph_with_alike_nodes(weighted)
    x = {"dense": graph.x, "sparse": SparseMatrix.from_dense(graph.x), "none": None}[features]

    def same_class(form):
        def call(adjacency):
            found = form(adjacency, x, group)
            return found.unsqueeze(0) == found.unsqueeze(1)

        return call

    return same_class(alike), same_class(alike_reference), (graph.adjacency,)


def classes(weighted):
    graph, group = graph_with_alike_nodes(weighted)
    found = alike(graph.adjacency, graph.x, group)
    first = torch.tensor([int((found == k).nonzero()[0]) for k in range(int(found.max()) + 1)])
    assert len(first) < graph.num_nodes
    return graph, first, found


def merged_matrix(weighted):
    graph, _, found = classes(weighted)
    a_hat = graph.a_hat
    by_depth = depth_classes(a_hat, graph.x, 2)
    tall = by_depth[2], by_depth[1]
    return (
        lambda: (merge(a_hat, found).to_dense(), merge(a_hat, *tall).to_dense()),
        lambda: (merge_reference(a_hat, found), merge_reference(a_hat, *tall)),
        (),
    )


def classes_by_depth(weighted, features):
    graph, _ = graph_with_alike_nodes(weighted)
    x = {"dense": graph.x, "sparse": SparseMatrix.from_dense(graph.x), "constant": torch.ones(19, 2)}[features]

    def same_class(form):
        def call(matrix):
            return torch.stack([found.unsqueeze(0) == found.unsqueeze(1) for found in form(matrix, x, 3)])

        return call

    return same_class(depth_classes), same_class(depth_classes_reference), (graph.a_hat,)


def merged_model(weighted):
    """A model on the merged nodes, S GCN(x, Q), is the model on all, GCN(S x, Â)."""
    graph, first, found = classes(weighted)
    model = GCN(1, 7, 3).double().eval()
    q = merge(graph.a_hat, found)
    x = graph.x.to_dense() if isinstance(graph.x, SparseMatrix) else graph.x
    return (lambda x: model(x, q)[found]), (lambda x: model(x[found], graph.a_hat)), (x[first],)


def sampled_rows(operator, directed):
    edges = torch.randint(9, (2, 30), generator=torch.Generator().manual_seed(0))
    edges = edges if directed else torch.cat([edges, edges.flip(0)], 1)
    graph = Graph.from_edges(edges, 11, x=torch.ones(11, 2))
    given = graph.normalize(None, "rw") if operator else None
    targets = torch.tensor([3, 10, 0, 8])  # node 10 has no neighbour

    def fast(nodes):
        batch = NeighborSampler(graph, [None], operator=given).sample(nodes)
        rows = (batch.a_hat if given is None else batch.operator).select_rows(batch.targets)
        return SparseMatrix.from_coo(rows.row, batch.nodes[rows.col.long()], rows.value, (len(nodes), 11)).to_dense()

    return fast, lambda nodes: rows_reference(graph, given, nodes).to_dense(), (targets,)


# -- the table --------------------------------------------------------------------------------------------------------

ROUNDING = {F64: 1e-12, F32: 1e-5, BF16: 0.03}
PROBABILITIES = (0.25, 0.3, 0.5, 0.9)

PAIRS = {
    "Â X W + b": Pair(
        propagated,
        {
            f"{a} to {b}, {kind}{', b' * has_bias}, {dtype}": (a, b, kind, has_bias, dtype)
            for a, b in ((3, 11), (11, 3), (5, 5))
            for kind in ("dense", "sparse", "signals", "a tensor", "one node")
            for has_bias in (True, False)
            for dtype in (F64, F32)
        },
        ROUNDING,
        plain=("layers.affine.propagated_reference",),
    ),
    "Â X W + b, large": Pair(propagated_of_many_nodes, {"to more": (3, 17), "to fewer": (17, 16)}, ROUNDING),
    "X W + b": Pair(
        linear,
        {
            f"{shape}, {stored}, {dtype}": (shape, 5, stored, dtype)
            for shape in ((7, 13), (3, 7, 13), (3, 7, 2), (1, 1, 13), (0, 7, 13), (3, 0, 13), (0, 13))
            for stored in ("plain", "by node", "sparse")
            for dtype in (F64, F32, BF16)
            if not (stored == "by node" and len(shape) == 2) and not (stored == "sparse" and (len(shape) == 3 or dtype == BF16))
        }
        | {"large": ((70_000, 64), 64, "plain", F32), "large, to more": ((70_000, 48), 96, "plain", F32)},
        ROUNDING,
        plain=("layers.affine.linear_reference",),
    ),
    "dropout": Pair(
        lambda *case: dropped(dropout, drop.dropout_reference, *case),
        {f"{shape}, {p}, {dtype}": (shape, p, dtype) for shape in ((7, 11), (1,), (0, 3)) for p in PROBABILITIES for dtype in (F64, F32, BF16)}
        | {f"large data, {p}, {dtype}": ((LARGE,), p, dtype, False) for p in (0.3, 0.5) for dtype in (F32, BF16)},
        plain=("layers.drop.dropout_reference",),
    ),
    "relu and dropout": Pair(
        lambda *case: dropped(drop.relu_dropout, drop.relu_dropout_reference, *case),
        {f"{shape}, {p}, {dtype}": (shape, p, dtype) for shape in ((7, 11), (0, 3), (LARGE,)) for p in PROBABILITIES for dtype in (F32, BF16)},
        derivatives={BF16: 0.01},  # the scale is rounded to bfloat16 in one of the two
        plain=("layers.drop.relu_dropout_reference",),
    ),
    "sum over relations": Pair(
        related, {"one signal": (4, 5, 2, 0), "a batch": (4, 5, 2, 3), "one pixel": (1, 1, 3, 2)}, ROUNDING, plain=("layers.gcn.related_reference",)
    ),
    "Chebyshev's sum": Pair(
        chebyshev, {f"{k} terms, {dtype}": (k, dtype) for k in (1, 2, 3, 6) for dtype in (F64, F32)}, ROUNDING,
        plain=("layers.polynomial.chebyshev_reference",),
    ),
    "attention": Pair(
        attended,
        {f"{heads} heads, {n} nodes, {p}, {dtype}": (heads, n, p, dtype) for heads in (1, 3) for n in (1, 7) for p in (0.0, 0.5) for dtype in (F64, F32)}
        | {"no neighbours": (2, 4, 0.0, F64, True)},
        ROUNDING,
        plain=("layers.neighbours.attended_reference",),
    ),
    "weighted batch norm": Pair(
        weighted_norm, {f"{n} nodes, {dtype}": (n, 5, dtype) for n in (1, 2, 13) for dtype in (F64, F32)}, {F64: 1e-10, F32: 1e-4},
        plain=("layers.norm.weighted_norm_reference",),
    ),
    "fused layers": Pair(
        fused_layers,
        {f"{name}, {norm}, {counted}, {bias}, {dtype}": (*shape, norm, counted, bias, dtype)
         for name, shape in {"square": ((9, 9, 9), (3, 5, 4)), "tall": ((4, 7, 11, 13), (2, 6, 6, 6)), "flat": ((13, 11, 7), (8, 5, 6))}.items()
         for norm, counted in ((True, True), (True, False), (False, False)) for bias in (True, False) for dtype in (F64, F32)},
        {F64: 1e-9, F32: 1e-3},
        plain=("layers.fused.fused_layers_reference",),
    ),
    "readout of signals": Pair(
        readout, {f"{kind}, {batch}": (kind, batch, n, F64) for kind in ("mean", "sum", "max", "sum+max") for batch, n in ((3, 7), (1, 1))}, ROUNDING
    ),
    "maximum of segments": Pair(
        lambda *case: segments(segment_max, segment_max_reference, *case),
        sized(F64, F32, BF16) | {"ties": ("tall", F64, 0.5), "ties at 0": ("tall", F64, 0.0)},
        plain=("segments.segment_max_reference",),
    ),
    "softmax of segments": Pair(
        lambda *case: segments(segment_softmax, segment_softmax_reference, *case), sized(F64, F32), ROUNDING,
        plain=("segments.segment_softmax_reference",),
    ),
    "maximum over neighbours": Pair(
        neighbour_maxima,
        sized(F64, F32) | {"signals": ("wide", F32, 3), "ties": ("tall", F64, 0, True), "ties of signals": ("tall", F64, 2, True)},
        derivatives=ROUNDING,  # added up in another order
        plain=("segments.neighbour_max_reference",),
    ),
    "graphs one after the other": Pair(
        consecutive_graphs, {"three": (3, 1, 4), "one empty": (2, 0, 3), "one": (5,), "one node": (1,)},
        plain=("segments.consecutive_reference",),
    ),
    "S x": Pair(product, sized(F64, F32, BF16), ROUNDING, plain=("sparse.kernels.spmm_reference",)),
    "sampled product": Pair(sampled_product, sized(F64, F32), ROUNDING, plain=("sparse.kernels.sddmm_reference",)),
    "transpose": Pair(
        transposed, {f"{name}, {index}": (name, index) for name in SIZES for index in (torch.int32, torch.int64)},
        plain=("sparse.kernels.transpose_reference",),
    ),
    "transpose of many columns": Pair(transpose_of_many_columns, {"": ()}),
    "inserted loops": Pair(
        self_loops,
        {f"{mode}, {share}, {n}, {dtype}": (mode, share, n, dtype) for mode in ("fill", "add") for share in (0.0, 0.5, 1.0) for n in (1, 13) for dtype in (F64, BF16)}
        | {"no node": ("fill", 0.0, 0, F64)},
        plain=("sparse.matrix.with_self_loops_reference",),
    ),
    "diffusion": Pair(diffused, {f"{n} nodes, {k}": (n, k) for n in (1, 11) for k in (None, 3)}, ROUNDING, plain=("propagate.diffusion_reference",)),
    "alike nodes": Pair(
        partition_of_alike_nodes, {f"{w}, {x}": (w, x) for w in (True, False) for x in ("dense", "sparse", "none")},
        plain=("graph.merging.alike_reference",),
    ),
    "merged matrix": Pair(merged_matrix, {"weighted": (True,), "unweighted": (False,)}, ROUNDING, plain=("graph.merging.merge_reference",)),
    "classes by depth": Pair(
        classes_by_depth, {f"{w}, {x}": (w, x) for w in (True, False) for x in ("dense", "sparse", "constant")},
        plain=("graph.merging.depth_classes_reference",),
    ),
    "model of merged nodes": Pair(merged_model, {"weighted": (True,), "unweighted": (False,)}, ROUNDING),
    "rows of a sampler": Pair(
        sampled_rows, {f"{o}, {d}": (o == "D^-1 A", d == "directed") for o in ("Â", "D^-1 A") for d in ("undirected", "directed")},
        {F32: 1e-6}, plain=("scale.rows_reference",),
    ),
}  # fmt: skip


def copied(inputs):
    """Leaves of their own; those of floats ask for derivatives."""

    def leaf(value):
        if isinstance(value, SparseMatrix):
            return value.with_value(value.value.clone().detach().requires_grad_())
        if isinstance(value, Data):
            return value.x.clone()
        is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.clone().detach().requires_grad_() if is_float else value

    return tuple(map(leaf, inputs))


def tensors(result):
    if isinstance(result, SparseMatrix):
        return [result.rowptr, result.col, result.value]
    return list(result) if isinstance(result, tuple) else [result]


def derivatives(result, inputs):
    """Of a weighted sum of the results, for each input that asks for them; zeros where no result depends on any."""
    leaves = [value.value if isinstance(value, SparseMatrix) else value for value in inputs]
    leaves = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    outputs = [part for part in tensors(result) if part.requires_grad]
    if not outputs or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    torch.manual_seed(1)
    weights = [torch.randn(part.shape, dtype=F64).to(part.dtype) for part in outputs]
    return list(torch.autograd.grad(outputs, leaves, weights, allow_unused=True, materialize_grads=True))


CASES = [(name, case) for name, pair in PAIRS.items() for case in pair.cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case}" for name, case in CASES])
@pytest.mark.filterwarnings("ignore:the symmetric normalisation of a directed graph")
def test_a_fast_form_is_its_plain_form(name, case):
    pair = PAIRS[name]
    torch.manual_seed(0)
    fast, plain, inputs = pair.case(*pair.cases[case])
    results, gradients = [], []
    for form in (fast, plain):
        own = copied(inputs)
        result = form(*own)
        results.append(tensors(result))
        gradients.append(derivatives(result, own))
    assert_equal(*results, pair.tolerance)
    assert_equal(*gradients, pair.tolerance if pair.derivatives is None else pair.derivatives)


def assert_equal(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype not in tolerance:
            assert torch.equal(a, b)
        elif a.numel():
            scale = max(float(b.detach().abs().max()), 1.0)
            assert float((a - b).detach().abs().max()) <= tolerance[a.dtype] * scale


def test_every_plain_form_is_in_the_table():
    named = {name for pair in PAIRS.values() for name in pair.plain}
    there = set()
    for module in pkgutil.walk_packages(gcnlab.__path__, "gcnlab."):
        if not module.name.endswith(("triton_spmm", "__main__")):
            for name, thing in vars(importlib.import_module(module.name)).items():
                if name.endswith("_reference") and inspect.isfunction(thing) and thing.__module__ == module.name:
                    there.add(f"{module.name.removeprefix('gcnlab.')}.{name}")
    assert named == there


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_dropout_and_its_plain_form_keep_equally_many(p, size):
    """Both numbers of kept entries are binomial: the two-sided test finds no difference at the level of 0.001."""
    torch.manual_seed(0)
    ones = torch.ones(size)
    for form in (dropout, drop.relu_dropout, drop.dropout_reference, drop.relu_dropout_reference):
        kept = int((form(ones, p) != 0).sum())
        assert scipy.stats.binomtest(kept, size, 1 - p).pvalue > 0.001


def test_the_norm_on_counted_nodes_is_torchs_on_repeated_ones():
    torch.manual_seed(0)
    count, h = torch.tensor([1, 3, 2]), torch.randn(3, 5, dtype=F64)
    expected = nn.BatchNorm1d(5).double()(h.repeat_interleave(count, 0))
    found = norm.weighted_norm_reference(
        h, torch.ones(5).double(), torch.zeros(5).double(), count / count.sum().double(), 1e-5
    )
    torch.testing.assert_close(found.repeat_interleave(count, 0), expected)
