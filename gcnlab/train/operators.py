"""The matrix that a model is called with: of which kind, and whether it is the one of its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..contracts import trained_operator
from ..errors import InputError, InputTypeError
from ..graph import Graph, GraphBatch
from ..layers import wanted_operators
from ..layers.operators import warn_if_of_another_kind, with_operator
from ..machine import warn_caller
from ..sparse import SparseMatrix
from ..sparse.kinds import how_to_make, is_kind

OWN = "own"  # of a model's operator: no matrix that a Graph makes


def check_operator(graph: Graph, operator: Any) -> Any:
    if tuple(getattr(operator, "shape", ())) != graph.adjacency.shape:
        found = f"shape {tuple(operator.shape)}" if hasattr(operator, "shape") else f"a {type(operator).__name__}"
        raise InputError(f"operator: got {found}, expected a matrix [{graph.num_nodes}, {graph.num_nodes}].")
    return operator


def check_function(operator: Any) -> Callable[[GraphBatch], Any] | None:
    """What gives the matrix of a batch."""
    if operator is not None and not callable(operator):
        raise InputTypeError(
            f"operator: got a {type(operator).__name__}; of many graphs it is a function of the batch, such as "
            "lambda batch: batch.adjacency."
        )
    return operator


def kinds_for(model: nn.Module) -> tuple[str, ...]:
    """The kinds of matrices that the model may be called with where none is given, the preferred one first."""
    trained = trained_operator(model)
    if trained not in (None, OWN):
        return (trained,)
    kinds = wanted_operators(model) or ("a_hat",)
    if trained == OWN:
        warn_caller(
            f"operator: the model was trained with a matrix of your own, and is called with {how_to_make(kinds[0])} now; "
            "pass yours as operator=."
        )
    return kinds


def kind_of(graph: Graph, operator: Any) -> str:
    """The kind of a matrix, if it is this graph's matrix of that kind; else OWN."""
    kind = operator.kind if isinstance(operator, SparseMatrix) else None
    try:
        ours = graph.matrix(kind) if kind is not None else None
    except InputError:  # another graph's: of this one there is none
        ours = None
    if ours is None or (ours is not operator and not _are_equal(ours, operator)):
        return OWN
    assert kind is not None
    return kind


def _are_equal(a: SparseMatrix, b: SparseMatrix) -> bool:
    if (a.dtype, a.device, a.rowptr.dtype) != (b.dtype, b.device, b.rowptr.dtype):
        return False
    return all(map(torch.equal, (a.rowptr, a.col, a.value), (b.rowptr, b.col, b.value)))


def warn_of_layers(model: nn.Module, operator: Any) -> None:
    """Compare the matrix with what layers of your own name; gcnlab's look at what they are called with themselves."""
    for _, layer, kinds in with_operator(model):
        is_own = not any(base.__module__.startswith("gcnlab.") for base in type(layer).__mro__)
        if is_own and all(map(is_kind, kinds)):
            warn_if_of_another_kind(layer, operator)


def warn_of_training(model: nn.Module, operator: Any) -> None:
    """Compare the matrix with the one that the model was trained with."""
    trained = trained_operator(model)
    kind = operator.kind if isinstance(operator, SparseMatrix) else None
    if trained not in (None, OWN) and kind not in (None, trained):
        warn_caller(
            f"operator: got {how_to_make(kind)}, but the model was trained with {how_to_make(trained)}, which it is called "
            "with where operator is not given."
        )
