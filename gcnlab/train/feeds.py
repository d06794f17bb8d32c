"""The kinds of data, and the batches that each gives to a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from .. import checkpoint as ckpt
from .. import distributed
from ..errors import InputError, InputTypeError
from ..graph import Graph, GraphBatch, GraphCollection, GraphLoader
from ..graph.graph import check_one_graph
from ..image import Signals
from ..inputs import some
from ..machine import tell
from ..memory import available_memory, check_fits, estimate_step
from ..precompute import EVALUATION_ROWS, NodeRows
from ..scale import NeighborSampler, RandomNodeSampler, Sampler, Subgraph, estimate_full_batch
from ..sparse import SparseMatrix
from ..sparse.features import check_features_finite
from ..sparse.kinds import how_to_make
from .objective import Batch, Consistency, Loss, Objective, targets_for
from .operators import OWN, check_function, check_operator, kind_of, kinds_for, num_operators, warn_of_layers

LARGE_GRAPH = 100_000  # nodes, from which on fit is careful with memory


EVALUATION_BATCH = 50  # images; of 500, each array is one that malloc takes anew from the system, at twice the time


@ckpt.generators_kept()
def choose_batching(
    batching: str | Sampler,
    graph: Graph,
    model: nn.Module | Callable[[], nn.Module],
    operator: Any,
    progress: bool | None,
) -> tuple[Sampler | None, str]:
    """The sampler, None for full batches, and the reason in words."""
    if isinstance(batching, Sampler):
        return batching, f"batches of {batching!r}, as asked for"
    if batching not in ("full", "auto"):
        raise InputError(f'batching: got {batching!r}, expected "full", "auto" or a sampler of gcnlab.scale.')
    if batching == "full" or not isinstance(graph, Graph) or graph.x is None:
        return None, "full batch, as asked for"
    one = model if isinstance(model, nn.Module) else model()
    free, needed = available_memory(), estimate_full_batch(graph, one)
    compared = f"a step on all of the graph needs {needed / 2**20:,.0f} MiB"
    compared += ", and what is free is unknown" if free is None else f" of {free / 2**20:,.0f} MiB free"
    sampler, why = None, f"full batch: {compared}"
    if free is not None and needed > 0.5 * free:
        num_layers: Any = one.num_layers if hasattr(one, "layer") else num_operators(one)
        if num_layers is None:
            raise InputError(
                f"batching: {compared}, more than half, and how many products with Â {type(one).__name__} has is not "
                "known; pass scale.NeighborSampler(graph, fan_outs), with a fan-out for each."
            )
        if operator is None and "a_hat" not in (kinds := kinds_for(one, stacklevel=5)):
            operator = graph.matrix(kinds[0])
        sampler = NeighborSampler(graph, (10,) * num_layers, operator=operator)
        why = f"batches of {sampler!r}: {compared}, more than half"
    if progress is not False:
        tell(why)
    return sampler, why


def _shared_classes(train: GraphCollection | Signals, val: GraphCollection | Signals) -> Sequence[Any] | None:
    """The class names of the training, if val has names of its own that are in another order, or only some of them."""
    names, own = train.class_names, val.class_names
    if names is None or own is None or tuple(own) == tuple(names):
        return None
    if val.y.is_floating_point():
        raise InputError(f"val: its targets are {some(own)}, and those of data {some(names)}; give both the same.")
    if unknown := [own[label] for label in val.y.unique().tolist() if label >= 0 and own[label] not in names]:
        raise InputError(f"val: has the class {unknown[0]!r}, which is not among those of data: {some(names)}.")
    return names


def _check_known(graph: Graph, y: Tensor) -> None:
    """Raise InputError for a mask of whose nodes no target in y [num_nodes, ...] is known."""
    for key in ("train_mask", "val_mask"):
        mask = getattr(graph, key)
        if mask is not None and bool(y[mask].isnan().all()):
            raise InputError(f"{key}: of its nodes no target is known, all are NaN.")


class NodeData:
    """Training and validation on one graph: on all nodes that the model needs, or on batches of a sampler."""

    def __init__(
        self,
        graph: Graph,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        operator: Any,
        consistency: Consistency | None,
        sampler: Sampler | None,
    ) -> None:
        check_one_graph("data", graph)
        if graph.x is None:
            raise InputError('graph: has no x; make one with graph.with_features("identity").')
        y = targets_for("graph", graph.y, "node", graph.num_nodes, loss)
        for key in ("train_mask", *(["val_mask"] if needs_val else [])):
            if getattr(graph, key) is None:
                raise InputError(
                    f'graph: has no {key}; give one, or select="last" where there is nothing to select on.'
                    if key == "val_mask"
                    else "graph: has no train_mask, which says on which nodes to train."
                )
        _check_known(graph, y)
        if check_finite:
            check_features_finite(graph.x)
        self.graph, self.y, self.sampler = graph, y, sampler
        if sampler is not None:
            if sampler.graph is not graph:
                raise InputError("batching: the sampler is of another graph than data; make it of this one.")
            if operator is not None and operator is not sampler.operator:
                raise InputError(
                    "operator: with a sampler as batching give it to the sampler, which draws from its rows."
                )
            if consistency is not None:
                raise InputError('consistency: goes with batching="full", not with a sampler.')
        self.operator = None if operator is None else check_operator(graph, operator)
        self.kind = ""
        self.consistency = consistency
        assert graph.train_mask is not None
        num_labelled = None if consistency is None else consistency.num_labelled
        num_targets = int(graph.train_mask.sum())
        self.num_batches = (
            sampler.num_batches(num_targets)
            if sampler is not None
            else -(-num_targets // (num_labelled or num_targets))
        )
        self.batch_size = -(-num_targets // self.num_batches)
        self.unlabelled = (~graph.train_mask).nonzero().squeeze(1)
        if consistency is not None and not len(self.unlabelled):
            raise InputError("consistency: every node is in the train_mask, none is left to be consistent at.")
        self.objective = Objective.of(
            loss, "node", y[graph.train_mask], None if graph.val_mask is None else y[graph.val_mask],
            graph.num_classes, graph.class_names, class_weight,
        )  # fmt: skip
        self.has_val = graph.val_mask is not None
        self._parts: dict[tuple[str, int | None], list[Batch]] = {}

    def choose_operator(self, model: nn.Module) -> None:
        """The matrix that the model is called with, and its kind."""
        if self.kind:  # of the stack of seeds before
            return
        sampler = self.sampler
        draws = isinstance(sampler, NeighborSampler | RandomNodeSampler)  # rows of Â, where they are given no matrix
        operator = sampler.operator if sampler is not None and draws else self.operator
        if operator is not None:
            self.kind = kind_of(self.graph, operator)
            warn_of_layers(model, operator, stacklevel=7)
            return
        kinds = kinds_for(model, stacklevel=6)
        if draws and "a_hat" not in kinds:
            raise InputError(
                f"batching: {sampler!r} draws rows of graph.a_hat, but {type(model).__name__} is called with "
                f"{how_to_make(kinds[0])}; give the sampler operator={how_to_make(kinds[0])}."
            )
        self.kind = "a_hat" if draws else kinds[0]
        if sampler is None:
            self.operator = self.graph.matrix(self.kind)

    @property
    def is_constant(self) -> bool:
        """Whether all steps read the same nodes and weigh them alike."""
        consistency = self.consistency
        return not self.is_sampled and self.sampler is None and (consistency is None or consistency.warmup == 0)

    @property
    def is_sampled(self) -> bool:
        c = self.consistency
        return c is not None and (c.num_nodes is not None or c.num_labelled is not None)

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        key = (split, num_operators(model))
        if key in self._parts:
            return self._parts[key]
        rows = getattr(self.graph, f"{split}_mask").nonzero().squeeze(1)
        if self.sampler is not None:
            return self._sampled(self.sampler, split, rows, model)
        if split == "train" and self.is_sampled:
            assert self.consistency is not None
            if self.consistency.num_labelled is not None:
                rows = rows[torch.randperm(len(rows), device=rows.device)]
            return (self._batch(split, part, model) for part in rows.split(self.consistency.num_labelled or len(rows)))
        self._parts[key] = [self._batch(split, rows, model)]
        return self._parts[key]

    def _sampled(self, sampler: Sampler, split: str, rows: Tensor, model: nn.Module) -> Iterator[Batch]:
        num_layers = num_operators(model)
        if isinstance(sampler, NeighborSampler):
            if num_layers is not None and num_layers > len(sampler.fan_outs):
                raise InputError(
                    f"batching: {sampler!r} has {len(sampler.fan_outs)} fan-outs, but the model {num_layers} layers; "
                    "give one for each."
                )
            if split == "train":
                for share, counts in distributed.shares(len(rows), sampler.batch_size):
                    yield self._of_part(sampler.sample(rows[share]), num_layers, model, counts)
                return
            for i, part in distributed.mine(list(enumerate(rows.split(sampler.batch_size)))):
                same_draws = torch.Generator().manual_seed(i)
                yield self._of_part(sampler.sample(part, same_draws), num_layers, model)
            return
        same = torch.Generator().manual_seed(0) if split == "val" else None
        for subgraph in sampler.batches(rows, same):
            yield self._of_part(subgraph, num_layers, model)

    def _of_part(self, part: Subgraph, num_layers: int | None, model: nn.Module, counts: bool = True) -> Batch:
        part = part.to(next((p.device for p in model.parameters()), part.device))  # of a graph in the CPU's memory
        assert part.y is not None
        y, operator = part.y[part.targets], part.a_hat if part.operator is not None else part.matrix(self.kind)
        if num_layers is None:
            return Batch((part.x, operator), part.targets, y, counts=counts)
        field = part.receptive_field(part.targets, num_layers, operator)
        return Batch((field.x, field.a_hat), None, y, counts=counts)

    def _batch(self, split: str, rows: Tensor, model: nn.Module) -> Batch:
        graph, unlabelled = self.graph, None
        num_layers = num_operators(model) if isinstance(self.operator, SparseMatrix) else None  # else it has no rows
        if split == "train" and self.consistency is not None:
            unlabelled, size = self.unlabelled, self.consistency.num_nodes
            if size is not None:
                unlabelled = unlabelled[torch.randperm(len(unlabelled), device=unlabelled.device)[:size]]
        y = self.y[rows]
        if num_layers is None:
            batch = Batch((graph.x, self.operator), rows, y, unlabelled)
        elif unlabelled is None:
            part = graph.receptive_field(rows, num_layers, self.operator)
            batch = Batch((part.x, part.a_hat), None, y)
        else:
            part = graph.receptive_field(torch.cat([rows, unlabelled]), num_layers, self.operator)
            labelled, others = torch.arange(len(part.nodes), device=rows.device).tensor_split([len(rows)])
            batch = Batch((part.x, part.a_hat), labelled, y, others)
        x = batch.arguments[0]
        if split == "train" and x.shape[0] >= LARGE_GRAPH and x.device.type == "cpu":
            there = sum(
                t.nbytes for t in tree_iter((batch.arguments, list(model.parameters()))) if isinstance(t, Tensor)
            )
            check_fits(
                "graph", f"a training step on {x.shape[0]:,} nodes",
                estimate_step(model, *batch.arguments) - there, 0.9,
                'fewer hidden_channels or layers need less, so does a graph in bfloat16, and batching="auto" takes batches.',
            )  # fmt: skip
        return batch

    def fingerprint(self) -> dict[str, Any]:
        graph, matrix = self.graph, self.graph.adjacency
        # Not the values of X and A: sums on another device or number of threads may differ in their last bits.
        weight = self.objective.class_weight
        tensors = [matrix.rowptr, matrix.col, self.y, graph.train_mask, graph.val_mask, weight]
        operator = self.operator if self.sampler is None else self.sampler.operator
        if isinstance(operator, SparseMatrix) and self.kind != "a_hat":
            tensors += [operator.rowptr, operator.col]
        return {
            **self.objective.fingerprint(),
            "operator": None if self.kind in ("a_hat", OWN) else self.kind,
            "consistency": repr(self.consistency),
            "batching": repr(self.sampler),
            "shape of x": None if graph.x is None else graph.x.shape,
            "sha256 of graph, labels, masks and class weights": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        sampler = self.sampler
        operator = self.operator if sampler is None else sampler.operator
        return {
            "values of x": ckpt.tensors_of(self.graph.x),
            "edge weights": [self.graph.adjacency.value],
            "values of the operator": ckpt.tensors_of(None if self.kind == "a_hat" else operator),
            "parts of the sampler": ckpt.tensors_of(getattr(sampler, "parts", None)),
        }


class GraphData:
    """Batches of graphs: those that train are shuffled anew each epoch, those that select are cut out once."""

    def __init__(
        self,
        train: GraphCollection,
        val: GraphCollection | Signals | None,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        batch_size: int,
        operator: Callable[[GraphBatch], Any] | None,
    ) -> None:
        if needs_val and val is None:
            raise InputError('val: got none; give a GraphCollection, or select="last" where nothing selects.')
        for name, graphs in (("data", train), ("val", val)):
            if graphs is None:
                continue
            if not isinstance(graphs, GraphCollection):
                raise InputTypeError(f"{name}: got {type(graphs).__name__}, expected a GraphCollection.")
            if not len(graphs):
                raise InputError(f"{name}: has no graph.")
            if graphs.whole.x is None:
                raise InputError(f'{name}: the graphs have no x; load them with features="degree", for one.')
            if check_finite:
                check_features_finite(graphs.whole.x)
            y = targets_for(name, graphs.y, "graph", len(graphs), loss)
            if bool(y.isnan().all()):
                raise InputError(f"{name}: of its graphs no target is known, all are NaN.")
            if y.shape[1:] != train.y.shape[1:]:
                raise InputError(f"{name}: has y of shape {tuple(y.shape)}, but data of {tuple(train.y.shape)}.")
        assert val is None or isinstance(val, GraphCollection)
        val = None if val is None else val.in_classes(_shared_classes(train, val))
        self.operator, self.kind = check_function(operator), ""
        self.train, self.val, self.batch_size = train, val, batch_size
        self.num_batches = -(-len(train) // batch_size)
        num_classes = max(graphs.num_classes for graphs in (train, val) if graphs is not None)
        self.objective = Objective.of(
            loss, "graph", train.y, None if val is None else val.y, num_classes, train.class_names, class_weight
        )
        self.has_val = val is not None
        self._val: list[Batch] = []

    def choose_operator(self, model: nn.Module) -> None:
        """The kind of the matrix that the model is called with."""
        if self.kind:  # of the stack of seeds before
            return
        if self.operator is None:
            self.kind = kinds_for(model, stacklevel=6)[0]
            return
        with ckpt.generators_kept():  # the function may draw, and the training shall not notice
            matrix = self.operator(self.train.batch([0]))
        self.kind = (matrix.kind if isinstance(matrix, SparseMatrix) else None) or OWN
        warn_of_layers(model, matrix, stacklevel=7)

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        merges = self.operator is None and self.kind == "a_hat" and getattr(model, "merges_nodes", False)
        if split == "train":
            train = self.train.merged() if merges else self.train
            shares, counts = zip(*distributed.shares(len(train), self.batch_size), strict=True)
            return map(self._arguments, GraphLoader(train, batch_sampler=shares, kind=self._cut_out), counts)
        if not self._val and self.val is not None:
            val = self.val.merged() if merges else self.val
            batches = distributed.mine(torch.arange(len(val)).split(self.batch_size))
            loader = GraphLoader(val, batch_sampler=batches, kind=self._cut_out)
            self._val = [self._arguments(graphs) for graphs in loader]
        return self._val

    @property
    def _cut_out(self) -> str:
        return "a_hat" if self.kind == OWN else self.kind

    def _arguments(self, graphs: GraphBatch, counts: bool = True) -> Batch:
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


class SignalData:
    """Batches of images: those that train are shuffled anew each epoch and augmented."""

    kind = ""  # of the operator; a grid has its own

    def __init__(
        self,
        train: Signals,
        val: GraphCollection | Signals | None,
        loss: Loss,
        class_weight: Tensor | None,
        needs_val: bool,
        batch_size: int,
    ) -> None:
        if needs_val and val is None:
            raise InputError('val: got none; give Signals, or select="last" where nothing selects.')
        if val is not None and not isinstance(val, Signals):
            raise InputTypeError(f"val: got {type(val).__name__}, expected Signals.")
        val = None if val is None else val.in_classes(_shared_classes(train, val))
        for name, signals in (("data", train), ("val", val)):
            if signals is not None:
                y = targets_for(name, signals.y, "image", len(signals), loss)
                if bool(y.isnan().all()):
                    raise InputError(f"{name}: of its images no target is known, all are NaN.")
                if y.shape[1:] != train.y.shape[1:]:
                    raise InputError(f"{name}: has y of shape {tuple(y.shape)}, but data of {tuple(train.y.shape)}.")
        self.train, self.val, self.batch_size = train, val, batch_size
        self.num_batches = -(-len(train) // batch_size)
        num_classes = max(signals.num_classes for signals in (train, val) if signals is not None)
        self.objective = Objective.of(
            loss, "image", train.y, None if val is None else val.y, num_classes, None, class_weight
        )
        self.has_val = val is not None

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        if split == "train":
            return (self._batch(self.train, *share) for share in distributed.shares(len(self.train), self.batch_size))
        val = self.val
        assert val is not None
        return (self._batch(val, ids) for ids in distributed.mine(torch.arange(len(val)).split(EVALUATION_BATCH)))

    def _batch(self, signals: Signals, ids: Tensor, counts: bool = True) -> Batch:
        ids = ids.to(signals.y.device)
        return Batch(signals.inputs(ids, signals is self.train), None, signals.y[ids], counts=counts)

    def fingerprint(self) -> dict[str, Any]:
        tensors = [part for signals in (self.train, self.val) if signals is not None for part in (signals.x, signals.y)]
        return {
            **self.objective.fingerprint(),
            "augmentation": repr(self.train.augment),
            "batch size": self.batch_size,
            "sha256 of images, labels and class weights": ckpt.sha256_of_tensors(
                [*tensors, self.objective.class_weight]
            ),
        }

    def tensors(self) -> dict[str, list[Tensor]]:  # the images are in the fingerprint
        grids = {"data": self.train.grid, "val": None if self.val is None else self.val.grid}
        return {
            f"size of the grid of {part} and neighbours of a node": [torch.tensor([*grid.shape, grid.connectivity])]
            for part, grid in grids.items()
            if grid is not None
        }


class RowData:
    """Batches of nodes whose features were made beforehand, shuffled anew each epoch."""

    kind = ""  # of the operator: the model takes none

    def __init__(
        self,
        data: NodeRows,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        batch_size: int,
    ) -> None:
        graph = data.graph
        self.y = targets_for("data", graph.y, "node", graph.num_nodes, loss)
        if needs_val and graph.val_mask is None:
            raise InputError('data: its graph has no val_mask; give one, or select="last" where nothing selects.')
        _check_known(graph, self.y)
        if check_finite:
            data.check_finite()
        self.data, self.batch_size, self.has_val = data, batch_size, graph.val_mask is not None
        self.num_known = len(data.train_ids) // 2 if data.label_hops else 0  # labels that an epoch reads and learns not
        self.num_batches = -(-(len(data.train_ids) - self.num_known) // batch_size)
        self.objective = Objective.of(
            loss, "node", self.y[graph.train_mask], None if graph.val_mask is None else self.y[graph.val_mask],
            graph.num_classes, graph.class_names, class_weight,
        )  # fmt: skip
        self._val_labels: list[Tensor] | None = None

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        data = self.data
        if split == "train":
            order = data.train_ids[torch.randperm(len(data.train_ids))]
            labels, ids = data.labels(order[: self.num_known]), order[self.num_known :]
            parts = ids.tensor_split(self.num_batches)  # of one size or nearly: a batch norm takes no single row
        else:
            if self._val_labels is None:
                self._val_labels = data.labels(data.train_ids)
            assert data.graph.val_mask is not None
            labels, parts = self._val_labels, data.graph.val_mask.nonzero().squeeze(1).split(EVALUATION_ROWS)
        return (Batch((data.inputs(part, labels),), None, self.y[part.to(self.y.device)]) for part in parts)

    def fingerprint(self) -> dict[str, Any]:
        data, graph = self.data, self.data.graph
        tensors = [self.y, graph.train_mask, graph.val_mask, self.objective.class_weight]
        if data.operator is not None:
            tensors += [data.operator.rowptr, data.operator.col]
        return {
            **self.objective.fingerprint(),
            "shapes of the features": [f.shape for f in data.features],
            "label hops": data.label_hops,
            "batch size": self.batch_size,
            "sha256 of labels, masks, class weights and operator": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        return {
            **{f"values of the features {k}": [f] for k, f in enumerate(self.data.features)},
            "values of the operator": ckpt.tensors_of(self.data.operator),
        }
