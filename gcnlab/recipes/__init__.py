"""The recipes: data set, model, hyperparameters and protocol of a published figure, and the function that runs one."""

from .base import AnyRecipe, Run
from .graphs import GraphRecipe
from .images import ImageRecipe
from .nodes import ClassicRecipe, DiffusionRecipe, HopRecipe, MaskedRecipe, Recipe
from .result import MARKDOWN_HEAD, counted, markdown_row, metric_cell, published_cell, recorded
from .runner import run
from .table import RECIPES, find, find_hop_recipe, find_node_recipe

__all__ = [
    "MARKDOWN_HEAD",
    "RECIPES",
    "AnyRecipe",
    "ClassicRecipe",
    "DiffusionRecipe",
    "GraphRecipe",
    "HopRecipe",
    "ImageRecipe",
    "MaskedRecipe",
    "Recipe",
    "Run",
    "counted",
    "find",
    "find_hop_recipe",
    "find_node_recipe",
    "markdown_row",
    "metric_cell",
    "published_cell",
    "recorded",
    "run",
]
