"""Layers of graph convolution, batch norm and relu as one step, whose derivatives are written out.

    H_l = relu(norm_l(R_l H_{l-1} W_l + b_l)),   l = 1 .. L

`fused_layers_reference` is the formula. A training step of the plain modules is many small operations, each with a node of
its own in the graph of derivatives; on batches of a few hundred nodes these take more time than the numbers.
`fused_layers` has one node for all of them, also for several trainings that torch.func.vmap runs as one: all arrays then
have their number T in front. Its derivatives are those of `affine.propagated` and `norm.BatchNorm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..sparse import Features, SparseMatrix
from ..sparse.blocks import Block, at_once
from ..sparse.kernels import OPERATORS, apply_function, is_eager
from .affine import linear, meets_features_first, plus, propagated_reference
from .drop import is_large
from .gcn import GCNConv
from .norm import (
    BatchNorm,
    Weighted,
    averages_of,
    follow,
    momentum_of,
    shares_of,
    weighted,
    weighted_backward,
    weighted_norm_reference,
)
from .operators import check_operands

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_PER_LAYER = 4  # parameters: W, b, γ, β


def can_be_fused(
    convs: Any, norms: Any, x: Features, operators: Sequence[Any], counts: Sequence[Tensor | None]
) -> bool:
    """Whether `fused_layers` can take these layers: plain ones in training, on a CPU, nothing but their parameters learnt."""
    value = x.whole.value if isinstance(x, Block) else x.value if isinstance(x, SparseMatrix) else x
    if not isinstance(value, Tensor) or value.is_nested or value.device.type != "cpu" or value.requires_grad:
        return False
    if len(x.shape) != 2 or value.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling() or not (is_eager() or all(isinstance(matrix, Block) for matrix in operators)):
        return False
    for conv, operator in zip(convs, operators, strict=True):
        if type(conv) is not GCNConv or not isinstance(operator, SparseMatrix) or _has_hooks(conv):
            return False
        values = (operator.whole if isinstance(operator, Block) else operator).value
        if values.requires_grad or values.dtype != value.dtype or conv.weight.dtype != value.dtype:
            return False
    for norm, operator, count in zip(norms or (), operators, counts, strict=False):
        if type(norm) is not BatchNorm or not norm.training or not norm.affine or _has_hooks(norm):
            return False
        if count is None and (operator.shape[0] < 2 or isinstance(operator, Block) or norm.momentum is None):
            return False
        if not norm.track_running_stats:
            return False
    return True


def _has_hooks(module: nn.Module) -> bool:
    """Whether anyone watches the module; hooks that say `reads_sizes` are called by `fused_layers`."""
    return any(
        not getattr(hook, "reads_sizes", False) for name in _HOOKS for hook in getattr(module, name, {}).values()
    )


def fused_layers(
    convs: Any, norms: Any, x: Features, operators: Sequence[SparseMatrix], counts: Sequence[Tensor | None]
) -> Sequence[Tensor]:
    """H_1 .. H_L.

    Args:
        convs: GCNConv layers.
        norms: a BatchNorm each, in training: their running averages follow; or None.
        x: H_0, [n_0, C_0].
        operators: R_l [n_l, n_{l-1}].
        counts: how many nodes each row of H_l stands for, [n_l], or None where that is one.
    """
    parameters: list[Tensor | None] = []
    averages: list[Tensor] = []
    for i, conv in enumerate(convs):
        norm = None if norms is None else norms[i]
        parameters += [conv.weight, conv.bias, *((None, None) if norm is None else (norm.weight, norm.bias))]
        averages += () if norm is None else averages_of(norm)
    num = len(operators)

    def run(x: Any, *given: Any) -> Any:
        inputs = _Inputs(convs, norms, x, operators, given[:num], given[num : num + len(averages)])
        of_layers = given[num + len(averages) :]
        if not torch.is_grad_enabled():
            return tuple(_run(inputs, of_layers, keeps=False)[0])
        return apply_function(_FusedLayers, inputs, *of_layers)

    out: Any = at_once(run, x, *counts, *averages, *parameters)
    return out


class _Inputs(NamedTuple):
    convs: Any
    norms: Any
    x: Any
    operators: Sequence[SparseMatrix]
    counts: Sequence[Tensor | None]
    averages: Sequence[Tensor]

    @property
    def are_several(self) -> bool:
        """Whether the arrays are of several trainings."""
        return isinstance(self.operators[0], Block)


def fused_layers_reference(
    x: Features,
    operators: Sequence[Any],
    counts: Sequence[Tensor | None],
    parameters: Sequence[Tensor | None],
    eps: float,
) -> tuple[Tensor, ...]:
    """The formula as written; the parameters are W, b, γ, β of each layer, γ and β None where there is no norm."""
    out, h = [], x
    for i, (operator, count) in enumerate(zip(operators, counts, strict=True)):
        weight, bias, gamma, beta = parameters[_PER_LAYER * i : _PER_LAYER * (i + 1)]
        assert weight is not None
        z = propagated_reference(operator, h, weight, bias)
        if gamma is not None and beta is not None:
            share = z.new_ones(len(z)) if count is None else count
            z = weighted_norm_reference(z, gamma, beta, share / share.sum(), eps)
        h = z.relu()
        out.append(h)
    return tuple(out)


class Plain(NamedTuple):
    """What the derivative of torch's own norm needs: h, its mean, and 1 / sqrt(var + ε)."""

    h: Tensor
    mean: Tensor
    inverse: Tensor


class _Step(NamedTuple):
    """What the derivative of a layer needs: the factor of W, whether it is R H, and what its norm keeps.

    The factor is None where it is the output before: a context may hold none, since they hold the context.
    """

    factor: Any
    is_propagated: bool
    kept: Weighted | Plain | None


def _run(inputs: _Inputs, parameters: Sequence[Any], keeps: bool) -> tuple[list[Tensor], list[_Step]]:
    """H_1 .. H_L, and what their derivatives need, if it `keeps` that."""
    shares: dict[int, Any] = {}
    out, steps, h = [], [], inputs.x
    for i, (operator, count) in enumerate(zip(inputs.operators, inputs.counts, strict=True)):
        weight, bias, gamma, beta = parameters[_PER_LAYER * i : _PER_LAYER * (i + 1)]
        if not inputs.are_several:
            check_operands(inputs.convs[i], h, operator, square=False)
        first = meets_features_first(h, weight, i > 0)
        factor = _times(operator, h) if first else h
        z = _times(factor, weight) if isinstance(factor, SparseMatrix) else _product(factor, weight)
        z = z if first else _times(operator, z)
        kept: Any = None
        if inputs.norms is None:
            z = plus(z, bias if bias is None else bias.unsqueeze(-2), in_place=True)
        else:
            if count is not None and id(count) not in shares:  # which layers may have in common
                shares[id(count)] = shares_of(count.to(z.dtype))
            norm, averages = inputs.norms[i], inputs.averages[3 * i : 3 * i + 3]
            for hook in getattr(norm, _HOOKS[0]).values():
                hook(norm, (z, count), {})
            z, kept = _normalized(norm, z, gamma, beta, shares.get(id(count)), averages)
            if bias is not None:  # which changes nothing but the mean
                momentum = momentum_of(averages[2], norm.momentum, z.dtype)
                averages[0].add_(bias * momentum)
        h = z.relu_()
        if keeps:
            steps.append(_Step(factor if first or not i else None, first, kept))
        out.append(h)
    return out, steps


def _normalized(
    norm: Any, z: Tensor, gamma: Tensor, beta: Tensor, shares: Any, averages: Sequence[Tensor]
) -> tuple[Tensor, Weighted | Plain]:
    """norm(z), the running averages moved."""
    if shares is None:
        mean, var, num_batches = averages
        out, *statistics = torch.native_batch_norm(z, gamma, beta, mean, var, True, norm.momentum, norm.eps)
        num_batches.add_(1)
        return out, Plain(z, *statistics)
    share, unbiased = shares
    out, kept = weighted(z, gamma, beta, share, norm.eps)
    follow(averages, kept.mean, kept.var * unbiased, norm.momentum)
    return out, kept


def _times(matrix: SparseMatrix, h: Tensor) -> Tensor:
    """The product; its checks of shape and memory take as long as a small one."""
    if isinstance(matrix, Block):
        return _times(matrix.whole, h.flatten(0, 1)).unflatten(0, (matrix.num_blocks, matrix.shape[0]))
    return matrix @ h if is_large(h) else OPERATORS.spmm(matrix.rowptr, matrix.col, matrix.value, h)


def _times_transposed(matrix: SparseMatrix, h: Tensor) -> Tensor:
    if isinstance(matrix, Block):
        return _times(matrix.whole.T, h.flatten(0, 1)).unflatten(0, (matrix.num_blocks, matrix.shape[1]))
    return _times(matrix.T, h)


def _product(h: Tensor, weight: Tensor) -> Tensor:
    return linear(h, weight) if weight.dim() == 2 else h @ weight


class _FusedLayers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: _Inputs, *parameters: Any) -> Any:
        ctx.set_materialize_grads(False)
        out, ctx.steps = _run(inputs, parameters, keeps=True)
        ctx.inputs = inputs
        ctx.save_for_backward(*parameters, *out)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        inputs: _Inputs = ctx.inputs
        num = len(inputs.operators)
        parameters, out = ctx.saved_tensors[: _PER_LAYER * num], ctx.saved_tensors[_PER_LAYER * num :]
        if torch.is_grad_enabled():  # derivatives of derivatives are those of the formula
            return _derived_twice(inputs, parameters, grads)
        found: list[Tensor | None] = [None] * (_PER_LAYER * num)
        through: Tensor | None = None  # dL/dH_l that comes from layer l + 1
        for i in range(num - 1, -1, -1):
            own = grads[i]
            g = own if through is None else through if own is None else through.add_(own)
            if g is None:
                continue
            weight, bias, gamma, _ = parameters[_PER_LAYER * i : _PER_LAYER * (i + 1)]
            factor, first, kept = ctx.steps[i]
            factor = out[i - 1] if factor is None else factor
            g = torch.ops.aten.threshold_backward(g, out[i], 0.0)
            at = _PER_LAYER * i
            if kept is not None:
                g, found[at + 2], found[at + 3] = _norm_backward(inputs.norms[i], kept, gamma, g)
            if bias is not None:  # a norm takes it away again
                found[at + 1] = g.sum(-2) if kept is None else torch.zeros_like(bias)
            g = g if first else _times_transposed(inputs.operators[i], g)
            found[at] = _times_transposed(factor, g) if isinstance(factor, SparseMatrix) else factor.mT @ g
            if i:
                g = _product(g, weight.mT)
                through = _times_transposed(inputs.operators[i], g) if first else g
        return None, *found


def _norm_backward(norm: Any, kept: Weighted | Plain, gamma: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives for h, γ and β."""
    if isinstance(kept, Weighted):
        return weighted_backward(kept, gamma, g)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        g, kept.h, gamma, None, None, kept.mean, kept.inverse, True, norm.eps, [True, True, True]
    )
    return found


def _derived_twice(inputs: _Inputs, parameters: Sequence[Any], grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    if inputs.are_several:
        raise InputError("create_graph: several trainings that run as one have no derivatives of derivatives.")
    eps = 0.0 if inputs.norms is None else inputs.norms[0].eps
    out = fused_layers_reference(inputs.x, inputs.operators, inputs.counts, parameters, eps)
    asked = [(h, g) for h, g in zip(out, grads, strict=True) if g is not None]
    wanted = [p for p in parameters if p is not None and p.requires_grad]
    derived = torch.autograd.grad(
        [h for h, _ in asked], wanted, [g for _, g in asked], create_graph=True, allow_unused=True
    )
    found = iter(derived)
    return None, *(next(found) if p is not None and p.requires_grad else None for p in parameters)
