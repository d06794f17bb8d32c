"""Normalisation of the nodes' channels: over all of them, each counted as often as it stands for one, or by graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checks import check_count, check_number
from ..errors import InputError
from ..segments import matrix_of
from ..sparse.blocks import at_once
from .operators import check_weighted


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
        with torch.autocast(h.device.type, enabled=False):  # torch's norm, too, sums 16-bit values in float32
            out: Tensor = at_once(
                self._weighted, h.to(dtype), gamma.to(dtype), beta.to(dtype), multiplicity.to(dtype), *averages_of(self)
            )
        return out.to(h.dtype)

    def _weighted(self, h: Tensor, gamma: Tensor, beta: Tensor, multiplicity: Tensor, *averages: Tensor) -> Tensor:
        """The output for h [..., num_nodes, C]; it also moves the running averages."""
        share, unbiased = shares_of(multiplicity)
        out, mean, var = _WeightedNorm.apply(h, gamma, beta, share, self.eps)
        follow(averages, mean, var * unbiased, self.momentum)
        return out


class GraphNorm(nn.Module):
    """Normalisation over the nodes of each graph, less a learnt share of their mean (Cai et al. 2021, equation 6).

        h'_i = γ (h_i - α mean) / sqrt(var + ε) + β,   var = mean_i (h_i - α mean)²

    of each channel, mean and var those of the graph that node i is in. With α = 1, where training starts, it is instance
    normalisation. Training and evaluation are alike: there are no running averages.

    Args:
        channels: C.
        eps: ε.

    Shapes:
        h: [num_nodes, C]; or [batch, num_nodes, C], signals on one shared graph, each by itself.
        batch: which node is of which graph, as `Readout` takes it; None for one graph.
        output: as h.

    >>> norm = GraphNorm(1, eps=0.0)
    >>> norm(torch.tensor([[1.0], [3.0], [10.0], [20.0]]), torch.tensor([0, 0, 1, 1])).tolist()
    [[-1.0], [1.0], [-1.0], [1.0]]
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        channels, self.eps = check_count("channels", channels, 1), check_number("eps", eps, least=0)
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean_scale = nn.Parameter(torch.ones(channels))

    def forward(self, h: Tensor, batch: Any = None) -> Tensor:
        check_weighted(h, self.weight.unsqueeze(1))
        centred = h - self.mean_scale * graph_means(h, batch)
        var = graph_means(centred.square(), batch)
        return self.weight * centred * (var + self.eps).rsqrt() + self.bias

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


def graph_means(h: Tensor, batch: Any = None) -> Tensor:
    """The mean over the nodes of the graph that each node is in, to be broadcast with h [..., num_nodes, C].

    [..., 1, C] with batch None, all nodes in one graph; else [num_nodes, C], the batch as `Readout` takes it. A node that
    stands for several alike ones counts as often.
    """
    if batch is None:
        return h.mean(-2, keepdim=True)
    p = matrix_of(batch, h)
    if h.dim() != 2 or p.shape[1] != len(h):
        raise InputError(f"batch: is of {p.shape[1]} nodes, but h has shape {tuple(h.shape)}, expected a row for each.")
    graph = torch.zeros(len(h), dtype=torch.int64, device=h.device).index_copy(0, p.col.long(), p.row)
    return (p.to(h.dtype).row_normalized() @ h).index_select(0, graph)


def averages_of(norm: Any) -> tuple[Tensor, ...]:
    """Running mean, running variance and number of batches, which training moves; () where there are none."""
    return (norm.running_mean, norm.running_var, norm.num_batches_tracked) if norm.track_running_stats else ()


def shares_of(multiplicity: Tensor) -> tuple[Tensor, Tensor]:
    """(w, M / (M - 1)), [..., num_nodes] and [..., 1]: the share of each row, and what makes a variance the unbiased one."""
    total = multiplicity.sum(-1, keepdim=True)
    return multiplicity / total, total / (total - 1)


@torch.no_grad()
def follow(averages: Sequence[Tensor], mean: Tensor, var: Tensor, momentum: Any) -> None:
    """Move running averages towards the mean and the unbiased variance of a batch, [..., C]."""
    if averages:
        running_mean, running_var, num_batches = averages
        num_batches.add_(1)
        momentum = momentum_of(num_batches, momentum, running_mean.dtype)
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(var.to(running_var.dtype), momentum)


def momentum_of(num_batches: Tensor, momentum: Any, dtype: torch.dtype) -> Any:
    """A norm's momentum; the share of a batch in all so far where it is None. Several trainings have one each, [..., 1]."""
    if momentum is None:
        momentum = 1 / num_batches.unsqueeze(-1).double() if num_batches.dim() else 1 / float(num_batches)
    return momentum.to(dtype) if isinstance(momentum, Tensor) else momentum


def weighted_norm_reference(h: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float) -> Tensor:
    """γ (h - mean) / sqrt(var + ε) + β, with weights [num_nodes] that sum to 1; autograd derives it."""
    mean = weight @ h
    var = weight @ (h - mean).square()
    return gamma * (h - mean) / (var + eps).sqrt() + beta


class Weighted(NamedTuple):
    """What the derivative of a weighted norm needs: h - mean, the shares, mean and var, and 1 / sqrt(var + ε) [..., 1, C]."""

    centred: Tensor
    share: Tensor
    mean: Tensor
    var: Tensor
    inverse: Tensor


def weighted(h: Tensor, gamma: Tensor, beta: Tensor, share: Tensor, eps: float) -> tuple[Tensor, Weighted]:
    """The norm of h [..., num_nodes, C]."""
    shares = share.unsqueeze(-2)
    mean = shares @ h  # [..., 1, C]
    centred = h - mean
    square = centred.square()
    var = shares @ square
    inverse = (var + eps).rsqrt()
    out = torch.addcmul(beta.unsqueeze(-2), centred, gamma.unsqueeze(-2) * inverse, out=square)
    return out, Weighted(centred, share, mean.squeeze(-2), var.squeeze(-2), inverse)


def weighted_backward(kept: Weighted, gamma: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives for h, γ and β."""
    product = g * kept.centred
    grad_beta, grad_gamma = g.sum(-2, keepdim=True), product.sum(-2, keepdim=True) * kept.inverse
    # dL/dh_i = γ inverse g_i - w_i γ inverse (dβ + inverse dγ (h_i - mean))
    scale = -gamma.unsqueeze(-2) * kept.inverse
    through = torch.addcmul(scale * grad_beta, kept.centred, scale * grad_gamma * kept.inverse, out=product)
    through.mul_(kept.share.unsqueeze(-1))
    return torch.addcmul(through, g, scale, value=-1), grad_gamma.squeeze(-2), grad_beta.squeeze(-2)


class _WeightedNorm(torch.autograd.Function):
    """(γ (h - mean) / sqrt(var + ε) + β, mean, var), with shares w [..., num_nodes] that sum to 1; h [..., num_nodes, C]."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, gamma: Tensor, beta: Tensor, share: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, kept = weighted(h, gamma, beta, share, eps)
        ctx.save_for_backward(gamma, *kept)
        ctx.mark_non_differentiable(kept.mean, kept.var)
        return out, kept.mean, kept.var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        gamma, *kept = ctx.saved_tensors
        return *weighted_backward(Weighted(*kept), gamma, g), None, None
