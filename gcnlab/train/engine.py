"""Training: one loop for one model or for many seeds of it at once.

Many seeds of a small model are many small products; stacked, they are a few large ones. The weights get a leading
dimension [num_seeds, ...], `torch.func.vmap` runs the model over it, and every seed keeps its own initialisation,
dropout, optimizer state and early stopping. Element-wise optimizers (SGD, Adam, ...) treat a stack of weights as they
treat each alone.
"""

from __future__ import annotations

import time
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint as ckpt
from .. import distributed
from ..checks import check_choice, check_count, check_flag, check_number, check_seed
from ..errors import CheckpointMismatchError, InputError, InputTypeError
from ..files import check_target, remove_stale_temporaries
from ..graph import Graph, GraphCollection
from ..image import Signals
from ..memory import keep_freed_memory
from ..precompute import NodeRows
from ..scale import NeighborSampler, Sampler
from ..sparse import SparseMatrix
from .callbacks import Callback, ended_at_last, known_metric, lower_is_better, measured, progress_bar
from .feeds import LARGE_GRAPH, GraphData, NodeData, RowData, SignalData, choose_batching
from .history import History, Mean
from .norms import AVERAGED_ROWS, averages_made_again, keeps_averages, single_rows_allowed
from .objective import LOSSES, Batch, Consistency, Loss, check_finite, over_ranks, score_batch, score_samples
from .optim import Adam, Recorded, clip_gradients, parameter_groups, takes_steps_alone
from .prediction import check_data
from .resume import Checkpoint, facts_of, modules_of, settings_of, versions_here
from .stack import are_stackable


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Within it no other thread trains, other ranks are watched, and gradients and autocast are not the caller's."""
    with (
        ckpt.generators_alone(), distributed.watch(), torch.inference_mode(False), torch.enable_grad(),
        torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False),
    ):  # fmt: skip
        yield


@_undisturbed()
def fit(
    model: nn.Module | Callable[[], nn.Module],
    data: Graph | GraphCollection | Signals | NodeRows,
    val: GraphCollection | Signals | None = None,
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
) -> History:
    """Train a model of the nodes of one graph, of many graphs, or of images: classes, several labels each, or numbers.

    One graph: `train_mask` trains, `val_mask` selects, and the test mask is never read. A model that says
    `layerwise = True` (its forward takes one operator a layer, as `GCN` does) computes only the receptive field of the
    labelled nodes; of many graphs, one that says `merges_nodes = True` (as `GraphClassifier` does) computes alike nodes
    once (`GraphCollection.merged`): same numbers, fewer rows.

    With the same seeds, versions and number of threads, a training on a CPU repeats to the bit; on a GPU with
    deterministic=True alone. Within a training the generators of torch, CUDA, numpy and Python start from its seed;
    afterwards, also after an error, they are as they were before it, but for the one number that is drawn from torch's
    where no seed is given. Trainings in threads of one process draw from the same generators: they take turns, one whole
    training after the other, and give what each gives alone; a module that another thread makes waits, too. (Threads must
    not seed or draw by themselves meanwhile, nor may a callback wait for another thread's training. Trainings at the same
    time need a process each.)

    After each epoch the running averages of batch norms are made again: those of its last batches (256 rows or more) under
    the weights that are validated and kept, without dropout. The averages that training leaves lag behind the weights.
    Frozen norms (`transfer.freeze`), and those with a momentum of 0, keep theirs.

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
            such a graph, or the GraphCollection or Signals to train on, in batches that are shuffled anew each epoch.
        val: for many graphs, the GraphCollection that selects; for images, the Signals.
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
            projection that is no parameter) are trained one after the other.
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
        select: the metric whose best epoch gives the kept weights, or "last". Training metrics are those before the
            epoch's step, validation metrics and weights those after it.
        callbacks: `EarlyStopping(10)`, `StopAt("train_loss", 0.3)`, `TensorBoard("runs")`, or your own.
        class_weight: [num_classes], weights of the cross-entropy (`metrics.class_weights`).
        batch_size: graphs, images or rows of a training batch. A batch norm takes its running averages for a batch of a
            single row, which has no variance, and a warning says so.
        checkpoint: where to save and resume.
        seeds_at_once: seeds in one stack; 1 for a model that torch.func.vmap cannot run.
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
        deterministic: train under `torch.use_deterministic_algorithms(True)`, which on a GPU takes slower algorithms and
            raises where there is none; CUDA wants CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment for it.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite; training stops at that step, nothing is reported, and
            the last checkpoint stays as it is.
        InputError: the data lack what training needs, or the loss does not go with their labels.
        CheckpointMismatchError: the checkpoint to resume is of another training; says in what they differ.
        DistributedError: another process failed, or trains something else; names its rank.
    """
    check_data(data)
    _check_fixed(data=data, val=val, operator=operator)
    if not callable(loss) and loss not in LOSSES:
        raise InputError(f"loss: got {loss!r}, expected one of {', '.join(LOSSES)}, or a function.")
    if select != "last":
        known_metric("select", select)
    epochs, seeds_at_once = check_count("epochs", epochs, 1), check_count("seeds_at_once", seeds_at_once, 1)
    batch_size = check_count("batch_size", batch_size, 1)
    for argument, flag in (
        ("check_finite", check_finite),
        ("deterministic", deterministic),
        ("cuda_graph", cuda_graph),
    ):
        check_flag(argument, flag)
    check_choice("progress", progress, (None, True, False))
    lr, average = check_number("lr", lr, least=0), check_number("average", average, least=0, below=1)
    if clip_norm is not None:
        check_number("clip_norm", clip_norm, above=0)
    if check_number("label_smoothing", label_smoothing, least=0, below=1) and (
        loss != "cross-entropy" or class_weight is not None
    ):
        raise InputError(
            f"label_smoothing: got {label_smoothing}; it goes with the loss cross-entropy and no class_weight."
        )
    if isinstance(callbacks, Callback) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise InputTypeError("callbacks: expected a list of Callback objects, such as [EarlyStopping(10)].")
    if not callable(optimizer):
        raise InputTypeError(
            f"optimizer: got a {type(optimizer).__name__}; pass what makes one, such as torch.optim.Adam itself: "
            "fit gives it the parameters and lr."
        )
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise InputTypeError(f"checkpoint: got {checkpoint!r}, expected Checkpoint(path, every=10, resume=True).")
    if seed is not None and seeds is not None:
        raise InputError(f"seed: got {seed} with seeds={seeds}; seed goes with one model, seeds with a function.")
    seed = None if seed is None else check_seed(seed)
    seeds = None if seeds is None else _check_seeds(seeds)
    needs_val = select.startswith("val")
    if precision not in ("float32", "bfloat16"):
        raise InputError(f'precision: got {precision!r}, expected "float32" or "bfloat16".')
    if isinstance(scheduler, str) and scheduler != "one-cycle":
        raise InputError(f'scheduler: got {scheduler!r}, expected "one-cycle" or a function of the optimizer.')
    source: NodeData | GraphData | SignalData | RowData
    sampler, why = None, ""
    if isinstance(data, GraphCollection):
        source = GraphData(data, val, loss, class_weight, check_finite, needs_val, batch_size, operator)
    elif isinstance(data, Signals):
        source = SignalData(data, val, loss, class_weight, needs_val, batch_size)
    elif val is not None:
        raise InputError("val: a Graph has its val_mask; val goes with a GraphCollection or Signals.")
    elif isinstance(data, NodeRows):
        source = RowData(data, loss, class_weight, check_finite, needs_val, batch_size)
    else:
        sampler, why = choose_batching(batching, data, model, operator, progress)
        source = NodeData(data, loss, class_weight, check_finite, needs_val, operator, consistency, sampler)
    if operator is not None and not isinstance(source, (NodeData, GraphData)):
        raise InputError("operator: goes with a Graph or a GraphCollection, not with NodeRows or Signals.")
    if not isinstance(source, NodeData) and (consistency, batching) != (None, "full"):
        raise InputError("consistency, batching: go with one Graph, not with NodeRows, a GraphCollection or Signals.")
    if cuda_graph and not (isinstance(source, NodeData) and source.is_constant and source.graph.device.type == "cuda"):
        raise InputError("cuda_graph: goes with one Graph on a CUDA device, all nodes in each step, and no warmup.")
    if consistency is not None and loss != "cross-entropy":
        raise InputError(f"consistency: goes with the loss cross-entropy, got {loss!r}.")
    if select.endswith("accuracy") and not source.objective.has_accuracy:
        raise InputError(f'select: got {select!r}, but this loss has no accuracy; select "val_loss", for one.')
    source.objective = source.objective._replace(smoothing=label_smoothing)
    is_shared = isinstance(source, (GraphData, SignalData)) or isinstance(sampler, NeighborSampler)
    ranks = distributed.ranks() if is_shared else None
    graph = data.graph if isinstance(data, NodeRows) else data
    is_large = isinstance(graph, Graph) and graph.num_nodes >= LARGE_GRAPH
    keep = nullcontext if is_large else keep_freed_memory  # a sixth of the time is not worth half of the memory
    if checkpoint is not None and (ranks is None or ranks.rank == 0):
        check_target("checkpoint", checkpoint.path)
        remove_stale_temporaries(Path(checkpoint.path).parent)
    options: dict[str, Any] = {
        "epochs": epochs, "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer, "scheduler": scheduler,
        "select": select, "callbacks": callbacks, "checkpoint": checkpoint, "average": average,
        "precision": precision, "cuda_graph": cuda_graph, "clip_norm": clip_norm, "ranks": ranks,
    }  # fmt: skip
    if seeds is None:
        if not isinstance(model, nn.Module):
            raise InputTypeError(
                f"model: got {type(model).__name__}, expected a module; pass seeds=n to train a function's."
            )
        is_drawn = seed is None
        seed = int(torch.randint(2**53, (), device="cpu")) if seed is None else seed  # a double, as in JSON, holds it
        with (
            ckpt.generators_kept(seed), keep(), _determinism(deterministic), ended_at_last(callbacks),
            single_rows_allowed(batch_size) as allow, progress_bar(progress, epochs) as bar,
        ):  # fmt: skip
            allow(model)
            history = _train([model], [seed], source, bar, is_drawn=is_drawn, **options)
        model.load_state_dict(history.state(0))
        if history.operator:
            model.trained_operator = history.operator  # type: ignore[assignment]
        history.batching = why
        return history
    if isinstance(model, nn.Module):
        raise InputTypeError("model: got a module, but each seed needs its own; pass a function: lambda: GCN(...).")
    with ckpt.generators_kept(), keep(), _determinism(deterministic), ended_at_last(callbacks):
        first = model()
        # vmap runs one module with the parameters of each seed: it can have no other state, and no name twice for one.
        can_stack = not any(True for _ in first.buffers()) and len(first.state_dict()) == len(list(first.parameters()))
        size = seeds_at_once if can_stack and ranks is None else 1
        if min(size, len(seeds)) > 1 and not are_stackable(first, model()):
            size = 1
        groups = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        if checkpoint is not None and len(groups) > 1:
            raise InputError(
                f"checkpoint: got {len(seeds)} seeds, but one stack of at most {size} can be saved and resumed."
            )
        parts = []
        with single_rows_allowed(batch_size) as allow, progress_bar(progress, epochs * len(groups)) as bar:
            for group in groups:
                models = []
                for s in group:
                    ckpt.set_seed(s)
                    models.append(model())
                    if models[-1] is first:
                        raise InputError(
                            "model: the function gave one module twice; it must make a new one at each call."
                        )
                allow(models[0])
                parts.append(_train(models, group, source, bar, **options))
    history = History.join(parts)
    history.batching = why
    return history


def _check_seeds(seeds: Any) -> list[int]:
    """0 .. n - 1 for a number n of seeds, else the seeds of a sequence."""
    if isinstance(seeds, Integral) or getattr(seeds, "ndim", 1) == 0:
        return list(range(check_count("seeds", seeds, 1)))
    if not isinstance(seeds, Collection) or isinstance(seeds, str | Mapping | Set):
        raise InputTypeError(f"seeds: got {seeds!r}, expected how many, or a list of them.")
    listed = [check_seed(seed, f"seeds[{i}]") for i, seed in enumerate(seeds)]
    if not listed:
        raise InputError(f"seeds: got {seeds!r}, expected at least one.")
    if len(set(listed)) < len(listed):
        raise InputError(f"seeds: got {listed}, expected each once.")
    return listed


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


def _check_fixed(**given: Any) -> None:
    """Raise InputError for features or weights that require a gradient: fit trains the parameters of the model alone."""
    for argument, data in given.items():
        graph = data.whole if isinstance(data, GraphCollection) else data.graph if isinstance(data, NodeRows) else data
        parts = {argument: graph}
        if isinstance(graph, Graph):
            parts = {f"{argument}: {name}": value for name, value in graph.values.items()}
        if isinstance(data, Signals):
            parts = {f"{argument}: images": data.x}
        if isinstance(data, NodeRows):
            parts |= {f"{argument}: features[{k}]": f for k, f in enumerate(data.features)}
        for name, part in parts.items():
            value = part.value if isinstance(part, SparseMatrix) else part
            if isinstance(value, Tensor) and value.requires_grad:
                raise InputError(
                    f"{name}: requires a gradient, but fit trains the parameters of the model alone. Learn it in a loop of "
                    "your own; or hold it fixed: value.detach() in its place, such as "
                    "graph.replace(adjacency=a.with_value(a.value.detach()))."
                )


def _train(
    models: list[nn.Module],
    seeds: list[int],
    data: NodeData | GraphData | SignalData | RowData,
    bar: Any,
    *,
    epochs: int,
    lr: float,
    weight_decay: float | Mapping[str, float] | None,
    optimizer: Callable[..., Any],
    scheduler: Callable[[Any], Any] | str | None,
    select: str,
    callbacks: Sequence[Callback],
    checkpoint: Checkpoint | None,
    average: float,
    precision: str,
    cuda_graph: bool,
    clip_norm: float | None,
    ranks: distributed.Ranks | None,
    is_drawn: bool = False,
) -> History:
    model, num_seeds, stacked = models[0], len(seeds), len(models) > 1
    if isinstance(data, NodeData | GraphData):
        data.choose_operator(model)
    consistency = data.consistency if isinstance(data, NodeData) else None
    objective = data.objective
    params: dict[str, Tensor] = dict(model.named_parameters())
    if stacked:
        params = {
            name: torch.stack([m.get_parameter(name).detach() for m in models]).requires_grad_(p.requires_grad)
            for name, p in params.items()
        }

    if params and not any(p.requires_grad for p in params.values()):
        raise InputError("model: all of its parameters are frozen; unfreeze those that shall train.")
    if any(p.is_inference() for p in params.values()):
        raise InputError(
            "model: its weights were made under torch.inference_mode, which nothing can train; make it outside."
        )
    device = next(iter(params.values())).device.type if params else "cpu"

    def forward(arguments: tuple[Any, ...]) -> Tensor:  # [num_seeds, num_rows, num_outputs]
        def one(weights: dict[str, Tensor]) -> Tensor:
            return objective.check_logits(torch.func.functional_call(model, weights, arguments))

        # Without its cache, which lives as long as the outermost autocast: weights of an earlier step would be in it.
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
            if not stacked:
                called = model if replica is None or not model.training else replica
                return objective.check_logits(called(*arguments)).unsqueeze(0)
            return torch.func.vmap(one, randomness="different")(params)

    def current() -> dict[str, Tensor]:  # the weights, and where there are any the buffers, [num_seeds, ...]
        if stacked:
            return {name: p.detach() for name, p in params.items()}
        return {name: value.unsqueeze(0) for name, value in model.state_dict().items()}

    opt = optimizer(parameter_groups(params, weight_decay), lr=lr)
    takes_steps_alone(opt)
    per_batch, total_steps = scheduler == "one-cycle", epochs * data.num_batches
    schedule: Any = (
        torch.optim.lr_scheduler.OneCycleLR(
            opt, [group["lr"] for group in opt.param_groups], total_steps,
            pct_start=0.2 if total_steps != 5 else 0.0,  # a fifth of five ends at step 0, and torch divides by it
            cycle_momentum=False,
        )
        if isinstance(scheduler, str) else scheduler(opt) if scheduler is not None else None
    )  # fmt: skip
    reads_loss = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if reads_loss and (stacked or schedule.mode != "min"):
        raise InputError(
            f"scheduler: ReduceLROnPlateau of mode {schedule.mode!r} with {num_seeds} seeds at once; it is given the loss, so "
            'that its mode is "min", and has one learning rate, so that seeds train one by one: seeds_at_once=1.'
        )
    if checkpoint is not None or ranks is not None:
        digests = {name: ckpt.Digest.of(tensors) for name, tensors in data.tensors().items()}
        settings = settings_of(model, seeds, data, select, average, precision, clip_norm, opt, schedule, callbacks)
    replica, num_processes = None, 1
    if ranks is not None:
        num_processes = ranks.size
        ranks.meet()
        drawn_by_first = ranks.of_first(seeds if is_drawn else None)
        if is_drawn and drawn_by_first is not None:
            seeds = settings["seeds"] = drawn_by_first
            ckpt.set_seed(seeds[0])
        ranks.check_same(settings | digests | facts_of(model, data, epochs))
        replica = distributed.Replica(model)
        if ranks.rank:  # masks and augmentation of its own; rank 0 draws as one process does
            ckpt.set_seed((torch.initial_seed() + ranks.rank * 0x9E3779B97F4A7C15) % 2**63)
    averaged = {name: v.clone() for name, v in current().items() if v.is_floating_point()} if average else {}
    num_averaged = 1 + -(-AVERAGED_ROWS * num_processes // data.batch_size)  # the last batch may be of few rows
    num_steps = 0

    @contextmanager
    def shown() -> Iterator[None]:  # the weights that are validated and kept
        own = {name: value.clone() for name, value in current().items()} if average else {}
        for source in (averaged, None, own):
            if source is None:
                yield
                continue
            for name, value in current().items():
                if name in source:
                    value.copy_(source[name])

    def step(batch: Batch) -> tuple[dict[str, Any], dict[str, Tensor]]:  # gradients, and what score_batch says
        opt.zero_grad()
        counts, scored = score_samples(forward, batch, objective, consistency, num_steps)
        loss = scored["loss"].sum()
        if ranks is not None and replica is not None:
            factor, counts, scored = over_ranks(ranks, batch, counts, scored)
            replica.own.append(loss.detach())
            loss = loss * factor
        if not loss.requires_grad:
            raise InputError(
                "model: no derivative leads from its output to its weights; its forward detaches, runs under torch.no_grad, "
                "or has no weights."
            )
        loss.backward()
        return counts, scored

    if cuda_graph:
        if any(True for _ in model.buffers()):
            raise InputError(f"cuda_graph: {type(model).__name__} has buffers, which the recording would change.")
        step = Recorded(step)

    active = torch.ones(num_seeds, dtype=torch.bool)
    best_epoch = torch.zeros(num_seeds, dtype=torch.int64)
    best_value = torch.full((num_seeds,), float("inf"))
    kept = {name: value.clone() for name, value in current().items()}
    # Of each metric the values of each seed, epoch by epoch: as bare numbers, since a tensor takes half a KiB.
    columns: dict[str, array[float]] = {}
    dtypes: dict[str, torch.dtype] = {}
    epoch_seconds: list[float] = []
    first_epoch = 1

    def table() -> dict[str, Tensor]:
        numbers = {name: torch.frombuffer(column, dtype=torch.float64) for name, column in columns.items()}
        return {name: values.to(dtypes[name], copy=True).view(-1, num_seeds) for name, values in numbers.items()}

    def save(epoch: int) -> None:
        assert checkpoint is not None
        check_finite(epoch, seeds, active, {f"the weight {name}": value for name, value in current().items()})
        rng, *others = [ckpt.rng_state()] if ranks is None else ranks.gather_objects(ckpt.rng_state())
        header = {
            **checkpoint.header, "model": settings["model"], "seeds": seeds, "epoch": epoch, "settings": settings,
            "processes": num_processes, "operator": data.kind, "versions": versions_here(), "modules": modules_of(model),
        }  # fmt: skip
        training = {
            "current": current(),
            "optimizer": opt.state_dict(),
            "scheduler": None if schedule is None else schedule.state_dict(),
            "callbacks": [callback.state_dict() for callback in callbacks],
            "rng": rng, "rng of other ranks": others,
            "averaged": averaged, "num_steps": num_steps,
            "active": active, "best_epoch": best_epoch, "best_value": best_value,
            "rows": table(),
            "epoch_seconds": epoch_seconds,
            "digests": {name: [digest.exact, digest.sums] for name, digest in digests.items()},
        }  # fmt: skip
        if ranks is None or ranks.rank == 0:
            ckpt.write_checkpoint(checkpoint.path, header, kept, training)
        if ranks is not None:
            ranks.meet()

    saved = None
    if checkpoint is not None and checkpoint.resume:
        is_there = Path(checkpoint.path).exists() and (ranks is None or ranks.rank == 0)
        saved = ckpt.read_checkpoint(checkpoint.path) if is_there else None
        saved = saved if ranks is None else ranks.of_first(saved)
    if saved is not None and checkpoint is not None:
        header, weights, training = saved
        if training is None or "settings" not in header:
            raise CheckpointMismatchError(f"{checkpoint.path}: holds a trained model, not a training to resume.")
        ckpt.check_training(checkpoint.path, header, training)
        if header.get("processes", 1) != num_processes:
            raise CheckpointMismatchError(
                f"{checkpoint.path}: is of {header.get('processes', 1)} processes, here are {num_processes}. Resume with "
                "as many, or start anew."
            )
        if is_drawn and len(header["seeds"]) == 1:
            seeds = settings["seeds"] = header["seeds"]
        found, expected = dict(header["settings"]), dict(settings)
        made_with = header.get("versions")
        if made_with is None:
            warnings.warn(
                f"{checkpoint.path}: is of gcnlab 1.0, which kept no digest of the values of X and of edge weights; make sure "
                "that they are those that it was made with.", stacklevel=4,
            )  # fmt: skip
        else:
            found |= ckpt.read_digests(checkpoint.path, training)
            expected |= digests
        if made_with == versions_here():  # another torch may print modules otherwise
            modules = header.get("modules")
            found |= modules if isinstance(modules, dict) else {"modules": modules}
            expected |= modules_of(model)
        elif made_with is not None:
            warnings.warn(
                f"{checkpoint.path}: was written with {made_with}, and goes on with {versions_here()}: its numbers may not be "
                "those of one version alone.", stacklevel=4,
            )  # fmt: skip
        ckpt.check_settings(checkpoint.path, found, expected)
        if header["epoch"] > epochs:
            raise CheckpointMismatchError(
                f"{checkpoint.path}: is at epoch {header['epoch']}, beyond the {epochs} epochs of this training."
            )
        with ckpt.reading_training(checkpoint.path):
            for target, source in ((kept, weights), (current(), training["current"])):
                ckpt.check_state(checkpoint.path, source, target)
                for name, value in target.items():
                    value.copy_(source[name])
            opt.load_state_dict(training["optimizer"])
            if schedule is not None:
                schedule.load_state_dict(training["scheduler"])
            for callback, state in zip(callbacks, training["callbacks"], strict=True):
                callback.load_state_dict(state)
            rngs = [training["rng"], *training.get("rng of other ranks", [])]
            ckpt.set_rng_state(rngs[0 if ranks is None else ranks.rank])
            for name, value in averaged.items():  # in place: they stay on the device
                value.copy_(training["averaged"][name])
            num_steps = training["num_steps"]
            active, best_epoch, best_value = training["active"], training["best_epoch"], training["best_value"]
            epoch_seconds = training["epoch_seconds"]
            columns |= {name: array("d", column.flatten().tolist()) for name, column in training["rows"].items()}
            dtypes |= {name: column.dtype for name, column in training["rows"].items()}
            first_epoch = header["epoch"] + 1
        bar.update(header["epoch"])

    for callback in callbacks if ranks is None or ranks.rank == 0 else ():
        callback.before_training(seeds, opt)
    for epoch in range(first_epoch, epochs + 1):
        if not bool(active.any()):
            bar.update(epochs + 1 - epoch)
            break
        start = time.perf_counter()
        model.train()
        norms: list[Any] = [module for module in model.modules() if keeps_averages(module)]
        last_batches: deque[Batch] = deque(maxlen=num_averaged)
        scores = Mean()
        for batch in data.batches("train", model):
            num_steps += 1
            counts, scored = step(batch)
            # A frozen weight may still have the gradient of an earlier training.
            used = {name: p.grad for name, p in params.items() if p.requires_grad and p.grad is not None}
            grads = {f"the gradient of {name}": grad for name, grad in used.items()}
            if not stacked:
                grads = {name: grad.unsqueeze(0) for name, grad in grads.items()}
            check_finite(
                epoch, seeds, active, {"the training loss": scored["loss"], **grads},
                ranks, () if replica is None else replica.own,
            )  # fmt: skip
            if clip_norm is not None:
                clip_gradients(list(grads.values()), clip_norm)
            opt.step()
            if schedule is not None and per_batch:
                schedule.step()
            if average:
                decay, live = min(average, (1 + num_steps) / (10 + num_steps)), current()
                torch._foreach_lerp_(list(averaged.values()), [live[name] for name in averaged], 1 - decay)
            scores.add(counts, scored)
            if norms:
                last_batches.append(batch)
        if schedule is not None and not (per_batch or reads_loss):
            schedule.step()
        metrics = {f"train_{name}": value for name, value in scores.value().items()}
        if ranks is not None:  # each rank has the statistics of its shares
            buffers = dict(model.named_buffers())
            ranks.share_tensors([*buffers.values(), *(v[0] for name, v in averaged.items() if name in buffers)])
        with torch.no_grad(), shown():
            model.eval()
            with averages_made_again(norms):
                for batch in last_batches:
                    forward(batch.arguments)
            if ranks is not None:
                ranks.share_tensors([average for norm in norms for average in (norm.running_mean, norm.running_var)])
            if data.has_val:
                scores = Mean()
                for batch in data.batches("val", model):
                    scores.add(*score_batch(forward(batch.arguments), batch, objective._replace(smoothing=0.0)))
                own = tuple(scores.sums.values())
                scores = scores if ranks is None else Mean.of(ranks.gather_objects(scores.cpu()))
                metrics.update({f"val_{name}": value for name, value in scores.value().items()})
                check_finite(epoch, seeds, active, {"the validation loss": metrics["val_loss"]}, ranks, own)
            metrics = {name: value.cpu() for name, value in metrics.items()}
            if schedule is not None and reads_loss:
                schedule.step(float(metrics["val_loss" if data.has_val else "train_loss"]))
            last = select == "last"
            value = (
                -torch.full((num_seeds,), float(epoch))
                if last
                else lower_is_better(select, measured("select", select, metrics))
            )
            better = active & (value < best_value)
            best_value = torch.where(better, value, best_value)
            best_epoch = torch.where(better, epoch, best_epoch)
            if bool(better.any()):
                for name, weight in current().items():
                    kept[name][better] = weight[better]
        row = {name: torch.where(active, value, float("nan")) for name, value in metrics.items()}
        for name, value in row.items():
            columns.setdefault(name, array("d")).extend(value.tolist())
            dtypes[name] = value.dtype
        for callback in callbacks:
            stop = callback.after_epoch(epoch, row)
            if stop is not None:
                stop = torch.as_tensor(stop).cpu()
                if stop.dtype != torch.bool or stop.shape not in ((), (num_seeds,)):
                    raise InputError(
                        f"callbacks: {type(callback).__name__}.after_epoch gave {stop.dtype} of shape {tuple(stop.shape)}, "
                        f"expected None, a bool, or one a seed, [{num_seeds}]."
                    )
                active = active & ~stop
        active = active if ranks is None else ranks.of_first(active)  # a callback may read a clock
        epoch_seconds.append(time.perf_counter() - start)
        bar.update()
        if checkpoint is not None and (epoch % checkpoint.every == 0 or epoch == epochs or not bool(active.any())):
            save(epoch)
    check_finite(
        len(epoch_seconds), seeds, torch.ones_like(active), {f"the kept weight {k}": v for k, v in kept.items()}
    )
    model.eval()
    return History(list(seeds), table(), best_epoch, kept, epoch_seconds, operator=data.kind)
