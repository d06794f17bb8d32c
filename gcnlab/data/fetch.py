"""Where data sets lie, and how their files get there: found, compared with their sha256, downloaded where missing.

A data root holds `<name>/raw/<file>`, the bytes of the source, and `<name>/processed/`, which gcnlab can make again.
Sets of one family share a folder of raw files, `<home>/raw/`, where the manifest names a "home".
The roots are the argument `root`; else the folders of the environment variable GCNLAB_DATA, separated as in PATH; else
`datasets/` of a checkout; else the user's cache folder. Any may be read-only; what is written goes to the first that is
not.
"""

from __future__ import annotations

import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..checks import check_package
from ..errors import ChecksumError, DatasetNotFoundError, FileAccessError, InputError, InputTypeError
from ..files import atomic_write, is_writable, lock, sha256_of
from ..machine import has_terminal

_CONNECT_SECONDS = 4.0  # for a whole data set, a name server that never answers included
_CHUNK = 1 << 16  # bytes
_STALL_SECONDS = 30.0  # without a chunk, or the rest of a file, once connected: 2 kB/s is the lowest rate


@contextmanager
def closed_files_named() -> Iterator[None]:
    """Around what reads a data root: the system's PermissionError becomes one that says what to do."""
    try:
        yield
    except PermissionError as error:
        if isinstance(error, FileAccessError) or error.filename is None:
            raise
        raise FileAccessError(error.filename) from error


def file_states(folder: Path, files: Sequence[Mapping[str, Any]], by_sha256: bool = True) -> dict[str, str]:
    """For each file "ok", "missing", "wrong size", "wrong sha256", or "unverified" where its source publishes none.

    Args:
        folder: where the files lie.
        files: of the catalog, with name, size and sha256.
        by_sha256: whether to read them; else only their sizes are compared.
    """

    def state(file: Mapping[str, Any]) -> str:
        path = folder / file["name"]
        if not path.is_file():
            return "missing"
        if by_sha256 and file["sha256"]:
            return "ok" if sha256_of(path) == file["sha256"] else "wrong sha256"
        if file["size"] is not None and path.stat().st_size != file["size"]:
            return "wrong size"
        return "unverified" if by_sha256 else "ok"

    return {file["name"]: state(file) for file in files}


def data_roots(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders in which data sets are looked for, in order; they need not exist.

    Raises:
        InputTypeError: `root` is not a path.
        InputError: one of them is a file.
    """
    roots, said_by = named_roots(root)
    for folder in roots:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{said_by}: {folder} is a file, expected a folder that holds data sets.")
    return roots


def named_roots(root: str | os.PathLike[str] | None = None) -> tuple[list[Path], str]:
    """The data roots, whatever they are, and what names them: "root", "GCNLAB_DATA" or "the default data root"."""
    if root is not None:
        if not isinstance(root, str | os.PathLike):
            raise InputTypeError(f"root: got {type(root).__name__}, expected the path of a folder.")
        given, said_by = [os.fspath(root)], "root"
    elif folders := [folder for folder in os.environ.get("GCNLAB_DATA", "").split(os.pathsep) if folder]:
        given, said_by = folders, "GCNLAB_DATA"
    else:
        given, said_by = [os.fspath(_default_root())], "the default data root"
    return [expand_user(folder) for folder in given], said_by


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path, with the home folder for ~; raises InputError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path}: this user has no home folder, as HOME is not set and the system knows none; write the path without "
            "~, and set GCNLAB_DATA to a folder for data sets."
        ) from None


def _default_root() -> Path:
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "datasets"
    if sys.platform == "win32":
        cache = expand_user(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    elif sys.platform == "darwin":
        cache = expand_user("~/Library/Caches")
    else:
        cache = expand_user(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache / "gcnlab"


def writable_folder(name: str, roots: list[Path]) -> Path | None:
    """`<root>/<name>` in the first root where it can be written; None where there is none."""
    return next((root / name for root in roots if is_writable(root / name)), None)


def place(name: str, entry: Mapping[str, Any]) -> Path:
    """Where the files of a set lie below a data root: `<name>/raw`.

    Where `entry` says "home", sets share the folder of this name; where it says "folder", files are there instead of `raw`.
    """
    return Path(entry.get("home", name), entry.get("folder", "raw"))


def edition(name: str, entry: dict[str, Any], roots: list[Path]) -> dict[str, Any]:
    """The entry for the files that are here: the set's own, else its published archive, where `entry` names one.

    A set's own files are stated by sha256. Some of them no address serves, since they are conversions of an archive whose
    bytes were never seen: "published" says how to fetch and read it, into `<name>/published`.
    """
    published = entry.get("published")
    if published is None or not _missing(raw_folder(name, entry, roots), entry):
        return entry
    return {**entry, "path": published["files"][0]["name"], "folder": "published", "has_folds": False, **published}


def raw_folder(name: str, entry: Mapping[str, Any], roots: list[Path]) -> Path:
    """The first folder of raw files in `roots` that holds every file of `entry`; else the one that missing files belong into."""
    inside = place(name, entry)
    for root in roots:
        if all((root / inside / file["name"]).is_file() for file in entry["files"]):
            return root / inside
    return next((root for root in roots if is_writable(root / inside)), roots[0]) / inside


def fetch_raw(name: str, entry: dict[str, Any], roots: list[Path], download: bool = True) -> Path:
    """The folder of a data set's raw files, each of the sha256 that the manifest states, if it does; missing ones are
    downloaded.

    Raises:
        ChecksumError: a file has other bytes. It is left as it is.
        DatasetNotFoundError: files are missing and cannot be had; says which ones to put where.
    """
    folder = raw_folder(name, entry, roots)
    if missing := _missing(folder, entry):
        if not download:
            raise DatasetNotFoundError(f"{name} is not complete on this machine. {by_hand(missing, folder)}.")
        if not all(file["url"] for file in missing):
            is_known = all(file["sha256"] for file in missing)
            reason = "no address serves these bytes" if is_known else "its source publishes no sha256 to check them by"
            raise DatasetNotFoundError(f"{name} cannot be downloaded: {reason}. {by_hand(missing, folder)}.")
        if not is_writable(folder):
            raise DatasetNotFoundError(
                f"{name} cannot be downloaded: no data root can be written ({', '.join(map(str, roots))}); "
                "set GCNLAB_DATA to a folder that can."
            )
        _check_connection(name, missing, folder)
        with lock(folder.parent):
            _download(name, _missing(folder, entry), folder)  # another process may have brought them meanwhile
    for file in entry["files"]:
        if file["sha256"]:
            check_file(folder / file["name"], file)
    return folder


def check_file(path: Path, file: dict[str, Any]) -> None:
    """Compare a file with its entry in the manifest; raises ChecksumError."""
    found = sha256_of(path)
    if found != file["sha256"]:
        raise ChecksumError(path, file["sha256"], found)


def _check_kind(path: Path) -> None:
    """Raise InputError for what is neither a zip archive (which npz files are) nor a Matlab file, such as a page to sign in."""
    with path.open("rb") as content:
        start = content.read(10)
    if start != b"MATLAB 5.0" and not zipfile.is_zipfile(path):
        raise InputError(f"it sent {path.stat().st_size} bytes that are no archive")


def _missing(folder: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [file for file in entry["files"] if not (folder / file["name"]).is_file()]


def by_hand(missing: list[dict[str, Any]], folder: Path) -> str:
    """What a user without a connection can do: the same in every message."""
    names = ", ".join(file["name"] for file in missing)
    origins = (file["url"].rpartition("/")[0] if file["url"] else file["origin"] for file in missing)
    sources = ", ".join(dict.fromkeys(origins))
    return f"Put into {folder} these files: {names} (from {sources})"


class _Limited:
    """A file that passes on what is written, up to a limit: a server that never ends must not fill the disk."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self.left = file, limit

    def write(self, content: bytes) -> None:
        self.left -= len(content)
        if self.left < 0:
            raise InputError("it sent more bytes than the file has")
        self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def _download(name: str, missing: list[dict[str, Any]], folder: Path) -> None:
    HTTPDownloader = check_package("a download", "pooch", error=DatasetNotFoundError).HTTPDownloader
    RequestException = check_package("a download", "requests", error=DatasetNotFoundError).RequestException
    downloader = HTTPDownloader(
        progressbar=has_terminal(), chunk_size=_CHUNK, timeout=(_CONNECT_SECONDS, _STALL_SECONDS)
    )
    for index, file in enumerate(missing):
        with atomic_write(folder / file["name"]) as temporary:
            try:
                _run_steadily(downloader, file["url"], _Limited(temporary, file["size"] or file["max_bytes"]))
                if file["sha256"] is None:
                    _check_kind(Path(temporary.name))
                else:
                    check_file(Path(temporary.name), file)
            except (RequestException, InputError, ChecksumError) as error:
                reason = _reason(error, Path(temporary.name), file)
                raise DatasetNotFoundError(
                    f"{name}: {file['url']} did not give {file['name']} ({reason}); "
                    f"nothing of it was kept. {by_hand(missing[index:], folder)}."
                ) from error


def _run_steadily(downloader: Callable[..., None], url: str, file: _Limited) -> None:
    """Download, or raise InputError where a chunk takes too long.

    In a thread: requests has a timeout for a byte, and none for a chunk, which a server of a byte per second can fill
    for hours.
    """
    failure: list[BaseException] = []

    def download() -> None:
        try:
            downloader(url, file, None)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    left = None
    while thread.is_alive():
        if file.left == left:  # the thread ends when it writes to the file, which is closed by then
            raise InputError(f"it sent less than {_CHUNK >> 10} KiB in {_STALL_SECONDS:g} s")
        left = file.left
        thread.join(_STALL_SECONDS)
    if failure:
        raise failure[0]


def _reason(error: Exception, temporary: Path, file: dict[str, Any]) -> str:
    if not isinstance(error, ChecksumError):
        return str(error)
    size = temporary.stat().st_size
    with open(temporary, "rb") as content:
        page = content.read(512).lstrip().lower().startswith((b"<!doctype", b"<html"))
    what = "an HTML page" if page else "other bytes" if size == file["size"] else "a file"
    return f"it sent {what} of {size} bytes, expected {file['size']} bytes with sha256 {file['sha256']}"


def why_unreachable(url: str) -> str:
    """Why no server answers for this address within 4 s, or "" if one does. Only headers are asked for.

    In a thread: no timeout of requests covers a name server that hangs.
    """
    requests = check_package("a download", "requests", error=DatasetNotFoundError)
    failure: list[str] = [f"no answer within {_CONNECT_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            requests.head(url, timeout=_CONNECT_SECONDS, allow_redirects=True).close()
            failure.clear()  # whatever the status: the download itself will say
        except Exception as error:  # requests lets some of other kinds through
            first: BaseException = error  # what the operating system said, under three layers of wrapping
            while first.__context__ is not None:
                first = first.__context__
            failure[0] = str(first) or type(first).__name__

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    if "certificate" in "".join(failure):  # requests names at most the file, not the variable that names it
        variables = [name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)]
        failure += [f"{name} is {os.environ[name]}" for name in variables[:1]]
    return "; ".join(failure)


def _check_connection(name: str, missing: list[dict[str, Any]], folder: Path) -> None:
    url = missing[0]["url"]
    if reason := why_unreachable(url):
        raise DatasetNotFoundError(f"{name}: cannot reach {url} ({reason}). {by_hand(missing, folder)}.")
