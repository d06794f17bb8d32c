"""What the readers of graph collections share: the packed form of a set, its options, and features where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice, check_flag
from ..errors import InputError
from ..files import check_fields
from ..graph import Graph, GraphCollection
from ..sparse import Features, SparseMatrix
from ..sparse.features import (
    ENCODINGS,
    check_max_degree,
    check_num_columns,
    degree_features,
    one_hot,
    structural_features,
)
from ..structure import PROBLEM, check_array, check_blocks, read_matrix

FEATURES = ("label", "attributes", "degree", "degree_bins", "log_degree", "scalar_degree", "constant", *ENCODINGS)


def check_options(
    *, features: str | None = None, attributes: bool = False, max_degree: int | None = None, k: int | None = None
) -> None:
    """The options of `gcnlab.load` for graph collections; raises InputError for a value that cannot be used."""
    check_choice("features", features, (*FEATURES, None))
    check_flag("attributes", attributes)
    check_max_degree(features, max_degree)
    check_num_columns(features, k)


def pack(
    name: str,
    row: np.ndarray,
    col: np.ndarray,
    node_ptr: np.ndarray,
    labels: np.ndarray,
    node_labels: np.ndarray | None = None,
    node_attributes: np.ndarray | None = None,
    undirected: bool = False,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a collection, for `to_graph`.

    Args:
        name: of the set.
        row: target of each listed edge, [E] int64, a node of the whole set.
        col: its source.
        node_ptr: where the nodes of each graph start, [G + 1].
        labels: of the graphs, as found, [G].
        node_labels: of the nodes, as found, [N].
        node_attributes: [N, A] finite numbers.
        undirected: an edge listed one way only stands for both.

    Returns:
        Tensors: the CSR parts of the block-diagonal A [N, N] (weights 1, a pair that is listed twice counts once),
        `node_ptr` [G + 1], `y` [G] and `node_label` [N] numbered from 0 in the order of the labels found, and
        `node_attributes` [N, A] float32.
    """
    n = int(node_ptr[-1])
    target, source = torch.from_numpy(row), torch.from_numpy(col)
    adjacency = SparseMatrix.from_coo(target, source, shape=(n, n), duplicates="first")
    num_duplicates = len(row) - adjacency.nnz
    symmetric = adjacency.is_symmetric()
    if undirected and not symmetric:
        row_and_col = torch.cat([target, source]), torch.cat([source, target])
        adjacency, symmetric = SparseMatrix.from_coo(*row_and_col, shape=(n, n), duplicates="first"), True
    class_names, y = np.unique(labels, return_inverse=True)
    header: dict[str, Any] = {
        "name": name,
        "class_names": [str(label) for label in class_names.tolist()],
        "num_duplicates": num_duplicates,
        "symmetric": symmetric,
    }
    arrays = {
        "adjacency.rowptr": adjacency.rowptr,
        "adjacency.col": adjacency.col,
        "node_ptr": torch.from_numpy(node_ptr.astype(np.int64)),
        "y": torch.from_numpy(y.astype(np.int64)),
    }
    if node_labels is not None:
        names, codes = np.unique(node_labels, return_inverse=True)
        header["node_label_names"] = [str(label) for label in names.tolist()]
        arrays["node_label"] = torch.from_numpy(codes.astype(np.int32))
    if node_attributes is not None:
        arrays["node_attributes"] = torch.from_numpy(node_attributes.astype(np.float32))
    return header, arrays


def counts(header: dict[str, Any], arrays: dict[str, Tensor]) -> dict[str, int]:
    """What the manifest states of a set, counted; `entries` are those of A: an edge counts twice, a self-loop once."""
    rowptr, col = arrays["adjacency.rowptr"], arrays["adjacency.col"]
    row = torch.repeat_interleave(torch.arange(len(rowptr) - 1, dtype=col.dtype), rowptr.diff(), output_size=len(col))
    return {
        "graphs": len(arrays["y"]),
        "nodes": len(rowptr) - 1,
        "entries": len(col),
        "self_loops": int((row == col).sum()),
        "duplicates": header["num_duplicates"],
        "node_labels": len(header.get("node_label_names", ())),
        "node_attributes": arrays["node_attributes"].shape[1] if "node_attributes" in arrays else 0,
        "classes": len(header["class_names"]),
    }


def check(path: Path, header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise CorruptFileError unless a processed file holds what `pack` returns, whoever wrote it."""
    check_fields(path, header, {
        "name": str, "num_duplicates": int, "class_names": [str], "symmetric": bool, "node_label_names": ([str], None),
    }, PROBLEM)  # fmt: skip
    n = len(arrays.get("adjacency.rowptr", ())) - 1
    num_graphs = check_blocks(
        path, arrays, read_matrix(path, arrays, "adjacency.", n, ones=True, is_symmetric=header["symmetric"])
    )
    check_array(path, arrays, "y", [torch.int64], [num_graphs], 0, len(header["class_names"]))
    if "node_label" in arrays:
        check_array(path, arrays, "node_label", [torch.int32], [n], 0, len(header.get("node_label_names") or ()))
    if "node_attributes" in arrays:
        check_array(path, arrays, "node_attributes", [torch.float32], [n, None], -3.5e38, 3.5e38)


def to_graph(
    header: dict[str, Any],
    arrays: dict[str, Tensor],
    *,
    features: str | None = None,
    attributes: bool = False,
    max_degree: int | None = None,
    k: int | None = None,
) -> GraphCollection:
    """The collection of what `read` returned, with features X.

    Args:
        header: of `read`.
        arrays: of `read`.
        features: "label": the node's label, one-hot. "attributes": the node's attributes. "degree": the degree,
            one-hot in columns 0, ..., max_degree (a loop counts once). "degree_bins": floor(2 log2(1 + degree)), one-hot,
            for sets whose degrees spread over powers of ten. "log_degree": log(1 + degree), [N, 1].
            "scalar_degree": the degree as one number, [N, 1]. "constant": 1, [N, 1]. "rwpe", "laplacian": positional
            encodings (`gcnlab.sparse.encodings`). None: labels where the set has them, else attributes where it has them,
            else no X.
        attributes: put the node's attributes in front of these features.
        max_degree: nodes of a higher degree share the last column, or bin; by default the highest degree of the set.
        k: columns of an encoding.

    Raises:
        InputError: the set has no labels or attributes to make features of.
    """
    n, name = len(arrays["adjacency.rowptr"]) - 1, header["name"]
    for wanted, key in (
        (features == "label", "node_label"),
        (attributes or features == "attributes", "node_attributes"),
    ):
        if wanted and key not in arrays:
            have = [kind for kind in ("node_label", "node_attributes") if kind in arrays]
            raise InputError(
                f"features: {name} has no {key.replace('_', ' ').removesuffix('s')}s, it has "
                f'{" and ".join(have).replace("_", " ") or "neither labels nor attributes"}; "degree" and "constant" '
                "need neither."
            )
    if features is None:
        features = "label" if "node_label" in arrays else "attributes" if "node_attributes" in arrays else None
    col = arrays["adjacency.col"]
    rowptr, is_symmetric = arrays["adjacency.rowptr"], header["symmetric"]
    adjacency = SparseMatrix(rowptr, col, torch.ones(len(col)), (n, n), symmetric=is_symmetric)
    x: Features | None = None
    if features == "label":
        x = one_hot(arrays["node_label"].long(), len(header["node_label_names"]))
    elif features in ("degree", "degree_bins", "log_degree"):
        kind = "degree_one_hot" if features == "degree" else features
        x = degree_features(arrays["adjacency.rowptr"].diff().long(), kind, max_degree)
    elif features == "scalar_degree":
        x = arrays["adjacency.rowptr"].diff().float().unsqueeze(1)
    elif features == "constant":
        x = torch.ones(n, 1)
    elif features in ENCODINGS:
        x = structural_features(adjacency, features, k=k)
    elif features == "attributes":
        x = arrays["node_attributes"]
    if attributes and features != "attributes":
        dense = x.to_dense() if isinstance(x, SparseMatrix) else x
        x = arrays["node_attributes"] if dense is None else torch.cat([arrays["node_attributes"], dense], 1)
    whole = Graph(adjacency, x, class_names=header["class_names"], name=name, num_duplicates=header["num_duplicates"])
    # Trusted: `pack` made it, and `check` has looked at what a file gave.
    return GraphCollection.of_parts(whole, arrays["node_ptr"], arrays["y"], name=name)
