"""What the parts of a Graph must be, one by one and together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
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


def check_mask(name: str, mask: Any, num_nodes: int, y: Tensor | None, device: torch.device) -> Tensor:
    """A copy of the mask as bools [num_nodes], if each of its nodes has a label."""
    mask = read_mask(name, mask, num_nodes).to(device)
    if y is not None and y.dim() == 1 and not y.is_floating_point():
        unlabelled = mask & (y == -1)
        if bool(unlabelled.any()):
            raise InputError(f"{name}: node {int(unlabelled.nonzero()[0])} is in it but has no label (y = -1).")
    return own(mask)


def check_disjoint(masks: Mapping[str, Tensor]) -> None:
    """Raise InputError if a node is in two masks."""
    names = list(masks)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = masks[first] & masks[second]
            if bool(both.any()):
                raise InputError(f"{first} and {second} overlap: node {int(both.nonzero()[0])} is in both.")


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
