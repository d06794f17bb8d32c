"""Training: `fit`, and the loop that it runs for one model or for many seeds of it at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint as ckpt
from .. import distributed, generators, threads
from ..errors import InputError, InputTypeError
from ..files import check_target, remove_stale_temporaries
from ..graph import Graph, GraphCollection
from ..image import Signals
from ..memory import keep_freed_memory
from ..precompute import NodeRows
from ..scale import Sampler
from .callbacks import Callback, ended_at_last, lower_is_better, measured, progress_bar, which_stop
from .consistency import Consistency
from .feed import Feed
from .graphs import GraphFeed
from .history import Best, History, Mean, Table
from .norms import AVERAGED_ROWS, averages_made_again, keeps_averages, single_rows_allowed
from .objective import Batch, Scores, check_finite, score_batch, score_samples
from .optim import Adam, Recorded, Schedule, clip_gradients, parameter_groups, takes_steps_alone
from .options import Checkpoint, FitOptions, Loss
from .resume import Record
from .stack import RunningAverage, Stack, can_be_stacked
from .together import Together
from .trainings import SeveralFeeds, are_several, feeds_of, stacks_of


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Within it no other thread trains, other ranks are watched, and gradients and autocast are not the caller's.

    Nor has autocast its cache, which lives as long as the outermost one: weights of an earlier step would be in it.
    """
    with (
        generators.generators_alone(), distributed.watch(), torch.inference_mode(False), torch.enable_grad(),
        torch.autocast("cpu", enabled=False, cache_enabled=False),
        torch.autocast("cuda", enabled=False, cache_enabled=False),
    ):  # fmt: skip
        yield


@_undisturbed()
def fit(
    model: nn.Module | Callable[[], nn.Module],
    data: Graph | GraphCollection | Signals | NodeRows | Sequence[GraphCollection],
    val: GraphCollection | Signals | Sequence[GraphCollection] | None = None,
    *,
    loss: Loss = "cross-entropy",
    label_smoothing: float = 0.0,
    seeds: int | Sequence[int] | None = None,
    seed: int | None = None,
    epochs: int = 200,
    lr: float = 0.01,
    weight_decay: float | Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    optimizer: Callable[..., Any] = Adam,
    scheduler: Callable[[Any], Any] | str | None = None,
    average: float = 0.0,
    precision: str = "float32",
    metrics: str | Sequence[str] | None = None,
    select: str = "val_loss",
    callbacks: Sequence[Callback] = (),
    class_weight: Tensor | None = None,
    batch_size: int = 128,
    checkpoint: Checkpoint | None = None,
    seeds_at_once: int = 20,
    progress: bool | None = None,
    check_finite: bool = True,
    deterministic: bool = False,
    operator: Any = None,
    consistency: Consistency | None = None,
    cuda_graph: bool = False,
    batching: str | Sampler = "full",
    split: int | None = None,
) -> History:
    """Train a model of the nodes of one graph, of many graphs, or of images: classes, several labels each, or numbers.

    One graph: `train_mask` trains, `val_mask` selects, and the test mask is never read. A model that says
    `layerwise = True` (its forward takes one operator a layer, as `GCN` does) computes only the receptive field of the
    labelled nodes; of many graphs, one that says `merges_nodes = True` (as `GraphClassifier` does) computes alike nodes
    once (`GraphCollection.merged`): same numbers, fewer rows.

    With the same seeds, versions and number of threads, a training on a CPU repeats to the bit; on a GPU with
    deterministic=True alone. The number of threads follows from the work of a step (`threads.number_for`), so that small
    steps take one; a number that you set wins: OMP_NUM_THREADS, or torch.set_num_threads after the import of gcnlab.
    `History.threads` tells it. Where other processes want the cores, the threads' waits give way to them.

    Within a training the generators of torch, CUDA, numpy and Python start from its seed; afterwards, also after an
    error, they are as they were before it, but for the one number that is drawn from torch's where no seed is given.
    Trainings in threads of one process draw from the same generators: they take turns, one whole training after the
    other, and give what each gives alone; a module that another thread makes waits, too. (Threads must not seed or draw
    by themselves meanwhile, nor may a callback wait for another thread's training. Trainings at the same time need a
    process each.)

    After each epoch the running averages of batch norms are made again, under the weights that are validated and kept,
    without dropout: of 128 training graphs, evenly spaced, or of images and nodes the last batches (256 rows or more). The
    averages that training leaves lag behind the weights. Frozen norms (`transfer.freeze`), and those with a momentum of 0,
    keep theirs.

    In a process group (`distributed`) all its processes call `fit` with the same data, and train together on batches
    of many graphs or images: each takes its share of every batch, all end with the same weights and metrics, and seeds
    are trained one after the other. Every parameter must then take part in the loss. BatchNorm takes its statistics of
    each share, and keeps rank 0's. So do batches of a `NeighborSampler`; with other batches of one Graph, or NodeRows,
    each process trains for itself.

    Args:
        model: a module called as `model(x, a_hat)`, for many graphs as `model(x, a_hat, batch)`, for images as
            `model(x, grid)` or `model(images)`, for NodeRows as `model([x_0, x_1, ...])`; trained in place and left with
            the kept weights, in evaluation mode; with `seeds`, a function that makes a new one.
        data: a Graph with x, y, train_mask, and val_mask unless select is "last" or a training metric; or NodeRows of
            such a graph, or the GraphCollection or Signals to train on, in batches that are shuffled anew each epoch. A
            list of GraphCollections, such as the training parts of the folds of a cross-validation: one training on
            each, with a seed each, all of them together as one stack.
        val: for many graphs, the GraphCollection that selects; for images, the Signals. For a list, a list of as many.
        loss: what is minimised, its mean over the rows (nodes, graphs, images) or over the targets that are not missing
            (NaN):

            - "cross-entropy": -log softmax(logits)_y, of one class a row: y int64 [num_rows], logits [num_rows, C].
            - "binary": log(1 + exp(-logit)) of targets 1 and log(1 + exp(logit)) of targets 0, each by itself: y floats
              [num_rows, T], logits [num_rows, T]; T = 1 also with y [num_rows]. Its accuracy is the share of targets
              whose logit has the right sign.
            - "mse", "mae": (output - y)^2 and |output - y| of such y, any real numbers. They have no accuracy.
            - a function: (logits, y) -> losses [num_rows] of any y, logits and floats of at least 32 bits, such as
              `nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")`. Accuracy is measured, as by "cross-entropy",
              if y is one integer class per row and the logits have a column for each class, at least two.
        label_smoothing: ε of the training's cross-entropy against (1 - ε) one-hot + ε / C (Szegedy et al. 2016); a
            validation loss is without it.
        seeds: how many (0 .. n-1) or which seeds to train, together, `seeds_at_once` at a time. A seed sets the
            initial weights; the dropout masks of the seeds are independent, but are not those of a run alone.
            Models with buffers (BatchNorm), shared weights, or other values that differ from one to the next (a random
            projection that is no parameter) are trained one after the other. For a list of collections, one seed for
            each, the same one too: the i-th column of the History is what `fit(make(), data[i], val[i], seed=seeds[i])`
            gives with `make()` called under that seed, up to rounding and the masks of dropout. Each has its own
            batches, early stopping and batch norms. They are one stack where the model says `merges_nodes = True`, as a
            `GraphClassifier` of GCNConv does, and as many batches make an epoch; others are trained one after the other.
        seed: for one model: what dropout, shuffling, augmentation and sampling start from, below 2**63. (Its initial
            weights are its maker's.) None draws one number below 2**53 from torch's generator, so that trainings in a
            loop differ, and `torch.manual_seed(0)` before the loop repeats all of them; a resumed training takes the
            seed of its file. `History.seeds` tells it.
        epochs: the most epochs.
        lr: learning rate.
        weight_decay: L2 factor, or one for each part of the model: {"layers.0": 5e-4}; 0 for the others. None leaves it
            to the optimizer: `Adam` has 0, torch.optim.AdamW 0.01, functools.partial(Adam, weight_decay=5e-4) its own.
        clip_norm: the largest norm of all gradients of a step together; a larger one is scaled down to it.
        optimizer: called as optimizer(groups, lr=lr): `Adam`, any element-wise optimizer of torch.optim.
        scheduler: called with the optimizer; its `step()` follows each epoch, that of a ReduceLROnPlateau with the
            validation loss, or without validation the training loss. Or "one-cycle" (Smith & Topin 2018): up
            to lr within the first fifth of all steps, then along a cosine to 0; it steps with each batch.
        average: decay of a running average of the weights and buffers, updated with each step, which is then what is
            validated and kept, with batch norms' averages of its own; 0 keeps the weights themselves. 0.998 is a mean of
            the last 500 steps or so; in the first it is min(0.998, (1 + t) / (10 + t)).
        precision: "float32", or "bfloat16": products and convolutions in 16 bits, weights and sums in 32
            (`torch.autocast`); two to three times as fast on CPUs and GPUs that know the format.
        metrics: what is measured besides loss and accuracy, on the training and on the validation data, such as
            ["roc_auc", "macro_f1"]. Unlike a loss these are no means over batches: they are the functions of
            `gcnlab.metrics` of all outputs of an epoch together, exact, for each seed, and over all processes.

            - "roc_auc", "average_precision": of loss="binary", and of two classes by logit_1 - logit_0.
            - "macro_f1": of classes.
            - "mae", "rmse", "r2": of targets that are numbers, under "mse", "mae" or a function; in their unit.

            Missing targets (NaN) are left out, and the mean over several targets is taken. What `select` and callbacks
            name is measured as well.
        select: the metric whose best epoch gives the kept weights, such as "val_roc_auc", or "last". Of losses, MAE and
            RMSE the lowest is best, of all others the highest. Training metrics are those before the epoch's step,
            validation metrics and weights those after it.
        callbacks: `EarlyStopping(10, "val_roc_auc")`, `StopAt("train_loss", 0.3)`, `TensorBoard("runs")`, or your own.
        class_weight: [num_classes], weights of the cross-entropy (`metrics.class_weights`).
        batch_size: graphs, images or rows of a training batch. A batch norm takes its running averages for a batch of a
            single row, which has no variance, and a warning says so.
        checkpoint: where to save and resume.
        seeds_at_once: seeds in one stack; 1 for a model that torch.func.vmap cannot run, or for trainings on collections
            whose batches are large: what a stack saves is the calls of small products (docs/benchmarks.md).
        progress: show a progress bar on stderr while training; by default where stderr is a terminal.
        check_finite: refuse NaN and infinities in x.
        operator: of one graph, the matrix [num_nodes, num_nodes] that the model is called with, such as
            `propagate.diffusion(graph.a_hat, ...)` or `graph.l_tilde(None)`; of many graphs, a function of the
            GraphBatch that gives it, such as `lambda batch: batch.l_tilde(None)` (asked beforehand for that of the first
            graph, whose kind is recorded). The default is the kind that the model was trained with before; else the one
            that its layers name in `operator` (`layers.wanted_operators`), such as A for `GINConv` and L̃ for `ChebConv`;
            else Â. `model.trained_operator` and `History.operator` say which it was, and `predict` takes the same.
        consistency: of one graph, what the nodes without a training label add to the loss.
        cuda_graph: of one small graph on a GPU, record a training step's kernels once and launch them together from
            then on (`torch.cuda.CUDAGraph`), since launching each takes longer than running it. For models without
            buffers.
        batching: of one graph, "full": each step is on all training nodes. A sampler (`scale.NeighborSampler(graph)`):
            on its batches; validation is on batches of the same sampler, drawn alike after each epoch, so that its
            metrics are estimates (`predict` is exact). "auto": "full" where that fits in memory, else a NeighborSampler
            of fan-outs of 10 and 1,024 nodes a batch; which and why is said on stderr and by `History.batching`.
        split: of one graph with masks [N, S], the split that trains and selects, 0 to S - 1.
        deterministic: train under `torch.use_deterministic_algorithms(True)`, which on a GPU takes slower algorithms and
            raises where there is none; CUDA wants CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment for it.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite; training stops at that step, nothing is reported, and
            the last checkpoint stays as it is.
        InputError: the data lack what training needs, the loss does not go with their labels, or a metric with either.
        CheckpointMismatchError: the checkpoint to resume is of another training; says in what they differ.
        DistributedError: another process failed, or trains something else; names its rank.
    """
    options = FitOptions(
        loss=loss, label_smoothing=label_smoothing, seeds=seeds, seed=seed, epochs=epochs, lr=lr,
        weight_decay=weight_decay, clip_norm=clip_norm, optimizer=optimizer, scheduler=scheduler, average=average,
        precision=precision, metrics=metrics, select=select, callbacks=callbacks, class_weight=class_weight, batch_size=batch_size,
        checkpoint=checkpoint, seeds_at_once=seeds_at_once, progress=progress, check_finite=check_finite,
        deterministic=deterministic, operator=operator, consistency=consistency, cuda_graph=cuda_graph, batching=batching,
        split=split,
    )  # fmt: skip
    several = are_several(data)
    feeds: Any = feeds_of(data, val, options, model) if several else [Feed.of(data, val, options, model)]
    if options.checkpoint is not None and feeds[0].ranks.rank == 0:
        check_target("checkpoint", options.checkpoint.path)
        remove_stale_temporaries(Path(options.checkpoint.path).parent)
    if several:
        return _train_several(model, feeds, options)
    history = _train_one(model, feeds[0], options) if options.seeds is None else _train_seeds(model, feeds[0], options)
    history.batching = feeds[0].why
    return history


def _train_one(model: nn.Module | Callable[[], nn.Module], feed: Feed, options: FitOptions) -> History:
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"model: got {type(model).__name__}, expected a module; pass seeds=n to train a function's."
        )
    # A double, as in JSON, holds a number that is drawn.
    seed = int(torch.randint(2**53, (), device="cpu")) if options.seed is None else options.seed
    with _surroundings(feed, options, seed) as allow, progress_bar(options.progress, options.epochs) as bar:
        allow(model)
        history = Training([model], [seed], feed, options, bar, is_drawn=options.seed is None).run()
    model.load_state_dict(history.state(0))
    if history.operator:
        model.trained_operator = history.operator  # type: ignore[assignment]
    return history


def _train_seeds(make: nn.Module | Callable[[], nn.Module], feed: Feed, options: FitOptions) -> History:
    if isinstance(make, nn.Module):
        raise InputTypeError("model: got a module, but each seed needs its own; pass a function: lambda: GCN(...).")
    seeds: list[int] = options.seeds
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: got {seeds}, expected each once.")
    with _surroundings(feed, options) as allow:
        first = make()
        size = options.seeds_at_once if feed.ranks.is_lone else 1
        if min(size, len(seeds)) > 1 and not can_be_stacked(first, make):
            size = 1
        groups = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        if options.checkpoint is not None and len(groups) > 1:
            raise InputError(
                f"checkpoint: got {len(seeds)} seeds, but one stack of at most {size} can be saved and resumed."
            )
        parts = []
        with progress_bar(options.progress, options.epochs * len(groups)) as bar:
            for group in groups:
                models = [_made(make, seed) for seed in group]
                if any(model is first for model in models):
                    raise InputError("model: the function gave one module twice; it must make a new one at each call.")
                allow(models[0])
                parts.append(Training(models, group, feed, options, bar).run())
    return History.join(parts)


def _train_several(make: Any, feeds: Sequence[GraphFeed], options: FitOptions) -> History:
    """The trainings of one model, each on the data of its feed and with its seed."""
    seeds: list[int] = options.seeds
    with _surroundings(feeds[0], options) as allow:
        groups = stacks_of(feeds, seeds, make, options.seeds_at_once)
        if options.checkpoint is not None and len(groups) > 1:
            raise InputError(
                f"checkpoint: got {len(seeds)} trainings, but one stack can be saved and resumed, and these are {len(groups)}."
            )
        made, parts = [_made(make, seed) for seed in seeds], []
        if len({id(model) for model in made}) < len(made):
            raise InputError("model: the function gave one module twice; it must make a new one at each call.")
        with progress_bar(options.progress, options.epochs * len(groups)) as bar:
            for group in groups:
                models, own = [made[i] for i in group], [seeds[i] for i in group]
                generators.set_seed(own[0])  # from where a training alone starts
                allow(models[0])
                feed = feeds[group[0]] if len(group) == 1 else SeveralFeeds([feeds[i] for i in group], own)
                parts.append(Training(models, own, feed, options, bar).run())
    places = [i for group in groups for i in group]
    return History.join(parts).part(sorted(range(len(places)), key=places.__getitem__))


def _made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    generators.set_seed(seed)
    return make()


@contextmanager
def _surroundings(feed: Feed, options: FitOptions, seed: int | None = None) -> Iterator[Callable[[nn.Module], None]]:
    """What `fit` changes while it trains, and puts back: generators, allocation, modes, callbacks, norms."""
    keep = nullcontext if feed.is_large else keep_freed_memory  # a sixth of the time is not worth half of the memory
    with (
        generators.generators_kept(seed), keep(), _determinism(options.deterministic), ended_at_last(options.callbacks),
        single_rows_allowed(options.batch_size) as allow,
    ):  # fmt: skip
        yield allow


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """torch's deterministic mode where it is wanted; else whichever mode it is in."""
    if not wanted:  # torch's switch imports its compiler, which takes longer than a short training
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


class Training:
    """One training: of a model, or of several seeds as one stack.

    Each epoch learns, is validated, may be the best of its seed, is told to callbacks, and is saved.
    """

    def __init__(
        self,
        models: list[nn.Module],
        seeds: list[int],
        feed: Feed,
        options: FitOptions,
        bar: Any,
        is_drawn: bool = False,
    ) -> None:
        feed.choose_operator(models[0])
        self.feed, self.options, self.bar, self.is_drawn = feed, options, bar, is_drawn
        self.stack = Stack.of(models, options.precision, feed.objective.check_logits)
        self.optimizer = options.optimizer(parameter_groups(self.stack.params, options.weight_decay), lr=options.lr)
        takes_steps_alone(self.optimizer)
        self.schedule = Schedule(options.scheduler, self.optimizer, options.epochs * feed.num_batches, len(models))
        self.seeds, self.ranks = seeds, feed.ranks
        self.record: Record | None = None
        if options.checkpoint is not None or not self.ranks.is_lone:
            self.record = Record(self.stack, seeds, feed, options, self.optimizer, self.schedule.scheduler)
            if not self.ranks.is_lone:
                self._join_ranks(self.record)
        self.average = RunningAverage(self.stack, options.average)
        self.active = torch.ones(len(seeds), dtype=torch.bool)
        self.best, self.table = Best(len(seeds), self.stack.current()), Table(len(seeds))
        self.num_steps = 0
        self.epoch_seconds: list[float] = []
        self.metrics: dict[str, Tensor] = {}  # of the newest epoch
        self.norms: list[Any] = []
        self.outputs: list[Tensor] = []  # of the newest step, where metrics of all outputs are measured
        self._forward = self._watched if feed.objective.metrics else self.stack.forward
        # The last batch may be of few rows.
        self.last_batches: deque[Batch] = deque(maxlen=1 + -(-AVERAGED_ROWS * self.ranks.size // feed.batch_size))
        self._gradients: Callable[[Batch], Scores] = self._make_gradients
        if options.cuda_graph:
            if any(True for _ in models[0].buffers()):
                raise InputError(
                    f"cuda_graph: {type(models[0]).__name__} has buffers, which the recording would change."
                )
            self._gradients = Recorded(self._make_gradients)

    def _join_ranks(self, record: Record) -> None:
        """Train together with the other ranks, if they train the same."""
        model = self.stack.model
        self.ranks.meet()
        drawn_by_first = self.ranks.of_first(self.seeds if self.is_drawn else None)
        if self.is_drawn and drawn_by_first is not None:
            self.seeds = record.settings["seeds"] = drawn_by_first
            generators.set_seed(self.seeds[0])
        self.ranks.check_same(record.facts())
        self.stack.replica = distributed.Replica(model)
        if self.ranks.rank:  # masks and augmentation of its own; rank 0 draws as one process does
            generators.set_seed((torch.initial_seed() + self.ranks.rank * 0x9E3779B97F4A7C15) % 2**63)

    def run(self) -> History:
        step = self.feed.step(self.stack.model)
        work = None if step is None else threads.work_of(self.stack.model, step, len(self.seeds))
        with threads.chosen(work, self.stack.device) as self.waits:
            self.train()
        return self.history()

    def train(self) -> None:
        first = self.resume()
        for callback in self.options.callbacks if self.ranks.rank == 0 else ():
            callback.before_training(self.seeds, self.optimizer)
        for epoch in self.epochs(first):
            start = time.perf_counter()
            self.learn(epoch)
            with self.average.shown():
                self.validate(epoch)
                self.keep_best(epoch)
            self.tell(epoch)
            self.epoch_seconds.append(time.perf_counter() - start)
            self.bar.update()
            self.save(epoch)

    def epochs(self, first: int) -> Iterator[int]:
        """The epochs that are left, until every seed has stopped."""
        for epoch in range(first, self.options.epochs + 1):
            if not bool(self.active.any()):
                self.bar.update(self.options.epochs + 1 - epoch)
                return
            yield epoch

    def learn(self, epoch: int) -> None:
        """Take a step on each batch of one pass through the training data."""
        model, scores, together = self.stack.model.train(), Mean(), self.together()
        self.norms = [module for module in model.modules() if keeps_averages(module)]
        self.last_batches.clear()
        for batch in self.feed.batches("train", model):
            scores.add(*self.step(epoch, batch))
            if together is not None:
                together.add(self.outputs, batch)
            if self.norms:
                self.last_batches.append(batch)
        self.schedule.after_epoch()
        self.metrics = {f"train_{name}": value for name, value in scores.value().items()}
        if together is not None:
            self.metrics |= together.value("train", epoch, self.seeds, self.active, self.ranks)
        if not self.ranks.is_lone:  # each rank has the statistics of its own shares
            buffers = dict(model.named_buffers())
            averaged = [value[0] for name, value in self.average.values.items() if name in buffers]
            self.ranks.share_tensors([*buffers.values(), *averaged])

    def together(self) -> Together | None:
        """What collects the outputs of an epoch, where metrics of all of them are measured."""
        return Together(self.feed.objective) if self.feed.objective.metrics else None

    def _watched(self, arguments: tuple[Any, ...]) -> Tensor:
        logits = self.stack.forward(arguments)
        self.outputs.append(logits.detach())
        return logits

    def step(self, epoch: int, batch: Batch) -> Scores:
        """One step of the optimizer, and the scores of its batch."""
        self.waits.look()
        self.num_steps += 1
        counts, scored = self._gradients(batch)
        gradients, replica = self.stack.gradients(), self.stack.replica
        tensors = {"the training loss": scored["loss"]}
        tensors |= {f"the gradient of {name}": grad for name, grad in gradients.items()}
        check_finite(epoch, self.seeds, self.active, tensors, self.ranks, () if replica is None else replica.own)
        if self.options.clip_norm is not None:
            clip_gradients(list(gradients.values()), self.options.clip_norm, len(self.seeds))
        self.optimizer.step()
        self.schedule.after_batch()
        self.average.update(self.num_steps)
        return counts, scored

    def _make_gradients(self, batch: Batch) -> Scores:
        self.optimizer.zero_grad()
        self.outputs.clear()
        feed = self.feed
        counts, scored = score_samples(self._forward, batch, feed.objective, feed.consistency, self.num_steps)
        loss = scored["loss"].sum()
        factor, counts, scored = distributed.whole_batch(self.ranks, counts, scored, batch.counts)
        if self.stack.replica is not None:
            self.stack.replica.own.append(loss.detach())
            loss = loss * factor
        if not loss.requires_grad:
            raise InputError(
                "model: no derivative leads from its output to its weights; its forward detaches, runs under torch.no_grad, "
                "or has no weights."
            )
        loss.backward()
        return counts, scored

    def validate(self, epoch: int) -> None:
        """Score the weights that may be kept on the validation data; batch norms get the averages that they make."""
        model, ranks, objective = self.stack.model.eval(), self.ranks, self.feed.objective
        tracked = [value for name, value in self.stack.current().items() if name.endswith("num_batches_tracked")]
        with averages_made_again(self.norms, tracked):
            for batch in self.feed.sample(model) or self.last_batches if self.norms else ():
                self.stack.forward(batch.arguments)
        ranks.share_tensors([average for norm in self.norms for average in (norm.running_mean, norm.running_var)])
        if self.feed.has_val:
            scores, together, plain = Mean(), self.together(), objective._replace(smoothing=0.0)
            for batch in self.feed.batches("val", model):
                self.waits.look()
                logits = self.stack.forward(batch.arguments)
                scores.add(*score_batch(logits, batch, plain))
                if together is not None:
                    together.add([logits], batch)
            own = tuple(scores.sums.values())
            found = scores.over(ranks).value()
            self.metrics |= {f"val_{name}": value for name, value in found.items()}
            check_finite(epoch, self.seeds, self.active, {"the validation loss": found["loss"]}, ranks, own)
            if together is not None:
                self.metrics |= together.value("val", epoch, self.seeds, self.active, ranks)
        self.metrics = {name: value.cpu() for name, value in self.metrics.items()}
        self.schedule.after_validation(self.metrics["val_loss" if self.feed.has_val else "train_loss"])

    def keep_best(self, epoch: int) -> None:
        """Keep the weights of the seeds that are better than before by the metric that selects."""
        select = self.options.select
        if select == "last":
            value = torch.full((len(self.seeds),), -float(epoch))
        else:
            value = lower_is_better(select, measured("select", select, self.metrics))
        self.best.update(self.active, value, epoch, self.stack.current)

    def tell(self, epoch: int) -> None:
        """Tell the callbacks, which may stop seeds."""
        row = self.metrics
        if not bool(self.active.all()):
            row = {name: torch.where(self.active, value, float("nan")) for name, value in row.items()}
        self.table.add(row)
        for callback in self.options.callbacks:
            if (stop := callback.after_epoch(epoch, row)) is not None:
                self.active = self.active & ~which_stop(callback, stop, len(self.seeds))
        self.active = self.ranks.of_first(self.active)  # a callback may read a clock

    def save(self, epoch: int) -> None:
        """Save the state where it is due."""
        checkpoint = self.options.checkpoint
        if checkpoint is None or self.record is None:
            return
        is_last = epoch == self.options.epochs or not bool(self.active.any())
        if not (is_last or epoch % checkpoint.every == 0):
            return
        current = self.stack.current()
        check_finite(epoch, self.seeds, self.active, {f"the weight {name}": value for name, value in current.items()})
        training = {
            "current": current,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.schedule.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.options.callbacks],
            "averaged": self.average.values, "num_steps": self.num_steps,
            "active": self.active, "best_epoch": self.best.epoch, "best_value": self.best.value,
            "rows": self.table.tensors(),
            "epoch_seconds": self.epoch_seconds,
            "feed": self.feed.rng_state(),
        }  # fmt: skip
        self.record.write(checkpoint, self.ranks, epoch, self.best.kept, training)

    def resume(self) -> int:
        """The first epoch that is left: 1, or where a saved training goes on, whose state is put back."""
        checkpoint, record = self.options.checkpoint, self.record
        saved = None
        if checkpoint is not None and record is not None:
            saved = record.read(checkpoint, self.ranks, self.is_drawn)
        if saved is None or checkpoint is None or record is None:
            return 1
        self.seeds = record.settings["seeds"]
        epoch, weights, training = saved
        with ckpt.reading_training(checkpoint.path):
            for target, source in ((self.best.kept, weights), (self.stack.current(), training["current"])):
                ckpt.check_state(checkpoint.path, source, target)
                for name, value in target.items():
                    value.copy_(source[name])
            self.optimizer.load_state_dict(training["optimizer"])
            ckpt.check_optimizer(checkpoint.path, self.optimizer, training["num_steps"])
            self.schedule.load_state_dict(training["scheduler"])
            for callback, state in zip(self.options.callbacks, training["callbacks"], strict=True):
                callback.load_state_dict(state)
            generators.set_rng_state([training["rng"], *training.get("rng of other ranks", [])][self.ranks.rank])
            self.feed.set_rng_state(training.get("feed", []))
            for name, value in self.average.values.items():  # in place: they stay on the device
                value.copy_(training["averaged"][name])
            self.num_steps, self.epoch_seconds = training["num_steps"], training["epoch_seconds"]
            self.active, self.best.epoch, self.best.value = (
                training["active"], training["best_epoch"], training["best_value"],
            )  # fmt: skip
            self.table.add(training["rows"])
        self.bar.update(epoch)
        return epoch + 1

    def history(self) -> History:
        every = torch.ones_like(self.active)
        kept = {f"the kept weight {name}": value for name, value in self.best.kept.items()}
        check_finite(len(self.epoch_seconds), self.seeds, every, kept)
        self.stack.model.eval()
        return History(
            list(self.seeds), self.table.tensors(), self.best.epoch, self.best.kept, self.epoch_seconds,
            operator=self.feed.kind, threads=self.waits.number, select=self.options.select,
        )  # fmt: skip
