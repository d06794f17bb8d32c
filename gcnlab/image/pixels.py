"""Pixels as people have them, bytes or floats: the one place where they are checked and become floats."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

MAX_GUESSED_CHANNELS = 4  # grey, grey + alpha, RGB, RGBA


_TOLERANCE = 1e-3  # what interpolation and rounding add to 1


def to_unit(pixels: Tensor) -> Tensor:
    """Bytes as new floats, value / 255; floats as they are."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels


def channels_seem_first(shape: Sequence[int]) -> bool:
    """Whether an image of this shape, which should be [H, W, C], seems to be [C, H, W]."""
    return shape[0] <= MAX_GUESSED_CHANNELS < min(shape[1:])


def check_is_no_single_picture(images: Tensor, argument: str = "images", otherwise: str = "images[..., None]") -> None:
    """Raise for [H, W, C], one picture in colour, where [N, H, W] is expected. `otherwise`: the way for N narrow images."""
    shape = tuple(images.shape)
    if len(shape) == 3 and shape[2] <= MAX_GUESSED_CHANNELS < min(shape[:2]):
        raise InputError(
            f"{argument}: got shape {shape}, which seems to be one picture with its channels last; one image is "
            f"{argument}[None]. If they are {shape[0]} grey images of {shape[1]} x {shape[2]} pixels, {otherwise} says so."
        )


def warn_of_range(pixels: Tensor, argument: str = "images", stacklevel: int = 3, is_batch: bool = False) -> None:
    """Warn of floats that are not in [0, 1], which bytes become: a model that learns from one range and predicts on another is
    wrong without an error.

    `is_batch`: say nothing that differs between batches, so that Python shows the warning once.
    """
    if not pixels.numel():
        return
    low, high = (float(value) for value in pixels.detach().aminmax())
    if pixels.dtype == torch.uint8:
        if high != 1:
            return
        problem = f"bytes up to 1, taken as value / 255; {argument} * 255 are black and white"
    elif low < -_TOLERANCE or high > 1 + _TOLERANCE:
        found = "floats outside of [0, 1]" if is_batch else f"floats from {low:.4g} to {high:.4g}"
        problem = f"{found}, taken as they are; {argument} / 255 scales 0 to 255"
    elif 0 < high <= (1 + _TOLERANCE) / 255:
        problem = "floats up to 1 / 255, taken as they are; they look divided by 255 twice"
    else:
        return
    warnings.warn(
        f"{argument}: {problem}. Bytes become floats in [0, 1], and a model must see one range in training and prediction.",
        stacklevel=stacklevel,
    )
