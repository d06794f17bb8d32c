"""The spectrum of a graph's Laplacian."""

from __future__ import annotations

import torch

from ..sparse import SparseMatrix


def largest_eigenvalue(laplacian: SparseMatrix) -> float:
    """λ_max of a symmetric Laplacian; 2 for a graph without nodes."""
    num_nodes = laplacian.shape[0]
    if num_nodes <= 32:  # the iteration below wants more rows than it finds eigenvalues
        return max(torch.linalg.eigvalsh(laplacian.to_dense().detach().double()).tolist(), default=2.0)
    import numpy
    from scipy.sparse.linalg import eigsh

    start = numpy.random.default_rng(0).standard_normal(num_nodes)  # eigsh itself draws another each time
    return float(eigsh(laplacian.to_scipy().astype("float64"), k=1, which="LA", tol=1e-6, v0=start)[0][0])
