import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.utils.class_weight import compute_class_weight

from gcnlab import metrics
from gcnlab.errors import InputError, InputTypeError


@pytest.mark.parametrize("num_classes", [2, 3, 11])
@pytest.mark.parametrize("kind", ["logits", "labels"])
def test_scores_are_those_of_scikit_learn(num_classes, kind):
    generator = torch.Generator().manual_seed(num_classes)
    for num_rows in (1, 5, 101):
        scores = torch.randn(num_rows, num_classes, generator=generator)
        y = torch.randint(num_classes, (num_rows,), generator=generator)
        predicted = scores.argmax(1)
        given = scores if kind == "logits" else predicted
        assert metrics.accuracy(given, y) == accuracy_score(y, predicted)
        found = metrics.macro_f1(given, y, num_classes)
        assert found == pytest.approx(f1_score(y, predicted, average="macro", zero_division=0.0))
        assert metrics.macro_f1(given, y) == found  # how many classes there are does not matter
        table = metrics.confusion_matrix(given, y, num_classes)
        assert table.tolist() == confusion_matrix(y, predicted, labels=range(num_classes)).tolist()
        assert table.dtype == torch.int64


def test_accuracy_per_class_is_the_recall_of_scikit_learn():
    from sklearn.metrics import recall_score

    y, scores = torch.randint(0, 5, (200,)), torch.randn(200, 5)
    found = metrics.per_class_accuracy(scores, y)
    assert found.tolist() == pytest.approx(recall_score(y, scores.argmax(1), average=None).tolist())
    found = metrics.per_class_accuracy(torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2]), num_classes=4)
    assert str(found.tolist()) == "[1.0, nan, 0.5, nan]"
    with pytest.raises(InputError, match="no rows"):
        metrics.per_class_accuracy(torch.zeros(0, 3), torch.zeros(0).long())


def test_by_hand():
    y, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    assert metrics.accuracy(predicted, y) == 0.5
    assert metrics.confusion_matrix(predicted, y).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert metrics.macro_f1(predicted, y) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert metrics.macro_f1(predicted, y, 7) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert metrics.accuracy(predicted.int(), y.to(torch.uint8)) == 0.5
    assert metrics.accuracy(torch.full((49,), 0), torch.tensor([0] * 48 + [1])) == 48 / 49  # not rounded to float32


def test_class_weights_are_scikit_learns_balanced_ones():
    y = torch.randint(5, (97,), generator=torch.Generator().manual_seed(0))
    expected = compute_class_weight("balanced", classes=np.arange(5), y=y.numpy())
    assert metrics.class_weights(y, 5).tolist() == pytest.approx(expected.tolist())


Y = torch.tensor([0, 2, 1])
SCORES = torch.eye(3)
BAD_SCORES = {
    "nan": (
        torch.tensor([[0.1, 0.2], [0.3, math.nan]]),
        Y[:2],
        InputError,
        r"scores: 1 are NaN or infinite.* in row 1",
    ),
    "inf": (SCORES / 0, Y, InputError, r"scores: 9 are NaN or infinite, the first in row 0"),
    "(N, 1) scores": (SCORES[:, :1], Y, InputError, r"scores: got shape \(3, 1\), expected one column a class"),
    "(N, 1) labels": (SCORES, Y.unsqueeze(1), InputError, r"scores and y: got shapes \(3, 3\) and \(3, 1\)"),
    "3-D scores": (SCORES.unsqueeze(0), Y, InputError, r"scores and y: got shapes \(1, 3, 3\) and \(3,\)"),
    "other lengths": (SCORES[:2], Y, InputError, r"scores and y: got shapes \(2, 3\) and \(3,\)"),
    "no rows": (SCORES[:0], Y[:0], InputError, r"y: got no rows"),
    "one float a row": (SCORES[0], Y, InputTypeError, r"scores: got torch.float32, expected integer labels"),
    "float labels": (SCORES, Y.float(), InputTypeError, r"y: got torch.float32, expected integer labels, one a row"),
    "bool labels": (SCORES, Y > 0, InputTypeError, r"y: got torch.bool, expected integer labels"),
    "unlabelled": (SCORES, torch.tensor([0, -1, 1]), InputError, r"y: label -1 in row 1; .* at least 0 and below 3"),
    "too large": (SCORES, torch.tensor([0, 1, 3]), InputError, r"y: label 3 in row 2; .* at least 0 and below 3"),
    "negative prediction": (-Y, Y, InputError, r"scores: label -2 in row 1; labels must be at least 0\."),
}


@pytest.mark.parametrize(("scores", "y", "error", "message"), BAD_SCORES.values(), ids=BAD_SCORES)
@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.confusion_matrix, metrics.macro_f1])
def test_nothing_is_scored_by_accident(metric, scores, y, error, message):
    with pytest.raises(error, match=message):
        metric(scores, y)


def test_labels_beyond_the_number_of_classes():
    """Without the check label 3 of 3 would be counted as a hit or miss of another class."""
    with pytest.raises(InputError, match=r"scores: label 3 in row 0; .* below 3"):
        metrics.confusion_matrix(torch.tensor([3, 0]), torch.tensor([0, 0]), 3)
    with pytest.raises(InputError, match=r"y: label 4 in row 1; .* below 3"):
        metrics.macro_f1(torch.tensor([0, 0]), torch.tensor([0, 4]), 3)


def test_class_weight_errors():
    with pytest.raises(InputError, match=r"y: class 1 has no row"):
        metrics.class_weights(torch.tensor([0, 2]), 3)
    with pytest.raises(InputError, match=r"y: label 3 in row 1"):
        metrics.class_weights(torch.tensor([0, 3]), 3)
    with pytest.raises(InputError, match=r"y: label -1 in row 0"):
        metrics.class_weights(torch.tensor([-1, 1]), 2)


@pytest.mark.parametrize("h", [torch.ones(3), torch.full((3, 2), math.nan), torch.full((3, 2), math.inf)], ids=str)
def test_distances_of_what_is_no_matrix_of_numbers(h):
    with pytest.raises(InputError, match=r"h: got shape .*, expected finite values \[num_nodes, C\]"):
        metrics.mean_average_distance(h)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_few_bits_are_counted_like_others(dtype):
    y = torch.arange(20)
    assert metrics.macro_f1(y.to(dtype), y.to(dtype)) == 1.0
    assert torch.equal(metrics.confusion_matrix(y.to(dtype), y.to(dtype)), torch.eye(20, dtype=torch.int64))


def test_arrays_and_lists_are_scored_like_tensors():
    predicted, y = [0, 1, 1, 0], [0, 1, 0, 0]
    for kind in (list, np.array):
        assert metrics.accuracy(kind(predicted), kind(y)) == 0.75
        assert metrics.macro_f1(kind(predicted), kind(y)) == pytest.approx(f1_score(y, predicted, average="macro"))
        assert metrics.roc_auc(kind([0.1, 0.9, 0.4, 0.2]), kind(y)) == 1.0
    with pytest.raises(InputTypeError, match="y: got list"):
        metrics.accuracy(torch.tensor([0, 1]), ["a", "b"])


# -- probabilities ----------------------------------------------------------------------------------------------------


def draw(num_rows, num_classes, temperature=1.0, seed=0):
    """Logits, and labels that are drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_rows, num_classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).squeeze(1)


def best_temperature(logits, y):
    """scipy's minimum of the negative log-likelihood of y and of one row whose class is unknown."""
    n, c = logits.shape
    target = (np.eye(c)[y.numpy()] * n + 1 / c) / (n + 1)
    loss = lambda u: -(target * log_softmax(logits.double().numpy() / math.exp(u), axis=1)).sum()  # noqa: E731
    return math.exp(minimize_scalar(loss, bounds=(-7, 7), method="bounded", options={"xatol": 1e-9}).x)


@pytest.mark.parametrize("num_classes", [2, 3, 11])
@pytest.mark.parametrize("num_rows", [5, 101])
def test_temperature_is_that_of_scipy(num_rows, num_classes):
    logits, y = draw(num_rows, num_classes, 2.0, seed=num_rows)
    found = metrics.fit_temperature(logits, y)
    assert found == pytest.approx(best_temperature(logits, y), rel=1e-6)
    assert metrics.fit_temperature(1000 * logits + 7, y) == pytest.approx(1000 * found, rel=1e-4)  # logits in float32
    assert metrics.fit_temperature(logits.numpy(), y.to(torch.uint8)) == found


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_of_many_rows_is_the_one_they_were_drawn_with(temperature):
    logits, y = draw(20_011, 5, temperature)
    found = metrics.fit_temperature(logits, y)
    assert found == pytest.approx(temperature, rel=0.05)
    assert metrics.calibration_error((logits / found).softmax(1), y) < 0.015


def test_temperature_of_few_or_separated_rows():
    """Eight rows without an error do not make a prediction certain; Laplace would say 9 of 10."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).repeat(4, 1)
    y = logits.argmax(1)
    temperature = metrics.fit_temperature(logits, y)
    assert 0.9 < float((logits / temperature).softmax(1).amax(1).mean()) < 0.96
    assert metrics.fit_temperature(torch.zeros(3, 4), torch.tensor([0, 1, 3])) == 1.0  # nothing to scale
    assert metrics.fit_temperature(logits, 1 - y) == pytest.approx(3000)  # worse than chance: close to uniform
    for scale in (1e-30, 1e30):
        found = metrics.fit_temperature(scale * logits[:1], y[:1])  # one row: 1 - 1/4
        assert float((scale * logits[:1].double() / found).softmax(1).amax()) == pytest.approx(0.75)


def calibration_error_by_hand(p, y, num_bins):
    confidence, hit = p.max(1), p.argmax(1) == y
    total = 0.0
    for b in range(num_bins):
        inside = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("num_classes", [2, 3, 11])
@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_calibration_error_is_its_formula(num_classes, num_bins):
    logits, y = draw(211, num_classes, 3.0)
    p = logits.double().softmax(1)
    found = metrics.calibration_error(p, y, num_bins)
    assert found == pytest.approx(calibration_error_by_hand(p.numpy(), y.numpy(), num_bins), abs=1e-12)
    assert metrics.calibration_error(p.numpy(), y.numpy(), num_bins) == found
    assert metrics.calibration_error(p.bfloat16(), y, num_bins) == pytest.approx(found, abs=0.05)


def test_calibration_error_by_hand():
    # (0.6, 0.7]: 0.7 twice, one right; (0.9, 1]: 1, right
    p = torch.tensor([[0.7, 0.3], [0.3, 0.7], [1.0, 0.0]], dtype=torch.float64)
    assert metrics.calibration_error(p, torch.tensor([0, 0, 0])) == pytest.approx(2 / 3 * 0.2)
    assert metrics.calibration_error(torch.eye(3).long(), torch.arange(3)) == 0.0  # certain, and right
    assert metrics.calibration_error(torch.eye(3), torch.tensor([1, 2, 0])) == 1.0
    # 0.7 * 10 is 7.000000000000001: the upper edge of a bin belongs to it
    edge = torch.tensor([[0.65, 0.35], [0.7, 0.3]], dtype=torch.float64)
    assert metrics.calibration_error(edge, torch.tensor([1, 0])) == pytest.approx((0.65 + 0.7 - 1) / 2)


OF_OTHER_SHAPES = {"one float a row", "negative prediction", "(N, 1) scores", "3-D scores"}


@pytest.mark.parametrize(
    ("scores", "y", "error", "message"),
    [case for name, case in BAD_SCORES.items() if name not in OF_OTHER_SHAPES],
)
def test_no_temperature_is_fitted_by_accident(scores, y, error, message):
    with pytest.raises(error, match=message.replace("scores", "logits")):
        metrics.fit_temperature(scores, y)
    with pytest.raises(error, match=message):
        metrics.calibration_error(scores, y)


@pytest.mark.parametrize("scores", [torch.ones(3), torch.ones(3, 1), Y, torch.ones(1, 3, 3), [0.1, 0.2, 0.7]], ids=str)
def test_one_column_is_no_distribution(scores):
    with pytest.raises(
        InputError, match=r"logits: got shape \(.*, expected \[num_rows, num_classes\].*pad\(z, \(1, 0\)\)"
    ):
        metrics.fit_temperature(scores, Y)
    with pytest.raises(
        InputError, match=r"scores: got shape \(.*, expected \[num_rows, num_classes\].*cat\(\[1 - p, p\], 1\)"
    ):
        metrics.calibration_error(scores, Y)


@pytest.mark.parametrize(
    ("row", "found"),
    [([0.5, 0.3, 0.3], "sums to 1.1"), ([1.5, -0.5, 0.0], "holds -0.5"), ([0.0, 0.0, 0.0], "sums to 0")],
)
def test_logits_have_no_calibration_error(row, found):
    p = torch.tensor([[0.2, 0.3, 0.5], row])
    with pytest.raises(InputError, match=rf"scores: row 1 .*{found}.*softmax\(1\)"):
        metrics.calibration_error(p, Y[:2])
    with pytest.raises(InputError, match="num_bins: got 0, expected at least 1"):
        metrics.calibration_error(p[:1], Y[:1], 0)


@pytest.mark.parametrize("score", [metrics.accuracy, metrics.macro_f1, metrics.confusion_matrix, metrics.calibration_error,
                                   metrics.fit_temperature, metrics.roc_auc, metrics.mean_absolute_error])  # fmt: skip
def test_scores_and_labels_on_two_devices(score):
    with pytest.raises(InputError, match=r"y: is on meta, but (scores|logits) is on cpu; move one"):
        score(torch.rand(3, 2).softmax(1), torch.zeros(3, dtype=torch.int64, device="meta"))
