"""gcnlab: graph convolutional networks that read like the paper."""

__version__ = "1.0.0"

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

from . import parent as parent  # first, so that a worker is under watch while it imports torch

# isort: split

# torch reads it with its first tensor: arrays of 2 MiB or more in pages of 2 MiB, where the system has them. A page is
# zeroed when it is first touched, and 4 KiB at a time that takes several times as long as a pass over the array. 0
# turns it off.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from . import distributed, image, metrics, scale
from .data import load
from .errors import GcnlabError
from .graph import Graph, GraphBatch, GraphCollection, GraphLoader, batch
from .graph.splits import split
from .image import Signals
from .layers import (
    APPNP,
    ChebConv,
    ClusterPool,
    GATConv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GraphNorm,
    Readout,
    RelationalGCNConv,
    SAGEConv,
    SGConv,
    TopKPool,
    dropout,
)
from .memory import keep_freed_memory
from .models import GCN, GRAND, SIGN, GraphClassifier, GridGCN, NoStructure
from .precompute import NodeRows
from .sparse import SparseMatrix
from .train import Adam, Callback, Checkpoint, Consistency, EarlyStopping, History, StopAt, TensorBoard, fit, predict

if TYPE_CHECKING:
    from . import baselines as baselines
    from . import links as links
    from . import plot as plot
    from . import pretraining as pretraining
    from . import protocols as protocols
    from . import recipes as recipes
    from . import reporting as reporting
    from . import transfer as transfer

# Imported when first asked for: they bring what `import gcnlab` shall not wait for.
_LAZY = ("baselines", "links", "plot", "pretraining", "protocols", "recipes", "reporting", "transfer")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "APPNP",
    "GCN",
    "GRAND",
    "SIGN",
    "Adam",
    "Callback",
    "ChebConv",
    "Checkpoint",
    "ClusterPool",
    "Consistency",
    "EarlyStopping",
    "GATConv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "GcnlabError",
    "Graph",
    "GraphBatch",
    "GraphClassifier",
    "GraphCollection",
    "GraphLoader",
    "GraphNorm",
    "GridGCN",
    "History",
    "NoStructure",
    "NodeRows",
    "Readout",
    "RelationalGCNConv",
    "SAGEConv",
    "SGConv",
    "Signals",
    "SparseMatrix",
    "StopAt",
    "TensorBoard",
    "TopKPool",
    "batch",
    "distributed",
    "dropout",
    "fit",
    "image",
    "keep_freed_memory",
    "load",
    "metrics",
    "predict",
    "scale",
    "split",
]
