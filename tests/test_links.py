"""Link prediction: splits counted by hand, metrics beside scikit-learn's and OGB's, and a graph autoencoder on Cora."""

import copy
import pickle
import random
import time
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from checks import ZOO, assert_close, undirected
from torch.nn import functional as F

from gcnlab import GCN, Adam, Graph, SparseMatrix, load
from gcnlab.errors import InputError, InputTypeError
from gcnlab.links import LinkHead, auc, hits_at_k, sample_non_edges, split_edges

pytestmark = pytest.mark.usefixtures("one_thread")


def pairs(edges):
    return set(map(tuple, edges.T.tolist()))


def dense(x):
    return x.to_dense() if isinstance(x, SparseMatrix) else x


def random_graph(num_nodes=40, num_edges=120, directed=False, weighted=False, seed=0):
    g = nx.gnm_random_graph(num_nodes, num_edges, seed=seed, directed=directed)
    rng = np.random.default_rng(seed)
    for _, _, data in g.edges(data=True):
        data.update(weight=rng.random() + 0.5 if weighted else 1.0)
    return Graph.from_networkx(g)


@pytest.mark.parametrize("name", ["weighted", "undirected", "directed", "directed, weighted", "loops", "isolated"])
def test_a_split_parts_the_edges_and_meets_no_edge_among_the_others(name):
    graph = ZOO[name].graph()
    dense = graph.adjacency.to_dense()
    split = split_edges(graph, val=0.2, test=0.3, seed=3)
    sets = [pairs(part) for part in (split.train, split.val, split.test)]
    everything = {(s, t) for s, t in pairs(graph.edge_index) if (s != t if graph.is_directed else s < t)}
    assert set.union(*sets) == everything
    assert sum(map(len, sets)) == len(everything)
    assert [len(part) for part in sets[1:]] == [round(0.2 * len(everything)), round(0.3 * len(everything))]
    expected = torch.zeros_like(dense)
    for s, t in sets[0] | {(i, i) for i in range(len(dense))}:
        expected[t, s] = dense[t, s]
        if not graph.is_directed:
            expected[s, t] = dense[s, t]
    assert torch.equal(split.graph.adjacency.to_dense(), expected)
    negatives = torch.cat([split.val_negative, split.test_negative], 1)
    assert len(pairs(negatives)) == negatives.shape[1] == len(sets[1]) + len(sets[2])
    assert all(dense[t, s] == 0 and s != t and (graph.is_directed or s < t) for s, t in pairs(negatives))


def test_a_split_is_its_seeds():
    graph = load("karate")
    first, again, other = (split_edges(graph, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first[1:], again[1:], strict=True))
    assert pairs(first.test) != pairs(other.test)
    assert pairs(first.test_negative) != pairs(other.test_negative)


@pytest.mark.parametrize("name", ["directed", "undirected", "no edges"])
def test_non_edges_are_all_of_them_when_all_are_asked_for(name):
    graph = ZOO[name].graph()
    dense = graph.adjacency.to_dense()
    n = graph.num_nodes
    free = {(s, t) for s in range(n) for t in range(n) if dense[t, s] == 0 and s != t and (graph.is_directed or s < t)}
    assert pairs(sample_non_edges(graph, len(free), seed=0)) == free
    with pytest.raises(InputError, match=f"got {len(free) + 1}, but the graph has {len(free)} pairs"):
        sample_non_edges(graph, len(free) + 1)


def test_non_edges_are_uniform():
    torch.manual_seed(0)
    graph = Graph.from_edges([[0, 1], [1, 0]], num_nodes=4)  # five pairs without an edge
    counts = {}
    for _ in range(1000):
        for pair in pairs(sample_non_edges(graph, 2)):
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 5
    assert all(abs(count - 400) < 65 for count in counts.values())  # four standard deviations


@pytest.mark.parametrize("directed", [False, True])
def test_the_few_non_edges_of_a_dense_graph_are_listed(directed):
    """Drawing pairs until one is free took 20 seconds and more."""
    a = torch.ones(1200, 1200).fill_diagonal_(0)
    free = [(3, 5), (7, 11), (2, 1100)] if directed else [(3, 5), (7, 11)]
    for u, v in free:
        a[v, u] = 0
        a[u, v] = a[u, v] if directed else 0
    graph, start = Graph.from_dense(a), time.perf_counter()
    assert pairs(sample_non_edges(graph, len(free), seed=1)) == set(free)
    one = [pairs(sample_non_edges(graph, 1, seed=seed)) for seed in range(5)]
    assert time.perf_counter() - start < 10
    assert len(set(map(frozenset, one))) > 1


def test_listed_non_edges_are_uniform():
    graph = Graph.from_networkx(nx.complement(nx.path_graph(7)))  # six pairs without an edge, of 21
    counts = {}
    for seed in range(1000):
        for pair in pairs(sample_non_edges(graph, 2, seed)):
            counts[pair] = counts.get(pair, 0) + 1
    assert set(counts) == {(i, i + 1) for i in range(6)}
    assert all(abs(count - 1000 / 3) < 60 for count in counts.values())  # four standard deviations


@pytest.mark.parametrize(
    "graph", [lambda: load("karate"), lambda: random_graph(directed=True)], ids=["karate", "directed"]
)
def test_the_pairs_of_a_seed_in_a_sparse_graph_are_drawn_one_after_the_other(graph):
    graph = graph()
    n, a = graph.num_nodes, graph.adjacency.to_dense()
    generator, expected = torch.Generator().manual_seed(5), {}
    while len(expected) < 40:
        for place in torch.randint(n * n, (2 * (40 - len(expected)) + 16,), generator=generator).tolist():
            target, source = divmod(place, n)
            pair = (source, target) if graph.is_directed else (min(source, target), max(source, target))
            if source != target and a[target, source] == 0:
                expected[pair] = None
    assert sample_non_edges(graph, 40, seed=5).T.tolist() == [list(pair) for pair in expected][:40]


# -- features that hold the edges to predict ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adjacency", "degree", "degree_one_hot", "degree_bins", "log_degree"])
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(
    "passed_on",
    [
        lambda graph: graph,
        lambda graph: graph.replace(y=torch.zeros(graph.num_nodes).long(), name="other"),
        lambda graph: graph.to(torch.float64),
        lambda graph: graph.to(torch.bfloat16),
        lambda graph: pickle.loads(pickle.dumps(graph)),
        copy.deepcopy,
    ],
    ids=["itself", "replace", "float64", "bfloat16", "pickle", "deepcopy"],
)
def test_features_of_the_structure_are_made_again_from_the_training_edges(kind, directed, passed_on):
    graph = passed_on(random_graph(directed=directed, weighted=True).with_features(kind))
    split = split_edges(graph, 0.1, 0.2)
    assert split.graph.x.dtype == graph.x.dtype
    assert split.graph.name == graph.name
    options = {"max_degree": graph.made_features["max_degree"]}  # as many columns as before
    assert torch.equal(dense(split.graph.x), dense(split.graph.with_features(kind, **options).x).to(graph.x.dtype))
    assert not torch.equal(dense(split.graph.x), dense(graph.x))
    if kind == "adjacency":
        for source, target in (split.val, split.test):
            assert not dense(split.graph.x)[target, source].any()
    again = split_edges(split.graph, 0.1, 0.2).graph  # what was made again can be split again
    assert torch.equal(dense(again.x), dense(again.with_features(kind, **options).x).to(graph.x.dtype))


def test_nothing_derived_from_the_whole_graph_rides_along():
    graph = load("karate").with_features("adjacency")
    graph.a_hat, graph.laplacian  # noqa: B018
    split = split_edges(graph, 0.1, 0.2)
    fresh = Graph(split.graph.adjacency)
    assert torch.equal(split.graph.a_hat.to_dense(), fresh.a_hat.to_dense())
    assert torch.equal(split.graph.laplacian.to_dense(), fresh.laplacian.to_dense())


def one_hot(numbers):
    return F.one_hot(torch.as_tensor(numbers).long()).float()


LARGE = {
    "undirected": lambda: random_graph(),
    "weighted": lambda: random_graph(weighted=True),
    "directed": lambda: random_graph(directed=True),
    "directed, weighted": lambda: random_graph(directed=True, weighted=True),
}
A_OF = {
    "A": lambda g: g.adjacency.to_dense(),
    "a sparse A": lambda g: g.adjacency,
    "A + I": lambda g: g.adjacency.with_self_loops(),
    "the transpose": lambda g: g.adjacency.T,
    "both directions": lambda g: g.adjacency + g.adjacency.T,
    "rows that sum to 1": lambda g: g.normalize(norm="rw"),
    "scaled and noisy": lambda g: torch.randn(40, 40) * 0.01 - 3 * g.adjacency.to_dense(),
    "A beside attributes": lambda g: torch.cat([g.adjacency.to_dense(), torch.randn(40, 3)], 1),
    "attributes beside A": lambda g: torch.cat([torch.randn(40, 3), g.adjacency.to_dense()], 1),
    "a list of neighbours": lambda g: g.adjacency.to_dense().tolist(),
    "some columns of A": lambda g: g.adjacency.to_dense()[:, 20:],
}
DEGREE_OF = {
    "degrees of networkx": lambda g: [[float(d)] for _, d in g.to_networkx().degree()],
    "row sums": lambda g: g.adjacency.to_dense().sum(1, keepdim=True),
    "column sums": lambda g: g.adjacency.to_dense().sum(0).unsqueeze(1),
    "numbers of neighbours": lambda g: (g.adjacency.to_dense() > 0).sum(1, keepdim=True),
    "logarithms": lambda g: g.degree.log1p().unsqueeze(1),
    "standardised": lambda g: ((g.degree - g.degree.mean()) / g.degree.std()).unsqueeze(1),
    "inverse": lambda g: 1 / (1 + g.degree.unsqueeze(1)),
    "beside attributes": lambda g: torch.cat([torch.randn(40, 3), g.degree.unsqueeze(1), torch.ones(40, 1)], 1),
    "within a sparse x": lambda g: torch.cat([torch.eye(40)[:, :30], g.degree.unsqueeze(1)], 1),
    "one-hot": lambda g: one_hot((g.adjacency.to_dense() > 0).sum(1)),
    "neighbours of each class": lambda g: g.adjacency @ one_hot(torch.arange(40) % 3),
}


@pytest.mark.parametrize("graph", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("x", [*A_OF.values(), *DEGREE_OF.values()], ids=[*A_OF, *DEGREE_OF])
def test_features_made_by_hand_from_the_structure_are_refused(graph, x):
    torch.manual_seed(0)
    graph = graph()
    with pytest.raises(
        InputError, match=r"x: .* holds the edges held back\. .* split_edges\(graph.replace\(x=None\)\)"
    ):
        split_edges(graph.replace(x=x(graph)), 0.1, 0.2)


def test_neighbours_within_two_steps_are_refused():
    graph = random_graph(100, 150)
    a = graph.adjacency.to_dense() + torch.eye(100)
    with pytest.raises(InputError, match=r"x: its entries at \(u, v\) tell the edges u, v"):
        split_edges(graph.replace(x=a @ a), 0.1, 0.2)


def test_a_similarity_that_the_graph_was_cut_from_is_refused():
    x = np.corrcoef(np.random.default_rng(0).random((40, 30)))
    a = np.where(np.abs(x) > 0.25, 1.0, 0.0) * (1 - np.eye(40))
    with pytest.raises(InputError, match=r"x: its entries at \(u, v\) tell the edges u, v"):
        split_edges(Graph.from_dense(a, x=np.abs(x)), 0.1, 0.2)


def test_features_of_a_larger_or_another_structure_are_refused():
    graph = random_graph(directed=True)
    for kind in ("adjacency", "degree"):
        made = graph.with_features(kind)
        for other in (
            made.subgraph(torch.arange(30)), made.to_undirected(), made.replace(adjacency=graph.adjacency.T),
            made.replace(adjacency=graph.adjacency.T).replace(y=None).to(torch.float64), copy.copy(made.subgraph(torch.arange(30))),
        ):  # fmt: skip
            with pytest.raises(
                InputError, match="x: with_features made it from the edges of a larger or another graph"
            ):
                split_edges(other, 0.1, 0.2)
            again = split_edges(other.replace(x=None), 0.1, 0.2).graph.with_features(kind)
            assert again.x.shape[0] == other.num_nodes


def by_degree(graph):
    a, order = graph.adjacency.to_dense(), graph.degree.argsort()
    return Graph.from_dense(a[order][:, order])


CLIQUES = nx.disjoint_union_all([nx.complete_graph(n) for n in (10, 8, 6)])
UNRELATED = {
    "identity": lambda: load("karate").with_features("identity"),
    "a graph's own identity": lambda: load("karate").replace(x=torch.eye(34)),
    "constant": lambda: load("karate").with_features("constant"),
    "noise, square": lambda: random_graph().replace(x=torch.randn(40, 40)),
    "noise, square and weighted": lambda: random_graph(weighted=True).replace(x=torch.rand(40, 40)),
    "noise": lambda: random_graph(weighted=True).replace(x=torch.rand(40, 11)),
    "words": lambda: random_graph().replace(x=(torch.rand(40, 300) < 0.1).float()),
    "classes of cliques": lambda: Graph.from_networkx(CLIQUES).replace(x=one_hot([0] * 10 + [1] * 8 + [2] * 6)),
    "the class, a number": lambda: Graph.from_networkx(CLIQUES).replace(x=np.r_[[2.0] * 10, [1.0] * 8, [0.0] * 6][:, None]),
    "ones where all degrees are 1": lambda: undirected([(2 * i, 2 * i + 1) for i in range(9)], 18).graph(torch.float32).replace(x=torch.ones(18, 1)),
    "the hub": lambda: Graph.from_networkx(nx.star_graph(30)).replace(x=[[0.0]] + [[1.0]] * 30),
    "node ids in the order of the degrees": lambda: by_degree(random_graph(weighted=True)).replace(x=torch.eye(40)),
    "no columns": lambda: load("karate").replace(x=torch.empty(34, 0)),
}  # fmt: skip


@pytest.mark.parametrize("graph", UNRELATED.values(), ids=UNRELATED)
def test_other_features_are_kept(graph):
    torch.manual_seed(0)
    graph = graph()
    assert torch.equal(dense(split_edges(graph, 0.1, 0.2, seed=2, sides=False).graph.x), dense(graph.x))


@pytest.mark.parametrize("kind", ["adjacency", "degree", "degree_one_hot", "log_degree"])
def test_features_of_the_structure_are_seen_in_a_saved_graph(kind, tmp_path):
    random_graph().with_features(kind).save(tmp_path / "graph")
    with pytest.raises(InputError, match=r"x: .*holds the edges held back"):
        split_edges(Graph.open(tmp_path / "graph"), 0.1, 0.2)


def test_features_given_anew_are_no_longer_those_of_the_structure():
    made = load("karate").with_features("degree")
    x = torch.randn(34, 3)
    assert torch.equal(split_edges(made.replace(x=x), 0.1, 0.2).graph.x, x)
    assert split_edges(made.replace(x=None), 0.1, 0.2).graph.x is None
    assert torch.equal(split_edges(made, 0.0, 0.0).graph.x, made.x)  # no edge is held back


# -- sides ----------------------------------------------------------------------------------------------------------


def two_sides(num_users=30, num_items=20, num_edges=200, seed=0, **options):
    g = nx.bipartite.gnmk_random_graph(num_users, num_items, num_edges, seed=seed)
    assert nx.is_connected(g)
    order = np.random.default_rng(seed).permutation(num_users + num_items)
    g = nx.relabel_nodes(g, dict(enumerate(order.tolist())))
    h = nx.Graph()
    h.add_nodes_from(range(len(g)))
    h.add_edges_from(g.edges)
    sides = torch.zeros(len(g), dtype=torch.int64)
    sides[order[num_users:]] = 1
    return Graph.from_networkx(h, **options), sides


def crosses(found, sides):
    return bool((sides[found[0]] != sides[found[1]]).all())


def test_sides_are_found_in_a_graph_of_women_and_events():
    graph = load("davis")
    with pytest.warns(UserWarning, match=r"its nodes form two sides, of 1\d and 1\d, .* sides=False"):
        split = split_edges(graph, 0.1, 0.2)
    assert crosses(torch.cat([split.val_negative, split.test_negative], 1), graph.y)
    assert crosses(sample_non_edges(split.graph, 100), graph.y)  # and no second warning
    assert crosses(sample_non_edges(graph, 100), graph.y)
    assert not crosses(sample_non_edges(graph, 100, sides=False), graph.y)
    assert not crosses(split_edges(graph, 0.1, 0.2, sides=False).test_negative, graph.y)


@pytest.mark.parametrize("kind", ["found", "bools", "integers", "list", "names of kinds"])
def test_pairs_between_sides_are_all_of_them_when_all_are_asked_for(kind):
    graph, sides = two_sides()
    given = {"found": None, "bools": sides.bool(), "integers": sides * 5 - 7, "list": sides.tolist(),
             "names of kinds": sides.numpy().astype(np.uint8)}[kind]  # fmt: skip
    a = graph.adjacency.to_dense()
    free = {(u, v) for u in range(50) for v in range(u + 1, 50) if sides[u] != sides[v] and a[u, v] == 0}
    assert len(free) == 30 * 20 - 200
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore" if kind == "found" else "error", message="graph: its nodes form two sides")
        for num_pairs in (len(free), 17):
            found = pairs(sample_non_edges(graph, num_pairs, seed=1, sides=given))
            assert len(found) == num_pairs
            assert found <= free
    with pytest.raises(
        InputError,
        match=r"got 401, but the graph has 400 pairs of nodes without an edge between the two sides, of \d0 and \d0 nodes",
    ):
        sample_non_edges(graph, 401, sides=given)  # fmt: skip


def test_pairs_between_unequal_sides_are_uniform_and_quick():
    """Two users and 100,000 items: a pair of any two nodes would cross once in 25,000 draws."""
    n = 100_000
    edges = torch.stack([torch.zeros(n // 2).long(), torch.arange(n // 2) + 2])
    graph = Graph.from_edges(torch.cat([edges, edges.flip(0)], 1), n + 2)
    sides = torch.arange(n + 2) >= 2
    found = sample_non_edges(graph, 20_000, seed=0, sides=sides)
    assert crosses(found, sides.long())
    assert len(pairs(found)) == 20_000
    assert abs(int((found[0] == 0).sum()) - 20_000 / 3) < 270  # four standard deviations; a third of the free pairs


@pytest.mark.parametrize("ways", ["to items", "to users", "both"])
def test_directed_pairs_go_the_ways_that_edges_go(ways):
    graph, sides = two_sides()
    source = graph.edge_index[0]
    keep = {"to items": sides[source] == 0, "to users": sides[source] == 1, "both": torch.rand(400) < 0.5}[ways]
    directed = Graph.from_edges(graph.edge_index[:, keep], 50)
    assert directed.is_directed
    a = directed.adjacency.to_dense()
    free = {
        (u, v) for u in range(50) for v in range(50)
        if a[v, u] == 0 and sides[u] != sides[v] and (ways == "both" or sides[u] == int(ways == "to users"))
    }  # fmt: skip
    for num_pairs in (len(free), 11):
        found = pairs(sample_non_edges(directed, num_pairs, seed=0, sides=sides))
        assert len(found) == num_pairs
        assert found <= free
    with pytest.warns(UserWarning, match="its nodes form two sides"):
        assert pairs(sample_non_edges(directed, len(free), seed=0)) == free


NO_SIDES = {
    "a tree": lambda: nx.from_prufer_sequence(random.Random(0).choices(range(60), k=58)),
    "a star": lambda: nx.star_graph(60),
    "a ring": lambda: nx.cycle_graph(60),
    "a few rings": lambda: nx.compose(nx.path_graph(60), nx.Graph([(0, 3), (8, 11), (20, 27)])),
    "one odd ring among many": lambda: nx.compose(nx.complete_bipartite_graph(9, 9), nx.Graph([(0, 1)])),
    "complete": lambda: nx.complement(nx.path_graph(20)),
}


@pytest.mark.parametrize("graph", NO_SIDES.values(), ids=NO_SIDES)
def test_graphs_that_have_two_colours_by_chance_or_not_at_all_have_no_sides(graph):
    graph = Graph.from_networkx(graph())
    expected = sample_non_edges(graph, 15, seed=3, sides=False)
    assert torch.equal(sample_non_edges(graph, 15, seed=3), expected)


def test_sides_asked_for_in_a_tree():
    graph = Graph.from_networkx(nx.path_graph(20))
    found = sample_non_edges(graph, 81, seed=0, sides=torch.arange(20) % 2)
    assert crosses(found, torch.arange(20) % 2)
    assert len(pairs(found)) == 100 - 19


def test_sides_in_several_components():
    def joined(*parts):
        return Graph.from_networkx(nx.disjoint_union_all(parts))

    grid = nx.complete_bipartite_graph(8, 6)
    told = r"its nodes form two sides, of (8 and 6|6 and 8),"
    with pytest.warns(UserWarning, match=told), pytest.raises(InputError, match="has 0 pairs"):
        sample_non_edges(joined(grid, nx.path_graph(1)), 1)  # an isolated node is on no known side
    grid.remove_edges_from([(0, 8), (1, 9)])
    with pytest.warns(UserWarning, match=told):
        assert pairs(sample_non_edges(joined(grid, nx.path_graph(1)), 2)) == {(0, 8), (1, 9)}
    with pytest.warns(UserWarning, match=r"no odd cycle, .* but 2 components, .* Pass sides="):
        found = sample_non_edges(joined(grid, grid), 150, seed=0)
    assert (found[1] < 14).any()  # among all nodes: both ends in one part
    assert (found[0] < 8).logical_and(found[1] < 8).any()


# -- directed by rounding alone --------------------------------------------------------------------------------------


def corrcoef(x):
    return torch.corrcoef(torch.as_tensor(x)).abs().numpy()


def cosine(x):
    """Of each pair in another order of summing, as a parallel product may take it."""
    x = x / np.sqrt(np.square(x).sum(1, keepdims=True))
    return np.array([[np.sum((a * b)[:: 1 if i < j else -1]) for j, b in enumerate(x)] for i, a in enumerate(x)])


def gaussian(x):
    """exp(-d²) by |a|² + |b|² - 2 a.b, whose three terms are added in another order on either side."""
    square, product = np.square(x).sum(1), x @ x.T
    squared = (square[:, None] - 2 * product) + square[None]
    return np.exp(-squared / x.shape[1])


SIMILARITIES = {"corrcoef": corrcoef, "cosine": cosine, "gaussian": gaussian}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("similarity", SIMILARITIES.values(), ids=SIMILARITIES)
@pytest.mark.parametrize("cut", [0.0, 0.9])
def test_a_matrix_that_is_symmetric_up_to_rounding_is_undirected(similarity, dtype, cut):
    rng = np.random.default_rng(3)
    w = similarity(rng.standard_normal((60, 31)).astype(dtype)).astype(dtype)
    assert (w != w.T).any()
    size = np.maximum(np.abs(w), np.abs(w.T))
    w = np.where(size > np.quantile(size, cut), w, 0)
    np.fill_diagonal(w, 0)
    order = rng.permutation(60)
    for matrix in (w, w[order][:, order], w.T):
        graph = Graph.from_dense(matrix.astype(dtype))
        assert not graph.is_directed
        assert "symmetric" in graph.summary()
        assert not graph.to_networkx().is_directed()
        split = split_edges(graph, 0.05, 0.1 if cut else 0.0) if cut else None
        if split is not None:
            there = pairs(split.graph.edge_index)
            assert not any((v, u) in there or (u, v) in there for u, v in pairs(torch.cat([split.val, split.test], 1)))
            exact = split.graph.adjacency.to_dense()
            assert torch.equal(exact, exact.T)
    low = Graph.from_dense(torch.as_tensor(w, dtype=torch.float32)).to(torch.bfloat16)
    assert not low.is_directed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_that_differs_by_more_than_rounding_is_directed(dtype):
    torch.manual_seed(0)
    w = torch.rand(30, 30, dtype=dtype) + 0.1
    w = (w + w.T).fill_diagonal_(0)
    assert SparseMatrix.from_dense(w).is_symmetric()
    for change in (1e-3, 1e-4, *([1e-7] if dtype == torch.float64 else [])):
        other = w.clone()
        other[3, 17] *= 1 + change
        assert Graph.from_dense(other).is_directed
    other = w.clone()
    other[3, 17] = 0
    assert Graph.from_dense(other).is_directed
    other = torch.zeros(30, 30, dtype=dtype)
    other[0, 1], other[1, 0] = 1.0, 1.0
    other[2, 5] = 1e-30  # nearly nothing, but an edge
    assert Graph.from_dense(other).is_directed
    counts = torch.tensor([[0.0, 1.0], [2.0, 0.0]], dtype=dtype)
    counts = torch.block_diag(counts, torch.tensor([[0.0, 1e6], [1e6, 0.0]], dtype=dtype))
    assert Graph.from_dense(counts).is_directed


def test_derivatives_of_a_rounded_matrix_are_those_of_its_transpose_up_to_rounding():
    w = corrcoef(np.random.default_rng(3).random((40, 30)))
    graph = Graph.from_dense(w)
    x = torch.randn(40, 3, dtype=torch.float64, requires_grad=True)
    g = torch.randn(40, 3, dtype=torch.float64)
    assert not graph.is_directed
    (graph.adjacency @ x).backward(g)
    torch.testing.assert_close(x.grad, torch.as_tensor(w).T @ g, rtol=1e-12, atol=1e-12)


def test_a_directed_graph_that_is_nearly_undirected_is_told():
    """Cutting at a quantile may keep one of two values that rounding parts."""
    w = torch.triu(torch.rand(20, 20), 1)
    w = torch.where(w > 0.5, w, 0)
    w = w + w.T
    u, v = w.nonzero()[0].tolist()
    w[u, v] = 0
    with pytest.warns(
        UserWarning,
        match=r"graph: it is directed, but 99\.\d% of its edges are there in both directions, .*graph.to_undirected",
    ):
        split_edges(Graph.from_dense(w), 0.1, 0.2)  # fmt: skip
    split_edges(Graph.from_dense(w).to_undirected(), 0.1, 0.2)


# -- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [1, 6])
def test_auc_is_scikit_learns(decimals):
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(0)
    positive, negative = (torch.randn(101) + 0.7).round(decimals=decimals), torch.randn(211).round(decimals=decimals)
    truth = np.r_[np.ones(101), np.zeros(211)]
    assert auc(positive, negative) == pytest.approx(roc_auc_score(truth, torch.cat([positive, negative])), abs=1e-12)


@pytest.mark.parametrize("k", [1, 7, 211, 212])
def test_hits_at_k_is_the_definition_of_ogb(k):
    torch.manual_seed(0)
    positive, negative = torch.randn(101) + 0.7, torch.randn(211).round(decimals=1)
    best = sorted(negative.tolist(), reverse=True)
    expected = 1.0 if k > 211 else np.mean([p > best[k - 1] for p in positive.tolist()])
    assert hits_at_k(positive, negative, k) == pytest.approx(expected)


def test_link_heads_see_no_direction_and_have_gradients():
    torch.manual_seed(0)
    h, edges = torch.randn(7, 5, dtype=torch.float64, requires_grad=True), torch.tensor([[0, 1, 6], [3, 1, 2]])
    for head in (LinkHead().double(), LinkHead(5, 11).double()):
        assert head(h, edges).shape == (3,)
        assert_close(head(h, edges), head(h, edges.flip(0)))
        assert torch.autograd.gradcheck(lambda h, head=head: head(h, edges), h)
    assert_close(LinkHead()(h, edges), torch.stack([h[0] @ h[3], h[1] @ h[1], h[6] @ h[2]]))


def test_lists_are_pairs_and_scores():
    h = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for pairs_ in ([[0, 0], [0, 1]], np.array([[0, 0], [0, 1]], dtype=np.int32), torch.tensor([[0, 0], [0, 1]]).int()):
        assert LinkHead()(h, pairs_).tolist() == [5.0, 11.0]
    assert LinkHead()(h, [[], []]).shape == (0,)
    assert auc([0.9, 0.4], np.array([0.4, 0.1], dtype=np.float32)) == 0.875
    assert hits_at_k([0.9, 0.3], [0.5, 0.4, 0.1], k=np.int64(2)) == 0.5


def test_a_share_that_holds_back_no_edge_is_told():
    with pytest.warns(UserWarning, match=r"val: 0\.05 of 3 edges is none; expected 0, or a larger share"):
        split = split_edges(PATH, test=0.4)
    assert (split.val.shape[1], split.test.shape[1]) == (0, 1)
    split_edges(PATH, 0, 0.4)


K6, PATH = Graph.from_networkx(nx.complete_graph(6)), Graph.from_networkx(nx.path_graph(4))
CROSS = Graph.from_networkx(nx.complete_bipartite_graph(2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: split_edges(load("karate"), 0.5, 0.5), InputError, "val and test: got 0.5 and 0.5"),
        (lambda: LinkHead(hidden_channels=3), InputError, "in_channels: the hidden layer has weights"),
        (lambda: LinkHead()(torch.ones(3, 2), torch.ones(3, 2).long()), InputError, r"pairs: got shape \(3, 2\)"),
        (lambda: auc(torch.ones(0), torch.ones(3)), InputError, r"positive: got shape \(0,\)"),
        (lambda: auc(torch.ones(3), torch.ones(3).long()), InputTypeError, "negative: got torch.int64"),
        (lambda: auc(torch.ones(3), torch.tensor([1.0, torch.nan])), InputError, "negative: score 1 is NaN"),
        (lambda: hits_at_k(torch.ones(3), torch.ones(3), 0), InputError, "k: got 0"),
        (lambda: hits_at_k(torch.ones(3), torch.ones(3), 1.5), InputTypeError, "k: got 1.5, expected an integer"),
        (lambda: hits_at_k(torch.ones(3), torch.ones(3), True), InputTypeError, "k: got True, expected an integer"),
        (lambda: auc(torch.ones(3), [1, 0]), InputTypeError, r"negative: got torch.int64.*\.float\(\)"),
        (lambda: auc(torch.ones(3, 1), torch.ones(3)), InputError, r"positive: got shape \(3, 1\).*squeeze"),
        (lambda: auc(["a"], torch.ones(3)), InputTypeError, "positive: got list"),
        (lambda: auc(torch.ones(3), torch.ones(3, device="meta")), InputError, "negative: is on meta, but positive is on cpu"),
        (lambda: LinkHead(0, 3), InputError, "in_channels: got 0"),
        (lambda: LinkHead(2, 1.5), InputTypeError, "hidden_channels: got 1.5"),
        (lambda: LinkHead(2, 3)(torch.ones(3, 5), [[0], [1]]), InputError, r"h: got shape \(3, 5\), expected \[num_nodes, 2\]"),
        (lambda: LinkHead()(torch.ones(3), [[0], [1]]), InputError, r"h: got shape \(3,\), expected \[num_nodes, C\]"),
        (lambda: LinkHead()([[1.0]], [[0], [0]]), InputTypeError, "h: got list"),
        (lambda: LinkHead()(torch.ones(3, 2), [[0, 1], [1, 3]]), InputError, r"pairs: pair 1 is \[1, 3\], .* below 3, the rows of h"),
        (lambda: LinkHead()(torch.ones(3, 2), torch.tensor([[-1], [0]])), InputError, r"pairs: pair 0 is \[-1, 0\]"),
        (lambda: LinkHead()(torch.ones(3, 2), torch.ones(2, 1)), InputTypeError, "pairs: got torch.float32"),
        (lambda: LinkHead()(torch.ones(3, 2), torch.ones(2, 1) > 0), InputTypeError, "pairs: got torch.bool"),
        (lambda: LinkHead()(torch.ones(3, 2), [[0, 1], [1]]), InputTypeError, "pairs: got list"),
        (lambda: LinkHead()(torch.ones(3, 2), [(0, 1), (1, 2), (0, 2)]), InputError, r"\(3, 2\), .*pairs\.t\(\)"),
        (lambda: LinkHead()(torch.ones(3, 2, device="meta"), torch.ones(2, 1).long()), InputError, "pairs: is on cpu, but h is on meta"),
        (lambda: split_edges(K6, 0.2, 0.2), InputError, "val and test: 0.2 and 0.2 hold back 6 of 15 edges, .* but the graph has 0; lower"),
        (lambda: split_edges(K6, 0.5, 0.49), InputError, "val and test: 0.5 and 0.49 hold back all of 15 edges"),
        (lambda: split_edges(K6, True), InputTypeError, "val: got True, expected a number"),
        (lambda: split_edges(K6, "0.1"), InputTypeError, "val: got '0.1', expected a number"),
        (lambda: split_edges(K6, None), InputTypeError, "val: got None, expected a number"),
        (lambda: split_edges(K6, 0.1, float("nan")), InputError, "test: got nan, expected a share"),
        (lambda: split_edges(K6, 0.1, -0.1), InputError, "test: got -0.1, expected a share"),
        (lambda: split_edges(K6, 2), InputError, "val: got 2, expected a share .*; divide a number of edges"),
        (lambda: split_edges(K6, seed=0.5), InputTypeError, "seed: got 0.5, expected an integer"),
        (lambda: split_edges(K6, seed=-1), InputError, "seed: got -1, expected at least 0"),
        (lambda: split_edges(K6, seed=2**64), InputError, "seed: got 18446744073709551616"),
        (lambda: sample_non_edges(K6, 0, seed="1"), InputTypeError, "seed: got '1'"),
        (lambda: sample_non_edges(K6, 1.0), InputTypeError, "num_pairs: got 1.0"),
        (lambda: sample_non_edges(K6, -1), InputError, "num_pairs: got -1"),
        (lambda: split_edges(nx.path_graph(3)), InputTypeError, r"graph: got networkx\.\S*Graph, expected a gcnlab.Graph; Graph.from_networkx"),
        (lambda: sample_non_edges(K6.adjacency, 1), InputTypeError, "graph: got gcnlab.SparseMatrix, expected a gcnlab.Graph"),
        (lambda: sample_non_edges(PATH, 1, sides=[0, 1, 1, 0]), InputError, "sides: the edge 2 -> 1 joins two nodes of side 1"),
        (lambda: sample_non_edges(PATH, 1, sides=[0, 1, 2, 0]), InputError, "sides: got 3 different values, expected two"),
        (lambda: split_edges(PATH, 0, 0.4, sides=[True] * 4), InputError, "sides: got 1 different values, expected two"),
        (lambda: sample_non_edges(PATH, 1, sides=[0, 1]), InputError, r"sides: got shape \(2,\), expected \[4\]"),
        (lambda: sample_non_edges(PATH, 1, sides=True), InputError, r"sides: got shape \(\), expected \[4\]"),
        (lambda: sample_non_edges(PATH, 1, sides=[0.0, 1.0, 0.0, 1.0]), InputTypeError, "sides: got torch.float32"),
        (lambda: sample_non_edges(PATH, 1, sides=["user", "item"]), InputTypeError, "sides: got list"),
        (lambda: sample_non_edges(PATH, 2, sides=[0, 1, 0, 1]), InputError, "num_pairs: got 2, but the graph has 1 pairs .* of 2 and 2 nodes"),
        (lambda: split_edges(CROSS, 0.2, 0.4, sides=[0, 0, 1, 1]), InputError, "hold back .* has 0 between the two sides, of 2 and 2 nodes; lower"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.data
def test_a_graph_autoencoder_predicts_links_of_cora():
    """Kipf & Welling (2016, table 1) report an AUC of 91.0 % for GAE on splits of their own; these give 90.8 ± 0.9."""
    torch.manual_seed(0)
    split = split_edges(load("cora"))
    graph, head = split.graph, LinkHead()
    model = GCN(graph.num_features, 32, 16)
    optimizer = Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        h = model(graph.x, graph.a_hat)
        positive, negative = head(h, split.train), head(h, sample_non_edges(graph, split.train.shape[1]))
        loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        h = model(graph.x, graph.a_hat)
    assert auc(head(h, split.test), head(h, split.test_negative)) > 0.89
