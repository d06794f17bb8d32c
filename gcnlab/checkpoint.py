"""Checkpoints: safetensors with a JSON header and their own sha256 (`files`), never pickle.

A checkpoint holds the weights under `model/`, with a leading dimension of one entry a seed, and, while training goes
on, everything that an exact continuation needs under `training/`.

What is stored belongs to the data that it was made from, and says which by a digest. There are two: `digest_of` sees
every bit, for data that files give (the lines of `compare` and of the folds, results, the index of `precompute.hops`);
`Digest` tolerates rounding, for data that may have been computed on another machine (trainings to resume).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .contracts import config_of
from .errors import CheckpointCorruptError, CheckpointMismatchError, GcnlabError, InputTypeError
from .files import bytes_of, check_fields, read_arrays, write_arrays
from .sparse import SparseMatrix

KIND = "gcnlab checkpoint"
_PART = 1 << 14  # values of a sum of `Digest`
_ROUNDING = 2.0**-17


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


_TRAINING = {
    "current": dict, "optimizer": dict, "callbacks": list, "rng": dict, "num_steps": int, "epoch_seconds": [float],
    "rows": dict,
}  # fmt: skip


def check_training(path: str | PathLike[str], header: Mapping[str, Any], training: Any) -> None:
    """Raise CheckpointCorruptError unless a header and a training state have the fields that a training resumes from."""
    problem = "does not hold a training to resume"
    check_fields(path, header, {"settings": dict, "seeds": [int], "epoch": int}, problem, CheckpointCorruptError)
    check_fields(path, training, _TRAINING, problem, CheckpointCorruptError)
    num_epochs = header["epoch"]
    for name in ("active", "best_epoch", "best_value"):
        value = training.get(name)
        if not isinstance(value, Tensor) or value.shape != (len(header["seeds"]),):
            raise CheckpointCorruptError(path, f"{problem}: {name} is not one value for each of its seeds.")
    if len(training["epoch_seconds"]) != num_epochs or (num_epochs and not training["rows"]):
        raise CheckpointCorruptError(path, f"{problem}: its rows and epoch_seconds are not of its {num_epochs} epochs.")
    for name, value in training["rows"].items():
        if not isinstance(value, Tensor) or value.shape != (num_epochs, len(header["seeds"])):
            raise CheckpointCorruptError(path, f"{problem}: {name} is not of its {num_epochs} epochs and its seeds.")
    best_epoch, best_value, num_steps = training["best_epoch"], training["best_value"], training["num_steps"]
    wrong = {
        "active is not true or false for each seed": training["active"].dtype != torch.bool,
        f"best_epoch is not from 0 to {num_epochs}": (
            best_epoch.dtype != torch.int64 or not bool(((best_epoch >= 0) & (best_epoch <= num_epochs)).all())
        ),
        "best_value holds NaN, -infinity or no floats": (
            not best_value.is_floating_point() or not bool((best_value > -math.inf).all())
        ),
        f"num_steps is {num_steps} after {num_epochs} epochs": num_steps < num_epochs,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise CheckpointCorruptError(path, f"{problem}: {what}.")
    # Schedulers take up whatever they are given, and fail later.
    schedule = {"last_epoch": (int, None), "_step_count": (int, None), "base_lrs": ([float], [Tensor], None)}
    check_fields(path, training.get("scheduler") or {}, schedule, f"{problem}: scheduler", CheckpointCorruptError)


_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # of torch's optimizers and gcnlab.Adam


def check_optimizer(path: str | PathLike[str], opt: torch.optim.Optimizer, num_steps: int) -> None:
    """Raise CheckpointCorruptError unless an optimizer, after it took up a state, can be one that took `num_steps` steps.

    Optimizers check the number of groups and parameters in a state, and little else.
    """
    problem = "its optimizer is none that can go on"
    for group in opt.param_groups:
        for name, default in opt.defaults.items():
            value = group.get(name, default)
            if not _is_like(value, default) or (name == "lr" and value < 0):
                raise CheckpointCorruptError(path, f"{problem}: {name} is {value!r}, expected one like {default!r}.")
    params = [p for group in opt.param_groups for p in group["params"]]
    for i, p in enumerate(params):
        for name, value in opt.state.get(p, {}).items():
            if name == "step" and not 0 <= float(value) <= num_steps:
                raise CheckpointCorruptError(
                    path, f"{problem}: step of parameter {i} is {float(value)}, expected 0 to {num_steps}."
                )
            if name in _MOMENTS and value is not None and value.shape != p.shape:
                raise CheckpointCorruptError(
                    path,
                    f"{problem}: {name} of parameter {i} has shape {tuple(value.shape)}, expected {tuple(p.shape)}.",
                )
    keeps_moments = any("betas" in group or group.get("momentum") for group in opt.param_groups)
    if num_steps and keeps_moments and not any(opt.state.get(p) for p in params):
        raise CheckpointCorruptError(path, f"{problem}: its state is empty after {num_steps} steps.")


def _is_like(value: Any, like: Any) -> bool:
    """Whether an option may stand where `like` stands: finite numbers for numbers, pairs for pairs, flags for flags."""
    if isinstance(like, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(value) == len(like) and all(map(_is_like, value, like))
    if type(like) in (int, float):
        return type(value) in (int, float) and abs(value) < math.inf
    return like is None or isinstance(like, Tensor) or type(value) is type(like)


@contextmanager
def reading_training(path: str | PathLike[str]) -> Iterator[None]:
    """Make an error of anything that a training state, whole but made otherwise, does to what takes it up."""
    try:
        yield
    except GcnlabError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as problem:
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
    return {"class": type(model).__name__, "config": config_of(model)}


def sha256_of_tensors(tensors: Iterable[Tensor | None]) -> str:
    """sha256 of the shapes and bytes of tensors, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{None if tensor is None else (tensor.dtype, *tensor.shape)}\n".encode())
        if tensor is not None:
            digest.update(bytes_of(tensor))
    return digest.hexdigest()


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors that a tensor or SparseMatrix is made of; none for another value."""
    if isinstance(value, Tensor) and value.layout != torch.strided:
        value = SparseMatrix.from_torch(value)
    if isinstance(value, SparseMatrix):
        return [value.rowptr, value.col, value.value]
    return [value] if isinstance(value, Tensor) else []


def digest_of(*values: Any) -> str:
    """sha256 of all bits of tensors and matrices, and of what other values print, as 64 hexadecimal digits.

    >>> digest_of(torch.tensor([1.0]), ("cat", "dog"))[:8]
    '07101960'
    """
    tensors = [tensors_of(value) for value in values]
    parts = [sha256_of_tensors(t) if t else repr(value) for t, value in zip(tensors, values, strict=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Digest:
    """What tells tensors apart but for rounding: two digests are equal where nothing but last bits differs.

    Integers and bools, and all shapes and dtypes, go into a sha256. Floats x are summed in float64, in parts of 16,384:

        sums = W^T x [2],   tolerance = max(2^-17, eps of the dtype) |x|,   W fixed, uniform in [-sqrt 3, sqrt 3]

    and the sums of two parts may differ by their tolerance. If each value has an error of its own of up to 2^-20 of itself
    (8 units in the last place of float32), a sum moves by less than 2^-20 |x| on average, and by 8 times that never
    (2 exp(-32), Hoeffding). A change of a single value is seen from about 0.1 % of the root mean square of its part on.
    One pass over the values takes 0.6 s per GB on one core, sha256 0.9 s.

    Attributes:
        exact: the sha256.
        sums: of each part two sums and the tolerance, float64 [num_parts, 3].

    >>> x = torch.tensor([0.1, 0.2, 0.3])
    >>> Digest.of([x]) == Digest.of([x * (1 + 1e-7)]), Digest.of([x]) == Digest.of([x * 1.01])
    (True, False)
    """

    exact: str
    sums: Tensor

    @staticmethod
    def of(tensors: Iterable[Tensor | None]) -> Digest:
        """The digest of tensors, of which some may be None, in their order."""
        plain: list[Tensor | None] = []
        sums = []
        for tensor in tensors:
            if tensor is None or not tensor.is_floating_point():
                plain.append(tensor)
                continue
            plain.append(torch.empty(0, *tensor.shape, dtype=tensor.dtype))  # shape and dtype alone
            sums += [_sums(part) for part in tensor.detach().reshape(-1).split(16 * _PART)]
        return Digest(sha256_of_tensors(plain), torch.cat([torch.empty(0, 3, dtype=torch.float64), *sums]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest) or (self.exact, self.sums.shape) != (other.exact, other.sums.shape):
            return False
        apart = (self.sums[:, :2] - other.sums[:, :2]).abs().amax(1)
        return bool((apart <= self.sums[:, 2]).all())

    __hash__ = None  # type: ignore[assignment]  # equality is not transitive

    def __repr__(self) -> str:
        sums = f", sums {self.sums[:, :2].sum(0).tolist()}" if len(self.sums) else ""
        return f"sha256 {self.exact[:12]}{sums}"


def read_digests(path: str | PathLike[str], training: Mapping[str, Any]) -> dict[str, Digest]:
    """The digests of a training state by their names, as [exact, sums] each under "digests"."""
    try:
        found = {name: Digest(str(exact), sums.view(-1, 3)) for name, (exact, sums) in training["digests"].items()}
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as problem:
        raise CheckpointCorruptError(path, f"its digests of the data cannot be read: {problem!r}") from problem
    return found


def _sums(values: Tensor) -> Tensor:
    """[num_parts, 3] of floats [num_values]; NaN and infinities count as numbers of their own, 3, 5 and -7."""
    x = values.cpu().double().nan_to_num(3.0, 5.0, -7.0)
    x = torch.nn.functional.pad(x, (0, -len(x) % _PART)).view(-1, _PART)
    tolerance = torch.linalg.vector_norm(x, dim=1, keepdim=True) * max(_ROUNDING, torch.finfo(values.dtype).eps)
    return torch.cat([x @ _weights(), tolerance], 1)


@functools.cache
def _weights() -> Tensor:
    """W [16,384, 2], the same with every version of torch and on every machine."""
    raw = bytearray(hashlib.shake_128(b"gcnlab").digest(8 * _PART))
    return torch.frombuffer(raw, dtype=torch.int32).view(_PART, 2).double() * (math.sqrt(3) / 2.0**31)


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
