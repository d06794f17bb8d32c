"""Many seeds as one model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..graph import Graph, GraphBatch
from ..sparse import SparseMatrix


def are_stackable(a: nn.Module, b: nn.Module) -> bool:
    """Whether what the modules hold beside their weights is the same, as far as it is tensors and plain values.

    Nothing is like a matrix of learnt values: a stack has weights of its own, which the matrix would not follow.
    """

    def same(v: Any, w: Any) -> bool:
        if isinstance(v, Graph | GraphBatch):
            graph = v.graph if isinstance(v, GraphBatch) else v
            return not any(value.requires_grad for value in graph.values.values())
        if isinstance(v, Tensor):
            return isinstance(w, Tensor) and v.shape == w.shape and torch.equal(v, w)
        if isinstance(v, SparseMatrix):
            return (
                isinstance(w, SparseMatrix)
                and not v.value.requires_grad
                and all(map(same, (v.rowptr, v.col, v.value), (w.rowptr, w.col, w.value)))
            )
        if isinstance(v, (list, tuple)):
            return isinstance(w, type(v)) and len(v) == len(w) and all(map(same, v, w))
        return v == w if isinstance(v, (bool, int, float, str)) else True

    return all(
        same(value, vars(n).get(name))
        for m, n in zip(a.modules(), b.modules(), strict=True)
        for name, value in vars(m).items()
    )
