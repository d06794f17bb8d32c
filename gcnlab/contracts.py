"""What gcnlab asks of models, layers, relations and operators that it did not make, and the one place that reads it.

A class meets a contract by having its attributes; it need not inherit from anything here. Everything is optional: a
module without any of the attributes is a model that is called with x and one matrix. `docs/howto/research-models.md`
shows what each of them brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .errors import InputError, InputTypeError
from .sparse import Features, SparseMatrix


@runtime_checkable
class Operator(Protocol):
    """A matrix that a layer takes in place of Â: it multiplies features and has a shape.

    A SparseMatrix, a dense or torch sparse tensor and `grid.operator` are operators.
    """

    @property
    def shape(self) -> Any:
        """(num_targets, num_nodes)."""

    def __matmul__(self, x: Any, /) -> Any:
        """The product with x [num_nodes, C], or with x [batch, num_nodes, C] of signals on one graph."""


@runtime_checkable
class Relations(Protocol):
    """The matrices A_r of a `RelationalGCNConv`, which also have their sum of products in one piece, as a grid has.

    A plain list of operators needs none of this: the layer then multiplies with one matrix after the other.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(num_nodes, num_nodes), of each matrix."""

    def __len__(self) -> int:
        """The number of relations."""

    def __iter__(self) -> Iterator[SparseMatrix]:
        """The matrices, in the order of the weights."""

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """sum_r A_r x W_r + b for x [..., num_nodes, in], weight [num_relations, in, out] and bias [out]."""


class NamesItsOperator(Protocol):
    """A layer, or a model for all of its layers, that names the matrix which its formula takes.

    `fit`, `predict` and the recipes call it with that matrix; another kind of matrix is warned of.
    """

    operator: str | tuple[str, ...]  # kinds of `Graph.matrix` that do equally well, the preferred one first


class Layerwise(Protocol):
    """A model whose forward takes a list of one matrix per layer, so that training skips rows that the loss never sees.

    Output rows may depend on their receptive field alone: a batch norm over all nodes rules this out.
    """

    layerwise: bool
    num_layers: int  # products with the matrix, one after the other

    def __call__(self, x: Features, operators: list[Any]) -> Tensor:
        """Rows of the outputs that the last matrix has; the l-th matrix is [n_l, n_{l-1}]."""


class LayerByLayer(Protocol):
    """A model that offers its layers one at a time, for `predict(..., batch_size=...)` on graphs larger than memory."""

    num_layers: int
    by_layer: bool  # False where, despite its method `layer`, rows depend on more than the rows of neighbours
    reads_own_rows: bool  # whether it reads H_i at the rows computed, too: a_hat is then square, and rows are left over

    def layer(self, i: int, h: Any, a_hat: Any) -> Tensor:
        """H_{i+1} of H_i in evaluation mode, for the rows that a_hat has."""


class MergesNodes(Protocol):
    """A model of graphs that gives alike nodes the same outputs, and reads `p.multiplicity` wherever it counts nodes.

    `fit` and `predict` then compute one row per class of alike nodes (`GraphCollection.merged`). A row of multiplicity 0
    stands for no node, and fills a batch up to the size of those that are trained beside it.
    """

    merges_nodes: bool


class MergesByLayer(Protocol):
    """A model that merges nodes, and whose forward also takes a list of one matrix and one P per layer.

    Row i of the output of layer l stands for p[l].multiplicity[i] nodes. `fit` then computes one row per class of nodes
    that so many layers cannot tell apart (`graph.unfolding`), where these are few.
    """

    merges_by_layer: bool
    num_layers: int

    def __call__(self, x: Features, operators: list[Any], p: list[Any]) -> Tensor:
        """Outputs of the graphs, [num_graphs, ...]; the l-th matrix is [n_l, n_{l-1}], the l-th P [num_graphs, n_l]."""


class Configured(Protocol):
    """A model that says the arguments of its constructor, as plain values that JSON has; a checkpoint keeps them."""

    config: dict[str, Any] | None


class Trained(Protocol):
    """A model that says which matrix it was trained with: a kind of `Graph.matrix`, or "own". `fit` sets it."""

    trained_operator: str | None


# --------------------------------------------------------------------------------------------------------------------
# Reading them
# --------------------------------------------------------------------------------------------------------------------


def is_layerwise(model: Any) -> bool:
    """Whether its forward takes one matrix per layer (`Layerwise`)."""
    return bool(getattr(model, "layerwise", False))


def num_operators(model: Any) -> int | None:
    """How many matrices its forward takes, or None where it takes one for all of its layers."""
    return int(model.num_layers) if is_layerwise(model) else None


def goes_by_layer(model: Any) -> bool:
    """Whether it offers one layer at a time (`LayerByLayer`)."""
    return hasattr(model, "layer") and bool(getattr(model, "by_layer", True))


def layer_reads_own_rows(model: Any) -> bool:
    """Whether its layers, one at a time, take a square matrix (`LayerByLayer`)."""
    return bool(getattr(model, "reads_own_rows", False))


def merges_nodes(model: Any) -> bool:
    """Whether it takes batches with alike nodes merged (`MergesNodes`)."""
    return bool(getattr(model, "merges_nodes", False))


def merged_layers(model: Any) -> int:
    """After how many layers it takes nodes merged by layer (`MergesByLayer`); 0 where it does not."""
    return int(model.num_layers) if getattr(model, "merges_by_layer", False) else 0


def config_of(model: Any) -> Any:
    """The arguments of its constructor, None where it does not say them (`Configured`)."""
    return getattr(model, "config", None)


def trained_operator(model: Any) -> Any:
    """The kind of matrix that it was trained with, "own", or None where that is not known (`Trained`)."""
    return getattr(model, "trained_operator", None)


def operators_of(layer: Any) -> tuple[str, ...]:
    """The kinds of matrices that a layer names; () for none, or where its `operator` is something else of its author's."""
    named: Any = getattr(layer, "operator", ())
    named = (named,) if isinstance(named, str) else named
    return named if isinstance(named, tuple) and all(isinstance(kind, str) for kind in named) else ()


def is_operator(value: Any) -> bool:
    """Whether it multiplies and has a shape (`Operator`)."""
    return hasattr(value, "shape") and hasattr(value, "__matmul__")


def convolves(relations: Any) -> bool:
    """Whether relations have their sum of products in one piece (`Relations`)."""
    return hasattr(relations, "convolve")


def check_matrix(
    name: str, matrix: Any, num_nodes: int, *, square: bool = True, sparse: bool = False, x_shape: Sequence[int] = ()
) -> None:
    """Raise unless `matrix` is one of floats that multiplies features of so many nodes, [num_nodes, num_nodes].

    Args:
        name: what errors call it.
        matrix: a SparseMatrix, a dense or torch sparse tensor, or any other object with `shape` and `@`.
        num_nodes: its columns.
        square: whether it must have as many rows, too.
        sparse: whether only a SparseMatrix will do.
        x_shape: of the features, if an error should name it.

    Raises:
        InputTypeError: no matrix, or not of floats.
        InputError: another shape; with `sparse`, anything else than a SparseMatrix.
    """
    if sparse and not isinstance(matrix, SparseMatrix):
        found = type(matrix).__name__
        raise InputError(f"{name}: got {found}, expected a SparseMatrix [{num_nodes}, {num_nodes}].")
    # A Grid has the shape of its images, and no product.
    if not is_operator(matrix) or not isinstance(getattr(matrix, "dtype", torch.float32), torch.dtype):
        raise InputTypeError(
            f"{name}: got {type(matrix).__name__}, expected a matrix: graph.a_hat, a SparseMatrix, a dense or sparse "
            "tensor; SparseMatrix.from_scipy and from_dense make one."
        )
    if isinstance(matrix, Tensor) and not matrix.is_floating_point():
        raise InputTypeError(
            f"{name}: got a tensor of {matrix.dtype}, expected a matrix of floats; "
            "an edge_index becomes one through Graph.from_edges(edge_index, num_nodes).a_hat."
        )
    shape = matrix.shape
    fits = len(shape) == 2 and shape[1] == num_nodes
    if not fits or (square and shape[0] != num_nodes):
        what = "a square matrix, " if fits else ""
        of_x = f" for x of shape {tuple(x_shape)}" if x_shape else ""
        raise InputError(f"{name}: got shape {tuple(shape)}, expected {what}[{num_nodes}, {num_nodes}]{of_x}.")
