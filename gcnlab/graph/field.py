"""What the outputs of a few nodes depend on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import check_count
from ..sparse import Features, SparseMatrix
from ..sparse.features import select_rows


class ReceptiveField(NamedTuple):
    """What the outputs of a few nodes depend on: `model(x, a_hat)` gives exactly the rows of `nodes`.

    Attributes:
        x: the rows of X that are needed, [n_0, num_features].
        a_hat: one matrix per layer, [n_l, n_{l-1}]; the last has a row for each of `nodes`.
        nodes: the nodes asked for, [n_L].
    """

    x: Features
    a_hat: list[SparseMatrix]
    nodes: Tensor


def receptive_field(x: Features, matrix: SparseMatrix, nodes: Tensor, num_layers: int) -> ReceptiveField:
    """The rows of X and of a propagation matrix that so many layers read for the outputs at `nodes`, int64 ids."""
    check_count("num_layers", num_layers)
    rows, num_nodes = nodes, x.shape[0]
    operators: list[SparseMatrix] = []
    for _ in range(num_layers):
        block = matrix.select_rows(rows)
        is_needed = torch.zeros(num_nodes, dtype=torch.bool, device=rows.device)
        is_needed[block.col.long()] = True
        rows = is_needed.nonzero().squeeze(1)
        operators.insert(0, block.select_cols(rows))
    needed = x if len(rows) == num_nodes and num_layers else select_rows(x, rows)
    return ReceptiveField(needed, operators, nodes)
