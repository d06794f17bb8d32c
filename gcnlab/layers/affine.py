"""The affine map of a layer: Â X W + b in the cheaper order of its two products, X W + b, and the first weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sparse import Features, SparseMatrix
from ..sparse.kernels import apply_function, is_eager
from .drop import is_large
from .operators import check_weighted

# torch's own door to oneDNN's product of float32 matrices; builds for x86 have it.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkl.is_available() else None
# Multiplications: oneDNN compiles a kernel for each new shape, and keeps it. That takes 0.2 ms, and memory where sampled batches
# have a new shape each.
_LEAST_FOR_ONEDNN = 1 << 28


def propagated(a_hat: Any, x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Â X W + b; Â comes first where X has fewer columns than X W.

    Both orders multiply by W at the same cost, so Â should meet the fewer columns. At equal width Â (X W) keeps one
    array less for the derivatives, but (Â X) W needs no product with the transpose if X has no gradient. A sparse X is
    multiplied by W first.
    """
    if meets_features_first(x, weight, isinstance(x, Tensor) and x.requires_grad):
        return linear(a_hat @ x, weight, bias)
    h = a_hat @ linear(x, weight)
    # a foreign operator may return a tensor that it still owns
    return plus(h, bias, in_place=isinstance(a_hat, (SparseMatrix, Tensor)))


def meets_features_first(x: Features, weight: Tensor, has_gradient: bool) -> bool:
    """Whether Â X W is (Â X) W, the cheaper order of the two; `has_gradient`: whether X has one."""
    num_in, num_out = weight.shape[-2:]
    return isinstance(x, Tensor) and num_in < num_out + (not has_gradient)


def propagated_reference(a_hat: Any, x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Â X W + b as written."""
    return plus(a_hat @ (x @ weight), bias)


def linear(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W + b.

    In float32 on a CPU oneDNN computes large products, which are the same sums. Of features [num_nodes, C] they take half
    the time of MKL's on processors that MKL gives no AVX-512 kernels, such as AMD's. Signals [batch, num_nodes, C] are a
    1x1 convolution: MKL's product of so tall and thin a matrix, with its derivatives, costs a GCN on 28x28 images up to
    twice the time (benchmarks/image_layers.py). Signals that are stored node by node, as a product with Â leaves them,
    stay so.
    """
    if isinstance(x, SparseMatrix):
        return plus(x @ weight, bias, in_place=True)
    if x.dim() == 2:
        if _is_for_onednn(x, weight):
            return apply_function(_Product, x, weight, bias)
        return plus(x @ weight, bias, in_place=True)
    by_node = not x.is_contiguous()
    rows = x.movedim(1, 0) if by_node else x
    # plain matmul is faster below 8 channels, and conv2d rejects an empty batch
    if x.device.type == "cpu" and x.dtype == torch.float32 and len(weight) >= 8 and x.numel():
        images = rows.unsqueeze(2).permute(0, 3, 1, 2)  # [.., C, .., 1], channels last
        out = F.conv2d(images, weight.t()[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(2)
    else:
        out = F.linear(rows, weight.t(), bias)
    return out.movedim(0, 1) if by_node else out


class Linear(nn.Linear):
    """X W^T + b, as `torch.nn.Linear` has it, of a SparseMatrix too; by `linear`."""

    def forward(self, x: Features) -> Tensor:
        check_weighted(x, self.weight.t())
        return linear(x, self.weight.t(), self.bias)


def linear_reference(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W + b as written."""
    return plus(x @ weight, bias)


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    return bool(
        _ONEDNN is not None
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[1] >= _LEAST_FOR_ONEDNN
        and x.device.type == "cpu"
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and is_eager()
    )


class _Product(torch.autograd.Function):
    """X W + b of X [num_nodes, C] by oneDNN."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _ONEDNN(x, weight.t(), bias, "none", [], "")  # type: ignore[misc]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = linear(g, weight.t()) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if x is not None:  # X^T G; as its transpose where that has more columns, which oneDNN is a fifth faster at
            grad_weight = linear(x.t(), g) if x.shape[1] < g.shape[1] else linear(g.t(), x).t()
        return grad_x, grad_weight, g.sum(0) if ctx.needs_input_grad[2] else None


def plus(h: Tensor, bias: Tensor | None, in_place: bool = False) -> Tensor:
    """h + b, or h where there is no b; `in_place` spares a large h, which nobody else may own, its copy."""
    if bias is None:
        return h
    return h.add_(bias) if in_place and is_large(h) and h.dtype == bias.dtype else h + bias


def glorot_uniform(weight: Tensor) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return nn.init.xavier_uniform_(weight)
