"""Pictures by matplotlib; no window is opened.

Each function returns the matplotlib figure. With `path` it also saves the figure as PNG, PDF or SVG, by the ending of the
name; an error leaves an older file as it was. The colours are those of Okabe & Ito, which colour-blind readers can tell
apart; nothing is said by colour alone.
"""

from __future__ import annotations

import math
import numbers
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .checks import check_choice, check_count, check_list, check_number, check_package
from .errors import InputError, InputTypeError
from .files import atomic_write, check_target
from .image import Grid, to_images, to_signals
from .image.pixels import check_is_no_single_picture, to_unit, warn_of_range
from .inputs import as_tensor
from .metrics import FRACTIONS, NAMES
from .trace import run_once

_PathLike = str | PathLike[str]

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#666666"
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"
_FORMATS = (".png", ".pdf", ".svg")
_FAMILIES = {"CNN": 0, "graph network": 1}  # their places in COLOURS and _MARKERS in every picture
_MAX_IMAGES = 200  # of a sheet
_MAX_ROWS, _MAX_LAYERS = 24, 24  # of feature maps; more layers must be named
_MAX_NUMBERED_CLASSES = 30  # up to here the cells of a confusion matrix hold their counts
_MAX_NAME, _MAX_MODEL_NAME = 18, 40  # characters; longer names are cut
_MAX_EPOCHS = 300  # points of a curve; a curve of more epochs is drawn at evenly spaced ones

# --------------------------------------------------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------------------------------------------------


class Curves(Protocol):
    """What `history` draws, such as a `History`.

    Attributes:
        seeds: one per training.
        metrics: name -> [num_epochs, num_seeds]; NaN after a seed has stopped.
        best_epoch: [num_seeds], the epoch (from 1) whose weights were kept.
    """

    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def metrics(self) -> Mapping[str, Tensor]: ...
    @property
    def best_epoch(self) -> Tensor: ...


def history(history: Curves, path: _PathLike | None = None, title: str | None = None) -> Any:
    """Curves of loss, accuracy and the metric that selected by epoch: the mean over seeds, with a band of one standard
    deviation.

    A dotted line marks the median epoch whose weights were kept. A mean ends where fewer than half of the seeds still
    train.

    Args:
        history: what `fit` returned; without `select` it has the curves of loss and accuracy.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Returns:
        the matplotlib figure.
    """
    asked = dict.fromkeys(("loss", "accuracy", getattr(history, "select", "").partition("_")[2]))
    kinds = [kind for kind in asked if kind and any(name.partition("_")[2] == kind for name in history.metrics)]
    figure = _figure(4.5 * len(kinds), 3.6, path)
    count = len(history.seeds)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for split, name, colour, style in (("train", "training", BLUE, "-"), ("val", "validation", VERMILION, "--")):
            if f"{split}_{kind}" not in history.metrics:
                continue
            curves = torch.tensor(mean_curve(history, f"{split}_{kind}"), dtype=torch.float64)
            length = curves.shape[1]
            at = torch.linspace(0, length - 1, min(length, _MAX_EPOCHS)).round().long()
            mean, low, high = curves[:, at]
            axes.plot(at + 1, mean, color=colour, linestyle=style, label=name)
            if count > 1:
                axes.fill_between(at + 1, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.axvline(float(history.best_epoch.float().median()), color=GREY, linestyle=":", linewidth=1.5)
        axes.set(xlabel="epoch", ylabel=NAMES.get(kind, kind))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    note = (
        f"mean of {count} seeds while half of them train; band: 1 standard deviation; dotted: median kept epoch"
        if count > 1
        else "dotted: the epoch whose weights were kept"
    )
    return _finish(figure, path, title, note)


def mean_curve(history: Curves, metric: str) -> tuple[list[float], list[float], list[float]]:
    """Mean and mean ± standard deviation over the seeds by epoch, clipped to the valid range.

    They end where fewer than half of the seeds still train.
    """
    values = history.metrics[check_choice("metric", metric, history.metrics)].double()  # [num_epochs, num_seeds]
    trains = ((~values.isnan()).double().mean(1) >= 0.5).nonzero().flatten().tolist()
    values = values[: max(trains, default=-1) + 1]
    mean = values.nanmean(1)
    std = (values - mean.unsqueeze(1)).square().nanmean(1).sqrt()
    kind = metric.partition("_")[2]
    low = mean - std if kind == "r2" else (mean - std).clamp(min=0)
    high = (mean + std).clamp(max=1) if kind in FRACTIONS else mean + std
    return mean.tolist(), low.tolist(), high.tolist()


def folds(curves: Sequence[Sequence[float]], path: _PathLike | None = None, title: str | None = None) -> Any:
    """Validation accuracy of each fold by epoch, and their mean; a dashed line marks the epoch at which it is highest.

    The mean ends with the shortest fold: beyond it, it would be a mean of other folds.

    Args:
        curves: one per fold, fractions by epoch; folds that stopped early are shorter.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError: no curve, an empty one, or a value that is not between 0 and 1; with the fold and the epoch.
    """
    if not len(curves) or not all(len(curve) for curve in curves):
        empty = next((f"curve {i} is empty" for i, curve in enumerate(curves) if not len(curve)), "got none")
        raise InputError(f"curves: {empty}, expected the validation accuracy of every fold by epoch.")
    for i, curve in enumerate(curves):
        for epoch, value in enumerate(curve, 1):
            if not 0 <= value <= 1:  # NaN neither
                raise InputError(f"curves: {float(value)} in curve {i}, epoch {epoch}; expected a fraction.")
    mean, std = mean_of_folds(curves)
    best = max(range(len(mean)), key=mean.__getitem__)

    figure = _figure(7, 4, path)
    axes = figure.subplots()
    for i, curve in enumerate(curves):
        label = f"each of {len(curves)} folds" if not i else None
        axes.plot(range(1, len(curve) + 1), curve, color=GREY, alpha=0.45, linewidth=0.8, label=label)
    axes.plot(range(1, len(mean) + 1), mean, color=BLUE, linewidth=2.2, label="their mean")
    chosen = f"highest mean: epoch {best + 1}, {100 * mean[best]:.1f} % ± {100 * std[best]:.1f}"
    axes.axvline(best + 1, color=VERMILION, linestyle="--", linewidth=1.2, label=chosen)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False, fontsize="small")
    return _finish(figure, path, title or f"Validation accuracy of {len(curves)} folds")


def mean_of_folds(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over the folds by epoch, up to the end of the shortest fold."""
    length = min(len(curve) for curve in curves)
    common = torch.tensor([[float(value) for value in curve[:length]] for curve in curves], dtype=torch.float64)
    return common.mean(0).tolist(), common.std(0, correction=0).tolist()


def accuracies(
    values: Mapping[str, Sequence[float]],
    published: float | None = None,
    path: _PathLike | None = None,
    title: str | None = None,
    metric: str = "accuracy",
) -> Any:
    """Accuracies of seeds or folds: a row of dots per name, with their mean and a band of one standard deviation.

    Args:
        values: name -> fractions, one per seed or fold.
        published: a fraction to compare with, which a dashed line marks.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.
        metric: what the values are: "accuracy", "roc_auc", "average_precision" or "macro_f1".

    Raises:
        InputError: no name, a name without values, or a value that is no fraction.
    """
    check_choice("metric", metric, FRACTIONS)
    if not values or not all(len(of) for of in values.values()):
        raise InputError(f"values: got {dict(values)}, expected the accuracies of one name at least.")
    for name, of in values.items():
        for i, value in enumerate(of):
            check_number(f"values[{name!r}][{i}]", value, least=0, most=1)
    if published is not None:
        check_number("published", published, least=0, most=1)
    figure = _figure(5.4, 0.9 + 0.8 * len(values), path)
    table = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    every = [*(value for of in values.values() for value in of), *(() if published is None else (published,))]
    step = (max(every) - min(every)) / 60 or 1.0  # of two values that are nearer, the dots would touch
    for axes, (name, of) in zip(table, values.items(), strict=True):
        given = torch.tensor([float(value) for value in of], dtype=torch.float64)
        mean, std = float(given.mean()), float(given.std(correction=0))
        axes.axvspan(mean - std, mean + std, color=BLUE, alpha=0.15, linewidth=0)
        axes.axvline(mean, color="black", linewidth=1.2)
        if published is not None:
            axes.axvline(published, color=VERMILION, linestyle="--", linewidth=1.2)
        columns = Counter[int]()
        for value in sorted(given.tolist()):  # those that would touch stand above each other
            place = round((value - min(every)) / step)
            axes.plot(value, columns[place], "o", color=BLUE, markersize=5, alpha=0.75)
            columns[place] += 1
        axes.set_ylim(-0.6, max(4, *columns.values()) + 0.4)
        axes.set_yticks([])
        if len(values) > 1:
            axes.set_ylabel(_shortened(name), rotation=0, ha="right", va="center", parse_math=False)
        axes.grid(axis="x", alpha=0.3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    table[-1].set_xlabel(NAMES[metric])
    note = "line: mean, band: 1 standard deviation" + ("; dashed: published" if published is not None else "")
    return _finish(figure, path, title, note)


# --------------------------------------------------------------------------------------------------------------------
# What the layers see
# --------------------------------------------------------------------------------------------------------------------


def feature_maps(
    model: nn.Module,
    images: Any,
    layers: Sequence[str | int] | None = None,
    channel: int | Sequence[int] = 1,
    grid: Grid | None = None,
    operator: Any = None,
    names: Sequence[str] | None = None,
    path: _PathLike | None = None,
    title: str | None = None,
) -> Any:
    """One channel of the outputs of some layers for several images, or several channels for one image.

    One channel: a row per image, which begins with the image itself, and a column per layer. Several channels: a block of
    maps per layer.

    A CNN's maps are shown as they are. A graph network's node signals [batch, num_nodes, C] are laid out as the image
    they stand for, on the grid or on the coarser grid that has as many nodes. The colours of a layer share one scale,
    which its heading gives. The model runs in evaluation mode, and is left as it was.

    Args:
        model: a CNN is called as model(images [batch, C, H, W]), a graph network as model(signals, grid).
        images: uint8 (scaled to [0, 1]) or floats (as they are): [N, H, W], or with 1, 3 or 4 channels at either end;
            up to 24.
        layers: names as in `model.named_modules()`, of any layers that make maps; an integer i stands for the name "i" of
            a Sequential's layer. By default every convolution and pooling whose output is a map, in the order in which
            they run.
        channel: from 0; several, such as range(16), of one image.
        grid: the grid of the images' pixels, for a graph network.
        operator: what a graph network takes instead of the grid, such as `grid.a_hat`.
        names: one per image, at the left of its row.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError: a layer that is not in the model, that did not run, or whose output is no map or lacks the channel;
            images that cannot be shown; or a grid of another shape.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> figure = feature_maps(model, torch.rand(2, 8, 8))
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:3]]
    ['image', '0 Conv2d', '2 MaxPool2d']
    """
    pictures = _as_pictures(images, _MAX_ROWS)
    warn_of_range(pictures)
    several = isinstance(channel, Sequence) and not isinstance(channel, str)
    listed: Any = channel if several else [channel]
    channels = [check_count("channel", c) for c in listed]
    if not channels or (several and len(pictures) > 1):
        raise InputError(
            f"channel: got {channel!r} for {len(pictures)} images, expected one channel, or several of one image."
        )
    if layers is not None:
        layers = [str(layer) if type(layer) is int else layer for layer in layers]
    num_images, height, width, _ = pictures.shape
    if names is not None and len(check_list("names", names, "names")) != num_images:
        raise InputError(f"names: got {len(names)} for {num_images} images.")
    maps = _layer_maps(model, pictures, layers, channels, grid, operator)
    if several:
        return _channel_sheet(model, pictures, maps, channels, names, path, title)

    figure = _figure(1.5 * (1 + len(maps)), 1.4 * _tallness(pictures) * num_images + 0.9, path)
    table = figure.subplots(num_images, 1 + len(maps), squeeze=False)
    for axes, picture in zip(table[:, 0], _to_show(pictures), strict=True):
        _show(axes, picture)
    table[0, 0].set_title(f"image\n{height} x {width}\n", fontsize="small")
    for i, name in enumerate(names or ()):
        table[i, 0].set_ylabel(_shortened(name), fontsize="small", parse_math=False)
    for column, (name, values) in zip(table.T[1:], maps.items(), strict=True):
        values = values[..., 0]
        for axes, value in zip(column, values, strict=True):
            _show_map(axes, value, values, pictures)
        kind = type(model.get_submodule(name)).__name__
        heading = f"{name} {kind}" if len(name) + len(kind) < _MAX_NAME else f"{_shortened(name)}\n{kind}"
        column[0].set_title(f"{heading}\n{_size_and_range(values)}", fontsize="small", parse_math=False)
    return _finish(figure, path, title or f"Channel {channel} of the layers of {type(model).__name__}")


def _channel_sheet(
    model: nn.Module,
    pictures: Tensor,
    maps: Mapping[str, Any],
    channels: Sequence[int],
    names: Sequence[str] | None,
    path: _PathLike | None,
    title: str | None,
) -> Any:
    """The image, and beside it a block of rows for each layer: its channels, up to eight in a row."""
    columns = min(8, len(channels))
    rows = math.ceil(len(channels) / columns)  # of one layer
    height = 1.25 * _tallness(pictures) + 0.3
    figure = _figure(1.5 * (1 + columns) + 0.6, height * rows * len(maps) + 0.8, path)
    table = figure.subplots(rows * len(maps), 1 + columns, squeeze=False)
    for axes in table.flatten():
        axes.set_axis_off()
    table[0, 0].set_axis_on()
    _show(table[0, 0], _to_show(pictures)[0])
    table[0, 0].set_title(_shortened(names[0]) if names else "image", fontsize="small", parse_math=False)
    for i, (name, values) in enumerate(maps.items()):
        block = table[i * rows : (i + 1) * rows, 1:].flatten()
        for axes, channel, value in zip(block, channels, values[0].transpose(2, 0, 1), strict=False):
            axes.set_axis_on()
            _show_map(axes, value, values, pictures)
            axes.set_title(str(channel), fontsize="small", pad=3)
        heading = (
            f"{_shortened(name)}\n{type(model.get_submodule(name)).__name__}\n{_size_and_range(values[..., 0], values)}"
        )
        block[0].set_ylabel(heading, fontsize="small", parse_math=False)
    return _finish(figure, path, title or f"{len(channels)} channels of the layers of {type(model).__name__}")


def _show_map(axes: Any, value: Any, of_layer: Any, pictures: Tensor) -> None:
    """[H, W] in the colours of the layer's values, as large as its image."""
    extent = (0, pictures.shape[2], pictures.shape[1], 0)
    low, high = float(of_layer.min()), float(of_layer.max())
    axes.imshow(value, cmap="viridis", vmin=low, vmax=high, interpolation="nearest", extent=extent)
    axes.set(xticks=[], yticks=[])


def _size_and_range(values: Any, of_layer: Any = None) -> str:
    """Height x width of maps [num_images, H, W], and the least and largest value of the layer."""
    of_layer = values if of_layer is None else of_layer
    low, high = float(of_layer.min()), float(of_layer.max())
    found = f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g} everywhere"
    return f"{' x '.join(map(str, values.shape[1:]))}\n{found}"


def _layer_maps(
    model: nn.Module,
    pictures: Tensor,
    layers: Sequence[Any] | None,
    channels: Sequence[int],
    grid: Grid | None,
    operator: Any,
) -> dict[str, Any]:
    """Name -> array [num_images, height, width, num_channels], in the order of `layers`, else in that of the calls."""
    like = next(model.parameters(), pictures)
    x = pictures.to(like.device, like.dtype)
    if grid is None:
        if operator is not None:
            raise InputError("operator: got one, but no grid; a graph network needs grid=grid_graph(height, width).")
        inputs: tuple[Any, ...] = (x.movedim(-1, 1),)
    else:
        if not isinstance(grid, Grid):
            raise InputTypeError(
                f"grid: got {type(grid).__name__}, expected a Grid; gcnlab.image.grid_graph makes one."
            )
        if pictures.shape[1:3] != grid.shape:
            found, size = (" x ".join(map(str, shape)) for shape in (pictures.shape[1:3], grid.shape))
            raise InputError(f"grid: is of {size} pixels, but the images are {found}.")
        inputs = (x.flatten(1, 2), grid if operator is None else operator)
    modules = {name: module for name, module in model.named_modules() if name}
    for name in () if layers is None else check_list("layers", layers, "names"):
        if name not in modules:
            inner = [module for module in modules if module.endswith(f".{name}")]
            near = ", ".join(map(repr, dict.fromkeys([*inner[:2], *get_close_matches(str(name), modules, 3, 0)])))
            raise InputError(
                f"layers: the model has no {name!r}, expected a name of model.named_modules(): {near}, ..."
            )
    outputs = _outputs(model, inputs, _convolutions_and_poolings(modules) if layers is None else layers)
    kind = "[batch, C, H, W]" if grid is None else "[batch, num_nodes, C]"
    maps = {}
    for name in outputs if layers is None else layers:
        output = outputs.get(name)
        image = _as_maps(output, len(pictures), grid) if isinstance(output, Tensor) else None
        if image is not None and max(channels) >= image.shape[-1]:
            raise InputError(f"channel: got {max(channels)}, but {name!r} makes {image.shape[-1]} channels, from 0.")
        if image is not None:
            maps[name] = image[..., channels].double().cpu().numpy()
        elif layers is not None:
            made = "did not run" if name not in outputs else f"makes {_kind_of(output)}"
            raise InputError(f"layers: {name!r} {made}, expected a layer that makes maps, {kind}.")
    if layers is None and not 0 < len(maps) <= _MAX_LAYERS:
        raise InputError(
            f"layers: {len(maps)} convolutions and poolings of the model make maps, {kind}, expected 1 to {_MAX_LAYERS}; "
            f"name those to show, such as layers={list(maps or modules)[:2]}."
        )
    return maps


def _kind_of(output: Any) -> str:
    return f"{tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def _convolutions_and_poolings(modules: Mapping[str, nn.Module]) -> list[str]:
    """Names of layers whose class is called so, so that anyone's layers count; a layer that holds one is left out."""
    named = [name for name, m in modules.items() if any(kind in type(m).__name__ for kind in ("Conv", "Pool"))]
    return [name for name in named if not any(other.startswith(f"{name}.") for other in named)]


def _outputs(model: nn.Module, inputs: tuple[Any, ...], names: Sequence[str]) -> dict[str, Any]:
    """What each named module returned, the last time if it ran more than once, in the order in which they ran."""
    named = {model.get_submodule(name): name for name in names}

    def copied(_: nn.Module, output: Any) -> Any:
        return output.clone() if isinstance(output, Tensor) else output  # a ReLU behind it may work in place

    calls, _ = run_once(model, inputs, named, keep_output=copied)
    return {named[call.module]: call.output for call in calls}


def _as_maps(output: Tensor, num_images: int, grid: Grid | None) -> Tensor | None:
    """A layer's output as [num_images, H, W, C], or None if it is no map."""
    if output.dim() == 4 and len(output) == num_images:
        return output.movedim(1, -1)
    while grid is not None:
        n = grid.num_nodes
        # A batch norm sees all nodes as rows. As many rows as images are not nodes: a head makes them, too.
        if output.shape[:-1] == (num_images, n) or (n > 1 and output.shape[:-1] == (num_images * n,)):
            return to_images(output.reshape(num_images, n, -1), grid.shape)
        grid = grid.coarser if n > 1 else None
    return None


# --------------------------------------------------------------------------------------------------------------------
# Images and their predictions
# --------------------------------------------------------------------------------------------------------------------


def samples(
    images: Any,
    labels: Any,
    class_names: Sequence[str] | None = None,
    predictions: Any = None,
    columns: int = 8,
    path: _PathLike | None = None,
    title: str | None = None,
) -> Any:
    """A sheet of images with the names of their classes; wrong predictions are framed, with both names.

    Args:
        images: uint8 or floats, [N, H, W], or with 1, 3 or 4 channels at either end; up to 200.
        labels: integers [N].
        class_names: one per class; by default the numbers.
        predictions: predicted labels, integers [N].
        columns: images in a row.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError, InputTypeError: shapes, labels or names do not fit each other; with the argument and the position.
    """
    pictures = _as_pictures(images, _MAX_IMAGES)
    y = _check_classes("labels", labels, len(pictures), class_names)
    captions, wrong = [_name(label, class_names) for label in y], [False] * len(y)
    note = ""
    if predictions is not None:
        predicted = _check_classes("predictions", predictions, len(pictures), class_names)
        wrong = [p != label for p, label in zip(predicted, y, strict=True)]
        captions = [
            f"{caption}\n✗ {_name(p, class_names)}" if is_wrong else caption
            for caption, p, is_wrong in zip(captions, predicted, wrong, strict=True)
        ]
        note = f"{sum(wrong)} of {len(y)} predictions are wrong: framed, ✗ the prediction"
    return _sheet(pictures, captions, wrong, columns, path, title or ("" if note else "Samples"), note)


def mistakes(
    images: Any,
    labels: Any,
    logits: Any,
    class_names: Sequence[str] | None = None,
    count: int = 24,
    columns: int = 8,
    path: _PathLike | None = None,
    title: str | None = None,
) -> Any:
    """The worst mistakes: the images whose wrong class the model is surest of, with the names of both classes.

        p = softmax(logits),   worst: the largest max_c p_c among those whose argmax is not the label

    Args:
        images: uint8 or floats, [N, H, W], or with 1, 3 or 4 channels at either end.
        labels: integers [N].
        logits: [N, C].
        class_names: one per class; by default the numbers.
        count: how many to show at most, 1 to 200.
        columns: images in a row.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError, InputTypeError: shapes, labels or names do not fit each other, or logits that are not finite.
    """
    images = as_tensor("images", images, "a tensor or an array")
    check_is_no_single_picture(images)
    if not 0 < check_count("count", count) <= _MAX_IMAGES:
        raise InputError(f"count: got {count}, expected 1 to {_MAX_IMAGES}.")
    logits = as_tensor("logits", logits, "floats [N, num_classes]").detach().double().cpu()
    if logits.dim() != 2 or logits.shape[1] < 2 or len(logits) != len(images):
        raise InputError(
            f"logits: got shape {tuple(logits.shape)} for {len(images)} images, expected [N, num_classes]; "
            "torch.nn.functional.pad(z, (1, 0)) makes two logits of the one logit z [N, 1] of two classes."
        )
    if bool((bad := ~logits.isfinite()).any()):
        raise InputError(f"logits: {int(bad.sum())} are NaN or infinite, the first in row {int(bad.nonzero()[0, 0])}.")
    if class_names is not None and len(check_list("class_names", class_names, "names")) != logits.shape[1]:
        raise InputError(f"class_names: got {len(class_names)} for logits of {logits.shape[1]} classes.")
    names = [str(label) for label in range(logits.shape[1])] if class_names is None else class_names
    y = torch.tensor(_check_classes("labels", labels, len(images), names))
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != y).nonzero().squeeze(1)
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    if not len(worst):
        return _finish(_figure(5, 0.8, path), path, title or "No mistakes", f"all of {len(y):,} are right")
    captions = [  # the probability is rounded down, so that 100 % is certainty
        f"image {i}\n{_name(int(y[i]), names)}\n✗ {_name(int(predicted[i]), names)} {math.floor(100 * confidence[i])} %"
        for i in worst.tolist()
    ]
    note = f"{len(wrong):,} of {len(y):,} are wrong; ✗ the prediction, with its probability"
    pictures = _as_pictures(images[worst], _MAX_IMAGES)
    return _sheet(pictures, captions, [True] * len(captions), columns, path, title or "The worst mistakes", note)


def confusion(
    matrix: Any, class_names: Sequence[str] | None = None, path: _PathLike | None = None, title: str | None = None
) -> Any:
    """A confusion matrix: the counts, coloured by their share of the row, which holds one true class.

    Args:
        matrix: counts [C, C], row = true class, column = predicted class, as `metrics.confusion_matrix` gives.
        class_names: one per class; by default the numbers.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError: not a square matrix of counts, or other names than classes.

    >>> figure = confusion([[8, 2], [1, 9]], ["cat", "dog"])
    >>> figure.get_suptitle()
    'Confusion matrix\\naccuracy 85.00 % of 20; colour: share of the true class'
    """
    counts = as_tensor("matrix", matrix, "counts [num_classes, num_classes]").detach().double().cpu()
    c = len(counts) if counts.dim() == 2 else 0
    if not c or counts.shape != (c, c):
        raise InputError(f"matrix: got shape {tuple(counts.shape)}, expected [num_classes, num_classes].")
    bad = ~((counts >= 0) & (counts == counts.round()))
    if bool(bad.any()):
        row, column = bad.nonzero()[0].tolist()
        raise InputError(f"matrix: {float(counts[row, column]):g} at ({row}, {column}), expected counts from 0.")
    total = int(counts.sum())
    if not total:
        raise InputError("matrix: all counts are 0, so there is nothing to show.")
    if class_names is not None and len(check_list("class_names", class_names, "names")) != c:
        raise InputError(f"class_names: got {len(class_names)} for a matrix of {c} classes.")
    names = [_name(label, class_names) for label in range(c)]
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)

    is_numbered = c <= _MAX_NUMBERED_CLASSES
    longest = len(f"{int(counts.max()):,}")
    side = max(0.5, 0.085 * longest + 0.15) if is_numbered else 0.16  # inches
    figure = _figure(max(side * c, 2.2) + 2.9, max(side * c, 1.6) + 1.9, path)
    axes = figure.subplots()
    from matplotlib.colors import LinearSegmentedColormap

    # Up to three quarters opaque: black can be read on every shade, and white where a dark page shines through.
    shades = LinearSegmentedColormap.from_list("share", [f"{BLUE}00", f"{BLUE}BF"])
    image = axes.imshow(share.numpy(), cmap=shades, vmin=0, vmax=1, interpolation="none")
    size = "small" if is_numbered else "xx-small"
    axes.set_xticks(range(c), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(c), names, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class")
    for row, column in counts.nonzero().tolist() if is_numbered else ():
        axes.text(column, row, f"{int(counts[row, column]):,}", ha="center", va="center", fontsize="small")
    figure.colorbar(image, shrink=0.6, format=lambda value, _: f"{100 * value:.0f} %")
    note = f"accuracy {100 * float(counts.trace()) / total:.2f} % of {total:,}; colour: share of the true class"
    return _finish(figure, path, title or "Confusion matrix", note)


def _sheet(
    pictures: Tensor,
    captions: Sequence[str],
    framed: Sequence[bool],
    columns: int,
    path: _PathLike | None,
    title: str,
    note: str,
) -> Any:
    columns = min(check_count("columns", columns, 1), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    num_lines = max(caption.count("\n") + 1 for caption in captions)
    figure = _figure(max(1.45 * columns, 4), rows * (1.25 * _tallness(pictures) + 0.18 * num_lines) + 0.8, path)
    figure.get_layout_engine().set(h_pad=0.08)  # inches, so that no caption touches the title
    table = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in table[len(pictures) :]:
        axes.set_axis_off()
    for axes, picture, caption, is_framed in zip(table, _to_show(pictures), captions, framed, strict=False):
        _show(axes, picture)
        axes.set_title(caption, fontsize="small", pad=3, color=VERMILION if is_framed else "black", parse_math=False)
        if is_framed:
            axes.spines[:].set(color=VERMILION, linewidth=2)
    return _finish(figure, path, title, note)


# --------------------------------------------------------------------------------------------------------------------
# Models side by side
# --------------------------------------------------------------------------------------------------------------------


def comparison(rows: Sequence[Mapping[str, Any]], path: _PathLike | None = None, title: str | None = None) -> Any:
    """Test accuracy against the number of parameters, and against the time of training; the legend names the numbers.

    All axes are on log scales, that of the accuracy by its errors: half of them is one step up, wherever it starts, so
    that 50 % has room on the axis on which 94 and 95 % stand apart.

    Args:
        rows: one per model: "model", its name; "num_parameters"; "test_accuracy", a fraction, or {"mean": ..., "std":
            ...} as a result of `gcnlab run` has it; "seconds", of the training. A row may have a "family": each gets a
            colour and a marker, "CNN" and "graph network" the same ones in every picture.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Raises:
        InputError: no rows, or a row without such an entry or with one that cannot be drawn; with its number.
    """
    if not len(rows):
        raise InputError("rows: got none, expected one per model.")
    accuracies = [_accuracy(i, row) for i, row in enumerate(rows)]  # (mean, std)
    styles = _styles(rows)
    sides = (("num_parameters", "parameters"), ("seconds", "training, seconds"))
    for i, row in enumerate(rows):
        for key, _ in sides:
            value = row.get(key)
            if not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
                raise InputError(f"rows: {key!r} of row {i} is {value!r}, expected a number above 0.")

    figure = _figure(12, 5.5, path)
    table = figure.subplots(1, 2, sharey=True)
    table[0].set_yscale("function", functions=(_to_log_error, _from_log_error))
    for axes, (key, label) in zip(table, sides, strict=True):
        axes.set(xscale="log", xlabel=label)
        if len({row[key] for row in rows}) == 1:  # one place gives an axis no width
            axes.set_xlim(rows[0][key] / 2, 2 * rows[0][key])
        for family, style in styles.items():
            of = [i for i, row in enumerate(rows) if row.get("family") == family]
            axes.errorbar(
                [rows[i][key] for i in of], [accuracies[i][0] for i in of], [accuracies[i][1] for i in of],
                fmt=_MARKERS[style], color=COLOURS[style], markersize=7, capsize=3, elinewidth=1, label=family,
            )  # fmt: skip
        axes.relim()  # matplotlib 3.8.0 takes the logarithms of error bars for values
        axes.margins(0.15)
        axes.grid(alpha=0.3)
    table[0].set_ylabel("test accuracy (errors on a log scale)")
    for axes in table:
        _set_ticks(axes)
    _set_legends(figure, rows, list(styles))
    _set_title(figure, title or "Accuracy against size and time")
    figure.draw_without_rendering()  # the layout is made now, and stays: the numbers are fitted into it
    figure.set_layout_engine("none")
    for axes, (key, _) in zip(table, sides, strict=True):
        _number_points(axes, [(float(row[key]), mean) for row, (mean, _) in zip(rows, accuracies, strict=True)])
    return _finish(figure, path)


def _styles(rows: Sequence[Mapping[str, Any]]) -> dict[Any, int]:
    """Family -> its place in COLOURS and _MARKERS."""
    families = list(dict.fromkeys(row.get("family") for row in rows))
    if len(families) > len(_MARKERS):
        raise InputError(f"rows: got {len(families)} families, expected at most {len(_MARKERS)}.")
    free = iter([*range(len(_FAMILIES), len(_MARKERS)), *(i for name, i in _FAMILIES.items() if name not in families)])
    return {family: _FAMILIES[family] if family in _FAMILIES else next(free) for family in families}


def _set_legends(figure: Any, rows: Sequence[Mapping[str, Any]], families: Sequence[Any]) -> None:
    """The models by their numbers on the right, with the marker of their family; the families below."""
    axes = figure.axes[0]
    markers = dict(zip(families, (container.lines[0] for container in axes.containers), strict=True))
    names = [f"{i}  {_shortened(row['model'], _MAX_MODEL_NAME)}" for i, row in enumerate(rows, 1)]
    legends = [
        figure.legend(
            [markers[row.get("family")] for row in rows], names, loc="outside right center", fontsize="small",
            ncols=math.ceil(len(rows) / 25), frameon=False,
        )
    ]  # fmt: skip
    if list(families) != [None]:
        handles = axes.get_legend_handles_labels()
        legends.append(figure.legend(*handles, loc="outside lower center", ncols=6, frameon=False))
    for text in (text for legend in legends for text in legend.get_texts()):
        text.set_parse_math(False)


def _to_log_error(accuracy: Any) -> Any:
    import numpy

    return -numpy.log10(numpy.clip(1 - numpy.asarray(accuracy), 1e-3, None))  # no error at all is drawn as 0.1 %


def _from_log_error(height: Any) -> Any:
    return 1 - 10.0**-height


def _set_ticks(axes: Any) -> None:
    """Set the ticks: on log scales matplotlib's own touch below two decades, and there are few at one end."""
    from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, MaxNLocator, NullFormatter

    low, high = axes.get_xlim()
    subs = (1.0,) if high / low >= 1000 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs) if high / low >= 20 else MaxNLocator(5))
    large = EngFormatter(sep="")
    axes.xaxis.set_major_formatter(lambda value, _: large(value) if value >= 1 else f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if 1 - low > 4 * (1 - high):
        axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.1f} %")


def _accuracy(i: int, row: Mapping[str, Any]) -> tuple[float, float]:
    """(mean, standard deviation) of the test accuracy."""
    if "model" not in row or "test_accuracy" not in row:
        missing = "model" if "model" not in row else "test_accuracy"
        raise InputError(f"rows: row {i} has no {missing!r}; it has {', '.join(map(str, row)) or 'nothing'}.")
    given = row["test_accuracy"]
    mean, std = (given.get("mean"), given.get("std") or 0.0) if isinstance(given, Mapping) else (given, 0.0)
    if not isinstance(mean, numbers.Real) or not 0 <= float(mean) <= 1:
        raise InputError(f"rows: 'test_accuracy' of row {i} is {mean!r}, expected a fraction between 0 and 1.")
    return float(mean), float(std)


def _number_points(axes: Any, points: Sequence[tuple[float, float]]) -> None:
    """Write each point's number, from 1, beside it: at the nearest place that no point and no other number covers."""
    unit = axes.figure.dpi / 72  # pixels per point, in which matplotlib counts offsets
    at = (axes.transData.transform(points) / unit).tolist()
    taken = [(x, y, 5.0, 5.0) for x, y in at]  # centre, half of width and height
    angles = [math.radians(angle) for angle in range(0, 360, 30)]
    around = [(r * math.cos(angle), r * math.sin(angle)) for r in (11, 16, 22, 29) for angle in angles]
    for i, (point, (x, y)) in enumerate(zip(points, at, strict=True), 1):
        size = 3 * len(str(i)) + 1, 5.0
        boxes = [(x + dx, y + dy, *size) for dx, dy in around]
        box = next((box for box in boxes if not any(_meet(box, other) for other in taken)), boxes[0])
        taken.append(box)
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4}
        axes.annotate(
            str(i), point, (box[0] - x, box[1] - y), textcoords="offset points", fontsize="small", ha="center", va="center",
            arrowprops=line if math.dist((x, y), box[:2]) > 12 else None,
        )  # fmt: skip


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (x and y of the centre, half of width and height) overlap."""
    return abs(a[0] - b[0]) < a[2] + b[2] and abs(a[1] - b[1]) < a[3] + b[3]


# --------------------------------------------------------------------------------------------------------------------
# What all of them share
# --------------------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float, path: _PathLike | None) -> Any:
    """An empty figure of a size in inches, once its path was checked; without pyplot, which keeps its figures."""
    if path is not None:
        if Path(path).suffix.lower() not in _FORMATS:
            raise InputError(f"path: got {path}, expected a name that ends in {', '.join(_FORMATS)}.")
        check_target("path", path)
    check_package("a picture", "matplotlib", "matplotlib.figure")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # which draws into memory
    return figure


def _set_title(figure: Any, title: str | None, note: str = "") -> None:
    lines = [textwrap.fill(line, int(11 * figure.get_figwidth())) for line in (title, note) if line]  # 11 an inch
    if lines:
        figure.suptitle("\n".join(lines), fontsize="medium", parse_math=False)


def _finish(figure: Any, path: _PathLike | None, title: str | None = None, note: str = "") -> Any:
    _set_title(figure, title, note)
    if path is not None:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=150, format=Path(path).suffix[1:].lower())
    return figure


def _as_pictures(images: Any, most: int) -> Tensor:
    """[N, H, W, C] floats, N at most `most`; uint8 images are scaled to [0, 1]."""
    images = as_tensor("images", images, "a tensor or an array")
    check_is_no_single_picture(images)
    shape = tuple(images.shape)
    ends = [place for place, axis in (("first", 1), ("last", -1)) if len(shape) == 4 and shape[axis] in (1, 3, 4)]
    if (len(shape) != 3 and len(ends) != 1) or 0 in shape:
        raise InputError(
            f"images: got shape {shape}, expected [N, H, W], or four axes with 1, 3 or 4 channels, either first or last; "
            "one image is images[None]."
        )
    if len(images) > most:
        raise InputError(f"images: got {len(images)}, expected at most {most}, such as images[:{most}].")
    place = ends[0] if ends else "none"
    size = shape[2:] if place == "first" else shape[1:3]
    return to_unit(to_images(to_signals(images, channels=place, scale=False), size).detach())


def _tallness(pictures: Tensor) -> float:
    """Height / width, within what fits on a sheet."""
    return min(max(pictures.shape[1] / pictures.shape[2], 0.4), 2.5)


def _to_show(pictures: Tensor) -> Tensor:
    """Values between 0 and 1: unchanged if they are, else scaled so that the lowest of all is 0 and the highest 1."""
    pictures = pictures.double().cpu()
    low, high = pictures.min(), pictures.max()
    return pictures if low >= 0 and high <= 1 else (pictures - low) / (high - low).clamp(min=1e-12)


def _show(axes: Any, picture: Tensor) -> None:
    """[H, W, C] of values between 0 and 1."""
    axes.imshow(picture.squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _check_classes(argument: str, labels: Any, num_images: int, class_names: Sequence[Any] | None) -> list[int]:
    class_names = None if class_names is None else check_list("class_names", class_names, "names")
    y = as_tensor(argument, labels, "integers, one per image")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputTypeError(f"{argument}: got {y.dtype}, expected integers, one per image.")
    if y.shape != (num_images,):
        raise InputError(f"{argument}: got shape {tuple(y.shape)} for {num_images} images.")
    for i, label in enumerate(y.tolist()):
        if label < 0 or (class_names is not None and label >= len(class_names)):
            limit = "0" if class_names is None else f"0 to {len(class_names) - 1}"
            raise InputError(f"{argument}: {label} at {i}, expected a class from {limit}.")
    return y.tolist()


def _name(label: int, class_names: Sequence[str] | None) -> str:
    return str(label) if class_names is None else _shortened(class_names[label])


def _shortened(name: Any, most: int = _MAX_NAME) -> str:
    name = str(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"
