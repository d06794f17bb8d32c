"""The matrices that the theory derives from A, and the spectrum of the Laplacian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..sparse import SparseMatrix
from ..sparse.kinds import KIND_OF

if TYPE_CHECKING:
    from .graph import Graph


def normalized(graph: Graph, self_loops: str | None, norm: str | None) -> SparseMatrix:
    """D̃^-1/2 Ã D̃^-1/2 ("sym"), D̃^-1 Ã ("rw") or Ã (None): `Graph.normalize`."""
    dtype = graph.adjacency.dtype
    matrix = graph.adjacency.with_self_loops(self_loops)
    if norm is not None:
        degree = matrix.row_sums()
        graph.check_degree(matrix, degree)
        inverse = torch.where(degree > 0, degree, 1).pow(-0.5 if norm == "sym" else -1.0) * (degree > 0)
        matrix = matrix.scale(rows=inverse, cols=inverse if norm == "sym" else None)  # in float32 at least, too
    matrix = matrix.to(dtype)
    matrix.kind = KIND_OF[self_loops, norm]  # of (None, None), which is A itself, it is that already
    if norm != "rw" and not graph.is_learnt and not graph.is_directed:
        matrix.mark_symmetric()
    return matrix


def laplacian_of(graph: Graph) -> SparseMatrix:
    """L = I - D^-1/2 A D^-1/2."""
    return _as_derived(graph, _identity(graph) - graph.normalize(None), "laplacian")


def scaled_laplacian(graph: Graph, lambda_max: float, kind: str) -> SparseMatrix:
    """L̃ = 2 L / lambda_max - I, of this kind."""
    return _as_derived(graph, graph.laplacian * (2.0 / lambda_max) - _identity(graph), kind)


def _identity(graph: Graph) -> SparseMatrix:
    return SparseMatrix.eye(graph.num_nodes, graph.adjacency.dtype, graph.device)


def _as_derived(graph: Graph, matrix: SparseMatrix, kind: str) -> SparseMatrix:
    matrix.kind = kind
    return matrix if graph.is_learnt or graph.is_directed else matrix.mark_symmetric()


def lambda_max_of(graph: Graph) -> float:
    """The largest eigenvalue of L of an undirected graph."""
    if graph.is_directed:
        raise InputError(
            "lambda_max: None computes it for a symmetric L, but the graph is directed; give a number, such as 2.0."
        )
    return largest_eigenvalue(graph.laplacian)


def largest_eigenvalue(laplacian: SparseMatrix) -> float:
    """λ_max of a symmetric Laplacian; 2 for a graph without nodes."""
    num_nodes = laplacian.shape[0]
    if num_nodes <= 32:  # the iteration below wants more rows than it finds eigenvalues
        return max(torch.linalg.eigvalsh(laplacian.to_dense().detach().double()).tolist(), default=2.0)
    import numpy
    from scipy.sparse.linalg import eigsh

    start = numpy.random.default_rng(0).standard_normal(num_nodes)  # eigsh itself draws another each time
    return float(eigsh(laplacian.to_scipy().astype("float64"), k=1, which="LA", tol=1e-6, v0=start)[0][0])
