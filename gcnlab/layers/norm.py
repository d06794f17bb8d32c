"""Batch normalisation over nodes that may stand for several alike ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..sparse.blocks import at_once


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
        dtype = torch.promote_types(h.dtype, torch.float32)
        gamma, beta = (self.weight, self.bias) if self.affine else (h.new_ones(h.shape[1]), h.new_zeros(h.shape[1]))
        averages = (kept.running_mean, kept.running_var, kept.num_batches_tracked) if keeps else ()
        with torch.autocast(h.device.type, enabled=False):  # torch's norm, too, sums 16-bit values in float32
            out = at_once(
                self._weighted, h.to(dtype), gamma.to(dtype), beta.to(dtype), multiplicity.to(dtype), *averages
            )
        return out.to(h.dtype)

    def _weighted(self, h: Tensor, gamma: Tensor, beta: Tensor, multiplicity: Tensor, *averages: Tensor) -> Tensor:
        """Of h [..., num_nodes, C] the output; running averages are moved."""
        total = multiplicity.sum(-1, keepdim=True)
        out, mean, var = _WeightedNorm.apply(h, gamma, beta, multiplicity / total, self.eps)
        if averages:
            mean_of_all, var_of_all, num_batches = averages
            with torch.no_grad():
                num_batches.add_(1)
                momentum: Any = 1 / num_batches.double().unsqueeze(-1) if self.momentum is None else self.momentum
                if isinstance(momentum, Tensor):  # of each training that stands beside others
                    momentum = momentum.to(mean_of_all.dtype)
                mean_of_all.lerp_(mean.to(mean_of_all.dtype), momentum)
                unbiased = var * (total / (total - 1))  # which torch keeps, too
                var_of_all.lerp_(unbiased.to(var_of_all.dtype), momentum)
        return out


def weighted_norm_reference(h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float) -> Tensor:
    """γ (h - mean) / sqrt(var + ε) + β, with weights [num_nodes] that sum to 1; autograd derives it."""
    mean = weight @ h
    var = weight @ (h - mean).square()
    return gamma * (h - mean) / (var + eps).sqrt() + beta


class _WeightedNorm(torch.autograd.Function):
    """(γ (h - mean) / sqrt(var + ε) + β, mean, var), with weights w [..., num_nodes] that sum to 1; h [..., num_nodes, C]."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = weight.unsqueeze(-2)
        mean = weights @ h  # [..., 1, C]
        centred = h - mean
        square = centred.square()
        var = weights @ square
        inverse = (var + eps).rsqrt()
        out = torch.addcmul(beta.unsqueeze(-2), centred, gamma.unsqueeze(-2) * inverse, out=square)
        mean, var = mean.squeeze(-2), var.squeeze(-2)
        ctx.save_for_backward(centred, gamma, weight, inverse)
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        centred, gamma, weight, inverse = ctx.saved_tensors
        product = g * centred
        grad_beta, grad_gamma = g.sum(-2, keepdim=True), product.sum(-2, keepdim=True) * inverse
        # dL/dh_i = γ inverse (g_i - w_i (dβ + inverse dγ (h_i - mean)))
        through = torch.addcmul(grad_beta, centred, grad_gamma * inverse, out=product).mul_(weight.unsqueeze(-1))
        grad_h = torch.sub(g, through, out=through).mul_(gamma.unsqueeze(-2) * inverse)
        return grad_h, grad_gamma.squeeze(-2), grad_beta.squeeze(-2), None, None
