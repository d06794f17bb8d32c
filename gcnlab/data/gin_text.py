"""Graph collections in the text form of Xu et al., How Powerful are Graph Neural Networks?, ICLR 2019.

One file NAME.txt, of integers; nodes count from 0 in each graph:

    G                                 the number of graphs, and then for each of them
    n label                           its nodes and its class, and then for each node
    tag degree neighbour neighbour    its label, the number of its neighbours, and these

An edge that only one end lists stands for both directions; a neighbour that is listed twice counts once; a self-loop is
kept. The folds of the paper's ten-fold cross-validation lie beside it, as `10fold_idx/{train,test}_idx-K.txt` for K from 1
to 10: graph numbers from 0, one a line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from .archive import MAX_BYTES, Source
from .graph_sets import check, check_options, counts, pack, to_graph
from .text import Integers

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "read", "read_folds", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again
NUM_FOLDS = 10


def read(path: Path, name: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the one text file in a folder or zip archive; header and tensors as `graph_sets.pack` returns them.

    Raises:
        DatasetFormatError: there is no such file, or not only one, or it is malformed; with file, line and value.
    """
    with Source(path, max_bytes) as source:
        found = [file for file in source.find(".txt") if "_idx-" not in file]
        if len(found) != 1:
            raise DatasetFormatError(source.path, "expected one file NAME.txt", value=", ".join(found) or "none")
        text = Integers(source.label(found[0]), source.read(found[0]))
    width = np.diff(text.start)
    if not text.num_lines or width[0] != 1 or text.values[0] < 1:
        text.fail("expected the number of graphs", 0, text.values[: width[0] if len(width) else 0][:20])
    num_graphs = int(text.values[0])

    headers: list[int] = []  # the line of each graph; where the next one stands, only this one says
    line = 1
    while line < text.num_lines and len(headers) < num_graphs:
        values = text.values[text.start[line] : text.start[line + 1]]
        if len(values) != 2 or values[0] < 1:
            text.fail("expected the number of nodes of a graph, at least 1, and its label", line, values[:20])
        headers.append(line)
        line += 1 + int(values[0])
    if line != text.num_lines:
        problem = f"the file has {text.num_lines} lines, but its numbers of graphs and nodes "
        raise DatasetFormatError(
            text.file, problem + (f"need {line}" if line > text.num_lines else f"end at line {line}")
        )
    if len(headers) != num_graphs:
        raise DatasetFormatError(text.file, f"line 1 states {num_graphs} graphs, but there are {len(headers)}")

    header = np.array(headers)
    size, label = text.values[text.start[header]], text.values[text.start[header] + 1]
    node_ptr = np.append(0, np.cumsum(size))
    is_node = np.ones(text.num_lines, bool)
    is_node[[0, *headers]] = False
    node_line = np.flatnonzero(is_node)
    text.refuse(is_node & (width < 2), "a node has a label, the number of its neighbours, and these")
    first = text.start[node_line]
    tag, degree = text.values[first], text.values[first + 1]
    expected = np.zeros(text.num_lines, np.int64)
    expected[node_line] = degree + 2
    text.refuse(
        is_node & (width != expected),
        lambda line: f"this node states {expected[line] - 2} neighbours, but {width[line] - 2} numbers follow",
    )
    is_neighbour = np.ones(len(text.values), bool)
    is_neighbour[: text.start[1]] = False
    for position in (text.start[header], text.start[header] + 1, first, first + 1):
        is_neighbour[position] = False
    neighbour = text.values[is_neighbour]
    graph_of = np.repeat(np.arange(num_graphs), size)
    limit = np.repeat(size[graph_of], degree)
    outside = (neighbour < 0) | (neighbour >= limit)
    if outside.any():
        at = int(outside.argmax())
        node = int(np.searchsorted(np.cumsum(degree), at, side="right"))
        text.fail(f"a neighbour is an integer from 0 to {limit[at] - 1}", int(node_line[node]), neighbour[at])
    row = np.repeat(np.arange(len(degree)), degree)
    neighbour += np.repeat(node_ptr[graph_of], degree)
    # A tag that all nodes share says nothing of them.
    tags = tag if (tag != tag[0]).any() else None
    return pack(name, row, neighbour, node_ptr, label, tags, undirected=True)


class Folds(list[tuple[Tensor, Tensor]]):
    """A (train, test) pair of graph numbers for each fold, [num_train] and [num_test] int64.

    Attributes:
        left_out: the graphs that no fold tests, [num_left_out] int64.
    """

    def __init__(self, pairs: list[tuple[Tensor, Tensor]], left_out: Tensor) -> None:
        super().__init__(pairs)
        self.left_out = left_out


def read_folds(source: Source, num_graphs: int) -> Folds:
    """The ten (train, test) lists of graph numbers among the files of `source`.

    Raises:
        DatasetFormatError: a list is missing, empty, holds a number that is no graph's or holds one twice; or two that
            must not share a graph do: train and test of one fold, the tests of two folds.
    """
    folds = []
    tested_in = np.zeros(num_graphs, np.int64)
    for fold in range(1, NUM_FOLDS + 1):
        seen = np.zeros(num_graphs, bool)
        parts = {}
        for part in ("train", "test"):
            found = source.find(f"{part}_idx-{fold}.txt")
            if len(found) != 1:
                raise DatasetFormatError(source.path, f"expected one file {part}_idx-{fold}.txt", value=len(found))
            text = Integers(source.label(found[0]), source.read(found[0]))
            ids = text.column()
            if not len(ids):
                raise DatasetFormatError(text.file, "it names no graph")
            text.refuse((ids < 0) | (ids >= num_graphs), f"a graph is an integer from 0 to {num_graphs - 1}", ids)
            repeated = np.ones(len(ids), bool)
            repeated[np.unique(ids, return_index=True)[1]] = False
            text.refuse(repeated, "this graph stands in the list already", ids)
            text.refuse(seen[ids], "this graph is in the train list of this fold too", ids)
            if part == "test":
                text.refuse(
                    tested_in[ids] > 0, lambda line, ids=ids: f"fold {tested_in[ids[line]]} tests this graph too", ids
                )
                tested_in[ids] = fold
            seen[ids] = True
            parts[part] = torch.from_numpy(ids.copy())
        folds.append((parts["train"], parts["test"]))
    return Folds(folds, torch.from_numpy(np.flatnonzero(tested_in == 0)))
