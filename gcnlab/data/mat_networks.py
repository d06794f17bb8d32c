"""A network in one Matlab file: the form of the Facebook-100 sets, or that of attributed networks such as BlogCatalog.

Traud et al. 2012, Social Structure of Facebook Networks:

    A             [N, N] sparse, symmetric: a friendship stands in both directions
    local_info    [N, 7] integers: status, gender, major, second major, dorm, year, high school; 0 where not known

Labels and features are those of Lim et al. 2021, Large Scale Learning on Non-Homophilous Graphs: the label is the
gender (no label where it is not known); every other column is one-hot over the values that it has, "not known" among them.

The other form:

    Network       [N, N] sparse, symmetric
    Attributes    X [N, F] sparse
    Label         [N, 1] integers of at least 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from ..sparse import SparseMatrix
from .archive import MAX_BYTES
from .matlab import read_variables
from .node_sets import check, check_options, counts, pack, to_graph
from .npz import label_texts

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again
_STUDENTS, _ATTRIBUTED = ("A", "local_info"), ("Network", "Attributes", "Label")
_NUM_COLUMNS, _GENDER = 7, 1


def read(path: Path, name: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check a Matlab file; header and tensors as `node_sets.pack` returns them.

    Raises:
        DatasetFormatError: not a readable file, or a variable is missing, malformed, or does not fit the other.
    """
    variables = read_variables(path, (*_STUDENTS, *_ATTRIBUTED), max_bytes)
    expected = _ATTRIBUTED if _ATTRIBUTED[0] in variables else _STUDENTS
    for key in expected:
        if key not in variables:
            problem = "this variable is missing; scipy.io.loadmat(path) gives the matrix that Graph.from_scipy takes"
            raise DatasetFormatError(path, problem, key=key)
    if expected == _ATTRIBUTED:
        return _read_attributed(path, name, variables)
    adjacency = _network(path, "A", variables["A"])
    n, info = adjacency.shape[0], variables["local_info"]
    if not isinstance(info, np.ndarray) or info.shape != (n, _NUM_COLUMNS):
        problem = f"expected numbers [{n}, {_NUM_COLUMNS}], a row per node"
        raise DatasetFormatError(path, problem, key="local_info", value=getattr(info, "shape", None))
    if len(bad := np.flatnonzero(~((info >= 0) & (info < 2**31) & (info == np.floor(info))).all(1))):
        problem = f"row {bad[0]} holds something else than integers of at least 0"
        raise DatasetFormatError(path, problem, key="local_info", value=info[bad[0]].tolist())
    gender = [str(value) if value else None for value in info[:, _GENDER].astype(np.int64).tolist()]
    return pack(name, adjacency, _one_hot(np.delete(info, _GENDER, 1)), gender, 0)


def _read_attributed(path: Path, name: str, variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    adjacency = _network(path, "Network", variables["Network"])
    n, x, label = adjacency.shape[0], variables["Attributes"], variables["Label"]
    if not isinstance(x, SparseMatrix) or x.shape[0] != n or not bool(x.value.isfinite().all()):
        problem = f"expected a sparse matrix of finite numbers with {n} rows"
        raise DatasetFormatError(path, problem, key="Attributes", value=getattr(x, "shape", None))
    if not isinstance(label, np.ndarray) or label.shape not in ((n, 1), (1, n)) or bool((label != label.round()).any()):
        problem = f"expected integers [{n}, 1]"
        raise DatasetFormatError(path, problem, key="Label", value=getattr(label, "shape", None))
    return pack(name, adjacency, x.to(torch.float32), label_texts(path, "Label", label.ravel()), 0)


def _network(path: Path, key: str, matrix: Any) -> SparseMatrix:
    """A of a sparse variable, if it is square and symmetric; every entry but 0 is an edge of weight 1."""
    if not isinstance(matrix, SparseMatrix) or matrix.shape[0] != matrix.shape[1]:
        problem = "expected a sparse square matrix of numbers"
        raise DatasetFormatError(path, problem, key=key, value=getattr(matrix, "shape", None))
    stored = matrix.value != 0
    adjacency = SparseMatrix.from_coo(matrix.row[stored].long(), matrix.col[stored].long(), shape=matrix.shape)
    if not adjacency.is_symmetric():
        raise DatasetFormatError(path, "an edge must stand in both directions: it is not symmetric", key=key)
    return adjacency


def _one_hot(columns: np.ndarray) -> SparseMatrix:
    """[N, F]: each column one-hot over the values that it has, in their order, and these side by side."""
    codes, width = [], 0
    for column in columns.T:
        values, code = np.unique(column, return_inverse=True)
        codes.append(code + width)
        width += len(values)
    n = len(columns)
    row, col = np.tile(np.arange(n), len(codes)), np.concatenate(codes)
    return SparseMatrix.from_coo(torch.from_numpy(row), torch.from_numpy(col), shape=(n, width))
