"""Propagation made once, before a training that reads the rows of it in batches and no edge: SGC, SIGN, and MLPs.

    X, S X, S² X, ..., S^K X

`hops` makes these matrices, in memory or as plain .npy files that are mapped into memory, and `NodeRows` has them beside
a graph's labels and masks, for `fit` and `predict`. A model is called with the list of the rows of each, as `SIGN` is.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import __version__
from .checkpoint import sha256_of_tensors, tensors_of
from .checks import check_count
from .contracts import check_matrix
from .errors import CorruptFileError, InputError, InputTypeError
from .files import (
    atomic_write,
    check_disk,
    check_fields,
    check_target,
    lock,
    map_array,
    sha256_of,
    write_array,
    write_json,
)
from .generators import generators_kept
from .graph import Graph
from .graph.graph import check_one_graph
from .graph.parts import check_one_split
from .inputs import check_unwritten, own, shared
from .machine import check_devices
from .memory import check_fits, check_large, estimate_step
from .sparse import Features, SparseMatrix
from .sparse.features import check_features_finite

_CHUNK = 1 << 24  # entries of a hop that are made at a time
_FORMAT = "gcnlab hops 1"
_LOAD_BYTES, _LOAD_BYTES_OF_EDGE = 300 << 20, 200  # measured: of OGB's text of features and edges, beside the numbers
EVALUATION_ROWS = 4096  # nodes of a step without gradients


@torch.no_grad()
def hops(x: Features, s: SparseMatrix, num_hops: int, folder: str | PathLike[str] | None = None) -> list[Tensor]:
    """[X, S X, ..., S^K X], each a dense [num_nodes, C] (Wu et al. 2019, equation 8; Frasca et al. 2020, equation 4).

    In a folder hop k is the file `hop_k.npy`, and `hops.json` says of which X and S they are (the sha256 of all their
    bits) and which version of gcnlab made them, with a sha256 of each. Those of another version are made again. A hop is made in chunks of rows and written as it is made, so that the memory it takes does not grow with the graph,
    and has its name only when it is whole. What is there of the same X and S is not made again; its sha256 is compared.

    The tensors of a folder are read-only maps of the files: pages of them are read when they are touched, and are the
    system's to drop. (Writing into one would end the process.)

    Args:
        x: X, float32 or float64, a tensor (which may itself be such a map) or a SparseMatrix.
        s: S [num_nodes, num_nodes] of the same dtype, such as `graph.a_hat`.
        num_hops: K.
        folder: where to keep them; by default they are in memory.

    Raises:
        InputError: the folder holds the hops of another X or S, or its disk has too little room.
        CorruptFileError: one of its files is missing, cut short or changed.
        MemoryLimitError: without a folder they would not fit.

    >>> swap = SparseMatrix.from_dense([[0.0, 2.0], [2.0, 0.0]])
    >>> torch.cat(hops(torch.tensor([[1.0], [0.0]]), swap, 3), 1)
    tensor([[1., 0., 4., 0.],
            [0., 2., 0., 8.]])
    """
    if x is None:
        raise InputError('x: got None; where a graph has no features make them, graph.with_features("degree").x.')
    num_hops = check_count("num_hops", num_hops)
    check_matrix("s", s, x.shape[0], sparse=True)
    if len(x.shape) != 2 or x.dtype not in (torch.float32, torch.float64) or x.dtype != s.dtype:
        raise InputTypeError(
            f"x: got {x.dtype} of shape {tuple(x.shape)} and s of {s.dtype}; expected [num_nodes, C], both float32 or "
            "both float64."
        )
    check_devices(x=x, s=s)
    num_bytes = x.shape[0] * x.shape[1] * s.value.element_size()
    if folder is None:
        if x.device.type == "cpu":  # elsewhere the memory of the CPU is not what they take
            check_fits(
                "x", f"{num_hops + 1} dense matrices of {x.shape[0]:,} x {x.shape[1]:,}", (num_hops + 1) * num_bytes, 0.8,
                "with a folder they are files, and need none.",
            )  # fmt: skip
        found = [x.to_dense() if isinstance(x, SparseMatrix) else x.contiguous()]
        for _ in range(num_hops):
            found.append(s @ found[-1])
        return found
    folder = Path(folder)
    with lock(folder):
        index = _read_index(folder, x, s)
        known = index["sha256"][: num_hops + 1]
        found = [_open(folder / f"hop_{k}.npy", sha256, s.dtype, x.shape) for k, sha256 in enumerate(known)]
        missing = range(len(found), num_hops + 1)
        if missing:
            check_target("folder", folder, is_folder=True)
            check_disk(folder, len(missing) * num_bytes)
        for k in missing:
            path = folder / f"hop_{k}.npy"
            parts = _product(s, found[-1]) if k else _dense(x)
            index["sha256"].append(write_array(path, s.dtype, x.shape, parts))
            write_json(folder / "hops.json", index)
            found.append(map_array(path, s.dtype))
    return found


def _read_index(folder: Path, x: Features, s: SparseMatrix) -> dict[str, Any]:
    """The index, if it is of these inputs and this version; otherwise a fresh one."""
    expected = {
        "format": _FORMAT,
        "gcnlab": __version__,
        "inputs": sha256_of_tensors([*tensors_of(s), *tensors_of(x)]),
        "shape": list(x.shape),
        "dtype": str(s.dtype).removeprefix("torch."),
        "sha256": [],
    }
    path = folder / "hops.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        check_fields(path, found, {"sha256": [str]}, "is not what gcnlab wrote; delete the folder")
    except FileNotFoundError:
        return expected
    except (ValueError, KeyError, TypeError) as problem:
        raise CorruptFileError(path, f"is not what gcnlab wrote ({problem!r}); delete the folder.") from problem
    if {**found, "sha256": [], "gcnlab": __version__} != expected:
        raise InputError(
            f"folder: {folder} holds hops of another X or S (inputs {found.get('inputs')}, here {expected['inputs']}); "
            "give another folder, or delete this one."
        )
    if (version := found.get("gcnlab")) != __version__:
        warnings.warn(f"{folder}: its hops are of gcnlab {version or '1.0'}, and are made again.", stacklevel=4)
        return expected
    return found


def _chunks(num_rows: int, num_columns: int) -> Iterator[slice]:
    size = max(_CHUNK // max(num_columns, 1), 1)
    return (slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size))


def _rows(s: SparseMatrix, rows: slice) -> SparseMatrix:
    """Neighbouring rows of S; columns and values are views."""
    first, last = int(s.rowptr[rows.start]), int(s.rowptr[rows.stop])
    rowptr = s.rowptr[rows.start : rows.stop + 1] - first
    return SparseMatrix(rowptr, s.col[first:last], s.value[first:last], (len(rowptr) - 1, s.shape[1]))


def _dense(x: Features) -> Iterator[Tensor]:
    for rows in _chunks(*x.shape):
        yield _rows(x, rows).to_dense() if isinstance(x, SparseMatrix) else x[rows]


def _product(s: SparseMatrix, h: Tensor) -> Iterator[Tensor]:
    h = h.to(s.device)
    for rows in _chunks(*h.shape):
        yield _rows(s, rows) @ h


def _open(path: Path, sha256: str, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    if not path.exists():
        raise CorruptFileError(path, "is missing, but hops.json beside it lists it; delete the folder.")
    if sha256_of(path) != sha256:
        raise CorruptFileError(path, "does not have the sha256 that hops.json states; delete the folder.")
    array = map_array(path, dtype)
    if array.shape != tuple(shape):
        raise CorruptFileError(path, f"has shape {list(array.shape)}, expected {list(shape)}; delete the folder.")
    return array


class NodeRows:
    """The nodes of a graph as rows to train on in batches, their features made beforehand, in memory or on disk.

    With `label_hops` the labels of training nodes are features too (Wang et al. 2021, "Bag of Tricks for Node
    Classification with Graph Neural Networks", section 3.1; propagated, as the features are):

        a training epoch draws half L of the training nodes, reads S Y_L, ..., S^J Y_L beside the features, Y_L one-hot
        rows at L and zero elsewhere, and learns from the other half: no label reaches the input of its own loss;
        validation and prediction read those of all training nodes, and with `reuse` again, as often as it says, with
        the softmax of the last outputs as the rows of the other nodes.

    Labels of validation and test nodes are never in an input. The outputs at training nodes have read these nodes' own
    labels where S has loops or a neighbour leads back: they are no measure of a model, and their errors are small.

    Args:
        graph: with y, train_mask, and val_mask where something selects. Its x is not read.
        features: one or more dense [num_nodes, C_k], such as `hops` gives.
        operator: S of the label hops; by default `graph.a_hat`.
        label_hops: J; 0 keeps labels out of the inputs.
        reuse: how often predictions are read as labels.

    Raises InputError where the graph, features or operator do not fit each other.

    >>> from gcnlab import load
    >>> karate = load("karate")
    >>> rows = NodeRows(karate, hops(torch.eye(34), karate.a_hat, 2), label_hops=1)
    >>> rows.widths
    [34, 34, 34, 2]
    """

    def __init__(
        self,
        graph: Graph,
        features: Sequence[Tensor],
        operator: SparseMatrix | None = None,
        label_hops: int = 0,
        reuse: int = 0,
    ) -> None:
        graph = check_one_graph("graph", graph)
        check_one_split("graph", graph)
        if graph.y is None or graph.train_mask is None:
            raise InputError("graph: has no y or no train_mask, which say what to learn, and from which nodes.")
        if isinstance(features, Tensor) or not len(features):
            raise InputError(
                "features: got no list of matrices; expected one or more [num_nodes, C], such as hops(...)."
            )
        for k, f in enumerate(features):
            if not isinstance(f, Tensor):
                raise InputTypeError(
                    f"features: number {k} is a {type(f).__name__}, expected a dense tensor, such as hops(graph.x, ...) gives."
                )
            if f.dim() != 2 or len(f) != graph.num_nodes or f.dtype != features[0].dtype:
                raise InputError(
                    f"features: number {k} is {f.dtype} of shape {tuple(f.shape)}, expected {features[0].dtype} "
                    f"[{graph.num_nodes}, C]."
                )
        self.graph, self._features = graph, [own(f) if f.is_inference() else f for f in features]
        self._shared = [shared(f) for f in self._features]
        self.label_hops, self.reuse = check_count("label_hops", label_hops), check_count("reuse", reuse)
        self.train_ids = graph.train_mask.nonzero().squeeze(1).cpu()
        self.operator = operator
        if label_hops:
            self.operator = graph.a_hat if operator is None else operator
            check_matrix("operator", self.operator, graph.num_nodes, sparse=True)
            if graph.y.dim() != 1 or graph.y.is_floating_point() or len(self.train_ids) < 2:
                raise InputError("label_hops: take one class a node, and 2 training nodes at least.")
            num_bytes = (2 * self.label_hops + 1) * 4 * graph.num_nodes * graph.num_classes
            what = f"{self.label_hops} label hops of {graph.num_nodes:,} nodes and {graph.num_classes:,} classes"
            check_large("label_hops", what, num_bytes, graph.device, "number the classes that there are from 0.")
        elif reuse:
            raise InputError(f"reuse: got {reuse}, but with label_hops=0 no label is an input.")

    def __repr__(self) -> str:
        return f"NodeRows({self.graph.num_nodes} nodes, inputs of {', '.join(map(str, self.widths))} columns)"

    @property
    def features(self) -> list[Tensor]:
        """What was given, [num_nodes, C_k] each."""
        for k, f in enumerate(self._features):
            check_unwritten(f"features[{k}]", f, self._shared[k])
        return self._features

    @property
    def widths(self) -> list[int]:
        """The number of columns of each input, as `SIGN` takes them."""
        return [f.shape[1] for f in self.features] + [self.graph.num_classes] * self.label_hops

    @torch.no_grad()
    def labels(self, known: Tensor, guess: Tensor | None = None) -> list[Tensor]:
        """S Y, ..., S^J Y, each [num_nodes, num_classes]; Y are the labels at the ids `known`, elsewhere the guess or 0."""
        if not self.label_hops:
            return []
        assert self.graph.y is not None
        assert self.operator is not None
        known = known.to(self.graph.device)
        if guess is None:
            h = self.features[0].new_zeros(self.graph.num_nodes, self.graph.num_classes, device=known.device)
        else:
            h = guess.clone()
        h[known] = F.one_hot(self.graph.y[known], self.graph.num_classes).to(h)
        found = []
        for _ in range(self.label_hops):
            h = self.operator @ h
            found.append(h)
        return found

    def inputs(self, ids: Tensor, labels: Sequence[Tensor] = ()) -> list[Tensor]:
        """The rows of each feature matrix, and of the label hops, on the graph's device."""
        device = self.graph.device
        return [f[ids.to(f.device)].to(device) for f in (*self.features, *labels)]

    def check_finite(self) -> None:
        """Raise InputError if a feature is NaN or infinite; reads a part at a time."""
        for k, f in enumerate(self.features):
            for rows in _chunks(*f.shape):
                check_features_finite(f[rows], f"features: number {k}, rows from {rows.start} on")


@dataclass(frozen=True)
class Plan:
    """What a training on `hops` takes, told before anything is read.

    Attributes:
        disk_bytes: the files of the hops.
        load_bytes: while OGB's files are read for the first time, the most at a time.
        graph_bytes: A, S and X, which stay.
        train_bytes: beside those, the most at a time of making hops, training, predicting, and Correct & Smooth, as
            counted array by array; a heap with gaps takes up to half as much again. The pages of the files are not in
            it: they are the system's to drop.
        hop_seconds: of making and writing the hops.
        epoch_seconds: of a training epoch with its validation.
        predict_seconds: of predicting every node.
        smooth_seconds: of Correct & Smooth, 50 iterations each.
    """

    disk_bytes: int
    load_bytes: int
    graph_bytes: int
    train_bytes: int
    hop_seconds: float
    epoch_seconds: float
    predict_seconds: float
    smooth_seconds: float

    def __str__(self) -> str:
        gib = {
            "hops on disk": self.disk_bytes, "memory to read OGB's files": self.load_bytes,
            "memory of graph and features": self.graph_bytes, "memory beside them": self.train_bytes,
        }  # fmt: skip
        seconds = {
            "making the hops": self.hop_seconds, "an epoch": self.epoch_seconds,
            "predicting all nodes": self.predict_seconds, "Correct & Smooth": self.smooth_seconds,
        }  # fmt: skip
        return "\n".join(
            [
                *(f"{name:<30} {value / 2**30:9.2f} GiB" for name, value in gib.items()),
                *(f"{name:<30} {value:9.1f} s" for name, value in seconds.items()),
            ]
        )


@generators_kept()
def plan(
    model: nn.Module, counts: Mapping[str, int], num_hops: int, label_hops: int, reuse: int, batch_size: int
) -> Plan:
    """Bytes by counting what is held at a time, seconds by timing a small part of each kind of work here and now.

    Products read rows at random, hops are hashed and written, and steps of the model are taken, of made-up numbers, with
    torch's present number of threads; it takes seconds. What the timed parts leave out (sorting of the ids, gathering the
    rows from files that are in memory) is small beside them; rows of files that are larger than the memory are not.

    Args:
        model: called with a list of num_hops + 1 matrices of features and label_hops of classes, as `SIGN` is.
        counts: nodes, listed_edges (each for two directions), features, classes, train, val: as in `data.catalog()`.
        num_hops: K.
        label_hops, reuse: as `NodeRows` takes them.
        batch_size: as `fit` takes it.
    """
    num_hops, label_hops = check_count("num_hops", num_hops), check_count("label_hops", label_hops)
    reuse, batch_size = check_count("reuse", reuse), check_count("batch_size", batch_size, 1)
    n, f, c = counts["nodes"], counts["features"], counts["classes"]
    num_edges = 2 * counts["listed_edges"]
    matrix, scores = 4 * (n + 1) + 8 * num_edges, 4 * n * c
    widths = [f] * (num_hops + 1) + [c] * label_hops
    learned = counts["train"] - counts["train"] // 2 * bool(label_hops)
    step = estimate_step(model, [torch.empty(batch_size, width, device="meta") for width in widths])

    per_label_hop = _seconds_of_product(n, num_edges, c)
    per_hop = _seconds_of_product(n, num_edges + n, f)
    per_byte = _seconds_of_writing()
    train_row, row = (_seconds_of_row(model, widths, batch_size, training) for training in (True, False))
    return Plan(
        disk_bytes=(num_hops + 1) * 4 * n * f,
        load_bytes=max(8 * n * f + _LOAD_BYTES, 4 * n * f + _LOAD_BYTES_OF_EDGE * counts["listed_edges"]),
        graph_bytes=2 * matrix + 8 * n + 4 * n * f + 11 * n,  # S has n entries more; y and three masks
        train_bytes=max(
            8 * min(_CHUNK, n * f),
            (2 * label_hops + bool(label_hops)) * scores + step,
            matrix + 7 * scores,  # S without loops, and what `correct_and_smooth` holds
        ),
        hop_seconds=num_hops * per_hop + (num_hops + 2) * 4 * n * f * per_byte,  # the inputs are hashed too
        epoch_seconds=learned * train_row + counts["val"] * row + label_hops * per_label_hop,
        predict_seconds=(reuse + 1) * (n * row + label_hops * per_label_hop),
        smooth_seconds=100 * per_label_hop,
    )


def _seconds(call: Callable[[], Any]) -> float:
    """The shorter of two runs, after one that does not count."""
    call()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _seconds_of_product(num_nodes: int, num_entries: int, num_columns: int) -> float:
    """S x of so many entries and columns, from a part of the rows that reads an x larger than the caches."""
    sources = min(num_nodes, (1 << 25) // max(num_columns, 1))
    degree = max(num_entries // num_nodes, 1)
    rows = max(min(num_nodes, (1 << 20) // degree), 1)
    rowptr = torch.arange(rows + 1, dtype=torch.int32) * degree
    generator = torch.Generator().manual_seed(0)
    col = torch.randint(sources, (rows * degree,), dtype=torch.int32, generator=generator)
    s = SparseMatrix(rowptr, col, torch.ones(rows * degree), (rows, sources))
    x = torch.ones(sources, num_columns)
    return _seconds(lambda: s @ x) * num_entries / (rows * degree)


def _seconds_of_writing() -> float:
    """Hashing a byte and writing it to the disk of temporary files."""
    content = bytes(1 << 25)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder, atomic_write(f"{folder}/probe") as file:
            hashlib.sha256(content)
            file.write(content)

    return _seconds(write) / len(content)


def _seconds_of_row(model: nn.Module, widths: Sequence[int], batch_size: int, training: bool) -> float:
    """A row of a step, with its gradients in training."""
    model = copy.deepcopy(model).train(training)
    xs = [torch.ones(batch_size, width) for width in widths]

    def step() -> None:
        with torch.set_grad_enabled(training):
            out = model(xs)
            if training:
                out.sum().backward()

    return _seconds(step) / batch_size
