"""Features X of nodes, dense or, if few entries are not 0, sparse: checks, rows, and features made of degrees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import check_choice, check_count
from ..errors import InputError
from ..inputs import as_tensor, is_table, table_numbers
from ..memory import check_large
from .encodings import laplacian_encodings, random_walk_encodings
from .matrix import SparseMatrix

_CHUNK = 1 << 22  # values checked at a time: a mapped X may be larger than memory


SPARSE_BELOW = 0.15  # X is kept sparse while fewer of its entries than this are non-zero


Features = Tensor | SparseMatrix


DEGREE_FEATURES = ("degree_one_hot", "degree_bins", "log_degree")
ENCODINGS = {"rwpe": random_walk_encodings, "laplacian": laplacian_encodings}


def check_max_degree(kind: str | None, max_degree: int | None) -> None:
    """Raise InputError unless max_degree is None, or a degree with a kind of features that has a column for it."""
    if max_degree is not None and kind not in ("degree", "degree_one_hot", "degree_bins"):
        raise InputError(f"max_degree: got {max_degree} for {kind!r} features; it goes with one-hot degrees or bins.")
    if max_degree is not None:
        check_count("max_degree", max_degree)


def degree_features(degree: Tensor, kind: str, max_degree: int | None = None) -> Features:
    """X of degrees, int64 [N].

    Args:
        degree: of each node.
        kind: "degree_one_hot": one-hot in columns 0, ..., max_degree. "degree_bins": floor(2 log2(1 + degree)), one-hot,
            for graphs whose degrees spread over powers of ten. "log_degree": log(1 + degree), [N, 1].
        max_degree: nodes of a higher degree share the last column, or bin; by default the highest degree.
    """
    if kind == "log_degree":
        return degree.float().log1p().unsqueeze(1)
    highest = int(degree.max()) if max_degree is None else max_degree
    code = degree.clamp(max=highest)
    if kind == "degree_one_hot":
        return one_hot(code, highest + 1)
    check_large(
        "max_degree",
        f"bins of degrees to {highest:,}",
        40 * highest,
        degree.device,
        "pass the highest degree there is.",
    )
    bins = (2 * (torch.arange(highest + 1, device=degree.device) + 1).double().log2()).long()  # of each degree
    return one_hot(bins[code], int(bins[-1]) + 1)


def check_num_columns(kind: str | None, k: int | None) -> None:
    """Raise InputError unless k is a count of 1 or more for encodings, and None for other features."""
    if kind in ENCODINGS and k is None:
        raise InputError(f"k: got None, but {kind!r} features need the number of their columns, such as k=16.")
    if k is not None and kind not in ENCODINGS:
        raise InputError(f"k: got {k} for {kind!r} features; it goes with {' and '.join(map(repr, ENCODINGS))}.")
    if k is not None:
        check_count("k", k, 1)


def structural_features(
    adjacency: SparseMatrix,
    kind: str,
    max_degree: int | None = None,
    k: int | None = None,
    before: Features | None = None,
) -> Features:
    """X made of A, of one of the kinds of `Graph.with_features`; behind the columns of `before` where there are some."""
    check_choice("kind", kind, ("identity", "adjacency", "constant", "degree", *DEGREE_FEATURES, *ENCODINGS))
    if kind in ENCODINGS and k is None:
        k, max_degree = max_degree, None  # the second argument by place, which is k of these kinds
    check_max_degree(kind, max_degree)
    check_num_columns(kind, k)
    if k is not None:
        x: Features = ENCODINGS[kind](adjacency.with_value(adjacency.value.detach()), k)
    else:
        x = _features_of(adjacency, kind, max_degree)
    return x if before is None else _side_by_side(before, x)


def _features_of(adjacency: SparseMatrix, kind: str, max_degree: int | None) -> Features:
    n, count = adjacency.shape[0], adjacency.rowptr.diff().long()
    if kind == "identity":
        return SparseMatrix.eye(n, device=adjacency.device)
    if kind == "constant":
        return torch.ones(n, 1, device=adjacency.device)
    if kind == "adjacency":
        return adjacency.with_self_loops("add")
    if kind == "degree":
        return adjacency.row_sums().unsqueeze(1)
    if max_degree is None and kind in ("degree_one_hot", "degree_bins"):
        max_degree = int(count.max()) if n else 0
    return degree_features(count, kind, max_degree)


def _side_by_side(x: Features, more: Features) -> Features:
    """[X | more], sparse where one of them is."""
    if isinstance(x, Tensor) and isinstance(more, Tensor):
        return torch.cat([x, more.to(x.dtype)], 1)
    left, right = (m if isinstance(m, SparseMatrix) else SparseMatrix.from_dense(m) for m in (x, more))
    col = torch.cat([left.col.long(), right.col.long() + left.shape[1]])
    value = torch.cat([left.value, right.value.to(left.dtype)])
    shape = left.shape[0], left.shape[1] + right.shape[1]
    return SparseMatrix.from_coo(torch.cat([left.row, right.row]), col, value, shape)


def row_normalized(x: Features) -> Features:
    """Each row of X divided by the sum of its absolute values; zero rows stay zero."""
    if isinstance(x, SparseMatrix):
        total = x.with_value(x.value.abs()).row_sums()
        return x.scale(rows=torch.where(total == 0, 1.0, 1 / total)).to(x.dtype)
    total = x.abs().sum(1, keepdim=True)
    return x / torch.where(total == 0, 1, total)


def one_hot(code: Tensor, width: int) -> SparseMatrix:
    """Rows with a 1 in the column `code`, int64 [N]."""
    n = len(code)
    rowptr = torch.arange(n + 1, dtype=torch.int32, device=code.device)
    return SparseMatrix(rowptr, code.int(), torch.ones(n, device=code.device), (n, width))


def select_rows(x: Features, rows: Tensor) -> Features:
    """The given rows of X, int64 ids."""
    parts = (x.col, x.value) if isinstance(x, SparseMatrix) else (x,)
    size = sum(t.nbytes for t in parts)  # a view counts at its own size
    part = size * len(rows) // max(x.shape[0], 1)
    check_large("nodes", f"the features of {len(rows):,} nodes", part, rows.device, "take fewer at a time, or sample.")
    return x.select_rows(rows) if isinstance(x, SparseMatrix) else x.index_select(0, rows)


def values_of(x: Features) -> Tensor:
    """X itself where it is dense, else its stored values."""
    return x.value if isinstance(x, SparseMatrix) else x


def check_features(x: Any, num_nodes: int, check_finite: bool) -> Features:
    x = _as_features(x, check_finite)
    if len(x.shape) != 2 or x.shape[0] != num_nodes:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected [{num_nodes}, num_features], a row for each node.")
    if check_finite:
        check_features_finite(x)
    if isinstance(x, Tensor) and x.numel() and float((x != 0).float().mean()) < SPARSE_BELOW and not x.requires_grad:
        return SparseMatrix.from_dense(x)
    if isinstance(x, SparseMatrix) and x.density >= SPARSE_BELOW and not x.value.requires_grad:
        return x.to_dense()
    return x


def _as_features(x: Any, check_finite: bool) -> Features:
    if isinstance(x, SparseMatrix):
        return x
    if hasattr(x, "tocsr"):
        return SparseMatrix.from_scipy(x, "x", check_finite)
    if isinstance(x, Tensor) and x.layout != torch.strided:
        return SparseMatrix.from_torch(x, "x", check_finite)
    x = as_tensor("x", table_numbers("x", x) if is_table(x) else x, "numbers, [num_nodes, num_features]")
    if x.is_complex():
        raise InputError("x: got complex values, expected real ones.")
    return x if x.is_floating_point() else x.float()


def check_features_finite(x: Features, name: str = "x") -> None:
    """Raise InputError if x holds a NaN or an infinity, with their number and the first row that has one."""
    value = x.value if isinstance(x, SparseMatrix) else x
    if all(bool(torch.isfinite(part).all()) for part in value.detach().flatten().split(_CHUNK)):
        return
    bad = ~torch.isfinite(value.detach())
    rows = x.row[bad] if isinstance(x, SparseMatrix) else bad.nonzero()[:, 0]
    raise InputError(
        f"{name}: {int(bad.sum())} values are NaN or infinite, the first in row {int(rows[0])}; "
        "replace them (torch.nan_to_num), or pass check_finite=False."
    )
