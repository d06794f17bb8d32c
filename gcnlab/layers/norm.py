"""Batch normalisation over nodes that may stand for several alike ones."""

from __future__ import annotations

from typing import Any, NamedTuple

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
        if multiplicity is None or (self.running_mean is not None and not self.training):
            return super().forward(h)
        dtype = torch.promote_types(h.dtype, torch.float32)
        gamma, beta = (self.weight, self.bias) if self.affine else (h.new_ones(h.shape[1]), h.new_zeros(h.shape[1]))
        share, unbiased = shares_of(multiplicity, dtype)
        with torch.autocast(h.device.type, enabled=False):  # torch's norm, too, sums 16-bit values in float32
            out, mean, var = _WeightedNorm.apply(h.to(dtype), gamma.to(dtype), beta.to(dtype), share, self.eps)
        if self.running_mean is not None:
            self.follow(mean, var * unbiased)
        return out.to(h.dtype)

    @torch.no_grad()
    def follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running averages towards the mean and the unbiased variance of a batch."""
        kept: Any = self
        kept.num_batches_tracked.add_(1)
        momentum = 1 / float(kept.num_batches_tracked) if self.momentum is None else self.momentum
        kept.running_mean.lerp_(mean.to(kept.running_mean.dtype), momentum)
        kept.running_var.lerp_(var.to(kept.running_var.dtype), momentum)


def shares_of(multiplicity: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(w, M / (M - 1)): the share of each row, which a variance is weighted by, and what makes it the unbiased one."""
    total = multiplicity.sum()
    return (multiplicity / total).to(dtype), total / (total - 1)


def weighted_norm_reference(h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float) -> Tensor:
    """γ (h - mean) / sqrt(var + ε) + β, with weights [num_nodes] that sum to 1; autograd derives it."""
    mean = weight @ h
    var = weight @ (h - mean).square()
    return gamma * (h - mean) / (var + eps).sqrt() + beta


class Weighted(NamedTuple):
    """What the derivative of a weighted norm needs: h - mean, the weights, mean, var, and 1 / sqrt(var + ε)."""

    centred: Tensor
    weight: Tensor
    mean: Tensor
    var: Tensor
    inverse: Tensor


def _weighted(h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Weighted]:
    mean = weight @ h
    centred = h - mean
    var = weight @ centred.square()
    inverse = (var + eps).rsqrt()
    return torch.addcmul(beta, centred, gamma * inverse), Weighted(centred, weight, mean, var, inverse)


def _weighted_backward(kept: Weighted, gamma: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives for h, γ and β."""
    grad_beta, grad_gamma = g.sum(0), (g * kept.centred).sum(0) * kept.inverse
    # dL/dh_i = γ inverse g_i - w_i γ inverse (dβ + inverse dγ (h_i - mean))
    scale = -gamma * kept.inverse
    through = torch.addcmul(scale * grad_beta, kept.centred, scale * grad_gamma * kept.inverse)
    through.mul_(kept.weight.unsqueeze(1))
    return torch.addcmul(through, g, scale, value=-1), grad_gamma, grad_beta


class _WeightedNorm(torch.autograd.Function):
    """(γ (h - mean) / sqrt(var + ε) + β, mean, var), with weights w [num_nodes] that sum to 1."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, kept = _weighted(h, gamma, beta, weight, eps)
        ctx.save_for_backward(gamma, *kept)
        ctx.mark_non_differentiable(kept.mean, kept.var)
        return out, kept.mean, kept.var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        gamma, *kept = ctx.saved_tensors
        return *_weighted_backward(Weighted(*kept), gamma, g), None, None


class Plain(NamedTuple):
    """What the derivative of torch's own norm needs: h, its mean, and 1 / sqrt(var + ε)."""

    h: Tensor
    mean: Tensor
    inverse: Tensor


def normalize(
    norm: Any, h: Tensor, shares: tuple[Tensor, Tensor] | None, bias: Tensor | None
) -> tuple[Tensor, Weighted | Plain]:
    """relu(norm(h + b)) of a BatchNorm in training, and what `normalize_backward` needs; outside of autograd.

    The bias of a convolution does not change what a norm gives, but its running mean. `shares` are `shares_of` the
    multiplicities, where there are any.
    """
    kept: Weighted | Plain
    if shares is None:
        out, *statistics = torch.native_batch_norm(
            h, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        kept = Plain(h, *statistics)
        norm.num_batches_tracked.add_(1)
    else:
        share, unbiased = shares
        out, kept = _weighted(h, norm.weight, norm.bias, share, norm.eps)
        norm.follow(kept.mean, kept.var * unbiased)
    if bias is not None:
        norm.running_mean.add_(bias, alpha=norm.momentum)
    return out.relu_(), kept


def normalize_backward(norm: Any, kept: Weighted | Plain, gamma: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of norm(h + b) for h, γ and β."""
    if isinstance(kept, Weighted):
        return _weighted_backward(kept, gamma, g)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        g, kept.h, gamma, None, None, kept.mean, kept.inverse, True, norm.eps, [True, True, True]
    )
    return found
