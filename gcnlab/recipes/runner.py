"""The function that runs a recipe by its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from .. import distributed
from ..checks import check_can_draw, check_choice, check_counts, check_package, check_workers
from ..data import catalog
from ..data.fetch import expand_user
from ..errors import InputError, did_you_mean
from ..files import check_target, write_json
from ..generators import generators_kept
from ..machine import has_terminal
from ..reporting import page as report
from ..threads import exactly
from ..train import TensorBoard
from .base import AnyRecipe, Run
from .outputs import Outputs
from .table import find


@distributed.watch()
@generators_kept()
def run(
    name: str,
    *,
    seeds: int | None = None,
    device: str | None = None,
    epochs: int | None = None,
    root: str | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    threads: int | None = None,
    pretrained: bool = False,
    out: str | PathLike[str] | None = None,
    tsne: bool = False,
    tensorboard: str | PathLike[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    done: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Train a recipe on `seeds` seeds (0, 1, ...) and score the kept weights on the test set, once.

    In a process group (`distributed`) all of its processes call this, rank 0 alone writes, and all have the result. The
    seeds of node recipes and the folds of gin and nested are spread over the processes; images and holdout are trained by
    all together, one seed after the other, and where there is `out` go on from its last epochs when torchrun starts the
    processes again.

    Args:
        name: a key of `RECIPES`.
        seeds: how many; by default the recipe's.
        device: "cpu" or "cuda"; by default cuda where there is one.
        epochs: the most epochs; by default the recipe's.
        root: data root.
        dataset: another set of the same kind; or a path: for citation sets of a folder of Planetoid files, for OGB's
            of a folder that was its zip archive, for images of what `gcnlab.load` reads images from, such as a folder of idx files.
        protocol: one of the recipe's protocols.
        threads: CPU threads; folds train side by side, one thread each. By default as many as the work of a step needs,
            and one fold a core.
        pretrained: of a recipe of images, score the weights that come with gcnlab instead of training; the seed is
            that of their training, and there are no epochs.
        out: a folder for result.json, report.html (`reporting`), curves.png and model.gcnlab (the seed with the best
            validation accuracy, whose predictions the report shows; its header holds the temperature of their
            probabilities, `metrics.fit_temperature` of the validation nodes, graphs or images). The
            ten folds of gin and nested make ten models, none of which is the one that was measured: they have no
            model.gcnlab. Finished folds are kept there in folds.jsonl, and not trained again. Features
            that are propagated beforehand are kept there in hops (`precompute.hops`), and not made again; without a folder they are in memory.
        tsne: draw the embeddings in report.html by t-SNE, too: of 3,000 points about half a minute a layer.
        tensorboard: a folder for event files of losses, accuracies and learning rate (`TensorBoard`): seed-0, ..., of gin
            seed-0/fold-1, ..., of nested seed-0/fold-1/run-1, ...
            The result comes first: a model, picture or report that cannot be made or written afterwards is a warning.
        say: gets lines of text for people.
        done: gets the result as soon as there is one, before models, pictures and the report are made; in rank 0 alone.

    Returns:
        the result: `data` is a digest of the data (of graphs without X, so that models on other features of the same
        folds can be compared), accuracies are fractions, std is the population standard deviation, seconds is the wall time up to it.
    """
    start = time.perf_counter()
    recipe = find(name)
    dataset, protocol = _dataset_of(recipe, dataset), _protocol_of(recipe, protocol)
    num_seeds = recipe.num_seeds if seeds is None else seeds
    epochs = recipe.epochs if epochs is None else epochs
    check_counts(seeds=num_seeds, epochs=epochs)
    threads = None if threads is None else check_workers("threads", threads)
    folder, board = None if out is None else Path(out), None if tensorboard is None else str(tensorboard)
    asked = Run(
        dataset, protocol, num_seeds, epochs, _device_of(device), root, folder, board, threads, pretrained, say
    )  # fmt: skip
    _check_surroundings(recipe, asked, tsne)

    say(f"{name}: {recipe.model_name}, on {dataset}, {num_seeds} seed{'s' * (num_seeds > 1)}")
    with exactly(threads):
        result, finish = recipe.run(asked)
        result["seconds"] = time.perf_counter() - start
        if not distributed.is_first():
            return result
        if folder is None:
            done(result)
            return result
        files = Outputs(folder)
        with files.writing("result.json") as file:
            write_json(file, result)
        done(result)
        with files.writing("report.html") as file:
            report.write(file, report.of_run(result, finish(files), tsne))
    if files.written:
        say(f"wrote {out}/{', '.join(files.written)}")
    return result


def _dataset_of(recipe: AnyRecipe, dataset: str | None) -> str:
    """The data set that a recipe runs on: a name, or a path that exists."""
    dataset = dataset or recipe.dataset
    if dataset.lower() in catalog():
        dataset = dataset.lower()
    if dataset not in recipe.datasets and (dataset in catalog() or not recipe.takes_path):
        raise InputError(
            f"dataset: {recipe.name} does not run on {dataset!r}; it runs on {', '.join(recipe.datasets)}."
            + did_you_mean(dataset, recipe.datasets)
        )
    if dataset not in catalog() and not expand_user(dataset).exists():
        raise InputError(
            f"dataset: {dataset!r} is neither a data set ({', '.join(recipe.datasets)}) nor a path."
            + did_you_mean(dataset, recipe.datasets)
        )
    return dataset


def _protocol_of(recipe: AnyRecipe, protocol: str | None) -> str:
    protocol = protocol or recipe.protocols[0]
    if protocol not in recipe.protocols:
        raise InputError(
            f"protocol: {protocol!r} does not fit {recipe.name}; it can follow {', '.join(recipe.protocols)}."
            + did_you_mean(protocol, recipe.protocols)
        )
    return protocol


def _device_of(device: str | None) -> str:
    device = check_choice("device", device, ("cpu", "cuda", None)) or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: 'cuda' was asked for, but torch sees no CUDA device; use --device cpu.")
    return device


def _check_surroundings(recipe: AnyRecipe, run: Run, tsne: bool) -> None:
    """Raise InputError before the work if the run could not write or draw, or lacks a package that it needs later."""
    if run.folder is not None and distributed.is_first():
        check_target("out", run.folder, is_folder=True)
        check_can_draw("out: curves.png")
        report.check_can_write("out: report.html")
        for package in recipe.report_packages:
            check_package("out: the drawing of a graph in report.html", package)
    if tsne and run.folder is None:
        raise InputError("tsne: is drawn into report.html, which goes into the folder out; give one (--out DIR).")
    if tsne:
        check_package("tsne", "scikit-learn", "sklearn.manifold")
    if run.is_pretrained and not recipe.has_pretrained:
        raise InputError(f"pretrained: no weights of {recipe.name} come with gcnlab; those of fashion-mnist-grid do.")
    if run.board is not None:
        if run.is_pretrained:
            raise InputError("tensorboard: got a folder with pretrained weights, of which there is no training to log.")
        check_package("tensorboard", "tensorboard", "torch.utils.tensorboard")
        TensorBoard(run.board)  # whether it can write, before the work
    if has_terminal() and not run.is_pretrained:
        check_package("the progress bar", "tqdm")
