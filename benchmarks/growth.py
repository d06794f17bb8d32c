"""Time and memory an edge as the graph grows: a training epoch of a GCN from 10^5 to 5x10^7 directed edges.

    python benchmarks/growth.py [--threads 2] [--json benchmarks/results/growth.json] [--plot docs/growth.png]

Degrees by a power law, 14 edges a node; 32 features, two layers, 32 hidden units, 10 classes, every node trains; forward,
backward and `gcnlab.Adam`, dropout 0.5. Each size runs in a process of its own: its memory is the largest resident size
less what Python, torch and gcnlab take without a graph. Beside it stands what `graph.estimate_memory` said before.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import gcnlab
from gcnlab.data.synthetic import power_law_edges

SIZES = (100_000, 1_000_000, 10_000_000, 50_000_000)
WIDTH, CLASSES, EDGES_PER_NODE = 32, 10, 14


def high_water():
    """The largest resident size so far, bytes."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10


def train(graph, y, epochs):
    """Seconds of each epoch, the first left out."""
    model = gcnlab.GCN(WIDTH, WIDTH, CLASSES)
    optimizer, times = gcnlab.Adam(model.parameters()), []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(graph.x, graph.a_hat), y).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times[1:]


def one_size(num_edges, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    tiny = gcnlab.Graph.from_edges([[0, 1], [1, 0]], 2, x=torch.ones(2, WIDTH))
    tiny.estimate_memory(gcnlab.GCN(WIDTH, WIDTH, CLASSES))  # imports what it needs
    train(tiny, torch.zeros(2, dtype=torch.int64), 1)
    num_nodes = num_edges // EDGES_PER_NODE
    graph = gcnlab.Graph.from_edges(power_law_edges(num_nodes, num_edges), num_nodes, x=torch.randn(num_nodes, WIDTH))
    graph.a_hat  # noqa: B018  made once, with sorts and sums that take more than training does
    there = sum(t.nbytes for m in (graph.adjacency, graph.a_hat) for t in (m.rowptr, m.col, m.value)) + graph.x.nbytes
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = high_water()
    times = train(graph, torch.randint(CLASSES, (num_nodes,)), 3 if num_edges > 10**7 else 7)
    peak = high_water() - before + there
    return {
        "num_edges": num_edges,
        "num_nodes": num_nodes,
        "epoch_seconds": statistics.median(times),
        "peak_bytes": peak,
        "estimated_bytes": graph.estimate_memory(gcnlab.GCN(WIDTH, WIDTH, CLASSES)),
    }


def plot(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    edges = [row["num_edges"] for row in rows]
    time_axes.plot(edges, [1e9 * row["epoch_seconds"] / row["num_edges"] for row in rows], "o-")
    time_axes.set(xscale="log", xlabel="directed edges", ylabel="nanoseconds an edge and epoch", ylim=(0, None))
    for name, marker in (("peak_bytes", "o-"), ("estimated_bytes", "x--")):
        memory_axes.plot(edges, [row[name] / row["num_edges"] for row in rows], marker, label=name.split("_")[0])
    memory_axes.set(xscale="log", xlabel="directed edges", ylabel="bytes an edge", ylim=(0, None))
    memory_axes.legend(labels=["measured", "estimated before"], frameon=False)
    for axes in (time_axes, memory_axes):
        axes.grid(alpha=0.3)
    figure.suptitle("A training epoch of a GCN as its graph grows", fontsize="medium")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json")
    parser.add_argument("--plot")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return print(json.dumps(one_size(args.one, args.threads)))
    rows = []
    for size in args.sizes:
        command = [sys.executable, __file__, "--one", str(size), "--threads", str(args.threads)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        row = rows[-1]
        print(
            f"{size:>12,} edges {row['epoch_seconds']:8.3f} s an epoch {1e9 * row['epoch_seconds'] / size:7.1f} ns an edge"
            f" {row['peak_bytes'] / size:7.1f} bytes an edge, estimated {row['estimated_bytes'] / size:7.1f}",
            flush=True,
        )
    if args.json:
        machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
        result = {"threads": args.threads, "machine": machine, "torch": torch.__version__, "rows": rows}
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
