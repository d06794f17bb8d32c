"""Link prediction: edges held back, pairs that are no edges, a score for each pair, and how well the scores tell them.

A set of pairs is an int64 tensor [2, num_pairs], sources then targets, as an `edge_index`. Of an undirected graph each
pair stands once, the smaller id first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .errors import InputError, InputTypeError
from .graph import Graph
from .metrics import roc_auc
from .sparse import SparseMatrix, check_count


class LinkSplit(NamedTuple):
    """A graph with edges held back.

    Attributes:
        graph: the graph of the training edges alone: what a model may propagate by.
        train: the training edges, [2, num_train].
        val: the edges held back for validation, [2, num_val].
        val_negative: as many pairs that are no edges of the whole graph.
        test: the edges held back for testing, [2, num_test].
        test_negative: as many others that are no edges.
    """

    graph: Graph
    train: Tensor
    val: Tensor
    val_negative: Tensor
    test: Tensor
    test_negative: Tensor


def split_edges(graph: Graph, val: float = 0.05, test: float = 0.1, seed: int = 0) -> LinkSplit:
    """Hold back a random share of the edges; by default the shares of Kipf & Welling (2016, section 3).

    Both directions of an undirected edge go to the same side. Self-loops stay in the graph, and are of no set.

    Args:
        graph: directed or not.
        val: share of the edges for validation.
        test: share of the edges for testing; val + test below 1.
        seed: of the draw.

    Raises:
        InputError: shares out of range, or fewer pairs without an edge than are needed.

    >>> ring = Graph.from_edges([[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 0, 1, 2, 3, 4, 5]])
    >>> split = split_edges(ring, val=1 / 6, test=1 / 3)
    >>> split.graph.num_edges, split.train.shape[1], split.val.shape[1], split.test_negative.shape[1]
    (6, 3, 1, 2)
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise InputError(f"val and test: got {val} and {test}, expected shares of at least 0 that sum to less than 1.")
    generator = torch.Generator().manual_seed(seed)
    source, target = graph.edge_index
    is_edge = source != target if graph.is_directed else source < target
    edges, weight = graph.edge_index[:, is_edge], graph.adjacency.value[is_edge]
    order = torch.randperm(edges.shape[1], generator=generator).to(graph.device)
    num_val, num_test = round(val * edges.shape[1]), round(test * edges.shape[1])
    held, kept = order[: num_val + num_test], order[num_val + num_test :].sort().values
    loop = source == target
    there, values = [edges[:, kept], graph.edge_index[:, loop]], [weight[kept], graph.adjacency.value[loop]]
    if not graph.is_directed:
        there, values = [*there, edges[:, kept].flip(0)], [*values, weight[kept]]
    rest = torch.cat(there, 1)
    adjacency = SparseMatrix.from_coo(rest[1], rest[0], torch.cat(values), graph.adjacency.shape)
    negative = _sample_non_edges(graph, held.shape[0], generator)
    return LinkSplit(
        graph.replace(adjacency=adjacency),
        edges[:, kept],
        edges[:, held[:num_val]],
        negative[:, :num_val],
        edges[:, held[num_val:]],
        negative[:, num_val:],
    )


def sample_non_edges(graph: Graph, num_pairs: int, seed: int | None = None) -> Tensor:
    """Distinct pairs of distinct nodes without an edge between them, uniformly drawn, [2, num_pairs].

    Of an undirected graph the smaller id comes first. With no seed torch's global state is used, for another draw in
    each step of a training.

    Raises InputError where the graph has fewer such pairs.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return _sample_non_edges(graph, check_count("num_pairs", num_pairs), generator)


def _sample_non_edges(graph: Graph, num_pairs: int, generator: torch.Generator | None) -> Tensor:
    n, loops = graph.num_nodes, int((graph.edge_index[0] == graph.edge_index[1]).sum())
    num_free = (n * (n - 1) - (graph.num_edges - loops)) // (1 if graph.is_directed else 2)
    if num_pairs > num_free:
        raise InputError(f"num_pairs: got {num_pairs}, but the graph has {num_free} pairs of nodes without an edge.")
    edge = graph.edge_index[1] * n + graph.edge_index[0]  # increasing, since A's entries are sorted
    found = edge.new_empty(0)
    while found.shape[0] < num_pairs:
        drawn = torch.randint(n * n, (2 * (num_pairs - found.shape[0]) + 16,), generator=generator).to(graph.device)
        target, source = drawn.div(n, rounding_mode="floor"), drawn.remainder(n)
        if not graph.is_directed:
            source, target = torch.minimum(source, target), torch.maximum(source, target)
        key = (target * n + source)[source != target]
        at = torch.searchsorted(edge, key).clamp(max=max(edge.shape[0] - 1, 0))
        found = torch.cat([found, key[edge[at] != key] if edge.shape[0] else key])
        # The first of each, in the order of the draw: what unique keeps is sorted, and cutting that would favour low ids.
        values, place = found.unique(return_inverse=True)
        first = torch.full_like(values, found.shape[0]).scatter_reduce(
            0, place, torch.arange(found.shape[0], device=found.device), "amin"
        )
        found = found[first.sort().values]
    found = found[:num_pairs]
    return torch.stack([found.remainder(n), found.div(n, rounding_mode="floor")])


class LinkHead(nn.Module):
    """A score for each pair of nodes, from their embeddings; its sigmoid is the probability of an edge.

        without hidden channels: h_i . h_j, which has no weights (Kipf & Welling 2016, equation 2)
        with: w_2 . relu((h_i * h_j) W_1 + b_1) + b_2

    Either is the same for (i, j) and (j, i).

    Args:
        in_channels: C; not needed without hidden channels.
        hidden_channels: width of the hidden layer, or None for the dot product.

    Shapes:
        h: [num_nodes, C], a model's embeddings.
        pairs: int64 [2, num_pairs].
        output: [num_pairs].

    >>> LinkHead()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0, 0], [0, 1]]))
    tensor([ 5., 11.])
    """

    def __init__(self, in_channels: int | None = None, hidden_channels: int | None = None) -> None:
        super().__init__()
        if hidden_channels is not None and in_channels is None:
            raise InputError("in_channels: the hidden layer has weights, so it needs the number of channels.")
        self.mlp = (
            None
            if hidden_channels is None or in_channels is None
            else nn.Sequential(nn.Linear(in_channels, hidden_channels), nn.ReLU(), nn.Linear(hidden_channels, 1))
        )

    def forward(self, h: Tensor, pairs: Tensor) -> Tensor:
        if pairs.dim() != 2 or pairs.shape[0] != 2:
            raise InputError(f"pairs: got shape {tuple(pairs.shape)}, expected [2, num_pairs].")
        product = h.index_select(0, pairs[0]) * h.index_select(0, pairs[1])
        return product.sum(-1) if self.mlp is None else self.mlp(product).squeeze(-1)


def auc(positive: Tensor, negative: Tensor) -> float:
    """The area under the ROC curve: the share of (edge, non-edge) whose edge scores higher, ties counted half.

    Args:
        positive: scores of edges, [num_positive].
        negative: scores of pairs that are no edges, [num_negative].

    >>> auc(torch.tensor([0.9, 0.4]), torch.tensor([0.4, 0.1]))
    0.875
    """
    _check_scores(positive, negative)
    is_edge = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
    return roc_auc(torch.cat([positive, negative]), is_edge)


def hits_at_k(positive: Tensor, negative: Tensor, k: int) -> float:
    """Hits@K of the Open Graph Benchmark (Hu et al. 2020): the share of edges that score above the K-th best non-edge.

    With fewer than K non-edges every edge counts.

    >>> hits_at_k(torch.tensor([0.9, 0.3]), torch.tensor([0.5, 0.4, 0.1]), k=2)
    0.5
    """
    _check_scores(positive, negative)
    if check_count("k", k) < 1:
        raise InputError("k: got 0, expected at least 1.")
    if negative.shape[0] < k:
        return 1.0
    return float((positive > negative.topk(k).values[-1]).double().mean())


def _check_scores(positive: Tensor, negative: Tensor) -> None:
    for name, scores in (("positive", positive), ("negative", negative)):
        if not scores.is_floating_point():
            raise InputTypeError(f"{name}: got {scores.dtype}, expected scores of a floating dtype.")
        if scores.dim() != 1 or not scores.shape[0]:
            raise InputError(f"{name}: got shape {tuple(scores.shape)}, expected [num_pairs] with one pair at least.")
        if bool(scores.isnan().any()):
            raise InputError(f"{name}: score {int(scores.isnan().nonzero()[0])} is NaN, so there is no order.")
