"""How to train: the arguments of `fit`, checked once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from numbers import Integral
from os import PathLike
from typing import Any

from torch import Tensor

from ..checks import check_choice, check_count, check_flag, check_number, check_seed
from ..errors import InputError, InputTypeError
from ..scale import Sampler
from .callbacks import TOGETHER, Callback, kind_of, known_metric
from .consistency import Consistency

LOSSES = ("cross-entropy", "binary", "mse", "mae")

Loss = str | Callable[[Tensor, Tensor], Tensor]


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


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `fit` beside the model and the data, under the same names; `seeds` is a list of them.

    Raises InputError or InputTypeError for what is wrong whatever the data are.
    """

    loss: Loss
    label_smoothing: float
    seeds: Any
    seed: int | None
    epochs: int
    lr: float
    weight_decay: float | Mapping[str, float] | None
    clip_norm: float | None
    optimizer: Callable[..., Any]
    scheduler: Callable[[Any], Any] | str | None
    average: float
    precision: str
    metrics: Any
    select: str
    callbacks: Sequence[Callback]
    class_weight: Tensor | None
    batch_size: int
    checkpoint: Checkpoint | None
    seeds_at_once: int
    progress: bool | None
    check_finite: bool
    deterministic: bool
    operator: Any
    consistency: Consistency | None
    cuda_graph: bool
    batching: str | Sampler
    split: int | None

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_loss()
        if self.seed is not None and self.seeds is not None:
            raise InputError(
                f"seed: got {self.seed} with seeds={self.seeds}; seed goes with one model, seeds with a function."
            )
        checked: dict[str, Any] = {
            name: check_count(name, getattr(self, name), 1) for name in ("epochs", "seeds_at_once", "batch_size")
        }
        checked |= {
            "lr": check_number("lr", self.lr, least=0),
            "average": check_number("average", self.average, least=0, below=1),
            "seed": None if self.seed is None else check_seed(self.seed),
            "seeds": None if self.seeds is None else _listed_seeds(self.seeds),
            "split": None if self.split is None else check_count("split", self.split),
            "metrics": _listed_metrics(self.metrics),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def _check_kinds(self) -> None:
        if self.select != "last":
            known_metric("select", self.select)
        for name in ("check_finite", "deterministic", "cuda_graph"):
            check_flag(name, getattr(self, name))
        check_choice("progress", self.progress, (None, True, False))
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, above=0)
        if isinstance(self.callbacks, Callback) or not all(isinstance(c, Callback) for c in self.callbacks):
            raise InputTypeError("callbacks: expected a list of Callback objects, such as [EarlyStopping(10)].")
        for callback in self.callbacks:
            for metric in callback.reads:
                known_metric(f"callbacks: {type(callback).__name__}.reads", metric)
        if not callable(self.optimizer):
            raise InputTypeError(
                f"optimizer: got a {type(self.optimizer).__name__}; pass what makes one, such as torch.optim.Adam itself: "
                "fit gives it the parameters and lr."
            )
        if self.checkpoint is not None and not isinstance(self.checkpoint, Checkpoint):
            raise InputTypeError(
                f"checkpoint: got {self.checkpoint!r}, expected Checkpoint(path, every=10, resume=True)."
            )
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f'precision: got {self.precision!r}, expected "float32" or "bfloat16".')
        if isinstance(self.scheduler, str) and self.scheduler != "one-cycle":
            raise InputError(f'scheduler: got {self.scheduler!r}, expected "one-cycle" or a function of the optimizer.')

    def _check_loss(self) -> None:
        if not callable(self.loss) and self.loss not in LOSSES:
            raise InputError(f"loss: got {self.loss!r}, expected one of {', '.join(LOSSES)}, or a function.")
        if check_number("label_smoothing", self.label_smoothing, least=0, below=1) and (
            self.loss != "cross-entropy" or self.class_weight is not None
        ):
            raise InputError(
                f"label_smoothing: got {self.label_smoothing}; it goes with the loss cross-entropy and no class_weight."
            )

    @property
    def needs_val(self) -> bool:
        """Whether the kept epoch is chosen by a validation metric."""
        return self.select.startswith("val")

    @property
    def together(self) -> dict[str, str]:
        """The metrics of whole epochs that are measured -> the argument that asks for each."""
        read = [metric for callback in self.callbacks for metric in callback.reads]
        asked = dict.fromkeys(map(kind_of, read), "callbacks")
        asked |= {kind_of(self.select): "select"} | dict.fromkeys(self.metrics, "metrics")
        return {name: asked[name] for name in TOGETHER if name in asked}


def _listed_metrics(metrics: Any) -> tuple[str, ...]:
    """The names of metrics, of which there may be one or none."""
    listed = () if metrics is None else (metrics,) if isinstance(metrics, str) else metrics
    known = ("loss", "accuracy", *TOGETHER)
    if not isinstance(listed, (list, tuple)):
        raise InputTypeError(f"metrics: got {metrics!r}, expected a list of names out of {', '.join(known)}.")
    for name in listed:
        if name not in known:
            raise InputError(f"metrics: got {name!r}, expected names out of {', '.join(known)}.")
    return tuple(listed)


def _listed_seeds(seeds: Any) -> list[int]:
    """0 .. n - 1 for a number n of seeds, else the seeds of a sequence."""
    if isinstance(seeds, Integral) or getattr(seeds, "ndim", 1) == 0:
        return list(range(check_count("seeds", seeds, 1)))
    if not isinstance(seeds, Collection) or isinstance(seeds, str | Mapping | Set):
        raise InputTypeError(f"seeds: got {seeds!r}, expected how many, or a list of them.")
    listed = [check_seed(seed, f"seeds[{i}]") for i, seed in enumerate(seeds)]
    if not listed:
        raise InputError(f"seeds: got {seeds!r}, expected at least one.")
    return listed
