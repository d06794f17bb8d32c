"""An attributed graph in tables: one's own CSV files, or SNAP's form of the MUSAE networks.

One's own, comma-separated, with a line of column names; every row of edges.csv is an undirected edge:

    edges.csv       source, target, and weight where edges have one
    features.csv    id, and a column of numbers for each feature (may be missing)
    labels.csv      id, label: any text, or decimal fractions, which are targets; empty where a node has none, as for a
                    node that is not there (may be missing)

The nodes are the rows of features.csv, or where it is missing those of labels.csv, in their order; ids may be any text.
For a directed graph read the table with pandas and pass it to `Graph.from_pandas`.

SNAP's (Rozemberczki, Allen, Sarkar, Multi-scale Attributed Node Embedding, 2021), with any prefix:

    *_edges.csv        id_1, id_2
    *_features.json    {"id": [the features it has]}
    *_target.csv       id, the class in the last column, and more columns between them; ids count from 0

An edge that is given twice, in either direction, counts once. Files are UTF-8.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError, InputError
from ..graph.convert import undirected
from ..sparse import SparseMatrix
from .archive import MAX_BYTES, Source
from .node_sets import check, check_options, counts, pack, to_graph

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again
_MAX_FEATURES = 2**31 - 1


def read(path: Path, name: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the tables in a folder or zip archive; header and tensors as `node_sets.pack` returns them.

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the others; with file, line or key, and value.
    """
    with Source(path, max_bytes) as source:
        found = source.find("edges.csv")
        if len(found) != 1:
            raise DatasetFormatError(source.path, "expected one file edges.csv", value=", ".join(found) or "none")
        prefix = found[0].removesuffix("edges.csv")
        return (_read_snap if prefix.endswith("_") else _read_own)(source, prefix, name)


def _read_own(source: Source, prefix: str, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    node_of: dict[str, int] = {}
    x = labels = None
    if source.find(f"{prefix}features.csv"):
        file = f"{prefix}features.csv"
        rows = []
        for line, row in _rows(source, file, first="id"):
            _add_node(source, file, node_of, line, row[0])
            rows.append(_numbers(source, file, line, row[1:]))
        num_features = len(rows[0]) if rows else 0
        x = SparseMatrix.from_dense(torch.from_numpy(np.array(rows, np.float32).reshape(len(rows), num_features)))
    if source.find(f"{prefix}labels.csv"):
        file = f"{prefix}labels.csv"
        given: dict[str, str] = {}
        lines: dict[str, int] = {}
        for line, (node, label) in _rows(source, file, names=("id", "label")):
            _add_node(source, file, lines, line, node)
            if x is not None and node not in node_of:
                _refuse(source, file, "this id has no row in features.csv", line, node)
            given[node] = label.strip()
        if x is None:
            node_of = {node: i for i, node in enumerate(given)}
        labels = [given.get(node, "") for node in node_of]
    if not node_of:
        raise DatasetFormatError(source.path, "features.csv or labels.csv must name the nodes, a row each")
    file = f"{prefix}edges.csv"
    edges, weights = [], []
    for line, row in _rows(source, file, names=("source", "target"), optional="weight"):
        for node in row[:2]:
            if node not in node_of:
                _refuse(source, file, "this node has no row in features.csv or labels.csv", line, node)
        edges.append((node_of[row[0]], node_of[row[1]], line))
        weights.append(float(_numbers(source, file, line, row[2:])[0]) if len(row) > 2 else 1.0)
    adjacency, num_duplicates = _undirected(source, file, edges, weights, len(node_of))
    try:
        return pack(name, adjacency, x, labels, num_duplicates, list(node_of), source.label(f"{prefix}labels.csv"))
    except InputError as error:
        raise DatasetFormatError(source.label(f"{prefix}labels.csv"), str(error).partition(": ")[2]) from error


def _read_snap(source: Source, prefix: str, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file = f"{prefix}target.csv"
    classes: dict[int, str] = {}
    for line, row in _rows(source, file, first="id"):
        node = _node(source, file, line, row[0], None)
        if node in classes:
            _refuse(source, file, "this id has a row already", line, node)
        if len(row) < 2 or not row[-1]:
            _refuse(source, file, "the last column must hold the class", line)
        classes[node] = row[-1]
    n = len(classes)
    if missing := [node for node in range(n) if node not in classes]:
        raise DatasetFormatError(source.label(file), f"ids count from 0 to {n - 1}, but {missing[0]} has no row")
    x = _read_feature_lists(source, f"{prefix}features.json", n)
    file = f"{prefix}edges.csv"
    edges = []
    for line, row in _rows(source, file, names=("id_1", "id_2")):
        ends = [_node(source, file, line, text, n) for text in row]
        edges.append((ends[0], ends[1], line))
    adjacency, num_duplicates = _undirected(source, file, edges, [1.0] * len(edges), n)
    return pack(name, adjacency, x, [classes[node] for node in range(n)], num_duplicates)


def _read_feature_lists(source: Source, file: str, num_nodes: int) -> SparseMatrix:
    """X of {"node": [features]}, binary; a feature that is listed twice counts once."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) != len(pairs):
            raise ValueError("a key is given twice")
        return content

    try:
        content = json.loads(source.read(file), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(source.label(file), f"not readable as JSON: {error}"[:300]) from error
    if type(content) is not dict or len(content) != num_nodes:
        found = len(content) if isinstance(content, dict | list) else type(content).__name__
        raise DatasetFormatError(source.label(file), f"expected an object with {num_nodes} nodes", value=found)
    row: list[int] = []
    col: list[int] = []
    for key, features in content.items():
        if not key.isascii() or not key.isdigit() or len(key) > 10 or int(key) >= num_nodes:
            raise DatasetFormatError(
                source.label(file), f"a node is an integer from 0 to {num_nodes - 1}", key=key[:40]
            )
        if type(features) is not list or not all(type(f) is int and 0 <= f < _MAX_FEATURES for f in features):
            raise DatasetFormatError(source.label(file), "expected a list of integers of at least 0", key=key)
        row += [int(key)] * len(features)
        col += features
    if len({int(key) for key in content}) != num_nodes:
        raise DatasetFormatError(source.label(file), "a node is given twice, with leading zeros")
    shape = (num_nodes, max(col, default=-1) + 1)
    return SparseMatrix.from_coo(torch.tensor(row).long(), torch.tensor(col).long(), shape=shape, duplicates="first")


def _undirected(
    source: Source, file: str, edges: list[tuple[int, int, int]], weights: list[float], num_nodes: int
) -> tuple[SparseMatrix, int]:
    """A, symmetric, and how many edges were given twice; edges are (end, end, line)."""
    ends = torch.tensor([edge[:2] for edge in edges], dtype=torch.int64).reshape(-1, 2).T

    def refuse(at: int, first: int) -> None:
        problem = f"this edge is given in line {edges[first][2]}, with another weight"
        _refuse(source, file, problem, edges[at][2], weights[at])

    return undirected(ends, torch.tensor(weights), num_nodes, None, refuse)


def _rows(
    source: Source, file: str, names: tuple[str, ...] = (), first: str = "", optional: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of a table. Its columns must be `names`, in any order, in which they are returned, and may be
    followed by `optional`; or any, of which the first is called `first`.
    """
    try:
        text = source.read(file).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [column.strip() for column in next(reader, [])]
        wanted = [*names, *([optional] if optional in header and optional else [])] if names else header
        if sorted(header) != sorted(wanted) or (not names and header[:1] != [first]):
            expected = ", ".join(names) + (f", and maybe {optional}" if optional else "") if names else f"{first}, ..."
            _refuse(source, file, f"expected the column names {expected}", 1, ", ".join(header)[:80])
        order = [header.index(column) for column in wanted] if names else list(range(len(header)))
        for row in reader:
            if len(row) != len(header):
                if not row:  # a blank line
                    continue
                _refuse(source, file, f"expected {len(header)} columns, but there are {len(row)}", reader.line_num)
            yield reader.line_num, [row[column].strip() for column in order]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = "this line is not in UTF-8; save the file as UTF-8 (Excel: CSV UTF-8)"
        raise DatasetFormatError(source.label(file), problem, line=line, value=error.object[error.start]) from error
    except csv.Error as error:
        raise DatasetFormatError(source.label(file), f"not readable as CSV: {error}"[:300]) from error


def _refuse(source: Source, file: str, problem: str, line: int, value: Any = None) -> None:
    raise DatasetFormatError(source.label(file), problem, line=line, value=value)


def _add_node(source: Source, file: str, node_of: dict[str, int], line: int, node: str) -> None:
    if not node or node in node_of:
        _refuse(source, file, "this id has a row already" if node else "the id is empty", line, node)
    node_of[node] = len(node_of)


def _node(source: Source, file: str, line: int, text: str, num_nodes: int | None) -> int:
    """A node of SNAP's tables, from 0."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and (num_nodes is None or int(text) < num_nodes):
        return int(text)
    limit = "of at least 0" if num_nodes is None else f"from 0 to {num_nodes - 1}"
    raise DatasetFormatError(source.label(file), f"a node is an integer {limit}", line=line, value=text[:40])


def _numbers(source: Source, file: str, line: int, fields: list[str]) -> np.ndarray:
    """Finite float32 numbers."""
    try:
        values = np.array([float(field) for field in fields])
    except ValueError:
        values = np.array([math.nan])
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        _refuse(source, file, "expected finite numbers", line, ", ".join(fields)[:80])
    return values
