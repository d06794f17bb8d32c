"""Every option of every public name refuses what it does not mean, and says which argument got what.

The names are those of docs/reference, their options the arguments annotated with bool, int, float or str. Each of these
names needs a call in CALLS or a reason in WITHOUT_OPTIONS; what a call is given in the place of an option follows from the
annotation, and from OUT_OF_RANGE.
"""

import importlib
import inspect
import math
import re
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gcnlab
from gcnlab import (
    Graph,
    SparseMatrix,
    augment,
    deep,
    image,
    links,
    metrics,
    plot,
    precompute,
    pretraining,
    propagate,
    scale,
    transfer,
)
from gcnlab.data import ImageSet, graph_sets, heterophilous, node_sets, ogb, planetoid, synthetic
from gcnlab.errors import InputError, InputTypeError
from gcnlab.image import grid_graph
from gcnlab.protocols import paired

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
NAN, INF = math.nan, math.inf


def documented():
    """(name, function or class) of each public name, the documented methods of classes included."""
    for page in sorted(REFERENCE.glob("*.md")):
        for name, options in re.findall(r"^::: (\S+)\n((?: {4}.*\n)*)", page.read_text() + "\n", re.MULTILINE):
            if "members: false" in options:
                continue
            thing = gcnlab
            for part in name.split(".")[1:]:
                thing = getattr(thing, part, None) or importlib.import_module(f"{thing.__name__}.{part}")
            chosen = re.search(r"members: \[(.*)\]", options)
            for key, member in members(thing, chosen and chosen[1].split(", ")):
                yield f"{name}{key}", member


def members(thing, chosen=None):
    if inspect.ismodule(thing):
        for key, member in vars(thing).items():
            is_code = inspect.isfunction(member) or inspect.isclass(member)
            is_own = is_code and (member.__module__ == thing.__name__ or key in getattr(thing, "__all__", ()))
            is_public = not key.startswith("_") and not key.endswith("_reference")  # plain forms are for comparison
            if is_own and is_public and member.__doc__ and (chosen is None or key in chosen):
                yield from ((f".{key}{more}", inner) for more, inner in members(member))
        return
    yield "", thing
    if inspect.isclass(thing):
        for key, member in vars(thing).items():
            member = getattr(member, "__func__", member)  # of a class or static method
            if inspect.isfunction(member) and not key.startswith("_") and member.__doc__:
                yield f".{key}", member


# Arguments that are text or a place and not one of a few words, or data that is checked as data.
TEXT = {"name", "names", "path", "folder", "root", "title", "class_names", "device", "target", "parts", "arguments"}


def options_of(function):
    """Argument -> (its kind, whether None is meant), of those that are an option."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of an exception
        return {}
    found = {}
    for p in parameters:
        kinds = p.annotation.split(" | ") if isinstance(p.annotation, str) else []
        kind = " | ".join(kind for kind in kinds if kind != "None")
        if kind in BAD and p.name not in TEXT:
            found[p.name] = kind, "None" in kinds
    return found


BAD = {
    "bool": ["False", "", 1, 0, 1.0, None, [], np.int64(1)],
    "int": [2.5, 2.0, "2", True, [2], NAN, -1, 0, None, 1j, "no such"],
    "float": ["0.5", True, [0.5], NAN, INF, -INF, None, 1j],
    "str": ["no such", "", 7, True, ["max"], None, NAN],
    "str | bool": ["no such", "", "instance", "True", 1, 0, 1.0, []],
    "Sequence[int]": ["12", 5, [], [2.5], [0], [True], ["2"], None, {2, 3}],
    "Shape": ["12", 5, [], [2.5, 2], [0, 6], [True, 6], None, [2, 3, 1]],
    "Sequence[int | None]": ["12", 5, [], [2.5], [0], [True], ["2"], None, {2, 3}],
    "int | Sequence[int]": [2.5, "2", "22", True, 0, [], [2.5, 1], [0, 1], [1], None],
    "Sequence[float]": ["12", 0.5, [], [NAN], ["a"], [True], None],
    "Sequence[str]": ["no such", ["no such"], 5, [1], None, {"mirror": 1}],
    "str | Sequence[str]": ["no such", "", "val_loss", ["no such"], ["loss", 7], 5, [1], {"roc_auc": 1}, True],
}

# (name, argument), or the argument wherever it stands -> further values that are refused
OUT_OF_RANGE = {
    **{key: [-0.1, 1.5, 2, -1, np.float32(1.5)] for key in ("p", "dropout", "input_dropout", "drop_node", "homophily", "mask")},
    **{key: [-0.1, 1.5, 2, -1] for key in ("alpha", "correct_alpha", "smooth_alpha", "mirror")},
    **{key: [0.0, 1.0, -0.1, 1.5, 95] for key in ("train_share", "val_share", "confidence")},
    "ratio": [0.0, 1.5, -0.5],
    **{key: [-1.0, -1e-09] for key in ("eps", "scale", "slack", "signal", "theta", "negative_slope")},
    **{key: [0.0, -1.0] for key in ("sigma", "compactness", "lambda_max", "temperature", "clip_norm")},
    **{key: [1.0, 1.5, -0.1] for key in ("average", "label_smoothing", "val", "test")},
    **{key: [-1.0] for key in ("lr", "weight", "weight_decay")},
    "value": [],  # a loss may be any number
    "published": [-0.1, 1.5, 2, -1],
    "exponent": [2.0, 1.5],
    "degrees": [],  # any finite angle; of a shear below 90
    **{key: [1.0, 1.5, -0.1] for key in ("zoom", "fraction")},
    "shear": [90, -90, 120.0],
    "rotate": [],
    ("gcnlab.augment.shear", "degrees"): [90, -90, 120.0],
    ("gcnlab.deep.pair_norm", "scale"): [0.0, -1.0],
    ("gcnlab.deep.PairNorm", "scale"): [0.0, -1.0],
    ("gcnlab.data.synthetic.csl", "skips"): [[21], [1]],
    ("gcnlab.propagate.ppr_coefficients", "alpha"): [0.0],
    ("gcnlab.GINConv", "eps"): [],  # an ε below 0 is what training may find, too
    ("gcnlab.augment.shift", "size"): [7],
    ("gcnlab.image.grid_graph", "connectivity"): [5, 7, 8.0],
    ("gcnlab.Consistency", "confidence"): [1.0, 1.5, -0.1],
    ("gcnlab.image.knn_graph", "k"): [5],
    **{(name, "split"): [1] for name in ("gcnlab.fit", "gcnlab.Graph.with_split")},
    ("gcnlab.transfer.unfreeze", "depth"): [3],
    ("gcnlab.GraphClassifier", "head_layers"): [3],
    ("gcnlab.GCN.layer", "i"): [2],
    ("gcnlab.plot.feature_maps", "channel"): [4],
    ("gcnlab.data.synthetic.power_law_edges", "num_edges"): [7, 1000],
    ("gcnlab.data.synthetic.power_law_edges", "num_nodes"): [1],
    ("gcnlab.data.ImageSet.holdout", "num"): [4],
    ("gcnlab.scale.partition", "num_parts"): [6],
    ("gcnlab.scale.RandomNodeSampler", "batch_size"): [1],
}  # fmt: skip

# Where 0 is meant, and where numbers below it are.
ZERO = {
    "seed", "num_hops", "num_iterations", "label_hops", "reuse", "channel", "i", "shift", "num_features", "max_degree",
    "num_targets", "down", "right", "restarts", ("gcnlab.fit", "split"), ("gcnlab.Graph.with_split", "split"),
    ("gcnlab.augment.shift", "size"), "warmup", ("gcnlab.SparseMatrix.eye", "size"), ("gcnlab.Graph", "num_duplicates"),
    ("gcnlab.Graph.receptive_field", "num_layers"), ("gcnlab.links.sample_non_edges", "num_pairs"),
    ("gcnlab.data.synthetic.power_law_edges", "num_edges"), ("gcnlab.data.synthetic.write_communities", "num_edges"),
}  # fmt: skip
NEGATIVE = {"down", "right"}
LISTS = {("gcnlab.fit", "seeds"): [[0, 1], [1]], ("gcnlab.plot.feature_maps", "channel"): [0, [1]]}

TRIANGLE = Graph.from_edges([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]], x=torch.ones(3, 2), y=torch.tensor([0, 1, 0]),
                            train_mask=torch.tensor([True, True, False]))  # fmt: skip
A_HAT, X, MASK = TRIANGLE.a_hat, torch.ones(3, 2), torch.tensor([True, True, False])
IDS, GRAPHS = (
    torch.tensor([[0, 1], [1, 0]]),
    gcnlab.GraphCollection.from_graphs([TRIANGLE.replace(train_mask=None, y=torch.tensor(0))] * 2),
)
SIGNALS, IMAGES = torch.ones(2, 6, 1), torch.zeros(4, 2, 3, dtype=torch.uint8)
IMAGE_SET = ImageSet(IMAGES, torch.tensor([0, 1, 0, 1]), IMAGES, torch.tensor([0, 1, 0, 1]))
TRAINED = gcnlab.Signals(IMAGES, torch.tensor([0, 1, 0, 1]))
FOLDS = {"dataset": "a", "protocol": "nested", "seeds": [0], "test_accuracy": {"per_fold": [k / 10 for k in range(10)]}}
CNN = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(2, 2))
HISTORY = gcnlab.History([0], {"val_loss": torch.ones(2, 1)}, torch.tensor([1]), {})


def in_a_new_folder(function):
    def call(**options):
        with tempfile.TemporaryDirectory() as folder:
            function(folder, **options)

    return call


CALLS = {
    "gcnlab.GCNConv": (gcnlab.GCNConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.RelationalGCNConv": (gcnlab.RelationalGCNConv, {"in_channels": 2, "out_channels": 3, "num_relations": 2}),
    "gcnlab.SGConv": (gcnlab.SGConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.APPNP": (gcnlab.APPNP, {}),
    "gcnlab.GCN2Conv": (gcnlab.GCN2Conv, {"channels": 2, "layer": 1}),
    "gcnlab.ChebConv": (gcnlab.ChebConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.SAGEConv": (gcnlab.SAGEConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.GINConv": (gcnlab.GINConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.GATConv": (gcnlab.GATConv, {"in_channels": 2, "out_channels": 3}),
    "gcnlab.dropout": (gcnlab.dropout, {"x": X}),
    "gcnlab.deep.kept_edges": (deep.kept_edges, {"adjacency": TRIANGLE.adjacency, "p": 0.5, "pairs": True}),
    "gcnlab.deep.drop_edge": (deep.drop_edge, {"adjacency": TRIANGLE.adjacency}),
    "gcnlab.deep.drop_node": (deep.drop_node, {"x": X}),
    "gcnlab.deep.pair_norm": (deep.pair_norm, {"h": X}),
    "gcnlab.deep.PairNorm": (deep.PairNorm, {}),
    "gcnlab.GraphNorm": (gcnlab.GraphNorm, {"channels": 2}),
    "gcnlab.deep.JumpingKnowledge": (deep.JumpingKnowledge, {}),
    "gcnlab.propagate.propagate": (propagate.propagate, {"x": X, "a_hat": A_HAT}),
    "gcnlab.propagate.ppr_coefficients": (propagate.ppr_coefficients, {"alpha": 0.5, "num_hops": 2}),
    "gcnlab.propagate.diffusion": (propagate.diffusion, {"s": A_HAT, "coefficients": [0.5, 0.5]}),
    "gcnlab.propagate.label_propagation": (propagate.label_propagation, {"y": TRIANGLE.y, "mask": MASK, "s": A_HAT}),
    "gcnlab.propagate.correct_and_smooth": (
        propagate.correct_and_smooth, {"probabilities": X / 2, "y": TRIANGLE.y, "mask": MASK, "s": A_HAT},
    ),
    "gcnlab.GCN": (gcnlab.GCN, {"in_channels": 2, "hidden_channels": 3, "out_channels": 2}),
    "gcnlab.GCN.forward": (gcnlab.GCN(2, 3, 2), {"x": X, "a_hat": A_HAT}),
    "gcnlab.GCN.layer": (gcnlab.GCN(2, 3, 2).layer, {"i": 0, "h": X, "a_hat": A_HAT}),
    "gcnlab.GraphClassifier": (gcnlab.GraphClassifier, {"in_channels": 2, "hidden_channels": 3, "out_channels": 2}),
    "gcnlab.GridGCN": (gcnlab.GridGCN, {"in_channels": 1, "channels": [2, 3], "num_classes": 2}),
    "gcnlab.GRAND": (gcnlab.GRAND, {"in_channels": 2, "hidden_channels": 3, "out_channels": 2}),
    "gcnlab.SIGN": (gcnlab.SIGN, {"in_channels": [2, 2], "hidden_channels": 3, "out_channels": 2}),
    "gcnlab.NoStructure": (gcnlab.NoStructure, {"in_channels": 2, "hidden_channels": 3, "out_channels": 2}),
    "gcnlab.Readout": (gcnlab.Readout, {}),
    "gcnlab.Readout.width": (gcnlab.Readout().width, {"channels": 3}),
    "gcnlab.TopKPool": (gcnlab.TopKPool, {"in_channels": 2}),
    "gcnlab.image.grid_graph": (lambda shape=2, **options: grid_graph(shape, 3, **options), {}),
    "gcnlab.image.GridOperator": (image.GridOperator, {"grid": grid_graph(2, 3)}),
    "gcnlab.image.to_signals": (image.to_signals, {"images": IMAGES}),
    "gcnlab.image.to_images": (image.to_images, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.image.coarsen": (image.coarsen, {"signals": SIGNALS, "grid": grid_graph(2, 3)}),
    "gcnlab.image.knn_graph": (image.knn_graph, {"points": torch.rand(5, 2), "k": 2}),
    "gcnlab.image.superpixel_graph": (image.superpixel_graph, {"image": torch.rand(8, 8)}),
    "gcnlab.Signals.inputs": (TRAINED.inputs, {"index": torch.arange(2)}),
    "gcnlab.Signals.batches": (lambda **options: list(TRAINED.batches(**options)), {"batch_size": 2}),
    "gcnlab.augment.mirror": (augment.mirror, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.augment.shift": (augment.shift, {"signals": torch.ones(2, 36, 1), "shape": (6, 6)}),
    "gcnlab.augment.erase": (augment.erase, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.augment.mirror_map": (augment.mirror_map, {"shape": (2, 3)}),
    "gcnlab.augment.shift_map": (augment.shift_map, {"shape": (2, 3), "down": 1, "right": 1}),
    "gcnlab.augment.rotate": (augment.rotate, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.augment.shear": (augment.shear, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.augment.zoom": (augment.zoom, {"signals": SIGNALS, "shape": (2, 3)}),
    "gcnlab.augment.interpolate": (
        augment.interpolate, {"signals": SIGNALS, "shape": (2, 3), "matrix": torch.eye(2).expand(2, 2, 2)},
    ),
    "gcnlab.augment.Augment": (augment.Augment, {"kinds": ["mirror"]}),
    "gcnlab.scale.Sampler": (scale.Sampler, {"graph": TRIANGLE, "batch_size": 2}),
    "gcnlab.scale.Sampler.num_batches": (scale.Sampler(TRIANGLE, 2).num_batches, {"num_targets": 3}),
    "gcnlab.scale.NeighborSampler": (scale.NeighborSampler, {"graph": TRIANGLE}),
    "gcnlab.scale.RandomNodeSampler": (scale.RandomNodeSampler, {"graph": TRIANGLE}),
    "gcnlab.scale.ClusterSampler": (scale.ClusterSampler, {"graph": TRIANGLE, "parts": torch.tensor([0, 1, 0])}),
    "gcnlab.scale.predict_in_batches": (
        scale.predict_in_batches,
        {"model": gcnlab.GCN(2, 3, 2).eval(), "graph": TRIANGLE, "nodes": None, "operator": None, "batch_size": 2},
    ),
    "gcnlab.scale.partition": (scale.partition, {"graph": TRIANGLE, "num_parts": 2}),
    "gcnlab.precompute.hops": (precompute.hops, {"x": X, "s": A_HAT, "num_hops": 1}),
    "gcnlab.precompute.NodeRows": (precompute.NodeRows, {"graph": TRIANGLE, "features": [X], "label_hops": 1}),
    "gcnlab.precompute.plan": (
        precompute.plan,
        {
            "model": gcnlab.SIGN([2, 2], 3, 2), "num_hops": 1, "label_hops": 0, "reuse": 0, "batch_size": 2,
            "counts": {"nodes": 9, "listed_edges": 9, "features": 2, "classes": 2, "train": 4, "val": 2},
        },
    ),
    "gcnlab.metrics.confusion_matrix": (metrics.confusion_matrix, {"scores": TRIANGLE.y, "y": TRIANGLE.y}),
    "gcnlab.metrics.per_class_accuracy": (metrics.per_class_accuracy, {"scores": TRIANGLE.y, "y": TRIANGLE.y}),
    "gcnlab.data.ImageSet.grid": (IMAGE_SET.grid, {}),
    "gcnlab.image.superpixel_collection": (
        image.superpixel_collection, {"images": torch.rand(2, 8, 8), "y": [0, 1], "num_segments": 4},
    ),
    "gcnlab.metrics.macro_f1": (metrics.macro_f1, {"scores": TRIANGLE.y, "y": TRIANGLE.y}),
    "gcnlab.metrics.class_weights": (metrics.class_weights, {"y": TRIANGLE.y, "num_classes": 2}),
    "gcnlab.metrics.calibration_error": (metrics.calibration_error, {"scores": torch.eye(2), "y": torch.tensor([0, 1])}),
    "gcnlab.transfer.unfreeze": (transfer.unfreeze, {"model": CNN}),
    "gcnlab.transfer.replace_head": (transfer.replace_head, {"model": CNN, "num_classes": 2}),
    "gcnlab.protocols.paired": (paired, {"a": FOLDS, "b": FOLDS}),
    "gcnlab.plot.mean_curve": (plot.mean_curve, {"history": HISTORY, "metric": "val_loss"}),
    "gcnlab.plot.accuracies": (plot.accuracies, {"values": {"a": [0.5, 0.75]}, "published": 0.6}),
    "gcnlab.plot.feature_maps": (plot.feature_maps, {"model": CNN[:1], "images": torch.rand(2, 8, 8)}),
    "gcnlab.plot.samples": (plot.samples, {"images": IMAGES, "labels": [0, 1, 0, 1]}),
    "gcnlab.plot.mistakes": (plot.mistakes, {"images": IMAGES, "labels": [0, 1, 0, 1], "logits": torch.eye(4)[:, :2]}),
    "gcnlab.load": (gcnlab.load, {"name": "karate"}),
    "gcnlab.data.ImageSet": (
        ImageSet, {f"{part}_{kind}": getattr(IMAGE_SET, f"{part}_{kind}")
                   for part in ("train", "test") for kind in ("images", "labels")},
    ),
    "gcnlab.data.ImageSet.holdout": (IMAGE_SET.holdout, {"num": 2}),
    "gcnlab.data.planetoid.to_graph": (planetoid.check_options, {}),
    "gcnlab.data.node_sets.to_graph": (node_sets.check_options, {}),
    "gcnlab.data.heterophilous.to_graph": (heterophilous.check_options, {}),
    "gcnlab.data.graph_sets.to_graph": (graph_sets.check_options, {"features": "degree"}),
    "gcnlab.data.ogb.to_graph": (ogb.check_options, {}),
    "gcnlab.data.synthetic.csl": (synthetic.csl, {"num_copies": 1}),
    "gcnlab.data.synthetic.power_law_edges": (synthetic.power_law_edges, {"num_nodes": 20, "num_edges": 10}),
    "gcnlab.data.synthetic.write_communities": (
        in_a_new_folder(synthetic.write_communities), {"num_nodes": 20, "num_edges": 10},
    ),
    "gcnlab.distributed.launch": (
        lambda **options: gcnlab.distributed.launch(["-c", "pass"], **options), {"nproc": 1, "device": "cpu"},
    ),
    "gcnlab.SparseMatrix.from_coo": (SparseMatrix.from_coo, {"row": IDS[0], "col": IDS[1], "shape": (2, 2)}),
    "gcnlab.SparseMatrix.from_edges": (SparseMatrix.from_edges, {"edge_index": IDS}),
    "gcnlab.SparseMatrix.from_scipy": (SparseMatrix.from_scipy, {"matrix": A_HAT.to_scipy()}),
    "gcnlab.SparseMatrix.from_dense": (SparseMatrix.from_dense, {"matrix": X}),
    "gcnlab.SparseMatrix.from_torch": (SparseMatrix.from_torch, {"matrix": X.to_sparse()}),
    "gcnlab.SparseMatrix.eye": (SparseMatrix.eye, {"size": 2}),
    "gcnlab.SparseMatrix.with_self_loops": (A_HAT.with_self_loops, {}),
    "gcnlab.Graph": (Graph, {"adjacency": A_HAT}),
    "gcnlab.Graph.from_edges": (Graph.from_edges, {"edge_index": IDS}),
    "gcnlab.Graph.from_mesh": (Graph.from_mesh, {"vertices": torch.eye(3), "faces": [[0, 1, 2]]}),
    "gcnlab.Graph.with_features": (TRIANGLE.with_features, {"kind": "degree"}),
    "gcnlab.Graph.normalize": (TRIANGLE.normalize, {}),
    "gcnlab.Graph.l_tilde": (TRIANGLE.l_tilde, {}),
    "gcnlab.Graph.receptive_field": (TRIANGLE.receptive_field, {"nodes": MASK, "num_layers": 2}),
    "gcnlab.GraphLoader": (gcnlab.GraphLoader, {"graphs": GRAPHS}),
    "gcnlab.GraphCollection.with_features": (GRAPHS.with_features, {"kind": "degree"}),
    "gcnlab.GraphCollection.unfolded": (GRAPHS.unfolded, {"num_layers": 2}),
    "gcnlab.GraphCollection.is_worth_unfolding": (GRAPHS.is_worth_unfolding, {"num_layers": 2, "batch_size": 2}),
    "gcnlab.Graph.with_split": (TRIANGLE.with_split, {"split": 0}),
    "gcnlab.split": (gcnlab.split, {"graph": Graph.from_edges(IDS, 9, y=torch.arange(9) % 2), "kind": "random-60-20-20"}),
    "gcnlab.links.split_edges": (links.split_edges, {"graph": TRIANGLE, "val": 0.0, "test": 0.0}),
    "gcnlab.links.sample_non_edges": (links.sample_non_edges, {"graph": Graph.from_edges(IDS, 5), "num_pairs": 1}),
    "gcnlab.links.LinkHead": (links.LinkHead, {}),
    "gcnlab.links.hits_at_k": (links.hits_at_k, {"positive": X[0], "negative": X[0], "k": 1}),
    "gcnlab.fit": (
        lambda **options: gcnlab.fit(
            gcnlab.GCN(2, 3, 2) if options.get("seeds") is None else lambda: gcnlab.GCN(2, 3, 2), TRIANGLE, **options
        ),
        {"select": "last", "epochs": 1, "progress": False},
    ),
    "gcnlab.pretraining.pretrain": (
        pretraining.pretrain, {"model": gcnlab.GCN(2, 3, 2), "graph": TRIANGLE, "epochs": 1, "mask": 0.5},
    ),
    "gcnlab.predict": (gcnlab.predict, {"model": gcnlab.GCN(2, 3, 2), "data": TRIANGLE, "batch_size": 2}),
    "gcnlab.History.state": (HISTORY.state, {"i": 0}),
    "gcnlab.History.best": (HISTORY.best, {"metric": "val_loss"}),
    "gcnlab.EarlyStopping": (gcnlab.EarlyStopping, {"patience": 2}),
    "gcnlab.StopAt": (gcnlab.StopAt, {"metric": "val_loss", "value": 0.5}),
    "gcnlab.Checkpoint": (gcnlab.Checkpoint, {"path": "a"}),
    "gcnlab.Consistency": (gcnlab.Consistency, {}),
    "gcnlab.Adam": (gcnlab.Adam, {"params": [nn.Parameter(X.clone())]}),
}  # fmt: skip

# What has arguments of these kinds that are no options.
WITHOUT_OPTIONS = {
    "gcnlab.errors": "an error is made by gcnlab, of what it found",
    "gcnlab.Callback": "its methods are called by fit, with what they need",
    "gcnlab.Consistency.loss": "called by fit",
    "gcnlab.History": "what fit returns",
    "gcnlab.precompute.Plan": "what plan returns",
    "gcnlab.SparseMatrix": "of parts that are known to be right; the doors are its class methods",
    "gcnlab.image.Grid": "made by grid_graph; the arguments are those of Graph",
    "gcnlab.scale.Subgraph": "made by a sampler; the arguments are those of Graph",
    "gcnlab.GraphBatch": "made by batch; the arguments are those of Graph",
    "gcnlab.Graph.from_networkx": "the options are names of attributes",
    "gcnlab.Graph.from_pandas": "the options are names of columns, but for directed; test_doors",
    "gcnlab.Graph.matrix": "the option is a kind, which a regular expression describes; test_graph",
    "gcnlab.Graph.of_parts": "of parts that are known to fit; the doors are Graph and its other class methods",
    "gcnlab.Graph.check_edges_are_all": "the argument is what its error calls the method",
    "gcnlab.Graph.open": "needs a saved graph; test_storage",
    "gcnlab.TensorBoard": "the option is the name of a folder; test_tensorboard",
    "gcnlab.data.folds": "needs a set of graphs; test_collections",
    "gcnlab.data.nested_folds": "needs a set of graphs; test_collections",
    "gcnlab.distributed.processes": "needs processes; test_distributed",
}


# What else must be given where an option is.
NEEDED = {
    ("gcnlab.links.LinkHead", "hidden_channels"): {"in_channels": 2},
}

# The documented words, where there are several.
WORDS = {
    ("gcnlab.GCN", "norm"): [None, "batch", "layer", "graph", "pair", False, True],
    ("gcnlab.GCN", "jumping_knowledge"): [None, "cat", "max"],
    ("gcnlab.data.synthetic.csl", "skips"): [(2, 3)],
    ("gcnlab.GINConv", "norm"): [None, "batch"],
    ("gcnlab.GraphClassifier", "norm"): [None, "batch", "graph"],
    ("gcnlab.GraphLoader", "kind"): ["a_hat", "adjacency"],
    ("gcnlab.GraphClassifier", "jumping_knowledge"): ["last", "cat"],
    ("gcnlab.GraphClassifier", "head_layers"): [1, 2],
    ("gcnlab.GridGCN", "conv"): ["relational", "isotropic"],
    "readout": ["mean", "sum", "max", "mean+max+sum", "attention", "set2set", "sort"],
    ("gcnlab.Readout", "kind"): ["mean", "sum", "max", "mean+max", "sort"],
    ("gcnlab.deep.JumpingKnowledge", "kind"): ["cat", "max"],
    "combine": ["cat", "sum"],
    "aggregate": ["mean", "max", np.str_("mean")],
    ("gcnlab.image.grid_graph", "connectivity"): [None, 4, 8, np.int64(8)],
    ("gcnlab.image.superpixel_graph", "connectivity"): [4, 8, np.int64(8)],
    ("gcnlab.data.ImageSet.grid", "connectivity"): [None, 4, 8],
    ("gcnlab.plot.feature_maps", "channel"): [0, 1],
    ("gcnlab.image.GridOperator", "norm"): ["sym", None],
    ("gcnlab.image.to_signals", "channels"): [None, "none"],
    ("gcnlab.image.to_images", "channels"): ["last", "first", "none"],
    ("gcnlab.image.coarsen", "kind"): ["max", "mean"],
    "symmetry": ["union", "mutual", None],
    ("gcnlab.image.knn_graph", "weight"): ["binary", "gaussian"],
    "kinds": [["mirror", "shift", "erase", "rotate", "shear", "zoom"], ("zoom",), "mirror", []],
    "augmentations": [(), ("mirror", "shift"), ["zoom"]],
    ("gcnlab.data.planetoid.to_graph", "split"): ["public", "random", "full"],
    ("gcnlab.data.node_sets.to_graph", "split"): ["random", None],
    ("gcnlab.data.heterophilous.to_graph", "split"): ["given", "random", None],
    ("gcnlab.data.graph_sets.to_graph", "features"): [
        None, "label", "attributes", "degree", "degree_bins", "log_degree", "scalar_degree", "constant",
    ],
    ("gcnlab.data.ogb.to_graph", "features"): ["values", "one_hot"],
    ("gcnlab.plot.mean_curve", "metric"): ["val_loss"],
    ("gcnlab.plot.accuracies", "metric"): ["accuracy", "roc_auc", "average_precision", "macro_f1"],
    ("gcnlab.plot.feature_maps", "layers"): [None, ["0"]],
    "duplicates": ["sum", "first"],
    ("gcnlab.SparseMatrix.with_self_loops", "mode"): ["fill", "add", None],
    ("gcnlab.Graph.from_mesh", "features"): ["coordinates", "normals", "coordinates+normals"],
    ("gcnlab.Graph.from_mesh", "weight"): [None, "length"],
    ("gcnlab.GraphCollection.with_features", "kind"): ["degree", "constant"],
    ("gcnlab.Graph.with_features", "kind"): ["identity", "adjacency", "degree", "constant"],
    ("gcnlab.Graph.normalize", "self_loops"): ["fill", "add", None],
    ("gcnlab.Graph.normalize", "norm"): ["sym", "rw", None],
    ("gcnlab.split", "kind"): ["random-60-20-20"],
    "precision": ["float32", "bfloat16"],
    "metrics": ["macro_f1", "loss", ["roc_auc", "macro_f1"], ("average_precision", "accuracy"), []],
    "select": ["last", "train_loss", "train_roc_auc"],
    ("gcnlab.EarlyStopping", "monitor"): ["val_loss", "val_accuracy", "train_loss", "train_accuracy", "val_r2"],
    ("gcnlab.StopAt", "metric"): ["val_loss", "val_accuracy", "train_loss", "train_accuracy", "train_mae"],
    ("gcnlab.History.best", "metric"): ["val_loss"],
    ("gcnlab.GridGCN", "channels"): [[4], (4, 8), np.array([4, 8])],
    ("gcnlab.GridGCN", "num_layers"): [2, np.int64(2), [1, 2], (1, 2)],
    ("gcnlab.SIGN", "in_channels"): [[4], (4, 8), np.array([4, 8])],
    "coefficients": [[1], (0.5, 0.5), np.array([0.5, 0.5]), torch.tensor([0.5, 0.5])],
    "fan_outs": [[1], (2, None), [None, np.int64(2)]],
    "shape": [],
    "seeds": [1, [3], (0, 2)],
    ("gcnlab.fit", "cuda_graph"): [False],
    **{("gcnlab.precompute.plan", argument): [] for argument in ("num_hops", "label_hops", "reuse", "batch_size")},
}  # fmt: skip
PROBABILITIES = {
    "p",
    "dropout",
    "input_dropout",
    "drop_node",
    "homophily",
    "mask",
    "correct_alpha",
    "smooth_alpha",
    "mirror",
}


DOCUMENTED = dict(documented())
# name -> {argument: (kind, whether None is meant)}, of those with a call
OPTIONS = {name: found for name, function in DOCUMENTED.items() if name in CALLS and (found := options_of(function))}


def of(table, name, argument, otherwise):
    return table.get((name, argument), table.get(argument, otherwise))


def refused(name, argument, kind, may_be_none):
    """Values that this option does not mean."""
    for value in BAD[kind]:
        is_integer = kind in ("int", "float") and type(value) is int
        if value is None and may_be_none:
            continue
        if is_integer and value == 0 and ((name, argument) in ZERO or argument in ZERO):
            continue
        if is_integer and value < 0 and argument in NEGATIVE:
            continue
        if value is not False and value in LISTS.get((name, argument), []):
            continue
        yield value
    yield from of(OUT_OF_RANGE, name, argument, [])


def meant(name, argument, kind, may_be_none, usual):
    """Values that it does mean, `usual` among them."""
    yield from of(WORDS, name, argument, [])
    is_listed = of(WORDS, name, argument, None) is not None
    if kind == "bool" and not is_listed:
        yield from (True, False)
    if kind == "int" and isinstance(usual, int) and not is_listed:
        yield from (usual, np.int64(usual), np.int32(usual))
    if kind == "float" and isinstance(usual, float):
        yield from (usual, np.float32(usual), np.float64(usual))
    if argument in PROBABILITIES:
        yield from (0, 1, 0.0, 1.0, np.float16(0.5), Fraction(1, 2))
    if may_be_none:
        yield None


@pytest.mark.parametrize("name", OPTIONS)
def test_what_an_option_does_not_mean_is_refused(name):
    function, arguments = CALLS[name]
    wrong = []
    for argument, kind in OPTIONS[name].items():
        for value in refused(name, argument, *kind):
            try:
                function(**{**arguments, argument: value})
                wrong.append((argument, value, "is taken"))
            except (InputError, InputTypeError) as error:
                parts = value if isinstance(value, list) else []  # of which the message may name one
                is_named = any(text in str(error) for text in (repr(value), str(value), *map(repr, parts)))
                if argument not in str(error) or not is_named:
                    wrong.append((argument, value, str(error)))
            except Exception as error:
                wrong.append((argument, value, repr(error)))
    assert wrong == []


@pytest.mark.parametrize("name", OPTIONS)
def test_what_an_option_means_is_taken(name):
    function, arguments = CALLS[name]
    function(**arguments)
    defaults = {p.name: p.default for p in inspect.signature(DOCUMENTED[name]).parameters.values()}
    for argument, kind in OPTIONS[name].items():
        for value in meant(name, argument, *kind, arguments.get(argument, defaults.get(argument))):
            needed = NEEDED.get((name, argument), {}) if value is not None else {}
            function(**{**arguments, **needed, argument: value})


def test_every_public_name_with_options_is_in_the_table():
    missing = [
        name
        for name, function in DOCUMENTED.items()
        if options_of(function)
        and name not in CALLS
        and not any(name == other or name.startswith(f"{other}.") for other in WITHOUT_OPTIONS)
    ]
    assert missing == []
    assert set(CALLS) == set(OPTIONS)
    for name, options in OPTIONS.items():
        for argument, (kind, _) in options.items():
            table = OUT_OF_RANGE if kind == "float" else WORDS if "str" in kind or "Sequence" in kind else None
            assert table is None or argument in table or (name, argument) in table, f"{name}: {argument}"


def test_the_documented_names_are_found():
    assert {"gcnlab.GCN", "gcnlab.Signals.batches", "gcnlab.image.knn_graph", "gcnlab.plot.samples"} <= set(DOCUMENTED)
    assert len(DOCUMENTED) > 200
