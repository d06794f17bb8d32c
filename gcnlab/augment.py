"""Augmentation of images as operations on the nodes of their grid graph; each image of a batch has draws of its own.

An image of height x width pixels is a signal H [num_nodes, channels]; pixel (row, column) is node row * width + column.

    mirror, shift, erase    H' = S H: a row of S selects one node, or none, which gives zero
    rotate, shear, zoom     H'_i = the bilinear mean of the four nodes around M p_i, where p_i is the place of node i

`mirror_map` and `shift_map` say which node each row selects; `selection_matrix` makes S of that. A mirror's S is a
permutation with S A S^T = A on a grid: it calls the nodes by other names and keeps every edge, so a GCN's output is
S times the output for H, and its mean readout the same. Every image has an S of its own, so a batch never builds it:
flips and windows give the same bits in a third of a gather's time.

All take signals [batch, height * width, channels] of any real dtype and keep it; their argument stays as it is. Augment
uint8 signals and convert afterwards: that moves a quarter of the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from .checks import check_choice, check_count, check_integer, check_list, check_number, check_probability
from .errors import InputError, InputTypeError
from .sparse import SparseMatrix

Shape = Sequence[int]
Generator = torch.Generator | None

# --------------------------------------------------------------------------------------------------------------------
# Selections of nodes
# --------------------------------------------------------------------------------------------------------------------


def mirror(signals: Tensor, shape: Shape, generator: Generator = None, p: float = 0.5) -> Tensor:
    """Left and right exchanged in each image with probability p: H'_i = H_j, j = `mirror_map(shape)[i]`.

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        p: a probability between 0 and 1.

    >>> mirror(torch.tensor([[[1], [2], [3]]]), (1, 3), p=1.0).flatten()
    tensor([3, 2, 1])
    """
    images = _as_images(signals, shape)
    return torch.where(_coins(p, images, generator), images.flip(2), images).view(signals.shape)


def shift(signals: Tensor, shape: Shape, generator: Generator = None, size: int = 2) -> Tensor:
    """Each image moved by -size .. size nodes down and as many right, zeros coming in: S of `shift_map`.

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        size: nodes, at least 0 and below height and width.
    """
    images = _as_images(signals, shape)
    batch, height, width, _ = images.shape
    if check_count("size", size) >= min(height, width):
        raise InputError(f"size: got a shift of {size} nodes, which empties a grid of {height} x {width} nodes.")
    padded = F.pad(images, (0, 0, size, size, size, size))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view [batch, place, place, channels, height, width]
    row, column = _integers(2 * size + 1, (2, batch), images, generator)  # of the window; size - how far it moves
    moved = windows[torch.arange(batch, device=images.device), row, column]
    return moved.permute(0, 2, 3, 1).reshape(signals.shape)


def erase(signals: Tensor, shape: Shape, generator: Generator = None, size: int = 8, p: float = 0.5) -> Tensor:
    """A patch of nodes set to zero in each image with probability p. (Random erasing, Zhong et al. 2020.)

    The patch's height and width are drawn from 1 .. size, then its place from all those where it fits.

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        size: nodes, at least 1; a shorter side of the grid is the limit in its direction.
        p: a probability between 0 and 1.
    """
    images = _as_images(signals, shape)
    size = check_count("size", size, 1)
    rows, columns = (_intervals(length, size, images, generator) for length in images.shape[1:3])
    erased = _coins(p, images, generator) & rows[:, :, None, None] & columns[:, None, :, None]
    return (images * ~erased).view(signals.shape)


def mirror_map(shape: Shape) -> Tensor:
    """The node that each node of a mirrored grid takes its values from, [num_nodes] int64: a permutation.

    >>> mirror_map((2, 3))
    tensor([2, 1, 0, 5, 4, 3])
    """
    height, width = _check_shape(shape)
    return torch.arange(height * width).view(height, width).flip(1).flatten()


def shift_map(shape: Shape, down: int, right: int) -> Tensor:
    """The node that each node of a shifted grid takes its values from, [num_nodes] int64; -1: none, a zero comes in.

    >>> shift_map((2, 3), down=0, right=1)
    tensor([-1,  0,  1, -1,  3,  4])
    """
    height, width = _check_shape(shape)
    row = (torch.arange(height) - check_integer("down", down)).unsqueeze(1)
    column = torch.arange(width) - check_integer("right", right)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return torch.where(inside, row * width + column, -1).flatten()


def selection_matrix(nodes: Tensor) -> SparseMatrix:
    """S [num_nodes, num_nodes] with S_ij = 1 where j = nodes[i]; a row of zeros where nodes[i] is -1.

    >>> selection_matrix(mirror_map((1, 2))).to_dense()
    tensor([[0., 1.],
            [1., 0.]])
    """
    if nodes.dim() != 1 or nodes.dtype != torch.int64:
        raise InputTypeError(f"nodes: got {nodes.dtype} of shape {tuple(nodes.shape)}, expected int64 [num_nodes].")
    bad = (nodes < -1) | (nodes >= len(nodes))
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(f"nodes: got {int(nodes[at])} at {at}, expected a node below {len(nodes)}, or -1 for none.")
    rows = (nodes >= 0).nonzero().squeeze(1)
    return SparseMatrix.from_coo(rows, nodes[rows], shape=(len(nodes), len(nodes)))


# --------------------------------------------------------------------------------------------------------------------
# Interpolation between nodes
# --------------------------------------------------------------------------------------------------------------------


def rotate(signals: Tensor, shape: Shape, generator: Generator = None, degrees: float = 10.0) -> Tensor:
    """Each image turned about its middle by an angle from U(-degrees, degrees): M = [[cos, -sin], [sin, cos]].

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        degrees: the largest angle.
    """
    return interpolate(signals, shape, _rotations(degrees, _as_images(signals, shape), generator))


def shear(signals: Tensor, shape: Shape, generator: Generator = None, degrees: float = 10.0) -> Tensor:
    """Each image's rows slid along each other, upright lines leaning by U(-degrees, degrees): M = [[1, 0], [tan, 1]].

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        degrees: the largest angle, below 90.
    """
    return interpolate(signals, shape, _shears(degrees, _as_images(signals, shape), generator))


def zoom(signals: Tensor, shape: Shape, generator: Generator = None, fraction: float = 0.1) -> Tensor:
    """Each image enlarged about its middle by a factor f from U(1 - fraction, 1 + fraction): M = I / f.

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        generator: of the random draws; torch's own by default.
        fraction: at least 0 and below 1.
    """
    return interpolate(signals, shape, _zooms(fraction, _as_images(signals, shape), generator))


def interpolate(signals: Tensor, shape: Shape, matrix: Tensor) -> Tensor:
    """The signals at M p_i, between the nodes: H'_i = sum_j w(M p_i - p_j) H_j, w(r, c) = (1 - |r|)+ (1 - |c|)+.

    p_i = (row, column) of node i, from the middle of the grid, in nodes. Outside of the grid all is zero. Integers are
    rounded. One sampling in torch's `grid_sample`: a sparse matrix of w for each image would cost its own sort.

    Args:
        signals: [batch, height * width, channels].
        shape: (height, width).
        matrix: M of each image, [batch, 2, 2]; M_1 @ M_2 does what M_1 and then M_2 do, and blurs once.
    """
    images = _as_images(signals, shape)
    batch, height, width, _ = images.shape
    if matrix.shape != (batch, 2, 2):
        raise InputError(f"matrix: got shape {tuple(matrix.shape)}, expected [{batch}, 2, 2], one matrix an image.")
    values = images if images.dtype in (torch.float32, torch.float64) else images.float()
    row, column = (torch.arange(n).to(values) - (n - 1) / 2 for n in (height, width))
    places = torch.stack([row.repeat_interleave(width), column.repeat(height)])  # [2, num_nodes]
    # grid_sample asks for (x, y) in half widths and half heights: of the small matrices, not of the large grid
    to_xy = (matrix.to(values) * values.new_tensor([[2 / height], [2 / width]])).flip(1)
    grid = (to_xy.reshape(-1, 2) @ places).view(batch, 2, height, width).permute(0, 2, 3, 1)
    sampled = F.grid_sample(values.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)
    sampled = sampled if images.dtype.is_floating_point else sampled.round_()
    return sampled.to(images.dtype).reshape(signals.shape)


def _rotations(degrees: float, images: Tensor, generator: Generator) -> Tensor:
    angle = _symmetric(math.radians(check_number("degrees", degrees)), images, generator)
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)


def _shears(degrees: float, images: Tensor, generator: Generator) -> Tensor:
    degrees = check_number("degrees", degrees, above=-90, below=90)
    slope = _symmetric(math.radians(degrees), images, generator).tan()
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return torch.stack([one, zero, slope, one], 1).view(-1, 2, 2)


def _zooms(fraction: float, images: Tensor, generator: Generator) -> Tensor:
    factor = 1 + _symmetric(check_number("fraction", fraction, least=0, below=1), images, generator)
    return torch.eye(2, device=images.device) / factor.view(-1, 1, 1)


# --------------------------------------------------------------------------------------------------------------------
# Several in one call
# --------------------------------------------------------------------------------------------------------------------

_SELECTIONS: dict[str, Callable[..., Tensor]] = {"mirror": mirror, "shift": shift, "erase": erase}
_MATRICES: dict[str, Callable[..., Tensor]] = {"rotate": _rotations, "shear": _shears, "zoom": _zooms}


class Augment:
    """Several augmentations one after the other, in the order given; `augment(signals, shape, generator)`.

    Neighbours among rotate, shear and zoom become one matrix and one interpolation, which is faster and blurs once.
    Which kinds fit is a matter of the data: a mirrored shoe is a shoe, a mirrored 3 is no digit.

    Args:
        kinds: names among `Augment.KINDS`.
        mirror: probability.
        shift: nodes.
        erase: nodes, the longest side of a patch; half of the images have one.
        rotate: degrees.
        shear: degrees.
        zoom: fraction.

    >>> augment = Augment(["mirror", "shift", "erase"], shift=3)
    >>> augment(torch.ones(64, 28 * 28, 1, dtype=torch.uint8), (28, 28), torch.Generator().manual_seed(0)).shape
    torch.Size([64, 784, 1])
    """

    KINDS = (*_SELECTIONS, *_MATRICES)

    def __init__(
        self,
        kinds: Sequence[str],
        *,
        mirror: float = 0.5,
        shift: int = 2,
        erase: int = 8,
        rotate: float = 10.0,
        shear: float = 10.0,
        zoom: float = 0.1,
    ) -> None:
        kinds = [kinds] if isinstance(kinds, str) else check_list("kinds", kinds, "names")
        self.kinds = tuple(check_choice("kinds", kind, self.KINDS) for kind in kinds)
        strength = {
            "mirror": check_probability("mirror", mirror),
            "shift": check_count("shift", shift),
            "erase": check_count("erase", erase, 1),
            "rotate": check_number("rotate", rotate),
            "shear": check_number("shear", shear, above=-90, below=90),
            "zoom": check_number("zoom", zoom, least=0, below=1),
        }
        self.strength = {kind: strength[kind] for kind in self.kinds}

    def __repr__(self) -> str:
        return f"Augment({', '.join(f'{kind} {value:g}' for kind, value in self.strength.items())})"

    def __call__(self, signals: Tensor, shape: Shape, generator: Generator = None) -> Tensor:
        """The augmented signals, of the same shape and dtype.

        Args:
            signals: [batch, height * width, channels].
            shape: (height, width).
            generator: of the random draws; torch's own by default.
        """
        images = _as_images(signals, shape)
        for interpolated, kinds in groupby(self.kinds, key=_MATRICES.__contains__):
            if interpolated:
                matrices = [_MATRICES[kind](self.strength[kind], images, generator) for kind in kinds]
                signals = interpolate(signals, shape, reduce(torch.matmul, matrices))
            else:
                for kind in kinds:
                    option = {"p" if kind == "mirror" else "size": self.strength[kind]}
                    signals = _SELECTIONS[kind](signals, shape, generator, **option)
        return signals


# --------------------------------------------------------------------------------------------------------------------
# Draws and checks
# --------------------------------------------------------------------------------------------------------------------


def _uniform(size: Sequence[int], images: Tensor, generator: Generator) -> Tensor:
    """U(0, 1) on the device of the images, from whichever device the generator is of."""
    device = images.device if generator is None else generator.device
    return torch.rand(size, generator=generator, device=device).to(images.device)


def _integers(count: int | Tensor, size: Sequence[int], images: Tensor, generator: Generator) -> Tensor:
    """0 .. count - 1, int64; count may differ from one to the next, which torch.randint has no form for."""
    return (_uniform(size, images, generator) * count).long()


def _symmetric(limit: float, images: Tensor, generator: Generator) -> Tensor:
    """U(-limit, limit), one an image."""
    return (2 * _uniform((len(images),), images, generator) - 1) * limit


def _coins(p: float, images: Tensor, generator: Generator) -> Tensor:
    """True with probability p, [batch, 1, 1, 1]."""
    return _uniform((len(images), 1, 1, 1), images, generator) < check_probability("p", p)


def _intervals(length: int, size: int, images: Tensor, generator: Generator) -> Tensor:
    """An interval of 1 .. size of `length` nodes for each image: whether a node is in it, bool [batch, length]."""
    one_each = (len(images), 1)
    extent = 1 + _integers(min(size, length), one_each, images, generator)
    node = torch.arange(length, device=images.device) - _integers(length - extent + 1, one_each, images, generator)
    return (node >= 0) & (node < extent)


def _check_shape(shape: Shape) -> tuple[int, int]:
    sizes = check_list("shape", shape, "sizes, (height, width)")
    if len(sizes) != 2:
        raise InputError(f"shape: got {shape!r}, expected (height, width).")
    height, width = (check_count("shape", length, 1) for length in sizes)
    return height, width


def _as_images(signals: Tensor, shape: Shape) -> Tensor:
    """The signals as [batch, height, width, channels], a view where they are contiguous."""
    height, width = _check_shape(shape)
    if not isinstance(signals, Tensor):
        raise InputTypeError(f"signals: got {type(signals).__name__}, expected a tensor.")
    if signals.dim() != 3 or signals.shape[1] != height * width:
        raise InputError(
            f"signals: got shape {tuple(signals.shape)}, expected [batch, {height * width}, channels], "
            f"a row for each node of a grid of {height} x {width}."
        )
    return signals.reshape(signals.shape[0], height, width, signals.shape[2])
