"""A graph larger than the memory that the process may take: made, trained on, and every node classified.

    python benchmarks/larger_than_memory.py --folder /var/tmp/graph --json benchmarks/results/larger-than-memory.json

The graph (power-law degrees, planted communities) is written to the folder part by part, if it is not there. Then the
process limits its data to 1 GiB (RLIMIT_DATA: heap, private mappings and stacks, touched or not), so that an allocation
beyond raises, opens the graph, trains a GCN on neighbour samples and predicts all nodes layer by layer. The
machine may have more memory: it is the limit that shows what the process can do without. Linux.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import threading
import time
from pathlib import Path

import torch

import gcnlab
from gcnlab.data.synthetic import write_communities
from gcnlab.files import write_json
from gcnlab.scale import NeighborSampler


class AnonymousMemory:
    """The most anonymous resident memory there was, looked at 20 times a second."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            self.peak = max(self.peak, int(status.split("RssAnon:")[1].split()[0]) << 10)
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="of the graph; made if it is missing, 2.4 GB by default")
    parser.add_argument("--nodes", type=int, default=5_000_000)
    parser.add_argument("--edges", type=int, default=51_500_000, help="drawn, both directions; some fall together")
    parser.add_argument("--features", type=int, default=96)
    parser.add_argument("--limit", type=float, default=1.0, metavar="GIB")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit * 2**30),) * 2)
    memory, seconds = AnonymousMemory(), {}

    start = time.perf_counter()
    if not Path(args.folder).exists():
        write_communities(args.folder, args.nodes, args.edges, num_features=args.features)
        seconds["generate"] = time.perf_counter() - start
    size = sum(file.stat().st_size for file in Path(args.folder).iterdir())

    start = time.perf_counter()
    graph = gcnlab.Graph.open(args.folder)
    seconds["open and check"] = time.perf_counter() - start
    print(f"{graph}, {size / 1e9:.2f} GB on disk")

    start = time.perf_counter()
    sampler = NeighborSampler(graph, (10, 10))
    seconds["prepare sampling"] = time.perf_counter() - start
    torch.manual_seed(0)
    model = gcnlab.GCN(graph.num_features, 64, graph.num_classes)
    start = time.perf_counter()
    history = gcnlab.fit(model, graph, batching=sampler, epochs=args.epochs, select="last", seed=0)
    seconds["train"] = time.perf_counter() - start
    num_steps = args.epochs * sampler.num_batches(int(graph.train_mask.sum()))
    del sampler  # some numbers a node

    start = time.perf_counter()
    logits = gcnlab.predict(model, graph, batch_size=10_000)
    seconds["predict all nodes"] = time.perf_counter() - start
    is_right = (logits.argmax(1) == graph.y)[graph.test_mask]  # a class a node, where the logits are a file as well
    result = {
        "nodes": graph.num_nodes, "stored edges": graph.num_edges, "features": graph.num_features, "bytes on disk": size,
        "limit of data, bytes": int(args.limit * 2**30), "peak anonymous resident bytes": memory.peak,
        "seconds": seconds, "training steps of 1,024 nodes, fan-out 10 x 10": num_steps,
        "seconds a training step": sum(history.epoch_seconds) / num_steps,
        "nanoseconds an edge and layer of the prediction": 1e9 * seconds["predict all nodes"] / (2 * graph.num_edges),
        "test accuracy": float(is_right.float().mean()), "threads": args.threads, "cores": os.cpu_count(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()}, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    for name, value in result.items():
        print(f"{name}: {value}")
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
