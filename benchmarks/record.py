"""What was measured, in one place: gcnlab/recorded.json and the tables of README.md and docs/reliability.md.

    gcnlab run cora-gcn --json benchmarks/results/cora-gcn.json    # or: make reliability
    python benchmarks/record.py

`gcnlab run --list` shows the figures of recorded.json; a test compares all three.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from gcnlab.data import catalog
from gcnlab.recipes import RECIPES, GraphRecipe, counted, published_cell

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from promises import PROMISES  # noqa: E402

# What the README says of promises.py: a promise, its rows, the kinds of trials that it was put to.
IN_SHORT = [
    ("no file runs code", "F1, F13", ["files with code, at a door"]),
    ("changed bytes are noticed", "F2, F9, T3", ["damaged files, with a checksum", "damaged checkpoints"]),
    ("a malformed file of one's own is read rightly or refused", "F5-F9", ["damaged files, without a checksum"]),
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
    ("a training repeats and resumes to the bit", "T4, T6", ["repeated trainings", "resumed trainings"]),
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
    """Of each result what `gcnlab run --list` shows."""
    return [
        {
            **{key: run[key] for key in ("recipe", "dataset", "protocol")},
            **{key: round(run["test_accuracy"][key], 6) for key in ("mean", "std")},
            "count": counted(run["test_accuracy"])[0],
            "versions": {key: run["versions"][key] for key in ("gcnlab", "torch")},
        }
        for run in runs
    ]


def _cell(run: dict[str, Any]) -> str:
    accuracy = run["test_accuracy"]
    spread = f" ± {100 * accuracy['std']:.2f}" if counted(accuracy)[0] > 1 else ""
    return f"{100 * accuracy['mean']:.2f}{spread}"


def tables(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Name of a table of the README -> its Markdown."""
    single = [
        "| recipe | data set | protocol | parameters | seeds | test accuracy, % | published, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        if not isinstance(RECIPES[run["recipe"]], GraphRecipe):
            title, count = catalog()[run["dataset"]]["title"].split(":")[0], len(run["seeds"])
            single.append(
                f"| `{run['recipe']}` | {title} | {run['protocol']} | {run['num_parameters']:,} | {count} | {_cell(run)} "
                f"| {published_cell(run)} |"
            )
    by_key = {(run["recipe"], run["protocol"]): run for run in runs}
    graphs = [
        "| data set | `nested`: GCN | `nested`: no structure | published: no structure | `gin`: GCN, mean readout | published: GCN |",
        "|---|---|---|---|---|---|",
    ]
    for dataset in dict.fromkeys(r.dataset for r in RECIPES.values() if isinstance(r, GraphRecipe)):
        gcn, mlp = by_key[f"{dataset}-gcn", "nested"], by_key[f"{dataset}-mlp", "nested"]
        gin = by_key[f"{dataset}-gcn-mean", "gin"]
        theirs = ["" if run["published"] is None else f"{100 * run['published']['value']:.1f}" for run in (mlp, gin)]
        graphs.append(f"| {dataset.upper()} | {_cell(gcn)} | {_cell(mlp)} | {theirs[0]} | {_cell(gin)} | {theirs[1]} |")
    return {"accuracy": "\n".join(single), "graph accuracy": "\n".join(graphs)}


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
        "README.md": {"reliability": "\n".join(short)},
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


if __name__ == "__main__":
    runs = results()
    (ROOT / "gcnlab/recorded.json").write_text(json.dumps(recorded(runs), indent=1) + "\n", encoding="utf-8")
    made = reliability()
    made["README.md"] |= tables(runs)
    for file, tables_of_file in made.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        (ROOT / file).write_text(with_tables(text, tables_of_file), encoding="utf-8")
