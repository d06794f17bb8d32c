"""Sparse matrices: the matrix and its products, features that are dense or sparse, and the kinds of matrices of a graph."""

from .features import Features
from .kernels import spmm_reference
from .matrix import SparseMatrix

__all__ = ["Features", "SparseMatrix", "spmm_reference"]
