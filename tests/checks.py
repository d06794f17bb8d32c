"""What every layer must pass, and the graphs to pass it on.

`check_layer(make_layer, oracle)` runs all of `LAYER_CHECKS`; a test file parametrises over them instead, so that a
failure names the check. A new layer needs one `LayerCase` and an oracle in `oracles.py`.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gcnlab import GcnlabError, Graph, SparseMatrix

OUTPUT_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}


# -- graphs -----------------------------------------------------------------------------------------------------------


class Edges(NamedTuple):
    """An edge list as a user has it: [2, num_edges], the number of nodes, and weights or None."""

    edge_index: Tensor
    num_nodes: int
    edge_weight: Tensor | None = None

    def graph(self, dtype: torch.dtype = torch.float64, **options: Any) -> Graph:
        weight = torch.ones(self.edge_index.shape[1]) if self.edge_weight is None else self.edge_weight
        return Graph.from_edges(self.edge_index, self.num_nodes, weight.to(dtype), **options)

    def dense(self) -> np.ndarray:
        return oracles.dense_adjacency(self.edge_index, self.num_nodes, self.edge_weight)

    def renamed(self, new_id: Tensor) -> "Edges":
        """The same graph where node i is called new_id[i], its edges in another order."""
        order = torch.randperm(self.edge_index.shape[1])
        weight = None if self.edge_weight is None else self.edge_weight[order]
        return Edges(new_id[self.edge_index[:, order]], self.num_nodes, weight)


def undirected(pairs: list[tuple[int, int]], num_nodes: int, weights: list[float] | None = None) -> Edges:
    """Both directions of each pair, a loop once."""
    both = [(u, v) for u, v in pairs] + [(v, u) for u, v in pairs if u != v]
    weight = None
    if weights is not None:
        weight = torch.tensor(weights + [w for (u, v), w in zip(pairs, weights, strict=True) if u != v]).double()
    return Edges(torch.tensor(both).T.reshape(2, -1), num_nodes, weight)


def graph_zoo() -> dict[str, Edges]:
    """Small graphs of every kind, among them all that code tends to forget."""
    ring = [(i, (i + 1) % 7) for i in range(7)]
    none = torch.empty(2, 0, dtype=torch.int64)
    return {
        "undirected": undirected([*ring, (0, 3), (2, 5)], 7),
        "weighted": undirected([*ring, (1, 4)], 7, [0.5, 2.0, 1.25, 3.0, 0.1, 1.0, 7.0, 0.75]),
        "directed": Edges(torch.tensor([[0, 0, 1, 4, 3, 6, 6], [1, 2, 2, 3, 5, 5, 0]]), 7),
        "directed, weighted": Edges(
            torch.tensor([[4, 0, 2, 3, 1], [1, 4, 4, 0, 2]]), 5, torch.tensor([0.3, 2.0, 1.5, 4.0, 0.7]).double()
        ),
        "loops": undirected([(0, 0), (0, 1), (1, 2), (3, 3), (2, 3), (4, 4)], 5, [1.0, 2.0, 1.0, 2.5, 0.5, 3.0]),
        "duplicates": Edges(torch.tensor([[0, 1, 0, 1, 2, 1, 2], [1, 0, 1, 0, 1, 2, 2]]), 3),
        "isolated": undirected([(1, 2), (2, 4), (4, 5)], 7),  # the first, one between and the last
        "negative weights": undirected([(0, 1), (1, 2), (2, 0)], 3, [2.0, -0.25, 0.5]),  # degrees stay positive
        "one node": Edges(none, 1),
        "one node, one loop": Edges(torch.zeros(2, 1, dtype=torch.int64), 1),
        "no edges": Edges(none, 5),
        "no nodes": Edges(none, 0),
    }


ZOO = graph_zoo()
SMALL_ZOO = {name: ZOO[name] for name in ("undirected", "directed, weighted", "loops", "isolated", "no edges")}


def ignoring_direction(f: Callable[[Graph], Any]) -> Callable[[Graph], Any]:
    """`f` without the warning that a directed graph is normalised by in-degrees."""

    def quiet(graph: Graph) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the symmetric normalisation of a directed graph")
            return f(graph)

    return quiet


a_hat = ignoring_direction(lambda graph: graph.a_hat)


def unnamed(matrix: SparseMatrix) -> SparseMatrix:
    """The same matrix as one of your own, of which no layer knows the kind."""
    return matrix.with_value(matrix.value)


@contextmanager
def compiling() -> Iterator[None]:
    """For torch.compile: a fresh start, and deaf to torch's deprecations of what its own compiler uses."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def dense_copy(matrix: SparseMatrix) -> np.ndarray:
    """A SparseMatrix as a dense float64 array, put together entry by entry."""
    out = np.zeros(matrix.shape)
    rowptr, col, value = matrix.rowptr.tolist(), matrix.col.tolist(), matrix.value.detach().double().tolist()
    for i in range(matrix.shape[0]):
        for e in range(rowptr[i], rowptr[i + 1]):
            out[i, col[e]] += value[e]
    return out


@st.composite
def edge_lists(draw):
    """Any edge list: directed or not, loops, duplicates, isolated nodes; half of them with positive weights."""
    num_nodes = draw(st.integers(0, 7))
    node = st.integers(0, max(num_nodes - 1, 0))
    pairs = draw(st.lists(st.tuples(node, node), max_size=17 if num_nodes else 0))
    if draw(st.booleans()):
        pairs = [edge for u, v in pairs for edge in ([(u, v), (v, u)] if u != v else [(u, v)])]
    weights = None
    if draw(st.booleans()):
        weight = st.floats(0.0625, 16.0, width=32)
        weights = torch.tensor(draw(st.lists(weight, min_size=len(pairs), max_size=len(pairs)))).double()
    return Edges(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes, weights)


# -- layers -----------------------------------------------------------------------------------------------------------


@dataclass
class LayerCase:
    """A layer and what to expect of it.

    make: makes a fresh layer of `in_channels` inputs; seeded by the caller.
    oracle: (weights by name, x [N, C], operator [N, N]) -> output; all dense float64 arrays.
    operator: what the layer takes as its second argument, from a Graph.
    batch, sparse_x, any_operator: False for a layer that does not take [batch, N, C], a SparseMatrix as x, or
        operators other than a SparseMatrix.
    """

    make: Callable[[], nn.Module]
    oracle: Callable[[dict[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray]
    in_channels: int = 5
    operator: Callable[[Graph], SparseMatrix] = a_hat
    batch: bool = True
    sparse_x: bool = True
    any_operator: bool = True

    def layer(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A layer whose every weight is random, the biases too, which start at zero."""
        torch.manual_seed(0)
        layer = self.make().to(dtype)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -1.0, 1.0)
        return layer

    def x(self, edges: Edges, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        torch.manual_seed(1)
        return torch.randn(*batch, edges.num_nodes, self.in_channels, dtype=torch.float64).to(dtype)

    def expected(self, layer: nn.Module, x: Tensor, operator: SparseMatrix) -> Tensor:
        weights = {name: p.detach().double().numpy() for name, p in layer.named_parameters()}
        return torch.from_numpy(self.oracle(weights, x.double().numpy(), dense_copy(operator)))


def check_layer(make_layer: Callable[[], nn.Module], oracle: Callable[..., np.ndarray], **options: Any) -> None:
    """Run every check on a layer; `options` are those of `LayerCase`."""
    for check in LAYER_CHECKS:
        check(LayerCase(make_layer, oracle, **options))


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-12, what: Any = "") -> None:
    assert found.shape == expected.shape, what
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=tolerance, atol=tolerance, msg=lambda text: f"{what}: {text}"
    )


def check_oracle(case: LayerCase) -> None:
    """The paper's formula on every graph; dtypes come out as they went in, the low ones near the float64 numbers."""
    for dtype, tolerance in OUTPUT_TOLERANCE.items():
        layer = case.layer(dtype)
        for name, edges in ZOO.items():
            operator, x = case.operator(edges.graph(dtype)), case.x(edges, dtype=dtype)
            out, expected = layer(x, operator), case.expected(layer, x, operator)
            assert out.dtype == dtype, name
            scale = float(expected.abs().max()) if edges.num_nodes else 1.0
            assert_close(out.detach() / scale, expected / scale, tolerance, (name, dtype))


def check_permutation(case: LayerCase) -> None:
    """Calling the nodes otherwise calls the rows of the output otherwise, and changes nothing else."""
    layer = case.layer()
    for name, edges in ZOO.items():
        torch.manual_seed(2)
        new_id = torch.randperm(edges.num_nodes)
        x = case.x(edges)
        renamed_x = torch.empty_like(x)
        renamed_x[new_id] = x
        out = layer(x, case.operator(edges.graph()))
        renamed = layer(renamed_x, case.operator(edges.renamed(new_id).graph()))
        assert_close(renamed[new_id], out, what=name)


def check_any_graph(case: LayerCase) -> None:
    """The paper's formula and the equivariance again, on random graphs instead of chosen ones."""
    layer = case.layer()

    @given(edge_lists())
    def holds(edges: Edges) -> None:
        operator, x = case.operator(edges.graph()), case.x(edges)
        out = layer(x, operator).detach()
        assert_close(out, case.expected(layer, x, operator), 1e-10)
        new_id = torch.randperm(edges.num_nodes, generator=torch.Generator().manual_seed(2))
        renamed_x = torch.empty_like(x)
        renamed_x[new_id] = x
        assert_close(layer(renamed_x, case.operator(edges.renamed(new_id).graph()))[new_id], out, 1e-10)

    holds()


def check_gradients(case: LayerCase) -> None:
    """Every derivative against finite differences, bit-reproducible."""
    for name, edges in SMALL_ZOO.items():
        layer, operator = case.layer(), case.operator(edges.graph())
        names, parameters = zip(*layer.named_parameters(), strict=True)

        def f(x: Tensor, *values: Tensor, layer=layer, names=names, operator=operator) -> Tensor:
            return functional_call(layer, dict(zip(names, values, strict=True)), (x, operator))

        inputs = (case.x(edges).requires_grad_(), *(p.detach().requires_grad_() for p in parameters))
        assert torch.autograd.gradcheck(f, inputs, nondet_tol=0.0), name


def check_batch(case: LayerCase) -> None:
    """[batch, N, C] on one graph is each of the batch by itself; the gradients too. A batch of none is one as well."""
    if not case.batch:
        return
    for name in ("directed, weighted", "loops", "isolated", "no edges", "no nodes"):
        layer, operator = case.layer(), case.operator(ZOO[name].graph())
        x = case.x(ZOO[name], 3).requires_grad_()
        together = layer(x, operator)
        one_by_one = torch.stack([layer(x_i, operator) for x_i in x])
        assert_close(together, one_by_one, what=name)
        cotangent = torch.randn_like(together)
        inputs = (x, *layer.parameters())
        for a, b in zip(
            torch.autograd.grad(together, inputs, cotangent),
            torch.autograd.grad(one_by_one, inputs, cotangent),
            strict=True,
        ):
            assert_close(a, b, what=name)
        assert layer(x[:0], operator).shape == (0, *together.shape[1:])


def check_sparse_x(case: LayerCase) -> None:
    """x as a SparseMatrix is x as a dense tensor; the weights' gradients too."""
    if not case.sparse_x:
        return
    for name, edges in ZOO.items():
        layer, operator = case.layer(), case.operator(edges.graph())
        x = case.x(edges) * (torch.rand(edges.num_nodes, case.in_channels) < 0.4)
        dense, sparse = layer(x, operator), layer(SparseMatrix.from_dense(x), operator)
        assert_close(sparse, dense, what=name)
        for a, b in zip(_weight_grads(layer, sparse), _weight_grads(layer, dense), strict=True):
            assert_close(a, b, what=name)


def check_operators(case: LayerCase) -> None:
    """Anything with `@` may stand where the SparseMatrix stands."""
    if not case.any_operator:
        return
    for name in ("directed, weighted", "loops", "isolated"):
        layer, operator, x = case.layer(), case.operator(ZOO[name].graph()), case.x(ZOO[name])
        expected = layer(x, operator)
        dense = torch.from_numpy(dense_copy(operator))
        for kind, other in {
            "dense": dense,
            "COO": dense.to_sparse_coo(),
            "CSR": dense.to_sparse_csr(),
            "an object with @ and shape alone": _Stencil(dense),
        }.items():
            out = layer(x, other)
            assert_close(out, expected, what=(name, kind))
            for a, b in zip(_weight_grads(layer, out), _weight_grads(layer, layer(x, operator)), strict=True):
                assert_close(a, b, what=(name, kind))
        if case.batch:
            assert_close(layer(x[None], dense), layer(x[None], operator), what=name)


class _Stencil:
    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.shape = matrix, matrix.shape

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.matrix @ x


def check_purity(case: LayerCase) -> None:
    """Forward and backward leave x, the operator and the weights as they were, and the layer keeps nothing."""
    edges = ZOO["weighted"]
    layer, operator, x = case.layer(), case.operator(edges.graph()), case.x(edges).requires_grad_()
    watched = [x, operator.rowptr, operator.col, operator.value, *layer.parameters()]
    before = [tensor.detach().clone() for tensor in watched]
    attributes = {name: set(vars(module)) for name, module in layer.named_modules()}
    layer(x, operator).square().sum().backward()
    assert all(torch.equal(tensor, old) for tensor, old in zip(watched, before, strict=True))
    assert {name: set(vars(module)) for name, module in layer.named_modules()} == attributes
    other = ZOO["undirected"]  # right after, another graph of as many nodes
    found = layer(case.x(other), case.operator(other.graph())).detach()
    assert_close(found, case.expected(layer, case.x(other), case.operator(other.graph())))


def check_state_dict(case: LayerCase) -> None:
    """Weights travel by state_dict and by copy; the state holds weights alone, before a forward and after one."""
    edges = ZOO["weighted"]
    layer, operator, x = case.layer(), case.operator(edges.graph()), case.x(edges)
    expected = layer(x, operator)
    state = layer.state_dict()
    assert set(state) == {name for name, _ in [*layer.named_parameters(), *layer.named_buffers()]}
    fresh = case.make().double()
    assert not torch.equal(fresh(x, operator), expected)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(x, operator), expected)
    assert torch.equal(copy.deepcopy(layer)(x, operator), expected)


def check_refusals(case: LayerCase) -> None:
    """Operands that do not fit meet one of gcnlab's own errors, which names one of them."""
    edges = ZOO["weighted"]
    layer, operator, x = case.layer(), case.operator(edges.graph()), case.x(edges)
    given = [
        *((x[:-1], operator), (x, None), (x, edges.edge_index), (x, edges.graph())),
        *((x, operator.to_scipy()), (x, operator.to_dense()[:, :-1]), (x, operator.to("meta"))),
    ]
    if type(layer).__module__.startswith("gcnlab"):  # it meets x itself
        given += [
            *((x[:, :-1], operator), (x[0], operator), (x.float(), operator), (x.long(), operator)),
            *((x.numpy(), operator), (None, operator), (x[None, None], operator), (x.to("meta"), operator)),
        ]
    for wrong in given:
        with pytest.raises(GcnlabError, match=r"^[\w\[\]]+: |S is "):
            layer(*wrong)


def check_empty(case: LayerCase) -> None:
    """No nodes, no edges: the right shape forward, zero or finite gradients backward."""
    for dtype in (torch.float32, torch.float64):
        for name in ("no nodes", "no edges", "one node"):
            edges, layer = ZOO[name], case.layer(dtype)
            x = case.x(edges, dtype=dtype).requires_grad_()
            out = layer(x, case.operator(edges.graph(dtype)))
            assert out.shape[0] == edges.num_nodes
            out.sum().backward()
            for tensor in (x, *layer.parameters()):
                assert tensor.grad is not None, name
                assert bool(torch.isfinite(tensor.grad).all()), name
                assert edges.num_nodes or not tensor.grad.any()


def check_vmap(case: LayerCase) -> None:
    """torch.func.vmap over x and over the weights, vmap(grad), and backward through vmap: one by one each."""
    edges = ZOO["directed, weighted"]
    layer, operator, x = case.layer(), case.operator(edges.graph()), case.x(edges, 3)
    torch.manual_seed(3)
    weights = {name: torch.randn(3, *p.shape, dtype=p.dtype) for name, p in layer.named_parameters()}

    def f(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(layer, weights, (x, operator))

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return f(weights, x).square().sum()

    of = [{name: weight[i] for name, weight in weights.items()} for i in range(3)]
    assert_close(vmap(f, (None, 0))(of[0], x), torch.stack([f(of[0], x_i) for x_i in x]))
    assert_close(vmap(f, (0, None))(weights, x[0]), torch.stack([f(w, x[0]) for w in of]))
    assert_close(vmap(f)(weights, x), torch.stack([f(w, x_i) for w, x_i in zip(of, x, strict=True)]))

    expected = []
    for w, x_i in zip(of, x, strict=True):
        leaves = {name: value.clone().requires_grad_() for name, value in w.items()}
        gradients = torch.autograd.grad(loss(leaves, x_i), list(leaves.values()))
        expected.append(dict(zip(leaves, gradients, strict=True)))
    by_grad = vmap(grad(loss))(weights, x)
    through = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    vmap(loss)(through, x).sum().backward()
    for name in weights:
        by_hand = torch.stack([gradients[name] for gradients in expected])
        assert_close(by_grad[name], by_hand, what=name)
        assert_close(through[name].grad, by_hand, what=name)


def check_compile(case: LayerCase) -> None:
    """One graph for forward and backward under torch.compile, with the eager numbers. (Without code generation.)"""
    edges = ZOO["undirected"]
    layer, operator = case.layer(torch.float32), case.operator(edges.graph(torch.float32))
    x = case.x(edges, dtype=torch.float32).requires_grad_()
    inputs = (x, *layer.parameters())
    expected = layer(x, operator)
    with compiling():
        out = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, operator)
        gradients = torch.autograd.grad(out.square().sum(), inputs)
    assert_close(out, expected, 1e-6)
    for found, wanted in zip(gradients, torch.autograd.grad(expected.square().sum(), inputs), strict=True):
        assert_close(found, wanted, 1e-5)


def check_export(case: LayerCase) -> None:
    """torch.export gives a program with the same numbers, for other features and another graph of as many edges."""
    edges = ZOO["undirected"]
    layer, operator = case.layer(torch.float32), case.operator(edges.graph(torch.float32))
    x = case.x(edges, dtype=torch.float32)
    with compiling(), torch.no_grad():
        program = torch.export.export(layer, (x, operator)).module()
        other = case.operator(edges.renamed(torch.arange(6, -1, -1)).graph(torch.float32))
        assert_close(program(x + 1, other), layer(x + 1, other), 1e-6)


def _weight_grads(layer: nn.Module, out: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out.square().sum(), tuple(layer.parameters()))


LAYER_CHECKS = (
    check_oracle,
    check_permutation,
    check_any_graph,
    check_gradients,
    check_batch,
    check_sparse_x,
    check_operators,
    check_purity,
    check_state_dict,
    check_refusals,
    check_empty,
    check_vmap,
    check_compile,
    check_export,
)
