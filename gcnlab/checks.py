"""Checks of arguments: is it a probability, a number within limits, one of these, True or False, a list, a seed?

And, before work that needs a package: can it be imported?

A value is refused instead of reinterpreted: True is no number, "False" is not False, and 4.0 is not the integer 4.
numpy's numbers are numbers. Each function returns the plain Python value, or raises an error that names the argument
and the value.
"""

from __future__ import annotations

import importlib
import math
import operator
import os
from collections.abc import Collection, Iterable, Mapping, Set
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import torch

from . import errors
from .errors import GcnlabError, InputError, InputTypeError

MOST_LAYERS = 10_000
# Packages that `pip install gcnlab` does not bring, and the extra that does.
EXTRAS = {"scikit-image": "superpixels", "tensorboard": "tensorboard"}


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """`value` as a float if it is a finite number within the limits.

    >>> check_number("ratio", 0.5, above=0, most=1)
    0.5
    """
    error: type[InputError | InputTypeError] = InputError
    number = _as_float(value)
    if number is None:
        error = InputTypeError
    elif (
        -math.inf < number < math.inf  # nor NaN; torch.compile cannot trace math.isfinite of a number that changes
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    ):
        return number
    limits = (("at least", least), ("above", above), ("at most", most), ("below", below))
    expected = " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)
    raise error(f"{name}: got {value!r}, expected a finite number{expected and ' '}{expected}.")


def check_probability(name: str, value: Any) -> float:
    """`value` as a float if it is a number from 0 to 1.

    >>> check_probability("dropout", 0)
    0.0
    """
    if type(value) is float and 0 <= value <= 1:  # the common case first: each step of a training asks
        return value
    number = _as_float(value)
    if number is not None and 0 <= number <= 1:
        return number
    error = InputTypeError if number is None else InputError
    raise error(f"{name}: got {value!r}, expected a probability between 0 and 1.")


def _as_float(value: Any) -> float | None:
    """A real number as a float, infinite where it is too large for one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def check_flag(name: str, value: Any) -> bool:
    """`value` if it is True or False, and nothing that is merely true or false in an `if`."""
    if value is not True and value is not False:
        raise InputError(f"{name}: got {value!r}, expected True or False.")
    return value


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """The choice (a string, an integer, True, False or None) that `value` is: equal to it, and of its kind.

    >>> check_choice("connectivity", 8, (4, 8))
    8
    """
    choices = list(choices)
    for choice in choices:
        if _kind(value) is _kind(choice) and value == choice:
            return choice
    names = [f'"{choice}"' if isinstance(choice, str) else repr(choice) for choice in choices]
    *others, last = names
    raise InputError(f"{name}: got {value!r}, expected {', '.join(others)}{' or ' * bool(others)}{last}.")


def _kind(value: Any) -> type:
    return next((kind for kind in (bool, str, Integral) if isinstance(value, kind)), type(value))


def check_list(name: str, values: Any, of: str, least: int = 0) -> list[Any]:
    """`values` as a list if they are an ordered collection of at least so many. A string is not a list of letters."""
    if not isinstance(values, Collection) or isinstance(values, (str, bytes, Mapping, Set)):
        raise InputError(f"{name}: got {values!r}, expected a list of {of}.")
    if len(values) < least:
        raise InputError(f"{name}: got {values!r}, expected at least {least} of {of}.")
    return values.tolist() if hasattr(values, "tolist") else list(values)


def check_integer(name: str, value: Any) -> int:
    """`value` as an int if it is an integer, of any sign."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputTypeError(f"{name}: got {value!r}, expected an integer.")
    return int(value)


def check_count(name: str, count: Any, least: int = 0) -> int:
    """`count` as an int if it is an integer of at least so many; one of a tensor, such as edge_index.max() + 1, too.

    >>> check_count("num_layers", 2, 1)
    2
    """
    try:
        number = operator.index(count)
    except TypeError:  # a float, also one in a tensor
        number = None
    if number is None or isinstance(count, bool) or str(getattr(count, "dtype", "")).endswith("bool"):
        raise InputTypeError(f"{name}: got {count!r}, expected an integer.")
    if number < least:
        raise InputError(f"{name}: got {number}, expected at least {least}.")
    return number


def check_depth(num_layers: Any) -> int:
    """A number of layers, of which each is made: more than fit in memory would fill it first."""
    depth = check_count("num_layers", num_layers, 1)
    if depth > MOST_LAYERS:
        raise InputError(f"num_layers: got {depth}, expected at most {MOST_LAYERS:,}.")
    return depth


def check_workers(name: str, count: Any) -> int:
    """`count` as an int if so many threads or processes can be started here: from 1 to 64 for each core of the machine.

    More gain nothing, and thousands crash a process or take the machine down.
    """
    cores = os.cpu_count() or 1
    if not 1 <= (number := check_integer(name, count)) <= 64 * cores:
        expected = "at least 1" if number < 1 else f"at most {64 * cores:,}, 64 for each of the {cores} cores here"
        raise InputError(f"{name}: got {number}, expected {expected}.")
    return number


def check_seed(seed: Any, name: str = "seed") -> int:
    """`seed` as an int if a generator can be seeded with it: an integer from 0 to 2^63 - 1."""
    if not 0 <= (number := check_integer(name, seed)) < 2**63:
        raise InputError(f"{name}: got {number}, expected at least 0 and below 2^63.")
    return number


def check_dense(name: str, x: Any) -> None:
    """Raise InputTypeError unless x is a dense tensor. (Where a SparseMatrix may stand, the caller asks for it first.)"""
    if not isinstance(x, torch.Tensor):
        raise InputTypeError(f"{name}: got {type(x).__name__}, expected a tensor.")
    if x.layout != torch.strided or x.is_nested:
        raise InputTypeError(
            f"{name}: got a {'nested' if x.is_nested else 'sparse'} torch tensor ({x.layout}), expected a dense one; "
            f"{name}.to_dense() is one, and SparseMatrix.from_torch({name}) goes where features go."
        )


def check_like(name: str, x: Any, weight: torch.Tensor) -> None:
    """Raise InputError unless x is of the weight's dtype, but under autocast, and on its device."""
    # Of "meta" tensors, which torch does not ask for, there is no autocast.
    if x.dtype != weight.dtype and (weight.is_meta or not torch.is_autocast_enabled(weight.device.type)):
        raise InputError(
            f"{name}: got {x.dtype}, but the layer has {weight.dtype}; convert {name} or the layer: "
            f"{name}.to({weight.dtype}), graph.to({weight.dtype}) or model.to({x.dtype})."
        )
    if x.device != weight.device:
        raise InputError(f"{name}: is on {x.device}, but the layer on {weight.device}; move one with .to(device).")


def check_package(
    purpose: str, package: str, module: str | None = None, error: type[GcnlabError] = InputError
) -> ModuleType:
    """The module of a package that is imported where it is needed: a clear error where it is missing or broken.

    Work that takes long asks for the packages that its end needs before it starts.

    Args:
        purpose: what needs it, the beginning of the message.
        package: its name for pip.
        module: what is imported of it, by default its name.
        error: what is raised.
    """
    try:
        return importlib.import_module(module or package)
    except ImportError as problem:
        extra = f", or 'gcnlab[{EXTRAS[package]}]'" if package in EXTRAS else ""
        raise error(
            f"{purpose} needs the package {package}, which cannot be imported ({problem}); "
            f"pip install {package}{extra}."
        ) from problem


def check_can_draw(purpose: str) -> None:
    """Raise InputError where matplotlib is missing; a setting that it refuses is met when a picture is made."""
    try:
        check_package(purpose, "matplotlib", "matplotlib.figure")
    except InputError:
        raise
    except Exception:
        pass


def check_counts(**counts: int | None) -> None:
    """Raise InputError unless each count is None, or from 1 to a million.

    >>> check_counts(seeds=3, epochs=None)
    """
    for argument, count in counts.items():
        if count is not None and check_count(argument, count, 1) > 10**6:
            raise InputError(f"{argument}: got {count}, expected at most 1,000,000.")


vars(errors)["check_counts"] = check_counts  # where 1.0 had it
