"""Pre-training without labels: the hidden layers of a model learn to tell the edges that they do not see.

    model = GCN(graph.num_features, 256, graph.num_classes, norm="batch", input_dropout=0.0, jumping_knowledge="cat")
    pretrain(model, graph, seed=0)                         # reads A and X
    freeze(model, ["layers", "norms"])                     # `transfer.freeze`
    fit(model, graph, weight_decay=0.3, seed=0)            # the last linear map alone, on the labels

After Li et al. (2023). The recipe `pubmed-best` does the same, and computes the hidden layers only once for the labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import threads
from .checks import check_count, check_number, check_probability, check_seed
from .deep import kept_edges
from .errors import InputError
from .generators import generators_kept
from .graph import Graph
from .graph.graph import check_one_graph
from .sparse import Features, SparseMatrix
from .train import Adam
from .train.objective import check_finite
from .train.operators import kinds_for

_SCORER_WIDTH, _SCORER_DROPOUT = 32, 0.2


@generators_kept()
@torch.inference_mode(False)
@torch.enable_grad()
def pretrain(
    model: nn.Module,
    graph: Graph,
    *,
    epochs: int = 200,
    mask: float = 0.7,
    lr: float = 0.01,
    weight_decay: float = 5e-5,
    max_pairs: int = 65_536,
    seed: int | None = None,
) -> list[float]:
    """Train the hidden layers of a model on a graph's edges (masked graph modelling, Li et al. 2023).

        each epoch:  hide a random share E of the edges;   H = the last hidden layer on Â of the others, or on the
                     matrix that the layers name (`layers.wanted_operators`)
        loss = -mean_{(i, j) in E} log σ(f(h_i ⊙ h_j)) - mean_{random (i, j)} log σ(-f(h_i ⊙ h_j))

    f is a perceptron with 32 hidden units, which is thrown away. Labels and masks are not read, so that the same model
    serves all splits of a graph, and sixty labels cannot be overfitted by it. Batch norms keep the averages
    that training leaves, which are of graphs with hidden edges: on PubMed a classifier does better with them than with those
    of the whole graph.

    Args:
        model: called as model(x, a_hat, hidden=True) for (logits, [H_1, ...]), as `GCN` and its likes are; trained in
            place and left in evaluation mode. What lies behind its last hidden layer is not trained.
        graph: with x. Both directions of an undirected edge are hidden together.
        epochs: steps, each with other hidden edges.
        mask: the share of the edges that is hidden.
        lr, weight_decay: of Adam.
        max_pairs: at most so many hidden edges, and as many random pairs, are scored in a step.
        seed: of all draws; None draws from torch's generator.

    Returns:
        the loss of each epoch.

    Raises:
        InputError: the graph has no x or no edge between two nodes, or the model gives no hidden layers.
        NonFiniteError: the loss is NaN or infinite.

    >>> from gcnlab import GCN, load
    >>> graph = load("karate").with_features("identity")
    >>> losses = pretrain(GCN(34, 8, 2), graph, epochs=100, seed=0)
    >>> sum(losses[-10:]) < sum(losses[:10])
    True
    """
    epochs, max_pairs = check_count("epochs", epochs, 1), check_count("max_pairs", max_pairs, 1)
    mask, lr = check_probability("mask", mask), check_number("lr", lr, least=0)
    weight_decay = check_number("weight_decay", weight_decay, least=0)
    if seed is not None:
        torch.manual_seed(check_seed(seed))
    x = _features_of(graph)
    kind = kinds_for(model)[0]
    channels = _hidden(model, x, graph.matrix(kind))[-1].shape[-1]
    scorer = nn.Sequential(
        nn.Linear(channels, _SCORER_WIDTH), nn.ReLU(), nn.Dropout(_SCORER_DROPOUT), nn.Linear(_SCORER_WIDTH, 1)
    ).to(graph.device)
    optimizer = Adam([*model.parameters(), *scorer.parameters()], lr=lr, weight_decay=weight_decay)
    work, losses = threads.work_of(model, threads.Step.on(x, graph.adjacency)), []
    model.train()
    with threads.chosen(work, graph.device.type) as waits:
        for epoch in range(1, epochs + 1):
            waits.look()
            optimizer.zero_grad()
            operator, hidden_edges = _masked_operator(graph, kind, mask, max_pairs)
            h = _hidden(model, x, operator)[-1]
            random_pairs = torch.randint(graph.num_nodes, hidden_edges.shape, device=graph.device)
            there, not_there = (scorer(h[i] * h[j]) for i, j in (hidden_edges, random_pairs))
            scores = F.logsigmoid(torch.cat([there, -not_there]))
            loss = -2 * scores.sum() / max(len(scores), 1)  # an epoch may hide no edge of a small graph
            check_finite(epoch, [0], torch.ones(1, dtype=torch.bool), {"the loss of pretraining": loss.detach()})
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    model.eval()
    return losses


def _features_of(graph: Graph) -> Features:
    check_one_graph("graph", graph)
    if graph.x is None:
        raise InputError('graph: has no x; make one with graph.with_features("identity").')
    if graph.num_edges == graph.num_self_loops:
        raise InputError("graph: has no edge between two nodes, of which one could be hidden.")
    return graph.x


def _hidden(model: nn.Module, x: Features, operator: SparseMatrix) -> list[Tensor]:
    """[H_1, ...]: what the hidden layers made."""
    try:
        _, hidden = model(x, operator, hidden=True)
    except TypeError as problem:
        raise InputError(
            f"model: {type(model).__name__} cannot be called as model(x, a_hat, hidden=True), as GCN can: {problem}"
        ) from problem
    if not hidden:
        raise InputError(f"model: {type(model).__name__} gave no hidden layers; num_layers=2 has one.")
    return list(hidden)


def _masked_operator(graph: Graph, kind: str, mask: float, max_pairs: int) -> tuple[SparseMatrix, Tensor]:
    """The matrix of this kind of the edges that are left, and pairs [2, num_pairs] of those that are hidden."""
    kept = kept_edges(graph.adjacency, mask, pairs=not graph.is_directed)
    left = graph.adjacency.select_entries(kept)
    if not graph.is_directed:
        left = left.mark_symmetric()
    source, target = graph.edge_index
    candidates = (~kept & ((source != target) if graph.is_directed else (source < target))).nonzero().squeeze(1)
    chosen = candidates[torch.randperm(len(candidates), device=candidates.device)[:max_pairs]]
    return Graph.of_parts(left).matrix(kind), graph.edge_index[:, chosen]
