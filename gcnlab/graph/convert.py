"""Graphs of other libraries as the parts of a Graph: what their objects hold, and what of it is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checks import check_count, check_flag
from ..errors import InputError, InputTypeError, did_you_mean
from ..inputs import (
    as_series,
    as_tensor,
    check_edge_index,
    check_ids,
    check_names,
    check_weight,
    distinct_names,
    index_names,
    is_table,
    largest_id,
    name_kind,
    read_labels,
    some,
)
from ..sparse import Features, SparseMatrix
from ..sparse.features import check_features_finite

if TYPE_CHECKING:
    import networkx
    import pandas
    from torch_geometric.data import Data


_BY_NODE = ("x", "y", "train_mask", "val_mask", "test_mask")


def undirected(
    ends: Tensor, weight: Tensor | None, num_nodes: int, duplicates: str | None, refuse: Callable[[int, int], None]
) -> tuple[SparseMatrix, int]:
    """A, symmetric, of an edge list whose edges stand for both directions; and how many edges repeat a pair.

    Args:
        ends: int64 [2, num_edges].
        weight: [num_edges], or None for ones.
        num_nodes: N.
        duplicates: a pair that is listed again, in either direction: None counts it once and refuses another weight,
            "sum" adds the weights, "first" keeps the first, "error" refuses it.
        refuse: called with the number of an edge that is refused and that of the earlier one; it raises.
    """
    low, high = ends.amin(0), ends.amax(0)
    value = torch.ones(ends.shape[1], device=ends.device) if weight is None else weight
    if duplicates in (None, "error"):
        place = torch.arange(ends.shape[1], device=ends.device)
        _, pair = (low * num_nodes + high).unique(return_inverse=True)
        first = torch.full_like(place, ends.shape[1]).scatter_reduce(0, pair, place, "amin")[pair]
        bad = first != place if duplicates == "error" else value != value[first]
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            refuse(at, int(first[at]))
    shape = (num_nodes, num_nodes)
    upper = SparseMatrix.from_coo(low, high, value, shape, duplicates or "first")
    row, col = upper.row, upper.col.long()
    off = row != col
    both = torch.cat([row, col[off]]), torch.cat([col, row[off]])
    adjacency = SparseMatrix.from_coo(*both, torch.cat([upper.value, upper.value[off]]), shape)
    return adjacency, ends.shape[1] - upper.nnz


def edge_parts(
    edge_index: Any,
    num_nodes: int | None,
    edge_weight: Any,
    x: Any,
    y: Any,
    node_names: Sequence[Any] | None,
    duplicates: str,
) -> tuple[SparseMatrix, int, Sequence[Any] | None]:
    """(A, edges that were merged, checked names of the nodes) of an edge list."""
    edge_index = check_edge_index(edge_index)
    node_names = None if node_names is None else check_names("node_names", node_names)
    num_nodes, because = _count_nodes(num_nodes, node_names, x, y, edge_index)
    shape = (num_nodes, num_nodes)
    check_ids(edge_index, shape, because)
    weight = None if edge_weight is None else check_weight(edge_weight, edge_index.shape[1]).to(edge_index.device)
    adjacency = SparseMatrix.from_coo(edge_index[1], edge_index[0], weight, shape, duplicates)
    return adjacency, edge_index.shape[1] - adjacency.nnz, node_names


def networkx_parts(
    graph: networkx.Graph,
    weight: str | None,
    features: Sequence[str] | str | None,
    label: str | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """The arguments of `Graph.from_edges` for a networkx graph."""
    if not (hasattr(graph, "nodes") and hasattr(graph, "is_directed")):
        raise InputTypeError(f"graph: got {type(graph).__name__}, expected a networkx graph.")
    for argument, given, other in (("features", features, "x"), ("label", label, "y")):
        if given is not None and options.get(other) is not None:
            raise InputError(f"{argument}, {other}: got both, and each of them says what {other} is; pass one.")
    names = list(graph.nodes)
    if options.get("node_names") is not None:
        names = list(check_names("node_names", options["node_names"]))
        if set(names) != set(graph.nodes):
            odd = set(names) ^ set(graph.nodes)
            raise InputError(
                f"node_names: {some(odd, 1)} is among them or in the graph, but not in both; they give the order of the "
                "graph's own nodes. networkx.relabel_nodes gives them other names."
            )
    index = {name: i for i, name in enumerate(names)}
    source, target, weights = [], [], []
    has_weight = False
    for u, v, data in graph.edges(data=True):
        has_weight |= weight is not None and weight in data
        w = data.get(weight, 1.0) if weight is not None else 1.0
        try:
            w = float(w)
        except (TypeError, ValueError):
            raise InputTypeError(f"edge {u!r} -> {v!r}: attribute {weight!r} is {w!r}, expected a number.") from None
        both = not graph.is_directed() and u != v
        source += [index[u], index[v]] if both else [index[u]]
        target += [index[v], index[u]] if both else [index[v]]
        weights += [w, w] if both else [w]
    if source and weight not in (None, "weight") and not has_weight:
        known = sorted({str(key) for *_, data in graph.edges(data=True) for key in data})
        raise InputError(
            f"weight: no edge has an attribute {weight!r}; the edges have {', '.join(known) or 'none'}. weight=None makes an "
            f"unweighted graph.{did_you_mean(str(weight), known)}"
        )
    parts = {**options, "node_names": names, "edge_weight": weights or None, "num_nodes": len(names)}
    if features is not None:
        rows = _node_attributes(graph, names, [features] if isinstance(features, str) else list(features))
        parts["x"] = _stack_features(names, rows)
    if label is not None:
        values = [row[0] for row in _node_attributes(graph, names, [label])]
        parts["y"], parts["class_names"] = read_labels(values, options.get("class_names"), "label")
    parts["edge_index"] = torch.tensor([source, target], dtype=torch.int64).reshape(2, -1)
    return parts


def _node_attributes(graph: networkx.Graph, names: list[Any], keys: list[str]) -> list[list[Any]]:
    for name in names:
        for key in keys:
            if key not in graph.nodes[name]:
                raise InputError(f"node {name!r} has no attribute {key!r}, which other nodes may have; set it on all.")
    return [[graph.nodes[name][key] for key in keys] for name in names]


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


def pandas_parts(
    edges: pandas.DataFrame,
    source: str,
    target: str,
    weight: str | None,
    directed: bool,
    duplicates: str | None,
    options: dict[str, Any],
) -> tuple[SparseMatrix, int, tuple[Any, ...]]:
    """(A, edges that were merged, names of the nodes) of a table of edges."""
    if not hasattr(edges, "columns"):
        raise InputTypeError(f"edges: got {type(edges).__name__}, expected a pandas DataFrame.")
    check_flag("directed", directed)
    for column in (source, target, *([weight] if weight is not None else [])):
        if column not in edges.columns:
            raise InputError(
                f"edges: no column {column!r}; the table has {list(edges.columns)}."
                + did_you_mean(str(column), map(str, edges.columns))
            )
        if bool(edges[column].isna().any()):
            raise InputError(f"edges: column {column!r} is empty in row {edges[column].isna().idxmax()}.")
    options |= {key: as_series(key, options[key]) for key in _BY_NODE if key in options}
    of_row = [edges[column].tolist() for column in (source, target)]
    given = options.get("node_names")
    names = check_names("node_names", _nodes_of([*of_row[0], *of_row[1]], options) if given is None else given)
    index = {name: i for i, name in enumerate(names)}
    try:
        ends = torch.tensor([[index[name] for name in ids] for ids in of_row], dtype=torch.int64).reshape(2, -1)
    except KeyError as error:
        raise InputError(f"edges: node {error.args[0]!r} is not among node_names.") from None
    value = None
    if weight is not None:
        value = check_weight(edges[weight].to_numpy(), len(edges), f"edges[{weight!r}]")

    def refuse(at: int, first: int) -> None:
        pair = f"{of_row[0][at]!r} - {of_row[1][at]!r}"
        found = "" if value is None else f", with the weights {float(value[first]):g} and {float(value[at]):g}"
        raise InputError(
            f"edges: the pair {pair} is in rows {edges.index[first]} and {edges.index[at]}{found}; pass duplicates="
            '"sum" or "first", or directed=True if a row is one direction.'
        )

    if not directed:
        return *undirected(ends, value, len(names), duplicates, refuse), names
    adjacency = SparseMatrix.from_edges(ends, len(names), value, duplicates=duplicates or "sum")
    return adjacency, ends.shape[1] - adjacency.nnz, names


def _nodes_of(ids: list[Any], options: dict[str, Any]) -> list[Any]:
    """The nodes of a table of edges, and those that only other tables have a row for.

    Raises InputError for an array whose order the caller can't know, since the nodes are numbered here.
    """
    kinds = {name_kind(name) for name in ids}
    nodes = list(ids)
    for key in _BY_NODE:
        table: Any = options.get(key)
        found = index_names(key, table.index) if is_table(table) else None
        if found is not None:
            odd = next((name for name in found if kinds and name_kind(name) not in kinds), None)
            if odd is not None:
                raise InputError(
                    f"{key}: its index has {odd!r} ({type(odd).__name__}), the nodes of edges are {some(ids, 1)} "
                    f"({type(ids[0]).__name__}); convert one of them, such as {key}.index.astype({type(ids[0]).__name__})."
                )
            nodes += found
        elif _num_rows(table) > 1 and kinds - {float}:
            raise InputError(
                f"{key}: has a row per node, but no names to tell whose; the nodes are {some(distinct_names(ids))}, in an "
                "order that was chosen here. Pass a pandas object whose index has the names, or node_names in the order "
                f"of the rows of {key}."
            )
    return distinct_names(nodes)


def _num_rows(value: Any) -> int:
    """Rows of an array, tensor, matrix or list; 0 for None and a single value."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 0
    return len(value) if isinstance(value, (list, tuple)) else 0


def _count_nodes(num_nodes: int | None, node_names: Any, x: Any, y: Any, edge_index: Tensor) -> tuple[int, str]:
    """N, and what says it, such as "x has 3 rows"; empty where it is num_nodes or the largest id."""
    if num_nodes is not None:
        return check_count("num_nodes", num_nodes), ""
    if node_names is not None:
        return len(node_names), f"node_names has {len(node_names)} names"
    if _num_rows(x):
        return _num_rows(x), f"x has {_num_rows(x)} rows"
    if _num_rows(y) > 1:
        return _num_rows(y), f"y has {_num_rows(y)} rows"
    is_of_node = y is not None and len(getattr(y, "shape", [0])) == 1  # a single label may be the graph's, too
    return max(largest_id(edge_index) + 1, int(is_of_node)), ""


def pyg_parts(data: Data, argument: str) -> dict[str, Any]:
    """The arguments of `Graph.from_edges` for a PyG `Data`; `argument` is what errors call it."""
    if hasattr(data, "node_types"):
        raise InputTypeError(
            f"{argument}: is a {type(data).__name__}, with several kinds of nodes; data.to_homogeneous() makes one kind."
        )
    if not hasattr(data, "edge_index") and not hasattr(data, "adj_t"):
        raise InputTypeError(f"{argument}: got {type(data).__name__}, expected a PyG Data.")
    if "ptr" in data and "batch" in data:
        raise InputError(
            f"{argument}: is a Batch of {len(data.ptr) - 1} graphs; pass it to GraphCollection.from_pyg, or one of "
            "data.to_data_list()."
        )
    parts = {key: data[key] for key in _BY_NODE if key in data}
    parts["edge_index"], parts["edge_weight"], left_out = pyg_edges(data, argument)
    if left_out:
        warnings.warn(f"{argument}: {left_out}", stacklevel=3)
    parts["num_nodes"] = pyg_num_nodes(data)
    y = parts.get("y")
    if isinstance(y, Tensor) and y.dim() == 2 and y.shape[1] == 1:
        parts["y"] = y.squeeze(1)
    return parts


def pyg_num_nodes(data: Data) -> int | None:
    """N where the data say it otherwise than by the largest id, which PyG takes then."""
    if "num_nodes" in data:
        return data["num_nodes"]
    rows = [len(data[key]) for key in ("x", "pos", "train_mask", "val_mask", "test_mask") if key in data]
    return rows[0] if rows else int(data.adj_t.size(0)) if "adj_t" in data else None


def pyg_edges(data: Data, argument: str) -> tuple[Tensor, Tensor | None, str]:
    """edge_index [2, num_edges]; the weights: edge_weight, else an edge_attr of one column of floats; and why an
    edge_attr is left out, empty where none is.
    """
    if data.edge_index is None:
        if "adj_t" not in data:
            raise InputError(
                f"{argument}: has neither edge_index nor adj_t; one of them must say which nodes are joined."
            )
        adj_t = data.adj_t.to_torch_sparse_coo_tensor() if hasattr(data.adj_t, "coo") else data.adj_t.to_sparse_coo()
        target, source = adj_t.coalesce().indices()  # PyG's transposed adjacency is A[target, source]
        return torch.stack([source, target]), adj_t.coalesce().values(), ""
    weight, attr = data.get("edge_weight"), data.get("edge_attr")
    if weight is None and attr is not None and attr.is_floating_point() and attr.shape[1:].numel() == 1:
        return data.edge_index, attr.reshape(-1), ""
    if weight is not None and weight.dim() == 2 and weight.shape[1] == 1:
        weight = weight.squeeze(1)
    if attr is None:
        return data.edge_index, weight, ""
    why = (
        "there is an edge_weight"
        if weight is not None
        else f"{attr.dtype} of shape {list(attr.shape)} is no weight per edge"
    )
    return data.edge_index, weight, f"edge_attr is left out ({why}); data.edge_weight, floats [num_edges], is read."


def unordered_pairs(first: Tensor, second: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """The distinct {first[e], second[e]}, smaller id first, [2, num_pairs], and how often each is given, [num_pairs]."""
    key = torch.minimum(first, second) * num_nodes + torch.maximum(first, second)
    key, count = torch.unique(key, return_counts=True)
    return torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)]), count


def mesh_parts(vertices: Any, faces: Any, features: str, weight: str | None) -> dict[str, Any]:
    """The arguments of `Graph.from_edges` for a triangle mesh."""
    vertices, faces = _check_mesh(vertices, faces)
    kinds = {"coordinates": lambda: vertices, "normals": lambda: _vertex_normals(vertices, faces)}
    if not isinstance(features, str) or not kinds.keys() >= set(features.split("+")):
        raise InputError(f'features: got {features!r}, expected "coordinates", "normals" or "coordinates+normals".')
    if weight not in (None, "length"):
        raise InputError(f'weight: got {weight!r}, expected None or "length".')
    pairs, _ = unordered_pairs(faces.flatten(), faces.roll(-1, 1).flatten(), len(vertices))
    length = (vertices[pairs[0]] - vertices[pairs[1]]).norm(dim=1) if weight == "length" else None
    return {
        "edge_index": torch.cat([pairs, pairs.flip(0)], 1),
        "num_nodes": len(vertices),
        "edge_weight": None if length is None else length.repeat(2),
        "x": torch.cat([kinds[kind]() for kind in features.split("+")], 1),
    }


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


def edge_index_of(adjacency: SparseMatrix) -> Tensor:
    """[2, nnz] int64: sources, then targets, in the order of A's entries."""
    return torch.stack([adjacency.col.long(), adjacency.row])


def networkx_graph(
    adjacency: SparseMatrix, x: Features | None, y: Tensor | None, names: Sequence[Any], is_directed: bool
) -> networkx.Graph:
    """A networkx Graph or DiGraph with `weight` on edges, and `x` and `y` on nodes; y [num_nodes, ...] or None."""
    import networkx

    graph: networkx.Graph = networkx.DiGraph() if is_directed else networkx.Graph()
    graph.add_nodes_from(names)
    for key, values in (("x", x.to_dense() if isinstance(x, SparseMatrix) else x), ("y", y)):
        if values is not None:
            networkx.set_node_attributes(graph, dict(zip(names, values.tolist(), strict=True)), key)
    source, target = edge_index_of(adjacency).tolist()
    for u, v, weight in zip(source, target, adjacency.value.tolist(), strict=True):
        graph.add_edge(names[u], names[v], weight=weight)
    return graph


def pyg_data(adjacency: SparseMatrix, x: Features | None, y: Tensor | None, masks: Mapping[str, Tensor | None]) -> Data:
    """A PyG `Data`: edge_index, edge_weight, dense x, y and the masks."""
    from torch_geometric.data import Data

    data = Data(edge_index=edge_index_of(adjacency), edge_weight=adjacency.value, num_nodes=adjacency.shape[0])
    if x is not None:
        data.x = x.to_dense() if isinstance(x, SparseMatrix) else x
    if y is not None:
        data.y = y if y.dim() else y.reshape(1)
    for key, mask in masks.items():
        if mask is not None:
            data[key] = mask
    return data
