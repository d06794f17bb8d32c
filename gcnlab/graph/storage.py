"""Graphs in a folder, mapped into memory: a page of a file is read when it is touched, and may be dropped again.

    graph.json      format, name, class and node names, direction, and of each array dtype, shape and sha256
    rowptr.npy, col.npy, value.npy                  A in CSR form
    x.npy, or x_rowptr.npy, x_col.npy, x_value.npy  features, dense or sparse
    y.npy, train_mask.npy, val_mask.npy, test_mask.npy

graph.json is written last: a folder without it was not finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CorruptFileError, GcnlabError, InputError
from ..files import (
    DTYPES,
    array_reader,
    check_fields,
    check_target,
    map_array,
    read_json,
    sha256_of,
    write_array,
    write_json,
)
from ..inputs import check_names
from ..sparse import Features, SparseMatrix
from ..structure import check_rows, read_matrix
from .parts import MASKS

FORMAT = "gcnlab graph 1"


_HEADER, _UNFINISHED, _CHUNK = "graph.json", ".unfinished", 1 << 22  # the last in values


_FIELDS = {
    "format": str, "directed": bool, "num_duplicates": int, "num_features": int, "name": (str, None),
    "class_names": (list, None), "node_names": ([(str, int)], None), "arrays": dict,
}  # fmt: skip


_MATRIX = ("rowptr", "col", "value")


def write_parts(
    folder: str | PathLike[str],
    adjacency: SparseMatrix,
    x: Features | None,
    of_nodes: Mapping[str, Tensor | None],
    node_names: Sequence[Any] | None,
    **header: Any,
) -> None:
    """Write the parts of a graph: `Graph.save`.

    Args:
        folder: new or empty.
        adjacency: A.
        x: X.
        of_nodes: y and the masks, by name.
        node_names: as a Graph has them.
        **header: directed, num_duplicates, name and class_names.
    """
    odd = next((name for name in node_names or () if not isinstance(name, (str, int))), None)
    if odd is not None:
        raise InputError(
            f"node_names: {odd!r} is a {type(odd).__name__}, expected strings or integers, as JSON has them."
        )
    arrays = {**_csr("", adjacency), **of_nodes, **(_csr("x_", x) if isinstance(x, SparseMatrix) else {"x": x})}
    writer = GraphWriter(folder)
    for name, tensor in arrays.items():
        if tensor is not None:
            tensor = tensor.detach().cpu()
            flat = tensor.reshape(-1)
            writer.write(name, tensor.dtype, tensor.shape, (flat[i : i + _CHUNK] for i in range(0, len(flat), _CHUNK)))
    writer.finish(num_features=0 if x is None else x.shape[1], node_names=node_names, **header)


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


def read_parts(folder: str | PathLike[str], check: bool = True) -> dict[str, Any]:
    """What `write_parts` wrote, as the arguments of `Graph.of_parts`: `Graph.open`."""
    folder = Path(folder)
    header = _read_header(folder)
    arrays = {name: _map(folder / f"{name}.npy", about, check) for name, about in header["arrays"].items()}
    num_nodes, num_features, y = len(arrays["rowptr"]) - 1, header["num_features"], arrays.get("y")
    readers = {name: array_reader(folder / f"{name}.npy", array) for name, array in arrays.items()}

    def read(name: str, start: int, end: int) -> Tensor:
        return readers[name](start, end)

    adjacency = read_matrix(
        folder / "col.npy", arrays, "", num_nodes, is_symmetric=not header["directed"], check=check, read=read
    )
    x: Features | None = arrays.get("x")
    if "x_rowptr" in arrays:
        x = read_matrix(folder / "x_col.npy", arrays, "x_", num_features, check_finite=False, check=check, read=read)
    if x is None and num_features:
        raise CorruptFileError(folder / _HEADER, f"says that there are {num_features} features, and there is no x.")
    if x is not None and (tuple(x.shape) != (num_nodes, num_features) or x.dtype != adjacency.dtype):
        raise CorruptFileError(
            folder / "x.npy", f"holds {x.dtype} of shape {list(x.shape)}, expected {adjacency.dtype} "
            f"[{num_nodes}, {num_features}]; save the graph again."
        )  # fmt: skip
    try:
        names = {key: header[key] and check_names(key, header[key]) for key in ("class_names", "node_names")}
    except GcnlabError as problem:
        raise CorruptFileError(folder / _HEADER, str(problem)) from None
    if names["node_names"] is not None and len(names["node_names"]) != num_nodes:
        raise CorruptFileError(folder / _HEADER, f"has {len(names['node_names'])} node_names for {num_nodes} nodes.")
    check_rows(folder, y, {key: arrays[key] for key in MASKS if key in arrays}, num_nodes, names["class_names"])
    return {
        "adjacency": adjacency, "x": x, "y": y, **{key: arrays.get(key) for key in MASKS}, **names,
        "name": header["name"], "num_duplicates": header["num_duplicates"],
        "derived": {"directed": header["directed"]},
    }  # fmt: skip


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    if not path.is_file():
        raise InputError(f"folder: {folder} holds no {_HEADER}; expected what Graph.save wrote to its end.")
    problem = "is not the head of a saved graph; save it again"
    header = read_json(path, _FIELDS, problem)
    if header["format"] != FORMAT:
        raise CorruptFileError(path, f"{problem}: format is {header['format']!r}, expected {FORMAT!r}.")
    arrays = check_fields(path, header["arrays"], dict.fromkeys(_MATRIX, dict), problem)
    known = {*_MATRIX, *(f"x_{part}" for part in _MATRIX), "x", "y", *MASKS}
    for name, about in arrays.items():
        if name not in known or ("x" in arrays and name.startswith("x_")):
            raise CorruptFileError(
                path, f"{problem}: arrays holds {name!r}, expected some of {', '.join(sorted(known))}."
            )
        check_fields(path, about, {"dtype": str, "shape": [int], "sha256": str}, f"{problem}: {name}")
        if about["dtype"] not in DTYPES:
            raise CorruptFileError(path, f"{problem}: {name} is of {about['dtype']!r}, expected {', '.join(DTYPES)}.")
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
