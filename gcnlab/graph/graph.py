"""A graph: the matrices A, X and y, validated on construction, and what the theory derives from A."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..checks import check_choice, check_count, check_flag, check_number
from ..errors import InputError, InputTypeError
from ..inputs import (
    check_names,
    check_nodes,
    check_unwritten,
    is_table,
    own,
    read_labels,
    rows_in_order,
    shaped_labels,
    shared,
    square_table,
)
from ..machine import check_devices, is_same_device
from ..memory import estimate_step
from ..sparse import Features, SparseMatrix
from ..sparse.features import check_features, row_normalized, select_rows, structural_features, values_of
from ..sparse.kinds import NORMALIZED, check_kind
from .convert import (
    edge_index_of,
    edge_parts,
    mesh_parts,
    networkx_graph,
    networkx_parts,
    pandas_parts,
    pyg_data,
    pyg_parts,
)
from .field import ReceptiveField, receptive_field
from .joining import joined_parts, listed_graphs
from .parts import (
    MASKS,
    check_adjacency,
    check_degree,
    check_moves,
    count_classes,
    count_splits,
    masks_of_split,
    ordinary,
    read_masks,
    warn_if_directed,
)
from .spectrum import lambda_max_of, laplacian_of, normalized, scaled_laplacian
from .storage import read_parts, write_parts
from .summary import graph_summary, num_loops

if TYPE_CHECKING:
    import networkx
    import pandas
    import scipy.sparse
    from torch_geometric.data import Data


_KNOWN = ("learnt", "shared adjacency", "shared x")
_NOTHING = {**dict.fromkeys(("x", "y", *MASKS, "node_names", "class_names", "name")), "num_duplicates": 0}


class Graph:
    """A graph: adjacency A [N, N], features X [N, F], labels y [N], masks [N] or [N, S]; immutable.

    A[i, j] is the weight of the edge j -> i (target, source), so that A X sums over in-neighbours; an undirected
    graph stores both directions. What is derived from A (`a_tilde`, `a_hat`, ...) is computed once and kept; with learnt
    weights, which require a gradient, it is computed at each use.

    Labels and masks are copied, and so are arrays and lists. A tensor x and the values of A are shared, since a copy
    would take as much memory again: a graph whose x or A has been written to since then raises InputError when it is
    read. Torch does not count writes through numpy into the memory of `torch.from_numpy`, nor writes through
    `tensor.data`, so they are not seen. If you write that way, pass a copy, `x.clone()`.

    Args:
        adjacency: SparseMatrix [N, N].
        x: features [N, F], dense or SparseMatrix; kept as a SparseMatrix while under 15 % of it is non-zero.
        y: labels: int64 [N] for nodes (-1 = unlabelled), or a single one (0-d) for the graph. Or targets, which are floats
            (NaN = missing): [N] or [N, T] for nodes, 0-d or [1, T] for the graph.
        train_mask: bool [N]; the masks must not overlap, nor hold a node without a label. Or bool [N, S] for S splits, of
            which column i of each mask is split i; a mask [N] beside such masks is that of every split, and is kept as
            [N, S]. Where a column holds no node, its split lacks that mask.
        val_mask: likewise.
        test_mask: likewise.
        node_names: one name per node, in the order of the rows of A.
        class_names: one name per class.
        name: what the graph is called in messages.
        num_duplicates: edges that were merged when A was made; for `summary()`.
        check_finite: refuse NaN and infinities in X.

    Raises:
        InputError, InputTypeError: with the argument, the value, its position and the remedy.
    """

    y: Tensor | None
    train_mask: Tensor | None
    val_mask: Tensor | None
    test_mask: Tensor | None
    node_names: tuple[Any, ...] | None
    class_names: tuple[str, ...] | None
    name: str | None
    num_duplicates: int
    _derived: dict[Any, Any]
    is_batch: ClassVar[bool] = False  # whether y is of several graphs side by side
    _made: dict[str, Any] | None = None
    _only: str | None = None

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
        check_adjacency(adjacency)
        check_flag("check_finite", check_finite)
        check_count("num_duplicates", num_duplicates)
        masks = {"train_mask": train_mask, "val_mask": val_mask, "test_mask": test_mask}
        check_devices(adjacency=adjacency, x=x, y=y, **masks)
        n = adjacency.shape[0]
        node_names = None if node_names is None else check_names("node_names", node_names)
        if node_names is not None and len(node_names) != n:
            raise InputError(f"node_names: got {len(node_names)} names for {n} nodes.")

        def ordered(key: str, value: Any) -> Any:
            return rows_in_order(key, value, node_names, n)

        class_names = None if class_names is None else check_names("class_names", class_names)
        x = None if x is None else check_features(ordered("x", x), n, check_finite).to(adjacency.device)
        if y is not None:
            y, class_names = read_labels(ordered("y", y), class_names)
            y = own(shaped_labels(y, n, None if class_names is None else len(class_names)).to(adjacency.device))
        masks = read_masks({key: ordered(key, mask) for key, mask in masks.items()}, n, y, adjacency.device)
        if x is not None:
            check_moves("x", adjacency, x.dtype)
            adjacency = adjacency.to(x.dtype)
        adjacency, x = ordinary(adjacency), ordinary(x)
        values = {
            "adjacency": adjacency,
            "x": x,
            "y": y,
            **masks,
            "node_names": node_names,
            "class_names": class_names,
            "name": name,
            "num_duplicates": num_duplicates,
        }
        values["_derived"] = {
            "learnt": adjacency.value.requires_grad,
            "shared adjacency": shared(adjacency.value),
            "shared x": None if x is None else shared(values_of(x)),
        }
        self.__dict__.update(values)

    @classmethod
    def of_parts(
        cls,
        adjacency: SparseMatrix,
        *,
        derived: dict[Any, Any] | None = None,
        made_features: dict[str, Any] | None = None,
        only: str | None = None,
        **parts: Any,
    ) -> Any:
        """A graph of parts that are known to fit each other, such as those of another graph: nothing is checked or copied.

        Args:
            adjacency: A [N, N].
            derived: what follows from this A and is known already, by the keys of `kept`.
            made_features: the attribute of this name.
            only: set where A alone does not say what `normalize` makes, such as for sampled edges: the matrices in
                `derived` are then the only ones, and this is the error for any other.
            **parts: the other attributes: x, y, masks, names and num_duplicates. A subclass adds its own.

        >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]], x=torch.ones(3, 2))
        >>> Graph.of_parts(**{**path.parts, "x": None})
        Graph(3 nodes, 4 stored edges)
        """
        graph = cls.__new__(cls)
        graph.__dict__.update(_NOTHING, adjacency=adjacency, _derived={} if derived is None else derived, **parts)
        if made_features is not None or only is not None:
            graph.__dict__.update(_made=made_features, _only=only)
        return graph

    @property
    def parts(self) -> dict[str, Any]:
        """The arguments with which `of_parts` makes an equal graph. With another A leave out `derived`."""
        parts = {key: value for key, value in self.__dict__.items() if key not in ("_derived", "_made", "_only")}
        return {**parts, "derived": dict(self._derived), "made_features": self._made, "only": self._only}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Graph is immutable; graph.replace({name}=...) returns a changed one.")

    def __getstate__(self) -> dict[str, Any]:
        # What is derived is not part of a copy or a pickle; what is known of the weights and x that were given is.
        known = {key: value for key, value in self._derived.items() if key in _KNOWN or self._only is not None}
        return {**self.__dict__, "_derived": known}

    def __repr__(self) -> str:
        parts = [f"{self.num_nodes} nodes", f"{self.num_edges} stored edges"]
        parts += [f"{self.num_features} features"] if self.x is not None else []
        has_classes = self.y is not None and self.y.dim() == 1 and not self.y.is_floating_point()
        parts += [f"{self.num_classes} classes"] if has_classes else []
        parts += [f"{self.num_splits} splits"] if self.num_splits > 1 else []
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
            num_nodes: N; by default the number of node_names, else the rows of x, else those of y (a single label or
                [1, T] is the graph's), else the largest id + 1.
            edge_weight: [num_edges]; by default ones.
            x: features [N, F], dense or SparseMatrix.
            y: labels [N], or one (0-d) for the graph; or targets, as for `Graph`.
            train_mask: bool [N], or [N, S] for S splits, as for `Graph`.
            val_mask: likewise.
            test_mask: likewise.
            duplicates: an edge given twice: "sum" of the weights, "first", or "error".
            **options: node_names, class_names, name, check_finite of `Graph`.

        >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> path.a_hat.to_dense()
        tensor([[0.5000, 0.4082, 0.0000],
                [0.4082, 0.3333, 0.4082],
                [0.0000, 0.4082, 0.5000]])
        """
        names = options.get("node_names")
        adjacency, num_duplicates, names = edge_parts(edge_index, num_nodes, edge_weight, x, y, names, duplicates)
        return cls(
            adjacency, x, y, train_mask, val_mask, test_mask,
            **{**options, "node_names": names}, num_duplicates=num_duplicates,
        )  # fmt: skip

    @classmethod
    def from_scipy(cls, adjacency: scipy.sparse.sparray | scipy.sparse.spmatrix, **options: Any) -> Graph:
        """From a scipy sparse A [N, N], A[target, source]; `options` are those of `Graph`, x, y and masks included."""
        return cls(SparseMatrix.from_scipy(adjacency, "adjacency"), **options)

    @classmethod
    def from_dense(cls, adjacency: Any, **options: Any) -> Graph:
        """From a dense A [N, N], A[target, source]: a tensor, array or nested list.

        The columns of a pandas DataFrame are put into the order of its rows (or of `node_names`) by their names, which
        become the `node_names`.
        """
        if is_table(adjacency):
            adjacency, names = square_table("adjacency", adjacency, options.get("node_names"))
            options["node_names"] = options.get("node_names", names)
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
        return cls.from_edges(**networkx_parts(graph, weight, features, label, options))

    @classmethod
    def from_pandas(
        cls,
        edges: pandas.DataFrame,
        source: str = "source",
        target: str = "target",
        weight: str | None = None,
        *,
        directed: bool = False,
        duplicates: str | None = None,
        **options: Any,
    ) -> Graph:
        """From a pandas edge list, one row per edge; node names are the distinct values, sorted if all are of one kind.

        Args:
            edges: the table.
            source: column of the sources.
            target: column of the targets.
            weight: column of the weights; None for ones.
            directed: whether a row means source -> target alone; otherwise both directions.
            duplicates: a pair that is listed again (undirected: in either direction). "sum" adds the weights, "first"
                keeps the first, "error" refuses it. None: "sum" if directed; otherwise the pair counts once, and another
                weight is refused.
            **options: as for `Graph`; `node_names` fixes the order, and may add nodes without an edge. An x, y or mask
                that is a pandas object is put in the order of the names by its index; without `node_names` the rows
                that no edge names are isolated nodes. An array must be in the order of `node_names`, which must be
                given unless the names are numbers.
        """
        adjacency, num_duplicates, names = pandas_parts(edges, source, target, weight, directed, duplicates, options)
        return cls(adjacency, **{**options, "node_names": names}, num_duplicates=num_duplicates)

    @classmethod
    def from_pyg(cls, data: Data, **options: Any) -> Graph:
        """From a PyG `Data`: edge_index, edge_weight (or a one-column edge_attr), x, y and the masks."""
        parts = pyg_parts(data, "data")
        return cls.from_edges(**{**parts, **options})

    @classmethod
    def from_graphs(cls, graphs: Iterable[Graph], *, name: str | None = None) -> Graph:
        """One graph of several side by side, A = diag(A_1, ..., A_B), with the features, labels and masks of their nodes.

        For graphs with one label each see `GraphCollection.from_graphs`. Labels are matched by their class_names. Node
        names are kept where they differ between the graphs; otherwise (i, name) is a node of the i-th graph.

        >>> edge = Graph.from_edges([[0, 1], [1, 0]], y=[0, 1])
        >>> Graph.from_graphs([edge, edge]).y
        tensor([0, 1, 0, 1])
        """
        return cls(**joined_parts(check_graphs(graphs)), name=name, check_finite=False)

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
        return cls.from_edges(**mesh_parts(vertices, faces, features, weight), **options)

    def replace(self, **changes: Any) -> Graph:
        """A copy with some of the constructor's arguments changed; what is derived from A is shared if A stays."""
        keys = ("adjacency", "x", "y", *MASKS, "node_names", "class_names", "name")
        unknown = set(changes) - set(keys)
        if unknown:
            raise InputError(f"replace: no argument {sorted(unknown)[0]!r}; expected some of {', '.join(keys)}.")
        arguments = {key: changes[key] if key in changes else getattr(self, key) for key in keys}
        num_duplicates = 0 if "adjacency" in changes else self.num_duplicates
        other = Graph(**arguments, num_duplicates=num_duplicates, check_finite="x" in changes)
        ours = {key: arguments[key] for key in ("y", *MASKS) if key not in changes and arguments[key] is not None}
        same = {key: value for key, value in ours.items() if value.shape == getattr(other, key).shape}
        other.__dict__.update(same)  # no copies of ours
        if "x" not in changes and self._made is not None:
            other.__dict__["_made"] = self._made if arguments["adjacency"] is self.adjacency else {}
        if self._only is not None:  # what was given with A stays with it, unless another A is given
            given = {} if "adjacency" in changes else self._given_matrices(other.adjacency.dtype)
            other.__dict__.update(_derived=given.get("derived", {}) | other._derived, _only=given.get("only"))
        elif other.adjacency is self.adjacency:  # not where another dtype of x converted it
            of_a = {key: value for key, value in self._derived.items() if key != "merged"}  # which is of X and of a ptr
            other.__dict__["_derived"] = of_a | other._derived
        return other

    def with_split(self, split: int) -> Graph:
        """The graph with the masks [N] of one of its splits; all else is shared, what is derived from A later, too.

        Args:
            split: 0 to num_splits - 1.

        >>> both = torch.tensor([[True, False], [False, True]])
        >>> graph = Graph.from_edges([[0, 1], [1, 0]], y=[0, 1], train_mask=both, test_mask=~both)
        >>> graph.num_splits, graph.with_split(1).train_mask
        (2, tensor([False,  True]))
        """
        masks = masks_of_split(self.masks, split)
        return type(self).of_parts(**{**self.parts, **masks, "derived": self._derived})

    def with_features(
        self, kind: str, max_degree: int | None = None, *, k: int | None = None, append: bool = False
    ) -> Graph:
        """The graph with features made from its structure, for a data set that has none.

        `links.split_edges` makes those of A again from the training edges, so that X does not hold the edges to predict.

        Args:
            kind: "identity": X = I, one feature per node. "adjacency": X = A + I. "constant": X_i = 1, [N, 1].
                "degree": the weighted degree D_ii, [N, 1]. Of the number of neighbours (a loop counts once), as
                `load(..., features="degree")` and the like make them of collections: "degree_one_hot", "degree_bins"
                and "log_degree" (`degree_features`). Positional encodings: "rwpe" and "laplacian" (`sparse.encodings`).
            max_degree: of "degree_one_hot" and "degree_bins", the degree of the last column; by default the highest here.
                A model that was trained on other graphs takes the columns of those.
            k: columns of an encoding, also by place, `with_features("rwpe", 16)`.
            append: put them behind X; else they take its place.

        >>> star = Graph.from_edges([[0, 1, 0, 2], [1, 0, 2, 0]])
        >>> star.with_features("degree_one_hot", max_degree=3).x.to_dense()
        tensor([[0., 0., 1., 0.],
                [0., 1., 0., 0.],
                [0., 1., 0., 0.]])
        """
        before = self.x if check_flag("append", append) else None
        graph = self.replace(x=structural_features(self.adjacency, kind, max_degree, k, before))
        if kind not in ("identity", "constant") or (append and self._made is not None):
            graph.__dict__["_made"] = {} if append else {"kind": kind, "max_degree": max_degree, "k": k}
        return graph

    def with_row_normalized_features(self) -> Graph:
        """The graph with each row of X, dense or sparse, divided by the sum of its absolute values; zero rows stay zero.

        >>> Graph.from_edges([[0, 1], [1, 0]], x=[[1.0, 3.0], [0.0, 0.0]]).with_row_normalized_features().x
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
        """
        x = self.x
        if x is None:
            raise InputError('graph: has no x; make one with graph.with_features("identity").')
        return self.replace(x=row_normalized(x))

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
        return count_classes(self.y, self.class_names)

    @property
    def num_splits(self) -> int:
        """S of masks [N, S]; 1 for masks [N], 0 where there are no masks."""
        return count_splits(self.masks)

    @property
    def device(self) -> torch.device:
        return self.adjacency.device

    @property
    def is_directed(self) -> bool:
        """Whether A differs from its transpose by more than rounding; see `SparseMatrix.is_symmetric`."""

        def compare() -> bool:
            is_symmetric = self.adjacency.is_symmetric()
            if is_symmetric and not self.is_learnt:
                self.adjacency.mark_symmetric()
            return not is_symmetric

        return self.kept("directed", compare)

    @property
    def has_self_loops(self) -> bool:
        return self.num_self_loops > 0

    @property
    def num_self_loops(self) -> int:
        return num_loops(self.adjacency)

    # -- what is derived from A ---------------------------------------------------------------------------------------

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` derives from A, made once and kept under `key`. All that a graph derives passes through here.

        Learnt weights are derived again at each use, whether gradients are on or not: the weights change, and each
        backward pass needs a graph of its own. It is made outside of inference_mode, whose tensors no training takes.
        """
        if self.is_learnt:
            return make()
        if key not in self._derived:
            with torch.inference_mode(False):
                self._derived[key] = make()
        return self._derived[key]

    @property
    def derived(self) -> Mapping[Any, Any]:
        """What has been derived and kept so far, by the keys of `kept`."""
        return self._derived

    @property
    def made_features(self) -> dict[str, Any] | None:
        """`with_features`' arguments if it made X of this A; {} if it made X of another A; None if X was given."""
        return self._made

    @property
    def masks(self) -> dict[str, Tensor | None]:
        """The three masks by name."""
        return {key: getattr(self, key) for key in MASKS}

    @property
    def values(self) -> dict[str, Tensor]:
        """The numbers of A and X by name, as far as they are made: what may require a gradient."""
        parts = {"A": self.__dict__["adjacency"], "x": self.x}
        return {name: values_of(part) for name, part in parts.items() if part is not None}

    @property
    def is_learnt(self) -> bool:
        """Whether the weights of A change: they require a gradient, or did when the graph was made."""
        matrix = self.__dict__["adjacency"]
        if matrix is None:  # of a Grid, until it is read
            return False
        self._check_unwritten("adjacency", matrix.value)
        return matrix.value.requires_grad or self._derived.get("learnt", False)

    def _check_unwritten(self, name: str, tensor: Tensor) -> None:
        check_unwritten(name, tensor, self._derived.get(f"shared {name}"))

    @property
    def x(self) -> Features | None:
        """X, [N, F], or None."""
        x = self.__dict__["x"]
        if x is not None:
            self._check_unwritten("x", values_of(x))
        return x

    @property
    def adjacency(self) -> SparseMatrix:
        """A, [N, N]: A[i, j] is the weight of the edge j -> i."""
        matrix = self.__dict__["adjacency"]
        self._check_unwritten("adjacency", matrix.value)
        if matrix.kind != "adjacency":  # as it was given: with no kind, or as the Â of another graph, which it stays
            matrix = self.__dict__["adjacency"] = matrix.with_kind("adjacency")
        return matrix

    def matrix(self, kind: str) -> SparseMatrix:
        """The matrix of a kind: what `SparseMatrix.kind` says, and a layer's `operator` asks for.

        Args:
            kind: "adjacency", "a_tilde", "a_hat" or "laplacian", the attributes of these names; "random_walk", which is
                D^-1 A, `normalize(None, "rw")`; "l_tilde", which is `l_tilde()`; or another call of `normalize` or
                `l_tilde` as Python shows it: "normalize('fill', 'rw')", "l_tilde(None)".

        >>> path = Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> path.matrix("random_walk").to_dense()[1], path.l_tilde(1.5).kind
        (tensor([0.5000, 0.0000, 0.5000]), 'l_tilde(1.5)')
        """
        check_kind("kind", kind)
        if kind in NORMALIZED:
            return self.normalize(*NORMALIZED[kind])
        if kind == "laplacian":
            return self.laplacian
        lambda_max = kind.removeprefix("l_tilde").strip("()")
        return self.l_tilde(None if lambda_max == "None" else float(lambda_max or 2.0))

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
        check_choice("self_loops", self_loops, ("fill", "add", None))
        check_choice("norm", norm, ("sym", "rw", None))
        return self._derive((self_loops, norm))

    def _derive(self, key: tuple[str | None, str | None]) -> SparseMatrix:
        if key not in self._derived:
            if self._only is not None:
                raise InputError(self._only)
            if key[1] == "sym":
                warn_if_directed(self)
        return self.kept(key, lambda: normalized(self, *key))

    def check_degree(self, matrix: SparseMatrix, degree: Tensor) -> None:
        """Raise InputError where a degree of Ã = `matrix` is no number that can be divided by."""
        check_degree(matrix, degree, self.node_names)

    @property
    def combinatorial_laplacian(self) -> SparseMatrix:
        """D - A, not normalised; on a grid it is the edge filter of image processing. Loops cancel.

        >>> Graph.from_edges([[0, 1, 1, 2], [1, 0, 2, 1]]).combinatorial_laplacian.to_dense()
        tensor([[ 1., -1.,  0.],
                [-1.,  2., -1.],
                [ 0., -1.,  1.]])
        """
        a = self.adjacency
        laplacian = SparseMatrix.eye(self.num_nodes, a.dtype, self.device).with_value(self.degree.to(a.dtype)) - a
        return laplacian if self.is_directed else laplacian.mark_symmetric()

    @property
    def laplacian(self) -> SparseMatrix:
        """L = I - D^-1/2 A D^-1/2, the normalised Laplacian, without added loops. (Kipf & Welling 2017, section 2.)"""
        return self.kept("laplacian", lambda: laplacian_of(self))

    def l_tilde(self, lambda_max: float | None = 2.0) -> SparseMatrix:
        """L̃ = 2 L / λ_max - I, the Laplacian with its spectrum scaled into [-1, 1], for Chebyshev polynomials.

        Args:
            lambda_max: the largest eigenvalue of L; 2 is its upper bound, which the paper takes (equation 6).
                None computes it, of an undirected graph.
        """
        if lambda_max is None:
            return self.l_tilde(self.kept("lambda_max", lambda: lambda_max_of(self))).with_kind("l_tilde(None)")
        given: Any = lambda_max  # a tensor of one number, too
        lambda_max = check_number("lambda_max", given.item() if isinstance(given, Tensor) else given, above=0)
        kind = f"l_tilde({lambda_max})"
        return self.kept(kind, lambda: scaled_laplacian(self, lambda_max, kind))

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
        rows = check_nodes(nodes, self.num_nodes).to(self.device)
        return receptive_field(self.x, self.a_hat if operator is None else operator, rows, num_layers)

    def rows_of(self, nodes: Tensor) -> dict[str, Any]:
        """What the graph knows of some of its nodes beside their edges: x, y, masks and names, for `Graph`."""
        values: dict[str, Any] = {"class_names": self.class_names, "name": self.name}
        if self.x is not None:
            values["x"] = select_rows(self.x, nodes)
        if self._made is not None:
            values["made_features"] = {}
        if self.y is not None:
            values["y"] = self.y[nodes] if self.y.shape[:1] == (self.num_nodes,) else self.y
        for key in MASKS:
            mask = getattr(self, key)
            part = None if mask is None else mask[nodes]
            values[key] = part if part is not None and bool(part.any()) else None  # as a Graph has it of an empty split
        if self.node_names is not None:
            values["node_names"] = tuple(self.node_names[i] for i in nodes.tolist())
        return values

    def check_edges_are_all(self, method: str) -> None:
        """Raise InputError if the edges are a sample, from which `method` would make a wrong matrix."""

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
        part = Graph.of_parts(self.adjacency.select_rows(nodes).select_cols(nodes), **self.rows_of(nodes))
        if "directed" in self._derived and not self.is_directed:
            part._derived["directed"] = False
            part.adjacency.mark_symmetric()
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
        write_parts(
            folder, self.adjacency, self.x, {"y": self.y, **self.masks}, self.node_names,
            directed=self.is_directed, num_duplicates=self.num_duplicates, name=self.name, class_names=self.class_names,
        )  # fmt: skip

    @staticmethod
    def open(folder: str | PathLike[str], check: bool = True) -> Graph:
        """A saved graph whose arrays are mapped from their files: what is not read takes no memory.

        Its tensors must not be written to: the files are read-only, and the system ends a process that writes into the
        map of one (a copy may be written to: `graph.x.clone()`). Larger than memory, it is trained on in batches (`scale.NeighborSampler`);
        `a_hat` and what else is derived from all of A at once is made in memory.

        Args:
            folder: what `save` wrote.
            check: compare each file with its sha256, and look at all that a Graph must be: columns sorted, once each and in
                range, finite weights, labels, masks, and the direction that graph.json states. It reads all files but those of
                x once more than the sha256 does, at the speed of memory.

        Raises:
            InputError: the folder holds no graph that was saved to its end.
            CorruptFileError: a file is missing, cut short or changed, or is no part of a Graph, whoever wrote it.
        """
        return Graph.of_parts(**read_parts(folder, check))

    def to_undirected(self) -> Graph:
        """The graph with every edge in both directions; where both are there with two weights, each gets their mean."""
        a, t = self.adjacency, self.adjacency.T
        total, count = a + t, a.with_value(torch.ones_like(a.value)) + t.with_value(torch.ones_like(t.value))
        return self.replace(adjacency=total.with_value(total.value / count.value))

    def to(self, device: torch.device | torch.dtype | str) -> Graph:
        """The graph on another device, or with A and X of another dtype; what was derived is derived again there."""
        if self.is_learnt:
            check_moves("to", self.adjacency, device)
        if isinstance(device, torch.dtype):
            cast = self.replace(adjacency=self.adjacency.to(device), x=None if self.x is None else self.x.to(device))
            cast.__dict__["_made"] = self._made
            return cast
        if is_same_device(device, self.device):
            return self
        moved: dict[str, Any] = {
            key: None if (value := getattr(self, key)) is None else value.to(device)
            for key in ("adjacency", "x", "y", *MASKS)
        }
        names = {
            key: getattr(self, key) for key in ("node_names", "class_names", "name", "num_duplicates", "made_features")
        }
        return Graph.of_parts(**moved, **names, **self._given_matrices(device))

    def _given_matrices(self, target: torch.device | torch.dtype | str) -> dict[str, Any]:
        """`derived` and `only` for a copy of a graph whose matrices were given, since the copy can't derive them again."""
        if self._only is None:
            return {}
        given = {key: m.to(target) for key, m in self._derived.items() if isinstance(m, SparseMatrix)}
        return {"derived": given, "only": self._only}

    @property
    def edge_index(self) -> Tensor:
        """[2, num_edges] int64: sources, then targets, in the order of A's entries."""
        return edge_index_of(self.adjacency)

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """A as a scipy CSR matrix."""
        return self.adjacency.to_scipy()

    def to_networkx(self) -> networkx.Graph:
        """A networkx Graph (DiGraph where A is not symmetric) with `weight` on edges, and `x` and `y` on nodes."""
        names = self.node_names if self.node_names is not None else range(self.num_nodes)
        y = self.y if self.y is not None and self.y.shape[:1] == (self.num_nodes,) else None
        return networkx_graph(self.adjacency, self.x, y, names, self.is_directed)

    def to_pyg(self) -> Data:
        """A PyG `Data`: edge_index, edge_weight, dense x, y and the masks."""
        return pyg_data(self.adjacency, self.x, self.y, self.masks)

    def summary(self) -> str:
        """Nodes, edges, loops, duplicates, isolated nodes, direction, homophily, features and splits as text."""
        return graph_summary(
            self.name or "Graph", self.adjacency, self.x, self.y, self.masks,
            num_classes=self.num_classes, num_duplicates=self.num_duplicates, is_directed=self.is_directed,
        )  # fmt: skip


def check_graphs(graphs: Iterable[Graph]) -> list[Graph]:
    """The graphs as a list, if there are any and each can be a block of a larger one."""
    graphs = listed_graphs(graphs)
    for i, graph in enumerate(graphs):
        check_one_graph(f"graphs: graph {i}", graph).check_edges_are_all("graphs")
    check_devices(**{f"graph {i}": graph for i, graph in enumerate(graphs)})
    return graphs


def check_one_graph(argument: str, graph: Any) -> Graph:
    """`graph` if it is a single Graph. The y of a batch belongs to graphs instead of nodes, so a batch is refused."""
    if getattr(graph, "is_batch", False):
        raise InputError(
            f"{argument}: got a GraphBatch, expected one Graph. Labels of a batch belong to its graphs; `collection[i]` is a "
            "single graph, and Graph.from_graphs joins graphs whose nodes have labels."
        )
    if not isinstance(graph, Graph):
        package = type(graph).__module__.partition(".")[0]
        found = f"{package}.{type(graph).__name__}".removeprefix("builtins.")
        raise InputTypeError(
            f"{argument}: got {found}, expected a gcnlab.Graph; Graph.from_networkx and Graph.from_edges make one."
        )
    return graph
