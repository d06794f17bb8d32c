"""Ten folds of a recipe of graph classification by the protocol gin, beside an older checkout of gcnlab, in turns.

    git worktree add /tmp/v1 7f94f03    # 1.0.0
    python benchmarks/folds.py /tmp/v1 mutag:350 proteins:50 [--json benchmarks/results/folds.json]

The number is that of the epochs. Each side is a process of its own, on all cores, as `gcnlab run NAME-gcn-mean --protocol gin` is; the time is that of the
whole run within it, data read and all folds trained, without the imports. Medians of the turns.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch

RUN = """
import sys, time
from gcnlab import recipes
start = time.perf_counter()
result = recipes.run(f"{sys.argv[1]}-gcn-mean", protocol="gin", epochs=int(sys.argv[2]))
print(time.perf_counter() - start, result["test_accuracy"]["mean"])
"""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("old", help="the older checkout")
parser.add_argument("datasets", nargs="+", help="mutag:350, ...")
parser.add_argument("--runs", type=int, default=2)
parser.add_argument("--json")
args = parser.parse_args()

sides = {"old": Path(args.old), "new": Path(__file__).parent.parent}
results = []
for name, _, epochs in (text.partition(":") for text in args.datasets):
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    accuracy = {}
    for _ in range(args.runs):
        for side, checkout in sides.items():
            environment = {**os.environ, "PYTHONPATH": str(checkout)}
            command = [sys.executable, "-c", RUN, name, epochs]
            printed = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment, cwd="/"
            ).stdout
            took, accuracy[side] = map(float, printed.split()[-2:])
            seconds[side].append(took)
    median = {side: statistics.median(values) for side, values in seconds.items()}
    ratio = median["old"] / median["new"]
    row = {"dataset": name, "epochs": int(epochs), "seconds_median": median, "ratio": ratio, "accuracy": accuracy}
    results.append(row)
    print(
        f"{name:<14} old {median['old']:7.1f} s   new {median['new']:7.1f} s   {ratio:5.2f} x   {accuracy}", flush=True
    )
if args.json:
    result = {
        "runs": args.runs,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "results": results,
    }
    Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
