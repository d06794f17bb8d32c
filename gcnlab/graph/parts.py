"""What the parts of a Graph must be, one by one and together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..inputs import own, read_mask
from ..machine import is_same_device
from ..sparse import SparseMatrix

MASKS = ("train_mask", "val_mask", "test_mask")


def ordinary(x: Any) -> Any:
    """X, A or None as a training takes them: a copy where torch.inference_mode made them."""
    if isinstance(x, SparseMatrix):
        isordinary = not any(part.is_inference() for part in (x.rowptr, x.col, x.value))
        return x if isordinary else x.map(own)
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
