"""The errors of gcnlab. Each is a `GcnlabError` and also the built-in that fits (ValueError, TypeError, OSError)."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest of the known ones, or nothing where none is near.

    >>> did_you_mean("corra", ["karate", "cora", "citeseer"])
    " Did you mean 'cora'?"
    """
    import difflib

    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


class GcnlabError(Exception):
    """Base of every error that gcnlab raises on purpose.

    `is_told`: whether another rank of a process group reports the same failure, so that one message is enough.
    """

    is_told = False


class _MessageOfParts(GcnlabError):
    """Its `__init__` takes other arguments than the message, so that another process must rebuild it without."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[GcnlabError], args: tuple[Any, ...], attributes: dict[str, Any]) -> GcnlabError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class InputError(GcnlabError, ValueError):
    """An argument has a value, shape or size that cannot be used."""


class InputTypeError(GcnlabError, TypeError):
    """An argument has a type or dtype that cannot be used."""


class InputIndexError(InputError, IndexError):
    """An index is outside of what it counts."""


class MemoryLimitError(GcnlabError, MemoryError):
    """What is asked for does not fit in the memory that is free; nothing was allocated."""


class DatasetNotFoundError(GcnlabError, OSError):
    """A data set is neither on disk nor reachable, or a name is unknown; the message says which file to put where."""


class FileAccessError(_MessageOfParts, PermissionError):
    """A file or folder of a data set belongs to another user, who has not opened it to this one."""

    def __init__(self, file: str | PathLike[str]) -> None:
        self.file = str(file)
        super().__init__(
            f"{file}: this user may not read it; ask its owner to open it (chmod -R a+rX on its folder), or set "
            "GCNLAB_DATA to a folder of your own."
        )


class DatasetFormatError(_MessageOfParts, ValueError):
    """A file of a data set says something impossible.

    `file`, and where they apply `key` (an entry of the file), `line` (from 1) and `value`, are attributes.
    """

    def __init__(
        self,
        file: str | PathLike[str],
        problem: str,
        *,
        key: object = None,
        line: int | None = None,
        value: object = None,
    ) -> None:
        self.file, self.problem, self.key, self.line, self.value = str(file), problem, key, line, value
        where = (
            f"{file}" + (f", line {line}" if line is not None else "") + (f", key {key!r}" if key is not None else "")
        )
        super().__init__(f"{where}: {problem}" + (f" (found {value!r})" if value is not None else ""))


class UnsafeFileError(_MessageOfParts, ValueError):
    """A pickle names a global outside the few that plain arrays need. Its code was not run."""

    def __init__(self, file: str | PathLike[str], global_name: str) -> None:
        self.file, self.global_name = str(file), global_name
        super().__init__(
            f"{file}: the pickle asks for {global_name!r}, which reading arrays does not need; nothing was run. "
            "Take the file from its official source, or convert it to npz."
        )


class ChecksumError(_MessageOfParts, OSError):
    """A known file does not have the bytes it is known for."""

    def __init__(self, file: str | PathLike[str], expected: str, found: str) -> None:
        self.file, self.expected, self.found = str(file), expected, found
        super().__init__(
            f"{file}: sha256 is {found}, expected {expected}. The file was not opened; "
            "delete it and fetch it again, or pass its folder as a path if it is your own."
        )


class CorruptFileError(_MessageOfParts, OSError):
    """A file that gcnlab wrote (processed data, checkpoint) is cut short or changed."""

    def __init__(self, file: str | PathLike[str], problem: str) -> None:
        self.file, self.problem = str(file), problem
        super().__init__(f"{file}: {problem}")


class CheckpointCorruptError(CorruptFileError):
    """A checkpoint is cut short or changed: its own sha256 does not hold."""


class CheckpointMismatchError(GcnlabError, ValueError):
    """A checkpoint belongs to another model; the message lists the differences."""


class NonFiniteError(GcnlabError, ValueError):
    """Training met a NaN or an infinity and stopped; no accuracy is reported."""


class DistributedError(GcnlabError, RuntimeError):
    """Of several processes one failed, stands still or differs; the message names its rank.

    Where that rank raised, its traceback is the cause of this error, which Python shows first.
    """
