"""Memory of a training: what it will take, whether that is there, and what is kept for the next step."""

from __future__ import annotations

import copy
import ctypes
import math
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from .errors import MemoryLimitError
from .machine import available_memory

LARGE = 1 << 28  # bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # options of mallopt(3)


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within it, what is freed stays with the process for the next request; afterwards all that is free goes back.

    Otherwise glibc's malloc takes each array of 32 MiB or more from the system and gives it back when it is freed, and
    its pages are zeroed anew each time. `fit` does it, but not for graphs of 100,000 nodes or more: what is kept does
    not always fit what is asked for next, and of arrays so large that may double the peak. Where the C library has no
    mallopt, nothing changes.

    >>> with keep_freed_memory():
    ...     pass  # epochs
    """
    libc: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:  # the values that malloc comes to by itself after arrays of 32 MiB
        libc.mallopt(_MMAP_MAX, 65536)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)


def check_fits(argument: str, what: str, num_bytes: int, share: float, remedy: str) -> None:
    """Raise MemoryLimitError if `num_bytes` are more than this share of the memory that is free."""
    free = available_memory()
    if free is not None and num_bytes > share * free:
        raise MemoryLimitError(
            f"{argument}: {what} needs {num_bytes / 2**30:,.2f} GiB, and {free / 2**30:,.2f} GiB are free, of which it "
            f"may take {100 * share:.0f} %; {remedy}"
        )


def check_large(
    argument: str, what: str, num_bytes: int, device: torch.device, remedy: str, share: float = 0.5
) -> None:
    """`check_fits`, before anything is allocated whose size follows from numbers that the caller gives: ids, counts, shapes.

    Of arrays on the CPU so large that asking the system takes no time beside.
    """
    if num_bytes >= LARGE and device.type == "cpu":
        check_fits(argument, what, num_bytes, share, remedy)


def large_empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor on the CPU to be filled: in memory, or of more than a quarter of what is free in a temporary file."""
    free = available_memory()
    if free is None or math.prod(shape) * dtype.itemsize <= free // 4:
        return torch.empty(shape, dtype=dtype)
    with tempfile.NamedTemporaryFile(prefix="gcnlab-") as file:  # the mapping lives on when the name is gone
        file.truncate(math.prod(shape) * dtype.itemsize)
        return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=dtype).view(shape)


def estimate_step(model: nn.Module, *arguments: Any) -> int:
    """Bytes that one training step of the model holds at its peak: its arguments, weights, gradients, Adam, the rest.

    The step runs on torch's "meta" tensors, which have shapes but no memory, and what each operator makes is counted
    until it is freed. What an operator allocates for itself inside is not seen.
    """

    def to_meta(value: Any) -> Any:
        if isinstance(value, Tensor):  # a leaf: a derivative that goes on to the real one would want its memory
            return value.detach().to("meta").requires_grad_(value.requires_grad)
        return value.to("meta") if hasattr(value, "to") else value

    model = copy.deepcopy(model).to("meta").train()
    inputs = tree_map(to_meta, list(arguments))  # of a SparseMatrix, too, each tensor
    counter = _Counter()
    for tensor in tree_iter([inputs, list(model.parameters()), list(model.buffers())]):
        if isinstance(tensor, Tensor):
            counter.add(tensor)
    adam = 2 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    with counter, torch.enable_grad():
        model(*inputs).float().sum().backward()
    return counter.peak + adam


class _Counter(TorchDispatchMode):
    """Bytes of the storages that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, Any] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        self.known[key] = weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        del self.known[key]
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        return out
