"""The two kernels under everything, beside what torch offers: the CSR product and dropout, on a CPU.

    python benchmarks/kernels.py [--threads 2] [--json benchmarks/results/kernels.json]

The product: gcnlab's (a weighted bag of embeddings), MKL's (`csr @ x`) and ATen's (`torch.sparse.mm(csr, x, "sum")`), on a
random graph of 20 entries a row. Dropout: gcnlab's lanes of random words and `F.dropout`, p = 0.5 and p = 0.3.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import gcnlab

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json")
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)


def compare(sides, repeats):
    """Median seconds of each side, in turn."""
    times = {name: [] for name in sides}
    for i in range(repeats + 3):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if i >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


rows = []
for num_nodes in (3_000, 20_000, 150_000):
    a = gcnlab.SparseMatrix.from_edges(torch.randint(num_nodes, (2, 20 * num_nodes)), num_nodes)
    csr = a.to_torch()
    for width in (8, 16, 64, 256):
        x = torch.randn(num_nodes, width)
        sides = {
            "gcnlab": lambda a=a, x=x: a @ x,
            "MKL": lambda csr=csr, x=x: csr @ x,
            "ATen": lambda csr=csr, x=x: torch.sparse.mm(csr, x, "sum"),
        }
        case = f"product, {num_nodes:,} rows, {a.nnz:,} entries, {width} columns"
        rows.append({"case": case, "seconds_median": compare(sides, 200 if num_nodes < 10_000 else 10)})
for size in (50_000, 1_000_000, 20_000_000):
    x = torch.randn(size)
    for p in (0.5, 0.3):
        sides = {
            "gcnlab": lambda x=x, p=p: gcnlab.dropout(x, p),
            "F.dropout": lambda x=x, p=p: F.dropout(x, p),
        }
        case = f"dropout, {size:,} entries, p = {p}"
        rows.append({"case": case, "seconds_median": compare(sides, 200 if size < 100_000 else 10)})

for row in rows:
    ours = row["seconds_median"]["gcnlab"]
    others = [f"{name} {seconds / ours:5.1f} x" for name, seconds in row["seconds_median"].items() if name != "gcnlab"]
    print(f"{row['case']:<58} gcnlab {1e3 * ours:8.3f} ms   {'   '.join(others)}")
if args.json:
    machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    result = {"threads": args.threads, "machine": machine, "torch": torch.__version__, "rows": rows}
    Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
