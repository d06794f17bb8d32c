"""Reductions over the rows of a sparse matrix: over the nodes of each graph, over the neighbours of each node.

Which node belongs to which graph is the readout matrix P [num_graphs, num_nodes], P_gi = 1 where node i is of graph g.
A segment is what one row holds: a graph's nodes, or a node's neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .checks import check_count
from .errors import InputError, InputTypeError
from .sparse import SparseMatrix
from .sparse.blocks import Block
from .sparse.kernels import row_index
from .sparse.matrix import register_tree

# --------------------------------------------------------------------------------------------------------------------
# Which node is of which graph
# --------------------------------------------------------------------------------------------------------------------


def readout_matrix(batch: Tensor, num_graphs: int | None = None) -> SparseMatrix:
    """P [num_graphs, num_nodes] from the graph of each node, in any order.

    Args:
        batch: int [num_nodes], graph ids from 0.
        num_graphs: by default the largest id + 1; pass it where graphs at the end may have no node.
    """
    if batch.dim() != 1 or batch.dtype not in (torch.int64, torch.int32):
        raise InputTypeError(f"batch: got {batch.dtype} of shape {tuple(batch.shape)}, expected integers [num_nodes].")
    if num_graphs is None:
        if not batch.shape[0]:
            raise InputError("batch: is empty, so the number of graphs is not known; pass num_graphs.")
        num_graphs = int(batch.max()) + 1
    bad = (batch < 0) | (batch >= check_count("num_graphs", num_graphs))
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(f"batch: node {at} is of graph {int(batch[at])}, expected at least 0 and below {num_graphs}.")
    nodes = torch.arange(batch.shape[0], device=batch.device)
    return SparseMatrix.from_coo(batch.long(), nodes, shape=(num_graphs, batch.shape[0]))


def matrix_of(batch: Any, h: Tensor) -> SparseMatrix:
    """P of what readouts and pools take as batch: None for one graph, a GraphBatch, P itself, or the graph of each node."""
    if batch is None:
        return readout_matrix(torch.zeros(h.shape[0], dtype=torch.int64, device=h.device), 1)
    batch = getattr(batch, "p", batch)
    return batch if isinstance(batch, SparseMatrix) else readout_matrix(batch)


class ReadoutMatrix(SparseMatrix):
    """P [num_graphs, num_nodes] of graphs that stand one after the other: one entry per node, in the order of the nodes.

        P_gi = m_i where node i is of graph g, else 0

    Attributes:
        counts: whether the entries are such counts m; otherwise they are ones.
    """

    counts: bool = False
    _means: SparseMatrix | None = None

    @property
    def multiplicity(self) -> Tensor | None:
        """m, [num_nodes]: how many nodes each row of H stands for; None where that is one everywhere."""
        return self.value if self.counts and bool((self.value != 1).any()) else None

    def row_normalized(self) -> SparseMatrix:
        """P whose rows sum to 1, as the mean over the nodes of each graph has it; made once for all layers."""
        if self._means is None:
            self._means = super().row_normalized()
        return self._means

    def map(self, f: Callable[[Tensor], Tensor]) -> ReadoutMatrix:
        p = super().map(f)
        other = ReadoutMatrix(p.rowptr, p.col, p.value, p.shape, t_pattern=p.t_pattern)
        other.counts = self.counts
        return other


register_tree(ReadoutMatrix, "counts")


class ReadoutBlock(Block):
    """P [num_graphs, num_nodes] of one of several batches that stand side by side: a `ReadoutMatrix` as a block.

    Args:
        whole, num_blocks: those of a `Block`.
        rowptr: where the nodes of each graph start, [num_graphs + 1].
        graph: the graph of each node, [num_nodes].
        multiplicity: how many nodes each row of H stands for, [num_nodes]; 0 where it was only added.
    """

    def __init__(
        self, whole: SparseMatrix, num_blocks: int, rowptr: Tensor, graph: Tensor, multiplicity: Tensor
    ) -> None:
        super().__init__(whole, num_blocks)
        self.rowptr, self.graph, self.value, self.multiplicity = rowptr, graph, multiplicity, multiplicity
        self.col = torch.arange(self.shape[1], device=whole.device)

    @property
    def row(self) -> Tensor:
        return self.graph


def multiplicity_of(batch: Any) -> Tensor | None:
    """How many nodes each row of H stands for, [num_nodes], as a GraphBatch or its P says; None where that is one."""
    return getattr(getattr(batch, "p", batch), "multiplicity", None)


def consecutive(
    ptr: Tensor,
    graph: Tensor | None = None,
    multiplicity: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> ReadoutMatrix:
    """P of graphs that stand one after the other: graph g has the nodes ptr[g] .. ptr[g + 1] - 1.

    Args:
        ptr: [num_graphs + 1].
        graph: the graph of each node, [num_nodes], where it is known.
        multiplicity: how many nodes each one stands for, [num_nodes]; by default one.
        dtype: of P without multiplicities.
    """
    num_graphs, num_nodes = ptr.shape[0] - 1, int(ptr[-1])
    nodes = torch.arange(num_nodes + 1, dtype=torch.int32, device=ptr.device)
    value = torch.ones(num_nodes, dtype=dtype, device=ptr.device) if multiplicity is None else multiplicity
    # P^T has one entry per row, so it needs no sort.
    t_pattern = nodes, (row_index(ptr, num_nodes) if graph is None else graph).int(), nodes[:-1]
    p = ReadoutMatrix(ptr.int(), nodes[:-1], value, (num_graphs, num_nodes), t_pattern=t_pattern)
    if multiplicity is not None:
        p.counts = True
    return p


def consecutive_reference(ptr: Tensor, dtype: torch.dtype = torch.float32) -> SparseMatrix:
    """P of graphs that stand one after the other, as `readout_matrix` makes it of any graphs."""
    num_graphs = ptr.shape[0] - 1
    return readout_matrix(torch.repeat_interleave(torch.arange(num_graphs), ptr.diff()), num_graphs).to(dtype)


# --------------------------------------------------------------------------------------------------------------------
# Over the entries of each row
# --------------------------------------------------------------------------------------------------------------------


def segment_max(values: Tensor, p: SparseMatrix) -> Tensor:
    """max over the entries of each row of P, [num_rows, C]; 0 for an empty row. Ties share the gradient.

    `values` is [P.nnz, C], in the order of P's entries.
    """
    # Start from 0 in empty rows alone: torch counts the start among the ties of a maximum, even with include_self=False.
    start = values.new_zeros(p.shape[0], values.shape[1])
    start.masked_fill_((p.rowptr.diff() > 0).unsqueeze(1), -math.inf)
    return start.scatter_reduce(0, p.row.unsqueeze(1).expand_as(values), values, "amax", include_self=False)


def segment_max_reference(values: Tensor, p: SparseMatrix) -> Tensor:
    """The maximum of each segment, one after the other."""
    out = values.new_zeros(p.shape[0], values.shape[1])
    for i, (start, end) in enumerate(pairwise(p.rowptr.tolist())):
        if end > start:
            out[i] = values[start:end].amax(0)
    return out


def segment_softmax(score: Tensor, p: SparseMatrix) -> Tensor:
    """P_gi exp(s_i) / sum_j P_gj exp(s_j) over the entries of each row of P; score [P.nnz, C], in their order.

    A row's largest score is subtracted first, so that exp does not overflow.
    """
    shifted = (score - segment_max(score.detach(), p)[p.row]).exp() * p.value.unsqueeze(1)
    total = score.new_zeros(p.shape[0], score.shape[1]).index_add(0, p.row, shifted)
    return shifted / total[p.row]


def segment_softmax_reference(score: Tensor, p: SparseMatrix) -> Tensor:
    """The softmax of each segment by its definition, one after the other."""
    weights = (p.value.unsqueeze(1) * score.exp()).split(p.rowptr.diff().tolist())
    return torch.cat([score[:0], *(weight / weight.sum(0) for weight in weights)])


def neighbour_max(x: Tensor, pattern: SparseMatrix) -> Tensor:
    """max over the entries j of each row i of x_j, [..., num_rows, C]; 0 for an empty row.

    x is [num_cols, C] or [batch, num_cols, C]; no array of the size [nnz, C] is made. The first of equal largest
    ones has the gradient.
    """
    if x.dim() == 3:  # one pattern for all signals: [batch, num_cols, C] -> [num_cols, batch * C]
        columns = x.movedim(1, 0)
        return neighbour_max(columns.flatten(1), pattern).unflatten(1, columns.shape[1:]).movedim(0, 1)
    largest = x.gather(0, _ArgMax.apply(pattern.rowptr, pattern.col, x.detach()))
    return torch.where((pattern.rowptr.diff() > 0).unsqueeze(1), largest, 0)


def neighbour_max_reference(x: Tensor, pattern: SparseMatrix) -> Tensor:
    """The maximum over the neighbours of each node, one node after the other."""
    out = x.new_zeros(*x.shape[:-2], pattern.shape[0], x.shape[-1])
    for i, (start, end) in enumerate(pairwise(pattern.rowptr.tolist())):
        if end > start:
            out[..., i, :] = x[..., pattern.col[start:end].long(), :].max(-2).values
    return out


class _ArgMax(torch.autograd.Function):
    """The column of the entry of each row whose x is largest, [num_rows, C] int64; 0 for an empty row."""

    @staticmethod
    def forward(rowptr: Tensor, col: Tensor, x: Tensor) -> Tensor:
        largest = torch.embedding_bag(x, col, rowptr, False, 2, False, None, True)[
            3
        ]  # mode 2: the maximum of each bag of rows
        return largest.long().clamp(min=0)  # CUDA gives -1 for an empty bag

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], rowptr: Tensor, col: Tensor, x: Tensor) -> tuple[Tensor, int]:
        assert in_dims[2] is not None
        columns = x.movedim(in_dims[2], 1)  # [num_cols, B, C]
        return _ArgMax.apply(rowptr, col, columns.flatten(1)).unflatten(1, columns.shape[1:]), 1
