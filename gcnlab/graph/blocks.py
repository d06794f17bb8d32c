"""Batches of several trainings as one: below each other, each filled up to one number of nodes and of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..segments import ReadoutBlock, consecutive
from ..sparse import Features, SparseMatrix
from ..sparse.blocks import Block
from ..sparse.matrix import starts
from .batches import GraphBatch


class BatchBlocks(NamedTuple):
    """The batches of T trainings, each of n nodes and B graphs: the arguments of a model that torch.func.vmap runs over them.

    A batch with fewer nodes has more that stand for none: they have multiplicity 0, no edges, and are of the last graph,
    which no batch has otherwise. One with fewer graphs has more without nodes before that. What is added takes part in
    no sum over nodes and in no loss.

    Attributes:
        x: [T, n, F], or diag(X_1, ..., X_T), [T * n, T * F].
        matrix: diag(Â_1, ..., Â_T), [T * n, T * n].
        p: diag(P_1, ..., P_T), [T * B, T * n].
        rowptr: of each P, [T, B + 1].
        graph: the graph of each node, [T, n].
        y: [T, B] or [T, B, num_targets].
        counts: which graphs are the batch's own, bool [T, B].
    """

    x: Features
    matrix: SparseMatrix
    p: SparseMatrix
    rowptr: Tensor
    graph: Tensor
    y: Tensor
    counts: Tensor

    @classmethod
    def of(cls, batch: GraphBatch, kind: str, num_graphs: Sequence[int]) -> BatchBlocks:
        """Split a batch: its first num_graphs[0] graphs belong to the first training, the next to the second, and so on."""
        device, num = batch.device, len(num_graphs)
        first_graph = starts(torch.tensor(num_graphs)).to(device)  # of each training, [T + 1]
        first = batch.ptr.index_select(0, first_graph)  # node, [T + 1]
        size = first.diff()
        n, b = int(size.max()), max(num_graphs) + 1
        training = torch.arange(num, device=device).unsqueeze(1)
        # The node of the batch at each place, [T, n]; at those that are added, the next training's first.
        node = torch.minimum(first[:-1, None] + torch.arange(n, device=device), first[1:, None])
        is_own = torch.arange(n, device=device) < size[:, None]
        end = node.new_full((1,), batch.num_nodes)
        place, node = torch.cat([node.flatten(), end]), node.clamp(max=batch.num_nodes - 1)

        def spread(matrix: SparseMatrix, num_cols: int, shift: Tensor) -> SparseMatrix:
            """The matrix with rows without entries where nodes are added, and its columns moved."""
            entries = matrix.rowptr.index_select(0, first).diff()
            move = torch.repeat_interleave(shift.to(matrix.col), entries, output_size=matrix.nnz)
            t_pattern = None
            if matrix.shape[0] == matrix.shape[1] and not matrix.symmetric and matrix.t_pattern is not None:
                t_rowptr, t_col, order = matrix.t_pattern
                t_pattern = t_rowptr.index_select(0, place), t_col + move, order
            return SparseMatrix(
                matrix.rowptr.index_select(0, place), matrix.col + move, matrix.value, (num * n, num * num_cols),
                symmetric=matrix.symmetric, t_pattern=t_pattern, kind=matrix.kind, is_brief=True,
            )  # fmt: skip

        x: Any = batch.x
        if isinstance(x, SparseMatrix):
            x = spread(x, x.shape[1], training.squeeze(1) * x.shape[1])
        else:
            x = x.index_select(0, node.flatten()).unflatten(0, (num, n))
        # Of each graph, those that are added have no node but the last, [T, B + 1].
        which = torch.minimum(first_graph[:-1, None] + torch.arange(b, device=device), first_graph[1:, None])
        rowptr = torch.cat([batch.ptr[which] - first[:-1, None], first.new_full((num, 1), n)], 1)
        graph = torch.where(is_own, batch.batch[node] - first_graph[:-1, None], b - 1)
        ones = batch.graph.adjacency.value.new_ones(()) if batch.multiplicity is None else batch.multiplicity[node]
        ptr = torch.cat([(rowptr[:, :-1] + n * training).flatten(), first.new_full((1,), num * n)])
        p = consecutive(ptr, (graph + b * training).flatten(), (is_own * ones).flatten())
        p.row_normalized()  # kept: within vmap it takes a step's fifth
        counts = torch.arange(b, device=device) < first_graph.diff()[:, None]
        assert batch.y is not None
        y = batch.y[which.clamp(max=batch.num_graphs - 1)]
        matrix = batch.matrix(kind)
        return cls(x, spread(matrix, n, n * training.squeeze(1) - first[:-1]), p, rowptr, graph, y, counts)

    def of_each(self) -> tuple[Tensor, ...]:
        """The tensors of all trainings, [T, ...], over which vmap goes."""
        shared = self.rowptr, self.graph, self.p.value.view_as(self.graph)
        return shared if isinstance(self.x, SparseMatrix) else (*shared, self.x)

    def arguments(self, rowptr: Tensor, graph: Tensor, multiplicity: Tensor, *x: Tensor) -> tuple[Any, ...]:
        """The arguments of the model of one training, from its own of those tensors."""
        num = len(self.counts)
        own = x[0] if x else Block(self.x, num)  # type: ignore[arg-type]
        return own, Block(self.matrix, num), ReadoutBlock(self.p, num, rowptr, graph, multiplicity)
