"""Training: `fit` trains a model of nodes, graphs or images, `predict` applies it."""

from . import graphs as graphs  # the kinds of data, which `Feed` knows once they are imported
from . import images as images
from . import nodes as nodes
from .callbacks import METRICS, Callback, EarlyStopping, StopAt, TensorBoard
from .consistency import Consistency
from .engine import fit
from .history import History
from .optim import Adam
from .options import Checkpoint, Loss
from .prediction import predict

__all__ = [
    "METRICS",
    "Adam",
    "Callback",
    "Checkpoint",
    "Consistency",
    "EarlyStopping",
    "History",
    "Loss",
    "StopAt",
    "TensorBoard",
    "fit",
    "predict",
]
