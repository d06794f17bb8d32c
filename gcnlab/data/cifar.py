"""CIFAR-10 in its binary form (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

A folder with `data_batch_1.bin`, `data_batch_2.bin`, ... for training and `test_batch.bin`: records of 1 + 3,072 bytes, the
class and then the red, green and blue planes of 32 x 32 pixels, each row by row. Its classes are those of the set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from .image_sets import ImageSet

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
AUGMENTATIONS = ("mirror", "shift", "erase")
_SIZE, _CHANNELS = 32, 3
_RECORD = 1 + _CHANNELS * _SIZE * _SIZE


def is_cifar(folder: Path) -> bool:
    """Whether it is CIFAR-10 in this form, or in the one that `read` refuses."""
    return (folder / "data_batch_1.bin").is_file() or (folder / "data_batch_1").is_file()


def check_options() -> None:
    """There are none."""


def read(folder: Path, name: str) -> ImageSet:
    """Read and check the files of a folder: images [N, 32, 32, 3].

    Raises:
        DatasetFormatError: a file is missing, cut short, or holds a class above 9; with file, value and position.
    """
    if not (folder / "data_batch_1.bin").is_file():
        problem = "this is CIFAR-10's Python version, whose files are pickles; take the binary version, cifar-10-binary.tar.gz"
        raise DatasetFormatError(folder / "data_batch_1", problem)
    batches = sorted(folder.glob("data_batch_*.bin"), key=lambda path: (len(path.name), path.name))
    parts = [_read_batch(path) for path in batches]
    test_images, test_labels = _read_batch(folder / "test_batch.bin")
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return ImageSet(images, labels, test_images, test_labels, CLASS_NAMES, AUGMENTATIONS, name)


def _read_batch(path: Path) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        raise DatasetFormatError(path, "this file is missing")
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % _RECORD:
        raise DatasetFormatError(path, f"expected records of {_RECORD} bytes", value=f"{len(content)} bytes")
    records = content.reshape(-1, _RECORD)
    labels = records[:, 0]
    if (bad := labels >= len(CLASS_NAMES)).any():
        at = int(bad.argmax())
        problem = f"the class of image {at} (from 0) is not within 0..{len(CLASS_NAMES) - 1}"
        raise DatasetFormatError(path, problem, value=int(labels[at]))
    planes = records[:, 1:].reshape(-1, _CHANNELS, _SIZE, _SIZE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
