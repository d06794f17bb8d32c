"""Facts about a trained model for the report of a run: embeddings by layer, distances of nodes, graphs, feature maps."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import plot
from ..generators import generators_kept
from ..graph import Graph, GraphCollection
from ..image import Signals
from ..layers import Readout
from ..metrics import mean_average_distance
from ..precompute import NodeRows
from ..sparse import Features, SparseMatrix
from ..sparse.features import select_rows
from ..trace import run_once
from ..train import History

MAX_NODES, MAX_GRAPHS, MAX_IMAGES = 3000, 1000, 500  # points of a picture; larger sets are sampled at random
MAX_NEIGHBOURS = 6  # drawn per node
_MAX_WIDE = 60_000_000  # entries of the points' features; more are left out
WHOLE_GRAPH = 150  # nodes; a graph up to this size is drawn whole
_NEIGHBOURHOOD = 40  # nodes drawn around one node
_NUM_DRAWINGS = 6
_MAX_MEASURED = 50  # graphs or images in which the distances of nodes are measured
_NUM_MAPS = 5  # images whose feature maps are shown


@dataclass
class Points:
    """The nodes, graphs or images that are shown, and where each layer puts them.

    Attributes:
        kind: "node", "graph" or "image".
        names: one per point.
        y: classes, int64 [num_points], -1 if unknown.
        predicted: int64 [num_points], or None.
        layers: name -> [num_points, C], from the features to the output.
        total: size of the set that the points were sampled from.
    """

    kind: str
    names: Sequence[Any]
    y: Tensor
    predicted: Tensor | None
    layers: dict[str, Tensor]
    total: int


@dataclass
class Drawing:
    """A graph, or a part of one, to be drawn.

    Attributes:
        caption: below it.
        names: one per node.
        y, predicted: classes of the nodes; None if they have none.
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
    """What the report of a run shows beside the result; an empty field has no section.

    Attributes:
        facts: name -> text: how the model was trained and on what.
        class_names: one per class.
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
# Nodes, graphs, images
# --------------------------------------------------------------------------------------------------------------------


def add_nodes(
    content: Content, model: nn.Module, data: Graph | NodeRows, operator: SparseMatrix | None, predicted: Tensor
) -> None:
    """Add the embedding of nodes by layer, the distances of nodes, and the graph, or neighbourhoods if it is large.

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
    """Add some of the graphs, and with a trained model also their embedding by layer and the distances of nodes.

    Args:
        content: gets them.
        graphs: the whole set.
        model: trained, in evaluation mode; None if each fold had its own.
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
    """Add the embedding of images by layer, the distances of the nodes of an image, and feature maps.

    Args:
        content: gets them.
        model: trained, in evaluation mode.
        signals: the images that are shown, the first ones of the test set.
        total: the number of test images.
        predicted: classes of the images that are shown, int64 [num_images].
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
        if h.shape[2] > 1  # with one channel all nodes point the same way
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
    """Whether X is the identity matrix, in which there is nothing to see."""
    if not isinstance(x, SparseMatrix) or x.shape[0] != x.shape[1] or x.nnz != x.shape[0]:
        return False
    return bool((x.row == x.col).all())


def _sample(total: int, most: int) -> Tensor:
    """Ids, increasing; drawn by a generator of its own, so that no training draws other numbers because of it."""
    if total <= most:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _some(h: Features, rows: Tensor | None) -> Tensor:
    """Dense rows of h; an h with as many rows as are asked for has been cut already."""
    part = h if rows is None or h.shape[0] == len(rows) else select_rows(h, rows)
    return (part.to_dense() if isinstance(part, SparseMatrix) else part).detach().float().cpu()


def _trace(
    model: nn.Module, arguments: tuple[Any, ...], rows: Tensor | None = None, x: Any = None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """(inputs of each layer but x, outputs of each readout, the output) of one forward, at some rows.

    In evaluation mode a layer's input is the output of the layer before it, after its norm, residual and relu; an input
    of two layers counts once. Layers are known by the names of their classes, so that anyone's layers count.
    """
    modules = dict(model.named_modules())
    named = [
        name
        for name, module in modules.items()
        if "Conv" in type(module).__name__ or isinstance(module, (nn.Linear, Readout))
    ]
    outer = [name for name in named if not any(name.startswith(f"{other}.") for other in named)]
    layers = {modules[name] for name in outer}
    seen = [x]  # kept, so that no later tensor takes the place in memory of one of them

    def entering(module: nn.Module, inputs: tuple[Any, ...]) -> Tensor | None:
        if module not in layers or any(inputs[0] is other for other in seen):
            return None
        seen.append(inputs[0])
        return _some(inputs[0], rows)

    def read_out(module: nn.Module, output: Any) -> Tensor | None:
        return _some(output, rows) if isinstance(module, Readout) else None

    watched = layers | {module for module in modules.values() if isinstance(module, Readout)}
    calls, output = run_once(model, arguments, watched, entering, read_out)
    entered = [call.inputs for call in calls if call.inputs is not None]
    return entered, [call.output for call in calls if call.output is not None], _some(output, rows)


def _mixed(among: Tensor, y: Tensor, predicted: Tensor | None) -> list[int]:
    """Some ids: up to half of them predicted wrongly; without predictions, from each class in turn."""
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

    if graph.num_nodes <= WHOLE_GRAPH:
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
    """The node first, then its neighbours and theirs, with a limit per node and in total."""
    found, border = [centre], [centre]
    for _ in range(2):
        reached: list[int] = []
        for i in border:
            start, end = graph.adjacency.rowptr[i : i + 2].tolist()
            new = [j for j in graph.adjacency.col[start:end].tolist() if j not in found]
            new = new[: min(MAX_NEIGHBOURS, _NEIGHBOURHOOD - len(found))]
            found, reached = found + new, reached + new
        border = reached
    return found


def _edges(graph: Graph, nodes: list[int]) -> list[tuple[int, int]]:
    """The edges between the nodes as pairs of positions, each once, without loops."""
    rows = graph.adjacency.select_rows(torch.tensor(nodes, device=graph.device))
    place = {node: i for i, node in enumerate(nodes)}
    pairs = [(i, place.get(j, i)) for i, j in zip(rows.row.tolist(), rows.col.tolist(), strict=True)]
    return sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


def wrong(y: Tensor, predicted: Tensor | None) -> list[bool]:
    return [False] * len(y) if predicted is None else ((y >= 0) & (predicted != y)).tolist()


# --------------------------------------------------------------------------------------------------------------------
# Places in the plane
# --------------------------------------------------------------------------------------------------------------------


@generators_kept(0)  # its start is random: every call starts alike, and the caller's draws stay as they were
def pca(h: Tensor) -> tuple[Tensor, Tensor]:
    """The first two principal components, and their shares of the variance.

        H - 1 m^T = U S V^T,   places: the first two columns of U S,   shares: s_k^2 / sum_i s_i^2

    Exact where h has at most 64 rows or columns, else by subspace iteration (Halko et al. 2011, algorithm 4.4). The sign
    of a component is chosen such that its largest entry is positive.

    Args:
        h: [num_points, C].

    Returns:
        places [num_points, 2], shares [2], fractions.

    >>> places, shares = pca(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    >>> places[:, 0].round().int().tolist(), f"{float(shares[0]):.2f}"
    ([-2, 0, 2], '1.00')
    """
    h = h.double() if h.shape[1] <= 64 else h.float()
    centred = h - h.mean(0)
    u, s, _ = torch.pca_lowrank(centred, min(64, *h.shape), center=False, niter=4)
    places, variances = (F.pad(part.double(), (0, 1))[..., :2] for part in (u * s, s.square()))
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    shares = variances / max(float(centred.square().sum()), 1e-30)
    return places * torch.where(largest < 0, -1.0, 1.0), shares


@generators_kept()  # importing scikit-learn may draw from Python's
def tsne(h: Tensor) -> Tensor:
    """Places [num_points, 2] by t-SNE (van der Maaten & Hinton 2008) of scikit-learn: neighbours stay neighbours.

    As in the paper, wide h is first reduced to principal components, here 50.

    Args:
        h: [num_points, C], at least 4 points.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = (h.double() - h.double().mean(0)).numpy()
    if min(values.shape) > 50:
        values = PCA(50, svd_solver="randomized", random_state=0).fit_transform(values)
    init = "pca" if min(values.shape) > 1 else "random"
    estimator = TSNE(perplexity=min(30.0, (len(values) - 1) / 3), init=init, random_state=0)
    return torch.from_numpy(estimator.fit_transform(values))


def layout(drawing: Drawing) -> list[tuple[float, float]]:
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
