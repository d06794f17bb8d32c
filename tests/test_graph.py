import copy
import math
import pickle
import warnings

import networkx as nx
import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse
import torch
from checks import ZOO, Edges, a_hat, assert_close, dense_copy, edge_lists, ignoring_direction, undirected
from hypothesis import given
from pretended import seen_on_device

from gcnlab import GCN, Graph, SparseMatrix, load, predict
from gcnlab.errors import InputError, InputTypeError
from gcnlab.image import grid_graph

pytestmark = pytest.mark.usefixtures("one_thread")

PATH = [[0, 1, 1, 2], [1, 0, 2, 1]]  # 0 - 1 - 2
UNDIRECTED = [name for name, edges in ZOO.items() if (edges.dense() == edges.dense().T).all()]
POSITIVE = [name for name in ZOO if name != "negative weights"]

laplacian = ignoring_direction(lambda graph: graph.laplacian)
l_tilde = ignoring_direction(lambda graph: graph.l_tilde())


def normalize(graph, self_loops, norm):
    return ignoring_direction(lambda graph: graph.normalize(self_loops, norm))(graph)


# -- the theory -------------------------------------------------------------------------------------------------------


def test_a_hat_of_a_path_by_hand():
    """Degrees with loops 2, 3, 2: off the diagonal 1 / sqrt(6), on it 1/2, 1/3, 1/2."""
    off = 6**-0.5
    expected = torch.tensor([[1 / 2, off, 0], [off, 1 / 3, off], [0, off, 1 / 2]], dtype=torch.float64)
    assert_close(Graph.from_edges(PATH).a_hat.to_dense(), expected, 1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("self_loops", ["fill", "add", None])
@pytest.mark.parametrize("name", POSITIVE)
def test_normalizations_against_the_dense_oracle(name, self_loops, dtype):
    graph, a = ZOO[name].graph(dtype), ZOO[name].dense()
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    for norm, oracle in (("sym", oracles.a_hat), ("rw", oracles.a_hat_rw), (None, oracles.a_tilde)):
        matrix = normalize(graph, self_loops, norm)
        assert matrix.dtype == dtype
        np.testing.assert_allclose(dense_copy(matrix), oracle(a, self_loops), atol=tolerance, err_msg=norm)


@pytest.mark.parametrize("name", POSITIVE)
def test_laplacians_against_the_dense_oracle(name):
    graph, a = ZOO[name].graph(), ZOO[name].dense()
    np.testing.assert_allclose(dense_copy(laplacian(graph)), oracles.laplacian(a), atol=1e-14)
    np.testing.assert_allclose(dense_copy(l_tilde(graph)), oracles.l_tilde(a), atol=1e-14)
    assert_close(graph.degree, torch.from_numpy(a).sum(1))
    assert_close(graph.degree_tilde, torch.from_numpy(oracles.a_tilde(a)).sum(1))


@pytest.mark.parametrize("name", ["undirected", "weighted", "loops", "isolated"])
def test_l_tilde_with_the_largest_eigenvalue(name):
    found = dense_copy(ZOO[name].graph().l_tilde(None))
    np.testing.assert_allclose(found, oracles.l_tilde(ZOO[name].dense(), None), atol=1e-6)
    assert np.linalg.eigvalsh(found)[-1] == pytest.approx(1.0, abs=1e-6)


def networkx_graph(edges):
    """Undirected, from the upper triangle; networkx counts a loop's weight once in its adjacency matrix."""
    graph = nx.Graph()
    graph.add_nodes_from(range(edges.num_nodes))
    a = edges.dense()
    graph.add_weighted_edges_from((i, j, a[i, j]) for i, j in zip(*np.triu(a).nonzero(), strict=True))
    return graph


@pytest.mark.parametrize("name", [name for name in UNDIRECTED if ZOO[name].num_nodes])
def test_a_hat_against_networkx(name):
    graph = networkx_graph(ZOO[name])
    assert nx.to_numpy_array(graph, weight="weight").tolist() == ZOO[name].dense().tolist()
    for node in graph:
        if not graph.has_edge(node, node):
            graph.add_edge(node, node, weight=1.0)
    expected = np.identity(len(graph)) - nx.normalized_laplacian_matrix(graph).toarray()
    np.testing.assert_allclose(dense_copy(ZOO[name].graph().a_hat), expected, atol=1e-14)


@pytest.mark.parametrize("name", ["undirected", "weighted"])
def test_laplacian_against_networkx_and_scipy(name):
    found = dense_copy(ZOO[name].graph().laplacian)
    np.testing.assert_allclose(found, nx.normalized_laplacian_matrix(networkx_graph(ZOO[name])).toarray(), atol=1e-14)
    np.testing.assert_allclose(found, scipy.sparse.csgraph.laplacian(ZOO[name].dense(), normed=True), atol=1e-14)


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("add_self_loops", [True, False])
def test_a_hat_against_pyg(pyg, name, add_self_loops):
    edges = ZOO[name]
    weight = torch.ones(edges.edge_index.shape[1]).double() if edges.edge_weight is None else edges.edge_weight
    merged = pyg.utils.coalesce(
        edges.edge_index, weight, num_nodes=edges.num_nodes
    )  # PyG counts one of two equal loops
    index, norm = pyg.nn.conv.gcn_conv.gcn_norm(
        *merged, edges.num_nodes, add_self_loops=add_self_loops, dtype=torch.float64
    )
    expected = np.zeros((edges.num_nodes, edges.num_nodes))
    np.add.at(expected, (index[1].numpy(), index[0].numpy()), norm.numpy())
    found = normalize(edges.graph(), "fill" if add_self_loops else None, "sym")
    np.testing.assert_allclose(dense_copy(found), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["undirected", "weighted", "loops", "isolated"])
def test_spectra(name):
    """Â of an undirected graph lies in [-1, 1], with 1 for D̃^1/2 1; L in [0, 2]; rows of D̃^-1 Ã sum to 1."""
    graph = ZOO[name].graph()
    assert_close(graph.a_hat @ graph.degree_tilde.sqrt(), graph.degree_tilde.sqrt())
    assert_close(graph.normalize(norm="rw").row_sums(), torch.ones(graph.num_nodes))
    for matrix, low, high in ((graph.a_hat, -1, 1), (graph.laplacian, 0, 2), (graph.l_tilde(), -1, 1)):
        eigenvalues = torch.linalg.eigvalsh(matrix.to_dense())
        assert low - 1e-12 <= float(eigenvalues.min()) <= float(eigenvalues.max()) <= high + 1e-12


def test_directed_graph_divides_by_in_degrees_and_warns_once():
    edges = ZOO["directed"]
    graph = edges.graph()
    assert graph.is_directed
    with pytest.warns(UserWarning, match=r"symmetric normalisation of a directed graph divides by in-degrees") as seen:
        first = graph.a_hat
    assert len(seen) == 1
    assert seen[0].filename == __file__  # points at the user's line
    assert graph.a_hat is first  # and says no more: a warning would be an error here
    np.testing.assert_allclose(dense_copy(first), oracles.a_hat(edges.dense()), atol=1e-15)
    degree = (edges.dense() + np.identity(7)).sum(1)  # row sums: what comes in
    assert dense_copy(first)[2, 0] == pytest.approx(1 / (degree[2] * degree[0]) ** 0.5)
    graph.normalize(norm="rw")  # no warning
    graph.a_tilde  # noqa: B018


@pytest.mark.parametrize("norm", ["sym", "rw"])
@pytest.mark.parametrize("name", ["isolated", "directed", "no edges", "one node"])
def test_degree_zero_gives_zero_and_never_infinity(name, norm):
    """Without loops; with them an isolated node keeps its own features."""
    graph = ZOO[name].graph()
    without = dense_copy(normalize(graph, None, norm))
    alone = graph.degree.numpy() == 0
    assert alone.any()
    assert np.isfinite(without).all()
    assert not without[alone].any()
    with_loops = dense_copy(normalize(graph, "fill", norm))
    np.testing.assert_array_equal(with_loops[alone], np.identity(len(with_loops))[alone])


@pytest.mark.parametrize("name", ZOO)
def test_filling_loops_twice_changes_nothing(name):
    once = ZOO[name].graph().a_tilde
    twice = Graph(once).a_tilde
    assert torch.equal(once.to_dense(), twice.to_dense())
    assert torch.equal(a_hat(Graph(once)).to_dense(), a_hat(ZOO[name].graph()).to_dense())


def test_fill_and_add_differ_at_nodes_with_a_loop_alone():
    graph = undirected([(0, 1), (1, 1)], 3, [1.0, 2.0]).graph()
    assert graph.normalize("fill", None).to_dense().tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert graph.normalize("add", None).to_dense().tolist() == [[1, 1, 0], [1, 3, 0], [0, 0, 1]]
    assert (graph.has_self_loops, graph.num_self_loops) == (True, 1)


@pytest.mark.parametrize(
    ("weights", "norm", "message"),
    [
        ([-3.0, -3.0], "sym", r"negative weights make the degree of node 0 -2; normalising needs positive degrees"),
        ([-1.0, -1.0], "sym", r"the degree of node 0 0"),
        ([-3.0, -3.0], "rw", r"the degree of node 0 -2"),
    ],
)
def test_negative_degrees(weights, norm, message):
    graph = Graph.from_edges([[0, 1], [1, 0]], edge_weight=weights)
    with pytest.raises(InputError, match=message):
        graph.normalize(norm=norm)
    assert graph.normalize(norm=None).nnz == 4  # nothing to divide by


def test_negative_degree_names_the_node():
    graph = Graph.from_edges(
        [[0, 1, 1, 2], [1, 0, 2, 1]], edge_weight=[1.0, 1.0, -4.0, -4.0], node_names=["a", "b", "c"]
    )
    with pytest.raises(InputError, match=r"degree of node 1 \('b'\) -2"):
        graph.a_hat  # noqa: B018


def test_negative_weights_with_positive_degrees_are_used():
    edges = ZOO["negative weights"]
    assert (edges.dense() < 0).any()
    np.testing.assert_allclose(dense_copy(edges.graph().a_hat), oracles.a_hat(edges.dense()), atol=1e-15)


def test_low_precision_sums_degrees_in_float32():
    """A star of 1,021 leaves: bfloat16 would stop counting at 256."""
    leaves = torch.arange(1, 1022)
    ends = torch.stack([torch.cat([leaves * 0, leaves]), torch.cat([leaves, leaves * 0])])
    graph = Edges(ends, 1022).graph(torch.bfloat16)
    assert graph.degree[0] == 1021
    expected = torch.tensor([1 / 1022, (1 / (1022 * 2)) ** 0.5, 0.5]).bfloat16()
    found = graph.a_hat
    assert found.dtype == torch.bfloat16
    assert [found.value[0], found.value[1], found.value[-1]] == expected.tolist()


# -- one graph, every door --------------------------------------------------------------------------------------------


def from_pyg_edge_weight(edges):
    from torch_geometric.data import Data

    return Graph.from_pyg(Data(edge_index=edges.edge_index, edge_weight=edges.edge_weight, num_nodes=edges.num_nodes))


def from_pyg_edge_attr(edges):
    from torch_geometric.data import Data

    attr = None if edges.edge_weight is None else edges.edge_weight[:, None]
    return Graph.from_pyg(Data(edge_index=edges.edge_index, edge_attr=attr, num_nodes=edges.num_nodes))


def from_networkx(edges):
    graph = nx.from_numpy_array(edges.dense().T, create_using=nx.DiGraph)
    return Graph.from_networkx(graph)


def from_pandas(edges):
    table = pd.DataFrame(edges.edge_index.T.numpy(), columns=["source", "target"])
    table["w"] = 1.0 if edges.edge_weight is None else edges.edge_weight.numpy()
    return Graph.from_pandas(table, weight="w", directed=True, node_names=range(edges.num_nodes))


def coo(edges):
    return torch.from_numpy(edges.dense()).to_sparse_coo()


GRAPH_DOORS = {
    "edges as lists": lambda e: Graph.from_edges(e.edge_index.tolist(), e.num_nodes, e.edge_weight),
    "edges as int32": lambda e: Graph.from_edges(e.edge_index.int(), e.num_nodes, e.edge_weight),
    "edges as numpy": lambda e: Graph.from_edges(e.edge_index.numpy(), e.num_nodes, e.edge_weight),
    "scipy": lambda e: Graph.from_scipy(scipy.sparse.csr_matrix(e.dense())),
    "dense": lambda e: Graph.from_dense(torch.from_numpy(e.dense())),
    "torch COO": lambda e: Graph.from_torch(coo(e)),
    "torch CSR": lambda e: Graph.from_torch(coo(e).to_sparse_csr()),
    "torch CSC": lambda e: Graph.from_torch(coo(e).to_sparse_csc()),
    "networkx": from_networkx,
    "pandas": from_pandas,
    "PyG": from_pyg_edge_weight,
    "PyG edge_attr": from_pyg_edge_attr,
}


@pytest.mark.parametrize("name", ["undirected", "directed, weighted", "loops", "duplicates", "isolated", "no edges"])
@pytest.mark.parametrize("door", GRAPH_DOORS)
def test_every_door_gives_the_same_a_hat(pyg, door, name):
    graph = GRAPH_DOORS[door](ZOO[name])
    np.testing.assert_allclose(dense_copy(a_hat(graph)), oracles.a_hat(ZOO[name].dense()), atol=1e-6)
    assert graph.num_nodes == ZOO[name].num_nodes


def test_a_torch_sparse_matrix_with_its_loops_given_apart():
    """A + I as an uncoalesced COO tensor is one loop a node, which "fill" keeps: not A + 2 I."""
    edges = ZOO["undirected"]
    loops = torch.arange(7).expand(2, 7)
    index = torch.cat([edges.edge_index.flip(0), loops], 1)
    matrix = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (7, 7))
    np.testing.assert_allclose(dense_copy(Graph.from_torch(matrix).a_hat), oracles.a_hat(edges.dense()), atol=1e-6)


def test_num_nodes_comes_from_the_features_then_the_labels_then_the_ids():
    assert Graph.from_edges([[0], [1]]).num_nodes == 2
    assert Graph.from_edges([[0], [1]], x=torch.ones(5, 3)).num_nodes == 5
    assert Graph.from_edges([[0], [1]], x=scipy.sparse.csr_array(np.eye(5, 3))).num_nodes == 5
    assert Graph.from_edges([[0], [1]], x=[[1.0], [2.0], [3.0]]).num_nodes == 3
    assert Graph.from_edges([[0], [1]], y=[0, 1, 0]).num_nodes == 3
    assert Graph.from_edges([[0], [1]], y=1).num_nodes == 2  # the graph's label
    assert Graph.from_edges([[], []]).num_nodes == 0
    assert Graph.from_edges([[0], [1]], num_nodes=7).num_nodes == 7


@pytest.mark.parametrize("mode", ["sum", "first"])
def test_duplicate_edges_are_counted(mode):
    graph = Graph.from_edges([[0, 1, 0, 0], [1, 0, 1, 1]], edge_weight=[1.0, 5.0, 2.0, 4.0], duplicates=mode)
    assert (graph.num_edges, graph.num_duplicates) == (2, 2)
    assert graph.adjacency.to_dense().tolist() == [[0.0, 5.0], [7.0 if mode == "sum" else 1.0, 0.0]]
    with pytest.raises(InputError, match=r"edge 2 \(0 -> 1\) is given twice"):
        Graph.from_edges([[0, 1, 0, 0], [1, 0, 1, 1]], duplicates="error")


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32], ids=str)
def test_small_integers_are_int64_at_scale(dtype):
    num_nodes = 30_011 if dtype == torch.int16 else 100_000
    torch.manual_seed(0)
    edge_index = torch.randint(num_nodes, (2, 200_003))
    edge_index[:, 0] = num_nodes - 1
    wide = Graph.from_edges(edge_index, num_nodes).adjacency
    narrow = Graph.from_edges(edge_index.to(dtype), num_nodes).adjacency
    assert all(torch.equal(getattr(wide, key), getattr(narrow, key)) for key in ("rowptr", "col", "value"))
    expected = scipy.sparse.coo_array(
        (np.ones(200_003), (edge_index[1].numpy(), edge_index[0].numpy())), (num_nodes, num_nodes)
    ).tocsr()
    assert abs(narrow.to_scipy() - expected).max() == 0


# -- features, labels, masks ------------------------------------------------------------------------------------------


def test_sparse_features_below_fifteen_per_cent():
    x = torch.zeros(20, 5)
    x.view(-1)[:14] = 1.0
    assert isinstance(Graph.from_edges([[0], [1]], x=x).x, SparseMatrix)
    assert torch.equal(Graph.from_edges([[0], [1]], x=x).x.to_dense(), x)
    x.view(-1)[14] = 1.0
    assert isinstance(Graph.from_edges([[0], [1]], x=x).x, torch.Tensor)
    assert torch.equal(Graph.from_edges([[0], [1]], x=SparseMatrix.from_dense(x)).x, x)
    assert torch.equal(Graph.from_edges([[0], [1]], x=x.to_sparse_csr()).x, x)


def test_features_made_from_the_structure():
    graph = undirected([(0, 1), (1, 2), (2, 2)], 4, [2.0, 3.0, 5.0]).graph(torch.float32)
    assert graph.num_features == 0
    identity = graph.with_features("identity")
    dense = identity.x if isinstance(identity.x, torch.Tensor) else identity.x.to_dense()
    assert torch.equal(dense, torch.eye(4))
    adjacency = graph.with_features("adjacency")
    assert adjacency.x.tolist() == [[1, 2, 0, 0], [2, 1, 3, 0], [0, 3, 6, 0], [0, 0, 0, 1]]
    assert graph.with_features("degree").x.tolist() == [[2.0], [5.0], [8.0], [0.0]]
    assert graph.with_features("constant").x.tolist() == [[1.0]] * 4
    with pytest.raises(InputError, match=r"kind: got 'ones', expected \"identity\", \"adjacency\""):
        graph.with_features("ones")
    for kind in ("identity", "log_degree"):
        with pytest.raises(InputError, match=rf"max_degree: got 3 for '{kind}' features"):
            graph.with_features(kind, max_degree=3)
    big = Graph.from_edges([[0], [1]], num_nodes=11).with_features("identity")
    assert isinstance(big.x, SparseMatrix)
    assert big.num_features == 11


def test_degree_features_are_those_of_a_collection(tmp_path):
    """A model trained on load(..., features="degree") takes a new graph with the same columns."""
    write = {
        "A": "1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n",
        "graph_indicator": "1\n1\n2\n2\n2\n",
        "graph_labels": "1\n-1\n",
    }
    for part, text in write.items():
        (tmp_path / f"DS_{part}.txt").write_text(text)
    dense = lambda x: x.to_dense() if isinstance(x, SparseMatrix) else x  # noqa: E731
    for features, kind in (("degree", "degree_one_hot"), ("degree_bins", "degree_bins"), ("log_degree", "log_degree")):
        graphs = load(tmp_path, features=features)
        options = {} if kind == "log_degree" else {"max_degree": 2}
        for graph in graphs:
            bare = graph.replace(x=None)
            assert torch.equal(dense(bare.with_features(kind, **options).x), dense(graph.x))
    star = Graph.from_edges([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]])
    assert dense(star.with_features("degree_one_hot", max_degree=2).x)[0].tolist() == [0, 0, 1]  # the last is for more
    assert star.with_features("degree_one_hot").num_features == 4


def test_weights_take_the_dtype_of_the_features():
    for weight in (torch.tensor([1, 2]), torch.tensor([1.0, 2.0], dtype=torch.float64)):
        for dtype in (torch.float32, torch.float64):
            graph = Graph.from_edges([[0, 1], [1, 0]], edge_weight=weight, x=torch.ones(2, 3, dtype=dtype))
            assert graph.adjacency.dtype == graph.normalize(norm="rw").dtype == dtype
    assert Graph.from_edges([[0], [1]], x=torch.ones(2, 3, dtype=torch.int64)).x.dtype == torch.float32


def test_labels_and_classes():
    graph = Graph.from_edges(PATH, y=[2, -1, 0])
    assert graph.y.dtype == torch.int64
    assert graph.num_classes == 3
    assert Graph.from_edges(PATH, y=[0, 1, 0], class_names=["a", "b", "c", "d"]).num_classes == 4
    assert Graph.from_edges(PATH, y=1).y.shape == ()
    assert Graph.from_edges(PATH, y=torch.tensor([0.5, 1.5, 2.5])).num_classes == 0  # regression
    assert Graph.from_edges(PATH, y=torch.ones(3, 2, dtype=torch.int64)).y.dtype == torch.float32  # several targets
    assert Graph.from_edges(PATH, y=np.array([0, 1, 1], dtype=np.int8)).num_classes == 2


def test_masks_are_kept():
    masks = {
        "train_mask": [True, False, False],
        "val_mask": np.array([False, True, False]),
        "test_mask": torch.tensor([False, False, True]),
    }
    graph = Graph.from_edges(PATH, y=[0, 1, 0], **masks)
    assert [getattr(graph, key).tolist() for key in masks] == torch.eye(3, dtype=torch.bool).tolist()


# -- immutability, caches ---------------------------------------------------------------------------------------------


def test_immutable():
    graph = Graph.from_edges(PATH)
    with pytest.raises(AttributeError, match=r"a Graph is immutable; graph.replace\(x=...\) returns a changed one"):
        graph.x = torch.ones(3, 1)


def test_replace():
    graph = Graph.from_edges([[0, 1, 1], [1, 0, 0]], x=torch.ones(2, 3), y=[0, 1], name="pair")
    operator = graph.normalize(norm="rw")
    other = graph.replace(y=[1, 1])
    assert (other.y.tolist(), other.name, other.num_duplicates) == ([1, 1], "pair", 1)
    assert graph.y.tolist() == [0, 1]
    assert other.normalize(norm="rw") is operator  # A is the same, and so is what was derived from it
    assert other.replace(x=None).x is None
    swapped = graph.replace(adjacency=SparseMatrix.eye(2))
    assert swapped.num_duplicates == 0
    assert torch.equal(swapped.a_hat.to_dense(), torch.eye(2))
    with pytest.raises(InputError, match="replace: no argument 'edge_index'; expected some of adjacency, x, y"):
        graph.replace(edge_index=PATH)
    with pytest.raises(InputError, match=r"x: got shape \(5, 3\), expected \[2, num_features\]"):
        graph.replace(x=torch.ones(5, 3))


def test_derived_matrices_are_kept():
    graph = ZOO["undirected"].graph()
    assert graph.a_hat is graph.a_hat is graph.normalize("fill", "sym")
    assert graph.laplacian is graph.laplacian
    assert graph.a_hat.T is graph.a_hat  # symmetric to the last bit, and known to be
    assert torch.equal(graph.a_hat.to_dense(), graph.a_hat.to_dense().T)


KINDS = {
    "adjacency": lambda graph: graph.adjacency,
    "a_tilde": lambda graph: graph.a_tilde,
    "a_hat": lambda graph: graph.a_hat,
    "random_walk": lambda graph: graph.normalize(None, "rw"),
    "laplacian": lambda graph: graph.laplacian,
    "l_tilde(2.0)": lambda graph: graph.l_tilde(),
    "l_tilde(1.5)": lambda graph: graph.l_tilde(1.5),
    "l_tilde(0.0001)": lambda graph: graph.l_tilde(1e-4),
    "l_tilde(1e-05)": lambda graph: graph.l_tilde(torch.tensor(1e-5, dtype=torch.float64)),
    "l_tilde(None)": lambda graph: graph.l_tilde(None),
} | {
    f"normalize({loops!r}, {norm!r})": lambda graph, arguments=(loops, norm): graph.normalize(*arguments)
    for loops, norm in [(None, "sym"), ("fill", "rw"), ("add", "sym"), ("add", "rw"), ("add", None)]
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["weighted", "loops", "isolated"])
def test_a_matrix_of_a_graph_knows_its_kind(kind, name):
    graph = ZOO[name].graph(torch.float32)
    matrix = KINDS[kind](graph)
    assert matrix.kind == kind
    again = graph.matrix(kind)
    assert (again.kind, again.T is again) == (kind, matrix.T is matrix)
    assert torch.equal(again.to_dense(), matrix.to_dense())
    assert matrix.dtype == graph.adjacency.dtype
    assert graph.to(torch.float64).matrix(kind).kind == kind
    assert all(m.kind == kind or m.T is not m for m in (matrix.T,))
    assert graph.normalize(None, None) is graph.adjacency
    assert graph.adjacency.kind == "adjacency"


@pytest.mark.parametrize(
    "kind", ["rw", "l_tilde(2)()", "l_tilde(nan)", "l_tilde(-1.0)", "l_tilde()", "", None, 2, ["a_hat"]]
)
def test_no_other_kind(kind):
    with pytest.raises(InputError, match=r"kind: got .*, expected one of a_hat, a_tilde, adjacency, random_walk"):
        ZOO["weighted"].graph().matrix(kind)


def test_a_matrix_keeps_its_kind_when_it_becomes_the_adjacency_of_a_graph():
    graph = ZOO["weighted"].graph()
    mine = graph.adjacency.with_value(graph.adjacency.value.clone())
    for matrix, kind in ((mine, None), (graph.a_hat, "a_hat")):
        other = Graph(matrix)
        assert (other.adjacency.kind, matrix.kind) == ("adjacency", kind)
        assert other.adjacency.value is matrix.value
        assert other.adjacency is other.adjacency is other.replace(name="other").adjacency
    assert graph.a_hat.T is graph.a_hat


def test_the_largest_eigenvalue_is_the_same_at_each_call():
    ring = torch.arange(101)
    edges = torch.stack([torch.cat([ring, ring.roll(1)]), torch.cat([ring.roll(1), ring])])
    weight = torch.rand(101, generator=torch.Generator().manual_seed(0), dtype=torch.float64).repeat(2)
    found = [Graph.from_edges(edges, edge_weight=weight).l_tilde(None).value for _ in range(5)]
    assert all(torch.equal(value, found[0]) for value in found)


def test_what_is_derived_is_never_stale():
    graph = ZOO["weighted"].graph(torch.float32)
    graph.a_hat, graph.laplacian, graph.l_tilde()
    other_weights = graph.adjacency.with_value(graph.adjacency.value * torch.linspace(1, 3, graph.num_edges))
    for changed in (
        graph.replace(adjacency=other_weights),
        graph.replace(adjacency=ZOO["directed"].graph(torch.float32).adjacency),
        graph.replace(adjacency=ZOO["no edges"].graph(torch.float32).adjacency),
    ):
        a = dense_copy(changed.adjacency)
        np.testing.assert_allclose(dense_copy(a_hat(changed)), oracles.a_hat(a), atol=1e-6)
        np.testing.assert_allclose(dense_copy(laplacian(changed)), oracles.laplacian(a), atol=1e-6)
    np.testing.assert_allclose(dense_copy(graph.a_hat), oracles.a_hat(ZOO["weighted"].dense()), atol=1e-6)
    double = graph.replace(x=torch.ones(7, 3, dtype=torch.float64))  # x decides the dtype of A
    assert {m.dtype for m in (double.adjacency, double.a_hat, double.laplacian, double.l_tilde())} == {torch.float64}


def test_learned_weights_are_normalised_anew():
    """Two steps of learning edge weights: gradients against the dense formula in autograd."""
    adjacency = ZOO["weighted"].graph().adjacency
    value = adjacency.value.clone().requires_grad_()
    graph = Graph(adjacency.with_value(value))
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, cols = adjacency.row, adjacency.col.long()
    for _ in range(2):
        dense = torch.zeros(7, 7, dtype=torch.float64).index_put((rows, cols), value) + torch.eye(7)
        scale = dense.sum(1).rsqrt()
        hat = scale[:, None] * dense * scale
        lap = torch.eye(7) - (dense - torch.eye(7)) * (dense.sum(1) - 1).rsqrt() * (dense.sum(1) - 1).rsqrt()[:, None]
        for found, expected in ((a_hat(graph), hat), (laplacian(graph), lap)):
            (g,) = torch.autograd.grad((found @ x).square().sum(), value)
            assert_close(g, torch.autograd.grad((expected @ x).square().sum(), value, retain_graph=True)[0])
        with torch.no_grad():
            value -= 0.01 * g


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies_hold_nothing_derived(copier):
    graph = ZOO["weighted"].graph(
        x=torch.eye(7, dtype=torch.float64), y=[0, 1, 2, 0, 1, 2, -1], node_names=list("abcdefg")
    )
    fresh = len(pickle.dumps(graph))
    expected = graph.a_hat.to_dense()
    graph.laplacian  # noqa: B018
    assert len(pickle.dumps(graph)) <= fresh + 16  # a flag or two, no matrix
    other = copier(graph)
    assert not any(isinstance(kept, (SparseMatrix, torch.Tensor)) for kept in other.derived.values())
    assert torch.equal(other.a_hat.to_dense(), expected)
    assert other.node_names == tuple("abcdefg")
    assert torch.equal(other.y, graph.y)


def test_to_device():
    graph = ZOO["weighted"].graph(x=torch.eye(7, dtype=torch.float64))
    assert graph.to("cpu") is graph
    assert graph.edge_index.device.type == "cpu"


# -- the receptive field ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("sparse_x", [False, True])
@pytest.mark.parametrize("name", ["undirected", "directed, weighted", "directed", "loops", "isolated", "no edges"])
def test_receptive_field_is_the_whole_graph_seen_from_its_nodes(name, sparse_x, num_layers):
    edges = ZOO[name]
    torch.manual_seed(0)
    x = torch.randn(edges.num_nodes, 13, dtype=torch.float64)
    if sparse_x:
        x *= torch.rand_like(x) < 0.1
    graph = edges.graph(x=x)
    operator = a_hat(graph)
    model = GCN(13, 5, 3, num_layers, dropout=0.0).double()
    for nodes in (
        torch.tensor([edges.num_nodes - 1, 1, 1]),  # ids in any order, one twice
        torch.arange(edges.num_nodes) < 3,
        torch.tensor([], dtype=torch.int64),
    ):
        field = graph.receptive_field(nodes, num_layers)
        rows = nodes.nonzero()[:, 0] if nodes.dtype == torch.bool else nodes
        assert torch.equal(field.nodes, rows)
        part, whole = model(field.x, field.a_hat), model(graph.x, operator)[rows]
        assert_close(part, whole)
        cotangent = torch.randn_like(part)
        for a, b in zip(
            torch.autograd.grad(part, model.parameters(), cotangent),
            torch.autograd.grad(whole, model.parameters(), cotangent),
            strict=True,
        ):
            assert_close(a, b)


def test_receptive_field_reads_no_more_than_it_needs():
    """On the directed path 0 -> 1 -> ... -> 10, two layers at node 7 read nodes 5 to 7."""
    graph = Graph.from_edges([list(range(10)), list(range(1, 11))], x=torch.arange(11.0)[:, None])
    a_hat(graph)
    field = graph.receptive_field(torch.tensor([7]), 2)
    assert field.x.tolist() == [[5.0], [6.0], [7.0]]
    assert [matrix.shape for matrix in field.a_hat] == [(2, 3), (1, 2)]
    assert graph.receptive_field([7], 0).x.tolist() == [[7.0]]


# -- networkx, pandas, PyG, scipy -------------------------------------------------------------------------------------


def test_from_networkx_names_weights_and_attributes():
    source = nx.Graph()
    source.add_node("ß", height=[1.0, 2.0], age=3, kind="tree")
    source.add_node(("tuple", 1), height=[4.0, 5.0], age=6, kind="shrub")
    source.add_node(7, height=[7.0, 8.0], age=9, kind="tree")
    source.add_edge("ß", 7, weight=2.5)
    source.add_edge(7, 7, weight=4.0)
    source.add_edge(7, ("tuple", 1))
    graph = Graph.from_networkx(source, features=["height", "age"], label="kind")
    assert graph.node_names == ("ß", ("tuple", 1), 7)
    assert graph.adjacency.to_dense().tolist() == [[0, 0, 2.5], [0, 0, 1], [2.5, 1, 4]]
    assert graph.x.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert (graph.y.tolist(), graph.class_names) == ([1, 0, 1], ("shrub", "tree"))
    unweighted = Graph.from_networkx(source, weight=None, features="age")
    assert unweighted.adjacency.to_dense().tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert unweighted.x.tolist() == [[3], [6], [9]]


def test_from_networkx_is_networkx_adjacency():
    for source in (nx.karate_club_graph(), nx.les_miserables_graph(), nx.gn_graph(23, seed=0), nx.path_graph(0)):
        graph = Graph.from_networkx(source)
        expected = nx.to_numpy_array(source).T if len(source) else np.zeros((0, 0))  # networkx: source by target
        np.testing.assert_array_equal(dense_copy(graph.adjacency), expected)
        assert graph.is_directed == source.is_directed()


def test_from_networkx_multigraph_sums_parallel_edges():
    source = nx.MultiGraph([("a", "b", {"weight": 2.0}), ("a", "b", {"weight": 3.0}), ("b", "b", {"weight": 7.0})])
    graph = Graph.from_networkx(source)
    assert graph.adjacency.to_dense().tolist() == [[0, 5], [5, 7]]
    assert graph.num_duplicates == 2


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, bool])
def test_integer_labels_of_networkx_are_taken_as_they_are(kind):
    """Eleven classes: as text "10" would sort before "2"."""
    source = nx.path_graph(2 if kind is bool else 11)
    nx.set_node_attributes(source, {node: kind(node) for node in source}, "label")
    graph = Graph.from_networkx(source, label="label")
    assert graph.y.tolist() == list(range(len(source)))
    assert graph.class_names is None


@pytest.mark.parametrize(
    ("values", "expected", "class_names"),
    [
        ((10.0, 2.0, 9.0), torch.tensor([10.0, 2.0, 9.0]), None),
        ((1.5, None, -2.0), torch.tensor([1.5, math.nan, -2.0]), None),
        ((np.float32(1.5), math.nan, 2), torch.tensor([1.5, math.nan, 2.0]), None),
        ((2, None, 0), torch.tensor([2, -1, 0]), None),
        ((torch.tensor(2), torch.tensor(1), 0), torch.tensor([2, 1, 0]), None),
        (("b", None, "a"), torch.tensor([1, -1, 0]), ("a", "b")),
        (([0, 1], [1, 1], (0, 0)), torch.tensor([[0.0, 1], [1, 1], [0, 0]]), None),
    ],
)
def test_labels_of_networkx(values, expected, class_names):
    source = nx.path_graph(3)
    nx.set_node_attributes(source, dict(enumerate(values)), "t")
    graph = Graph.from_networkx(source, label="t")
    assert torch.equal(graph.y.nan_to_num(99), expected.nan_to_num(99))
    assert graph.y.dtype == expected.dtype
    assert graph.class_names == class_names


def test_labels_of_networkx_are_numbered_by_the_names_given():
    source = nx.path_graph(2)
    nx.set_node_attributes(source, {0: "low", 1: "high"}, "t")
    graph = Graph.from_networkx(source, label="t", class_names=["low", "high"])
    assert (graph.y.tolist(), graph.class_names) == ([0, 1], ("low", "high"))
    with pytest.raises(InputError, match="label: 'low' at 0 is not among class_names, 'high'"):
        Graph.from_networkx(source, label="t", class_names=["high"])
    nx.set_node_attributes(source, {0: "low", 1: [1, 2]}, "t")
    with pytest.raises(
        InputTypeError, match=r"label: got values of list \(first at 1\), str \(first at 0\), expected all integers"
    ):
        Graph.from_networkx(source, label="t")


def test_lambda_max():
    for n in (1, 2, 5, 40):
        graph = Graph.from_networkx(nx.path_graph(n))
        values = torch.linalg.eigvalsh(graph.l_tilde(None).to_dense().double())
        assert float(values.max()) == pytest.approx(1.0, abs=1e-5)
        assert float(values.min()) > -1 - 1e-5
    with pytest.raises(InputError, match="lambda_max: None computes it for a symmetric L, but the graph is directed"):
        Graph.from_edges([[0, 1], [1, 2]]).l_tilde(None)
    for bad in (0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"lambda_max: got {bad}, expected a finite number above 0"):
            graph.l_tilde(bad)


def test_networkx_round_trip():
    for name in ("weighted", "directed, weighted", "loops", "isolated", "no edges", "no nodes"):
        n = ZOO[name].num_nodes
        graph = ZOO[name].graph(torch.float32, x=torch.arange(2.0 * n).reshape(n, 2), y=torch.arange(n) % 3)
        there = graph.to_networkx()
        assert there.is_directed() == graph.is_directed
        back = Graph.from_networkx(there, features="x" if n else None, label="y")
        assert torch.equal(back.adjacency.to_dense(), graph.adjacency.to_dense())
        assert torch.equal(back.y, graph.y)
        if n:
            assert torch.equal(back.x, graph.x)
    named = Graph.from_edges([[0], [1]], node_names=["a", "b"]).to_networkx()
    assert list(named.edges(data="weight")) == [("a", "b", 1.0)]
    with pytest.raises(InputError, match="node_names: 'a' is given twice, at 0 and 1"):
        Graph.from_edges([[0], [1]], node_names=["a", "a"])


def test_from_pandas():
    table = pd.DataFrame({"from": ["c", "a", "c"], "to": ["a", "b", "c"], "w": [2, 3, 5]})
    graph = Graph.from_pandas(table, "from", "to", "w")
    assert graph.node_names == ("a", "b", "c")
    assert graph.adjacency.to_dense().tolist() == [[0, 3, 2], [3, 0, 0], [2, 0, 5]]
    directed = Graph.from_pandas(table, "from", "to", "w", directed=True)
    assert directed.adjacency.to_dense().tolist() == [[0, 0, 2], [3, 0, 0], [0, 0, 5]]
    ordered = Graph.from_pandas(table, "from", "to", node_names=["c", "d", "a", "b"])
    assert ordered.node_names == ("c", "d", "a", "b")
    assert ordered.adjacency.to_dense().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    empty = Graph.from_pandas(table[:0], "from", "to", "w")
    assert (empty.num_nodes, empty.num_edges) == (0, 0)
    mixed = pd.DataFrame({"source": ["b", 1], "target": [1, "a"]}, dtype=object)
    assert Graph.from_pandas(mixed).node_names == ("b", 1, "a")  # not to be sorted: in the order they appear


def test_pyg_round_trip(pyg):
    graph = ZOO["directed, weighted"].graph(
        torch.float32,
        x=torch.randn(5, 3),
        y=[0, 1, 2, 0, -1],
        train_mask=[True, False, False, False, False],
        val_mask=[False, True, True, False, False],
    )
    data = graph.to_pyg()
    assert data.validate(raise_on_error=True)
    assert data.num_nodes == 5
    back = Graph.from_pyg(data)
    for key in ("x", "y", "train_mask", "val_mask", "test_mask"):
        a, b = getattr(back, key), getattr(graph, key)
        assert (a is b is None) or torch.equal(a, b), key
    assert torch.equal(back.adjacency.to_dense(), graph.adjacency.to_dense())


def test_pyg_labels_of_graphs_and_columns(pyg):
    Data = pyg.data.Data
    ends = torch.tensor(PATH)
    assert Graph.from_pyg(Data(edge_index=ends, num_nodes=3, y=torch.tensor([1]))).y.shape == ()
    assert Graph.from_pyg(Data(edge_index=ends, num_nodes=3, y=torch.tensor([[1], [0], [2]]))).y.tolist() == [1, 0, 2]
    assert Graph.from_edges(PATH, y=1).to_pyg().y.tolist() == [1]
    overridden = Graph.from_pyg(Data(edge_index=ends, x=torch.ones(3, 2)), x=torch.zeros(3, 5), name="mine")
    assert (overridden.num_features, overridden.name) == (5, "mine")


def test_scipy_round_trip():
    matrix = scipy.sparse.random(23, 23, density=0.2, random_state=0, format="coo")
    assert abs(Graph.from_scipy(matrix).to_scipy() - matrix).max() == 0


# -- text -------------------------------------------------------------------------------------------------------------


def test_summary():
    graph = Graph.from_edges(
        [[0, 1, 1, 2, 2, 0, 1], [1, 0, 2, 1, 2, 1, 0]],
        x=torch.eye(5),
        y=[0, 0, 1, -1, 1],
        train_mask=[True, True, False, False, False],
        test_mask=[False, False, True, False, True],
        name="five",
    )
    lines = [" ".join(line.split()) for line in graph.summary().splitlines()]
    assert lines == [
        "five",
        "nodes 5",
        "edges 5 stored (3 undirected), symmetric",
        "weights 1 to 2",
        "self-loops 1",
        "duplicates merged 2",
        "isolated nodes 2",
        "features 5, 20.00 % non-zero, kept dense",
        "classes 2, 1 nodes unlabelled",
        "edge homophily 0.500 (share of edges between nodes of one class)",
        "train nodes 2",
        "test nodes 2",
    ]
    assert repr(graph) == "Graph(five: 5 nodes, 5 stored edges, 5 features, 2 classes)"
    directed = Graph.from_edges([[0], [1]]).summary()
    assert "1 stored, directed" in directed
    assert "undirected" not in directed
    for name, edges in ZOO.items():
        assert f"nodes              {edges.num_nodes}" in edges.graph().summary(), name


# -- properties -------------------------------------------------------------------------------------------------------


@given(edge_lists())
def test_property_a_hat_is_the_dense_formula(edges):
    for self_loops in ("fill", "add", None):
        for norm, oracle in (("sym", oracles.a_hat), ("rw", oracles.a_hat_rw), (None, oracles.a_tilde)):
            found = normalize(edges.graph(), self_loops, norm)
            np.testing.assert_allclose(dense_copy(found), oracle(edges.dense(), self_loops), atol=1e-12)


@given(edge_lists())
def test_property_laplacians_are_the_dense_formulas(edges):
    np.testing.assert_allclose(dense_copy(laplacian(edges.graph())), oracles.laplacian(edges.dense()), atol=1e-12)
    np.testing.assert_allclose(dense_copy(l_tilde(edges.graph())), oracles.l_tilde(edges.dense()), atol=1e-12)


@given(edge_lists())
def test_property_permuted_nodes_permute_a_hat(edges):
    torch.manual_seed(0)
    new_id = torch.randperm(edges.num_nodes)
    renamed = a_hat(edges.renamed(new_id).graph()).to_dense()
    assert_close(renamed[new_id][:, new_id], a_hat(edges.graph()).to_dense())


@given(edge_lists())
def test_property_every_door_is_one(edges):
    expected = a_hat(edges.graph()).to_dense()
    for door in ("edges as lists", "edges as int32", "scipy", "dense", "torch COO", "torch CSR", "torch CSC"):
        assert_close(a_hat(GRAPH_DOORS[door](edges)).to_dense(), expected, 1e-6, door)


@given(edge_lists())
def test_property_duplicates_are_sums(edges):
    weight = torch.ones(edges.edge_index.shape[1]) if edges.edge_weight is None else edges.edge_weight
    twice = Edges(edges.edge_index.repeat(1, 2), edges.num_nodes, weight.repeat(2) / 2)
    assert_close(twice.graph().adjacency.to_dense(), torch.from_numpy(edges.dense()))
    assert twice.graph().num_duplicates == 2 * edges.edge_index.shape[1] - int((edges.dense() != 0).sum())


@given(edge_lists())
def test_property_filled_loops_are_filled_once(edges):
    once = edges.graph().a_tilde
    assert bool((once.diagonal() != 0).all())
    assert torch.equal(Graph(once).a_tilde.to_dense(), once.to_dense())
    off = ~torch.eye(edges.num_nodes, dtype=torch.bool)
    assert torch.equal(once.to_dense()[off], edges.graph().adjacency.to_dense()[off])


@given(edge_lists())
def test_property_direction_is_asymmetry(edges):
    graph = edges.graph()
    assert graph.is_directed == (edges.dense() != edges.dense().T).any()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        operator = graph.a_hat
    assert len(seen) == graph.is_directed
    assert (operator.T is operator) == (not graph.is_directed)


@given(edge_lists())
def test_property_networkx_round_trip(edges):
    graph = edges.graph()
    assert_close(Graph.from_networkx(graph.to_networkx()).adjacency.to_dense(), graph.adjacency.to_dense(), 1e-6)


def test_to_undirected_is_the_mean_of_both_directions():
    graph = Graph.from_edges([[0, 1, 1], [1, 0, 2]], edge_weight=[2.0, 4.0, 5.0])
    expected = [[0.0, 3.0, 0.0], [3.0, 0.0, 5.0], [0.0, 5.0, 0.0]]
    assert graph.to_undirected().adjacency.to_dense().tolist() == expected
    assert not graph.to_undirected().is_directed


def test_to_another_dtype():
    graph = Graph.from_edges([[0, 1], [1, 0]], x=torch.eye(2, dtype=torch.float64)).to(torch.float32)
    assert graph.x.dtype == graph.a_hat.dtype == torch.float32


def test_from_pandas_puts_tables_into_the_order_of_the_names():
    pandas = pytest.importorskip("pandas")
    edges = pandas.DataFrame({"source": ["a", "b"], "target": ["b", "c"]})
    x = pandas.DataFrame({"f": [2.0, 1.0, 0.0]}, index=["c", "b", "a"])
    y = pandas.Series([1, 0, 1], index=["b", "a", "c"])
    graph = Graph.from_pandas(edges, x=x, y=y)
    assert graph.node_names == ("a", "b", "c")
    assert (graph.x if isinstance(graph.x, torch.Tensor) else graph.x.to_dense()).tolist() == [[0.0], [1.0], [2.0]]
    assert graph.y.tolist() == [0, 1, 1]
    with pytest.raises(InputError, match="x: its index has no row for node 'a'"):
        Graph.from_pandas(edges, x=x.drop("a"))


def test_to_another_device():
    graph = Graph.from_edges(PATH, x=torch.ones(3, 2), y=[0, 1, 0], train_mask=[True, False, False])
    assert graph.to("cpu") is graph
    moved = graph.to("meta")
    assert {str(part.device) for part in (moved.adjacency, moved.x, moved.y, moved.train_mask)} == {"meta"}
    assert moved.val_mask is None


def test_summary_of_labels_that_no_edge_joins():
    text = Graph.from_edges(PATH, y=[0, -1, 1]).summary()
    assert "classes            2, 1 nodes unlabelled" in text
    assert "homophily" not in text


def test_a_graph_is_on_one_device():
    edges, x = [[0, 1, 1, 2], [1, 0, 2, 1]], torch.rand(3, 2)
    graph = Graph.from_edges(edges, x=x)
    away = torch.ones(3, dtype=torch.bool, device="meta")
    for make, name in (
        (lambda: Graph.from_edges(edges, x=x.to("meta")), "x"),
        (lambda: Graph.from_edges(edges, x=SparseMatrix.eye(3).to("meta")), "x"),
        (lambda: Graph.from_edges(edges, x=x, y=away.long()), "y"),
        (lambda: Graph.from_edges(edges, x=x, y=[0, 1, 0], train_mask=away), "train_mask"),
        (lambda: Graph.from_edges(edges, x=x, y=[0, 1, 0], test_mask=away), "test_mask"),
        (lambda: graph.replace(y=away.long()), "y"),
        (lambda: graph.replace(x=x.to("meta")), "x"),
    ):
        with pytest.raises(InputError, match=rf"^{name}: is on meta, but adjacency is on cpu; move one with"):
            make()
    a_hat = graph.a_hat
    assert graph.to("cpu:0") is graph
    assert graph.to("cpu:0").a_hat is a_hat
    moved = seen_on_device("[part.device.type for part in (lambda g: (g, g.x, g.y, g.train_mask))(graph.to(D))]")
    assert moved == str(["pretend"] * 4)
    # What is no tensor yet goes where the edges are.
    made = "(lambda g: (g.y.device.type, g.train_mask.device.type))(Graph.from_edges(torch.tensor(path, device=D), y=[0, 1, 0], train_mask=[True] * 3))"
    assert seen_on_device(made) == "('pretend', 'pretend')"


def test_the_combinatorial_laplacian_is_that_of_networkx():
    graph = nx.gnp_random_graph(13, 0.3, seed=0)
    for u, v in graph.edges:
        graph[u][v]["weight"] = u + v + 1.0
    graph.add_edge(3, 3, weight=5.0)
    found = Graph.from_networkx(graph).combinatorial_laplacian
    expected = nx.laplacian_matrix(nx.Graph(e for e in graph.edges(data=True) if e[0] != e[1])).toarray()
    order = list(nx.Graph(e for e in graph.edges(data=True) if e[0] != e[1]).nodes)
    assert_close(found.to_dense()[order][:, order], torch.as_tensor(expected, dtype=torch.float32), 1e-6)
    assert found.T is found
    directed = Graph.from_edges([[0, 2], [1, 1]], edge_weight=[2.0, 3.0])
    assert directed.combinatorial_laplacian.to_dense().tolist() == [[0, 0, 0], [-2, 5, -3], [0, 0, 0]]
    filter_ = grid_graph(3, 5, connectivity=8).combinatorial_laplacian.to_dense()[7].view(3, 5)
    assert filter_.tolist() == [[0, -1, -1, -1, 0], [0, -1, 8, -1, 0], [0, -1, -1, -1, 0]]


# -- learnt weights: derived at each use, in whatever mode -------------------------------------------------------------

DERIVED = {
    "a_hat": lambda graph: graph.a_hat,
    "a_tilde": lambda graph: graph.a_tilde,
    "random walk": lambda graph: graph.normalize(None, "rw"),
    "add": lambda graph: graph.normalize("add", "sym"),
    "laplacian": lambda graph: graph.laplacian,
    "l_tilde": lambda graph: graph.l_tilde(),
    "l_tilde of its own": lambda graph: graph.l_tilde(None),
    "combinatorial": lambda graph: graph.combinatorial_laplacian,
    "a matrix by its kind": lambda graph: graph.matrix("normalize('fill', 'rw')"),
    "degree": lambda graph: graph.degree_tilde,
}


def evaluated(how, graph, derive):
    if how == "predict":
        predict(GCN(5, 3, 2), graph)
    elif how == "frozen":  # and learnt again
        graph.adjacency.value.requires_grad_(False)
        derive(graph)
        graph.adjacency.value.requires_grad_()
    else:
        with {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[how]():
            derive(graph), graph.is_directed


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "predict", "frozen"])
@pytest.mark.parametrize("name", [name for name in DERIVED if name != "l_tilde of its own"])  # of symmetric weights
@pytest.mark.filterwarnings("ignore:the symmetric normalisation")
def test_learnt_weights_learn_on_after_an_evaluation(name, how):
    derive = DERIVED[name]
    a = ZOO["weighted"].graph(torch.float32).adjacency
    x = torch.randn(a.shape[0], 5, generator=torch.Generator().manual_seed(0))

    def trained(evaluate):
        weight = a.value.clone().requires_grad_()
        graph = Graph(a.with_value(weight), x)
        for _ in range(3):
            if evaluate:
                evaluated(how, graph, derive)
            made = derive(graph)
            product = made @ x if isinstance(made, SparseMatrix) else made.unsqueeze(1) * x
            (gradient,) = torch.autograd.grad(product.square().sum(), weight)
            with torch.no_grad():
                weight -= 1e-3 * gradient
        return weight.detach(), graph

    found, graph = trained(True)
    assert torch.equal(found, trained(False)[0])
    assert not torch.equal(found, a.value)
    frozen = Graph(a.with_value(found), x)
    with torch.no_grad():
        now, expected = derive(graph), derive(frozen)
    if isinstance(now, SparseMatrix):
        now, expected = now.to_dense(), expected.to_dense()
    assert torch.equal(now, expected)
    graph.adjacency.value.requires_grad_(False)  # an optimizer may still write to it
    derive(graph)
    graph.adjacency.value.mul_(2)
    assert graph.is_directed == Graph(a.with_value(graph.adjacency.value.clone())).is_directed
    again = derive(graph)
    fresh = derive(Graph(a.with_value(graph.adjacency.value.clone()), x))
    if isinstance(again, SparseMatrix):
        again, fresh = again.to_dense(), fresh.to_dense()
    assert torch.equal(again, fresh)


def test_a_learnt_matrix_is_not_taken_for_symmetric():
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    weight = torch.ones(4, requires_grad=True)
    graph = Graph(SparseMatrix.from_edges(edges).with_value(weight))
    with torch.no_grad():
        assert not graph.is_directed
        weight[0] = 3.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the edges go both ways, whatever the weights have learnt
        matrix = graph.a_hat
    x = torch.ones(3, 1, requires_grad=True)
    (matrix @ x)[0].sum().backward()
    assert_close(x.grad[:, 0], matrix.to_dense()[0])
    assert graph.is_directed
    one_way = Graph(SparseMatrix.from_edges(edges[:, :1], 3).with_value(torch.ones(1, requires_grad=True)))
    with pytest.warns(UserWarning, match="the symmetric normalisation of a directed graph"):
        one_way.a_hat  # noqa: B018


def test_what_learnt_weights_would_not_follow_is_refused():
    a = ZOO["weighted"].graph(torch.float32).adjacency
    weight = a.value.clone().requires_grad_()
    graph = Graph(a.with_value(weight))
    for convert, argument in (
        (lambda: graph.to(torch.float64), "to"),
        (lambda: graph.to("meta"), "to"),
        (lambda: graph.replace(x=torch.ones(7, 2, dtype=torch.float64)), "x"),
    ):
        with pytest.raises(InputError, match=rf"{argument}: the edge weights are learnt .* would not follow"):
            convert()
    assert graph.to(torch.float32).adjacency.value is weight
    other = Graph(a.with_value(weight * 2), torch.ones(7, 2, dtype=torch.float64))  # made for this step alone
    other.a_hat.value.sum().backward()
    assert weight.grad is not None


def test_the_memory_of_a_step_on_learnt_weights():
    a = ZOO["weighted"].graph(torch.float32).adjacency
    x = torch.ones(7, 5)
    fixed, learnt = Graph(a, x), Graph(a.with_value(a.value.clone().requires_grad_()), x.clone().requires_grad_())
    model = GCN(5, 4, 2)
    assert fixed.estimate_memory(model) < learnt.estimate_memory(model) < 2 * fixed.estimate_memory(model)
    assert learnt.adjacency.value.grad is None


# -- what is made under inference_mode serves a training ---------------------------------------------------------------


@pytest.mark.parametrize("name", DERIVED)
def test_what_inference_mode_made_serves_a_training(name):
    derive = DERIVED[name]
    graph = ZOO["weighted"].graph(torch.float32)
    with torch.inference_mode():
        first, transposed = derive(graph), graph.adjacency.T
        made_there = Graph.from_edges(
            PATH, edge_weight=torch.tensor([0.5, 0.5, 2.0, 2.0]), x=torch.rand(3, 2), y=[0, 1, 0]
        )
        ids = made_there.subgraph(torch.tensor([0, 1])).num_nodes
    assert (derive(graph) is first) == (name not in ("l_tilde of its own", "combinatorial", "degree"))
    assert graph.adjacency.T is transposed
    assert ids == 2
    for made in (derive(graph), transposed, derive(made_there), made_there.x, made_there.y.float()):
        size = made.shape[0]
        weight = torch.ones(size, 2, requires_grad=True)
        product = made @ weight if isinstance(made, SparseMatrix) else made.reshape(size, -1)[:, :1] * weight
        product.sum().backward()
        assert weight.grad is not None


# -- immutable means own ----------------------------------------------------------------------------------------------

Y = torch.tensor([0, 1, 0])


def through_every_door(keep):
    """Functions of a graph's parts, and how each part is given: all doors that take tensors."""
    edges, weight = torch.tensor(PATH), torch.ones(4)
    dense = torch.zeros(3, 3).index_put((edges[1], edges[0]), weight)
    base = Graph(SparseMatrix.from_dense(dense))
    return {
        "Graph": lambda **parts: Graph(base.adjacency, **parts),
        "replace": lambda **parts: base.replace(**parts),
        "from_edges": lambda **parts: Graph.from_edges(edges, 3, weight, **parts),
        "from_dense": lambda **parts: Graph.from_dense(dense, **parts),
        "from_torch": lambda **parts: Graph.from_torch(dense.to_sparse(), **parts),
        "from_scipy": lambda **parts: Graph.from_scipy(scipy.sparse.csr_array(dense.numpy()), **parts),
        "from_networkx": lambda **parts: Graph.from_networkx(nx.path_graph(3), **parts),
        "from_pandas": lambda **parts: Graph.from_pandas(pd.DataFrame({"source": [0, 1], "target": [1, 2]}), **parts),
        "from_mesh": lambda **parts: Graph.from_mesh([[0, 0], [1, 0], [0, 1]], [[0, 1, 2]], **parts),
    }[keep]


DOORS = [
    "Graph",
    "replace",
    "from_edges",
    "from_dense",
    "from_torch",
    "from_scipy",
    "from_networkx",
    "from_pandas",
    "from_mesh",
]


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_a_buffer_used_again_gives_each_graph_its_own(door, as_array):
    make = through_every_door(door)
    mask, y, targets = torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2)
    if as_array:
        mask, y, targets = mask.numpy(), y.numpy(), targets.numpy()
    graphs, others = [], []
    for i in range(3):
        mask[:], y[:], targets[:] = False, i, i
        mask[i] = True
        graphs.append(make(y=y, train_mask=mask))
        others.append(make(y=targets, test_mask=mask))
    assert [int(graph.train_mask.nonzero()) for graph in graphs] == [0, 1, 2]
    assert [int(graph.test_mask.nonzero()) for graph in others] == [0, 1, 2]
    assert [graph.y.tolist() for graph in graphs] == [[i] * 3 for i in range(3)]
    assert [graph.y[0].tolist() for graph in others] == [[i, i] for i in range(3)]
    kept = graphs[0].replace(name="another")
    assert kept.y is graphs[0].y  # ours, which nobody writes to
    assert kept.train_mask is graphs[0].train_mask


@pytest.mark.parametrize("door", DOORS[:-1])
def test_features_written_to_later_are_no_features_of_the_graph(door):
    make = through_every_door(door)
    x = torch.ones(3, 2)
    graph = make(x=x)
    named = graph.replace(y=[0, 1, 0])
    graph.subgraph([0, 1])
    x.fill_(2.0)
    for read in (lambda: graph.x, lambda: named.x, lambda: GCN(2, 3, 2)(graph.x, graph.a_hat), lambda: graph.summary()):
        with pytest.raises(InputError, match=r"x: has been written to since it was given .* x\.clone\(\)"):
            read()
    again = graph.replace(x=x) if door == "Graph" else make(x=x)
    assert again.x.tolist() == x.tolist()
    array = np.ones((3, 2), np.float32)  # of an array there is a copy
    copied = make(x=array)
    array[:] = 5
    assert copied.x.tolist() == [[1, 1]] * 3
    thin = torch.eye(3).repeat(1, 9)[:, :20]
    sparse = make(x=thin * (torch.arange(20) < 6))  # kept as a SparseMatrix, made anew
    thin.fill_(1.0)
    assert isinstance(sparse.x, SparseMatrix)
    assert sparse.x.nnz == 6


@pytest.mark.filterwarnings("ignore:the symmetric normalisation")
def test_weights_written_to_later_are_no_weights_of_the_graph():
    edges = torch.tensor([[0, 0, 1, 2], [0, 1, 0, 1]])  # A's entries are in this order, so that nothing is sorted
    edges = edges[:, [0, 2, 1, 3]]
    weight = torch.ones(4)
    graphs = []
    for i in (1.0, 2.0):
        weight.fill_(i)
        graphs.append(Graph.from_edges(edges, 3, weight))
        graphs.append(Graph.from_torch(torch.sparse_coo_tensor(edges.flip(0), weight, (3, 3)).coalesce()))
    assert [float(graph.adjacency.value.max()) for graph in graphs] == [1, 1, 2, 2]
    matrix = graphs[0].adjacency.with_value(weight)
    graph = Graph(matrix, torch.ones(3, 2))
    kept, other = graph.a_hat, graph.replace(y=Y)
    assert graph.a_hat is kept
    weight.mul_(3.0)
    for read in (
        lambda: graph.a_hat,
        lambda: graph.adjacency,
        lambda: graph.laplacian,
        lambda: other.a_hat,
        lambda: graph.is_directed,
    ):
        with pytest.raises(InputError, match="adjacency: has been written to since it was given"):
            read()
    with torch.no_grad():
        assert Graph(matrix).adjacency.value.tolist() == weight.tolist()
    copied = copy.deepcopy(Graph(matrix, torch.ones(3, 2)))
    weight.mul_(3.0)
    assert copied.a_hat.shape == (3, 3)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))], ids=["copy", "pickle"]
)
def test_a_copy_is_watched_too(copied):
    graph = Graph.from_edges([[0, 1], [1, 0]], x=torch.ones(2, 3))
    for write in (lambda g: g.x.mul_(2), lambda g: g.adjacency.value.mul_(2)):
        other = copied(graph)
        assert torch.equal(other.a_hat.to_dense() @ other.x, graph.a_hat.to_dense() @ graph.x)
        write(other)
        with pytest.raises(InputError, match=r"(x|adjacency): has been written to since it was given"):
            other.a_hat.to_dense() @ other.x
    assert graph.x.sum() == 6
