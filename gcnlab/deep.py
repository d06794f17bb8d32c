"""Remedies for deep graph networks, whose nodes grow alike: DropEdge, DropNode, PairNorm, jumping knowledge.

The others are one line each in a model: a residual `h = h + conv(norm(h).relu(), a_hat)`, with
`torch.nn.LayerNorm(C)` or `torch.nn.BatchNorm1d(C)` as norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_choice, check_count, check_depth, check_flag, check_number, check_probability
from .errors import InputError
from .layers import dropout
from .layers.norm import graph_means
from .layers.operators import check_x
from .sparse import Features, SparseMatrix


def drop_edge(adjacency: SparseMatrix, p: float = 0.5, training: bool = True, pairs: bool = True) -> SparseMatrix:
    """A without a random share of its edges, drawn again at each call (DropEdge, Rong et al. 2020, equation 1).

    The paper normalises the edges that are left: `Graph(drop_edge(graph.adjacency, p)).a_hat` is the matrix of one
    training step. Values are kept, so `drop_edge(graph.a_hat, p)` is not normalised.

    Args:
        adjacency: [num_nodes, num_nodes].
        p: probability of dropping an edge.
        training: otherwise A is returned as it is.
        pairs: whether (i, j) and (j, i) stay or go together, so that an undirected graph stays undirected; with False
            each entry is drawn by itself.

    Raises:
        InputError: p is no probability, or pairs=True and some (i, j) has no (j, i).

    >>> edges = SparseMatrix.from_dense([[0.0, 1.0], [1.0, 0.0]])
    >>> [drop_edge(edges, 0.5).nnz in (0, 2) for _ in range(3)]
    [True, True, True]
    """
    p = check_probability("p", p)
    check_flag("pairs", pairs)
    if not check_flag("training", training) or p == 0:
        return adjacency
    left = adjacency.select_entries(kept_edges(adjacency, p, pairs))
    return left.mark_symmetric() if pairs and adjacency.T is adjacency else left


def kept_edges(adjacency: SparseMatrix, p: float, pairs: bool) -> Tensor:
    """bool [nnz]: which entries `drop_edge` keeps, drawn again at each call."""
    p = check_probability("p", p)
    check_flag("pairs", pairs)
    coin = torch.rand(adjacency.nnz, device=adjacency.device)
    if pairs:
        # A symmetric pattern is its own transpose, so entry e of the transpose is the number of e's partner.
        t = adjacency.with_value(torch.arange(adjacency.nnz, device=adjacency.device)).T
        if not (torch.equal(t.rowptr, adjacency.rowptr) and torch.equal(t.col, adjacency.col)):
            raise InputError(
                "adjacency: some entry (i, j) has no (j, i); pass pairs=False, or graph.to_undirected().adjacency."
            )
        coin = torch.where(adjacency.row <= adjacency.col, coin, coin[t.value])
    return coin >= p


def drop_node(x: Features, p: float = 0.5, training: bool = True) -> Features:
    """Zero each row of x with probability p and divide the others by 1 - p (DropNode, Feng et al. 2020, section 3.1).

    Args:
        x: [num_nodes, C], dense or SparseMatrix, or [batch, num_nodes, C].
        p: a probability between 0 and 1.
        training: otherwise x is returned as it is.
    """
    p = check_probability("p", p)
    if not check_flag("training", training) or p == 0:
        return x
    check_x(x)
    factor: Any = dropout(torch.ones(x.shape[:-1], dtype=x.dtype, device=x.device), p)
    return x.scale(rows=factor) if isinstance(x, SparseMatrix) else x * factor.unsqueeze(-1)


def pair_norm(h: Tensor, scale: float = 1.0, eps: float = 1e-5, batch: Any = None) -> Tensor:
    """Keep the mean squared distance of node pairs at 2 scale² (PairNorm, Zhao & Akoglu 2020, equations 10 and 11).

        h' = scale (h_i - m) / sqrt(mean_j |h_j - m|² + eps),   m = mean_j h_j

    h is [num_nodes, C], or [batch, num_nodes, C] with each graph of the batch by itself. `batch`, as `Readout` takes it,
    says which node is of which graph, where there are several: means are those of a node's graph.

    >>> pair_norm(torch.tensor([[1.0], [3.0]]), eps=0.0)
    tensor([[-1.],
            [ 1.]])
    """
    scale, eps = check_number("scale", scale, above=0), check_number("eps", eps, least=0)
    h = h - graph_means(h, batch)
    return scale * h * (graph_means(h.square().sum(-1, keepdim=True), batch) + eps).rsqrt()


class PairNorm(nn.Module):
    """`pair_norm` as a module, which has no weights.

    >>> PairNorm(eps=0.0)(torch.tensor([[1.0], [3.0], [10.0], [20.0]]), torch.tensor([0, 0, 1, 1])).tolist()
    [[-1.0], [1.0], [-1.0], [1.0]]
    """

    def __init__(self, scale: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale, self.eps = check_number("scale", scale, above=0), check_number("eps", eps, least=0)

    def forward(self, h: Tensor, batch: Any = None) -> Tensor:
        return pair_norm(h, self.scale, self.eps, batch)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, eps={self.eps}"


class JumpingKnowledge(nn.Module):
    """One representation per node from those of all layers (Xu et al. 2018, section 4).

        cat: [h_1, ..., h_L]      max: max_l h_l, channel by channel
        lstm: sum_l softmax_l(w . LSTM(h_1, ..., h_L)_l + b) h_l, a bidirectional LSTM over the layers of each node

    Args:
        kind: "cat", "max" or "lstm".
        channels: C, which "lstm" needs.
        num_layers: L, which "lstm" needs; each direction of it has L C / 2 hidden channels.

    Shapes:
        hs: L tensors [..., num_nodes, C]; "lstm" takes only [num_nodes, C].
        output: [..., num_nodes, L C] for "cat", else [..., num_nodes, C].

    >>> JumpingKnowledge("max")([torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 3.0]])])
    tensor([[2., 5.]])
    """

    def __init__(self, kind: str = "cat", channels: int | None = None, num_layers: int | None = None) -> None:
        super().__init__()
        self.kind = check_choice("kind", kind, ("cat", "max", "lstm"))
        channels = None if channels is None else check_count("channels", channels, 1)
        num_layers = None if num_layers is None else check_depth(num_layers)
        if kind == "lstm":
            if channels is None or num_layers is None:
                raise InputError('channels, num_layers: kind="lstm" has weights, so it needs both.')
            hidden = num_layers * channels // 2
            self.lstm = nn.LSTM(channels, hidden, bidirectional=True, batch_first=True)
            self.score = nn.Linear(2 * hidden, 1)

    def forward(self, hs: Sequence[Tensor]) -> Tensor:
        if self.kind == "cat":
            return torch.cat(list(hs), -1)
        if self.kind == "max":
            return torch.stack(list(hs)).amax(0)
        h = torch.stack(list(hs), 1)  # [num_nodes, L, C]
        return (self.score(self.lstm(h)[0]).softmax(1) * h).sum(1)
