"""What the parts of a Graph must be, one by one and together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checks import check_count
from ..errors import InputError, InputTypeError
from ..inputs import own, read_mask
from ..machine import is_same_device
from ..sparse import SparseMatrix

if TYPE_CHECKING:
    from .graph import Graph

MASKS = ("train_mask", "val_mask", "test_mask")


def count_classes(y: Tensor | None, class_names: Sequence[str] | None) -> int:
    """C: the number of class names if given, else the largest label + 1; 0 where there are no labels, or floats."""
    if class_names is not None:
        return len(class_names)
    return 0 if y is None or not y.numel() or y.is_floating_point() else int(y.max()) + 1


def ordinary(x: Any) -> Any:
    """X, A or None in the form that training accepts: tensors made in torch.inference_mode are copied."""
    if isinstance(x, SparseMatrix):
        is_ordinary = not any(part.is_inference() for part in (x.rowptr, x.col, x.value))
        return x if is_ordinary else x.map(own)
    return own(x) if x is not None and x.is_inference() else x


def check_moves(argument: str, adjacency: SparseMatrix, target: torch.device | torch.dtype | str) -> None:
    """Raise InputError where learnt weights would be converted: the copy would keep its numbers while they learn."""
    stays = target == adjacency.dtype if isinstance(target, torch.dtype) else is_same_device(target, adjacency.device)
    if not stays and adjacency.value.requires_grad and adjacency.value.is_leaf:
        raise InputError(
            f"{argument}: the edge weights are learnt (adjacency.value requires a gradient), and a copy of them of {target} "
            "would not follow; convert the weights first, and make the graph of them."
        )


def check_adjacency(adjacency: Any) -> None:
    """Raise InputTypeError or InputError for what is no square SparseMatrix."""
    if not isinstance(adjacency, SparseMatrix):
        raise InputTypeError(
            f"adjacency: got {type(adjacency).__name__}, expected a SparseMatrix; "
            "Graph.from_edges, from_scipy, from_dense, from_torch and from_networkx make one."
        )
    if adjacency.shape[0] != adjacency.shape[1]:
        rows, cols = adjacency.shape
        raise InputError(
            f"adjacency: got {rows} x {cols}, expected a square matrix. If it is the matrix B of a bipartite graph, its "
            f"A of {rows} + {cols} nodes is scipy.sparse.block_array([[None, B], [B.T, None]])."
        )


def read_masks(
    masks: Mapping[str, Any], num_nodes: int, y: Tensor | None, device: torch.device
) -> dict[str, Tensor | None]:
    """Copies of the masks as bools, each [num_nodes], or each [num_nodes, S] where one of them has S splits."""
    read = {key: None if mask is None else _read_mask(key, mask, num_nodes, y, device) for key, mask in masks.items()}
    given = {key: mask for key, mask in read.items() if mask is not None}
    sizes = {key: mask.shape[1] for key, mask in given.items() if mask.dim() == 2}
    first = next(iter(sizes), "")
    for key, size in sizes.items():
        if size != sizes[first]:
            raise InputError(
                f"{key}: got {size} splits, but {first} has {sizes[first]}; masks [{num_nodes}, S] must have the same S, "
                f"and a mask [{num_nodes}] is that of every split."
            )
    if sizes:
        given = {key: in_splits(mask, sizes[first]) for key, mask in given.items()}
    _check_disjoint(given)
    return {**read, **given}


def in_splits(mask: Tensor, num_splits: int) -> Tensor:
    """A mask [num_nodes] as that of each of several splits, [num_nodes, num_splits]; one of so many stays as it is."""
    return mask if mask.dim() == 2 else mask.unsqueeze(1).repeat(1, num_splits)


def _read_mask(name: str, mask: Any, num_nodes: int, y: Tensor | None, device: torch.device) -> Tensor:
    """A copy of the mask as bools, if each of its nodes has a label."""
    mask = read_mask(name, mask, num_nodes).to(device)
    if y is not None and y.dim() == 1 and not y.is_floating_point():
        unlabelled = mask & (y == -1).reshape(-1, *[1] * (mask.dim() - 1))
        if bool(unlabelled.any()):
            node, *split = unlabelled.nonzero()[0].tolist()
            where = f"{name}, split {split[0]}" if split else name
            raise InputError(f"{where}: node {node} is in it but has no label (y = -1).")
    return own(mask)


def _check_disjoint(masks: Mapping[str, Tensor]) -> None:
    """Raise InputError if a node is in two masks of one split."""
    names = list(masks)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = masks[first] & masks[second]
            if bool(both.any()):
                node, *split = both.nonzero()[0].tolist()
                where = f" in split {split[0]}" if split else ""
                raise InputError(f"{first} and {second} overlap{where}: node {node} is in both.")


def count_splits(masks: Mapping[str, Tensor | None]) -> int:
    """S of masks [num_nodes, S]; 1 for masks [num_nodes], 0 where there are none."""
    shapes = [mask.shape for mask in masks.values() if mask is not None]
    return 0 if not shapes else 1 if len(shapes[0]) == 1 else shapes[0][1]


def masks_of_split(masks: Mapping[str, Tensor | None], split: int) -> dict[str, Tensor | None]:
    """The masks [num_nodes] of one split; None for a mask that holds no node of it."""
    split, count = check_count("split", split), count_splits(masks)
    if split >= count:
        found = f"{count} splits, 0 to {count - 1}" if count > 1 else "one split, 0" if count else "no masks"
        raise InputError(f"split: got {split}, but the graph has {found}.")
    columns = {key: mask if mask is None or mask.dim() == 1 else mask[:, split] for key, mask in masks.items()}
    return {key: own(mask) if mask is not None and bool(mask.any()) else None for key, mask in columns.items()}


def check_one_split(argument: str, graph: Graph) -> None:
    """Raise InputError for a graph of several splits, where the masks of one are read."""
    if graph.num_splits > 1:
        raise InputError(
            f"{argument}: has {graph.num_splits} splits, and one is read here; graph.with_split(0) is the graph with the "
            "first of them, and fit(..., split=0) trains on it."
        )


def check_degree(matrix: SparseMatrix, degree: Tensor, node_names: Sequence[Any] | None) -> None:
    """Raise InputError where a degree of Ã = `matrix` is no number that can be divided by."""
    bad = ~torch.isfinite(degree)
    if bool((matrix.value < 0).any()):
        bad |= (degree <= 0) & (matrix.rowptr.diff() > 0)
    if bool(bad.any()):
        node = int(bad.nonzero()[0])
        called = f" ({node_names[node]!r})" if node_names is not None else ""
        found = float(degree[node].detach())
        raise InputError(
            f"edge_weight: negative weights make the degree of node {node}{called} {found:g}; "
            "normalising needs positive degrees. Use absolute weights, or norm=None."
            if found <= 0
            else f"edge_weight: the degree of node {node}{called} is {found:g}; scale the weights down."
        )


def warn_if_directed(graph: Graph) -> None:
    """Warn where the formula of Â, made for undirected graphs, is used on a directed one.

    Learnt weights may come to differ by direction; of them the edges alone count.
    """
    a = graph.adjacency
    if not a.with_value(torch.ones_like(a.value)).is_symmetric() if graph.is_learnt else graph.is_directed:
        warnings.warn(
            "the symmetric normalisation of a directed graph divides by in-degrees, A_ij / sqrt(d_i d_j); "
            'pass norm="rw" for the mean over in-neighbours, or make the graph undirected (graph.to_undirected()).',
            stacklevel=5,
        )
