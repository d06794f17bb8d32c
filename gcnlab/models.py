"""Models made of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import check_state, read_checkpoint
from .errors import CheckpointMismatchError, InputError
from .graph import Features
from .layers import GCNConv, dropout
from .sparse import SparseMatrix


class GCN(nn.Module):
    """Kipf & Welling's graph convolutional network (2017, equation 9 for two layers).

        H_0 = X,   H_{l+1} = relu(Â dropout(H_l) W_l + b_l),   logits = the last, without relu

    Dropout acts on the input of every layer, the first included.

    Args:
        in_channels: number of features.
        hidden_channels: width of every hidden layer.
        out_channels: number of classes.
        num_layers: at least 1.
        dropout: probability of zeroing an entry, in training.

    >>> import torch
    >>> model = GCN(4, 8, 3)
    >>> model(torch.ones(5, 4), torch.eye(5)).shape
    torch.Size([5, 3])
    """

    layerwise = True  # forward takes a list of one operator a layer, so that training can skip what the loss never sees

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"num_layers: got {num_layers}, expected at least 1.")
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(GCNConv(a, b) for a, b in pairwise(widths))
        self.num_layers, self.dropout = num_layers, dropout
        self.config = {
            "in_channels": in_channels, "hidden_channels": hidden_channels, "out_channels": out_channels,
            "num_layers": num_layers, "dropout": dropout,
        }  # fmt: skip

    def forward(self, x: Features, a_hat: Any) -> Tensor:
        """Logits [num_nodes, out_channels].

        Args:
            x: features, [num_nodes, in_channels] or [batch, num_nodes, in_channels].
            a_hat: the propagation matrix, or a list of one matrix a layer (`graph.receptive_field`).
        """
        operators = a_hat if isinstance(a_hat, Sequence) else [a_hat] * self.num_layers
        if len(operators) != self.num_layers:
            raise InputError(f"a_hat: got {len(operators)} matrices for {self.num_layers} layers.")
        h: Any = x
        for i, layer in enumerate(self.layers):
            h = layer(dropout(h, self.dropout, self.training), operators[i])
            if i < self.num_layers - 1:
                h = h.relu()
        return h


def load_model(path: str | PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """(model, header) of a checkpoint: the model of its first seed, in evaluation mode.

    Only classes of this module are made, from the plain arguments in the header; no code is read.

    Raises:
        CheckpointCorruptError: the file was cut short or changed.
        CheckpointMismatchError: it is of a class that gcnlab does not have, or its weights do not fit.
    """
    header, weights, _ = read_checkpoint(path)
    name, config = header["model"]["class"], header["model"]["config"]
    if name not in MODELS or config is None:
        raise CheckpointMismatchError(
            f"{path}: holds a {name}, expected one of {', '.join(MODELS)}; "
            "for a model of your own use checkpoint.read_checkpoint and load_state_dict."
        )
    model = MODELS[name](**config)
    state = {key: value[0] for key, value in weights.items()}
    check_state(path, state, model.state_dict())
    model.load_state_dict(state)
    return model.eval(), header


def summary(model: nn.Module, x: Features, a_hat: Any) -> str:
    """A table as Keras prints it: each layer, its output shape and its parameters; then the memory of a training step.

    The memory is an estimate in bytes of what one full-batch step holds at once: X, Â and X's transpose; weights,
    their gradients and Adam's two averages; and for each layer its product, its output, and the dropped-out input
    with its mask.
    """
    rows: list[tuple[str, str, int]] = []
    activations = 0

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal activations
        activations += 4 * output.numel() * output.element_size()
        count = sum(p.numel() for p in module.parameters())
        rows.append((f"{names[module]} ({type(module).__name__})", str(tuple(output.shape)), count))

    names = {module: name for name, module in model.named_modules() if not list(module.children())}
    handles = [module.register_forward_hook(record) for module in names]
    try:
        was_training = model.training
        with torch.no_grad():
            model.eval()(x, a_hat)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    total = sum(p.numel() for p in model.parameters())
    data = sum(_num_bytes(matrix) for matrix in (x, a_hat))
    memory = data + 4 * 4 * total + activations
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'layer':<{width}}  {'output shape':<16}  {'parameters':>10}"]
    lines += [f"{name:<{width}}  {shape:<16}  {count:>10,}" for name, shape, count in rows]
    lines.append(f"total: {total:,} parameters; a full-batch training step holds about {memory / 2**20:,.1f} MiB")
    return "\n".join(lines)


def _num_bytes(matrix: Any) -> int:
    """Bytes of a matrix; of a SparseMatrix with a transpose of its own, both."""
    if isinstance(matrix, SparseMatrix):
        own_transpose = matrix.T is matrix
        return (1 if own_transpose else 2) * sum(t.nbytes for t in (matrix.rowptr, matrix.col, matrix.value))
    return matrix.numel() * matrix.element_size()


MODELS: dict[str, type[nn.Module]] = {"GCN": GCN}
