"""Why a deep GCN fails, and what fixes it: both halves of its layer, alone and together, from 2 to 64 layers on Cora.

    python examples/depth.py --quick                  # 2, 8 and 16 layers, one seed: 20 seconds of one core
    python examples/depth.py --out depth              # 2 to 64 layers, 3 seeds: 7 minutes of one core

A layer of a GCN propagates (a product with Â), and transforms (a product with W, then a relu). Which of the two fails
when there are many? Each is measured alone:

1. "Â^K X, linear" only propagates: a linear classifier of Â^K X (SGC, Wu et al. 2019).
2. "no edges" only transforms: the GCN on Cora without its edges, where Â = I.
3. "GCN" does both. The rows below it change one thing: no L2, a residual, layer norm or batch norm; the last, two.
4. GCNII (Chen et al. 2020) keeps a share of the first layer in each; APPNP (Gasteiger et al. 2019) has two layers of
   weights at any depth, and propagates what they found, with a way back.

Four numbers say what happened: the accuracy on the 140 training nodes and on the test nodes; the mean cosine distance
of two nodes' last embeddings (MAD, Chen et al. 2020), before training and after it; and the norm of the loss's gradient
for the first layer's weights before training.

Fixed Planetoid split; 32 hidden units, Adam 0.01, L2 5e-4, 100 epochs for all but the linear classifier (Adam 0.2,
L2 1e-5); dropout 0.5 on X, and in GCNII and APPNP before each layer of weights, as in their papers. The weights are
those of the best validation accuracy; the test set is read once. Nothing is tuned. --out writes table.md, table.json
and plot.png.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import gcnlab
from gcnlab import APPNP, GCN, GCN2Conv, Graph, SGConv, SparseMatrix, dropout, fit, metrics, predict
from gcnlab.files import check_target, write_json
from gcnlab.propagate import propagate

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--quick", action="store_true", help="fewer depths and one seed: a look, not a figure")
parser.add_argument("--seeds", type=int, help="3 by default; with --quick 1")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--out", type=Path, help="folder for table.md, table.json and plot.png")
args = parser.parse_args()
try:
    if args.out is not None:
        check_target("--out", args.out, is_folder=True)
    graph = gcnlab.load("cora")
except gcnlab.GcnlabError as error:
    parser.exit(2, f"{error}\n")
graph = graph.with_row_normalized_features()
no_edges = graph.replace(adjacency=SparseMatrix.from_edges(torch.empty(2, 0, dtype=torch.long), graph.num_nodes))
DEPTHS = (2, 8, 16) if args.quick else (2, 4, 8, 16, 32, 64)
SEEDS = range(args.seeds or (1 if args.quick else 3))
HIDDEN = 32


class GCNII(nn.Module):
    def __init__(self, num_layers: int, rate: float) -> None:
        super().__init__()
        self.first = nn.Linear(graph.num_features, HIDDEN)
        self.layers = nn.ModuleList(GCN2Conv(HIDDEN, layer) for layer in range(1, num_layers + 1))
        self.last, self.rate = nn.Linear(HIDDEN, graph.num_classes), rate

    def forward(self, x: Any, a_hat: Any, hidden: bool = False) -> Any:
        x = dropout(x, self.rate, self.training)
        h = x_0 = (x @ self.first.weight.t() + self.first.bias).relu()
        embeddings = [h]
        for layer in self.layers:
            h = layer(dropout(h, self.rate, self.training), a_hat, x_0).relu()
            embeddings.append(h)
        logits = self.last(dropout(h, self.rate, self.training))
        return (logits, embeddings) if hidden else logits


class PropagatedMLP(nn.Module):
    def __init__(self, num_layers: int, rate: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(graph.num_features, HIDDEN), nn.Linear(HIDDEN, graph.num_classes)
        self.propagate, self.rate = APPNP(num_layers, alpha=0.1), rate

    def forward(self, x: Any, a_hat: Any, hidden: bool = False) -> Any:
        x = dropout(x, self.rate, self.training)
        h = (x @ self.first.weight.t() + self.first.bias).relu()
        logits = self.propagate(self.last(dropout(h, self.rate, self.training)), a_hat)
        return (logits, [logits]) if hidden else logits


class Linear(SGConv):
    def __init__(self, num_layers: int, rate: float) -> None:
        super().__init__(graph.num_features, graph.num_classes, num_hops=0)  # its x is Â^K X already

    def forward(self, x: Any, a_hat: Any, hidden: bool = False) -> Any:
        logits = super().forward(x, a_hat)
        return (logits, [x]) if hidden else logits


def gcn(**options: Any) -> Callable[[int, float], nn.Module]:
    return lambda num_layers, rate: GCN(
        graph.num_features, HIDDEN, graph.num_classes, num_layers, dropout=0.0, input_dropout=rate, **options
    )


class Row(NamedTuple):
    name: str
    make: Callable[[int, float], nn.Module]  # (num_layers, rate of dropout)
    style: str  # its line in the pictures
    graph: Graph = graph
    lr: float = 0.01
    l2: float = 5e-4


ROWS = (
    Row("Â^K X, linear", Linear, "k-", lr=0.2, l2=1e-5),
    Row("no edges", gcn(), "k--", no_edges),
    Row("GCN", gcn(), "C3-"),
    Row("GCN, no L2", gcn(), "C3--", l2=0.0),
    Row("GCN + residual", gcn(residual=True, output_linear=True), "C1-"),
    Row("GCN + layer norm", gcn(norm="layer", output_linear=True), "C5-"),
    Row("GCN + batch norm", gcn(norm="batch", output_linear=True), "C9-"),
    Row("GCN + residual + batch norm", gcn(norm="batch", residual=True, output_linear=True), "C0-"),
    Row("GCNII", GCNII, "C4-"),
    Row("APPNP", PropagatedMLP, "C2-"),
)


def at_the_start(model: nn.Module, data: Graph, l2: float) -> dict[str, float]:
    """The norm of the loss's gradient and of L2's for the first weights, of the loss's for the last ones, and MAD."""
    logits, embeddings = model(data.x, data.a_hat, hidden=True)
    nn.functional.cross_entropy(logits[data.train_mask], data.y[data.train_mask]).backward()
    weights = [p for p in model.parameters() if p.dim() == 2]
    return {
        "gradient_of_first": float(weights[0].grad.norm()),
        "gradient_of_last": float(weights[-1].grad.norm()),
        "gradient_of_l2": l2 * float(weights[0].detach().norm()),
        "distance_at_start": metrics.mean_average_distance(embeddings[-1].detach()),
    }


def trained(row: Row, model: nn.Module, data: Graph, seed: int) -> dict[str, Any]:
    """Accuracies of the trained model, and MAD by layer."""
    fit(
        model, data, seed=seed, epochs=args.epochs, lr=row.lr, weight_decay=row.l2, select="val_accuracy", progress=False,
    )  # fmt: skip
    with torch.no_grad():
        _, embeddings = model(data.x, data.a_hat, hidden=True)
    return {
        "train_accuracy": metrics.accuracy(predict(model, data, data.train_mask), data.y[data.train_mask]),
        "accuracy": metrics.accuracy(predict(model, data, data.test_mask), data.y[data.test_mask]),
        "distance_by_layer": [metrics.mean_average_distance(h) for h in embeddings],
    }


print(f"{'':<28}{'layers':>7}{'train, %':>10}{'test, %':>14}{'MAD before':>12}{'after':>7}{'gradient':>10}")
rows: list[dict[str, Any]] = []
for row in ROWS:
    for depth in DEPTHS:
        data = row.graph
        if row.make is Linear:
            data = data.replace(x=propagate(graph.x, graph.a_hat, depth))
        found = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            # Training mode, so that batch norm has the batch's averages; no dropout, whose noise would count as distance.
            start = at_the_start(row.make(depth, 0.0).train(), data, row.l2)
            torch.manual_seed(seed)
            found.append(start | trained(row, row.make(depth, 0.5), data, seed))
        by_key: dict[str, Any] = {key: [of_seed[key] for of_seed in found] for key in found[0]}
        by_key["distance_by_layer"] = [statistics.mean(h) for h in zip(*by_key["distance_by_layer"], strict=True)]
        rows.append({"model": row.name, "layers": depth, **by_key})
        mean = {key: statistics.mean(values) for key, values in by_key.items()}
        test = f"{100 * mean['accuracy']:.1f} ± {100 * statistics.pstdev(by_key['accuracy']):.1f}"
        print(
            f"{row.name:<28}{depth:>7}{100 * mean['train_accuracy']:>10.1f}{test:>14}{mean['distance_at_start']:>12.3f}"
            f"{by_key['distance_by_layer'][-1]:>7.3f}{mean['gradient_of_first']:>10.0e}",
            flush=True,
        )

if args.out is not None:
    import matplotlib.pyplot as plt

    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "table.json", rows)

    def percent(row: dict[str, Any], key: str) -> float:
        return 100 * statistics.mean(row[key])

    lines = []
    for title, cell in (
        (
            "training / test accuracy, %",
            lambda row: (
                f"{percent(row, 'train_accuracy'):.0f} / {percent(row, 'accuracy'):.1f} ± "
                f"{100 * statistics.pstdev(row['accuracy']):.1f}"
            ),
        ),
        (
            "MAD before / after training",
            lambda row: f"{statistics.mean(row['distance_at_start']):.2f} / {row['distance_by_layer'][-1]:.2f}",
        ),
        ("gradient of the first weights", lambda row: f"{statistics.mean(row['gradient_of_first']):.0e}"),
    ):
        lines += ["", f"| {title} | {' | '.join(map(str, DEPTHS))} |", f"|---|{'---:|' * len(DEPTHS)}"]
        for row in ROWS:
            cells = [cell(found) for found in rows if found["model"] == row.name]
            lines.append(f"| {row.name} | {' | '.join(cells)} |")
    (args.out / "table.md").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")

    figure, grid = plt.subplots(2, 2, figsize=(11, 8.6), layout="constrained", sharex=True)
    for axes, label, title, measure in zip(
        grid.flat,
        ("training accuracy, %", "test accuracy, %", "mean cosine distance of two nodes", "norm of the gradient"),
        (
            "Does it fit its 140 labels?",
            "Does it classify the test nodes?",
            "MAD after training",
            "Gradient of the first weights, before training",
        ),
        (
            lambda row: percent(row, "train_accuracy"),
            lambda row: percent(row, "accuracy"),
            lambda row: row["distance_by_layer"][-1],
            lambda row: statistics.mean(row["gradient_of_first"]),
        ),
        strict=True,
    ):
        for row in ROWS:
            values = [measure(found) for found in rows if found["model"] == row.name]
            axes.plot(DEPTHS, values, row.style, marker="o", markersize=4, label=row.name)
        axes.set(xscale="log", ylabel=label, title=title)
        axes.set_xticks(DEPTHS, map(str, DEPTHS))
        axes.minorticks_off()
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    of_l2 = [statistics.mean(found["gradient_of_l2"]) for found in rows if found["model"] == "GCN"]
    grid[1, 1].plot(DEPTHS, of_l2, "C3:", label="gradient of L2 in the GCN")
    grid[1, 1].set_yscale("log")
    for axes in grid[1]:
        axes.set_xlabel("layers")
    figure.legend(*grid[1, 1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(args.out / "plot.png", dpi=110)
