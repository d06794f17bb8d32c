"""Images with a class each, in a training and a test part: what `gcnlab.load` gives for an image data set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..augment import Augment
from ..checks import check_choice, check_count, check_list, check_package, check_seed
from ..errors import DatasetNotFoundError, InputError, InputTypeError
from ..generators import generators_kept
from ..image import Grid, grid_graph
from ..image.pixels import channels_seem_first
from ..inputs import labels_of_all, sort_classes

MAX_BYTES = 2 << 30  # of the pixels of one part, unpacked
TEST_SHARE = 0.2  # of a set that comes without a test part


class ImageSet:
    """Images with a class each, in a training and a test part.

    Args:
        train_images: uint8 [N, H, W], or [N, H, W, C] for colour; 0 is black.
        train_labels: integers [N], from 0, or names, which are numbered in sorted order.
        test_images: uint8 [M, H, W] or [M, H, W, C].
        test_labels: likewise, [M].
        class_names: one name per class; by default the names in the labels, or the numbers up to the largest label.
        augmentations: names of the changes that leave the class what it is ("mirror", "shift", "erase", "rotate", ...).
        name: what the set is called.

    Attributes:
        train_labels, test_labels: int64.

    Raises:
        InputTypeError: a part is not a tensor of such a dtype.
        InputError: shapes or labels do not fit each other; with the argument, the value and its position.

    >>> images = ImageSet(torch.zeros(6, 2, 3, dtype=torch.uint8), torch.tensor([0, 0, 0, 0, 1, 1]),
    ...                   torch.zeros(1, 2, 3, dtype=torch.uint8), torch.tensor([1]), ["cat", "dog"], name="pets")
    >>> images
    ImageSet(pets: 6 training and 1 test images, 2 x 3 grey, 2 classes)
    >>> x, y, val_x, val_y = images.holdout(3)
    >>> y.tolist(), val_y.tolist()
    ([0, 0, 1], [0, 0, 1])
    """

    def __init__(
        self,
        train_images: Tensor,
        train_labels: Any,
        test_images: Tensor,
        test_labels: Any,
        class_names: Sequence[str] | None = None,
        augmentations: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        augmentations = [
            check_choice("augmentations", kind, Augment.KINDS)
            for kind in check_list("augmentations", augmentations, "names")
        ]
        parts = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
        for part, (images, _) in parts.items():
            _check_images(f"{part}_images", images)
        found = {part: _labels(part, *of_part, class_names) for part, of_part in parts.items()}
        if class_names is None and any(names is not None for _, names in found.values()):
            class_names = sort_classes({name for _, names in found.values() for name in names or ()})
            found = {part: _labels(part, *of_part, class_names) for part, of_part in parts.items()}
        (train_labels, _), (test_labels, _) = found.values()
        if class_names is None:
            highest = max(int(train_labels.max()), int(test_labels.max()))
            class_names = [str(label) for label in range(highest + 1)]
        if train_images.shape[1:] != test_images.shape[1:]:
            raise InputError(
                f"test_images: got images of {_size_text(test_images)}, but those for training have "
                f"{_size_text(train_images)}."
            )
        self.train_images, self.train_labels = train_images, train_labels
        self.test_images, self.test_labels = test_images, test_labels
        self.class_names, self.augmentations, self.name = tuple(class_names), tuple(augmentations), name

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, C) for colour."""
        return tuple(self.train_images.shape[1:])

    def grid(self, connectivity: int | None = None) -> Grid:
        """The grid graph of the images, `grid_graph(*image_shape[:2])`: a node per pixel, whatever its channels.

        >>> ImageSet(*2 * [torch.zeros(2, 4, 5, 3, dtype=torch.uint8), torch.tensor([0, 1])]).grid().shape
        (4, 5)
        """
        return grid_graph(*self.image_shape[:2], connectivity=connectivity)

    def holdout(self, num: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training images with `num` of them held out for selection, each class by its share.

        Args:
            num: images to hold out, at least 1 and fewer than there are.
            seed: of the draw.

        Returns:
            train images and labels, validation images and labels; each pair in the order of the set.
        """
        held = draw_by_class(self.train_labels, num, seed)
        return self.train_images[~held], self.train_labels[~held], self.train_images[held], self.train_labels[held]

    def __repr__(self) -> str:
        parts = f"{len(self.train_images)} training and {len(self.test_images)} test images"
        prefix = f"{self.name}: " if self.name else ""
        return f"ImageSet({prefix}{parts}, {_size_text(self.train_images)}, {self.num_classes} classes)"


def _check_images(argument: str, images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise InputTypeError(f"{argument}: got {found}, expected a uint8 tensor.")
    if images.dim() not in (3, 4) or not images.numel():
        raise InputError(f"{argument}: got shape {tuple(images.shape)}, expected [N, H, W] or [N, H, W, C], not empty.")
    if images.dim() == 4 and channels_seem_first(images.shape[1:]):
        raise InputError(
            f"{argument}: got shape {tuple(images.shape)}, whose channels seem to come first; expected [N, H, W, C], "
            f"{argument}.movedim(1, 3)."
        )


def _labels(
    part: str, images: Tensor, labels: Any, class_names: Sequence[str] | None
) -> tuple[Tensor, tuple[str, ...] | None]:
    """The classes of a part's images, and their names where the labels are names."""
    y, names = labels_of_all(labels, class_names, len(images), "image", f"{part}_labels")
    if y.is_floating_point():
        raise InputTypeError(f"{part}_labels: got {y.dtype}, expected integers or names, the class of each image.")
    return y, names


def _size_text(images: Tensor) -> str:
    height, width, *channels = images.shape[1:]
    return f"{height} x {width} {f'in {channels[0]} channels' if channels else 'grey'}"


def warn_of_twins(images: ImageSet) -> None:
    """Warn where an image is in the training and in the test part: its label is known, so that it tests nothing."""
    seen = {image.tobytes() for image in images.train_images.numpy()}
    if num := sum(image.tobytes() in seen for image in images.test_images.numpy()):
        warnings.warn(
            f"{images.name}: {num} of the {len(images.test_images)} test images are training images too, pixel by pixel; "
            "a test accuracy that counts them is too high.",
            stacklevel=5,
        )


def draw_by_class(labels: Tensor, num: int, seed: int) -> Tensor:
    """`num` of the rows, drawn by `seed`, each class by its share: bool [N].

    The k-th row drawn of a class of n has the quotient (k - 1/2) / n, and the `num` smallest are taken (Sainte-Laguë): a
    class gets its share up to one row, and the total is exact.
    """
    if check_count("num", num, 1) >= len(labels):
        raise InputError(
            f"num: got {num}, expected at most {len(labels) - 1}: some of the {len(labels)} images are left."
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(check_seed(seed)))
    order = order[labels[order].argsort(stable=True)]  # by class, and drawn within each
    count = labels.bincount()
    rank = torch.arange(len(labels)) - (count.cumsum(0) - count)[labels[order]]
    quotient = (rank + 0.5) / count[labels[order]]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order[quotient.argsort(stable=True)[:num]]] = True
    return held


@generators_kept()  # importing scikit-learn may draw from Python's
def digits(name: str, augmentations: Sequence[str]) -> ImageSet:
    """The 1,797 digits of 8 x 8 that come with scikit-learn; a fifth of each class, always the same, is the test part.

    Their 17 shades, v from 0 to 16, become round(255 v / 16), so that digits are scaled like other images; each shade
    stays apart from the others.
    """
    content = check_package(name, "scikit-learn", "sklearn.datasets", DatasetNotFoundError).load_digits()
    images = (torch.from_numpy(content.images) * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(content.target).long()
    return split_by_class(images, labels, 0, [str(digit) for digit in content.target_names], augmentations, name)


def split_by_class(
    images: Tensor, labels: Tensor, seed: int, class_names: Sequence[str], augmentations: Sequence[str], name: str
) -> ImageSet:
    """A set that comes without a test part, with a fifth of each class, drawn by `seed`, as one."""
    test = draw_by_class(labels, max(round(TEST_SHARE * len(labels)), 1), seed)
    return ImageSet(images[~test], labels[~test], images[test], labels[test], class_names, augmentations, name)
