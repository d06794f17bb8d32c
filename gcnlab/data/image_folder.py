"""Your own pictures: a folder with one sub-folder per class, or with two parts that each have them.

The parts are named train (or training) and test (or testing); without a test part, val, valid or validation takes its place,
as ImageNet and Keras lay it out. Capitals do not matter. Without parts a fifth of each class, drawn by `seed`, is the test part.

The classes are the names of the sub-folders, sorted (numbers by their value). Every file in them is a picture, known by its bytes,
not its name: PNG, JPEG, BMP, GIF, PPM, TIFF, WEBP, and AVIF where Pillow decodes it. Hidden files, and what Windows and macOS leave
behind (Thumbs.db, desktop.ini, __MACOSX), are passed over. A picture is turned upright as the camera's EXIF orientation says, and
of a phone's MPO file the first picture counts.

All have one size, or get it by `size=`: each is stretched to it (its aspect is not kept), with Pillow's bilinear filter, which
averages all the pixels that it shrinks. Grey images stay [N, H, W]; where one has colour, all become red, green and blue,
[N, H, W, 3]. Both parts are in an order drawn by `seed`, so that a slice of them is of every class.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_count, check_package, check_seed
from ..errors import DatasetFormatError, DatasetNotFoundError
from ..inputs import some
from .image_sets import MAX_BYTES, ImageSet, split_by_class

_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
_GREY, _COLOUR = ("1", "L"), ("RGB", "RGBA", "LA", "P", "PA")  # Pillow's modes that are read without loss
_PARTS = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}
_LEFT_BEHIND = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")


def is_image_folder(folder: Path) -> bool:
    return folder.is_dir() and bool(_sub_folders(folder))


def has_classes(folder: Path) -> bool:
    """Whether there are sub-folders for two classes, or `train/` and `test/`."""
    return folder.is_dir() and len(_sub_folders(folder)) >= 2


def read_pictures(paths: Sequence[str | Path]) -> tuple[Tensor, list[str]]:
    """Pictures and folders of them: uint8 [N, H, W] or [N, H, W, 3], and the path of each.

    Raises:
        DatasetNotFoundError: Pillow is not installed, or a path does not exist.
        DatasetFormatError: as for `read`, for all files that cannot be used at once.
    """
    check_package("pictures", "pillow", "PIL.Image", DatasetNotFoundError)
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DatasetNotFoundError(f"pictures: {path} does not exist.")
        inside = sorted(file for file in path.iterdir() if not _is_left_behind(file)) if path.is_dir() else [path]
        if not inside or any(file.is_dir() for file in inside):
            problem = "expected a picture, or a folder that holds pictures and no other folder"
            raise DatasetFormatError(
                path, problem, value=", ".join(file.name for file in inside if file.is_dir()) or "none"
            )
        files += inside
    return _read_images(files[0].parent, files, None), [str(file) for file in files]


def check_options(*, seed: int = 0, size: Any = None) -> None:
    """The options of `gcnlab.load` for a folder of pictures; raises InputError for a value that cannot be used.

    Args:
        seed: of the order of the images, and of the test part of a folder without one.
        size: pixels, (height, width) or one number for both, to which every picture is resized.
    """
    check_seed(seed)
    if size is not None:
        _check_size(size)


def _check_size(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)
    return check_count("size", height, 1), check_count("size", width, 1)


def read(folder: Path, name: str, seed: int = 0, size: Any = None) -> ImageSet:
    """Read and check the pictures.

    Raises:
        DatasetNotFoundError: Pillow is not installed.
        DatasetFormatError: files are no pictures, have another size than the first, transparency or 16 bits per channel; a
            class has no picture; or all together have more than 2 GiB. With files and values.
    """
    check_package(f"{folder}: a folder of images", "pillow", "PIL.Image", DatasetNotFoundError)
    parts = _parts(folder)
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
            found = sorted(path for path in sub_folder.iterdir() if not _is_left_behind(path))
            if not found:
                raise DatasetFormatError(sub_folder, "this class has no image")
            if inner := [path.name for path in found if path.is_dir()]:
                problem = "a folder where an image is expected; a split is told by the two folders train and test"
                raise DatasetFormatError(sub_folder, problem, value=inner[0])
            files += found
            labels += [class_names.index(sub_folder.name)] * len(found)
        num_files.append(len(files))
    images, y = _read_images(folder, files, None if size is None else _check_size(size)), torch.tensor(labels)
    if len(parts) == 1:
        whole = split_by_class(images, y, seed, class_names, (), name)
        train, test = (whole.train_images, whole.train_labels), (whole.test_images, whole.test_labels)
    else:
        num_train = num_files[0]
        train, test = (images[:num_train], y[:num_train]), (images[num_train:], y[num_train:])
    if absent := [class_names[c] for c in range(len(class_names)) if c not in test[1]]:
        warnings.warn(f"{folder}: the test images have none of {some(absent)}.", stacklevel=5)
    generator = torch.Generator().manual_seed(seed)
    (train_images, train_y), (test_images, test_y) = (
        (x[order], labels[order])
        for x, labels in (train, test)
        for order in [torch.randperm(len(labels), generator=generator)]
    )
    return ImageSet(train_images, train_y, test_images, test_y, class_names, (), name)


def _parts(folder: Path) -> list[Path]:
    """The folders of the training and the test images; the folder itself where it has no such two."""
    found = {
        part: [path for path in _sub_folders(folder) if path.name.lower() in names] for part, names in _PARTS.items()
    }
    test = found["test"] or found["val"]
    if not found["train"] or not test:
        return [folder]
    for paths in (found["train"], test):
        if len(paths) > 1:
            raise DatasetFormatError(folder, "expected one such part", value=" and ".join(path.name for path in paths))
    if found["test"] and found["val"]:
        warnings.warn(
            f"{folder}: {found['val'][0].name} is not read, the parts are {found['train'][0].name} and {test[0].name}; move its "
            f"pictures into {found['train'][0].name}, of which ImageSet.holdout holds some out.",
            stacklevel=6,
        )
    return [found["train"][0], test[0]]


def _is_left_behind(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _LEFT_BEHIND


def _sub_folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not _is_left_behind(path)]
    if all(path.name.isascii() and path.name.isdigit() for path in found):
        return sorted(found, key=lambda path: (int(path.name), path.name))
    return sorted(found)


def _read_images(folder: Path, files: list[Path], size: tuple[int, int] | None) -> Tensor:
    """uint8 [N, H, W] or [N, H, W, 3]; every file that cannot be used is told, in one error."""
    images: list[np.ndarray[Any, Any]] = []
    problems: list[DatasetFormatError] = []
    first = None  # a file, and its height and width
    for path in files:
        try:
            image = _read_image(path, len(files), size)
            first = first or (path, image.shape[:2])
            if image.shape[:2] != first[1]:
                expected = (
                    f"expected {first[1][0]} x {first[1][1]} pixels, as {first[0]} has; load(folder, size=(height, width)) "
                    "makes them one size"
                )
                raise DatasetFormatError(path, expected, value=f"{image.shape[0]} x {image.shape[1]}")
            images.append(image)
        except DatasetFormatError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = "; ".join(f"{os.path.relpath(p.file, folder)}: {p.problem}" for p in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DatasetFormatError(folder, f"{len(problems)} of {len(files)} files cannot be used: {told}{more}")
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images]
    return torch.from_numpy(np.stack(images))


def _read_image(path: Path, num_images: int, size: tuple[int, int] | None) -> np.ndarray[Any, Any]:
    """[H, W] or [H, W, 3], upright. How much is unpacked is known from the header before."""
    import PIL.Image
    import PIL.ImageOps

    try:
        PIL.Image.init()
        formats = [name for name in _FORMATS if name in PIL.Image.OPEN]  # an older Pillow has no AVIF
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            # By its path Pillow (13.0) maps a grey TIFF into memory, and scrambles it where it has to be turned.
            with path.open("rb") as file, PIL.Image.open(file, formats=formats) as image:
                height, width = size or (image.height, image.width)
                if height * width * 3 * num_images > MAX_BYTES:
                    problem = (
                        f"{num_images} images of its size have more than {MAX_BYTES} bytes; "
                        "load(folder, size=(height, width)) makes them smaller"
                    )
                    raise DatasetFormatError(path, problem, value=f"{height} x {width}")
                # An MPO holds a picture and its previews.
                if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
                    raise DatasetFormatError(path, "expected one picture", value=f"{image.n_frames} frames")
                is_deep = any(";16" in str(tile[3]) for tile in image.tile)  # what Pillow would cut to 8 bits
                if is_deep or image.mode not in (*_GREY, *_COLOUR):
                    problem = "expected grey or red, green, blue of 8 bits; convert it"
                    raise DatasetFormatError(
                        path, problem, value=f"mode {image.mode}{' of 16 bits' * (is_deep and image.mode in _COLOUR)}"
                    )
                is_grey = image.mode in _GREY and "transparency" not in image.info
                picture = PIL.ImageOps.exif_transpose(image).convert("L" if is_grey else "RGBA")
    except DatasetFormatError:
        raise
    except Exception as error:  # Pillow's decoders fail in many ways: OSError, SyntaxError, struct.error, EOFError, ...
        raise DatasetFormatError(path, _why_unreadable(path, error)) from error
    if not is_grey:
        extrema: Any = picture.getextrema()
        if extrema[3] != (255, 255):
            raise DatasetFormatError(path, "it is transparent in places; put it on a background")
        picture = picture.convert("RGB")
    if size is not None:
        picture = picture.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
    return np.array(picture)


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp":  # the container of HEIC and AVIF, which phones write
        return "not a readable image: Pillow does not decode this HEIC or AVIF picture; convert it to JPEG or PNG"
    reason = f"{type(error).__name__}: {error}"[:250].partition(": cannot identify image file <")[0]
    return f"not a readable image: {reason}; convert it to PNG, or move it out of the folder"
