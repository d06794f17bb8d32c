"""What this machine is, and what a process may use of it: cores, memory, devices, and a terminal to speak to."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from .errors import InputError

OWN_GROUPS = Path("/proc/self/cgroup")  # the kernel's list of the control groups that this process is in
MOUNTED_GROUPS = Path("/sys/fs/cgroup")
_INNER = (os.path.dirname(__file__), os.path.dirname(torch.__file__), contextlib.__file__)

# -- cores and memory -------------------------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where a control group grants less time."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cpu_quota(own: Path = OWN_GROUPS, mounted: Path = MOUNTED_GROUPS) -> float | None:
    """Seconds of CPU time per second that the control groups of this process grant it; None where there is no limit."""
    quotas = []
    for folder, is_first_version in _groups("cpu", own, mounted):
        if is_first_version:
            quota, period = _word(folder / "cpu.cfs_quota_us"), _word(folder / "cpu.cfs_period_us")
        else:
            quota, period = _word(folder / "cpu.max"), _word(folder / "cpu.max", 1)
        if quota.isdigit() and period.isdigit():  # "max" and -1 stand for no limit
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def available_memory(own: Path = OWN_GROUPS, mounted: Path = MOUNTED_GROUPS) -> int | None:
    """Bytes that this process may still take: what the system has free, or less where a limit says so. None: unknown."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    free = [int(meminfo.read_text().split("MemAvailable:")[1].split()[0]) << 10]
    for folder, is_first_version in _groups("memory", own, mounted):
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if is_first_version else ("memory.max", "memory.current")
        )
        limit, used = (_word(folder / name) for name in names)
        if limit.isdigit():  # "max" stands for no limit
            free.append(int(limit) - int(used or 0))
    import resource

    pages = [int(count) * resource.getpagesize() for count in Path("/proc/self/statm").read_text().split()]
    for which, taken in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        if (most := resource.getrlimit(which)[0]) != resource.RLIM_INFINITY:
            free.append(most - taken)
    return max(min(free), 0)


def peak_memory_mib() -> float:
    """The largest resident size that this process has had so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, where getrusage tells the parent's size if that is larger
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _groups(controller: str, own: Path, mounted: Path) -> Iterator[tuple[Path, bool]]:
    """The folder of each control group of this process, from its own up to the root, and whether it is of version 1.

    Args:
        controller: "cpu" or "memory".
        own: lines "number:controllers:path"; version 2 has no controllers.
        mounted: where the groups are mounted. In a container the path may lie outside of it; its own group is the root.
    """
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mounted / controllers
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            yield folder, bool(controllers)


def _word(file: Path, index: int = 0) -> str:
    try:
        return file.read_text().split()[index]
    except (OSError, IndexError):
        return ""


# -- facts for a report -----------------------------------------------------------------------------------------------


def processor() -> str:
    """The processor's name, as the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def describe() -> dict[str, str]:
    """Processor with its number of cores, system and, where there is one, GPU: plain text by name."""
    found = {"processor": f"{processor()}, {os.cpu_count()} cores", "system": platform.platform()}
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    """The versions that a result is made with: of gcnlab, torch and Python."""
    from . import __version__  # here: the package is no room below this one

    return {"gcnlab": __version__, "torch": torch.__version__, "python": platform.python_version()}


# -- what is said -----------------------------------------------------------------------------------------------------


def has_terminal() -> bool:
    """Whether stderr is a terminal. A process may have no stderr, or a closed one."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def tell(message: str) -> None:
    """Print "gcnlab: message" on stderr; where there is none, or nobody can read it any more, say nothing."""
    if sys.stderr is not None:  # for None, print takes stdout
        with suppress(OSError, ValueError):
            print(f"gcnlab: {message}", file=sys.stderr, flush=True)


def warn_caller(message: str) -> None:
    """Warn at the line of the user's own code: the nearest one outside of gcnlab, torch and context managers."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INNER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


# -- devices ----------------------------------------------------------------------------------------------------------


def is_same_device(a: torch.device | str, b: torch.device | str) -> bool:
    """Whether two names are of one device: "cpu:0" is "cpu", and "cuda" the current CUDA device.

    >>> is_same_device("cpu", "cpu:0"), is_same_device("cpu", "meta")
    (True, False)
    """
    if a == b:  # nearly always; each product asks
        return True
    a, b = torch.device(a), torch.device(b)
    return a.type == b.type and _index(a) == _index(b)


def _index(device: torch.device) -> int:
    if device.index is not None or device.type in ("cpu", "meta"):
        return device.index or 0
    return int(torch.get_device_module(device).current_device())


def check_devices(**values: Any) -> None:
    """Raise InputError where two values, of those that are on a device, are on different ones; names both.

    >>> check_devices(x=torch.ones(2), y=[0, 1])
    """
    found = {
        name: value.device for name, value in values.items() if isinstance(getattr(value, "device", None), torch.device)
    }
    first = next(iter(found), "")
    for name, device in found.items():
        if not is_same_device(device, found[first]):
            raise InputError(f"{name}: is on {device}, but {first} is on {found[first]}; move one with .to(device).")
