"""Many graphs in one: a collection is the block-diagonal graph of all its graphs and where each of them starts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from ..checks import check_count
from ..errors import InputError, InputIndexError, InputTypeError
from ..inputs import as_tensor, labels_of_all, largest_id, numbered_as, own
from ..machine import check_devices
from ..memory import check_large
from ..sparse import SparseMatrix
from ..sparse.matrix import starts
from .batches import BlockRows, GraphBatch, num_targets
from .convert import pyg_edges, pyg_num_nodes
from .graph import Graph, check_graphs, check_one_graph
from .joining import common_classes, listed_graphs, side_by_side
from .merging import alike, depth_classes, first_nodes, merge
from .summary import as_text, num_isolated, num_loops
from .unfolding import Unfolding, evenly_spaced

if TYPE_CHECKING:
    from torch_geometric.data import Data


def _label(i: int, y: Tensor | None, num_nodes: int, before: Sequence[Tensor]) -> Tensor:
    """The y of the i-th graph, if it is a graph's and like those before."""
    if y is not None and y.dim() and num_nodes == len(y) and (y.dim() == 1 or len(y) > 1):
        raise InputError(
            f"graphs: graph {i} has labels of its {num_nodes} nodes, and here each graph has one; Graph.from_graphs joins "
            "such graphs into one Graph, with the labels and masks of its nodes."
        )
    if y is None or (y.dim() and (y.dim() != 2 or y.shape[0] != 1)):
        raise InputError(
            f"graphs: graph {i} has no label; pass y=, one integer (or targets: one float, or floats "
            "[1, num_targets]), where it is made."
        )
    if before and (y.is_floating_point(), y.shape) != (before[0].is_floating_point(), before[0].shape):
        raise InputError(
            f"graphs: graph {i} has y {y.dtype} of shape {tuple(y.shape)}, "
            f"graph 0 {before[0].dtype} of shape {tuple(before[0].shape)}."
        )
    return y


def _check_apart(argument: str, adjacency: SparseMatrix, graph_of: Tensor) -> None:
    """Raise InputError if an edge leads from one graph into another."""
    crossing = graph_of[adjacency.row] != graph_of[adjacency.col.long()]
    if bool(crossing.any()):
        at = int(crossing.nonzero()[0])
        i, j = int(adjacency.row[at]), int(adjacency.col[at])
        raise InputError(f"{argument}: the edge {j} -> {i} leads from graph {graph_of[j]} to graph {graph_of[i]}.")


class GraphCollection(Sequence[Graph]):
    """A list of graphs with a label each, stored as one graph.

        A = diag(A_1, ..., A_G),   X = [X_1; ...; X_G],   nodes of graph g: node_ptr[g] .. node_ptr[g + 1] - 1

    `collection[i]` is a Graph whose `y` is a 0-d tensor, or [1, T] where y is [G, T]; a slice, a bool mask or a list of
    indices gives a sub-collection, which shares the arrays of the whole and stands for some of its graphs.

    Args:
        whole: the block-diagonal graph of all graphs; its class_names are those of the collection. Node labels, masks
            and names are not kept.
        node_ptr: [G + 1] integers, from 0 to the number of nodes.
        y: the label of each graph, [G] integers from 0, or names, or -1 and 1; or the targets of each, floats [G] or
            [G, T]: numbers to predict (regression), or 0 and 1 for each of T properties (multi-label). NaN is a missing
            one.
        name: what it is called in messages; by default the name of `whole`.

    Attributes:
        whole: the graph of all graphs, including those that a sub-collection leaves out. `batch` cuts out of what it has
            derived, such as `whole.a_hat`, instead of deriving it again.

    Raises:
        InputError: `node_ptr` and `y` do not fit `whole`, or an edge leads from one graph into another.

    >>> pair = Graph.from_edges([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]])
    >>> graphs = GraphCollection(pair, [0, 2, 5], [0, 1], name="an edge and a path")
    >>> graphs
    GraphCollection(an edge and a path: 2 graphs, 5 nodes, 6 stored edges, 2 classes)
    >>> graphs[1].num_nodes, graphs[1].y
    (3, tensor(1))
    >>> graphs.batch([1, 0]).batch
    tensor([0, 0, 0, 1, 1])
    """

    def __init__(self, whole: Graph, node_ptr: Any, y: Any, *, name: str | None = None) -> None:
        check_one_graph("whole", whole)
        n, ptr = whole.num_nodes, as_tensor("node_ptr", node_ptr, "[G + 1] integers").to(whole.device)
        if ptr.dim() != 1 or ptr.is_floating_point() or ptr.dtype == torch.bool:
            raise InputError(f"node_ptr: got {ptr.dtype} of shape {tuple(ptr.shape)}, expected [G + 1] integers.")
        ptr = own(ptr.long())
        if not len(ptr) or int(ptr[0]) != 0 or int(ptr[-1]) != n or bool((ptr.diff() < 0).any()):
            raise InputError(f"node_ptr: expected numbers that rise from 0 to {n}, the number of nodes.")
        labels, names = labels_of_all(y, whole.class_names, len(ptr) - 1, "graph")
        labels = own(labels.to(whole.device))
        if labels.is_floating_point() and names is not None and len(names) != num_targets(labels):
            raise InputError(f"class_names: got {len(names)} names for {num_targets(labels)} targets.")
        _check_apart("whole", whole.adjacency, torch.repeat_interleave(ptr.diff(), output_size=n))
        # Labels and masks of nodes are not kept: a batch would need them cut too, and readouts have no use for them.
        whole = whole.replace(
            y=None, train_mask=None, val_mask=None, test_mask=None, node_names=None, class_names=names
        )
        self._fill(whole, ptr, labels, None, name or whole.name)

    def _fill(
        self,
        whole: Graph,
        ptr: Tensor,
        y: Tensor,
        chosen: Tensor | None,
        name: str | None,
        multiplicity: Tensor | None = None,
    ) -> GraphCollection:
        self.whole, self._ptr, self._y, self._chosen, self.name = whole, ptr, y, chosen, name
        self._multiplicity = multiplicity  # of the nodes of the whole, where alike ones are merged
        return self

    @classmethod
    def of_parts(cls, whole: Graph, node_ptr: Tensor, y: Tensor, *, name: str | None = None) -> GraphCollection:
        """A collection of parts that are known to fit each other, such as those of a file: nothing is checked or copied."""
        return cls.__new__(cls)._fill(whole, node_ptr, y, None, name)

    def _with(self, **changes: Any) -> GraphCollection:
        own = {
            "whole": self.whole, "ptr": self._ptr, "y": self._y, "chosen": self._chosen, "name": self.name,
            "multiplicity": self._multiplicity,
        }  # fmt: skip
        return type(self).__new__(type(self))._fill(**{**own, **changes})

    @classmethod
    def from_graphs(
        cls, graphs: Iterable[Graph], *, class_names: Sequence[str] | None = None, name: str | None = None
    ) -> GraphCollection:
        """From graphs that each have a `y` of one kind, 0-d or floats [1, T], and features of one width or none.

        Raises InputError naming the first graph that does not fit.
        """
        graphs = check_graphs(graphs)
        ys: list[Tensor] = []
        for i, graph in enumerate(graphs):
            y = graph.y
            if y is not None and y.dim() == 1 == graph.num_nodes:  # which may be the node's as well as the graph's
                y = y.reshape(())
            ys.append(_label(i, y, graph.num_nodes, ys))
        ptr = starts(torch.tensor([graph.num_nodes for graph in graphs]))
        ys, class_names = common_classes(graphs, ys, class_names)
        adjacency, x = side_by_side(graphs)
        num_duplicates = sum(graph.num_duplicates for graph in graphs)
        whole = Graph(adjacency, x, class_names=class_names, name=name, num_duplicates=num_duplicates)
        return cls(whole, ptr, torch.cat(ys) if ys[0].dim() else torch.stack(ys))

    @classmethod
    def from_pyg(
        cls, graphs: Iterable[Data], *, class_names: Sequence[str] | None = None, name: str | None = None
    ) -> GraphCollection:
        """From PyG's `Data` objects, or a data set of them, each with a y: joined first, so that all are checked at once.

        It reads what `Graph.from_pyg` reads, and gives what `from_graphs` gives of those graphs.

        Raises InputError naming the first graph that does not fit.
        """
        if hasattr(graphs, "to_data_list"):  # a Batch
            graphs = graphs.to_data_list()
        graphs = listed_graphs(graphs)
        ys: list[Tensor] = []
        edges: list[tuple[Tensor, Tensor | None, str]] = []
        counted: list[int] = []
        for i, data in enumerate(graphs):
            if hasattr(data, "to_data_list"):
                raise InputTypeError(
                    f"graphs: graph {i} is a Batch of several, expected one Data; [data for batch in batches for data in "
                    "batch.to_data_list()] lists them all."
                )
            if not hasattr(data, "edge_index") and not hasattr(data, "adj_t"):
                raise InputTypeError(f"graphs: graph {i} is a {type(data).__name__}, expected a PyG Data.")
            edges.append(pyg_edges(data, f"graphs: graph {i}"))
            check_devices(**{"graph 0": edges[0][0], f"graph {i}": edges[-1][0]})
            num_nodes = pyg_num_nodes(data)
            counted.append(largest_id(edges[-1][0]) + 1 if num_nodes is None else num_nodes)
            y = data.y.reshape(()) if data.y is not None and data.y.numel() == 1 else data.y
            ys.append(_label(i, y, counted[-1], ys))
        if left_out := next((note for *_, note in edges if note), ""):
            warnings.warn(f"graphs: {left_out}", stacklevel=2)
        device = edges[0][0].device
        sizes = torch.tensor(counted, device=device)
        ptr = starts(sizes)

        def joined(what: str, parts: list[Any], rows: list[int]) -> Tensor | None:
            if all(part is None for part in parts):
                return None
            for i, (part, length) in enumerate(zip(parts, rows, strict=True)):
                if part is None or part.shape[0] != length or part.shape[1:] != parts[0].shape[1:]:
                    found = "none" if part is None else f"shape {tuple(part.shape)}"
                    raise InputError(
                        f"graphs: graph {i} has {what} of {found}; expected {length} rows, as wide as in graph 0, or none in all."
                    )
            return torch.cat(parts)

        counts = [ends.shape[1] for ends, *_ in edges]
        graph_of_edge = torch.repeat_interleave(torch.tensor(counts, device=device))
        ends = torch.cat([ends for ends, *_ in edges], 1)
        bad = ((ends < 0) | (ends >= sizes[graph_of_edge])).any(0)
        if bool(bad.any()):
            e = int(bad.nonzero()[0])
            i = int(graph_of_edge[e])
            raise InputError(
                f"graphs: graph {i} has {sizes[i]} nodes and an edge {ends[0, e]} -> {ends[1, e]}; ids must be at least 0 and "
                "below. Do they count from 1? Then pass edge_index - 1."
            )
        whole = Graph.from_edges(
            ends + ptr[graph_of_edge], int(ptr[-1]),
            joined("edge weights", [weight for _, weight, _ in edges], counts),
            x=joined("x", [data.x for data in graphs], sizes.tolist()), class_names=class_names, name=name,
        )  # fmt: skip
        return cls(whole, ptr, torch.cat(ys) if ys[0].dim() else torch.stack(ys))

    # -- as a list ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._y.shape[0] if self._chosen is None else self._chosen.shape[0]

    @overload
    def __getitem__(self, index: int) -> Graph: ...
    @overload
    def __getitem__(self, index: slice | Tensor | Iterable[int]) -> GraphCollection: ...
    def __getitem__(self, index: Any) -> Any:
        """One Graph for an integer; a GraphCollection for a slice, a bool mask [G], or a tensor or list of indices.

        Raises:
            InputIndexError: an index is out of range.
            InputTypeError: it is nothing of that kind.
        """
        if isinstance(index, Integral) or (
            isinstance(index, Tensor) and not index.dim() and not index.is_floating_point()
        ):
            one = self._cut(self._ids([int(index)]))
            if one.multiplicity is not None:
                return one
            assert one.y is not None
            return Graph.of_parts(**{**one.graph.parts, "y": one.y[0] if one.y.dim() == 1 else one.y})
        return self._with(chosen=own(self._ids(index)))

    def __iter__(self) -> Iterator[Graph]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        parts = f"{len(self)} graphs, {int(self.sizes.sum())} nodes, {self.num_edges} stored edges"
        parts += f", {self.num_features} features" if self.whole.x is not None else ""
        kind = "targets" if self._y.is_floating_point() else "classes"
        return f"GraphCollection({self.name + ': ' if self.name else ''}{parts}, {self.num_classes} {kind})"

    def _ids(self, index: Any) -> Tensor:
        """The graphs of the whole that `index` means here, [B] int64."""
        size = len(self)
        if isinstance(index, slice):
            index = range(size)[index]
        try:
            ids = torch.as_tensor(list(index) if isinstance(index, range) else index)
        except (TypeError, ValueError, RuntimeError):
            raise InputTypeError(f"index: got {type(index).__name__}, expected integers or a slice.") from None
        if ids.dtype == torch.bool and ids.shape == (size,):
            ids = ids.nonzero().squeeze(1)
        if ids.dim() != 1 or (ids.numel() and (ids.is_floating_point() or ids.dtype == torch.bool)):
            raise InputTypeError(
                f"index: got {ids.dtype} of shape {tuple(ids.shape)}, expected integers [B], or bool [{size}]."
            )
        ids = ids.to(self._y.device, torch.int64)
        if ids.numel():
            low, high = (int(end) for end in ids.aminmax())
            if low < -size or high >= size:
                raise InputIndexError(f"index: got {low if low < -size else high}, but there are {size} graphs.")
            if low < 0:
                ids = torch.where(ids < 0, ids + size, ids)
        return ids if self._chosen is None else self._chosen[ids]

    # -- as a batch ---------------------------------------------------------------------------------------------------

    def batch(self, index: slice | Tensor | Iterable[int] | None = None) -> GraphBatch:
        """Some graphs side by side, in the given order: A = diag(A_i, ...), X = [X_i; ...].

        Copies the rows of the chosen graphs by their offsets; no loop over graphs or nodes.

        Args:
            index: as in `collection[index]`; by default all graphs. A graph may be chosen twice.

        Raises InputIndexError and InputTypeError as indexing does.
        """
        return self._cut(self._ids(slice(None) if index is None else index))

    def _cut(self, ids: Tensor) -> GraphBatch:
        first = self._ptr.index_select(0, ids)
        size = self._ptr.index_select(0, ids + 1) - first
        ptr = starts(size)
        batch = torch.repeat_interleave(size, output_size=int(ptr[-1]))
        shift = first - ptr[:-1]  # of the node ids, from here to the whole
        node = torch.arange(batch.shape[0], device=ids.device).add_(shift.index_select(0, batch))
        rows = BlockRows(first, size, batch, node, shift)
        whole, x = self.whole, self.whole.x
        parts = [whole.adjacency.value, *((x.value,) if isinstance(x, SparseMatrix) else () if x is None else (x,))]
        what, size_of_whole = f"a batch of {len(ids):,} graphs", sum(part.nbytes for part in parts)
        share = size_of_whole * len(node) // max(whole.num_nodes, 1)
        check_large("index", what, share, ids.device, "take fewer graphs at a time, such as batch_size says.")
        derived = {
            key: rows.of(value, square=True) if isinstance(value, SparseMatrix) else value
            for key, value in whole.derived.items()
            if isinstance(value, SparseMatrix) or value is False  # of symmetric blocks each is symmetric
        }
        graph = Graph.of_parts(
            rows.of(whole.adjacency, square=True),
            x=rows.of(x) if isinstance(x, SparseMatrix) else None if x is None else x.index_select(0, node),
            class_names=whole.class_names, name=whole.name, derived=derived,
            made_features=whole.made_features, only=whole.parts["only"],
        )  # fmt: skip
        multiplicity = None if self._multiplicity is None else self._multiplicity.index_select(0, node)
        return GraphBatch.of_parts(graph, ptr, batch, self._y.index_select(0, ids), multiplicity)

    def merged(self) -> GraphCollection:
        """The collection with alike nodes of each graph merged into one, for layers that sum over neighbours.

        Such a layer gives nodes alike in features and surroundings the same output (`graph.merging`), so one row
        stands for them: `batch.multiplicity` says for how many, `batch.p` counts them, and `batch.a_hat` is the matrix
        Q that takes the place of Â. `GraphClassifier` gives the numbers of all nodes, up to rounding; `fit` and
        `predict` merge by themselves where the model allows it.

        Returns the collection itself where more than three quarters of the nodes would remain.

        >>> star = Graph.from_edges([[0, 0, 0, 1, 2, 3], [1, 2, 3, 0, 0, 0]], y=0)
        >>> GraphCollection.from_graphs([star]).merged().batch().multiplicity.sort().values
        tensor([1., 3.])
        """
        merged = self.whole.kept("merged", self._merge_whole)
        if merged is None:
            return self
        return self._with(whole=merged.graph, ptr=merged.ptr, multiplicity=merged.multiplicity)

    def _merge_whole(self) -> GraphBatch | None:
        whole, n = self.whole, self.whole.num_nodes
        group = torch.repeat_interleave(self._ptr.diff(), output_size=n)
        x = whole.x
        is_learnt = whole.is_learnt or (isinstance(x, Tensor) and x.requires_grad)  # what is alike now may differ soon
        if self._multiplicity is not None or is_learnt:  # merged already
            return None
        alike_class = alike(whole.adjacency, x, group)
        count = alike_class.bincount()
        if count.shape[0] > 0.75 * n:
            return None
        node = first_nodes(alike_class)
        changes = {
            "adjacency": merge(whole.adjacency, alike_class),
            "x": None if x is None else x.select_rows(node) if isinstance(x, SparseMatrix) else x[node],
            "derived": {("fill", "sym"): merge(whole.a_hat, alike_class).with_kind("a_hat")},
            "only": "normalize: alike nodes are merged in this batch, of which a_hat alone is known.",
        }
        graph = Graph.of_parts(**{**whole.parts, **changes})
        ptr = starts(group[node].bincount(minlength=len(self._y)))
        multiplicity = count.to(torch.promote_types(whole.adjacency.dtype, torch.float32))
        return GraphBatch.of_parts(graph, ptr, group[node], None, multiplicity)

    def unfolded(self, num_layers: int) -> Unfolding:
        """What so many layers that sum over neighbours, by Â, compute of all graphs of the whole (`graph.unfolding`).

        Nodes that look alike up to l steps away are one row after l layers, also those of different graphs.
        """
        num_layers, everything = check_count("num_layers", num_layers, 1), self.merged()._with(chosen=None)
        if not self._is_fixed:
            raise InputError("num_layers: goes with features and edge weights that are held fixed.")
        return everything.whole.kept(("unfolded", num_layers), lambda: Unfolding(everything.batch(), num_layers))

    def is_worth_unfolding(self, num_layers: int, batch_size: int) -> bool:
        """Whether layers on batches of so many graphs have much less rows then; a sample of one tells.

        That is less than half of them, and some thousands less: a few rows take less time than it takes to find them alike.
        """
        num_layers, batch_size = check_count("num_layers", num_layers, 1), check_count("batch_size", batch_size, 1)
        if not self._is_fixed or not len(self):
            return False
        sample = self.merged().batch(evenly_spaced(len(self), batch_size))
        assert sample.x is not None
        classes = depth_classes(sample.a_hat, sample.x, num_layers)
        rows, every = sum(int(c.max()) + 1 for c in classes[1:] if len(c)), num_layers * sample.num_nodes
        return rows < 0.5 * every and every - rows > 4000

    @property
    def _is_fixed(self) -> bool:
        x = self.whole.x
        return x is not None and not self.whole.is_learnt and not getattr(x, "requires_grad", False)

    def to(self, device: torch.device | torch.dtype | str) -> GraphCollection:
        """The collection on another device: batches are then cut out there; or with A and X of another dtype."""
        whole = self.whole.to(device)
        if isinstance(device, torch.dtype):
            if self._multiplicity is not None:
                raise InputError("to: alike nodes are merged in this collection; change the dtype before that.")
            return self._with(whole=whole)
        moved = {"ptr": self._ptr, "y": self._y, "chosen": self._chosen, "multiplicity": self._multiplicity}
        return self._with(whole=whole, **{key: None if t is None else t.to(device) for key, t in moved.items()})

    def with_features(
        self, kind: str, max_degree: int | None = None, *, k: int | None = None, append: bool = False
    ) -> GraphCollection:
        """The collection with features made from the structure of its graphs, as `Graph.with_features` makes them.

        Raises InputError for "identity" and "adjacency", whose columns are the nodes of one graph.
        """
        if self._multiplicity is not None:
            raise InputError("with_features: alike nodes are merged in this collection; make the features before that.")
        if kind in ("identity", "adjacency"):
            raise InputError(
                f"kind: got {kind!r}, whose columns are the nodes of one graph; of many take another kind."
            )
        return self._with(whole=self.whole.with_features(kind, max_degree, k=k, append=append))

    def in_classes(self, class_names: Sequence[Any] | None) -> GraphCollection:
        """The graphs with their classes numbered as these names are; None leaves them."""
        if class_names is None:
            return self
        assert self.class_names is not None
        y = numbered_as(self._y, self.class_names, class_names)
        return self._with(whole=self.whole.replace(class_names=class_names), y=y)

    def every(self) -> GraphCollection:
        """All graphs of the whole, those that are left out here included."""
        return self._with(chosen=None)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def ids(self) -> Tensor:
        """Which graphs of the whole these are, [num_graphs] int64."""
        return self._ids(slice(None))

    @property
    def y(self) -> Tensor:
        """The label of each graph, int64 [num_graphs]; or targets, floats [num_graphs] or [num_graphs, T]."""
        return self._y if self._chosen is None else self._y[self._chosen]

    @property
    def sizes(self) -> Tensor:
        """The number of nodes of each graph, [num_graphs] int64."""
        sizes = self._ptr.diff()
        return sizes if self._chosen is None else sizes[self._chosen]

    @property
    def num_graphs(self) -> int:
        return len(self)

    @property
    def num_nodes(self) -> int:
        """Of all graphs together."""
        return int(self.sizes.sum())

    @property
    def num_edges(self) -> int:
        """Stored entries of all graphs together: an undirected edge counts twice, a loop once."""
        count = self.whole.adjacency.rowptr[self._ptr].diff()
        return int((count if self._chosen is None else count[self._chosen]).sum())

    @property
    def num_features(self) -> int:
        """F, 0 where there is no X."""
        return self.whole.num_features

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The labels as the files have them, in the order of y; of targets a name each."""
        return self.whole.class_names

    @property
    def num_classes(self) -> int:
        """C, counting classes that only left-out graphs of the whole have; or T, the number of targets."""
        if self._y.is_floating_point():
            return num_targets(self._y)
        names = self.whole.class_names
        return len(names) if names is not None else int(self._y.max()) + 1 if len(self._y) else 0

    @property
    def num_duplicates(self) -> int:
        """Listed pairs that were merged with an equal one when the whole was read."""
        return self.whole.num_duplicates

    @property
    def device(self) -> torch.device:
        return self.whole.device

    def summary(self) -> str:
        """Graphs, their sizes, edges, loops, duplicates, isolated nodes, classes and features as text."""
        graph = self.whole if self._chosen is None else self.batch()
        adjacency, sizes = graph.adjacency, self.sizes
        mean = f"{float(sizes.double().mean()):.1f}" if len(self) else "-"
        least, most = (int(end) for end in sizes.aminmax()) if len(self) else (0, 0)
        rows = [
            ("graphs", f"{len(self):,}"),
            ("nodes", f"{graph.num_nodes:,}; a graph has {least:,} to {most:,}, {mean} on average"),
            ("edges", f"{graph.num_edges:,} stored, {'directed' if graph.is_directed else 'symmetric'}"),
            ("self-loops", f"{num_loops(adjacency):,}"),
            ("duplicates merged", f"{self.num_duplicates:,}"),
            ("isolated nodes", f"{num_isolated(adjacency):,}"),
            self._summary_of_y(),
            ("features", f"{self.num_features:,}" if graph.x is not None else 'none; load(..., features="degree")'),
        ]
        return as_text(self.name or "GraphCollection", rows)

    def _summary_of_y(self) -> tuple[str, str]:
        if self.y.is_floating_point():
            missing = int(self.y.isnan().sum())
            return "targets", f"{self.num_classes:,}, {missing:,} of {self.y.numel():,} values missing"
        counts = self.y.bincount(minlength=self.num_classes).tolist()
        names = self.class_names or range(self.num_classes)
        return "classes", ", ".join(f"{name}: {count:,} graphs" for name, count in zip(names, counts, strict=True))


def on_one_whole(collections: Sequence[GraphCollection]) -> list[GraphCollection]:
    """The collections as parts of one whole: the one that all have, or else all of theirs side by side.

    They have features of one width, or none, and number their classes alike.
    """
    parts = list({id(graphs.whole): graphs.every() for graphs in collections}.values())
    if len(parts) == 1:
        return list(collections)
    adjacency, x = side_by_side([part.whole for part in parts])
    whole = Graph(adjacency, x, class_names=parts[0].class_names, check_finite=False)
    ptr, y = starts(torch.cat([part.sizes for part in parts])), torch.cat([part.y for part in parts])
    every, first = GraphCollection(whole, ptr, y), starts(torch.tensor([len(part) for part in parts])).tolist()
    place = {id(part.whole): first[i] for i, part in enumerate(parts)}
    return [every[graphs.ids + place[id(graphs.whole)]] for graphs in collections]


def batch(graphs: Iterable[Graph]) -> GraphBatch:
    """Several graphs as one batch: A = diag(A_1, ..., A_B), and what a readout needs to tell them apart.

    >>> edge, node = Graph.from_edges([[0, 1], [1, 0]]), Graph.from_edges([[], []], num_nodes=1)
    >>> both = batch([edge, node])
    >>> both.adjacency.shape, both.ptr
    ((3, 3), tensor([0, 2, 3]))
    """
    graphs = check_graphs(graphs)
    if all(graph.y is None for graph in graphs):
        together = GraphCollection.from_graphs([graph.replace(y=0) for graph in graphs]).batch()
        return GraphBatch.of_parts(together.graph, together.ptr, together.batch)
    return GraphCollection.from_graphs(graphs).batch()
