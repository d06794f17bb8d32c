"""What was measured, in one place: gcnlab/recorded.json and the README's tables of accuracy, from benchmarks/results.

    gcnlab run cora-gcn --json benchmarks/results/cora-gcn.json
    python benchmarks/record.py

`gcnlab run --list` shows the figures of recorded.json; a test compares all three.
"""

import json
import re
from pathlib import Path
from typing import Any

from gcnlab.data import catalog
from gcnlab.recipes import RECIPES, GraphRecipe, counted, published_cell

ROOT = Path(__file__).parent.parent


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
            raise SystemExit(f"README.md: has no <!-- {name} --> ... <!-- end -->")
    return text


if __name__ == "__main__":
    runs = results()
    (ROOT / "gcnlab/recorded.json").write_text(json.dumps(recorded(runs), indent=1) + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8"), tables(runs)), encoding="utf-8")
