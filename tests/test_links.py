"""Link prediction: splits counted by hand, metrics beside scikit-learn's and OGB's, and a graph autoencoder on Cora."""

import numpy as np
import pytest
import torch
from checks import ZOO, assert_close
from torch.nn import functional as F

from gcnlab import GCN, Adam, Graph, SparseMatrix, load
from gcnlab.errors import InputError, InputTypeError
from gcnlab.links import LinkHead, auc, hits_at_k, sample_non_edges, split_edges

pytestmark = pytest.mark.usefixtures("one_thread")


def pairs(edges):
    return set(map(tuple, edges.T.tolist()))


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
