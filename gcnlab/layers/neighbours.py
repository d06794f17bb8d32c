"""Convolutions that aggregate neighbours: their mean or maximum, their sum, their sum weighted by attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_choice, check_count, check_flag, check_number, check_probability
from ..errors import InputTypeError
from ..segments import neighbour_max, segment_softmax_reference
from ..sparse import Features, SparseMatrix
from ..sparse.kinds import NORMALIZED
from .affine import glorot_uniform, linear, plus
from .drop import dropout
from .operators import check_operands, check_pattern

_MEANS = frozenset(kind for kind, (_, norm) in NORMALIZED.items() if norm == "rw")


class SAGEConv(nn.Module):
    """GraphSAGE (Hamilton et al. 2017, algorithm 1, lines 4 and 5, without its activation).

        H' = H W_root + N W + b,   mean: N = D^-1 A H      max: n_i = max_{j: A_ij stored} h_j, 0 where there is none

    The paper has one weight for the concatenation [h_i, n_i]: W_root on top of W. Its max-pooling aggregator (equation 3)
    maps the h_j by a layer before taking their maximum; "max" does not.

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        aggregate: "mean" or "max".
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense, or for the mean also a SparseMatrix; or [batch, num_nodes, in_channels].
        operator: [num_nodes, num_nodes]. mean: `graph.normalize(None, "rw")`, which is D^-1 A. max: a SparseMatrix
            whose values are not read, `graph.adjacency`.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    If several neighbours share the maximum, the first one gets its gradient.

    >>> SAGEConv(2, 3, "max")(torch.ones(5, 2), SparseMatrix.eye(5)).shape
    torch.Size([5, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, aggregate: str = "mean", bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.aggregate = check_choice("aggregate", aggregate, ("mean", "max"))
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.root_weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def operator(self) -> str | tuple[str, ...]:
        """The maximum does not read the values, so any matrix with the entries of A will do."""
        return "random_walk" if self.aggregate == "mean" else ("adjacency", "random_walk", "normalize(None, 'sym')")

    @property
    def accepts(self) -> frozenset[str]:
        """Means that include the node itself."""
        return _MEANS if self.aggregate == "mean" else frozenset()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, zero bias."""
        glorot_uniform(self.weight)
        glorot_uniform(self.root_weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, operator: Any) -> Tensor:
        check_operands(self, x, operator, "operator")
        h = linear(x, self.root_weight) + self._neighbours(x, operator)  # H W_root + N W
        return plus(h, self.bias)

    def _neighbours(self, x: Features, operator: Any) -> Tensor:
        """N W."""
        if self.aggregate == "mean":
            return operator @ linear(x, self.weight)
        if isinstance(x, SparseMatrix):
            raise InputTypeError('x: got a SparseMatrix, expected a tensor for aggregate="max"; use x.to_dense().')
        return linear(neighbour_max(x, check_pattern("operator", operator)), self.weight)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggregate={self.aggregate!r}"


class GINConv(nn.Module):
    """The graph isomorphism network (Xu et al. 2019, equation 4.1), its MLP of two layers as in the paper.

        H' = relu(norm((1 + ε) H W_1 + A H W_1 + b_1)) W_2 + b_2

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        hidden_channels: width of the MLP; by default out_channels.
        eps: initial ε; the paper's GIN-0 keeps it at 0.
        train_eps: whether ε is learned.
        norm: "batch", as in the paper's experiments, or None.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        adjacency: [num_nodes, num_nodes], `graph.adjacency`: neither normalised nor with added loops.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> GINConv(2, 3)(torch.ones(5, 2), torch.eye(5)).shape
    torch.Size([5, 3])
    """

    operator, accepts = "adjacency", frozenset({"a_tilde", "normalize('add', None)"})  # sums with another ε

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int | None = None,
        eps: float = 0.0,
        train_eps: bool = False,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        hidden_channels = out_channels if hidden_channels is None else hidden_channels
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        self.hidden_channels = check_count("hidden_channels", hidden_channels, 1)
        check_choice("norm", norm, ("batch", None))
        self.weight = nn.Parameter(torch.empty(in_channels, hidden_channels))
        self.bias = nn.Parameter(torch.empty(hidden_channels))
        self.norm = nn.BatchNorm1d(hidden_channels) if norm else None
        self.out = nn.Linear(hidden_channels, out_channels)
        eps = check_number("eps", eps)
        self.eps = nn.Parameter(torch.tensor(eps)) if check_flag("train_eps", train_eps) else eps
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, zero biases; ε stays as it is."""
        for weight, bias in ((self.weight, self.bias), (self.out.weight, self.out.bias)):
            glorot_uniform(weight)
            nn.init.zeros_(bias)
        if self.norm is not None:
            self.norm.reset_parameters()

    def forward(self, x: Features, adjacency: Any) -> Tensor:
        check_operands(self, x, adjacency, "adjacency")
        xw = linear(x, self.weight)  # before the sum, so that A meets hidden_channels columns and X may be sparse
        h = (1 + self.eps) * xw + adjacency @ xw + self.bias
        if self.norm is not None:
            h = self.norm(h.flatten(0, -2)).view(h.shape)  # over the nodes of a whole batch
        return self.out(h.relu())

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, hidden_channels={self.hidden_channels}"


class GATConv(nn.Module):
    """The graph attention layer (Veličković et al. 2018, equations 1 to 6, without its activation).

        s_ij = leaky_relu(a_target . W h_i + a_source . W h_j),   α_ij = exp(s_ij) / sum_{k in N(i)} exp(s_ik)
        h'_i = sum_{j in N(i)} α_ij W h_j + b,   for each head; the heads side by side, or their mean

    Args:
        in_channels: columns of H.
        out_channels: columns of one head.
        num_heads: independent attentions.
        concat: whether the heads are concatenated (equation 5) or averaged (equation 6, for a last layer).
        dropout: probability of zeroing an α_ij, in training.
        negative_slope: slope of the leaky relu below 0.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        a_tilde: SparseMatrix [num_nodes, num_nodes], `graph.a_tilde`. Its pattern says who is a neighbour, with a loop
            at each node; its values are not read. A node without any entry gets the output b.
        output: [num_nodes, width] or [batch, num_nodes, width]; width = num_heads * out_channels, or out_channels.

    >>> GATConv(2, 3, num_heads=4)(torch.ones(5, 2), SparseMatrix.eye(5)).shape
    torch.Size([5, 12])
    """

    operator = "a_tilde", "a_hat", "laplacian", "l_tilde"  # which have the same entries
    accepts = frozenset(NORMALIZED)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.num_heads, self.concat = check_count("num_heads", num_heads, 1), check_flag("concat", concat)
        self.dropout = check_probability("dropout", dropout)
        self.negative_slope = check_number("negative_slope", negative_slope, least=0)
        self.weight = nn.Parameter(torch.empty(in_channels, num_heads * out_channels))
        self.source = nn.Parameter(torch.empty(num_heads, out_channels))
        self.target = nn.Parameter(torch.empty(num_heads, out_channels))
        self.bias = nn.Parameter(torch.empty(num_heads * out_channels if concat else out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights and attention vectors, zero bias."""
        for weight in (self.weight, self.source, self.target):
            glorot_uniform(weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, a_tilde: SparseMatrix) -> Tensor:
        check_operands(self, x, a_tilde, "a_tilde")
        check_pattern("a_tilde", a_tilde)
        p = self.dropout if self.training else 0.0
        h = attended(
            linear(x, self.weight), self.source, self.target, a_tilde, self.negative_slope, p
        )  # sum_j α_ij W h_j
        if not self.concat:
            h = h.unflatten(-1, (self.num_heads, self.out_channels)).mean(-2)
        return plus(h, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, concat={self.concat}"


def attended(
    h: Tensor, source: Tensor, target: Tensor, pattern: SparseMatrix, negative_slope: float = 0.2, p: float = 0.0
) -> Tensor:
    """sum_{j in N(i)} α_ij h_j for each head, the heads side by side.

        α_ij = softmax over j of leaky_relu(a_target . h_i + a_source . h_j)

    Args:
        h: [num_nodes, num_heads * C] or [batch, num_nodes, num_heads * C].
        source, target: [num_heads, C].
        pattern: its entries say who is a neighbour.
        negative_slope: of the leaky relu.
        p: probability of dropping an α_ij.
    """
    if h.dim() == 3:  # each signal has attention of its own, so there is nothing to share but the pattern
        signals = [attended(signal, source, target, pattern, negative_slope, p) for signal in h]
        return torch.stack(signals or [h.new_zeros(h.shape[1:])])[: h.shape[0]]
    # One head at a time: gathering and scattering [nnz] scores as vectors is several times faster than as rows of a
    # [nnz, num_heads] matrix, and only one head's scores are in memory.
    wide = torch.promote_types(h.dtype, torch.float32)
    heads = h.split(source.shape[1], -1)
    sources = [(head @ a).to(wide) for head, a in zip(heads, source, strict=True)]
    targets = [(head @ a).to(wide) for head, a in zip(heads, target, strict=True)]
    # A softmax does not change with what is subtracted from its scores. The largest score of a row keeps exp from
    # overflowing, and needs no pass over the entries: leaky_relu is monotone.
    with torch.no_grad():
        most = neighbour_max(torch.stack(sources, -1), pattern).unbind(-1)
        largest = [F.leaky_relu(t + m, negative_slope) for t, m in zip(targets, most, strict=True)]
    row, col = pattern.row, pattern.col.long()
    out = []
    for head, s, t, shift in zip(heads, sources, targets, largest, strict=True):
        # index_select's derivative is several times as fast as that of [row]
        score = F.leaky_relu(t.index_select(0, row) + s.index_select(0, col), negative_slope)
        weight = (score - shift[row]).exp()
        # divide by their sum after the product: a pass over the nodes instead of the entries
        total = torch.zeros_like(t).index_add(0, row, weight) + (pattern.rowptr.diff() == 0)
        kept: Any = dropout(weight, p)
        out.append((pattern.with_value(kept) @ head / total.unsqueeze(1)).to(h.dtype))
    return torch.cat(out, -1)


def attended_reference(
    h: Tensor, source: Tensor, target: Tensor, pattern: SparseMatrix, negative_slope: float = 0.2, p: float = 0.0
) -> Tensor:
    """sum_{j in N(i)} α_ij h_j for each head by the definition, h [num_nodes, num_heads * C]."""
    row, col, ones = pattern.row, pattern.col.long(), pattern.with_value(torch.ones_like(pattern.value))
    out = []
    for head, a_source, a_target in zip(h.split(source.shape[1], -1), source, target, strict=True):
        score = F.leaky_relu((head @ a_target)[row] + (head @ a_source)[col], negative_slope)
        alpha: Any = dropout(segment_softmax_reference(score.unsqueeze(1), ones), p)
        out.append(torch.zeros_like(head).index_add(0, row, alpha * head[col]))
    return torch.cat(out, -1)
