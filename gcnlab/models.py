"""Models made of the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import check_state, read_checkpoint
from .checks import (
    check_choice,
    check_count,
    check_dense,
    check_depth,
    check_flag,
    check_like,
    check_list,
    check_probability,
)
from .deep import JumpingKnowledge, PairNorm, drop_node
from .errors import CheckpointCorruptError, CheckpointMismatchError, InputError, InputTypeError
from .files import check_fields
from .generators import generators_kept
from .image import Grid, coarsen, with_coordinates
from .image.grid import check_grid
from .layers import (
    ChebConv,
    GATConv,
    GCNConv,
    GINConv,
    GraphNorm,
    Readout,
    RelationalGCNConv,
    SAGEConv,
    SGConv,
    dropout,
    glorot_uniform,
    linear,
    relu_dropout,
)
from .layers.affine import Linear
from .layers.fused import can_be_fused, fused_layers
from .layers.norm import BatchNorm
from .layers.operators import check_propagated, check_weighted, check_x
from .layers.readout import readout_kinds
from .memory import estimate_step
from .segments import multiplicity_of
from .sparse import Features, SparseMatrix
from .sparse.kinds import is_kind
from .trace import run_once

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "graph": GraphNorm, "pair": lambda channels: PairNorm(),
}  # fmt: skip
_ONE_HOP: tuple[Any, ...] = (GCNConv, SAGEConv, GATConv, GINConv)  # a row of the output reads the node and neighbours
_CONVS = {conv.__name__: conv for conv in (*_ONE_HOP, ChebConv, SGConv)}


def _conv_of(conv: Any) -> Callable[[int, int], nn.Module]:
    """The convolution, or that of gcnlab which has this name."""
    if isinstance(conv, str):
        return _CONVS[check_choice("conv", conv, tuple(_CONVS))]
    if not callable(conv):
        raise InputTypeError(f"conv: got {conv!r}, expected what makes a layer, such as GCNConv itself.")
    return conv


class GCN(nn.Module):
    """Kipf & Welling's graph convolutional network (2017, equation 9 for two layers), and the block made of it.

        H_0 = X,   H_{l+1} = relu(norm(conv_l(dropout(H_l), Â))),   logits = the last, without norm and relu

    with conv(H, Â) = Â H W + b. Dropout acts on the input of every layer, the first included.

    The options make it the block of "Classic GNNs are strong baselines" (Luo et al. 2024): with residual=True each
    convolution, the last one too, is conv(H, Â) + H R + c with a learned R; input_linear=True begins with
    H_0 = X W_in + b_in; output_linear=True ends with H_L W_out + b_out, so that all L convolutions have a norm and a relu
    after them. That paper's networks have output_linear=True, input_dropout=0.0. Linear maps start as torch's do.

    Args:
        in_channels: number of features.
        hidden_channels: width of every hidden layer.
        out_channels: number of classes.
        num_layers: convolutions, at least 1.
        dropout: probability of zeroing an entry of what a layer or the last linear map reads, in training.
        drop_node: probability of zeroing all features of a node, in training (`deep.drop_node`).
        norm: of the hidden layers: "batch" (Hu et al. 2020), "layer" (Ba et al. 2016), "graph" (`GraphNorm`), "pair"
            (`deep.PairNorm`) or None; True and False mean "batch" and None. All nodes count in each but "layer", so that
            training computes all of them.
        input_dropout: of X; by default `dropout`.
        residual: whether to add H R + c to each convolution.
        input_linear: whether to begin with a linear map, whose output dropout acts on, too.
        output_linear: whether to end with one.
        conv: another convolution instead of `GCNConv`, such as `SAGEConv`: called as conv(in_channels, out_channels),
            then as conv(x, operator). `fit` and `predict` give it the matrix that it names in `operator`: Â, or A for
            `GINConv`, D^-1 A for `SAGEConv`, Ã for `GATConv`, L̃ for `ChebConv`. The name of a gcnlab layer works, too.
        jumping_knowledge: "cat" or "max" (Xu et al. 2018): the last linear map, which this brings along, reads all hidden
            layers side by side, or their maximum.

    >>> import torch
    >>> model = GCN(4, 8, 3)
    >>> model(torch.ones(5, 4), torch.eye(5)).shape
    torch.Size([5, 3])
    >>> block = GCN(4, 8, 3, 6, norm="layer", input_dropout=0.0, residual=True, output_linear=True)
    >>> block(torch.ones(5, 4), torch.eye(5)).shape
    torch.Size([5, 3])
    """

    layerwise = True  # forward takes a list of one operator a layer, so that training can skip what the loss never sees

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.5,
        drop_node: float = 0.0,
        norm: str | bool | None = None,
        input_dropout: float | None = None,
        *,
        residual: bool = False,
        input_linear: bool = False,
        output_linear: bool = False,
        conv: str | Callable[[int, int], nn.Module] = GCNConv,
        jumping_knowledge: str | None = None,
    ) -> None:
        super().__init__()
        in_channels = check_count("in_channels", in_channels, 1)
        hidden_channels = check_count("hidden_channels", hidden_channels, 1)
        out_channels = check_count("out_channels", out_channels, 1)
        num_layers = check_depth(num_layers)
        dropout, drop_node = check_probability("dropout", dropout), check_probability("drop_node", drop_node)
        input_dropout = None if input_dropout is None else check_probability("input_dropout", input_dropout)
        check_choice("norm", norm, (None, *_NORMS, False, True))
        kind: Any = "batch" if norm is True else norm or None
        for key, flag in {"residual": residual, "input_linear": input_linear, "output_linear": output_linear}.items():
            check_flag(key, flag)
        check_choice("jumping_knowledge", jumping_knowledge, (None, "cat", "max"))
        conv = _conv_of(conv)
        ends_linear = output_linear or jumping_knowledge is not None
        self.num_hidden = num_layers if ends_linear else num_layers - 1
        first = hidden_channels if input_linear else in_channels
        widths = [first, *[hidden_channels] * self.num_hidden, *([] if ends_linear else [out_channels])]
        self.layers = nn.ModuleList(conv(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_NORMS[kind](hidden_channels) for _ in range(self.num_hidden)) if kind else None
        self.residuals = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths)) if residual else None
        self.input = Linear(in_channels, hidden_channels) if input_linear else None
        self.jump = None if jumping_knowledge is None else JumpingKnowledge(jumping_knowledge)
        read = hidden_channels * (num_layers if jumping_knowledge == "cat" else 1)
        self.output = Linear(read, out_channels) if ends_linear else None
        # Others read H_l at the very nodes that they compute, which a list of matrices does not name, or all nodes.
        kinds = {type(layer) for layer in self.layers}
        self.reads_own_rows = residual or kinds != {GCNConv}
        self.layerwise = not self.reads_own_rows and kind in (None, "layer") and self.jump is None
        self.by_layer = kinds <= set(_ONE_HOP) and kind not in ("graph", "pair") and self.jump is None
        self.num_layers, self.dropout, self.drop_node = num_layers, dropout, drop_node
        self.input_dropout = dropout if input_dropout is None else input_dropout
        name = next((name for name, layer in _CONVS.items() if layer is conv), None)
        options = {
            "residual": residual, "input_linear": input_linear, "output_linear": output_linear,
            "conv": None if conv is GCNConv else name, "jumping_knowledge": jumping_knowledge,
        }  # fmt: skip
        self.config = None if name is None else {  # another conv is code, which no file of gcnlab's holds
            "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
            "num_layers": num_layers, "dropout": dropout, "drop_node": drop_node, "input_dropout": input_dropout,
            # as files of 1.0 have them, so that their trainings can be resumed
            "norm": {"batch": True, None: False}.get(kind, kind), **{key: v for key, v in options.items() if v},
        }  # fmt: skip

    def forward(self, x: Features, a_hat: Any, hidden: bool = False) -> Any:
        """Logits [num_nodes, out_channels]; with hidden=True (logits, [H_1, ...]), the nodes' embeddings too.

        Args:
            x: features, [num_nodes, in_channels] or [batch, num_nodes, in_channels].
            a_hat: the matrix that the convolutions take, or a list of one a layer (`graph.receptive_field`).
            hidden: whether to return what each hidden layer made, [num_nodes, hidden_channels] after its relu.
        """
        check_flag("hidden", hidden)
        operators = a_hat if isinstance(a_hat, Sequence) else [a_hat] * self.num_layers
        if len(operators) != self.num_layers:
            raise InputError(f"a_hat: got {len(operators)} matrices for {self.num_layers} layers.")
        h: Any = dropout(drop_node(x, self.drop_node, self.training), self.input_dropout, self.training)
        if self.input is not None:
            h = dropout(self.input(h), self.dropout, self.training)
        embeddings, read = [], []
        for i, operator in enumerate(operators):
            h = self._convolved(i, h, operator)
            if i == self.num_hidden:
                break
            if hidden:
                h = h.relu()
                embeddings.append(h)
            h = relu_dropout(h, self.dropout, self.training)
            read.append(h)
        if self.output is not None:
            h = self.output(h if self.jump is None else self.jump(read))
        return (h, embeddings) if hidden else h

    def _convolved(self, i: int, h: Any, operator: Any) -> Any:
        """norm(conv_i(H, Â) + H R_i + c_i), before the relu; of a last convolution without the norm."""
        z = self.layers[i](h, operator)
        if self.residuals is not None:
            z = z + self.residuals[i](h)
        if self.norms is None or i == self.num_hidden:
            return z
        if z.dim() == 3 and isinstance(self.norms[i], nn.BatchNorm1d):
            return self.norms[i](z.flatten(0, 1)).view(z.shape)
        return self.norms[i](z)

    def layer(self, i: int, h: Any, a_hat: Any) -> Tensor:
        """H_{i+1} of H_i without dropout, so that `predict` can go through a large graph layer by layer.

        The first begins with the first linear map, the last ends with the last one. A model with a norm "graph" or "pair",
        with jumping knowledge, or with a convolution that reads more than neighbours has no such layers.
        """
        if check_count("i", i) >= self.num_layers:
            raise InputError(f"i: got {i}, but the model has {self.num_layers} layers, from 0.")
        if not self.by_layer:
            raise InputError("layer: rows of this model's layers depend on more than their neighbours' rows before.")
        h = self._convolved(i, h if self.input is None or i else self.input(h), a_hat)
        h = h.relu() if i < self.num_hidden else h
        return h if self.output is None or i < self.num_layers - 1 else self.output(h)


class GRAND(nn.Module):
    """Random propagation, then a perceptron (Feng et al. 2020; with rows of a diffusion matrix Feng et al. 2022).

        P̃ = dropout(P),   H = P̃ dropout(X) W_1 + b_1,   logits = dropout(relu(H)) W_2 + b_2

    Each training step draws which neighbours a node hears of, so that samples of one node differ; `fit` with a
    `Consistency` makes them agree. P̃ (X W) is (P̃ X) W: the weight goes first, and few columns are propagated. With
    norm=True it can't, since what is propagated is normalised, as the papers do on PubMed:

        H = dropout(BatchNorm(rows of P̃ X divided by their lengths)) W_1 + b_1

    Args:
        in_channels: number of features.
        hidden_channels: width of the hidden layer; with None there is none, and H are the logits.
        out_channels: number of classes.
        input_dropout, dropout: probability of zeroing an entry of X, of the hidden layer, in training.
        drop_node: probability of zeroing an entry of P, in training.
        norm: whether to normalise what is propagated.

    >>> import torch
    >>> GRAND(4, 8, 3)(torch.ones(5, 4), SparseMatrix.eye(5)).shape
    torch.Size([5, 3])
    """

    layerwise, num_layers = True, 1  # a row of the output reads one row of P

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | None,
        out_channels: int,
        input_dropout: float = 0.5,
        dropout: float = 0.5,
        drop_node: float = 0.5,
        norm: bool = False,
    ) -> None:
        super().__init__()
        in_channels = check_count("in_channels", in_channels, 1)
        out_channels = check_count("out_channels", out_channels, 1)
        hidden_channels = None if hidden_channels is None else check_count("hidden_channels", hidden_channels, 1)
        input_dropout = check_probability("input_dropout", input_dropout)
        dropout = check_probability("dropout", dropout)
        drop_node = check_probability("drop_node", drop_node)
        check_flag("norm", norm)
        self.norm = nn.BatchNorm1d(in_channels) if norm else None
        self.conv = GCNConv(in_channels, out_channels if hidden_channels is None else hidden_channels)
        self.head = None if hidden_channels is None else nn.Linear(hidden_channels, out_channels)
        if self.head is not None:
            glorot_uniform(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.input_dropout, self.dropout, self.drop_node = input_dropout, dropout, drop_node
        self.config = {
            "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
            "input_dropout": input_dropout, "dropout": dropout, "drop_node": drop_node, "norm": norm,
        }  # fmt: skip

    def forward(self, x: Features, p: Any) -> Tensor:
        """Logits [num_targets, out_channels].

        Args:
            x: features, [num_nodes, in_channels].
            p: a SparseMatrix [num_targets, num_nodes], such as `propagate.diffusion` makes; or a list of that one.
        """
        (p,) = p if isinstance(p, Sequence) else (p,)
        if not isinstance(p, SparseMatrix):
            raise InputTypeError(f"p: got {type(p).__name__}, expected a SparseMatrix, whose entries are dropped.")
        p = dropout(p, self.drop_node, self.training)
        if self.norm is None:
            h = self.conv(dropout(x, self.input_dropout, self.training), p)
        else:
            check_weighted(x, self.conv.weight)
            check_propagated(p, x, "p", square=False)
            h = p @ (x.to_dense() if isinstance(x, SparseMatrix) else x)
            h = dropout(self.norm(nn.functional.normalize(h)), self.input_dropout, self.training)
            h = linear(h, self.conv.weight, self.conv.bias)
        return h if self.head is None else self.head(relu_dropout(h, self.dropout, self.training))


class SIGN(nn.Module):
    """A perceptron on features that were propagated beforehand (Frasca et al. 2020), read in batches of nodes.

        Z = dropout(relu(norm([X_0 W_0 + b_0 | ... | X_K W_K + b_K]))),   logits = MLP(Z)

    X_k are rows of S^k X (`precompute.hops`), or of any other features. It has relu where the paper has PReLU. With
    combine="sum" the first layer is X_0 W_0 + ... + X_K W_K + b, that of an MLP on [X_0 | ... | X_K]. With num_layers=1
    this sum is the logits: on S^K X alone simplified graph convolution (SGC, Wu et al. 2019), on X alone a logistic
    regression.

    Args:
        in_channels: the number of columns of each X_k, such as `NodeRows.widths`.
        hidden_channels: width of W_k and of the hidden layers.
        out_channels: number of classes.
        num_layers: linear maps one after the other, at least 1.
        dropout, input_dropout: probability of zeroing an entry of a hidden layer, of X_k, in training.
        norm: whether to normalise the hidden layers over the batch.
        combine: "cat" or "sum".

    >>> import torch
    >>> SIGN([4, 4, 2], 8, 3)([torch.ones(5, 4), torch.ones(5, 4), torch.ones(5, 2)]).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.5,
        input_dropout: float = 0.0,
        norm: bool = True,
        combine: str = "cat",
    ) -> None:
        super().__init__()
        in_channels = _check_counts("in_channels", in_channels)
        hidden_channels = check_count("hidden_channels", hidden_channels, 1)
        out_channels = check_count("out_channels", out_channels, 1)
        num_layers = check_depth(num_layers)
        dropout = check_probability("dropout", dropout)
        input_dropout = check_probability("input_dropout", input_dropout)
        check_flag("norm", norm)
        check_choice("combine", combine, ("cat", "sum"))
        self.cat = combine == "cat" and num_layers > 1
        first = hidden_channels if num_layers > 1 else out_channels
        self.inputs = nn.ModuleList(nn.Linear(c, first, bias=self.cat or k == 0) for k, c in enumerate(in_channels))
        width = first * (len(in_channels) if self.cat else 1)
        widths = [width, *[hidden_channels] * (num_layers - 2), out_channels][:num_layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[: len(self.layers)]) if norm else None
        self.dropout, self.input_dropout = dropout, input_dropout
        self.config = {
            "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
            "num_layers": num_layers, "dropout": dropout, "input_dropout": input_dropout, "norm": norm,
            "combine": combine,
        }  # fmt: skip

    def forward(self, xs: Sequence[Tensor]) -> Tensor:
        """Logits [num_rows, out_channels] of the rows X_k, each [num_rows, in_channels[k]]."""
        if len(xs) != len(self.inputs):
            raise InputError(f"xs: got {len(xs)} matrices, expected {len(self.inputs)}, one for each of in_channels.")
        inputs: Any = self.inputs
        for k, (x, f) in enumerate(zip(xs, inputs, strict=True)):
            check_dense(f"xs[{k}]", x)
            if x.dim() != 2 or x.shape[1] != f.in_features:
                raise InputError(f"xs[{k}]: got shape {tuple(x.shape)}, expected [num_rows, {f.in_features}].")
            check_like(f"xs[{k}]", x, f.weight)
        parts = [f(dropout(x, self.input_dropout, self.training)) for f, x in zip(self.inputs, xs, strict=True)]
        h = torch.cat(parts, 1) if self.cat else torch.stack(parts).sum(0)
        for i, layer in enumerate(self.layers):
            h = h if self.norms is None else self.norms[i](h)
            h = layer(relu_dropout(h, self.dropout, self.training))
        return h


class GraphClassifier(nn.Module):
    """Graph convolutions, a readout, and a head: one prediction a graph.

        H_0 = X,   H_{l+1} = relu(norm(conv_l(H_l, Â))),   logits = head(dropout(readout(H_L, P)))

    With jumping_knowledge="cat" (Xu et al. 2018) the readouts of all layers H_1 .. H_L stand side by side before the
    head; a linear head on them is the sum of one prediction a layer, as in GIN (Xu et al. 2019).

    Args:
        in_channels: number of features.
        hidden_channels: width of every layer.
        out_channels: classes; or targets, where the loss says so.
        num_layers: convolutions, at least 1.
        conv: called as conv(in_channels, out_channels), then as conv(x, a_hat). `fit` and `predict` give it the matrix
            that the layer names in `operator`: Â, or A for `GINConv`, D^-1 A for `SAGEConv`, L̃ for `ChebConv`.
        readout: a kind of `Readout`, such as "mean" or "mean+max".
        norm: "batch", "graph" (`GraphNorm`) or None.
        jumping_knowledge: "last" or "cat".
        dropout: probability of zeroing an entry of the head's input, in training.
        head_layers: 1 for a linear head, 2 for one hidden layer.

    >>> import torch
    >>> model = GraphClassifier(4, 8, 3, conv=GCNConv, readout="mean")
    >>> model(torch.ones(5, 4), torch.eye(5), torch.tensor([0, 0, 1, 1, 1])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 3,
        conv: Callable[[int, int], nn.Module] = GCNConv,
        readout: str = "mean",
        norm: str | None = "batch",
        jumping_knowledge: str = "last",
        dropout: float = 0.5,
        head_layers: int = 1,
    ) -> None:
        super().__init__()
        in_channels = check_count("in_channels", in_channels, 1)
        hidden_channels = check_count("hidden_channels", hidden_channels, 1)
        out_channels = check_count("out_channels", out_channels, 1)
        num_layers = check_depth(num_layers)
        conv = _conv_of(conv)
        readout_kinds("readout", readout)
        check_choice("norm", norm, ("batch", "graph", None))
        check_choice("jumping_knowledge", jumping_knowledge, ("last", "cat"))
        dropout, head_layers = check_probability("dropout", dropout), check_choice("head_layers", head_layers, (1, 2))
        self.config = None  # another conv is code, which no file of gcnlab's holds
        if conv is GCNConv:
            self.config = {
                "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
                "num_layers": num_layers, "readout": readout, "norm": norm, "jumping_knowledge": jumping_knowledge,
                "dropout": dropout, "head_layers": head_layers,
            }  # fmt: skip
        widths = [in_channels, *[hidden_channels] * num_layers]
        self.convs = nn.ModuleList(conv(a, b) for a, b in pairwise(widths))
        make: Any = GraphNorm if norm == "graph" else BatchNorm
        self.norms = nn.ModuleList(make(b) for b in widths[1:]) if norm else None
        self.norm = norm
        self.readout = Readout(readout, hidden_channels)
        self.jumping_knowledge, self.dropout = jumping_knowledge, dropout
        width = self.readout.width(hidden_channels) * (num_layers if jumping_knowledge == "cat" else 1)
        self.head = (
            nn.Linear(width, out_channels)
            if head_layers == 1
            else nn.Sequential(nn.Linear(width, hidden_channels), nn.ReLU(), nn.Linear(hidden_channels, out_channels))
        )

    @property
    def merges_nodes(self) -> bool:
        """Whether alike nodes may be merged: the layers sum over neighbours, the readout knows no single nodes."""
        return all(type(conv) is GCNConv for conv in self.convs) and "sort" not in self.readout.kinds

    @property
    def merges_by_layer(self) -> bool:
        """Whether nodes of several graphs may be merged, which have no norm in common where it is by graph."""
        return self.merges_nodes and self.norm != "graph"

    @property
    def num_layers(self) -> int:
        return len(self.convs)

    def forward(self, x: Features, a_hat: Any, batch: Any = None) -> Tensor:
        """Logits [num_graphs, out_channels].

        Args:
            x: features of all nodes, [num_nodes, in_channels].
            a_hat: block-diagonal propagation matrix; or a list of one [n_l, n_{l-1}] per layer.
            batch: which node is of which graph, as `Readout` takes it; None for a single graph. With a list of matrices,
                the list of P [num_graphs, n_l] (`GraphLoader(num_layers=...)`).
        """
        num = len(self.convs)
        if isinstance(a_hat, (list, tuple)):
            operators, graphs, counts = a_hat, batch, [multiplicity_of(p) for p in batch]
        else:
            operators, graphs, counts = [a_hat] * num, [batch] * num, [multiplicity_of(batch)] * num
        fused = can_be_fused(self.convs, self.norms, x, operators, counts)
        hidden = (
            fused_layers(self.convs, self.norms, x, operators, counts)
            if fused
            else self._layers(x, operators, graphs if self.norm == "graph" else counts)
        )
        if self.jumping_knowledge != "cat":
            r = self.readout(hidden[-1], graphs[-1])
        elif not self.training or isinstance(a_hat, (list, tuple)) or not self.readout.is_by_channel:
            r = torch.cat([self.readout(h, p) for h, p in zip(hidden, graphs, strict=True)], 1)
        else:  # one product with P for all layers; its columns are then put layer by layer
            r = self.readout(torch.cat(list(hidden), 1), batch)
            r = r.view(len(r), len(self.readout.kinds), num, -1).transpose(1, 2).flatten(1)
        return self.head(dropout(r, self.dropout, self.training))

    def _layers(self, x: Features, operators: Sequence[Any], nodes: Sequence[Any]) -> Sequence[Tensor]:
        """H_1 .. H_L, one module after the other; `nodes` is what the norms are told of them, counts or graphs."""
        h: Any = x
        hidden = []
        for i, (conv, operator) in enumerate(zip(self.convs, operators, strict=True)):
            h = conv(h, operator)
            h = (h if self.norms is None else self.norms[i](h, nodes[i])).relu()
            hidden.append(h)
        return hidden


class NoStructure(nn.Module):
    """The baseline that sees no edges: logits = MLP(readout(relu(X W + b), P)), a set of nodes for each graph.

    A graph network that does not beat it has learnt nothing from the graph. Its forward takes, and ignores, a_hat, so
    that it stands where a GraphClassifier stands.

    Args:
        in_channels: number of features.
        hidden_channels: width of both hidden layers.
        out_channels: classes.
        dropout: probability of zeroing an entry of the second hidden layer, in training.
        readout: a kind of `Readout`; the sum is the deep multisets of Errica et al. (2020).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        dropout: float = 0.5,
        readout: str = "sum",
    ) -> None:
        super().__init__()
        in_channels = check_count("in_channels", in_channels, 1)
        hidden_channels = check_count("hidden_channels", hidden_channels, 1)
        out_channels, dropout = check_count("out_channels", out_channels, 1), check_probability("dropout", dropout)
        self.weight = nn.Parameter(glorot_uniform(torch.empty(in_channels, hidden_channels)))
        self.bias = nn.Parameter(torch.zeros(hidden_channels))
        readout_kinds("readout", readout)
        self.readout, self.dropout = Readout(readout, hidden_channels), dropout
        self.hidden = nn.Linear(self.readout.width(hidden_channels), hidden_channels)
        self.out = nn.Linear(hidden_channels, out_channels)
        self.config = {
            "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
            "dropout": dropout, "readout": readout,
        }  # fmt: skip

    @property
    def merges_nodes(self) -> bool:
        """Whether alike nodes may be merged: the readout knows no single nodes."""
        return "sort" not in self.readout.kinds

    def forward(self, x: Features, a_hat: Any, batch: Any = None) -> Tensor:
        """Logits [num_graphs, out_channels]; `a_hat` is not read."""
        check_x(x)
        if len(x.shape) not in (2, 3) or x.shape[-1] != len(self.weight):
            raise InputError(f"x: got shape {tuple(x.shape)}, expected [num_nodes, {len(self.weight)}].")
        check_like("x", x, self.weight)
        r = self.readout(linear(x, self.weight, self.bias).relu(), batch)
        return self.out(dropout(self.hidden(r).relu(), self.dropout, self.training))


class GridGCN(nn.Module):
    """A graph network on the grid of an image's pixels: convolutions, coarser and coarser grids, a readout, a head.

        level 1..L:   H ← relu(norm(conv(H))),   then  H ← relu(norm(conv(H)) + H)  num_layers - 1 times
        in between:   H_k ← max over the 2x2 cluster k of H_i
        logits:       head(readout(H))

    With "relational" convolutions (one weight an offset, Σ_r A_r H W_r, `RelationalGCNConv`) a pixel knows where its
    neighbours stand; with "isotropic" ones (Â H W, `GCNConv`) it does not. Nothing here sees an image: the weights fit
    grids of any size.

    Args:
        in_channels: of a pixel.
        channels: the width of each level.
        num_classes: classes.
        num_layers: convolutions of a level, for all levels or for each.
        conv: "relational" or "isotropic".
        readout: as `Readout` takes it; "flatten" needs `num_nodes`.
        coordinates: append each pixel's place to its features (`image.with_coordinates`).
        num_nodes: of the coarsest grid, for a readout that keeps places.
        num_relations: of a pixel to its neighbours and itself: 9 where `grid_graph` has connectivity 8, 5 where it has 4.

    >>> from gcnlab.image import grid_graph
    >>> GridGCN(1, [4, 8], 10)(torch.rand(2, 35, 1), grid_graph(5, 7)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        num_classes: int,
        num_layers: int | Sequence[int] = 2,
        conv: str = "relational",
        readout: str = "mean+max",
        coordinates: bool = False,
        num_nodes: int | None = None,
        num_relations: int = 9,
    ) -> None:
        super().__init__()
        in_channels, channels = check_count("in_channels", in_channels, 1), _check_counts("channels", channels)
        depths = (
            _check_counts("num_layers", num_layers)
            if isinstance(num_layers, Sequence)
            else [check_depth(num_layers)] * len(channels)
        )
        if len(depths) != len(channels):
            raise InputError(
                f"num_layers: got {num_layers} for {len(channels)} levels of channels, expected one for each."
            )
        num_classes = check_count("num_classes", num_classes, 1)
        num_relations = check_count("num_relations", num_relations, 1)
        num_nodes = None if num_nodes is None else check_count("num_nodes", num_nodes, 1)
        check_choice("conv", conv, ("relational", "isotropic"))
        readout_kinds("readout", readout)
        check_flag("coordinates", coordinates)
        self.coordinates, self.relational, self.num_relations = coordinates, conv == "relational", num_relations
        self.levels: Any = nn.ModuleList()
        width = in_channels + 2 * coordinates
        for c, depth in zip(channels, depths, strict=True):
            self.levels.append(nn.ModuleList(self._layer(width if i == 0 else c, c) for i in range(depth)))
            width = c
        self.readout = Readout(readout, width, num_nodes=num_nodes)
        self.head = nn.Linear(self.readout.width(width), num_classes)
        self.config = {
            "in_channels": in_channels, "channels": channels, "num_classes": num_classes, "num_layers": depths,
            "conv": conv, "readout": readout, "coordinates": coordinates, "num_nodes": num_nodes,
            "num_relations": num_relations,
        }  # fmt: skip

    def _layer(self, in_channels: int, out_channels: int) -> nn.ModuleDict:
        conv = (
            RelationalGCNConv(in_channels, out_channels, self.num_relations, bias=False)  # the norm has a bias
            if self.relational
            else GCNConv(in_channels, out_channels, bias=False)
        )
        return nn.ModuleDict(
            {
                "conv": conv,
                "norm": nn.BatchNorm1d(out_channels),
            }
        )

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Logits [batch, num_classes].

        Args:
            x: signals [batch, num_nodes, in_channels], such as `image.to_signals` gives.
            grid: the graph they are on, from `image.grid_graph`.
        """
        check_grid(grid)
        h = with_coordinates(x, grid) if self.coordinates else x
        for i, level in enumerate(self.levels):
            if i:
                h, grid = coarsen(h, grid, "max")
            operator = grid.relations if self.relational else grid.operator
            for j, layer in enumerate(level):
                z = layer["norm"](layer["conv"](h, operator).flatten(0, 1)).view(h.shape[0], grid.num_nodes, -1)
                h = (z + h if j else z).relu()
        return self.head(self.readout(h))


def _check_counts(name: str, counts: Sequence[int]) -> list[int]:
    """The counts as ints if they are a list of one or more, each at least 1."""
    return [check_count(f"{name}[{i}]", count, 1) for i, count in enumerate(check_list(name, counts, "integers", 1))]


# What `load_model` and `gcnlab predict` read in a checkpoint's header
_HEADER: dict[str, Any] = {
    "model": ({"class": str}, None), "recipe": (str, None), "dataset": (str, None),
    "features": (dict, None), "class_names": (list, None), "image_shape": ([int], None),
    "mirrored": (bool, None), "temperature": (float, None), "seeds": ([int], None),
}  # fmt: skip


def _check_config(path: str | PathLike[str], name: str, config: Any, state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointMismatchError unless the arguments make a model of these weights; no memory is taken for it."""
    if not isinstance(config, dict):
        raise CheckpointMismatchError(f"{path}: its config does not make a {name}: it is {config!r}, expected a dict.")
    num_weights = sum(value.numel() for value in state.values())
    for key, value in config.items():
        # Each unit of a width or a depth has a weight of its own, so that a larger one is not of these weights.
        large = [n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int) and n > num_weights]
        if large or (isinstance(value, list) and len(value) > num_weights):
            raise CheckpointMismatchError(
                f"{path}: its config does not make a {name}: {key} is {large[0] if large else len(value)}, and the file holds "
                f"{num_weights} numbers."
            )
    try:
        with torch.device("meta"):  # which has shapes, and no memory
            model = MODELS[name](**config)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise CheckpointMismatchError(f"{path}: its config does not make a {name}: {problem}.") from problem
    check_state(path, state, model.state_dict())


@generators_kept()
def load_model(path: str | PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """(model, header) of a checkpoint: the model of its first seed, in evaluation mode.

    `predict` calls it with the kind of matrix that it was trained with, which the file says (`model.trained_operator`).
    Only classes of this module are made, from the plain arguments in the header; no code is read.
    header["temperature"], where there is one, is the T of its probabilities softmax(logits / T) (`metrics.fit_temperature`).

    Raises:
        CheckpointCorruptError: the file was cut short or changed, or its header has a field of another type.
        CheckpointMismatchError: it is of a class that gcnlab does not have, or its weights, config and class_names do not fit
            each other; no model is made before that is known.
    """
    header, weights, _ = read_checkpoint(path)
    check_fields(path, header, _HEADER, "its header is not that of a model", CheckpointCorruptError)
    described = header.get("model") or {}
    name, config = described.get("class"), described.get("config")
    if name not in MODELS or config is None:
        problem = f"expected one of {', '.join(MODELS)}" if name not in MODELS else "with layers that it does not tell"
        raise CheckpointMismatchError(
            f"{path}: holds a {name}, {problem}; "
            "for a model of your own use checkpoint.read_checkpoint and load_state_dict."
        )
    if bad := next((key for key, value in weights.items() if not value.dim() or not len(value)), None):
        raise CheckpointCorruptError(
            path, f"{bad} has shape {list(weights[bad].shape)}, expected one entry per seed first."
        )
    state = {key: value[0] for key, value in weights.items()}
    _check_config(path, name, config, state)
    model = MODELS[name](**config)
    model.load_state_dict(state)
    classes, outputs = header.get("class_names"), config.get("out_channels", config.get("num_classes"))
    if classes and len(classes) != outputs:
        raise CheckpointMismatchError(f"{path}: has {len(classes)} class_names for {outputs} outputs of its model.")
    if header.get("temperature") is not None and not header["temperature"] > 0:
        raise CheckpointMismatchError(f"{path}: its temperature is {header['temperature']}, expected a number above 0.")
    if (operator := header.get("operator")) not in (None, ""):  # of images there is none, nor in the files of 1.0
        if operator != "own" and not is_kind(operator):
            raise CheckpointMismatchError(f"{path}: its operator is {operator!r}, which names no matrix of a Graph.")
        model.trained_operator = operator
    return model.eval(), header


@generators_kept()
def summary(model: nn.Module, *inputs: Any) -> str:
    """A table as Keras prints it: each layer, its output shape, its parameters and how they are counted.

    For a model on one graph it also estimates the memory of a training step on the whole graph (`memory.estimate_step`).
    `fit` computes only the receptive field of the labelled nodes, and needs less.

    Args:
        model: rows are its modules with parameters of their own or without parts, in the order of their definition.
        inputs: what its forward takes: x and a_hat, or for a model of images only those.

    >>> model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32))
    >>> print(summary(model, torch.rand(1, 1, 28, 28)))
    layer            output shape     parameters
    0 (Conv2d)       (1, 32, 26, 26)         320 = 32 x 3² x 1 + 32
    1 (BatchNorm2d)  (1, 32, 26, 26)          64 = 2 x 32 (+ 2 x 32 not trained)
    total: 384 parameters
    trainable: 384 parameters
    """
    names = {
        module: f"{name} ({type(module).__name__})".lstrip()
        for name, module in model.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    }

    def shape(module: nn.Module, output: Any) -> str | None:
        return str(tuple(output.shape)) if isinstance(output, Tensor) else None

    calls, _ = run_once(model, inputs, names, keep_output=shape)
    shapes = {call.module: call.output for call in calls if call.output is not None}
    rows = [("layer", "output shape", "parameters", "")]
    for module, name in names.items():
        count = sum(p.numel() for p in module.parameters(recurse=False))
        rows.append((name, shapes.get(module, "-"), f"{count:,}", f" = {_formula(module)}" if count else ""))
    width, shape_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"{name:<{width}}  {shape:<{shape_width}}  {count:>10}{how}" for name, shape, count, how in rows]
    total = sum(p.numel() for p in model.parameters())
    lines.append(f"total: {total:,} parameters")
    if len(inputs) == 2 and isinstance(inputs[1], (SparseMatrix, Tensor)):  # x and a_hat
        memory = estimate_step(model, *inputs)
        lines[-1] += f"; a step on the whole graph holds about {memory / 2**20:,.1f} MiB of tensors"
    lines.append(f"trainable: {sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters")
    return "\n".join(lines)


def _formula(layer: nn.Module) -> str:
    """How the parameters of a layer are counted: its weight, then the others; in x out + out for GCNConv, for one."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        learned = f"2 x {layer.num_features}"  # scale and shift; mean and variance are kept, not trained
        return learned + (f" (+ {learned} not trained)" if layer.track_running_stats else "")
    weight, *others = ([str(size) for size in p.shape] or ["1"] for p in layer.parameters(recurse=False))
    if isinstance(layer, nn.Conv2d):  # kernels x size² x channels
        kernels, channels, height, width = weight
        weight = [kernels, f"{height}²" if height == width else f"{height} x {width}", channels]
    elif isinstance(layer, nn.Linear):  # torch stores it as out x in
        weight = weight[::-1]
    return " + ".join(" x ".join(sizes) for sizes in (weight, *others))


MODELS: dict[str, type[nn.Module]] = {
    model.__name__: model for model in (GCN, GRAND, SIGN, GraphClassifier, NoStructure, GridGCN)
}
