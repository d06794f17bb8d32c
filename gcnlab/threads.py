"""How many CPU threads a step is worth, whose number wins, and how threads wait for each other.

The number follows from the work of a step alone, never from a clock or the load of the machine: equal settings repeat to
the bit. How threads wait follows the load, since it changes no number. OpenMP's threads spin between two products, which
saves the 50 µs that waking a core takes; but where another process has one of the cores, each product then waits for a
thread that does not run, and an epoch takes up to eight times as long.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .checks import check_workers
from .machine import usable_cores, warn_caller

# -- the work of a step -----------------------------------------------------------------------------------------------

# In multiply-adds of a dense product, fitted to steps of one thread (forward, backward, Adam) with AVX-512: 0.06 ns each.
_SPARSE = 12  # one of a sparse product
_PASS = 6  # a pass over an array, per value
WORK_PER_THREAD = 3_000_000  # per weight: between two barriers less would be waited for as long as it takes


class Step(NamedTuple):
    """What a step reads, as far as it is known without making one.

    Attributes:
        rows: that a matrix of weights multiplies: nodes; of a CNN, images.
        features: columns of X.
        stored: values of X that are stored; fewer than rows * features where X is sparse.
        entries: of the matrix between two layers, the largest one.
        sites: where a kernel is applied, and a norm: pixels of all images; nodes.
    """

    rows: float
    features: int
    stored: float
    entries: float
    sites: float

    @staticmethod
    def on(x: Any, operator: Any, share: float = 1.0) -> Step:
        """On `share` of the rows of X [num_rows, F], dense or sparse, and of the entries of an operator or of a list of them."""
        rows, features = x.shape
        entries = max(map(_entries, operator if isinstance(operator, (list, tuple)) else [operator]), default=0)
        stored = getattr(x, "nnz", rows * features)
        return Step(share * rows, features, share * stored, share * entries, share * rows)


def _entries(operator: Any) -> float:
    """0 for an operator of someone else's that does not say; those of a dense one as far as they take a sparse one's time."""
    if not isinstance(operator, torch.Tensor):
        return float(getattr(operator, "nnz", 0))
    if operator.layout == torch.strided:
        return operator.numel() / _SPARSE
    return (operator._values() if operator.layout == torch.sparse_coo else operator.values()).numel()


def work_of(model: nn.Module, step: Step, num_seeds: int = 1) -> float:
    """Work of a training step per weight, in multiply-adds of a dense product: what there is to share between two barriers.

        (sum_W rows |W| + 12 (stored |W_1| / F + entries sum_W min(in, out)) + 6 sites sum_b |b|) num_seeds / (#W + #b)

    with weights W of two dimensions or more and b of one; W_1 are those of fan-in F, the first ones, where X is sparse.
    For any module: its parameters stand for its layers, each of which is a product or pass.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    weights = [p for p in model.parameters() if not is_lazy(p) and id(p) not in embeddings]
    is_sparse = step.stored < step.rows * step.features
    work = 0.0
    for weight in weights:
        size = weight.numel()
        if weight.dim() < 2:
            work += _PASS * step.sites * size
            continue
        work += _SPARSE * step.entries * min(weight.shape[-2:])
        if is_sparse and step.features in weight.shape:
            work += _SPARSE * step.stored * size / step.features
        else:
            work += (step.rows if weight.dim() == 2 else step.sites) * size
    return work * num_seeds / max(len(weights), 1)


# -- whose number it is -----------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """A number of threads that the user chose, and how: "threads", or the name of the variable or function."""

    number: int
    by: str


VARIABLES = ("MKL_NUM_THREADS", "OMP_NUM_THREADS")  # where both are set, torch follows the first
_AT_IMPORT = torch.get_num_threads()
_SHARE = "GCNLAB_SHARE_OF_THREADS"  # the number that `shared_out` set, where it is not a user's
_IS_TORCHS_OWN = usable_cores() / 2 <= _AT_IMPORT or _SHARE in os.environ  # MKL counts two hyperthreads as one core
_asked: ContextVar[int | None] = ContextVar("asked", default=None)  # what gcnlab was asked for
# torch's number before gcnlab changed it, and since
_changed: ContextVar[tuple[int, int] | None] = ContextVar("changed", default=None)
_waits: ContextVar[Waits | None] = ContextVar("waits", default=None)  # those of `chosen`
_checked: set[Told | str] = set()  # settings, each of which is looked at once


def users_number() -> Told | None:
    """The number that the user chose, or None where gcnlab may choose.

    `torch.set_num_threads(n)` with the number that torch has by itself cannot be told from no choice, nor can one before
    the import of gcnlab with half of the cores or more, which is then the most that gcnlab takes: OMP_NUM_THREADS can.
    """
    if (asked := _asked.get()) is not None:
        return Told(asked, "threads")
    if (number := _torchs_number()) != _AT_IMPORT:
        return Told(number, "torch.set_num_threads")
    for name in VARIABLES:
        if (value := variable(name)) is not None and os.environ.get(_SHARE) != os.environ[name]:
            return Told(value, name)
    return None if _IS_TORCHS_OWN else Told(number, "torch.set_num_threads")


def _torchs_number() -> int:
    """torch's number as it is without what gcnlab changed."""
    now, changed = torch.get_num_threads(), _changed.get()
    return changed[0] if changed is not None and now == changed[1] else now


def variable(name: str) -> int | None:
    """The number of threads that an environment variable says; None where it says none. (Those of nested loops follow it.)"""
    found = re.fullmatch(r"\s*([1-9]\d{0,8})\s*(,\s*[1-9]\d*\s*)*", os.environ.get(name, ""))
    return int(found[1]) if found else None


def number_for(work: float | None) -> int:
    """The user's number; else one thread for each `WORK_PER_THREAD`, at least 1, and at most the usable cores and torch's number.

    Args:
        work: `work_of` a step; None where it is not known, which gets the most.
    """
    if (told := users_number()) is not None:
        return told.number
    if work is not None and work < 2 * WORK_PER_THREAD:  # the cores are in files, and a prediction may take 0.1 ms
        return 1
    most = min(usable_cores(), _torchs_number())
    return most if work is None else min(most, int(work // WORK_PER_THREAD))


def _check_settings() -> None:
    """Warn, once for each, of a user's number above the usable cores, and of a variable that says none.

    Raises InputError for more than can be started.
    """
    told = users_number()
    for name in VARIABLES if told is None else ():
        if os.environ.get(name) and name not in _checked:
            _checked.add(name)
            warn_caller(
                f"{name}: is {os.environ[name]!r}, which is no number of threads, and is not followed; unset it."
            )
    if told is None or told in _checked:
        return
    check_workers(told.by, told.number)
    _checked.add(told)
    if told.number <= (cores := usable_cores()):
        return
    set_to = {"threads": f"pass threads={cores}", "torch.set_num_threads": f"call torch.set_num_threads({cores})"}
    warn_caller(
        f"{told.by}: got {told.number} threads, but this process may use {cores} core{'s' * (cores > 1)}, and they wait "
        f"for each other; {set_to.get(told.by, f'export {told.by}={cores}')}."
    )


@contextmanager
def exactly(threads: int | None) -> Iterator[None]:
    """Within the block torch and gcnlab take exactly so many threads; None leaves the choice as it is.

    Raises InputError for a number below 1, or of more than can be started; warns of more than usable cores.
    """
    if threads is None:
        yield
        return
    token = _asked.set(number := check_workers("threads", threads))
    try:
        _check_settings()
        with _torch_takes(number):
            yield
    finally:
        _asked.reset(token)


@contextmanager
def shared_out(num_processes: int) -> Iterator[None]:
    """Processes that start within the block take their share of the user's number; without one, at most of all threads."""
    told = users_number()
    total = min(_torchs_number(), usable_cores()) if told is None else told.number
    share = str(max(1, total // num_processes))
    changes = {"OMP_NUM_THREADS": share, "MKL_NUM_THREADS": None, _SHARE: share if told is None else None}
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set_variables(changes)
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _torch_takes(number: int) -> Iterator[None]:
    """torch's number within the block, in this thread of Python: others that start meanwhile get what it was."""
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    without_us = _torchs_number()
    token = _changed.set((without_us, number))
    try:
        torch.set_num_threads(number)
        # A new thread takes the number that any thread has set last.
        last = threading.Thread(target=torch.set_num_threads, args=(without_us,))
        last.start()
        last.join()
        yield
    finally:
        torch.set_num_threads(before)
        _changed.reset(token)


@contextmanager
def chosen(work: float | None, device: str) -> Iterator[Waits]:
    """Within the block torch takes the number of threads that `number_for` gives; for a model on a GPU it keeps its own.

    Warns of a user's number that cannot be meant, and raises InputError for one of more threads than can be started.

    >>> with chosen(work=1e6, device="cpu") as waits:
    ...     waits.look()  # between two steps
    """
    _check_settings()
    number = number_for(work) if device == "cpu" else torch.get_num_threads()
    with _torch_takes(number):
        waits = Waits(number)
        token = _waits.set(waits)
        try:
            yield waits
        finally:
            _waits.reset(token)
            waits.end()


def look() -> None:
    """`Waits.look` of the innermost block of `chosen`, if there is one."""
    if (waits := _waits.get()) is not None:
        waits.look()


# -- how they wait ----------------------------------------------------------------------------------------------------

LOOK_EVERY = 0.05  # seconds
# Seconds in which threads waited for a core, per second: below 0.01 on a quiet machine, above 0.13 beside another process.
BUSY = 0.05
OWN_TASKS = Path("/proc/self/task")
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # by which a user says how to wait


def waited_for_cores(tasks: Path = OWN_TASKS) -> dict[str, int]:
    """Nanoseconds that each thread of this process has waited for a core so far; {} where the system does not tell."""
    found = {}
    try:
        for task in os.listdir(tasks):
            try:
                with open(tasks / task / "schedstat") as file:
                    found[task] = int(file.read().split()[1])
            except (ProcessLookupError, FileNotFoundError):  # it has ended
                continue
    except (OSError, ValueError, IndexError):
        return {}
    return found


def can_give_way() -> bool:
    """Whether waits can follow the load: libgomp has them, the system tells the load, and the user chose no policy."""
    return not any(os.environ.get(name) for name in POLICIES) and _has_libgomp() and bool(waited_for_cores())


@functools.cache
def _has_libgomp() -> bool:
    try:
        return "libgomp" in Path("/proc/self/maps").read_text()
    except OSError:
        return False


class Waits:
    """How a team of threads waits at its barriers: spinning, or giving way while other processes want its cores.

    libgomp gives way after 100 turns instead of 300,000 while there are more threads of OpenMP than cores. So another
    thread runs one operation with a team of its own, and is parked: its team counts, and takes no time.

    Args:
        number: threads of the team.

    Attributes:
        gives_way: whether it does now.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._parked: _Parked | None = None
        self._seen = waited_for_cores() if number > 1 and can_give_way() else {}
        self._time = time.perf_counter()
        self._due = self._time + LOOK_EVERY if self._seen else float("inf")

    @property
    def gives_way(self) -> bool:
        return self._parked is not None

    def look(self) -> None:
        """Where it is due, follow the load. Between steps; takes 0.1 µs where it is not due, and 0.1 ms where it is."""
        if time.perf_counter() < self._due:
            return
        seen, now = waited_for_cores(), time.perf_counter()
        waited = sum(max(value - self._seen.get(task, 0), 0) for task, value in seen.items())
        is_busy = 1e-9 * waited > BUSY * (now - self._time)
        self._seen, self._time, self._due = seen, now, now + LOOK_EVERY
        if is_busy and self._parked is None:
            self._parked = _Parked(self.number)
        elif not is_busy:
            self.end()

    def end(self) -> None:
        if self._parked is not None:
            self._parked.end()
            self._parked = None


class _Parked:
    """A thread that holds a team of OpenMP's, so large that with a team of `number` they are more than the cores."""

    def __init__(self, number: int) -> None:
        cores = len(os.sched_getaffinity(0))
        self._size, self._others = max(2, cores - number + 2), _torchs_number()
        self._is_there, self._may_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, name="gcnlab: waits give way", daemon=True)
        self._thread.start()
        self._is_there.wait()

    def _hold(self) -> None:
        try:
            torch.set_num_threads(self._size)
            torch.zeros(self._size << 15, dtype=torch.int8, device="cpu").add_(1)  # torch gives each thread 2^15 values
            torch.set_num_threads(self._others)
        finally:
            self._is_there.set()
        self._may_go.wait()

    def end(self) -> None:
        self._may_go.set()
        self._thread.join()
