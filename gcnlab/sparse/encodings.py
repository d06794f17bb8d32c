"""Positional encodings: columns that tell where in its graph a node stands, which sums over neighbours cannot count.

Parts of A without an edge between them are encoded each by itself, so that the graphs of a batch or a collection, whose A
is block-diagonal, have the encodings that each has alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .matrix import SparseMatrix

_BLOCK_VALUES = 1 << 20  # of the dense columns that powers are computed on at a time, which caches hold
_DENSE_BELOW = 600  # nodes of a part whose eigenvectors are computed of a dense matrix


def random_walk_encodings(adjacency: SparseMatrix, k: int) -> Tensor:
    """P_ii, (P²)_ii, ..., (P^k)_ii of P = D^-1 A, [num_nodes, k] (Dwivedi et al. 2022, section 3.1).

    The probability that a random walk of so many steps ends where it began. A node without neighbours has zeros. Columns
    of the powers are computed in float64, a block at a time: of 10,000 nodes some 20 MB are held.
    """
    label, place, size = _parts(adjacency)
    walk = adjacency.to(torch.float64).row_normalized()
    out = torch.zeros(adjacency.shape[0], k, dtype=torch.float64, device=adjacency.device)
    start, of_node = 0, size.index_select(0, label)
    while start < int(size.max() if len(size) else 0):
        rows = (of_node > start).nonzero().squeeze(1)  # smaller parts are done
        block = walk.select_rows(rows).select_cols(rows)
        width = min(max(_BLOCK_VALUES // len(rows), 1), int(size.max()) - start)
        column = place[rows] - start  # one product serves all parts: they do not mix
        own = ((column >= 0) & (column < width)).nonzero().squeeze(1)
        power = torch.zeros(len(rows), width, dtype=torch.float64, device=adjacency.device)
        power[own, column[own]] = 1
        for t in range(k):
            power = block @ power
            out[rows[own], t] = power[own, column[own]]
        start += width
    return out.to(adjacency.dtype)


def laplacian_encodings(adjacency: SparseMatrix, k: int) -> Tensor:
    """Eigenvectors of I - D^-1/2 A D^-1/2 for the k smallest eigenvalues but the first, [num_nodes, k] (Dwivedi et al. 2020).

    In the order of the eigenvalues, each of length 1. The sign, which is free, makes the entry of the largest magnitude
    positive; of several that differ by less than 1e-6 of it, that of the first node. Eigenvectors of one eigenvalue are free
    up to a rotation, and so are what the solver returns. Each connected part has eigenvectors of its own, the one of
    eigenvalue 0 left out, and columns of zeros where it has fewer than k others.

    Raises InputError for a directed graph or a negative weight.
    """
    if not adjacency.is_symmetric():
        raise InputError('kind: "laplacian" takes an undirected graph; graph.to_undirected() makes one.')
    if bool((adjacency.value < 0).any()):
        raise InputError('kind: "laplacian" takes edge weights of 0 or more, but some are negative.')
    label, _, size = _parts(adjacency)
    degree = adjacency.row_sums().double()
    scale = torch.where(degree > 0, degree.rsqrt(), 0)
    normalized = adjacency.to(torch.float64).scale(rows=scale, cols=scale).to_scipy()
    out = torch.zeros(adjacency.shape[0], k, dtype=torch.float64)
    order, end = label.sort(stable=True).indices.cpu(), size.cumsum(0).tolist()
    for first, last in zip([0, *end[:-1]], end, strict=True):
        nodes = order[first:last]
        if last - first > 1:
            vectors = _largest_vectors(normalized[nodes.numpy()][:, nodes.numpy()], k)
            out[nodes, : vectors.shape[1]] = vectors
    return out.to(adjacency.dtype).to(adjacency.device)


def _largest_vectors(matrix: Any, k: int) -> Tensor:
    """Eigenvectors of a connected part's D^-1/2 A D^-1/2 for its largest eigenvalues but the first, [size, at most k]."""
    num_nodes = matrix.shape[0]
    if num_nodes < max(_DENSE_BELOW, k + 2):
        vectors = torch.linalg.eigh(torch.from_numpy(matrix.toarray())).eigenvectors.flip(1)
    else:
        import numpy
        from scipy.sparse.linalg import eigsh

        start = numpy.random.default_rng(0).standard_normal(num_nodes)  # eigsh itself draws another each time
        values, found = eigsh(matrix, k=k + 1, which="LA", v0=start)
        vectors = torch.from_numpy(found[:, values.argsort()[::-1]].copy())
    vectors = vectors[:, 1 : k + 1]
    magnitude = vectors.abs()
    leading = (magnitude >= (1 - 1e-6) * magnitude.amax(0)).int().argmax(0)  # the first of them
    return vectors * vectors.gather(0, leading.unsqueeze(0)).sign()


def _parts(adjacency: SparseMatrix) -> tuple[Tensor, Tensor, Tensor]:
    """(part of each node [num_nodes], its number within the part [num_nodes], nodes of each part): connected, of any direction."""
    from scipy.sparse.csgraph import connected_components

    pattern = adjacency.with_value(torch.ones_like(adjacency.value)).to_scipy()  # an entry of 0 is an edge, too
    found = connected_components(pattern, directed=False)[1]
    label = torch.from_numpy(found).long().to(adjacency.device)
    size = torch.bincount(label)
    order = label.sort(stable=True).indices
    first = (size.cumsum(0) - size).index_select(0, label[order])
    place = torch.empty_like(label).index_copy(0, order, torch.arange(len(label), device=label.device) - first)
    return label, place, size
