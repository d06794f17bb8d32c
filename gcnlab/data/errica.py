"""The folds of Errica et al., A fair comparison of graph neural networks for graph classification, ICLR 2020.

A JSON file for each set, of ten outer folds; graphs count from 0, in the order of the TU collection:

    [{"test": [4, ...], "model_selection": [{"train": [0, ...], "validation": [7, ...]}]}, ...]

The ten test parts are a partition of the set. What a fold does not test is divided again, nine to one: the model and the
epoch are chosen on the validation part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import DatasetFormatError

NUM_FOLDS = 10
FOLDER = "folds-errica"  # of a data root


class NestedFold(NamedTuple):
    """The graph numbers of one outer fold, int64.

    Attributes:
        train: of the inner split, [num_train].
        val: of the inner split, [num_val]: what selects.
        test: of the outer split, [num_test]: read once.
    """

    train: Tensor
    val: Tensor
    test: Tensor


def read_nested(path: Path, num_graphs: int) -> list[NestedFold]:
    """The ten folds of a file, validated.

    Raises:
        DatasetFormatError: the file has another form; a list is empty, holds what is no graph's number, or a graph that
            stands in another list of its fold; two folds test one graph, or none does.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetFormatError(path, f"not readable as JSON: {error}"[:300]) from error
    if not isinstance(content, list) or len(content) != NUM_FOLDS:
        found = f"{len(content)} of them" if isinstance(content, list) else content
        raise DatasetFormatError(path, f"expected a list of {NUM_FOLDS} folds", value=str(found)[:80])
    tested_in: dict[int, int] = {}
    folds = []
    for number, fold in enumerate(content, 1):
        lists = _lists_of(path, number, fold)
        found_in: dict[int, str] = {}
        for part, ids in lists.items():
            key = f"{part} of fold {number}"
            for graph in ids:
                if type(graph) is not int or not 0 <= graph < num_graphs:
                    raise DatasetFormatError(
                        path, f"a graph is an integer from 0 to {num_graphs - 1}", key=key, value=graph
                    )
                if graph in found_in:
                    problem = f"this graph is in the {found_in[graph]} list of this fold already"
                    raise DatasetFormatError(path, problem, key=key, value=graph)
                if part == "test" and graph in tested_in:
                    problem = f"fold {tested_in[graph]} tests this graph too"
                    raise DatasetFormatError(path, problem, key=key, value=graph)
                found_in[graph] = part
        tested_in |= dict.fromkeys(lists["test"], number)
        folds.append(NestedFold(*map(torch.tensor, lists.values())))
    if missing := set(range(num_graphs)) - tested_in.keys():
        raise DatasetFormatError(path, "no fold tests this graph", value=min(missing))
    return folds


def _lists_of(path: Path, number: int, fold: Any) -> dict[str, list[Any]]:
    """part -> its list, in the order of `NestedFold`."""
    try:
        (inner,) = fold["model_selection"]
        lists = {"train": inner["train"], "validation": inner["validation"], "test": fold["test"]}
    except (TypeError, KeyError, ValueError):
        form = 'expected {"test": [...], "model_selection": [{"train": [...], "validation": [...]}]}'
        raise DatasetFormatError(path, form, key=f"fold {number}", value=str(fold)[:80]) from None
    for part, ids in lists.items():
        if not isinstance(ids, list) or not ids:
            key = f"{part} of fold {number}"
            raise DatasetFormatError(path, "expected a list of graph numbers", key=key, value=str(ids)[:80])
    return lists
