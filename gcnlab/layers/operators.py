"""The operands of a layer: features and a matrix that fit each other, and the matrix of the kind that the formula names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_dense, check_like
from ..contracts import check_matrix, operators_of
from ..errors import InputError, InputTypeError
from ..machine import warn_caller
from ..sparse import Features, SparseMatrix
from ..sparse.kinds import check_kind, how_to_make


def check_operands(layer: Any, x: Any, operator: Any, name: str = "a_hat", square: bool = True) -> None:
    """The check of a layer's forward: raise where a product does not fit, warn of a matrix that the formula has no use for.

    Args:
        layer: its `weight` is [..., in_channels, out_channels].
        x: features [..., num_nodes, in_channels].
        operator: the matrix, [num_nodes, num_nodes]; with square=False any number of rows.
        name: what errors call the matrix.
        square: whether it must be square.
    """
    check_weighted(x, layer.weight)
    check_propagated(operator, x, name, square)
    warn_if_of_another_kind(layer, operator)


def check_x(x: Any) -> None:
    """Raise InputTypeError unless x is a dense tensor or a SparseMatrix."""
    if not isinstance(x, (Tensor, SparseMatrix)):
        raise InputTypeError(f"x: got {type(x).__name__}, expected a tensor or a SparseMatrix.")
    if isinstance(x, Tensor):
        check_dense("x", x)


def check_weighted(x: Any, weight: Tensor) -> None:
    """Raise unless X W is defined: x [..., num_nodes, in_channels], of the dtype and on the device of the weight."""
    check_x(x)
    shape, in_channels = x.shape, weight.shape[-2]
    if len(shape) not in (2, 3) or shape[-1] != in_channels:
        raise InputError(
            f"x: got shape {tuple(shape)}, expected [num_nodes, {in_channels}] or [batch, num_nodes, {in_channels}]; "
            f"the layer has in_channels={in_channels}."
        )
    check_like("x", x, weight)


def check_propagated(operator: Any, x: Features, name: str = "a_hat", square: bool = True) -> None:
    """Raise unless the product operator @ x is defined for x [num_nodes, C] or [batch, num_nodes, C]."""
    check_matrix(name, operator, x.shape[-2], square=square, x_shape=x.shape)
    if isinstance(operator, Tensor):
        if operator.layout != torch.strided and len(x.shape) == 3:
            raise InputError(
                f"{name}: a torch sparse tensor takes x [num_nodes, C] alone; "
                f"SparseMatrix.from_torch({name}) takes a batch."
            )
        device = x.device.type
        if operator.dtype != x.dtype and (device == "meta" or not torch.is_autocast_enabled(device)):
            raise InputError(f"{name}: got {operator.dtype}, but x is {x.dtype}; convert one with .to(dtype).")
    if getattr(operator, "device", x.device) != x.device:
        raise InputError(f"{name}: is on {operator.device}, but the layer on {x.device}; move one with .to(device).")


# --------------------------------------------------------------------------------------------------------------------
# Which matrix a layer is called with
# --------------------------------------------------------------------------------------------------------------------


def wanted_operators(model: nn.Module) -> tuple[str, ...]:
    """The kinds of matrices that every layer of the model has a use for, the preferred one first; () if none names any.

    A layer names them in its attribute `operator`: a kind of `Graph.matrix`, or a tuple of kinds that do equally well. A
    module that names some speaks for all of its parts. "l_tilde" stands for the paper's, "l_tilde(2.0)".

    Raises:
        InputError: no kind fits all layers, or a name is no kind.

    >>> from gcnlab import GCNConv
    >>> wanted_operators(nn.Sequential(GCNConv(2, 3), nn.ReLU()))
    ('a_hat',)
    """
    layers = list(with_operator(model))
    kinds = {check_kind(f"{type(layer).__name__}.operator", kind): None for _, layer, named in layers for kind in named}
    fitting = tuple(kind for kind in kinds if all(_is_among(kind, named) for *_, named in layers))
    if layers and not fitting:
        each = ", ".join(f"{name} ({type(layer).__name__}) {how_to_make(named[0])}" for name, layer, named in layers)
        raise InputError(
            f"operator: the layers of {type(model).__name__} take different matrices: {each}. Pass the one that the model "
            'is called with as operator=, or name it in the class (operator = "a_hat").'
        )
    return tuple("l_tilde(2.0)" if kind == "l_tilde" else kind for kind in fitting)


def warn_if_of_another_kind(layer: Any, operator: Any) -> None:
    """Warn where the operator is a Graph's matrix that the layer's formula has no use for.

    These are the kinds that neither `layer.operator` nor `layer.accepts` names.
    """
    if torch.compiler.is_compiling() or not isinstance(operator, SparseMatrix):
        return
    kind, accepted = operator.kind, getattr(layer, "accepts", ())
    if kind is None or kind == layer.operator or kind in accepted or operator.value.is_meta:
        return
    named = operators_of(layer)
    if not _is_among(kind, (*named, *accepted)):
        warn_caller(
            f"{type(layer).__name__}: got {how_to_make(kind)}, but its formula takes {how_to_make(named[0])}. Pass that "
            "one; if this one is meant, matrix.with_value(matrix.value) makes it a matrix of your own, taken without a word."
        )


def with_operator(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """(name, module, kinds) of each outermost module that names kinds."""
    if kinds := operators_of(module):
        yield name or "model", module, kinds
        return
    for part, child in module.named_children():
        yield from with_operator(child, f"{name}.{part}" if name else part)


def _is_among(kind: str, named: Sequence[str]) -> bool:
    """Whether the kind is named; "l_tilde" names it with any λ_max."""
    return kind in named or kind.partition("(")[0] in named


def check_pattern(name: str, operator: Any) -> SparseMatrix:
    """`operator` if it is a SparseMatrix, whose entries say who is a neighbour."""
    if not isinstance(operator, SparseMatrix):
        raise InputTypeError(
            f"{name}: got {type(operator).__name__}, expected a SparseMatrix, whose entries say who is a neighbour; "
            "SparseMatrix.from_dense and from_torch make one."
        )
    return operator
