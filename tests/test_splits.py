"""Splits: masks [N] and [N, S] of a graph, what draws them, and what trains on one of them."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

import gcnlab
from gcnlab import GCN, Checkpoint, Graph, GraphCollection, NodeRows, Signals, fit, load, predict, split
from gcnlab.errors import CheckpointMismatchError, CorruptFileError, DatasetFormatError, InputError, InputTypeError
from gcnlab.graph.parts import MASKS
from gcnlab.scale import NeighborSampler, RandomNodeSampler

NODES, SPLITS = 7, 3
PATH = [[0, 1, 1, 2, 2, 3, 3, 4, 4, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 4]]  # and node 6 by itself


def masks_of(num_nodes=NODES, num_splits=SPLITS):
    """Three masks: in split s node i trains, validates or tests by (i + s) % 3; the last node is in none."""
    part = (torch.arange(num_nodes)[:, None] + torch.arange(num_splits)) % 3
    part[-1] = 9
    return {key: part == i for i, key in enumerate(MASKS)}


def graph_of(**changes):
    values = {"x": torch.arange(2.0 * NODES).view(NODES, 2), "y": [0, 1, 0, 1, 0, 1, -1], **masks_of()}
    return Graph.from_edges(PATH, NODES, **{**values, **changes})


def same_masks(a, b):
    return all(x is y is None or x.equal(y) for x, y in zip(a.masks.values(), b.masks.values(), strict=True))


# -- masks [N, S] -----------------------------------------------------------------------------------------------------


def test_a_graph_counts_its_splits_and_gives_each():
    graph, masks = graph_of(), masks_of()
    assert graph.num_splits == SPLITS
    for i in range(SPLITS):
        one = graph.with_split(i)
        assert one.num_splits == 1
        assert {key: mask.tolist() for key, mask in one.masks.items()} == {
            k: m[:, i].tolist() for k, m in masks.items()
        }
        assert one.x is graph.x
        assert one.a_hat is graph.a_hat  # made of the first split, for all
    none = graph_of(**dict.fromkeys(MASKS))
    assert none.num_splits == 0
    one = graph_of(**{key: mask[:, 1] for key, mask in masks.items()})
    assert one.num_splits == 1
    assert same_masks(one.with_split(0), one)
    assert graph_of(train_mask=masks["train_mask"][:, :1], val_mask=None, test_mask=None).num_splits == 1


@pytest.mark.parametrize(
    ("graph", "split", "message"),
    [
        (graph_of(), 3, "split: got 3, but the graph has 3 splits, 0 to 2"),
        (graph_of(), -1, "split: got -1"),
        (graph_of(), 0.5, "split: got 0.5"),
        (graph_of(), True, "split: got True"),
        (graph_of().with_split(0), 1, "split: got 1, but the graph has one split, 0"),
        (graph_of(**dict.fromkeys(MASKS)), 0, "split: got 0, but the graph has no masks"),
    ],
)
def test_splits_that_are_not_there(graph, split, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        graph.with_split(split)


def test_masks_are_checked_split_by_split():
    masks = masks_of()
    overlap = masks["val_mask"].clone()
    overlap[1, 2] = True  # which trains in split 2
    with pytest.raises(InputError, match=r"^train_mask and val_mask overlap in split 2: node 1 is in both\.$"):
        graph_of(val_mask=overlap)
    across = {key: masks[key].clone() for key in MASKS}  # a node may train in one split and test in another
    assert across["train_mask"][0, 0]
    assert across["test_mask"][0, 2]
    unlabelled = masks["test_mask"].clone()
    unlabelled[6, 1] = True
    with pytest.raises(InputError, match=r"^test_mask, split 1: node 6 is in it but has no label \(y = -1\)\.$"):
        graph_of(test_mask=unlabelled)
    assert graph_of(test_mask=unlabelled, y=None).num_splits == SPLITS
    with pytest.raises(InputError, match=r"^val_mask: got 2 splits, but train_mask has 3; .* must have the same S"):
        graph_of(val_mask=masks["val_mask"][:, :2])
    with pytest.raises(InputError, match="train_mask: selects no node"):
        graph_of(train_mask=torch.zeros(NODES, SPLITS, dtype=torch.bool))


def test_a_mask_of_one_split_is_that_of_every_split():
    train = masks_of()["train_mask"]
    test = torch.tensor([False] * 5 + [True, False])
    train[5] = False
    graph = graph_of(train_mask=train, val_mask=None, test_mask=test)
    assert graph.test_mask.tolist() == test[:, None].expand(-1, SPLITS).tolist()
    assert graph.val_mask is None
    train[5, 1] = True
    with pytest.raises(InputError, match="train_mask and test_mask overlap in split 1: node 5 is in both"):
        graph_of(train_mask=train, val_mask=None, test_mask=test)


def test_a_split_lacks_the_mask_that_has_no_node_of_it():
    masks = masks_of()
    masks["val_mask"][:, 1] = False
    graph = graph_of(**masks)
    assert graph.with_split(1).val_mask is None
    assert graph.with_split(0).val_mask is not None


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.Tensor.tolist, lambda m: pd.DataFrame(m.numpy()), torch.Tensor.byte]
)
def test_masks_are_read_in_each_form(kind):
    assert same_masks(graph_of(**{key: kind(mask) for key, mask in masks_of().items()}), graph_of())


def test_masks_are_copied():
    masks = masks_of()
    graph = graph_of(**masks)
    masks["train_mask"][:] = False
    assert same_masks(graph, graph_of())
    graph.with_split(1).train_mask[:] = False
    assert same_masks(graph, graph_of())


# -- carried along ----------------------------------------------------------------------------------------------------


def test_what_makes_a_graph_of_a_graph_keeps_its_splits(tmp_path):
    graph = graph_of()
    graph.save(tmp_path / "saved")
    others = [
        graph.replace(x=None), graph.to(torch.float64), graph.to("cpu"), graph.to_undirected(), Graph.open(tmp_path / "saved"),
        graph.with_features("identity"), pickle.loads(pickle.dumps(graph)), graph.subgraph(torch.arange(NODES)),
        Graph.from_graphs([graph]), Graph.of_parts(**graph.parts),
    ]  # fmt: skip
    assert all(same_masks(other, graph) for other in others)
    part = graph.subgraph([1, 3, 4])
    assert {key: m.tolist() for key, m in part.masks.items()} == {
        k: m[[1, 3, 4]].tolist() for k, m in masks_of().items()
    }
    assert "3 splits" in repr(graph)


def test_replaced_masks_fit_those_that_stay():
    graph, masks = graph_of(), masks_of()
    one = graph.with_split(0)
    assert graph.replace(train_mask=masks["train_mask"]).train_mask.equal(masks["train_mask"])
    several = one.replace(train_mask=masks["train_mask"] & (masks["train_mask"][:, :1]), val_mask=None)
    assert several.num_splits == SPLITS
    assert several.test_mask.tolist() == masks["test_mask"][:, :1].expand(-1, SPLITS).tolist()
    again = graph.replace(train_mask=masks["train_mask"][:, 1], val_mask=None, test_mask=None)
    assert again.num_splits == 1


def test_joined_graphs_have_the_same_splits():
    several, none = graph_of(), graph_of(**dict.fromkeys(MASKS))
    one = several.with_split(1)
    joined = Graph.from_graphs([several, one, none])
    for key in MASKS:
        mask = getattr(joined, key)
        assert mask[:NODES].equal(getattr(several, key))
        assert mask[NODES : 2 * NODES].tolist() == getattr(one, key)[:, None].expand(-1, SPLITS).tolist()
        assert not mask[2 * NODES :].any()
    two = graph_of(**masks_of(num_splits=2))
    with pytest.raises(
        InputError, match=r"graphs: graph 0 has 2 splits, graph 1 has 3, expected as many; graph.with_split"
    ):
        Graph.from_graphs([two, several])
    assert GraphCollection.from_graphs([graph.replace(y=0) for graph in (several, two)]).whole.num_splits == 0


def test_a_summary_counts_the_nodes_of_each_split():
    told = graph_of().summary()
    assert "train nodes        2 in each of 3 splits" in told
    masks = masks_of()
    masks["train_mask"][0, 0] = False
    assert "train nodes        1 to 2 in each of 3 splits" in graph_of(**masks).summary()
    assert "train nodes        2\n" in graph_of().with_split(0).summary()


def test_saved_splits_are_checked(tmp_path):
    graph_of().save(tmp_path / "a")
    file = tmp_path / "a" / "val_mask.npy"
    array = np.load(file)
    array[1, 2] = True
    np.save(file, array)
    with pytest.raises(CorruptFileError, match="sha256"):
        Graph.open(tmp_path / "a")
    with pytest.raises(CorruptFileError, match="holds node 1, which has no label or is in another mask"):
        Graph.open(tmp_path / "a", check=False)
    np.save(file, array[:, :2])
    header = json.loads((tmp_path / "a" / "graph.json").read_text())
    header["arrays"]["val_mask"]["shape"] = [NODES, 2]
    (tmp_path / "a" / "graph.json").write_text(json.dumps(header))
    with pytest.raises(
        CorruptFileError, match=r"val_mask.npy: holds torch.bool of shape \[7, 2\], expected torch.bool \[7, 3\]"
    ):
        Graph.open(tmp_path / "a", check=False)


def test_pyg_keeps_splits():
    data = pytest.importorskip("torch_geometric.data")
    graph = graph_of()
    pyg = graph.to_pyg()
    assert {key: pyg[key].tolist() for key in MASKS} == {key: mask.tolist() for key, mask in masks_of().items()}
    assert same_masks(Graph.from_pyg(pyg), graph)
    wiki = data.Data(edge_index=torch.tensor(PATH), num_nodes=NODES, train_mask=masks_of()["train_mask"])
    wiki.test_mask = torch.tensor([False] * 6 + [True])  # as WikiCS has one test set for its 20 splits
    assert Graph.from_pyg(wiki).test_mask.shape == (NODES, SPLITS)


def write_npz(path, **arrays):
    a = graph_of().to_scipy()
    plain = {"adj_data": a.data, "adj_indices": a.indices, "adj_indptr": a.indptr, "adj_shape": a.shape}
    np.savez(path, **{**plain, "labels": [0, 1, 0, 1, 0, 1, -1], **arrays})
    return path


@pytest.mark.parametrize("suffix", ["", "s"])
def test_an_npz_file_may_hold_masks(tmp_path, suffix):
    masks = {key + suffix: (mask.T if suffix else mask).numpy() for key, mask in masks_of().items()}
    path = write_npz(tmp_path / "graph.npz", **masks)
    assert same_masks(load(path), graph_of())
    assert load(path, split="random").num_splits == 1
    assert load(path, split=None).num_splits == 0
    one = write_npz(tmp_path / "one.npz", test_mask=masks_of()["test_mask"][:, 0].byte().numpy())
    assert load(one).test_mask.tolist() == masks_of()["test_mask"][:, 0].tolist()
    assert load(one).train_mask is None
    none = write_npz(tmp_path / "none.npz")
    assert same_masks(load(none, seed=3), split(load(none, split=None), "random-60-20-20", seed=3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_mask": np.full(NODES, 2)}, "key 'train_mask': a mask holds bools, or zeros and ones"),
        ({"train_mask": np.full(NODES, 2, np.uint8).view(bool)}, "a mask holds bools, or zeros and ones"),
        ({"train_mask": np.ones(NODES)}, "expected numbers in 1 or 2 axes"),
        ({"train_masks": np.ones(NODES, bool)}, "expected numbers in 2 axes"),
        ({"train_masks": np.ones((NODES, 2), bool)}, r"train_mask: got shape \(2, 7\), expected \[7\], or"),
        ({"val_mask": np.arange(NODES) == 6}, "val_mask: node 6 is in it but has no label"),
        ({"val_mask": np.arange(NODES) == 1, "val_masks": np.ones((3, NODES), bool)}, "val_mask is there, too"),
        (
            {"train_masks": np.eye(3, NODES, dtype=bool), "test_masks": np.eye(3, NODES, k=0, dtype=bool)[::-1]},
            "train_mask and test_mask overlap in split 1: node 1 is in both",
        ),
    ],
)
def test_masks_of_an_npz_file_are_checked(tmp_path, arrays, message):
    with pytest.raises(DatasetFormatError, match=message):
        load(write_npz(tmp_path / "graph.npz", **arrays))


def test_a_processed_npz_file_has_masks_of_its_nodes(tmp_path):
    header, arrays = gcnlab.data.npz.read(write_npz(tmp_path / "a.npz"), "a")
    gcnlab.data.npz.check(tmp_path, header, {**arrays, **masks_of()})
    with pytest.raises(CorruptFileError, match="train_mask and test_mask overlap in split 0: node 0 is in both"):
        gcnlab.data.npz.check(tmp_path, header, {**arrays, **masks_of(), "test_mask": masks_of()["train_mask"]})


# -- drawing splits ---------------------------------------------------------------------------------------------------


def ring(num_nodes, y=None, **values):
    source = torch.arange(num_nodes)
    y = source % 4 if y is None else y
    return Graph.from_edges(torch.stack([source, (source + 1) % num_nodes]), num_nodes, y=y, **values)


def counts(graph):
    return [0 if mask is None else int(mask.sum()) for mask in graph.masks.values()]


def test_random_is_the_planetoid_split():
    y = torch.arange(2000) % 5 - 1  # -1: a fifth has no label
    graph = split(ring(2000, y), "random", seed=7)
    assert counts(graph) == [80, 500, 1000]
    assert graph.y[graph.train_mask].bincount().tolist() == [20] * 4
    # Drawn as the loader has drawn it since 1.0: the nodes in random order, without those that have no label.
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(7))
    order = order[y[order] >= 0]
    train = torch.cat([order[y[order] == c][:20] for c in range(4)])
    rest = order[~torch.isin(order, train)]
    for mask, nodes in zip(graph.masks.values(), (train, rest[:500], rest[500:1500]), strict=True):
        assert mask.nonzero().squeeze(1).equal(nodes.sort().values)


@pytest.mark.data
def test_random_is_what_the_loader_draws():
    graph = load("cora")
    for seed in (0, 5):
        assert same_masks(split(graph, "random", seed=seed), load("cora", split="random", seed=seed))


def test_shares_are_of_the_labelled_nodes():
    y = torch.tensor([0, 1, 2, -1, -1] * 10)
    graph = split(ring(50, y), "random-60-20-20", seed=11)
    assert counts(graph) == [18, 6, 6]
    labelled = (y >= 0).nonzero().squeeze(1)
    order = labelled[torch.randperm(30, generator=torch.Generator().manual_seed(11))]
    for mask, nodes in zip(graph.masks.values(), order.split([18, 6, 6]), strict=True):
        assert mask.nonzero().squeeze(1).equal(nodes.sort().values)
    assert counts(split(ring(4), "random-60-20-20")) == [2, 1, 1]


@pytest.mark.parametrize("kind", ["random-60-20-20", "groups", "time"])
def test_targets_that_are_missing_are_in_no_part(kind):
    by = None if kind == "random-60-20-20" else torch.arange(30)
    one = torch.arange(30.0)
    one[::3] = torch.nan
    several = torch.stack([one, torch.full((30,), torch.nan)], 1)
    several[0, 1] = 1.0  # node 0 has its second target alone
    for y, known in ((one, 20), (several, 21)):
        graph = split(ring(30, y), kind, by=by)
        assert sum(counts(graph)) == known
        is_in = graph.train_mask | graph.val_mask | graph.test_mask
        assert is_in.tolist() == (~y.isnan().reshape(30, -1).all(1)).tolist()


@pytest.mark.parametrize("kind", ["random", "random-60-20-20", "groups"])
def test_times_are_the_splits_of_the_next_seeds(kind):
    graph = ring(1700)
    by = torch.arange(1700) // 17 if kind == "groups" else None
    several = split(graph, kind, seed=3, times=4, by=by)
    assert several.num_splits == 4
    for i in range(4):
        assert same_masks(several.with_split(i), split(graph, kind, seed=3 + i, by=by))
    assert not several.with_split(0).train_mask.equal(several.with_split(1).train_mask)
    assert split(graph, kind, seed=np.int64(3), times=np.int64(1), by=by).num_splits == 1
    assert same_masks(split(several, kind, seed=3, by=by), several.with_split(0))  # the masks before are replaced


@pytest.mark.parametrize("make", [torch.tensor, list, np.asarray, pd.Series, lambda by: [f"group {i}" for i in by]])
def test_groups_stay_together(make):
    group = torch.arange(100) // 5  # 20 groups of 5
    graph = split(ring(100), "groups", seed=1, by=make(group.tolist()))
    assert counts(graph) == [60, 20, 20]
    for mask in graph.masks.values():
        assert set(mask[::5].tolist()) == {True, False}
        assert mask.view(20, 5).all(1).equal(mask.view(20, 5).any(1))


def test_groups_of_several_sizes_fill_the_shares():
    sizes = torch.randint(1, 40, (60,), generator=torch.Generator().manual_seed(0))
    group = torch.repeat_interleave(sizes)
    n = len(group)
    found = torch.tensor([counts(split(ring(n), "groups", seed=seed, by=group)) for seed in range(20)]) / n
    assert (found - torch.tensor([0.6, 0.2, 0.2])).abs().max() < 0.05
    first = [bool(split(ring(n), "groups", seed=seed, by=group).train_mask[0]) for seed in range(20)]
    assert 4 < sum(first) < 20  # any group may train, and need not


@pytest.mark.parametrize(
    ("group", "sizes"),
    [
        ([0] * 4 + [1] * 4 + [2] * 4, [4, 4, 4]),  # three groups: one for each part
        ([0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [6, 3, 3]),
        ([0] * 10 + [1, 2], [10, 1, 1]),  # a large group trains
    ],
)
def test_few_groups_reach_every_part(group, sizes):
    for seed in range(10):
        graph = split(ring(12), "groups", seed=seed, by=group)
        train, *others = counts(graph)
        assert [train, *sorted(others)] == sizes


def test_time_has_the_newest_nodes_for_the_test():
    time = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    graph = split(ring(50), "time", by=time)
    assert [time[mask].sort().values.tolist() for mask in graph.masks.values()] == [
        list(range(30)), list(range(30, 40)), list(range(40, 50)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("time", "sizes"),
    [
        ([0] * 5 + [1] * 2 + [2] * 3, [5, 2, 3]),  # 6 and 8 are no borders between two times; 5 and 7 are near
        ([0] * 7 + [1] * 2 + [2] * 1, [7, 2, 1]),
        ([0] * 5 + [1, 1] + [2] * 2 + [3], [5, 2, 3]),  # 5 and 7 are as near to 6, and 7 and 9 to 8: the earlier
        ([0] * 2 + [1] * 2 + [2] * 6, [2, 2, 6]),  # each part has a time
        ([0] * 8 + [1] + [2], [8, 1, 1]),
    ],
)
def test_nodes_of_one_time_stay_together(time, sizes):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    graph = split(ring(10), "time", by=torch.tensor(time)[order])
    assert counts(graph) == sizes
    assert (graph.train_mask | graph.val_mask | graph.test_mask).all()


@pytest.mark.parametrize(
    "by",
    [
        list(range(1000, 1010)),
        [float(f"16000000{i}") for i in range(10, 20)],  # which float32 does not tell apart
        np.datetime64("2020-01-01") + np.arange(10),
        pd.Series(pd.date_range("2020-01-01", periods=10, tz="UTC")),
        pd.Series(range(10), dtype="Int64"),
        torch.arange(10).to(torch.bfloat16),
    ],
)
def test_times_in_each_form(by):
    assert split(ring(10), "time", by=by).test_mask.tolist() == [False] * 8 + [True] * 2


def test_by_follows_the_names_of_the_nodes():
    names = list("jihgfedcba")
    graph = ring(10, node_names=names)
    by = pd.Series(range(10), index=list("abcdefghij"))
    assert split(graph, "time", by=by).train_mask.tolist() == [False] * 4 + [True] * 6


SMALL = ring(12)


@pytest.mark.parametrize(
    ("graph", "kind", "options", "message"),
    [
        (SMALL, "randon", {}, r"kind: got 'randon', expected one of 'random', .* Did you mean 'random'\?"),
        (SMALL, "public", {}, "kind: got 'public', expected one of 'random', 'random-60-20-20', 'groups', 'time'"),
        (SMALL, 3, {}, "kind: got 3, expected one of"),
        (
            SMALL,
            "random",
            {},
            "'random' takes 20 nodes of each class, but class 0 has 3 labelled nodes; 'random-60-20-20'",
        ),
        (ring(200), "random", {}, "beside the training nodes 120 are labelled; 'random-60-20-20'"),
        (
            ring(99, torch.zeros(99)),
            "random",
            {},
            "'random' draws nodes of each class, but y holds targets, torch.float32; ",
        ),
        (ring(3), "random-60-20-20", {}, "'random-60-20-20' of 3 labelled nodes leaves none for test_mask; 4 labelled"),
        (ring(9, [-1] * 9), "random-60-20-20", {}, "of 0 labelled nodes leaves none for train_mask"),
        (ring(9, [-1] * 9), "random", {}, "beside the training nodes 0 are labelled"),
        (SMALL.replace(y=None), "random", {}, "graph: has no y; a split needs labels of its nodes"),
        (SMALL.replace(y=3), "random", {}, r"graph: has y of shape \(\), which is the graph's"),
        (SMALL, "random", {"by": [0] * 12}, "by: goes with the kinds 'groups' and 'time', not with 'random'"),
        (SMALL, "groups", {}, r"by: 'groups' needs the group of each node, a list \[N\]"),
        (SMALL, "time", {}, r"by: 'time' needs the time of each node"),
        (SMALL, "groups", {"by": range(11)}, r"by: got shape \(11,\), expected \[12\], the group of each node"),
        (SMALL, "time", {"by": torch.ones(12, 1)}, r"by: got shape \(12, 1\), expected \[12\], the time of each node"),
        (SMALL, "time", {"by": "abcdefghijkl"}, "by: got 'abcdefghijkl', expected a list of the time of each node"),
        (SMALL, "time", {"by": 7}, "by: got 7, expected a list"),
        (SMALL, "time", {"by": torch.tensor(7)}, r"by: got shape \(\), expected \[12\]"),
        (SMALL, "time", {"by": [*range(11), float("nan")]}, "by: node 11 has a label, but its time is nan"),
        (SMALL, "groups", {"by": [None, *range(11)]}, "by: node 0 has a label, but its group is None"),
        (SMALL, "groups", {"by": pd.Series(["a", None] * 6)}, "by: node 1 has a label, but its group is"),
        (SMALL, "time", {"by": pd.Series([1, None] * 6, dtype="Int64")}, "by: node 1 has a label, but its time is"),
        (
            SMALL,
            "time",
            {"by": np.array(["NaT"] * 12, "datetime64[s]")},
            "by: node 0 has a label, but its time is None",
        ),
        (SMALL, "time", {"by": list("abcdefghijkl")}, "by: got times that are no numbers or dates"),
        (SMALL, "time", {"by": [1, 2j] * 6}, "by: got times that are no numbers or dates"),
        (SMALL, "groups", {"by": [[1]] * 12}, "by: got groups that are no numbers or strings"),
        (SMALL, "groups", {"by": [0, 1] * 6}, "by: has 2 groups among the labelled nodes, expected at least 3"),
        (SMALL, "time", {"by": [0, 1] * 6}, "by: has 2 times among the labelled nodes, expected at least 3"),
        (SMALL, "time", {"by": range(12), "times": 2}, "times: got 2, but 'time' draws nothing"),
        (SMALL, "random-60-20-20", {"times": 0}, "times: got 0, expected at least 1"),
        (SMALL, "random-60-20-20", {"seed": -1}, "seed: got -1"),
        (SMALL, "random-60-20-20", {"seed": 2**63 - 1, "times": 2}, "seed: got 9223372036854775808"),
        (gcnlab.batch([SMALL.replace(y=0)]), "random", {}, "graph: got a GraphBatch, expected one Graph"),
        (SMALL.to_scipy(), "random", {}, "graph: got scipy"),
    ],
)
def test_what_cannot_be_split(graph, kind, options, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        split(graph, kind, **options)


def test_values_of_unlabelled_nodes_are_not_read():
    y = torch.tensor([0, 1, -1, 0, 1])
    assert counts(split(ring(5, y), "time", by=[1, 2, float("nan"), 3, 4])) == [2, 1, 1]
    assert counts(split(ring(5, y), "groups", by=["a", "b", None, "c", "d"])) == [2, 1, 1]


def test_a_list_of_torch_numbers_is_of_numbers():
    group = torch.arange(12) // 3
    same = split(SMALL, "groups", by=group)
    assert same_masks(split(SMALL, "groups", by=list(group)), same)
    assert same_masks(split(SMALL, "groups", by=list(group.numpy())), same)


def test_a_split_shares_what_is_derived():
    graph = SMALL.to_undirected()
    hat = graph.a_hat
    assert split(graph, "random-60-20-20", times=3).a_hat is hat


# -- training on one of them ------------------------------------------------------------------------------------------


def trainable():
    torch.manual_seed(0)
    graph = split(ring(40, torch.arange(40) // 10).to_undirected(), "random-60-20-20", times=3)
    return graph.replace(x=torch.rand(40, 5))


def trained(graph, **options):
    torch.manual_seed(1)
    model = GCN(5, 4, 4)
    history = fit(model, graph, seed=0, epochs=4, progress=False, **options)
    return history.metrics, predict(model, graph)


@pytest.mark.parametrize("batching", ["full", NeighborSampler, RandomNodeSampler])
def test_fit_trains_on_the_split_that_is_asked_for(batching):
    graph = trainable()

    def run(data, **options):
        way = batching if batching == "full" else batching(data, batch_size=8)
        return trained(data, batching=way, **options)

    for i in range(3):
        (metrics, logits), (expected, expected_logits) = run(graph, split=i), run(graph.with_split(i))
        assert all(metrics[key].equal(expected[key]) for key in expected)
        assert logits.equal(expected_logits)
    assert not run(graph, split=0)[1].equal(run(graph, split=1)[1])
    assert run(graph.with_split(1), split=0)[1].equal(run(graph, split=1)[1])  # one split is split 0


def test_seeds_train_on_the_split():
    graph = trainable()
    options = {"seeds": 2, "epochs": 3, "progress": False}
    history = fit(lambda: GCN(5, 4, 4), graph, split=2, **options)
    expected = fit(lambda: GCN(5, 4, 4), graph.with_split(2), **options)
    assert history.metrics["val_loss"].equal(expected.metrics["val_loss"])


def test_what_needs_one_split_refuses_several():
    graph = trainable()
    several = r"has 3 splits, and one is read here; graph.with_split\(0\) .* fit\(..., split=0\)"
    for options in ({}, {"batching": NeighborSampler(graph)}):
        with pytest.raises(InputError, match=several):
            trained(graph, **options)
    with pytest.raises(InputError, match=several):
        NodeRows(graph, [graph.x])
    with pytest.raises(
        InputError, match=r"nodes: got a mask of shape \(40, 3\), expected \[40\], one split, such as mask"
    ):
        predict(GCN(5, 4, 4), graph, nodes=graph.test_mask)
    with pytest.raises(InputError, match="split: got 3, but the graph has 3 splits, 0 to 2"):
        trained(graph, split=3)
    with pytest.raises(InputError, match="split: got 0, but the graph has no masks"):
        trained(graph.replace(**dict.fromkeys(MASKS)), split=0)
    rows = NodeRows(graph.with_split(1), [graph.x])
    images = Signals(torch.rand(4, 6, 6), [0, 1, 0, 1])
    for data in (
        rows,
        images,
        GraphCollection.from_graphs([graph.replace(y=i, **dict.fromkeys(MASKS)) for i in (0, 1)]),
    ):
        with pytest.raises(InputError, match="split: goes with one Graph, not with NodeRows"):
            fit(GCN(5, 4, 4), data, split=0, select="last")


def test_a_training_goes_on_with_its_own_split(tmp_path):
    graph = trainable()
    file = tmp_path / "a.training"
    trained(graph, split=1, checkpoint=Checkpoint(file))
    torch.manual_seed(1)
    model = GCN(5, 4, 4)
    for options in ({"split": 1}, {}):
        data = graph if options else graph.with_split(1)
        whole = fit(model, data, seed=0, epochs=6, progress=False, checkpoint=Checkpoint(file, resume=True), **options)
        assert len(whole.metrics["val_loss"]) == 6
    with pytest.raises(CheckpointMismatchError, match="masks"):
        fit(model, graph, seed=0, epochs=8, progress=False, split=2, checkpoint=Checkpoint(file, resume=True))
