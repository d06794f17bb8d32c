"""The files of a data set, in a folder or in a zip archive, read into memory: nothing is ever unpacked to disk."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import DatasetFormatError, DatasetNotFoundError

MAX_BYTES = 2 << 30  # of a zip archive of one's own, unpacked

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(UnicodeDecodeError, ValueError, OSError),
)


class Source:
    """The files below a folder, or in a zip archive, by name.

    Args:
        path: a folder; a zip archive; or a folder that holds one zip archive and neither .txt nor .csv files.
        max_bytes: what an archive may hold, unpacked.

    Raises:
        DatasetNotFoundError: `path` does not exist.
        DatasetFormatError: not a readable zip archive; a member lies outside of it (an absolute path, or one with
            ".."), stands there twice, or is encrypted; or there are more bytes than `max_bytes`.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        if not path.exists():
            raise DatasetNotFoundError(f"{path}: no such file or folder.")
        if path.is_dir():
            archives = list(path.glob("*.zip"))
            if len(archives) == 1 and not any(path.glob("*.txt")) and not any(path.glob("*.csv")):
                path = archives[0]
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, str] = {}  # name -> the archive's name for it
        if path.is_file():
            try:
                self._zip = zipfile.ZipFile(path)
            except _DAMAGE as error:
                raise DatasetFormatError(path, f"not a readable zip archive: {error}"[:300]) from error
            self._list_members(max_bytes)

    def _list_members(self, max_bytes: int) -> None:
        assert self._zip is not None
        total = 0
        for info in self._zip.infolist():
            # The archives of the TU collection separate with two slashes: NAME//NAME_A.txt.
            name = "/".join(part for part in info.filename.split("/") if part not in ("", "."))
            inside = PurePosixPath(info.filename)
            if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name or "\0" in name:
                raise DatasetFormatError(self.path, "a member lies outside of the archive", value=info.filename[:80])
            if info.is_dir() or name.startswith("__MACOSX/"):
                continue
            if name in self._members:
                raise DatasetFormatError(self.path, "two members have one name", value=name[:80])
            total += info.file_size
            if total > max_bytes:
                raise DatasetFormatError(
                    self.path,
                    f"its members are larger than {max_bytes} bytes, the most that is unpacked of it; "
                    "if it is your own, unpack it and pass the folder",
                )
            self._members[name] = info.filename

    def find(self, suffix: str) -> list[str]:
        """The names of the files that end with `suffix`, sorted."""
        if self._zip is not None:
            return sorted(name for name in self._members if name.endswith(suffix))
        found = (file for file in self.path.iterdir() if file.is_file())
        return sorted(file.name for file in found if file.name.endswith(suffix))

    def label(self, name: str) -> str:
        """What a file is called in messages."""
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        """The bytes of one file; raises DatasetFormatError where it is missing, or the archive is damaged there."""
        if self._zip is None:
            path = self.path / name
            if not path.is_file():
                raise DatasetFormatError(path, "this file is missing")
            return path.read_bytes()
        if name not in self._members:
            raise DatasetFormatError(self.label(name), "this file is missing from the archive")
        try:
            # Gives at most the size that the archive states for it, which is part of the sum above.
            return self._zip.read(self._members[name])
        except _DAMAGE as error:
            raise DatasetFormatError(self.label(name), f"cannot be unpacked: {error}"[:300]) from error

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()
