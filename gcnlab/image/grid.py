"""The grid graph of an image, and the sums over its neighbours as stencils."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_choice, check_count
from ..errors import InputError, InputTypeError
from ..graph import Graph
from ..memory import check_large
from ..sparse import SparseMatrix

if TYPE_CHECKING:
    from torch_geometric.data import Data


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


# --------------------------------------------------------------------------------------------------------------------
# The graph
# --------------------------------------------------------------------------------------------------------------------


class Grid(Graph):
    """The graph of a grid of pixels, made by `grid_graph`: undirected, unweighted, without self-loops.

    Its matrices are made when something reads them: a stencil needs none, and of a photograph they are large.

    Attributes:
        shape: pixels along each axis: (height, width), or one or three numbers.
        connectivity: neighbours of a pixel away from the border.
    """

    shape: tuple[int, ...]
    connectivity: int
    _dtype: torch.dtype  # of the adjacency where it is not made yet

    @property
    def adjacency(self) -> SparseMatrix:
        """A, [num_nodes, num_nodes]: 1 between neighbours."""
        if self.__dict__["adjacency"] is None:
            self._check_fits("adjacency", 64 * self.num_edges)
            offsets = [offset for offset in self.offsets if any(offset)]
            target, source = torch.cat([_pairs(self.shape, offset) for offset in offsets], 1)
            with torch.inference_mode(False):  # as Graph.kept
                ones = torch.ones(len(target), dtype=self._dtype)
                matrix = SparseMatrix.from_coo(target, source, ones, (self.num_nodes, self.num_nodes))
            self.__dict__["adjacency"] = matrix.mark_symmetric()
        return super().adjacency

    @property
    def _own(self) -> dict[str, Any]:
        return {"shape": self.shape, "connectivity": self.connectivity}

    def _check_fits(self, what: str, num_bytes: int) -> None:
        remedy = "grid.relations.convolve needs no matrix, or take a smaller grid."
        check_large("shape", f"{what} of a {self.name}", num_bytes, torch.device("cpu"), remedy)

    @property
    def num_nodes(self) -> int:
        """N, the number of pixels."""
        return math.prod(self.shape)

    @property
    def num_edges(self) -> int:
        """Stored entries of A: an edge counts twice."""
        return sum(
            math.prod(size - abs(o) for size, o in zip(self.shape, offset, strict=True))
            for offset in self.offsets
            if any(offset)
        )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the adjacency."""
        return self._dtype if self.__dict__["adjacency"] is None else self.adjacency.dtype

    @property
    def device(self) -> torch.device:
        return torch.device("cpu") if self.__dict__["adjacency"] is None else super().device

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """The place of each relation's source relative to its target, centre included, in the order of a kernel."""
        return _offsets(len(self.shape), self.connectivity)

    @property
    def relations(self) -> GridRelations:
        """One SparseMatrix an offset: A_r[target, source] = 1 where the source stands there. Their sum is Ã = A + I."""
        return self.kept("relations", lambda: GridRelations(self.shape, self.offsets, self.dtype, self.device))

    @property
    def operator(self) -> GridOperator:
        """Â as a GridOperator, which takes the place of `a_hat` in every layer."""
        return self.kept("operator", lambda: GridOperator(self))

    @property
    def positions(self) -> Tensor:
        """(row, column) of each node, [num_nodes, number of axes] int64."""
        self._check_fits("the positions", 16 * len(self.shape) * self.num_nodes)
        axes = [torch.arange(size, device=self.device) for size in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)

    @property
    def coordinates(self) -> Tensor:
        """`positions` scaled to [-1, 1] along each axis, 0 on an axis of one pixel, [num_nodes, number of axes]."""
        last = torch.tensor(self.shape, device=self.device) - 1
        centred = (2 * self.positions - last).to(torch.promote_types(self.dtype, torch.float32))
        return (centred / last.clamp(min=1)).to(self.dtype)

    @property
    def coarser(self) -> Grid:
        """The grid of the 2x2 clusters of this one; on an axis of odd size the last cluster is smaller."""
        shape = [-(-size // 2) for size in self.shape]
        return self.kept(
            "coarser", lambda: grid_graph(*shape, connectivity=self.connectivity).to(self.device).to(self.dtype)
        )

    def replace(self, **changes: Any) -> Graph:
        """As `Graph.replace`; with another adjacency the result is a Graph and no Grid."""
        other = super().replace(**changes)
        return other if "adjacency" in changes else Grid.of_parts(**{**other.parts, **self._own})

    def to(self, device: torch.device | torch.dtype | str) -> Grid:
        """The grid on another device, or of another dtype."""
        if isinstance(device, torch.dtype) and self.__dict__["adjacency"] is None and self.x is None:
            return Grid.of_parts(**{**self.parts, "_dtype": device, "derived": {}})
        other = super().to(device)
        return self if other is self else Grid.of_parts(**{**other.parts, **self._own})

    def to_pyg(self) -> Data:
        """A PyG `Data` with `pos`, the (row, column) of each node."""
        data = super().to_pyg()
        data.pos = self.positions.to(self.dtype)
        return data


def grid_graph(*shape: int, connectivity: int | None = None) -> Grid:
    """The graph of a grid: a node a pixel, an edge in both directions between neighbours, no self-loops.

    Args:
        *shape: (height, width), or (length,) of a sequence, or (depth, height, width) of a volume.
        connectivity: 2; 4 or 8; 6 or 26 neighbours in one, two and three dimensions: those that share a side, or a
            corner too. By default the larger.

    >>> grid = grid_graph(2, 3, connectivity=4)
    >>> grid.num_nodes, grid.num_edges
    (6, 14)
    >>> grid.adjacency.to_dense()[0]  # the corner: its right neighbour, and the one below
    tensor([0., 1., 0., 1., 0., 0.])
    """
    sizes = tuple(_check_size(size) for size in shape)
    if not 1 <= len(sizes) <= 3:
        raise InputError(f"shape: got {len(sizes)} sizes, expected grid_graph(height, width), or one or three sizes.")
    sides, corners = 2 * len(sizes), 3 ** len(sizes) - 1
    if connectivity is None:
        connectivity = corners
    connectivity = check_choice("connectivity", connectivity, dict.fromkeys((sides, corners)))
    name = f"grid of {' x '.join(map(str, sizes))}, {connectivity} neighbours"
    made_later: Any = None
    return Grid.of_parts(
        made_later, name=name, shape=sizes, connectivity=connectivity, _dtype=torch.get_default_dtype()
    )


def check_grid(grid: Any) -> None:
    """Raise InputTypeError unless it is a Grid."""
    if not isinstance(grid, Grid):
        raise InputTypeError(f"grid: got a {type(grid).__name__}, expected what image.grid_graph gives.")


def _check_size(size: Any) -> int:
    try:
        return check_count("shape", size, 1)
    except InputTypeError:
        hint = "; unpack it: grid_graph(*shape)" if isinstance(size, (tuple, list)) else ""
        raise InputError(f"shape: got {size!r}, expected integers, as in grid_graph(height, width){hint}.") from None


def _offsets(num_axes: int, connectivity: int) -> list[tuple[int, ...]]:
    """Row by row, as the entries of a convolution's kernel are stored."""
    window = list(product((-1, 0, 1), repeat=num_axes))
    return window if connectivity == len(window) - 1 else [o for o in window if sum(map(abs, o)) <= 1]


def _pairs(shape: Sequence[int], offset: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """[2, num_pairs]: targets, and the sources that stand at `offset` from them, where there are any."""
    nodes = torch.arange(math.prod(shape), device=device).view(*shape)
    targets = tuple(slice(max(-o, 0), size - max(o, 0)) for o, size in zip(offset, shape, strict=True))
    sources = tuple(slice(max(o, 0), size - max(-o, 0)) for o, size in zip(offset, shape, strict=True))
    return torch.stack([nodes[targets].flatten(), nodes[sources].flatten()])


def cluster_assignment(grid: Grid) -> SparseMatrix:
    """S [num_nodes, num_clusters], S_ik = 1 where node i is of the 2x2 cluster k, for `gcnlab.ClusterPool`."""
    grid._check_fits("the clusters", 100 * grid.num_nodes)
    cluster = torch.zeros(grid.num_nodes, dtype=torch.int64, device=grid.device)
    for place, size in zip((grid.positions // 2).T, grid.coarser.shape, strict=True):
        cluster = cluster * size + place
    nodes = torch.arange(grid.num_nodes, device=grid.device)
    shape = (grid.num_nodes, grid.coarser.num_nodes)
    return SparseMatrix.from_coo(nodes, cluster, shape=shape).to(grid.adjacency.dtype)


# --------------------------------------------------------------------------------------------------------------------
# Its operators
# --------------------------------------------------------------------------------------------------------------------


class GridOperator:
    """Â of a grid as one small window that moves over all images: `operator @ x` equals `grid.a_hat @ x`.

        Âx = d ⊙ S(d ⊙ x)

    with S the sum over the window, zeros outside of the image, and d = (degree of Ã)^-1/2. It has two forms: on a CPU
    one CSR product with all images side by side, [num_nodes, batch * channels], which takes half of the time of a
    window sum there (benchmarks/image_layers.py); elsewhere `stencil`, which reads no indices. Â is symmetric, so its
    derivative is Â again.

    Args:
        grid: from `grid_graph`.
        norm: "sym": Â = D̃^-1/2 Ã D̃^-1/2. None: Ã, in which every neighbour counts 1.

    Shapes:
        x: [num_nodes], [num_nodes, C] or [batch, num_nodes, C].

    >>> GridOperator(grid_graph(2, 3), norm=None) @ torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 10.0])
    tensor([ 1., 11., 10.,  1., 11., 10.])
    """

    def __init__(self, grid: Grid, norm: str | None = "sym") -> None:
        if not isinstance(grid, Grid):
            raise InputTypeError(
                f"grid: got {type(grid).__name__}, expected a Grid; gcnlab.image.grid_graph makes one."
            )
        check_choice("norm", norm, ("sym", None))
        self.matrix = grid.normalize(norm=norm)
        self.grid_shape, self.connectivity = grid.shape, grid.connectivity
        degree = grid.a_tilde.row_sums()
        self.scale = (degree.rsqrt() if norm == "sym" else torch.ones_like(degree)).to(self.dtype)  # d, [num_nodes]

    @property
    def shape(self) -> tuple[int, int]:
        """(num_nodes, num_nodes)."""
        return self.matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def T(self) -> GridOperator:
        """Itself."""
        return self

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.grid_shape))
        return f"GridOperator(grid of {size}, {self.connectivity} neighbours, {self.dtype}, {self.device})"

    def __matmul__(self, x: Any) -> Any:
        if self.device.type == "cpu" or not isinstance(x, Tensor):
            return self.matrix @ x
        return self.stencil(x)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Under torch.compile `operator @ x` arrives here with its operands swapped (torch 2.13)."""
        if func in (Tensor.matmul, Tensor.__matmul__) and isinstance(args[1], cls) and torch.compiler.is_compiling():
            return args[1].__matmul__(args[0])
        raise InputTypeError(
            f"torch's {getattr(func, '__name__', func)} does not take a GridOperator; operator @ x does."
        )

    def stencil(self, x: Tensor) -> Tensor:
        """Âx by sums over windows of the images, on any device."""
        if x.dim() not in (1, 2, 3) or x.shape[max(x.dim() - 2, 0)] != self.shape[1]:
            raise InputError(
                f"x: got shape {tuple(x.shape)}, expected [{self.shape[1]}], [{self.shape[1]}, C] or "
                f"[batch, {self.shape[1]}, C]."
            )
        if x.dtype != self.dtype and x.dtype not in (torch.bfloat16, torch.float16):
            raise InputError(f"x: got {x.dtype}, but the operator is {self.dtype}; convert one with .to(dtype).")
        batch = x if x.dim() == 3 else x.reshape(1, self.shape[1], -1)
        return _Stencil.apply(batch, self.scale.to(x.dtype), self.grid_shape, self.connectivity).reshape(x.shape)

    def to(self, target: torch.device | torch.dtype | str) -> GridOperator:
        """On another device, or of another dtype."""
        other = GridOperator.__new__(GridOperator)
        other.__dict__.update(self.__dict__, matrix=self.matrix.to(target), scale=self.scale.to(target))
        return other

    def to_dense(self) -> Tensor:
        """The dense tensor [num_nodes, num_nodes]."""
        return self.matrix.to_dense()


class GridRelations(Sequence[SparseMatrix]):
    """The relations of a grid, `grid.relations`: a list of SparseMatrices, one an offset, that also has a form as one.

        convolve:  sum_r A_r H W_r + b = Conv(H),   W_r^T = kernel[:, :, place of r]

    The matrices are made when one is asked for; `convolve` reads none.

    torch's convolution is a cross-correlation: its kernel, too, is laid out by the place of the source relative to the
    target. [batch, num_nodes, C] is channels_last memory, so that no image is copied.
    """

    def __init__(
        self, shape: tuple[int, ...], offsets: list[tuple[int, ...]], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.grid_shape, self.offsets, self.dtype, self.device = shape, offsets, dtype, device

    @functools.cached_property
    def _matrices(self) -> list[SparseMatrix]:
        num_bytes = 16 * len(self) * self.shape[0] + 64 * self.shape[0]
        check_large(
            "shape", f"{len(self)} matrices of {self.shape[0]:,} nodes", num_bytes, self.device, "convolve needs none."
        )
        matrices = []
        with torch.inference_mode(False):  # as Graph.kept
            for offset in self.offsets:
                target, source = _pairs(self.grid_shape, offset, self.device)
                ones = torch.ones(len(target), dtype=self.dtype, device=self.device)
                matrices.append(SparseMatrix.from_coo(target, source, ones, self.shape))
        return matrices

    @property
    def shape(self) -> tuple[int, int]:
        """(num_nodes, num_nodes), of each matrix."""
        return math.prod(self.grid_shape), math.prod(self.grid_shape)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> SparseMatrix: ...
    @overload
    def __getitem__(self, index: slice) -> list[SparseMatrix]: ...
    def __getitem__(self, index: int | slice) -> SparseMatrix | list[SparseMatrix]:
        return self._matrices[index]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """sum_r A_r x W_r + b for x [batch, num_nodes, in] or [num_nodes, in], weight [relations, in, out], bias [out]."""
        if x.dim() == 2:
            return self.convolve(x.unsqueeze(0), weight, bias).squeeze(0)
        num_axes = len(self.grid_shape)
        if len(self) < 3**num_axes:  # without corners: their weights are zero
            place = [sum((o + 1) * 3**i for i, o in enumerate(reversed(offset))) for offset in self.offsets]
            zeros = weight.new_zeros(3**num_axes, *weight.shape[1:])
            weight = zeros.index_copy(0, torch.tensor(place, device=weight.device), weight)
        kernel = weight.permute(2, 1, 0).unflatten(2, (3,) * num_axes)
        return to_nodes(_CONV[num_axes](channels_first(x, self.grid_shape), kernel, bias, padding=1))

    def to(self, target: torch.device | torch.dtype | str) -> GridRelations:
        """On another device, or of another dtype."""
        like = torch.empty(0, dtype=self.dtype, device=self.device).to(target)
        return GridRelations(self.grid_shape, self.offsets, like.dtype, like.device)


def channels_first(x: Tensor, shape: Sequence[int]) -> Tensor:
    """[batch, num_nodes, C] as [batch, C, *shape], which torch's convolutions and poolings take; a view."""
    return x.unflatten(1, tuple(shape)).movedim(-1, 1)


def to_nodes(images: Tensor) -> Tensor:
    """[batch, C, *shape] as [batch, num_nodes, C]; a view where the images' memory has the channels last or first."""
    return images.movedim(1, -1).flatten(1, -2)


class _Stencil(torch.autograd.Function):
    """d ⊙ S(d ⊙ x) for x [batch, num_nodes, C]; its derivative is itself."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shape: tuple[int, ...], connectivity: int) -> Tensor:
        scale = scale.unsqueeze(1)
        images = (scale * x).unflatten(1, shape)
        axes = range(1, len(shape) + 1)
        if connectivity == 3 ** len(shape) - 1:  # the sum over a window is one line of three after the other
            for axis in axes:
                images = _line_sum(images, axis)
        else:  # each line counts the centre, which is wanted once
            images = sum(_line_sum(images, axis) for axis in axes) - (len(shape) - 1) * images
        return scale * images.flatten(1, -2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.shape, ctx.connectivity = inputs[2:]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        return _Stencil.apply(g, scale, ctx.shape, ctx.connectivity), None, None, None


def _line_sum(images: Tensor, axis: int) -> Tensor:
    """Each pixel and its two neighbours along an axis, zeros outside."""
    total, size = images.clone(), images.shape[axis] - 1
    total.narrow(axis, 1, size).add_(images.narrow(axis, 0, size))
    total.narrow(axis, 0, size).add_(images.narrow(axis, 1, size))
    return total
