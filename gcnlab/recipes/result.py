"""The result of a run: what it holds, and how it is written and shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import write_checkpoint
from ..machine import versions
from ..metrics import NAMES
from ..reporting.page import metric_of
from ..train import Checkpoint, History
from .base import AnyRecipe, Run
from .outputs import Outputs

MARKDOWN_HEAD = """\
| recipe | data set | protocol | model | parameters | test accuracy, % | published, % | time |
|---|---|---|---|---|---|---|---|"""


def recorded() -> list[dict[str, Any]]:
    """The last measured accuracy of each recipe, data set and protocol: mean, std, count of seeds or folds, versions."""
    return json.loads((Path(__file__).parent.parent / "recorded.json").read_text(encoding="utf-8"))


def best_of(val_accuracy: Sequence[float]) -> int:
    """The position of the seed with the best validation accuracy."""
    return max(range(len(val_accuracy)), key=val_accuracy.__getitem__)


def header_of(recipe: AnyRecipe, run: Run, **values: Any) -> dict[str, Any]:
    """The header of the model that a run keeps."""
    return {"recipe": recipe.name, "dataset": run.dataset, "protocol": run.protocol, **values}


def write_model(
    files: Outputs, header: dict[str, Any], history: History, best: int, checkpoints: Iterable[Checkpoint | None] = ()
) -> None:
    """Write model.gcnlab, the weights of one seed by its position, and curves.png, of all seeds.

    The model takes the place of the checkpoints from which the training would have gone on.
    """
    header = {
        **header, "epoch": int(history.best_epoch[best]), "seeds": [history.seeds[best]], "operator": history.operator,
    }  # fmt: skip
    with files.writing("model.gcnlab") as file:
        write_checkpoint(file, header, {key: value[best : best + 1] for key, value in history.states.items()})
        for checkpoint in filter(None, checkpoints):
            Path(checkpoint.path).unlink()
    with files.writing("curves.png") as file:
        history.plot(file, title_of(header))


def chosen_of(seeds: Sequence[int], best: int, metric: str = "accuracy") -> str:
    """Whose predictions a report shows."""
    return f"by the weights of seed {seeds[best]}" + f", which has the best validation {NAMES[metric]}" * (
        len(seeds) > 1
    )


def title_of(header: Mapping[str, Any]) -> str:
    return f"{header['recipe']} on {header['dataset']}, protocol {header['protocol']}"


def result_of(
    recipe: AnyRecipe,
    run: Run,
    *,
    data: str,
    epoch_seconds: list[float],
    threads: int = 0,
    metric: str = "accuracy",
    **values: Any,
) -> dict[str, Any]:
    """The result of a run, all but its wall time.

    Args:
        recipe, run: what was run.
        data: digest of the data.
        epoch_seconds: of all trainings.
        threads: CPU threads of a training; 0 where there was none, or it is not known.
        metric: what test_accuracy and val_accuracy hold, a name of `metrics.NAMES`.
        **values: what was found: model size, seeds, scores, epochs.
    """
    published = recipe.published.get((run.dataset, run.protocol))
    return {
        "recipe": recipe.name,
        "dataset": run.dataset,
        "data": data,
        "protocol": run.protocol,
        "model": recipe.model_name,
        "metric": metric,
        **values,
        "seconds": 0.0,
        "epoch_seconds_median": statistics.median(epoch_seconds),
        "device": run.device,
        "threads": threads,
        "versions": versions(),
        "published": None if published is None else {"value": published[0], "source": published[1]},
    }


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    tensor = torch.tensor(values, dtype=torch.float64)
    return {"mean": float(tensor.mean()), "std": float(tensor.std(correction=0)), "per_seed": list(values)}


def counted(accuracy: Mapping[str, Any]) -> tuple[int, str]:
    """How many values a mean of a result is of, and what they are: "folds" or "seeds"."""
    many = "fold" if "per_fold" in accuracy else "seed"
    return len(accuracy[f"per_{many}"]), f"{many}s"


def metric_cell(result: Mapping[str, Any]) -> str:
    """What stands before a figure under "accuracy" that is of another metric."""
    return "" if (name := metric_of(result)) == "accuracy" else f"{name} "


def published_cell(result: Mapping[str, Any]) -> str:
    """The published figure beside a result and its source, for a table; empty where there is none."""
    published = result["published"]
    return "" if published is None else f"{100 * published['value']:.1f} ({published['source']})"


def markdown_row(result: Mapping[str, Any]) -> str:
    """A result as a row of a Markdown table, under `MARKDOWN_HEAD`."""
    accuracy = result["test_accuracy"]
    count, many = counted(accuracy)
    protocol = result["protocol"] + (f", folds: {result['folds']}" if result.get("folds") else "")
    cells = [
        result["recipe"], result["dataset"], protocol, result["model"], f"{result['num_parameters']:,}",
        f"{metric_cell(result)}{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f} ({count} {many})",
        published_cell(result),
        f"{result['seconds']:.0f} s",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"
