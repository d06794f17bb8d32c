"""The other graph convolutions of the field, each with the matrix it propagates by as its second argument.

As in `layers`: a layer holds weights alone and caches nothing; x is [num_nodes, C] or [batch, num_nodes, C] on one shared
graph, and may be a SparseMatrix wherever its first product is one with a weight.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_choice, check_dense, check_flag, check_number, check_probability
from .errors import InputError, InputTypeError
from .graph import NORMALIZED, Features
from .layers import check_operands, dropout, glorot_uniform, warn_if_of_another_kind
from .propagate import propagate
from .sparse import SparseMatrix, check_count

_MEANS = frozenset(kind for kind, (_, norm) in NORMALIZED.items() if norm == "rw")


class ChebConv(nn.Module):
    """A polynomial of the graph's Laplacian as filter (Defferrard et al. 2016, equation 4; Kipf & Welling 2017, eq. 5).

        H' = sum_{k<K} T_k(L̃) H W_k + b,   T_0(L̃) = I,   T_1(L̃) = L̃,   T_k(L̃) = 2 L̃ T_{k-1}(L̃) - T_{k-2}(L̃)

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        num_terms: K, at least 1; a node then sees those up to K - 1 edges away.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        l_tilde: [num_nodes, num_nodes], `graph.l_tilde()`: the spectrum must lie in [-1, 1].
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> ChebConv(2, 3, num_terms=4)(torch.ones(5, 2), -torch.eye(5)).shape
    torch.Size([5, 3])
    """

    operator, accepts = "l_tilde", frozenset({"normalize(None, 'sym')"})  # which is -L̃ of λ_max = 2

    def __init__(self, in_channels: int, out_channels: int, num_terms: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.num_terms = check_count("num_terms", num_terms, 1)
        self.weight = nn.Parameter(torch.empty(num_terms, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, one by one; zero bias."""
        for weight in self.weight:
            glorot_uniform(weight.data)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, l_tilde: Any) -> Tensor:
        _check_square(x, l_tilde, self.in_channels, self.weight, "l_tilde")
        warn_if_of_another_kind(self, l_tilde)
        # Clenshaw's recurrence, from the last term down: the same sum, with the products by the weights first, so that
        # X may be sparse and L̃ meets out_channels columns.
        #     C_k = X W_k + 2 L̃ C_{k+1} - C_{k+2},   H' = X W_0 + L̃ C_1 - C_2
        xw = [x @ weight for weight in self.weight]
        h = xw[-1]
        if self.num_terms > 1:
            after: Tensor | None = None  # C_{k+2}, zero at first
            for term in reversed(xw[1:-1]):
                c = term + 2 * (l_tilde @ h)
                h, after = (c if after is None else c - after), h
            h = xw[0] + l_tilde @ h
            h = h if after is None else h - after
        return h if self.bias is None else h + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_terms={self.num_terms}"


class SGConv(nn.Module):
    """The simplified graph convolution (Wu et al. 2019, equation 8, before its softmax): a linear model of Â^K X.

        H' = Â^K H W + b

    Where X is constant, Â^K X can be computed once: `propagate(graph.x, graph.a_hat, K)` is then the x of a layer with
    num_hops=0, which has the same weights and does not read its matrix.

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        num_hops: K.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        a_hat: [num_nodes, num_nodes], `graph.a_hat`.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> x, a_hat = torch.ones(2, 4), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> layer, precomputed = SGConv(4, 3, num_hops=2), SGConv(4, 3, num_hops=0)
    >>> _ = precomputed.load_state_dict(layer.state_dict())
    >>> torch.allclose(precomputed(propagate(x, a_hat, 2), a_hat), layer(x, a_hat))
    True
    """

    operator, accepts = "a_hat", frozenset(NORMALIZED)

    def __init__(self, in_channels: int, out_channels: int, num_hops: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.num_hops = check_count("num_hops", num_hops)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weight, zero bias."""
        glorot_uniform(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, a_hat: Any) -> Tensor:
        _check_square(x, a_hat, self.in_channels, self.weight, "a_hat")
        warn_if_of_another_kind(self, a_hat)
        h: Any = propagate(x @ self.weight, a_hat, self.num_hops)
        return h if self.bias is None else h + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_hops={self.num_hops}"


class APPNP(nn.Module):
    """Personalised PageRank of predictions, by power iteration (Gasteiger et al. 2019, equation 4). It has no weights.

        Z_0 = H,   Z_{k+1} = (1 - α) Â Z_k + α H,   H' = Z_K

    Args:
        num_iterations: K.
        alpha: α, the teleport probability, from 0 to 1.
        dropout: probability of zeroing an entry of Â, in training, drawn anew for each iteration.

    Shapes:
        h: [num_nodes, C] or [batch, num_nodes, C], dense: the output of an MLP.
        a_hat: [num_nodes, num_nodes], `graph.a_hat`; a SparseMatrix where there is dropout.
        output: as h.

    >>> APPNP(num_iterations=1, alpha=0.5)(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([[2.],
            [2.]])
    """

    operator, accepts = "a_hat", frozenset(NORMALIZED)

    def __init__(self, num_iterations: int = 10, alpha: float = 0.1, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_iterations = check_count("num_iterations", num_iterations)
        self.alpha, self.dropout = check_probability("alpha", alpha), check_probability("dropout", dropout)

    def forward(self, h: Tensor, a_hat: Any) -> Tensor:
        if not isinstance(h, Tensor):
            raise InputTypeError(
                f"h: got {type(h).__name__}, expected a tensor: the predictions of a model, not its features."
            )
        check_dense("h", h)
        _check_square(h, a_hat, h.shape[-1], h, "a_hat")
        warn_if_of_another_kind(self, a_hat)
        drops = self.training and self.dropout > 0
        if drops and not isinstance(a_hat, SparseMatrix):
            raise InputTypeError(
                f"a_hat: got {type(a_hat).__name__}, expected a SparseMatrix where dropout={self.dropout}."
            )
        z = h
        for _ in range(self.num_iterations):
            z = _lerp((dropout(a_hat, self.dropout) if drops else a_hat) @ z, h, self.alpha)
        return z

    def extra_repr(self) -> str:
        return f"num_iterations={self.num_iterations}, alpha={self.alpha}, dropout={self.dropout}"


class GCN2Conv(nn.Module):
    """A layer of GCNII (Chen et al. 2020, equation 5, without its activation): it keeps the input near at any depth.

        H' = ((1 - α) Â H + α H_0) ((1 - β) I + β W),   β = log(θ / l + 1)

    Args:
        channels: columns of H, H_0 and H'.
        layer: l, the number of the layer, from 1.
        alpha: α, the share of the first representation, from 0 to 1.
        theta: θ (the paper's λ).

    Shapes:
        x: [num_nodes, channels] or [batch, num_nodes, channels], dense.
        a_hat: [num_nodes, num_nodes], `graph.a_hat`.
        x_0: as x: what the first of these layers took.
        output: as x.

    >>> GCN2Conv(3, layer=1)(torch.ones(5, 3), torch.eye(5), torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    operator, accepts = "a_hat", frozenset(NORMALIZED)

    def __init__(self, channels: int, layer: int, alpha: float = 0.1, theta: float = 0.5) -> None:
        super().__init__()
        self.channels, self.alpha = check_count("channels", channels, 1), check_probability("alpha", alpha)
        self.beta = math.log(check_number("theta", theta, least=0) / check_count("layer", layer, 1) + 1)
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weight."""
        glorot_uniform(self.weight)

    def forward(self, x: Tensor, a_hat: Any, x_0: Tensor) -> Tensor:
        _check_square(x, a_hat, self.channels, self.weight, "a_hat")
        warn_if_of_another_kind(self, a_hat)
        if x_0.shape != x.shape:
            raise InputError(f"x_0: got shape {tuple(x_0.shape)}, expected {tuple(x.shape)}, the shape of x.")
        h = _lerp(a_hat @ x, x_0, self.alpha)
        return _lerp(h, h @ self.weight, self.beta)

    def extra_repr(self) -> str:
        return f"{self.channels}, alpha={self.alpha}, beta={self.beta:.4g}"


class SAGEConv(nn.Module):
    """GraphSAGE (Hamilton et al. 2017, algorithm 1, lines 4 and 5, without its activation).

        H' = H W_root + N W + b,   mean: N = D^-1 A H      max: n_i = max_{j: A_ij stored} h_j, 0 where there is none

    The paper's one weight on the concatenation [h_i, n_i] is W_root above W. Its max-pooling aggregator (equation 3) maps
    the h_j by a layer before their maximum; "max" does not.

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        aggregate: "mean" or "max".
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense, or SparseMatrix where it is the mean; or [batch, num_nodes, in_channels].
        operator: [num_nodes, num_nodes]. mean: `graph.normalize(None, "rw")`, which is D^-1 A. max: a SparseMatrix
            whose values are not read, `graph.adjacency`.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    Of equal largest neighbours the first has the gradient of their maximum.

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
        """The maximum does not read the values: any matrix with the entries of A will do."""
        return "random_walk" if self.aggregate == "mean" else ("adjacency", "random_walk", "normalize(None, 'sym')")

    @property
    def accepts(self) -> frozenset[str]:
        """Means that count the node itself."""
        return _MEANS if self.aggregate == "mean" else frozenset()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, zero bias."""
        glorot_uniform(self.weight)
        glorot_uniform(self.root_weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, operator: Any) -> Tensor:
        _check_square(x, operator, self.in_channels, self.weight, "operator")
        warn_if_of_another_kind(self, operator)
        if self.aggregate == "mean":
            neighbours = operator @ (x @ self.weight)
        else:
            if isinstance(x, SparseMatrix):
                raise InputTypeError('x: got a SparseMatrix, expected a tensor for aggregate="max"; use x.to_dense().')
            neighbours = neighbour_max(x, _check_pattern("operator", operator)) @ self.weight
        h = x @ self.root_weight + neighbours
        return h if self.bias is None else h + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggregate={self.aggregate!r}"


class GINConv(nn.Module):
    """The graph isomorphism network (Xu et al. 2019, equation 4.1), its MLP of two layers as in the paper.

        H' = relu(norm((1 + ε) H W_1 + A H W_1 + b_1)) W_2 + b_2

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        hidden_channels: width of the MLP; by default out_channels.
        eps: ε, what it starts at; the paper's GIN-0 keeps it at 0.
        train_eps: whether ε is learned.
        norm: "batch", as in the paper's experiments, or None.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        adjacency: [num_nodes, num_nodes], `graph.adjacency`: neither normalised nor with added loops.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> GINConv(2, 3)(torch.ones(5, 2), torch.eye(5)).shape
    torch.Size([5, 3])
    """

    operator, accepts = "adjacency", frozenset({"a_tilde", "normalize('add', None)"})  # sums, of another ε

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
        """Glorot-uniform weights, zero biases; ε stays."""
        for weight, bias in ((self.weight, self.bias), (self.out.weight, self.out.bias)):
            glorot_uniform(weight)
            nn.init.zeros_(bias)
        if self.norm is not None:
            self.norm.reset_parameters()

    def forward(self, x: Features, adjacency: Any) -> Tensor:
        _check_square(x, adjacency, self.in_channels, self.weight, "adjacency")
        warn_if_of_another_kind(self, adjacency)
        xw = x @ self.weight  # first, which the sum allows: A meets hidden_channels columns, and X may be sparse
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
        concat: whether the heads stand side by side (equation 5) or are averaged (equation 6, for a last layer).
        dropout: probability of zeroing an α_ij, in training.
        negative_slope: of the leaky relu.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        a_tilde: SparseMatrix [num_nodes, num_nodes], `graph.a_tilde`: its pattern says who is a neighbour, with a loop
            at each node; its values are not read. A node without any entry has the output b.
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
        _check_square(x, a_tilde, self.in_channels, self.weight, "a_tilde")
        warn_if_of_another_kind(self, a_tilde)
        pattern = _check_pattern("a_tilde", a_tilde)
        xw = x @ self.weight
        if xw.dim() == 3:  # each signal has attention of its own, so there is nothing to share but the pattern
            heads = [self._heads(h, pattern) for h in xw] or [xw.new_zeros(xw.shape[1:])]
            h = torch.stack(heads)[: xw.shape[0]]
        else:
            h = self._heads(xw, pattern)
        if not self.concat:
            h = h.unflatten(-1, (self.num_heads, self.out_channels)).mean(-2)
        return h if self.bias is None else h + self.bias

    def _heads(self, xw: Tensor, pattern: SparseMatrix) -> Tensor:
        """sum_j α_ij W h_j of all heads side by side, [num_nodes, num_heads * out_channels]."""
        # One head at a time: its [nnz] scores are gathered and scattered as vectors, several times faster than as
        # rows of a [nnz, num_heads] matrix, and only one head's are in the making.
        wide = torch.promote_types(xw.dtype, torch.float32)
        heads = xw.split(self.out_channels, -1)
        sources = [(h @ a).to(wide) for h, a in zip(heads, self.source, strict=True)]
        targets = [(h @ a).to(wide) for h, a in zip(heads, self.target, strict=True)]
        # The softmax of a row does not change with what is subtracted from its scores, and its largest score, which
        # keeps exp from overflowing, needs no pass over them: leaky_relu is monotone.
        with torch.no_grad():
            most = neighbour_max(torch.stack(sources, -1), pattern).unbind(-1)
            largest = [F.leaky_relu(t + m, self.negative_slope) for t, m in zip(targets, most, strict=True)]
        row, col = pattern.row, pattern.col.long()
        attended = [
            self._attend(*head, pattern, row, col) for head in zip(heads, sources, targets, largest, strict=True)
        ]
        return torch.cat(attended, -1)

    def _attend(
        self,
        h: Tensor,
        source: Tensor,
        target: Tensor,
        largest: Tensor,
        pattern: SparseMatrix,
        row: Tensor,
        col: Tensor,
    ) -> Tensor:
        # index_select's derivative is several times as fast as that of [row]
        score = F.leaky_relu(target.index_select(0, row) + source.index_select(0, col), self.negative_slope)
        weight = (score - largest[row]).exp()
        # Divided by their sum after the product: a pass over the nodes instead of the entries.
        total = torch.zeros_like(target).index_add(0, row, weight) + (pattern.rowptr.diff() == 0)
        kept: Any = dropout(weight, self.dropout, self.training)
        out = pattern.with_value(kept) @ h
        return (out / total.unsqueeze(1)).to(h.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_heads={self.num_heads}, concat={self.concat}"


def neighbour_max(x: Tensor, pattern: SparseMatrix) -> Tensor:
    """max over the entries j of each row i of x_j, [..., num_rows, C]; 0 for an empty row.

    Of x [num_cols, C] or [batch, num_cols, C] nothing of the size [nnz, C] is made. Of equal largest ones the first has
    the gradient.
    """
    if x.dim() == 3:  # one pattern for all signals: [batch, num_cols, C] -> [num_cols, batch * C]
        columns = x.movedim(1, 0)
        return neighbour_max(columns.flatten(1), pattern).unflatten(1, columns.shape[1:]).movedim(0, 1)
    largest = x.gather(0, _ArgMax.apply(pattern.rowptr, pattern.col, x.detach()))
    return torch.where((pattern.rowptr.diff() > 0).unsqueeze(1), largest, 0)


class _ArgMax(torch.autograd.Function):
    """The column of the entry of each row whose x is largest, [num_rows, C] int64; 0 for an empty row."""

    @staticmethod
    def forward(rowptr: Tensor, col: Tensor, x: Tensor) -> Tensor:
        largest = torch.embedding_bag(x, col, rowptr, False, 2, False, None, True)[3]  # bags of rows, their "max"
        return largest.long().clamp(min=0)  # on CUDA an empty bag says -1

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], rowptr: Tensor, col: Tensor, x: Tensor) -> tuple[Tensor, int]:
        assert in_dims[2] is not None
        columns = x.movedim(in_dims[2], 1)  # [num_cols, B, C]
        return _ArgMax.apply(rowptr, col, columns.flatten(1)).unflatten(1, columns.shape[1:]), 1


def _lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """(1 - share) start + share end, of which autocast may have given one in half precision."""
    dtype = torch.promote_types(start.dtype, end.dtype)
    return torch.lerp(start.to(dtype), end.to(dtype), share)


def _check_square(x: Any, operator: Any, in_channels: int, weight: Tensor, name: str) -> None:
    check_operands(x, operator, in_channels, weight, name)
    if operator.shape[0] != operator.shape[1]:
        raise InputError(f"{name}: got shape {tuple(operator.shape)}, expected a square matrix.")


def _check_pattern(name: str, operator: Any) -> SparseMatrix:
    if not isinstance(operator, SparseMatrix):
        raise InputTypeError(
            f"{name}: got {type(operator).__name__}, expected a SparseMatrix, whose entries say who is a neighbour; "
            "SparseMatrix.from_dense and from_torch make one."
        )
    return operator
