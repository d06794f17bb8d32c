"""A training's file: what it writes there, and what it reads when it goes on."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__, generators
from .. import checkpoint as ckpt
from ..distributed import Ranks
from ..errors import CheckpointMismatchError
from ..machine import warn_caller
from .feed import Feed
from .options import Checkpoint, FitOptions
from .stack import Stack


class Record:
    """A training's file: what it writes there, and what it reads when it goes on.

    Attributes:
        settings: what two trainings must have in common for one to continue the other, in the form that JSON gives back.
        digests: of the values that the training reads, by name.
    """

    def __init__(
        self, stack: Stack, seeds: list[int], feed: Feed, options: FitOptions, opt: Any, schedule: Any
    ) -> None:
        model = stack.model
        settings = {
            "model": ckpt.describe(model), "seeds": seeds, "select": options.select, "average": options.average,
            "precision": options.precision, "clip_norm": options.clip_norm, **feed.fingerprint(),
            "optimizer": type(opt).__name__, "scheduler": type(schedule).__name__,
            "callbacks": [type(callback).__name__ for callback in options.callbacks],
            "frozen weights": [name for name, p in model.named_parameters() if not p.requires_grad],
        }  # fmt: skip
        for i, group in enumerate(opt.param_groups):
            settings |= {f"{key} of parameter group {i}": value for key, value in group.items() if key != "params"}
        if schedule is not None:
            settings |= {f"{key} of the scheduler": value for key, value in schedule.state_dict().items()}
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self.digests = {name: ckpt.Digest.of(tensors) for name, tensors in feed.tensors().items()}
        self._model, self._kind, self._epochs = model, feed.kind, options.epochs
        self._num_batches = feed.num_batches

    def facts(self) -> dict[str, Any]:
        """What the ranks of one training must have in common."""
        shapes = {f"the shape of {name}": tuple(p.shape) for name, p in self._model.named_parameters()}
        return (
            self.settings | self.digests | {"epochs": self._epochs, "batches in an epoch": self._num_batches} | shapes
        )

    def write(
        self, checkpoint: Checkpoint, ranks: Ranks, epoch: int, kept: dict[str, Tensor], training: dict[str, Any]
    ) -> None:
        """Save a training after an epoch; of several ranks the first one writes, and all wait for it."""
        rng, *others = ranks.gather_objects(generators.rng_state())
        header = {
            **checkpoint.header, "model": self.settings["model"], "seeds": self.settings["seeds"], "epoch": epoch,
            "settings": self.settings, "processes": ranks.size, "operator": self._kind, "versions": versions_here(),
            "modules": modules_of(self._model),
        }  # fmt: skip
        digests = {name: [digest.exact, digest.sums] for name, digest in self.digests.items()}
        training |= {"rng": rng, "rng of other ranks": others, "digests": digests}
        if ranks.rank == 0:
            ckpt.write_checkpoint(checkpoint.path, header, kept, training)
        ranks.meet()

    def read(
        self, checkpoint: Checkpoint, ranks: Ranks, is_drawn: bool
    ) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """(epoch, kept weights, training) of the file, or None where there is none to continue.

        Raises CheckpointMismatchError where they are of another training. A seed that was only drawn is the file's.
        """
        path = checkpoint.path
        is_there = checkpoint.resume and ranks.rank == 0 and Path(path).exists()
        saved = ranks.of_first(ckpt.read_checkpoint(path) if is_there else None)
        if saved is None:
            return None
        header, weights, training = saved
        if training is None or "settings" not in header:
            raise CheckpointMismatchError(f"{path}: holds a trained model, not a training to resume.")
        ckpt.check_training(path, header, training)
        if header.get("processes", 1) != ranks.size:
            raise CheckpointMismatchError(
                f"{path}: is of {header.get('processes', 1)} processes, here are {ranks.size}. Resume with as many, or start "
                "anew."
            )
        if is_drawn and len(header["seeds"]) == 1:
            self.settings["seeds"] = header["seeds"]
        self._compare(path, header, training)
        if header["epoch"] > self._epochs:
            raise CheckpointMismatchError(
                f"{path}: is at epoch {header['epoch']}, beyond the {self._epochs} epochs of this training."
            )
        return header["epoch"], weights, training

    def _compare(self, path: str | PathLike[str], header: dict[str, Any], training: dict[str, Any]) -> None:
        found, expected = dict(header["settings"]), dict(self.settings)
        made_with, here = header.get("versions"), versions_here()
        if made_with is None:
            warn_caller(
                f"{path}: is of gcnlab 1.0, which kept no digest of the values of X and of edge weights; make sure that they "
                "are those that it was made with."
            )
        else:
            found |= ckpt.read_digests(path, training)
            expected |= self.digests
        if made_with == here:  # another torch may print modules otherwise
            modules = header.get("modules")
            found |= modules if isinstance(modules, dict) else {"modules": modules}
            expected |= modules_of(self._model)
        elif made_with is not None:
            warn_caller(
                f"{path}: was written with {made_with}, and goes on with {here}: its numbers may not be those of one version "
                "alone."
            )
        ckpt.check_settings(path, found, expected)


def modules_of(model: nn.Module) -> dict[str, str]:
    """What each module of the model says of itself."""
    return {
        f"module {name}".strip(): re.sub(" at 0x[0-9a-f]+", "", f"{type(module).__name__}({module.extra_repr()})")
        for name, module in model.named_modules()
    }


def versions_here() -> dict[str, str]:
    return {"gcnlab": __version__, "torch": torch.__version__}
