"""Recipes of graph classification."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import metrics, plot
from ..checkpoint import describe, digest_of, read_checkpoint
from ..checks import check_package
from ..data import catalog, load
from ..errors import InputError
from ..graph import GraphCollection
from ..models import summary
from ..protocols import (
    PROTOCOLS,
    FoldJob,
    Settings,
    best_common_epoch,
    degree_histograms,
    digest_of_folds,
    folds_named,
    parts,
    run_jobs,
)
from ..reporting import Content
from ..reporting.findings import add_graphs
from ..train import History, predict
from ..train.history import history_of
from .base import Finish, Run
from .outputs import Outputs
from .result import best_of, chosen_of, header_of, result_of, spread_of, title_of, write_model

NUM_FOLDS = 10

_MODELS = {"gcn": "GCN", "gin": "GIN", "mlp": "no structure"}
FEATURES = {
    "label": "node labels", "degree": "one-hot degrees", "degree_bins": "binned degrees", "scalar_degree": "scalar degrees",
}  # fmt: skip


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

    kind: ClassVar[str] = "graph"
    header: ClassVar[dict[str, Any]] = {"dataset": str, "features": dict}
    report_packages: ClassVar[tuple[str, ...]] = ("networkx", "scipy")
    takes_pictures: ClassVar[bool] = False
    has_pretrained: ClassVar[bool] = False
    takes_path: ClassVar[bool] = False  # its features and grid are made for its own set

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
        first, features = self.grid[0], self.features["features"]
        name = f"{first.hidden_channels} hidden, {first.readout} readout, {FEATURES.get(features, features)}"
        if first.model != "mlp":
            name = f"{first.num_layers} layers, {name}"
        grid = f", grid of {len(self.grid)}" if len(self.grid) > 1 else ""
        return f"{_MODELS[first.model]}, {name}{grid}"

    def graphs(
        self, dataset: str | None = None, root: str | None = None, features: Mapping[str, Any] | None = None
    ) -> GraphCollection:
        """The data as the model gets it; `features` replace the recipe's, for a trained model that has other ones."""
        dataset = dataset or self.dataset
        if dataset in catalog() and "graphs" not in catalog()[dataset]["counts"]:
            raise InputError(f"dataset: {dataset} is no collection of graphs, which {self.name} classifies.")
        graphs = load(dataset, root=root, **(self.features if features is None else features))
        assert isinstance(graphs, GraphCollection)
        return graphs

    def model(self, graphs: GraphCollection) -> nn.Module:
        return self.grid[0].build(graphs)

    def num_parameters(self, graphs: GraphCollection) -> int:
        return sum(p.numel() for p in self.model(graphs).parameters())

    def describe(self, root: str | None = None) -> str:
        graphs = self.graphs(root=root)
        batch = graphs[: self.grid[0].batch_size].batch()
        size = f"a batch of {batch.num_graphs} graphs, {batch.num_nodes:,} nodes, {batch.num_edges:,} stored edges"
        return f"{graphs.summary()}\n\n{size}\n{summary(self.model(graphs), batch.x, batch.a_hat, batch.p)}"

    def predict(
        self, model: nn.Module, header: Mapping[str, Any], dataset: str, root: str | None, pictures: Sequence[str] = ()
    ) -> tuple[Sequence[Any], Tensor]:
        graphs = self.graphs(dataset, root, header["features"])
        return range(len(graphs)), predict(model, graphs)

    def options_of(self, graphs: GraphCollection) -> dict[str, Any]:
        """The options of `load` that give other graphs the same columns as these.

        One-hot degrees, or bins of them, end at the highest degree found here.
        """
        if self.features["features"] not in ("degree", "degree_bins"):
            return self.features
        return {**self.features, "max_degree": int(graphs.whole.adjacency.rowptr.diff().max())}

    def run(self, run: Run) -> tuple[dict[str, Any], Finish]:
        if run.protocol != "gin":
            check_package(f"protocol: {run.protocol}", "scikit-learn", "sklearn.model_selection")
        run.say(f"protocol {run.protocol}: {PROTOCOLS[run.protocol]}")
        graphs, jobs = self.graphs(root=run.root), self.jobs(run)
        whose = folds_named(jobs)
        run.say(f"folds: {whose}")
        kept = None if run.folder is None else run.folder / "folds.jsonl"
        results = run_jobs(jobs, kept, workers=1 if run.device == "cuda" else run.threads, say=run.say)
        if run.protocol == "gin":
            best_epoch, test = best_common_epoch(results)
            run.say(f"best common epoch {best_epoch}; no held-out test")
            val = test
        else:
            test, val = ([result[f"{part}_accuracy"] for result in results] for part in ("test", "val"))
        result = result_of(
            self,
            run,
            data=digest_of(graphs.whole.adjacency, graphs.sizes, graphs.y, digest_of_folds(jobs, graphs)),
            folds=whose,
            num_parameters=self.num_parameters(graphs),
            seeds=list(range(run.num_seeds)),
            test_accuracy=_spread_of(test, run),
            val_accuracy=_spread_of(val, run),
            epochs=max(result["epochs"] for result in results),
            epoch_seconds=[seconds for result in results for seconds in result["epoch_seconds"]],
            threads=max(result.get("threads", 0) for result in results),
        )
        if run.protocol == "holdout":
            return result, partial(self._keep_best, run, graphs, jobs, best_of(val))
        return result, partial(self._show_folds, run, graphs, jobs, results)

    def jobs(self, run: Run) -> list[FoldJob]:
        """The folds of each seed; holdout has one, and its models are kept where there is a folder."""
        grid = tuple(replace(settings, epochs=run.epochs) for settings in self.grid)
        if run.protocol != "nested":
            grid = grid[:1]
        jobs = [
            FoldJob(
                run.dataset, self.features, run.protocol, fold, grid, seed, run.root, run.device, tensorboard=run.board
            )
            for seed in range(run.num_seeds)
            for fold in range(1 if run.protocol == "holdout" else NUM_FOLDS)
        ]
        if run.folder is None or run.protocol != "holdout":
            return jobs
        return [replace(job, model_file=str(run.folder / "seeds" / f"{job.seed}.gcnlab")) for job in jobs]

    def _content(self, run: Run, graphs: GraphCollection, jobs: Sequence[FoldJob]) -> Content:
        return Content(
            {"protocol": PROTOCOLS[run.protocol], "folds": folds_named(jobs), "data": graphs.summary()},
            graphs.class_names or list(map(str, range(graphs.num_classes))),
        )

    def _show_folds(
        self,
        run: Run,
        graphs: GraphCollection,
        jobs: Sequence[FoldJob],
        results: Sequence[dict[str, Any]],
        files: Outputs,
    ) -> Content:
        """Draw the curves of all folds. No model is kept, since no single one was measured."""
        content = self._content(run, graphs, jobs)
        content.folds = [result["curve"] for result in results]
        with files.writing("curves.png") as file:
            plot.folds(content.folds, file, title_of(header_of(self, run)))
        tables = [result["confusion_matrix"] for result in results if "confusion_matrix" in result]
        if len(tables) == len(results):  # those of gin have none
            content.confusion = torch.tensor(tables).sum(0).tolist()
            content.chosen = "in the final runs of all folds together"
        files.written.append("folds.jsonl")
        add_graphs(content, graphs)
        return content

    def _keep_best(
        self, run: Run, graphs: GraphCollection, jobs: Sequence[FoldJob], best: int, files: Outputs
    ) -> Content:
        """Keep the model of the best seed, given by its position, and show its predictions."""
        content = self._content(run, graphs, jobs)
        saved = [read_checkpoint(job.model_file) for job in jobs if job.model_file is not None]
        history = History.join(
            [
                history_of(told["seeds"][0], told["metrics"], told["epoch"], states, told.get("operator", ""))
                for told, states, _ in saved
            ]
        )
        model = self.model(graphs).eval()
        model.load_state_dict(history.state(best))
        _, val, test = parts(jobs[best], graphs)
        header = header_of(
            self, run, model=describe(model), features=self.options_of(graphs),
            class_names=list(graphs.class_names or ()), confusion_matrix=saved[best][0]["confusion_matrix"],
            temperature=metrics.fit_temperature(predict(model, graphs[val]), graphs[val].y),
        )  # fmt: skip
        write_model(files, header, history, best)
        files.written += ["folds.jsonl", "seeds"]
        content.history, content.confusion = history, header["confusion_matrix"]
        content.chosen = chosen_of(history.seeds, best)
        add_graphs(content, graphs, model, test)
        return content


@dataclass(frozen=True)
class ForestRecipe(GraphRecipe):
    """Random forests on histograms of degrees, fine or coarse: a baseline that sees no structure but these."""

    features: dict[str, Any] = field(default_factory=lambda: {"features": "constant"})  # the forest has its own
    grid: tuple[Settings, ...] = (Settings("forest", epochs=1),)
    protocols: tuple[str, ...] = ("nested",)

    @property
    def model_name(self) -> str:
        return "random forest, 300 trees, degree histograms"

    def num_parameters(self, graphs: GraphCollection) -> int:
        """0: a forest has no weights."""
        return 0

    def describe(self, root: str | None = None) -> str:
        graphs = self.graphs(root=root)
        return f"{graphs.summary()}\n\n{self.model_name}: {degree_histograms(graphs).shape[1]} columns"


def _spread_of(values: list[float], run: Run) -> dict[str, Any]:
    """Mean and standard deviation over all folds (holdout: over the seeds). The value per seed is its mean over folds."""
    if run.protocol == "holdout":
        return spread_of(values)
    per_seed = [statistics.mean(values[i : i + NUM_FOLDS]) for i in range(0, len(values), NUM_FOLDS)]
    return {**spread_of(values), "per_seed": per_seed, "per_fold": values}
