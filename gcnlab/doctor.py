"""What of this machine gcnlab depends on, and for each problem the remedy: the command `gcnlab doctor`.

It runs where torch can be imported; every other package may be missing or broken. It changes nothing and downloads
nothing; where no data set is here, it asks one server for headers, to say whether there is a connection to fetch one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from . import __version__, threads
from .data import catalog
from .data.fetch import by_hand, edition, file_states, named_roots, place, why_unreachable
from .errors import DatasetNotFoundError, GcnlabError
from .files import is_writable, stale_temporaries
from .generators import generators_kept
from .graph import Graph
from .machine import available_memory, usable_cores
from .models import GCN
from .sparse import SparseMatrix

OLDEST_PYTHON = (3, 10)
OLDEST: dict[str, tuple[int, ...]] = {
    "torch": (2, 6), "numpy": (1, 23, 2), "scipy": (1, 9, 2), "pandas": (1, 5), "scikit-learn": (1, 1, 3),
    "networkx": (2, 5, 1), "matplotlib": (3, 8), "jinja2": (3, 0), "pooch": (0, 7), "shtab": (1, 10),
}  # fmt: skip
KNOWN_BAD = {("torch", "2.6.0"): "torch.export, and torch.compile of features that need no gradient, fail with it"}

# Each runtime dependency, the module that it is imported as, and what of gcnlab needs it.
DEPENDENCIES = {
    "torch": ("torch", "everything"),
    "numpy": ("numpy", "everything that reads or writes arrays"),
    "scipy": ("scipy", "to_scipy, from_scipy, `gcnlab compare`"),
    "pandas": ("pandas", "from_pandas, OGB's files"),
    "scikit-learn": ("sklearn", "the data set digits, the folds of gin and nested"),
    "networkx": ("networkx", "from_networkx, the data sets davis and les-miserables"),
    "torch-geometric": ("torch_geometric", "to_pyg, from_pyg, `gcnlab bench`"),
    "ogb": ("ogb", "ogb_evaluator"),
    "matplotlib": ("matplotlib", "curves and pictures"),
    "jinja2": ("jinja2", "reports"),
    "tqdm": ("tqdm", "progress bars"),
    "pooch": ("pooch", "downloads"),
    "requests": ("requests", "downloads"),
    "pillow": ("PIL", "folders of images"),
    "shtab": ("shtab", "`gcnlab completion`"),
}

LEAST_MEMORY = 1 << 30  # bytes
# An epoch on the whole of Cora's graph, of 2 threads with AVX-512: benchmarks/results/epoch-cora.json.
RECORDED_SECONDS = 0.00116
SLOWEST_SECONDS = 8 * RECORDED_SECONDS  # for a slow laptop; a core shared with other processes takes longer
_SPEED_SECONDS = 2.0  # that the epochs may take together
_GIB = 1 << 30
_CORA = threads.Step(rows=2708, features=1433, stored=49_216, entries=10_556, sites=2708)
_LARGE = threads.Step(rows=1e5, features=128, stored=128e5, entries=15e5, sites=1e5)


@dataclass(frozen=True)
class Problem:
    """One line of the list at the end."""

    check: str
    problem: str
    remedy: str


@dataclass
class Found:
    """What a check found: lines for people, the same as plain values, what is wrong, and what is right but worth knowing."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, problem: str, remedy: str) -> None:
        self.problems.append((problem, remedy))


@generators_kept()
def diagnose(
    root: str | None = None, verify: bool = False, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Look at versions, devices, CPU threads, memory, data roots and speed. It takes about 5 s, and does not raise.

    Where no data set is here, up to 4 s more: it then looks whether there is a connection to fetch one.

    Args:
        root: data root; by default those of `gcnlab.load`.
        verify: also import every dependency, and hash the data sets' files.
        say: gets lines of text for people.

    Returns:
        checks: for each check what it found, as plain values; problems: a list of check, problem and remedy; notes: a
        list of check and note, of what is no fault of the installation; seconds.
    """
    start = time.perf_counter()
    checks: dict[str, Callable[[], Found]] = {
        "versions": lambda: _versions(verify),
        "devices": _devices,
        "CPU threads": _threads,
        "memory": _memory,
        "data": lambda: _data(root, verify),
        "speed": _speed,
    }
    facts: dict[str, Any] = {}
    problems: list[Problem] = []
    notes: list[dict[str, str]] = []
    for name, check in checks.items():
        try:
            found = check()
        # What a broken package or file system raises is the finding; AttributeError: a folder shadows a package.
        except (OSError, ImportError, RuntimeError, ValueError, AttributeError, MemoryError) as error:
            found = Found(["could not be checked"])
            remedy = "reinstall the package that the message names, with `pip install --force-reinstall`"
            if isinstance(error, GcnlabError | OSError | MemoryError):
                remedy = "mend what the message names"
            found.wrong(f"{type(error).__name__}: {' '.join(str(error).split())}", remedy)
        say(name)
        for line in found.lines:
            say(f"  {line}")
        facts[name] = found.facts
        problems += [Problem(name, *problem) for problem in found.problems]
        notes += [{"check": name, "note": note} for note in found.notes]
    say("")
    for note in notes:
        say(f"note: {note['check']}: {note['note']}")
    if problems:
        say(f"{len(problems)} problem{'s' * (len(problems) > 1)}")
    for number, problem in enumerate(problems, 1):
        say(f"{number}. {problem.check}: {problem.problem}")
        say(f"   remedy: {problem.remedy}")
    if not problems:
        say("no problem found")
    return {
        "checks": facts,
        "problems": [asdict(problem) for problem in problems],
        "notes": notes,
        "seconds": time.perf_counter() - start,
    }


# -- versions ---------------------------------------------------------------------------------------------------------


def _versions(verify: bool) -> Found:
    found = Found()
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    versions = {"gcnlab": __version__, "python": platform.python_version()}
    notes = {"gcnlab": str(Path(__file__).parent), "python": sys.executable, "torch": f"built for {built_for}"}
    if sys.version_info < OLDEST_PYTHON:
        found.wrong(f"Python is {versions['python']}", "install Python 3.10 or newer")
    for name, (module, needed_by) in DEPENDENCIES.items():
        version = versions[name] = _version(name, module)
        upgrade = f"pip install --upgrade {name}"
        if version == "missing":
            found.wrong(f"{name} is missing, which {needed_by} needs", upgrade)
            continue
        oldest = OLDEST.get(name, ())
        if version[0].isdigit() and _numbers(version) < oldest:
            least = ".".join(map(str, oldest))
            found.wrong(f"{name} is {version}, older than {least}", f"pip install --upgrade '{name}>={least}'")
        if why := KNOWN_BAD.get((name, version.partition("+")[0])):
            found.wrong(f"{name} is {version}; {why}", upgrade)
        if verify and (problem := _import_problem(module)):
            remedy = f"pip install --force-reinstall {name}"
            found.wrong(f"{name} cannot be imported, which {needed_by} needs ({problem})", remedy)
    if versions.get("numpy", "missing") != "missing":
        try:
            torch.zeros(1).numpy()
        except RuntimeError as error:  # torch was built for another series of it
            found.wrong(f"torch does not work with this numpy: {error}", "pip install --upgrade torch numpy")
    found.lines = [f"{name:<16} {version:<14} {notes.get(name, '')}".rstrip() for name, version in versions.items()]
    found.facts = {**versions, "torch built for": built_for}
    return found


def _version(name: str, module: str) -> str:
    """The installed version, "missing", or "unknown" of a module that came without a package's own files."""
    try:
        return metadata.version(name) or "unknown"
    except metadata.PackageNotFoundError:
        return "missing" if importlib.util.find_spec(module) is None else "unknown"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))


def _import_problem(module: str) -> str:
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError, SyntaxError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


# -- devices ----------------------------------------------------------------------------------------------------------


def _devices() -> Found:
    found = Found([f"cpu     {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"])
    found.facts = {
        "cpu": platform.machine(),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "cuda devices": [],
        "no cuda because": None,
    }
    has_driver = has_nvidia_driver()
    if not torch.version.cuda:
        reason = "torch is built for the CPU"
        if has_driver:
            found.wrong(
                "this machine has NVIDIA's driver, but torch is built for the CPU",
                "install torch for CUDA (its site names the command), or go on with the CPU",
            )
    elif not torch.cuda.is_available():
        reason = "no NVIDIA driver is here" if not has_driver else "torch, built for CUDA, sees none"
        if has_driver:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            found.wrong(
                "this machine has NVIDIA's driver, but torch sees no CUDA device",
                f"CUDA_VISIBLE_DEVICES is {visible!r}: unset it"
                if visible is not None
                else f"see whether nvidia-smi lists one, and whether its driver serves CUDA {torch.version.cuda}",
            )
    else:
        for index in range(torch.cuda.device_count()):
            _cuda_device(index, found)
        return found
    found.facts["no cuda because"] = reason
    found.lines.append(f"cuda    none: {reason}")
    return found


def has_nvidia_driver() -> bool:
    """Whether this machine seems to have a GPU of NVIDIA's, whatever torch says."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _cuda_device(index: int, found: Found) -> None:
    name, free, total = torch.cuda.get_device_name(index), None, None
    try:
        free, total = torch.cuda.mem_get_info(index)
        torch.ones(1, device=f"cuda:{index}").add(1).cpu()
    except RuntimeError as error:  # out of memory; no kernel for its architecture
        found.wrong(
            f"cuda:{index} ({name}) does not compute: {' '.join(str(error).split())}",
            "see with nvidia-smi who holds its memory; if nobody, install a torch built for it; or use --device cpu",
        )
    memory = "" if free is None or total is None else f", {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    found.lines.append(f"cuda:{index}  {name}{memory}")
    found.facts["cuda devices"].append({"name": name, "free bytes": free, "total bytes": total})


# -- CPU threads ------------------------------------------------------------------------------------------------------


def _threads() -> Found:
    number, there, usable = torch.get_num_threads(), os.cpu_count() or 1, usable_cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    asked = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    found = Found()
    found.facts = {"threads": number, "cores": there, "usable cores": usable, "load": load, **asked}
    variables = ", ".join(f"{name} is {value or 'not set'}" for name, value in asked.items())
    found.lines.append(f"torch uses {number}; {variables}")
    busy = "" if load is None else f"; {load:.1f} processes ran or waited in the last minute"
    found.lines.append(f"this process may use {usable} of {there} cores{busy}")
    _threads_of_fit(found)
    for name, value in asked.items():
        if value and threads.variable(name) is None:
            found.wrong(f"{name} is {value!r}, which is no number of threads", f"export {name}={usable}")
    told = threads.users_number()
    if told is not None and told.number > max(usable, number):
        found.wrong(
            f"{told.by} is {told.number}, and this process may use {usable} core{'s' * (usable > 1)}",
            f"export {told.by}={usable}",
        )
    if number > usable:
        found.wrong(
            f"torch uses {number} threads, and this process may use {usable} core{'s' * (usable > 1)}: they wait for each other",
            f"export OMP_NUM_THREADS={usable}, or `--threads {usable}` where a command takes it",
        )
    return found


def _threads_of_fit(found: Found) -> None:
    told, gives_way = threads.users_number(), threads.can_give_way()
    cora, large = (threads.number_for(threads.work_of(GCN(step.features, 16, 7), step)) for step in (_CORA, _LARGE))
    found.facts |= {"threads on Cora": cora, "threads on a large graph": large, "waits give way": gives_way}
    found.facts["number told by"] = None if told is None else told.by
    if told is None:
        found.lines.append(f"fit takes as many as a step needs: {cora} on Cora, {large} on a graph of 100,000 nodes")
    else:
        found.lines.append(f"fit takes {told.number}, as {told.by} says; without, it takes as many as a step needs")
    found.lines.append(
        "where other processes want the cores, waits give way to them"
        if gives_way
        else "waits do not follow the load: that takes libgomp, schedstat in /proc, and no OMP_WAIT_POLICY or GOMP_SPINCOUNT"
    )


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory() -> Found:
    free, total = available_memory(), None
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = Found(facts={"available bytes": free, "total bytes": total, "limits": {}})
    if free is None:
        found.lines.append("unknown on this system")
        return found
    of_all = "" if total is None else f" of {total / _GIB:.1f}"
    found.lines.append(f"{free / _GIB:.1f}{of_all} GiB available to this process")
    import resource  # which systems have that say what is free

    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        if (limit := resource.getrlimit(getattr(resource, name))[0]) != resource.RLIM_INFINITY:
            found.facts["limits"][name] = limit
            found.lines.append(f"{name} is {limit / _GIB:.1f} GiB")
    if free < LEAST_MEMORY:
        found.wrong(
            f"{free / _GIB:.2f} GiB are available, and a small recipe takes {LEAST_MEMORY / _GIB:.0f}",
            "end what holds the memory, or raise the limit of this process (ulimit, the container's)",
        )
    return found


# -- data -------------------------------------------------------------------------------------------------------------


def _data(root: str | None, verify: bool) -> Found:
    found = Found()
    roots, said_by = named_roots(root)
    states = [_root(folder, said_by, verify, found) for folder in roots]
    complete = {name for state in states for name, wrong in state["sets"].items() if not wrong}
    found.facts = {"roots": states, "connection": None, "no connection because": None}
    if not complete:
        _note_no_data_set(roots, found)
    for folder, state in zip(roots, states, strict=True):
        for name, wrong in state["sets"].items():
            entry = edition(name, catalog()[name], [folder])
            missing = [file for file in entry["files"] if wrong.get(file["name"]) == "missing"]
            if missing and name not in complete:  # in another root
                remedy = by_hand(missing, folder / place(name, entry))
                if all(file["url"] for file in missing):
                    remedy = f"`gcnlab data fetch {name}`; without a network: {remedy}"
                found.wrong(f"{name} in {folder} lacks {len(missing)} of {len(entry['files'])} files", remedy)
    if all(state["state"] in ("read-only", "unreadable", "a file") for state in states):
        found.wrong(
            f"no data root can be written ({', '.join(map(str, roots))}): nothing can be downloaded, and what is read "
            "is read anew each time",
            f"export GCNLAB_DATA=FOLDER{os.pathsep}{os.pathsep.join(map(str, roots))} with a FOLDER of your own",
        )
    return found


def _note_no_data_set(roots: list[Path], found: Found) -> None:
    """Say that no data set is in the roots, whether one can be fetched, and what works without."""
    name, entry = next(
        (name, entry) for name, entry in catalog().items() if entry["files"] and entry["files"][0]["url"]
    )
    url = entry["files"][0]["url"]
    try:
        reason = why_unreachable(url)
    except DatasetNotFoundError as error:  # for want of requests
        reason = str(error)
    found.facts |= {"connection": not reason, "no connection because": reason or None}
    how = f"`gcnlab data fetch {name}` brings one"
    if reason:
        how = (
            f"there is no connection to fetch one ({url}: {reason}), and `gcnlab data fetch {name}` says which files to put "
            "where"
        )
    embedded = ", ".join(name for name, entry in catalog().items() if entry["embedded"])
    found.notes.append(
        f"no data set is in {', '.join(map(str, roots))}; {how}. Without files there are {embedded}, as in `gcnlab run "
        "karate-gcn`, and your own files by their path"
    )


def _root(folder: Path, said_by: str, verify: bool, found: Found) -> dict[str, Any]:
    """A data root as plain values; "sets" are those that it has files of, each with its files that are not right."""
    state = _root_state(folder, said_by, found)
    sets: dict[str, dict[str, str]] = {}
    stale: list[str] = []
    if state in ("writable", "read-only"):
        for name, entry in ((name, edition(name, entry, [folder])) for name, entry in catalog().items()):
            raw = folder / place(name, entry)
            states = file_states(raw, entry["files"], verify)
            wrong = {file: what for file, what in states.items() if what not in ("ok", "unverified")}
            if len(wrong) < len(entry["files"]) or set(wrong.values()) - {"missing"}:
                sets[name] = wrong
            if damaged := [f"{file} ({what})" for file, what in wrong.items() if what != "missing"]:
                remedy = f"remove what is wrong and fetch again with `gcnlab data fetch {name}`"
                found.wrong(f"{raw} holds files that are not the source's: {', '.join(damaged)}", remedy)
        inside = [folder, *folder.glob("*/"), *folder.glob("*/*/")]
        stale = [str(path) for where in inside if where.is_dir() for path in stale_temporaries(where)]
        if stale:
            found.wrong(f"{folder} holds temporary files of killed processes ({len(stale)})", f"rm {shlex.join(stale)}")
    free = shutil.disk_usage(folder).free if state == "writable" else None
    found.lines.append(f"{folder}: {state}" + ("" if free is None else f", {free / _GIB:.1f} GiB free"))
    for title, is_right in (("complete", True), ("not complete", False)):
        if names := [name for name, wrong in sets.items() if (not wrong) == is_right]:
            found.lines.append(f"  {title}: {', '.join(names)}")
    return {"path": str(folder), "state": state, "free bytes": free, "sets": sets, "stale temporaries": stale}


def _root_state(folder: Path, said_by: str, found: Found) -> str:
    if folder.is_dir():
        if os.access(folder, os.R_OK | os.X_OK):
            return "writable" if is_writable(folder) else "read-only"
        found.wrong(f"{said_by}: {folder} cannot be read", f"chmod u+rx {folder}, as its owner")
        return "unreadable"
    if folder.exists():
        found.wrong(f"{said_by}: {folder} is a file", "name a folder that holds data sets instead")
        return "a file"
    if said_by == "the default data root":
        return "not there yet, made when it is needed"
    found.wrong(f"{said_by}: {folder} does not exist", f"mkdir -p {folder}, or correct the path")
    return "missing"


# -- speed ------------------------------------------------------------------------------------------------------------


def _speed() -> Found:
    from .bench import gcnlab_epoch

    epoch = gcnlab_epoch(_graph_of_coras_size(), whole=True)
    epoch()
    seconds, share = _median(epoch)
    found = Found(
        [
            f"an epoch of a GCN on a graph of Cora's size: {1000 * seconds:.1f} ms, expected at most "
            f"{1000 * SLOWEST_SECONDS:.0f} ms; recorded {1000 * RECORDED_SECONDS:.1f} ms on 2 cores"
        ],
        {"epoch seconds median": seconds, "expected at most": SLOWEST_SECONDS, "share of a core": share},
    )
    if seconds <= SLOWEST_SECONDS:
        return found
    alone = seconds
    if torch.get_num_threads() > 1:
        with threads.exactly(1):
            alone, _ = _median(epoch)
        found.lines.append(f"the same with one thread: {1000 * alone:.1f} ms")
        found.facts["epoch seconds median, one thread"] = alone
    causes = []
    if share < 0.7:
        causes.append(
            f"other processes (or a limit of CPU time) left it {100 * share:.0f} % of a core: end them, wait, or run where "
            "cores are free"
        )
    if alone < seconds / 2:
        causes.append(f"one thread takes {1000 * alone:.1f} ms: export OMP_NUM_THREADS=1, or more as far as they help")
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        causes.append(
            "torch uses none of this processor's vector instructions: unset ATEN_CPU_CAPABILITY, if it is set"
        )
    otherwise = "see whether the machine saves power, is hot, or is emulated; `gcnlab bench cora` compares with PyG"
    found.wrong(
        f"an epoch takes {seconds / RECORDED_SECONDS:.0f} times what was recorded", "; ".join(causes) or otherwise
    )
    return found


def _graph_of_coras_size() -> Graph:
    """2,708 nodes, 10,556 stored edges, 1,433 features of which 49,216 are not zero, 7 classes, 140 labels; random."""
    drawn = torch.Generator().manual_seed(0)
    num_nodes, num_features = 2708, 1433
    source, target = torch.randint(num_nodes, (2, 5278), generator=drawn)
    row = torch.randint(num_nodes, (49216,), generator=drawn)
    column = torch.randint(num_features, (49216,), generator=drawn)
    x = SparseMatrix.from_edges(torch.stack([column, row]), shape=(num_nodes, num_features)).row_normalized()
    return Graph.from_edges(
        torch.stack([torch.cat([source, target]), torch.cat([target, source])]), num_nodes, x=x,
        y=torch.randint(7, (num_nodes,), generator=drawn), train_mask=torch.arange(num_nodes) < 140,
    )  # fmt: skip


def _median(epoch: Callable[[], None]) -> tuple[float, float]:
    """(median wall seconds of an epoch, CPU seconds of this thread a wall second) of up to 200 epochs."""
    times: list[float] = []
    start, cpu_start = time.perf_counter(), time.thread_time()
    while len(times) < 200 and (not times or time.perf_counter() - start < _SPEED_SECONDS):
        before = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - before)
    wall, cpu = time.perf_counter() - start, time.thread_time() - cpu_start
    return sorted(times)[len(times) // 2], min(cpu / wall, 1.0)
