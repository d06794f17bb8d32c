"""Training: one loop for one model or for many seeds of it at once.

Many seeds of a small model are many small products; stacked, they are a few large ones. The weights get a leading
dimension [num_seeds, ...], `torch.func.vmap` runs the model over it, and every seed keeps its own initialisation,
dropout, optimizer state and early stopping. Element-wise optimizers (SGD, Adam, ...) treat a stack of weights as they
treat each alone.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
import time
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import optimizer as torch_optimizer
from torch.utils._pytree import tree_iter

from . import __version__, distributed
from . import checkpoint as ckpt
from .checks import check_choice, check_count, check_flag, check_list, check_number, check_probability, check_seed
from .collection import GraphBatch, GraphCollection, GraphLoader
from .data import ImageSet
from .errors import CheckpointMismatchError, InputError, InputIndexError, InputTypeError, NonFiniteError
from .files import check_target, remove_stale_temporaries
from .graph import Graph, check_features_finite, check_nodes, check_one_graph, how_to_make, is_kind, values_of
from .inputs import classes_remedy, some
from .layers import wanted_operators, warn_if_of_another_kind, with_operator
from .machine import has_terminal, tell
from .memory import available_memory, check_fits, estimate_step, keep_freed_memory
from .precompute import EVALUATION_ROWS, NodeRows
from .scale import NeighborSampler, RandomNodeSampler, Sampler, Subgraph, estimate_full_batch, predict_in_batches
from .signals import Signals
from .sparse import SparseMatrix, as_tensor
from .trace import evaluation

if TYPE_CHECKING:
    import pandas

METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
LARGE_GRAPH = 100_000  # nodes, from which on fit is careful with memory
EVALUATION_BATCH = 50  # images; of 500, each array is one that malloc takes anew from the system, at twice the time
LOSSES = ("cross-entropy", "binary", "mse", "mae")
AVERAGED_ROWS = 256  # of an epoch's last batches, which batch norms take their running averages from
OWN = "own"  # of a model's operator: no matrix that a Graph makes

Loss = str | Callable[[Tensor, Tensor], Tensor]


class Adam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) with L2 weight decay added to the gradient, in the numbers of `torch.optim.Adam`.

    It exists because torch's imports its compiler when first made, about 1.6 seconds that a short training does not
    have. In all else it is a `torch.optim.Optimizer`: hooks, schedulers, copies and pickles work, its state has the names
    of torch's, and each of the two loads the other's `state_dict()`.

    Args:
        params: parameters, or groups {"params": [...], "lr": ..., "weight_decay": ...}.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: factor of the L2 term.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        lr, eps = check_number("lr", lr, least=0), check_number("eps", eps, least=0)
        weight_decay = check_number("weight_decay", weight_decay, least=0)
        beta1, beta2 = check_list("betas", betas, "two numbers", 2)
        betas = check_number("betas[0]", beta1, least=0, below=1), check_number("betas[1]", beta2, least=0, below=1)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    # torch wraps these methods so that their first call imports its compiler; here they are called unwrapped.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if on := [name for name in _NOT_HERE if param_group.get(name)]:
            raise InputError(f"{on[0]}: gcnlab.Adam has no such setting; torch.optim.Adam has.")
        _unwrapped("add_param_group")(self, param_group)
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            raise InputTypeError("params: some are complex, which torch.optim.Adam takes.")

    def state_dict(self) -> dict[str, Any]:
        return _unwrapped("state_dict")(self)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach().zero_()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the state of an `Adam` of gcnlab or torch.

        Raises CheckpointMismatchError where it is of another optimizer, or torch's had a setting that this one has not.
        """
        groups = [dict(group) for group in state_dict["param_groups"]]
        if not all("params" in group for group in groups):  # of gcnlab 1.0
            sizes = [len(group["params"]) for group in self.param_groups]
            ids = torch.arange(sum(sizes)).split(sizes)
            groups = [{**group, "params": part.tolist()} for group, part in zip(groups, ids, strict=True)]
        for group in groups:
            on = [name for name in _NOT_HERE if group.pop(name, False)]
            if on or not group.keys() >= self.defaults.keys():
                found = f"one with {on[0]}=True" if on else f"an optimizer of {', '.join(group)}"
                raise CheckpointMismatchError(
                    f"optimizer: the state is of {found}, and gcnlab.Adam has none; go on with the optimizer that it is of."
                )
            for name in ("foreach", "capturable", "differentiable", "fused"):  # how torch computes the same
                group.pop(name, None)
        state = {}
        for i, found in state_dict["state"].items():
            steps, mean, square = found if isinstance(found, (tuple, list)) else (found[name] for name in _STATE)
            state[i] = dict(zip(_STATE, (int(steps), mean.clone(), square.clone()), strict=True))
        _unwrapped("load_state_dict")(self, {"state": state, "param_groups": groups})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns what `closure`, which computes the loss and its gradients, gives."""
        own = (self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks)
        every = (torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks)
        return (self.profile_hook_step(Adam._step) if any((*own, *every)) else Adam._step)(self, closure)

    # torch would wrap `step` for hooks and profiles, which takes a fiftieth of an epoch on Cora where there are none.
    step.hooked = True  # type: ignore[attr-defined]

    @torch.no_grad()
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            used = [(p, self.state[p]) for p in group["params"] if p.grad is not None]
            for p, state in used:
                if not state:
                    state.update(zip(_STATE, (0, torch.zeros_like(p), torch.zeros_like(p)), strict=True))
            # Parameters that have taken as many steps take the next together, in loops that torch runs.
            for steps in {state["step"] for _, state in used}:
                self._step_together([part for part in used if part[1]["step"] == steps], steps + 1, group)
        return loss

    def _step_together(self, used: list[tuple[Tensor, dict[str, Any]]], steps: int, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        params: Any = [p for p, _ in used]
        means: Any = [state["exp_avg"] for _, state in used]
        squares: Any = [state["exp_avg_sq"] for _, state in used]
        for _, state in used:
            state["step"] = steps
        grads: Any = [p.grad for p in params]
        if group["weight_decay"]:
            grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, (1 - beta2**steps) ** 0.5)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_addcdiv_(params, means, denominators, value=-float(group["lr"]) / (1 - beta1**steps))


_NOT_HERE = ("amsgrad", "maximize", "decoupled_weight_decay")  # settings of torch's Adam
_STATE = ("step", "exp_avg", "exp_avg_sq")  # of each parameter: steps, mean and mean square of its gradients


def _unwrapped(method: str) -> Callable[..., Any]:
    return getattr(torch.optim.Optimizer, method).__wrapped__


def _takes_steps_alone(optimizer: Any) -> None:
    """Raise InputError for an optimizer that computes the loss several times a step, as LBFGS does."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise InputError(
            f"optimizer: {type(optimizer).__name__} needs a closure that computes the loss again, and fit computes it once a "
            "step; gcnlab.Adam, torch.optim.AdamW and torch.optim.SGD take such steps."
        )


@dataclass(repr=False)
class History:
    """What a training did.

    Attributes:
        seeds: one per column below. That of one model, passed back as `seed=`, repeats its training from the same
            initial weights.
        metrics: "train_loss", "train_accuracy", "val_loss", "val_accuracy" -> [num_epochs, num_seeds]; NaN after a
            seed has stopped. Losses are means over labelled nodes or graphs, or over the targets that are not missing.
            Accuracies are fractions. They are measured of classes and by the loss "binary"; of numbers there are none.
        best_epoch: [num_seeds], the epoch (from 1) whose weights were kept.
        states: name -> the kept weights (and buffers) of all seeds, [num_seeds, ...].
        epoch_seconds: wall time of each epoch, training and validation; of all seeds of a stack together, one stack
            after the other.
        batching: of one graph, what a step was on, and why.
        operator: the kind of the matrix that the model was called with (`Graph.matrix`); "own" where it was another
            one, given as `operator=`; "" where there was none.
    """

    seeds: list[int]
    metrics: dict[str, Tensor]
    best_epoch: Tensor
    states: dict[str, Tensor]
    epoch_seconds: list[float] = field(default_factory=list)
    batching: str = ""
    operator: str = ""

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {float(self.best(name).mean()):.3f}" for name in self.metrics)
        return f"History({len(self.seeds)} seeds, {len(next(iter(self.metrics.values())))} epochs; kept: {means})"

    def state(self, i: int) -> dict[str, Tensor]:
        """The kept weights of the i-th seed, for `model.load_state_dict`."""
        if check_count("i", i) >= len(self.seeds):
            raise InputIndexError(f"i: got {i}, but there are {len(self.seeds)} seeds.")
        return {name: value[i] for name, value in self.states.items()}

    def best(self, metric: str) -> Tensor:
        """[num_seeds]: the metric at the epoch whose weights were kept."""
        if metric not in list(self.metrics):
            raise InputError(f"metric: got {metric!r}, expected one of {', '.join(self.metrics)}.")
        return self.metrics[metric].gather(0, self.best_epoch.unsqueeze(0) - 1).squeeze(0)

    def cpu(self) -> History:
        """The same with its weights in the memory of the CPU."""
        return replace(self, states={name: value.cpu() for name, value in self.states.items()})

    def frame(self) -> pandas.DataFrame:
        """One row an epoch and seed."""
        import pandas

        first = next(iter(self.metrics.values()))
        epoch, seed = torch.meshgrid(torch.arange(1, first.shape[0] + 1), torch.tensor(self.seeds), indexing="ij")
        columns = {"seed": seed, "epoch": epoch, **self.metrics}
        frame = pandas.DataFrame({name: value.T.reshape(-1).numpy() for name, value in columns.items()})
        return frame.dropna().reset_index(drop=True)

    def plot(self, path: str | PathLike[str] | None = None, title: str | None = None) -> Any:
        """Curves of loss and accuracy, training and validation: see `plot.history`."""
        from . import plot

        return plot.history(self, path, title)

    @staticmethod
    def join(parts: Sequence[History]) -> History:
        """The histories of several groups of seeds as one."""

        def side_by_side(tables: list[Tensor]) -> Tensor:
            length = max(len(table) for table in tables)
            return torch.cat([F.pad(t, (0, 0, 0, length - len(t)), value=float("nan")) for t in tables], 1)

        return History(
            [seed for part in parts for seed in part.seeds],
            {name: side_by_side([part.metrics[name] for part in parts]) for name in parts[0].metrics},
            torch.cat([part.best_epoch for part in parts]),
            {name: torch.cat([part.states[name] for part in parts]) for name in parts[0].states},
            [seconds for part in parts for seconds in part.epoch_seconds],
            operator=parts[0].operator,
        )


class Callback:
    """Base of callbacks. `after_epoch` sees the newest metrics of all seeds, each [num_seeds]; NaN once a seed stopped."""

    def before_training(self, seeds: Sequence[int], optimizer: Any) -> None:
        """Called before the first epoch of each stack of seeds; where processes share a training, by rank 0 alone."""

    def after_training(self) -> None:
        """Called once when `fit` ends, however it ends."""

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor | bool | None:
        """Called after each epoch (from 1); may return bool [num_seeds]: which seeds shall stop; or one for all."""

    def state_dict(self) -> dict[str, Any]:
        """What an exact resume needs: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""


class EarlyStopping(Callback):
    """Stop a seed after `patience` epochs in a row without a better value of `monitor`.

    Args:
        patience: epochs.
        monitor: a metric; better is lower for losses, higher for accuracies.
    """

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        self.patience, self.monitor = check_count("patience", patience, 1), _known_metric("monitor", monitor)
        self.best: Tensor | None = None
        self.waited: Tensor | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        value = _lower_is_better(self.monitor, _measured("monitor", self.monitor, metrics))
        if self.best is None or self.waited is None or epoch == 1:
            self.best, self.waited = value.clone(), torch.zeros_like(value, dtype=torch.int64)
            return torch.zeros_like(value, dtype=torch.bool)
        better = value < self.best
        self.best = torch.where(better, value, self.best)
        self.waited = torch.where(better, 0, self.waited + 1)
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["monitor"] != self.monitor:
            raise CheckpointMismatchError(f"monitor: the checkpoint's is {state['monitor']!r}, got {self.monitor!r}.")
        self.best, self.waited = state["best"], state["waited"]


class StopAt(Callback):
    """Stop a seed once a loss has come down, or an accuracy up, to a value.

    `fit` keeps the weights of the epoch that its `select` says; with "last" those of the epoch that reached the value.

    Args:
        metric: "train_loss", "train_accuracy", "val_loss" or "val_accuracy".
        value: a loss, or an accuracy as a fraction.

    >>> stop = StopAt("val_accuracy", 0.95)
    >>> stop.after_epoch(1, {"val_accuracy": torch.tensor([0.94, 0.95])})
    tensor([False,  True])
    """

    def __init__(self, metric: str, value: float) -> None:
        self.metric, self.value = _known_metric("metric", metric), check_number("value", value)
        if metric.endswith("accuracy"):
            check_probability("value", value)

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        reached = _measured("metric", self.metric, metrics)
        return reached <= self.value if self.metric.endswith("loss") else reached >= self.value


class TensorBoard(Callback):
    """Write each epoch's metrics and learning rate as event files, which `tensorboard --logdir FOLDER` shows.

    The learning rate is that of the epoch's first step, of the first group of parameters. A resumed training adds a file.

    Args:
        folder: of all runs.
        run: the folder of one run within it; {seed} stands for the seed.

    Raises:
        InputError: the package tensorboard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: str | PathLike[str], run: str = "seed-{seed}") -> None:
        check_target("tensorboard", folder, is_folder=True)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as problem:
            raise InputError(
                f"tensorboard: its package cannot be imported ({problem}); pip install tensorboard."
            ) from problem
        self._open = SummaryWriter
        self.folder, self.run = Path(folder), run
        self._writers: list[Any] = []
        self._optimizer: Any = None
        self._lr = 0.0

    def before_training(self, seeds: Sequence[int], optimizer: Any) -> None:
        self.after_training()
        self._writers = [self._open(str(self.folder / self.run.format(seed=seed))) for seed in seeds]
        self._optimizer, self._lr = optimizer, optimizer.param_groups[0]["lr"]

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> None:
        for i, writer in enumerate(self._writers):
            values = {name: float(value[i]) for name, value in metrics.items()}
            if not math.isnan(values["train_loss"]):  # the seed has stopped
                for name, value in {**values, "lr": self._lr}.items():
                    writer.add_scalar(name, value, epoch)
        if self._optimizer is not None:
            self._lr = self._optimizer.param_groups[0]["lr"]  # a scheduler has set it for the next epoch

    def after_training(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers, self._optimizer = [], None


@dataclass
class Checkpoint:
    """Where `fit` saves its state, how often, and whether it continues from it.

    To continue, the model, seeds, optimizer, splits, labels, edges, and the values of X, images and edge weights must be
    those of the file (`checkpoint.Digest` says when values count as the same: their last bits may differ between
    machines); one model without a seed takes the file's. Of the model its config, and the names, classes and `extra_repr`
    of its modules are compared: what else a class of your own computes is yours to keep. A file of gcnlab 1.0 holds no
    digest of values and modules, and one of another version may go on otherwise: a warning says so.

    Args:
        path: the file; replaced atomically.
        every: epochs between two saves; the last epoch is always saved.
        resume: continue from the file if it exists, to the bit what an uninterrupted training gives (with as many
            threads). Model, data, seeds and hyperparameters must be those of the file; `epochs` may be more, and the
            settings of callbacks may differ.
        header: JSON-able facts to keep beside the weights.
    """

    path: str | PathLike[str]
    every: int = 10
    resume: bool = False
    header: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, PathLike)):
            raise InputTypeError(f"path: got {self.path!r}, expected the name of a file.")
        check_count("every", self.every, 1)
        check_flag("resume", self.resume)


@dataclass(frozen=True)
class Consistency:
    """That random samples of a model agree at the nodes without a training label (Feng et al. 2020, section 3.2).

        Z_s = softmax of the s-th of S outputs, each with masks of its own,   Z' = mean_s Z_s sharpened,
        Z'_ic = (mean_s Z_sic)^(1/T) / sum_c' (mean_s Z_sic')^(1/T), held fixed,
        loss = mean_s cross-entropy(Z_s, y) + λ mean_s mean_i |Z_si - Z'_i|²

    The labels of these nodes i are not read, in whichever split they are; their features and edges are, as those of
    all nodes are by a GCN.

    Args:
        num_samples: S, how often a training step computes the outputs.
        weight: λ.
        temperature: T, above 0; below 1 it sharpens.
        confidence: nodes where no mean_s Z_sic is above it do not count (Feng et al. 2022, section 3.3).
        warmup: steps in which λ grows from 0 to its value.
        num_nodes: so many of the nodes, drawn anew at each step; None takes all.
        num_labelled: training nodes of a step; an epoch goes through all of them, in an order drawn anew. None takes
            all in each step.
    """

    num_samples: int = 4
    weight: float = 1.0
    temperature: float = 0.5
    confidence: float = 0.0
    warmup: int = 0
    num_nodes: int | None = None
    num_labelled: int | None = None

    def __post_init__(self) -> None:
        check_count("num_samples", self.num_samples, 1)
        check_count("warmup", self.warmup)
        for argument, count in (("num_nodes", self.num_nodes), ("num_labelled", self.num_labelled)):
            if count is not None:
                check_count(argument, count, 1)
        check_number("weight", self.weight, least=0)
        check_number("temperature", self.temperature, above=0)
        check_number("confidence", self.confidence, least=0, below=1)

    def loss(self, outputs: Sequence[Tensor], step: int) -> Tensor:
        """λ mean_s mean_i |Z_si - Z'_i|² of S logits [..., num_nodes, num_classes] in the step-th step, from 1: [...]."""
        z = torch.stack(list(outputs)).softmax(-1)
        mean = z.detach().mean(0)
        sharpened = (mean.log() / self.temperature).softmax(-1)
        distance = (z - sharpened).square().sum(-1).mean(0)
        counts = mean.amax(-1) > self.confidence
        weight = self.weight * min(1.0, step / max(self.warmup, 1))
        return weight * (distance * counts).sum(-1) / counts.sum(-1).clamp(min=1)


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
    _check_data(data)
    _check_fixed(data=data, val=val, operator=operator)
    if not callable(loss) and loss not in LOSSES:
        raise InputError(f"loss: got {loss!r}, expected one of {', '.join(LOSSES)}, or a function.")
    if select != "last":
        _known_metric("select", select)
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
    source: _NodeData | _GraphData | _SignalData | _RowData
    sampler, why = None, ""
    if isinstance(data, GraphCollection):
        source = _GraphData(data, val, loss, class_weight, check_finite, needs_val, batch_size, operator)
    elif isinstance(data, Signals):
        source = _SignalData(data, val, loss, class_weight, needs_val, batch_size)
    elif val is not None:
        raise InputError("val: a Graph has its val_mask; val goes with a GraphCollection or Signals.")
    elif isinstance(data, NodeRows):
        source = _RowData(data, loss, class_weight, check_finite, needs_val, batch_size)
    else:
        sampler, why = _choose_batching(batching, data, model, operator, progress)
        source = _NodeData(data, loss, class_weight, check_finite, needs_val, operator, consistency, sampler)
    if operator is not None and not isinstance(source, (_NodeData, _GraphData)):
        raise InputError("operator: goes with a Graph or a GraphCollection, not with NodeRows or Signals.")
    if not isinstance(source, _NodeData) and (consistency, batching) != (None, "full"):
        raise InputError("consistency, batching: go with one Graph, not with NodeRows, a GraphCollection or Signals.")
    if cuda_graph and not (isinstance(source, _NodeData) and source.is_constant and source.graph.device.type == "cuda"):
        raise InputError("cuda_graph: goes with one Graph on a CUDA device, all nodes in each step, and no warmup.")
    if consistency is not None and loss != "cross-entropy":
        raise InputError(f"consistency: goes with the loss cross-entropy, got {loss!r}.")
    if select.endswith("accuracy") and not source.objective.has_accuracy:
        raise InputError(f'select: got {select!r}, but this loss has no accuracy; select "val_loss", for one.')
    source.objective = source.objective._replace(smoothing=label_smoothing)
    is_shared = isinstance(source, (_GraphData, _SignalData)) or isinstance(sampler, NeighborSampler)
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
            ckpt.generators_kept(seed), keep(), _determinism(deterministic), _ended(callbacks),
            _single_rows_allowed(batch_size) as allow, _progress_bar(progress, epochs) as bar,
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
    with ckpt.generators_kept(), keep(), _determinism(deterministic), _ended(callbacks):
        first = model()
        # vmap runs one module with the parameters of each seed: it can have no other state, and no name twice for one.
        can_stack = not any(True for _ in first.buffers()) and len(first.state_dict()) == len(list(first.parameters()))
        size = seeds_at_once if can_stack and ranks is None else 1
        if min(size, len(seeds)) > 1 and not _alike(first, model()):
            size = 1
        groups = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        if checkpoint is not None and len(groups) > 1:
            raise InputError(
                f"checkpoint: got {len(seeds)} seeds, but one stack of at most {size} can be saved and resumed."
            )
        parts = []
        with _single_rows_allowed(batch_size) as allow, _progress_bar(progress, epochs * len(groups)) as bar:
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


def _alike(a: nn.Module, b: nn.Module) -> bool:
    """Whether what the modules hold beside their weights is the same, as far as it is tensors and plain values.

    Nothing is like a matrix of learnt values: a stack has weights of its own, which the matrix would not follow.
    """

    def same(v: Any, w: Any) -> bool:
        if isinstance(v, Graph):
            parts = v.__dict__["adjacency"], v.__dict__["x"]
            return not any(values_of(part).requires_grad for part in parts if part is not None)
        if isinstance(v, Tensor):
            return isinstance(w, Tensor) and v.shape == w.shape and torch.equal(v, w)
        if isinstance(v, SparseMatrix):
            return (
                isinstance(w, SparseMatrix)
                and not v.value.requires_grad
                and all(map(same, (v.rowptr, v.col, v.value), (w.rowptr, w.col, w.value)))
            )
        if isinstance(v, (list, tuple)):
            return isinstance(w, type(v)) and len(v) == len(w) and all(map(same, v, w))
        return v == w if isinstance(v, (bool, int, float, str)) else True

    return all(
        same(value, vars(n).get(name))
        for m, n in zip(a.modules(), b.modules(), strict=True)
        for name, value in vars(m).items()
    )


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


@contextmanager
def _ended(callbacks: Sequence[Callback]) -> Iterator[None]:
    try:
        yield
    finally:
        for callback in callbacks:
            callback.after_training()


@contextmanager
def _single_rows_allowed(batch_size: int) -> Iterator[Callable[[nn.Module], None]]:
    """Within the block, batch norms of the models that the yielded function is given normalise a single row by their
    running averages, and say so once.

    One row has no variance, and torch refuses it: after a whole epoch, where the last batch is the one that has it.
    """
    handles: list[Any] = []
    evaluated: set[nn.Module] = set()
    is_said = False

    def before(norm: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal is_said
        inputs = (*inputs, *named.values())
        if not norm.training or not inputs or inputs[0].dim() < 2 or inputs[0].numel() != inputs[0].shape[1]:
            return
        if any(count is not None for count in inputs[1:]):  # `models.BatchNorm`: the row stands for several nodes
            return
        if norm.running_mean is None:
            raise InputError(
                f"batch_size: with {batch_size}, a batch norm without running averages met a batch of a single row, which "
                "has no variance; choose another, so that each batch has two rows or more."
            )
        if not is_said:
            is_said = True
            warnings.warn(
                f"batch_size: with {batch_size}, a batch norm met a batch of a single row, which has no variance, and took "
                "its running averages for it; choose another, so that each batch has two rows or more.",
                stacklevel=2,
            )
        evaluated.add(norm.eval())

    def after(norm: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if norm in evaluated:
            evaluated.remove(norm.train())

    def allow(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after, always_call=True))

    try:
        yield allow
    finally:
        for handle in handles:
            handle.remove()


def _keeps_averages(module: nn.Module) -> bool:
    """Whether training moves the module's running averages: not those of a frozen norm, nor with a momentum of 0."""
    norm: Any = module
    is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
    return is_norm and module.training and norm.running_mean is not None and norm.momentum != 0


@contextmanager
def _averages_made_again(norms: Sequence[Any]) -> Iterator[None]:
    """Within the block, norms normalise as in training, and their running averages become those over the block's values.

    An average that follows the training is one of values that earlier weights made, and at first of where it started.
    A model is scored, and kept, with the averages that its own weights give ("precise batch norm", Wu & Johnson 2021).
    Of the model the norms alone are in training mode: nothing is dropped in an evaluation either.
    """
    sizes = dict.fromkeys(norms, 0.0)  # values of each channel so far

    def weigh(norm: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if norm.training:  # else it is given a single row
            h, *counts = (*inputs, *named.values())
            size = h.numel() / norm.num_features
            if counts and counts[0] is not None:  # `models.BatchNorm`: rows that stand for several nodes
                size = float(counts[0].sum())
            sizes[norm] += size
            norm.momentum = size / sizes[norm]

    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    handles = [norm.register_forward_pre_hook(weigh, with_kwargs=True) for norm in norms]
    try:
        for norm in norms:
            norm.train()
        yield
    finally:
        for norm, handle, (momentum, num_batches) in zip(norms, handles, before, strict=True):
            handle.remove()
            norm.eval()
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(num_batches)  # of training alone


class _Batch(NamedTuple):
    """What one step reads: the model's arguments, the rows of its output that have labels (None: all), and those.

    And the rows that shall be consistent, where any shall; and whether it counts, or stands for an empty share.
    """

    arguments: tuple[Any, ...]
    rows: Tensor | None
    y: Tensor
    unlabelled: Tensor | None = None
    counts: bool = True


class _Objective(NamedTuple):
    """The loss, how many outputs of the model it takes, whether labels are one class a row, and the classes' weights."""

    loss: Loss
    num_outputs: int
    is_of_classes: bool
    class_weight: Tensor | None
    smoothing: float = 0.0

    @classmethod
    def of(
        cls,
        loss: Loss,
        row: str,
        y: Tensor,
        val_y: Tensor | None,
        num_classes: int,
        class_names: Sequence[str] | None,
        class_weight: Tensor | None,
    ) -> _Objective:
        """Of the labels of the training and validation rows, which are nodes, graphs or images."""
        if class_weight is not None and loss != "cross-entropy":
            raise InputError('class_weight: goes with loss="cross-entropy"; a function as loss can weigh as it likes.')
        if class_weight is not None:
            class_weight = as_tensor("class_weight", class_weight, "one weight a class")
            if class_weight.shape != (num_classes,):
                raise InputError(f"class_weight: got shape {tuple(class_weight.shape)}, expected [{num_classes}].")
            if not bool(((class_weight >= 0) & (class_weight < math.inf)).all()) or not bool(class_weight.any()):
                raise InputError(
                    f"class_weight: got {class_weight.tolist()}, expected finite numbers, 0 at least, not all 0."
                )
        is_of_classes = not y.is_floating_point() and y.dim() == 1
        num_outputs = int(y.shape[1:].numel()) if y.is_floating_point() else num_classes
        if is_of_classes and (loss == "cross-entropy" or class_names is not None):  # else integers may be counts
            _warn_of_classes_without_rows(row, y, val_y, num_classes, class_names)
        return cls(loss, num_outputs, is_of_classes, class_weight)

    @property
    def has_accuracy(self) -> bool:
        """Whether an output can be right; that of a function of classes if it has a column for each of them."""
        return self.is_of_classes or self.loss == "binary"

    def check_logits(self, logits: Tensor) -> Tensor:
        if not isinstance(logits, Tensor):
            raise InputTypeError(f"model: gave a {type(logits).__name__}, expected one tensor [num_rows, num_outputs].")
        kind = "classes" if self.loss == "cross-entropy" else "targets"
        # A class that never occurs may have its logit; a function takes what its author says.
        least, most = self.num_outputs, math.inf if kind == "classes" else self.num_outputs
        if logits.dim() != 2 or not (callable(self.loss) or least <= logits.shape[1] <= most):
            raise InputError(
                f"model: gave an output of shape {tuple(logits.shape)}, expected [num_rows, num_{kind}], "
                f"and the data have {self.num_outputs} {kind}."
            )
        return logits

    def fingerprint(self) -> dict[str, Any]:
        name = getattr(self.loss, "__qualname__", type(self.loss).__name__) if callable(self.loss) else self.loss
        return {"loss": name, "label smoothing": self.smoothing}


def _warn_of_classes_without_rows(
    row: str, y: Tensor, val_y: Tensor | None, num_classes: int, class_names: Sequence[str] | None
) -> None:
    """Say which classes have no row among the training labels y, and how many validation rows are of them."""
    missing = (y.bincount(minlength=num_classes) == 0).nonzero().squeeze(1)
    if not len(missing):
        return
    names = dict(enumerate(class_names or ()))
    named = [f"{c} ({names[c]!r})" if c in names else str(c) for c in missing[:3].tolist()]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    them = "it" if len(missing) == 1 else "them"
    in_val = 0 if val_y is None else int(torch.isin(val_y, missing).sum())
    beside = f", but {in_val:,} validation {row}{'s are' if in_val > 1 else ' is'}" if in_val else ""
    warnings.warn(
        f"data: no training {row} is of class {', '.join(named)}{more}{beside}: the model cannot learn {them}. Draw the "
        "split class by class, or number the labels from 0 without gaps.",
        stacklevel=6,
    )


def _check_targets(argument: str, y: Tensor | None, row: str, num_rows: int, loss: Loss) -> Tensor:
    """`y` [num_rows, ...] as the loss takes it, or InputError."""
    is_float = y is not None and y.is_floating_point()
    if loss == "cross-entropy":
        fits = y is not None and y.dim() == 1 and not is_float
        remedy = "" if y is None else classes_remedy(y)
        expected = (
            f"one integer class per {row}, [num_{row}s]; {remedy}{', and ' * bool(remedy)}"
            'loss="binary", "mse" or "mae" takes floats'
        )
    else:
        fits = is_float or (y is not None and callable(loss))
        expected = f"floats [num_{row}s] or [num_{row}s, num_targets]; y.float() makes them of integers 0 and 1"
    if y is None or not fits or y.shape[:1] != (num_rows,):
        found = "no y" if y is None else f"y {y.dtype} of shape {tuple(y.shape)}"
        raise InputError(f"{argument}: has {found}, expected {expected}.")
    bad = (y != 0) & (y != 1) & ~y.isnan()
    if loss == "binary" and bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        raise InputError(
            f'{argument}: y has {float(y[tuple(at)]):g} at {at}, but loss="binary" takes 0, 1, and NaN where one is '
            'missing; "mse" takes any number.'
        )
    return y


@ckpt.generators_kept()
def _choose_batching(
    batching: str | Sampler,
    graph: Graph,
    model: nn.Module | Callable[[], nn.Module],
    operator: Any,
    progress: bool | None,
) -> tuple[Sampler | None, str]:
    """The sampler, None for full batches, and the reason in words."""
    if isinstance(batching, Sampler):
        return batching, f"batches of {batching!r}, as asked for"
    if batching not in ("full", "auto"):
        raise InputError(f'batching: got {batching!r}, expected "full", "auto" or a sampler of gcnlab.scale.')
    if batching == "full" or not isinstance(graph, Graph) or graph.x is None:
        return None, "full batch, as asked for"
    one = model if isinstance(model, nn.Module) else model()
    free, needed = available_memory(), estimate_full_batch(graph, one)
    compared = f"a step on all of the graph needs {needed / 2**20:,.0f} MiB"
    compared += ", and what is free is unknown" if free is None else f" of {free / 2**20:,.0f} MiB free"
    sampler, why = None, f"full batch: {compared}"
    if free is not None and needed > 0.5 * free:
        num_layers: Any = one.num_layers if hasattr(one, "layer") else _num_operators(one)
        if num_layers is None:
            raise InputError(
                f"batching: {compared}, more than half, and how many products with Â {type(one).__name__} has is not "
                "known; pass scale.NeighborSampler(graph, fan_outs), with a fan-out for each."
            )
        if operator is None and "a_hat" not in (kinds := _kinds_for(one, stacklevel=5)):
            operator = graph.matrix(kinds[0])
        sampler = NeighborSampler(graph, (10,) * num_layers, operator=operator)
        why = f"batches of {sampler!r}: {compared}, more than half"
    if progress is not False:
        tell(why)
    return sampler, why


def _check_data(data: Any) -> None:
    """Raise InputTypeError, with the call that makes it, for what is not data to train on or to predict."""
    if isinstance(data, (Graph, GraphCollection, Signals, NodeRows)):  # a GraphBatch is a Graph
        return
    remedy = ""
    if isinstance(data, ImageSet):
        remedy = (
            " Signals(data.train_images, data.train_labels, data.grid()) are its training images for a grid network, and "
            "without the grid for a CNN."
        )
    elif hasattr(data, "__array__"):
        remedy = (
            " Signals(images, labels, grid) has images for a grid network, and without the grid for a CNN; "
            "Graph(adjacency, x, labels) has the features of nodes."
        )
    elif isinstance(data, (list, tuple)):
        remedy = " GraphCollection.from_graphs makes one of a list of graphs."
    raise InputTypeError(
        f"data: got {type(data).__name__}, expected a Graph, a GraphBatch, a GraphCollection, Signals or NodeRows.{remedy}"
    )


def _shared_classes(train: GraphCollection | Signals, val: GraphCollection | Signals) -> Sequence[Any] | None:
    """The class names of the training, if val has names of its own that are in another order, or only some of them."""
    names, own = train.class_names, val.class_names
    if names is None or own is None or tuple(own) == tuple(names):
        return None
    if val.y.is_floating_point():
        raise InputError(f"val: its targets are {some(own)}, and those of data {some(names)}; give both the same.")
    if unknown := [own[label] for label in val.y.unique().tolist() if label >= 0 and own[label] not in names]:
        raise InputError(f"val: has the class {unknown[0]!r}, which is not among those of data: {some(names)}.")
    return names


def _check_fixed(**given: Any) -> None:
    """Raise InputError for features or weights that require a gradient: fit trains the parameters of the model alone."""
    for argument, data in given.items():
        graph = data.whole if isinstance(data, GraphCollection) else data.graph if isinstance(data, NodeRows) else data
        parts = {argument: graph}
        if isinstance(graph, Graph):  # a Grid may not have made its A
            parts = {f"{argument}: A": graph.__dict__["adjacency"], f"{argument}: x": graph.x}
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


def _check_known(graph: Graph, y: Tensor) -> None:
    """Raise InputError for a mask of whose nodes no target in y [num_nodes, ...] is known."""
    for key in ("train_mask", "val_mask"):
        mask = getattr(graph, key)
        if mask is not None and bool(y[mask].isnan().all()):
            raise InputError(f"{key}: of its nodes no target is known, all are NaN.")


class _NodeData:
    """Training and validation on one graph: on all nodes that the model needs, or on batches of a sampler."""

    def __init__(
        self,
        graph: Graph,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        operator: Any,
        consistency: Consistency | None,
        sampler: Sampler | None,
    ) -> None:
        check_one_graph("data", graph)
        if graph.x is None:
            raise InputError('graph: has no x; make one with graph.with_features("identity").')
        y = _check_targets("graph", graph.y, "node", graph.num_nodes, loss)
        for key in ("train_mask", *(["val_mask"] if needs_val else [])):
            if getattr(graph, key) is None:
                raise InputError(
                    f'graph: has no {key}; give one, or select="last" where there is nothing to select on.'
                    if key == "val_mask"
                    else "graph: has no train_mask, which says on which nodes to train."
                )
        _check_known(graph, y)
        if check_finite:
            check_features_finite(graph.x)
        self.graph, self.y, self.sampler = graph, y, sampler
        if sampler is not None:
            if sampler.graph is not graph:
                raise InputError("batching: the sampler is of another graph than data; make it of this one.")
            if operator is not None and operator is not sampler.operator:
                raise InputError(
                    "operator: with a sampler as batching give it to the sampler, which draws from its rows."
                )
            if consistency is not None:
                raise InputError('consistency: goes with batching="full", not with a sampler.')
        self.operator = None if operator is None else _check_operator(graph, operator)
        self.kind = ""
        self.consistency = consistency
        assert graph.train_mask is not None
        num_labelled = None if consistency is None else consistency.num_labelled
        num_targets = int(graph.train_mask.sum())
        self.num_batches = (
            sampler.num_batches(num_targets)
            if sampler is not None
            else -(-num_targets // (num_labelled or num_targets))
        )
        self.batch_size = -(-num_targets // self.num_batches)
        self.unlabelled = (~graph.train_mask).nonzero().squeeze(1)
        if consistency is not None and not len(self.unlabelled):
            raise InputError("consistency: every node is in the train_mask, none is left to be consistent at.")
        self.objective = _Objective.of(
            loss, "node", y[graph.train_mask], None if graph.val_mask is None else y[graph.val_mask],
            graph.num_classes, graph.class_names, class_weight,
        )  # fmt: skip
        self.has_val = graph.val_mask is not None
        self._parts: dict[tuple[str, int | None], list[_Batch]] = {}

    def choose_operator(self, model: nn.Module) -> None:
        """The matrix that the model is called with, and its kind."""
        if self.kind:  # of the stack of seeds before
            return
        sampler = self.sampler
        draws = isinstance(sampler, NeighborSampler | RandomNodeSampler)  # rows of Â, where they are given no matrix
        operator = sampler.operator if sampler is not None and draws else self.operator
        if operator is not None:
            self.kind = _kind_of(self.graph, operator)
            _warn_of_layers(model, operator, stacklevel=7)
            return
        kinds = _kinds_for(model, stacklevel=6)
        if draws and "a_hat" not in kinds:
            raise InputError(
                f"batching: {sampler!r} draws rows of graph.a_hat, but {type(model).__name__} is called with "
                f"{how_to_make(kinds[0])}; give the sampler operator={how_to_make(kinds[0])}."
            )
        self.kind = "a_hat" if draws else kinds[0]
        if sampler is None:
            self.operator = self.graph.matrix(self.kind)

    @property
    def is_constant(self) -> bool:
        """Whether all steps read the same nodes and weigh them alike."""
        consistency = self.consistency
        return not self.is_sampled and self.sampler is None and (consistency is None or consistency.warmup == 0)

    @property
    def is_sampled(self) -> bool:
        c = self.consistency
        return c is not None and (c.num_nodes is not None or c.num_labelled is not None)

    def batches(self, split: str, model: nn.Module) -> Iterable[_Batch]:
        key = (split, _num_operators(model))
        if key in self._parts:
            return self._parts[key]
        rows = getattr(self.graph, f"{split}_mask").nonzero().squeeze(1)
        if self.sampler is not None:
            return self._sampled(self.sampler, split, rows, model)
        if split == "train" and self.is_sampled:
            assert self.consistency is not None
            if self.consistency.num_labelled is not None:
                rows = rows[torch.randperm(len(rows), device=rows.device)]
            return (self._batch(split, part, model) for part in rows.split(self.consistency.num_labelled or len(rows)))
        self._parts[key] = [self._batch(split, rows, model)]
        return self._parts[key]

    def _sampled(self, sampler: Sampler, split: str, rows: Tensor, model: nn.Module) -> Iterator[_Batch]:
        num_layers = _num_operators(model)
        if isinstance(sampler, NeighborSampler):
            if num_layers is not None and num_layers > len(sampler.fan_outs):
                raise InputError(
                    f"batching: {sampler!r} has {len(sampler.fan_outs)} fan-outs, but the model {num_layers} layers; "
                    "give one for each."
                )
            if split == "train":
                for share, counts in distributed.shares(len(rows), sampler.batch_size):
                    yield self._of_part(sampler.sample(rows[share]), num_layers, model, counts)
                return
            for i, part in distributed.mine(list(enumerate(rows.split(sampler.batch_size)))):
                same_draws = torch.Generator().manual_seed(i)
                yield self._of_part(sampler.sample(part, same_draws), num_layers, model)
            return
        same = torch.Generator().manual_seed(0) if split == "val" else None
        for subgraph in sampler.batches(rows, same):
            yield self._of_part(subgraph, num_layers, model)

    def _of_part(self, part: Subgraph, num_layers: int | None, model: nn.Module, counts: bool = True) -> _Batch:
        part = part.to(next((p.device for p in model.parameters()), part.device))  # of a graph in the CPU's memory
        assert part.y is not None
        y, operator = part.y[part.targets], part.a_hat if part.operator is not None else part.matrix(self.kind)
        if num_layers is None:
            return _Batch((part.x, operator), part.targets, y, counts=counts)
        field = part.receptive_field(part.targets, num_layers, operator)
        return _Batch((field.x, field.a_hat), None, y, counts=counts)

    def _batch(self, split: str, rows: Tensor, model: nn.Module) -> _Batch:
        graph, unlabelled = self.graph, None
        num_layers = _num_operators(model) if isinstance(self.operator, SparseMatrix) else None  # else it has no rows
        if split == "train" and self.consistency is not None:
            unlabelled, size = self.unlabelled, self.consistency.num_nodes
            if size is not None:
                unlabelled = unlabelled[torch.randperm(len(unlabelled), device=unlabelled.device)[:size]]
        y = self.y[rows]
        if num_layers is None:
            batch = _Batch((graph.x, self.operator), rows, y, unlabelled)
        elif unlabelled is None:
            part = graph.receptive_field(rows, num_layers, self.operator)
            batch = _Batch((part.x, part.a_hat), None, y)
        else:
            part = graph.receptive_field(torch.cat([rows, unlabelled]), num_layers, self.operator)
            labelled, others = torch.arange(len(part.nodes), device=rows.device).tensor_split([len(rows)])
            batch = _Batch((part.x, part.a_hat), labelled, y, others)
        x = batch.arguments[0]
        if split == "train" and x.shape[0] >= LARGE_GRAPH and x.device.type == "cpu":
            there = sum(
                t.nbytes for t in tree_iter((batch.arguments, list(model.parameters()))) if isinstance(t, Tensor)
            )
            check_fits(
                "graph", f"a training step on {x.shape[0]:,} nodes",
                estimate_step(model, *batch.arguments) - there, 0.9,
                'fewer hidden_channels or layers need less, so does a graph in bfloat16, and batching="auto" takes batches.',
            )  # fmt: skip
        return batch

    def fingerprint(self) -> dict[str, Any]:
        graph, matrix = self.graph, self.graph.adjacency
        # Not the values of X and A: sums on another device or number of threads may differ in their last bits.
        weight = self.objective.class_weight
        tensors = [matrix.rowptr, matrix.col, self.y, graph.train_mask, graph.val_mask, weight]
        operator = self.operator if self.sampler is None else self.sampler.operator
        if isinstance(operator, SparseMatrix) and self.kind != "a_hat":
            tensors += [operator.rowptr, operator.col]
        return {
            **self.objective.fingerprint(),
            "operator": None if self.kind in ("a_hat", OWN) else self.kind,
            "consistency": repr(self.consistency),
            "batching": repr(self.sampler),
            "shape of x": None if graph.x is None else graph.x.shape,
            "sha256 of graph, labels, masks and class weights": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        sampler = self.sampler
        operator = self.operator if sampler is None else sampler.operator
        return {
            "values of x": ckpt.tensors_of(self.graph.x),
            "edge weights": [self.graph.adjacency.value],
            "values of the operator": ckpt.tensors_of(None if self.kind == "a_hat" else operator),
            "parts of the sampler": ckpt.tensors_of(getattr(sampler, "parts", None)),
        }


class _GraphData:
    """Batches of graphs: those that train are shuffled anew each epoch, those that select are cut out once."""

    def __init__(
        self,
        train: GraphCollection,
        val: GraphCollection | Signals | None,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        batch_size: int,
        operator: Callable[[GraphBatch], Any] | None,
    ) -> None:
        if needs_val and val is None:
            raise InputError('val: got none; give a GraphCollection, or select="last" where nothing selects.')
        for name, graphs in (("data", train), ("val", val)):
            if graphs is None:
                continue
            if not isinstance(graphs, GraphCollection):
                raise InputTypeError(f"{name}: got {type(graphs).__name__}, expected a GraphCollection.")
            if not len(graphs):
                raise InputError(f"{name}: has no graph.")
            if graphs.whole.x is None:
                raise InputError(f'{name}: the graphs have no x; load them with features="degree", for one.')
            if check_finite:
                check_features_finite(graphs.whole.x)
            y = _check_targets(name, graphs.y, "graph", len(graphs), loss)
            if bool(y.isnan().all()):
                raise InputError(f"{name}: of its graphs no target is known, all are NaN.")
            if y.shape[1:] != train.y.shape[1:]:
                raise InputError(f"{name}: has y of shape {tuple(y.shape)}, but data of {tuple(train.y.shape)}.")
        assert val is None or isinstance(val, GraphCollection)
        val = None if val is None else val.in_classes(_shared_classes(train, val))
        self.operator, self.kind = _check_function(operator), ""
        self.train, self.val, self.batch_size = train, val, batch_size
        self.num_batches = -(-len(train) // batch_size)
        num_classes = max(graphs.num_classes for graphs in (train, val) if graphs is not None)
        self.objective = _Objective.of(
            loss, "graph", train.y, None if val is None else val.y, num_classes, train.class_names, class_weight
        )
        self.has_val = val is not None
        self._val: list[_Batch] = []

    def choose_operator(self, model: nn.Module) -> None:
        """The kind of the matrix that the model is called with."""
        if self.kind:  # of the stack of seeds before
            return
        if self.operator is None:
            self.kind = _kinds_for(model, stacklevel=6)[0]
            return
        with ckpt.generators_kept():  # the function may draw, and the training shall not notice
            matrix = self.operator(self.train.batch([0]))
        self.kind = (matrix.kind if isinstance(matrix, SparseMatrix) else None) or OWN
        _warn_of_layers(model, matrix, stacklevel=7)

    def batches(self, split: str, model: nn.Module) -> Iterable[_Batch]:
        merges = self.operator is None and self.kind == "a_hat" and getattr(model, "merges_nodes", False)
        if split == "train":
            train = self.train.merged() if merges else self.train
            shares, counts = zip(*distributed.shares(len(train), self.batch_size), strict=True)
            return map(self._arguments, GraphLoader(train, batch_sampler=shares, kind=self._cut_out), counts)
        if not self._val and self.val is not None:
            val = self.val.merged() if merges else self.val
            batches = distributed.mine(torch.arange(len(val)).split(self.batch_size))
            loader = GraphLoader(val, batch_sampler=batches, kind=self._cut_out)
            self._val = [self._arguments(graphs) for graphs in loader]
        return self._val

    @property
    def _cut_out(self) -> str:
        return "a_hat" if self.kind == OWN else self.kind

    def _arguments(self, graphs: GraphBatch, counts: bool = True) -> _Batch:
        assert graphs.y is not None
        matrix = graphs.matrix(self.kind) if self.operator is None else self.operator(graphs)
        return _Batch((graphs.x, matrix, graphs.p), None, graphs.y, counts=counts)

    def fingerprint(self) -> dict[str, Any]:
        whole = self.train.whole
        parts = [part for graphs in (self.train, self.val) if graphs is not None for part in (graphs.ids, graphs.y)]
        tensors = [whole.adjacency.rowptr, whole.adjacency.col, self.objective.class_weight, *parts]
        operator = getattr(self.operator, "__qualname__", str(self.operator)) if self.kind == OWN else self.kind
        return {
            **self.objective.fingerprint(),
            "shape of x": None if whole.x is None else whole.x.shape,
            "batch size": self.batch_size,
            "operator": None if self.operator is None and self.kind == "a_hat" else operator,
            "sha256 of graphs, labels, splits and class weights": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        found = {}
        for part, graphs in (("data", self.train), ("val", self.val)):
            if graphs is not None:
                whole = graphs.whole
                found[f"sizes of the graphs of {part}"] = [graphs.sizes]
                if part == "data" or whole is not self.train.whole:
                    found[f"values of x of {part}"] = ckpt.tensors_of(whole.x)
                    found[f"edges and their weights of {part}"] = ckpt.tensors_of(whole.adjacency)
        return found


class _SignalData:
    """Batches of images: those that train are shuffled anew each epoch and augmented."""

    kind = ""  # of the operator; a grid has its own

    def __init__(
        self,
        train: Signals,
        val: GraphCollection | Signals | None,
        loss: Loss,
        class_weight: Tensor | None,
        needs_val: bool,
        batch_size: int,
    ) -> None:
        if needs_val and val is None:
            raise InputError('val: got none; give Signals, or select="last" where nothing selects.')
        if val is not None and not isinstance(val, Signals):
            raise InputTypeError(f"val: got {type(val).__name__}, expected Signals.")
        val = None if val is None else val.in_classes(_shared_classes(train, val))
        for name, signals in (("data", train), ("val", val)):
            if signals is not None:
                y = _check_targets(name, signals.y, "image", len(signals), loss)
                if bool(y.isnan().all()):
                    raise InputError(f"{name}: of its images no target is known, all are NaN.")
                if y.shape[1:] != train.y.shape[1:]:
                    raise InputError(f"{name}: has y of shape {tuple(y.shape)}, but data of {tuple(train.y.shape)}.")
        self.train, self.val, self.batch_size = train, val, batch_size
        self.num_batches = -(-len(train) // batch_size)
        num_classes = max(signals.num_classes for signals in (train, val) if signals is not None)
        self.objective = _Objective.of(
            loss, "image", train.y, None if val is None else val.y, num_classes, None, class_weight
        )
        self.has_val = val is not None

    def batches(self, split: str, model: nn.Module) -> Iterable[_Batch]:
        if split == "train":
            return (self._batch(self.train, *share) for share in distributed.shares(len(self.train), self.batch_size))
        val = self.val
        assert val is not None
        return (self._batch(val, ids) for ids in distributed.mine(torch.arange(len(val)).split(EVALUATION_BATCH)))

    def _batch(self, signals: Signals, ids: Tensor, counts: bool = True) -> _Batch:
        ids = ids.to(signals.y.device)
        return _Batch(signals.inputs(ids, signals is self.train), None, signals.y[ids], counts=counts)

    def fingerprint(self) -> dict[str, Any]:
        tensors = [part for signals in (self.train, self.val) if signals is not None for part in (signals.x, signals.y)]
        return {
            **self.objective.fingerprint(),
            "augmentation": repr(self.train.augment),
            "batch size": self.batch_size,
            "sha256 of images, labels and class weights": ckpt.sha256_of_tensors(
                [*tensors, self.objective.class_weight]
            ),
        }

    def tensors(self) -> dict[str, list[Tensor]]:  # the images are in the fingerprint
        grids = {"data": self.train.grid, "val": None if self.val is None else self.val.grid}
        return {
            f"size of the grid of {part} and neighbours of a node": [torch.tensor([*grid.shape, grid.connectivity])]
            for part, grid in grids.items()
            if grid is not None
        }


class _RowData:
    """Batches of nodes whose features were made beforehand, shuffled anew each epoch."""

    kind = ""  # of the operator: the model takes none

    def __init__(
        self,
        data: NodeRows,
        loss: Loss,
        class_weight: Tensor | None,
        check_finite: bool,
        needs_val: bool,
        batch_size: int,
    ) -> None:
        graph = data.graph
        self.y = _check_targets("data", graph.y, "node", graph.num_nodes, loss)
        if needs_val and graph.val_mask is None:
            raise InputError('data: its graph has no val_mask; give one, or select="last" where nothing selects.')
        _check_known(graph, self.y)
        if check_finite:
            data.check_finite()
        self.data, self.batch_size, self.has_val = data, batch_size, graph.val_mask is not None
        self.num_known = len(data.train_ids) // 2 if data.label_hops else 0  # labels that an epoch reads and learns not
        self.num_batches = -(-(len(data.train_ids) - self.num_known) // batch_size)
        self.objective = _Objective.of(
            loss, "node", self.y[graph.train_mask], None if graph.val_mask is None else self.y[graph.val_mask],
            graph.num_classes, graph.class_names, class_weight,
        )  # fmt: skip
        self._val_labels: list[Tensor] | None = None

    def batches(self, split: str, model: nn.Module) -> Iterable[_Batch]:
        data = self.data
        if split == "train":
            order = data.train_ids[torch.randperm(len(data.train_ids))]
            labels, ids = data.labels(order[: self.num_known]), order[self.num_known :]
            parts = ids.tensor_split(self.num_batches)  # of one size or nearly: a batch norm takes no single row
        else:
            if self._val_labels is None:
                self._val_labels = data.labels(data.train_ids)
            assert data.graph.val_mask is not None
            labels, parts = self._val_labels, data.graph.val_mask.nonzero().squeeze(1).split(EVALUATION_ROWS)
        return (_Batch((data.inputs(part, labels),), None, self.y[part.to(self.y.device)]) for part in parts)

    def fingerprint(self) -> dict[str, Any]:
        data, graph = self.data, self.data.graph
        tensors = [self.y, graph.train_mask, graph.val_mask, self.objective.class_weight]
        if data.operator is not None:
            tensors += [data.operator.rowptr, data.operator.col]
        return {
            **self.objective.fingerprint(),
            "shapes of the features": [f.shape for f in data.features],
            "label hops": data.label_hops,
            "batch size": self.batch_size,
            "sha256 of labels, masks, class weights and operator": ckpt.sha256_of_tensors(tensors),
        }

    def tensors(self) -> dict[str, list[Tensor]]:
        return {
            **{f"values of the features {k}": [f] for k, f in enumerate(self.data.features)},
            "values of the operator": ckpt.tensors_of(self.data.operator),
        }


def _train(
    models: list[nn.Module],
    seeds: list[int],
    data: _NodeData | _GraphData | _SignalData | _RowData,
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
    if isinstance(data, _NodeData | _GraphData):
        data.choose_operator(model)
    consistency = data.consistency if isinstance(data, _NodeData) else None
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

    opt = optimizer(_groups(params, weight_decay), lr=lr)
    _takes_steps_alone(opt)
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
        settings = _settings(model, seeds, data, select, average, precision, clip_norm, opt, schedule, callbacks)
    replica, num_processes = None, 1
    if ranks is not None:
        num_processes = ranks.size
        ranks.meet()
        drawn_by_first = ranks.of_first(seeds if is_drawn else None)
        if is_drawn and drawn_by_first is not None:
            seeds = settings["seeds"] = drawn_by_first
            ckpt.set_seed(seeds[0])
        ranks.check_same(settings | digests | _facts(model, data, epochs))
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

    def step(batch: _Batch) -> tuple[dict[str, Any], dict[str, Tensor]]:  # gradients, and what _score says
        opt.zero_grad()
        counts, scored = _score_samples(forward, batch, objective, consistency, num_steps)
        loss = scored["loss"].sum()
        if ranks is not None and replica is not None:
            factor, counts, scored = _over_ranks(ranks, batch, counts, scored)
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
        step = _Recorded(step)

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
        _check_finite(epoch, seeds, active, {f"the weight {name}": value for name, value in current().items()})
        rng, *others = [ckpt.rng_state()] if ranks is None else ranks.gather_objects(ckpt.rng_state())
        header = {
            **checkpoint.header, "model": settings["model"], "seeds": seeds, "epoch": epoch, "settings": settings,
            "processes": num_processes, "operator": data.kind, "versions": _versions(), "modules": _modules(model),
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
        if made_with == _versions():  # another torch may print modules otherwise
            modules = header.get("modules")
            found |= modules if isinstance(modules, dict) else {"modules": modules}
            expected |= _modules(model)
        elif made_with is not None:
            warnings.warn(
                f"{checkpoint.path}: was written with {made_with}, and goes on with {_versions()}: its numbers may not be "
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
        norms: list[Any] = [module for module in model.modules() if _keeps_averages(module)]
        last_batches: deque[_Batch] = deque(maxlen=num_averaged)
        scores = _Mean()
        for batch in data.batches("train", model):
            num_steps += 1
            counts, scored = step(batch)
            # A frozen weight may still have the gradient of an earlier training.
            used = {name: p.grad for name, p in params.items() if p.requires_grad and p.grad is not None}
            grads = {f"the gradient of {name}": grad for name, grad in used.items()}
            if not stacked:
                grads = {name: grad.unsqueeze(0) for name, grad in grads.items()}
            _check_finite(
                epoch, seeds, active, {"the training loss": scored["loss"], **grads},
                ranks, () if replica is None else replica.own,
            )  # fmt: skip
            if clip_norm is not None:
                _clip(list(grads.values()), clip_norm)
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
            with _averages_made_again(norms):
                for batch in last_batches:
                    forward(batch.arguments)
            if ranks is not None:
                ranks.share_tensors([average for norm in norms for average in (norm.running_mean, norm.running_var)])
            if data.has_val:
                scores = _Mean()
                for batch in data.batches("val", model):
                    scores.add(*_score(forward(batch.arguments), batch, objective._replace(smoothing=0.0)))
                own = tuple(scores.sums.values())
                scores = scores if ranks is None else _Mean.of(ranks.gather_objects(scores.cpu()))
                metrics.update({f"val_{name}": value for name, value in scores.value().items()})
                _check_finite(epoch, seeds, active, {"the validation loss": metrics["val_loss"]}, ranks, own)
            metrics = {name: value.cpu() for name, value in metrics.items()}
            if schedule is not None and reads_loss:
                schedule.step(float(metrics["val_loss" if data.has_val else "train_loss"]))
            last = select == "last"
            value = (
                -torch.full((num_seeds,), float(epoch))
                if last
                else _lower_is_better(select, _measured("select", select, metrics))
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
    _check_finite(
        len(epoch_seconds), seeds, torch.ones_like(active), {f"the kept weight {k}": v for k, v in kept.items()}
    )
    model.eval()
    return History(list(seeds), table(), best_epoch, kept, epoch_seconds, operator=data.kind)


def _clip(grads: Sequence[Tensor], most: float) -> None:
    """Scale the gradients [num_seeds, ...] of each seed, in place, to a common norm of at most `most`."""
    norm = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
    factor = (most / norm.clamp(min=most)).to(grads[0].dtype)
    for grad in grads:
        grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))


class _Recorded:
    """A training step on one batch as a CUDA graph: its kernels run again, on the memory of the recorded run."""

    def __init__(self, step: Callable[[_Batch], tuple[dict[str, Any], dict[str, Tensor]]]) -> None:
        self.step = step
        self.graph: Any = None

    def __call__(self, batch: _Batch) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if self.graph is None:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # what is made at a first run is made before the recording
                for _ in range(3):
                    self.step(batch)
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = self.step(batch)
        self.graph.replay()
        return self.result


def _groups(params: Mapping[str, Tensor], weight_decay: float | Mapping[str, float] | None) -> list[dict[str, Any]]:
    """Groups of the parameters that are not frozen, one a value of the weight decay."""
    trained = {name: p for name, p in params.items() if p.requires_grad}
    if weight_decay is None:
        return [{"params": list(trained.values())}]
    for value in weight_decay.values() if isinstance(weight_decay, Mapping) else (weight_decay,):
        check_number("weight_decay", value, least=0)
    if not isinstance(weight_decay, Mapping):
        return [{"params": list(trained.values()), "weight_decay": weight_decay}]
    for part in weight_decay:
        if not any(_is_in(name, part) for name in params):
            raise InputError(f"weight_decay: {part!r} is no part of the model, which has {', '.join(params)}.")
    groups: dict[float, list[Tensor]] = {}
    for name, p in trained.items():
        decay = next((value for part, value in weight_decay.items() if _is_in(name, part)), 0.0)
        groups.setdefault(decay, []).append(p)
    return [{"params": group, "weight_decay": decay} for decay, group in groups.items()]


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _settings(
    model: nn.Module,
    seeds: list[int],
    data: _NodeData | _GraphData | _SignalData | _RowData,
    select: str,
    average: float,
    precision: str,
    clip_norm: float | None,
    opt: Any,
    schedule: Any,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    """What two trainings must have in common for one to continue the other, in the form that JSON gives back."""
    settings = {
        "model": ckpt.describe(model), "seeds": seeds, "select": select, "average": average, "precision": precision,
        "clip_norm": clip_norm, **data.fingerprint(),
        "optimizer": type(opt).__name__, "scheduler": type(schedule).__name__,
        "callbacks": [type(callback).__name__ for callback in callbacks],
        "frozen weights": [name for name, p in model.named_parameters() if not p.requires_grad],
    }  # fmt: skip
    for i, group in enumerate(opt.param_groups):
        settings |= {f"{key} of parameter group {i}": value for key, value in group.items() if key != "params"}
    if schedule is not None:
        settings |= {f"{key} of the scheduler": value for key, value in schedule.state_dict().items()}
    return json.loads(json.dumps(settings, default=str))


def _modules(model: nn.Module) -> dict[str, str]:
    """What each module of the model says of itself."""
    return {
        f"module {name}".strip(): re.sub(" at 0x[0-9a-f]+", "", f"{type(module).__name__}({module.extra_repr()})")
        for name, module in model.named_modules()
    }


def _versions() -> dict[str, str]:
    return {"gcnlab": __version__, "torch": torch.__version__}


def _facts(model: nn.Module, data: _NodeData | _GraphData | _SignalData | _RowData, epochs: int) -> dict[str, Any]:
    """What, beside `_settings`, the ranks of one training must have in common."""
    return {
        "epochs": epochs, "batches in an epoch": data.num_batches,
        **{f"the shape of {name}": tuple(p.shape) for name, p in model.named_parameters()},
    }  # fmt: skip


class _Mean:
    """The means over batches of values [num_seeds], each weighted by what it is a mean over in its batch."""

    def __init__(self, counts: Mapping[str, Any] | None = None, sums: Mapping[str, Tensor] | None = None) -> None:
        self.counts, self.sums = dict(counts or {}), dict(sums or {})

    def add(self, counts: Mapping[str, Any], values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach() * counts[name]
            self.counts[name] = self.counts.get(name, 0) + counts[name]

    def value(self) -> dict[str, Tensor]:
        return {name: total / (self.counts[name] or 1) for name, total in self.sums.items()}

    def cpu(self) -> _Mean:
        counts = {name: float(count) for name, count in self.counts.items()}
        return _Mean(counts, {name: total.cpu() for name, total in self.sums.items()})

    @staticmethod
    def of(parts: Sequence[_Mean]) -> _Mean:
        """The means over the batches of all parts, of which some may be empty."""
        whole = _Mean()
        for part in parts:
            for name, total in part.sums.items():
                whole.sums[name] = whole.sums.get(name, 0) + total
                whole.counts[name] = whole.counts.get(name, 0) + part.counts[name]
        return whole


def _over_ranks(
    ranks: distributed.Ranks, batch: _Batch, counts: Mapping[str, Any], scored: Mapping[str, Tensor]
) -> tuple[float, dict[str, Any], dict[str, Tensor]]:
    """What `_score` says of a whole batch, from what it says of each rank's share; of one seed.

    And first the factor of this rank's loss, so that the mean of the gradients over the ranks is that of the batch.
    """
    sizes = {name: float(counts[name]) if batch.counts else 0.0 for name in scored}
    own = torch.tensor(
        [list(sizes.values()), [float(value.detach()) for value in scored.values()]], dtype=torch.float64
    )
    sizes_of, values = ranks.gather(own).unbind(1)  # [num_ranks, num_scores]; the loss comes first
    totals = sizes_of.sum(0)
    means = (sizes_of * values).sum(0) / torch.where(totals == 0, 1, totals)
    factor = ranks.size * sizes["loss"] / (float(totals[0]) or 1.0)
    whole = {name: mean.to(scored[name]).view(1) for name, mean in zip(scored, means, strict=True)}
    return factor, dict(zip(scored, totals.tolist(), strict=True)), whole


def _score_samples(
    forward: Callable[[tuple[Any, ...]], Tensor],
    batch: _Batch,
    objective: _Objective,
    consistency: Consistency | None,
    step: int,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`_score` of one output, or with consistency the mean over its samples, the loss with its term."""
    if consistency is None:
        return _score(forward(batch.arguments), batch, objective)
    outputs = [forward(batch.arguments) for _ in range(consistency.num_samples)]
    counts, scores = zip(*(_score(logits, batch, objective) for logits in outputs), strict=True)
    scored = {name: torch.stack([score[name] for score in scores]).mean(0) for name in scores[0]}
    scored["loss"] = scored["loss"] + consistency.loss([logits[:, batch.unlabelled] for logits in outputs], step)
    return counts[0], scored


def _score(logits: Tensor, batch: _Batch, objective: _Objective) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The mean loss and (where it has one) accuracy for each seed, [num_seeds], and what each is a mean over.

    That is the number of rows or of known targets; or of a weighted loss, the sum of the weights.

    logits: [num_seeds, num_rows, num_outputs].
    """
    y, (loss, num_outputs, is_of_classes, weight, smoothing) = batch.y, objective
    if batch.rows is not None:
        logits = logits[:, batch.rows]
    if logits.shape[1] != len(y):
        raise InputError(f"model: gave {logits.shape[1]} rows of output for {len(y)} labels, expected one a label.")
    if callable(loss):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # of 16 bits under autocast
        y = y.to(logits.dtype) if y.is_floating_point() else y  # torch's own losses take one dtype
        each = [loss(of_seed, y) for of_seed in logits]
        if not all(isinstance(losses, Tensor) and losses.shape == y.shape[:1] for losses in each):
            found = f"shape {tuple(each[0].shape)}" if isinstance(each[0], Tensor) else f"a {type(each[0]).__name__}"
            raise InputError(f'loss: gave {found}, expected [{len(y)}], one loss a row (reduction="none" in torch).')
        scored = {"loss": torch.stack(each).mean(-1)}
        if is_of_classes and logits.shape[-1] >= max(2, num_outputs):
            scored["accuracy"] = _share_of_right(logits, y)
        return dict.fromkeys(scored, len(y)), scored
    if loss != "cross-entropy":
        return _score_targets(logits, y.reshape(len(y), -1), loss)
    log_p = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    nll = -log_p.gather(-1, y.expand(logits.shape[0], -1).unsqueeze(-1)).squeeze(-1)  # [num_seeds, num_rows]
    if smoothing:
        nll = (1 - smoothing) * nll - smoothing * log_p.mean(-1)
    counts: dict[str, Any] = {"loss": len(y), "accuracy": len(y)}
    if weight is None:
        losses = nll.mean(-1)
    else:
        w = weight.to(nll)[y]
        counts["loss"] = w.sum()
        # A batch may have classes without weight alone; it does not count.
        losses = (nll * w).sum(-1) / counts["loss"].clamp(min=torch.finfo(w.dtype).tiny)
    return counts, {"loss": losses, "accuracy": _share_of_right(logits, y)}


def _share_of_right(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.detach().argmax(-1) == y).double().mean(-1)  # [num_seeds]


def _score_targets(out: Tensor, y: Tensor, loss: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The same for targets y [num_rows, num_targets], NaN where missing; out [num_seeds, num_rows, num_targets]."""
    known = ~y.isnan()
    out = out[:, known].to(torch.promote_types(out.dtype, torch.float32))  # [num_seeds, num_known]
    target = y[known].to(out.dtype)  # [num_known]
    if loss == "binary":
        losses = -F.logsigmoid(torch.where(target == 1, out, -out))
        scores = {"loss": losses, "accuracy": ((out.detach() > 0) == (target == 1)).double()}
    else:
        scores = {"loss": (out - target).square() if loss == "mse" else (out - target).abs()}
    # A batch without a known target has a loss of 0, which does not count.
    means = {name: score.sum(-1) / max(len(target), 1) for name, score in scores.items()}
    return dict.fromkeys(means, len(target)), means


def _check_finite(
    epoch: int,
    seeds: list[int],
    active: Tensor,
    tensors: Mapping[str, Tensor],
    ranks: distributed.Ranks | None = None,
    own: Sequence[Tensor] = (),
) -> None:
    """Raise NonFiniteError with the first of `tensors` [num_seeds, ...] that is not finite for a seed in training.

    Of several ranks, `tensors` are the same on all, and `own` what each of them had before: says on which it is not
    finite.
    """
    # One norm of all is the fastest look at them; where it overflows, the exact one below finds nothing.
    floats = [tensor.detach() for tensor in tensors.values() if tensor.is_floating_point()]
    if bool(torch.isfinite(torch.nn.utils.get_total_norm(floats))):
        return
    for name, tensor in tensors.items():
        bad = ~torch.isfinite(tensor.detach().cpu()[active])
        if bool(bad.any()):
            seed = torch.tensor(seeds)[active][bad.nonzero()[0, 0]]
            which = f" of seed {int(seed)}" if len(seeds) > 1 else ""
            which += "" if ranks is None else ranks.not_finite(own)
            raise NonFiniteError(
                f"epoch {epoch}: {name}{which} is not finite ({int(bad.sum())} of {bad.numel()} values). "
                "Training stopped; a smaller lr or normalised features may help."
            )


def predict(
    model: nn.Module,
    data: Graph | GraphCollection | Signals | NodeRows,
    nodes: Tensor | None = None,
    operator: Any = None,
    batch_size: int | None = None,
) -> Tensor:
    """Logits in evaluation mode, without gradients.

    Args:
        model: called as `fit` calls it.
        data: one graph or NodeRows: [num_nodes, num_classes]; a batch or a collection of graphs: [num_graphs, num_classes];
            images: [num_images, num_classes].
        nodes: of one graph or NodeRows, a mask or ids: only their rows.
        operator: of one graph, the matrix that the model is called with; of many, a function of the batch that gives it.
            By default the kind that the model was trained with (`model.trained_operator`), else as for `fit`.
        batch_size: of one graph, compute so many nodes at a time, each with all of its neighbours, layer by layer: for
            graphs that do not fit in memory, whose `a_hat` is then never made (a matrix of another kind is). The model
            must be layerwise, as `GCN` is.

    Warns where the model was trained with another kind of matrix than `operator`, or with one of your own and `operator`
    is not given.
    """
    _check_data(data)
    if batch_size is not None and not (isinstance(data, Graph) and (_num_operators(model) or hasattr(model, "layer"))):
        raise InputError(
            f"batch_size: got {batch_size} with {type(data).__name__} and {type(model).__name__}; it goes with one Graph and "
            "a layerwise model, such as GCN. Other data are read in batches anyway."
        )
    is_batch = isinstance(data, (GraphBatch, GraphCollection))
    if nodes is not None and (is_batch or isinstance(data, Signals)):
        raise InputError(f"nodes: go with one Graph or NodeRows, not with {type(data).__name__}.")
    if operator is not None and isinstance(data, (Signals, NodeRows)):
        raise InputError(f"operator: goes with graphs, not with {type(data).__name__}.")
    function = _check_function(operator) if is_batch else None
    kinds = _kinds_for(model) if operator is None and isinstance(data, Graph | GraphCollection) else ("",)
    kind = "a_hat" if batch_size is not None and "a_hat" in kinds else kinds[0]

    def given(matrix: Any) -> Any:
        _warn_of_layers(model, matrix, stacklevel=5)
        _warn_of_training(model, matrix, stacklevel=4)
        return matrix

    def operator_of(batch: GraphBatch) -> Any:
        return batch.matrix(kind) if function is None else given(function(batch))

    with evaluation(model):
        if isinstance(data, GraphCollection):
            merges = kind == "a_hat" and getattr(model, "merges_nodes", False)
            loader = GraphLoader(data.merged() if merges else data, kind=kind or "a_hat")
            return torch.cat([model(batch.x, operator_of(batch), batch.p) for batch in loader])
        if isinstance(data, Signals):
            return torch.cat([model(*arguments) for arguments, _ in data.batches(EVALUATION_BATCH)])
        if isinstance(data, GraphBatch):
            return model(data.x, operator_of(data), data.p)
        if isinstance(data, NodeRows):
            return _predict_rows(model, data, nodes)
        if operator is not None:
            given(operator)
        elif batch_size is None or kind != "a_hat":
            operator = data.matrix(kind)
        return _predict_nodes(model, data, nodes, operator, batch_size)


def _predict_nodes(
    model: nn.Module, graph: Graph, nodes: Tensor | None, operator: Any, batch_size: int | None
) -> Tensor:
    if graph.x is None:
        raise InputError('graph: has no x; make one with graph.with_features("identity").')
    if batch_size is not None:
        return predict_in_batches(model, graph, nodes, operator, batch_size)
    operator = _check_operator(graph, operator)
    num_layers = _num_operators(model)
    if nodes is not None and num_layers is not None and isinstance(operator, SparseMatrix):
        part = graph.receptive_field(nodes, num_layers, operator)
        return model(part.x, part.a_hat)
    logits = model(graph.x, operator)
    return logits if nodes is None else logits[check_nodes(nodes, graph.num_nodes).to(logits.device)]


def _predict_rows(model: nn.Module, data: NodeRows, nodes: Tensor | None) -> Tensor:
    every = torch.arange(data.graph.num_nodes)
    asked = every if nodes is None else check_nodes(nodes, data.graph.num_nodes).cpu()
    guess = None
    for ids in (*[every] * data.reuse, asked):
        labels = data.labels(data.train_ids, guess)
        logits = torch.cat([model(data.inputs(part, labels)) for part in ids.split(EVALUATION_ROWS)])
        guess = logits.softmax(-1)
    return logits


def _check_operator(graph: Graph, operator: Any) -> Any:
    if tuple(getattr(operator, "shape", ())) != graph.adjacency.shape:
        found = f"shape {tuple(operator.shape)}" if hasattr(operator, "shape") else f"a {type(operator).__name__}"
        raise InputError(f"operator: got {found}, expected a matrix [{graph.num_nodes}, {graph.num_nodes}].")
    return operator


def _check_function(operator: Any) -> Callable[[GraphBatch], Any] | None:
    """What gives the matrix of a batch."""
    if operator is not None and not callable(operator):
        raise InputTypeError(
            f"operator: got a {type(operator).__name__}; of many graphs it is a function of the batch, such as "
            "lambda batch: batch.adjacency."
        )
    return operator


def _kinds_for(model: nn.Module, stacklevel: int = 3) -> tuple[str, ...]:
    """The kinds of matrices that the model may be called with where none is given, the preferred one first."""
    trained: Any = getattr(model, "trained_operator", None)
    if trained not in (None, OWN):
        return (trained,)
    kinds = wanted_operators(model) or ("a_hat",)
    if trained == OWN:
        warnings.warn(
            f"operator: the model was trained with a matrix of your own, and is called with {how_to_make(kinds[0])} now; "
            "pass yours as operator=.",
            stacklevel=stacklevel,
        )
    return kinds


def _kind_of(graph: Graph, operator: Any) -> str:
    """The kind of a matrix, if it is this graph's matrix of that kind; else OWN."""
    kind = operator.kind if isinstance(operator, SparseMatrix) else None
    try:
        ours = graph.matrix(kind) if kind is not None else None
    except InputError:  # another graph's: of this one there is none
        ours = None
    if ours is None or (ours is not operator and not _are_equal(ours, operator)):
        return OWN
    assert kind is not None
    return kind


def _are_equal(a: SparseMatrix, b: SparseMatrix) -> bool:
    if (a.dtype, a.device, a.rowptr.dtype) != (b.dtype, b.device, b.rowptr.dtype):
        return False
    return all(map(torch.equal, (a.rowptr, a.col, a.value), (b.rowptr, b.col, b.value)))


def _warn_of_layers(model: nn.Module, operator: Any, stacklevel: int) -> None:
    """Compare the matrix with what layers of your own name; gcnlab's look at what they are called with themselves."""
    for _, layer, kinds in with_operator(model):
        is_own = not any(base.__module__.startswith("gcnlab.") for base in type(layer).__mro__)
        if is_own and all(map(is_kind, kinds)):
            warn_if_of_another_kind(layer, operator, stacklevel)


def _warn_of_training(model: nn.Module, operator: Any, stacklevel: int) -> None:
    """Compare the matrix with the one that the model was trained with."""
    trained: Any = getattr(model, "trained_operator", None)
    kind = operator.kind if isinstance(operator, SparseMatrix) else None
    if trained not in (None, OWN) and kind not in (None, trained):
        warnings.warn(
            f"operator: got {how_to_make(kind)}, but the model was trained with {how_to_make(trained)}, which it is called "
            "with where operator is not given.",
            stacklevel=stacklevel,
        )


def _num_operators(model: Any) -> int | None:
    """How many operators the model's forward takes, or None where it takes one for all its layers."""
    return int(model.num_layers) if getattr(model, "layerwise", False) else None


def _known_metric(argument: str, metric: str) -> str:
    if metric not in METRICS:
        raise InputError(f"{argument}: got {metric!r}, expected one of {', '.join(METRICS)}.")
    return metric


def _measured(argument: str, metric: str, metrics: Mapping[str, Tensor]) -> Tensor:
    if metric not in metrics:
        lacks_val = metric.startswith("val") and "val_loss" not in metrics
        why = "since there is no val_mask and no val" if lacks_val else f"but {' and '.join(metrics)} with this loss"
        raise InputError(f"{argument}: {metric!r} is not measured, {why}.")
    return metrics[metric]


def _lower_is_better(metric: str, value: Tensor) -> Tensor:
    return value if metric.endswith("loss") else -value


class _Silent:
    def update(self, n: int = 1) -> None:
        pass

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _progress_bar(progress: bool | None, total: int) -> Any:
    """One line on stderr, which is gone when the training is done."""
    if not (has_terminal() if progress is None else progress) or sys.stderr is None:
        return _Silent()
    from tqdm import tqdm

    return tqdm(total=total, desc="training", unit="epoch", leave=False)
