"""The report of a run or of a comparison: one HTML file that needs no other file and no network.

What is drawn is inline SVG, whose colours follow the reader's light or dark setting; only feature maps are a PNG, in a
data URL. A small script shows what a mark stands for when it is pointed at; without it all else is there. A class has a
colour and a shape, and a wrong prediction is hollow and crossed, so that nothing is said by colour alone.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import plot
from .collection import GraphCollection
from .files import atomic_write
from .graph import Features, Graph, select_rows
from .metrics import mean_average_distance
from .precompute import NodeRows
from .readout import Readout
from .signals import Signals
from .sparse import SparseMatrix
from .train import History

MAX_NODES, MAX_GRAPHS, MAX_IMAGES = 3000, 1000, 500  # points of a picture; of more, so many are drawn at random
_MAX_LAYERS = 6  # pictures of the embedding
_MAX_WIDE = 60_000_000  # entries of the features of the points, above which they are left out
_WHOLE_GRAPH = 150  # nodes, up to which a graph is drawn whole
_NEIGHBOURHOOD = 40  # nodes of one neighbourhood
_MAX_NEIGHBOURS = 6  # of a node, that are drawn
_NUM_DRAWINGS = 6
_MAX_MEASURED = 50  # graphs or images in which the distances of nodes are measured
_NUM_MAPS = 5  # images whose feature maps are shown
_MAX_NUMBERED_CLASSES = 30  # up to here the cells of a confusion matrix hold their counts
_COLOURS, _SHAPES = 10, 7  # of classes; all 70 pairs differ


@dataclass
class Points:
    """What of the nodes, graphs or images is shown: those drawn, and where each layer puts them.

    Attributes:
        kind: "node", "graph" or "image".
        names: one a point.
        y: classes, int64 [num_points], -1 where it is unknown.
        predicted: int64 [num_points], or None.
        layers: name -> [num_points, C], from the features to the output.
        total: of how many the points are a sample.
    """

    kind: str
    names: Sequence[Any]
    y: Tensor
    predicted: Tensor | None
    layers: dict[str, Tensor]
    total: int


@dataclass
class Drawing:
    """A graph, or a part of one, as it is drawn.

    Attributes:
        caption: below it.
        names: one a node.
        y, predicted: classes of the nodes; None where they have none.
        edges: pairs of positions in `names`, each once.
        centre: the position of the node around which the part was cut out.
    """

    caption: str
    names: Sequence[Any]
    y: list[int] | None
    predicted: list[int] | None
    edges: list[tuple[int, int]]
    centre: int | None = None


@dataclass
class Content:
    """What a report of a run shows beside the result; what is empty has no section.

    Attributes:
        facts: name -> text: how it was trained and on what.
        class_names: one a class.
        history: of all seeds.
        folds: the validation accuracy of each fold by epoch.
        confusion: counts, row = true class, column = predicted class.
        chosen: whose predictions are shown, such as "seed 3, of the best validation accuracy".
        points: the embedding.
        distances: layer -> mean cosine distance of two nodes.
        drawings: of graphs.
        maps: feature maps, a PNG.
    """

    facts: dict[str, str]
    class_names: Sequence[str] = ()
    history: History | None = None
    folds: Sequence[Sequence[float]] = ()
    confusion: Sequence[Sequence[int]] = ()
    chosen: str = ""
    points: Points | None = None
    distances: dict[str, float] = field(default_factory=dict)
    drawings: list[Drawing] = field(default_factory=list)
    maps: bytes = b""


# --------------------------------------------------------------------------------------------------------------------
# What is shown: of nodes, of graphs, of images
# --------------------------------------------------------------------------------------------------------------------


def add_nodes(
    content: Content, model: nn.Module, data: Graph | NodeRows, operator: SparseMatrix | None, predicted: Tensor
) -> None:
    """The embedding of nodes by layer, the distances of nodes, and the graph, as far as it can be read.

    Args:
        content: gets them.
        model: trained, in evaluation mode.
        data: what it was trained on, with test_mask.
        operator: the matrix that the model is called with; None for `graph.a_hat`. NodeRows need none.
        predicted: classes, int64 [num_nodes].
    """
    graph = data.graph if isinstance(data, NodeRows) else data
    assert graph.y is not None
    chosen = _sample(graph.num_nodes, MAX_NODES)
    if isinstance(data, NodeRows):
        arguments: tuple[Any, ...] = (data.inputs(chosen, data.labels(data.train_ids)),)
        num_hops = len(data.features)
        first = [f"features, {k} hop{'s' * (k != 1)}" if k else "features" for k in range(num_hops)]
        first += [f"labels, {k} hop{'s' * (k != 1)}" for k in range(1, data.label_hops + 1)]
        layers = {}
    else:
        assert graph.x is not None
        arguments, first = (graph.x, graph.a_hat if operator is None else operator), []
        fits = len(chosen) * graph.num_features <= _MAX_WIDE and not _is_identity(graph.x)
        layers = {"features": _some(graph.x, chosen.to(graph.device))} if fits else {}
    entered, _, output = _trace(model, arguments, chosen.to(graph.device), graph.x)
    names = [*first, *(f"layer {i}" for i in range(1, len(entered) - len(first) + 1))]
    layers |= dict(zip(names, entered, strict=True)) | {"output": output}
    node_names = graph.node_names or range(graph.num_nodes)
    y, predicted = graph.y.cpu(), predicted.cpu()
    shown = [node_names[i] for i in chosen.tolist()]
    content.points = Points("node", shown, y[chosen], predicted[chosen], layers, graph.num_nodes)
    content.distances = {name: mean_average_distance(h) for name, h in layers.items()}
    content.drawings = _draw_nodes(graph, node_names, y, predicted, content.class_names)


def add_graphs(
    content: Content, graphs: GraphCollection, model: nn.Module | None = None, test: Tensor | None = None
) -> None:
    """Some of the graphs; of a trained model their embedding by layer and the distances of nodes too.

    Args:
        content: gets them.
        graphs: all of the set.
        model: trained, in evaluation mode; None where each fold had another.
        test: ids of the test graphs, which are drawn.
    """
    y, predicted = graphs.y.cpu(), None
    if model is not None:
        chosen = _sample(len(graphs), MAX_GRAPHS)
        batch = graphs[chosen].batch()
        assert batch.x is not None
        entered, read, output = _trace(model, (batch.x, batch.a_hat, batch.p), x=batch.x)
        layers = {f"readout {i}" if len(read) > 1 else "readout": h for i, h in enumerate(read, 1)}
        of_chosen = output.argmax(1)
        content.points = Points(
            "graph", chosen.tolist(), y[chosen], of_chosen, layers | {"output": output}, len(graphs)
        )
        predicted = torch.full((len(graphs),), -1).index_put((chosen,), of_chosen)
        parts = [slice(*pair) for pair in pairwise(batch.p.rowptr[: _MAX_MEASURED + 1].tolist())]
        on_nodes = [h for h in entered if len(h) == batch.num_nodes]
        on_nodes.insert(0, _some(batch.x, torch.arange(parts[-1].stop, device=batch.device)))
        content.distances = {
            _layer_name(i, "features"): statistics.mean(mean_average_distance(h[part]) for part in parts)
            for i, h in enumerate(on_nodes)
        }
    among = torch.arange(len(graphs)) if test is None else test.cpu()
    small = among[graphs.sizes.cpu()[among] <= _NEIGHBOURHOOD]
    among = small if len(small) >= _NUM_DRAWINGS else among
    if predicted is not None:
        among = among[predicted[among] >= 0]
    content.drawings = []
    for i in _mixed(among, y, predicted):
        graph, (name, label) = graphs[i], (f"graph {i}", content.class_names[int(y[i])])
        nodes = _ball(graph, 0) if graph.num_nodes > _NEIGHBOURHOOD else list(range(graph.num_nodes))
        part = f" ({len(nodes)} of {graph.num_nodes:,} nodes)" if len(nodes) < graph.num_nodes else ""
        caption = f"{name}: {label}{part}"
        if predicted is not None:
            caption = _verdict(name, int(y[i]), int(predicted[i]), content.class_names) + part
        content.drawings.append(Drawing(caption, nodes, None, None, _edges(graph, nodes)))


def add_images(content: Content, model: nn.Module, signals: Signals, total: int, predicted: Tensor) -> None:
    """The embedding of images by layer, the distances of the nodes of an image, and feature maps.

    Args:
        content: gets them.
        model: trained, in evaluation mode.
        signals: the images that are shown, the first of all test images.
        total: the number of test images.
        predicted: classes of these, int64 [num_images].
    """
    n = len(signals)
    arguments = signals.inputs(slice(None))
    entered, read, output = _trace(model, arguments)
    on_nodes = [h for h in entered if h.dim() == 3]  # [num_images, num_nodes, C]
    layers = {"pixels": on_nodes[0].flatten(1)} if on_nodes else {}
    layers |= {f"layer {i}, mean over nodes": h.mean(1) for i, h in enumerate(on_nodes[1:], 1)}
    layers |= dict(zip(("readout",), read, strict=False)) | {"output": output}
    content.points = Points("image", range(n), signals.y.cpu(), predicted.cpu(), layers, total)
    content.distances = {
        _layer_name(i, "pixels"): statistics.mean(map(mean_average_distance, h[:_MAX_MEASURED]))
        for i, h in enumerate(on_nodes)
        if h.shape[2] > 1  # of one channel all nodes point the same way
    }
    pictures = signals.x[:_NUM_MAPS].cpu().view(-1, *signals.shape, signals.x.shape[2])
    names = [content.class_names[label] for label in signals.y[:_NUM_MAPS].tolist()]
    grid = None if signals.grid is None else signals.grid.to("cpu")
    figure = plot.feature_maps(model.cpu(), pictures, grid=grid, names=names)
    file = io.BytesIO()
    figure.savefig(file, dpi=80, format="png")
    content.maps = file.getvalue()


def _layer_name(i: int, first: str) -> str:
    return f"layer {i}" if i else first


def _is_identity(x: Features) -> bool:
    """Whether X tells nodes apart and nothing else, so that there is nothing to see in it."""
    if not isinstance(x, SparseMatrix) or x.shape[0] != x.shape[1] or x.nnz != x.shape[0]:
        return False
    return bool((x.row == x.col).all())


def _sample(total: int, most: int) -> Tensor:
    """Ids, increasing; drawn by a generator of its own, so that no training draws otherwise for it."""
    if total <= most:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _some(h: Features, rows: Tensor | None) -> Tensor:
    """The rows of h, dense, unless they were taken already."""
    part = h if rows is None or h.shape[0] == len(rows) else select_rows(h, rows)
    return (part.to_dense() if isinstance(part, SparseMatrix) else part).detach().float().cpu()


def _trace(
    model: nn.Module, arguments: tuple[Any, ...], rows: Tensor | None = None, x: Any = None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """(what enters each layer, what each readout gives, the output) of one forward: of some rows, and x left out.

    In evaluation mode what enters a layer is what the one before it made, after its norm, residual and relu; what enters
    two of them counts once. Layers are known by the names of their classes, so that anyone's count.
    """
    modules = dict(model.named_modules())
    named = [
        name
        for name, module in modules.items()
        if "Conv" in type(module).__name__ or isinstance(module, (nn.Linear, Readout))
    ]
    outer = [name for name in named if not any(name.startswith(f"{other}.") for other in named)]
    seen, entered, read = [x], [], []  # what was seen is kept, so that nothing else gets its place in memory

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not any(inputs[0] is other for other in seen):
            seen.append(inputs[0])
            entered.append(_some(inputs[0], rows))

    handles = [modules[name].register_forward_pre_hook(before) for name in outer]
    handles += [
        module.register_forward_hook(lambda _, __, output: read.append(_some(output, rows)))
        for module in modules.values()
        if isinstance(module, Readout)
    ]
    try:
        with torch.no_grad():
            output = model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return entered, read, _some(output, rows)


def _mixed(among: Tensor, y: Tensor, predicted: Tensor | None) -> list[int]:
    """Ids of which half are predicted wrongly where there are so many; without predictions of all classes in turn."""
    order = among[torch.randperm(len(among), generator=torch.Generator().manual_seed(0))]
    keys = y[order] if predicted is None else predicted[order] == y[order]
    groups = [order[keys == key].tolist() for key in keys.unique()]
    turns = [i for turn in range(_NUM_DRAWINGS) for group in groups for i in group[turn : turn + 1]]
    return turns[:_NUM_DRAWINGS]


def _verdict(name: str, label: int, predicted: int, class_names: Sequence[str]) -> str:
    if label == predicted:
        return f"{name}: {class_names[label]} ✓"
    return f"{name}: {class_names[label]} ✗ predicted {class_names[predicted]}"


def _draw_nodes(
    graph: Graph, names: Sequence[Any], y: Tensor, predicted: Tensor, class_names: Sequence[str]
) -> list[Drawing]:
    def drawing(caption: str, nodes: list[int], centre: int | None = None) -> Drawing:
        return Drawing(
            caption,
            [names[i] for i in nodes],
            y[nodes].tolist(),
            predicted[nodes].tolist(),
            _edges(graph, nodes),
            centre,
        )

    if graph.num_nodes <= _WHOLE_GRAPH:
        return [drawing("The whole graph", list(range(graph.num_nodes)))]
    assert graph.test_mask is not None
    linked = graph.adjacency.rowptr.diff().cpu() > 1
    among = (graph.test_mask.cpu() & linked).nonzero().squeeze(1)
    centres = _mixed(among, y, predicted)
    return [
        drawing(_verdict(f"node {names[i]}", int(y[i]), int(predicted[i]), class_names), _ball(graph, i), 0)
        for i in centres
    ]


def _ball(graph: Graph, centre: int) -> list[int]:
    """The node, its neighbours and theirs, at most so many of each node and in all; the node first."""
    found, border = [centre], [centre]
    for _ in range(2):
        reached: list[int] = []
        for i in border:
            start, end = graph.adjacency.rowptr[i : i + 2].tolist()
            new = [j for j in graph.adjacency.col[start:end].tolist() if j not in found]
            new = new[: min(_MAX_NEIGHBOURS, _NEIGHBOURHOOD - len(found))]
            found, reached = found + new, reached + new
        border = reached
    return found


def _edges(graph: Graph, nodes: list[int]) -> list[tuple[int, int]]:
    """The edges between the nodes as pairs of positions, each once, without loops."""
    rows = graph.adjacency.select_rows(torch.tensor(nodes, device=graph.device))
    place = {node: i for i, node in enumerate(nodes)}
    pairs = [(i, place.get(j, i)) for i, j in zip(rows.row.tolist(), rows.col.tolist(), strict=True)]
    return sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


# --------------------------------------------------------------------------------------------------------------------
# Places in the plane
# --------------------------------------------------------------------------------------------------------------------


def pca(h: Tensor) -> tuple[Tensor, Tensor]:
    """The first two principal components, and their shares of the variance.

        H - 1 m^T = U S V^T,   places: the first two columns of U S,   shares: s_k^2 / sum_i s_i^2

    Of wide h the 16 leading directions are found first, by subspace iteration from a random start (Halko, Martinsson &
    Tropp 2011, algorithm 4.4), drawn by a generator of its own. A component's sign is such that its largest entry is
    positive.

    Args:
        h: [num_points, C].

    Returns:
        places [num_points, 2], shares [2], fractions.

    >>> places, shares = pca(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    >>> places[:, 0].round().int().tolist(), f"{float(shares[0]):.2f}"
    ([-2, 0, 2], '1.00')
    """
    centred = h.double() if h.shape[1] <= 64 else h.float()
    centred = centred - centred.mean(0)
    total = float(centred.square().sum())
    if min(h.shape) > 64:
        basis = torch.randn(h.shape[1], 16, generator=torch.Generator().manual_seed(0))
        for _ in range(4):
            basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
        centred = (centred @ basis).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    places = torch.nn.functional.pad(u * s, (0, 1))[:, :2]
    shares = torch.nn.functional.pad(s.square(), (0, 1))[:2] / max(total, 1e-30)
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    return places * torch.where(largest < 0, -1.0, 1.0), shares


def tsne(h: Tensor) -> Tensor:
    """Places [num_points, 2] of t-SNE (van der Maaten & Hinton 2008) by scikit-learn: neighbours stay neighbours.

    As in the paper, wide h are first brought to their principal components, here 50.

    Args:
        h: [num_points, C], of 4 points at least.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = (h.double() - h.double().mean(0)).numpy()
    if min(values.shape) > 50:
        values = PCA(50, svd_solver="randomized", random_state=0).fit_transform(values)
    init = "pca" if min(values.shape) > 1 else "random"
    estimator = TSNE(perplexity=min(30.0, (len(values) - 1) / 3), init=init, random_state=0)
    return torch.from_numpy(estimator.fit_transform(values))


def _layout(drawing: Drawing) -> list[tuple[float, float]]:
    """Places whose distances are about the numbers of edges between nodes (Kamada & Kawai 1989), by networkx."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(drawing.names)))
    graph.add_edges_from(drawing.edges)
    hops = dict(networkx.all_pairs_shortest_path_length(graph))
    apart = 1 + max(max(of.values()) for of in hops.values())  # parts without a path between them
    distance = {i: {j: hops[i].get(j, apart) for j in graph} for i in graph}
    places = networkx.kamada_kawai_layout(graph, dist=distance)
    return [(float(places[i][0]), float(places[i][1])) for i in graph]


# --------------------------------------------------------------------------------------------------------------------
# SVG
# --------------------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 360, 240  # of a chart; text of 11 is then as large on a telephone as it should be
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 36


class _Line(NamedTuple):
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


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _spread(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of the values and some more; of one value alone some width."""
    low, high = min(values), max(values)
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _curves(
    lines: Sequence[_Line], y_label: str, marked: float | None = None, is_share: bool = False, x_label: str = "epoch"
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
    return _figure(_svg(_WIDTH, _HEIGHT, "".join(parts), f"{y_label} by {x_label}"), keys)


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


def _marks() -> str:
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


def _class_legend(labels: Sequence[int], class_names: Sequence[str], has_wrong: bool) -> str:
    known = sorted({label for label in labels if label >= 0})
    keys = [(_mark("l", label, False, 8, 8), class_names[label]) for label in known]
    keys += [(_mark("l", None, False, 8, 8), "unlabelled")] if any(label < 0 for label in labels) else []
    keys += [(_mark("l", known[0], True, 8, 8), "wrong prediction: hollow, crossed")] if has_wrong and known else []
    return "".join(
        f'<span class="key"><svg viewBox="0 0 16 16" style="width:16px">{mark}</svg>{escape(str(name))}</span>'
        for mark, name in keys
    )


def _scatter(places: Tensor, points: Points, caption: str) -> str:
    """The points in a square; of those drawn last are the wrong ones, as `Points` has them in this order."""
    low, high = places.amin(0), places.amax(0)
    scale = 340 / float((high - low).max().clamp(min=1e-12))  # one for both axes, or distances would mislead
    size = (high - low) * scale
    xy = (places - low) * scale
    x, y = (xy[:, 0] + 10).tolist(), (float(size[1]) + 10 - xy[:, 1]).tolist()
    big = "l" if len(x) <= 200 else "s"
    marks = "".join(
        _mark(big, label, wrong, *at)
        for label, wrong, *at in zip(points.y.tolist(), _wrong(points.y, points.predicted), x, y, strict=True)
    )
    group = f'<g data-points="points" data-first="0">{marks}</g>'
    return _figure(_svg(float(size[0]) + 20, float(size[1]) + 20, group, caption), caption)


def _wrong(y: Tensor, predicted: Tensor | None) -> list[bool]:
    return [False] * len(y) if predicted is None else ((y >= 0) & (predicted != y)).tolist()


def _graph(drawing: Drawing, first: int) -> str:
    """A graph; its nodes are those from `first` on of all drawings."""
    places = _layout(drawing)
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
    return _figure(_svg(width + 26, height + 26, content, drawing.caption), escape(drawing.caption))


def _strip(values: Sequence[float], names: Sequence[str], mean: float, std: float, published: float | None) -> str:
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


def _sizes(rows: Sequence[Mapping[str, Any]], key: str, x_label: str, families: Sequence[str]) -> str:
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
    return _figure(_svg(_WIDTH, 300, axes.frame + group + "".join(labels), label), "")


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, top, right, bottom) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _bars(values: Mapping[str, float], label: str) -> str:
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


# --------------------------------------------------------------------------------------------------------------------
# The page
# --------------------------------------------------------------------------------------------------------------------

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
        _sizes(rows, key, label, families)
        for key, label in (("num_parameters", "parameters"), ("seconds", "training, seconds"))
    )
    legend = _class_legend(range(len(families)), families, False)
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
    lines = [_Line(a["recipe"], values[0]), _Line(b["recipe"], values[1], "val")]
    chart = _curves(lines, "accuracy", is_share=True, x_label="fold")
    facts = {"data": a["dataset"], "protocol": a["protocol"]} | {x["recipe"]: x["model"] for x in (a, b)}
    versions = {
        x["recipe"]: ", ".join([x["device"], *(f"{name} {version}" for name, version in x["versions"].items())])
        for x in (a, b)
        if "versions" in x
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
{_marks()}
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
    strip = _figure(_strip(values, names, accuracy["mean"], accuracy["std"], published), note)
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
        lines = [_Line("each fold" if not i else "", fold, "fold") for i, fold in enumerate(content.folds)]
        chart = _curves([*lines, _Line("their mean", mean)], "validation accuracy", best, is_share=True)
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
                lines.append(_Line(name, mean, split, band))
        if lines:
            kept = float(history.best_epoch.double().median())
            charts.append(_curves(lines, kind, kept, is_share=kind == "accuracy"))
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
    wrong_last = torch.tensor(_wrong(points.y, points.predicted)).long().argsort(stable=True)
    points = Points(
        points.kind, [points.names[i] for i in wrong_last.tolist()], points.y[wrong_last],
        None if points.predicted is None else points.predicted[wrong_last],
        {name: points.layers[name][wrong_last] for name in _at_most(list(points.layers), _MAX_LAYERS)}, points.total,
    )  # fmt: skip
    panels, later = [], []
    for name, h in points.layers.items():
        places, shares = pca(h)
        caption = f"{name}, {h.shape[1]:,} columns: {100 * float(shares[0]):.0f} and {100 * float(shares[1]):.0f} % of the variance"
        panels.append(_scatter(places, points, escape(caption)))
        if with_tsne:
            later.append(_scatter(tsne(h), points, escape(f"{name}: t-SNE")))
    kinds = f"{points.kind}s"
    count = (
        f"{len(points.names):,} of {points.total:,} {kinds}"
        if len(points.names) < points.total
        else f"All {points.total:,} {kinds}"
    )
    note = f"{count}, on the two principal components of what each layer makes of them{f'; {content.chosen}' if content.chosen else ''}."
    legend = _class_legend(points.y.tolist(), class_names, any(_wrong(points.y, points.predicted)))
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
    return f'<p class="note">{note}</p><div class="narrow">{_bars(content.distances, "distances")}</div>'


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
    pictures = "".join(_graph(drawing, start) for drawing, start in zip(drawings, first, strict=True))
    legend, note = "", "Distances in the picture are about the numbers of edges between two nodes."
    if y:
        has_wrong = any(p != label >= 0 for p, label in zip(predicted, y, strict=True))
        legend = f'<div class="legend">{_class_legend(y, class_names, has_wrong)}</div>'
    if drawings[0].centre is not None:
        note = (
            f"The neighbourhoods of some test nodes (ringed), two edges far; of a node at most {_MAX_NEIGHBOURS} neighbours "
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
