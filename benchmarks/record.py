"""What was measured, in one place: gcnlab/recorded.json and the tables of README.md and of the pages in docs/.

    gcnlab run cora-gcn --json benchmarks/results/cora-gcn.json    # or: make reliability
    python benchmarks/record.py

`gcnlab run --list` shows the figures of recorded.json; a test compares the tables with the records. A result that is not
recorded has no row, so that long runs can be recorded one by one.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from gcnlab.recipes import RECIPES, counted, find_node_recipe
from gcnlab.reporting.page import metric_of

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]
import accuracy_tables as accuracy  # noqa: E402
from beside_pyg import SIDES, difference  # noqa: E402
from promises import PROMISES  # noqa: E402

# Ratios of epoch times over runs on different days, on quiet machines of one kind: least and greatest. Records are one run each.
SEEN: dict[str, tuple[float, float]] = {
    "cora": (44, 60),
    "as large as ogbn-arxiv": (8.2, 9.7),
    "imdb-binary": (5.8, 8.8),
    "grid, of Conv2d's time": (0.49, 0.80),
}
# What the front page of the benchmarks says of promises.py: a promise, its rows, the kinds of trials that it was put to.
IN_SHORT = [
    ("no file runs code", "F1, F13", ["files with code, at a door"]),
    ("changed bytes are noticed", "F2, F9, T3", ["damaged files, with a checksum", "damaged checkpoints"]),
    ("a malformed file of your own is read rightly or refused", "F5-F9", ["damaged files, without a checksum"]),
    (
        "a file with a right checksum over wrong contents is refused",
        "F20-F24",
        [
            *("damages of saved graphs with right digests", "damages of processed sets with right digests"),
            *("crafted headers of checkpoints", "crafted results", "crafted training states"),
        ],
    ),
    (
        "killed at any moment, the next run works",
        "F3, F10, T2",
        [
            *("kill -9 while saving a checkpoint", "kill -9 while processing a data set", "kill -9 while downloading"),
            *("kill -9 while unpacking", "kill -9 while writing arrays", "full disk while writing"),
        ],
    ),
    ("several processes share a data root", "F11, D5", ["several processes on one data root"]),
    ("a malformed input meets an error that names it", "I1-I27", ["generated inputs"]),
    ("no process outlives the one that started it", "R1", ["kills of a command with processes"]),
    ("a training repeats and resumes bitwise identically", "T4, T6", ["repeated trainings", "resumed trainings"]),
    (
        "a failed rank is named, and none hangs",
        "D1-D8",
        ["ranks killed", "ranks that raise", "ranks that stand still", "restarts by torchrun"],
    ),
    ("long use takes no more memory or files", "", ["epochs of one training", "loads of each of three sets"]),
]


def results() -> list[dict[str, Any]]:
    """The results of `gcnlab run`, in the order of the recipes; a recipe's own data set and protocol first."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "benchmarks/results").glob("*.json"))
    ]
    runs = [result for result in found if isinstance(result, dict) and "test_accuracy" in result]
    order = list(RECIPES)

    def place(result: dict[str, Any]) -> tuple[int, bool, int]:
        recipe = RECIPES[result["recipe"]]
        return (
            order.index(recipe.name), result["dataset"] != recipe.dataset, recipe.protocols.index(result["protocol"])
        )  # fmt: skip

    return sorted(runs, key=place)


def recorded(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `gcnlab run --list` shows of each result that the recipe would still repeat."""
    return [
        {
            **{key: run[key] for key in ("recipe", "dataset", "protocol")},
            **{key: round(run["test_accuracy"][key], 6) for key in ("mean", "std")},
            "count": counted(run["test_accuracy"])[0],
            **({"metric": run["metric"]} if run.get("metric", "accuracy") != "accuracy" else {}),
            "versions": {key: run["versions"][key] for key in ("gcnlab", "torch")},
        }
        for run in runs
        if accuracy.is_current(run)
    ]


def ratio_seen(name: str) -> str:
    """ "44 to 60", the ratios seen over several days."""
    low, high = SEEN[name]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def beside_pyg_row(found: dict[str, Any]) -> str:
    """A record of benchmarks/beside_pyg.py as a row of docs/accuracy.md; those of 1.0 hold neither metric nor interval."""
    cells = [f"`{found['recipe']}`", metric_of(found), str(found["seeds"])]
    cells += [
        f"{100 * statistics.mean(found[side]):.2f} ± {100 * statistics.pstdev(found[side]):.2f}" for side in SIDES
    ]
    of = difference(find_node_recipe(found["recipe"]), *(found[side] for side in SIDES))
    cells.append("{:.2f} ({:.2f} to {:.2f})".format(*(100 * of[key] for key in ("difference", "low", "high"))))
    return f"| {' | '.join(cells)} |"


def beside_pyg() -> str:
    """The table of docs/accuracy.md, in the order of the recipes."""
    files = (ROOT / "benchmarks/results").glob("accuracy-*-pyg.json")
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    found.sort(key=lambda of: list(RECIPES).index(of["recipe"]))
    head = [
        "| recipe | metric | seeds | gcnlab, % | PyG, % | difference (95 % interval) |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(beside_pyg_row, found)])


def speed_in_short() -> str:
    """The README's four rows."""
    rows = [
        ("an epoch of a GCN with 16 hidden units on Cora", "PyG's GCNConv, cached", f"{ratio_seen('cora')} x as fast"),
        ("an epoch of three layers of 256 on a graph as large as ogbn-arxiv", "PyG's GCNConv, cached", f"{ratio_seen('as large as ogbn-arxiv')} x as fast"),
        ("an epoch of IMDB-BINARY in batches of 128 graphs", "PyG's DataLoader", f"{ratio_seen('imdb-binary')} x as fast"),
        ("two layers of a GCN on 64 images of 28 x 28 pixels", "`torch.nn.Conv2d`", f"{1 / SEEN[CONV2D][1]:.3g} to {1 / SEEN[CONV2D][0]:.3g} x as fast"),
    ]  # fmt: skip
    return "\n".join(
        [
            "| training on 2 CPU cores | compared with | gcnlab is |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )


CONV2D = "grid, of Conv2d's time"


def _read(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))


def _table(head: list[str], rows: list[list[str]], record: dict[str, Any]) -> str:
    """A table whose first column is text and the others numbers, and the machine and versions of its record."""
    versions = {"torch": record["torch"]} if "torch" in record else record["versions"]
    run = [f"{name} {version}" for name, version in versions.items()]
    run += [f"{record['threads']} threads"] if "threads" in record else []
    run += [record["machine"]] if "machine" in record else []
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\nRecorded with {', '.join(run)}."


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def speed_tables() -> dict[str, str]:
    """Name of a table of docs/benchmarks.md -> its Markdown."""
    made = {}
    epochs = {name: _read(f"epoch-{name}") for name in ("cora", "citeseer", "pubmed")}
    rows = []
    for side, title in (
        ("gcnlab, receptive field", "gcnlab, as `fit` trains"),
        ("gcnlab, whole graph", "gcnlab, every row of the graph"),
        ("PyG, edge_index", "PyG GCNConv, `edge_index`, cached"),
        ("PyG, CSR", "PyG GCNConv, CSR, cached"),
    ):
        seconds = [epoch["epoch_seconds_median"][side] for epoch in epochs.values()]
        ours = [epoch["epoch_seconds_median"]["gcnlab, receptive field"] for epoch in epochs.values()]
        ratios = [f" ({a / b:.0f} x)" if side.startswith("PyG") else "" for a, b in zip(seconds, ours, strict=True)]
        rows.append([title, *(_time(s) + ratio for s, ratio in zip(seconds, ratios, strict=True))])
    made["node epochs"] = _table(["one epoch", "Cora", "CiteSeer", "PubMed"], rows, epochs["cora"])

    large, small_pages = _read("full-batch-huge-pages"), _read("full-batch")
    rows = []
    for side, of in large["tasks"]["epoch"].items():
        without = small_pages["tasks"]["epoch"]
        ratios = [
            task[side]["seconds_median"] / task["gcnlab"]["seconds_median"]
            for task in (large["tasks"]["epoch"], without)
        ]
        cells = [f"{of['seconds_median']:.2f} s", f"{ratios[0]:.1f} x", f"{of['peak_mib']:,.0f} MiB"]
        rows.append([side, *cells, f"{without[side]['seconds_median']:.2f} s", f"{ratios[1]:.1f} x"])
    head = ["one epoch", "huge pages", "ratio", "peak memory", "without huge pages", "ratio"]
    made["large graph"] = _table(head, rows, large | {"versions": {"torch": of["torch"], **large["versions"]}})
    rows = [
        [name, *(_time(sides[side]["seconds_median"]) for side in ("gcnlab", "PyG, edge_index")),
         f"{sides['PyG, edge_index']['seconds_median'] / sides['gcnlab']['seconds_median']:.1f} x"]
        for name, sides in large["tasks"].items() if name != "epoch"
    ]  # fmt: skip
    made["layers"] = _table(["forward and backward", "gcnlab", "PyG", "ratio"], rows, large)

    graphs = _read("graph-epochs")
    rows = []
    for result in graphs["results"]:
        epoch, batch = result["epoch_seconds"], result["batch_seconds"]
        ratios = [f"{of['PyG'] / of['gcnlab']:.{digits}f} x" for of, digits in ((epoch, 1), (batch, 0))]
        rows.append([result["dataset"].upper(), _time(epoch["gcnlab"]), _time(epoch["PyG"]), *ratios])
    made["graph epochs"] = _table(["one epoch", "gcnlab", "PyG", "ratio", "making a batch, ratio"], rows, graphs)

    images = _read("image-layers")
    conv = images["steps"]["Conv2d, channels_last"]["median_ms"]
    rows = [
        [name, f"{of['median_ms']:.1f} ms", f"{of['median_ms'] / conv:.2f}"] for name, of in images["steps"].items()
    ]
    made["grid layers"] = _table(
        ["two layers of 32 channels", "forward and backward", "to Conv2d, channels_last"], rows, images
    )

    kernels = _read("kernels")
    rows = []
    for row in kernels["rows"]:
        if row["case"].startswith("product"):
            cells = [f"{1e6 * row['seconds_median'][side]:,.0f}" for side in ("gcnlab", "MKL", "ATen")]
            rows.append([row["case"].removeprefix("product, "), *cells])
    made["kernels"] = _table(["product", "gcnlab, µs", "MKL, µs", "ATen, µs"], rows, kernels)

    growth = _read("growth")
    rows = [
        [f"{row['num_edges']:,}", _time(row["epoch_seconds"]), f"{1e9 * row['epoch_seconds'] / row['num_edges']:.0f} ns",
         f"{row['peak_bytes'] / 2**20:,.0f} MiB", f"{row['estimated_bytes'] / row['peak_bytes']:.2f}"]
        for row in growth["rows"]
    ]  # fmt: skip
    made["growth"] = _table(["edges", "one epoch", "per edge", "peak memory", "estimated / measured"], rows, growth)

    mapped = _read("larger-than-memory")
    rows = [
        ["files", f"{mapped['bytes on disk'] / 1e9:.2f} GB"],
        ["memory that the process may hold (`RLIMIT_DATA`)", f"{mapped['limit of data, bytes'] / 2**20:,.0f} MiB"],
        ["memory that it took", f"{mapped['peak anonymous resident bytes'] / 2**20:,.0f} MiB"],
        ["opening and checking", f"{mapped['seconds']['open and check']:.1f} s"],
        ["an epoch on 500,000 nodes, validation included", f"{mapped['seconds']['train']:.0f} s"],
        ["predicting all nodes, exactly", f"{mapped['seconds']['predict all nodes']:.0f} s"],
    ]
    title = f"{mapped['nodes'] // 10**6} million nodes, {mapped['stored edges'] / 1e6:.1f} million edges, {mapped['features']} features"
    made["larger than memory"] = _table([title, ""], rows, mapped)

    sampling = _read("sampling")
    rows = [
        [name, *(_time(sampling[key][name]) for key in ("seconds_median", "seconds_least"))]
        for name in sampling["seconds_median"]
    ]
    made["sampling"] = _table(["a batch of 1,024 nodes, fan-outs 10 and 10", "median", "least"], rows, sampling)

    startup = _read("startup")
    rows = [[f"`{command}`", f"{seconds:.2f} s"] for command, seconds in startup["seconds_median"].items()]
    made["whole processes"] = _table(["command", "median"], rows, startup)

    folds = _read("folds")
    rows = [
        [
            of["dataset"].upper(),
            str(of["epochs"]),
            *(f"{of['seconds_median'][side]:.1f} s" for side in ("old", "new")),
            f"{of['ratio']:.1f} x",
        ]
        for of in folds["results"]
    ]
    head = ["ten folds", "epochs of each", "gcnlab 1.0.0", "gcnlab", "ratio"]
    made["folds"] = _table(head, rows, folds)

    busy = _read("busy")
    names = {"cora": "Cora", "imdb-multi": "IMDB-MULTI", "proteins": "PROTEINS", "grid": "1,024 images as grids"}
    rows = []
    for of in busy["results"]:
        alone, *others = of["epoch_seconds"].values()
        shown = [f"{_time(seconds)}, {seconds / alone:.2f} x" for seconds in others]
        rows.append([names[of["case"]], _time(alone), str(of["threads"]["quiet"]), *shown])
    head = ["an epoch of `fit`", "one thread, all cores free", "threads, as chosen", "all cores free", "one core busy"]
    made["quiet and busy"] = _table(head, rows, busy)
    return made


def reliability() -> dict[str, dict[str, str]]:
    """File -> name of a table in it -> its Markdown: what `make reliability` found."""
    found, faults = (
        json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
        for name in ("reliability", "faults")
    )
    trials = found["trials"]
    short = ["| promised | rows | put to |", "|---|---|---|"]
    for promise, rows, kinds in IN_SHORT:
        put_to = "; ".join(f"{trials[kind]['number']:,} {kind}" for kind in kinds)
        short.append(f"| {promise} | {rows} | {put_to} |")
    short.append(
        f"| a wrong line is noticed | all, and formulas | {faults['seen']} of {faults['seen'] + len(faults['unseen'])} faults planted |"
    )
    rows = ["| row | given | what gcnlab does | tests passed |", "|---|---|---|---|"]
    for row, promise in PROMISES.items():
        rows.append(f"| {row} | {promise.given} | {promise.kept} | {found['rows'][row]['passed']} |")
    kinds = ["| trials | number | seconds |", "|---|---|---|"]
    kinds += [f"| {kind} | {of['number']:,} | {of['seconds']:.0f} |" for kind, of in sorted(trials.items())]
    failed = sum(row["failed"] for row in found["rows"].values())
    last = (
        f"Last run: {found['date']}, {found['machine']}, Python {found['versions']['python']}, torch "
        f"{found['versions']['torch']}: {failed} failures in {found['seconds'] / 60:.0f} minutes. Faults, on {faults['date']}: "
        f"{faults['in_promises']} in what the {faults['promises']} rows promise, {faults['in_formulas']} in formulas; "
        f"{faults['seen']} seen by a test, {len(faults['unseen'])} not."
    )
    return {
        "docs/benchmarks.md": {"reliability": "\n".join(short)},
        "docs/reliability.md": {"last run": last, "promises": "\n".join(rows), "trials": "\n".join(kinds)},
    }


def with_tables(text: str, made: dict[str, str]) -> str:
    """The text with each table between its two marks."""
    for name, table in made.items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)",
            lambda m, t=table: m[1] + t + m[2],
            text,
            count=1,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"There is no <!-- {name} --> ... <!-- end -->")
    return text


def made() -> dict[str, dict[str, str]]:
    """File -> name of a table in it -> its Markdown."""
    runs, held = results(), reliability()
    accuracies = {
        **accuracy.node_tables(runs),
        "nested accuracy": accuracy.nested_table(runs),
        "gin accuracy": accuracy.gin_table(runs),
        "image accuracy": accuracy.image_table(runs),
    }
    return {
        "README.md": {"accuracy in short": accuracy.in_short(runs), "speed in short": speed_in_short()},
        "docs/benchmarks.md": accuracies | speed_tables() | held["docs/benchmarks.md"],
        "docs/accuracy.md": {
            "gains": accuracy.gains_table(runs),
            "other folds": accuracy.other_folds_table(runs),
            "beside PyG": beside_pyg(),
        },
        "docs/tutorials/graphs.md": {"two protocols": accuracy.two_protocols(runs)},
        "docs/reliability.md": held["docs/reliability.md"],
    }


if __name__ == "__main__":
    (ROOT / "gcnlab/recorded.json").write_text(json.dumps(recorded(results()), indent=1) + "\n", encoding="utf-8")
    for file, tables_of_file in made().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        (ROOT / file).write_text(with_tables(text, tables_of_file), encoding="utf-8")
