"""benchmarks/beside_pyg.py: its two sides are the same network and the same training."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checks import assert_close
from torch.nn import functional as F

from gcnlab import Graph, models, recipes
from gcnlab.errors import DatasetNotFoundError, InputError
from gcnlab.files import write_json
from gcnlab.recipes import find
from gcnlab.sparse import SparseMatrix

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import beside_pyg
import record

pytestmark = pytest.mark.usefixtures("one_thread", "pyg")

N, WIDTH, HIDDEN, CLASSES = 61, 11, 7, 3
NAMES = ["cora-gcn", "facebook-gcn", "blogcatalog-gcn", "photo-classic", "minesweeper-classic", "chameleon-classic"]


def graph(num_classes=CLASSES, is_sparse=False):
    """A graph with a loop and a node without neighbours; the three parts have different sizes."""
    generator = torch.Generator().manual_seed(1)
    ends = torch.randint(0, N - 1, (2, 2 * N), generator=generator)
    ends = torch.cat([ends, ends.flip(0), torch.tensor([[4], [4]])], 1).unique(dim=1)
    part = torch.arange(N) % 7
    masks = {"train_mask": part < 3, "val_mask": (part == 3) | (part == 4), "test_mask": part == 5}
    x = torch.rand(N, WIDTH, generator=generator).round(decimals=1)
    y = torch.eye(N).index_put(tuple(ends), torch.ones(())).mm(x)[:, :num_classes].argmax(1)
    return Graph.from_edges(ends, N, x=SparseMatrix.from_dense(x) if is_sparse else x, y=y, **masks)


def small(name, **changes):
    return replace(find(name), hidden_channels=HIDDEN, **changes)


def state_of(model):
    """gcnlab's weights under the names of the PyG side."""
    state = {}
    for key, value in model.state_dict().items():
        if key.startswith("layers."):
            key = key.replace("layers.", "convs.")
            if key.endswith(".weight"):
                key, value = key.removesuffix("weight") + "lin.weight", value.t()
        state[key] = value
    return state


def both(recipe, data):
    """The two models with the same weights, and what each is called with."""
    torch.manual_seed(2)
    ours, (x, adj_t) = recipe.model(data), beside_pyg.inputs_of(data)
    theirs = beside_pyg.PyGGCN(recipe, data.num_features, data.num_classes, x.is_sparse)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    theirs.load_state_dict(state_of(ours))
    return ours, theirs, (data.x, recipe.operator(data)), (x, adj_t)


@pytest.mark.parametrize("most", [2**24, 0], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_network(monkeypatch, name, most):
    monkeypatch.setattr(beside_pyg, "MOST_DENSE_ENTRIES", most)
    data = graph(is_sparse=not name.endswith("-classic"))
    ours, theirs, given, given_there = both(small(name, dropout=0.0, input_dropout=0.0), data)
    for _ in range(3):
        assert_close(theirs.train()(*given_there), ours.train()(*given), 1e-5)
    assert_close(theirs.eval()(*given_there), ours.eval()(*given), 1e-5)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_the_same_network_on_real_data(name):
    recipe = find(name)
    try:
        data = recipe.graph()
    except DatasetNotFoundError as problem:
        pytest.skip(str(problem))
    ours, theirs, given, given_there = both(recipe, data)
    with torch.no_grad():
        assert_close(theirs.eval()(*given_there), ours.eval()(*given), 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_on_the_same(monkeypatch, name):
    recipe, seen = small(name, dropout=0.4), []
    ours, theirs, given, given_there = both(recipe, graph())

    def drop(h, p, training):
        seen.append((tuple(h.shape), p))
        return h

    monkeypatch.setattr(models, "dropout", drop)
    monkeypatch.setattr(models, "relu_dropout", lambda h, *given: drop(h.relu(), *given))
    ours.train()(*given)
    at_ours = seen[:]
    seen.clear()
    monkeypatch.setattr(F, "dropout", drop)
    theirs.train()(*given_there)
    assert seen == at_ours
    assert len(seen) > 1


@pytest.mark.parametrize("weight_decay", [0.05, {"layers.0": 0.05}])
@pytest.mark.parametrize("name", ["cora-gcn", "photo-classic", "chameleon-classic"])
def test_the_same_training(monkeypatch, name, weight_decay):
    """Without dropout, from the same weights: the same losses, and a stop at the same epoch."""
    recipe = small(name, dropout=0.0, input_dropout=0.0, weight_decay=weight_decay, lr=0.1, patience=6)
    data, seen, score = graph(), [], beside_pyg.score
    torch.manual_seed(0)
    state = state_of(recipe.model(data))
    given = recipe.inputs(data, recipe.operator(data))
    history = recipe.train(data, given, [0], 90)

    def heard(metric, logits, y):
        seen.append((len(y), float(F.cross_entropy(logits, y))))
        return score(metric, logits, y)

    monkeypatch.setattr(beside_pyg, "score", heard)
    theirs = beside_pyg.train_pyg(recipe, data, 0, 90, state)
    losses = [loss for count, loss in seen if count == int(data.val_mask.sum())]
    expected = history.metrics["val_loss"][:, 0]
    assert 6 < len(expected) < 90
    assert_close(torch.tensor(losses), expected.float(), 1e-4)
    assert theirs["epochs"] == len(expected)
    monkeypatch.setattr(beside_pyg, "score", score)
    ours = beside_pyg.train_gcnlab(recipe, data, 0, 90)
    assert (ours["test"], ours["epochs"]) == (theirs["test"], theirs["epochs"])


def test_the_weights_of_the_best_epoch_are_scored(monkeypatch):
    """By ROC-AUC, whose best validation epoch is not the last."""
    recipe, calls = small("minesweeper-classic", dropout=0.0, num_layers=2, lr=0.1), []
    data, score = graph(2), beside_pyg.score

    def heard(metric, logits, y):
        calls.append((len(y) == int(data.val_mask.sum()), score(metric, logits, y)))
        return calls[-1][1]

    monkeypatch.setattr(beside_pyg, "score", heard)
    found = beside_pyg.train_pyg(recipe, data, 0, 25)
    best, expected, num_better = -1.0, None, 0
    for (is_val, value), (_, after) in zip(calls, [*calls[1:], (True, 0.0)], strict=True):
        if is_val and value > best:
            best, expected, num_better = value, after, num_better + 1
    assert found["test"] == expected
    assert 1 < num_better < 25
    assert sum(not is_val for is_val, _ in calls) == num_better


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_score_is_that_of_results(metric):
    torch.manual_seed(5)
    logits, y = torch.randn(40, 2), torch.randint(0, 2, (40,))
    assert beside_pyg.score(metric, logits, y) == pytest.approx(
        recipes.nodes._score(metric, "toy")(logits, y), abs=1e-12
    )


def test_both_sides_are_compared_and_kept(tmp_path, monkeypatch, capsys):
    kept, file = tmp_path / "kept.jsonl", tmp_path / "compared.json"
    options = ["karate-gcn", "--seeds", "2", "--epochs", "3", "--results", str(kept), "--json", str(file)]
    beside_pyg.main(options)
    found = json.loads(file.read_text())
    assert (found["recipe"], found["seeds"], found["metric"], found["protocol"]) == (
        "karate-gcn",
        2,
        "accuracy",
        "leaders",
    )
    assert found["epochs"] == {"gcnlab": 3, "PyG": 3}
    assert all(len(found[side]) == 2 and found["epoch_seconds_median"][side] > 0 for side in beside_pyg.SIDES)
    first, second = (a - b for a, b in zip(found["gcnlab"], found["PyG"], strict=True))
    assert found["paired"]["difference"] == pytest.approx((first + second) / 2, abs=1e-12)
    reach = 12.7062 * abs(first - second) / 2  # Student's t of one degree of freedom, 97.5 %
    assert found["paired"]["high"] == pytest.approx(found["paired"]["difference"] + reach, abs=1e-5)
    assert set(found["versions"]["PyG"]) - set(found["versions"]["gcnlab"]) == {"torch-geometric"}
    lines = kept.read_text().splitlines()
    assert len(lines) == 4
    kept.write_text("\n".join(lines[:3]) + "\n")  # the second seed of PyG is missing
    calls, train = [], beside_pyg.train_pyg
    monkeypatch.setattr(beside_pyg, "train_gcnlab", None)
    monkeypatch.setattr(beside_pyg, "train_pyg", lambda *given: calls.append(given[2]) or train(*given))
    beside_pyg.main(options)
    assert calls == [1]
    again = json.loads(file.read_text())
    assert [again[side] for side in beside_pyg.SIDES] == [found[side] for side in beside_pyg.SIDES]
    assert "gcnlab, seed 1: test accuracy" in capsys.readouterr().out


def test_our_side_from_a_result(tmp_path, monkeypatch):
    result, file = recipes.run("karate-gcn", seeds=3), tmp_path / "compared.json"
    write_json(tmp_path / "ours.json", result)
    options = ["karate-gcn", "--seeds", "2", "--ours", str(tmp_path / "ours.json"), "--json", str(file)]
    monkeypatch.setattr(beside_pyg, "train_gcnlab", None)
    monkeypatch.setattr(beside_pyg, "train_pyg", lambda *given: beside_pyg.told(0.5, [0.1, 0.3], 1))
    beside_pyg.main(options)
    found = json.loads(file.read_text())
    assert found["gcnlab"] == result["test_accuracy"]["per_seed"][:2]
    assert found["PyG"] == [0.5, 0.5]
    assert found["versions"]["gcnlab"] == result["versions"]
    assert found["epochs"] == {"gcnlab": result["epochs"], "PyG": 2}
    row = record.beside_pyg_row(found)
    assert row.startswith("| `karate-gcn` | accuracy | 2 | ")
    of_1_0 = {key: value for key, value in result.items() if key not in ("metric", "data", "threads")}
    write_json(tmp_path / "ours.json", of_1_0)
    beside_pyg.main(options)
    assert json.loads(file.read_text())["gcnlab"] == found["gcnlab"]
    for changes, message in (
        ({"protocol": "random"}, r"has protocol 'random', expected 'leaders'"),
        ({"data": "0"}, r"has data '0', expected"),
        ({"seeds": [0, 2]}, r"has seeds \[0, 2\], expected \[0, 1\]"),
    ):
        write_json(tmp_path / "ours.json", result | changes)
        with pytest.raises(InputError, match=message):
            beside_pyg.main(options)


@pytest.mark.parametrize(("name", "message"), [
    ("cora-gcn-plus", "cora-gcn-plus has drop_node=0.5, average=0.99"),
    ("cora-best", "cora-best has drop_node"),
    ("facebook-sampled", r"facebook-sampled has fan_outs=\(10, 10\)"),
])  # fmt: skip
def test_recipes_that_it_lacks(name, message):
    with pytest.raises(InputError, match=message):
        beside_pyg.main([name])


def test_arguments(capsys):
    for options, message in ((["--seeds", "1"], "--seeds 2 or more"), (["--ours", "a", "--epochs", "3"], "own epochs")):
        with pytest.raises(SystemExit):
            beside_pyg.main(["karate-gcn", *options])
        assert message in capsys.readouterr().err
