"""Malformed inputs at every door: the right type of error, which names the argument, the value and its position."""

import networkx as nx
import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse
import torch
from checks import dense_copy

from gcnlab import GCN, GCNConv, GcnlabError, Graph, SparseMatrix, dropout

pytestmark = pytest.mark.usefixtures("one_thread")

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2
X = torch.ones(3, 2)
NAN, INF = float("nan"), float("inf")


def refuses(error, message):
    """Raises a GcnlabError that is also the built-in `error`, with a message that matches."""
    return pytest.raises(error, match=message, check=lambda e: isinstance(e, GcnlabError))


def table(*rows):
    """Parameters (make, error, message); a row's id is its number and the start of its message."""
    return pytest.mark.parametrize(
        ("given", "error", "message"), [pytest.param(*row, id=f"{i}: {row[2][:50]}") for i, row in enumerate(rows)]
    )


def pyg_door(edge_index, edge_weight=None, **options):
    from torch_geometric.data import Data

    return Graph.from_pyg(Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=3), **options)


def rectangular(edge_index, edge_weight=None):
    return SparseMatrix.from_edges(edge_index, edge_weight=edge_weight, shape=(3, 3))


EDGE_DOORS = {
    "Graph.from_edges": lambda e, w=None: Graph.from_edges(e, 3, w),
    "Graph.from_edges with x": lambda e, w=None: Graph.from_edges(e, edge_weight=w, x=X),
    "SparseMatrix.from_edges": lambda e, w=None: SparseMatrix.from_edges(e, 3, w),
    "SparseMatrix.from_edges with shape": rectangular,
    "Graph.from_pyg": pyg_door,
}
every_edge_door = pytest.mark.parametrize("door", EDGE_DOORS.values(), ids=EDGE_DOORS)


# -- I1: what an edge list is made of ---------------------------------------------------------------------------------

NOT_EDGES = [
    (PATH.float(), TypeError, r"edge_index: got dtype torch.float32, expected integers .*\.long\(\)"),
    (PATH.bool(), TypeError, r"edge_index: got dtype torch.bool, expected integers"),
    (PATH.to(torch.uint8), TypeError, r"edge_index: got dtype torch.uint8, expected integers"),
    (PATH.to(torch.int8), TypeError, r"edge_index: got dtype torch.int8"),
    (PATH.to(torch.complex64), TypeError, r"edge_index: got dtype torch.complex64"),
    (torch.empty(2, 0), TypeError, r"edge_index: got dtype torch.float32, expected integers"),
    (PATH.to_sparse(), TypeError, r"edge_index: got a sparse tensor; use Graph.from_torch"),
]
NOT_EDGES_OR_TENSORS = [
    (np.zeros((2, 3)), TypeError, r"edge_index: got dtype torch.float64"),
    (np.zeros((2, 0)), TypeError, r"edge_index: got dtype torch.float64"),
    (np.zeros((2, 3), np.uint64), TypeError, r"edge_index: got dtype torch.uint64"),
    ([[0.0, 1.0], [1.0, 0.0]], TypeError, r"edge_index: got dtype torch.float32"),
    ([[True, False], [False, True]], TypeError, r"edge_index: got dtype torch.bool"),
    ("edges", TypeError, r"edge_index: got str .*expected a tensor, an array or lists of integers"),
    (None, TypeError, r"edge_index: got NoneType .*expected a tensor, an array or lists of integers"),
    ({0: 1}, TypeError, r"edge_index: got dict"),
    (iter([[0], [1]]), TypeError, r"edge_index: got list_iterator"),
    ([[0, 1], [1]], TypeError, r"edge_index: got list .*expected a tensor, an array or lists of integers"),
    ([["a"], ["b"]], TypeError, r"edge_index: got list"),
    ([[2**70], [0]], TypeError, r"edge_index: got list"),
    (scipy.sparse.dia_array(np.eye(3)), TypeError, r"edge_index: got dia_array"),
    ([], ValueError, r"edge_index: got an empty list, .*\[\[\], \[\]\] has no edges"),
]


@every_edge_door
@table(*NOT_EDGES)
def test_edges_of_a_wrong_dtype(pyg, door, given, error, message):
    with refuses(error, message):
        door(given)


@pytest.mark.parametrize("door", [d for name, d in EDGE_DOORS.items() if "pyg" not in name])
@table(*NOT_EDGES_OR_TENSORS)
def test_edges_of_a_wrong_kind(door, given, error, message):
    with refuses(error, message):
        door(given)


# -- I2: shapes -------------------------------------------------------------------------------------------------------


@every_edge_door
@table(
    (torch.tensor([0, 1]), ValueError, r"edge_index: got shape \(2,\), expected \[2, num_edges\]\."),
    (PATH.t(), ValueError, r"edge_index: got shape \(4, 2\), .*pass edge_index.t\(\).contiguous\(\)"),
    (PATH[None], ValueError, r"edge_index: got shape \(1, 2, 4\), expected \[2, num_edges\]\."),
    (torch.zeros(3, 4, dtype=torch.int64), ValueError, r"edge_index: got shape \(3, 4\), expected \[2, num_edges\]\."),
    (torch.zeros(0, 2, dtype=torch.int64), ValueError, r"edge_index: got shape \(0, 2\), .*t\(\)"),
    (torch.tensor(1), ValueError, r"edge_index: got shape \(\), expected \[2, num_edges\]\."),
)
def test_edges_of_a_wrong_shape(pyg, door, given, error, message):
    with refuses(error, message):
        door(given)


# -- I3, I4: ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16], ids=str)
@every_edge_door
@table(
    ([[0, 1, 2], [1, 3, 7]], ValueError, r"edge_index: edge 1 is 1 -> 3, but .*ids must be at least 0 and below 3; "),
    ([[0, 1, 4], [1, 2, 0]], ValueError, r"edge_index: edge 2 is 4 -> 0, but .*ids must be at least 0 and below 3"),
    ([[0, -1], [1, 2]], ValueError, r"edge_index: edge 1 is -1 -> 2, but .*ids must be at least 0 and below 3"),
    ([[0, 1], [1, -2]], ValueError, r"edge_index: edge 1 is 1 -> -2, but .*ids must be at least 0"),
    ([[3], [3]], ValueError, r"edge_index: edge 0 is 3 -> 3, but .*ids must be at least 0 and below 3"),
)
def test_ids_out_of_range(pyg, door, dtype, given, error, message):
    with refuses(error, message):
        door(torch.tensor(given, dtype=dtype))


def test_negative_ids_when_n_comes_from_the_ids():
    for door in (Graph.from_edges, SparseMatrix.from_edges):
        with refuses(ValueError, r"edge_index: edge 0 is -5 -> -4, but ids must be at least 0"):
            door([[-5], [-4]])


@table(
    (-1, ValueError, r"num_nodes: got -1, expected at least 0"),
    (3.0, TypeError, r"num_nodes: got 3.0, expected an integer"),
    ("3", TypeError, r"num_nodes: got '3', expected an integer"),
    (True, TypeError, r"num_nodes: got True, expected an integer"),
)
@pytest.mark.parametrize("door", [Graph.from_edges, SparseMatrix.from_edges], ids=["Graph", "SparseMatrix"])
def test_num_nodes(door, given, error, message):
    with refuses(error, message):
        door(PATH, num_nodes=given)


@table(
    ({"shape": (-1, 3)}, ValueError, r"shape\[0\]: got -1, expected at least 0"),
    ({"shape": (3, 2.5)}, TypeError, r"shape\[1\]: got 2.5, expected an integer"),
    ({"shape": (3, 2)}, ValueError, r"edge_index: edge 3 is 2 -> 1, but ids must be at least 0 and below 2"),
    ({"shape": (3, 3), "num_nodes": 3}, ValueError, r"num_nodes and shape were both given; pass one"),
    ({"num_nodes": 2**62}, ValueError, r"shape: \d+ x \d+ is more places than an int64 can number"),
)
def test_shape(given, error, message):
    with refuses(error, message):
        SparseMatrix.from_edges(PATH, **given)


# -- I5: matrices -----------------------------------------------------------------------------------------------------


def broken_csr(crow, col, value, shape=(3, 3), layout=torch.sparse_csr):
    parts = torch.tensor(crow), torch.tensor(col), torch.tensor(value)
    return torch.sparse_compressed_tensor(*parts, shape, layout=layout, check_invariants=False)


def broken_coo(index, value, shape=(3, 3)):
    return torch.sparse_coo_tensor(torch.tensor(index), torch.tensor(value), shape, check_invariants=False)


def broken_scipy(indptr, indices, format=scipy.sparse.csr_matrix):
    matrix = format(np.eye(3))
    matrix.indptr = np.array(indptr, dtype=np.int32)
    matrix.indices = np.array(indices, dtype=np.int32)
    return matrix


def spoiled(matrix, value):
    matrix.data[1] = value
    return matrix


BAD_MATRICES = {
    "torch": [
        (lambda: broken_csr([0, 1, 1, 2], [0, 9], [1.0, 1.0]), ValueError, r"entry 1 is at \(2, 9\), outside \(3, 3\)"),
        (lambda: broken_csr([0, 1, 1, 2], [0, -1], [1.0, 1.0]), ValueError, r"entry 1 is at \(2, -1\), outside"),
        (
            lambda: broken_csr([0, 2, 1, 2], [0, 1], [1.0, 1.0]),
            ValueError,
            r"row or column pointer .*\(3, 3\).* not val",
        ),
        (lambda: broken_csr([1, 1, 1, 2], [0, 1], [1.0, 1.0]), ValueError, r"row or column pointer"),
        (lambda: broken_csr([0, 1, 1, 9], [0, 1], [1.0, 1.0]), ValueError, r"row or column pointer"),
        (lambda: broken_csr([0, 1, 2], [0, 1], [1.0, 1.0]), ValueError, r"row or column pointer"),
        (
            lambda: broken_csr([0, 1, 1, 2], [0, 9], [1.0, 1.0], layout=torch.sparse_csc),
            ValueError,
            r"entry 1 is at \(9, 2\), outside \(3, 3\)",
        ),
        (lambda: broken_csr([0, 1, 1, 2], [0, 1], [1.0]), ValueError, r"got shape \(1,\), expected \[2\]"),
        (lambda: broken_coo([[0, 5], [1, 1]], [1.0, 1.0]), ValueError, r"entry 1 is at \(5, 1\), outside \(3, 3\)"),
        (lambda: broken_coo([[0, 1], [1, 1]], [1.0, NAN]), ValueError, r"1 values are not finite; .*nan at \(1, 1\)"),
        (lambda: broken_coo([[0, 1], [1, 1]], [1.0, 1j]), ValueError, r"got complex values, expected real ones"),
        (lambda: torch.ones(3, 3), TypeError, r"got torch.strided, expected a torch sparse tensor"),
        (lambda: torch.ones(3, 3, 3).to_sparse(), ValueError, r"got shape \(3, 3, 3\).*expected two dimensions"),
        (lambda: torch.ones(3, 3).to_sparse(1), ValueError, r"1 dense dimensions, expected two dimensions"),
        (lambda: torch.ones(4, 4).to_sparse_bsr((2, 2)), TypeError, r"got torch.sparse_bsr, expected"),
        (lambda: np.eye(3), TypeError, r"got ndarray, expected a torch sparse tensor"),
    ],
    "scipy": [
        (
            lambda: broken_scipy([0, 1, 2, 3], [0, 1, 7]),
            ValueError,
            r"not a valid scipy matrix.*(indices|index values)",
        ),
        (
            lambda: broken_scipy([0, 1, 2, 3], [0, -1, 2]),
            ValueError,
            r"not a valid scipy matrix.*(indices|index values)",
        ),
        (lambda: broken_scipy([0, 3, 1, 3], [0, 1, 2]), ValueError, r"not a valid scipy matrix"),
        (lambda: broken_scipy([0, 100_000_000, 2, 3], [0, 1, 2]), ValueError, r"not a valid scipy matrix"),
        (lambda: broken_scipy([0, 1, 2, 3], [0, 1, 7], scipy.sparse.csc_matrix), ValueError, r"not a valid scipy"),
        (lambda: spoiled(scipy.sparse.csr_array(np.eye(3)), NAN), ValueError, r"1 values .* nan at \(1, 1\)"),
        (lambda: spoiled(scipy.sparse.coo_array(np.eye(3)), -INF), ValueError, r"1 values .* -inf at \(1, 1\)"),
        (lambda: scipy.sparse.csr_array(np.eye(3) * 1j), ValueError, r"got complex values"),
        *(  # before scipy 1.13 it is a row
            [(lambda: scipy.sparse.coo_array(np.ones(3)), ValueError, r"got shape \(3,\), expected two dimensions")]
            if scipy.sparse.coo_array(np.ones(3)).ndim == 1
            else []
        ),
        (lambda: np.eye(3), TypeError, r"got ndarray, expected a scipy sparse matrix"),
    ],
    "dense": [
        (lambda: [[0.0, 1.0], [NAN, 0.0]], ValueError, r"1 values are not finite; the first is nan at \(1, 0\)"),
        (lambda: torch.tensor([[0.0, INF], [INF, 0.0]]), ValueError, r"2 values .*first is inf at \(0, 1\)"),
        (lambda: torch.ones(3), ValueError, r"got shape \(3,\), expected two dimensions"),
        (lambda: torch.ones(2, 3, 3), ValueError, r"got shape \(2, 3, 3\), expected two dimensions"),
        (lambda: torch.ones(3, 3) * 1j, ValueError, r"got complex values, expected real ones"),
        (lambda: [[0, 1], [1]], TypeError, r"got list .*expected a tensor, an array or lists of numbers"),
        (lambda: [["a", "b"]], TypeError, r"got list"),
        (lambda: None, TypeError, r"got NoneType"),
        (
            lambda: torch.eye(3).to_sparse(),
            TypeError,
            r"got layout torch.sparse_coo, expected a dense tensor; use from_t",
        ),
        (lambda: SparseMatrix.eye(3), TypeError, r"got SparseMatrix"),
    ],
}


@pytest.mark.parametrize(("owner", "name"), [(SparseMatrix, "matrix"), (Graph, "adjacency")])
@pytest.mark.parametrize(
    ("kind", "given", "error", "message"),
    [pytest.param(k, *row, id=f"{k}: {row[2][:50]}") for k, rows in BAD_MATRICES.items() for row in rows],
)
def test_bad_matrices(owner, name, kind, given, error, message):
    with refuses(error, f"{name}: .*{message}"):
        getattr(owner, f"from_{kind}")(given())


@pytest.mark.parametrize(
    "make",
    [
        lambda a: Graph.from_dense(a),
        lambda a: Graph.from_scipy(scipy.sparse.csr_array(a)),
        lambda a: Graph.from_torch(torch.from_numpy(a).to_sparse_csr()),
        lambda a: Graph(SparseMatrix.from_dense(a)),
    ],
    ids=["dense", "scipy", "torch", "Graph"],
)
def test_adjacency_that_is_not_square(make):
    with refuses(ValueError, "adjacency: got 2 x 3, expected a square matrix"):
        make(np.ones((2, 3)))


def test_adjacency_of_a_wrong_kind():
    with refuses(TypeError, r"adjacency: got Tensor, expected a SparseMatrix; Graph.from_edges, from_scipy"):
        Graph(torch.eye(3))
    for door, name in ((Graph.from_networkx, "graph"), (Graph.from_pandas, "edges"), (Graph.from_pyg, "data")):
        with refuses(TypeError, rf"{name}: got list, expected a"):
            door([[0, 1]])


# -- I6, I7: weights --------------------------------------------------------------------------------------------------


@every_edge_door
@table(
    (torch.ones(3), ValueError, r"edge_weight: got shape \(3,\), expected \[4\], one value an edge"),
    (torch.ones(4, 2), ValueError, r"edge_weight: got shape \(4, 2\), expected \[4\]"),
    (torch.ones(()), ValueError, r"edge_weight: got shape \(\), expected \[4\]"),
    (torch.ones(4) * 1j, ValueError, r"edge_weight: got complex values, expected real ones"),
    (torch.tensor([1, NAN, 1, NAN]), ValueError, r"edge_weight: 2 of 4 values are not finite; the first is nan at 1"),
    (torch.tensor([1, 1, 1, INF]), ValueError, r"edge_weight: 1 of 4 values are not finite; the first is inf at 3"),
    (torch.tensor([-INF, 1, 1, 1]).double(), ValueError, r"edge_weight: 1 of 4 values .* first is -inf at 0"),
)
def test_weights(pyg, door, given, error, message):
    with refuses(error, message):
        door(PATH, given)


@table(
    (["a", "b", "c", "d"], TypeError, r"edge_weight: got list .*expected numbers"),
    ({}, TypeError, r"edge_weight: got dict"),
    ([1.0, 2.0], ValueError, r"edge_weight: got shape \(2,\), expected \[4\]"),
)
def test_weights_that_are_not_tensors(given, error, message):
    for door in (Graph.from_edges, SparseMatrix.from_edges):
        with refuses(error, message):
            door(PATH, edge_weight=given)


NEGATIVE = np.array([[0.0, -3.0, 0.0], [-3.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("norm", ["sym", "rw"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Graph.from_dense(NEGATIVE),
        lambda: Graph.from_scipy(scipy.sparse.csr_matrix(NEGATIVE)),
        lambda: Graph.from_torch(torch.from_numpy(NEGATIVE).to_sparse_coo()),
        lambda: Graph.from_edges(PATH, edge_weight=[-3, -3, 1, 1]),
        lambda: Graph.from_networkx(nx.from_numpy_array(NEGATIVE)),
        lambda: pyg_door(PATH, torch.tensor([-3.0, -3.0, 1.0, 1.0])),
        lambda: Graph.from_pandas(pd.DataFrame({"source": [0, 1], "target": [1, 2], "w": [-3.0, 1.0]}), weight="w"),
    ],
    ids=["dense", "scipy", "torch", "edges", "networkx", "pyg", "pandas"],
)
def test_negative_degrees_at_every_door(pyg, make, norm):
    with refuses(ValueError, r"edge_weight: negative weights make the degree of node 0 .*-2; .*absolute weights"):
        make().normalize(norm=norm)


@table(
    ({"norm": "symmetric"}, ValueError, r'norm: got \'symmetric\', expected "sym", "rw" or None'),
    ({"self_loops": True}, ValueError, r'self_loops: got True, expected "fill", "add" or None'),
    ({"self_loops": "remaining"}, ValueError, r"self_loops: got 'remaining', expected"),
)
def test_names_of_normalizations(given, error, message):
    with refuses(error, message):
        Graph.from_edges(PATH).normalize(**given)


@pytest.mark.parametrize("door", [Graph.from_edges, SparseMatrix.from_edges], ids=["Graph", "SparseMatrix"])
def test_duplicates(door):
    twice = [[0, 1, 0], [1, 0, 1]]
    with refuses(ValueError, r"edge 2 \(0 -> 1\) is given twice; pass duplicates=\"sum\" or \"first\""):
        door(twice, duplicates="error")
    with refuses(ValueError, r"duplicates: got 'max', expected \"sum\", \"first\" or \"error\""):
        door(twice, duplicates="max")


# -- I8, I9: features at the door -------------------------------------------------------------------------------------


def from_networkx(**options):
    return Graph.from_networkx(nx.path_graph(3), **options)


def from_pandas(**options):
    return Graph.from_pandas(pd.DataFrame({"source": [0, 1], "target": [1, 2]}), **options)


GRAPH_DOORS = {
    "from_edges": lambda **options: Graph.from_edges(PATH, 3, **options),
    "from_dense": lambda **options: Graph.from_dense(torch.eye(3), **options),
    "from_scipy": lambda **options: Graph.from_scipy(scipy.sparse.csr_array(np.eye(3)), **options),
    "from_torch": lambda **options: Graph.from_torch(torch.eye(3).to_sparse(), **options),
    "from_networkx": from_networkx,
    "from_pandas": from_pandas,
    "from_pyg": lambda **options: pyg_door(PATH, **options),
    "replace": lambda **options: Graph.from_edges(PATH).replace(**options),
}
every_graph_door = pytest.mark.parametrize("door", GRAPH_DOORS.values(), ids=GRAPH_DOORS)

SPOILED = torch.tensor([[1.0, 2.0], [NAN, 4.0], [INF, NAN]])

BAD_X = [
    (SPOILED, ValueError, r"x: 3 values are NaN or infinite, the first in row 1; .*nan_to_num.*check_finite=False"),
    (SPOILED.to_sparse(), ValueError, r"x: 3 values are not finite; the first is nan at \(1, 0\)"),
    (scipy.sparse.csr_array(SPOILED), ValueError, r"x: 3 values are not finite; the first is nan at \(1, 0\)"),
    (torch.ones(4, 2), ValueError, r"x: got shape \(4, 2\), expected \[3, num_features\], a row for each node"),
    (torch.ones(3), ValueError, r"x: got shape \(3,\), expected \[3, num_features\]"),
    (torch.ones(1, 3, 2), ValueError, r"x: got shape \(1, 3, 2\), expected \[3, num_features\]"),
    (torch.tensor(1.0), ValueError, r"x: got shape \(\), expected \[3, num_features\]"),
    (SparseMatrix.eye(5), ValueError, r"x: got shape \(5, 5\), expected \[3, num_features\]"),
    (torch.ones(3, 2) * 1j, ValueError, r"x: got complex values, expected real ones"),
    ([[1.0], [2.0, 3.0], [4.0]], TypeError, r"x: got list"),
    ([["a"], ["b"], ["c"]], TypeError, r"x: got list .*expected numbers"),
    ("abc", TypeError, r"x: got str"),
]


@every_graph_door
@table(*BAD_X)
def test_features(pyg, door, given, error, message):
    with refuses(error, message):
        door(x=given)


def test_the_check_of_features_can_be_switched_off():
    for x in (SPOILED, scipy.sparse.csr_array(SPOILED), SPOILED.to_sparse_csr()):
        graph = Graph.from_edges(PATH, x=x, check_finite=False)
        assert int(torch.isnan(graph.x).sum()) == 2
        assert graph.replace(y=[0, 1, 0]).num_classes == 2  # asked once, not again


@table(
    (torch.tensor(1.0), ValueError, r"x: got shape \(\), expected"),
    (5, ValueError, r"x: got shape \(\), expected"),
    (object(), TypeError, r"x: got object"),
)
def test_features_that_give_no_number_of_nodes(given, error, message):
    with refuses(error, message):
        Graph.from_edges(PATH, x=given)


# -- I17: labels, masks, names ----------------------------------------------------------------------------------------


def mask(*nodes):
    return [node in nodes for node in range(3)]


BAD_LABELS = [
    ({"y": [0, -2, 1]}, ValueError, r"y: label -2 at 1; labels must be at least 0, or -1 for unlabelled"),
    ({"y": [0, 1, -100]}, ValueError, r"y: label -100 at 2; labels must be at least 0"),
    ({"y": [0, 2, 1], "class_names": ["a", "b"]}, ValueError, r"y: label 2 at 1; .*at least 0 and below 2"),
    ({"y": 5, "class_names": ["a", "b"]}, ValueError, r"y: label 5 at 0; .*below 2"),
    ({"y": [0, 1]}, ValueError, r"y: got shape \(2,\), expected \[3\], one label per node, or a single label"),
    ({"y": torch.zeros(2, 3)}, ValueError, r"y: got shape \(2, 3\), expected \[3\]"),
    (
        {"y": ["a", 1, "c"]},
        TypeError,
        r"y: got values of int \(first at 1\), str \(first at 0\), expected all integers",
    ),
    ({"y": ["a", "b", "c"], "class_names": ["a", "b"]}, ValueError, r"y: 'c' at 2 is not among class_names, 'a', 'b'"),
    ({"train_mask": [0, 2]}, ValueError, r"train_mask: got dtype torch.int64, expected bool; .*mask\[ids\] = True"),
    ({"val_mask": torch.ones(3)}, ValueError, r"val_mask: got dtype torch.float32, expected bool"),
    ({"test_mask": [True, False]}, ValueError, r"test_mask: got shape \(2,\), expected \[3\]"),
    (
        {"train_mask": torch.ones(10, 3, dtype=torch.bool)},
        ValueError,
        r"train_mask: got shape \(10, 3\), .* its transpose has: pass train_mask.T",
    ),
    (
        {"train_mask": [[True, False], [True, True], [False, True]], "val_mask": mask(2)},
        ValueError,
        r"train_mask and val_mask overlap in split 1: node 2 is in both",
    ),
    ({"train_mask": mask()}, ValueError, r"train_mask: selects no node; pass None where a split has none"),
    ({"val_mask": ["a", "b", "c"]}, TypeError, r"val_mask: got list .*expected a bool for each node"),
    (
        {"train_mask": mask(0, 2), "val_mask": mask(2)},
        ValueError,
        r"train_mask and val_mask overlap: node 2 is in both",
    ),
    ({"val_mask": mask(1), "test_mask": mask(0, 1)}, ValueError, r"val_mask and test_mask overlap: node 1 is in both"),
    ({"train_mask": mask(1), "test_mask": mask(1)}, ValueError, r"train_mask and test_mask overlap: node 1"),
    ({"y": [0, 1, -1], "test_mask": mask(1, 2)}, ValueError, r"test_mask: node 2 is in it but has no label \(y = -1\)"),
]


@every_graph_door
@table(*BAD_LABELS)
def test_labels_and_masks(pyg, door, given, error, message):
    with refuses(error, message):
        door(**given)


def test_number_of_node_names():
    with refuses(ValueError, r"edge_index: edge 2 is 1 -> 2, but node_names has 2 names, so ids must be at least 0"):
        Graph.from_edges(PATH, node_names=["a", "b"])
    with refuses(ValueError, r"node_names: got 2 names for 3 nodes"):
        Graph.from_edges(PATH, 3, node_names=["a", "b"])


# -- I19: networkx, pandas --------------------------------------------------------------------------------------------


def attributed(**attributes):
    graph = nx.Graph([("a", "b"), ("b", 7)])
    for key, values in attributes.items():
        nx.set_node_attributes(graph, values, key)
    return graph


@table(
    ((attributed(h={"a": 1, 7: 2}), {"features": "h"}), ValueError, r"node 'b' has no attribute 'h', .*set it on all"),
    ((attributed(h={"a": 1, "b": 2}), {"features": ["h"]}), ValueError, r"node 7 has no attribute 'h'"),
    ((attributed(h={"a": 1, "b": 2}), {"label": "h"}), ValueError, r"node 7 has no attribute 'h'"),
    ((attributed(h={"a": 1, "b": 2, 7: "x"}), {"features": "h"}), TypeError, r"node 7: feature \['x'\] is not made of"),
    (
        (attributed(h={"a": 1, "b": [2, 3], 7: 4}), {"features": "h"}),
        ValueError,
        r"node 'b' has 2 features, .* before it 1",
    ),
    ((attributed(h={"a": 1, "b": NAN, 7: 4}), {"features": "h"}), ValueError, r"x: 1 values are NaN .* row 1"),
    ((attributed(h={"a": 0, "b": -5, 7: 1}), {"label": "h"}), ValueError, r"y: label -5 at 1"),
    (
        (nx.Graph([("a", "b", {"weight": "heavy"})]), {}),
        TypeError,
        r"edge 'a' -> 'b': attribute 'weight' is 'heavy', exp",
    ),
    (
        (nx.Graph([(0, 1, {"weight": None})]), {}),
        TypeError,
        r"edge 0 -> 1: attribute 'weight' is None, expected a number",
    ),
    ((nx.Graph([(0, 1, {"weight": 1j})]), {}), TypeError, r"edge 0 -> 1: attribute 'weight' is 1j"),
    ((nx.Graph([(0, 1, {"w": NAN})]), {"weight": "w"}), ValueError, r"edge_weight: 2 of 2 values are not finite"),
)
def test_networkx(given, error, message):
    graph, options = given
    with refuses(error, message):
        Graph.from_networkx(graph, **options)


def edge_table(**columns):
    return pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"], **columns})


@table(
    ((edge_table(), {"source": "from"}), ValueError, r"edges: no column 'from'; the table has \['source', 'target'\]"),
    ((edge_table(), {"weight": "w"}), ValueError, r"edges: no column 'w'"),
    ((edge_table(target=["b", None]), {}), ValueError, r"edges: column 'target' is empty in row 1"),
    ((edge_table(w=[1.0, NAN]), {"weight": "w"}), ValueError, r"edges: column 'w' is empty in row 1"),
    (
        (edge_table(w=[1.0, INF]), {"weight": "w"}),
        ValueError,
        r"edges\['w'\]: 1 of 2 values are not finite; .*inf at 1",
    ),
    ((edge_table(w=["x", "y"]), {"weight": "w"}), TypeError, r"edges\['w'\]: got \w+ .*expected numbers"),
    ((edge_table(), {"node_names": ["a", "b"]}), ValueError, r"edges: node 'c' is not among node_names"),
)
def test_pandas(given, error, message):
    frame, options = given
    with refuses(error, message):
        Graph.from_pandas(frame, **options)


# -- the receptive field ----------------------------------------------------------------------------------------------


@table(
    ((torch.ones(5, dtype=torch.bool), 2), ValueError, r"nodes: got a mask of shape \(5,\), expected \[3\]"),
    (([0, 3], 2), ValueError, r"nodes: id 3 at 1, but ids must be at least 0 and below 3"),
    (([-1], 2), ValueError, r"nodes: id -1 at 0, but ids must be at least 0"),
    (([0.0, 1.0], 2), ValueError, r"nodes: got torch.float32 of shape \(2,\), expected a bool mask or integer ids"),
    (([[0, 1]], 2), ValueError, r"nodes: got torch.int64 of shape \(1, 2\)"),
    (("ab", 2), TypeError, r"nodes: got str .*expected a bool mask or node ids"),
    (([0], -1), ValueError, r"num_layers: got -1, expected at least 0"),
    (([0], 2.0), TypeError, r"num_layers: got 2.0, expected an integer"),
)
def test_receptive_field(given, error, message):
    graph = Graph.from_edges(PATH, x=X)
    with refuses(error, message):
        graph.receptive_field(*given)


def test_receptive_field_without_features():
    with refuses(ValueError, r"receptive_field: the graph has no x; make one with graph.with_features"):
        Graph.from_edges(PATH).receptive_field([0], 2)


# -- layers and models ------------------------------------------------------------------------------------------------

A_HAT = Graph.from_edges(PATH).a_hat
DENSE = A_HAT.to_dense()

BAD_OPERANDS = [
    ((torch.ones(3, 5), A_HAT), ValueError, r"x: got shape \(3, 5\), expected \[num_nodes, 2\].*in_channels=2"),
    ((torch.ones(4, 2), A_HAT), ValueError, r"a_hat: got shape \(3, 3\), expected \[4, 4\] for x of shape \(4, 2\)"),
    (
        (torch.ones(7, 4, 2), A_HAT),
        ValueError,
        r"a_hat: got shape \(3, 3\), expected \[4, 4\] for x of shape \(7, 4, 2\)",
    ),
    ((torch.ones(2), A_HAT), ValueError, r"x: got shape \(2,\), expected \[num_nodes, 2\] or \[batch, num_nodes, 2\]"),
    ((torch.tensor(1.0), A_HAT), ValueError, r"x: got shape \(\), expected"),
    ((torch.ones(2, 2, 3, 2), A_HAT), ValueError, r"x: got shape \(2, 2, 3, 2\), expected"),
    ((SparseMatrix.eye(3), A_HAT), ValueError, r"x: got shape \(3, 3\), expected \[num_nodes, 2\]"),
    ((X.double(), A_HAT), ValueError, r"x: got torch.float64, but the layer has torch.float32; convert x or the layer"),
    ((X.long(), A_HAT), ValueError, r"x: got torch.int64, but the layer has torch.float32"),
    ((X.to("meta"), A_HAT), ValueError, r"x: is on meta, but the layer on cpu; move one with \.to\(device\)"),
    ((X.numpy(), A_HAT), TypeError, r"x: got ndarray, expected a tensor or a SparseMatrix"),
    ((None, A_HAT), TypeError, r"x: got NoneType, expected a tensor"),
    ((X, PATH), TypeError, r"a_hat: got a tensor of torch.int64, .*Graph.from_edges\(edge_index, num_nodes\).a_hat"),
    ((X, DENSE.bool()), TypeError, r"a_hat: got a tensor of torch.bool, expected a matrix of floats"),
    ((X, None), TypeError, r"a_hat: got NoneType, expected a matrix"),
    ((X, Graph.from_edges(PATH)), TypeError, r"a_hat: got Graph, expected a matrix: graph.a_hat"),
    ((X, DENSE.numpy()), TypeError, r"a_hat: got ndarray, expected .*SparseMatrix.from_scipy and from_dense make one"),
    ((X, A_HAT.to_scipy()), TypeError, r"a_hat: got csr_matrix, expected .*SparseMatrix.from_scipy"),
    ((X, DENSE[:, :2]), ValueError, r"a_hat: got shape \(3, 2\), expected \[3, 3\]"),
    ((X, DENSE[None]), ValueError, r"a_hat: got shape \(1, 3, 3\), expected \[3, 3\]"),
    ((X, DENSE.double()), ValueError, r"a_hat: got torch.float64, but x is torch.float32; convert one"),
    ((X, A_HAT.to(torch.float64)), ValueError, r"S is torch.float64 and x torch.float32; convert one"),
    ((X, A_HAT.to("meta")), ValueError, r"a_hat: is on meta, but the layer on cpu"),
    ((X, DENSE.to("meta")), ValueError, r"a_hat: is on meta, but the layer on cpu"),
    (
        (X[None], DENSE.to_sparse_csr()),
        ValueError,
        r"a_hat: a torch sparse tensor takes x \[num_nodes, C\] alone; Sparse",
    ),
    ((X[None], DENSE.to_sparse()), ValueError, r"a_hat: a torch sparse tensor takes x \[num_nodes, C\] alone"),
]

LAYERS = {"GCNConv": lambda: GCNConv(2, 5), "GCN": lambda: GCN(2, 7, 5).eval()}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@table(*BAD_OPERANDS)
def test_operands_of_layers(make, given, error, message):
    with refuses(error, message):
        make()(*given)


@table(
    (lambda: GCNConv(2, 5)(X, DENSE.tolist()), TypeError, r"a_hat: got list, expected a matrix: graph.a_hat"),
    (lambda: GCN(2, 3, 5, num_layers=0), ValueError, r"num_layers: got 0, expected at least 1"),
    (lambda: GCN(2, 3, 5)(X, [A_HAT]), ValueError, r"a_hat: got 1 matrices for 2 layers"),
    (lambda: GCN(2, 3, 5, 1)(X, [A_HAT] * 3), ValueError, r"a_hat: got 3 matrices for 1 layers"),
    (
        lambda: GCN(2, 3, 5, dropout=1.5)(X, A_HAT),
        ValueError,
        r"dropout: got 1.5, expected a probability between 0 and 1",
    ),
    (lambda: dropout(X, -0.1), ValueError, r"p: got -0.1, expected a probability between 0 and 1"),
    (lambda: dropout(X, NAN), ValueError, r"p: got nan, expected a probability between 0 and 1"),
    (lambda: dropout(SparseMatrix.eye(3), 2, training=False), ValueError, r"p: got 2, expected a probability"),
)
def test_models(given, error, message):
    with refuses(error, message):
        given()


# -- anything at all: the right answer or a GcnlabError, nothing else -------------------------------------------------

DTYPES = [torch.uint8, torch.bool, torch.float32, torch.float64, torch.complex64]
SHAPES = [(2, 5)] * 12 + [(2, 1), (2, 0), (5, 2), (2,), (1, 2, 5), (3, 5), (0, 2), ()]
LIMITS = [(0, 4)] * 6 + [(0, 5), (-1, 4), (0, 100)]
COUNTS = [4] * 8 + [None, None, 5, 0, -1, 2.0, "4", 2**62]
GOOD_WEIGHTS = [None, "ones", "random", "int", "half", "negative", "huge"]
BAD_WEIGHTS = ["short", "column", "nan", "inf", "complex"]


def generated(seed):
    """A random edge list, number of nodes and weight; a third of them good."""
    rng = np.random.default_rng(seed)

    def pick(options):
        return options[rng.integers(len(options))]

    shape, dtype = pick(SHAPES), pick([torch.int64, torch.int32, torch.int16] * 7 + DTYPES)
    low, high = pick(LIMITS)
    edge_index = torch.from_numpy(rng.integers(low, high, shape)).to(dtype)
    length = shape[-1] if shape else 1
    weight = {
        None: None,
        "ones": torch.ones(length),
        "random": torch.from_numpy(rng.uniform(0.1, 3.0, length)),
        "int": torch.arange(length),
        "half": torch.ones(length, dtype=torch.float16),
        "negative": -torch.ones(length),
        "huge": torch.full((length,), 1.5e38),  # two of them fit into a float32, three do not
        "short": torch.ones(max(length - 1, 0)),
        "column": torch.ones(length, 1),
        "nan": torch.full((length,), NAN),
        "inf": torch.linspace(0, 1, length).reciprocal(),
        "complex": torch.ones(length, dtype=torch.complex64),
    }[pick(GOOD_WEIGHTS * 3 + BAD_WEIGHTS)]
    given = pick([edge_index, edge_index.tolist(), edge_index.numpy()])
    return given, pick(COUNTS), weight


def is_well_formed(edge_index, num_nodes, weight):
    """Whether an edge list is one by the documentation, decided without gcnlab."""
    array = np.asarray(edge_index)
    if array.size == 0 and isinstance(edge_index, list):
        if edge_index != [[], []]:
            return False
        array = array.astype(np.int64)
    if array.dtype not in (np.int64, np.int32, np.int16) or array.ndim != 2 or array.shape[0] != 2:
        return False
    if num_nodes is None:
        num_nodes = array.max(initial=-1) + 1
    if not isinstance(num_nodes, (int, np.integer)) or not 0 <= num_nodes < 2**31:
        return False
    if array.min(initial=0) < 0 or array.max(initial=-1) >= num_nodes:
        return False
    if weight is None:
        return True
    return weight.shape == array.shape[1:] and not weight.is_complex() and bool(torch.isfinite(weight).all())


def test_generated_inputs(trials):
    """Each seed's input is accepted exactly if it is well-formed, and then A and Â are the reference's."""
    accepted = refused = undefined = 0
    for seed in range(trials("generated inputs", 300, 2000)):
        edge_index, num_nodes, weight = generated(seed)
        well_formed = is_well_formed(edge_index, num_nodes, weight)
        if not well_formed:
            with pytest.raises(GcnlabError):
                Graph.from_edges(edge_index, num_nodes, weight)
            refused += 1
            continue
        graph = Graph.from_edges(edge_index, num_nodes, weight)
        a = oracles.dense_adjacency(edge_index, graph.num_nodes, weight)
        with np.errstate(over="ignore"):
            expected = a.astype(np.float32)
        np.testing.assert_allclose(dense_copy(graph.adjacency), expected, rtol=1e-6, err_msg=f"seed {seed}")
        try:
            found = dense_copy(graph.normalize(norm="rw"))
        except GcnlabError:
            degree = oracles.a_tilde(a).sum(1)
            assert (degree <= 0).any() or (degree > np.finfo(np.float32).max).any(), f"seed {seed}"
            undefined += 1
            continue
        tolerance = 1e-3 if graph.adjacency.dtype == torch.float16 else 1e-5
        np.testing.assert_allclose(found, oracles.a_hat_rw(a), atol=tolerance, err_msg=f"seed {seed}")
        accepted += 1
    assert min(accepted, refused, undefined) >= 10, (accepted, refused, undefined)
