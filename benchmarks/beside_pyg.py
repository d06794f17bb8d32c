"""The accuracy of a recipe's network written with PyG, beside gcnlab's.

    python benchmarks/beside_pyg.py photo-classic --seeds 3 --results runs/beside-pyg.jsonl \\
        --json benchmarks/results/accuracy-photo-classic-pyg.json
    python benchmarks/beside_pyg.py facebook-gcn --seeds 10 --ours benchmarks/results/facebook-gcn.json

Both sides have the same graph, splits, architecture, distributions of the initial weights, Adam, L2, epochs and early
stopping by validation loss. Both keep the weights of the best validation metric, measured after each epoch. The PyG side
is PyG's GCNConv and torch's Linear, LayerNorm and BatchNorm1d. The adjacency matrix is a torch sparse CSR tensor, PyG's
memory-efficient form: an epoch of photo-classic takes 40 % of the time that it takes with an edge_index. scikit-learn
computes the metrics.

Two things differ. A seed draws other weights and other dropout masks on each side. And `fit` recomputes the running
averages of batch norms after each epoch, while the PyG side has torch's exponential averages.

X with more than 2^24 entries is a torch sparse tensor whose stored entries are dropped, since dropout on 22,470 x 4,714
floats would take minutes. All other X are dense.

With --results, a finished training (one side, one seed) is not made again. With --ours, the gcnlab side is the first seeds
of a result of `gcnlab run NAME --json`.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcnlab import Graph
from gcnlab.checkpoint import digest_of
from gcnlab.errors import InputError
from gcnlab.files import write_json
from gcnlab.jobs import Finished
from gcnlab.machine import versions
from gcnlab.protocols import paired
from gcnlab.recipes import find_node_recipe
from gcnlab.recipes.nodes import ClassicRecipe, Recipe, SeedJob
from gcnlab.sparse import SparseMatrix

SIDES = ("gcnlab", "PyG")
METRICS = ("accuracy", "roc_auc")
MOST_DENSE_ENTRIES = 2**24
FIELDS = {"test": float, "epochs": int, "epoch_seconds_median": float, "threads": int}


class SparseLinear(nn.Module):
    """PyG's linear layer on a torch sparse tensor."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight = linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(x, self.weight.t())


class PyGGCN(nn.Module):
    """The network of a recipe: a plain GCN, or the block of Luo et al. 2024, which ends with a linear map."""

    def __init__(self, recipe: Recipe, in_channels: int, out_channels: int, is_sparse: bool = False) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        hidden, norm = recipe.hidden_channels, None
        ends_linear = isinstance(recipe, ClassicRecipe)
        widths = [in_channels, *[hidden] * (recipe.num_layers - 1), hidden if ends_linear else out_channels]
        self.convs = nn.ModuleList(GCNConv(a, b, cached=True) for a, b in pairwise(widths))
        self.residuals = self.norms = self.output = None
        if isinstance(recipe, ClassicRecipe):
            norm = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, None: None}[recipe.norm]
            self.norms = nn.ModuleList(norm(hidden) for _ in self.convs) if norm else None
            self.residuals = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths)) if recipe.residual else None
            self.output = nn.Linear(hidden, out_channels)
        if is_sparse:
            self.convs[0].lin = SparseLinear(self.convs[0].lin)
        self.dropout = recipe.dropout
        self.input_dropout = recipe.dropout if recipe.input_dropout is None else recipe.input_dropout

    def forward(self, x: Tensor, adj_t: Tensor) -> Tensor:
        h = self._drop_inputs(x)
        for i, conv in enumerate(self.convs):
            z = conv(h, adj_t)
            if self.residuals is not None:
                z = z + self.residuals[i](h)
            if self.output is None and i == len(self.convs) - 1:
                return z
            if self.norms is not None:
                z = self.norms[i](z)
            h = F.dropout(z.relu(), self.dropout, self.training)
        return self.output(h)

    def _drop_inputs(self, x: Tensor) -> Tensor:
        if not x.is_sparse:
            return F.dropout(x, self.input_dropout, self.training)
        values = F.dropout(x.values(), self.input_dropout, self.training)
        return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True)


def check(recipe: Recipe) -> None:
    """Raise InputError unless the PyG side can train the recipe."""
    options = ("drop_node", "batch_norm", "average", "clip_norm", "consistency", "fan_outs", "input_linear")
    other = [key for key in options if getattr(recipe, key, None)]
    other += ["conv"] * (getattr(recipe, "conv", "GCNConv") != "GCNConv") + ["patience"] * (recipe.patience is None)
    other += ["metric"] * (recipe.metric not in METRICS)
    if type(recipe) not in (Recipe, ClassicRecipe) or other:
        what = ", ".join(f"{key}={getattr(recipe, key)}" for key in other) or f"the model {recipe.model_name}"
        raise InputError(f"recipe: {recipe.name} has {what}, which the PyG side lacks; expected one like cora-gcn.")


def inputs_of(graph: Graph) -> tuple[Tensor, Tensor]:
    """X and the transposed adjacency matrix, as PyG takes them."""
    from torch_geometric.utils import remove_self_loops, to_torch_csr_tensor

    x = graph.x
    if isinstance(x, SparseMatrix):
        is_large = graph.num_nodes * graph.num_features > MOST_DENSE_ENTRIES
        x = x.to_torch().to_sparse_coo().coalesce() if is_large else x.to_dense()
    # GCNConv adds a second loop to a node that has one in a CSR tensor, but not in an edge_index.
    edge_index, _ = remove_self_loops(graph.edge_index)
    return x, to_torch_csr_tensor(edge_index.flip(0), size=(graph.num_nodes, graph.num_nodes))


def adam(recipe: Recipe, model: nn.Module) -> torch.optim.Adam:
    if not isinstance(recipe.weight_decay, dict):
        return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    decays = {part.replace("layers.", "convs."): decay for part, decay in recipe.weight_decay.items()}
    groups = [
        {"params": [p], "weight_decay": next((of for part, of in decays.items() if name.startswith(f"{part}.")), 0.0)}
        for name, p in model.named_parameters()
    ]
    return torch.optim.Adam(groups, lr=recipe.lr)


def score(metric: str, logits: Tensor, y: Tensor) -> float:
    from sklearn.metrics import accuracy_score, roc_auc_score

    if metric == "roc_auc":
        return float(roc_auc_score(y, logits[:, 1].double() - logits[:, 0]))
    return float(accuracy_score(y, logits.argmax(1)))


def train_pyg(recipe: Recipe, graph: Graph, seed: int, epochs: int, state: Any = None) -> dict[str, Any]:
    """The training of one seed, from its own initial weights or from `state`."""
    torch.manual_seed(seed)
    (x, adj_t), y = inputs_of(graph), graph.y
    model = PyGGCN(recipe, graph.num_features, graph.num_classes, x.is_sparse)
    if state is not None:
        model.load_state_dict(state)
    optimizer = adam(recipe, model)
    best, least_loss, waited, test, seconds = -1.0, float("inf"), 0, 0.0, []
    while len(seconds) < epochs and waited < recipe.patience:
        start = time.perf_counter()
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, adj_t)[graph.train_mask], y[graph.train_mask]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = model(x, adj_t)
        value = score(recipe.metric, logits[graph.val_mask], y[graph.val_mask])
        loss = float(F.cross_entropy(logits[graph.val_mask], y[graph.val_mask]))
        seconds.append(time.perf_counter() - start)
        if value > best:
            best, test = value, score(recipe.metric, logits[graph.test_mask], y[graph.test_mask])
        waited = 0 if loss < least_loss else waited + 1
        least_loss = min(least_loss, loss)
    return told(test, seconds, torch.get_num_threads())


def train_gcnlab(recipe: Recipe, graph: Graph, seed: int, epochs: int) -> dict[str, Any]:
    inputs = recipe.inputs(graph, recipe.operator(graph))
    history = recipe.train(graph, inputs, [seed], epochs)
    model = recipe.model(graph).eval()
    model.load_state_dict(history.state(0))
    logits = recipe.logits(model, inputs)[graph.test_mask]
    return told(score(recipe.metric, logits, graph.y[graph.test_mask]), history.epoch_seconds, history.threads)


def told(test: float, epoch_seconds: Sequence[float], threads: int) -> dict[str, Any]:
    seconds = statistics.median(epoch_seconds)
    return {"test": test, "epochs": len(epoch_seconds), "epoch_seconds_median": seconds, "threads": threads}


@dataclass(frozen=True)
class SideJob(SeedJob):
    """One side's training of one seed."""

    side: str
    made_with: str  # versions


def versions_of(side: str) -> dict[str, str]:
    more = {"torch-geometric": version("torch-geometric")} if side == "PyG" else {}
    return {**versions(), **more, "scikit-learn": version("scikit-learn")}


def trained(recipe: Recipe, side: str, seeds: int, epochs: int, finished: Finished) -> dict[str, Any]:
    """One side: the test metric of each seed, most epochs, median seconds per epoch, threads and versions."""
    results = []
    for seed in range(seeds):
        graph = recipe.graph(seed=seed)
        masks = graph.train_mask, graph.val_mask, graph.test_mask
        job = SideJob(
            repr(replace(recipe, published={}, num_seeds=1)), recipe.dataset, recipe.protocols[0], epochs, seed,
            digest_of(graph.adjacency, graph.x, graph.y, *masks), side, json.dumps(versions_of(side)),
        )  # fmt: skip
        if job not in finished:
            finished.add(job, (train_pyg if side == "PyG" else train_gcnlab)(recipe, graph, seed, epochs))
        results.append(finished[job])
        of = results[-1]
        say = f"{100 * of['test']:.2f} % after {of['epochs']} epochs of {of['epoch_seconds_median']:.3f} s"
        print(f"{side}, seed {seed}: test {recipe.metric} {say}", flush=True)
    return {
        "per_seed": [of["test"] for of in results],
        "epochs": max(of["epochs"] for of in results),
        "epoch_seconds_median": statistics.median(of["epoch_seconds_median"] for of in results),
        "threads": results[0]["threads"],
        "versions": versions_of(side),
    }


def of_file(recipe: Recipe, path: str, seeds: int) -> dict[str, Any]:
    """gcnlab's side from a result of `gcnlab run`; raises InputError unless it is of this recipe and has the seeds."""
    graph = recipe.graph()
    data = digest_of(graph.adjacency, graph.y)
    # Results of 1.0 have neither metric, data nor threads.
    result = {"metric": "accuracy", "data": data, "threads": 0, **json.loads(Path(path).read_text(encoding="utf-8"))}
    expected = {
        "recipe": recipe.name, "dataset": recipe.dataset, "protocol": recipe.protocols[0], "metric": recipe.metric,
        "data": data, "seeds": list(range(seeds)),
    }  # fmt: skip
    for key, value in expected.items():
        found = result[key][:seeds] if key == "seeds" else result[key]
        if found != value:
            raise InputError(f"--ours: {path} has {key} {found!r}, expected {value!r}; make it with gcnlab run.")
    facts = {key: result[key] for key in ("epochs", "epoch_seconds_median", "threads", "versions")}
    return {"per_seed": result["test_accuracy"]["per_seed"][:seeds], **facts}


def difference(recipe: Recipe, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """gcnlab's metric minus PyG's with its 95 % interval, over seeds or splits (`gcnlab.protocols.paired`)."""
    about = {"protocol": recipe.protocols[0], "seeds": list(range(len(ours)))}
    return paired(*({**about, "test_accuracy": {"per_seed": list(values)}} for values in (ours, theirs)))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe of a GCN, such as cora-gcn or photo-classic")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2 (default: 3)")
    parser.add_argument("--epochs", type=int, help="the most epochs (default: the recipe's)")
    parser.add_argument("--ours", metavar="FILE", help="gcnlab's side, a result of gcnlab run; else it is trained here")
    parser.add_argument("--results", metavar="FILE", help="a file of finished trainings, one JSON line each")
    parser.add_argument("--json", metavar="FILE", help="the file of the comparison")
    args = parser.parse_args(argv)
    if args.seeds < 2 or (args.ours and args.epochs):
        parser.error("a paired difference needs --seeds 2 or more" if args.seeds < 2 else "--ours has its own epochs")
    recipe = find_node_recipe(args.recipe)
    check(recipe)
    finished = Finished(Path(args.results) if args.results else None, "a side", FIELDS)
    epochs = args.epochs or recipe.epochs
    sides = {"gcnlab": of_file(recipe, args.ours, args.seeds)} if args.ours else {}
    for side in SIDES[len(sides) :]:
        sides[side] = trained(recipe, side, args.seeds, epochs, finished)
    found = difference(recipe, *(sides[side]["per_seed"] for side in SIDES))
    for side, of in sides.items():
        values = of["per_seed"]
        print(f"{side:<7} {100 * statistics.mean(values):.2f} ± {100 * statistics.pstdev(values):.2f} %")
    print(
        "difference {:.2f}, 95 % interval {:.2f} to {:.2f}".format(
            *(100 * found[k] for k in ("difference", "low", "high"))
        )
    )
    if args.json:
        facts = ("epochs", "epoch_seconds_median", "threads", "versions")
        about = {
            "dataset": recipe.dataset,
            "protocol": recipe.protocols[0],
            "metric": recipe.metric,
            "seeds": args.seeds,
        }
        write_json(args.json, {
            "recipe": recipe.name, **about, **{side: of["per_seed"] for side, of in sides.items()}, "paired": found,
            **{key: {side: of[key] for side, of in sides.items()} for key in facts},
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}", "date": time.strftime("%Y-%m-%d"),
        })  # fmt: skip


if __name__ == "__main__":
    main()
