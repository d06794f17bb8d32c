"""The tables of accuracy, made from the results of `gcnlab run`; record.py puts them into the pages.

A table has no row for what is not recorded. A figure that waits to be recorded again is marked, and a line says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gcnlab.data import catalog
from gcnlab.protocols import ERRICA, SPLIT_PROTOCOLS, paired
from gcnlab.recipes import RECIPES, GraphRecipe, ImageRecipe, counted, metric_cell, published_cell
from gcnlab.recipes.graphs import FEATURES

Result = Mapping[str, Any]
Results = Sequence[Result]

RANDOM = ("random", "random-60-20-20")
ON_PLANETOID = ("public", "random")
# Versions that are told beside a figure, and how.
OLD = {"0.1.0": "0.1.0", "not installed": "no version"}

# The published means of these recipes come with a standard deviation, a fraction, and a number of runs (Luo et al. 2024).
SPREAD_OF_LUO = {
    "photo-classic": (0.0046, 3),
    "computers-classic": (0.0012, 3),
    "cs-classic": (0.0006, 3),
    "chameleon-classic": (0.0340, 10),
    "minesweeper-classic": (0.0024, 3),
}
# Validation nodes of the fixed split took part in choosing these settings, so that their figures on that split stand in
# docs/accuracy.md alone. A recipe leaves this list when random splits alone have chosen its settings.
CHOSEN_ON_FIXED = ("cora-gcn-plus", "cora-best", "citeseer-best")
# What the first choice of 1.0, which random splits alone made, gave on the fixed split: mean and standard deviation of 20 seeds.
FIRST_CHOICE = {"cora-best": (0.8383, 0.0038), "citeseer-best": (0.7505, 0.0054), "pubmed-best": (0.8046, 0.0051)}
# A GCN in the framework of Errica et al. (code of arXiv 2407.04999); its degree feature is one number per node.
GCN_OF_OTHERS = {
    "imdb-binary": 0.6950, "imdb-multi": 0.4498, "collab": 0.6979, "reddit-binary": 0.8698, "proteins": 0.7328,
    "nci1": 0.7685, "dd": 0.7049,
}  # fmt: skip
COLUMNS = {"gcn": "GCN", "mlp": "no structure", "forest": "random forest", "gin": "GIN"}
# The rows of the README's table: recipe, protocols of the column of random splits, of that of the paper's own, what it shows.
SHOWN = [
    ("cora-gcn", "random", "public", "Kipf & Welling's network, Cora"),
    ("cora-best", "random", "public", "our best recipe for Cora"),
    ("citeseer-best", "random", "public", "our best recipe for CiteSeer"),
    ("pubmed-best", "random", "public", "our best recipe for PubMed"),
    ("photo-classic", "random-60-20-20", "tunedgnn", "the block of classic GNNs, Amazon Photo"),
    ("imdb-binary-gcn", "", "nested", "graph classification, IMDB-BINARY"),
    ("fashion-mnist-grid", "", "holdout", "a graph network of 98,154 parameters on Fashion-MNIST"),
]


def on_errica(run: Result) -> bool:
    """Whether a result is of the protocol nested on the folds of Errica et al."""
    return run["protocol"] == "nested" and (run.get("folds") or "").startswith(ERRICA)


def has_same_model(run: Result) -> bool:
    """Whether the recipe still has the model of its result; names of models in results of 1.0 lack the features."""
    return set(run["model"].split(", ")) <= set(RECIPES[run["recipe"]].model_name.split(", "))


def is_current(run: Result) -> bool:
    """Whether the recipe still has the model and the folds of its result."""
    other_folds = run["protocol"] == "nested" and "nested_folds" in catalog()[run["dataset"]] and not on_errica(run)
    return has_same_model(run) and not other_folds


def is_moved(run: Result) -> bool:
    """Whether the figure stands in docs/accuracy.md alone, since nodes of this very split chose the settings."""
    name = run["recipe"]
    return run["protocol"] == "public" and (
        name in CHOSEN_ON_FIXED or (name in FIRST_CHOICE and not has_same_model(run))
    )


def marks(run: Result) -> list[str]:
    """What a figure is marked with until it is recorded again."""
    if is_moved(run):
        return ["first choice" if run["recipe"] in FIRST_CHOICE else "chosen there"]
    old = OLD.get(run["versions"]["gcnlab"])
    return [mark for mark in (old, None if has_same_model(run) else "other settings") if mark]


def explained(runs: Iterable[Result]) -> str:
    """What the marks of these results mean, in a line; empty where there are none."""
    there = "[accuracy](accuracy.md#chosen-on-this-splits-validation-nodes)"
    means = {
        "0.1.0": "recorded with that version of gcnlab, and not again yet",
        "no version": "the record names no version of gcnlab, and is not made again yet",
        "other settings": "the recipe has other settings now, and they are not recorded yet",
        "first choice": f"1.0's first settings, which random splits chose; what later ones gave stands under {there}",
        "chosen there": f"this split's validation nodes took part in the choice; the figure stands under {there}",
    }
    found = {mark for run in runs for mark in marks(run)}
    said = [f"[{mark}] {text}" for mark, text in means.items() if mark in found]
    return f"Marks: {'. '.join(said)}." if said else ""


def figure(run: Result) -> str:
    """Mean and standard deviation, in percent."""
    accuracy = run["test_accuracy"]
    spread = f" ± {100 * accuracy['std']:.2f}" if counted(accuracy)[0] > 1 else ""
    return f"{metric_cell(run)}{100 * accuracy['mean']:.2f}{spread}"


def cell(run: Result | None) -> str:
    """Mean, standard deviation, over how many of what, and marks; of a moved figure what the first choice gave."""
    if run is None:
        return ""
    marked = f" [{', '.join(found)}]" if (found := marks(run)) else ""
    if is_moved(run):
        mean, std = FIRST_CHOICE.get(run["recipe"], (None, None))
        return marked.strip() if mean is None else f"{100 * mean:.2f} ± {100 * std:.2f}, 20 seeds{marked}"
    count, unit = counted(run["test_accuracy"])
    unit = "splits" if run["protocol"] in SPLIT_PROTOCOLS else unit
    return f"{figure(run)}, {count} {unit if count > 1 else unit.removesuffix('s')}{marked}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> str:
    """A Markdown table and paragraphs under it; without rows the paragraphs alone."""
    head_lines = f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
    lines = head_lines + "\n".join(f"| {' | '.join(cells)} |" for cells in rows) if rows else ""
    return "\n\n".join(filter(None, (lines, *notes)))


def node_tables(runs: Results) -> dict[str, str]:
    """Planetoid's sets, random splits first; the recipes of Luo et al. beside their figures; all other sets."""
    of_nodes = [run for run in runs if not isinstance(RECIPES[run["recipe"]], GraphRecipe | ImageRecipe)]
    planetoid = [run for run in of_nodes if run["protocol"] in ON_PLANETOID]
    luo = [run for run in of_nodes if run["recipe"] in SPREAD_OF_LUO]
    rest = [run for run in of_nodes if run not in planetoid and run not in luo]
    return {
        "planetoid accuracy": _planetoid(planetoid),
        "classic accuracy": _classic(luo),
        "other node accuracy": _one_by_one(rest),
    }


def _planetoid(runs: Results) -> str:
    by_key = {(run["recipe"], run["dataset"], run["protocol"]): run for run in runs}
    rows = []
    for recipe, dataset in dict.fromkeys(key[:2] for key in by_key):
        fixed, random = (by_key.get((recipe, dataset, protocol)) for protocol in ON_PLANETOID)
        published = ["" if run is None else published_cell(run) for run in (random, fixed)]
        size = f"{(random or fixed)['num_parameters']:,}"
        rows.append([f"`{recipe}`", _title(dataset), size, cell(random), published[0], cell(fixed), published[1]])
    head = ["recipe", "data set", "parameters", "random splits", "published", "fixed split", "published"]
    return table(head, rows, explained(runs))


def within_noise(run: Result) -> tuple[float, bool]:
    """The least mean that is within noise of the published one, and whether the result's is.

    bar = theirs - 2 sqrt(sd_theirs² / m + sd_ours² / n), of m and n runs
    """
    spread, num_runs = SPREAD_OF_LUO[run["recipe"]]
    accuracy = run["test_accuracy"]
    noise = (spread**2 / num_runs + accuracy["std"] ** 2 / counted(accuracy)[0]) ** 0.5
    bar = run["published"]["value"] - 2 * noise
    return bar, accuracy["mean"] >= bar


def _classic(runs: Results) -> str:
    by_key = {(run["recipe"], run["protocol"]): run for run in runs}
    rows = []
    for name in SPREAD_OF_LUO:
        run = by_key.get((name, RECIPES[name].protocols[0]))
        random = by_key.get((name, "random-60-20-20"))
        if run is None and random is None:
            continue
        value, source = RECIPES[name].published[RECIPES[name].dataset, RECIPES[name].protocols[0]]
        spread, num_runs = SPREAD_OF_LUO[name]
        theirs = f"{100 * value:.2f} ± {100 * spread:.2f}, {num_runs} runs ({source})"
        bar, is_within = (None, False) if run is None else within_noise(run)
        said = "" if bar is None else f"{'yes' if is_within else 'no'}, bar {100 * bar:.2f}"
        rows.append([f"`{name}`", _title(RECIPES[name].dataset), cell(random), cell(run), theirs, said])
    head = ["recipe", "data set", "random 60/20/20 splits", "their splits", "published, their splits", "within noise"]
    missing = [f"`{name}`" for name in SPREAD_OF_LUO if (name, RECIPES[name].protocols[0]) not in by_key]
    return table(head, rows, explained(runs), f"Not recorded yet: {', '.join(missing)}." if missing else "")


def _one_by_one(runs: Results) -> str:
    rows = [
        [f"`{run['recipe']}`", _title(run["dataset"]), run["protocol"], f"{run['num_parameters']:,}", cell(run),
         published_cell(run)]
        for run in runs
    ]  # fmt: skip
    head = ["recipe", "data set", "protocol", "parameters", "test accuracy, %", "published, %"]
    return table(head, rows, explained(runs))


def image_table(runs: Results) -> str:
    return _one_by_one([run for run in runs if isinstance(RECIPES[run["recipe"]], ImageRecipe)])


def _by_column(runs: Results) -> dict[tuple[str, str], Result]:
    """(data set, column of `COLUMNS`) -> result."""
    return {(run["dataset"], run["recipe"].removeprefix(f"{run['dataset']}-")): run for run in runs}


def gain(ours: Result | None, theirs: Result | None) -> str:
    """The paired difference in points and its 95 % interval; empty unless both are there."""
    if ours is None or theirs is None:
        return ""
    found = paired(ours, theirs)
    return "{difference:+.2f} ({low:+.2f} to {high:+.2f})".format(**{key: 100 * value for key, value in found.items()})


def nested_table(runs: Results) -> str:
    """Graph classification on the folds of Errica et al., one row per set."""
    runs = [run for run in runs if on_errica(run)]
    by_column, rows, unproved, missing = _by_column(runs), [], [], []
    for dataset in dict.fromkeys(recipe.dataset for recipe in RECIPES.values() if isinstance(recipe, GraphRecipe)):
        if "nested_folds" not in catalog()[dataset]:
            continue
        found = {kind: by_column.get((dataset, kind)) for kind in COLUMNS if f"{dataset}-{kind}" in RECIPES}
        if absent := [COLUMNS[kind] for kind, run in found.items() if run is None]:
            missing.append(f"{dataset.upper()} ({', '.join(absent)})")
        if not any(found.values()):
            continue
        if not catalog()[dataset]["nested_folds"]["same_order"]:
            unproved.append(dataset.upper())
        blind = [run for kind in ("mlp", "forest") if (run := found.get(kind)) is not None]
        best = max(blind, key=lambda run: run["test_accuracy"]["mean"], default=None)
        difference = gain(found["gcn"], best)
        published = [f"GCN {100 * GCN_OF_OTHERS[dataset]:.2f}"] if dataset in GCN_OF_OTHERS else []
        for kind in ("mlp", "gin"):
            known = {} if kind not in found else RECIPES[f"{dataset}-{kind}"].published
            published += [f"{COLUMNS[kind]} {100 * known[key][0]:.1f}" for key in known if key[1] == "nested"]
        features = FEATURES[RECIPES[f"{dataset}-gcn"].features["features"]]
        cells = [_folds_cell(found.get(kind)) for kind in COLUMNS]
        rows.append([dataset.upper(), features, *cells, ", ".join(published), difference])
    head = [
        *("data set", "features", "GCN", "no structure", "random forest, degree histograms", "GIN, scalar degree"),
        *("published", "GCN minus the better column without structure"),
    ]
    order = (
        f"{' and '.join(unproved)}: that our order of graphs within a class is the one that the folds count is not proved. "
        "Test parts have the right sizes and classes, but may hold other graphs of a class."
    )
    lacking = f"Not recorded on these folds yet: {'; '.join(missing)}." if missing else ""
    return table(head, rows, order if unproved else "", explained(runs), lacking)


def _folds_cell(run: Result | None) -> str:
    return cell(run).replace(", 10 folds", "")  # the page says it


def other_folds_table(runs: Results) -> str:
    """Results of nested on other folds than those of Errica et al."""
    by_column, rows = _by_column([run for run in runs if run["protocol"] == "nested" and not on_errica(run)]), []
    for dataset in dict.fromkeys(dataset for dataset, _ in by_column):
        gcn, mlp, forest = (by_column.get((dataset, kind)) for kind in ("gcn", "mlp", "forest"))
        whose = {run.get("folds") or "1.0's own" for run in (gcn, mlp, forest) if run is not None}
        difference = gain(gcn, mlp) if len(whose) == 1 else ""
        cells = [_folds_cell(run) for run in (gcn, mlp, forest)]
        rows.append([dataset.upper(), "; ".join(sorted(whose)), *cells, difference])
    head = ["data set", "folds", "GCN", "no structure", "random forest", "GCN minus no structure"]
    return table(head, rows, explained(by_column.values()) or "All sets are recorded on the folds of Errica et al.")


def gin_table(runs: Results) -> str:
    of_gin = [run for run in runs if run["protocol"] == "gin"]
    rows = [[f"`{run['recipe']}`", _folds_cell(run), published_cell(run)] for run in of_gin]
    return table(["recipe", "test accuracy, %", "published, %"], rows, explained(of_gin))


def gains_table(runs: Results) -> str:
    """What the tuned recipes gain over Kipf & Welling's GCN, on random splits in pairs, and on the fixed split."""
    by_key = {(run["recipe"], run["protocol"]): run for run in runs}
    rows = []
    for recipe in dict.fromkeys(run["recipe"] for run in runs if run["recipe"].endswith(("-best", "-plus"))):
        base = f"{RECIPES[recipe].dataset}-gcn"
        cells, compared = [], []
        for protocol in (*RANDOM, "public"):
            ours, theirs = by_key.get((recipe, protocol)), by_key.get((base, protocol))
            if ours is None or theirs is None:
                continue
            marked = [mark for mark in marks(ours) if mark == "other settings"]
            marked += ["chosen there"] * is_moved(ours)
            after = f" [{', '.join(marked)}]" if marked else ""
            if protocol == "public":
                means = [100 * run["test_accuracy"]["mean"] for run in (ours, theirs)]
                compared = [f"{means[0] - means[1]:+.2f}{after}"]
            elif ours["seeds"] == theirs["seeds"]:
                found = paired(ours, theirs)
                size = f"{100 * found['difference']:+.2f} ± {100 * found['error']:.2f}"
                cells = [f"{size}, {len(ours['seeds'])} splits{after}"]
        if cells:
            rows.append([f"`{recipe}`", f"`{base}`", *cells, *(compared or [""])])
    return table(["recipe", "minus", "random splits, mean ± standard error", "fixed split"], rows)


def two_protocols(runs: Results) -> str:
    """The table of the tutorial on graphs: gin beside nested."""
    rows = []
    for dataset in ("imdb-binary", "reddit-binary", "proteins"):
        by_key = {(run["recipe"], run["protocol"]): run for run in runs if run["dataset"] == dataset}
        gin = by_key.get((f"{dataset}-gcn-mean", "gin"))
        gcn, mlp = (by_key.get((f"{dataset}-{kind}", "nested")) for kind in ("gcn", "mlp"))
        whose = {run.get("folds") for run in (gcn, mlp)} if gcn and mlp else set()
        if len(whose) != 1 or gin is None:
            continue
        folds = whose.pop() or "1.0's own"
        rows.append([dataset.upper(), figure(gin), figure(gcn), figure(mlp), gain(gcn, mlp), folds])
    head = ["data set", "`gin`: GCN", "`nested`: GCN", "`nested`: no structure", "difference", "folds of `nested`"]
    return table(head, rows)


def in_short(runs: Results) -> str:
    """The README's rows: random splits first, then the split of the papers."""
    by_key = {(run["recipe"], run["protocol"]): run for run in runs}
    rows = []
    for name, random_protocol, fixed_protocol, title in SHOWN:
        random, fixed = by_key.get((name, random_protocol)), by_key.get((name, fixed_protocol))
        if fixed is not None and fixed["protocol"] == "nested" and not on_errica(fixed):
            fixed = None
        if random is None and fixed is None:
            continue
        published = "" if fixed is None else published_cell(fixed)
        rows.append([f"{title} (`{name}`)", cell(random), cell(fixed), published])
    head = ["test accuracy, %", "random splits", "the papers' split", "published, the papers' split"]
    return table(head, rows)


def _title(dataset: str) -> str:
    return catalog()[dataset]["title"].split(":")[0]
