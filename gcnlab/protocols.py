"""Protocols of graph classification: what is trained, selected and tested on, fold by fold.

    gin      10 folds; each trains on nine and is read on the tenth after every epoch; the figure is that of the one
             epoch at which the mean over the folds is highest (Xu et al. 2019). The tenth fold selects: no held-out
             test.
    nested   10 outer folds; in each, a tenth of the training graphs is held out to choose from a grid and to stop; the
             figure is the mean test accuracy of 3 final runs of the choice (Errica et al. 2020). The folds are those of
             that paper where there are any (`data.nested_folds`).
    holdout  one stratified split into 80 % training, 10 % validation and 10 % test.

A fold is a job (`jobs`): its result is one line of a file, and what is in the file is not trained again. Where batches
are small, the folds of gin are trained five at a time, as one stack, and so are the final runs of a fold of nested.

In a process group (`distributed`) the folds of gin and nested are spread over the processes, one a process at a time;
each training of holdout is shared by all of them.
"""

from __future__ import annotations

import functools
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import distributed, metrics
from .checkpoint import describe, digest_of, read_checkpoint, write_checkpoint
from .checks import check_number, check_package
from .data import catalog, folds, load, nested_folds
from .data.gin_text import Folds
from .errors import DatasetNotFoundError, InputError
from .generators import generators_kept
from .graph import GraphCollection
from .jobs import Finished, Job, count_workers, run_all
from .layers import GCNConv, GINConv
from .models import GraphClassifier, NoStructure
from .train import Callback, Checkpoint, EarlyStopping, History, TensorBoard, fit, predict
from .train.history import curves_of

FOLDS_OF_A_STACK = 5  # on a CPU
LARGEST_OF_A_STACK = 24_000  # numbers that a layer makes of a batch: nodes times channels

ERRICA = "Errica et al. 2020"

SPLIT_PROTOCOLS = ("random", "random-60-20-20", "given")  # of nodes, with a split for each seed

PROTOCOLS = {
    "gin": "10 folds, best common epoch on the left-out fold: no held-out test (Xu et al. 2019)",
    "nested": "10 outer folds with held-out test, inner 90/10 hold-out selects, mean of 3 final runs (Errica et al. 2020)",
    "holdout": "one stratified split, 80 % training, 10 % validation, 10 % test",
}


@dataclass(frozen=True)
class Settings:
    """One point of a grid: the model and how it is trained.

    Attributes:
        model: "gcn" (Kipf & Welling's layers), "mlp" (the structure-free baseline), "gin" (Xu et al.'s layers), or
            "forest" (`degree_histograms` in a random forest, for which no other setting counts).
        halve_lr_every: epochs after which the learning rate is halved.
        select: the validation metric whose best epoch a nested or holdout training keeps. The loss is smoother than the
            accuracy of a hundred graphs; that of a sum readout can rise while the accuracy does.
        patience: epochs without a better value of it before that training stops.
    """

    model: str = "gcn"
    hidden_channels: int = 64
    num_layers: int = 4
    readout: str = "mean"
    jumping_knowledge: str = "cat"
    head_layers: int = 1
    dropout: float = 0.5
    lr: float = 0.01
    batch_size: int = 128
    epochs: int = 350
    halve_lr_every: int = 50
    select: str = "val_loss"
    patience: int = 30

    def build(self, graphs: GraphCollection) -> nn.Module:
        sizes = graphs.num_features, self.hidden_channels, graphs.num_classes
        if self.model == "mlp":
            return NoStructure(*sizes, dropout=self.dropout, readout=self.readout)
        conv = functools.partial(GINConv, norm="batch") if self.model == "gin" else GCNConv
        return GraphClassifier(
            *sizes, self.num_layers, conv, readout=self.readout, jumping_knowledge=self.jumping_knowledge,
            dropout=self.dropout, head_layers=self.head_layers,
        )  # fmt: skip

    def train(
        self,
        train: GraphCollection,
        val: GraphCollection,
        seed: int,
        *,
        stop: bool,
        checkpoint: Checkpoint | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> tuple[nn.Module, History]:
        with generators_kept(seed):
            model = self.build(train).to(train.device)
        return model, fit(model, train, val, seed=seed, checkpoint=checkpoint, **self._options(stop, callbacks))

    def train_together(
        self, train: Sequence[GraphCollection], val: Sequence[GraphCollection], seeds: Sequence[int], *, stop: bool
    ) -> list[tuple[nn.Module, History]]:
        """`train` of several, as one stack; its seconds are shared by all of their epochs."""
        history = fit(
            lambda: self.build(train[0]).to(train[0].device), train, val, seeds=seeds, seeds_at_once=len(seeds),
            **self._options(stop),
        )  # fmt: skip
        histories = [history.part([i]) for i in range(len(seeds))]
        num_epochs = [len(own.metrics["train_loss"]) for own in histories]
        trained = []
        for own, num in zip(histories, num_epochs, strict=True):
            own.epoch_seconds = [sum(history.epoch_seconds) / sum(num_epochs)] * num
            with generators_kept():  # its first weights are drawn
                model = self.build(train[0]).to(train[0].device).eval()
            model.load_state_dict(own.state(0))
            trained.append((model, own))
        return trained

    def _options(self, stop: bool, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
        return {
            "epochs": self.epochs, "lr": self.lr, "batch_size": self.batch_size, "progress": False,
            "scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, self.halve_lr_every, 0.5),
            "select": self.select if stop else "last",
            "callbacks": [EarlyStopping(self.patience, self.select), *callbacks] if stop else callbacks,
        }  # fmt: skip

    def gains_from_a_stack(self, graphs: GraphCollection) -> bool:
        """Whether several trainings take less time as one stack than one after the other.

        What a stack saves is the calls of many small products. Where the arrays of a step are larger, a stack's leave the
        cache of a core, and it is slower (docs/benchmarks.md). On a GPU calls are what takes the time.
        """
        if self.model == "gin":  # the norm inside a GINConv would count the rows that fill up a stack's batches
            return False
        if graphs.device.type != "cpu":
            return True
        numbers = self.batch_size * self.hidden_channels * graphs.whole.num_nodes / max(len(graphs.every()), 1)
        if numbers > 8 * LARGEST_OF_A_STACK:  # more than merging makes less
            return False
        return numbers * graphs.merged().whole.num_nodes <= LARGEST_OF_A_STACK * graphs.whole.num_nodes


@dataclass(frozen=True)
class FoldJob(Job):
    """One fold of one protocol.

    Attributes:
        model_file: of holdout: where the model goes.
        tensorboard: where `TensorBoard` writes.
        data: digest of the graphs and of the fold, which must then be those.
    """

    dataset: str
    features: dict[str, Any]
    protocol: str
    fold: int
    grid: tuple[Settings, ...]
    seed: int = 0
    root: str | None = None
    device: str = "cpu"
    model_file: str | None = None
    tensorboard: str | None = None
    data: str | None = None

    not_in_key: ClassVar[tuple[str, ...]] = ("root", "device", "model_file", "tensorboard")

    @property
    def is_shared(self) -> bool:
        return self.protocol == "holdout"

    def key(self) -> str:
        plain = json.loads(super().key())
        for point in plain["grid"]:  # results from before there was another metric to select by stand for these jobs
            if point["select"] == Settings.select:
                del point["select"]
        return json.dumps(plain, sort_keys=True)

    def checkpoint(self) -> Checkpoint | None:
        """Where a training that several processes share goes on when torchrun starts them again."""
        if self.model_file is None or distributed.ranks().is_lone:
            return None
        return Checkpoint(f"{self.model_file}.training", resume=True)

    def callbacks(self, run: int = 0) -> list[Callback]:
        """Of a final training, the run-th."""
        if self.tensorboard is None:
            return []
        place = f"seed-{self.seed}"
        if self.protocol != "holdout":
            place += f"/fold-{self.fold + 1}" + f"/run-{run + 1}" * (self.protocol == "nested")
        return [TensorBoard(self.tensorboard, place)]


@dataclass(frozen=True)
class FoldStack(Job):
    """Folds that are trained together, as one stack."""

    folds: tuple[FoldJob, ...]

    @property
    def is_shared(self) -> bool:
        return self.folds[0].is_shared


# Of a fold's result, what is read again. Folds of gin have no test part, those of 1.0 no confusion matrix and threads.
_FOLD = {
    "curve": [float], "epochs": int, "epoch_seconds": [float], "test_accuracy": (float, None),
    "val_accuracy": (float, None), "confusion_matrix": ([[int]], None),
    "threads": (int, None),
}  # fmt: skip


def run_job(job: FoldJob) -> dict[str, Any]:
    """Train a fold, and return what happened in plain values.

    "curve" is the validation accuracy by epoch, of nested that of the first final run. For gin it is the result; the
    others have test and validation accuracy too, the choice from the grid, and the confusion matrix, of all final runs.
    """
    graphs = _checked_graphs(job)
    if job.grid[0].model == "forest":
        return _run_forest(job, graphs)
    if job.protocol == "gin":
        train, test = split(job, graphs)
        seed = job.seed + job.fold
        _, history = job.grid[0].train(graphs[train], graphs[test], seed, stop=False, callbacks=job.callbacks())
        return _plain([history])
    train, val, test = parts(job, graphs)
    chosen = _choose(job, graphs[train], graphs[val])
    seeds = [job.seed + 1 + run for run in range(3 if job.protocol == "nested" else 1)]
    data, selecting = graphs[train], graphs[val]
    if len(seeds) > 1 and job.tensorboard is None and chosen.gains_from_a_stack(graphs):
        trained = chosen.train_together([data] * len(seeds), [selecting] * len(seeds), seeds, stop=True)
    else:
        trained = [
            chosen.train(data, selecting, seed, stop=True, checkpoint=job.checkpoint(), callbacks=job.callbacks(run))
            for run, seed in enumerate(seeds)
        ]
    tests = []
    confusion = torch.zeros(graphs.num_classes, graphs.num_classes, dtype=torch.int64)
    for model, _ in trained:
        logits = predict(model, graphs[test])
        tests.append(metrics.accuracy(logits, graphs[test].y))
        confusion += metrics.confusion_matrix(logits, graphs[test].y, graphs.num_classes).cpu()
    histories = [history for _, history in trained]
    if job.model_file is not None and distributed.is_first():
        _keep_model(job, job.model_file, *trained[0], confusion)
    vals = [float(history.best("val_accuracy")[0]) for history in histories]
    return {
        **_plain(histories),
        "test_accuracy": sum(tests) / len(tests),
        "val_accuracy": sum(vals) / len(vals),
        "chosen": asdict(chosen),
        "confusion_matrix": confusion.tolist(),
    }


def degree_histograms(graphs: GraphCollection, bins: int = 32) -> Tensor:
    """What a forest is given of each graph, [num_graphs, F]: its number of nodes, of stored edges, and of nodes by degree.

    Nodes are counted in the classes floor(bins log2(1 + degree)). With 32 degrees to 45 have one each, and higher ones share
    classes 2 % wide; with 2 they are 41 % wide.
    """
    sizes, degree = graphs.sizes.cpu(), graphs.whole.adjacency.rowptr.diff().cpu()
    graph_of = torch.repeat_interleave(torch.arange(len(graphs)), sizes)
    _, code = (bins * (1 + degree).double().log2()).long().unique(return_inverse=True)
    width = int(code.max()) + 1
    counts = (graph_of * width + code).bincount(minlength=len(graphs) * width).view(len(graphs), width)
    num_edges = torch.zeros(len(graphs), dtype=torch.int64).index_add(0, graph_of, degree.long())
    return torch.cat([sizes.unsqueeze(1), num_edges.unsqueeze(1), counts], 1)


def _run_forest(job: FoldJob, graphs: GraphCollection) -> dict[str, Any]:
    """`run_job` with random forests on fine and on coarse histograms, of which the score of out-of-bag trees chooses.

    So validation graphs train, too.
    """
    RandomForestClassifier = check_package("model: forest", "scikit-learn", "sklearn.ensemble").RandomForestClassifier
    histograms, y = [degree_histograms(graphs, bins).numpy() for bins in (2, 32)], graphs.y.cpu()
    train, test = split(job, graphs)
    confusion = torch.zeros(graphs.num_classes, graphs.num_classes, dtype=torch.int64)
    seconds, out_of_bag = [], []
    for run in range(3):
        start = time.perf_counter()
        forests = []
        for x in histograms:
            forest = RandomForestClassifier(300, min_samples_leaf=2, oob_score=True, random_state=job.seed + 1 + run)
            forest.fit(x[train], y[train].numpy())
            forests.append((forest, x))
        forest, x = max(forests, key=lambda pair: pair[0].oob_score_)
        seconds.append(time.perf_counter() - start)
        out_of_bag.append(float(forest.oob_score_))
        votes = torch.zeros(len(test), graphs.num_classes, dtype=torch.float64)
        votes[:, forest.classes_] = torch.from_numpy(forest.predict_proba(x[test]))
        confusion += metrics.confusion_matrix(votes, y[test], graphs.num_classes)
    return {
        "curve": out_of_bag[:1],
        "epochs": 1,
        "epoch_seconds": seconds,
        "threads": 1,
        "test_accuracy": float(confusion.diagonal().sum() / confusion.sum()),
        "val_accuracy": sum(out_of_bag) / len(out_of_bag),
        "chosen": asdict(job.grid[0]),
        "confusion_matrix": confusion.tolist(),
    }


def run_stack(stack: FoldStack) -> dict[str, Any]:
    """`run_job` of each of the folds, as "results"; those of gin are one training."""
    if len(stack.folds) == 1:
        return {"results": [run_job(stack.folds[0])]}
    graphs = [_checked_graphs(job) for job in stack.folds]
    ids = [split(job, of_job) for job, of_job in zip(stack.folds, graphs, strict=True)]
    trains = [of_job[train] for of_job, (train, _) in zip(graphs, ids, strict=True)]
    tests = [of_job[test] for of_job, (_, test) in zip(graphs, ids, strict=True)]
    seeds = [job.seed + job.fold for job in stack.folds]
    trained = stack.folds[0].grid[0].train_together(trains, tests, seeds, stop=False)
    return {"results": [_plain([history]) for _, history in trained]}


def in_stacks(jobs: Sequence[FoldJob], workers: int) -> list[FoldStack]:
    """The jobs in stacks: always the same folds of gin, where that is faster and no worker is left without one.

    So what a fold gives does not depend on the number of workers, nor on which folds are left to train.
    """
    groups: dict[Any, list[FoldJob]] = {}
    for job in jobs:
        gains = job.protocol == "gin" and job.tensorboard is None and job.grid[0].gains_from_a_stack(_graphs(job)[0])
        size = 1 if not gains else FOLDS_OF_A_STACK if job.device == "cpu" else 10
        groups.setdefault((replace(job, fold=0, data=None).key(), job.fold // size), []).append(job)
    if len(groups) < min(workers, len(jobs)):
        return [FoldStack((job,)) for job in jobs]
    return [FoldStack(tuple(group)) for group in groups.values()]


def _checked_graphs(job: FoldJob) -> GraphCollection:
    """The data of a fold, if they and the fold are those that the run began with."""
    graphs, _ = _graphs(job)
    if job.data is not None and job.data != _digest(job):
        raise InputError(
            f"dataset: the graphs or folds of {job.dataset} have changed since the run began; start it again."
        )
    return graphs


def _choose(job: FoldJob, train: GraphCollection, val: GraphCollection) -> Settings:
    """The settings of the grid with the best validation accuracy."""
    if len(job.grid) == 1:
        return job.grid[0]
    tried = [_tried(settings, train, val, job.seed)["val_accuracy"] for settings in job.grid]
    return job.grid[max(range(len(tried)), key=tried.__getitem__)]


def _tried(settings: Settings, train: GraphCollection, val: GraphCollection, seed: int) -> dict[str, Any]:
    """The validation accuracy of one training, at the epoch whose weights it keeps, and the seconds of its epochs."""
    _, history = settings.train(train, val, seed, stop=True)
    return {"val_accuracy": float(history.best("val_accuracy")[0]), "epoch_seconds": history.epoch_seconds}


def run_choice(job: FoldJob) -> dict[str, Any]:
    """How well the first settings of a job's grid do on the validation part of its fold; no test graph is read."""
    graphs = _checked_graphs(job)
    train, val, _ = parts(job, graphs)
    return _tried(job.grid[0], graphs[train], graphs[val], job.seed)


def _plain(histories: Sequence[History]) -> dict[str, Any]:
    """The curve of the first training, and epochs, seconds and threads of all of them."""
    return {
        "curve": curves_of(histories[0])["val_accuracy"],
        "epochs": max(len(history.epoch_seconds) for history in histories),
        "epoch_seconds": [seconds for history in histories for seconds in history.epoch_seconds],
        "threads": max(history.threads for history in histories),
    }


def _keep_model(job: FoldJob, file: str, model: nn.Module, history: History, confusion: Tensor) -> None:
    header = {
        "job": job.key(), "seeds": [job.seed], "epoch": int(history.best_epoch[0]), "model": describe(model),
        "metrics": curves_of(history), "confusion_matrix": confusion.tolist(), "operator": history.operator,
    }  # fmt: skip
    try:
        write_checkpoint(file, header, history.states)
        if (checkpoint := job.checkpoint()) is not None:
            Path(checkpoint.path).unlink()
    except OSError as problem:  # the figures stand, and the next run trains the model again
        warnings.warn(f"{file}: the model is not kept: {problem}", stacklevel=3)


def _graphs(job: FoldJob) -> tuple[GraphCollection, str]:
    """The data of a worker's folds, read, merged and normalised once for all of them, and its digest."""
    return _read_graphs(job.dataset, tuple(sorted(job.features.items())), job.root, job.device)


@functools.lru_cache(maxsize=1)
def _read_graphs(
    dataset: str, features: tuple[tuple[str, Any], ...], root: str | None, device: str
) -> tuple[GraphCollection, str]:
    graphs: GraphCollection = load(dataset, root=root, **dict(features))
    return graphs.to(device), digest_of(graphs.whole.x, graphs.whole.adjacency, graphs.sizes, graphs.y)


def _digest(job: FoldJob) -> str:
    """Digest of everything that a fold is trained and scored on."""
    graphs, of_graphs = _graphs(job)
    return digest_of(of_graphs, digest_of_folds([job], graphs))


def with_digest(job: FoldJob) -> FoldJob:
    """The job with the digest of its data, so that its key stands for no other."""
    return replace(job, data=_digest(job))


def digest_of_folds(jobs: Sequence[FoldJob], graphs: GraphCollection) -> str:
    """Digest of the ids of the graphs on which each fold trains, selects and is scored."""
    folds = [split(job, graphs) if job.protocol == "gin" else parts(job, graphs) for job in jobs]
    return digest_of(*(ids for fold in folds for ids in fold))


@generators_kept()  # importing scikit-learn may draw from Python's
def split(job: FoldJob, graphs: GraphCollection) -> tuple[Tensor, Tensor]:
    """(train, test) of a fold: the published lists where there are any, else stratified and seeded."""
    if job.protocol == "holdout":
        return stratified(graphs.y, 1 / 10, job.seed)
    if _nested_entry(job) is not None:
        train, val, test = nested_folds(job.dataset, job.root)[job.fold]
        return torch.cat([train, val]).sort().values, test
    if (lists := _own_lists(job)) is not None:
        return lists[job.fold]
    selection = check_package("folds: splitting", "scikit-learn", "sklearn.model_selection")
    splitter = selection.StratifiedKFold(10, shuffle=True, random_state=job.seed)
    train, test = list(splitter.split(torch.zeros(len(graphs)), graphs.y.cpu()))[job.fold]
    return torch.from_numpy(train), torch.from_numpy(test)


def parts(job: FoldJob, graphs: GraphCollection) -> tuple[Tensor, Tensor, Tensor]:
    """(train, validation, test) of a fold of nested or holdout."""
    if _nested_entry(job) is not None:
        return nested_folds(job.dataset, job.root)[job.fold]
    train, test = split(job, graphs)
    inner, val = stratified(graphs.y[train], 1 / 10 if job.protocol == "nested" else 1 / 9, job.fold)
    return train[inner], train[val], test


def _nested_entry(job: FoldJob) -> dict[str, Any] | None:
    """The catalog's entry of the folds of Errica et al.; None unless the job's protocol and data set have them."""
    return catalog().get(job.dataset, {}).get("nested_folds") if job.protocol == "nested" else None


def _own_lists(job: FoldJob) -> Folds | None:
    """The fold lists that come with the data set, if any do."""
    try:
        return folds(job.dataset, job.root)
    except DatasetNotFoundError:
        return None


def folds_named(jobs: Sequence[FoldJob]) -> str:
    """Whose folds the jobs of a run are of, for results and tables."""
    first, last = jobs[0], jobs[-1]
    if (entry := _nested_entry(first)) is not None:
        return ERRICA if entry["same_order"] else f"{ERRICA}, the order of graphs within a class not proved"
    if first.protocol != "holdout" and _own_lists(first) is not None:
        return "the set's own lists"
    return f"stratified, seed {first.seed}" if first.seed == last.seed else f"stratified, seeds 0 to {last.seed}"


@generators_kept()  # importing scikit-learn may draw from Python's
def stratified(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the rows in two parts, the second with `share` of every class."""
    selection = check_package("folds: splitting", "scikit-learn", "sklearn.model_selection")
    first, second = selection.train_test_split(
        torch.arange(len(y)).numpy(), test_size=share, stratify=y.cpu().numpy(), random_state=seed
    )
    return torch.from_numpy(first).sort().values, torch.from_numpy(second).sort().values


def run_jobs(
    jobs: Sequence[FoldJob],
    results: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """The results of the jobs, in their order; folds train side by side, one thread each.

    Args:
        jobs: the folds.
        results: a file of finished jobs, one JSON line each, which is read first and added to. A result is used again if
            it is of the same graphs, fold, settings and version of gcnlab.
        workers: processes, as `run_all` takes them.
        say: told of each finished fold.
    """
    _read_graphs.cache_clear()  # the files may have changed since the last run
    ranks = distributed.ranks()
    path = None if results is None or not distributed.is_first() else Path(results)
    if results is not None or any(job.model_file is not None for job in jobs):
        jobs = list(map(with_digest, jobs))
    finished = Finished(path, "a fold", _FOLD)
    missing = [job for job in jobs if job not in finished or not _has_model(job)]
    finished.warn_of_others(jobs)
    ranks.meet()
    finished.results, jobs, missing = ranks.of_first((finished.results, jobs, missing))  # it alone reads and writes
    stacks = [
        FoldStack(left)
        for stack in in_stacks(jobs, count_workers(workers))
        if (left := tuple(job for job in stack.folds if job in missing))
    ]
    results_of = (
        pair
        for stack, found in run_all(run_stack, stacks, workers)
        for pair in zip(stack.folds, found["results"], strict=True)
    )
    for number, (job, result) in enumerate(results_of, 1 + len(jobs) - len(missing)):
        figure = f"test accuracy {100 * result['test_accuracy']:.2f} %" if "test_accuracy" in result else "trained"
        which = f"seed {job.seed}" + ("" if job.protocol == "holdout" else f", fold {job.fold + 1}")
        seconds = f"{sum(result['epoch_seconds']):.0f} s of final training"
        say(f"{number} of {len(jobs)} ({which}): {figure}, {seconds}")
        finished.add(job, result)
    return [finished[job] for job in jobs]


def _has_model(job: FoldJob) -> bool:
    """Whether the file that the job shall write is there, and of this job."""
    if job.model_file is None:
        return True
    try:
        return read_checkpoint(job.model_file)[0].get("job") == job.key()
    except OSError:  # no such file, or a damaged one
        return False


def best_common_epoch(results: Sequence[dict[str, Any]]) -> tuple[int, list[float]]:
    """(epoch from 1, accuracy of each fold at it), where the mean over the folds is highest."""
    curves = torch.tensor([result["curve"] for result in results], dtype=torch.float64)  # [num_folds, num_epochs]
    epoch = int(curves.mean(0).argmax())
    return epoch + 1, curves[:, epoch].tolist()


def pairs_of(result: dict[str, Any]) -> str:
    """What `paired` pairs of a result: "folds"; "splits", one per seed; or "seeds", initialisations on one split."""
    if result["test_accuracy"].get("per_fold"):
        return "folds"
    return "splits" if result["protocol"] in SPLIT_PROTOCOLS or result.get("folds") else "seeds"


def paired(a: dict[str, Any], b: dict[str, Any], confidence: float = 0.95) -> dict[str, float]:
    """How much more accurate a is than b on the same folds, splits or seeds, with a confidence interval.

        d = mean_k (a_k - b_k),   d ± t s,   t of K - 1 degrees of freedom
        folds: s² = (1/K + 1/(K-1)) var_k(a_k - b_k)      splits, seeds: s² = var_k(a_k - b_k) / K

    Training sets of different folds overlap, so that the usual 1/K is too narrow; the corrected variance is Nadeau &
    Bengio's (2003, equation 16, n_test / n_train = 1 / (K - 1) in K folds). Over random splits of one graph the interval
    says how much the difference depends on the split that is drawn; over initialisations on one split (`pairs_of`) it says
    nothing of other splits.

    Args:
        a: the result of a run (`gcnlab run --json`).
        b: another, of the same data set, protocol and seeds.
        confidence: of the interval, a fraction.

    Returns:
        difference, low, high: accuracies as fractions; error: s; p: of the two-sided test of no difference.
    """
    student = check_package("paired", "scipy", "scipy.stats").t
    confidence = check_number("confidence", confidence, above=0, below=1)
    by = pairs_of(a)
    for key in ("dataset", "protocol", "seeds", "metric", "folds", "data"):
        x, y = (result.get(key, "accuracy" if key == "metric" else None) for result in (a, b))
        # Results of 1.0 have neither metric, folds nor data, and their folds were never those of Errica et al.
        if x != y and (None not in (x, y) or (key == "folds" and ERRICA in f"{x} {y}")):
            raise InputError(f"paired: the results differ in {key}, {x!r} and {y!r}; expected the same {by}.")
    per = "per_fold" if by == "folds" else "per_seed"
    for result in (a, b):
        found = len(result["test_accuracy"].get(per) or ())
        expected = len(result["seeds"]) * (10 if by == "folds" else 1)
        if found != expected:
            raise InputError(f"paired: {per} has {found} values for {len(result['seeds'])} seeds, expected {expected}.")
        if found < 2:
            raise InputError(
                f"paired: got {found} seed of the protocol {a['protocol']}, which has no folds; expected at least 2 seeds "
                "(gcnlab run --seeds)."
            )
    ours, theirs = (torch.tensor(result["test_accuracy"][per], dtype=torch.float64) for result in (a, b))
    difference = ours - theirs
    if by == "folds":
        difference = difference.view(-1, 10).mean(0)  # of each fold, the mean over seeds
    k = len(difference)
    centre = float(difference.mean())
    error = float(((1 / k + (1 / (k - 1) if by == "folds" else 0)) * difference.var()).sqrt())
    reach = float(student.ppf((1 + confidence) / 2, k - 1)) * error
    p = 2 * float(student.sf(abs(centre) / error, k - 1)) if error else float(centre == 0)
    return {"difference": centre, "error": error, "low": centre - reach, "high": centre + reach, "p": p}
