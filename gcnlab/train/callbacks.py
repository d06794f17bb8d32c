"""Callbacks: what sees each epoch, and may stop it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import check_count, check_number, check_probability
from ..errors import CheckpointMismatchError, InputError
from ..files import check_target
from ..machine import has_terminal
from ..metrics import FRACTIONS

METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")  # those that are measured unasked
# No mean over batches gives these: they are measured on all outputs of an epoch together (`together.Together`).
TOGETHER = ("roc_auc", "average_precision", "macro_f1", "mae", "rmse", "r2")
_KNOWN = (*METRICS, *(f"{split}_{kind}" for split in ("train", "val") for kind in TOGETHER))
_LOWER = ("loss", "mae", "rmse")  # is better


class Callback:
    """Base of callbacks. `after_epoch` sees the newest metrics of all seeds, each [num_seeds]; NaN once a seed stopped.

    Attributes:
        reads: the metrics that it needs, such as ["val_roc_auc"]; `fit` measures them.
    """

    reads: Sequence[str] = ()

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
        monitor: a metric, such as "val_accuracy" or "val_roc_auc"; better is lower for losses, MAE and RMSE, higher for
            all others. `fit` measures it.
    """

    def __init__(self, patience: int, monitor: str = "val_loss") -> None:
        self.patience, self.monitor = check_count("patience", patience, 1), known_metric("monitor", monitor)
        self.reads = [monitor]
        self.best: Tensor | None = None
        self.waited: Tensor | None = None

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        value = lower_is_better(self.monitor, measured("monitor", self.monitor, metrics))
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
    """Stop a seed once a metric has reached a value: a loss, MAE or RMSE from above, any other from below.

    `fit` keeps the weights of the epoch that its `select` says; with "last" those of the epoch that reached the value.

    Args:
        metric: such as "train_loss", "val_accuracy" or "val_macro_f1"; `fit` measures it.
        value: of the metric; accuracy, ROC-AUC, average precision and macro-F1 are fractions.

    >>> stop = StopAt("val_accuracy", 0.95)
    >>> stop.after_epoch(1, {"val_accuracy": torch.tensor([0.94, 0.95])})
    tensor([False,  True])
    """

    def __init__(self, metric: str, value: float) -> None:
        self.metric, self.value = known_metric("metric", metric), check_number("value", value)
        self.reads = [metric]
        if kind_of(metric) in FRACTIONS:
            check_probability("value", value)

    def after_epoch(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        reached = measured("metric", self.metric, metrics)
        return reached <= self.value if kind_of(self.metric) in _LOWER else reached >= self.value


class TensorBoard(Callback):
    """Write each epoch's metrics and learning rate as event files, which `tensorboard --logdir FOLDER` shows.

    The learning rate is that of the epoch's first step, of the first group of parameters. A resumed training adds a file.

    Args:
        folder: of all runs.
        run: the folder of one run within it; {seed} stands for the seed. Trainings of one stack that would share it have
            numbered folders in it.

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
        runs = [self.run.format(seed=seed) for seed in seeds]
        runs = [f"{run}/training-{i}" if runs.count(run) > 1 else run for i, run in enumerate(runs, 1)]
        self._writers = [self._open(str(self.folder / run)) for run in runs]
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


@contextmanager
def ended_at_last(callbacks: Sequence[Callback]) -> Iterator[None]:
    try:
        yield
    finally:
        for callback in callbacks:
            callback.after_training()


def which_stop(callback: Callback, stop: Any, num_seeds: int) -> Tensor:
    """What a callback gave after an epoch as bools, or InputError."""
    stop = torch.as_tensor(stop).cpu()
    if stop.dtype != torch.bool or stop.shape not in ((), (num_seeds,)):
        raise InputError(
            f"callbacks: {type(callback).__name__}.after_epoch gave {stop.dtype} of shape {tuple(stop.shape)}, expected "
            f"None, a bool, or one a seed, [{num_seeds}]."
        )
    return stop


def known_metric(argument: str, metric: str) -> str:
    if metric not in _KNOWN:
        raise InputError(f"{argument}: got {metric!r}, expected one of {', '.join(_KNOWN)}.")
    return metric


def kind_of(metric: str) -> str:
    """What is measured, on whichever part of the data: "roc_auc" of "val_roc_auc"."""
    return metric.partition("_")[2]


def measured(argument: str, metric: str, metrics: Mapping[str, Tensor]) -> Tensor:
    if metric not in metrics:
        lacks_val = metric.startswith("val") and "val_loss" not in metrics
        why = "since there is no val_mask and no val" if lacks_val else f"but {' and '.join(metrics)} with this loss"
        raise InputError(f"{argument}: {metric!r} is not measured, {why}.")
    return metrics[metric]


def lower_is_better(metric: str, value: Tensor) -> Tensor:
    return value if kind_of(metric) in _LOWER else -value


class _Silent:
    def update(self, n: int = 1) -> None:
        pass

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def progress_bar(progress: bool | None, total: int) -> Any:
    """One line on stderr, which is gone when the training is done."""
    if not (has_terminal() if progress is None else progress) or sys.stderr is None:
        return _Silent()
    from tqdm import tqdm

    return tqdm(total=total, desc="training", unit="epoch", leave=False)
