"""Image sets in the idx form of MNIST (LeCun, Cortes, Burges), four files, plain or with `.gz`:

    train-images-idx3-ubyte    t10k-images-idx3-ubyte     [N, H, W] bytes, 0 is black
    train-labels-idx1-ubyte    t10k-labels-idx1-ubyte     [N] bytes

A dot or underscore may stand where a hyphen does (`train-images.idx3-ubyte`), and `test` where `t10k` does. A file is unpacked where
its bytes are gzip's, whatever its name.

Each begins with two zero bytes, the type of its values (8: unsigned bytes), the number of its dimensions, and their sizes
as big-endian integers of four bytes; the values follow. `t10k` is the test part.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import ChecksumError, DatasetFormatError
from .image_sets import MAX_BYTES, ImageSet

PARTS = ("train", "t10k")
_UNSIGNED_BYTE = 8
_CHUNK = 1 << 20  # bytes; so that a header that states too much costs no memory


def is_idx(folder: Path) -> bool:
    """Whether one of the four files is there."""
    return any(_find(folder, f"{part}-{kind}-ubyte") for part in PARTS for kind in ("images-idx3", "labels-idx1"))


def _find(folder: Path, name: str) -> Path | None:
    """The file of this name, or of one like it; a plain one before one with `.gz`."""
    standard = re.compile(name.replace("t10k", "(t10k|test)").replace("-", "[-._]") + r"(\.gz)?", re.IGNORECASE)
    found = [path for path in folder.iterdir() if standard.fullmatch(path.name) and path.is_file()]
    return min(found, key=lambda path: (path.suffix == ".gz", not path.name.startswith(name), path.name), default=None)


def check_options() -> None:
    """There are none."""


def read(
    folder: Path,
    name: str,
    class_names: Sequence[str] | None = None,
    augmentations: Sequence[str] = (),
    unpacked_sha256: dict[str, str] | None = None,
) -> ImageSet:
    """Read and check the four files of a folder; where one is there plain and packed, the plain one is read.

    Args:
        folder: where they are.
        name: of the set.
        class_names: one a class; a label beyond them is refused. By default the numbers up to the largest label.
        augmentations: of the set.
        unpacked_sha256: of the unpacked bytes of each file, by its name without `.gz`, where they are known.

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the others; with file, value and position.
        ChecksumError: its unpacked bytes are others than the known ones.
    """
    (train_images, train_labels), (test_images, test_labels) = (
        _read_part(folder, part, class_names, unpacked_sha256) for part in PARTS
    )
    if test_images.shape[1:] != train_images.shape[1:]:
        expected, found = (" x ".join(map(str, images.shape[1:])) for images in (train_images, test_images))
        problem = f"expected images of {expected}, as those for training are"
        raise DatasetFormatError(folder / f"{PARTS[1]}-images-idx3-ubyte", problem, value=found)
    return ImageSet(train_images, train_labels, test_images, test_labels, class_names, augmentations, name)


def _read_part(
    folder: Path, part: str, class_names: Sequence[str] | None, unpacked_sha256: dict[str, str] | None
) -> tuple[Tensor, Tensor]:
    images, _ = _read_file(folder, f"{part}-images-idx3-ubyte", unpacked_sha256)
    labels, file = _read_file(folder, f"{part}-labels-idx1-ubyte", unpacked_sha256)
    labels = labels.long()
    if len(labels) != len(images):
        raise DatasetFormatError(file, f"it has {len(labels)} labels, but there are {len(images)} images")
    if class_names is not None and bool((bad := labels >= len(class_names)).any()):
        at = int(bad.nonzero()[0])
        problem = f"label {at} (from 0) is not within 0..{len(class_names) - 1}"
        raise DatasetFormatError(file, problem, value=int(labels[at]))
    return images, labels


def _read_file(folder: Path, name: str, unpacked_sha256: dict[str, str] | None) -> tuple[Tensor, Path]:
    """The values of one file, uint8 [N] or [N, H, W], and its path; the name says how many dimensions there are."""
    path = _find(folder, name)
    if path is None:
        raise DatasetFormatError(folder / f"{name}.gz", "this file is missing, plain or as .gz")
    try:
        with open(path, "rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
        # gzip compares its own checksum when the last byte is read.
        open_packed_or_not: Any = gzip.open if is_packed else open
        with open_packed_or_not(path, "rb") as file:
            header, values, shape = _read_values(file, path, num_dims=1 if "idx1" in name else 3)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetFormatError(path, f"cannot be unpacked: {error}") from error
    if unpacked_sha256 is not None:
        digest = hashlib.sha256(header)
        digest.update(values)
        if digest.hexdigest() != unpacked_sha256[name]:
            raise ChecksumError(f"{path} (unpacked)", unpacked_sha256[name], digest.hexdigest())
    return torch.frombuffer(values, dtype=torch.uint8).view(shape), path


def _read_values(file: IO[Any], path: Path, num_dims: int) -> tuple[bytes, bytearray, list[int]]:
    """Header, values and shape. Reads what the header states and no more: a small gzip file may unpack to anything."""
    header = file.read(4 + 4 * num_dims)
    if len(header) < 4 + 4 * num_dims:
        raise DatasetFormatError(path, f"it ends within the {4 + 4 * num_dims} bytes of its header", value=len(header))
    expected = bytes([0, 0, _UNSIGNED_BYTE, num_dims])
    if header[:4] != expected:
        raise DatasetFormatError(
            path,
            f"expected the magic number {expected.hex(' ')} (unsigned bytes in {num_dims} dimensions)",
            value=header[:4].hex(" "),
        )
    shape = list(struct.unpack(f">{num_dims}I", header[4:]))
    size, sizes = math.prod(shape), " x ".join(map(str, shape))
    if not 0 < size <= MAX_BYTES:
        raise DatasetFormatError(path, f"its header states sizes of 0, or more than {MAX_BYTES} bytes", value=sizes)
    values = bytearray()
    while len(values) < size and (chunk := file.read(min(_CHUNK, size - len(values)))):
        values += chunk
    if len(values) < size or file.read(1):
        problem = f"has {len(values)}" if len(values) < size else "goes on after them"
        raise DatasetFormatError(path, f"its header states {size} bytes of values, but the file {problem}", value=sizes)
    return header, values, shape
