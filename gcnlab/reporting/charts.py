"""Charts as inline SVG, without a package that draws; their colours and line styles are the classes of a style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from torch import Tensor

from .findings import Drawing, Points, layout, wrong

_COLOURS, _SHAPES = 10, 7  # of classes; all 70 pairs differ


_WIDTH, _HEIGHT = 360, 240  # of a chart; text of 11 is then as large on a telephone as it should be


_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 36


class Line(NamedTuple):
    name: str
    y: Sequence[float]  # at 1, 2, ...
    style: str = ""
    band: tuple[Sequence[float], Sequence[float]] | None = None


def _ticks(low: float, high: float, least: float = 0.0) -> list[float]:
    """Round numbers from low to high, four to seven of them, or fewer that are no nearer than the least step."""
    raw = max((high - low) / 5, least)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= 0.999 * raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _number(value: float) -> str:
    if abs(value) >= 10_000:
        for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= limit:
                return f"{value / limit:g}{letter}"
    return f"{value:g}"


def _percent(value: float) -> str:
    return f"{100 * value:g} %"


class _Axes:
    """The frame of a chart: ticks, grid lines, labels, and where a value stands."""

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
        *,
        x_text: Callable[[float], str] = _number,
        y_text: Callable[[float], str] = _number,
        log_x: bool = False,
        whole_x: bool = False,
        y_ticks: Sequence[float] | None = None,
        scale: Callable[[float], float] = float,
        height: int = _HEIGHT,
    ) -> None:
        self.log_x, self.height, self.scale = log_x, height, scale
        x_ticks = _log_ticks(*x) if log_x else _ticks(*x, least=float(whole_x))
        self._x = (math.log10(x[0]), math.log10(x[1])) if log_x else x
        self._y = scale(y[0]), scale(y[1])
        bottom = height - _BOTTOM
        parts = []
        for tick in x_ticks:
            at = self.x(tick)
            parts.append(f'<path class="g" d="M{at:.1f} {_TOP}V{bottom}"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{x_text(tick)}</text>')
        for tick in _ticks(*y) if y_ticks is None else y_ticks:
            at = self.y(tick)
            parts.append(f'<path class="g" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{y_text(tick)}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{height - 5}" text-anchor="middle">{escape(x_label)}</text>')
        if y_label:
            at = (_TOP + bottom) / 2
            parts.append(
                f'<text transform="translate(11 {at})rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
            )
        self.frame = "".join(parts)

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + ((math.log10(value) if self.log_x else value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return self.height - _BOTTOM - (self.scale(value) - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low > 1000 else (1, 2, 5)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def _svg(width: float, height: float, content: str, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>'


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _spread(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of the values and some more; of one value alone some width."""
    low, high = min(values), max(values)
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def curves(
    lines: Sequence[Line], y_label: str, marked: float | None = None, is_share: bool = False, x_label: str = "epoch"
) -> str:
    """Lines by epoch, of long ones some points; a dashed line at the marked epoch."""
    values = [value for line in lines for part in (line.y, *(line.band or ())) for value in part]
    low, high = _spread(values, 0.04)
    low, high = (max(low, 0.0), min(high, 1.0)) if is_share else (max(low, 0.0) if min(values) >= 0 else low, high)
    length = max(len(line.y) for line in lines)
    text = _percent if is_share else _number
    axes = _Axes((1, max(length, 2)), (low, high), x_label, y_label, y_text=text, whole_x=True)
    parts, legend = [axes.frame], []
    for line in lines:
        at = sorted({round(i * (len(line.y) - 1) / 299) for i in range(300)})
        epochs = [i + 1 for i in at]
        if line.band is not None:
            under, over = ([side[i] for i in at] for side in line.band)
            outline = axes.path([*epochs, *epochs[::-1]], [*over, *under[::-1]])
            parts.append(f'<path class="band {line.style}" d="{outline}Z"/>')
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<path class="line {line.style}" d="{axes.path(epochs, [line.y[i] for i in at])}">{title}</path>')
        legend.append(line)
    if marked is not None:
        parts.append(f'<path class="mark" d="M{axes.x(marked):.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 24 10"><path class="line {line.style}" d="M0 5H24"/></svg>'
        f"{escape(line.name)}</span>"
        for line in legend
        if line.name
    )
    return figure(_svg(_WIDTH, _HEIGHT, "".join(parts), f"{y_label} by {x_label}"), keys)


def _shape(i: int, r: float) -> str:
    """An outline around the origin: circle, square, triangles, diamond, cross, upright bar."""
    if i == 0:
        return f"M{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    a, b = round(0.9 * r, 2), round(0.45 * r, 2)
    corners = {
        1: [(-a, -a), (a, -a), (a, a), (-a, a)],
        2: [(0, -1.2 * r), (1.1 * r, 0.85 * r), (-1.1 * r, 0.85 * r)],
        3: [(0, -1.25 * r), (1.25 * r, 0), (0, 1.25 * r), (-1.25 * r, 0)],
        4: [(0, 1.2 * r), (1.1 * r, -0.85 * r), (-1.1 * r, -0.85 * r)],
        5: [(-b, -1.2 * r), (b, -1.2 * r), (b, -b), (1.2 * r, -b), (1.2 * r, b), (b, b), (b, 1.2 * r), (-b, 1.2 * r),
            (-b, b), (-1.2 * r, b), (-1.2 * r, -b), (-b, -b)],
        6: [(-b, -1.3 * r), (b, -1.3 * r), (b, 1.3 * r), (-b, 1.3 * r)],
    }[i]  # fmt: skip
    return "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in corners) + "Z"


def class_marks() -> str:
    """The shapes of classes, in two sizes, filled, and hollow and crossed; used by id."""
    parts = []
    for size, r in (("s", 2.6), ("l", 5.0)):
        for i in range(_SHAPES):
            d, c = _shape(i, r), 1.5 * r
            parts.append(f'<path id="{size}{i}" d="{d}" fill="currentColor"/>')
            parts.append(
                f'<g id="{size}{i}x" stroke="currentColor" stroke-width="{0.32 * r:.2g}">'
                f'<path d="{_shape(i, 1.15 * r)}" fill="var(--bg)"/><path d="M{-c} {-c}L{c} {c}M{-c} {c}L{c} {-c}"/></g>'
            )
        parts.append(f'<circle id="{size}u" r="{0.8 * r:.2g}" fill="currentColor"/>')
    return f'<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>{"".join(parts)}</defs></svg>'


def _mark(size: str, label: int | None, is_wrong: bool, x: float, y: float) -> str:
    if label is None or label < 0:
        return f'<use href="#{size}u" class="ku" x="{x:.1f}" y="{y:.1f}"/>'
    cross = "x" if is_wrong else ""
    return f'<use href="#{size}{label % _SHAPES}{cross}" class="k{label % _COLOURS}" x="{x:.1f}" y="{y:.1f}"/>'


def class_legend(labels: Sequence[int], class_names: Sequence[str], has_wrong: bool) -> str:
    known = sorted({label for label in labels if label >= 0})
    keys = [(_mark("l", label, False, 8, 8), class_names[label]) for label in known]
    keys += [(_mark("l", None, False, 8, 8), "unlabelled")] if any(label < 0 for label in labels) else []
    keys += [(_mark("l", known[0], True, 8, 8), "wrong prediction: hollow, crossed")] if has_wrong and known else []
    return "".join(
        f'<span class="key"><svg viewBox="0 0 16 16" style="width:16px">{mark}</svg>{escape(str(name))}</span>'
        for mark, name in keys
    )


def scatter(places: Tensor, points: Points, caption: str) -> str:
    """The points in a square; of those drawn last are the wrong ones, as `Points` has them in this order."""
    low, high = places.amin(0), places.amax(0)
    scale = 340 / float((high - low).max().clamp(min=1e-12))  # one for both axes, or distances would mislead
    size = (high - low) * scale
    xy = (places - low) * scale
    x, y = (xy[:, 0] + 10).tolist(), (float(size[1]) + 10 - xy[:, 1]).tolist()
    big = "l" if len(x) <= 200 else "s"
    marks = "".join(
        _mark(big, label, is_wrong, *at)
        for label, is_wrong, *at in zip(points.y.tolist(), wrong(points.y, points.predicted), x, y, strict=True)
    )
    group = f'<g data-points="points" data-first="0">{marks}</g>'
    return figure(_svg(float(size[0]) + 20, float(size[1]) + 20, group, caption), caption)


def graph(drawing: Drawing, first: int) -> str:
    """A graph; its nodes are those from `first` on of all drawings."""
    places = layout(drawing)
    (x_low, x_high), (y_low, y_high) = ((min(axis), max(axis)) for axis in zip(*places, strict=True))
    width, height = 340.0, 280.0
    at = [
        (13 + (x - x_low) / ((x_high - x_low) or 1) * width, 13 + (y - y_low) / ((y_high - y_low) or 1) * height)
        for x, y in places
    ]
    edges = "".join(f"M{at[i][0]:.1f} {at[i][1]:.1f}L{at[j][0]:.1f} {at[j][1]:.1f}" for i, j in drawing.edges)
    ring = ""
    if drawing.centre is not None:
        x, y = at[drawing.centre]
        ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="11"/>'
    marks = []
    for i, place in enumerate(at):
        label = None if drawing.y is None else drawing.y[i]
        is_wrong = label is not None and drawing.predicted is not None and drawing.predicted[i] != label >= 0
        marks.append(_mark("l", label, is_wrong, *place))
    content = f'<path class="edge" d="{edges}"/>{ring}<g data-points="drawn" data-first="{first}">{"".join(marks)}</g>'
    return figure(_svg(width + 26, height + 26, content, drawing.caption), escape(drawing.caption))


def strip(values: Sequence[float], names: Sequence[str], mean: float, std: float, published: float | None) -> str:
    """A dot for each value, those that would touch one above the other; mean, spread, and the published value."""
    low, high = _spread([*values, mean - std, mean + std, *([] if published is None else [published])])
    height = 130
    axes = _Axes((low, high), (0, 1), "accuracy", "", x_text=_percent, y_ticks=(), height=height)
    bottom = height - _BOTTOM
    left, right = axes.x(mean - std), axes.x(mean + std)
    parts = [
        axes.frame,
        f'<rect class="spread" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{bottom - _TOP}"/>',
        f'<path class="mean" d="M{axes.x(mean):.1f} {_TOP}V{bottom}"/>',
    ]
    if published is not None:
        parts.append(f'<path class="mark" d="M{axes.x(published):.1f} {_TOP}V{bottom}"/>')
    columns: dict[int, list[tuple[float, str]]] = {}
    for value, name in sorted(zip(values, names, strict=True)):
        columns.setdefault(round(axes.x(value) / 6), []).append((value, name))
    step = min(6.5, (bottom - _TOP - 8) / max(map(len, columns.values())))
    for column in columns.values():
        for i, (value, name) in enumerate(column):
            parts.append(
                f'<circle class="dot" cx="{axes.x(value):.1f}" cy="{bottom - 5 - i * step:.1f}" r="3">'
                f"<title>{escape(name)}: {100 * value:.2f} %</title></circle>"
            )
    return _svg(_WIDTH, height, "".join(parts), "accuracies")


def sizes_chart(rows: Sequence[Mapping[str, Any]], key: str, x_label: str, families: Sequence[str]) -> str:
    """Test accuracy against a number on a log scale: of the accuracy its errors, as `plot.comparison` has it.

    A point has the number of its row beside it, at the first place around it that is free.
    """
    accuracies = [row["test_accuracy"] for row in rows]
    low, high = min(accuracies), min(max(accuracies), 0.999)
    low, high = 1 - min((1 - low) * 1.15, 1.0), 1 - (1 - high) / 1.15
    ticks = [tick for tick in (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998) if low <= tick <= high]
    sizes = [float(row[key]) for row in rows]
    axes = _Axes(
        (min(sizes) / 1.5, max(sizes) * 1.7), (low, high), x_label, "test accuracy, errors on a log scale",
        y_text=_percent, log_x=True, height=300,
        y_ticks=ticks if len(ticks) > 2 else _ticks(low, high), scale=lambda value: -math.log10(1 - value),
    )  # fmt: skip
    at = [(axes.x(size), axes.y(min(accuracy, 0.999))) for size, accuracy in zip(sizes, accuracies, strict=True)]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    marks, labels = [], []
    for i, ((x, y), row) in enumerate(zip(at, rows, strict=True), 1):
        width = 7 * len(str(i))
        places = [
            (7, -5),
            (-7 - width, -5),
            *((dx, dy) for dy in (-18, 8, -28, 18) for dx in (-width / 2, 5, -5 - width)),
        ]
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + 11) for dx, dy in places]
        free = [box for box in boxes if not any(_meet(box, other) for other in taken)]
        box = (free or boxes)[0]
        taken.append(box)
        marks.append(_mark("l", families.index(row["family"]), False, x, y))
        labels.append(f'<text x="{(box[0] + box[2]) / 2:.1f}" y="{box[3] - 1.5:.1f}" text-anchor="middle">{i}</text>')
    group = f'<g data-points="models" data-first="0">{"".join(marks)}</g>'
    label = f"test accuracy by {x_label}"
    return figure(_svg(_WIDTH, 300, axes.frame + group + "".join(labels), label), "")


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, top, right, bottom) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def bars(values: Mapping[str, float], label: str) -> str:
    """A bar for each entry, with its value."""
    high = max(*values.values(), 1e-9)
    row, left, right = 22, 120, 300
    parts = []
    for i, (name, value) in enumerate(values.items()):
        y = i * row
        length = max(value / high * (right - left), 0.5)
        parts.append(f'<text x="{left - 6}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y + 4}" width="{length:.1f}" height="14"/>')
        parts.append(f'<text x="{left + length + 5:.1f}" y="{y + 15}">{value:.3f}</text>')
    return _svg(_WIDTH, len(values) * row + 2, "".join(parts), label)
