"""Time beside the reference: one training epoch of gcnlab and of PyTorch Geometric, both in the same run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checks import check_counts, check_package, check_workers
from .errors import InputError, did_you_mean
from .generators import generators_kept
from .graph import Graph
from .machine import usable_cores
from .models import GCN
from .recipes import RECIPES, find_node_recipe
from .sparse import Features, SparseMatrix
from .threads import exactly

HIDDEN = 16
BLOCK = 10


@generators_kept()
def floor(model: GCN, x: Features, a_hat: SparseMatrix) -> dict[str, float]:
    """What an epoch of a GCN on the whole graph needs at least on this machine: its roofline.

    Counted: the multiplications and additions of the dense products, and the bytes that the products with Â, the
    activations and dropouts read and write, each array once an operation. Measured here and now: the rate of a dense
    product and of a copy, on arrays of the size that the model makes. The floor is the sum of the quotients; calls,
    the optimizer and what the caches save are not in it.

    Returns:
        flops, bytes, flops_per_second, bytes_per_second, seconds.
    """
    flops = moved = 0
    num_rows, entries = a_hat.shape[0], a_hat.nnz
    layers: Any = model.layers
    for i, layer in enumerate(layers):
        fan_in, fan_out = layer.in_channels, layer.out_channels
        is_first = i == 0
        stored = x.nnz if isinstance(x, SparseMatrix) and is_first else num_rows * fan_in
        # H W and its two derivatives, of which X needs none
        flops += 2 * stored * fan_out * (2 if is_first else 3)
        width = fan_out if isinstance(x, SparseMatrix) and is_first else min(fan_in, fan_out)
        # Â and its transpose: an index, a value and a row of H for each entry, a row of the result for each node
        moved += (4 * entries * (2 + width) + 4 * num_rows * width) * (1 if is_first and width == fan_in else 2)
        moved += 4 * stored * 2  # dropout of the layer's input reads and writes it
        if not is_first:
            moved += 4 * stored * 3  # the derivative of relu and dropout reads two arrays and writes one
    shape = num_rows, max(layer.out_channels for layer in layers)
    a, out, w = torch.randn(shape), torch.empty(shape), torch.randn(shape[1], shape[1])
    flops_per_second = 2 * a.numel() * shape[1] / _fastest(lambda: torch.mm(a, w, out=out))
    bytes_per_second = 2 * a.nbytes / _fastest(lambda: out.copy_(a))
    return {
        "flops": flops,
        "bytes": moved,
        "flops_per_second": flops_per_second,
        "bytes_per_second": bytes_per_second,
        "seconds": flops / flops_per_second + moved / bytes_per_second,
    }


def _fastest(side: Callable[[], Any], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        side()
        times.append(time.perf_counter() - start)
    return min(times)


def datasets() -> list[str]:
    """The names of the sets whose epochs can be timed."""
    return [r.dataset for name, r in RECIPES.items() if r.kind == "node" and name == f"{r.dataset}-gcn"]


@generators_kept()
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
        dataset: one of `datasets()`, such as "cora".
        epochs: timed epochs a side, rounded up to whole blocks, the first block not counted.
        threads: CPU threads of every side; by default torch's, but no more than this process may use.
        root: data root.
        say: gets lines of text for people.
    """
    if dataset not in datasets():
        raise InputError(
            f"dataset: {dataset!r} is not one of {', '.join(datasets())}, of which gcnlab has a recipe NAME-gcn."
            + did_you_mean(dataset, datasets())
        )
    check_counts(epochs=epochs)
    threads = None if threads is None else check_workers("threads", threads)
    check_package("bench: PyG's side", "torch-geometric", "torch_geometric.nn")
    with exactly(threads or min(torch.get_num_threads(), usable_cores())):
        return _epoch_times(dataset, epochs, root, say)


def _epoch_times(dataset: str, epochs: int, root: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    graph = find_node_recipe(f"{dataset}-gcn").graph(root=root)
    sides = {
        "gcnlab, receptive field": gcnlab_epoch(graph, whole=False),
        "gcnlab, whole graph": gcnlab_epoch(graph, whole=True),
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
    assert graph.x is not None
    least = floor(GCN(graph.num_features, HIDDEN, graph.num_classes), graph.x, graph.a_hat)
    say(
        f"the whole graph's floor  {1000 * least['seconds']:9.2f} ms: {least['flops'] / 1e6:,.0f} million operations at "
        f"{least['flops_per_second'] / 1e9:,.0f} GFLOP/s and {least['bytes'] / 1e6:,.0f} MB at "
        f"{least['bytes_per_second'] / 1e9:,.1f} GB/s, both measured here"
    )
    return {
        "floor": least,
        "dataset": dataset,
        "epochs": len(times["PyG, CSR"]),
        "threads": torch.get_num_threads(),
        "epoch_seconds_median": median,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "versions": {"torch": torch.__version__, "torch-geometric": _pyg_version()},
    }


def gcnlab_epoch(graph: Graph, whole: bool) -> Callable[[], None]:
    assert graph.x is not None
    assert graph.y is not None
    assert graph.train_mask is not None
    with generators_kept(0):
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
    with generators_kept(0):
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
