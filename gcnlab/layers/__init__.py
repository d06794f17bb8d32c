"""Layers: dropout, graph convolutions, norms, readouts and poolings. A layer holds only weights and caches nothing."""

from .affine import glorot_uniform, linear
from .drop import dropout, relu_dropout
from .gcn import GCNConv, RelationalGCNConv
from .neighbours import GATConv, GINConv, SAGEConv
from .norm import GraphNorm
from .operators import wanted_operators
from .polynomial import APPNP, ChebConv, GCN2Conv, SGConv
from .readout import ClusterPool, Readout, TopKPool

__all__ = [
    "APPNP",
    "ChebConv",
    "ClusterPool",
    "GATConv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "GraphNorm",
    "Readout",
    "RelationalGCNConv",
    "SAGEConv",
    "SGConv",
    "TopKPool",
    "dropout",
    "glorot_uniform",
    "linear",
    "relu_dropout",
    "wanted_operators",
]
