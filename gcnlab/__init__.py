"""gcnlab: graph convolutional networks that read like the paper."""

__version__ = "1.0.0"

import os

# torch reads it with its first tensor: arrays of 2 MiB or more in pages of 2 MiB, where the system has them. A page is
# zeroed when it is first touched, and 4 KiB at a time that takes several times as long as a pass over the array. 0
# turns it off.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from . import distributed, image, metrics, scale
from .collection import GraphBatch, GraphCollection, GraphLoader, batch
from .data import load
from .errors import GcnlabError
from .graph import Graph
from .layers import GCNConv, RelationalGCNConv, dropout
from .memory import keep_freed_memory
from .models import GCN, GRAND, SIGN, GraphClassifier, GridGCN, NoStructure
from .more_layers import APPNP, ChebConv, GATConv, GCN2Conv, GINConv, SAGEConv, SGConv
from .precompute import NodeRows
from .readout import ClusterPool, Readout, TopKPool
from .signals import Signals
from .sparse import SparseMatrix
from .train import Adam, Callback, Checkpoint, Consistency, EarlyStopping, History, StopAt, TensorBoard, fit, predict

__all__ = [
    "APPNP",
    "GCN",
    "GRAND",
    "SIGN",
    "Adam",
    "Callback",
    "ChebConv",
    "Checkpoint",
    "ClusterPool",
    "Consistency",
    "EarlyStopping",
    "GATConv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "GcnlabError",
    "Graph",
    "GraphBatch",
    "GraphClassifier",
    "GraphCollection",
    "GraphLoader",
    "GridGCN",
    "History",
    "NoStructure",
    "NodeRows",
    "Readout",
    "RelationalGCNConv",
    "SAGEConv",
    "SGConv",
    "Signals",
    "SparseMatrix",
    "StopAt",
    "TensorBoard",
    "TopKPool",
    "batch",
    "distributed",
    "dropout",
    "fit",
    "image",
    "keep_freed_memory",
    "load",
    "metrics",
    "predict",
    "scale",
]
