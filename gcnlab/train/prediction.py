"""Predictions in evaluation mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data import ImageSet
from ..errors import InputError, InputTypeError
from ..graph import Graph, GraphBatch, GraphCollection, GraphLoader
from ..image import Signals
from ..inputs import check_nodes
from ..precompute import EVALUATION_ROWS, NodeRows
from ..scale import predict_in_batches
from ..sparse import SparseMatrix
from ..trace import evaluation
from .feeds import EVALUATION_BATCH
from .operators import check_function, check_operator, kinds_for, num_operators, warn_of_layers, warn_of_training


def check_data(data: Any) -> None:
    """Raise InputTypeError, with the call that makes it, for what is not data to train on or to predict."""
    if isinstance(data, (Graph, GraphBatch, GraphCollection, Signals, NodeRows)):
        return
    remedy = ""
    if isinstance(data, ImageSet):
        remedy = (
            " Signals(data.train_images, data.train_labels, data.grid()) are its training images for a grid network, and "
            "without the grid for a CNN."
        )
    elif hasattr(data, "__array__"):
        remedy = (
            " Signals(images, labels, grid) has images for a grid network, and without the grid for a CNN; "
            "Graph(adjacency, x, labels) has the features of nodes."
        )
    elif isinstance(data, (list, tuple)):
        remedy = " GraphCollection.from_graphs makes one of a list of graphs."
    raise InputTypeError(
        f"data: got {type(data).__name__}, expected a Graph, a GraphBatch, a GraphCollection, Signals or NodeRows.{remedy}"
    )


def predict(
    model: nn.Module,
    data: Graph | GraphBatch | GraphCollection | Signals | NodeRows,
    nodes: Tensor | None = None,
    operator: Any = None,
    batch_size: int | None = None,
) -> Tensor:
    """Logits in evaluation mode, without gradients.

    Args:
        model: called as `fit` calls it.
        data: one graph or NodeRows: [num_nodes, num_classes]; a batch or a collection of graphs: [num_graphs, num_classes];
            images: [num_images, num_classes].
        nodes: of one graph or NodeRows, a mask or ids: only their rows.
        operator: of one graph, the matrix that the model is called with; of many, a function of the batch that gives it.
            By default the kind that the model was trained with (`model.trained_operator`), else as for `fit`.
        batch_size: of one graph, compute so many nodes at a time, each with all of its neighbours, layer by layer: for
            graphs that do not fit in memory, whose `a_hat` is then never made (a matrix of another kind is). The model
            must be layerwise, as `GCN` is.

    Warns where the model was trained with another kind of matrix than `operator`, or with one of your own and `operator`
    is not given.
    """
    check_data(data)
    if batch_size is not None and not (isinstance(data, Graph) and (num_operators(model) or hasattr(model, "layer"))):
        raise InputError(
            f"batch_size: got {batch_size} with {type(data).__name__} and {type(model).__name__}; it goes with one Graph and "
            "a layerwise model, such as GCN. Other data are read in batches anyway."
        )
    is_batch = isinstance(data, (GraphBatch, GraphCollection))
    if nodes is not None and (is_batch or isinstance(data, Signals)):
        raise InputError(f"nodes: go with one Graph or NodeRows, not with {type(data).__name__}.")
    if operator is not None and isinstance(data, (Signals, NodeRows)):
        raise InputError(f"operator: goes with graphs, not with {type(data).__name__}.")
    function = check_function(operator) if is_batch else None
    kinds = kinds_for(model) if operator is None and isinstance(data, Graph | GraphBatch | GraphCollection) else ("",)
    kind = "a_hat" if batch_size is not None and "a_hat" in kinds else kinds[0]

    def given(matrix: Any) -> Any:
        warn_of_layers(model, matrix, stacklevel=5)
        warn_of_training(model, matrix, stacklevel=4)
        return matrix

    def operator_of(batch: GraphBatch) -> Any:
        return batch.matrix(kind) if function is None else given(function(batch))

    with evaluation(model):
        if isinstance(data, GraphCollection):
            merges = kind == "a_hat" and getattr(model, "merges_nodes", False)
            loader = GraphLoader(data.merged() if merges else data, kind=kind or "a_hat")
            return torch.cat([model(batch.x, operator_of(batch), batch.p) for batch in loader])
        if isinstance(data, Signals):
            return torch.cat([model(*arguments) for arguments, _ in data.batches(EVALUATION_BATCH)])
        if isinstance(data, GraphBatch):
            return model(data.x, operator_of(data), data.p)
        if isinstance(data, NodeRows):
            return _predict_rows(model, data, nodes)
        if operator is not None:
            given(operator)
        elif batch_size is None or kind != "a_hat":
            operator = data.matrix(kind)
        return _predict_nodes(model, data, nodes, operator, batch_size)


def _predict_nodes(
    model: nn.Module, graph: Graph, nodes: Tensor | None, operator: Any, batch_size: int | None
) -> Tensor:
    if graph.x is None:
        raise InputError('graph: has no x; make one with graph.with_features("identity").')
    if batch_size is not None:
        return predict_in_batches(model, graph, nodes, operator, batch_size)
    operator = check_operator(graph, operator)
    num_layers = num_operators(model)
    if nodes is not None and num_layers is not None and isinstance(operator, SparseMatrix):
        part = graph.receptive_field(nodes, num_layers, operator)
        return model(part.x, part.a_hat)
    logits = model(graph.x, operator)
    return logits if nodes is None else logits[check_nodes(nodes, graph.num_nodes).to(logits.device)]


def _predict_rows(model: nn.Module, data: NodeRows, nodes: Tensor | None) -> Tensor:
    every = torch.arange(data.graph.num_nodes)
    asked = every if nodes is None else check_nodes(nodes, data.graph.num_nodes).cpu()
    guess = None
    for ids in (*[every] * data.reuse, asked):
        labels = data.labels(data.train_ids, guess)
        logits = torch.cat([model(data.inputs(part, labels)) for part in ids.split(EVALUATION_ROWS)])
        guess = logits.softmax(-1)
    return logits
