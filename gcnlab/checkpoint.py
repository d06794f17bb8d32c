"""Checkpoints: plain arrays with a JSON header and their own sha256 (`files`), never pickle.

A checkpoint holds the weights under `model/`, with a leading dimension of one entry a seed, and, while training goes
on, everything that an exact continuation needs under `training/`.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from .errors import CheckpointCorruptError, CheckpointMismatchError, InputTypeError
from .files import bytes_of, read_arrays, write_arrays

KIND = "gcnlab checkpoint"
_GENERATORS = threading.RLock()  # those of torch, numpy and Python are the process's: its threads take turns
_is_hooked = False


def write_checkpoint(
    path: str | PathLike[str], header: Mapping[str, Any], model: Mapping[str, Tensor], training: Any = None
) -> None:
    """Write the stacked weights `model`, a JSON-able header, and any nesting of tensors and plain values, atomically."""
    arrays = {f"model/{name}": tensor for name, tensor in model.items()}
    packed = _pack(training, arrays, "training")
    write_arrays(path, {**header, "kind": KIND, "training": packed}, arrays)


def read_checkpoint(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
    """(header, stacked weights, training state or None) of a file of `write_checkpoint`.

    Raises:
        CheckpointCorruptError: a byte is missing or changed, or the file is no checkpoint.
        FileNotFoundError: there is no such file.
    """
    header, arrays = read_arrays(path, CheckpointCorruptError)
    if header.get("kind") != KIND:
        raise CheckpointCorruptError(path, "is a file of gcnlab's arrays, but not a checkpoint")
    model = {name.removeprefix("model/"): tensor for name, tensor in arrays.items() if name.startswith("model/")}
    try:
        return header, model, _unpack(header.pop("training"), arrays)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as problem:  # whole, but made otherwise
        raise CheckpointCorruptError(path, f"its training state cannot be read: {problem!r}") from problem


def check_settings(path: str | PathLike[str], found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointMismatchError with every setting that differs."""
    problems = [
        f"{key}: {found.get(key)!r} in the file, {expected.get(key)!r} here"
        for key in dict.fromkeys([*expected, *found])
        if found.get(key) != expected.get(key)
    ]
    if problems:
        raise CheckpointMismatchError(
            f"{path}: is of another training ({'; '.join(problems)}). Resume with what it was made with, or start anew."
        )


def check_state(path: str | PathLike[str], found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointMismatchError with every difference in names, shapes and dtypes, and every weight not finite."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not in the model" for name in found if name not in expected]
    for name in found.keys() & expected.keys():
        a, b = found[name], expected[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            problems.append(f"{name} is {tuple(a.shape)} {a.dtype}, the model has {tuple(b.shape)} {b.dtype}")
        elif a.is_floating_point() and not bool(torch.isfinite(a).all()):
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        raise CheckpointMismatchError(f"{path}: does not fit the model: {'; '.join(sorted(problems))}.")


def describe(model: nn.Module) -> dict[str, Any]:
    """The model's class and, where it states one, the `config` that makes another like it."""
    return {"class": type(model).__name__, "config": getattr(model, "config", None)}


def sha256_of_tensors(tensors: Iterable[Tensor | None]) -> str:
    """sha256 of the shapes and bytes of tensors, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{None if tensor is None else (tensor.dtype, *tensor.shape)}\n".encode())
        if tensor is not None:
            digest.update(bytes_of(tensor))
    return digest.hexdigest()


@contextmanager
def generators_kept(seed: int | None = None) -> Iterator[None]:
    """Leave every random number generator in the state it was found in, also after an error; a decorator, too.

    A function that seeds or draws for its own purposes does so within this block, since the caller's draws are not its
    business: else a loop over it would give the caller the same "random" numbers each time.

    One thread at a time is within such a block, since all draw from the same generators; the others wait at its start.

    Args:
        seed: what the generators start from within the block; None lets them go on.
    """
    with _GENERATORS:
        before = rng_state()
        try:
            if seed is not None:
                set_seed(seed)
            yield
        finally:
            set_rng_state(before)


def _renew_lock() -> None:
    global _GENERATORS
    _GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # the thread that holds it does not live on in a fork


@contextmanager
def generators_alone() -> Iterator[None]:
    """Let no other thread be within this block or `generators_kept`, nor make a module, whose first values are drawn."""
    global _is_hooked
    with _GENERATORS:
        if not _is_hooked:  # for good: a thread that waits in a hook does not outlive its removal
            register_module_parameter_registration_hook(_take_turn)
            _is_hooked = True
        yield


def _take_turn(*_: Any) -> None:
    with _GENERATORS:
        pass


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
    kind, keys, *rest = state["numpy"]
    numpy.random.set_state((kind, keys.numpy().astype("uint32"), *rest))  # noqa: NPY002


def _pack(value: Any, arrays: dict[str, Tensor], key: str) -> Any:
    """`value` with each tensor moved to `arrays` and each dict as pairs, so that JSON keeps integer keys."""
    if isinstance(value, Tensor):
        arrays[key] = value
        return {"tensor": key}
    if isinstance(value, Mapping):
        return {"dict": [[name, _pack(item, arrays, f"{key}/{name}")] for name, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_pack(item, arrays, f"{key}/{i}") for i, item in enumerate(value)]}
    if not isinstance(value, (str, int, float, type(None))):
        raise InputTypeError(f"{key}: is a {type(value).__name__}, which a checkpoint cannot hold; make it a tensor.")
    return {"plain": value}


def _unpack(packed: Any, arrays: Mapping[str, Tensor]) -> Any:
    ((kind, value),) = packed.items()
    if kind == "tensor":
        return arrays[value].clone()
    if kind == "dict":
        return {name: _unpack(item, arrays) for name, item in value}
    return [_unpack(item, arrays) for item in value] if kind == "list" else value
