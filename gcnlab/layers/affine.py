"""The affine map of a layer: Â X W + b in the cheaper order of its two products, X W + b, and the first weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sparse import Features, SparseMatrix
from .drop import is_large


def propagated(a_hat: Any, x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Â X W + b; Â comes first where X has fewer columns than X W.

    Both orders multiply by W at the same cost, so Â should meet the fewer columns. At equal width Â (X W) keeps one
    array less for the derivatives, but (Â X) W needs no product with the transpose if X has no gradient. A sparse X is
    multiplied by W first.
    """
    num_in, num_out = weight.shape
    if isinstance(x, Tensor) and num_in < num_out + (not x.requires_grad):
        return linear(a_hat @ x, weight, bias)
    h = a_hat @ linear(x, weight)
    # a foreign operator may return a tensor that it still owns
    return plus(h, bias, in_place=isinstance(a_hat, (SparseMatrix, Tensor)))


def propagated_reference(a_hat: Any, x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Â X W + b as written."""
    return plus(a_hat @ (x @ weight), bias)


def linear(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W + b.

    Signals [batch, num_nodes, C] in float32 on a CPU take oneDNN's 1x1 convolution, which computes the same sum. MKL's
    product of so tall and thin a matrix, with its derivatives, costs a GCN on 28x28 images up to twice the time
    (benchmarks/image_layers.py). Signals that are stored node by node, as a product with Â leaves them, stay so.
    """
    if isinstance(x, SparseMatrix) or x.dim() == 2:
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


def linear_reference(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W + b as written."""
    return plus(x @ weight, bias)


def plus(h: Tensor, bias: Tensor | None, in_place: bool = False) -> Tensor:
    """h + b, or h where there is no b; `in_place` spares a large h, which nobody else may own, its copy."""
    if bias is None:
        return h
    return h.add_(bias) if in_place and is_large(h) and h.dtype == bias.dtype else h + bias


def glorot_uniform(weight: Tensor) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return nn.init.xavier_uniform_(weight)
