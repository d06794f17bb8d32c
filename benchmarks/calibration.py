"""How well probabilities hold on test nodes and test graphs: expected calibration error (10 bins) before and after a temperature.

    python benchmarks/calibration.py [--seeds 20] [--json benchmarks/results/calibration.json]

Before, a probability is the softmax of the logits; after, that of logits / T, with T fitted on the validation part alone
(`metrics.fit_temperature`), as `gcnlab run --out` does. "of_true_probabilities" is the error that is left by chance: that of
the same probabilities and labels drawn from them. Each seed of `holdout` has a split of its own.
"""

import argparse
import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor

import gcnlab
from gcnlab import metrics
from gcnlab.files import write_json
from gcnlab.protocols import FoldJob, parts
from gcnlab.recipes import GraphRecipe, Recipe, find
from gcnlab.train import predict

GRAPH_SEEDS, NUM_DRAWS = 5, 20


def spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.mean(values), "std": statistics.pstdev(values), "per_seed": values}


def scores(logits: Tensor, y: Tensor, val: Tensor, test: Tensor) -> dict[str, float]:
    """Of one seed; val and test are masks or ids."""
    temperature = metrics.fit_temperature(logits[val], y[val])
    before, after = logits[test].softmax(1), (logits[test] / temperature).softmax(1)
    draws = torch.multinomial(after, NUM_DRAWS, replacement=True, generator=torch.Generator().manual_seed(0))
    by_chance = [metrics.calibration_error(after, drawn) for drawn in draws.T]
    return {
        "temperature": temperature,
        "calibration_error_before": metrics.calibration_error(before, y[test]),
        "calibration_error_after": metrics.calibration_error(after, y[test]),
        "calibration_error_of_true_probabilities": statistics.mean(by_chance),
        "accuracy_before": metrics.accuracy(before, y[test]),
        "accuracy_after": metrics.accuracy(after, y[test]),
        "mean_probability_before": float(before.amax(1).mean()),
        "mean_probability_after": float(after.amax(1).mean()),
    }


def of_nodes(recipe: Recipe, num_seeds: int) -> list[dict[str, float]]:
    graph = recipe.graph(protocol="public")
    inputs = recipe.inputs(graph, recipe.operator(graph))
    history = recipe.train(graph, inputs, range(num_seeds), recipe.epochs)
    model, found = recipe.model(graph).eval(), []
    for i in range(num_seeds):
        model.load_state_dict(history.state(i))
        found.append(scores(recipe.logits(model, inputs), graph.y, graph.val_mask, graph.test_mask))
    return found


def of_graphs(recipe: GraphRecipe, num_seeds: int) -> list[dict[str, float]]:
    graphs, found = recipe.graphs(), []
    for seed in range(num_seeds):
        train, val, test = parts(FoldJob(recipe.dataset, recipe.features, "holdout", 0, recipe.grid, seed), graphs)
        model, _ = recipe.grid[0].train(graphs[train], graphs[val], seed + 1, stop=True)  # as `protocols.run_job` does
        found.append(scores(predict(model, graphs), graphs.y, val, test))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help=f"of node recipes; graphs have {GRAPH_SEEDS}")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rows = []
    for name in ("cora-gcn", "citeseer-gcn", "pubmed-gcn", "mutag-gcn-mean", "imdb-binary-gcn-mean"):
        recipe = find(name)
        if isinstance(recipe, Recipe):
            protocol, found = "public", of_nodes(recipe, args.seeds)
        else:
            protocol, found = "holdout", of_graphs(recipe, GRAPH_SEEDS)
        row = {key: spread([seed[key] for seed in found]) for key in found[0]}
        rows.append({"recipe": name, "dataset": recipe.dataset, "protocol": protocol, "num_seeds": len(found), **row})
        for key, value in row.items():
            print(f"{name:<20} {key:<39} {value['mean']:.4f} ± {value['std']:.4f}", flush=True)
    if args.json:
        about = {
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
            "threads": torch.get_num_threads(), "date": time.strftime("%Y-%m-%d"),
            "versions": {"gcnlab": gcnlab.__version__, "torch": torch.__version__}, "num_bins": 10, "rows": rows,
        }  # fmt: skip
        write_json(args.json, about)


if __name__ == "__main__":
    main()
