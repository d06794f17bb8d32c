"""Batch normalisation over nodes that may stand for several alike ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the nodes (Ioffe & Szegedy 2015), each counted as often as it stands for one.

        mean = sum_i m_i h_i / M,   var = sum_i m_i (h_i - mean)^2 / M,   h'_i = γ (h_i - mean) / sqrt(var + ε) + β

    with M = sum_i m_i; without multiplicities m it is `torch.nn.BatchNorm1d`.

    Shapes:
        h: [num_nodes, C].
        multiplicity: [num_nodes], or None.
    """

    def forward(self, h: Tensor, multiplicity: Tensor | None = None) -> Tensor:
        kept: Any = self
        keeps = kept.running_mean is not None
        if multiplicity is None or (keeps and not self.training):
            return super().forward(h)
        total, dtype = multiplicity.sum(), torch.promote_types(h.dtype, torch.float32)
        gamma, beta = (self.weight, self.bias) if self.affine else (h.new_ones(h.shape[1]), h.new_zeros(h.shape[1]))
        with torch.autocast(h.device.type, enabled=False):  # torch's norm, too, sums 16-bit values in float32
            out, mean, var = _WeightedNorm.apply(
                h.to(dtype), gamma.to(dtype), beta.to(dtype), (multiplicity / total).to(dtype), self.eps
            )
        if keeps:
            with torch.no_grad():
                kept.num_batches_tracked.add_(1)
                momentum = 1 / float(kept.num_batches_tracked) if self.momentum is None else self.momentum
                kept.running_mean.lerp_(mean.to(kept.running_mean.dtype), momentum)
                unbiased = var * (total / (total - 1))  # which torch keeps, too
                kept.running_var.lerp_(unbiased.to(kept.running_var.dtype), momentum)
        return out.to(h.dtype)


def weighted_norm_reference(h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float) -> Tensor:
    """γ (h - mean) / sqrt(var + ε) + β, with weights [num_nodes] that sum to 1; autograd derives it."""
    mean = weight @ h
    var = weight @ (h - mean).square()
    return gamma * (h - mean) / (var + eps).sqrt() + beta


class _WeightedNorm(torch.autograd.Function):
    """(γ (h - mean) / sqrt(var + ε) + β, mean, var), with weights w [num_nodes] that sum to 1."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = weight @ h
        centred = h - mean
        var = weight @ centred.square()
        inverse = (var + eps).rsqrt()
        ctx.save_for_backward(centred, gamma, weight, inverse)
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(beta, centred, gamma * inverse), mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        centred, gamma, weight, inverse = ctx.saved_tensors
        grad_beta, grad_gamma = g.sum(0), (g * centred).sum(0) * inverse
        # dL/dh_i = γ inverse (g_i - w_i (dβ + inverse dγ (h_i - mean)))
        through = torch.addcmul(grad_beta, centred, grad_gamma * inverse).mul_(weight.unsqueeze(1))
        return torch.sub(g, through, out=through).mul_(gamma * inverse), grad_gamma, grad_beta, None, None
