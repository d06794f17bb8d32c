"""What a layer is called with: features, a matrix [N, N] of the kind that it is made for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_dense, check_like
from ..contracts import is_operator, operators_of
from ..errors import InputError, InputTypeError
from ..sparse import SparseMatrix
from ..sparse.kinds import check_kind, how_to_make


def check_x(x: Any) -> None:
    """Raise InputTypeError unless x is a dense tensor or a SparseMatrix."""
    if not isinstance(x, (Tensor, SparseMatrix)):
        raise InputTypeError(f"x: got {type(x).__name__}, expected a tensor or a SparseMatrix.")
    if isinstance(x, Tensor):
        check_dense("x", x)


def check_operands(x: Any, a_hat: Any, in_channels: int, weight: Tensor, name: str = "a_hat") -> None:
    """Raise unless x [..., num_nodes, in_channels] and a_hat [*, num_nodes] fit each other and the weight.

    `name` is what errors call the matrix.
    """
    check_x(x)
    # A Grid has the shape of its images, and no product.
    if not is_operator(a_hat) or not isinstance(getattr(a_hat, "dtype", x.dtype), torch.dtype):
        raise InputTypeError(
            f"{name}: got {type(a_hat).__name__}, expected a matrix: graph.a_hat, a SparseMatrix, a dense or sparse "
            "tensor; SparseMatrix.from_scipy and from_dense make one."
        )
    if isinstance(a_hat, Tensor) and not a_hat.is_floating_point():
        raise InputTypeError(
            f"{name}: got a tensor of {a_hat.dtype}, expected a matrix of floats; "
            "an edge_index becomes one through Graph.from_edges(edge_index, num_nodes).a_hat."
        )
    shape = x.shape
    if len(shape) not in (2, 3) or shape[-1] != in_channels:
        raise InputError(
            f"x: got shape {tuple(shape)}, expected [num_nodes, {in_channels}] or [batch, num_nodes, {in_channels}]; "
            f"the layer has in_channels={in_channels}."
        )
    if len(a_hat.shape) != 2 or a_hat.shape[1] != shape[-2]:
        raise InputError(
            f"{name}: got shape {tuple(a_hat.shape)}, expected [{shape[-2]}, {shape[-2]}] for x of shape {tuple(shape)}."
        )
    if isinstance(a_hat, Tensor) and a_hat.layout != torch.strided and len(shape) == 3:
        raise InputError(
            f"{name}: a torch sparse tensor takes x [num_nodes, C] alone; SparseMatrix.from_torch({name}) takes a batch."
        )
    check_like("x", x, weight)
    device = weight.device.type
    is_autocast = device != "meta" and torch.is_autocast_enabled(device)
    if isinstance(a_hat, Tensor) and a_hat.dtype != x.dtype and not is_autocast:
        raise InputError(f"{name}: got {a_hat.dtype}, but x is {x.dtype}; convert one with .to(dtype).")
    if getattr(a_hat, "device", weight.device) != weight.device:
        raise InputError(f"{name}: is on {a_hat.device}, but the layer on {weight.device}; move one with .to(device).")


# --------------------------------------------------------------------------------------------------------------------
# Which matrix a layer is called with
# --------------------------------------------------------------------------------------------------------------------


def wanted_operators(model: nn.Module) -> tuple[str, ...]:
    """The kinds of matrices with which every layer of the model computes its formula, the preferred one first.

    A layer names them in its attribute `operator`: a kind of `Graph.matrix`, or a tuple of kinds that do equally well. A
    module that names some speaks for all of its parts. () where no module names any; "l_tilde" is the paper's,
    "l_tilde(2.0)".

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


def warn_if_of_another_kind(layer: Any, operator: Any, stacklevel: int = 5) -> None:
    """Warn where the operator is a Graph's matrix that the layer's formula has no use for.

    These are the kinds that neither `layer.operator` names nor `layer.accepts`. By default the warning points at the
    call of the layer in whose forward this is called.
    """
    if torch.compiler.is_compiling() or not isinstance(operator, SparseMatrix):
        return
    kind, accepted = operator.kind, getattr(layer, "accepts", ())
    if kind is None or kind == layer.operator or kind in accepted or operator.value.is_meta:
        return
    named = operators_of(layer)
    if not _is_among(kind, (*named, *accepted)):
        warnings.warn(
            f"{type(layer).__name__}: got {how_to_make(kind)}, but its formula takes {how_to_make(named[0])}. Pass that "
            "one; if this one is meant, matrix.with_value(matrix.value) makes it a matrix of your own, taken without a word.",
            stacklevel=stacklevel,
        )


def with_operator(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """(name, module, kinds) of each module that names kinds, those within one that does left out."""
    if kinds := operators_of(module):
        yield name or "model", module, kinds
        return
    for part, child in module.named_children():
        yield from with_operator(child, f"{name}.{part}" if name else part)


def _is_among(kind: str, named: Sequence[str]) -> bool:
    """Whether it is named, by itself or, with whatever λ_max, as l_tilde."""
    return kind in named or kind.partition("(")[0] in named


def check_square(x: Any, operator: Any, in_channels: int, weight: Tensor, name: str) -> None:
    check_operands(x, operator, in_channels, weight, name)
    if operator.shape[0] != operator.shape[1]:
        raise InputError(f"{name}: got shape {tuple(operator.shape)}, expected a square matrix.")


def check_pattern(name: str, operator: Any) -> SparseMatrix:
    if not isinstance(operator, SparseMatrix):
        raise InputTypeError(
            f"{name}: got {type(operator).__name__}, expected a SparseMatrix, whose entries say who is a neighbour; "
            "SparseMatrix.from_dense and from_torch make one."
        )
    return operator
