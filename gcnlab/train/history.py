"""What a training did: the history of its metrics, and means over batches."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_count
from ..distributed import Ranks
from ..errors import InputError, InputIndexError

if TYPE_CHECKING:
    import pandas


@dataclass(repr=False)
class History:
    """What a training did.

    Attributes:
        seeds: one per column below. That of one model, passed back as `seed=`, repeats its training from the same
            initial weights.
        metrics: "train_loss", "train_accuracy", "val_loss", "val_accuracy" -> [num_epochs, num_seeds]; NaN after a
            seed has stopped. Losses are means over labelled nodes or graphs, or over the targets that are not missing.
            Accuracies are fractions. They are measured of classes and by the loss "binary"; of numbers there are none.
            And those that `fit` was asked for, such as "train_roc_auc" and "val_roc_auc".
        best_epoch: [num_seeds], the epoch (from 1) whose weights were kept.
        states: name -> the kept weights (and buffers) of all seeds, [num_seeds, ...].
        epoch_seconds: wall time of each epoch, training and validation; of all seeds of a stack together, one stack
            after the other.
        batching: of one graph, what a step was on, and why.
        operator: the kind of the matrix that the model was called with (`Graph.matrix`); "own" where it was another
            one, given as `operator=`; "" where there was none.
        threads: CPU threads of each step, the most of any stack of seeds; 0 where it is not known.
        select: the metric whose best epoch was kept, or "last"; "" where it is not known.
    """

    seeds: list[int]
    metrics: dict[str, Tensor]
    best_epoch: Tensor
    states: dict[str, Tensor]
    epoch_seconds: list[float] = field(default_factory=list)
    batching: str = ""
    operator: str = ""
    threads: int = 0
    select: str = ""

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

    def part(self, columns: Sequence[int]) -> History:
        """The history of some seeds, given by their places, as long as one of them trained; seconds are all seconds."""
        metrics = {name: values[:, list(columns)] for name, values in self.metrics.items()}
        length = int((~next(iter(metrics.values())).isnan()).any(1).sum())
        return replace(
            self, seeds=[self.seeds[i] for i in columns], best_epoch=self.best_epoch[list(columns)],
            metrics={name: values[:length] for name, values in metrics.items()},
            states={name: value[list(columns)] for name, value in self.states.items()},
        )  # fmt: skip

    def frame(self) -> pandas.DataFrame:
        """One row an epoch and seed."""
        import pandas

        first = next(iter(self.metrics.values()))
        epoch, seed = torch.meshgrid(torch.arange(1, first.shape[0] + 1), torch.tensor(self.seeds), indexing="ij")
        columns = {"seed": seed, "epoch": epoch, **self.metrics}
        frame = pandas.DataFrame({name: value.T.reshape(-1).numpy() for name, value in columns.items()})
        return frame.dropna(subset=[next(iter(self.metrics))]).reset_index(drop=True)

    def plot(self, path: str | PathLike[str] | None = None, title: str | None = None) -> Any:
        """Curves of loss, accuracy and the metric that selected, training and validation: see `plot.history`."""
        from .. import plot

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
            select=parts[0].select,
            threads=max(part.threads for part in parts),
        )


def curves_of(history: History) -> dict[str, list[float]]:
    """The metrics of a history of one seed, by epoch, in plain values."""
    return {name: values[:, 0].tolist() for name, values in history.metrics.items()}


def history_of(
    seed: int,
    curves: Mapping[str, Sequence[float]],
    best_epoch: int,
    states: dict[str, Tensor] | None = None,
    operator: str = "",
) -> History:
    """The history of one seed whose metrics `curves_of` gave; with its kept weights, [1, ...], where they are known."""
    metrics = {name: torch.tensor(values, dtype=torch.float64).unsqueeze(1) for name, values in curves.items()}
    return History([seed], metrics, torch.tensor([best_epoch]), states or {}, operator=operator)


class Mean:
    """The means over batches of values [num_seeds], each weighted by what it is a mean over in its batch."""

    def __init__(self, counts: Mapping[str, Any] | None = None, sums: Mapping[str, Tensor] | None = None) -> None:
        self.counts, self.sums = dict(counts or {}), dict(sums or {})

    def add(self, counts: Mapping[str, Any], values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            weighted, is_first = value.detach() * counts[name], name not in self.sums
            self.sums[name] = weighted if is_first else self.sums[name] + weighted
            self.counts[name] = counts[name] if is_first else self.counts[name] + counts[name]

    def value(self) -> dict[str, Tensor]:
        return {name: total / _or_one(self.counts[name]) for name, total in self.sums.items()}

    def over(self, ranks: Ranks) -> Mean:
        """The means over the batches of all ranks, some of which may have none."""
        if ranks.is_lone:
            return self
        counts = {name: float(count) for name, count in self.counts.items()}
        whole = Mean()
        for part in ranks.gather_objects(Mean(counts, {name: total.cpu() for name, total in self.sums.items()})):
            for name, total in part.sums.items():
                whole.sums[name] = whole.sums.get(name, 0) + total
                whole.counts[name] = whole.counts.get(name, 0) + part.counts[name]
        return whole


def _or_one(count: Any) -> Any:
    """A count, or counts [num_seeds], to divide by: 1 where there is nothing."""
    return torch.where(count == 0, 1, count) if isinstance(count, Tensor) else count or 1


class Table:
    """The metrics of each seed, epoch by epoch: as bare numbers, since a tensor for each takes half a KiB."""

    def __init__(self, num_seeds: int) -> None:
        self._num_seeds = num_seeds
        self._columns: dict[str, array[float]] = {}
        self._dtypes: dict[str, torch.dtype] = {}

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """Append rows [..., num_seeds] of one epoch, or of several."""
        for name, values in rows.items():
            self._columns.setdefault(name, array("d")).extend(values.flatten().tolist())
            self._dtypes[name] = values.dtype

    def tensors(self) -> dict[str, Tensor]:
        """name -> [num_epochs, num_seeds]."""
        numbers = {name: torch.frombuffer(column, dtype=torch.float64) for name, column in self._columns.items()}
        return {
            name: values.to(self._dtypes[name], copy=True).view(-1, self._num_seeds) for name, values in numbers.items()
        }


class Best:
    """The weights of each seed's best epoch.

    Attributes:
        epoch, value: [num_seeds], of the best epoch so far, from 1; lower values are better.
        kept: name -> its weights and buffers, [num_seeds, ...].
    """

    def __init__(self, num_seeds: int, current: Mapping[str, Tensor]) -> None:
        self.epoch = torch.zeros(num_seeds, dtype=torch.int64)
        self.value = torch.full((num_seeds,), float("inf"))
        self.kept = {name: value.clone() for name, value in current.items()}

    def update(self, active: Tensor, value: Tensor, epoch: int, current: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keep the current weights of the active seeds whose value is better than before."""
        better = active & (value < self.value)
        if not bool(better.any()):
            return
        self.value = torch.where(better, value, self.value)
        self.epoch = torch.where(better, epoch, self.epoch)
        seeds = ... if bool(better.all()) else better
        for name, weight in current().items():
            self.kept[name][seeds] = weight[seeds]
