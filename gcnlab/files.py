"""Files that are never half written and never read wrongly: atomic writes, a lock, a container for arrays.

The container is safetensors, so that any reader of that format opens it. It holds named tensors and a JSON header, and
nothing that could run code:

    bytes 0-7      length of the JSON that follows, unsigned, little-endian
    JSON           {"__metadata__": {"sha256": 64 hexadecimal digits, "gcnlab": the caller's header as JSON text},
                    name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}, and spaces
    arrays         raw bytes without gaps, counted from the end of the JSON; the widest dtypes come first

The sha256 is that of the whole file with its own 64 digits read as zeros; it always stands at byte 37. The JSON ends at a
multiple of 64 bytes, and each array starts at a multiple of its element size, so the file can be mapped into memory.
The names keep their order in the JSON. safetensors has no complex128: such an array is stored as pairs of F64, and
`__metadata__` lists its name under "complex128".

The `safetensors` package is not used here. It writes `__metadata__` in random order, so equal content would give unequal
files. It accepts an array that is listed twice. And it reads metadata from a path only, never from the bytes whose sha256
was just compared. The tests read our files with it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from .errors import CorruptFileError, InputError, InputTypeError
from .machine import tell

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        """Lock an open file; False where another holds it. The kernel lets go when the holder dies, however it dies."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_DTYPES_BY_CODE = {
    "BOOL": torch.bool, "U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "C64": torch.complex64,
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _DTYPES_BY_CODE.items()}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (*_CODES, torch.complex128)}
_BEFORE_DIGEST = b'{"__metadata__": {"sha256": "'
_DIGEST_AT = 8 + len(_BEFORE_DIGEST)
_NO_DIGEST = b"0" * 64
_MAX_JSON_BYTES = 100_000_000  # as in safetensors' own reader
MAGIC_1_0 = b"gcnlab arrays 1\n"
_ALIGNMENT = 64
_TEMPORARY_SUFFIX = ".gcnlab-tmp"
_WAIT_MESSAGE_SECONDS = 10.0


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write plain values as JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def sha256_of(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_writable(folder: str | os.PathLike[str]) -> bool:
    """Whether files can be made in `folder`, which need not exist yet.

    The permission bits count for the superuser too: who takes them away means read-only.
    """
    existing = Path(folder)
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    return existing.is_dir() and os.access(existing, os.W_OK) and bool(existing.stat().st_mode & 0o222)


def check_target(argument: str, path: str | os.PathLike[str], is_folder: bool = False) -> None:
    """Raise InputError unless `path` can be written as a file, or files in it as a folder: before the work, not after.

    Args:
        argument: what the message calls it.
        path: need not exist, nor its folder.
        is_folder: whether it is a folder.
    """
    folder = Path(path) if is_folder else Path(path).parent
    if not is_folder and Path(path).is_dir():
        raise InputError(f"{argument}: {path} is a folder, expected the path of a file.")
    if not is_writable(folder):
        raise InputError(f"{argument}: {path} cannot be written: {folder} is a file, or a folder without permission.")


def check_disk(folder: str | os.PathLike[str], num_bytes: int) -> None:
    """Raise InputError unless the disk of `folder`, which need not exist yet, has room for so many bytes more."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    if num_bytes > (free := shutil.disk_usage(existing).free):
        raise InputError(
            f"folder: {folder} needs {num_bytes / 2**30:,.2f} GiB more, and its disk has {free / 2**30:,.2f} GiB free."
        )


def stale_temporaries(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """What killed writers left in `folder`. A living writer holds a lock on its temporary file."""
    for temporary in Path(folder).glob(f".*{_TEMPORARY_SUFFIX}"):
        # OSError: gone meanwhile, not ours, or a file system without locks, where nothing can be told and all is kept.
        with suppress(OSError), open(temporary, "r+b") as file:
            if _try_lock(file):
                yield temporary  # locked, so that no other process removes a name that was given anew


def remove_stale_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove what killed writers left in `folder`."""
    for temporary in stale_temporaries(folder):
        with suppress(OSError):
            temporary.unlink()


def _open_temporary(path: Path) -> IO[bytes]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}")
        file = open(temporary, "xb")  # noqa: SIM115 - atomic_write closes it
        try:
            locked = _try_lock(file)
        except OSError:  # a file system without locks
            return file
        # Between open and lock another writer may have taken the file for a stale one; then take a new name.
        if locked and temporary.exists():
            return file
        file.close()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a file open for writing that becomes `path` when the block ends, and vanishes when it raises.

    At every moment `path` holds the old or the new bytes, never a part: the bytes go to a temporary name in the same
    folder, reach the disk (fsync), and take the name in one step (os.replace). Makes the folder where it is missing.

    Raises:
        OSError: the disk is full, or a limit is met; names `path`, which keeps its old bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(path.parent)
    file = _open_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if (
                sys.platform == "win32"
            ):  # which cannot rename an open file; elsewhere the lock is held until it has its name
                file.close()
            os.replace(file.name, path)
    except BaseException as error:
        Path(file.name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, f"{error.strerror}; nothing was changed", str(path)) from error
        raise
    if sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold `folder` against other processes (and threads), waiting for it; makes the folder where it is missing.

    Every 10 s of waiting print a line to stderr. A read-only folder needs no lock, since nothing is written there, and
    gets none. The file `.lock` stays: removing it would let two processes hold two files of one name.
    """
    folder = Path(folder)
    if not is_writable(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        began = time.monotonic()
        next_message = _WAIT_MESSAGE_SECONDS
        try:
            while not _try_lock(file):
                waited = time.monotonic() - began
                if waited >= next_message:
                    tell(f"waiting for another process that holds {file.name} ({waited:.0f} s)")
                    next_message += _WAIT_MESSAGE_SECONDS
                time.sleep(0.05)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # A file system without locks: writes are atomic all the same, two processes may do the same work.
        yield


def check_fields(
    path: str | os.PathLike[str],
    found: Any,
    fields: Mapping[str, Any],
    problem: str,
    error: type[CorruptFileError] = CorruptFileError,
) -> dict[str, Any]:
    """`found`, a header that JSON gave, if it is a dict that has each of `fields` with a value of its kind.

    A kind is a type (a bool is no int, an int no less than 0, a float finite, and may be an int), None, which a missing
    field is, too, a tuple of kinds, [kind] for a list of them, or a dict of fields. What is beside the fields is not read.

    Args:
        path: of the file that it stands in.
        found: the header.
        fields: names and kinds.
        problem: what the message says of a file that fails, before the field.
        error: what is raised.

    >>> check_fields("a.json", {"seeds": [0, 1]}, {"seeds": [int], "name": (str, None)}, "is no result")
    {'seeds': [0, 1]}
    >>> check_fields("a.json", {"seeds": [0, True]}, {"seeds": [int]}, "is no result")
    Traceback (most recent call last):
    gcnlab.errors.CorruptFileError: a.json: is no result: seeds is [0, True], expected a list of integers.
    """
    if type(found) is not dict:
        raise error(path, f"{problem}: it is {_shown(found)}, expected names and values.")
    for name, kind in fields.items():
        if not _is_of(found.get(name), kind):
            have = f"{name} is {_shown(found[name])}" if name in found else f"it has no {name}"
            raise error(path, f"{problem}: {have}, expected {_kind_text(kind)}.")
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_is_of(value, one) for one in kind)
    if isinstance(kind, list):
        return type(value) is list and all(_is_of(one, kind[0]) for one in value)
    if isinstance(kind, dict):
        return type(value) is dict and all(_is_of(value.get(name), one) for name, one in kind.items())
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    return value is None if kind is None else type(value) is kind and (kind is not int or value >= 0)


def _kind_text(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(map(_kind_text, kind))
    if isinstance(kind, list):
        texts = {int: "integers", str: "strings", float: "numbers", dict: "dicts", list: "lists"}
        return f"a list of {texts.get(kind[0]) if isinstance(kind[0], type) else _kind_text(kind[0])}"
    if isinstance(kind, dict):
        return f"a dict of {', '.join(f'{name} ({_kind_text(one)})' for name, one in kind.items())}"
    texts = {int: "an integer of at least 0", str: "a string", float: "a finite number", bool: "true or false"}
    return "null" if kind is None else texts.get(kind, f"a {kind.__name__}")


def read_json(path: str | os.PathLike[str], fields: Mapping[str, Any], problem: str) -> dict[str, Any]:
    """What a JSON file holds, if it is a dict with these fields (`check_fields`); raises CorruptFileError otherwise."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as reason:
        raise CorruptFileError(path, f"{problem}: {reason}.") from None
    return check_fields(path, found, fields, problem)


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A dense tensor's elements in row-major order, from any device."""
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")  # which may have any strides


def write_arrays(path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, torch.Tensor]) -> None:
    """Write tensors of any shape, 0-d and empty too, and a header that JSON can hold, atomically, as safetensors.

    Tensors come from any device and are written bit by bit; strides, device and requires_grad are not kept.

    Raises:
        InputTypeError: a dtype that the format does not know (quantised, float8), or a sparse tensor.
        InputError: an array called "__metadata__", or a header and names of more than 100 MB.
        OSError: the disk is full; the old file stays and no temporary is left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/a", {"epoch": 3}, {"w": torch.tensor([1.5, 2.5])})
    ...     read_arrays(f"{folder}/a")
    ({'epoch': 3}, {'w': tensor([1.5000, 2.5000])})
    """
    plain = {name: _storable(path, name, tensor) for name, tensor in arrays.items()}
    metadata = {"sha256": _NO_DIGEST.decode(), "gcnlab": json.dumps(header)}
    if pairs := [name for name, tensor in arrays.items() if tensor.dtype == torch.complex128]:
        metadata["complex128"] = json.dumps(pairs)
    index: dict[str, Any] = {"__metadata__": metadata}
    index |= {name: {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape)} for name, tensor in plain.items()}
    parts, position = [], 0
    for name, tensor in sorted(plain.items(), key=lambda item: -item[1].element_size()):
        parts.append(bytes_of(tensor))
        index[name]["data_offsets"] = [position, position := position + tensor.nbytes]
    text = json.dumps(index).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > _MAX_JSON_BYTES:
        raise InputError(
            f"{path}: its header and names take {len(text):,} bytes, expected at most {_MAX_JSON_BYTES:,}; "
            "put long lists into tensors."
        )
    head = struct.pack("<Q", len(text)) + text
    digest = _sha256(head, *parts)
    with atomic_write(path) as file:
        file.write(head.replace(_NO_DIGEST, digest, 1))
        for part in parts:
            file.write(part)


def _storable(path: str | os.PathLike[str], name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as safetensors can hold it: a complex128 [...] becomes float64 [..., 2]."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES or tensor.layout != torch.strided:
        raise InputTypeError(
            f"{path}: array {name!r} is a {tensor.layout} tensor of {dtype}; "
            f"expected a dense tensor of one of {', '.join(DTYPES)}"
        )
    if name == "__metadata__":
        raise InputError(f"{path}: an array is called '__metadata__', which safetensors keeps for itself; rename it.")
    return torch.view_as_real(tensor.detach().resolve_conj()) if dtype == "complex128" else tensor


def _sha256(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def read_arrays(
    path: str | os.PathLike[str], error: type[CorruptFileError] = CorruptFileError
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(header, arrays) of a file of `write_arrays`, or of gcnlab 1.0; on the CPU, bit by bit what was written.

    The tensors of one file share one buffer, which lives as long as any of them.

    Raises:
        error: by default CorruptFileError; any byte is missing, added or changed. There is no fallback.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        content = bytearray(os.fstat(file.fileno()).st_size)
        file.readinto(content)
    view = memoryview(content)
    if content.startswith(MAGIC_1_0):
        at, parse = len(MAGIC_1_0), _parse_1_0
        digest = _sha256(view[at + 65 :])
    elif content[8:_DIGEST_AT] == _BEFORE_DIGEST:
        at, parse = _DIGEST_AT, _parse
        digest = _sha256(view[:at], _NO_DIGEST, view[at + 64 :])
    else:
        raise error(path, "is not a file of gcnlab's arrays, which are safetensors with a sha256 in front")
    if content[at : at + 64] != digest:
        raise error(path, "its bytes do not have the sha256 that it states: it was cut short or changed")
    try:
        header, arrays = parse(content)
        if type(header) is not dict:
            raise TypeError("the header is not a dict")
    except (
        ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct.error,
    ) as problem:  # whole, but not written by write_arrays  # fmt: skip
        raise error(path, f"its index cannot be read: {problem!r:.200}") from problem
    return header, arrays


def _parse(content: bytearray) -> tuple[Any, dict[str, torch.Tensor]]:
    """The header and arrays of safetensors; the arrays must cover the rest of the file, without gap or overlap."""
    (length,) = struct.unpack_from("<Q", content)
    if length > _MAX_JSON_BYTES:
        raise ValueError(f"the JSON is of {length} bytes")
    start = 8 + length
    index = json.loads(content[8:start], object_pairs_hook=_dict_without_twins)
    metadata = index.pop("__metadata__")
    position = 0
    for begin, end in sorted(entry["data_offsets"] for entry in index.values()):
        if begin != position:
            raise ValueError(f"there is a gap or an overlap of arrays at byte {position}")
        position = end
    if start + position != len(content):
        raise ValueError(f"the arrays end at byte {position}, and the file at {len(content) - start}")
    arrays = {}
    for name, entry in index.items():
        begin, end = entry["data_offsets"]
        arrays[name] = _array(content, start, name, _DTYPES_BY_CODE[entry["dtype"]], entry["shape"], begin)
        if arrays[name].nbytes != end - begin:
            raise ValueError(f"array {name!r} has {end - begin} bytes for its shape {entry['shape']}")
    for name in json.loads(metadata.get("complex128", "[]")):
        arrays[name] = torch.view_as_complex(arrays[name])
    return json.loads(metadata["gcnlab"]), arrays


def _dict_without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _parse_1_0(content: bytearray) -> tuple[Any, dict[str, torch.Tensor]]:
    """The header and arrays of a file of gcnlab 1.0.

    It holds MAGIC_1_0, the sha256 of all that follows (64 digits and a newline), the length of the JSON (8 bytes), the
    JSON {"header": ..., "arrays": [{"name", "dtype", "shape", "offset"}]}, and the arrays; offsets count from the first
    multiple of 64 after the JSON.
    """
    at = len(MAGIC_1_0) + 65
    (length,) = struct.unpack_from("<Q", content, at)
    start = at + 8 + length
    if content[at - 1 : at] != b"\n":
        raise ValueError("no newline follows the sha256")
    index = json.loads(content[at + 8 : start])
    start += -start % _ALIGNMENT
    arrays = {
        entry["name"]: _array(content, start, entry["name"], DTYPES[entry["dtype"]], entry["shape"], entry["offset"])
        for entry in index["arrays"]
    }
    return index["header"], arrays


def _array(
    content: bytearray, start: int, name: str, dtype: torch.dtype, shape: list[int], offset: int
) -> torch.Tensor:
    if not all(type(n) is int and n >= 0 for n in [*shape, offset]):
        raise ValueError(f"array {name!r} has shape {shape} at {offset}")
    # The product of a million large sizes takes minutes: none needs to be larger than the file.
    count = functools.reduce(lambda product, n: min(product * n, len(content) + 1), shape, 1)
    if start + offset + count * dtype.itemsize > len(content):
        raise ValueError(f"array {name!r} lies outside the file")
    if count == 0:  # which frombuffer refuses
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=start + offset).reshape(shape)


def write_array(
    path: str | os.PathLike[str], dtype: torch.dtype, shape: Iterable[int], parts: Iterable[torch.Tensor]
) -> str:
    """Write a .npy part by part, atomically, and return the file's sha256. bfloat16, which NumPy lacks, is as int16.

    Raises InputError where the parts have not as many values together as the shape.
    """
    import numpy

    shape, count, head = tuple(shape), 0, io.BytesIO()
    plain = torch.empty(0, dtype=torch.int16 if dtype == torch.bfloat16 else dtype).numpy().dtype.str
    numpy.lib.format.write_array_header_1_0(head, {"descr": plain, "fortran_order": False, "shape": shape})
    digest = hashlib.sha256(head.getvalue())
    with atomic_write(path) as file:
        file.write(head.getvalue())
        for part in parts:
            data = bytes_of(part)
            digest.update(data)
            file.write(data)
            count += part.numel()
        if count != math.prod(shape):
            raise InputError(f"{path}: got {count} values, expected {math.prod(shape)} for shape {shape}.")
    return digest.hexdigest()


def map_array(path: str | os.PathLike[str], dtype: torch.dtype) -> torch.Tensor:
    """The array of a .npy, mapped into memory: a page is read when it is touched. It must not be written to.

    Raises CorruptFileError where it is missing, cut short, or no array of the dtype.
    """
    import numpy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that the array cannot be written to
            array = numpy.lib.format.open_memmap(path, mode="r")  # which reads no archive, and no pickle
            tensor = torch.from_numpy(array)  # of an archive, text, another byte order: an error
    except (OSError, ValueError, TypeError, EOFError, OverflowError, RuntimeError) as error:
        raise CorruptFileError(path, f"cannot be read ({error})") from None
    tensor = tensor.view(dtype) if (tensor.dtype, dtype) == (torch.int16, torch.bfloat16) else tensor
    if tensor.dtype != dtype:
        raise CorruptFileError(path, f"holds {tensor.dtype}, expected {dtype}")
    return tensor


def array_reader(path: str | os.PathLike[str], tensor: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
    """A function that reads the values from start to end of what `map_array` mapped, [n], into memory of their own.

    To look at all of a file once: pages of a map that are touched count as memory of the process.
    """
    import numpy

    array = numpy.lib.format.open_memmap(path, mode="r")

    def read(start: int, end: int) -> torch.Tensor:
        part = numpy.fromfile(path, array.dtype, end - start, offset=array.offset + start * array.itemsize)
        return torch.from_numpy(part).view(tensor.dtype)

    return read
