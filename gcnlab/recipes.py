"""The recipes: data set, model, hyperparameters and protocol of a published figure, and the function that runs one."""

from __future__ import annotations

import copy
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import __version__, distributed, finished, image_recipes, metrics, plot, report
from .checkpoint import describe, digest_of, generators_kept, read_checkpoint, write_checkpoint
from .checks import check_can_draw, check_choice, check_package, check_workers
from .collection import GraphCollection
from .content import MAX_IMAGES, Content, add_graphs, add_images, add_nodes
from .data import ImageSet, catalog, image_folder, load, ogb_evaluator
from .data.fetch import expand_user
from .errors import InputError, did_you_mean
from .files import check_target, write_json
from .graph import Graph
from .image import grid_graph
from .image_recipes import ImageRecipe
from .machine import has_terminal
from .models import GCN, GRAND, SIGN
from .precompute import NodeRows, Plan, hops, plan
from .propagate import correct_and_smooth, diffusion, ppr_coefficients
from .protocols import PROTOCOLS as GRAPH_PROTOCOLS
from .protocols import Job, Settings, best_common_epoch, digest_of_folds, parts, run_jobs
from .scale import NeighborSampler
from .signals import Signals
from .sparse import SparseMatrix, check_counts
from .train import Callback, Checkpoint, Consistency, EarlyStopping, History, TensorBoard, fit, predict

PROTOCOLS = {
    "public": "the fixed Planetoid split (20 labelled nodes a class, 500 validation, 1,000 test)",
    "random": "a new random split for each seed (20 labelled nodes a class, 500 validation, 1,000 test)",
    "full": "the fixed Planetoid validation and test nodes, all other labelled nodes for training",
    "random-60-20-20": "a new random split of the labelled nodes for each seed (60 % training, 20 % validation, 20 % test)",
    "ogb": "the set's own split and OGB's accuracy",
    "leaders": "the two leaders labelled, 8 members for validation, 24 for the test",
}
MARKDOWN_HEAD = """\
| recipe | data set | protocol | model | parameters | test accuracy, % | published, % | time |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Recipe:
    """One line of the table.

    Attributes:
        name: what `gcnlab run` is given.
        dataset: a name of `gcnlab.load`.
        protocols: the protocols it can follow; the first is the default.
        published: (data set, protocol) -> (accuracy as a fraction, its source).
        num_seeds: seeds of a run that does not say how many.
        hidden_channels, num_layers, dropout, drop_node, batch_norm, input_dropout, epochs, lr, weight_decay, average,
            clip_norm, consistency, batch_size: the hyperparameters, as `GCN` and `fit` take them.
        scaled_rows: whether rows of X are divided by the sums of their absolute values.
        fan_outs: of `NeighborSampler`, with batches of batch_size nodes; None trains on all nodes in each step.
        patience: epochs without a better validation loss, after which training stops and the weights of the best
            validation accuracy are kept; None trains all epochs and keeps the last weights.
    """

    name: str
    dataset: str
    protocols: tuple[str, ...]
    published: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    num_seeds: int = 100
    hidden_channels: int = 16
    num_layers: int = 2
    dropout: float = 0.5
    epochs: int = 200
    lr: float = 0.01
    weight_decay: float | dict[str, float] = field(default_factory=lambda: {"layers.0": 5e-4})
    patience: int | None = 10
    scaled_rows: bool = True
    drop_node: float = 0.0
    average: float = 0.0
    clip_norm: float | None = None
    consistency: Consistency | None = None
    batch_norm: bool = False
    input_dropout: float | None = None
    batch_size: int = 128
    fan_outs: tuple[int, ...] | None = None

    @property
    def model_name(self) -> str:
        plus = ", random propagation" * bool(self.drop_node) + ", batch norm" * self.batch_norm
        plus += ", sampled neighbours" * bool(self.fan_outs)
        return f"GCN, {self.num_layers} layers, {self.hidden_channels} hidden{plus}"

    @property
    def selection(self) -> str:
        """Which weights are scored."""
        if self.patience is None:
            return f"the weights after {self.epochs} epochs{', averaged' * bool(self.average)}, test set read once"
        stop = "stopped by validation loss, " if self.patience < self.epochs else ""
        return f"{stop}weights of the best validation accuracy, test set read once"

    @property
    def datasets(self) -> list[str]:
        """The names it can run on: those whose files have the form of its own, and nodes to classify."""
        form, task = (catalog()[self.dataset][key] for key in ("format", "task"))
        return [name for name, entry in catalog().items() if (entry["format"], entry["task"]) == (form, task)]

    def graph(
        self, dataset: str | None = None, protocol: str | None = None, root: str | None = None, seed: int = 0
    ) -> Graph:
        """The data as the model gets it; X = I where the set has no features."""
        split = protocol or self.protocols[0]
        is_own = dataset is not None and dataset not in catalog()  # files of one's own, read as their reader likes
        has_split = split not in ("leaders", "ogb") and not (is_own and protocol is None)
        options: dict[str, Any] = {"split": split.removesuffix("-60-20-20")} if has_split else {}
        if options.get("split") == "random":
            options["seed"] = seed
        graph = load(dataset or self.dataset, root=root, **options)
        if not isinstance(graph, Graph):
            raise InputError(f"dataset: {dataset} is not one graph, of which {self.name} classifies the nodes.")
        if graph.x is None:
            return graph.with_features("identity")
        return graph.with_row_normalized_features() if self.scaled_rows else graph

    def operator(self, graph: Graph) -> SparseMatrix:
        """The matrix that the model gets."""
        return graph.a_hat

    def inputs(self, graph: Graph, operator: SparseMatrix, folder: Path | None = None) -> dict[str, Any]:
        """The data as `fit` and `predict` take them; what is made of them beforehand goes into the folder."""
        return {"data": graph, "operator": None if self.fan_outs else operator}

    def model(self, graph: Graph) -> nn.Module:
        return GCN(
            graph.num_features, self.hidden_channels, graph.num_classes, self.num_layers, self.dropout, self.drop_node,
            self.batch_norm, self.input_dropout,
        )  # fmt: skip

    def logits(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Of each node and class, [num_nodes, num_classes], by a trained model."""
        return predict(model, **inputs)


@dataclass(frozen=True)
class DiffusionRecipe(Recipe):
    """A recipe of `GRAND` on a diffusion matrix.

    Attributes:
        input_dropout: of X.
        alpha: of `ppr_coefficients`; None weighs all hops alike.
        num_hops: of the diffusion.
        top_k: entries of a row of P.
        norm: of the matrix whose powers P sums, as `Graph.normalize` takes it.
        normalized: whether what is propagated is normalised, and a linear classifier follows, without hidden layer.
    """

    input_dropout: float = 0.5
    alpha: float | None = 0.2
    num_hops: int = 8
    top_k: int = 32
    norm: str = "sym"
    normalized: bool = False

    @property
    def model_name(self) -> str:
        width = "linear, batch norm" if self.normalized else f"{self.hidden_channels} hidden"
        return f"GRAND, {width}, {self.num_hops} hops, {self.top_k} neighbours"

    def operator(self, graph: Graph) -> SparseMatrix:
        hops = self.num_hops + 1
        theta = [1 / hops] * hops if self.alpha is None else ppr_coefficients(self.alpha, self.num_hops)
        return diffusion(graph.normalize(norm=self.norm), theta, self.top_k)

    def model(self, graph: Graph) -> nn.Module:
        return GRAND(
            graph.num_features, None if self.normalized else self.hidden_channels, graph.num_classes,
            self.input_dropout, self.dropout, self.drop_node, self.normalized,
        )  # fmt: skip


@dataclass(frozen=True)
class HopRecipe(Recipe):
    """A recipe of `SIGN` on propagated features and labels; its predictions are corrected and smoothed.

    Attributes:
        num_hops: K of the features [X, Â X, ..., Â^K X].
        label_hops, reuse: of the labels, as `NodeRows` takes them.
        correct_alpha, smooth_alpha: as `correct_and_smooth` takes them.
    """

    num_hops: int = 4
    label_hops: int = 2
    reuse: int = 1
    correct_alpha: float = 0.8
    smooth_alpha: float = 0.8

    @property
    def model_name(self) -> str:
        size = f"{self.num_layers} layers, {self.hidden_channels} hidden"
        return f"SIGN, {size}, {self.num_hops} hops, labels, C&S"

    def inputs(self, graph: Graph, operator: SparseMatrix, folder: Path | None = None) -> dict[str, Any]:
        assert graph.x is not None
        features = hops(graph.x, operator, self.num_hops, None if folder is None else folder / "hops")
        return {"data": NodeRows(graph, features, operator, self.label_hops, self.reuse)}

    def model(self, graph: Graph) -> SIGN:
        return self._model(graph.num_features, graph.num_classes)

    def widths(self, num_features: int, num_classes: int) -> list[int]:
        """The number of columns of each of the model's inputs."""
        return [num_features] * (self.num_hops + 1) + [num_classes] * self.label_hops

    def _model(self, num_features: int, num_classes: int) -> SIGN:
        return SIGN(
            self.widths(num_features, num_classes), self.hidden_channels, num_classes, self.num_layers, self.dropout,
            self.input_dropout or 0.0,
        )  # fmt: skip

    @generators_kept()
    def plan(self, dataset: str | None = None) -> Plan:
        """Bytes and seconds of one seed on a named set, whose files need not be here."""
        dataset = dataset or self.dataset
        if dataset not in self.datasets:
            raise InputError(
                f"dataset: {dataset!r} has no counts to plan with; these have: {', '.join(self.datasets)}."
            )
        counts = catalog()[dataset]["counts"]
        model = self._model(counts["features"], counts["classes"])
        return plan(model, counts, self.num_hops, self.label_hops, self.reuse, self.batch_size)

    def logits(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Logarithms of the corrected and smoothed scores, unless these are less accurate on the validation nodes."""
        graph: Graph = inputs["data"].graph
        assert graph.y is not None
        assert graph.train_mask is not None
        assert graph.val_mask is not None
        logits = super().logits(model, inputs)
        s = graph.normalize(None)
        scores = correct_and_smooth(
            logits.softmax(1), graph.y, graph.train_mask, s, self.correct_alpha, self.smooth_alpha
        )
        right, right_before = (int((z.argmax(1) == graph.y)[graph.val_mask].sum()) for z in (scores, logits))
        if right < right_before:
            return logits
        # Scores are clamped at 0, so that those below the precision of a sum say nothing of how improbable a class is.
        # In float64 no two scores have the same logarithm.
        return scores.double().clamp(min=torch.finfo(scores.dtype).eps).log()


_KIPF = "Kipf & Welling 2017, table 2"
_GRAND_GCN = "GRAND's training of a GCN, Feng et al. 2020, ablation"
_GRAND_PLUS = "GRAND+, Feng et al. 2022"
_OGB_GCN, _OGB_MLP = "GCN, OGB's leaderboard, Hu et al. 2020", "MLP + C&S, OGB's leaderboard, Huang et al. 2021"
_PLANETOID = ("public", "random", "full")
RECIPES: dict[str, Recipe | GraphRecipe | ImageRecipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cora-gcn", "cora", _PLANETOID, {("cora", "public"): (0.815, _KIPF), ("cora", "random"): (0.801, _KIPF)}
        ),
        Recipe(
            "citeseer-gcn",
            "citeseer",
            _PLANETOID,
            {("citeseer", "public"): (0.703, _KIPF), ("citeseer", "random"): (0.679, _KIPF)},
        ),
        Recipe(
            "pubmed-gcn",
            "pubmed",
            _PLANETOID,
            {("pubmed", "public"): (0.790, _KIPF), ("pubmed", "random"): (0.789, _KIPF)},
        ),
        # Kipf & Welling's layers; only their training is another.
        Recipe(
            "cora-gcn-plus", "cora", ("public", "random"), {("cora", "public"): (0.845, _GRAND_GCN)}, num_seeds=20,
            epochs=800, patience=None, drop_node=0.5, average=0.99,
            consistency=Consistency(4, weight=3.0, temperature=0.2, confidence=0.3, warmup=500),
        ),
        # Of these three the hyperparameters were chosen on the validation nodes of random splits and of the fixed one.
        DiffusionRecipe(
            "cora-best", "cora", ("public", "random"), {("cora", "public"): (0.858, _GRAND_PLUS)}, num_seeds=20,
            hidden_channels=32, epochs=800, weight_decay=5e-4, patience=None, drop_node=0.5, average=0.99, alpha=None,
            top_k=128, consistency=Consistency(4, weight=3.0, temperature=0.2, confidence=0.3, warmup=500, num_nodes=500),
        ),
        DiffusionRecipe(
            "citeseer-best", "citeseer", ("public", "random"), {("citeseer", "public"): (0.756, _GRAND_PLUS)},
            num_seeds=20, hidden_channels=32, epochs=400, weight_decay=5e-4, patience=None, input_dropout=0.0,
            dropout=0.2, drop_node=0.5, average=0.99, alpha=0.3, num_hops=4,
            consistency=Consistency(4, weight=1.5, temperature=0.2, confidence=0.3, warmup=300),
        ),
        DiffusionRecipe(
            "pubmed-best", "pubmed", ("public", "random"), {("pubmed", "public"): (0.845, _GRAND_PLUS)}, num_seeds=20,
            normalized=True, norm="rw", epochs=125, weight_decay=1e-2, patience=None, input_dropout=0.2, drop_node=0.5,
            average=0.99, clip_norm=0.1, num_hops=10,
            consistency=Consistency(2, temperature=0.1, confidence=2 / 3, warmup=100, num_nodes=100, num_labelled=5),
        ),
        Recipe("facebook-gcn", "facebook", ("random-60-20-20",), num_seeds=10),
        Recipe(
            "blogcatalog-gcn", "blogcatalog", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=400,
            weight_decay=0.0, patience=50, scaled_rows=False,
        ),
        # The validation nodes of two of the splits chose these.
        Recipe(
            "facebook-sampled", "facebook", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=30,
            weight_decay=0.0, scaled_rows=False, fan_outs=(10, 10), batch_size=1024,
        ),
        Recipe(
            "facebook-best", "facebook", ("random-60-20-20",), num_seeds=10, hidden_channels=64, weight_decay=0.0,
            patience=50, scaled_rows=False,
        ),
        DiffusionRecipe(
            "blogcatalog-best", "blogcatalog", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=100,
            weight_decay=5e-4, patience=None, drop_node=0.5, alpha=0.7, num_hops=4, top_k=128, scaled_rows=False,
        ),
        # OGB's example of a GCN: its hyperparameters, and the weights of the best validation accuracy.
        Recipe(
            "arxiv-gcn", "ogbn-arxiv", ("ogb",), {("ogbn-arxiv", "ogb"): (0.7174, _OGB_GCN)}, num_seeds=10,
            hidden_channels=256, num_layers=3, epochs=500, weight_decay=0.0, patience=500, scaled_rows=False, batch_norm=True,
            input_dropout=0.0,
        ),
        HopRecipe(
            "arxiv-diffusion", "ogbn-arxiv", ("ogb",), {("ogbn-arxiv", "ogb"): (0.7312, _OGB_MLP)}, num_seeds=10,
            hidden_channels=256, num_layers=3, epochs=200, lr=0.003, weight_decay=0.0, patience=50, scaled_rows=False,
            input_dropout=0.1, batch_size=4096,
        ),
        Recipe("karate-gcn", "karate", ("leaders",), num_seeds=20, weight_decay={}, patience=50),
    )
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


_GIN_TABLE = "GCN (1-layer perceptron + mean), Xu et al. 2019, table 1"
_ERRICA = "no structure, Errica et al. 2020, degree features"
_SOCIAL = {"features": "degree"}


def _grid(settings: Settings, *points: tuple[str, int], **changes: Any) -> tuple[Settings, ...]:
    """The settings with each readout and number of layers."""
    return tuple(replace(settings, readout=readout, num_layers=depth, **changes) for readout, depth in points)


# gin: Kipf's layers with a mean readout; widths, batch sizes and dropouts are among those of Xu et al. 2019. nested: the
# best of a grid, whose readouts, depths, learning rates and heads were found on validation parts of training folds.
_SMALL, _LARGE = Settings(batch_size=32), Settings(batch_size=64, epochs=50, halve_lr_every=15)
_SMALL_GRID = _grid(_SMALL, ("mean", 2), ("mean", 4), ("mean+max+sum", 2), ("mean+max+sum", 4))
_LARGE_GRID = _grid(
    _LARGE, ("mean", 3), ("mean+max", 5), ("mean+max+sum", 3), epochs=30, halve_lr_every=10, hidden_channels=32
)
_CHEMICAL_GRID = _grid(
    _SMALL, ("sum", 2), ("sum", 3), ("mean+sum", 2), batch_size=128, lr=0.003, jumping_knowledge="last", head_layers=2
)
_MUTAG = Settings(batch_size=32, hidden_channels=32, dropout=0.0)
for _dataset, _features_of, _mean, _points, _gin, _no_structure in (
    ("imdb-binary", _SOCIAL, _SMALL, _SMALL_GRID, 0.740, 0.708),
    ("imdb-multi", _SOCIAL, _SMALL, _SMALL_GRID, 0.519, 0.491),
    ("collab", _SOCIAL, _LARGE, _LARGE_GRID, 0.790, 0.702),
    ("reddit-binary", {"features": "degree_bins"}, _LARGE, _LARGE_GRID, None, 0.822),
    ("proteins", {"features": "label"}, _SMALL, _CHEMICAL_GRID, 0.760, 0.758),
    ("mutag", {"features": "label"}, _MUTAG, _CHEMICAL_GRID, 0.856, None),
):
    for _kind, _settings, _published in (
        ("gcn-mean", (_mean,), {"gin": (_gin, _GIN_TABLE)}),
        ("gcn", _points, {}),
        ("mlp", (replace(_points[0], model="mlp"),), {"nested": (_no_structure, _ERRICA)}),
    ):
        _known = {(_dataset, protocol): (value, source) for protocol, (value, source) in _published.items() if value}
        RECIPES[f"{_dataset}-{_kind}"] = GraphRecipe(f"{_dataset}-{_kind}", _dataset, _features_of, _settings, _known)


_BEST_CNN = {("fashion-mnist", "holdout"): (0.9237, "the tutorials' best CNN, 5,240,842 parameters")}
for _recipe in (
    image_recipes.grid_recipe("fashion-mnist-grid", (32, 48, 56), published=_BEST_CNN),
    image_recipes.grid_recipe(
        "fashion-mnist-grid-large", (32, 64, 96), num_layers=(2, 2, 3), epochs=50, published=_BEST_CNN
    ),
):
    RECIPES[_recipe.name] = _recipe


def recorded() -> list[dict[str, Any]]:
    """The last measured accuracy of each recipe, data set and protocol: mean, std, count of seeds or folds, versions."""
    return json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))


def find_node_recipe(name: str) -> Recipe:
    """The recipe of that name, or InputError where it is not one of node classification."""
    recipe = find(name)
    if not isinstance(recipe, Recipe):
        raise InputError(f"recipe: {name} does not classify nodes; this takes a recipe that does, such as cora-gcn.")
    return recipe


def find(name: str) -> Recipe | GraphRecipe | ImageRecipe:
    """The recipe of that name, or InputError with the names there are."""
    if name not in RECIPES:
        raise InputError(
            f"recipe: {name!r} is unknown; the recipes are {', '.join(RECIPES)}.{did_you_mean(name, RECIPES)}"
        )
    return RECIPES[name]


Finish = Callable[[finished.Files], Content]


@distributed.watch()
@generators_kept()
def run(
    name: str,
    *,
    seeds: int | None = None,
    device: str | None = None,
    epochs: int | None = None,
    root: str | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    threads: int | None = None,
    pretrained: bool = False,
    out: str | PathLike[str] | None = None,
    tsne: bool = False,
    tensorboard: str | PathLike[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    done: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Train a recipe on `seeds` seeds (0, 1, ...) and score the kept weights on the test set, once.

    In a process group (`distributed`) all of its processes call this, rank 0 alone writes, and all have the result. The
    seeds of node recipes and the folds of gin and nested are spread over the processes; images and holdout are trained by
    all together, one seed after the other, and where there is `out` go on from its last epochs when torchrun starts the
    processes again.

    Args:
        name: a key of `RECIPES`.
        seeds: how many; by default the recipe's.
        device: "cpu" or "cuda"; by default cuda where there is one.
        epochs: the most epochs; by default the recipe's.
        root: data root.
        dataset: another set of the same kind; or a path: for citation sets of a folder of Planetoid files, for OGB's
            of a folder that was its zip archive, for images of what `gcnlab.load` reads images from, such as a folder of idx files.
        protocol: one of the recipe's protocols.
        threads: CPU threads; folds train side by side, one thread each. By default torch's, and one fold a core.
        pretrained: of a recipe of images, score the weights that come with gcnlab instead of training; the seed is
            that of their training, and there are no epochs.
        out: a folder for result.json, report.html (`report`), curves.png and model.gcnlab (the seed with the best
            validation accuracy, whose predictions the report shows; its header holds the temperature of their
            probabilities, `metrics.fit_temperature` of the validation nodes, graphs or images). The
            ten folds of gin and nested make ten models, none of which is the one that was measured: they have no
            model.gcnlab. Finished folds are kept there in folds.jsonl, and not trained again. Features
            that are propagated beforehand are kept there in hops (`precompute.hops`), and not made again; without a folder they are in memory.
        tsne: draw the embeddings in report.html by t-SNE, too: of 3,000 points about half a minute a layer.
        tensorboard: a folder for event files of losses, accuracies and learning rate (`TensorBoard`): seed-0, ..., of gin
            seed-0/fold-1, ..., of nested seed-0/fold-1/run-1, ...
            The result comes first: a model, picture or report that cannot be made or written afterwards is a warning.
        say: gets lines of text for people.
        done: gets the result as soon as there is one, before models, pictures and the report are made; in rank 0 alone.

    Returns:
        the result: `data` is a digest of the data (of graphs without X, so that models on other features of the same
        folds can be compared), accuracies are fractions, std is the population standard deviation, seconds is the wall time up to it.
    """
    start = time.perf_counter()
    recipe = find(name)
    dataset, protocol = dataset or recipe.dataset, protocol or recipe.protocols[0]
    if dataset.lower() in catalog():
        dataset = dataset.lower()
    takes_path = isinstance(recipe, ImageRecipe) or recipe.protocols[0] in ("public", "ogb")
    if dataset not in recipe.datasets and (dataset in catalog() or not takes_path):
        raise InputError(
            f"dataset: {name} does not run on {dataset!r}; it runs on {', '.join(recipe.datasets)}."
            + did_you_mean(dataset, recipe.datasets)
        )
    if dataset not in catalog() and not expand_user(dataset).exists():
        raise InputError(
            f"dataset: {dataset!r} is neither a data set ({', '.join(recipe.datasets)}) nor a path."
            + did_you_mean(dataset, recipe.datasets)
        )
    if protocol not in recipe.protocols:
        raise InputError(
            f"protocol: {protocol!r} does not fit {name}; it can follow {', '.join(recipe.protocols)}."
            + did_you_mean(protocol, recipe.protocols)
        )
    num_seeds = recipe.num_seeds if seeds is None else seeds
    epochs = recipe.epochs if epochs is None else epochs
    check_counts(seeds=num_seeds, epochs=epochs)
    threads = None if threads is None else check_workers("threads", threads)
    device = check_choice("device", device, ("cpu", "cuda", None)) or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: 'cuda' was asked for, but torch sees no CUDA device; use --device cpu.")
    if out is not None and distributed.is_first():
        check_target("out", out, is_folder=True)
        check_can_draw("out: curves.png")
        for package in () if isinstance(recipe, ImageRecipe) else ("networkx", "scipy"):
            check_package("out: the drawing of a graph in report.html", package)
    if tsne and out is None:
        raise InputError("tsne: is drawn into report.html, which goes into the folder out; give one (--out DIR).")
    if tsne:
        check_package("tsne", "scikit-learn", "sklearn.manifold")
    if isinstance(recipe, GraphRecipe) and protocol != "gin":
        check_package(f"protocol: {protocol}", "scikit-learn", "sklearn.model_selection")
    if pretrained and not isinstance(recipe, ImageRecipe):
        raise InputError(f"pretrained: no weights of {name} come with gcnlab; those of fashion-mnist-grid do.")

    if tensorboard is not None:
        if pretrained:
            raise InputError("tensorboard: got a folder with pretrained weights, of which there is no training to log.")
        check_package("tensorboard", "tensorboard", "torch.utils.tensorboard")
        TensorBoard(tensorboard)  # whether it can write, before the work
    if has_terminal() and not pretrained:
        check_package("the progress bar", "tqdm")

    say(f"{name}: {recipe.model_name}, on {dataset}, {num_seeds} seed{'s' * (num_seeds > 1)}")
    board = None if tensorboard is None else str(tensorboard)
    options = protocol, num_seeds, epochs, device, root, None if out is None else Path(out), board, say
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        result, finish = (
            _run_nodes(recipe, dataset, *options)
            if isinstance(recipe, Recipe)
            else _run_graphs(recipe, threads, *options)
            if isinstance(recipe, GraphRecipe)
            else _run_images(recipe, dataset, pretrained, *options)
        )
        result["seconds"] = time.perf_counter() - start
        if not distributed.is_first():
            return result
        if out is None:
            done(result)
            return result
        files = finished.Files(out)
        with files.writing("result.json") as file:
            write_json(file, result)
        done(result)
        with files.writing("report.html") as file:
            report.write(file, report.of_run(result, finish(files), tsne))
    finally:
        torch.set_num_threads(threads_before)
    if files.written:
        say(f"wrote {out}/{', '.join(files.written)}")
    return result


def _run_nodes(
    recipe: Recipe,
    dataset: str,
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
    selection = replace(recipe, epochs=epochs).selection
    # How many nodes a part has is known of the named sets alone.
    described = PROTOCOLS[protocol] if dataset in catalog() else PROTOCOLS[protocol].partition(" (")[0]
    say(f"protocol {protocol}: {described}; {selection}")
    if device == "cuda":
        say("on a GPU a seed repeats to the bit only in a script of your own, with fit(..., deterministic=True)")
    accuracy = _accuracy(dataset)  # before the training, lest OGB's package turn out to be broken after it
    is_random = protocol.startswith("random")
    ranks = distributed.ranks() if recipe.fan_outs is None else None  # on samples all ranks train each seed together
    shared = folder is not None and recipe.fan_outs is not None and distributed.ranks() is not None
    seeds = list(range(num_seeds))
    if ranks is not None:  # in this order, so that what is gathered is in the order of the seeds
        seeds = seeds[ranks.rank * num_seeds // ranks.size : (ranks.rank + 1) * num_seeds // ranks.size]
    parts: list[History] = []
    test: list[dict[str, Any]] = []
    operator = None  # one for all splits of the same edges
    for group in [[seed] for seed in seeds] if seeds and (is_random or recipe.fan_outs) else [seeds]:
        graph = recipe.graph(dataset, protocol, root, seed=group[0] if group else 0).to(device)
        _check_labels(recipe, graph, dataset)
        operator = recipe.operator(graph) if operator is None else operator
        inputs = recipe.inputs(graph, operator, folder)
        if group:
            checkpoint = Checkpoint(f"{folder}/seed-{group[0]}.training", 1, resume=True) if shared else None
            callbacks = [] if board is None else [TensorBoard(board)]
            parts.append(_fit(recipe, graph, inputs, group, epochs, checkpoint, callbacks))
            test += _test_scores(recipe, graph, inputs, parts[-1], accuracy)
    if ranks is not None:
        ranks.meet()
        gathered = ranks.gather_objects(([part.cpu() for part in parts], test))
        parts, test = ([item for items in lists for item in items] for lists in zip(*gathered, strict=True))

    history = History.join(parts)
    val_accuracy = [score["val_accuracy"] for score in test]
    result = _result(
        recipe,
        dataset,
        protocol,
        data=digest_of(graph.adjacency, graph.x, graph.y),
        num_parameters=sum(p.numel() for p in recipe.model(graph).parameters()),
        seeds=history.seeds,
        test_accuracy=_spread([score["accuracy"] for score in test]),
        test_macro_f1=_spread([score["macro_f1"] for score in test]),
        val_accuracy=_spread(val_accuracy),
        epochs=int((~history.metrics["train_loss"].isnan()).sum(0).max()),
        epoch_seconds=history.epoch_seconds,
        device=device,
    )

    def finish(files: finished.Files) -> Content:
        nonlocal graph, inputs
        best = _best(val_accuracy)
        if is_random:  # the graph at hand has the split of another seed
            assert operator is not None
            graph = recipe.graph(dataset, protocol, root, seed=history.seeds[best]).to(device)
            inputs = recipe.inputs(graph, operator, folder)
        assert graph.y is not None
        model = recipe.model(graph).to(device).eval()
        model.load_state_dict(history.state(best))
        logits = recipe.logits(model, inputs)
        header = {
            "recipe": recipe.name, "dataset": dataset, "protocol": protocol, "model": describe(model),
            "class_names": list(graph.class_names or ()), "confusion_matrix": test[best]["confusion_matrix"],
            "temperature": metrics.fit_temperature(logits[graph.val_mask], graph.y[graph.val_mask]),
        }  # fmt: skip
        trainings = [files.folder / f"seed-{seed}.training" for seed in (seeds if shared else ())]
        _write_model(files, header, history, best, trainings)
        content = Content(
            {"protocol": f"{described}; {selection}", "data": graph.summary()},
            graph.class_names or list(map(str, range(graph.num_classes))), history,
            confusion=test[best]["confusion_matrix"], chosen=_chosen(history.seeds, best),
        )  # fmt: skip
        add_nodes(content, model, inputs["data"], inputs.get("operator"), logits.argmax(1))
        files.written += ["hops"] * isinstance(recipe, HopRecipe)
        return content

    return result, finish


def _check_labels(recipe: Recipe, graph: Graph, dataset: str) -> None:
    """Raise InputError where a graph of the user's own lacks what a recipe trains and scores on."""
    if graph.y is not None and graph.y.is_floating_point():
        raise InputError(
            f"dataset: the labels of {dataset} are numbers to predict (targets), and {recipe.name} tells classes; "
            'fit(model, graph, loss="mse") trains on targets.'
        )
    missing = [key for key in ("train_mask", "val_mask", "test_mask") if getattr(graph, key) is None]
    if missing:
        count = 0 if graph.y is None else int((graph.y >= 0).sum())
        raise InputError(
            f"dataset: {dataset} has {count} labelled nodes, too few for training, validation and test nodes; its "
            f"split has no {missing[-1].removesuffix('_mask')} nodes."
        )


def _run_images(
    recipe: ImageRecipe,
    dataset: str,
    pretrained: bool,
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
    say(f"protocol {protocol}: {image_recipes.PROTOCOLS[protocol]}")
    images = load(dataset, root=root)
    if not isinstance(images, ImageSet):
        raise InputError(f"dataset: {dataset} holds no images, which {recipe.name} classifies.")
    history: History | None = None
    checkpoints: list[Checkpoint | None] = []
    if pretrained:
        model, about = image_recipes.pretrained(recipe, images)
        score = image_recipes.scores(recipe, model.to(device), images, device)
        say(f"weights of seed {about['seed']}, trained for {about['epochs']} epochs, come with gcnlab")
        seeds, epochs, tests, vals, epoch_seconds = [about["seed"]], 0, [score], [about["val_accuracy"]], [0.0]
    else:
        seeds, tests, parts = list(range(num_seeds)), [], []
        shared = folder is not None and distributed.ranks() is not None
        checkpoints = [
            Checkpoint(f"{folder}/seed-{seed}.training", 1, resume=True) if shared else None for seed in seeds
        ]
        for seed, checkpoint in zip(seeds, checkpoints, strict=True):
            callbacks = [] if board is None else [TensorBoard(board)]
            model, history = image_recipes.train(
                recipe, images, seed, epochs, device, checkpoint=checkpoint, callbacks=callbacks
            )
            tests.append(image_recipes.scores(recipe, model, images, device))
            parts.append(history)
            say(f"seed {seed}: test accuracy {100 * tests[-1]['accuracy']:.2f} %")
        history = History.join(parts)
        vals, epoch_seconds = history.best("val_accuracy").tolist(), history.epoch_seconds
    result = _result(
        recipe,
        dataset,
        protocol,
        data=image_recipes.digest(images),
        num_parameters=sum(p.numel() for p in model.parameters()),
        seeds=seeds,
        test_accuracy=_spread([score["accuracy"] for score in tests]),
        test_macro_f1=_spread([score["macro_f1"] for score in tests]),
        val_accuracy=_spread(vals),
        epochs=epochs,
        epoch_seconds=epoch_seconds,
        device=device,
    )

    def finish(files: finished.Files) -> Content:
        best = _best(vals)
        if history is not None:
            model.load_state_dict(history.state(best))
            model.cpu().eval()
            _, val = image_recipes.parts(recipe, images)
            mirrored = image_recipes.mirrors(recipe, images)
            header = {
                "recipe": recipe.name, "dataset": dataset, "protocol": protocol, "model": describe(model),
                "class_names": list(images.class_names), "image_shape": list(images.image_shape), "mirrored": mirrored,
                "confusion_matrix": tests[best]["confusion_matrix"], "val_accuracy": vals[best],
                "test_accuracy": tests[best]["accuracy"], "versions": result["versions"],
                "temperature": None if val is None else metrics.fit_temperature(
                    image_recipes.log_probabilities(model, val, mirrored), val.y
                ),
            }  # fmt: skip
            _write_model(files, header, history, best, [checkpoint.path for checkpoint in checkpoints if checkpoint])
        size = " x ".join(map(str, images.image_shape))
        data = f"{len(images.train_images):,} training and {len(images.test_images):,} test images of {size}"
        content = Content(
            {"protocol": image_recipes.PROTOCOLS[protocol], "data": data}, images.class_names, history,
            confusion=tests[best]["confusion_matrix"], chosen=_chosen(seeds, best),
        )  # fmt: skip
        shown = copy.copy(images)
        shown.test_images, shown.test_labels = (part[:MAX_IMAGES] for part in (images.test_images, images.test_labels))
        grid = images.grid() if recipe.on_grid else None
        add_images(
            content,
            model.cpu().eval(),
            Signals(shown.test_images, shown.test_labels, grid),
            len(images.test_labels),
            image_recipes.predict_test(recipe, model, shown).argmax(1),
        )
        return content

    return result, finish


def images_to_label(
    recipe: ImageRecipe, header: Mapping[str, Any], pictures: Sequence[str], dataset: str, root: str | None
) -> tuple[Signals, Sequence[Any]]:
    """Images for the model of a `header` that a run of the recipe wrote, and their names.

    They are the pictures (paths of files and folders), or where none is given the test images of the data set, by position.
    """
    names: Sequence[Any]
    if pictures:
        x, names = image_folder.read_pictures(pictures)
        if (
            x.dim() == 3 and len(header["image_shape"]) == 3
        ):  # a folder of training images makes them red, green and blue
            x = x[..., None].expand(-1, -1, -1, header["image_shape"][2])
    else:
        images = load(dataset, root=root)
        if not isinstance(images, ImageSet):
            raise InputError(f"data: {dataset} holds no images, which {recipe.name} classifies.")
        x, names = images.test_images, range(len(images.test_images))
    if list(x.shape[1:]) != header["image_shape"]:
        raise InputError(
            f"{names[0] if pictures else f'data: {dataset}'}: is of shape {tuple(x.shape[1:])}, and the model was trained on "
            f"{tuple(header['image_shape'])}; scale it to that size."
        )
    return Signals(x, None, grid_graph(*x.shape[1:3]) if recipe.on_grid else None), names


def _best(val_accuracy: Sequence[float]) -> int:
    """The position of the seed with the best validation accuracy."""
    return max(range(len(val_accuracy)), key=val_accuracy.__getitem__)


def _write_model(
    files: finished.Files,
    header: dict[str, Any],
    history: History,
    best: int,
    trainings: Iterable[str | PathLike[str]] = (),
) -> None:
    """model.gcnlab, the weights of one seed by its position, in place of `trainings`; and curves.png, of all seeds."""
    header = {
        **header, "epoch": int(history.best_epoch[best]), "seeds": [history.seeds[best]], "operator": history.operator,
    }  # fmt: skip
    with files.writing("model.gcnlab") as file:
        write_checkpoint(file, header, {key: value[best : best + 1] for key, value in history.states.items()})
        for training in trainings:
            Path(training).unlink()
    with files.writing("curves.png") as file:
        history.plot(file, _title(header))


def _chosen(seeds: Sequence[int], best: int) -> str:
    """Whose predictions a report shows."""
    return f"by the weights of seed {seeds[best]}" + ", which has the best validation accuracy" * (len(seeds) > 1)


def _title(header: Mapping[str, Any]) -> str:
    return f"{header['recipe']} on {header['dataset']}, protocol {header['protocol']}"


def _run_graphs(
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
        Job(recipe.dataset, recipe.features, protocol, fold, grid, seed, root, device, tensorboard=board)
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
            return _spread(values)
        per_seed = [statistics.mean(values[i : i + size]) for i in range(0, len(values), size)]
        return {**_spread(values), "per_seed": per_seed, "per_fold": values}

    result = _result(
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

    def finish(files: finished.Files) -> Content:
        content = Content(
            {"protocol": GRAPH_PROTOCOLS[protocol], "data": graphs.summary()},
            graphs.class_names or list(map(str, range(graphs.num_classes))),
        )  # fmt: skip
        header: dict[str, Any] = {"recipe": recipe.name, "dataset": recipe.dataset, "protocol": protocol}
        if protocol != "holdout":
            content.folds = [result["curve"] for result in results]
            with files.writing("curves.png") as file:
                plot.folds(content.folds, file, _title(header))
            tables = [result["confusion_matrix"] for result in results if "confusion_matrix" in result]
            if len(tables) == len(results):  # those of gin have none
                content.confusion = torch.tensor(tables).sum(0).tolist()
                content.chosen = "in the final runs of all folds together"
            files.written.append("folds.jsonl")
            add_graphs(content, graphs)
            return content
        saved = [read_checkpoint(job.model_file) for job in jobs if job.model_file is not None]
        history = History.join([_history(told, states) for told, states, _ in saved])
        best = _best(val_per_fold)
        model = recipe.model(graphs).eval()
        model.load_state_dict(history.state(best))
        _, val, test = parts(jobs[best], graphs)
        header |= {
            "model": describe(model), "features": _features(recipe, graphs),
            "class_names": list(graphs.class_names or ()), "confusion_matrix": saved[best][0]["confusion_matrix"],
            "temperature": metrics.fit_temperature(predict(model, graphs[val]), graphs[val].y),
        }  # fmt: skip
        _write_model(files, header, history, best)
        files.written += ["folds.jsonl", "seeds"]
        content.history, content.confusion = history, header["confusion_matrix"]
        content.chosen = _chosen(history.seeds, best)
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


def _result(
    recipe: Recipe | GraphRecipe | ImageRecipe,
    dataset: str,
    protocol: str,
    *,
    data: str,
    epoch_seconds: list[float],
    device: str,
    **values: Any,
) -> dict[str, Any]:
    published = recipe.published.get((dataset, protocol))
    return {
        "recipe": recipe.name,
        "dataset": dataset,
        "data": data,
        "protocol": protocol,
        "model": recipe.model_name,
        **values,
        "seconds": 0.0,
        "epoch_seconds_median": statistics.median(epoch_seconds),
        "device": device,
        "versions": {"gcnlab": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "published": None if published is None else {"value": published[0], "source": published[1]},
    }


def _fit(
    recipe: Recipe,
    graph: Graph,
    inputs: dict[str, Any],
    seeds: Sequence[int],
    epochs: int,
    checkpoint: Checkpoint | None,
    callbacks: Sequence[Callback],
) -> History:
    return fit(
        lambda: recipe.model(graph).to(graph.device),
        **inputs,
        batching="full" if recipe.fan_outs is None else NeighborSampler(graph, recipe.fan_outs, recipe.batch_size),
        consistency=recipe.consistency,
        seeds=seeds,
        epochs=epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        average=recipe.average,
        clip_norm=recipe.clip_norm,
        batch_size=recipe.batch_size,
        checkpoint=checkpoint,
        select="last" if recipe.patience is None else "val_accuracy",
        callbacks=[*callbacks] if recipe.patience is None else [EarlyStopping(recipe.patience, "val_loss"), *callbacks],
        seeds_at_once=20 if recipe.consistency is None else 1,  # samples are drawn for each seed, nothing is shared
    )


def _accuracy(dataset: str) -> Callable[[Tensor, Tensor], float]:
    """OGB's evaluator of its own sets where the package `ogb` is installed, else `metrics.accuracy`: the same figure."""
    if dataset.startswith("ogbn-") and dataset in catalog() and importlib.util.find_spec("ogb") is not None:
        return ogb_evaluator(dataset)
    return metrics.accuracy


def _test_scores(
    recipe: Recipe,
    graph: Graph,
    inputs: dict[str, Any],
    history: History,
    accuracy: Callable[[Tensor, Tensor], float],
) -> list[dict[str, Any]]:
    """Of each seed, with the kept weights."""
    assert graph.y is not None
    assert graph.test_mask is not None
    model: Any = recipe.model(graph).to(graph.device).eval()
    y = graph.y[graph.test_mask]
    vals = history.best("val_accuracy").tolist()
    if not isinstance(recipe, HopRecipe):
        part = graph.receptive_field(graph.test_mask, model.num_layers, inputs["operator"])  # once for all seeds
    scores = []
    for i in range(len(history.seeds)):
        model.load_state_dict(history.state(i))
        if isinstance(recipe, HopRecipe):
            found = recipe.logits(model, inputs)
            outputs = found[graph.test_mask]
            vals[i] = accuracy(found[graph.val_mask], graph.y[graph.val_mask])
        else:
            with torch.no_grad():
                outputs = model(part.x, part.a_hat)
        scores.append(
            {
                "accuracy": accuracy(outputs, y),
                "macro_f1": metrics.macro_f1(outputs, y),
                "confusion_matrix": metrics.confusion_matrix(outputs, y, graph.num_classes).tolist(),
                "val_accuracy": vals[i],
            }
        )
    return scores


def _spread(values: Sequence[float]) -> dict[str, Any]:
    tensor = torch.tensor(values, dtype=torch.float64)
    return {"mean": float(tensor.mean()), "std": float(tensor.std(correction=0)), "per_seed": list(values)}


def counted(accuracy: Mapping[str, Any]) -> tuple[int, str]:
    """How many values a mean of a result is of, and what they are: "folds" or "seeds"."""
    many = "fold" if "per_fold" in accuracy else "seed"
    return len(accuracy[f"per_{many}"]), f"{many}s"


def published_cell(result: Mapping[str, Any]) -> str:
    """The published figure beside a result and its source, for a table; empty where there is none."""
    published = result["published"]
    return "" if published is None else f"{100 * published['value']:.1f} ({published['source']})"


def markdown_row(result: Mapping[str, Any]) -> str:
    """A result as a row of a Markdown table, under `MARKDOWN_HEAD`."""
    accuracy = result["test_accuracy"]
    count, many = counted(accuracy)
    cells = [
        result["recipe"], result["dataset"], result["protocol"], result["model"], f"{result['num_parameters']:,}",
        f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f} ({count} {many})",
        published_cell(result),
        f"{result['seconds']:.0f} s",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"
