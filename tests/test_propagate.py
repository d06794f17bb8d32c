"""Label propagation and Correct & Smooth beside PyG's, beside a linear system, and by hand."""

import numpy as np
import pytest
import torch
from checks import ZOO, assert_close

from gcnlab import load
from gcnlab.errors import InputError, InputTypeError
from gcnlab.propagate import correct_and_smooth, label_propagation

pytestmark = pytest.mark.usefixtures("one_thread")

EDGES = ZOO["undirected"]
GRAPH = EDGES.graph(torch.float32)
S = GRAPH.normalize(None)
Y = torch.tensor([0, 2, -1, 1, -1, -1, 2])
MASK = torch.tensor([True, True, False, True, False, False, False])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_label_propagation_is_pygs(alpha, pyg):
    theirs = pyg.nn.LabelPropagation(num_layers=7, alpha=alpha)
    expected = theirs(Y.clamp(min=0), EDGES.edge_index, mask=MASK)
    assert_close(label_propagation(Y, MASK, S, alpha, 7), expected, 1e-6)


def test_label_propagation_converges_to_the_solution_of_its_linear_system():
    graph = ZOO["weighted"].graph()
    s = graph.normalize(None)
    start = np.zeros((7, 3))
    start[[0, 1, 3], [0, 2, 1]] = 1.0
    solved = 0.5 * np.linalg.solve(np.identity(7) - 0.5 * s.to_dense().numpy(), start)
    assert_close(label_propagation(Y, MASK, s, 0.5, 100), torch.from_numpy(solved), 1e-12)


def test_label_propagation_splits_the_karate_club():
    karate = load("karate")
    leaders = torch.zeros(34, dtype=torch.bool)
    leaders[[0, 33]] = True
    club = torch.tensor(
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, *[1] * 12]
    )  # Zachary 1977: who went with whom  # fmt: skip
    found = label_propagation(club, leaders, karate.normalize(None), 0.9).argmax(1)
    assert int((found == club).sum()) >= 31


@pytest.mark.parametrize("scale", [None, 1.5])
def test_correct_and_smooth_is_pygs(scale, pyg):
    torch.manual_seed(0)
    z = torch.randn(7, 3).softmax(1)
    theirs = pyg.nn.CorrectAndSmooth(6, 0.7, 6, 0.4, autoscale=scale is None, scale=scale or 1.0)
    weight = S.value  # PyG puts it there itself in a LabelPropagation alone
    expected = theirs(z, Y[MASK], MASK, GRAPH.edge_index, weight)
    assert_close(correct_and_smooth(z, Y, MASK, S, 0.7, 0.4, 6, scale), expected, 1e-6)


def test_correct_and_smooth_leaves_the_predictions_of_nodes_that_no_label_reaches():
    isolated = ZOO["no edges"].graph(torch.float32)
    z = torch.full((5, 2), 0.5)
    known = torch.tensor([True, False, False, False, False])
    out = correct_and_smooth(z, torch.zeros(5, dtype=torch.int64), known, isolated.normalize(None), 0.5, 0.0)
    assert out.tolist() == [[1.0, 0.0]] + [[0.5, 0.5]] * 4


def test_correct_and_smooth_of_predictions_without_an_error():
    z = torch.nn.functional.one_hot(Y.clamp(min=0), 3).float()  # right where it is known
    assert_close(correct_and_smooth(z, Y, MASK, S, smooth_alpha=0.0), z, 1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: label_propagation(Y.float(), MASK, S), InputTypeError, "got torch.float32 and torch.bool, expected"),
        (lambda: label_propagation(Y, MASK.long(), S), InputTypeError, "torch.int64, expected int64 class numbers and a"),
        (lambda: label_propagation(Y[:5], MASK[:5], S), InputError, r"got shapes \(5,\), \(5,\) and \(7, 7\)"),
        (lambda: label_propagation(Y, MASK & False, S), InputError, "mask: holds no node"),
        (lambda: label_propagation(Y, ~MASK, S), InputError, "y: node 2 is in the mask and has label -1, expected 0 to 2"),
        (lambda: label_propagation(Y, MASK, S, num_classes=2), InputError, "y: node 1 .* label 2, expected 0 to 1"),
        (lambda: label_propagation(Y, MASK, S, alpha=2.0), InputError, "alpha: got 2.0"),
        (lambda: label_propagation(Y, MASK, S, num_iterations=-1), InputError, "num_iterations: got -1"),
        (lambda: correct_and_smooth(torch.ones(6, 3), Y, MASK, S), InputError, r"probabilities: got shape \(6, 3\)"),
        (lambda: correct_and_smooth(-torch.ones(7, 3), Y, MASK, S), InputError, "got -1 for node 0, expected 0 to 1; of"),
        (lambda: correct_and_smooth(torch.nan * torch.ones(7, 3), Y, MASK, S), InputError, "probabilities: got nan for"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
