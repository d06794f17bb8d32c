"""Finished work, one line of JSON each, so that it is not done again: models of `compare`, folds of `protocols`.

What is made of them afterwards, pictures for one, can fail without taking a figure with it.

A result stands for a job where its key is the job's: the settings, a digest of the data, and the version of gcnlab.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from . import __version__
from .errors import InputError


class Files:
    """Files of a folder that are written once the figures are known: one that fails is a warning, and the figures stay.

    Attributes:
        written: the names of those that did not fail.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder, self.written = Path(folder), list[str]()

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give the path of a file, and note whether the block wrote it."""
        path = self.folder / name
        try:
            yield path
        except Exception as problem:
            old = "; what is there is of an earlier run" if path.exists() else ""
            message = f"{path} was not written; the numbers stand ({type(problem).__name__}: {problem}){old}."
            warnings.warn(message, stacklevel=3)
        else:
            self.written.append(name)


def key_of(job: Any, left_out: Collection[str]) -> str:
    """What a result must have been made with to stand for a job, a dataclass: its fields but some, and the version."""
    plain = {name: value for name, value in asdict(job).items() if name not in left_out}
    return json.dumps({**plain, "gcnlab": __version__}, sort_keys=True)


def read(path: Path | None, of: str, expected: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The results of a file by their keys, where there is one. A last line that was cut short is no result.

    Raises InputError where another line holds no result `of` something, with the `expected` fields.
    """
    done = {}
    content = path.read_bytes() if path is not None and path.exists() else b""
    *lines, last = content.split(b"\n")  # the last is empty, unless a write ended before its newline
    for number, line in enumerate([*lines, last] if last else lines, 1):
        try:
            entry = json.loads(line)
            if missing := set(expected) - set(entry["result"]):
                raise KeyError(*missing)
            done[str(entry["job"])] = entry["result"]
        except (ValueError, KeyError, TypeError):
            if number <= len(lines):
                raise InputError(f"{path}, line {number}: is no result of {of}; delete the line.") from None
    return done


def add(path: Path | None, key: str, result: Mapping[str, Any]) -> None:
    """Add a result to a file, in place of a last line that was cut short. A disk that is full is a warning."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            file.seek(0)
            content = file.read()
            last = content.rpartition(b"\n")[2]
            if last and _is_whole(last):
                file.write(b"\n")
            elif last:
                file.truncate(len(content) - len(last))
            file.write(json.dumps({"job": key, "result": result}).encode() + b"\n")
    except OSError as problem:
        warnings.warn(f"{path}: a result is not kept there, and will be made again: {problem}", stacklevel=3)


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def warn_of_others(path: Path | None, done: Iterable[str], missing: Iterable[str]) -> None:
    """Warn where a file has results of missing jobs, but of other data or of another version."""
    known, wanted = ([{**settings_of(key), "data": None, "gcnlab": None} for key in keys] for keys in (done, missing))
    if count := sum(settings in known for settings in wanted):
        warnings.warn(
            f"{path}: {count} of its results are of other data or of another version of gcnlab, and are made again.",
            stacklevel=3,
        )


def settings_of(key: str) -> dict[str, Any]:
    """What `key_of` made a key of; of another key itself."""
    try:
        return dict(json.loads(key))
    except (ValueError, TypeError):
        return {"key": key}
