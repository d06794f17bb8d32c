"""Graphs made up: as large as is wanted, with degrees as uneven as those of real networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from ..sparse import check_count


def power_law_edges(num_nodes: int, num_edges: int, exponent: float = 2.5, seed: int = 0) -> Tensor:
    """Edges of an undirected graph whose degrees follow a power law, [2, num_edges] int64, both directions of each.

    Each edge joins nodes i and j with probability in proportion to w_i w_j (Chung & Lu 2002), where the expected degrees
    w are those of a power law, P(degree = k) ~ k^-exponent. No loops, no edge twice; nodes are in random order.

    Args:
        num_nodes: at least 2.
        num_edges: stored ones, an even number, of at most a quarter of the pairs there are.
        exponent: above 2; real networks have 2 to 3.
        seed: of the generator.

    >>> power_law_edges(100, 400).shape
    torch.Size([2, 400])
    """
    if check_count("num_nodes", num_nodes) < 2:
        raise InputError(f"num_nodes: got {num_nodes}, expected at least 2.")
    most = num_nodes * (num_nodes - 1) // 4
    if check_count("num_edges", num_edges) % 2 or num_edges > most:
        raise InputError(f"num_edges: got {num_edges}, expected an even number, {most:,} at most for these nodes.")
    if not 2 < exponent < float("inf"):
        raise InputError(f"exponent: got {exponent}, expected a number above 2.")
    generator = torch.Generator().manual_seed(seed)
    # The i-th largest of n such degrees is in proportion to (i / n)^(-1 / (exponent - 1)); capped where a hub would
    # have an edge to a tenth of all nodes, so that few edges are drawn twice.
    rank = torch.arange(1, num_nodes + 1, dtype=torch.float64)
    weight = rank.pow(-1 / (exponent - 1))
    weight = weight.clamp(max=float(weight.sum()) * num_nodes / (10 * max(num_edges, 1)))
    cumulative = weight[torch.randperm(num_nodes, generator=generator)].cumsum(0)
    keys = torch.empty(0, dtype=torch.int64)
    missing = num_edges // 2
    while missing:
        draw = torch.rand(2, missing + missing // 8 + 8, dtype=torch.float64, generator=generator) * cumulative[-1]
        first, second = torch.searchsorted(cumulative, draw).clamp(max=num_nodes - 1)
        key = torch.minimum(first, second) * num_nodes + torch.maximum(first, second)
        # A key that is new, in the order of the draws: of those drawn too many, the last go, not the largest.
        new = key[(first != second) & ~torch.isin(key, keys)]
        unique, inverse = new.unique(return_inverse=True)
        at = torch.full_like(unique, len(new)).scatter_reduce(0, inverse, torch.arange(len(new)), "amin")
        keys = torch.cat([keys, new[at.sort().values[:missing]]])
        missing = num_edges // 2 - len(keys)
    low, high = keys // num_nodes, keys % num_nodes
    return torch.stack([torch.cat([low, high]), torch.cat([high, low])])
