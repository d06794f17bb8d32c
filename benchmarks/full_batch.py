"""A training epoch of a GCN on the whole of a graph as large as ogbn-arxiv, beside PyG and DGL, all in one run.

    python benchmarks/full_batch.py [--threads 2] [--dgl-python PATH] [--json benchmarks/results/full-batch.json]

The graph: 169,343 nodes, 2.33 million directed edges, degrees by a power law; 128 features, 40 classes, 54 % of the nodes
train. The model: 3 layers of 256, dropout 0.5 on every layer's input, as in Kipf & Welling; an epoch is forward, backward
and `torch.optim.Adam`, float32. Each side trains in a process of its own, whose largest resident size is its peak memory,
imports included; they take turns, so that a drift of the machine's speed meets all of them. Before it is timed, each gives
the loss of the same weights without dropout: they must agree.

DGL needs an environment of its own, named by --dgl-python (torch, packaging, pandas, dgl==1.1.3); else it is left out.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

NUM_NODES, NUM_EDGES, NUM_FEATURES, NUM_CLASSES = 169_343, 2_330_000, 128, 40
WIDTHS = (NUM_FEATURES, 256, 256, NUM_CLASSES)


def make_graph(path):
    """Edges [2, num_edges] in both directions, features, classes, which nodes train, and the first weights."""
    from gcnlab.data.synthetic import power_law_edges

    rng = np.random.default_rng(0)
    weights = {
        f"weight{i}": rng.uniform(-1, 1, (a, b)).astype(np.float32) * np.float32((6 / (a + b)) ** 0.5)
        for i, (a, b) in enumerate(pairwise(WIDTHS))
    }
    np.savez(
        path,
        edge_index=power_law_edges(NUM_NODES, NUM_EDGES, seed=0).numpy(),
        x=rng.standard_normal((NUM_NODES, NUM_FEATURES), dtype=np.float32),
        y=rng.integers(NUM_CLASSES, size=NUM_NODES),
        train=rng.permutation(NUM_NODES) < 90_941,
        **weights,
    )


class Net(torch.nn.Module):
    """Kipf & Welling's network of the layers that a peer offers."""

    def __init__(self, convs):
        super().__init__()
        self.convs = torch.nn.ModuleList(convs)

    def forward(self, x, propagate):
        for i, conv in enumerate(self.convs):
            x = propagate(conv, F.dropout(x, 0.5, self.training))
            x = x if i == len(self.convs) - 1 else x.relu()
        return x


def pyg(data, csr):
    import torch_geometric
    from torch_geometric.nn import GCNConv

    convs = [GCNConv(a, b, cached=True) for a, b in pairwise(WIDTHS)]
    for i, conv in enumerate(convs):
        conv.lin.weight.data = data[f"weight{i}"].t().contiguous()
    edges, model, train = data["edge_index"], Net(convs), data["train"]
    if csr:
        ones = torch.ones(edges.shape[1])
        edges = torch.sparse_coo_tensor(edges.flip(0), ones, (NUM_NODES, NUM_NODES)).to_sparse_csr()
    x = data["x"]
    return model, lambda: model(x, lambda conv, h: conv(h, edges))[train], f"PyG {torch_geometric.__version__}"


def dgl(data):
    import dgl
    from dgl.nn import GraphConv

    graph = dgl.add_self_loop(dgl.graph(tuple(data["edge_index"]), num_nodes=NUM_NODES)).formats(["csr", "csc"])
    convs = [GraphConv(a, b, norm="both") for a, b in pairwise(WIDTHS)]
    for i, conv in enumerate(convs):
        conv.weight.data = data[f"weight{i}"]
    model, x, train = Net(convs), data["x"], data["train"]
    return model, lambda: model(x, lambda conv, h: conv(graph, h))[train], f"DGL {dgl.__version__}"


def gcnlab(data, whole):
    import gcnlab

    graph = gcnlab.Graph.from_edges(data["edge_index"], NUM_NODES, x=data["x"])
    model, train = gcnlab.GCN(NUM_FEATURES, 256, NUM_CLASSES, num_layers=3, dropout=0.5), data["train"]
    for i, layer in enumerate(model.layers):
        layer.weight.data = data[f"weight{i}"]
    version = f"gcnlab {gcnlab.__version__}"
    if whole:
        return model, lambda: model(graph.x, graph.a_hat)[train], version
    field = graph.receptive_field(train, model.num_layers)
    return model, lambda: model(field.x, field.a_hat), version


SIDES = {
    "gcnlab": lambda data: gcnlab(data, whole=False),
    "gcnlab, every row": lambda data: gcnlab(data, whole=True),
    "PyG, edge_index": lambda data: pyg(data, csr=False),
    "PyG, CSR": lambda data: pyg(data, csr=True),
    "DGL": dgl,
}


def serve(side, path, threads):
    """One side: says its version and loss, then for each line that comes in the seconds of an epoch, last its memory."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with np.load(path) as arrays:
        data = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    model, logits, version = SIDES[side](data)
    y = data["y"][data["train"]]
    del data
    model.eval()
    with torch.no_grad():
        loss = float(F.cross_entropy(logits(), y))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    print(json.dumps({"version": version, "loss": loss}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(logits(), y).backward()
        optimizer.step()
        seconds = time.perf_counter() - start
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--epochs", type=int, default=7, help="timed epochs of each side, after one that is not counted"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--dgl-python", help="the interpreter of an environment with DGL")
    parser.add_argument("--json")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(*args.serve, args.threads)

    sides = [side for side in args.sides if side != "DGL" or args.dgl_python]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.npz"
        make_graph(path)
        workers, about = {}, {}
        for side in sides:
            python = args.dgl_python if side == "DGL" else sys.executable
            workers[side] = subprocess.Popen(
                [python, __file__, "--threads", str(args.threads), "--serve", side, path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            line = ""
            while not line.startswith("{"):  # DGL says things of its own first
                line = workers[side].stdout.readline()
            about[side] = json.loads(line)
        times = {side: [] for side in sides}
        for i in range(args.epochs + 1):
            for side, worker in workers.items():
                print(file=worker.stdin, flush=True)
                result = json.loads(worker.stdout.readline())
                about[side]["peak_mib"] = result["peak_mib"]
                if i:
                    times[side].append(result["seconds"])
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()

    losses = [row["loss"] for row in about.values()]
    assert max(losses) - min(losses) < 1e-4 * losses[0], about
    median = {side: statistics.median(values) for side, values in times.items()}
    ours = median[sides[0]]
    for side, seconds in median.items():
        ratio, low = seconds / ours, min(times[side])
        print(f"{side:<20} {seconds:7.2f} s (min {low:.2f}) {ratio:6.1f} x {about[side]['peak_mib']:8,.0f} MiB")
    if args.json:
        result = {
            "threads": args.threads,
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
            "torch": torch.__version__,
            "graph": {"num_nodes": NUM_NODES, "num_edges": NUM_EDGES, "widths": WIDTHS},
            "sides": {
                side: {**about[side], "epoch_seconds_median": median[side], "epoch_seconds": times[side]}
                for side in sides
            },
        }
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
