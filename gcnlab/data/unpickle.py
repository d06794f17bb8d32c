"""Reads arrays out of pickles without running a pickle: the only reader of pickles in gcnlab.

A pickle is a program. Python's own machine for it calls whatever global the file names, so here is another machine,
which knows data and the few constructors in `ADMITTED` and nothing else. It imports no module that a file names, calls
no object that a file made, knows no extension registry and no persistent ids, and makes no array larger than the file.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DatasetFormatError, GcnlabError, UnsafeFileError

# Every global that a file may name, under its names in Python 2 and 3, numpy 1 and 2, old and new scipy.
# None is looked up anywhere: the word on the right says what this module's own machine does.
ADMITTED = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "numpy.core.multiarray _reconstruct": "empty array",
    "numpy._core.multiarray _reconstruct": "empty array",
    "numpy.core.multiarray scalar": "scalar",
    "numpy._core.multiarray scalar": "scalar",
    "numpy.core.numeric _frombuffer": "array",
    "numpy._core.numeric _frombuffer": "array",
    "scipy.sparse.csr csr_matrix": "csr",
    "scipy.sparse._csr csr_matrix": "csr",
    "scipy.sparse._csr csr_array": "csr",
    "scipy.sparse._arrays csr_array": "csr",
    "scipy.sparse.csc csc_matrix": "csc",
    "scipy.sparse._csc csc_matrix": "csc",
    "scipy.sparse._csc csc_array": "csc",
    "scipy.sparse._arrays csc_array": "csc",
    "collections defaultdict": "defaultdict",
    "__builtin__ list": "list",
    "builtins list": "list",
    # How protocols 0 to 2 of Python 3 write bytes, and how 0 and 1 write any object:
    "_codecs encode": "latin1 bytes",
    "__builtin__ bytes": "no bytes",
    "copy_reg _reconstructor": "new object",
    "copyreg _reconstructor": "new object",
    "__builtin__ object": "object",
    "builtins object": "object",
}

_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


@dataclass
class _Global:
    meaning: str


@dataclass
class _Dtype:
    code: str
    order: Literal["<", ">", "=", "|"] = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder(self.order)


@dataclass
class _Array:
    array: np.ndarray | None = None


@dataclass
class CompressedSparse:
    """The parts of a scipy CSR ("csr") or CSC ("csc") matrix, checked: `indptr` counts rows (or columns) of `shape`."""

    format: str
    shape: tuple[int, int] = (0, 0)
    indptr: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    indices: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    data: np.ndarray = field(default_factory=lambda: np.zeros(0))


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """What the pickle at `path` holds: plain Python data, a numpy array of numbers, or a `CompressedSparse`.

    Strings of Python 2 are read as latin1. Any protocol from 0 to 5 is read.

    Raises:
        UnsafeFileError: it names a global outside `ADMITTED`; nothing was run.
        DatasetFormatError: it is cut short or malformed, or holds what no array needs, such as an array of objects.
    """
    content = Path(path).read_bytes()
    try:
        value = _run(path, content)
        if isinstance(value, _Array):
            return _exactly(value.array, np.ndarray)
        if isinstance(value, CompressedSparse):
            _check_compressed(path, value)
        return value
    except GcnlabError:
        raise
    except Exception as error:  # a malformed program may fail in any way: a stack run empty, an operand of a wrong type
        raise DatasetFormatError(path, f"not a readable pickle: {type(error).__name__}: {error}"[:300]) from error


_MARK = object()
_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)


class _Machine:
    """A stack and a memo, which the opcodes of `_STEPS` work on.

    Attributes:
        path: of the file, for messages.
        made: bytes of the arrays that were made so far.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}
        self.made = 0

    def pop(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        items = tuple(self.stack[len(self.stack) - count :])
        if any(item is _MARK for item in items):
            raise ValueError("a mark where a value belongs")
        del self.stack[len(self.stack) - count :]
        return items

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while at >= 0 and self.stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise IndexError("no mark on the stack")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def push_literal(self, argument: Any) -> None:
        if type(argument) is int and argument.bit_length() > 64:  # no id or size, and Python refuses to print it
            raise ValueError("an integer of more than 64 bits")
        self.stack.append(argument)

    def append(self, items: Sequence[Any]) -> None:
        _exactly(self.stack[-1], list).extend(items)

    def set_items(self, items: Sequence[Any]) -> None:
        _set_items(self.stack[-1], items)

    def name_global(self, full_name: str) -> None:
        """Push what stands for a global; nothing is looked up."""
        if full_name not in ADMITTED:
            raise UnsafeFileError(self.path, full_name.replace(" ", "."))
        self.stack.append(_Global(ADMITTED[full_name]))

    def refuse_instance(self, full_name: str) -> None:
        self.name_global(full_name)  # one that is not admitted is the worse news
        raise ValueError("opcode INST, which no array needs")

    def refuse_extension(self, number: int) -> None:
        """An entry of copyreg's registry, which names a global by a number."""
        raise UnsafeFileError(self.path, f"copyreg extension {number}")

    def construct(self, _: Any) -> None:
        function, arguments = self.pop(2)
        self.stack.append(_construct(_exactly(function, _Global).meaning, _exactly(arguments, tuple)))
        self.made += _num_bytes(self.stack[-1])

    def build(self, _: Any) -> None:
        (state,) = self.pop(1)
        _build(self.stack[-1], state)
        self.made += _num_bytes(self.stack[-1])


# What each opcode does with the machine m and its argument a. An opcode that is not here is none that an array needs:
# PERSID, OBJ, NEWOBJ_EX, NEXT_BUFFER, sets, ...
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(_LITERALS, _Machine.push_literal),
    "NONE": lambda m, a: m.stack.append(None),
    "NEWTRUE": lambda m, a: m.stack.append(True),
    "NEWFALSE": lambda m, a: m.stack.append(False),
    **dict.fromkeys(("BINGET", "GET", "LONG_BINGET"), lambda m, a: m.stack.append(m.memo[a])),
    **dict.fromkeys(("BINPUT", "PUT", "LONG_BINPUT"), lambda m, a: m.memo.__setitem__(a, m.stack[-1])),
    "MEMOIZE": lambda m, a: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    "MARK": lambda m, a: m.stack.append(_MARK),
    "EMPTY_LIST": lambda m, a: m.stack.append([]),
    "EMPTY_DICT": lambda m, a: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, a: m.stack.append(()),
    "TUPLE1": lambda m, a: m.stack.append(m.pop(1)),
    "TUPLE2": lambda m, a: m.stack.append(m.pop(2)),
    "TUPLE3": lambda m, a: m.stack.append(m.pop(3)),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.pop_to_mark())),
    "LIST": lambda m, a: m.stack.append(m.pop_to_mark()),
    "DICT": lambda m, a: m.stack.append(_set_items({}, m.pop_to_mark())),
    "APPEND": lambda m, a: m.append(m.pop(1)),
    "APPENDS": lambda m, a: m.append(m.pop_to_mark()),
    "SETITEM": lambda m, a: m.set_items(m.pop(2)),
    "SETITEMS": lambda m, a: m.set_items(m.pop_to_mark()),
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": lambda m, a: m.name_global(" ".join(_exactly(part, str) for part in m.pop(2))),
    "INST": _Machine.refuse_instance,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.refuse_extension),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.construct),
    "BUILD": _Machine.build,
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, a: None),
}


def _run(path: str | os.PathLike[str], content: bytes) -> Any:
    """Run the opcodes into which `pickletools.genops` cuts the bytes, one step each; return the value at STOP."""
    machine = _Machine(path)
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name == "STOP":
            (value,) = machine.pop(1)
            if machine.stack or position != len(content) - 1:
                raise ValueError("more follows after its end")
            return value
        if opcode.name not in _STEPS:
            raise ValueError(f"opcode {opcode.name}, which no array needs")
        _STEPS[opcode.name](machine, argument)
        # Twice: protocols 0 to 2 of Python 3 make bytes, and of them an array. A file that makes one content into a
        # thousand arrays is no data set.
        if machine.made > 2 * len(content):
            raise ValueError("its arrays are larger than the file")
    raise ValueError("it has no end")


def _num_bytes(value: Any) -> int:
    if isinstance(value, _Array) and value.array is not None:
        return value.array.nbytes
    return len(value) if isinstance(value, bytes) else 0


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _set_items(target: Any, items: Any) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only plain keys: hashing a tuple nested a million deep would overrun the stack of the interpreter.
        if type(key) not in (int, str):
            raise TypeError(f"a {type(key).__name__} as a key")
        _exactly(target, dict)[key] = value
    return target


def _construct(meaning: str, arguments: tuple[Any, ...]) -> Any:
    """What calling an admitted global gives; `arguments` come from the file and are not trusted."""
    if meaning == "dtype":
        code = _exactly(arguments[0], str)
        if not _NUMBERS.fullmatch(code):
            raise ValueError(f"dtype {code[:40]!r}; only arrays of numbers are read")
        return _Dtype(code)
    if meaning == "empty array":  # _reconstruct(ndarray, (0,), b"b"); BUILD gives it shape and content
        if _exactly(arguments[0], _Global).meaning != "ndarray":
            raise TypeError("an array of another class than ndarray")
        return _Array()
    if meaning == "scalar":
        dtype, raw = arguments
        return _array(dtype, (), raw, "C").item()
    if meaning == "array":
        raw, dtype, shape, order = arguments
        return _Array(_array(dtype, shape, raw, order))
    if meaning in ("csr", "csc") and arguments == ():
        return CompressedSparse(meaning)
    if meaning == "new object":  # _reconstructor(class, object, None)
        return _construct(_exactly(arguments[0], _Global).meaning, ())
    if meaning == "defaultdict":
        return {}
    if meaning == "latin1 bytes" and arguments[1:] in (("latin1",), ("latin-1",)):
        return _exactly(arguments[0], str).encode("latin1")
    if meaning == "no bytes" and arguments == ():
        return b""
    raise ValueError(f"a call of {meaning!r} that no array needs")


def _build(target: Any, state: Any) -> None:
    if type(target) is _Array:
        _, shape, dtype, fortran_order, raw = _exactly(state, tuple)
        target.array = _array(dtype, shape, raw, "F" if fortran_order is True else "C")
    elif type(target) is _Dtype:
        order, subdtype, names, fields = _exactly(state, tuple)[1:5]
        if order not in ("<", ">", "=", "|") or not (subdtype is names is fields is None):
            raise ValueError("a dtype with fields or an unknown byte order; only arrays of numbers are read")
        target.order = order
    elif type(target) is CompressedSparse:
        parts = _exactly(state, dict)
        target.shape = _exactly(parts["_shape"] if "_shape" in parts else parts["shape"], tuple)
        for name in ("indptr", "indices", "data"):
            setattr(target, name, _exactly(parts[name], _Array).array)
    else:
        raise TypeError(f"a state for a {type(target).__name__}")


def _array(dtype: Any, shape: Any, raw: Any, order: Any) -> np.ndarray:
    numpy_dtype = _exactly(dtype, _Dtype).numpy()
    if type(raw) is str:  # a string of Python 2
        raw = raw.encode("latin1")
    if type(raw) not in (bytes, bytearray):
        raise TypeError(f"an array's content is a {type(raw).__name__}; only arrays of numbers are read")
    if len(_exactly(shape, tuple)) > 2 or any(_exactly(size, int) < 0 for size in shape):
        raise ValueError(f"an array of {len(shape)} dimensions or a negative size; vectors and matrices are read")
    # This bounds every array by the file's own bytes.
    if math.prod(shape) * numpy_dtype.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} and dtype {numpy_dtype} has {len(raw)} bytes")
    array = np.frombuffer(raw, dtype=numpy_dtype).astype(numpy_dtype.newbyteorder("="))
    return array.reshape(shape, order=order)


def _check_compressed(path: str | os.PathLike[str], matrix: CompressedSparse) -> None:
    """The invariants of CSR and CSC: without them a product reads memory that is not its own."""
    indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
    for name, part in (("indptr", indptr), ("indices", indices), ("data", data)):
        if not isinstance(part, np.ndarray) or part.ndim != 1 or (name != "data" and part.dtype.kind != "i"):
            raise DatasetFormatError(path, f"{name} of the {matrix.format} matrix is not a vector of numbers", key=name)
    shape = matrix.shape
    if len(shape) != 2 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise DatasetFormatError(path, "a matrix needs two sizes, each from 0 to 2147483647", value=shape)
    major, minor = shape if matrix.format == "csr" else shape[::-1]
    if len(indptr) != major + 1 or indptr[0] != 0 or indptr[-1] != len(indices) or len(indices) != len(data):
        raise DatasetFormatError(
            path,
            f"a {matrix.format} matrix of shape {shape} has indptr of length {len(indptr)}, "
            f"{len(indices)} indices and {len(data)} values, which do not fit together",
            key="indptr",
        )
    if len(falling := np.flatnonzero(np.diff(indptr) < 0)):
        raise DatasetFormatError(path, f"indptr falls after position {falling[0]}", key="indptr")
    if len(outside := np.flatnonzero((indices < 0) | (indices >= minor))):
        raise DatasetFormatError(
            path,
            f"index at position {outside[0]} is not within 0..{minor - 1}",
            key="indices",
            value=int(indices[outside[0]]),
        )
