"""The tables of accuracy on results that are made up: what is shown, what is marked, and what has no row."""

import sys
from pathlib import Path

import pytest

from gcnlab.errors import InputError
from gcnlab.protocols import ERRICA
from gcnlab.recipes import RECIPES

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import accuracy_tables


def result(name, protocol, values, version="1.5.0", **changes):
    """A result of that recipe, with the values of its seeds or folds."""
    recipe = RECIPES[name]
    mean = sum(values) / len(values)
    std = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    published = recipe.published.get((recipe.dataset, protocol))
    run = {
        "recipe": name, "dataset": recipe.dataset, "protocol": protocol, "model": recipe.model_name, "num_parameters": 1234,
        "seeds": list(range(len(values))), "test_accuracy": {"mean": mean, "std": std, "per_seed": list(values)},
        "versions": {"gcnlab": version, "torch": "2.13.0"},
        "published": published and {"value": published[0], "source": published[1]},
    }  # fmt: skip
    if protocol in ("gin", "nested"):
        run |= {"folds": ERRICA if protocol == "nested" else "the set's own lists", "seeds": [0], "data": "same"}
        run["test_accuracy"] |= {"per_fold": list(values), "per_seed": [mean]}
    return {**run, **changes}


def folds(mean, slope=0.01):
    """Ten accuracies around a mean."""
    return [mean + slope * (k - 4.5) for k in range(10)]


def rows(made):
    """The cells of a table's rows, by the first one."""
    lines = [line[2:-2].split(" | ") for line in made.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def test_random_splits_come_first():
    runs = [
        result("cora-gcn", "public", [0.81, 0.83]),
        result("cora-gcn", "random", [0.79, 0.80]),
        result("citeseer-gcn", "public", [0.7]),
    ]
    found = rows(accuracy_tables.node_tables(runs)["planetoid accuracy"])
    kipf = "(Kipf & Welling 2017, table 2)"
    assert found["`cora-gcn`"] == [
        *("Cora", "1,234", "79.50 ± 0.50, 2 splits", f"80.1 {kipf}", "82.00 ± 1.00, 2 seeds", f"81.5 {kipf}"),
    ]
    assert found["`citeseer-gcn`"][2:] == ["", "", "70.00, 1 seed", f"70.3 {kipf}"]
    assert list(found) == ["`cora-gcn`", "`citeseer-gcn`"]


@pytest.mark.parametrize(
    ("version", "changes", "mark"),
    [
        ("0.1.0", {}, " [0.1.0]"),
        ("not installed", {}, " [no version]"),
        ("1.5.0", {"model": "GCN, 9 layers, 16 hidden"}, " [other settings]"),
        ("0.1.0", {"model": "MLP"}, " [0.1.0, other settings]"),
        ("1.0.0", {}, ""),
    ],
)
def test_what_waits_to_be_recorded_again_is_marked(version, changes, mark):
    runs = [result("cora-gcn", "public", [0.81, 0.83], version, **changes)]
    made = accuracy_tables.node_tables(runs)["planetoid accuracy"]
    assert rows(made)["`cora-gcn`"][-2] == f"82.00 ± 1.00, 2 seeds{mark}"
    assert ("Marks:" in made) == bool(mark)
    for name in filter(None, mark.strip(" []").split(", ")):
        assert f"[{name}] " in made.partition("Marks:")[2]


def test_what_this_split_s_validation_nodes_chose_is_elsewhere():
    runs = [
        result("cora-best", "public", [0.91, 0.93]),
        result("cora-gcn-plus", "public", [0.91, 0.93]),
        result("pubmed-best", "public", [0.91, 0.93]),
    ]
    found = rows(accuracy_tables.node_tables(runs)["planetoid accuracy"])
    assert found["`cora-best`"][4] == "83.83 ± 0.38, 20 seeds [first choice]"
    assert found["`cora-gcn-plus`"][4] == "[chosen there]"
    assert found["`pubmed-best`"][4] == "92.00 ± 1.00, 2 seeds"  # chosen on random splits
    runs[2]["model"] = "GRAND, linear, batch norm, 10 hops, 32 neighbours"  # that of 1.0
    assert rows(accuracy_tables.node_tables(runs)["planetoid accuracy"])["`pubmed-best`"][4].startswith("80.46 ± 0.51")
    assert "92.00" not in accuracy_tables.in_short(runs)


@pytest.mark.parametrize(("mean", "answer"), [(0.9555, "yes, bar 95.54"), (0.9552, "no, bar 95.54")])
def test_within_noise(mean, answer):
    """96.10 - 2 sqrt(0.46² / 3 + 0.3² / 10) = 95.536."""
    values = [mean - 0.003, mean + 0.003] * 5  # a deviation of 0.3
    found = accuracy_tables.within_noise(result("photo-classic", "tunedgnn", values))
    assert found[0] == pytest.approx(0.95536, abs=1e-5)
    made = accuracy_tables.node_tables([result("photo-classic", "tunedgnn", values)])["classic accuracy"]
    row = rows(made)["`photo-classic`"]
    assert row[-1] == answer
    assert row[1] == ""
    assert row[3] == "96.10 ± 0.46, 3 runs (GCN of tunedGNN, Luo et al. 2024)"
    assert made.endswith(
        "Not recorded yet: `computers-classic`, `cs-classic`, `chameleon-classic`, `minesweeper-classic`."
    )


def test_published_spreads_are_of_recipes():
    for name in accuracy_tables.SPREAD_OF_LUO:
        recipe = RECIPES[name]
        assert (recipe.dataset, recipe.protocols[0]) in recipe.published
    assert {"cora-best", "citeseer-best", "pubmed-best"} == set(accuracy_tables.FIRST_CHOICE)
    assert set(accuracy_tables.CHOSEN_ON_FIXED) <= set(RECIPES)


def test_nested_compares_with_the_better_column_without_structure():
    runs = [
        result("imdb-binary-gcn", "nested", folds(0.75, 0.02)),
        result("imdb-binary-mlp", "nested", folds(0.70)),
        result("imdb-binary-forest", "nested", folds(0.73)),
        result("imdb-binary-gin", "nested", folds(0.71)),
    ]
    made = accuracy_tables.nested_table(runs)
    assert list(rows(made)) == ["IMDB-BINARY"]
    features, gcn, mlp, forest, gin, published, difference = rows(made)["IMDB-BINARY"]
    assert features == "one-hot degrees"
    assert (gcn, mlp, forest, gin) == ("75.00 ± 5.74", "70.00 ± 2.87", "73.00 ± 2.87", "71.00 ± 2.87")
    assert published == "GCN 69.50, no structure 70.8, GIN 71.2"
    # differences 2 + (k - 4.5): variance 55/6 points, s² = (1/10 + 1/9) 55/6, t of 9 degrees of freedom 2.2622
    reach = 2.26216 * ((1 / 10 + 1 / 9) * 55 / 6) ** 0.5
    assert difference == f"{2:+.2f} ({2 - reach:+.2f} to {2 + reach:+.2f})"
    assert "IMDB-BINARY" not in made.partition("Not recorded on these folds yet:")[2]
    assert "COLLAB (GCN, no structure, random forest, GIN)" in made
    assert "not proved" not in made


def test_an_order_that_is_not_proved_is_told():
    runs = [result(f"{name}-gcn", "nested", folds(0.8)) for name in ("collab", "imdb-multi")]
    runs[0]["folds"] = f"{ERRICA}, the order of graphs within a class not proved"
    made = accuracy_tables.nested_table(runs)
    assert "\n\nCOLLAB: that our order of graphs within a class is the one that the folds count is not proved." in made
    assert rows(made)["COLLAB"][-1] == ""  # no column to compare with
    assert "PROTEINS (GCN, no structure, random forest)" in made


def test_results_on_other_folds_are_apart():
    runs = [
        result("imdb-binary-gcn", "nested", folds(0.75), "0.1.0"),
        result("imdb-binary-mlp", "nested", folds(0.70), "0.1.0", model="features summed, MLP, 64 hidden"),
        result("mutag-gcn", "nested", folds(0.80), folds="stratified, seed 0"),
    ]
    for run in runs[:2]:
        del run["folds"]
    assert not rows(accuracy_tables.nested_table(runs))
    found = rows(accuracy_tables.other_folds_table(runs))
    assert found["IMDB-BINARY"] == [
        *("1.0's own", "75.00 ± 2.87 [0.1.0]", "70.00 ± 2.87 [0.1.0, other settings]", "", "+5.00 (+5.00 to +5.00)"),
    ]
    assert found["MUTAG"][:2] == ["stratified, seed 0", "80.00 ± 2.87"]
    assert [accuracy_tables.is_current(run) for run in runs] == [False, False, True]
    assert "imdb-binary" not in accuracy_tables.in_short(runs)
    with pytest.raises(InputError, match="differ in folds"):
        accuracy_tables.nested_table([{**runs[0], "folds": ERRICA}, {**runs[1], "folds": f"{ERRICA}, in part"}])


def test_gains_are_paired_over_random_splits():
    runs = [
        result("cora-gcn", "random", [0.80, 0.78, 0.79, 0.77]),
        result("cora-best", "random", [0.84, 0.83, 0.82, 0.81]),
        result("cora-gcn", "public", [0.81]),
        result("cora-best", "public", [0.85, 0.84]),
        result("citeseer-best", "random", [0.72]),
    ]
    # differences 4, 5, 3, 4: mean 4, standard error sqrt((2/3) / 4)
    found = rows(accuracy_tables.gains_table(runs))
    assert found == {"`cora-best`": ["`cora-gcn`", "+4.00 ± 0.41, 4 splits", "+3.50 [chosen there]"]}


def test_the_readme_has_a_row_of_each_that_is_recorded():
    assert accuracy_tables.in_short([]) == ""
    runs = [
        result("photo-classic", "tunedgnn", [0.96]),
        result("photo-classic", "random-60-20-20", [0.95, 0.97]),
        result("imdb-binary-gcn", "nested", folds(0.75)),
    ]
    photo, imdb = rows(accuracy_tables.in_short(runs)).values()
    assert photo == ["96.00 ± 1.00, 2 splits", "96.00, 1 seed", "96.1 (GCN of tunedGNN, Luo et al. 2024)"]
    assert imdb == ["", "75.00 ± 2.87, 10 folds", ""]


def test_gin_and_nested_side_by_side():
    gin, gcn, mlp = (
        result("proteins-gcn-mean", "gin", folds(0.73)),
        result("proteins-gcn", "nested", folds(0.76)),
        result("proteins-mlp", "nested", folds(0.75)),
    )
    made = rows(accuracy_tables.two_protocols([gin, gcn, mlp]))
    assert made["PROTEINS"][:3] == ["73.00 ± 2.87", "76.00 ± 2.87", "75.00 ± 2.87"]
    assert made["PROTEINS"][4] == ERRICA
    assert accuracy_tables.two_protocols([gin, gcn]) == ""
    mlp["folds"] = None  # of 1.0
    assert accuracy_tables.two_protocols([gin, gcn, mlp]) == ""
    assert rows(accuracy_tables.gin_table([gin, gcn, mlp])) == {
        "`proteins-gcn-mean`": ["73.00 ± 2.87", "76.0 (GCN (1-layer perceptron + mean), Xu et al. 2019, table 1)"]
    }
