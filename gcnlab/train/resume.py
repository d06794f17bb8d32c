"""Where a training is saved, and what two trainings must have in common for one to continue the other."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import nn

from .. import __version__
from .. import checkpoint as ckpt
from ..checks import check_count, check_flag
from ..errors import InputTypeError
from .callbacks import Callback
from .feeds import GraphData, NodeData, RowData, SignalData


@dataclass
class Checkpoint:
    """Where `fit` saves its state, how often, and whether it continues from it.

    To continue, the model, seeds, optimizer, splits, labels, edges, and the values of X, images and edge weights must be
    those of the file (`checkpoint.Digest` says when values count as the same: their last bits may differ between
    machines); one model without a seed takes the file's. Of the model its config, and the names, classes and `extra_repr`
    of its modules are compared: what else a class of your own computes is yours to keep. A file of gcnlab 1.0 holds no
    digest of values and modules, and one of another version may go on otherwise: a warning says so.

    Args:
        path: the file; replaced atomically.
        every: epochs between two saves; the last epoch is always saved.
        resume: continue from the file if it exists, to the bit what an uninterrupted training gives (with as many
            threads). Model, data, seeds and hyperparameters must be those of the file; `epochs` may be more, and the
            settings of callbacks may differ.
        header: JSON-able facts to keep beside the weights.
    """

    path: str | PathLike[str]
    every: int = 10
    resume: bool = False
    header: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, PathLike)):
            raise InputTypeError(f"path: got {self.path!r}, expected the name of a file.")
        check_count("every", self.every, 1)
        check_flag("resume", self.resume)


def settings_of(
    model: nn.Module,
    seeds: list[int],
    data: NodeData | GraphData | SignalData | RowData,
    select: str,
    average: float,
    precision: str,
    clip_norm: float | None,
    opt: Any,
    schedule: Any,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    """What two trainings must have in common for one to continue the other, in the form that JSON gives back."""
    settings = {
        "model": ckpt.describe(model), "seeds": seeds, "select": select, "average": average, "precision": precision,
        "clip_norm": clip_norm, **data.fingerprint(),
        "optimizer": type(opt).__name__, "scheduler": type(schedule).__name__,
        "callbacks": [type(callback).__name__ for callback in callbacks],
        "frozen weights": [name for name, p in model.named_parameters() if not p.requires_grad],
    }  # fmt: skip
    for i, group in enumerate(opt.param_groups):
        settings |= {f"{key} of parameter group {i}": value for key, value in group.items() if key != "params"}
    if schedule is not None:
        settings |= {f"{key} of the scheduler": value for key, value in schedule.state_dict().items()}
    return json.loads(json.dumps(settings, default=str))


def modules_of(model: nn.Module) -> dict[str, str]:
    """What each module of the model says of itself."""
    return {
        f"module {name}".strip(): re.sub(" at 0x[0-9a-f]+", "", f"{type(module).__name__}({module.extra_repr()})")
        for name, module in model.named_modules()
    }


def versions_here() -> dict[str, str]:
    return {"gcnlab": __version__, "torch": torch.__version__}


def facts_of(model: nn.Module, data: NodeData | GraphData | SignalData | RowData, epochs: int) -> dict[str, Any]:
    """What, beside `settings_of`, the ranks of one training must have in common."""
    return {
        "epochs": epochs, "batches in an epoch": data.num_batches,
        **{f"the shape of {name}": tuple(p.shape) for name, p in model.named_parameters()},
    }  # fmt: skip
