"""Graph collections in the text form of TU Dortmund's benchmark sets, in a folder or a zip archive.

Morris et al., TUDataset: A collection of benchmark datasets for learning with graphs, 2020. Lines count nodes and graphs
from 1, over the whole set:

    NAME_A.txt                  "i, j": an edge from node i to node j; an undirected edge has a line for each direction
    NAME_graph_indicator.txt    line i: the graph of node i; they rise by 0 or 1, so a graph's nodes follow each other
    NAME_graph_labels.txt       line g: the class of graph g, an integer
    NAME_node_labels.txt        line i: the label of node i, an integer (a set need not have it)
    NAME_node_attributes.txt    line i: the attributes of node i, separated by commas (a set need not have it)

A pair that is listed twice counts once; a self-loop is kept. Labels and attributes of edges, and targets for regression,
are not read.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import DatasetFormatError
from .archive import MAX_BYTES, Source
from .graph_sets import check, check_options, counts, pack, to_graph
from .text import Integers

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again


def read(path: Path, name: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the files in a folder or zip archive; header and tensors as `graph_sets.pack` returns them.

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the others; with file, line and value.
    """
    with Source(path, max_bytes) as source:
        found = source.find("_A.txt")
        if len(found) != 1:
            raise DatasetFormatError(source.path, "expected one file NAME_A.txt", value=", ".join(found) or "none")
        prefix = found[0].removesuffix("A.txt")

        def integers(part: str) -> Integers:
            return Integers(source.label(f"{prefix}{part}.txt"), source.read(f"{prefix}{part}.txt"))

        def has(part: str) -> bool:
            return bool(source.find(f"{prefix}{part}.txt"))

        indicator = integers("graph_indicator")
        graph_of = indicator.column() - 1
        if not len(graph_of):
            raise DatasetFormatError(indicator.file, "it names no node")
        step = np.diff(graph_of)
        indicator.refuse(
            np.append(graph_of[0] != 0, (step != 0) & (step != 1)),
            "the first node is in graph 1, every other one in the graph of the node before it or in the next",
            graph_of + 1,
        )
        num_nodes, num_graphs = len(graph_of), int(graph_of[-1]) + 1
        labels = integers("graph_labels").column(num_graphs, "graphs in the graph indicator")

        edges = integers("A")
        ends = edges.table(2) - 1
        outside = (ends < 0) | (ends >= num_nodes)
        edges.refuse(outside[:, 0] | outside[:, 1], f"a node is an integer from 1 to {num_nodes}", ends + 1)
        graphs = graph_of[ends]
        edges.refuse(graphs[:, 0] != graphs[:, 1], "this edge leads from one graph into another", ends + 1)

        node_labels = integers("node_labels").column(num_nodes, "nodes") if has("node_labels") else None
        attributes = None
        if has("node_attributes"):
            file = f"{prefix}node_attributes.txt"
            attributes = _read_attributes(source.label(file), source.read(file), num_nodes)
    node_ptr = np.append(0, np.cumsum(np.bincount(graph_of)))
    source_node, target_node = np.ascontiguousarray(ends.T)
    return pack(name, target_node, source_node, node_ptr, labels, node_labels, attributes)


def _read_attributes(file: str, content: bytes, num_nodes: int) -> np.ndarray:
    """[num_nodes, A] float32."""
    content = content.rstrip()
    if not content:
        raise DatasetFormatError(file, f"it has 0 lines, but there are {num_nodes} nodes")
    try:
        values = np.loadtxt(io.BytesIO(content), np.float64, delimiter=",", ndmin=2, comments=None, encoding="latin1")
    except ValueError as error:
        # numpy counts rows from 0 where a word is no number, and from 1 where a row has another length
        at = re.search(r"at row (\d+)", str(error))
        line = None if at is None else int(at[1]) + str(error).startswith("could not convert")
        raise DatasetFormatError(file, f"expected numbers, separated by commas: {error}"[:300], line=line) from error
    if len(values) != num_nodes:
        raise DatasetFormatError(file, f"it has {len(values)} lines, but there are {num_nodes} nodes")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, and is found here
        values = values.astype(np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        line = int(bad.any(axis=1).argmax())
        raise DatasetFormatError(file, "an attribute is NaN or infinite", line=line + 1, value=values[line].tolist())
    return values
