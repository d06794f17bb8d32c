"""Scores of classes (accuracy, macro-F1, confusion matrix), of targets 0 and 1 (ROC-AUC, average precision), of numbers
(mean absolute, root mean squared error, R²) and of probabilities (calibration error, and the temperature that lowers it).
All but those of numbers and the temperature are fractions between 0 and 1.

Nothing is scored by accident: NaN, no rows, other shapes, and labels outside 0 .. C-1 (-1, unlabelled) are errors. A
target that is NaN is a missing one, which is left out; each of several targets is scored by itself, and the mean returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .checks import check_count
from .errors import InputError, InputTypeError
from .inputs import as_tensor
from .machine import check_devices
from .memory import check_large

# How texts and pictures write the names of scores that select an epoch.
NAMES = {
    "accuracy": "accuracy", "roc_auc": "ROC-AUC", "average_precision": "average precision", "macro_f1": "macro-F1",
    "mae": "MAE", "rmse": "RMSE", "r2": "R²",
}  # fmt: skip
FRACTIONS = ("accuracy", "roc_auc", "average_precision", "macro_f1")  # between 0 and 1


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of rows whose largest score is at the label.

    Args:
        scores: [num_rows, num_classes], logits or probabilities; or predicted labels [num_rows].
        y: labels, int64 [num_rows].

    >>> accuracy(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    0.5
    """
    predicted, y = _labels(scores, y)
    return float((predicted == y).double().mean())


def per_class_accuracy(scores: Tensor, y: Tensor, num_classes: int | None = None) -> Tensor:
    """Share of the rows of each class whose largest score is at it (the recall of the class): [num_classes] float64.

    A class that no row has is NaN.

    >>> per_class_accuracy(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    counts = confusion_matrix(scores, y, num_classes).double()
    return counts.diagonal() / counts.sum(1)


def confusion_matrix(scores: Tensor, y: Tensor, num_classes: int | None = None) -> Tensor:
    """Counts [num_classes, num_classes]: row = true class, column = predicted class.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    tensor([[1, 1],
            [0, 1]])
    """
    predicted, y = _labels(scores, y)
    c = int(torch.cat([predicted, y]).max()) + 1 if num_classes is None else check_count("num_classes", num_classes, 1)
    _check_labels("scores", predicted, c)
    _check_labels("y", y, c)
    _check_classes_fit("y" if num_classes is None else "num_classes", "a confusion matrix", c, 16 * c * c, y)
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


def roc_auc(scores: Tensor, y: Tensor) -> float:
    """The area under the ROC curve: the chance that a row of target 1 scores higher than one of target 0, ties a half.

        AUC = (R - n_1 (n_1 + 1) / 2) / (n_1 n_0),   R = sum of the ranks of the n_1 rows of target 1

    where equal scores share the mean of their ranks (Hanley & McNeil 1982). It is the mean over the targets that have
    both a 1 and a 0, as OGB's evaluator takes it.

    Args:
        scores: logits or probabilities, [num_rows] or [num_rows, num_targets].
        y: 0, 1, or NaN where missing, of the same shape; [num_rows] and [num_rows, 1] are the same.

    >>> roc_auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]))
    0.875
    """

    def area(score: Tensor, target: Tensor) -> Tensor:
        _, value, count = score.unique(return_inverse=True, return_counts=True)
        rank = (count.cumsum(0) - (count.double() - 1) / 2)[value]
        n = target.sum()
        return (rank[target == 1].sum() - n * (n + 1) / 2) / (n * (len(target) - n))

    return _mean_over_targets(area, scores, y, is_binary=True)


def average_precision(scores: Tensor, y: Tensor) -> float:
    """sum_k (R_k - R_{k-1}) P_k: precision P_k at each distinct score, weighted by what it adds to the recall R_k.

    It is the mean over the targets that have both a 1 and a 0, as OGB's evaluator takes it.

    Args:
        scores: logits or probabilities, [num_rows] or [num_rows, num_targets].
        y: 0, 1, or NaN where missing, of the same shape; [num_rows] and [num_rows, 1] are the same.

    >>> average_precision(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    0.8333333333333333
    """

    def area(score: Tensor, target: Tensor) -> Tensor:
        _, value, count = (-score).unique(return_inverse=True, return_counts=True)
        hits = torch.zeros(len(count), dtype=target.dtype, device=target.device).index_add(0, value, target)
        return (hits / hits.sum() * hits.cumsum(0) / count.cumsum(0)).sum()

    return _mean_over_targets(area, scores, y, is_binary=True)


def mean_absolute_error(outputs: Tensor, y: Tensor) -> float:
    """mean |output - y| of each target, and the mean over targets; in the unit of y.

    Args:
        outputs: [num_rows] or [num_rows, num_targets].
        y: of the same shape, NaN where missing; [num_rows] and [num_rows, 1] are the same.

    >>> mean_absolute_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 5.0]))
    1.0
    """
    return _mean_over_targets(lambda output, target: (output - target).abs().mean(), outputs, y)


def root_mean_squared_error(outputs: Tensor, y: Tensor) -> float:
    """sqrt(mean (output - y)^2) of each target, and the mean over targets; in the unit of y.

    Args:
        outputs: [num_rows] or [num_rows, num_targets].
        y: of the same shape, NaN where missing; [num_rows] and [num_rows, 1] are the same.

    >>> root_mean_squared_error(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 7.0]))
    3.5355339059327378
    """
    return _mean_over_targets(lambda output, target: (output - target).square().mean().sqrt(), outputs, y)


def r2_score(outputs: Tensor, y: Tensor) -> float:
    """The coefficient of determination (Wright 1921) of each target, and the mean over targets.

        R² = 1 - sum_i (y_i - output_i)^2 / sum_i (y_i - mean(y))^2

    It is 1 where all outputs are right, 0 for the mean of the targets as output, and below 0 for what is worse than that.

    Args:
        outputs: [num_rows] or [num_rows, num_targets].
        y: of the same shape, NaN where missing; [num_rows] and [num_rows, 1] are the same.

    Raises:
        InputError: a target is the same in all rows, so that it has no R²; what `mean_absolute_error` refuses.

    >>> r2_score(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 3.0]))
    -1.0
    """

    def explained(output: Tensor, target: Tensor) -> Tensor:
        if bool((target == target[0]).all()):
            raise InputError(
                f"y: a target is {float(target[0]):g} in all of its {len(target)} known rows, so it has no R²; leave it out."
            )
        return 1 - (target - output).square().sum() / (target - target.mean()).square().sum()

    return _mean_over_targets(explained, outputs, y)


def calibration_error(scores: Tensor, y: Tensor, num_bins: int = 10) -> float:
    """How far probabilities are from the share of right predictions (expected calibration error, ECE).

        ECE = sum_b |B_b| / N |acc(B_b) - conf(B_b)|,   B_b = {i: (b - 1) / B < max_c p_ic <= b / B},   b = 1 .. B

    conf(B_b) is the mean of these largest probabilities and acc(B_b) the share of rows in which the largest is at the
    label (Naeini et al. 2015; Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3). At 0, 80 % of the
    predictions of probability 0.8 are right. A small test set does not give 0 even for true probabilities.

    Args:
        scores: probabilities [num_rows, num_classes], whose rows sum to 1 within 0.01: the softmax of logits. One
            probability p [num_rows, 1] of two classes is torch.cat([1 - p, p], 1).
        y: labels, int64 [num_rows].
        num_bins: B, bins of equal width.

    Raises:
        InputError, InputTypeError: scores that are no probabilities, such as logits; one column; what `accuracy` refuses.

    >>> calibration_error(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
    0.25
    """
    num_bins = check_count("num_bins", num_bins, 1)
    check_large("num_bins", f"{num_bins:,} bins", 24 * num_bins, torch.device("cpu"), "10 to 100 are usual.")
    p, predicted, y = _of_classes(
        "scores", scores, y, "of one probability p [num_rows, 1] of two classes, torch.cat([1 - p, p], 1) makes two"
    )
    bad = (p < 0).any(1) | ((p.sum(1) - 1).abs() > 0.01)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise InputError(
            f"scores: row {row} holds {float(p[row].min()):g} to {float(p[row].max()):g} and sums to "
            f"{float(p[row].sum()):g}, expected probabilities that sum to 1; of logits, logits.softmax(1)."
        )
    confidence = p.amax(1)
    edges = torch.arange(1, num_bins, dtype=p.dtype, device=p.device) / num_bins
    excess = (predicted == y).double() - confidence
    by_bin = excess.new_zeros(num_bins)
    return float(by_bin.index_add(0, torch.bucketize(confidence, edges), excess).abs().sum() / len(y))


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The temperature T > 0 at which softmax(logits / T) predicts the labels best (Guo et al. 2017, section 4.2).

        T = argmin_T -sum_i sum_c t_ic log softmax(z_i / T)_c,   t_ic = (n [y_i = c] + 1 / C) / (n + 1)

    This is the negative log-likelihood of n labels and of one more whose class is unknown (as Platt 1999 smooths his
    targets): n rows without an error do not show that there are none, and of separated rows no T would be the smallest.
    It is convex in 1 / T, and T is found by bisection in float64. Where the logits are no better than chance, T is 1,000
    times the widest row, max_c z_c - min_c z_c, and the probabilities are close to uniform; where all are equal, T is 1.

    Dividing by T changes no order within a row, so the predictions stay. Fit T on rows that trained nothing, such as the
    validation nodes, never on the test rows.

    Args:
        logits: z [num_rows, num_classes], or the logarithms of probabilities. One logit z [num_rows, 1] of two classes is
            torch.nn.functional.pad(z, (1, 0)).
        y: labels, int64 [num_rows].

    Raises:
        InputError, InputTypeError: one column; what `accuracy` refuses.

    Three of four rows are right; with half of a fifth the share is 3.5 / 5 = softmax([2, 0] / T):

    >>> logits = torch.tensor([[2.0, 0.0]]).repeat(4, 1)
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 4), round(2 / math.log(3.5 / 1.5), 4)
    (2.3604, 2.3604)
    """
    z, _, y = _of_classes(
        "logits", logits, y, "of one logit z [num_rows, 1] of two classes, torch.nn.functional.pad(z, (1, 0)) makes two"
    )
    n, c = z.shape
    z = z - z.amax(1, keepdim=True)
    widest = float(-z.min())
    if widest == 0:
        return 1.0
    _check_classes_fit("logits", f"the targets of {n:,} rows", c, 24 * n * c, y)
    target = (n * F.one_hot(y, c).to(z.dtype) + 1 / c) / (n + 1)
    low, high = math.log(widest) - 34, math.log(widest) + math.log(1000)  # e^-34 is about the precision of float64
    for _ in range(60):
        middle = (low + high) / 2
        p = (z / math.exp(middle)).softmax(1)
        slope = float(((p - target) * z).sum())  # of the negative log-likelihood, by 1 / T
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp(high)


def class_weights(y: Tensor, num_classes: int) -> Tensor:
    """Weights for an unbalanced loss: num_rows / (num_classes * count_c), so that every class weighs the same.

    Args:
        y: labels of the training rows, int64 [num_rows].
        num_classes: C.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    _check_labels("y", y, check_count("num_classes", num_classes, 1))
    _check_classes_fit("num_classes", "the weights", num_classes, 16 * num_classes, y)
    counts = torch.bincount(y, minlength=num_classes)
    if bool((counts == 0).any()):
        raise InputError(f"y: class {int((counts == 0).nonzero()[0])} has no row, so it has no weight; leave it out.")
    return y.shape[0] / (num_classes * counts.float())


def _of_classes(argument: str, scores: Tensor, y: Tensor, remedy: str) -> tuple[Tensor, Tensor, Tensor]:
    """Scores float64 [num_rows, num_classes], the predicted and the true labels, of checked arguments."""
    scores = as_tensor(argument, scores, "one number per row and class")
    if scores.dim() != 2 or scores.shape[1] < 2:
        raise InputError(f"{argument}: got shape {tuple(scores.shape)}, expected [num_rows, num_classes]; {remedy}.")
    predicted, y = _labels(scores, y, argument)
    return scores.detach().double(), predicted, y


def _labels(scores: Tensor, y: Tensor, argument: str = "scores") -> tuple[Tensor, Tensor]:
    """The predicted and the true labels, both int64 [num_rows], of checked arguments."""
    scores, y = as_tensor(argument, scores, "scores or labels"), as_tensor("y", y, "integer labels")
    check_devices(**{argument: scores, "y": y})
    if y.dim() != 1 or scores.dim() not in (1, 2) or scores.shape[0] != y.shape[0]:
        raise InputError(
            f"{argument} and y: got shapes {tuple(scores.shape)} and {tuple(y.shape)}, "
            "expected [num_rows, num_classes] (or predicted labels [num_rows]) and [num_rows]."
        )
    if not y.shape[0]:
        raise InputError("y: got no rows, so there is nothing to score.")
    if scores.dim() == 1:
        _check_labels(argument, scores)
        _check_labels("y", y)
        return scores.long(), y.long()
    if scores.shape[1] < 2:
        raise InputError(f"{argument}: got shape {tuple(scores.shape)}, expected one column a class, two at least.")
    bad = ~torch.isfinite(scores)
    if bool(bad.any()):
        raise InputError(
            f"{argument}: {int(bad.sum())} are NaN or infinite, the first in row {int(bad.nonzero()[0, 0])}."
        )
    _check_labels("y", y, scores.shape[1])
    return scores.argmax(1), y.long()


def _check_classes_fit(argument: str, what: str, num_classes: int, num_bytes: int, y: Tensor) -> None:
    remedy = "torch.unique(y, return_inverse=True)[1] numbers the classes that there are."
    check_large(argument, f"{what} of {num_classes:,} classes", num_bytes, y.device, remedy)


def _mean_over_targets(
    score: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor, is_binary: bool = False
) -> float:
    """The mean of score(outputs, y), both [num_known] float64, over the targets that it is defined for."""
    outputs, y = as_tensor("scores", outputs, "numbers"), as_tensor("y", y, "numbers")
    check_devices(scores=outputs, y=y)
    # [num_rows] would be broadcast against [num_rows, 1] to [num_rows, num_rows].
    outputs, y = (part.unsqueeze(1) if part.dim() == 1 else part for part in (outputs.detach(), y.detach()))
    if outputs.dim() != 2 or outputs.shape != y.shape:
        raise InputError(
            f"scores and y: got shapes {tuple(outputs.shape)} and {tuple(y.shape)}, expected [num_rows, num_targets] "
            "twice, or [num_rows]; of the logits of two classes the score is logits[:, 1] - logits[:, 0]."
        )
    outputs, y = outputs.double(), y.double()
    known = ~y.isnan()
    for argument, bad, expected in (
        ("scores", ~outputs.isfinite(), "a finite number"),
        ("y", known & ~((y == 0) | (y == 1) if is_binary else y.isfinite()), "0, 1 or NaN" if is_binary else "finite"),
    ):
        if bool(bad.any()):
            row, column = bad.nonzero()[0].tolist()
            found = float((outputs if argument == "scores" else y)[row, column])
            raise InputError(f"{argument}: {found:g} in row {row}, column {column}; expected {expected}.")
    is_scored = ((y == 1).any(0) & (y == 0).any(0) if is_binary else known.any(0)).tolist()
    if not any(is_scored):
        need = "both a 1 and a 0" if is_binary else "a known value"
        raise InputError(f"y: no target has {need}, so there is nothing to score.")
    values = [score(outputs[known[:, t], t], y[known[:, t], t]) for t, has in enumerate(is_scored) if has]
    return float(torch.stack(values).mean())


def _check_labels(argument: str, labels: Tensor, num_classes: int | None = None) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputTypeError(f"{argument}: got {labels.dtype}, expected integer labels, one a row.")
    bad = labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        limit = "" if num_classes is None else f" and below {num_classes}"
        raise InputError(f"{argument}: label {int(labels[at])} in row {at}; labels must be at least 0{limit}.")


def mean_average_distance(h: Tensor) -> float:
    """How far apart nodes are: the mean cosine distance of all pairs, MAD (Chen et al. 2020, "over-smoothing", equation 4).

        1 - cos(h_i, h_j), mean over i != j

    It is 0 where all nodes point the same way, so that at most their lengths differ. A small distance alone does not say that
    classes cannot be told apart: it counts all pairs, those of one class, too. Nodes whose features are all zero are left
    out, and without two others it is 0.

    Args:
        h: [num_nodes, C], such as the embeddings of a layer.

    >>> mean_average_distance(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    1.0
    """
    if h.dim() != 2 or not bool(torch.isfinite(h).all()):
        raise InputError(f"h: got shape {tuple(h.shape)}, expected finite values [num_nodes, C].")
    length = h.double().norm(dim=1, keepdim=True)
    unit = (h.double() / length)[length.squeeze(1) > 0]
    n = unit.shape[0]
    if n < 2:
        return 0.0
    return float((1 - (unit.sum(0).square().sum() - n) / (n * (n - 1))).clamp(min=0))
