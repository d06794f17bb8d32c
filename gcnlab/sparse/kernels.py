"""The products of a sparse matrix in CSR form, and their derivatives.

Row i holds the entries `value[rowptr[i]:rowptr[i + 1]]` in the columns `col[rowptr[i]:rowptr[i + 1]]`:

    (S x)_i = sum_e value[e] * x[col[e]],   rowptr[i] <= e < rowptr[i + 1]

The product and its two derivatives (the transposed product for x, a sampled product for the values) are raw
`torch.library` operators, so that torch.compile sees three opaque calls; `torch.autograd.Function`s around them
give the derivatives and the rules of torch.func.vmap.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1


_USES_TRITON = os.environ.get("GCNLAB_TRITON") == "1"  # triton_spmm.py


_HAS_FBGEMM = "fbgemm" in torch.backends.quantized.supported_engines


# --------------------------------------------------------------------------------------------------------------------
# Operators. `value` is [nnz] and `x` [num_cols, C], or both with a leading batch: [B, nnz] and [B, num_cols, C].
# --------------------------------------------------------------------------------------------------------------------

with warnings.catch_warnings():  # trigger torch's one-time beta warning about CSR tensors here, silenced
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(
        torch.zeros(1, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0), (0, 0)
    )


LIBRARY = torch.library.Library("gcnlab", "DEF")


def spmm_reference(rowptr: Tensor, col: Tensor, value: Tensor, x: Tensor) -> Tensor:
    """The product S x written as its definition: gather the rows of x, weight them, add them up by row of S."""
    row = row_index(rowptr, col.shape[0])
    out = x.new_zeros(rowptr.shape[0] - 1, x.shape[1])
    return out.index_add(0, row, value.unsqueeze(1) * x[col.long()])


def sddmm_reference(rowptr: Tensor, col: Tensor, g: Tensor, x: Tensor) -> Tensor:
    """The product g x^T sampled at the entries of a pattern: <g_i, x_j> at each entry (i, j), [nnz]."""
    return (g[row_index(rowptr, col.shape[0])] * x[col.long()]).sum(1)


def transpose_reference(rowptr: Tensor, col: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """The transpose of a pattern: its row pointer, its columns, and the entry of the matrix at each of its entries."""
    row = row_index(rowptr, col.shape[0])
    order = torch.tensor(sorted(range(len(col)), key=lambda e: (int(col[e]), int(row[e]))), dtype=torch.int64)
    before = torch.tensor([int((col < j).sum()) for j in range(num_cols + 1)])
    return before.to(rowptr.dtype), row[order].to(col.dtype), order


def row_index(rowptr: Tensor, nnz: int) -> Tensor:
    """The row of each entry, [nnz] int64."""
    rows = torch.arange(rowptr.shape[0] - 1, device=rowptr.device)
    return torch.repeat_interleave(rows, rowptr.diff().long(), output_size=nnz)


def csr(rowptr: Tensor, col: Tensor, value: Tensor, num_cols: int) -> Tensor:
    return torch.sparse_csr_tensor(rowptr, col, value, (rowptr.shape[0] - 1, num_cols), check_invariants=False)


def _spmm(rowptr: Tensor, col: Tensor, value: Tensor, x: Tensor) -> Tensor:
    if value.dim() == 2:
        return torch.stack([_spmm(rowptr, col, v, x_b) for v, x_b in zip(value, x, strict=True)])
    value = value.contiguous()  # what vmap or a gradient gives may not be
    if not col.shape[0] or not x.shape[1]:
        return x.new_zeros(rowptr.shape[0] - 1, x.shape[1])
    if x.device.type == "cpu" and _HAS_FBGEMM and x.dtype != torch.float64:
        # A CSR product is a weighted bag of embeddings. FBGEMM's kernel for those checks `col` and sums in float32. It is
        # 0.5 to 1.7 times as fast as MKL's CSR product up to 16 columns, 2 to 4 times as fast from 64 columns on, and
        # 1.6 to 4 times as fast as ATen's (benchmarks/kernels.py).
        # Detached, since it also prepares a derivative of its own for an x that requires a gradient.
        return torch.embedding_bag(x.detach(), col, rowptr, False, 0, False, value, True)[0]
    if x.device.type == "cuda" and _USES_TRITON:
        from .triton_spmm import spmm

        return spmm(rowptr, col, value, x)
    if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16):  # which MKL does not have
        return _spmm(rowptr, col, value.float(), x.float()).to(x.dtype)
    return csr(rowptr, col, value, x.shape[0]) @ x


def _sddmm(rowptr: Tensor, col: Tensor, g: Tensor, x: Tensor) -> Tensor:
    if g.dim() == 3:
        return torch.stack([_sddmm(rowptr, col, g_b, x_b) for g_b, x_b in zip(g, x, strict=True)])
    if g.dtype in (torch.bfloat16, torch.float16):
        return _sddmm(rowptr, col, g.float(), x.float()).to(g.dtype)
    zero = g.new_zeros(col.shape[0])
    if not zero.shape[0] or not g.shape[1]:
        return zero
    # .values() of the result is a view of a sparse tensor, which an operator may not return.
    return torch.sparse.sampled_addmm(csr(rowptr, col, zero, x.shape[0]), g, x.t(), beta=0).values().clone()


def _transpose(rowptr: Tensor, col: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """(row pointer, columns, order): entry e of the transpose is entry order[e], int64, of the matrix.

    It is a stable sort by column, several times as fast as torch's own CSR to CSC. numpy sorts short integers by their
    bytes, which takes a tenth of the time of torch's sort of 5,000 of them.
    """
    if num_cols <= 1 << 15 and col.device.type == "cpu":
        order = torch.from_numpy(col.short().numpy().argsort(kind="stable"))
    else:
        order = col.sort(stable=True).indices  # int64: torch 2.6's vmap of index_select takes no other
    t_rowptr = torch.nn.functional.pad(torch.bincount(col, minlength=num_cols).cumsum(0), (1, 0))
    row = torch.repeat_interleave(rowptr.diff(), output_size=col.shape[0])
    return t_rowptr.to(rowptr.dtype), row.index_select(0, order).to(col.dtype), order


def _spmm_meta(rowptr: Tensor, col: Tensor, value: Tensor, x: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-2], rowptr.shape[0] - 1, x.shape[-1]))


def _sddmm_meta(rowptr: Tensor, col: Tensor, g: Tensor, x: Tensor) -> Tensor:
    return g.new_empty((*g.shape[:-2], col.shape[0]))


def _transpose_meta(rowptr: Tensor, col: Tensor, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    return rowptr.new_empty(num_cols + 1), torch.empty_like(col), torch.empty_like(col, dtype=torch.int64)


for _name, _kernel, _meta in (
    ("spmm", _spmm, _spmm_meta),
    ("sddmm", _sddmm, _sddmm_meta),
    ("transpose", _transpose, _transpose_meta),
):
    LIBRARY.impl(_name, _kernel, "CPU")
    LIBRARY.impl(_name, _kernel, "CUDA")
    LIBRARY.impl(_name, _meta, "Meta")


OPERATORS = torch.ops.gcnlab


def is_eager() -> bool:
    """Whether torch runs each operator at once: no transform of torch.func and no torch.compile looks at it first."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())


def apply_function(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """`function.apply` without binding the arguments to a signature, which only torch.func and torch.compile need.

    The binding takes longer than the product of a small graph: a third of a training step on 32 graphs of imdb-multi.
    Where no gradient is recorded, as in a backward pass, what is left is the forward pass.
    """
    if not is_eager():
        return function.apply(*arguments)
    if not torch.is_grad_enabled() and torch.autograd.forward_ad._current_level < 0:
        return function.forward(*arguments)
    return super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]


def _run(operator: Callable[..., Tensor], kernel: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """The operator; for plain tensors its kernel itself, since torch's way to it takes as long as a small product.

    Transforms, modes and other classes of tensors look for the operator.
    """
    x = arguments[-1]
    is_plain = type(x) in (Tensor, torch.nn.Parameter) and not x.is_meta and is_eager()
    return (kernel if is_plain and not torch._C._len_torch_dispatch_stack() else operator)(*arguments)


class SpMM(torch.autograd.Function):
    """S x. If the transpose (t_rowptr, t_col, t_value) is None, the backward pass makes it.

    It is also None if S is its own transpose, since torch.compile refuses the same tensor twice.
    """

    @staticmethod
    def forward(
        rowptr: Tensor,
        col: Tensor,
        value: Tensor,
        t_rowptr: Tensor | None,
        t_col: Tensor | None,
        t_value: Tensor | None,
        x: Tensor,
        is_symmetric: bool,
    ) -> Tensor:
        return _run(OPERATORS.spmm, _spmm, rowptr, col, value, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *matrix, x, ctx.is_symmetric = inputs
        # Only the derivative for the values reads x, which may be larger than everything else together.
        ctx.save_for_backward(*matrix, x if ctx.needs_input_grad[2] else None)
        ctx.num_cols = x.shape[-2]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        rowptr, col, value, t_rowptr, t_col, t_value, x = ctx.saved_tensors
        grad_value = grad_x = None
        if ctx.needs_input_grad[2]:
            grad_value = apply_function(_SDDMM, rowptr, col, g, x)
        if ctx.needs_input_grad[6] and ctx.is_symmetric:
            grad_x = apply_function(SpMM, rowptr, col, value, None, None, None, g, True)
        elif ctx.needs_input_grad[6] and t_rowptr is None and g.device.type == "cpu" and value.dim() == 1:
            entries = value.unsqueeze(1) * g.index_select(0, row_index(rowptr, col.shape[0]))
            zeros = g.new_zeros(ctx.num_cols, g.shape[1])
            grad_x = zeros.index_add(0, col.long(), entries)  # int64: three times as fast as int32
        elif ctx.needs_input_grad[6]:
            if t_rowptr is None:
                t_rowptr, t_col, order = OPERATORS.transpose(rowptr, col, ctx.num_cols)
                t_value = value.index_select(-1, order)
            grad_x = apply_function(SpMM, t_rowptr, t_col, t_value, rowptr, col, value, g, False)
        return None, None, grad_value, None, None, None, grad_x, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        rowptr, col, value, t_rowptr, t_col, t_value, x, is_symmetric = inputs
        value_dim, x_dim = in_dims[2], in_dims[6]
        if in_dims[0] is not None or in_dims[1] is not None:
            raise InputError(
                "S @ x: torch.func.vmap goes over patterns of S; it takes one for all items, or make S the blocks of one "
                "matrix, sparse.blocks.Block."
            )
        if value_dim is None and x_dim is not None and value.dim() == 1:
            # S is the same for all: the batch becomes columns of one product.
            columns = x.movedim(x_dim, 1)  # [num_cols, B, C]
            out = SpMM.apply(rowptr, col, value, t_rowptr, t_col, t_value, columns.flatten(1), is_symmetric)
            return out.unflatten(1, columns.shape[1:]), 1
        size = info.batch_size
        value, x = _front(value, value_dim, size), _front(x, x_dim, size)
        if t_value is not None:
            t_value = _front(t_value, in_dims[5], size).flatten(0, -2)
        # A nested vmap merges into the one leading batch.
        out = SpMM.apply(rowptr, col, value.flatten(0, -2), t_rowptr, t_col, t_value, x.flatten(0, -3), is_symmetric)
        return out.unflatten(0, value.shape[:-1]), 0


class _SDDMM(torch.autograd.Function):
    """The product g x^T sampled at the entries of a CSR pattern: out[e] = <g[row[e]], x[col[e]]>."""

    @staticmethod
    def forward(rowptr: Tensor, col: Tensor, g: Tensor, x: Tensor) -> Tensor:
        return _run(OPERATORS.sddmm, _sddmm, rowptr, col, g, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rowptr, col, g, x = ctx.saved_tensors
        t_rowptr, t_col, order = OPERATORS.transpose(rowptr, col, x.shape[-2])
        t_grad = grad.index_select(-1, order)
        grad_g = apply_function(SpMM, rowptr, col, grad, t_rowptr, t_col, t_grad, x, False)
        grad_x = apply_function(SpMM, t_rowptr, t_col, t_grad, rowptr, col, grad, g, False)
        return None, None, grad_g, grad_x

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        rowptr, col, g, x = inputs
        g, x = _front(g, in_dims[2], info.batch_size), _front(x, in_dims[3], info.batch_size)
        out = _SDDMM.apply(rowptr, col, g.flatten(0, -3), x.flatten(0, -3))
        return out.unflatten(0, g.shape[:-2]), 0


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    return tensor.movedim(dim, 0) if dim is not None else tensor.expand(size, *tensor.shape)
