"""Image sets in one npz file, as Keras keeps them (mnist.npz):

    x_train, x_test    [N, H, W] or [N, H, W, C] bytes, 0 is black
    y_train, y_test    [N] or [N, 1] integers from 0

The arrays are read from their bytes, and pickles are never opened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from .archive import Source
from .image_sets import ImageSet
from .npz import read_array

NAMES = ("x_train", "y_train", "x_test", "y_test")


def is_image_npz(path: Path) -> bool:
    with Source(path) as source:
        return bool(source.find(f"{NAMES[0]}.npy"))


def check_options() -> None:
    """There are none."""


def read(path: Path, name: str) -> ImageSet:
    """Read and check the four arrays.

    Raises:
        DatasetFormatError: an array is missing, malformed, or does not fit the others; with file, key and value.
    """
    with Source(path) as source:
        train, test = (_read_part(source, part) for part in ("train", "test"))
    if train[0].shape[1:] != test[0].shape[1:]:
        expected, found = (" x ".join(map(str, images.shape[1:])) for images, _ in (train, test))
        raise DatasetFormatError(path, f"expected images of {expected}, as x_train has", key="x_test", value=found)
    return ImageSet(*train, *test, name=name)


def _read_part(source: Source, part: str) -> tuple[Tensor, Tensor]:
    images = read_array(source, f"x_{part}", "biuf", num_dims=(3, 4))
    if images.dtype != np.uint8 or not images.size:
        problem = "expected bytes [N, H, W] or [N, H, W, C], not empty"
        raise DatasetFormatError(source.path, problem, key=f"x_{part}", value=f"{images.dtype} {images.shape}")
    labels = read_array(source, f"y_{part}", "iu", num_dims=(1, 2))
    if labels.size != len(images) or len(labels) != len(images):
        problem = f"expected one label for each of {len(images)} images"
        raise DatasetFormatError(source.path, problem, key=f"y_{part}", value=f"shape {labels.shape}")
    if int(labels.min()) < 0:
        at = int(labels.argmin())
        raise DatasetFormatError(source.path, f"the label at {at} is below 0", key=f"y_{part}", value=int(labels.min()))
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.reshape(-1).astype(np.int64))
