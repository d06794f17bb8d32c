import dataclasses
import json
import math
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_protocols import SMALL, tu_folder
from test_train import one_thread

import gcnlab
from gcnlab import Graph, metrics, plot, protocols, recipes
from gcnlab.errors import DatasetNotFoundError, InputError, NonFiniteError
from gcnlab.metrics import fit_temperature
from gcnlab.models import load_model
from gcnlab.protocols import FoldJob, split, stratified
from gcnlab.recipes import RECIPES, ClassicRecipe, DiffusionRecipe, GraphRecipe, MaskedRecipe, find, run
from gcnlab.sparse import SparseMatrix
from gcnlab.train import Consistency, predict

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import calibration

__all__ = ["one_thread", "tu_folder"]  # fixtures
train = ClassicRecipe.train
FIELDS = {
    "recipe": str, "dataset": str, "data": str, "protocol": str, "model": str, "metric": str,
    "num_parameters": int, "seeds": list,
    "test_accuracy": dict, "test_macro_f1": dict, "val_accuracy": dict, "epochs": int, "seconds": float,
    "epoch_seconds_median": float, "device": str, "threads": int, "versions": dict, "published": dict | None,
}  # fmt: skip


@pytest.fixture
def real_root(tmp_path, monkeypatch):
    """The roots of GCNLAB_DATA, and before them an empty one, so that nothing is written to them."""
    monkeypatch.setenv("GCNLAB_DATA", f"{tmp_path / 'root'}{os.pathsep}{os.environ.get('GCNLAB_DATA', '')}")


def run_real(name, **options):
    try:
        find(name).graph(options.get("dataset"))
    except DatasetNotFoundError:
        pytest.skip(f"the data of {name} is not in GCNLAB_DATA")
    return run(name, **options)


def check_contract(result, num_seeds):
    assert list(result) == list(FIELDS)
    for name, kind in FIELDS.items():
        assert isinstance(result[name], kind), name
    assert result["seeds"] == list(range(num_seeds))
    for name in ("test_accuracy", "test_macro_f1", "val_accuracy"):
        spread = result[name]
        assert list(spread) == ["mean", "std", "per_seed"]
        assert len(spread["per_seed"]) == num_seeds
        assert all(type(value) is float and 0 <= value <= 1 for value in spread["per_seed"])
        assert spread["mean"] == pytest.approx(np.mean(spread["per_seed"]), abs=1e-12)
        assert spread["std"] == pytest.approx(statistics.pstdev(spread["per_seed"]), abs=1e-12)
    assert result["seconds"] > result["epoch_seconds_median"] > 0
    assert {"gcnlab", "torch", "python"} <= set(result["versions"])
    if result["published"] is not None:
        assert 0 < result["published"]["value"] < 1
        assert result["published"]["source"]
    assert json.loads(json.dumps(result)) == result


def test_the_result_of_karate():
    said = []
    result = run("karate-gcn", seeds=3, epochs=20, say=said.append)
    check_contract(result, 3)
    assert result["published"] is None
    assert (result["recipe"], result["dataset"], result["protocol"]) == ("karate-gcn", "karate", "leaders")
    assert result["num_parameters"] == 34 * 16 + 16 + 16 * 2 + 2
    assert (result["epochs"], result["device"]) == (20, "cuda" if torch.cuda.is_available() else "cpu")
    assert all(24 * value == pytest.approx(round(24 * value)) for value in result["test_accuracy"]["per_seed"])
    assert any("protocol leaders" in line for line in said)
    again = run("karate-gcn", seeds=3, epochs=20)
    assert [again[key] for key in ("test_accuracy", "val_accuracy")] == [
        result[key] for key in ("test_accuracy", "val_accuracy")
    ]


def test_one_seed_has_no_spread():
    result = run("karate-gcn", seeds=1, epochs=5)
    check_contract(result, 1)
    assert result["test_accuracy"]["std"] == 0.0


def test_default_seeds_and_epochs():
    result = run("karate-gcn")
    check_contract(result, RECIPES["karate-gcn"].num_seeds)
    assert result["epochs"] <= 200
    assert result["test_accuracy"]["mean"] > 0.85


def test_what_out_holds(tmp_path):
    out = tmp_path / "runs" / "karate"
    result = run("karate-gcn", seeds=3, epochs=20, out=out)
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "model.gcnlab", "report.html", "result.json"]
    assert json.loads((out / "result.json").read_text()) == result
    model, header = load_model(out / "model.gcnlab")
    per_seed = result["val_accuracy"]["per_seed"]
    assert header["seeds"] == [per_seed.index(max(per_seed))]
    assert (header["recipe"], header["dataset"]) == ("karate-gcn", "karate")
    graph = find("karate-gcn").graph()
    assert header["class_names"] == list(graph.class_names)
    logits = predict(model, graph, graph.test_mask)
    accuracy = (logits.argmax(1) == graph.y[graph.test_mask]).double().mean()
    assert float(accuracy) == result["test_accuracy"]["per_seed"][header["seeds"][0]]
    table = torch.tensor(header["confusion_matrix"])
    assert int(table.sum()) == 24
    assert float(table.diagonal().sum() / 24) == pytest.approx(float(accuracy))


def karate_with(monkeypatch, **changes):
    """What karate-gcn runs on, as it would be with other labels or masks."""
    own = find("karate-gcn").graph()
    monkeypatch.setattr(recipes.Recipe, "graph", lambda *_, **__: own.replace(**changes))
    return own


def temperature_of(out):
    run("karate-gcn", seeds=2, epochs=20, out=out)
    return load_model(out / "model.gcnlab")


def test_the_temperature_is_of_the_validation_nodes(tmp_path, monkeypatch):
    graph = find("karate-gcn").graph()
    model, header = temperature_of(tmp_path / "own")
    logits = predict(model, graph)
    assert header["temperature"] == fit_temperature(logits[graph.val_mask], graph.y[graph.val_mask])
    others = [graph.test_mask, graph.val_mask & (graph.val_mask.cumsum(0) == 1)]
    test, val = (torch.where(nodes, 1 - graph.y, graph.y) for nodes in others)
    one = graph.test_mask & (graph.test_mask.cumsum(0) == 1)
    for name, changes, is_same in (
        ("test labels", {"y": test}, True),
        ("one test node", {"test_mask": one}, True),
        ("a validation label", {"y": val}, False),
    ):
        karate_with(monkeypatch, **changes)
        found = temperature_of(tmp_path / name)[1]["temperature"]
        monkeypatch.undo()
        assert (found == header["temperature"]) is is_same, name


def test_the_temperature_of_a_random_split_is_of_its_own_validation_nodes(tmp_path, monkeypatch):
    """The seed that is kept has another split than the last one, which is at hand."""
    recipe = dataclasses.replace(RECIPES["karate-gcn"], name="karate-random", protocols=("random",), patience=None)
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    graph = find("karate-gcn").graph()

    def split_of(*_, seed=0, **__):
        order = torch.randperm(34, generator=torch.Generator().manual_seed(seed))
        masks = (torch.zeros(34, dtype=torch.bool).index_fill(0, part, True) for part in order.split([8, 13, 13]))
        return graph.replace(**dict(zip(("train_mask", "val_mask", "test_mask"), masks, strict=True)))

    monkeypatch.setattr(recipes.Recipe, "graph", split_of)
    result = run(recipe.name, seeds=3, epochs=15, out=tmp_path / "out")
    model, header = load_model(tmp_path / "out" / "model.gcnlab")
    per_seed = result["val_accuracy"]["per_seed"]
    assert header["seeds"] == [per_seed.index(max(per_seed))] != [2]
    val = split_of(seed=header["seeds"][0]).val_mask
    assert header["temperature"] == fit_temperature(predict(model, graph)[val], graph.y[val])


@pytest.mark.parametrize("normalized", [False, True])
def test_a_recipe_on_a_diffusion_matrix(normalized, tmp_path, monkeypatch):
    recipe = DiffusionRecipe(
        "karate-grand", "karate", ("leaders",), hidden_channels=4, weight_decay={}, patience=None, drop_node=0.5,
        average=0.9, clip_norm=1.0, top_k=10, normalized=normalized, consistency=Consistency(2, num_labelled=1),
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    said = []
    result = run(recipe.name, seeds=2, epochs=30, out=tmp_path / "out", say=said.append)
    check_contract(result, 2)
    assert result["epochs"] == 30
    assert result["num_parameters"] == (34 * 2 + 2 + 2 * 34 if normalized else 34 * 4 + 4 + 4 * 2 + 2)
    assert any("the weights after 30 epochs, averaged" in line for line in said)
    model, header = load_model(tmp_path / "out" / "model.gcnlab")
    graph = recipe.graph()
    operator = recipe.operator(graph)
    assert int(operator.rowptr.diff().max()) == 10
    logits = predict(model, graph, graph.test_mask, operator=operator)
    accuracy = float((logits.argmax(1) == graph.y[graph.test_mask]).double().mean())
    assert accuracy == result["test_accuracy"]["per_seed"][header["seeds"][0]]
    logits = predict(model, graph, operator=operator)[graph.val_mask]
    assert header["temperature"] == fit_temperature(logits, graph.y[graph.val_mask])


def test_a_recipe_of_the_classic_block(tmp_path, monkeypatch):
    recipe = ClassicRecipe(
        "karate-classic", "karate", ("leaders",), hidden_channels=8, num_layers=3, residual=True, weight_decay=5e-4,
        conv="SAGEConv", scaled_rows=False, metric="roc_auc",
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    result = run(recipe.name, seeds=2, epochs=30, out=tmp_path / "out")
    check_contract(result, 2)
    assert (result["metric"], result["epochs"]) == ("roc_auc", 30)
    assert result["model"] == "SAGE, 3 layers, 8 hidden, layer norm, residual"
    model, header = load_model(tmp_path / "out" / "model.gcnlab")
    assert len(model.residuals) == len(model.norms) == 3
    graph = recipe.graph()
    logits = predict(model, graph)[graph.test_mask]
    expected = result["test_accuracy"]["per_seed"][header["seeds"][0]]
    assert metrics.roc_auc(logits[:, 1] - logits[:, 0], graph.y[graph.test_mask]) == pytest.approx(expected, abs=1e-6)


def test_a_recipe_that_is_pretrained_on_edges(tmp_path, monkeypatch):
    recipe = MaskedRecipe("karate-masked", "karate", ("leaders",), hidden_channels=8, weight_decay=0.01, lr=0.05)
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    graph = recipe.graph()
    (history,) = (recipe.train(graph, recipe.inputs(graph, graph.a_hat), [7], 40),)
    again = recipe.train(graph, recipe.inputs(graph, graph.a_hat), [7], 40)
    assert all(torch.equal(value, again.states[name]) for name, value in history.states.items())
    unlabelled = graph.replace(y=1 - graph.y)  # other labels: the hidden layers are the same, the last map is not
    other = recipe.train(unlabelled, recipe.inputs(unlabelled, graph.a_hat), [7], 40)
    same = {name for name, value in history.states.items() if torch.equal(value, other.states[name])}
    assert {"layers.0.weight", "layers.1.weight", "norms.0.weight", "norms.0.running_mean"} <= same
    assert "output.weight" not in same
    result = run(recipe.name, seeds=2, epochs=40, out=tmp_path / "out")
    check_contract(result, 2)
    assert result["model"] == "GCN pre-trained on hidden edges, 2 layers, 8 hidden, linear"


def given_splits(monkeypatch):
    """A recipe on three splits that the set gives."""
    recipe = ClassicRecipe(
        "karate-given", "karate", ("given",), hidden_channels=4, dropout=0.2, scaled_rows=False, weight_decay=0.0
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    several = gcnlab.split(find("karate-gcn").graph(), "random-60-20-20", times=3)
    monkeypatch.setattr(recipes.nodes, "load", lambda *_, **__: several)
    return recipe, several


def test_a_seed_of_given_splits_is_of_its_own_split(monkeypatch):
    recipe, several = given_splits(monkeypatch)
    for seed, own in ((0, 0), (2, 2), (3, 0)):
        assert torch.equal(recipe.graph(seed=seed).test_mask, several.test_mask[:, own])
    accuracies = run(recipe.name, seeds=3, epochs=10)["test_accuracy"]["per_seed"]
    assert all(7 * value == pytest.approx(round(7 * value)) for value in accuracies)


def test_finished_seeds_are_not_trained_again(tmp_path, monkeypatch):
    recipe, several = given_splits(monkeypatch)
    whole = run(recipe.name, seeds=3, epochs=10)
    trained = []
    monkeypatch.setattr(ClassicRecipe, "train", lambda self, *args: trained.append(args[2]) or train(self, *args))
    run(recipe.name, seeds=1, epochs=10, out=tmp_path)
    broken = tmp_path / "seeds" / "1.gcnlab"
    broken.write_bytes(b"cut short")
    result = run(recipe.name, seeds=3, epochs=10, out=tmp_path)
    assert trained == [[0], [1], [2]]
    for name in ("test_accuracy", "val_accuracy", "test_macro_f1", "epochs", "threads"):
        assert result[name] == whole[name], name
    assert (tmp_path / "curves.png").exists()
    del trained[:]
    run(recipe.name, seeds=3, epochs=11, out=tmp_path)  # another training
    assert trained == [[0], [1], [2]]
    several = gcnlab.split(several, "random-60-20-20", seed=5, times=3)
    monkeypatch.setattr(recipes.nodes, "load", lambda *_, **__: several)
    run(recipe.name, seeds=2, epochs=11, out=tmp_path)  # other splits
    assert trained == [[0], [1], [2], [0], [1]]


# -- graph classification ---------------------------------------------------------------------------------------------


@pytest.fixture
def rings(tu_folder, monkeypatch):
    """A recipe on the forty graphs of a folder."""
    recipe = GraphRecipe("rings", str(tu_folder), {"features": "degree"}, (SMALL,))
    monkeypatch.setitem(RECIPES, "rings", recipe)
    return recipe


def test_the_result_of_a_holdout(rings, tmp_path):
    out = tmp_path / "out"
    result = run("rings", protocol="holdout", seeds=3, device="cpu", threads=1, out=out)
    assert set(result) == FIELDS.keys() - {"test_macro_f1"} | {"folds"}
    assert result["folds"] == "stratified, seeds 0 to 2"
    assert list(result["test_accuracy"]) == ["mean", "std", "per_seed"]
    assert result["seeds"] == [0, 1, 2]
    names = ["curves.png", "folds.jsonl", "model.gcnlab", "report.html", "result.json", "seeds"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "result.json").read_text()) == result

    model, header = load_model(out / "model.gcnlab")
    (seed,) = header["seeds"]
    per_seed = result["val_accuracy"]["per_seed"]
    assert seed == per_seed.index(max(per_seed))
    graphs = rings.graphs()
    rest, test = split(FoldJob(rings.dataset, {}, "holdout", 0, (), seed), graphs)
    val = rest[stratified(graphs.y[rest], 1 / 9, 0)[1]]
    assert header["temperature"] == fit_temperature(predict(model, graphs[val]), graphs[val].y)
    accuracy = (predict(model, graphs[test]).argmax(1) == graphs[test].y).double().mean()
    assert float(accuracy) == result["test_accuracy"]["per_seed"][seed]
    assert sum(map(sum, header["confusion_matrix"])) == len(test)
    assert header["class_names"] == ["0", "1"]
    assert (header["recipe"], header["dataset"], header["protocol"]) == ("rings", rings.dataset, "holdout")
    assert header["features"] == {"features": "degree", "max_degree": graphs.num_features - 1}
    assert sum(weight.numel() for weight in model.parameters()) == result["num_parameters"]


def test_bins_of_degrees_are_those_of_the_training(tu_folder):
    """Graphs of lower or higher degrees get the columns that the model knows."""
    recipe = GraphRecipe("rings", str(tu_folder), {"features": "degree_bins"}, (SMALL,))
    graphs = recipe.graphs()
    options = recipe.options_of(graphs)
    assert options == {"features": "degree_bins", "max_degree": int(graphs.whole.adjacency.rowptr.diff().max())}
    assert torch.equal(recipe.graphs(features=options).whole.x.to_dense(), graphs.whole.x.to_dense())
    wider = recipe.graphs(features={**options, "max_degree": 20})
    assert wider.num_features == 9  # floor(2 log2(21)) + 1


def test_the_models_of_folds_are_not_kept(rings, tmp_path, monkeypatch):
    out, drawn = tmp_path / "out", []
    monkeypatch.setattr(plot, "folds", lambda curves, path, title: drawn.append((len(curves), path, title)))
    result = run("rings", protocol="gin", device="cpu", threads=1, out=out)
    assert len(result["test_accuracy"]["per_fold"]) == 10
    assert sorted(path.name for path in out.iterdir()) == ["folds.jsonl", "report.html", "result.json"]
    assert drawn == [(10, out / "curves.png", f"rings on {rings.dataset}, protocol gin")]
    monkeypatch.setattr("gcnlab.protocols.run_job", lambda job: pytest.fail("trained again"))
    again = run("rings", protocol="gin", device="cpu", threads=1, out=out)
    assert again["test_accuracy"] == result["test_accuracy"]


RUNS = {
    "nodes": ("karate-gcn", {}),
    "folds": ("rings", {"protocol": "gin", "threads": 1}),
    "holdout": ("rings", {"protocol": "holdout", "threads": 1}),
    "images": ("fashion-mnist-grid", {"dataset": "digits"}),
}
AFTERWARDS = {
    "curves.png": "gcnlab.plot._figure",
    "report.html": "gcnlab.reporting.page.of_run",
    "model.gcnlab": "gcnlab.recipes.result.write_checkpoint",
    "result.json": "gcnlab.recipes.runner.write_json",
}


@pytest.mark.parametrize("kind", RUNS)
def test_what_fails_after_the_result_is_a_warning(rings, tmp_path, monkeypatch, kind):
    def fail(*_, **__):
        raise OSError("no room")

    name, options = RUNS[kind]
    seen = []

    def done(result):
        seen.append(
            (dict(result), sorted(path.name for path in tmp_path.iterdir() if path.suffix not in ("", ".jsonl")))
        )

    options = {"seeds": 1, "epochs": 1, "device": "cpu", "out": tmp_path, "done": done, **options}
    first = run(name, **options)
    assert seen == [(first, ["result.json"])]  # nothing else is made before it
    for file in AFTERWARDS if (tmp_path / "model.gcnlab").exists() else AFTERWARDS.keys() - {"model.gcnlab"}:
        with monkeypatch.context() as broken:
            broken.setattr(AFTERWARDS[file], fail)
            with pytest.warns(UserWarning, match=r"was not written; the numbers stand \(OSError: no room\)") as told:
                result = run(name, **options)
        assert result["test_accuracy"] == first["test_accuracy"]
        assert seen.pop()[0] == result
        names = {Path(str(warning.message).split(" was not")[0]).name for warning in told}
        with_maps = kind == "images" and file == "curves.png"  # the report has a picture, too
        assert names == ({file, "report.html"} if with_maps else {file})
        assert all(str(warning.message).endswith("; what is there is of an earlier run.") for warning in told)


def test_threads(rings, monkeypatch):
    """Torch's for nodes, processes for folds; afterwards torch has those that it had."""
    monkeypatch.setattr("gcnlab.threads.usable_cores", lambda: 64)
    seen = {}
    before = torch.get_num_threads()
    fit, run_jobs = gcnlab.fit, protocols.run_jobs

    def watch_fit(*args, **options):
        seen["fit"] = torch.get_num_threads()
        return fit(*args, **options)

    def watch_jobs(*args, workers, **options):
        seen["jobs"] = workers
        return run_jobs(*args, workers=1, **options)

    monkeypatch.setattr("gcnlab.recipes.nodes.fit", watch_fit)
    monkeypatch.setattr("gcnlab.recipes.graphs.run_jobs", watch_jobs)
    run("karate-gcn", seeds=1, epochs=1, threads=before + 2)
    run("rings", protocol="holdout", epochs=1, threads=3, device="cpu")
    assert seen == {"fit": before + 2, "jobs": 3}
    run("rings", protocol="holdout", epochs=1, device="cpu")
    assert seen["jobs"] is None
    monkeypatch.setitem(RECIPES, "karate-gcn", dataclasses.replace(RECIPES["karate-gcn"], lr=1e30))
    with pytest.raises(NonFiniteError):
        run("karate-gcn", seeds=1, threads=before + 2)
    assert torch.get_num_threads() == before


def test_columns_of_a_table():
    result = run("karate-gcn", seeds=1, epochs=1)
    head, line = recipes.MARKDOWN_HEAD.splitlines()
    assert len({text.count("|") for text in (head, line, recipes.markdown_row(result))}) == 1


ERRORS = {
    "recipe": (
        {"name": "karate"},
        r"recipe: 'karate' is unknown; the recipes are cora-gcn.*Did you mean 'karate-gcn'\?",
    ),
    "protocol": ({"protocol": "public"}, r"protocol: 'public' does not fit karate-gcn; it can follow leaders\.$"),
    "misspelt protocol": ({"protocol": "leader"}, r"it can follow leaders\. Did you mean 'leaders'\?$"),
    "misspelt dataset": ({"name": "cora-gcn", "dataset": "Citeser"}, r"nor a path\. Did you mean 'citeseer'\?$"),
    "threads": ({"threads": 0}, r"threads: got 0, expected at least 1"),
    "dataset": ({"dataset": "cora"}, r"dataset: karate-gcn does not run on 'cora'; it runs on karate"),
    "dataset of another kind": (
        {"name": "cora-gcn", "dataset": "Karate"},
        r"cora-gcn does not run on 'karate'; it runs",
    ),
    "a path": ({"dataset": "some/folder"}, r"karate-gcn does not run on 'some/folder'"),
    "seeds": ({"seeds": 0}, r"seeds: got 0, expected at least 1"),
    "epochs": ({"epochs": -3}, r"epochs: got -3, expected at least 1"),
    "device": ({"device": "tpu"}, r"device: got 'tpu', expected \"cpu\", \"cuda\" or None"),
    "out": ({"out": __file__}, r"out: .* cannot be written: .* is a file"),
}


@pytest.mark.parametrize(("options", "message"), ERRORS.values(), ids=ERRORS)
def test_input_errors(monkeypatch, options, message):
    monkeypatch.setattr("gcnlab.recipes.nodes.fit", None)  # each is found before training
    with pytest.raises(InputError, match=message):
        run(**({"name": "karate-gcn"} | options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none():
    with pytest.raises(
        InputError, match=r"device: 'cuda' was asked for, but torch sees no CUDA device; use --device cpu"
    ):
        run("karate-gcn", device="cuda")


def test_a_training_that_diverges_reports_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "karate-gcn", dataclasses.replace(RECIPES["karate-gcn"], lr=1e30))
    with pytest.raises(NonFiniteError):
        run("karate-gcn", seeds=2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_figures_name_their_source():
    assert {"cora-gcn", "citeseer-gcn", "pubmed-gcn", "karate-gcn"} <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.dataset in recipe.datasets
        for (dataset, protocol), (value, source) in recipe.published.items():
            assert dataset in recipe.datasets
            assert protocol in recipe.protocols
            assert 0 < value < 1
            assert any(
                paper in source
                for paper in (
                    "Kipf & Welling 2017",
                    "Xu et al. 2019",
                    "Errica et al. 2020",
                    "Feng et al. 202",
                    "tutorials",
                    "OGB's leaderboard",
                    "Luo et al. 2024",
                )
            )
        known = {**recipes.nodes.NODE_PROTOCOLS, **protocols.PROTOCOLS, **recipes.images.IMAGE_PROTOCOLS}
        assert all(protocol in known for protocol in recipe.protocols)


# -- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_cora(real_root):
    result = run_real("cora-gcn", seeds=3)
    check_contract(result, 3)
    assert result["published"] == {"value": 0.815, "source": "Kipf & Welling 2017, table 2"}
    assert result["test_accuracy"]["mean"] > 0.78
    assert result["num_parameters"] == 1433 * 16 + 16 + 16 * 7 + 7
    assert all(value == round(value, 3) for value in result["test_accuracy"]["per_seed"])  # of 1,000 nodes


@pytest.mark.data
@pytest.mark.parametrize(("name", "most"), [("cora-gcn", 0.05), ("citeseer-gcn", 0.06), ("pubmed-gcn", 0.05)])
def test_probabilities_of_test_nodes_are_near_the_accuracy(real_root, name, most):
    run_real(name, seeds=1, epochs=1)  # skips without data
    scores = calibration.of_nodes(find(name), 10)
    before, after = (np.mean([score[f"calibration_error_{when}"] for score in scores]) for when in ("before", "after"))
    assert after < most < before
    assert all(score["accuracy_before"] == score["accuracy_after"] for score in scores)


@pytest.mark.data
def test_protocols_and_data_sets_of_a_citation_recipe(real_root, tmp_path):
    result = run_real("cora-gcn", seeds=2, epochs=30, protocol="random", out=tmp_path / "out")
    check_contract(result, 2)
    assert result["published"]["value"] == 0.801
    assert result["test_accuracy"]["mean"] > 0.6
    _, header = load_model(tmp_path / "out" / "model.gcnlab")
    assert sum(map(sum, header["confusion_matrix"])) == 1000
    full = run_real("cora-gcn", seeds=1, protocol="full")
    assert full["published"] is None
    assert full["test_accuracy"]["mean"] > result["test_accuracy"]["mean"]
    other = run_real("cora-gcn", seeds=1, epochs=5, dataset="CiteSeer")
    assert (other["dataset"], other["published"]) == ("citeseer", None)


@pytest.mark.data
def test_random_splits_differ_between_seeds(real_root):
    run_real("cora-gcn", seeds=1, epochs=1)
    one, two = (find("cora-gcn").graph(protocol="random", seed=seed) for seed in (0, 1))
    assert not torch.equal(one.train_mask, two.train_mask)
    assert int(one.train_mask.sum()) == int(two.train_mask.sum()) == 140


@pytest.mark.data
def test_the_rows_of_x_sum_to_one(real_root):
    for name in ("cora-gcn", "citeseer-gcn", "pubmed-gcn"):
        run_real(name, seeds=1, epochs=1)
        x = find(name).graph().x
        sums = x.row_sums() if isinstance(x, SparseMatrix) else x.sum(1)
        assert bool(torch.isclose(sums, (sums > 0).float(), atol=1e-5).all())  # a row of zeros stays one


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "low", "high"), [("cora-gcn", 81.0, 82.0), ("citeseer-gcn", 70.0, 71.5), ("pubmed-gcn", 78.5, 79.5)]
)
def test_published_accuracy_over_100_seeds(real_root, name, low, high):
    result = run_real(name, seeds=100)
    check_contract(result, 100)
    assert low <= 100 * result["test_accuracy"]["mean"] <= high
    assert not math.isnan(result["val_accuracy"]["mean"])


def test_features_that_are_dense_are_scaled_by_rows(tmp_path, monkeypatch):
    dense = Graph.from_edges([[0, 1], [1, 0]], x=[[1.0, 3.0], [0.0, 0.0]], y=[0, 1])
    monkeypatch.setattr("gcnlab.recipes.nodes.load", lambda name, **options: dense)
    assert find("cora-gcn").graph("cora", "public", None, seed=0).x.tolist() == [[0.25, 0.75], [0.0, 0.0]]


def test_a_recipe_of_another_kind():
    with pytest.raises(InputError, match=r"recipe: mutag-gcn-mean does not classify nodes; .*such as cora-gcn"):
        recipes.find_node_recipe("mutag-gcn-mean")
