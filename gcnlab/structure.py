"""What arrays of a file must be before anything is computed with them.

A file may have the right sha256 and still be wrong, since another program can write both. All that is read from files is
looked at here, once: in blocks that stay in a core's cache, so that it takes the time of reading memory and none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from .errors import CorruptFileError, GcnlabError
from .inputs import shaped_labels
from .sparse import SparseMatrix

PROBLEM = "is not what gcnlab read from the raw files"  # of a processed file with other fields
_BLOCK = 1 << 16  # entries that are looked at together
_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a value


def read_matrix(
    file: str | PathLike[str],
    arrays: Mapping[str, Tensor],
    prefix: str,
    num_cols: int,
    *,
    ones: bool = False,
    is_symmetric: bool | None = None,
    check_finite: bool = True,
    check: bool = True,
    read: Callable[[str, int, int], Tensor] | None = None,
) -> SparseMatrix:
    """The SparseMatrix of the arrays `{prefix}rowptr`, `{prefix}col` and `{prefix}value` of a file, which shares their memory.

    Args:
        file: what errors name.
        arrays: of the file.
        prefix: of the three.
        num_cols: of the matrix.
        ones: whether all values are 1 where there is no `{prefix}value`.
        is_symmetric: what the file says of it; None where it says nothing.
        check_finite: refuse NaN and infinities among the values.
        check: look at all entries; else at dtypes and lengths alone.
        read: gives, for the name of an array, start and end, this part of it to look at; by default of `arrays`.

    Raises:
        CorruptFileError: dtypes or lengths that no matrix has, a row pointer that falls, columns outside of the matrix,
            unsorted, or twice in a row, values that are not finite, or a matrix that is not as symmetric as `is_symmetric`.
    """

    def refuse(problem: str) -> NoReturn:
        raise CorruptFileError(file, f"{prefix}{problem}")

    for part in ("rowptr", "col", *(() if ones else ("value",))):
        if f"{prefix}{part}" not in arrays:
            refuse(f"{part} is missing.")
    rowptr, col = arrays[f"{prefix}rowptr"], arrays[f"{prefix}col"]
    value = arrays[f"{prefix}value"] if f"{prefix}value" in arrays else torch.ones(len(col))
    if any(part.dim() != 1 for part in (rowptr, col, value)):
        refuse("rowptr, col or value has other than one dimension.")
    if rowptr.dtype != col.dtype or col.dtype not in (torch.int32, torch.int64) or not value.is_floating_point():
        refuse(
            f"rowptr, col and value are {rowptr.dtype}, {col.dtype} and {value.dtype}, expected int32 twice, or int64 twice, "
            "and floats."
        )
    n, nnz = len(rowptr) - 1, len(col)
    if n < 0 or nnz != len(value) or int(rowptr[0]) != 0 or int(rowptr[-1]) != nnz:
        refuse("rowptr, col and value do not fit each other.")
    if n * num_cols > _INT64_MAX or (col.dtype == torch.int32 and max(n, num_cols, nnz) > _INT32_MAX):
        refuse(f"col is {col.dtype}, which cannot number the entries of {n} rows of {num_cols} columns.")
    matrix = SparseMatrix(rowptr, col, value, (n, num_cols))
    if not check:
        return matrix.mark_symmetric() if is_symmetric else matrix
    for start in range(0, n, _BLOCK):
        falls = rowptr[start : start + _BLOCK + 1].diff() < 0
        if bool(falls.any()):
            refuse(f"rowptr decreases after row {start + int(falls.nonzero()[0])}.")

    def part_of(name: str, start: int, end: int) -> Tensor:
        if read is not None:
            return read(f"{prefix}{name}", start, end)
        return (col if name == "col" else value)[start:end]

    differs, weights_differ = _scan(refuse, matrix, part_of, check_finite, is_symmetric is not None)
    if is_symmetric is not None:
        # Values that differ from their partners' by rounding still make a symmetric matrix.
        found = not differs and (not weights_differ or SparseMatrix(rowptr, col, value, (n, n)).is_symmetric())
        if found != is_symmetric:
            refuse(f"col: the matrix is {'' if found else 'not '}symmetric, and the file says the opposite.")
        if found:
            matrix.mark_symmetric()
    return matrix


def _scan(
    refuse: Callable[[str], NoReturn],
    matrix: SparseMatrix,
    part_of: Callable[[str, int, int], Tensor],
    check_finite: bool,
    compare: bool,
) -> tuple[bool, bool]:
    """Look at each entry once; with `compare`, whether entries lack a partner, and whether bits of values differ from theirs.

        sum_ij [A_ij is stored] g(i, j),   sum_ij b_ij g(i, j),   g(i, j) = -g(j, i)

    with g of hashed ids, in integers that wrap around, and b_ij of the hashed bits of A_ij, less those of the first. An entry and its
    partner cancel; without a partner, or with another value, something is left, but for a chance of about 2^-30.
    """
    rowptr, (n, num_cols), index = matrix.rowptr, matrix.shape, matrix.rowptr.dtype
    pattern = weights = 0
    starts = torch.arange(0, matrix.nnz, _BLOCK, dtype=index)
    first_rows = [*(torch.searchsorted(rowptr, starts, right=True) - 1).tolist(), n - 1]
    last_place = (-1, -1)  # row and column of the entry before
    for block, start in enumerate(starts.tolist()):
        end, first, last = min(start + _BLOCK, matrix.nnz), first_rows[block], first_rows[block + 1]
        column, value = part_of("col", start, end), part_of("value", start, end)
        if last - first < _BLOCK:
            count = rowptr[first : last + 2].clamp(start, end).diff()
            row = torch.repeat_interleave(count, output_size=end - start).to(index).add_(first)
        else:  # mostly rows without an entry
            row = (torch.searchsorted(rowptr, torch.arange(start, end, dtype=index), right=True) - 1).to(index)
        low, high = column.aminmax()
        if int(low) < 0 or int(high) >= num_cols:
            at = int(((column < 0) | (column >= num_cols)).nonzero()[0])
            refuse(f"col has ids outside 0 to {num_cols - 1}: {int(column[at])} in row {int(row[at])}.")
        rise = torch.maximum(column.diff(), row.diff())  # of the row, or of the column within it
        if (falls := len(rise) > 0 and int(rise.amin()) <= 0) or (int(row[0]), int(column[0])) <= last_place:
            at = int((rise <= 0).nonzero()[0]) + 1 if falls else 0
            refuse(
                f"col has {int(column[at])} in row {int(row[at])} after one that is not smaller; expected the columns of a row "
                "sorted, each once."
            )
        last_place = int(row[-1]), int(column[-1])
        lowest, highest = (float(side) for side in value.aminmax())
        if check_finite and not (math.isfinite(lowest) and math.isfinite(highest)):
            at = int((~value.isfinite()).nonzero()[0])
            refuse(f"value has {float(value[at])} in row {int(row[at])}, column {int(column[at])}.")
        if not compare:
            continue
        i, j = _hash(row), _hash(column)
        g = (j - i).mul_(i).mul_(j)
        pattern += int(g.sum(dtype=index))
        if block == 0:
            constant, constant_hash = float(value[0]), _hash_of_bits(value[:1], index)
        if not lowest == highest == constant:
            weights += int(g.mul_(_hash_of_bits(value, index).sub_(constant_hash)).sum(dtype=index))
    return pattern % 2**32 != 0, weights % 2**32 != 0


def _hash_of_bits(value: Tensor, dtype: torch.dtype) -> Tensor:
    bits = value.view(_BITS[value.element_size()])
    return _hash((bits ^ (bits >> 32) if value.element_size() == 8 else bits).to(dtype))


def _hash(ids: Tensor) -> Tensor:
    """An odd number for each id, that looks drawn at random."""
    x = ids * 0x1E3779B1
    y = x >> 15
    x.bitwise_xor_(y).mul_(0x05EBCA77)
    return x.bitwise_xor_(torch.bitwise_right_shift(x, 13, out=y)).bitwise_or_(1)


def check_array(
    file: str | PathLike[str],
    arrays: Mapping[str, Tensor],
    name: str,
    dtypes: Sequence[torch.dtype],
    shape: Sequence[int | None],
    least: float = -math.inf,
    below: float = math.inf,
) -> Tensor:
    """The array of a file, if it has one of the dtypes, the shape (None: any size), and values from `least` to under `below`.

    Floats may be NaN where there are no limits, and must else be finite, too. Raises CorruptFileError.
    """
    array = arrays.get(name)
    if array is None:
        raise CorruptFileError(file, f"{name} is missing.")
    fits = len(array.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if array.dtype not in dtypes or not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise CorruptFileError(
            file, f"{name} is {array.dtype} of shape {list(array.shape)}, expected {dtypes[0]} [{expected}]."
        )
    if array.numel() and (least, below) != (-math.inf, math.inf):
        low, high = (side.item() for side in array.aminmax())
        if not (low >= least and high < below):  # NaN too
            raise CorruptFileError(file, f"{name} holds {low} to {high}, expected {least} to less than {below}.")
    return array


def check_blocks(file: str | PathLike[str], arrays: Mapping[str, Tensor], adjacency: SparseMatrix) -> int:
    """The number of graphs whose nodes `node_ptr` states; raises CorruptFileError if it falls, or an edge joins two graphs."""
    n = adjacency.shape[0]
    ptr = check_array(file, arrays, "node_ptr", [torch.int64], [None], 0, n + 1)
    if not len(ptr) or int(ptr[0]) != 0 or int(ptr[-1]) != n or bool((ptr.diff() < 0).any()):
        raise CorruptFileError(file, f"node_ptr does not rise from 0 to {n}.")
    rowptr, size = adjacency.rowptr, ptr.diff()
    rows = (rowptr.diff() > 0).nonzero().squeeze(1)  # of sorted columns, the first and the last stand for all
    for entry, side, is_last in ((rowptr[rows], ptr[:-1], False), (rowptr[rows + 1] - 1, ptr[1:], True)):
        column, bound = adjacency.col[entry.long()], side.repeat_interleave(size, output_size=n)[rows]
        bad = column >= bound if is_last else column < bound
        if bool(bad.any()):
            row = int(rows[bad][0])
            raise CorruptFileError(file, f"an edge {int(column[bad][0])} -> {row} leads from one graph into another.")
    return len(ptr) - 1


def check_rows(
    folder: Path, y: Tensor | None, masks: Mapping[str, Tensor], num_nodes: int, class_names: Sequence[Any] | None
) -> None:
    """Raise CorruptFileError unless the labels or targets y and the masks are those of a Graph of so many nodes."""
    if y is not None:
        try:
            shaped = shaped_labels(y, num_nodes, None if class_names is None else len(class_names))
        except GcnlabError as problem:
            raise CorruptFileError(folder / "y.npy", str(problem)) from None
        if shaped.dtype != y.dtype or shaped.shape != y.shape:
            raise CorruptFileError(
                folder / "y.npy",
                f"holds {y.dtype} of shape {list(y.shape)}, expected {shaped.dtype} {list(shaped.shape)}.",
            )
    splits = next((mask.shape[1:] for mask in masks.values() if mask.dim() == 2 and mask.shape[1] > 1), torch.Size())
    for name, mask in masks.items():
        if mask.dtype != torch.bool or mask.shape != (num_nodes, *splits):
            raise CorruptFileError(
                folder / f"{name}.npy",
                f"holds {mask.dtype} of shape {list(mask.shape)}, expected torch.bool {[num_nodes, *splits]}.",
            )
    has_classes = y is not None and y.dim() == 1 and not y.is_floating_point()
    for start in range(0, num_nodes if masks else 0, _BLOCK):
        part_of = torch.zeros(min(_BLOCK, num_nodes - start), *splits, dtype=torch.uint8)
        if y is not None and has_classes:
            part_of += (y[start : start + _BLOCK] < 0).reshape(-1, *[1] * len(splits))
        for name, mask in masks.items():
            part = mask[start : start + _BLOCK].view(torch.uint8)  # where a bool may be neither 0 nor 1
            part_of += part
            bad = (part > 1) | ((part == 1) & (part_of > 1))
            if bool(bad.any()):
                node = start + int(bad.nonzero()[0, 0])
                raise CorruptFileError(
                    folder / f"{name}.npy",
                    f"holds node {node}, which has no label or is in another mask, or no bool there.",
                )
