"""What the readers of single attributed graphs share: the packed form, counts, and the random split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import check_choice, check_seed
from ..errors import CorruptFileError
from ..files import check_fields
from ..graph import Graph
from ..graph.splits import draw_shares, masks_of
from ..inputs import read_labels
from ..sparse import SparseMatrix
from ..structure import PROBLEM, check_array, read_matrix

SPLITS = ("random", None)


def check_options(*, split: str | None = "random", seed: int = 0) -> None:
    """The options of `gcnlab.load` for these sets; raises InputError for a value that cannot be used."""
    check_choice("split", split, SPLITS)
    check_seed(seed)


def pack(
    name: str,
    adjacency: SparseMatrix,
    x: SparseMatrix | None,
    labels: list[Any] | None,
    num_duplicates: int,
    node_names: list[str] | None = None,
    origin: str = "labels",
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a graph, for `to_graph`.

    Labels are text, read as `inputs.read_labels` says: numbered from 0 in their order, or targets. None is a node without
    one. `origin` is what messages call them.
    """
    header: dict[str, Any] = {"name": name, "num_duplicates": num_duplicates}
    arrays = {"adjacency.rowptr": adjacency.rowptr, "adjacency.col": adjacency.col}
    if bool((adjacency.value != 1).any()):
        arrays["adjacency.value"] = adjacency.value
    if x is not None:
        header["num_features"] = x.shape[1]
        arrays |= {"x.rowptr": x.rowptr, "x.col": x.col, "x.value": x.value}
    if labels is not None:
        arrays["y"], class_names = read_labels(labels, argument=origin)
        if class_names is not None:
            header["class_names"] = list(class_names)
    if node_names is not None:
        header["node_names"] = node_names
    return header, arrays


def counts(header: dict[str, Any], arrays: dict[str, Tensor]) -> dict[str, int]:
    """What the manifest states of a set, counted; edges are undirected pairs of two nodes, without self-loops."""
    rowptr, col = arrays["adjacency.rowptr"], arrays["adjacency.col"]
    row = torch.repeat_interleave(rowptr.diff(), output_size=len(col))
    self_loops = int((row == col).sum())
    return {
        "nodes": len(rowptr) - 1,
        "edges": (len(col) - self_loops) // 2,
        "self_loops": self_loops,
        "features": header.get("num_features", 0),
        "classes": len(header.get("class_names", ())),
        **({"splits": mask.shape[1]} if (mask := arrays.get("train_mask")) is not None and mask.dim() == 2 else {}),
    }


def check(path: Path, header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise CorruptFileError unless a processed file holds what `pack` returns, whoever wrote it."""
    check_fields(path, header, {
        "name": str, "num_duplicates": int, "num_features": (int, None), "class_names": (list, None), "node_names": ([str], None),
    }, PROBLEM)  # fmt: skip
    n = read_matrix(path, arrays, "adjacency.", len(arrays.get("adjacency.rowptr", ())) - 1, ones=True).shape[0]
    if "x.col" in arrays and read_matrix(path, arrays, "x.", header.get("num_features") or 0).shape[0] != n:
        raise CorruptFileError(path, f"x.rowptr is not of {n} nodes.")
    if "y" in arrays and not arrays["y"].is_floating_point():
        names = header.get("class_names")
        check_array(path, arrays, "y", [torch.int64], [n], -1, math.inf if names is None else len(names))
    elif "y" in arrays:
        check_array(path, arrays, "y", [torch.float32, torch.float64], [n])
    if header.get("node_names") is not None and len(header["node_names"]) != n:
        raise CorruptFileError(path, f"has {len(header['node_names'])} node_names for {n} nodes.")


def to_graph(
    header: dict[str, Any], arrays: dict[str, Tensor], *, split: str | None = "random", seed: int = 0
) -> Graph:
    """The Graph of what `read` returned, with the masks of one split.

    - "random": of the nodes with a label or target, drawn by `seed`, 60 % for training, 20 % for validation, the rest for test.
    - None: no masks.
    """
    n = len(arrays["adjacency.rowptr"]) - 1
    col = arrays["adjacency.col"]
    value = arrays.get("adjacency.value", torch.ones(len(col)))
    x = None
    if "x.col" in arrays:
        x = SparseMatrix(arrays["x.rowptr"], arrays["x.col"], arrays["x.value"], (n, header["num_features"]))
    y = arrays.get("y")
    return Graph(
        SparseMatrix(arrays["adjacency.rowptr"], col, value, (n, n)),
        x,
        y,
        **(masks_of(draw_shares(y, seed)) if split == "random" and y is not None else {}),
        node_names=header.get("node_names"),
        class_names=header.get("class_names"),
        name=header["name"],
        num_duplicates=header["num_duplicates"],
    )
