"""Graphs: one, many as one, their loader, and the graph of points."""

from .batches import GraphBatch
from .collection import GraphCollection, batch
from .field import ReceptiveField
from .graph import Graph
from .loader import GraphLoader
from .points import knn_graph

__all__ = ["Graph", "GraphBatch", "GraphCollection", "GraphLoader", "ReceptiveField", "batch", "knn_graph"]
