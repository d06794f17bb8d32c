"""Several graphs as one: the batch, and how batches are cut out of the matrices of a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from ..errors import InputError
from ..machine import is_same_device
from ..segments import ReadoutMatrix, consecutive
from ..sparse import Features, SparseMatrix
from ..sparse.matrix import starts
from .graph import Graph
from .parts import count_classes

if TYPE_CHECKING:
    import networkx
    import scipy.sparse
    from torch_geometric.data import Data


def num_targets(y: Tensor) -> int:
    """T of targets [B] or [B, T]."""
    return 1 if y.dim() == 1 else int(y.shape[1])


def _refused(method: str, why: str) -> Callable[..., NoReturn]:
    """A method of a Graph that a batch does not have, whose error says what to do instead."""

    def refuse(self: GraphBatch, *_: Any, **__: Any) -> NoReturn:
        raise InputError(f"{method}: {why}")

    refuse.__name__, refuse.__doc__ = method, "Refused, with what to do instead."
    return refuse


_CUT = "a batch is cut out of its collection; change the graphs there, or collection.whole, and cut out another."
_OF_NODES = "is of one graph, and here each graph has a label; {}, or one graph, collection[i]."


class GraphBatch:
    """Several graphs side by side: A = diag(A_1, ..., A_B), X = [X_1; ...; X_B], N = n_1 + ... + n_B.

    A batch has a Graph, `graph`, but is not one: its labels belong to graphs instead of nodes. It offers what a model
    reads, and what a Graph says about A. It is immutable.

    Attributes:
        graph: all nodes as one Graph, without y.
        ptr: where the nodes of each graph start, and N, [B + 1] int64.
        batch: the graph of each node, 0 .. B - 1, [N] int64.
        y: the labels or targets of the graphs, [B] int64, or floats [B] or [B, T]; or None.
        multiplicity: how many nodes each one stands for, [N], or None where that is one (`GraphCollection.merged`).
    """

    is_batch = True
    graph: Graph
    ptr: Tensor
    batch: Tensor
    y: Tensor | None
    multiplicity: Tensor | None
    _p: ReadoutMatrix | None

    def __init__(self, *_: Any, **__: Any) -> None:
        raise InputError("GraphBatch: gcnlab.batch(graphs) or collection.batch() makes one.")

    @classmethod
    def of_parts(
        cls, graph: Graph, ptr: Tensor, batch: Tensor, y: Tensor | None = None, multiplicity: Tensor | None = None
    ) -> GraphBatch:
        """A batch of parts that are known to fit each other; they are those of the attributes."""
        self = cls.__new__(cls)
        self.__dict__.update(graph=graph, ptr=ptr, batch=batch, y=y, multiplicity=multiplicity, _p=None)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a GraphBatch is immutable: {_CUT}")

    def __getattr__(self, name: str) -> NoReturn:
        is_of_graph = hasattr(Graph, name) or name in Graph.__annotations__
        why = ", which is of one Graph; all nodes as one are batch.graph, a graph by itself is collection[i]"
        raise AttributeError(f"GraphBatch has no {name}{why if is_of_graph else ''}.")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_p": None}  # a copy or a pickle makes its own

    def __repr__(self) -> str:
        y, parts = self.y, [f"{self.num_graphs} graphs", f"{self.num_nodes} nodes", f"{self.num_edges} stored edges"]
        parts += [f"{self.num_features} features"] if self.x is not None else []
        if y is not None:
            parts += [f"{num_targets(y)} targets" if y.is_floating_point() else f"{self.num_classes} classes"]
        return f"GraphBatch({(self.name + ': ') if self.name else ''}{', '.join(parts)})"

    # -- the graphs ---------------------------------------------------------------------------------------------------

    @property
    def num_graphs(self) -> int:
        """B, graphs without nodes included."""
        return self.ptr.shape[0] - 1

    @property
    def p(self) -> ReadoutMatrix:
        """The readout matrix P [num_graphs, num_nodes]: P_gi = 1, or i's multiplicity, where node i is of graph g.

        `p.multiplicity` says how many nodes each row stands for; None where that is one everywhere.
        """
        if self._p is None:
            with torch.inference_mode(False):  # as Graph.kept
                p = consecutive(self.ptr, self.batch, self.multiplicity, self.graph.adjacency.dtype)
            self.__dict__["_p"] = p
            return p
        return self._p

    @property
    def num_classes(self) -> int:
        """C: the number of class names if there are any, else the largest label + 1; 0 where there are no labels, or floats."""
        return count_classes(self.y, self.class_names)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.graph.class_names

    @property
    def name(self) -> str | None:
        return self.graph.name

    def to(self, device: torch.device | torch.dtype | str) -> GraphBatch:
        """The batch on another device, or with A and X of another dtype."""
        if isinstance(device, torch.dtype):
            if self.multiplicity is not None:
                raise InputError("to: alike nodes are merged in this batch; change the dtype of its collection.")
            return self.of_parts(self.graph.to(device), self.ptr, self.batch, self.y)
        if is_same_device(device, self.device):
            return self
        ptr, batch, y, multiplicity = (
            None if part is None else part.to(device) for part in (self.ptr, self.batch, self.y, self.multiplicity)
        )
        assert ptr is not None
        assert batch is not None
        return self.of_parts(self.graph.to(device), ptr, batch, y, multiplicity)

    def summary(self) -> str:
        """As `Graph.summary`, with the number of graphs and without labels, which belong to graphs instead of nodes."""
        rows = self.graph.summary().partition("\n")[2]
        return f"{self.name or 'GraphBatch'}\n{rows}\n  {'graphs':<18} {self.num_graphs:,}"

    def to_pyg(self) -> Data:
        """A PyG `Data` with y, `batch` and `ptr` beside its graph, as PyG's pooling functions take them."""
        data = self.graph.to_pyg()
        if self.y is not None:
            data.y = self.y
        data.batch, data.ptr = self.batch, self.ptr
        return data

    def to_networkx(self) -> networkx.Graph:
        """As `Graph.to_networkx`, with the number of each node's graph in the node attribute `graph`."""
        graph = self.graph.to_networkx()
        for i, number in enumerate(self.batch.tolist()):
            graph.nodes[i]["graph"] = number
        return graph

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """A as a scipy CSR matrix."""
        return self.graph.to_scipy()

    # -- what they are as one Graph -----------------------------------------------------------------------------------

    @property
    def x(self) -> Features | None:
        """X, [N, F], or None."""
        return self.graph.x

    @property
    def adjacency(self) -> SparseMatrix:
        """A, [N, N]."""
        return self.graph.adjacency

    @property
    def a_hat(self) -> SparseMatrix:
        """Â of all graphs, [N, N]."""
        return self.graph.a_hat

    @property
    def a_tilde(self) -> SparseMatrix:
        """Ã = A + I, [N, N]."""
        return self.graph.a_tilde

    @property
    def laplacian(self) -> SparseMatrix:
        """L = I - D^-1/2 A D^-1/2, [N, N]."""
        return self.graph.laplacian

    @property
    def combinatorial_laplacian(self) -> SparseMatrix:
        """D - A, [N, N]."""
        return self.graph.combinatorial_laplacian

    def matrix(self, kind: str) -> SparseMatrix:
        """The matrix of a kind, as `Graph.matrix`."""
        return self.graph.matrix(kind)

    def normalize(self, self_loops: str | None = "fill", norm: str | None = "sym") -> SparseMatrix:
        """As `Graph.normalize`."""
        return self.graph.normalize(self_loops, norm)

    def l_tilde(self, lambda_max: float | None = 2.0) -> SparseMatrix:
        """As `Graph.l_tilde`; λ_max of None is the largest of all graphs."""
        return self.graph.l_tilde(lambda_max)

    @property
    def degree(self) -> Tensor:
        """D_ii = sum_j A_ij, [N]."""
        return self.graph.degree

    @property
    def degree_tilde(self) -> Tensor:
        """D̃_ii = sum_j Ã_ij, [N]."""
        return self.graph.degree_tilde

    @property
    def edge_index(self) -> Tensor:
        """[2, num_edges] int64: sources, then targets."""
        return self.graph.edge_index

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.graph.num_nodes

    @property
    def num_edges(self) -> int:
        """Stored entries of A."""
        return self.graph.num_edges

    @property
    def num_features(self) -> int:
        """F, 0 where there is no X."""
        return self.graph.num_features

    @property
    def num_duplicates(self) -> int:
        return self.graph.num_duplicates

    @property
    def num_self_loops(self) -> int:
        return self.graph.num_self_loops

    @property
    def has_self_loops(self) -> bool:
        return self.graph.has_self_loops

    @property
    def is_directed(self) -> bool:
        """Whether A differs from its transpose by more than rounding."""
        return self.graph.is_directed

    @property
    def device(self) -> torch.device:
        return self.graph.device

    # -- what holds for one graph alone -------------------------------------------------------------------------------

    replace = _refused("replace", _CUT)
    with_features = _refused("with_features", _CUT)
    with_row_normalized_features = _refused("with_row_normalized_features", _CUT)
    to_undirected = _refused("to_undirected", _CUT)
    subgraph = _refused("subgraph", _OF_NODES.format("choose among the graphs, collection[ids]"))
    receptive_field = _refused("receptive_field", _OF_NODES.format("a readout reads all nodes of a graph"))
    rows_of = _refused("rows_of", _OF_NODES.format("choose among the graphs, collection[ids]"))
    save = _refused("save", "is of one graph, and would lose where those of a batch begin; save each by itself.")
    estimate_memory = _refused(
        "estimate_memory", "is of a model of one Graph; batch_size sets what a step on graphs takes."
    )


# --------------------------------------------------------------------------------------------------------------------
# Cutting batches out of matrices of many graphs
# --------------------------------------------------------------------------------------------------------------------


class BlockRows(NamedTuple):
    """The nodes of chosen graphs: what it takes to cut their rows out of a matrix of the whole."""

    first: Tensor  # the first node of each in the whole, [B]
    size: Tensor  # nodes of each, [B]
    batch: Tensor  # the graph of each node, [n]
    node: Tensor  # the node in the whole, [n]
    shift: Tensor  # first node in the whole - first node here, [B]

    def of(self, matrix: SparseMatrix, square: bool = False) -> SparseMatrix:
        """The rows of the nodes, [n, F]; of a block-diagonal matrix (`square`) the blocks, [n, n].

        Written with index_select and the matrix's own index type: 128 graphs of imdb-binary take half the time that
        `tensor[index]` and int64 take.
        """
        rowptr, index = matrix.rowptr, matrix.rowptr.dtype
        start = rowptr.index_select(0, self.first)
        count = rowptr.index_select(0, self.first + self.size) - start
        here = starts(count)
        nnz = int(here[-1])
        shift = start - here[:-1].to(index)
        graph = torch.repeat_interleave(count, output_size=nnz)
        entry = torch.arange(nnz, dtype=index, device=graph.device).add_(shift.index_select(0, graph))
        col = matrix.col.index_select(0, entry)
        if square:
            col -= self.shift.to(index).index_select(0, graph)
        shift_of_node = shift.index_select(0, self.batch)

        def row_starts(rowptr: Tensor) -> Tensor:
            return torch.cat([rowptr.index_select(0, self.node) - shift_of_node, here[-1:].to(index)])

        n = self.node.shape[0]
        value = matrix.value.index_select(0, entry)
        symmetric, t_pattern = square and matrix.symmetric, None
        # The transpose of a diagonal of blocks has each block's entries where it has.
        if square and not symmetric and matrix.t_pattern is not None:
            t_rowptr, t_col, order = matrix.t_pattern
            t_col = t_col.index_select(0, entry) - self.shift.to(index).index_select(0, graph)
            order = order.index_select(0, entry) - shift.index_select(0, graph)
            t_pattern = row_starts(t_rowptr), t_col, order
        return SparseMatrix(
            row_starts(rowptr), col, value, (n, n if square else matrix.shape[1]), symmetric=symmetric,
            t_pattern=t_pattern, kind=matrix.kind,
        )  # fmt: skip


def slices(shelf: GraphBatch, sizes: list[int]) -> Iterator[GraphBatch]:
    """Batches of so many graphs each, one after the other; what need not be moved is a view."""
    at = starts(torch.tensor(sizes)).to(shelf.device)
    nodes_at = shelf.ptr.index_select(0, at)
    bounds = list(pairwise(zip(at.tolist(), nodes_at.tolist(), strict=True)))

    def cut(matrix: SparseMatrix, square: bool = True) -> list[SparseMatrix]:
        entries_at = matrix.rowptr.index_select(0, nodes_at).tolist()
        symmetric, whole_t = square and matrix.symmetric, matrix.t_pattern if square else None
        out = []
        for ((_, n0), (_, n1)), (e0, e1) in zip(bounds, pairwise(entries_at), strict=True):
            rowptr, col, shape = matrix.rowptr[n0 : n1 + 1] - e0, matrix.col[e0:e1], (n1 - n0, matrix.shape[1])
            if square:
                col, shape = col - n0, (n1 - n0, n1 - n0)
            t_pattern = None
            if whole_t is not None and not symmetric:
                t_rowptr, t_col, order = whole_t
                t_pattern = t_rowptr[n0 : n1 + 1] - e0, t_col[e0:e1] - n0, order[e0:e1] - e0
            value, kind = matrix.value[e0:e1], matrix.kind
            part = SparseMatrix(
                rowptr, col, value, shape, symmetric=symmetric, t_pattern=t_pattern, kind=kind, is_brief=True
            )
            out.append(part)
        return out

    graph, x, y, multiplicity = shelf.graph, shelf.x, shelf.y, shelf.multiplicity
    adjacency, parts = cut(graph.adjacency), graph.parts
    derived = {key: cut(m) if isinstance(m, SparseMatrix) else [m] * len(sizes) for key, m in graph.derived.items()}
    xs = cut(x, square=False) if isinstance(x, SparseMatrix) else None
    for i, ((g0, n0), (g1, n1)) in enumerate(bounds):
        parts["adjacency"], parts["derived"] = adjacency[i], {key: matrices[i] for key, matrices in derived.items()}
        parts["x"] = xs[i] if xs is not None else None if x is None else x[n0:n1]
        yield GraphBatch.of_parts(
            Graph.of_parts(**parts),
            shelf.ptr[g0 : g1 + 1] - n0,
            shelf.batch[n0:n1] - g0,
            None if y is None else y[g0:g1],
            None if multiplicity is None else multiplicity[n0:n1],
        )
