"""Training on the nodes of one graph: on all at once, on batches of a sampler, or on rows made beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from .. import checkpoint as ckpt
from .. import distributed, generators
from ..contracts import goes_by_layer, num_operators
from ..errors import InputError
from ..graph import Graph
from ..graph.graph import check_one_graph
from ..graph.parts import check_one_split
from ..inputs import check_nodes
from ..machine import tell
from ..memory import available_memory, check_fits, estimate_step
from ..precompute import EVALUATION_ROWS, NodeRows
from ..scale import NeighborSampler, RandomNodeSampler, Sampler, Subgraph, estimate_full_batch, predict_in_batches
from ..sparse import SparseMatrix
from ..sparse.features import check_features_finite
from ..sparse.kinds import how_to_make
from ..threads import Step
from .feed import Feed, check_known, fixed_parts, joined
from .objective import Batch, Objective, targets_for
from .operators import OWN, check_operator, kind_of, kinds_for, warn_of_layers, warn_of_training
from .options import FitOptions

LARGE_GRAPH = 100_000  # nodes, from which on fit is careful with memory


class NodeFeed(Feed):
    """One graph: each step is on all nodes that the model needs for those with labels."""

    data_type = Graph
    takes = frozenset({"operator", "consistency", "batching", "cuda_graph", "split", "nodes", "batch_size"})
    sampler: Sampler | None = None

    def __init__(self, graph: Graph, val: None, options: FitOptions) -> None:
        graph = graph if options.split is None else graph.with_split(options.split)
        y = _checked_graph(graph, options)
        assert graph.train_mask is not None
        self.graph, self.y, self.consistency = graph, y, options.consistency
        self.operator = None if options.operator is None else check_operator(graph, options.operator)
        self.has_val = graph.val_mask is not None
        self.is_large = graph.num_nodes >= LARGE_GRAPH
        self._count_batches(int(graph.train_mask.sum()))
        self.unlabelled = (~graph.train_mask).nonzero().squeeze(1)
        if self.consistency is not None and not len(self.unlabelled):
            raise InputError("consistency: every node is in the train_mask, none is left to be consistent at.")
        self.objective = _objective_of_nodes(graph, y, options)
        self._parts: dict[tuple[str, int | None], list[Batch]] = {}

    @classmethod
    def make(cls, data: Graph, val: None, options: FitOptions, model: nn.Module | Callable[[], nn.Module]) -> Feed:
        sampler, why = _choose_batching(data, options, model)
        feed = cls(data, val, options) if sampler is None else SampledFeed(data, options, sampler)
        feed.why = why
        return feed

    @classmethod
    def fixed(cls, data: Graph) -> dict[str, Any]:
        return fixed_parts(data)

    def _count_batches(self, num_targets: int) -> None:
        num_labelled = None if self.consistency is None else self.consistency.num_labelled
        self.num_batches = -(-num_targets // (num_labelled or num_targets))
        self.batch_size = -(-num_targets // self.num_batches)
        warmup = 0 if self.consistency is None else self.consistency.warmup
        self.is_constant = self.graph.device.type == "cuda" and not self._draws and not warmup

    @property
    def _draws(self) -> bool:
        """Whether each step is on other nodes."""
        c = self.consistency
        return c is not None and (c.num_nodes is not None or c.num_labelled is not None)

    def choose_operator(self, model: nn.Module) -> None:
        if self.kind:  # of the stack of seeds before
            return
        if self.operator is not None:
            self.kind = kind_of(self.graph, self.operator)
            warn_of_layers(model, self.operator)
            return
        self.kind = kinds_for(model)[0]
        self.operator = self.graph.matrix(self.kind)

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        key = (split, num_operators(model))
        if key in self._parts:
            return self._parts[key]
        rows = getattr(self.graph, f"{split}_mask").nonzero().squeeze(1)
        if split == "train" and self._draws:
            assert self.consistency is not None
            if self.consistency.num_labelled is not None:
                rows = rows[torch.randperm(len(rows), device=rows.device)]
            return (self._batch(split, part, model) for part in rows.split(self.consistency.num_labelled or len(rows)))
        self._parts[key] = [self._batch(split, rows, model)]
        return self._parts[key]

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
        if split == "train":
            _check_step_fits(model, batch)
        return batch

    def step(self, model: nn.Module) -> Step | None:
        if self._draws:  # a batch would draw, and differ from the next
            return Step.on(self.graph.x, self.operator)
        (batch,) = self.batches("train", model)
        return Step.on(*batch.arguments)

    @classmethod
    def step_of(cls, data: Graph, batch_size: int | None) -> Step | None:
        share = min((batch_size or data.num_nodes) / max(data.num_nodes, 1), 1.0)
        return None if data.x is None else Step.on(data.x, data.adjacency, share)

    def fingerprint(self) -> dict[str, Any]:
        graph, matrix, operator = self.graph, self.graph.adjacency, self._given_or_drawn
        # Not the values of X and A: sums on another device or number of threads may differ in their last bits.
        tensors = [
            matrix.rowptr, matrix.col, self.y, graph.train_mask, graph.val_mask, self.objective.class_weight,
        ]  # fmt: skip
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

    @property
    def _given_or_drawn(self) -> Any:
        """The matrix that the model is called with, or whose rows are drawn."""
        return self.operator if self.sampler is None else self.sampler.operator

    def tensors(self) -> dict[str, list[Tensor]]:
        return {
            "values of x": ckpt.tensors_of(self.graph.x),
            "edge weights": [self.graph.adjacency.value],
            "values of the operator": ckpt.tensors_of(None if self.kind == "a_hat" else self._given_or_drawn),
            "parts of the sampler": ckpt.tensors_of(getattr(self.sampler, "parts", None)),
        }

    @classmethod
    def predict(cls, model: nn.Module, data: Graph, nodes: Any, operator: Any, batch_size: int | None) -> Tensor:
        if operator is not None:
            warn_of_layers(model, operator)
            warn_of_training(model, operator)
        else:
            kinds = kinds_for(model)
            kind = "a_hat" if batch_size is not None and "a_hat" in kinds else kinds[0]
            operator = None if batch_size is not None and kind == "a_hat" else data.matrix(kind)
        if data.x is None:
            raise InputError('graph: has no x; make one with graph.with_features("identity").')
        if batch_size is not None:
            return predict_in_batches(model, data, nodes, operator, batch_size)
        operator, num_layers = check_operator(data, operator), num_operators(model)
        if nodes is not None and num_layers is not None and isinstance(operator, SparseMatrix):
            part = data.receptive_field(nodes, num_layers, operator)
            return model(part.x, part.a_hat)
        logits = model(data.x, operator)
        return logits if nodes is None else logits[check_nodes(nodes, data.num_nodes).to(logits.device)]


class SampledFeed(NodeFeed):
    """One graph: each step is on a batch of a sampler, and so is validation, on batches that are drawn alike."""

    sampler: Sampler

    def __init__(self, graph: Graph, options: FitOptions, sampler: Sampler) -> None:
        self.sampler = sampler
        super().__init__(graph, None, options)
        if sampler.graph is not graph:
            raise InputError("batching: the sampler is of another graph than data; make it of this one.")
        if self.operator is not None and self.operator is not sampler.operator:
            raise InputError("operator: with a sampler as batching give it to the sampler, which draws from its rows.")
        if self.consistency is not None:
            raise InputError('consistency: goes with batching="full", not with a sampler.')
        if isinstance(sampler, NeighborSampler):
            self.ranks = distributed.ranks()

    def _count_batches(self, num_targets: int) -> None:
        self.num_batches = self.sampler.num_batches(num_targets)
        self.batch_size = -(-num_targets // self.num_batches)

    def choose_operator(self, model: nn.Module) -> None:
        if self.kind:  # of the stack of seeds before
            return
        sampler = self.sampler
        draws = isinstance(sampler, NeighborSampler | RandomNodeSampler)  # rows of Â, where they are given no matrix
        operator = sampler.operator if draws else self.operator
        if operator is not None:
            self.kind = kind_of(self.graph, operator)
            warn_of_layers(model, operator)
            return
        kinds = kinds_for(model)
        if draws and "a_hat" not in kinds:
            raise InputError(
                f"batching: {sampler!r} draws rows of graph.a_hat, but {type(model).__name__} is called with "
                f"{how_to_make(kinds[0])}; give the sampler operator={how_to_make(kinds[0])}."
            )
        self.kind = "a_hat" if draws else kinds[0]

    def batches(self, split: str, model: nn.Module) -> Iterator[Batch]:
        rows = getattr(self.graph, f"{split}_mask").nonzero().squeeze(1)
        if isinstance(self.sampler, NeighborSampler):
            yield from self._drawn(self.sampler, split, rows, model)
            return
        same = torch.Generator().manual_seed(0) if split == "val" else None
        for subgraph in self.sampler.batches(rows, same):
            yield self._of_part(subgraph, model)

    def _drawn(self, sampler: NeighborSampler, split: str, rows: Tensor, model: nn.Module) -> Iterator[Batch]:
        num_layers = num_operators(model)
        if num_layers is not None and num_layers > len(sampler.fan_outs):
            raise InputError(
                f"batching: {sampler!r} has {len(sampler.fan_outs)} fan-outs, but the model {num_layers} layers; "
                "give one for each."
            )
        if split == "train":
            for share, counts in distributed.shares(len(rows), sampler.batch_size):
                yield self._of_part(sampler.sample(rows[share]), model, counts)
            return
        for i, part in distributed.mine(list(enumerate(rows.split(sampler.batch_size)))):
            same_draws = torch.Generator().manual_seed(i)
            yield self._of_part(sampler.sample(part, same_draws), model)

    def step(self, model: nn.Module) -> Step | None:
        graph, sampler = self.graph, self.sampler
        num_nodes = max(graph.num_nodes, 1)
        share = 1 / max(sampler.num_batches(num_nodes), 1)
        if isinstance(sampler, NeighborSampler):
            degrees, rows = graph.adjacency.rowptr.diff(), float(min(sampler.batch_size, num_nodes))
            for k in sampler.fan_outs:
                drawn = rows * (1 + float(degrees.clamp(min=0, max=k).float().mean()))
                rows = num_nodes * -math.expm1(-drawn / num_nodes)  # distinct ones among those drawn at random
            share = rows / num_nodes / self.ranks.size
        return Step.on(graph.x, graph.adjacency, share)

    def _of_part(self, part: Subgraph, model: nn.Module, counts: bool = True) -> Batch:
        part = part.to(next((p.device for p in model.parameters()), part.device))  # of a graph in the CPU's memory
        assert part.y is not None
        y, operator = part.y[part.targets], part.a_hat if part.operator is not None else part.matrix(self.kind)
        num_layers = num_operators(model)
        if num_layers is None:
            return Batch((part.x, operator), part.targets, y, counts=counts)
        field = part.receptive_field(part.targets, num_layers, operator)
        return Batch((field.x, field.a_hat), None, y, counts=counts)


class RowFeed(Feed):
    """Batches of nodes whose features were made beforehand, shuffled anew each epoch."""

    data_type = NodeRows
    takes = frozenset({"nodes"})

    def __init__(self, data: NodeRows, val: None, options: FitOptions) -> None:
        graph = data.graph
        self.y = targets_for("data", graph.y, "node", graph.num_nodes, options.loss)
        if options.needs_val and graph.val_mask is None:
            raise InputError('data: its graph has no val_mask; give one, or select="last" where nothing selects.')
        check_known(graph, self.y)
        if options.check_finite:
            data.check_finite()
        self.data, self.batch_size, self.has_val = data, options.batch_size, graph.val_mask is not None
        self.is_large = graph.num_nodes >= LARGE_GRAPH
        self.num_known = len(data.train_ids) // 2 if data.label_hops else 0  # labels that an epoch reads and learns not
        self.num_batches = -(-(len(data.train_ids) - self.num_known) // self.batch_size)
        self.objective = _objective_of_nodes(graph, self.y, options)
        self._val_labels: list[Tensor] | None = None

    @classmethod
    def fixed(cls, data: NodeRows) -> dict[str, Any]:
        return {**fixed_parts(data.graph), **{f": features[{k}]": part for k, part in enumerate(data.features)}}

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

    def step(self, model: nn.Module) -> Step | None:
        return self.step_of(self.data, self.batch_size)

    @classmethod
    def step_of(cls, data: NodeRows, batch_size: int | None) -> Step | None:
        rows = float(min(batch_size or EVALUATION_ROWS, data.graph.num_nodes))
        return Step(rows, max(data.widths), rows * max(data.widths), 0, rows)

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

    @classmethod
    def predict(cls, model: nn.Module, data: NodeRows, nodes: Any, operator: Any, batch_size: int | None) -> Tensor:
        every = torch.arange(data.graph.num_nodes)
        asked = every if nodes is None else check_nodes(nodes, data.graph.num_nodes).cpu()
        guess = None
        for ids in (*[every] * data.reuse, asked):
            labels = data.labels(data.train_ids, guess)
            logits = joined(model(data.inputs(part, labels)) for part in ids.split(EVALUATION_ROWS))
            guess = logits.softmax(-1)
        return logits


def _objective_of_nodes(graph: Graph, y: Tensor, options: FitOptions) -> Objective:
    val_y = None if graph.val_mask is None else y[graph.val_mask]
    return Objective.of(options, "node", y[graph.train_mask], val_y, graph.num_classes, graph.class_names)


def _checked_graph(graph: Graph, options: FitOptions) -> Tensor:
    """Its y, or InputError for what training needs and the graph lacks."""
    check_one_graph("data", graph)
    check_one_split("graph", graph)
    if graph.x is None:
        raise InputError('graph: has no x; make one with graph.with_features("identity").')
    y = targets_for("graph", graph.y, "node", graph.num_nodes, options.loss)
    if graph.train_mask is None:
        raise InputError("graph: has no train_mask, which says on which nodes to train.")
    if options.needs_val and graph.val_mask is None:
        raise InputError('graph: has no val_mask; give one, or select="last" where there is nothing to select on.')
    check_known(graph, y)
    if options.check_finite:
        check_features_finite(graph.x)
    return y


def _check_step_fits(model: nn.Module, batch: Batch) -> None:
    """Raise MemoryLimitError for a step on a large graph that the memory cannot hold."""
    x = batch.arguments[0]
    if x.shape[0] < LARGE_GRAPH or x.device.type != "cpu":
        return
    there = sum(t.nbytes for t in tree_iter((batch.arguments, list(model.parameters()))) if isinstance(t, Tensor))
    check_fits(
        "graph", f"a training step on {x.shape[0]:,} nodes", estimate_step(model, *batch.arguments) - there, 0.9,
        'fewer hidden_channels or layers need less, so does a graph in bfloat16, and batching="auto" takes batches.',
    )  # fmt: skip


@generators.generators_kept()
def _choose_batching(
    graph: Graph, options: FitOptions, model: nn.Module | Callable[[], nn.Module]
) -> tuple[Sampler | None, str]:
    """The sampler, None for full batches, and the reason in words."""
    batching = options.batching
    if isinstance(batching, Sampler):
        return batching, f"batches of {batching!r}, as asked for"
    if batching not in ("full", "auto"):
        raise InputError(f'batching: got {batching!r}, expected "full", "auto" or a sampler of gcnlab.scale.')
    if batching == "full" or graph.x is None:
        return None, "full batch, as asked for"
    one = model if isinstance(model, nn.Module) else model()
    free, needed = available_memory(), estimate_full_batch(graph, one)
    compared = f"a step on all of the graph needs {needed / 2**20:,.0f} MiB"
    compared += ", and what is free is unknown" if free is None else f" of {free / 2**20:,.0f} MiB free"
    sampler, why = None, f"full batch: {compared}"
    if free is not None and needed > 0.5 * free:
        num_layers: Any = one.num_layers if goes_by_layer(one) else num_operators(one)
        if num_layers is None:
            raise InputError(
                f"batching: {compared}, more than half, and how many products with Â {type(one).__name__} has is not "
                "known; pass scale.NeighborSampler(graph, fan_outs), with a fan-out for each."
            )
        operator = options.operator
        if operator is None and "a_hat" not in (kinds := kinds_for(one)):
            operator = graph.matrix(kinds[0])
        sampler = NeighborSampler(graph, (10,) * num_layers, operator=operator)
        why = f"batches of {sampler!r}: {compared}, more than half"
    if options.progress is not False:
        tell(why)
    return sampler, why
