"""An attributed graph in one npz file: the CSR parts of A and X, and the labels.

    adj_data, adj_indices, adj_indptr, adj_shape        A [N, N]: row i lists the nodes that node i has an edge from
    attr_data, attr_indices, attr_indptr, attr_shape    X [N, F] (a file need not have it)
    labels                                              [N] integers, -1 where a node has none; or floats, which are
                                                        targets unless all are whole, NaN where a node has none
    train_mask, val_mask, test_mask                     bools [N], or [N, S] for S splits (a file need not have them)
    train_masks, val_masks, test_masks                  the same as [S, N], a row per split

Entries of A that are given twice count once. The arrays are read from their bytes, pickles are never opened, and no array
is larger than the bytes that the file has for it.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice, check_seed
from ..errors import CorruptFileError, DatasetFormatError, GcnlabError, InputError
from ..graph import Graph
from ..graph.convert import undirected as from_edge_list
from ..graph.parts import MASKS, read_masks
from ..inputs import some
from ..sparse import SparseMatrix
from . import node_sets
from .archive import MAX_BYTES, Source
from .node_sets import counts, pack

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again


SPLITS = ("auto", "given", *node_sets.SPLITS)


def check_options(*, split: str | None = "auto", seed: int = 0) -> None:
    """The options of `gcnlab.load` for these sets; raises InputError for a value that cannot be used."""
    check_choice("split", split, SPLITS)
    check_seed(seed)


def check(path: Path, header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise CorruptFileError unless a processed file holds what `read` returns, whoever wrote it."""
    node_sets.check(path, header, arrays)
    given = {key: arrays[key] for key in MASKS if key in arrays}
    try:
        read_masks(given, len(arrays["adjacency.rowptr"]) - 1, arrays.get("y"), torch.device("cpu"))
    except GcnlabError as problem:
        raise CorruptFileError(path, str(problem)) from None


def to_graph(header: dict[str, Any], arrays: dict[str, Tensor], *, split: str | None = "auto", seed: int = 0) -> Graph:
    """The Graph of what `read` returned. "given": the masks of the file. "auto": these, and "random" where it has none.
    Else as `node_sets.to_graph` says.
    """
    given = {key: arrays[key] for key in MASKS if key in arrays} if split in ("auto", "given") else {}
    if split == "given" and not given:
        raise InputError(f'split: the file of {header["name"]} has no masks; "random" draws some.')
    drawn = None if given else "random" if split == "auto" else split
    graph = node_sets.to_graph(header, arrays, split=drawn, seed=seed)
    return graph.replace(**given) if given else graph


def read(
    path: Path, name: str, max_bytes: int = MAX_BYTES, undirected: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check an npz file, or the only one of a folder; header and tensors as `node_sets.pack` returns them.

    Where `undirected` holds, an edge that stands in one direction counts for both.

    Raises:
        DatasetFormatError: an array is missing, malformed, or does not fit the others; with file, key and value.
    """
    if path.is_dir():
        found = sorted(path.glob("*.npz"))
        if len(found) != 1:
            raise DatasetFormatError(path, "expected one npz file", value=", ".join(p.name for p in found) or "none")
        path = found[0]
    with Source(path, max_bytes) as source:
        if not source.find("adj_shape.npy"):
            problem = "expected the arrays of a graph, adj_shape, adj_data, ..., or of images, x_train, y_train, x_test, y_test"
            raise DatasetFormatError(path, problem, value=some(source.find(".npy")) or "none")
        adjacency, num_duplicates = _read_csr(source, "adj", duplicates="first")
        n = adjacency.shape[0]
        if adjacency.shape[1] != n:
            raise DatasetFormatError(path, "expected a square matrix", key="adj_shape", value=adjacency.shape)
        if undirected:
            adjacency = _symmetrised(path, adjacency)
        x = None
        if source.find("attr_data.npy"):
            x, _ = _read_csr(source, "attr", duplicates="sum")
            if x.shape[0] != n:
                raise DatasetFormatError(path, f"X has {x.shape[0]} rows, but A has {n}", key="attr_shape")
        labels = read_array(source, "labels", "iuf")
        masks = _read_masks(source)
    if len(labels) != n:
        raise DatasetFormatError(path, f"{len(labels)} labels for {n} nodes", key="labels")
    if n and bool(np.isinf(labels).any()):
        raise DatasetFormatError(path, "a target is finite, or NaN for none", key="labels")
    known = labels[~np.isnan(labels)]
    if (known != known.round()).any():
        return _with_masks(path, masks, *pack(name, adjacency, x, labels.tolist(), num_duplicates))
    texts = label_texts(path, "labels", labels)
    return _with_masks(path, masks, *pack(name, adjacency, x, texts, num_duplicates))


def _read_masks(source: Source) -> dict[str, np.ndarray]:
    """The masks that there are, by the name of their array, of bytes that are 0 or 1."""
    masks = {}
    there = source.find(".npy")
    for key in (key for mask in MASKS for key in (mask, f"{mask}s") if f"{key}.npy" in there):
        if key.endswith("s") and key[:-1] in masks:
            raise DatasetFormatError(source.path, f"{key[:-1]} is there, too; one of them is enough", key=key)
        array = read_array(source, key, "biu", (2,) if key.endswith("s") else (1, 2))
        array = array.view(np.uint8) if array.dtype.kind == "b" else array  # where a bool may be neither 0 nor 1
        if ((array != 0) & (array != 1)).any():
            raise DatasetFormatError(source.path, "a mask holds bools, or zeros and ones", key=key)
        masks[key] = array == 1
    return masks


def _with_masks(
    path: Path, masks: dict[str, np.ndarray], header: dict[str, Any], arrays: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors with the masks of the file, each [N], or each [N, S] where one has S splits."""
    given = {key.removesuffix("s"): mask.T if key.endswith("s") else mask for key, mask in masks.items()}
    try:
        read = read_masks(given, len(arrays["adjacency.rowptr"]) - 1, arrays["y"], torch.device("cpu"))
    except GcnlabError as problem:
        raise DatasetFormatError(path, str(problem)) from None
    return header, {**arrays, **{key: mask for key, mask in read.items() if mask is not None}}


def label_texts(path: Path, key: str, labels: np.ndarray) -> list[str | None]:
    """Class numbers as `node_sets.pack` takes them, None where a node has none: -1, or NaN."""
    if bool((labels < -1).any()):
        raise DatasetFormatError(path, "a label is at least 0, or -1 for none", key=key, value=int(np.nanmin(labels)))
    return [None if label == -1 or label != label else str(int(label)) for label in labels.tolist()]


def read_split(path: Path, num_nodes: int) -> dict[str, Tensor]:
    """The masks of a split file, each bool [num_nodes]: an npz file with the node numbers of `train`, `valid` and `test`.

    Raises:
        DatasetFormatError: a list is missing, empty, or names a node that is not there or that stands in a list already.
    """
    masks, seen = {}, np.zeros(num_nodes, bool)
    with Source(path) as source:
        for part, key in zip(("train", "valid", "test"), MASKS, strict=True):
            ids = read_array(source, part, "iu")
            if not len(ids):
                raise DatasetFormatError(path, "it names no node", key=part)
            if len(outside := np.flatnonzero((ids < 0) | (ids >= num_nodes))):
                problem = f"node at {outside[0]} is not within 0..{num_nodes - 1}"
                raise DatasetFormatError(path, problem, key=part, value=int(ids[outside[0]]))
            is_repeated = np.ones(len(ids), bool)
            is_repeated[np.unique(ids, return_index=True)[1]] = False
            if len(twice := np.flatnonzero(is_repeated | seen[ids])):
                problem = f"node at {twice[0]} stands in this list or in another already"
                raise DatasetFormatError(path, problem, key=part, value=int(ids[twice[0]]))
            seen[ids] = True
            masks[key] = torch.zeros(num_nodes, dtype=torch.bool)
            masks[key][torch.from_numpy(ids)] = True
    return masks


def _symmetrised(path: Path, adjacency: SparseMatrix) -> SparseMatrix:
    row, col = adjacency.row.long(), adjacency.col.long()

    def refuse(at: int, first: int) -> None:
        problem = f"the edge {int(row[at])}, {int(col[at])} has another weight in the other direction"
        raise DatasetFormatError(path, problem, key="adj_data", value=float(adjacency.value[at]))

    return from_edge_list(torch.stack([row, col]), adjacency.value, len(adjacency.rowptr) - 1, None, refuse)[0]


def _read_csr(source: Source, prefix: str, duplicates: str) -> tuple[SparseMatrix, int]:
    """The matrix, and how many entries were given twice."""
    shape = read_array(source, f"{prefix}_shape", "iu").tolist()
    indptr, indices = (read_array(source, f"{prefix}_{part}", "iu") for part in ("indptr", "indices"))
    data = read_array(source, f"{prefix}_data", "biuf")

    def refuse(key: str, problem: str, value: Any = None) -> None:
        raise DatasetFormatError(source.path, problem, key=f"{prefix}_{key}", value=value)

    if len(shape) != 2 or not all(0 <= size < 2**31 for size in shape):
        refuse("shape", "a matrix needs two sizes, each from 0 to 2147483647", shape[:4])
    if len(indptr) != shape[0] + 1 or indptr[0] != 0 or indptr[-1] != len(indices) or len(data) != len(indices):
        refuse(
            "indptr",
            f"{shape[0]} rows need {shape[0] + 1} numbers from 0 to the {len(indices)} indices, which have "
            f"{len(data)} values; it has {len(indptr)}",
        )
    if len(falling := np.flatnonzero(np.diff(indptr) < 0)):
        refuse("indptr", f"it falls after position {falling[0]}")
    if len(outside := np.flatnonzero((indices < 0) | (indices >= shape[1]))):
        refuse("indices", f"index at {outside[0]} is not within 0..{shape[1] - 1}", int(indices[outside[0]]))
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, and is found here
        value = data.astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(value))):
        refuse("data", f"{len(bad)} values are NaN or infinite, the first at {bad[0]}")
    row = torch.from_numpy(np.repeat(np.arange(shape[0]), np.diff(indptr)))
    matrix = SparseMatrix.from_coo(row, torch.from_numpy(indices), torch.from_numpy(value), shape, duplicates)
    return matrix, len(indices) - matrix.nnz


def read_array(source: Source, key: str, kinds: str, num_dims: tuple[int, ...] = (1,)) -> np.ndarray:
    """An array of numbers with so many axes; a vector of integers is int64."""
    content = source.read(f"{key}.npy")
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, is_fortran, dtype = header(file)
    except Exception as error:  # numpy parses the header as a Python literal, which may fail in any way
        raise DatasetFormatError(source.path, f"not a readable array: {error}"[:300], key=key) from error
    # An array of objects would be a pickle, which may run code.
    if len(shape) not in num_dims or dtype.kind not in kinds:
        expected = "a vector of numbers" if num_dims == (1,) else f"numbers in {' or '.join(map(str, num_dims))} axes"
        raise DatasetFormatError(source.path, f"expected {expected}", key=key, value=f"{dtype} {shape}"[:80])
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise DatasetFormatError(
            source.path, f"its header states {math.prod(shape)} values, its bytes are others", key=key
        )
    array = np.frombuffer(content, dtype, offset=file.tell())
    array = array.reshape(shape, order="F" if is_fortran else "C")
    if dtype.kind not in "iu" or len(shape) > 1:
        return array
    if len(array) and dtype.kind == "u" and int(array.max()) >= 2**63:
        raise DatasetFormatError(source.path, "an integer of more than 63 bits", key=key)
    return array.astype(np.int64)
