"""Pictures as inline SVG, whose colours are those of the page's style sheet.

The charts of `gcnlab.plot` are converted. Only what can be pointed at is drawn here: embeddings and graphs, in which each
mark names its node, graph or image.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..plot import COLOURS, GREY
from .findings import Drawing, Points, layout, wrong

_COLOURS, _SHAPES = 10, 7  # of classes; all 70 pairs differ

# What matplotlib writes, and what follows the page's light or dark mode.
_OF_PAGE = {"#000000": "currentColor", GREY: "var(--muted)", "#b0b0b0": "var(--grid)"}
_OF_PAGE |= {colour.lower(): f"var(--c{i})" for i, colour in enumerate(COLOURS)}


class Picture(NamedTuple):
    """An SVG without its outermost element: `content` is markup, in which texts are escaped; `caption` is text."""

    width: float
    height: float
    content: str
    caption: str
    is_chart: bool = False


def chart(key: str, caption: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> Picture:
    """A figure of `gcnlab.plot`; if it cannot be drawn, an empty picture whose caption says why.

    Args:
        key: another one for each figure of a page, since the ids within an SVG are made from it.
        caption: text for those who do not see the picture.
        draw: a function of `gcnlab.plot`, called with the rest.
    """
    from xml.etree import ElementTree  # 7 ms, which only a report needs

    try:
        file = _svg(key, draw, *arguments, **options)
    except Exception as problem:  # such as a backend that is not there; the rest of the report stands
        return Picture(1, 0, "", f"No picture ({caption}): {type(problem).__name__}: {problem}")
    root = ElementTree.fromstring(file)
    *_, width, height = map(float, root.attrib["viewBox"].split())
    root.remove(root[0])  # a style sheet, which would be that of the whole page
    references = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w-]+)", references))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {name.rpartition("}")[2]: _shortened(value) for name, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        if attributes.get("transform", "").startswith("rotate(-0 "):
            attributes.pop("transform")  # a turn by nothing, which every text has
        if "style" in attributes:
            attributes["style"] = _style(attributes["style"])
        element.attrib = attributes
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.tail = None
    content = "".join(ElementTree.tostring(part, "unicode") for part in root)
    return Picture(width, height, content, caption, is_chart=True)


def _svg(key: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> bytes:
    """The file that matplotlib writes, with its own settings, whatever the reader has set."""
    import matplotlib.style

    with matplotlib.style.context("default"), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure, file = draw(*arguments, **options), io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return file.getvalue()


def _shortened(value: str) -> str:
    """Without line breaks, and with two digits behind the point: a hundredth of a point cannot be seen."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))


def _style(style: str) -> str:
    """With the page's colours and font."""
    style = re.sub(r"font: [^;]*?([\d.]+px)[^;]*", r"font-size: \1", style)  # as matplotlib 3.8 writes it
    style = re.sub(r"font-family: [^;]*(; )?", "", style)
    return re.sub(r"#[0-9a-f]{6}", lambda found: _OF_PAGE.get(found[0], found[0]), style)


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
    """Definitions of the classes' shapes, in two sizes; filled, and for wrong predictions hollow and crossed."""
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
    return "".join(parts)


def mark(size: str, label: int | None, is_wrong: bool, x: float = 8.0, y: float = 8.0) -> str:
    """The mark of a class at a place; by default at the centre of a key of the legend."""
    if label is None or label < 0:
        return f'<use href="#{size}u" class="ku" x="{x:.1f}" y="{y:.1f}"/>'
    cross = "x" if is_wrong else ""
    return f'<use href="#{size}{label % _SHAPES}{cross}" class="k{label % _COLOURS}" x="{x:.1f}" y="{y:.1f}"/>'


def class_legend(labels: Sequence[int], class_names: Sequence[str], has_wrong: bool) -> list[tuple[str, str]]:
    """(mark, name) of each class that occurs, and of what else the marks can say."""
    known = sorted({label for label in labels if label >= 0})
    keys = [(mark("l", label, False), class_names[label]) for label in known]
    keys += [(mark("l", None, False), "unlabelled")] if any(label < 0 for label in labels) else []
    keys += [(mark("l", known[0], True), "wrong prediction: hollow, crossed")] if has_wrong and known else []
    return keys


def scatter(places: Tensor, points: Points, caption: str) -> Picture:
    """The points in the plane, in the order of `points`, whose last ones are drawn on top."""
    low, high = places.amin(0), places.amax(0)
    scale = 340 / float((high - low).max().clamp(min=1e-12))  # one for both axes, or distances would mislead
    size = (high - low) * scale
    xy = (places - low) * scale
    x, y = (xy[:, 0] + 10).tolist(), (float(size[1]) + 10 - xy[:, 1]).tolist()
    big = "l" if len(x) <= 200 else "s"
    marks = "".join(
        mark(big, label, is_wrong, *at)
        for label, is_wrong, *at in zip(points.y.tolist(), wrong(points.y, points.predicted), x, y, strict=True)
    )
    group = f'<g data-points="points" data-first="0">{marks}</g>'
    return Picture(float(size[0]) + 20, float(size[1]) + 20, group, caption)


def graph(drawing: Drawing, first: int) -> Picture:
    """A graph, whose nodes are those from `first` on of all drawings."""
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
        marks.append(mark("l", label, is_wrong, *place))
    content = f'<path class="edge" d="{edges}"/>{ring}<g data-points="drawn" data-first="{first}">{"".join(marks)}</g>'
    return Picture(width + 26, height + 26, content, drawing.caption)
