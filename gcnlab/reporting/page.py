"""The report of a run or of a comparison: one HTML file that needs no other file and no network.

What is drawn is inline SVG, whose colours follow the reader's light or dark setting; only feature maps are a PNG, in a
data URL. A small script shows what a mark stands for when it is pointed at; without it all else is there. A class has a
colour and a shape, and a wrong prediction is hollow and crossed, so that nothing is said by colour alone.
"""

from __future__ import annotations

import base64
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from .. import plot
from ..files import atomic_write
from ..reporting import charts as svg
from ..train import History
from .findings import MAX_NEIGHBOURS, Content, Points, pca, tsne, wrong

_MAX_LAYERS = 6  # pictures of the embedding


_MAX_NUMBERED_CLASSES = 30  # up to here the cells of a confusion matrix hold their counts


_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--card:#f5f6f8;--ink:#1b1f24;--muted:#57606a;--line:#d5dae0;--heat:#4a9fd0;
--c0:#0072b2;--c1:#d55e00;--c2:#00805f;--c3:#b5489a;--c4:#9a7200;--c5:#1f93b8;--c6:#59616b;--c7:#7a4fbf;--c8:#5f8000;--c9:#8c3b1f}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1e2329;--ink:#e6eaef;--muted:#a3adb8;--line:#3a424c;
--heat:#2b6ea6;--c0:#5aa9e6;--c1:#ff8a3d;--c2:#2cc295;--c3:#e58ac8;--c4:#e0b53a;--c5:#7fdcf0;--c6:#b3bac2;--c7:#b79cf0;--c8:#a9cf3f;--c9:#d99a7a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:16px;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif;
overflow-wrap:break-word}
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.15rem;margin:0 0 .6em}h3{font-size:1rem;margin:1em 0 .3em}p{margin:.3em 0 .8em;max-width:75ch}
section{background:var(--card);border-radius:8px;padding:16px;margin:16px 0}
.note,figcaption,nav{color:var(--muted);font-size:.85rem}nav a{color:inherit;margin-right:1em;display:inline-block}
.big{font-size:2rem;font-weight:600}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:20px 24px;align-items:end}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:20px 24px}
figure{margin:0;min-width:0}svg{width:100%;height:auto;display:block;font-size:11px}
.narrow{max-width:520px}text{fill:var(--muted)}
.key{display:inline-flex;align-items:center;gap:5px;margin:0 14px 2px 0}.key svg{width:24px;flex:none}
.legend{font-size:.85rem;margin-bottom:12px}
.g{stroke:var(--line);stroke-width:.7;fill:none}.edge{stroke:var(--muted);stroke-width:.8;opacity:.55;fill:none}
.line{fill:none;stroke-width:1.8;stroke:var(--c0)}.line.val{stroke:var(--c1);stroke-dasharray:6 3}
.line.fold{stroke:var(--muted);stroke-width:.8;opacity:.6}.band{fill:var(--c0);opacity:.18}.band.val{fill:var(--c1)}
.mark{stroke:var(--c3);stroke-dasharray:4 3;stroke-width:1.4;fill:none}.mean{stroke:var(--ink);stroke-width:1.4}
.spread{fill:var(--c0);opacity:.14}.dot{fill:var(--c0);fill-opacity:.75}.bar{fill:var(--c0)}
.ring{fill:none;stroke:var(--ink);stroke-width:1.5}use{cursor:default}
.k0{color:var(--c0)}.k1{color:var(--c1)}.k2{color:var(--c2)}.k3{color:var(--c3)}.k4{color:var(--c4)}.k5{color:var(--c5)}
.k6{color:var(--c6)}.k7{color:var(--c7)}.k8{color:var(--c8)}.k9{color:var(--c9)}.ku{color:var(--muted)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
th,td{padding:3px 8px;text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600}
.rows .text{text-align:left}.rows th,.rows td{white-space:nowrap}.rows tr{border-bottom:1px solid var(--line)}
.confusion td{padding:2px;min-width:34px;height:28px;text-align:center;
background:color-mix(in srgb,var(--heat) calc(var(--s,0)*80%),transparent)}
.confusion.many td{min-width:12px;height:12px}.confusion th{font-weight:400;white-space:nowrap}
.confusion thead th{text-align:center}.confusion .long th{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;padding:6px 2px;vertical-align:top}
.confusion .hit{outline:1px solid var(--muted);outline-offset:-1px}
dl{display:grid;grid-template-columns:minmax(7em,max-content) 1fr;gap:4px 16px;margin:0}dt{color:var(--muted)}dd{margin:0;min-width:0}
details{margin-top:10px}summary{cursor:pointer}
img{max-width:none;display:block;background:#fff;border-radius:4px;padding:4px}
#tip{position:fixed;z-index:1;pointer-events:none;background:var(--ink);color:var(--bg);padding:4px 8px;border-radius:4px;
font-size:13px;white-space:pre-line;max-width:260px}
"""


_SCRIPT = """
const tip = document.getElementById("tip"), sets = {};
document.addEventListener("pointerover", event => {
  const mark = event.target.closest("[data-points] > use");
  tip.hidden = !mark;
  if (!mark) return;
  const { points, first } = mark.parentNode.dataset;
  const set = sets[points] ??= JSON.parse(document.getElementById(points).textContent);
  const i = [].indexOf.call(mark.parentNode.children, mark) + Number(first);
  const name = c => c < 0 ? "unlabelled" : set.classes[c];
  const lines = [set.kind + " " + set.names[i]];
  if (set.y) lines.push("class: " + name(set.y[i]));
  if (set.predicted) lines.push("prediction: " + name(set.predicted[i]));
  tip.textContent = lines.join("\\n");
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)) + "px";
});
"""


def of_run(result: Mapping[str, Any], content: Content, with_tsne: bool = False) -> str:
    """The report of a run.

    Args:
        result: as `recipes.run` returns it.
        content: what is shown beside it.
        with_tsne: whether to draw the embedding by t-SNE too, which of 3,000 points takes half a minute a layer.
    """
    names = [str(name) for name in content.class_names]
    sections = [
        ("result", "Result", _result(result)),
        ("protocol", "Protocol", _facts(content.facts)),
        ("curves", "Training", _training(content)),
        ("confusion", "Confusion matrix", _confusion(content.confusion, names, content.chosen)),
        ("embedding", "Embedding by layer", _embedding(content, names, with_tsne)),
        ("smoothing", "Over-smoothing by layer", _smoothing(content)),
        ("graph", _heading_of_drawings(content.points), _drawings(content, names)),
        ("maps", "Feature maps", _maps(content.maps)),
        ("environment", "Hardware and versions", _environment(result)),
    ]
    title = f"{result['recipe']} on {result['dataset']}"
    return _page(title, f"{result['model']}; protocol {result['protocol']}", sections)


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
        rows: one a model, as `compare.compare` returns them.
        table: the head of the table of results, and a row of text for each model.
        histories: model -> its training, where it had validation images.
        versions: of packages.
    """
    families = list(dict.fromkeys(row["family"] for row in rows))
    head, *lines = (("", *table[0]), *((str(i), *line) for i, line in enumerate(table[1:], 1)))
    names = [
        f"{row['model']}: {100 * row['test_accuracy']:.2f} %, {row['num_parameters']:,} parameters, {row['seconds']:.0f} s"
        for row in rows
    ]
    charts = "".join(
        svg.sizes_chart(rows, key, label, families)
        for key, label in (("num_parameters", "parameters"), ("seconds", "training, seconds"))
    )
    legend = svg.class_legend(range(len(families)), families, False)
    picture = (
        f'<p class="note">The numbers are those of the table.</p><div class="legend">{legend}</div>'
        f'<div class="grid">{charts}</div>{_set("models", "model", names, None, None, ())}'
    )
    curves = "".join(f"<h3>{escape(name)}</h3>{_history(history)}" for name, history in histories.items())
    matrices = "".join(
        f"<details><summary>{escape(row['model'])}</summary>"
        f"{_confusion(row['confusion_matrix'], row['class_names'], '')}</details>"
        for row in rows
        if "confusion_matrix" in row  # results of an older version have none
    )
    sections = [
        ("result", "Result", _table(head, lines, 3)),
        ("sizes", "Accuracy against size and time", picture),
        ("protocol", "Protocol", _facts(facts)),
        ("curves", "Training", curves),
        ("confusion", "Confusion matrices", matrices),
        ("environment", "Hardware and versions", _list({**_machine(), **{k: escape(v) for k, v in versions.items()}})),
    ]
    return _page(f"Models on {dataset}", "grid networks and CNNs on the same images", sections)


def of_pair(a: Mapping[str, Any], b: Mapping[str, Any], finding: str) -> str:
    """The report of two results on the same folds.

    Args:
        a, b: results of gin or nested.
        finding: the difference, and whether it is one, in words.
    """
    values = [result["test_accuracy"]["per_fold"] for result in (a, b)]
    body = [
        (f"fold {i}", _points_of(first), _points_of(second), f"{100 * (first - second):+.2f}")
        for i, (first, second) in enumerate(zip(*values, strict=True), 1)
    ]
    means = [f"{_points_of(x['test_accuracy']['mean'])} ± {_points_of(x['test_accuracy']['std'])}" for x in (a, b)]
    body.append(("mean ± standard deviation", means[0], means[1], ""))
    head = ("accuracy, %", a["recipe"], b["recipe"], "difference")
    lines = [svg.Line(a["recipe"], values[0]), svg.Line(b["recipe"], values[1], "val")]
    chart = svg.curves(lines, "accuracy", is_share=True, x_label="fold")
    facts = {"data": a["dataset"], "protocol": a["protocol"]} | {x["recipe"]: x["model"] for x in (a, b)}
    versions = {
        x["recipe"]: ", ".join([x["device"], *(f"{name} {version}" for name, version in x["versions"].items())])
        for x in (a, b)
        if x.get("versions") and x.get("device")
    }
    sections = [
        ("result", "Result", f"<p>{escape(finding)}</p>{_facts(facts)}"),
        ("folds", "Each fold", f'<div class="grid">{chart}</div>{_table(head, body, 1)}'),
        ("environment", "Devices and versions", _facts(versions)),
    ]
    return _page(f"{a['recipe']} and {b['recipe']}", f"on the same folds of {a['dataset']}", sections)


def write(path: str | PathLike[str], html: str) -> None:
    """Write a report, atomically."""
    with atomic_write(path) as file:
        file.write(html.encode())


def _page(title: str, subtitle: str, sections: Sequence[tuple[str, str, str]]) -> str:
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in shown)
    body = "".join(f'<section id="{key}"><h2>{escape(heading)}</h2>{html}</section>\n' for key, heading, html in shown)
    # Nothing may be loaded, so that what the file shows is what the file holds.
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>
<style>{_STYLE}</style></head><body>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p><nav>{links}</nav></header>
{svg.class_marks()}
<main>{body}</main>
<div id="tip" hidden></div><script>{_SCRIPT}</script></body></html>
"""


def _data(result: Mapping[str, Any], key: str, text: Callable[[Any], str]) -> str:
    """A value of the result, for people and for programs: `key` is its path, such as test_accuracy.mean."""
    value: Any = result
    for name in key.split("."):
        value = value[int(name) if isinstance(value, list) else name]
    return f'<data data-key="{key}" value="{escape(str(value))}">{escape(text(value))}</data>'


def _points_of(value: float) -> str:
    return f"{100 * value:.2f}"


def _result(result: Mapping[str, Any]) -> str:
    accuracy = result["test_accuracy"]
    many = "fold" if "per_fold" in accuracy else "seed"
    values = accuracy[f"per_{many}"]
    has_test = result["protocol"] != "gin"
    spread = f" ± {_data(result, 'test_accuracy.std', _points_of)}" if len(values) > 1 else ""
    count = f"over {len(values)} {many}s" if len(values) > 1 else f"1 {many}"
    kind = "test accuracy" if has_test else "accuracy at the best common epoch; no held-out test"
    head = (
        f'<p><span class="big">{_data(result, "test_accuracy.mean", _points_of)}{spread} %</span><br>'
        f"{kind}, {count}{' (mean ± standard deviation)' if spread else ''}</p>"
    )
    rows = {}
    if result["published"] is not None:
        value = _data(result, "published.value", lambda v: f"{100 * v:.1f} %")
        rows["published"] = f"{value} ({escape(result['published']['source'])})"
    others = {"test_macro_f1": "test macro-F1", **({"val_accuracy": "validation accuracy"} if has_test else {})}
    for key, name in others.items():
        if key in result:
            plus = f" ± {_data(result, f'{key}.std', _points_of)}" if spread else ""
            rows[name] = f"{_data(result, f'{key}.mean', _points_of)}{plus} %"
    rows["parameters"] = _data(result, "num_parameters", lambda v: f"{v:,}")
    if result["epochs"]:
        rows["epochs"] = f"up to {_data(result, 'epochs', str)}"
        rows["time"] = (
            f"{_data(result, 'seconds', lambda v: f'{v:.1f}')} s in all; an epoch, median: "
            f"{_data(result, 'epoch_seconds_median', lambda v: f'{1000 * v:.3g} ms' if v < 1 else f'{v:.1f} s')}"
        )
    text = head + _list(rows)
    if len(values) == 1:
        return text
    names = [f"{many} {i + 1 if many == 'fold' else i}" for i in range(len(values))]
    if many == "seed":
        names = [f"seed {seed}" for seed in result["seeds"]]
    published = None if result["published"] is None else result["published"]["value"]
    note = (
        "each dot a "
        + many
        + "; line: mean, band: one standard deviation"
        + ("; dashed: published" if published is not None else "")
    )
    columns = {"test_accuracy": "test accuracy, %" if has_test else "accuracy, %"} | {
        key: f"{name}, %" for key, name in others.items() if key in result and f"per_{many}" in result[key]
    }
    body = [
        (name, *(_data(result, f"{key}.per_{many}.{i}", _points_of) for key in columns)) for i, name in enumerate(names)
    ]
    table = _table(("", *columns.values()), body, 1, is_html=True)
    strip = svg.figure(svg.strip(values, names, accuracy["mean"], accuracy["std"], published), note)
    return f'<div class="pair"><div>{text}</div>{strip}</div><details><summary>Each {many}</summary>{table}</details>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], num_text: int, is_html: bool = False) -> str:
    """A table whose first columns are text, the others numbers."""

    def line(cells: Sequence[str], tag: str, is_html: bool) -> str:
        kinds = [" class=text" if i < num_text else "" for i in range(len(cells))]
        texts = [cell if is_html else escape(cell) for cell in cells]
        return "".join(f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, texts, strict=True))

    body = "".join(f"<tr>{line(cells, 'td', is_html)}</tr>" for cells in rows)
    return f'<div class="scroll"><table class="rows"><tr>{line(head, "th", False)}</tr>{body}</table></div>'


def _list(rows: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{html}</dd>' for name, html in rows.items())}</dl>"


def _facts(facts: Mapping[str, str]) -> str:
    """Texts by name; of one that is a summary, its rows."""
    rows: dict[str, str] = {}
    for name, text in facts.items():
        first, *others = text.splitlines()
        rows[name] = escape(first)
        rows |= {line[2:20].strip(): escape(line[21:]) for line in others}
    return _list(rows) if rows else ""


def _training(content: Content) -> str:
    if content.folds:
        mean, _ = plot.mean_of_folds(content.folds)
        best = max(range(len(mean)), key=mean.__getitem__) + 1
        lines = [svg.Line("each fold" if not i else "", fold, "fold") for i, fold in enumerate(content.folds)]
        chart = svg.curves([*lines, svg.Line("their mean", mean)], "validation accuracy", best, is_share=True)
        return f'<p class="note">Dashed: epoch {best}, where the mean is highest.</p><div class="grid">{chart}</div>'
    if content.history is None:
        return ""
    return _history(content.history)


def _history(history: History) -> str:
    charts = []
    for kind in ("loss", "accuracy"):
        lines = []
        for split, name in (("train", "training"), ("val", "validation")):
            if f"{split}_{kind}" in history.metrics:
                mean, low, high = plot.mean_curve(history, f"{split}_{kind}")
                band = (low, high) if len(history.seeds) > 1 else None
                lines.append(svg.Line(name, mean, split, band))
        if lines:
            kept = float(history.best_epoch.double().median())
            charts.append(svg.curves(lines, kind, kept, is_share=kind == "accuracy"))
    note = (
        f"Mean of {len(history.seeds)} seeds while half of them train; band: one standard deviation; dashed: the median "
        "of the epochs whose weights were kept."
        if len(history.seeds) > 1
        else "Dashed: the epoch whose weights were kept."
    )
    return f'<p class="note">{note}</p><div class="grid">{"".join(charts)}</div>'


def _confusion(matrix: Sequence[Sequence[int]], names: Sequence[str], chosen: str) -> str:
    if not matrix:
        return ""
    total, right = sum(map(sum, matrix)), sum(row[i] for i, row in enumerate(matrix))
    is_numbered = len(matrix) <= _MAX_NUMBERED_CLASSES
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    turned = " class=long" if any(len(name) > 3 for name in names) else ""
    body = []
    for i, row in enumerate(matrix):
        cells = []
        for j, count in enumerate(row):
            title = f"{escape(names[i])} as {escape(names[j])}: {count:,}"
            style = f' style="--s:{count / max(sum(row), 1):.3f}"' if count else ""
            shown = f"{count:,}" if is_numbered and count else ""
            cells.append(f'<td title="{title}"{" class=hit" if i == j else ""}{style}>{shown}</td>')
        body.append(f"<tr><th>{escape(names[i])}</th>{''.join(cells)}</tr>")
    note = (
        f"Row: true class, column: predicted class; the colour is the share of the row. {right:,} of {total:,} are right"
        f"{f': {chosen}' if chosen else ''}."
    )
    kind = "confusion" if is_numbered else "confusion many"
    return (
        f'<p class="note">{escape(note)}</p><div class="scroll"><table class="{kind}"><thead><tr{turned}><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _embedding(content: Content, class_names: Sequence[str], with_tsne: bool) -> str:
    points = content.points
    if points is None or len(points.names) < 4:
        return ""
    wrong_last = torch.tensor(wrong(points.y, points.predicted)).long().argsort(stable=True)
    points = Points(
        points.kind, [points.names[i] for i in wrong_last.tolist()], points.y[wrong_last],
        None if points.predicted is None else points.predicted[wrong_last],
        {name: points.layers[name][wrong_last] for name in _at_most(list(points.layers), _MAX_LAYERS)}, points.total,
    )  # fmt: skip
    panels, later = [], []
    for name, h in points.layers.items():
        places, shares = pca(h)
        caption = f"{name}, {h.shape[1]:,} columns: {100 * float(shares[0]):.0f} and {100 * float(shares[1]):.0f} % of the variance"
        panels.append(svg.scatter(places, points, escape(caption)))
        if with_tsne:
            later.append(svg.scatter(tsne(h), points, escape(f"{name}: t-SNE")))
    kinds = f"{points.kind}s"
    count = (
        f"{len(points.names):,} of {points.total:,} {kinds}"
        if len(points.names) < points.total
        else f"All {points.total:,} {kinds}"
    )
    note = f"{count}, on the two principal components of what each layer makes of them{f'; {content.chosen}' if content.chosen else ''}."
    legend = svg.class_legend(points.y.tolist(), class_names, any(wrong(points.y, points.predicted)))
    values = _set("points", points.kind, points.names, points.y.tolist(),
                  None if points.predicted is None else points.predicted.tolist(), class_names)  # fmt: skip
    return (
        f'<p class="note">{escape(note)}</p><div class="legend">{legend}</div>'
        f'<div class="grid">{"".join(panels + later)}</div>{values}'
    )


def _at_most(names: list[str], most: int) -> list[str]:
    """The first, the last, and some between, evenly."""
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _set(
    key: str,
    kind: str,
    names: Sequence[Any],
    y: Sequence[int] | None,
    predicted: Sequence[int] | None,
    class_names: Sequence[str],
) -> str:
    """What the script says of the marks; no name can end the element that holds it."""
    values = {
        "kind": kind, "names": list(map(str, names)), "y": y, "predicted": predicted, "classes": list(class_names)
    }  # fmt: skip
    text = json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{key}">{text}</script>'


def _smoothing(content: Content) -> str:
    if len(content.distances) < 2:
        return ""
    of = {"node": "of two nodes", "graph": "of two nodes of a graph", "image": "of two nodes of an image"}
    kind = content.points.kind if content.points is not None else "node"
    note = (
        f"Mean cosine distance {of[kind]} (MAD, Chen et al. 2020): 0 where a layer makes all of them alike, and nothing "
        "tells them apart any more."
    )
    return f'<p class="note">{note}</p><div class="narrow">{svg.bars(content.distances, "distances")}</div>'


def _heading_of_drawings(points: Points | None) -> str:
    if points is None:
        return "Some of the graphs"
    return "Graph and predictions" if points.kind == "node" else "Graphs and predictions"


def _drawings(content: Content, class_names: Sequence[str]) -> str:
    drawings = content.drawings
    if not drawings:
        return ""
    y = [label for drawing in drawings for label in drawing.y or ()]
    predicted = [label for drawing in drawings for label in drawing.predicted or ()]
    first = [sum(len(drawing.names) for drawing in drawings[:i]) for i in range(len(drawings))]
    pictures = "".join(svg.graph(drawing, start) for drawing, start in zip(drawings, first, strict=True))
    legend, note = "", "Distances in the picture are about the numbers of edges between two nodes."
    if y:
        has_wrong = any(p != label >= 0 for p, label in zip(predicted, y, strict=True))
        legend = f'<div class="legend">{svg.class_legend(y, class_names, has_wrong)}</div>'
    if drawings[0].centre is not None:
        note = (
            f"The neighbourhoods of some test nodes (ringed), two edges far; of a node at most {MAX_NEIGHBOURS} neighbours "
            "are drawn. Half of them are of nodes that are predicted wrongly, where there are so many. " + note
        )
    names = [name for drawing in drawings for name in drawing.names]
    values = _set("drawn", "node", names, y or None, predicted or None, class_names)
    grid = "narrow" if len(drawings) == 1 else "grid"
    return f'<p class="note">{note}</p>{legend}<div class="{grid}">{pictures}</div>{values}'


def _maps(png: bytes) -> str:
    if not png:
        return ""
    data = base64.b64encode(png).decode()
    return (
        '<p class="note">One channel of each layer, a row an image, laid out on the grid that the layer has.</p>'
        f'<div class="scroll"><img alt="feature maps of the layers" src="data:image/png;base64,{data}"></div>'
    )


def _environment(result: Mapping[str, Any]) -> str:
    versions = {name: _data(result, f"versions.{name}", str) for name in result["versions"]}
    return _list({"device": _data(result, "device", str), **_machine(), **versions})


def _machine() -> dict[str, str]:
    """Of the machine that writes the report."""
    found = {"processor": f"{_processor()}, {os.cpu_count()} cores", "system": platform.platform()}
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return {name: escape(text) for name, text in found.items()}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
