"""One training epoch of graph classification beside PyG's DataLoader + GCNConv + global_mean_pool, in turns.

    python benchmarks/graph_epoch.py imdb-binary proteins [--threads 2] [--json benchmarks/results/graph-epochs.json]

Three layers of 64 channels with batch norm, mean readout, a linear head, batches of 128 graphs, Adam; and the time to make
its batches alone, for one of them. Each side is a process of its own, as its library comes: gcnlab's does what `fit` does,
with alike nodes computed once, gcnlab's Adam, and freed memory kept; PyG's is that of PyG's examples. The sides take
turns, and the figures are medians over the rounds of the median epoch.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import gcnlab

HIDDEN, BATCH, LAYERS = 64, 128, 3


def data_of(name):
    features = {"proteins": "label", "mutag": "label", "reddit-binary": "log_degree"}.get(name, "degree")
    return gcnlab.load(name, features=features)


def gcnlab_side(name):
    graphs = data_of(name)
    model = gcnlab.GraphClassifier(graphs.num_features, HIDDEN, graphs.num_classes, num_layers=LAYERS)
    optimizer = gcnlab.Adam(model.parameters(), lr=0.01)
    start = time.perf_counter()  # once, for all epochs
    if by_layer := graphs.is_worth_unfolding(LAYERS, BATCH):
        loader = gcnlab.GraphLoader(graphs, BATCH, shuffle=True, num_layers=LAYERS)
        rows = loader.unfolding.num_rows(BATCH) / LAYERS
    else:
        loader = gcnlab.GraphLoader(graphs.merged(), BATCH, shuffle=True)
        rows = BATCH * loader.graphs.num_nodes / len(graphs)
    facts = {
        "merge_seconds": time.perf_counter() - start,
        "rows of a layer": {"all nodes": BATCH * graphs.num_nodes / len(graphs), "computed": rows},
        "by layer": by_layer,
    }

    def epoch():
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x, batch.a_hat, batch.p), batch.y).backward()
            optimizer.step()

    return loader, epoch, facts


def pyg_side(name):
    from torch_geometric.loader import DataLoader
    from torch_geometric.nn import GCNConv, global_mean_pool

    class Net(nn.Module):
        def __init__(self, num_features, num_classes):
            super().__init__()
            self.convs = nn.ModuleList(GCNConv(c, HIDDEN) for c in (num_features, HIDDEN, HIDDEN))
            self.norms = nn.ModuleList(nn.BatchNorm1d(HIDDEN) for _ in range(LAYERS))
            self.head = nn.Linear(HIDDEN, num_classes)

        def forward(self, x, edge_index, batch):
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = norm(conv(x, edge_index)).relu()
            return self.head(F.dropout(global_mean_pool(x, batch), 0.5, self.training))

    graphs = data_of(name)
    every = [graph.to_pyg() for graph in graphs]
    for data in every:
        data.edge_weight = None  # all ones; GCNConv then makes its own
    model = Net(graphs.num_features, graphs.num_classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(every, BATCH, shuffle=True)

    def epoch():
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x, batch.edge_index, batch.batch), batch.y).backward()
            optimizer.step()

    return loader, epoch, {}


def median(function, repeats):
    times = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        function()
        if i > 1:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def one(name, side, threads, epochs):
    torch.set_num_threads(threads)
    loader, epoch, facts = (gcnlab_side if side == "gcnlab" else pyg_side)(name)
    if side == "gcnlab":
        with gcnlab.keep_freed_memory():
            seconds = median(epoch, epochs)
    else:
        seconds = median(epoch, epochs)
    making = median(lambda: [None for _ in loader], 5) / len(loader)
    print(json.dumps({"epoch": seconds, "batch": making, **facts}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", help="imdb-binary, proteins, reddit-binary, collab, ...")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(*args.one, args.threads, args.epochs)
    results = []
    for name in args.datasets:
        found = {"gcnlab": [], "PyG": []}
        for _ in range(args.rounds):
            for side, runs in found.items():
                command = [sys.executable, "-W", "ignore", __file__, "--one", name, side]
                command += ["--threads", str(args.threads), "--epochs", str(args.epochs)]
                # Importing gcnlab, which both do for the data, makes torch take huge pages; PyG alone does not.
                environment = os.environ if side == "gcnlab" else {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                runs.append(json.loads(done.stdout))
        row = {
            "dataset": name,
            **{key: value for key, value in found["gcnlab"][0].items() if key not in ("epoch", "batch")},
        }
        for what in ("epoch", "batch"):
            seconds = {side: statistics.median(of[what] for of in runs) for side, runs in found.items()}
            row[f"{what}_seconds"] = seconds
            print(
                f"{name:<14} {what}  gcnlab {1e3 * seconds['gcnlab']:9.2f} ms  PyG {1e3 * seconds['PyG']:9.2f} ms  "
                f"{seconds['PyG'] / seconds['gcnlab']:6.1f} x",
                flush=True,
            )
        results.append(row)
    if args.json:
        machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
        result = {"threads": args.threads, "machine": machine, "torch": torch.__version__, "results": results}
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
