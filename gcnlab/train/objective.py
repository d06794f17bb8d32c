"""What is minimised: losses, targets, and the scores of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..distributed import LONE, Ranks
from ..errors import InputError, InputTypeError, NonFiniteError
from ..inputs import as_tensor, classes_remedy
from ..machine import warn_caller
from .consistency import Consistency
from .options import FitOptions, Loss
from .together import check_metrics

Scores = tuple[Mapping[str, Any], Mapping[str, Tensor]]  # what each score is a mean over, and the scores [num_seeds]


class Batch(NamedTuple):
    """What one step reads: the model's arguments, the rows of its output that have labels (None: all), and those.

    And the rows that shall be consistent, where any shall; and whether it counts, or stands for an empty share. Of
    trainings with data of their own y is [num_seeds, num_rows, ...], and `own` says which of those rows are theirs.
    """

    arguments: tuple[Any, ...]
    rows: Tensor | None
    y: Tensor
    unlabelled: Tensor | None = None
    counts: bool = True
    own: Tensor | None = None  # bool [num_seeds, num_rows]


class Objective(NamedTuple):
    """The loss, how many outputs of the model it takes, whether labels are one class a row, and the classes' weights.

    And the metrics that are measured on whole epochs.
    """

    loss: Loss
    num_outputs: int
    is_of_classes: bool
    class_weight: Tensor | None
    smoothing: float = 0.0
    metrics: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        options: FitOptions,
        row: str,
        y: Tensor,
        val_y: Tensor | None,
        num_classes: int,
        class_names: Sequence[str] | None = None,
    ) -> Objective:
        """Of the labels of the training and validation rows, which are nodes, graphs or images."""
        loss, weight = options.loss, _checked_weight(options, num_classes)
        is_of_classes = not y.is_floating_point() and y.dim() == 1
        num_outputs = int(y.shape[1:].numel()) if y.is_floating_point() else num_classes
        objective = cls(loss, num_outputs, is_of_classes, weight, options.label_smoothing, tuple(options.together))
        check_metrics(options, objective, row, y, val_y)
        if is_of_classes and (loss == "cross-entropy" or class_names is not None):  # else integers may be counts
            _warn_of_classes_without_rows(row, y, val_y, num_classes, class_names)
        return objective

    @property
    def has_accuracy(self) -> bool:
        """Whether an output can be right; that of a function of classes if it has a column for each of them."""
        return self.is_of_classes or self.loss == "binary"

    def check_logits(self, logits: Tensor) -> Tensor:
        if not isinstance(logits, Tensor):
            raise InputTypeError(f"model: gave a {type(logits).__name__}, expected one tensor [num_rows, num_outputs].")
        kind = "classes" if self.loss == "cross-entropy" or (callable(self.loss) and self.is_of_classes) else "targets"
        # A class that never occurs may have its logit; a function takes what its author says, but metrics do not.
        least, most = self.num_outputs, math.inf if kind == "classes" else self.num_outputs
        is_free = callable(self.loss) and not self.metrics
        if logits.dim() != 2 or not (is_free or least <= logits.shape[1] <= most):
            raise InputError(
                f"model: gave an output of shape {tuple(logits.shape)}, expected [num_rows, num_{kind}], "
                f"and the data have {self.num_outputs} {kind}."
            )
        return logits

    def fingerprint(self) -> dict[str, Any]:
        name = getattr(self.loss, "__qualname__", type(self.loss).__name__) if callable(self.loss) else self.loss
        measured = {"metrics": list(self.metrics)} if self.metrics else {}  # files of 1.0 have none
        return {"loss": name, "label smoothing": self.smoothing, **measured}


def _checked_weight(options: FitOptions, num_classes: int) -> Tensor | None:
    if options.class_weight is None:
        return None
    if options.loss != "cross-entropy":
        raise InputError('class_weight: goes with loss="cross-entropy"; a function as loss can weigh as it likes.')
    weight = as_tensor("class_weight", options.class_weight, "one weight a class")
    if weight.shape != (num_classes,):
        raise InputError(f"class_weight: got shape {tuple(weight.shape)}, expected [{num_classes}].")
    if not bool(((weight >= 0) & (weight < math.inf)).all()) or not bool(weight.any()):
        raise InputError(f"class_weight: got {weight.tolist()}, expected finite numbers, 0 at least, not all 0.")
    return weight


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
    warn_caller(
        f"data: no training {row} is of class {', '.join(named)}{more}{beside}: the model cannot learn {them}. Draw the "
        "split class by class, or number the labels from 0 without gaps."
    )


def targets_for(argument: str, y: Tensor | None, row: str, num_rows: int, loss: Loss) -> Tensor:
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


def score_samples(
    forward: Callable[[tuple[Any, ...]], Tensor],
    batch: Batch,
    objective: Objective,
    consistency: Consistency | None,
    step: int,
) -> Scores:
    """`score_batch` of one output, or with consistency the mean over its samples, the loss with its term."""
    if consistency is None:
        return score_batch(forward(batch.arguments), batch, objective)
    outputs = [forward(batch.arguments) for _ in range(consistency.num_samples)]
    counts, scores = zip(*(score_batch(logits, batch, objective) for logits in outputs), strict=True)
    scored = {name: torch.stack([score[name] for score in scores]).mean(0) for name in scores[0]}
    scored["loss"] = scored["loss"] + consistency.loss([logits[:, batch.unlabelled] for logits in outputs], step)
    return counts[0], scored


def score_batch(logits: Tensor, batch: Batch, objective: Objective) -> Scores:
    """The mean loss and (where it has one) accuracy for each seed, [num_seeds], and what each is a mean over.

    That is the number of rows or of known targets; or of a weighted loss, the sum of the weights.

    logits: [num_seeds, num_rows, num_outputs].
    """
    y, (loss, num_outputs, is_of_classes, weight, smoothing, _) = batch.y, objective
    if batch.own is not None and loss != "cross-entropy":
        return _score_each(logits, y, batch.own, objective)
    if batch.rows is not None:
        logits = logits[:, batch.rows]
    num_labels = y.shape[0] if batch.own is None else y.shape[1]
    if logits.shape[1] != num_labels:
        raise InputError(f"model: gave {logits.shape[1]} rows of output for {num_labels} labels, expected one a label.")
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
    counts: dict[str, Any] = dict.fromkeys(("loss", "accuracy"), len(y) if batch.own is None else batch.own.sum(-1))
    if weight is None and batch.own is None:
        losses = nll.mean(-1)
    else:
        w = torch.ones_like(nll[0]) if weight is None else weight.to(nll)[y]
        w = w if batch.own is None else w * batch.own
        counts["loss"] = w.sum(-1)
        # A batch may have classes without weight alone; it does not count.
        losses = (nll * w).sum(-1) / counts["loss"].clamp(min=torch.finfo(w.dtype).tiny)
    return counts, {"loss": losses, "accuracy": _share_of_right(logits, y, batch.own)}


def _share_of_right(logits: Tensor, y: Tensor, own: Tensor | None = None) -> Tensor:
    """[num_seeds]"""
    is_right = logits.detach().argmax(-1) == y
    if own is None:
        return is_right.mean(-1, dtype=torch.float64)
    return (is_right * own).sum(-1).double() / own.sum(-1).clamp(min=1)


def _score_each(logits: Tensor, y: Tensor, own: Tensor, objective: Objective) -> Scores:
    """The scores of trainings with batches of their own, one after the other; of a batch without rows they are 0."""
    scored = []
    for rows, labels, is_own in zip(logits, y, own, strict=True):
        counts, scores = score_batch(rows[is_own].unsqueeze(0), Batch((), None, labels[is_own]), objective)
        scored.append((counts, scores if bool(is_own.any()) else {key: rows.sum().view(1) * 0 for key in scores}))
    names = scored[0][1]
    counts = {key: torch.tensor([float(counts[key]) for counts, _ in scored], device=y.device) for key in names}
    return counts, {key: torch.cat([scores[key] for _, scores in scored]) for key in names}


def _score_targets(out: Tensor, y: Tensor, loss: str) -> Scores:
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


def check_finite(
    epoch: int,
    seeds: list[int],
    active: Tensor,
    tensors: Mapping[str, Tensor],
    ranks: Ranks = LONE,
    own: Sequence[Tensor] = (),
) -> None:
    """Raise NonFiniteError with the first of `tensors` that is not finite for a seed in training.

    They are [num_seeds, ...], or of one seed of any shape.

    Of several ranks, `tensors` are the same on all, and `own` what each of them had before: says on which it is not
    finite.
    """
    # Norms are the fastest look at all of them; where one overflows, the exact look below finds nothing.
    found = [tensor.detach() if tensor.requires_grad else tensor for tensor in tensors.values()]
    floats = [tensor for tensor in found if tensor.is_floating_point()]
    if floats and all(tensor.is_cpu for tensor in floats):
        norm = sum(norm.item() for norm in torch._foreach_norm(floats))
    else:  # of another device a single number is waited for
        norm = torch.nn.utils.get_total_norm(floats).item()
    if math.isfinite(norm):
        return
    for name, tensor in tensors.items():
        bad = ~torch.isfinite(tensor.detach().cpu().reshape(len(seeds), -1)[active])
        if bool(bad.any()):
            seed = torch.tensor(seeds)[active][bad.nonzero()[0, 0]]
            which = (f" of seed {int(seed)}" if len(seeds) > 1 else "") + ranks.not_finite(own)
            raise NonFiniteError(
                f"epoch {epoch}: {name}{which} is not finite ({int(bad.sum())} of {bad.numel()} values). "
                "Training stopped; a smaller lr or normalised features may help."
            )
