"""Whole processes from start to end, in turn, beside `import torch` alone.

    python benchmarks/startup.py [--json benchmarks/results/startup.json]

Needs Cora's files (GCNLAB_DATA).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import gcnlab": ["-c", "import gcnlab"],
    "import torch_geometric": ["-c", "import torch_geometric"],
    "gcnlab run cora-gcn --seeds 1": ["-m", "gcnlab", "run", "cora-gcn", "--seeds", "1"],
    "examples/cora_gcn.py --dataset cora": [str(ROOT / "examples" / "cora_gcn.py"), "--dataset", "cora"],
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--runs", type=int, default=7)
parser.add_argument("--json")
args = parser.parse_args()

times: dict[str, list[float]] = {name: [] for name in COMMANDS}
for run in range(args.runs + 1):  # the first is not counted
    for name, command in COMMANDS.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        if run:
            times[name].append(time.perf_counter() - start)

median = {name: statistics.median(values) for name, values in times.items()}
for name, seconds in median.items():
    print(f"{name:<38} {seconds:6.2f} s   {seconds - median['import torch']:+6.2f} s")
if args.json:
    result = {"runs": args.runs, "seconds_median": median, "torch": torch.__version__, "python": sys.version.split()[0]}
    Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
