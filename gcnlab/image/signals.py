"""Images as signals on a grid: how one becomes the other, and images with their labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..augment import Augment
from ..checks import check_choice, check_count, check_flag, check_list
from ..errors import InputError, InputIndexError, InputTypeError
from ..inputs import as_tensor, check_unwritten, labels_of_all, numbered_as, own, shared
from ..machine import check_devices
from .grid import Grid, channels_first, check_grid, to_nodes
from .pixels import MAX_GUESSED_CHANNELS, channels_seem_first, check_is_no_single_picture, to_unit, warn_of_range

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


# --------------------------------------------------------------------------------------------------------------------
# The signals
# --------------------------------------------------------------------------------------------------------------------


def to_signals(images: Any, channels: str | None = None, scale: bool = True) -> Tensor:
    """Images as signals on a grid graph, [batch, height * width, channels].

    Float images give a view where their memory allows, uint8 images one new tensor with values / 255.

    Args:
        images: uint8 or floats, a tensor or an array: [N, H, W], [N, H, W, C] or [N, C, H, W]; as well sequences
            [N, L] and volumes [N, D, H, W], with or without channels, where `channels` says so.
        channels: "last", "first", or "none" where every axis but the first is of the grid. By default [N, H, W] has
            none, and in four axes and more they are the one end of at most 4; with none or two such ends it must be
            given.
        scale: False leaves uint8 as it is, for `gcnlab.augment`.

    Raises:
        InputError, InputTypeError: another dtype or shape (one picture [H, W] or [H, W, C]: pass images[None]), NaN or
            infinite values, or it is not clear where the channels are.

    Warns of floats that hold whole numbers up to 255, as `images.float()` gives.

    >>> to_signals(torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)).flatten()
    tensor([0.0000, 0.2000, 0.4000, 1.0000])
    """
    check_flag("scale", scale)
    images = _as_images(images)
    if channels is None:
        check_is_no_single_picture(images, otherwise='channels="none"')
    place = _channel_place(tuple(images.shape), channels)
    if place == "none":
        images = images.unsqueeze(-1)
    elif place == "first":
        images = images.movedim(1, -1)
    signals = images.flatten(1, -2)
    if scale and _are_bytes(signals):
        warn_of_range(signals)
    return to_unit(signals) if scale else signals


def to_images(signals: Tensor, shape: Sequence[int], channels: str = "last") -> Tensor:
    """Signals [batch, num_nodes, C] as images [batch, *shape, C]; a view.

    Args:
        signals: as from `to_signals`, or the output of a layer.
        shape: pixels along each axis, `grid.shape`.
        channels: "last"; "first" for [batch, C, *shape]; "none" for [batch, *shape] where C is 1.
    """
    shape = tuple(check_count("shape", size, 1) for size in check_list("shape", shape, "sizes", 1))
    _check_signals(signals, shape)
    check_choice("channels", channels, ("last", "first", "none"))
    if channels == "first":
        return channels_first(signals, shape)
    if channels == "none" and signals.shape[2] != 1:
        raise InputError(f'channels: got "none", but the signals have {signals.shape[2]} channels.')
    images = signals.unflatten(1, shape)
    return images.squeeze(-1) if channels == "none" else images


def with_coordinates(signals: Tensor, grid: Grid) -> Tensor:
    """The signals [batch, num_nodes, C] with `grid.coordinates` as further channels, [batch, num_nodes, C + axes].

    A GCN treats all nodes alike; with them it can tell where in the image one stands.
    """
    _check_signals(signals, grid.shape)
    _check_floats(signals)  # whole numbers have no place for a coordinate between -1 and 1
    coordinates = grid.coordinates.to(signals)
    return torch.cat([signals, coordinates.expand(signals.shape[0], *coordinates.shape)], 2)


def coarsen(signals: Tensor, grid: Grid, kind: str = "max") -> tuple[Tensor, Grid]:
    """Signals on the grid of 2x2 clusters, and that grid: what a pooling layer of a CNN does.

        max: h'_k = max over the nodes of cluster k        mean: their mean, S^T H / S^T 1

    with S = `cluster_assignment(grid)`. On an axis of odd size the last cluster is smaller.

    Args:
        signals: [batch, num_nodes, C].
        grid: the graph they are on.
        kind: "max" or "mean".

    >>> from gcnlab.image import grid_graph
    >>> grid = grid_graph(2, 3)
    >>> signals = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 6, 1)
    >>> coarsen(signals, grid, "mean")[0].flatten()
    tensor([3.0000, 4.5000])
    """
    check_choice("kind", kind, ("max", "mean"))
    _check_signals(signals, grid.shape)
    if kind == "mean":
        _check_floats(signals)
    if not signals.is_floating_point():  # which torch's poolings do not take in one dimension, nor on a GPU
        h = channels_first(signals, grid.shape)
        for dim, size in enumerate(grid.shape, 2):
            first = torch.arange(0, size, 2, device=h.device)
            h = torch.maximum(h.index_select(dim, first), h.index_select(dim, (first + 1).clamp(max=size - 1)))
        return to_nodes(h), grid.coarser
    pool = (_MAX_POOL if kind == "max" else _AVG_POOL)[len(grid.shape)]
    window = [min(2, size) for size in grid.shape]  # torch's poolings refuse one that is wider than the image
    return to_nodes(pool(channels_first(signals, grid.shape), window, ceil_mode=True)), grid.coarser


def _check_floats(signals: Tensor) -> None:
    if not signals.is_floating_point():
        raise InputTypeError(f"signals: got {signals.dtype}, expected floats; to_signals(images) makes them of uint8.")


def _check_signals(signals: Tensor, shape: Sequence[int]) -> None:
    if signals.dim() != 3 or signals.shape[1] != math.prod(shape):
        raise InputError(
            f"signals: got shape {tuple(signals.shape)}, expected [batch, {math.prod(shape)}, channels] "
            f"for a grid of {' x '.join(map(str, shape))}."
        )


def _as_images(images: Any) -> Tensor:
    if not isinstance(images, Tensor):
        import numpy

        if not isinstance(images, numpy.ndarray):
            raise InputTypeError(f"images: got {type(images).__name__}, expected a tensor or an array.")
        if numpy.ma.is_masked(images):
            count = numpy.ma.getmaskarray(images).sum()
            raise InputTypeError(f"images: got {type(images).__name__}, {count} values masked; fill them.")
        if images.dtype.kind not in "fu":
            raise InputTypeError(f"images: got dtype {images.dtype}, expected uint8 or floats.")
        with warnings.catch_warnings():  # of read-only arrays; nothing is written to them
            warnings.simplefilter("ignore", UserWarning)
            images = torch.from_numpy(numpy.ascontiguousarray(images, images.dtype.newbyteorder("=")))
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputTypeError(
            f"images: got dtype {images.dtype}, expected uint8 (0 to 255, scaled to 0 to 1) or floats (as they are)."
        )
    # A sum is finite unless a value is not, or all of them are huge; it takes a fraction of the time of looking at each.
    if images.is_floating_point() and not math.isfinite(images.detach().sum()):
        bad = ~torch.isfinite(images.detach())
        if bool(bad.any()):
            at = tuple(bad.nonzero()[0].tolist())
            raise InputError(f"images: {int(bad.sum())} values are NaN or infinite, the first {images[at]} at {at}.")
    return images


def _are_bytes(images: Tensor) -> bool:
    """Whether floats hold whole numbers from 0 to 255; other ranges may be those of feature maps."""
    if not images.is_floating_point() or not images.numel():
        return False
    low, high = images.detach().aminmax()
    return bool(low >= 0 and 1 < high <= 255) and bool((images.detach() % 1 == 0).all())


def _channel_place(shape: tuple[int, ...], channels: str | None) -> str:
    check_choice("channels", channels, ("last", "first", "none", None))
    if channels is None and len(shape) == 3:
        return "none"
    if channels is None and len(shape) > 3:
        ends = [place for place, axis in (("first", 1), ("last", -1)) if shape[axis] <= MAX_GUESSED_CHANNELS]
        if len(ends) == 1:
            return ends[0]
        raise InputError(
            f"images: shape {shape} does not show where the channels are; "
            'pass channels="first" for [N, C, ...], "last" for [N, ..., C], "none" for volumes without.'
        )
    if channels is None or len(shape) < (2 if channels == "none" else 3):
        raise InputError(
            f"images: got shape {shape}, expected [N, H, W], [N, H, W, C] or [N, C, H, W]; "
            'one image is images[None], and sequences [N, L] are taken with channels="none".'
        )
    return channels


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

    def mirrored(self) -> Signals:
        """The images seen in a mirror, left and right exchanged."""
        return self._with(_x=self.x.unflatten(1, self.shape).flip(2).flatten(1, 2))

    def _with(self, **changes: Any) -> Signals:
        other = Signals.__new__(Signals)
        other.__dict__.update(self.__dict__, **changes)
        return other
