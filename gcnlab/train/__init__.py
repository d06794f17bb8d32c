"""Training: `fit` trains a model of nodes, graphs or images, `predict` applies it."""

from .callbacks import METRICS, Callback, EarlyStopping, StopAt, TensorBoard
from .engine import fit
from .history import History
from .objective import Consistency, Loss
from .optim import Adam
from .prediction import predict
from .resume import Checkpoint

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
