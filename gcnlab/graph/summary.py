"""What a graph or a collection is, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..sparse import Features, SparseMatrix
from .convert import edge_index_of


def as_text(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title and a line per row, the names of the rows in one column."""
    return "\n".join([title, *(f"  {key:<18} {value}" for key, value in rows)])


def num_loops(adjacency: SparseMatrix) -> int:
    """Nodes with an edge to themselves."""
    return int((adjacency.diagonal() != 0).sum())


def num_isolated(adjacency: SparseMatrix) -> int:
    """Nodes without an edge to or from another."""
    touched = torch.zeros(adjacency.shape[0], dtype=torch.bool, device=adjacency.device)
    row, col = adjacency.row, adjacency.col.long()
    touched[row[row != col]] = True
    touched[col[row != col]] = True
    return int((~touched).sum())


def graph_summary(
    title: str,
    adjacency: SparseMatrix,
    x: Features | None,
    y: Tensor | None,
    masks: Mapping[str, Tensor | None],
    *,
    num_classes: int,
    num_duplicates: int,
    is_directed: bool,
) -> str:
    """Nodes, edges, loops, duplicates, isolated nodes, direction, homophily, features and splits of a graph."""
    loops, value = num_loops(adjacency), adjacency.value
    undirected = "" if is_directed else f" ({(adjacency.nnz - loops) // 2 + loops:,} undirected)"
    is_weighted = bool((value != 1).any())
    rows = [
        ("nodes", f"{adjacency.shape[0]:,}"),
        ("edges", f"{adjacency.nnz:,} stored{undirected}, {'directed' if is_directed else 'symmetric'}"),
        ("weights", f"{float(value.min()):g} to {float(value.max()):g}" if is_weighted else "all 1"),
        ("self-loops", f"{loops:,}"),
        ("duplicates merged", f"{num_duplicates:,}"),
        ("isolated nodes", f"{num_isolated(adjacency):,}"),
    ]
    if x is not None:
        nonzero = x.density if isinstance(x, SparseMatrix) else float((x != 0).float().mean())
        kind = "sparse" if isinstance(x, SparseMatrix) else "dense"
        rows.append(("features", f"{x.shape[1]:,}, {100 * nonzero:.2f} % non-zero, kept {kind}"))
    if y is not None and y.dim() == 1 and not y.is_floating_point():
        rows.append(("classes", f"{num_classes}, {int((y < 0).sum()):,} nodes unlabelled"))
        source, target = edge_index_of(adjacency)
        both = (source != target) & (y[source] >= 0) & (y[target] >= 0)
        if bool(both.any()):
            same = float((y[source] == y[target])[both].float().mean())
            rows.append(("edge homophily", f"{same:.3f} (share of edges between nodes of one class)"))
    masked = {key: mask for key, mask in masks.items() if mask is not None}
    rows += [(key.replace("_mask", " nodes"), _count(mask)) for key, mask in masked.items()]
    return as_text(title, rows)


def _count(mask: Tensor) -> str:
    """How many nodes are in a mask, or in that of each split."""
    counts = mask.sum(0).reshape(-1).tolist()
    low, high = min(counts), max(counts)
    many = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return many if mask.dim() == 1 else f"{many} in each of {len(counts)} splits"
