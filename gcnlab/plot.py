"""Pictures, with matplotlib; none opens a window."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .train import History


def history(history: History, path: str | PathLike[str] | None = None, title: str | None = None) -> Any:
    """Curves of loss and accuracy over the epochs: the mean over seeds, with a band of one standard deviation.

    A dashed line marks the median epoch whose weights were kept. A mean stops being drawn where fewer than half of
    the seeds still train.

    Args:
        history: what `fit` returned.
        path: where to save; by its ending PNG, PDF or SVG.
        title: a line above.

    Returns:
        the matplotlib figure.
    """
    import numpy
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in (("train", "tab:blue"), ("val", "tab:orange")):
            if f"{split}_{kind}" not in history.metrics:
                continue
            values = history.metrics[f"{split}_{kind}"].numpy()  # [num_epochs, num_seeds]
            values = values[(~numpy.isnan(values)).mean(1) >= 0.5]
            epochs = numpy.arange(1, len(values) + 1)
            mean, std = numpy.nanmean(values, 1), numpy.nanstd(values, 1)
            axes.plot(epochs, mean, color=colour, label={"train": "training", "val": "validation"}[split])
            low, high = numpy.maximum(mean - std, 0), numpy.minimum(mean + std, 1 if kind == "accuracy" else numpy.inf)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.axvline(float(history.best_epoch.float().median()), color="grey", linestyle="--", linewidth=1)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    count = len(history.seeds)
    note = (
        f"mean of {count} seeds while half of them train, band: 1 standard deviation; dashed: median of the kept epochs"
        if count > 1
        else "dashed: the epoch whose weights were kept"
    )
    lines = [*([title] if title else []), note]
    figure.suptitle("\n".join(lines), fontsize="medium")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
