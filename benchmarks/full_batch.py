"""A GCN, and other layers, on the whole of a graph as large as ogbn-arxiv, beside PyG and DGL, all in one run.

    python benchmarks/full_batch.py [--threads 2] [--dgl-python PATH] [--json benchmarks/results/full-batch.json]

The graph: 169,343 nodes, 2.33 million directed edges, degrees by a power law; 128 features, 40 classes, 54 % of the nodes
train. `epoch`: 3 layers of 256, dropout 0.5 on every layer's input, as in Kipf & Welling; forward, backward and
`torch.optim.Adam`. The other tasks: one layer from 128 to 64 channels, forward and backward, with derivatives for its
input. All in float32.

Each side runs in a process of its own, as its library comes, whose largest resident size is its peak memory, imports
included; they take turns, so that a drift of the machine's speed meets all of them. Before it is timed, each gives the
loss, or the mean square of the output, of the same weights without dropout: they must agree. gcnlab takes large arrays in
huge pages (THP_MEM_ALLOC_ENABLE=1, torch's switch); --huge-pages gives the others that, too. DGL needs an environment of
its own, named by --dgl-python (torch, packaging, pandas, dgl==1.1.3); else it is left out.
"""

import argparse
import json
import os
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
OUT, HEADS, TERMS = 64, 4, 3  # of the single layers


def make_data(path):
    """Edges [2, num_edges] in both directions, features, classes, and which nodes train."""
    from gcnlab.data.synthetic import power_law_edges

    rng = np.random.default_rng(0)
    np.savez(
        path,
        edge_index=power_law_edges(NUM_NODES, NUM_EDGES, seed=0).numpy(),
        x=rng.standard_normal((NUM_NODES, NUM_FEATURES), dtype=np.float32),
        y=rng.integers(NUM_CLASSES, size=NUM_NODES),
        train=rng.permutation(NUM_NODES) < 90_941,
    )


def weight(seed, *shape):
    """The weights of a place in the model, the same on every side."""
    bound = (6 / sum(shape[-2:])) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))


def epoch(model, logits, y):
    """(one epoch, the loss without dropout)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(logits(), y).backward()
        optimizer.step()

    def value():
        model.eval()
        loss = F.cross_entropy(logits(), y)
        model.train()
        return loss

    return step, value


def one_layer(forward, x):
    """(forward and backward, the mean square of the output)."""
    x.requires_grad_()
    g = torch.randn(NUM_NODES, OUT)
    return lambda: forward(x).backward(g), lambda: forward(x).square().mean()


# -- gcnlab -----------------------------------------------------------------------------------------------------------


def gcnlab_epoch(data, whole):
    import gcnlab

    graph = gcnlab.Graph.from_edges(data["edge_index"], NUM_NODES, x=data["x"])
    model, train = gcnlab.GCN(NUM_FEATURES, 256, NUM_CLASSES, num_layers=3, dropout=0.5), data["train"]
    for i, layer in enumerate(model.layers):
        layer.weight.data = weight(i, *layer.weight.shape)
    if whole:
        return epoch(model, lambda: model(graph.x, graph.a_hat)[train], data["y"][train])
    field = graph.receptive_field(train, model.num_layers)
    return epoch(model, lambda: model(field.x, field.a_hat), data["y"][train])


def gcnlab_layer(data, name):
    import gcnlab

    graph = gcnlab.Graph.from_edges(data["edge_index"], NUM_NODES)
    if name == "GATConv":
        layer, operator = gcnlab.GATConv(NUM_FEATURES, OUT // HEADS, num_heads=HEADS), graph.a_tilde
        layer.weight.data = weight(0, NUM_FEATURES, OUT)
        layer.source.data, layer.target.data = weight(1, HEADS, OUT // HEADS), weight(2, HEADS, OUT // HEADS)
    elif name == "ChebConv":
        layer, operator = gcnlab.ChebConv(NUM_FEATURES, OUT, num_terms=TERMS), graph.l_tilde()
        layer.weight.data = torch.stack([weight(k, NUM_FEATURES, OUT) for k in range(TERMS)])
    else:
        layer, operator = gcnlab.SAGEConv(NUM_FEATURES, OUT), graph.normalize(None, "rw")
        layer.weight.data, layer.root_weight.data = weight(0, NUM_FEATURES, OUT), weight(1, NUM_FEATURES, OUT)
    return one_layer(lambda x: layer(x, operator), data["x"])


# -- the peers --------------------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    """Kipf & Welling's network of the layers that a peer offers; `propagate` calls one."""

    def __init__(self, convs):
        super().__init__()
        self.convs = torch.nn.ModuleList(convs)

    def forward(self, x, propagate):
        for i, conv in enumerate(self.convs):
            x = propagate(conv, F.dropout(x, 0.5, self.training))
            x = x if i == len(self.convs) - 1 else x.relu()
        return x


def pyg_epoch(data, csr):
    from torch_geometric.nn import GCNConv

    model, edges, train = (
        Net(GCNConv(a, b, cached=True) for a, b in pairwise(WIDTHS)),
        data["edge_index"],
        data["train"],
    )
    for i, conv in enumerate(model.convs):
        conv.lin.weight.data = weight(i, *WIDTHS[i : i + 2]).t().contiguous()
    if csr:
        ones = torch.ones(edges.shape[1])
        edges = torch.sparse_coo_tensor(edges.flip(0), ones, (NUM_NODES, NUM_NODES)).to_sparse_csr()
    return epoch(model, lambda: model(data["x"], lambda conv, h: conv(h, edges))[train], data["y"][train])


def pyg_layer(data, name):
    from torch_geometric import nn as pyg

    if name == "GATConv":
        layer = pyg.GATConv(NUM_FEATURES, OUT // HEADS, heads=HEADS)
        layer.lin.weight.data = weight(0, NUM_FEATURES, OUT).t().contiguous()
        layer.att_src.data, layer.att_dst.data = (weight(i, HEADS, OUT // HEADS)[None] for i in (1, 2))
    elif name == "ChebConv":
        layer = pyg.ChebConv(NUM_FEATURES, OUT, K=TERMS)
        for k, lin in enumerate(layer.lins):
            lin.weight.data = weight(k, NUM_FEATURES, OUT).t().contiguous()
    else:
        layer = pyg.SAGEConv(NUM_FEATURES, OUT)
        layer.lin_l.weight.data, layer.lin_r.weight.data = (
            weight(i, NUM_FEATURES, OUT).t().contiguous() for i in (0, 1)
        )
        layer.lin_l.bias.data.zero_()
    return one_layer(lambda x: layer(x, data["edge_index"]), data["x"])


def dgl_epoch(data):
    import dgl
    from dgl.nn import GraphConv

    graph = dgl.add_self_loop(dgl.graph(tuple(data["edge_index"]), num_nodes=NUM_NODES)).formats(["csr", "csc"])
    model, train = Net(GraphConv(a, b, norm="both") for a, b in pairwise(WIDTHS)), data["train"]
    for i, conv in enumerate(model.convs):
        conv.weight.data = weight(i, *WIDTHS[i : i + 2])
    return epoch(model, lambda: model(data["x"], lambda conv, h: conv(graph, h))[train], data["y"][train])


TASKS = {
    "epoch": {
        "gcnlab": lambda data: gcnlab_epoch(data, whole=False),
        "gcnlab, every row": lambda data: gcnlab_epoch(data, whole=True),
        "PyG, edge_index": lambda data: pyg_epoch(data, csr=False),
        "PyG, CSR": lambda data: pyg_epoch(data, csr=True),
        "DGL": dgl_epoch,
    },
    **{
        name: {
            "gcnlab": lambda data, name=name: gcnlab_layer(data, name),
            "PyG, edge_index": lambda data, name=name: pyg_layer(data, name),
        }
        for name in ("GATConv", "ChebConv", "SAGEConv")
    },
}


def floor(path, threads):
    """Seconds that an epoch on every row takes at least, and what was counted and measured for it (gcnlab.bench)."""
    import gcnlab
    from gcnlab import bench

    torch.set_num_threads(threads)
    with np.load(path, allow_pickle=False) as arrays:
        graph = gcnlab.Graph.from_edges(arrays["edge_index"], NUM_NODES, x=arrays["x"])
    model = gcnlab.GCN(NUM_FEATURES, 256, NUM_CLASSES, num_layers=3)
    return bench.floor(model, graph.x, graph.a_hat)


def serve(task, side, path, threads):
    """One side: gives its value, then for each line that comes the seconds of a step and the memory so far."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with np.load(path, allow_pickle=False) as arrays:
        data = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    step, value = TASKS[task][side](data)
    print(json.dumps({"value": float(value().detach()), "torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


def measure(task, args, path):
    """side -> median seconds, all of them, peak memory in MiB, and the value."""
    workers, found = {}, {}
    for side in TASKS[task]:
        if side == "DGL" and not args.dgl_python:
            continue
        environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1" if args.huge_pages else ""}
        if side.startswith("gcnlab"):
            del environment["THP_MEM_ALLOC_ENABLE"]  # it sets that itself
        workers[side] = subprocess.Popen(
            [args.dgl_python if side == "DGL" else sys.executable, "-W", "ignore", __file__, "--threads",
             str(args.threads), "--serve", task, side, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        said = next((line for line in workers[side].stdout if line.startswith("{")), None)  # DGL says more before
        if said is None:
            raise SystemExit(f"{task}, {side}: failed")
        found[side] = {**json.loads(said), "seconds": []}
    for i in range(args.repeats + 1):  # the first is not counted
        for side, worker in workers.items():
            print(file=worker.stdin, flush=True)
            result = json.loads(worker.stdout.readline())
            found[side]["peak_mib"] = result["peak_mib"]
            if i:
                found[side]["seconds"].append(result["seconds"])
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    values = [row["value"] for row in found.values()]
    assert max(values) - min(values) < 1e-4 * values[0], found
    for row in found.values():
        row["seconds_median"] = statistics.median(row["seconds"])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=7, help="timed steps of each side, after one that is not counted"
    )
    parser.add_argument("--huge-pages", action="store_true", help="for every side")
    parser.add_argument("--dgl-python", help="the interpreter of an environment with DGL")
    parser.add_argument("--json")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(*args.serve, args.threads)

    tasks, least = {}, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        make_data(path)
        for task in args.tasks:
            tasks[task] = measure(task, args, path)
            ours = tasks[task]["gcnlab"]["seconds_median"]
            for side, row in tasks[task].items():
                ratio = row["seconds_median"] / ours
                print(
                    f"{task:<9} {side:<18} {row['seconds_median']:7.2f} s (min {min(row['seconds']):.2f}) "
                    f"{ratio:6.1f} x {row['peak_mib']:8,.0f} MiB",
                    flush=True,
                )
            if task == "epoch":
                least = floor(path, args.threads)
                print(
                    f"epoch     floor of every row {least['seconds']:6.2f} s: {least['flops'] / 1e9:.0f} G operations at "
                    f"{least['flops_per_second'] / 1e9:.0f} G/s, {least['bytes'] / 1e9:.1f} GB at "
                    f"{least['bytes_per_second'] / 1e9:.1f} GB/s"
                )
    if args.json:
        import torch_geometric

        result = {
            "threads": args.threads,
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
            "versions": {"torch-geometric": torch_geometric.__version__, "dgl": "1.1.3"},
            "huge pages for every side": args.huge_pages,
            "graph": {"num_nodes": NUM_NODES, "num_edges": NUM_EDGES},
            "floor of an epoch": least,
            "tasks": tasks,
        }
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
