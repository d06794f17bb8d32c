"""Nodes that no graph convolution can tell apart, computed once.

Two nodes of a graph are alike when they have the same features and as many edges, of the same weights, into every class
of alike nodes: the coarsest equitable partition, which colour refinement finds (the 1-dimensional Weisfeiler-Lehman
test; Grohe et al. 2014, "Dimension reduction via colour refinement"; for graph networks Bollen et al. 2023). A layer
that sums over neighbours gives alike nodes the same output, so it may as well compute one row per class:

    S [num_nodes, num_classes] says which node is of which class
    Â S = S Q,   Q_cd = sum over the j of class d of Â_ij, for any i of class c

    GCN(S x, Â) = S GCN(x, Q)

and a readout counts each class as often as it has nodes: P S in place of P. The numbers are those of all nodes, up to
rounding; of a graph of film co-stars, where everyone knows everyone from the same film, a quarter of the rows and a
tenth of the entries remain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import GcnlabError
from ..sparse import Features, SparseMatrix


def alike(adjacency: SparseMatrix, x: Features | None, group: Tensor) -> Tensor:
    """The class of each node, [num_nodes] int64, numbered group by group in the order of `group`.

    Colours are compared by 64-bit sums of random numbers, drawn from a fixed seed; `merge` checks what comes out.

    Args:
        adjacency: A [num_nodes, num_nodes].
        x: features [num_nodes, F], or None.
        group: int [num_nodes], rising: only nodes of one group (one graph) may be alike.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator).to(group.device)

    def sums(terms: Tensor, rowptr: Tensor) -> Tensor:  # by row; integers wrap around, so the differences are exact
        total = torch.cat([terms.new_zeros(1), terms.cumsum(0)])
        return total[rowptr[1:].long()] - total[rowptr[:-1].long()]

    def refined(colour: Tensor, seen: Tensor) -> Tensor:  # the colours of nodes that also see the same
        _, key = torch.unique(seen, return_inverse=True)
        return torch.unique(colour * (int(key.max()) + 1) + key, return_inverse=True)[1]

    def of_value(value: Tensor) -> Tensor:  # a random odd number for each value, [nnz]; 1 where there is but one
        distinct, which = torch.unique(value, return_inverse=True)
        return (random(distinct.shape[0]) | 1)[which] if distinct.shape[0] > 1 else torch.ones_like(which[:1])

    colour = group.long()
    if not colour.shape[0]:
        return colour
    # A loop is no edge to an alike node, and Ã gives one to who has none.
    colour = refined(colour, adjacency.diagonal())
    if isinstance(x, SparseMatrix):
        colour = refined(colour, sums(of_value(x.value) * random(x.shape[1])[x.col.long()], x.rowptr))
    elif x is not None:
        for column in x.T:
            colour = refined(colour, column)
    weight, col, num_colours = of_value(adjacency.value), adjacency.col.long(), 0
    while (found := int(colour.max()) + 1) > num_colours:
        num_colours = found
        colour = refined(colour, sums(weight * random(num_colours)[colour][col], adjacency.rowptr))
    return colour


def merge(matrix: SparseMatrix, node: Tensor, alike_class: Tensor) -> SparseMatrix:
    """Q [num_classes, num_classes] of a propagation matrix: the rows of one node per class, columns added up by class.

    Args:
        matrix: [num_nodes, num_nodes].
        node: [num_classes], one node of each class.
        alike_class: [num_nodes], the class of each node.

    Raises GcnlabError where a class turns out to hold nodes that differ.
    """
    size = node.shape[0]
    rows = matrix.select_rows(node)
    summed = SparseMatrix.from_coo(rows.row, alike_class[rows.col.long()], rows.value.double(), (size, size))
    merged = summed.to(matrix.dtype)
    # Freivalds' check of M S = S Q: a product with a random vector.
    z = torch.rand(size, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(node.device)
    error = (matrix.to(z.dtype) @ z[alike_class] - (merged.to(z.dtype) @ z)[alike_class]).abs()
    scale = float((matrix.with_value(matrix.value.abs()).to(z.dtype) @ z[alike_class]).max()) if matrix.nnz else 0.0
    if bool((error > 100 * torch.finfo(matrix.dtype).eps * scale).any()):
        raise GcnlabError(f"merged: node {int(error.argmax())} differs from the others of its class; please report it.")
    return merged
