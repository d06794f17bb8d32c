"""From nodes to graphs: readouts, and poolings that turn a graph into a smaller one.

A batch of graphs is one graph with a block-diagonal A. The readout matrix P [num_graphs, num_nodes] says which node
belongs to which graph: P_gi = 1 where node i is in graph g. The sum readout is P H; the mean readout divides each row
of P H by the sum of P's row. A graph without nodes keeps its row, and its readout is 0, the maximum too. If node i
stands for several alike ones, P_gi is their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import check_count, check_dense, check_like, check_number
from ..errors import InputError, InputTypeError
from ..memory import check_large
from ..segments import consecutive, matrix_of, segment_max, segment_softmax
from ..sparse import SparseMatrix

# Readouts of signals h [batch, num_nodes, C] without P, in a third of the time or less: all graphs have one size.
_ON_SIGNALS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda h: h.mean(1),
    "sum": lambda h: h.sum(1),
    "max": lambda h: h.amax(1),
    "flatten": lambda h: h.flatten(1),
}


def readout_kinds(argument: str, kind: str) -> list[str]:
    """The kinds that a `Readout` joins; InputError if one of them is unknown."""
    if not isinstance(kind, str) or not set(kind.split("+")) <= set(Readout.KINDS):
        raise InputError(
            f'{argument}: got {kind!r}, expected one or several of {", ".join(Readout.KINDS)}, joined by "+".'
        )
    return kind.split("+")


class Readout(nn.Module):
    """One vector per graph from the vectors of its nodes.

        sum: P H      mean: P H / P 1      max: max_i h_i      attention: sum_i softmax_i(h_i w + b) h_i
        set2set (Vinyals et al. 2016): an LSTM that attends to the nodes num_steps times, [query, read]
        sort (Zhang et al. 2018): the k nodes with the largest last channel, in that order, zeros where there are fewer
        flatten: the channels of all nodes, node after node, on one shared graph, so a node keeps its place

    Args:
        kind: one of these, or several joined by "+": "mean+max+sum" concatenates.
        in_channels: C, which attention and set2set need.
        k: nodes that sort keeps.
        num_steps: of set2set.
        num_nodes: of the shared graph, which flatten needs.

    Shapes:
        h: [num_nodes, C]; or [batch, num_nodes, C], signals on one shared graph, with batch None.
        batch: a batch of graphs (`gcnlab.batch`, a `GraphLoader`'s); or the matrix P [num_graphs, num_nodes]; or
            int [num_nodes], the graph of each node; or None if all nodes are in one graph.
        output: [num_graphs, `width(C)`], or [batch, width(C)].

    >>> h = torch.tensor([[1.0], [3.0], [10.0]])
    >>> Readout("mean+max")(h, torch.tensor([0, 0, 1]))
    tensor([[ 2.,  3.],
            [10., 10.]])
    """

    KINDS = ("mean", "sum", "max", "attention", "set2set", "sort", "flatten")

    def __init__(
        self,
        kind: str = "mean",
        in_channels: int | None = None,
        k: int = 30,
        num_steps: int = 3,
        num_nodes: int | None = None,
    ) -> None:
        super().__init__()
        self.kinds = readout_kinds("kind", kind)
        self.k, self.num_steps = check_count("k", k, 1), check_count("num_steps", num_steps, 1)
        self.num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes, 1)
        in_channels = None if in_channels is None else check_count("in_channels", in_channels, 1)
        self.in_channels = in_channels
        if "flatten" in self.kinds and num_nodes is None:
            raise InputError("num_nodes: flatten needs the number of nodes of the shared graph.")
        learned = {"attention", "set2set"} & set(self.kinds)
        if learned and in_channels is None:
            raise InputError(f"in_channels: {learned.pop()} has weights, so it needs the number of channels.")
        if "attention" in self.kinds:
            self.gate = nn.Linear(in_channels or 0, 1)
        if "set2set" in self.kinds:
            self.lstm = nn.LSTMCell(2 * (in_channels or 0), in_channels or 0)

    @property
    def is_by_channel(self) -> bool:
        """Whether each channel of the output is read from that channel of h alone."""
        return set(self.kinds) <= {"mean", "sum", "max"}

    def width(self, channels: int) -> int:
        """Columns of the output for `channels` of h."""
        check_count("channels", channels, 1)
        factor = {"set2set": 2, "sort": self.k, "flatten": self.num_nodes or 0}
        return channels * sum(factor.get(kind, 1) for kind in self.kinds)

    def forward(self, h: Tensor, batch: Any = None) -> Tensor:
        self._check(h, batch)
        if h.dim() == 3:
            return self._read_signals(h)
        p = matrix_of(batch, h)
        if p.shape[1] != h.shape[0]:
            raise InputError(f"batch: is of {p.shape[1]} nodes, but h has {h.shape[0]} rows.")
        if not p.shape[0]:
            raise InputError("batch: holds no graph, so there is nothing to read out.")
        return self._read(h, p)

    def _check(self, h: Tensor, batch: Any) -> None:
        check_dense("h", h)
        for weight in self.parameters():
            check_like("h", h, weight)
        if {"attention", "set2set"} & set(self.kinds) and h.shape[-1:] != (self.in_channels,):
            raise InputError(
                f"h: got shape {tuple(h.shape)}, but the readout was made for in_channels={self.in_channels}."
            )
        is_signals = h.dim() == 3 and batch is None
        if h.dim() != 2 and not is_signals:
            raise InputError(
                f"h: got shape {tuple(h.shape)}, expected [num_nodes, C], or [batch, num_nodes, C] with no batch."
            )
        if "flatten" in self.kinds:
            if not is_signals:
                raise InputError(
                    f"h: got shape {tuple(h.shape)}, but flatten takes [batch, num_nodes, C] on one shared graph."
                )
            if h.shape[1] != self.num_nodes:
                raise InputError(f"h: has {h.shape[1]} nodes, but the readout was made for num_nodes={self.num_nodes}.")

    def _read_signals(self, h: Tensor) -> Tensor:
        """Of signals on one shared graph: without P where that is possible, else as graphs of one size in a batch."""
        size = h.shape[1]
        if size and set(self.kinds) <= set(_ON_SIGNALS):
            return torch.cat([_ON_SIGNALS[kind](h) for kind in self.kinds], 1)
        ptr = size * torch.arange(h.shape[0] + 1, device=h.device)
        return self._read(h.flatten(0, 1), consecutive(ptr, dtype=h.dtype))

    def _read(self, h: Tensor, p: SparseMatrix) -> Tensor:
        p = p.to(torch.promote_types(h.dtype, torch.float32))
        num_graphs, width = p.shape[0], self.width(h.shape[1]) if h.shape[1] else 0
        check_large(
            "batch", f"a readout of {num_graphs:,} graphs and {width:,} columns", num_graphs * width * p.value.element_size(),
            h.device, "number the graphs from 0, and take a smaller k.",
        )  # fmt: skip
        return torch.cat([getattr(self, f"_{kind}")(h, p) for kind in self.kinds], 1)

    def _sum(self, h: Tensor, p: SparseMatrix) -> Tensor:
        return p @ h

    def _mean(self, h: Tensor, p: SparseMatrix) -> Tensor:
        if h.dtype == p.dtype:
            return p.row_normalized() @ h
        total = p.row_sums()  # of 16-bit h: the sum has more bits than a share of 1 has
        return ((p @ h) / torch.where(total == 0, 1, total).unsqueeze(1)).to(h.dtype)

    def _max(self, h: Tensor, p: SparseMatrix) -> Tensor:
        return segment_max(h[p.col.long()], p)

    def _flatten(self, h: Tensor, p: SparseMatrix) -> Tensor:
        return h.reshape(p.shape[0], (self.num_nodes or 0) * h.shape[1])

    def _attention(self, h: Tensor, p: SparseMatrix) -> Tensor:
        score = self.gate(h)[p.col.long()]
        return p.with_value(segment_softmax(score, p).squeeze(1)) @ h

    def _set2set(self, h: Tensor, p: SparseMatrix) -> Tensor:
        state = h.new_zeros(p.shape[0], h.shape[1]), h.new_zeros(p.shape[0], h.shape[1])
        read = h.new_zeros(p.shape[0], 2 * h.shape[1])
        nodes = h[p.col.long()]
        for _ in range(self.num_steps):
            state = self.lstm(read, state)
            query = state[0]
            weight = segment_softmax((nodes * query[p.row]).sum(1, keepdim=True), p).squeeze(1)
            read = torch.cat([query, p.with_value(weight) @ h], 1)
        return read

    def _sort(self, h: Tensor, p: SparseMatrix) -> Tensor:
        order = _order_by_score(h[p.col.long(), -1], p)
        rank = torch.arange(p.nnz, device=h.device) - p.rowptr.long()[p.row]
        keep = rank < self.k
        out = h.new_zeros(p.shape[0], self.k, h.shape[1])
        return out.index_put((p.row[keep], rank[keep]), h[p.col.long()[order][keep]]).flatten(1)


def _order_by_score(score: Tensor, p: SparseMatrix) -> Tensor:
    """Positions of P's entries, graph by graph, the largest score first; ties keep their order."""
    order = score.argsort(descending=True, stable=True)
    return order[p.row[order].argsort(stable=True)]


class Pooled(NamedTuple):
    """A smaller graph: features [num_kept, C], adjacency [num_kept, num_kept], P of the kept nodes, and their ids."""

    h: Tensor
    adjacency: SparseMatrix
    batch: SparseMatrix
    nodes: Tensor


class TopKPool(nn.Module):
    """Keep the share `ratio` of each graph's nodes that score highest along a learned direction (Gao & Ji 2019).

        s = H w / |w|,   kept = the ceil(ratio * num_nodes) largest of each graph,   H' = H[kept] * tanh(s[kept]),
        A' = A[kept, kept]

    Args:
        in_channels: C.
        ratio: between 0 (exclusive) and 1.

    Shapes:
        h: [num_nodes, C]; adjacency: SparseMatrix [num_nodes, num_nodes]; batch: as `Readout` takes it.
    """

    def __init__(self, in_channels: int, ratio: float = 0.5) -> None:
        super().__init__()
        self.ratio = check_number("ratio", ratio, above=0, most=1)
        bound = 1 / math.sqrt(check_count("in_channels", in_channels, 1))
        self.weight = nn.Parameter(torch.empty(in_channels).uniform_(-bound, bound))

    def forward(self, h: Tensor, adjacency: SparseMatrix, batch: Any = None) -> Pooled:
        check_dense("h", h)
        check_like("h", h, self.weight)
        p = matrix_of(batch, h)
        n = h.shape[0]
        if not isinstance(adjacency, SparseMatrix):
            raise InputTypeError(
                f"adjacency: got {type(adjacency).__name__}, expected a SparseMatrix; from_dense makes one."
            )
        if h.dim() != 2 or h.shape[1] != len(self.weight) or p.shape[1] != n or adjacency.shape != (n, n):
            raise InputError(
                f"h, adjacency and batch: got shapes {tuple(h.shape)}, {adjacency.shape} and {p.shape[1]} nodes, expected "
                f"[num_nodes, {len(self.weight)}], [num_nodes, num_nodes] and num_nodes."
            )
        score = h @ self.weight / self.weight.norm()
        order = _order_by_score(score[p.col.long()], p)
        rank = torch.arange(p.nnz, device=h.device) - p.rowptr.long()[p.row]
        # 0.28 * 25 is 7.000000000000001 in floating point; keep 7, not 8.
        limit = (self.ratio * p.rowptr.diff().double() * (1 - 1e-12)).ceil().long()
        nodes = p.col.long()[order][rank < limit[p.row]].sort().values
        kept = h[nodes] * score[nodes].tanh().unsqueeze(1)
        return Pooled(kept, adjacency.select_rows(nodes).select_cols(nodes), p.select_cols(nodes), nodes)


class ClusterPool(nn.Module):
    """A graph of clusters: H' = S^T H, A' = S^T A S, for an assignment S [num_nodes, num_clusters].

    S is either given, a SparseMatrix of hard or soft assignments as in a coarsening, or a dense softmax that a network
    learns, as in DiffPool (Ying et al. 2018). `losses` gives that paper's two auxiliary terms.
    """

    def forward(self, h: Tensor, adjacency: Any, assignment: Any) -> tuple[Tensor, Any]:
        """(H' [num_clusters, C], A' [num_clusters, num_clusters]); A' is dense if S is."""
        if assignment.shape[0] != h.shape[-2]:
            raise InputError(f"assignment: has {assignment.shape[0]} rows, but h has {h.shape[-2]} nodes.")
        transposed = assignment.T
        return transposed @ h, transposed @ (adjacency @ assignment)

    @staticmethod
    def losses(adjacency: Any, assignment: Tensor) -> tuple[Tensor, Tensor]:
        """(|A - S S^T|_F / num_nodes^2, mean entropy of the rows of S), for a dense S."""
        dense = adjacency.to_dense() if isinstance(adjacency, SparseMatrix) else adjacency
        link = (dense - assignment @ assignment.T).norm() / dense.numel()
        entropy = -(assignment * (assignment + 1e-15).log()).sum(-1).mean()
        return link, entropy
