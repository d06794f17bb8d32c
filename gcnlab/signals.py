"""Labelled images to train on: signals on the one grid graph that all of them share, or images for a CNN beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .augment import Augment
from .checks import check_count, check_flag
from .errors import InputError, InputIndexError, InputTypeError
from .image import Grid, check_grid, to_images, to_signals
from .inputs import as_tensor, check_unwritten, labels_of_all, numbered_as, own, shared
from .machine import check_devices
from .pixels import channels_seem_first, check_is_no_single_picture, to_unit, warn_of_range


class Signals:
    """Images with a class each, kept as they are and made into batches of floats.

    `signals[:45000]` has a part of the images, and so has a bool mask [N], or a tensor or list of indices.

    Args:
        images: uint8 or floats, [N, H, W] or [N, H, W, C]; one picture is images[None]. Batch by batch uint8 becomes
            value / 255, and all get the dtype of the grid, or without one torch's default: float64 and float16 become
            float32. A range of floats other than [0, 1] is warned of, since a model must see the same one in training and
            prediction.
        y: classes, integers [N] from 0, or names, which are numbered in sorted order. Or targets, floats [N] or [N, num_targets], NaN where one is missing: zeros and
            ones for fit(loss="binary"), as a two-class (sigmoid) head takes them, any numbers for "mse" and "mae". None where
            nobody knows them: such images are for `predict` alone.
        grid: a batch is then (signals [batch, H * W, C], grid), as a graph network takes it. None: it is images
            [batch, C, H, W], in channels_last memory, as a CNN takes them.
        augment: applied to the batches that train.

    Attributes:
        class_names: the names of the classes in the order of their numbers; None where the labels were numbers.

    Raises:
        InputError, InputTypeError: images and labels do not fit each other, or the grid is of another size.

    >>> from gcnlab.image import grid_graph
    >>> signals = Signals(torch.zeros(5, 2, 3, dtype=torch.uint8), torch.tensor([0, 1, 1, 0, 1]), grid_graph(2, 3))
    >>> [signals.inputs(index)[0].shape[0] for index in torch.arange(5).split(2)]
    [2, 2, 1]
    >>> signals[2:]
    Signals(3 images of 2 x 3, 1 channels, 2 classes)
    """

    def __init__(self, images: Any, y: Any = None, grid: Grid | None = None, augment: Augment | None = None) -> None:
        if grid is not None:
            check_grid(grid)
        if augment is not None and not callable(augment):
            raise InputTypeError(
                f"augment: got a {type(augment).__name__}, expected a function of (signals, shape, generator), such as Augment(['mirror'])."
            )
        shape = tuple(getattr(images, "shape", ()))
        if len(shape) == 4 and channels_seem_first(shape[1:]) and (grid is None or grid.shape != shape[1:3]):
            raise InputError(
                f"images: got shape {shape}, whose channels seem to come first; expected [N, H, W, C], images.movedim(1, 3). "
                f"If they are of {shape[1]} x {shape[2]} pixels, pass their grid."
            )
        if len(shape) == 3 and (grid is None or grid.shape != shape[1:3]):
            check_is_no_single_picture(images, otherwise="their grid")
        x = to_signals(images, channels="none" if len(shape) == 3 else "last", scale=False)
        if not len(x):
            raise InputError("images: got none, expected at least one.")
        warn_of_range(x)
        # What is written to an array is not counted as writes to a tensor are.
        self._x = own(x) if x.is_inference() or not isinstance(images, Tensor) else x
        self._shared = shared(self._x)
        self.shape, self.grid, self.augment = shape[1:3], grid, augment
        if grid is not None and grid.shape != self.shape:
            raise InputError(
                f"grid: is of {grid.shape}, but the images are of {self.shape}; grid_graph(*image_shape[:2]) is theirs, and so is "
                "the grid() of an ImageSet."
            )
        check_devices(images=self.x, grid=grid)
        self._y, self.class_names = None, None
        if y is not None:
            labels, self.class_names = labels_of_all(y, None, len(x), "image")
            self._y = own(labels.to(self.x.device))

    @property
    def x(self) -> Tensor:
        """The images, [N, H * W, C]: uint8 or floats."""
        check_unwritten("images", self._x, self._shared)
        return self._x

    @property
    def y(self) -> Tensor:
        """The labels; raises InputError where none were given."""
        if self._y is None:
            raise InputError(
                "y: these images have no labels; Signals(images, y) gives them some, to train on or to score."
            )
        return self._y

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        kind = "targets" if self._y is not None and self._y.is_floating_point() else "classes"
        labels = "no labels" if self._y is None else f"{self.num_classes} {kind}"
        return f"Signals({len(self)} images of {size}, {self.x.shape[2]} channels, {labels})"

    @property
    def num_classes(self) -> int:
        """The number of class names if the labels were names, else the largest label + 1; of targets their number."""
        if self.class_names is not None:
            return len(self.class_names)
        return int(self.y.shape[1:].numel()) if self.y.is_floating_point() else int(self.y.max()) + 1

    def __getitem__(self, index: slice | Tensor | Iterable[int]) -> Signals:
        index = as_tensor(
            "index", range(len(self))[index] if isinstance(index, slice) else index, "a slice, a bool mask or indices"
        )
        index = index.long() if index.dtype == torch.uint8 else index  # which torch takes for a mask
        try:
            ids = torch.arange(len(self))[index.cpu() if index.numel() else []]
        except IndexError as problem:
            raise InputIndexError(f"index: {problem}; there are {len(self)} images.") from None
        if ids.dim() != 1 or not len(ids):
            raise InputError(
                f"index: gives shape {tuple(ids.shape)}, expected one image or more; one is signals[i : i + 1]."
            )
        ids = ids.to(self.x.device)
        return self._with(_x=self.x[ids], _y=None if self._y is None else self._y[ids])

    def inputs(self, index: Tensor | slice, training: bool = False) -> tuple[Any, ...]:
        """The model's arguments for some of the images; augmented where that is asked for."""
        x = self.x[index]
        if check_flag("training", training) and self.augment is not None:
            x = self.augment(x, self.shape)
        x = to_unit(x).to(torch.get_default_dtype() if self.grid is None else self.grid.dtype)
        return (x, self.grid) if self.grid is not None else (to_images(x, self.shape, channels="first"),)

    def batches(self, batch_size: int, shuffle: bool = False) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """(arguments, labels or None) of every image once; shuffled ones are augmented."""
        batch_size = check_count("batch_size", batch_size, 1)
        order = torch.randperm(len(self)) if check_flag("shuffle", shuffle) else torch.arange(len(self))
        for index in order.to(self.x.device).split(batch_size):
            yield self.inputs(index, training=shuffle), None if self._y is None else self._y[index]

    def to(self, device: torch.device | str) -> Signals:
        """The images, labels and grid on another device."""
        grid = None if self.grid is None else self.grid.to(device)
        return self._with(_x=self.x.to(device), _y=None if self._y is None else self._y.to(device), grid=grid)

    def in_classes(self, class_names: Sequence[Any] | None) -> Signals:
        """The images with their classes numbered as these names are; None leaves them."""
        if class_names is None:
            return self
        assert self.class_names is not None
        return self._with(_y=numbered_as(self.y, self.class_names, class_names), class_names=class_names)

    def _with(self, **changes: Any) -> Signals:
        other = Signals.__new__(Signals)
        other.__dict__.update(self.__dict__, **changes)
        return other
