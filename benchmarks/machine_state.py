"""Whether a machine is quiet enough to time something on it, and a process that keeps one of its cores busy."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

QUIET = 0.1  # of a core


def busy_cores(seconds=2.0):
    """Cores that others take while this process sleeps, stolen time of a virtual machine included: from /proc/stat.

    Elsewhere the system's load of the last minute.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return os.getloadavg()[0]

    def ticks():
        user, nice, system, idle, iowait, *others = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
        return user + nice + system + sum(others), idle + iowait

    before = ticks()
    time.sleep(seconds)
    taken, idle = (after - start for start, after in zip(before, ticks(), strict=True))
    return os.cpu_count() * taken / max(taken + idle, 1)


def refuse_unless_quiet(is_forced):
    """End the script where others take more than a tenth of a core; with `is_forced` only say so."""
    if (busy := busy_cores()) <= QUIET:
        return
    said = f"others take {busy:.2f} cores of this machine: end them or wait"
    if not is_forced:
        raise SystemExit(f"{said}; --force times nevertheless")
    print(f"warning: {said}", file=sys.stderr)


@contextmanager
def one_core_busy():
    """A second process computes without end for the block."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.communicate()
