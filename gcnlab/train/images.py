"""Training on images: signals on a grid, or pixels for a CNN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint as ckpt
from .. import distributed
from ..errors import InputError, InputTypeError
from ..image import Signals
from ..threads import Step
from .feed import Feed, check_known_items, joined, shared_classes
from .objective import Batch, Objective, targets_for
from .options import FitOptions

EVALUATION_BATCH = 50  # images; of 500, each array is one that malloc takes anew from the system, at twice the time


class ImageFeed(Feed):
    """Batches of images: those that train are shuffled anew each epoch and augmented."""

    data_type = Signals
    takes = frozenset({"val"})

    def __init__(self, train: Signals, val: Signals | None, options: FitOptions) -> None:
        if options.needs_val and val is None:
            raise InputError('val: got none; give Signals, or select="last" where nothing selects.')
        if val is not None and not isinstance(val, Signals):
            raise InputTypeError(f"val: got {type(val).__name__}, expected Signals.")
        val = None if val is None else val.in_classes(shared_classes(train, val))
        for name, signals in (("data", train), ("val", val)):
            if signals is not None:
                check_known_items(
                    name, targets_for(name, signals.y, "image", len(signals), options.loss), train.y, "image"
                )
        self.train, self.val, self.batch_size = train, val, options.batch_size
        self.num_batches = -(-len(train) // self.batch_size)
        self.has_val, self.ranks = val is not None, distributed.ranks()
        num_classes = max(signals.num_classes for signals in (train, val) if signals is not None)
        self.objective = Objective.of(options, "image", train.y, None if val is None else val.y, num_classes)

    @classmethod
    def fixed(cls, data: Signals) -> dict[str, Any]:
        return {": images": data.x}

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        if split == "train":
            return (self._batch(self.train, *share) for share in distributed.shares(len(self.train), self.batch_size))
        val = self.val
        assert val is not None
        return (self._batch(val, ids) for ids in distributed.mine(torch.arange(len(val)).split(EVALUATION_BATCH)))

    def _batch(self, signals: Signals, ids: Tensor, counts: bool = True) -> Batch:
        ids = ids.to(signals.y.device)
        return Batch(signals.inputs(ids, signals is self.train), None, signals.y[ids], counts=counts)

    def step(self, model: nn.Module) -> Step | None:
        return self.step_of(self.train, -(-self.batch_size // self.ranks.size))

    @classmethod
    def step_of(cls, data: Signals, batch_size: int | None) -> Step | None:
        images, (_, num_nodes, channels) = min(batch_size or EVALUATION_BATCH, len(data)), data.x.shape
        sites = float(images * num_nodes)
        return Step(images if data.grid is None else sites, channels, sites * channels, 0, sites)

    def fingerprint(self) -> dict[str, Any]:
        parts = [part for signals in (self.train, self.val) if signals is not None for part in (signals.x, signals.y)]
        return {
            **self.objective.fingerprint(),
            "augmentation": repr(self.train.augment),
            "batch size": self.batch_size,
            "sha256 of images, labels and class weights": ckpt.sha256_of_tensors([*parts, self.objective.class_weight]),
        }

    def tensors(self) -> dict[str, list[Tensor]]:  # the images are in the fingerprint
        grids = {"data": self.train.grid, "val": None if self.val is None else self.val.grid}
        return {
            f"size of the grid of {part} and neighbours of a node": [torch.tensor([*grid.shape, grid.connectivity])]
            for part, grid in grids.items()
            if grid is not None
        }

    @classmethod
    def predict(cls, model: nn.Module, data: Signals, nodes: Any, operator: Any, batch_size: int | None) -> Tensor:
        return joined(model(*arguments) for arguments, _ in data.batches(EVALUATION_BATCH))
