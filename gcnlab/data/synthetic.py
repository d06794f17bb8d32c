"""Graphs made up: as large as is wanted, with degrees as uneven as those of real networks, and with communities."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_count, check_list, check_number, check_probability, check_seed
from ..errors import InputError
from ..files import check_disk
from ..graph import Graph, GraphCollection
from ..graph.storage import GraphWriter
from ..memory import check_large

_CHUNK = 1 << 20  # edges, or values of features, that are drawn together


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
    num_nodes = check_count("num_nodes", num_nodes, 2)
    most = num_nodes * (num_nodes - 1) // 4
    if check_count("num_edges", num_edges) % 2 or num_edges > most:
        raise InputError(f"num_edges: got {num_edges}, expected an even number, {most:,} at most for these nodes.")
    exponent = check_number("exponent", exponent, above=2)
    generator = torch.Generator().manual_seed(check_seed(seed))
    what = f"a graph of {num_nodes:,} nodes and {num_edges:,} edges"
    check_large("num_nodes, num_edges", what, 24 * num_nodes + 60 * num_edges, torch.device("cpu"), "ask for fewer.")
    cumulative = _weights(num_nodes, num_edges, exponent, generator).cumsum(0)
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


def _weights(num_nodes: int, num_edges: int, exponent: float, generator: torch.Generator) -> Tensor:
    """Expected degrees up to a factor, in random order, float64 [num_nodes]."""
    # The i-th largest of n such degrees is in proportion to (i / n)^(-1 / (exponent - 1)); capped where a hub would
    # have an edge to a tenth of all nodes, so that few edges are drawn twice.
    weight = torch.arange(1, num_nodes + 1, dtype=torch.float64).pow_(-1 / (exponent - 1))
    weight.clamp_(max=float(weight.sum()) * num_nodes / (10 * max(num_edges, 1)))
    return weight[torch.randperm(num_nodes, generator=generator)]


CSL_SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)  # of the published set


def csl(num_copies: int = 15, num_nodes: int = 41, skips: Sequence[int] = CSL_SKIPS, seed: int = 0) -> GraphCollection:
    """Circular skip links (Murphy et al. 2019): a cycle whose nodes i have an edge to i + skip, too; the class is the skip.

    All nodes of all graphs have four neighbours, so that with features that are alike no sum over neighbours tells the
    classes apart (Dwivedi et al. 2020 use it as a test of positional encodings).

    Args:
        num_copies: graphs of each class, which differ in the order of their nodes alone.
        num_nodes: of each graph, at least 5.
        skips: one for each class, from 2 to below num_nodes / 2.
        seed: of the orders.

    Returns the graphs class by class, with constant features.

    >>> len(csl()), csl().num_classes, csl()[0]
    (150, 10, Graph(41 nodes, 164 stored edges, 1 features))
    """
    num_copies, num_nodes = check_count("num_copies", num_copies, 1), check_count("num_nodes", num_nodes, 5)
    skips = [check_count(f"skips[{i}]", skip, 2) for i, skip in enumerate(check_list("skips", skips, "integers", 1))]
    if bad := [skip for skip in skips if 2 * skip >= num_nodes]:
        raise InputError(f"skips: got {bad[0]} with {num_nodes} nodes, expected below {num_nodes / 2}.")
    generator, nodes, graphs = torch.Generator().manual_seed(check_seed(seed)), torch.arange(num_nodes), []
    for label, skip in enumerate(skips):
        ends = torch.stack([torch.cat([nodes, nodes]), torch.cat([nodes + 1, nodes + skip]) % num_nodes])
        for _ in range(num_copies):
            edge_index = torch.randperm(num_nodes, generator=generator)[torch.cat([ends, ends.flip(0)], 1)]
            graphs.append(Graph.from_edges(edge_index, num_nodes, y=torch.tensor(label)).with_features("constant"))
    return GraphCollection.from_graphs(graphs)


def write_communities(
    folder: str | PathLike[str],
    num_nodes: int,
    num_edges: int,
    num_classes: int = 10,
    num_features: int = 64,
    *,
    exponent: float = 2.5,
    homophily: float = 0.8,
    signal: float = 0.25,
    train_share: float = 0.1,
    val_share: float = 0.1,
    seed: int = 0,
) -> Graph:
    """A graph with power-law degrees and planted communities, written to a folder part by part, of any size.

    Classes are drawn alike; so are an edge's ends, of the whole graph in proportion to the w of `power_law_edges`, but
    that a share h of the edges has its second end in the class of the first (a degree-corrected block model, Karrer &
    Newman 2011). Features are x_i = signal μ_{y_i} + ε_i, with μ and ε standard normal. In memory are some numbers a
    node, never all edges or features.

    Args:
        folder: new or empty, with room for 8 bytes an edge and 4 a feature, and as much again for the edges while
            they are sorted.
        num_nodes: at least 2.
        num_edges: stored ones, both directions, an even number. An edge drawn twice counts once and loops are left out,
            so that the graph has some fewer.
        num_classes: at least 1.
        num_features: F, 0 for none.
        exponent: of the degrees, above 2.
        homophily: h, from 0 to 1.
        signal: how far the classes' features are apart, in standard deviations of one feature.
        train_share, val_share: of the nodes; the others are the test nodes.
        seed: of all of it.

    Returns the graph as `Graph.open` maps it.
    """
    num_nodes, num_edges = check_count("num_nodes", num_nodes, 2), check_count("num_edges", num_edges)
    if num_nodes > 2**31 - 1:
        raise InputError(f"num_nodes: got {num_nodes}, expected below 2^31.")
    if num_edges % 2:
        raise InputError(f"num_edges: got {num_edges}, expected an even number.")
    num_classes, num_features = check_count("num_classes", num_classes, 1), check_count("num_features", num_features)
    exponent = check_number("exponent", exponent, above=2)
    signal, homophily = check_number("signal", signal, least=0), check_probability("homophily", homophily)
    train_share = check_number("train_share", train_share, above=0, below=1)
    val_share = check_number("val_share", val_share, above=0, below=1)
    if train_share + val_share >= 1:
        raise InputError(f"train_share, val_share: got {train_share}, {val_share}, expected shares that leave a rest.")
    generator = torch.Generator().manual_seed(check_seed(seed))
    what = f"{num_nodes:,} nodes"  # their features are made in parts, of at least one node
    check_large("num_nodes", what, 40 * num_nodes, torch.device("cpu"), "ask for fewer.")
    what = f"{num_features:,} features of {num_classes:,} classes"
    check_large("num_features", what, 8 * num_features * (num_classes + 3), torch.device("cpu"), "ask for fewer.")
    check_disk(folder, 16 * num_edges + (4 * num_features + 20) * num_nodes)
    writer = GraphWriter(folder)
    y = torch.randint(num_classes, (num_nodes,), generator=generator, dtype=torch.int16)
    writer.write("y", torch.int64, y.shape, (part.long() for part in y.split(_CHUNK)))
    draw = torch.rand(num_nodes, generator=generator)
    is_train, is_val = draw < train_share, (draw >= train_share) & (draw < train_share + val_share)
    for name, mask in (("train", is_train), ("val", is_val), ("test", ~(is_train | is_val))):
        writer.write(f"{name}_mask", torch.bool, mask.shape, [mask])
    del draw, is_train, is_val
    if num_features:
        writer.write("x", torch.float32, (num_nodes, num_features), _features(y, num_features, signal, generator))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pairs = _drawn_edges(y, num_edges // 2, exponent, homophily, generator)
        count, parts = _sorted_rows(Path(scratch), num_nodes, num_edges, pairs)
        rowptr = F.pad(count.cumsum(0), (1, 0))
        num_stored = int(rowptr[-1])
        index = torch.int32 if num_stored < 2**31 else torch.int64
        writer.write("rowptr", index, rowptr.shape, [rowptr.to(index)])
        writer.write("col", index, (num_stored,), (part.to(index) for part in parts))
    ones = torch.ones(1).expand(num_stored).split(_CHUNK)  # a view of one number; a part of it is made at a time
    writer.write("value", torch.float32, (num_stored,), ones)
    writer.finish(
        directed=False, num_features=num_features, num_duplicates=num_edges - num_stored,
        name=f"{num_classes} communities", class_names=None, node_names=None,
    )  # fmt: skip
    return Graph.open(folder, check=False)


def _features(y: Tensor, num_features: int, signal: float, generator: torch.Generator) -> Iterator[Tensor]:
    centre = signal * torch.randn(int(y.max()) + 1, num_features, generator=generator)
    for part in y.split(max(_CHUNK // num_features, 1)):
        yield centre[part.long()] + torch.randn(len(part), num_features, generator=generator)


def _drawn_edges(
    y: Tensor, num_pairs: int, exponent: float, homophily: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """Ends of the drawn edges, [2, some] int64, both directions, without loops."""
    order = y.sort(stable=True).indices  # nodes by class, so that a class is a range
    cumulative = _weights(len(y), 2 * num_pairs, exponent, generator).cumsum_(0)
    end = torch.bincount(y).cumsum(0)
    high = F.pad(cumulative, (1, 0))[end]
    low = F.pad(high, (1, 0))[:-1]
    total = float(cumulative[-1])
    for start in range(0, num_pairs, _CHUNK):
        draw = torch.rand(3, min(_CHUNK, num_pairs - start), dtype=torch.float64, generator=generator)
        first = torch.searchsorted(cumulative, draw[0] * total).clamp_(max=len(y) - 1)
        of_class = y[order[first]].long()
        within = low[of_class] + draw[1] * (high - low)[of_class]
        second = torch.where(draw[2] < homophily, within, draw[1] * total)
        second = torch.searchsorted(cumulative, second).clamp_(max=len(y) - 1)
        ends = order[torch.stack([first, second])]
        ends = ends[:, ends[0] != ends[1]]
        yield torch.cat([ends, ends.flip(0)], 1)


def _sorted_rows(
    scratch: Path, num_nodes: int, num_edges: int, pairs: Iterator[Tensor]
) -> tuple[Tensor, Iterator[Tensor]]:
    """Entries of each row [num_nodes], and the columns row by row in parts, of edges in any order; those twice once.

    Edges go to a file for each range of rows, of which each is sorted by itself.
    """
    num_files = max(-(-num_edges // (2 * _CHUNK)), 1)
    size = -(-num_nodes // num_files)
    files = [scratch / str(i) for i in range(num_files)]
    for file in files:
        file.touch()
    for ends in pairs:
        which = ends[0] // size
        by_file = which.sort(stable=True).indices
        sizes = torch.bincount(which, minlength=num_files).tolist()
        for file, part in zip(files, ends[:, by_file].int().split(sizes, 1), strict=True):
            with open(file, "ab") as out:
                out.write(part.T.contiguous().numpy().data)
    count = torch.zeros(num_nodes, dtype=torch.int64)
    for i, file in enumerate(files):
        ends = torch.from_numpy(np.fromfile(file, dtype=np.int32)).view(-1, 2).long()
        key = ((ends[:, 0] - i * size) * num_nodes + ends[:, 1]).unique()
        rows = torch.bincount(key // num_nodes, minlength=size)[: max(num_nodes - i * size, 0)]
        count[i * size : i * size + len(rows)] = rows
        (key % num_nodes).int().numpy().tofile(file)
    return count, (torch.from_numpy(np.fromfile(file, dtype=np.int32)) for file in files)
