"""Training on many graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint as ckpt
from .. import distributed, generators
from ..contracts import merged_layers, merges_nodes
from ..errors import InputError, InputTypeError
from ..graph import GraphBatch, GraphCollection, GraphLoader
from ..graph.graph import check_one_graph
from ..graph.unfolding import LayeredBatch, evenly_spaced
from ..sparse import SparseMatrix
from ..sparse.features import check_features_finite
from ..threads import Step
from .feed import Feed, check_known_items, fixed_parts, joined, shared_classes
from .norms import AVERAGED_GRAPHS
from .objective import Batch, Objective, targets_for
from .operators import OWN, check_function, kinds_for, warn_of_layers, warn_of_training
from .options import FitOptions

PREDICTED_GRAPHS = 128  # at a time


class GraphFeed(Feed):
    """Batches of graphs: those that train are shuffled anew each epoch, those that select are cut out once."""

    data_type = GraphCollection
    takes = frozenset({"val", "operator"})

    def __init__(self, train: GraphCollection, val: GraphCollection | None, options: FitOptions) -> None:
        if options.needs_val and val is None:
            raise InputError('val: got none; give a GraphCollection, or select="last" where nothing selects.')
        for name, graphs in (("data", train), ("val", val)):
            if graphs is not None:
                _check_graphs(name, graphs, train, options)
        val = None if val is None else val.in_classes(shared_classes(train, val))
        self.operator = check_function(options.operator)
        self.train, self.val, self.batch_size = train, val, options.batch_size
        self.num_batches = -(-len(train) // self.batch_size)
        self.has_val, self.ranks = val is not None, distributed.ranks()
        num_classes = max(graphs.num_classes for graphs in (train, val) if graphs is not None)
        val_y = None if val is None else val.y
        self.objective = Objective.of(options, "graph", train.y, val_y, num_classes, train.class_names)
        self._val: list[Batch] = []
        self._sample: list[Batch] = []
        self._unfolds: bool | None = None  # known with the first model

    @classmethod
    def fixed(cls, data: GraphCollection) -> dict[str, Any]:
        return fixed_parts(data.whole)

    def choose_operator(self, model: nn.Module) -> None:
        if self.kind:  # of the stack of seeds before
            return
        if self.operator is None:
            self.kind = kinds_for(model)[0]
            return
        with generators.generators_kept():  # the function may draw, and the training shall not notice
            matrix = self.operator(self.train.batch([0]))
        self.kind = (matrix.kind if isinstance(matrix, SparseMatrix) else None) or OWN
        warn_of_layers(model, matrix)

    def _merges(self, model: nn.Module) -> bool:
        return self.operator is None and self.kind == "a_hat" and merges_nodes(model)

    def step(self, model: nn.Module) -> Step | None:
        graphs = self.train.merged() if self._merges(model) else self.train
        return self.step_of(graphs, -(-self.batch_size // self.ranks.size))

    @classmethod
    def step_of(cls, data: GraphCollection, batch_size: int | None) -> Step | None:
        whole, part = data.whole, min((batch_size or PREDICTED_GRAPHS) / max(len(data), 1), 1.0)
        return (
            None
            if whole.x is None
            else Step.on(whole.x, whole.adjacency, part * data.num_nodes / max(whole.num_nodes, 1))
        )

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        if split == "train":
            shares, counts = zip(*distributed.shares(len(self.train), self.batch_size), strict=True)
            return map(self._arguments, self._loader(self.train, shares, model), counts)
        if not self._val and self.val is not None:
            batches = distributed.mine(torch.arange(len(self.val)).split(self.batch_size))
            self._val = [self._arguments(graphs) for graphs in self._loader(self.val, batches, model)]
        return self._val

    def sample(self, model: nn.Module) -> list[Batch]:
        if not self._sample and self.ranks.is_lone:
            chunk = evenly_spaced(len(self.train), AVERAGED_GRAPHS)
            with generators.generators_kept():  # an operator of the user's may draw
                self._sample = [self._arguments(graphs) for graphs in self._loader(self.train, [chunk], model)]
        return self._sample

    def _loader(self, graphs: GraphCollection, batches: Sequence[Tensor], model: nn.Module) -> GraphLoader:
        """The batches, of alike nodes computed once where the model allows it."""
        merges, num_layers = self._merges(model), merged_layers(model)
        if merges and num_layers:
            if self._unfolds is None:
                self._unfolds = self.train.is_worth_unfolding(num_layers, self.batch_size)
            if self._unfolds:
                return GraphLoader(graphs, batch_sampler=batches, num_layers=num_layers)
        kind = "a_hat" if self.kind == OWN else self.kind
        return GraphLoader(graphs.merged() if merges else graphs, batch_sampler=batches, kind=kind)

    def _arguments(self, graphs: GraphBatch | LayeredBatch, counts: bool = True) -> Batch:
        if isinstance(graphs, LayeredBatch):
            return Batch((graphs.x, graphs.a_hat, graphs.p), None, graphs.y, counts=counts)
        assert graphs.y is not None
        matrix = graphs.matrix(self.kind) if self.operator is None else self.operator(graphs)
        return Batch((graphs.x, matrix, graphs.p), None, graphs.y, counts=counts)

    def fingerprint(self) -> dict[str, Any]:
        whole = self.train.whole
        parts = [part for graphs in (self.train, self.val) if graphs is not None for part in (graphs.ids, graphs.y)]
        tensors = [whole.adjacency.rowptr, whole.adjacency.col, self.objective.class_weight, *parts]
        operator = getattr(self.operator, "__qualname__", str(self.operator)) if self.kind == OWN else self.kind
        return {
            **self.objective.fingerprint(),
            "shape of x": None if whole.x is None else whole.x.shape,
            "batch size": self.batch_size,
            "operator": None if self.operator is None and self.kind == "a_hat" else operator,
            "sha256 of graphs, labels, splits and class weights": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        found = {}
        for part, graphs in (("data", self.train), ("val", self.val)):
            if graphs is not None:
                whole = graphs.whole
                found[f"sizes of the graphs of {part}"] = [graphs.sizes]
                if part == "data" or whole is not self.train.whole:
                    found[f"values of x of {part}"] = ckpt.tensors_of(whole.x)
                    found[f"edges and their weights of {part}"] = ckpt.tensors_of(whole.adjacency)
        return found

    @classmethod
    def predict(
        cls, model: nn.Module, data: GraphCollection, nodes: Any, operator: Any, batch_size: int | None
    ) -> Tensor:
        kind, operator_of = _asked(model, operator)
        merges = kind == "a_hat" and merges_nodes(model)
        loader = GraphLoader(data.merged() if merges else data, PREDICTED_GRAPHS, kind=kind or "a_hat")
        return joined(model(batch.x, operator_of(batch), batch.p) for batch in loader)


class BatchFeed(Feed):
    """One batch of graphs, which is predicted and not trained on."""

    data_type = GraphBatch
    # What only a training takes goes by, so that the refusal is of the batch itself.
    takes = frozenset({"operator", "val", "consistency", "batching", "cuda_graph"})

    def __init__(self, data: GraphBatch, val: None, options: FitOptions) -> None:
        check_one_graph("data", data)

    @classmethod
    def step_of(cls, data: GraphBatch, batch_size: int | None) -> Step | None:
        return None if data.x is None else Step.on(data.x, data.adjacency)

    @classmethod
    def predict(cls, model: nn.Module, data: GraphBatch, nodes: Any, operator: Any, batch_size: int | None) -> Tensor:
        _, operator_of = _asked(model, operator)
        return model(data.x, operator_of(data), data.p)


def _check_graphs(name: str, graphs: GraphCollection, train: GraphCollection, options: FitOptions) -> None:
    if not isinstance(graphs, GraphCollection):
        raise InputTypeError(f"{name}: got {type(graphs).__name__}, expected a GraphCollection.")
    if not len(graphs):
        raise InputError(f"{name}: has no graph.")
    if graphs.whole.x is None:
        raise InputError(f'{name}: the graphs have no x; load them with features="degree", for one.')
    if options.check_finite:
        check_features_finite(graphs.whole.x)
    check_known_items(name, targets_for(name, graphs.y, "graph", len(graphs), options.loss), train.y, "graph")


def _asked(model: nn.Module, operator: Any) -> tuple[str, Callable[[GraphBatch], Any]]:
    """The kind of the matrix that a model is called with, and what gives it for a batch."""
    function = check_function(operator)
    if function is None:
        kind = kinds_for(model)[0]
        return kind, lambda batch: batch.matrix(kind)

    def given(batch: GraphBatch) -> Any:
        matrix = function(batch)
        warn_of_layers(model, matrix)
        warn_of_training(model, matrix)
        return matrix

    return "", given
