"""Splits of a graph's labelled nodes into those that train, validate and test: drawn by seed, by groups, or by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_count, check_list, check_seed
from ..errors import InputError, InputTypeError, did_you_mean
from ..inputs import is_table, rows_in_order
from .graph import Graph, check_one_graph
from .parts import MASKS

KINDS = ("random", "random-60-20-20", "groups", "time")
NUM_PER_CLASS, NUM_VAL, NUM_TEST = 20, 500, 1000  # of the Planetoid sets (Kipf & Welling 2017, section 5.1)
TRAIN, VAL, TEST = 1, 2, 3  # the parts of a split, in the order of the masks; 0 is a node in none
_SHARES = (0.6, 0.2, 0.2)


def split(graph: Graph, kind: str, *, seed: int = 0, times: int = 1, by: Any = None) -> Graph:
    """The graph with masks that split its labelled nodes; nodes without a label (-1, or NaN as each target) are in no mask.

    | kind | the parts |
    |---|---|
    | "random" | 20 nodes of each class train, 500 validate, 1,000 test: the sizes of the Planetoid sets (Kipf & Welling 2017) |
    | "random-60-20-20" | 60 % of the labelled nodes train, 20 % validate, the rest test |
    | "groups" | about 60, 20 and 20 % of the labelled nodes, all nodes of one group in the same part |
    | "time" | the earliest 60 % train, the next 20 % validate, the newest test |

    Random numbers come from `seed` alone. `load(name, split="random", seed=seed)` draws the same masks: "random" for the
    Planetoid sets, "random-60-20-20" for others.

    Groups are placed one by one in an order drawn by `seed`, each where it leaves the part least filled beside its share.
    A part that is empty then gets the smallest group of the others. Nodes of the same time stay together: the borders
    are those between two times that are nearest to 60 and 80 % of the nodes, the earlier where two are as near.

    Args:
        graph: with labels y of its nodes: classes, or targets but for "random".
        kind: see above.
        seed: the seed of the random numbers; "time" has none.
        times: how many splits to draw, by the seeds seed, seed + 1, ...: S > 1 gives masks [N, S], of which
            `with_split(i)` is split(graph, kind, seed=seed + i).
        by: of "groups", the group of each node, [N] numbers or strings; of "time", the time of each node, [N] numbers or
            dates. A pandas Series follows the node names by its index. Values at unlabelled nodes are not read.

    Raises:
        InputError, InputTypeError: too few labelled nodes, groups or times; or `by` is missing, is not asked for, or
            does not say a value of each labelled node.

    >>> ring = Graph.from_edges([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]], y=[0, 1, 0, 1, 0])
    >>> split(ring, "time", by=[2019, 2024, 2020, 2021, 2021]).train_mask
    tensor([ True, False,  True, False, False])
    >>> split(ring, "random-60-20-20", times=10).num_splits
    10
    """
    check_one_graph("graph", graph)
    if not isinstance(kind, str) or kind not in KINDS:
        near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        raise InputError(f"kind: got {kind!r}, expected one of {', '.join(map(repr, KINDS))}.{near}")
    seed, times = check_seed(seed), check_count("times", times, 1)
    check_seed(seed + times - 1)
    takes_by = kind in ("groups", "time")
    if by is None and takes_by:
        raise InputError(f"by: {kind!r} needs the {'group' if kind == 'groups' else 'time'} of each node, a list [N].")
    if by is not None and not takes_by:
        raise InputError(f"by: goes with the kinds 'groups' and 'time', not with {kind!r}.")
    y = _labels_of_nodes(graph, kind)
    labelled = labelled_nodes(y)
    if kind == "time":
        if times > 1:
            raise InputError(f"times: got {times}, but 'time' draws nothing, so that all of them would be one split.")
        drawn = [_of_nodes(y, labelled, _parts_of_times(_ranks(_values_at(graph, kind, by, labelled))))]
    elif kind == "groups":
        groups = _numbered(_values_at(graph, kind, by, labelled))
        drawn = [_of_nodes(y, labelled, _parts_of_groups(groups, seed + i)) for i in range(times)]
    else:
        draw = draw_per_class if kind == "random" else draw_shares
        drawn = [draw(y, seed + i) for i in range(times)]
    for part, key in zip((TRAIN, VAL, TEST), MASKS, strict=True):
        if not bool((drawn[0] == part).any()):
            raise InputError(
                f"kind: {kind!r} of {len(labelled)} labelled nodes leaves none for {key}; 4 labelled nodes are the fewest."
            )
    return graph.replace(**masks_of(torch.stack(drawn, 1).squeeze(1).to(graph.device)))


def labelled_nodes(y: Tensor) -> Tensor:
    """The ids of nodes with a class, or with a target that is known; y [N] or [N, T]."""
    known = ~y.isnan() if y.is_floating_point() else y >= 0
    return (known if y.dim() == 1 else known.any(1)).nonzero().squeeze(1)


def draw_per_class(
    y: Tensor, seed: int, num_per_class: int = NUM_PER_CLASS, asked: str = "kind: 'random' takes 20 nodes of each class",
    remedy: str = "'random-60-20-20' takes shares of them",
) -> Tensor:  # fmt: skip
    """The part of each node, [N]: `num_per_class` nodes of each class train, 500 others validate, 1,000 others test.

    Args:
        y: class numbers [N], -1 where a node has none.
        seed: of the order in which nodes are taken.
        num_per_class: training nodes of each class.
        asked: the beginning of the error where there are too few labelled nodes.
        remedy: its end.
    """
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    order = order[y[order] >= 0]
    parts = torch.zeros(len(y), dtype=torch.uint8)
    for label in range(int(y[order].max()) + 1 if len(order) else 0):
        chosen = order[y[order] == label][:num_per_class]
        if len(chosen) < num_per_class:
            raise InputError(f"{asked}, but class {label} has {len(chosen)} labelled nodes; {remedy}.")
        parts[chosen] = TRAIN
    rest = order[parts[order] == 0]
    if len(rest) < NUM_VAL + NUM_TEST:
        raise InputError(
            f"{asked}, {NUM_VAL} for validation and {NUM_TEST} for test, but beside the training nodes {len(rest)} are "
            f"labelled; {remedy}."
        )
    parts[rest[:NUM_VAL]] = VAL
    parts[rest[NUM_VAL : NUM_VAL + NUM_TEST]] = TEST
    return parts


def draw_shares(y: Tensor, seed: int) -> Tensor:
    """The part of each node, [N]: 60 % of the labelled nodes train, 20 % validate, the rest test."""
    labelled = labelled_nodes(y)
    order = labelled[torch.randperm(len(labelled), generator=torch.Generator().manual_seed(seed))]
    num_train, num_val = (round(share * len(order)) for share in _SHARES[:2])
    parts = torch.zeros(len(y), dtype=torch.uint8)
    for part, nodes in zip((TRAIN, VAL, TEST), order.tensor_split([num_train, num_train + num_val]), strict=True):
        parts[nodes] = part
    return parts


def masks_of(parts: Tensor) -> dict[str, Any]:
    """The masks of parts [N] or [N, S], by name; None where there is no node of a part."""
    masks = {key: parts == part for key, part in zip(MASKS, (TRAIN, VAL, TEST), strict=True)}
    return {key: mask if bool(mask.any()) else None for key, mask in masks.items()}


def _of_nodes(y: Tensor, labelled: Tensor, parts: Tensor) -> Tensor:
    """The parts [N] of all nodes, given those of the labelled ones."""
    return torch.zeros(len(y), dtype=torch.uint8).index_put((labelled,), parts)


def _labels_of_nodes(graph: Graph, kind: str) -> Tensor:
    """y on the CPU, if there is a label per node that goes with the kind."""
    y = graph.y
    if y is None or y.shape[:1] != (graph.num_nodes,):
        found = "has no y" if y is None else f"has y of shape {tuple(y.shape)}, which is the graph's"
        raise InputError(f"graph: {found}; a split needs labels of its nodes, graph.replace(y=...).")
    if kind == "random" and y.is_floating_point():
        raise InputError(
            f"kind: 'random' draws nodes of each class, but y holds targets, {y.dtype}; 'random-60-20-20' goes with them."
        )
    return y.cpu()


def _values_at(graph: Graph, kind: str, by: Any, labelled: Tensor) -> list[Any]:
    """What `by` says of the labelled nodes, as Python's values."""
    n, what = graph.num_nodes, "group" if kind == "groups" else "time"
    by = rows_in_order("by", by, graph.node_names, n)
    shape = tuple(by.shape) if hasattr(by, "shape") else (len(check_list("by", by, f"the {what} of each node")),)
    if shape != (n,):
        raise InputError(f"by: got shape {shape}, expected [{n}], the {what} of each node.")
    values = by.tolist() if hasattr(by, "tolist") else list(by)
    is_missing = by.isna().tolist() if is_table(by) else [False] * n
    values = [value.tolist() if hasattr(value, "tolist") else value for value in values]  # numbers of numpy and torch
    for node in labelled.tolist():
        value = values[node]
        if is_missing[node] or value is None or value != value:
            raise InputError(f"by: node {node} has a label, but its {what} is {value!r}; each labelled node needs one.")
    return [values[node] for node in labelled.tolist()]


def _numbered(values: Sequence[Any]) -> Tensor:
    """The number of each value's group, in the order in which groups come."""
    numbers: dict[Any, int] = {}
    try:
        groups = torch.tensor([numbers.setdefault(value, len(numbers)) for value in values], dtype=torch.int64)
    except TypeError as error:
        raise InputTypeError(f"by: got groups that are no numbers or strings ({error}).") from None
    if len(numbers) < 3:
        raise InputError(f"by: has {len(numbers)} groups among the labelled nodes, expected at least 3, one per part.")
    return groups


def _ranks(values: Sequence[Any]) -> Tensor:
    """The rank of each value's time, from 0."""
    try:
        if any(isinstance(value, str | bytes) for value in values):
            raise TypeError("strings are sorted by their letters")
        rank = {value: i for i, value in enumerate(sorted(set(values)))}
    except TypeError as error:
        raise InputTypeError(f"by: got times that are no numbers or dates ({error}).") from None
    if len(rank) < 3:
        raise InputError(f"by: has {len(rank)} times among the labelled nodes, expected at least 3, one per part.")
    return torch.tensor([rank[value] for value in values])


def _parts_of_groups(groups: Tensor, seed: int) -> Tensor:
    """The part of each labelled node, so that groups stay together."""
    sizes = groups.bincount().tolist()
    placed: list[list[int]] = [[], [], []]
    filled = [0, 0, 0]
    for group in torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed)).tolist():
        part = min(range(3), key=lambda p: (filled[p] + sizes[group]) / _SHARES[p])
        placed[part].append(group)
        filled[part] += sizes[group]
    for empty in (members for members in placed if not members):
        giver = min((g for g in placed if len(g) > 1), key=lambda members: min(sizes[group] for group in members))
        giver.remove(smallest := min(giver, key=lambda group: sizes[group]))
        empty.append(smallest)
    part_of = torch.empty(len(sizes), dtype=torch.uint8)
    for part, members in zip((TRAIN, VAL, TEST), placed, strict=True):
        part_of[members] = part
    return part_of[groups]


def _parts_of_times(ranks: Tensor) -> Tensor:
    """The part of each labelled node, so that those of one time stay together and each part has a time."""
    ends = ranks.bincount().cumsum(0).tolist()  # nodes up to each time, it included
    last_train = min(range(len(ends) - 2), key=lambda time: abs(10 * ends[time] - 6 * ends[-1]))
    last_val = min(range(last_train + 1, len(ends) - 1), key=lambda time: abs(10 * ends[time] - 8 * ends[-1]))
    return torch.where(ranks <= last_train, TRAIN, torch.where(ranks <= last_val, VAL, TEST)).to(torch.uint8)
