"""Why a deep GCN fails, and what mends it: GCN, GCNII and APPNP from 2 to 64 layers on Cora.

    python examples/depth.py --quick                  # 2, 8 and 32 layers, one seed: about a minute on 2 cores
    python examples/depth.py --out depth              # 2 to 64 layers, 3 seeds: 20 minutes of one core

A product with Â is a mean over the neighbours. Many of them make all nodes alike: the mean cosine distance of two nodes'
embeddings (MAD, Chen et al. 2020) falls to 0, and no classifier can tell them apart. GCNII (Chen et al. 2020) keeps a share
of the first layer in each; APPNP (Gasteiger et al. 2019) classifies first, and propagates what it found with a way back.

Fixed Planetoid split; 64 hidden units, dropout 0.5, Adam 0.01, L2 5e-4, 200 epochs for all; the weights are those of the best
validation accuracy, the test set is read once. Nothing else is tuned for any of them. --out writes table.md, table.json and
plot.png.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gcnlab
from gcnlab import APPNP, GCN, GCN2Conv, dropout, fit, metrics, predict
from gcnlab.files import check_target, write_json

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--quick", action="store_true", help="fewer depths and one seed: a look, not a figure")
parser.add_argument("--seeds", type=int, help="3 by default; with --quick 1")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--out", type=Path, help="folder for table.md, table.json and plot.png")
args = parser.parse_args()
try:
    if args.out is not None:
        check_target("--out", args.out, is_folder=True)
    graph = gcnlab.load("cora")
except gcnlab.GcnlabError as error:
    parser.exit(2, f"{error}\n")
graph = graph.with_row_normalized_features()
DEPTHS = (2, 8, 32) if args.quick else (2, 4, 8, 16, 32, 64)
SEEDS = range(args.seeds or (1 if args.quick else 3))
HIDDEN = 64


class GCNII(nn.Module):
    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(graph.num_features, HIDDEN), nn.Linear(HIDDEN, graph.num_classes)
        self.layers = nn.ModuleList(GCN2Conv(HIDDEN, layer) for layer in range(1, num_layers + 1))

    def forward(self, x: Any, a_hat: Any, hidden: bool = False) -> Any:
        x = dropout(x, 0.5, self.training)
        h = x_0 = (x @ self.first.weight.t() + self.first.bias).relu()
        embeddings = [h]
        for layer in self.layers:
            h = layer(dropout(h, 0.5, self.training), a_hat, x_0).relu()
            embeddings.append(h)
        logits = self.last(dropout(h, 0.5, self.training))
        return (logits, embeddings) if hidden else logits


class PropagatedMLP(nn.Module):
    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(graph.num_features, HIDDEN), nn.Linear(HIDDEN, graph.num_classes)
        self.num_layers, self.propagate = num_layers, APPNP(num_layers, alpha=0.1)

    def forward(self, x: Any, a_hat: Any, hidden: bool = False) -> Any:
        x = dropout(x, 0.5, self.training)
        h = (x @ self.first.weight.t() + self.first.bias).relu()
        h = self.last(dropout(h, 0.5, self.training))
        if not hidden:
            return self.propagate(h, a_hat)
        embeddings = [h, *(APPNP(k, alpha=0.1)(h, a_hat) for k in range(1, self.num_layers + 1))]
        return embeddings[-1], embeddings


MODELS = {
    "GCN": lambda depth: GCN(graph.num_features, HIDDEN, graph.num_classes, depth, dropout=0.5),
    "GCNII": GCNII,
    "APPNP": PropagatedMLP,
}


def distances(model: nn.Module) -> list[float]:
    """MAD of the embeddings of each layer, of the trained model."""
    with torch.no_grad():
        _, embeddings = model(graph.x, graph.a_hat, hidden=True)
    return [metrics.mean_average_distance(h) for h in embeddings]


print(f"{'model':<8}{'layers':>7}{'test accuracy, %':>20}{'MAD before the classifier':>28}")
rows = []
for name, make in MODELS.items():
    for depth in DEPTHS:
        accuracy, by_layer = [], []
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = make(depth)
            fit(
                model, graph, seed=seed, epochs=args.epochs, lr=0.01, weight_decay=5e-4, select="val_accuracy",
                progress=False,
            )  # fmt: skip
            accuracy.append(metrics.accuracy(predict(model, graph, graph.test_mask), graph.y[graph.test_mask]))
            by_layer.append(distances(model))
        layers = [statistics.mean(values) for values in zip(*by_layer, strict=True)]
        rows.append({"model": name, "layers": depth, "accuracy": accuracy, "distance_by_layer": layers})
        mean, spread = 100 * statistics.mean(accuracy), 100 * statistics.pstdev(accuracy)
        print(f"{name:<8}{depth:>7}{f'{mean:.1f} ± {spread:.1f}':>20}{layers[-1]:>28.3f}", flush=True)

if args.out is not None:
    import matplotlib.pyplot as plt

    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "table.json", rows)
    cells = {
        (row["model"], row["layers"]): f"{100 * statistics.mean(row['accuracy']):.1f} ± "
        f"{100 * statistics.pstdev(row['accuracy']):.1f} ({row['distance_by_layer'][-1]:.2f})"
        for row in rows
    }
    lines = [f"| layers | {' | '.join(map(str, DEPTHS))} |", f"|---|{'---|' * len(DEPTHS)}"]
    lines += [f"| {name} | {' | '.join(cells[name, depth] for depth in DEPTHS)} |" for name in MODELS]
    (args.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, color in zip(MODELS, ("tab:red", "tab:blue", "tab:green"), strict=True):
        own = [row for row in rows if row["model"] == name]
        means = [100 * statistics.mean(row["accuracy"]) for row in own]
        errors = [100 * statistics.pstdev(row["accuracy"]) for row in own]
        left.errorbar(DEPTHS, means, errors, marker="o", capsize=3, label=name, color=color)
        deepest = own[-1]["distance_by_layer"]
        first = int(name == "GCN")  # whose first embedding has one product with Â behind it
        right.plot(range(first, first + len(deepest)), deepest, label=f"{name}, {DEPTHS[-1]} layers", color=color)
    left.set(xscale="log", xlabel="layers", ylabel="test accuracy, %", title="Accuracy by depth")
    left.set_xticks(DEPTHS, map(str, DEPTHS))
    left.minorticks_off()
    right.set(
        xlabel="layer", ylabel="mean cosine distance of two nodes", ylim=(0, None), title="Over-smoothing by layer"
    )
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(args.out / "plot.png", dpi=130)
