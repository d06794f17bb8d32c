"""The graph convolution of Kipf and Welling, and the one with a weight per relation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checks import check_count, check_flag
from ..contracts import convolves
from ..errors import InputError, InputTypeError
from ..sparse import Features
from ..sparse.kinds import NORMALIZED
from .affine import glorot_uniform, plus, propagated
from .operators import check_operands, check_propagated, check_weighted

if TYPE_CHECKING:
    from torch_geometric.nn import GCNConv as PyGGCNConv


class GCNConv(nn.Module):
    """The graph convolution of Kipf & Welling (2017, equation 2), without its activation.

        H' = Â H W + b

        node-wise: h'_i = sum_j Â_ij h_j W + b

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels] on one shared graph.
        a_hat: anything with `@` of shape [num_nodes, num_nodes]: a SparseMatrix (`graph.a_hat`), a dense or a torch
            sparse tensor, the `operator` of an image's grid. With [num_targets, num_nodes] only the targets are computed.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> layer = GCNConv(2, 3)
    >>> a_hat = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> layer(torch.ones(2, 2), a_hat).shape
    torch.Size([2, 3])
    """

    operator, accepts = "a_hat", frozenset(NORMALIZED)

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weight, zero bias."""
        glorot_uniform(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Features, a_hat: Any) -> Tensor:
        check_operands(self, x, a_hat, square=False)
        return propagated(a_hat, x, self.weight, self.bias)  # Â X W + b

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}" + ("" if self.bias is not None else ", bias=False")

    @classmethod
    def from_pyg(cls, conv: PyGGCNConv) -> GCNConv:
        """A layer with the weights of PyG's GCNConv; with `graph.a_hat` it gives PyG's numbers.

        Raises InputError if conv propagates by another matrix than `graph.a_hat`.
        """
        for option, usual in (
            ("normalize", True), ("add_self_loops", True), ("improved", False), ("flow", "source_to_target"), ("aggr", "add")
        ):  # fmt: skip
            if (found := getattr(conv, option, None)) != usual:
                raise InputError(
                    f"conv: has {option}={found}, expected PyG's GCNConv with {option}={usual}, "
                    "whose propagation matrix is graph.a_hat; for another, copy the weights and pass that matrix."
                )
        if conv.in_channels < 0:
            raise InputError(f"conv: has in_channels={conv.in_channels}, so no weights yet; call it on its data once.")
        layer = cls(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
        with torch.no_grad():
            layer.weight.copy_(conv.lin.weight.t())
            if layer.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer.to(conv.lin.weight.dtype)

    def to_pyg(self) -> PyGGCNConv:
        """PyG's GCNConv with these weights."""
        from torch_geometric.nn import GCNConv as PyGGCNConv

        conv = PyGGCNConv(self.in_channels, self.out_channels, bias=self.bias is not None).to(self.weight.dtype)
        with torch.no_grad():
            conv.lin.weight.copy_(self.weight.t())
            if self.bias is not None:
                conv.bias.copy_(self.bias)
        return conv


class RelationalGCNConv(nn.Module):
    """A graph convolution with one weight per relation (Schlichtkrull et al. 2018, equations 2 and 3).

        H' = sum_r A_r H W_r + b,   with bases W_r = sum_b a_rb V_b

    On the grid of an image, with one relation for each of the nine places in a 3x3 window, it is `torch.nn.Conv2d`. The
    paper's weight W_0 for the node itself is one more relation, A_r = I.

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        num_relations: number of matrices A_r.
        num_bases: number of bases V_b; None gives each relation its own weight.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        relations: `num_relations` matrices [num_nodes, num_nodes] as GCNConv takes them, normalised as you want; or
            `grid.relations` (gcnlab.image), whose sum is computed by one convolution.
        output: [num_nodes, out_channels] or [batch, num_nodes, out_channels].

    >>> layer = RelationalGCNConv(2, 3, num_relations=2)
    >>> layer(torch.ones(5, 2), [torch.eye(5), torch.ones(5, 5)]).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_relations: int, num_bases: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.out_channels = check_count("out_channels", out_channels, 1)
        check_flag("bias", bias)
        self.num_relations = check_count("num_relations", num_relations, 1)
        self.num_bases = None if num_bases is None else check_count("num_bases", num_bases, 1)
        # V where there are bases, else W
        self.weight = nn.Parameter(torch.empty(num_bases or num_relations, in_channels, out_channels))
        self.coefficient = nn.Parameter(torch.empty(num_relations, num_bases)) if num_bases is not None else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform W, with the fans of all relations together as for a convolution's kernel; zero bias."""
        bound = math.sqrt(6 / (self.num_relations * max(self.in_channels + self.out_channels, 1)))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.coefficient is not None:  # variance 1 / num_bases gives W the variance of V
            nn.init.uniform_(self.coefficient, -math.sqrt(3 / len(self.weight)), math.sqrt(3 / len(self.weight)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def relation_weights(self) -> Tensor:
        """W_r of each relation, [num_relations, in_channels, out_channels]."""
        return self.weight if self.coefficient is None else torch.tensordot(self.coefficient, self.weight, 1)

    def forward(self, x: Features, relations: Any) -> Tensor:
        check_relations(x, relations, self.num_relations, self.weight)
        return related(relations, x, self.relation_weights(), self.bias)  # sum_r A_r X W_r + b

    def extra_repr(self) -> str:
        bases = "" if self.num_bases is None else f", num_bases={self.num_bases}"
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}{bases}{bias}"

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d) -> RelationalGCNConv:
        """The layer with the weights of a 3x3 convolution, W_r = kernel[:, :, place of r]^T.

        On `grid_graph(height, width).relations` it gives the convolution's numbers. Raises InputError if the
        convolution does not map the nodes of a grid to the same nodes.
        """
        if not isinstance(conv, nn.Conv2d):
            raise InputTypeError(f"conv: got {type(conv).__name__}, expected a torch.nn.Conv2d.")
        padding = (1, 1) if conv.padding == "same" else conv.padding
        found = (conv.kernel_size, conv.stride, padding, conv.dilation, conv.groups, conv.padding_mode)
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        for name, value, usual in zip(names, found, ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros"), strict=True):
            if value != usual:
                raise InputError(f"conv: has {name}={value}, expected a Conv2d with {name}={usual}.")
        layer = cls(conv.in_channels, conv.out_channels, 9, bias=conv.bias is not None).to(conv.weight)
        with torch.no_grad():
            layer.weight.copy_(conv.weight.flatten(2).permute(2, 1, 0))
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer

    def to_conv2d(self) -> nn.Conv2d:
        """The 3x3 convolution with these weights."""
        if self.num_relations != 9:
            raise InputError(
                f"to_conv2d: the layer has {self.num_relations} relations, expected 9, one per place of 3x3."
            )
        conv = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, bias=self.bias is not None).to(self.weight)
        with torch.no_grad():
            conv.weight.copy_(self.relation_weights().permute(2, 1, 0).view_as(conv.weight))
            if self.bias is not None and conv.bias is not None:
                conv.bias.copy_(self.bias)
        return conv

    def tie_relations(self) -> GCNConv:
        """The isotropic layer: one weight for all relations, the mean of the W_r.

        It is a GCNConv, since sum_r A_r H W = (sum_r A_r) H W. On an image's grid it is, with `a_tilde`, the convolution
        whose kernel holds the same weight nine times and, with `a_hat`, the layer of Kipf & Welling.
        """
        layer = GCNConv(self.in_channels, self.out_channels, bias=self.bias is not None).to(self.weight)
        with torch.no_grad():
            layer.weight.copy_(self.relation_weights().mean(0))
            if self.bias is not None and layer.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def related(relations: Any, x: Features, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """sum_r A_r X W_r + b; the relations of a grid compute it by one convolution, without any matrix."""
    if isinstance(x, Tensor) and convolves(relations):
        return relations.convolve(x, weights, bias)
    return related_reference(relations, x, weights, bias)


def related_reference(relations: Any, x: Features, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """sum_r A_r X W_r + b as written."""
    return plus(sum(a_r @ (x @ w_r) for a_r, w_r in zip(relations, weights, strict=True)), bias)


def check_relations(x: Any, relations: Any, num_relations: int, weight: Tensor) -> None:
    """Raise unless `relations` is a list of so many matrices that fit x, and x fits the weight."""
    if not isinstance(relations, Sequence):
        raise InputTypeError(f"relations: got {type(relations).__name__}, expected a list of matrices.")
    if len(relations) != num_relations:
        raise InputError(f"relations: got {len(relations)} matrices, but the layer has num_relations={num_relations}.")
    check_weighted(x, weight)
    matrices: Any = relations
    if convolves(relations) and isinstance(x, Tensor):  # it reads no matrix, so none is made for the check
        matrices = [x.new_empty(()).expand(matrices.shape)]
    for r, a_r in enumerate(matrices):
        check_propagated(a_r, x, f"relations[{r}]", square=False)
