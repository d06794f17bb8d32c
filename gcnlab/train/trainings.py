"""Trainings of one model, each on graphs of its own, as one stack: the folds of a cross-validation, for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts import merges_nodes
from ..errors import InputError, InputTypeError
from ..graph import GraphCollection, GraphLoader
from ..graph.blocks import BatchBlocks
from ..graph.collection import on_one_whole
from ..graph.unfolding import evenly_spaced
from ..threads import Step
from .feed import Feed
from .graphs import GraphFeed
from .norms import AVERAGED_GRAPHS
from .objective import Batch
from .options import FitOptions
from .stack import SeveralSeeds, can_be_stacked


def are_several(data: Any) -> bool:
    """Whether the data of `fit` are those of several trainings."""
    return isinstance(data, (list, tuple)) and any(isinstance(part, GraphCollection) for part in data)


def feeds_of(data: Any, val: Any, options: FitOptions, model: Any) -> list[GraphFeed]:
    """The feed of each training, of data that fit each other and the seeds; or InputError."""
    if isinstance(model, nn.Module):
        raise InputTypeError("model: got a module, but each training needs its own; pass a function: lambda: GCN(...).")
    vals = [None] * len(data) if val is None else val
    if not isinstance(vals, (list, tuple)):
        raise InputTypeError(f"val: got {type(val).__name__}, expected a list of as many GraphCollections as data has.")
    seeds = options.seeds
    if seeds is None:
        raise InputError(f"seeds: got none, but each of the {len(data)} collections of data needs one.")
    for name, given in (("val", vals), ("seeds", seeds)):
        if len(given) != len(data):
            raise InputError(f"{name}: got {len(given)}, but data has {len(data)} collections; give one for each.")
    for name, given in (("data", data), ("val", [] if val is None else vals)):
        for i, graphs in enumerate(given):
            if not isinstance(graphs, GraphCollection):
                raise InputTypeError(f"{name}[{i}]: got {type(graphs).__name__}, expected a GraphCollection.")
            for what, found in _facts(graphs, name == "data").items():
                if found != (expected := _facts(data[0], name == "data")[what]):
                    raise InputError(f"{name}[{i}]: has {what} {found}, but data[0] {expected}; one model is for all.")
    return [Feed.of(graphs, of_val, options, model) for graphs, of_val in zip(data, vals, strict=True)]  # type: ignore[misc]


def _facts(graphs: GraphCollection, with_classes: bool) -> dict[str, Any]:
    """What all collections have in common, as an error names it; validation may have some of the classes."""
    facts = {
        "features:": graphs.num_features, "the dtype": graphs.whole.adjacency.dtype, "the device": graphs.device,
        "labels of shape": [*graphs.y.shape[1:], "floats" if graphs.y.is_floating_point() else "classes"],
    }  # fmt: skip
    return facts | ({"the classes": graphs.class_names} if with_classes else {})


class SeveralFeeds(Feed):
    """The batches of several trainings below each other, each in the order that its training alone would have.

    Attributes:
        shuffles: what the order of each is drawn from.
    """

    def __init__(self, feeds: Sequence[GraphFeed], seeds: Sequence[int]) -> None:
        first = feeds[0]
        most = max(feed.objective.num_outputs for feed in feeds)
        self.feeds, self.objective = feeds, first.objective._replace(num_outputs=most)
        self.num_batches, self.batch_size, self.has_val = first.num_batches, first.batch_size, first.has_val
        self.shuffles = [torch.Generator().manual_seed(seed) for seed in seeds]
        parts = {"train": [feed.train for feed in feeds], "val": [feed.val for feed in feeds if feed.val is not None]}
        shared = on_one_whole([graphs for part in parts.values() for graphs in part])
        self._every = shared[0].every()
        self._ids = {"train": [graphs.ids.cpu() for graphs in shared[: len(feeds)]]}
        self._ids["val"] = [graphs.ids.cpu() for graphs in shared[len(feeds) :]]
        self._val: list[Batch] = []
        self._sample: list[Batch] = []

    def rng_state(self) -> list[Tensor]:
        return [shuffle.get_state() for shuffle in self.shuffles]

    def set_rng_state(self, states: Sequence[Tensor]) -> None:
        for shuffle, state in zip(self.shuffles, states, strict=True):
            shuffle.set_state(state)

    def choose_operator(self, model: nn.Module) -> None:
        for feed in self.feeds:
            feed.choose_operator(model)
        self.kind = self.feeds[0].kind

    def step(self, model: nn.Module) -> Step | None:
        return self.feeds[0].step(model)

    def batches(self, split: str, model: nn.Module) -> Iterator[Batch]:
        if split == "train":
            pairs = zip(self._ids["train"], self.shuffles, strict=True)
            ids = [own[torch.randperm(len(own), generator=shuffle)] for own, shuffle in pairs]
            yield from self._cut(ids, self.batch_size, model)
            return
        self._val = self._val or list(self._cut(self._ids["val"], self.batch_size, model))
        yield from self._val

    def sample(self, model: nn.Module) -> list[Batch]:
        if not self._sample:
            ids = [own[evenly_spaced(len(own), AVERAGED_GRAPHS)] for own in self._ids["train"]]
            self._sample = list(self._cut(ids, AVERAGED_GRAPHS, model))
        return self._sample

    def _cut(self, ids: Sequence[Tensor], batch_size: int, model: nn.Module) -> Iterator[Batch]:
        empty = torch.empty(0, dtype=torch.int64)
        chunks = list(zip_longest(*(own.split(batch_size) for own in ids), fillvalue=empty))
        graphs = self._every.merged() if merges_nodes(model) and self.kind == "a_hat" else self._every
        loader = GraphLoader(graphs, batch_sampler=[torch.cat(chunk) for chunk in chunks], kind=self.kind)
        for batch, chunk in zip(loader, chunks, strict=True):
            blocks = BatchBlocks.of(batch, self.kind, [len(own) for own in chunk])
            yield Batch((blocks,), None, blocks.y, own=blocks.counts)

    def fingerprint(self) -> dict[str, Any]:
        each = [feed.fingerprint() for feed in self.feeds]
        return {f"{name} of training {i}": value for i, found in enumerate(each) for name, value in found.items()}

    def tensors(self) -> Mapping[str, Sequence[Tensor]]:
        each = [feed.tensors() for feed in self.feeds]
        return {f"{name} of training {i}": value for i, found in enumerate(each) for name, value in found.items()}


def stacks_of(
    feeds: Sequence[GraphFeed], seeds: Sequence[int], make: Callable[[], nn.Module], most: int
) -> list[list[int]]:
    """The trainings in groups, each of which is one stack: at most so many, of as many batches an epoch.

    They are alone where torch.func.vmap cannot run the model, or where its sums would see the nodes that are added to make
    batches alike.
    """
    groups: dict[int, list[int]] = {}
    for i, feed in enumerate(feeds):
        groups.setdefault(feed.num_batches, []).append(i)
    size = most if _can_be_one(feeds, seeds, make) else 1
    return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]


def _can_be_one(feeds: Sequence[GraphFeed], seeds: Sequence[int], make: Callable[[], nn.Module]) -> bool:
    """Whether a stack of these trainings gives what each gives alone; found out with the first two."""
    first = make()
    # An operator of the user's may mix the graphs of a batch, as l_tilde(None) does.
    if not merges_nodes(first) or any(feed.operator is not None or not feed.ranks.is_lone for feed in feeds):
        return False
    if any(_has_batch_of_one(feed) for feed in feeds) or not can_be_stacked(first, make, has_counts=True):
        return False
    feed = SeveralFeeds(feeds[:2], seeds[:2])
    feed.choose_operator(first)
    stack = SeveralSeeds([first, make()], "float32", feed.objective.check_logits)
    return feed.kind == "a_hat" and stack.can_run(next(feed.batches("train", first)).arguments)


def _has_batch_of_one(feed: GraphFeed) -> bool:
    """Whether a batch may have a single node, which batch norms take apart (`norms.single_rows_allowed`), or none."""
    size = len(feed.train) % feed.batch_size or feed.batch_size
    return int(feed.train.sizes.sort().values[:size].sum()) < 2
