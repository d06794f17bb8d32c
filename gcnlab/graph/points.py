"""The graph of points in space: each with its nearest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import check_choice, check_count, check_flag, check_number
from ..errors import InputError, InputTypeError
from ..inputs import as_tensor, index_names, is_table, table_numbers
from ..sparse.features import check_features_finite
from .convert import unordered_pairs
from .graph import Graph


def knn_graph(
    points: Any,
    k: int,
    *,
    symmetry: str | None = "union",
    weight: str = "binary",
    sigma: float | None = None,
    loop: bool = False,
    **options: Any,
) -> Graph:
    """The graph of the k nearest neighbours in Euclidean distance.

        binary: A_ij = 1        gaussian: A_ij = exp(-|p_i - p_j|² / sigma²)   (Defferrard et al. 2016, section 3.1)

    Found in a k-d tree (scipy's), which suits up to some twenty dimensions; above, its time nears that of comparing all
    pairs. Any of several neighbours at the same distance may be taken.

    Args:
        points: [num_points, dimensions]; the names in the index of a DataFrame become `node_names`.
        k: neighbours of a point, itself not counted; at least 1 and below num_points.
        symmetry: "union": i and j are joined where one is among the other's k nearest. "mutual": where each is among
            the other's. None: an edge from each of the k to the point, so that every row of A has k entries.
        weight: "binary" or "gaussian".
        sigma: of the gaussian, a distance; by default the mean distance of a point's k-th neighbour.
        loop: also join every point to itself, with weight 1.
        **options: as for `Graph`; x=points makes the coordinates features.

    Raises:
        InputError, InputTypeError: with the argument, the value and what was expected.

    >>> graph = knn_graph([[0.0], [1.0], [3.0]], k=1)
    >>> graph.adjacency.to_dense()
    tensor([[0., 1., 0.],
            [1., 0., 1.],
            [0., 1., 0.]])
    """
    if is_table(points):
        options = {"node_names": index_names("points", points.index), **options}
        points = table_numbers("points", points)
    points = as_tensor("points", points, "coordinates, [num_points, dimensions]")
    if points.dim() != 2 or not points.shape[1]:
        raise InputError(f"points: got shape {tuple(points.shape)}, expected [num_points, dimensions].")
    if points.is_complex():
        raise InputTypeError(f"points: got {points.dtype}, expected real coordinates.")
    check_features_finite(points, "points")
    n = len(points)
    if not 1 <= check_count("k", k) < n:
        raise InputError(f"k: got {k} neighbours, expected at least 1 and fewer than the {n} points.")
    check_choice("symmetry", symmetry, ("union", "mutual", None))
    check_choice("weight", weight, ("binary", "gaussian"))
    sigma = None if sigma is None else check_number("sigma", sigma, above=0)
    check_flag("loop", loop)

    neighbours, distance = _nearest(points, k)  # [num_points, k] each
    target = torch.arange(n, device=points.device).repeat_interleave(k)
    edges = torch.stack([neighbours.flatten(), target])
    if symmetry is not None:
        pairs, count = unordered_pairs(edges[0], edges[1], n)
        pairs = pairs[:, count == 2] if symmetry == "mutual" else pairs
        edges = torch.cat([pairs, pairs.flip(0)], 1)
    if loop:
        edges = torch.cat([edges, torch.arange(n, device=points.device).expand(2, n)], 1)
    values = None
    if weight == "gaussian":
        sigma = float(distance[:, -1].mean()) if sigma is None else sigma
        p = points.double()
        squared = (p[edges[0]] - p[edges[1]]).square().sum(1)
        values = (-squared / (sigma**2 or 1.0)).exp().float()  # 0 where all points are one: every weight is 1
    return Graph.from_edges(edges, n, values, **options)


def _nearest(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ids and distances of the k nearest others of each point, nearest first."""
    from scipy.spatial import cKDTree

    place = points.detach().cpu().double().numpy()
    distance, neighbours = (torch.from_numpy(found) for found in cKDTree(place).query(place, k + 1))
    # A point is its own nearest, but not always the first where others are at the same place; nor always among them.
    others = neighbours != torch.arange(len(points)).unsqueeze(1)
    others[others.all(1), -1] = False
    shape, device = (len(points), k), points.device
    return neighbours[others].view(shape).to(device), distance[others].view(shape).to(device)
