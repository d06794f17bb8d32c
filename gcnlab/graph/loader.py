"""Batches of graphs for training: shuffled or in order, cut out of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checks import check_count, check_flag
from .batches import slices
from .collection import GraphCollection

if TYPE_CHECKING:
    from torch.utils.data import BatchSampler


class GraphLoader:
    """Batches of a collection, for one pass after another; every graph is in exactly one batch of a pass.

    The order of a pass is drawn from torch's generator when the pass begins, so a seed repeats it. The graphs of many
    batches are put in that order at once, and each batch is a slice of them; a thread that did it ahead would fight the
    training for the cores (measured: twice the time).

    Args:
        graphs: the collection.
        batch_size: graphs in a batch; the last may have fewer.
        shuffle: draw a new order for each pass.
        bucket: put graphs of like size into one batch (within windows of 16 batches of the shuffled order), so that
            batches differ less in memory.
        batch_sampler: the graphs of each batch, in place of the arguments above: tensors or lists of indices, one a
            batch; such as torch's `BatchSampler(DistributedSampler(graphs), 128, drop_last=False)`.
        kind: the matrix (`Graph.matrix`) that is made once of all graphs, and cut out with each batch.
        num_layers: of a model that takes each layer's own rows, such as a `GraphClassifier` of `GCNConv`: nodes that so
            many layers cannot tell apart are computed once, also those of different graphs. Batches are then
            LayeredBatches: `model(batch.x, batch.a_hat, batch.p)`, with batch.y.

    >>> from gcnlab import Graph, GraphCollection
    >>> pair = GraphCollection(Graph.from_edges([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]]), [0, 2, 5], [0, 1])
    >>> [batch.num_nodes for batch in GraphLoader(pair, batch_size=1)]
    [2, 3]
    """

    SHELF = 2**22  # nodes and stored edges that are put in order at once

    def __init__(
        self,
        graphs: GraphCollection,
        batch_size: int = 128,
        shuffle: bool = False,
        bucket: bool = False,
        batch_sampler: Sequence[Tensor | Sequence[int]] | BatchSampler | None = None,
        kind: str = "a_hat",
        num_layers: int | None = None,
    ) -> None:
        self.graphs, self.batch_size = graphs, check_count("batch_size", batch_size, 1)
        self.shuffle, self.bucket = check_flag("shuffle", shuffle), check_flag("bucket", bucket)
        self.batch_sampler = batch_sampler
        self.unfolding = None if num_layers is None else graphs.unfolded(num_layers)
        if self.unfolding is None and kind != "l_tilde(None)":  # of a batch, the λ_max of its own graphs
            graphs.whole.matrix(kind).T  # noqa: B018 (both made once here, and cut out with each batch)

    def __len__(self) -> int:
        return -(-len(self.graphs) // self.batch_size) if self.batch_sampler is None else len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is not None:
            return self._cut([torch.as_tensor(chunk) for chunk in self.batch_sampler])
        order = torch.randperm(len(self.graphs)) if self.shuffle else torch.arange(len(self.graphs))
        chunks = list(order.split(self.batch_size))
        if self.bucket:
            sizes = self.graphs.sizes.cpu()
            windows = [window[sizes[window].argsort(stable=True)] for window in order.split(16 * self.batch_size)]
            chunks = [chunk for window in windows for chunk in window.split(self.batch_size)]
            if self.shuffle:
                chunks = [chunks[i] for i in torch.randperm(len(chunks)).tolist()]
        return self._cut(chunks)

    def _cut(self, chunks: list[Tensor]) -> Iterator[Any]:
        """The batches: a shelf of several is cut out at once, and each batch is a slice of it."""
        graphs, start = self.graphs, 0
        weight = graphs.sizes.cpu() * (1 + graphs.num_edges // max(graphs.num_nodes, 1))
        while start < len(chunks):
            room, end = self.SHELF - int(weight[chunks[start]].sum()), start + 1
            while end < len(chunks) and (room := room - int(weight[chunks[end]].sum())) >= 0:
                end += 1
            together = torch.cat(chunks[start:end])
            if self.unfolding is not None:
                ids = graphs.ids[together].split([len(chunk) for chunk in chunks[start:end]])
                yield from self.unfolding.batches(ids, graphs.y[together])
            else:
                yield from slices(graphs.batch(together), [len(chunk) for chunk in chunks[start:end]])
            start = end
