import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from gcnlab import Graph, distributed
from gcnlab.checks import (
    check_choice,
    check_count,
    check_dense,
    check_flag,
    check_integer,
    check_like,
    check_list,
    check_number,
    check_probability,
    check_seed,
    check_workers,
)
from gcnlab.errors import InputError, InputTypeError, MemoryLimitError

NO_NUMBERS = [True, np.True_, "0.5", None, [0.5], 1j, Decimal("0.5"), torch.tensor(0.5), np.array([0.5])]


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.3, np.float32(0.25), np.int8(1), Fraction(1, 4)])
def test_probabilities(value):
    found = check_probability("p", value)
    assert (type(found), found) == (float, float(value))


@pytest.mark.parametrize("value", [-0.1, 1.1, 2, 10**400, math.nan, math.inf, np.float32(-1e-9)])
def test_numbers_that_are_no_probabilities(value):
    with pytest.raises(InputError, match=r"^p: got .*, expected a probability between 0 and 1\.$"):
        check_probability("p", value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number(value):
    with pytest.raises(InputTypeError, match=r"^p: got .*, expected a probability"):
        check_probability("p", value)
    with pytest.raises(InputTypeError, match=r"^x: got .*, expected a finite number"):
        check_number("x", value)


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "expected"),
    [
        ({}, [-1e308, 0, np.float32(3e38), 1e308], [math.nan, math.inf, -math.inf, 10**400], "a finite number."),
        ({"least": 0}, [0, 5.5], [-1e-9], "a finite number at least 0."),
        ({"above": 0, "most": 1}, [1e-9, 1], [0, 1.001], "a finite number above 0 and at most 1."),
        ({"above": -90, "below": 90}, [0, -89.9], [90, -90], "a finite number above -90 and below 90."),
    ],
)
def test_numbers_within_limits(limits, inside, outside, expected):
    for value in inside:
        assert check_number("x", value, **limits) == value
    for value in outside:
        with pytest.raises(InputError) as error:
            check_number("x", value, **limits)
        assert str(error.value) == f"x: got {value!r}, expected {expected}"


def test_choices_are_of_their_kind():
    assert check_choice("norm", np.str_("batch"), (None, "batch")) == "batch"
    assert check_choice("connectivity", np.int64(8), (4, 8)) == 8
    assert check_choice("norm", None, (None, "batch", True)) is None
    assert check_choice("norm", True, (None, "batch", True)) is True
    for value, choices in ((1, (True, None)), (True, (1, 2)), (4.0, (4, 8)), (0, (False,)), ("None", (None, "a"))):
        with pytest.raises(InputError, match=rf"norm: got {value!r}, expected "):
            check_choice("norm", value, choices)
    with pytest.raises(InputError, match=r"norm: got 'layer', expected None, \"batch\", False or True\.$"):
        check_choice("norm", "layer", (None, "batch", False, True))
    with pytest.raises(InputError, match=r"norm: got array\(\['a'\]"):
        check_choice("norm", np.array(["a"]), ("a", "b"))


@pytest.mark.parametrize("value", ["False", "", 0, 1, None, [], np.True_, torch.tensor(True)], ids=repr)
def test_only_true_and_false_are_flags(value):
    with pytest.raises(InputError, match=r"bias: got .*, expected True or False"):
        check_flag("bias", value)
    assert check_flag("bias", True) is True
    assert check_flag("bias", False) is False


def test_lists():
    assert check_list("names", ("a", "b"), "names") == ["a", "b"]
    assert check_list("names", np.array([1, 2]), "numbers") == [1, 2]
    assert check_list("names", torch.tensor([0.5]), "numbers") == [0.5]
    for value in ("ab", b"ab", 5, None, {"a": 1}, {"a"}, iter("ab")):
        with pytest.raises(InputError, match=r"names: got .*, expected a list of names"):
            check_list("names", value, "names")
    with pytest.raises(InputError, match=r"names: got \[\], expected at least 1 of names"):
        check_list("names", [], "names", 1)


def test_integers_and_seeds():
    assert check_integer("down", np.int8(-3)) == -3
    for value in (2.0, "2", True, None, torch.tensor(2)):
        with pytest.raises(InputTypeError, match=r"down: got .*, expected an integer"):
            check_integer("down", value)
    for seed in (0, 2**63 - 1, np.int64(5)):
        assert (check_seed(seed), type(check_seed(seed))) == (seed, int)
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match=r"seed: got .*, expected at least 0 and below 2\^63"):
            check_seed(seed)
    for seed in (1.0, True, "1", None, math.nan):
        with pytest.raises(InputTypeError, match=r"seed: got .*, expected an integer"):
            check_seed(seed)


def test_workers_are_as_many_as_the_machine_bears(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert [check_workers("nproc", count) for count in (1, 192)] == [1, 192]
    for count in (0, -1, 193, 100_000, 2**80):
        with pytest.raises(
            InputError, match=f"nproc: got {count}, expected at (least 1|most 192, 64 for each of the 3 cores)"
        ):
            check_workers("nproc", count)
    for count in (True, 1.0, "4", None):
        with pytest.raises(InputTypeError, match="nproc: got"):
            check_workers("nproc", count)


def test_processes_that_do_not_fit_in_memory_are_not_started(monkeypatch):
    monkeypatch.setattr("gcnlab.memory.available_memory", lambda: 1 << 30)
    with pytest.raises(MemoryLimitError, match=r"nproc: 9 processes needs 2\.\d+ GiB, and 1.00 GiB are free"):
        distributed.launch(["-c", "pass"], 9, device="cpu")


def test_counts():
    for value in (3, np.int8(3), np.array(3), torch.tensor(3), torch.tensor([3])):
        found = check_count("n", value, 1)
        assert (found, type(found)) == (3, int)
    for value in (
        3.0,
        "3",
        True,
        np.True_,
        None,
        np.float64(3),
        torch.tensor(3.0),
        torch.tensor(True),
        np.array([3]),
        [3],
        math.nan,
    ):
        with pytest.raises(InputTypeError, match=r"n: got .*, expected an integer"):
            check_count("n", value)
    with pytest.raises(InputError, match="n: got 0, expected at least 1"):
        check_count("n", torch.tensor(0), 1)
    assert Graph.from_edges([[0], [1]], num_nodes=torch.tensor([[0], [4]]).max() + 1).num_nodes == 5


@pytest.mark.filterwarnings("ignore:.*beta state", "ignore:The PyTorch API of nested tensors")
def test_dense_tensors_like_a_weight():
    x = torch.ones(2, 3)
    check_dense("x", x), check_like("x", x, torch.ones(1))
    for wrong in (x.to_sparse(), x.to_sparse_csr(), torch.nested.nested_tensor([x, x])):
        with pytest.raises(InputTypeError, match=r"x: got a (sparse|nested) torch tensor .*; x\.to_dense\(\) is one"):
            check_dense("x", wrong)
    for wrong in (x.numpy(), [1.0], None):
        with pytest.raises(InputTypeError, match=r"x: got .*, expected a tensor"):
            check_dense("x", wrong)
    with pytest.raises(InputError, match=r"x: got torch.float64, but the layer has torch.float32; convert x"):
        check_like("x", x.double(), torch.ones(1))
    with pytest.raises(InputError, match="x: is on cpu, but the layer on meta"):
        check_like("x", x, torch.ones(1, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        check_like("x", x.bfloat16(), torch.ones(1))
