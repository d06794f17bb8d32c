"""Recipes of node classification."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import distributed, metrics
from ..checkpoint import describe, digest_of, read_checkpoint, write_checkpoint
from ..data import catalog, load, ogb_evaluator
from ..errors import CheckpointCorruptError, InputError
from ..files import check_fields
from ..generators import generators_kept
from ..graph import Graph
from ..graph.parts import check_one_split
from ..jobs import Job
from ..layers.operators import wanted_operators
from ..models import GCN, GRAND, SIGN, summary
from ..precompute import NodeRows, Plan, hops, plan
from ..pretraining import pretrain
from ..propagate import correct_and_smooth, diffusion, ppr_coefficients
from ..protocols import SPLIT_PROTOCOLS
from ..reporting import Content
from ..reporting.findings import add_nodes
from ..scale import NeighborSampler
from ..sparse import SparseMatrix
from ..train import Callback, Checkpoint, Consistency, EarlyStopping, History, fit, predict
from ..train.history import curves_of, history_of
from .base import Finish, Run
from .outputs import Outputs
from .result import best_of, chosen_of, header_of, result_of, spread_of, write_model

NODE_PROTOCOLS = {
    "public": "the fixed Planetoid split (20 labelled nodes a class, 500 validation, 1,000 test)",
    "random": "a new random split for each seed (20 labelled nodes a class, 500 validation, 1,000 test)",
    "given": "the set's own splits, one for each seed, over and over",
    "tunedgnn": "the fixed split of Luo et al. 2024 (60 % training, 20 % validation, 20 % test)",
    "full": "the fixed Planetoid validation and test nodes, all other labelled nodes for training",
    "random-60-20-20": "a new random split of the labelled nodes for each seed (60 % training, 20 % validation, 20 % test)",
    "ogb": "the set's own split and OGB's accuracy",
    "leaders": "the two leaders labelled, 8 members for validation, 24 for the test",
}


@dataclass(frozen=True)
class Recipe:
    """A recipe of node classification.

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
        metric: what takes the place of accuracy in training and in results: "accuracy", "macro_f1", or of two classes
            "roc_auc" or "average_precision".
        features: what X is where the set has none, as `Graph.with_features` takes it.
    """

    kind: ClassVar[str] = "node"
    header: ClassVar[dict[str, Any]] = {"dataset": str}
    report_packages: ClassVar[tuple[str, ...]] = ("networkx", "scipy")
    takes_pictures: ClassVar[bool] = False
    has_pretrained: ClassVar[bool] = False
    made_beforehand: ClassVar[tuple[str, ...]] = ()  # what `inputs` keeps in the folder of a run
    seeds_apart: ClassVar[bool] = False  # whether seeds of one split are trained one after the other, not as one stack

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
    metric: str = "accuracy"
    features: str = "identity"

    @property
    def model_name(self) -> str:
        plus = ", random propagation" * bool(self.drop_node) + ", batch norm" * self.batch_norm
        plus += ", sampled neighbours" * bool(self.fan_outs)
        return f"GCN, {self.num_layers} layers, {self.hidden_channels} hidden{plus}"

    def selection(self, epochs: int) -> str:
        """Which weights are scored after so many epochs, in words."""
        if self.patience is None:
            return f"the weights after {epochs} epochs{', averaged' * bool(self.average)}, test set read once"
        stop = "stopped by validation loss, " if self.patience < epochs else ""
        return f"{stop}weights of the best validation {metrics.NAMES[self.metric]}, test set read once"

    @property
    def takes_path(self) -> bool:
        return self.protocols[0] in ("public", "ogb")

    @property
    def datasets(self) -> list[str]:
        """The names it can run on: sets of nodes to classify whose files have the format of its own."""
        form, task = (catalog()[self.dataset][key] for key in ("format", "task"))
        return [name for name, entry in catalog().items() if (entry["format"], entry["task"]) == (form, task)]

    def graph(
        self, dataset: str | None = None, protocol: str | None = None, root: str | None = None, seed: int = 0
    ) -> Graph:
        """The data as the model gets it, with `features` where the set has none."""
        split = protocol or self.protocols[0]
        is_own = dataset is not None and dataset not in catalog()  # your own files, split as their reader does it
        has_split = split not in ("leaders", "ogb") and not (is_own and protocol is None)
        options: dict[str, Any] = {"split": split.removesuffix("-60-20-20")} if has_split else {}
        if options.get("split") == "random":
            options["seed"] = seed
        graph = load(dataset or self.dataset, root=root, **options)
        if not isinstance(graph, Graph):
            raise InputError(f"dataset: {dataset} is not one graph, of which {self.name} classifies the nodes.")
        if split == "given":
            graph = graph.with_split(seed % graph.num_splits)
        if graph.x is None:
            return graph.with_features(self.features)
        return graph.with_row_normalized_features() if self.scaled_rows else graph

    def operator(self, graph: Graph) -> SparseMatrix:
        """The matrix that the model gets."""
        return graph.a_hat

    def inputs(self, graph: Graph, operator: SparseMatrix, folder: Path | None = None) -> dict[str, Any]:
        """The data as `fit` and `predict` take them; what is computed beforehand is kept in the folder."""
        return {"data": graph, "operator": None if self.fan_outs else operator}

    def model(self, graph: Graph) -> nn.Module:
        return GCN(
            graph.num_features, self.hidden_channels, graph.num_classes, self.num_layers, self.dropout, self.drop_node,
            self.batch_norm, self.input_dropout,
        )  # fmt: skip

    def logits(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """The logits of a trained model, [num_nodes, num_classes]."""
        return predict(model, **inputs)

    def describe(self, root: str | None = None) -> str:
        graph = self.graph(root=root)
        return f"{graph.summary()}\n\n{self._summary(graph)}"

    def _summary(self, graph: Graph) -> str:
        return str(summary(self.model(graph), graph.x, self.operator(graph)))

    def predict(
        self, model: nn.Module, header: Mapping[str, Any], dataset: str, root: str | None, pictures: Sequence[str] = ()
    ) -> tuple[Sequence[Any], Tensor]:
        graph = self.graph(dataset, None, root)
        logits = self.logits(model, self.inputs(graph, self.operator(graph)))
        return graph.node_names or range(graph.num_nodes), logits

    def train(
        self,
        graph: Graph,
        inputs: dict[str, Any],
        seeds: Sequence[int],
        epochs: int,
        checkpoint: Checkpoint | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        """Train all seeds on a graph and its `inputs`."""
        batching = "full" if self.fan_outs is None else NeighborSampler(graph, self.fan_outs, self.batch_size)
        early = [] if self.patience is None else [EarlyStopping(self.patience, "val_loss")]
        return fit(
            lambda: self.model(graph).to(graph.device),
            **inputs,
            batching=batching,
            consistency=self.consistency,
            seeds=seeds,
            epochs=epochs,
            lr=self.lr,
            weight_decay=self.weight_decay,
            average=self.average,
            clip_norm=self.clip_norm,
            batch_size=self.batch_size,
            checkpoint=checkpoint,
            metrics=self.metric,
            select="last" if self.patience is None else f"val_{self.metric}",
            callbacks=[*early, *callbacks],
            # Consistency draws samples per seed, so that training several at once would save nothing.
            seeds_at_once=20 if self.consistency is None else 1,
        )

    def run(self, run: Run) -> tuple[dict[str, Any], Finish]:
        described = NODE_PROTOCOLS[run.protocol]
        if run.dataset not in catalog():  # split sizes are known for named data sets only
            described = described.partition(" (")[0]
        method = f"{described}; {self.selection(run.epochs)}"
        run.say(f"protocol {run.protocol}: {method}")
        if run.device == "cuda":
            run.say(
                "on a GPU a seed repeats to the bit only in a script of your own, with fit(..., deterministic=True)"
            )
        data = _Data(self, run)
        history, scores = self._train_all(run, data)
        result = result_of(
            self,
            run,
            metric=self.metric,
            data=digest_of(data.graph.adjacency, data.graph.y),
            num_parameters=sum(p.numel() for p in self.model(data.graph).parameters()),
            seeds=history.seeds,
            test_accuracy=spread_of([score["accuracy"] for score in scores]),
            test_macro_f1=spread_of([score["macro_f1"] for score in scores]),
            val_accuracy=spread_of([score["val_accuracy"] for score in scores]),
            epochs=int((~history.metrics["train_loss"].isnan()).sum(0).max()),
            epoch_seconds=history.epoch_seconds,
            threads=history.threads,
        )
        return result, partial(self._finish, run, data, history, scores, method)

    def _train_all(self, run: Run, data: _Data) -> tuple[History, list[dict[str, Any]]]:
        """The training of all seeds, and the scores of each."""
        accuracy = _score(self.metric, run.dataset)  # before the training: OGB's package may be broken
        ranks = (
            distributed.ranks() if self.fan_outs is None else distributed.LONE
        )  # on samples all train a seed together
        parts: list[History] = []
        scores: list[dict[str, Any]] = []
        for seeds in self._groups(run, ranks):
            data.take(seeds[0] if seeds else 0)
            if seeds:
                part, of_part = self._train_seeds(run, data, seeds, accuracy)
                parts.append(part)
                scores += of_part
        if not ranks.is_lone:
            ranks.meet()
            gathered = ranks.gather_objects(([part.cpu() for part in parts], scores))
            parts, scores = ([item for items in lists for item in items] for lists in zip(*gathered, strict=True))
        return History.join(parts), scores

    def _groups(self, run: Run, ranks: distributed.Ranks) -> list[list[int]]:
        """The seeds of this process, in lists that train together; one empty list if it has none."""
        # Consecutive ones, so that gathered results are in the order of the seeds.
        start, end = (rank * run.num_seeds // ranks.size for rank in (ranks.rank, ranks.rank + 1))
        seeds = list(range(start, end))
        return [[seed] for seed in seeds] if seeds and self._trains_apart(run) else [seeds]

    def _trains_apart(self, run: Run) -> bool:
        """Whether each seed is a training of its own."""
        return run.protocol in SPLIT_PROTOCOLS or self.fan_outs is not None or self.seeds_apart

    def _train_seeds(
        self, run: Run, data: _Data, seeds: list[int], score: Callable[[Tensor, Tensor], float]
    ) -> tuple[History, list[dict[str, Any]]]:
        """The training and the scores of seeds that train together; those of a lone seed are kept, and not made again."""
        if run.folder is None or not self._trains_apart(run):
            return self._trained(run, data, seeds, score)
        file = run.folder / "seeds" / f"{seeds[0]}.gcnlab"
        job = SeedJob.of(self, run, data.graph, seeds[0]).key()
        if kept := _read_seed(file, job):
            return kept
        history, scores = self._trained(run, data, seeds, score)
        if self.fan_outs is None or distributed.is_first():
            _keep_seed(file, job, history, scores)
        return history, scores

    def _trained(
        self, run: Run, data: _Data, seeds: list[int], score: Callable[[Tensor, Tensor], float]
    ) -> tuple[History, list[dict[str, Any]]]:
        history = self.train(
            data.graph, data.inputs, seeds, run.epochs, self._checkpoint(run, seeds[0]), run.callbacks()
        )  # fmt: skip
        scores = self._scores(data, history, score)
        if self.seeds_apart:
            run.say(f"seed {seeds[0]}: test {metrics.NAMES[self.metric]} {100 * scores[0]['accuracy']:.2f} %")
        return history, scores

    def _checkpoint(self, run: Run, seed: int) -> Checkpoint | None:
        return None if self.fan_outs is None else run.checkpoint(seed)

    def _scores(
        self, data: _Data, history: History, accuracy: Callable[[Tensor, Tensor], float]
    ) -> list[dict[str, Any]]:
        """The scores of each seed on the test nodes, with the kept weights, and its validation accuracy."""
        graph = data.graph
        assert graph.y is not None
        assert graph.test_mask is not None
        y, scores = graph.y[graph.test_mask], []
        for outputs, val_accuracy in self._outputs(data, history, accuracy):
            scores.append(
                {
                    "accuracy": accuracy(outputs, y),
                    "macro_f1": metrics.macro_f1(outputs, y),
                    "confusion_matrix": metrics.confusion_matrix(outputs, y, graph.num_classes).tolist(),
                    "val_accuracy": val_accuracy,
                }
            )
        return scores

    def _outputs(
        self, data: _Data, history: History, accuracy: Callable[[Tensor, Tensor], float]
    ) -> Iterator[tuple[Tensor, float]]:
        """The logits of the test nodes and the validation accuracy, seed by seed."""
        model = self.model(data.graph).to(data.graph.device).eval()
        for i, val_accuracy in enumerate(history.best(f"val_{self.metric}").tolist()):
            model.load_state_dict(history.state(i))
            yield predict(model, **data.inputs, nodes=data.graph.test_mask), val_accuracy

    def _finish(
        self, run: Run, data: _Data, history: History, scores: Sequence[dict[str, Any]], method: str, files: Outputs
    ) -> Content:
        """Keep the model of the best seed and show its predictions."""
        best = best_of([score["val_accuracy"] for score in scores])
        data.take(history.seeds[best])
        graph, confusion_matrix = data.graph, scores[best]["confusion_matrix"]
        assert graph.y is not None
        model = self.model(graph).to(run.device).eval()
        model.load_state_dict(history.state(best))
        logits = self.logits(model, data.inputs)
        header = header_of(
            self, run, model=describe(model), class_names=list(graph.class_names or ()),
            confusion_matrix=confusion_matrix,
            temperature=metrics.fit_temperature(logits[graph.val_mask], graph.y[graph.val_mask]),
        )  # fmt: skip
        write_model(files, header, history, best, [self._checkpoint(run, seed) for seed in history.seeds])
        content = Content(
            {"protocol": method, "data": graph.summary()},
            graph.class_names or list(map(str, range(graph.num_classes))),
            history,
            confusion=confusion_matrix,
            chosen=chosen_of(history.seeds, best, self.metric),
        )
        add_nodes(content, model, data.inputs["data"], data.inputs.get("operator"), logits.argmax(1))
        files.written += self.made_beforehand
        return content


@dataclass(frozen=True)
class SeedJob(Job):
    """One seed of a node recipe, trained by itself.

    Attributes:
        settings: the class of the recipe, and its fields as Python shows them.
        data: digest of the graph and of the seed's split.
    """

    settings: str
    dataset: str
    protocol: str
    epochs: int
    seed: int
    data: str

    @classmethod
    def of(cls, recipe: Recipe, run: Run, graph: Graph, seed: int) -> SeedJob:
        # What is as its class has it stays away, so that a new option leaves finished seeds as they are.
        differs = {
            of.name: value
            for of in fields(recipe)
            if (value := getattr(recipe, of.name)) != _default_of(of) and of.name not in ("published", "num_seeds")
        }
        settings = f"{type(recipe).__name__} {differs}"
        data = digest_of(graph.adjacency, graph.x, graph.y, graph.train_mask, graph.val_mask, graph.test_mask)
        return cls(settings, run.dataset, run.protocol, run.epochs, seed, data)


def _default_of(of: Field[Any]) -> Any:
    return of.default_factory() if of.default_factory is not MISSING else of.default


# The fields of a seed's file that are read again.
_SEED = {
    "job": str, "seeds": [int], "epoch": int, "metrics": dict, "operator": str, "epoch_seconds": [float], "threads": int,
    "scores": [dict],
}  # fmt: skip


def _keep_seed(file: Path, job: str, history: History, scores: list[dict[str, Any]]) -> None:
    header = {
        "job": job, "seeds": history.seeds, "epoch": int(history.best_epoch[0]), "metrics": curves_of(history),
        "operator": history.operator, "epoch_seconds": history.epoch_seconds, "threads": history.threads, "scores": scores,
    }  # fmt: skip
    try:
        write_checkpoint(file, header, history.states)
    except OSError as problem:  # the figures stand, and the next run trains the seed again
        warnings.warn(f"{file}: the seed is not kept: {problem}", stacklevel=3)


def _read_seed(file: Path, job: str) -> tuple[History, list[dict[str, Any]]] | None:
    """What `Recipe` kept of a seed, if the file is there, whole, and of this job."""
    try:
        told, states, _ = read_checkpoint(file)
        check_fields(file, told, _SEED, "its header is not that of a seed", CheckpointCorruptError)
    except OSError:  # no such file, or a damaged one: trained again
        return None
    if told["job"] != job:
        return None
    history = history_of(told["seeds"][0], told["metrics"], told["epoch"], states, told["operator"])
    history.epoch_seconds, history.threads = told["epoch_seconds"], told["threads"]
    return history, told["scores"]


class _Data:
    """The graph of a run and the inputs made of it, made again for each seed if each has a split of its own.

    All splits share one operator, since their edges are the same.
    """

    graph: Graph
    inputs: dict[str, Any]

    def __init__(self, recipe: Recipe, run: Run) -> None:
        self.recipe, self.run = recipe, run
        self.seed: int | None = None
        self.operator: SparseMatrix | None = None

    def take(self, seed: int) -> None:
        """Set `graph` and `inputs` for a seed.

        Raises InputError if the user's own graph lacks what a recipe trains and scores on.
        """
        seed = seed if self.run.protocol in SPLIT_PROTOCOLS else 0
        if seed == self.seed:
            return
        graph = self.recipe.graph(self.run.dataset, self.run.protocol, self.run.root, seed=seed).to(self.run.device)
        _check_labels(self.recipe, graph, self.run.dataset)
        if self.operator is None:
            self.operator = self.recipe.operator(graph)
        self.inputs = self.recipe.inputs(graph, self.operator, self.run.folder)
        self.graph, self.seed = graph, seed


def _check_labels(recipe: Recipe, graph: Graph, dataset: str) -> None:
    if graph.y is not None and graph.y.is_floating_point():
        raise InputError(
            f"dataset: the labels of {dataset} are numbers to predict (targets), and {recipe.name} tells classes; "
            'fit(model, graph, loss="mse") trains on targets.'
        )
    check_one_split("dataset", graph)
    missing = [key for key in ("train_mask", "val_mask", "test_mask") if getattr(graph, key) is None]
    if missing:
        count = 0 if graph.y is None else int((graph.y >= 0).sum())
        raise InputError(
            f"dataset: {dataset} has {count} labelled nodes, too few for training, validation and test nodes; its "
            f"split has no {missing[-1].removesuffix('_mask')} nodes."
        )


def _score(metric: str, dataset: str) -> Callable[[Tensor, Tensor], float]:
    """The metric, as a function of logits [num_rows, num_classes] and labels.

    Accuracy is by OGB's evaluator for its own sets if the package `ogb` is installed, which agrees with `metrics.accuracy`.
    """
    if metric == "macro_f1":
        return metrics.macro_f1
    if metric in ("roc_auc", "average_precision"):
        of_margin = getattr(metrics, metric)
        return lambda logits, y: of_margin(logits[:, 1].double() - logits[:, 0], y)
    if dataset.startswith("ogbn-") and dataset in catalog() and importlib.util.find_spec("ogb") is not None:
        return ogb_evaluator(dataset)
    return metrics.accuracy


@dataclass(frozen=True)
class ClassicRecipe(Recipe):
    """A recipe of the block of "Classic GNNs are strong baselines" (Luo et al. 2024): `GCN` with what its options add.

    Attributes:
        norm, residual, input_linear, conv: as `GCN` takes them.
    """

    seeds_apart: ClassVar[bool] = True  # their layers fill a core

    num_seeds: int = 10
    input_dropout: float | None = 0.0
    patience: int | None = 10_000  # none of them trains longer
    norm: str | None = "layer"
    residual: bool = False
    input_linear: bool = False
    conv: str = "GCNConv"

    @property
    def model_name(self) -> str:
        parts = [f"{self.num_layers} layers", f"{self.hidden_channels} hidden"]
        parts += [f"{self.norm} norm"] * bool(self.norm) + ["residual"] * self.residual
        return f"{self.conv.removesuffix('Conv')}, {', '.join(parts + ['linear input'] * self.input_linear)}"

    def operator(self, graph: Graph) -> SparseMatrix:
        return graph.matrix(wanted_operators(self.model(graph))[0])

    def model(self, graph: Graph) -> nn.Module:
        return GCN(
            graph.num_features, self.hidden_channels, graph.num_classes, self.num_layers, self.dropout, norm=self.norm,
            input_dropout=self.input_dropout, residual=self.residual, input_linear=self.input_linear, output_linear=True,
            conv=self.conv,
        )  # fmt: skip


@dataclass(frozen=True)
class MaskedRecipe(Recipe):
    """A recipe of a `GCN` whose hidden layers `pretrain` on the edges, and whose last linear map learns the labels.

    Attributes:
        epochs: of each of the two trainings.
        dropout: of the first one; the second has none.
    """

    seeds_apart: ClassVar[bool] = True

    hidden_channels: int = 256
    dropout: float = 0.8
    input_dropout: float | None = 0.0
    patience: int | None = None

    @property
    def model_name(self) -> str:
        return f"GCN pre-trained on hidden edges, {self.num_layers} layers, {self.hidden_channels} hidden, linear"

    def model(self, graph: Graph) -> nn.Module:
        return GCN(
            graph.num_features, self.hidden_channels, graph.num_classes, self.num_layers, self.dropout, norm="batch",
            input_dropout=self.input_dropout, jumping_knowledge="cat",
        )  # fmt: skip

    def train(
        self,
        graph: Graph,
        inputs: dict[str, Any],
        seeds: Sequence[int],
        epochs: int,
        checkpoint: Checkpoint | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        (seed,) = seeds
        with generators_kept(seed):
            model: Any = self.model(graph).to(graph.device)
            width = self.num_layers * self.hidden_channels
            head: Any = SIGN([width], 1, graph.num_classes, num_layers=1, norm=False).to(graph.device)
        pretrain(model, graph, epochs=epochs, seed=seed)
        with torch.no_grad():
            _, hidden = model(graph.x, inputs["operator"], hidden=True)
        rows = NodeRows(graph, [torch.cat(hidden, 1)])  # which stay: the last map alone learns
        history = fit(
            head, rows, seed=seed, epochs=epochs, lr=self.lr, weight_decay=self.weight_decay, select="last",
            batch_size=len(rows.train_ids), callbacks=callbacks,
        )  # fmt: skip
        model.output.load_state_dict(head.inputs[0].state_dict())
        states = {name: value.unsqueeze(0) for name, value in model.state_dict().items()}
        return replace(history, states=states, operator="a_hat")


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

    made_beforehand: ClassVar[tuple[str, ...]] = ("hops",)

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

    def _summary(self, graph: Graph) -> str:
        widths = self.widths(graph.num_features, graph.num_classes)
        size = f"a batch of {self.batch_size:,} rows of features and labels, each propagated beforehand"
        return f"{size}\n{summary(self.model(graph), [torch.zeros(self.batch_size, width) for width in widths])}"

    def _outputs(
        self, data: _Data, history: History, accuracy: Callable[[Tensor, Tensor], float]
    ) -> Iterator[tuple[Tensor, float]]:
        graph = data.graph
        assert graph.y is not None
        model = self.model(graph).to(graph.device).eval()
        for i in range(len(history.seeds)):
            model.load_state_dict(history.state(i))
            logits = self.logits(model, data.inputs)  # of all nodes: smoothing changes the validation nodes, too
            yield logits[graph.test_mask], accuracy(logits[graph.val_mask], graph.y[graph.val_mask])

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
