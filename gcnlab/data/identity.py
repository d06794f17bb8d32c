"""Whether two files of different forms hold one data set: digests of what was read, not of the bytes.

A published archive whose bytes are not known is admitted by them: what is read from it must be what is read from the files
that the manifest states by sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor

_ROUNDS = 4  # of colour refinement


def content_digest(arrays: Mapping[str, Tensor]) -> str:
    """sha256 of a graph (entries of A and X, labels), or of a collection, whatever the order of its graphs and nodes.

    A collection is a set of classes, whatever their names, each a multiset of graphs. A graph counts by its colours after
    four rounds of colour refinement (Grohe et al. 2014), which isomorphic graphs share.
    """
    if "node_ptr" not in arrays:
        y = _plain(arrays["y"])
        parts = [*_entries(arrays, "adjacency"), *(_entries(arrays, "x") if "x.col" in arrays else []), y]
        return _sha256(*parts)
    keys, y = _graph_keys(arrays), _plain(arrays["y"])
    classes = sorted(_sha256(np.sort(keys[y == label])) for label in np.unique(y))
    return hashlib.sha256("".join(classes).encode()).hexdigest()


def order_digest(arrays: Mapping[str, Tensor]) -> str:
    """sha256 of the graphs of a collection in their order, with their classes numbered as they first occur."""
    _, first, y = np.unique(_plain(arrays["y"]), return_index=True, return_inverse=True)
    return _sha256(_graph_keys(arrays), np.argsort(np.argsort(first))[y].astype("<i8"))


def _plain(tensor: Tensor) -> np.ndarray:
    """As little-endian numbers of 8 or 4 bytes, so that a digest depends on neither the machine nor the index type."""
    array = tensor.numpy()
    return array.astype("<f4" if array.dtype.kind == "f" else "<i8")


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _entries(arrays: Mapping[str, Tensor], name: str) -> list[np.ndarray]:
    """Row, column and value of the entries that are not 0."""
    rowptr, col = _plain(arrays[f"{name}.rowptr"]), _plain(arrays[f"{name}.col"])
    value = _plain(arrays[f"{name}.value"]) if f"{name}.value" in arrays else np.ones(len(col), "<f4")
    row = np.repeat(np.arange(len(rowptr) - 1, dtype="<i8"), np.diff(rowptr))
    return [part[value != 0] for part in (row, col, value)]


def _graph_keys(arrays: Mapping[str, Tensor]) -> np.ndarray:
    """A number per graph, uint64 [G]: equal for isomorphic graphs."""
    rowptr, col, node_ptr = (arrays[key].numpy() for key in ("adjacency.rowptr", "adjacency.col", "node_ptr"))
    colour = _mixed(np.diff(rowptr).astype("<u8"))
    for _ in range(_ROUNDS):
        colour = _mixed(colour * np.uint64(3) + _sums(_mixed(colour)[col], rowptr))
    return _mixed(_sums(_mixed(colour), node_ptr) + np.diff(node_ptr).astype("<u8"))


def _sums(values: np.ndarray, ptr: np.ndarray) -> np.ndarray:
    """The sum of each segment, modulo 2^64."""
    total = np.concatenate([np.zeros(1, "<u8"), np.cumsum(values, dtype="<u8")])
    return total[ptr[1:]] - total[ptr[:-1]]


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits without structure: the finalizer of splitmix64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
