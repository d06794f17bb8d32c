"""Models made of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .errors import InputError
from .graph import Features
from .layers import GCNConv, dropout


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

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"num_layers: got {num_layers}, expected at least 1.")
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(GCNConv(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.num_layers, self.dropout = num_layers, dropout

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
