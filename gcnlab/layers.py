"""Graph convolutions. A layer takes features and a propagation matrix, holds weights alone and caches nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_count, check_dense, check_flag, check_like, check_probability
from .errors import InputError, InputTypeError
from .graph import NORMALIZED, Features, check_kind, how_to_make
from .sparse import SparseMatrix

if TYPE_CHECKING:
    from torch_geometric.nn import GCNConv as PyGGCNConv


_LARGE, _BLOCK = 1 << 20, 1 << 18  # entries
_COINS = (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1  # [256, 8], the bits of a byte


def dropout(x: Features, p: float = 0.5, training: bool = True) -> Features:
    """Zero each entry with probability p and divide the others by 1 - p.

    Of a SparseMatrix the stored entries are dropped, which is the same thing since the others are zero. On a CPU the
    coin flips are lanes of random 64-bit words, several times faster than torch's Bernoulli sampler; p is then
    rounded to a multiple of 1/65,536, and the scale fits the rounded value.

    Args:
        x: dense or sparse, any shape.
        p: a probability between 0 and 1.
        training: otherwise x is returned as it is.
    """
    p = check_probability("p", p)
    if not check_flag("training", training) or p == 0:
        return x
    check_x(x)
    if isinstance(x, SparseMatrix):
        return x.with_value(_dropout(x.value, p))
    if not x.is_floating_point():
        raise InputTypeError(f"x: got {x.dtype}, expected floats, which can be scaled; x.float() makes some.")
    return _dropout(x, p)


def relu_dropout(h: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """dropout(relu(h)), what stands between two layers.

    Of a large array on a CPU both are one pass, and the derivative is one too: it is read off the result, which is zero
    where either of the two is.
    """
    p = check_probability("p", p)
    if training and 0 < p < 1 and _is_large(h):
        return _ReluDropout.apply(h, p)
    h = h.relu()
    return _dropout(h, p) if training and p else h


def _is_large(x: Tensor) -> bool:
    eager = not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())
    return x.device.type in ("cpu", "meta") and eager and x.numel() >= _LARGE


def _dropout(x: Tensor, p: float) -> Tensor:
    if p == 1:
        return x * 0
    if _is_large(x) and not (x.requires_grad and torch.is_grad_enabled()):
        return _drop(x, p, relu=False)
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # both have a fused kernel
        return F.dropout(x, p)
    lanes, levels = (torch.int8, 256) if (p * 256).is_integer() else (torch.int16, 65536)
    dropped = min(round(p * levels), levels - 1)  # this many of the `levels` values of a lane
    per_word = 8 if levels == 256 else 4
    words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // per_word),))
    transformed = torch._C._are_functorch_transforms_active()
    coins = _ViewAs.apply(words, lanes) if transformed else words.view(lanes)
    keep = coins[: x.numel()] >= dropped - levels // 2
    return x * keep.view(x.shape).to(x.dtype).mul_(levels / (levels - dropped))


def _drop(x: Tensor, p: float, relu: bool) -> Tensor:
    """Dropout of a large array, block by block, so that a block meets its coins in the cache."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.device.type == "meta":
        return out
    table = _COINS.to(x.dtype) * _scale(p)
    for block, target in zip(x.contiguous().view(-1).split(_BLOCK), out.view(-1).split(_BLOCK), strict=True):
        coins = _random_bits(-(-len(block) // 64), 1 - p).view(torch.uint8)
        factors = table.index_select(0, coins.int()).view(-1)[: len(block)]
        torch.mul(block.relu() if relu else block, factors, out=target)
    return out


def _random_bits(num_words: int, p: float) -> Tensor:
    """int64 words, each bit of which is 1 with probability p, rounded to 16 binary digits but not to 0.

    p = 0.b_1 b_2 ... in binary is (b_1 + 0.b_2 ...) / 2: a fair coin or-ed with bits of probability 0.b_2 ... where b_1
    is 1, and-ed with them where it is 0.
    """
    digits = _in_65536ths(p)
    bits = None
    for place in range(16):
        digit = digits >> place & 1
        if bits is None and not digit:
            continue
        coin = torch.randint(-(2**63), 2**63 - 1, (num_words,))
        bits = coin if bits is None else coin.bitwise_or_(bits) if digit else coin.bitwise_and_(bits)
    return bits if bits is not None else torch.full((num_words,), -1)


def _in_65536ths(p: float) -> int:
    return max(round(p * 65536), 1)


def _scale(p: float) -> float:
    return 65536 / _in_65536ths(1 - p)


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(h: Tensor, p: float) -> Tensor:
        return _drop(h, p, relu=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.scale = _scale(inputs[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g, out, 0.0).mul_(ctx.scale), None


class _ViewAs(torch.autograd.Function):
    """`words.view(dtype)`, for which vmap has no rule in torch 2.6."""

    @staticmethod
    def forward(words: Tensor, dtype: torch.dtype) -> Tensor:
        return words.view(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], words: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        return words.movedim(in_dims[0], 0).contiguous().view(dtype), 0


def glorot_uniform(weight: Tensor) -> Tensor:
    """Fill with U(-b, b), b = sqrt(6 / (fan_in + fan_out)). (Glorot & Bengio 2010.)"""
    return nn.init.xavier_uniform_(weight)


def linear(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b.

    Signals [batch, num_nodes, C] stored node by node, as a product with Â leaves them, stay so, uncopied. On a CPU
    they take oneDNN's 1x1 convolution, the same sum: MKL's product of so tall and thin a matrix, with its derivatives,
    costs a GCN on 28x28 images up to twice the time (benchmarks/image_layers.py).
    """
    if isinstance(x, SparseMatrix) or x.dim() == 2:
        return _plus(x @ weight, bias)
    by_node = not x.is_contiguous()
    rows = x.movedim(1, 0) if by_node else x
    # below 8 channels the product is the faster, and of no nodes there is no convolution
    if x.device.type == "cpu" and x.dtype == torch.float32 and len(weight) >= 8 and x.numel():
        images = rows.unsqueeze(2).permute(0, 3, 1, 2)  # [.., C, .., 1], channels last
        out = F.conv2d(images, weight.t()[:, :, None, None], bias).permute(0, 2, 3, 1).squeeze(2)
    else:
        out = F.linear(rows, weight.t(), bias)
    return out.movedim(0, 1) if by_node else out


def _plus(h: Tensor, bias: Tensor | None, is_new: bool = True) -> Tensor:
    """h + b; in its place where h is large, and new: an operator of someone else's may give a tensor that it keeps."""
    if bias is None:
        return h
    return h.add_(bias) if is_new and _is_large(h) and h.dtype == bias.dtype else h + bias


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
            sparse tensor, the `operator` of an image's grid. [num_targets, num_nodes] gives the rows of the targets.
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
        check_operands(x, a_hat, self.in_channels, self.weight)
        warn_if_of_another_kind(self, a_hat)
        # (Â H) W, where Â moves fewer columns; where as many, Â (H W) keeps one array less for the derivatives
        first = self.in_channels < self.out_channels + (not getattr(x, "requires_grad", False))
        if isinstance(x, Tensor) and first:
            return linear(a_hat @ x, self.weight, self.bias)
        h = a_hat @ linear(x, self.weight)
        return _plus(h, self.bias, is_new=isinstance(a_hat, (SparseMatrix, Tensor)))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}" + ("" if self.bias is not None else ", bias=False")

    @classmethod
    def from_pyg(cls, conv: PyGGCNConv) -> GCNConv:
        """A layer with the weights of PyG's GCNConv; it gives PyG's numbers when a_hat is the graph's.

        Raises InputError for a conv whose propagation matrix is another one than `graph.a_hat`.
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
    """A graph convolution with one weight a relation. (Schlichtkrull et al. 2018, equations 2 and 3.)

        H' = sum_r A_r H W_r + b,   with bases W_r = sum_b a_rb V_b

    On the grid of an image with one relation for each of the nine places in a 3x3 window, the centre included, it is
    `torch.nn.Conv2d`. (The paper's own weight W_0 for a node itself is one relation more, A_r = I.)

    Args:
        in_channels: columns of H.
        out_channels: columns of H'.
        num_relations: number of matrices A_r.
        num_bases: number of V_b that the W_r are made of; None gives each relation a weight of its own.
        bias: whether to add b.

    Shapes:
        x: [num_nodes, in_channels], dense or SparseMatrix, or [batch, num_nodes, in_channels].
        relations: `num_relations` matrices [num_nodes, num_nodes] as GCNConv takes them, with the normalisation that
            is wanted; or `grid.relations` (gcnlab.image), for which one convolution computes the sum.
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
        """W Glorot-uniform with fans of all relations together, as for a convolution's kernel; zero bias."""
        bound = math.sqrt(6 / (self.num_relations * max(self.in_channels + self.out_channels, 1)))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.coefficient is not None:  # of variance 1 / num_bases, so that W has the variance of V
            nn.init.uniform_(self.coefficient, -math.sqrt(3 / len(self.weight)), math.sqrt(3 / len(self.weight)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def relation_weights(self) -> Tensor:
        """W_r of each relation, [num_relations, in_channels, out_channels]."""
        return self.weight if self.coefficient is None else torch.tensordot(self.coefficient, self.weight, 1)

    def forward(self, x: Features, relations: Any) -> Tensor:
        if not isinstance(relations, Sequence):
            raise InputTypeError(f"relations: got {type(relations).__name__}, expected a list of matrices.")
        if len(relations) != self.num_relations:
            raise InputError(
                f"relations: got {len(relations)} matrices, but the layer has num_relations={self.num_relations}."
            )
        weights = self.relation_weights()
        grid: Any = relations
        if hasattr(grid, "convolve") and isinstance(x, Tensor):  # which reads no matrix, so that none is made
            check_operands(x, x.new_empty(()).expand(grid.shape), self.in_channels, self.weight, "relations[0]")
            return grid.convolve(x, weights, self.bias)
        for r, a_r in enumerate(relations):
            check_operands(x, a_r, self.in_channels, self.weight, f"relations[{r}]")
        h = sum(a_r @ (x @ w_r) for a_r, w_r in zip(relations, weights, strict=True))
        return h if self.bias is None else h + self.bias

    def extra_repr(self) -> str:
        bases = "" if self.num_bases is None else f", num_bases={self.num_bases}"
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}{bases}{bias}"

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d) -> RelationalGCNConv:
        """The layer with the weights of a 3x3 convolution, W_r = kernel[:, :, place of r]^T.

        On `grid_graph(height, width).relations` it gives the convolution's numbers. Raises InputError for a
        convolution that does not map the nodes of a grid to the same nodes.
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
                f"to_conv2d: the layer has {self.num_relations} relations, expected 9, one a place of 3x3."
            )
        conv = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, bias=self.bias is not None).to(self.weight)
        with torch.no_grad():
            conv.weight.copy_(self.relation_weights().permute(2, 1, 0).view_as(conv.weight))
            if self.bias is not None and conv.bias is not None:
                conv.bias.copy_(self.bias)
        return conv

    def tie_relations(self) -> GCNConv:
        """The isotropic layer: one weight for all relations, the mean of the W_r.

        A GCNConv, since sum_r A_r H W = (sum_r A_r) H W. On an image's grid: with `a_tilde` it is the convolution
        whose kernel holds the same weight nine times, with `a_hat` the layer of Kipf & Welling.
        """
        layer = GCNConv(self.in_channels, self.out_channels, bias=self.bias is not None).to(self.weight)
        with torch.no_grad():
            layer.weight.copy_(self.relation_weights().mean(0))
            if self.bias is not None and layer.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def check_x(x: Any) -> None:
    """Raise InputTypeError unless x is a dense tensor or a SparseMatrix."""
    if not isinstance(x, (Tensor, SparseMatrix)):
        raise InputTypeError(f"x: got {type(x).__name__}, expected a tensor or a SparseMatrix.")
    if isinstance(x, Tensor):
        check_dense("x", x)


def check_operands(x: Any, a_hat: Any, in_channels: int, weight: Tensor, name: str = "a_hat") -> None:
    """Raise unless x [..., num_nodes, in_channels] and a_hat [*, num_nodes] fit each other and the weight.

    `name` is what errors call the matrix.
    """
    check_x(x)
    is_matrix = hasattr(a_hat, "shape") and hasattr(a_hat, "__matmul__")  # a Grid has the shape of its images
    if not is_matrix or not isinstance(getattr(a_hat, "dtype", x.dtype), torch.dtype):
        raise InputTypeError(
            f"{name}: got {type(a_hat).__name__}, expected a matrix: graph.a_hat, a SparseMatrix, a dense or sparse "
            "tensor; SparseMatrix.from_scipy and from_dense make one."
        )
    if isinstance(a_hat, Tensor) and not a_hat.is_floating_point():
        raise InputTypeError(
            f"{name}: got a tensor of {a_hat.dtype}, expected a matrix of floats; "
            "an edge_index becomes one through Graph.from_edges(edge_index, num_nodes).a_hat."
        )
    shape = x.shape
    if len(shape) not in (2, 3) or shape[-1] != in_channels:
        raise InputError(
            f"x: got shape {tuple(shape)}, expected [num_nodes, {in_channels}] or [batch, num_nodes, {in_channels}]; "
            f"the layer has in_channels={in_channels}."
        )
    if len(a_hat.shape) != 2 or a_hat.shape[1] != shape[-2]:
        raise InputError(
            f"{name}: got shape {tuple(a_hat.shape)}, expected [{shape[-2]}, {shape[-2]}] for x of shape {tuple(shape)}."
        )
    if isinstance(a_hat, Tensor) and a_hat.layout != torch.strided and len(shape) == 3:
        raise InputError(
            f"{name}: a torch sparse tensor takes x [num_nodes, C] alone; SparseMatrix.from_torch({name}) takes a batch."
        )
    check_like("x", x, weight)
    device = weight.device.type
    is_autocast = device != "meta" and torch.is_autocast_enabled(device)
    if isinstance(a_hat, Tensor) and a_hat.dtype != x.dtype and not is_autocast:
        raise InputError(f"{name}: got {a_hat.dtype}, but x is {x.dtype}; convert one with .to(dtype).")
    if getattr(a_hat, "device", weight.device) != weight.device:
        raise InputError(f"{name}: is on {a_hat.device}, but the layer on {weight.device}; move one with .to(device).")


# --------------------------------------------------------------------------------------------------------------------
# Which matrix a layer is called with
# --------------------------------------------------------------------------------------------------------------------


def wanted_operators(model: nn.Module) -> tuple[str, ...]:
    """The kinds of matrices with which every layer of the model computes its formula, the preferred one first.

    A layer names them in its attribute `operator`: a kind of `Graph.matrix`, or a tuple of kinds that do equally well. A
    module that names some speaks for all of its parts. () where no module names any; "l_tilde" is the paper's,
    "l_tilde(2.0)".

    Raises:
        InputError: no kind fits all layers, or a name is no kind.

    >>> wanted_operators(nn.Sequential(GCNConv(2, 3), nn.ReLU()))
    ('a_hat',)
    """
    layers = list(with_operator(model))
    kinds = {check_kind(f"{type(layer).__name__}.operator", kind): None for _, layer, named in layers for kind in named}
    fitting = tuple(kind for kind in kinds if all(_is_among(kind, named) for *_, named in layers))
    if layers and not fitting:
        each = ", ".join(f"{name} ({type(layer).__name__}) {how_to_make(named[0])}" for name, layer, named in layers)
        raise InputError(
            f"operator: the layers of {type(model).__name__} take different matrices: {each}. Pass the one that the model "
            'is called with as operator=, or name it in the class (operator = "a_hat").'
        )
    return tuple("l_tilde(2.0)" if kind == "l_tilde" else kind for kind in fitting)


def warn_if_of_another_kind(layer: Any, operator: Any, stacklevel: int = 5) -> None:
    """Warn where the operator is a Graph's matrix that the layer's formula has no use for.

    These are the kinds that neither `layer.operator` names nor `layer.accepts`. By default the warning points at the
    call of the layer in whose forward this is called.
    """
    if torch.compiler.is_compiling() or not isinstance(operator, SparseMatrix):
        return
    kind, accepted = operator.kind, getattr(layer, "accepts", ())
    if kind is None or kind == layer.operator or kind in accepted or operator.value.is_meta:
        return
    named = _names(layer)
    if not _is_among(kind, (*named, *accepted)):
        warnings.warn(
            f"{type(layer).__name__}: got {how_to_make(kind)}, but its formula takes {how_to_make(named[0])}. Pass that "
            "one; if this one is meant, matrix.with_value(matrix.value) makes it a matrix of your own, taken without a word.",
            stacklevel=stacklevel,
        )


def with_operator(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """(name, module, kinds) of each module that names kinds, those within one that does left out."""
    if kinds := _names(module):
        yield name or "model", module, kinds
        return
    for part, child in module.named_children():
        yield from with_operator(child, f"{name}.{part}" if name else part)


def _names(layer: nn.Module) -> tuple[str, ...]:
    """What its `operator` names; () where it is no name, but anything else of its author's."""
    named: Any = getattr(layer, "operator", ())
    named = (named,) if isinstance(named, str) else named
    return named if isinstance(named, tuple) and all(isinstance(kind, str) for kind in named) else ()


def _is_among(kind: str, named: Sequence[str]) -> bool:
    """Whether it is named, by itself or, with whatever λ_max, as l_tilde."""
    return kind in named or kind.partition("(")[0] in named
