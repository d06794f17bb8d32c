"""Several graphs as the parts of one: matrices in blocks, features below each other, classes numbered alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError, InputTypeError
from ..inputs import numbered_as, some, sort_classes
from ..sparse import Features, SparseMatrix
from ..sparse.matrix import stacked, starts
from .parts import MASKS, in_splits

if TYPE_CHECKING:
    from .graph import Graph


def listed_graphs(graphs: Iterable[Any]) -> list[Any]:
    """What is given as graphs, one or more, as a list."""
    if not isinstance(graphs, Iterable):
        raise InputTypeError(f"graphs: got one {type(graphs).__name__}, expected a list of graphs.")
    if not (graphs := list(graphs)):
        raise InputError("graphs: got none, expected at least one.")
    return graphs


def joined_parts(graphs: Sequence[Graph]) -> dict[str, Any]:
    """The arguments of `Graph` for graphs side by side, with the labels, masks and names of their nodes."""
    ys, class_names = _labels_of_nodes(graphs)
    masks = _joined_masks(graphs)
    names: list[Any] | None = None
    if all(graph.node_names is not None for graph in graphs):
        names = [name for graph in graphs for name in graph.node_names or ()]
        if len(set(names)) < len(names):
            names = [(i, name) for i, graph in enumerate(graphs) for name in graph.node_names or ()]
    adjacency, x = side_by_side(graphs)
    return {
        "adjacency": adjacency, "x": x, "y": torch.cat(ys) if ys else None, **masks, "node_names": names,
        "class_names": class_names, "num_duplicates": sum(graph.num_duplicates for graph in graphs),
    }  # fmt: skip


def _joined_masks(graphs: Sequence[Graph]) -> dict[str, Tensor | None]:
    """The masks of the nodes of all graphs; the masks [N] of a graph are those of each split that the others have."""
    most = max(range(len(graphs)), key=lambda i: graphs[i].num_splits)
    num_splits = graphs[most].num_splits
    for i, graph in enumerate(graphs):
        if graph.num_splits not in (0, 1, num_splits):
            raise InputError(
                f"graphs: graph {i} has {graph.num_splits} splits, graph {most} has {num_splits}, expected as many; "
                "graph.with_split(0) has one."
            )
    masks: dict[str, Tensor | None] = {}
    for key in MASKS:
        parts = [getattr(graph, key) for graph in graphs]
        empty = [torch.zeros(graph.num_nodes, dtype=torch.bool, device=graph.device) for graph in graphs]
        filled = [part if part is not None else e for part, e in zip(parts, empty, strict=True)]
        joined = torch.cat([in_splits(part, num_splits) for part in filled] if num_splits > 1 else filled)
        masks[key] = joined if any(part is not None for part in parts) else None
    return masks


def _labels_of_nodes(graphs: Sequence[Graph]) -> tuple[list[Tensor], Sequence[Any] | None]:
    """(y of each graph, class_names), numbered alike; no y where no graph has one."""
    ys = [graph.y for graph in graphs if graph.y is not None]
    if not ys:
        return ys, graphs[0].class_names
    for i, graph in enumerate(graphs):
        found = "none" if graph.y is None else f"y of shape {tuple(graph.y.shape)}"
        if graph.y is None or graph.y.shape[:1] != (graph.num_nodes,):
            raise InputError(
                f"graphs: graph {i} has {found}, expected a label for each of its {graph.num_nodes} nodes, as others "
                "have; GraphCollection.from_graphs takes graphs with one label each."
            )
    return common_classes(graphs, ys, None)


def side_by_side(graphs: Sequence[Graph]) -> tuple[SparseMatrix, Features | None]:
    """diag(A_1, ..., A_B) and [X_1; ...; X_B] of graphs that all have features of one width, or none."""
    for i, graph in enumerate(graphs):
        if (graph.x is None) != (graphs[0].x is None) or graph.num_features != graphs[0].num_features:
            raise InputError(
                f"graphs: graph {i} has {graph.num_features} features, graph 0 has {graphs[0].num_features}."
            )
    ptr = starts(torch.tensor([graph.num_nodes for graph in graphs]))
    n = int(ptr[-1])
    adjacency = stacked([graph.adjacency for graph in graphs], ptr, (n, n))
    xs = [graph.x for graph in graphs if graph.x is not None]
    if not xs:
        return adjacency, None
    rows = [x if isinstance(x, SparseMatrix) else SparseMatrix.from_dense(x, check_finite=False) for x in xs]
    return adjacency, stacked(rows, torch.zeros_like(ptr), (n, rows[0].shape[1]))


def common_classes(
    graphs: Sequence[Graph], ys: list[Tensor], class_names: Sequence[Any] | None
) -> tuple[list[Tensor], Sequence[Any] | None]:
    """(ys, class_names): the labels of each graph numbered alike, by the names that it has for them."""
    named = [graph.class_names for graph in graphs]
    if ys[0].is_floating_point() or all(names == named[0] for names in named):
        return ys, named[0] if class_names is None else class_names
    if None in named:
        i, j = named.index(None), next(j for j, names in enumerate(named) if names is not None)
        raise InputError(
            f"graphs: graph {j} has class_names and graph {i} has none, so their labels can't be compared."
        )
    names = sort_classes({name for names in named for name in names or ()}) if class_names is None else class_names
    numbered = []
    for i, (y, theirs) in enumerate(zip(ys, named, strict=True)):
        if odd := [name for name in theirs or () if name not in names]:
            raise InputError(
                f"graphs: graph {i} has the class {odd[0]!r}, which is not among class_names {some(names)}."
            )
        numbered.append(numbered_as(y, theirs or (), names))
    return numbered, names
