"""The data: a graph with its matrices A, X and y, checked at the door, and what the theory derives from A."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import InputError, InputTypeError
from .memory import check_large, estimate_step
from .sparse import SparseMatrix, as_tensor, check_count

if TYPE_CHECKING:
    import networkx
    import pandas
    import scipy.sparse
    from torch_geometric.data import Data

_CHUNK = 1 << 22  # values that are looked at together: what they are kept in may be larger than memory
SPARSE_BELOW = 0.15  # X is kept sparse while fewer of its entries than this are non-zero

Features = Tensor | SparseMatrix


class ReceptiveField(NamedTuple):
    """What the outputs of a few nodes depend on: `model(x, a_hat)` gives exactly the rows of `nodes`.

    Attributes:
        x: the rows of X that are needed, [n_0, num_features].
        a_hat: one matrix a layer, [n_l, n_{l-1}]; the last has a row for each of `nodes`.
        nodes: the nodes asked for, [n_L].
    """

    x: Features
    a_hat: list[SparseMatrix]
    nodes: Tensor


class Graph:
    """A graph: adjacency A [N, N], features X [N, F], labels y [N], masks [N]; immutable.

    A[i, j] is the weight of the edge j -> i (target, source), so that A X sums over in-neighbours; an undirected
    graph stores both directions. What is derived from A (`a_tilde`, `a_hat`, ...) is computed once and kept.

    Args:
        adjacency: SparseMatrix [N, N].
        x: features [N, F], dense or SparseMatrix; kept as a SparseMatrix while under 15 % of it is non-zero.
        y: labels: int64 [N] for nodes (-1 = unlabelled), or a single one (0-d) for the graph. Or targets, which are floats
            (NaN = missing): [N] or [N, T] for nodes, 0-d or [1, T] for the graph.
        train_mask: bool [N]; the masks must not overlap, nor hold a node without a label.
        val_mask: likewise.
        test_mask: likewise.
        node_names: one name a node, in the order of the rows of A.
        class_names: one name a class.
        name: what the graph is called in messages.
        num_duplicates: edges that were merged when A was made; for `summary()`.
        check_finite: refuse NaN and infinities in X.

    Raises:
        InputError, InputTypeError: with the argument, the value, its position and the remedy.
    """

    adjacency: SparseMatrix
    x: Features | None
    y: Tensor | None
    train_mask: Tensor | None
    val_mask: Tensor | None
    test_mask: Tensor | None
    node_names: tuple[Any, ...] | None
    class_names: tuple[str, ...] | None
    name: str | None
    num_duplicates: int
    _derived: dict[Any, Any]

    def __init__(
        self,
        adjacency: SparseMatrix,
        x: Any = None,
        y: Any = None,
        train_mask: Any = None,
        val_mask: Any = None,
        test_mask: Any = None,
        *,
        node_names: Sequence[Any] | None = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        num_duplicates: int = 0,
        check_finite: bool = True,
    ) -> None:
        if not isinstance(adjacency, SparseMatrix):
            raise InputTypeError(
                f"adjacency: got {type(adjacency).__name__}, expected a SparseMatrix; "
                "Graph.from_edges, from_scipy, from_dense, from_torch and from_networkx make one."
            )
        if adjacency.shape[0] != adjacency.shape[1]:
            raise InputError(f"adjacency: got {adjacency.shape[0]} x {adjacency.shape[1]}, expected a square matrix.")
        n = adjacency.shape[0]
        for label, names, size in (("node_names", node_names, n), ("class_names", class_names, None)):
            if names is not None and size is not None and len(names) != size:
                raise InputError(f"{label}: got {len(names)} names for {size} nodes.")
        x = None if x is None else _check_features(x, n, check_finite)
        y = None if y is None else _check_labels(y, n, None if class_names is None else len(class_names))
        masks = {"train_mask": train_mask, "val_mask": val_mask, "test_mask": test_mask}
        values = {
            "adjacency": adjacency if x is None else adjacency.to(x.dtype),
            "x": x,
            "y": y,
            **{key: None if mask is None else _check_mask(key, mask, n, y) for key, mask in masks.items()},
            "node_names": None if node_names is None else tuple(node_names),
            "class_names": None if class_names is None else tuple(class_names),
            "name": name,
            "num_duplicates": num_duplicates,
        }
        _check_disjoint({key: values[key] for key in masks if values[key] is not None})
        values["_derived"] = {}
        self.__dict__.update(values)

    @classmethod
    def _of_checked(cls, adjacency: SparseMatrix, **values: Any) -> Any:
        """A graph of parts that are known to fit, such as those of another graph."""
        graph = cls.__new__(cls)
        parts = dict.fromkeys(("x", "y", "train_mask", "val_mask", "test_mask", "node_names", "class_names", "name"))
        graph.__dict__.update({**parts, "num_duplicates": 0, "_derived": {}, "adjacency": adjacency, **values})
        return graph

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Graph is immutable; graph.replace({name}=...) returns a changed one.")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_derived": {}}  # what is derived is not part of a copy or a pickle

    def __repr__(self) -> str:
        parts = [f"{self.num_nodes} nodes", f"{self.num_edges} stored edges"]
        parts += [f"{self.num_features} features"] if self.x is not None else []
        has_classes = self.y is not None and self.y.dim() == 1 and not self.y.is_floating_point()
        parts += [f"{self.num_classes} classes"] if has_classes else []
        return f"Graph({(self.name + ': ') if self.name else ''}{', '.join(parts)})"

    # -- making one ---------------------------------------------------------------------------------------------------

    @classmethod
    def from_edges(
        cls,
        edge_index: Any,
        num_nodes: int | None = None,
        edge_weight: Any = None,
        x: Any = None,
        y: Any = None,
        train_mask: Any = None,
        val_mask: Any = None,
        test_mask: Any = None,
        duplicates: str = "sum",
        **options: Any,
    ) -> Graph:
        """From an edge list [2, num_edges]: sources, then targets. An undirected graph holds both directions.

        Args:
            edge_index: integers [2, num_edges]; see `SparseMatrix.from_edges`.
            num_nodes: N; by default the rows of x, else those of y ([1, T] is the graph's), else the largest id + 1.
            edge_weight: [num_edges]; by default ones.
            x: features [N, F], dense or SparseMatrix.
            y: labels [N], or one (0-d) for the graph; or targets, as for `Graph`.
            train_mask: bool [N].
            val_mask: bool [N].
            test_mask: bool [N].
            duplicates: an edge given twice: "sum" of the weights, "first", or "error".
            **options: node_names, class_names, name, check_finite of `Graph`.

        >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> path.a_hat.to_dense()
        tensor([[0.5000, 0.4082, 0.0000],
                [0.4082, 0.3333, 0.4082],
                [0.0000, 0.4082, 0.5000]])
        """
        x = None if x is None else _as_features(x, options.get("check_finite", True))
        y = None if y is None else as_tensor("y", y, "class numbers")
        if num_nodes is None:
            shape: Sequence[int] = x.shape if x is not None else y.shape if y is not None else ()
            is_of_graph = x is None and len(shape) == 2 and shape[0] == 1
            num_nodes = int(shape[0]) if len(shape) and not is_of_graph else None
        adjacency = SparseMatrix.from_edges(edge_index, num_nodes, edge_weight, duplicates=duplicates)
        num_given = edge_index.shape[1] if hasattr(edge_index, "shape") else len(edge_index[0])
        return cls(
            adjacency, x, y, train_mask, val_mask, test_mask, num_duplicates=num_given - adjacency.nnz, **options
        )

    @classmethod
    def from_scipy(cls, adjacency: scipy.sparse.sparray | scipy.sparse.spmatrix, **options: Any) -> Graph:
        """From a scipy sparse A [N, N], A[target, source]; `options` are those of `Graph`, x, y and masks included."""
        return cls(SparseMatrix.from_scipy(adjacency, "adjacency"), **options)

    @classmethod
    def from_dense(cls, adjacency: Any, **options: Any) -> Graph:
        """From a dense A [N, N], A[target, source]: a tensor, array or nested list."""
        return cls(SparseMatrix.from_dense(adjacency, "adjacency"), **options)

    @classmethod
    def from_torch(cls, adjacency: Tensor, **options: Any) -> Graph:
        """From a torch sparse tensor A [N, N] (COO, CSR or CSC), A[target, source]."""
        return cls(SparseMatrix.from_torch(adjacency, "adjacency"), **options)

    @classmethod
    def from_networkx(
        cls,
        graph: networkx.Graph,
        *,
        weight: str | None = "weight",
        features: Sequence[str] | str | None = None,
        label: str | None = None,
        **options: Any,
    ) -> Graph:
        """From a networkx graph; `node_names` keeps its nodes in their order, which is the order of the rows of A.

        Args:
            graph: directed or not, multigraphs too (parallel edges are summed).
            weight: edge attribute that holds the weight, 1 where an edge has none; None for an unweighted graph.
            features: node attribute or attributes that make up X: numbers, or lists of numbers.
            label: node attribute that holds what y does: integers are classes, floats (or lists of numbers) are targets;
                names are numbered in sorted order and kept as `class_names`. None is a node without a label, -1 or NaN.
            **options: as for `Graph`.
        """
        if not hasattr(graph, "nodes"):
            raise InputTypeError(f"graph: got {type(graph).__name__}, expected a networkx graph.")
        names = list(graph.nodes)
        index = {name: i for i, name in enumerate(names)}
        source, target, weights = [], [], []
        for u, v, data in graph.edges(data=True):
            w = data.get(weight, 1.0) if weight is not None else 1.0
            try:
                w = float(w)
            except (TypeError, ValueError):
                raise InputTypeError(
                    f"edge {u!r} -> {v!r}: attribute {weight!r} is {w!r}, expected a number."
                ) from None
            both = not graph.is_directed() and u != v
            source += [index[u], index[v]] if both else [index[u]]
            target += [index[v], index[u]] if both else [index[v]]
            weights += [w, w] if both else [w]
        if features is not None:
            rows = _node_attributes(graph, [features] if isinstance(features, str) else list(features))
            options["x"] = _stack_features(names, rows)
        if label is not None:
            values = [row[0] for row in _node_attributes(graph, [label])]
            options["y"], options["class_names"] = _labels(values, options.get("class_names"))
        options.setdefault("node_names", names)
        edge_index = torch.tensor([source, target], dtype=torch.int64).reshape(2, -1)
        return cls.from_edges(edge_index, len(names), weights or None, **options)

    @classmethod
    def from_pandas(
        cls,
        edges: pandas.DataFrame,
        source: str = "source",
        target: str = "target",
        weight: str | None = None,
        *,
        directed: bool = False,
        **options: Any,
    ) -> Graph:
        """From a pandas edge list, one row an edge; node names are the distinct values, sorted where they can be.

        Args:
            edges: the table.
            source: column of the sources.
            target: column of the targets.
            weight: column of the weights; None for ones.
            directed: whether a row means source -> target alone; otherwise both directions.
            **options: as for `Graph`; `node_names` fixes the order, and may add nodes without an edge. An x, y or mask
                that is a pandas table or series is put into the order of the names by its index; anything else must
                be in that order already.
        """
        if not hasattr(edges, "columns"):
            raise InputTypeError(f"edges: got {type(edges).__name__}, expected a pandas DataFrame.")
        for column in (source, target, *([weight] if weight is not None else [])):
            if column not in edges.columns:
                raise InputError(f"edges: no column {column!r}; the table has {list(edges.columns)}.")
            if bool(edges[column].isna().any()):
                raise InputError(f"edges: column {column!r} is empty in row {edges[column].isna().idxmax()}.")
        names = options.pop("node_names", None)
        if names is None:
            names = list(dict.fromkeys([*edges[source].tolist(), *edges[target].tolist()]))
            if len({type(name) for name in names}) == 1:
                names.sort()
        index = {name: i for i, name in enumerate(names)}
        try:
            ends = torch.tensor([[index[name] for name in edges[column].tolist()] for column in (source, target)])
        except KeyError as error:
            raise InputError(f"edges: node {error.args[0]!r} is not among node_names.") from None
        for key, value in options.items():
            if hasattr(value, "loc"):
                missing = [name for name in names if name not in value.index]
                if missing:
                    raise InputError(f"{key}: its index has no row for node {missing[0]!r}.")
                options[key] = value.loc[list(names)].to_numpy()
        weights = None if weight is None else as_tensor(f"edges[{weight!r}]", edges[weight].to_numpy(), "numbers")
        if not directed:
            back = ends.flip(0)[:, ends[0] != ends[1]]
            weights = None if weights is None else torch.cat([weights, weights[ends[0] != ends[1]]])
            ends = torch.cat([ends, back], 1)
        return cls.from_edges(ends.long().reshape(2, -1), len(names), weights, node_names=names, **options)

    @classmethod
    def from_pyg(cls, data: Data, **options: Any) -> Graph:
        """From a PyG `Data`: edge_index, edge_weight (or a one-column edge_attr), x, y and the masks."""
        if not hasattr(data, "edge_index"):
            raise InputTypeError(f"data: got {type(data).__name__}, expected a PyG Data.")
        for key in ("x", "y", "train_mask", "val_mask", "test_mask"):
            if key in data and key not in options:
                options[key] = data[key]
        y = options.get("y")
        if y is not None and y is data.y and data.num_nodes != 1 and y.numel() == 1:
            options["y"] = y.reshape(())  # a graph's label
        elif y is not None and y is data.y and y.dim() == 2 and y.shape[1] == 1:
            options["y"] = y.squeeze(1)
        return cls.from_edges(data.edge_index, data.num_nodes, weights_of_pyg(data), **options)

    @classmethod
    def from_mesh(
        cls, vertices: Any, faces: Any, *, features: str = "coordinates", weight: str | None = None, **options: Any
    ) -> Graph:
        """From a triangle mesh: a node for each vertex, an edge in both directions for each side of a triangle.

        Args:
            vertices: coordinates [num_vertices, 3], or [num_vertices, 2] of a flat mesh; their dtype is that of X.
            faces: vertex ids [num_faces, 3], from 0. A vertex without a triangle is an isolated node.
            features: X: "coordinates", "normals", or both joined by "+". The normal of a vertex has length 1 and the
                direction of the sum of its triangles' normals times their areas, outwards where a triangle's vertices
                are in counter-clockwise order seen from outside; it is 0 where that sum is.
            weight: None: every edge has weight 1. "length": the distance between its two vertices.
            **options: as for `Graph`, but x.

        >>> square = Graph.from_mesh([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]], weight="length")
        >>> square.adjacency.to_dense()
        tensor([[0.0000, 1.0000, 1.4142, 1.0000],
                [1.0000, 0.0000, 1.0000, 0.0000],
                [1.4142, 1.0000, 0.0000, 1.0000],
                [1.0000, 0.0000, 1.0000, 0.0000]])
        """
        vertices, faces = _check_mesh(vertices, faces)
        kinds = {"coordinates": lambda: vertices, "normals": lambda: _vertex_normals(vertices, faces)}
        if not isinstance(features, str) or not kinds.keys() >= set(features.split("+")):
            raise InputError(f'features: got {features!r}, expected "coordinates", "normals" or "coordinates+normals".')
        if weight not in (None, "length"):
            raise InputError(f'weight: got {weight!r}, expected None or "length".')
        pairs, _ = unordered_pairs(faces.flatten(), faces.roll(-1, 1).flatten(), len(vertices))
        length = (vertices[pairs[0]] - vertices[pairs[1]]).norm(dim=1) if weight == "length" else None
        return cls.from_edges(
            torch.cat([pairs, pairs.flip(0)], 1),
            len(vertices),
            None if length is None else length.repeat(2),
            x=torch.cat([kinds[kind]() for kind in features.split("+")], 1),
            **options,
        )

    def replace(self, **changes: Any) -> Graph:
        """A copy with some of the constructor's arguments changed; what is derived from A is shared if A stays."""
        keys = ("adjacency", "x", "y", "train_mask", "val_mask", "test_mask", "node_names", "class_names", "name")
        unknown = set(changes) - set(keys)
        if unknown:
            raise InputError(f"replace: no argument {sorted(unknown)[0]!r}; expected some of {', '.join(keys)}.")
        arguments = {key: changes.get(key, getattr(self, key)) for key in keys}
        num_duplicates = 0 if "adjacency" in changes else self.num_duplicates
        other = Graph(**arguments, num_duplicates=num_duplicates, check_finite="x" in changes)
        if other.adjacency is self.adjacency:  # not where another dtype of x converted it
            other._derived.update(self._derived)
        return other

    def with_features(self, kind: str) -> Graph:
        """The graph with features made from its structure, for a data set that has none.

        Args:
            kind: "identity": X = I, one feature a node. "adjacency": X = A + I. "degree": X_i = (degree of i),
                [N, 1], loops counted once. "constant": X_i = 1, [N, 1].
        """
        n = self.num_nodes
        if kind == "identity":
            x: Features = SparseMatrix.eye(n, device=self.device)
        elif kind == "adjacency":
            x = self.adjacency.with_self_loops("add")
        elif kind == "degree":
            x = self.degree.unsqueeze(1)
        elif kind == "constant":
            x = torch.ones(n, 1, device=self.device)
        else:
            raise InputError(f'with_features: got {kind!r}, expected "identity", "adjacency", "degree" or "constant".')
        return self.replace(x=x)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.adjacency.shape[0]

    @property
    def num_edges(self) -> int:
        """Stored entries of A: an undirected edge counts twice, a loop once."""
        return self.adjacency.nnz

    @property
    def num_features(self) -> int:
        """F, 0 where there is no X."""
        return 0 if self.x is None else int(self.x.shape[1])

    @property
    def num_classes(self) -> int:
        """C: the number of class names if given, else the largest label + 1; 0 where there are no labels, or floats."""
        if self.class_names is not None:
            return len(self.class_names)
        if self.y is None or not self.y.numel() or self.y.is_floating_point():
            return 0
        return int(self.y.max()) + 1

    @property
    def device(self) -> torch.device:
        return self.adjacency.device

    @property
    def is_directed(self) -> bool:
        """Whether A differs from its transpose."""
        if "directed" not in self._derived:
            self._derived["directed"] = not self.adjacency.is_symmetric()
            if not self._derived["directed"]:
                self.adjacency._mark_symmetric()
        return self._derived["directed"]

    @property
    def has_self_loops(self) -> bool:
        return self.num_self_loops > 0

    @property
    def num_self_loops(self) -> int:
        return int((self.adjacency.diagonal() != 0).sum())

    # -- what is derived from A ---------------------------------------------------------------------------------------

    @property
    def degree(self) -> Tensor:
        """D_ii = sum_j A_ij, [N]: the weighted in-degree."""
        return self.adjacency.row_sums()

    @property
    def a_tilde(self) -> SparseMatrix:
        """Ã = A + I; a loop that A already has is kept as it is (`normalize` has the other readings)."""
        return self._derive(("fill", None))

    @property
    def degree_tilde(self) -> Tensor:
        """D̃_ii = sum_j Ã_ij, [N]."""
        return self.a_tilde.row_sums()

    @property
    def a_hat(self) -> SparseMatrix:
        """Â = D̃^-1/2 Ã D̃^-1/2, the propagation matrix of a GCN (Kipf & Welling 2017, equation 2)."""
        return self.normalize()

    def normalize(self, self_loops: str | None = "fill", norm: str | None = "sym") -> SparseMatrix:
        """The adjacency with self-loops, normalised by degree.

            sym: D̃^-1/2 Ã D̃^-1/2        rw: D̃^-1 Ã        None: Ã

        Degrees are weighted in-degrees (row sums of Ã), summed in float32 at least; a node of degree zero keeps a row
        of zeros.

        Args:
            self_loops: "fill": Ã_ii = A_ii where A_ii != 0, else 1. "add": the literal Ã = A + I, which counts a loop
                that A already has a second time (the two differ at such nodes alone). None: Ã = A.
            norm: "sym", "rw" or None.

        Raises:
            InputError: negative weights make a degree zero or less, for which no square root or quotient is defined.

        Warns once where A is not symmetric and norm is "sym", since the formula is made for undirected graphs.
        """
        if norm not in ("sym", "rw", None):
            raise InputError(f'norm: got {norm!r}, expected "sym", "rw" or None.')
        return self._derive((self_loops, norm))

    def _derive(self, key: tuple[str | None, str | None]) -> SparseMatrix:
        if key in self._derived:
            return self._derived[key]
        self_loops, norm = key
        if norm == "sym":
            warn_if_directed(self)
        dtype = self.adjacency.dtype
        matrix = self.adjacency.with_self_loops(self_loops)
        if norm is not None:
            degree = matrix.row_sums()
            self.check_degree(matrix, degree)
            inverse = torch.where(degree > 0, degree, 1).pow(-0.5 if norm == "sym" else -1.0) * (degree > 0)
            matrix = matrix.scale(rows=inverse, cols=inverse if norm == "sym" else None)  # in float32 at least, too
        matrix = matrix.to(dtype)
        if norm != "rw" and not self.is_directed:
            matrix._mark_symmetric()
        if not matrix.value.requires_grad:  # learned edge weights: every backward pass needs a graph of its own
            self._derived[key] = matrix
        return matrix

    def check_degree(self, matrix: SparseMatrix, degree: Tensor) -> None:
        """Raise InputError where a degree of Ã = `matrix` is no number that can be divided by."""
        bad = ~torch.isfinite(degree)
        if bool((matrix.value < 0).any()):
            bad |= (degree <= 0) & (matrix.rowptr.diff() > 0)
        if bool(bad.any()):
            node = int(bad.nonzero()[0])
            called = f" ({self.node_names[node]!r})" if self.node_names is not None else ""
            found = float(degree[node].detach())
            raise InputError(
                f"edge_weight: negative weights make the degree of node {node}{called} {found:g}; "
                "normalising needs positive degrees. Use absolute weights, or norm=None."
                if found <= 0
                else f"edge_weight: the degree of node {node}{called} is {found:g}; scale the weights down."
            )

    @property
    def laplacian(self) -> SparseMatrix:
        """L = I - D^-1/2 A D^-1/2, the normalised Laplacian, without added loops. (Kipf & Welling 2017, section 2.)"""
        if "laplacian" in self._derived:
            return self._derived["laplacian"]
        laplacian = SparseMatrix.eye(self.num_nodes, self.adjacency.dtype, self.device) - self.normalize(None)
        if not self.is_directed:
            laplacian._mark_symmetric()
        if not laplacian.value.requires_grad:
            self._derived["laplacian"] = laplacian
        return laplacian

    def l_tilde(self, lambda_max: float | None = 2.0) -> SparseMatrix:
        """L̃ = 2 L / λ_max - I, the Laplacian with its spectrum scaled into [-1, 1], for Chebyshev polynomials.

        Args:
            lambda_max: the largest eigenvalue of L; 2 is its upper bound, which the paper takes (equation 6).
                None computes it, of an undirected graph.
        """
        if lambda_max is None:
            if self.is_directed:
                raise InputError(
                    "lambda_max: None computes it for a symmetric L, but the graph is directed; give a number, such as 2.0."
                )
            if self.num_nodes <= 32:  # the iteration below wants more rows than it finds eigenvalues
                lambda_max = max(
                    torch.linalg.eigvalsh(self.laplacian.to_dense().detach().double()).tolist(), default=2.0
                )
            else:
                from scipy.sparse.linalg import eigsh

                # From scipy's own start, drawn anew, the last digits would differ from one call to the next.
                start = torch.randn(self.num_nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
                laplacian = self.laplacian.to_scipy().astype("float64")
                lambda_max = float(eigsh(laplacian, k=1, which="LA", tol=1e-6, v0=start.numpy())[0][0])
        if not 0 < lambda_max < math.inf:
            raise InputError(f"lambda_max: got {lambda_max}, expected a finite number above 0.")
        scaled = self.laplacian * (2.0 / lambda_max)
        l_tilde = scaled - SparseMatrix.eye(self.num_nodes, self.adjacency.dtype, self.device)
        return l_tilde if self.is_directed else l_tilde._mark_symmetric()

    def receptive_field(self, nodes: Tensor, num_layers: int, operator: SparseMatrix | None = None) -> ReceptiveField:
        """The part of the graph that `num_layers` GCN layers read to compute the outputs at `nodes`.

        A loss on few nodes needs few rows: layer l is needed only at the in-neighbours (by Â) of the nodes that layer
        l + 1 is needed at. The numbers are those of the whole graph, and so is every gradient.

        Args:
            nodes: a bool mask [N], or node ids, in any order.
            num_layers: number of products with Â.
            operator: the matrix [N, N] in the place of Â.

        >>> karate = load("karate").with_features("identity")      # doctest: +SKIP
        >>> field = karate.receptive_field(karate.train_mask, 2)   # doctest: +SKIP
        >>> model(field.x, field.a_hat)                            # doctest: +SKIP
        """
        if self.x is None:
            raise InputError('receptive_field: the graph has no x; make one with graph.with_features("identity").')
        check_count("num_layers", num_layers)
        rows = wanted = check_nodes(nodes, self.num_nodes).to(self.device)
        matrix = self.a_hat if operator is None else operator
        operators: list[SparseMatrix] = []
        for _ in range(num_layers):
            block = matrix.select_rows(rows)
            is_needed = torch.zeros(self.num_nodes, dtype=torch.bool, device=self.device)
            is_needed[block.col.long()] = True
            rows = is_needed.nonzero().squeeze(1)
            operators.insert(0, block.select_cols(rows))
        x = self.x if len(rows) == self.num_nodes and num_layers else select_rows(self.x, rows)
        return ReceptiveField(x, operators, wanted)

    def rows_of(self, nodes: Tensor) -> dict[str, Any]:
        """What the graph knows of some of its nodes beside their edges: x, y, masks and names, for `Graph`."""
        values: dict[str, Any] = {"class_names": self.class_names, "name": self.name}
        if self.x is not None:
            values["x"] = select_rows(self.x, nodes)
        if self.y is not None:
            values["y"] = self.y[nodes] if self.y.shape[:1] == (self.num_nodes,) else self.y
        for key in ("train_mask", "val_mask", "test_mask"):
            mask = getattr(self, key)
            part = None if mask is None else mask[nodes]
            values[key] = part if part is not None and bool(part.any()) else None  # as a Graph has it of an empty split
        if self.node_names is not None:
            values["node_names"] = tuple(self.node_names[i] for i in nodes.tolist())
        return values

    def subgraph(self, nodes: Tensor) -> Graph:
        """The graph of some nodes and the edges between them; its Â is normalised by the degrees that are left.

        Args:
            nodes: a bool mask [N], or distinct node ids, in any order; the subgraph has them in increasing order.

        >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> path.subgraph(torch.tensor([1, 2]))
        Graph(2 nodes, 2 stored edges)
        """
        nodes = check_nodes(nodes, self.num_nodes).to(self.device).sort().values
        twice = nodes[1:] == nodes[:-1]
        if bool(twice.any()):
            raise InputError(f"nodes: id {int(nodes[1:][twice][0])} is given twice.")
        part = Graph._of_checked(self.adjacency.select_rows(nodes).select_cols(nodes), **self.rows_of(nodes))
        if "directed" in self._derived and not self.is_directed:
            part._derived["directed"] = False
            part.adjacency._mark_symmetric()
        return part

    def estimate_memory(self, model: nn.Module) -> int:
        """Bytes of tensors that a training step on the whole graph holds at its peak, before anything is allocated.

        X, A, Â and the transpose, weights, gradients, Adam's two averages, and what the operators make in between; the
        process itself (Python, torch: a quarter of a GiB) comes on top. The step is run in shapes alone.

        Args:
            model: called as model(x, a_hat).

        >>> from gcnlab import GCN, Graph
        >>> graph = Graph.from_edges([[0, 1], [1, 0]], num_nodes=1000, x=torch.ones(1000, 100))
        >>> f"{graph.estimate_memory(GCN(100, 16, 5)) / 2**20:.1f} MiB"
        '1.2 MiB'
        """
        a, derived = self.adjacency, self.a_hat
        return estimate_step(model, self.x, derived) + sum(part.nbytes for part in (a.rowptr, a.col, a.value))

    # -- into other forms ---------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the graph to a folder of plain arrays (.npy) and a graph.json, from which `Graph.open` maps it.

        Args:
            folder: new or empty.

        Raises:
            InputError: there is something in the folder, or names that JSON does not have.
        """
        from .storage import save_graph

        save_graph(self, folder)

    @staticmethod
    def open(folder: str | PathLike[str], check: bool = True) -> Graph:
        """A saved graph whose arrays are mapped from their files: what is not read takes no memory.

        Its tensors must not be written to: the files are read-only, and the system ends a process that writes into the
        map of one (a copy may be written to: `graph.x.clone()`). Larger than memory, it is trained on in batches (`scale.NeighborSampler`);
        `a_hat` and what else is derived from all of A at once is made in memory.

        Args:
            folder: what `save` wrote.
            check: compare each file with its sha256 and look at all ids, which reads all of them once.

        Raises:
            InputError: the folder holds no graph that was saved to its end.
            CorruptFileError: a file is missing, cut short or changed.
        """
        from .storage import open_graph

        return open_graph(folder, check)

    def to_undirected(self) -> Graph:
        """The graph with every edge in both directions; where both are there with two weights, each gets their mean."""
        a, t = self.adjacency, self.adjacency.T
        total, count = a + t, a.with_value(torch.ones_like(a.value)) + t.with_value(torch.ones_like(t.value))
        return self.replace(adjacency=total.with_value(total.value / count.value))

    def to(self, device: torch.device | torch.dtype | str) -> Graph:
        """The graph on another device, or with A and X of another dtype; what was derived is derived again there."""
        if isinstance(device, torch.dtype):
            return self.replace(adjacency=self.adjacency.to(device), x=None if self.x is None else self.x.to(device))
        if torch.device(device) == self.device:
            return self
        moved: dict[str, Any] = {
            key: None if (value := getattr(self, key)) is None else value.to(device)
            for key in ("adjacency", "x", "y", "train_mask", "val_mask", "test_mask")
        }
        names = {key: getattr(self, key) for key in ("node_names", "class_names", "name", "num_duplicates")}
        return Graph._of_checked(**moved, **names)

    @property
    def edge_index(self) -> Tensor:
        """[2, num_edges] int64: sources, then targets, in the order of A's entries."""
        return torch.stack([self.adjacency.col.long(), self.adjacency.row])

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """A as a scipy CSR matrix."""
        return self.adjacency.to_scipy()

    def to_networkx(self) -> networkx.Graph:
        """A networkx Graph (DiGraph where A is not symmetric) with `weight` on edges, and `x` and `y` on nodes."""
        import networkx

        graph: networkx.Graph = networkx.DiGraph() if self.is_directed else networkx.Graph()
        names = list(self.node_names) if self.node_names is not None else list(range(self.num_nodes))
        graph.add_nodes_from(names)
        if len(graph) < self.num_nodes:
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise InputError(f"node_names: {twice!r} names two nodes, and networkx would make them one.")
        x = self.x.to_dense() if isinstance(self.x, SparseMatrix) else self.x
        if x is not None:
            networkx.set_node_attributes(graph, dict(zip(names, x.tolist(), strict=True)), "x")
        if self.y is not None and self.y.shape[:1] == (self.num_nodes,):
            networkx.set_node_attributes(graph, dict(zip(names, self.y.tolist(), strict=True)), "y")
        source, target = self.edge_index.tolist()
        for u, v, weight in zip(source, target, self.adjacency.value.tolist(), strict=True):
            graph.add_edge(names[u], names[v], weight=weight)
        return graph

    def to_pyg(self) -> Data:
        """A PyG `Data`: edge_index, edge_weight, dense x, y and the masks."""
        from torch_geometric.data import Data

        data = Data(edge_index=self.edge_index, edge_weight=self.adjacency.value, num_nodes=self.num_nodes)
        if self.x is not None:
            data.x = self.x.to_dense() if isinstance(self.x, SparseMatrix) else self.x
        if self.y is not None:
            data.y = self.y if self.y.dim() else self.y.reshape(1)
        for key in ("train_mask", "val_mask", "test_mask"):
            if getattr(self, key) is not None:
                data[key] = getattr(self, key)
        return data

    def summary(self) -> str:
        """Nodes, edges, loops, duplicates, isolated nodes, direction, homophily, features and splits as text."""
        rows: list[tuple[str, str]] = [("nodes", f"{self.num_nodes:,}")]
        loops = self.num_self_loops
        undirected = "" if self.is_directed else f" ({(self.num_edges - loops) // 2 + loops:,} undirected)"
        rows.append(
            ("edges", f"{self.num_edges:,} stored{undirected}, {'directed' if self.is_directed else 'symmetric'}")
        )
        is_weighted = bool((self.adjacency.value != 1).any())
        rows.append(
            (
                "weights",
                f"{float(self.adjacency.value.min()):g} to {float(self.adjacency.value.max()):g}"
                if is_weighted
                else "all 1",
            )
        )
        rows.append(("self-loops", f"{loops:,}"))
        rows.append(("duplicates merged", f"{self.num_duplicates:,}"))
        touched = torch.zeros(self.num_nodes, dtype=torch.bool, device=self.device)
        off_diagonal = self.adjacency.row != self.adjacency.col
        touched[self.adjacency.row[off_diagonal]] = True
        touched[self.adjacency.col[off_diagonal].long()] = True
        rows.append(("isolated nodes", f"{int((~touched).sum()):,}"))
        if self.x is not None:
            nonzero = self.x.density if isinstance(self.x, SparseMatrix) else float((self.x != 0).float().mean())
            kind = "sparse" if isinstance(self.x, SparseMatrix) else "dense"
            rows.append(("features", f"{self.num_features:,}, {100 * nonzero:.2f} % non-zero, kept {kind}"))
        if self.y is not None and self.y.dim() == 1 and not self.y.is_floating_point():
            rows.append(("classes", f"{self.num_classes}, {int((self.y < 0).sum()):,} nodes unlabelled"))
            source, target = self.edge_index[:, off_diagonal]
            both = (self.y[source] >= 0) & (self.y[target] >= 0)
            if bool(both.any()):
                same = float((self.y[source] == self.y[target])[both].float().mean())
                rows.append(("edge homophily", f"{same:.3f} (share of edges between nodes of one class)"))
        for key in ("train_mask", "val_mask", "test_mask"):
            if getattr(self, key) is not None:
                rows.append((key.replace("_mask", " nodes"), f"{int(getattr(self, key).sum()):,}"))
        return "\n".join([self.name or "Graph", *(f"  {key:<18} {value}" for key, value in rows)])


def select_rows(x: Features, rows: Tensor) -> Features:
    """The given rows of X, int64 ids."""
    size = sum(t.nbytes for t in ((x.col, x.value) if isinstance(x, SparseMatrix) else (x,)))  # of X; as a view, of it
    part = size * len(rows) // max(x.shape[0], 1)
    check_large("nodes", f"the features of {len(rows):,} nodes", part, rows.device, "take fewer at a time, or sample.")
    return x.select_rows(rows) if isinstance(x, SparseMatrix) else x.index_select(0, rows)


def warn_if_directed(graph: Graph) -> None:
    """Warn where the formula of Â, made for undirected graphs, is used on a directed one."""
    if graph.is_directed:
        warnings.warn(
            "the symmetric normalisation of a directed graph divides by in-degrees, A_ij / sqrt(d_i d_j); "
            'pass norm="rw" for the mean over in-neighbours, or make the graph undirected (graph.to_undirected()).',
            stacklevel=5,
        )


def _check_features(x: Any, num_nodes: int, check_finite: bool) -> Features:
    x = _as_features(x, check_finite)
    if len(x.shape) != 2 or x.shape[0] != num_nodes:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected [{num_nodes}, num_features], a row for each node.")
    if check_finite:
        check_features_finite(x)
    if isinstance(x, Tensor) and x.numel() and float((x != 0).float().mean()) < SPARSE_BELOW and not x.requires_grad:
        return SparseMatrix.from_dense(x)
    if isinstance(x, SparseMatrix) and x.density >= SPARSE_BELOW and not x.value.requires_grad:
        return x.to_dense()
    return x


def _as_features(x: Any, check_finite: bool) -> Features:
    if isinstance(x, SparseMatrix):
        return x
    if hasattr(x, "tocsr"):
        return SparseMatrix.from_scipy(x, "x", check_finite)
    if isinstance(x, Tensor) and x.layout != torch.strided:
        return SparseMatrix.from_torch(x, "x", check_finite)
    x = as_tensor("x", x, "numbers, [num_nodes, num_features]")
    if x.is_complex():
        raise InputError("x: got complex values, expected real ones.")
    return x if x.is_floating_point() else x.float()


def check_features_finite(x: Features, name: str = "x") -> None:
    """Raise InputError if x holds a NaN or an infinity, with their number and the first row that has one."""
    value = x.value if isinstance(x, SparseMatrix) else x
    if all(bool(torch.isfinite(part).all()) for part in value.detach().flatten().split(_CHUNK)):
        return
    bad = ~torch.isfinite(value.detach())
    rows = x.row[bad] if isinstance(x, SparseMatrix) else bad.nonzero()[:, 0]
    raise InputError(
        f"{name}: {int(bad.sum())} values are NaN or infinite, the first in row {int(rows[0])}; "
        "replace them (torch.nan_to_num), or pass check_finite=False."
    )


def _check_labels(y: Any, num_nodes: int, num_classes: int | None) -> Tensor:
    y = as_tensor("y", y, "class numbers")
    if y.dim() == 0 or (y.dim() == 1 and y.shape[0] == num_nodes):
        if y.is_floating_point():
            return check_targets(y)
        y = y.long()
        bad = (y < -1) | (y >= num_classes) if num_classes is not None else y < -1
        if bool(bad.any()):
            at = int(bad.reshape(-1).nonzero()[0])
            limit = "" if num_classes is None else f" and below {num_classes}"
            raise InputError(
                f"y: label {int(y.reshape(-1)[at])} at {at}; labels must be at least 0{limit}, or -1 for unlabelled."
            )
        return y
    if y.dim() == 2 and y.shape[0] in (num_nodes, 1):  # several targets a node, or of the graph
        return check_targets(y if y.is_floating_point() else y.float())
    raise InputError(
        f"y: got shape {tuple(y.shape)}, expected [{num_nodes}], one label a node, or a single label; "
        "several targets of the graph are [1, num_targets]."
    )


def check_targets(y: Tensor) -> Tensor:
    """Targets, of which NaN are missing ones; raises InputError with the first that is infinite."""
    bad = y.isinf()
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        raise InputError(f"y: target {float(y[tuple(at)])} at {at}; a target is a finite number, or NaN if missing.")
    return y


def _check_mask(name: str, mask: Any, num_nodes: int, y: Tensor | None) -> Tensor:
    mask = as_tensor(name, mask, "a bool for each node")
    if mask.dtype != torch.bool:
        raise InputError(f"{name}: got dtype {mask.dtype}, expected bool; turn ids into a mask with mask[ids] = True.")
    if mask.shape != (num_nodes,):
        raise InputError(f"{name}: got shape {tuple(mask.shape)}, expected [{num_nodes}].")
    if not bool(mask.any()):
        raise InputError(f"{name}: selects no node; pass None where a split has none.")
    if y is not None and y.dim() == 1:
        unlabelled = mask & (y == -1) if not y.is_floating_point() else torch.zeros_like(mask)
        if bool(unlabelled.any()):
            raise InputError(f"{name}: node {int(unlabelled.nonzero()[0])} is in it but has no label (y = -1).")
    return mask


def _check_disjoint(masks: dict[str, Tensor]) -> None:
    names = list(masks)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = masks[first] & masks[second]
            if bool(both.any()):
                raise InputError(f"{first} and {second} overlap: node {int(both.nonzero()[0])} is in both.")


def weights_of_pyg(data: Data) -> Tensor | None:
    """edge_weight, or a one-column edge_attr as [num_edges]."""
    weight = data.edge_weight if "edge_weight" in data else data.edge_attr
    return weight.squeeze(1) if weight is not None and weight.dim() == 2 and weight.shape[1] == 1 else weight


def check_nodes(nodes: Any, num_nodes: int) -> Tensor:
    """`nodes`, a bool mask or ids, as int64 ids."""
    nodes = as_tensor("nodes", nodes, "a bool mask or node ids")
    if nodes.dtype == torch.bool:
        if nodes.shape != (num_nodes,):
            raise InputError(f"nodes: got a mask of shape {tuple(nodes.shape)}, expected [{num_nodes}].")
        return nodes.nonzero().squeeze(1)
    is_mask = nodes.dtype == torch.uint8 or (
        len(nodes.shape) == 1 and len(nodes) == num_nodes > 2 and _is_binary(nodes)
    )
    if is_mask:
        raise InputError(f"nodes: got zeros and ones of {nodes.dtype}, expected ids, or a mask of bools: nodes.bool().")
    if nodes.dim() != 1 or nodes.is_floating_point() or nodes.is_complex():
        raise InputError(
            f"nodes: got {nodes.dtype} of shape {tuple(nodes.shape)}, expected a bool mask or integer ids."
        )
    bad = (nodes < 0) | (nodes >= num_nodes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(f"nodes: id {int(nodes[at])} at {at}, but ids must be at least 0 and below {num_nodes}.")
    return nodes.long()


def _is_binary(nodes: Tensor) -> bool:
    return bool(((nodes == 0) | (nodes == 1)).all())


def unordered_pairs(first: Tensor, second: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """The distinct {first[e], second[e]}, smaller id first, [2, num_pairs], and how often each is given, [num_pairs]."""
    key = torch.minimum(first, second) * num_nodes + torch.maximum(first, second)
    key, count = torch.unique(key, return_counts=True)
    return torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)]), count


def _check_mesh(vertices: Any, faces: Any) -> tuple[Tensor, Tensor]:
    """vertices [num_vertices, 2 or 3] in floats and faces [num_faces, 3] in int64, or a clear error."""
    vertices = as_tensor("vertices", vertices, "coordinates, [num_vertices, 3]")
    if vertices.dim() != 2 or vertices.shape[1] not in (2, 3):
        raise InputError(f"vertices: got shape {tuple(vertices.shape)}, expected [num_vertices, 3].")
    if vertices.is_complex():
        raise InputTypeError(f"vertices: got {vertices.dtype}, expected real coordinates.")
    vertices = vertices if vertices.is_floating_point() else vertices.float()
    check_features_finite(vertices, "vertices")
    faces = as_tensor("faces", faces, "vertex ids, [num_faces, 3]")
    if not faces.numel():
        return vertices, torch.empty(0, 3, dtype=torch.int64, device=vertices.device)
    if faces.is_floating_point() or faces.is_complex() or faces.dtype == torch.bool:
        raise InputTypeError(f"faces: got dtype {faces.dtype}, expected integers, the vertex ids of each triangle.")
    if faces.dim() != 2 or faces.shape[1] != 3:
        hint = "; cut each face into triangles" if faces.dim() == 2 and faces.shape[1] == 4 else ""
        hint = "; its transpose has: pass faces.T" if faces.dim() == 2 and faces.shape[0] == 3 else hint
        raise InputError(f"faces: got shape {tuple(faces.shape)}, expected [num_faces, 3]{hint}.")
    faces = faces.long()
    for bad, problem in (
        ((faces < 0) | (faces >= len(vertices)), f"expected vertex ids of at least 0 and below {len(vertices)}"),
        (faces == faces.roll(-1, 1), "which has a vertex twice; leave such faces out"),
    ):
        if bool(bad.any()):
            at = int(bad.any(1).nonzero()[0])
            raise InputError(f"faces: triangle {at} is {faces[at].tolist()}, {problem}.")
    return vertices, faces


def _vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """The sum of (b - a) x (c - a), twice the area times the normal, over a vertex's triangles, divided by its length."""
    if vertices.shape[1] != 3:
        raise InputError(f"vertices: got shape {tuple(vertices.shape)}, but normals need [num_vertices, 3].")
    a, b, c = vertices.double()[faces].unbind(1)  # a product of small coordinates would vanish in float32
    normals = torch.linalg.cross(b - a, c - a).repeat_interleave(3, 0)  # of each triangle, for each of its vertices
    total = torch.zeros_like(vertices, dtype=torch.float64).index_add(0, faces.flatten(), normals)
    length = total.norm(dim=1, keepdim=True)
    return (total / torch.where(length > 0, length, 1)).to(vertices.dtype)


def _node_attributes(graph: networkx.Graph, keys: list[str]) -> list[list[Any]]:
    rows = []
    for name, data in graph.nodes(data=True):
        missing = [key for key in keys if key not in data]
        if missing:
            raise InputError(
                f"node {name!r} has no attribute {missing[0]!r}, which other nodes may have; set it on all."
            )
        rows.append([data[key] for key in keys])
    return rows


def _labels(values: list[Any], class_names: Sequence[str] | None) -> tuple[Tensor, Sequence[str] | None]:
    """y, and the names of the classes; where the values are names and those of the classes unknown, they are these."""
    values = [value.item() if isinstance(value, Tensor) and not value.dim() else value for value in values]
    known = [value for value in values if value is not None]
    if all(isinstance(value, numbers.Integral) for value in known):  # NumPy's integers too
        return torch.tensor([-1 if value is None else int(value) for value in values], dtype=torch.int64), class_names
    if all(isinstance(value, numbers.Real) for value in known):
        return torch.tensor([math.nan if value is None else float(value) for value in values]), class_names
    if all(isinstance(value, str) for value in known):
        class_names = sorted(set(known)) if class_names is None else list(class_names)
        if unknown := set(known) - set(class_names):
            raise InputError(f"label: {min(unknown)!r} is not among class_names, {', '.join(map(repr, class_names))}.")
        return torch.tensor([-1 if value is None else class_names.index(value) for value in values]), class_names
    try:
        return torch.stack([torch.as_tensor(value, dtype=torch.get_default_dtype()) for value in values]), class_names
    except (TypeError, ValueError, RuntimeError):
        found = ", ".join(sorted({type(value).__name__ for value in values}))
        raise InputTypeError(
            f"label: got values of {found}, expected all integers, all numbers, all names, or lists of numbers of one length."
        ) from None


def _stack_features(names: list[Any], rows: list[list[Any]]) -> Tensor:
    width = None
    out = []
    for name, row in zip(names, rows, strict=True):
        try:
            parts = [torch.as_tensor(value, dtype=torch.float32).reshape(-1) for value in row]
        except (TypeError, ValueError):
            raise InputTypeError(f"node {name!r}: feature {row!r} is not made of numbers.") from None
        out.append(torch.cat(parts))
        if width is not None and out[-1].shape[0] != width:
            raise InputError(f"node {name!r} has {out[-1].shape[0]} features, nodes before it {width}.")
        width = out[-1].shape[0]
    return torch.stack(out) if out else torch.empty(0, 0)
