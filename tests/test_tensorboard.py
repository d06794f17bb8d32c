"""Event files are read back with TensorBoard's own reader, and hold what History holds."""

import math
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_cli import gcnlab
from test_distributed import run_ranks, values
from test_protocols import SMALL, tu_folder
from test_signals import stripes

from gcnlab import GCN, EarlyStopping, GridGCN, Signals, TensorBoard, fit, load, recipes
from gcnlab.errors import InputError, NonFiniteError
from gcnlab.image import grid_graph
from gcnlab.recipes import RECIPES, GraphRecipe

__all__ = ["gcnlab", "run_ranks", "tu_folder"]  # fixtures
NAMES = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]


def scalars(folder):
    """Tag -> {epoch: value}."""
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: {event.step: event.value for event in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}


def runs(folder):
    return sorted(str(file.parent.relative_to(folder)) for file in folder.rglob("events.*"))


def karate():
    return load("karate").with_features("identity")


def make():
    return GCN(34, 5, 2)


def test_event_files_hold_the_history(tmp_path):
    callbacks = [TensorBoard(tmp_path), EarlyStopping(3)]
    history = fit(make, karate(), seeds=[2, 5, 7], epochs=40, lr=0.1, callbacks=callbacks, seeds_at_once=2)
    assert runs(tmp_path) == ["seed-2", "seed-5", "seed-7"]
    lengths = set()
    for i, seed in enumerate(history.seeds):
        found = scalars(tmp_path / f"seed-{seed}")
        assert sorted(found) == sorted(NAMES)
        for name in NAMES[:-1]:
            column = history.metrics[name][:, i]
            expected = {epoch: value for epoch, value in enumerate(column.tolist(), 1) if not math.isnan(value)}
            assert found[name] == pytest.approx(expected, rel=1e-6)
        assert found["lr"] == pytest.approx(dict.fromkeys(found["val_loss"], 0.1))
        lengths.add(len(found["lr"]))
    assert len(lengths) > 1  # the seeds stop at different epochs


def test_the_learning_rate_is_that_of_the_epoch(tmp_path):
    def halve(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    fit(make(), karate(), seed=3, epochs=5, lr=0.08, scheduler=halve, callbacks=[TensorBoard(tmp_path, "run {seed}")])
    found = scalars(tmp_path / "run 3")["lr"]
    assert found == pytest.approx({1: 0.08, 2: 0.08, 3: 0.04, 4: 0.04, 5: 0.02})


def test_a_training_that_fails_has_written_its_epochs(tmp_path):
    class Diverges(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.calls = make(), 0

        def forward(self, x, a_hat):
            self.calls += 1
            return self.model(x, a_hat) * (float("nan") if self.calls > 6 else 1)

    with pytest.raises(NonFiniteError):
        fit(Diverges(), karate(), seed=0, epochs=9, callbacks=[TensorBoard(tmp_path)])
    assert list(scalars(tmp_path / "seed-0")["train_loss"]) == [1, 2, 3]


def test_the_command(gcnlab, tmp_path):
    options = ("run", "karate-gcn", "--seeds", 2, "--epochs", 7, "--device", "cpu", "--tensorboard", tmp_path)
    assert gcnlab(*options)[::2] == (0, "")
    assert runs(tmp_path) == ["seed-0", "seed-1"]
    assert list(scalars(tmp_path / "seed-1")["lr"]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("gin", [f"seed-0/fold-{k}" for k in range(1, 11)]),
        ("nested", [f"seed-0/fold-{k}/run-{run}" for k in range(1, 11) for run in (1, 2, 3)]),
        ("holdout", ["seed-0"]),
    ],
)
def test_runs_of_folds(protocol, expected, tu_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "rings", GraphRecipe("rings", str(tu_folder), {"features": "degree"}, (SMALL,)))
    logs = tmp_path / "logs"
    recipes.run("rings", protocol=protocol, epochs=2, device="cpu", threads=1, tensorboard=logs)
    assert runs(logs) == sorted(expected)
    assert list(scalars(logs / expected[-1])["train_loss"]) == [1, 2]


def test_of_processes_that_share_a_training_one_writes(run_ranks, tmp_path):
    logs = tmp_path / "logs"

    def work(rank):
        signals = Signals(*stripes(), grid_graph(5, 7))
        options = {"seed": 0, "epochs": 2, "select": "last", "progress": False}
        fit(GridGCN(1, [4], 3), signals, callbacks=[TensorBoard(logs)], **options)

    values(run_ranks(work))
    assert runs(logs) == ["seed-0"]
    assert list(scalars(logs / "seed-0")["train_loss"]) == [1, 2]


def test_a_missing_package_is_named_before_the_training(gcnlab, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("gcnlab.recipes.nodes.fit", lambda *_, **__: pytest.fail("trained"))
    status, _, wrong = gcnlab("run", "karate-gcn", "--tensorboard", tmp_path)
    assert status == 2
    assert "tensorboard needs the package tensorboard, which cannot be imported" in wrong
    assert "pip install tensorboard" in wrong


def test_what_cannot_be_logged(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"tensorboard: .*file cannot be written"):
        recipes.run("karate-gcn", tensorboard=tmp_path / "file")
    with pytest.raises(InputError, match="tensorboard: got a folder with pretrained weights"):
        recipes.run("fashion-mnist-grid", pretrained=True, tensorboard=tmp_path)
