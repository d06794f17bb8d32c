"""A graph in two text files: its edges, and the labels of its nodes, in the form of the airport networks of struc2vec.

Ribeiro et al. 2017, struc2vec: Learning Node Representations from Structural Identity:

    NAME.edgelist      "i j": an undirected edge
    labels-NAME.txt    "node label", and then for each node its number and its class

Numbers are integers of at least 0 and may have gaps; they become the node names, in the order of the labels. A self-loop is
kept, and an edge that is given twice counts once. There are no features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from ..graph.convert import undirected
from .archive import Source
from .node_sets import check, check_options, counts, pack, to_graph
from .text import Integers

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again
_COLUMNS = b"node label"


def read(path: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check NAME.edgelist and the labels beside it; header and tensors as `node_sets.pack` returns them.

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the other; with file, line and value.
    """
    with Source(path.parent) as source:
        labels_file = f"labels-{path.stem}.txt"
        content = source.read(labels_file)
        edges = Integers(source.label(path.name), source.read(path.name))
        columns, newline, rows = content.partition(b"\n")
        if columns.rstrip() != _COLUMNS:
            problem = f"expected the column names {_COLUMNS.decode()}"
            raise DatasetFormatError(source.label(labels_file), problem, line=1, value=columns[:40].decode("latin1"))
        # A row of zeros instead of the column names keeps line numbers right in errors.
        labels = Integers(source.label(labels_file), b"0 0" + newline + rows)
    nodes, classes = labels.table(2)[1:].T
    ends = edges.table(2)
    labels.refuse(np.append(False, np.minimum(nodes, classes) < 0), "a node and its label are integers of at least 0")
    order = np.argsort(nodes, kind="stable")
    ranked = nodes[order]
    repeated = np.zeros(len(nodes) + 1, bool)
    repeated[order[1:][np.diff(ranked) == 0] + 1] = True
    labels.refuse(repeated, "this node has a label already", np.append(0, nodes))
    at = np.searchsorted(ranked, ends).clip(max=max(len(nodes) - 1, 0))
    unknown = np.ones(ends.shape, bool) if not len(nodes) else ranked[at] != ends
    edges.refuse(unknown[:, 0] | unknown[:, 1], f"an end of this edge has no line in {labels_file}", ends)
    row_of = torch.from_numpy(order[at] if len(nodes) else ends)
    adjacency, num_duplicates = undirected(row_of.T, None, len(nodes), "first", lambda at, first: None)
    names = [str(node) for node in nodes.tolist()]
    return pack(name, adjacency, None, [str(label) for label in classes.tolist()], num_duplicates, names)
