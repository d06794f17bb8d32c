"""The numeric variables of a Matlab file of version 5 to 7, read from its bytes.

MAT-File Format (The MathWorks, R2019b), chapter 1. `scipy.io.loadmat` reads more kinds of variables, but reads beyond the
end of its buffers where a file is damaged, and ends the process with it; here every number is compared with what is there.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DatasetFormatError
from ..sparse import SparseMatrix
from .archive import MAX_BYTES

_HEADER = 128  # bytes: text, the version, and which byte of a word comes first
_MATRIX, _COMPRESSED = 14, 15
_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_SPARSE, _DENSE, _IS_COMPLEX = 5, range(6, 16), 0x800  # classes of matrices, and a flag


def read_variables(path: Path, names: Sequence[str], max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Those of these variables that a file has: arrays of numbers, and a SparseMatrix for a sparse one.

    A variable of another class (text, cells, structures, complex numbers) is None.

    Raises:
        DatasetFormatError: not such a file, a damaged one, or one of more than `max_bytes` unpacked.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None or not content.startswith(b"MATLAB 5.0"):
        problem = "not a Matlab file of version 5 to 7; Matlab's save(..., '-v7') writes one"
        raise DatasetFormatError(path, problem, value=content[:20].decode("latin1"))
    found = {}
    try:
        for kind, element in _elements(content[_HEADER:], order):
            if kind == _COMPRESSED:
                unpacker = zlib.decompressobj()
                element = unpacker.decompress(element, max(max_bytes, 1))  # 0 would be no limit
                max_bytes -= len(element)
                if not unpacker.eof:
                    raise ValueError("a variable is cut short, or larger than what is unpacked of a file")
                kind, element = next(_elements(element, order))
            if kind == _MATRIX:
                flags, dims, name, *parts = _elements(element, order)
                if (key := name[1].decode("latin1")) in names:
                    shape = _numbers(dims, order).tolist()
                    found[key] = _matrix(int(_numbers(flags, order)[0]), shape, [_numbers(p, order) for p in parts])
    except (ValueError, struct.error, zlib.error, StopIteration, KeyError, IndexError, OverflowError) as error:
        raise DatasetFormatError(path, f"damaged, or not a Matlab file of version 5 to 7: {error}"[:300]) from error
    return found


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(kind, bytes) of the elements that follow each other."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start, end = at + 8, at + 8 + size
        if kind >> 16:  # up to 4 bytes stand in the element's own two words
            kind, start, end = kind & 0xFFFF, at + 4, at + 4 + (kind >> 16)
        if end > len(content):
            raise ValueError(f"an element states {end - start} bytes, {len(content) - start} follow")
        yield kind, content[start:end]
        at = end if kind == _COMPRESSED else at + -(-(end - at) // 8) * 8  # which need not end at a multiple of 8


def _numbers(element: tuple[int, bytes], order: str) -> np.ndarray:
    kind, content = element
    return np.frombuffer(content, f"{order}{_KINDS[kind]}") if kind in _KINDS else np.zeros(0)


def _matrix(flags: int, shape: list[int], parts: list[np.ndarray]) -> np.ndarray | SparseMatrix | None:
    if flags & _IS_COMPLEX or flags & 0xFF not in (_SPARSE, *_DENSE):
        return None
    if min(shape, default=-1) < 0 or max(shape) >= 2**31:
        raise ValueError(f"a variable has the shape {shape[:4]}")
    if flags & 0xFF in _DENSE:
        if len(parts) != 1 or parts[0].size != math.prod(shape):
            raise ValueError(f"a variable of shape {shape[:4]} has other numbers of values")
        return parts[0].reshape(shape, order="F")
    row, start, value = parts
    start = start.astype(np.int64)
    num_entries, size = int(start[-1]), np.diff(start)
    fits = len(shape) == 2 and len(start) == shape[1] + 1 and start[0] == 0 and not bool((size < 0).any())
    if not fits or num_entries > min(len(row), len(value)):
        raise ValueError(f"the columns of a sparse variable of shape {shape[:4]} do not fit its {len(row)} entries")
    row, value = row[:num_entries].astype(np.int64), value[:num_entries].astype(np.float64)
    if num_entries and not 0 <= row.min() <= row.max() < shape[0]:
        raise ValueError(f"a sparse variable of shape {shape[:4]} has an entry outside")
    entries = torch.from_numpy(row), torch.arange(shape[1]).repeat_interleave(torch.from_numpy(size))
    return SparseMatrix.from_coo(*entries, torch.from_numpy(value), (shape[0], shape[1]), "first")
