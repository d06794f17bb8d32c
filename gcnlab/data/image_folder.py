"""One's own images: a folder with one sub-folder a class, or with `train/` and `test/` that each have them (what lies beside
these two is not read).

The classes are the names of the sub-folders, sorted (numbers by their value). Every file in them whose name does not begin
with a dot is an image, of one size for all: PNG, JPEG, BMP, GIF, PPM, TIFF or WEBP, told from its bytes, not its name. Grey
images stay [N, H, W]; where one has colour, all become red, green and blue, [N, H, W, 3].
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import check_package, check_seed
from ..errors import DatasetFormatError, DatasetNotFoundError
from .image_sets import MAX_BYTES, ImageSet, split_by_class

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_GREY, _COLOUR = ("1", "L"), ("RGB", "RGBA", "LA", "P", "PA")  # Pillow's modes that are read without loss


def is_image_folder(folder: Path) -> bool:
    return folder.is_dir() and bool(_sub_folders(folder))


def has_classes(folder: Path) -> bool:
    """Whether there are sub-folders for two classes, or `train/` and `test/`."""
    return folder.is_dir() and len(_sub_folders(folder)) >= 2


def check_options(*, seed: int = 0) -> None:
    """The option of `gcnlab.load` for a folder without `test/`; raises InputError for a value that cannot be used."""
    check_seed(seed)


def read(folder: Path, name: str, seed: int = 0) -> ImageSet:
    """Read and check the images; without `train/` and `test/` a fifth of each class, drawn by `seed`, is the test part.

    Raises:
        DatasetNotFoundError: Pillow is not installed.
        DatasetFormatError: a file is no image, has another size than the first, transparency or 16 bits a channel; a
            class has no image; or all together have more than 2 GiB. With file and value.
    """
    check_package(f"{folder}: a folder of images", "pillow", "PIL.Image", DatasetNotFoundError)
    has_parts = {"train", "test"} <= {path.name for path in _sub_folders(folder)}
    parts = [folder / "train", folder / "test"] if has_parts else [folder]
    class_names = [path.name for path in _sub_folders(parts[0])]
    if len(class_names) < 2:
        raise DatasetFormatError(parts[0], "expected a sub-folder for each class, two at least", value=class_names)
    files: list[Path] = []
    labels: list[int] = []
    num_files = []
    for part in parts:
        for sub_folder in _sub_folders(part):
            if sub_folder.name not in class_names:
                raise DatasetFormatError(sub_folder, f"this class is not in {parts[0]}")
            found = sorted(path for path in sub_folder.iterdir() if not path.name.startswith("."))
            if not found:
                raise DatasetFormatError(sub_folder, "this class has no image")
            if inner := [path.name for path in found if path.is_dir()]:
                problem = "a folder where an image is expected; a split is told by the two folders train and test"
                raise DatasetFormatError(sub_folder, problem, value=inner[0])
            files += found
            labels += [class_names.index(sub_folder.name)] * len(found)
        num_files.append(len(files))
    images, y = _read_images(files), torch.tensor(labels)
    if not has_parts:
        return split_by_class(images, y, seed, class_names, (), name)
    num_train = num_files[0]
    return ImageSet(images[:num_train], y[:num_train], images[num_train:], y[num_train:], class_names, (), name)


def _sub_folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.isascii() and path.name.isdigit() for path in found):
        return sorted(found, key=lambda path: (int(path.name), path.name))
    return sorted(found)


def _read_images(files: list[Path]) -> Tensor:
    images = [_read_image(files[0], None, len(files))]
    size = images[0].shape[:2]
    images += [_read_image(path, (files[0], size), len(files)) for path in files[1:]]
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images]
    return torch.from_numpy(np.stack(images))


def _read_image(path: Path, first: tuple[Path, tuple[int, ...]] | None, num_images: int) -> np.ndarray:
    """[H, W] or [H, W, 3]. What is unpacked is known from the header before: `first` is a file and its (H, W)."""
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=_FORMATS) as image:
                size = (image.height, image.width)
                if first is not None and size != first[1]:
                    expected = f"expected {first[1][0]} x {first[1][1]} pixels, as {first[0]} has"
                    raise DatasetFormatError(path, expected, value=f"{size[0]} x {size[1]}")
                if size[0] * size[1] * 3 * num_images > MAX_BYTES:
                    problem = f"{num_images} images of its size have more than {MAX_BYTES} bytes"
                    raise DatasetFormatError(path, problem, value=f"{size[0]} x {size[1]}")
                if getattr(image, "n_frames", 1) != 1:
                    raise DatasetFormatError(path, "expected one picture", value=f"{image.n_frames} frames")
                if image.mode in _GREY and "transparency" not in image.info:
                    return np.asarray(image.convert("L"))
                if image.mode not in (*_GREY, *_COLOUR):
                    problem = "expected grey or red, green, blue of 8 bits; convert it"
                    raise DatasetFormatError(path, problem, value=f"mode {image.mode}")
                pixels = np.asarray(image.convert("RGBA"))
    except DatasetFormatError:
        raise
    except Exception as error:  # Pillow's decoders fail in many ways: OSError, SyntaxError, struct.error, EOFError, ...
        raise DatasetFormatError(path, f"not a readable image: {type(error).__name__}: {error}"[:300]) from error
    if (pixels[..., 3] != 255).any():
        raise DatasetFormatError(path, "it is transparent in places; put it on a background")
    return np.ascontiguousarray(pixels[..., :3])
