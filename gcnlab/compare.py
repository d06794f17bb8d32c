"""`gcnlab compare fashion-mnist`: grid networks and the tutorials' CNNs on the same images, counted in the same way.

Each model trains in a process of its own, so that its peak memory is its own, and is one line of a results file when it
is done: what is in the file is not trained again.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from . import distributed, plot
from .baselines import BASELINES
from .checks import check_can_draw, check_counts, check_workers
from .data import ImageSet, load
from .errors import InputError, did_you_mean
from .files import atomic_write, check_target, write_json
from .jobs import Finished, Job, settings_of
from .machine import peak_memory_mib, versions
from .recipes import ImageRecipe
from .recipes import images as image_recipes
from .recipes.images import baseline_recipe, grid_recipe
from .recipes.outputs import Outputs
from .reporting import page as report
from .threads import exactly
from .train.history import curves_of, history_of

QUICK = (10_000, 2)  # training images and epochs


def contenders() -> dict[str, ImageRecipe]:
    """name -> recipe: the tutorials' models by their own recipes, the best of them by ours, and the grid networks."""
    best = baseline_recipe("deep-cnn")
    recipes = [
        *map(baseline_recipe, BASELINES),
        replace(best, name="deep-cnn+recipe", tutorial=None, published={}, protocols=("holdout",), lr=1e-3),
        grid_recipe("isotropic", (32, 48, 56), conv="isotropic", epochs=10),
        grid_recipe("isotropic+coordinates", (32, 48, 56), conv="isotropic", coordinates=True, epochs=10),
        # without coarsening, all four layers on 28 x 28 nodes; they learn little, and slowly
        grid_recipe("isotropic-flat", (32,), conv="isotropic", num_layers=4, readout="mean", epochs=4),
        grid_recipe(
            "isotropic-flat+coordinates", (32,), conv="isotropic", num_layers=4, readout="mean", coordinates=True,
            epochs=4,
        ),
        grid_recipe("relational", (32, 48, 56), epochs=10),
    ]  # fmt: skip
    return {recipe.name: recipe for recipe in recipes}


@dataclass(frozen=True)
class ModelJob(Job):
    """One model on one data set.

    Attributes:
        data: digest of the images, which must then be those.
    """

    dataset: str
    model: str
    epochs: int
    seed: int = 0
    num_images: int | None = None
    root: str | None = None
    threads: int | None = None
    data: str | None = None

    not_in_key: ClassVar[tuple[str, ...]] = ("root", "threads")


# The fields of a model's row that are read again. Rows of 1.0 name no versions; older ones lack history and confusion matrix.
_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_ROW = {
    "model": str, "recipe": str, "family": str, "num_parameters": int, "test_accuracy": float, "published": (float, None),
    "epochs": int, "seconds": float, "seconds_per_epoch": float, "images_per_second": float, "peak_memory_mib": float,
    "training_images": int, "seed": int, "history": (dict.fromkeys(_METRICS, ([float], None)), None),
    "confusion_matrix": ([[int]], None), "class_names": ([str], None), "versions": ({"gcnlab": str}, None),
}  # fmt: skip


def run_job(job: ModelJob) -> dict[str, Any]:
    """Train and score one model: a row of the table."""
    with exactly(job.threads):
        return _row_of(job)


def _row_of(job: ModelJob) -> dict[str, Any]:
    recipe, images = contenders()[job.model], _load_images(job.dataset, job.root)
    if job.data is not None and job.data != image_recipes.digest(images):
        raise InputError(
            f"dataset: the images of {job.dataset} have changed since the comparison began; start it again."
        )
    if not _fits(recipe, images):
        on_grid = ", ".join(name for name, other in contenders().items() if other.on_grid)
        raise InputError(
            f"models: {job.model} takes grey images of 28 x 28, but those of {job.dataset} have the shape "
            f"{images.image_shape}; the models for any size are {on_grid}."
        )
    if job.num_images is not None and job.num_images < len(images.train_images):
        *_, images.train_images, images.train_labels = images.holdout(job.num_images)
    model, history = image_recipes.train(recipe, images, job.seed, job.epochs, progress=False)
    seconds = statistics.median(history.epoch_seconds)
    scores = image_recipes.scores(recipe, model, images)
    return {
        "model": job.model,
        "recipe": "tutorial" if recipe.tutorial is not None else "gcnlab",
        "family": "graph network" if recipe.on_grid else "CNN",
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "test_accuracy": scores["accuracy"],
        "published": recipe.published.get((job.dataset, recipe.protocols[0]), (None,))[0],
        "epochs": job.epochs,
        "seconds": sum(history.epoch_seconds),
        "seconds_per_epoch": seconds,
        "images_per_second": len(images.train_labels) / seconds,
        "peak_memory_mib": peak_memory_mib(),
        "training_images": len(images.train_labels),
        "seed": job.seed,
        "precision": recipe.precision,
        "threads": history.threads,
        "history": curves_of(history),
        "confusion_matrix": scores["confusion_matrix"],
        "class_names": list(images.class_names),
        "versions": versions(),
    }


def _load_images(dataset: str, root: str | None) -> ImageSet:
    images = load(dataset, root=root)
    if not isinstance(images, ImageSet):
        raise InputError(f"dataset: {dataset} holds no images, which are what is compared; try fashion-mnist.")
    return images


def _fits(recipe: ImageRecipe, images: ImageSet) -> bool:
    """The tutorials' models take grey images of one size."""
    return recipe.on_grid or images.image_shape == (28, 28)


def compare(
    dataset: str = "fashion-mnist",
    models: Sequence[str] | None = None,
    epochs: int | None = None,
    *,
    quick: bool = False,
    root: str | None = None,
    out: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train and score models side by side; return one row per model, with `out` also those finished before.

    Args:
        dataset: "fashion-mnist", or for grid networks "mnist" and "digits".
        models: names of `contenders()`; by default all that train for at most ten epochs and take images of this size.
        epochs: for every model; by default each model trains for its own number.
        quick: at most 10,000 training images, and 2 epochs: a look, not a figure.
        root: data root.
        out: a folder for results.jsonl (read first, and added to); comparison.md, comparison.json, comparison.png and
            report.html of all that is in it of these images, and the curves of each model that has validation images.
            A result is used again if it is of the same images, settings and version of gcnlab; each row names its version.
            A picture or report that fails is a warning.
        threads: CPU threads of each; by default as many as the work of a step needs.
        say: told of each finished model.
    """
    check_counts(epochs=epochs)
    threads = None if threads is None else check_workers("threads", threads)
    known = contenders()
    for name in models or ():
        if name not in known:
            raise InputError(
                f"models: {name!r} is unknown; the models are {', '.join(known)}.{did_you_mean(name, known)}"
            )
    if out is not None:
        check_target("out", out, is_folder=True)
        check_can_draw("out: comparison.png")
        report.check_can_write("out: report.html")
    images = _load_images(dataset, root)
    total, digest = len(images.train_images), image_recipes.digest(images)
    if models is None:
        models = [name for name, recipe in known.items() if recipe.epochs <= 10 and _fits(recipe, images)]
    del images  # each process reads them
    num_images, common = QUICK if quick else (None, None)
    jobs = [
        ModelJob(dataset, name, epochs or common or known[name].epochs, 0, num_images, root, threads, digest)
        for name in models
    ]
    finished = Finished(None if out is None else Path(out) / "results.jsonl", "a model", _ROW)
    finished.warn_of_others(jobs)
    for job in jobs:
        if job not in finished:
            # A new process for each: the largest resident size is then its own.
            ((_, row),) = distributed.in_processes(run_job, [job], 1)
            finished.add(job, row)
        say(text_row(finished[job]))
    if out is None:
        return [finished[job] for job in jobs]
    rows = _rows_like(finished, jobs[0])
    _write(Outputs(out), dataset, rows, total)
    return rows


def _rows_like(finished: Finished, job: ModelJob) -> list[dict[str, Any]]:
    """The rows on a job's images, in the order of `contenders`: the newest per model, number of epochs and seed."""
    order = {name: i for i, name in enumerate(contenders())}
    same = {"dataset": job.dataset, "num_images": job.num_images}
    newest = {}  # whatever the version
    for key, result in finished.results.items():
        settings = settings_of(key)
        if {**settings, **same, "data": job.data} == settings and settings["model"] in order:
            newest[settings["model"], settings["epochs"], settings["seed"]] = result
    return sorted(newest.values(), key=lambda row: order[row["model"]])


def _write(files: Outputs, dataset: str, rows: Sequence[dict[str, Any]], num_images: int) -> None:
    """Write the table in two formats, the pictures and the report; `num_images` are the training images of the whole set."""
    with files.writing("comparison.json") as file:
        write_json(file, rows)
    with files.writing("comparison.md") as file, atomic_write(file) as opened:
        opened.write(markdown(rows).encode())
    used = rows[0]["training_images"]
    subset = f", a subset of {used:,} training images" if used < num_images else ""
    with files.writing("comparison.png") as file:
        plot.comparison(rows, file, f"{dataset}{subset}")
    histories = {
        row["model"]: history_of(row["seed"], row["history"], row["epochs"])  # the weights of the last epoch were kept
        for row in rows
        if "val_loss" in (row.get("history") or {})
    }
    for name, history in histories.items():
        with files.writing(f"curves-{name}.png") as file:
            plot.history(history, file, f"{name} on {dataset}{subset}")
    facts = {
        "training images": f"{used:,}",
        "recipe gcnlab": image_recipes.IMAGE_PROTOCOLS["holdout"],
        "recipe tutorial": image_recipes.IMAGE_PROTOCOLS["tutorial"],
        "seed": ", ".join(map(str, sorted({row["seed"] for row in rows}))),
    }
    with files.writing("report.html") as file:
        table = [_COLUMNS, *map(_cells, rows)]
        report.write(file, report.of_comparison(dataset, facts, rows, table, histories, versions()))


_COLUMNS = ("model", "recipe", "parameters", "test", "reported", "epochs", "s/epoch", "images/s", "peak MiB", "gcnlab")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    reported = "" if row["published"] is None else f"{100 * row['published']:.1f} %"
    return (
        row["model"], row["recipe"], f"{row['num_parameters']:,}", f"{100 * row['test_accuracy']:.2f} %", reported,
        str(row["epochs"]), f"{row['seconds_per_epoch']:.1f}", f"{row['images_per_second']:,.0f}",
        f"{row['peak_memory_mib']:,.0f}", row["versions"]["gcnlab"],
    )  # fmt: skip


_WIDTHS = (27, 9, 10, 9, 9, 7, 8, 9, 9, 9)


def text_row(row: dict[str, Any] | None = None) -> str:
    """A row of the table on the screen; without one, its head."""
    cells = _COLUMNS if row is None else _cells(row)
    return "".join(
        f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [_COLUMNS, ("---", "---", *["---:"] * (len(_COLUMNS) - 2)), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
