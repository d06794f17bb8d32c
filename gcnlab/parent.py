"""A process ends with the one that started it, however that one ends: no orphan waits, or trains for nobody.

It imports nothing but the standard library, so that a worker is under watch before it imports torch, which takes seconds.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

VARIABLE = "GCNLAB_PARENT"


@functools.cache
def end_with(parent: int) -> None:
    """End this process within a second of its parent, whose process number this is.

    On Linux the kernel does it, even while this process is stopped. A thread looks as well, since the parent may have
    ended before; on other systems there is only the thread.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    left = threading.Event()
    thread = threading.Thread(target=_watch, args=(parent, left), name="gcnlab parent", daemon=True)
    thread.start()
    atexit.register(thread.join)  # after the next line: no thread wakes up in an interpreter that is gone
    atexit.register(left.set)


def _watch(parent: int, left: threading.Event) -> None:
    is_there = _presence(parent)
    while is_there():
        if left.wait(0.25):
            return
    os._exit(1)


if sys.platform == "win32":  # where a process keeps the number of a parent that is gone
    import _winapi

    def _presence(parent: int) -> Callable[[], bool]:
        try:
            handle = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, parent)
        except OSError:
            return lambda: False
        return lambda: _winapi.WaitForSingleObject(handle, 0) == _winapi.WAIT_TIMEOUT
else:

    def _presence(parent: int) -> Callable[[], bool]:
        """Says whether the parent is there."""
        return lambda: os.getppid() == parent


@contextmanager
def told() -> Iterator[None]:
    """Processes that are started in the block end with this one from the moment when they import gcnlab."""
    os.environ[VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


if os.environ.get(VARIABLE) == str(os.getppid()):  # else it was told to a process between that one and this
    end_with(int(os.environ.pop(VARIABLE)))
