"""Scores of a classifier: accuracy, macro-F1, confusion matrix. Fractions between 0 and 1.

Nothing is scored by accident: NaN, no rows, other shapes, and labels outside 0 .. C-1 (-1, unlabelled) are errors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import InputError, InputTypeError


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of rows whose largest score is at the label.

    Args:
        scores: [num_rows, num_classes], logits or probabilities; or predicted labels [num_rows].
        y: labels, int64 [num_rows].

    >>> accuracy(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    0.5
    """
    predicted = _predicted(scores, y)
    return float((predicted == y).double().mean())


def confusion_matrix(scores: Tensor, y: Tensor, num_classes: int | None = None) -> Tensor:
    """Counts [num_classes, num_classes]: row = true class, column = predicted class.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    tensor([[1, 1],
            [0, 1]])
    """
    predicted = _predicted(scores, y)
    c = num_classes if num_classes is not None else int(torch.cat([predicted, y]).max()) + 1
    _check_labels("scores", predicted, c)
    _check_labels("y", y, c)
    return torch.bincount(y * c + predicted, minlength=c * c).reshape(c, c)


def macro_f1(scores: Tensor, y: Tensor, num_classes: int | None = None) -> float:
    """The mean over classes of F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c); a class that never occurs is left out.

    >>> macro_f1(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    0.6666666666666666
    """
    counts = confusion_matrix(scores, y, num_classes).double()
    hits = counts.diagonal()
    occurs = counts.sum(0) + counts.sum(1)
    return float((2 * hits[occurs > 0] / occurs[occurs > 0]).mean())


def class_weights(y: Tensor, num_classes: int) -> Tensor:
    """Weights for an unbalanced loss: num_rows / (num_classes * count_c), so that every class weighs the same.

    Args:
        y: labels of the training rows, int64 [num_rows].
        num_classes: C.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    _check_labels("y", y, num_classes)
    counts = torch.bincount(y, minlength=num_classes)
    if bool((counts == 0).any()):
        raise InputError(f"y: class {int((counts == 0).nonzero()[0])} has no row, so it has no weight; leave it out.")
    return y.shape[0] / (num_classes * counts.float())


def _predicted(scores: Tensor, y: Tensor) -> Tensor:
    """The predicted labels [num_rows], of checked arguments."""
    if y.dim() != 1 or scores.dim() not in (1, 2) or scores.shape[0] != y.shape[0]:
        raise InputError(
            f"scores and y: got shapes {tuple(scores.shape)} and {tuple(y.shape)}, "
            "expected [num_rows, num_classes] (or predicted labels [num_rows]) and [num_rows]."
        )
    if not y.shape[0]:
        raise InputError("y: got no rows, so there is nothing to score.")
    if scores.dim() == 1:
        _check_labels("scores", scores)
        _check_labels("y", y)
        return scores
    if scores.shape[1] < 2:
        raise InputError(f"scores: got shape {tuple(scores.shape)}, expected one column a class, two at least.")
    bad = ~torch.isfinite(scores)
    if bool(bad.any()):
        raise InputError(f"scores: {int(bad.sum())} are NaN or infinite, the first in row {int(bad.nonzero()[0, 0])}.")
    _check_labels("y", y, scores.shape[1])
    return scores.argmax(1)


def _check_labels(argument: str, labels: Tensor, num_classes: int | None = None) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputTypeError(f"{argument}: got {labels.dtype}, expected integer labels, one a row.")
    bad = labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        limit = "" if num_classes is None else f" and below {num_classes}"
        raise InputError(f"{argument}: label {int(labels[at])} in row {at}; labels must be at least 0{limit}.")
