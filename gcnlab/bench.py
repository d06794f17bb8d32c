"""Time beside the reference: one training epoch of gcnlab and of PyTorch Geometric, both in the same run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .graph import Graph
from .models import GCN
from .recipes import find_node_recipe
from .sparse import SparseMatrix

HIDDEN = 16
BLOCK = 10


def epoch_times(
    dataset: str,
    epochs: int = 50,
    threads: int | None = None,
    root: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Median time of an epoch (forward, backward, torch.optim.Adam, dropout 0.5) of a two-layer GCN of 16 hidden units.

    The sides: gcnlab's `GCN` on the receptive field of the labelled nodes (what `fit` does) and on the whole graph;
    PyG's GCNConv with cached=True on an edge_index and on a torch CSR adjacency, X dense, as PyG's own examples have
    it. They take turns, epoch by epoch, so that a drift of the machine's speed meets all of them.

    Args:
        dataset: "cora", "citeseer" or "pubmed".
        epochs: timed epochs a side, rounded up to whole blocks, the first block not counted.
        threads: CPU threads of every side; by default torch's.
        root: data root.
        say: gets lines of text for people.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    graph = find_node_recipe(f"{dataset}-gcn").graph(root=root)
    sides = {
        "gcnlab, receptive field": _gcnlab_epoch(graph, whole=False),
        "gcnlab, whole graph": _gcnlab_epoch(graph, whole=True),
        "PyG, edge_index": _pyg_epoch(graph, csr=False),
        "PyG, CSR": _pyg_epoch(graph, csr=True),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for block in range(-(-epochs // BLOCK) + 1):
        for name, epoch in sides.items():
            for _ in range(BLOCK):
                start = time.perf_counter()
                epoch()
                if block > 0:
                    times[name].append(time.perf_counter() - start)
    median = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    ours = median["gcnlab, receptive field"]
    say(
        f"one epoch on {dataset}, GCN 2 x {HIDDEN}, {torch.get_num_threads()} threads, median of {len(times['PyG, CSR'])}"
    )
    for name, seconds in median.items():
        say(f"{name:<24} {1000 * seconds:9.2f} ms {seconds / ours:8.1f} x")
    return {
        "dataset": dataset,
        "epochs": len(times["PyG, CSR"]),
        "threads": torch.get_num_threads(),
        "epoch_seconds_median": median,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "versions": {"torch": torch.__version__, "torch-geometric": _pyg_version()},
    }


def _gcnlab_epoch(graph: Graph, whole: bool) -> Callable[[], None]:
    assert graph.x is not None
    assert graph.y is not None
    assert graph.train_mask is not None
    torch.manual_seed(0)
    model = GCN(graph.num_features, HIDDEN, graph.num_classes)
    y = graph.y[graph.train_mask]
    if whole:
        mask = graph.train_mask
        return _epoch(model, lambda: model(graph.x, graph.a_hat)[mask], y)
    field = graph.receptive_field(graph.train_mask, model.num_layers)
    return _epoch(model, lambda: model(field.x, field.a_hat), y)


def _pyg_epoch(graph: Graph, csr: bool) -> Callable[[], None]:
    from torch_geometric.nn import GCNConv

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = GCNConv(graph.num_features, HIDDEN, cached=True)
            self.conv2 = GCNConv(HIDDEN, graph.num_classes, cached=True)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            h = self.conv1(F.dropout(x, 0.5, self.training), edges).relu()
            return self.conv2(F.dropout(h, 0.5, self.training), edges)

    assert graph.y is not None
    assert graph.train_mask is not None
    torch.manual_seed(0)
    model, mask = Net(), graph.train_mask
    x = graph.x.to_dense() if isinstance(graph.x, SparseMatrix) else graph.x
    edges = graph.adjacency.to_torch() if csr else graph.edge_index
    return _epoch(model, lambda: model(x, edges)[mask], graph.y[mask])


def _epoch(model: nn.Module, logits: Callable[[], Tensor], y: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(logits(), y).backward()
        optimizer.step()

    return run


def _pyg_version() -> str:
    import torch_geometric

    return torch_geometric.__version__
