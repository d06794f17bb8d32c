"""Link prediction: edges held back, pairs that are no edges, a score for each pair, and how well the scores tell them.

A set of pairs is an int64 tensor [2, num_pairs], sources then targets, as an `edge_index`. A pair of an undirected
graph stands once, the smaller id first.

    split = split_edges(load("karate").with_features("degree"))
    h = model(split.graph.x, split.graph.a_hat)                      # propagates by the training edges alone
    auc(head(h, split.test), head(h, split.test_negative))           # head = LinkHead()

Two things make link prediction look better than it is, and `split_edges` prevents both:

- **Features that hold the edges to predict.** What `with_features` made of the structure is made again from the
  training edges. Features you made yourself are refused if they are A or follow the degrees. Others, such as
  embeddings or centralities of the whole graph, cannot be recognised: make them from `split.graph`.
- **Pairs that can be no edges.** In a graph of users and items two users are trivially not joined. Pass `sides` to draw
  pairs of one node of each side. By default (`sides=None`) sides are found where they are beyond doubt: the graph can
  be coloured in two colours, it has at least ten independent cycles (trees and small rings are two-colourable by
  chance), and one component has 90 % of its edges' nodes. Pairs then come from that component. A grid is
  two-colourable too, so this is announced by a warning; `sides=False` draws among all nodes.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .checks import check_count, check_dense, check_like, check_seed
from .errors import InputError, InputTypeError
from .graph import Graph
from .graph.convert import unordered_pairs
from .graph.graph import check_one_graph
from .inputs import as_tensor
from .machine import check_devices
from .metrics import roc_auc
from .sparse import Features, SparseMatrix
from .sparse.features import select_rows


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


def split_edges(graph: Graph, val: float = 0.05, test: float = 0.1, seed: int = 0, sides: Any = None) -> LinkSplit:
    """Hold back a random share of the edges; by default the shares of Kipf & Welling (2016, section 3).

    Both directions of an undirected edge go to the same side. Self-loops stay in the graph, and are of no set. Features
    that `with_features` made of the structure are made again from the training edges.

    Args:
        graph: directed or not.
        val: share of the edges for validation.
        test: share of the edges for testing; val + test below 1.
        seed: of the draw.
        sides: which side of a bipartite graph each node is on, bools or integers [N] of two values. None finds the
            sides where they are beyond doubt (see the top of this page); False draws among all nodes. Pass the same to
            `sample_non_edges`, which knows the sides that were found.

    Raises:
        InputError: shares out of range, fewer pairs without an edge than are needed, an edge within one side, or
            features that hold the edges to predict.

    Warns where a share holds back no edge, where a directed graph has nearly all edges in both directions, and where
    sides were found.

    >>> ring = Graph.from_edges([[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 0, 1, 2, 3, 4, 5]])
    >>> split = split_edges(ring, val=1 / 6, test=1 / 3)
    >>> split.graph.num_edges, split.train.shape[1], split.val.shape[1], split.test_negative.shape[1]
    (6, 3, 1, 2)
    """
    check_one_graph("graph", graph).check_edges_are_all("split_edges")
    for name, share in (("val", val), ("test", test)):
        if isinstance(share, bool) or not isinstance(share, numbers.Real):
            raise InputTypeError(f"{name}: got {share!r}, expected a number, the share of the edges, such as 0.1.")
        if not 0 <= share < 1:
            hint = "; divide a number of edges by that of all edges" if share >= 1 else ""
            raise InputError(f"{name}: got {share}, expected a share of the edges, at least 0 and below 1{hint}.")
    if not val + test < 1:
        raise InputError(f"val and test: got {val} and {test}, expected shares that sum to less than 1.")
    generator = _generator(seed)
    source, target = edge_index = graph.edge_index
    is_edge = source != target if graph.is_directed else source < target
    edges, weight = edge_index[:, is_edge], graph.adjacency.value[is_edge]
    num_edges = edges.shape[1]
    num_val, num_test = round(val * num_edges), round(test * num_edges)
    num_held = num_val + num_test
    for name, share, count in (("val", val, num_val), ("test", test, num_test)):
        if share and not count:
            warnings.warn(f"{name}: {share} of {num_edges} edges is none; expected 0, or a larger share.", stacklevel=2)
    if num_held and num_held == num_edges:
        raise InputError(f"val and test: {val} and {test} hold back all of {num_edges} edges; leave some for training.")
    if graph.is_directed and num_held:
        _warn_if_reciprocal(graph, edges)

    order = torch.randperm(num_edges, generator=generator).to(graph.device)
    held, kept = order[:num_held], order[num_held:].sort().values
    loop = source == target
    there, values = [edges[:, kept], edge_index[:, loop]], [weight[kept], graph.adjacency.value[loop]]
    if not graph.is_directed:
        there, values = [*there, edges[:, kept].flip(0)], [*values, weight[kept]]
    rest = torch.cat(there, 1)
    adjacency = SparseMatrix.from_coo(rest[1], rest[0], torch.cat(values), graph.adjacency.shape)
    pairs = _NonEdges(graph, _check_sides(graph, sides))
    if num_held > pairs.num_free:
        raise InputError(
            f"val and test: {val} and {test} hold back {num_held} of {num_edges} edges, which takes as many pairs "
            f"without an edge, but the graph has {pairs.num_free}{pairs.between}; lower val and test."
        )
    negative = pairs.sample(num_held, generator)
    train = graph.replace(adjacency=adjacency)
    if graph.x is not None and num_held:
        if graph.made_features:
            train = train.with_features(**graph.made_features).to(graph.x.dtype)
        else:
            _check_features(graph, edges, pairs)
    if sides is None:
        train.kept("sides", lambda: _check_sides(graph, None))  # for `sample_non_edges`
    return LinkSplit(
        train,
        edges[:, kept],
        edges[:, held[:num_val]],
        negative[:, :num_val],
        edges[:, held[num_val:]],
        negative[:, num_val:],
    )


def sample_non_edges(graph: Graph, num_pairs: int, seed: int | None = None, sides: Any = None) -> Tensor:
    """Distinct pairs of distinct nodes without an edge between them, uniformly drawn, [2, num_pairs].

    In an undirected graph the smaller id comes first. With no seed torch's global state is used, for another draw in
    each step of a training. `sides` are those of `split_edges`.

    Raises InputError where the graph has fewer such pairs.
    """
    check_one_graph("graph", graph).check_edges_are_all("sample_non_edges")
    pairs = _NonEdges(graph, _check_sides(graph, sides))
    if check_count("num_pairs", num_pairs) > pairs.num_free:
        raise InputError(
            f"num_pairs: got {num_pairs}, but the graph has {pairs.num_free} pairs of nodes without an edge{pairs.between}."
        )
    return pairs.sample(num_pairs, None if seed is None else _generator(seed))


class _NonEdges:
    """The pairs of distinct nodes without an edge, all of them or those with one node on each side.

    A pair stands at a place: its target and source are `rows[place // len(cols)]` and `cols[place % len(cols)]`, or the
    other way round from `area` on.

    Attributes:
        num_free: how many there are.
        between: which they are, for messages.
    """

    def __init__(self, graph: Graph, side: Tensor | None) -> None:
        n, (source, target) = graph.num_nodes, graph.edge_index
        self.is_directed, self.num_entries, self.has_sides = graph.is_directed, graph.num_edges, side is not None
        is_edge = source != target
        if side is None:
            self.rows = self.cols = torch.arange(n, device=graph.device)
            self.edge = _keys(graph)
            self.num_places = self.area = n * n
            self.num_free = (n * (n - 1) - int(is_edge.sum())) // (1 if self.is_directed else 2)
            self.between = ""
            return
        is_edge &= side[source] >= 0
        source, target = source[is_edge], target[is_edge]
        # All edges of a directed graph may start on one side; its pairs then do too.
        first = int(self.is_directed and bool((side[source] == 1).all()))
        self.cols, self.rows = ((side == k).nonzero().squeeze(1) for k in (first, 1 - first))
        self.area = len(self.rows) * len(self.cols)
        position = torch.zeros_like(side)
        for nodes in (self.cols, self.rows):
            position[nodes] = torch.arange(len(nodes), device=graph.device)
        forth = side[source] == first
        i, j = torch.where(forth, target, source), torch.where(forth, source, target)
        place = position[i] * len(self.cols) + position[j] + self.area * ~forth
        self.edge = (place if self.is_directed else place[forth]).sort().values
        self.num_places = self.area * (1 if not self.is_directed or bool(forth.all()) else 2)
        self.num_free = self.num_places - self.edge.shape[0]
        self.between = f" between the two sides, of {len(self.cols)} and {len(self.rows)} nodes"

    def ends(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Sources and targets; of an undirected graph the smaller id first."""
        is_back, place = place >= self.area, place.remainder(self.area)
        target = self.rows[place.div(len(self.cols), rounding_mode="floor")]
        source = self.cols[place.remainder(len(self.cols))]
        if not self.is_directed:
            return torch.minimum(source, target), torch.maximum(source, target)
        return torch.where(is_back, target, source), torch.where(is_back, source, target)

    def sample(self, num_pairs: int, generator: torch.Generator | None) -> Tensor:
        """At most `num_free` distinct pairs, uniformly drawn, [2, num_pairs]."""
        device = self.edge.device
        if not num_pairs:
            return self.edge.new_empty(2, 0)
        if self.num_places <= 3 * (self.num_entries + num_pairs):
            # Drawing would mostly meet edges, or pairs that it has. This list takes no more memory than A and the result.
            is_free = torch.ones(self.num_places, dtype=torch.bool, device=device).index_fill(0, self.edge, False)
            if not self.has_sides:
                square = is_free.view(len(self.rows), -1)
                square.fill_diagonal_(False)
                is_free = (square if self.is_directed else square.tril()).flatten()
            free = is_free.nonzero().squeeze(1)
            found = free[torch.randperm(free.shape[0], generator=generator)[:num_pairs].to(device)]
        else:
            found = self.edge.new_empty(0)
        while found.shape[0] < num_pairs:
            count = 2 * (num_pairs - found.shape[0]) + 16
            place = torch.randint(self.num_places, (count,), generator=generator).to(device)
            if not self.has_sides:  # each pair has two places, and a node with itself has one
                source, target = self.ends(place)
                place = (target * len(self.cols) + source)[source != target]
            found = torch.cat([found, place[~_find(self.edge, place)[1]]])
            # The first of each, in the order of the draw: what unique keeps is sorted, and cutting that would favour low ids.
            values, group = found.unique(return_inverse=True)
            first = torch.full_like(values, found.shape[0]).scatter_reduce(
                0, group, torch.arange(found.shape[0], device=device), "amin"
            )
            found = found[first.sort().values]
        return torch.stack(self.ends(found[:num_pairs]))


def _find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where each wanted key stands among the increasing keys, and whether it does."""
    if not keys.shape[0]:
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    at = torch.searchsorted(keys, wanted).clamp(max=keys.shape[0] - 1)
    return at, keys[at] == wanted


def _generator(seed: Any) -> torch.Generator:
    return torch.Generator().manual_seed(check_seed(seed))


def _keys(graph: Graph) -> Tensor:
    """target * N + source of each edge, increasing, since A's entries are sorted."""
    source, target = graph.edge_index
    return target * graph.num_nodes + source


def _warn_if_reciprocal(graph: Graph, edges: Tensor) -> None:
    is_reversed = _find(_keys(graph), edges[0] * graph.num_nodes + edges[1])[1]
    share = float(is_reversed.double().mean())
    if share >= 0.9:
        warnings.warn(
            f"graph: it is directed, but {share:.1%} of its edges are there in both directions, so the reverse of most "
            "edges held back is among the training edges. If it should be undirected, split graph.to_undirected().",
            stacklevel=3,
        )


def _check_sides(graph: Graph, sides: Any) -> Tensor | None:
    """The side of each node, 0, 1 or -1 (unknown), [N]; None to draw among all nodes."""
    if sides is False:
        return None
    if sides is None:
        return graph.kept("sides", lambda: _find_sides(graph))
    sides = as_tensor("sides", sides, "a bool or an integer for each node").to(graph.device)
    if sides.is_floating_point() or sides.is_complex():
        raise InputTypeError(f"sides: got {sides.dtype}, expected bools or integers.")
    if sides.shape != (graph.num_nodes,):
        raise InputError(f"sides: got shape {tuple(sides.shape)}, expected [{graph.num_nodes}], the side of each node.")
    values, side = sides.unique(return_inverse=True)
    if len(values) != 2:
        raise InputError(f"sides: got {len(values)} different values, expected two.")
    source, target = edge_index = graph.edge_index
    within = (side[source] == side[target]) & (source != target)
    if bool(within.any()):
        u, v = edge_index[:, within][:, 0].tolist()
        raise InputError(f"sides: the edge {u} -> {v} joins two nodes of side {sides[u].item()}; expected one of each.")
    return side


def _find_sides(graph: Graph) -> Tensor | None:
    """The sides of a graph that is bipartite beyond doubt, as the top of this module says, or None."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, (u, v) = graph.num_nodes, graph.edge_index.cpu()
    is_edge = u != v if graph.is_directed else u < v
    u, v = unordered_pairs(u[is_edge], v[is_edge], n)[0] if graph.is_directed else (u[is_edge], v[is_edge])
    if 4 * len(u) > n * n:  # more than any two sides have pairs
        return None
    # Two copies of each node; an edge joins the first copy of one end to the second of the other. So the copies of a
    # node meet only by way of an odd cycle, and a component without one falls into two: each colour's first copies
    # with the other's second ones.
    row, col = torch.cat([u, v]), torch.cat([v, u]) + n
    cover = coo_matrix((torch.ones(len(row)).numpy(), (row.numpy(), col.numpy())), (2 * n, 2 * n))
    first, second = torch.from_numpy(connected_components(cover, directed=False)[1]).long().view(2, n)
    component = torch.minimum(first, second)
    size = component.bincount(minlength=1)
    num_joined, num_components = int(size[size > 1].sum()), int((size > 1).sum())
    if bool((first == second).any()) or len(u) - num_joined + num_components < 10:  # independent cycles
        return None
    if int(size.max()) < 0.9 * num_joined:
        warnings.warn(
            f"graph: it has no odd cycle, as a graph of users and items, but {num_components} components, so that which "
            "node is on which side is not known, and pairs without an edge are drawn among all nodes. Pass sides= to "
            "draw them between the sides, or sides=False if this is meant.",
            stacklevel=4,
        )
        return None
    side = torch.where(component == size.argmax(), (first < second).long(), -1)
    warnings.warn(
        f"graph: its nodes form two sides, of {int((side == 0).sum())} and {int((side == 1).sum())}, with edges only "
        "between them, so pairs without an edge are drawn between the sides, as for users and items. Pass sides=False "
        "to draw them among all nodes.",
        stacklevel=4,
    )
    return side.to(graph.device)


# -- features that hold the edges to predict -------------------------------------------------------------------------


@torch.no_grad()
def _check_features(graph: Graph, edges: Tensor, non_edges: _NonEdges) -> None:
    """Raise InputError where x was made from the whole structure, as far as that can be seen.

    Seen are: an x that `with_features` made of another A; columns that stand for nodes, and whose values or zeros tell
    all edges from pairs without one (A, A + I, Â, the neighbours within two steps, the similarities that A was cut from,
    the items of each user); and degrees.
    """
    x, n = graph.x, graph.num_nodes
    assert x is not None
    remedy = (
        ", so it holds the edges held back. Split without it, split = split_edges(graph.replace(x=None)), and make x "
        "from the training edges: split.graph.with_features(...), or split.graph.replace(x=...)."
    )
    if graph.made_features is not None:
        raise InputError(f"x: with_features made it from the edges of a larger or another graph{remedy}")
    others = non_edges.sample(min(1000, non_edges.num_free), torch.Generator().manual_seed(0))
    # An x without directions, such as A + A^T, does not tell an edge from its reverse.
    others = others[:, ~_find(_keys(graph), others[0] * n + others[1])[1]]
    num_columns = int(x.shape[1])
    for shift in {0, n - num_columns} if num_columns >= min(n, 10) else ():  # the column of node v is v - shift
        for i, j in ((0, 1), (1, 0)):
            on_edges, on_others = (_entries(x, pairs[i], pairs[j] - shift) for pairs in (edges, others))
            if min(len(on_edges), len(on_others)) < 5:  # few may differ by chance
                continue
            is_parted = bool(on_edges.min() > on_others.max()) or bool(on_edges.max() < on_others.min())
            is_pattern = (
                len(on_edges) >= 20 and bool(on_edges.all()) and int(on_others.count_nonzero()) < len(on_others) / 2
            )
            if is_parted or is_pattern:
                raise InputError(f"x: its entries at (u, v) tell the edges u, v from pairs without one{remedy}")
    for degree in _degrees(graph):
        column = _degree_column(x, degree)
        if column is not None:
            raise InputError(f"x: {column} is the degree, or rises and falls with it{remedy}")


def _entries(x: Features, rows: Tensor, cols: Tensor) -> Tensor:
    """The values of X at those places that it has."""
    inside = (cols >= 0) & (cols < x.shape[1])
    rows, cols = rows[inside], cols[inside]
    if isinstance(x, Tensor):
        return x[rows, cols]
    at, is_stored = _find(x.row * x.shape[1] + x.col, rows * x.shape[1] + cols)
    out = x.value.new_zeros(len(rows))
    out[is_stored] = x.value[at[is_stored]]
    return out


def _degrees(graph: Graph) -> Iterator[Tensor]:
    """Degrees by each definition, [N]: with weights or without; of edges into, out of or both; loops 0, 1 or 2 times."""
    source, target = graph.edge_index
    is_loop = source == target
    weight = graph.adjacency.value.double()
    for value in (weight, torch.ones_like(weight)):
        for times in (0, 1, 2) if bool(is_loop.any()) else (1,):
            of_edge = torch.where(is_loop, times * value, value)
            into, out = (value.new_zeros(graph.num_nodes).index_add(0, ends, of_edge) for ends in (target, source))
            yield from (into, out, into + out) if graph.is_directed else (into,)


def _degree_column(x: Features, degree: Tensor) -> str | None:
    """What follows the degree: a column of X, the sum of all, or where in a row the one stands; None if nothing does."""
    order = degree.argsort()
    num_nodes, num_columns = (int(size) for size in x.shape)
    if num_nodes < 2 or degree[order[0]] == degree[order[-1]]:
        return None  # the same for all
    # Most columns are ruled out by a few nodes, among them one of the least and one of the largest degree, at one of
    # which a column that follows the degree is not 0.
    few = order[torch.linspace(0, num_nodes - 1, min(num_nodes, 256)).long().to(x.device)]
    rows, cols = select_rows(x, few).to(torch.float64), torch.arange(num_columns, device=x.device)
    sums = torch.stack([torch.ones_like(cols), (cols + 1) * (num_columns < num_nodes)], 1).double()  # not of X = I
    columns = rows @ sums
    if isinstance(rows, SparseMatrix):
        cols = rows.select_rows(torch.tensor([0, len(few) - 1], device=x.device)).col.unique().long()
        rows = rows.select_cols(cols).to_dense()
    for k in _follow(torch.cat([rows, columns], 1), degree[few]).nonzero().squeeze(1).tolist():
        if k < len(cols):
            name, chosen = f"column {int(cols[k])}", torch.zeros_like(sums[:, 0]).index_fill(0, cols[k], 1.0)
        else:
            i = k - len(cols)
            name, chosen = ("the sum of a row", "the place of the 1 in a row")[i], sums[:, i]
        column = x.to(torch.float64) @ chosen
        # A column of few levels may be another quantity, unless it is the degree itself.
        if bool(_follow(column.unsqueeze(1), degree)) and (
            len(degree.unique()) >= 5 or torch.allclose(column, degree, rtol=1e-5)
        ):
            return name
    return None


def _follow(columns: Tensor, degree: Tensor) -> Tensor:
    """Whether each column [N, K] rises where the degree rises, or falls there, and is level where it is level, [K].

    One step in a hundred may differ, since sums of weights in another order tie differently.
    """
    order = degree.argsort()
    rise, step = _steps(degree[order].unsqueeze(1)), _steps(columns[order])  # [N - 1, 1] and [N - 1, K]
    is_level = rise == 0
    follows = torch.zeros_like(step[0], dtype=torch.bool)
    for sign in (1, -1):
        right = step == sign * rise
        enough = [(right & part).sum(0) >= 0.99 * part.sum() for part in (is_level, ~is_level)]
        follows |= enough[0] & enough[1]
    return follows


def _steps(values: Tensor) -> Tensor:
    """-1, 0 or 1 from each row to the next; less than 1e-5 of the range is no step."""
    step, scale = values.diff(dim=0), values.amax(0) - values.amin(0)
    return torch.where(step.abs() > 1e-5 * scale, step.sign(), 0)


# -- scores ------------------------------------------------------------------------------------------------------------


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
        pairs: integers [2, num_pairs], a tensor or two lists. Their range is checked on a CPU; CUDA's own check stops
            the process.
        output: [num_pairs].

    >>> LinkHead()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0, 0], [0, 1]]))
    tensor([ 5., 11.])
    """

    def __init__(self, in_channels: int | None = None, hidden_channels: int | None = None) -> None:
        super().__init__()
        for name, count in (("in_channels", in_channels), ("hidden_channels", hidden_channels)):
            if count is not None:
                check_count(name, count, 1)
        if hidden_channels is not None and in_channels is None:
            raise InputError("in_channels: the hidden layer has weights, so it needs the number of channels.")
        self.mlp = (
            None
            if hidden_channels is None or in_channels is None
            else nn.Sequential(nn.Linear(in_channels, hidden_channels), nn.ReLU(), nn.Linear(hidden_channels, 1))
        )

    def forward(self, h: Tensor, pairs: Any) -> Tensor:
        check_dense("h", h)
        for weight in self.parameters():
            check_like("h", h, weight)
        width = "C" if self.mlp is None else self.mlp[0].in_features
        if h.dim() != 2 or width not in ("C", h.shape[1]):
            raise InputError(f"h: got shape {tuple(h.shape)}, expected [num_nodes, {width}].")
        pairs = _check_pairs(pairs, h)
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
    positive, negative = _check_scores(positive, negative)
    is_edge = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
    return roc_auc(torch.cat([positive, negative]), is_edge)


def hits_at_k(positive: Tensor, negative: Tensor, k: int) -> float:
    """Hits@K of the Open Graph Benchmark (Hu et al. 2020): the share of edges that score above the K-th best non-edge.

    With fewer than K non-edges every edge counts.

    >>> hits_at_k(torch.tensor([0.9, 0.3]), torch.tensor([0.5, 0.4, 0.1]), k=2)
    0.5
    """
    positive, negative = _check_scores(positive, negative)
    k = check_count("k", k, 1)
    if negative.shape[0] < k:
        return 1.0
    return float((positive > negative.topk(k).values[-1]).double().mean())


def _check_pairs(pairs: Any, h: Tensor) -> Tensor:
    """`pairs` as int64 [2, num_pairs], ids of rows of h."""
    if not isinstance(pairs, Tensor):
        pairs = as_tensor("pairs", pairs, "node ids, [2, num_pairs]").to(h.device)
    if pairs.dim() != 2 or pairs.shape[0] != 2:
        hint = "; its transpose has: pass pairs.t()" if pairs.dim() == 2 and pairs.shape[1] == 2 else ""
        raise InputError(f"pairs: got shape {tuple(pairs.shape)}, expected [2, num_pairs]{hint}.")
    if pairs.numel() and (pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool):
        raise InputTypeError(f"pairs: got {pairs.dtype}, expected integers, the node ids of each pair.")
    check_devices(h=h, pairs=pairs)
    pairs = pairs.long()
    # Elsewhere the look would wait for the device, or could not be traced.
    is_traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if pairs.device.type == "cpu" and not is_traced:
        bad = ((pairs < 0) | (pairs >= h.shape[0])).any(0)
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            raise InputError(
                f"pairs: pair {at} is {pairs[:, at].tolist()}, but ids must be at least 0 and below {h.shape[0]}, the rows of h."
            )
    return pairs


def _check_scores(positive: Any, negative: Any) -> tuple[Tensor, Tensor]:
    """Both as floats [num_pairs] on one device, without NaN."""
    positive, negative = (
        as_tensor(name, scores, "scores, [num_pairs]")
        for name, scores in (("positive", positive), ("negative", negative))
    )
    check_devices(positive=positive, negative=negative)
    for name, scores in (("positive", positive), ("negative", negative)):
        if not scores.is_floating_point():
            raise InputTypeError(f"{name}: got {scores.dtype}, expected scores of a floating dtype, such as .float().")
        if scores.dim() != 1 or not scores.shape[0]:
            hint = "; pass .squeeze(1)" if scores.dim() == 2 and scores.shape[1] == 1 else ""
            raise InputError(
                f"{name}: got shape {tuple(scores.shape)}, expected [num_pairs] with one pair at least{hint}."
            )
        if bool(scores.isnan().any()):
            raise InputError(f"{name}: score {int(scores.isnan().nonzero()[0])} is NaN, so there is no order.")
    return positive, negative
