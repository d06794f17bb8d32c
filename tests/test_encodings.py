"""Positional encodings against dense powers and eigenvectors, and what they tell apart that sums over neighbours do not."""

import networkx
import numpy as np
import pytest
import torch
from checks import ZOO, assert_close

import gcnlab
from gcnlab import GCN, GINConv, Graph, GraphClassifier, GraphCollection, SparseMatrix, predict
from gcnlab.data import synthetic
from gcnlab.errors import InputError
from gcnlab.links import split_edges
from gcnlab.sparse import encodings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("values", [1, 10, 1 << 20], ids=lambda n: f"blocks of {n}")
def test_random_walks_return_as_the_powers_say(monkeypatch, name, values):
    monkeypatch.setattr(encodings, "_BLOCK_VALUES", values)
    data = ZOO[name].graph()
    a = data.adjacency.to_dense().numpy()
    total = a.sum(1, keepdims=True)
    walk = np.divide(a, total, out=np.zeros_like(a), where=total != 0)
    expected = [np.linalg.matrix_power(walk, t).diagonal() for t in range(1, 6)]
    expected = torch.from_numpy(np.stack(expected, 1) if len(a) else np.zeros((0, 5)))
    assert_close(encodings.random_walk_encodings(data.adjacency, 5), expected, 1e-12)


def test_random_walks_against_pyg(pyg):
    data = gcnlab.load("karate").with_features("constant")
    theirs = pyg.transforms.AddRandomWalkPE(9, None)(data.to_pyg()).x[:, 1:]
    assert_close(data.with_features("rwpe", 9).x, theirs, 1e-6)


@pytest.mark.parametrize("is_dense", [True, False])
def test_eigenvectors_of_the_laplacian(monkeypatch, is_dense):
    if not is_dense:
        monkeypatch.setattr(encodings, "_DENSE_BELOW", 0)
    g = networkx.barabasi_albert_graph(40, 2, seed=1)
    values, vectors = np.linalg.eigh(networkx.normalized_laplacian_matrix(g).toarray())
    assert np.diff(values[:7]).min() > 1e-3  # so that each vector is one up to its sign
    vectors = torch.from_numpy(vectors[:, 1:6])
    leading = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    found = encodings.laplacian_encodings(Graph.from_networkx(g).adjacency.to(torch.float64), 5)
    assert_close(found, vectors * leading.sign(), 1e-6)


def test_the_sign_of_equal_entries_is_that_of_the_first_node():
    path = SparseMatrix.from_dense([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert_close(encodings.laplacian_encodings(path, 1), torch.tensor([[0.5], [0.0], [-0.5]]) * 2**0.5, 1e-6)


def test_each_part_is_encoded_by_itself():
    parts = [networkx.path_graph(5), networkx.star_graph(3), networkx.empty_graph(1), networkx.path_graph(2)]
    one = Graph.from_networkx(networkx.disjoint_union_all(parts))
    mixed = torch.randperm(one.num_nodes, generator=torch.Generator().manual_seed(0))
    for kind in ("rwpe", "laplacian"):
        expected = torch.cat(
            [
                Graph.from_networkx(part).with_features(kind, 3).to(torch.float64).x.to_dense()
                if isinstance(Graph.from_networkx(part).with_features(kind, 3).x, SparseMatrix)
                else Graph.from_networkx(part).with_features(kind, 3).x.double()
                for part in parts
            ]
        )
        made = one.with_features(kind, 3).x
        assert_close((made.to_dense() if isinstance(made, SparseMatrix) else made).double(), expected, 1e-6)
    where = mixed.argsort()
    moved = Graph.from_edges(where[one.edge_index], one.num_nodes).with_features("rwpe", 3).x
    assert_close(moved, one.with_features("rwpe", 3).x[mixed], 1e-6)
    assert not bool(one.with_features("laplacian", 3).x[9].any())  # the lone node
    assert_close(one.with_features("laplacian", 3).x[10:], torch.tensor([[0.5, 0, 0], [-0.5, 0, 0]]) * 2**0.5, 1e-6)


def test_features_behind_those_there_are():
    data = gcnlab.load("karate")
    identity = data.with_features("identity")
    both = identity.with_features("rwpe", k=4, append=True)
    made = data.with_features("rwpe", k=4).x
    assert_close(both.x.to_dense() if isinstance(both.x, SparseMatrix) else both.x, torch.cat([torch.eye(34), made], 1))
    assert_close(
        data.with_features("constant").with_features("rwpe", k=4, append=True).x,
        torch.cat([torch.ones(34, 1), made], 1),
    )
    assert_close(data.with_features("rwpe", k=4, append=True).x, made)
    with pytest.raises(InputError, match="x: with_features made it from the edges"):
        split_edges(both)
    split = split_edges(data.with_features("rwpe", 4), seed=0)
    assert_close(split.graph.x, encodings.random_walk_encodings(split.graph.adjacency, 4))


def test_what_is_refused():
    data = gcnlab.load("karate")
    for call, message in (
        (lambda: data.with_features("rwpe"), "k: got None, but 'rwpe' features need the number of their columns"),
        (lambda: data.with_features("rwpe", 0), "k: got 0"),
        (lambda: data.with_features("rwpe", 3, k=3), "max_degree: got 3 for 'rwpe'"),
        (lambda: data.with_features("degree", k=3), "k: got 3 for 'degree' features; it goes with 'rwpe' and 'laplacian'"),
        (lambda: ZOO["directed"].graph().with_features("laplacian", 2), '"laplacian" takes an undirected graph'),
        (lambda: Graph.from_edges([[0, 1], [1, 0]], 2, [-1.0, -1.0]).with_features("laplacian", 2), "weights of 0 or more"),
        (lambda: synthetic.csl(1).with_features("identity"), "kind: got 'identity', whose columns are the nodes of one graph"),
        (lambda: synthetic.csl(1).merged().with_features("rwpe", 2), "alike nodes are merged"),
        (lambda: synthetic.csl(1, 9, (5,)), "skips: got 5 with 9 nodes, expected below 4.5"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            call()


def test_circular_skip_links():
    collection = synthetic.csl(2)
    assert torch.equal(collection.y, torch.arange(10).repeat_interleave(2))
    for graph, skip in zip(collection, np.repeat(synthetic.CSL_SKIPS, 2), strict=True):
        assert networkx.is_isomorphic(graph.to_networkx(), networkx.circulant_graph(41, [1, int(skip)]))
    assert not torch.equal(collection[0].edge_index, collection[1].edge_index)
    assert torch.equal(synthetic.csl(2)[3].edge_index, collection[3].edge_index)


def test_encodings_tell_apart_what_sums_over_neighbours_do_not():
    collection = synthetic.csl()
    torch.manual_seed(0)
    for conv in (gcnlab.GCNConv, GINConv):
        out = predict(GraphClassifier(1, 16, 10, 4, conv=conv, readout="sum"), collection)
        assert_close(out, out[:1].expand_as(out), 1e-5)
    nodes = GCN(1, 16, 10, 4, residual=True, norm="layer")
    assert_close(predict(nodes, collection[0]), predict(nodes, collection[149]), 1e-5)
    encoded = collection.with_features("rwpe", 16)
    x = encoded.whole.x.view(150, 41, 16)
    assert_close(x, x[:, :1].expand_as(x), 1e-6)  # all nodes of a graph are alike
    distances = torch.cdist(x[::15, 0].double(), x[::15, 0].double()) + torch.eye(10)
    assert float(distances.min()) > 1e-3  # of the classes
    assert_close(x.view(10, 15, 41, 16), x[::15].unsqueeze(1).expand(10, 15, 41, 16), 1e-6)
    assert_close(encoded[20].x, collection[20].with_features("rwpe", 16).x, 1e-6)
    of_one = collection[20].with_features("laplacian", 3).x
    assert of_one.shape == collection.with_features("laplacian", 3)[20].x.shape == (41, 3)
    assert isinstance(collection[:3].with_features("rwpe", 2, append=True), GraphCollection)
