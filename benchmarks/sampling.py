"""A batch of 1,024 nodes with two hops of 10 neighbours each, of 200,000 nodes and 4 million directed edges.

    python benchmarks/sampling.py [--threads 2] [--dgl-python PATH] [--json benchmarks/results/sampling.json]

gcnlab makes the batch's Â from torch's operations alone. DGL samples in C++, without Â, and runs in an environment of its
own, named by --dgl-python (torch, packaging, pandas, dgl==1.1.3); else it is left out. PyG needs pyg-lib or torch-sparse for
it, which are compiled for one version of torch each, and is left out. Sides take turns; medians.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

NUM_NODES, NUM_EDGES, NUM_FEATURES, BATCH = 200_000, 4_000_000, 64, 1024


def dgl_side(edges):
    import dgl

    graph = dgl.graph(tuple(edges), num_nodes=NUM_NODES)
    sampler = dgl.dataloading.NeighborSampler([10, 10])
    return {"structure": lambda nodes: sampler.sample_blocks(graph, nodes)}


def gcnlab_side(edges):
    import gcnlab
    from gcnlab.scale import NeighborSampler

    graph = gcnlab.Graph.from_edges(edges, NUM_NODES)
    with_features = graph.replace(x=torch.rand(NUM_NODES, NUM_FEATURES))
    return {"structure": NeighborSampler(graph).sample, "and 64 features": NeighborSampler(with_features).sample}


def measure(side, file, threads):
    torch.set_num_threads(threads)
    works = (dgl_side if side == "DGL" else gcnlab_side)(torch.from_numpy(np.load(file, allow_pickle=False)))
    found = {}
    for name, work in works.items():
        seconds = []
        for i in range(25):
            nodes = torch.randperm(NUM_NODES, generator=torch.Generator().manual_seed(i))[:BATCH]
            start = time.perf_counter()
            work(nodes)
            seconds.append(time.perf_counter() - start)
        found[name] = seconds[5:]
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dgl-python", help="the interpreter of an environment with DGL")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        measure(args.side, args.file, args.threads)
        return
    from gcnlab.data.synthetic import power_law_edges

    interpreters = {"gcnlab": sys.executable, **({"DGL": args.dgl_python} if args.dgl_python else {})}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/edges.npy", power_law_edges(NUM_NODES, NUM_EDGES).numpy())
        rounds = [
            (side, json.loads(subprocess.run(
                [python, "-W", "ignore", __file__, "--threads", str(args.threads), "--side", side, "--file", f"{folder}/edges.npy"],
                check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.splitlines()[-1]))
            for _ in range(3) for side, python in interpreters.items()
        ]  # fmt: skip
    seconds: dict[str, list[float]] = {}
    for side, found in rounds:
        for name, values in found.items():
            seconds.setdefault(f"{side}, {name}", []).extend(values)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<26} {1000 * value:6.1f} ms, least {1000 * min(seconds[name]):6.1f} ms")
    if args.json:
        about = {
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}", "threads": args.threads,
            "date": time.strftime("%Y-%m-%d"), "versions": {"torch": torch.__version__},
            "seconds_median": median, "seconds_least": {name: min(values) for name, values in seconds.items()},
        }  # fmt: skip
        Path(args.json).write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
