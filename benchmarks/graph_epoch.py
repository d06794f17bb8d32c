"""One training epoch of graph classification beside PyG's DataLoader + GCNConv + global_mean_pool, both in this run.

    python benchmarks/graph_epoch.py imdb-binary proteins [--threads 2] [--json benchmarks/results/graph-epochs.json]

Three layers of 64 channels with batch norm, mean readout, a linear head, batches of 128 graphs, Adam; and the time to make
its batches alone, for one of them. gcnlab's side is what `fit` does: alike nodes computed once, gcnlab's Adam; both sides
keep freed memory, as `fit` does. Medians; the sides take turns, epoch by epoch.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv as PyGGCNConv
from torch_geometric.nn import global_mean_pool

import gcnlab

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("datasets", nargs="+", help="imdb-binary, proteins, reddit-binary, collab, ...")
parser.add_argument("--epochs", type=int, default=9)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json")
args = parser.parse_args()
torch.set_num_threads(args.threads)


class PyGNet(nn.Module):
    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(PyGGCNConv(c, 64) for c in (num_features, 64, 64))
        self.norms = nn.ModuleList(nn.BatchNorm1d(64) for _ in range(3))
        self.head = nn.Linear(64, num_classes)

    def forward(self, x, edge_index, batch):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, edge_index)).relu()
        return self.head(F.dropout(global_mean_pool(x, batch), 0.5, self.training))


def medians(sides, repeats):
    times = {name: [] for name in sides}
    for i in range(repeats + 2):
        for name, function in sides.items():
            start = time.perf_counter()
            function()
            if i > 1:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


results = []
keeping = gcnlab.keep_freed_memory()
keeping.__enter__()
for name in args.datasets:
    features = {"proteins": "label", "mutag": "label", "reddit-binary": "log_degree"}.get(name, "degree")
    graphs = gcnlab.load(name, features=features)
    model = gcnlab.GraphClassifier(graphs.num_features, 64, graphs.num_classes, num_layers=3)
    optimizer = gcnlab.Adam(model.parameters(), lr=0.01)
    start = time.perf_counter()  # once, for all epochs
    if by_layer := graphs.is_worth_unfolding(3, 128):
        loader = gcnlab.GraphLoader(graphs, 128, shuffle=True, num_layers=3)
        rows = loader.unfolding.num_rows(128) / 3
    else:
        loader = gcnlab.GraphLoader(graphs.merged(), 128, shuffle=True)
        rows = 128 * loader.graphs.num_nodes / len(graphs)
    merge_seconds = time.perf_counter() - start

    pyg_graphs = [graph.to_pyg() for graph in graphs]
    for data in pyg_graphs:
        data.edge_weight = None  # all ones; GCNConv then makes its own
    pyg_model = PyGNet(graphs.num_features, graphs.num_classes)
    pyg_optimizer = torch.optim.Adam(pyg_model.parameters(), lr=0.01)
    pyg_loader = DataLoader(pyg_graphs, 128, shuffle=True)

    def ours(loader=loader, model=model, optimizer=optimizer):
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x, batch.a_hat, batch.p), batch.y).backward()
            optimizer.step()

    def theirs(loader=pyg_loader, model=pyg_model, optimizer=pyg_optimizer):
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x, batch.edge_index, batch.batch), batch.y).backward()
            optimizer.step()

    def batches(loader):
        for _ in loader:
            pass

    row = {
        "dataset": name,
        "merge_seconds": merge_seconds,
        "rows of a layer": {"all nodes": 128 * graphs.num_nodes / len(graphs), "computed": rows},
        "by layer": by_layer,
        "epoch_seconds": medians({"gcnlab": ours, "PyG": theirs}, args.epochs),
    }
    of_all = medians({"gcnlab": lambda: batches(loader), "PyG": lambda: batches(pyg_loader)}, 5)  # noqa: B023 (called here)
    row["batch_seconds"] = {name: seconds / len(loader) for name, seconds in of_all.items()}
    results.append(row)
    for what in ("epoch", "batch"):
        seconds = row[f"{what}_seconds"]
        ratio = seconds["PyG"] / seconds["gcnlab"]
        print(
            f"{name:<14} {what}  gcnlab {1e3 * seconds['gcnlab']:9.2f} ms  PyG {1e3 * seconds['PyG']:9.2f} ms  {ratio:6.1f} x"
        )
if args.json:
    machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    result = {"threads": args.threads, "machine": machine, "torch": torch.__version__, "results": results}
    Path(args.json).write_text(json.dumps(result, indent=2) + "\n")
