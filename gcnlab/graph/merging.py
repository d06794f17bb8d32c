"""Nodes that no graph convolution can tell apart, computed only once.

Two nodes are alike if they have the same features and, for each class of alike nodes, as many edges of the same weights
into it. That is the coarsest equitable partition, which colour refinement finds (the 1-dimensional Weisfeiler-Lehman
test; Grohe et al. 2014, "Dimension reduction via colour refinement"; for graph networks Bollen et al. 2023). A layer
that sums over neighbours gives alike nodes the same output, so one row per class is enough:

    S [num_nodes, num_classes] says which node is in which class
    Â S = S Q,   Q_cd = sum over the j of class d of Â_ij, for any i of class c

    GCN(S x, Â) = S GCN(x, Q)

and a readout counts each class as often as it has nodes, with P S instead of P. The results are those of all nodes, up
to rounding. In a graph of film co-stars, where all actors of a film know each other, a quarter of the rows and a tenth
of the entries remain.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import GcnlabError
from ..sparse import Features, SparseMatrix


def alike(adjacency: SparseMatrix, x: Features | None, group: Tensor) -> Tensor:
    """The class of each node, [num_nodes] int64, numbered group by group in the order of `group`.

    Multisets of neighbours' colours are compared by 64-bit sums of random numbers, drawn from a fixed seed; `merge`
    checks the result.

    Args:
        adjacency: A [num_nodes, num_nodes].
        x: features [num_nodes, F], or None.
        group: int [num_nodes], rising: only nodes of one group (one graph) may be alike.
    """
    hashes = _Hashes(group.device)
    colour = group.long()
    if not colour.shape[0]:
        return colour
    # Look at A's loops apart: a loop is no edge to some alike node, and Ã adds a loop to the nodes without one.
    colour = _refined(colour, adjacency.diagonal())
    colour = hashes.split_by_rows(colour, x)
    weight, num_colours = hashes.of_values(adjacency.value), 0
    while (found := int(colour.max()) + 1) > num_colours:
        num_colours = found
        colour = _refined(colour, hashes.of_neighbours(adjacency, weight, colour))
    return colour


def alike_reference(adjacency: SparseMatrix, x: Features | None, group: Tensor) -> Tensor:
    """The partition by its definition, classes numbered by their first nodes: refine it until no class splits further."""
    a, n = adjacency.to_dense().tolist(), adjacency.shape[0]
    rows = [[]] * n if x is None else (x.to_dense() if isinstance(x, SparseMatrix) else x).tolist()
    seen: list[object] = [(int(group[i]), a[i][i], rows[i]) for i in range(n)]
    colour: list[int] = []
    while (finer := [seen.index(view) for view in seen]) != colour:  # the first node that sees the same
        colour = finer
        seen = [(colour[i], sorted((a[i][j], colour[j]) for j in range(n) if a[i][j])) for i in range(n)]
    return torch.unique(torch.tensor(colour, dtype=torch.int64), return_inverse=True)[1]


def depth_classes(matrix: SparseMatrix, x: Features, num_layers: int) -> list[Tensor]:
    """The class of each node after 0, 1 .. num_layers products with a matrix [num_nodes, num_nodes], each [num_nodes].

    Two nodes are of one class after 0 products if they have the same features; after l products if, for each class
    after l - 1, they have as many entries of the same values in its columns. A layer gives them the same output.
    """
    hashes = _Hashes(matrix.device)
    classes = [hashes.split_by_rows(torch.zeros(matrix.shape[0], dtype=torch.int64, device=matrix.device), x)]
    value = hashes.of_values(matrix.value)
    for _ in range(num_layers):
        seen = hashes.of_neighbours(matrix, value, classes[-1])
        classes.append(torch.unique(seen, return_inverse=True)[1])
    return classes


def depth_classes_reference(matrix: SparseMatrix, x: Features, num_layers: int) -> list[Tensor]:
    """The classes by their definition, numbered by their first nodes."""
    m, n = matrix.to_dense().tolist(), matrix.shape[0]
    seen: list[object] = (x.to_dense() if isinstance(x, SparseMatrix) else x).tolist()
    classes = []
    for _ in range(num_layers + 1):
        colour = [seen.index(view) for view in seen]
        classes.append(torch.unique(torch.tensor(colour), return_inverse=True)[1])
        seen = [sorted((m[i][j], colour[j]) for j in range(n) if m[i][j]) for i in range(n)]
    return classes


class _Hashes:
    """Random 64-bit integers in place of colours and values, so that a multiset of them is told by its sum."""

    def __init__(self, device: torch.device) -> None:
        self.generator, self.device = torch.Generator().manual_seed(0), device

    def random(self, size: int) -> Tensor:
        return torch.randint(-(2**63), 2**63 - 1, (size,), generator=self.generator).to(self.device)

    def of_values(self, value: Tensor) -> Tensor:
        """A random odd number for each value, [nnz]; 1 where there is but one."""
        distinct, which = torch.unique(value, return_inverse=True)
        return (self.random(distinct.shape[0]) | 1)[which] if distinct.shape[0] > 1 else torch.ones_like(which[:1])

    def of_neighbours(self, matrix: SparseMatrix, value: Tensor, colour: Tensor) -> Tensor:
        """What stands for the multiset of (value, colour of the column) in each row."""
        terms = value * self.random(int(colour.max()) + 1 if len(colour) else 0)[colour][matrix.col.long()]
        return _sums(terms, matrix.rowptr)

    def split_by_rows(self, colour: Tensor, x: Features | None) -> Tensor:
        """The colours of nodes that also have the same features."""
        if isinstance(x, SparseMatrix):
            return _refined(colour, _sums(self.of_values(x.value) * self.random(x.shape[1])[x.col.long()], x.rowptr))
        for column in () if x is None else x.T:
            colour = _refined(colour, column)
        return colour


def _sums(terms: Tensor, rowptr: Tensor) -> Tensor:
    """The sum of each row's terms; integers wrap around, so the differences are exact."""
    total = torch.cat([terms.new_zeros(1), terms.cumsum(0)])
    return total[rowptr[1:].long()] - total[rowptr[:-1].long()]


def _refined(colour: Tensor, seen: Tensor) -> Tensor:
    """The colours of nodes that also see the same."""
    if not len(colour):
        return colour
    _, key = torch.unique(seen, return_inverse=True)
    return torch.unique(colour * (int(key.max()) + 1) + key, return_inverse=True)[1]


def first_nodes(classes: Tensor) -> Tensor:
    """The first node of each class, [num_classes]."""
    n = classes.shape[0]
    first = torch.full((int(classes.max()) + 1 if n else 0,), n, device=classes.device)
    return first.scatter_reduce(0, classes, torch.arange(n, device=classes.device), "amin")


def merge(matrix: SparseMatrix, classes: Tensor, col_classes: Tensor | None = None) -> SparseMatrix:
    """Q [num_classes, num_col_classes] of a propagation matrix: one row of each class, its columns summed by class.

    Args:
        matrix: [num_nodes, num_nodes].
        classes: [num_nodes], the class of each row.
        col_classes: [num_nodes], that of each column, where it is another one.

    Raises:
        GcnlabError: a class holds nodes that differ.
    """
    col_classes = classes if col_classes is None else col_classes
    node, num_cols = first_nodes(classes), int(col_classes.max()) + 1 if len(col_classes) else 0
    rows = matrix.select_rows(node)
    shape = node.shape[0], num_cols
    summed = SparseMatrix.from_coo(rows.row, col_classes[rows.col.long()], rows.value.double(), shape)
    merged = summed.to(matrix.dtype)
    # Freivalds' check of M S_cols = S Q: compare the products with a random vector.
    z = torch.rand(num_cols, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(node.device)
    error = (matrix.to(z.dtype) @ z[col_classes] - (merged.to(z.dtype) @ z)[classes]).abs()
    scale = float((matrix.with_value(matrix.value.abs()).to(z.dtype) @ z[col_classes]).max()) if matrix.nnz else 0.0
    if bool((error > 100 * torch.finfo(matrix.dtype).eps * scale).any()):
        raise GcnlabError(f"merged: node {int(error.argmax())} differs from the others of its class; please report it.")
    return merged


def merge_reference(matrix: SparseMatrix, classes: Tensor, col_classes: Tensor | None = None) -> Tensor:
    """Q by its definition, dense: the rows of M S that belong to one node per class."""
    s = F.one_hot(classes if col_classes is None else col_classes).to(matrix.dtype)  # [num_nodes, num_col_classes]
    return matrix.to_dense()[first_nodes(classes)] @ s
