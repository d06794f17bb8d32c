"""gcnlab: graph convolutional networks that read like the paper."""

from .errors import GcnlabError
from .graph import Graph
from .layers import GCNConv, dropout
from .models import GCN
from .sparse import SparseMatrix

__all__ = ["GCN", "GCNConv", "GcnlabError", "Graph", "SparseMatrix", "dropout"]
