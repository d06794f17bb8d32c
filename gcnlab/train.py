"""Training: one loop for one model or for many seeds of it at once.

Many seeds of a small model are many small products; stacked, they are a few large ones. The weights get a leading
dimension [num_seeds, ...], `torch.func.vmap` runs the model over it, and every seed keeps its own initialisation,
dropout, optimizer state and early stopping. Element-wise optimizers (SGD, Adam, ...) treat a stack of weights as they
treat each alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import checkpoint as ckpt
from .errors import CheckpointMismatchError, InputError, InputTypeError, NonFiniteError

if TYPE_CHECKING:
    import pandas

    from .graph import Graph

METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


class Adam:
    """Adam (Kingma & Ba 2015) with L2 weight decay added to the gradient, in the numbers of `torch.optim.Adam`.

    It exists because torch's imports its compiler when first made, about 1.6 seconds that a short training does not
    have. The interface is that of torch.optim.

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
        groups = list(params)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[int, tuple[Tensor, Tensor]] = {}
        self.num_steps = 0

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.num_steps += 1
        i = 0
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            step_size = group["lr"] / (1 - beta1**self.num_steps)
            root_correction = (1 - beta2**self.num_steps) ** 0.5
            for p in group["params"]:
                g = p.grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else p.grad
                if i not in self.state:
                    self.state[i] = torch.zeros_like(p), torch.zeros_like(p)
                mean, square = self.state[i]
                mean.lerp_(g, 1 - beta1)
                square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                p.addcdiv_(mean, square.sqrt().div_(root_correction).add_(group["eps"]), value=-step_size)
                i += 1

    def state_dict(self) -> dict[str, Any]:
        settings = [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
        return {"num_steps": self.num_steps, "state": dict(self.state), "param_groups": settings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.num_steps = state["num_steps"]
        self.state = {int(i): (mean.clone(), square.clone()) for i, (mean, square) in state["state"].items()}
        for group, settings in zip(self.param_groups, state["param_groups"], strict=True):
            group.update(settings)


@dataclass
class History:
    """What a training did.

    Attributes:
        seeds: one a column below.
        metrics: "train_loss", "train_accuracy", "val_loss", "val_accuracy" -> [num_epochs, num_seeds]; NaN after a
            seed has stopped. Losses are means over labelled nodes, accuracies fractions.
        best_epoch: [num_seeds], the epoch (from 1) whose weights were kept.
        states: name -> the kept weights of all seeds, [num_seeds, ...].
        epoch_seconds: wall time of each epoch, training and validation, of all seeds together.
    """

    seeds: list[int]
    metrics: dict[str, Tensor]
    best_epoch: Tensor
    states: dict[str, Tensor]
    epoch_seconds: list[float] = field(default_factory=list)

    def state(self, i: int) -> dict[str, Tensor]:
        """The kept weights of the i-th seed, for `model.load_state_dict`."""
        return {name: value[i] for name, value in self.states.items()}

    def best(self, metric: str) -> Tensor:
        """[num_seeds]: the metric at the epoch whose weights were kept."""
        return self.metrics[metric].gather(0, self.best_epoch.unsqueeze(0) - 1).squeeze(0)

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
        length = max(len(part.epoch_seconds) for part in parts)
        metrics = {
            name: torch.cat(
                [
                    F.pad(part.metrics[name], (0, 0, 0, length - len(part.epoch_seconds)), value=float("nan"))
                    for part in parts
                ],
                1,
            )
            for name in parts[0].metrics
        }
        return History(
            [seed for part in parts for seed in part.seeds],
            metrics,
            torch.cat([part.best_epoch for part in parts]),
            {name: torch.cat([part.states[name] for part in parts]) for name in parts[0].states},
            [seconds for part in parts for seconds in part.epoch_seconds],
        )


class Callback:
    """Base of callbacks. `after_epoch` sees the newest metrics of all seeds, each [num_seeds]."""

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor | None:
        """Called after each epoch (from 1); may return bool [num_seeds]: which seeds shall stop."""

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
        if patience < 1:
            raise InputError(f"patience: got {patience}, expected at least 1 epoch.")
        self.patience, self.monitor = patience, _known_metric("monitor", monitor)
        self.best: Tensor | None = None
        self.waited: Tensor | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        value = _lower_is_better(self.monitor, metrics[self.monitor])
        if self.best is None or self.waited is None or epoch == 1:
            self.best, self.waited = value.clone(), torch.zeros_like(value, dtype=torch.int64)
            return torch.zeros_like(value, dtype=torch.bool)
        better = value < self.best
        self.best = torch.where(better, value, self.best)
        self.waited = torch.where(better, 0, self.waited + 1)
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]


@dataclass
class Checkpoint:
    """Where `fit` saves its state, how often, and whether it continues from it.

    Args:
        path: the file; replaced atomically.
        every: epochs between two saves; the last epoch is always saved.
        resume: continue from the file if it exists, to the bit what an uninterrupted training gives.
        header: JSON-able facts to keep beside the weights.
    """

    path: str | PathLike[str]
    every: int = 10
    resume: bool = False
    header: dict[str, Any] = field(default_factory=dict)


def fit(
    model: nn.Module | Callable[[], nn.Module],
    graph: Graph,
    *,
    seeds: int | Sequence[int] | None = None,
    seed: int = 0,
    epochs: int = 200,
    lr: float = 0.01,
    weight_decay: float | Mapping[str, float] = 0.0,
    optimizer: Callable[..., Any] = Adam,
    scheduler: Callable[[Any], Any] | None = None,
    select: str = "val_loss",
    callbacks: Sequence[Callback] = (),
    class_weight: Tensor | None = None,
    checkpoint: Checkpoint | None = None,
    seeds_at_once: int = 20,
    progress: bool | None = None,
    check_finite: bool = True,
) -> History:
    """Train for node classification on the full graph: cross-entropy on `train_mask`, selection on `val_mask`.

    The test mask is never read. A model that says `layerwise = True` (its forward takes one operator a layer, as `GCN`
    does) computes only the receptive field of the labelled nodes: same numbers, fewer rows.

    Args:
        model: a module called as `model(x, a_hat)`, trained in place and left with the kept weights; with `seeds`, a
            function that makes a new one.
        graph: with x, y, train_mask, and val_mask unless select is "last".
        seeds: how many (0 .. n-1) or which seeds to train, together, `seeds_at_once` at a time. A seed sets the
            initial weights; the dropout masks of the seeds are independent, but are not those of a run alone.
            Models with buffers (BatchNorm) are trained one after the other.
        seed: for one model: seeds dropout. (Its initial weights are its maker's.)
        epochs: the most epochs.
        lr: learning rate.
        weight_decay: L2 factor, or one for each prefix of parameter names: {"layers.0": 5e-4}; 0 for the others.
        optimizer: called as optimizer(groups, lr=lr): `Adam`, any element-wise optimizer of torch.optim.
        scheduler: called with the (torch.optim) optimizer; its `step()` follows each epoch.
        select: the metric whose best epoch gives the kept weights, or "last".
        callbacks: `EarlyStopping(10)`, or your own.
        class_weight: [num_classes], weights of the loss (`metrics.class_weights`).
        checkpoint: where to save and resume.
        seeds_at_once: seeds in one stack.
        progress: show a progress bar; by default where stderr is a terminal.
        check_finite: refuse NaN and infinities in x.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite; training stops at that step, nothing is reported, and
            the last checkpoint stays as it is.
        InputError: the graph lacks what training needs.
    """
    if select != "last":
        _known_metric("select", select)
    data = _Data(graph, class_weight, check_finite, needs_val=select.startswith("val"))
    options: dict[str, Any] = {
        "epochs": epochs, "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer, "scheduler": scheduler,
        "select": select, "callbacks": callbacks, "checkpoint": checkpoint, "progress": progress,
    }  # fmt: skip
    if seeds is None:
        if not isinstance(model, nn.Module):
            raise InputTypeError(
                f"model: got {type(model).__name__}, expected a module; pass seeds=n to train a function's."
            )
        torch.manual_seed(seed)
        history = _train([model], [seed], data, **options)
        model.load_state_dict(history.state(0), strict=False)
        return history
    if isinstance(model, nn.Module):
        raise InputTypeError("model: got a module, but each seed needs its own; pass a function: lambda: GCN(...).")
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds:
        raise InputError("seeds: got none, expected at least one.")
    has_buffers = any(True for _ in model().buffers())
    size = 1 if has_buffers else seeds_at_once
    if checkpoint is not None and len(seeds) > size:
        raise InputError(
            f"checkpoint: got {len(seeds)} seeds, but one stack of at most {size} can be saved and resumed."
        )
    parts = []
    for start in range(0, len(seeds), size):
        group = seeds[start : start + size]
        models = []
        for s in group:
            torch.manual_seed(s)
            models.append(model())
        parts.append(_train(models, group, data, **options))
    return History.join(parts)


class _Data:
    """The tensors of training and validation, each with no more rows than the model needs."""

    def __init__(self, graph: Graph, class_weight: Tensor | None, check_finite: bool, needs_val: bool) -> None:
        if graph.x is None:
            raise InputError('graph: has no x; make one with graph.with_features("identity").')
        if graph.y is None or graph.y.dim() != 1 or graph.y.is_floating_point():
            raise InputError("graph: has no y with one class label a node.")
        for key in ("train_mask", *(["val_mask"] if needs_val else [])):
            if getattr(graph, key) is None:
                raise InputError(
                    f'graph: has no {key}; give one, or select="last" where there is nothing to select on.'
                )
        if check_finite:
            value = graph.x if isinstance(graph.x, Tensor) else graph.x.value
            if not bool(torch.isfinite(value).all()):
                raise InputError("x: holds NaN or infinity; replace them, or pass check_finite=False.")
        if class_weight is not None and class_weight.shape != (graph.num_classes,):
            raise InputError(f"class_weight: got shape {tuple(class_weight.shape)}, expected [{graph.num_classes}].")
        self.graph, self.class_weight = graph, class_weight
        self._parts: dict[tuple[str, int | None], tuple[Any, Any, Tensor | None, Tensor]] = {}
        self._y = graph.y

    def part(self, mask_name: str, model: nn.Module) -> tuple[Any, Any, Tensor | None, Tensor]:
        """(x, a_hat, rows of the output or None for all, labels) of a split."""
        num_layers = _num_operators(model)
        key = (mask_name, num_layers)
        if key not in self._parts:
            graph, mask = self.graph, getattr(self.graph, mask_name)
            rows = mask.nonzero().squeeze(1)
            if num_layers is None:
                self._parts[key] = graph.x, graph.a_hat, rows, self._y[rows]
            else:
                part = graph.receptive_field(rows, num_layers)
                self._parts[key] = part.x, part.a_hat, None, self._y[rows]
        return self._parts[key]


def _train(
    models: list[nn.Module],
    seeds: list[int],
    data: _Data,
    *,
    epochs: int,
    lr: float,
    weight_decay: float | Mapping[str, float],
    optimizer: Callable[..., Any],
    scheduler: Callable[[Any], Any] | None,
    select: str,
    callbacks: Sequence[Callback],
    checkpoint: Checkpoint | None,
    progress: bool | None,
) -> History:
    model, stacked = models[0], len(models) > 1
    params: dict[str, Tensor] = dict(model.named_parameters())
    if stacked:
        others = [dict(m.named_parameters()) for m in models]
        params = {name: torch.stack([p[name].detach() for p in others]).requires_grad_() for name in params}

    def forward(x: Any, a_hat: Any) -> Tensor:  # [num_seeds, num_nodes, num_classes]
        if not stacked:
            return model(x, a_hat).unsqueeze(0)

        def one(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(model, weights, (x, a_hat))

        return torch.func.vmap(one, randomness="different")(params)

    opt = optimizer(_groups(params, weight_decay), lr=lr)
    schedule = scheduler(opt) if scheduler is not None else None
    train_x, train_a, train_rows, train_y = data.part("train_mask", model)
    val = data.part("val_mask", model) if data.graph.val_mask is not None else None

    num_seeds = len(seeds)
    active = torch.ones(num_seeds, dtype=torch.bool)
    best_epoch = torch.zeros(num_seeds, dtype=torch.int64)
    best_value = torch.full((num_seeds,), float("inf"))
    kept = {name: p.detach().clone() if stacked else p.detach().unsqueeze(0).clone() for name, p in params.items()}
    rows: list[dict[str, Tensor]] = []
    epoch_seconds: list[float] = []
    first_epoch = 1

    def save(epoch: int) -> None:
        assert checkpoint is not None
        header = {**checkpoint.header, "model": ckpt.describe(model), "seeds": seeds, "epoch": epoch}
        training = {
            "params": {name: p.detach() for name, p in params.items()},
            "optimizer": opt.state_dict(),
            "scheduler": None if schedule is None else schedule.state_dict(),
            "callbacks": [callback.state_dict() for callback in callbacks],
            "rng": ckpt.rng_state(),
            "active": active, "best_epoch": best_epoch, "best_value": best_value,
            "rows": {name: torch.stack([row[name] for row in rows]) for name in rows[0]},
            "epoch_seconds": epoch_seconds,
        }  # fmt: skip
        ckpt.write_checkpoint(checkpoint.path, header, kept, training)

    if checkpoint is not None and checkpoint.resume and Path(checkpoint.path).exists():
        header, weights, training = ckpt.read_checkpoint(checkpoint.path)
        found = {"model": header["model"], "seeds": header["seeds"], "number of callbacks": len(training["callbacks"])}
        wanted = {"model": ckpt.describe(model), "seeds": seeds, "number of callbacks": len(callbacks)}
        if found != wanted:
            raise CheckpointMismatchError(f"{checkpoint.path}: was made with {found}, this training has {wanted}.")
        ckpt.check_state(checkpoint.path, weights, kept)
        ckpt.check_state(checkpoint.path, training["params"], params)
        kept = weights
        with torch.no_grad():
            for name, p in params.items():
                p.copy_(training["params"][name])
        opt.load_state_dict(training["optimizer"])
        if schedule is not None:
            schedule.load_state_dict(training["scheduler"])
        for callback, state in zip(callbacks, training["callbacks"], strict=True):
            callback.load_state_dict(state)
        ckpt.set_rng_state(training["rng"])
        active, best_epoch, best_value = training["active"], training["best_epoch"], training["best_value"]
        epoch_seconds = training["epoch_seconds"]
        columns = training["rows"]
        rows = [{name: columns[name][i] for name in columns} for i in range(len(epoch_seconds))]
        first_epoch = header["epoch"] + 1

    with _progress_bar(progress, epochs, first_epoch - 1, num_seeds) as bar:
        for epoch in range(first_epoch, epochs + 1):
            if not bool(active.any()):
                break
            start = time.perf_counter()
            model.train()
            opt.zero_grad()
            logits = forward(train_x, train_a)
            losses, accuracies = _score(logits, train_rows, train_y, data.class_weight)
            losses.sum().backward()
            _check_finite_step(epoch, seeds, losses, params)
            opt.step()
            if schedule is not None:
                schedule.step()
            metrics = {"train_loss": losses.detach(), "train_accuracy": accuracies}
            if val is not None:
                model.eval()
                with torch.no_grad():
                    val_x, val_a, val_rows, val_y = val
                    scores = _score(forward(val_x, val_a), val_rows, val_y, data.class_weight)
                metrics.update(val_loss=scores[0], val_accuracy=scores[1])
                _check_finite_step(epoch, seeds, scores[0], {})
            metrics = {name: value.cpu() for name, value in metrics.items()}
            value = (
                -torch.full((num_seeds,), float(epoch))
                if select == "last"
                else _lower_is_better(select, metrics[select])
            )
            better = active & (value < best_value)
            best_value = torch.where(better, value, best_value)
            best_epoch = torch.where(better, epoch, best_epoch)
            for name, p in params.items():
                kept[name][better] = p.detach() if not stacked else p.detach()[better]
            rows.append({name: torch.where(active, value, float("nan")) for name, value in metrics.items()})
            for callback in callbacks:
                stop = callback.after_epoch(epoch, metrics)
                if stop is not None:
                    active = active & ~stop.cpu()
            epoch_seconds.append(time.perf_counter() - start)
            bar.update()
            if checkpoint is not None and (epoch % checkpoint.every == 0 or epoch == epochs or not bool(active.any())):
                save(epoch)
    model.eval()
    table = {name: torch.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return History(list(seeds), table, best_epoch, kept, epoch_seconds)


def _groups(params: Mapping[str, Tensor], weight_decay: float | Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameter groups, one a value of the weight decay."""
    if not isinstance(weight_decay, Mapping):
        return [{"params": list(params.values()), "weight_decay": weight_decay}]
    for prefix in weight_decay:
        if not any(name.startswith(prefix) for name in params):
            raise InputError(f"weight_decay: no parameter begins with {prefix!r}; the model has {', '.join(params)}.")
    groups: dict[float, list[Tensor]] = {}
    for name, p in params.items():
        decay = next((value for prefix, value in weight_decay.items() if name.startswith(prefix)), 0.0)
        groups.setdefault(decay, []).append(p)
    return [{"params": group, "weight_decay": decay} for decay, group in groups.items()]


def _score(logits: Tensor, rows: Tensor | None, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy of each seed, [num_seeds]; logits [num_seeds, num_nodes, num_classes]."""
    if rows is not None:
        logits = logits[:, rows]
    log_p = logits.log_softmax(-1)
    nll = -log_p.gather(-1, y.expand(logits.shape[0], -1).unsqueeze(-1)).squeeze(-1)  # [num_seeds, num_rows]
    if weight is None:
        losses = nll.mean(-1)
    else:
        w = weight.to(nll)[y]
        losses = (nll * w).sum(-1) / w.sum()
    return losses, (logits.detach().argmax(-1) == y).float().mean(-1)


def _check_finite_step(epoch: int, seeds: list[int], losses: Tensor, params: Mapping[str, Tensor]) -> None:
    grads = {name: p.grad for name, p in params.items() if p.grad is not None}
    total = losses.detach().abs().sum()
    if grads:
        total = total + torch.nn.utils.get_total_norm(list(grads.values())).to(total)
    if bool(torch.isfinite(total)):
        return
    for name, tensor in {"the loss": losses, **{f"the gradient of {name}": g for name, g in grads.items()}}.items():
        bad = ~torch.isfinite(tensor.detach())
        if bool(bad.any()):
            which = f" of seed {seeds[int(bad.nonzero()[0, 0])]}" if len(seeds) > 1 else ""
            raise NonFiniteError(
                f"epoch {epoch}: {name}{which} is not finite ({int(bad.sum())} of {bad.numel()} values). "
                "Training stopped before the step; a smaller lr or normalised features may help."
            )
    raise NonFiniteError(f"epoch {epoch}: the gradients are finite, but their norm is not. A smaller lr may help.")


def predict(model: nn.Module, graph: Graph, nodes: Tensor | None = None) -> Tensor:
    """Logits [num_nodes, num_classes] in evaluation mode, or only the rows of `nodes` (a mask or ids)."""
    if graph.x is None:
        raise InputError('graph: has no x; make one with graph.with_features("identity").')
    was_training = model.training
    model.eval()
    with torch.no_grad():
        if nodes is None:
            logits = model(graph.x, graph.a_hat)
        elif (num_layers := _num_operators(model)) is not None:
            part = graph.receptive_field(nodes, num_layers)
            logits = model(part.x, part.a_hat)
        else:
            logits = model(graph.x, graph.a_hat)[nodes]
    model.train(was_training)
    return logits


def _num_operators(model: Any) -> int | None:
    """How many operators the model's forward takes, or None where it takes one for all its layers."""
    return int(model.num_layers) if getattr(model, "layerwise", False) else None


def _known_metric(argument: str, metric: str) -> str:
    if metric not in METRICS:
        raise InputError(f"{argument}: got {metric!r}, expected one of {', '.join(METRICS)}.")
    return metric


def _lower_is_better(metric: str, value: Tensor) -> Tensor:
    return value if metric.endswith("loss") else -value


class _Silent:
    def update(self) -> None:
        pass

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _progress_bar(progress: bool | None, total: int, initial: int, num_seeds: int) -> Any:
    if not (sys.stderr.isatty() if progress is None else progress):
        return _Silent()
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, desc=f"{num_seeds} seeds" if num_seeds > 1 else "training", unit="epoch")
