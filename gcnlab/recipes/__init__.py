"""The recipes: data set, model, hyperparameters and protocol of a published figure, and the function that runs one."""

from .graphs import GraphRecipe
from .images import ImageRecipe
from .nodes import DiffusionRecipe, HopRecipe, Recipe
from .result import MARKDOWN_HEAD, counted, markdown_row, published_cell, recorded
from .runner import run
from .table import RECIPES, find, find_node_recipe

__all__ = [
    "MARKDOWN_HEAD",
    "RECIPES",
    "DiffusionRecipe",
    "GraphRecipe",
    "HopRecipe",
    "ImageRecipe",
    "Recipe",
    "counted",
    "find",
    "find_node_recipe",
    "markdown_row",
    "published_cell",
    "recorded",
    "run",
]
