"""Convolutions by polynomials of a matrix: Chebyshev, powers, personalised PageRank, GCNII."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_count, check_dense, check_flag, check_number, check_probability
from ..errors import InputError, InputTypeError
from ..propagate import propagate
from ..sparse import Features, SparseMatrix
from ..sparse.kinds import NORMALIZED
from .affine import glorot_uniform, linear, plus
from .drop import dropout
from .operators import check_operands, check_propagated, warn_if_of_another_kind


class ChebConv(nn.Module):
    """A polynomial of the graph's Laplacian as filter (Defferrard et al. 2016, equation 4; Kipf & Welling 2017, eq. 5).

        H' = sum_{k<K} T_k(L̃) H W_k + b,   T_0(L̃) = I,   T_1(L̃) = L̃,   T_k(L̃) = 2 L̃ T_{k-1}(L̃) - T_{k-2}(L̃)

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        num_terms: K, at least 1; a node receives from nodes up to K - 1 edges away.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        l_tilde: [num_nodes, num_nodes], `graph.l_tilde()`: the spectrum must lie in [-1, 1].
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> ChebConv(2, 3, num_terms=4)(torch.ones(5, 2), -torch.eye(5)).shape
    torch.Size([5, 3])
    """

    operator, accepts = "l_tilde", frozenset({"normalize(None, 'sym')"})  # it equals -L̃ for λ_max = 2

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
        """Glorot-uniform weights, each with its own fans; zero bias."""
        for weight in self.weight:
            glorot_uniform(weight.data)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, l_tilde: Any) -> Tensor:
        check_operands(self, x, l_tilde, "l_tilde")
        h = chebyshev(l_tilde, [linear(x, weight) for weight in self.weight])  # sum_k T_k(L̃) X W_k
        return plus(h, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_terms={self.num_terms}"


def chebyshev(l_tilde: Any, terms: Sequence[Tensor]) -> Tensor:
    """sum_k T_k(L̃) Y_k of the terms Y_0 .. Y_{K-1}, by Clenshaw's recurrence, from the last term down.

        C_k = Y_k + 2 L̃ C_{k+1} - C_{k+2},   sum = Y_0 + L̃ C_1 - C_2

    With Y_k = X W_k the weights come first, so X may be sparse, and K - 1 products with L̃ meet out_channels columns.
    """
    h, after = terms[-1], None  # C_{K-1}, and C_K, which is zero
    for term in reversed(terms[1:-1]):
        c = term + 2 * (l_tilde @ h)
        h, after = (c if after is None else c - after), h
    if len(terms) > 1:
        h = terms[0] + l_tilde @ h
    return h if after is None else h - after


def chebyshev_reference(l_tilde: Any, terms: Sequence[Tensor]) -> Tensor:
    """sum_k T_k(L̃) Y_k by the definition of T_k."""

    def t(k: int, y: Tensor) -> Tensor:
        return y if k == 0 else l_tilde @ y if k == 1 else 2 * (l_tilde @ t(k - 1, y)) - t(k - 2, y)

    return torch.stack([t(k, y) for k, y in enumerate(terms)]).sum(0)


class SGConv(nn.Module):
    """The simplified graph convolution (Wu et al. 2019, equation 8, before its softmax): a linear model of Â^K X.

        H' = Â^K H W + b

    If X is constant, Â^K X can be computed once: pass `propagate(graph.x, graph.a_hat, K)` to a layer with num_hops=0,
    which has the same weights and does not read its matrix.

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
        check_operands(self, x, a_hat)
        h: Any = propagate(linear(x, self.weight), a_hat, self.num_hops)  # Â^K X W
        return plus(h, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_hops={self.num_hops}"


class APPNP(nn.Module):
    """Personalised PageRank of predictions by power iteration, without weights (Gasteiger et al. 2019, equation 4).

        Z_0 = H,   Z_{k+1} = (1 - α) Â Z_k + α H,   H' = Z_K

    Args:
        num_iterations: K.
        alpha: α, the teleport probability, from 0 to 1.
        dropout: probability of zeroing an entry of Â in training; each iteration draws its own mask.

    Shapes:
        h: [num_nodes, C] or [batch, num_nodes, C], dense: the output of an MLP.
        a_hat: [num_nodes, num_nodes], `graph.a_hat`; with dropout a SparseMatrix.
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
        self._check(h, a_hat)
        z = h
        for _ in range(self.num_iterations):
            z = _lerp(dropout(a_hat, self.dropout, self.training) @ z, h, self.alpha)  # (1 - α) Â Z + α H
        return z

    def _check(self, h: Any, a_hat: Any) -> None:
        if not isinstance(h, Tensor):
            raise InputTypeError(
                f"h: got {type(h).__name__}, expected a tensor: the predictions of a model, not its features."
            )
        check_dense("h", h)
        if h.dim() not in (2, 3):
            raise InputError(f"h: got shape {tuple(h.shape)}, expected [num_nodes, C] or [batch, num_nodes, C].")
        check_propagated(a_hat, h)
        warn_if_of_another_kind(self, a_hat)
        if self.training and self.dropout > 0 and not isinstance(a_hat, SparseMatrix):
            raise InputTypeError(
                f"a_hat: got {type(a_hat).__name__}, expected a SparseMatrix where dropout={self.dropout}."
            )

    def extra_repr(self) -> str:
        return f"num_iterations={self.num_iterations}, alpha={self.alpha}, dropout={self.dropout}"


class GCN2Conv(nn.Module):
    """A layer of GCNII (Chen et al. 2020, equation 5, without its activation): at any depth the input stays near.

        H' = ((1 - α) Â H + α H_0) ((1 - β) I + β W),   β = log(θ / l + 1)

    Args:
        channels: columns of H, H_0 and H'.
        layer: l, the layer's number, from 1.
        alpha: α, the share of the first representation, from 0 to 1.
        theta: θ (the paper's λ).

    Shapes:
        x: [num_nodes, channels] or [batch, num_nodes, channels], dense.
        a_hat: [num_nodes, num_nodes], `graph.a_hat`.
        x_0: as x; the input of the first of these layers.
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
        check_operands(self, x, a_hat)
        if x_0.shape != x.shape:
            raise InputError(f"x_0: got shape {tuple(x_0.shape)}, expected {tuple(x.shape)}, the shape of x.")
        h = _lerp(a_hat @ x, x_0, self.alpha)  # (1 - α) Â H + α H_0
        return _lerp(h, linear(h, self.weight), self.beta)  # (1 - β) H + β H W

    def extra_repr(self) -> str:
        return f"{self.channels}, alpha={self.alpha}, beta={self.beta:.4g}"


def _lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """(1 - share) start + share end in the wider of their dtypes: autocast may have made one of them in half precision."""
    dtype = torch.promote_types(start.dtype, end.dtype)
    return torch.lerp(start.to(dtype), end.to(dtype), share)
