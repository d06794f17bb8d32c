"""The table of recipes: what is trained on what, and the figure that was published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import InputError, did_you_mean
from ..protocols import Settings
from ..train import Consistency
from .base import AnyRecipe
from .graphs import ForestRecipe, GraphRecipe
from .images import grid_recipe
from .nodes import ClassicRecipe, DiffusionRecipe, HopRecipe, MaskedRecipe, Recipe

_KIPF = "Kipf & Welling 2017, table 2"


_GRAND_GCN = "GRAND's training of a GCN, Feng et al. 2020, ablation"


_LUO = "GCN of tunedGNN, Luo et al. 2024"


_GRAND_PLUS = "GRAND+, Feng et al. 2022"


_OGB_GCN, _OGB_MLP = "GCN, OGB's leaderboard, Hu et al. 2020", "MLP + C&S, OGB's leaderboard, Huang et al. 2021"


_PLANETOID = ("public", "random", "full")


RECIPES: dict[str, AnyRecipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cora-gcn", "cora", _PLANETOID, {("cora", "public"): (0.815, _KIPF), ("cora", "random"): (0.801, _KIPF)}
        ),
        Recipe(
            "citeseer-gcn",
            "citeseer",
            _PLANETOID,
            {("citeseer", "public"): (0.703, _KIPF), ("citeseer", "random"): (0.679, _KIPF)},
        ),
        Recipe(
            "pubmed-gcn",
            "pubmed",
            _PLANETOID,
            {("pubmed", "public"): (0.790, _KIPF), ("pubmed", "random"): (0.789, _KIPF)},
        ),
        # Kipf & Welling's layers; only their training is another.
        Recipe(
            "cora-gcn-plus", "cora", ("public", "random"), {("cora", "public"): (0.845, _GRAND_GCN)}, num_seeds=20,
            epochs=800, patience=None, drop_node=0.5, average=0.99,
            consistency=Consistency(4, weight=3.0, temperature=0.2, confidence=0.3, warmup=500),
        ),
        # The validation nodes of random splits and of the fixed one chose these two.
        DiffusionRecipe(
            "cora-best", "cora", ("public", "random"), {("cora", "public"): (0.858, _GRAND_PLUS)}, num_seeds=20,
            hidden_channels=32, epochs=800, weight_decay=5e-4, patience=None, drop_node=0.5, average=0.99, alpha=None,
            top_k=128, consistency=Consistency(4, weight=3.0, temperature=0.2, confidence=0.3, warmup=500, num_nodes=500),
        ),
        DiffusionRecipe(
            "citeseer-best", "citeseer", ("public", "random"), {("citeseer", "public"): (0.756, _GRAND_PLUS)},
            num_seeds=20, hidden_channels=32, epochs=400, weight_decay=5e-4, patience=None, input_dropout=0.0,
            dropout=0.2, drop_node=0.5, average=0.99, alpha=0.3, num_hops=4,
            consistency=Consistency(4, weight=1.5, temperature=0.2, confidence=0.3, warmup=300),
        ),
        # The validation nodes of the random splits 1000 to 1039 chose this one.
        MaskedRecipe(
            "pubmed-best", "pubmed", ("random", "public"), {("pubmed", "public"): (0.845, _GRAND_PLUS)}, num_seeds=20,
            lr=0.05, weight_decay=0.3,
        ),
        Recipe("facebook-gcn", "facebook", ("random-60-20-20",), num_seeds=10),
        Recipe(
            "blogcatalog-gcn", "blogcatalog", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=400,
            weight_decay=0.0, patience=50, scaled_rows=False,
        ),
        # The validation nodes of two of the splits chose these.
        Recipe(
            "facebook-sampled", "facebook", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=30,
            weight_decay=0.0, scaled_rows=False, fan_outs=(10, 10), batch_size=1024,
        ),
        Recipe(
            "facebook-best", "facebook", ("random-60-20-20",), num_seeds=10, hidden_channels=64, weight_decay=0.0,
            patience=50, scaled_rows=False,
        ),
        DiffusionRecipe(
            "blogcatalog-best", "blogcatalog", ("random-60-20-20",), num_seeds=10, hidden_channels=64, epochs=100,
            weight_decay=5e-4, patience=None, drop_node=0.5, alpha=0.7, num_hops=4, top_k=128, scaled_rows=False,
        ),
        # OGB's example of a GCN: its hyperparameters, and the weights of the best validation accuracy.
        Recipe(
            "arxiv-gcn", "ogbn-arxiv", ("ogb",), {("ogbn-arxiv", "ogb"): (0.7174, _OGB_GCN)}, num_seeds=10,
            hidden_channels=256, num_layers=3, epochs=500, weight_decay=0.0, patience=500, scaled_rows=False, batch_norm=True,
            input_dropout=0.0,
        ),
        HopRecipe(
            "arxiv-diffusion", "ogbn-arxiv", ("ogb",), {("ogbn-arxiv", "ogb"): (0.7312, _OGB_MLP)}, num_seeds=10,
            hidden_channels=256, num_layers=3, epochs=200, lr=0.003, weight_decay=0.0, patience=50, scaled_rows=False,
            input_dropout=0.1, batch_size=4096,
        ),
        # Luo et al.'s own settings, on their own splits: all parts of the weights with L2, no early stopping, and the
        # epoch of the best validation metric.
        ClassicRecipe(
            "photo-classic", "amazon-photo", ("tunedgnn", "random-60-20-20"), {("amazon-photo", "tunedgnn"): (0.9610, _LUO)},
            hidden_channels=256, num_layers=6, dropout=0.5, residual=True, lr=1e-3, weight_decay=5e-5, epochs=1000,
        ),
        ClassicRecipe(
            "computers-classic", "amazon-computers", ("tunedgnn", "random-60-20-20"),
            {("amazon-computers", "tunedgnn"): (0.9399, _LUO)},
            hidden_channels=512, num_layers=3, dropout=0.5, lr=1e-3, weight_decay=5e-5, epochs=1000,
        ),
        ClassicRecipe(
            "cs-classic", "coauthor-cs", ("tunedgnn", "random-60-20-20"), {("coauthor-cs", "tunedgnn"): (0.9617, _LUO)},
            hidden_channels=512, num_layers=2, dropout=0.3, residual=True, lr=1e-3, weight_decay=5e-4, epochs=1500, patience=200,
        ),
        ClassicRecipe(
            "chameleon-classic", "chameleon-filtered", ("given",), {("chameleon-filtered", "given"): (0.4629, _LUO)},
            hidden_channels=512, num_layers=5, dropout=0.2, norm=None, lr=5e-3, weight_decay=1e-3, epochs=200, scaled_rows=False,
        ),
        ClassicRecipe(
            "minesweeper-classic", "minesweeper", ("given",), {("minesweeper", "given"): (0.9786, _LUO)}, metric="roc_auc",
            hidden_channels=64, num_layers=12, dropout=0.2, norm="batch", residual=True, lr=0.01, weight_decay=0.0,
            epochs=2000, scaled_rows=False,
        ),
        Recipe("karate-gcn", "karate", ("leaders",), num_seeds=20, weight_decay={}, patience=50),
    )
}  # fmt: skip


# The same block on sets that Luo et al. leave out. The validation nodes of two to ten random splits from seed 1000 on, or of the
# set's own, chose among four to twelve settings each.
_others: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("texas", "texas", "given", {"residual": True, "dropout": 0.8, "weight_decay": 5e-3}),
    ("cornell", "cornell", "given", {"residual": True, "num_layers": 1}),
    ("actor", "actor", "given", {"residual": True, "dropout": 0.8, "weight_decay": 5e-3}),
    ("chameleon-full", "chameleon", "given", {"norm": "batch"}),
    ("reed98", "reed98", "random-60-20-20", {"norm": "batch"}),
    ("amherst41", "amherst41", "random-60-20-20", {"norm": "batch"}),
    ("johns-hopkins55", "johns-hopkins55", "random-60-20-20", {"norm": "batch"}),
    ("brazil-airports", "brazil-airports", "random-60-20-20", {"residual": True, "features": "degree_bins"}),
    ("europe-airports", "europe-airports", "random-60-20-20", {"norm": "batch", "residual": True, "conv": "GINConv", "features": "degree_bins"}),
)  # fmt: skip
for _name, _dataset, _protocol, _changes in _others:
    RECIPES[f"{_name}-classic"] = ClassicRecipe(
        f"{_name}-classic", _dataset, (_protocol,),
        **{
            "hidden_channels": 128, "lr": 5e-3, "weight_decay": 5e-4, "epochs": 300, "patience": 100, "scaled_rows": False,
            **_changes,
        },
    )  # fmt: skip


_GIN_TABLE = "GCN (1-layer perceptron + mean), Xu et al. 2019, table 1"


_ERRICA = "no structure, Errica et al. 2020"


_ERRICA_GIN = "GIN, Errica et al. 2020"


def _readouts(settings: Settings, *points: tuple[str, int], **changes: Any) -> tuple[Settings, ...]:
    """The settings with each readout and number of layers."""
    return tuple(replace(settings, readout=readout, num_layers=depth, **changes) for readout, depth in points)


def _widths(settings: Settings, *points: tuple[str, int, float, float]) -> tuple[Settings, ...]:
    """The settings of a network without structure with each readout, width, learning rate and dropout."""
    return tuple(
        replace(settings, model="mlp", readout=readout, hidden_channels=width, lr=lr, dropout=dropout)
        for readout, width, lr, dropout in points
    )


# gin: Kipf's layers with a mean readout; widths, batch sizes and dropouts are among those of Xu et al. 2019. nested: the
# best of a grid, whose points were found on validation parts of training folds (benchmarks/choose_grid.py). The grid of
# the network without structure has as many points as the GCN's.
_SMALL, _LARGE = Settings(batch_size=32), Settings(batch_size=64, epochs=50, halve_lr_every=15)


_SMALL_GRID = _readouts(_SMALL, ("mean", 2), ("mean", 4), ("mean+max+sum", 2), ("mean+max+sum", 4))


_SMALL_MLP = _widths(
    _SMALL, ("sum", 64, 0.01, 0.5), ("sum", 128, 0.001, 0.5), ("mean+sum", 64, 0.01, 0.5), ("mean+sum", 128, 0.001, 0.0)
)


_BRIEF = replace(_LARGE, epochs=30, halve_lr_every=10)


_LARGE_GRID = _readouts(_BRIEF, ("mean", 3), ("mean+max", 5), ("mean+max+sum", 3), hidden_channels=32)


_LARGE_MLP = _widths(_BRIEF, ("sum", 64, 0.01, 0.5), ("mean+sum", 64, 0.01, 0.5), ("mean+sum", 128, 0.003, 0.0))


_CHEMICAL = Settings(lr=0.003, jumping_knowledge="last", head_layers=2)


_CHEMICAL_GRID = _readouts(_CHEMICAL, ("sum", 2), ("sum", 3), ("mean+sum", 2))


_CHEMICAL_MLP = _widths(_CHEMICAL, ("sum", 64, 0.003, 0.5), ("mean+sum", 64, 0.003, 0.5), ("mean+sum", 128, 0.001, 0.0))


# NCI1's graphs are four times as many as those of the other two, so that wider networks of all layers do better.
_NCI1 = Settings(hidden_channels=128, head_layers=2, select="val_accuracy")


_NCI1_GRID = (
    replace(_NCI1, readout="mean+max", num_layers=5, lr=0.003),
    replace(_NCI1, readout="mean+max+sum", num_layers=5, lr=0.001, hidden_channels=64),
    replace(_NCI1, readout="mean+sum", num_layers=4, lr=0.001),
)


_NCI1_MLP = tuple(replace(point, select="val_accuracy") for point in _CHEMICAL_MLP)


# DD's graphs are ten times as large as those of the other chemical sets.
_DD = replace(_CHEMICAL, batch_size=64, epochs=100, halve_lr_every=30)


# Xu et al.'s own: five layers with the input's, GIN-0.
_GIN = Settings("gin", 64, 4, "sum", batch_size=32)


_GIN_GRID = (_GIN, replace(_GIN, readout="mean"), replace(_GIN, hidden_channels=32, dropout=0.0))


_MUTAG = Settings(batch_size=32, hidden_channels=32, dropout=0.0)


for _dataset, _features_of, _mean, _points, _flat, _gin, _no_structure in (
    ("imdb-binary", "degree", (_SMALL,), _SMALL_GRID, _SMALL_MLP, 0.740, 0.708),
    ("imdb-multi", "degree", (_SMALL,), _SMALL_GRID, _SMALL_MLP, 0.519, 0.491),
    ("collab", "degree", (_LARGE,), _LARGE_GRID, _LARGE_MLP, 0.790, 0.702),
    ("reddit-binary", "degree_bins", (_LARGE,), _LARGE_GRID, _LARGE_MLP, None, 0.822),
    ("proteins", "label", (_SMALL,), _CHEMICAL_GRID, _CHEMICAL_MLP, 0.760, 0.758),
    ("mutag", "label", (_MUTAG,), _CHEMICAL_GRID, _CHEMICAL_MLP, 0.856, None),
    ("nci1", "label", (), _NCI1_GRID, _NCI1_MLP, None, 0.698),
    (
        "dd", "label", (), _readouts(_DD, ("sum", 2), ("sum", 3), ("mean+sum", 2)),
        _widths(_DD, ("sum", 64, 0.003, 0.5), ("mean+sum", 64, 0.003, 0.5), ("mean+sum", 128, 0.001, 0.0)), None, 0.784,
    ),
):  # fmt: skip
    for _kind, _settings, _published in (
        ("gcn-mean", _mean, {"gin": (_gin, _GIN_TABLE)}),
        ("gcn", _points, {}),
        ("mlp", _flat, {"nested": (_no_structure, _ERRICA)}),
    ):
        if not _settings:
            continue
        _known = {(_dataset, protocol): (value, source) for protocol, (value, source) in _published.items() if value}
        RECIPES[f"{_dataset}-{_kind}"] = GraphRecipe(
            f"{_dataset}-{_kind}", _dataset, {"features": _features_of}, _settings, _known
        )
    RECIPES[f"{_dataset}-forest"] = ForestRecipe(f"{_dataset}-forest", _dataset)


# That the protocol is Errica et al.'s: their GIN with their features, the degree as one number.
for _dataset, _settings, _accuracy in (
    ("imdb-binary", _GIN_GRID, 0.712),
    ("imdb-multi", _GIN_GRID, 0.485),
    ("collab", tuple(replace(point, epochs=50, halve_lr_every=15) for point in _GIN_GRID), 0.756),
    ("reddit-binary", tuple(replace(point, epochs=50, halve_lr_every=15) for point in _GIN_GRID), 0.899),
):
    RECIPES[f"{_dataset}-gin"] = GraphRecipe(
        f"{_dataset}-gin", _dataset, {"features": "scalar_degree"}, _settings,
        {(_dataset, "nested"): (_accuracy, _ERRICA_GIN)}, protocols=("nested",),
    )  # fmt: skip


_BEST_CNN = {("fashion-mnist", "holdout"): (0.9237, "the tutorials' best CNN, 5,240,842 parameters")}


for _recipe in (
    grid_recipe("fashion-mnist-grid", (32, 48, 56), published=_BEST_CNN),
    grid_recipe("fashion-mnist-grid-large", (32, 64, 96), num_layers=(2, 2, 3), epochs=50, published=_BEST_CNN),
):
    RECIPES[_recipe.name] = _recipe


def find(name: str) -> AnyRecipe:
    """The recipe of that name; raises InputError with the known names."""
    if name not in RECIPES:
        raise InputError(
            f"recipe: {name!r} is unknown; the recipes are {', '.join(RECIPES)}.{did_you_mean(name, RECIPES)}"
        )
    return RECIPES[name]


def find_node_recipe(name: str) -> Recipe:
    """The recipe of that name; raises InputError unless it classifies nodes."""
    recipe = find(name)
    if not isinstance(recipe, Recipe):
        raise InputError(f"recipe: {name} does not classify nodes; this takes a recipe that does, such as cora-gcn.")
    return recipe


def find_hop_recipe(name: str) -> HopRecipe:
    """The recipe of that name; raises InputError unless it propagates features beforehand, which can be planned."""
    recipe = find(name)
    if not isinstance(recipe, HopRecipe):
        raise InputError(f"plan: {name} propagates no features beforehand; arxiv-diffusion does.")
    return recipe
