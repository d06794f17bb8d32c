"""What a training asks of its data: batches, an objective, and what two trainings on the same data have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data import ImageSet
from ..distributed import LONE, Ranks
from ..errors import InputError, InputTypeError
from ..graph import Graph, GraphCollection
from ..image import Signals
from ..inputs import some
from ..sparse import SparseMatrix
from ..threads import Step, look
from .consistency import Consistency
from .objective import Batch, Objective
from .options import FitOptions

_NOT_TRAINED = {
    "val": "val: a Graph has its val_mask; val goes with a GraphCollection or Signals.",
    "operator": "operator: goes with a Graph or a GraphCollection, not with NodeRows or Signals.",
    "consistency": "consistency, batching: go with one Graph, not with NodeRows, a GraphCollection or Signals.",
    "batching": "consistency, batching: go with one Graph, not with NodeRows, a GraphCollection or Signals.",
    "split": "split: goes with one Graph, not with NodeRows, which are of one split, a GraphCollection or Signals.",
    "cuda_graph": "cuda_graph: goes with one Graph on a CUDA device, all nodes in each step, and no warmup.",
}
_NOT_PREDICTED = {
    "nodes": "nodes: go with one Graph or NodeRows, not with {}.",
    "operator": "operator: goes with graphs, not with {}.",
}


class Feed:
    """One kind of data. A subclass names the type of its data and what it takes; `Feed.of` and `predict` then find it.

    Attributes:
        data_type: the class of the data.
        takes: those arguments of `fit` and `predict` that not all kinds take: "val", "operator", "consistency",
            "batching", "cuda_graph", "split", "nodes", "batch_size".
        objective: the loss on these labels.
        num_batches, batch_size: of one pass through the training data.
        has_val: whether there is something to validate on.
        kind: of the matrix that the model is called with, once `choose_operator` has chosen; "" where there is none.
        consistency: of samples at nodes without labels, where it is asked for.
        ranks: the processes that share each batch; the lone one where each trains for itself.
        is_large: whether memory is more dear than the time to get it anew.
        is_constant: whether all steps read the same and weigh it alike.
        why: what a step is on, and why, in words.
    """

    data_type: ClassVar[type]
    takes: ClassVar[frozenset[str]] = frozenset()
    classes: ClassVar[list[type[Feed]]] = []

    objective: Objective
    num_batches: int
    batch_size: int
    has_val: bool
    kind: str = ""
    consistency: Consistency | None = None
    ranks: Ranks = LONE
    is_large: bool = False
    is_constant: bool = False
    why: str = ""

    def __init_subclass__(cls) -> None:
        if "data_type" in vars(cls):
            Feed.classes.append(cls)

    def __init__(self, data: Any, val: Any, options: FitOptions) -> None:
        raise NotImplementedError

    @staticmethod
    def class_for(data: Any) -> type[Feed]:
        """The kind of data, or InputTypeError with the call that makes some of what is given."""
        for feed in Feed.classes:
            if isinstance(data, feed.data_type):
                return feed
        raise InputTypeError(
            f"data: got {type(data).__name__}, expected a Graph, a GraphBatch, a GraphCollection, Signals or NodeRows."
            f"{_way_in(data)}"
        )

    @staticmethod
    def of(data: Any, val: Any, options: FitOptions, model: nn.Module | Callable[[], nn.Module]) -> Feed:
        """The feed of these data, which have been checked, and go with the options."""
        feed_class = Feed.class_for(data)
        check_fixed({f"data{name}": part for name, part in feed_class.fixed(data).items()})
        if isinstance(val, feed_class.data_type):
            check_fixed({f"val{name}": part for name, part in feed_class.fixed(val).items()})
        check_fixed({"operator": options.operator})
        asked = {
            "val": val is not None, "operator": options.operator is not None,
            "consistency": options.consistency is not None, "batching": options.batching != "full",
            "cuda_graph": options.cuda_graph, "split": options.split is not None,
        }  # fmt: skip
        for name, is_asked in asked.items():
            if is_asked and name not in feed_class.takes:
                raise InputError(_NOT_TRAINED[name])
        feed = feed_class.make(data, val, options, model)
        if options.cuda_graph and not feed.is_constant:
            raise InputError(_NOT_TRAINED["cuda_graph"])
        if options.consistency is not None and options.loss != "cross-entropy":
            raise InputError(f"consistency: goes with the loss cross-entropy, got {options.loss!r}.")
        if options.select.endswith("accuracy") and not feed.objective.has_accuracy:
            raise InputError(
                f'select: got {options.select!r}, but this loss has no accuracy; select "val_loss", for one.'
            )
        return feed

    @classmethod
    def make(cls, data: Any, val: Any, options: FitOptions, model: nn.Module | Callable[[], nn.Module]) -> Feed:
        return cls(data, val, options)

    @classmethod
    def fixed(cls, data: Any) -> dict[str, Any]:
        """What `fit` holds fixed, so that it may not require a gradient: how an error names it -> tensor or matrix."""
        return {}

    def choose_operator(self, model: nn.Module) -> None:
        """Choose the matrix that the model is called with, where it is called with one."""

    def batches(self, split: str, model: nn.Module) -> Iterable[Batch]:
        """One pass through "train" or "val"."""
        raise NotImplementedError

    def sample(self, model: nn.Module) -> list[Batch]:
        """What batch norms take their running averages from after each epoch; [] for the epoch's last batches."""
        return []

    def step(self, model: nn.Module) -> Step | None:
        """What a training step reads, by which the number of threads is chosen; the same for all steps. None: unknown."""
        return None

    def fingerprint(self) -> dict[str, Any]:
        """Facts that are the same where a training goes on as where it was saved, and on all ranks."""
        raise NotImplementedError

    def tensors(self) -> Mapping[str, Sequence[Tensor]]:
        """The values that must be the same, too, but for their last bits: name -> tensors."""
        return {}

    def rng_state(self) -> list[Tensor]:
        """The states of the generators that are this feed's own; a training goes on from them."""
        return []

    def set_rng_state(self, states: Sequence[Tensor]) -> None:
        """Go on from `rng_state`."""

    @classmethod
    def check_asked(cls, nodes: Any, operator: Any) -> None:
        """Raise InputError for what `predict` is asked and this kind does not take."""
        for name, value in (("nodes", nodes), ("operator", operator)):
            if value is not None and name not in cls.takes:
                raise InputError(_NOT_PREDICTED[name].format(cls.data_type.__name__))

    @classmethod
    def step_of(cls, data: Any, batch_size: int | None) -> Step | None:
        """What one call of the model reads in `predict`. None: unknown."""
        return None

    @classmethod
    def predict(cls, model: nn.Module, data: Any, nodes: Any, operator: Any, batch_size: int | None) -> Tensor:
        """The outputs of a model in evaluation mode."""
        raise NotImplementedError


def _way_in(data: Any) -> str:
    if isinstance(data, ImageSet):
        return (
            " Signals(data.train_images, data.train_labels, data.grid()) are its training images for a grid network, and "
            "without the grid for a CNN."
        )
    if hasattr(data, "__array__"):
        return (
            " Signals(images, labels, grid) has images for a grid network, and without the grid for a CNN; "
            "Graph(adjacency, x, labels) has the features of nodes."
        )
    is_list = isinstance(data, (list, tuple))
    return " GraphCollection.from_graphs makes one of a list of graphs." if is_list else ""


def joined(outputs: Iterable[Tensor]) -> Tensor:
    """The outputs of one batch after the other as one; between them the threads look at the load."""
    found = []
    for output in outputs:
        found.append(output)
        look()
    return torch.cat(found)


def check_fixed(parts: Mapping[str, Any]) -> None:
    """Raise InputError for features or weights that require a gradient: fit trains the parameters of the model alone."""
    for name, part in parts.items():
        value = part.value if isinstance(part, SparseMatrix) else part
        if isinstance(value, Tensor) and value.requires_grad:
            raise InputError(
                f"{name}: requires a gradient, but fit trains the parameters of the model alone. Learn it in a loop of "
                "your own; or hold it fixed: value.detach() in its place, such as "
                "graph.replace(adjacency=a.with_value(a.value.detach()))."
            )


def fixed_parts(graph: Graph) -> dict[str, Any]:
    """The values of A and X of a graph."""
    return {f": {name}": value for name, value in graph.values.items()}


def check_known(graph: Graph, y: Tensor) -> None:
    """Raise InputError for a mask of whose nodes no target in y [num_nodes, ...] is known."""
    for key in ("train_mask", "val_mask"):
        mask = getattr(graph, key)
        if mask is not None and bool(y[mask].isnan().all()):
            raise InputError(f"{key}: of its nodes no target is known, all are NaN.")


def check_known_items(name: str, y: Tensor, train_y: Tensor, row: str) -> None:
    """Raise InputError unless some target of `name` is known, and there are as many of each as in the training."""
    if bool(y.isnan().all()):
        raise InputError(f"{name}: of its {row}s no target is known, all are NaN.")
    if y.shape[1:] != train_y.shape[1:]:
        raise InputError(f"{name}: has y of shape {tuple(y.shape)}, but data of {tuple(train_y.shape)}.")


def shared_classes(train: GraphCollection | Signals, val: GraphCollection | Signals) -> Sequence[Any] | None:
    """The class names of the training, if val has names of its own that are in another order, or only some of them."""
    names, own = train.class_names, val.class_names
    if names is None or own is None or tuple(own) == tuple(names):
        return None
    if val.y.is_floating_point():
        raise InputError(f"val: its targets are {some(own)}, and those of data {some(names)}; give both the same.")
    if unknown := [own[label] for label in val.y.unique().tolist() if label >= 0 and own[label] not in names]:
        raise InputError(f"val: has the class {unknown[0]!r}, which is not among those of data: {some(names)}.")
    return names
