"""Graph convolutions. A layer takes features and a propagation matrix, holds weights alone and caches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import InputError, InputTypeError
from .graph import Features
from .sparse import SparseMatrix

if TYPE_CHECKING:
    from torch_geometric.nn import GCNConv as PyGGCNConv


def dropout(x: Features, p: float = 0.5, training: bool = True) -> Features:
    """Zero each entry with probability p and divide the others by 1 - p.

    Of a SparseMatrix the stored entries are dropped, which is the same thing since the others are zero. On a CPU the
    coin flips are lanes of random 64-bit words, several times faster than torch's Bernoulli sampler; p is then
    rounded to a multiple of 1/65,536, and the scale fits the rounded value.

    Args:
        x: dense or sparse, any shape.
        p: a probability between 0 and 1.
        training: otherwise x is returned as it is.
    """
    if not 0 <= p <= 1:
        raise InputError(f"p: got {p}, expected a probability between 0 and 1.")
    if not training or p == 0:
        return x
    if isinstance(x, SparseMatrix):
        return x.with_value(_dropout(x.value, p))
    return _dropout(x, p)


def _dropout(x: Tensor, p: float) -> Tensor:
    if p == 1:
        return x * 0
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # both have a fused kernel
        return F.dropout(x, p)
    lanes, levels = (torch.int8, 256) if (p * 256).is_integer() else (torch.int16, 65536)
    dropped = min(round(p * levels), levels - 1)  # this many of the `levels` values of a lane
    per_word = 8 if levels == 256 else 4
    words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // per_word),))
    transformed = torch._C._are_functorch_transforms_active()
    coins = _ViewAs.apply(words, lanes) if transformed else words.view(lanes)
    keep = coins[: x.numel()] >= dropped - levels // 2
    return x * keep.view(x.shape).to(x.dtype).mul_(levels / (levels - dropped))


class _ViewAs(torch.autograd.Function):
    """`words.view(dtype)`, for which vmap has no rule in torch 2.6."""

    @staticmethod
    def forward(words: Tensor, dtype: torch.dtype) -> Tensor:
        return words.view(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], words: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        return words.movedim(in_dims[0], 0).contiguous().view(dtype), 0


def glorot_uniform(weight: Tensor) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / (fan_in + fan_out)). (Glorot & Bengio 2010.)"""
    return nn.init.xavier_uniform_(weight)


class GCNConv(nn.Module):
    """The graph convolution of Kipf & Welling (2017, equation 2), without its activation.

        H' = Â H W + b

        node-wise: h'_i = sum_j Â_ij h_j W + b

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels] on one shared graph.
        a_hat: anything with `@` of shape [num_nodes, num_nodes]: a SparseMatrix (`graph.a_hat`), a dense or a torch
            sparse tensor. [num_targets, num_nodes] gives the rows of the targets.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> layer = GCNConv(2, 3)
    >>> a_hat = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> layer(torch.ones(2, 2), a_hat).shape
    torch.Size([2, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weight, zero bias."""
        glorot_uniform(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, a_hat: Any) -> Tensor:
        check_operands(x, a_hat, self.in_channels, self.weight)
        h = a_hat @ (x @ self.weight)
        return h if self.bias is None else h + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}" + ("" if self.bias is not None else ", bias=False")

    @classmethod
    def from_pyg(cls, conv: PyGGCNConv) -> GCNConv:
        """A layer with the weights of PyG's GCNConv; it gives PyG's numbers when a_hat is the graph's.

        Raises InputError for a conv whose propagation matrix is another one than `graph.a_hat`.
        """
        for option, usual in (("normalize", True), ("add_self_loops", True), ("improved", False)):
            if getattr(conv, option, None) is not usual:
                raise InputError(
                    f"conv: has {option}={getattr(conv, option, None)}, expected PyG's GCNConv with {option}={usual}, "
                    "whose propagation matrix is graph.a_hat; for another, copy the weights and pass that matrix."
                )
        layer = cls(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
        with torch.no_grad():
            layer.weight.copy_(conv.lin.weight.t())
            if layer.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer.to(conv.lin.weight.dtype)

    def to_pyg(self) -> PyGGCNConv:
        """PyG's GCNConv with these weights."""
        from torch_geometric.nn import GCNConv as PyGGCNConv

        conv = PyGGCNConv(self.in_channels, self.out_channels, bias=self.bias is not None).to(self.weight.dtype)
        with torch.no_grad():
            conv.lin.weight.copy_(self.weight.t())
            if self.bias is not None:
                conv.bias.copy_(self.bias)
        return conv


def check_operands(x: Any, a_hat: Any, in_channels: int, weight: Tensor) -> None:
    """Raise unless x [..., num_nodes, in_channels] and a_hat [*, num_nodes] fit each other and the weight."""
    if not isinstance(x, (Tensor, SparseMatrix)):
        raise InputTypeError(f"x: got {type(x).__name__}, expected a tensor or a SparseMatrix.")
    if not hasattr(a_hat, "shape") or not isinstance(getattr(a_hat, "dtype", x.dtype), torch.dtype):
        raise InputTypeError(
            f"a_hat: got {type(a_hat).__name__}, expected a matrix: graph.a_hat, a SparseMatrix, a dense or sparse "
            "tensor; SparseMatrix.from_scipy and from_dense make one."
        )
    if isinstance(a_hat, Tensor) and not a_hat.is_floating_point():
        raise InputTypeError(
            f"a_hat: got a tensor of {a_hat.dtype}, expected a matrix of floats; "
            "an edge_index becomes one through Graph.from_edges(edge_index, num_nodes).a_hat."
        )
    shape = x.shape
    if len(shape) not in (2, 3) or shape[-1] != in_channels:
        raise InputError(
            f"x: got shape {tuple(shape)}, expected [num_nodes, {in_channels}] or [batch, num_nodes, {in_channels}]; "
            f"the layer has in_channels={in_channels}."
        )
    if len(a_hat.shape) != 2 or a_hat.shape[1] != shape[-2]:
        raise InputError(
            f"a_hat: got shape {tuple(a_hat.shape)}, expected [{shape[-2]}, {shape[-2]}] for x of shape {tuple(shape)}."
        )
    if isinstance(a_hat, Tensor) and a_hat.layout != torch.strided and len(shape) == 3:
        raise InputError(
            "a_hat: a torch sparse tensor takes x [num_nodes, C] alone; SparseMatrix.from_torch(a_hat) takes a batch."
        )
    is_autocast = torch.is_autocast_enabled(weight.device.type)
    if x.dtype != weight.dtype and not is_autocast:
        raise InputError(f"x: got {x.dtype}, but the layer has {weight.dtype}; convert x or the layer with .to(dtype).")
    if isinstance(a_hat, Tensor) and a_hat.dtype != x.dtype and not is_autocast:
        raise InputError(f"a_hat: got {a_hat.dtype}, but x is {x.dtype}; convert one with .to(dtype).")
    for name, operand in (("x", x), ("a_hat", a_hat)):
        if getattr(operand, "device", weight.device) != weight.device:
            raise InputError(
                f"{name}: is on {operand.device}, but the layer on {weight.device}; move one with .to(device)."
            )
