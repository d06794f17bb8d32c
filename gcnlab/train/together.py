"""Metrics that no mean over batches gives, such as ROC-AUC: measured on all outputs of an epoch together, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import metrics
from ..distributed import Ranks
from ..errors import InputError, NonFiniteError
from .options import FitOptions

if TYPE_CHECKING:
    from .objective import Batch, Objective

_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "roc_auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "macro_f1": metrics.macro_f1,
    "mae": metrics.mean_absolute_error,
    "rmse": metrics.root_mean_squared_error,
    "r2": metrics.r2_score,
}
_GOES_WITH = (
    'roc_auc and average_precision go with loss="binary" and with two classes, macro_f1 with classes, mae, rmse and r2 with '
    "numbers as targets."
)


def check_metrics(options: FitOptions, objective: Objective, row: str, y: Tensor, val_y: Tensor | None) -> None:
    """Raise InputError for a metric that is not defined for this loss and these labels, before the training."""
    fitting, why = _fitting(objective, y)
    asked = options.together
    if "accuracy" in options.metrics and not objective.has_accuracy:
        asked = {"accuracy": "metrics", **asked}
    for name, argument in asked.items():
        if name not in fitting:
            raise InputError(
                f"{argument}: {name} does not go with {why}, where {', '.join(('loss', *fitting))} can be measured. "
                f"{_GOES_WITH}"
            )
        for part, labels in (("training", y), ("validation", val_y)):
            if labels is None or name == "macro_f1":  # which is always defined
                continue
            try:
                _FUNCTIONS[name](torch.zeros_like(labels, dtype=torch.float64), labels)
            except InputError as problem:
                raise InputError(f"{argument}: {name} is not defined on the {part} {row}s. {problem}") from problem


def _fitting(objective: Objective, y: Tensor) -> tuple[tuple[str, ...], str]:
    """The metrics that go with a loss and its labels, and in words what these are."""
    loss = f"loss={objective.loss!r}".replace("'", '"') if isinstance(objective.loss, str) else "a function as loss"
    if objective.is_of_classes:
        of_two = ("roc_auc", "average_precision") if objective.num_outputs == 2 else ()
        return ("accuracy", "macro_f1", *of_two), f"{loss} of {objective.num_outputs} classes"
    if objective.loss == "binary":
        return ("accuracy", "roc_auc", "average_precision"), loss
    return ("mae", "rmse", "r2") if y.is_floating_point() else (), f"{loss} of {y.dtype} labels"


class Together:
    """The outputs for all rows of an epoch, and their labels, batch by batch; and the metrics of all of them.

    What is kept of an output is what the metric reads: the predicted classes, logit_1 - logit_0 of two classes, or all of it.
    """

    def __init__(self, objective: Objective) -> None:
        self.names, self.is_of_classes = objective.metrics, objective.is_of_classes
        # What each metric reads [num_seeds, num_rows, ...], the labels, and of trainings with batches of their own
        # which rows are whose.
        self.parts: list[tuple[dict[str, Tensor], Tensor, Tensor | None]] = []

    def add(self, outputs: Sequence[Tensor], batch: Batch) -> None:
        """Add outputs for a batch, [num_seeds, num_rows, num_outputs]: one, or as many as `Consistency` has samples."""
        if not batch.counts:
            return
        logits = torch.cat([output.detach() for output in outputs])  # [num_samples * num_seeds, num_rows, num_outputs]
        if batch.rows is not None:
            logits = logits[:, batch.rows]
        self.parts.append(({name: self._read(name, logits) for name in self.names}, batch.y, batch.own))

    def _read(self, name: str, logits: Tensor) -> Tensor:
        if name == "macro_f1":
            return logits.argmax(-1)
        return logits[..., 1].double() - logits[..., 0] if self.is_of_classes else logits

    def value(self, split: str, epoch: int, seeds: Sequence[int], active: Tensor, ranks: Ranks) -> dict[str, Tensor]:
        """The metrics of "train" or "val", name -> [num_seeds], over the rows of all ranks; NaN for seeds that stopped.

        And NaN where the training rows of this epoch have no two classes: an epoch on label hops learns from half of them.
        """
        if not ranks.is_lone:
            own = [({name: read.cpu() for name, read in part[0].items()}, part[1].cpu(), None) for part in self.parts]
            self.parts = [part for parts in ranks.gather_objects(own) for part in parts]
        found = {}
        for name in self.names:
            num_samples = self.parts[0][0][name].shape[0] // len(seeds)
            values = [
                self._of_one(name, i, split, epoch, seeds[i % len(seeds)]) if bool(active[i % len(seeds)]) else math.nan
                for i in range(num_samples * len(seeds))
            ]
            found[f"{split}_{name}"] = torch.tensor(values, dtype=torch.float64).view(-1, len(seeds)).mean(0)
        return found

    def _of_one(self, name: str, i: int, split: str, epoch: int, seed: int) -> float:
        scores = torch.cat([read[name][i] if own is None else read[name][i, own[i]] for read, _, own in self.parts])
        y = torch.cat([labels if own is None else labels[i, own[i]] for _, labels, own in self.parts])
        try:
            return _FUNCTIONS[name](scores, y)
        except InputError:
            if not bool(scores.isfinite().all()):
                raise NonFiniteError(
                    f"epoch {epoch}: an output of seed {seed} for the {split} data is not finite, so that {name} is not "
                    "defined. Training stopped; a smaller lr or normalised features may help."
                ) from None
            if split == "train":
                return math.nan
            raise
