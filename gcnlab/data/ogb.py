"""Sets of the Open Graph Benchmark in its own files (Hu et al., 2020), read without its package.

OGB's zip archive, unpacked, is a folder of gzipped CSV without column names. Nodes count from 0 in each graph:

    raw/num-node-list.csv.gz    line g: the nodes of graph g
    raw/num-edge-list.csv.gz    line g: its edges
    raw/edge.csv.gz             source, target of each edge, one graph after the other
    raw/node-feat.csv.gz        the features of each node (a set need not have it)
    raw/node-label.csv.gz       ogbn: the label of each node, or one for each task
    raw/graph-label.csv.gz      ogbg: the label of each graph, or one for each task; empty where it is unknown
    split/NAME/                 train.csv.gz, valid.csv.gz, test.csv.gz: the nodes or graphs of each part

An ogbn set is one Graph, an ogbg set a GraphCollection. Features of edges, years and the mapping are not read, nor are the
sets with several kinds of nodes (ogbn-mag) and those of a binary form (ogbn-papers100M).
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice, check_flag, check_package
from ..errors import CorruptFileError, DatasetFormatError, DatasetNotFoundError, InputError
from ..files import check_fields
from ..graph import Graph, GraphCollection
from ..sparse import Features, SparseMatrix
from ..structure import PROBLEM, check_array, check_blocks, read_matrix
from .text import Integers

__all__ = [
    "FORMAT_VERSION",
    "check",
    "check_options",
    "counts",
    "is_ogb",
    "ogb_evaluator",
    "read",
    "read_split",
    "to_graph",
]

FORMAT_VERSION = 1  # of what `read` returns; a new number makes every processed file be made again
FEATURES = ("values", "one_hot")
_PARTS = {"train": "train", "val": "valid", "test": "test"}
_CHUNK = 1 << 26  # bytes of text parsed at a time: the text of a large set is several times its numbers
_MAX_RATIO = 50  # of unpacked to packed bytes above _MAX_SMALL; numbers as text pack to a fifth or more
_MAX_SMALL = 1 << 28
_MAX_LINE = 1 << 24
_MAX_COUNT = 1 << 31
_MAX_FLOAT = float(np.finfo(np.float32).max)


def is_ogb(folder: Path) -> bool:
    return (folder / "raw" / "num-node-list.csv.gz").is_file()


def check_options(*, undirected: bool = True, features: str = "values") -> None:
    """The options of `gcnlab.load` for OGB's sets; raises InputError for a value that cannot be used."""
    check_flag("undirected", undirected)
    check_choice("features", features, FEATURES)


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check the files of a set.

    Returns:
        Header: `name`, `level` ("node" or "graph"), `num_duplicates`. Tensors: the CSR parts of A [N, N] as listed
        (weights 1, an edge that is listed twice counts once); `node_ptr` [G + 1]; `x` [N, F] float32 where there are
        features; `y`, int64 [rows] where all labels are classes (-1 where one is unknown), else float32 [rows, tasks]
        (NaN where one is unknown); `train`, `val`, `test`: the rows of each part.

    Raises:
        DatasetFormatError: a file is missing, malformed, or does not fit the others; with file, line and value.
    """
    level, node_count, num_rows = _sizes(folder)
    node_ptr = np.append(0, np.cumsum(node_count))
    n = int(node_ptr[-1])
    arrays = {
        "node_ptr": torch.from_numpy(node_ptr),
        "y": _labels(folder / "raw" / f"{level}-label.csv.gz", num_rows, f"{level}s"),
        **dict(zip(_PARTS, read_split(folder, num_rows), strict=True)),
    }
    if (path := folder / "raw" / "node-feat.csv.gz").is_file():
        arrays["x"] = torch.from_numpy(_numbers(path, n, "nodes", may_be_empty=False))

    edge_count = _counts(folder / "raw" / "num-edge-list.csv.gz", len(node_count))
    edges = _integers(folder / "raw" / "edge.csv.gz")
    ends = edges.table(2)
    if len(ends) != (total := int(edge_count.sum())):
        raise DatasetFormatError(edges.file, f"it has {len(ends)} lines, but num-edge-list.csv.gz states {total}")
    limit = np.repeat(node_count, edge_count)
    outside = (ends < 0) | (ends >= limit[:, None])
    edges.refuse(
        outside[:, 0] | outside[:, 1],
        lambda line: f"a node of this graph is an integer from 0 to {limit[line] - 1}",
        ends,
    )
    source, target = torch.from_numpy((ends + np.repeat(node_ptr[:-1], edge_count)[:, None]).T)
    adjacency = SparseMatrix.from_coo(target, source, shape=(n, n), duplicates="first")
    arrays |= {"adjacency.rowptr": adjacency.rowptr, "adjacency.col": adjacency.col}
    return {"name": name, "level": level, "num_duplicates": len(ends) - adjacency.nnz}, arrays


def read_split(folder: Path, num_rows: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The nodes (ogbn) or graphs (ogbg) for training, validation and test, int64, of the one folder below `split/`.

    Args:
        folder: of the set.
        num_rows: how many there are; by default those that the set's files state.

    Raises:
        DatasetFormatError: there is no such folder, or more than one; a part is missing, names a row that is not there,
            or one that it or another part has already.
    """
    if num_rows is None:
        _, _, num_rows = _sizes(folder)
    found = sorted(path for path in (folder / "split").glob("*") if path.is_dir())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DatasetFormatError(folder / "split", "expected one folder with train.csv.gz, ...", value=names)
    part_of = np.zeros(num_rows, np.int64)  # 0: none yet
    parts = []
    for number, file in enumerate(_PARTS.values(), 1):
        text = _integers(found[0] / f"{file}.csv.gz")
        rows = text.column()
        text.refuse((rows < 0) | (rows >= num_rows), f"expected an integer from 0 to {num_rows - 1}", rows)
        repeated = np.ones(len(rows), bool)
        repeated[np.unique(rows, return_index=True)[1]] = False
        text.refuse(repeated | (part_of[rows] > 0), "this row stands in this part or another already", rows)
        part_of[rows] = number
        parts.append(torch.from_numpy(rows.copy()))
    return parts[0], parts[1], parts[2]


def counts(header: dict[str, Any], arrays: dict[str, Tensor]) -> dict[str, int]:
    """What the manifest states of a set, counted; `listed_edges` are the lines of edge.csv.gz."""
    y = arrays["y"]
    return {
        **({"graphs": len(y)} if header["level"] == "graph" else {"nodes": len(y)}),
        "listed_edges": len(arrays["adjacency.col"]) + header["num_duplicates"],
        "features": arrays["x"].shape[1] if "x" in arrays else 0,
        "classes": int(y.max()) + 1 if y.dim() == 1 and len(y) else 0,
        **{part: len(arrays[part]) for part in _PARTS},
    }


def check(path: Path, header: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise CorruptFileError unless a processed file holds what `read` returns, whoever wrote it."""
    check_fields(path, header, {"name": str, "level": str, "num_duplicates": int}, PROBLEM)
    n = len(arrays.get("adjacency.rowptr", ())) - 1
    num_graphs = check_blocks(path, arrays, read_matrix(path, arrays, "adjacency.", n, ones=True))
    if header["level"] not in ("node", "graph") or (header["level"] == "node" and num_graphs != 1):
        raise CorruptFileError(path, f"{PROBLEM}: level is {header['level']!r}, of {num_graphs} graphs.")
    num_rows = num_graphs if header["level"] == "graph" else n
    if arrays.get("y", torch.empty(0)).is_floating_point():
        check_array(path, arrays, "y", [torch.float32], [num_rows, None])
    else:
        check_array(path, arrays, "y", [torch.int64], [num_rows], -1)
    if "x" in arrays:
        check_array(path, arrays, "x", [torch.float32], [n, None], -3.5e38, 3.5e38)
    rows = torch.cat([check_array(path, arrays, part, [torch.int64], [None], 0, num_rows) for part in _PARTS])
    if len(rows.unique()) < len(rows):
        raise CorruptFileError(path, "train, val and test have a row twice.")


def to_graph(
    header: dict[str, Any], arrays: dict[str, Tensor], *, undirected: bool = True, features: str = "values"
) -> Graph | GraphCollection:
    """The Graph (with the masks of the split) or GraphCollection of what `read` returned.

    Several labels a row, or real ones, are targets (floats, NaN where unknown); so are 0 and 1 that some graphs lack. `fit`
    takes them with loss="binary", "mse" or "mae".

    Args:
        header: of `read`.
        arrays: of `read`.
        undirected: every edge stands for both directions. OGB lists most graphs with one of the two; ogbn-arxiv's
            citations have a direction, which GCN baselines drop as well. False takes the edges as they are listed.
        features: "values": X as the file has it. "one_hot": each column is a category, an integer from 0 to its largest,
            one-hot, and they stand side by side: the sum of embeddings that OGB's AtomEncoder makes is then X W.

    Raises:
        InputError: "one_hot" of numbers that are no categories; or graphs without a label beside more than two classes.
    """
    name, n = header["name"], len(arrays["adjacency.rowptr"]) - 1
    col = arrays["adjacency.col"]
    adjacency = SparseMatrix(arrays["adjacency.rowptr"], col, torch.ones(len(col)), (n, n))
    if undirected and not adjacency.is_symmetric():
        row, other = adjacency.row, adjacency.col.long()
        both = torch.cat([row, other]), torch.cat([other, row])
        adjacency = SparseMatrix.from_coo(*both, shape=(n, n), duplicates="first").mark_symmetric()
    x: Features | None = arrays.get("x")
    if features == "one_hot":
        x = _one_hot(name, arrays.get("x"))
    y, num_duplicates = arrays["y"], header["num_duplicates"]
    if header["level"] == "graph":
        if y.dim() == 1 and bool((y < 0).any()):
            if int(y.max()) > 1:
                raise InputError(
                    f"name: of {name} graph {int((y < 0).nonzero()[0])} has no label, and the others have "
                    f"{int(y.max()) + 1} classes; a GraphCollection takes a class for each graph, or 0, 1 and missing."
                )
            y = y.float().masked_fill(y < 0, float("nan"))
        whole = Graph(adjacency, x, name=name, num_duplicates=num_duplicates)
        return GraphCollection(whole, arrays["node_ptr"], y)
    masks = [torch.zeros(n, dtype=torch.bool).index_fill_(0, arrays[part], True) for part in _PARTS]
    return Graph(adjacency, x, y, *masks, name=name, num_duplicates=num_duplicates)


def ogb_evaluator(name: str) -> Callable[[Tensor, Tensor], float]:
    """OGB's own figure of a set, by its package `ogb`: a function of the model's outputs and the labels.

    For accuracy the outputs are logits [rows, classes]; for ROC-AUC, average precision and RMSE they are [rows, tasks], or
    of one task also the logits of two classes, whose difference is the score. Labels are [rows] or [rows, tasks].

    Args:
        name: of the set as OGB has it, such as "ogbn-arxiv" or "ogbg-molhiv".

    Raises:
        InputError: `ogb` is not installed or does not know the name; called with outputs of another shape or that are not
            finite, with no rows, or with labels that OGB cannot score, such as -1 (unlabelled) or of one class alone.
    """
    modules = {"ogbn-": "ogb.nodeproppred", "ogbg-": "ogb.graphproppred"}
    if name[:5] not in modules:
        raise InputError(f"name: got {name!r}, expected a name that begins with {' or '.join(modules)}.")
    try:
        evaluator = importlib.import_module(modules[name[:5]]).Evaluator(name)
    except ImportError as error:
        raise InputError(f"name: the evaluator of {name} is OGB's own; pip install ogb.") from error
    except ValueError as error:
        raise InputError(f"name: {name!r} is not among OGB's sets of this kind: {error}"[:300]) from error
    metric, num_tasks = evaluator.eval_metric, evaluator.num_tasks

    def evaluate(outputs: Tensor, y: Tensor) -> float:
        outputs, y = outputs.detach(), y if y.dim() == 2 else y.reshape(-1, 1)
        if outputs.dim() != 2 or outputs.shape[0] != y.shape[0]:
            raise InputError(
                f"outputs and y: got shapes {tuple(outputs.shape)} and {tuple(y.shape)}, expected a row for each label."
            )
        if not len(y) or not bool(outputs.isfinite().all()):
            found = f"{int((~outputs.isfinite()).sum())} values that are NaN or infinite" if len(y) else "no rows"
            raise InputError(f"outputs: got {found}, so there is nothing to score.")
        if metric == "acc" and bool((y < 0).any()):
            raise InputError(f"y: row {int((y < 0).nonzero()[0, 0])} is unlabelled (below 0); leave such rows out.")
        if metric == "acc":
            outputs = outputs.argmax(1, keepdim=True)
        elif num_tasks == 1 and outputs.shape[1] == 2:
            outputs = outputs[:, 1:] - outputs[:, :1]
        if outputs.shape[1] != num_tasks:
            raise InputError(f"outputs: got {outputs.shape[1]} columns, expected {num_tasks}, a score for each task.")
        try:
            return float(evaluator.eval({"y_true": y.cpu().numpy(), "y_pred": outputs.cpu().numpy()})[metric])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"outputs and y: OGB's evaluator of {name} says: {error}"[:300]) from error

    return evaluate


# -- files ------------------------------------------------------------------------------------------------------------


def _sizes(folder: Path) -> tuple[str, np.ndarray, int]:
    """What the labels are of ("node" or "graph"), the nodes of each graph [G], and how many labels there must be."""
    file = folder / "raw" / "num-node-list.csv.gz"
    node_count = _counts(file)
    if not 0 < (n := int(node_count.sum())) < _MAX_COUNT:
        raise DatasetFormatError(file, f"expected 1 to {_MAX_COUNT - 1} nodes in all", value=n)
    found = [level for level in ("node", "graph") if (folder / "raw" / f"{level}-label.csv.gz").is_file()]
    if len(found) != 1:
        problem = "expected node-label.csv.gz or graph-label.csv.gz, one of them"
        raise DatasetFormatError(folder / "raw", problem, value=" and ".join(found) or "neither")
    if found[0] == "graph":
        return "graph", node_count, len(node_count)
    if len(node_count) != 1:
        raise DatasetFormatError(file, "a set with labels of nodes is one graph", value=len(node_count))
    return "node", node_count, n


def _counts(path: Path, num_graphs: int | None = None) -> np.ndarray:
    text = _integers(path)
    column = text.column(num_graphs, "graphs")
    text.refuse((column < 0) | (column >= _MAX_COUNT), f"a count is at least 0 and below {_MAX_COUNT}", column)
    return column


def _chunks(path: Path) -> Iterator[bytes]:
    """The unpacked lines of a file, some megabytes at a time; a small file that unpacks to too much is refused."""
    if not path.is_file():
        raise DatasetFormatError(path, "this file is missing")
    left = max(_MAX_RATIO * path.stat().st_size, _MAX_SMALL)
    try:
        with gzip.open(path) as file:
            while content := file.read(_CHUNK):
                content += file.readline(_MAX_LINE)
                left -= len(content)
                if left < 0:
                    raise DatasetFormatError(path, f"it unpacks to more than {_MAX_RATIO} times its size")
                yield content
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetFormatError(path, f"cannot be unpacked: {error}") from error


def _integers(path: Path) -> Integers:
    return Integers(str(path), b"".join(_chunks(path)))


def _numbers(path: Path, num_rows: int, what: str, may_be_empty: bool) -> np.ndarray:
    """[num_rows, columns] float32; an empty field is NaN where it `may_be_empty`. Read by pandas, as OGB reads it."""
    pandas = check_package(f"{path}: a table of numbers", "pandas", error=DatasetNotFoundError)
    parts: list[np.ndarray] = []
    num_columns, line = 0, 0
    for content in _chunks(path):
        num_columns = num_columns or content.split(b"\n", 1)[0].count(b",") + 1
        num_lines = content.count(b"\n") + (not content.endswith(b"\n"))
        options = {"header": None, "quoting": csv.QUOTE_NONE, "skip_blank_lines": False}
        try:
            if content.count(b",") != num_lines * (num_columns - 1):
                raise ValueError("lines of several lengths")  # pandas would fill up a short one with NaN
            with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is found here
                table = pandas.read_csv(
                    io.BytesIO(content), dtype=np.float32, na_values=[""], keep_default_na=False, **options
                )
            values = table.to_numpy()
            is_bad = np.isinf(values) if may_be_empty else ~np.isfinite(values)
            if values.shape != (num_lines, num_columns) or is_bad.any():
                raise ValueError("not a table of finite numbers")
        except ValueError as error:
            raise _first_bad_line(path, content, line, num_columns, may_be_empty, error) from error
        parts.append(np.ascontiguousarray(values))  # pandas's are column by column, of which products are slow
        line += len(values)
        if line > num_rows:
            break
    if line != num_rows:
        has = f"more than {num_rows}" if line > num_rows else line
        raise DatasetFormatError(path, f"it has {has} lines, but there are {num_rows} {what}")
    return np.concatenate(parts)


def _first_bad_line(
    path: Path, content: bytes, first: int, num_columns: int, may_be_empty: bool, problem: ValueError
) -> DatasetFormatError:
    """The error for the line that `_numbers` could not take, found by going through them one by one."""
    for line, row in enumerate(content.splitlines(), first + 1):
        fields = row.decode("latin1").rstrip("\r").split(",")
        if len(fields) != num_columns:
            return DatasetFormatError(path, f"expected {num_columns} numbers, but there are {len(fields)}", line=line)
        for field in fields:
            try:
                is_number = abs(float(field)) <= _MAX_FLOAT if field or not may_be_empty else True
            except ValueError:
                is_number = False
            if not is_number:
                return DatasetFormatError(path, "expected a finite number", line=line, value=field[:40])
    return DatasetFormatError(path, f"not readable as CSV of numbers: {problem}"[:300])


def _labels(path: Path, num_rows: int, what: str) -> Tensor:
    """int64 [num_rows] where all are classes, -1 where one is unknown; else float32 [num_rows, tasks]."""
    values = _numbers(path, num_rows, what, may_be_empty=True)
    known = values[~np.isnan(values)]
    if values.shape[1] > 1 or (known < 0).any() or (known != np.floor(known)).any():
        return torch.from_numpy(values)
    return torch.from_numpy(np.nan_to_num(values[:, 0], nan=-1).astype(np.int64))


def _one_hot(name: str, x: Tensor | None) -> SparseMatrix:
    if x is None or bool((x < 0).any()) or bool((x != x.floor()).any()):
        raise InputError(f'features: {name} has no columns of categories (integers from 0) for "one_hot".')
    width = x.amax(0).long() + 1
    column = x.long() + (width.cumsum(0) - width)
    n, num_columns = x.shape
    rowptr = torch.arange(n + 1) * num_columns
    return SparseMatrix(rowptr.int(), column.reshape(-1).int(), torch.ones(n * num_columns), (n, int(width.sum())))
