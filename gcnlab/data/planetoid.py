"""Planetoid citation graphs: the files `ind.<name>.{x,y,tx,ty,allx,ally,graph,test.index}`.

Yang, Cohen, Salakhutdinov, Revisiting Semi-Supervised Learning with Graph Embeddings, ICML 2016. With n = rows of allx:

    allx, ally    features and one-hot labels of nodes 0 .. n-1; the first of them are the training nodes, those of x, y
    test.index    ids >= n of the test nodes, one a line, in no order
    tx, ty        features and labels of the test nodes: row i belongs to the node on line i of test.index, not to n + i
    graph         {node: [its neighbours]} for every node

N = the largest test id + 1. Ids from n on that test.index leaves out are nodes too (CiteSeer has 15): without features,
without a label, in no mask.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice, check_count, check_seed
from ..errors import CorruptFileError, DatasetFormatError
from ..files import check_fields
from ..graph import Graph
from ..graph.splits import NUM_VAL, TEST, TRAIN, VAL, draw_per_class, masks_of
from ..sparse import SparseMatrix
from ..structure import PROBLEM, check_array, read_matrix
from .unpickle import CompressedSparse, read_pickle

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again

SPLITS = ("public", "random", "full")
_FILE_NAME = re.compile(r"ind\.(.+)\.(x|y|tx|ty|allx|ally|graph|test\.index)")
_PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


def names_in(folder: Path) -> list[str]:
    """The names for which `folder` has a file ind.<name>.<part>."""
    found = (_FILE_NAME.fullmatch(file.name) for file in folder.iterdir())
    return sorted({match[1] for match in found if match})


def check_options(*, split: str = "public", seed: int = 0, train_per_class: int = 20) -> None:
    """The options of `gcnlab.load` for these sets; raises InputError for a value that cannot be used."""
    check_choice("split", split, SPLITS)
    check_seed(seed)
    check_count("train_per_class", train_per_class, 1)


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the eight files; a header that JSON can hold, and plain tensors, for `to_graph`.

    Tensors: the CSR parts of A [N, N] (undirected, weights 1, the files' self-loops kept) and of X [N, F], `y` [N]
    (-1 = unlabelled), `public_split` [N] (1 train, 2 val, 3 test, 0 none).

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the others; with file, key or line, and value.
        UnsafeFileError: a pickle asks for code.
    """

    def path(part: str) -> Path:
        file = folder / f"ind.{name}.{part}"
        if not file.is_file():
            raise DatasetFormatError(
                file, "this file is missing; a Planetoid folder has x, y, tx, ty, allx, ally, graph, test.index"
            )
        return file

    x, test_x, all_x = (_read_features(path(part)) for part in ("x", "tx", "allx"))
    y, test_y, all_y = (_read_labels(path(part)) for part in ("y", "ty", "ally"))
    test_index = _read_index(path("test.index"), least=all_x.shape[0])

    shapes = {
        **{"x": x.shape, "tx": test_x.shape, "allx": all_x.shape},
        **{"y": y.shape, "ty": test_y.shape, "ally": all_y.shape, "test.index": test_index.shape},
    }
    for axis, part, other in (
        *((0, "y", "x"), (0, "ally", "allx"), (0, "ty", "tx"), (0, "test.index", "tx")),
        *((1, "x", "allx"), (1, "tx", "allx"), (1, "y", "ally"), (1, "ty", "ally")),
    ):
        found, expected = shapes[part][axis], shapes[other][axis]
        if found != expected:
            kind = ("rows", "columns")[axis]
            raise DatasetFormatError(path(part), f"it has {found} {kind}, but {other} has {expected}")
    num_train, num_all = len(y), len(all_y)
    if num_train > num_all:
        raise DatasetFormatError(path("x"), f"it has {num_train} rows, more than the {num_all} of allx")
    if len(differing := np.flatnonzero((y != all_y[:num_train]).any(axis=1))):
        raise DatasetFormatError(path("y"), "this row has another class than in ally", key=int(differing[0]))

    num_nodes = int(test_index.max()) + 1
    adjacency, num_duplicates = _read_graph(path("graph"), num_nodes)
    features = SparseMatrix.from_coo(
        torch.cat([all_x.row, torch.from_numpy(test_index)[test_x.row]]),
        torch.cat([all_x.col, test_x.col]).long(),
        torch.cat([all_x.value, test_x.value]),
        (num_nodes, all_x.shape[1]),
    )
    labels = np.full(num_nodes, -1, np.int64)
    labels[:num_all] = all_y.argmax(axis=1)
    labels[test_index] = test_y.argmax(axis=1)
    split = np.zeros(num_nodes, np.uint8)
    split[:num_train] = TRAIN
    split[num_train : min(num_train + NUM_VAL, num_all)] = VAL  # a small set of one's own may have fewer than 500
    split[test_index] = TEST
    header = {"name": name, "num_nodes": num_nodes, "num_features": all_x.shape[1], "num_duplicates": num_duplicates}
    return header, {
        "adjacency.rowptr": adjacency.rowptr,
        "adjacency.col": adjacency.col,
        "x.rowptr": features.rowptr,
        "x.col": features.col,
        "x.value": features.value,
        "y": torch.from_numpy(labels),
        "public_split": torch.from_numpy(split),
    }


def counts(header: dict[str, Any], arrays: dict[str, Tensor]) -> dict[str, int]:
    """What the manifest states of a set, counted; edges are undirected pairs of two nodes, without self-loops."""
    y, split = arrays["y"], arrays["public_split"]
    col = arrays["adjacency.col"]
    row = torch.repeat_interleave(torch.arange(header["num_nodes"]), arrays["adjacency.rowptr"].diff())
    self_loops = int((row == col).sum())
    return {
        "nodes": header["num_nodes"],
        "edges": (len(col) - self_loops) // 2,
        "self_loops": self_loops,
        "features": header["num_features"],
        "classes": int(y.max()) + 1,
        **{name: int((split == part).sum()) for name, part in _PARTS.items()},
    }


def check(path: Path, header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise CorruptFileError unless a processed file holds what `read` returns, whoever wrote it."""
    check_fields(path, header, {"name": str, "num_nodes": int, "num_features": int, "num_duplicates": int}, PROBLEM)
    n = header["num_nodes"]
    adjacency = read_matrix(path, arrays, "adjacency.", n, ones=True, is_symmetric=True)
    x = read_matrix(path, arrays, "x.", header["num_features"])
    if not adjacency.shape[0] == x.shape[0] == n:
        raise CorruptFileError(path, f"has {adjacency.shape[0]} rows of A and {x.shape[0]} of X for {n} nodes.")
    y = check_array(path, arrays, "y", [torch.int64], [n], -1)
    public = check_array(path, arrays, "public_split", [torch.uint8], [n], 0, len(_PARTS) + 1)
    if bool(((y < 0) & (public > 0)).any()):
        raise CorruptFileError(path, "public_split has a node without a label.")


def to_graph(
    header: dict[str, Any],
    arrays: dict[str, Tensor],
    *,
    split: str = "public",
    seed: int = 0,
    train_per_class: int = 20,
) -> Graph:
    """The Graph of what `read` returned, with the masks of one split.

    - "public": the split of the paper: the files' training nodes (20 a class), the next 500 for validation, the files'
      test nodes.
    - "random": `train_per_class` nodes a class, then 500 for validation and 1,000 for test, drawn from all labelled
      nodes by `seed`.
    - "full": validation and test as in "public"; every other labelled node trains.
    """
    num_nodes = header["num_nodes"]
    y, public = arrays["y"], arrays["public_split"]
    if split == "random":
        asked = f"train_per_class: got {train_per_class}"
        parts = draw_per_class(y, seed, train_per_class, asked, 'pass fewer, or split="public"')
    elif split == "full":
        parts = torch.where((public == 0) & (y >= 0), TRAIN, public)
    else:
        parts = public
    col = arrays["adjacency.col"]
    return Graph(
        SparseMatrix(arrays["adjacency.rowptr"], col, torch.ones(col.shape[0]), (num_nodes, num_nodes)),
        SparseMatrix(arrays["x.rowptr"], arrays["x.col"], arrays["x.value"], (num_nodes, header["num_features"])),
        y,
        **masks_of(parts),
        name=header["name"],
        num_duplicates=header["num_duplicates"],
    )


def _read_features(path: Path) -> SparseMatrix:
    content = read_pickle(path)
    if isinstance(content, CompressedSparse):
        major = np.repeat(np.arange(len(content.indptr) - 1), np.diff(content.indptr))
        minor, value, shape = content.indices, content.data, content.shape
        row, col = (major, minor) if content.format == "csr" else (minor, major)
    elif isinstance(content, np.ndarray) and content.ndim == 2:
        row, col = content.nonzero()
        value, shape = content[row, col], content.shape
    else:
        raise DatasetFormatError(path, f"expected a matrix of features, got {type(content).__name__}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, and is found here
        value = value.astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(value))):
        raise DatasetFormatError(
            path, f"{len(bad)} features are NaN or infinite, the first in row {row[bad[0]]}", key=int(row[bad[0]])
        )
    return SparseMatrix.from_coo(
        torch.from_numpy(row.astype(np.int64)), torch.from_numpy(col.astype(np.int64)), torch.from_numpy(value), shape
    )


def _read_labels(path: Path) -> np.ndarray:
    """One-hot rows, [num_nodes, num_classes]."""
    content = read_pickle(path)
    if not isinstance(content, np.ndarray) or content.ndim != 2 or not content.shape[1]:
        raise DatasetFormatError(path, "expected a matrix of one-hot labels, [num_nodes, num_classes]")
    one_hot = ((content == 0) | (content == 1)).all(axis=1) & ((content == 1).sum(axis=1) == 1)
    if len(bad := np.flatnonzero(~one_hot)):
        row = content[bad[0]]
        raise DatasetFormatError(path, f"row {bad[0]} is not one-hot", key=int(bad[0]), value=row[:20].tolist())
    return content


def _read_index(path: Path, least: int) -> np.ndarray:
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":  # a last line without newline is a line like any other
        lines.pop()
    seen: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(rb"-?[0-9]{1,9}\r?", line):
            raise DatasetFormatError(
                path, "expected a node id, an integer", line=number, value=line[:40].decode("latin1")
            )
        node = int(line)
        if node < least:
            raise DatasetFormatError(
                path, f"a test node has an id of at least {least}, the rows of allx", line=number, value=node
            )
        if node in seen:
            raise DatasetFormatError(path, f"this id stands on line {seen[node]} already", line=number, value=node)
        seen[node] = number
    if not seen:
        raise DatasetFormatError(path, "it names no test node")
    return np.array(list(seen), np.int64)


def _read_graph(path: Path, num_nodes: int) -> tuple[SparseMatrix, int]:
    """A, undirected, and how many neighbours were listed twice."""
    content = read_pickle(path)
    if type(content) is not dict:
        raise DatasetFormatError(path, f"expected a dict of nodes and their neighbours, got {type(content).__name__}")
    for node, neighbours in content.items():
        if type(node) is not int or not 0 <= node < num_nodes:
            key = node if type(node) is int else node[:40]
            raise DatasetFormatError(path, f"a node id is an integer from 0 to {num_nodes - 1}", key=key)
        if type(neighbours) is not list:
            raise DatasetFormatError(path, f"expected a list of neighbours, got {type(neighbours).__name__}", key=node)
        for neighbour in neighbours:
            if type(neighbour) is not int or not 0 <= neighbour < num_nodes:
                found = neighbour if type(neighbour) in (int, float) else type(neighbour).__name__
                raise DatasetFormatError(
                    path, f"a neighbour is an integer from 0 to {num_nodes - 1}", key=node, value=found
                )
    if len(content) < num_nodes:
        first = next(node for node in range(num_nodes) if node not in content)
        raise DatasetFormatError(
            path, f"{num_nodes - len(content)} of {num_nodes} nodes are missing, the first here", key=first
        )
    source = torch.tensor([node for node, neighbours in content.items() for _ in neighbours], dtype=torch.int64)
    target = torch.tensor([node for neighbours in content.values() for node in neighbours], dtype=torch.int64)
    shape = (num_nodes, num_nodes)
    listed = SparseMatrix.from_coo(target, source, shape=shape, duplicates="first")
    both = SparseMatrix.from_coo(
        torch.cat([target, source]), torch.cat([source, target]), shape=shape, duplicates="first"
    )
    return both, len(source) - listed.nnz
