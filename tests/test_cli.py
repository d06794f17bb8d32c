import argparse
import csv
import dataclasses
import errno
import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_ogb import node_files
from test_ogb import write as ogb_folder
from test_protocols import SMALL, tu_folder
from test_recipes import check_contract
from test_train import one_thread
from torch.nn import functional as F
from torch.profiler import profile

from gcnlab import load, recipes
from gcnlab.checkpoint import read_checkpoint, write_checkpoint
from gcnlab.cli import _parser, main
from gcnlab.data import catalog
from gcnlab.errors import DatasetNotFoundError
from gcnlab.models import load_model, summary
from gcnlab.recipes import RECIPES, find
from gcnlab.recipes.result import result_of, spread_of
from gcnlab.reporting import Content
from gcnlab.train import Adam, Checkpoint, fit, predict

__all__ = ["one_thread", "tu_folder"]  # fixtures
CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def gcnlab(capsys):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse's
            status = exit.code
        return status, *capsys.readouterr()

    return call


def python(*arguments, environment=None, **options):
    own = {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    environment = {**os.environ, **own, **(environment or {})}
    options = {"capture_output": True, "text": True, "timeout": 100, "check": False} | options
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, **options)


# -- run --------------------------------------------------------------------------------------------------------------


def test_run(gcnlab, tmp_path):
    out, file = tmp_path / "out", tmp_path / "new" / "result.json"
    status, said, wrong = gcnlab("run", "karate-gcn", "--seeds", 3, "--epochs", 20, "--out", out, "--json", file)
    assert (status, wrong) == (0, "")
    result = json.loads(file.read_text())
    check_contract(result, 3)
    assert result["device"] in ("cpu", "cuda")
    assert json.loads((out / "result.json").read_text()) == result
    mean, std = (f"{100 * result['test_accuracy'][key]:.2f}" for key in ("mean", "std"))
    assert f"test accuracy   {mean} % ± {std} over 3 seeds" in said
    assert said.endswith(f"wrote {out}/result.json, model.gcnlab, curves.png, report.html\n")
    assert "published" not in said
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "model.gcnlab", "report.html", "result.json"]


def test_a_picture_that_cannot_be_drawn_takes_no_figure(tmp_path):
    out, file, environment = tmp_path / "out", tmp_path / "result.json", {**os.environ, "MPLBACKEND": "nonsense"}
    command = [sys.executable, "-m", "gcnlab", "run", "karate-gcn", "--seeds", "1", "--epochs", "3", "--out", out]
    told = subprocess.run(
        [*command, "--json", file], capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment
    )
    assert (told.returncode, "test accuracy   " in told.stdout) == (0, True)
    assert json.loads(file.read_text()) == json.loads((out / "result.json").read_text())
    assert re.fullmatch(
        r"gcnlab: .*curves.png was not written; the numbers stand \(ValueError: .*'nonsense'.*\)\.\n", told.stderr
    )
    assert sorted(path.name for path in out.iterdir()) == ["model.gcnlab", "report.html", "result.json"]


def test_a_full_disk_takes_no_figure_from_the_screen(gcnlab, tmp_path, monkeypatch):
    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    arguments = ["run", "karate-gcn", "--seeds", 1, "--epochs", 3, "--out", tmp_path / "out"]
    monkeypatch.setattr("gcnlab.recipes.runner.write_json", full)
    monkeypatch.setattr("gcnlab.checkpoint.write_arrays", full)
    with pytest.warns(
        UserWarning, match=r"(result.json|model.gcnlab) was not written; .* No space left on device"
    ) as told:
        status, said, wrong = gcnlab(*arguments)
    assert (status, len(told), wrong) == (0, 2, "")
    assert "test accuracy   " in said
    monkeypatch.setattr("gcnlab.cli.write_json", full)
    with pytest.warns(UserWarning, match=r"result.json was not written"):
        status, said, wrong = gcnlab(*arguments, "--json", tmp_path / "b.json")
    assert (status, wrong) == (1, f"gcnlab: {tmp_path}/b.json: No space left on device\n")
    assert "test accuracy   " in said


def test_run_says_one_seed_and_the_published_figure(gcnlab, monkeypatch):
    karate = dataclasses.replace(RECIPES["karate-gcn"], published={("karate", "leaders"): (0.875, "Somebody 1999")})
    monkeypatch.setitem(RECIPES, "karate-gcn", karate)
    status, said, wrong = gcnlab("run", "karate-gcn", "--seeds", 1, "--epochs", 3, "--device", "cpu")
    assert (status, wrong) == (0, "")
    assert "published       87.5 %  (Somebody 1999)" in said
    assert " %, 1 seed\n" in said


def test_list(gcnlab):
    status, said, wrong = gcnlab("run", "--list")
    assert (status, wrong) == (0, "")
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert set(lines) == set(RECIPES)
    for name, recipe in RECIPES.items():
        assert f" {recipe.num_seeds} seed" in lines[name]
        assert recipe.dataset in lines[name]
        for value, source in recipe.published.values():
            assert f"{100 * value:.1f} %" in lines[name]
            assert source in lines[name]
    assert "published: none; recorded: none" in lines["karate-gcn"]
    for row in recipes.recorded():
        assert (
            f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f} % {row['protocol']} ({row['count']} "
            in lines[row["recipe"]]
        )


def test_run_prints_a_row_alone(gcnlab, tmp_path):
    file = tmp_path / "result.json"
    status, said, wrong = gcnlab("run", "karate-gcn", "--seeds", 2, "--epochs", 3, "--markdown", "--json", file)
    assert (status, wrong) == (0, "")
    result = json.loads(file.read_text())
    assert said == f"{recipes.markdown_row(result)}\n"
    assert f"| {100 * result['test_accuracy']['mean']:.2f} ± " in said
    assert "(2 seeds)" in said


def test_run_takes_threads(gcnlab, monkeypatch):
    given = {}
    monkeypatch.setattr(recipes, "run", lambda *_, **options: given.update(options) or {})
    monkeypatch.setattr(recipes, "markdown_row", lambda result: "")
    assert gcnlab("run", "karate-gcn", "--threads", 3, "--markdown")[0] == 0
    assert given["threads"] == 3


# -- compare ----------------------------------------------------------------------------------------------------------


def result_file(path, accuracy, **changes):
    per_fold = [accuracy + k / 100 for k in range(10)]
    spread = {"mean": sum(per_fold) / 10, "std": 0.03, "per_seed": [sum(per_fold) / 10], "per_fold": per_fold}
    result = {
        "recipe": path.stem, "dataset": "rings", "protocol": "nested", "model": "GCN", "num_parameters": 1234,
        "seeds": [0], "test_accuracy": spread, "published": None, "seconds": 5.0,
    }  # fmt: skip
    path.write_text(json.dumps(result | changes))
    return path


def test_compare(gcnlab, tmp_path):
    a, b = result_file(tmp_path / "gcn", 0.7), result_file(tmp_path / "mlp", 0.65)

    def compare(last_fold):
        uneven = json.loads(result_file(b, 0.65).read_text())
        uneven["test_accuracy"]["per_fold"][9] -= last_fold
        b.write_text(json.dumps(uneven))
        status, said, wrong = gcnlab("compare", a, b)
        assert (status, wrong) == (0, "")
        return said.partition("\n\n")

    # differences of 5 points, in one fold 15: 6 on average; t = 2.262 times sqrt((1/10 + 1/9) * 10) = 3.29
    paragraph, _, table = compare(0.1)
    assert "10 folds of rings (protocol nested), gcn is 6.00 points more accurate than mlp" in paragraph
    assert "goes from +2.71 to +9.29 points, p = 0.0026 (" in paragraph
    assert "these folds tell the two apart" in paragraph
    # in one fold 55: 10 on average; 2.262 times sqrt((1/10 + 1/9) * 250) = 16.43
    paragraph, _, _ = compare(0.5)
    assert "10.00 points more accurate" in paragraph
    assert "goes from -6.43 to +26.43 points, p = 0.2 (" in paragraph
    assert "these folds do not tell the two apart" in paragraph
    assert [line.split(" | ")[0] for line in table.splitlines()] == ["| recipe", "|" + "---|" * 8, "| gcn", "| mlp"]
    result_file(b, 0.65)
    said = gcnlab("compare", b, a)[1]
    assert "mlp is 5.00 points less accurate than gcn" in said
    assert "p < 0.001 (" in said


def seeds_file(path, accuracies, **changes):
    spread = {"mean": sum(accuracies) / len(accuracies), "std": 0.01, "per_seed": accuracies}
    return result_file(path, 0.5, test_accuracy=spread, seeds=list(range(len(accuracies))), **changes)


@pytest.mark.parametrize(
    ("protocol", "start", "end"),
    [
        ("random", "On 3 splits of rings (protocol random), ", "not about other data."),
        (
            "public",
            "With 3 initialisations on one split of rings (protocol public), ",
            "it says nothing of other splits.",
        ),
    ],
)
def test_compare_splits_and_seeds(gcnlab, tmp_path, protocol, start, end):
    a = seeds_file(tmp_path / "gcn", [0.80, 0.82, 0.84], protocol=protocol)
    b = seeds_file(tmp_path / "mlp", [0.79, 0.80, 0.81], protocol=protocol)
    status, said, wrong = gcnlab("compare", a, b)
    assert (status, wrong) == (0, "")
    finding = said.partition("\n")[0]
    assert finding.startswith(f"{start}gcn is 2.00 points more accurate than mlp, with a standard error of 0.58.")
    # differences of 1, 2 and 3 points; t = 4.303 times sqrt(1 / 3)
    assert "goes from -0.48 to +4.48 points, p = 0.074 (paired t-test over " in finding
    assert "do not tell the two apart" in finding
    assert finding.endswith(end)
    one = seeds_file(tmp_path / "one", [0.8], protocol=protocol)
    status, said, wrong = gcnlab("compare", one, one)
    assert (status, said) == (2, "")
    assert "expected at least 2 seeds (gcnlab run --seeds)" in wrong


def test_compare_names_the_folds(gcnlab, tmp_path):
    files = [result_file(tmp_path / name, 0.7, folds="Errica et al. 2020") for name in ("gcn", "mlp")]
    said = gcnlab("compare", *files)[1]
    assert "10 folds of rings (protocol nested, folds: Errica et al. 2020), " in said
    assert "| gcn | rings | nested, folds: Errica et al. 2020 | GCN |" in said
    status, said, wrong = gcnlab("compare", files[0], result_file(tmp_path / "old", 0.7))
    assert (status, said) == (2, "")
    assert "the results differ in folds, 'Errica et al. 2020' and None; expected the same folds" in wrong


def test_results_that_gcnlab_did_not_write_are_refused(gcnlab, tmp_path, trials):
    """By name, and never by a traceback: fields that are missing, of another type, or fewer than the rest bears."""
    a, b = result_file(tmp_path / "gcn", 0.7), tmp_path / "mlp"
    wrong = [
        None,
        True,
        -1,
        1.5,
        1e400,
        "x",
        [],
        ["x"],
        [-1],
        [0.5] * 3,
        [0.5] * 30,
        {},
        {"mean": 1},
        {"mean": "1", "std": 0},
    ]
    for trial in range(trials("crafted results", 100, 1000)):
        rng = random.Random(trial)
        result = json.loads(result_file(b, 0.65).read_text()) | {"versions": {"torch": "2"}, "device": "cpu"}
        inner = result["test_accuracy"] if rng.random() < 0.5 else result
        key = rng.choice([key for key in inner if key not in ("published", "versions", "device")])
        right = {int: (int,), float: (int, float), str: (str,), dict: ()}.get(
            type(inner[key]), ()
        )  # of lists there are wrong ones
        inner[key] = rng.choice([value for value in wrong if type(value) not in right or value == 1e400])
        if (key, inner[key]) == ("per_seed", [-1]):  # one number for one seed
            continue
        if rng.random() < 0.2:
            del inner[key]
        b.write_text("[" * 10**5 if trial == 0 else json.dumps(result))
        status, said, error = gcnlab("compare", a, b)
        assert (status, said) == (2, ""), f"trial {trial}: {key}, {inner.get(key)!r}"
        assert re.fullmatch(r"gcnlab: .*(is no result of|paired: ).*\n", error), error


# -- predict ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out / "model.gcnlab", recipes.run("karate-gcn", seeds=3, epochs=30, out=out)


def test_predict_gives_what_was_trained(gcnlab, trained, tmp_path):
    path, result = trained
    status, said, wrong = gcnlab("predict", path)
    assert (status, wrong) == (0, "")
    header, *rows = csv.reader(io.StringIO(said))
    assert header == ["node", "label", "probability"]
    karate = find("karate-gcn").graph()
    model, saved = load_model(path)
    probability = (predict(model, karate) / saved["temperature"]).softmax(1)
    assert [row[0] for row in rows] == [str(name) for name in karate.node_names]
    assert [row[1] for row in rows] == [karate.class_names[c] for c in probability.argmax(1)]
    assert [float(row[2]) for row in rows] == pytest.approx(probability.max(1).values.tolist(), abs=1e-6)
    right = [rows[i][1] == karate.class_names[karate.y[i]] for i in karate.test_mask.nonzero().squeeze(1)]
    assert sum(right) / 24 == result["test_accuracy"]["per_seed"][saved["seeds"][0]]

    file = tmp_path / "new" / "labels.csv"
    assert gcnlab("predict", path, "--data", "karate", "--out", file) == (0, "", "")
    assert file.read_text(encoding="utf-8") == said


def test_a_temperature_changes_probabilities_and_no_label(gcnlab, trained, tmp_path):
    """Without one, as older versions wrote, they are the softmax of the logits, and it says so."""
    header, weights, _ = read_checkpoint(trained[0])
    karate, model = find("karate-gcn").graph(), load_model(trained[0])[0]
    found = {}
    for temperature in (header.pop("temperature"), None, 1e-30, 1e30):
        path = tmp_path / "model.gcnlab"
        write_checkpoint(path, header if temperature is None else {**header, "temperature": temperature}, weights)
        status, said, wrong = gcnlab("predict", path)
        assert status == 0
        assert ("not calibrated" in wrong and str(path) in wrong) is (temperature is None)
        _, *rows = csv.reader(io.StringIO(said))
        found[temperature] = [float(row[2]) for row in rows]
        assert [row[1] for row in rows] == [karate.class_names[c] for c in predict(model, karate).argmax(1)]
    assert found[None] == pytest.approx(predict(model, karate).softmax(1).amax(1).tolist(), abs=1e-6)
    assert (found[1e-30], found[1e30]) == ([1.0] * 34, [0.5] * 34)


def test_a_folder_of_ones_own_is_trained_on_and_predicted(gcnlab, tmp_path):
    """Sixty nodes, of which no 1,500 are left to test; features with signs, whose sums may be next to nothing."""
    folder, out = tmp_path / "own", tmp_path / "out"
    folder.mkdir()
    rows = [(i, f"{(-1) ** i * 2.5}", f"{2.4 * (-1) ** (i + 1)}") for i in range(60)]
    (folder / "features.csv").write_text("id,a,b\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    (folder / "labels.csv").write_text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(60)))
    (folder / "edges.csv").write_text("source,target\n" + "".join(f"{i},{(i + 2) % 60}\n" for i in range(60)))
    x = find("cora-gcn").graph(str(folder), "random").x
    assert x.to_dense().abs().sum(1).tolist() == pytest.approx([1.0] * 60)
    arguments = ("--dataset", folder, "--protocol", "random", "--seeds", 2, "--device", "cpu", "--threads", 1)
    status, said, wrong = gcnlab("run", "cora-gcn", *arguments, "--out", out)
    assert (status, wrong) == (0, "")
    assert "protocol random: a new random split for each seed; stopped" in said
    assert "1,000 test" not in said + (out / "report.html").read_text(encoding="utf-8")
    for data in ((), ("--data", folder)):
        status, said, wrong = gcnlab("predict", out / "model.gcnlab", *data)
        assert (status, wrong) == (0, "")
        assert [row[:2] for row in csv.reader(io.StringIO(said))][1:] == [[str(i), "ab"[i % 2]] for i in range(60)]


def test_predict_quotes_names(gcnlab, trained, monkeypatch):
    names = ['a "b", c', "d\ne", *map(str, range(2, 33)), "ß"]
    named = load("karate").with_features("identity").replace(node_names=names)
    monkeypatch.setattr(recipes.Recipe, "graph", lambda *_: named)
    status, said, _ = gcnlab("predict", trained[0])
    assert status == 0
    assert [row[0] for row in csv.reader(io.StringIO(said, newline=""))][1:] == names


@pytest.fixture
def rings(tu_folder, monkeypatch):
    """A recipe on the forty graphs of a folder, whose files call the classes -1 and 1."""
    labels = tu_folder / "RINGS_graph_labels.txt"
    labels.write_text(labels.read_text().replace("0", "-1"))
    recipe = recipes.GraphRecipe("rings", str(tu_folder), {"features": "degree"}, (SMALL,))
    monkeypatch.setitem(RECIPES, "rings", recipe)
    return recipe


def test_predict_graphs(gcnlab, rings, tmp_path):
    path = tmp_path / "out" / "model.gcnlab"
    arguments = ("--protocol", "holdout", "--seeds", 2, "--device", "cpu", "--threads", 1, "--out", path.parent)
    status, said, wrong = gcnlab("run", "rings", *arguments)
    assert (status, wrong) == (0, "")
    assert " over 2 seeds" in said
    assert "model.gcnlab" in said
    status, said, wrong = gcnlab("predict", path)
    assert (status, wrong) == (0, "")
    header, *rows = csv.reader(io.StringIO(said))
    assert header == ["graph", "label", "probability"]
    model, saved = load_model(path)
    probability = (predict(model, rings.graphs()) / saved["temperature"]).softmax(1)
    assert [row[0] for row in rows] == [str(i) for i in range(40)]
    assert [row[1] for row in rows] == [("-1", "1")[c] for c in probability.argmax(1)]
    assert [float(row[2]) for row in rows] == pytest.approx(probability.max(1).values.tolist(), abs=1e-6)

    # Five rings by themselves: without high degrees, and of one class, but the columns and labels are the same.
    folder = tmp_path / "some"
    folder.mkdir()
    graphs = rings.graphs()[:10:2]
    source, target = graphs.batch().edge_index + 1
    a = "".join(f"{i}, {j}\n" for i, j in zip(source.tolist(), target.tolist(), strict=True))
    (folder / "SOME_A.txt").write_text(a)
    indicator = "".join(f"{g}\n" * n for g, n in enumerate(graphs.sizes.tolist(), 1))
    (folder / "SOME_graph_indicator.txt").write_text(indicator)
    (folder / "SOME_graph_labels.txt").write_text("7\n" * 5)
    status, said, wrong = gcnlab("predict", path, "--data", folder)
    assert (status, wrong) == (0, "")
    assert [row[1:] for row in csv.reader(io.StringIO(said))][1:] == [row[1:] for row in rows[:10:2]]

    status, _, wrong = gcnlab("predict", path, "--data", "karate")
    assert (status, wrong) == (2, "gcnlab: dataset: karate is no collection of graphs, which rings classifies.\n")


# -- summary ----------------------------------------------------------------------------------------------------------


def test_summary_of_a_graph_model(gcnlab, rings):
    status, said, wrong = gcnlab("summary", "rings")
    assert (status, wrong) == (0, "")
    first = rings.graphs()[: SMALL.batch_size]
    assert "  graphs             40" in said
    assert f"a batch of 7 graphs, {first.num_nodes} nodes, {first.num_edges} stored edges" in said
    assert f"convs.0 (GCNConv)    ({first.num_nodes}, 8)" in said
    assert "head (Linear)        (7, 2)" in said
    assert "total: " in said
    assert "MiB" not in said


def test_summary(gcnlab):
    status, said, wrong = gcnlab("summary", "karate-gcn")
    assert (status, wrong) == (0, "")
    assert "34" in said.splitlines()[1]
    assert "layers.0 (GCNConv)  (34, 16)" in said
    assert "total: 594 parameters; a step on the whole graph holds about 0.0 MiB of tensors" in said


def check_memory_estimate(recipe, graph):
    """The estimate within a quarter of what torch's profiler sees allocated in a step, and of what was there before."""
    model = recipe.model(graph)
    stated = float(summary(model, graph.x, graph.a_hat).rpartition("about ")[2].split()[0].replace(",", ""))
    opt = Adam(model.parameters())

    def step():
        opt.zero_grad()
        F.cross_entropy(model(graph.x, graph.a_hat)[graph.train_mask], graph.y[graph.train_mask]).backward()
        opt.step()

    step()
    opt.zero_grad()
    with profile(profile_memory=True) as profiled:
        step()
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    there = [tensor for m in {graph.x, graph.x.T, graph.a_hat} for tensor in (m.rowptr, m.col, m.value)]
    there += [p for p in model.parameters() for _ in range(3)]  # and Adam's averages
    measured = (most + sum(tensor.nbytes for tensor in there)) / 2**20
    assert stated == pytest.approx(measured, rel=0.25, abs=0.06)


@pytest.mark.data
@pytest.mark.parametrize(("name", "hidden"), [("cora-gcn", 16), ("pubmed-gcn", 16), ("pubmed-gcn", 64)])
def test_the_memory_estimate_is_honest(name, hidden, monkeypatch, tmp_path):
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path}{os.pathsep}{os.environ.get('GCNLAB_DATA', '')}")
    recipe = dataclasses.replace(find(name), hidden_channels=hidden)
    try:
        graph = recipe.graph()
    except DatasetNotFoundError:
        pytest.skip(f"the data of {name} is not in GCNLAB_DATA")
    check_memory_estimate(recipe, graph)


# -- data -------------------------------------------------------------------------------------------------------------


def fill(root, name, content=b"something else"):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for file in catalog()[name]["files"]:
        (folder / file["name"]).write_bytes(content)
    return folder


def test_data_list(gcnlab, data_root):
    fill(data_root, "cora")
    status, said, wrong = gcnlab("data", "list")
    assert (status, wrong) == (0, "")
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert set(lines) == set(catalog())
    assert " embedded " in lines["karate"]
    assert " wrong sha256 " in lines["cora"]
    assert " missing " in lines["pubmed"]
    other = data_root.parent / "other"
    assert " missing " in gcnlab("data", "list", "--data-root", other)[1].split("cora")[1].split("\n")[0]
    assert not other.exists()


def test_data_verify(gcnlab, data_root):
    status, said, wrong = gcnlab("data", "verify", "karate")
    assert (status, said, wrong) == (0, "", "")
    fill(data_root, "cora")
    status, said, wrong = gcnlab("data", "verify", "cora")
    assert status == 2
    assert "cora/ind.cora.x: wrong sha256" in said
    assert wrong.count("\n") == 1
    assert "cora: 8 missing or wrong; " in wrong
    assert "fetch again with `gcnlab data fetch cora`" in wrong
    _, twice, wrong = gcnlab("data", "verify", "cora", "karate", "cora")
    assert twice == said  # each file once
    assert wrong.count("cora: 8") == 1


def test_data_fetch(gcnlab, data_root):
    status, said, wrong = gcnlab("data", "fetch", "karate")
    assert (status, wrong) == (0, "")
    assert said.startswith("karate: ")
    folder = fill(data_root, "cora")
    status, said, wrong = gcnlab("data", "fetch", "cora")
    assert (status, said) == (2, "")
    assert wrong.startswith(f"gcnlab: {folder}")
    assert "sha256 is" in wrong
    assert wrong.count("\n") == 1


# -- exit status ------------------------------------------------------------------------------------------------------

WRONG_INPUT = {
    "nothing": ([], r"COMMAND"),
    "command": (["rum"], r"invalid choice: 'rum'"),
    "option": (["run", "karate-gcn", "--sees", 3], r"unrecognized arguments: --sees"),
    "no recipe": (["run"], r"recipe: none given; `gcnlab run --list` shows them"),
    "recipe": (["run", "cora"], r"recipe: 'cora' is unknown; the recipes are cora-gcn.*Did you mean 'cora-gcn'\?"),
    "threads": (["run", "karate-gcn", "--threads", 0], r"threads: got 0, expected at least 1"),
    "dataset": (["run", "karate-gcn", "--dataset", "cora"], r"karate-gcn does not run on 'cora'"),
    "unknown dataset": (
        ["run", "cora-gcn", "--dataset", "corra"],
        r"dataset: 'corra' is neither a data set \(cora, .*\) nor a path",
    ),
    "protocol": (["run", "karate-gcn", "--protocol", "public"], r"protocol: 'public' does not fit karate-gcn"),
    "no seeds": (["run", "karate-gcn", "--seeds", 0], r"seeds: got 0, expected at least 1"),
    "seeds": (["run", "karate-gcn", "--seeds", "many"], r"argument --seeds: invalid int value: 'many'"),
    "device": (["run", "karate-gcn", "--device", "tpu"], r"argument --device: invalid choice: 'tpu'"),
    "epochs": (["run", "karate-gcn", "--epochs", -1], r"epochs: got -1, expected at least 1"),
    "no epochs": (["run", "karate-gcn", "--epochs", 0], r"epochs: got 0, expected at least 1"),
    "half an epoch": (["run", "karate-gcn", "--epochs", "0.5"], r"argument --epochs: invalid int value: '0.5'"),
    "many seeds": (["run", "karate-gcn", "--seeds", 10**10], r"seeds: got 10000000000, expected at most 1,000,000"),
    "many threads": (["run", "karate-gcn", "--threads", 10**10], r"threads: got 10000000000, expected at most"),
    "no processes": (["run", "karate-gcn", "--nproc", 0], r"nproc: got 0, expected at least 1"),
    "many processes": (
        ["run", "karate-gcn", "--nproc", 10**6],
        r"nproc: got 1000000, expected at most [\d,]+, 64 for each of the \d+ cores here",
    ),
    "restarts of one process": (["run", "karate-gcn", "--restarts", -1], r"restarts: got -1 without --nproc"),
    "thousands of threads": (
        ["run", "karate-gcn", "--threads", 500_000],
        r"threads: got 500000, expected at most [\d,]+, 64 for each",
    ),
    "compare no threads": (["compare", "digits", "--threads", 0], r"threads: got 0, expected at least 1"),
    "restarts": (["run", "karate-gcn", "--nproc", 2, "--restarts", -1], r"restarts: got -1, expected at least 0"),
    "pretrained": (["run", "karate-gcn", "--pretrained"], r"pretrained: no weights of karate-gcn come with gcnlab"),
    "extra": (["run", "karate-gcn", "cora-gcn"], r"unrecognized arguments: cora-gcn"),
    "an empty path": (["run", "karate-gcn", "--json", ""], r"json: got nothing, expected a value; leave it out"),
    "an empty name": (["run", ""], r"recipe: got nothing, expected a value"),
    "out is a file": (["run", "karate-gcn", "--out", "FILE"], r"out: .*afile cannot be written: .*afile is a file"),
    "out below a file": (["run", "karate-gcn", "--out", "FILE/x"], r"out: .*afile/x cannot be written"),
    "json is a folder": (["run", "karate-gcn", "--json", "FOLDER"], r"json: .*afolder is a folder, expected the path"),
    "json below a file": (["run", "karate-gcn", "--json", "FILE/x.json"], r"json: .*afile/x.json cannot be written"),
    "read-only out": (["run", "karate-gcn", "--out", "READONLY/x"], r"out: .*readonly/x cannot be written"),
    "data root": (["run", "cora-gcn", "--data-root", "FILE"], r"root: .*afile is a file, expected a folder"),
    "no checkpoint there": (["predict", "FOLDER/none"], r"afolder/none: No such file or directory"),
    "a folder as checkpoint": (["predict", "FOLDER"], r"afolder: Is a directory"),
    "no checkpoint": (["predict", "FILE"], r"afile: is not a file of gcnlab's arrays, which are safetensors"),
    "no model of a recipe": (["predict", "TRAINING"], r"atraining names no recipe; expected the model.gcnlab of"),
    "another recipe": (["predict", "FOREIGN"], r"recipe: 'elsewhere' is unknown"),
    "labels into a folder": (["predict", "MODEL", "--out", "FOLDER"], r"out: .*afolder is a folder"),
    "unknown data": (["predict", "MODEL", "--data", "corra"], r"'corra' is neither a data set nor a path"),
    "data of another kind": (["predict", "MODEL", "--data", "digits"], r"dataset: digits is not one graph, of which"),
    "unknown data, near a name": (["predict", "MODEL", "--data", "karat"], r"Did you mean 'karate'\?"),
    "a device as checkpoint": (["predict", "/dev/null"], r"/dev/null: is not a file of gcnlab's arrays"),
    "a long path": (["predict", "x" * 5000], r"xxx: File name too long"),
    "compare unknown data": (["compare", "corra"], r"'corra' is neither a data set nor a path.*Did you mean 'cora'\?"),
    "compare no images": (["compare", "karate"], r"karate holds no images"),
    "compare no epochs": (["compare", "digits", "--epochs", 0], r"epochs: got 0, expected at least 1"),
    "compare models": (["compare", "digits", "--models", "relation"], r"models: 'relation' is unknown.*Did you mean"),
    "compare into a file": (["compare", "digits", "--out", "FILE"], r"out: .*afile cannot be written"),
    "bench": (["bench", "corra"], r"dataset: 'corra' is not one of cora, .*Did you mean 'cora'\?"),
    "bench no epochs": (["bench", "karate", "--epochs", 0], r"epochs: got 0, expected at least 1"),
    "bench no threads": (["bench", "karate", "--threads", 0], r"threads: got 0, expected at least 1"),
    "bench into a folder": (["bench", "karate", "--json", "FOLDER"], r"json: .*afolder is a folder"),
    "summary of other data": (["summary", "cora-gcn", "--dataset", "pubmed"], r"dataset: got pubmed without --plan"),
    "doctor into a folder": (["doctor", "--json", "FOLDER"], r"json: .*afolder is a folder"),
    "shell": (["completion", "csh"], r"argument shell: invalid choice: 'csh'"),
    "compare nothing": (["compare"], r"the following arguments are required: DATASET\|RESULT"),
    "compare one": (["compare", "FILE"], r"compare: got .*afile, expected two files that `gcnlab run --json` wrote"),
    "compare a data set": (["compare", "cora", "FILE"], r"compare: got cora .*afile, expected two files"),
    "compare no results": (["compare", "FILE", "FILE"], r"afile: is no result of `gcnlab run --json`"),
    "compare two protocols": (["compare", "RESULT", "OTHER"], r"the results differ in protocol, 'nested' and 'gin'"),
    "summary": (["summary", "cora"], r"recipe: 'cora' is unknown"),
    "data action": (["data", "remove", "cora"], r"invalid choice: 'remove'"),
    "data name": (["data", "verify", "corra"], r"'corra' is not a data set.*Did you mean 'cora'\?"),
    "data fetch": (["data", "fetch", "corra"], r"'corra' is not a data set"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_INPUT.values(), ids=WRONG_INPUT)
def test_wrong_input_is_status_2_and_one_line(gcnlab, data_root, tmp_path, trained, monkeypatch, arguments, message):
    paths = {name: tmp_path / f"a{name.lower()}" for name in ("FILE", "FOLDER", "TRAINING", "FOREIGN")}
    paths |= {"MODEL": trained[0], "READONLY": tmp_path / "readonly"}
    paths |= {"RESULT": result_file(tmp_path / "aresult", 0.5)}
    paths |= {"OTHER": result_file(tmp_path / "another", 0.5, protocol="gin")}
    paths["FILE"].write_bytes(b"no checkpoint")
    paths["FOLDER"].mkdir()
    paths["READONLY"].mkdir(mode=0o555)
    karate = find("karate-gcn").graph()
    fit(lambda: find("karate-gcn").model(karate), karate, seeds=1, epochs=1, checkpoint=Checkpoint(paths["TRAINING"]))
    model = {"class": "GCN", "config": {"in_channels": 2, "hidden_channels": 1, "out_channels": 1, "num_layers": 1}}
    weights = {"layers.0.weight": torch.ones(1, 2, 1), "layers.0.bias": torch.ones(1, 1)}
    write_checkpoint(paths["FOREIGN"], {"model": model, "recipe": "elsewhere"}, weights)
    monkeypatch.setattr("gcnlab.recipes.nodes.fit", None)  # each is found before training
    for name, path in paths.items():
        arguments = [str(argument).replace(name, str(path)) for argument in arguments]
    status, said, wrong = gcnlab(*arguments)
    assert status == 2
    assert wrong.startswith("gcnlab")
    assert wrong.count("\n") == 1
    assert re.search(message, wrong), wrong
    assert "test accuracy" not in said


# command, the module that cannot be imported, and what is said before the work
WITHOUT_PACKAGES = {
    "curves": (["run", "karate-gcn", "--out", "OUT"], "matplotlib.figure", "out: curves.png needs the package matplotlib"),
    "curves of folds": (["run", "mutag-gcn", "--out", "OUT"], "matplotlib.figure", "out: curves.png needs"),
    "drawing": (["run", "karate-gcn", "--out", "OUT"], "networkx", "out: the drawing .* needs the package networkx"),
    "layout": (["run", "mutag-gcn", "--out", "OUT"], "scipy", "out: the drawing .* needs the package scipy"),
    "t-SNE": (["run", "karate-gcn", "--out", "OUT", "--tsne"], "sklearn.manifold", "tsne needs the package scikit-learn"),
    "events": (
        ["run", "karate-gcn", "--tensorboard", "OUT"], "torch.utils.tensorboard",
        r"tensorboard needs the package tensorboard, .*; pip install tensorboard, or 'gcnlab\[tensorboard\]'\.$",
    ),
    "progress": (["run", "karate-gcn"], "tqdm", "the progress bar needs the package tqdm"),
    "folds": (["run", "mutag-gcn", "--protocol", "nested"], "sklearn.model_selection", "protocol: nested needs the package"),
    "a part": (["run", "mutag-gcn", "--protocol", "holdout"], "sklearn.model_selection", "protocol: holdout needs"),
    "digits": (["run", "fashion-mnist-grid", "--dataset", "digits"], "sklearn.datasets", "digits needs the package scikit-l"),
    "a download": (["run", "cora-gcn"], "requests", "a download needs the package requests"),
    "its file": (["data", "fetch", "cora"], "pooch", "a download needs the package pooch"),
    "other nodes": (["predict", "MODEL", "--data", "davis"], "networkx", "davis needs the package networkx"),
    "a table": (["predict", "MODEL", "--data", "OGB"], "pandas", "a table of numbers needs the package pandas"),
    "PyG": (["bench", "karate"], "torch_geometric.nn", "bench: PyG's side needs the package torch-geometric"),
    "a comparison": (["compare", "digits", "--out", "OUT"], "matplotlib.figure", "out: comparison.png needs the package"),
    "two results": (["compare", "RESULT", "OTHER"], "scipy.stats", "paired needs the package scipy"),
    "completion": (["completion", "bash"], "shtab", "shell: completion needs the package shtab"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "module", "message"), WITHOUT_PACKAGES.values(), ids=WITHOUT_PACKAGES)
def test_a_missing_package_is_met_before_the_work(
    gcnlab, data_root, tmp_path, trained, monkeypatch, arguments, module, message
):
    paths = {"OUT": tmp_path / "out", "MODEL": trained[0], "OGB": ogb_folder(tmp_path / "set", node_files())}
    paths |= {"RESULT": result_file(tmp_path / "a", 0.5), "OTHER": result_file(tmp_path / "b", 0.6)}
    arguments = [paths.get(argument, argument) for argument in arguments]
    for name in ("nodes.fit", "images.fit", "graphs.run_jobs"):
        monkeypatch.setattr(f"gcnlab.recipes.{name}", None)
    monkeypatch.setattr("gcnlab.distributed.in_processes", None)
    monkeypatch.setattr("gcnlab.bench.gcnlab_epoch", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: module == "tqdm", raising=False)
    if module == "pooch":  # of which the network is asked first
        monkeypatch.setattr(sys.modules["gcnlab.data.fetch"], "why_unreachable", lambda url: "")
    monkeypatch.setitem(sys.modules, module, None)
    status, said, wrong = gcnlab(*arguments)
    assert status == 2, wrong
    assert re.search(rf"^gcnlab: (\S+: )?{message}", wrong), wrong
    assert re.search(r"cannot be imported \(.*\); pip install [\w-]+[,.]", wrong)
    assert wrong.count("\n") == 1
    assert "accuracy" not in said.replace("validation accuracy", "")
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_is_status_1(gcnlab, monkeypatch, tmp_path):
    monkeypatch.setitem(RECIPES, "karate-gcn", dataclasses.replace(RECIPES["karate-gcn"], lr=1e30))
    status, said, wrong = gcnlab("run", "karate-gcn", "--seeds", 2, "--json", tmp_path / "result.json")
    assert status == 1
    assert wrong.startswith("gcnlab: epoch 1: ")
    assert wrong.count("\n") == 1
    assert "test accuracy" not in said
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, "a/b: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "a/b"), 2, "a/b: Permission denied"),
        (OSError("no file of\nall"), 1, "no file of all"),
        (KeyboardInterrupt(), 1, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_system_says_is_one_line(gcnlab, monkeypatch, error, status, says):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(recipes, "run", run)
    assert gcnlab("run", "karate-gcn") == (status, "", f"gcnlab: {says}\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("arguments", [[], ["--nproc", 2]], ids=str)
def test_no_cuda_is_status_2(gcnlab, arguments):
    status, said, wrong = gcnlab("run", "karate-gcn", "--device", "cuda", *arguments)
    assert (status, said) == (2, "")
    assert re.search("torch sees (no|0) CUDA device", wrong)
    assert wrong.count("\n") == 1


def test_a_line_break_in_a_path_stays_one_line(gcnlab):
    status, _, wrong = gcnlab("predict", "no\nsuch\nfile")
    assert (status, wrong) == (2, "gcnlab: no such file: No such file or directory\n")


def test_help(gcnlab):
    status, said, wrong = gcnlab("--help")
    assert (status, wrong) == (0, "")
    for command in ("run", "predict", "summary", "compare", "bench", "doctor", "completion", "data"):
        assert re.search(rf"\n    {command}\s", said)
        assert gcnlab(command, "--help")[0] == 0


def commands_of(parser):
    """Each command that does something, and what its name is."""
    subcommands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not subcommands:
        yield parser
    for action in subcommands:
        for command in action.choices.values():
            yield from commands_of(command)


def test_the_help_of_each_command_has_a_sentence_an_example_and_the_meaning_of_each_argument():
    commands = list(commands_of(_parser()))
    assert len(commands) == 10
    for command in commands:
        assert re.fullmatch(r"[A-Z].*\.", command.description), command.prog
        for example in command.epilog.removeprefix("example: ").split(", or: "):
            line, _, _ = example.partition(" > ")
            assert f"{line} ".startswith(f"{command.prog} ")
            _parser().parse_args(shlex.split(line)[1:])
        for action in command._actions:
            assert action.help, f"{command.prog} {action.dest}"
            is_off_by_default = action.dest in ("out", "json", "tensorboard", "nproc")
            if action.option_strings and action.nargs != 0 and not is_off_by_default:
                assert "default" in action.help, f"{command.prog} {action.dest}"


# -- as a process -----------------------------------------------------------------------------------------------------


def test_python_m_gcnlab(tmp_path):
    done = python("-m", "gcnlab", "run", "karate-gcn", "--seeds", 1, "--epochs", 3, "--json", tmp_path / "r.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "test accuracy" in done.stdout
    check_contract(json.loads((tmp_path / "r.json").read_text()), 1)
    done = python("-m", "gcnlab", "run", "karate")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    code = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "gcnlab", "run", "--list"], stdout=-1, stderr=-1)
process.stdout.close()
print(process.stderr.read().decode(), process.wait(60))
"""
    assert python("-c", code).stdout == " 0\n"


def test_an_interrupt_is_one_line_though_other_processes_train():
    # the terminal interrupts the whole group
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background inherits that it is ignored
command = [sys.executable, "-m", "gcnlab", "compare", "digits", "--models", "relational", "--epochs", "500"]
process = subprocess.Popen(command, stdout=-1, stderr=-1, start_new_session=True)
process.stdout.readline()
time.sleep(2)
os.killpg(process.pid, signal.SIGINT)
print(process.communicate(timeout=60)[1].decode(), process.returncode)
"""
    assert python("-c", code).stdout == "gcnlab: interrupted\n 1\n"


def test_an_output_that_cannot_hold_a_letter():
    code = """
import io, sys
sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="ascii")
from gcnlab.cli import main
print(main(["run", "--list"]), file=sys.stderr)
"""
    done = python("-c", code)
    assert done.stderr == "0\n"
    assert "recorded: 81.66 \\xb1 0.71 %" in done.stdout


def test_a_name_that_the_output_cannot_hold_is_no_other_name(tmp_path):
    """What people read is written with \\xe9 for the letter; a table of data is not."""
    path = tmp_path / "model.gcnlab"
    assert main(["run", "karate-gcn", "--seeds", "1", "--epochs", "3", "--out", str(tmp_path)]) == 0
    header, arrays, _ = read_checkpoint(path)
    write_checkpoint(path, {**header, "class_names": ["café", "bar"]}, arrays)
    environment = {"PYTHONIOENCODING": "ascii"}
    done = python("-m", "gcnlab", "predict", path, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gcnlab: the output's encoding, ascii, lacks '\\xe9'; export PYTHONIOENCODING=utf-8.\n"
    environment = {"PYTHONIOENCODING": "utf-8"}
    done = python("-m", "gcnlab", "predict", path, environment=environment, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split(",")[1] for line in done.stdout.splitlines()[1:]} <= {"café", "bar"}


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_without_streams(tmp_path, closed):
    command = (
        f"{shlex.quote(sys.executable)} -m gcnlab run karate-gcn --seeds 2 --epochs 3 --json r.json --out out {closed}"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, timeout=100, check=False)
    assert done.returncode == 0
    check_contract(json.loads((tmp_path / "r.json").read_text()), 2)
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert subprocess.run(command.replace("karate", "carate"), shell=True, cwd=tmp_path, env=environment, stderr=-1, check=False).returncode == 2  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
def test_no_file_takes_the_place_of_a_closed_stream():
    code = (
        "import os; from gcnlab.cli import main; main(['run', '--list']); print(os.open('/', 0), file=open('{}', 'w'))"
    )
    for stream in range(3):
        command = f'{shlex.quote(sys.executable)} -c "{code.format("/dev/fd/9")}" 9>&1 >/dev/null {stream}>&-'
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(command, shell=True, stdout=-1, env=environment, text=True, timeout=100, check=False)
        assert int(done.stdout) > 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locale")
def test_a_locale_of_ascii(tmp_path):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    command = ("-m", "gcnlab", "run", "karate-gcn", "--seeds", 2, "--epochs", 3, "--out", tmp_path / "out")
    done = python(*command, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"test accuracy   \d+\.\d+ % \\xb1 \d", done.stdout)
    assert "±" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


OTHERS = {"scipy", "pandas", "matplotlib", "networkx", "torch_geometric", "ogb", "sklearn", "pooch", "requests", "tqdm"}


@pytest.fixture(scope="module")
def modules_of():
    """The modules that a process has after running some code."""

    def run(code):
        done = python("-W", "error", "-c", f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))")
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout.splitlines()[-1]))

    return run


@pytest.fixture(scope="module")
def modules_of_torch(modules_of):
    """What comes with torch is not ours: numpy, and tqdm where it is installed."""
    return modules_of("import torch, numpy")


def test_import_loads_torch_alone(modules_of, modules_of_torch):
    loaded = modules_of("import gcnlab")
    assert loaded.isdisjoint({"torch._dynamo", "sympy", *OTHERS - modules_of_torch})
    packages = {name.partition(".")[0] for name in loaded - modules_of_torch}
    assert packages - set(sys.stdlib_module_names) == {"gcnlab"}


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--seeds", "3", "--epochs", "5"]], ids=str)
def test_a_run_loads_torch_alone(modules_of, modules_of_torch, arguments):
    loaded = modules_of(f"from gcnlab.cli import main; main({['run', 'karate-gcn', *arguments]})")
    assert loaded.isdisjoint({"torch._dynamo", "sympy", *OTHERS - modules_of_torch})


def test_one_more_kind_of_recipe_is_one_class(gcnlab, tmp_path, monkeypatch):
    """What runs, lists, describes and predicts asks a recipe for all that it wants to know."""

    class Toss:
        kind, header, report_packages = "coin", {"sides": int}, ()
        takes_pictures = has_pretrained = takes_path = False
        name, dataset, datasets, protocols, published = "toss", "coins", [str(tmp_path)], ("fair",), {}
        num_seeds, epochs, model_name = 2, 3, "a coin"

        def run(self, run):
            values = spread_of([0.25, 0.75])
            result = result_of(
                self, run, data="", num_parameters=0, seeds=[0, 1], test_accuracy=values, val_accuracy=values,
                epochs=run.epochs, epoch_seconds=[0.5],
            )  # fmt: skip
            return result, lambda files: Content({"protocol": run.protocol}, ["heads", "tails"])

        def describe(self, root=None):
            return "two sides"

        def predict(self, model, header, dataset, root, pictures=()):
            return ["a"], torch.tensor([[0.0, 1.0]])

    monkeypatch.setitem(RECIPES, "toss", Toss())
    status, said, wrong = gcnlab("run", "toss", "--dataset", tmp_path, "--out", tmp_path / "out")
    assert (status, wrong) == (0, "")
    assert "test accuracy   50.00 % ± 25.00 over 2 seeds" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "report.html"}
    assert gcnlab("summary", "toss") == (0, "two sides\n", "")
    assert "toss" in gcnlab("run", "--list")[1]
    assert (
        "pretrained: no weights of toss come with gcnlab"
        in gcnlab("run", "toss", "--dataset", tmp_path, "--pretrained")[2]
    )
    head = {"recipe": "toss", "dataset": "coins", "sides": 2, "class_names": ["heads", "tails"], "temperature": 1.0}
    monkeypatch.setattr("gcnlab.models.load_model", lambda path: (None, head))
    assert gcnlab("predict", "model") == (0, "coin,label,probability\na,tails,0.731059\n", "")
    del head["sides"]
    assert "it has no sides, expected an integer" in gcnlab("predict", "model")[2]
