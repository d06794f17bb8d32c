"""Recipes of graph classification."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import metrics, plot
from ..checkpoint import describe, digest_of, read_checkpoint
from ..data import catalog, load
from ..errors import InputError
from ..graph import GraphCollection
from ..protocols import PROTOCOLS as GRAPH_PROTOCOLS
from ..protocols import FoldJob, Settings, best_common_epoch, digest_of_folds, parts, run_jobs
from ..reporting import Content
from ..reporting.findings import add_graphs
from ..train import History, predict
from .outputs import Outputs
from .result import Finish, best_of, chosen_of, result_of, spread_of, title_of, write_model


@dataclass(frozen=True)
class GraphRecipe:
    """A recipe of graph classification.

    Attributes:
        name: what `gcnlab run` is given.
        dataset: a name of `gcnlab.load`.
        features: options of `gcnlab.load` that say what X is.
        grid: the settings to choose from; gin and a grid of one take the first.
        published: (data set, protocol) -> (accuracy as a fraction, its source).
        num_seeds: seeds of a run that does not say how many.
    """

    name: str
    dataset: str
    features: dict[str, Any]
    grid: tuple[Settings, ...]
    published: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    num_seeds: int = 1
    protocols: tuple[str, ...] = ("gin", "nested", "holdout")

    @property
    def datasets(self) -> list[str]:
        """The names it can run on: its own, for which features and grid are made."""
        return [self.dataset]

    @property
    def epochs(self) -> int:
        return self.grid[0].epochs

    @property
    def model_name(self) -> str:
        first = self.grid[0]
        if first.model == "mlp":
            return f"features summed, MLP, {first.hidden_channels} hidden"
        grid = f", grid of {len(self.grid)}" if len(self.grid) > 1 else ""
        return f"GCN, {first.num_layers} layers, {first.hidden_channels} hidden, {first.readout} readout{grid}"

    def graphs(
        self, dataset: str | None = None, root: str | None = None, features: Mapping[str, Any] | None = None
    ) -> GraphCollection:
        """The data as the model gets it; `features` are those of a trained model where they are not the recipe's."""
        dataset = dataset or self.dataset
        if dataset in catalog() and "graphs" not in catalog()[dataset]["counts"]:
            raise InputError(f"dataset: {dataset} is no collection of graphs, which {self.name} classifies.")
        graphs = load(dataset, root=root, **(self.features if features is None else features))
        assert isinstance(graphs, GraphCollection)
        return graphs

    def model(self, graphs: GraphCollection) -> nn.Module:
        return self.grid[0].build(graphs)


def run_graphs(
    recipe: GraphRecipe,
    workers: int | None,
    protocol: str,
    num_seeds: int,
    epochs: int,
    device: str,
    root: str | None,
    folder: Path | None,
    board: str | None,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], Finish]:
    """The result, and what writes the files beside it and gives what a report shows."""
    say(f"protocol {protocol}: {GRAPH_PROTOCOLS[protocol]}")
    graphs = recipe.graphs(root=root)
    grid = tuple(replace(settings, epochs=epochs) for settings in recipe.grid)[: None if protocol == "nested" else 1]
    jobs = [
        FoldJob(recipe.dataset, recipe.features, protocol, fold, grid, seed, root, device, tensorboard=board)
        for seed in range(num_seeds)
        for fold in range(1 if protocol == "holdout" else 10)
    ]
    if folder is not None and protocol == "holdout":
        jobs = [replace(job, model_file=str(folder / "seeds" / f"{job.seed}.gcnlab")) for job in jobs]
    file = None if folder is None else folder / "folds.jsonl"
    results = run_jobs(jobs, file, workers=1 if device == "cuda" else workers, say=say)
    if protocol == "gin":
        best_epoch, per_fold = best_common_epoch(results)
        say(f"best common epoch {best_epoch}; no held-out test")
        val_per_fold = per_fold
    else:
        per_fold = [result["test_accuracy"] for result in results]
        val_per_fold = [result["val_accuracy"] for result in results]
    size = len(jobs) // num_seeds

    def spread(values: list[float]) -> dict[str, Any]:
        if protocol == "holdout":
            return spread_of(values)
        per_seed = [statistics.mean(values[i : i + size]) for i in range(0, len(values), size)]
        return {**spread_of(values), "per_seed": per_seed, "per_fold": values}

    result = result_of(
        recipe,
        recipe.dataset,
        protocol,
        data=digest_of(graphs.whole.adjacency, graphs.sizes, graphs.y, digest_of_folds(jobs, graphs)),
        num_parameters=sum(p.numel() for p in recipe.model(graphs).parameters()),
        seeds=list(range(num_seeds)),
        test_accuracy=spread(per_fold),
        val_accuracy=spread(val_per_fold),
        epochs=max(result["epochs"] for result in results),
        epoch_seconds=[seconds for result in results for seconds in result["epoch_seconds"]],
        device=device,
    )

    def finish(files: Outputs) -> Content:
        content = Content(
            {"protocol": GRAPH_PROTOCOLS[protocol], "data": graphs.summary()},
            graphs.class_names or list(map(str, range(graphs.num_classes))),
        )  # fmt: skip
        header: dict[str, Any] = {"recipe": recipe.name, "dataset": recipe.dataset, "protocol": protocol}
        if protocol != "holdout":
            content.folds = [result["curve"] for result in results]
            with files.writing("curves.png") as file:
                plot.folds(content.folds, file, title_of(header))
            tables = [result["confusion_matrix"] for result in results if "confusion_matrix" in result]
            if len(tables) == len(results):  # those of gin have none
                content.confusion = torch.tensor(tables).sum(0).tolist()
                content.chosen = "in the final runs of all folds together"
            files.written.append("folds.jsonl")
            add_graphs(content, graphs)
            return content
        saved = [read_checkpoint(job.model_file) for job in jobs if job.model_file is not None]
        history = History.join([_history(told, states) for told, states, _ in saved])
        best = best_of(val_per_fold)
        model = recipe.model(graphs).eval()
        model.load_state_dict(history.state(best))
        _, val, test = parts(jobs[best], graphs)
        header |= {
            "model": describe(model), "features": _features(recipe, graphs),
            "class_names": list(graphs.class_names or ()), "confusion_matrix": saved[best][0]["confusion_matrix"],
            "temperature": metrics.fit_temperature(predict(model, graphs[val]), graphs[val].y),
        }  # fmt: skip
        write_model(files, header, history, best)
        files.written += ["folds.jsonl", "seeds"]
        content.history, content.confusion = history, header["confusion_matrix"]
        content.chosen = chosen_of(history.seeds, best)
        add_graphs(content, graphs, model, test)
        return content

    return result, finish


def _history(header: Mapping[str, Any], states: dict[str, torch.Tensor]) -> History:
    """The training of a file that a job wrote."""
    table = {name: torch.tensor(values, dtype=torch.float64).unsqueeze(1) for name, values in header["metrics"].items()}
    return History(header["seeds"], table, torch.tensor([header["epoch"]]), states, operator=header.get("operator", ""))


def _features(recipe: GraphRecipe, graphs: GraphCollection) -> dict[str, Any]:
    """The options that give other graphs the columns of these: one-hot degrees, or bins, up to the highest of these."""
    if recipe.features["features"] not in ("degree", "degree_bins"):
        return recipe.features
    return {**recipe.features, "max_degree": int(graphs.whole.adjacency.rowptr.diff().max())}
