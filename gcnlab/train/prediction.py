"""Predictions in evaluation mode."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..checks import check_count
from ..contracts import goes_by_layer, is_layerwise
from ..errors import InputError
from ..graph import Graph, GraphBatch, GraphCollection
from ..image import Signals
from ..precompute import NodeRows
from ..threads import chosen, work_of
from ..trace import evaluation
from .feed import Feed


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
    feed = Feed.class_for(data)
    in_parts = "batch_size" in feed.takes and (is_layerwise(model) or goes_by_layer(model))
    if batch_size is not None and not in_parts:
        raise InputError(
            f"batch_size: got {batch_size} with {type(data).__name__} and {type(model).__name__}; it goes with one Graph and "
            "a layerwise model, such as GCN. Other data are read in batches anyway."
        )
    feed.check_asked(nodes, operator)
    batch_size = None if batch_size is None else check_count("batch_size", batch_size, 1)
    work = None if (step := feed.step_of(data, batch_size)) is None else work_of(model, step)
    device = next((p.device.type for p in model.parameters()), "cpu")
    with evaluation(model), chosen(work, device):
        return feed.predict(model, data, nodes, operator, batch_size)
