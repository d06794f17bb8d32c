"""Dropout of dense and sparse features, also right after relu; on a CPU by the bits of random words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_flag, check_probability
from ..errors import InputTypeError
from ..sparse import Features, SparseMatrix
from ..sparse.kernels import is_eager
from .operators import check_x


def dropout(x: Features, p: float = 0.5, training: bool = True) -> Features:
    """Zero each entry with probability p and divide the others by 1 - p.

    Dropout on a SparseMatrix acts on its stored entries, which is the same thing since the others are zero. On a CPU the
    coin flips are lanes of random 64-bit words, several times faster than torch's Bernoulli sampler; p is then
    rounded to a multiple of 1/65,536, and the scale fits the rounded value.

    Args:
        x: dense or sparse, any shape.
        p: a probability between 0 and 1.
        training: otherwise x is returned as it is.
    """
    p = check_probability("p", p)
    if not check_flag("training", training) or p == 0:
        return x
    check_x(x)
    if isinstance(x, SparseMatrix):
        return x.with_value(_dropout(x.value, p))
    if not x.is_floating_point():
        raise InputTypeError(f"x: got {x.dtype}, expected floats, which can be scaled; x.float() makes some.")
    return _dropout(x, p)


def dropout_reference(x: Tensor, p: float, keep: Tensor | None = None) -> Tensor:
    """x / (1 - p) where `keep` and 0 elsewhere; by default each entry is kept with probability 1 - p < 1."""
    keep = torch.rand(x.shape) >= p if keep is None else keep
    return x * keep.to(x.dtype).mul(1 / (1 - p))


def relu_dropout(h: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """dropout(relu(h)), which stands between two layers.

    For a large array on a CPU both are one pass. So is their derivative, which is read off the result: it is zero where
    either of the two is.
    """
    p = check_probability("p", p)
    if training and 0 < p < 1 and is_large(h):
        return _ReluDropout.apply(h, p)
    h = h.relu()
    return _dropout(h, p) if training and p else h


def relu_dropout_reference(h: Tensor, p: float, keep: Tensor | None = None) -> Tensor:
    """Dropout after relu, as two steps."""
    return dropout_reference(h.relu(), p, keep)


# --------------------------------------------------------------------------------------------------------------------
# Coins: the bits of random words
# --------------------------------------------------------------------------------------------------------------------

_LARGE, _BLOCK = 1 << 20, 1 << 18  # entries
_COINS = (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1  # [256, 8], the bits of a byte


def is_large(x: Tensor) -> bool:
    """Whether x exceeds a CPU's caches, so that passes over it are what takes the time. (Not under vmap and compile.)"""
    return x.numel() >= _LARGE and x.device.type in ("cpu", "meta") and is_eager()


def _dropout(x: Tensor, p: float) -> Tensor:
    if p == 1:
        return x * 0
    if is_large(x) and not (x.requires_grad and torch.is_grad_enabled()):
        return _drop(x, p, relu=False)
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # both have a fused kernel
        return F.dropout(x, p)
    lanes, levels = (torch.int8, 256) if (p * 256).is_integer() else (torch.int16, 65536)
    dropped = min(round(p * levels), levels - 1)  # this many of the `levels` values of a lane
    if not dropped:
        return x
    per_word = 8 if levels == 256 else 4
    words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // per_word),))
    transformed = torch._C._are_functorch_transforms_active()
    coins = _ViewAs.apply(words, lanes) if transformed else words.view(lanes)
    least = dropped - levels // 2  # of the values that keep an entry
    # As integers 0 and 1: torch compares and converts bools one at a time, integers 16 or more.
    keep = coins[: x.numel()].clamp(least - 1, least).sub_(least - 1)
    return x * keep.view(x.shape).to(x.dtype).mul_(levels / (levels - dropped))


def _drop(x: Tensor, p: float, relu: bool) -> Tensor:
    """Dropout of a large array, block by block: a block is still in the cache when its coins have been drawn."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.device.type == "meta":
        return out
    table = _COINS.to(x.dtype) * _scale(p)
    for block, target in zip(x.contiguous().view(-1).split(_BLOCK), out.view(-1).split(_BLOCK), strict=True):
        coins = _random_bits(-(-len(block) // 64), 1 - p).view(torch.uint8)
        factors = table.index_select(0, coins.int()).view(-1)[: len(block)]
        torch.mul(block.relu() if relu else block, factors, out=target)
    return out


def _random_bits(num_words: int, p: float) -> Tensor:
    """int64 words whose bits are each 1 with probability p, rounded to 16 binary digits but not to 0.

    p = 0.b_1 b_2 ... in binary is (b_1 + 0.b_2 ...) / 2. So take bits of probability 0.b_2 ..., and a fair coin: or them
    if b_1 is 1, and them if it is 0.
    """
    digits = _in_65536ths(p)
    bits = None
    for place in range(16):
        digit = digits >> place & 1
        if bits is None and not digit:
            continue
        coin = torch.randint(-(2**63), 2**63 - 1, (num_words,))
        bits = coin if bits is None else coin.bitwise_or_(bits) if digit else coin.bitwise_and_(bits)
    return bits if bits is not None else torch.full((num_words,), -1)


def _in_65536ths(p: float) -> int:
    return max(round(p * 65536), 1)


def _scale(p: float) -> float:
    return 65536 / _in_65536ths(1 - p)


class _ReluDropout(torch.autograd.Function):
    """Dropout after relu, both in one pass over a large array."""

    @staticmethod
    def forward(h: Tensor, p: float) -> Tensor:
        return _drop(h, p, relu=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.scale = _scale(inputs[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g, out, 0.0).mul_(ctx.scale), None


class _ViewAs(torch.autograd.Function):
    """`words.view(dtype)`; torch 2.6 has no vmap rule for it."""

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
