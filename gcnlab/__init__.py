"""gcnlab: graph convolutional networks that read like the paper."""

from . import metrics
from .data import load
from .errors import GcnlabError
from .graph import Graph
from .layers import GCNConv, dropout
from .models import GCN
from .sparse import SparseMatrix
from .train import fit

__all__ = ["GCN", "GCNConv", "GcnlabError", "Graph", "SparseMatrix", "dropout", "fit", "load", "metrics"]
