"""The CSR product S x as one Triton kernel, for CUDA: a program makes a stretch of one row, its entries in order.

Off unless the environment says GCNLAB_TRITON=1, since it has not run on a GPU yet: its numbers are tested in Triton's
interpreter, on a CPU. The sums are in float32 at least and in the order of the entries, so that a run repeats to the bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ENTRIES, COLUMNS = 16, 128  # at a time


@triton.jit
def _kernel(rowptr, col, value, x, out, num_columns, entries: tl.constexpr, columns: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    is_column = column < num_columns
    start, end = tl.load(rowptr + row), tl.load(rowptr + row + 1)
    total = tl.zeros([columns], dtype=tl.float64 if out.dtype.element_ty == tl.float64 else tl.float32)
    for first in range(start, end, entries):
        entry = first + tl.arange(0, entries)
        is_entry = entry < end
        source = tl.load(col + entry, mask=is_entry, other=0).to(tl.int64)
        weight = tl.load(value + entry, mask=is_entry, other=0).to(total.dtype)
        place = source[:, None] * num_columns + column[None, :]
        rows = tl.load(x + place, mask=is_entry[:, None] & is_column[None, :], other=0).to(total.dtype)
        total += tl.sum(weight[:, None] * rows, axis=0)
    tl.store(out + row * num_columns + column, total.to(out.dtype.element_ty), mask=is_column)


def spmm(rowptr: Tensor, col: Tensor, value: Tensor, x: Tensor) -> Tensor:
    """S x, [num_rows, C], of S in CSR form and x [num_cols, C]."""
    value, x = value.contiguous(), x.contiguous()
    num_rows, num_columns = rowptr.shape[0] - 1, x.shape[1]
    out = torch.empty(num_rows, num_columns, dtype=x.dtype, device=x.device)
    if out.numel():
        columns = min(COLUMNS, triton.next_power_of_2(num_columns))
        _kernel[(num_rows, triton.cdiv(num_columns, columns))](
            rowptr, col, value, x, out, num_columns, entries=ENTRIES, columns=columns
        )
    return out
