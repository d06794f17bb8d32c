"""Random number generators: their seed and state, and whose turn it is to draw.

Those of torch, numpy and Python belong to the process, and all of its threads draw from them.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

_LONGEST_WAIT = 10.0  # seconds; a module may be made by a thread that itself waits for this one


class _Turn:
    """Whose turn it is to draw: one thread's at a time, which may ask again while it is."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waiting: set[int] = set()  # threads

    def __enter__(self) -> None:
        thread = threading.get_ident()
        self.waiting.add(thread)
        self.lock.acquire()
        self.waiting.discard(thread)

    def __exit__(self, *_: object) -> None:
        self.lock.release()


_turn = _Turn()
_is_hooked = False


def _renew_turn() -> None:
    global _turn
    _turn = _Turn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_turn)  # the thread whose turn it is does not live on in a fork


@contextmanager
def generators_kept(seed: int | None = None) -> Iterator[None]:
    """Leave every random number generator in the state it was found in, also after an error; a decorator, too.

    A function that seeds or draws for its own purposes does so within this block, since the caller's draws are not its
    business: else a loop over it would give the caller the same "random" numbers each time.

    One thread at a time is within such a block, since all draw from the same generators; the others wait at its start.

    Args:
        seed: what the generators start from within the block; None lets them go on.
    """
    with _turn:
        before = rng_state()
        try:
            if seed is not None:
                set_seed(seed)
            yield
        finally:
            set_rng_state(before)


@contextmanager
def generators_alone() -> Iterator[None]:
    """Let no other thread be within this block or `generators_kept`, nor make a module, whose first values are drawn."""
    global _is_hooked
    with _turn:
        if not _is_hooked:  # for good: a thread that waits in a hook does not outlive its removal
            register_module_parameter_registration_hook(_take_turn)
            _is_hooked = True
        _wait_for_makers()
        yield


def _take_turn(*_: Any) -> None:
    with _turn:
        pass


def _wait_for_makers() -> None:
    """Wait until no other thread is within the making of a module: past its turn, it may still draw first values."""
    own, until = threading.get_ident(), time.monotonic() + _LONGEST_WAIT
    while threading.active_count() > 1 and time.monotonic() < until:
        others = sys._current_frames().items()
        if not any(_makes_a_module(frame) for thread, frame in others if thread not in (own, *_turn.waiting)):
            return
        time.sleep(1e-4)


def _makes_a_module(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in ("__init__", "reset_parameters") and isinstance(
            frame.f_locals.get("self"), nn.Module
        ):
            return True
        frame = frame.f_back
    return False


def set_seed(seed: int) -> None:
    """Start every random number generator in use (torch, CUDA, MPS, Python, numpy) from `seed`, below 2**63."""
    import numpy

    # torch.manual_seed would also seed a CUDA that is not in use yet, and that could not be undone.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # noqa: NPY002 (the global generator, which takes no more bits)


def rng_state() -> dict[str, Any]:
    """The state of every random number generator in use (torch, CUDA, MPS, Python, numpy), as values and tensors."""
    import numpy

    state: Any = numpy.random.get_state()  # noqa: NPY002 (the global generator, which callers may use)
    kind, keys, position, has_gauss, cached = state
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype("int64")), int(position), int(has_gauss), float(cached)],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put every generator back to a state of `rng_state`."""
    import numpy

    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_initialized():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    if state.get("mps") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, *rest = state["numpy"]
    if not 0 <= position <= 624:  # numpy would read from there, and the process may end
        raise ValueError(f"the state of numpy is at word {position} of 624")
    numpy.random.set_state((kind, keys.numpy().astype("uint32"), position, *rest))  # noqa: NPY002
