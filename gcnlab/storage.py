"""Graphs in a folder, mapped into memory: a page of a file is read when it is touched, and may be dropped again.

    graph.json      format, name, class and node names, direction, and of each array dtype, shape and sha256
    rowptr.npy, col.npy, value.npy                  A in CSR form
    x.npy, or x_rowptr.npy, x_col.npy, x_value.npy  features, dense or sparse
    y.npy, train_mask.npy, val_mask.npy, test_mask.npy

graph.json is written last: a folder without it was not finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CorruptFileError, InputError
from .files import DTYPES, check_target, map_array, sha256_of, write_array, write_json
from .graph import Graph
from .sparse import SparseMatrix

FORMAT = "gcnlab graph 1"
_HEADER, _UNFINISHED, _CHUNK = "graph.json", ".unfinished", 1 << 22  # the last in values
_FIELDS: dict[str, tuple[type, ...]] = {
    "directed": (bool,), "num_duplicates": (int,), "num_features": (int,), "name": (str, type(None)),
    "class_names": (list, type(None)), "node_names": (list, type(None)),
}  # fmt: skip
_MASKS = ("train_mask", "val_mask", "test_mask")


def save_graph(graph: Graph, folder: str | PathLike[str]) -> None:
    """`Graph.save`."""
    odd = next((name for name in graph.node_names or () if not isinstance(name, (str, int))), None)
    if odd is not None:
        raise InputError(
            f"node_names: {odd!r} is a {type(odd).__name__}, expected strings or integers, as JSON has them."
        )
    arrays = {**_csr("", graph.adjacency), "y": graph.y, **{key: getattr(graph, key) for key in _MASKS}}
    arrays.update(_csr("x_", graph.x) if isinstance(graph.x, SparseMatrix) else {"x": graph.x})
    writer = GraphWriter(folder)
    for name, tensor in arrays.items():
        if tensor is not None:
            tensor = tensor.detach().cpu()
            flat = tensor.reshape(-1)
            writer.write(name, tensor.dtype, tensor.shape, (flat[i : i + _CHUNK] for i in range(0, len(flat), _CHUNK)))
    writer.finish(
        directed=graph.is_directed, num_features=graph.num_features, num_duplicates=graph.num_duplicates,
        name=graph.name, class_names=graph.class_names, node_names=graph.node_names,
    )  # fmt: skip


def _csr(prefix: str, matrix: SparseMatrix) -> dict[str, Tensor | None]:
    return {f"{prefix}rowptr": matrix.rowptr, f"{prefix}col": matrix.col, f"{prefix}value": matrix.value}


class GraphWriter:
    """Writes a graph array by array, each in parts, so that no array need be in memory.

    Args:
        folder: new, empty, or left by a writer that did not finish.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        check_target("folder", folder, is_folder=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        others = sorted(file.name for file in self.folder.iterdir())
        if others and (_UNFINISHED not in others or _HEADER in others):
            raise InputError(f"folder: {folder} holds {others[-1]}, expected a new folder, or an empty one.")
        (self.folder / _UNFINISHED).touch()
        self.arrays: dict[str, dict[str, Any]] = {}

    def write(self, name: str, dtype: torch.dtype, shape: Iterable[int], parts: Iterable[Tensor]) -> None:
        """NAME.npy, of a known shape, from its values part by part."""
        shape = tuple(shape)
        sha256 = write_array(self.folder / f"{name}.npy", dtype, shape, parts)
        self.arrays[name] = {"dtype": str(dtype).removeprefix("torch."), "shape": shape, "sha256": sha256}

    def finish(self, **header: Any) -> None:
        """Write graph.json, which makes the folder a graph."""
        write_json(self.folder / _HEADER, {"format": FORMAT, **header, "arrays": self.arrays})
        (self.folder / _UNFINISHED).unlink()


def open_graph(folder: str | PathLike[str], check: bool = True) -> Graph:
    """`Graph.open`."""
    folder = Path(folder)
    header = _read_header(folder)
    arrays = {name: _map(folder / f"{name}.npy", about, check) for name, about in header["arrays"].items()}
    num_nodes = len(arrays["rowptr"]) - 1
    adjacency = _matrix(folder, arrays, "", num_nodes, check)
    is_sparse = "x_rowptr" in arrays
    x = _matrix(folder, arrays, "x_", header["num_features"], check) if is_sparse else arrays.get("x")
    for name, part in (("x", x), *((key, arrays.get(key)) for key in _MASKS)):
        if part is not None and part.shape[0] != num_nodes:
            raise CorruptFileError(folder / f"{name}.npy", f"has {part.shape[0]} rows, expected {num_nodes}.")
    y, names = arrays.get("y"), header["class_names"]
    if names is not None and y is not None and y.numel() and int(y.max()) >= len(names):
        raise CorruptFileError(folder / _HEADER, f"has {len(names)} class_names, but y a label {int(y.max())}.")
    if header["node_names"] is not None and len(header["node_names"]) != num_nodes:
        raise CorruptFileError(folder / _HEADER, f"has {len(header['node_names'])} node_names for {num_nodes} nodes.")
    if len(set(header["node_names"] or ())) < len(header["node_names"] or ()):
        raise CorruptFileError(folder / _HEADER, "has a node name twice; each name must occur once.")
    if not header["directed"]:
        adjacency._mark_symmetric()
    names = {key: None if header[key] is None else tuple(header[key]) for key in ("class_names", "node_names")}
    values = {"x": x, "y": arrays.get("y"), **{key: arrays.get(key) for key in _MASKS}, **names}
    return Graph._of_checked(
        adjacency, name=header["name"], num_duplicates=header["num_duplicates"],
        _derived={"directed": header["directed"]}, **values,
    )  # fmt: skip


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    if not path.is_file():
        raise InputError(f"folder: {folder} holds no {_HEADER}; expected what Graph.save wrote to its end.")
    try:
        header = json.loads(path.read_bytes())
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}, expected {FORMAT!r}")
        for key, kinds in _FIELDS.items():
            if type(header[key]) not in kinds or (isinstance(header[key], int) and header[key] < 0):
                raise ValueError(f"{key} is {header[key]!r}")
        for name in ("rowptr", "col", "value"):
            header["arrays"][name]
        for about in header["arrays"].values():
            DTYPES[about["dtype"]], about["sha256"], tuple(about["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(path, f"is not the head of a saved graph ({error}); save it again.") from None
    return header


def _map(path: Path, about: Mapping[str, Any], check: bool) -> Tensor:
    if not path.is_file():
        raise CorruptFileError(path, "is missing; save the graph again.")
    if check and sha256_of(path) != about["sha256"]:
        raise CorruptFileError(
            path, f"is not what was saved: its sha256 is not {about['sha256']}; save the graph again."
        )
    tensor = map_array(path, DTYPES[about["dtype"]])
    if list(tensor.shape) != about["shape"]:
        raise CorruptFileError(
            path, f"has shape {list(tensor.shape)}, expected {about['shape']}; save the graph again."
        )
    return tensor


def _matrix(folder: Path, arrays: Mapping[str, Tensor], prefix: str, num_cols: int, check: bool) -> SparseMatrix:
    rowptr, col, value = (arrays[f"{prefix}{part}"] for part in ("rowptr", "col", "value"))
    if len(col) != len(value) or not len(rowptr) or int(rowptr[0]) != 0 or int(rowptr[-1]) != len(col):
        raise CorruptFileError(
            folder / _HEADER, f"{prefix}rowptr, {prefix}col and {prefix}value do not fit each other."
        )
    if check:  # who made the folder may be another program, which gives a right sha256 of wrong ids
        starts = range(0, len(rowptr), _CHUNK)
        grows = all(bool((rowptr[i : i + _CHUNK + 1].diff() >= 0).all()) for i in starts)
        if not grows or any(bool(((part < 0) | (part >= num_cols)).any()) for part in col.split(_CHUNK)):
            raise CorruptFileError(
                folder / f"{prefix}col.npy", f"has ids outside 0 to {num_cols - 1}, or rowptr decreases."
            )
    return SparseMatrix(rowptr, col, value, (len(rowptr) - 1, num_cols))
