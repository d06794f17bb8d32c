"""An image as the graph of its superpixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import check_choice, check_count, check_number, check_package
from ..errors import InputError, InputTypeError
from ..graph import Graph, GraphCollection
from ..graph.convert import unordered_pairs
from ..inputs import as_tensor, labels_of_all
from ..sparse.features import check_features_finite
from .pixels import channels_seem_first, check_is_no_single_picture, to_unit, warn_of_range


class Superpixels(NamedTuple):
    """An image as a graph of its superpixels.

    Attributes:
        graph: a node for each superpixel; undirected.
        segments: the node of each pixel, int64 [height, width]: `values[segments]` paints a value a node as an image.
    """

    graph: Graph
    segments: Tensor


def superpixel_graph(
    image: Any,
    num_segments: int = 75,
    *,
    connectivity: int = 4,
    compactness: float | None = None,
    **options: Any,
) -> Superpixels:
    """An image cut into superpixels by SLIC (Achanta et al. 2012), joined where they touch.

    The features of a superpixel are [mean of each channel, row, column, size]: channels as they are, of uint8 divided
    by 255; row and column of the mean place of its pixels and its number of pixels as fractions of the image's height,
    width and number of pixels, between 0 and 1.

    Args:
        image: [height, width] or [height, width, channels], uint8 or floats.
        num_segments: about how many superpixels; SLIC may give a few fewer or more, at least one.
        connectivity: 4: superpixels touch where pixels beside or above each other belong to them; 8: across corners too.
        compactness: weight of distance against colour. By default 10 for three channels, which SLIC compares in the Lab
            colour space, and 0.25 for others, which it scales to 0 .. 1.
        **options: as for `Graph`, but x; y=label makes a graph for a `GraphCollection`.

    Raises:
        InputError, InputTypeError: with the argument, the value and what was expected; or scikit-image is not installed.

    >>> image = torch.tensor([[0.0] * 4 + [1.0] * 4] * 8)    # 8 x 8 pixels, the right half white
    >>> graph, segments = superpixel_graph(image, 4)         # doctest: +SKIP
    >>> graph.x                                              # doctest: +SKIP
    tensor([[0.0000, 0.2500, 0.1875, 0.3125],
            [1.0000, 0.2500, 0.6875, 0.3125],
            [0.0000, 0.7500, 0.1875, 0.1875],
            [1.0000, 0.7500, 0.6875, 0.1875]])
    >>> bool((graph.x[segments][:, :, 0] == image).all())    # doctest: +SKIP
    True
    """
    pixels = _check_image(image)
    num_segments = check_count("num_segments", num_segments, 1)
    connectivity = check_choice("connectivity", connectivity, (4, 8))
    compactness = None if compactness is None else check_number("compactness", compactness, above=0)
    slic = check_package("superpixel_graph", "scikit-image", "skimage.segmentation").slic
    if compactness is None:
        compactness = 10.0 if pixels.shape[2] == 3 else 0.25
    labels = slic(pixels.numpy(), num_segments, compactness, start_label=0, channel_axis=-1)
    _, segments = torch.unique(torch.from_numpy(labels), return_inverse=True)  # without gaps
    return Superpixels(_region_graph(segments, pixels, connectivity, **options), segments)


def superpixel_collection(images: Any, y: Any, num_segments: int = 75, **options: Any) -> GraphCollection:
    """Images with a label each as a collection of their superpixel graphs, in their order; about 6 ms per image of 32 x 32.

    Args:
        images: [N, height, width] or [N, height, width, channels], uint8 or floats; or a list of images of several sizes.
        y: one label per image: classes, integers from 0, or names, which are numbered in sorted order; or targets, floats.
        num_segments: about how many superpixels of an image.
        **options: `connectivity` and `compactness`, as for `superpixel_graph`.

    Raises:
        InputError, InputTypeError: with the argument, the value and what was expected; or scikit-image is not installed.

    >>> images = torch.tensor([[[0.0] * 4 + [1.0] * 4] * 8] * 3)
    >>> superpixel_collection(images, ["cat", "dog", "cat"], 4)  # doctest: +SKIP
    GraphCollection(3 graphs, 12 nodes, 24 stored edges, 4 features, 2 classes)
    """
    if not isinstance(images, (list, tuple)):
        images = as_tensor("images", images, "pixels, [N, height, width] or [N, height, width, channels]")
        check_is_no_single_picture(images)
        if images.dim() not in (3, 4):
            raise InputError(
                f"images: got shape {tuple(images.shape)}, expected [N, height, width] or [N, height, width, channels]; "
                "one image is images[None]."
            )
    if not len(images):
        raise InputError("images: got none, expected at least one.")
    labels, class_names = labels_of_all(y, None, len(images), "image")
    graphs = [
        superpixel_graph(image, num_segments, y=label, **options).graph
        for image, label in zip(images, labels, strict=True)
    ]
    return GraphCollection.from_graphs(graphs, class_names=class_names)


def _region_graph(segments: Tensor, pixels: Tensor, connectivity: int, **options: Any) -> Graph:
    """The graph of the regions of an image; segments [height, width], pixels [height, width, channels]."""
    height, width, channels = pixels.shape
    n = int(segments.max()) + 1
    touching = [(segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])]
    if connectivity == 8:
        touching += [(segments[:-1, :-1], segments[1:, 1:]), (segments[:-1, 1:], segments[1:, :-1])]
    first, second = (torch.cat([side.flatten() for side in sides]) for sides in zip(*touching, strict=True))
    border = first != second
    pairs, _ = unordered_pairs(first[border], second[border], n)

    row, column = torch.arange(height) / height, torch.arange(width) / width
    places = torch.stack(torch.meshgrid(row, column, indexing="ij"), -1)
    rows = torch.cat([pixels, places], -1).double().flatten(0, 1)  # [height * width, channels + 2]
    sums = torch.zeros(n, channels + 2, dtype=torch.float64).index_add(0, segments.flatten(), rows)
    size = segments.flatten().bincount(minlength=n).double().unsqueeze(1)
    x = torch.cat([sums / size, size / (height * width)], 1).to(pixels.dtype)
    return Graph.from_edges(torch.cat([pairs, pairs.flip(0)], 1), n, x=x, **options)


def _check_image(image: Any) -> Tensor:
    """The image as floats [height, width, channels]; uint8 between 0 and 1."""
    pixels = as_tensor("image", image, "pixels, [height, width, channels]")
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise InputTypeError(f"image: got {pixels.dtype}, expected uint8, or floats.")
    if pixels.dim() not in (2, 3) or not pixels.numel():
        raise InputError(
            f"image: got shape {tuple(pixels.shape)}, expected [height, width] or [height, width, channels]."
        )
    if pixels.dim() == 3 and channels_seem_first(pixels.shape):
        raise InputError(
            f"image: got shape {tuple(pixels.shape)}, whose channels seem to come first; expected [height, width, channels], "
            "image.movedim(0, 2)."
        )
    check_features_finite(pixels, "image")
    warn_of_range(pixels, "image", stacklevel=4)
    pixels = pixels.detach().cpu().view(*pixels.shape[:2], -1)
    return to_unit(pixels)
