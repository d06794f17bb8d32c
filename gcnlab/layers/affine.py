"""The affine map of a layer: its first weights, x W + b, and which of its products comes first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sparse import Features, SparseMatrix
from .drop import is_large


def glorot_uniform(weight: Tensor) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / (fan_in + fan_out)). (Glorot & Bengio 2010.)"""
    return nn.init.xavier_uniform_(weight)


def linear(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b.

    Signals [batch, num_nodes, C] stored node by node, as a product with Â leaves them, stay so, uncopied. On a CPU
    they take oneDNN's 1x1 convolution, the same sum: MKL's product of so tall and thin a matrix, with its derivatives,
    costs a GCN on 28x28 images up to twice the time (benchmarks/image_layers.py).
    """
    if isinstance(x, SparseMatrix) or x.dim() == 2:
        return plus(x @ weight, bias)
    by_node = not x.is_contiguous()
    rows = x.movedim(1, 0) if by_node else x
    # below 8 channels the product is the faster, and of no nodes there is no convolution
    if x.device.type == "cpu" and x.dtype == torch.float32 and len(weight) >= 8 and x.numel():
        images = rows.unsqueeze(2).permute(0, 3, 1, 2)  # [.., C, .., 1], channels last
        out = F.conv2d(images, weight.t()[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(2)
    else:
        out = F.linear(rows, weight.t(), bias)
    return out.movedim(0, 1) if by_node else out


def plus(h: Tensor, bias: Tensor | None, is_new: bool = True) -> Tensor:
    """h + b; in its place where h is large, and new: an operator of someone else's may give a tensor that it keeps."""
    if bias is None:
        return h
    return h.add_(bias) if is_new and is_large(h) and h.dtype == bias.dtype else h + bias
