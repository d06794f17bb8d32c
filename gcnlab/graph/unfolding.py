"""Nodes that a network cannot tell apart after l layers, computed only once in its l-th layer.

What l layers give a node depends on its unfolding tree of depth l alone: its features, those of its neighbours, and so on
for l steps (Scarselli et al. 2009; Xu et al. 2019). Trees of small depth are few, in one graph and in all of them:
among the 2,300 atoms of 128 molecules of MUTAG there are 74, 325 and 816 after one, two and three layers. With one row
for each of them,

    S_l [num_nodes, n_l] says which tree of depth l a node has
    Â S_{l-1} = S_l R_l,   R_l [n_l, n_{l-1}]
    H_l = S_l G_l,   G_l = f(R_l G_{l-1}),   G_0 the distinct rows of X

and a readout reads P S_l in place of P, a norm counts each row as often as it stands for a node. The results are those
of all nodes, up to rounding. `merging` does the same with one partition for all layers, within each graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..sparse import Features, SparseMatrix
from ..sparse.kernels import OPERATORS
from ..sparse.matrix import starts
from .merging import depth_classes, first_nodes, merge

if TYPE_CHECKING:
    from .batches import GraphBatch


def evenly_spaced(num_rows: int, most: int) -> Tensor:
    """At most so many of the rows, from the first to the last, int64."""
    return torch.linspace(0, num_rows - 1, min(most, num_rows)).long()


class LayerReadout(SparseMatrix):
    """P S_l [num_graphs, n_l]: how many nodes of each graph a row of G_l stands for. Its entries are cut out when first read.

    Attributes:
        multiplicity: [n_l], how many nodes of all graphs.
    """

    def __init__(self, multiplicity: Tensor, num_graphs: int, cut_out: Callable[[], SparseMatrix]) -> None:
        self.multiplicity, self.shape, self._cut_out = multiplicity, (num_graphs, len(multiplicity)), cut_out

    def __getattr__(self, name: str) -> Any:
        if "rowptr" in self.__dict__ or name.startswith("__"):
            raise AttributeError(name)
        self.__dict__.update(vars(self._cut_out()))
        return getattr(self, name)


class LayeredBatch(NamedTuple):
    """Some graphs as a network of `num_layers` layers computes them: `model(batch.x, batch.a_hat, batch.p)`.

    Attributes:
        x: G_0, [n_0, F].
        a_hat: R_1 .. R_L, [n_l, n_{l-1}] each.
        p: P S_1 .. P S_L, [num_graphs, n_l] each.
        y: the labels or targets of the graphs.
    """

    x: Features
    a_hat: list[SparseMatrix]
    p: list[LayerReadout]
    y: Tensor


class Unfolding:
    """G_0, R_1 .. R_L and P S_1 .. P S_L of all graphs of a collection's whole.

    Attributes:
        x: G_0.
        operators: R_1 .. R_L.
        readouts: P S_1 .. P S_L.
    """

    def __init__(self, batch: GraphBatch, num_layers: int) -> None:
        x, a_hat = batch.x, batch.a_hat
        assert x is not None
        classes = depth_classes(a_hat, x, num_layers)
        first = first_nodes(classes[0])
        self.x: Features = x.select_rows(first) if isinstance(x, SparseMatrix) else x[first]
        self.operators = [merge(a_hat, after, before).with_kind("a_hat") for before, after in pairwise(classes)]
        self.readouts = [
            SparseMatrix.from_coo(batch.batch, of_node, batch.multiplicity, (batch.num_graphs, r.shape[0])).to(
                a_hat.dtype
            )
            for of_node, r in zip(classes[1:], self.operators, strict=True)
        ]
        self._sizes: dict[int, int] = {}

    def num_rows(self, batch_size: int) -> int:
        """Rows that the layers compute of a batch of so many graphs: the classes among graphs that are evenly spaced.

        All classes that there are, where these are at most half as many again: then nothing is cut out.
        """
        if batch_size not in self._sizes:
            ids = evenly_spaced(self.readouts[0].shape[0], batch_size).to(self.readouts[0].device)
            rows, all_rows = sum(len(p.select_rows(ids).col.unique()) for p in self.readouts), self.num_classes
            self._sizes[batch_size] = all_rows if all_rows <= 1.5 * rows else rows
        return self._sizes[batch_size]

    @property
    def num_classes(self) -> int:
        """Classes after each of the layers, all together."""
        return sum(r.shape[0] for r in self.operators)

    def batches(self, chunks: Sequence[Tensor], y: Tensor) -> Iterator[LayeredBatch]:
        """A batch of each chunk, the graphs of it, [B] int64; y is of all of them, one after the other."""
        sizes = [len(chunk) for chunk in chunks]
        ids = torch.cat(list(chunks))
        chunk_of_graph = torch.repeat_interleave(torch.tensor(sizes, device=ids.device), output_size=len(ids))
        computes_all = self.num_rows(max(sizes)) == self.num_classes
        graph_at, layers, before = starts(torch.tensor(sizes)).tolist(), [], None
        for r, p in zip(self.operators, self.readouts, strict=True):
            p = p.select_rows(ids)
            key = chunk_of_graph[p.row] * r.shape[0] + p.col  # of class c in batch b: b * n_l + c
            before = _all_rows(r, p, key, len(chunks)) if computes_all else _cut_rows(r, p, key, len(chunks), before)
            layers.append(list(before.slices(graph_at)))
        for i, labels in enumerate(y.split(sizes)):
            operators, readouts = zip(*(slices[i] for slices in layers), strict=True)
            yield LayeredBatch(self.x, list(operators), list(readouts), labels)


class _Shelf(NamedTuple):
    """One layer of several batches: the rows that each of them has, batch after batch."""

    r: SparseMatrix  # rows, and from the second layer on columns, are those of all batches; or R_l itself, of each
    p: SparseMatrix  # [graphs of all batches, rows]
    row_at: Tensor  # where the rows of each batch start, [num_batches + 1]
    place: Tensor | None = None  # the row of each key; None where each batch has all rows
    num_classes: int = 0
    before: _Shelf | None = None

    def slices(self, graph_at: list[int]) -> Iterator[tuple[SparseMatrix, LayerReadout]]:
        """R_l and P S_l of each batch."""
        row_at = self.row_at.tolist()
        multiplicity = self.p.value.new_zeros(row_at[-1]).index_add_(0, self.p.col, self.p.value)
        col_at = None if self.before is None else self.before.row_at.tolist()
        operators = repeat(self.r) if self.place is None else _blocks(self.r, row_at, col_at)
        readouts = cache(lambda: list(_blocks(_with_transpose(self.p), graph_at, row_at)))
        bounds = zip(pairwise(graph_at), pairwise(row_at), strict=True)
        for i, (((g0, g1), (r0, r1)), r) in enumerate(zip(bounds, operators, strict=False)):
            yield r, LayerReadout(multiplicity[r0:r1], g1 - g0, lambda i=i: readouts()[i])  # type: ignore[misc]


def _all_rows(r: SparseMatrix, p: SparseMatrix, key: Tensor, num_batches: int) -> _Shelf:
    """Each batch has all rows of R_l; those of no node of it count 0, and nothing reads them."""
    p = SparseMatrix(p.rowptr, key.int(), p.value, (p.shape[0], num_batches * r.shape[0]))
    return _Shelf(r, p, r.shape[0] * torch.arange(num_batches + 1))


def _cut_rows(r: SparseMatrix, p: SparseMatrix, key: Tensor, num_batches: int, before: _Shelf | None) -> _Shelf:
    """Each batch has the rows of its own classes."""
    num_classes, device = r.shape[0], p.device
    place = torch.zeros(num_batches * num_classes, dtype=torch.int32, device=device)
    rows = place.index_fill_(0, key, 1).nonzero().squeeze(1)
    num_rows = len(rows)
    place[rows] = torch.arange(num_rows, dtype=torch.int32, device=device)
    batch = rows.div(num_classes, rounding_mode="floor")
    cut = r.select_rows(rows - batch * num_classes)
    if before is not None and before.place is not None:
        col = before.place.index_select(0, batch[cut.row] * before.num_classes + cut.col)
        cut = _with_transpose(SparseMatrix(cut.rowptr, col, cut.value, (num_rows, before.r.shape[0]), kind=r.kind))
    p = SparseMatrix(p.rowptr, place.index_select(0, key), p.value, (p.shape[0], num_rows))
    return _Shelf(cut, p, starts(batch.bincount(minlength=num_batches)), place, num_classes, before)


def _with_transpose(matrix: SparseMatrix) -> SparseMatrix:
    t_pattern = OPERATORS.transpose(matrix.rowptr, matrix.col, matrix.shape[1])
    return SparseMatrix(matrix.rowptr, matrix.col, matrix.value, matrix.shape, t_pattern=t_pattern, kind=matrix.kind)


def _blocks(matrix: SparseMatrix, row_at: list[int], col_at: list[int] | None) -> Iterator[SparseMatrix]:
    """The blocks on the diagonal of a matrix; without `col_at` each has all columns."""
    entry_at = matrix.rowptr[torch.tensor(row_at, device=matrix.device)].tolist()
    kind = matrix.kind
    for i, ((r0, r1), (e0, e1)) in enumerate(zip(pairwise(row_at), pairwise(entry_at), strict=True)):
        rowptr, col, value = matrix.rowptr[r0 : r1 + 1] - e0, matrix.col[e0:e1], matrix.value[e0:e1]
        if col_at is None or matrix.t_pattern is None:
            yield SparseMatrix(rowptr, col, value, (r1 - r0, matrix.shape[1]), kind=kind, is_brief=True)
            continue
        c0, c1 = col_at[i], col_at[i + 1]
        t_rowptr, t_col, order = matrix.t_pattern
        t_pattern = t_rowptr[c0 : c1 + 1] - e0, t_col[e0:e1] - r0, order[e0:e1] - e0
        shape = r1 - r0, c1 - c0
        yield SparseMatrix(rowptr, col - c0, value, shape, t_pattern=t_pattern, kind=kind, is_brief=True)
