"""gcnlab: graph convolutional networks that read like the paper."""

__version__ = "0.1.0"

from . import metrics
from .collection import GraphBatch, GraphCollection, GraphLoader, batch
from .data import load
from .errors import GcnlabError
from .graph import Graph
from .layers import GCNConv, dropout
from .models import GCN, GraphClassifier, NoStructure
from .readout import ClusterPool, Readout, TopKPool
from .sparse import SparseMatrix
from .train import Adam, Callback, Checkpoint, EarlyStopping, History, fit, predict

__all__ = [
    "GCN",
    "Adam",
    "Callback",
    "Checkpoint",
    "ClusterPool",
    "EarlyStopping",
    "GCNConv",
    "GcnlabError",
    "Graph",
    "GraphBatch",
    "GraphClassifier",
    "GraphCollection",
    "GraphLoader",
    "History",
    "NoStructure",
    "Readout",
    "SparseMatrix",
    "TopKPool",
    "batch",
    "dropout",
    "fit",
    "load",
    "metrics",
    "predict",
]
