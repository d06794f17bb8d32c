"""Many trainings by key: run side by side, and the finished ones kept as lines of JSON, so that none is run again.

A job is one training. Its key holds everything that its result depends on: settings, a digest of the data, and the
version of gcnlab. A stored result stands for the job with its key and for no other.
"""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from . import __version__, distributed
from .checks import check_workers
from .errors import CorruptFileError
from .files import check_fields
from .machine import usable_cores
from .threads import exactly


@dataclass(frozen=True)
class Job:
    """One training in plain values, so that another process can run it. A subclass has the fields.

    Attributes:
        not_in_key: the fields on which the result does not depend.
    """

    not_in_key: ClassVar[tuple[str, ...]] = ()

    @property
    def is_shared(self) -> bool:
        """Whether the ranks of a process group train it together, instead of one of them alone."""
        return False

    def key(self) -> str:
        """What a result must have been made with to stand for this job."""
        plain = {name: value for name, value in asdict(self).items() if name not in self.not_in_key}
        return json.dumps({**plain, "gcnlab": __version__}, sort_keys=True)


AnyJob = TypeVar("AnyJob", bound=Job)


class Finished:
    """The results of finished jobs, and the file that keeps them: one line {"job": key, "result": {...}} each.

    Args:
        path: the file, which need not exist; None keeps the results in memory alone.
        of: what a result is of, for messages: "a fold".
        fields: of a result, as `files.check_fields` takes them.

    Attributes:
        results: key -> result.

    Raises CorruptFileError where a line holds no such result. A last line that was cut short counts as not written.
    """

    def __init__(self, path: Path | None, of: str, fields: Mapping[str, Any]) -> None:
        self.path = path
        self.results: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path is not None and path.exists() else b""
        *lines, last = content.split(b"\n")  # the last is empty, unless a write ended before its newline
        for number, line in enumerate([*lines, last] if last else lines, 1):
            try:
                key, result = _read(f"{path}, line {number}", line, f"is no result of {of} (delete the line)", fields)
                self.results[key] = result
            except CorruptFileError:
                if number <= len(lines):
                    raise

    def __contains__(self, job: Job) -> bool:
        return job.key() in self.results

    def __getitem__(self, job: Job) -> dict[str, Any]:
        return self.results[job.key()]

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """Keep a result, in place of a last line that was cut short. A full disk is a warning."""
        self.results[job.key()] = result
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                file.seek(0)
                content = file.read()
                last = content.rpartition(b"\n")[2]
                if last and _is_whole(last):
                    file.write(b"\n")
                elif last:
                    file.truncate(len(content) - len(last))
                file.write(json.dumps({"job": job.key(), "result": result}).encode() + b"\n")
        except OSError as problem:
            message = f"{self.path}: a result is not kept there, and will be made again: {problem}"
            warnings.warn(message, stacklevel=3)

    def warn_of_others(self, jobs: Sequence[Job]) -> None:
        """Warn where unfinished jobs have results, but of other data or from another version of gcnlab."""
        missing = [job.key() for job in jobs if job not in self]
        known, wanted = (
            [{**settings_of(key), "data": None, "gcnlab": None} for key in keys] for keys in (self.results, missing)
        )
        if count := sum(settings in known for settings in wanted):
            warnings.warn(
                f"{self.path}: {count} of its results are of other data or of another version of gcnlab, and are made "
                "again.", stacklevel=3,
            )  # fmt: skip


def _read(place: str, line: bytes, problem: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as reason:
        raise CorruptFileError(place, f"{problem}: {reason}.") from None
    check_fields(place, entry, {"job": str, "result": dict}, problem)
    return entry["job"], check_fields(place, entry["result"], fields, problem)


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def settings_of(key: str) -> dict[str, Any]:
    """The fields that `Job.key` made a key of; {"key": key} for a text that is no such key."""
    try:
        return dict(json.loads(key))
    except (ValueError, TypeError):
        return {"key": key}


def run_all(
    function: Callable[[AnyJob], dict[str, Any]], jobs: Sequence[AnyJob], workers: int | None = None
) -> Iterator[tuple[AnyJob, dict[str, Any]]]:
    """(job, function(job)) of each job as it is done.

    In a process group the ranks take one job each at a time, or all of them the same one where it `is_shared`.

    Args:
        function: named at the top of a module, so that another process finds it.
        jobs: the same in each rank.
        workers: processes, with one thread each; by default one per core that this process may use, and 1 in a daemonic
            process, which may start none. 1 runs the jobs here, with as many threads as their work needs.
    """
    ranks = distributed.ranks()
    if not ranks.is_lone:
        yield from _over_ranks(ranks, function, jobs)
        return
    workers = count_workers(workers)
    if workers == 1 or len(jobs) < 2:
        yield from ((job, function(job)) for job in jobs)
    else:
        yield from distributed.in_processes(partial(_on_one_thread, function), jobs, workers)


def count_workers(workers: int | None) -> int:
    """How many jobs run at the same time: in a process group one a rank, else as many as `run_all` starts processes."""
    ranks = distributed.ranks()
    if not ranks.is_lone:
        return ranks.size
    if workers is not None:
        return check_workers("workers", workers)
    return 1 if multiprocessing.current_process().daemon else usable_cores()


def _on_one_thread(function: Callable[[AnyJob], dict[str, Any]], job: AnyJob) -> dict[str, Any]:
    with exactly(1):
        return function(job)


def _over_ranks(
    ranks: distributed.Ranks, function: Callable[[AnyJob], dict[str, Any]], jobs: Sequence[AnyJob]
) -> Iterator[tuple[AnyJob, dict[str, Any]]]:
    for start in range(0, len(jobs), ranks.size):
        at_once = jobs[start : start + ranks.size]
        if at_once[0].is_shared:
            yield from ((job, function(job)) for job in at_once)
            continue
        result = None
        if ranks.rank < len(at_once):
            with distributed.alone():
                result = function(at_once[ranks.rank])
        ranks.meet()
        yield from zip(at_once, ranks.gather_objects(result), strict=False)  # in the last round some ranks have none
