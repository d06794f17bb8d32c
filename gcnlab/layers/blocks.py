"""Blocks of graph convolution, batch norm and relu, one after the other, whose derivatives are written out.

    H_l = relu(norm_l(R_l H_{l-1} W_l + b_l)),   l = 1 .. L

`blocks_reference` is the formula. A training step of the plain modules is many small operations, each with a node of its
own in the graph of derivatives; on batches of a few hundred nodes these take more time than the numbers. `blocks` has one
node for all of them. Its derivatives are those of `affine.propagated` and `norm.BatchNorm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..sparse import Features, SparseMatrix
from ..sparse.kernels import OPERATORS, apply_function, is_eager
from .affine import linear, meets_features_first, plus, propagated_reference
from .drop import is_large
from .gcn import GCNConv
from .norm import BatchNorm, normalize, normalize_backward, shares_of, weighted_norm_reference
from .operators import check_operands

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def are_blocks(convs: Any, norms: Any, x: Features, operators: Sequence[Any], counts: Sequence[Tensor | None]) -> bool:
    """Whether `blocks` can take these layers: plain ones in training, on a CPU, nothing but their parameters learnt."""
    value = x.value if isinstance(x, SparseMatrix) else x
    if not isinstance(value, Tensor) or value.is_nested or value.device.type != "cpu" or value.requires_grad:
        return False
    if len(x.shape) != 2 or value.dtype not in (torch.float32, torch.float64):
        return False
    if not is_eager() or torch.is_autocast_enabled("cpu"):
        return False
    for conv, operator in zip(convs, operators, strict=True):
        if type(conv) is not GCNConv or not isinstance(operator, SparseMatrix) or operator.value.requires_grad:
            return False
        if operator.dtype != value.dtype or conv.weight.dtype != value.dtype or _has_hooks(conv):
            return False
    for norm, operator, count in zip(norms or (), operators, counts, strict=False):
        if type(norm) is not BatchNorm or not norm.training or not norm.affine or _has_hooks(norm):
            return False
        if not norm.track_running_stats or norm.momentum is None or (operator.shape[0] < 2 and count is None):
            return False
    return True


def _has_hooks(module: nn.Module) -> bool:
    """Whether anyone watches the module; hooks that say `reads_sizes` are called by `blocks`."""
    return any(
        not getattr(hook, "reads_sizes", False) for name in _HOOKS for hook in getattr(module, name, {}).values()
    )


def blocks(
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
    for i, conv in enumerate(convs):
        norm = None if norms is None else norms[i]
        parameters += [
            conv.weight,
            conv.bias,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
        ]
    if not torch.is_grad_enabled():
        return _run(convs, norms, x, operators, counts)[0]
    out: Any = apply_function(_Blocks, convs, norms, x, operators, counts, *parameters)
    return out


def blocks_reference(
    x: Features,
    operators: Sequence[Any],
    counts: Sequence[Tensor | None],
    parameters: Sequence[Tensor | None],
    eps: float,
) -> tuple[Tensor, ...]:
    """The formula as written; the parameters are W, b, γ, β of each layer, γ and β None where there is no norm."""
    out, h = [], x
    for i, (operator, count) in enumerate(zip(operators, counts, strict=True)):
        weight, bias, gamma, beta = parameters[4 * i : 4 * i + 4]
        assert weight is not None
        z = propagated_reference(operator, h, weight, bias)
        if gamma is not None and beta is not None:
            share = z.new_ones(len(z)) if count is None else count
            z = weighted_norm_reference(z, gamma, beta, share / share.sum(), eps)
        h = z.relu()
        out.append(h)
    return tuple(out)


def _times(matrix: SparseMatrix, h: Tensor) -> Tensor:
    """The product; its checks of shape and memory take as long as a small one."""
    return matrix @ h if is_large(h) else OPERATORS.spmm(matrix.rowptr, matrix.col, matrix.value, h)


def _run(
    convs: Any, norms: Any, x: Any, operators: Sequence[SparseMatrix], counts: Sequence[Tensor | None]
) -> tuple[list[Tensor], list[tuple[Any, bool, Any]]]:
    """The outputs, and of each layer what its derivative needs: the factor of W, whether Â X came first, the norm's.

    The factor is None where it is the output before: a context may hold none, since they hold the context.
    """
    shares: dict[int, Any] = {}
    out, steps, h = [], [], x
    for i, (conv, operator, count) in enumerate(zip(convs, operators, counts, strict=True)):
        check_operands(conv, h, operator, square=False)
        first = meets_features_first(h, conv.weight, i > 0)
        factor = _times(operator, h) if first else h
        z = linear(factor, conv.weight)
        z = z if first else _times(operator, z)
        if norms is None:
            h, kept = plus(z, conv.bias, in_place=True).relu_(), None
        else:
            if count is not None and id(count) not in shares:  # which layers may have in common
                shares[id(count)] = shares_of(count, z.dtype)
            for hook in getattr(norms[i], _HOOKS[0]).values():
                hook(norms[i], (z, count), {})
            h, kept = normalize(norms[i], z, shares.get(id(count)), conv.bias)
        steps.append((factor if first or not i else None, first, kept))
        out.append(h)
    return out, steps


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, convs: Any, norms: Any, x: Any, operators: Any, counts: Any, *parameters: Any) -> Any:
        ctx.set_materialize_grads(False)
        out, ctx.steps = _run(convs, norms, x, operators, counts)
        ctx.operators, ctx.counts, ctx.norms, ctx.x = operators, counts, norms, x
        ctx.save_for_backward(*parameters, *out)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        num = len(ctx.operators)
        parameters, out = ctx.saved_tensors[: 4 * num], ctx.saved_tensors[4 * num :]
        if torch.is_grad_enabled():  # derivatives of derivatives are those of the formula
            return _derived_twice(ctx, parameters, grads)
        found: list[Tensor | None] = [None] * (4 * num)
        through: Tensor | None = None  # dL/dH_l that comes from layer l + 1
        for i in range(num - 1, -1, -1):
            own = grads[i]
            g = own if through is None else through if own is None else through.add_(own)
            if g is None:
                continue
            weight, bias, gamma, _ = parameters[4 * i : 4 * i + 4]
            factor, first, kept = ctx.steps[i]
            factor = out[i - 1] if factor is None else factor
            g = torch.ops.aten.threshold_backward(g, out[i], 0.0)
            if kept is not None:
                g, found[4 * i + 2], found[4 * i + 3] = normalize_backward(ctx.norms[i], kept, gamma, g)
            if bias is not None:  # a norm takes it away again
                found[4 * i + 1] = g.sum(0) if kept is None else torch.zeros_like(bias)
            g = g if first else _times(ctx.operators[i].T, g)
            found[4 * i] = factor.T @ g if isinstance(factor, SparseMatrix) else factor.t() @ g
            if i:
                g = linear(g, weight.t())
                through = _times(ctx.operators[i].T, g) if first else g
        return None, None, None, None, None, *found


def _derived_twice(ctx: Any, parameters: Sequence[Tensor], grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    eps = 0.0 if ctx.norms is None else ctx.norms[0].eps
    out = blocks_reference(ctx.x, ctx.operators, ctx.counts, parameters, eps)
    asked = [(h, g) for h, g in zip(out, grads, strict=True) if g is not None]
    wanted = [p for p in parameters if p is not None and p.requires_grad]
    found = iter(
        torch.autograd.grad([h for h, _ in asked], wanted, [g for _, g in asked], create_graph=True, allow_unused=True)
    )
    given = [next(found) if p is not None and p.requires_grad else None for p in parameters]
    return None, None, None, None, None, *given
