"""The files beside a result: models, pictures and reports."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


class Outputs:
    """Files of a folder that are written once the figures are known: one that fails is a warning, and the figures stand.

    Attributes:
        folder: where they go.
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
