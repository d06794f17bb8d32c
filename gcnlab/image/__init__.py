"""Images as signals on one shared grid graph.

A pixel is a node, and pixel (row, column) of a height x width image is node row * width + column. Every image of that
size has the same graph, so a batch is one graph with many signals, [batch, num_nodes, channels], and the adjacency is
never copied.

A neighbour is known by its offset, the place of the source relative to the target. The offsets with the centre, each as
a relation A_r of its own, give the convolution of a CNN; their sum is Ã, and with degrees Â:

    Conv2d    H' = sum_r A_r H W_r + b        nine weights, one for each place in the 3x3 window
    GCN       H' = Â H W + b                  one weight: a neighbour's place is not seen
"""

from ..graph import knn_graph
from .grid import Grid, GridOperator, GridRelations, cluster_assignment, grid_graph
from .signals import Signals as Signals
from .signals import coarsen, to_images, to_signals, with_coordinates
from .superpixels import Superpixels, superpixel_collection, superpixel_graph

__all__ = [
    "Grid",
    "GridOperator",
    "GridRelations",
    "Superpixels",
    "cluster_assignment",
    "coarsen",
    "grid_graph",
    "knn_graph",
    "superpixel_collection",
    "superpixel_graph",
    "to_images",
    "to_signals",
    "with_coordinates",
]
