"""The report of a run or of a comparison: one HTML file that needs no other file and no network.

Pictures are inline SVG, whose colours follow the reader's light or dark setting; only feature maps are a PNG, in a data
URL. A small script shows what a mark stands for when it is pointed at; without it everything else is there. A class has a
colour and a shape, and a wrong prediction is hollow and crossed, so that nothing is said by colour alone.

The functions here choose what is shown, in plain values; page.html gives it its form, and escapes every text.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import plot
from ..checks import check_can_draw, check_package
from ..files import atomic_write
from ..machine import describe
from ..metrics import NAMES
from ..train import History
from . import charts
from .charts import Picture
from .findings import MAX_NEIGHBOURS, Content, Points, pca, tsne, wrong

_MAX_LAYERS = 6  # pictures of the embedding


class Value(NamedTuple):
    """A value of a result, for people as text, and for programs: `key` is its path, such as test_accuracy.mean."""

    key: str
    value: Any
    text: str


Text = str | Value | Sequence[str | Value]


class Table(NamedTuple):
    """Rows of texts; the first columns are left aligned, the others are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Text]]
    num_text: int


@dataclass
class Section:
    """A section of the page, in the order in which its parts are shown; one without parts is left out.

    Attributes:
        key: the id of the element.
        heading: its title.
        headline: the result, in large type.
        lead: a paragraph.
        note: how to read what follows, in small type.
        facts: name -> text.
        legend: (mark, name) of each class.
        pictures: side by side.
        is_narrow: whether the picture, not a chart, is no wider than a column of text.
        bars: name -> number, each with a bar of that length.
        png: an image, in base64.
        table: below the pictures.
        folded: (summary, table or picture), which the reader may unfold.
        data: id -> what the script says of the marks.
    """

    key: str
    heading: str
    headline: Text = ""
    lead: str = ""
    note: str = ""
    facts: Mapping[str, Text] = field(default_factory=dict)
    legend: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    is_narrow: bool = False
    bars: Mapping[str, float] = field(default_factory=dict)
    png: str = ""
    table: Table | None = None
    folded: Sequence[tuple[str, Table | Picture]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_parts(self) -> bool:
        return any((self.lead, self.facts, self.pictures, self.bars, self.png, self.table, self.folded))


def of_run(result: Mapping[str, Any], content: Content, with_tsne: bool = False) -> str:
    """The report of a run.

    Args:
        result: as `recipes.run` returns it.
        content: what is shown beside it.
        with_tsne: whether to draw the embedding by t-SNE too, which takes half a minute per layer for 3,000 points.
    """
    names = [str(name) for name in content.class_names]
    confusion = Section("confusion", "Confusion matrix")
    if content.confusion:
        confusion.note = f"Predictions {content.chosen}." if content.chosen else ""
        confusion.pictures = [charts.chart("c", "confusion matrix", plot.confusion, content.confusion, names)]
    sections = [
        _result(result),
        Section("protocol", "Protocol", facts=_rows(content.facts)),
        Section("curves", "Training", pictures=_training(content)),
        confusion,
        _embedding(content, names, with_tsne),
        _smoothing(content),
        _drawings(content, names),
        _maps(content.maps),
        _environment(result),
    ]
    return _page(
        f"{result['recipe']} on {result['dataset']}", f"{result['model']}; protocol {result['protocol']}", sections
    )


def of_comparison(
    dataset: str,
    facts: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    table: Sequence[Sequence[str]],
    histories: Mapping[str, History],
    versions: Mapping[str, str],
) -> str:
    """The report of a comparison of models.

    Args:
        dataset: its name.
        facts: name -> text, of what was compared and how.
        rows: one per model, as `compare.compare` returns them.
        table: the head of the table of results, and a row of text for each model.
        histories: model -> its training, where it had validation images.
        versions: of packages.
    """
    head, *lines = (("", *table[0]), *((str(i), *line) for i, line in enumerate(table[1:], 1)))
    sizes = charts.chart("s", "accuracy against size and time", plot.comparison, rows, title=dataset)
    curves = [
        charts.chart(f"h{i}", f"curves of {name}", plot.history, history, title=name)
        for i, (name, history) in enumerate(histories.items())
    ]
    matrices = [
        (
            row["model"],
            charts.chart(f"c{i}", "confusion matrix", plot.confusion, row["confusion_matrix"], row["class_names"]),
        )
        for i, row in enumerate(rows)
        if "confusion_matrix" in row  # results of an older version have none
    ]
    sections = [
        Section("result", "Result", table=Table(head, lines, 3)),
        Section(
            "sizes", "Accuracy against size and time", note="The numbers are those of the table.", pictures=[sizes]
        ),
        Section("protocol", "Protocol", facts=_rows(facts)),
        Section("curves", "Training", pictures=curves),
        Section("confusion", "Confusion matrices", folded=matrices),
        Section("environment", "Hardware and versions", facts={**describe(), **versions}),
    ]
    return _page(f"Models on {dataset}", "grid networks and CNNs on the same images", sections)


def of_pair(a: Mapping[str, Any], b: Mapping[str, Any], finding: str) -> str:
    """The report of two results on the same folds, splits or seeds.

    Args:
        a, b: the results.
        finding: the difference, and whether it is one, in words.
    """
    unit = "fold" if a["test_accuracy"].get("per_fold") else "seed"
    values = [result["test_accuracy"][f"per_{unit}"] for result in (a, b)]
    numbers = a["seeds"] if unit == "seed" else range(1, len(values[0]) + 1)
    body = [
        (f"{unit} {i}", _points_of(first), _points_of(second), f"{100 * (first - second):+.2f}")
        for i, first, second in zip(numbers, *values, strict=True)
    ]
    means = [f"{_points_of(x['test_accuracy']['mean'])} ± {_points_of(x['test_accuracy']['std'])}" for x in (a, b)]
    body.append(("mean ± standard deviation", means[0], means[1], ""))
    head = ("accuracy, %", a["recipe"], b["recipe"], "difference")
    names = (
        (a["recipe"], b["recipe"])
        if a["recipe"] != b["recipe"]
        else (f"{a['recipe']}, first", f"{b['recipe']}, second")
    )
    dots = charts.chart(
        "a", "accuracies", plot.accuracies, dict(zip(names, values, strict=True)), title=f"each dot a {unit}"
    )
    facts = {"data": a["dataset"], "protocol": a["protocol"]} | {x["recipe"]: x["model"] for x in (a, b)}
    versions = {
        x["recipe"]: ", ".join([x["device"], *(f"{name} {version}" for name, version in x["versions"].items())])
        for x in (a, b)
        if x.get("versions") and x.get("device")
    }
    sections = [
        Section("result", "Result", lead=finding, facts=facts),
        Section(f"{unit}s", f"Each {unit}", pictures=[dots], table=Table(head, body, 1)),
        Section("environment", "Devices and versions", facts=versions),
    ]
    return _page(f"{a['recipe']} and {b['recipe']}", f"on the same {unit}s of {a['dataset']}", sections)


def metric_of(result: Mapping[str, Any]) -> str:
    """What test_accuracy and val_accuracy of a result are, in words; results of 1.0 do not say."""
    metric = result.get("metric", "accuracy")
    return NAMES.get(metric, metric)


def check_can_write(purpose: str) -> None:
    """Raise InputError where a package that a report needs is missing: asked before the work that it reports."""
    check_can_draw(purpose)
    check_package(purpose, "jinja2")


def write(path: str | PathLike[str], html: str) -> None:
    """Write a report, atomically."""
    with atomic_write(path) as file:
        file.write(html.encode())


def _page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    jinja2 = check_package("a report", "jinja2")
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    shown = [section for section in sections if section.has_parts]
    return templates.get_template("page.html").render(
        title=title, subtitle=subtitle, sections=shown, marks=charts.class_marks()
    )


def _value(result: Mapping[str, Any], key: str, text: Callable[[Any], str] = str) -> Value:
    value: Any = result
    for name in key.split("."):
        value = value[int(name) if isinstance(value, list) else name]
    return Value(key, value, text(value))


def _points_of(value: float) -> str:
    return f"{100 * value:.2f}"


def _result(result: Mapping[str, Any]) -> Section:
    accuracy = result["test_accuracy"]
    many = "fold" if "per_fold" in accuracy else "seed"
    count = len(accuracy[f"per_{many}"])
    has_test = result["protocol"] != "gin"

    def mean(key: str) -> list[str | Value]:
        spread: list[str | Value] = [" ± ", _value(result, f"{key}.std", _points_of)] if count > 1 else []
        return [_value(result, f"{key}.mean", _points_of), *spread, " %"]

    metric = metric_of(result)
    kind = f"test {metric}" if has_test else f"{metric} at the best common epoch; no held-out test"
    of = f"over {count} {many}s (mean ± standard deviation)" if count > 1 else f"1 {many}"
    facts: dict[str, Text] = {}
    if (published := result["published"]) is not None:
        facts["published"] = [
            _value(result, "published.value", lambda v: f"{100 * v:.1f} %"), f" ({published['source']})"
        ]  # fmt: skip
    others = {"test_macro_f1": "test macro-F1", **({"val_accuracy": f"validation {metric}"} if has_test else {})}
    others = {key: name for key, name in others.items() if key in result and name != kind}
    facts |= {name: mean(key) for key, name in others.items()}
    facts["parameters"] = _value(result, "num_parameters", lambda v: f"{v:,}")
    if result["epochs"]:
        facts["epochs"] = ["up to ", _value(result, "epochs")]
        facts["time"] = [
            _value(result, "seconds", lambda v: f"{v:.1f}"), " s in all; an epoch, median: ",
            _value(result, "epoch_seconds_median", lambda v: f"{1000 * v:.3g} ms" if v < 1 else f"{v:.1f} s"),
        ]  # fmt: skip
    section = Section("result", "Result", mean("test_accuracy"), f"{kind}, {of}", facts=facts)
    if count > 1:
        seeds = [f"seed {seed}" for seed in result["seeds"]]
        names = seeds if many == "seed" else [f"fold {i}" for i in range(1, count + 1)]
        columns = {"test_accuracy": f"{kind if has_test else metric}, %"} | {
            key: f"{name}, %" for key, name in others.items() if f"per_{many}" in result[key]
        }
        body = [
            (name, *(_value(result, f"{key}.per_{many}.{i}", _points_of) for key in columns))
            for i, name in enumerate(names)
        ]
        section.folded = [(f"Each {many}", Table(("", *columns.values()), body, 1))]
        values, reached = {"": accuracy[f"per_{many}"]}, None if published is None else published["value"]
        section.pictures = [
            charts.chart(
                "a",
                "accuracies",
                plot.accuracies,
                values,
                reached,
                title=f"each dot a {many}",
                metric=result.get("metric", "accuracy"),
            )
        ]
    return section


def _rows(facts: Mapping[str, str]) -> dict[str, str]:
    """Texts by name; a text that is a summary becomes its rows."""
    rows: dict[str, str] = {}
    for name, text in facts.items():
        first, *others = text.splitlines()
        rows[name] = first
        rows |= {line[2:20].strip(): line[21:] for line in others}
    return rows


def _training(content: Content) -> list[Picture]:
    if content.folds:
        return [charts.chart("f", "validation accuracy by epoch", plot.folds, content.folds)]
    if content.history is None:
        return []
    select = content.history.select.partition("_")[2]
    *drawn, last = dict.fromkeys(["loss", "accuracy", NAMES.get(select, "accuracy")])
    return [charts.chart("h", f"{', '.join(drawn)} and {last} by epoch", plot.history, content.history)]


def _embedding(content: Content, class_names: Sequence[str], with_tsne: bool) -> Section:
    section = Section("embedding", "Embedding by layer")
    points = content.points
    if points is None or len(points.names) < 4:
        return section
    wrong_last = torch.tensor(wrong(points.y, points.predicted)).long().argsort(stable=True)
    points = Points(
        points.kind, [points.names[i] for i in wrong_last.tolist()], points.y[wrong_last],
        None if points.predicted is None else points.predicted[wrong_last],
        {name: points.layers[name][wrong_last] for name in _at_most(list(points.layers), _MAX_LAYERS)}, points.total,
    )  # fmt: skip
    panels, later = [], []
    for name, h in points.layers.items():
        places, shares = pca(h)
        first, second = (f"{100 * float(share):.0f}" for share in shares)
        panels.append(
            charts.scatter(places, points, f"{name}, {h.shape[1]:,} columns: {first} and {second} % of the variance")
        )
        if with_tsne:
            later.append(charts.scatter(tsne(h), points, f"{name}: t-SNE"))
    part, y = f"{len(points.names):,} of {points.total:,}", points.y.tolist()
    count = part if len(points.names) < points.total else f"All {points.total:,}"
    section.note = (
        f"{count} {points.kind}s, on the two principal components of what each layer makes of them"
        f"{f'; {content.chosen}' if content.chosen else ''}."
    )
    section.legend = charts.class_legend(y, class_names, any(wrong(points.y, points.predicted)))
    section.pictures = panels + later
    predicted = None if points.predicted is None else points.predicted.tolist()
    section.data = {"points": _of_marks(points.kind, points.names, y, predicted, class_names)}
    return section


def _at_most(names: list[str], most: int) -> list[str]:
    """The first, the last, and some between, evenly."""
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _of_marks(
    kind: str,
    names: Sequence[Any],
    y: Sequence[int] | None,
    predicted: Sequence[int] | None,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """What the script says of the marks."""
    return {"kind": kind, "names": list(map(str, names)), "y": y, "predicted": predicted, "classes": list(class_names)}


def _smoothing(content: Content) -> Section:
    section = Section("smoothing", "Over-smoothing by layer")
    if len(content.distances) > 1:
        of = {"node": "two nodes", "graph": "two nodes of a graph", "image": "two nodes of an image"}
        kind = content.points.kind if content.points is not None else "node"
        section.bars = content.distances
        section.note = (
            f"Mean cosine distance of {of[kind]} (MAD, Chen et al. 2020). It is 0 if all nodes point the same way. A small "
            "distance alone does not say that classes cannot be told apart."
        )
    return section


def _drawings(content: Content, class_names: Sequence[str]) -> Section:
    kind = None if content.points is None else content.points.kind
    headings = {None: "Some of the graphs", "node": "Graph and predictions"}
    section = Section("graph", headings.get(kind, "Graphs and predictions"))
    drawings = content.drawings
    if not drawings:
        return section
    y = [label for drawing in drawings for label in drawing.y or ()]
    predicted = [label for drawing in drawings for label in drawing.predicted or ()]
    first = [sum(len(drawing.names) for drawing in drawings[:i]) for i in range(len(drawings))]
    section.pictures = [charts.graph(drawing, start) for drawing, start in zip(drawings, first, strict=True)]
    section.is_narrow = len(drawings) == 1
    if y:
        has_wrong = any(p != label >= 0 for p, label in zip(predicted, y, strict=True))
        section.legend = charts.class_legend(y, class_names, has_wrong)
    section.note = "Distances in the picture are about the numbers of edges between two nodes."
    if drawings[0].centre is not None:
        section.note = (
            f"The neighbourhoods of some test nodes (ringed), up to two edges away; at most {MAX_NEIGHBOURS} neighbours "
            "per node are drawn. Where there are enough wrong predictions, half of the nodes have one. " + section.note
        )
    names = [name for drawing in drawings for name in drawing.names]
    section.data = {"drawn": _of_marks("node", names, y or None, predicted or None, class_names)}
    return section


def _maps(png: bytes) -> Section:
    section = Section("maps", "Feature maps", png=base64.b64encode(png).decode())
    section.note = "One channel of each layer, a row per image, laid out on the grid that the layer has."
    return section


def _environment(result: Mapping[str, Any]) -> Section:
    versions = {name: _value(result, f"versions.{name}") for name in result["versions"]}
    facts = {"device": _value(result, "device"), **describe(), **versions}
    return Section("environment", "Hardware and versions", facts=facts)
