"""Memory of a training: how it is taken from the system, and what is kept for the next step."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # options of mallopt(3)


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within it, what is freed stays with the process for the next request; afterwards all that is free goes back.

    Otherwise glibc's malloc takes each array of 32 MiB or more from the system and gives it back when it is freed, and
    each epoch's pages are zeroed anew. `fit` does it; a loop of one's own may. Where the C library has no mallopt,
    nothing changes.

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
