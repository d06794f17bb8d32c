"""A graph with several given splits in one npz file: the form of the heterophilous benchmark sets.

Platonov et al. 2023, A Critical Look at the Evaluation of GNNs under Heterophily:

    node_features                        X [N, F], finite
    node_labels                          [N] integers, -1 where a node has none
    edges                                [E, 2] node numbers from 0; an edge stands once, for both directions
    train_masks, val_masks, test_masks   bool [S, N], a row per split

A self-loop is kept, and an edge that is given twice counts once. The arrays are read from their bytes, and pickles are never
opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetFormatError
from ..graph.convert import undirected
from ..graph.parts import MASKS
from ..sparse import SparseMatrix
from .archive import MAX_BYTES, Source
from .node_sets import counts, pack
from .npz import check, check_options, label_texts, read_array, to_graph

__all__ = ["FORMAT_VERSION", "check", "check_options", "counts", "is_heterophilous", "read", "to_graph"]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again


def is_heterophilous(path: Path) -> bool:
    """Whether an npz file has this form, told from the names of its arrays."""
    with Source(path) as source:
        return bool(source.find("node_features.npy"))


def read(path: Path, name: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check an npz file; header and tensors as `node_sets.pack` returns them, with masks [N, S].

    Raises:
        DatasetFormatError: an array is missing, malformed, or does not fit the others; with file, key and value.
    """
    with Source(path, max_bytes) as source:
        features = read_array(source, "node_features", "biuf", (2,))
        labels = read_array(source, "node_labels", "iu")
        edges = read_array(source, "edges", "iu", (2,))
        given = [read_array(source, f"{key}s", "b", (2,)).view(np.uint8) != 0 for key in MASKS]
    n = len(labels)

    def refuse(key: str, problem: str, value: Any = None) -> None:
        raise DatasetFormatError(path, problem, key=key, value=value)

    if len(features) != n:
        refuse("node_features", f"it has {len(features)} rows, but there are {n} labels")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, and is found here
        features = features.astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(features).all(1))):
        refuse("node_features", f"{len(bad)} rows have NaN or infinite values, the first is {bad[0]}")
    if edges.shape[1] != 2:
        refuse("edges", "an edge has two ends", f"{edges.shape}")
    if len(outside := np.flatnonzero(((edges < 0) | (edges >= n)).any(1))):
        refuse("edges", f"edge {outside[0]} has an end that is not within 0..{n - 1}", edges[outside[0]].tolist())
    for key, masks in zip(MASKS, given, strict=True):
        if masks.shape != (len(given[0]), n) or not len(masks):
            refuse(f"{key}s", f"expected bool [{len(given[0]) or 'S'}, {n}], a row per split", f"{masks.shape}")
    if (twice := np.argwhere(np.sum(given, 0, dtype=np.int8) > 1)).size:
        split, node = twice[0].tolist()
        refuse("train_masks, val_masks, test_masks", f"split {split} has node {node} in two parts")
    ends = torch.from_numpy(edges.astype(np.int64)).T
    adjacency, num_duplicates = undirected(ends, None, n, "first", lambda at, first: None)
    x = SparseMatrix.from_dense(torch.from_numpy(features))
    header, arrays = pack(name, adjacency, x, label_texts(path, "node_labels", labels), num_duplicates)
    masks = {key: torch.from_numpy(np.ascontiguousarray(part.T)) for key, part in zip(MASKS, given, strict=True)}
    return header, {**arrays, **masks}
