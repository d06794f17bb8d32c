"""Graphs too large to train on at once: batches of their nodes.

A batch is a `Subgraph`, a Graph of some of the nodes whose Â is made so that a product with it is right for them:

    NeighborSampler    of each row of Â some entries are drawn and scaled up: right on average (Hamilton et al. 2017)
    RandomNodeSampler  those within a random set of nodes, scaled up: right on average (Zeng et al. 2020)
    ClusterSampler     the edges within some parts of a partition, normalised again (Chiang et al. 2019)

None of them makes the Â of the whole graph, nor any other array as long as its edges: A may be mapped from a file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_count, check_flag, check_list, check_number, check_seed
from .contracts import check_matrix, goes_by_layer, layer_reads_own_rows
from .errors import InputError
from .graph import Graph
from .graph.graph import check_one_graph
from .graph.parts import warn_if_directed
from .inputs import as_tensor, check_nodes, check_unwritten, shared
from .memory import estimate_step, large_empty
from .sparse import SparseMatrix
from .sparse.features import select_rows
from .sparse.kinds import NORMALIZED

_ROWS = 1 << 20  # rows that are looked at together
_BYTES_TO_NORMALIZE = 60  # for each entry, at the peak of `Graph.normalize`
_DRAWN = "normalize: a batch has the Â that was drawn; give another matrix to the sampler (operator=)."


class Subgraph(Graph):
    """Some of the nodes of a graph, in the order of their ids.

    It is a Graph: y, masks and features are those of its nodes. Where its edges are a sample, the Â that was drawn with
    them is the only matrix it has, and methods that need all edges refuse.

    Attributes:
        nodes: their ids in the whole graph, [num_nodes].
        targets: the places, among them, of the nodes that the batch is for: a loss counts only these.
        operator: the Â of the batch as it was drawn; None where it is that of the subgraph's own edges.
        classes_of_whole: C of the whole graph.
    """

    nodes: Tensor
    targets: Tensor
    operator: SparseMatrix | None
    classes_of_whole: int

    def __init__(self, *_: Any, **__: Any) -> None:
        raise InputError(
            "Subgraph: a sampler makes one, such as NeighborSampler(graph); graph.subgraph(nodes) is a Graph."
        )

    @classmethod
    def of_parts(cls, adjacency: SparseMatrix, **parts: Any) -> Subgraph:
        """As `Graph.of_parts`, with the attributes above; the drawn `operator` is then the only matrix that it has."""
        operator: SparseMatrix | None = parts["operator"]
        if operator is not None:
            keys = {("fill", "sym"), NORMALIZED.get(operator.kind or "", ("fill", "sym"))}
            parts |= {"derived": dict.fromkeys(keys, operator), "only": _DRAWN}
        return super().of_parts(adjacency, **parts)

    def __repr__(self) -> str:
        return f"Subgraph({super().__repr__()}, {len(self.targets)} of them targets)"

    def check_edges_are_all(self, method: str) -> None:
        if self.operator is not None:
            raise InputError(
                f"{method}: this batch has a sample of the edges, and its Â is the one that was drawn with them; use the "
                "whole graph."
            )

    def subgraph(self, nodes: Tensor) -> Graph:
        self.check_edges_are_all("subgraph")
        return super().subgraph(nodes)

    def to_undirected(self) -> Graph:
        self.check_edges_are_all("to_undirected")
        return super().to_undirected()

    def with_features(
        self, kind: str, max_degree: int | None = None, *, k: int | None = None, append: bool = False
    ) -> Graph:
        if kind not in ("identity", "constant"):
            self.check_edges_are_all("with_features")
        return super().with_features(kind, max_degree, k=k, append=append)

    def save(self, folder: str | PathLike[str]) -> None:
        self.check_edges_are_all("save")
        super().save(folder)

    @property
    def num_classes(self) -> int:
        """C of the whole graph: a batch need not have a node of each class."""
        return self.classes_of_whole

    def replace(self, **changes: Any) -> Graph:
        graph = super().replace(**changes)
        if "adjacency" in changes:
            return graph
        own = {key: getattr(self, key) for key in ("nodes", "targets", "operator", "classes_of_whole")}
        return Subgraph.of_parts(**{**graph.parts, **own})

    def to(self, device: torch.device | torch.dtype | str) -> Subgraph:
        own: dict[str, Any] = {"nodes": self.nodes, "targets": self.targets}
        if not isinstance(device, torch.dtype):
            own = {key: value.to(device) for key, value in own.items()}
        operator = None if self.operator is None else self.operator.to(device)
        own |= {"operator": operator, "classes_of_whole": self.num_classes}
        return Subgraph.of_parts(**{**super().to(device).parts, **own})


class Sampler:
    """What makes batches of the nodes of a graph; `fit` takes one as `batching`.

    Iterating over it goes once through all nodes, in random order.

    Attributes:
        graph: the whole graph.
        batch_size: target nodes of a batch, or all nodes of it.
        operator: the matrix whose rows are drawn; None where that is Â, or nothing is.
    """

    operator: SparseMatrix | None = None

    def __init__(self, graph: Graph, batch_size: int) -> None:
        self.graph, self.batch_size = check_one_graph("graph", graph), check_count("batch_size", batch_size, 1)

    def batches(self, nodes: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Subgraph]:
        """Batches in which each of the nodes is a target once; none of the batches is without a target.

        Args:
            nodes: ids or a bool mask; by default all.
            generator: what the draws come from; by default torch's own, which `torch.manual_seed` sets.
        """
        raise NotImplementedError

    def num_batches(self, num_targets: int) -> int:
        """The most batches that `batches` makes for so many nodes."""
        return -(-check_count("num_targets", num_targets) // self.batch_size)

    def __iter__(self) -> Iterator[Subgraph]:
        return self.batches()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self.settings.items())})"

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, the graph aside."""
        return {"batch_size": self.batch_size}

    def _is_target(self, nodes: Tensor | None) -> Tensor:
        if nodes is None:
            return torch.ones(self.graph.num_nodes, dtype=torch.bool, device=self.graph.device)
        ids = check_nodes(nodes, self.graph.num_nodes).to(self.graph.device)
        is_target = torch.zeros(self.graph.num_nodes, dtype=torch.bool, device=self.graph.device).index_fill(
            0, ids, True
        )
        if int(is_target.sum()) < len(ids):
            raise InputError("nodes: an id is given twice, expected each once.")
        return is_target


class NeighborSampler(Sampler):
    """Batches of target nodes, each with a sample of the nodes it receives from (Hamilton et al. 2017, appendix A).

    k of a node's d neighbours are drawn, or all where d <= k, then k' neighbours of each of these, and so on, with one
    fan-out for each product with Â. A node's row of the batch's Â is

        Â_ii as it is,    d / k Â_ij for each drawn j,    0 for the others

    so that its mean over the draws is the row of Â. Rows are drawn independently, once a batch; the outermost nodes keep
    Â_ii alone. Outputs are unbiased only at `targets`, for as many layers as there are fan-outs.

    Args:
        graph: the whole graph.
        fan_outs: k for each product with Â, that of the targets first; None takes all neighbours.
        batch_size: targets of a batch.
        replace: draw with replacement.
        operator: a matrix [num_nodes, num_nodes] in the place of Â, whose diagonal is kept as it is, too. Layers that name
            another matrix than Â want it here: `graph.normalize(None, "rw")` for `SAGEConv`.

    Raises:
        InputError: a fan-out or batch size below 1, or weights that make a degree 0 or less.

    >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> batch = NeighborSampler(path, [1]).sample(torch.tensor([1]), torch.Generator().manual_seed(0))
    >>> batch.nodes, batch.targets
    (tensor([1, 2]), tensor([0]))
    >>> path.a_hat.to_dense()[1], batch.a_hat.to_dense()[0]
    (tensor([0.4082, 0.3333, 0.4082]), tensor([0.3333, 0.8165]))
    """

    def __init__(
        self,
        graph: Graph,
        fan_outs: Sequence[int | None] = (10, 10),
        batch_size: int = 1024,
        replace: bool = False,
        operator: SparseMatrix | None = None,
    ) -> None:
        super().__init__(graph, batch_size)
        fan_outs = check_list("fan_outs", fan_outs, "integers, one for each product with Â, such as (10, 10)", 1)
        # None takes all neighbours
        self.fan_outs = tuple(
            None if k is None else check_count(f"fan_outs[{i}]", k, 1) for i, k in enumerate(fan_outs)
        )
        self.replace, self.operator = check_flag("replace", replace), operator
        self._rows = _Rows(graph, operator)
        self._rows.check_fixed()

    @property
    def settings(self) -> dict[str, Any]:
        return {"fan_outs": self.fan_outs, "batch_size": self.batch_size, "replace": self.replace}

    def batches(self, nodes: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Subgraph]:
        ids = self._is_target(nodes).nonzero().squeeze(1)
        order = torch.randperm(len(ids), generator=generator).to(ids.device)
        for targets in ids[order].split(self.batch_size) if len(ids) else ():
            yield self.sample(targets, generator)

    def sample(self, targets: Tensor, generator: torch.Generator | None = None) -> Subgraph:
        """One batch.

        Args:
            targets: distinct node ids, in any order.
            generator: what the draws come from; by default torch's own.
        """
        targets = check_nodes(targets, self.graph.num_nodes).to(self.graph.device)
        if len(targets.unique()) < len(targets):
            raise InputError("targets: a node is given twice, expected distinct ids.")
        with self._rows.marks() as marks:
            marks.add(targets)
            frontier = targets
            hops: list[_Picks] = []
            for k in self.fan_outs:
                hops.append(self._draw(frontier.sort().values if hops else frontier, k, generator))
                frontier = marks.add(hops[-1].cols)
            return self._rows.subgraph(marks.nodes(), targets, _Picks.join(hops))

    def _draw(self, rows: Tensor, k: int | None, generator: torch.Generator | None) -> _Picks:
        degree = self._rows.degree(rows)
        if k is None or (not self.replace and bool((degree <= k).all())):
            return self._rows.picks(rows, degree, _ranges(degree))
        # Rows with k neighbours or fewer take all of them; the others have k places, to be filled with what is drawn.
        count = torch.where(degree > 0, k, 0) if self.replace else degree.clamp(max=k)
        drawn_from = (count if self.replace else degree > k).nonzero().squeeze(1)
        random = torch.rand(len(drawn_from), k, dtype=torch.float64, generator=generator).to(rows.device)
        choices = degree.index_select(0, drawn_from)
        drawn = (random * choices.unsqueeze(1)).long() if self.replace else _distinct(random, choices)
        start = (count.cumsum(0) - count).index_select(0, drawn_from)
        places = start.unsqueeze(1) + torch.arange(k, device=rows.device)
        which = _ranges(count)
        which[places] = drawn.sort(1).values
        picks = self._rows.picks(rows, count, which, degree / count.clamp(min=1))
        return picks.merged() if self.replace else picks


class RandomNodeSampler(Sampler):
    """Batches of nodes drawn at random, with the edges between them (Zeng et al. 2020, node sampler, uniform).

    An epoch deals all N nodes out to batches of n. A node j is in the batch of a node i with probability
    (n - 1) / (N - 1), so that the batch's Â has Â_ii as it is and (N - 1) / (n - 1) Â_ij off the diagonal: on average its
    rows are those of Â.

    Args:
        graph: the whole graph.
        batch_size: n, at least 2.
        operator: a matrix [num_nodes, num_nodes] in the place of Â, as for `NeighborSampler`.
    """

    def __init__(self, graph: Graph, batch_size: int = 10_000, operator: SparseMatrix | None = None) -> None:
        super().__init__(graph, batch_size)
        check_count("batch_size", batch_size, 2)
        self.operator = operator
        self._rows = _Rows(graph, operator)
        self._rows.check_fixed()

    def num_batches(self, num_targets: int) -> int:
        return -(-self.graph.num_nodes // self.batch_size)

    def batches(self, nodes: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Subgraph]:
        n, is_target = self.graph.num_nodes, self._is_target(nodes)
        order = torch.randperm(n, generator=generator).to(self.graph.device)
        # Parts of one size but for 1: a last one of a few nodes would have next to no edges.
        for part in order.tensor_split(self.num_batches(n)):
            drawn = part.sort().values
            targets = drawn[is_target[drawn]]
            if len(targets):
                degree = self._rows.degree(drawn)
                factor = torch.full((len(drawn),), (n - 1) / max(len(drawn) - 1, 1), device=drawn.device)
                picks = self._rows.picks(drawn, degree, _ranges(degree), factor)
                with self._rows.marks() as marks:
                    marks.add(drawn)
                    batch = self._rows.subgraph(drawn, targets, picks.where(marks.has(picks.cols)))
                yield batch


class ClusterSampler(Sampler):
    """Batches of a few parts of a partition, with the edges within and between them (Chiang et al. 2019, section 3.2).

    The edges to other parts are left out, and Â is that of the subgraph, normalised by the degrees that are left. It is
    not that of the whole graph on average; it errs less the fewer edges are cut.

    Args:
        graph: the whole graph.
        parts: the part of each node, int64 [num_nodes], such as `partition(graph, 100)`.
        parts_per_batch: drawn together; each epoch draws again.
    """

    def __init__(self, graph: Graph, parts: Tensor, parts_per_batch: int = 1) -> None:
        super().__init__(graph, 1)
        parts = as_tensor("parts", parts, "the part of each node")
        if parts.shape != (graph.num_nodes,) or parts.dtype != torch.int64 or bool((parts < 0).any()):
            raise InputError(
                f"parts: got {parts.dtype} of shape {tuple(parts.shape)}, expected [{graph.num_nodes}] int64, the part of "
                "each node, from 0."
            )
        self.parts, self.parts_per_batch = parts, check_count("parts_per_batch", parts_per_batch, 1)
        self._order, self._num_classes = parts.sort(stable=True).indices.to(graph.device), graph.num_classes
        self._sizes = torch.bincount(parts).tolist()
        self.batch_size = -(-graph.num_nodes // self.num_batches(0))

    @property
    def settings(self) -> dict[str, Any]:
        return {"num_parts": len(self._sizes), "parts_per_batch": self.parts_per_batch}

    def num_batches(self, num_targets: int) -> int:
        return -(-len(self._sizes) // self.parts_per_batch)

    def batches(self, nodes: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Subgraph]:
        is_target, members = self._is_target(nodes), self._order.split(self._sizes)
        for drawn in torch.randperm(len(members), generator=generator).split(self.parts_per_batch):
            ids = torch.cat([members[part] for part in drawn.tolist()]).sort().values
            targets = is_target[ids].nonzero().squeeze(1)
            if len(targets):
                own = {"nodes": ids, "targets": targets, "operator": None, "classes_of_whole": self._num_classes}
                yield Subgraph.of_parts(**{**self.graph.subgraph(ids).parts, **own})


@torch.no_grad()
def predict_in_batches(
    model: Any, graph: Graph, nodes: Tensor | None, operator: SparseMatrix | None, batch_size: int
) -> Tensor:
    """`predict`'s logits of a layerwise model, so many nodes at a time, each with all of its neighbours.

    A model with a method `layer(i, h, a_hat)` computes one layer for all nodes that the next one reads, each node once;
    what a layer gives goes to a temporary file where memory is short. Of another, each batch computes all that it depends
    on.
    """
    place = ids = torch.arange(graph.num_nodes, device=graph.device)
    if nodes is not None:
        ids, places = check_nodes(nodes, graph.num_nodes).to(graph.device).unique(return_inverse=True)
    check_count("batch_size", batch_size, 1)
    bare = type(graph).of_parts(**{**graph.parts, "x": None, "node_names": None})
    by_layer = goes_by_layer(model)
    sampler = NeighborSampler(bare, [None] if by_layer else [None] * model.num_layers, batch_size, operator=operator)
    wanted = [ids]  # the nodes of each layer's outputs
    for _ in range(model.num_layers - 1 if by_layer else 0):
        is_read = torch.zeros(graph.num_nodes, dtype=torch.bool, device=graph.device)
        is_read[wanted[0]] = True
        for rows in wanted[0].split(batch_size) if len(wanted[0]) < graph.num_nodes else ():
            is_read[(graph.adjacency if operator is None else operator).select_rows(rows).col.long()] = True
        wanted.insert(0, is_read.nonzero().squeeze(1))
    device = next((p.device for p in model.parameters()), graph.device)  # the graph may be larger than its memory
    h: Any = graph.x
    for i, targets in enumerate(wanted):
        out = None
        for start in range(0, max(len(targets), 1), batch_size):
            part = sampler.sample(targets[start : start + batch_size])
            part, own = part.to(device), select_rows(h, place[part.nodes]).to(device)
            if by_layer:
                if layer_reads_own_rows(model):
                    result = model.layer(i, own, part.a_hat)[part.targets]
                else:
                    result = model.layer(i, own, part.a_hat.select_rows(part.targets))
            else:
                field = part.replace(x=own).receptive_field(part.targets, model.num_layers)
                result = model(field.x, field.a_hat)
            if out is None:
                shape = len(targets), result.shape[1]
                is_here = graph.device.type == "cpu"
                out = large_empty(shape, result.dtype) if is_here else result.new_empty(shape)
            out[start : start + batch_size] = result
        h, place = out, torch.zeros_like(place).index_copy(0, targets, torch.arange(len(targets), device=place.device))
    return h if nodes is None else h[places]


def estimate_full_batch(graph: Graph, model: nn.Module) -> int:
    """Bytes that training on all of the graph holds at its peak, Â and its making included; nothing is allocated.

    The larger of the step, as `Graph.estimate_memory` has it but without making Â for it, and of Â's making, which holds
    some numbers of 64 bits an entry.
    """
    a, nnz = graph.adjacency, graph.num_edges + graph.num_nodes
    with torch.device("meta"):
        rowptr = torch.empty(graph.num_nodes + 1, dtype=a.rowptr.dtype)
        col, value = torch.empty(nnz, dtype=a.col.dtype), torch.empty(nnz, dtype=a.dtype)
    a_hat = SparseMatrix(rowptr, col, value, a.shape, symmetric=True)
    own = sum(part.nbytes for part in (a.rowptr, a.col, a.value))
    return own + max(estimate_step(model, graph.x, a_hat), _BYTES_TO_NORMALIZE * nnz)


def partition(graph: Graph, num_parts: int, num_passes: int = 5, slack: float = 0.05, seed: int = 0) -> Tensor:
    """Parts of about one size with few edges between them, int64 [num_nodes], by restreaming linear deterministic greedy.

    Nodes come in random order, in blocks; each goes to the part p that has the most of its neighbours, where there is
    room (Stanton & Kliot 2012, of weighted greedy; Nishimura & Ugander 2013, of several passes):

        argmax_p |N(i) in p| (1 - |p| / C),    C = (1 + slack) num_nodes / num_parts

    Args:
        graph: its weights do not count.
        num_parts: at least 1.
        num_passes: each goes through all nodes; the first knows only those before.
        slack: how much larger than the mean a part may be.
        seed: of the order.
    """
    check_one_graph("graph", graph)
    if check_count("num_parts", num_parts, 1) > max(graph.num_nodes, 1):
        raise InputError(f"num_parts: got {num_parts}, expected at most one for each of the {graph.num_nodes} nodes.")
    check_count("num_passes", num_passes, 1)
    slack = check_number("slack", slack, least=0)
    n, matrix = graph.num_nodes, graph.adjacency
    order = torch.randperm(n, generator=torch.Generator().manual_seed(check_seed(seed))).to(graph.device)
    parts = torch.full((n,), -1, dtype=torch.int64, device=graph.device)
    sizes = torch.zeros(num_parts, dtype=torch.int64, device=graph.device)
    capacity = int((1 + slack) * n / num_parts) + 1
    for _ in range(num_passes):
        for block in order.split(max(min(n // 50, (1 << 22) // num_parts), 1)):
            sizes -= torch.bincount(parts[block] + 1, minlength=num_parts + 1)[1:]
            rows = matrix.select_rows(block)
            known = parts[rows.col.long()]
            place = (rows.row * num_parts + known)[known >= 0]
            votes = torch.bincount(place, minlength=len(block) * num_parts).view(-1, num_parts)
            room = 1 - sizes / capacity  # a node without a neighbour in any part goes where most room is
            chosen = (votes * room + 1e-6 * room).argmax(1)
            # Those that find their part full meanwhile go to the parts that have room.
            by_part = chosen.sort(stable=True)
            count = torch.bincount(chosen, minlength=num_parts)
            rank = torch.arange(len(block), device=block.device) - (count.cumsum(0) - count)[by_part.values]
            is_late = torch.empty_like(block, dtype=torch.bool)
            is_late[by_part.indices] = rank >= (capacity - sizes)[by_part.values]
            sizes += torch.bincount(chosen[~is_late], minlength=num_parts)
            num_late = int(is_late.sum())
            free = torch.repeat_interleave(torch.arange(num_parts, device=block.device), capacity - sizes)
            chosen[is_late] = free[torch.linspace(0, len(free) - 1, num_late, device=block.device).long()]
            sizes += torch.bincount(chosen[is_late], minlength=num_parts)
            parts[block] = chosen
    return parts


# --------------------------------------------------------------------------------------------------------------------
# Rows of Â
# --------------------------------------------------------------------------------------------------------------------


class _Picks(NamedTuple):
    """Entries off the diagonal of some rows: of each row so many as `lengths` says, in the order of their columns.

    rows, lengths [num_rows], and each entry's `which` (its number in its row, the diagonal not counted), place in the
    matrix, column, and factor, [num_picks].
    """

    rows: Tensor
    lengths: Tensor
    which: Tensor
    entries: Tensor
    cols: Tensor
    factor: Tensor

    @staticmethod
    def join(parts: Sequence[_Picks]) -> _Picks:
        return _Picks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    @property
    def owner(self) -> Tensor:
        """The place of each entry's row in `rows`."""
        places = torch.arange(len(self.rows), device=self.rows.device)
        return torch.repeat_interleave(places, self.lengths, output_size=len(self.cols))

    def where(self, keep: Tensor) -> _Picks:
        count = torch.bincount(self.owner[keep], minlength=len(self.rows))
        return _Picks(self.rows, count, *(column[keep] for column in self[2:]))

    def merged(self) -> _Picks:
        """With entries that were drawn several times as one of so many times the factor."""
        owner = self.owner
        is_first = torch.ones_like(self.which, dtype=torch.bool)
        is_first[1:] = (self.which[1:] != self.which[:-1]) | (owner[1:] != owner[:-1])
        times = torch.bincount(is_first.cumsum(0) - 1)
        picks = self.where(is_first)
        return picks._replace(factor=picks.factor * times)


class _Marks:
    """The nodes of a batch while it is made, in time and memory of their number, not of the graph's.

    place: int32 [num_nodes], -1 but for those that are marked.
    """

    def __init__(self, place: Tensor) -> None:
        self.place, self.marked = place, [place.new_empty(0, dtype=torch.int64)]

    def has(self, nodes: Tensor) -> Tensor:
        return self.place.index_select(0, nodes) >= 0

    def add(self, nodes: Tensor) -> Tensor:
        """Mark them, and return those that were not, each once, in any order."""
        new = nodes[~self.has(nodes)]
        order = torch.arange(len(new), dtype=torch.int32, device=new.device)
        self.place[new] = order
        fresh = new[self.place.index_select(0, new) == order]  # of a node given twice one place stays
        self.marked.append(fresh)
        return fresh

    def nodes(self) -> Tensor:
        """In the order of their ids."""
        return torch.cat(self.marked).int().sort().values.long()  # half the time

    def clear(self) -> None:
        self.place[torch.cat(self.marked)] = -1


def rows_reference(graph: Graph, operator: SparseMatrix | None, nodes: Tensor) -> SparseMatrix:
    """What `_Rows` has of some nodes if all neighbours are drawn: rows of the whole Â, or of `operator`."""
    return (graph.a_hat if operator is None else operator).select_rows(nodes)


class _Rows:
    """The rows of Â, or of another matrix, that are asked for; their values are made when they are.

    Â_ij = A_ij / sqrt(d_i d_j) for i != j,   Â_ii = (A_ii, or 1 where it is 0) / d_i,   of the degrees d of Ã
    """

    def __init__(self, graph: Graph, operator: SparseMatrix | None) -> None:
        if operator is not None:
            check_matrix("operator", operator, graph.num_nodes, sparse=True)
        self.num_classes = graph.num_classes
        if operator is None and isinstance(graph, Subgraph):
            operator = graph.operator  # of a batch of a batch: its own edges are a sample
        self.kind = "a_hat" if operator is None else operator.kind
        self.graph, self.matrix = graph, graph.adjacency if operator is None else operator
        self.shared = shared(self.matrix.value)
        n, device = graph.num_nodes, graph.device
        self.place = torch.empty(n, dtype=torch.int32, device=device)  # in a row, of the diagonal or where it would be
        self.has_loop = torch.empty(n, dtype=torch.bool, device=device)
        self.diagonal = torch.zeros(n, dtype=self.matrix.dtype, device=device)
        self.scale: Tensor | None = None
        self.new_id = torch.full((n,), -1, dtype=torch.int32, device=device)  # in the batch that is made
        self._lock = threading.Lock()
        for rows in torch.arange(n, device=device).split(_ROWS):
            self._find_diagonal(rows)
        if operator is None:
            warn_if_directed(graph)
            is_missing = self.diagonal == 0
            self.diagonal[is_missing] = 1
            degree = graph.degree + is_missing
            graph.check_degree(self.matrix, degree)
            self.scale = torch.where(degree > 0, degree, 1).rsqrt() * (degree > 0)
            self.diagonal = (self.diagonal * self.scale.square()).to(self.matrix.dtype)

    def check_fixed(self) -> None:
        """Raise InputError for learnt weights, whose degrees and diagonal would be those of the beginning."""
        if self.matrix.value.requires_grad:
            raise InputError(
                "graph: its edge weights are learnt (they require a gradient), and a sampler takes their degrees once; train on "
                "the whole graph, or hold them fixed: a.with_value(a.value.detach())."
            )

    def _find_diagonal(self, rows: Tensor) -> None:
        start, end = self.matrix.rowptr[rows].long(), self.matrix.rowptr[rows + 1].long()
        low, high, last = start, end, max(self.matrix.nnz - 1, 0)
        while bool((low < high).any()):  # columns are sorted within a row
            middle = (low + high) // 2
            is_before = (low < high) & (self.matrix.col[middle.clamp(max=last)] < rows)
            low, high = torch.where(is_before, middle + 1, low), torch.where(is_before, high, middle)
        self.place[rows] = (low - start).int()
        has_loop = low < end
        if self.matrix.nnz:
            has_loop &= self.matrix.col[low.clamp(max=last)] == rows
            self.diagonal[rows] = torch.where(has_loop, self.matrix.value[low.clamp(max=last)], 0)
        self.has_loop[rows] = has_loop

    @contextmanager
    def marks(self) -> Iterator[_Marks]:
        """Of one batch, by one thread at a time; cleared whatever happens."""
        with self._lock:
            marks = _Marks(self.new_id)
            try:
                yield marks
            finally:
                marks.clear()

    def degree(self, rows: Tensor) -> Tensor:
        """Entries off the diagonal."""
        return self.matrix.rowptr[rows + 1].long() - self.matrix.rowptr[rows].long() - self.has_loop[rows].long()

    def picks(self, rows: Tensor, count: Tensor, which: Tensor, factor: Tensor | None = None) -> _Picks:
        """The which-th entries off the diagonal, [num_picks], of each row `count`, with a factor of each row."""

        def of_each(value: Tensor) -> Tensor:
            return torch.repeat_interleave(value, count, output_size=len(which))

        # Beyond the diagonal an entry stands one place later; in rows without one nothing is beyond.
        place = torch.where(self.has_loop[rows], self.place[rows], torch.iinfo(torch.int32).max)
        entries = which + of_each(self.matrix.rowptr[rows].long()) + (which >= of_each(place))
        factor = torch.ones(len(rows), device=rows.device) if factor is None else factor
        col = self.matrix.col.index_select(0, entries).long()
        return _Picks(rows, count, which, entries, col, of_each(factor.to(self.matrix.dtype)))

    def subgraph(self, nodes: Tensor, targets: Tensor, picks: _Picks) -> Subgraph:
        """The graph of `nodes`, the marked ones in increasing order, with the picked entries and the diagonal."""
        check_unwritten("operator", self.matrix.value, self.shared)
        n, device = len(nodes), nodes.device
        self.new_id[nodes] = torch.arange(n, dtype=torch.int32, device=device)
        new_rows, has_loop = self.new_id.index_select(0, picks.rows).long(), self.has_loop.index_select(0, nodes)
        count = torch.zeros(n, dtype=torch.int64, device=device).index_copy(0, new_rows, picks.lengths)
        owner = picks.owner
        row, source = new_rows.index_select(0, owner), picks.rows.index_select(0, owner)
        is_after = picks.which >= self.place.index_select(0, source)
        num_before = torch.zeros_like(count).index_add(0, row, (~is_after).long())
        within, col = _ranges(picks.lengths), self.new_id.index_select(0, picks.cols)
        weight = self.matrix.value.index_select(0, picks.entries)

        def matrix(has_diagonal: Tensor, weight: Tensor, diagonal: Tensor) -> SparseMatrix:
            # Row by row: the entries before the diagonal, the diagonal where there is one, the entries after it.
            rowptr = F.pad((count + has_diagonal).cumsum(0), (1, 0))
            at = rowptr.index_select(0, row) + within + (is_after & has_diagonal.index_select(0, row))
            loops = (rowptr[:-1] + num_before)[has_diagonal]
            out_col = torch.empty(int(rowptr[-1]), dtype=torch.int32, device=device)
            out_col[at], out_col[loops] = col, self.new_id.index_select(0, nodes[has_diagonal])
            value = weight.new_empty(len(out_col))
            value[at], value[loops] = weight, diagonal
            return SparseMatrix(rowptr.to(torch.int32), out_col, value, (n, n))

        looped = nodes[has_loop]
        loops = self.matrix.value[self.matrix.rowptr[looped].long() + self.place[looped]]
        adjacency = matrix(has_loop, weight, loops)
        if self.scale is not None:
            weight = weight * self.scale.index_select(0, source) * self.scale.index_select(0, picks.cols)
        has_diagonal = torch.ones_like(has_loop) if self.scale is not None else has_loop  # Â has all of it
        diagonal = self.diagonal.index_select(0, nodes[has_diagonal])
        operator = matrix(has_diagonal, (weight * picks.factor).to(adjacency.dtype), diagonal)
        operator.is_brief, operator.kind = True, self.kind
        own = {
            "nodes": nodes, "targets": self.new_id[targets].long(), "operator": operator,
            "classes_of_whole": self.num_classes,
        }  # fmt: skip
        return Subgraph.of_parts(adjacency, **self.graph.rows_of(nodes), **own)


def _ranges(count: Tensor) -> Tensor:
    """0 .. count - 1 for each count, one after the other."""
    total = int(count.sum())
    start = torch.repeat_interleave(count.cumsum(0) - count, count, output_size=total)
    return torch.arange(total, device=count.device) - start


def _distinct(random: Tensor, degree: Tensor) -> Tensor:
    """k distinct numbers below each degree, which is above k, made of [num_rows, k] random ones from 0 to 1 (Floyd 1987)."""
    k = random.shape[1]
    last = degree - k  # of the first draw
    drawn = (random * (last.unsqueeze(1) + torch.arange(1, k + 1, device=last.device))).long()
    for s in range(1, k if len(drawn) else 1):
        is_twice = (drawn[:, :s] == drawn[:, s : s + 1]).any(1)
        drawn[:, s] = torch.where(is_twice, last + s, drawn[:, s])
    return drawn
